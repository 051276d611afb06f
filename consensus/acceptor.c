/*
 * The acceptor: promises, accepts, fences, acknowledges.
 *
 * Invariants: `promised` never falls; nothing is accepted from a message below it; a promise (and
 * its grant) leaves only after FENCED of exactly that ballot, while it is still the ballot promised
 * (rule 5); an acknowledgement counts only slots accepted at exactly its ballot (rule 11). Source:
 * Lamport, "Paxos Made Simple", section 2.2.
 */
#include "base/bytes.h"
#include "consensus/state.h"

/* ---- acknowledgements */

/* Bit i: slot_contiguous + 2 + i is accepted at the ballot acknowledged. */
static uint64_t bitmap_of(const struct tr_replica *r)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < 64 && r->slot_contiguous + 2 + i <= r->slot_heard; i++) {
        const struct tr_slot *s = tr_log_at(&r->log, r->slot_contiguous + 2 + i);
        bits |= (uint64_t)(s != NULL && tr_ballot_equal(s->ballot, r->ack_ballot)) << i;
    }
    return bits;
}

/* The time for which this replica withholds promises after a lease was granted: the leader's clock
 * may be slower by the drift. */
static uint64_t lease_span_ns(const struct tr_replica *r)
{
    return r->config.lease_ns + r->config.lease_ns / 1000000 * r->config.clock_drift_ppm +
           r->config.lease_ns % 1000000 * r->config.clock_drift_ppm / 1000000 + 1;
}

void tr_acceptor_ack(struct tr_replica *r)
{
    bool stands = r->leader < r->member_count && r->leader != r->self &&
                  tr_ballot_equal(r->ack_ballot, r->promised) && tr_ballot_none(r->fencing);
    if (!stands) {
        return;
    }
    struct tr_accepted *a = tr_send_open(r, tr_mask(r->leader), TR_MESSAGE_ACCEPTED, sizeof(*a));
    *a = (struct tr_accepted){
        .ballot = r->ack_ballot,
        .stamp = r->stamp_heard,
        .slot_acked = r->slot_contiguous,
        .slot_apply = r->slot_apply,
        .slot_recyclable = r->log.slot_recyclable,
        .vector_hash = r->vector_hash,
    };
    if (tr_unlikely(r->slot_heard > r->slot_contiguous)) {
        a->flags |= TR_ACCEPTED_GAP;
        a->bitmap = bitmap_of(r);
    }
    if (tr_unlikely(r->config.lease_ns != 0)) {
        uint64_t until = r->now_ns + lease_span_ns(r);
        r->lease_until_ns = until > r->lease_until_ns ? until : r->lease_until_ns;
        a->flags |= TR_ACCEPTED_LEASE;
    }
    tr_send_finish(r);
}

/* ---- accepting */

/* Begins to acknowledge another ballot: nothing is accepted at it yet, above the watermark. */
static void ack_begin(struct tr_replica *r, struct tr_ballot ballot, uint64_t watermark)
{
    r->ack_ballot = ballot;
    r->slot_contiguous = watermark;
    r->slot_contiguous_base = watermark + 1;
    r->slot_heard = watermark;
    r->stamp_heard = 0;
}

/* Extends the contiguous run over slots that arrived early. */
static void ack_extend(struct tr_replica *r)
{
    while (r->slot_contiguous < r->slot_heard) {
        const struct tr_slot *s = tr_log_at(&r->log, r->slot_contiguous + 1);
        if (s == NULL || !tr_ballot_equal(s->ballot, r->ack_ballot)) {
            return;
        }
        r->slot_contiguous++;
    }
}

/* The leader of ack_ballot knows all slots up to `watermark` chosen: they need no acknowledgement.
 */
static void ack_watermark(struct tr_replica *r, uint64_t watermark)
{
    if (watermark > r->slot_contiguous) {
        r->slot_contiguous = watermark;
        r->slot_contiguous_base = watermark + 1;
        r->slot_heard = watermark > r->slot_heard ? watermark : r->slot_heard;
        ack_extend(r);
    }
}

static void ack_slot(struct tr_replica *r, uint64_t slot)
{
    r->slot_heard = slot > r->slot_heard ? slot : r->slot_heard;
    if (slot == r->slot_contiguous + 1) {
        r->slot_contiguous = slot;
        if (tr_unlikely(r->slot_heard > slot)) {
            ack_extend(r);
        }
    }
}

static void reject_ballot(struct tr_replica *r, uint8_t from, struct tr_ballot ballot)
{
    struct tr_reject *reject = tr_send_begin(r, tr_mask(from), TR_MESSAGE_REJECT, sizeof(*reject));
    reject->ballot = ballot;
    reject->promised = r->promised;
    tr_send_finish(r);
    r->count.dropped_stale++;
    tr_trace(r, TR_TRACE_DROP_STALE, from, TR_MESSAGE_ACCEPT, ballot.round, r->promised.round);
}

/* leader_envelope, where not everything is as it was at the message before. */
static tr_noinline bool leader_envelope_anew(struct tr_replica *r, uint8_t from,
                                             struct tr_ballot ballot, uint64_t watermark)
{
    if (tr_unlikely(ballot.node != r->peer[from].node || tr_ballot_none(ballot))) {
        r->count.dropped_malformed++;
        tr_trace(r, TR_TRACE_DROP_MALFORMED, from, TR_MESSAGE_ACCEPT, ballot.round, ballot.node);
        return false;
    }
    if (tr_unlikely(!tr_ballot_equal(ballot, r->promised))) {
        if (tr_ballot_less(ballot, r->promised) && !TR_CANARY(r->canary, ACCEPT_BELOW_PROMISE)) {
            reject_ballot(r, from, ballot);
            return false;
        }
        if (!TR_CANARY(r->canary, ACCEPT_BELOW_PROMISE)) {
            /* An Accept above the promise fences first; its slots come again after the late promise
             * (rule 5). */
            if (r->now_ns >= r->lease_until_ns || ballot.node == r->promised.node) {
                tr_acceptor_promise(r, ballot);
            }
            return false;
        }
    }
    if (tr_unlikely(!tr_ballot_none(r->fencing))) {
        r->count.dropped_stale++;
        tr_trace(r, TR_TRACE_DROP_STALE, from, TR_MESSAGE_ACCEPT, ballot.round, 0);
        return false;
    }
    if (tr_unlikely(r->leader != from)) {
        tr_election_follow(r, from);
    }
    if (tr_unlikely(!tr_ballot_equal(r->ack_ballot, ballot))) {
        ack_begin(r, ballot, watermark);
    }
    ack_watermark(r, watermark);
    return true;
}

/* What every message of a leader passes: its ballot is the one promised here, and quiescent.
 * Returns false when the message must be dropped. */
static inline bool leader_envelope(struct tr_replica *r, uint8_t from, struct tr_ballot ballot,
                                   uint64_t watermark)
{
    bool same = tr_ballot_equal(ballot, r->ack_ballot) && tr_ballot_equal(ballot, r->promised) &&
                tr_ballot_none(r->fencing) && r->leader == from &&
                ballot.node == r->peer[from].node;
    if (tr_unlikely(!same)) {
        return leader_envelope_anew(r, from, ballot, watermark);
    }
    ack_watermark(r, watermark);
    return true;
}

/* Stores a record of a leader's ballot; what is chosen here already stays. Returns false when there
 * is no room. */
static bool admit(struct tr_replica *r, const struct tr_record *record)
{
    if (tr_unlikely(record->slot <= r->slot_commit)) {
        return true;
    }
    const struct tr_slot *present =
        tr_unlikely(record->slot <= r->log.slot_last) ? tr_log_at(&r->log, record->slot) : NULL;
    if (tr_unlikely(present != NULL && tr_ballot_less(record->ballot, present->ballot)) &&
        !TR_CANARY(r->canary, DRAIN_REPLACES_HIGHER)) {
        return true; /* never replaces a higher ballot (rule 11) */
    }
    if (tr_log_put(&r->log, record, TR_SLOT_ACCEPTED) == NULL) {
        tr_learner_make_room(r);
        r->count.dropped_full++;
        tr_trace(r, TR_TRACE_DROP_FULL, r->leader, 0, record->slot, r->log.slot_recyclable);
        return false;
    }
    return true;
}

static void persist_entries(struct tr_replica *r, uint64_t first, uint64_t last)
{
    if (tr_likely(r->config.level == TR_LEVEL_MEMORY) || last < first) {
        return;
    }
    struct tr_effect *effect = tr_effect_add(r, TR_EFFECT_PERSIST);
    effect->u.persist.what = TR_PERSIST_ENTRIES;
    effect->u.persist.sequence = ++r->persist_sequence;
    effect->u.persist.slot_first = first;
    effect->u.persist.slot_last = last;
    effect->u.persist.ballot = r->promised;
    if (r->config.level == TR_LEVEL_DISK && !TR_CANARY(r->canary, ACK_BEFORE_DURABLE)) {
        tr_effect_add(r, TR_EFFECT_BARRIER); /* the acknowledgement waits */
    }
}

/* Whether a record is a whole batch of this slot and ballot: anything else is looked at closely. */
static tr_always_inline bool is_plain_batch(const struct tr_record *record, uint64_t slot,
                                            struct tr_ballot ballot)
{
    /* Kind, zero, and a count from 1 to the power of two, in one comparison. */
    const uint32_t least = TR_RECORD_COMMANDS | 1u << 16;
    const uint32_t varies = (TR_BATCH_COMMANDS_MAX - 1u) << 16;
    uint32_t kind_and_count;
    memcpy(&kind_and_count, &record->kind, sizeof(kind_and_count));
    return record->slot == slot && (record->generation | record->tag) == 0 &&
           tr_ballot_equal(record->ballot, ballot) && ((kind_and_count - least) & ~varies) == 0 &&
           tr_record_header_crc_unringed(record) == record->crc && tr_record_payload_valid(record);
}

/* Records are copied into the log so many bytes at a time, still in the first-level cache from
 * their CRCs: a call a record costs as much as its copy. */
#define COPY_BYTES 3072

/*
 * A part of the common case of an Accept: fresh slots in order, right behind all that is here, and
 * the log has room for them in one piece. Nothing needs to be looked up. Returns the records taken;
 * what is left is looked at one by one.
 */
static tr_noinline uint32_t accept_straight(struct tr_replica *r, const struct tr_accept *a,
                                            struct tr_tail *tail, uint32_t wanted)
{
    struct tr_log *log = &r->log;
    const uint64_t first = log->slot_last + 1;
    if (tr_unlikely(r->slot_contiguous != log->slot_last || r->slot_heard != log->slot_last ||
                    first <= r->slot_commit || !tr_log_fits(log, first))) {
        return 0;
    }
    const uint32_t straight = (uint32_t)tr_min_u64(tr_log_straight_bytes(log), UINT32_MAX);
    const uint64_t slots = log->slot_mask + 1 - (first - log->slot_first);
    const uint64_t end = first + tr_min_u64(wanted, slots);
    const struct tr_ballot ballot = a->ballot;
    const uint32_t bytes_max = tail->entry_bytes_max;
    const uint8_t *from = tail->next;
    const uint8_t *copied = from, *copy_from = from + COPY_BYTES;
    uint8_t *to = log->arena + (log->head & (log->arena_bytes - 1));
    const uint64_t ahead = log->head - (uint64_t)(uintptr_t)from; /* of a record's place here */
    uint32_t left = tr_min_u32(tail->left, straight);
    uint64_t slot = first;
    for (; slot != end && left >= sizeof(struct tr_record); slot++) {
        const struct tr_record *record = (const struct tr_record *)(const void *)from;
        if (tr_unlikely(record->payload_bytes > bytes_max)) {
            break;
        }
        uint32_t bytes = tr_record_bytes(record->payload_bytes);
        if (tr_unlikely(bytes > left || !is_plain_batch(record, slot, ballot))) {
            break;
        }
        tr_slot_fill(&log->slot[slot & log->slot_mask], ballot, (uint64_t)(uintptr_t)from + ahead,
                     bytes, TR_SLOT_ACCEPTED);
        from += bytes;
        left -= bytes;
        if (tr_unlikely(from >= copy_from)) {
            memcpy(to, copied, (size_t)(from - copied));
            to += from - copied;
            copied = from;
            copy_from = from + COPY_BYTES;
        }
    }
    memcpy(to, copied, (size_t)(from - copied));
    log->head += (uint64_t)(from - tail->next);
    tail->left -= (uint32_t)(from - tail->next);
    tail->next = from;
    const uint32_t count = (uint32_t)(slot - 1 - log->slot_last);
    log->slot_last = r->slot_contiguous = r->slot_heard = slot - 1;
    return count;
}

/* As many parts as there are: what is recycled at once has room for so many slots only. */
static uint32_t accept_in_order(struct tr_replica *r, const struct tr_accept *a,
                                struct tr_tail *tail)
{
    uint32_t count = 0;
    uint32_t more;
    do {
        more = accept_straight(r, a, tail, a->record_count - count);
        count += more;
    } while (more != 0 && count < a->record_count);
    return count;
}

void tr_recv_accept(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_accept *a = tr_message_body(m);
    r->count.accepts_received++;
    if (tr_unlikely(!leader_envelope(r, from, a->ballot, a->slot_commit))) {
        return;
    }
    r->stamp_heard = a->stamp > r->stamp_heard ? a->stamp : r->stamp_heard;
    struct tr_tail tail = tr_tail_of(r, m);
    uint64_t first = r->log.slot_last + 1;
    uint32_t left = a->record_count - accept_in_order(r, a, &tail);
    uint64_t last = r->log.slot_last;
    for (const struct tr_record *record; left > 0 && (record = tr_tail_next(&tail)) != NULL;
         left--) {
        if (tr_unlikely(!tr_ballot_equal(record->ballot, a->ballot) || !admit(r, record))) {
            break;
        }
        ack_slot(r, record->slot);
        first = record->slot < first ? record->slot : first;
        last = record->slot > last ? record->slot : last;
    }
    if (tr_unlikely(left != 0 || tail.left != 0)) {
        r->count.dropped_malformed++;
        tr_trace(r, TR_TRACE_DROP_MALFORMED, from, m->type, left, tail.left);
    }
    persist_entries(r, first, last);
    tr_learner_watermark(r, a->ballot, a->slot_commit);
    r->pending |= TR_PENDING_ACK;
}

void tr_recv_heartbeat(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_heartbeat *h = tr_message_body(m);
    if (!leader_envelope(r, from, h->ballot, h->slot_commit)) {
        return;
    }
    r->stamp_heard = h->stamp > r->stamp_heard ? h->stamp : r->stamp_heard;
    if (h->contact_age_ns < r->config.election_timeout_ns ||
        TR_CANARY(r->canary, HEARTBEAT_WITHOUT_CONTACT)) {
        tr_election_defer(r);
    }
    if (h->vector_hash != r->vector_hash) {
        tr_vector_send(r, tr_mask(from));
    }
    tr_learner_watermark(r, h->ballot, h->slot_commit);
    tr_learner_await(r, h->slot_next);
    r->pending |= TR_PENDING_ACK;
}

/* ---- one-sided: what the drain found */

void tr_acceptor_entries(struct tr_replica *r, const struct tr_event *ev)
{
    r->entries_admitted = 0;
    if (ev->u.entries_seen.generation != r->grant.generation || r->grant.generation == 0) {
        r->entries_admitted =
            ev->u.entries_seen
                .count; /* of a grant that is over: landed after FENCED, discarded (rule 5) */
        return;
    }
    uint64_t first = UINT64_MAX;
    uint64_t last = 0;
    for (uint32_t i = 0; i < ev->u.entries_seen.count; i++) {
        const struct tr_record *record = ev->u.entries_seen.record[i];
        uint64_t watermark = record->slot - record->commit_lag;
        bool whole =
            record->commit_lag <= record->slot && !tr_ballot_less(r->promised, record->ballot);
        if (!whole) {
            r->count.dropped_malformed++;
            r->entries_admitted++;
            continue;
        }
        bool current = tr_ballot_equal(record->ballot, r->promised) && tr_ballot_none(r->fencing);
        if (current && !tr_ballot_equal(r->ack_ballot, record->ballot)) {
            ack_begin(r, record->ballot, watermark);
        }
        /* Landed before FENCED: admitted whatever its ballot, for it may have been counted. */
        if (!admit(r, record)) {
            break;
        }
        r->entries_admitted++;
        r->count.entries_seen++;
        if (current) {
            ack_watermark(r, watermark);
            ack_slot(r, record->slot);
        }
        tr_learner_watermark(r, record->ballot, record->commit_lag != UINT32_MAX ? watermark : 0);
        first = record->slot < first ? record->slot : first;
        last = record->slot > last ? record->slot : last;
    }
    persist_entries(r, first, last);
}

/* ---- promising */

void tr_acceptor_promise(struct tr_replica *r, struct tr_ballot ballot)
{
    tr_assert(tr_ballot_less(r->promised, ballot));
    bool mine = ballot.node == r->config.self;
    r->promised = ballot;
    r->round_seen = ballot.round > r->round_seen ? ballot.round : r->round_seen;
    if (!mine && (r->role == TR_REPLICA_LEADER || r->role == TR_REPLICA_CANDIDATE ||
                  r->role == TR_REPLICA_PRECANDIDATE)) {
        tr_election_follow(r, TR_MEMBERS_MAX);
    }
    if (r->config.level != TR_LEVEL_MEMORY) {
        struct tr_effect *persist = tr_effect_add(r, TR_EFFECT_PERSIST);
        persist->u.persist.what = TR_PERSIST_PROMISE;
        persist->u.persist.sequence = ++r->persist_sequence;
        persist->u.persist.slot_first = persist->u.persist.slot_last = 0;
        persist->u.persist.ballot = ballot;
    }
    r->fencing = ballot;
    r->promise_due = !mine;
    r->promise_from = r->slot_commit + 1;
    tr_trace(r, TR_TRACE_PROMISED, tr_replica_member(r, ballot.node), 0, ballot.round,
             ballot.incarnation);
    struct tr_effect *fence = tr_effect_add(r, TR_EFFECT_FENCE);
    fence->u.fence.ballot = ballot;
    fence->u.fence.owner = ballot.node;
    r->count.fences++;
}

void tr_acceptor_refence(struct tr_replica *r)
{
    if (tr_ballot_none(r->promised) || !tr_ballot_none(r->fencing)) {
        return;
    }
    r->fencing = r->promised;
    r->promise_due = r->promised.node != r->config.self;
    r->promise_from = r->slot_commit + 1;
    struct tr_effect *fence = tr_effect_add(r, TR_EFFECT_FENCE);
    fence->u.fence.ballot = r->promised;
    fence->u.fence.owner = r->promised.node;
    r->count.fences++;
}

/* Whether a process before this one may have granted a lease against the ballot promised here,
 * which recovery brought (rule 16). Who leads at it needs no promise any more. */
static bool may_have_leased(const struct tr_replica *r)
{
    return tr_unlikely(r->now_ns < r->forgotten_until_ns) &&
           !tr_ballot_equal(r->promised, r->ack_ballot);
}

/* One page of the promise. What is accepted below the ballot promised cannot change any more, so
 * that pages of one ballot chain over a frozen view (rule 12). */
static void promise_page(struct tr_replica *r, uint8_t to, uint64_t slot_from)
{
    if (r->config.level == TR_LEVEL_DISK && !TR_CANARY(r->canary, PROMISE_BEFORE_DURABLE)) {
        tr_effect_add(r, TR_EFFECT_BARRIER);
    }
    struct tr_promise *p = tr_send_begin(r, tr_mask(to), TR_MESSAGE_PROMISE, sizeof(*p));
    p->ballot = r->promised;
    p->slot_first = slot_from;
    p->slot_end = r->log.slot_last;
    p->slot_truncated = r->log.slot_first - 1;
    p->slot_commit = r->slot_commit;
    p->grant = r->grant;
    p->vector = r->vector;
    uint64_t from = slot_from > r->log.slot_first ? slot_from : r->log.slot_first;
    p->slot_last = tr_send_records(r, from, p->slot_end, TR_SLOT_ACCEPTED, &p->record_count);
    p->slot_last = p->slot_last < slot_from ? slot_from : p->slot_last;
    tr_send_finish(r);
}

void tr_recv_prepare(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_prepare *p = tr_message_body(m);
    if (p->ballot.node != r->peer[from].node || p->slot_from == 0 ||
        p->ballot.incarnation != m->incarnation) {
        r->count.dropped_malformed++;
        tr_trace(r, TR_TRACE_DROP_MALFORMED, from, m->type, p->ballot.round, p->slot_from);
        return;
    }
    if (tr_ballot_less(p->ballot, r->promised)) {
        reject_ballot(r, from, p->ballot);
        return;
    }
    if (tr_ballot_equal(p->ballot, r->promised)) {
        if (p->generation_lost == 0) {
            tr_election_wait(r); /* phase 1 goes on; a leader that lost its ring shows nothing */
        } else if (r->grant.generation <= p->generation_lost &&
                   !TR_CANARY(r->canary, LOST_GRANT_STANDS)) {
            tr_acceptor_refence(r);
        }
        r->promise_from = p->slot_from;
        if (may_have_leased(r)) {
            return; /* it asks again */
        }
        if (tr_ballot_none(r->fencing) || TR_CANARY(r->canary, PROMISE_BEFORE_FENCED)) {
            promise_page(r, from,
                         p->slot_from); /* a repeated Prepare returns the same grant (rule 4) */
        }
        return;
    }
    bool same_owner = p->ballot.node == r->promised.node &&
                      p->ballot.incarnation == r->promised.incarnation && !may_have_leased(r);
    if (r->now_ns < r->lease_until_ns && !same_owner && !TR_CANARY(r->canary, LEASE_IGNORED)) {
        r->count.dropped_stale++;
        tr_trace(r, TR_TRACE_DROP_STALE, from, m->type, p->ballot.round, r->lease_until_ns);
        return; /* withheld before the fence (rule 16) */
    }
    tr_acceptor_promise(r, p->ballot);
    tr_election_wait(r);
    r->promise_from = p->slot_from;
}

void tr_acceptor_fenced(struct tr_replica *r, const struct tr_event *ev)
{
    if (!tr_ballot_equal(ev->u.fenced.ballot, r->fencing)) {
        r->count.fences_superseded++;
        return;
    }
    r->fencing = (struct tr_ballot){0};
    r->grant = ev->u.fenced.grant;
    tr_trace(r, TR_TRACE_FENCED, TR_MEMBERS_MAX, 0, r->promised.round, r->grant.generation);
    if (r->promised.node == r->config.self) {
        tr_election_fenced(r);
    } else if (r->promise_due && r->role != TR_REPLICA_RECOVERING && !may_have_leased(r)) {
        uint8_t owner = tr_replica_member(r, r->promised.node);
        if (owner < r->member_count) {
            promise_page(r, owner, r->promise_from);
        }
    }
    r->promise_due = false;
    tr_recovery_fenced(r);
}
