/*
 * Recovery at the levels that forget: founding (rule 3), and coming back with crash vectors (rule
 * 2).
 *
 * A process that has forgotten neither votes nor grants. It asks all others (ASK). If every voter
 * is empty the first voter founds the group, under a cluster number made of the boot numbers of
 * exactly those processes; an answer "empty" to a process of the founder is a promise not to join
 * what an earlier process of it founded. Otherwise it takes the incarnation after the highest known
 * to a recovery quorum, has it recorded there (JOIN: the peer fences its one-sided writers first),
 * brings its chosen prefix up to the highest commit of that quorum, adopts what they accepted
 * beyond it (PAGE), per slot the highest ballot, and the highest promise. Then it is a follower.
 * Source: Michael et al., "Recovering Shared Objects Without Stable Storage", DISC 2017, section 4.
 */
#include "consensus/state.h"

#define RECOVER_PATIENCE 64 /* heartbeats without an end, after which recovery starts over */

/* ---- the vector of incarnations */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

uint64_t tr_vector_hash(const struct tr_replica *r)
{
    uint64_t h = r->cluster;
    for (uint8_t i = 0; i < r->member_count; i++) {
        h = mix(h, (uint64_t)r->vector.incarnation[i] << 8 | i);
    }
    return h;
}

static void vector_rehash(struct tr_replica *r)
{
    r->vector_hash = tr_vector_hash(r);
}

static void stop(struct tr_replica *r, enum tr_stop_reason reason)
{
    if (r->stop_reason == reason) {
        return;
    }
    r->stop_reason = reason;
    tr_effect_add(r, TR_EFFECT_STOPPED)->u.stopped.reason = reason;
    tr_trace(r, TR_TRACE_STOPPED, r->self, 0, reason, 0);
}

bool tr_vector_equal(const struct tr_vector *a, const struct tr_vector *b)
{
    return memcmp(a->incarnation, b->incarnation, sizeof(a->incarnation)) == 0;
}

bool tr_vector_raise(struct tr_replica *r, uint8_t member, uint32_t incarnation, uint64_t boot)
{
    if (member >= r->member_count || incarnation < r->vector.incarnation[member]) {
        return false;
    }
    if (incarnation == r->vector.incarnation[member]) {
        /* The first process known by a number keeps it. */
        uint64_t *known = &r->vector.boot[member];
        *known = *known != 0 ? *known : boot;
        return false;
    }
    if (member == r->self) {
        if (r->role != TR_REPLICA_RECOVERING) {
            r->role = TR_REPLICA_STOPPED; /* a later process of this node was let in */
            stop(r, TR_STOP_SUPERSEDED);
        }
        return false;
    }
    struct tr_peer *p = &r->peer[member];
    r->vector.incarnation[member] = incarnation;
    r->vector.boot[member] = boot;
    vector_rehash(r);
    tr_trace(r, TR_TRACE_VECTOR, member, 0, incarnation, r->vector_hash);
    /* What the forgotten incarnation acknowledged, promised or granted counts no more. */
    if (!TR_CANARY(r->canary, OLD_INCARNATION_COUNTS)) {
        p->prevoted = p->promised = false;
        p->page_next = r->slot_commit + 1;
        p->page_commit = 0;
        tr_proposer_reset_peer(r, member);
        p->slot_recyclable = p->slot_apply = 0;
        p->recovered_joined = p->recovered_joined && p->recovered_own >= incarnation;
    }
    if (r->grant.generation != 0) {
        tr_acceptor_refence(r);
    }
    return true;
}

bool tr_vector_merge(struct tr_replica *r, const struct tr_vector *other)
{
    bool raised = false;
    for (uint8_t i = 0; i < r->member_count; i++) {
        raised |= tr_vector_raise(r, i, other->incarnation[i], other->boot[i]);
    }
    return raised;
}

void tr_vector_send(struct tr_replica *r, uint16_t peers)
{
    struct tr_vector *v = tr_send_begin(r, peers, TR_MESSAGE_VECTOR, sizeof(*v));
    *v = r->vector;
    tr_send_finish(r);
}

void tr_recv_vector(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_vector *v = tr_message_body(m);
    tr_vector_merge(r, v);
    if (!tr_vector_equal(v, &r->vector)) {
        tr_vector_send(r, tr_mask(from));
    }
}

/* ---- founding */

static bool is_empty(const struct tr_replica *r)
{
    return r->slot_commit == 0 && r->log.slot_last == 0 && r->slot_snapshot == 0;
}

static void founded(struct tr_replica *r, uint64_t cluster, const uint64_t *boots)
{
    r->cluster = cluster;
    memcpy(r->boots, boots, sizeof(r->boots));
    for (uint8_t i = 0; i < r->member_count; i++) {
        if (r->vector.incarnation[i] <= 1) {
            r->vector.incarnation[i] = 1;
            r->vector.boot[i] = boots[i];
        }
    }
    vector_rehash(r);
    tr_timer_stop(r, TR_TIMER_RECOVER);
    tr_trace(r, TR_TRACE_FOUNDED, r->self, 0, cluster, 0);
    tr_election_follow(r, TR_MEMBERS_MAX);
    tr_election_suspect(r); /* there is no leader to wait for */
}

static void found_send(struct tr_replica *r, uint16_t peers)
{
    struct tr_found *f = tr_send_begin(r, peers, TR_MESSAGE_FOUND, sizeof(*f));
    f->cluster = r->cluster;
    memcpy(f->boot, r->boots, sizeof(f->boot));
    tr_send_finish(r);
}

/* The first voter founds when every other voter said that it is empty, in answer to this very
 * process. */
static void try_found(struct tr_replica *r)
{
    uint64_t boots[TR_VOTERS_MAX] = {0};
    uint64_t cluster = r->config.cluster;
    if (r->self != 0 || !is_empty(r)) {
        return;
    }
    for (uint8_t i = 0; i < r->member_count; i++) {
        const struct tr_peer *p = &r->peer[i];
        bool empty = p->recovered_state == TR_RECOVERED_EMPTY ||
                     (TR_CANARY(r->canary, FOUND_BY_MAJORITY) && r->member_count > 1 &&
                      i == r->member_count - 1);
        if (i != r->self && !empty) {
            return;
        }
        boots[i] = i == r->self ? r->config.boot : p->recovered_boot;
        cluster = mix(cluster, boots[i]);
    }
    founded(r, cluster != 0 ? cluster : 1, boots);
    if (r->others != 0) {
        found_send(r, r->others);
    }
}

/* ---- answering */

static struct tr_recovered *answer_begin(struct tr_replica *r, uint8_t to,
                                         const struct tr_recover *q, enum tr_recovered_state state)
{
    struct tr_recovered *a = tr_send_begin(r, tr_mask(to), TR_MESSAGE_RECOVERED, sizeof(*a));
    a->boot = q->boot;
    a->boot_own = r->config.boot;
    a->cluster = r->cluster;
    a->phase = q->phase;
    a->state = state;
    a->incarnation = q->incarnation;
    a->promised = r->promised;
    a->slot_end = r->log.slot_last;
    a->slot_truncated = r->log.slot_first - 1;
    a->slot_commit = r->slot_commit;
    a->vector = r->vector;
    return a;
}

static void answer_ask(struct tr_replica *r, uint8_t from, const struct tr_recover *q)
{
    if (r->role != TR_REPLICA_RECOVERING && r->boots[from] == q->boot) {
        found_send(r, tr_mask(from)); /* it was counted at the founding and has not heard */
        return;
    }
    enum tr_recovered_state state = TR_RECOVERED_NORMAL;
    if (r->role == TR_REPLICA_RECOVERING) {
        state = is_empty(r) ? TR_RECOVERED_EMPTY : TR_RECOVERED_PARTIAL;
        r->peer[from].empty_boot = q->boot;
    }
    answer_begin(r, from, q, state);
    tr_send_finish(r);
}

static void answer_join(struct tr_replica *r, uint8_t to)
{
    struct tr_peer *p = &r->peer[to];
    struct tr_recover q = {.boot = p->recover_boot,
                           .phase = TR_RECOVER_JOIN,
                           .incarnation = r->vector.incarnation[to]};
    p->recover_waits = false;
    answer_begin(r, to, &q, TR_RECOVERED_NORMAL);
    tr_send_finish(r);
}

void tr_recovery_fenced(struct tr_replica *r)
{
    for (uint8_t i = 0; i < r->member_count && r->role != TR_REPLICA_RECOVERING; i++) {
        if (r->peer[i].recover_waits) {
            answer_join(r, i);
        }
    }
}

static void recv_join(struct tr_replica *r, uint8_t from, const struct tr_recover *q)
{
    struct tr_peer *p = &r->peer[from];
    uint32_t known = r->vector.incarnation[from];
    /* Another may have told of it before it came itself. */
    bool repeated = q->incarnation == known && r->vector.boot[from] == q->boot;
    if (q->incarnation <= known && !repeated) {
        struct tr_recover ask = {.boot = q->boot, .phase = TR_RECOVER_ASK};
        answer_begin(r, from, &ask, TR_RECOVERED_NORMAL); /* it must choose a higher one */
        tr_send_finish(r);
        return;
    }
    p->recover_boot = q->boot;
    tr_vector_raise(r, from, q->incarnation, q->boot);
    p->recover_waits = true;
    /* The writers of this group must be fenced and drained before the peer counts on what is told
     * here. */
    if (tr_ballot_none(r->fencing) || TR_CANARY(r->canary, JOIN_BEFORE_FENCED)) {
        answer_join(r, from);
    }
}

static void recv_page(struct tr_replica *r, uint8_t from, const struct tr_recover *q)
{
    if (q->incarnation != r->vector.incarnation[from] || r->peer[from].recover_boot != q->boot ||
        q->slot_from == 0) {
        return;
    }
    struct tr_recovered *a = answer_begin(r, from, q, TR_RECOVERED_NORMAL);
    uint64_t first = q->slot_from > r->log.slot_first ? q->slot_from : r->log.slot_first;
    a->slot_first = q->slot_from;
    a->slot_last = tr_send_records(r, first, a->slot_end, TR_SLOT_ACCEPTED, &a->record_count);
    a->slot_last = a->slot_last < q->slot_from ? q->slot_from : a->slot_last;
    tr_send_finish(r);
}

void tr_recv_recover(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_recover *q = tr_message_body(m);
    if (q->phase == TR_RECOVER_ASK) {
        answer_ask(r, from, q);
    } else if (r->role == TR_REPLICA_RECOVERING || r->role == TR_REPLICA_STOPPED) {
        r->count.dropped_stale++;
    } else if (q->phase == TR_RECOVER_JOIN) {
        recv_join(r, from, q);
    } else if (q->phase == TR_RECOVER_PAGE) {
        recv_page(r, from, q);
    } else {
        r->count.dropped_malformed++;
    }
}

/* ---- asking */

static void ask(struct tr_replica *r, uint16_t peers, enum tr_recover_phase phase,
                uint64_t slot_from)
{
    struct tr_recover *q = tr_send_begin(r, peers, TR_MESSAGE_RECOVER, sizeof(*q));
    q->boot = r->config.boot;
    q->phase = phase;
    q->incarnation = phase == TR_RECOVER_ASK ? 0 : r->vector.incarnation[r->self];
    q->slot_from = slot_from;
    tr_send_finish(r);
}

static void restart(struct tr_replica *r)
{
    r->recover_phase = TR_RECOVER_ASK;
    r->recover_started_ns = r->now_ns;
    for (uint8_t i = 0; i < r->member_count; i++) {
        struct tr_peer *p = &r->peer[i];
        p->recovered_state = 0;
        p->recovered_joined = p->recovered_paged = false;
    }
}

void tr_recovery_timeout(struct tr_replica *r)
{
    if (r->role != TR_REPLICA_RECOVERING) {
        return;
    }
    tr_timer_set(r, TR_TIMER_RECOVER, r->now_ns + r->config.heartbeat_ns);
    if (r->others == 0) {
        try_found(r);
        return;
    }
    if (r->recover_phase != TR_RECOVER_ASK &&
        r->now_ns - r->recover_started_ns > RECOVER_PATIENCE * r->config.heartbeat_ns &&
        r->slot_commit >= r->recover_target) {
        restart(r);
    }
    if (r->recover_phase == TR_RECOVER_ASK) {
        ask(r, r->others, TR_RECOVER_ASK, 0);
    }
    for (uint8_t i = 0; i < r->member_count && r->recover_phase != TR_RECOVER_ASK; i++) {
        const struct tr_peer *p = &r->peer[i];
        if (i == r->self) {
            continue;
        }
        if (!p->recovered_joined) {
            ask(r, tr_mask(i), TR_RECOVER_JOIN, 0);
        } else if (r->recover_phase == TR_RECOVER_PAGE && !p->recovered_paged) {
            ask(r, tr_mask(i), TR_RECOVER_PAGE, p->recovered_next);
        }
    }
}

/* Enough others kept their memory: take an incarnation that none of them knows. */
static void join(struct tr_replica *r, uint64_t cluster, uint32_t incarnation)
{
    r->cluster = cluster;
    r->vector.incarnation[r->self] = incarnation;
    r->vector.boot[r->self] = r->config.boot;
    vector_rehash(r);
    r->recover_phase = TR_RECOVER_JOIN;
    r->recover_started_ns = r->now_ns;
    r->stop_reason = TR_STOP_NONE;
    tr_trace(r, TR_TRACE_RECOVERING, r->self, 0, incarnation, cluster);
    ask(r, r->others, TR_RECOVER_JOIN, 0);
}

static void decide(struct tr_replica *r)
{
    uint32_t normal = 0;
    uint32_t answered = 0;
    uint32_t highest = r->vector.incarnation[r->self];
    uint64_t cluster = 0;
    for (uint8_t i = 0; i < r->member_count; i++) {
        const struct tr_peer *p = &r->peer[i];
        answered += p->recovered_state != 0;
        if (p->recovered_state == TR_RECOVERED_NORMAL) {
            normal++;
            highest = p->recovered_incarnation > highest ? p->recovered_incarnation : highest;
            cluster = p->recovered_cluster;
        }
    }
    if (normal >= (TR_CANARY(r->canary, RECOVER_FROM_ONE) ? 1 : tr_recovery_quorum(&r->config))) {
        join(r, cluster, highest + 1);
        return;
    }
    if (normal == 0) {
        try_found(r);
    } else if (answered == r->member_count - 1u &&
               r->now_ns - r->recover_started_ns > RECOVER_PATIENCE * r->config.heartbeat_ns) {
        stop(r, TR_STOP_MEMORY_LOST);
    }
}

/* A founding that counted this process comes late: it has since answered another process of the
 * founder, or what an earlier one asked, which lay on the way. It takes no part any more, but who
 * tells of the founding does: what another process of this node could do, come in by recovery with
 * the next incarnation, this one can. */
static void found_by_others(struct tr_replica *r, uint8_t from, const struct tr_found *f)
{
    struct tr_peer *p = &r->peer[from];
    p->recovered_state = TR_RECOVERED_NORMAL;
    p->recovered_cluster = f->cluster;
    p->recovered_incarnation = p->recovered_incarnation != 0 ? p->recovered_incarnation : 1;
    decide(r);
}

void tr_recv_found(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_found *f = tr_message_body(m);
    bool counted = r->role == TR_REPLICA_RECOVERING && is_empty(r) &&
                   f->boot[r->self] == r->config.boot && f->cluster != 0;
    bool taken = r->vector.incarnation[r->self] != 0; /* it comes in by recovery */
    if (counted && !taken && r->peer[0].empty_boot == f->boot[0]) {
        founded(r, f->cluster, f->boot);
        return;
    }
    r->count.dropped_stale++;
    tr_trace(r, TR_TRACE_DROP_STALE, from, m->type, f->cluster, f->boot[0]);
    if (counted && r->recover_phase == TR_RECOVER_ASK) {
        found_by_others(r, from, f);
    }
}

static void finish(struct tr_replica *r)
{
    r->count.recoveries++;
    r->role = TR_REPLICA_FOLLOWER;
    r->round_seen = r->promised.round > r->round_seen ? r->promised.round : r->round_seen;
    tr_timer_stop(r, TR_TIMER_RECOVER);
    tr_trace(r, TR_TRACE_RECOVERED, r->self, 0, r->slot_commit, r->log.slot_last);
    if (r->config.lease_ns != 0 && !TR_CANARY(r->canary, LEASE_FORGOTTEN)) {
        /* It may have granted a lease that it forgot (rule 16). */
        r->lease_until_ns = r->now_ns + 2 * r->config.lease_ns;
        r->forgotten_until_ns = r->lease_until_ns;
    }
    tr_election_follow(r, TR_MEMBERS_MAX);
    tr_acceptor_refence(r); /* offers the owner of the promise a fresh ring */
}

void tr_recovery_proceed(struct tr_replica *r)
{
    if (r->role != TR_REPLICA_RECOVERING || r->recover_phase == TR_RECOVER_ASK) {
        return;
    }
    uint32_t joined = 0;
    uint32_t paged = 0;
    uint64_t target = 0;
    for (uint8_t i = 0; i < r->member_count; i++) {
        const struct tr_peer *p = &r->peer[i];
        joined += p->recovered_joined;
        paged += p->recovered_joined && p->recovered_paged;
        target = p->recovered_joined && p->recovered_commit > target ? p->recovered_commit : target;
    }
    uint32_t quorum = TR_CANARY(r->canary, RECOVER_FROM_ONE) ? 1 : tr_recovery_quorum(&r->config);
    if (r->recover_phase == TR_RECOVER_JOIN && joined >= quorum) {
        r->recover_phase = TR_RECOVER_PAGE;
        r->recover_target = target;
        r->slot_known = target > r->slot_known ? target : r->slot_known;
        for (uint8_t i = 0; i < r->member_count; i++) {
            struct tr_peer *p = &r->peer[i];
            p->recovered_next = target + 1;
            p->recovered_paged = p->recovered_joined && p->recovered_end <= target;
            paged += p->recovered_paged;
            if (p->recovered_joined && !p->recovered_paged) {
                ask(r, tr_mask(i), TR_RECOVER_PAGE, p->recovered_next);
            }
        }
        r->pending |= TR_PENDING_COMMIT;
    }
    bool whole = paged >= quorum && r->slot_commit >= r->recover_target;
    if (r->recover_phase == TR_RECOVER_PAGE &&
        (whole || TR_CANARY(r->canary, RECOVER_WITHOUT_VALUES))) {
        finish(r);
    }
}

/* A page may hold what was accepted above every promise that the answers to JOIN told of. */
static void adopt_promise(struct tr_replica *r, const struct tr_recovered *a)
{
    if (tr_ballot_less(r->promised, a->promised) && !TR_CANARY(r->canary, FORGET_PROMISE)) {
        r->promised = a->promised;
    }
}

static void recovered_join(struct tr_replica *r, uint8_t from, const struct tr_recovered *a)
{
    struct tr_peer *p = &r->peer[from];
    r->recover_started_ns = r->now_ns;
    p->recovered_joined = true;
    p->recovered_end = a->slot_end;
    p->recovered_commit = a->slot_commit;
    adopt_promise(r, a);
    tr_recovery_proceed(r);
}

static void recovered_page(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_recovered *a = tr_message_body(m);
    struct tr_peer *p = &r->peer[from];
    if (r->recover_phase != TR_RECOVER_PAGE || !p->recovered_joined || p->recovered_paged ||
        a->slot_first != p->recovered_next || a->slot_last < a->slot_first) {
        return;
    }
    adopt_promise(r, a);
    struct tr_tail tail = tr_tail_of(r, m);
    for (uint32_t i = 0; i < a->record_count; i++) {
        const struct tr_record *record = tr_tail_next(&tail);
        if (record == NULL || record->slot < a->slot_first || record->slot > a->slot_last) {
            r->count.dropped_malformed++;
            return;
        }
        const struct tr_slot *present = tr_log_at(&r->log, record->slot);
        bool chosen = record->slot <= a->slot_commit;
        bool keeps =
            present != NULL && (present->state == TR_SLOT_CHOSEN ||
                                (!chosen && tr_ballot_less(record->ballot, present->ballot)));
        if (record->slot > r->slot_commit && !keeps &&
            tr_log_put(&r->log, record, chosen ? TR_SLOT_CHOSEN : TR_SLOT_ACCEPTED) == NULL) {
            tr_learner_make_room(r);
            return; /* asked for again when there is room */
        }
    }
    if (a->slot_truncated >= a->slot_first) {
        /* Chosen and gone there meanwhile: it comes with the chosen values. */
        r->recover_target =
            a->slot_truncated > r->recover_target ? a->slot_truncated : r->recover_target;
        r->slot_known = r->recover_target > r->slot_known ? r->recover_target : r->slot_known;
        p->recovered_commit =
            a->slot_commit > p->recovered_commit ? a->slot_commit : p->recovered_commit;
        r->pending |= TR_PENDING_COMMIT;
    }
    r->pending |= TR_PENDING_COMMIT;
    r->recover_started_ns = r->now_ns;
    p->recovered_next = a->slot_last + 1;
    if (p->recovered_next > p->recovered_end) {
        p->recovered_paged = true;
        tr_recovery_proceed(r);
    } else {
        ask(r, tr_mask(from), TR_RECOVER_PAGE, p->recovered_next);
    }
}

void tr_recv_recovered(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_recovered *a = tr_message_body(m);
    struct tr_peer *p = &r->peer[from];
    if (r->role != TR_REPLICA_RECOVERING || a->boot != r->config.boot ||
        m->incarnation < r->vector.incarnation[from]) {
        r->count.dropped_stale++;
        return;
    }
    if (a->phase == TR_RECOVER_ASK) {
        p->recovered_state = (uint8_t)a->state;
        p->recovered_boot = a->boot_own;
        p->recovered_cluster = a->cluster;
        p->recovered_incarnation = a->vector.incarnation[r->self];
        if (r->recover_phase == TR_RECOVER_ASK) {
            decide(r);
        } else if (r->recover_phase == TR_RECOVER_JOIN && !p->recovered_joined &&
                   p->recovered_incarnation >= r->vector.incarnation[r->self]) {
            r->vector.incarnation[r->self] = p->recovered_incarnation;
            restart(r);
        }
        return;
    }
    if (a->incarnation != r->vector.incarnation[r->self] || a->cluster != r->cluster ||
        a->state != TR_RECOVERED_NORMAL) {
        r->count.dropped_stale++;
        return;
    }
    p->recovered_own = m->incarnation;
    tr_vector_raise(r, from, m->incarnation, a->boot_own);
    tr_vector_merge(r, &a->vector);
    if (a->phase == TR_RECOVER_JOIN && !p->recovered_joined &&
        p->recovered_own >= r->vector.incarnation[from]) {
        recovered_join(r, from, a);
    } else if (a->phase == TR_RECOVER_PAGE) {
        recovered_page(r, from, m);
    }
}
