/*
 * The memory of a node, taken while it is set up and sealed when it starts: nothing is allocated
 * afterwards.
 *
 * Regions come from huge pages (hugetlb, then transparent ones, then normal pages; the log says
 * which) and are touched at once, so that the poll path meets no page fault. Memory that may stay
 * unused (snapshot buffers) is mapped untouched.
 */
#ifndef TR_DATAPLANE_ARENA_H
#define TR_DATAPLANE_ARENA_H

#include "base/types.h"
#include "dataplane/log.h"
#include "drivers/driver.h"

TR_BEGIN_C

/* Regions of one node: a few a group, a few a port. */
#define TR_ARENA_REGIONS_MAX 8192
#define TR_HUGE_PAGE_BYTES   (UINT64_C(2) << 20)

enum tr_pages {
    TR_PAGES_HUGETLB = 0,
    TR_PAGES_TRANSPARENT = 1,
    TR_PAGES_NORMAL = 2,
    TR_PAGES_KINDS = 3
};

struct tr_arena_region {
    uint8_t *base;
    uint64_t bytes, used;
};

struct tr_arena {
    struct tr_arena_region *region;
    uint32_t region_count;
    uint32_t region_max;
    uint64_t bytes;       /* of all regions */
    uint64_t limit_bytes; /* 0: none */
    uint64_t bytes_by[TR_PAGES_KINDS];
    /* Says where pages of a region, not touched yet, are to come from (placement.h); NULL: from
     * anywhere. Returns TR_OK, or a code: then they come from anywhere. */
    int (*place)(void *context, void *base, size_t bytes);
    void *place_context;
    uint64_t unplaced_bytes; /* of regions that it did not succeed with */
    bool sealed;
};

/* An empty arena. limit_bytes: TR_ENOMEM above so much; 0: no limit. Returns TR_OK, TR_ENOMEM. */
int tr_arena_open(struct tr_arena *a, uint64_t limit_bytes);
/* Gives all memory back. */
void tr_arena_close(struct tr_arena *a);
/* Makes sure that `bytes` (alignments included) can be taken without mapping a region again.
 * Returns TR_OK, TR_ENOMEM, TR_EBUSY (sealed). Thread: setup. */
int tr_arena_reserve(struct tr_arena *a, uint64_t bytes);
/* Zeroed memory; NULL when the arena is sealed or spent. align: a power of two, at most 4096.
 * Thread: setup. */
void *tr_arena_take(struct tr_arena *a, uint64_t bytes, uint64_t align);
/* Zeroed memory that takes physical pages only where it is touched. Aligned to 4096. */
void *tr_arena_take_untouched(struct tr_arena *a, uint64_t bytes);
/* What a driver's port takes its memory from. */
struct tr_memory tr_arena_memory(struct tr_arena *a);
/* From here on nothing is given out. */
void tr_arena_seal(struct tr_arena *a);
/* A line for the log: how much, from which pages. */
void tr_arena_describe(const struct tr_arena *a, char *out, size_t out_bytes);

TR_END_C

#endif
