// The rings on one thread (the instructions of both ends, no cache line moves) and between two
// (with the cache lines that do). The argument is the burst. Elements are of 16 bytes.
#include "base/ring_mpsc.h"
#include "base/ring_spsc.h"

#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdlib>
#include <thread>

namespace
{

struct element {
    uint64_t a, b;
};

const uint32_t capacity = 1024;

struct spsc {
    using ring = tr_ring_spsc;
    static constexpr auto bytes = tr_ring_spsc_bytes;
    static constexpr auto init = tr_ring_spsc_init;
    static constexpr auto enqueue = tr_ring_spsc_enqueue;
    static constexpr auto dequeue = tr_ring_spsc_dequeue;
};

struct mpsc {
    using ring = tr_ring_mpsc;
    static constexpr auto bytes = tr_ring_mpsc_bytes;
    static constexpr auto init = tr_ring_mpsc_init;
    static constexpr auto enqueue = tr_ring_mpsc_enqueue;
    static constexpr auto dequeue = tr_ring_mpsc_dequeue;
};

template <typename Kind> typename Kind::ring *make_ring()
{
    size_t bytes = Kind::bytes(capacity, sizeof(element));
    auto *r = static_cast<typename Kind::ring *>(aligned_alloc(TR_CACHE_LINE, bytes));
    Kind::init(r, capacity, sizeof(element));
    return r;
}

template <typename Kind> void ring_one_thread(benchmark::State &state)
{
    auto *r = make_ring<Kind>();
    auto burst = static_cast<uint32_t>(state.range(0));
    element elements[64] = {};
    for (auto _ : state) {
        benchmark::DoNotOptimize(Kind::enqueue(r, elements, burst));
        benchmark::DoNotOptimize(Kind::dequeue(r, elements, burst));
    }
    state.SetItemsProcessed(state.iterations() * burst);
    free(r);
}
BENCHMARK_TEMPLATE(ring_one_thread, spsc)->Arg(1)->Arg(8)->Arg(32);
BENCHMARK_TEMPLATE(ring_one_thread, mpsc)->Arg(1)->Arg(8)->Arg(32);

template <typename Kind> void ring_two_threads(benchmark::State &state)
{
    auto *r = make_ring<Kind>();
    auto burst = static_cast<uint32_t>(state.range(0));
    std::atomic<bool> stop{false};
    std::thread consumer([&] {
        element elements[64];
        while (!stop.load(std::memory_order_relaxed))
            if (Kind::dequeue(r, elements, 64) == 0)
                tr_cpu_pause();
    });
    element elements[64] = {};
    for (auto _ : state)
        for (uint32_t done = 0; done < burst;)
            done += Kind::enqueue(r, elements, burst - done);
    state.SetItemsProcessed(state.iterations() * burst);
    stop.store(true);
    consumer.join();
    free(r);
}
BENCHMARK_TEMPLATE(ring_two_threads, spsc)->Arg(1)->Arg(32)->UseRealTime();
BENCHMARK_TEMPLATE(ring_two_threads, mpsc)->Arg(1)->Arg(32)->UseRealTime();

} // namespace
