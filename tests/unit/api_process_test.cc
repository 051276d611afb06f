/* How the library behaves in its process: signals, forks, options of other versions, log lines. */
#include "cluster_fixture.h"
#include "trireme/stat.h"

#include <csignal>
#include <dirent.h>
#include <fstream>
#include <sys/wait.h>

using cluster::Cluster;
using cluster::Layout;
using cluster::Machine;

/* The masks of blocked signals of this process's threads whose names begin so. */
static std::vector<uint64_t> blocked_of(const std::string &name)
{
    std::vector<uint64_t> masks;
    DIR *tasks = opendir("/proc/self/task");
    while (struct dirent *task = readdir(tasks)) {
        std::ifstream status(std::string("/proc/self/task/") + task->d_name + "/status");
        std::string word, value;
        bool wanted = false;
        while (status >> word >> value) {
            wanted |= word == "Name:" && value.compare(0, name.size(), name) == 0;
            if (word == "SigBlk:" && wanted)
                masks.push_back(std::stoull(value, nullptr, 16));
            status.ignore(4096, '\n');
        }
    }
    closedir(tasks);
    return masks;
}

static bool has(uint64_t mask, int signal)
{
    return (mask >> (signal - 1) & 1) != 0;
}

TEST(Process, SignalsAreLeftToTheApplicationsThreads)
{
    Layout l;
    l.threads = true;
    l.nodes = 1;
    struct sigaction before[NSIG], after;
    for (int s = 1; s < NSIG; s++)
        sigaction(s, nullptr, &before[s]);
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    std::vector<uint64_t> masks = blocked_of("tr-1.");
    ASSERT_EQ(masks.size(), 1u);
    for (int s : {SIGINT, SIGTERM, SIGUSR1, SIGALRM, SIGCHLD, SIGPIPE})
        EXPECT_TRUE(has(masks[0], s)) << s;
    for (int s : {SIGSEGV, SIGBUS, SIGPROF})
        EXPECT_FALSE(has(masks[0], s)) << s;
    for (int s = 1; s < NSIG; s++) {
        if (sigaction(s, nullptr, &after) == 0) {
            EXPECT_EQ(after.sa_handler, before[s].sa_handler) << "a handler of signal " << s;
        }
    }
}

/* A child opens a node of its own while its parent's goes on. */
TEST(Process, AForkedChildOpensItsOwnNodeAndTheParentsGoesOn)
{
    Layout l;
    l.driver = "shm";
    l.threads = true;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        Layout own;
        own.driver = "shm";
        own.nodes = 1;
        bool good = true;
        {
            Cluster mine(own);
            cluster::Client client(mine, 0);
            tr_completion done;
            good = mine.wait_leader() && client.submit(7) == 0 && client.next(&done) &&
                   done.status == 0;
        }
        _exit(good ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    cluster::Client client(c, c.follower());
    tr_completion done;
    client.must_submit(3);
    ASSERT_TRUE(client.next(&done));
    EXPECT_EQ(done.status, 0);
}

static tr_node_options options_of(const tr_peer *peer, void *fabric)
{
    tr_node_options o = TR_NODE_OPTIONS_INIT;
    o.node = 1;
    o.peers = peer;
    o.peer_count = 1;
    o.driver = "loop";
    o.fabric = fabric;
    o.counters = "";
    return o;
}

TEST(Options, OfAnOlderCallerKeepTheirDefaultsAndThoseOfANewerAreRefusedWhereUsed)
{
    const tr_peer peer = {1, "loop:a"};
    void *fabric = tr_fabric_create();
    char error[256] = "";
    tr_node *node = nullptr;
    struct {
        tr_node_options known;
        uint64_t later;
    } newer = {options_of(&peer, fabric), 0};
    newer.known.struct_bytes = sizeof(newer);
    ASSERT_EQ(tr_node_open(&newer.known, &node, error, sizeof(error)), 0) << error;
    tr_node_close(node);
    newer.later = 1;
    node = nullptr;
    EXPECT_EQ(tr_node_open(&newer.known, &node, error, sizeof(error)), TR_EINVAL);
    EXPECT_NE(std::string(error).find("struct_bytes"), std::string::npos) << error;
    EXPECT_EQ(node, nullptr) << "outputs are written on success only";

    tr_node_options older = options_of(&peer, fabric);
    older.struct_bytes = offsetof(tr_node_options, log);
    older.log = reinterpret_cast<tr_log_fn>(1); /* not there in its version: not to be called */
    ASSERT_EQ(tr_node_open(&older, &node, error, sizeof(error)), 0) << error;
    tr_node_close(node);
    older.struct_bytes = 0;
    EXPECT_EQ(tr_node_open(&older, &node, error, sizeof(error)), TR_EINVAL);
    tr_fabric_destroy(fabric);
}

TEST(Options, OfAStateMachineWithoutItsSizeAreRefused)
{
    const tr_peer peer = {1, "loop:a"};
    void *fabric = tr_fabric_create();
    tr_node_options o = options_of(&peer, fabric);
    tr_group_options g = TR_GROUP_OPTIONS_INIT;
    Machine machine;
    char error[256] = "";
    tr_node *node = nullptr;
    tr_group *group = nullptr;
    ASSERT_EQ(tr_node_open(&o, &node, error, sizeof(error)), 0) << error;
    g.machine = machine.table();
    g.machine.struct_bytes = 0;
    EXPECT_EQ(tr_group_open(node, &g, &group, error, sizeof(error)), TR_EINVAL);
    EXPECT_NE(std::string(error).find("machine.struct_bytes"), std::string::npos) << error;
    g.machine = machine.table();
    EXPECT_EQ(tr_group_open(node, &g, &group, error, sizeof(error)), 0) << error;
    tr_node_close(node);
    tr_fabric_destroy(fabric);
}

/* A counter of a node of the cluster. */
static uint64_t counter_of(const Cluster &c, int node, const char *name)
{
    std::string segment = "test" + c.tag + "." + std::to_string(node + 1);
    tr_stat *stat = nullptr;
    struct tr_stat_row row;
    uint64_t value = 0;
    EXPECT_EQ(tr_stat_open(segment.c_str(), &stat, nullptr, 0), 0) << segment;
    for (uint32_t i = 0; stat != nullptr && tr_stat_row(stat, i, &row) == 0; i++)
        if (std::string(row.name) == name)
            value += row.value;
    tr_stat_close(stat);
    return value;
}

/* Session tables of different sizes evict differently: the replicas would come apart. */
TEST(Options, OfAGroupThatDifferBetweenNodesKeepThemApart)
{
    const Layout alike;
    Layout other[5] = {alike, alike, alike, alike, alike};
    other[0].sessions_max *= 2;
    other[1].reply_cache_bytes *= 2;
    other[2].reply_bytes_max = 1024;
    other[3].batch /= 2;
    other[4].lease_us = 1000;
    Cluster c(alike);
    ASSERT_TRUE(c.wait_leader());
    for (const Layout &layout : other) {
        uint64_t before = counter_of(c, 0, "dropped_cluster");
        c.close(2);
        c.layout = layout;
        c.open(2);
        ASSERT_TRUE(c.until([&] { return counter_of(c, 0, "dropped_cluster") != before; }));
        EXPECT_EQ(c.status(2).role, TR_ROLE_RECOVERING);
        c.close(2);
        c.layout = alike;
        c.open(2);
        ASSERT_TRUE(c.agree()) << "with the same options it recovers";
    }
}

/* Lines that came to the log callback, by level. */
struct Lines {
    std::vector<std::string> of[TR_LOG_DEBUG + 1];

    static void write(void *context, tr_log_level level, const char *line)
    {
        static_cast<Lines *>(context)->of[level].push_back(line);
    }
};

TEST(Log, LinesComeToTheCallbackUpToTheLevel)
{
    const tr_peer peer = {1, "loop:a"};
    void *fabric = tr_fabric_create();
    for (tr_log_level level : {TR_LOG_ERROR, TR_LOG_INFO}) {
        Lines lines;
        tr_node *node = nullptr;
        tr_node_options o = options_of(&peer, fabric);
        o.log = Lines::write;
        o.log_context = &lines;
        o.log_level = level;
        ASSERT_EQ(tr_node_open(&o, &node, nullptr, 0), 0);
        tr_node_close(node);
        EXPECT_EQ(lines.of[TR_LOG_INFO].empty(), level == TR_LOG_ERROR);
        for (const std::string &line : lines.of[TR_LOG_INFO])
            EXPECT_EQ(line.compare(0, 11, "trireme.1: "), 0) << line;
    }
    tr_fabric_destroy(fabric);
}

TEST(Version, OfTheLibraryIsThatOfTheHeader)
{
    std::string header = std::to_string(TR_VERSION_MAJOR) + "." + std::to_string(TR_VERSION_MINOR) +
                         "." + std::to_string(TR_VERSION_PATCH);
    EXPECT_EQ(tr_version(), header);
}

TEST(Node, IsEitherPolledOrStarted)
{
    const tr_peer peer = {1, "loop:a"};
    void *fabric = tr_fabric_create();
    tr_node *node = nullptr;
    tr_node_options o = options_of(&peer, fabric);
    tr_group_options g = TR_GROUP_OPTIONS_INIT;
    Machine machine;
    tr_group *group = nullptr;
    g.machine = machine.table();
    ASSERT_EQ(tr_node_open(&o, &node, nullptr, 0), 0);
    tr_poll(node);
    EXPECT_EQ(tr_node_start(node), TR_EPERM);
    EXPECT_EQ(tr_group_open(node, &g, &group, nullptr, 0), TR_EBUSY) << "the memory is sealed";
    tr_node_close(node);
    tr_fabric_destroy(fabric);
}
