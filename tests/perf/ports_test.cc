#include "perf/ports.h"

#include <gtest/gtest.h>

TEST(Ports, AQuorumHasWhatSoManyFollowersHaveAcknowledged)
{
    const tr_perf_mark acked[] = {{7, 1}, {3, 1}, {5, 1}, {5, 1}};
    EXPECT_EQ(tr_perf_quorum_commands(acked, 4, 1, 9), 7u);
    EXPECT_EQ(tr_perf_quorum_commands(acked, 4, 2, 9), 5u);
    EXPECT_EQ(tr_perf_quorum_commands(acked, 4, 3, 9), 5u);
    EXPECT_EQ(tr_perf_quorum_commands(acked, 4, 4, 9), 3u);
    EXPECT_EQ(tr_perf_quorum_commands(acked, 0, 0, 9), 9u) << "the leader alone";
}
