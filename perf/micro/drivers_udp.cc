// The UDP driver beside its floor, in one run:
//   micro-udp latency [PAIRS]      one message to two followers, first answer back: p50 of the bare
//   system
//                                  calls and of the driver, alternating on the same CPUs
//   micro-udp throughput [SECONDS] small messages to two followers, each answered, 1,024 under way
//   micro-udp large                large messages over datagrams of several sizes, with and without
//   GSO/GRO micro-udp instructions [COUNT] sends and receives in one thread: run it under callgrind
#include "drivers/udp/udp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace
{

constexpr int base_port = 17300;
constexpr uint32_t payload_bytes = 96; // 64 of a command, and the headers of the layers above
constexpr uint32_t wire_bytes = payload_bytes + 8; // the driver's framing: the floor sends it too
constexpr uint32_t window = 1024;

uint64_t now_ns()
{
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                     std::chrono::steady_clock::now().time_since_epoch())
                                     .count());
}

void pin(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        perror("micro-udp: cannot pin");
}

uint32_t median(std::vector<uint32_t> &values)
{
    std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                     values.end());
    return values[values.size() / 2];
}

std::string address(int node)
{
    return "127.0.0.1:" + std::to_string(base_port + node);
}

sockaddr_in socket_address(int node)
{
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<uint16_t>(base_port + node));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
}

// ---- the driver
// ----------------------------------------------------------------------------------

// A port with its memory.
struct port {
    port(int node, const std::string &extra = "", uint32_t mtu = 0)
    {
        char error[512] = "";
        std::string at = address(node);
        tr_port_options options{};
        options.struct_bytes = sizeof(options);
        options.self = static_cast<tr_node_id>(node);
        options.address = at.c_str();
        options.peers_max = 4;
        options.seed = 1;
        options.mtu = mtu;
        options.extra = extra.c_str();
        options.error = error;
        options.error_bytes = sizeof(error);
        options.memory = {nullptr, [](void *, size_t bytes, size_t align) -> void * {
                              return aligned_alloc(align, (bytes + align - 1) / align * align);
                          }};
        if (tr_driver_udp.open(&options, &raw) != 0) {
            fprintf(stderr, "%s\n", error);
            exit(1);
        }
        for (int peer = 1; peer <= 3; peer++) {
            if (peer != node)
                tr_driver_udp.peer_add(raw, static_cast<tr_node_id>(peer), address(peer).c_str());
        }
    }

    ~port()
    {
        tr_driver_udp.close(raw);
    }

    uint64_t syscalls() const
    {
        tr_port_stats stats;
        tr_driver_udp.stats(raw, &stats);
        return stats.syscalls;
    }

    tr_port *raw = nullptr;
};

// Answers every message of both ports by its first 16 bytes, until told to stop.
void follow(port *ports[2], const std::atomic<bool> &stop, size_t answer_bytes)
{
    static thread_local tr_rx rx[256];
    static thread_local tr_tx tx[256];
    while (!stop.load(std::memory_order_relaxed)) {
        for (int f = 0; f < 2; f++) {
            uint32_t count = tr_driver_udp.rx_burst(ports[f]->raw, rx, 256);
            for (uint32_t i = 0; i < count; i++) {
                tx[i].peer = 1;
                tx[i].segment_count = 1;
                tx[i].segment[0] = {rx[i].data,
                                    std::min(rx[i].bytes, static_cast<uint32_t>(answer_bytes))};
            }
            if (count > 0) {
                tr_driver_udp.tx_burst(ports[f]->raw, tx, count);
                tr_driver_udp.tx_flush(ports[f]->raw);
            }
        }
    }
}

uint32_t driver_p50(uint32_t rounds, double *syscalls_a_round)
{
    port leader(1), second(2), third(3);
    port *followers[2] = {&second, &third};
    std::atomic<bool> stop{false};
    std::thread thread([&] {
        pin(1);
        follow(followers, stop, payload_bytes);
    });
    std::vector<uint32_t> samples;
    uint8_t bytes[payload_bytes] = {0};
    tr_tx tx[2] = {};
    for (int f = 0; f < 2; f++) {
        tx[f].peer = static_cast<tr_node_id>(2 + f);
        tx[f].segment_count = 1;
        tx[f].segment[0] = {bytes, payload_bytes};
    }
    uint64_t useful = 0;
    for (uint32_t round = 1; round <= rounds; round++) {
        memcpy(bytes, &round, sizeof(round));
        uint64_t begin = now_ns();
        tr_driver_udp.tx_burst(leader.raw, tx, 2);
        tr_driver_udp.tx_flush(leader.raw);
        useful++;
        for (bool done = false; !done;) {
            tr_rx rx[64];
            uint32_t count = tr_driver_udp.rx_burst(leader.raw, rx, 64);
            useful += count > 0;
            for (uint32_t i = 0; i < count; i++) {
                uint32_t number;
                memcpy(&number, rx[i].data, sizeof(number));
                done = done || number == round;
            }
        }
        samples.push_back(static_cast<uint32_t>(now_ns() - begin));
    }
    stop = true;
    thread.join();
    *syscalls_a_round = static_cast<double>(useful) / rounds;
    return median(samples);
}

// ---- the floor
// -----------------------------------------------------------------------------------

int floor_socket(int node)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    sockaddr_in at = socket_address(node);
    if (bind(fd, reinterpret_cast<sockaddr *>(&at), sizeof(at)) != 0) {
        perror("micro-udp: bind");
        exit(1);
    }
    return fd;
}

// The same datagrams by bare system calls: `burst` sends both by one sendmmsg, else by two sendto.
uint32_t floor_p50(uint32_t rounds, bool burst)
{
    int leader = floor_socket(1), followers[2] = {floor_socket(2), floor_socket(3)};
    std::atomic<bool> stop{false};
    std::thread thread([&] {
        pin(1);
        char bytes[2048];
        while (!stop.load(std::memory_order_relaxed)) {
            for (int fd : followers) {
                sockaddr_in from;
                socklen_t size = sizeof(from);
                ssize_t got = recvfrom(fd, bytes, sizeof(bytes), 0,
                                       reinterpret_cast<sockaddr *>(&from), &size);
                if (got > 0)
                    sendto(fd, bytes, static_cast<size_t>(got), 0,
                           reinterpret_cast<sockaddr *>(&from), size);
            }
        }
    });
    std::vector<uint32_t> samples;
    char bytes[wire_bytes] = {0}, answer[2048];
    sockaddr_in to[2] = {socket_address(2), socket_address(3)};
    iovec piece = {bytes, sizeof(bytes)};
    mmsghdr headers[2] = {};
    for (int f = 0; f < 2; f++) {
        headers[f].msg_hdr.msg_name = &to[f];
        headers[f].msg_hdr.msg_namelen = sizeof(to[f]);
        headers[f].msg_hdr.msg_iov = &piece;
        headers[f].msg_hdr.msg_iovlen = 1;
    }
    for (uint32_t round = 1; round <= rounds; round++) {
        memcpy(bytes, &round, sizeof(round));
        uint64_t begin = now_ns();
        if (burst) {
            sendmmsg(leader, headers, 2, 0);
        } else {
            for (auto &at : to)
                sendto(leader, bytes, sizeof(bytes), 0, reinterpret_cast<sockaddr *>(&at),
                       sizeof(at));
        }
        for (uint32_t number = 0; number != round;) {
            if (recv(leader, answer, sizeof(answer), 0) > 0)
                memcpy(&number, answer, sizeof(number));
        }
        samples.push_back(static_cast<uint32_t>(now_ns() - begin));
    }
    stop = true;
    thread.join();
    for (int fd : {leader, followers[0], followers[1]})
        close(fd);
    return median(samples);
}

double quantile(std::vector<double> values, double q)
{
    std::sort(values.begin(), values.end());
    return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

int latency(unsigned pairs)
{
    std::vector<double> ratios, floors, drivers;
    double calls = 0;
    pin(0);
    for (unsigned pair = 0; pair < pairs; pair++) {
        uint32_t driver = pair % 2 == 0 ? driver_p50(20000, &calls) : 0;
        uint32_t by_burst = floor_p50(20000, true), by_two = floor_p50(20000, false);
        if (pair % 2 != 0)
            driver = driver_p50(20000, &calls);
        uint32_t floor = std::min(by_burst, by_two);
        printf("pair %2u: floor %u ns (sendmmsg %u, two sendto %u), driver %u ns, ratio %.3f, %.2f "
               "calls that did something a round\n",
               pair, floor, by_burst, by_two, driver, static_cast<double>(driver) / floor, calls);
        ratios.push_back(static_cast<double>(driver) / floor);
        floors.push_back(floor);
        drivers.push_back(driver);
    }
    printf(
        "median of %u pairs: floor p50 %.0f ns, driver p50 %.0f ns, ratio %.3f (quartiles %.3f to "
        "%.3f)\n",
        pairs, quantile(floors, 0.5), quantile(drivers, 0.5), quantile(ratios, 0.5),
        quantile(ratios, 0.25), quantile(ratios, 0.75));
    return 0;
}

// ---- throughput
// ----------------------------------------------------------------------------------

int throughput(double seconds)
{
    pin(0);
    for (uint32_t burst : {1u, 8u, 32u, 128u}) {
        port leader(1), second(2), third(3);
        port *followers[2] = {&second, &third};
        std::atomic<bool> stop{false};
        std::thread thread([&] {
            pin(1);
            follow(followers, stop, 16);
        });
        uint8_t bytes[payload_bytes] = {0};
        std::vector<tr_tx> tx(2 * burst);
        std::vector<tr_rx> rx(256);
        for (size_t i = 0; i < tx.size(); i++) {
            tx[i] = {};
            tx[i].peer = static_cast<tr_node_id>(2 + i % 2);
            tx[i].segment_count = 1;
            tx[i].segment[0] = {bytes, payload_bytes};
        }
        uint64_t sent = 0, answered = 0, begin = now_ns();
        uint64_t end = begin + static_cast<uint64_t>(seconds * 1e9);
        uint64_t calls = leader.syscalls();
        while (now_ns() < end) {
            if (sent - answered / 2 + burst <= window) {
                sent += tr_driver_udp.tx_burst(leader.raw, tx.data(), 2 * burst) / 2;
                tr_driver_udp.tx_flush(leader.raw);
            }
            answered += tr_driver_udp.rx_burst(leader.raw, rx.data(), 256);
        }
        double took = static_cast<double>(now_ns() - begin) / 1e9;
        uint64_t in_time = answered;
        for (end = now_ns() + 50000000; answered < 2 * sent && now_ns() < end;)
            answered += tr_driver_udp.rx_burst(leader.raw, rx.data(), 256);
        printf(
            "burst %3u: %.0f messages/s to each of two followers and back, %.3f leader's calls a "
            "message, lost %lld\n",
            burst, static_cast<double>(in_time) / 2 / took,
            static_cast<double>(leader.syscalls() - calls) / static_cast<double>(sent),
            static_cast<long long>(2 * sent - answered));
        stop = true;
        thread.join();
    }
    return 0;
}

// ---- large messages
// ------------------------------------------------------------------------------

int large()
{
    pin(0);
    std::vector<uint8_t> bytes(1 << 20, 0x5a);
    struct {
        const char *extra;
        uint32_t mtu;
    } variants[] = {{"", 0},
                    {"", 8952},
                    {"gso=off", 8952},
                    {"gso=on", 1472},
                    {"gso=off", 1472},
                    {"gso=on,gro=off", 1472},
                    {"gso=off,gro=off", 1472}};
    for (uint32_t size : {4096u, 65536u, 1u << 20}) {
        for (const auto &v : variants) {
            port from(1, v.extra, v.mtu), to(2, v.extra, v.mtu);
            tr_tx tx{};
            tx.peer = 2;
            tx.segment_count = 1;
            tx.segment[0] = {bytes.data(), size};
            uint32_t rounds = (256u << 20) / size / 8, got = 0;
            uint64_t begin = now_ns();
            for (uint32_t i = 0; i < rounds; i++) {
                tr_driver_udp.tx_burst(from.raw, &tx, 1);
                tr_driver_udp.tx_flush(from.raw);
                tr_rx rx[4];
                for (int tries = 0; tries < 2000; tries++) {
                    uint32_t count = tr_driver_udp.rx_burst(to.raw, rx, 4);
                    got += count;
                    if (count > 0)
                        break;
                }
            }
            double took = static_cast<double>(now_ns() - begin);
            printf("%7u bytes, datagrams of %5u, %-16s %8.1f us a message, %.2f GB/s, %.1f + %.1f "
                   "calls "
                   "a message, lost %u\n",
                   size, v.mtu, v.extra, took / rounds / 1000,
                   static_cast<double>(size) * rounds / took,
                   static_cast<double>(from.syscalls()) / rounds,
                   static_cast<double>(to.syscalls()) / rounds, rounds - got);
        }
    }
    return 0;
}

// ---- instructions
// --------------------------------------------------------------------------------

// Not inlined, so that callgrind tells them apart.
__attribute__((noinline)) void one_at_a_time(port &from, port &to, tr_tx *tx, uint32_t count)
{
    tr_rx rx[4];
    for (uint32_t i = 0; i < count; i++) {
        tr_driver_udp.tx_burst(from.raw, tx, 1);
        tr_driver_udp.tx_flush(from.raw);
        while (tr_driver_udp.rx_burst(to.raw, rx, 4) == 0) {
        }
    }
}

__attribute__((noinline)) void by_thirty_two(port &from, port &to, tr_tx *tx, uint32_t count)
{
    tr_rx rx[32];
    for (uint32_t i = 0; i < count; i += 32) {
        tr_driver_udp.tx_burst(from.raw, tx, 32);
        tr_driver_udp.tx_flush(from.raw);
        while (tr_driver_udp.rx_burst(to.raw, rx, 32) == 0) {
        }
    }
}

int instructions(uint32_t count)
{
    port from(1), to(2);
    uint8_t bytes[payload_bytes] = {0};
    tr_tx tx[32] = {};
    for (auto &t : tx) {
        t.peer = 2;
        t.segment_count = 1;
        t.segment[0] = {bytes, payload_bytes};
    }
    one_at_a_time(from, to, tx, count);
    by_thirty_two(from, to, tx, count);
    printf("%u messages one at a time, %u by 32\n", count, count);
    return 0;
}

} // namespace

int main(int argc, char **argv)
{
    std::string what = argc > 1 ? argv[1] : "";
    const char *number = argc > 2 ? argv[2] : nullptr;
    if (what == "latency")
        return latency(number != nullptr ? static_cast<unsigned>(atoi(number)) : 15);
    if (what == "throughput")
        return throughput(number != nullptr ? atof(number) : 2);
    if (what == "large")
        return large();
    if (what == "instructions")
        return instructions(number != nullptr ? static_cast<uint32_t>(atoi(number)) : 32000);
    fprintf(stderr,
            "usage: micro-udp latency [PAIRS] | throughput [SECONDS] | large | instructions "
            "[COUNT]\n");
    return 2;
}
