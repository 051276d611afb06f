/* Bytes of wire and disk formats: little-endian loads and stores, alignment, spans, and cursors
 * that stay inside their memory and remember that they failed. */
#ifndef TR_BASE_BYTES_H
#define TR_BASE_BYTES_H

#include "base/types.h"

#include <string.h>

TR_BEGIN_C

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define TR_LE16(value) __builtin_bswap16(value)
#define TR_LE32(value) __builtin_bswap32(value)
#define TR_LE64(value) __builtin_bswap64(value)
#else
#define TR_LE16(value) (value)
#define TR_LE32(value) (value)
#define TR_LE64(value) (value)
#endif

/* The little-endian 16-bit number at src, of any alignment. */
static inline uint16_t tr_load_le16(const void *src)
{
    uint16_t value;
    memcpy(&value, src, sizeof(value));
    return TR_LE16(value);
}

/* The little-endian 32-bit number at src, of any alignment. */
static inline uint32_t tr_load_le32(const void *src)
{
    uint32_t value;
    memcpy(&value, src, sizeof(value));
    return TR_LE32(value);
}

/* The little-endian 64-bit number at src, of any alignment. */
static inline uint64_t tr_load_le64(const void *src)
{
    uint64_t value;
    memcpy(&value, src, sizeof(value));
    return TR_LE64(value);
}

/* Writes a 16-bit number at dst, of any alignment, in little-endian order. */
static inline void tr_store_le16(void *dst, uint16_t value)
{
    uint16_t ordered = TR_LE16(value);
    memcpy(dst, &ordered, sizeof(ordered));
}

/* Writes a 32-bit number at dst, of any alignment, in little-endian order. */
static inline void tr_store_le32(void *dst, uint32_t value)
{
    uint32_t ordered = TR_LE32(value);
    memcpy(dst, &ordered, sizeof(ordered));
}

/* Writes a 64-bit number at dst, of any alignment, in little-endian order. */
static inline void tr_store_le64(void *dst, uint64_t value)
{
    uint64_t ordered = TR_LE64(value);
    memcpy(dst, &ordered, sizeof(ordered));
}

/* True for 1, 2, 4, 8 ...; not for 0. */
static inline bool tr_is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* The next multiple of a power of two that is not below value; wraps to 0 past the last one. */
static inline uint32_t tr_align_up_u32(uint32_t value, uint32_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

/* The next multiple of a power of two that is not below value; wraps to 0 past the last one. */
static inline uint64_t tr_align_up_u64(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

/* The last multiple of a power of two that is not above value. */
static inline uint32_t tr_align_down_u32(uint32_t value, uint32_t alignment)
{
    return value & ~(alignment - 1);
}

/* The last multiple of a power of two that is not above value. */
static inline uint64_t tr_align_down_u64(uint64_t value, uint64_t alignment)
{
    return value & ~(alignment - 1);
}

/* The smaller of two 32-bit numbers. */
static inline uint32_t tr_min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The larger of two 32-bit numbers. */
static inline uint32_t tr_max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* The smaller of two 64-bit numbers. */
static inline uint64_t tr_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The larger of two 64-bit numbers. */
static inline uint64_t tr_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Bytes that someone else owns. */
struct tr_span {
    const void *data; /* may be NULL if bytes is 0 */
    uint32_t bytes;
};

/* A span of the given bytes. Owns: nothing. */
static inline struct tr_span tr_span_of(const void *data, uint32_t bytes)
{
    struct tr_span span;
    span.data = data;
    span.bytes = bytes;
    return span;
}

/* True if both have the same bytes. */
static inline bool tr_span_equal(struct tr_span a, struct tr_span b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

/* Reads a message front to back. Past the end it fails, and stays failed: reads return 0 or NULL
 * from then on, so that a decoder asks once, at its end. */
struct tr_unpack {
    const uint8_t *next;
    const uint8_t *end; /* next <= end */
    bool failed;
};

/* A reader of the given bytes, which must outlive it. */
static inline struct tr_unpack tr_unpack_from(const void *data, size_t bytes)
{
    struct tr_unpack r;
    r.next = (const uint8_t *)data;
    r.end = r.next + bytes;
    r.failed = false;
    return r;
}

/* Bytes not yet read; 0 after a failure. */
static inline size_t tr_unpack_left(const struct tr_unpack *r)
{
    return (size_t)(r->end - r->next);
}

/* True if everything was read and nothing failed: what a decoder asks at the end of its message. */
static inline bool tr_unpack_is_complete(const struct tr_unpack *r)
{
    return !r->failed && r->next == r->end;
}

/* The next bytes in place. Owns: the reader's memory keeps them.
 * Returns: NULL, with the reader failed, if fewer are left. */
static inline const uint8_t *tr_unpack_take(struct tr_unpack *r, size_t bytes)
{
    const uint8_t *at = r->next;
    if (tr_unlikely(r->failed || bytes > tr_unpack_left(r))) {
        r->failed = true;
        r->next = r->end;
        return NULL;
    }
    r->next += bytes;
    return at;
}

/* The next byte; 0 on failure. */
static inline uint8_t tr_unpack_u8(struct tr_unpack *r)
{
    const uint8_t *at = tr_unpack_take(r, 1);
    return at ? *at : (uint8_t)0;
}

/* The next little-endian 16-bit number; 0 on failure. */
static inline uint16_t tr_unpack_u16(struct tr_unpack *r)
{
    const uint8_t *at = tr_unpack_take(r, 2);
    return at ? tr_load_le16(at) : (uint16_t)0;
}

/* The next little-endian 32-bit number; 0 on failure. */
static inline uint32_t tr_unpack_u32(struct tr_unpack *r)
{
    const uint8_t *at = tr_unpack_take(r, 4);
    return at ? tr_load_le32(at) : 0;
}

/* The next little-endian 64-bit number; 0 on failure. */
static inline uint64_t tr_unpack_u64(struct tr_unpack *r)
{
    const uint8_t *at = tr_unpack_take(r, 8);
    return at ? tr_load_le64(at) : 0;
}

/* Copies the next bytes out. Returns: false, with dst untouched, if fewer are left. */
static inline bool tr_unpack_copy(struct tr_unpack *r, void *dst, size_t bytes)
{
    const uint8_t *at = tr_unpack_take(r, bytes);
    if (at != NULL && bytes != 0)
        memcpy(dst, at, bytes);
    return !r->failed;
}

/* The next bytes as a span; an empty one with NULL on failure. */
static inline struct tr_span tr_unpack_span(struct tr_unpack *r, uint32_t bytes)
{
    const uint8_t *at = tr_unpack_take(r, bytes);
    return tr_span_of(at, at ? bytes : 0);
}

/* Reads bytes that must be zero (reserved ones); fails if one is not. */
static inline void tr_unpack_zero(struct tr_unpack *r, size_t bytes)
{
    const uint8_t *at = tr_unpack_take(r, bytes);
    uint8_t any = 0;
    for (size_t i = 0; at != NULL && i < bytes; i++)
        any = (uint8_t)(any | at[i]);
    if (any != 0) {
        r->failed = true;
        r->next = r->end;
    }
}

/* Writes a message front to back. Past the end it fails, and stays failed: nothing is written from
 * then on, so that an encoder asks once, at its end. */
struct tr_pack {
    uint8_t *begin;
    uint8_t *next;
    uint8_t *end; /* begin <= next <= end */
    bool failed;
};

/* A writer into the given memory, which must outlive it. */
static inline struct tr_pack tr_pack_into(void *data, size_t bytes)
{
    struct tr_pack w;
    w.begin = (uint8_t *)data;
    w.next = w.begin;
    w.end = w.begin + bytes;
    w.failed = false;
    return w;
}

/* Bytes written so far (those before a failure). */
static inline size_t tr_pack_bytes(const struct tr_pack *w)
{
    return (size_t)(w->next - w->begin);
}

/* Room left; what it was before, after a failure. */
static inline size_t tr_pack_left(const struct tr_pack *w)
{
    return (size_t)(w->end - w->next);
}

/* Skips room for the caller to fill in place, now or later.
 * Returns: NULL, with the writer failed, if less is left. */
static inline uint8_t *tr_pack_take(struct tr_pack *w, size_t bytes)
{
    uint8_t *at = w->next;
    if (tr_unlikely(w->failed || bytes > tr_pack_left(w))) {
        w->failed = true;
        return NULL;
    }
    w->next += bytes;
    return at;
}

/* Writes a byte. */
static inline void tr_pack_u8(struct tr_pack *w, uint8_t value)
{
    uint8_t *at = tr_pack_take(w, 1);
    if (at != NULL)
        *at = value;
}

/* Writes a 16-bit number. */
static inline void tr_pack_u16(struct tr_pack *w, uint16_t value)
{
    uint8_t *at = tr_pack_take(w, 2);
    if (at != NULL)
        tr_store_le16(at, value);
}

/* Writes a 32-bit number. */
static inline void tr_pack_u32(struct tr_pack *w, uint32_t value)
{
    uint8_t *at = tr_pack_take(w, 4);
    if (at != NULL)
        tr_store_le32(at, value);
}

/* Writes a 64-bit number. */
static inline void tr_pack_u64(struct tr_pack *w, uint64_t value)
{
    uint8_t *at = tr_pack_take(w, 8);
    if (at != NULL)
        tr_store_le64(at, value);
}

/* Writes bytes. */
static inline void tr_pack_copy(struct tr_pack *w, const void *src, size_t bytes)
{
    uint8_t *at = tr_pack_take(w, bytes);
    if (at != NULL && bytes != 0)
        memcpy(at, src, bytes);
}

/* Writes zeros (reserved bytes and padding). */
static inline void tr_pack_zero(struct tr_pack *w, size_t bytes)
{
    uint8_t *at = tr_pack_take(w, bytes);
    if (at != NULL && bytes != 0)
        memset(at, 0, bytes);
}

TR_END_C

#endif
