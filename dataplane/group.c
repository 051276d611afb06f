/* A group's turn: events in, effects out, and what follows from them. */
#include "dataplane/group.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "dataplane/node.h"
#include "trireme/error.h"

#include <stddef.h>

/* Rounds of a turn: one event may lead to another (an acknowledgement to a commit, that to an
 * application, that to more room), which the next turn carries on with. */
#define SETTLE_ROUNDS 4
/* Between two looks after sessions, and writings of the counters. */
#define SLOW_NS UINT64_C(1000000)

/* ---- events */

void tr_group_step(struct tr_group *g, struct tr_event *event)
{
    if (tr_unlikely(g->leases)) /* the time of an event must not lie before the event (rule 16) */
        g->now_ns = tr_clock_now_ns(&g->lcore->clock);
    event->now_ns = g->now_ns;
    tr_replica_step(g->replica, event, &g->effects);
    g->busy = true; /* until a turn has carried on with it */
    if (g->effects.count != 0)
        tr_effects_run(g);
    g->deadline_ns = tr_replica_deadline_ns(g->replica);
}

void tr_group_message(struct tr_group *g, const struct tr_rx *rx, bool more)
{
    uint8_t from = tr_replica_member(g->replica, rx->peer);
    if (tr_unlikely(from >= g->member_count || from == g->self)) {
        tr_counter_add(g->lcore->stats.rx_wrong_sender, 1);
        return;
    }
    if (tr_unlikely(g->hold.held != NULL && tr_hold_is_crowded(&g->hold))) {
        tr_counter_add(g->stats.messages_held, 1); /* the disk is behind: its sender asks again */
        return;
    }
    g->inlet.look_ns = 0;
    if (tr_inlet_has_news(g))
        tr_inlet_drain(g); /* a leader's messages speak of entries that it wrote before */
    struct tr_event event = {.type = TR_EVENT_MESSAGE, .more = more};
    event.u.message.data = rx->data;
    event.u.message.bytes = rx->bytes;
    event.u.message.from = from;
    tr_group_step(g, &event);
}

void tr_group_peer_event(struct tr_group *g, const struct tr_port_event *port_event)
{
    uint8_t member = tr_replica_member(g->replica, port_event->peer);
    struct tr_event event = {.type = TR_EVENT_MEMBER_HINT};
    if (member >= g->member_count || member == g->self)
        return;
    switch (port_event->type) {
    case TR_PORT_PEER_DOWN:
    case TR_PORT_PEER_NEW:
        break; /* the process that this replica has heard of is gone */
    case TR_PORT_PEER_UP:
    case TR_PORT_LINK_DOWN:
    case TR_PORT_LINK_UP:
        return;
    }
    event.u.member_hint.member = member;
    event.u.member_hint.incarnation = tr_replica_incarnation(g->replica, member);
    event.u.member_hint.state = TR_HINT_DEAD;
    tr_group_step(g, &event);
}

/* ---- applying */

/* Gives chosen entries to the apply stage, as many as it takes. Returns entries. */
static uint32_t post_entries(struct tr_group *g)
{
    uint32_t count = 0;
    while (g->slot_posted < g->slot_commit && count < TR_APPLY_BURST &&
           tr_apply_can_post(g->apply, TR_APPLY_INBOX_SPARE)) {
        struct tr_apply_message m = {.what = TR_APPLY_ENTRY, .slot = g->slot_posted + 1};
        m.at = tr_replica_entry(g->replica, m.slot);
        g->slot_posted = m.slot;
        tr_apply_post(g->apply, &m);
        count++;
    }
    return count;
}

static tr_noinline void sample_end(struct tr_group *g)
{
    uint64_t now_ns = tr_clock_now_ns(&g->lcore->clock);
    if (g->sample.chosen_ns != 0)
        tr_histogram_record(g->lcore->stats.apply, now_ns - g->sample.chosen_ns);
    g->sample = (struct tr_sample){0};
}

/* Tells the core how far the state machine is. Returns 1 when that is news. */
static uint32_t tell_applied(struct tr_group *g)
{
    uint64_t applied = tr_load_acquire(&g->apply->slot_applied); /* (P) */
    if (applied <= g->slot_told || g->installing)
        return 0;
    struct tr_event event = {.type = TR_EVENT_APPLIED, .u.applied.slot = applied};
    g->slot_told = applied;
    if (tr_unlikely(g->sample.slot != 0 && g->sample.slot <= applied))
        sample_end(g);
    tr_group_step(g, &event);
    return 1;
}

/* ---- the turn */

static uint32_t timers(struct tr_group *g)
{
    if (tr_likely(g->deadline_ns > g->now_ns))
        return 0;
    struct tr_event event = {.type = TR_EVENT_TIMEOUT};
    tr_group_step(g, &event);
    return 1;
}

/* Applies what is chosen. What was to be sent is on its way before: a slow state machine delays no
 * acknowledgement. */
static uint32_t apply(struct tr_group *g)
{
    uint32_t work = 0;
    if (g->slot_posted < g->slot_commit && !g->installing) {
        tr_lcore_flush(g->lcore);
        if (!g->apply->pipelined) /* else its own core tells it the time */
            g->apply->now_ns = g->now_ns;
        work += post_entries(g);
    }
    return work + tell_applied(g);
}

/* Whether the next turn must look at everything, `unsettled` after this one's last round. */
static inline bool is_busy(const struct tr_group *g, bool unsettled)
{
    return unsettled || g->outlets_due != 0 || g->inlet.fence != TR_FENCE_NONE ||
           g->hold.held != NULL || g->apply->pipelined || g->apply->attended_count != 0 ||
           g->slot_posted < g->slot_commit;
}

uint32_t tr_group_settle(struct tr_group *g)
{
    struct tr_lcore *l = g->lcore;
    uint32_t total = 0;
    uint32_t work = 1;
    for (int i = 0; i < SETTLE_ROUNDS && work != 0; i++) {
        work = timers(g);
        if (tr_unlikely(g->inlet.fence != TR_FENCE_NONE))
            work += tr_inlet_fence_poll(g);
        if (g->outlets_due != 0)
            work += tr_replicate_flush(g);
        if (l->writes_open != 0) {
            tr_ring_pin(g);
            work += tr_lcore_written(l);
        }
        work += apply(g);
        if (tr_unlikely(tr_ring_spsc_ready(g->apply->results, 1) != 0))
            work += tr_image_results(g);
        total += work;
    }
    g->busy = is_busy(g, work != 0);
    return total;
}

static tr_noinline void campaign(struct tr_group *g)
{
    struct tr_event event = {.type = TR_EVENT_CAMPAIGN};
    tr_store_relaxed(&g->campaign, 0u);
    tr_group_step(g, &event);
}

static tr_noinline void slow(struct tr_group *g)
{
    g->slow_ns = g->now_ns + SLOW_NS;
    tr_submit_slow(g);
    tr_group_publish(g);
}

uint32_t tr_group_submit(struct tr_group *g, uint64_t now_ns)
{
    g->now_ns = now_ns;
    uint32_t work = tr_submit_poll(g);
    if (work != 0)
        work += tr_group_settle(g);
    return work;
}

uint32_t tr_group_poll(struct tr_group *g, uint64_t now_ns)
{
    uint32_t work = 0;
    g->now_ns = now_ns;
    if (tr_inlet_has_news(g))
        work += tr_inlet_drain(g);
    if (tr_unlikely(g->hold.held != NULL))
        work += tr_effects_durable(g);
    work += tr_group_settle(g);
    if (tr_unlikely(tr_load_acquire(&g->admit_sequence) != g->admit_seen))
        tr_submit_admit(g);
    if (tr_unlikely(tr_load_relaxed(&g->campaign) != 0))
        campaign(g);
    uint32_t submitted = tr_submit_poll(g);
    if (submitted != 0)
        work += submitted + tr_group_settle(g);
    if (!g->apply->pipelined)
        work += tr_apply_poll(g->apply, now_ns);
    if (tr_unlikely(now_ns >= g->mirror_ns || g->leader_changed))
        tr_group_mirror(g);
    if (tr_unlikely(now_ns >= g->slow_ns))
        slow(g);
    return work;
}
