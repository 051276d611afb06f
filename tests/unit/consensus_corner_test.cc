/* Corners that hardly any schedule comes to: what is out of place, malformed, or late by a hair. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

tr_record *first_record(Sent &s)
{
    return reinterpret_cast<tr_record *>(reinterpret_cast<uint8_t *>(s.words.data()) +
                                         sizeof(tr_message) + s.message()->body_bytes);
}

/* A message with records behind its body, of the slots given; each empty. */
template <typename Body>
Sent with_records(World &w, uint8_t from, uint8_t to, tr_message_type type, tr_ballot ballot,
                  const std::vector<uint64_t> &slots)
{
    Sent s = w.make<Body>(from, to, type);
    uint32_t at = s.bytes;
    s.bytes += static_cast<uint32_t>(slots.size() * sizeof(tr_record));
    s.words.resize((s.bytes + 7) / 8, 0);
    s.message()->tail_bytes = s.bytes - at;
    for (uint64_t slot : slots) {
        tr_record record{};
        record.slot = slot;
        record.ballot = ballot;
        record.kind = TR_RECORD_NOOP;
        tr_record_seal(&record);
        memcpy(reinterpret_cast<uint8_t *>(s.words.data()) + at, &record, sizeof(record));
        at += sizeof(record);
    }
    s.body<Body>()->record_count = static_cast<uint32_t>(slots.size());
    return s;
}

struct Corner : ::testing::Test {
    World w;
    void SetUp() override
    {
        w.elect(0);
        w.forget_wire();
    }
    uint64_t malformed(uint8_t i)
    {
        return w.at(i)->count.dropped_malformed;
    }
};

/* ---- accepting */

TEST_F(Corner, ABatchThatIsNotWhole_IsNotAccepted)
{
    w.propose(0, 1);
    Sent good;
    ASSERT_TRUE(w.take(0, 1, TR_MESSAGE_ACCEPT, &good));
    uint64_t last = w.at(1)->log.slot_last;
    auto refused = [&](const std::function<void(tr_record *)> &change) {
        Sent s = good;
        change(first_record(s));
        tr_record_seal(first_record(s));
        uint64_t before = malformed(1);
        w.hand_forged(s);
        return malformed(1) == before + 1 && w.at(1)->log.slot_last == last;
    };
    EXPECT_TRUE(refused([](tr_record *r) { r->command_count = 0; }));
    EXPECT_TRUE(refused([](tr_record *r) { r->reserved8 = 1; }));
    EXPECT_TRUE(refused([](tr_record *r) { r->ballot.reserved = 1; }));
    EXPECT_TRUE(refused([](tr_record *r) { r->payload_bytes += 64; })) << "longer than the message";
    EXPECT_TRUE(refused([](tr_record *r) { r->kind = TR_RECORD_PAD; }));
    EXPECT_FALSE(refused([](tr_record *) {}));
}

/* Between a message that wants an acknowledgement and the end of the cycle. */
TEST_F(Corner, AnAcknowledgementThatIsDueWhenTheLeaderIsGone_IsNotSent)
{
    Sent beat = w.make<tr_heartbeat>(0, 1, TR_MESSAGE_HEARTBEAT);
    beat.body<tr_heartbeat>()->ballot = w.at(0)->ballot;
    beat.body<tr_heartbeat>()->vector_hash = w.at(1)->vector_hash;
    w.more = true;
    w.hand_forged(beat);
    ASSERT_NE(0u, w.at(1)->pending & TR_PENDING_ACK);
    w.campaign(1);
    w.more = false;
    w.timeout(1);
    Sent s;
    EXPECT_FALSE(w.take(1, 0, TR_MESSAGE_ACCEPTED, &s));
}

TEST_F(Corner, AnAcknowledgementThatIsDueWhenAnotherIsPromised_IsNotSent)
{
    Sent beat = w.make<tr_heartbeat>(0, 1, TR_MESSAGE_HEARTBEAT);
    beat.body<tr_heartbeat>()->ballot = w.at(0)->ballot;
    beat.body<tr_heartbeat>()->vector_hash = w.at(1)->vector_hash;
    Sent prepare = w.make<tr_prepare>(2, 1, TR_MESSAGE_PREPARE);
    prepare.body<tr_prepare>()->ballot = {w.at(0)->ballot.round + 1, 1, 3, 0};
    prepare.body<tr_prepare>()->slot_from = 1;
    w.more = true;
    w.hand_forged(beat);
    w.hand_forged(prepare);
    w.more = false;
    w.timeout(1);
    Sent s;
    EXPECT_FALSE(w.take(1, 0, TR_MESSAGE_ACCEPTED, &s));
    EXPECT_TRUE(w.take(1, 2, TR_MESSAGE_PROMISE, &s));
}

TEST_F(Corner, AnAcceptWithMoreRecordsThanItSays_IsCountedMalformed)
{
    uint64_t next = w.at(0)->slot_next;
    w.more = true;
    w.propose_bytes(0, 1, "12345678", 8);
    w.propose_bytes(0, 2, "12345678", 8);
    w.more = false;
    w.timeout(0);
    Sent s;
    ASSERT_TRUE(w.take(0, 1, TR_MESSAGE_ACCEPT, &s));
    ASSERT_EQ(2u, s.body<tr_accept>()->record_count);
    s.body<tr_accept>()->record_count = 1;
    w.hand_forged(s);
    EXPECT_EQ(next, w.at(1)->log.slot_last) << "what it says is taken";
    EXPECT_EQ(1u, malformed(1));
}

TEST_F(Corner, AnAcceptOfRecordsOfAnotherBallot_StopsThere)
{
    tr_ballot ballot = w.at(0)->ballot;
    uint64_t next = w.at(0)->slot_next;
    Sent s = with_records<tr_accept>(w, 0, 1, TR_MESSAGE_ACCEPT, ballot, {next, next + 1});
    s.body<tr_accept>()->ballot = ballot;
    tr_record *second = first_record(s) + 1;
    second->ballot.round--;
    tr_record_seal(second);
    w.hand_forged(s);
    EXPECT_EQ(next, w.at(1)->log.slot_last);
    EXPECT_EQ(1u, malformed(1));
}

TEST_F(Corner, EntriesOfARingThatWasNeverGranted_AreDiscarded)
{
    tr_record record{};
    const tr_record *records[] = {&record};
    tr_event event{};
    event.type = TR_EVENT_ENTRIES_SEEN;
    event.u.entries_seen.record = records;
    event.u.entries_seen.count = 1;
    w.step(1, event);
    EXPECT_EQ(1u, tr_replica_entries_admitted(w.at(1)));
    EXPECT_EQ(0u, w.at(1)->count.entries_seen);
}

TEST(CornerOneSided, AnAcknowledgementThatIsDueWhenTheRingIsFencedAgain_IsWithheld)
{
    Options options;
    options.one_sided = true;
    World w(options);
    w.writes_by_hand = false;
    w.elect(0);
    w.forget_wire();
    w.node(1).fences_by_hand = true;
    w.more = true;
    Sent beat = w.make<tr_heartbeat>(0, 1, TR_MESSAGE_HEARTBEAT);
    beat.body<tr_heartbeat>()->ballot = w.at(0)->ballot;
    beat.body<tr_heartbeat>()->vector_hash = w.at(1)->vector_hash;
    w.hand_forged(beat);
    Sent news = w.make<tr_vector>(0, 1, TR_MESSAGE_VECTOR);
    *news.body<tr_vector>() = w.at(1)->vector;
    news.body<tr_vector>()->incarnation[2]++;
    news.body<tr_vector>()->boot[2] = 12345;
    w.hand_forged(news);
    ASSERT_FALSE(tr_ballot_none(w.at(1)->fencing));
    w.more = false;
    w.timeout(1);
    Sent s;
    EXPECT_FALSE(w.take(1, 0, TR_MESSAGE_ACCEPTED, &s));
}

/* ---- elections */

TEST_F(Corner, APageOfAPromiseThatIsNotInOrder_IsNotBelieved)
{
    w.cut[0][2] = w.cut[1][2] = w.cut[2][0] = w.cut[2][1] = true;
    w.campaign(2);
    ASSERT_EQ(TR_REPLICA_CANDIDATE, w.at(2)->role);
    tr_ballot ballot = w.at(2)->ballot;
    tr_ballot older = w.at(0)->ballot;
    uint64_t next = w.at(2)->slot_commit + 1;
    struct Case {
        const char *what;
        std::vector<uint64_t> slots;
        tr_ballot of;
    };
    for (const Case &c :
         {Case{"twice the same", {next, next}, older}, Case{"before the page", {next - 1}, older},
          Case{"behind the page", {next + 5}, older},
          Case{"of the ballot asked for", {next}, ballot}}) {
        Sent s = with_records<tr_promise>(w, 1, 2, TR_MESSAGE_PROMISE, c.of, c.slots);
        tr_promise *p = s.body<tr_promise>();
        p->ballot = ballot;
        p->slot_first = next;
        p->slot_last = p->slot_end = next + 2;
        p->slot_commit = next - 1;
        p->vector = w.at(2)->vector;
        uint64_t before = malformed(2);
        w.hand_forged(s);
        EXPECT_EQ(before + 1, malformed(2)) << c.what;
        EXPECT_FALSE(w.at(2)->peer[1].promised) << c.what;
    }
    Sent s = w.make<tr_promise>(1, 2, TR_MESSAGE_PROMISE);
    tr_promise *p = s.body<tr_promise>();
    p->ballot = ballot;
    p->slot_first = p->slot_last = p->slot_end = next;
    p->slot_commit = next - 1;
    p->record_count = 1;
    p->vector = w.at(2)->vector;
    uint64_t before = malformed(2);
    w.hand_forged(s);
    EXPECT_EQ(before + 1, malformed(2)) << "a record that is not there";
    p->record_count = 0;
    p->slot_last = next - 1;
    w.hand_forged(s);
    EXPECT_FALSE(w.at(2)->peer[1].promised) << "a page that ends before it begins";
}

TEST(CornerQuorum, ACandidateThatReachesAQ1AndNoQ2_DoesNotStand)
{
    Options options;
    options.voters = 5;
    options.quorum_p1 = 2;
    options.quorum_p2 = 4;
    World w(options);
    w.elect(0);
    for (uint8_t i = 0; i < 3; i++)
        for (uint8_t other : {3, 4})
            w.cut[i][other] = w.cut[other][i] = true;
    uint64_t started = w.at(3)->count.elections_started + w.at(4)->count.elections_started;
    w.run(20 * ELECTION_NS);
    EXPECT_EQ(started, w.at(3)->count.elections_started + w.at(4)->count.elections_started);
    EXPECT_EQ(TR_REPLICA_PRECANDIDATE, w.at(3)->role);
}

TEST_F(Corner, ALeaderThatIsRejectedWhileItGrantsALease_DoesNotStandAtOnce)
{
    tr_replica *r = w.at(0);
    r->lease_until_ns = w.now_ns + ELECTION_NS;
    Sent s = w.make<tr_reject>(1, 0, TR_MESSAGE_REJECT);
    s.body<tr_reject>()->ballot = r->ballot;
    s.body<tr_reject>()->promised = r->ballot;
    s.body<tr_reject>()->promised.round += 5;
    w.hand_forged(s);
    EXPECT_EQ(TR_REPLICA_FOLLOWER, r->role);
    EXPECT_EQ(TR_MEMBERS_MAX, r->leader);
}

TEST_F(Corner, AHintThatSaysNothingNew_ChangesNothing)
{
    uint64_t heard = w.at(1)->leader_heard_ns;
    tr_event event{};
    event.type = TR_EVENT_MEMBER_HINT;
    event.u.member_hint.member = 0;
    event.u.member_hint.incarnation = tr_replica_incarnation(w.at(1), 0);
    event.u.member_hint.state = TR_HINT_ALIVE;
    w.step(1, event);
    EXPECT_EQ(heard, w.at(1)->leader_heard_ns) << "alive";
    event.u.member_hint.state = TR_HINT_DEAD;
    event.u.member_hint.member = 9;
    w.step(1, event);
    EXPECT_EQ(heard, w.at(1)->leader_heard_ns) << "no member";
    w.hint_dead(1, 2);
    EXPECT_EQ(heard, w.at(1)->leader_heard_ns) << "not the leader";
    w.campaign(1);
    w.hint_dead(1, 0);
    EXPECT_EQ(TR_REPLICA_CANDIDATE, w.at(1)->role) << "it stands already";
    w.boot(2);
    w.hint_dead(2, 0);
    EXPECT_EQ(TR_REPLICA_RECOVERING, w.at(2)->role);
}

TEST(CornerLevels, ASuspectedLeaderOfADiskGroup_IsFollowedNoMore)
{
    Options options;
    options.level = TR_LEVEL_DISK;
    World w(options);
    w.elect(0);
    w.hint_dead(1, 0);
    w.crash(0);
    EXPECT_TRUE(w.run_until([&] { return w.leader() == 1 || w.leader() == 2; }));
}

/* ---- forwarding */

TEST_F(Corner, AForwardedBatchThatIsNotOne_IsDropped)
{
    auto forward = [&](uint32_t tail_bytes, uint32_t count) {
        Sent s = w.make<tr_forward>(1, 0, TR_MESSAGE_FORWARD);
        s.bytes += tail_bytes;
        s.words.resize((s.bytes + 7) / 8, 0);
        s.message()->tail_bytes = tail_bytes;
        s.body<tr_forward>()->ballot = w.at(0)->ballot;
        s.body<tr_forward>()->command_count = count;
        s.body<tr_forward>()->payload_crc = tr_crc32c(0, s.body<tr_forward>() + 1, tail_bytes);
        uint64_t before = malformed(0);
        w.hand_forged(s);
        return malformed(0) - before;
    };
    EXPECT_EQ(1u, forward(0, 1)) << "empty";
    EXPECT_EQ(1u, forward(w.at(0)->config.entry_bytes_max + 8, 1)) << "too large";
    EXPECT_EQ(1u, forward(64, TR_BATCH_COMMANDS_MAX + 1)) << "too many";
    EXPECT_EQ(1u, forward(64, 1)) << "no runs";
}

/* ---- recovery */

struct CornerRecovery : Corner {
    void SetUp() override
    {
        Corner::SetUp();
        w.propose(0, 1);
        w.run(ELECTION_NS);
    }
    /* Boots node 2 and stops it where the first answer to a phase is under way. */
    Sent answer_of(tr_recover_phase phase)
    {
        w.boot(2);
        w.forget_wire();
        Sent s;
        for (int i = 0; i < 100000; i++, w.now_ns += 1000) {
            w.tick();
            for (auto it = w.wire.begin(); it != w.wire.end(); ++it)
                if (it->to == 2 && it->type() == TR_MESSAGE_RECOVERED &&
                    it->body<tr_recovered>()->phase == uint32_t(phase)) {
                    s = *it;
                    w.wire.erase(it);
                    return s;
                }
            w.deliver();
        }
        ADD_FAILURE() << "no such answer";
        return s;
    }
};

TEST_F(CornerRecovery, AnAnswerThatIsNotToThisQuestion_IsDropped)
{
    Sent good = answer_of(TR_RECOVER_JOIN);
    auto dropped = [&](const std::function<void(Sent &)> &change) {
        Sent s = good;
        change(s);
        uint64_t before = w.at(2)->count.dropped_stale;
        w.hand_forged(s);
        return w.at(2)->count.dropped_stale - before;
    };
    EXPECT_EQ(1u, dropped([](Sent &s) { s.body<tr_recovered>()->incarnation++; }));
    EXPECT_EQ(1u, dropped([](Sent &s) { s.body<tr_recovered>()->cluster++; }));
    EXPECT_EQ(1u, dropped([](Sent &s) { s.body<tr_recovered>()->state = TR_RECOVERED_PARTIAL; }));
    EXPECT_EQ(1u, dropped([](Sent &s) { s.body<tr_recovered>()->boot++; }));
    EXPECT_FALSE(w.at(2)->peer[good.from].recovered_joined);
}

TEST_F(CornerRecovery, AnAnswerOfAProcessThatItsOwnVectorCallsDead_DoesNotJoin)
{
    Sent s = answer_of(TR_RECOVER_JOIN);
    s.body<tr_recovered>()->vector.incarnation[s.from]++;
    w.hand_forged(s);
    EXPECT_FALSE(w.at(2)->peer[s.from].recovered_joined);
}

TEST_F(CornerRecovery, APageWithRecordsOutsideOfIt_IsNotTaken)
{
    Sent join = answer_of(TR_RECOVER_JOIN);
    w.hand(join);
    ASSERT_TRUE(w.run_until([&] { return w.at(2)->recover_phase == TR_RECOVER_PAGE; }) ||
                w.at(2)->role == TR_REPLICA_FOLLOWER);
    tr_replica *r = w.at(2);
    r->role = TR_REPLICA_RECOVERING; /* it may have ended already: back to its last phase */
    r->recover_phase = TR_RECOVER_PAGE;
    w.checks = false;
    tr_peer *p = &r->peer[1];
    p->recovered_joined = true;
    p->recovered_paged = false;
    p->recovered_next = 10;
    p->recovered_end = 12;
    auto page = [&](uint64_t first, uint64_t last, const std::vector<uint64_t> &slots) {
        Sent s = with_records<tr_recovered>(w, 1, 2, TR_MESSAGE_RECOVERED, r->promised, slots);
        tr_recovered *a = s.body<tr_recovered>();
        a->boot = r->config.boot;
        a->boot_own = w.at(1)->config.boot;
        a->phase = TR_RECOVER_PAGE;
        a->state = TR_RECOVERED_NORMAL;
        a->cluster = r->cluster;
        a->incarnation = r->vector.incarnation[2];
        a->vector = r->vector;
        a->slot_first = first;
        a->slot_last = last;
        w.hand_forged(s);
        return p->recovered_next;
    };
    EXPECT_EQ(10u, page(9, 12, {})) << "not the page that follows";
    EXPECT_EQ(10u, page(10, 9, {})) << "ends before it begins";
    EXPECT_EQ(10u, page(10, 11, {9})) << "before it";
    EXPECT_EQ(10u, page(10, 11, {12})) << "behind it";
    EXPECT_EQ(11u, page(10, 10, {10}));
    p->recovered_paged = true;
    EXPECT_EQ(11u, page(11, 12, {11})) << "all pages are here";
    p->recovered_paged = p->recovered_joined = false;
    EXPECT_EQ(11u, page(11, 12, {11})) << "it has not joined";
    r->recover_phase = TR_RECOVER_JOIN;
    EXPECT_EQ(11u, page(11, 12, {11})) << "pages are not asked for yet";
}

TEST_F(CornerRecovery, AQuestionForAPageThatItMayNotAsk_IsNotAnswered)
{
    Sent good = w.make<tr_recover>(2, 1, TR_MESSAGE_RECOVER);
    tr_recover *q = good.body<tr_recover>();
    q->phase = TR_RECOVER_PAGE;
    q->incarnation = w.at(1)->vector.incarnation[2];
    q->boot = w.at(1)->peer[2].recover_boot = 77;
    q->slot_from = 1;
    auto answered = [&](Sent s) {
        w.forget_wire();
        w.hand_forged(s);
        Sent answer;
        return w.take(1, 2, TR_MESSAGE_RECOVERED, &answer);
    };
    EXPECT_TRUE(answered(good));
    q->slot_from = 0;
    EXPECT_FALSE(answered(good)) << "slots begin at 1";
    q->slot_from = 1;
    q->incarnation++;
    EXPECT_FALSE(answered(good)) << "it has not joined by that number";
    q->incarnation--;
    q->boot++;
    EXPECT_FALSE(answered(good)) << "another process";
    q->phase = 9;
    uint64_t before = malformed(1);
    EXPECT_FALSE(answered(good)) << "no phase";
    EXPECT_EQ(before + 1, malformed(1));
}

TEST(CornerFounding, AFoundingOfOtherProcesses_IsNotBelieved)
{
    World w;
    w.tick();
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_RECOVER; });
    tr_replica *r = w.at(1);
    Sent s = w.make<tr_found>(0, 1, TR_MESSAGE_FOUND);
    s.message()->cluster = 99;
    tr_found *f = s.body<tr_found>();
    f->boot[0] = w.at(0)->config.boot;
    f->boot[1] = r->config.boot;
    f->cluster = 0;
    w.hand_forged(s);
    EXPECT_EQ(TR_REPLICA_RECOVERING, r->role) << "no cluster";
    f->cluster = 5;
    f->boot[1]++;
    w.hand_forged(s);
    EXPECT_EQ(TR_REPLICA_RECOVERING, r->role) << "another process of this node";
    f->boot[1]--;
    f->boot[0]++;
    w.hand_forged(s);
    EXPECT_EQ(TR_REPLICA_RECOVERING, r->role) << "a founder that was not answered";
    f->boot[0]--;
    w.hand_forged(s);
    EXPECT_EQ(TR_REPLICA_FOLLOWER, r->role);
    w.hand_forged(s);
    EXPECT_EQ(5u, r->cluster) << "once";
}

TEST(CornerFounding, AVoterThatHoldsSomething_IsNeitherFounderNorFounded)
{
    World w;
    w.checks = false;
    w.at(0)->slot_commit = w.at(0)->slot_apply =
        1; /* as if it had recovered a part and asked anew */
    w.run(5 * ELECTION_NS);
    EXPECT_EQ(TR_REPLICA_RECOVERING, w.at(0)->role);
    w.at(0)->slot_commit = w.at(0)->slot_apply = 0;
    w.at(1)->slot_commit = w.at(1)->slot_apply = 1;
    Sent s = w.make<tr_found>(0, 1, TR_MESSAGE_FOUND);
    tr_found *f = s.body<tr_found>();
    f->boot[0] = w.at(1)->peer[0].empty_boot;
    f->boot[1] = w.at(1)->config.boot;
    f->cluster = 5;
    w.hand_forged(s);
    EXPECT_EQ(TR_REPLICA_RECOVERING, w.at(1)->role);
}

/* ---- snapshots */

struct CornerSnapshot : Corner {
    /* Node 1 pulls a snapshot of two chunks from node 0 and has nothing of it yet. */
    Sent chunk(uint64_t offset, uint32_t bytes, uint64_t total)
    {
        Sent s = w.make<tr_snapshot_chunk>(0, 1, TR_MESSAGE_SNAPSHOT_CHUNK);
        s.bytes += bytes;
        s.words.resize((s.bytes + 7) / 8, 0);
        s.message()->tail_bytes = bytes;
        tr_snapshot_chunk *c = s.body<tr_snapshot_chunk>();
        c->slot = 1000;
        c->offset = offset;
        c->total_bytes = total;
        c->snapshot_crc = 7;
        c->chunk_crc = tr_crc32c(0, c + 1, bytes);
        return s;
    }
    void SetUp() override
    {
        Corner::SetUp();
        tr_replica *r = w.at(1);
        r->pulling = true;
        r->pull_peer = 0;
        tr_timer_set(r, TR_TIMER_PULL, w.now_ns + ELECTION_NS);
        w.node(1).images_by_hand = true;
    }
    uint64_t taken()
    {
        return w.at(1)->count.snapshot_chunks_received;
    }
};

TEST_F(CornerSnapshot, AChunkThatCannotBePartOfTheImage_IsDropped)
{
    auto refused = [&](Sent s) {
        uint64_t before = taken();
        w.hand_forged(s);
        return taken() == before;
    };
    Sent s = chunk(0, 100, 0);
    EXPECT_TRUE(refused(s)) << "of an empty image";
    EXPECT_TRUE(refused(chunk(0, 0, 300))) << "empty";
    EXPECT_TRUE(refused(chunk(0, TR_SNAPSHOT_CHUNK_BYTES + 8, 1 << 20))) << "too large";
    EXPECT_TRUE(refused(chunk(300, 100, 300))) << "behind the end";
    EXPECT_TRUE(refused(chunk(250, 100, 300))) << "across the end";
    EXPECT_TRUE(refused(chunk(100, 100, 300))) << "not the first";
    s = chunk(0, 100, 300);
    s.body<tr_snapshot_chunk>()->slot = 1;
    EXPECT_TRUE(refused(s)) << "of a slot that is passed";
    EXPECT_FALSE(refused(chunk(0, 100, 300)));
    EXPECT_TRUE(refused(chunk(0, 100, 300))) << "again";
    s = chunk(100, 100, 300);
    s.body<tr_snapshot_chunk>()->chunk_crc++;
    EXPECT_TRUE(refused(s)) << "damaged";
    EXPECT_FALSE(refused(chunk(100, 100, 300)));
}

TEST_F(CornerSnapshot, AChunkOfAnotherImageOfTheSlot_BeginsAnew)
{
    w.hand_forged(*std::make_unique<Sent>(chunk(0, 100, 300)));
    ASSERT_EQ(100u, w.at(1)->pull_offset);
    Sent s = chunk(100, 100, 400);
    w.hand_forged(s);
    EXPECT_EQ(0u, w.at(1)->pull_offset) << "another length";
    s = chunk(0, 100, 300);
    w.hand_forged(s);
    s = chunk(100, 100, 300);
    s.body<tr_snapshot_chunk>()->snapshot_crc++;
    w.hand_forged(s);
    EXPECT_EQ(0u, w.at(1)->pull_offset) << "another checksum";
    s.body<tr_snapshot_chunk>()->offset = 0;
    w.hand_forged(s);
    EXPECT_EQ(100u, w.at(1)->pull_offset);
}

TEST_F(CornerSnapshot, ValuesThatComeWhileAnImageIsInstalled_AreLeftAlone)
{
    tr_replica *r = w.at(1);
    r->installing = true;
    Sent s = w.make<tr_learn>(0, 1, TR_MESSAGE_LEARN);
    s.body<tr_learn>()->slot_first = 1;
    s.body<tr_learn>()->slot_commit = 100;
    w.hand_forged(s);
    EXPECT_EQ(0u, r->count.learns_received);
    EXPECT_LT(r->slot_known, 100u);
}

TEST_F(Corner, APullFromBehindTheEndOfTheImage_BeginsAtItsStart)
{
    tr_replica *r = w.at(0);
    r->slot_snapshot = r->slot_apply;
    r->snapshot_bytes = 100;
    w.node(0).image.assign(100, 1);
    auto offset = [&](uint64_t slot, uint64_t from, uint32_t chunks) {
        Sent s = w.make<tr_snapshot_pull>(1, 0, TR_MESSAGE_SNAPSHOT_PULL);
        s.body<tr_snapshot_pull>()->slot = slot;
        s.body<tr_snapshot_pull>()->offset = from;
        s.body<tr_snapshot_pull>()->chunk_count = chunks;
        w.node(0).effects.clear();
        w.hand_forged(s);
        for (const tr_effect &e : w.node(0).effects)
            if (e.type == TR_EFFECT_SNAPSHOT_SEND)
                return static_cast<int64_t>(e.u.snapshot.offset);
        return int64_t(-1);
    };
    EXPECT_EQ(60, offset(r->slot_snapshot, 60, 1));
    EXPECT_EQ(0, offset(r->slot_snapshot, 100, 1));
    EXPECT_EQ(0, offset(r->slot_snapshot + 1, 60, 1));
    EXPECT_EQ(-1, offset(r->slot_snapshot, 60, 0));
    EXPECT_EQ(-1, offset(r->slot_snapshot, 60, TR_SNAPSHOT_CHUNKS_WINDOW + 1));
}

/* ---- reads */

TEST_F(Corner, AnAnswerToAReadThatWasNotAsked_IsDropped)
{
    w.cut[1][0] = true;
    w.read(1, 5);
    auto ready = [&](const std::function<void(tr_read_slot *)> &change) {
        Sent s = w.make<tr_read_slot>(0, 1, TR_MESSAGE_READ_SLOT);
        tr_read_slot *a = s.body<tr_read_slot>();
        a->ballot = w.at(0)->ballot;
        a->id = 5;
        a->slot = w.at(1)->slot_apply;
        a->incarnation = w.at(1)->vector.incarnation[1];
        change(a);
        w.hand_forged(s);
        return w.node(1).read_ready;
    };
    EXPECT_EQ(0u, ready([](tr_read_slot *a) { a->id = 4; }));
    EXPECT_EQ(0u, ready([](tr_read_slot *a) { a->incarnation++; }));
    EXPECT_EQ(0u, ready([](tr_read_slot *a) { a->ballot.round--; }));
    EXPECT_EQ(5u, ready([](tr_read_slot *) {}));
    EXPECT_EQ(5u, ready([](tr_read_slot *) {})) << "once";
}

} // namespace
