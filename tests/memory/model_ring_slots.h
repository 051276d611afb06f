/* base/ring_slots.h over variables that the memory-model checker watches for data races. An element
 * is a number; in the ring its place is a watched variable. Named by TR_RING_SLOTS_MODEL. */
#ifndef TR_TESTS_MODEL_RING_SLOTS_H
#define TR_TESTS_MODEL_RING_SLOTS_H

#include <relacy/relacy.hpp>

#include <stddef.h>
#include <stdint.h>

typedef rl::var<uint32_t> model_slot;

/* As large as a place, since the rings take one size for both. */
union model_element {
    uint32_t number;
    unsigned char place[sizeof(model_slot)];
};

inline void tr_ring_slots_write(void *slots, const void *elements, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(model_slot); i++)
        static_cast<model_slot *>(slots)[i]($) =
            static_cast<const model_element *>(elements)[i].number;
}

inline void tr_ring_slots_read(void *elements, const void *slots, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(model_slot); i++)
        static_cast<model_element *>(elements)[i].number =
            static_cast<const model_slot *>(slots)[i]($);
}

#endif
