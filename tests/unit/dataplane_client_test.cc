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
    EXPECT_EQ(tr_client_pending(r.client), 1u);
    tr_completion done;
    ASSERT_TRUE(r.next(&done));
    EXPECT_EQ(done.status, 0);
    EXPECT_EQ(done.sequence, 1u);
    EXPECT_EQ(sum_of(done), 7u);
    EXPECT_NE(done.slot, 0u);
    EXPECT_GE(done.completed_ns, done.submitted_ns);
    EXPECT_EQ(tr_client_pending(r.client), 0u);
    ASSERT_TRUE(c.agree());
    for (Node &n : c.nodes) {
        EXPECT_EQ(n.machine[0]->count, 1u);
        EXPECT_EQ(n.machine[0]->origin_last, 0u);
    }
}

TEST_P(RemoteOver, APipelineIsAppliedInOrderAndOnce)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Remote r(c);
    ASSERT_EQ(r.opened, 0) << r.error;
    Stream s(r, 5000);
    ASSERT_TRUE(run(c, s, 5000));
    expect_once(c, 5000);
    EXPECT_GT(c.nodes[0].machine[0]->largest_call, 1u) << "commands are batched";
}

TEST_P(RemoteOver, TheClientFindsTheLeader)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Remote r(c);
    Stream s(r, 100);
    ASSERT_TRUE(run(c, s, 100));
    ASSERT_TRUE(c.until([&] {
        int leader = c.leader();
        tr_completion done;
        tr_client_poll(r.client, &done, 1);
        return r.status().node == leader + 1 && r.status().leader == leader + 1;
    }));
    EXPECT_NE(r.status().session, 0u);
}

TEST_P(RemoteOver, ReadsSeeWhatWasSubmittedBefore)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Remote r(c);
    uint64_t sum = 0;
    for (uint64_t n = 1; n <= 50; n++) {
        ASSERT_EQ(r.submit(n), 0);
        ASSERT_EQ(tr_client_read(r.client, nullptr, 0, nullptr), 0);
    }
    uint64_t reads = 0;
    for (int i = 0; i < 100; i++) {
        tr_completion done;
        ASSERT_TRUE(r.next(&done));
        ASSERT_EQ(done.status, 0);
        if (done.sequence != 0)
            continue;
        reads++;
        sum += reads;
        EXPECT_GE(sum_of(done), sum) << "read " << reads;
    }
    EXPECT_EQ(reads, 50u);
    ASSERT_EQ(tr_client_read_local(r.client, nullptr, 0, nullptr), 0);
    tr_completion done;
    ASSERT_TRUE(r.next(&done));
    EXPECT_EQ(done.status, 0);
    EXPECT_EQ(done.reply_bytes, 8u);
}

TEST_P(RemoteOver, WhenTheLeaderCloses_EveryCommandIsAppliedOnce)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Remote r(c);
    expect_once_across_leaders(c, r, 6000);
    EXPECT_GE(r.status().attached, 2u);
}

TEST_P(RemoteOver, WhenTheLeaderStops_EveryCommandIsAppliedOnce)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Remote r(c);
    Stream s(r, 6000);
    ASSERT_TRUE(run(c, s, 2000));
    c.stopped = &c.nodes[(size_t)c.leader()];
    ASSERT_TRUE(run(c, s, 4000)) << s.completed;
    c.stopped = nullptr; /* it wakes up, and has old commands of this session in its hands */
    ASSERT_TRUE(run(c, s, 6000)) << s.completed;
    expect_once(c, 6000);
}

TEST_P(RemoteOver, WhenEveryNodeRestartsInTurn_TheSessionGoesOn)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Remote r(c);
    Stream s(r, 6000);
    for (int i = 0; i < 3; i++) {
        ASSERT_TRUE(run(c, s, 1000 + (uint64_t)i * 1000));
        ASSERT_TRUE(c.wait_leader());
        c.close(i);
        c.open(i);
        ASSERT_TRUE(c.until([&] {
            s.turn();
            return c.status(i).role != TR_ROLE_RECOVERING;
        }));
    }
    ASSERT_TRUE(run(c, s, 6000)) << s.completed;
    expect_once(c, 6000);
}

TEST_P(RemoteOver, ManyClientsAtATime)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Remote a(c), b(c), d(c);
    ASSERT_EQ(d.opened, 0) << d.error;
    uint64_t submitted = 0, completed = 0;
    ASSERT_TRUE(c.until([&] {
        for (Remote *r : {&a, &b, &d}) {
            tr_completion done[16];
            if (submitted < 3000 && r->submit(1) == 0)
                submitted++;
            completed += tr_client_poll(r->client, done, 16);
        }
        return completed == 3000;
    }));
    ASSERT_TRUE(c.agree());
    EXPECT_EQ(c.nodes[1].machine[0]->sum, 3000u);
}

TEST_P(RemoteOver, APlaceIsFreeAgainWhenItsClientCloses)
{
    Layout l = layout();
    l.clients_max = 1;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    for (uint64_t i = 1; i <= 3; i++) {
        Remote r(c);
        ASSERT_EQ(r.opened, 0) << r.error;
        ASSERT_EQ(r.submit(i), 0);
        tr_completion done;
        ASSERT_TRUE(r.next(&done));
        EXPECT_EQ(done.status, 0);
    }
}

TEST_P(RemoteOver, CommandsOfAllLengths)
{
    Layout l = layout();
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    Remote r(c);
    std::string bytes(l.client_message_bytes_max + 1, 'x');
    uint32_t submitted = 0, completed = 0;
    ASSERT_TRUE(c.until([&] {
        tr_completion done[16];
        uint32_t length = submitted * 97 % (l.client_message_bytes_max + 1);
        if (submitted < 400 && tr_client_submit(r.client, bytes.data(), length, nullptr) == 0)
            submitted++;
        uint32_t count = tr_client_poll(r.client, done, 16);
        for (uint32_t i = 0; i < count; i++)
            EXPECT_EQ(done[i].status, 0);
        completed += count;
        return completed == 400;
    }));
    uint32_t most = l.client_message_bytes_max;
    EXPECT_EQ(tr_client_submit(r.client, bytes.data(), most, nullptr), 0);
    EXPECT_EQ(tr_client_submit(r.client, bytes.data(), most + 1, nullptr), TR_ETOOBIG);
    tr_completion done;
    ASSERT_TRUE(r.next(&done));
    EXPECT_EQ(done.status, 0);
}

TEST_P(RemoteOver, ACommandWhoseDeadlinePassesIsUnknown_AndTheSessionGoesOn)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Remote r(c, [](tr_client_options &o) { o.deadline_us = 200000; });
    tr_completion done;
    ASSERT_EQ(r.submit(1), 0);
    ASSERT_TRUE(r.next(&done));
    int leader = c.leader();
    c.close((leader + 1) % 3);
    c.close((leader + 2) % 3); /* no quorum */
    ASSERT_EQ(r.submit(2), 0);
    ASSERT_EQ(tr_client_read(r.client, nullptr, 0, nullptr), 0);
    ASSERT_TRUE(r.next(&done));
    EXPECT_EQ(done.status, TR_EUNKNOWN);
    EXPECT_EQ(done.sequence, 2u);
    ASSERT_TRUE(r.next(&done));
    EXPECT_EQ(done.status, TR_ETIMEOUT);
    EXPECT_EQ(done.sequence, 0u);
    EXPECT_GE(r.status().expired, 2u);
}

TEST_P(RemoteOver, AnEvictedSessionIsTold)
{
    Layout l = layout();
    l.sessions_max = 2;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    Remote a(c), b(c), d(c);
    tr_completion done;
    for (Remote *r : {&a, &b, &d}) { /* the third evicts the first */
        ASSERT_EQ(r->submit(1), 0);
        ASSERT_TRUE(r->next(&done));
        EXPECT_EQ(done.status, 0);
    }
    ASSERT_TRUE(c.until([&] {
        int status = a.submit(2);
        tr_client_poll(a.client, &done, 1);
        return status == TR_ESESSION;
    }));
    EXPECT_EQ(a.submit(3), TR_ESESSION);
}

TEST_P(RemoteOver, AnotherClusterOrGroupRefusesAndSaysWhy)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    std::string names = std::string(GetParam()) + ":test" + c.tag + ".client";
    bool named = std::string(GetParam()) != "udp";
    Remote group(c, [](tr_client_options &o) { o.group = 9; });
    Remote cluster(c, [&](tr_client_options &o) {
        o.cluster = "another";
        o.address = named ? names.c_str() : nullptr;
    });
    ASSERT_EQ(group.opened, 0) << group.error;
    ASSERT_EQ(cluster.opened, 0) << cluster.error;
    ASSERT_TRUE(c.until([&] {
        tr_completion done;
        tr_client_poll(group.client, &done, 1);
        tr_client_poll(cluster.client, &done, 1);
        return group.status().refusal == TR_ENOENT && cluster.status().refusal == TR_EPERM;
    }));
}

INSTANTIATE_TEST_SUITE_P(Drivers, RemoteOver, ::testing::Values("loop", "shm", "udp"));

/* ---- placements */

TEST(Remote, WithAnApplyStageOnACoreOfItsOwn)
{
    Layout l;
    l.driver = "shm";
    l.clients = true;
    l.lcores = 2;
    l.apply_apart = true;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    Remote r(c);
    expect_once_across_leaders(c, r, 6000);
}

TEST(Remote, WithThreadsOfTheNodes)
{
    Layout l;
    l.driver = "udp";
    l.clients = true;
    l.threads = true;
    l.election_us = 200000;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    Remote r(c);
    uint64_t sum = 0;
    for (uint64_t n = 1; n <= 200; n++) {
        tr_completion done;
        ASSERT_EQ(r.submit(n), 0);
        ASSERT_EQ(tr_client_wait(r.client, &done, 1, UINT64_MAX), 1u);
        sum += n;
        ASSERT_EQ(done.status, 0);
        ASSERT_EQ(sum_of(done), sum);
    }
    tr_completion none;
    EXPECT_EQ(tr_client_wait(r.client, &none, 1, UINT64_MAX), 0u) << "nothing is pending";
}

TEST(Remote, AGroupOnAnotherPollingCore)
{
    Layout l;
    l.driver = "shm";
    l.clients = true;
    l.lcores = 2;
    l.groups = 2;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader(1));
    Remote r(c, [](tr_client_options &o) {
        o.group = 1;
        o.lcore = 1;
    });
    Stream s(r, 500);
    ASSERT_TRUE(run(c, s, 500));
    ASSERT_TRUE(c.agree(1));
    EXPECT_EQ(c.nodes[2].machine[1]->hash, hash_up_to(500));
}

/* ---- loss */

class RemoteUnder : public ::testing::TestWithParam<std::pair<const char *, const char *>>
{
};

/* Everything that the client sends and receives goes through the fault driver. */
TEST_P(RemoteUnder, Faults_EveryCommandIsAppliedOnce)
{
    Layout l;
    l.driver = GetParam().first;
    l.clients = true;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    std::string options = std::string("driver=") + l.driver + ",seed=7," + GetParam().second;
    std::string names = std::string("shm:test") + c.tag + ".client.1";
    Remote r(c, [&](tr_client_options &o) {
        o.driver = "fault";
        o.driver_options = options.c_str();
        o.address = l.driver == "udp" ? "127.0.0.1:0" : names.c_str();
    });
    ASSERT_EQ(r.opened, 0) << r.error;
    Stream s(r, 3000);
    ASSERT_TRUE(run(c, s, 1000)) << s.completed;
    c.stopped = &c.nodes[(size_t)c.leader()];
    ASSERT_TRUE(run(c, s, 2000)) << s.completed;
    c.stopped = nullptr;
    ASSERT_TRUE(run(c, s, 3000)) << s.completed;
    expect_once(c, 3000);
    EXPECT_GT(r.status().resent, 0u);
    /* Reads, too. */
    for (int i = 0; i < 20; i++) {
        tr_completion done;
        ASSERT_EQ(tr_client_read(r.client, nullptr, 0, nullptr), 0);
        ASSERT_TRUE(r.next(&done));
        EXPECT_EQ(sum_of(done), 3000u * 3001 / 2);
    }
}

INSTANTIATE_TEST_SUITE_P(
    Faults, RemoteUnder,
    ::testing::Values(std::make_pair("udp", "drop=5%"), std::make_pair("udp", "drop=30%"),
                      std::make_pair("udp", "duplicate=20%,reorder=20%,drop=2%"),
                      std::make_pair("udp", "corrupt=10%,delay=0us-500us"),
                      std::make_pair("shm", "drop=5%,duplicate=5%,reorder=5%,corrupt=2%")));

} // namespace
