/* A bounded lock-free ring from any number of producers to one consumer, in memory that the caller
 * provides and that processes may share (nothing in it is an address). Elements are copied; every
 * element that is enqueued is dequeued once; those of one producer stay in order, those of one
 * burst together.
 *
 * A producer claims places by moving tail, fills them, and publishes each by writing its sequence,
 * index + 1, into it. A producer that is stopped between the two holds back what was claimed after
 * it, until it goes on.
 *
 * Memory order.
 *   (A) a producer releases a place's sequence after it filled the place; the consumer acquires the
 *       sequence before it reads the place.
 *   (B) the consumer releases head after it read the places below it; a producer acquires head
 * before it claims and fills them again. tail itself orders nothing: who claims a place again has
 * seen (B) for it on its own. Source: Vyukov, "Bounded MPMC queue", 1024cores; the burst claim of
 * DPDK lib/ring. */
#ifndef TR_BASE_RING_MPSC_H
#define TR_BASE_RING_MPSC_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/bytes.h"
#include "base/ring_slots.h"
#include "base/types.h"

TR_BEGIN_C

/* The ring; its places follow at once. */
struct tr_ring_mpsc {
    /* Constant after init. */
    uint32_t capacity; /* elements, a power of two */
    uint32_t element_bytes;
    uint32_t stride_bytes; /* of a place: its sequence and its element, a multiple of 8 */
    /* Written by the producers. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 tail; /* elements ever claimed */
    /* Written by the consumer only. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 head; /* elements ever dequeued; head <= tail */
};

/* One place: its element follows at once. */
struct tr_ring_mpsc_place {
    tr_atomic_u64 sequence; /* index + 1 of the element in it; anything lower: not yet filled */
};

/* Bytes from one place to the next. */
static inline uint32_t tr_ring_mpsc_stride_bytes(uint32_t element_bytes)
{
    return (uint32_t)sizeof(struct tr_ring_mpsc_place) + tr_align_up_u32(element_bytes, 8);
}

/* Memory that a ring takes, for capacity elements (a power of two).
 * Units: bytes, a multiple of a cache line; the memory must be aligned to one. */
static inline size_t tr_ring_mpsc_bytes(uint32_t capacity, uint32_t element_bytes)
{
    uint64_t slots = (uint64_t)capacity * tr_ring_mpsc_stride_bytes(element_bytes);
    return (size_t)(sizeof(struct tr_ring_mpsc) + tr_align_up_u64(slots, TR_CACHE_LINE));
}

/* The place of the element with this index. */
static inline struct tr_ring_mpsc_place *tr_ring_mpsc_place_at(struct tr_ring_mpsc *r,
                                                               uint64_t index)
{
    unsigned char *slots = (unsigned char *)(r + 1);
    size_t offset_bytes = (size_t)(index & (r->capacity - 1)) * r->stride_bytes;
    return (struct tr_ring_mpsc_place *)(void *)(slots + offset_bytes);
}

/* Makes an empty ring. Thread: before any side uses it. */
static inline void tr_ring_mpsc_init(struct tr_ring_mpsc *r, uint32_t capacity,
                                     uint32_t element_bytes)
{
    tr_assert(tr_is_power_of_two(capacity));
    tr_assert(element_bytes > 0);
    r->capacity = capacity;
    r->element_bytes = element_bytes;
    r->stride_bytes = tr_ring_mpsc_stride_bytes(element_bytes);
    tr_store_relaxed(&r->head, UINT64_C(0));
    tr_store_relaxed(&r->tail, UINT64_C(0));
    for (uint32_t i = 0; i < capacity; i++)
        tr_store_relaxed(&tr_ring_mpsc_place_at(r, i)->sequence, UINT64_C(0));
}

/* Claims up to count places for the calling producer.
 * Thread: any producer.  Returns: how many, and the index of the first in *first if any. */
static inline uint32_t tr_ring_mpsc_claim(struct tr_ring_mpsc *r, uint32_t count, uint64_t *first)
{
    uint64_t tail = tr_load_relaxed(&r->tail);
    uint64_t n;
    do {
        uint64_t head = tr_load_acquire(&r->head); /* (B), meets tr_ring_mpsc_release */
        /* Nothing orders the two loads among producers. head may be older than the claims that tail
         * counts: no room then, or less. tail may be the older: too much room, but the swap fails.
         */
        int64_t room = (int64_t)r->capacity - (int64_t)(tail - head);
        if (room <= 0 || count == 0)
            return 0;
        n = tr_min_u64(count, (uint64_t)room);
    } while (!tr_cas_weak_relaxed(&r->tail, &tail, tail + n));
    *first = tail;
    return (uint32_t)n;
}

/* Fills a claimed place and hands it to the consumer. Thread: the producer that claimed it. */
static inline void tr_ring_mpsc_fill(struct tr_ring_mpsc *r, uint64_t index, const void *element)
{
    struct tr_ring_mpsc_place *slot = tr_ring_mpsc_place_at(r, index);
    tr_ring_slots_write(slot + 1, element, r->element_bytes);
    tr_store_release(&slot->sequence, index + 1); /* (A), meets tr_ring_mpsc_peek */
}

/* Copies in up to count elements, as one burst.
 * Thread: any producer.  Returns: how many there was room for, the first of them. */
static inline uint32_t tr_ring_mpsc_enqueue(struct tr_ring_mpsc *r, const void *elements,
                                            uint32_t count)
{
    const unsigned char *from = (const unsigned char *)elements;
    uint64_t first = 0;
    uint32_t n = tr_ring_mpsc_claim(r, count, &first);
    for (uint32_t i = 0; i < n; i++)
        tr_ring_mpsc_fill(r, first + i, from + (size_t)i * r->element_bytes);
    return n;
}

/* The element with this index, in place, if its producer has published it.
 * Thread: the consumer; index is head or follows on published ones.  Returns: NULL if not yet. */
static inline const void *tr_ring_mpsc_peek(struct tr_ring_mpsc *r, uint64_t index)
{
    struct tr_ring_mpsc_place *slot = tr_ring_mpsc_place_at(r, index);
    uint64_t sequence = tr_load_acquire(&slot->sequence); /* (A), meets tr_ring_mpsc_fill */
    return sequence == index + 1 ? slot + 1 : NULL;
}

/* Gives the places of the first elements, which were read, back to the producers.
 * Thread: the consumer. */
static inline void tr_ring_mpsc_release(struct tr_ring_mpsc *r, uint32_t count)
{
    uint64_t head = tr_load_relaxed(&r->head);
    tr_store_release(&r->head, head + count); /* (B), meets tr_ring_mpsc_claim */
}

/* Copies out up to count elements.
 * Thread: the consumer.  Returns: how many there were. */
static inline uint32_t tr_ring_mpsc_dequeue(struct tr_ring_mpsc *r, void *elements, uint32_t count)
{
    unsigned char *to = (unsigned char *)elements;
    uint64_t head = tr_load_relaxed(&r->head);
    uint32_t n = 0;
    for (; n < count; n++) {
        const void *element = tr_ring_mpsc_peek(r, head + n);
        if (element == NULL)
            break;
        tr_ring_slots_read(to + (size_t)n * r->element_bytes, element, r->element_bytes);
    }
    if (n > 0)
        tr_ring_mpsc_release(r, n);
    return n;
}

/* Elements claimed and not dequeued, as of some moment between the call and its return. Thread:
 * any. */
static inline uint32_t tr_ring_mpsc_count(const struct tr_ring_mpsc *r)
{
    uint64_t head = tr_load_acquire(&r->head); /* before tail, so that the difference is not < 0 */
    uint64_t count = tr_load_relaxed(&r->tail) - head;
    return (uint32_t)tr_min_u64(count, r->capacity);
}

TR_END_C

#endif
