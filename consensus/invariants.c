#include "consensus/invariants.h"

#include "base/bytes.h"
#include "consensus/state.h"

static bool is_voting(const struct tr_replica *r)
{
    return r->role != TR_REPLICA_RECOVERING && r->role != TR_REPLICA_STOPPED;
}

/* ---- fields, by module */

static void check_roles(const struct tr_replica *r)
{
    bool leads = r->role == TR_REPLICA_LEADER;
    bool stands = leads || r->role == TR_REPLICA_CANDIDATE;
    tr_assert(r->self < r->member_count && r->member_count <= TR_VOTERS_MAX);
    tr_assert((r->others & tr_mask(r->self)) == 0);
    tr_assert(r->leader <= TR_MEMBERS_MAX);
    if (is_voting(r)) {
        tr_assert(r->cluster != 0 && r->vector.incarnation[r->self] != 0);
        tr_assert(leads == (r->leader == r->self));
        tr_assert(r->vector_hash == tr_vector_hash(r));
    }
    if (r->role == TR_REPLICA_PRECANDIDATE || r->role == TR_REPLICA_CANDIDATE) {
        tr_assert(r->leader == TR_MEMBERS_MAX);
    }
    if (stands) {
        /* Who stands or leads has promised its own ballot, and nobody a higher one. */
        tr_assert(tr_ballot_equal(r->ballot, r->promised) && r->ballot.node == r->config.self);
        tr_assert(r->ballot.incarnation == r->vector.incarnation[r->self]);
    }
}

static void check_acceptor(const struct tr_replica *r)
{
    tr_assert(tr_ballot_none(r->fencing) || tr_ballot_equal(r->fencing, r->promised));
    tr_assert(!r->promise_due || !tr_ballot_none(r->fencing));
    tr_assert(!tr_ballot_less(r->promised, r->ack_ballot));
    tr_assert(r->slot_contiguous_base <= r->slot_contiguous + 1);
    tr_assert(r->slot_contiguous <= r->slot_heard);
    tr_assert(r->grant.generation >> 32 <= r->vector.incarnation[r->self]);
}

static void check_learner(const struct tr_replica *r)
{
    tr_assert(r->slot_snapshot <= r->slot_apply || r->installing);
    tr_assert(r->slot_apply <= r->slot_commit && r->slot_commit <= r->slot_known);
    tr_assert(r->slot_known <= TR_SLOT_MAX);
    tr_assert(!r->installing || r->pulling);
    if (r->pulling) {
        tr_assert(r->pull_peer < r->member_count && r->pull_peer != r->self);
        tr_assert(r->role != TR_REPLICA_LEADER);
    }
    tr_assert(r->pull_asked <= r->pull_offset);
    tr_assert(r->pull_slot == 0 || r->pull_offset <= r->pull_total);
}

static void check_leader(const struct tr_replica *r)
{
    if (r->role != TR_REPLICA_LEADER) {
        return;
    }
    uint64_t stamped = r->slot_restamp <= r->slot_restamp_last ? r->slot_restamp : r->slot_next;
    tr_assert(r->slot_commit < r->slot_next && r->slot_opened < r->slot_next);
    tr_assert(r->slot_opened == r->slot_restamp_last);
    tr_assert(r->slot_commit < stamped && stamped <= r->slot_next);
    tr_assert(r->slot_durable < r->slot_next && r->slot_news <= r->slot_commit);
    tr_assert(r->contact_stamp <= r->stamp);
    tr_assert(r->persist_own_tail - r->persist_own_head <= TR_ARRAY_COUNT(r->persist_own));
    for (uint8_t i = 0; i < r->member_count; i++) {
        const struct tr_peer *p = &r->peer[i];
        tr_assert(p->slot_acked < r->slot_next && p->slot_sent < r->slot_next);
        tr_assert(p->slot_written < r->slot_next);
        tr_assert(p->lease_stamp <= p->stamp_acked && p->stamp_acked <= r->stamp);
        tr_assert(!p->ring || (p->grant.generation != 0 && i != r->self));
    }
}

static void check_reads(const struct tr_replica *r)
{
    uint32_t waiting = r->read_confirmed_tail - r->read_confirmed_head;
    tr_assert(r->read_id_ready <= r->read_id_last && r->read_id_round <= r->read_id_last);
    tr_assert(waiting <= TR_READS_CONFIRMED_MAX);
    tr_assert(r->forward_acked <= r->forward_sent);
    tr_assert(r->forward_sent - r->forward_acked <= TR_FORWARD_WINDOW);
}

/* ---- time: whatever waits has a timer that ends the wait */

static bool runs(const struct tr_replica *r, enum tr_timer timer)
{
    return r->timer[timer] != TR_NEVER;
}

static void check_timers(const struct tr_replica *r)
{
    for (int i = 0; i < TR_TIMERS; i++) {
        tr_assert(r->deadline_ns <= r->timer[i]);
    }
    if (r->role == TR_REPLICA_RECOVERING) {
        tr_assert(runs(r, TR_TIMER_RECOVER));
    }
    if (r->role == TR_REPLICA_LEADER) {
        tr_assert(runs(r, TR_TIMER_HEARTBEAT));
    } else if (is_voting(r)) {
        tr_assert(runs(r, TR_TIMER_ELECTION));
    }
    if (r->role == TR_REPLICA_PRECANDIDATE || r->role == TR_REPLICA_CANDIDATE) {
        tr_assert(runs(r, TR_TIMER_PHASE));
    }
    if (is_voting(r)) {
        tr_assert(r->read_id_last == r->read_id_ready || runs(r, TR_TIMER_READ));
    }
    if (r->role == TR_REPLICA_FOLLOWER) {
        tr_assert(r->forward_sent == r->forward_acked || runs(r, TR_TIMER_FORWARD));
    }
    if (r->pulling && !r->installing && r->role != TR_REPLICA_STOPPED) {
        tr_assert(runs(r, TR_TIMER_PULL));
    }
    /* What is known to be chosen and missing here is asked for. */
    bool missing = r->role == TR_REPLICA_FOLLOWER && r->slot_commit < r->slot_known;
    tr_assert(!missing || r->pulling || runs(r, TR_TIMER_FETCH) ||
              (r->pending & TR_PENDING_COMMIT) != 0);
}

/* ---- the log */

static void check_log(const struct tr_replica *r)
{
    const struct tr_log *log = &r->log;
    tr_assert(log->tail <= log->head && log->head - log->tail <= log->arena_bytes);
    tr_assert(log->tail % TR_RECORD_ALIGN == 0 && log->head % TR_RECORD_ALIGN == 0);
    tr_assert(log->slot_first <= log->slot_recyclable + 1);
    tr_assert(log->slot_last < log->slot_first ||
              log->slot_last - log->slot_first <= log->slot_mask);
    /* A replica recycles only what it has itself applied and snapshotted (rule 13). */
    bool early = TR_CANARY(r->canary, RECYCLE_TOO_EARLY);
    tr_assert(early || r->installing ||
              (log->slot_recyclable <= r->slot_apply && log->slot_recyclable <= r->slot_snapshot));
}

/* One slot that the table holds. */
static void check_entry(const struct tr_replica *r, uint64_t slot, const struct tr_slot *s)
{
    const struct tr_log *log = &r->log;
    const struct tr_record *record = tr_log_record(log, s);
    uint64_t offset = s->position & (log->arena_bytes - 1);
    tr_assert(slot <= log->slot_last && s->state <= TR_SLOT_CHOSEN);
    if (slot <= log->slot_recyclable) {
        return; /* its record may be gone already, or going */
    }
    tr_assert(s->position >= log->tail && s->position + s->bytes <= log->head);
    tr_assert(offset + s->bytes <= log->arena_bytes);
    tr_assert(record->slot == slot && tr_ballot_equal(record->ballot, s->ballot));
    tr_assert(tr_record_bytes(record->payload_bytes) == s->bytes);
    tr_assert(record->generation == 0 && record->kind != TR_RECORD_PAD);
    /* Nothing is accepted above the promise; what arrived as chosen may be. */
    bool chosen = s->state == TR_SLOT_CHOSEN || slot <= r->slot_commit;
    tr_assert(chosen || !tr_ballot_less(r->promised, s->ballot));
}

static void check_slot(const struct tr_replica *r, uint64_t slot)
{
    const struct tr_slot *s = tr_log_at(&r->log, slot);
    if (s != NULL) {
        check_entry(r, slot, s);
    }
    /* The chosen prefix is whole: here, or in the snapshot. */
    bool kept = slot > r->slot_snapshot && slot >= r->log.slot_first && slot <= r->slot_commit;
    bool loses = TR_CANARY(r->canary, RECYCLE_TOO_EARLY);
    tr_assert(s != NULL || !kept || r->installing || loses);
    /* What is acknowledged is held, at that ballot or at a later one. */
    bool acked = is_voting(r) && slot > r->slot_commit && slot >= r->slot_contiguous_base &&
                 slot <= r->slot_contiguous && tr_ballot_equal(r->ack_ballot, r->promised);
    bool odd =
        TR_CANARY(r->canary, ACCEPT_BELOW_PROMISE) || TR_CANARY(r->canary, DRAIN_REPLACES_HIGHER);
    tr_assert(!acked || odd || (s != NULL && !tr_ballot_less(s->ballot, r->ack_ballot)));
    /* A leader holds its own ballot everywhere, but for what it has still to propose again. */
    bool todo = slot >= r->slot_restamp && slot <= r->slot_restamp_last;
    if (r->role == TR_REPLICA_LEADER && slot > r->slot_commit && slot < r->slot_next && !todo) {
        tr_assert(s != NULL && tr_ballot_equal(s->ballot, r->ballot));
        tr_assert(s == NULL || (s->acked & ~r->others) == 0);
    }
}

static void check_fields(const struct tr_replica *r)
{
    check_roles(r);
    check_acceptor(r);
    check_learner(r);
    check_leader(r);
    check_reads(r);
    check_timers(r);
    check_log(r);
}

void tr_replica_check_slots(const struct tr_replica *r, const uint64_t *slot, uint32_t count)
{
    check_fields(r);
    for (uint32_t i = 0; i < count; i++) {
        check_slot(r, slot[i]);
    }
}

void tr_replica_check(const struct tr_replica *r)
{
    uint64_t half = TR_CHECK_SLOTS / 2;
    uint64_t about = r->slot_commit > half / 2 ? r->slot_commit - half / 2 : 1;
    uint64_t anywhere = r->log.slot_first + (r->now_ns / half * half & r->log.slot_mask);
    check_fields(r);
    for (uint64_t i = 0; i < half; i++) {
        check_slot(r, about + i);
        check_slot(r, anywhere + i);
    }
}

/* The records follow each other from the tail to the head, without a gap. */
static void check_arena(const struct tr_replica *r)
{
    const struct tr_log *log = &r->log;
    uint64_t at = log->tail;
    while (at < log->head) {
        const struct tr_record *record =
            (const struct tr_record *)(const void *)(log->arena + (at & (log->arena_bytes - 1)));
        const struct tr_slot *s =
            record->kind != TR_RECORD_PAD ? tr_log_at(log, record->slot) : NULL;
        if (s != NULL && s->position == at) {
            tr_assert(tr_record_valid(record, s->bytes));
        }
        at += tr_record_bytes(record->payload_bytes);
    }
    tr_assert(at == log->head);
}

void tr_replica_check_whole(const struct tr_replica *r)
{
    check_fields(r);
    check_arena(r);
    for (uint64_t i = 0; i <= r->log.slot_mask; i++) {
        check_slot(r, r->log.slot_first + i);
    }
}
