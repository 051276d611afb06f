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

} // namespace
