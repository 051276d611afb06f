// The UDP driver on the loopback network: what is particular to it (the conformance suite holds it
// to the rules of every driver).
#include "base/prng.h"
#include "drivers/udp/udp.h"
#include "drivers_port.h"
#include "trireme/error.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>

namespace
{

using bytes = std::vector<uint8_t>;
using tr_test::pattern;

// Hosts of 127/8 that belong to this process, so that tests running beside each other do not meet.
std::string host(int number)
{
    int pid = static_cast<int>(getpid());
    return "127." + std::to_string(1 + (pid >> 8) % 250) + "." + std::to_string(pid & 0xff) + "." +
           std::to_string(number);
}

std::string address(int number)
{
    return host(number) + ":7411";
}

struct message {
    bytes data;
    tr_node_id peer;
    uint32_t source;
};

class udp_port : public tr_test::port
{
  public:
    // What one rx_burst brings.
    std::vector<message> receive(uint32_t max = 256)
    {
        std::vector<tr_rx> rx(max);
        std::vector<message> messages;
        uint32_t count = (*this)->rx_burst(get(), rx.data(), max);
        for (uint32_t i = 0; i < count; i++) {
            auto *data = static_cast<const uint8_t *>(rx[i].data);
            EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 8, 0u);
            messages.push_back({bytes(data, data + rx[i].bytes), rx[i].peer, rx[i].source});
        }
        return messages;
    }

    // Polls until so many messages came; fewer after ten seconds, which is a failure of the
    // machine.
    std::vector<message> await(size_t count, uint32_t max = 256)
    {
        auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        std::vector<message> all;
        while (all.size() < count && std::chrono::steady_clock::now() < until) {
            auto some = receive(max);
            all.insert(all.end(), some.begin(), some.end());
            if (some.empty())
                usleep(50);
        }
        return all;
    }

    void flush()
    {
        (*this)->tx_flush(get());
    }

    int add(tr_node_id peer, const std::string &to)
    {
        return (*this)->peer_add(get(), peer, to.c_str());
    }
};

// A pair of ports that know each other as peers 1 and 2.
class udp : public testing::Test
{
  protected:
    void open(const std::string &extra = "", uint32_t mtu = 0,
              uint32_t message_bytes_max = 64 << 10)
    {
        for (udp_port *p : {&a, &b}) {
            p->options.mtu = mtu;
            p->options.message_bytes_max = message_bytes_max;
        }
        ASSERT_EQ(a.open(tr_driver_udp, address(1), extra), TR_OK) << a.error;
        ASSERT_EQ(b.open(tr_driver_udp, address(2), extra), TR_OK) << b.error;
        ASSERT_EQ(a.add(2, address(2)), TR_OK);
        ASSERT_EQ(b.add(1, address(1)), TR_OK);
    }

    udp_port a, b;
};

// A socket that speaks no Trireme.
class raw_socket
{
  public:
    explicit raw_socket(int number) : fd_(socket(AF_INET, SOCK_DGRAM, 0))
    {
        sockaddr_in own = to(number, 7411);
        EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr *>(&own), sizeof(own)), 0);
    }

    ~raw_socket()
    {
        close(fd_);
    }

    void send(int number, const bytes &datagram)
    {
        sockaddr_in peer = to(number, 7411);
        EXPECT_EQ(sendto(fd_, datagram.data(), datagram.size(), 0,
                         reinterpret_cast<sockaddr *>(&peer), sizeof(peer)),
                  static_cast<ssize_t>(datagram.size()));
    }

  private:
    static sockaddr_in to(int number, uint16_t port)
    {
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_port = htons(port);
        inet_pton(AF_INET, host(number).c_str(), &at.sin_addr);
        return at;
    }

    int fd_;
};

TEST_F(udp, messages_of_every_small_size_arrive_in_order)
{
    open();
    for (size_t size = 0; size < 200; size++)
        ASSERT_TRUE(a.send(2, pattern(size, size)));
    a.flush();
    auto got = b.await(200);
    ASSERT_EQ(got.size(), 200u);
    for (size_t size = 0; size < 200; size++) {
        EXPECT_EQ(got[size].data, pattern(size, size));
        EXPECT_EQ(got[size].peer, 1);
    }
}

TEST_F(udp, segments_are_concatenated)
{
    open();
    bytes parts[4] = {pattern(1, 5), pattern(2, 0), pattern(3, 100), pattern(4, 33)};
    bytes all;
    tr_tx tx{};
    tx.peer = 2;
    tx.segment_count = 4;
    for (int i = 0; i < 4; i++) {
        tx.segment[i] = {parts[i].data(), static_cast<uint32_t>(parts[i].size())};
        all.insert(all.end(), parts[i].begin(), parts[i].end());
    }
    ASSERT_EQ(a->tx_burst(a.get(), &tx, 1), 1u);
    // Without ZERO_COPY_TX the segments may be reused on return.
    for (auto &part : parts)
        std::fill(part.begin(), part.end(), uint8_t{0xee});
    a.flush();
    auto got = b.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].data, all);
}

TEST_F(udp, two_followers_cost_one_send_call_and_a_message_one_receive_call)
{
    open();
    udp_port c;
    ASSERT_EQ(c.open(tr_driver_udp, address(3)), TR_OK) << c.error;
    ASSERT_EQ(c.add(1, address(1)), TR_OK);
    ASSERT_EQ(a.add(3, address(3)), TR_OK);
    for (uint64_t i = 0; i < 10; i++) {
        uint64_t before = a.stats().syscalls;
        ASSERT_TRUE(a.send(2, pattern(i, 64)));
        ASSERT_TRUE(a.send(3, pattern(i, 64)));
        a.flush();
        a.flush();
        EXPECT_EQ(a.stats().syscalls - before, 1u);
        // Loopback delivers before sendmmsg returns.
        for (udp_port *follower : {&b, &c}) {
            before = follower->stats().syscalls;
            auto got = follower->receive();
            ASSERT_EQ(got.size(), 1u);
            EXPECT_EQ(got[0].data, pattern(i, 64));
            EXPECT_EQ(follower->stats().syscalls - before, 1u);
        }
    }
}

TEST_F(udp, burst_of_small_messages_costs_one_call_at_either_end)
{
    open();
    b.receive();
    uint64_t sent = a.stats().syscalls, received = b.stats().syscalls;
    for (uint64_t i = 0; i < 200; i++)
        ASSERT_TRUE(a.send(2, pattern(i, 100)));
    a.flush();
    auto got = b.receive(200);
    ASSERT_EQ(got.size(), 200u);
    for (uint64_t i = 0; i < 200; i++)
        ASSERT_EQ(got[i].data, pattern(i, 100));
    EXPECT_EQ(a.stats().syscalls - sent, 1u);
    EXPECT_EQ(b.stats().syscalls - received, 1u);
}

TEST_F(udp, datagram_of_many_messages_is_handed_up_in_as_many_bursts_as_the_caller_likes)
{
    open();
    for (uint64_t i = 0; i < 50; i++)
        ASSERT_TRUE(a.send(2, pattern(i, 20)));
    a.flush();
    uint64_t before = b.stats().syscalls;
    for (uint64_t i = 0; i < 50; i++) {
        auto got = b.receive(1);
        ASSERT_EQ(got.size(), 1u);
        EXPECT_EQ(got[0].data, pattern(i, 20));
    }
    EXPECT_EQ(b.stats().syscalls - before, 1u);
    EXPECT_TRUE(b.receive(1).empty());
}

class udp_large : public udp, public testing::WithParamInterface<std::pair<const char *, uint32_t>>
{
};

TEST_P(udp_large, messages_of_all_sizes_up_to_the_limit_arrive)
{
    constexpr uint32_t limit = (1 << 20) + (64 << 10);
    open(GetParam().first, GetParam().second, limit);
    tr_port_limits limits;
    a->limits(a.get(), &limits);
    ASSERT_EQ(limits.message_bytes_max, limit);
    for (uint32_t size : {1200u, 1439u, 1440u, 1441u, 1448u, 1464u, 1472u, 2000u, 61431u, 61432u,
                          61433u, 65536u, 200000u, limit - 1, limit}) {
        bytes sent = pattern(size, size);
        ASSERT_TRUE(a.send(2, sent));
        ASSERT_TRUE(a.send(2, pattern(1, 10)));
        a.flush();
        auto got = b.await(2);
        ASSERT_EQ(got.size(), 2u) << size;
        EXPECT_EQ(got[0].data == sent, true) << size;
        EXPECT_EQ(got[1].data, pattern(1, 10));
    }
    EXPECT_EQ(a.stats().tx_errors, 0u);
    EXPECT_EQ(b.stats().rx_malformed, 0u);
}

INSTANTIATE_TEST_SUITE_P(datagrams, udp_large,
                         testing::Values(std::make_pair("", 0u), std::make_pair("", 1472u),
                                         std::make_pair("gso=off", 1472u),
                                         std::make_pair("gro=off", 1472u),
                                         std::make_pair("gso=off,gro=off,burst=1", 1232u),
                                         std::make_pair("reassembly=1", 8952u)));

TEST_F(udp, message_queued_behind_a_full_set_of_large_ones_waits_for_the_next_burst)
{
    open("reassembly=2", 1472);
    for (uint64_t i = 0; i < 6; i++)
        ASSERT_TRUE(a.send(2, pattern(i, 5000)));
    a.flush();
    std::vector<message> got;
    for (int i = 0; i < 100 && got.size() < 6; i++) {
        auto some = b.receive();
        EXPECT_LE(some.size(), 2u);
        got.insert(got.end(), some.begin(), some.end());
    }
    ASSERT_EQ(got.size(), 6u);
    for (uint64_t i = 0; i < 6; i++)
        EXPECT_EQ(got[i].data, pattern(i, 5000));
}

TEST_F(udp, unknown_sender_is_handed_up_without_a_name_and_can_be_answered)
{
    open("", 0, 200 << 10);
    udp_port client;
    client.options.message_bytes_max = 200 << 10;
    ASSERT_EQ(client.open(tr_driver_udp, host(9) + ":0"), TR_OK) << client.error;
    ASSERT_EQ(client.add(1, address(1)), TR_OK);
    for (size_t size : {10u, 1000u, 150000u}) {
        ASSERT_TRUE(client.send(1, pattern(1, size)));
        client.flush();
        auto asked = a.await(1);
        ASSERT_EQ(asked.size(), 1u);
        EXPECT_EQ(asked[0].peer, 0);
        EXPECT_EQ(asked[0].data, pattern(1, size));
        bytes reply = pattern(2, size + 1);
        tr_segment segment = {reply.data(), static_cast<uint32_t>(reply.size())};
        ASSERT_EQ(a->tx_reply(a.get(), asked[0].source, &segment, 1), TR_OK);
        a.flush();
        auto answer = client.await(1);
        ASSERT_EQ(answer.size(), 1u);
        EXPECT_EQ(answer[0].peer, 1);
        EXPECT_EQ(answer[0].data, reply);
    }
    EXPECT_EQ(a.stats().rx_unknown, 3u);
}

TEST_F(udp, stranger_that_is_adopted_is_a_peer_from_then_on)
{
    udp_port s;
    a.options.adopt_max = a.options.peers_max;
    open();
    ASSERT_EQ(s.open(tr_driver_udp, address(3)), TR_OK) << s.error;
    ASSERT_EQ(s.add(1, address(1)), TR_OK);
    ASSERT_TRUE(s.send(1, pattern(1, 20)));
    s.flush();
    std::vector<message> got = a.await(1);
    ASSERT_EQ(got.size(), 1u);
    ASSERT_EQ(got[0].peer, 0);
    EXPECT_EQ(a->peer_adopt(a.get(), 0, got[0].source), TR_EINVAL);
    EXPECT_EQ(a->peer_adopt(a.get(), 2, got[0].source), TR_EEXIST) << "2 is another's number";
    ASSERT_EQ(a->peer_adopt(a.get(), 9, got[0].source), TR_OK);
    EXPECT_EQ(a->peer_adopt(a.get(), 10, got[0].source), TR_EEXIST) << "it is a peer by now";
    ASSERT_TRUE(a.send(9, pattern(2, 20)));
    a.flush();
    got = s.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].data, pattern(2, 20));
    EXPECT_EQ(got[0].peer, 1);
    ASSERT_TRUE(s.send(1, pattern(3, 20)));
    s.flush();
    got = a.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].peer, 9);
    ASSERT_EQ(a->peer_remove(a.get(), 9), TR_OK);
    ASSERT_TRUE(s.send(1, pattern(4, 20)));
    s.flush();
    got = a.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].peer, 0);
}

TEST_F(udp, replies_of_one_burst_reach_each_its_asker)
{
    open();
    udp_port clients[3];
    for (int i = 0; i < 3; i++) {
        ASSERT_EQ(clients[i].open(tr_driver_udp, address(20 + i)), TR_OK);
        ASSERT_EQ(clients[i].add(1, address(1)), TR_OK);
    }
    for (uint8_t round = 0; round < 4; round++) {
        for (uint8_t i = 0; i < 3; i++) {
            ASSERT_TRUE(clients[i].send(1, {i, round}));
            clients[i].flush();
        }
    }
    ASSERT_TRUE(b.send(1, {3, 0}));
    b.flush();
    size_t answered = 0;
    while (answered < 13) {
        auto asked = a.receive();
        for (const auto &m : asked) {
            tr_segment segment = {m.data.data(), 2};
            ASSERT_EQ(a->tx_reply(a.get(), m.source, &segment, 1), TR_OK);
        }
        answered += asked.size();
        a.flush();
    }
    for (uint8_t i = 0; i < 3; i++) {
        auto got = clients[i].await(4);
        ASSERT_EQ(got.size(), 4u);
        for (uint8_t round = 0; round < 4; round++)
            EXPECT_EQ(got[round].data, (bytes{i, round}));
    }
    auto got = b.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].data, (bytes{3, 0}));
    EXPECT_EQ(got[0].peer, 1);
}

TEST_F(udp, message_to_nobody_is_taken_and_lost_and_disturbs_no_other)
{
    open();
    ASSERT_EQ(a.add(5, address(55)), TR_OK);
    for (uint64_t i = 0; i < 20; i++) {
        ASSERT_TRUE(a.send(5, pattern(i, 64)));
        ASSERT_TRUE(a.send(77, pattern(i, 64)));
        ASSERT_TRUE(a.send(2, pattern(i, 64)));
        a.flush();
        auto got = b.await(1);
        ASSERT_EQ(got.size(), 1u);
        EXPECT_EQ(got[0].data, pattern(i, 64));
        EXPECT_TRUE(a.receive().empty());
    }
    tr_port_event event;
    EXPECT_EQ(a->events(a.get(), &event, 1), 0u) << "an ICMP message is no news";
    EXPECT_EQ(a.stats().tx_errors, 20u);
}

TEST_F(udp, hostile_datagrams_are_counted_and_dropped)
{
    open();
    raw_socket attacker(66);
    tr_prng prng;
    tr_prng_seed(&prng, 5);
    uint64_t sent = 0;
    for (int round = 0; round < 300; round++) {
        size_t size = round % 10 == 0 ? tr_prng_below(&prng, 65508) : tr_prng_below(&prng, 64);
        bytes datagram(size);
        for (auto &byte : datagram)
            byte = static_cast<uint8_t>(tr_prng_next(&prng));
        attacker.send(2, datagram);
        sent++;
        if (round % 20 == 19) {
            ASSERT_TRUE(a.send(2, pattern(static_cast<uint64_t>(round), 3000)));
            a.flush();
            auto got = b.await(1);
            ASSERT_EQ(got.size(), 1u) << "the good peer is served";
            EXPECT_EQ(got[0].peer, 1);
            EXPECT_EQ(got[0].data, pattern(static_cast<uint64_t>(round), 3000));
        }
    }
    EXPECT_EQ(b.stats().rx_malformed, sent);
    EXPECT_EQ(b.stats().rx_messages, 15u);
}

TEST_F(udp, hostile_pieces_of_strangers_take_no_buffer_from_peers)
{
    open("reassembly=1,strangers=1", 1472);
    raw_socket attacker(66);
    bytes big = pattern(1, 20000);
    ASSERT_TRUE(a.send(2, big));
    for (uint8_t i = 0; i < 100; i++) {
        bytes piece(24 + 64);
        const uint8_t header[24] = {0x54, 0x72, 0x12, 0, 64, 0, 0, 0, i, 0, 0, 0,
                                    0,    0,    0,    0, 0,  1, 0, 0, 8, 0, 0, 0};
        std::copy(std::begin(header), std::end(header), piece.begin());
        attacker.send(2, piece);
    }
    a.flush();
    auto got = b.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].data, big);
    EXPECT_EQ(b.stats().rx_dropped, 99u) << "the attacker's own unfinished messages";
    EXPECT_EQ(b.stats().rx_malformed, 0u);
}

TEST_F(udp, message_above_the_receivers_limit_is_dropped)
{
    a.options.message_bytes_max = 64 << 10;
    b.options.message_bytes_max = 4 << 10;
    ASSERT_EQ(a.open(tr_driver_udp, address(1)), TR_OK);
    ASSERT_EQ(b.open(tr_driver_udp, address(2)), TR_OK);
    ASSERT_EQ(a.add(2, address(2)), TR_OK);
    ASSERT_EQ(b.add(1, address(1)), TR_OK);
    ASSERT_TRUE(a.send(2, bytes(4097)));
    ASSERT_TRUE(a.send(2, bytes(63 << 10)));
    ASSERT_TRUE(a.send(2, pattern(1, 4096)));
    a.flush();
    auto got = b.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].data, pattern(1, 4096));
    EXPECT_EQ(b.stats().rx_malformed, 3u) << "one whole, two pieces";
}

TEST_F(udp, removed_peer_becomes_a_stranger_and_can_return)
{
    open();
    ASSERT_EQ(b->peer_remove(b.get(), 1), TR_OK);
    EXPECT_EQ(b->peer_remove(b.get(), 1), TR_ENOENT);
    ASSERT_TRUE(a.send(2, {1}));
    a.flush();
    auto got = b.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].peer, 0);
    ASSERT_EQ(b.add(4, address(1)), TR_OK);
    ASSERT_TRUE(a.send(2, {2}));
    a.flush();
    got = b.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].peer, 4);
}

TEST_F(udp, peers_are_told_apart_by_address_and_port)
{
    open();
    udp_port other_port;
    ASSERT_EQ(other_port.open(tr_driver_udp, host(1) + ":7412"), TR_OK);
    ASSERT_EQ(other_port.add(2, address(2)), TR_OK);
    ASSERT_EQ(b.add(3, host(1) + ":7412"), TR_OK);
    ASSERT_TRUE(other_port.send(2, {9}));
    other_port.flush();
    auto got = b.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].peer, 3);
}

TEST_F(udp, of_two_peers_at_one_address_the_younger_is_there)
{
    open();
    ASSERT_EQ(b.add(7, address(1)), TR_OK);
    ASSERT_TRUE(a.send(2, {1}));
    a.flush();
    auto got = b.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].peer, 7);
    ASSERT_EQ(b->peer_remove(b.get(), 7), TR_OK);
    ASSERT_TRUE(a.send(2, {2}));
    a.flush();
    got = b.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].peer, 1);
}

TEST_F(udp, peer_is_up_once_when_it_is_first_heard)
{
    open();
    tr_port_event event[4];
    EXPECT_EQ(b->events(b.get(), event, 4), 0u);
    for (int i = 0; i < 3; i++) {
        ASSERT_TRUE(a.send(2, {1}));
        a.flush();
        ASSERT_EQ(b.await(1).size(), 1u);
        EXPECT_EQ(b->events(b.get(), event, 4), i == 0 ? 1u : 0u);
    }
    EXPECT_EQ(event[0].type, TR_PORT_PEER_UP);
    EXPECT_EQ(event[0].peer, 1);
}

TEST_F(udp, table_of_peers_holds_as_many_as_asked)
{
    a.options.peers_max = 100;
    a.options.message_bytes_max = 4096;
    ASSERT_EQ(a.open(tr_driver_udp, address(1)), TR_OK);
    for (int i = 0; i < 100; i++)
        ASSERT_EQ(a.add(static_cast<tr_node_id>(1000 + 7 * i),
                        host(100 + i % 50) + ":" + std::to_string(8000 + i)),
                  TR_OK);
    EXPECT_EQ(a.add(1, address(2)), TR_EFULL);
    for (int i = 0; i < 100; i += 2)
        ASSERT_EQ(a->peer_remove(a.get(), static_cast<tr_node_id>(1000 + 7 * i)), TR_OK);
    for (int i = 0; i < 100; i++) {
        int expected = i % 2 == 0 ? TR_ENOENT : TR_OK;
        EXPECT_EQ(a->peer_remove(a.get(), static_cast<tr_node_id>(1000 + 7 * i)), expected) << i;
    }
}

TEST_F(udp, peer_add_refuses_what_makes_no_sense)
{
    open();
    EXPECT_EQ(a.add(0, address(3)), TR_EINVAL);
    EXPECT_EQ(a.add(2, address(3)), TR_EEXIST) << "number taken";
    for (const char *bad : {"", "host", ":7000", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536",
                            "127.0.0.1:70 0", "::1:7000", "[::1]:7000", "[]:7000", "127.0.0.1:0"})
        EXPECT_EQ(a.add(3, bad), TR_EADDR) << bad;
}

TEST(udp_open, address_in_use_is_busy_and_a_foreign_one_is_refused)
{
    udp_port a, b;
    ASSERT_EQ(a.open(tr_driver_udp, address(1)), TR_OK) << a.error;
    EXPECT_EQ(b.open(tr_driver_udp, address(1)), TR_EBUSY);
    EXPECT_NE(std::string(b.error).find(address(1)), std::string::npos) << b.error;
    EXPECT_EQ(b.open(tr_driver_udp, "203.0.113.77:7000"), TR_EADDR);
    EXPECT_NE(std::string(b.error).find("no address of this machine"), std::string::npos);
    EXPECT_EQ(b.open(tr_driver_udp, "nowhere"), TR_EADDR);
    EXPECT_NE(std::string(b.error).find("HOST:PORT"), std::string::npos);
}

// An interface of this machine that has an IPv4 address, not the loopback; "" when there is none.
std::pair<std::string, std::string> interface_and_address()
{
    std::pair<std::string, std::string> found;
    ifaddrs *all = nullptr;
    EXPECT_EQ(getifaddrs(&all), 0);
    for (const ifaddrs *one = all; one != nullptr && found.first.empty(); one = one->ifa_next) {
        char text[INET_ADDRSTRLEN];
        if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET ||
            (one->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in *>(one->ifa_addr)->sin_addr, text,
                  sizeof(text));
        found = {one->ifa_name, text};
    }
    freeifaddrs(all);
    return found;
}

tr_device device_of(const std::string &own)
{
    tr_device out = {TR_DEVICE_PCI, "unset"};
    tr_port_options options = {};
    options.address = own.c_str();
    tr_driver_udp.device(&options, &out);
    return out;
}

TEST(udp_device, loopback_every_address_and_foreign_ones_are_no_device)
{
    for (const char *own :
         {"127.0.0.1:1", "127.9.8.7:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "0.0.0.0:1", "[::]:1",
          "198.51.100.77:1", "[2001:db8::77]:1", "nonsense"}) {
        EXPECT_EQ(device_of(own).kind, TR_DEVICE_NONE) << own;
        EXPECT_STREQ(device_of(own).name, "") << own;
    }
}

TEST(udp_device, is_the_interface_that_has_the_address)
{
    auto own = interface_and_address();
    if (own.first.empty())
        GTEST_SKIP() << "not applicable: this machine has no address but the loopback's";
    EXPECT_EQ(device_of(own.second + ":7411").kind, TR_DEVICE_NETWORK);
    EXPECT_EQ(device_of(own.second + ":7411").name, own.first);
}

TEST(udp_open, options_out_of_range_are_refused_with_the_range)
{
    udp_port p;
    p.options.mtu = 100;
    EXPECT_EQ(p.open(tr_driver_udp, address(1)), TR_EINVAL);
    EXPECT_NE(std::string(p.error).find("1232 to 61440"), std::string::npos) << p.error;
    p.options.mtu = 0;
    p.options.message_bytes_max = 9 << 20;
    EXPECT_EQ(p.open(tr_driver_udp, address(1)), TR_EINVAL);
    p.options.message_bytes_max = 4096;
    p.options.peers_max = 0;
    EXPECT_EQ(p.open(tr_driver_udp, address(1)), TR_EINVAL);
    p.options.peers_max = 1;
    EXPECT_EQ(p.open(tr_driver_udp, address(1), "bursts=3"), TR_EINVAL);
    EXPECT_NE(std::string(p.error).find("burst"), std::string::npos) << p.error;
    EXPECT_EQ(p.open(tr_driver_udp, address(1), "burst=2"), TR_OK) << p.error;
}

TEST(udp_open, memory_that_is_spent_is_told_and_the_socket_given_back)
{
    for (size_t limit : {100u, 4096u, 100000u, 2200000u, 2400000u}) {
        tr_test::arena small(limit);
        tr_port_options options{};
        tr_port *port = nullptr;
        char error[256] = "";
        std::string at = address(1);
        options.struct_bytes = sizeof(options);
        options.address = at.c_str();
        options.self = 1;
        options.peers_max = 4;
        options.message_bytes_max = 64 << 10;
        options.memory = *small.memory();
        options.error = error;
        options.error_bytes = sizeof(error);
        EXPECT_EQ(tr_driver_udp.open(&options, &port), TR_ENOMEM) << limit;
        EXPECT_EQ(port, nullptr);
        udp_port again;
        EXPECT_EQ(again.open(tr_driver_udp, at), TR_OK) << again.error;
    }
}

TEST(udp_open, queues_have_ports_of_their_own)
{
    udp_port nodes[2][2];
    for (uint32_t node = 0; node < 2; node++) {
        for (uint32_t queue = 0; queue < 2; queue++) {
            udp_port &p = nodes[node][queue];
            p.options.queue_index = queue;
            p.options.queue_count = 2;
            ASSERT_EQ(p.open(tr_driver_udp, address(1 + static_cast<int>(node))), TR_OK) << p.error;
            ASSERT_EQ(p.add(static_cast<tr_node_id>(2 - node), address(2 - static_cast<int>(node))),
                      TR_OK);
        }
    }
    for (uint8_t queue = 0; queue < 2; queue++) {
        ASSERT_TRUE(nodes[0][queue].send(2, {queue}));
        nodes[0][queue].flush();
        auto got = nodes[1][queue].await(1);
        ASSERT_EQ(got.size(), 1u);
        EXPECT_EQ(got[0].data, bytes{queue});
        EXPECT_EQ(got[0].peer, 1);
    }
    udp_port last;
    last.options.queue_index = 2;
    EXPECT_EQ(last.open(tr_driver_udp, host(1) + ":65534"), TR_EADDR);
    EXPECT_NE(std::string(last.error).find("65536"), std::string::npos) << last.error;
}

bool has_ipv6()
{
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    sockaddr_in6 at{};
    at.sin6_family = AF_INET6;
    at.sin6_addr = in6addr_loopback;
    bool has = fd >= 0 && bind(fd, reinterpret_cast<sockaddr *>(&at), sizeof(at)) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

TEST(udp_ipv6, messages_small_and_large_arrive)
{
    if (!has_ipv6())
        GTEST_SKIP() << "no IPv6 loopback on this machine";
    udp_port a, b;
    std::string base = "[::1]:" + std::to_string(20000 + getpid() % 20000);
    a.options.message_bytes_max = b.options.message_bytes_max = 300000;
    a.options.queue_index = 0;
    ASSERT_EQ(a.open(tr_driver_udp, base), TR_OK) << a.error;
    std::string other = "[::1]:" + std::to_string(20000 + (getpid() + 1) % 20000);
    ASSERT_EQ(b.open(tr_driver_udp, other), TR_OK) << b.error;
    ASSERT_EQ(a.add(2, other), TR_OK);
    ASSERT_EQ(b.add(1, base), TR_OK);
    for (size_t size : {1u, 1400u, 61440u, 300000u}) {
        ASSERT_TRUE(a.send(2, pattern(1, size)));
        a.flush();
        auto got = b.await(1);
        ASSERT_EQ(got.size(), 1u);
        EXPECT_EQ(got[0].peer, 1);
        EXPECT_EQ(got[0].data == pattern(1, size), true);
    }
}

TEST(udp_ipv6, wildcard_socket_serves_both_families)
{
    if (!has_ipv6())
        GTEST_SKIP() << "no IPv6 loopback on this machine";
    udp_port server, v4, v6;
    std::string at = std::to_string(20000 + (getpid() + 7) % 20000);
    ASSERT_EQ(server.open(tr_driver_udp, "[::]:" + at), TR_OK) << server.error;
    ASSERT_EQ(v4.open(tr_driver_udp, address(4)), TR_OK);
    ASSERT_EQ(v6.open(tr_driver_udp, "[::1]:0"), TR_OK);
    ASSERT_EQ(server.add(4, address(4)), TR_OK);
    ASSERT_EQ(v4.add(1, host(1) + ":" + at), TR_OK);
    ASSERT_EQ(v6.add(1, "[::1]:" + at), TR_OK);
    ASSERT_TRUE(v4.send(1, {4}));
    v4.flush();
    auto got = server.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].peer, 4);
    ASSERT_TRUE(v6.send(1, {6}));
    v6.flush();
    got = server.await(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].peer, 0);
    tr_segment segment = {"!", 1};
    ASSERT_EQ(server->tx_reply(server.get(), got[0].source, &segment, 1), TR_OK);
    server.flush();
    EXPECT_EQ(v6.await(1).size(), 1u);
}

TEST_F(udp, datagrams_that_the_kernel_dropped_are_counted)
{
    open("rcvbuf=16K", 1472);
    for (int i = 0; i < 300; i++) {
        ASSERT_TRUE(a.send(2, bytes(1400)));
        a.flush();
    }
    uint64_t got = b.await(1).size();
    for (;;) {
        auto more = b.receive();
        if (more.empty())
            break;
        got += more.size();
    }
    EXPECT_LT(got, 300u);
    EXPECT_EQ(got + b.stats().rx_dropped, 300u);
}

} // namespace
