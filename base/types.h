/* Words that every layer writes: compiler hints and the size of a cache line. */
#ifndef TR_BASE_TYPES_H
#define TR_BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens and closes the C linkage of a header that C++ may include. */
#ifdef __cplusplus
#define TR_BEGIN_C extern "C" {
#define TR_END_C   }
#else
#define TR_BEGIN_C
#define TR_END_C
#endif

/* Bytes that two cores hand over as one; what different cores write stands this far apart. The same
 * on x86-64 and on the aarch64 servers that we know. */
#define TR_CACHE_LINE 64

/* The branch that is nearly always, or nearly never, taken. */
#define tr_likely(condition)   __builtin_expect(!!(condition), 1)
#define tr_unlikely(condition) __builtin_expect(!!(condition), 0)

/* A function whose result says something that the caller must not ignore. */
#define tr_nodiscard __attribute__((warn_unused_result))

/* A small function of the poll path that must be part of its caller, and a big one that must not.
 */
#define tr_always_inline inline __attribute__((always_inline))
#define tr_noinline      __attribute__((noinline))

/* A struct or member that begins on a boundary of so many bytes. */
#define TR_ALIGNED(bytes) __attribute__((aligned(bytes)))

/* Number of elements of an array (not of a pointer). */
#define TR_ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The struct of which pointer is the given member. */
#define tr_container_of(pointer, type, member) \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
