/* The few words of googletest that the worlds of the unit tests are written with, for programs
 * without it: what does not hold ends the process. */
#ifndef TR_TESTS_FUZZ_SHIM_GTEST_H
#define TR_TESTS_FUZZ_SHIM_GTEST_H

#include "tests/fuzz/target.h"

#define EXPECT_TRUE(condition)  fuzz::require(static_cast<bool>(condition), #condition)
#define EXPECT_EQ(wanted, what) fuzz::require((wanted) == (what), #what " is " #wanted)
#define ASSERT_TRUE(condition)  EXPECT_TRUE(condition)
#define ASSERT_EQ(wanted, what) EXPECT_EQ(wanted, what)

#endif
