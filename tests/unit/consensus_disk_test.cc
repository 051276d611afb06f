/* What a replica that keeps its promises on a disk may count before they are there. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

struct Disk : ::testing::Test {
    World w{[] {
        Options options;
        options.level = TR_LEVEL_DISK;
        return options;
    }()};
};

TEST_F(Disk, AnEntryOfAnEarlierLeadership_DoesNotMakeTheLaterOnesDurable)
{
    w.elect(0);
    w.barriers = false; /* or it would not lead again before all is durable */
    w.node(0).persists_by_hand = true;
    w.propose(0, 1);
    w.propose(0, 2);
    w.forget_wire();
    uint64_t persisted = w.node(0).persisted;
    w.campaign(2);
    ASSERT_TRUE(w.run_until([&] { return w.leader() == 2; }));
    w.campaign(0);
    ASSERT_TRUE(w.run_until([&] { return w.leader() == 0; }));
    w.forget_wire();
    w.timeout(0); /* proposes again what it found */
    tr_event event{};
    event.type = TR_EVENT_DURABLE;
    event.u.durable.persisted = persisted;
    uint64_t durable = w.at(0)->slot_durable;
    w.step(0, event);
    EXPECT_EQ(durable, w.at(0)->slot_durable);
}

TEST_F(Disk, ACandidateAsksNobody_BeforeItsOwnPromiseIsDurable)
{
    w.elect(0);
    w.node(1).effects.clear();
    w.campaign(1);
    int promised = -1, barrier = -1, asked = -1;
    for (int i = 0; i < static_cast<int>(w.node(1).effects.size()); i++) {
        const tr_effect &e = w.node(1).effects[static_cast<size_t>(i)];
        if (e.type == TR_EFFECT_PERSIST && e.u.persist.what == TR_PERSIST_PROMISE)
            promised = i;
        if (e.type == TR_EFFECT_BARRIER && promised >= 0 && barrier < 0)
            barrier = i;
        if (e.type == TR_EFFECT_SEND && asked < 0)
            asked = i;
    }
    ASSERT_GE(promised, 0);
    ASSERT_GE(asked, 0);
    EXPECT_GT(barrier, promised);
    EXPECT_LT(barrier, asked);
}

} // namespace
