/* A bounded lock-free ring from one producer to one consumer, in memory that the caller provides
 * and that processes may share (nothing in it is an address). Elements are copied; every element
 * that is enqueued is dequeued once, in order.
 *
 * Memory order. The producer owns tail, the consumer owns head; both only grow.
 *   (A) the producer releases tail after it filled the places below it; the consumer acquires tail
 *       before it reads them.
 *   (B) the consumer releases head after it read the places below it; the producer acquires head
 *       before it fills them again.
 * Each side keeps a copy of the other's index and looks again only when the copy says full or
 * empty, so that an index's cache line moves once a burst. Source: the style of DPDK lib/ring and
 * Concurrency Kit ck_ring; Lee and others, "A Lock-Free, Cache-Efficient Multi-Core Synchronization
 * Mechanism" (MCRingBuffer), 2010. */
#ifndef TR_BASE_RING_SPSC_H
#define TR_BASE_RING_SPSC_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/bytes.h"
#include "base/ring_slots.h"
#include "base/types.h"

TR_BEGIN_C

/* The ring; its places follow at once. */
struct tr_ring_spsc {
    /* Constant after init. */
    uint32_t capacity; /* elements, a power of two */
    uint32_t element_bytes;
    /* Written by the producer only. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 tail; /* elements ever enqueued */
    uint64_t head_seen;                           /* head_seen <= head */
    /* Written by the consumer only. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 head; /* elements ever dequeued; head <= tail */
    uint64_t tail_seen;                           /* tail_seen <= tail */
};

/* Memory that a ring takes, for capacity elements (a power of two).
 * Units: bytes, a multiple of a cache line; the memory must be aligned to one. */
static inline size_t tr_ring_spsc_bytes(uint32_t capacity, uint32_t element_bytes)
{
    uint64_t slots = (uint64_t)capacity * element_bytes;
    return (size_t)(sizeof(struct tr_ring_spsc) + tr_align_up_u64(slots, TR_CACHE_LINE));
}

/* Makes an empty ring. Thread: before either side uses it. */
static inline void tr_ring_spsc_init(struct tr_ring_spsc *r, uint32_t capacity,
                                     uint32_t element_bytes)
{
    tr_assert(tr_is_power_of_two(capacity));
    tr_assert(element_bytes > 0);
    r->capacity = capacity;
    r->element_bytes = element_bytes;
    r->head_seen = 0;
    r->tail_seen = 0;
    tr_store_relaxed(&r->head, UINT64_C(0));
    tr_store_relaxed(&r->tail, UINT64_C(0));
}

/* The place of the element with this index. */
static inline void *tr_ring_spsc_slot(struct tr_ring_spsc *r, uint64_t index)
{
    unsigned char *slots = (unsigned char *)(r + 1);
    return slots + (size_t)(index & (r->capacity - 1)) * r->element_bytes;
}

/* Places from that of the element with this index to the end of the memory. */
static inline uint32_t tr_ring_spsc_straight(const struct tr_ring_spsc *r, uint64_t index)
{
    return r->capacity - (uint32_t)(index & (r->capacity - 1));
}

/* Elements that the producer can enqueue now, at least `wanted` if there is room for so many.
 * Thread: the producer. */
static inline uint32_t tr_ring_spsc_room(struct tr_ring_spsc *r, uint32_t wanted)
{
    uint64_t tail = tr_load_relaxed(&r->tail);
    uint64_t room = r->capacity - (tail - r->head_seen);
    if (room < wanted) {
        r->head_seen = tr_load_acquire(&r->head); /* (B), meets tr_ring_spsc_release */
        room = r->capacity - (tail - r->head_seen);
    }
    return (uint32_t)room;
}

/* Makes the next elements, whose places are filled, visible to the consumer. Thread: the producer.
 */
static inline void tr_ring_spsc_publish(struct tr_ring_spsc *r, uint32_t count)
{
    uint64_t tail = tr_load_relaxed(&r->tail);
    tr_store_release(&r->tail, tail + count); /* (A), meets tr_ring_spsc_ready */
}

/* Copies in up to count elements.
 * Thread: the producer.  Returns: how many there was room for, the first of them. */
static inline uint32_t tr_ring_spsc_enqueue(struct tr_ring_spsc *r, const void *elements,
                                            uint32_t count)
{
    const unsigned char *from = (const unsigned char *)elements;
    uint64_t tail = tr_load_relaxed(&r->tail);
    uint32_t n = tr_min_u32(count, tr_ring_spsc_room(r, count));
    uint32_t straight = tr_min_u32(n, tr_ring_spsc_straight(r, tail));
    if (n == 0)
        return 0;
    size_t bytes = (size_t)straight * r->element_bytes;
    tr_ring_slots_write(tr_ring_spsc_slot(r, tail), from, bytes);
    if (straight < n)
        tr_ring_slots_write(r + 1, from + bytes, (size_t)(n - straight) * r->element_bytes);
    tr_ring_spsc_publish(r, n);
    return n;
}

/* Elements that the consumer can take now, at least `wanted` if there are so many.
 * Thread: the consumer. */
static inline uint32_t tr_ring_spsc_ready(struct tr_ring_spsc *r, uint32_t wanted)
{
    uint64_t head = tr_load_relaxed(&r->head);
    if (r->tail_seen - head < wanted)
        r->tail_seen = tr_load_acquire(&r->tail); /* (A), meets tr_ring_spsc_publish */
    return (uint32_t)(r->tail_seen - head);
}

/* Gives the places of the first elements, which were read, back to the producer.
 * Thread: the consumer. */
static inline void tr_ring_spsc_release(struct tr_ring_spsc *r, uint32_t count)
{
    uint64_t head = tr_load_relaxed(&r->head);
    tr_store_release(&r->head, head + count); /* (B), meets tr_ring_spsc_room */
}

/* Copies out up to count elements.
 * Thread: the consumer.  Returns: how many there were, in the order of their enqueueing. */
static inline uint32_t tr_ring_spsc_dequeue(struct tr_ring_spsc *r, void *elements, uint32_t count)
{
    unsigned char *to = (unsigned char *)elements;
    uint64_t head = tr_load_relaxed(&r->head);
    uint32_t n = tr_min_u32(count, tr_ring_spsc_ready(r, count));
    uint32_t straight = tr_min_u32(n, tr_ring_spsc_straight(r, head));
    if (n == 0)
        return 0;
    size_t bytes = (size_t)straight * r->element_bytes;
    tr_ring_slots_read(to, tr_ring_spsc_slot(r, head), bytes);
    if (straight < n)
        tr_ring_slots_read(to + bytes, r + 1, (size_t)(n - straight) * r->element_bytes);
    tr_ring_spsc_release(r, n);
    return n;
}

/* Elements in the ring, as of some moment between the call and its return. Thread: any. */
static inline uint32_t tr_ring_spsc_count(const struct tr_ring_spsc *r)
{
    uint64_t head = tr_load_acquire(&r->head); /* before tail, so that the difference is not < 0 */
    uint64_t count = tr_load_relaxed(&r->tail) - head;
    return (uint32_t)tr_min_u64(count, r->capacity);
}

TR_END_C

#endif
