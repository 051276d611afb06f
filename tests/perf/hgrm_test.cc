#include "perf/hgrm.h"

#include "tests/perf/stream.h"

#include <gtest/gtest.h>

#include <memory>
#include <sstream>
#include <vector>

namespace
{

std::unique_ptr<tr_histogram> empty()
{
    auto h = std::make_unique<tr_histogram>();
    tr_histogram_reset(h.get());
    return h;
}

struct Line {
    double value, percentile, total;
};

std::vector<Line> lines_of(const std::string &text)
{
    std::vector<Line> lines;
    std::istringstream in(text);
    std::string line;
    while (std::getline(in, line)) {
        std::istringstream words(line);
        Line l = {};
        if (line.find('#') != 0 && words >> l.value >> l.percentile >> l.total)
            lines.push_back(l);
    }
    return lines;
}

} // namespace

TEST(Hgrm, AnEmptyHistogramHasNoLines)
{
    Stream out;
    tr_perf_hgrm_write(out.file(), empty().get());
    EXPECT_TRUE(lines_of(out.text()).empty());
    EXPECT_NE(out.text().find("Total count    =            0]"), std::string::npos);
}

TEST(Hgrm, LinesRiseFromTheLeastValueToTheMost)
{
    auto h = empty();
    for (uint64_t ns = 1; ns <= 100000; ns++)
        tr_histogram_record(h.get(), ns);
    Stream out;
    tr_perf_hgrm_write(out.file(), h.get());
    std::vector<Line> lines = lines_of(out.text());
    ASSERT_GT(lines.size(), 20u);
    EXPECT_EQ(lines.front().value, 1);
    EXPECT_EQ(lines.front().percentile, 0);
    EXPECT_EQ(lines.back().value, 100000);
    EXPECT_EQ(lines.back().percentile, 1);
    EXPECT_EQ(lines.back().total, 100000);
    for (size_t i = 1; i < lines.size(); i++) {
        EXPECT_GE(lines[i].value, lines[i - 1].value);
        EXPECT_GE(lines[i].percentile, lines[i - 1].percentile);
        EXPECT_GE(lines[i].total, lines[i - 1].total);
    }
}

TEST(Hgrm, EachLineCountsWhatIsNotAboveItsValue)
{
    auto h = empty();
    tr_histogram_record_count(h.get(), 10, 900);
    tr_histogram_record_count(h.get(), 100, 99);
    tr_histogram_record(h.get(), 1000);
    Stream out;
    tr_perf_hgrm_write(out.file(), h.get());
    for (const Line &line : lines_of(out.text())) {
        if (line.value < 50)
            EXPECT_EQ(line.total, 900);
        else if (line.value < 500)
            EXPECT_EQ(line.total, 999);
        else
            EXPECT_EQ(line.total, 1000);
        EXPECT_LE(line.percentile, line.total / 1000);
    }
}

TEST(Hgrm, MeanAndDeviationAreOfTheValues)
{
    auto h = empty();
    tr_histogram_record_count(h.get(), 10, 50);
    tr_histogram_record_count(h.get(), 30, 50);
    Stream out;
    tr_perf_hgrm_write(out.file(), h.get());
    EXPECT_NE(out.text().find("#[Mean    =       20.000, StdDeviation   =       10.000]"),
              std::string::npos);
    EXPECT_NE(out.text().find("#[Max     =       30.000, Total count    =          100]"),
              std::string::npos);
}
