/*
 * How a polling thread waits when a cycle found nothing to do.
 *
 * The fixed strategies do one thing. AUTO spins while there is a CPU for every polling thread; when
 * there is not, an idle poller gets out of the way at once, in steps: it pauses for some
 * microseconds after its last work (the answer to what it just sent is near), then yields, then
 * parks for tens of microseconds at a time. A busy one never comes here.
 *
 * Whoever gives a poller work knocks at its door when it may be parked. No knock is missed:
 *   (K) the waker publishes its work, then exchanges the door to KNOCKED; the poller takes a knock
 *       by an exchange before it looks for work again, and parks by a compare and swap that a knock
 *       makes fail.
 *   (L) a waker that finds may_park 0 does not knock. The poller sets it long before it first
 * parks, and fences all threads (tr_membarrier): what such a waker published is seen by the cycles
 *       that follow. Without that system call a knock can be missed once; the park is short.
 * A poller that was knocked at stays hot for a while: the work may be on a member that it visits in
 * turn only.
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

enum tr_idle_door {
    TR_DOOR_OPEN = 0,
    TR_DOOR_PARKED = 1, /* the poller sleeps, or is about to: a knock wakes it */
    TR_DOOR_KNOCKED = 2,
};

struct tr_idle_wait {
    enum tr_idle strategy;
    bool crowded; /* AUTO: pollers share CPUs */
    bool knocked; /* taken from the door: the next rest counts as one after work */
    enum tr_idle_state state;
    uint64_t park_ns_max;
    uint64_t work_ns;   /* when there was work last */
    uint64_t assess_ns; /* when to look again whether it is crowded */
    uint64_t preempted; /* involuntary switches of this thread at the last look */
    struct tr_pollers *table;
    int entry;
    uint32_t cpus_usable;
    uint64_t parks, yields;
    /* Other threads': */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u32 door; /* enum tr_idle_door (K) */
    tr_atomic_u32 may_park;                       /* 1: knock (L) */
};

/* Prepares the calling thread's waiting. w: zeroed; other threads may knock already.
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

/* There is work for the poller of another thread, published before. Thread: any. Cost: a load; an
 * exchange where it may park; a system call when it is parked. */
void tr_idle_knock(struct tr_idle_wait *w);
static inline void tr_idle_wake(struct tr_idle_wait *w)
{
    tr_fence_signal();
    if (tr_unlikely(tr_load_relaxed(&w->may_park) != 0)) /* (L) */
        tr_idle_knock(w);
}

TR_END_C

#endif
