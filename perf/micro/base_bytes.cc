// A message header of 32 bytes, packed and unpacked.
#include "base/bytes.h"

#include <benchmark/benchmark.h>

namespace
{

void bytes_pack_header(benchmark::State &state)
{
    uint8_t memory[32];
    uint64_t number = 1;
    for (auto _ : state) {
        tr_pack p = tr_pack_into(memory, sizeof(memory));
        tr_pack_u32(&p, 1);
        tr_pack_u16(&p, 2);
        tr_pack_u16(&p, 3);
        tr_pack_u64(&p, number++);
        tr_pack_u64(&p, 5);
        tr_pack_u64(&p, 6);
        benchmark::DoNotOptimize(p.failed);
        benchmark::ClobberMemory();
    }
}
BENCHMARK(bytes_pack_header);

void bytes_unpack_header(benchmark::State &state)
{
    uint8_t memory[32] = {1};
    for (auto _ : state) {
        benchmark::DoNotOptimize(memory);
        tr_unpack u = tr_unpack_from(memory, sizeof(memory));
        uint64_t sum = tr_unpack_u32(&u);
        sum += tr_unpack_u16(&u);
        sum += tr_unpack_u16(&u);
        sum += tr_unpack_u64(&u);
        sum += tr_unpack_u64(&u);
        sum += tr_unpack_u64(&u);
        benchmark::DoNotOptimize(sum);
        benchmark::DoNotOptimize(tr_unpack_is_complete(&u));
    }
}
BENCHMARK(bytes_unpack_header);

} // namespace
