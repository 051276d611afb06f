/* The log: what is replaced or forgotten in it is room again. */
#include "consensus/log.h"
#include "tests/unit/record_builder.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <vector>

namespace
{

constexpr uint32_t SLOTS = 64;
constexpr uint64_t ARENA = 64 << 10;

struct Compaction : ::testing::Test {
    std::vector<tr_slot> slots{SLOTS};
    void *arena = aligned_alloc(4096, ARENA);
    tr_log log;

    void SetUp() override
    {
        memset(static_cast<void *>(slots.data()), 0, SLOTS * sizeof(tr_slot));
        tr_log_init(&log, slots.data(), SLOTS, arena, ARENA);
    }
    void TearDown() override
    {
        free(arena);
    }
    /* Accepts a value of so many bytes, all of them `fill`. */
    tr_slot *put(uint64_t slot, uint64_t round, uint8_t fill, uint32_t bytes = 1000)
    {
        std::vector<uint64_t> words((sizeof(tr_record) + bytes + 71) / 8, 0);
        tr_record *record = reinterpret_cast<tr_record *>(words.data());
        memset(record + 1, fill, bytes);
        record->slot = slot;
        record->ballot = {round, 1, 1, 0};
        record->kind = TR_RECORD_NOOP;
        record->payload_bytes = bytes;
        record->payload_crc = tr_crc32c(0, record + 1, bytes);
        tr_record_seal(record);
        return tr_log_put(&log, record, TR_SLOT_ACCEPTED);
    }
    uint8_t value(uint64_t slot)
    {
        const tr_slot *s = tr_log_at(&log, slot);
        return s != nullptr ? *reinterpret_cast<uint8_t *>(tr_log_record(&log, s) + 1) : 0;
    }
};

TEST_F(Compaction, WhatWasReplaced_IsRoomAfterACompaction)
{
    uint64_t last = 0;
    while (last < SLOTS / 2 && put(last + 1, 1, 1) != nullptr)
        last++;
    uint64_t replaced = 0;
    while (replaced < last - 1 && put(replaced + 2, 2, 2) != nullptr)
        replaced++;
    ASSERT_GT(replaced, 0u);
    while (put(last + 1, 2, 3) != nullptr)
        last++;
    EXPECT_GE(tr_log_compact(&log), replaced * 1000) << "slot 1 held up the tail";
    EXPECT_NE(nullptr, put(last + 1, 2, 3));
    EXPECT_EQ(1, value(1));
    for (uint64_t slot = 2; slot <= replaced + 1; slot++)
        EXPECT_EQ(2, value(slot));
}

TEST_F(Compaction, WithNothingReplaced_IsNotWalkedAgain)
{
    for (uint64_t slot = 1; put(slot, 1, 1) != nullptr; slot++) {
    }
    EXPECT_FALSE(log.holes);
    EXPECT_EQ(0u, tr_log_compact(&log));
    tr_log_truncate(&log, 10);
    EXPECT_NE(nullptr, put(11, 2, 2)) << "the tail was free";
    EXPECT_TRUE(log.holes);
    EXPECT_GT(tr_log_compact(&log), 0u);
    EXPECT_FALSE(log.holes);
}

/* A replica that recovers takes in what comes, in any order: a later slot may lie before all that a
 * snapshot stands for. */
TEST_F(Compaction, WhatMayBeRecycledBehindWhatMayNot_IsRoom)
{
    ASSERT_NE(nullptr, put(40, 1, 9));
    uint64_t last = 0;
    while (last < 39 && put(last + 1, 1, 1, 2000) != nullptr)
        last++;
    ASSERT_LT(last, 39u);
    log.slot_recyclable = last;
    EXPECT_EQ(nullptr, put(last + 1, 1, 2, 2000)) << "slot 40 holds up the tail";
    EXPECT_GT(tr_log_compact(&log), last * 2000);
    EXPECT_NE(nullptr, put(last + 1, 1, 2, 2000));
    EXPECT_EQ(9, value(40));
    EXPECT_EQ(2, value(last + 1));
}

} // namespace
