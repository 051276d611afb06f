// Reading the time-stamp counter.
#include "base/tsc.h"

#include <benchmark/benchmark.h>

namespace
{

void tsc_read(benchmark::State &state)
{
    for (auto _ : state)
        benchmark::DoNotOptimize(tr_tsc_read());
}
BENCHMARK(tsc_read);

} // namespace
