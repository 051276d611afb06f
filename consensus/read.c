/*
 * Linearizable reads without a log entry: read-index, and an opt-in leader lease.
 *
 * A read is confirmed when a Q2 has echoed a stamp that the leader sent after the read arrived:
 * until then no other leader can have committed anything. Reads that arrive during a round wait for
 * the next one. A lease is counted from the leader's send, over grants that only a follower's core
 * can give (rule 16). Nothing is read before the leader's opening no-op is chosen. Source: Ongaro,
 * "Consensus: Bridging Theory and Practice", section 6.4.
 */
#include "consensus/state.h"

/* ---- lease */

bool tr_read_lease_holds(const struct tr_replica *r)
{
    if (r->config.lease_ns == 0 || r->role != TR_REPLICA_LEADER ||
        r->slot_commit < r->slot_opened) {
        return false;
    }
    /* A lease counts from the send of what it answers. The grantors hold theirs for the drift
     * longer. */
    uint64_t since = TR_CANARY(r->canary, LEASE_FROM_RECEIPT) ? r->config.lease_ns / 2 : 0;
    uint32_t holders = 1;
    for (uint8_t i = 0; i < r->member_count; i++) {
        uint64_t stamp = r->peer[i].lease_stamp;
        holders += i != r->self && stamp != 0 && r->now_ns < stamp + r->config.lease_ns + since;
    }
    return holders >= r->config.quorum_p2;
}

/* ---- confirmed reads wait to be applied */

static bool confirmed_full(const struct tr_replica *r)
{
    return r->read_confirmed_tail - r->read_confirmed_head == TR_READS_CONFIRMED_MAX;
}

static void confirmed_push(struct tr_replica *r, uint64_t id, uint64_t slot)
{
    uint32_t at = r->read_confirmed_tail++ % TR_READS_CONFIRMED_MAX;
    r->read_confirmed[at].id = id;
    r->read_confirmed[at].slot = slot;
    r->slot_known = slot > r->slot_known ? slot : r->slot_known;
    tr_read_answer(r);
}

void tr_read_answer(struct tr_replica *r)
{
    uint64_t id = 0;
    while (r->read_confirmed_head != r->read_confirmed_tail) {
        uint32_t at = r->read_confirmed_head % TR_READS_CONFIRMED_MAX;
        if (r->read_confirmed[at].slot > r->slot_apply) {
            r->pending |= r->slot_commit < r->slot_known ? TR_PENDING_COMMIT : 0;
            break;
        }
        id = r->read_confirmed[at].id;
        r->read_confirmed_head++;
    }
    if (id > r->read_id_ready) {
        r->read_id_ready = id;
        struct tr_effect *effect = tr_effect_add(r, TR_EFFECT_READ_READY);
        effect->u.read_ready.id = id;
        effect->u.read_ready.slot = r->slot_apply;
    }
}

/* ---- rounds */

static uint64_t index_now(const struct tr_replica *r)
{
    bool opened = r->slot_commit >= r->slot_opened || TR_CANARY(r->canary, READ_BEFORE_OPENED);
    return opened ? r->slot_commit : r->slot_opened;
}

/* The next stamp to be sent: an echo of it, or of a later one, answers to something that left after
 * now. */
static uint64_t stamp_next(const struct tr_replica *r)
{
    return r->stamp + 1;
}

static void ask_leader(struct tr_replica *r)
{
    struct tr_read_index *ask =
        tr_send_begin(r, tr_mask(r->leader), TR_MESSAGE_READ_INDEX, sizeof(*ask));
    ask->ballot = r->promised;
    ask->id = r->read_id_round;
    tr_send_finish(r);
}

static void round_begin(struct tr_replica *r)
{
    if (r->read_id_round != 0 || r->read_id_last == r->read_id_ready || confirmed_full(r)) {
        return;
    }
    uint64_t newest =
        r->read_confirmed_tail == r->read_confirmed_head
            ? r->read_id_ready
            : r->read_confirmed[(r->read_confirmed_tail - 1) % TR_READS_CONFIRMED_MAX].id;
    if (r->read_id_last == newest) {
        return;
    }
    if (r->role == TR_REPLICA_LEADER) {
        if (tr_read_lease_holds(r)) {
            r->count.lease_reads++;
            confirmed_push(r, r->read_id_last, r->slot_commit);
            return;
        }
        r->read_id_round = r->read_id_last;
        r->read_stamp = stamp_next(r);
        r->read_slot = index_now(r);
        r->read_waiting = 1;
        r->pending |= TR_PENDING_PROBE;
        r->count.read_rounds++;
    } else if (r->role == TR_REPLICA_FOLLOWER && r->leader < r->member_count) {
        r->read_id_round = r->read_id_last;
        ask_leader(r);
        r->count.read_rounds++;
    }
    tr_timer_set(r, TR_TIMER_READ, r->now_ns + 8 * r->config.retransmit_ns);
}

void tr_read_event(struct tr_replica *r, const struct tr_event *ev)
{
    tr_assert(ev->u.read.id > r->read_id_last);
    r->read_id_last = ev->u.read.id;
    r->count.reads++;
    round_begin(r);
    if (r->timer[TR_TIMER_READ] == TR_NEVER) {
        tr_timer_set(r, TR_TIMER_READ, r->now_ns + 8 * r->config.retransmit_ns);
    }
}

void tr_read_restart(struct tr_replica *r)
{
    r->read_id_round = 0;
    r->read_waiting = 0;
    for (uint8_t i = 0; i < r->member_count; i++) {
        r->peer[i].read_id = 0;
    }
    if (r->read_id_last > r->read_id_ready) {
        tr_timer_set(r, TR_TIMER_READ, r->now_ns);
    }
}

void tr_read_timeout(struct tr_replica *r)
{
    bool follows = r->role == TR_REPLICA_FOLLOWER && r->leader < r->member_count;
    if (r->read_id_round != 0 && r->role == TR_REPLICA_LEADER) {
        r->pending |= TR_PENDING_PROBE;
    } else if (r->read_id_round != 0 && follows) {
        /* Question or answer may be lost, or the way is long: asking for other reads now would make
         * the answer that is on its way useless. */
        ask_leader(r);
    } else {
        r->read_id_round = 0;
    }
    round_begin(r);
    if (r->read_id_last > r->read_id_ready && r->timer[TR_TIMER_READ] == TR_NEVER) {
        tr_timer_set(r, TR_TIMER_READ, r->now_ns + 8 * r->config.retransmit_ns);
    }
}

/* ---- as leader: confirm */

static void confirm_peers(struct tr_replica *r)
{
    for (uint8_t i = 0; i < r->member_count; i++) {
        struct tr_peer *p = &r->peer[i];
        if (p->read_id == 0) {
            continue;
        }
        if (r->contact_stamp < p->read_stamp || r->slot_commit < r->slot_opened) {
            r->read_waiting = 1;
            continue;
        }
        struct tr_read_slot *answer =
            tr_send_begin(r, tr_mask(i), TR_MESSAGE_READ_SLOT, sizeof(*answer));
        answer->ballot = r->ballot;
        answer->id = p->read_id;
        answer->slot = p->read_slot;
        answer->incarnation = r->vector.incarnation[i];
        tr_send_finish(r);
        p->read_id = 0;
    }
}

void tr_read_confirm(struct tr_replica *r)
{
    if (r->role != TR_REPLICA_LEADER) {
        return;
    }
    r->read_waiting = 0;
    confirm_peers(r);
    if (r->read_id_round == 0) {
        return;
    }
    bool heard = r->contact_stamp >= r->read_stamp || TR_CANARY(r->canary, READ_UNCONFIRMED);
    bool opened = r->slot_commit >= r->slot_opened || TR_CANARY(r->canary, READ_BEFORE_OPENED);
    if (!heard || !opened) {
        r->read_waiting = 1;
        return;
    }
    uint64_t id = r->read_id_round;
    r->read_id_round = 0;
    confirmed_push(r, id, r->read_slot);
    round_begin(r);
}

void tr_recv_read_index(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_read_index *ask = tr_message_body(m);
    struct tr_peer *p = &r->peer[from];
    if (r->role != TR_REPLICA_LEADER || !tr_ballot_equal(ask->ballot, r->ballot) || ask->id == 0) {
        r->count.dropped_stale++;
        tr_trace(r, TR_TRACE_DROP_STALE, from, m->type, ask->ballot.round, r->ballot.round);
        return;
    }
    if (p->read_id != ask->id) { /* else it asks again: the stamp that it waits for stays */
        p->read_id = ask->id;
        p->read_slot = index_now(r);
        p->read_stamp = tr_read_lease_holds(r) ? 0 : stamp_next(r);
    }
    r->read_waiting = 1;
    if (p->read_stamp == 0) {
        tr_read_confirm(r);
    } else {
        r->pending |= TR_PENDING_PROBE;
    }
}

void tr_recv_read_slot(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_read_slot *answer = tr_message_body(m);
    bool mine = r->role == TR_REPLICA_FOLLOWER && from == r->leader &&
                tr_ballot_equal(answer->ballot, r->promised) &&
                answer->incarnation == r->vector.incarnation[r->self];
    if (!mine || answer->id != r->read_id_round || confirmed_full(r)) {
        r->count.dropped_stale++;
        return;
    }
    r->read_id_round = 0;
    confirmed_push(r, answer->id, answer->slot);
    round_begin(r);
}
