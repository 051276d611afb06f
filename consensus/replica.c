/* The replica: set-up, dispatch of events, timers, and what the shell looks up. */
#include "consensus/replica.h"

#include "base/bytes.h"
#include "base/prng.h"
#include "consensus/state.h"

#define ARENA_ALIGN 4096u

/* ---- configuration and memory */

uint32_t tr_recovery_quorum(const struct tr_replica_config *config)
{
    uint32_t smaller =
        config->quorum_p1 < config->quorum_p2 ? config->quorum_p1 : config->quorum_p2;
    return config->voter_count - smaller + 1;
}

static const char *refusal(const struct tr_replica_config *c)
{
    bool member = false;
    if (c->voter_count == 0 || c->voter_count > TR_VOTERS_MAX) {
        return "a group has 1 to 9 voters";
    }
    for (uint32_t i = 0; i < c->voter_count; i++) {
        if (c->voter[i] == 0 || (i > 0 && c->voter[i] <= c->voter[i - 1])) {
            return "voters are distinct nodes, none of them 0, in ascending order";
        }
        member |= c->voter[i] == c->self;
    }
    if (!member) {
        return "this node is not a voter of the group";
    }
    if (c->quorum_p1 == 0 || c->quorum_p2 == 0 || c->quorum_p1 > c->voter_count ||
        c->quorum_p2 > c->voter_count) {
        return "a quorum has at least one voter and at most all";
    }
    if (c->quorum_p1 + c->quorum_p2 <= c->voter_count) {
        return "quorums must intersect: quorum_p1 + quorum_p2 > voters";
    }
    if (c->level != TR_LEVEL_DISK && c->voter_count > 1 &&
        tr_recovery_quorum(c) > c->voter_count - 1) {
        return "at level memory a restarted replica needs N - min(Q1, Q2) + 1 others to recover "
               "from; these quorums leave too few";
    }
    if (!tr_is_power_of_two(c->log_slots) || c->log_slots < TR_LOG_SLOTS_MIN ||
        c->log_slots > TR_LOG_SLOTS_MAX) {
        return "log_slots is a power of two from 64 to 4194304";
    }
    if (c->entry_bytes_max == 0 || c->entry_bytes_max > TR_ENTRY_BYTES_MAX) {
        return "entry_bytes_max is 1 to 4194304";
    }
    if (!tr_is_power_of_two(c->log_bytes) ||
        c->log_bytes < 4 * (uint64_t)tr_record_bytes(c->entry_bytes_max)) {
        return "log_bytes is a power of two and holds at least four of the largest entries";
    }
    if (c->message_bytes_max < tr_record_bytes(c->entry_bytes_max) + TR_MESSAGE_HEADER_BYTES_MAX) {
        return "message_bytes_max holds at least the largest entry and its headers";
    }
    if (c->boot == 0 || c->election_timeout_ns == 0 || c->heartbeat_ns == 0 ||
        c->retransmit_ns == 0 || c->heartbeat_ns >= c->election_timeout_ns) {
        return "boot and the timeouts are not 0, and heartbeat_ns is below election_timeout_ns";
    }
    if (c->clock_drift_ppm >= 1000000 ||
        (c->lease_ns != 0 && c->lease_ns > c->election_timeout_ns)) {
        return "lease_ns is at most election_timeout_ns, clock_drift_ppm below 1000000";
    }
    return NULL;
}

static uint64_t slots_offset(void)
{
    return tr_align_up_u64(sizeof(struct tr_replica), TR_CACHE_LINE);
}

static uint64_t arena_offset(const struct tr_replica_config *c)
{
    return tr_align_up_u64(slots_offset() + (uint64_t)c->log_slots * sizeof(struct tr_slot),
                           ARENA_ALIGN);
}

uint64_t tr_replica_memory_bytes(const struct tr_replica_config *config, const char **why)
{
    *why = refusal(config);
    return *why != NULL ? 0 : arena_offset(config) + config->log_bytes;
}

struct tr_replica *tr_replica_init(void *memory, const struct tr_replica_config *config,
                                   uint64_t now_ns)
{
    struct tr_replica *r = memory;
    tr_assert(refusal(config) == NULL && (uintptr_t)memory % ARENA_ALIGN == 0);
    r->config = *config;
    r->now_ns = now_ns;
    r->member_count = (uint8_t)config->voter_count;
    for (uint8_t i = 0; i < r->member_count; i++) {
        r->peer[i].node = config->voter[i];
        r->peer[i].voter = true;
        if (config->voter[i] == config->self) {
            r->self = i;
        } else {
            r->others |= tr_mask(i);
        }
    }
    r->leader = TR_MEMBERS_MAX;
    r->random[0] = config->seed;
    tr_log_init(&r->log, (struct tr_slot *)(void *)((uint8_t *)memory + slots_offset()),
                config->log_slots, (uint8_t *)memory + arena_offset(config), config->log_bytes);
    for (int i = 0; i < TR_TIMERS; i++) {
        r->timer[i] = TR_NEVER;
    }
    r->deadline_ns = TR_NEVER;
    r->slot_next = 1;
    r->slot_restamp = 1;
    r->role = TR_REPLICA_RECOVERING;
    r->recover_phase = TR_RECOVER_ASK;
    r->recover_started_ns = now_ns;
    tr_timer_set(r, TR_TIMER_RECOVER, now_ns);
    return r;
}

/* ---- small parts that every module uses */

uint64_t tr_replica_random(struct tr_replica *r, uint64_t bound)
{
    return tr_splitmix64(&r->random[0]) % bound;
}

void tr_trace(struct tr_replica *r, enum tr_trace_what what, uint8_t peer, uint8_t type, uint64_t a,
              uint64_t b)
{
    struct tr_trace_record *t = &r->trace[r->trace_next++ % TR_TRACE_RECORDS];
    *t = (struct tr_trace_record){
        .now_ns = r->now_ns, .a = a, .b = b, .what = (uint16_t)what, .peer = peer, .type = type};
}

/* ---- messages */

static tr_noinline void drop(struct tr_replica *r, uint64_t *count, enum tr_trace_what why,
                             uint8_t from, uint8_t type)
{
    (*count)++;
    tr_trace(r, why, from, type, 0, 0);
}

typedef void tr_recv(struct tr_replica *r, uint8_t from, const struct tr_message *m);

/* One handler a type. */
static tr_recv *const recv_of[TR_MESSAGE_TYPES] = {
    [TR_MESSAGE_ACCEPT] = tr_recv_accept,
    [TR_MESSAGE_ACCEPTED] = tr_recv_accepted,
    [TR_MESSAGE_HEARTBEAT] = tr_recv_heartbeat,
    [TR_MESSAGE_VECTOR] = tr_recv_vector,
    [TR_MESSAGE_PREVOTE] = tr_recv_prevote,
    [TR_MESSAGE_PREVOTED] = tr_recv_prevoted,
    [TR_MESSAGE_PREPARE] = tr_recv_prepare,
    [TR_MESSAGE_PROMISE] = tr_recv_promise,
    [TR_MESSAGE_REJECT] = tr_recv_reject,
    [TR_MESSAGE_FETCH] = tr_recv_fetch,
    [TR_MESSAGE_LEARN] = tr_recv_learn,
    [TR_MESSAGE_FORWARD] = tr_recv_forward,
    [TR_MESSAGE_FORWARDED] = tr_recv_forwarded,
    [TR_MESSAGE_READ_INDEX] = tr_recv_read_index,
    [TR_MESSAGE_READ_SLOT] = tr_recv_read_slot,
    [TR_MESSAGE_SNAPSHOT_PULL] = tr_recv_snapshot_pull,
    [TR_MESSAGE_SNAPSHOT_CHUNK] = tr_recv_snapshot_chunk,
    [TR_MESSAGE_RECOVER] = tr_recv_recover,
    [TR_MESSAGE_RECOVERED] = tr_recv_recovered,
    [TR_MESSAGE_FOUND] = tr_recv_found,
};

/* What a replica that has forgotten may hear: it neither votes nor grants (rule 2). */
#define RECOVERING_TYPES                                                              \
    (1u << TR_MESSAGE_RECOVER | 1u << TR_MESSAGE_RECOVERED | 1u << TR_MESSAGE_FOUND | \
     1u << TR_MESSAGE_LEARN | 1u << TR_MESSAGE_SNAPSHOT_CHUNK)

static tr_noinline void recv_message(struct tr_replica *r, const struct tr_event *ev)
{
    uint8_t from = ev->u.message.from;
    tr_assert(from < r->member_count && from != r->self);
    const struct tr_message *m = tr_message_open(ev->u.message.data, ev->u.message.bytes);
    if (tr_unlikely(m == NULL || m->group != r->config.group || m->from != r->peer[from].node)) {
        drop(r, &r->count.dropped_malformed, TR_TRACE_DROP_MALFORMED, from,
             m != NULL ? m->type : 0);
        return;
    }
    if (tr_unlikely(m->type >= TR_MESSAGE_RECOVER)) {
        if (m->cluster != r->config.cluster) {
            drop(r, &r->count.dropped_cluster, TR_TRACE_DROP_CLUSTER, from, m->type);
            return;
        }
        recv_of[m->type](r, from, m);
        return;
    }
    if (tr_unlikely(r->role == TR_REPLICA_RECOVERING && (RECOVERING_TYPES >> m->type & 1u) == 0)) {
        drop(r, &r->count.dropped_stale, TR_TRACE_DROP_ROLE, from, m->type);
        return;
    }
    if (tr_unlikely(m->cluster != r->cluster)) {
        drop(r, &r->count.dropped_cluster, TR_TRACE_DROP_CLUSTER, from, m->type);
        return;
    }
    if (tr_unlikely(m->incarnation != r->vector.incarnation[from])) {
        if (m->incarnation < r->vector.incarnation[from]) {
            drop(r, &r->count.dropped_incarnation, TR_TRACE_DROP_INCARNATION, from, m->type);
            return;
        }
        tr_vector_raise(r, from, m->incarnation, 0);
    }
    r->peer[from].heard_ns = r->now_ns;
    recv_of[m->type](r, from, m);
}

/* ---- time */

static void fire(struct tr_replica *r, enum tr_timer timer)
{
    switch (timer) {
    case TR_TIMER_HEARTBEAT:
        tr_proposer_heartbeat(r);
        break;
    case TR_TIMER_ELECTION:
        tr_election_timeout(r);
        break;
    case TR_TIMER_RETRANSMIT:
        tr_proposer_retransmit(r);
        break;
    case TR_TIMER_COMMIT:
        if (r->role == TR_REPLICA_LEADER && r->slot_news < r->slot_commit) {
            tr_proposer_heartbeat(r);
        }
        break;
    case TR_TIMER_FETCH:
        tr_learner_fetch(r);
        break;
    case TR_TIMER_PHASE:
        tr_election_phase_timeout(r);
        break;
    case TR_TIMER_RECOVER:
        tr_recovery_timeout(r);
        break;
    case TR_TIMER_PULL:
        tr_learner_pull_timeout(r);
        break;
    case TR_TIMER_FORWARD:
        tr_forward_timeout(r);
        break;
    case TR_TIMER_READ:
        tr_read_timeout(r);
        break;
    case TR_TIMERS:
        tr_unreachable();
    }
}

static tr_noinline void timers(struct tr_replica *r)
{
    uint64_t earliest = TR_NEVER;
    r->deadline_ns = TR_NEVER;
    for (int i = 0; i < TR_TIMERS; i++) {
        if (r->timer[i] <= r->now_ns) {
            r->timer[i] = TR_NEVER;
            fire(r, (enum tr_timer)i);
        }
    }
    for (int i = 0; i < TR_TIMERS; i++) {
        earliest = r->timer[i] < earliest ? r->timer[i] : earliest;
    }
    r->deadline_ns = earliest;
}

/* What earlier steps of this cycle left over: one acknowledgement for many Accepts, one REPLICATE
 * for many proposals. */
static void pending(struct tr_replica *r)
{
    uint32_t todo = r->pending;
    r->pending = 0;
    if (todo & TR_PENDING_ACK) {
        tr_acceptor_ack(r);
    }
    if (todo & TR_PENDING_COMMIT) {
        tr_learner_advance(r);
    }
    if (tr_likely((todo & ~(uint32_t)(TR_PENDING_ACK | TR_PENDING_COMMIT)) == 0)) {
        return;
    }
    if (todo & TR_PENDING_RESTAMP) {
        tr_proposer_restamp(r);
    }
    if (todo & TR_PENDING_REPLICATE) {
        tr_proposer_replicate(r);
        if (r->role == TR_REPLICA_LEADER && r->config.quorum_p2 == 1) {
            tr_proposer_count(r);
        }
    }
    if (todo & TR_PENDING_PROBE) {
        tr_proposer_heartbeat(r);
    }
    if (todo & TR_PENDING_FORWARDED) {
        tr_forward_ack(r);
    }
}

/* What the last event of a cycle need not leave to a TIMEOUT: few effects beside its own. */
#define PENDING_AT_ONCE (TR_PENDING_ACK | TR_PENDING_COMMIT | TR_PENDING_REPLICATE)

static inline void pending_at_once(struct tr_replica *r)
{
    bool steady = r->role == TR_REPLICA_LEADER || r->role == TR_REPLICA_FOLLOWER;
    if (steady && (r->pending & ~(uint32_t)PENDING_AT_ONCE) == 0 &&
        r->out->count < TR_EFFECTS_MAX / 2) {
        pending(r);
    }
}

static tr_noinline void timeout(struct tr_replica *r)
{
    if (r->pending != 0) {
        pending(r);
    }
    if (r->now_ns >= r->deadline_ns) {
        timers(r);
    }
}

uint64_t tr_replica_deadline_ns(const struct tr_replica *r)
{
    return r->pending != 0 ? 0 : r->deadline_ns;
}

/* ---- the step */

static tr_noinline void member_hint(struct tr_replica *r, const struct tr_event *ev)
{
    uint8_t member = ev->u.member_hint.member;
    bool stale =
        member >= r->member_count || ev->u.member_hint.incarnation != r->vector.incarnation[member];
    if (stale || r->role == TR_REPLICA_RECOVERING || r->role == TR_REPLICA_STOPPED) {
        return;
    }
    if (ev->u.member_hint.state == TR_HINT_DEAD) {
        /* A leader stops waiting for it; a follower of it need not wait for the timeout. Ballots
         * decide all the same. */
        r->peer[member].heard_ns = 0;
        if (member == r->leader && r->role == TR_REPLICA_FOLLOWER) {
            r->leader_heard_ns = 0;
            tr_election_suspect(r);
        }
    }
}

/* A stopped replica wants nothing: nobody need ask it again. */
static tr_noinline void rest(struct tr_replica *r)
{
    r->pending = 0;
    r->deadline_ns = TR_NEVER;
    for (int i = 0; i < TR_TIMERS; i++) {
        r->timer[i] = TR_NEVER;
    }
}

/* Every event but PROPOSE, the one that comes once a command where nothing is batched: it is spared
 * the switch. */
static tr_noinline void dispatch(struct tr_replica *r, const struct tr_event *event)
{
    switch (event->type) {
    case TR_EVENT_MESSAGE:
        recv_message(r, event);
        break;
    case TR_EVENT_PROPOSE:
        tr_unreachable(); /* tr_replica_step has it */
    case TR_EVENT_READ:
        tr_read_event(r, event);
        break;
    case TR_EVENT_TIMEOUT:
        timeout(r);
        break;
    case TR_EVENT_DURABLE:
        tr_proposer_durable(r, event);
        break;
    case TR_EVENT_WRITTEN:
        tr_proposer_written(r, event);
        break;
    case TR_EVENT_ENTRIES_SEEN:
        tr_acceptor_entries(r, event);
        break;
    case TR_EVENT_FENCED:
        tr_acceptor_fenced(r, event);
        break;
    case TR_EVENT_APPLIED:
        tr_learner_applied(r, event);
        break;
    case TR_EVENT_SNAPSHOT_DONE:
        tr_learner_snapshot_done(r, event);
        break;
    case TR_EVENT_MEMBER_HINT:
        member_hint(r, event);
        break;
    case TR_EVENT_RECONFIGURE:
        /* Membership is fixed in this version: the change is refused, and the reason is the
         * leader's to tell. */
        tr_effect_add(r, TR_EFFECT_REJECT)->u.reject.reason = TR_REJECT_FIXED;
        break;
    case TR_EVENT_CAMPAIGN:
        tr_election_campaign(r);
        break;
    }
}

void tr_replica_step(struct tr_replica *r, const struct tr_event *event, struct tr_effects *out)
{
    out->count = 0;
    out->scratch_used = 0;
    r->out = out;
    r->now_ns = event->now_ns > r->now_ns ? event->now_ns : r->now_ns;
    if (tr_unlikely(r->role == TR_REPLICA_STOPPED)) {
        rest(r);
        return;
    }
    if (tr_likely(event->type == TR_EVENT_PROPOSE)) {
        tr_proposer_propose(r, event);
    } else {
        dispatch(r, event);
    }
    if (!event->more && r->pending != 0) {
        pending_at_once(r);
    }
}

/* ---- looked up by the shell */

uint8_t tr_replica_member(const struct tr_replica *r, tr_node_id node)
{
    for (uint8_t i = 0; i < r->member_count; i++) {
        if (r->peer[i].node == node) {
            return i;
        }
    }
    return TR_MEMBERS_MAX;
}

tr_node_id tr_replica_node(const struct tr_replica *r, uint8_t member)
{
    return member < r->member_count ? r->peer[member].node : 0;
}

uint32_t tr_replica_incarnation(const struct tr_replica *r, uint8_t member)
{
    return member < r->member_count ? r->vector.incarnation[member] : 0;
}

const struct tr_record *tr_replica_entry(const struct tr_replica *r, uint64_t slot)
{
    const struct tr_slot *s = tr_log_at(&r->log, slot);
    tr_assert(s != NULL && slot <= r->slot_commit);
    return tr_log_record(&r->log, s);
}

const struct tr_record *tr_replica_held(const struct tr_replica *r, uint64_t slot)
{
    const struct tr_slot *s = tr_log_at(&r->log, slot);
    return s != NULL ? tr_log_record(&r->log, s) : NULL;
}

uint32_t tr_replica_entries_admitted(const struct tr_replica *r)
{
    return r->entries_admitted;
}

void tr_replica_pin(struct tr_replica *r, uint64_t position)
{
    r->log.pin = position;
}

uint64_t tr_replica_position(const struct tr_replica *r, uint64_t slot)
{
    const struct tr_slot *s = tr_log_at(&r->log, slot);
    return s != NULL ? s->position : UINT64_MAX;
}

void tr_replica_set_canary(struct tr_replica *r, uint32_t canary)
{
    r->canary = canary;
}

void tr_replica_status(const struct tr_replica *r, struct tr_replica_status *out)
{
    memset(out, 0, sizeof(*out));
    out->role = r->role;
    out->stop_reason = r->stop_reason;
    out->leader = tr_replica_node(r, r->leader);
    out->ballot = r->promised;
    out->incarnation = r->vector.incarnation[r->self];
    out->slot_first = r->log.slot_first;
    out->slot_next =
        r->role == TR_REPLICA_LEADER
            ? r->slot_next
            : (r->log.slot_last > r->slot_known ? r->log.slot_last : r->slot_known) + 1;
    out->slot_commit = r->slot_commit;
    out->slot_apply = r->slot_apply;
    out->slot_snapshot = r->slot_snapshot;
    for (uint8_t i = 0; i < r->member_count; i++) {
        bool near = r->now_ns - r->peer[i].heard_ns < 2 * r->config.election_timeout_ns;
        out->peers_reachable += i == r->self || (r->peer[i].heard_ns != 0 && near);
        out->peers_one_sided += tr_replica_grant(r, i) != NULL;
    }
    out->log_bytes_used = tr_log_used_bytes(&r->log);
    out->counts = &r->count;
}
