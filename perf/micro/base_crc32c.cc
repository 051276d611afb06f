// CRC32C over the sizes of records: a header, a small command, a batch, a large one.
#include "base/crc32c.h"

#include <benchmark/benchmark.h>

#include <vector>

namespace
{

void crc32c(benchmark::State &state)
{
    std::vector<uint8_t> data(static_cast<size_t>(state.range(0)), 0x5a);
    for (auto _ : state) {
        benchmark::DoNotOptimize(data.data());
        benchmark::DoNotOptimize(tr_crc32c(0, data.data(), data.size()));
    }
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(crc32c)->Arg(16)->Arg(64)->Arg(128)->Arg(2048)->Arg(65536);

void crc32c_by_table(benchmark::State &state)
{
    std::vector<uint8_t> data(static_cast<size_t>(state.range(0)), 0x5a);
    for (auto _ : state) {
        benchmark::DoNotOptimize(data.data());
        benchmark::DoNotOptimize(tr_crc32c_by_table(0, data.data(), data.size()));
    }
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(crc32c_by_table)->Arg(64)->Arg(2048);

} // namespace
