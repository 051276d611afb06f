// Whole clusters of production nodes in a simulated world: one thread, virtual time, everything
// from the seed. Messages are lost, copied, damaged, reordered and cut off; one-sided writes land
// torn, late or not at all; nodes crash with the loss of their memory and come back.
//
// Checked all the time: every replica applies the same commands in the same order, none twice; a
// command that was acknowledged is there, with the reply that it got; a read sees everything that
// was acknowledged before it began. What the clients were answered is linearizable. Then the faults
// stop, and within a bounded virtual time every replica must have applied everything that was
// acknowledged, and new commands must go through.

#include "base/prng.h"
#include "dataplane/node.h"
#include "drivers/sim/sim.h"
#include "tests/sim/recorded.h"
#include "trireme/trireme.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace
{

constexpr uint64_t kStepNs = 2000;
constexpr uint64_t kFaultsNs = 150 * 1000000ull;
constexpr uint64_t kCalmNs = 400 * 1000000ull; // bound of the return of liveness
constexpr size_t kFlightMax = 16;              // commands of a client under way

// What all replicas together must agree on: the commands in the order of their application.
struct Journal {
    std::vector<uint64_t> commands;
    std::set<uint64_t> seen;
};

// A state machine that appends a number to a journal and replies with its place.
struct Machine {
    Journal *journal = nullptr;
    uint64_t count = 0;

    static void apply(void *context, uint64_t, const tr_command *commands, uint32_t count,
                      tr_replies *replies)
    {
        Machine *m = static_cast<Machine *>(context);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t number = 0;
            ASSERT_EQ(commands[i].bytes, sizeof(number));
            memcpy(&number, commands[i].data, sizeof(number));
            if (m->count == m->journal->commands.size()) {
                ASSERT_TRUE(m->journal->seen.insert(number).second) << "applied twice: " << number;
                m->journal->commands.push_back(number);
            }
            ASSERT_EQ(m->journal->commands[m->count], number) << "replicas differ at " << m->count;
            m->count++;
            tr_replies_set(replies, i, &m->count, sizeof(m->count));
        }
    }
    static int read(void *context, const void *, uint32_t, tr_reply *reply)
    {
        Machine *m = static_cast<Machine *>(context);
        return tr_reply_set(reply, &m->count, sizeof(m->count));
    }
    static int snapshot(void *context, tr_writer *writer)
    {
        Machine *m = static_cast<Machine *>(context);
        return tr_writer_put(writer, &m->count, sizeof(m->count));
    }
    static int restore(void *context, tr_reader *reader)
    {
        Machine *m = static_cast<Machine *>(context);
        return tr_reader_get(reader, &m->count, sizeof(m->count));
    }
};

// Memory of the world: lives as long as the test.
struct Blocks {
    std::vector<void *> all;
    ~Blocks()
    {
        for (void *block : all)
            std::free(block);
    }
    static void *allocate(void *context, size_t bytes, size_t align)
    {
        void *block = std::aligned_alloc(align, (bytes + align - 1) / align * align);
        static_cast<Blocks *>(context)->all.push_back(block);
        return block;
    }
};

struct Cluster;

struct Member {
    Cluster *cluster = nullptr;
    uint16_t id = 0;
    uint32_t lives = 0;
    Machine machine;
    tr_node *node = nullptr;
    tr_group *group = nullptr;
    tr_session *session = nullptr;
    uint64_t next = 0;
    struct Read {
        uint64_t floor;
        size_t recorded;
    };
    std::deque<Read> reads;
    std::map<uint64_t, size_t> recorded; // of the commands under way

    bool up() const
    {
        return node != nullptr;
    }
    void boot();
    void crash();
    void load(bool calm);
    void collect();
    struct tr_group_status standing() const
    {
        struct tr_group_status s;
        tr_group_status(group, &s);
        return s;
    }
};

struct Cluster {
    uint64_t seed;
    tr_prng random;
    Blocks blocks;
    tr_sim_world *world = nullptr;
    uint64_t now_ns = 1000000;
    Journal journal;
    Recorded recorded;
    uint64_t acked = 0; // highest place that any client was told
    uint64_t completed = 0, unknown = 0, reads = 0, crashes = 0;
    bool one_sided;
    std::vector<std::string> addresses;
    std::vector<std::unique_ptr<Member>> members;

    explicit Cluster(uint64_t a_seed) : seed(a_seed)
    {
        tr_prng_seed(&random, seed);
        tr_sim_options options = {};
        options.struct_bytes = sizeof(options);
        options.seed = seed;
        options.profile = tr_sim_profile_drawn(seed);
        options.memory.context = &blocks;
        options.memory.allocate = Blocks::allocate;
        EXPECT_EQ(tr_sim_world_create(&options, &world), TR_OK);
        tr_sim_advance(world, now_ns);
        one_sided = below(2) == 0;
        size_t count = below(2) == 0 ? 3 : 5;
        for (size_t i = 0; i < count; i++)
            addresses.push_back("sim:node" + std::to_string(i + 1));
        for (size_t i = 0; i < count; i++) {
            members.push_back(std::make_unique<Member>());
            members.back()->cluster = this;
            members.back()->id = static_cast<uint16_t>(i + 1);
            members.back()->boot();
        }
    }

    ~Cluster()
    {
        for (auto &m : members)
            m->crash();
        tr_sim_world_destroy(world);
    }

    uint64_t below(uint64_t bound)
    {
        return tr_prng_below(&random, bound);
    }

    void step()
    {
        now_ns += kStepNs;
        tr_sim_advance(world, now_ns);
        for (auto &m : members) {
            if (m->up()) {
                tr_poll(m->node);
                m->collect();
            }
        }
    }

    // A crash forgets: only while every other member has its memory (level memory allows no more).
    bool all_remember() const
    {
        for (const auto &m : members) {
            if (!m->up() || m->standing().role == TR_ROLE_RECOVERING)
                return false;
        }
        return true;
    }

    void fault()
    {
        size_t count = members.size();
        if (below(6000) == 0 && all_remember()) {
            members[below(count)]->crash();
            crashes++;
        }
        if (below(2000) == 0) {
            for (auto &m : members) {
                if (!m->up())
                    m->boot();
            }
        }
        if (below(6000) == 0) {
            auto from = static_cast<tr_node_id>(1 + below(count));
            auto to = static_cast<tr_node_id>(1 + below(count));
            tr_sim_partition(world, from, to, true);
            if (below(2) == 0)
                tr_sim_partition(world, to, from, true);
        }
        if (below(4000) == 0)
            tr_sim_heal_all(world);
    }

    void calm()
    {
        tr_sim_profile profile = tr_sim_profile_calm();
        tr_sim_set_profile(world, &profile);
        tr_sim_heal_all(world);
        for (auto &m : members) {
            if (!m->up())
                m->boot();
        }
    }

    bool level() const
    {
        for (const auto &m : members) {
            if (m->machine.count != journal.commands.size() || tr_session_pending(m->session) != 0)
                return false;
        }
        return true;
    }
};

void Member::boot()
{
    std::vector<tr_peer> peers;
    for (size_t i = 0; i < cluster->addresses.size(); i++)
        peers.push_back({static_cast<uint16_t>(i + 1), cluster->addresses[i].c_str()});
    char error[256] = "";
    lives++;
    machine = Machine();
    machine.journal = &cluster->journal;
    reads.clear();
    recorded.clear(); // nobody will tell what became of them

    tr_node_options options = TR_NODE_OPTIONS_INIT;
    options.node = id;
    options.peers = peers.data();
    options.peer_count = static_cast<uint32_t>(peers.size());
    options.driver = "sim";
    options.fabric = cluster->world;
    options.counters = "";
    options.seed = cluster->below(UINT64_MAX - 1) + 1;
    options.message_bytes_max = 4096;
    ASSERT_EQ(tr_node_open(&options, &node, error, sizeof(error)), 0) << error;
    tr_node_follow(node, &cluster->now_ns);

    tr_group_options group_options = TR_GROUP_OPTIONS_INIT;
    group_options.machine.struct_bytes = sizeof(group_options.machine);
    group_options.machine.context = &machine;
    group_options.machine.apply = Machine::apply;
    group_options.machine.read = Machine::read;
    group_options.machine.snapshot = Machine::snapshot;
    group_options.machine.restore = Machine::restore;
    group_options.log_slots = 1024;
    group_options.log_bytes = 1u << 20;
    group_options.batch_commands_max = 8;
    group_options.sessions_max = 64;
    group_options.reply_cache_bytes = 1u << 16;
    group_options.snapshot_bytes_max = 1u << 20;
    group_options.election_timeout_us = 1000;
    group_options.heartbeat_us = 100;
    group_options.one_sided = cluster->one_sided ? "auto" : "off";
    ASSERT_EQ(tr_group_open(node, &group_options, &group, error, sizeof(error)), 0) << error;

    tr_session_options session_options = TR_SESSION_OPTIONS_INIT;
    session_options.window = 64;
    session_options.queue_bytes = 1u << 16;
    ASSERT_EQ(tr_session_open(group, &session_options, &session), 0);
}

void Member::crash()
{
    if (!up())
        return;
    tr_sim_crash(cluster->world, id);
    tr_node_close(node);
    tr_session_close(session); /* outlives its node */
    node = nullptr;
    group = nullptr;
    session = nullptr;
}

void Member::load(bool calm)
{
    if (!up() || tr_session_pending(session) >= kFlightMax || cluster->below(calm ? 40 : 4) != 0)
        return;
    uint32_t client = static_cast<uint32_t>(id) << 16 | lives;
    if (cluster->below(4) == 0) {
        if (tr_read(session, "", 0, nullptr) == 0) {
            size_t at = cluster->recorded.begin(client, TR_LIN_GET, cluster->now_ns);
            reads.push_back({cluster->acked, at});
        }
        return;
    }
    uint64_t number = static_cast<uint64_t>(id) << 48 | static_cast<uint64_t>(lives) << 32 | ++next;
    if (tr_submit(session, &number, sizeof(number), reinterpret_cast<void *>(number)) != 0)
        next--;
    else
        recorded[number] = cluster->recorded.begin(client, TR_LIN_INCR, cluster->now_ns);
}

void Member::collect()
{
    tr_completion done[32];
    uint32_t count = tr_session_poll(session, done, 32);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t place = 0;
        if (done[i].status != 0) {
            cluster->unknown++;
            ASSERT_TRUE(done[i].status == TR_ESESSION || done[i].status == TR_EUNKNOWN)
                << tr_strerror(done[i].status);
            continue;
        }
        ASSERT_EQ(done[i].reply_bytes, sizeof(place));
        memcpy(&place, done[i].reply, sizeof(place));
        if (done[i].sequence == 0) {
            ASSERT_FALSE(reads.empty());
            ASSERT_GE(place, reads.front().floor) << "stale read at node " << id;
            cluster->recorded.end(reads.front().recorded, place, cluster->now_ns);
            reads.pop_front();
            cluster->reads++;
            continue;
        }
        ASSERT_GE(place, 1u);
        ASSERT_LE(place, cluster->journal.commands.size());
        ASSERT_EQ(cluster->journal.commands[place - 1], reinterpret_cast<uint64_t>(done[i].user));
        uint64_t number = reinterpret_cast<uint64_t>(done[i].user);
        cluster->recorded.end(recorded.at(number), place, cluster->now_ns);
        recorded.erase(number);
        cluster->acked = std::max(cluster->acked, place);
        cluster->completed++;
    }
}

class SimLinear : public ::testing::TestWithParam<uint64_t>
{
};

TEST_P(SimLinear, AgreesUnderFaultsAndComesBackWhenTheyStop)
{
    Cluster c(GetParam());
    while (c.now_ns < kFaultsNs && !HasFailure()) {
        c.step();
        c.fault();
        for (auto &m : c.members)
            m->load(false);
    }
    ASSERT_FALSE(HasFailure()) << "seed " << c.seed;
    c.calm();
    uint64_t acked = c.acked;
    uint64_t until_ns = c.now_ns + kCalmNs;
    while (c.now_ns < until_ns && !HasFailure() && !(c.level() && c.acked > acked)) {
        c.step();
        if (c.acked <= acked) {
            for (auto &m : c.members)
                m->load(true);
        }
    }
    ASSERT_FALSE(HasFailure()) << "seed " << c.seed;
    for (auto &m : c.members) {
        EXPECT_EQ(m->machine.count, c.journal.commands.size())
            << "seed " << c.seed << " node " << m->id << " role " << m->standing().role;
        EXPECT_EQ(tr_session_pending(m->session), 0u) << "seed " << c.seed << " node " << m->id;
    }
    EXPECT_GT(c.acked, acked) << "seed " << c.seed << ": nothing goes through any more";
    EXPECT_GT(c.completed, 100u) << "seed " << c.seed;
    EXPECT_EQ(c.recorded.complaint(), "") << "seed " << c.seed;
    ASSERT_TRUE(c.recorded.falsify());
    EXPECT_NE(c.recorded.complaint(), "") << "a stale read was not noticed";
    const tr_sim_counters *n = tr_sim_world_counters(c.world);
    printf("seed %llu: %zu nodes, %s, %llu commands, %llu reads, %llu crashes, %llu datagrams "
           "(%llu lost), %llu writes (%llu torn)\n",
           (unsigned long long)c.seed, c.members.size(), c.one_sided ? "one-sided" : "messages",
           (unsigned long long)c.completed, (unsigned long long)c.reads,
           (unsigned long long)c.crashes, (unsigned long long)n->datagrams,
           (unsigned long long)n->dropped, (unsigned long long)n->writes,
           (unsigned long long)n->writes_torn);
}

std::vector<uint64_t> seeds()
{
    const char *from = std::getenv("TRIREME_SIM_SEED");
    const char *count = std::getenv("TRIREME_SIM_SEEDS");
    uint64_t first = from != nullptr ? std::strtoull(from, nullptr, 10) : 1;
    uint64_t n = count != nullptr ? std::strtoull(count, nullptr, 10) : (from != nullptr ? 1 : 12);
    std::vector<uint64_t> all;
    for (uint64_t i = 0; i < n; i++)
        all.push_back(first + i);
    return all;
}

INSTANTIATE_TEST_SUITE_P(Seeds, SimLinear, ::testing::ValuesIn(seeds()));

} // namespace
