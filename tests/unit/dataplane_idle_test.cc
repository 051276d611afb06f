/* How pollers wait, and that no knock at their door is missed. */
#include "cluster_fixture.h"
#include "dataplane/clock.h"
#include "dataplane/idle.h"
#include "dataplane/membarrier.h"

#include <atomic>
#include <gtest/gtest.h>
#include <memory>
#include <sys/resource.h>
#include <thread>

namespace
{

constexpr uint64_t FAR = UINT64_MAX;
constexpr uint64_t HOUR_NS = UINT64_C(3600) * 1000000000;

/* A waiting of the calling thread; ends itself. */
class Waiting
{
  public:
    explicit Waiting(tr_idle strategy)
    {
        tr_membarrier_open();
        tr_idle_open(&w, strategy, nullptr, -1);
    }
    ~Waiting()
    {
        tr_idle_close(&w);
    }
    tr_idle_wait w = {};
};

TEST(Idle, EachFixedStrategyDoesOneThing)
{
    Waiting spin(TR_IDLE_SPIN), pause(TR_IDLE_PAUSE), yield(TR_IDLE_YIELD);
    for (uint64_t now_ns = 1; now_ns < 100; now_ns++) {
        tr_idle_cycle(&spin.w, 0, now_ns * 1000000, FAR);
        tr_idle_cycle(&pause.w, 0, now_ns * 1000000, FAR);
        tr_idle_cycle(&yield.w, 0, now_ns * 1000000, FAR);
    }
    EXPECT_EQ(spin.w.state, TR_IDLING_SPIN);
    EXPECT_EQ(pause.w.state, TR_IDLING_PAUSE);
    EXPECT_EQ(yield.w.state, TR_IDLING_YIELD);
    EXPECT_EQ(yield.w.yields, 99u);
    EXPECT_EQ(spin.w.parks + pause.w.parks + yield.w.parks, 0u);
    EXPECT_EQ(tr_load_relaxed(&spin.w.may_park), 0u);
}

TEST(Idle, SleepParksOnlySomeTimeAfterTheLastWork)
{
    Waiting sleep(TR_IDLE_SLEEP);
    uint64_t now_ns = HOUR_NS;
    EXPECT_EQ(tr_load_relaxed(&sleep.w.may_park), 1u);
    tr_idle_cycle(&sleep.w, 1, now_ns, FAR);
    tr_idle_cycle(&sleep.w, 0, now_ns + 100, FAR);
    EXPECT_EQ(sleep.w.state, TR_IDLING_PAUSE);
    tr_idle_cycle(&sleep.w, 0, now_ns + 1000000, FAR);
    EXPECT_EQ(sleep.w.state, TR_IDLING_PARK);
    EXPECT_EQ(sleep.w.parks, 1u);
    tr_idle_cycle(&sleep.w, 0, now_ns + 1000000, now_ns); /* a deadline that is there already */
    EXPECT_EQ(sleep.w.parks, 1u);
}

/* A full table of pollers on one CPU: AUTO gets out of the way, in steps. */
TEST(Idle, AutoAdaptsWhenItSharesItsCpu)
{
    Waiting automatic(TR_IDLE_AUTO);
    automatic.w.cpus_usable = 1; /* without a table: one CPU for everybody */
    uint64_t now_ns = HOUR_NS;
    tr_idle_cycle(&automatic.w, 1, now_ns, FAR);
    tr_idle_cycle(&automatic.w, 0, now_ns + 100, FAR);
    EXPECT_TRUE(automatic.w.crowded);
    EXPECT_EQ(automatic.w.state, TR_IDLING_PAUSE);
    tr_idle_cycle(&automatic.w, 0, now_ns + 10000, FAR);
    EXPECT_EQ(automatic.w.state, TR_IDLING_YIELD);
    tr_idle_cycle(&automatic.w, 0, now_ns + 1000000, FAR);
    EXPECT_EQ(automatic.w.state, TR_IDLING_PARK);
    EXPECT_EQ(tr_load_relaxed(&automatic.w.may_park), 1u);
    automatic.w.cpus_usable = 4; /* alone again */
    struct rusage usage;
    ASSERT_EQ(getrusage(RUSAGE_THREAD, &usage), 0);
    automatic.w.preempted = static_cast<uint64_t>(usage.ru_nivcsw); /* nobody took its CPU */
    tr_idle_cycle(&automatic.w, 0, now_ns + HOUR_NS, FAR);
    EXPECT_FALSE(automatic.w.crowded);
    EXPECT_EQ(automatic.w.state, TR_IDLING_SPIN);
    EXPECT_EQ(tr_load_relaxed(&automatic.w.may_park), 0u);
}

TEST(Idle, AKnockBeforeItParksKeepsItAwakeAndHot)
{
    Waiting sleep(TR_IDLE_SLEEP);
    uint64_t now_ns = HOUR_NS;
    sleep.w.park_ns_max = HOUR_NS; /* a park would not end */
    tr_idle_wake(&sleep.w);
    tr_idle_cycle(&sleep.w, 0, now_ns, FAR);
    EXPECT_EQ(sleep.w.parks, 0u);
    tr_idle_cycle(&sleep.w, 0, now_ns + 1, FAR);
    EXPECT_EQ(sleep.w.state, TR_IDLING_PAUSE); /* as after work */
    EXPECT_EQ(sleep.w.work_ns, now_ns + 1);
}

/* A poller that would sleep for an hour answers knock by knock: one that is missed hangs the test.
 * The work is published by a release store alone, as tr_submit does it. */
TEST(Idle, NoKnockIsMissed)
{
    constexpr uint64_t ROUNDS = 20000;
    tr_idle_wait w = {};
    tr_atomic_u64 asked = 0, answered = 0;
    std::atomic<bool> ready{false};
    tr_membarrier_open();
    std::thread poller([&] {
        tr_clock clock;
        tr_clock_open(&clock);
        tr_idle_open(&w, TR_IDLE_SLEEP, nullptr, -1);
        w.park_ns_max = HOUR_NS;
        ready.store(true);
        for (uint64_t seen = 0; seen < ROUNDS;) {
            uint64_t now = tr_load_acquire(&asked);
            uint32_t work = now != seen;
            seen = now;
            tr_store_release(&answered, seen);
            tr_idle_cycle(&w, work, tr_clock_now_ns(&clock), FAR);
        }
        tr_idle_close(&w);
    });
    while (!ready.load())
        std::this_thread::yield();
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        tr_store_release(&asked, i);
        tr_idle_wake(&w);
        while (tr_load_acquire(&answered) < i)
            std::this_thread::yield();
        /* Now and then it comes to sleep; mostly the next one comes while it lies down. */
        for (uint64_t k = 0; k < i % 97; k++)
            tr_cpu_pause();
    }
    poller.join();
}

TEST(SessionWait, WakesAtEveryCompletionWithoutLookingAgain)
{
    cluster::Layout l;
    l.threads = true;
    l.nodes = 1;
    cluster::Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    cluster::Client client(c, 0);
    for (uint64_t i = 1; i <= 3000; i++) {
        tr_completion done;
        client.must_submit(i);
        ASSERT_EQ(tr_session_wait(client.session, &done, 1, UINT64_C(3600) * 1000000), 1u);
        ASSERT_EQ(done.sequence, i);
    }
    tr_completion done;
    EXPECT_EQ(tr_session_wait(client.session, &done, 1, 1000), 0u); /* nothing comes */
}

} // namespace
