/* One key's operations, prepared for the search: in the order of their invocations, with the ranks
 * of their beginnings and ends among all of them. */
#ifndef TR_LIN_PART_H
#define TR_LIN_PART_H

#include "tests/lin/model.h"

TR_BEGIN_C

/* The rank of an end that there is not. */
#define TR_LIN_NO_RANK UINT32_MAX
/* No operation. */
#define TR_LIN_NO_OP UINT32_MAX

struct tr_lin_part {
    const struct tr_lin_model *model;
    struct tr_lin_values *values;
    struct tr_lin_op *ops; /* by invocation */
    uint32_t count;
    uint32_t *call_rank; /* of each operation; all ranks are different */
    uint32_t *end_rank;  /* TR_LIN_NO_RANK: it did not return */
    /* Those that returned must take effect. */
    uint32_t *ends; /* by their ends */
    uint32_t end_count;
    uint32_t *slot; /* of each that returned: a number that no other one under way has */
    uint32_t slot_count;
    /* Those that did not return and could change something may take effect. */
    uint32_t *open; /* by invocation */
    uint32_t open_count;
    uint32_t *open_index; /* of each operation in open; TR_LIN_NO_OP: it is not there */
    /* Of equals that may take effect the one invoked before, which goes first: it can whatever the
     * later one can. TR_LIN_NO_OP: none. */
    uint32_t *open_before;
};

/* Prepares operations of one key. Owns: copies them; released by tr_lin_part_release. */
void tr_lin_part_make(struct tr_lin_part *part, const struct tr_lin_model *model,
                      struct tr_lin_values *values, const struct tr_lin_op *ops, uint32_t count);

/* Prepares what was known just after the given rank: what was invoked later is left out, what ended
 * later has not returned. */
void tr_lin_part_make_prefix(struct tr_lin_part *prefix, const struct tr_lin_part *part,
                             uint32_t rank);
void tr_lin_part_release(struct tr_lin_part *part);

TR_END_C

#endif
