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

TEST(Election, AReplicaThatInstallsASnapshot_LeadsWhenItIsInstalled)
{
    World w;
    w.elect(0);
    tr_replica *r = w.at(2);
    uint64_t slot = r->slot_commit;
    r->pulling = r->installing = true;
    r->pull_peer = 0;
    w.campaign(2);
    w.run(3 * HEARTBEAT_NS);
    EXPECT_EQ(TR_REPLICA_CANDIDATE, r->role);
    tr_event event{};
    event.type = TR_EVENT_SNAPSHOT_DONE;
    event.u.snapshot_done.slot = slot;
    event.u.snapshot_done.installed = true;
    w.step(2, event);
    w.run(3 * HEARTBEAT_NS);
    EXPECT_EQ(TR_REPLICA_LEADER, r->role);
}

TEST(Election, ALeader_PullsNoSnapshotAnyMore)
{
    World w;
    w.elect(0);
    tr_replica *r = w.at(2);
    r->pulling = true;
    r->pull_peer = 0;
    tr_timer_set(r, TR_TIMER_PULL, w.now_ns + 8 * RETRANSMIT_NS);
    w.campaign(2);
    ASSERT_TRUE(w.run_until([&] { return r->role == TR_REPLICA_LEADER; }, 2 * RETRANSMIT_NS));
    EXPECT_FALSE(r->pulling);
}

} // namespace
