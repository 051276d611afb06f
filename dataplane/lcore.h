/*
 * A polling core: one thread, one driver port, and the groups and apply stages that it runs.
 *
 * A cycle reads the clock once, receives a burst and hands each message to its group, then visits
 * groups and apply stages. Groups with recent work are visited in every cycle; of the others a few
 * in turn, so that a core with a thousand groups costs a busy one little.
 */
#ifndef TR_DATAPLANE_LCORE_H
#define TR_DATAPLANE_LCORE_H

#include "base/atomic.h"
#include "base/histogram.h"
#include "dataplane/clock.h"
#include "dataplane/counters.h"
#include "dataplane/idle.h"
#include "dataplane/roster.h"
#include "drivers/driver.h"

#include <pthread.h>

TR_BEGIN_C

struct tr_node;
struct tr_group;
struct tr_outlet;
struct tr_apply;
struct tr_door;

/* Messages of one receive burst. */
#define TR_LCORE_BURST 64u

/* What a polling core counts; in the counters segment. */
struct tr_lcore_stats {
    struct tr_histogram *submit, *replicate, *quorum, *apply, *complete;
    uint64_t *cycles, *work, *idle_state, *parks, *yields, *crowded;
    uint64_t *rx_unknown_group, *rx_wrong_sender, *tx_lost;
    uint64_t *port[sizeof(struct tr_port_stats) /
                   sizeof(uint64_t)]; /* struct tr_port_stats, field by field */
};

struct tr_lcore {
    struct tr_node *node;
    uint32_t index;
    int cpu; /* the only one to run on; else TR_CPU_NEAR, until its thread has settled, or
                TR_CPU_ANY */

    const struct tr_driver *driver;
    struct tr_port *port; /* NULL until a group needs it */
    struct tr_port_limits limits;
    struct tr_door *door; /* where remote clients come in; NULL: nowhere */
    bool tx_dirty;        /* something was given to the driver and not flushed */
    uint32_t writes_open; /* one-sided writes posted and not completed */
    uint64_t deadline_ns; /* the nearest of the groups visited in this cycle */
    uint64_t events_ns;   /* when to look at the port's events */
    uint64_t publish_ns;  /* when to write the counters */

    struct tr_clock clock;
    uint64_t now_ns;
    uint64_t cycle;
    bool thorough; /* this cycle looks at everything */
    struct tr_idle_wait idle;
    struct tr_lcore_stats stats;

    struct tr_group *last_group; /* that a message was for */
    struct tr_group **by_number; /* open addressing */
    uint32_t by_number_mask;
    struct tr_roster groups;
    struct tr_apply **applies; /* apply stages on this core whose group is on another */
    uint32_t apply_count;
    struct tr_outlet **outlet; /* by the cookie of their writes */
    uint32_t outlet_count;

    struct tr_rx rx[TR_LCORE_BURST];
    struct tr_write_completion written[TR_LCORE_BURST];

    pthread_t thread;
    bool started;
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u32 stop;
    tr_atomic_u32 thread_id; /* of the thread that runs it; 0: none */
};

/* Finds the group of a number on this core, or NULL. */
struct tr_group *tr_lcore_group(const struct tr_lcore *l, uint32_t number);

/* Puts a group on this core. Thread: setup. */
void tr_lcore_add_group(struct tr_lcore *l, struct tr_group *g);

/* One turn of everything on this core. Returns the work done. Thread: the core's. */
uint32_t tr_lcore_cycle(struct tr_lcore *l);

/* Completions of one-sided writes, to the groups that posted them. Returns how many. */
uint32_t tr_lcore_written(struct tr_lcore *l);

/* Keeps the calling thread on the CPU that it is to run on, or chooses one near the device. Returns
 * TR_OK (also where there is nothing to choose), TR_EPERM (logged). Thread: the core's, before it
 * enters. */
int tr_lcore_settle(struct tr_lcore *l);

/* Prepares what belongs to the calling thread; ends it. Thread: the core's. */
void tr_lcore_enter(struct tr_lcore *l, enum tr_idle strategy);
void tr_lcore_leave(struct tr_lcore *l);

/* Starts and stops the thread. Returns TR_OK, TR_EPERM (pinning), TR_ENOMEM. Thread: setup. */
int tr_lcore_start(struct tr_lcore *l);
void tr_lcore_stop(struct tr_lcore *l);

/* Copies slow figures into the counters segment. Thread: the core's. */
void tr_lcore_publish(struct tr_lcore *l);

/* Pushes out what tx_burst may have gathered. */
static inline void tr_lcore_flush(struct tr_lcore *l)
{
    if (l->tx_dirty) {
        l->tx_dirty = false;
        l->driver->tx_flush(l->port);
    }
}

TR_END_C

#endif
