/* The machine's table of polling threads. */
#include "dataplane/pollers.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace
{

/* The table is shared with whatever else polls on this machine: what is there before is counted
 * out. */
TEST(Pollers, EachThreadCountsOnceUntilItLeaves)
{
    tr_pollers *table = tr_pollers_open();
    ASSERT_NE(table, nullptr);
    int entry = tr_pollers_enter(table, 0);
    ASSERT_GE(entry, 0);
    EXPECT_EQ(tr_pollers_enter(table, 0), entry);
    EXPECT_GE(tr_pollers_count(table), 1u);
    std::thread([&] {
        int other = tr_pollers_enter(table, 0);
        EXPECT_NE(other, entry);
        EXPECT_TRUE(tr_pollers_crowded(table, entry, 64)); /* two on one CPU */
        tr_pollers_leave(table, other);
    }).join();
    tr_pollers_leave(table, entry);
    tr_pollers_leave(table, -1); /* of a full table */
    tr_pollers_close(table);
}

TEST(Pollers, ADeadProcessesEntriesAreTakenOver)
{
    tr_pollers *table = tr_pollers_open();
    ASSERT_NE(table, nullptr);
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        int entry = tr_pollers_enter(table, -1);
        ssize_t wrote = write(pipes[1], &entry, sizeof(entry));
        pause();
        _exit(wrote > 0);
    }
    int entry = -1;
    ASSERT_EQ(read(pipes[0], &entry, sizeof(entry)), (ssize_t)sizeof(entry));
    ASSERT_GE(entry, 0);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    tr_pollers_count(table); /* looks who lives */
    /* Its entry is free again: among as many as the table holds, somebody gets it. */
    std::vector<int> taken;
    bool again = false;
    for (int i = 0; i < TR_POLLERS_MAX && !again; i++)
        std::thread([&] {
            taken.push_back(tr_pollers_enter(table, -1));
            again |= taken.back() == entry;
        }).join();
    EXPECT_TRUE(again);
    for (int one : taken)
        tr_pollers_leave(table, one);
    close(pipes[0]);
    close(pipes[1]);
    tr_pollers_close(table);
}

TEST(Pollers, WithoutATableOnlyTheCpusCount)
{
    EXPECT_EQ(tr_pollers_enter(nullptr, 0), -1);
    EXPECT_EQ(tr_pollers_count(nullptr), 0u);
    EXPECT_TRUE(tr_pollers_crowded(nullptr, -1, 1));
    EXPECT_FALSE(tr_pollers_crowded(nullptr, -1, 2));
    tr_pollers_leave(nullptr, 0);
    tr_pollers_close(nullptr);
}

} // namespace
