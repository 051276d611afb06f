// The shm driver beside its floor, in one run:
//   micro-shm latency [PAIRS]       one message to two followers, first answer back: p50 of bare
//   memory
//                                   and of the driver, alternating on the same CPUs
//   micro-shm write [PAIRS]         one record into two followers' rings, until it counts
//   micro-shm throughput [SECONDS]  messages to two followers, each answered, 1,024 under way
//   micro-shm count                 instructions a message, by callgrind (needs valgrind)
//   micro-shm instructions WHAT COUNT  one of them, so many times, in one thread: what `count` runs
#include "base/atomic.h"
#include "base/tsc.h"
#include "drivers/shm/shm.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace
{

constexpr uint32_t message_bytes = 128;
constexpr uint32_t answer_bytes = 48;
constexpr unsigned batch = 20000; // round trips of one half of a pair

uint64_t now_ns()
{
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                     std::chrono::steady_clock::now().time_since_epoch())
                                     .count());
}

double ticks_per_ns()
{
    static const double rate = [] {
        uint64_t ns = now_ns(), ticks = tr_tsc_read();
        while (now_ns() - ns < 20000000)
            ;
        return static_cast<double>(tr_tsc_read() - ticks) / static_cast<double>(now_ns() - ns);
    }();
    return rate;
}

void pin(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        perror("micro-shm: cannot pin");
}

template <typename T> T quantile(std::vector<T> values, unsigned percent)
{
    auto at = values.begin() + static_cast<long>(values.size() * percent / 100);
    std::nth_element(values.begin(), at, values.end());
    return *at;
}

// ---- the driver

struct port {
    explicit port(unsigned node)
    {
        char error[512] = "";
        std::string address = name(node);
        tr_port_options options = {};
        options.struct_bytes = sizeof(options);
        options.self = static_cast<tr_node_id>(node);
        options.address = address.c_str();
        options.queue_count = 1;
        options.peers_max = 4;
        options.seed = node;
        options.memory.allocate = [](void *, size_t bytes, size_t align) {
            return std::aligned_alloc(align, (bytes + align - 1) / align * align);
        };
        options.error = error;
        options.error_bytes = sizeof(error);
        if (tr_driver_shm.open(&options, &raw) != 0) {
            fprintf(stderr, "micro-shm: %s\n", error);
            exit(1);
        }
    }

    ~port()
    {
        tr_driver_shm.close(raw);
    }

    static std::string name(unsigned node)
    {
        return "shm:micro-" + std::to_string(getpid()) + "-" + std::to_string(node);
    }

    void add(unsigned node)
    {
        tr_driver_shm.peer_add(raw, static_cast<tr_node_id>(node), name(node).c_str());
    }

    tr_port *raw = nullptr;
};

// A leader, node 1, and two followers, all connected.
struct cluster {
    cluster() : leader(1), first(2), second(3)
    {
        leader.add(2);
        leader.add(3);
        first.add(1);
        second.add(1);
        unsigned up = 0;
        while (up < 4) {
            tr_rx rx[1];
            tr_port_event event[4];
            for (port *p : {&leader, &first, &second}) {
                tr_driver_shm.rx_burst(p->raw, rx, 1);
                up += tr_driver_shm.events(p->raw, event, 4);
            }
        }
    }

    port leader, first, second;
};

// What a follower does: answers each message with its first eight bytes.
void answer(port &follower)
{
    tr_rx rx[32];
    tr_tx tx[32];
    char bytes[answer_bytes] = {};
    uint32_t count = tr_driver_shm.rx_burst(follower.raw, rx, 32);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(bytes, rx[i].data, 8);
        tx[0].peer = 1;
        tx[0].segment_count = 1;
        tx[0].segment[0] = {bytes, answer_bytes};
        while (tr_driver_shm.tx_burst(follower.raw, tx, 1) == 0)
            ;
    }
}

// ---- the floor: the same bytes in the same lines, and nothing else

// One sender, one receiver; records of whole lines, the first word of each 0 until it is whole. The
// ring is as large as the piece of a lane that is in use when the receiver keeps up.
struct bare_ring {
    static constexpr uint32_t bytes = 65536;
    alignas(64) unsigned char memory[bytes];

    void reset()
    {
        memset(memory, 0, sizeof(memory));
    }
};

struct bare_end {
    bare_ring *ring;
    uint32_t at = 0;
};

// `words` 8-byte words after the header, of which the first is the number.
template <uint32_t lines> void bare_put(bare_end &end, const unsigned char *data)
{
    unsigned char *to = end.ring->memory + end.at;
    uint32_t next = (end.at + lines * 64) % bare_ring::bytes;
    memcpy(to + 8, data, lines * 64 - 8);
    tr_store_relaxed(reinterpret_cast<uint64_t *>(end.ring->memory + next), uint64_t{0});
    tr_store_release(reinterpret_cast<uint64_t *>(to), uint64_t{1});
    end.at = next;
}

template <uint32_t lines> bool bare_get(bare_end &end, unsigned char *data)
{
    unsigned char *from = end.ring->memory + end.at;
    if (tr_load_acquire(reinterpret_cast<uint64_t *>(from)) == 0)
        return false;
    memcpy(data, from + 8, lines * 64 - 8);
    end.at = (end.at + lines * 64) % bare_ring::bytes;
    return true;
}

constexpr uint32_t message_lines = (message_bytes + 8 + 63) / 64;
constexpr uint32_t answer_lines = (answer_bytes + 8 + 63) / 64;

struct bare_cluster {
    bare_ring out[2], back[2];
    bare_end leader_out[2], leader_back[2], follower_in[2], follower_back[2];

    bare_cluster()
    {
        for (unsigned i = 0; i < 2; i++) {
            out[i].reset();
            back[i].reset();
            leader_out[i].ring = follower_in[i].ring = &out[i];
            leader_back[i].ring = follower_back[i].ring = &back[i];
        }
    }
};

// ---- latency

enum mode { MODE_BARE, MODE_DRIVER, MODE_END };

// One batch on the leader's side. Returns: the median in ticks.
uint32_t bare_batch(bare_cluster &c, uint64_t &number, std::vector<uint32_t> &ticks)
{
    unsigned char data[message_lines * 64] = {}, back[answer_lines * 64];
    for (unsigned i = 0; i < batch; i++) {
        number++;
        uint64_t from = tr_tsc_read();
        memcpy(data, &number, 8);
        bare_put<message_lines>(c.leader_out[0], data);
        bare_put<message_lines>(c.leader_out[1], data);
        unsigned answers = 0;
        while (answers == 0) {
            for (unsigned f = 0; f < 2; f++)
                answers += bare_get<answer_lines>(c.leader_back[f], back);
        }
        ticks[i] = static_cast<uint32_t>(tr_tsc_read() - from);
        while (answers < 2) {
            for (unsigned f = 0; f < 2; f++)
                answers += bare_get<answer_lines>(c.leader_back[f], back);
        }
    }
    return quantile(ticks, 50);
}

uint32_t driver_batch(cluster &c, uint64_t &number, std::vector<uint32_t> &ticks)
{
    unsigned char data[message_bytes] = {};
    tr_rx rx[8];
    tr_tx tx[2] = {};
    for (unsigned f = 0; f < 2; f++) {
        tx[f].peer = static_cast<tr_node_id>(2 + f);
        tx[f].segment_count = 1;
        tx[f].segment[0] = {data, message_bytes};
    }
    for (unsigned i = 0; i < batch; i++) {
        number++;
        uint64_t from = tr_tsc_read();
        memcpy(data, &number, 8);
        tr_driver_shm.tx_burst(c.leader.raw, tx, 2);
        uint32_t answers = 0;
        while (answers == 0)
            answers += tr_driver_shm.rx_burst(c.leader.raw, rx, 8);
        ticks[i] = static_cast<uint32_t>(tr_tsc_read() - from);
        while (answers < 2)
            answers += tr_driver_shm.rx_burst(c.leader.raw, rx, 8);
    }
    return quantile(ticks, 50);
}

void follow(std::atomic<int> &mode, bare_cluster &bare, cluster &c)
{
    pin(1);
    unsigned char data[message_lines * 64], back[answer_lines * 64] = {};
    while (true) {
        int now = mode.load(std::memory_order_relaxed);
        if (now == MODE_END)
            return;
        for (unsigned f = 0; now == MODE_BARE && f < 2; f++) {
            if (bare_get<message_lines>(bare.follower_in[f], data)) {
                memcpy(back, data, 8);
                bare_put<answer_lines>(bare.follower_back[f], back);
            }
        }
        if (now == MODE_DRIVER) {
            answer(c.first);
            answer(c.second);
        }
    }
}

void print_pairs(const char *what, const std::vector<double> &floor,
                 const std::vector<double> &driver)
{
    std::vector<double> difference;
    for (size_t i = 0; i < floor.size(); i++)
        difference.push_back(driver[i] - floor[i]);
    printf("%s: floor p50 %.0f ns, driver p50 %.0f ns, difference %.0f ns (quartiles %.0f %.0f), "
           "%zu pairs\n",
           what, quantile(floor, 50), quantile(driver, 50), quantile(difference, 50),
           quantile(difference, 25), quantile(difference, 75), floor.size());
}

int latency(unsigned pairs)
{
    auto bare = std::make_unique<bare_cluster>();
    cluster c;
    std::atomic<int> mode{MODE_BARE};
    std::vector<double> floor, driver;
    std::vector<uint32_t> ticks(batch);
    uint64_t number = 0;
    double rate = ticks_per_ns();
    std::thread follower([&] { follow(mode, *bare, c); });
    pin(0);
    for (unsigned i = 0; i <= pairs; i++) {
        mode = MODE_BARE;
        double a = bare_batch(*bare, number, ticks) / rate;
        mode = MODE_DRIVER;
        double b = driver_batch(c, number, ticks) / rate;
        if (i > 0) { // the first warms up
            floor.push_back(a);
            driver.push_back(b);
        }
    }
    mode = MODE_END;
    follower.join();
    print_pairs("message to two, first answer", floor, driver);
    return 0;
}

// ---- one-sided

struct grants {
    tr_ring_info ring[2];
    uint32_t remote[2];
};

constexpr uint32_t ring_bytes = 1u << 20;
constexpr uint32_t record_bytes = 192;

grants grant(cluster &c)
{
    grants g = {};
    for (unsigned f = 0; f < 2; f++) {
        port &owner = f == 0 ? c.first : c.second;
        tr_ring_options options = {};
        tr_ring_token token;
        options.peer = 1;
        options.bytes = ring_bytes;
        if (tr_driver_shm.ring_create(owner.raw, &options, &g.ring[f]) != 0 ||
            tr_driver_shm.ring_grant(owner.raw, g.ring[f].ring, 1, &token) != 0 ||
            tr_driver_shm.remote_open(c.leader.raw, static_cast<tr_node_id>(2 + f), &token, 1,
                                      &g.remote[f]) != 0) {
            fprintf(stderr, "micro-shm: no rings\n");
            exit(1);
        }
    }
    return g;
}

// The reader of the rings: polls the next record, as a follower does.
void drain(std::atomic<int> &mode, bare_ring *bare, const grants &g)
{
    pin(1);
    uint64_t at[2] = {}, bare_at[2] = {};
    unsigned char record[record_bytes];
    while (mode.load(std::memory_order_relaxed) != MODE_END) {
        for (unsigned f = 0; f < 2; f++) {
            const volatile uint8_t *from =
                g.ring[f].memory + at[f] % ring_bytes / record_bytes * record_bytes;
            uint64_t word = tr_load_acquire(reinterpret_cast<const volatile uint64_t *>(from));
            if (word == at[f] / record_bytes + 1) {
                tr_copy_relaxed_8(record, from, record_bytes);
                at[f] += record_bytes;
                if (at[f] % ring_bytes + record_bytes > ring_bytes)
                    at[f] = 0;
            }
            unsigned char *bare_from = bare[f].memory + bare_at[f];
            if (tr_load_acquire(reinterpret_cast<uint64_t *>(bare_from)) != 0) {
                memcpy(record, bare_from, record_bytes);
                bare_at[f] = (bare_at[f] + 256) % bare_ring::bytes;
            }
        }
    }
}

int write(unsigned pairs)
{
    cluster c;
    grants g = grant(c);
    auto bare = std::make_unique<bare_ring[]>(2);
    alignas(64) static uint64_t words[2][8];
    bare[0].reset();
    bare[1].reset();
    std::atomic<int> mode{MODE_BARE};
    std::vector<double> floor, driver;
    std::vector<uint32_t> ticks(batch);
    unsigned char record[256] = {};
    double rate = ticks_per_ns();
    uint32_t bare_at = 0, at = 0;
    uint64_t number = 0;
    std::thread follower([&] { drain(mode, bare.get(), g); });
    pin(0);
    for (unsigned pair = 0; pair <= pairs; pair++) {
        for (unsigned i = 0; i < batch; i++) {
            uint64_t one = 1;
            uint64_t from = tr_tsc_read();
            memcpy(record, &one, 8);
            uint32_t next = (bare_at + 256) % bare_ring::bytes;
            for (unsigned f = 0; f < 2; f++) {
                memset(bare[f].memory + next, 0, 8);
                tr_write_relaxed_8(bare[f].memory + bare_at, record, record_bytes);
            }
            tr_fence_full();
            bool counts = tr_load_relaxed(&words[0][0]) == 0 && tr_load_relaxed(&words[1][0]) == 0;
            ticks[i] = static_cast<uint32_t>(tr_tsc_read() - from) + !counts;
            bare_at = next;
            while (tr_tsc_read() - from < 2000)
                ;
        }
        double a = quantile(ticks, 50) / rate;
        for (unsigned i = 0; i < batch; i++) {
            tr_segment segment = {record, record_bytes};
            tr_write_completion done[2];
            number = at / record_bytes + 1;
            uint64_t from = tr_tsc_read();
            memcpy(record, &number, 8);
            for (unsigned f = 0; f < 2; f++)
                tr_driver_shm.write_post(c.leader.raw, g.remote[f], at, &segment, 1, i);
            uint32_t count = 0;
            while (count < 2)
                count += tr_driver_shm.write_poll(c.leader.raw, done, 2);
            ticks[i] = static_cast<uint32_t>(tr_tsc_read() - from);
            at = at + 2 * record_bytes > ring_bytes ? 0 : at + record_bytes;
            while (tr_tsc_read() - from < 2000)
                ;
        }
        double b = quantile(ticks, 50) / rate;
        if (pair > 0) {
            floor.push_back(a);
            driver.push_back(b);
        }
    }
    mode = MODE_END;
    follower.join();
    print_pairs("record into two rings, counted", floor, driver);
    return 0;
}

// ---- throughput

int throughput(double seconds)
{
    cluster c;
    auto bare = std::make_unique<bare_cluster>();
    std::atomic<int> mode{MODE_DRIVER};
    std::thread follower([&] { follow(mode, *bare, c); });
    pin(0);
    uint64_t sent[2] = {}, answered[2] = {};
    unsigned char data[message_bytes] = {};
    tr_rx rx[64];
    tr_tx tx[32] = {};
    uint64_t begin = now_ns();
    uint64_t end = begin + static_cast<uint64_t>(seconds * 1e9);
    while (now_ns() < end) {
        for (unsigned turn = 0; turn < 64; turn++) {
            for (unsigned f = 0; f < 2; f++) {
                uint32_t count =
                    static_cast<uint32_t>(std::min<uint64_t>(32, 1024 - (sent[f] - answered[f])));
                for (uint32_t i = 0; i < count; i++) {
                    tx[i].peer = static_cast<tr_node_id>(2 + f);
                    tx[i].segment_count = 1;
                    tx[i].segment[0] = {data, message_bytes};
                }
                sent[f] += tr_driver_shm.tx_burst(c.leader.raw, tx, count);
            }
            uint32_t count = tr_driver_shm.rx_burst(c.leader.raw, rx, 64);
            for (uint32_t i = 0; i < count; i++)
                answered[rx[i].peer - 2]++;
        }
    }
    double elapsed = static_cast<double>(now_ns() - begin) / 1e9;
    mode = MODE_END;
    follower.join();
    printf("throughput: %.2f M/s to two followers and answered, %u bytes, 1,024 under way\n",
           static_cast<double>(std::min(answered[0], answered[1])) / elapsed / 1e6, message_bytes);
    return 0;
}

// ---- instructions

enum measured { MESSAGE, BURST, WRITE, IDLE };

int instructions(unsigned count, enum measured what)
{
    constexpr uint32_t burst = 32;
    cluster c;
    grants g = grant(c);
    unsigned char data[record_bytes] = {};
    tr_rx rx[burst];
    tr_tx tx[burst] = {};
    for (tr_tx &t : tx) {
        t.peer = 2;
        t.segment_count = 1;
        t.segment[0] = {data, message_bytes};
    }
    tr_segment segment = {data, record_bytes};
    tr_write_completion done[2];
    uint32_t at = 0;
    uint64_t received = 0, sent = 0;
    while (sent < count) {
        uint32_t n = what == BURST ? burst : 1;
        if (what == WRITE) {
            sent += tr_driver_shm.write_post(c.leader.raw, g.remote[0], at, &segment, 1, sent) == 0;
            received += tr_driver_shm.write_poll(c.leader.raw, done, 2);
            at = at + 2 * record_bytes > ring_bytes ? 0 : at + record_bytes;
        } else if (what == IDLE) {
            received += 1 + tr_driver_shm.rx_burst(c.leader.raw, rx, burst);
            sent++;
        } else {
            sent += tr_driver_shm.tx_burst(c.leader.raw, tx, n);
            received += tr_driver_shm.rx_burst(c.first.raw, rx, burst);
        }
    }
    return received == sent ? 0 : 1;
}

// Runs this program under callgrind. Returns: instructions of the whole run.
uint64_t callgrind(const char *self, const char *what, unsigned count)
{
    std::string command = "valgrind --tool=callgrind --callgrind-out-file=/dev/null " +
                          std::string(self) + " " + what + " " + std::to_string(count) + " 2>&1";
    FILE *pipe = popen(command.c_str(), "r");
    char line[256];
    unsigned long long collected = 0;
    while (pipe != nullptr && fgets(line, sizeof(line), pipe) != nullptr) {
        const char *at = strstr(line, "Collected : ");
        if (at != nullptr)
            collected = strtoull(at + 12, nullptr, 10);
    }
    if (pipe != nullptr)
        pclose(pipe);
    return collected;
}

struct counted {
    const char *argument;
    enum measured what;
    const char *text;
};

constexpr counted all_counted[] = {
    {"message", MESSAGE, "a message of 128 bytes, sent and received alone"},
    {"burst", BURST, "a message of 128 bytes, sent and received with 31 others"},
    {"write", WRITE, "a write of 192 bytes, posted, fenced and polled"},
    {"idle", IDLE, "a poll of an idle port with two peers"},
};

int count_instructions(const char *self)
{
    for (const counted &c : all_counted) {
        constexpr unsigned n = 320000;
        std::string what = "instructions " + std::string(c.argument);
        uint64_t once = callgrind(self, what.c_str(), n);
        uint64_t twice = callgrind(self, what.c_str(), 2 * n);
        if (once == 0 || twice <= once) {
            fprintf(stderr, "micro-shm: valgrind gave no figures\n");
            return 1;
        }
        printf("%.1f instructions: %s (this program's loop included)\n",
               static_cast<double>(twice - once) / n, c.text);
    }
    return 0;
}

} // namespace

int main(int argc, char **argv)
{
    std::string what = argc > 1 ? argv[1] : "";
    double value = argc > 2 ? atof(argv[2]) : 0;
    unsigned number = static_cast<unsigned>(value);
    if (what == "latency")
        return latency(number ? number : 15);
    if (what == "write")
        return write(number ? number : 15);
    if (what == "throughput")
        return throughput(value > 0 ? value : 2);
    if (what == "count")
        return count_instructions(argv[0]);
    for (const counted &c : all_counted) {
        if (what == "instructions" && argc > 3 && std::string(argv[2]) == c.argument)
            return instructions(static_cast<unsigned>(atoi(argv[3])), c.what);
    }
    fprintf(stderr,
            "usage: micro-shm latency [PAIRS] | write [PAIRS] | throughput [SECONDS] | count\n");
    return 2;
}
