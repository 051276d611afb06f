/* Reads without a log entry: what confirms one, and what must not. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

std::function<bool(Sent &)> of(std::vector<uint8_t> types)
{
    return [types](Sent &s) {
        for (uint8_t type : types)
            if (s.type() == type)
                return true;
        return false;
    };
}

TEST(Read, AnAnswerToAnotherProcessOfThisNode_AnswersNoReadOfThisOne)
{
    /* The ids of reads begin anew with every process. Rule 2: what travels carries the incarnation
     * that it is for. */
    World w;
    w.elect(0);
    w.read(1, 1);
    w.run(3 * HEARTBEAT_NS, [](Sent &s) { return s.type() != TR_MESSAGE_READ_SLOT; });
    Sent late;
    ASSERT_TRUE(w.take(0, 1, TR_MESSAGE_READ_SLOT, &late));
    w.crash(1);
    w.forget_wire();
    w.boot(1);
    ASSERT_TRUE(w.run_until([&] { return w.at(1)->leader == 0; }));
    w.run(3 * HEARTBEAT_NS);
    ASSERT_EQ(0, w.leader()) << "and at the same ballot";
    w.cut[0][1] = w.cut[1][0] = true;
    w.propose(0, 1);
    w.run(HEARTBEAT_NS);
    ASSERT_GT(w.at(0)->slot_commit, w.at(1)->slot_commit);
    w.read(1, 1);
    w.hand(late);
    EXPECT_EQ(0u, w.node(1).read_ready) << "it misses what was chosen before it was asked for";
}

TEST(Read, AsksAgain_WhenTheQuestionOrTheAnswerIsLost)
{
    World w;
    w.elect(0);
    w.read(1, 1);
    w.forget_wire();
    ASSERT_TRUE(w.run_until([&] { return w.node(1).read_ready == 1; }, ELECTION_NS));
    w.read(1, 2);
    w.run(4 * RETRANSMIT_NS, [](Sent &s) { return s.type() != TR_MESSAGE_READ_SLOT; });
    w.forget_wire();
    ASSERT_TRUE(w.run_until([&] { return w.node(1).read_ready == 2; }, ELECTION_NS));
    EXPECT_EQ(2u, w.at(1)->count.read_rounds) << "asking again is no other round";
}

TEST(Read, OfManyIds_IsAnsweredUpToTheNewestThatTheRoundKnew)
{
    World w;
    w.elect(0);
    w.read(0, 3);
    w.read(0, 7);
    w.read(0, 9);
    w.timeout(0);
    w.deliver(of({TR_MESSAGE_HEARTBEAT}));
    w.timeout(1);
    w.deliver(of({TR_MESSAGE_ACCEPTED}));
    EXPECT_EQ(3u, w.node(0).read_ready) << "7 and 9 came during its round";
    w.run(HEARTBEAT_NS);
    EXPECT_EQ(9u, w.node(0).read_ready);
}

TEST(Read, WaitsUntilItsSlotIsApplied)
{
    World w;
    w.elect(0);
    w.node(0).applies_by_hand = true;
    w.propose(0, 1);
    w.run(HEARTBEAT_NS);
    uint64_t commit = w.at(0)->slot_commit;
    ASSERT_GT(commit, w.at(0)->slot_apply);
    w.read(0, 1);
    w.run(2 * HEARTBEAT_NS);
    EXPECT_EQ(0u, w.node(0).read_ready);
    w.applied(0, commit);
    EXPECT_EQ(1u, w.node(0).read_ready);
}

TEST(Read, ThatIsConfirmedOftenerThanApplied_WaitsUnconfirmed)
{
    /* TR_READS_CONFIRMED_MAX rounds may wait to be applied; more do not begin. */
    World w;
    w.elect(0);
    w.node(0).applies_by_hand = true;
    w.propose(0, 1);
    w.run(HEARTBEAT_NS);
    uint64_t id = 0;
    for (int round = 0; round < TR_READS_CONFIRMED_MAX + 4; round++) {
        w.read(0, ++id);
        w.run(20000);
    }
    EXPECT_EQ(static_cast<uint32_t>(TR_READS_CONFIRMED_MAX),
              w.at(0)->read_confirmed_tail - w.at(0)->read_confirmed_head);
    w.applied(0, w.at(0)->slot_commit);
    EXPECT_EQ(static_cast<uint64_t>(TR_READS_CONFIRMED_MAX), w.node(0).read_ready);
    w.node(0).applies_by_hand = false;
    ASSERT_TRUE(w.run_until([&] { return w.node(0).read_ready == id; }, ELECTION_NS));
}

TEST(Read, OfAFollower_WithoutALeader_IsAskedWhenThereIsOne)
{
    World w;
    w.elect(0);
    w.crash(0);
    w.run(3 * ELECTION_NS / 2, [](Sent &s) { return s.type() != TR_MESSAGE_PREVOTE; });
    ASSERT_GE(w.at(2)->leader, w.count());
    w.read(2, 1);
    ASSERT_TRUE(w.run_until([&] { return w.node(2).read_ready == 1; }));
}

TEST(Read, IsAskedOfTheNewLeader_WhenTheLeaderChanges)
{
    World w;
    w.elect(0);
    w.read(2, 1);
    w.forget_wire();
    w.campaign(1);
    ASSERT_TRUE(w.run_until([&] { return w.node(2).read_ready == 1; }));
    EXPECT_EQ(1, w.leader());
}

TEST(Read, OfAnotherBallot_IsDropped)
{
    World w;
    w.elect(0);
    Sent ask = w.make<tr_read_index>(1, 0, TR_MESSAGE_READ_INDEX);
    ask.body<tr_read_index>()->ballot = {99, 1, 1, 0};
    ask.body<tr_read_index>()->id = 1;
    uint64_t stale = w.at(0)->count.dropped_stale;
    w.hand_forged(ask);
    EXPECT_EQ(stale + 1, w.at(0)->count.dropped_stale);
    EXPECT_EQ(0u, w.at(0)->peer[1].read_id);
}

TEST(Lease, WithAClockThatStoodStill_IsNotLongerThanItsGrant)
{
    /* Rule 16: a core that was stalled finds its lease over when it looks at the clock again. */
    Options o;
    o.lease_ns = ELECTION_NS / 2;
    World w(o);
    w.elect(0);
    EXPECT_TRUE(tr_read_lease_holds(w.at(0)));
    w.now_ns += o.lease_ns + 1;
    tr_event event{};
    event.type = TR_EVENT_READ;
    event.u.read.id = 1;
    w.step(0, event);
    EXPECT_EQ(0u, w.node(0).read_ready);
    EXPECT_EQ(0u, w.at(0)->count.lease_reads);
}

TEST(Lease, OfARestartedGrantor_IsKeptAsIfItHadBeenGranted)
{
    Options o;
    o.lease_ns = ELECTION_NS / 2;
    World w(o);
    w.elect(0);
    w.crash(1);
    w.forget_wire();
    w.boot(1);
    ASSERT_TRUE(w.run_until([&] { return w.at(1)->role == TR_REPLICA_FOLLOWER; }));
    EXPECT_GE(w.at(1)->lease_until_ns, w.now_ns + o.lease_ns);
    w.campaign(1);
    EXPECT_EQ(TR_REPLICA_FOLLOWER, w.at(1)->role) << "not before the lease that it forgot is over";
}

} // namespace
