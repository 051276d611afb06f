/* Remote clients of whole clusters, over every driver that joins them in one process. */
#include "tests/unit/remote_client.h"

namespace
{

using namespace cluster;

class RemoteOver : public ::testing::TestWithParam<const char *>
{
  protected:
    Layout layout()
    {
        Layout l;
        l.driver = GetParam();
        l.clients = true;
        return l;
    }
};

TEST_P(RemoteOver, ACommandIsAppliedAndItsReplyComesBack)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Remote r(c);
    ASSERT_EQ(r.opened, 0) << r.error;
    ASSERT_EQ(r.submit(7), 0);
    tr_completion done;
    ASSERT_TRUE(r.next(&done));
    EXPECT_EQ(done.status, 0);
    EXPECT_EQ(done.sequence, 1u);
    EXPECT_EQ(sum_of(done), 7u);
    EXPECT_NE(done.slot, 0u);
    ASSERT_TRUE(c.agree());
    for (Node &n : c.nodes) {
        EXPECT_EQ(n.machine[0]->count, 1u);
        EXPECT_EQ(n.machine[0]->origin_last, 0u);
    }
}

INSTANTIATE_TEST_SUITE_P(Drivers, RemoteOver, ::testing::Values("loop", "shm", "udp"));

} // namespace
