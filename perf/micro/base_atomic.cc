// The word-by-word copies out of and into memory that a peer uses meanwhile, beside memcpy; a
// record of a small command, and a large one.
#include "base/atomic.h"

#include <benchmark/benchmark.h>

namespace
{

void atomic_copy(benchmark::State &state)
{
    alignas(64) static unsigned char from[4096], to[4096];
    auto bytes = static_cast<size_t>(state.range(0));
    for (auto _ : state) {
        tr_copy_relaxed_8(to, from, bytes);
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(atomic_copy)->Arg(128)->Arg(4096);

void atomic_write(benchmark::State &state)
{
    alignas(64) static unsigned char from[4096], to[4096];
    auto bytes = static_cast<size_t>(state.range(0));
    for (auto _ : state) {
        tr_write_relaxed_8(to, from, bytes);
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(atomic_write)->Arg(128)->Arg(4096);

void atomic_memcpy(benchmark::State &state)
{
    alignas(64) static unsigned char from[4096], to[4096];
    auto bytes = static_cast<size_t>(state.range(0));
    for (auto _ : state) {
        memcpy(to, from, bytes);
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(atomic_memcpy)->Arg(128)->Arg(4096);

void atomic_fence_full(benchmark::State &state)
{
    uint64_t word = 0;
    for (auto _ : state) {
        tr_store_relaxed(&word, UINT64_C(1));
        tr_fence_full();
        benchmark::DoNotOptimize(tr_load_relaxed(&word));
    }
}
BENCHMARK(atomic_fence_full);

} // namespace
