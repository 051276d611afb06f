#include "tests/lin/draw.h"
#include "tests/lin/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Characters of a column of the timeline. */
#define COLUMN 3u

static bool makes(const struct tr_lin_op *op, uint64_t value)
{
    return (op->kind == TR_LIN_SET && op->argument == value) ||
           (op->kind == TR_LIN_CAS && op->argument2 == value &&
            (!op->is_result_known || op->result == 1));
}

void tr_lin_draw_origin(const struct tr_lin_failure *failure, char words[TR_LIN_ORIGIN_BYTES])
{
    const struct tr_lin_part *part = &failure->part;
    const struct tr_lin_op *stuck = &part->ops[failure->stuck];
    const struct tr_lin_op *maker = NULL;
    words[0] = '\0';
    if (stuck->kind != TR_LIN_GET || part->model->form != TR_LIN_TEXTS ||
        stuck->result == part->model->start)
        return;
    for (uint32_t i = 0; i < part->count && part->ops[i].invoke <= stuck->end; i++) {
        const struct tr_lin_op *op = &part->ops[i];
        if (op->kind == TR_LIN_APPEND || op->kind == TR_LIN_INCR || op->kind == TR_LIN_DEL)
            return;
        if (makes(op, stuck->result))
            maker = op;
    }
    char value[TR_LIN_WORDS_BYTES];
    tr_lin_words_of_state(part->model, part->values, stuck->result, value);
    if (maker == NULL)
        snprintf(words, TR_LIN_ORIGIN_BYTES, "Nobody wrote %s before.", value);
    else if (maker->end == TR_LIN_NEVER)
        snprintf(words, TR_LIN_ORIGIN_BYTES,
                 "%s was last written by client %u, from %" PRId64 " on, outcome unknown.", value,
                 maker->client, maker->invoke);
    else
        snprintf(words, TR_LIN_ORIGIN_BYTES,
                 "%s was last written by client %u, between %" PRId64 " and %" PRId64 ".", value,
                 maker->client, maker->invoke, maker->end);
}

static void put_op(FILE *out, const struct tr_lin_view *view, const struct tr_lin_item *item)
{
    const struct tr_lin_part *part = &view->failure->part;
    const struct tr_lin_op *op = &part->ops[item->op];
    char words[TR_LIN_WORDS_BYTES];
    tr_lin_words_of_op(part->model, part->values, op, words);
    if (item->turn != 0)
        fprintf(out, "  %7u  ", item->turn);
    else
        fprintf(out, "           ");
    fprintf(out, "client %-4u %-44s from %" PRId64, op->client, words, op->invoke);
    if (op->end == TR_LIN_NEVER)
        fputs(", no return", out);
    else
        fprintf(out, " to %" PRId64, op->end);
    if (item->turn != 0) {
        tr_lin_words_of_state(part->model, part->values, item->state, words);
        fprintf(out, "; then %s", words);
    }
    fputc('\n', out);
}

static int compare_turns(const void *a, const void *b)
{
    const struct tr_lin_item *x = a;
    const struct tr_lin_item *y = b;
    return x->turn < y->turn ? -1 : x->turn > y->turn;
}

static void put_order(FILE *out, const struct tr_lin_view *view)
{
    struct tr_lin_item *items = tr_lin_make(view->item_count, sizeof(*items));
    memcpy(items, view->items, view->item_count * sizeof(*items));
    qsort(items, view->item_count, sizeof(*items), compare_turns);
    fprintf(out, "An order that explains everything before (the last of its %u operations):\n",
            view->failure->order_count);
    for (uint32_t i = 0; i < view->item_count; i++) {
        if (items[i].turn != 0)
            put_op(out, view, &items[i]);
    }
    fputs("Under way and not in it:\n", out);
    for (uint32_t i = 0; i < view->item_count; i++) {
        if (items[i].turn == 0 && items[i].op != view->failure->stuck)
            put_op(out, view, &items[i]);
    }
    fputs("No order explains:\n", out);
    for (uint32_t i = 0; i < view->item_count; i++) {
        if (items[i].op == view->failure->stuck)
            put_op(out, view, &items[i]);
    }
    free(items);
}

/* One operation in its row: [17-----], [XX---] for the one that cannot be explained, [-----> for
 * one that is not in the order and did not end. */
static void put_bar(char *row, const struct tr_lin_view *view, const struct tr_lin_item *item)
{
    char label[16] = "";
    uint32_t first = item->first * COLUMN;
    uint32_t last = item->last * COLUMN + COLUMN - 1;
    bool is_open = item->last == view->column_count - 1;
    if (item->op == view->failure->stuck)
        memcpy(label, "XX", 3);
    else if (item->turn != 0)
        snprintf(label, sizeof(label), "%u", item->turn);
    memset(row + first, '-', last - first);
    row[first] = '[';
    row[last] = is_open ? '>' : ']';
    size_t room = last - first - 1;
    size_t length = strlen(label);
    /* The last digits tell neighbours apart. */
    size_t cut = length > room ? length - room : 0;
    memcpy(row + first + 1, label + cut, length - cut);
}

static void put_timeline(FILE *out, const struct tr_lin_view *view)
{
    size_t width = (size_t)view->column_count * COLUMN;
    char *row = tr_lin_make(width + 1, 1);
    fputs("One row a client, time to the right; XX cannot be explained, what has no number is "
          "not\nin the order:\n",
          out);
    for (uint32_t i = 0; i < view->row_count; i++) {
        memset(row, ' ', width);
        for (uint32_t j = 0; j < view->item_count; j++) {
            if (view->items[j].row == i)
                put_bar(row, view, &view->items[j]);
        }
        size_t end = width;
        while (end > 0 && row[end - 1] == ' ')
            end--;
        fprintf(out, "%6u  %.*s\n", view->clients[i], (int)end, row);
    }
    free(row);
}

void tr_lin_draw_text(FILE *out, const struct tr_lin_view *view)
{
    const struct tr_lin_failure *failure = view->failure;
    char words[TR_LIN_ORIGIN_BYTES];
    tr_lin_words_of_key(failure->part.values, failure->key, words);
    fprintf(out, "key %s, %u operations: stuck at one that ended at %" PRId64 "\n", words,
            failure->part.count, failure->part.ops[failure->stuck].end);
    if (!failure->is_shortest)
        fputs("(there may be an earlier one: looking for it went over a limit)\n", out);
    put_order(out, view);
    tr_lin_draw_origin(failure, words);
    if (words[0] != '\0')
        fprintf(out, "%s\n", words);
    put_timeline(out, view);
}
