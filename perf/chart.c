#include "perf/chart.h"

#include "perf/plot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Nines on the percentile axis at most: 99.9999999 %. */
#define NINES_MAX 9

/* The position of a percentile: how many nines it has. */
static double nines_of(double below, double total)
{
    return log10(total / (total - below));
}

/* The line of a histogram: a point where each bucket begins and where it ends.
 * Returns: points, at most 2 * TR_HISTOGRAM_BUCKETS. */
static uint32_t line_of(const struct tr_histogram *h, struct tr_perf_point *points)
{
    uint32_t count = 0;
    uint64_t seen = 0;
    for (unsigned i = 0; i < TR_HISTOGRAM_BUCKETS; i++) {
        uint64_t here = h->buckets[i];
        if (here == 0)
            continue;
        double y = log10((double)(tr_histogram_bucket_high_ns(i) < h->max_ns
                                      ? tr_histogram_bucket_high_ns(i) + 1
                                      : h->max_ns + 1));
        points[count++] = (struct tr_perf_point){nines_of((double)seen, (double)h->count), y};
        seen += here;
        /* The last value ends at all of its own nines, not at infinity. */
        double end = seen < h->count ? (double)seen : (double)h->count - 0.5;
        points[count++] = (struct tr_perf_point){nines_of(end, (double)h->count), y};
    }
    return count;
}

static void axis_of_nines(struct tr_perf_axis *axis, uint64_t count)
{
    static const struct tr_perf_tick ticks[] = {
        {0, "0"},        {0.30103, "50 %"},      {1, "90 %"},
        {2, "99 %"},     {3, "99.9 %"},          {4, "99.99 %"},
        {5, "99.999 %"}, {6, "99.9999 %"},       {7, "99.99999 %"},
        {8, "8 nines"},  {NINES_MAX, "9 nines"},
    };
    double nines = log10((double)(count < 10 ? 10 : count)) + 0.35;
    axis->title = "percentile of commands";
    axis->low = 0;
    axis->high = nines < NINES_MAX ? nines : NINES_MAX;
    for (uint32_t i = 0; i < TR_ARRAY_COUNT(ticks) && ticks[i].at <= axis->high; i++)
        axis->ticks[axis->tick_count++] = ticks[i];
}

static struct tr_perf_note note_of(const struct tr_histogram *h, const char *color, uint32_t ppm,
                                   bool is_below)
{
    struct tr_perf_note note = {.color = color, .is_below = is_below};
    double ns = (double)tr_histogram_percentile_ns(h, ppm);
    note.x = nines_of(ppm, 1e6);
    note.y = log10(ns + 1);
    tr_perf_text_of_ns(note.text, sizeof(note.text), ns);
    return note;
}

static uint64_t least_of(const struct tr_histogram *a, const struct tr_histogram *b)
{
    uint64_t least = a->count ? a->min_ns : UINT64_MAX;
    if (b->count && b->min_ns < least)
        least = b->min_ns;
    return least == UINT64_MAX ? 1 : least;
}

void tr_perf_chart_percentiles(FILE *out, const char *title, const char *subtitle,
                               const struct tr_histogram *engine, const struct tr_histogram *floor)
{
    static const uint32_t noted_ppm[] = {500000, 990000, 999000};
    struct tr_perf_point *points = calloc(TR_HISTOGRAM_BUCKETS * 4, sizeof(*points));
    struct tr_perf_note notes[2 * TR_ARRAY_COUNT(noted_ppm)];
    struct tr_perf_line lines[2];
    struct tr_perf_plot plot = {
        .title = title, .subtitle = subtitle, .lines = lines, .notes = notes};
    if (points == NULL)
        return;
    memset(lines, 0, sizeof(lines));
    const struct tr_histogram *of[] = {floor, engine};
    for (uint32_t i = 0; i < 2; i++) {
        struct tr_perf_line *line = &lines[plot.line_count];
        if (of[i]->count == 0)
            continue;
        struct tr_perf_point *to = points + (size_t)i * TR_HISTOGRAM_BUCKETS * 2;
        *line = (struct tr_perf_line){.name = i == 0 ? "floor" : "trireme",
                                      .color = i == 0 ? TR_PERF_COLOR_FLOOR : TR_PERF_COLOR_ENGINE,
                                      .is_dashed = i == 0,
                                      .points = to,
                                      .point_count = line_of(of[i], to)};
        for (uint32_t n = 0; n < TR_ARRAY_COUNT(noted_ppm); n++)
            notes[plot.note_count++] = note_of(of[i], line->color, noted_ppm[n], i == 0);
        plot.line_count++;
    }
    axis_of_nines(&plot.x, engine->count > floor->count ? engine->count : floor->count);
    plot.y.title = "latency";
    double most = (double)(engine->max_ns > floor->max_ns ? engine->max_ns : floor->max_ns);
    tr_perf_axis_of_ns(&plot.y, (double)least_of(engine, floor) * 0.75, most * 1.3);
    tr_perf_plot_write(out, &plot);
    free(points);
}

static void axis_of_rates(struct tr_perf_axis *axis, const struct tr_perf_load_point *points,
                          uint32_t count)
{
    axis->title = "offered load, commands a second";
    axis->low = log10(points[0].offered_per_s) - 0.04;
    axis->high = log10(points[count - 1].offered_per_s) + 0.04;
    if (axis->high - axis->low < 0.3)
        axis->high = axis->low + 0.3;
    for (int decade = (int)floor(axis->low); decade <= (int)ceil(axis->high); decade++) {
        for (int step = 1; step < 10 && axis->tick_count < TR_PERF_TICKS_MAX; step++) {
            struct tr_perf_tick *tick = &axis->ticks[axis->tick_count];
            tick->at = decade + log10(step);
            if (tick->at < axis->low || tick->at > axis->high)
                continue;
            bool is_labelled = step == 1 || step == 2 || step == 5;
            if (is_labelled && step * pow(10, decade) < 1e6)
                snprintf(tick->label, sizeof(tick->label), "%.0f k", step * pow(10, decade - 3));
            else if (is_labelled)
                snprintf(tick->label, sizeof(tick->label), "%.0f M", step * pow(10, decade - 6));
            axis->tick_count++;
        }
    }
}

/* The figure of a point by its place in the list of lines below. */
static uint64_t figure_of(const struct tr_perf_load_point *point, uint32_t which)
{
    const uint64_t figures[] = {point->floor_p50_ns, point->p50_ns, point->p99_ns, point->p999_ns};
    return figures[which];
}

void tr_perf_chart_sweep(FILE *out, const char *title, const char *subtitle,
                         const struct tr_perf_load_point *points, uint32_t count)
{
    static const char *const names[] = {"floor p50", "trireme p50", "p99", "p99.9"};
    static const char *const colors[] = {TR_PERF_COLOR_FLOOR, TR_PERF_COLOR_ENGINE,
                                         TR_PERF_COLOR_P99, TR_PERF_COLOR_P999};
    struct tr_perf_point at[TR_ARRAY_COUNT(names)][TR_PERF_LOAD_POINTS_MAX];
    struct tr_perf_line lines[TR_ARRAY_COUNT(names)];
    struct tr_perf_plot plot = {.title = title, .subtitle = subtitle, .lines = lines};
    double least = 1e18;
    double most = 0;
    if (count == 0 || count > TR_PERF_LOAD_POINTS_MAX)
        return;
    for (uint32_t line = 0; line < TR_ARRAY_COUNT(names); line++) {
        uint32_t used = 0;
        for (uint32_t i = 0; i < count; i++) {
            double ns = (double)figure_of(&points[i], line);
            if (ns <= 0)
                continue;
            at[line][used++] = (struct tr_perf_point){log10(points[i].offered_per_s), log10(ns)};
            least = ns < least ? ns : least;
            most = ns > most ? ns : most;
        }
        lines[line] =
            (struct tr_perf_line){names[line], colors[line], line == 0, true, at[line], used};
    }
    plot.line_count = TR_ARRAY_COUNT(names);
    plot.y.title = "latency";
    tr_perf_axis_of_ns(&plot.y, least * 0.75, most * 1.3);
    axis_of_rates(&plot.x, points, count);
    tr_perf_plot_write(out, &plot);
}
