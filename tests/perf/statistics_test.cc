#include "perf/statistics.h"

#include <gtest/gtest.h>

#include <vector>

TEST(Statistics, QuartilesOfNothingAreZero)
{
    tr_perf_quartiles q = tr_perf_quartiles_of(nullptr, 0);
    EXPECT_EQ(q.least, 0);
    EXPECT_EQ(q.median, 0);
    EXPECT_EQ(q.most, 0);
}

TEST(Statistics, OneFigureIsAllItsQuartiles)
{
    double figures[] = {7};
    tr_perf_quartiles q = tr_perf_quartiles_of(figures, 1);
    EXPECT_EQ(q.least, 7);
    EXPECT_EQ(q.low, 7);
    EXPECT_EQ(q.median, 7);
    EXPECT_EQ(q.high, 7);
    EXPECT_EQ(q.most, 7);
}

TEST(Statistics, QuartilesOfAnOddCountAreFiguresThemselves)
{
    double figures[] = {50, 10, 30, 20, 40};
    tr_perf_quartiles q = tr_perf_quartiles_of(figures, 5);
    EXPECT_EQ(q.least, 10);
    EXPECT_EQ(q.low, 20);
    EXPECT_EQ(q.median, 30);
    EXPECT_EQ(q.high, 40);
    EXPECT_EQ(q.most, 50);
}

TEST(Statistics, QuartilesOfAnEvenCountLieBetweenFigures)
{
    double figures[] = {4, 1, 3, 2};
    tr_perf_quartiles q = tr_perf_quartiles_of(figures, 4);
    EXPECT_DOUBLE_EQ(q.low, 1.75);
    EXPECT_DOUBLE_EQ(q.median, 2.5);
    EXPECT_DOUBLE_EQ(q.high, 3.25);
}

TEST(Statistics, ComparisonTakesEachPairsOwnDifferenceAndRatio)
{
    // The medians of the sides differ by 100 and have the ratio 1.5; the pairs tell another story.
    std::vector<tr_perf_pair> pairs = {{100, 150, 10, 5}, {200, 210, 20, 18}, {300, 330, 40, 30}};
    tr_perf_comparison c = tr_perf_compare(pairs.data(), 3);
    EXPECT_DOUBLE_EQ(c.floor_p50_ns.median, 200);
    EXPECT_DOUBLE_EQ(c.engine_p50_ns.median, 210);
    EXPECT_DOUBLE_EQ(c.difference_ns.median, 30);
    EXPECT_DOUBLE_EQ(c.ratio_p50.median, 1.1);
    EXPECT_DOUBLE_EQ(c.ratio_per_s.median, 0.75);
    EXPECT_DOUBLE_EQ(c.ratio_per_s.least, 0.5);
    EXPECT_DOUBLE_EQ(c.ratio_per_s.most, 0.9);
}

TEST(Statistics, APairWithoutAFloorHasNoRatio)
{
    tr_perf_pair pair = {0, 150, 0, 5};
    tr_perf_comparison c = tr_perf_compare(&pair, 1);
    EXPECT_EQ(c.ratio_p50.median, 0);
    EXPECT_EQ(c.ratio_per_s.median, 0);
    EXPECT_EQ(c.engine_per_s.median, 5);
}
