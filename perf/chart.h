/* The two drawings of a run: latency by percentile, and latency against offered load. */
#ifndef TR_PERF_CHART_H
#define TR_PERF_CHART_H

#include "base/histogram.h"

#include <stdio.h>

TR_BEGIN_C

/* Draws engine against floor: percentiles on a scale where each nine has the same width, latency in
 * nanoseconds on a logarithmic one. A histogram may be empty; its line is left out then. */
void tr_perf_chart_percentiles(FILE *out, const char *title, const char *subtitle,
                               const struct tr_histogram *engine, const struct tr_histogram *floor);

/* One load of a sweep, and what came of it. */
struct tr_perf_load_point {
    double offered_per_s;
    double completed_per_s;
    uint64_t p50_ns, p99_ns, p999_ns, max_ns;
    uint64_t floor_p50_ns, floor_p99_ns;
    bool is_saturated; /* the engine did not keep up */
    bool is_floor_saturated;
};

#define TR_PERF_LOAD_POINTS_MAX 64

/* Draws latency against offered load, both on logarithmic scales. */
void tr_perf_chart_sweep(FILE *out, const char *title, const char *subtitle,
                         const struct tr_perf_load_point *points, uint32_t count);

TR_END_C

#endif
