#include "base/crc32c.h"

#include "base/prng.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace
{

// RFC 3720, B.4.
TEST(crc32c, vectors_of_rfc_3720)
{
    uint8_t data[32];
    memset(data, 0x00, sizeof(data));
    EXPECT_EQ(0x8a9136aau, tr_crc32c(0, data, sizeof(data)));
    memset(data, 0xff, sizeof(data));
    EXPECT_EQ(0x62a8ab43u, tr_crc32c(0, data, sizeof(data)));
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = static_cast<uint8_t>(i);
    EXPECT_EQ(0x46dd794eu, tr_crc32c(0, data, sizeof(data)));
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = static_cast<uint8_t>(31 - i);
    EXPECT_EQ(0x113fdb5cu, tr_crc32c(0, data, sizeof(data)));
    const uint8_t read_command[48] = {0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                      0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00,
                                      0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00,
                                      0x00, 0x18, 0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                      0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
    EXPECT_EQ(0xd9963a56u, tr_crc32c(0, read_command, sizeof(read_command)));
}

TEST(crc32c, check_value_of_the_digits)
{
    EXPECT_EQ(0xe3069283u, tr_crc32c(0, "123456789", 9));
    EXPECT_EQ(0xe3069283u, tr_crc32c_by_table(0, "123456789", 9));
}

TEST(crc32c, of_nothing_is_the_seed)
{
    EXPECT_EQ(0u, tr_crc32c(0, nullptr, 0));
    EXPECT_EQ(0x12345678u, tr_crc32c(0x12345678, nullptr, 0));
}

TEST(crc32c, instruction_and_table_agree_on_every_length_and_alignment)
{
    std::vector<uint8_t> data(1200);
    tr_prng p;
    tr_prng_seed(&p, 1);
    for (uint8_t &byte : data)
        byte = static_cast<uint8_t>(tr_prng_next(&p));
    for (size_t bytes = 0; bytes < 1100; bytes++) {
        uint32_t seed = static_cast<uint32_t>(tr_prng_next(&p));
        const uint8_t *at = data.data() + bytes % 9;
        ASSERT_EQ(tr_crc32c_by_table(seed, at, bytes), tr_crc32c(seed, at, bytes)) << bytes;
    }
}

TEST(crc32c, parts_in_a_row_give_the_checksum_of_the_whole)
{
    std::vector<uint8_t> data(700);
    tr_prng p;
    tr_prng_seed(&p, 2);
    for (uint8_t &byte : data)
        byte = static_cast<uint8_t>(tr_prng_next(&p));
    uint32_t whole = tr_crc32c(7, data.data(), data.size());
    for (size_t cut = 0; cut <= data.size(); cut++) {
        uint32_t first = tr_crc32c(7, data.data(), cut);
        ASSERT_EQ(whole, tr_crc32c(first, data.data() + cut, data.size() - cut)) << cut;
    }
}

TEST(crc32c, every_flipped_bit_is_noticed)
{
    uint8_t data[64] = {0};
    uint32_t whole = tr_crc32c(0, data, sizeof(data));
    for (unsigned bit = 0; bit < sizeof(data) * 8; bit++) {
        data[bit / 8] = static_cast<uint8_t>(1u << (bit % 8));
        EXPECT_NE(whole, tr_crc32c(0, data, sizeof(data))) << bit;
        data[bit / 8] = 0;
    }
}

} // namespace
