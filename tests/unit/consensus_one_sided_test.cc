/* One-sided replication as the leader counts it: what a lost message or a hole in what was written
 * must not stop. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

Options one_sided(uint32_t voters)
{
    Options options;
    options.voters = voters;
    options.one_sided = true;
    return options;
}

/* A world whose leaders' REPLICATEs are written into rings, but for what a test wants lost. */
struct Rings {
    World w;
    std::function<bool(uint8_t, uint64_t)> loses = [](uint8_t, uint64_t) { return false; };

    explicit Rings(const Options &options) : w(options) {}

    void write(uint8_t from, uint8_t to, uint64_t slot)
    {
        tr_record header;
        tr_piece payload;
        if (!w.node(to).up || loses(to, slot) ||
            !tr_replica_ring_record(w.at(from), to, slot, 0, &header, &payload))
            return;
        w.ring_record(from, to, slot);
        if (tr_replica_grant(w.at(from), to) != nullptr)
            w.written(from, to, slot, slot);
    }
    void pump(uint8_t i)
    {
        std::vector<tr_effect> effects;
        effects.swap(w.node(i).effects);
        for (const tr_effect &e : effects)
            for (uint8_t to = 0; e.type == TR_EFFECT_REPLICATE && to < w.count(); to++)
                for (uint64_t s = e.u.replicate.slot_first;
                     (e.peers >> to & 1) != 0 && s <= e.u.replicate.slot_last; s++)
                    write(i, to, s);
    }
    bool run_until(const std::function<bool()> &holds, uint64_t limit_ns = 20 * ELECTION_NS)
    {
        for (uint64_t end = w.now_ns + limit_ns; w.now_ns < end && !holds(); w.now_ns += 1000) {
            w.deliver();
            w.tick();
            for (uint8_t i = 0; i < w.count(); i++)
                pump(i);
        }
        return holds();
    }
    bool elect()
    {
        auto opened = [&] {
            uint8_t l = w.leader();
            return l < w.count() && w.at(l)->slot_commit >= w.at(l)->slot_opened;
        };
        if (!run_until(opened))
            return false;
        if (w.leader() != 0)
            w.campaign(0);
        return run_until([&] { return w.leader() == 0 && opened() && w.at(0)->peer[1].ring; });
    }
};

TEST(OneSided, WhatWasLostOnTheWayToARing_IsSentAgain)
{
    Rings r(one_sided(3));
    ASSERT_TRUE(r.elect());
    r.w.crash(2);
    uint64_t lost = r.w.at(0)->slot_next;
    int losses = 0;
    /* By a message while the ring could not be opened, say; nothing tells the leader. */
    r.loses = [&](uint8_t, uint64_t slot) { return slot == lost && losses++ == 0; };
    r.w.propose(0, 1);
    r.w.propose(0, 2);
    EXPECT_TRUE(r.run_until([&] { return r.w.at(0)->slot_commit > lost; }));
    EXPECT_EQ(TR_REPLICA_LEADER, r.w.at(0)->role);
}

TEST(OneSided, TheLastOneLostOnTheWayToARing_IsSentAgain)
{
    Rings r(one_sided(3));
    ASSERT_TRUE(r.elect());
    r.w.crash(2);
    uint64_t lost = r.w.at(0)->slot_next;
    int losses = 0;
    r.loses = [&](uint8_t, uint64_t slot) { return slot == lost && losses++ == 0; };
    r.w.propose(0, 1);
    EXPECT_TRUE(r.run_until([&] { return r.w.at(0)->slot_commit >= lost; }));
}

TEST(OneSided, AWriteThatFollowsOnFromAnAcknowledgementByMessage_Counts)
{
    Rings r(one_sided(5));
    ASSERT_TRUE(r.elect());
    r.loses = [](uint8_t, uint64_t) { return true; };
    uint64_t first = r.w.at(0)->slot_next;
    r.w.propose(0, 1);
    r.w.propose(0, 2);
    r.w.node(0).effects.clear();
    r.w.ring_record(0, 1, first); /* it is there; the completion is still to come */
    r.w.run(2 * HEARTBEAT_NS);
    ASSERT_EQ(first, r.w.at(0)->peer[1].slot_acked);
    ASSERT_LT(r.w.at(0)->slot_commit, first);
    r.w.ring_record(0, 1, first + 1);
    r.w.written(0, 1, first + 1, first + 1);
    EXPECT_EQ(first + 1, r.w.at(0)->peer[1].slot_acked);
}

TEST(OneSided, AWriteThatLeavesAHole_DoesNotCount)
{
    Rings r(one_sided(5));
    ASSERT_TRUE(r.elect());
    r.loses = [](uint8_t, uint64_t) { return true; };
    uint64_t first = r.w.at(0)->slot_next;
    uint64_t acked = r.w.at(0)->peer[1].slot_acked;
    r.w.propose(0, 1);
    r.w.propose(0, 2);
    r.w.written(0, 1, first + 1, first + 1);
    EXPECT_EQ(acked, r.w.at(0)->peer[1].slot_acked);
}

TEST(OneSided, WhatIsGoneFromTheLog_TakesNothingAlongThatIsNot)
{
    Options options = one_sided(3);
    options.log_slots = 64;
    Rings r(options);
    ASSERT_TRUE(r.elect());
    tr_replica *leader = r.w.at(0);
    for (uint64_t n = 1; n < 200; n++) {
        r.w.propose(0, n);
        ASSERT_TRUE(r.run_until([&] { return leader->slot_commit + 1 == leader->slot_next; }));
    }
    uint64_t first = leader->log.slot_first;
    uint64_t last = leader->slot_next - 1;
    tr_record header;
    tr_piece payload;
    ASSERT_GT(first, 2u);
    EXPECT_FALSE(tr_replica_ring_record(leader, 1, first - 2, 0, &header, &payload));
    EXPECT_EQ(first - 1, tr_replica_ring_void(leader, 1, first - 2, last));
    EXPECT_TRUE(tr_replica_ring_record(leader, 1, first, 0, &header, &payload));
    EXPECT_EQ(first - 2, tr_replica_ring_void(leader, 1, 1, first - 2)) << "not past the range";
    r.w.written(0, 1, last, last, TR_WRITTEN_BROKEN);
    EXPECT_EQ(last, tr_replica_ring_void(leader, 1, first, last)) << "the ring is given up";
}

/* ---- a ring that is lost, and granted again */

/* A leader whose ring to the next node broke; nobody was told yet. */
uint64_t break_ring(Rings &r)
{
    uint64_t generation = r.w.at(0)->peer[1].grant.generation;
    uint64_t slot = r.w.at(0)->slot_next;
    r.loses = [slot](uint8_t to, uint64_t at) { return to == 1 && at == slot; };
    r.w.propose(0, slot);
    r.w.written(0, 1, slot, slot, TR_WRITTEN_BROKEN);
    EXPECT_FALSE(r.w.at(0)->peer[1].ring);
    return generation;
}

TEST(OneSided, ARingThatBroke_IsGrantedAnewWithoutAnElection)
{
    Rings r(one_sided(3));
    ASSERT_TRUE(r.elect());
    uint64_t round = r.w.at(0)->ballot.round, fences = r.w.at(1)->count.fences;
    uint64_t others = r.w.at(2)->count.fences, lost = break_ring(r);
    ASSERT_TRUE(r.run_until([&] { return r.w.at(0)->peer[1].ring; }));
    EXPECT_GT(r.w.at(0)->peer[1].grant.generation, lost);
    EXPECT_EQ(r.w.at(1)->grant.generation, r.w.at(0)->peer[1].grant.generation);
    EXPECT_EQ(fences + 1, r.w.at(1)->count.fences) << "closed and drained before";
    EXPECT_EQ(others, r.w.at(2)->count.fences) << "nobody else is disturbed";
    EXPECT_EQ(round, r.w.at(0)->ballot.round);
    EXPECT_EQ(TR_REPLICA_LEADER, r.w.at(0)->role);
    uint64_t written = r.w.at(0)->count.written, slot = r.w.at(0)->slot_next;
    r.w.propose(0, 7);
    ASSERT_TRUE(r.run_until([&] { return r.w.at(0)->slot_commit >= slot; }));
    EXPECT_GT(r.w.at(0)->count.written, written);
}

TEST(OneSided, ARequestForALostRingThatComesAgain_IsAnsweredWithTheSameGrant)
{
    Rings r(one_sided(3));
    ASSERT_TRUE(r.elect());
    break_ring(r);
    r.w.run(3 * HEARTBEAT_NS, [](Sent &s) { return s.type() != TR_MESSAGE_PREPARE; });
    Sent asked;
    ASSERT_TRUE(r.w.take(0, 1, TR_MESSAGE_PREPARE, &asked));
    ASSERT_NE(0u, asked.body<tr_prepare>()->generation_lost);
    r.w.hand(asked);
    ASSERT_TRUE(r.run_until([&] { return r.w.at(0)->peer[1].ring; }));
    uint64_t generation = r.w.at(1)->grant.generation, fences = r.w.at(1)->count.fences;
    r.w.hand(asked);
    ASSERT_TRUE(r.run_until([&] { return r.w.now_ns > 0; }));
    EXPECT_EQ(generation, r.w.at(1)->grant.generation);
    EXPECT_EQ(fences, r.w.at(1)->count.fences);
    EXPECT_EQ(generation, r.w.at(0)->peer[1].grant.generation);
}

TEST(OneSided, AGrantThatWasLost_IsNotTakenAgain)
{
    Rings r(one_sided(3));
    ASSERT_TRUE(r.elect());
    Sent promise = r.w.make<tr_promise>(1, 0, TR_MESSAGE_PROMISE);
    tr_promise *p = promise.body<tr_promise>();
    p->ballot = r.w.at(0)->ballot;
    p->slot_first = p->slot_last = 1;
    p->grant = r.w.at(0)->peer[1].grant;
    p->vector = r.w.at(0)->vector;
    break_ring(r);
    r.w.hand_forged(promise);
    EXPECT_FALSE(r.w.at(0)->peer[1].ring) << "an old promise that was under way for long";
    p->grant.generation++;
    r.w.hand_forged(promise);
    EXPECT_TRUE(r.w.at(0)->peer[1].ring);
    p->grant.generation--;
    r.w.hand_forged(promise);
    EXPECT_EQ(p->grant.generation + 1, r.w.at(0)->peer[1].grant.generation)
        << "the newer one stays";
}

TEST(OneSided, WhatLandedInALostRing_IsInTheLogBeforeItIsGrantedAnew)
{
    Rings r(one_sided(3));
    ASSERT_TRUE(r.elect());
    r.w.crash(2);
    r.w.node(1).fences_by_hand = true;
    r.loses = [](uint8_t, uint64_t) { return true; };
    uint64_t slot = r.w.at(0)->slot_next;
    r.w.propose(0, 1);
    tr_record header;
    tr_piece payload;
    ASSERT_TRUE(tr_replica_ring_record(r.w.at(0), 1, slot, 0, &header, &payload));
    std::vector<uint64_t> words((sizeof(header) + payload.bytes + 63) / 8, 0);
    memcpy(words.data(), &header, sizeof(header));
    memcpy(words.data() + 8, payload.data, payload.bytes);
    /* It counts, and lies in the ring when that breaks. */
    r.w.written(0, 1, slot, slot);
    ASSERT_EQ(slot, r.w.at(0)->slot_commit);
    uint64_t lost = break_ring(r);
    r.run_until([&] { return !tr_ballot_none(r.w.at(1)->fencing); });
    ASSERT_FALSE(tr_ballot_none(r.w.at(1)->fencing)) << "asked for another";
    EXPECT_EQ(lost, r.w.at(1)->grant.generation) << "still the one that is drained";
    const tr_record *record = reinterpret_cast<const tr_record *>(words.data());
    tr_event event{};
    event.type = TR_EVENT_ENTRIES_SEEN;
    event.u.entries_seen = {lost, &record, 1, 0};
    r.w.step(1, event);
    ASSERT_NE(nullptr, tr_log_at(&r.w.at(1)->log, slot));
    r.w.fenced(1);
    EXPECT_GT(r.w.at(1)->grant.generation, lost);
    r.w.step(1, event); /* what lands later is of a grant that is over */
    EXPECT_EQ(1u, tr_replica_entries_admitted(r.w.at(1)));
    EXPECT_TRUE(r.run_until([&] { return r.w.at(0)->peer[1].ring; }));
}

TEST(OneSided, ARingThatIsLostAtOnce_IsAskedForEverMoreSeldom)
{
    Rings r(one_sided(3));
    ASSERT_TRUE(r.elect());
    uint64_t before = r.w.at(0)->count.grants_asked, begin_ns = r.w.now_ns;
    for (int i = 0; i < 8; i++) {
        break_ring(r);
        ASSERT_TRUE(r.run_until([&] { return r.w.at(0)->peer[1].ring; })) << i;
    }
    EXPECT_EQ(before + 8, r.w.at(0)->count.grants_asked);
    EXPECT_GT(r.w.now_ns - begin_ns, 64 * HEARTBEAT_NS);
}

TEST(OneSided, ALeaderThatOnlyAsksForRings_PutsNobodyOff)
{
    Rings r(one_sided(3));
    ASSERT_TRUE(r.elect());
    break_ring(r);
    uint64_t election_ns = r.w.at(1)->timer[TR_TIMER_ELECTION];
    Sent asked = r.w.make<tr_prepare>(0, 1, TR_MESSAGE_PREPARE);
    asked.body<tr_prepare>()->ballot = r.w.at(0)->ballot;
    asked.body<tr_prepare>()->slot_from = 1;
    asked.body<tr_prepare>()->generation_lost = r.w.at(1)->grant.generation;
    r.w.now_ns += 1000;
    r.w.hand_forged(asked);
    EXPECT_EQ(election_ns, r.w.at(1)->timer[TR_TIMER_ELECTION]);
}

} // namespace
