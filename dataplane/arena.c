/* Huge-page regions for what a node takes at open. */
#include "dataplane/arena.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "trireme/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_BYTES UINT64_C(4096)

int tr_arena_open(struct tr_arena *a, uint64_t limit_bytes)
{
    *a = (struct tr_arena){.limit_bytes = limit_bytes, .region_max = TR_ARENA_REGIONS_MAX};
    a->region = (struct tr_arena_region *)calloc(a->region_max, sizeof(*a->region));
    return a->region == NULL ? TR_ENOMEM : TR_OK;
}

void tr_arena_close(struct tr_arena *a)
{
    for (uint32_t i = 0; i < a->region_count; i++)
        munmap(a->region[i].base, a->region[i].bytes);
    free(a->region);
    *a = (struct tr_arena){.sealed = true};
}

static void *map_pages(uint64_t bytes, int flags)
{
    void *base =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return base == MAP_FAILED ? NULL : base;
}

/* Maps `bytes` at a multiple of the huge page's size, so that transparent huge pages can be used.
 */
static uint8_t *map_aligned(uint64_t bytes)
{
    uint8_t *base = (uint8_t *)map_pages(bytes + TR_HUGE_PAGE_BYTES, 0);
    if (base == NULL)
        return NULL;
    uint8_t *begin = (uint8_t *)tr_align_up_u64((uintptr_t)base, TR_HUGE_PAGE_BYTES);
    if (begin > base)
        munmap(base, (size_t)(begin - base));
    munmap(begin + bytes, (size_t)(base + TR_HUGE_PAGE_BYTES - begin));
    return begin;
}

/* Lets each page be there: the kernel's way, or by a write to each. */
static void populate(uint8_t *base, uint64_t bytes)
{
    if (madvise(base, bytes, MADV_POPULATE_WRITE) == 0)
        return;
    for (uint64_t at = 0; at < bytes; at += PAGE_BYTES)
        *(volatile uint8_t *)(base + at) = 0;
}

static void place(struct tr_arena *a, uint8_t *base, uint64_t bytes)
{
    if (a->place != NULL && a->place(a->place_context, base, bytes) != TR_OK)
        a->unplaced_bytes += bytes;
}

/* Maps and populates a region from the best pages that there are. Huge ones are reserved when they
 * are mapped, and are there then: the policy of placement prefers, and forces nothing. */
static uint8_t *map_region(struct tr_arena *a, uint64_t bytes, enum tr_pages *kind)
{
    uint8_t *base = (uint8_t *)map_pages(bytes, MAP_HUGETLB);
    *kind = TR_PAGES_HUGETLB;
    if (base == NULL) {
        base = map_aligned(bytes);
        if (base == NULL)
            return NULL;
        *kind = madvise(base, bytes, MADV_HUGEPAGE) == 0 ? TR_PAGES_TRANSPARENT : TR_PAGES_NORMAL;
    }
    place(a, base, bytes);
    populate(base, bytes);
    return base;
}

static struct tr_arena_region *add_region(struct tr_arena *a, uint8_t *base, uint64_t bytes)
{
    struct tr_arena_region *region = &a->region[a->region_count++];
    *region = (struct tr_arena_region){.base = base, .bytes = bytes};
    a->bytes += bytes;
    return region;
}

static int can_add(const struct tr_arena *a, uint64_t bytes)
{
    if (a->sealed)
        return TR_EBUSY;
    if (a->region_count == a->region_max)
        return TR_ENOMEM;
    if (a->limit_bytes != 0 && bytes > a->limit_bytes - tr_min_u64(a->bytes, a->limit_bytes))
        return TR_ENOMEM;
    return TR_OK;
}

/* Offset at which `bytes` fit into a region, or UINT64_MAX. */
static uint64_t place_in(const struct tr_arena_region *region, uint64_t bytes, uint64_t align)
{
    uint64_t offset = tr_align_up_u64(region->used, align);
    return offset <= region->bytes && region->bytes - offset >= bytes ? offset : UINT64_MAX;
}

int tr_arena_reserve(struct tr_arena *a, uint64_t bytes)
{
    enum tr_pages kind;
    if (a->region_count > 0 &&
        place_in(&a->region[a->region_count - 1], bytes, PAGE_BYTES) != UINT64_MAX)
        return a->sealed ? TR_EBUSY : TR_OK;
    bytes = tr_align_up_u64(bytes, TR_HUGE_PAGE_BYTES);
    int status = can_add(a, bytes);
    if (status != TR_OK)
        return status;
    uint8_t *base = map_region(a, bytes, &kind);
    if (base == NULL)
        return TR_ENOMEM;
    a->bytes_by[kind] += bytes;
    add_region(a, base, bytes);
    return TR_OK;
}

void *tr_arena_take(struct tr_arena *a, uint64_t bytes, uint64_t align)
{
    tr_assert(tr_is_power_of_two(align) && align <= PAGE_BYTES);
    if (a->sealed || tr_arena_reserve(a, bytes + align) != TR_OK)
        return NULL;
    struct tr_arena_region *region = &a->region[a->region_count - 1];
    uint64_t offset = place_in(region, bytes, align);
    tr_assert(offset != UINT64_MAX);
    region->used = offset + bytes;
    return region->base + offset;
}

void *tr_arena_take_untouched(struct tr_arena *a, uint64_t bytes)
{
    bytes = tr_align_up_u64(bytes, PAGE_BYTES);
    if (can_add(a, bytes) != TR_OK)
        return NULL;
    uint8_t *base = (uint8_t *)map_pages(bytes, MAP_NORESERVE);
    if (base == NULL)
        return NULL;
    place(a, base, bytes);
    struct tr_arena_region *region = add_region(a, base, bytes);
    region->used = bytes;
    a->bytes_by[TR_PAGES_NORMAL] += bytes;
    /* The region in use stays the last one. */
    if (a->region_count > 1) {
        struct tr_arena_region last = a->region[a->region_count - 2];
        a->region[a->region_count - 2] = *region;
        *region = last;
    }
    return base;
}

static void *allocate(void *context, size_t bytes, size_t align)
{
    return tr_arena_take((struct tr_arena *)context, bytes, tr_max_u64(align, 1));
}

struct tr_memory tr_arena_memory(struct tr_arena *a)
{
    return (struct tr_memory){.context = a, .allocate = allocate};
}

void tr_arena_seal(struct tr_arena *a)
{
    a->sealed = true;
}

void tr_arena_describe(const struct tr_arena *a, char *out, size_t out_bytes)
{
    const double mib = 1.0 / (1 << 20);
    int used = snprintf(
        out, out_bytes,
        "%.1f MiB: %.1f MiB of huge pages, %.1f MiB of transparent huge pages, %.1f MiB of "
        "normal pages",
        (double)a->bytes * mib, (double)a->bytes_by[TR_PAGES_HUGETLB] * mib,
        (double)a->bytes_by[TR_PAGES_TRANSPARENT] * mib,
        (double)a->bytes_by[TR_PAGES_NORMAL] * mib);
    if (a->unplaced_bytes != 0 && used > 0 && (size_t)used < out_bytes)
        snprintf(out + used, out_bytes - (size_t)used,
                 "; for %.1f MiB the kernel refused to take it from near the device",
                 (double)a->unplaced_bytes * mib);
}
