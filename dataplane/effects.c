/* Effects of the core, carried out in order. */
#include "dataplane/group.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "dataplane/node.h"
#include "trireme/error.h"

/* SEND: one message to each peer of the mask (or the one peer). May be lost. */
static void send(struct tr_group *g, const struct tr_effect *e)
{
    struct tr_tx tx[TR_MEMBERS_MAX];
    uint16_t peers = e->peers;
    uint32_t count = 0;
    for (; peers != 0; peers &= (uint16_t)(peers - 1)) {
        struct tr_tx *m = &tx[count++];
        m->peer = g->outlet[__builtin_ctz(peers)].node;
        m->segment_count = e->piece_count;
        for (uint32_t i = 0; i < e->piece_count; i++) {
            m->segment[i].data = e->u.send.piece[i].data;
            m->segment[i].bytes = e->u.send.piece[i].bytes;
        }
    }
    uint32_t taken = tr_send_burst(g->lcore, tx, count);
    if (tr_unlikely(taken != (1u << count) - 1))
        tr_counter_add(g->stats.send_dropped, count - (uint32_t)__builtin_popcount(taken));
}

static void replicate(struct tr_group *g, const struct tr_effect *e)
{
    uint16_t peers = e->peers;
    g->outlets_due |= peers;
    for (; peers != 0; peers &= (uint16_t)(peers - 1))
        tr_outlet_add(&g->outlet[__builtin_ctz(peers)], e->u.replicate.slot_first,
                      e->u.replicate.slot_last);
    if (tr_unlikely(g->sample.wants_slot)) {
        g->sample.wants_slot = false;
        g->sample.slot = e->u.replicate.slot_last;
    }
}

static void commit(struct tr_group *g, const struct tr_effect *e)
{
    g->slot_commit = tr_max_u64(g->slot_commit, e->u.commit.slot);
    if (tr_unlikely(g->sample.slot != 0 && g->sample.slot <= g->slot_commit &&
                    g->sample.chosen_ns == 0)) {
        g->sample.chosen_ns = tr_clock_now_ns(&g->lcore->clock);
        tr_histogram_record(g->lcore->stats.quorum, g->sample.chosen_ns - g->sample.proposed_ns);
    }
}

static void leader(struct tr_group *g, const struct tr_effect *e)
{
    g->leader_changed = true;
    g->leader = e->u.leader.self_now ? g->config.self : e->u.leader.leader;
    g->leader_round = e->u.leader.ballot.round;
    if (e->u.leader.self_now)
        tr_log(g->logger, TR_LOG_INFO, "group %u: this node leads, round %lu", g->number,
               (unsigned long)e->u.leader.ballot.round);
    else if (e->u.leader.leader != 0)
        tr_log(g->logger, TR_LOG_INFO, "group %u: follows node %u, round %lu", g->number,
               e->u.leader.leader, (unsigned long)e->u.leader.ballot.round);
    else
        tr_log(g->logger, TR_LOG_INFO, "group %u: no leader known", g->number);
    g->submit_ns = 0;
    if (g->on_leader != NULL)
        g->on_leader(g->on_leader_context, g, e->u.leader.leader, e->u.leader.ballot.round);
}

static void stopped(struct tr_group *g, const struct tr_effect *e)
{
    const char *why = "";
    switch (e->u.stopped.reason) {
    case TR_STOP_NONE:
        break;
    case TR_STOP_MEMORY_LOST:
        why =
            "fewer replicas kept their memory than recovery needs: what was committed may be lost; "
            "start the cluster anew under another name to go on";
        break;
    case TR_STOP_RESTORE:
        why = "the state machine could not restore a snapshot";
        break;
    case TR_STOP_SUPERSEDED:
        why = "a later process of this node has joined the cluster";
        break;
    }
    g->stopped = true;
    g->leader_changed = true;
    tr_log(g->logger, TR_LOG_ERROR, "group %u: this replica stopped: %s", g->number, why);
}

void tr_effect_carry_out(struct tr_group *g, const struct tr_effect *e)
{
    switch ((enum tr_effect_type)e->type) {
    case TR_EFFECT_SEND:
        send(g, e);
        return;
    case TR_EFFECT_REPLICATE:
        replicate(g, e);
        return;
    case TR_EFFECT_FENCE:
        tr_inlet_fence(g, e->u.fence.ballot, e->u.fence.owner);
        return;
    case TR_EFFECT_PERSIST:
        g->persist(g->persist_context, e);
        g->hold.persist_last = e->u.persist.sequence;
        return;
    case TR_EFFECT_BARRIER:
        tr_hold_barrier(&g->hold);
        return;
    case TR_EFFECT_COMMIT:
        commit(g, e);
        return;
    case TR_EFFECT_REJECT:
        g->rejected = true;
        return;
    case TR_EFFECT_RESUBMIT:
        tr_submit_again(g);
        return;
    case TR_EFFECT_READ_READY:
        tr_apply_reads_ready(g->apply, e->u.read_ready.id);
        return;
    case TR_EFFECT_SNAPSHOT_MAKE:
        tr_image_make(g);
        return;
    case TR_EFFECT_SNAPSHOT_SEND:
        tr_image_send(g, e);
        return;
    case TR_EFFECT_SNAPSHOT_STORE:
        tr_image_store(g, e);
        return;
    case TR_EFFECT_SNAPSHOT_INSTALL:
        tr_image_install(g, e);
        return;
    case TR_EFFECT_LEADER:
        leader(g, e);
        return;
    case TR_EFFECT_STOPPED:
        stopped(g, e);
        return;
    }
    tr_unreachable();
}

/* With something held back, or a barrier in the way: everything queues up, but PERSIST and the
 * answer to whoever proposes in this very step. */
static tr_noinline void carry_out_or_hold(struct tr_group *g, const struct tr_effect *e)
{
    if (e->type == TR_EFFECT_PERSIST || e->type == TR_EFFECT_BARRIER ||
        e->type == TR_EFFECT_REJECT || !tr_hold_is_waiting(&g->hold))
        tr_effect_carry_out(g, e);
    else
        tr_hold_push(&g->hold, e);
}

void tr_effects_run(struct tr_group *g)
{
    const struct tr_effects *effects = &g->effects;
    for (uint32_t i = 0; i < effects->count; i++) {
        if (tr_likely(g->hold.held == NULL))
            tr_effect_carry_out(g, &effects->item[i]);
        else
            carry_out_or_hold(g, &effects->item[i]);
    }
}

uint32_t tr_effects_durable(struct tr_group *g)
{
    uint64_t durable = g->durable(g->persist_context);
    const struct tr_effect *e;
    uint32_t work = 0;
    if (durable != g->hold.durable) {
        struct tr_event event = {.type = TR_EVENT_DURABLE, .u.durable.persisted = durable};
        g->hold.durable = durable;
        tr_group_step(g, &event);
        work++;
    }
    for (; (e = tr_hold_next(&g->hold)) != NULL; work++) {
        tr_effect_carry_out(g, e);
        tr_hold_pop(&g->hold);
    }
    if (tr_hold_is_crowded(&g->hold))
        g->submit_ns = g->now_ns + 1; /* nothing is proposed in this turn: the disk is behind */
    return work;
}
