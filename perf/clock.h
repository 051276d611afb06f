/* The one clock of the harness: both ends of every latency are read from it, on both sides of a
 * comparison, and its cost is not subtracted. */
#ifndef TR_PERF_CLOCK_H
#define TR_PERF_CLOCK_H

#include "base/types.h"

#include <time.h>

TR_BEGIN_C

/* Nanoseconds of CLOCK_MONOTONIC. Thread: any.  Cost: a vDSO call, 20 to 40 ns. */
static inline uint64_t tr_perf_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

TR_END_C

#endif
