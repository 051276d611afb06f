/* The acceptor: what it promises, accepts and acknowledges, rule by rule. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

struct Acceptor : ::testing::Test {
    World w;
    uint64_t slot = 0;
    void SetUp() override
    {
        w.elect(0);
        w.forget_wire();
        w.node(1).effects.clear();
        slot = w.at(0)->slot_next;
    }
    Sent prepare(uint8_t from, uint64_t round, uint64_t slot_from = 1)
    {
        Sent s = w.make<tr_prepare>(from, 1, TR_MESSAGE_PREPARE);
        s.body<tr_prepare>()->ballot = {round, 1, static_cast<tr_node_id>(from + 1), 0};
        s.body<tr_prepare>()->slot_from = slot_from;
        return s;
    }
    Sent accept(uint64_t number)
    {
        Sent s;
        w.propose(0, number);
        EXPECT_TRUE(w.take(0, 1, TR_MESSAGE_ACCEPT, &s));
        return s;
    }
    const tr_accepted *acknowledgement()
    {
        w.timeout(1);
        while (w.take(1, 0, TR_MESSAGE_ACCEPTED, &ack_)) /* the latest */
            ;
        EXPECT_FALSE(ack_.words.empty());
        return ack_.body<tr_accepted>();
    }

  private:
    Sent ack_;
};

TEST_F(Acceptor, APromise_NeverFalls)
{
    /* Lamport, "Paxos Made Simple", P1a. */
    Sent high = prepare(2, 9), low = prepare(0, 8);
    w.hand_forged(high);
    EXPECT_EQ(9u, w.at(1)->promised.round);
    w.hand_forged(low);
    EXPECT_EQ(9u, w.at(1)->promised.round);
    Sent reject;
    ASSERT_TRUE(w.take(1, 0, TR_MESSAGE_REJECT, &reject));
    EXPECT_EQ(9u, reject.body<tr_reject>()->promised.round);
}

TEST_F(Acceptor, APrepareInTheNameOfAnother_IsDropped)
{
    Sent s = prepare(2, 9);
    s.body<tr_prepare>()->ballot.node = 1;
    w.hand_forged(s);
    s = prepare(2, 9);
    s.body<tr_prepare>()->ballot.incarnation = 2;
    w.hand_forged(s);
    s = prepare(2, 9, 0);
    w.hand_forged(s);
    EXPECT_EQ(3u, w.at(1)->count.dropped_malformed);
    EXPECT_EQ(1u, w.at(1)->promised.round);
}

TEST_F(Acceptor, ARepeatedPrepare_ReturnsThePageThatItAsksFor)
{
    w.hand(w.wire.emplace_back(accept(1)));
    w.forget_wire();
    Sent s = prepare(2, 9, slot), first, second;
    w.hand_forged(s);
    ASSERT_TRUE(w.take(1, 2, TR_MESSAGE_PROMISE, &first));
    EXPECT_EQ(1u, first.body<tr_promise>()->record_count);
    s.body<tr_prepare>()->slot_from = slot + 1;
    w.hand_forged(s);
    ASSERT_TRUE(w.take(1, 2, TR_MESSAGE_PROMISE, &second));
    EXPECT_EQ(slot + 1, second.body<tr_promise>()->slot_first);
    EXPECT_EQ(0u, second.body<tr_promise>()->record_count);
    EXPECT_EQ(1, w.effects_of(1, TR_EFFECT_FENCE)) << "and fences once";
}

TEST_F(Acceptor, WhileItFences_NothingOfTheNewBallotIsAcceptedByMessage)
{
    w.node(1).fences_by_hand = true;
    Sent a = accept(1);
    Sent s = prepare(0, 9);
    w.hand_forged(s);
    a.body<tr_accept>()->ballot = s.body<tr_prepare>()->ballot;
    uint64_t last = w.at(1)->log.slot_last;
    w.hand_forged(a);
    EXPECT_EQ(last, w.at(1)->log.slot_last);
    w.fenced(1, {8, 1, 1, 0});
    EXPECT_EQ(1u, w.at(1)->count.fences_superseded) << "the fence of another ballot ends nothing";
    EXPECT_FALSE(tr_ballot_none(w.at(1)->fencing));
}

TEST_F(Acceptor, AnAcceptInTheNameOfAnother_IsDropped)
{
    Sent a = accept(1);
    a.body<tr_accept>()->ballot.node = 3;
    w.hand_forged(a);
    EXPECT_EQ(1u, w.at(1)->count.dropped_malformed);
}

TEST_F(Acceptor, ARecordOfAnotherBallotThanItsMessage_EndsTheMessage)
{
    w.more = true; /* both in one cycle, and so in one message */
    w.propose_bytes(0, 1, "first...", 8);
    w.propose_bytes(0, 2, "second..", 8);
    w.more = false;
    w.timeout(0);
    Sent a;
    ASSERT_TRUE(w.take(0, 1, TR_MESSAGE_ACCEPT, &a));
    ASSERT_EQ(2u, a.body<tr_accept>()->record_count);
    tr_record *first = reinterpret_cast<tr_record *>(a.body<tr_accept>() + 1);
    tr_record *second = reinterpret_cast<tr_record *>(reinterpret_cast<uint8_t *>(first) +
                                                      tr_record_bytes(first->payload_bytes));
    second->ballot.round++;
    tr_record_seal(second);
    w.hand(a);
    EXPECT_NE(nullptr, tr_log_at(&w.at(1)->log, slot));
    EXPECT_EQ(nullptr, tr_log_at(&w.at(1)->log, slot + 1));
    EXPECT_EQ(1u, w.at(1)->count.dropped_malformed);
}

TEST_F(Acceptor, Bits_TellOfUpToSixtyFourSlotsBehindTheGap)
{
    Sent lost = accept(1);
    for (uint64_t i = 2; i <= 80; i++) {
        Sent a = accept(i);
        w.hand(a);
    }
    const tr_accepted *ack = acknowledgement();
    EXPECT_EQ(slot - 1, ack->slot_acked);
    EXPECT_EQ(UINT64_MAX, ack->bitmap);
    EXPECT_EQ(unsigned(TR_ACCEPTED_GAP), ack->flags);
    w.hand(lost);
    ack = acknowledgement();
    EXPECT_EQ(slot + 79, ack->slot_acked);
    EXPECT_EQ(0u, ack->bitmap);
}

TEST_F(Acceptor, AnAcknowledgement_CountsOnlyWhatIsHeldAtItsBallot)
{
    /* Rule 11: slot at 1/1 is held, slot at the next ballot of node 0 is missed. */
    Sent a = accept(1);
    w.hand(a);
    w.forget_wire();
    Sent reject = w.make<tr_reject>(2, 0, TR_MESSAGE_REJECT);
    reject.body<tr_reject>()->ballot = w.at(0)->ballot;
    reject.body<tr_reject>()->promised = {w.at(0)->ballot.round + 1, 1, 3, 0};
    w.hand_forged(reject);
    w.deliver();
    w.deliver();
    ASSERT_EQ(TR_REPLICA_LEADER, w.at(0)->role);
    w.timeout(0);
    w.forget_wire(); /* the slots at the new ballot */
    uint64_t next = w.at(0)->slot_next;
    a = accept(2);
    w.hand(a);
    const tr_accepted *ack = acknowledgement();
    EXPECT_EQ(slot - 1, ack->slot_acked) << "what it holds at 1/1 is not acknowledged at 3/1";
    EXPECT_EQ(UINT64_C(1) << (next - slot - 1), ack->bitmap);
}

TEST_F(Acceptor, AFullLog_TakesNothing_AsksForASnapshot_AndGoesOn)
{
    w.node(1).images_by_hand = true;
    w.node(1).applies_by_hand = true;
    uint64_t number = 0;
    for (int i = 0; i < 400; i++) {
        w.propose(0, ++number);
        w.run(10000);
    }
    EXPECT_GT(w.at(1)->count.dropped_full, 0u);
    EXPECT_EQ(256u, w.at(1)->log.slot_last);
    w.applied(1, w.at(1)->slot_commit);
    ASSERT_TRUE(w.run_until([&] { return w.node(1).image_asked; }));
    w.node(1).images_by_hand = w.node(1).applies_by_hand = false;
    w.image_made(1, w.at(1)->slot_apply);
    EXPECT_TRUE(w.run_until([&] { return w.at(1)->slot_commit == w.at(0)->slot_commit; }));
    tr_replica_check_whole(w.at(1));
}

/* ---- rings */

struct Drain : ::testing::Test {
    static Options options()
    {
        Options o;
        o.one_sided = true;
        return o;
    }
    World w{options()};
    uint64_t slot = 0;
    void SetUp() override
    {
        w.writes_by_hand = false;
        w.elect(0);
        w.writes_by_hand = true;
        slot = w.at(0)->slot_next;
    }
    /* Hands records of the leader's log up, changed, from a ring of a generation. */
    void entries(uint64_t generation, const std::function<void(tr_record *)> &change)
    {
        tr_record header;
        tr_piece payload;
        ASSERT_TRUE(tr_replica_ring_record(w.at(0), 1, slot, 0, &header, &payload));
        std::vector<uint64_t> words((sizeof(header) + payload.bytes + 63) / 8, 0);
        change(&header);
        memcpy(words.data(), &header, sizeof(header));
        memcpy(words.data() + 8, payload.data, payload.bytes);
        const tr_record *record = reinterpret_cast<const tr_record *>(words.data());
        tr_event event{};
        event.type = TR_EVENT_ENTRIES_SEEN;
        event.u.entries_seen.generation = generation;
        event.u.entries_seen.record = &record;
        event.u.entries_seen.count = 1;
        w.step(1, event);
    }
};

TEST_F(Drain, ARecordOfAnotherGeneration_IsDiscardedAndConsumed)
{
    w.propose(0, 1);
    entries(w.at(1)->grant.generation + 1, [](tr_record *) {});
    EXPECT_EQ(1u, tr_replica_entries_admitted(w.at(1)));
    EXPECT_EQ(nullptr, tr_log_at(&w.at(1)->log, slot));
}

TEST_F(Drain, ARecordAboveThePromise_OrWithAWatermarkThatCannotBe_IsDropped)
{
    w.propose(0, 1);
    uint64_t generation = w.at(1)->grant.generation;
    entries(generation, [](tr_record *r) { r->ballot.round++; });
    entries(generation, [](tr_record *r) { r->commit_lag = static_cast<uint32_t>(r->slot + 1); });
    EXPECT_EQ(2u, w.at(1)->count.dropped_malformed);
    EXPECT_EQ(nullptr, tr_log_at(&w.at(1)->log, slot));
    entries(generation, [](tr_record *) {});
    EXPECT_NE(nullptr, tr_log_at(&w.at(1)->log, slot));
}

TEST_F(Drain, WhatFindsNoRoom_StaysInTheRing)
{
    w.node(1).images_by_hand = w.node(1).applies_by_hand = true;
    w.propose(0, 1, 4000);
    uint64_t generation = w.at(1)->grant.generation;
    for (int i = 0; i < 70; i++) {
        slot = w.at(0)->slot_next - 1;
        entries(generation, [&](tr_record *r) {
            r->slot += static_cast<uint64_t>(i);
            r->commit_lag = 0;
            tr_record_seal(r);
        });
        if (tr_replica_entries_admitted(w.at(1)) == 0)
            break;
    }
    EXPECT_EQ(0u, tr_replica_entries_admitted(w.at(1)));
    EXPECT_GT(w.at(1)->count.dropped_full, 0u);
}

} // namespace
