/* What the shell may ask of a replica and is not there, and runs and records that are none. */
#include "consensus/ring.h"
#include "tests/unit/record_builder.h"
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

struct LookUp : ::testing::Test {
    World w;
    void SetUp() override
    {
        w.elect(0);
        w.forget_wire();
    }
};

/* ---- what the shell looks up */

TEST_F(LookUp, OfWhatIsNotThere_SaysSo)
{
    alignas(8) uint8_t header[TR_MESSAGE_HEADER_BYTES_MAX];
    tr_piece piece[1 + TR_SEND_PIECES_MAX];
    uint32_t count = 0;
    tr_record record;
    tr_replica *leader = w.at(0), *follower = w.at(1);
    uint64_t next = leader->slot_next;
    EXPECT_EQ(nullptr, tr_replica_held(leader, next + 100));
    EXPECT_NE(nullptr, tr_replica_held(leader, next - 1));
    EXPECT_EQ(UINT64_MAX, tr_replica_position(leader, next + 100));
    EXPECT_EQ(0u, tr_replica_node(leader, 9));
    EXPECT_EQ(0u, tr_replica_incarnation(leader, 9));
    EXPECT_EQ(TR_MEMBERS_MAX, tr_replica_member(leader, 99));
    EXPECT_EQ(nullptr, tr_replica_grant(leader, 9));
    EXPECT_EQ(nullptr, tr_replica_grant(follower, 0));
    EXPECT_EQ(4u, tr_replica_accept(follower, 5, 5, header, piece, &count)) << "not the leader";
    EXPECT_EQ(next - 1, tr_replica_accept(leader, next, next, header, piece, &count));
    EXPECT_EQ(0u, tr_replica_accept(leader, 1, 0, header, piece, &count)) << "nothing is asked";
    EXPECT_EQ(next - 1, tr_replica_accept(leader, next - 1, next - 1, header, piece, &count));
    tr_slot *slot = &leader->log.slot[(next - 1) & leader->log.slot_mask];
    slot->ballot.round--;
    EXPECT_EQ(next - 2, tr_replica_accept(leader, next - 1, next - 1, header, piece, &count))
        << "not proposed again yet";
    slot->ballot.round++;
    slot->state = TR_SLOT_EMPTY;
    EXPECT_EQ(next - 2, tr_replica_accept(leader, next - 1, next - 1, header, piece, &count))
        << "recycled";
    slot->state = TR_SLOT_ACCEPTED;
    EXPECT_FALSE(tr_replica_ring_record(leader, 1, next - 1, 0, &record, piece)) << "no grant";
    EXPECT_EQ(7u, tr_replica_ring_void(leader, 1, 3, 7)) << "no grant: all of it";
}

TEST(LookUpOneSided, SlotsThatAreNotProposedAgainYet_AreVoidForARing)
{
    Options options;
    options.one_sided = true;
    World w(options);
    w.writes_by_hand = false;
    w.elect(0);
    for (uint64_t i = 1; i <= 5; i++)
        w.propose(0, i);
    tr_replica *r = w.at(0);
    uint64_t last = r->slot_next - 1;
    tr_record record;
    tr_piece payload;
    EXPECT_TRUE(tr_replica_ring_record(r, 1, last, 0, &record, &payload));
    EXPECT_FALSE(tr_replica_ring_record(r, 1, last + 1, 0, &record, &payload));
    EXPECT_EQ(last - 3, tr_replica_ring_void(r, 1, last - 3, last)) << "the next one is there";
    r->log.slot[(last - 1) & r->log.slot_mask].ballot.round--;
    EXPECT_FALSE(tr_replica_ring_record(r, 1, last - 1, 0, &record, &payload));
    EXPECT_EQ(last - 1, tr_replica_ring_void(r, 1, last - 1, last));
    EXPECT_EQ(last - 1, tr_replica_ring_void(r, 1, last - 2, last))
        << "up to the one of an old ballot";
    EXPECT_EQ(last + 9, tr_replica_ring_void(r, 1, last + 1, last + 9));
}

TEST_F(LookUp, ARoomThatIsTooLargeOrNotTheLeaders_IsNotGiven)
{
    EXPECT_EQ(nullptr, tr_replica_propose_room(w.at(1), 8));
    EXPECT_EQ(nullptr, tr_replica_propose_room(w.at(0), w.at(0)->config.entry_bytes_max + 1));
    EXPECT_FALSE(tr_replica_can_propose(w.at(0), w.at(0)->config.entry_bytes_max + 1));
    EXPECT_NE(nullptr, tr_replica_propose_room(w.at(0), 8));
    w.at(0)->slot_restamp = w.at(0)->slot_restamp_last;
    EXPECT_EQ(nullptr, tr_replica_propose_room(w.at(0), 8)) << "it has still to propose again";
}

TEST_F(LookUp, ABatchThatIsNotTheOneOfTheRoom_IsCopied)
{
    tr_replica *r = w.at(0);
    uint8_t *room = static_cast<uint8_t *>(tr_replica_propose_room(r, 64));
    ASSERT_NE(nullptr, room);
    uint64_t next = r->slot_next;
    w.propose(0, 1);
    EXPECT_EQ(next + 1, r->slot_next) << "other memory";
    tr_run run{};
    run.session = 1;
    run.sequence = 2;
    run.bytes_each = 64;
    run.count = 1;
    room = static_cast<uint8_t *>(tr_replica_propose_room(r, 32));
    ASSERT_NE(nullptr, room);
    memset(room, 0, 96);
    memcpy(room, &run, sizeof(run));
    tr_event event{};
    event.type = TR_EVENT_PROPOSE;
    event.u.propose.data = room;
    event.u.propose.bytes = sizeof(run) + 64;
    event.u.propose.command_count = 1;
    w.step(0, event);
    EXPECT_EQ(next + 2, r->slot_next) << "more than the room has";
    w.run(ELECTION_NS);
    EXPECT_EQ(next + 1, w.at(1)->slot_commit);
}

/* ---- a log that is full */

struct FullLog : ::testing::Test {
    static Options options()
    {
        Options o;
        o.log_bytes = 1 << 16;
        o.log_slots = 64;
        return o;
    }
    World w{options()};
    uint64_t sequence = 0;
    void SetUp() override
    {
        w.elect(0);
    }
    /* Proposes through a node until nothing more is taken. */
    bool fill(uint8_t node, uint32_t bytes)
    {
        uint64_t before = w.at(0)->slot_next;
        for (int i = 0; i < 1000; i++) {
            uint64_t next = w.at(0)->slot_next;
            w.propose(node, ++sequence, bytes);
            w.run(50000);
            if (w.at(0)->slot_next == next)
                return next > before;
        }
        return false;
    }
};

TEST_F(FullLog, WithoutAQuorum_GivesNoRoomUntilThereIsOne)
{
    w.cut[0][1] = w.cut[0][2] = true;
    for (int i = 0; i < 100; i++)
        w.propose(0, ++sequence, 2000);
    EXPECT_NE(0, w.effects_of(0, TR_EFFECT_REJECT));
    EXPECT_EQ(nullptr, tr_replica_propose_room(w.at(0), 2000));
    w.cut[0][1] = w.cut[0][2] = false;
    EXPECT_TRUE(w.run_until([&] { return tr_replica_can_propose(w.at(0), 2000); }));
}

TEST_F(FullLog, WithWritesInFlight_KeepsWhatTheyReadAndTakesNothing)
{
    w.propose(0, ++sequence, 2000);
    uint64_t pinned = w.at(0)->slot_next - 1;
    tr_replica_pin(w.at(0), tr_replica_position(w.at(0), pinned));
    ASSERT_TRUE(fill(0, 2000));
    EXPECT_NE(0, w.effects_of(0, TR_EFFECT_REJECT));
    EXPECT_NE(nullptr, tr_replica_held(w.at(0), pinned));
    EXPECT_EQ(nullptr, tr_replica_propose_room(w.at(0), 2000));
    uint64_t next = w.at(0)->slot_next;
    w.propose(1, 1, 2000);
    w.run(50000);
    EXPECT_EQ(next, w.at(0)->slot_next) << "what is forwarded is not taken either";
    tr_replica_pin(w.at(0), UINT64_MAX);
    w.run(10 * ELECTION_NS);
    for (int i = 0; i < 100; i++) {
        w.propose(0, ++sequence, 1500);
        w.run(50000);
    }
    EXPECT_GT(w.at(0)->slot_next, next + 50);
    for (uint8_t i = 0; i < 3; i++)
        tr_replica_check_whole(w.at(i));
}

TEST_F(FullLog, WhoseSlotsAreAllPinned_TakesNothing)
{
    w.propose(0, ++sequence);
    tr_replica_pin(w.at(0), tr_replica_position(w.at(0), w.at(0)->slot_next - 1));
    ASSERT_TRUE(fill(0, 8));
    EXPECT_FALSE(tr_log_fits(&w.at(0)->log, w.at(0)->slot_next));
    EXPECT_EQ(nullptr, tr_replica_propose_room(w.at(0), 8));
    tr_replica_pin(w.at(0), UINT64_MAX);
    uint64_t next = w.at(0)->slot_next;
    w.propose(0, ++sequence);
    EXPECT_EQ(next + 1, w.at(0)->slot_next);
}

TEST_F(FullLog, OfANewLeader_MakesRoomForTheNoOpThatOpensIt)
{
    tr_replica *r = w.at(0);
    w.propose(0, ++sequence, 2000);
    tr_replica_pin(r, tr_replica_position(r, r->slot_next - 1));
    ASSERT_TRUE(fill(0, 2000));
    while (tr_log_room(&r->log, 1000) != nullptr)
        r->log.head += tr_record_bytes(1000); /* what others proposed fills the rest */
    while (tr_log_room(&r->log, 0) != nullptr)
        r->log.head += tr_record_bytes(0);
    w.checks = false;
    w.node(0).images_by_hand = true;
    w.node(0).image_asked = r->snapshot_making = false;
    r->slot_snapshot = r->slot_apply - 1;
    r->slot_restamp = r->slot_restamp_last = r->slot_next++;
    r->pending |= TR_PENDING_RESTAMP;
    w.timeout(0);
    EXPECT_TRUE(w.node(0).image_asked);
    EXPECT_EQ(r->slot_restamp, r->slot_restamp_last) << "still to be placed";
}

TEST_F(FullLog, WhoseRecordsAreAllGone_IsEmptyAndHasRoom)
{
    tr_log *log = &w.at(0)->log;
    w.checks = false;
    log->slot_recyclable = log->slot_last;
    while (log->tail != log->head)
        ASSERT_NE(nullptr, tr_log_room_slowly(log, 64));
    EXPECT_NE(nullptr, tr_log_room_slowly(log, 64));
    log->slot_recyclable = log->slot_last + 5; /* as a snapshot leaves it */
    EXPECT_TRUE(tr_log_fits_slowly(log, log->slot_last + 6));
}

TEST_F(LookUp, OfAnAcknowledgementOutOfOrder_OfWhatIsNotProposedAgain_MarksNothing)
{
    tr_replica *r = w.at(0);
    w.checks = false;
    w.cut[0][1] = w.cut[0][2] = true;
    for (uint64_t i = 1; i <= 4; i++)
        w.propose(0, i);
    tr_slot *s = &r->log.slot[(r->slot_next - 1) & r->log.slot_mask];
    s->ballot.round--;
    Sent sent = w.make<tr_accepted>(1, 0, TR_MESSAGE_ACCEPTED);
    tr_accepted *a = sent.body<tr_accepted>();
    a->ballot = r->ballot;
    a->vector_hash = r->vector_hash;
    a->slot_acked = r->slot_next - 3;
    a->bitmap = 1;
    a->flags = TR_ACCEPTED_GAP;
    w.hand_forged(sent);
    EXPECT_EQ(0, s->acked);
}

/* ---- runs */

namespace rb = record_builder;

TEST(Runs, ThatCloseASessionWithSomethingElse_AreRefused)
{
    auto valid = [](const std::function<void(tr_run *)> &change) {
        rb::run r = rb::commands(5, 0, 1, 0);
        r.kind = TR_RUN_CLOSE;
        rb::bytes payload = rb::payload({r});
        change(reinterpret_cast<tr_run *>(payload.data()));
        return tr_runs_valid(payload.data(), payload.size32(), 1);
    };
    EXPECT_TRUE(valid([](tr_run *) {}));
    EXPECT_FALSE(valid([](tr_run *run) { run->count = 2; }));
    EXPECT_FALSE(valid([](tr_run *run) { run->bytes_each = 8; }));
    EXPECT_FALSE(valid([](tr_run *run) { run->session = 0; }));
    EXPECT_FALSE(valid([](tr_run *run) { run->kind = 77; }));
}

TEST(Records, OfNoKindOrWithACountThatDoesNotFitIt_AreRefused)
{
    auto valid = [](uint8_t kind, uint16_t count, const std::function<void(tr_record *)> &change) {
        rb::bytes b = rb::record(static_cast<tr_record_kind>(kind), rb::bytes(), 0);
        tr_record *r = reinterpret_cast<tr_record *>(b.data());
        r->command_count = count;
        change(r);
        rb::reseal(r);
        bool header = tr_record_header_valid(r);
        bool whole = tr_record_valid(r, b.size());
        EXPECT_TRUE(header || !whole);
        return whole;
    };
    auto as_it_is = [](tr_record *) {};
    EXPECT_TRUE(valid(TR_RECORD_NOOP, 0, as_it_is));
    EXPECT_TRUE(valid(TR_RECORD_CONFIG, 0, as_it_is));
    EXPECT_FALSE(valid(TR_RECORD_NOOP, 1, as_it_is));
    EXPECT_FALSE(valid(TR_RECORD_CONFIG + 1, 0, as_it_is));
    EXPECT_FALSE(valid(TR_RECORD_COMMANDS, 0, as_it_is));
    EXPECT_FALSE(valid(TR_RECORD_COMMANDS, TR_BATCH_COMMANDS_MAX + 1, as_it_is));
    EXPECT_FALSE(valid(TR_RECORD_NOOP, 0, [](tr_record *r) { r->reserved8 = 1; }));
    EXPECT_FALSE(valid(TR_RECORD_NOOP, 0, [](tr_record *r) { r->ballot.reserved = 1; }));
    EXPECT_FALSE(valid(TR_RECORD_NOOP, 0, [](tr_record *r) { r->payload_bytes = UINT32_MAX; }));
    EXPECT_FALSE(valid(TR_RECORD_NOOP, 0, [](tr_record *r) { r->payload_bytes = 8; }));
    /* As a ring finds them: the header alone is judged. */
    tr_grant grant{};
    grant.generation = 5;
    grant.ring_bytes = 4096;
    auto found = [&](const std::function<void(tr_record *)> &change) {
        tr_record r{};
        uint32_t bytes = 0;
        r.generation = 5;
        r.kind = TR_RECORD_NOOP;
        change(&r);
        rb::reseal(&r);
        return tr_ring_next(&grant, 0, 1024, &r, sizeof(r), &bytes);
    };
    EXPECT_EQ(TR_RING_RECORD, found(as_it_is));
    EXPECT_EQ(TR_RING_NONE, found([](tr_record *r) { r->command_count = 1; }));
    EXPECT_EQ(TR_RING_NONE, found([](tr_record *r) { r->kind = TR_RECORD_CONFIG + 1; }));
    EXPECT_EQ(TR_RING_NONE, found([](tr_record *r) { r->reserved8 = 1; }));
    EXPECT_EQ(TR_RING_NONE, found([](tr_record *r) { r->payload_bytes = UINT32_MAX; }));
    tr_record short_one{};
    EXPECT_FALSE(tr_record_valid(&short_one, 63));
}

} // namespace
