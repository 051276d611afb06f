// Recording a latency, which happens several times a command, and reading a percentile, which is
// rare.
#include "base/histogram.h"
#include "base/prng.h"

#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

namespace
{

void histogram_record(benchmark::State &state)
{
    auto h = std::make_unique<tr_histogram>();
    tr_histogram_reset(h.get());
    tr_prng p;
    tr_prng_seed(&p, 1);
    std::vector<uint64_t> values(1024);
    for (uint64_t &value : values)
        value = 500 + tr_prng_below(&p, 5000);
    size_t i = 0;
    for (auto _ : state)
        tr_histogram_record(h.get(), values[i++ % values.size()]);
    benchmark::DoNotOptimize(h->count);
}
BENCHMARK(histogram_record);

void histogram_percentile(benchmark::State &state)
{
    auto h = std::make_unique<tr_histogram>();
    tr_histogram_reset(h.get());
    for (uint64_t i = 0; i < 100000; i++)
        tr_histogram_record(h.get(), i);
    for (auto _ : state)
        benchmark::DoNotOptimize(tr_histogram_percentile_ns(h.get(), 999000));
}
BENCHMARK(histogram_percentile);

} // namespace
