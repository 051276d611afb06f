/* The search for an order in which the operations of one key could have taken effect one at a time.
 *
 * An operation may be next if it was invoked before the first end that was not passed yet. The
 * search goes deep first and takes the operation of that end first, so it orders no more than it
 * must; it returns from places where it was before (memo.h) and where nothing can come of it
 * (ahead.h). Operations that observe the state as it is take effect as soon as they can: waiting
 * gains them nothing. Source: Wing and Gong, "Testing and Verifying Concurrent Objects", 1993;
 * Lowe, "Testing for Linearizability", 2017. */
#ifndef TR_LIN_SEARCH_H
#define TR_LIN_SEARCH_H

#include "tests/lin/ahead.h"
#include "tests/lin/memo.h"

TR_BEGIN_C

enum tr_lin_verdict {
    TR_LIN_LINEARIZABLE,
    TR_LIN_NOT_LINEARIZABLE,
    TR_LIN_UNKNOWN /* the search went over a limit and was given up */
};

struct tr_lin_limits {
    uint64_t memory_bytes; /* of the memo and the values together */
    uint64_t step_count;   /* operations tried */
};

struct tr_lin_found {
    enum tr_lin_verdict verdict;
    uint32_t *order; /* the operations as they took effect; NULL unless linearizable */
    uint32_t order_count;
    uint64_t step_count;
};

/* Searches a part. `ahead` is between two parts. Owns: the caller frees found->order. */
void tr_lin_search(const struct tr_lin_part *part, struct tr_lin_ahead *ahead,
                   const struct tr_lin_limits *limits, struct tr_lin_found *found);

TR_END_C

#endif
