/* What a medium in memory is made of; between mem.c (the storage) and mem_medium.c (the medium). */
#ifndef TR_DRIVERS_STORAGE_MEM_MEDIUM_H
#define TR_DRIVERS_STORAGE_MEM_MEDIUM_H

#include "drivers/storage/mem.h"

TR_BEGIN_C

enum tr_mem_kind {
    TR_MEM_PAD = 1, /* to the end of the lap */
    TR_MEM_ENTRY = 2,
    TR_MEM_METADATA = 3,
    TR_MEM_NOTHING = 4, /* a sequence alone */
};

/* Header of what lies in the log; the bytes follow, padded to 8. */
struct tr_mem_record {
    uint64_t sequence; /* 0: more of the same write follows */
    uint64_t slot;
    uint32_t bytes;
    uint32_t bytes_crc;
    uint16_t kind; /* enum tr_mem_kind */
    uint16_t last; /* 1: the last one of a call: a write ends here */
    uint32_t crc;  /* of the position, and the fields before */
};

/* A snapshot and its place. */
struct tr_mem_image {
    uint8_t *data;
    bool whole; /* written, or durable */
    struct tr_storage_snapshot info;
};

struct tr_storage_medium {
    uint8_t *log; /* a ring; positions only grow */
    uint64_t log_bytes, snapshot_bytes_max;
    uint64_t tail, head;
    uint64_t durable;   /* everything before this position is */
    uint64_t truncated; /* entries up to this slot are not needed */
    uint64_t generation;
    uint32_t group;
    bool used; /* `group` is set */
    struct tr_storage *user;

    uint32_t metadata_bytes; /* durable; 0: none */
    uint32_t metadata_crc;
    uint64_t metadata[TR_STORAGE_METADATA_MAX / 8];

    struct tr_mem_image image[2];
    uint8_t image_now; /* the durable one, when it is whole */

    /* What the test wants. */
    bool held, fail_next;
    uint64_t released;
};

/* Bytes that a record takes. */
static inline uint64_t tr_mem_record_bytes(uint32_t bytes)
{
    return sizeof(struct tr_mem_record) + (((uint64_t)bytes + 7) & ~UINT64_C(7));
}

/* The record at a position. */
struct tr_mem_record *tr_mem_at(const struct tr_storage_medium *m, uint64_t position);
/* The CRC of a header, as it should be where it lies: what was written to another place is not
 * whole. */
uint32_t tr_mem_record_crc(const struct tr_mem_record *record, uint64_t position);
/* Whether header and bytes of the record at a position are whole. */
bool tr_mem_header_valid(const struct tr_storage_medium *m, uint64_t position);
bool tr_mem_bytes_valid(const struct tr_mem_record *record);
/* Where the record after the one at a position begins; padding is skipped. */
uint64_t tr_mem_next(const struct tr_storage_medium *m, uint64_t position);
/* Where the first record at or after a position begins. */
uint64_t tr_mem_skip(const struct tr_storage_medium *m, uint64_t position);
/* Moves `durable` on to a position, which takes metadata over. Returns the last sequence passed; 0:
 * none. */
uint64_t tr_mem_make_durable(struct tr_storage_medium *m, uint64_t position);
/* The position after so many writes that are not durable. */
uint64_t tr_mem_after_writes(const struct tr_storage_medium *m, uint64_t writes);
/* Cuts off what an unfinished write left, and makes the rest durable. */
void tr_mem_recover(struct tr_storage_medium *m);

TR_END_C

#endif
