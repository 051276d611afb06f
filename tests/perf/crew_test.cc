#include "perf/crew.h"

#include "base/atomic.h"
#include "trireme/error.h"

#include <gtest/gtest.h>

#include <csignal>
#include <sys/mman.h>
#include <unistd.h>

namespace
{

// What the jobs below note down, shared with processes too.
struct Board {
    uint64_t sums[TR_PERF_WORKERS_MAX];
    uint64_t polls[TR_PERF_WORKERS_MAX];
    int pids[TR_PERF_WORKERS_MAX];
};

int add(void *context, uint32_t worker, uint64_t argument, const uint32_t *)
{
    Board *board = static_cast<Board *>(context);
    board->sums[worker] += argument;
    board->pids[worker] = getpid();
    return argument == 13 && worker == 1 ? TR_EPERM : TR_OK;
}

int poll_until_stopped(void *context, uint32_t worker, uint64_t, const uint32_t *stop)
{
    Board *board = static_cast<Board *>(context);
    while (tr_load_relaxed(stop) == 0)
        tr_fetch_add_relaxed(&board->polls[worker], 1);
    return TR_OK;
}

int die(void *, uint32_t worker, uint64_t, const uint32_t *stop)
{
    if (worker == 0)
        _exit(1);
    while (tr_load_relaxed(stop) == 0)
        usleep(100);
    return TR_OK;
}

const tr_perf_job_fn jobs[] = {add, poll_until_stopped, die};
const int unpinned[] = {-1, -1, -1};

class Crew : public testing::TestWithParam<bool>
{
  protected:
    void SetUp() override
    {
        board = static_cast<Board *>(tr_perf_shared(sizeof(Board)));
        ASSERT_NE(board, nullptr);
        tr_perf_crew_options options = {3, unpinned, GetParam(), jobs, 3, board};
        ASSERT_EQ(tr_perf_crew_open(&options, &crew), TR_OK);
    }
    void TearDown() override
    {
        tr_perf_crew_close(crew);
        munmap(board, sizeof(Board));
    }
    Board *board = nullptr;
    tr_perf_crew *crew = nullptr;
};

} // namespace

TEST_P(Crew, EveryWorkerDoesEveryJobOnce)
{
    for (uint64_t i = 1; i <= 10; i++)
        EXPECT_EQ(tr_perf_crew_run(crew, 0, i), TR_OK);
    for (uint32_t i = 0; i < 3; i++) {
        EXPECT_EQ(board->sums[i], 55u);
        EXPECT_EQ(board->pids[i] == getpid(), !GetParam());
    }
    EXPECT_EQ(board->sums[3], 0u);
}

TEST_P(Crew, AJobRunsUntilItIsStopped)
{
    for (int i = 0; i < 3; i++) {
        tr_perf_crew_begin(crew, 1, 0);
        // Each worker polls on: bounded by the test's own time.
        for (uint32_t w = 0; w < 3; w++)
            for (uint64_t seen = tr_load_relaxed(&board->polls[w]);
                 tr_load_relaxed(&board->polls[w]) == seen;)
                usleep(100);
        EXPECT_EQ(tr_perf_crew_stop(crew), TR_OK);
        uint64_t stopped = tr_load_relaxed(&board->polls[0]);
        usleep(1000);
        EXPECT_EQ(tr_load_relaxed(&board->polls[0]), stopped);
    }
}

TEST_P(Crew, TheErrorOfAWorkerIsTold)
{
    EXPECT_EQ(tr_perf_crew_run(crew, 0, 13), TR_EPERM);
    EXPECT_EQ(tr_perf_crew_run(crew, 0, 1), TR_OK);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Crew, testing::Values(false, true),
                         [](const auto &kind) { return kind.param ? "Processes" : "Threads"; });

TEST(CrewOfProcesses, ADeadProcessIsToldAndTheOthersEnd)
{
    Board *board = static_cast<Board *>(tr_perf_shared(sizeof(Board)));
    tr_perf_crew *crew = nullptr;
    tr_perf_crew_options options = {3, unpinned, true, jobs, 3, board};
    ASSERT_EQ(tr_perf_crew_open(&options, &crew), TR_OK);
    tr_perf_crew_begin(crew, 2, 0);
    EXPECT_EQ(tr_perf_crew_stop(crew), TR_ECLOSED);
    tr_perf_crew_close(crew);
    munmap(board, sizeof(Board));
}

TEST(CrewOfNobody, JobsEndAtOnce)
{
    tr_perf_crew *crew = nullptr;
    tr_perf_crew_options options = {0, unpinned, false, jobs, 3, nullptr};
    ASSERT_EQ(tr_perf_crew_open(&options, &crew), TR_OK);
    EXPECT_EQ(tr_perf_crew_run(crew, 0, 1), TR_OK);
    tr_perf_crew_close(crew);
}
