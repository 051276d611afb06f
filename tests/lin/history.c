#include "tests/lin/history.h"

#include "tests/lin/memory.h"

#include <stdlib.h>

void tr_lin_history_begin(struct tr_lin_history *history, const struct tr_lin_model *model)
{
    *history = (struct tr_lin_history){.model = model};
    tr_lin_values_begin(&history->values);
}

void tr_lin_history_release(struct tr_lin_history *history)
{
    tr_lin_values_release(&history->values);
    free(history->ops);
    *history = (struct tr_lin_history){0};
}

void tr_lin_history_add(struct tr_lin_history *history, const struct tr_lin_op *op)
{
    history->ops =
        tr_lin_room(history->ops, history->count, &history->capacity, sizeof(*history->ops));
    history->ops[history->count++] = *op;
}
