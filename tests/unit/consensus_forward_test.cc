/* Forwarding: batches of a follower reach its leader in order, or its clients are told. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

struct Forward : ::testing::Test {
    World w;
    uint64_t before = 0;
    void SetUp() override
    {
        w.elect(0);
        w.forget_wire();
        w.node(1).effects.clear();
        before = w.at(0)->slot_next;
    }
    /* A batch of node 1 as a message, without its step. */
    Sent forward_of(uint64_t number)
    {
        Sent s;
        w.propose(1, number);
        EXPECT_TRUE(w.take(1, 0, TR_MESSAGE_FORWARD, &s));
        return s;
    }
};

TEST_F(Forward, ABatch_IsTakenOnce)
{
    Sent s = forward_of(1);
    w.hand(s);
    w.hand(s);
    EXPECT_EQ(before + 1, w.at(0)->slot_next);
    EXPECT_EQ(1u, w.at(0)->count.forwards_dropped);
}

TEST_F(Forward, ALaterBatch_WaitsForTheOneBefore)
{
    Sent first = forward_of(1), second = forward_of(2);
    w.hand(second);
    EXPECT_EQ(before, w.at(0)->slot_next);
    w.hand(first);
    w.hand(second);
    EXPECT_EQ(before + 2, w.at(0)->slot_next);
}

TEST_F(Forward, ALaterStream_ReplacesAnEarlierOne)
{
    Sent lost = forward_of(1), old = forward_of(2);
    w.run(17 * RETRANSMIT_NS);
    ASSERT_EQ(1, w.effects_of(1, TR_EFFECT_RESUBMIT));
    Sent again = forward_of(1);
    w.hand(again);
    EXPECT_EQ(before + 1, w.at(0)->slot_next);
    w.hand(lost);
    w.hand(old);
    EXPECT_EQ(before + 1, w.at(0)->slot_next) << "nothing of the stream that was given up";
}

TEST_F(Forward, TheWindow_IsFull)
{
    for (uint64_t number = 1; number <= TR_FORWARD_WINDOW; number++) {
        ASSERT_TRUE(tr_replica_can_propose(w.at(1), 8));
        w.propose(1, number);
    }
    EXPECT_FALSE(tr_replica_can_propose(w.at(1), 8));
    w.propose(1, TR_FORWARD_WINDOW + 1);
    ASSERT_EQ(1, w.effects_of(1, TR_EFFECT_REJECT));
    EXPECT_EQ(TR_REJECT_FULL, w.node(1).effects.back().u.reject.reason);
    EXPECT_EQ(1, w.node(1).effects.back().u.reject.leader);
    w.run(HEARTBEAT_NS);
    EXPECT_TRUE(tr_replica_can_propose(w.at(1), 8));
}

TEST_F(Forward, AMalformedBatch_IsDroppedAndCounted)
{
    Sent s = forward_of(1);
    tr_forward *f = s.body<tr_forward>();
    f->command_count = 2;
    w.hand_forged(s);
    f->command_count = 1;
    f->payload_crc ^= 1;
    w.hand_forged(s);
    f->payload_crc ^= 1;
    f->command_count = TR_BATCH_COMMANDS_MAX + 1;
    w.hand_forged(s);
    EXPECT_EQ(3u, w.at(0)->count.dropped_malformed);
    EXPECT_EQ(before, w.at(0)->slot_next);
}

TEST_F(Forward, ABatchForAnotherBallot_IsDropped)
{
    Sent s = forward_of(1);
    w.campaign(0); /* a leader stays what it is */
    ASSERT_EQ(TR_REPLICA_LEADER, w.at(0)->role);
    s.body<tr_forward>()->ballot.round++;
    w.hand_forged(s);
    EXPECT_EQ(before, w.at(0)->slot_next);
}

TEST_F(Forward, AnAcknowledgementOfMoreThanWasSent_IsDropped)
{
    Sent s = forward_of(1);
    Sent ack = w.make<tr_forwarded>(0, 1, TR_MESSAGE_FORWARDED);
    ack.body<tr_forwarded>()->ballot = w.at(1)->promised;
    ack.body<tr_forwarded>()->stream = w.at(1)->forward_stream;
    ack.body<tr_forwarded>()->incarnation = 1;
    ack.body<tr_forwarded>()->index_next = w.at(1)->forward_sent + 1;
    w.hand_forged(ack);
    EXPECT_EQ(0u, w.at(1)->forward_acked);
    ack.body<tr_forwarded>()->stream++;
    ack.body<tr_forwarded>()->index_next = 1;
    w.hand_forged(ack);
    EXPECT_EQ(0u, w.at(1)->forward_acked) << "of another stream";
}

TEST_F(Forward, AnAcknowledgementToAnotherProcessOfThisNode_AcknowledgesNothing)
{
    /* Streams must not begin anew with every process (rule 2), or a batch that was lost passes for
     * taken, and nobody submits it again. */
    w.propose(1, 1);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_FORWARD; });
    w.timeout(0);
    Sent late;
    ASSERT_TRUE(w.take(0, 1, TR_MESSAGE_FORWARDED, &late));
    w.crash(1);
    w.forget_wire();
    w.boot(1);
    ASSERT_TRUE(w.run_until([&] { return w.at(1)->leader == 0; }));
    w.run(2 * HEARTBEAT_NS);
    ASSERT_EQ(0, w.leader());
    /* Whatever the number of the new process's stream: one of the old numbers comes again. */
    for (uint64_t stream = 0; stream < 8; stream++) {
        late.body<tr_forwarded>()->stream = stream;
        w.propose(1, 2 + stream);
        w.forget_wire();
        w.hand_forged(late);
        ASSERT_EQ(0u, w.at(1)->forward_acked) << "stream " << stream;
    }
}

} // namespace
