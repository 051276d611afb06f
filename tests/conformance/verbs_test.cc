// Connections over RDMA that break while both processes live: made anew, nothing lost, nobody else
// disturbed.
#include "suite.h"

#include <cstdlib>

namespace conformance
{

class Verbs : public Conformance
{
  protected:
    void TearDown() override
    {
        join();
        Conformance::TearDown();
    }

    // What node 1 sends to node 2 by RDMA goes to a neighbour that is not there; TCP goes on.
    static void cut()
    {
        neighbour("02:00:00:77:00:63");
    }

    static void join()
    {
        neighbour("02:00:00:77:00:02");
    }

  private:
    static void neighbour(const std::string &address)
    {
        std::string command = "/usr/sbin/ip neigh replace 10.77.0.2 lladdr " + address;
        ASSERT_EQ(system((command + " dev rn0 nud permanent").c_str()), 0);
    }
};

TEST_P(Verbs, BrokenConnectionIsMadeAnewAndLosesNothing)
{
    auto ports = open_all(3);
    Port &from = *ports[0], &to = *ports[1], &third = *ports[2];
    std::vector<Port *> all = {&from, &to, &third};
    tr_ring_info ring = to.ring_create(1, 16384);
    uint32_t remote = UINT32_MAX;
    tr_ring_token token = to.ring_grant(ring.ring, 7);
    ASSERT_EQ(remote_open(from, to, token, 7, &remote), TR_OK);
    ASSERT_EQ(write(from, to, remote, 0, pattern(64, 1)), TR_WRITE_OK);
    uint64_t sent = 0;
    for (unsigned lap = 0; lap < 3; lap++) {
        cut();
        for (unsigned i = 0; i < 50; i++, sent++) {
            ASSERT_TRUE(until(all, [&] { return from.send(2, pattern(100 + i, sent)); }));
        }
        if (lap == 0) { // as long as it takes until the device has given up
            EXPECT_EQ(write(from, to, remote, 64, pattern(64, 2)), TR_WRITE_BROKEN);
        } else {
            rounds(all, 20000);
        }
        EXPECT_TRUE(deliver(from, third, pattern(300, lap))) << "another peer is not disturbed";
        join();
        ASSERT_TRUE(until(all, [&] { return to.inbox.size() == sent; }));
        EXPECT_TRUE(deliver(to, from, pattern(200, lap)));
    }
    rounds(all, 2000);
    ASSERT_EQ(to.inbox.size(), sent);
    for (uint64_t i = 0; i < sent; i++) {
        EXPECT_EQ(to.inbox[i].bytes, pattern(100 + i % 50, i)) << "message " << i;
    }
    for (Port *port : all) {
        EXPECT_TRUE(port->events.empty()) << "nobody is dead";
    }
    // The ring that broke is closed to its writer until it is granted again.
    EXPECT_EQ(write(from, to, remote, 64, pattern(64, 3)), TR_WRITE_BROKEN);
    ASSERT_TRUE(fence(to, ring.ring, {&from}));
    from.driver->remote_close(from.raw(), remote);
    token = to.ring_grant(ring.ring, 8);
    ASSERT_EQ(remote_open(from, to, token, 8, &remote), TR_OK);
    EXPECT_EQ(write(from, to, remote, 0, pattern(64, 4)), TR_WRITE_OK);
    EXPECT_EQ(to.ring_read(ring, 0, 64), pattern(64, 4));
}

static std::vector<Subject> over_rdma()
{
    std::vector<Subject> out;
    for (const Subject &subject : subjects()) {
        if (subject.name.rfind("verbs", 0) == 0)
            out.push_back(subject);
    }
    return out;
}

// Where there are no devices there is nothing to run.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Verbs);
INSTANTIATE_TEST_SUITE_P(Drivers, Verbs, ::testing::ValuesIn(over_rdma()), subject_name);

} // namespace conformance
