/*
 * The learner: which slots are chosen here, fetching those that are missing, applying, snapshots.
 *
 * Invariants: slot_snapshot <= slot_apply <= slot_commit <= slot_known; every slot in
 * (slot_snapshot, slot_commit] is present with its chosen value; a replica recycles only what it
 * has itself applied and snapshotted (rule 13). A slot is taken as chosen only when it arrived as
 * chosen, or is held at the very ballot of the watermark that covers it (rule 11).
 */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "consensus/state.h"

#define INSTALL_FAILURES_MAX 4 /* one after the other, of images from different members */

/* ---- commit */

static void commit_emit(struct tr_replica *r)
{
    tr_effect_add(r, TR_EFFECT_COMMIT)->u.commit.slot = r->slot_commit;
}

void tr_learner_chosen(struct tr_replica *r, uint64_t slot)
{
    tr_assert_hot(slot > r->slot_commit && slot < r->slot_next);
    r->count.commits += slot - r->slot_commit;
    r->slot_commit = slot;
    r->slot_known = slot > r->slot_known ? slot : r->slot_known;
    commit_emit(r);
    if (r->timer[TR_TIMER_COMMIT] == TR_NEVER) {
        tr_timer_set(r, TR_TIMER_COMMIT, r->now_ns + r->config.commit_delay_ns);
    }
    if (tr_unlikely(r->read_waiting != 0)) {
        tr_read_confirm(r);
    }
}

/* What the watermark known so far proves of slots held is kept with them: the one that takes its
 * place covers another ballot, and what nobody knows to be chosen is never recycled. */
static void keep_proven(struct tr_replica *r)
{
    uint64_t last = tr_min_u64(r->known_slot, r->log.slot_last);
    for (uint64_t slot = r->slot_commit + 1; slot <= last; slot++) {
        struct tr_slot *s = tr_log_at(&r->log, slot);
        if (s != NULL && (tr_ballot_equal(s->ballot, r->known_ballot) ||
                          TR_CANARY(r->canary, PROVEN_WITHOUT_BALLOT))) {
            s->state = TR_SLOT_CHOSEN;
        }
    }
}

void tr_learner_watermark(struct tr_replica *r, struct tr_ballot ballot, uint64_t slot)
{
    if (slot > r->slot_known) {
        r->slot_known = slot;
        r->pending |= TR_PENDING_COMMIT;
    }
    if (tr_unlikely(tr_ballot_less(r->known_ballot, ballot) && r->known_slot > r->slot_commit)) {
        keep_proven(r);
    }
    if (tr_ballot_less(r->known_ballot, ballot) ||
        (slot > r->known_slot && tr_ballot_equal(r->known_ballot, ballot))) {
        r->known_ballot = ballot;
        r->known_slot = slot;
        r->pending |= slot > r->slot_commit ? TR_PENDING_COMMIT : 0;
    }
}

/* Whether the value held for a slot is known to be the chosen one. */
static bool holds_chosen(const struct tr_replica *r, uint64_t slot)
{
    const struct tr_slot *s = tr_log_at(&r->log, slot);
    if (s == NULL) {
        return false;
    }
    bool covered = slot <= r->known_slot && (tr_ballot_equal(s->ballot, r->known_ballot) ||
                                             TR_CANARY(r->canary, WATERMARK_WITHOUT_BALLOT));
    return s->state == TR_SLOT_CHOSEN || covered;
}

/* The slots held at the watermark's ballot in one run need not be looked at one by one. */
static uint64_t run_end(const struct tr_replica *r)
{
    bool same = tr_ballot_equal(r->known_ballot, r->ack_ballot) &&
                r->slot_commit + 1 >= r->slot_contiguous_base;
    uint64_t end = r->slot_contiguous < r->known_slot ? r->slot_contiguous : r->known_slot;
    return same && end > r->slot_commit ? end : r->slot_commit;
}

void tr_learner_advance(struct tr_replica *r)
{
    if (r->installing) {
        return;
    }
    uint64_t slot = run_end(r);
    while (slot < r->slot_known && holds_chosen(r, slot + 1)) {
        slot++;
    }
    if (slot > r->slot_commit) {
        r->count.commits += slot - r->slot_commit;
        r->slot_commit = slot;
        r->fetch_last = r->fetch_last > slot ? r->fetch_last : 0;
        if (tr_unlikely(r->role == TR_REPLICA_LEADER && r->slot_restamp <= r->slot_restamp_last)) {
            /* A page that was not needed for the election told of more: no need to propose it. */
            r->slot_restamp = tr_max_u64(r->slot_restamp, slot + 1);
            r->slot_durable = tr_max_u64(r->slot_durable, slot);
        }
        commit_emit(r);
    }
    if (tr_unlikely(r->slot_commit < r->slot_known && r->timer[TR_TIMER_FETCH] == TR_NEVER &&
                    !r->pulling)) {
        /* What is missing may be on its way: one look-around first, unless nothing is under way. */
        bool waits = r->role == TR_REPLICA_FOLLOWER;
        tr_timer_set(r, TR_TIMER_FETCH, r->now_ns + (waits ? r->config.retransmit_ns / 2 : 0));
    }
    if (tr_unlikely(r->role == TR_REPLICA_CANDIDATE)) {
        tr_election_try_lead(r);
    } else if (tr_unlikely(r->role == TR_REPLICA_RECOVERING)) {
        tr_recovery_proceed(r);
    }
}

/* ---- fetching */

/* Whom to ask: the leader, else whoever told of the most. */
static uint8_t source_of(const struct tr_replica *r)
{
    uint8_t best = TR_MEMBERS_MAX;
    uint64_t most = r->slot_commit;
    if (r->role == TR_REPLICA_FOLLOWER && r->leader < r->member_count && r->leader != r->self) {
        return r->leader;
    }
    for (uint8_t i = 0; i < r->member_count; i++) {
        const struct tr_peer *p = &r->peer[i];
        uint64_t has = r->role == TR_REPLICA_RECOVERING ? p->recovered_commit : p->page_commit;
        if (i != r->self && has > most) {
            most = has;
            best = i;
        }
    }
    return best;
}

/* The member after this one, but for this replica itself. */
static uint8_t next_source(const struct tr_replica *r, uint8_t member)
{
    uint8_t next = (uint8_t)((member + 1) % r->member_count);
    return next != r->self ? next : (uint8_t)((next + 1) % r->member_count);
}

/* Whom to ask now. Who did not help the last time may be dead, or its image damaged: then the next
 * one. A leader that is followed is there. Where nobody told of more (who did may have lost it
 * since) anybody may have come that far by now. */
static uint8_t source_now(const struct tr_replica *r)
{
    bool anew = r->fetch_last != 0 && (r->role != TR_REPLICA_FOLLOWER || r->install_failures != 0);
    uint8_t source = anew ? TR_MEMBERS_MAX : source_of(r);
    return source < r->member_count || r->others == 0 ? source : next_source(r, r->fetch_peer);
}

void tr_learner_fetch(struct tr_replica *r)
{
    if (r->slot_commit >= r->slot_known || r->pulling || r->installing ||
        r->role == TR_REPLICA_LEADER) {
        return;
    }
    tr_timer_set(r, TR_TIMER_FETCH, r->now_ns + 4 * r->config.retransmit_ns);
    uint8_t from = source_now(r);
    if (from >= r->member_count) {
        return;
    }
    uint64_t last = r->slot_commit + TR_FETCH_SLOTS_MAX;
    struct tr_fetch *f = tr_send_begin(r, tr_mask(from), TR_MESSAGE_FETCH, sizeof(*f));
    f->slot_first = r->slot_commit + 1;
    f->slot_last = last < r->slot_known ? last : r->slot_known;
    tr_send_finish(r);
    r->fetch_peer = from;
    r->fetch_last = f->slot_last;
    r->count.fetches_sent++;
    tr_trace(r, TR_TRACE_FETCHED, from, 0, f->slot_first, f->slot_last);
}

void tr_recv_fetch(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_fetch *f = tr_message_body(m);
    if (f->slot_first == 0 || f->slot_last < f->slot_first) {
        r->count.dropped_malformed++;
        tr_trace(r, TR_TRACE_DROP_MALFORMED, from, m->type, f->slot_first, f->slot_last);
        return;
    }
    struct tr_learn *learn = tr_send_begin(r, tr_mask(from), TR_MESSAGE_LEARN, sizeof(*learn));
    learn->slot_first = f->slot_first;
    learn->slot_truncated = r->log.slot_first - 1;
    learn->slot_commit = r->slot_commit;
    if (f->slot_first >= r->log.slot_first) {
        uint64_t last = f->slot_last < r->slot_commit ? f->slot_last : r->slot_commit;
        tr_send_records(r, f->slot_first, last, TR_SLOT_CHOSEN, &learn->record_count);
    }
    tr_send_finish(r);
}

/* Keeps a value that arrived as chosen. Returns false when there is no room, or the record cannot
 * be right. */
static bool learn_one(struct tr_replica *r, const struct tr_record *record)
{
    const struct tr_slot *present = tr_log_at(&r->log, record->slot);
    if (record->slot <= r->slot_commit || (present != NULL && present->state == TR_SLOT_CHOSEN)) {
        return true;
    }
    if (tr_log_put(&r->log, record, TR_SLOT_CHOSEN) == NULL) {
        tr_learner_make_room(r);
        r->count.dropped_full++;
        return false;
    }
    if (r->config.level != TR_LEVEL_MEMORY) {
        struct tr_effect *effect = tr_effect_add(r, TR_EFFECT_PERSIST);
        effect->u.persist.what = TR_PERSIST_ENTRIES;
        effect->u.persist.sequence = ++r->persist_sequence;
        effect->u.persist.slot_first = effect->u.persist.slot_last = record->slot;
        effect->u.persist.ballot = record->ballot;
    }
    return true;
}

void tr_recv_learn(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_learn *learn = tr_message_body(m);
    if (r->role == TR_REPLICA_LEADER || r->installing) {
        return;
    }
    r->count.learns_received++;
    struct tr_peer *p = &r->peer[from];
    p->page_commit = tr_max_u64(learn->slot_commit, p->page_commit);
    p->recovered_commit = tr_max_u64(learn->slot_commit, p->recovered_commit);
    r->slot_known = learn->slot_commit > r->slot_known ? learn->slot_commit : r->slot_known;
    if (learn->slot_truncated > r->slot_commit && learn->slot_truncated <= learn->slot_commit) {
        if (!r->pulling) {
            r->pulling = true;
            if (r->pull_peer != from) {
                r->pull_slot = r->pull_offset = 0; /* else it goes on where it stopped */
            }
            r->pull_peer = from;
            tr_timer_stop(r, TR_TIMER_FETCH);
            tr_learner_pull(r);
        }
        return;
    }
    struct tr_tail tail = tr_tail_of(r, m);
    uint32_t bound = r->config.level == TR_LEVEL_MEMORY ? UINT32_MAX : 32; /* a PERSIST each */
    uint32_t left = learn->record_count < bound ? learn->record_count : bound;
    uint64_t limit = learn->slot_commit;
    for (const struct tr_record *record; left > 0 && (record = tr_tail_next(&tail)) != NULL;
         left--) {
        if (record->slot > limit || !learn_one(r, record)) {
            break;
        }
    }
    uint64_t before = r->slot_commit;
    tr_timer_stop(r, TR_TIMER_FETCH);
    tr_learner_advance(r);
    if (r->slot_commit > before) {
        r->fetch_last = 0; /* it helped */
        if (r->slot_commit < r->slot_known && !r->pulling) {
            tr_learner_fetch(r);
        }
    }
}

/* ---- applying, and making snapshots */

static void recycle_up_to(struct tr_replica *r)
{
    uint64_t slot = r->slot_snapshot < r->slot_apply ? r->slot_snapshot : r->slot_apply;
    if (TR_CANARY(r->canary, RECYCLE_TOO_EARLY)) {
        slot = r->slot_commit;
    }
    r->log.slot_recyclable = slot > r->log.slot_recyclable ? slot : r->log.slot_recyclable;
}

/* Whether the log has grown enough since the last snapshot. One that is being pulled is left alone
 * while the log can wait. */
static bool snapshot_wanted(const struct tr_replica *r)
{
    uint64_t slots = r->slot_apply - r->slot_snapshot;
    /* Records may lie in another order than their slots: those applied since have the bytes of so
     * many average ones, wherever the first of them lies. */
    uint64_t kept = r->log.slot_last + 1 - r->log.slot_first;
    uint64_t average = kept != 0 ? tr_log_used_bytes(&r->log) / kept : 0;
    uint64_t bytes = tr_max_u64(r->log.head - r->snapshot_head, average * slots);
    uint64_t eighths = slots * 8 / (r->log.slot_mask + 1);
    uint64_t eighths_bytes = bytes * 8 / r->log.arena_bytes;
    uint64_t most = eighths > eighths_bytes ? eighths : eighths_bytes;
    if (r->now_ns < r->snapshot_not_before_ns) {
        return false;
    }
    bool pulled = r->snapshot_pulled_ns != 0 &&
                  r->now_ns - r->snapshot_pulled_ns < 4 * r->config.election_timeout_ns;
    return slots > 0 && most >= (pulled ? 5 : 2);
}

void tr_learner_want_room(struct tr_replica *r)
{
    if (r->slot_apply > r->slot_snapshot && !r->snapshot_making && !r->installing &&
        r->now_ns >= r->snapshot_not_before_ns) {
        r->snapshot_making = true;
        tr_effect_add(r, TR_EFFECT_SNAPSHOT_MAKE);
    }
}

/* A leader writes into a ring only what this log has room for as far as it knows. When it knows of
 * no room, nothing comes that would ask for any here, and nothing is applied. */
void tr_learner_await(struct tr_replica *r, uint64_t slot_next)
{
    if (slot_next <= r->slot_commit + 1 || r->slot_commit != r->stall_slot) {
        r->stall_slot = r->slot_commit;
        r->stall_ns = r->now_ns;
    } else if (r->now_ns - r->stall_ns >= r->config.election_timeout_ns) {
        tr_learner_want_room(r);
    }
}

void tr_learner_make_room(struct tr_replica *r)
{
    if (r->slot_apply == r->slot_commit) {
        tr_log_compact(&r->log);
        r->room_position = 0;
    }
    tr_learner_want_room(r);
}

void tr_learner_applied(struct tr_replica *r, const struct tr_event *ev)
{
    uint64_t slot = ev->u.applied.slot;
    tr_assert(slot <= r->slot_commit);
    r->slot_apply = slot > r->slot_apply ? slot : r->slot_apply;
    if (tr_unlikely(r->read_confirmed_head != r->read_confirmed_tail)) {
        tr_read_answer(r);
    }
    if (tr_unlikely(!r->snapshot_making && !r->installing && snapshot_wanted(r))) {
        r->snapshot_making = true;
        tr_effect_add(r, TR_EFFECT_SNAPSHOT_MAKE);
    }
}

/* A damaged image is pulled again, from the next member; what comes so several times is not damage.
 */
static void install_failed(struct tr_replica *r, bool lost)
{
    uint64_t slot = r->pull_slot;
    r->pull_slot = r->pull_offset = r->pull_asked = 0;
    r->install_failures++;
    r->count.snapshots_damaged += !lost;
    if (!lost && r->install_failures < INSTALL_FAILURES_MAX) {
        r->fetch_last = r->fetch_last != 0 ? r->fetch_last : r->slot_commit + 1;
        tr_timer_set(r, TR_TIMER_FETCH, r->now_ns + r->config.election_timeout_ns);
        return;
    }
    r->role = TR_REPLICA_STOPPED;
    r->stop_reason = TR_STOP_RESTORE;
    tr_effect_add(r, TR_EFFECT_STOPPED)->u.stopped.reason = TR_STOP_RESTORE;
    tr_trace(r, TR_TRACE_STOPPED, r->self, 0, slot, r->install_failures);
}

static void installed(struct tr_replica *r, const struct tr_event *ev)
{
    r->installing = r->pulling = false;
    tr_timer_stop(r, TR_TIMER_PULL);
    if (ev->u.snapshot_done.status != 0) {
        install_failed(r, ev->u.snapshot_done.lost);
        return;
    }
    uint64_t slot = ev->u.snapshot_done.slot;
    r->install_failures = 0;
    r->count.snapshots_installed++;
    tr_trace(r, TR_TRACE_INSTALL, r->pull_peer, 0, slot, r->slot_commit);
    r->slot_commit = slot > r->slot_commit ? slot : r->slot_commit;
    r->slot_known = slot > r->slot_known ? slot : r->slot_known;
    r->slot_apply = slot;
    tr_log_truncate(&r->log, slot); /* the promise and later acceptances stay (rule 12) */
    if (slot > r->slot_contiguous) {
        r->slot_contiguous = slot;
        r->slot_contiguous_base = slot + 1;
        r->slot_heard = slot > r->slot_heard ? slot : r->slot_heard;
    }
}

void tr_learner_snapshot_done(struct tr_replica *r, const struct tr_event *ev)
{
    if (ev->u.snapshot_done.installed) {
        installed(r, ev);
    } else {
        r->snapshot_making = false;
        r->count.snapshots_made += ev->u.snapshot_done.status == 0;
        tr_trace(r, TR_TRACE_SNAPSHOT, r->self, 0, ev->u.snapshot_done.slot,
                 ev->u.snapshot_done.bytes);
    }
    if (ev->u.snapshot_done.status != 0) {
        /* It may be too large, or memory short: no reason to do nothing else. */
        r->snapshot_not_before_ns = r->now_ns + 2 * r->config.election_timeout_ns;
        return;
    }
    if (ev->u.snapshot_done.slot < r->slot_snapshot) {
        return; /* made while a later one was installed */
    }
    tr_assert(ev->u.snapshot_done.slot <= r->slot_commit);
    r->slot_snapshot = ev->u.snapshot_done.slot;
    r->slot_apply = r->slot_snapshot > r->slot_apply ? r->slot_snapshot : r->slot_apply;
    r->snapshot_bytes = ev->u.snapshot_done.bytes;
    r->snapshot_crc = ev->u.snapshot_done.crc;
    /* What the log holds already beyond the snapshot counts towards the next one. */
    const struct tr_slot *oldest = tr_log_at(&r->log, r->slot_snapshot + 1);
    r->snapshot_head = oldest != NULL ? oldest->position : r->log.head;
    r->count.log_wraps = r->log.wrap_count;
    recycle_up_to(r);
    tr_learner_advance(r);
    tr_read_answer(r); /* a snapshot installed may be all that they waited for */
}

/* ---- pulling a snapshot: the receiver asks, chunk by chunk, and can go on after any loss */

void tr_learner_pull(struct tr_replica *r)
{
    if (!r->pulling || r->installing) {
        return;
    }
    struct tr_snapshot_pull *pull =
        tr_send_begin(r, tr_mask(r->pull_peer), TR_MESSAGE_SNAPSHOT_PULL, sizeof(*pull));
    pull->slot = r->pull_slot;
    pull->offset = r->pull_offset;
    pull->chunk_count = TR_SNAPSHOT_CHUNKS_WINDOW;
    tr_send_finish(r);
    r->pull_asked = r->pull_offset;
    tr_timer_set(r, TR_TIMER_PULL, r->now_ns + 8 * r->config.retransmit_ns);
}

void tr_learner_pull_timeout(struct tr_replica *r)
{
    if (!r->pulling || r->installing) {
        return;
    }
    if (r->pull_asked == r->pull_offset && r->pull_silent) {
        r->pulling = r->pull_silent = false; /* nothing came twice: ask anew who has what */
        r->pull_slot = r->pull_offset = r->pull_asked = 0; /* it may have another snapshot by now */
        tr_timer_set(r, TR_TIMER_FETCH, r->now_ns);
        return;
    }
    r->pull_silent = r->pull_asked == r->pull_offset;
    tr_learner_pull(r);
}

void tr_recv_snapshot_pull(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_snapshot_pull *pull = tr_message_body(m);
    if (r->slot_snapshot == 0 || pull->chunk_count == 0 ||
        pull->chunk_count > TR_SNAPSHOT_CHUNKS_WINDOW) {
        r->count.dropped_stale++;
        tr_trace(r, TR_TRACE_DROP_STALE, from, m->type, pull->slot, r->slot_snapshot);
        return;
    }
    uint64_t offset =
        pull->slot == r->slot_snapshot && pull->offset < r->snapshot_bytes ? pull->offset : 0;
    uint64_t left = r->snapshot_bytes - offset;
    uint64_t window = (uint64_t)pull->chunk_count * TR_SNAPSHOT_CHUNK_BYTES;
    struct tr_effect *effect = tr_effect_add(r, TR_EFFECT_SNAPSHOT_SEND);
    effect->peer = from;
    effect->u.snapshot.slot = r->slot_snapshot;
    effect->u.snapshot.offset = offset;
    effect->u.snapshot.total_bytes = r->snapshot_bytes;
    effect->u.snapshot.data = NULL;
    effect->u.snapshot.bytes = (uint32_t)(left < window ? left : window);
    effect->u.snapshot.crc = r->snapshot_crc;
    r->snapshot_pulled_ns = r->now_ns;
    r->count.snapshot_chunks_sent += pull->chunk_count;
}

/* Whether a chunk continues the snapshot being pulled; a newer one starts it over. */
static bool chunk_fits(struct tr_replica *r, const struct tr_message *m,
                       const struct tr_snapshot_chunk *c)
{
    bool sane = c->total_bytes != 0 && m->tail_bytes != 0 &&
                m->tail_bytes <= TR_SNAPSHOT_CHUNK_BYTES && c->offset < c->total_bytes &&
                m->tail_bytes <= c->total_bytes - c->offset;
    if (!sane || c->slot <= r->slot_commit) {
        return false;
    }
    if (c->slot == r->pull_slot &&
        (c->total_bytes != r->pull_total || c->snapshot_crc != r->pull_crc)) {
        r->pull_slot = r->pull_offset = r->pull_asked = 0; /* its sender made another image */
    }
    if (c->slot > r->pull_slot && c->offset == 0) {
        r->pull_slot = c->slot;
        r->pull_offset = r->pull_asked = 0;
        r->pull_total = c->total_bytes;
        r->pull_crc = c->snapshot_crc;
    }
    return c->slot == r->pull_slot && c->offset == r->pull_offset &&
           c->total_bytes == r->pull_total && c->snapshot_crc == r->pull_crc;
}

void tr_recv_snapshot_chunk(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_snapshot_chunk *c = tr_message_body(m);
    if (!r->pulling || r->installing || from != r->pull_peer || !chunk_fits(r, m, c)) {
        r->count.dropped_stale++;
        return;
    }
    if (tr_crc32c(0, tr_message_tail(m), m->tail_bytes) != c->chunk_crc) {
        r->count.dropped_malformed++;
        tr_trace(r, TR_TRACE_DROP_MALFORMED, from, m->type, c->offset, m->tail_bytes);
        return;
    }
    r->count.snapshot_chunks_received++;
    struct tr_effect *effect = tr_effect_add(r, TR_EFFECT_SNAPSHOT_STORE);
    effect->u.snapshot.slot = c->slot;
    effect->u.snapshot.offset = c->offset;
    effect->u.snapshot.total_bytes = c->total_bytes;
    effect->u.snapshot.data = tr_message_tail(m);
    effect->u.snapshot.bytes = m->tail_bytes;
    effect->u.snapshot.crc = c->snapshot_crc;
    r->pull_offset += m->tail_bytes;
    if (r->pull_offset == r->pull_total) {
        struct tr_effect *install = tr_effect_add(r, TR_EFFECT_SNAPSHOT_INSTALL);
        install->u.snapshot = effect->u.snapshot;
        r->installing = true;
        tr_timer_stop(r, TR_TIMER_PULL);
    } else if (r->pull_offset - r->pull_asked >=
               (uint64_t)TR_SNAPSHOT_CHUNKS_WINDOW * TR_SNAPSHOT_CHUNK_BYTES) {
        tr_learner_pull(r);
    }
}
