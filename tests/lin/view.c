#include "tests/lin/view.h"

#include "tests/lin/memory.h"

#include <stdlib.h>

/* The rank of the first moment that is shown. */
static uint32_t first_rank(const struct tr_lin_part *part, uint32_t stuck)
{
    uint32_t at = 0;
    while (part->ends[at] != stuck)
        at++;
    return at > TR_LIN_VIEW_ENDS ? part->end_rank[part->ends[at - TR_LIN_VIEW_ENDS]] : 0;
}

/* Lists what was under way between two moments; of what never ended, only what took effect lately
 * or was invoked lately. */
static void list_items(struct tr_lin_view *view, const uint32_t *turns, uint32_t from, uint32_t to)
{
    const struct tr_lin_failure *failure = view->failure;
    const struct tr_lin_part *part = &failure->part;
    for (uint32_t i = 0; i < part->count && part->call_rank[i] <= to; i++) {
        bool is_late = part->call_rank[i] >= from ||
                       (turns[i] != 0 && turns[i] + TR_LIN_VIEW_ENDS > failure->order_count);
        bool is_shown = part->end_rank[i] == TR_LIN_NO_RANK ? is_late : part->end_rank[i] >= from;
        if (is_shown)
            view->items[view->item_count++] = (struct tr_lin_item){.op = i, .turn = turns[i]};
    }
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t column_of(const uint32_t *ranks, uint32_t count, uint32_t rank)
{
    uint32_t column = 0;
    while (column < count && ranks[column] < rank)
        column++;
    return column;
}

/* Gives each beginning and each end up to a moment a column of its own. */
static void lay_columns(struct tr_lin_view *view, uint32_t to)
{
    const struct tr_lin_part *part = &view->failure->part;
    uint32_t *ranks = tr_lin_make((size_t)view->item_count * 2, sizeof(*ranks));
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->item_count; i++) {
        ranks[count++] = part->call_rank[view->items[i].op];
        if (part->end_rank[view->items[i].op] <= to)
            ranks[count++] = part->end_rank[view->items[i].op];
    }
    qsort(ranks, count, sizeof(*ranks), compare_numbers);
    for (uint32_t i = 0; i < view->item_count; i++) {
        struct tr_lin_item *item = &view->items[i];
        item->first = column_of(ranks, count, part->call_rank[item->op]);
        item->last = column_of(ranks, count, part->end_rank[item->op]);
    }
    view->column_count = count + 1;
    free(ranks);
}

/* Whether a row has room for an item: a client that did not wait for an answer needs more than one.
 */
static bool is_free(const struct tr_lin_view *view, uint32_t row, const struct tr_lin_item *item)
{
    for (const struct tr_lin_item *other = view->items; other < item; other++) {
        if (other->row == row && other->last >= item->first)
            return false;
    }
    return true;
}

static void lay_rows(struct tr_lin_view *view)
{
    const struct tr_lin_op *ops = view->failure->part.ops;
    /* The clients in order, each as often as it has items: there are rows enough for all. */
    uint32_t *clients = tr_lin_make(view->item_count, sizeof(*clients));
    for (uint32_t i = 0; i < view->item_count; i++)
        clients[i] = ops[view->items[i].op].client;
    qsort(clients, view->item_count, sizeof(*clients), compare_numbers);
    bool *is_taken = tr_lin_make(view->item_count, sizeof(*is_taken));
    for (uint32_t i = 0; i < view->item_count; i++) {
        struct tr_lin_item *item = &view->items[i];
        uint32_t row = 0;
        while (clients[row] != ops[item->op].client || !is_free(view, row, item))
            row++;
        item->row = row;
        is_taken[row] = true;
    }
    for (uint32_t row = 0; row < view->item_count; row++) {
        if (!is_taken[row])
            continue;
        for (uint32_t i = 0; i < view->item_count; i++) {
            if (view->items[i].row == row)
                view->items[i].row = view->row_count;
        }
        clients[view->row_count++] = clients[row];
    }
    free(is_taken);
    view->clients = clients;
}

/* Follows the order that explains the most, for the states of the items. */
static void follow(struct tr_lin_view *view)
{
    const struct tr_lin_failure *failure = view->failure;
    const struct tr_lin_part *part = &failure->part;
    uint64_t *states = tr_lin_make(part->count, sizeof(*states));
    view->state = part->model->start;
    for (uint32_t i = 0; i < failure->order_count; i++) {
        struct tr_lin_op op = part->ops[failure->order[i]];
        /* What ended later had no result yet. */
        if (part->end_rank[failure->order[i]] >= part->end_rank[failure->stuck])
            op.is_result_known = false;
        tr_lin_model_step(part->model, part->values, &op, view->state, &view->state);
        states[failure->order[i]] = view->state;
    }
    for (uint32_t i = 0; i < view->item_count; i++)
        view->items[i].state = states[view->items[i].op];
    free(states);
}

void tr_lin_view_make(struct tr_lin_view *view, const struct tr_lin_failure *failure)
{
    const struct tr_lin_part *part = &failure->part;
    *view = (struct tr_lin_view){.failure = failure};
    uint32_t *turns = tr_lin_make(part->count, sizeof(*turns));
    for (uint32_t i = 0; i < failure->order_count; i++)
        turns[failure->order[i]] = i + 1;
    uint32_t to = part->end_rank[failure->stuck];
    view->items = tr_lin_make(part->count, sizeof(*view->items));
    list_items(view, turns, first_rank(part, failure->stuck), to);
    free(turns);
    lay_columns(view, to);
    lay_rows(view);
    follow(view);
}

void tr_lin_view_release(struct tr_lin_view *view)
{
    free(view->items);
    free(view->clients);
    *view = (struct tr_lin_view){0};
}
