/* Reads a profile of callgrind: what calls into one function cost, everything below them included.
 * Source: the manual of Valgrind, "Callgrind Format Specification". */
#ifndef TR_PERF_CALLGRIND_H
#define TR_PERF_CALLGRIND_H

#include "base/types.h"

#include <stdio.h>

TR_BEGIN_C

#define TR_PERF_CALLS_MAX      128
#define TR_PERF_CALL_NAME_MAX  64
#define TR_PERF_CALL_NAMES_MAX 8192

/* A function called from the file that is looked at. */
struct tr_perf_call {
    char name[TR_PERF_CALL_NAME_MAX];
    uint64_t count;
    uint64_t instructions; /* inclusive, of all those calls */
};

/* The calls out of one source file. */
struct tr_perf_calls {
    uint32_t count;
    struct tr_perf_call call[TR_PERF_CALLS_MAX];
};

/* Sums the calls that functions of `caller_file` (the end of its path) make; NULL: calls of any
 * file. Returns: false when the stream is not a profile, or has more names than there is room for.
 */
bool tr_perf_callgrind_read(FILE *in, const char *caller_file, struct tr_perf_calls *out);

/* The entry of a function; NULL when it was not called from there. */
const struct tr_perf_call *tr_perf_callgrind_find(const struct tr_perf_calls *calls,
                                                  const char *name);

TR_END_C

#endif
