#include "perf/statistics.h"

#include "base/assert.h"

#include <stdlib.h>

static int by_size(const void *left, const void *right)
{
    const double *a = left;
    const double *b = right;
    return (*a > *b) - (*a < *b);
}

/* The figure at a fraction of the way from the least to the most. */
static double at_fraction(const double *sorted, uint32_t count, double fraction)
{
    double place = fraction * (double)(count - 1);
    uint32_t below = (uint32_t)place;
    uint32_t above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

struct tr_perf_quartiles tr_perf_quartiles_of(double *figures, uint32_t count)
{
    struct tr_perf_quartiles q = {0, 0, 0, 0, 0};
    if (count == 0)
        return q;
    qsort(figures, count, sizeof(*figures), by_size);
    q.least = figures[0];
    q.low = at_fraction(figures, count, 0.25);
    q.median = at_fraction(figures, count, 0.5);
    q.high = at_fraction(figures, count, 0.75);
    q.most = figures[count - 1];
    return q;
}

static double over(double a, double b)
{
    return b > 0 ? a / b : 0;
}

/* The figures of a pair, in the order of struct tr_perf_comparison. */
static double figure_of(const struct tr_perf_pair *pair, uint32_t which)
{
    switch (which) {
    case 0:
        return pair->floor_p50_ns;
    case 1:
        return pair->engine_p50_ns;
    case 2:
        return pair->engine_p50_ns - pair->floor_p50_ns;
    case 3:
        return over(pair->engine_p50_ns, pair->floor_p50_ns);
    case 4:
        return pair->floor_per_s;
    case 5:
        return pair->engine_per_s;
    default:
        return over(pair->engine_per_s, pair->floor_per_s);
    }
}

struct tr_perf_comparison tr_perf_compare(const struct tr_perf_pair *pairs, uint32_t count)
{
    struct tr_perf_comparison c = {0};
    struct tr_perf_quartiles *to[] = {&c.floor_p50_ns, &c.engine_p50_ns, &c.difference_ns,
                                      &c.ratio_p50,    &c.floor_per_s,   &c.engine_per_s,
                                      &c.ratio_per_s};
    double figures[TR_PERF_PAIRS_MAX];
    tr_assert(count <= TR_PERF_PAIRS_MAX);
    for (uint32_t which = 0; which < TR_ARRAY_COUNT(to); which++) {
        for (uint32_t i = 0; i < count; i++)
            figures[i] = figure_of(&pairs[i], which);
        *to[which] = tr_perf_quartiles_of(figures, count);
    }
    return c;
}
