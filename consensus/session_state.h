/*
 * What the files of the session table share: finding, touching and evicting sessions, and how runs
 * of replies lie in the ring. Nobody else includes it.
 */
#ifndef TR_CONSENSUS_SESSION_STATE_H
#define TR_CONSENSUS_SESSION_STATE_H

#include "base/assert.h"
#include "base/bytes.h"
#include "base/canary.h"
#include "consensus/session.h"

TR_BEGIN_C

/** The replies of a run, as they lie in the ring. After it: `count` lengths (uint32_t, padded to 8
 * bytes together) when it has any; then the replies, each padded to 8 bytes. It never crosses the
 * ring's end: one with number 0 fills what is left, and what nobody wants after a load. */
struct tr_replies_run {
    uint64_t number;   /* of the session; 0: nobody's */
    uint64_t sequence; /* of the first command */
    uint32_t back;     /* units back to the session's previous run of replies; 0: none */
    uint32_t units;    /* that it takes */
    uint32_t index;    /* of the session's entry; it is another's when the numbers differ */
    uint16_t count;
    uint8_t has_lengths; /* 0: every reply is empty */
    uint8_t moved;       /* 1: it has moved on at least once */
};

tr_static_assert(sizeof(struct tr_replies_run) == TR_REPLY_UNIT, "a header is a unit");

/** Where a session without replies has its last: chains end below the tail, and positions begin at
 * the ring's size, so this is below all. */
#define TR_REPLIES_NONE UINT64_C(0)

/** The run of replies at a position. */
static inline struct tr_replies_run *replies_at(const struct tr_sessions *t, uint64_t position)
{
    return &t->replies[position & (t->units - 1)];
}

/** The sequence after the last of a run of replies; 0 for a filler. */
static inline uint64_t replies_end(const struct tr_replies_run *run)
{
    return run->sequence + run->count;
}

/** Links the run of replies at a position as the session's last. */
static inline void replies_chain(struct tr_session_entry *e, struct tr_replies_run *run,
                                 uint64_t position)
{
    uint64_t back = position - e->replies_last;
    run->back = back <= UINT32_MAX ? (uint32_t)back : 0;
    e->replies_last = position;
}

/** Bytes of the lengths of so many replies. */
static inline uint32_t replies_lengths_bytes(uint32_t count)
{
    return tr_align_up_u32(count * (uint32_t)sizeof(uint32_t), 8);
}

/** Units that a run of replies takes with so many bytes of lengths and replies. */
static inline uint64_t replies_units(uint64_t body_bytes)
{
    return 1 + (body_bytes + TR_REPLY_UNIT - 1) / TR_REPLY_UNIT;
}

/** Where a session lies in the table. */
static inline uint32_t tr_sessions_index(const struct tr_sessions *t,
                                         const struct tr_session_entry *e)
{
    return (uint32_t)(e - t->entry);
}

/** Takes a session out of the order of touch. */
static inline void tr_sessions_order_unlink(struct tr_sessions *t, struct tr_session_entry *e)
{
    t->entry[e->older].newer = e->newer;
    t->entry[e->newer].older = e->older;
}

/** Puts a session into the order of touch as the last. */
static inline void tr_sessions_order_append(struct tr_sessions *t, struct tr_session_entry *e)
{
    struct tr_session_entry *ends = &t->entry[t->sessions_max];
    uint32_t index = tr_sessions_index(t, e);
    e->newer = t->sessions_max;
    e->older = ends->older;
    t->entry[e->older].newer = index;
    ends->older = index;
}

/** Makes a session the one touched last. */
static inline void tr_sessions_touch(struct tr_sessions *t, struct tr_session_entry *e)
{
    if (tr_likely(e->newer == t->sessions_max))
        return;
    tr_sessions_order_unlink(t, e);
    tr_sessions_order_append(t, e);
}

/** Whether the ring must keep a run of replies when it comes round: it is wanted, or counts as
 * moved. */
static inline bool tr_sessions_keeps(const struct tr_sessions *t, const struct tr_replies_run *run)
{
    const struct tr_session_entry *e = &t->entry[run->index];
    return e->number == run->number && (replies_end(run) > e->acked + 1 || run->moved != 0);
}

/** The session of this number, or NULL. */
struct tr_session_entry *tr_sessions_find(const struct tr_sessions *t, uint64_t number);

/** Adds a session as the one touched last. Returns NULL when the number or the nonce is taken; the
 * table must have room. */
struct tr_session_entry *tr_sessions_add(struct tr_sessions *t, uint64_t number,
                                         const uint8_t *nonce);

/** Removes a session; its replies lie about until the ring comes round to them. */
void tr_sessions_remove(struct tr_sessions *t, struct tr_session_entry *e);

/** Empties the table. */
void tr_sessions_clear(struct tr_sessions *t);

/** Writes a filler of so many units at a position. */
void tr_sessions_fill(struct tr_sessions *t, uint64_t position, uint64_t units);

TR_END_C

#endif
