/* Models: what one key does when operations come one at a time. */
#ifndef TR_LIN_MODEL_H
#define TR_LIN_MODEL_H

#include "tests/lin/history.h"

TR_BEGIN_C

/* How the state and the results of a model are to be read. */
enum tr_lin_form {
    TR_LIN_TEXTS,  /* a text or NIL */
    TR_LIN_LISTS,  /* a list of texts */
    TR_LIN_NUMBERS /* a number */
};

struct tr_lin_model {
    const char *name;
    enum tr_lin_form form;
    uint64_t start;  /* the state before everything */
    uint32_t kinds;  /* bits of those that it has */
    const char *doc; /* one line */
};

/* The models: register, kv, kv-empty, list, counter; the name NULL ends them. */
extern const struct tr_lin_model tr_lin_models[];

/* The model of a name, or NULL. */
const struct tr_lin_model *tr_lin_model_find(const char *name);

/* Applies an operation to a state. Returns whether the state allows its result; then *next is the
 * state after it. An operation whose result is not known is allowed wherever it could be carried
 * out. */
bool tr_lin_model_step(const struct tr_lin_model *model, struct tr_lin_values *values,
                       const struct tr_lin_op *op, uint64_t state, uint64_t *next);

/* Whether an operation never changes a state that allows it: a read, a comparison that failed. */
bool tr_lin_op_is_observer(const struct tr_lin_op *op);

TR_END_C

#endif
