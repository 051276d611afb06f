/* The places of a ring: fixed-size elements in memory that follows the ring's head. The
 * memory-model checker puts its own in their stead, by defining TR_RING_SLOTS_MODEL as the header
 * with them. */
#ifndef TR_BASE_RING_SLOTS_H
#define TR_BASE_RING_SLOTS_H

#ifdef TR_RING_SLOTS_MODEL
#include TR_RING_SLOTS_MODEL
#else

#include "base/types.h"

#include <string.h>

TR_BEGIN_C

/* Fills neighbouring places. Units: bytes of all of their elements. */
static inline void tr_ring_slots_write(void *slots, const void *elements, size_t bytes)
{
    memcpy(slots, elements, bytes);
}

/* Takes a copy out of neighbouring places. Units: bytes of all of their elements. */
static inline void tr_ring_slots_read(void *elements, const void *slots, size_t bytes)
{
    memcpy(elements, slots, bytes);
}

TR_END_C

#endif
#endif
