/* Whole nodes, three in one process: commands go in, replies come out, replicas agree. */
#include "cluster_fixture.h"

using cluster::Client;
using cluster::Cluster;
using cluster::Layout;

struct Case {
    const char *driver;
    const char *one_sided;
    bool threads;
};

static std::string name_of(const ::testing::TestParamInfo<Case> &info)
{
    std::string name = info.param.driver;
    name += std::string(info.param.one_sided) == "auto" ? "_auto" : "_messages";
    return name + (info.param.threads ? "_threads" : "_polled");
}

class ClusterOver : public ::testing::TestWithParam<Case>
{
  protected:
    Layout layout() const
    {
        Layout s;
        s.driver = GetParam().driver;
        s.one_sided = GetParam().one_sided;
        s.threads = GetParam().threads;
        return s;
    }
};

TEST_P(ClusterOver, CommandsAreAppliedInOrderOnEveryReplica)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Client client(c, c.leader());
    uint64_t sum = 0;
    for (uint64_t i = 1; i <= 300; i++) {
        tr_completion done;
        client.must_submit(i);
        ASSERT_TRUE(client.next(&done));
        sum += i;
        uint64_t reply = 0;
        ASSERT_EQ(done.status, 0);
        ASSERT_EQ(done.sequence, i);
        ASSERT_EQ(done.user, reinterpret_cast<void *>(i));
        ASSERT_EQ(done.reply_bytes, 8u);
        memcpy(&reply, done.reply, 8);
        ASSERT_EQ(reply, sum);
    }
    ASSERT_TRUE(c.agree());
    for (auto &n : c.nodes) {
        EXPECT_EQ(n.machine[0]->sum, sum);
        EXPECT_EQ(n.machine[0]->count, 300u);
    }
}

INSTANTIATE_TEST_SUITE_P(Drivers, ClusterOver,
                         ::testing::Values(Case{"loop", "auto", false}, Case{"loop", "off", false},
                                           Case{"loop", "auto", true}, Case{"shm", "auto", false},
                                           Case{"shm", "off", false}, Case{"shm", "auto", true},
                                           Case{"udp", "auto", false}, Case{"udp", "auto", true}),
                         name_of);
