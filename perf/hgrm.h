/* Writes a histogram as HdrHistogram's percentile text (.hgrm), which its plotters read.
 * Source: HdrHistogram, AbstractHistogram.outputPercentileDistribution. */
#ifndef TR_PERF_HGRM_H
#define TR_PERF_HGRM_H

#include "base/histogram.h"

#include <stdio.h>

TR_BEGIN_C

/* Lines of the table for each halving of the distance to 100 %. */
#define TR_PERF_HGRM_TICKS 5

/* Writes the whole text, values in nanoseconds. */
void tr_perf_hgrm_write(FILE *out, const struct tr_histogram *histogram);

TR_END_C

#endif
