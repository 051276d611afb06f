/*
 * Effects held back by a BARRIER until what was persisted before it is durable.
 *
 * A queue of deep copies: headers and pieces lie in memory of the queue's own, since what they
 * point to changes with the next step. PERSIST passes a barrier: nothing observable depends on it,
 * and entries of later steps can so share one write (group commit). So does REJECT, the answer to
 * the caller of its own step.
 *
 * A disk may stall for seconds while timers go on: what they repeat takes no more room then. A SEND
 * leaves half of the queue free, or is dropped; a COMMIT, a READ_READY or a REPLICATE becomes one
 * with its like behind the same barrier. What is left comes with messages and proposals, of which a
 * crowded queue takes none.
 */
#ifndef TR_DATAPLANE_HOLD_H
#define TR_DATAPLANE_HOLD_H

#include "base/types.h"
#include "consensus/effect.h"

TR_BEGIN_C

/* Effects and bytes that a queue holds. */
#define TR_HOLD_EFFECTS 1024u
#define TR_HOLD_BYTES   (4u << 20)

struct tr_held {
    struct tr_effect effect;
    uint64_t bytes_end; /* position after its copied pieces */
    uint64_t persisted; /* BARRIER: the PERSIST that it waits for */
};

struct tr_hold {
    struct tr_held *held; /* NULL: this group never persists */
    uint8_t *bytes;
    uint64_t head, tail; /* effects */
    uint64_t bytes_head, bytes_tail;
    uint64_t persist_last; /* sequence of the last PERSIST carried out */
    uint64_t durable;      /* up to here everything is on disk */
    uint64_t dropped;      /* SENDs lost for want of room */
};

/* Memory of a queue. */
uint64_t tr_hold_memory_bytes(void);
void tr_hold_init(struct tr_hold *h, void *memory);

/* Whether something is held back: then everything else is, too. */
static inline bool tr_hold_is_waiting(const struct tr_hold *h)
{
    return h->head != h->tail;
}

/* Whether the queue is so full that no more events should be fed. */
bool tr_hold_is_crowded(const struct tr_hold *h);
/* A BARRIER: whatever follows waits for the last PERSIST. Nothing when that is durable already. */
void tr_hold_barrier(struct tr_hold *h);
/* Keeps a copy of an effect. A SEND may be dropped for want of room, and is counted. */
void tr_hold_push(struct tr_hold *h, const struct tr_effect *e);
/* The next effect that may be carried out now, or NULL; valid until tr_hold_pop. */
const struct tr_effect *tr_hold_next(struct tr_hold *h);
void tr_hold_pop(struct tr_hold *h);

TR_END_C

#endif
