#include "base/atomic.h"

#include <gtest/gtest.h>

#include <thread>

namespace
{

TEST(atomic, exchanges_and_additions_return_what_was_there)
{
    uint64_t word = 5;
    EXPECT_EQ(5u, tr_fetch_add_relaxed(&word, 2));
    EXPECT_EQ(7u, tr_exchange_acq_rel(&word, 8));
    EXPECT_EQ(8u, tr_fetch_or_acq_rel(&word, 1));
    EXPECT_EQ(9u, tr_fetch_and_acq_rel(&word, 1));
    EXPECT_EQ(1u, tr_load_acquire(&word));
}

TEST(atomic, a_failed_swap_tells_what_is_there)
{
    uint32_t word = 5, expected = 4;
    EXPECT_FALSE(tr_cas_acq_rel(&word, &expected, 6u));
    EXPECT_EQ(5u, expected);
    EXPECT_TRUE(tr_cas_acq_rel(&word, &expected, 6u));
    EXPECT_EQ(6u, word);
}

TEST(atomic, word_copies_keep_the_bytes_at_any_private_alignment)
{
    alignas(8) unsigned char shared[96];
    unsigned char in[100], out[100];
    for (unsigned i = 0; i < sizeof(in); i++)
        in[i] = static_cast<unsigned char>(i * 7);
    for (size_t bytes = 0; bytes <= sizeof(shared); bytes += 8) {
        for (unsigned offset = 0; offset < 4; offset++) {
            memset(shared, 0, sizeof(shared));
            memset(out, 0xee, sizeof(out));
            tr_write_relaxed_8(shared, in + offset, bytes);
            tr_copy_relaxed_8(out + offset, shared, bytes);
            ASSERT_EQ(0, memcmp(in + offset, out + offset, bytes));
            ASSERT_TRUE(offset + bytes == sizeof(out) || out[offset + bytes] == 0xee);
        }
    }
}

TEST(atomic, words_copied_beside_a_writer_are_whole)
{
    alignas(8) uint64_t shared[8] = {0};
    uint32_t done = 0;
    std::thread writer([&] {
        for (uint64_t i = 1; i <= 100000; i++) {
            uint64_t line[8];
            for (uint64_t &word : line)
                word = i << 32 | i;
            tr_write_relaxed_8(shared, line, sizeof(line));
        }
        tr_store_release(&done, 1u);
    });
    while (tr_load_acquire(&done) == 0) {
        uint64_t line[8];
        tr_copy_relaxed_8(line, shared, sizeof(line));
        for (uint64_t word : line)
            ASSERT_EQ(word >> 32, word & UINT32_MAX);
        std::this_thread::yield();
    }
    writer.join();
    EXPECT_EQ(UINT64_C(100000) << 32 | 100000, shared[7]);
}

} // namespace
