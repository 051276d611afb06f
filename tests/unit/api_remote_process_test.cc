/* A remote client of nodes that are processes, which are killed and stopped under its pipeline. */
#include "tests/unit/remote_client.h"

#include <csignal>
#include <fcntl.h>
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

/* What a driver wants of nodes and clients beside their addresses: verbs a file with a key each,
 * and of a client which device is its own. */
class Wants
{
  public:
    explicit Wants(const std::string &driver)
    {
        if (driver != "verbs")
            return;
        std::string path = ::testing::TempDir() + "remote." + std::to_string(getpid());
        node_ = "key=" + put_key(path + ".key", '7') + ",client_key=";
        client_ = "client_key=" + put_key(path + ".client", '8');
        node_ += files_.back();
        address_ = "10.77.0.4:0";
    }
    ~Wants()
    {
        for (const std::string &file : files_)
            unlink(file.c_str());
    }
    Wants(const Wants &) = delete;
    Wants &operator=(const Wants &) = delete;

    void fill(Layout &l) const
    {
        if (!node_.empty())
            l.driver_options = [this](int) { return node_; };
    }
    void fill(tr_client_options &o) const
    {
        o.driver_options = client_.empty() ? nullptr : client_.c_str();
        o.address = address_.empty() ? nullptr : address_.c_str();
    }

  private:
    const std::string &put_key(const std::string &path, char digit)
    {
        int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        const std::string digits(64, digit);
        EXPECT_EQ(write(file, digits.data(), digits.size()), 64);
        close(file);
        files_.push_back(path);
        return files_.back();
    }

    std::vector<std::string> files_;
    std::string node_, client_, address_;
};

/* Waits until a node takes part again: until then only two remember, and none of them may stop. */
bool has_recovered(Cluster &c, int node, const Wants &wants)
{
    Remote one(c, [&](tr_client_options &o) {
        wants.fill(o);
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
    Wants wants(l.driver);
    wants.fill(l);
    Cluster c(l);
    Processes nodes(c);
    Remote r(c, [&](tr_client_options &o) { wants.fill(o); });
    ASSERT_EQ(r.opened, 0) << r.error;
    Adder adder(r);
    ASSERT_TRUE(adder.run_to(2000));
    int leader = r.status().node - 1;
    nodes.kill_node(leader);
    ASSERT_TRUE(adder.run_to(4000));
    nodes.start(leader);
    ASSERT_TRUE(has_recovered(c, leader, wants));
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

/* In a machine that has a device for each node and the client (tests/vm). */
std::vector<const char *> over_rdma()
{
    return access("/sys/class/infiniband/rxe3", F_OK) == 0 ? std::vector<const char *>{"verbs"}
                                                           : std::vector<const char *>{};
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(RemoteProcesses);
INSTANTIATE_TEST_SUITE_P(Rdma, RemoteProcesses, ::testing::ValuesIn(over_rdma()));

} // namespace
