/* The part of a failure that is worth looking at, laid out: what ended shortly before it gets stuck
 * and what was under way, one row a client, one column a beginning or an end. */
#ifndef TR_LIN_VIEW_H
#define TR_LIN_VIEW_H

#include "tests/lin/check.h"

TR_BEGIN_C

/* So many ends before the one that cannot be explained are shown. */
#define TR_LIN_VIEW_ENDS 16u

struct tr_lin_item {
    uint32_t op;
    uint32_t row;
    uint32_t first; /* columns of its beginning and its end */
    uint32_t last;
    uint32_t
        turn; /* when it took effect in the order that explains the most, from 1; 0: not in it */
    uint64_t state; /* after that */
};

struct tr_lin_view {
    const struct tr_lin_failure *failure;
    struct tr_lin_item *items; /* by invocation */
    uint32_t item_count;
    uint32_t *clients; /* of the rows */
    uint32_t row_count;
    uint32_t column_count; /* the last one is the edge, where what did not end ends */
    uint64_t state;        /* after the order that explains the most */
};

/* Lays a failure out. Owns: released by tr_lin_view_release, before the report is. */
void tr_lin_view_make(struct tr_lin_view *view, const struct tr_lin_failure *failure);
void tr_lin_view_release(struct tr_lin_view *view);

TR_END_C

#endif
