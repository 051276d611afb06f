/* Medians and quartiles of a few dozen figures, and what a number of pairs comes to. */
#ifndef TR_PERF_STATISTICS_H
#define TR_PERF_STATISTICS_H

#include "base/types.h"

TR_BEGIN_C

/* Where a set of figures lies. */
struct tr_perf_quartiles {
    double least, low, median, high, most;
};

/* The quartiles of `count` figures, by linear interpolation between the two nearest (type 7 of
 * Hyndman and Fan); all zero when there is none. Sorts the figures in place. */
struct tr_perf_quartiles tr_perf_quartiles_of(double *figures, uint32_t count);

/* One pair of slices: the floor, and right after it the engine. */
struct tr_perf_pair {
    double floor_p50_ns;
    double engine_p50_ns;
    double floor_per_s;
    double engine_per_s;
};

/* What the pairs come to. Each figure is the median over the pairs of the pair's own. */
struct tr_perf_comparison {
    struct tr_perf_quartiles floor_p50_ns;
    struct tr_perf_quartiles engine_p50_ns;
    struct tr_perf_quartiles difference_ns; /* engine - floor */
    struct tr_perf_quartiles ratio_p50;     /* engine / floor: above 1 the engine is slower */
    struct tr_perf_quartiles floor_per_s;
    struct tr_perf_quartiles engine_per_s;
    struct tr_perf_quartiles ratio_per_s; /* engine / floor: below 1 the engine is slower */
};

/* Compares all pairs, none left out. Returns: all zero for none. */
struct tr_perf_comparison tr_perf_compare(const struct tr_perf_pair *pairs, uint32_t count);

/* Pairs of one run at most. */
#define TR_PERF_PAIRS_MAX 4096

TR_END_C

#endif
