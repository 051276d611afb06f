/*
 * Forwarding: a follower's batches go to its leader, in order.
 *
 * Batches of one stream are numbered from 0 and taken in order, so that the commands of a session
 * stay contiguous; after a loss a follower begins another stream. Whatever may be lost is submitted
 * again by the shell (RESUBMIT) and applied once all the same (sessions, rule 15). The reply needs
 * no message: this node applies the command too.
 */
#include "base/crc32c.h"
#include "consensus/state.h"

bool tr_forward_can(const struct tr_replica *r)
{
    return r->forward_sent - r->forward_acked < TR_FORWARD_WINDOW;
}

static uint64_t patience_ns(const struct tr_replica *r)
{
    return 16 * r->config.retransmit_ns;
}

void tr_forward_batch(struct tr_replica *r, const struct tr_event *ev)
{
    struct tr_forward *f = tr_send_begin(r, tr_mask(r->leader), TR_MESSAGE_FORWARD, sizeof(*f));
    f->ballot = r->promised;
    f->stream = r->forward_stream;
    f->index = r->forward_sent++;
    f->payload_crc = tr_crc32c(0, ev->u.propose.data, ev->u.propose.bytes);
    f->command_count = ev->u.propose.command_count;
    tr_send_tail(r, ev->u.propose.data, ev->u.propose.bytes);
    tr_send_finish(r);
    r->count.forwards_sent++;
    if (r->timer[TR_TIMER_FORWARD] == TR_NEVER) {
        tr_timer_set(r, TR_TIMER_FORWARD, r->now_ns + patience_ns(r));
    }
}

void tr_forward_reset(struct tr_replica *r)
{
    r->forward_stream++;
    r->forward_sent = r->forward_acked = 0;
    tr_timer_stop(r, TR_TIMER_FORWARD);
    r->count.resubmits++;
    tr_effect_add(r, TR_EFFECT_RESUBMIT);
}

void tr_forward_timeout(struct tr_replica *r)
{
    if (r->role != TR_REPLICA_FOLLOWER || r->forward_sent == r->forward_acked) {
        return;
    }
    tr_forward_reset(r);
}

void tr_recv_forwarded(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_forwarded *f = tr_message_body(m);
    if (r->role != TR_REPLICA_FOLLOWER || from != r->leader ||
        !tr_ballot_equal(f->ballot, r->promised)) {
        return;
    }
    if (f->incarnation != r->vector.incarnation[r->self] || f->stream != r->forward_stream ||
        f->index_next <= r->forward_acked || f->index_next > r->forward_sent) {
        return;
    }
    r->forward_acked = f->index_next;
    if (r->forward_sent == r->forward_acked) {
        tr_timer_stop(r, TR_TIMER_FORWARD);
    } else {
        tr_timer_set(r, TR_TIMER_FORWARD, r->now_ns + patience_ns(r));
    }
}

void tr_forward_ack(struct tr_replica *r)
{
    for (uint8_t i = 0; i < r->member_count && r->role == TR_REPLICA_LEADER; i++) {
        struct tr_peer *p = &r->peer[i];
        if (!p->forward_ack) {
            continue;
        }
        p->forward_ack = false;
        struct tr_forwarded *f = tr_send_begin(r, tr_mask(i), TR_MESSAGE_FORWARDED, sizeof(*f));
        f->ballot = r->ballot;
        f->stream = p->forward_stream;
        f->index_next = p->forward_next;
        f->incarnation = r->vector.incarnation[i];
        tr_send_finish(r);
    }
}

void tr_recv_forward(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_forward *f = tr_message_body(m);
    struct tr_peer *p = &r->peer[from];
    if (r->role != TR_REPLICA_LEADER || !tr_ballot_equal(f->ballot, r->ballot)) {
        r->count.dropped_stale++;
        tr_trace(r, TR_TRACE_DROP_STALE, from, m->type, f->ballot.round, r->ballot.round);
        return;
    }
    const uint8_t *payload = tr_message_tail(m);
    bool whole = m->tail_bytes != 0 && m->tail_bytes <= r->config.entry_bytes_max &&
                 f->command_count <= TR_BATCH_COMMANDS_MAX &&
                 tr_crc32c(0, payload, m->tail_bytes) == f->payload_crc &&
                 tr_runs_valid(payload, m->tail_bytes, f->command_count);
    if (!whole) {
        r->count.dropped_malformed++;
        tr_trace(r, TR_TRACE_DROP_MALFORMED, from, m->type, f->index, m->tail_bytes);
        return;
    }
    if (f->stream > p->forward_stream) {
        p->forward_stream = f->stream;
        p->forward_next = 0;
    }
    p->forward_ack = true;
    r->pending |= TR_PENDING_FORWARDED;
    bool next = f->stream == p->forward_stream && f->index == p->forward_next &&
                tr_replica_can_propose(r, m->tail_bytes);
    bool taken = next && tr_proposer_append(r, TR_RECORD_COMMANDS, payload, m->tail_bytes,
                                            f->payload_crc, f->command_count);
    if (!taken) {
        if (next) {
            tr_learner_make_room(r);
        }
        r->count.forwards_dropped++;
        return;
    }
    p->forward_next++;
    r->count.forwards_received++;
    r->pending |= TR_PENDING_REPLICATE;
}
