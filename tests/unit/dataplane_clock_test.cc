/* The clock of polling threads. */
#include "dataplane/clock.h"

#include <gtest/gtest.h>

namespace
{

TEST(Clock, NeverGoesBackwardAndStaysWithTheSystems)
{
    tr_clock c;
    tr_clock_open(&c);
    uint64_t last = 0;
    for (int i = 0; i < 200000; i++) {
        uint64_t before = tr_clock_system_ns();
        uint64_t now = tr_clock_now_ns(&c);
        ASSERT_GE(now, last);
        last = now;
        /* Slewing and the comparison's own error are far below 100 ms. */
        ASSERT_GT(now + 100000000, before);
    }
    uint64_t now = tr_clock_now_ns(&c);
    EXPECT_LT(now, tr_clock_system_ns() + 100000000);
}

TEST(Clock, FollowsASimulatedWorld)
{
    tr_clock c;
    uint64_t world_ns = 100;
    tr_clock_open(&c);
    tr_clock_follow(&c, &world_ns);
    EXPECT_EQ(tr_clock_now_ns(&c), 100u);
    world_ns = 5000;
    EXPECT_EQ(tr_clock_now_ns(&c), 5000u);
    world_ns = 4000; /* the world's mistake */
    EXPECT_EQ(tr_clock_now_ns(&c), 5000u);
    tr_clock copy = c;
    world_ns = 6000;
    EXPECT_EQ(tr_clock_now_ns(&copy), 6000u);
}

TEST(Clock, GivesARunawayCounterUp)
{
    tr_clock c;
    tr_clock_open(&c);
    if (!c.counter) {
        EXPECT_EQ(c.resync_tsc, 0u); /* there is none on this machine: the system's clock it is */
        return;
    }
    for (int i = 0; i < 3; i++) {
        ASSERT_TRUE(c.counter);
        c.base_ns += UINT64_C(3600) * 1000000000; /* an hour ahead of the system */
        tr_clock_resync(&c);
    }
    EXPECT_FALSE(c.counter);
    uint64_t before = tr_clock_system_ns();
    uint64_t now = tr_clock_now_ns(&c);
    EXPECT_GE(now, before);
    EXPECT_LE(now, tr_clock_system_ns());
}

TEST(Clock, ACounterALittleAheadIsWaitedForNotTurnedBack)
{
    tr_clock c;
    tr_clock_open(&c);
    if (!c.counter)
        GTEST_SKIP() << "no invariant counter on this machine";
    c.base_ns += 100000;
    uint64_t ahead = tr_clock_now_ns(&c);
    uint64_t mult = c.mult;
    uint64_t after = tr_clock_resync(&c);
    EXPECT_GE(after, ahead);
    EXPECT_TRUE(c.counter);
    EXPECT_EQ(c.strikes, 0u);
    EXPECT_LT(c.mult, mult); /* slower until the system has come as far */
}

} // namespace
