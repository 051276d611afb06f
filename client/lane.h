/*
 * What a client has submitted and not yet got an answer to: commands in one lane, reads in another.
 *
 * Items are numbered from 1. They stay until their reply is here: they are what is sent again.
 *     replied <= sent <= submitted,  replied <= completed <= submitted,  taken <= completed
 * where completed can pass replied (deadlines).
 */
#ifndef TR_CLIENT_LANE_H
#define TR_CLIENT_LANE_H

#include "base/types.h"

TR_BEGIN_C

struct tr_client_item {
    void *user;
    uint64_t submitted_ns;
    uint64_t after;    /* reads: the last command submitted before it */
    uint64_t position; /* of its bytes */
    uint32_t bytes;
    uint32_t flags; /* reads: of enum tr_wire_read_flag */
};

struct tr_client_lane {
    struct tr_client_item *item; /* item n lies at n & mask */
    uint8_t *memory;             /* memory_bytes, a power of two */
    uint64_t memory_bytes;
    uint64_t head, tail; /* positions of the bytes in use, since the beginning of time */
    uint32_t mask, window;
    uint64_t submitted;
    uint64_t sent;      /* to the node attached to */
    uint64_t replied;   /* the replies up to here have come */
    uint64_t completed; /* the completions up to here are queued */
    uint64_t taken;     /* by the application */
};

/* Bytes of memory of a lane: a window (a power of two) of items, and bytes (a power of two). */
uint64_t tr_client_lane_bytes(uint32_t window, uint64_t memory_bytes);

/* Lays a lane out in that much memory, aligned to 64. */
void tr_client_lane_init(struct tr_client_lane *lane, void *memory, uint32_t window,
                         uint64_t memory_bytes);

/* Item n; it must be one that is kept. */
static inline struct tr_client_item *tr_client_lane_item(const struct tr_client_lane *lane,
                                                         uint64_t n)
{
    return &lane->item[n & lane->mask];
}

/* Where the bytes of an item lie. */
static inline const uint8_t *tr_client_lane_data(const struct tr_client_lane *lane,
                                                 const struct tr_client_item *item)
{
    return lane->memory + (item->position & (lane->memory_bytes - 1));
}

/* Adds a copy of the bytes as the next item. Returns it, or NULL when window or memory is full. */
struct tr_client_item *tr_client_lane_add(struct tr_client_lane *lane, const void *data,
                                          uint32_t bytes);

/* The reply of item n has come: what lies up to it may be written again. */
void tr_client_lane_reply(struct tr_client_lane *lane, uint64_t n);

TR_END_C

#endif
