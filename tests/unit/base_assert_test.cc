#include "base/assert.h"
#include "base/types.h"

#include <gtest/gtest.h>

namespace
{

TEST(assert_death, a_false_assertion_ends_the_process_and_says_where)
{
    int two = 2;
    EXPECT_DEATH(tr_assert(two == 3), "base_assert_test.cc:.*two == 3");
}

TEST(assert_death, a_place_that_cannot_be_reached_ends_the_process)
{
    EXPECT_DEATH(tr_unreachable(), "unreachable");
}

TEST(assert, a_true_assertion_evaluates_once_and_does_nothing)
{
    int calls = 0;
    tr_assert(++calls == 1);
    EXPECT_EQ(1, calls);
}

TEST(types, the_container_of_a_member_is_found)
{
    struct pair {
        int first;
        int second;
    } pair = {1, 2};
    int *second = &pair.second;
    EXPECT_EQ(&pair, tr_container_of(second, struct pair, second));
    int numbers[7] = {0};
    EXPECT_EQ(7u, TR_ARRAY_COUNT(numbers));
}

} // namespace
