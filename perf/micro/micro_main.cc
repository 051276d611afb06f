// Runs the benchmarks that were linked in.
#include <benchmark/benchmark.h>

BENCHMARK_MAIN();
