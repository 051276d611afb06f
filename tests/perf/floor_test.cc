// Every variant of every floor moves all its commands; how fast is for trireme-perf floor to say.
#include "perf/floor.h"

#include "base/atomic.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace
{

struct Case {
    tr_perf_floor_kind kind;
    uint32_t followers, workers, window, batch;
};

std::string name_of(const testing::TestParamInfo<Case> &info)
{
    static const char *const kinds[] = {"Shm", "OneSided", "Udp", "Port", "Write"};
    const Case &c = info.param;
    return std::string(kinds[c.kind]) + "Followers" + std::to_string(c.followers) + "Workers" +
           std::to_string(c.workers) + "Window" + std::to_string(c.window) + "Batch" +
           std::to_string(c.batch);
}

// Names of replicas over the driver shm, which can whatever a floor of ports needs.
tr_perf_places shm_places(uint32_t count)
{
    tr_perf_options options = {};
    tr_perf_places places;
    char error[256] = "";
    strcpy(options.driver, "shm");
    options.replicas = count;
    EXPECT_EQ(tr_perf_places_make(&options, &places, error, sizeof(error)), TR_OK) << error;
    return places;
}

class Floor : public testing::TestWithParam<Case>
{
};

} // namespace

TEST_P(Floor, EveryVariantCompletesEveryCommand)
{
    const Case &c = GetParam();
    const tr_perf_floor_table *table = tr_perf_floor_table_of(c.kind);
    const tr_perf_places places = shm_places(c.followers + 1);
    tr_perf_floor_shape shape = {
        64,        c.batch,       c.window, c.followers, (c.followers + 1) / 2,
        c.workers, TR_IDLE_YIELD, "shm",    &places,     nullptr};
    tr_perf_floor *floor = nullptr;
    char error[256] = "";
    ASSERT_EQ(table->open(&shape, &floor, error, sizeof(error)), 0) << error;
    auto histogram = std::make_unique<tr_histogram>();
    tr_histogram_reset(histogram.get());
    std::vector<uint64_t> stamps(c.window);
    for (uint32_t v = 0; v < table->variant_count; v++) {
        SCOPED_TRACE(table->variants[v].name);
        uint32_t stop = 0;
        std::vector<std::thread> workers;
        table->reset(floor);
        for (uint32_t w = 0; w < c.workers; w++)
            workers.emplace_back([&, w] { table->variants[v].follow(floor, w, &stop); });
        tr_perf_slice slice = {};
        slice.window = c.window;
        slice.refill = 1;
        slice.sample_every = 1;
        slice.duration_ns = 2000000;
        slice.idle = TR_IDLE_YIELD;
        slice.histogram = histogram.get();
        slice.start_ns = stamps.data();
        table->variants[v].lead(floor, &slice);
        tr_store_relaxed(&stop, 1u);
        for (std::thread &worker : workers)
            worker.join();
        EXPECT_FALSE(slice.stalled);
        EXPECT_GT(slice.completed, 0u);
        EXPECT_EQ(slice.completed, slice.submitted);
    }
    table->close(floor);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Floor,
    testing::Values(Case{TR_PERF_FLOOR_SHM, 2, 1, 1, 1}, Case{TR_PERF_FLOOR_SHM, 2, 1, 1024, 1},
                    Case{TR_PERF_FLOOR_SHM, 2, 1, 1024, 32}, Case{TR_PERF_FLOOR_SHM, 4, 2, 64, 4},
                    Case{TR_PERF_FLOOR_SHM, 2, 0, 16, 1}, Case{TR_PERF_FLOOR_SHM, 0, 0, 1, 1},
                    Case{TR_PERF_FLOOR_SHM_ONE_SIDED, 2, 1, 1, 1},
                    Case{TR_PERF_FLOOR_SHM_ONE_SIDED, 2, 1, 1024, 32},
                    Case{TR_PERF_FLOOR_SHM_ONE_SIDED, 8, 1, 64, 1},
                    Case{TR_PERF_FLOOR_SHM_ONE_SIDED, 2, 0, 16, 4},
                    Case{TR_PERF_FLOOR_UDP, 2, 1, 1, 1}, Case{TR_PERF_FLOOR_UDP, 2, 1, 1024, 1},
                    Case{TR_PERF_FLOOR_UDP, 2, 1, 1024, 32}, Case{TR_PERF_FLOOR_UDP, 4, 2, 64, 4},
                    Case{TR_PERF_FLOOR_UDP, 2, 0, 16, 1}, Case{TR_PERF_FLOOR_UDP, 0, 0, 1, 1},
                    Case{TR_PERF_FLOOR_PORT, 2, 1, 1, 1}, Case{TR_PERF_FLOOR_PORT, 2, 1, 1024, 1},
                    Case{TR_PERF_FLOOR_PORT, 4, 2, 64, 4}, Case{TR_PERF_FLOOR_PORT, 2, 0, 16, 4},
                    Case{TR_PERF_FLOOR_PORT, 0, 0, 1, 1}, Case{TR_PERF_FLOOR_WRITE, 2, 1, 1, 1},
                    Case{TR_PERF_FLOOR_WRITE, 2, 1, 1024, 1},
                    Case{TR_PERF_FLOOR_WRITE, 2, 1, 1024, 32},
                    Case{TR_PERF_FLOOR_WRITE, 4, 2, 64, 4}, Case{TR_PERF_FLOOR_WRITE, 2, 0, 16, 4},
                    Case{TR_PERF_FLOOR_WRITE, 0, 0, 1, 1}),
    name_of);

TEST(FloorRecords, ARecordHasItsHeadersAndIsPadded)
{
    // 64 of record header, 32 of run header, the command, to whole cache lines.
    EXPECT_EQ(tr_perf_record_bytes(64, 1), 192u);
    EXPECT_EQ(tr_perf_record_bytes(8, 1), 128u);
    EXPECT_EQ(tr_perf_record_bytes(64, 32), 2176u);
    EXPECT_EQ(tr_perf_record_bytes(13, 1), tr_perf_record_bytes(16, 1));
}

TEST(FloorRecords, ADatagramThatCannotBeIsRefusedWithItsSize)
{
    tr_perf_floor_shape shape = {1 << 20, 1, 1, 2, 1, 1, TR_IDLE_YIELD, nullptr, nullptr, nullptr};
    tr_perf_floor *floor = nullptr;
    char error[256] = "";
    EXPECT_EQ(tr_perf_floor_udp.open(&shape, &floor, error, sizeof(error)), TR_ETOOBIG);
    EXPECT_NE(std::string(error).find("104"), std::string::npos) << error;
}
