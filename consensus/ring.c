#include "consensus/ring.h"

#include "base/assert.h"
#include "base/bytes.h"

/* Position as a record header carries it. */
static inline uint32_t position_units(uint64_t position)
{
    return (uint32_t)(position / TR_RECORD_ALIGN);
}

/* Bytes from a position to the end of the ring, at least one unit. */
static inline uint32_t bytes_to_end(uint32_t ring_bytes, uint64_t position)
{
    return ring_bytes - ((uint32_t)position & (ring_bytes - 1));
}

uint32_t tr_ring_place(uint32_t ring_bytes, uint64_t *position, uint32_t record_bytes)
{
    tr_assert(tr_is_power_of_two(ring_bytes) && record_bytes <= ring_bytes);
    tr_assert_hot(*position % TR_RECORD_ALIGN == 0 && record_bytes % TR_RECORD_ALIGN == 0);
    uint32_t left = bytes_to_end(ring_bytes, *position);
    if (tr_likely(record_bytes <= left))
        return 0;
    *position += left;
    return left;
}

void tr_ring_pad(const struct tr_grant *grant, uint64_t position, uint32_t pad_bytes,
                 struct tr_record *out)
{
    tr_assert(pad_bytes >= sizeof(*out) && pad_bytes % TR_RECORD_ALIGN == 0);
    memset(out, 0, sizeof(*out));
    out->generation = grant->generation;
    out->tag = grant->tag;
    out->position = position_units(position);
    out->payload_bytes = pad_bytes - (uint32_t)sizeof(*out);
    out->kind = TR_RECORD_PAD;
    tr_record_seal(out);
}

enum tr_ring_found tr_ring_next(const struct tr_grant *grant, uint64_t position,
                                uint32_t entry_bytes_max, const struct tr_record *copy,
                                uint32_t copied_bytes, uint32_t *record_bytes)
{
    tr_assert(copied_bytes >= sizeof(*copy));
    /* The usual answer first: nothing has been written here since the last lap. */
    if (copy->generation != grant->generation || copy->tag != grant->tag ||
        copy->position != position_units(position))
        return TR_RING_NONE;
    if (tr_unlikely(grant->generation == 0 || !tr_record_header_valid(copy)))
        return TR_RING_NONE;
    uint32_t left = bytes_to_end(grant->ring_bytes, position);
    if (copy->kind == TR_RECORD_PAD) {
        if (copy->payload_bytes != left - sizeof(*copy))
            return TR_RING_NONE;
        *record_bytes = left;
        return TR_RING_PADDING;
    }
    uint32_t whole_bytes = tr_record_bytes(copy->payload_bytes);
    if (tr_unlikely(copy->payload_bytes > entry_bytes_max || whole_bytes > left))
        return TR_RING_NONE;
    *record_bytes = whole_bytes;
    if (copied_bytes < whole_bytes)
        return TR_RING_MORE;
    return tr_record_payload_valid(copy) ? TR_RING_RECORD : TR_RING_NONE;
}
