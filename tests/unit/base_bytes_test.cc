#include "base/bytes.h"

#include <gtest/gtest.h>

#include <cstring>

namespace
{

TEST(bytes, numbers_are_little_endian_at_any_alignment)
{
    uint8_t memory[16] = {0};
    tr_store_le16(memory + 1, 0x0102);
    tr_store_le32(memory + 3, 0x03040506);
    tr_store_le64(memory + 7, UINT64_C(0x0708090a0b0c0d0e));
    const uint8_t expected[16] = {0,    0x02, 0x01, 0x06, 0x05, 0x04, 0x03, 0x0e,
                                  0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08, 0x07, 0};
    EXPECT_EQ(0, memcmp(memory, expected, sizeof(memory)));
    EXPECT_EQ(0x0102, tr_load_le16(memory + 1));
    EXPECT_EQ(0x03040506u, tr_load_le32(memory + 3));
    EXPECT_EQ(UINT64_C(0x0708090a0b0c0d0e), tr_load_le64(memory + 7));
}

TEST(bytes, powers_of_two_are_told_from_other_numbers)
{
    EXPECT_FALSE(tr_is_power_of_two(0));
    EXPECT_FALSE(tr_is_power_of_two(3));
    EXPECT_FALSE(tr_is_power_of_two(UINT64_MAX));
    for (unsigned bit = 0; bit < 64; bit++)
        EXPECT_TRUE(tr_is_power_of_two(UINT64_C(1) << bit));
}

TEST(bytes, alignment_keeps_multiples_and_moves_others)
{
    EXPECT_EQ(0u, tr_align_up_u32(0, 64));
    EXPECT_EQ(64u, tr_align_up_u32(1, 64));
    EXPECT_EQ(64u, tr_align_up_u32(64, 64));
    EXPECT_EQ(128u, tr_align_up_u32(65, 64));
    EXPECT_EQ(0u, tr_align_down_u32(63, 64));
    EXPECT_EQ(64u, tr_align_down_u32(127, 64));
    EXPECT_EQ(UINT64_C(1) << 40, tr_align_up_u64((UINT64_C(1) << 40) - 7, 8));
    EXPECT_EQ((UINT64_C(1) << 40) - 8, tr_align_down_u64((UINT64_C(1) << 40) - 7, 8));
}

TEST(bytes, smaller_and_larger)
{
    EXPECT_EQ(1u, tr_min_u32(1, UINT32_MAX));
    EXPECT_EQ(UINT32_MAX, tr_max_u32(1, UINT32_MAX));
    EXPECT_EQ(1u, tr_min_u64(UINT64_MAX, 1));
    EXPECT_EQ(UINT64_MAX, tr_max_u64(UINT64_MAX, 1));
}

TEST(bytes, spans_are_equal_by_content)
{
    EXPECT_TRUE(tr_span_equal(tr_span_of(nullptr, 0), tr_span_of("x", 0)));
    EXPECT_TRUE(tr_span_equal(tr_span_of("abc", 3), tr_span_of("abd", 2)) == false);
    EXPECT_TRUE(tr_span_equal(tr_span_of("abc", 2), tr_span_of("abd", 2)));
    EXPECT_FALSE(tr_span_equal(tr_span_of("abc", 3), tr_span_of("abd", 3)));
}

TEST(bytes, reader_returns_what_the_writer_wrote)
{
    uint8_t memory[64];
    tr_pack w = tr_pack_into(memory, sizeof(memory));
    tr_pack_u8(&w, 0xab);
    tr_pack_u16(&w, 0x1234);
    tr_pack_u32(&w, 0xdeadbeef);
    tr_pack_u64(&w, UINT64_C(0x1122334455667788));
    tr_pack_copy(&w, "trireme", 7);
    tr_pack_zero(&w, 3);
    ASSERT_FALSE(w.failed);
    ASSERT_EQ(1u + 2 + 4 + 8 + 7 + 3, tr_pack_bytes(&w));

    tr_unpack r = tr_unpack_from(memory, tr_pack_bytes(&w));
    char name[8] = {0};
    EXPECT_EQ(0xab, tr_unpack_u8(&r));
    EXPECT_EQ(0x1234, tr_unpack_u16(&r));
    EXPECT_EQ(0xdeadbeefu, tr_unpack_u32(&r));
    EXPECT_EQ(UINT64_C(0x1122334455667788), tr_unpack_u64(&r));
    EXPECT_FALSE(tr_unpack_is_complete(&r));
    EXPECT_TRUE(tr_unpack_copy(&r, name, 7));
    EXPECT_STREQ("trireme", name);
    tr_unpack_zero(&r, 3);
    EXPECT_TRUE(tr_unpack_is_complete(&r));
}

TEST(bytes, reader_past_the_end_fails_and_stays_failed)
{
    const uint8_t memory[3] = {1, 2, 3};
    tr_unpack r = tr_unpack_from(memory, sizeof(memory));
    EXPECT_EQ(0u, tr_unpack_u32(&r));
    EXPECT_TRUE(r.failed);
    EXPECT_EQ(0u, tr_unpack_u8(&r)) << "a smaller read after the failure must not succeed";
    EXPECT_EQ(nullptr, tr_unpack_take(&r, 0));
    EXPECT_EQ(nullptr, tr_unpack_span(&r, 1).data);
    EXPECT_FALSE(tr_unpack_is_complete(&r));
}

TEST(bytes, reader_of_a_length_near_the_largest_does_not_wrap)
{
    const uint8_t memory[4] = {0};
    tr_unpack r = tr_unpack_from(memory, sizeof(memory));
    EXPECT_EQ(nullptr, tr_unpack_take(&r, SIZE_MAX));
    EXPECT_TRUE(r.failed);
}

TEST(bytes, reader_of_nothing_is_complete)
{
    tr_unpack r = tr_unpack_from(nullptr, 0);
    EXPECT_TRUE(tr_unpack_copy(&r, nullptr, 0));
    EXPECT_TRUE(tr_unpack_is_complete(&r));
}

TEST(bytes, reserved_bytes_that_are_not_zero_fail)
{
    const uint8_t memory[4] = {0, 0, 1, 0};
    tr_unpack r = tr_unpack_from(memory, sizeof(memory));
    tr_unpack_zero(&r, 2);
    EXPECT_FALSE(r.failed);
    tr_unpack_zero(&r, 2);
    EXPECT_TRUE(r.failed);
}

TEST(bytes, writer_past_the_end_fails_and_writes_nothing_more)
{
    uint8_t memory[8] = {0};
    tr_pack w = tr_pack_into(memory, 3);
    tr_pack_u16(&w, 0x0101);
    tr_pack_u32(&w, UINT32_MAX);
    tr_pack_u8(&w, 0xff);
    EXPECT_TRUE(w.failed);
    EXPECT_EQ(2u, tr_pack_bytes(&w));
    const uint8_t expected[8] = {1, 1};
    EXPECT_EQ(0, memcmp(memory, expected, sizeof(memory)));
}

} // namespace
