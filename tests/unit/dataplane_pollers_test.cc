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

/* The entry of a process that entered the table and was killed; -1: something went wrong. */
int entry_of_dead(tr_pollers *table)
{
    int entry = -1;
    int pipes[2];
    if (pipe(pipes) != 0)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        int own = tr_pollers_enter(table, -1);
        ssize_t wrote = write(pipes[1], &own, sizeof(own));
        pause();
        _exit(wrote > 0);
    }
    if (read(pipes[0], &entry, sizeof(entry)) != (ssize_t)sizeof(entry))
        entry = -1;
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    close(pipes[0]);
    close(pipes[1]);
    return entry;
}

/* Whether a thread gets this entry: among as many as the table holds somebody does, if it is free.
 */
bool is_taken(tr_pollers *table, int entry)
{
    std::vector<int> taken;
    bool found = false;
    for (int i = 0; i < TR_POLLERS_MAX && !found; i++)
        std::thread([&] {
            taken.push_back(tr_pollers_enter(table, -1));
            found |= taken.back() == entry;
        }).join();
    for (int one : taken)
        tr_pollers_leave(table, one);
    return found;
}

TEST(Pollers, ADeadProcessesEntriesAreTakenOver)
{
    tr_pollers *table = tr_pollers_open();
    ASSERT_NE(table, nullptr);
    bool again = false;
    /* A poller of another test may get it first: then with the next one that dies. */
    for (int i = 0; i < 20 && !again; i++) {
        int entry = entry_of_dead(table);
        ASSERT_GE(entry, 0);
        tr_pollers_count(table); /* looks who lives */
        again = is_taken(table, entry);
    }
    EXPECT_TRUE(again);
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
