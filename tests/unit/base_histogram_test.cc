#include "base/histogram.h"

#include "base/prng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

namespace
{

std::unique_ptr<tr_histogram> empty()
{
    auto h = std::make_unique<tr_histogram>();
    tr_histogram_reset(h.get());
    return h;
}

TEST(histogram, buckets_cover_the_range_without_gap_or_overlap)
{
    EXPECT_EQ(0u, tr_histogram_bucket_low_ns(0));
    for (unsigned i = 0; i + 1 < TR_HISTOGRAM_BUCKETS; i++) {
        uint64_t low = tr_histogram_bucket_low_ns(i);
        uint64_t high = tr_histogram_bucket_high_ns(i);
        ASSERT_LE(low, high) << i;
        ASSERT_EQ(high + 1, tr_histogram_bucket_low_ns(i + 1)) << i;
        ASSERT_EQ(i, tr_histogram_bucket_of(low));
        ASSERT_EQ(i, tr_histogram_bucket_of(high));
    }
    EXPECT_EQ(UINT64_MAX, tr_histogram_bucket_high_ns(TR_HISTOGRAM_BUCKETS - 1));
    EXPECT_EQ(TR_HISTOGRAM_BUCKETS - 1u, tr_histogram_bucket_of(UINT64_MAX));
}

TEST(histogram, a_bucket_is_at_most_a_64th_of_its_values)
{
    for (unsigned i = 0; i < TR_HISTOGRAM_BUCKETS; i++) {
        uint64_t low = tr_histogram_bucket_low_ns(i);
        ASSERT_LE(tr_histogram_bucket_high_ns(i) - low, low / 64) << i;
    }
}

TEST(histogram, while_empty_everything_is_zero)
{
    auto h = empty();
    EXPECT_EQ(0u, tr_histogram_count(h.get()));
    EXPECT_EQ(0u, tr_histogram_mean_ns(h.get()));
    EXPECT_EQ(0u, tr_histogram_min_ns(h.get()));
    EXPECT_EQ(0u, tr_histogram_max_ns(h.get()));
    EXPECT_EQ(0u, tr_histogram_percentile_ns(h.get(), 500000));
}

TEST(histogram, extremes_and_mean_are_exact)
{
    auto h = empty();
    tr_histogram_record(h.get(), 1000001);
    tr_histogram_record(h.get(), 3);
    tr_histogram_record(h.get(), 999999);
    EXPECT_EQ(3u, tr_histogram_count(h.get()));
    EXPECT_EQ(3u, tr_histogram_min_ns(h.get()));
    EXPECT_EQ(1000001u, tr_histogram_max_ns(h.get()));
    EXPECT_EQ(2000003u / 3, tr_histogram_mean_ns(h.get()));
    EXPECT_EQ(1000001u, tr_histogram_percentile_ns(h.get(), 1000000));
}

TEST(histogram, percentiles_are_within_a_64th_of_the_sorted_values)
{
    auto h = empty();
    tr_prng p;
    tr_prng_seed(&p, 3);
    std::vector<uint64_t> values;
    for (int i = 0; i < 20000; i++) {
        uint64_t value = tr_prng_next(&p) >> tr_prng_below(&p, 60);
        values.push_back(value);
        tr_histogram_record(h.get(), value);
    }
    std::sort(values.begin(), values.end());
    for (uint32_t ppm : {0u, 1u, 10000u, 500000u, 990000u, 999000u, 999900u, 1000000u}) {
        uint64_t rank = (values.size() * ppm + 999999) / 1000000;
        uint64_t exact = values[rank ? rank - 1 : 0];
        uint64_t told = tr_histogram_percentile_ns(h.get(), ppm);
        EXPECT_GE(told, exact) << ppm;
        EXPECT_LE(told - exact, exact / 64) << ppm;
    }
}

TEST(histogram, zero_and_the_largest_value_have_their_place)
{
    auto h = empty();
    tr_histogram_record(h.get(), 0);
    tr_histogram_record(h.get(), UINT64_MAX);
    EXPECT_EQ(0u, tr_histogram_percentile_ns(h.get(), 500000));
    EXPECT_EQ(UINT64_MAX, tr_histogram_percentile_ns(h.get(), 500001));
}

TEST(histogram, recording_a_count_is_recording_so_often)
{
    auto a = empty(), b = empty();
    tr_histogram_record_count(a.get(), 777, 5);
    for (int i = 0; i < 5; i++)
        tr_histogram_record(b.get(), 777);
    EXPECT_TRUE(std::equal(a->buckets, a->buckets + TR_HISTOGRAM_BUCKETS, b->buckets));
    EXPECT_EQ(a->sum_ns, b->sum_ns);
    EXPECT_EQ(a->count, b->count);
}

TEST(histogram, merging_is_recording_both)
{
    auto a = empty(), b = empty(), both = empty();
    tr_prng p;
    tr_prng_seed(&p, 4);
    for (int i = 0; i < 1000; i++) {
        uint64_t value = tr_prng_below(&p, 1000000);
        tr_histogram_record(i % 3 ? a.get() : b.get(), value);
        tr_histogram_record(both.get(), value);
    }
    tr_histogram_merge(a.get(), b.get());
    EXPECT_TRUE(std::equal(a->buckets, a->buckets + TR_HISTOGRAM_BUCKETS, both->buckets));
    EXPECT_EQ(both->count, a->count);
    EXPECT_EQ(both->sum_ns, a->sum_ns);
    EXPECT_EQ(both->min_ns, a->min_ns);
    EXPECT_EQ(both->max_ns, a->max_ns);
    auto nothing = empty();
    tr_histogram_merge(a.get(), nothing.get());
    EXPECT_EQ(both->min_ns, a->min_ns) << "an empty one has no smallest value";
}

TEST(histogram, a_reader_beside_the_writer_sees_counts_that_grow)
{
    auto h = empty();
    const uint64_t total = 100000;
    std::thread writer([&] {
        for (uint64_t i = 0; i < total; i++)
            tr_histogram_record(h.get(), i);
    });
    uint64_t last = 0;
    while (last < total) {
        uint64_t now = tr_histogram_count(h.get());
        ASSERT_GE(now, last);
        last = now;
        ASSERT_LT(tr_histogram_percentile_ns(h.get(), 990000), total);
        std::this_thread::yield();
    }
    writer.join();
    EXPECT_EQ(total - 1, tr_histogram_max_ns(h.get()));
}

} // namespace
