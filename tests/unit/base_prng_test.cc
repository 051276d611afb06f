#include "base/prng.h"

#include <gtest/gtest.h>

#include <set>

namespace
{

// The first outputs of the authors' splitmix64.c for the seed 1234567.
TEST(prng, splitmix64_makes_the_published_numbers)
{
    uint64_t x = 1234567;
    EXPECT_EQ(UINT64_C(6457827717110365317), tr_splitmix64(&x));
    EXPECT_EQ(UINT64_C(3203168211198807973), tr_splitmix64(&x));
    EXPECT_EQ(UINT64_C(9817491932198370423), tr_splitmix64(&x));
}

// The first outputs of the authors' xoshiro256starstar.c for the state 1, 2, 3, 4.
TEST(prng, xoshiro256_makes_the_published_numbers)
{
    tr_prng p = {{1, 2, 3, 4}};
    EXPECT_EQ(UINT64_C(11520), tr_prng_next(&p));
    EXPECT_EQ(UINT64_C(0), tr_prng_next(&p));
    EXPECT_EQ(UINT64_C(1509978240), tr_prng_next(&p));
    EXPECT_EQ(UINT64_C(1215971899390074240), tr_prng_next(&p));
}

TEST(prng, the_same_seed_replays_and_another_does_not)
{
    tr_prng a, b, c;
    tr_prng_seed(&a, 42);
    tr_prng_seed(&b, 42);
    tr_prng_seed(&c, 43);
    unsigned equal = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t number = tr_prng_next(&a);
        ASSERT_EQ(number, tr_prng_next(&b));
        equal += number == tr_prng_next(&c);
    }
    EXPECT_EQ(0u, equal);
}

TEST(prng, seed_zero_makes_a_good_source)
{
    tr_prng p;
    tr_prng_seed(&p, 0);
    std::set<uint64_t> seen;
    for (int i = 0; i < 1000; i++)
        seen.insert(tr_prng_next(&p));
    EXPECT_EQ(1000u, seen.size());
}

TEST(prng, below_stays_below_and_reaches_all)
{
    tr_prng p;
    tr_prng_seed(&p, 7);
    unsigned counts[6] = {0};
    for (int i = 0; i < 60000; i++)
        counts[tr_prng_below(&p, 6)]++;
    for (unsigned count : counts) // 10,000 expected, standard deviation 91
        EXPECT_NEAR(10000.0, count, 600.0);
    for (int i = 0; i < 100; i++)
        EXPECT_EQ(0u, tr_prng_below(&p, 1));
}

// With a bound of 3/4 of the range, a source that only reduced (modulo, or by the high half without
// drawing again) would give the lower third twice as often as it should.
TEST(prng, below_is_unbiased_for_a_huge_bound)
{
    tr_prng p;
    tr_prng_seed(&p, 8);
    const uint64_t bound = UINT64_C(3) << 62;
    unsigned thirds[3] = {0};
    unsigned odd = 0;
    for (int i = 0; i < 30000; i++) {
        uint64_t number = tr_prng_below(&p, bound);
        ASSERT_LT(number, bound);
        thirds[number >> 62]++;
        odd += number % 3 == 1;
    }
    for (unsigned count : thirds)
        EXPECT_NEAR(10000.0, count, 500.0);
    EXPECT_NEAR(10000.0, odd, 500.0);
}

TEST(prng, chance_is_never_always_and_between)
{
    tr_prng p;
    tr_prng_seed(&p, 9);
    unsigned taken = 0;
    for (int i = 0; i < 100000; i++) {
        ASSERT_FALSE(tr_prng_chance(&p, 0));
        ASSERT_TRUE(tr_prng_chance(&p, 1000000));
        taken += tr_prng_chance(&p, 100000);
    }
    EXPECT_NEAR(10000.0, taken, 600.0);
}

} // namespace
