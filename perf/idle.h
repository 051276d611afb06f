/* How a thread of the harness waits when a poll found nothing: the same for floor and engine. */
#ifndef TR_PERF_IDLE_H
#define TR_PERF_IDLE_H

#include "base/atomic.h"
#include "trireme/trireme.h"

#include <sched.h>
#include <time.h>

TR_BEGIN_C

/* Empty polls in a row before TR_IDLE_SLEEP sleeps, and for how long (as the engine's own). */
#define TR_PERF_IDLE_SPINS    2000
#define TR_PERF_IDLE_SLEEP_NS 50000

/* One wait of a strategy. `empty` counts the empty polls in a row and is kept by the caller.
 * TR_IDLE_AUTO is resolved to another one before a run (tr_perf_idle_resolve). Thread: any. */
static inline void tr_perf_idle(enum tr_idle idle, uint32_t *empty)
{
    const struct timespec nap = {0, TR_PERF_IDLE_SLEEP_NS};
    switch (idle) {
    case TR_IDLE_AUTO:
    case TR_IDLE_SPIN:
        break;
    case TR_IDLE_PAUSE:
        tr_cpu_pause();
        break;
    case TR_IDLE_YIELD:
        sched_yield();
        break;
    case TR_IDLE_SLEEP:
        if (++*empty > TR_PERF_IDLE_SPINS)
            clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
        break;
    }
}

TR_END_C

#endif
