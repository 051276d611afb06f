#include "perf/chart.h"

#include "tests/perf/stream.h"

#include <gtest/gtest.h>

#include <memory>

namespace
{

std::unique_ptr<tr_histogram> around(uint64_t ns, uint64_t count)
{
    auto h = std::make_unique<tr_histogram>();
    tr_histogram_reset(h.get());
    for (uint64_t i = 0; i < count; i++)
        tr_histogram_record(h.get(), ns + i % 17);
    return h;
}

size_t count_of(const std::string &text, const std::string &what)
{
    size_t count = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
        count++;
    return count;
}

} // namespace

TEST(Chart, PercentilesDrawBothSidesWithTheirMedians)
{
    Stream out;
    tr_perf_chart_percentiles(out.file(), "title", "subtitle", around(600, 1000).get(),
                              around(300, 1000).get());
    EXPECT_EQ(count_of(out.text(), "class=\"name\""), 2u);
    EXPECT_NE(out.text().find(">trireme<"), std::string::npos);
    EXPECT_NE(out.text().find(">floor<"), std::string::npos);
    EXPECT_EQ(count_of(out.text(), "class=\"note\""), 6u);
    EXPECT_EQ(count_of(out.text(), "nan"), 0u);
    EXPECT_EQ(count_of(out.text(), "inf"), 0u);
}

TEST(Chart, PercentilesWithoutAnEngineDrawTheFloorOnly)
{
    Stream out;
    tr_perf_chart_percentiles(out.file(), "title", "subtitle", around(1, 0).get(),
                              around(300, 1000).get());
    EXPECT_EQ(count_of(out.text(), "class=\"name\""), 1u);
    EXPECT_EQ(out.text().find(">trireme<"), std::string::npos);
}

TEST(Chart, AHistogramOfOneValueIsDrawn)
{
    Stream out;
    tr_perf_chart_percentiles(out.file(), "title", "subtitle", around(600, 1).get(),
                              around(600, 1).get());
    EXPECT_EQ(count_of(out.text(), "nan"), 0u);
    EXPECT_EQ(count_of(out.text(), "</svg>"), 1u);
}

TEST(Chart, ASweepDrawsALineAFigure)
{
    tr_perf_load_point points[3] = {};
    for (int i = 0; i < 3; i++) {
        points[i].offered_per_s = points[i].completed_per_s = 1000 * (i + 1);
        points[i].p50_ns = 500;
        points[i].p99_ns = 900;
        points[i].p999_ns = 9000;
        points[i].max_ns = 90000;
        points[i].floor_p50_ns = 300;
    }
    Stream out;
    tr_perf_chart_sweep(out.file(), "title", "subtitle", points, 3);
    EXPECT_EQ(count_of(out.text(), "class=\"name\""), 4u);
    EXPECT_EQ(count_of(out.text(), "<circle"), 12u);
    EXPECT_EQ(count_of(out.text(), "nan"), 0u);
}
