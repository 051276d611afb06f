// The simulated network: every fault happens when it is asked for and shows where it should.
#include "drivers_sim_world.h"

#include <algorithm>
#include <deque>

namespace
{

using namespace tr_test;

// ---- messages ----

TEST(sim_messages, calm_network_delivers_in_order_within_its_delay)
{
    world s(tr_sim_profile_calm());
    sim_port &a = s.open(1), &b = s.open(2);
    for (uint64_t i = 0; i < 100; i++)
        ASSERT_TRUE(a.send(2, pattern(i, 64)));
    s.pass(5 * us - 1);
    EXPECT_TRUE(b.receive().empty()) << "nothing is faster than the least delay";
    s.pass(5 * us + 1);
    auto got = b.receive(200);
    ASSERT_EQ(got.size(), 100u);
    for (uint64_t i = 0; i < 100; i++) {
        EXPECT_EQ(got[i].data, pattern(i, 64));
        EXPECT_EQ(got[i].peer, 1);
    }
    EXPECT_EQ(tr_sim_next_ns(s.w), UINT64_MAX);
}

TEST(sim_messages, next_event_is_when_something_happens)
{
    world s(tr_sim_profile_calm());
    sim_port &a = s.open(1), &b = s.open(2);
    s.pass(1 * ms);
    ASSERT_EQ(tr_sim_next_ns(s.w), UINT64_MAX);
    ASSERT_TRUE(a.send(2, pattern(1, 64)));
    uint64_t next = tr_sim_next_ns(s.w);
    ASSERT_GE(next, 1 * ms + 5 * us);
    tr_sim_advance(s.w, next - 1);
    EXPECT_TRUE(b.receive().empty());
    tr_sim_advance(s.w, next);
    EXPECT_EQ(b.receive().size(), 1u);
}

TEST(sim_messages, larger_than_a_datagram_travel_in_pieces)
{
    world s(tr_sim_profile_calm());
    sim_port &a = s.open(1), &b = s.open(2);
    ASSERT_TRUE(a.send(2, pattern(1, 64 << 10)));
    s.pass(1 * ms);
    auto got = b.receive();
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].data, pattern(1, 64 << 10));
    EXPECT_EQ(s.count().cut, 1u);
    EXPECT_EQ(s.count().datagrams, 46u) << "1,448 bytes each";
}

TEST(sim_messages, that_lose_one_piece_are_lost)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.drop_ppm = 100000;
    world s(p);
    sim_port &a = s.open(1), &b = s.open(2);
    for (uint64_t i = 0; i < 50; i++)
        ASSERT_TRUE(a.send(2, pattern(i, 40000)));
    s.pass(10 * ms);
    std::vector<received> got;
    for (int i = 0; i < 10; i++) {
        for (auto &m : b.receive())
            got.push_back(m);
    }
    EXPECT_LT(got.size(), 20u);
    for (auto &m : got)
        EXPECT_EQ(m.data.size(), 40000u);
    EXPECT_GT(s.count().dropped, 50u);
}

TEST(sim_messages, certain_loss_delivers_nothing)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.drop_ppm = always;
    world s(p);
    sim_port &a = s.open(1), &b = s.open(2);
    for (int i = 0; i < 10; i++)
        ASSERT_TRUE(a.send(2, {1}));
    s.pass(1 * ms);
    EXPECT_TRUE(b.receive().empty());
    EXPECT_EQ(s.count().dropped, 10u);
}

TEST(sim_messages, certain_duplication_delivers_twice)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.duplicate_ppm = always;
    world s(p);
    sim_port &a = s.open(1), &b = s.open(2);
    for (uint8_t i = 0; i < 10; i++)
        ASSERT_TRUE(a.send(2, {i}));
    s.pass(1 * ms);
    std::map<uint8_t, int> times;
    for (auto &m : b.receive())
        times[m.data[0]]++;
    ASSERT_EQ(times.size(), 10u);
    for (auto &t : times)
        EXPECT_EQ(t.second, 2);
    EXPECT_EQ(s.count().duplicated, 10u);
}

TEST(sim_messages, corruption_changes_bytes_or_framing)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.corrupt_ppm = always;
    world s(p);
    sim_port &a = s.open(1), &b = s.open(2);
    for (int i = 0; i < 200; i++)
        ASSERT_TRUE(a.send(2, bytes(20, 0x55)));
    s.pass(1 * ms);
    size_t changed = 0;
    for (auto &m : b.receive(256))
        changed += m.data != bytes(20, 0x55);
    EXPECT_EQ(s.count().corrupted, 200u);
    EXPECT_GT(changed, 50u);
    EXPECT_GT(b.stats().rx_malformed, 20u);
    EXPECT_LE(changed + b.stats().rx_malformed, 200u);
}

TEST(sim_messages, held_back_ones_are_overtaken)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.reorder_ppm = 300000;
    p.reorder_ns = {20 * us, 50 * us};
    world s(p);
    sim_port &a = s.open(1), &b = s.open(2);
    for (uint8_t i = 0; i < 100; i++)
        ASSERT_TRUE(a.send(2, {i}));
    s.pass(1 * ms);
    auto got = b.receive(128);
    ASSERT_EQ(got.size(), 100u);
    EXPECT_FALSE(std::is_sorted(got.begin(), got.end(), [](const received &x, const received &y) {
        return x.data[0] < y.data[0];
    }));
    EXPECT_GT(s.count().reordered, 10u);
}

TEST(sim_messages, tail_is_heavy_and_bounded)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.tail_ppm = always;
    p.tail_ns = {100 * us, 10 * ms};
    world s(p);
    sim_port &a = s.open(1), &b = s.open(2);
    for (int i = 0; i < 1000; i++)
        ASSERT_TRUE(a.send(2, {1}));
    size_t by[5] = {};
    const uint64_t until[5] = {100 * us, 200 * us, 1 * ms, 5 * ms, 20 * ms};
    for (int i = 0; i < 5; i++) {
        tr_sim_advance(s.w, until[i]);
        for (size_t more = 1; more != 0;) {
            more = b.receive().size();
            by[i] += more;
        }
    }
    EXPECT_EQ(by[0], 0u);
    EXPECT_GT(by[1], 50u);
    EXPECT_GT(by[2], 100u);
    EXPECT_GT(by[3], 100u);
    EXPECT_GT(by[4], 50u) << "the last octave is as likely as the first";
    EXPECT_EQ(by[1] + by[2] + by[3] + by[4], 1000u);
}

TEST(sim_messages, full_queue_of_a_receiver_loses_and_counts)
{
    world s(tr_sim_profile_calm(), 1, 10);
    sim_port &a = s.open(1), &b = s.open(2);
    for (int i = 0; i < 25; i++)
        ASSERT_TRUE(a.send(2, {1}));
    s.pass(1 * ms);
    EXPECT_EQ(b.receive().size(), 10u);
    EXPECT_EQ(b.stats().rx_dropped, 15u);
    EXPECT_EQ(s.count().overflowed, 15u);
}

TEST(sim_messages, source_can_be_answered)
{
    world s(tr_sim_profile_calm());
    sim_port &a = s.open(1), &b = s.open(2);
    ASSERT_EQ(b->peer_remove(b.get(), 1), TR_OK);
    ASSERT_TRUE(a.send(2, {1}));
    s.pass(1 * ms);
    auto got = b.receive();
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].peer, 0);
    tr_segment segment = {"yes", 3};
    ASSERT_EQ(b->tx_reply(b.get(), got[0].source, &segment, 1), TR_OK);
    s.pass(1 * ms);
    got = a.receive();
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].peer, 2);
}

// ---- partitions, crashes, pauses ----

TEST(sim_partition, blocks_one_direction_and_what_is_in_flight)
{
    world s(tr_sim_profile_calm());
    sim_port &a = s.open(1), &b = s.open(2), &c = s.open(3);
    ASSERT_TRUE(a.send(2, {1}));
    tr_sim_partition(s.w, 1, 2, true);
    ASSERT_TRUE(a.send(2, {2}));
    ASSERT_TRUE(b.send(1, {3}));
    ASSERT_TRUE(a.send(3, {4}));
    ASSERT_TRUE(c.send(2, {5}));
    s.pass(1 * ms);
    EXPECT_EQ(a.receive().size(), 1u);
    EXPECT_EQ(c.receive().size(), 1u);
    auto got = b.receive();
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].data, bytes{5});
    EXPECT_EQ(s.count().blocked, 2u);
    tr_sim_heal_all(s.w);
    ASSERT_TRUE(a.send(2, {6}));
    s.pass(1 * ms);
    EXPECT_EQ(b.receive().size(), 1u);
}

TEST(sim_crash, takes_the_queue_and_leaves_dead_ports)
{
    tr_sim_profile p = tr_sim_profile_calm();
    world s(p);
    sim_port &a = s.open(1), &b = s.open(2);
    s.pass(1 * ms);
    a.events();
    ASSERT_TRUE(a.send(2, {1}));
    s.pass(1 * ms);
    ASSERT_TRUE(a.send(2, {2}));
    tr_sim_crash(s.w, 2);
    EXPECT_TRUE(b.receive().empty());
    EXPECT_FALSE(b.send(1, {3}));
    s.pass(1 * ms);
    auto events = a.events();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].type, TR_PORT_PEER_DOWN);
    EXPECT_EQ(events[0].peer, 2);
    EXPECT_EQ(s.count().undeliverable, 1u);
    EXPECT_TRUE(a.receive().empty());
    sim_port &again = s.open(2);
    ASSERT_TRUE(a.send(2, {4}));
    s.pass(1 * ms);
    auto got = again.receive();
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].data, bytes{4});
    events = a.events();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].type, TR_PORT_PEER_NEW);
}

TEST(sim_crash, that_nobody_noticed_shows_as_a_new_peer)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.notice_ppm = 0;
    world s(p);
    sim_port &a = s.open(1);
    s.open(2);
    s.pass(1 * ms);
    a.events();
    tr_sim_crash(s.w, 2);
    s.pass(100 * ms);
    EXPECT_TRUE(a.events().empty());
    s.open(2);
    s.pass(1 * ms);
    auto events = a.events();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].type, TR_PORT_PEER_NEW);
}

TEST(sim_crash, message_in_flight_reaches_the_next_incarnation)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.delay_ns = {1 * ms, 1 * ms};
    world s(p);
    sim_port &a = s.open(1);
    s.open(2);
    ASSERT_TRUE(a.send(2, {7}));
    tr_sim_crash(s.w, 2);
    sim_port &again = s.open(2);
    s.pass(2 * ms);
    auto got = again.receive();
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].data, bytes{7});
}

TEST(sim_pause, stops_a_node_but_not_what_others_write_into_it)
{
    world s(tr_sim_profile_calm());
    sim_port &a = s.open(1), &b = s.open(2);
    tr_ring_info ring = a.ring(2);
    tr_ring_token token;
    uint32_t remote = 0;
    ASSERT_EQ(a->ring_grant(a.get(), ring.ring, 5, &token), TR_OK);
    ASSERT_EQ(b->remote_open(b.get(), 1, &token, 5, &remote), TR_OK);
    tr_sim_pause(s.w, 1, true);
    bytes data = pattern(1, 64);
    ASSERT_EQ(b.write(remote, 0, data), TR_OK);
    ASSERT_TRUE(b.send(1, {1}));
    s.pass(1 * ms);
    EXPECT_TRUE(a.receive().empty());
    EXPECT_FALSE(a.send(2, {1}));
    EXPECT_EQ(ring_bytes(ring, 0, 64), data);
    auto done = b.completions();
    ASSERT_EQ(done.size(), 1u);
    EXPECT_EQ(done[0].status, TR_WRITE_OK);
    tr_sim_pause(s.w, 1, false);
    EXPECT_EQ(a.receive().size(), 1u);
}

// ---- one-sided writes ----

// Node 1 owns a ring, node 2 writes.
struct ringed : world {
    explicit ringed(const tr_sim_profile &profile, uint64_t seed = 1, uint32_t size = 4096)
        : world(profile, seed), owner(open(1)), writer(open(2)), ring(owner.ring(2, size))
    {
        grant(100);
    }

    void grant(uint64_t generation)
    {
        ASSERT_EQ(owner->ring_grant(owner.get(), ring.ring, generation, &token), TR_OK);
        ASSERT_EQ(writer->remote_open(writer.get(), 1, &token, generation, &remote), TR_OK);
    }

    // Posts a write whose source stays.
    void post(uint32_t offset, const bytes &data)
    {
        sources.push_back(data);
        ASSERT_EQ(writer.write(remote, offset, sources.back(), sources.size() - 1), TR_OK);
    }

    void fence()
    {
        int result = owner->fence_start(owner.get(), ring.ring);
        for (int i = 0; i < 10000 && result == TR_AGAIN; i++) {
            pass(1 * us);
            result = owner->fence_poll(owner.get(), ring.ring);
        }
        ASSERT_EQ(result, TR_OK);
    }

    sim_port &owner, &writer;
    tr_ring_info ring;
    tr_ring_token token{};
    uint32_t remote = 0;
    std::deque<bytes> sources;
};

// How many of the words of a write are there.
size_t words_there(const ringed &s, uint32_t offset, const bytes &data)
{
    bytes now = ring_bytes(s.ring, offset, static_cast<uint32_t>(data.size()));
    size_t there = 0;
    for (size_t i = 0; i < data.size(); i += 8)
        there +=
            std::equal(now.begin() + static_cast<long>(i), now.begin() + static_cast<long>(i) + 8,
                       data.begin() + static_cast<long>(i));
    return there;
}

size_t partial_states(uint32_t torn_ppm, bool *out_of_order)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.write_torn_ppm = torn_ppm;
    p.write_spread_ns = {0, 50 * us};
    ringed s(p);
    size_t partial = 0;
    for (uint32_t i = 0; i < 50; i++) {
        bytes data = pattern(i, 64);
        s.post(64 * i, data);
        while (s.writer.completions().empty()) {
            s.pass(100);
            size_t there = words_there(s, 64 * i, data);
            partial += there > 0 && there < 8;
            bytes now = ring_bytes(s.ring, 64 * i, 64);
            *out_of_order =
                *out_of_order || (!std::equal(now.begin(), now.begin() + 8, data.begin()) &&
                                  std::equal(now.begin() + 56, now.end(), data.begin() + 56));
        }
        EXPECT_EQ(words_there(s, 64 * i, data), 8u) << "complete when it is told";
    }
    return partial;
}

TEST(sim_writes, torn_ones_are_seen_in_parts_last_words_first)
{
    bool out_of_order = false;
    EXPECT_GT(partial_states(always, &out_of_order), 100u);
    EXPECT_TRUE(out_of_order);
}

TEST(sim_writes, others_land_whole)
{
    bool out_of_order = false;
    EXPECT_EQ(partial_states(0, &out_of_order), 0u);
    EXPECT_FALSE(out_of_order);
}

TEST(sim_writes, early_ones_are_told_before_they_land_and_the_fence_makes_them)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.write_early_ppm = always;
    p.write_late_ns = {10 * ms, 10 * ms};
    ringed s(p);
    bytes data = pattern(1, 64);
    s.post(0, data);
    s.pass(1 * ms);
    auto done = s.writer.completions();
    ASSERT_EQ(done.size(), 1u);
    EXPECT_EQ(done[0].status, TR_WRITE_OK);
    EXPECT_EQ(words_there(s, 0, data), 0u);
    s.fence();
    EXPECT_EQ(words_there(s, 0, data), 8u);
    EXPECT_EQ(s.count().writes_forced, 1u);
    // And without a fence, in its time.
    s.grant(101);
    s.post(64, data);
    s.pass(9 * ms);
    EXPECT_EQ(words_there(s, 64, data), 0u);
    s.pass(2 * ms);
    EXPECT_EQ(words_there(s, 64, data), 8u);
}

TEST(sim_writes, lost_completion_breaks_and_the_write_lands_all_the_same)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.write_lost_ppm = always;
    p.write_timeout_ns = 1 * ms;
    p.write_late_ns = {5 * ms, 5 * ms};
    ringed s(p);
    bytes data = pattern(1, 64);
    s.post(0, data);
    s.pass(2 * ms);
    auto done = s.writer.completions();
    ASSERT_EQ(done.size(), 1u);
    EXPECT_EQ(done[0].status, TR_WRITE_BROKEN);
    EXPECT_EQ(words_there(s, 0, data), 0u);
    s.pass(4 * ms);
    EXPECT_EQ(words_there(s, 0, data), 8u) << "late, after the completion was lost";
    EXPECT_EQ(s.count().writes_lost, 1u);
    // But not after a fence.
    s.fence();
    s.writer->remote_close(s.writer.get(), s.remote);
    s.grant(101);
    s.post(64, data);
    s.pass(2 * ms);
    s.fence();
    s.pass(100 * ms);
    EXPECT_EQ(words_there(s, 64, data), 0u);
}

TEST(sim_writes, broken_connection_stays_broken_until_it_is_opened_again)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.write_broken_ppm = always;
    ringed s(p);
    s.post(0, pattern(1, 64));
    tr_sim_profile calm = tr_sim_profile_calm();
    s.pass(1 * ms);
    tr_sim_set_profile(s.w, &calm);
    s.post(64, pattern(2, 64));
    s.pass(1 * ms);
    auto done = s.writer.completions();
    ASSERT_EQ(done.size(), 2u);
    EXPECT_EQ(done[0].status, TR_WRITE_BROKEN);
    EXPECT_EQ(done[1].status, TR_WRITE_BROKEN) << "flushed";
    EXPECT_EQ(words_there(s, 64, pattern(2, 64)), 0u) << "and never sent";
    s.writer->remote_close(s.writer.get(), s.remote);
    s.fence();
    s.grant(101);
    s.post(128, pattern(3, 64));
    s.pass(1 * ms);
    done = s.writer.completions();
    ASSERT_EQ(done.size(), 1u);
    EXPECT_EQ(done[0].status, TR_WRITE_OK);
}

TEST(sim_writes, of_a_partitioned_writer_break_after_the_timeout)
{
    ringed s(tr_sim_profile_calm());
    bytes data = pattern(1, 64);
    tr_sim_partition(s.w, 2, 1, true);
    s.post(0, data);
    s.pass(1 * ms - 1);
    EXPECT_TRUE(s.writer.completions().empty());
    s.pass(1 * us);
    auto done = s.writer.completions();
    ASSERT_EQ(done.size(), 1u);
    EXPECT_EQ(done[0].status, TR_WRITE_BROKEN);
    EXPECT_EQ(words_there(s, 0, data), 0u);
    uint32_t other = 0;
    EXPECT_EQ(s.writer->remote_open(s.writer.get(), 1, &s.token, 100, &other), TR_AGAIN);
}

TEST(sim_writes, whose_answers_are_cut_off_land_and_break)
{
    ringed s(tr_sim_profile_calm());
    bytes data = pattern(1, 64);
    tr_sim_partition(s.w, 1, 2, true);
    s.post(0, data);
    s.post(64, data);
    s.pass(5 * ms);
    auto done = s.writer.completions();
    ASSERT_EQ(done.size(), 2u);
    EXPECT_EQ(done[0].status, TR_WRITE_BROKEN);
    EXPECT_EQ(done[1].status, TR_WRITE_BROKEN);
    EXPECT_EQ(words_there(s, 0, data), 8u);
    EXPECT_EQ(words_there(s, 64, data), 8u);
}

TEST(sim_writes, into_a_dead_nodes_ring_count_until_its_successor_opens)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.orphan_ppm = always;
    ringed s(p);
    tr_sim_crash(s.w, 1);
    s.post(0, pattern(1, 64));
    s.pass(1 * ms);
    auto done = s.writer.completions();
    ASSERT_EQ(done.size(), 1u);
    EXPECT_EQ(done[0].status, TR_WRITE_OK) << "rule 1 has something to guard against";
    EXPECT_EQ(s.count().writes_orphaned, 1u);
    s.open(1);
    s.post(64, pattern(1, 64));
    s.pass(1 * ms);
    done = s.writer.completions();
    ASSERT_EQ(done.size(), 1u);
    EXPECT_NE(done[0].status, TR_WRITE_OK);
}

TEST(sim_writes, into_a_ring_that_died_with_its_node_break)
{
    ringed s(tr_sim_profile_calm());
    tr_sim_crash(s.w, 1);
    s.post(0, pattern(1, 64));
    s.pass(5 * ms);
    auto done = s.writer.completions();
    ASSERT_EQ(done.size(), 1u);
    EXPECT_EQ(done[0].status, TR_WRITE_BROKEN);
}

TEST(sim_writes, of_a_dead_writer_land_or_half_or_not)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.write_torn_ppm = always;
    size_t whole = 0, half = 0, none = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        ringed s(p, seed);
        bytes data = pattern(1, 64);
        s.post(0, data);
        tr_sim_crash(s.w, 2);
        s.pass(10 * ms);
        size_t there = words_there(s, 0, data);
        (there == 8 ? whole : there == 0 ? none : half)++;
    }
    EXPECT_GT(whole, 5u);
    EXPECT_GT(half, 20u);
    EXPECT_GT(none, 5u);
}

TEST(sim_writes, source_that_changed_too_soon_is_noticed)
{
    ringed s(tr_sim_profile_calm());
    s.post(0, pattern(1, 64));
    s.pass(1 * ms);
    EXPECT_EQ(s.count().sources_changed, 0u);
    s.post(64, pattern(1, 64));
    s.sources.back()[10] ^= 1;
    s.pass(1 * ms);
    EXPECT_EQ(s.count().sources_changed, 1u) << "rule 7 was broken";
}

TEST(sim_writes, what_lies_over_bytes_not_yet_taken_is_noticed)
{
    ringed s(tr_sim_profile_calm());
    s.post(0, pattern(1, 2048));
    s.post(2048, pattern(2, 2048));
    s.post(0, pattern(3, 1024)); /* the next lap */
    EXPECT_EQ(s.count().writes_overran, 1u) << "rule 10 was broken";
    s.pass(1 * ms);
    s.owner->ring_consumed(s.owner.get(), s.ring.ring, 4096);
    s.pass(1 * ms);
    s.post(1024, pattern(4, 1024));
    s.post(2048, pattern(5, 2048));
    EXPECT_EQ(s.count().writes_overran, 1u);
    s.fence();
    s.grant(101);
    s.post(0, pattern(6, 4096)); /* a new grant begins anew */
    EXPECT_EQ(s.count().writes_overran, 1u);
}

TEST(sim_writes, large_ones_fall_into_several_packets)
{
    tr_sim_profile p = tr_sim_profile_calm();
    p.write_torn_ppm = always;
    p.write_spread_ns = {0, 50 * us};
    ringed s(p, 1, 1 << 20);
    bytes data = pattern(1, 1 << 20);
    s.post(0, data);
    s.pass(20 * us);
    size_t there = words_there(s, 0, data);
    EXPECT_GT(there, 1000u);
    EXPECT_LT(there, (1u << 17) - 1000);
    s.pass(1 * ms);
    EXPECT_EQ(words_there(s, 0, data), 1u << 17);
    EXPECT_EQ(s.writer.completions().size(), 1u);
}

TEST(sim_world, bad_options_are_refused)
{
    tr_sim_world *w = nullptr;
    tr_test::arena memory, small(100000);
    tr_sim_options options{};
    options.profile = tr_sim_profile_calm();
    options.memory = *memory.memory();
    EXPECT_EQ(tr_sim_world_create(&options, &w), TR_EINVAL) << "no size";
    options.struct_bytes = sizeof(options);
    options.profile.datagram_bytes = 100000;
    EXPECT_EQ(tr_sim_world_create(&options, &w), TR_EINVAL);
    options.profile.datagram_bytes = 1000;
    options.memory = *small.memory();
    EXPECT_EQ(tr_sim_world_create(&options, &w), TR_ENOMEM);
    EXPECT_EQ(w, nullptr);
}

} // namespace
