/* A remote client of nodes that are processes, which are killed and stopped under its pipeline. */
#include "tests/unit/remote_client.h"

#include <csignal>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace
{

using namespace cluster;

/* Three nodes, a process each. */
class Processes
{
  public:
    explicit Processes(Cluster &c) : cluster_(c)
    {
        for (int i = 0; i < 3; i++)
            start(i);
    }
    ~Processes()
    {
        for (int i = 0; i < 3; i++)
            kill_node(i);
    }
    Processes(const Processes &) = delete;
    Processes &operator=(const Processes &) = delete;

    void start(int i)
    {
        child_[i] = fork();
        ASSERT_GE(child_[i], 0);
        if (child_[i] != 0)
            return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        cluster_.open(i);
        for (;;)
            pause();
    }
    void signal(int i, int number)
    {
        if (child_[i] > 0)
            kill(child_[i], number);
    }
    void kill_node(int i)
    {
        if (child_[i] <= 0)
            return;
        kill(child_[i], SIGKILL);
        waitpid(child_[i], nullptr, 0);
        child_[i] = 0;
    }

  private:
    Cluster &cluster_;
    pid_t child_[3] = {0, 0, 0};
};

/* Submits 1, 2, 3, ...; every reply has to be the sum so far, or a command was lost, applied twice
 * or out of order. Returns false after a minute without the completions. */
class Adder
{
  public:
    explicit Adder(Remote &r) : remote_(r) {}

    bool run_to(uint64_t completions)
    {
        uint64_t end = now_ms() + 60000;
        while (completed_ < completions) {
            tr_completion done[64];
            while (submitted_ < completions + 100 && remote_.submit(submitted_ + 1) == 0)
                submitted_++;
            uint32_t count = tr_client_wait(remote_.client, done, 64, 1000);
            for (uint32_t i = 0; i < count; i++) {
                sum_ += ++completed_;
                EXPECT_EQ(done[i].status, 0) << completed_;
                EXPECT_EQ(sum_of(done[i]), sum_) << completed_;
            }
            if (now_ms() > end || ::testing::Test::HasFailure())
                return false;
        }
        return true;
    }

  private:
    Remote &remote_;
    uint64_t submitted_ = 0, completed_ = 0, sum_ = 0;
};

/* Waits until a node takes part again: until then only two remember, and none of them may stop. */
bool has_recovered(Cluster &c, int node)
{
    Remote one(c, [&](tr_client_options &o) {
        o.nodes += node;
        o.node_count = 1;
    });
    tr_completion done;
    return one.opened == 0 && tr_client_read(one.client, nullptr, 0, nullptr) == 0 &&
           tr_client_wait(one.client, &done, 1, 60000000) == 1 && done.status == 0;
}

class RemoteProcesses : public ::testing::TestWithParam<const char *>
{
};

TEST_P(RemoteProcesses, KilledAndStoppedLeadersLoseNoCommandAndRepeatNone)
{
    Layout l;
    l.driver = GetParam();
    l.clients = true;
    l.threads = true;
    l.open_none = true;
    l.election_us = 100000;
    Cluster c(l);
    Processes nodes(c);
    Remote r(c);
    ASSERT_EQ(r.opened, 0) << r.error;
    Adder adder(r);
    ASSERT_TRUE(adder.run_to(2000));
    int leader = r.status().node - 1;
    nodes.kill_node(leader);
    ASSERT_TRUE(adder.run_to(4000));
    nodes.start(leader);
    ASSERT_TRUE(has_recovered(c, leader));
    ASSERT_TRUE(adder.run_to(6000));
    int second = r.status().node - 1;
    ASSERT_GE(second, 0);
    nodes.signal(second, SIGSTOP);
    ASSERT_TRUE(adder.run_to(8000));
    nodes.signal(second, SIGCONT); /* with commands of this session in its hands */
    ASSERT_TRUE(adder.run_to(10000));
    EXPECT_GE(r.status().attached, 2u);
}

INSTANTIATE_TEST_SUITE_P(Drivers, RemoteProcesses, ::testing::Values("udp", "shm"));

} // namespace
