/* The memory of a node: regions, limits, the seal. */
#include "dataplane/arena.h"

#include "trireme/error.h"

#include <cstring>
#include <gtest/gtest.h>
#include <string>

namespace
{

class Arena : public ::testing::Test
{
  protected:
    ~Arena() override
    {
        tr_arena_close(&a);
    }
    tr_arena a = {};
};

TEST_F(Arena, GivesZeroedAlignedMemoryThatDoesNotOverlap)
{
    ASSERT_EQ(tr_arena_open(&a, 0), TR_OK);
    uint8_t *before = nullptr;
    uint64_t before_bytes = 0;
    for (uint64_t bytes : {1u, 64u, 100u, 5000u, 3u << 20, 7u}) {
        for (uint64_t align : {8u, 64u, 4096u}) {
            uint8_t *at = static_cast<uint8_t *>(tr_arena_take(&a, bytes, align));
            ASSERT_NE(at, nullptr);
            EXPECT_EQ(reinterpret_cast<uintptr_t>(at) % align, 0u);
            EXPECT_TRUE(at >= before + before_bytes || at + bytes <= before);
            EXPECT_EQ(at[0], 0);
            EXPECT_EQ(memcmp(at, at + 1, bytes - 1), 0);
            memset(at, 0xff, bytes);
            before = at;
            before_bytes = bytes;
        }
    }
}

TEST_F(Arena, WhatWasReservedIsTakenFromOneRegion)
{
    ASSERT_EQ(tr_arena_open(&a, 0), TR_OK);
    ASSERT_EQ(tr_arena_reserve(&a, 3 << 20), TR_OK);
    uint32_t regions = a.region_count;
    for (int i = 0; i < 3; i++)
        ASSERT_NE(tr_arena_take(&a, (1 << 20) - 8192, 4096), nullptr);
    EXPECT_EQ(a.region_count, regions);
}

TEST_F(Arena, TheLimitIsKept)
{
    ASSERT_EQ(tr_arena_open(&a, 4 << 20), TR_OK);
    EXPECT_EQ(tr_arena_reserve(&a, 5 << 20), TR_ENOMEM);
    EXPECT_NE(tr_arena_take(&a, 1 << 20, 64), nullptr);
    EXPECT_EQ(tr_arena_take(&a, 4 << 20, 64), nullptr);
    EXPECT_EQ(tr_arena_take_untouched(&a, 3 << 20), nullptr);
    EXPECT_NE(tr_arena_take_untouched(&a, 1 << 20), nullptr);
    EXPECT_LE(a.bytes, 4u << 20);
}

TEST_F(Arena, ASealedOneGivesNothing)
{
    ASSERT_EQ(tr_arena_open(&a, 0), TR_OK);
    ASSERT_NE(tr_arena_take(&a, 100, 8), nullptr);
    tr_arena_seal(&a);
    EXPECT_EQ(tr_arena_take(&a, 8, 8), nullptr);
    EXPECT_EQ(tr_arena_take_untouched(&a, 8), nullptr);
    EXPECT_EQ(tr_arena_reserve(&a, 8), TR_EBUSY);
    EXPECT_EQ(tr_arena_reserve(&a, 64 << 20), TR_EBUSY);
}

/* Untouched memory is a region of its own; what is taken next still comes from the one in use. */
TEST_F(Arena, UntouchedMemoryLeavesTheRegionInUse)
{
    ASSERT_EQ(tr_arena_open(&a, 0), TR_OK);
    ASSERT_EQ(tr_arena_reserve(&a, 2 << 20), TR_OK);
    uint8_t *one = static_cast<uint8_t *>(tr_arena_take(&a, 4096, 4096));
    uint8_t *lazy = static_cast<uint8_t *>(tr_arena_take_untouched(&a, 8 << 20));
    uint8_t *two = static_cast<uint8_t *>(tr_arena_take(&a, 4096, 4096));
    ASSERT_TRUE(one != nullptr && lazy != nullptr && two != nullptr);
    EXPECT_EQ(two, one + 4096);
    lazy[0] = lazy[(8 << 20) - 1] = 1;
}

/* Where there are no huge pages left (or none at all) the next best are taken, and it is said. */
TEST_F(Arena, FallsBackToOtherPagesAndSaysSo)
{
    char line[192];
    ASSERT_EQ(tr_arena_open(&a, 0), TR_OK);
    ASSERT_EQ(tr_arena_reserve(&a, 4 << 20), TR_OK);
    ASSERT_NE(tr_arena_take_untouched(&a, 1 << 20), nullptr);
    EXPECT_EQ(a.bytes_by[TR_PAGES_HUGETLB] + a.bytes_by[TR_PAGES_TRANSPARENT] +
                  a.bytes_by[TR_PAGES_NORMAL],
              a.bytes);
    EXPECT_GE(a.bytes_by[TR_PAGES_NORMAL], 1u << 20);
    tr_arena_describe(&a, line, sizeof(line));
    EXPECT_NE(std::string(line).find("5.0 MiB: "), std::string::npos) << line;
    EXPECT_NE(std::string(line).find("MiB of huge pages"), std::string::npos) << line;
    EXPECT_NE(std::string(line).find("MiB of normal pages"), std::string::npos) << line;
}

TEST_F(Arena, MoreThanTheMachineHasIsRefused)
{
    ASSERT_EQ(tr_arena_open(&a, 0), TR_OK);
    EXPECT_EQ(tr_arena_reserve(&a, UINT64_C(1) << 60), TR_ENOMEM);
    EXPECT_EQ(tr_arena_take(&a, UINT64_C(1) << 60, 64), nullptr);
    EXPECT_NE(tr_arena_take(&a, 64, 64), nullptr); /* it goes on */
}

} // namespace
