/* Gathering the segments of a message or a write, on the sending side of every driver that copies.
 */
#ifndef TR_DRIVERS_GATHER_H
#define TR_DRIVERS_GATHER_H

#include "base/atomic.h"
#include "base/types.h"
#include "drivers/driver.h"

#include <string.h>

TR_BEGIN_C

/* Bytes of all segments together; more than 4 GiB is a caller's bug. */
static inline uint32_t tr_gather_bytes(const struct tr_segment *segment, uint32_t segment_count)
{
    uint32_t bytes = segment[0].bytes;
    if (segment_count > 1)
        bytes += segment[1].bytes;
    for (uint32_t i = 2; tr_unlikely(i < segment_count); i++)
        bytes += segment[i].bytes;
    return bytes;
}

/* Concatenates the segments at dst, which nobody reads yet. Units: bytes written are
 * tr_gather_bytes. */
static inline void tr_gather_copy(void *dst, const struct tr_segment *segment,
                                  uint32_t segment_count)
{
    unsigned char *to = (unsigned char *)dst;
    const struct tr_segment *end = segment + segment_count;
    do {
        if (segment->bytes != 0) /* else data may be NULL, which memcpy may not be given */
            memcpy(to, segment->data, segment->bytes);
        to += segment->bytes;
    } while (++segment != end);
}

/* Concatenates the segments at dst, which a peer may be reading: stores whole words, each once.
 * Units: dst is aligned to 8; segments may have any length, what they leave of the last word is
 * zeroed. */
static inline void tr_gather_write_relaxed_8(void *dst, const struct tr_segment *segment,
                                             uint32_t segment_count)
{
    unsigned char *to = (unsigned char *)dst;
    unsigned char partial[8];
    uint32_t held = 0; /* bytes of a word that the segments so far have begun and not completed */
    for (uint32_t i = 0; i < segment_count; i++) {
        const unsigned char *from = (const unsigned char *)segment[i].data;
        uint32_t left = segment[i].bytes;
        if (held > 0) {
            uint32_t take = left < 8 - held ? left : 8 - held;
            memcpy(partial + held, from, take);
            held += take;
            from += take;
            left -= take;
            if (held < 8)
                continue;
            tr_write_relaxed_8(to, partial, 8);
            to += 8;
        }
        tr_write_relaxed_8(to, from, left & ~7u);
        to += left & ~7u;
        held = left & 7u;
        memcpy(partial, from + (left & ~7u), held);
    }
    if (held > 0) {
        memset(partial + held, 0, 8 - held);
        tr_write_relaxed_8(to, partial, 8);
    }
}

TR_END_C

#endif
