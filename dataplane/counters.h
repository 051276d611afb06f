/*
 * Counters and histograms of one node, in a shared-memory segment that describes itself, so that a
 * tool of another version can print them (tr_stat_open).
 *
 * Each value has one writing thread, which uses relaxed stores; readers see recent values. The
 * segment is /dev/shm/trireme.stat.NAME, mode 0600; one that a dead process left is replaced.
 */
#ifndef TR_DATAPLANE_COUNTERS_H
#define TR_DATAPLANE_COUNTERS_H

#include "base/atomic.h"
#include "base/histogram.h"
#include "base/types.h"
#include "trireme/stat.h"

TR_BEGIN_C

#define TR_COUNTERS_MAGIC    UINT64_C(0x32544154534d5254) /* "TRMSTAT2" */
#define TR_COUNTERS_VERSION  2u
#define TR_COUNTERS_PREFIX   "trireme.stat."
#define TR_COUNTERS_NAME_MAX 160
/* Rows and bytes of values that a segment has room for; pages that are not used are not taken. */
#define TR_COUNTERS_ROWS_MAX     65536u
#define TR_COUNTERS_VALUES_BYTES (UINT64_C(64) << 20)

/* The beginning of a segment. Rows follow at rows_offset, values at values_offset. */
struct tr_counters_header {
    tr_atomic_u64 magic; /* stored last */
    uint32_t version;
    uint32_t row_bytes;
    uint32_t process;
    tr_atomic_u32 row_count; /* released after the row is complete */
    uint64_t born;           /* start time of the process */
    uint64_t rows_offset, values_offset, total_bytes;
};

/* One figure of a segment. Strings end in a zero byte. */
struct tr_counters_row {
    char name[32];
    char scope[32];
    char help[112];
    uint32_t kind; /* enum tr_stat_kind */
    uint32_t reserved;
    uint64_t
        value_offset; /* of a uint64_t or a struct tr_histogram, from the segment's beginning */
};

/* The writing side. */
struct tr_counters {
    struct tr_counters_header *header;
    uint64_t values_used;
    char path[TR_COUNTERS_NAME_MAX + 32]; /* empty: private memory, nobody reads */
};

/* Makes a segment. name "": private memory. Returns TR_OK, TR_EINVAL (name), TR_EBUSY (of a living
 * process), TR_EPERM, TR_ENOMEM, TR_ESYS. Thread: setup. */
int tr_counters_open(struct tr_counters *c, const char *name);
/* Removes it. */
void tr_counters_close(struct tr_counters *c);
/* Adds a counter or gauge. The texts are copied. Returns its value, never NULL (when the segment is
 * full, a value that nobody reads). Thread: setup. */
uint64_t *tr_counters_add(struct tr_counters *c, enum tr_stat_kind kind, const char *scope,
                          const char *name, const char *help);
/* Adds a histogram of nanoseconds; as above. */
struct tr_histogram *tr_counters_add_histogram(struct tr_counters *c, const char *scope,
                                               const char *name, const char *help);
/* Bytes of memory that the segment takes. */
uint64_t tr_counters_bytes(const struct tr_counters *c);

/* Adds to a counter of the calling thread. */
static inline void tr_counter_add(uint64_t *counter, uint64_t value)
{
    tr_store_relaxed(counter, tr_load_relaxed(counter) + value);
}

TR_END_C

#endif
