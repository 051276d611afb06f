#include "perf/plot.h"

#include "tests/perf/stream.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace
{

std::string text_of_ns(double ns)
{
    char text[24];
    tr_perf_text_of_ns(text, sizeof(text), ns);
    return text;
}

std::string text_of_rate(double per_s)
{
    char text[24];
    tr_perf_text_of_rate(text, sizeof(text), per_s);
    return text;
}

// A plot with one line from corner to corner.
struct Diagonal {
    tr_perf_point points[2] = {{0, 0}, {1, 1}};
    tr_perf_line line = {};
    tr_perf_plot plot = {};
    Diagonal()
    {
        line = {"up", "#123456", false, false, points, 2};
        plot.title = "a < b & c";
        plot.subtitle = "sub";
        plot.x.title = "x";
        plot.x.high = 1;
        plot.y.title = "y";
        plot.y.high = 1;
        plot.lines = &line;
        plot.line_count = 1;
    }
};

} // namespace

TEST(Plot, DurationsHaveTheUnitThatFits)
{
    EXPECT_EQ(text_of_ns(0), "0 ns");
    EXPECT_EQ(text_of_ns(999), "999 ns");
    EXPECT_EQ(text_of_ns(1000), "1.00 us");
    EXPECT_EQ(text_of_ns(12345), "12.3 us");
    EXPECT_EQ(text_of_ns(1.5e6), "1.50 ms");
    EXPECT_EQ(text_of_ns(2e9), "2.00 s");
    EXPECT_EQ(text_of_ns(-250), "-250 ns");
    EXPECT_EQ(text_of_ns(-7907357), "-7.91 ms");
}

TEST(Plot, RatesHaveTheUnitThatFits)
{
    EXPECT_EQ(text_of_rate(63), "63");
    EXPECT_EQ(text_of_rate(17600), "17.6 k");
    EXPECT_EQ(text_of_rate(11730000), "11.73 M");
}

TEST(Plot, ALineRunsWhereItsPointsAre)
{
    Diagonal d;
    Stream out;
    tr_perf_plot_write(out.file(), &d.plot);
    // From the frame's lower left to its upper right corner.
    EXPECT_NE(out.text().find("d=\"M84.0 504.0L830.0 104.0\""), std::string::npos);
    EXPECT_NE(out.text().find("#123456"), std::string::npos);
}

TEST(Plot, PointsOutsideOfTheAxesAreDrawnAtTheFrame)
{
    Diagonal d;
    d.points[1] = {5, 7};
    Stream out;
    tr_perf_plot_write(out.file(), &d.plot);
    EXPECT_NE(out.text().find("L830.0 104.0\""), std::string::npos);
}

TEST(Plot, TextIsEscapedAndNothingComesFromOutside)
{
    Diagonal d;
    Stream out;
    tr_perf_plot_write(out.file(), &d.plot);
    EXPECT_NE(out.text().find("a &lt; b &amp; c"), std::string::npos);
    EXPECT_EQ(out.text().find("href"), std::string::npos);
    EXPECT_EQ(out.text().find("url("), std::string::npos);
    EXPECT_EQ(out.text().find("@import"), std::string::npos);
}

TEST(Plot, NamesOfLinesThatEndTogetherDoNotOverlap)
{
    Diagonal d;
    tr_perf_line lines[2] = {d.line, d.line};
    lines[1].name = "also";
    d.plot.lines = lines;
    d.plot.line_count = 2;
    Stream out;
    tr_perf_plot_write(out.file(), &d.plot);
    EXPECT_NE(out.text().find("y=\"108.5\" text-anchor=\"start\" class=\"name\""),
              std::string::npos);
    EXPECT_NE(out.text().find("y=\"126.5\" text-anchor=\"start\" class=\"name\""),
              std::string::npos);
}

TEST(Plot, AnAxisOfNanosecondsLabelsItsPowersOfTen)
{
    tr_perf_axis axis = {};
    tr_perf_axis_of_ns(&axis, 90, 2e6);
    EXPECT_DOUBLE_EQ(axis.low, std::log10(90));
    EXPECT_DOUBLE_EQ(axis.high, std::log10(2e6));
    std::string labels;
    for (uint32_t i = 0; i < axis.tick_count; i++)
        labels += std::string(axis.ticks[i].label) + (axis.ticks[i].label[0] ? "," : "");
    EXPECT_EQ(labels, "100 ns,1 us,10 us,100 us,1 ms,");
}

TEST(Plot, ANarrowAxisOfNanosecondsHasLabelsBetweenThePowers)
{
    tr_perf_axis axis = {};
    tr_perf_axis_of_ns(&axis, 250, 700);
    bool has_500 = false;
    for (uint32_t i = 0; i < axis.tick_count; i++)
        has_500 = has_500 || strcmp(axis.ticks[i].label, "500 ns") == 0;
    EXPECT_TRUE(has_500);
}
