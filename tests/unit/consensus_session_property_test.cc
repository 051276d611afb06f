#include "tests/unit/session_property.h"

#include <gtest/gtest.h>

namespace
{

TEST(session_property, effects_are_single_replicas_alike_and_wanted_replies_found)
{
    uint64_t effects = 0;
    uint64_t evictions = 0;
    uint64_t duplicates = 0;
    uint64_t restores = 0;
    uint64_t moves = 0;
    uint64_t cache_evictions = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        session_property::world w(seed, TR_CANARY_SESSION_NONE);
        ASSERT_EQ("", w.run(1000)) << "seed " << seed;
        effects += w.effects();
        evictions += w.evictions();
        duplicates += w.duplicates();
        restores += w.restores();
        moves += w.moves();
        cache_evictions += w.cache_evictions();
    }
    // The workload must have been where it hurts.
    EXPECT_GT(effects, 10000u);
    EXPECT_GT(evictions, 1000u);
    EXPECT_GT(duplicates, 10000u);
    EXPECT_GT(restores, 1000u);
    EXPECT_GT(moves, 300u);
    EXPECT_GT(cache_evictions, 100u);
}

} // namespace
