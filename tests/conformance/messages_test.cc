// Messages: what is taken arrives whole, once and in order, as far as the driver's capability bits
// promise; what is not taken can be offered again; and none of it disturbs other peers.
#include "allocations.h"
#include "suite.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace conformance
{

class Messages : public Conformance
{
  protected:
    void SetUp() override
    {
        Conformance::SetUp();
        CONFORMANCE_REQUIRE(TR_DRIVER_MESSAGES);
    }

    bool exact() const
    {
        return (subject().driver->capabilities & TR_DRIVER_MAY_DROP) == 0;
    }
};

static std::string numbered(uint64_t number, size_t bytes)
{
    std::string out = pattern(std::max<size_t>(bytes, 16), number);
    memcpy(&out[0], &number, sizeof(number));
    return out;
}

static uint64_t number_of(const Message &message)
{
    uint64_t number = 0;
    EXPECT_GE(message.bytes.size(), sizeof(number));
    memcpy(&number, message.bytes.data(), sizeof(number));
    return number;
}

TEST_P(Messages, ArriveWholeInEverySizeUpToTheLimit)
{
    auto ports = open_all(2);
    uint32_t limit = ports[0]->limits().message_bytes_max;
    ASSERT_GE(limit, 1024u);
    std::vector<uint32_t> sizes;
    for (uint32_t bytes = 1; bytes <= 260; bytes++)
        sizes.push_back(bytes);
    for (uint32_t power = 512; power <= limit; power *= 2)
        sizes.insert(sizes.end(), {power - 1, power, std::min(power + 1, limit)});
    sizes.insert(sizes.end(), {1400, 1472, 1473, 8972, 8973, limit - 1, limit});
    for (uint32_t bytes : sizes) {
        if (bytes > limit)
            continue;
        ASSERT_TRUE(deliver(*ports[0], *ports[1], pattern(bytes, bytes))) << bytes;
        EXPECT_EQ(ports[1]->inbox.back().peer, 1);
        ASSERT_TRUE(deliver(*ports[1], *ports[0], pattern(bytes, bytes + 1))) << bytes;
        EXPECT_EQ(ports[0]->inbox.back().peer, 2);
    }
}

TEST_P(Messages, LimitInForceIsTheOneAskedForOrSmaller)
{
    auto ports = open_all(2, [](tr_port_options &options) { options.message_bytes_max = 4096; });
    EXPECT_LE(ports[0]->limits().message_bytes_max, 4096u);
    EXPECT_GE(ports[0]->limits().burst_max, 1u);
    EXPECT_GE(ports[0]->limits().peers_max, 8u);
    EXPECT_TRUE(deliver(*ports[0], *ports[1], pattern(ports[0]->limits().message_bytes_max, 5)));
}

TEST_P(Messages, SegmentsAreGathered)
{
    auto ports = open_all(2);
    std::mt19937_64 random(7);
    for (unsigned i = 0; i < 200; i++) {
        std::string part[TR_TX_SEGMENTS_MAX];
        tr_tx tx = {};
        tx.peer = 2;
        tx.segment_count = static_cast<uint16_t>(1 + random() % TR_TX_SEGMENTS_MAX);
        std::string whole;
        for (unsigned s = 0; s < tx.segment_count; s++) {
            part[s] = pattern(1 + random() % 90, random());
            tx.segment[s] = {part[s].data(), static_cast<uint32_t>(part[s].size())};
            whole += part[s];
        }
        ports[1]->inbox.clear();
        bool found = false;
        for (unsigned tries = 0; !found && tries < (exact() ? 1 : 100); tries++) {
            ASSERT_TRUE(until({ports[0].get(), ports[1].get()}, [&] {
                return ports[0]->driver->tx_burst(ports[0]->raw(), &tx, 1) == 1;
            }));
            for (unsigned round = 0; !found && round < 100000; round++) {
                rounds({ports[0].get(), ports[1].get()}, 1);
                for (const Message &message : ports[1]->inbox)
                    found = found || message.bytes == whole;
            }
        }
        ASSERT_TRUE(found) << i;
    }
}

TEST_P(Messages, KeepOrderAndNumberAsPromised)
{
    constexpr uint64_t total = 20000;
    auto ports = open_all(2);
    Port &from = *ports[0];
    Port &to = *ports[1];
    std::mt19937_64 random(11);
    uint64_t sent = 0;
    auto step = [&] {
        for (unsigned i = random() % 40; i > 0 && sent < total; i--) {
            if (!from.send(2, numbered(sent, 16 + random() % 400)))
                break;
            sent++;
        }
    };
    ASSERT_TRUE(until({&from, &to}, [&] {
        step();
        return sent == total;
    }));
    if (exact()) {
        ASSERT_TRUE(until({&from, &to}, [&] { return to.inbox.size() >= total; }));
    }
    rounds({&from, &to}, 1000);
    std::map<uint64_t, unsigned> times;
    uint64_t last = 0;
    for (const Message &message : to.inbox) {
        uint64_t number = number_of(message);
        ASSERT_LT(number, total);
        ASSERT_EQ(message.bytes, numbered(number, message.bytes.size()));
        if (!has(TR_DRIVER_MAY_REORDER) && times[number] == 0) {
            ASSERT_GE(number, last);
        }
        last = number;
        times[number]++;
    }
    for (const auto &entry : times) {
        if (!has(TR_DRIVER_MAY_DUP)) {
            ASSERT_EQ(entry.second, 1u) << "duplicate of " << entry.first;
        }
    }
    if (exact()) {
        EXPECT_EQ(times.size(), total);
    } else {
        EXPECT_GE(times.size(), total / 2);
    }
}

TEST_P(Messages, BurstsNeverExceedWhatWasAsked)
{
    auto ports = open_all(2);
    Port &from = *ports[0];
    Port &to = *ports[1];
    uint32_t burst = from.limits().burst_max;
    std::string bytes = pattern(24, 3);
    std::vector<tr_tx> tx(burst + 10);
    for (tr_tx &t : tx) {
        t = {};
        t.peer = 2;
        t.segment_count = 1;
        t.segment[0] = {bytes.data(), 24};
    }
    EXPECT_LE(from.driver->tx_burst(from.raw(), tx.data(), burst + 10), burst);
    EXPECT_EQ(from.driver->tx_burst(from.raw(), tx.data(), 0), 0u);
    from.driver->tx_flush(from.raw());
    rounds({&from}, 100);
    std::vector<tr_rx> rx(burst + 10);
    EXPECT_EQ(to.driver->rx_burst(to.raw(), rx.data(), 0), 0u);
    uint32_t got = 0;
    for (unsigned i = 0; i < 10000 && got < 8; i++) {
        uint32_t count = to.driver->rx_burst(to.raw(), rx.data(), 3);
        ASSERT_LE(count, 3u);
        got += count;
        world->step();
    }
    EXPECT_LE(to.driver->rx_burst(to.raw(), rx.data(), burst + 10), to.limits().burst_max);
    if (exact()) {
        EXPECT_GE(got, std::min(8u, burst));
    }
}

TEST_P(Messages, FullQueueTakesFewerAndRecovers)
{
    auto ports = open_all(3);
    Port &from = *ports[0];
    Port &to = *ports[1];
    Port &other = *ports[2];
    uint64_t sent = 0;
    constexpr uint64_t bound = 200000; // 200 MB: more than any queue holds
    while (sent < bound && from.send(2, numbered(sent, 1000))) {
        from.driver->tx_flush(from.raw());
        world->step();
        sent++;
    }
    if (exact()) {
        ASSERT_LT(sent, bound) << "a queue without an end";
        EXPECT_GE(from.stats().tx_full, 1u);
    }
    EXPECT_TRUE(deliver(from, other, pattern(100, 9))) << "a full peer disturbs another";
    if (exact()) {
        ASSERT_TRUE(until({&from, &to}, [&] { return to.inbox.size() == sent; }));
        for (uint64_t i = 0; i < sent; i++) {
            ASSERT_EQ(to.inbox[i].bytes, numbered(i, 1000));
        }
    }
    rounds({&from, &to}, 100);
    to.inbox.clear();
    ASSERT_TRUE(deliver(from, to, pattern(1000, 1)));
    EXPECT_TRUE(deliver(to, from, pattern(1000, 2)));
}

TEST_P(Messages, QueueFillsAndDrainsManyTimesWithoutLoss)
{
    if (!exact())
        GTEST_SKIP() << "not applicable: the driver may drop";
    auto ports = open_all(2);
    Port &from = *ports[0];
    Port &to = *ports[1];
    uint32_t limit = from.limits().message_bytes_max;
    std::mt19937_64 random(21);
    uint64_t sent = 0, received = 0;
    for (unsigned lap = 0; lap < 30; lap++) {
        while (true) {
            size_t bytes = random() % 20 == 0 ? random() % limit : random() % 5000;
            std::mt19937_64 again = random;
            if (!from.send(2, numbered(sent, bytes))) {
                random = again;
                break;
            }
            sent++;
        }
        ASSERT_GT(sent, received);
        // Sometimes all of it, sometimes a part.
        uint64_t goal = lap % 3 == 0 ? sent : received + (sent - received) / 2 + 1;
        ASSERT_TRUE(until({&to}, [&] {
            for (const Message &message : to.inbox) {
                EXPECT_EQ(number_of(message), received);
                EXPECT_EQ(message.bytes, numbered(received, message.bytes.size()));
                received++;
            }
            to.inbox.clear();
            return received >= goal;
        }));
    }
}

TEST_P(Messages, ReceivedBytesStayUntilTheNextReceive)
{
    auto ports = open_all(2);
    Port &from = *ports[0];
    Port &to = *ports[1];
    std::mt19937_64 random(5);
    for (unsigned lap = 0; lap < 50; lap++) {
        for (uint64_t i = 0; i < 40; i++)
            from.send(2, numbered(i, 16 + random() % 3000));
        from.driver->tx_flush(from.raw());
        rounds({&from}, 10);
        tr_rx rx[32];
        uint32_t count = 0;
        for (unsigned tries = 0; count == 0 && tries < 10000; tries++)
            count = to.driver->rx_burst(to.raw(), rx, 32);
        std::vector<std::string> copies;
        for (uint32_t i = 0; i < count; i++)
            copies.emplace_back(static_cast<const char *>(rx[i].data), rx[i].bytes);
        for (unsigned i = 0; i < 20000 && from.send(2, numbered(1000 + i, 2000)); i++)
            from.driver->tx_flush(from.raw());
        rounds({&from}, 10);
        for (uint32_t i = 0; i < count; i++) {
            ASSERT_EQ(copies[i], std::string(static_cast<const char *>(rx[i].data), rx[i].bytes));
            ASSERT_EQ(copies[i], numbered(number_of({0, 0, copies[i]}), copies[i].size()));
        }
        rounds({&from, &to}, 50);
        to.inbox.clear();
        if (exact()) { // all that is under way
            while (to.poll() > 0)
                to.inbox.clear();
        }
    }
}

TEST_P(Messages, ToAPeerThatIsDownAreTakenAndLost)
{
    auto from = open(1);
    auto third = open(3);
    ASSERT_EQ(from->add(2, world->address(2)), TR_OK);
    ASSERT_EQ(from->add(3, world->address(3)), TR_OK);
    ASSERT_EQ(third->add(1, world->address(1)), TR_OK);
    for (unsigned i = 0; i < 10000; i++) {
        ASSERT_TRUE(until({from.get()}, [&] { return from->send(2, pattern(1000, i)); }));
        if (i % 64 == 0)
            rounds({from.get(), third.get()}, 1);
    }
    EXPECT_GE(from->stats().tx_messages, 10000u);
    ASSERT_TRUE(reach(*from, *third));
    EXPECT_TRUE(deliver(*from, *third, pattern(500, 1)));
    // And when it comes, it is reached.
    auto second = open(2);
    ASSERT_EQ(second->add(1, world->address(1)), TR_OK);
    ASSERT_TRUE(reach(*from, *second));
    EXPECT_TRUE(deliver(*from, *second, pattern(500, 2)));
}

TEST_P(Messages, PeerComesBackAfterAClose)
{
    auto ports = open_all(3);
    for (unsigned lap = 0; lap < 3; lap++) {
        ports[1]->close();
        ports[1].reset();
        for (unsigned i = 0; i < 100; i++) {
            ASSERT_TRUE(until({ports[0].get(), ports[2].get()},
                              [&] { return ports[0]->send(2, pattern(64, i)); }));
            ASSERT_TRUE(deliver(*ports[0], *ports[2], pattern(64, 1000 * lap + i)));
        }
        ports[1] = open(2);
        ASSERT_EQ(ports[1]->add(1, world->address(1)), TR_OK);
        ASSERT_EQ(ports[1]->add(3, world->address(3)), TR_OK);
        ASSERT_TRUE(reach(*ports[0], *ports[1]));
        ASSERT_TRUE(reach(*ports[1], *ports[0]));
        ASSERT_TRUE(reach(*ports[2], *ports[1]));
        EXPECT_TRUE(deliver(*ports[0], *ports[1], pattern(64, lap)));
        EXPECT_TRUE(deliver(*ports[1], *ports[0], pattern(64, lap)));
    }
}

TEST_P(Messages, PeersAreRemovedAndAddedAgain)
{
    auto ports = open_all(2);
    EXPECT_EQ(ports[0]->add(2, world->address(2)), TR_EEXIST);
    EXPECT_EQ(ports[0]->driver->peer_remove(ports[0]->raw(), 3), TR_ENOENT);
    EXPECT_EQ(ports[0]->add(0, world->address(3)), TR_EINVAL);
    EXPECT_EQ(ports[0]->add(3, "no address of any driver"), TR_EADDR);
    ASSERT_EQ(ports[0]->driver->peer_remove(ports[0]->raw(), 2), TR_OK);
    EXPECT_TRUE(ports[0]->send(2, "lost")) << "a message to nobody is taken and lost";
    rounds({ports[0].get(), ports[1].get()}, 100);
    ASSERT_EQ(ports[0]->add(2, world->address(2)), TR_OK);
    ASSERT_TRUE(reach(*ports[0], *ports[1]));
    EXPECT_TRUE(deliver(*ports[0], *ports[1], pattern(99, 1)));
    EXPECT_TRUE(deliver(*ports[1], *ports[0], pattern(99, 2)));
    for (tr_node_id id = 10; id < 17; id++) {
        ASSERT_EQ(ports[0]->add(id, world->address(3)), TR_OK) << "eight peers were asked for";
    }
    EXPECT_EQ(ports[0]->add(17, world->address(3)), TR_EFULL);
}

TEST_P(Messages, OfAStrangerAreMarkedSo)
{
    auto port = open(1);
    auto stranger = open(3);
    ASSERT_EQ(stranger->add(1, world->address(1)), TR_OK);
    for (unsigned i = 0; i < 2000 && port->inbox.empty(); i++) {
        stranger->send(1, pattern(80, i));
        rounds({port.get(), stranger.get()}, 1);
    }
    for (const Message &message : port->inbox) {
        EXPECT_EQ(message.peer, 0);
    }
    EXPECT_EQ(port->stats().rx_unknown, port->inbox.size());
    if (port->inbox.empty()) // a driver may turn strangers away
        return;
    tr_rx rx[1];
    int result = TR_AGAIN;
    ASSERT_TRUE(until({stranger.get()}, [&] {
        stranger->send(1, pattern(80, 0));
        stranger->driver->tx_flush(stranger->raw());
        if (port->driver->rx_burst(port->raw(), rx, 1) == 0)
            return false;
        tr_segment segment = {"answer", 6};
        result = port->driver->tx_reply(port->raw(), rx[0].source, &segment, 1);
        port->driver->tx_flush(port->raw());
        rounds({stranger.get()}, 10);
        return result == TR_ENOTSUP || !stranger->inbox.empty();
    }));
    if (result != TR_ENOTSUP) {
        EXPECT_EQ(stranger->inbox[0].bytes, "answer");
        EXPECT_EQ(stranger->inbox[0].peer, 1);
    }
}

TEST_P(Messages, SourceOfAPeerCanBeAnswered)
{
    auto ports = open_all(3);
    tr_rx rx[1];
    bool answered = false;
    ASSERT_TRUE(until({ports[0].get(), ports[2].get()}, [&] {
        ports[2]->send(2, pattern(40, 1));
        ports[2]->driver->tx_flush(ports[2]->raw());
        if (!answered && ports[1]->driver->rx_burst(ports[1]->raw(), rx, 1) == 1) {
            EXPECT_EQ(rx[0].peer, 3);
            tr_segment segment = {"answer", 6};
            answered =
                ports[1]->driver->tx_reply(ports[1]->raw(), rx[0].source, &segment, 1) == TR_OK;
            ports[1]->driver->tx_flush(ports[1]->raw());
        }
        for (const Message &message : ports[2]->inbox) {
            if (message.bytes == "answer" && message.peer == 2)
                return true;
        }
        if (answered && !exact())
            answered = false; // it may have been dropped
        return false;
    }));
    EXPECT_TRUE(ports[0]->inbox.empty());
}

TEST_P(Messages, ThreeNodesTalkAllToAll)
{
    auto ports = open_all(3);
    constexpr unsigned each = 3000;
    std::mt19937_64 random(3);
    uint64_t sent[4][4] = {};
    ASSERT_TRUE(until({ports[0].get(), ports[1].get(), ports[2].get()}, [&] {
        bool done = true;
        for (unsigned from = 1; from <= 3; from++) {
            for (unsigned to = 1; to <= 3; to++) {
                for (unsigned i = random() % 8; from != to && i > 0 && sent[from][to] < each; i--) {
                    if (!ports[from - 1]->send(
                            to, numbered(from * 1000000 + sent[from][to], 16 + random() % 600)))
                        break;
                    sent[from][to]++;
                }
                done = done && (from == to || sent[from][to] == each);
            }
        }
        return done;
    }));
    if (exact()) {
        ASSERT_TRUE(until({ports[0].get(), ports[1].get(), ports[2].get()}, [&] {
            return ports[0]->inbox.size() == 2 * each && ports[1]->inbox.size() == 2 * each &&
                   ports[2]->inbox.size() == 2 * each;
        }));
    }
    rounds({ports[0].get(), ports[1].get(), ports[2].get()}, 200);
    for (auto &port : ports) {
        for (const Message &message : port->inbox) {
            ASSERT_EQ(number_of(message) / 1000000, message.peer);
            ASSERT_EQ(message.bytes, numbered(number_of(message), message.bytes.size()));
        }
    }
}

TEST_P(Messages, AreCounted)
{
    auto ports = open_all(2);
    Port &from = *ports[0];
    Port &to = *ports[1];
    tr_port_stats tx_before = from.stats(), rx_before = to.stats();
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < 500; i++) {
        ASSERT_TRUE(until({&from, &to}, [&] { return from.send(2, numbered(i, 20 + i)); }));
        bytes += 20 + i;
    }
    if (exact()) {
        ASSERT_TRUE(until({&from, &to}, [&] { return to.inbox.size() == 500; }));
    }
    rounds({&from, &to}, 100);
    EXPECT_EQ(from.stats().tx_messages - tx_before.tx_messages, 500u);
    EXPECT_EQ(from.stats().tx_bytes - tx_before.tx_bytes, bytes);
    EXPECT_EQ(to.stats().rx_messages - rx_before.rx_messages, to.inbox.size());
    uint64_t inbox_bytes = 0;
    for (const Message &message : to.inbox)
        inbox_bytes += message.bytes.size();
    EXPECT_EQ(to.stats().rx_bytes - rx_before.rx_bytes, inbox_bytes);
    EXPECT_EQ(to.stats().rx_unknown, rx_before.rx_unknown);
    EXPECT_EQ(to.stats().rx_malformed, 0u);
    EXPECT_EQ(to.stats().rx_errors, 0u);
    if (exact()) {
        EXPECT_EQ(inbox_bytes, bytes);
        EXPECT_EQ(to.stats().rx_dropped, 0u);
    }
}

TEST_P(Messages, OfOneQueueDoNotReachAnother)
{
    auto queue = [](uint32_t index) {
        return [index](tr_port_options &options) {
            options.queue_index = index;
            options.queue_count = 2;
        };
    };
    std::vector<std::unique_ptr<Port>> first, second;
    for (unsigned node = 1; node <= 2; node++) {
        auto port = std::make_unique<Port>(*world, subject(), node, queue(0));
        if (port->open_result() == TR_ENOTSUP)
            GTEST_SKIP() << "not applicable: one queue only";
        ASSERT_EQ(port->open_result(), TR_OK) << port->open_error();
        first.push_back(std::move(port));
        second.push_back(open(node, queue(1)));
    }
    add_peers(first);
    add_peers(second);
    ASSERT_TRUE(reach(*first[0], *first[1]));
    ASSERT_TRUE(reach(*second[0], *second[1]));
    ASSERT_TRUE(deliver(*first[0], *first[1], "first"));
    ASSERT_TRUE(deliver(*second[0], *second[1], "second"));
    rounds({first[1].get(), second[1].get()}, 100);
    for (const Message &message : first[1]->inbox) {
        EXPECT_NE(message.bytes, "second");
    }
    for (const Message &message : second[1]->inbox) {
        EXPECT_NE(message.bytes, "first");
    }
}

TEST_P(Messages, HostileBytesAreDroppedAndCounted)
{
    auto ports = open_all(2);
    std::mt19937_64 random(99);
    if (!world->inject(2, random))
        GTEST_SKIP() << "not applicable: no way to inject bytes";
    for (unsigned i = 0; i < 2000; i++) {
        ASSERT_TRUE(world->inject(2, random));
        if (i % 16 == 0)
            rounds({ports[0].get(), ports[1].get()}, 4);
    }
    rounds({ports[0].get(), ports[1].get()}, 1000);
    EXPECT_GE(ports[1]->stats().rx_malformed + ports[1]->stats().rx_unknown, 1u);
    for (const Message &message : ports[1]->inbox) {
        EXPECT_LE(message.bytes.size(), ports[1]->limits().message_bytes_max);
    }
    ASSERT_TRUE(reach(*ports[0], *ports[1]));
    EXPECT_TRUE(deliver(*ports[0], *ports[1], pattern(300, 1)));
    EXPECT_TRUE(deliver(*ports[1], *ports[0], pattern(300, 2)));
}

TEST_P(Messages, BurstsAllocateNothing)
{
    auto ports = open_all(2);
    Port &from = *ports[0];
    Port &to = *ports[1];
    std::string bytes = pattern(5000, 1);
    tr_tx tx = {};
    tx.peer = 2;
    tx.segment_count = 1;
    tr_rx rx[32];
    tr_port_event event[4];
    size_t arena = from.arena_calls() + to.arena_calls();
    AllocationCount count;
    for (unsigned i = 0; i < 20000; i++) {
        tx.segment[0] = {bytes.data(), 1 + i % 5000};
        from.driver->tx_burst(from.raw(), &tx, 1);
        from.driver->tx_flush(from.raw());
        to.driver->rx_burst(to.raw(), rx, 32);
        from.driver->rx_burst(from.raw(), rx, 32);
        from.driver->events(from.raw(), event, 4);
    }
    if (count.works()) {
        EXPECT_EQ(count.since_made(), 0u);
    }
    EXPECT_EQ(from.arena_calls() + to.arena_calls(), arena);
}

// Node 2 knows node 1, which does not know it, until it has heard of it.
TEST_P(Messages, AStrangerThatIsAdopted_IsAPeerFromThenOn)
{
    auto at = open(1, [](tr_port_options &options) { options.adopt_max = options.peers_max; });
    auto stranger = open(2, [this](tr_port_options &options) { world->estrange(options, 2); });
    ASSERT_EQ(at->open_result(), TR_OK) << at->open_error();
    if ((tr_port_driver(at->raw())->capabilities & TR_DRIVER_ADOPT) == 0)
        GTEST_SKIP() << "not applicable: not a capability of " << at->driver->name;
    ASSERT_EQ(stranger->add(1, world->address(1)), TR_OK);
    ASSERT_EQ(at->add(3, world->address(3)), TR_OK);
    size_t calls = at->arena_calls();
    auto comes = [&](Port &from, unsigned to_node, Port &to, tr_node_id as) {
        static uint64_t seed;
        std::string bytes = pattern(3000, ++seed); // several datagrams
        unsigned turns = 0;
        return until({&from, &to}, [&] {
            if (turns++ % 64 == 0)
                from.send(to_node, bytes);
            return !to.inbox.empty() && to.inbox.back().bytes == bytes &&
                   to.inbox.back().peer == as;
        });
    };
    ASSERT_TRUE(comes(*stranger, 1, *at, 0));
    uint32_t source = at->inbox.back().source;
    const tr_driver *driver = tr_port_driver(at->raw());
    EXPECT_EQ(driver->peer_adopt(at->raw(), 0, source), TR_EINVAL);
    EXPECT_EQ(driver->peer_adopt(at->raw(), 3, source), TR_EEXIST) << "3 is another's number";
    ASSERT_EQ(driver->peer_adopt(at->raw(), 9, source), TR_OK);
    EXPECT_EQ(driver->peer_adopt(at->raw(), 10, source), TR_EEXIST) << "it is a peer by now";
    EXPECT_TRUE(comes(*at, 9, *stranger, 1));
    EXPECT_TRUE(comes(*stranger, 1, *at, 9));
    EXPECT_EQ(calls, at->arena_calls()) << "adopting takes no memory";
    ASSERT_EQ(driver->peer_remove(at->raw(), 9), TR_OK);
    EXPECT_TRUE(comes(*stranger, 1, *at, 0));
    ASSERT_EQ(driver->peer_adopt(at->raw(), 9, at->inbox.back().source), TR_OK);
    EXPECT_TRUE(comes(*at, 9, *stranger, 1));
}

CONFORMANCE_INSTANTIATE(Messages);

} // namespace conformance
