/* Nothing is allocated after a node is open: whole nodes under load, with the allocator watched. */
#include "../conformance/allocations.h"
#include "remote_client.h"

using cluster::Cluster;
using cluster::Layout;
using cluster::Remote;

namespace
{

/* Three nodes with one session each; what it does with them allocates nothing itself. */
struct Load {
    explicit Load(Cluster &c) : cluster(c)
    {
        for (int i = 0; i < 3; i++) {
            tr_session_options o = TR_SESSION_OPTIONS_INIT;
            o.window = 64;
            EXPECT_EQ(tr_session_open(c.nodes[(size_t)i].group[0], &o, &session[i]), 0);
        }
    }
    ~Load()
    {
        for (tr_session *s : session)
            tr_session_close(s);
    }
    Load(const Load &) = delete;
    Load &operator=(const Load &) = delete;

    /* Runs so many commands and reads through each. Returns false after a generous time. */
    bool run(uint64_t count)
    {
        uint64_t end = cluster::now_ms() + 60000;
        uint64_t done[3] = {}, sent[3] = {};
        while (done[0] < count || done[1] < count || done[2] < count) {
            for (int i = 0; i < 3; i++) {
                while (sent[i] < count && submit(i, sent[i]) == 0)
                    sent[i]++;
                tr_completion out[64];
                done[i] += tr_session_poll(session[i], out, 64);
            }
            for (cluster::Node &n : cluster.nodes)
                tr_poll(n.node);
            if (cluster::now_ms() > end)
                return false;
        }
        return true;
    }
    int submit(int i, uint64_t number)
    {
        return number % 10 == 9 ? tr_read(session[i], "?", 1, nullptr)
                                : tr_submit(session[i], &number, sizeof(number), nullptr);
    }
    Cluster &cluster;
    tr_session *session[3] = {};
};

class Allocation : public ::testing::TestWithParam<const char *>
{
};

TEST_P(Allocation, NoneAfterOpenWhileCommandsRunAndTheLogWraps)
{
    Layout l;
    l.driver = GetParam();
    l.log_slots = 1024;
    l.log_bytes = 1 << 20;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    Load load(c);
    ASSERT_TRUE(load.run(100)); /* the test's own buffers, of gtest too */
    uint64_t snapshots = c.status(0).snapshots_made;
    uint64_t taken = 0;
    size_t memory = tr_node_memory_bytes(c.nodes[0].node);
    bool ran;
    {
        conformance::AllocationCount count;
        ran = load.run(20000);
        taken = count.since_made();
    }
    ASSERT_TRUE(ran);
    EXPECT_EQ(taken, 0u);
    EXPECT_GT(c.status(0).snapshots_made, snapshots);
    EXPECT_EQ(tr_node_memory_bytes(c.nodes[0].node), memory);
}

/* Also while a remote client is let in, and while it sends. */
TEST_P(Allocation, NoneWhileARemoteClientAttachesAndSends)
{
    Layout l;
    l.driver = GetParam();
    l.clients = true;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    Load load(c);
    ASSERT_TRUE(load.run(100));
    Remote r(c);
    ASSERT_EQ(r.opened, 0) << r.error;
    size_t memory = tr_node_memory_bytes(c.nodes[0].node);
    uint64_t end = cluster::now_ms() + 60000, sent = 0, done = 0, taken = 0;
    {
        conformance::AllocationCount count;
        while (done < 5000 && cluster::now_ms() < end) {
            tr_completion out[64];
            while (sent < 5000 && r.submit(sent) == 0)
                sent++;
            done += tr_client_poll(r.client, out, 64);
            for (cluster::Node &n : c.nodes)
                tr_poll(n.node);
        }
        taken = count.since_made();
    }
    EXPECT_EQ(done, 5000u);
    EXPECT_EQ(taken, 0u);
    EXPECT_EQ(tr_node_memory_bytes(c.nodes[0].node), memory);
}

INSTANTIATE_TEST_SUITE_P(Drivers, Allocation, ::testing::Values("loop", "shm", "udp"),
                         [](const auto &driver) { return std::string(driver.param); });

TEST(AllocationCount, SeesAnAllocation)
{
    conformance::AllocationCount count;
    void *volatile at = malloc(100); /* kept from the optimiser */
    free(at);
    EXPECT_EQ(count.since_made(), count.works() ? 1u : 0u);
}

} // namespace
