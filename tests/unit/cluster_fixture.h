/* A small cluster in one process, for tests of whole nodes: three nodes by default, driven by
 * tr_poll from the test's thread or by threads of their own. Nothing in it depends on timing: every
 * wait ends when its condition holds, and fails after a generous limit. */
#ifndef TR_TESTS_UNIT_CLUSTER_FIXTURE_H
#define TR_TESTS_UNIT_CLUSTER_FIXTURE_H

#include "trireme/trireme.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace cluster
{

/* A sanitizer makes a turn ten times as long. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool SANITIZED = true;
#else
constexpr bool SANITIZED = false;
#endif

/* A number that an apply thread writes and the test reads meanwhile. Relaxed, so that it orders
 * nothing else that a race detector ought to see. */
template <typename T> class Seen
{
  public:
    Seen(T value = 0) : value_(value) {}
    operator T() const
    {
        return value_.load(std::memory_order_relaxed);
    }
    Seen &operator=(T value)
    {
        value_.store(value, std::memory_order_relaxed);
        return *this;
    }
    Seen &operator+=(T value)
    {
        return *this = static_cast<T>(*this + value);
    }

  private:
    std::atomic<T> value_;
};

/* A state machine that remembers what it was given: a journal of all commands, hashed, and a sum. A
 * command of 8 bytes is a number that is added; the reply is the sum after it, and the command
 * itself behind. */
struct Machine {
    Seen<uint64_t> sum;
    Seen<uint64_t> hash{0xcbf29ce484222325};
    Seen<uint64_t> count;
    Seen<uint64_t> largest_call;
    Seen<int> restored;
    Seen<int> snapshots;
    Seen<uint32_t> origin_last;

    static void apply(void *context, uint64_t, const tr_command *commands, uint32_t count,
                      tr_replies *replies)
    {
        Machine *m = static_cast<Machine *>(context);
        m->largest_call = std::max<uint64_t>(m->largest_call, count);
        for (uint32_t i = 0; i < count; i++) {
            const uint8_t *data = static_cast<const uint8_t *>(commands[i].data);
            uint64_t number = 0;
            memcpy(&number, data, std::min<size_t>(commands[i].bytes, 8));
            for (uint32_t b = 0; b < commands[i].bytes; b++)
                m->hash = (m->hash ^ data[b]) * 0x100000001b3;
            m->sum += number;
            m->count += 1;
            m->origin_last = commands[i].origin;
            void *room = tr_replies_reserve(replies, i, 8);
            uint64_t sum = m->sum;
            memcpy(room, &sum, 8);
        }
    }
    static int read(void *context, const void *, uint32_t, tr_reply *reply)
    {
        Machine *m = static_cast<Machine *>(context);
        uint64_t sum = m->sum;
        return tr_reply_set(reply, &sum, 8);
    }
    static int snapshot(void *context, tr_writer *writer)
    {
        Machine *m = static_cast<Machine *>(context);
        m->snapshots += 1;
        uint64_t words[3] = {m->sum, m->hash, m->count};
        return tr_writer_put(writer, words, sizeof(words));
    }
    static int restore(void *context, tr_reader *reader)
    {
        Machine *m = static_cast<Machine *>(context);
        uint64_t words[3];
        int status = tr_reader_get(reader, words, sizeof(words));
        if (status != 0)
            return status;
        m->sum = words[0];
        m->hash = words[1];
        m->count = words[2];
        m->restored += 1;
        return 0;
    }
    static uint64_t digest(void *context)
    {
        return static_cast<Machine *>(context)->hash;
    }
    tr_state_machine table()
    {
        return {sizeof(tr_state_machine), this, apply, read, snapshot, restore, digest};
    }
};

/* One node with its groups. */
struct Node {
    tr_node *node = nullptr;
    std::vector<tr_group *> group;
    std::vector<std::unique_ptr<Machine>> machine;
};

/* How a cluster is set up. */
struct Layout {
    std::string driver = "loop";
    std::string weather;                            /* of the fault driver around it; empty: none */
    std::function<std::string(int)> driver_options; /* of a node, by its index; unset: none */
    int nodes = 3;
    bool threads = false;
    uint32_t lcores = 1;
    uint32_t groups = 1;
    bool apply_apart = false; /* the apply stage on the next core */
    std::string one_sided = "auto";
    uint32_t log_slots = 4096;
    uint64_t log_bytes = 4 << 20;
    uint32_t message_bytes_max = 64 << 10;
    uint32_t batch = 64;
    uint64_t snapshot_bytes = 1 << 20;
    uint32_t sessions_max = 64;
    uint64_t reply_cache_bytes = 1 << 20;
    uint32_t lease_us = 0;
    /* Long enough for a machine that does other things, too. */
    uint32_t election_us = SANITIZED ? 200000 : 20000;
    uint32_t reply_bytes_max = 0;
    tr_log_fn log = nullptr;
    void *log_context = nullptr;
    tr_durability durability = TR_DURABILITY_MEMORY;
    bool open_none = false; /* the test opens the nodes, each in a process of its own perhaps */
    bool clients = false;   /* remote clients are let in */
    uint32_t clients_max = 4;
    uint32_t client_message_bytes_max = 16 << 10;
    uint32_t client_window = 256;
    /* Opens a group of a node, by its index; unset: tr_group_open. */
    std::function<int(int, tr_node *, const tr_group_options *, tr_group **, char *, size_t)>
        opener;
};

inline uint64_t now_ms()
{
    using namespace std::chrono;
    return (uint64_t)duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

class Cluster
{
  public:
    Layout layout;
    std::vector<Node> nodes;
    void *fabric = nullptr;
    const Node *stopped = nullptr; /* gets no turn: its process is there, and does not run */
    std::string tag;

    explicit Cluster(const Layout &s) : layout(s)
    {
        static int counter = 0;
        tag = std::to_string(getpid()) + "-" + std::to_string(counter++);
        if (layout.driver == "loop")
            fabric = tr_fabric_create();
        port_base = 20000 + (getpid() * 64 + counter * 16) % 40000;
        nodes.resize((size_t)layout.nodes);
        for (int i = 0; i < layout.nodes && !layout.open_none; i++)
            open(i);
    }
    ~Cluster()
    {
        for (int i = 0; i < layout.nodes; i++)
            close(i);
        tr_fabric_destroy(fabric);
    }
    Cluster(const Cluster &) = delete;
    Cluster &operator=(const Cluster &) = delete;

    std::string address(int i) const
    {
        if (layout.driver == "udp")
            return "127.0.0.1:" + std::to_string(port_base + i * (int)layout.lcores);
        if (layout.driver == "dpdk" || layout.driver == "verbs")
            return "10.77.0." + std::to_string(i + 1) + ":7410";
        return layout.driver + ":t" + tag + "-" + std::to_string(i + 1);
    }

    /* Where remote clients reach a node. */
    std::string client_address(int i) const
    {
        if (layout.driver == "udp")
            return "127.0.0.1:" + std::to_string(port_base + 8 + i);
        if (layout.driver == "dpdk" || layout.driver == "verbs")
            return "10.77.0." + std::to_string(i + 1) + ":7510";
        return layout.driver + ":t" + tag + "-c" + std::to_string(i + 1);
    }

    void open(int i)
    {
        Node &n = nodes[(size_t)i];
        std::vector<std::string> addresses;
        std::vector<tr_peer> peers;
        for (int p = 0; p < layout.nodes; p++)
            addresses.push_back(address(p));
        for (int p = 0; p < layout.nodes; p++)
            peers.push_back({(uint16_t)(p + 1), addresses[(size_t)p].c_str()});
        tr_node_options o = TR_NODE_OPTIONS_INIT;
        std::string name = "test" + tag;
        o.cluster = name.c_str();
        o.node = (uint16_t)(i + 1);
        o.peers = peers.data();
        o.peer_count = (uint32_t)peers.size();
        std::string options = layout.driver_options ? layout.driver_options(i) : "";
        if (!layout.weather.empty())
            options = "driver=" + layout.driver + "," + layout.weather;
        o.driver = layout.weather.empty() ? layout.driver.c_str() : "fault";
        o.driver_options = options.empty() ? nullptr : options.c_str();
        o.lcore_count = layout.lcores;
        o.idle = layout.threads ? TR_IDLE_SLEEP : TR_IDLE_AUTO;
        o.message_bytes_max = layout.message_bytes_max;
        o.fabric = fabric;
        o.log = layout.log;
        o.log_context = layout.log_context;
        std::string door = client_address(i);
        if (layout.clients)
            o.client_address = door.c_str();
        o.clients_max = layout.clients_max;
        o.client_message_bytes_max = layout.client_message_bytes_max;
        o.client_window = layout.client_window;
        char error[512] = "";
        ASSERT_EQ(tr_node_open(&o, &n.node, error, sizeof(error)), 0) << error;
        n.group.clear();
        n.machine.clear();
        for (uint32_t g = 0; g < layout.groups; g++)
            open_group(n, g);
        if (layout.threads) {
            ASSERT_EQ(tr_node_start(n.node), 0);
        }
    }

    void open_group(Node &n, uint32_t number)
    {
        tr_group_options o = TR_GROUP_OPTIONS_INIT;
        n.machine.push_back(std::make_unique<Machine>());
        o.group = number;
        o.machine = n.machine.back()->table();
        o.lcore = layout.apply_apart ? 0 : number % layout.lcores;
        o.apply_lcore = layout.apply_apart ? 1 : -1;
        o.log_slots = layout.log_slots;
        o.log_bytes = layout.log_bytes;
        o.batch_commands_max = layout.batch;
        o.snapshot_bytes_max = layout.snapshot_bytes;
        o.sessions_max = layout.sessions_max;
        o.reply_cache_bytes = layout.reply_cache_bytes;
        o.reply_bytes_max = layout.reply_bytes_max;
        o.lease_us = layout.lease_us;
        o.election_timeout_us = layout.election_us;
        o.one_sided = layout.one_sided.c_str();
        o.durability = layout.durability;
        char error[512] = "";
        tr_group *group = nullptr;
        int index = static_cast<int>(&n - nodes.data());
        int status = layout.opener ? layout.opener(index, n.node, &o, &group, error, sizeof(error))
                                   : tr_group_open(n.node, &o, &group, error, sizeof(error));
        ASSERT_EQ(status, 0) << error;
        n.group.push_back(group);
    }

    void close(int i)
    {
        Node &n = nodes[(size_t)i];
        tr_node_close(n.node);
        n.node = nullptr;
        n.group.clear();
    }

    bool alive(int i) const
    {
        return nodes[(size_t)i].node != nullptr;
    }

    /* One turn of every living node; with threads, a short sleep. */
    void turn()
    {
        if (layout.threads) {
            std::this_thread::sleep_for(std::chrono::microseconds(200));
            return;
        }
        for (Node &n : nodes)
            if (n.node != nullptr && &n != stopped)
                tr_poll(n.node);
    }

    /* Turns until the condition holds. */
    bool until(const std::function<bool()> &condition, uint64_t limit_ms = 60000)
    {
        uint64_t end = now_ms() + limit_ms;
        while (!condition()) {
            if (now_ms() > end)
                return false;
            turn();
        }
        return true;
    }

    struct tr_group_status status(int i, uint32_t group = 0) const
    {
        struct tr_group_status s;
        tr_group_status(nodes[(size_t)i].group[group], &s);
        return s;
    }

    /* Index of a living node in a role now, or -1. */
    int in_role(int role, uint32_t group = 0) const
    {
        for (int i = 0; i < layout.nodes; i++)
            if (alive(i) && status(i, group).role == role)
                return i;
        return -1;
    }
    bool wait_leader(uint32_t group = 0)
    {
        return until([&] { return in_role(TR_ROLE_LEADER, group) >= 0; });
    }
    /* Index of the node that leads, or of one that follows. There may be none just now, on a
     * machine that stands still for an election timeout: waits for one. */
    int leader(uint32_t group = 0)
    {
        return wait_role(TR_ROLE_LEADER, group);
    }
    int follower(uint32_t group = 0)
    {
        return wait_role(TR_ROLE_FOLLOWER, group);
    }

    /* Whether all living replicas of a group have applied the same and are done. */
    bool level(uint32_t group = 0) const
    {
        uint64_t apply = 0;
        for (int i = 0; i < layout.nodes; i++) {
            if (!alive(i))
                continue;
            struct tr_group_status s = status(i, group);
            if (s.role == TR_ROLE_RECOVERING || s.slot_apply != s.slot_commit ||
                (apply != 0 && s.slot_apply != apply))
                return false;
            apply = s.slot_apply;
        }
        return apply != 0;
    }
    /* Waits until all living replicas have the same state; compares their digests. */
    bool agree(uint32_t group = 0)
    {
        return until([&] {
            if (!level(group))
                return false;
            uint64_t digest = 0;
            for (int i = 0; i < layout.nodes; i++) {
                if (!alive(i))
                    continue;
                uint64_t d = status(i, group).digest;
                if (d == 0 || (digest != 0 && d != digest))
                    return false;
                digest = d;
            }
            return true;
        });
    }

    int port_base;

  private:
    int wait_role(int role, uint32_t group)
    {
        int found = 0;
        EXPECT_TRUE(until([&] { return (found = in_role(role, group)) >= 0; }))
            << "no node is in role " << role;
        return std::max(found, 0);
    }
};

/* A session of the ring kind, with helpers that turn the cluster meanwhile. */
struct Client {
    Cluster &cluster;
    tr_session *session = nullptr;

    Client(Cluster &c, int node, uint32_t group = 0, uint64_t deadline_us = 0,
           uint32_t window = 1024)
        : cluster(c)
    {
        tr_session_options o = TR_SESSION_OPTIONS_INIT;
        o.deadline_us = deadline_us;
        o.window = window;
        EXPECT_EQ(tr_session_open(c.nodes[(size_t)node].group[group], &o, &session), 0);
    }
    ~Client()
    {
        tr_session_close(session);
    }
    Client(const Client &) = delete;
    Client &operator=(const Client &) = delete;

    int submit(uint64_t number)
    {
        return tr_submit(session, &number, sizeof(number), reinterpret_cast<void *>(number));
    }
    /* Submits, with back-pressure. */
    void must_submit(uint64_t number)
    {
        int status = 0;
        EXPECT_TRUE(cluster.until([&] {
            status = submit(number);
            return status != TR_AGAIN;
        }));
        EXPECT_EQ(status, 0);
    }
    /* The next completion. */
    bool next(tr_completion *out)
    {
        return cluster.until([&] { return tr_session_poll(session, out, 1) == 1; });
    }
};

} // namespace cluster

#endif
