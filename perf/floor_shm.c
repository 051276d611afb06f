/* The floors over shared memory: rings of fixed slots, one a follower. */
#include "perf/floor.h"

#include "base/atomic.h"
#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Two lines: the adjacent-line prefetcher of x86-64 moves them in pairs. */
#define APART 128

/* Records that a follower takes before it acknowledges them. */
#define FOLLOW_BURST 32

/* Bytes of a ring at least: what the engine grants a peer by default. */
#define RING_BYTES (1u << 20)

/* Slots of a small ring. */
#define SMALL_SLOTS 16

/* What every fence word holds: the floor is never fenced. */
#define FLOOR_GENERATION UINT64_C(1)

/* How a variant does it; constant in each, so that the compiler drops the other ways. */
struct ways {
    bool tail;     /* a word beside the ring publishes the records of a flush, not a word in each */
    bool bare;     /* the follower looks at the record's first word only: less than a floor */
    bool small;    /* SMALL_SLOTS: the rings stay in the first-level cache. For a window of 1 */
    bool weave;    /* line by line into all rings, instead of ring after ring */
    uint32_t own;  /* the leader asks for the lines of a slot so many records before it needs it */
    uint32_t want; /* the follower does; 0: neither */
    uint32_t burst; /* records that a follower takes before it acknowledges them; 0: 32 */
    uint32_t rest;  /* pauses of a follower between two looks */
};

/* What the two ends of a ring tell each other; before the ring's slots. */
struct ends {
    TR_ALIGNED(APART) uint64_t tail;           /* leader: records published */
    TR_ALIGNED(APART) uint64_t acked_commands; /* follower: received */
    uint64_t acked_records;
    TR_ALIGNED(APART) uint64_t fence; /* follower: the generation that may write */
};

/* What a follower has taken. */
struct taken {
    uint64_t commands;
    uint64_t records;
};

struct floor_shm {
    struct tr_perf_floor head;
    uint8_t *memory;
    size_t memory_bytes;
    size_t ring_bytes; /* of one follower, ends included */
    uint32_t slot_bytes;
    uint32_t slots;  /* a power of two */
    uint8_t *record; /* what is copied */
    /* The leader's. */
    uint64_t sent_commands;
    uint64_t sent_records;
    uint64_t freed_records;                    /* consumed by all followers, when last looked at */
    struct taken alone[TR_PERF_FOLLOWERS_MAX]; /* where the leader's thread follows as well */
};

static tr_always_inline struct ends *ends_of(const struct floor_shm *f, uint32_t follower)
{
    return (struct ends *)(void *)(f->memory + follower * f->ring_bytes);
}

static tr_always_inline uint8_t *slot_of(const struct floor_shm *f, uint32_t follower,
                                         uint64_t record, uint32_t slots)
{
    return f->memory + follower * f->ring_bytes + sizeof(struct ends) +
           (record & (slots - 1)) * f->slot_bytes;
}

static tr_always_inline void copy_line(uint8_t *to, const uint8_t *from)
{
    memcpy(to, from, TR_CACHE_LINE);
}

/* Stores the record, its first word last: whoever sees the word sees the record. */
static tr_always_inline void store_record(const struct floor_shm *f, uint8_t *to, uint32_t bytes,
                                          uint64_t word)
{
    for (uint32_t at = TR_CACHE_LINE; at < bytes; at += TR_CACHE_LINE)
        copy_line(to + at, f->record + at);
    memcpy(to + 8, f->record + 8, TR_CACHE_LINE - 8);
    /* Meets the acquire in take_records. */
    tr_store_release((uint64_t *)(void *)to, word);
}

/* The same for all followers, a line of each in turn. */
static tr_always_inline void weave_record(const struct floor_shm *f, uint32_t slots, uint32_t bytes,
                                          uint64_t word)
{
    const uint32_t followers = f->head.shape.followers;
    for (uint32_t at = TR_CACHE_LINE; at < bytes; at += TR_CACHE_LINE)
        for (uint32_t i = 0; i < followers; i++)
            copy_line(slot_of(f, i, f->sent_records, slots) + at, f->record + at);
    for (uint32_t i = 0; i < followers; i++)
        store_record(f, slot_of(f, i, f->sent_records, slots), TR_CACHE_LINE, word);
}

static tr_always_inline void own_slot(const struct floor_shm *f, uint64_t record, uint32_t slots,
                                      uint32_t bytes)
{
    for (uint32_t i = 0; i < f->head.shape.followers; i++)
        for (uint32_t at = 0; at < bytes; at += TR_CACHE_LINE)
            __builtin_prefetch(slot_of(f, i, record, slots) + at, 1, 3);
}

/* Whether a slot is free in every ring. */
static tr_always_inline bool has_room(struct floor_shm *f, uint32_t slots)
{
    if (tr_likely(f->sent_records - f->freed_records < slots))
        return true;
    uint64_t freed = f->sent_records;
    for (uint32_t i = 0; i < f->head.shape.followers; i++)
        freed = tr_min_u64(freed, tr_load_acquire(&ends_of(f, i)->acked_records));
    f->freed_records = freed;
    return f->sent_records - freed < slots;
}

static tr_always_inline void flush_records(struct floor_shm *f, const struct tr_perf_slice *slice,
                                           struct ways w)
{
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    const uint32_t slots = w.small ? SMALL_SLOTS : f->slots;
    uint32_t bytes = 0;
    while (f->sent_commands < slice->submitted && has_room(f, slots)) {
        uint64_t commands = tr_min_u64(slice->submitted - f->sent_commands, shape->batch);
        bytes = shape->batch == 1 ? f->slot_bytes
                                  : tr_perf_record_bytes(shape->size_bytes, (uint32_t)commands);
        uint64_t word = f->sent_commands + commands;
        if (w.own != 0)
            own_slot(f, f->sent_records + w.own, slots, bytes);
        if (w.weave)
            weave_record(f, slots, bytes, word);
        else
            for (uint32_t i = 0; i < shape->followers; i++)
                store_record(f, slot_of(f, i, f->sent_records, slots), bytes, word);
        f->sent_commands = word;
        f->sent_records++;
    }
    if (bytes == 0)
        return;
    for (uint32_t i = 0; w.tail && i < shape->followers; i++)
        tr_store_release(&ends_of(f, i)->tail, f->sent_records);
}

/* The commands that enough followers have acknowledged. */
static tr_always_inline uint64_t quorum_commands(const struct floor_shm *f)
{
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    uint64_t acked[TR_PERF_FOLLOWERS_MAX];
    uint64_t best = 0;
    if (shape->needed == 0)
        return f->sent_commands;
    for (uint32_t i = 0; i < shape->followers; i++) {
        acked[i] = tr_load_acquire(&ends_of(f, i)->acked_commands);
        best = tr_max_u64(best, acked[i]);
    }
    if (shape->needed == 1)
        return best;
    /* The needed-th largest: at most four of eight. */
    for (uint32_t turn = 0; turn < shape->needed; turn++) {
        uint32_t largest = 0;
        for (uint32_t i = 1; i < shape->followers; i++)
            largest = acked[i] > acked[largest] ? i : largest;
        best = acked[largest];
        acked[largest] = 0;
    }
    return best;
}

/* Loads what follows the first word, a word of each line. */
static tr_always_inline void load_record(const uint8_t *slot, uint32_t bytes)
{
    uint64_t seen = 0;
    for (uint32_t at = TR_CACHE_LINE; at < bytes; at += TR_CACHE_LINE)
        seen += tr_load_relaxed((const uint64_t *)(const void *)(slot + at));
    /* Keeps the loads. */
    __asm__ volatile("" : : "r"(seen));
}

static tr_always_inline void want_record(const uint8_t *slot, uint32_t bytes)
{
    for (uint32_t at = 0; at < bytes; at += TR_CACHE_LINE)
        __builtin_prefetch(slot + at, 0, 3);
}

/* One follower's look at its ring. Returns: records taken. */
static tr_always_inline uint32_t take_records(const struct floor_shm *f, uint32_t follower,
                                              struct taken *taken, struct ways w)
{
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    const uint32_t slots = w.small ? SMALL_SLOTS : f->slots;
    struct ends *ends = ends_of(f, follower);
    const uint64_t before = taken->records;
    /* Meets the release in flush_records. */
    uint64_t published = w.tail ? tr_load_acquire(&ends->tail) : UINT64_MAX;
    published = tr_min_u64(published, before + (w.burst ? w.burst : FOLLOW_BURST));
    while (taken->records < published) {
        const uint8_t *slot = slot_of(f, follower, taken->records, slots);
        /* Meets the release in store_record. */
        uint64_t word = tr_load_acquire((const uint64_t *)(const void *)slot);
        if (word <= taken->commands)
            break;
        if (w.want != 0)
            want_record(slot_of(f, follower, taken->records + w.want, slots), f->slot_bytes);
        if (!w.bare)
            load_record(slot, shape->batch == 1
                                  ? f->slot_bytes
                                  : tr_perf_record_bytes(shape->size_bytes,
                                                         (uint32_t)(word - taken->commands)));
        taken->commands = word;
        taken->records++;
    }
    if (taken->records != before) {
        /* Meet the acquires in has_room and quorum_commands. */
        tr_store_release(&ends->acked_records, taken->records);
        tr_store_release(&ends->acked_commands, taken->commands);
    }
    return (uint32_t)(taken->records - before);
}

/* Follows for the worker's share of the followers. */
static tr_always_inline void follow(struct tr_perf_floor *floor, uint32_t worker,
                                    const uint32_t *stop, struct ways w)
{
    const struct floor_shm *f = tr_container_of(floor, struct floor_shm, head);
    const struct tr_perf_floor_shape *shape = &floor->shape;
    struct taken taken[TR_PERF_FOLLOWERS_MAX] = {{0, 0}};
    uint32_t empty = 0;
    while (tr_load_relaxed(stop) == 0) {
        uint32_t work = 0;
        for (uint32_t i = worker; i < shape->followers; i += shape->workers)
            work += take_records(f, i, &taken[i], w);
        for (uint32_t i = 0; i < w.rest; i++)
            tr_cpu_pause();
        if (work == 0)
            tr_perf_idle(shape->idle, &empty);
        else
            empty = 0;
    }
}

/* The load's thread follows as well, where there is no other. */
static tr_always_inline void follow_alone(struct floor_shm *f, struct ways w)
{
    for (uint32_t i = 0; f->head.shape.workers == 0 && i < f->head.shape.followers; i++)
        take_records(f, i, &f->alone[i], w);
}

static tr_always_inline void poll_acknowledgements(void *side, struct tr_perf_slice *slice,
                                                   struct ways w)
{
    struct floor_shm *f = side;
    follow_alone(f, w);
    uint64_t commands = quorum_commands(f);
    if (commands != slice->completed)
        tr_perf_slice_done(slice, commands);
}

/* One-sided: what was stored counts if no fence word has changed since. */
static tr_always_inline void poll_fences(void *side, struct tr_perf_slice *slice, struct ways w)
{
    struct floor_shm *f = side;
    uint32_t unfenced = 0;
    follow_alone(f, w);
    if (f->sent_commands == slice->completed)
        return;
    tr_fence_full();
    for (uint32_t i = 0; i < f->head.shape.followers; i++)
        unfenced += tr_load_relaxed(&ends_of(f, i)->fence) == FLOOR_GENERATION;
    if (unfenced >= f->head.shape.needed)
        tr_perf_slice_done(slice, f->sent_commands);
}

/* Defines the leader and the follower of one variant. */
#define VARIANT(name, poll_function, ...)                                                          \
    static void flush_##name(void *side, struct tr_perf_slice *slice)                              \
    {                                                                                              \
        flush_records(side, slice, (struct ways){__VA_ARGS__});                                    \
    }                                                                                              \
    static void poll_##name(void *side, struct tr_perf_slice *slice)                               \
    {                                                                                              \
        poll_function(side, slice, (struct ways){__VA_ARGS__});                                    \
    }                                                                                              \
    static void lead_##name(struct tr_perf_floor *floor, struct tr_perf_slice *slice)              \
    {                                                                                              \
        tr_perf_drive(slice, tr_container_of(floor, struct floor_shm, head), tr_perf_floor_submit, \
                      flush_##name, poll_##name);                                                  \
    }                                                                                              \
    static void follow_##name(struct tr_perf_floor *floor, uint32_t worker, const uint32_t *stop)  \
    {                                                                                              \
        follow(floor, worker, stop, (struct ways){__VA_ARGS__});                                   \
    }

VARIANT(word, poll_acknowledgements, .tail = false)
VARIANT(word_small, poll_acknowledgements, .small = true)
VARIANT(word_weave, poll_acknowledgements, .weave = true)
VARIANT(word_rest, poll_acknowledgements, .burst = 128, .rest = 64)
VARIANT(tail, poll_acknowledgements, .tail = true)
VARIANT(tail_early, poll_acknowledgements, .tail = true, .burst = 128, .own = 8, .want = 8)
VARIANT(tail_rest, poll_acknowledgements, .tail = true, .burst = 128, .rest = 16)
VARIANT(word_rest_long, poll_acknowledgements, .burst = 512, .rest = 200)
VARIANT(tail_rest_long, poll_acknowledgements, .tail = true, .burst = 512, .rest = 200)
VARIANT(bare, poll_acknowledgements, .bare = true)
VARIANT(bare_tail, poll_acknowledgements, .bare = true, .tail = true)

VARIANT(fence, poll_fences, .tail = false)
VARIANT(fence_small, poll_fences, .small = true)
VARIANT(fence_early, poll_fences, .own = 1)
VARIANT(fence_rest, poll_fences, .rest = 16)
VARIANT(fence_rest_long, poll_fences, .burst = 512, .rest = 200)
VARIANT(fence_tail, poll_fences, .tail = true)
VARIANT(fence_tail_early, poll_fences, .tail = true, .burst = 128, .own = 8, .want = 8)
VARIANT(fence_tail_rest, poll_fences, .tail = true, .burst = 128, .rest = 16)
VARIANT(fence_bare, poll_fences, .bare = true)
VARIANT(fence_bare_tail, poll_fences, .bare = true, .tail = true)

/* A row of the tables below. */
#define ROW(name, text, is_floor)                        \
    {                                                    \
        text, is_floor, true, lead_##name, follow_##name \
    }

static const struct tr_perf_floor_variant shm_variants[] = {
    ROW(word, "record's first word publishes", true),
    ROW(word_small, "record's first word, 16 slots", true),
    ROW(word_weave, "record's first word, rings woven", true),
    ROW(word_rest, "record's first word, follower rests", true),
    ROW(tail, "word beside the ring publishes", true),
    ROW(tail_early, "word beside, lines asked for early", true),
    ROW(tail_rest, "word beside, follower rests", true),
    ROW(word_rest_long, "record's first word, follower rests long", true),
    ROW(tail_rest_long, "word beside, follower rests long", true),
    ROW(bare, "first word, record not read", false),
    ROW(bare_tail, "word beside, record not read", false),
};

static const struct tr_perf_floor_variant one_sided_variants[] = {
    ROW(fence, "record's first word publishes", true),
    ROW(fence_small, "record's first word, 16 slots", true),
    ROW(fence_early, "record's first word, asked for early", true),
    ROW(fence_rest, "record's first word, follower rests", true),
    ROW(fence_rest_long, "record's first word, follower rests long", true),
    ROW(fence_tail, "word beside the ring publishes", true),
    ROW(fence_tail_early, "word beside, lines asked for early", true),
    ROW(fence_tail_rest, "word beside, follower rests", true),
    ROW(fence_bare, "first word, record not read", false),
    ROW(fence_bare_tail, "word beside, record not read", false),
};

static void reset(struct tr_perf_floor *floor)
{
    struct floor_shm *f = tr_container_of(floor, struct floor_shm, head);
    memset(f->memory, 0, f->memory_bytes);
    for (uint32_t i = 0; i < floor->shape.followers; i++)
        ends_of(f, i)->fence = FLOOR_GENERATION;
    memset(f->alone, 0, sizeof(f->alone));
    f->sent_commands = f->sent_records = f->freed_records = 0;
}

static void close_memory(struct tr_perf_floor *floor)
{
    struct floor_shm *f = tr_container_of(floor, struct floor_shm, head);
    munmap(f->memory, f->memory_bytes);
    free(f->record);
    free(f);
}

static int open_memory(const struct tr_perf_floor_shape *shape,
                       const struct tr_perf_floor_table *table, struct tr_perf_floor **out,
                       char *error, size_t error_bytes)
{
    struct floor_shm *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return TR_ENOMEM;
    f->head.table = table;
    f->head.shape = *shape;
    f->slot_bytes = tr_perf_record_bytes(shape->size_bytes, shape->batch);
    f->slots = SMALL_SLOTS;
    while ((uint64_t)f->slots * f->slot_bytes < RING_BYTES ||
           f->slots < shape->window / shape->batch * 2)
        f->slots *= 2;
    f->ring_bytes = tr_align_up_u64(sizeof(struct ends) + (uint64_t)f->slots * f->slot_bytes, 4096);
    f->memory_bytes = f->ring_bytes * (shape->followers > 0 ? shape->followers : 1);
    f->record = aligned_alloc(TR_CACHE_LINE, f->slot_bytes);
    f->memory = mmap(NULL, f->memory_bytes, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (f->record == NULL || f->memory == MAP_FAILED) {
        snprintf(error, error_bytes, "floor: no memory for %zu bytes of rings", f->memory_bytes);
        free(f->record);
        free(f);
        return TR_ENOMEM;
    }
    memset(f->record, 0x5a, f->slot_bytes);
    *out = &f->head;
    return 0;
}

static int open_shm(const struct tr_perf_floor_shape *shape, struct tr_perf_floor **out,
                    char *error, size_t error_bytes)
{
    return open_memory(shape, &tr_perf_floor_shm, out, error, error_bytes);
}

static int open_one_sided(const struct tr_perf_floor_shape *shape, struct tr_perf_floor **out,
                          char *error, size_t error_bytes)
{
    return open_memory(shape, &tr_perf_floor_shm_one_sided, out, error, error_bytes);
}

const struct tr_perf_floor_table tr_perf_floor_shm = {
    .name = "shm",
    .variants = shm_variants,
    .variant_count = TR_ARRAY_COUNT(shm_variants),
    .open = open_shm,
    .reset = reset,
    .close = close_memory,
};

const struct tr_perf_floor_table tr_perf_floor_shm_one_sided = {
    .name = "shm one-sided",
    .variants = one_sided_variants,
    .variant_count = TR_ARRAY_COUNT(one_sided_variants),
    .open = open_one_sided,
    .reset = reset,
    .close = close_memory,
};
