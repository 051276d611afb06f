/* sweep: latency against offered load, in open loops from a hundredth of what the engine can take
 * to a little above. */
#include "perf/commands.h"
#include "perf/report.h"

#include <math.h>
#include <stdlib.h>

/* Slices in closed loop that tell what the engine can take. */
#define LIMIT_PAIRS 3

/* The loads, as parts of that. */
#define LEAST_LOAD 0.01
#define MOST_LOAD  1.1

/* Below this part of the offered commands completed a load is saturated. */
#define SATURATED 0.98

#define PAIRS_MIN 3

static int find_limit(struct tr_perf_run *run, struct tr_perf_pairs *pairs, double slice_seconds,
                      double *limit_per_s, char *error, size_t error_bytes)
{
    struct tr_perf_offer offer = {.mode = TR_PERF_CLOSED,
                                  .window = (uint32_t)run->options->window,
                                  .slice_seconds = slice_seconds};
    int result =
        tr_perf_run_pairs(run, &offer, LIMIT_PAIRS, "sweep: limit", pairs, error, error_bytes);
    *limit_per_s = pairs->comparison.engine_per_s.median;
    if (result == TR_OK && *limit_per_s <= 0) {
        snprintf(error, error_bytes, "the engine completed nothing");
        return TR_ETIMEOUT;
    }
    return result;
}

static struct tr_perf_load_point point_of(const struct tr_perf_pairs *p)
{
    double per_s = p->engine_seconds > 0 ? (double)p->engine_commands / p->engine_seconds : 0;
    struct tr_perf_load_point point = {
        .offered_per_s = p->offer.rate,
        .completed_per_s = per_s,
        .p50_ns = tr_histogram_percentile_ns(&p->engine, 500000),
        .p99_ns = tr_histogram_percentile_ns(&p->engine, 990000),
        .p999_ns = tr_histogram_percentile_ns(&p->engine, 999000),
        .max_ns = tr_histogram_max_ns(&p->engine),
        .floor_p50_ns = tr_histogram_percentile_ns(&p->floor, 500000),
        .floor_p99_ns = tr_histogram_percentile_ns(&p->floor, 990000),
        .is_saturated = per_s < SATURATED * p->offer.rate || p->unsent > 0,
    };
    return point;
}

static int measure(struct tr_perf_run *run, struct tr_perf_pairs *pairs, char *error,
                   size_t error_bytes)
{
    const struct tr_perf_options *o = run->options;
    struct tr_perf_load_point points[TR_PERF_LOAD_POINTS_MAX];
    struct tr_perf_engine_result result;
    double limit_per_s = 0;
    uint32_t count = (uint32_t)(o->pairs / o->points);
    uint32_t made = 0;
    count = count < PAIRS_MIN ? PAIRS_MIN : count;
    double slice_seconds = o->seconds / 2 / (double)(o->points * count);
    slice_seconds = fmin(slice_seconds, TR_PERF_SLICE_SECONDS_MAX);
    int answer = find_limit(run, pairs, slice_seconds, &limit_per_s, error, error_bytes);
    for (; answer == TR_OK && made < o->points && !run->is_interrupted; made++) {
        double part = (double)made / (double)(o->points - 1);
        struct tr_perf_offer offer = {.mode = TR_PERF_OPEN, .window = (uint32_t)o->window};
        offer.rate = limit_per_s * LEAST_LOAD * pow(MOST_LOAD / LEAST_LOAD, part);
        offer.slice_seconds = slice_seconds;
        answer = tr_perf_run_pairs(run, &offer, count, "sweep", pairs, error, error_bytes);
        points[made] = point_of(pairs);
    }
    if (answer == TR_OK)
        answer = tr_perf_run_finish(run, &result, error, error_bytes);
    if (answer != TR_OK)
        return answer;
    char text[512];
    tr_perf_report_text(text, sizeof(text), run, pairs);
    printf("%s a load\n", text);
    tr_perf_report_sweep(stdout, points, made);
    struct tr_perf_findings findings = {
        .pairs = pairs, .result = &result, .points = points, .point_count = made};
    return tr_perf_report_files(run, &findings, error, error_bytes);
}

int tr_perf_command_sweep(const struct tr_perf_options *options)
{
    char error[512] = "";
    struct tr_perf_offer offer = {
        .mode = TR_PERF_OPEN, .window = (uint32_t)options->window, .rate = 100000};
    struct tr_perf_run *run = NULL;
    struct tr_perf_pairs *pairs = malloc(sizeof(*pairs));
    if (pairs == NULL)
        return tr_perf_fail("out of memory");
    int result = tr_perf_run_open(options, TR_PERF_SIDE_BOTH, &offer, &run, error, sizeof(error));
    if (result == TR_OK)
        result = measure(run, pairs, error, sizeof(error));
    int status = result != TR_OK       ? tr_perf_fail(error)
                 : run->is_interrupted ? TR_PERF_EXIT_INTERRUPTED
                                       : 0;
    if (run != NULL)
        tr_perf_run_close(run);
    free(pairs);
    return status;
}
