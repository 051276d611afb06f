#include "perf/machine.h"

#include <gtest/gtest.h>

TEST(Machine, StealIsTheEighthFieldOfTheFirstLine)
{
    tr_perf_cpu_time time = {};
    ASSERT_TRUE(tr_perf_cpu_time_parse("cpu  10 20 30 40 50 60 70 80 999 999\n", &time));
    EXPECT_EQ(time.total, 360u);
    EXPECT_EQ(time.steal, 80u);
}

TEST(Machine, ALineThatIsNotTheTotalIsRefused)
{
    tr_perf_cpu_time time = {7, 7};
    EXPECT_FALSE(tr_perf_cpu_time_parse("cpu0 1 2 3 4 5 6 7 8\n", &time));
    EXPECT_FALSE(tr_perf_cpu_time_parse("cpu  1 2 3\n", &time));
    EXPECT_FALSE(tr_perf_cpu_time_parse("", &time));
    EXPECT_EQ(time.total, 7u);
}

TEST(Machine, StealIsAShareOfTheTimeBetween)
{
    EXPECT_DOUBLE_EQ(tr_perf_steal({100, 10}, {300, 30}), 0.1);
    EXPECT_DOUBLE_EQ(tr_perf_steal({100, 10}, {100, 10}), 0);
    EXPECT_DOUBLE_EQ(tr_perf_steal({100, 10}, {50, 5}), 0);
}

TEST(Machine, IdleSpinsOnlyWithACpuForEachThread)
{
    const int apart[] = {0, 1, 2};
    const int shared[] = {0, 1, 1};
    EXPECT_EQ(tr_perf_idle_resolve(TR_IDLE_AUTO, apart, 3), TR_IDLE_SPIN);
    EXPECT_EQ(tr_perf_idle_resolve(TR_IDLE_AUTO, shared, 3), TR_IDLE_YIELD);
    EXPECT_EQ(tr_perf_idle_resolve(TR_IDLE_AUTO, shared, 2), TR_IDLE_SPIN);
    EXPECT_EQ(tr_perf_idle_resolve(TR_IDLE_PAUSE, shared, 3), TR_IDLE_PAUSE);
}

TEST(Machine, AThreadRunsOnTheCpuThatItIsPinnedTo)
{
    int cpus[TR_PERF_CPUS_MAX];
    uint32_t count = tr_perf_cpus(cpus, TR_PERF_CPUS_MAX);
    ASSERT_GE(count, 1u);
    ASSERT_EQ(tr_perf_pin(cpus[count - 1]), 0);
    int now[TR_PERF_CPUS_MAX];
    ASSERT_EQ(tr_perf_cpus(now, TR_PERF_CPUS_MAX), 1u);
    EXPECT_EQ(now[0], cpus[count - 1]);
    tr_perf_unpin(cpus, count);
    EXPECT_EQ(tr_perf_cpus(now, TR_PERF_CPUS_MAX), count);
}

TEST(Machine, ACpuThatIsNotThereIsRefused)
{
    EXPECT_EQ(tr_perf_pin(-1), TR_EINVAL);
    EXPECT_EQ(tr_perf_pin(1 << 20), TR_EINVAL);
}
