#include "perf/progress.h"

#include "tests/perf/stream.h"

#include <gtest/gtest.h>

TEST(Progress, AShortRunPrintsNothing)
{
    FILE *file = tmpfile();
    ASSERT_NE(file, nullptr);
    tr_perf_progress progress = tr_perf_progress_begin(file, "latency", 2);
    tr_perf_progress_step(&progress, 1);
    tr_perf_progress_end(&progress);
    EXPECT_EQ(ftell(file), 0);
    fclose(file);
}

TEST(Progress, ALongRunPrintsALineWithWhatIsDone)
{
    FILE *file = tmpfile();
    ASSERT_NE(file, nullptr);
    tr_perf_progress progress = tr_perf_progress_begin(file, "latency", 4);
    progress.begin_ns -= UINT64_C(10000000000);
    progress.shown_ns -= UINT64_C(10000000000);
    tr_perf_progress_step(&progress, 1);
    tr_perf_progress_step(&progress, 2);
    tr_perf_progress_end(&progress);
    char text[256] = "";
    rewind(file);
    ASSERT_NE(fgets(text, sizeof(text), file), nullptr);
    EXPECT_EQ(std::string(text), "latency: 1 of 4, 10 s, 30 s left\n");
    EXPECT_EQ(fgets(text, sizeof(text), file), nullptr) << "a second has not passed";
    fclose(file);
}
