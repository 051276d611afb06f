#include "base/tsc.h"

#include <gtest/gtest.h>

namespace
{

TEST(tsc, an_invariant_counter_counts)
{
    if (!tr_tsc_is_invariant())
        GTEST_SKIP() << "no invariant counter on this machine";
    uint64_t before = tr_tsc_read();
    EXPECT_NE(0u, before);
    uint64_t after = before;
    for (int i = 0; i < 1000000 && after == before; i++)
        after = tr_tsc_read();
    EXPECT_NE(before, after);
}

} // namespace
