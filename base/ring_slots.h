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

/* Fills a place. Units: bytes of one element. */
static inline void tr_ring_slot_write(void *slot, const void *element, uint32_t bytes)
{
    memcpy(slot, element, bytes);
}

/* Takes a copy out of a place. Units: bytes of one element. */
static inline void tr_ring_slot_read(void *element, const void *slot, uint32_t bytes)
{
    memcpy(element, slot, bytes);
}

TR_END_C

#endif
#endif
