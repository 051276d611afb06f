/*
 * How a polling thread waits when a cycle found nothing to do.
 *
 * The fixed strategies do one thing. AUTO spins while there is a CPU for every polling thread; when
 * there is not, an idle poller gets out of the way at once, in steps: it pauses for some
 * microseconds after its last work (the answer to what it just sent is near), then yields, then
 * parks for tens of microseconds at a time. A busy one never comes here.
 */
#ifndef TR_DATAPLANE_IDLE_H
#define TR_DATAPLANE_IDLE_H

#include "base/atomic.h"
#include "dataplane/pollers.h"
#include "trireme/trireme.h"

TR_BEGIN_C

/* What an idle poller did last, for the counters. */
enum tr_idle_state {
    TR_IDLING_SPIN = 0,
    TR_IDLING_PAUSE = 1,
    TR_IDLING_YIELD = 2,
    TR_IDLING_PARK = 3
};

/* Longest time of one park: nothing but time wakes a poller for a peer's message. */
#define TR_PARK_NS_MAX UINT64_C(50000)

struct tr_idle_wait {
    enum tr_idle strategy;
    bool crowded; /* AUTO: pollers share CPUs */
    bool parking; /* this kind of waiting may park at all */
    enum tr_idle_state state;
    uint64_t work_ns;   /* when there was work last */
    uint64_t assess_ns; /* when to look again whether it is crowded */
    uint64_t preempted; /* involuntary switches of this thread at the last look */
    struct tr_pollers *table;
    int entry;
    uint32_t cpus_usable;
    uint64_t parks, yields;
    /* 1 while the thread is parked: whoever gives it work wakes it then. Read by other threads. */
    TR_ALIGNED(TR_CACHE_LINE) uint32_t parked;
};

/* Prepares the calling thread's waiting. w: zeroed; other threads may look at `parked` already.
 * table: may be NULL. cpu: the only one it runs on, or -1. */
void tr_idle_open(struct tr_idle_wait *w, enum tr_idle strategy, struct tr_pollers *table, int cpu);
void tr_idle_close(struct tr_idle_wait *w);

/* After a cycle without work. deadline_ns: when there will be some for sure. Thread: the poller. */
void tr_idle_rest(struct tr_idle_wait *w, uint64_t now_ns, uint64_t deadline_ns);

/* The strategies that never leave the CPU, in line. */
static inline void tr_idle_cycle(struct tr_idle_wait *w, uint32_t work, uint64_t now_ns,
                                 uint64_t deadline_ns)
{
    if (work != 0)
        w->work_ns = now_ns;
    else if (w->strategy != TR_IDLE_SPIN)
        tr_idle_rest(w, now_ns, deadline_ns);
}

/* Wakes the poller of another thread when it is parked. Thread: any. Cost: a load; a system call
 * when it is parked. A wake may be missed when both sides race: the park is short. */
void tr_idle_unpark(struct tr_idle_wait *w);
static inline void tr_idle_wake(struct tr_idle_wait *w)
{
    if (tr_unlikely(tr_load_relaxed(&w->parked) != 0))
        tr_idle_unpark(w);
}

TR_END_C

#endif
