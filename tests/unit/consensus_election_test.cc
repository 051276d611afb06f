/* Elections: who stands, who is followed, and what those who wait are told. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

TEST(Election, ACampaignThatFails_LeavesNoForwardedBatchWaitingForEver)
{
    World w;
    w.elect(0);
    w.node(1).effects.clear();
    w.propose(1, 1); /* forwarded to the leader, and lost */
    w.forget_wire();
    w.campaign(1);
    EXPECT_EQ(1, w.effects_of(1, TR_EFFECT_RESUBMIT));
    EXPECT_EQ(w.at(1)->forward_sent, w.at(1)->forward_acked);
}

} // namespace
