#include "tests/lin/model.h"

#include "base/assert.h"

#include <string.h>

#define BIT(kind) (1u << (kind))

const struct tr_lin_model tr_lin_models[] = {
    {"register", TR_LIN_TEXTS, TR_LIN_NIL, BIT(TR_LIN_GET) | BIT(TR_LIN_SET) | BIT(TR_LIN_CAS),
     "read, write, compare and set"},
    {"kv", TR_LIN_TEXTS, TR_LIN_NIL,
     BIT(TR_LIN_GET) | BIT(TR_LIN_SET) | BIT(TR_LIN_CAS) | BIT(TR_LIN_DEL) | BIT(TR_LIN_APPEND) |
         BIT(TR_LIN_INCR),
     "get, set, compare and set, del, append, incr, as Redis does them"},
    {"kv-empty", TR_LIN_TEXTS, TR_LIN_EMPTY,
     BIT(TR_LIN_GET) | BIT(TR_LIN_SET) | BIT(TR_LIN_CAS) | BIT(TR_LIN_APPEND),
     "get, set, compare and set, append, where a key that is not there reads as the empty text"},
    {"list", TR_LIN_LISTS, TR_LIN_EMPTY, BIT(TR_LIN_GET) | BIT(TR_LIN_APPEND),
     "append an element, read the whole list"},
    {"counter", TR_LIN_NUMBERS, 0, BIT(TR_LIN_GET) | BIT(TR_LIN_INCR), "add, read"},
    {NULL, TR_LIN_TEXTS, 0, 0, NULL},
};

const struct tr_lin_model *tr_lin_model_find(const char *name)
{
    for (const struct tr_lin_model *model = tr_lin_models; model->name != NULL; model++) {
        if (strcmp(model->name, name) == 0)
            return model;
    }
    return NULL;
}

static bool append(const struct tr_lin_model *model, struct tr_lin_values *values,
                   const struct tr_lin_op *op, uint64_t state, uint64_t *next)
{
    uint32_t piece = (uint32_t)op->argument;
    *next = model->form == TR_LIN_LISTS ? tr_lin_values_child(values, (uint32_t)state, piece)
                                        : tr_lin_values_join(values, (uint32_t)state, piece);
    return !op->is_result_known || op->result == values->nodes[*next].length;
}

static bool add(const struct tr_lin_model *model, struct tr_lin_values *values,
                const struct tr_lin_op *op, uint64_t state, uint64_t *next)
{
    int64_t number = (int64_t)state;
    if (model->form != TR_LIN_NUMBERS && !tr_lin_values_is_number(values, (uint32_t)state, &number))
        return false;
    int64_t sum;
    if (__builtin_add_overflow(number, (int64_t)op->argument, &sum))
        return false;
    if (op->is_result_known && (int64_t)op->result != sum)
        return false;
    *next = model->form == TR_LIN_NUMBERS ? (uint64_t)sum : tr_lin_values_number(values, sum);
    return true;
}

bool tr_lin_model_step(const struct tr_lin_model *model, struct tr_lin_values *values,
                       const struct tr_lin_op *op, uint64_t state, uint64_t *next)
{
    bool is_met;
    switch (op->kind) {
    case TR_LIN_GET:
        *next = state;
        return !op->is_result_known || op->result == state;
    case TR_LIN_SET:
        *next = op->argument;
        return true;
    case TR_LIN_CAS:
        is_met = state == op->argument;
        *next = is_met ? op->argument2 : state;
        return !op->is_result_known || op->result == (uint64_t)is_met;
    case TR_LIN_DEL:
        *next = TR_LIN_NIL;
        return !op->is_result_known || op->result == (uint64_t)(state != TR_LIN_NIL);
    case TR_LIN_APPEND:
        return append(model, values, op, state, next);
    case TR_LIN_INCR:
        return add(model, values, op, state, next);
    }
    tr_unreachable();
}

bool tr_lin_op_is_observer(const struct tr_lin_op *op)
{
    if (op->kind == TR_LIN_GET)
        return true;
    return (op->kind == TR_LIN_CAS || op->kind == TR_LIN_DEL) && op->is_result_known &&
           op->result == 0;
}
