// The switch in both positions.
#include "base/canary.h"

#include <gtest/gtest.h>

namespace
{

static_assert(TR_CANARY(there_is_no_such_field, no_such_name) == 0,
              "in a release the condition is a constant and reads nothing");

#undef TR_BASE_CANARY_H
#undef TR_CANARY
#define TR_CANARIES
#include "base/canary.h"

enum canary { TR_CANARY_none, TR_CANARY_forget_promise, TR_CANARY_skip_drain };

TEST(canary, a_canary_build_has_the_selected_bug_and_no_other)
{
    unsigned field = TR_CANARY_skip_drain;
    EXPECT_TRUE(TR_CANARY(field, skip_drain));
    EXPECT_FALSE(TR_CANARY(field, forget_promise));
    field = TR_CANARY_none;
    EXPECT_FALSE(TR_CANARY(field, skip_drain));
}

} // namespace
