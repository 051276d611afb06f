/* The idle strategies. */
#include "dataplane/idle.h"

#include "base/bytes.h"
#include "dataplane/membarrier.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* When crowded: hot this long after the last work, then yielding this long, then parked. */
#define CROWDED_PAUSE_NS UINT64_C(3000)
#define CROWDED_YIELD_NS UINT64_C(50000)
/* The strategy `sleep` is hot this long. */
#define SLEEP_PAUSE_NS UINT64_C(5000)
#define ASSESS_NS      UINT64_C(50000000)
/* Involuntary switches between two looks that mean that somebody else wants this CPU. */
#define PREEMPTED_MANY 5

static uint64_t preempted_count(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)usage.ru_nivcsw : 0;
}

/* From here on wakers knock, or do not. */
static void set_may_park(struct tr_idle_wait *w, bool may_park)
{
    bool before = tr_load_relaxed(&w->may_park) != 0;
    tr_store_relaxed(&w->may_park, (uint32_t)may_park); /* (L) */
    if (may_park && !before)
        tr_membarrier();
}

void tr_idle_open(struct tr_idle_wait *w, enum tr_idle strategy, struct tr_pollers *table, int cpu)
{
    cpu_set_t set;
    w->strategy = strategy;
    w->park_ns_max = TR_PARK_NS_MAX;
    w->table = table;
    w->cpus_usable = 1;
    set_may_park(w, strategy == TR_IDLE_SLEEP);
    w->entry = tr_pollers_enter(table, cpu);
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        w->cpus_usable = (uint32_t)CPU_COUNT(&set);
    if (strategy == TR_IDLE_AUTO || strategy == TR_IDLE_SLEEP)
        prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    w->preempted = preempted_count();
}

void tr_idle_close(struct tr_idle_wait *w)
{
    tr_pollers_leave(w->table, w->entry);
    w->entry = -1;
    set_may_park(w, false);
}

/* Looks whether this poller has to share its CPU. */
static void assess(struct tr_idle_wait *w, uint64_t now_ns)
{
    uint64_t preempted = preempted_count();
    w->crowded = tr_pollers_crowded(w->table, w->entry, w->cpus_usable) ||
                 preempted - w->preempted >= PREEMPTED_MANY;
    w->preempted = preempted;
    w->assess_ns = now_ns + ASSESS_NS;
    set_may_park(w, w->crowded);
}

/* Sleeps until the time is over or somebody knocks. */
static void park(struct tr_idle_wait *w, uint64_t now_ns, uint64_t deadline_ns)
{
    uint32_t door = TR_DOOR_OPEN;
    if (deadline_ns <= now_ns)
        return;
    uint64_t ns = tr_min_u64(w->park_ns_max, deadline_ns - now_ns);
    struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000),
                               .tv_nsec = (long)(ns % 1000000000)};
    if (tr_cas_acq_rel(&w->door, &door, (uint32_t)TR_DOOR_PARKED)) { /* (K) */
        w->state = TR_IDLING_PARK;
        w->parks++;
        syscall(SYS_futex, &w->door, FUTEX_WAIT_PRIVATE, TR_DOOR_PARKED, &timeout, NULL, 0);
    }
    w->knocked = tr_exchange_acq_rel(&w->door, (uint32_t)TR_DOOR_OPEN) == TR_DOOR_KNOCKED; /* (K) */
}

static void rest_yield(struct tr_idle_wait *w)
{
    w->state = TR_IDLING_YIELD;
    w->yields++;
    sched_yield();
}

static void rest_pause(struct tr_idle_wait *w)
{
    w->state = TR_IDLING_PAUSE;
    tr_cpu_pause();
}

void tr_idle_knock(struct tr_idle_wait *w)
{
    if (tr_exchange_acq_rel(&w->door, (uint32_t)TR_DOOR_KNOCKED) == TR_DOOR_PARKED) /* (K) */
        syscall(SYS_futex, &w->door, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* AUTO, when there are more pollers than CPUs. */
static void rest_crowded(struct tr_idle_wait *w, uint64_t now_ns, uint64_t deadline_ns)
{
    uint64_t idle_ns = now_ns - w->work_ns;
    if (idle_ns < CROWDED_PAUSE_NS)
        rest_pause(w);
    else if (idle_ns < CROWDED_YIELD_NS)
        rest_yield(w);
    else
        park(w, now_ns, deadline_ns);
}

void tr_idle_rest(struct tr_idle_wait *w, uint64_t now_ns, uint64_t deadline_ns)
{
    if (w->knocked)
        w->work_ns = now_ns;
    w->knocked = false;
    switch (w->strategy) {
    case TR_IDLE_AUTO:
        if (tr_unlikely(now_ns >= w->assess_ns))
            assess(w, now_ns);
        if (w->crowded)
            rest_crowded(w, now_ns, deadline_ns);
        else
            w->state = TR_IDLING_SPIN;
        return;
    case TR_IDLE_SPIN:
        return;
    case TR_IDLE_PAUSE:
        rest_pause(w);
        return;
    case TR_IDLE_YIELD:
        rest_yield(w);
        return;
    case TR_IDLE_SLEEP:
        if (now_ns - w->work_ns < SLEEP_PAUSE_NS)
            rest_pause(w);
        else
            park(w, now_ns, deadline_ns);
        return;
    }
}
