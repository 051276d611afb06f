// Memory that is used again looks like memory that never was.
#include "tests/sim/pages.h"

#include <cstring>
#include <gtest/gtest.h>
#include <sys/mman.h>

namespace
{

constexpr size_t PAGE = 4096, LARGE = 32u << 20;

uint8_t *take(size_t bytes)
{
    void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? nullptr : static_cast<uint8_t *>(at);
}

size_t count_dirty(const uint8_t *at, size_t bytes)
{
    size_t dirty = 0;
    for (size_t i = 0; i < bytes; i++)
        dirty += at[i] != 0;
    return dirty;
}

TEST(SimPages, OfARegionThatWasWrittenAllOver_AreZeroWhenItIsTakenAgain)
{
    for (size_t bytes : {PAGE, 3 * PAGE, 16 * PAGE, 17 * PAGE, 700 * PAGE}) {
        uint8_t *first = take(bytes);
        ASSERT_NE(first, nullptr);
        memset(first, 0xa5, bytes);
        ASSERT_EQ(munmap(first, bytes), 0);
        uint64_t reused = sim::pages_count().reused;
        uint8_t *second = take(bytes);
        EXPECT_EQ(sim::pages_count().reused, reused + 1) << "the test says nothing";
        EXPECT_EQ(second, first);
        EXPECT_EQ(count_dirty(second, bytes), 0u);
        munmap(second, bytes);
    }
}

TEST(SimPages, OfASparseRegion_CostWhatWasWritten)
{
    uint8_t *first = take(LARGE);
    ASSERT_NE(first, nullptr);
    for (size_t page : {0, 1, 511, 512, 4095, 4096, 8191})
        first[page * PAGE + 100] = 1;
    munmap(first, LARGE);
    uint64_t cleared = sim::pages_count().cleared;
    uint8_t *second = take(LARGE);
    EXPECT_EQ(second, first);
    EXPECT_EQ(sim::pages_count().cleared - cleared, 7 * PAGE);
    EXPECT_EQ(count_dirty(second, LARGE), 0u);
    munmap(second, LARGE);
}

// More pieces than a scan tells of at once.
TEST(SimPages, EveryOtherOneWritten_AreAllFound)
{
    uint8_t *first = take(LARGE);
    ASSERT_NE(first, nullptr);
    for (size_t at = 0; at < LARGE; at += 2 * PAGE)
        first[at] = 1;
    munmap(first, LARGE);
    uint8_t *second = take(LARGE);
    EXPECT_EQ(second, first);
    EXPECT_EQ(count_dirty(second, LARGE), 0u);
    munmap(second, LARGE);
}

// As an arena does, to align what it mapped.
TEST(SimPages, OfARegionWhoseEndIsCutOff_StayTakenUntilTheBeginningIsGivenBack)
{
    uint8_t *first = take(4u << 20);
    ASSERT_NE(first, nullptr);
    munmap(first + (2u << 20), 2u << 20);
    uint8_t *other = take(4u << 20);
    EXPECT_NE(other, first);
    munmap(first, 2u << 20);
    EXPECT_EQ(take(4u << 20), first);
    munmap(first, 4u << 20);
    munmap(other, 4u << 20);
}

TEST(SimPages, ThatAreHuge_AreRefused)
{
    void *at = mmap(nullptr, 2u << 20, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    EXPECT_EQ(at, MAP_FAILED);
}

TEST(SimPages, ThatAreNotKept_AreTheKernels)
{
    uint64_t taken = sim::pages_count().taken;
    sim::pages_keep(false);
    uint8_t *at = take(PAGE);
    ASSERT_NE(at, nullptr);
    EXPECT_EQ(sim::pages_count().taken, taken);
    munmap(at, PAGE);
    sim::pages_keep(true);
    EXPECT_DEATH( // a sanitizer makes an exit of the signal
        {
            sim::pages_keep(false);
            uint8_t *gone = take(PAGE);
            munmap(gone, PAGE);
            *static_cast<volatile uint8_t *>(gone) = 1;
            exit(0);
        },
        "");
}

} // namespace
