/* The turn of a polling core, and its thread. */
#include "dataplane/lcore.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "consensus/message.h"
#include "dataplane/door.h"
#include "dataplane/group.h"
#include "dataplane/node.h"
#include "trireme/error.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* In every so many cycles, and after a park, every group has a whole turn: what changes seldom (new
 * sessions, cold ones, questions of other threads) is looked at then. A power of two. */
#define THOROUGH_EVERY 8u
/* Between two looks at port events, and two publications of counters. */
#define EVENTS_NS  UINT64_C(20000)
#define PUBLISH_NS UINT64_C(2000000)
/* Port events of one look. */
#define EVENTS_MAX 16u
/* Stack of a polling thread; the library needs little, the state machine's apply runs on it. */
#define STACK_BYTES (2u << 20)

/* ---- messages in */

static uint32_t hash_of(uint32_t number)
{
    return (uint32_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
}

struct tr_group *tr_lcore_group(const struct tr_lcore *l, uint32_t number)
{
    uint32_t at = hash_of(number) & l->by_number_mask;
    for (uint32_t i = 0; i <= l->by_number_mask; i++, at = (at + 1) & l->by_number_mask) {
        struct tr_group *g = l->by_number[at];
        if (g == NULL || g->number == number)
            return g;
    }
    return NULL;
}

void tr_lcore_add_group(struct tr_lcore *l, struct tr_group *g)
{
    uint32_t at = hash_of(g->number) & l->by_number_mask;
    while (l->by_number[at] != NULL)
        at = (at + 1) & l->by_number_mask;
    l->by_number[at] = g;
    tr_roster_add(&l->groups, g);
}

/* The group that a message is for and comes from a member of; NULL: counted, and dropped. */
static inline struct tr_group *group_of(struct tr_lcore *l, const struct tr_rx *rx)
{
    uint32_t number;
    tr_node_id from;
    bool known = tr_message_peek(rx->data, rx->bytes, &number, &from);
    if (tr_unlikely(!known || from != rx->peer)) {
        tr_counter_add(l->stats.rx_wrong_sender, 1);
        return NULL;
    }
    struct tr_group *g = l->last_group;
    if (tr_likely(g != NULL && g->number == number))
        return g;
    g = tr_lcore_group(l, number);
    if (g == NULL)
        tr_counter_add(l->stats.rx_unknown_group, 1);
    else
        l->last_group = g;
    return g;
}

/* Receives a burst. Each group that a message was for gets its turn at once. */
static uint32_t receive(struct tr_lcore *l)
{
    struct tr_group *touched[TR_LCORE_BURST];
    uint32_t touched_count = 0;
    uint32_t count = l->driver->rx_burst(l->port, l->rx, TR_LCORE_BURST);
    for (uint32_t i = 0; i < count; i++) {
        struct tr_group *g = group_of(l, &l->rx[i]);
        if (tr_unlikely(g == NULL))
            continue;
        g->now_ns = l->now_ns;
        tr_group_message(g, &l->rx[i], i + 1 < count);
        if (g->touched_cycle != l->cycle)
            touched[touched_count++] = g;
        g->touched_cycle = l->cycle;
    }
    for (uint32_t i = 0; i < touched_count; i++)
        tr_group_poll(touched[i], l->now_ns);
    return count;
}

/* ---- one-sided completions */

/* Completions of one outlet and kind, which follow each other, are told at once. */
uint32_t tr_lcore_written(struct tr_lcore *l)
{
    uint32_t total = 0, count;
    do {
        count = l->driver->write_poll(l->port, l->written, TR_LCORE_BURST);
        tr_assert(count <= l->writes_open);
        l->writes_open -= count;
        for (uint32_t i = 0, n; i < count; i += n) {
            const struct tr_write_completion *c = &l->written[i];
            for (n = 1; i + n < count && c[n].cookie == c->cookie && c[n].status == c->status;
                 n++) {
            }
            tr_assert(c->cookie < l->outlet_count);
            struct tr_outlet *o = l->outlet[c->cookie];
            o->group->now_ns = l->now_ns;
            tr_ring_written(o->group, o, c->status, n);
        }
        total += count;
    } while (count == TR_LCORE_BURST);
    return total;
}

/* ---- what happens seldom */

/* A member's process is gone, or another one answers in its place. */
static void hint(struct tr_lcore *l, const struct tr_port_event *event)
{
    for (uint32_t i = 0; i < l->groups.count; i++) {
        struct tr_group *g = (struct tr_group *)l->groups.member[i].who;
        g->now_ns = l->now_ns;
        tr_group_peer_event(g, event);
    }
}

static tr_noinline void port_events(struct tr_lcore *l)
{
    struct tr_port_event events[EVENTS_MAX];
    uint32_t count = l->driver->events(l->port, events, EVENTS_MAX);
    l->events_ns = l->now_ns + EVENTS_NS;
    for (uint32_t i = 0; i < count; i++)
        hint(l, &events[i]);
}

static void copy_port_stats(struct tr_lcore *l)
{
    struct tr_port_stats s = {0};
    l->driver->stats(l->port, &s);
    const uint64_t *from = (const uint64_t *)&s;
    for (uint32_t i = 0; i < sizeof(s) / sizeof(uint64_t); i++)
        tr_store_relaxed(l->stats.port[i], from[i]);
}

void tr_lcore_publish(struct tr_lcore *l)
{
    l->publish_ns = l->now_ns + PUBLISH_NS;
    tr_store_relaxed(l->stats.cycles, l->cycle);
    tr_store_relaxed(l->stats.idle_state, (uint64_t)l->idle.state);
    tr_store_relaxed(l->stats.parks, l->idle.parks);
    tr_store_relaxed(l->stats.yields, l->idle.yields);
    tr_store_relaxed(l->stats.crowded, (uint64_t)l->idle.crowded);
    if (l->port != NULL)
        copy_port_stats(l);
}

/* ---- the turn */

static inline uint32_t visit(struct tr_lcore *l, uint32_t index)
{
    struct tr_group *g = (struct tr_group *)l->groups.member[index].who;
    if (g->touched_cycle == l->cycle)
        return 1; /* it had its turn after the burst */
    uint32_t work = 0;
    g->now_ns = l->now_ns;
    if (l->thorough || !tr_group_is_quiet(g))
        work = tr_group_poll(g, l->now_ns);
    else if (tr_submit_has_news(g))
        work = tr_group_submit(g, l->now_ns);
    l->deadline_ns = tr_min_u64(l->deadline_ns, g->deadline_ns);
    if (work != 0)
        tr_roster_worked(&l->groups, index);
    return work;
}

static uint32_t visit_groups(struct tr_lcore *l)
{
    uint32_t work = 0;
    for (uint32_t i = 0; i < l->groups.hot; i++)
        work += visit(l, i);
    for (uint32_t cold = tr_roster_cold_count(&l->groups); cold > 0; cold--)
        work += visit(l, tr_roster_cold(&l->groups));
    tr_roster_age(&l->groups);
    return work;
}

/* Proposes what sessions of groups at rest have, before anything is received: what arrives now, as
 * the acknowledgements that the commands before did not wait for, is seen to while these are on
 * their way. */
static inline uint32_t submit_first(struct tr_lcore *l)
{
    uint32_t work = 0;
    for (uint32_t i = 0; i < l->groups.hot; i++) {
        struct tr_group *g = (struct tr_group *)l->groups.member[i].who;
        if (tr_submit_has_news(g) && !g->busy)
            work += tr_group_submit(g, l->now_ns);
    }
    if (work != 0)
        tr_lcore_flush(l);
    return work;
}

uint32_t tr_lcore_cycle(struct tr_lcore *l)
{
    uint32_t work = 0;
    l->now_ns = tr_clock_now_ns(&l->clock);
    l->cycle++;
    l->thorough = (l->cycle & (THOROUGH_EVERY - 1)) == 0 || l->idle.state == TR_IDLING_PARK;
    l->deadline_ns = UINT64_MAX;
    work += submit_first(l);
    if (l->port != NULL) {
        work += receive(l);
        if (l->writes_open != 0)
            work += tr_lcore_written(l);
        if (tr_unlikely(l->now_ns >= l->events_ns))
            port_events(l);
    }
    if (tr_unlikely(l->door != NULL))
        work += tr_door_receive(l->door, l->now_ns, l->thorough);
    work += visit_groups(l);
    for (uint32_t i = 0; i < l->apply_count; i++)
        work += tr_apply_poll(l->applies[i], l->now_ns);
    if (tr_unlikely(l->door != NULL))
        work += tr_door_send(l->door);
    if (l->port != NULL)
        tr_lcore_flush(l);
    if (tr_unlikely(l->now_ns >= l->publish_ns))
        tr_lcore_publish(l);
    if (work != 0)
        tr_counter_add(l->stats.work, 1);
    return work;
}

/* ---- the thread */

void tr_lcore_enter(struct tr_lcore *l, enum tr_idle strategy)
{
    tr_store_release(&l->thread_id, (uint32_t)gettid());
    tr_idle_open(&l->idle, strategy, l->node->pollers, l->cpu);
}

void tr_lcore_leave(struct tr_lcore *l)
{
    tr_idle_close(&l->idle);
    tr_store_release(&l->thread_id, 0u);
}

/* Chooses the best CPU near the device that no other poller of the machine has, or, when each has
 * one, all of them. Returns the CPU, or TR_CPU_ANY. */
static int choose_near(struct tr_lcore *l, cpu_set_t *set)
{
    const struct tr_placement *p = &l->node->placement;
    int cpu = tr_pollers_settle(l->node->pollers, p->cpu, p->cpu_count);
    if (cpu < 0) {
        tr_log(&l->node->logger, TR_LOG_WARN,
               "polling core %u: on all CPUs near the device, since each has another poller",
               l->index);
        *set = p->near;
        return TR_CPU_ANY;
    }
    tr_log(&l->node->logger, TR_LOG_INFO, "polling core %u: CPU %d, near the device", l->index,
           cpu);
    CPU_SET((size_t)cpu, set);
    return cpu;
}

int tr_lcore_settle(struct tr_lcore *l)
{
    cpu_set_t set;
    int cpu = l->cpu;
    CPU_ZERO(&set);
    if (cpu >= 0)
        CPU_SET((size_t)cpu, &set);
    else if (cpu == TR_CPU_NEAR && l->node->placement.topology != NULL)
        cpu = choose_near(l, &set);
    else
        return TR_OK;
    int error = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
    l->cpu = error == 0 ? cpu : TR_CPU_ANY;
    if (error == 0)
        return TR_OK;
    tr_pollers_leave(l->node->pollers, tr_pollers_enter(l->node->pollers, TR_CPU_ANY));
    tr_log(&l->node->logger, TR_LOG_WARN, "polling core %u cannot be kept on its CPU: %s", l->index,
           strerror(error));
    return TR_EPERM;
}

static void *run(void *context)
{
    struct tr_lcore *l = (struct tr_lcore *)context;
    char name[16];
    snprintf(name, sizeof(name), "tr-%u.%u", l->node->self % 10000u, l->index);
    pthread_setname_np(pthread_self(), name);
    tr_lcore_settle(l);
    tr_lcore_enter(l, l->node->idle);
    while (tr_load_acquire(&l->stop) == 0) {
        uint32_t work = tr_lcore_cycle(l);
        tr_idle_cycle(&l->idle, work, l->now_ns, l->deadline_ns);
    }
    tr_lcore_leave(l);
    return NULL;
}

/* The application's handlers run on the application's threads. What a fault of this thread raises,
 * and what profilers use, stays open. */
static void block_signals(pthread_attr_t *attributes)
{
    static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < TR_ARRAY_COUNT(open); i++)
        sigdelset(&set, open[i]);
    pthread_attr_setsigmask_np(attributes, &set);
}

int tr_lcore_start(struct tr_lcore *l)
{
    pthread_attr_t attributes;
    cpu_set_t set; /* named: what cannot be is told by the start */
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    block_signals(&attributes);
    if (l->cpu >= 0) {
        CPU_ZERO(&set);
        CPU_SET((size_t)l->cpu, &set);
        pthread_attr_setaffinity_np(&attributes, sizeof(set), &set);
    }
    int error = pthread_create(&l->thread, &attributes, run, l);
    pthread_attr_destroy(&attributes);
    if (error != 0)
        return error == EAGAIN ? TR_ENOMEM : TR_EPERM;
    l->started = true;
    return TR_OK;
}

void tr_lcore_stop(struct tr_lcore *l)
{
    if (!l->started)
        return;
    tr_store_release(&l->stop, 1u); /* meets run */
    tr_idle_wake(&l->idle);
    pthread_join(l->thread, NULL);
    l->started = false;
}
