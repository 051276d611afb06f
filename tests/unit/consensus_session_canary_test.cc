// The property of sessions can fail: each bug on purpose is caught by it.
#include "tests/unit/session_property.h"

#include <gtest/gtest.h>

namespace
{

class session_canary : public testing::TestWithParam<uint32_t>
{
};

TEST_P(session_canary, is_caught_by_the_property)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        session_property::world w(seed, GetParam());
        std::string violation = w.run(400);
        if (!violation.empty()) {
            RecordProperty("violation", violation);
            RecordProperty("seed", static_cast<int>(seed));
            return;
        }
    }
    FAIL() << "not caught in 50 seeds";
}

INSTANTIATE_TEST_SUITE_P(all, session_canary,
                         testing::Range<uint32_t>(TR_CANARY_SESSION_NONE + 1,
                                                  TR_CANARY_SESSION_NUMBER_REUSED + 1));

TEST(session_property, holds_with_the_canaries_compiled_in_and_none_selected)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        session_property::world w(seed, TR_CANARY_SESSION_NONE);
        ASSERT_EQ("", w.run(400)) << "seed " << seed;
    }
}

} // namespace
