/* The property test of the client's machine finds each bug that can be planted in it. */
#include "tests/unit/client_world.h"

#include <gtest/gtest.h>

namespace
{

using namespace client_world;

/* Whether any of 200 seeds shows that something is wrong. */
bool is_found(uint32_t canary)
{
    Faults faults;
    faults.drop = 50000;
    faults.duplicate = 100000;
    faults.delay = 200000;
    faults.forget = 2000;
    faults.move = 2000;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        World w(seed, faults, canary);
        if (!stream(w, 300, 200000).empty())
            return true;
    }
    return false;
}

TEST(client_canary, without_one_nothing_is_found)
{
    EXPECT_FALSE(is_found(TR_CANARY_CLIENT_NONE));
}

TEST(client_canary, a_reply_taken_twice_is_found)
{
    EXPECT_TRUE(is_found(TR_CANARY_CLIENT_REPLY_TWICE));
}

TEST(client_canary, a_reply_taken_early_is_found)
{
    EXPECT_TRUE(is_found(TR_CANARY_CLIENT_REPLY_EARLY));
}

TEST(client_canary, an_early_acknowledgement_is_found)
{
    EXPECT_TRUE(is_found(TR_CANARY_CLIENT_ACKED_EARLY));
}

} // namespace
