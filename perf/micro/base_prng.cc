// Random numbers, as the simulator and the election jitter draw them.
#include "base/prng.h"

#include <benchmark/benchmark.h>

namespace
{

void prng_next(benchmark::State &state)
{
    tr_prng p;
    tr_prng_seed(&p, 1);
    for (auto _ : state)
        benchmark::DoNotOptimize(tr_prng_next(&p));
}
BENCHMARK(prng_next);

void prng_below(benchmark::State &state)
{
    tr_prng p;
    tr_prng_seed(&p, 1);
    for (auto _ : state)
        benchmark::DoNotOptimize(tr_prng_below(&p, 1000));
}
BENCHMARK(prng_below);

} // namespace
