/*
 * The proposer: a leader's phase 2. It appends proposals to its own log, replicates them with a
 * cursor a peer, counts acknowledgements and commits.
 *
 * Invariants: every slot in (slot_commit, slot_next) holds a value at this leader's ballot, or is
 * still to be re-proposed (slot_restamp); a peer's slot_acked counts only what it accepted at
 * exactly this ballot (rule 11) in its present incarnation (rule 2). Source: Lamport, "Paxos Made
 * Simple", sections 2.2 and 3.
 */
#include "base/crc32c.h"
#include "consensus/state.h"

#define RESTAMP_SLOTS_MAX 256 /* re-proposals of one step */
#define CONTACT_TIMEOUTS  2   /* election timeouts without a Q2 after which a leader gives up */
#define RESEND_SLOTS_MAX  64  /* what a negative acknowledgement brings at once */

/* ---- own log */

bool tr_proposer_has_room(struct tr_replica *r, uint32_t payload_bytes)
{
    /* A quarter of slots and arena stays free for what a follower, or the next leader, must take in
     * beside this leader's values. */
    if (tr_likely(r->slot_next < r->room_slot &&
                  r->log.head + tr_record_bytes(payload_bytes) <= r->room_position)) {
        return true; /* less was recyclable when these limits were found */
    }
    uint64_t needed = r->log.slot_recyclable + 1;
    const struct tr_slot *oldest = tr_log_at(&r->log, needed);
    uint64_t from = oldest != NULL ? oldest->position : r->log.head;
    r->room_slot = needed + (r->log.slot_mask + 1) / 4 * 3;
    r->room_position = from + r->log.arena_bytes / 4 * 3;
    return r->slot_next < r->room_slot &&
           r->log.head + tr_record_bytes(payload_bytes) <= r->room_position;
}

/* Completes the header of the record in the room and makes it the entry of the next slot. */
static tr_always_inline void append(struct tr_replica *r, struct tr_record *record,
                                    enum tr_record_kind kind, uint32_t bytes, uint32_t crc,
                                    uint32_t command_count)
{
    uint64_t slot = r->slot_next++;
    r->count.proposals++;
    record->generation = 0;
    record->tag = 0;
    record->slot = slot;
    record->ballot = r->ballot;
    record->position = 0;
    record->payload_bytes = bytes;
    record->payload_crc = crc;
    record->commit_lag = 0;
    record->kind = (uint8_t)kind;
    record->reserved8 = 0;
    record->command_count = (uint16_t)command_count;
    tr_record_seal_unringed(record);
    tr_log_link(&r->log, record, TR_SLOT_ACCEPTED);
    if (tr_unlikely(r->config.level != TR_LEVEL_MEMORY)) {
        tr_proposer_persist(r, slot);
    } else {
        r->slot_durable = slot;
    }
    r->count.commands += command_count;
}

bool tr_proposer_append(struct tr_replica *r, enum tr_record_kind kind, const void *payload,
                        uint32_t bytes, uint32_t crc, uint32_t command_count)
{
    r->room_bytes = 0;
    struct tr_record *room =
        tr_log_fits(&r->log, r->slot_next) ? tr_log_room(&r->log, bytes) : NULL;
    if (room == NULL) {
        return false;
    }
    memcpy(room + 1, payload, bytes);
    append(r, room, kind, bytes, crc, command_count);
    return true;
}

void tr_proposer_persist(struct tr_replica *r, uint64_t slot)
{
    struct tr_effect *effect = tr_effect_add(r, TR_EFFECT_PERSIST);
    effect->u.persist.what = TR_PERSIST_ENTRIES;
    effect->u.persist.sequence = ++r->persist_sequence;
    effect->u.persist.slot_first = slot;
    effect->u.persist.slot_last = slot;
    effect->u.persist.ballot = r->ballot;
    if (r->config.level == TR_LEVEL_ASYNC) {
        r->slot_durable = slot;
        return;
    }
    /* Remembers which PERSIST makes which slot durable; when the ring is full the newest stands for
     * those before it. */
    uint32_t size = TR_ARRAY_COUNT(r->persist_own);
    bool full = r->persist_own_tail - r->persist_own_head == size;
    uint32_t at = (full ? r->persist_own_tail - 1 : r->persist_own_tail++) % size;
    r->persist_own[at].sequence = r->persist_sequence;
    r->persist_own[at].slot = slot;
}

void tr_proposer_durable(struct tr_replica *r, const struct tr_event *ev)
{
    uint32_t size = TR_ARRAY_COUNT(r->persist_own);
    while (r->persist_own_head != r->persist_own_tail &&
           r->persist_own[r->persist_own_head % size].sequence <= ev->u.durable.persisted) {
        uint64_t slot = r->persist_own[r->persist_own_head++ % size].slot;
        r->slot_durable = slot > r->slot_durable ? slot : r->slot_durable;
    }
    if (r->role == TR_REPLICA_LEADER) {
        tr_proposer_count(r);
    }
}

void *tr_replica_propose_room(struct tr_replica *r, uint32_t bytes)
{
    r->room_bytes = 0;
    bool open = r->role == TR_REPLICA_LEADER && r->slot_restamp > r->slot_restamp_last &&
                bytes <= r->config.entry_bytes_max;
    if (!open || !tr_proposer_has_room(r, bytes) || !tr_log_fits(&r->log, r->slot_next)) {
        return NULL;
    }
    r->room = tr_log_room(&r->log, bytes);
    if (tr_unlikely(r->room == NULL)) {
        return NULL;
    }
    r->room_bytes = bytes;
    return r->room + 1;
}

bool tr_replica_can_propose(struct tr_replica *r, uint32_t bytes)
{
    if (bytes > r->config.entry_bytes_max) {
        return false;
    }
    if (r->role == TR_REPLICA_LEADER) {
        return r->slot_restamp > r->slot_restamp_last && tr_proposer_has_room(r, bytes);
    }
    return r->role == TR_REPLICA_FOLLOWER && r->leader < r->member_count && tr_forward_can(r);
}

static void reject(struct tr_replica *r, enum tr_reject_reason reason)
{
    struct tr_effect *effect = tr_effect_add(r, TR_EFFECT_REJECT);
    effect->u.reject.reason = reason;
    effect->u.reject.leader = tr_replica_node(r, r->leader);
}

void tr_proposer_propose(struct tr_replica *r, const struct tr_event *ev)
{
    const void *data = ev->u.propose.data;
    uint32_t bytes = ev->u.propose.bytes;
    tr_assert(bytes - 1 < r->config.entry_bytes_max &&
              ev->u.propose.command_count <= TR_BATCH_COMMANDS_MAX);
    if (tr_unlikely(r->role != TR_REPLICA_LEADER)) {
        if (tr_replica_can_propose(r, bytes)) {
            tr_forward_batch(r, ev);
        } else {
            reject(r, r->role == TR_REPLICA_RECOVERING
                          ? TR_REJECT_RECOVERING
                          : (r->leader < r->member_count ? TR_REJECT_FULL : TR_REJECT_NO_LEADER));
        }
        return;
    }
    uint32_t crc = tr_crc32c(0, data, bytes);
    if (tr_likely(bytes <= r->room_bytes && data == r->room + 1)) {
        append(r, r->room, TR_RECORD_COMMANDS, bytes, crc, ev->u.propose.command_count);
        r->room_bytes = 0;
    } else if (!tr_replica_can_propose(r, bytes)) {
        reject(r, TR_REJECT_FULL);
        return;
    } else if (!tr_proposer_append(r, TR_RECORD_COMMANDS, data, bytes, crc,
                                   ev->u.propose.command_count)) {
        tr_learner_make_room(r); /* what is needed lies behind what is not */
        reject(r, TR_REJECT_FULL);
        return;
    }
    r->pending |= TR_PENDING_REPLICATE; /* once for all proposals of a cycle */
}

/* ---- replication */

/* The first slot that has not been proposed at this ballot. */
static uint64_t stamped_end(const struct tr_replica *r)
{
    return tr_unlikely(r->slot_restamp <= r->slot_restamp_last) ? r->slot_restamp : r->slot_next;
}

/*
 * The last slot, at most `last`, for which a follower's log has room as far as it has told: a
 * one-sided write cannot be refused for want of room. A leader proposes into three quarters of its
 * log (tr_proposer_has_room); what its predecessors left may take up to fifteen sixteenths.
 */
static uint64_t ring_limit(const struct tr_replica *r, const struct tr_peer *p, uint64_t last)
{
    uint64_t needed = p->slot_recyclable + 1;
    uint64_t slots = (r->log.slot_mask + 1) / 16 * 15;
    if (needed < r->log.slot_first) {
        if (p->slot_apply + 1 < r->log.slot_first) {
            return p->slot_sent; /* it lags behind this log, and fetches what is chosen */
        }
        needed = r->log.slot_first; /* what is before that it has applied: a snapshot makes room */
    }
    const struct tr_slot *oldest = tr_log_at(&r->log, needed);
    last = last < p->slot_recyclable + slots ? last : p->slot_recyclable + slots;
    uint64_t end = oldest != NULL ? oldest->position + r->log.arena_bytes / 16 * 15 : UINT64_MAX;
    if (tr_likely(r->log.head <= end)) {
        return last;
    }
    for (; last > p->slot_sent; last--) {
        const struct tr_slot *s = tr_log_at(&r->log, last);
        if (s != NULL && s->position + s->bytes <= end) {
            break;
        }
    }
    return last;
}

/* The last slot that a peer may be sent now; at most `last`. */
static uint64_t limit_of(const struct tr_replica *r, const struct tr_peer *p, uint64_t base,
                         uint64_t last)
{
    const struct tr_slot *first = base < p->slot_sent ? tr_log_at(&r->log, base + 1) : NULL;
    if (tr_unlikely(first != NULL && r->log.head - first->position > r->config.credit_bytes)) {
        return p->slot_sent;
    }
    return p->ring ? ring_limit(r, p, last) : last;
}

static void replicate_emit(struct tr_replica *r, uint16_t peers, uint64_t first, uint64_t last)
{
    struct tr_effect *effect = tr_effect_add(r, TR_EFFECT_REPLICATE);
    effect->peers = peers;
    effect->u.replicate.slot_first = first;
    effect->u.replicate.slot_last = last;
}

bool tr_proposer_is_silent(const struct tr_replica *r, uint8_t peer)
{
    return r->now_ns - r->peer[peer].heard_ns > CONTACT_TIMEOUTS * r->config.election_timeout_ns &&
           !TR_CANARY(r->canary, SILENT_REPLICATED);
}

void tr_proposer_replicate(struct tr_replica *r)
{
    if (r->role != TR_REPLICA_LEADER) {
        return;
    }
    uint64_t last = stamped_end(r) - 1;
    uint16_t peers = 0;
    uint64_t first = 0;
    uint64_t until = 0;
    for (uint16_t others = r->others; others != 0; others &= (uint16_t)(others - 1)) {
        uint8_t i = (uint8_t)__builtin_ctz(others);
        struct tr_peer *p = &r->peer[i];
        uint64_t base = tr_peer_base(r, p);
        uint64_t sent = p->slot_sent > base ? p->slot_sent : base;
        if (sent >= last || tr_unlikely(tr_proposer_is_silent(r, i))) {
            continue;
        }
        uint64_t limit = limit_of(r, p, base, last);
        if (sent >= limit) {
            continue;
        }
        if (sent == base) {
            p->progress_ns = r->now_ns;
        }
        p->slot_sent = limit;
        if (peers != 0 && (first != sent + 1 || until != limit)) {
            replicate_emit(r, peers, first, until);
            peers = 0;
        }
        peers |= tr_mask(i);
        first = sent + 1;
        until = limit;
    }
    if (peers != 0) {
        replicate_emit(r, peers, first, until);
        if (r->timer[TR_TIMER_RETRANSMIT] == TR_NEVER) {
            tr_timer_set(r, TR_TIMER_RETRANSMIT, r->now_ns + r->config.retransmit_ns);
        }
    }
}

/* How long to wait for an acknowledgement before sending again. A ring loses nothing; but messages
 * go instead of it while it cannot be opened. */
static uint64_t resend_after_ns(const struct tr_replica *r, const struct tr_peer *p)
{
    uint64_t wait = 2 * p->rtt_ns;
    uint64_t least = p->ring ? 4 * r->config.heartbeat_ns : r->config.retransmit_ns;
    return wait > least ? wait : least;
}

void tr_proposer_retransmit(struct tr_replica *r)
{
    if (r->role != TR_REPLICA_LEADER) {
        return;
    }
    for (uint8_t i = 0; i < r->member_count; i++) {
        struct tr_peer *p = &r->peer[i];
        uint64_t base = tr_peer_base(r, p);
        bool waits = i != r->self && p->slot_sent > base;
        if (waits && r->now_ns - p->progress_ns >= resend_after_ns(r, p)) {
            p->slot_sent = base;
            p->progress_ns = r->now_ns;
            r->count.retransmits++;
            tr_trace(r, TR_TRACE_RESENT, i, 0, base + 1, 0);
        }
    }
    tr_proposer_replicate(r);
    if (r->slot_commit + 1 < r->slot_next) {
        tr_timer_set(r, TR_TIMER_RETRANSMIT, r->now_ns + r->config.retransmit_ns);
    }
}

/* A peer misses slots after slot_acked and holds later ones: sends the first gap again. */
static void fill_gap(struct tr_replica *r, uint8_t from, const struct tr_accepted *a)
{
    struct tr_peer *p = &r->peer[from];
    uint64_t first = tr_peer_base(r, p) + 1;
    if (r->now_ns < p->resend_ns || first > p->slot_sent) {
        return;
    }
    uint64_t gap = a->bitmap != 0 ? 1 + (uint64_t)__builtin_ctzll(a->bitmap) : RESEND_SLOTS_MAX;
    uint64_t last = a->slot_acked + gap;
    last = last < p->slot_sent ? last : p->slot_sent;
    if (first > last) {
        return;
    }
    p->resend_ns = r->now_ns + resend_after_ns(r, p) / 2;
    r->count.nacks++;
    tr_trace(r, TR_TRACE_RESENT, from, TR_MESSAGE_ACCEPTED, first, last);
    replicate_emit(r, tr_mask(from), first, last);
}

void tr_proposer_reset_peer(struct tr_replica *r, uint8_t peer)
{
    struct tr_peer *p = &r->peer[peer];
    p->slot_acked = p->slot_sent = p->slot_written = r->slot_commit;
    p->stamp_acked = p->lease_stamp = 0;
    p->resend_ns = 0;
    p->progress_ns = r->now_ns;
    tr_grant_forget(r, peer);
    p->read_id = 0;
    p->forward_next = p->forward_stream = 0;
    p->forward_ack = false;
    if (p->bitmap) {
        /* Out-of-order acknowledgements of a forgotten incarnation, or of an older ballot. */
        for (uint64_t slot = r->slot_commit + 1; slot <= r->log.slot_last; slot++) {
            r->log.slot[slot & r->log.slot_mask].acked &= (uint16_t)~tr_mask(peer);
        }
        p->bitmap = false;
    }
}

/* ---- a new leader's re-proposals */

/* Gives one slot this leader's ballot: the value found in phase 1, or a no-op in a hole. Returns
 * false when there is no room. */
static bool restamp_one(struct tr_replica *r, uint64_t slot)
{
    struct tr_slot *s = tr_log_at(&r->log, slot);
    if (s != NULL) {
        tr_log_restamp(&r->log, s, r->ballot);
    } else {
        struct tr_record noop = {.slot = slot, .ballot = r->ballot, .kind = TR_RECORD_NOOP};
        tr_record_seal(&noop);
        if (tr_log_put(&r->log, &noop, TR_SLOT_ACCEPTED) == NULL) {
            return false;
        }
    }
    if (r->config.level != TR_LEVEL_MEMORY) {
        tr_proposer_persist(r, slot);
    } else {
        r->slot_durable = slot;
    }
    return true;
}

void tr_proposer_restamp(struct tr_replica *r)
{
    if (r->role != TR_REPLICA_LEADER || r->slot_restamp > r->slot_restamp_last) {
        return;
    }
    uint32_t bound =
        r->config.level == TR_LEVEL_MEMORY ? RESTAMP_SLOTS_MAX : 16; /* a PERSIST each */
    r->room_bytes = 0;
    bool room = true;
    /* The last slot of the range is the no-op that opens this leadership: reads wait for it. */
    for (uint32_t i = 0; i <= bound && room && r->slot_restamp <= r->slot_restamp_last; i++) {
        room = restamp_one(r, r->slot_restamp);
        r->slot_restamp += room;
    }
    if (!room) {
        tr_learner_make_room(r);
    }
    if (r->slot_restamp <= r->slot_restamp_last) {
        r->pending |= TR_PENDING_RESTAMP;
    }
    tr_proposer_replicate(r);
    tr_proposer_count(r);
}

/* ---- counting */

uint64_t tr_proposer_stamp(struct tr_replica *r)
{
    r->stamp = r->now_ns > r->stamp ? r->now_ns : r->stamp + 1;
    return r->stamp;
}

/* The value that at least `rank` of `count` values reach: the rank-th largest. */
static uint64_t reached_by(uint64_t *value, uint32_t count, uint32_t rank)
{
    for (uint32_t i = 1; i < count; i++) {
        uint64_t v = value[i];
        uint32_t j = i;
        for (; j > 0 && value[j - 1] < v; j--) {
            value[j] = value[j - 1];
        }
        value[j] = v;
    }
    return value[rank - 1];
}

/* Whether a slot is held at this ballot by a Q2, out-of-order acknowledgements included. */
static bool is_chosen(const struct tr_replica *r, uint64_t slot)
{
    const struct tr_slot *s = tr_log_at(&r->log, slot);
    if (s == NULL || !tr_ballot_equal(s->ballot, r->ballot)) {
        return false;
    }
    uint32_t holders = r->slot_durable >= slot;
    for (uint8_t i = 0; i < r->member_count; i++) {
        holders += i != r->self && (r->peer[i].slot_acked >= slot || (s->acked & tr_mask(i)) != 0);
    }
    return holders >= r->config.quorum_p2;
}

static uint64_t count_contact(struct tr_replica *r)
{
    uint64_t value[TR_MEMBERS_MAX];
    for (uint8_t i = 0; i < r->member_count; i++) {
        value[i] = i == r->self ? UINT64_MAX : r->peer[i].stamp_acked;
    }
    uint64_t stamp = reached_by(value, r->member_count, r->config.quorum_p2);
    return stamp < r->stamp ? stamp : r->stamp;
}

/* How many a commit takes. */
static uint32_t quorum_of(const struct tr_replica *r)
{
    return r->config.quorum_p2 - (TR_CANARY(r->canary, QUORUM_OFF_BY_ONE) ? 1 : 0);
}

/* Counts slots up to the one that a Q2 acknowledged cumulatively, then one by one. */
static uint64_t count_commit(struct tr_replica *r)
{
    uint64_t value[TR_MEMBERS_MAX];
    bool bitmaps = false;
    for (uint8_t i = 0; i < r->member_count; i++) {
        value[i] = i == r->self ? r->slot_durable : r->peer[i].slot_acked;
        bitmaps |= r->peer[i].bitmap;
    }
    uint64_t slot = reached_by(value, r->member_count, quorum_of(r));
    slot = slot > r->slot_commit ? slot : r->slot_commit;
    while (bitmaps && slot + 1 < r->slot_next && is_chosen(r, slot + 1)) {
        slot++;
    }
    return slot;
}

/* A peer has acknowledged up to `slot`, and nobody else anything more: where a Q2 is as far, that
 * is the commit. */
static void count_up_to(struct tr_replica *r, uint64_t slot)
{
    uint32_t holders = r->slot_durable >= slot;
    uint32_t bitmaps = 0;
    for (uint8_t i = 0; i < r->member_count; i++) {
        holders += i != r->self && r->peer[i].slot_acked >= slot;
        bitmaps += r->peer[i].bitmap;
    }
    if (tr_likely(holders >= quorum_of(r) && bitmaps == 0)) {
        tr_learner_chosen(r, slot);
    } else {
        tr_proposer_count(r);
    }
}

void tr_proposer_count(struct tr_replica *r)
{
    uint64_t slot = count_commit(r);
    if (slot > r->slot_commit) {
        tr_learner_chosen(r, slot);
    }
}

uint64_t tr_proposer_contact_age_ns(const struct tr_replica *r)
{
    return r->now_ns > r->contact_stamp ? r->now_ns - r->contact_stamp : 0;
}

static void heard_stamp(struct tr_replica *r, struct tr_peer *p, const struct tr_accepted *a)
{
    if (a->stamp <= p->stamp_acked) {
        return;
    }
    p->stamp_acked = a->stamp;
    if (a->flags & TR_ACCEPTED_LEASE) {
        p->lease_stamp = a->stamp;
    }
    uint64_t rtt = r->now_ns > a->stamp ? r->now_ns - a->stamp : 0;
    p->rtt_ns = p->rtt_ns - p->rtt_ns / 8 + rtt / 8;
    if (r->read_waiting != 0) {
        tr_proposer_contact(r);
        tr_read_confirm(r);
    }
}

void tr_proposer_contact(struct tr_replica *r)
{
    uint64_t stamp = count_contact(r);
    r->contact_stamp = stamp > r->contact_stamp ? stamp : r->contact_stamp;
}

static void mark_bitmap(struct tr_replica *r, uint8_t from, const struct tr_accepted *a)
{
    for (uint64_t bits = a->bitmap; bits != 0; bits &= bits - 1) {
        uint64_t slot = a->slot_acked + 2 + (uint64_t)__builtin_ctzll(bits);
        struct tr_slot *s = slot < r->slot_next ? tr_log_at(&r->log, slot) : NULL;
        if (s != NULL && slot > r->slot_commit && tr_ballot_equal(s->ballot, r->ballot)) {
            s->acked |= tr_mask(from);
            r->peer[from].bitmap = true;
        }
    }
}

void tr_recv_accepted(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_accepted *a = tr_message_body(m);
    struct tr_peer *p = &r->peer[from];
    bool current = tr_ballot_equal(a->ballot, r->ballot) || TR_CANARY(r->canary, STALE_ACK_COUNTS);
    if (tr_unlikely(r->role != TR_REPLICA_LEADER || !current)) {
        r->count.dropped_stale++;
        tr_trace(r, TR_TRACE_DROP_STALE, from, m->type, a->ballot.round, r->ballot.round);
        return;
    }
    if (tr_unlikely(a->slot_acked >= stamped_end(r) || a->stamp > r->stamp)) {
        r->count.dropped_malformed++;
        tr_trace(r, TR_TRACE_DROP_MALFORMED, from, m->type, a->slot_acked, a->stamp);
        return;
    }
    r->count.acks_received++;
    p->slot_apply = a->slot_apply;
    p->slot_recyclable = a->slot_recyclable;
    if (tr_unlikely(a->vector_hash != r->vector_hash) && !TR_CANARY(r->canary, VECTOR_IGNORED)) {
        /* One of us knows a later incarnation of somebody: no quorum of the two until both do (rule
         * 2). */
        r->count.quorums_void++;
        tr_vector_send(r, tr_mask(from));
        return;
    }
    heard_stamp(r, p, a);
    if (a->slot_acked > p->slot_acked) {
        p->slot_acked = a->slot_acked;
        p->progress_ns = r->now_ns;
        if (a->slot_acked > r->slot_commit) {
            count_up_to(r, a->slot_acked);
        }
    }
    if (tr_unlikely(a->bitmap != 0)) {
        mark_bitmap(r, from, a);
        tr_proposer_count(r);
    }
    if (tr_unlikely(a->flags & TR_ACCEPTED_GAP)) {
        fill_gap(r, from, a);
    }
    if (tr_unlikely(p->slot_sent + 1 < r->slot_next)) {
        r->pending |= TR_PENDING_REPLICATE;
    }
}

/* ---- one-sided */

void tr_proposer_written(struct tr_replica *r, const struct tr_event *ev)
{
    uint8_t peer = ev->u.written.peer;
    tr_assert(peer < r->member_count && ev->u.written.slot_first <= ev->u.written.slot_last);
    struct tr_peer *p = &r->peer[peer];
    bool mine =
        r->role == TR_REPLICA_LEADER && p->ring && p->grant.generation == ev->u.written.generation;
    if (!mine) {
        return;
    }
    if (ev->u.written.status != TR_WRITTEN_OK && !TR_CANARY(r->canary, REFUSED_COUNTS)) {
        uint64_t *count = ev->u.written.status == TR_WRITTEN_REFUSED ? &r->count.written_refused
                                                                     : &r->count.written_broken;
        (*count)++;
        tr_grant_lost(r, peer); /* only this peer stops counting (rule 9) */
        return;
    }
    r->count.written++;
    if (p->grant_vector_hash != r->vector_hash) {
        r->count.quorums_void++; /* a WRITTEN knows what its grant knew (rule 2) */
        return;
    }
    /* Completions count as a prefix; what it acknowledged, or is chosen already, may be skipped. */
    uint64_t prefix = p->slot_written > tr_peer_base(r, p) ? p->slot_written : tr_peer_base(r, p);
    if (ev->u.written.slot_first > prefix + 1 || ev->u.written.slot_last >= r->slot_next ||
        ev->u.written.slot_last <= p->slot_written) {
        return;
    }
    p->slot_written = ev->u.written.slot_last;
    p->progress_ns = r->now_ns;
    if (p->slot_written > p->slot_acked) {
        p->slot_acked = p->slot_written;
        if (p->slot_acked > r->slot_commit) {
            count_up_to(r, p->slot_acked);
        }
    }
    if (p->slot_sent + 1 < r->slot_next) {
        r->pending |= TR_PENDING_REPLICATE;
    }
}

/* ---- heartbeats */

void tr_proposer_heartbeat(struct tr_replica *r)
{
    if (r->role != TR_REPLICA_LEADER) {
        return;
    }
    tr_proposer_contact(r);
    tr_read_confirm(r);
    if (r->config.quorum_p2 > 1 &&
        tr_proposer_contact_age_ns(r) > CONTACT_TIMEOUTS * r->config.election_timeout_ns) {
        tr_election_follow(
            r, TR_MEMBERS_MAX); /* no Q2 hears this leader: somebody else may have one */
        return;
    }
    if (r->others != 0) {
        struct tr_heartbeat *h = tr_send_begin(r, r->others, TR_MESSAGE_HEARTBEAT, sizeof(*h));
        h->ballot = r->ballot;
        h->slot_commit = r->slot_commit;
        h->slot_next = r->slot_next;
        h->stamp = tr_proposer_stamp(r);
        h->contact_age_ns = tr_proposer_contact_age_ns(r);
        h->vector_hash = r->vector_hash;
        tr_send_finish(r);
    } else {
        tr_proposer_stamp(r);
        tr_proposer_contact(r);
        tr_read_confirm(r);
    }
    tr_grant_ask(r);
    if (tr_unlikely(!tr_proposer_has_room(r, r->config.entry_bytes_max))) {
        tr_learner_want_room(r); /* nothing may be applied any more that would ask for it */
    }
    r->slot_news = r->slot_commit;
    tr_timer_set(r, TR_TIMER_HEARTBEAT, r->now_ns + r->config.heartbeat_ns);
}
