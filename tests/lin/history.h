/* A history: what clients asked a service and what they were answered, and when.
 *
 * Times are only compared: nanoseconds of one clock, or the numbers of lines. An operation that did
 * not return may take effect at any time after its invocation, or never. */
#ifndef TR_LIN_HISTORY_H
#define TR_LIN_HISTORY_H

#include "tests/lin/values.h"

TR_BEGIN_C

enum tr_lin_kind {
    TR_LIN_GET,    /* result: the value */
    TR_LIN_SET,    /* argument: the value */
    TR_LIN_CAS,    /* arguments: expected, new; result: whether it was as expected */
    TR_LIN_DEL,    /* result: whether there was a value */
    TR_LIN_APPEND, /* argument: a text, or an element; result: the length then */
    TR_LIN_INCR,   /* argument: a signed number; result: the sum */
};

#define TR_LIN_KINDS 6

/* Not returned. */
#define TR_LIN_NEVER INT64_MAX

struct tr_lin_op {
    int64_t invoke;  /* when it was asked */
    int64_t end;     /* when the answer came, or TR_LIN_NEVER */
    uint64_t result; /* a value, a number, or 0 and 1 for no and yes */
    uint64_t argument;
    uint64_t argument2;
    uint32_t client;
    uint32_t key;  /* the value of its text */
    uint32_t line; /* in the file that it was read from */
    enum tr_lin_kind kind;
    bool is_result_known; /* false: the answer says nothing, or did not come */
};

struct tr_lin_model; /* model.h */

struct tr_lin_history {
    const struct tr_lin_model *model;
    struct tr_lin_values values;
    struct tr_lin_op *ops;
    size_t count;
    size_t capacity;
};

/* Begins an empty history. Owns: released by tr_lin_history_release. */
void tr_lin_history_begin(struct tr_lin_history *history, const struct tr_lin_model *model);
void tr_lin_history_release(struct tr_lin_history *history);

/* Appends an operation. */
void tr_lin_history_add(struct tr_lin_history *history, const struct tr_lin_op *op);

TR_END_C

#endif
