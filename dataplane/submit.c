/*
 * From sessions to proposals: natural batching. A turn takes what is there, as runs of consecutive
 * commands a session, and copies it once, into the log where this node leads.
 */
#include "dataplane/group.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "trireme/error.h"

#include <string.h>

/* After a rejected batch, the next attempt: long enough that a node without a leader does not spin
 * on it. */
#define REJECTED_NS UINT64_C(20000)
/* How long a closed session tries to close itself in the log, too. */
#define CLOSE_PATIENCE_NS UINT64_C(1000000000)

static uint32_t padded(uint32_t bytes)
{
    return tr_align_up_u32(bytes, 8);
}

/* ---- what a session has */

/* The batch being made. */
struct batch {
    uint32_t runs, commands, bytes;
    uint32_t bytes_max; /* for more than one command */
    bool more;          /* it did not hold everything that there was */
};

/* Bytes of a run. */
static uint32_t run_bytes(uint32_t count, uint32_t commands_bytes, bool vary)
{
    uint32_t lengths = vary ? padded(count * (uint32_t)sizeof(uint32_t)) : 0;
    return (uint32_t)sizeof(struct tr_run) + lengths + commands_bytes;
}

/* Plans a run of the next commands of a session, as far as they fit the batch. Returns commands. */
static uint32_t plan_commands(struct tr_group *g, struct batch *b, struct tr_session *s,
                              uint64_t available)
{
    uint32_t most = (uint32_t)tr_min_u64(available, g->batch_commands_max - b->commands);
    struct tr_run_plan *plan = &g->run[b->runs];
    uint32_t each = tr_lane_item(&s->command, s->proposed + 1)->bytes;
    uint32_t count = 0, sum = 0;
    bool vary = false;
    plan->bytes = 0;
    for (; count < most; count++) {
        uint32_t bytes = tr_lane_item(&s->command, s->proposed + 1 + count)->bytes;
        bool varies = vary || bytes != each;
        uint32_t whole = run_bytes(count + 1, sum + padded(bytes), varies);
        if (b->commands + count != 0 && b->bytes + whole > b->bytes_max)
            break;
        vary = varies;
        sum += padded(bytes);
        plan->bytes = whole;
    }
    b->more |= count < available;
    if (count == 0)
        return 0;
    plan->session = s;
    plan->first = s->proposed + 1;
    plan->count = count;
    plan->bytes_each = vary ? TR_RUN_BYTES_VARY : each;
    plan->kind = TR_RUN_COMMANDS;
    b->runs++;
    b->commands += count;
    b->bytes += plan->bytes;
    return count;
}

/* Plans a REGISTER or a CLOSE. */
static void plan_session(struct tr_group *g, struct batch *b, struct tr_session *s,
                         enum tr_run_kind kind)
{
    struct tr_run_plan *plan = &g->run[b->runs];
    uint32_t bytes = kind == TR_RUN_REGISTER ? TR_NONCE_BYTES : 0;
    plan->session = s;
    plan->first = 0;
    plan->count = 1;
    plan->bytes_each = bytes;
    plan->bytes = run_bytes(1, bytes, false);
    plan->kind = (uint32_t)kind;
    b->runs++;
    b->commands++;
    b->bytes += plan->bytes;
}

/* Moves what the agent knows of a session along with what the apply stage did. */
static void follow(struct tr_group *g, struct tr_session *s)
{
    uint64_t applied = tr_load_acquire(&s->applied); /* (A) */
    if (applied != s->applied_seen) {
        s->applied_seen = applied;
        s->progress_ns = g->now_ns;
        if (s->pipelined)
            tr_store_release(&s->floor, applied); /* (F) */
        s->proposed = tr_max_u64(s->proposed, applied);
    }
}

/* Proposes everything of a session again that is not applied. */
static void propose_again(struct tr_group *g, struct tr_session *s)
{
    follow(g, s);
    s->proposed = s->applied_seen;
    s->progress_ns = g->now_ns;
    if (s->phase == TR_PHASE_REGISTERING)
        s->phase = TR_PHASE_NEW;
    if (s->phase == TR_PHASE_ENDING)
        s->phase = TR_PHASE_CLOSING;
}

/* A command of the session was refused for a gap: something before it was lost. */
static void fill_gap(struct tr_group *g, struct tr_session *s)
{
    if (g->now_ns - s->progress_ns < g->config.retransmit_ns)
        return; /* refusals of batches that are still on their way */
    s->gaps_seen = tr_load_relaxed(&s->gaps);
    propose_again(g, s);
    tr_counter_add(g->stats.session_resubmits, 1);
}

/* A session that is not registered yet, or closing. Returns whether something was planned. */
static tr_noinline bool plan_rare(struct tr_group *g, struct batch *b, struct tr_session *s)
{
    uint64_t number = tr_load_acquire(&s->number); /* (N) */
    switch (s->phase) {
    case TR_PHASE_NEW:
        plan_session(g, b, s, TR_RUN_REGISTER);
        return true;
    case TR_PHASE_REGISTERING:
        if (number != 0)
            s->phase = TR_PHASE_ACTIVE;
        return false;
    case TR_PHASE_ACTIVE:
        return false;
    case TR_PHASE_CLOSING:
        if (s->stays || number == 0 || number == UINT64_MAX)
            return false;
        plan_session(g, b, s, TR_RUN_CLOSE);
        return true;
    case TR_PHASE_ENDING:
    case TR_PHASE_DROPPED:
    case TR_PHASE_UNKNOWN:
    case TR_PHASE_GONE:
        return false;
    }
    tr_unreachable();
}

/* Plans what one session has. Returns whether it had anything. */
static inline bool plan_of(struct tr_group *g, struct batch *b, struct tr_session *s)
{
    if (tr_unlikely(s->phase != TR_PHASE_ACTIVE) && plan_rare(g, b, s))
        return true;
    if (s->phase != TR_PHASE_ACTIVE)
        return false;
    uint64_t submitted = tr_load_acquire(&s->command.submitted); /* (S) */
    follow(g, s);
    if (tr_unlikely(tr_load_relaxed(&s->gaps) != s->gaps_seen))
        fill_gap(g, s);
    if (submitted == s->proposed)
        return false;
    return plan_commands(g, b, s, submitted - s->proposed) != 0;
}

/* ---- filling a batch */

static tr_noinline void sample_begin(struct tr_group *g, uint64_t submitted_ns)
{
    uint64_t now_ns = tr_clock_now_ns(&g->lcore->clock);
    if (now_ns > submitted_ns)
        tr_histogram_record(g->lcore->stats.submit, now_ns - submitted_ns);
    g->sample = (struct tr_sample){.proposed_ns = now_ns, .wants_slot = true};
}

static void copy_padded(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    uint32_t whole = padded(bytes);
    if (whole != bytes)
        memset(to + whole - 8, 0, 8);
    memcpy(to, from, bytes);
}

/* Copies the commands of a run. */
static void fill_commands(struct tr_group *g, const struct tr_run_plan *plan, uint8_t *to)
{
    const struct tr_lane *lane = &plan->session->command;
    const struct tr_item *first = tr_lane_item(lane, plan->first);
    const struct tr_item *last = tr_lane_item(lane, plan->first + plan->count - 1);
    uint32_t each = plan->bytes_each;
    bool straight = each != TR_RUN_BYTES_VARY && each % 8 == 0 && each != 0 &&
                    last->offset - first->offset == (plan->count - 1) * each;
    if (tr_unlikely((plan->first + plan->count - 1) / TR_SAMPLE_EVERY !=
                    (plan->first - 1) / TR_SAMPLE_EVERY) &&
        g->sample.slot == 0) {
        uint64_t n = tr_align_down_u64(plan->first + plan->count - 1, TR_SAMPLE_EVERY);
        sample_begin(g, tr_lane_item(lane, n)->submitted_ns);
    }
    if (tr_likely(straight)) {
        memcpy(to, lane->memory + first->offset, (size_t)plan->count * each);
        return;
    }
    if (each == TR_RUN_BYTES_VARY) {
        uint32_t *lengths = (uint32_t *)(void *)to;
        to += padded(plan->count * (uint32_t)sizeof(uint32_t));
        lengths[plan->count - 1 + plan->count % 2] = 0; /* the padding of an odd number */
        for (uint32_t i = 0; i < plan->count; i++)
            lengths[i] = tr_lane_item(lane, plan->first + i)->bytes;
    }
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct tr_item *item = tr_lane_item(lane, plan->first + i);
        copy_padded(to, lane->memory + item->offset, item->bytes);
        to += padded(item->bytes);
    }
}

/* Writes one run. */
static void fill_run(struct tr_group *g, const struct tr_run_plan *plan, uint8_t *to)
{
    struct tr_session *s = plan->session;
    struct tr_run *run = (struct tr_run *)(void *)to;
    run->session = tr_load_relaxed(&s->number);
    run->sequence = plan->first;
    run->sequence_acked = tr_load_acquire(&s->taken); /* (T) */
    run->bytes_each = plan->bytes_each;
    run->count = (uint16_t)plan->count;
    run->kind = (uint8_t)plan->kind;
    run->reserved8 = 0;
    if (tr_likely(plan->kind == TR_RUN_COMMANDS))
        fill_commands(g, plan, to + sizeof(*run));
    else if (plan->kind == TR_RUN_REGISTER)
        memcpy(run + 1, s->nonce, TR_NONCE_BYTES);
}

/* Notes that a run was proposed. */
static void proposed(struct tr_group *g, const struct tr_run_plan *plan)
{
    struct tr_session *s = plan->session;
    if (plan->kind == TR_RUN_COMMANDS) {
        if (s->proposed == s->applied_seen)
            s->progress_ns = g->now_ns; /* nothing was under way: its time begins now */
        s->proposed = plan->first + plan->count - 1;
        return;
    }
    s->phase = plan->kind == TR_RUN_REGISTER ? TR_PHASE_REGISTERING : TR_PHASE_ENDING;
    s->progress_ns = g->now_ns;
}

/* Proposes the batch that was planned. Returns false when the core did not take it. */
static bool propose(struct tr_group *g, const struct batch *b)
{
    uint8_t *room = (uint8_t *)tr_replica_propose_room(g->replica, b->bytes);
    uint8_t *data = room != NULL ? room : g->staging;
    uint8_t *to = data;
    for (uint32_t i = 0; i < b->runs; i++) {
        fill_run(g, &g->run[i], to);
        to += g->run[i].bytes;
    }
    struct tr_event event = {.type = TR_EVENT_PROPOSE};
    event.u.propose.data = data;
    event.u.propose.bytes = b->bytes;
    event.u.propose.command_count = b->commands;
    event.more = b->more;
    g->rejected = false;
    for (uint32_t i = 0; i < b->runs; i++)
        proposed(g, &g->run[i]);
    tr_group_step(g, &event);
    if (tr_unlikely(g->sample.wants_slot))
        g->sample = (struct tr_sample){0}; /* forwarded: its slot is the leader's to know */
    if (tr_likely(!g->rejected))
        return true;
    g->submit_ns = g->now_ns + REJECTED_NS;
    for (uint32_t i = 0; i < b->runs; i++)
        propose_again(g, g->run[i].session);
    return false;
}

/* ---- a turn */

/* Asks for an index for the reads that a session has. Returns reads taken on. */
static tr_noinline uint32_t ask_reads(struct tr_group *g, struct tr_session *s)
{
    struct tr_apply *a = g->apply;
    uint64_t submitted = tr_load_acquire(&s->read.submitted); /* (S) */
    bool local = true;
    if (tr_ring_spsc_room(a->asked, 1) == 0 || !tr_apply_can_post(a, TR_APPLY_INBOX_SPARE / 2))
        return 0;
    for (uint64_t n = s->reads_asked + 1; n <= submitted && local; n++)
        local = (tr_lane_item(&s->read, n)->after & TR_READ_LOCAL) != 0;
    uint32_t count = (uint32_t)(submitted - s->reads_asked);
    s->reads_asked = submitted;
    if (local) {
        struct tr_apply_message m = {.what = TR_APPLY_LOCAL, .at = s};
        tr_apply_post(a, &m);
        return count;
    }
    struct tr_apply_asked asked = {.session = s, .upto = submitted, .id = g->read_id + 1};
    tr_ring_spsc_enqueue(a->asked, &asked, 1);
    g->reads_new = true;
    return count;
}

static bool is_full(const struct tr_group *g, const struct batch *b)
{
    return b->runs == TR_SUBMIT_RUNS || b->commands >= g->batch_commands_max;
}

/* Visits the session at an index. Returns the work that it had. */
static inline uint32_t visit(struct tr_group *g, struct batch *b, uint32_t index)
{
    struct tr_session *s = (struct tr_session *)g->sessions.member[index].who;
    uint32_t work = 0;
    if (tr_unlikely(tr_load_relaxed(&s->read.submitted) != s->reads_asked) &&
        s->phase < TR_PHASE_CLOSING)
        work += ask_reads(g, s);
    if (!is_full(g, b))
        work += plan_of(g, b, s);
    else
        b->more |= tr_load_relaxed(&s->command.submitted) != s->proposed;
    if (work != 0)
        tr_roster_worked(&g->sessions, index);
    return work;
}

/* Plans one batch from all sessions whose turn it is; another one begins in each turn. Returns the
 * work they had. */
static uint32_t gather(struct tr_group *g, struct batch *b)
{
    struct tr_roster *r = &g->sessions;
    uint32_t hot = r->hot;
    uint32_t work = 0;
    g->session_turn = g->session_turn + 1 < hot ? g->session_turn + 1 : 0;
    for (uint32_t i = 0; i < hot; i++) {
        uint32_t index = g->session_turn + i;
        work += visit(g, b, index < hot ? index : index - hot);
    }
    for (uint32_t cold = tr_roster_cold_count(r); cold > 0; cold--)
        work += visit(g, b, tr_roster_cold(r));
    tr_roster_age(r);
    return work;
}

/* One READ for all reads that were asked for in this turn. */
static void read_event(struct tr_group *g)
{
    struct tr_event event = {.type = TR_EVENT_READ, .u.read.id = ++g->read_id};
    g->reads_new = false;
    tr_group_step(g, &event);
}

uint32_t tr_submit_poll(struct tr_group *g)
{
    uint32_t work = 0;
    if (g->sessions.count == 0)
        return 0;
    for (uint32_t i = 0; i < TR_SUBMIT_BATCHES; i++) {
        struct batch b = {.bytes_max = tr_min_u32(TR_BATCH_BYTES, g->entry_bytes_max)};
        bool open =
            g->now_ns >= g->submit_ns && tr_replica_can_propose(g->replica, g->entry_bytes_max);
        if (!open)
            b.commands = g->batch_commands_max; /* reads only */
        work += gather(g, &b);
        if (tr_unlikely(g->reads_new))
            read_event(g);
        if (b.runs == 0 || !propose(g, &b))
            break;
    }
    return work;
}

void tr_submit_again(struct tr_group *g)
{
    for (uint32_t i = 0; i < g->sessions.count; i++)
        propose_again(g, (struct tr_session *)g->sessions.member[i].who);
    tr_counter_add(g->stats.session_resubmits, 1);
}

/* ---- sessions come and go */

/* A session that was just opened. */
static void admit(struct tr_group *g, struct tr_session *s)
{
    struct tr_apply_message m = {.what = TR_APPLY_ADD, .at = s};
    s->phase = TR_PHASE_NEW;
    tr_roster_add(&g->sessions, s);
    tr_apply_post(g->apply, &m);
}

/* A session that its application has closed. */
static void begin_closing(struct tr_group *g, struct tr_session *s)
{
    struct tr_apply_message m = {.what = TR_APPLY_QUIET, .at = s};
    s->phase = TR_PHASE_CLOSING;
    s->closing_ns = g->now_ns;
    tr_apply_post(g->apply, &m);
}

bool tr_submit_attach(struct tr_group *g, struct tr_session *s)
{
    if (!tr_apply_can_post(g->apply, TR_APPLY_INBOX_SPARE / 2))
        return false;
    admit(g, s);
    return true;
}

bool tr_submit_detach(struct tr_group *g, struct tr_session *s, bool stays)
{
    if (!tr_apply_can_post(g->apply, TR_APPLY_INBOX_SPARE / 2))
        return false;
    s->stays = stays;
    begin_closing(g, s);
    return true;
}

void tr_submit_admit(struct tr_group *g)
{
    if (!tr_apply_can_post(g->apply, TR_APPLY_INBOX_SPARE / 2) ||
        pthread_mutex_trylock(&g->lock) != 0)
        return; /* in another turn */
    g->admit_seen = tr_load_relaxed(&g->admit_sequence);
    for (uint32_t i = 0; i < TR_APPLY_INBOX_SPARE / 8 && g->admit_list != NULL; i++) {
        struct tr_session *s = g->admit_list;
        g->admit_list = s->next;
        admit(g, s);
    }
    for (uint32_t i = 0; i < TR_APPLY_INBOX_SPARE / 8 && g->closing_list != NULL; i++) {
        struct tr_session *s = g->closing_list;
        if (s->phase == TR_PHASE_UNKNOWN)
            break; /* opened and closed at once: it is admitted first */
        g->closing_list = s->closing_next;
        begin_closing(g, s);
    }
    if (g->admit_list != NULL || g->closing_list != NULL)
        g->admit_seen--; /* the rest in another turn */
    pthread_mutex_unlock(&g->lock);
}

/* Whether a closing session has nothing left to do in the log. */
static bool is_over(const struct tr_group *g, const struct tr_session *s)
{
    uint64_t number = tr_load_acquire(&s->number); /* (N) */
    if (s->stays || number == UINT64_MAX || tr_load_relaxed(&s->state) != TR_SESSION_OPEN)
        return true; /* its CLOSE is applied, or it was evicted */
    return g->now_ns - s->closing_ns > CLOSE_PATIENCE_NS; /* eviction will see to it */
}

/* Lets go of a closed session, in two steps: the apply stage first. Returns whether it is off the
 * roster. */
static bool let_go(struct tr_group *g, uint32_t index, struct tr_session *s)
{
    struct tr_apply_message m = {.what = TR_APPLY_DROP, .at = s};
    if (s->phase != TR_PHASE_DROPPED) {
        if (!is_over(g, s) || !tr_apply_can_post(g->apply, 1))
            return false;
        s->phase = TR_PHASE_DROPPED;
        tr_apply_post(g->apply, &m);
    }
    if (tr_load_acquire(&s->gone) == 0)
        return false;
    if (s->remote) { /* its memory is the door's */
        tr_roster_remove(&g->sessions, index);
        s->phase = TR_PHASE_GONE;
        return true;
    }
    if (pthread_mutex_trylock(&g->lock) != 0)
        return false;
    tr_roster_remove(&g->sessions, index);
    s->next = g->dead_list; /* unmapped by the next call that opens or closes one */
    g->dead_list = s;
    g->by_index[s->index] = NULL;
    g->local_count--;
    pthread_mutex_unlock(&g->lock);
    return true;
}

void tr_submit_slow(struct tr_group *g)
{
    uint64_t patience_ns = tr_max_u64(8 * g->config.election_timeout_ns, UINT64_C(10000000));
    for (uint32_t i = 0; i < g->sessions.count;) {
        struct tr_session *s = (struct tr_session *)g->sessions.member[i].who;
        follow(g, s);
        bool waits = s->proposed > s->applied_seen || s->phase == TR_PHASE_REGISTERING ||
                     s->phase == TR_PHASE_ENDING;
        if (waits && g->now_ns - s->progress_ns > patience_ns) {
            propose_again(g, s);
            tr_counter_add(g->stats.session_resubmits, 1);
        }
        if (s->phase < TR_PHASE_CLOSING || !let_go(g, i, s))
            i++;
    }
}
