/* The application's side of sessions: submission and completion rings of the public API. */
#include "dataplane/session.h"

#include "base/assert.h"
#include "dataplane/membarrier.h"
#include "trireme/error.h"

#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Items begin on such boundaries, and every item takes at least one. */
#define ITEM_ALIGN 8u
#define WINDOW_MAX (1u << 20)
#define QUEUE_MAX  (1u << 30)
/* Where there is no tr_membarrier, a waiter looks again after so long: its first announcement may
 * be missed. */
#define WAIT_NS_MAX     UINT64_C(200000)
#define WAIT_NS_LONGEST UINT64_C(1000000000000)
#define WAIT_SPINS      200
/* See tr_lane.look: few enough that what is in use stays in the first-level cache. */
#define LOOK_ITEMS 32u

static uint32_t power_above(uint64_t value)
{
    uint32_t power = 1;
    while (power < value)
        power *= 2;
    return power;
}

/* Sizes of the parts of a session's memory. */
struct layout {
    uint32_t window, queue_bytes, reply_bytes;
    uint64_t items, lane, done, ends, reply, total;
};

static bool lay_out(const struct tr_session_options *options,
                    const struct tr_session_limits *limits, struct layout *l)
{
    uint64_t queue =
        tr_max_u64(options->queue_bytes, 2 * ((uint64_t)limits->command_bytes_max + 64));
    uint64_t reply = tr_max_u64(options->queue_bytes, 2 * ((uint64_t)limits->reply_bytes_max + 64));
    if (!tr_is_power_of_two(options->window) || options->window > WINDOW_MAX || queue > QUEUE_MAX ||
        reply > QUEUE_MAX)
        return false;
    l->window = options->window;
    l->queue_bytes = tr_align_up_u32((uint32_t)queue, TR_CACHE_LINE);
    l->reply_bytes = power_above(reply);
    l->items = tr_align_up_u64(2 * (uint64_t)l->window * sizeof(struct tr_item), 4096);
    l->lane = tr_align_up_u64(2 * (uint64_t)l->queue_bytes, 4096);
    bool rings = options->on_complete == NULL;
    l->done =
        rings ? tr_align_up_u64(2 * (uint64_t)l->window * sizeof(struct tr_completion), 4096) : 0;
    l->ends = rings ? tr_align_up_u64(2 * (uint64_t)l->window * sizeof(uint64_t), 4096) : 0;
    l->reply = rings ? tr_align_up_u64(l->reply_bytes, 4096) : 0;
    l->total = tr_align_up_u64(sizeof(struct tr_session), 4096) + 2 * (l->items + l->lane) +
               l->done + l->ends + l->reply;
    return true;
}

uint64_t tr_session_memory_bytes(const struct tr_session_options *options,
                                 const struct tr_session_limits *limits)
{
    struct layout l;
    return lay_out(options, limits, &l) ? l.total : 0;
}

static void *carve(uint8_t **next, uint64_t bytes)
{
    void *at = *next;
    *next += bytes;
    return bytes == 0 ? NULL : at;
}

static void init_lane(struct tr_lane *lane, const struct layout *l, uint8_t **next)
{
    lane->item = (struct tr_item *)carve(next, l->items);
    lane->memory = (uint8_t *)carve(next, l->lane);
    lane->mask = 2 * l->window - 1;
    lane->memory_bytes = 2 * l->queue_bytes;
    lane->window = l->window;
    lane->look = tr_min_u32(l->window, LOOK_ITEMS);
}

struct tr_session *tr_session_init(void *memory, const struct tr_session_options *options,
                                   const struct tr_session_limits *limits,
                                   const struct tr_clock *clock)
{
    struct layout l;
    struct tr_session *s = (struct tr_session *)memory;
    uint8_t *next = (uint8_t *)memory + tr_align_up_u64(sizeof(*s), 4096);
    bool good = lay_out(options, limits, &l);
    tr_assert(good);
    init_lane(&s->command, &l, &next);
    init_lane(&s->read, &l, &next);
    s->done = (struct tr_completion *)carve(&next, l.done);
    s->done_reply_end = (uint64_t *)carve(&next, l.ends);
    s->reply = (uint8_t *)carve(&next, l.reply);
    s->reply_bytes = l.reply_bytes;
    s->done_mask = 2 * l.window - 1;
    s->memory_bytes = l.total;
    s->command_bytes_max = limits->command_bytes_max;
    s->deadline_ns = options->deadline_us * 1000;
    s->on_complete = options->on_complete;
    s->on_complete_context = options->on_complete_context;
    s->stamped = options->timestamps != 0 || options->deadline_us != 0;
    s->clock = *clock;
    s->users = 2;
    return s;
}

/* ---- submission */

/* Looks how far the other parties are with the commands. */
static void look_at_commands(struct tr_session *s)
{
    uint64_t applied = tr_load_acquire(&s->applied); /* (A) */
    uint64_t taken = tr_load_acquire(&s->taken);     /* (T) */
    uint64_t floor = tr_load_acquire(&s->floor);     /* (F) */
    s->command.back_seen = tr_min_u64(applied, taken);
    s->command.released_seen = tr_min_u64(floor, taken);
}

/* Offset of room for `bytes`; UINT32_MAX: none. The room begins anew at the front when the lane is
 * empty, so that a lane that is little used stays in the cache. */
static uint32_t find_room(const struct tr_lane *lane, uint32_t bytes)
{
    uint32_t size = lane->memory_bytes;
    if (lane->released_seen == lane->submitted)
        return 0;
    if (lane->submitted - lane->back_seen >= lane->window ||
        lane->submitted - lane->released_seen > lane->mask)
        return UINT32_MAX;
    uint32_t head = tr_lane_item(lane, lane->released_seen + 1)->offset;
    if (lane->tail <= head)
        return head - lane->tail > bytes ? lane->tail : UINT32_MAX;
    /* To the front as soon as that has room for as much as is in flight: a lane uses, and keeps in
     * the cache, no more than it must. */
    if (head > lane->tail - head + bytes)
        return 0;
    if (size - lane->tail >= bytes)
        return lane->tail;
    return head > bytes ? 0 : UINT32_MAX;
}

static uint32_t padded(uint32_t bytes)
{
    return tr_max_u32(tr_align_up_u32(bytes, ITEM_ALIGN), ITEM_ALIGN);
}

/* Why a session that is not open refuses. */
static int refusal(const struct tr_session *s)
{
    switch ((enum tr_session_state)tr_load_relaxed(&s->state)) {
    case TR_SESSION_OPEN:
        return TR_OK;
    case TR_SESSION_EVICTED:
        return TR_ESESSION;
    case TR_SESSION_CLOSED:
        return TR_ECLOSED;
    }
    tr_unreachable();
}

void *tr_submit_reserve(struct tr_session *s, uint32_t bytes, int *status)
{
    struct tr_lane *lane = &s->command;
    if (tr_unlikely(bytes > s->command_bytes_max)) {
        *status = TR_ETOOBIG;
        return NULL;
    }
    if (tr_unlikely((*status = refusal(s)) != TR_OK))
        return NULL;
    if (lane->submitted - lane->back_seen >= lane->look)
        look_at_commands(s);
    lane->reserved = find_room(lane, padded(bytes));
    if (tr_unlikely(lane->reserved == UINT32_MAX)) {
        look_at_commands(s);
        lane->reserved = find_room(lane, padded(bytes));
    }
    if (tr_unlikely(lane->reserved == UINT32_MAX)) {
        *status = TR_AGAIN;
        return NULL;
    }
    return lane->memory + lane->reserved;
}

/* Makes the item in the reserved room the next of its lane. */
static void commit_item(struct tr_session *s, struct tr_lane *lane, uint32_t bytes, void *user,
                        uint64_t after)
{
    uint64_t number = lane->submitted + 1;
    struct tr_item *item = tr_lane_item(lane, number);
    bool stamped = s->stamped != 0 || (number & (TR_SAMPLE_EVERY - 1)) == 0;
    item->user = user;
    item->submitted_ns = stamped ? tr_clock_now_ns(&s->clock) : 0;
    item->after = after;
    item->offset = lane->reserved;
    item->bytes = bytes;
    lane->tail = lane->reserved + padded(bytes);
    tr_store_release(&lane->submitted, number); /* (S) */
    tr_idle_wake(s->agent_wait);
}

void tr_submit_commit(struct tr_session *s, uint32_t bytes, void *user)
{
    commit_item(s, &s->command, bytes, user, 0);
}

int tr_submit(struct tr_session *s, const void *data, uint32_t bytes, void *user)
{
    int status;
    void *room = tr_submit_reserve(s, bytes, &status);
    if (tr_unlikely(room == NULL))
        return status;
    if (bytes != 0)
        memcpy(room, data, bytes);
    commit_item(s, &s->command, bytes, user, 0);
    return TR_OK;
}

/* Queues a read; flags: 0 or TR_READ_LOCAL. */
static int submit_read(struct tr_session *s, const void *query, uint32_t bytes, void *user,
                       uint64_t flags)
{
    struct tr_lane *lane = &s->read;
    int status = refusal(s);
    if (tr_unlikely(bytes > s->command_bytes_max))
        return TR_ETOOBIG;
    if (tr_unlikely(status != TR_OK))
        return status;
    lane->back_seen = tr_load_acquire(&s->reads_taken); /* (T) */
    lane->released_seen = lane->back_seen;
    lane->reserved = find_room(lane, padded(bytes));
    if (lane->reserved == UINT32_MAX)
        return TR_AGAIN;
    if (bytes != 0)
        memcpy(lane->memory + lane->reserved, query, bytes);
    commit_item(s, lane, bytes, user, s->command.submitted | flags);
    return TR_OK;
}

int tr_read(struct tr_session *s, const void *query, uint32_t bytes, void *user)
{
    return submit_read(s, query, bytes, user, 0);
}

int tr_read_local(struct tr_session *s, const void *query, uint32_t bytes, void *user)
{
    return submit_read(s, query, bytes, user, TR_READ_LOCAL);
}

/* ---- completion, the apply stage's end */

/* Room for a reply in the ring: where it begins, or UINT64_MAX. */
static uint64_t reply_room(struct tr_session *s, uint32_t bytes)
{
    uint64_t head = tr_max_u64(tr_load_acquire(&s->reply_head), s->reply_base); /* (R) */
    uint64_t mask = s->reply_bytes - 1;
    uint64_t at = s->reply_tail;
    uint32_t need = tr_align_up_u32(bytes, ITEM_ALIGN);
    if (head == at)
        s->reply_base = head = at = tr_align_up_u64(at, s->reply_bytes); /* empty: to the front */
    else if ((at & mask) + need > s->reply_bytes)
        at = tr_align_up_u64(at, s->reply_bytes);
    return at + need - head <= s->reply_bytes ? at : UINT64_MAX;
}

static bool deliver_to_ring(struct tr_session *s, const struct tr_completion *completion)
{
    uint64_t index = tr_load_relaxed(&s->completions);
    struct tr_completion *to = &s->done[index & s->done_mask];
    uint64_t at = s->reply_tail;
    if (completion->reply_bytes != 0) {
        at = reply_room(s, completion->reply_bytes);
        if (at == UINT64_MAX)
            return false;
        uint8_t *reply = s->reply + (at & (s->reply_bytes - 1));
        memcpy(reply, completion->reply, completion->reply_bytes);
        *to = *completion;
        to->reply = reply;
        at += tr_align_up_u32(completion->reply_bytes, ITEM_ALIGN);
    } else {
        *to = *completion;
        to->reply = NULL;
    }
    s->reply_tail = at;
    s->done_reply_end[index & s->done_mask] = at;
    tr_store_release(&s->completions, index + 1); /* (C) */
    tr_fence_signal();
    if (tr_unlikely(tr_load_relaxed(&s->waits) != 0))
        tr_session_unwait(s);
    return true;
}

bool tr_session_deliver(struct tr_session *s, const struct tr_completion *completion, bool is_read)
{
    if (s->on_complete == NULL)
        return deliver_to_ring(s, completion);
    tr_atomic_u64 *taken = is_read ? &s->reads_taken : &s->taken;
    tr_store_release(taken, tr_load_relaxed(taken) + 1); /* (T): the room is free in the callback */
    if (tr_likely(tr_load_acquire(&s->closing) == 0))
        s->on_complete(s->on_complete_context, completion);
    return true;
}

void tr_session_unwait(struct tr_session *s)
{
    tr_fence_full(); /* (W) */
    if (tr_load_relaxed(&s->waiting) != 0 && tr_exchange_acq_rel(&s->waiting, 0u) != 0)
        syscall(SYS_futex, &s->waiting, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* ---- completion, the application's end */

/* Whether the node is closed and the library out of the session: the application has it alone. */
static bool is_abandoned(const struct tr_session *s)
{
    return tr_load_relaxed(&s->state) == TR_SESSION_CLOSED &&
           tr_load_acquire(&s->quiet) != 0; /* (Q) */
}

/* Puts the completion of an item that a closed node has left into the ring. */
static void abandon(struct tr_session *s, const struct tr_item *item, uint64_t sequence)
{
    struct tr_completion c = {.user = item->user, .sequence = sequence, .status = TR_ECLOSED};
    if (s->stamped != 0) {
        c.submitted_ns = item->submitted_ns;
        c.completed_ns = tr_clock_now_ns(&s->clock);
    }
    deliver_to_ring(s, &c); /* without a reply: it has room */
}

/* Ends what a closed node has left: commands, then reads. */
static tr_noinline void abandon_all(struct tr_session *s)
{
    while (s->completed < s->command.submitted) {
        s->completed++;
        abandon(s, tr_lane_item(&s->command, s->completed), s->completed);
    }
    while (s->reads_done < s->read.submitted) {
        s->reads_done++;
        abandon(s, tr_lane_item(&s->read, s->reads_done), 0);
    }
    s->completions_seen = s->completions;
}

uint32_t tr_session_poll(struct tr_session *s, struct tr_completion *out, uint32_t max)
{
    uint64_t commands = 0, reads = 0;
    uint32_t count = 0;
    if (s->on_complete != NULL)
        return 0;
    if (s->reply_head_next != s->reply_head)
        tr_store_release(&s->reply_head, s->reply_head_next); /* (R) */
    if (s->completions_seen == s->completions_taken)
        s->completions_seen = tr_load_acquire(&s->completions); /* (C) */
    if (s->completions_seen == s->completions_taken && tr_unlikely(is_abandoned(s)))
        abandon_all(s);
    for (; count < max && s->completions_taken != s->completions_seen; count++) {
        uint64_t index = s->completions_taken++ & s->done_mask;
        out[count] = s->done[index];
        s->reply_head_next = s->done_reply_end[index];
        commands += out[count].sequence != 0;
        reads += out[count].sequence == 0;
    }
    if (commands != 0)
        tr_store_release(&s->taken, s->taken + commands); /* (T) */
    if (reads != 0)
        tr_store_release(&s->reads_taken, s->reads_taken + reads); /* (T) */
    return count;
}

void tr_session_begin_after(struct tr_session *s, uint64_t sequence)
{
    s->base = sequence;
    s->command.submitted = s->command.back_seen = s->command.released_seen = sequence;
    s->floor = s->proposed = s->applied_seen = sequence;
    s->applied = s->completed = s->taken = sequence;
}

void tr_session_give_back(struct tr_session *s, uint64_t upto, uint64_t acked)
{
    uint64_t commands = 0, reads = 0;
    for (; s->completions_taken != upto; s->completions_taken++) {
        uint64_t index = s->completions_taken & s->done_mask;
        uint64_t sequence = s->done[index].sequence;
        if (sequence > acked)
            break;
        s->reply_head_next = s->done_reply_end[index];
        commands += sequence != 0;
        reads += sequence == 0;
    }
    if (commands + reads == 0)
        return;
    tr_store_release(&s->reply_head, s->reply_head_next);      /* (R) */
    tr_store_release(&s->taken, s->taken + commands);          /* (T) */
    tr_store_release(&s->reads_taken, s->reads_taken + reads); /* (T) */
}

/* Sleeps until a completion may be there. */
static void wait_some(struct tr_session *s, uint64_t left_ns)
{
    if (s->waits_known == 0) {
        tr_store_relaxed(&s->waits, 1u); /* (W) */
        s->waits_known = tr_membarrier();
    }
    uint64_t ns = s->waits_known != 0 ? left_ns : tr_min_u64(left_ns, WAIT_NS_MAX);
    ns = tr_min_u64(ns, WAIT_NS_LONGEST);
    struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000),
                               .tv_nsec = (long)(ns % 1000000000)};
    tr_store_relaxed(&s->waiting, 1u);
    tr_fence_full();                                                                  /* (W) */
    if (tr_load_acquire(&s->completions) == s->completions_taken && !is_abandoned(s)) /* (C) */
        syscall(SYS_futex, &s->waiting, FUTEX_WAIT_PRIVATE, 1u, &timeout, NULL, 0);
    tr_store_relaxed(&s->waiting, 0u);
}

uint32_t tr_session_wait(struct tr_session *s, struct tr_completion *out, uint32_t max,
                         uint64_t timeout_us)
{
    uint64_t begin_ns = tr_clock_now_ns(&s->clock);
    uint64_t limit_ns = timeout_us > UINT64_MAX / 2000 ? UINT64_MAX / 2 : timeout_us * 1000;
    for (uint32_t turn = 0;; turn++) {
        bool last = is_abandoned(s); /* what a poll from here on does not bring never comes */
        uint32_t count = tr_session_poll(s, out, max);
        uint64_t waited_ns = tr_clock_now_ns(&s->clock) - begin_ns;
        if (count != 0 || last || waited_ns >= limit_ns)
            return count;
        if (turn < WAIT_SPINS)
            tr_cpu_pause();
        else
            wait_some(s, limit_ns - waited_ns);
    }
}

uint32_t tr_session_pending(const struct tr_session *s)
{
    uint64_t commands = s->command.submitted - tr_load_acquire(&s->taken);
    uint64_t reads = s->read.submitted - tr_load_acquire(&s->reads_taken);
    return (uint32_t)(commands + reads);
}
