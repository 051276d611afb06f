#include "base/ring_mpsc.h"
#include "base/ring_spsc.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

namespace
{

struct element {
    uint64_t producer;
    uint64_t number;
    uint64_t echo; // ~number: torn copies are noticed
};

element make(uint64_t producer, uint64_t number)
{
    return element{producer, number, ~number};
}

struct spsc {
    using ring = tr_ring_spsc;
    static constexpr auto bytes = tr_ring_spsc_bytes;
    static constexpr auto init = tr_ring_spsc_init;
    static constexpr auto enqueue = tr_ring_spsc_enqueue;
    static constexpr auto dequeue = tr_ring_spsc_dequeue;
    static constexpr auto count = tr_ring_spsc_count;
};

struct mpsc {
    using ring = tr_ring_mpsc;
    static constexpr auto bytes = tr_ring_mpsc_bytes;
    static constexpr auto init = tr_ring_mpsc_init;
    static constexpr auto enqueue = tr_ring_mpsc_enqueue;
    static constexpr auto dequeue = tr_ring_mpsc_dequeue;
    static constexpr auto count = tr_ring_mpsc_count;
};

template <typename Kind> class ring : public testing::Test
{
  protected:
    typename Kind::ring *make_ring(uint32_t capacity, uint32_t element_bytes)
    {
        size_t bytes = Kind::bytes(capacity, element_bytes);
        memory_.reset(aligned_alloc(TR_CACHE_LINE, bytes));
        auto *r = static_cast<typename Kind::ring *>(memory_.get());
        Kind::init(r, capacity, element_bytes);
        return r;
    }

  private:
    struct release {
        void operator()(void *memory) const
        {
            free(memory);
        }
    };
    std::unique_ptr<void, release> memory_;
};

using kinds = testing::Types<spsc, mpsc>;
TYPED_TEST_SUITE(ring, kinds);

TYPED_TEST(ring, what_goes_in_comes_out_once_in_order)
{
    auto *r = this->make_ring(8, sizeof(element));
    element in[3] = {make(0, 1), make(0, 2), make(0, 3)};
    EXPECT_EQ(3u, TypeParam::enqueue(r, in, 3));
    EXPECT_EQ(3u, TypeParam::count(r));
    element out[8] = {};
    EXPECT_EQ(3u, TypeParam::dequeue(r, out, 8));
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(in[i].number, out[i].number);
        EXPECT_EQ(in[i].echo, out[i].echo);
    }
    EXPECT_EQ(0u, TypeParam::dequeue(r, out, 8));
    EXPECT_EQ(0u, TypeParam::count(r));
}

TYPED_TEST(ring, full_takes_what_fits_and_then_nothing)
{
    auto *r = this->make_ring(4, sizeof(element));
    element in[6] = {make(0, 0), make(0, 1), make(0, 2), make(0, 3), make(0, 4), make(0, 5)};
    EXPECT_EQ(4u, TypeParam::enqueue(r, in, 6));
    EXPECT_EQ(0u, TypeParam::enqueue(r, in, 1));
    element out[6] = {};
    EXPECT_EQ(1u, TypeParam::dequeue(r, out, 1));
    EXPECT_EQ(1u, TypeParam::enqueue(r, in + 4, 2));
    EXPECT_EQ(4u, TypeParam::dequeue(r, out, 6));
    for (uint64_t i = 0; i < 4; i++)
        EXPECT_EQ(i + 1, out[i].number);
}

TYPED_TEST(ring, bursts_across_the_end_keep_their_order)
{
    auto *r = this->make_ring(8, sizeof(element));
    uint64_t in_number = 0, out_number = 0;
    for (uint32_t round = 0; round < 1000; round++) {
        element in[5], out[8];
        for (uint32_t i = 0; i < 5; i++)
            in[i] = make(0, in_number + i);
        in_number += TypeParam::enqueue(r, in, 1 + round % 5);
        uint32_t n = TypeParam::dequeue(r, out, 1 + round % 7);
        for (uint32_t i = 0; i < n; i++)
            ASSERT_EQ(out_number++, out[i].number);
    }
    EXPECT_EQ(in_number - out_number, TypeParam::count(r));
}

TYPED_TEST(ring, a_ring_of_one_and_odd_sizes_work)
{
    auto *r = this->make_ring(1, 3);
    for (unsigned i = 0; i < 10; i++) {
        unsigned char in[3] = {static_cast<unsigned char>(i), 1, 2};
        unsigned char out[3] = {0};
        EXPECT_EQ(1u, TypeParam::enqueue(r, in, 1));
        EXPECT_EQ(0u, TypeParam::enqueue(r, in, 1));
        EXPECT_EQ(1u, TypeParam::dequeue(r, out, 1));
        EXPECT_EQ(i, out[0]);
        EXPECT_EQ(2, out[2]);
    }
}

TYPED_TEST(ring, a_burst_of_none_changes_nothing)
{
    auto *r = this->make_ring(2, sizeof(element));
    EXPECT_EQ(0u, TypeParam::enqueue(r, nullptr, 0));
    EXPECT_EQ(0u, TypeParam::dequeue(r, nullptr, 0));
    EXPECT_EQ(0u, TypeParam::count(r));
}

TYPED_TEST(ring, memory_beyond_the_stated_size_is_not_touched)
{
    const uint32_t capacity = 4, element_bytes = 20;
    size_t bytes = TypeParam::bytes(capacity, element_bytes);
    ASSERT_EQ(0u, bytes % TR_CACHE_LINE);
    auto *memory = static_cast<unsigned char *>(aligned_alloc(TR_CACHE_LINE, bytes + 64));
    memset(memory, 0xee, bytes + 64);
    auto *r = reinterpret_cast<typename TypeParam::ring *>(memory);
    TypeParam::init(r, capacity, element_bytes);
    unsigned char in[element_bytes * capacity] = {0};
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(capacity, TypeParam::enqueue(r, in, capacity));
        EXPECT_EQ(capacity, TypeParam::dequeue(r, in, capacity));
    }
    for (unsigned i = 0; i < 64; i++)
        ASSERT_EQ(0xee, memory[bytes + i]);
    free(memory);
}

// Each side yields when it can't go on, so that the test ends soon on one CPU too.
template <typename Kind> void produce(typename Kind::ring *r, uint64_t producer, uint64_t total)
{
    for (uint64_t next = 0; next < total;) {
        element burst[7];
        uint32_t want = static_cast<uint32_t>(std::min<uint64_t>(1 + next % 7, total - next));
        for (uint32_t i = 0; i < want; i++)
            burst[i] = make(producer, next + i);
        uint32_t n = Kind::enqueue(r, burst, want);
        next += n;
        if (n == 0)
            std::this_thread::yield();
    }
}

template <typename Kind> void consume(typename Kind::ring *r, uint64_t producers, uint64_t total)
{
    std::vector<uint64_t> next(producers, 0);
    for (uint64_t taken = 0; taken < producers * total;) {
        element burst[5];
        uint32_t n = Kind::dequeue(r, burst, 5);
        for (uint32_t i = 0; i < n; i++) {
            ASSERT_LT(burst[i].producer, producers);
            ASSERT_EQ(next[burst[i].producer]++, burst[i].number);
            ASSERT_EQ(~burst[i].number, burst[i].echo);
        }
        taken += n;
        if (n == 0)
            std::this_thread::yield();
    }
}

TYPED_TEST(ring, two_threads_lose_nothing_and_keep_the_order)
{
    const uint64_t total = 200000;
    auto *r = this->make_ring(16, sizeof(element));
    std::thread producer([&] { produce<TypeParam>(r, 0, total); });
    consume<TypeParam>(r, 1, total);
    producer.join();
    EXPECT_EQ(0u, TypeParam::count(r));
}

class ring_of_many : public ring<mpsc>
{
};

TEST_F(ring_of_many, three_producers_lose_nothing_and_keep_their_orders)
{
    const uint64_t total = 50000;
    auto *r = make_ring(16, sizeof(element));
    std::vector<std::thread> producers;
    for (uint64_t i = 0; i < 3; i++)
        producers.emplace_back([=] { produce<mpsc>(r, i, total); });
    consume<mpsc>(r, 3, total);
    for (std::thread &producer : producers)
        producer.join();
    EXPECT_EQ(0u, mpsc::count(r));
}

TEST_F(ring_of_many, a_claimed_place_holds_back_what_was_claimed_after_it)
{
    auto *r = make_ring(4, sizeof(element));
    uint64_t stopped = 0;
    ASSERT_EQ(1u, tr_ring_mpsc_claim(r, 1, &stopped));
    element later = make(1, 1), out;
    ASSERT_EQ(1u, tr_ring_mpsc_enqueue(r, &later, 1));
    EXPECT_EQ(0u, tr_ring_mpsc_dequeue(r, &out, 1));
    element first = make(0, 0);
    tr_ring_mpsc_fill(r, stopped, &first);
    element both[2];
    ASSERT_EQ(2u, tr_ring_mpsc_dequeue(r, both, 2));
    EXPECT_EQ(0u, both[0].producer);
    EXPECT_EQ(1u, both[1].producer);
}

TEST_F(ring_of_many, a_published_place_of_the_previous_lap_is_not_taken_again)
{
    auto *r = make_ring(2, sizeof(element));
    element in[2] = {make(0, 0), make(0, 1)}, out[4];
    ASSERT_EQ(2u, tr_ring_mpsc_enqueue(r, in, 2));
    ASSERT_EQ(2u, tr_ring_mpsc_dequeue(r, out, 4));
    uint64_t index = 0;
    ASSERT_EQ(1u, tr_ring_mpsc_claim(r, 1, &index));
    EXPECT_EQ(0u, tr_ring_mpsc_dequeue(r, out, 4));
}

TEST(ring_spsc, elements_can_be_filled_and_read_in_place)
{
    std::vector<uint64_t> memory(tr_ring_spsc_bytes(4, 8) / 8 + 8);
    auto *r = reinterpret_cast<tr_ring_spsc *>((reinterpret_cast<uintptr_t>(memory.data()) + 63) &
                                               ~uintptr_t{63});
    tr_ring_spsc_init(r, 4, 8);
    ASSERT_EQ(4u, tr_ring_spsc_room(r, 1));
    *static_cast<uint64_t *>(tr_ring_spsc_slot(r, 0)) = 99;
    EXPECT_EQ(0u, tr_ring_spsc_ready(r, 1));
    tr_ring_spsc_publish(r, 1);
    ASSERT_EQ(1u, tr_ring_spsc_ready(r, 1));
    EXPECT_EQ(99u, *static_cast<uint64_t *>(tr_ring_spsc_slot(r, 0)));
    EXPECT_EQ(3u, tr_ring_spsc_room(r, 4));
    tr_ring_spsc_release(r, 1);
    EXPECT_EQ(4u, tr_ring_spsc_room(r, 4));
}

} // namespace
