/* The ring of replies of the session table. */
#include "consensus/session_state.h"

void tr_sessions_fill(struct tr_sessions *t, uint64_t position, uint64_t units)
{
    struct tr_replies_run *filler = replies_at(t, position);
    memset(filler, 0, sizeof(*filler));
    filler->units = (uint32_t)units;
}

/* Units to skip at the ring's end, so that so many lie in one piece. */
static inline uint64_t units_skipped(const struct tr_sessions *t, uint64_t units)
{
    uint64_t left = t->units - (t->units_head & (t->units - 1));
    return tr_likely(units <= left) ? 0 : left;
}

/* Takes units at the head, which must be free. Returns their position. */
static inline uint64_t take(struct tr_sessions *t, uint64_t skipped, uint64_t units)
{
    if (tr_unlikely(skipped != 0)) {
        tr_sessions_fill(t, t->units_head, skipped);
        t->units_head += skipped;
    }
    uint64_t position = t->units_head;
    t->units_head += units;
    tr_assert_hot(t->units_head - t->units_tail <= t->units);
    return position;
}

/* Moves the oldest run of replies, which is still wanted, to the head. */
static void move_oldest(struct tr_sessions *t, struct tr_session_entry *e,
                        const struct tr_replies_run *old)
{
    uint32_t units = old->units;
    uint64_t skipped = units_skipped(t, units);
    tr_assert(t->units_head + skipped + units - t->units_tail <= t->units);
    uint64_t position = take(t, skipped, units);
    struct tr_replies_run *run = replies_at(t, position);
    memcpy(run, old, (size_t)units * TR_REPLY_UNIT);
    run->moved = 1;
    replies_chain(e, run, position);
    t->moved_count++;
}

/* Whether the limits let a run of replies move on; what has moved once goes on doing so. */
static bool may_move(const struct tr_sessions *t, const struct tr_session_entry *e,
                     const struct tr_replies_run *run)
{
    return run->moved != 0 || (e->units_moved + run->units <= t->units / TR_REPLY_SESSION_SHARE &&
                               t->units_moved + run->units <= t->units / TR_REPLY_MOVED_SHARE);
}

/* Frees the oldest run of replies where it has moved, or is wanted. Returns sessions evicted. */
static tr_noinline uint32_t free_rare(struct tr_sessions *t, struct tr_session_entry *e,
                                      const struct tr_replies_run *run)
{
    uint32_t units = run->units;
    uint32_t evicted = 0;
    if (replies_end(run) - 1 <= e->acked) {
        e->units_moved -= units;
        t->units_moved -= units;
    } else if (may_move(t, e, run)) {
        if (run->moved == 0) {
            e->units_moved += units;
            t->units_moved += units;
        }
        move_oldest(t, e, run);
    } else {
        tr_sessions_remove(t, e);
        t->evicted_count++;
        evicted = 1;
    }
    t->units_tail += units;
    return evicted;
}

/* Frees the oldest run of replies. Returns sessions evicted. */
static inline uint32_t free_oldest(struct tr_sessions *t)
{
    const struct tr_replies_run *run = replies_at(t, t->units_tail);
    struct tr_session_entry *e = &t->entry[run->index];
    if (tr_likely(!tr_sessions_keeps(t, run))) {
        t->units_tail += run->units;
        return 0;
    }
    if (TR_CANARY(t->canary, SESSION_REPLY_OVERTAKEN) && !run->moved) {
        t->units_tail += run->units;
        return 0;
    }
    return free_rare(t, e, run);
}

/* Makes room for so many units in one piece. Returns sessions evicted. */
static inline uint32_t make_room(struct tr_sessions *t, uint64_t units)
{
    uint32_t evicted = 0;
    /* Bounded by the runs of replies in the ring: once around, only those remain that have moved,
     * and the shares add up to less than what is usable. */
    while (t->units_head + units_skipped(t, units) + units - t->units_tail > t->units_usable)
        evicted += free_oldest(t);
    return evicted;
}

/* Writes the run of replies after its header. */
static inline void store(struct tr_replies_run *run, const uint32_t *lengths, const void *replies,
                         uint64_t replies_bytes)
{
    uint8_t *at = (uint8_t *)(run + 1);
    uint32_t count = run->count;
    if (count == 1) {
        uint64_t only = lengths[0];
        memcpy(at, &only, sizeof(only));
        at += sizeof(only);
    } else {
        uint32_t bytes = replies_lengths_bytes(count);
        memset(at + bytes - 8, 0, 8);
        memcpy(at, lengths, count * sizeof(*lengths));
        at += bytes;
    }
    if (replies_bytes != 0)
        memcpy(at, replies, replies_bytes);
}

uint32_t tr_sessions_complete(struct tr_sessions *t, const struct tr_run_view *view, uint32_t skip,
                              const uint32_t *lengths, const void *replies, uint64_t replies_bytes)
{
    const struct tr_run *run = view->run;
    struct tr_session_entry *e = &t->entry[t->last];
    tr_assert(e->number == run->session && skip <= run->count);
    uint32_t count = run->count - skip;
    if (tr_unlikely(count == 0))
        return 0;
    uint64_t sequence = run->sequence + skip;
    tr_assert(sequence == e->applied + 1);
    tr_assert(replies_bytes % 8 == 0 && (lengths != NULL || replies_bytes == 0));
    e->applied += count;
    uint64_t body_bytes = lengths != NULL ? replies_lengths_bytes(count) + replies_bytes : 0;
    uint64_t units = replies_units(body_bytes);
    if (tr_unlikely(units > t->units / TR_REPLY_RUN_SHARE)) {
        t->uncached_count++;
        return 0;
    }
    uint32_t evicted = make_room(t, units);
    if (tr_unlikely(e->number != run->session))
        return evicted;
    uint64_t position = take(t, units_skipped(t, units), units);
    struct tr_replies_run *kept = replies_at(t, position);
    kept->number = run->session;
    kept->sequence = sequence;
    kept->units = (uint32_t)units;
    kept->index = t->last;
    kept->count = (uint16_t)count;
    kept->has_lengths = lengths != NULL;
    kept->moved = 0;
    replies_chain(e, kept, position);
    if (lengths != NULL)
        store(kept, lengths, replies, replies_bytes);
    return evicted;
}

/* The session's run of replies that has this sequence, or NULL. */
static const struct tr_replies_run *
find_replies(const struct tr_sessions *t, const struct tr_session_entry *e, uint64_t sequence)
{
    uint64_t position = e->replies_last;
    /* A chain goes down, and ends below the tail: fewer steps than units. */
    while (position >= t->units_tail) {
        const struct tr_replies_run *run = replies_at(t, position);
        if (sequence - run->sequence < run->count)
            return run;
        if (run->back == 0)
            return NULL;
        position -= run->back;
    }
    return NULL;
}

bool tr_sessions_reply(const struct tr_sessions *t, uint64_t session, uint64_t sequence,
                       const void **data, uint32_t *bytes)
{
    const struct tr_session_entry *e = tr_sessions_find(t, session);
    if (e == NULL || sequence <= e->acked || sequence > e->applied)
        return false;
    const struct tr_replies_run *run = find_replies(t, e, sequence);
    if (run == NULL)
        return false;
    const uint32_t *lengths = (const uint32_t *)(const void *)(run + 1);
    const uint8_t *at = (const uint8_t *)(run + 1);
    uint32_t length = 0;
    if (run->has_lengths) {
        at += replies_lengths_bytes(run->count);
        for (uint64_t i = run->sequence; i < sequence; i++)
            at += tr_align_up_u64(lengths[i - run->sequence], 8);
        length = lengths[sequence - run->sequence];
    }
    *data = at;
    *bytes = length;
    return true;
}
