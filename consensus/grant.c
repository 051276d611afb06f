/*
 * The grants of the followers, as their leader holds them: taken, lost, asked for again.
 *
 * A ring that broke, or refused, is lost for good: its generation is never written to again, for
 * nobody knows how far its owner has read. The leader names what it lost in a PREPARE of the ballot
 * that it has; the owner closes that ring, drains it, and grants anew under a generation that was
 * never used (tr_acceptor_refence). Source: docs/protocol.md, section 5.
 */
#include "consensus/state.h"

/* A ring that is lost again and again is asked for ever more seldom, up to this: each grant costs
 * its owner a fence. One that held for longer than this begins anew. */
#define ASK_BEATS_MAX 64
/* A promise is on its way, it may be: nobody is asked for what he has granted. */
#define LATE_BEATS 4

void tr_grant_take(struct tr_replica *r, uint8_t peer, const struct tr_grant *grant)
{
    struct tr_peer *p = &r->peer[peer];
    p->grant = *grant;
    p->generation_used = grant->generation;
    p->ring = true;
    p->ring_ns = r->now_ns;
}

void tr_grant_forget(struct tr_replica *r, uint8_t peer)
{
    struct tr_peer *p = &r->peer[peer];
    p->ring = false;
    p->grant.generation = 0;
    p->ring_wait_ns = r->config.heartbeat_ns;
    p->ring_ask_ns = r->now_ns + LATE_BEATS * r->config.heartbeat_ns;
}

/* The time between two requests doubles. */
static void wait_longer(struct tr_replica *r, struct tr_peer *p)
{
    uint64_t most = ASK_BEATS_MAX * r->config.heartbeat_ns;
    p->ring_ask_ns = r->now_ns + p->ring_wait_ns;
    p->ring_wait_ns = p->ring_wait_ns < most / 2 ? 2 * p->ring_wait_ns : most;
}

void tr_grant_lost(struct tr_replica *r, uint8_t peer)
{
    struct tr_peer *p = &r->peer[peer];
    p->ring = false;
    p->grant.generation = 0;
    p->slot_sent = tr_peer_base(r, p); /* by messages from here on */
    if (r->now_ns - p->ring_ns > ASK_BEATS_MAX * r->config.heartbeat_ns) {
        p->ring_wait_ns = r->config.heartbeat_ns;
        p->ring_ask_ns = r->now_ns;
    } else {
        wait_longer(r, p);
    }
    r->pending |= TR_PENDING_REPLICATE;
    tr_trace(r, TR_TRACE_RING_LOST, peer, 0, p->slot_written, p->generation_used);
}

void tr_grant_offered(struct tr_replica *r, uint8_t from, const struct tr_promise *p)
{
    struct tr_peer *peer = &r->peer[from];
    bool is_new = p->grant.generation > peer->generation_used ||
                  (!peer->ring && TR_CANARY(r->canary, LOST_GRANT_STANDS)) ||
                  TR_CANARY(r->canary, GENERATION_REPEATED);
    if (p->grant.generation == 0 || !is_new) {
        return;
    }
    tr_grant_take(r, from, &p->grant);
    peer->grant_vector_hash = r->vector_hash;
    peer->slot_written = peer->slot_sent = tr_peer_base(r, peer);
    peer->slot_recyclable =
        p->slot_truncated > peer->slot_recyclable ? p->slot_truncated : peer->slot_recyclable;
    tr_trace(r, TR_TRACE_RING, from, 0, p->grant.generation, peer->slot_sent);
    r->pending |= TR_PENDING_REPLICATE;
}

void tr_grant_ask(struct tr_replica *r)
{
    for (uint8_t i = 0; i < r->member_count; i++) {
        struct tr_peer *p = &r->peer[i];
        bool is_wanted = i != r->self && !p->ring && p->generation_used != 0;
        if (!is_wanted || r->now_ns < p->ring_ask_ns || tr_proposer_is_silent(r, i)) {
            continue;
        }
        struct tr_prepare *prepare =
            tr_send_begin(r, tr_mask(i), TR_MESSAGE_PREPARE, sizeof(*prepare));
        prepare->ballot = r->ballot;
        prepare->slot_from = r->slot_next; /* what it accepted is of no use to a leader */
        prepare->generation_lost = p->generation_used;
        tr_send_finish(r);
        r->count.grants_asked++;
        wait_longer(r, p);
    }
}
