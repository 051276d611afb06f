/* The apply stage's side of this node's sessions: completions, reads, deadlines, evictions. */
#include "dataplane/apply.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "trireme/error.h"

/* Deadlines are looked at no more often than this. */
#define DEADLINE_STEP_NS UINT64_C(20000)
#define DEADLINE_REST_NS UINT64_C(1000000)

/* The session of a remote client that is attached here, or NULL. */
static tr_noinline struct tr_session *remote_owner(const struct tr_apply *a, uint64_t number)
{
    for (uint32_t i = 0; i < a->local_max - a->remote_first; i++)
        if (a->remote_number[i] == number)
            return a->local[a->remote_first + i];
    return NULL;
}

struct tr_session *tr_apply_owner(struct tr_apply *a, uint64_t number)
{
    const struct tr_session_entry *e = &a->sessions->entry[a->sessions->last];
    uint16_t node = tr_load_le16(e->nonce);
    if (node == 0 && a->remote_count != 0 && e->number == number)
        return remote_owner(a, number);
    if (tr_likely(node != a->self || e->number != number))
        return NULL;
    uint32_t index = tr_load_le32(e->nonce + 4);
    struct tr_session *s = index < a->local_max ? a->local[index] : NULL;
    return s != NULL && tr_load_relaxed(&s->number) == number ? s : NULL;
}

void tr_complete_attend(struct tr_apply *a, struct tr_session *s)
{
    if (s->attended)
        return;
    s->attended = true;
    a->attended[a->attended_count++] = s;
}

/* Fills in the times of a completion, where they were asked for, and the stage's histogram. */
static void stamp(struct tr_apply *a, const struct tr_session *s, uint64_t submitted_ns,
                  struct tr_completion *c)
{
    uint64_t now_ns = s->stamped ? tr_clock_now_ns(a->clock) : a->now_ns;
    if (s->stamped) {
        c->submitted_ns = submitted_ns;
        c->completed_ns = now_ns;
    }
    if (now_ns > submitted_ns)
        tr_histogram_record(a->stats.complete, now_ns - submitted_ns);
}

/* Delivers the completion of the next command of a session. Returns false when there is no room. */
static bool deliver_command(struct tr_apply *a, struct tr_session *s, struct tr_completion *c,
                            const struct tr_item *item)
{
    uint64_t submitted_ns = item->submitted_ns;
    c->user = item->user;
    if (tr_unlikely(submitted_ns != 0))
        stamp(a, s, submitted_ns, c);
    if (tr_unlikely(!tr_session_deliver(s, c, false))) {
        tr_complete_attend(a, s);
        return false;
    }
    s->completed = c->sequence;
    return true;
}

/* Makes it known that the commands of a session up to this one are applied. */
static inline void set_applied(struct tr_apply *a, struct tr_session *s, uint64_t sequence)
{
    if (!a->pipelined)
        tr_store_relaxed(&s->floor, sequence); /* the agent is this thread, and is not reading */
    tr_store_release(&s->applied, sequence);   /* (A) */
}

void tr_complete_commands(struct tr_apply *a, struct tr_session *s, uint64_t first, uint64_t slot,
                          const struct tr_replies *replies)
{
    const uint8_t *reply = replies->buffer;
    uint64_t submitted = tr_load_acquire(&s->command.submitted); /* (S) */
    struct tr_completion c = {.slot = slot};
    for (uint32_t i = 0; i < replies->count && first + i <= submitted; i++) {
        c.sequence = first + i;
        c.reply_bytes = replies->length[i];
        c.reply = reply + replies->offset[i];
        set_applied(a, s, c.sequence);
        /* Else it was completed by its deadline, or waits behind one that found no room. */
        if (tr_likely(c.sequence == s->completed + 1))
            deliver_command(a, s, &c, tr_lane_item(&s->command, c.sequence));
    }
    tr_counter_add(a->stats.completions, replies->count);
    if (tr_unlikely(s->reads_done != tr_load_relaxed(&s->read.submitted)))
        tr_complete_reads(a, s);
}

void tr_complete_skipped(struct tr_apply *a, uint64_t number, uint64_t sequence)
{
    struct tr_session *s = tr_apply_owner(a, number);
    if (s == NULL)
        return;
    sequence = tr_min_u64(sequence, tr_load_acquire(&s->command.submitted)); /* (S) */
    if (sequence <= tr_load_relaxed(&s->applied))
        return;
    set_applied(a, s, sequence);
    tr_complete_from_cache(a, s);
}

void tr_complete_from_cache(struct tr_apply *a, struct tr_session *s)
{
    uint64_t number = tr_load_relaxed(&s->number);
    uint64_t applied = tr_load_relaxed(&s->applied);
    while (s->completed < applied) {
        struct tr_completion c = {.sequence = s->completed + 1};
        c.slot = tr_load_relaxed(&a->slot_applied);
        if (!tr_sessions_reply(a->sessions, number, c.sequence, &c.reply, &c.reply_bytes))
            c.status = TR_EUNKNOWN; /* applied, but its reply is not kept */
        if (!deliver_command(a, s, &c, tr_lane_item(&s->command, c.sequence)))
            return;
    }
}

/* ---- reads */

/* Whether read n of a session can be answered now. */
static bool read_is_ready(const struct tr_session *s, uint64_t n, const struct tr_item *item)
{
    if ((item->after & TR_READ_LOCAL) != 0)
        return true;
    return n <= s->reads_ready && item->after <= tr_load_relaxed(&s->applied);
}

/* Delivers the completion of the next read of a session. */
static bool deliver_read(struct tr_apply *a, struct tr_session *s, struct tr_completion *c,
                         const struct tr_item *item)
{
    c->user = item->user;
    if (s->stamped && item->submitted_ns != 0)
        stamp(a, s, item->submitted_ns, c);
    if (!tr_session_deliver(s, c, true)) {
        tr_complete_attend(a, s);
        return false;
    }
    s->reads_done++;
    return true;
}

uint32_t tr_complete_reads(struct tr_apply *a, struct tr_session *s)
{
    uint64_t submitted = tr_load_acquire(&s->read.submitted); /* (S) */
    uint32_t count = 0;
    for (; s->reads_done < submitted; count++) {
        const struct tr_item *item = tr_lane_item(&s->read, s->reads_done + 1);
        if (!read_is_ready(s, s->reads_done + 1, item))
            break;
        struct tr_completion c = {.slot = tr_load_relaxed(&a->slot_applied)};
        a->reply.bytes = 0;
        c.status = a->machine.read(a->machine.context, s->read.memory + item->offset, item->bytes,
                                   &a->reply);
        c.reply = a->reply.buffer;
        c.reply_bytes = a->reply.bytes;
        if (!deliver_read(a, s, &c, item))
            break;
    }
    tr_counter_add(a->stats.reads, count);
    return count;
}

uint32_t tr_complete_asked(struct tr_apply *a)
{
    uint64_t ready = a->read_ready_seen;
    uint32_t rounds = 0;
    while (rounds < TR_APPLY_ASKED && tr_ring_spsc_ready(a->asked, 1) > 0) {
        const struct tr_apply_asked *asked =
            (const struct tr_apply_asked *)tr_ring_spsc_slot(a->asked, a->asked->head);
        if (asked->id > ready)
            break;
        struct tr_session *s = asked->session;
        if (s != NULL) {
            s->reads_ready = asked->upto;
            tr_complete_reads(a, s);
        }
        tr_ring_spsc_release(a->asked, 1);
        rounds++;
    }
    return rounds;
}

/* ---- the end of sessions, and of patience */

/* Completes the next command without a reply. */
static bool finish_command(struct tr_apply *a, struct tr_session *s, int status)
{
    struct tr_completion c = {.sequence = s->completed + 1, .status = status};
    return deliver_command(a, s, &c, tr_lane_item(&s->command, c.sequence));
}

/* Completes the next read without a reply. */
static bool finish_read(struct tr_apply *a, struct tr_session *s, int status)
{
    struct tr_completion c = {.status = status};
    return deliver_read(a, s, &c, tr_lane_item(&s->read, s->reads_done + 1));
}

void tr_complete_all(struct tr_apply *a, struct tr_session *s, int status)
{
    uint64_t commands = tr_load_acquire(&s->command.submitted); /* (S) */
    uint64_t reads = tr_load_acquire(&s->read.submitted);       /* (S) */
    while (s->completed < commands && finish_command(a, s, status)) {
    }
    while (s->reads_done < reads && finish_read(a, s, status)) {
    }
}

/* The log has forgotten this session: nothing of it will ever be applied. */
static void evict(struct tr_apply *a, struct tr_session *s)
{
    tr_store_release(&s->state, (uint32_t)TR_SESSION_EVICTED); /* read by tr_submit */
    tr_complete_all(a, s, TR_ESESSION);
    tr_complete_attend(a, s); /* for what is submitted meanwhile */
    tr_log(a->logger, TR_LOG_WARN,
           "group %u: a session of this node was evicted (sessions_max or reply_cache_bytes is too "
           "small for its use)",
           a->group);
}

void tr_complete_evicted(struct tr_apply *a)
{
    for (uint32_t i = 0; i < a->local_max; i++) {
        struct tr_session *s = a->local[i];
        if (s == NULL || tr_load_relaxed(&s->state) != TR_SESSION_OPEN)
            continue;
        uint64_t number = tr_load_relaxed(&s->number);
        if (number != 0 && tr_sessions_applied(a->sessions, number) == UINT64_MAX)
            evict(a, s);
    }
}

/* Whether something could be delivered if there were room for its reply. */
static bool is_stalled(const struct tr_session *s)
{
    uint64_t read = s->reads_done + 1;
    if (s->completed < tr_load_relaxed(&s->applied))
        return true;
    return read <= tr_load_acquire(&s->read.submitted) /* (S) */ &&
           read_is_ready(s, read, tr_lane_item(&s->read, read));
}

uint32_t tr_complete_attended(struct tr_apply *a)
{
    uint32_t work = 0;
    for (uint32_t i = 0; i < a->attended_count;) {
        struct tr_session *s = a->attended[i];
        uint64_t before = s->completed + s->reads_done;
        if (tr_load_relaxed(&s->state) != TR_SESSION_OPEN) {
            tr_complete_all(a, s, TR_ESESSION);
        } else {
            tr_complete_from_cache(a, s);
            tr_complete_reads(a, s);
        }
        work += (uint32_t)(s->completed + s->reads_done - before);
        if (tr_load_relaxed(&s->state) != TR_SESSION_OPEN || is_stalled(s)) {
            i++;
            continue;
        }
        s->attended = false;
        a->attended[i] = a->attended[--a->attended_count];
    }
    return work;
}

/* Whether an item has waited too long; notes when the next one will have. */
static bool is_expired(struct tr_apply *a, const struct tr_session *s, const struct tr_item *item,
                       uint64_t now_ns)
{
    uint64_t due_ns = item->submitted_ns + s->deadline_ns;
    if (due_ns <= now_ns)
        return true;
    a->deadline_ns = tr_min_u64(a->deadline_ns, due_ns);
    return false;
}

/* Completes what is past its deadline in one session. */
static uint32_t expire(struct tr_apply *a, struct tr_session *s, uint64_t now_ns)
{
    uint64_t commands = tr_load_acquire(&s->command.submitted); /* (S) */
    uint64_t reads = tr_load_acquire(&s->read.submitted);       /* (S) */
    uint32_t work = 0;
    while (s->completed < commands && s->completed >= tr_load_relaxed(&s->applied) &&
           is_expired(a, s, tr_lane_item(&s->command, s->completed + 1), now_ns) &&
           finish_command(a, s, TR_EUNKNOWN))
        work++;
    while (s->reads_done < reads &&
           is_expired(a, s, tr_lane_item(&s->read, s->reads_done + 1), now_ns) &&
           finish_read(a, s, TR_ETIMEOUT))
        work++;
    return work;
}

uint32_t tr_complete_expired(struct tr_apply *a)
{
    uint64_t now_ns = a->now_ns;
    uint32_t work = 0;
    a->deadline_ns = now_ns + DEADLINE_REST_NS;
    for (uint32_t i = 0; i < a->local_max && a->local_count > 0; i++) {
        struct tr_session *s = a->local[i];
        if (s != NULL && s->deadline_ns != 0)
            work += expire(a, s, now_ns);
    }
    a->deadline_ns = tr_max_u64(a->deadline_ns, now_ns + DEADLINE_STEP_NS);
    tr_counter_add(a->stats.expired, work);
    return work;
}

/* Takes a session's rounds of reads out of the queue. */
static void forget_asked(struct tr_apply *a, const struct tr_session *s)
{
    uint32_t count = tr_ring_spsc_ready(a->asked, UINT32_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct tr_apply_asked *asked =
            (struct tr_apply_asked *)tr_ring_spsc_slot(a->asked, a->asked->head + i);
        if (asked->session == s)
            asked->session = NULL;
    }
}

void tr_complete_drop(struct tr_apply *a, struct tr_session *s)
{
    for (uint32_t i = 0; i < a->attended_count; i++) {
        if (a->attended[i] == s) {
            a->attended[i] = a->attended[--a->attended_count];
            break;
        }
    }
    forget_asked(a, s);
    a->local[s->index] = NULL;
    a->local_count--;
    if (s->remote) {
        a->remote_number[s->index - a->remote_first] = 0;
        a->remote_count--;
    }
    tr_store_release(&s->gone, 1u); /* meets the agent, which then forgets it, too */
}
