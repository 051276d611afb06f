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

/* Many commands in flight, from the leader's node: batches, laps of the session's window. */
TEST_P(ClusterOver, ManyCommandsInFlightCompleteInTheOrderOfTheirSubmission)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Client client(c, c.leader(), 0, 0, 256);
    const uint64_t total = 20000;
    uint64_t submitted = 0, completed = 0, sum = 0;
    ASSERT_TRUE(c.until([&] {
        while (submitted < total && client.submit(submitted + 1) == 0)
            submitted++;
        tr_completion done[64];
        uint32_t n = tr_session_poll(client.session, done, 64);
        for (uint32_t i = 0; i < n; i++) {
            completed++;
            sum += completed;
            uint64_t reply = 0;
            EXPECT_EQ(done[i].sequence, completed);
            EXPECT_EQ(done[i].status, 0);
            memcpy(&reply, done[i].reply, 8);
            EXPECT_EQ(reply, sum);
        }
        return completed == total;
    }));
    EXPECT_EQ(tr_session_pending(client.session), 0u);
    ASSERT_TRUE(c.agree());
    for (auto &n : c.nodes)
        EXPECT_EQ(n.machine[0]->count, total);
}

TEST_P(ClusterOver, SessionsOnEveryNodeShareOneLog)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 2; k++)
            clients.push_back(std::make_unique<Client>(c, i));
    const uint64_t total = 500;
    std::vector<uint64_t> submitted(clients.size()), completed(clients.size());
    ASSERT_TRUE(c.until([&] {
        bool all = true;
        for (size_t k = 0; k < clients.size(); k++) {
            while (submitted[k] < total && clients[k]->submit(1) == 0)
                submitted[k]++;
            tr_completion done[64];
            uint32_t n = tr_session_poll(clients[k]->session, done, 64);
            for (uint32_t i = 0; i < n; i++) {
                EXPECT_EQ(done[i].status, 0);
                EXPECT_EQ(done[i].sequence, ++completed[k]);
            }
            all &= completed[k] == total;
        }
        return all;
    }));
    ASSERT_TRUE(c.agree());
    for (auto &n : c.nodes) {
        EXPECT_EQ(n.machine[0]->sum, total * clients.size());
        EXPECT_EQ(n.machine[0]->count, total * clients.size());
    }
}

/* A read on any node sees what was completed before it, anywhere. */
TEST_P(ClusterOver, ReadsSeeEveryCommandCompletedBefore)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Client writer(c, c.leader());
    Client reader(c, c.follower());
    uint64_t sum = 0;
    for (uint64_t i = 1; i <= 50; i++) {
        tr_completion done;
        writer.must_submit(i);
        ASSERT_TRUE(writer.next(&done));
        sum += i;
        for (Client *who : {&reader, &writer}) {
            uint64_t seen = 0;
            ASSERT_EQ(tr_read(who->session, "?", 1, &seen), 0);
            ASSERT_TRUE(who->next(&done));
            ASSERT_EQ(done.status, 0);
            ASSERT_EQ(done.user, &seen);
            ASSERT_EQ(done.sequence, 0u);
            memcpy(&seen, done.reply, 8);
            ASSERT_EQ(seen, sum);
        }
    }
}

/* A read sees the session's own commands submitted before it, completed or not. */
TEST_P(ClusterOver, ReadsSeeTheirOwnSessionsEarlierCommands)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Client client(c, c.follower());
    uint64_t sum = 0;
    for (uint64_t i = 1; i <= 20; i++) {
        for (uint64_t k = 0; k < 5; k++)
            client.must_submit(i);
        sum += 5 * i;
        ASSERT_EQ(tr_read(client.session, nullptr, 0, nullptr), 0);
        int left = 6;
        ASSERT_TRUE(c.until([&] {
            tr_completion done;
            if (tr_session_poll(client.session, &done, 1) == 1) {
                left--;
                uint64_t seen = 0;
                memcpy(&seen, done.reply, 8);
                if (done.sequence == 0) {
                    EXPECT_EQ(seen, sum);
                }
            }
            return left == 0;
        }));
    }
}

TEST_P(ClusterOver, ADeadLeaderIsReplacedAndNothingCompletedIsLost)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    int first = c.leader();
    int other = c.follower();
    Client client(c, other);
    uint64_t submitted = 0, completed = 0;
    auto pump = [&](uint64_t target) {
        return c.until([&] {
            while (submitted < target && submitted - completed < 64 && client.submit(1) == 0)
                submitted++;
            tr_completion done[64];
            uint32_t n = tr_session_poll(client.session, done, 64);
            for (uint32_t i = 0; i < n; i++) {
                EXPECT_EQ(done[i].status, 0);
                EXPECT_EQ(done[i].sequence, ++completed);
            }
            return completed == target;
        });
    };
    ASSERT_TRUE(pump(200));
    submitted += client.submit(1) == 0; /* in flight while the leader dies */
    c.close(first);
    ASSERT_TRUE(pump(400));
    EXPECT_NE(c.leader(), first);
    ASSERT_TRUE(c.agree());
    EXPECT_EQ(c.nodes[(size_t)other].machine[0]->count, 400u);
}

/* Level memory: a node that comes back has forgotten everything, and recovers from the others. */
TEST_P(ClusterOver, ARestartedNodeRecoversAndServesAgain)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    int own = c.leader();
    Client client(c, own);
    tr_completion done;
    for (uint64_t i = 1; i <= 100; i++) {
        client.must_submit(i);
        ASSERT_TRUE(client.next(&done));
    }
    int victim = (own + 1) % 3; /* whoever leads by now: not the client's */
    c.close(victim);
    for (uint64_t i = 1; i <= 100; i++) {
        client.must_submit(i);
        ASSERT_TRUE(client.next(&done));
    }
    c.open(victim);
    ASSERT_TRUE(c.agree());
    EXPECT_EQ(c.nodes[(size_t)victim].machine[0]->count, 200u);
    Client again(c, victim);
    again.must_submit(7);
    ASSERT_TRUE(again.next(&done));
    EXPECT_EQ(done.status, 0);
    ASSERT_TRUE(c.agree());
}

/* The log is far smaller than what goes through it; one replica is away meanwhile and comes back by
 * a snapshot. */
TEST_P(ClusterOver, TheLogWrapsWhileAReplicaIsAway)
{
    Layout l = layout();
    l.log_slots = 256;
    l.log_bytes = 1 << 20;
    l.batch = 4;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    int own = c.leader();
    Client client(c, own);
    int victim = (own + 1) % 3;
    uint64_t submitted = 0, completed = 0;
    auto pump = [&](uint64_t target) {
        return c.until([&] {
            while (submitted < target && client.submit(submitted + 1) == 0)
                submitted++;
            tr_completion d[64];
            uint32_t n = tr_session_poll(client.session, d, 64);
            for (uint32_t i = 0; i < n; i++)
                EXPECT_EQ(d[i].status, 0);
            completed += n;
            return completed == target;
        });
    };
    ASSERT_TRUE(pump(3000));
    c.close(victim);
    ASSERT_TRUE(pump(9000));
    int living = c.leader();
    EXPECT_GT(c.status(living).snapshots_made, 0u);
    EXPECT_GT(c.status(living).slot_first, 256u);
    c.open(victim);
    ASSERT_TRUE(c.agree());
    EXPECT_EQ(c.nodes[(size_t)victim].machine[0]->count, 9000u);
    EXPECT_GE(c.nodes[(size_t)victim].machine[0]->restored, 1);
    ASSERT_TRUE(pump(10000));
    ASSERT_TRUE(c.agree());
}

TEST_P(ClusterOver, LargeCommandsAndRepliesPassWhole)
{
    Layout l = layout();
    l.message_bytes_max = 256 << 10;
    l.log_bytes = 4 << 20;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    for (int node : {c.leader(), c.follower()}) {
        Client client(c, node);
        for (uint32_t bytes : {1u, 8u, 1000u, 70000u, 256u << 10}) {
            std::vector<uint8_t> data(bytes, (uint8_t)bytes);
            tr_completion done;
            ASSERT_EQ(tr_submit(client.session, data.data(), bytes, nullptr), 0);
            ASSERT_TRUE(client.next(&done)) << bytes;
            EXPECT_EQ(done.status, 0);
        }
        std::vector<uint8_t> data((256 << 10) + 1);
        EXPECT_EQ(tr_submit(client.session, data.data(), (uint32_t)data.size(), nullptr),
                  TR_ETOOBIG);
    }
    ASSERT_TRUE(c.agree());
}

/* A node that takes larger commands than the others, as while all are restarted one by one with a
 * larger limit: what the others would not find in their rings must not count as accepted by them.
 */
TEST_P(ClusterOver, ACommandThatOnlyTheLeaderTakes_IsNotCounted)
{
    Layout l = layout();
    l.message_bytes_max = 100 << 10;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    c.close(0);
    c.layout.message_bytes_max = 300 << 10;
    c.open(0);
    ASSERT_TRUE(c.until([&] { return c.status(0).role != TR_ROLE_RECOVERING; }));
    ASSERT_TRUE(c.until([&] {
        tr_group_campaign(c.nodes[0].group[0]); /* nothing where it leads already */
        return c.until([&] { return c.status(0).role == TR_ROLE_LEADER; }, 200);
    }));
    Client client(c, 0);
    tr_completion done;
    client.must_submit(1);
    ASSERT_TRUE(client.next(&done));
    std::vector<uint8_t> data(250 << 10, 1);
    ASSERT_EQ(tr_submit(client.session, data.data(), (uint32_t)data.size(), nullptr), 0);
    for (int i = 0; i < 1000; i++)
        c.turn();
    EXPECT_EQ(tr_session_poll(client.session, &done, 1), 0u);
    c.close(0);
    Client other(c, 1);
    other.must_submit(2);
    EXPECT_TRUE(other.next(&done)) << "the others go on without it";
    EXPECT_EQ(done.status, 0);
}

TEST_P(ClusterOver, CommandsOfDifferentSizesShareBatches)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Client client(c, c.leader());
    uint64_t submitted = 0, completed = 0;
    std::vector<uint8_t> data(300, 1);
    ASSERT_TRUE(c.until([&] {
        while (submitted < 5000 && tr_submit(client.session, data.data(),
                                             (uint32_t)(submitted * 7 % 300), nullptr) == 0)
            submitted++;
        tr_completion done[64];
        uint32_t n = tr_session_poll(client.session, done, 64);
        for (uint32_t i = 0; i < n; i++) {
            EXPECT_EQ(done[i].status, 0);
            EXPECT_EQ(done[i].sequence, ++completed);
        }
        return completed == 5000;
    }));
    ASSERT_TRUE(c.agree());
    EXPECT_GT(c.nodes[(size_t)c.leader()].machine[0]->largest_call, 1u);
}

/* The apply stage on a core of its own. */
TEST_P(ClusterOver, TheApplyStageRunsOnAnotherCore)
{
    Layout l = layout();
    l.lcores = 2;
    l.apply_apart = true;
    l.log_slots = 512;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    Client one(c, c.leader()), two(c, c.follower());
    uint64_t submitted = 0, completed = 0;
    ASSERT_TRUE(c.until([&] {
        while (submitted < 6000 && (submitted % 2 ? one : two).submit(1) == 0)
            submitted++;
        tr_completion done[64];
        for (Client *client : {&one, &two}) {
            uint32_t n = tr_session_poll(client->session, done, 64);
            for (uint32_t i = 0; i < n; i++)
                EXPECT_EQ(done[i].status, 0);
            completed += n;
        }
        return completed == 6000;
    }));
    for (Client *client : {&one, &two}) {
        tr_completion done;
        ASSERT_EQ(tr_read(client->session, nullptr, 0, nullptr), 0);
        ASSERT_TRUE(client->next(&done));
        uint64_t seen = 0;
        memcpy(&seen, done.reply, 8);
        EXPECT_EQ(seen, 6000u);
    }
    ASSERT_TRUE(c.agree());
}

TEST_P(ClusterOver, ManyGroupsOnTwoCoresAreApart)
{
    Layout l = layout();
    l.lcores = 2;
    l.groups = 8;
    l.log_slots = 256;
    l.log_bytes = 1 << 20;
    Cluster c(l);
    std::vector<std::unique_ptr<Client>> clients;
    for (uint32_t g = 0; g < 8; g++) {
        ASSERT_TRUE(c.wait_leader(g));
        clients.push_back(std::make_unique<Client>(c, (int)g % 3, g));
    }
    std::vector<uint64_t> submitted(8), completed(8);
    ASSERT_TRUE(c.until([&] {
        bool all = true;
        for (uint32_t g = 0; g < 8; g++) {
            while (submitted[g] < 200 * (g + 1) && clients[g]->submit(1) == 0)
                submitted[g]++;
            tr_completion done[64];
            completed[g] += tr_session_poll(clients[g]->session, done, 64);
            all &= completed[g] == 200 * (g + 1);
        }
        return all;
    }));
    for (uint32_t g = 0; g < 8; g++) {
        ASSERT_TRUE(c.agree(g));
        for (auto &n : c.nodes)
            EXPECT_EQ(n.machine[g]->count, 200 * (g + 1));
    }
}

/* More sessions than a turn visits. */
TEST_P(ClusterOver, SessionsByTheHundredComeAndGo)
{
    Layout l = layout();
    l.sessions_max = 256;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    uint64_t sum = 0;
    for (int round = 0; round < 4; round++) {
        std::vector<std::unique_ptr<Client>> clients;
        for (int i = 0; i < 60; i++) {
            clients.push_back(std::make_unique<Client>(c, i % 3));
            clients.back()->must_submit(1);
            sum++;
        }
        for (auto &client : clients) {
            tr_completion done;
            ASSERT_TRUE(client->next(&done));
            ASSERT_EQ(done.status, 0);
        }
    }
    ASSERT_TRUE(c.agree());
    for (auto &n : c.nodes)
        EXPECT_EQ(n.machine[0]->sum, sum);
}

/* Without a quorum nothing is applied: the deadline ends the wait, the outcome is unknown. Once the
 * quorum is back, the command is applied, and later ones complete as ever. */
TEST_P(ClusterOver, ADeadlineEndsTheWaitAndTheSessionGoesOn)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    int own = c.leader();
    Client client(c, own, 0, 100000);
    tr_completion done;
    client.must_submit(1);
    ASSERT_TRUE(client.next(&done));
    ASSERT_EQ(done.status, 0);
    for (int i = 0; i < 3; i++)
        if (i != own)
            c.close(i);
    client.must_submit(2);
    ASSERT_EQ(tr_read(client.session, nullptr, 0, nullptr), 0);
    int unknown = 0, timeout = 0;
    ASSERT_TRUE(c.until([&] {
        if (tr_session_poll(client.session, &done, 1) == 1) {
            unknown += done.sequence == 2 && done.status == TR_EUNKNOWN;
            timeout += done.sequence == 0 && done.status == TR_ETIMEOUT;
        }
        return unknown + timeout == 2;
    }));
    EXPECT_EQ(unknown, 1);
}

TEST_P(ClusterOver, ClosingANodeCompletesWhatIsPending)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    int own = c.leader();
    std::vector<int> statuses;
    tr_session_options o = TR_SESSION_OPTIONS_INIT;
    o.on_complete = [](void *context, const tr_completion *done) {
        static_cast<std::vector<int> *>(context)->push_back(done->status);
    };
    o.on_complete_context = &statuses;
    tr_session *session = nullptr;
    for (int i = 0; i < 3; i++)
        if (i != own)
            c.close(i);
    ASSERT_EQ(tr_session_open(c.nodes[(size_t)own].group[0], &o, &session), 0);
    for (uint64_t i = 0; i < 5; i++)
        ASSERT_EQ(tr_submit(session, &i, 8, nullptr), 0);
    c.turn();
    c.close(own);
    EXPECT_EQ(statuses, std::vector<int>(5, TR_ECLOSED));
    tr_session_close(session);
}

INSTANTIATE_TEST_SUITE_P(Drivers, ClusterOver,
                         ::testing::Values(Case{"loop", "auto", false}, Case{"loop", "off", false},
                                           Case{"loop", "auto", true}, Case{"shm", "auto", false},
                                           Case{"shm", "off", false}, Case{"shm", "auto", true},
                                           Case{"udp", "auto", false}, Case{"udp", "auto", true}),
                         name_of);

/* The fault driver can do what the driver in it can: rings over shared memory, messages over udp.
 */
class ClusterInBadWeather : public ::testing::TestWithParam<const char *>
{
};

TEST_P(ClusterInBadWeather, AppliesEachCommandOnceOnEveryReplica)
{
    Layout s;
    s.driver = GetParam();
    s.weather = "drop=2%,duplicate=2%,corrupt=1000ppm,reorder=2%,write_refuse=1000ppm";
    Cluster c(s);
    ASSERT_TRUE(c.wait_leader());
    Client client(c, c.leader());
    uint64_t sum = 0;
    for (uint64_t i = 1; i <= 300; i++) {
        tr_completion done;
        client.must_submit(i);
        ASSERT_TRUE(client.next(&done));
        ASSERT_EQ(done.status, 0);
        sum += i;
    }
    ASSERT_TRUE(c.agree());
    for (auto &n : c.nodes)
        EXPECT_EQ(n.machine[0]->sum, sum);
}

INSTANTIATE_TEST_SUITE_P(Drivers, ClusterInBadWeather, ::testing::Values("shm", "udp"),
                         [](const auto &given) { return std::string(given.param); });
