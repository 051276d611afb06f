/*
 * Inbound rings: how records lie in them, on both sides. Pure arithmetic; who copies and who writes
 * is the shell's business.
 *
 * The writer appends records at increasing positions (bytes since the grant; the ring offset is
 * position modulo ring bytes). A record never crosses the ring's end: a PAD record fills what is
 * left. The writer stays within `consumed + ring_bytes` (its credit). The reader starts at position
 * 0 of a grant and takes records while they are whole: generation, tag, position and both CRCs must
 * fit (rules 4, 8), else what lies there has not been written yet, or not wholly.
 */
#ifndef TR_CONSENSUS_RING_H
#define TR_CONSENSUS_RING_H

#include "consensus/event.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ring_bytes is a power of two, at least TR_RECORD_ALIGN: who takes a grant from the wire checks
 * that first. */

/** Where a writer puts the next record of `record_bytes`: *position moves over a pad when needed.
 * Returns the pad's bytes (0: none), which are to be written at the old position. Room is the
 * caller's to check: pad + record within credit. A record is not longer than the ring. */
uint32_t tr_ring_place(uint32_t ring_bytes, uint64_t *position, uint32_t record_bytes);

/** A pad record of `pad_bytes` (a multiple of 64) for a grant at a position. */
void tr_ring_pad(const struct tr_grant *grant, uint64_t position, uint32_t pad_bytes,
                 struct tr_record *out);

enum tr_ring_found {
    TR_RING_NONE = 0, /* nothing whole at this position yet */
    TR_RING_RECORD = 1,
    TR_RING_PADDING = 2,
    TR_RING_MORE = 3, /* the header is of this grant and position, and needs *record_bytes bytes
                         copied to be judged */
};

/**
 * Judges the private copy of what lies at `position`: with 64 bytes copied or more, then, on
 * TR_RING_MORE, with *record_bytes. Never reads past `copied_bytes`. *record_bytes is set unless
 * the answer is TR_RING_NONE: how far the position moves. entry_bytes_max is at most
 * TR_ENTRY_BYTES_MAX. A header whose CRC fits but which lies about its length (past the ring's end,
 * or above entry_bytes_max) is TR_RING_NONE.
 */
enum tr_ring_found tr_ring_next(const struct tr_grant *grant, uint64_t position,
                                uint32_t entry_bytes_max, const struct tr_record *copy,
                                uint32_t copied_bytes, uint32_t *record_bytes);

#ifdef __cplusplus
}
#endif
#endif
