#include "perf/hgrm.h"

#include <inttypes.h>
#include <math.h>

static double mean_of(const struct tr_histogram *h)
{
    return h->count ? (double)h->sum_ns / (double)h->count : 0;
}

/* Standard deviation, each value taken as the middle of its bucket. */
static double deviation_of(const struct tr_histogram *h)
{
    double mean = mean_of(h);
    double sum = 0;
    for (unsigned i = 0; i < TR_HISTOGRAM_BUCKETS && h->count; i++) {
        double middle =
            (double)tr_histogram_bucket_low_ns(i) / 2 + (double)tr_histogram_bucket_high_ns(i) / 2;
        sum += (double)h->buckets[i] * (middle - mean) * (middle - mean);
    }
    return h->count ? sqrt(sum / (double)h->count) : 0;
}

static void put_line(FILE *out, uint64_t value_ns, double percentile, uint64_t total)
{
    fprintf(out, "%12.3f %2.12f %10" PRIu64, (double)value_ns, percentile / 100, total);
    if (percentile < 100)
        fprintf(out, " %14.2f", 1 / (1 - percentile / 100));
    fputc('\n', out);
}

/* The next percentile to print: the steps halve with the distance that is left to 100. */
static double next_percentile(double percentile)
{
    double halvings = floor(log2(100 / (100 - percentile))) + 1;
    return percentile + 100 / (TR_PERF_HGRM_TICKS * exp2(halvings));
}

void tr_perf_hgrm_write(FILE *out, const struct tr_histogram *h)
{
    double percentile = 0;
    uint64_t seen = 0;
    fprintf(out, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
            "1/(1-Percentile)");
    for (unsigned i = 0; i < TR_HISTOGRAM_BUCKETS && seen < h->count; i++) {
        if (h->buckets[i] == 0)
            continue;
        seen += h->buckets[i];
        uint64_t high_ns = tr_histogram_bucket_high_ns(i);
        uint64_t value_ns = high_ns < h->max_ns ? high_ns : h->max_ns;
        double reached = 100 * (double)seen / (double)h->count;
        /* At most TICKS lines for each halving, of which 64 bits have 64. */
        while (percentile <= reached && percentile < 100) {
            put_line(out, value_ns, percentile, seen);
            percentile = seen < h->count ? next_percentile(percentile) : 100;
        }
    }
    if (h->count)
        put_line(out, h->max_ns, 100, h->count);
    fprintf(out, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", mean_of(h), deviation_of(h));
    fprintf(out, "#[Max     = %12.3f, Total count    = %12" PRIu64 "]\n",
            (double)tr_histogram_max_ns(h), h->count);
    fprintf(out, "#[Buckets = %12d, SubBuckets     = %12d]\n", 64 - TR_HISTOGRAM_SUB_BITS + 1,
            (int)TR_HISTOGRAM_SUBS);
}
