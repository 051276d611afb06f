// The fault driver over a driver that the test owns, with the test's clock: what each rule does,
// and that nothing is done without one.
#include "base/prng.h"
#include "drivers/fault/fault.h"
#include "drivers/registry.h"
#include "drivers_port.h"
#include "trireme/error.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <map>
#include <thread>
#include <unistd.h>

namespace
{

using bytes = std::vector<uint8_t>;
using tr_test::pattern;

constexpr uint64_t us = 1000;
constexpr uint32_t always = 1000000;

struct message {
    tr_node_id peer;
    bytes data;
    uint32_t source;
};

// The driver below: what it was told, and what it is to say.
struct below_port {
    tr_port_head head;
    std::string extra;
    std::vector<message> sent;
    std::vector<message> replies;
    std::deque<message> arriving;
    std::vector<message> handed;
    struct write {
        uint32_t remote, offset;
        bytes data;
        uint64_t cookie;
    };
    std::vector<write> written;
    std::deque<tr_write_completion> completing;
    size_t room = SIZE_MAX;
    const void *tx_array = nullptr;
    tr_port_stats stats;
    bool is_closed = false;
};

below_port *port_below; // the one that was opened last

below_port *self(tr_port *port)
{
    return reinterpret_cast<below_port *>(port);
}

bytes joined(const tr_segment *segment, uint32_t count)
{
    bytes all;
    for (uint32_t i = 0; i < count; i++) {
        auto *data = static_cast<const uint8_t *>(segment[i].data);
        all.insert(all.end(), data, data + segment[i].bytes);
    }
    return all;
}

tr_driver make_below()
{
    tr_driver d{};
    d.name = "below";
    d.abi_bytes = sizeof(d);
    d.capabilities = TR_DRIVER_MESSAGES | TR_DRIVER_ONE_SIDED;
    d.summary = "for tests";
    d.open = [](const tr_port_options *options, tr_port **out) -> int {
        port_below = new below_port{};
        port_below->extra = options->extra;
        *out = reinterpret_cast<tr_port *>(port_below);
        return TR_OK;
    };
    d.close = [](tr_port *port) { self(port)->is_closed = true; };
    d.limits = [](const tr_port *, tr_port_limits *out) { *out = {64 << 10, 256, 1 << 20, 8, 8}; };
    d.peer_add = [](tr_port *, tr_node_id, const char *) -> int { return TR_OK; };
    d.peer_remove = [](tr_port *, tr_node_id) -> int { return TR_OK; };
    d.rx_burst = [](tr_port *port, tr_rx *out, uint32_t max) -> uint32_t {
        below_port *b = self(port);
        b->handed.clear();
        while (b->handed.size() < max && !b->arriving.empty()) {
            b->handed.push_back(b->arriving.front());
            b->arriving.pop_front();
        }
        for (size_t i = 0; i < b->handed.size(); i++) {
            out[i] = {b->handed[i].data.data(), static_cast<uint32_t>(b->handed[i].data.size()),
                      b->handed[i].peer, b->handed[i].source};
            b->stats.rx_messages++;
            b->stats.rx_bytes += out[i].bytes;
        }
        return static_cast<uint32_t>(b->handed.size());
    };
    d.tx_burst = [](tr_port *port, const tr_tx *tx, uint32_t count) -> uint32_t {
        below_port *b = self(port);
        b->tx_array = tx;
        uint32_t taken = 0;
        for (; taken < count && b->room > 0; taken++, b->room--) {
            b->sent.push_back(
                {tx[taken].peer, joined(tx[taken].segment, tx[taken].segment_count), 0});
            b->stats.tx_messages++;
            b->stats.tx_bytes += b->sent.back().data.size();
        }
        return taken;
    };
    d.tx_reply = [](tr_port *port, uint32_t source, const tr_segment *segment,
                    uint32_t count) -> int {
        self(port)->replies.push_back({0, joined(segment, count), source});
        return TR_OK;
    };
    d.tx_flush = [](tr_port *) {};
    d.ring_create = [](tr_port *, const tr_ring_options *, tr_ring_info *) -> int { return TR_OK; };
    d.ring_grant = [](tr_port *, uint32_t, uint64_t, tr_ring_token *) -> int { return TR_OK; };
    d.fence_start = [](tr_port *, uint32_t) -> int { return TR_OK; };
    d.fence_poll = [](tr_port *, uint32_t) -> int { return TR_OK; };
    d.ring_consumed = [](tr_port *, uint32_t, uint64_t) {};
    d.remote_open = [](tr_port *, tr_node_id peer, const tr_ring_token *, uint64_t,
                       uint32_t *remote) -> int {
        *remote = peer;
        return TR_OK;
    };
    d.remote_close = [](tr_port *, uint32_t) {};
    d.write_post = [](tr_port *port, uint32_t remote, uint32_t offset, const tr_segment *segment,
                      uint32_t count, uint64_t cookie) -> int {
        self(port)->written.push_back({remote, offset, joined(segment, count), cookie});
        tr_write_completion done{};
        done.peer = static_cast<tr_node_id>(remote);
        done.remote = remote;
        done.generation = 5;
        done.cookie = cookie;
        done.status = TR_WRITE_OK;
        self(port)->completing.push_back(done);
        return TR_OK;
    };
    d.write_poll = [](tr_port *port, tr_write_completion *out, uint32_t max) -> uint32_t {
        uint32_t count = 0;
        while (count < max && !self(port)->completing.empty()) {
            out[count++] = self(port)->completing.front();
            self(port)->completing.pop_front();
        }
        return count;
    };
    d.remote_consumed = [](tr_port *, uint32_t) -> uint64_t { return 77; };
    d.events = [](tr_port *, tr_port_event *, uint32_t) -> uint32_t { return 0; };
    d.stats = [](const tr_port *port, tr_port_stats *out) {
        *out = reinterpret_cast<const below_port *>(port)->stats;
    };
    return d;
}

class fault : public testing::Test
{
  protected:
    fault() : driver(make_below())
    {
        tr_fault_control_init(&control);
        options.struct_bytes = sizeof(options);
        options.below = &driver;
        options.control = &control;
        options.now_ns = [](void *context) { return *static_cast<uint64_t *>(context); };
        options.context = &now;
        port.options.fabric = &options;
        port.options.message_bytes_max = 64 << 10;
    }

    ~fault() override
    {
        port.close();
        delete below;
    }

    void open(const std::string &extra = "")
    {
        ASSERT_EQ(port.open(tr_driver_fault, "nowhere", extra), TR_OK) << port.error;
        below = port_below;
    }

    void rule(const tr_fault_rule &r, tr_node_id peer = 0,
              tr_fault_direction direction = TR_FAULT_BOTH)
    {
        ASSERT_EQ(tr_fault_set(&control, peer, direction, &r), TR_OK);
    }

    std::vector<message> receive(uint32_t max = 64)
    {
        std::vector<tr_rx> rx(max);
        std::vector<message> all;
        uint32_t count = port->rx_burst(port.get(), rx.data(), max);
        for (uint32_t i = 0; i < count; i++) {
            auto *data = static_cast<const uint8_t *>(rx[i].data);
            all.push_back({rx[i].peer, bytes(data, data + rx[i].bytes), rx[i].source});
        }
        return all;
    }

    std::vector<tr_write_completion> completions()
    {
        std::vector<tr_write_completion> all(16);
        all.resize(port->write_poll(port.get(), all.data(), 16));
        return all;
    }

    int write(uint32_t remote, const bytes &data, uint64_t cookie)
    {
        tr_segment segment = {data.data(), static_cast<uint32_t>(data.size())};
        return port->write_post(port.get(), remote, 0, &segment, 1, cookie);
    }

    uint32_t remote(tr_node_id peer)
    {
        tr_ring_token token{};
        uint32_t handle = 0;
        EXPECT_EQ(port->remote_open(port.get(), peer, &token, 5, &handle), TR_OK);
        return handle;
    }

    tr_driver driver;
    tr_fault_control control;
    tr_fault_options options{};
    uint64_t now = 1000;
    tr_test::port port;
    below_port *below = nullptr;
    bytes data = pattern(1, 64);
};

TEST_F(fault, without_a_rule_the_burst_itself_is_passed_on)
{
    open();
    tr_tx tx[2] = {};
    for (auto &t : tx) {
        t.peer = 2;
        t.segment_count = 1;
        t.segment[0] = {data.data(), 64};
    }
    EXPECT_EQ(port->tx_burst(port.get(), tx, 2), 2u);
    EXPECT_EQ(below->tx_array, tx);
    below->arriving.push_back({2, data, 9});
    auto got = receive();
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].source, 9u) << "the driver's own handle";
    uint32_t r = remote(2);
    EXPECT_EQ(write(r, data, 1), TR_OK);
    EXPECT_EQ(completions().size(), 1u);
    EXPECT_EQ(port->remote_consumed(port.get(), r), 77u);
}

TEST_F(fault, table_of_the_port_has_the_bits_of_the_driver_below)
{
    open();
    auto *head = reinterpret_cast<tr_port_head *>(port.get());
    EXPECT_EQ(head->driver->capabilities, TR_DRIVER_MESSAGES | TR_DRIVER_ONE_SIDED |
                                              TR_DRIVER_MAY_DROP | TR_DRIVER_MAY_DUP |
                                              TR_DRIVER_MAY_REORDER);
    char why[200];
    EXPECT_EQ(tr_driver_check(head->driver, why, sizeof(why)), TR_OK) << why;
}

TEST_F(fault, device_is_that_of_the_driver_below_with_its_own_options)
{
    tr_device out = {TR_DEVICE_PCI, "unset"};
    port.options.struct_bytes = sizeof(port.options);
    port.options.extra = "drop=1%,below.iface=eth8";
    tr_driver_fault.device(&port.options, &out);
    EXPECT_EQ(out.kind, TR_DEVICE_NONE); // it tells none
    EXPECT_STREQ(out.name, "");
    driver.device = [](const tr_port_options *o, tr_device *told) {
        *told = {TR_DEVICE_NETWORK, ""};
        snprintf(told->name, sizeof(told->name), "%s", o->extra);
    };
    tr_driver_fault.device(&port.options, &out);
    EXPECT_EQ(out.kind, TR_DEVICE_NETWORK);
    EXPECT_STREQ(out.name, "iface=eth8");
    port.options.extra = "drop=nonsense";
    tr_driver_fault.device(&port.options, &out);
    EXPECT_EQ(out.kind, TR_DEVICE_NONE);
}

TEST_F(fault, certain_loss_takes_messages_and_delivers_none)
{
    open();
    tr_fault_rule r{};
    r.drop_ppm = always;
    rule(r);
    EXPECT_TRUE(port.send(2, data));
    EXPECT_TRUE(below->sent.empty());
    below->arriving.push_back({2, data, 0});
    EXPECT_TRUE(receive().empty());
    EXPECT_EQ(control.counters.dropped, 2u);
    EXPECT_EQ(port.stats().tx_messages, 1u) << "taken, as far as the caller knows";
    EXPECT_EQ(port.stats().tx_bytes, 64u);
    EXPECT_EQ(port.stats().rx_messages, 0u);
    EXPECT_EQ(port.stats().rx_bytes, 0u);
}

TEST_F(fault, rates_are_kept)
{
    open();
    tr_fault_rule r{};
    r.drop_ppm = 250000;
    rule(r);
    for (int i = 0; i < 10000; i++)
        EXPECT_TRUE(port.send(2, data));
    EXPECT_GT(below->sent.size(), 7200u);
    EXPECT_LT(below->sent.size(), 7800u);
}

TEST_F(fault, same_seed_has_the_same_fate)
{
    std::vector<size_t> first;
    for (int run = 0; run < 2; run++) {
        tr_test::port p;
        p.options.fabric = &options;
        p.options.seed = 77;
        ASSERT_EQ(p.open(tr_driver_fault, "nowhere", "drop=50%"), TR_OK);
        std::vector<size_t> fates;
        for (int i = 0; i < 200; i++) {
            p.send(2, data);
            fates.push_back(port_below->sent.size());
        }
        if (run == 0)
            first = fates;
        EXPECT_EQ(fates, first);
        p.close();
        delete port_below;
    }
}

TEST_F(fault, duplicates_are_sent_and_handed_up_twice)
{
    open();
    tr_fault_rule r{};
    r.duplicate_ppm = always;
    rule(r);
    EXPECT_TRUE(port.send(2, data));
    ASSERT_EQ(below->sent.size(), 2u);
    EXPECT_EQ(below->sent[1].data, data);
    EXPECT_EQ(port.stats().tx_messages, 1u);
    below->arriving.push_back({2, data, 0});
    auto got = receive();
    for (auto &m : receive())
        got.push_back(m);
    ASSERT_EQ(got.size(), 2u);
    EXPECT_EQ(got[1].data, data);
    EXPECT_EQ(got[1].peer, 2);
    EXPECT_EQ(port.stats().rx_messages, 2u);
}

TEST_F(fault, damage_flips_a_few_bits_of_a_copy)
{
    open();
    tr_fault_rule r{};
    r.corrupt_ppm = always;
    rule(r);
    bytes original = data;
    EXPECT_TRUE(port.send(2, data));
    EXPECT_EQ(data, original) << "the caller's bytes are his";
    auto bits = [&](const bytes &x) {
        int count = 0;
        for (size_t i = 0; i < x.size(); i++)
            count += __builtin_popcount(static_cast<unsigned>(x[i] ^ data[i]));
        return count;
    };
    ASSERT_EQ(below->sent.size(), 1u);
    EXPECT_LE(bits(below->sent[0].data), 4);
    below->arriving.push_back({2, data, 0});
    receive();
    for (int i = 0; i < 50; i++) {
        below->arriving.push_back({2, data, 0});
        auto got = receive();
        ASSERT_EQ(got.size(), 1u) << "of the burst before";
        EXPECT_LE(bits(got[0].data), 4);
    }
}

TEST_F(fault, delayed_messages_wait_for_the_clock)
{
    open();
    tr_fault_rule r{};
    r.delay_ns = {10 * us, 10 * us};
    rule(r);
    EXPECT_TRUE(port.send(2, data));
    EXPECT_EQ(port.stats().tx_messages, 1u);
    data[0]++; // without ZERO_COPY_TX the segments may be reused on return
    below->arriving.push_back({3, pattern(5, 9000), 0});
    EXPECT_TRUE(receive().empty());
    now += 10 * us - 1;
    port->tx_flush(port.get());
    EXPECT_TRUE(below->sent.empty());
    EXPECT_TRUE(receive().empty());
    now += 1;
    port->tx_flush(port.get());
    ASSERT_EQ(below->sent.size(), 1u);
    EXPECT_EQ(below->sent[0].data, pattern(1, 64));
    auto got = receive();
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].data, pattern(5, 9000));
    EXPECT_EQ(got[0].peer, 3);
    EXPECT_EQ(port.stats().tx_messages, 1u);
    EXPECT_EQ(port.stats().rx_messages, 1u);
}

TEST_F(fault, delayed_bytes_stay_until_the_next_receive)
{
    open();
    tr_fault_rule r{};
    r.delay_ns = {1, 1};
    rule(r);
    for (uint8_t i = 0; i < 20; i++)
        below->arriving.push_back({2, bytes(100, i), 0});
    receive();
    now += 10;
    tr_rx rx[20];
    ASSERT_EQ(port->rx_burst(port.get(), rx, 20), 20u);
    for (uint8_t i = 0; i < 20; i++)
        EXPECT_EQ(static_cast<const uint8_t *>(rx[i].data)[99], i);
}

TEST_F(fault, held_back_messages_are_overtaken)
{
    open();
    tr_fault_rule r{};
    r.reorder_ppm = 300000;
    r.reorder_ns = {1 * us, 5 * us};
    rule(r);
    for (uint8_t i = 0; i < 100; i++) {
        EXPECT_TRUE(port.send(2, {i}));
        now += 500;
    }
    now += 10 * us;
    port->tx_flush(port.get());
    ASSERT_EQ(below->sent.size(), 100u);
    int behind = 0;
    for (size_t i = 1; i < 100; i++)
        behind += below->sent[i].data[0] < below->sent[i - 1].data[0];
    EXPECT_GT(behind, 5);
}

TEST_F(fault, block_of_a_peer_and_direction_leaves_the_others_alone)
{
    open();
    ASSERT_EQ(tr_fault_block(&control, 2, TR_FAULT_OUT, true), TR_OK);
    EXPECT_TRUE(port.send(2, data));
    EXPECT_TRUE(port.send(3, data));
    ASSERT_EQ(below->sent.size(), 1u);
    EXPECT_EQ(below->sent[0].peer, 3);
    below->arriving.push_back({2, data, 0});
    EXPECT_EQ(receive().size(), 1u) << "it can still be heard";
    ASSERT_EQ(tr_fault_block(&control, 2, TR_FAULT_BOTH, true), TR_OK);
    below->arriving.push_back({2, data, 0});
    EXPECT_TRUE(receive().empty());
    ASSERT_EQ(tr_fault_block(&control, 2, TR_FAULT_BOTH, false), TR_OK);
    EXPECT_EQ(control.is_active, 0u);
    EXPECT_TRUE(port.send(2, data));
    EXPECT_EQ(below->sent.size(), 2u);
    EXPECT_EQ(control.counters.blocked, 2u);
}

TEST_F(fault, own_rule_of_a_peer_goes_before_everybodys)
{
    open();
    tr_fault_rule r{}, none{};
    r.drop_ppm = always;
    rule(r);
    rule(none, 3);
    EXPECT_TRUE(port.send(2, data));
    EXPECT_TRUE(port.send(3, data));
    ASSERT_EQ(below->sent.size(), 1u);
    EXPECT_EQ(below->sent[0].peer, 3);
    for (tr_node_id peer = 100; peer < 100 + TR_FAULT_PEERS_MAX - 1; peer++)
        rule(none, peer);
    EXPECT_EQ(tr_fault_set(&control, 999, TR_FAULT_OUT, &r), TR_EFULL);
    tr_fault_clear(&control);
    EXPECT_EQ(control.is_active, 0u);
}

TEST_F(fault, cleared_faults_end_and_what_is_held_still_arrives)
{
    open();
    tr_fault_rule r{};
    r.delay_ns = {10 * us, 10 * us};
    rule(r);
    EXPECT_TRUE(port.send(2, data));
    below->arriving.push_back({2, data, 0});
    EXPECT_TRUE(receive().empty());
    tr_fault_clear(&control);
    EXPECT_TRUE(port.send(3, data));
    ASSERT_EQ(below->sent.size(), 1u);
    EXPECT_EQ(below->sent[0].peer, 3);
    now += 10 * us;
    EXPECT_EQ(receive().size(), 1u);
    EXPECT_EQ(below->sent.size(), 2u);
}

TEST_F(fault, full_driver_below_takes_fewer_and_held_messages_are_lost)
{
    open();
    tr_fault_rule r{};
    r.delay_ns = {1 * us, 1 * us};
    rule(r, 2);
    EXPECT_TRUE(port.send(2, data));
    below->room = 0;
    EXPECT_FALSE(port.send(3, data));
    now += 1 * us;
    port->tx_flush(port.get());
    EXPECT_EQ(control.counters.overflowed, 1u);
    below->room = SIZE_MAX;
    EXPECT_TRUE(port.send(3, data));
    ASSERT_EQ(below->sent.size(), 1u);
    EXPECT_EQ(below->sent[0].peer, 3);
}

TEST_F(fault, too_many_held_messages_are_lost_and_counted)
{
    open();
    tr_fault_rule r{};
    r.delay_ns = {10 * us, 10 * us};
    rule(r);
    for (int i = 0; i < 2000; i++)
        EXPECT_TRUE(port.send(2, data));
    now += 10 * us;
    port->tx_flush(port.get());
    EXPECT_GT(control.counters.overflowed, 0u);
    EXPECT_EQ(below->sent.size() + control.counters.overflowed, 2000u);
    for (int i = 0; i < 10; i++)
        EXPECT_TRUE(port.send(2, bytes(64 << 10)));
    EXPECT_GT(control.counters.overflowed + below->sent.size(), 2000u);
}

TEST_F(fault, answers_to_a_peer_are_under_its_rule_and_those_to_a_stranger_are_not)
{
    open();
    tr_fault_rule r{};
    r.duplicate_ppm = 1; // active, and next to nothing
    rule(r);
    below->arriving.push_back({2, data, 4});
    below->arriving.push_back({0, data, 5});
    auto got = receive();
    ASSERT_EQ(got.size(), 2u);
    tr_segment segment = {data.data(), 64};
    ASSERT_EQ(port->tx_reply(port.get(), got[0].source, &segment, 1), TR_OK);
    ASSERT_EQ(port->tx_reply(port.get(), got[1].source, &segment, 1), TR_OK);
    ASSERT_EQ(below->sent.size(), 1u);
    EXPECT_EQ(below->sent[0].peer, 2);
    ASSERT_EQ(below->replies.size(), 1u);
    EXPECT_EQ(below->replies[0].source, 5u);
}

// ---- writes ----

TEST_F(fault, delayed_writes_are_posted_later_and_in_order)
{
    open();
    uint32_t r2 = remote(2), r3 = remote(3);
    tr_fault_rule r{};
    r.write_delay_ns = {10 * us, 10 * us};
    rule(r, 2);
    ASSERT_EQ(write(r2, data, 1), TR_OK);
    ASSERT_EQ(write(r3, data, 2), TR_OK) << "behind it";
    EXPECT_TRUE(below->written.empty());
    EXPECT_TRUE(completions().empty());
    EXPECT_EQ(port.stats().writes, 2u);
    now += 10 * us;
    completions();
    ASSERT_EQ(below->written.size(), 2u);
    EXPECT_EQ(below->written[0].cookie, 1u);
    auto done = completions();
    ASSERT_EQ(done.size(), 2u);
    EXPECT_EQ(done[0].cookie, 1u);
    EXPECT_EQ(done[0].status, TR_WRITE_OK);
    EXPECT_EQ(control.counters.writes_delayed, 1u);
}

TEST_F(fault, refused_write_is_not_posted_and_nothing_counts_behind_it)
{
    open();
    uint32_t r2 = remote(2);
    ASSERT_EQ(write(r2, data, 1), TR_OK);
    tr_fault_rule r{};
    r.write_refuse_ppm = always;
    rule(r);
    ASSERT_EQ(write(r2, data, 2), TR_OK);
    tr_fault_clear(&control);
    ASSERT_EQ(write(r2, data, 3), TR_OK);
    EXPECT_EQ(below->written.size(), 1u);
    auto done = completions();
    ASSERT_EQ(done.size(), 3u);
    EXPECT_EQ(done[0].status, TR_WRITE_OK);
    EXPECT_EQ(done[1].status, TR_WRITE_REFUSED);
    EXPECT_EQ(done[1].cookie, 2u);
    EXPECT_EQ(done[1].generation, 5u);
    EXPECT_EQ(done[1].peer, 2);
    EXPECT_EQ(done[2].status, TR_WRITE_REFUSED);
    EXPECT_EQ(port.stats().writes_refused, 2u);
    port->remote_close(port.get(), r2);
    r2 = remote(2);
    ASSERT_EQ(write(r2, data, 4), TR_OK);
    done = completions();
    ASSERT_EQ(done.size(), 1u);
    EXPECT_EQ(done[0].status, TR_WRITE_OK);
}

TEST_F(fault, blocked_peer_breaks_writes_one_way_or_the_other)
{
    open();
    uint32_t r2 = remote(2), r3 = remote(3);
    ASSERT_EQ(tr_fault_block(&control, 2, TR_FAULT_OUT, true), TR_OK);
    ASSERT_EQ(tr_fault_block(&control, 3, TR_FAULT_IN, true), TR_OK);
    ASSERT_EQ(write(r2, data, 1), TR_OK);
    ASSERT_EQ(write(r3, data, 2), TR_OK);
    std::map<uint64_t, tr_write_status> status;
    for (int i = 0; i < 3; i++) {
        for (auto &done : completions())
            status[done.cookie] = done.status;
    }
    EXPECT_EQ(status[1], TR_WRITE_BROKEN);
    EXPECT_EQ(status[2], TR_WRITE_BROKEN);
    ASSERT_EQ(below->written.size(), 1u) << "out: never posted; in: landed, and its answer is lost";
    EXPECT_EQ(below->written[0].remote, r3);
}

TEST_F(fault, waiting_writes_are_bounded)
{
    open();
    uint32_t r2 = remote(2);
    tr_fault_rule r{};
    r.write_delay_ns = {10 * us, 10 * us};
    rule(r);
    for (uint64_t i = 0; i < 8; i++)
        ASSERT_EQ(write(r2, data, i), TR_OK);
    EXPECT_EQ(write(r2, data, 8), TR_AGAIN) << "writes_max of the driver below";
    port->remote_close(port.get(), r2);
    now += 10 * us;
    EXPECT_TRUE(completions().empty());
    EXPECT_TRUE(below->written.empty()) << "closed before they were posted";
}

// ---- options and text ----

TEST_F(fault, extra_text_sets_rules_and_the_rest_goes_below)
{
    open("drop=0.1%,delay=10us-50us,block=2+3,below.rcvbuf=1M,below.gso=off");
    EXPECT_EQ(below->extra, "rcvbuf=1M,gso=off");
    tr_fault_rule r = tr_fault_get(&control, 7, TR_FAULT_IN);
    EXPECT_EQ(r.drop_ppm, 1000u);
    EXPECT_EQ(r.delay_ns.low_ns, 10 * us);
    EXPECT_EQ(r.delay_ns.high_ns, 50 * us);
    EXPECT_FALSE(r.blocked);
    EXPECT_TRUE(tr_fault_get(&control, 2, TR_FAULT_OUT).blocked);
    EXPECT_TRUE(tr_fault_get(&control, 3, TR_FAULT_IN).blocked);
}

TEST_F(fault, text_at_run_time_changes_what_it_names)
{
    open("drop=10%,duplicate=5%");
    char error[300] = "";
    ASSERT_EQ(tr_fault_configure(&control, "drop=20%,peers=2,direction=out", error, sizeof(error)),
              TR_OK)
        << error;
    EXPECT_EQ(tr_fault_get(&control, 2, TR_FAULT_OUT).drop_ppm, 200000u);
    EXPECT_EQ(tr_fault_get(&control, 2, TR_FAULT_OUT).duplicate_ppm, 50000u) << "as it was";
    EXPECT_EQ(tr_fault_get(&control, 2, TR_FAULT_IN).drop_ppm, 100000u);
    EXPECT_EQ(tr_fault_get(&control, 4, TR_FAULT_OUT).drop_ppm, 100000u);
    ASSERT_EQ(tr_fault_configure(&control, "clear=on,block_out=4", error, sizeof(error)), TR_OK);
    EXPECT_EQ(tr_fault_get(&control, 2, TR_FAULT_OUT).drop_ppm, 0u);
    EXPECT_TRUE(tr_fault_get(&control, 4, TR_FAULT_OUT).blocked);
    EXPECT_FALSE(tr_fault_get(&control, 4, TR_FAULT_IN).blocked);
    EXPECT_EQ(tr_fault_control_of(port.get()), &control);
}

TEST_F(fault, bad_text_is_refused_with_the_value_and_changes_nothing)
{
    open("drop=10%");
    char error[600] = "";
    for (const char *text : {"drop=lots", "dorp=1%", "direction=up", "driver=udp", "seed=5",
                             "below.x=1", "block=0", "delay=5"}) {
        EXPECT_EQ(tr_fault_configure(&control, text, error, sizeof(error)), TR_EINVAL) << text;
        EXPECT_NE(std::string(error), "");
    }
    EXPECT_EQ(tr_fault_get(&control, 1, TR_FAULT_OUT).drop_ppm, 100000u);
    tr_fault_configure(&control, "drop=lots", error, sizeof(error));
    EXPECT_NE(std::string(error).find("drop=lots"), std::string::npos) << error;
}

TEST_F(fault, open_refuses_what_it_cannot_wrap)
{
    port.options.fabric = nullptr;
    EXPECT_EQ(port.open(tr_driver_fault, "x", ""), TR_EINVAL);
    EXPECT_NE(std::string(port.error).find("driver=NAME"), std::string::npos) << port.error;
    EXPECT_EQ(port.open(tr_driver_fault, "x", "driver=pigeon"), TR_ENOTSUP);
    EXPECT_NE(std::string(port.error).find("pigeon"), std::string::npos) << port.error;
    EXPECT_EQ(port.open(tr_driver_fault, "x", "driver=fault"), TR_EINVAL);
    port.options.fabric = &options;
    driver.capabilities |= TR_DRIVER_ZERO_COPY_TX;
    driver.tx_done = [](const tr_port *) -> uint64_t { return 0; };
    EXPECT_EQ(port.open(tr_driver_fault, "x", ""), TR_ENOTSUP);
    options.struct_bytes = 1;
    EXPECT_EQ(port.open(tr_driver_fault, "x", ""), TR_EINVAL);
}

TEST(fault_over_udp, opens_by_name_and_carries_messages)
{
    if (tr_driver_find("udp") == nullptr)
        GTEST_SKIP() << "not in this build";
    std::string host = "127." + std::to_string(1 + (getpid() >> 8) % 250) + "." +
                       std::to_string(getpid() & 0xff) + ".";
    tr_test::port a, b;
    ASSERT_EQ(a.open(tr_driver_fault, host + "1:7412", "driver=udp,below.burst=8"), TR_OK)
        << a.error;
    ASSERT_EQ(b.open(tr_driver_fault, host + "2:7412", "driver=udp,drop=0"), TR_OK) << b.error;
    ASSERT_EQ(a->peer_add(a.get(), 2, (host + "2:7412").c_str()), TR_OK);
    ASSERT_EQ(b->peer_add(b.get(), 1, (host + "1:7412").c_str()), TR_OK);
    uint32_t bits = reinterpret_cast<tr_port_head *>(a.get())->driver->capabilities;
    EXPECT_EQ(bits & TR_DRIVER_ONE_SIDED, 0u);
    EXPECT_NE(bits & TR_DRIVER_INTER_HOST, 0u);
    bytes data = pattern(1, 100);
    tr_rx rx[4];
    uint32_t got = 0;
    for (int i = 0; i < 10000 && got == 0; i++) {
        a.send(2, data);
        a->tx_flush(a.get());
        got = b->rx_burst(b.get(), rx, 4);
    }
    ASSERT_GE(got, 1u);
    EXPECT_EQ(rx[0].peer, 1);
    EXPECT_EQ(memcmp(rx[0].data, data.data(), 100), 0);
}

// Under the thread sanitizer: rules change while ports use them.
TEST_F(fault, rules_change_while_a_port_runs)
{
    open();
    std::atomic<bool> stop{false};
    std::thread thread([&] {
        char error[200];
        for (int i = 0; i < 2000; i++) {
            tr_node_id peer = static_cast<tr_node_id>(i % 4);
            tr_fault_rule r{};
            r.drop_ppm = i % 2 == 0 ? always / 2 : 0;
            tr_fault_set(&control, peer, TR_FAULT_BOTH, &r);
            tr_fault_block(&control, 2, TR_FAULT_OUT, i % 3 == 0);
            if (i % 100 == 0)
                tr_fault_configure(&control, "clear=on,duplicate=50%", error, sizeof(error));
        }
        tr_fault_clear(&control);
        stop = true;
    });
    uint64_t sent = 0;
    while (!stop || sent < 1000) {
        sent += port.send(2, data);
        below->arriving.push_back({3, data, 0});
        receive();
    }
    thread.join();
    EXPECT_EQ(port.stats().tx_messages, sent);
    EXPECT_EQ(control.is_active, 0u);
}

} // namespace
