/* Operations and states in words. */
#ifndef TR_LIN_WORDS_H
#define TR_LIN_WORDS_H

#include "tests/lin/model.h"

TR_BEGIN_C

/* Room for an operation in words. Long values are cut. */
#define TR_LIN_WORDS_BYTES 200

/* A state, or a value of the model: "a", nil, ["a" "b"], 7. */
void tr_lin_words_of_state(const struct tr_lin_model *model, struct tr_lin_values *values,
                           uint64_t state, char words[TR_LIN_WORDS_BYTES]);
/* A key. */
void tr_lin_words_of_key(struct tr_lin_values *values, uint32_t key,
                         char words[TR_LIN_WORDS_BYTES]);
/* An operation with its result: cas "a" "b" = true. */
void tr_lin_words_of_op(const struct tr_lin_model *model, struct tr_lin_values *values,
                        const struct tr_lin_op *op, char words[TR_LIN_WORDS_BYTES]);

TR_END_C

#endif
