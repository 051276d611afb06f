/* A histogram of durations of fixed size, log-linear as HdrHistogram's: each power of two is
 * divided into 64 buckets, so that a value is known to 1/64 of itself, over the whole range of 64
 * bits. One thread records; any thread or process may read meanwhile, by relaxed loads, and sees
 * some recent state (its total may lag behind its buckets by the records under way). Source:
 * hdrhistogram.org, "HdrHistogram: A High Dynamic Range Histogram". */
#ifndef TR_BASE_HISTOGRAM_H
#define TR_BASE_HISTOGRAM_H

#include "base/atomic.h"
#include "base/types.h"

TR_BEGIN_C

/* Buckets of a power of two: 2^6, the bits of a value that count. */
#define TR_HISTOGRAM_SUB_BITS 6
#define TR_HISTOGRAM_SUBS     (UINT64_C(1) << TR_HISTOGRAM_SUB_BITS)

/* Values below 2 * 64 have a bucket each, then 57 powers of two follow (2^7 to 2^63): 3,776
 * buckets, 29.5 KiB. */
#define TR_HISTOGRAM_BUCKETS ((64 - TR_HISTOGRAM_SUB_BITS + 1) * 64)

/* Zeroed memory is not an empty histogram: min_ns starts at the largest value. */
struct tr_histogram {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t min_ns; /* UINT64_MAX while empty */
    uint64_t max_ns; /* 0 while empty */
    uint64_t buckets[TR_HISTOGRAM_BUCKETS];
};

/* Empties it. Thread: the recording one. */
static inline void tr_histogram_reset(struct tr_histogram *h)
{
    tr_store_relaxed(&h->count, UINT64_C(0));
    tr_store_relaxed(&h->sum_ns, UINT64_C(0));
    tr_store_relaxed(&h->min_ns, UINT64_MAX);
    tr_store_relaxed(&h->max_ns, UINT64_C(0));
    for (unsigned i = 0; i < TR_HISTOGRAM_BUCKETS; i++)
        tr_store_relaxed(&h->buckets[i], UINT64_C(0));
}

/* The bucket of a value. */
static inline unsigned tr_histogram_bucket_of(uint64_t value_ns)
{
    unsigned top = 63u - (unsigned)__builtin_clzll(value_ns | TR_HISTOGRAM_SUBS);
    unsigned shift = top - TR_HISTOGRAM_SUB_BITS;
    return (shift << TR_HISTOGRAM_SUB_BITS) + (unsigned)(value_ns >> shift);
}

/* The smallest value of a bucket. */
static inline uint64_t tr_histogram_bucket_low_ns(unsigned bucket)
{
    unsigned octave = bucket >> TR_HISTOGRAM_SUB_BITS;
    unsigned shift = octave > 1 ? octave - 1 : 0;
    return ((uint64_t)bucket - ((uint64_t)shift << TR_HISTOGRAM_SUB_BITS)) << shift;
}

/* The largest value of a bucket. */
static inline uint64_t tr_histogram_bucket_high_ns(unsigned bucket)
{
    unsigned octave = bucket >> TR_HISTOGRAM_SUB_BITS;
    unsigned shift = octave > 1 ? octave - 1 : 0;
    return tr_histogram_bucket_low_ns(bucket) + ((UINT64_C(1) << shift) - 1);
}

/* Adds to a field that only this thread writes and others read. */
static inline void tr_histogram_add(uint64_t *field, uint64_t value)
{
    tr_store_relaxed(field, tr_load_relaxed(field) + value);
}

/* Records a value so many times. Thread: the recording one.  Cost: about 20 instructions, no
 * branch. */
static inline void tr_histogram_record_count(struct tr_histogram *h, uint64_t value_ns,
                                             uint64_t count)
{
    uint64_t min = tr_load_relaxed(&h->min_ns);
    uint64_t max = tr_load_relaxed(&h->max_ns);
    tr_store_relaxed(&h->min_ns, value_ns < min ? value_ns : min);
    tr_store_relaxed(&h->max_ns, value_ns > max ? value_ns : max);
    tr_histogram_add(&h->sum_ns, value_ns * count);
    tr_histogram_add(&h->buckets[tr_histogram_bucket_of(value_ns)], count);
    tr_histogram_add(&h->count, count);
}

/* Records a value. Thread: the recording one.  Cost: as above. */
static inline void tr_histogram_record(struct tr_histogram *h, uint64_t value_ns)
{
    tr_histogram_record_count(h, value_ns, 1);
}

/* Adds all that another one holds (which may be recording meanwhile).
 * Thread: the one that records into h.  Cost: a pass over the buckets, some microseconds. */
static inline void tr_histogram_merge(struct tr_histogram *h, const struct tr_histogram *from)
{
    uint64_t min = tr_load_relaxed(&from->min_ns);
    uint64_t max = tr_load_relaxed(&from->max_ns);
    if (min < h->min_ns)
        tr_store_relaxed(&h->min_ns, min);
    if (max > h->max_ns)
        tr_store_relaxed(&h->max_ns, max);
    tr_histogram_add(&h->sum_ns, tr_load_relaxed(&from->sum_ns));
    tr_histogram_add(&h->count, tr_load_relaxed(&from->count));
    for (unsigned i = 0; i < TR_HISTOGRAM_BUCKETS; i++)
        tr_histogram_add(&h->buckets[i], tr_load_relaxed(&from->buckets[i]));
}

/* Values recorded. Thread: any. */
static inline uint64_t tr_histogram_count(const struct tr_histogram *h)
{
    return tr_load_relaxed(&h->count);
}

/* Mean of the values themselves, not of their buckets; 0 while empty. Thread: any. */
static inline uint64_t tr_histogram_mean_ns(const struct tr_histogram *h)
{
    uint64_t count = tr_load_relaxed(&h->count);
    return count ? tr_load_relaxed(&h->sum_ns) / count : 0;
}

/* Largest value, exact; 0 while empty. Thread: any. */
static inline uint64_t tr_histogram_max_ns(const struct tr_histogram *h)
{
    return tr_load_relaxed(&h->max_ns);
}

/* Smallest value, exact; 0 while empty. Thread: any. */
static inline uint64_t tr_histogram_min_ns(const struct tr_histogram *h)
{
    return tr_load_relaxed(&h->count) ? tr_load_relaxed(&h->min_ns) : 0;
}

/* The smallest value that is not below ppm millionths of the values (500,000: the median; 999,900:
 * p99.99), at the upper end of its bucket, but never above the largest one; 0 while empty.
 * Thread: any.  Cost: two passes over the buckets, some microseconds. */
static inline uint64_t tr_histogram_percentile_ns(const struct tr_histogram *h, uint32_t ppm)
{
    const uint64_t whole = 1000000;
    uint64_t total = 0;
    uint64_t seen = 0;
    uint64_t max = tr_load_relaxed(&h->max_ns);
    for (unsigned i = 0; i < TR_HISTOGRAM_BUCKETS; i++)
        total += tr_load_relaxed(&h->buckets[i]);
    if (total == 0)
        return 0;
    /* ceil(total * ppm / 1,000,000), without overflow; the first value at least. */
    uint64_t rank = total / whole * ppm + (total % whole * ppm + whole - 1) / whole;
    rank = rank ? rank : 1;
    for (unsigned i = 0; i < TR_HISTOGRAM_BUCKETS; i++) {
        uint64_t high = tr_histogram_bucket_high_ns(i);
        seen += tr_load_relaxed(&h->buckets[i]);
        if (seen >= rank)
            return high < max ? high : max;
    }
    return max;
}

TR_END_C

#endif
