/* A leader's phase 2: what it counts, what it sends again, and where it stops. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

struct Proposer : ::testing::Test {
    World w;
    uint64_t slot = 0; /* the next one of the leader */
    void SetUp() override
    {
        w.elect(0);
        w.forget_wire();
        slot = w.at(0)->slot_next;
    }
    Sent accepted(uint8_t from, uint64_t acked, uint64_t bitmap = 0)
    {
        Sent s = w.make<tr_accepted>(from, 0, TR_MESSAGE_ACCEPTED);
        tr_accepted *a = s.body<tr_accepted>();
        a->ballot = w.at(0)->ballot;
        a->slot_acked = acked;
        a->bitmap = bitmap;
        a->vector_hash = w.at(0)->vector_hash;
        if (bitmap != 0)
            a->flags = TR_ACCEPTED_GAP;
        return s;
    }
    void ack(uint8_t from, uint64_t acked, uint64_t bitmap = 0)
    {
        Sent s = accepted(from, acked, bitmap);
        w.hand_forged(s);
    }
};

TEST_F(Proposer, ASlotIsChosen_WhenAQ2HoldsIt_AndNotBefore)
{
    w.propose(0, 1);
    EXPECT_EQ(slot - 1, w.at(0)->slot_commit);
    ack(1, slot);
    EXPECT_EQ(slot, w.at(0)->slot_commit);
}

TEST_F(Proposer, AnAcknowledgementOfAnotherBallot_DoesNotCount)
{
    /* Lamport, P2: what counts is acceptance of this very proposal (rule 11). */
    w.propose(0, 1);
    Sent s = accepted(1, slot);
    s.body<tr_accepted>()->ballot.round--;
    w.hand_forged(s);
    EXPECT_EQ(slot - 1, w.at(0)->slot_commit);
    EXPECT_EQ(1u, w.at(0)->count.dropped_stale);
}

TEST_F(Proposer, AnAcknowledgementOfWhatWasNotProposed_IsDropped)
{
    w.propose(0, 1);
    ack(1, slot + 1);
    EXPECT_EQ(slot - 1, w.at(0)->slot_commit);
    EXPECT_EQ(1u, w.at(0)->count.dropped_malformed);
    Sent s = accepted(1, slot);
    s.body<tr_accepted>()->stamp = w.at(0)->stamp + 1;
    w.hand_forged(s);
    EXPECT_EQ(slot - 1, w.at(0)->slot_commit) << "an echo of what was never sent";
}

TEST_F(Proposer, BitsOfAcknowledgements_CountSlotBySlot)
{
    for (uint64_t i = 1; i <= 6; i++)
        w.propose(0, i);
    ack(1, slot - 1, 0b0011); /* slot + 1, slot + 2 */
    EXPECT_EQ(slot - 1, w.at(0)->slot_commit);
    ack(2, slot, 0b0100); /* slot, slot + 4 */
    EXPECT_EQ(slot + 2, w.at(0)->slot_commit) << "slot by node 2, two by node 1, then nobody";
    ack(2, slot + 3, 0);
    EXPECT_EQ(slot + 4, w.at(0)->slot_commit) << "slot + 4 it had told of before";
    ack(1, slot - 1, UINT64_MAX); /* bits beyond what was proposed mean nothing */
    EXPECT_EQ(slot + 5, w.at(0)->slot_commit);
}

TEST_F(Proposer, BitsOfAForgottenIncarnation_AreForgotten)
{
    /* Rule 2: what node 1 held beyond the gap went with its memory. */
    w.propose(0, 1);
    w.propose(0, 2);
    ack(1, slot - 1, 0b0001);
    ASSERT_NE(0u, tr_log_at(&w.at(0)->log, slot + 1)->acked);
    Sent s = w.make<tr_vector>(2, 0, TR_MESSAGE_VECTOR);
    *s.body<tr_vector>() = w.at(2)->vector;
    s.body<tr_vector>()->incarnation[1] = 2;
    w.hand_forged(s);
    EXPECT_EQ(0u, tr_log_at(&w.at(0)->log, slot + 1)->acked);
    EXPECT_FALSE(w.at(0)->peer[1].bitmap);
}

TEST_F(Proposer, OfFiveVoters_TwoPartialAcknowledgementsMeetInAnyOrder)
{
    Options o;
    o.voters = 5;
    World five(o);
    five.elect(0);
    five.forget_wire();
    uint64_t first = five.at(0)->slot_next;
    for (uint64_t i = 1; i <= 3; i++)
        five.propose(0, i);
    uint8_t from = 0;
    for (uint64_t acked : {first + 2, first - 1, first, first + 1}) {
        Sent s = five.make<tr_accepted>(++from, 0, TR_MESSAGE_ACCEPTED);
        s.body<tr_accepted>()->ballot = five.at(0)->ballot;
        s.body<tr_accepted>()->slot_acked = acked;
        s.body<tr_accepted>()->vector_hash = five.at(0)->vector_hash;
        five.hand_forged(s);
    }
    EXPECT_EQ(first + 1, five.at(0)->slot_commit) << "three of five hold two slots";
}

TEST_F(Proposer, AGap_IsSentAgainOnce_NotForEveryAcknowledgementThatTellsOfIt)
{
    for (uint64_t i = 1; i <= 4; i++)
        w.propose(0, i);
    w.forget_wire();
    w.node(0).effects.clear();
    for (int copy = 0; copy < 5; copy++)
        ack(1, slot - 1, 0b0010);
    EXPECT_EQ(1, w.effects_of(0, TR_EFFECT_REPLICATE));
    EXPECT_EQ(1u, w.at(0)->count.nacks);
    Sent again;
    ASSERT_TRUE(w.take(0, 1, TR_MESSAGE_ACCEPT, &again));
    EXPECT_EQ(2u, again.body<tr_accept>()->record_count) << "the two before the one that it has";
}

TEST_F(Proposer, Credit_BoundsWhatIsUnacknowledged)
{
    uint64_t sent = 0;
    for (uint64_t i = 1; i <= 40; i++)
        w.propose(0, i, 2000);
    for (Sent &s : w.wire)
        sent += s.to == 1 ? s.bytes : 0;
    EXPECT_LE(sent, 32768u + 4096u);
    EXPECT_LT(w.at(0)->peer[1].slot_sent, w.at(0)->slot_next - 1);
    w.run(50000);
    EXPECT_EQ(w.at(0)->slot_next - 1, w.at(0)->slot_commit) << "acknowledgements give more";
}

TEST_F(Proposer, Room_EndsAtThreeQuartersOfTheSlots_AndComesBackWithASnapshot)
{
    w.node(0).images_by_hand = true;
    uint64_t taken = 0;
    while (tr_replica_can_propose(w.at(0), 64) && taken < 1000) {
        w.propose(0, ++taken);
        w.run(10000);
    }
    EXPECT_EQ(256u / 4 * 3, w.at(0)->slot_next - 1);
    w.node(0).effects.clear();
    w.propose(0, taken + 1);
    ASSERT_EQ(1, w.effects_of(0, TR_EFFECT_REJECT));
    EXPECT_EQ(TR_REJECT_FULL, w.node(0).effects.front().u.reject.reason);
    ASSERT_TRUE(w.node(0).image_asked);
    w.image_made(0, w.at(0)->slot_apply);
    EXPECT_TRUE(tr_replica_can_propose(w.at(0), 64));
}

TEST_F(Proposer, Room_EndsAtThreeQuartersOfTheBytes)
{
    w.node(0).images_by_hand = true;
    uint64_t taken = 0;
    while (tr_replica_can_propose(w.at(0), 4096) && taken < 1000) {
        w.propose(0, ++taken, 4000);
        w.run(20000);
    }
    EXPECT_GT(taken, 40u);
    EXPECT_LE(w.at(0)->log.head, (UINT64_C(1) << 18) / 4 * 3);
    EXPECT_TRUE(tr_replica_can_propose(w.at(0), 64)) << "a short one still fits";
}

TEST_F(Proposer, ABatchWrittenInPlace_IsTakenWithoutACopy)
{
    uint32_t bytes = tr_run_bytes(1, 8);
    tr_run *run = static_cast<tr_run *>(tr_replica_propose_room(w.at(0), bytes));
    ASSERT_NE(nullptr, run);
    memset(run, 0, bytes);
    run->session = run->sequence = run->count = 1;
    run->bytes_each = 8;
    tr_event event{};
    event.type = TR_EVENT_PROPOSE;
    event.u.propose.data = run;
    event.u.propose.bytes = bytes;
    event.u.propose.command_count = 1;
    w.step(0, event);
    EXPECT_EQ(static_cast<const void *>(run),
              tr_log_record(&w.at(0)->log, tr_log_at(&w.at(0)->log, slot)) + 1);
    tr_replica_check_whole(w.at(0));
}

TEST_F(Proposer, Room_IsNobodysAfterTheLeadershipIsLost)
{
    ASSERT_NE(nullptr, tr_replica_propose_room(w.at(0), 64));
    w.campaign(1);
    w.run(HEARTBEAT_NS);
    EXPECT_EQ(nullptr, tr_replica_propose_room(w.at(0), 64));
    EXPECT_EQ(0u, w.at(0)->room_bytes);
    EXPECT_EQ(nullptr, tr_replica_propose_room(w.at(1), 1 << 20)) << "larger than an entry may be";
    EXPECT_FALSE(tr_replica_can_propose(w.at(1), 1 << 20));
}

TEST_F(Proposer, ASilentPeer_IsSentNothing_UntilItIsHeard)
{
    w.cut[0][2] = w.cut[2][0] = true;
    w.run(3 * ELECTION_NS);
    w.node(0).effects.clear();
    w.propose(0, 1);
    for (const tr_effect &e : w.node(0).effects)
        EXPECT_TRUE(e.type != TR_EFFECT_REPLICATE || e.peers == 1u << 1);
    w.cut[0][2] = w.cut[2][0] = false;
    ASSERT_TRUE(w.run_until([&] { return w.at(2)->slot_commit == w.at(0)->slot_commit; }));
}

TEST_F(Proposer, AReject_OfALeaderInContact_RepeatsPhaseOneHigher)
{
    /* Rule 9. */
    Sent s = w.make<tr_reject>(1, 0, TR_MESSAGE_REJECT);
    s.body<tr_reject>()->ballot = w.at(0)->ballot;
    s.body<tr_reject>()->promised = w.at(0)->ballot;
    s.body<tr_reject>()->promised.round += 5;
    w.hand_forged(s);
    EXPECT_EQ(TR_REPLICA_CANDIDATE, w.at(0)->role);
    EXPECT_EQ(s.body<tr_reject>()->promised.round + 1, w.at(0)->ballot.round);
    w.hand_forged(s);
    EXPECT_EQ(TR_REPLICA_CANDIDATE, w.at(0)->role) << "that was of the ballot before";
}

TEST(ProposerDisk, MoreEntriesUnderWayThanAreRemembered_AreDurableTogether)
{
    Options o;
    o.level = TR_LEVEL_DISK;
    World w(o);
    w.elect(0);
    w.node(0).persists_by_hand = true;
    for (uint64_t i = 1; i <= 100; i++)
        w.propose(0, i);
    uint64_t last = w.at(0)->log.slot_last;
    EXPECT_LT(w.at(0)->slot_durable, last - 90);
    w.durable(0);
    EXPECT_EQ(last, w.at(0)->slot_durable);
}

TEST(ProposerAsync, OwnEntriesCountAtOnce)
{
    Options o;
    o.level = TR_LEVEL_ASYNC;
    World w(o);
    w.elect(0);
    w.node(0).persists_by_hand = true;
    w.propose(0, 1);
    EXPECT_EQ(w.at(0)->log.slot_last, w.at(0)->slot_durable);
    w.run(HEARTBEAT_NS);
    EXPECT_EQ(w.at(0)->log.slot_last, w.at(0)->slot_commit);
}

/* ---- one-sided */

struct ProposerRing : ::testing::Test {
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
        w.forget_wire();
        slot = w.at(0)->slot_next;
        ASSERT_NE(nullptr, tr_replica_grant(w.at(0), 1));
    }
};

TEST_F(ProposerRing, ACompletion_CountsOnlyUnderTheGrantThatIs)
{
    w.propose(0, 1);
    tr_event event{};
    event.type = TR_EVENT_WRITTEN;
    event.u.written.generation = w.at(0)->peer[1].grant.generation + 1;
    event.u.written.slot_first = event.u.written.slot_last = slot;
    event.u.written.status = TR_WRITTEN_OK;
    event.u.written.peer = 1;
    w.step(0, event);
    EXPECT_EQ(slot - 1, w.at(0)->slot_commit);
    w.written(0, 1, slot, slot + 1);
    EXPECT_EQ(slot - 1, w.at(0)->slot_commit) << "of more than was proposed";
    w.written(0, 1, slot, slot);
    EXPECT_EQ(slot, w.at(0)->slot_commit);
}

TEST_F(ProposerRing, ACompletion_AfterANewIncarnationWasHeardOf_IsVoid)
{
    /* A WRITTEN knows what its grant knew (rule 2). */
    w.propose(0, 1);
    w.cut[0][2] = w.cut[2][0] = true;
    tr_vector vector = w.at(0)->vector;
    vector.incarnation[2] = 2;
    Sent s = w.make<tr_vector>(1, 0, TR_MESSAGE_VECTOR);
    *s.body<tr_vector>() = vector;
    w.hand_forged(s);
    w.written(0, 1, slot, slot);
    EXPECT_EQ(slot - 1, w.at(0)->slot_commit);
    EXPECT_EQ(1u, w.at(0)->count.quorums_void);
}

TEST_F(ProposerRing, ARing_IsFilledNoFurtherThanTheFollowersLogHasRoom)
{
    /* A write cannot be refused for want of room: a follower that never recycles must not be sent
     * more slots than its log has. */
    w.node(1).images_by_hand = true;
    w.cut[0][1] = w.cut[1][0] = true; /* no acknowledgement tells of what it recycled */
    uint64_t number = 0;
    w.cut[0][2] = w.cut[2][0] = true;
    for (int i = 0; i < 400 && tr_replica_can_propose(w.at(0), 64); i++) {
        w.propose(0, ++number);
        uint64_t last = w.at(0)->peer[2].slot_sent;
        w.written(0, 2, last, last); /* node 2's completions commit */
        w.now_ns += 1000;
        w.tick();
    }
    EXPECT_GT(number, 150u);
    EXPECT_LE(w.at(0)->peer[1].slot_sent, w.at(0)->peer[1].slot_recyclable + 256 / 16 * 15);
}

TEST_F(ProposerRing, ARecordForAPeer_CarriesItsGrantAndTheWatermark)
{
    w.propose(0, 1);
    tr_record header;
    tr_piece payload;
    ASSERT_TRUE(tr_replica_ring_record(w.at(0), 1, slot, 128, &header, &payload));
    EXPECT_EQ(w.at(0)->peer[1].grant.generation, header.generation);
    EXPECT_EQ(w.at(0)->peer[1].grant.tag, header.tag);
    EXPECT_EQ(2u, header.position);
    EXPECT_EQ(slot - w.at(0)->slot_commit, header.commit_lag);
    EXPECT_TRUE(tr_record_header_valid(&header));
    EXPECT_FALSE(tr_replica_ring_record(w.at(0), 1, slot + 1, 128, &header, &payload));
    EXPECT_FALSE(tr_replica_ring_record(w.at(1), 0, slot, 128, &header, &payload));
}

} // namespace
