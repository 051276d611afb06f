/*
 * Elections: pre-vote, phase 1, and giving up.
 *
 * A pre-vote asks whether a phase 1 could win, and disturbs nobody: it never fences (rule 18). A
 * candidate needs promises of a Q1 whose pages are complete, and every value known chosen by any of
 * them, before it leads. Candidates stagger by rank. Source: Ongaro, "Consensus: Bridging Theory
 * and Practice", section 9.6, for the pre-vote; Lamport, "Paxos Made Simple", section 2.2, for
 * phase 1.
 */
#include "consensus/state.h"

/* ---- time */

static uint64_t rank_of(const struct tr_replica *r)
{
    /* Behind the leader that was: its successor in member order stands first. */
    uint8_t last = r->leader < r->member_count ? r->leader : (uint8_t)(r->member_count - 1);
    return (uint64_t)(r->self + r->member_count - last - 1) % r->member_count;
}

static void arm(struct tr_replica *r, uint64_t wait_ns)
{
    uint64_t step = r->config.election_timeout_ns / 4;
    uint64_t stagger = rank_of(r) * step + tr_replica_random(r, step / 4 + 1);
    tr_timer_set(r, TR_TIMER_ELECTION, r->now_ns + wait_ns + stagger);
}

void tr_election_defer(struct tr_replica *r)
{
    r->leader_heard_ns = r->now_ns;
    if (r->timer[TR_TIMER_ELECTION] < r->now_ns + r->config.election_timeout_ns) {
        arm(r, r->config.election_timeout_ns);
    }
}

void tr_election_wait(struct tr_replica *r)
{
    arm(r, r->config.election_timeout_ns);
}

void tr_election_suspect(struct tr_replica *r)
{
    arm(r, 0);
}

/* Whether a leader in good standing is known here: then nobody else gets a pre-vote. */
static bool leader_stands(const struct tr_replica *r)
{
    if (r->role == TR_REPLICA_LEADER) {
        return tr_proposer_contact_age_ns(r) < r->config.election_timeout_ns;
    }
    return r->leader < r->member_count &&
           r->now_ns - r->leader_heard_ns < r->config.election_timeout_ns;
}

/* ---- following */

void tr_election_follow(struct tr_replica *r, uint8_t leader)
{
    bool led = r->role == TR_REPLICA_LEADER;
    bool changed = r->leader != leader;
    if (led) {
        r->count.stepped_down++;
        tr_trace(r, TR_TRACE_STEPPED_DOWN, leader, 0, r->ballot.round, r->promised.round);
    }
    r->role = TR_REPLICA_FOLLOWER;
    r->leader = leader;
    r->room_bytes = 0;
    tr_timer_stop(r, TR_TIMER_HEARTBEAT);
    tr_timer_stop(r, TR_TIMER_PHASE);
    r->slot_restamp = r->slot_restamp_last + 1;
    if (r->slot_commit < r->slot_known) {
        r->pending |= TR_PENDING_COMMIT; /* who led asked nobody for what is missing */
    }
    if (leader < r->member_count) {
        tr_trace(r, TR_TRACE_FOLLOWS, leader, 0, r->promised.round, 0);
        r->leader_heard_ns = r->now_ns;
    }
    arm(r, r->config.election_timeout_ns);
    if (changed || led) {
        struct tr_effect *effect = tr_effect_add(r, TR_EFFECT_LEADER);
        effect->u.leader.ballot = r->promised;
        effect->u.leader.leader = tr_replica_node(r, leader);
        effect->u.leader.self_now = false;
        effect->u.leader.self_before = led;
        tr_forward_reset(r);
        tr_read_restart(r);
    }
}

/* ---- pre-vote */

static struct tr_ballot next_ballot(const struct tr_replica *r)
{
    uint64_t round = r->round_seen > r->promised.round ? r->round_seen : r->promised.round;
    return (struct tr_ballot){
        .round = round + 1, .incarnation = r->vector.incarnation[r->self], .node = r->config.self};
}

static void candidate(struct tr_replica *r)
{
    r->role = TR_REPLICA_CANDIDATE;
    r->ballot = next_ballot(r);
    r->fetch_last = 0; /* who did not answer as leader is not whom to begin with */
    r->count.elections_started++;
    tr_trace(r, TR_TRACE_CANDIDATE, r->self, 0, r->ballot.round, r->slot_commit);
    for (uint8_t i = 0; i < r->member_count; i++) {
        struct tr_peer *p = &r->peer[i];
        p->promised = false;
        p->page_next = r->slot_commit + 1;
        p->grant.generation = 0;
        p->ring = false;
    }
    tr_timer_set(r, TR_TIMER_PHASE, r->now_ns + r->config.heartbeat_ns);
    tr_acceptor_promise(r, r->ballot);
    if (r->config.level == TR_LEVEL_DISK && !TR_CANARY(r->canary, PROMISE_BEFORE_DURABLE)) {
        tr_effect_add(r, TR_EFFECT_BARRIER); /* its own promise counts: nobody is asked before */
    }
    if (r->others != 0) {
        struct tr_prepare *prepare =
            tr_send_begin(r, r->others, TR_MESSAGE_PREPARE, sizeof(*prepare));
        prepare->ballot = r->ballot;
        prepare->slot_from = r->slot_commit + 1;
        tr_send_finish(r);
    }
}

static void prevote_ask(struct tr_replica *r)
{
    struct tr_prevote *prevote = tr_send_begin(r, r->others, TR_MESSAGE_PREVOTE, sizeof(*prevote));
    prevote->ballot = r->ballot;
    tr_send_finish(r);
}

/* Whether a candidate could win and then commit: it must reach a Q1 and a Q2. */
static bool prevotes_suffice(const struct tr_replica *r)
{
    uint32_t count = 1;
    for (uint8_t i = 0; i < r->member_count; i++) {
        count += i != r->self && r->peer[i].prevoted;
    }
    return count >= r->config.quorum_p1 && count >= r->config.quorum_p2;
}

static void precandidate(struct tr_replica *r)
{
    r->role = TR_REPLICA_PRECANDIDATE;
    r->ballot = next_ballot(r);
    tr_trace(r, TR_TRACE_PREVOTE, r->self, 0, r->ballot.round, 0);
    for (uint8_t i = 0; i < r->member_count; i++) {
        r->peer[i].prevoted = false;
    }
    arm(r, r->config.election_timeout_ns);
    if (prevotes_suffice(r)) {
        candidate(r);
        return;
    }
    prevote_ask(r);
    tr_timer_set(r, TR_TIMER_PHASE, r->now_ns + r->config.heartbeat_ns);
}

void tr_election_timeout(struct tr_replica *r)
{
    if (r->role == TR_REPLICA_LEADER || r->role == TR_REPLICA_RECOVERING ||
        r->role == TR_REPLICA_STOPPED) {
        return;
    }
    if (r->now_ns < r->lease_until_ns) {
        tr_timer_set(r, TR_TIMER_ELECTION, r->lease_until_ns);
        return;
    }
    if (r->leader < r->member_count) {
        tr_election_follow(r, TR_MEMBERS_MAX);
    }
    precandidate(r);
}

void tr_election_campaign(struct tr_replica *r)
{
    bool may = r->role == TR_REPLICA_FOLLOWER || r->role == TR_REPLICA_PRECANDIDATE ||
               r->role == TR_REPLICA_CANDIDATE;
    if (may && r->now_ns >= r->lease_until_ns) {
        /* What waits for the leader that was, batches and reads, must not wait for it any more. */
        tr_election_follow(r, TR_MEMBERS_MAX);
        candidate(r);
    }
}

void tr_recv_prevote(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_prevote *v = tr_message_body(m);
    bool grants = tr_ballot_less(r->promised, v->ballot) && !leader_stands(r) &&
                  r->now_ns >= r->lease_until_ns;
    struct tr_prevoted *answer =
        tr_send_begin(r, tr_mask(from), TR_MESSAGE_PREVOTED, sizeof(*answer));
    answer->ballot = v->ballot;
    answer->promised = r->promised;
    answer->granted = grants;
    tr_send_finish(r);
}

void tr_recv_prevoted(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_prevoted *v = tr_message_body(m);
    r->round_seen = v->promised.round > r->round_seen ? v->promised.round : r->round_seen;
    if (r->role != TR_REPLICA_PRECANDIDATE || !tr_ballot_equal(v->ballot, r->ballot) ||
        v->granted == 0) {
        return;
    }
    r->peer[from].prevoted = true;
    if (prevotes_suffice(r)) {
        candidate(r);
    }
}

/* ---- phase 1 */

static bool self_promised(const struct tr_replica *r)
{
    return tr_ballot_equal(r->promised, r->ballot) && tr_ballot_none(r->fencing);
}

static uint32_t promises(const struct tr_replica *r)
{
    uint32_t count = self_promised(r);
    for (uint8_t i = 0; i < r->member_count; i++) {
        count += i != r->self && r->peer[i].promised;
    }
    return count;
}

/* Asks those whose pages are not complete again, from the page that is missing. */
static void prepare_again(struct tr_replica *r)
{
    for (uint8_t i = 0; i < r->member_count; i++) {
        if (i == r->self || r->peer[i].promised) {
            continue;
        }
        struct tr_prepare *prepare =
            tr_send_begin(r, tr_mask(i), TR_MESSAGE_PREPARE, sizeof(*prepare));
        prepare->ballot = r->ballot;
        prepare->slot_from = r->peer[i].page_next;
        tr_send_finish(r);
    }
}

void tr_election_phase_timeout(struct tr_replica *r)
{
    if (r->role == TR_REPLICA_PRECANDIDATE) {
        prevote_ask(r);
    } else if (r->role == TR_REPLICA_CANDIDATE) {
        prepare_again(r);
    } else {
        return;
    }
    tr_timer_set(r, TR_TIMER_PHASE, r->now_ns + r->config.heartbeat_ns);
}

void tr_election_fenced(struct tr_replica *r)
{
    tr_election_try_lead(r);
}

static void lead(struct tr_replica *r)
{
    uint64_t last = r->log.slot_last > r->slot_commit ? r->log.slot_last : r->slot_commit;
    r->role = TR_REPLICA_LEADER;
    r->leader = r->self;
    r->count.elections_won++;
    tr_trace(r, TR_TRACE_ELECTED, r->self, 0, r->ballot.round, last);
    tr_timer_stop(r, TR_TIMER_ELECTION);
    tr_timer_stop(r, TR_TIMER_PHASE);
    tr_timer_stop(r, TR_TIMER_FORWARD);
    tr_timer_stop(r, TR_TIMER_PULL);
    r->pulling = false; /* all that is chosen is here */
    r->slot_restamp = r->slot_commit + 1;
    r->slot_restamp_last = last + 1;
    r->slot_opened = last + 1;
    r->slot_next = last + 2;
    r->slot_durable = r->slot_commit;
    r->persist_own_head = r->persist_own_tail; /* of another ballot: tell nothing of this one's */
    r->stamp = r->now_ns > r->stamp ? r->now_ns : r->stamp;
    r->contact_stamp = r->stamp;
    r->slot_news = 0;
    for (uint8_t i = 0; i < r->member_count; i++) {
        struct tr_peer *p = &r->peer[i];
        struct tr_grant grant = p->grant;
        tr_proposer_reset_peer(r, i);
        p->heard_ns = r->now_ns;
        if (grant.generation != 0 && i != r->self) {
            tr_grant_take(r, i, &grant);
        }
    }
    struct tr_effect *effect = tr_effect_add(r, TR_EFFECT_LEADER);
    effect->u.leader.ballot = r->ballot;
    effect->u.leader.leader = r->config.self;
    effect->u.leader.self_now = true;
    effect->u.leader.self_before = false;
    tr_forward_reset(r);
    tr_read_restart(r);
    r->pending |= TR_PENDING_RESTAMP;
    tr_timer_set(r, TR_TIMER_HEARTBEAT, r->now_ns);
}

void tr_election_try_lead(struct tr_replica *r)
{
    if (r->role != TR_REPLICA_CANDIDATE || !self_promised(r) || promises(r) < r->config.quorum_p1) {
        return;
    }
    if (r->installing) {
        return; /* it forgets slots that a leader would have to propose again */
    }
    uint64_t chosen = 0;
    for (uint8_t i = 0; i < r->member_count; i++) {
        const struct tr_peer *p = &r->peer[i];
        chosen = i != r->self && p->promised && p->page_commit > chosen ? p->page_commit : chosen;
    }
    if (chosen > r->slot_commit && !TR_CANARY(r->canary, LEAD_WITHOUT_CHOSEN)) {
        /* Chosen values are fetched; a no-op there would undo them (rule 12). */
        r->slot_known = chosen > r->slot_known ? chosen : r->slot_known;
        if (r->timer[TR_TIMER_FETCH] == TR_NEVER && !r->pulling) {
            tr_timer_set(r, TR_TIMER_FETCH, r->now_ns);
        }
        return;
    }
    lead(r);
}

/* Takes one record of a promise: the highest ballot of each slot wins. Returns false when there is
 * no room. */
static bool adopt(struct tr_replica *r, const struct tr_promise *p, const struct tr_record *record)
{
    const struct tr_slot *present = tr_log_at(&r->log, record->slot);
    if (record->slot <= r->slot_commit) {
        return true;
    }
    bool chosen = record->slot <= p->slot_commit;
    if (present != NULL &&
        (present->state == TR_SLOT_CHOSEN ||
         (!chosen && tr_ballot_less(record->ballot, present->ballot))) &&
        !TR_CANARY(r->canary, ADOPT_LOWER_BALLOT)) {
        return true;
    }
    return tr_log_put(&r->log, record, chosen ? TR_SLOT_CHOSEN : TR_SLOT_ACCEPTED) != NULL;
}

static bool adopt_page(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_promise *p = tr_message_body(m);
    struct tr_tail tail = tr_tail_of(r, m);
    uint64_t previous = p->slot_first - 1;
    for (uint32_t i = 0; i < p->record_count; i++) {
        const struct tr_record *record = tr_tail_next(&tail);
        if (record == NULL || record->slot <= previous || record->slot > p->slot_last ||
            !tr_ballot_less(record->ballot, r->ballot)) {
            r->count.dropped_malformed++;
            tr_trace(r, TR_TRACE_DROP_MALFORMED, from, m->type, i,
                     record != NULL ? record->slot : 0);
            return false;
        }
        previous = record->slot;
        if (!adopt(r, p, record)) {
            tr_learner_make_room(r);
            r->count.dropped_full++;
            return false;
        }
    }
    return true;
}

void tr_recv_promise(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_promise *p = tr_message_body(m);
    struct tr_peer *peer = &r->peer[from];
    bool mine = tr_ballot_equal(p->ballot, r->ballot) &&
                (r->role == TR_REPLICA_CANDIDATE || r->role == TR_REPLICA_LEADER);
    if (!mine) {
        r->count.dropped_stale++;
        tr_trace(r, TR_TRACE_DROP_STALE, from, m->type, p->ballot.round, r->ballot.round);
        return;
    }
    tr_vector_merge(r, &p->vector);
    r->slot_known = p->slot_commit > r->slot_known ? p->slot_commit : r->slot_known;
    peer->page_commit = p->slot_commit > peer->page_commit ? p->slot_commit : peer->page_commit;
    bool knows_all = tr_vector_equal(&p->vector, &r->vector);
    if (!knows_all) {
        tr_vector_send(
            r, tr_mask(from)); /* its answer will know what we know; then it counts (rule 2) */
        return;
    }
    if (r->role == TR_REPLICA_LEADER) {
        tr_grant_offered(r, from, p); /* late, or anew: the election is over */
        return;
    }
    if (peer->promised || p->slot_first != peer->page_next || p->slot_last < p->slot_first ||
        p->slot_truncated > p->slot_commit) {
        return; /* not the page that continues the chain (rule 12) */
    }
    r->pending |= TR_PENDING_COMMIT; /* what it holds chosen can be applied while the pages come */
    if (!adopt_page(r, from, m)) {
        return;
    }
    tr_election_wait(r);
    peer->page_next = p->slot_last + 1;
    peer->grant = p->grant;
    peer->grant_vector_hash = r->vector_hash;
    peer->slot_recyclable = p->slot_truncated;
    if (p->slot_last < p->slot_end) {
        struct tr_prepare *prepare =
            tr_send_begin(r, tr_mask(from), TR_MESSAGE_PREPARE, sizeof(*prepare));
        prepare->ballot = r->ballot;
        prepare->slot_from = peer->page_next;
        tr_send_finish(r);
        return;
    }
    peer->promised = true;
    tr_election_try_lead(r);
}

void tr_recv_reject(struct tr_replica *r, uint8_t from, const struct tr_message *m)
{
    const struct tr_reject *reject = tr_message_body(m);
    bool mine = tr_ballot_equal(reject->ballot, r->ballot) &&
                (r->role == TR_REPLICA_CANDIDATE || r->role == TR_REPLICA_LEADER);
    if (!mine || !tr_ballot_less(r->ballot, reject->promised)) {
        return;
    }
    r->round_seen = reject->promised.round > r->round_seen ? reject->promised.round : r->round_seen;
    bool stands = r->role == TR_REPLICA_LEADER &&
                  tr_proposer_contact_age_ns(r) < r->config.election_timeout_ns;
    tr_trace(r, TR_TRACE_DROP_STALE, from, m->type, r->ballot.round, reject->promised.round);
    tr_election_follow(r, TR_MEMBERS_MAX);
    if (stands && r->now_ns >= r->lease_until_ns) {
        candidate(r); /* a Q2 still hears this leader: it repeats phase 1, higher (rule 9) */
    }
}
