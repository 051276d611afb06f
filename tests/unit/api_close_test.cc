/* The end of nodes and sessions, while other threads are in them. */
#include "cluster_fixture.h"

#include <atomic>

using cluster::Cluster;
using cluster::Layout;

/* Nodes with threads of their own. Two of three are closed at once: nothing commits any more. */
static Layout without_quorum()
{
    Layout l;
    l.threads = true;
    return l;
}

class Closing : public ::testing::Test
{
  protected:
    Closing() : cluster(without_quorum())
    {
        cluster.close(1);
        cluster.close(2);
    }
    tr_session *open(uint32_t window = 1024)
    {
        tr_session_options o = TR_SESSION_OPTIONS_INIT;
        tr_session *session = nullptr;
        o.window = window;
        o.timestamps = 1;
        EXPECT_EQ(tr_session_open(cluster.nodes[0].group[0], &o, &session), 0);
        return session;
    }
    Cluster cluster;
};

TEST_F(Closing, AThreadThatWaitsInASessionIsToldThatTheNodeIsClosed)
{
    tr_session *session = open();
    const uint64_t one = 1;
    int mark = 0;
    ASSERT_EQ(tr_submit(session, &one, sizeof(one), &mark), 0);
    ASSERT_EQ(tr_read(session, nullptr, 0, nullptr), 0);
    std::thread waiter([&] {
        tr_completion done[2];
        uint32_t count = tr_session_wait(session, done, 2, UINT64_MAX);
        ASSERT_EQ(count, 2u);
        EXPECT_EQ(done[0].status, TR_ECLOSED);
        EXPECT_EQ(done[0].sequence, 1u);
        EXPECT_EQ(done[0].user, &mark);
        EXPECT_GE(done[0].completed_ns, done[0].submitted_ns);
        EXPECT_NE(done[0].submitted_ns, 0u);
        EXPECT_EQ(done[1].status, TR_ECLOSED);
        EXPECT_EQ(done[1].sequence, 0u);
        EXPECT_EQ(tr_session_wait(session, done, 2, UINT64_MAX), 0u) << "there is nothing to come";
        EXPECT_EQ(tr_session_pending(session), 0u);
        EXPECT_EQ(tr_submit(session, &one, sizeof(one), nullptr), TR_ECLOSED);
        EXPECT_EQ(tr_read(session, nullptr, 0, nullptr), TR_ECLOSED);
        tr_session_close(session);
    });
    cluster.close(0);
    waiter.join();
}

/* Each command that was taken on is completed, however its submission and the close met. */
TEST_F(Closing, WhatIsSubmittedMeanwhileIsCompleted)
{
    for (int round = 0; round < 20; round++) {
        if (!cluster.alive(0))
            cluster.open(0);
        tr_session *session = open(64);
        std::atomic<bool> begun{false};
        uint64_t submitted = 0, completed = 0;
        std::thread client([&] {
            tr_completion done[8];
            int status = 0;
            while (status != TR_ECLOSED) {
                status = tr_submit(session, &submitted, sizeof(submitted), nullptr);
                submitted += status == 0;
                begun = true;
                uint32_t count = status == 0 ? 0 : tr_session_poll(session, done, 8);
                for (uint32_t i = 0; i < count; i++)
                    EXPECT_EQ(done[i].sequence, ++completed);
            }
            while (uint32_t count = tr_session_wait(session, done, 8, UINT64_MAX))
                for (uint32_t i = 0; i < count; i++) {
                    EXPECT_EQ(done[i].sequence, ++completed);
                    EXPECT_EQ(done[i].status, TR_ECLOSED);
                }
            tr_session_close(session);
        });
        while (!begun)
            std::this_thread::yield();
        cluster.close(0);
        client.join();
        ASSERT_EQ(completed, submitted);
        ASSERT_GT(submitted, 0u);
    }
}

/* What a callback sees of its session. */
struct Watch {
    std::atomic<bool> closed{false};
    std::atomic<int> late{0}; /* callbacks that came, or were under way, after the close */

    static void on_complete(void *context, const tr_completion *)
    {
        Watch *w = static_cast<Watch *>(context);
        std::this_thread::yield();
        w->late += w->closed;
    }
};

/* Sessions of both kinds are closed by their threads while the node is closed by another one. */
TEST_F(Closing, SessionsMayBeClosedWhileTheirNodeIs)
{
    const int count = 4;
    for (int round = 0; round < 20; round++) {
        if (!cluster.alive(0))
            cluster.open(0);
        std::vector<std::thread> threads;
        std::atomic<int> ready{0};
        Watch watches[count];
        for (Watch &watch : watches) {
            bool rings = &watch - watches >= count / 2;
            threads.emplace_back([&, rings] {
                tr_session_options o = TR_SESSION_OPTIONS_INIT;
                tr_session *session = nullptr;
                o.on_complete = rings ? nullptr : Watch::on_complete;
                o.on_complete_context = &watch;
                EXPECT_EQ(tr_session_open(cluster.nodes[0].group[0], &o, &session), 0);
                for (uint64_t n = 0; n < 10; n++)
                    EXPECT_EQ(tr_submit(session, &n, sizeof(n), nullptr), 0);
                ready++;
                while (ready < count + 1)
                    std::this_thread::yield();
                tr_session_close(session);
                watch.closed = true;
            });
        }
        while (ready < count)
            std::this_thread::yield();
        ready++;
        cluster.close(0);
        for (std::thread &thread : threads)
            thread.join();
        for (Watch &watch : watches)
            ASSERT_EQ(watch.late, 0);
    }
}

TEST_F(Closing, ASessionMayBeClosedInItsCallback)
{
    struct Context {
        tr_session *session;
        int calls;
    } context = {nullptr, 0};
    tr_session_options o = TR_SESSION_OPTIONS_INIT;
    o.on_complete_context = &context;
    o.on_complete = [](void *at, const tr_completion *done) {
        Context *c = static_cast<Context *>(at);
        EXPECT_EQ(done->status, TR_ECLOSED);
        EXPECT_EQ(tr_submit(c->session, "", 0, nullptr), TR_ECLOSED);
        tr_session_close(c->session);
        c->calls++;
    };
    ASSERT_EQ(tr_session_open(cluster.nodes[0].group[0], &o, &context.session), 0);
    for (int i = 0; i < 3; i++)
        ASSERT_EQ(tr_submit(context.session, "", 0, nullptr), 0);
    cluster.close(0);
    EXPECT_EQ(context.calls, 1) << "none after it was closed";
}

TEST(Close, OfNothingIsNothing)
{
    tr_session_close(nullptr);
    tr_node_close(nullptr);
    tr_fabric_destroy(nullptr);
}
