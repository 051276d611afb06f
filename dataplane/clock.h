/*
 * The clock of a polling thread: CLOCK_MONOTONIC in nanoseconds, read through the time-stamp
 * counter.
 *
 * Where the counter is invariant it is calibrated against CLOCK_MONOTONIC at open and again every
 * TR_CLOCK_RESYNC_NS, so that it follows the system's slewing; a counter that runs away is given up
 * for the vdso. Each thread has its own struct; time never goes backward in it. Measured on a
 * virtual machine (AMD EPYC, kvm-clock): 18 ns by the counter, 42 ns by the vdso.
 */
#ifndef TR_DATAPLANE_CLOCK_H
#define TR_DATAPLANE_CLOCK_H

#include "base/tsc.h"
#include "base/types.h"

#include <time.h>

TR_BEGIN_C

/* Between two comparisons with CLOCK_MONOTONIC: 60 ns in 10 ms. */
#define TR_CLOCK_RESYNC_NS UINT64_C(10000000)

struct tr_clock {
    uint64_t base_tsc, base_ns;     /* now = base_ns + (tsc - base_tsc) * mult / 2^32 */
    uint64_t mult;                  /* nanoseconds a tick, times 2^32 */
    uint64_t resync_tsc;            /* ticks after base_tsc at which the next comparison is due */
    uint64_t anchor_tsc, anchor_ns; /* a comparison long ago: the long run gives the rate */
    uint64_t last_ns;               /* the latest time given out */
    uint32_t strikes;           /* comparisons in a row in which the counter was not believable */
    bool counter;               /* the counter is in use */
    const uint64_t *virtual_ns; /* a simulated world's time, instead of all that; NULL: none */
};

/* CLOCK_MONOTONIC by the system. Thread: any. Cost: the vdso's. */
static inline uint64_t tr_clock_system_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* Calibrates a clock, spinning for about 2 ms where there is a counter. Thread: any. */
void tr_clock_open(struct tr_clock *c);

/* Follows a simulated world's time from now on. Thread: the clock's, or setup. */
void tr_clock_follow(struct tr_clock *c, const uint64_t *virtual_ns);

/* Compares with the system's clock and returns the time. Thread: the clock's. */
uint64_t tr_clock_resync(struct tr_clock *c);

/* The time. Thread: the clock's.  Units: nanoseconds of CLOCK_MONOTONIC. Cost: one counter read, a
 * multiplication. */
static inline uint64_t tr_clock_now_ns(struct tr_clock *c)
{
    uint64_t ticks = tr_tsc_read() - c->base_tsc;
    if (tr_unlikely(ticks >= c->resync_tsc))
        return tr_clock_resync(c);
    uint64_t ns = c->base_ns + ((ticks * c->mult) >> 32);
    c->last_ns =
        ns > c->last_ns ? ns : c->last_ns; /* counters of two CPUs may be some ticks apart */
    return c->last_ns;
}

TR_END_C

#endif
