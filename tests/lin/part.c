#include "tests/lin/part.h"

#include "tests/lin/memory.h"

#include <stdlib.h>
#include <string.h>

/* A beginning or an end of an operation. */
struct moment {
    int64_t at;
    uint32_t op;
    bool is_end;
};

static int compare_calls(const void *a, const void *b)
{
    const struct tr_lin_op *x = a;
    const struct tr_lin_op *y = b;
    if (x->invoke != y->invoke)
        return x->invoke < y->invoke ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

/* At the same time beginnings come before ends: such operations overlap, which refuses nothing that
 * could have been. */
static int compare_moments(const void *a, const void *b)
{
    const struct moment *x = a;
    const struct moment *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    if (x->is_end != y->is_end)
        return x->is_end ? 1 : -1;
    return x->op < y->op ? -1 : x->op > y->op;
}

static uint32_t list_moments(const struct tr_lin_part *part, struct moment *moments)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < part->count; i++) {
        moments[count++] = (struct moment){part->ops[i].invoke, i, false};
        if (part->ops[i].end != TR_LIN_NEVER)
            moments[count++] = (struct moment){part->ops[i].end, i, true};
    }
    qsort(moments, count, sizeof(*moments), compare_moments);
    return count;
}

/* Ranks, the order of the ends, and the slots: each operation under way has one. */
static void rank(struct tr_lin_part *part)
{
    struct moment *moments = tr_lin_make((size_t)part->count * 2, sizeof(*moments));
    uint32_t *freed = tr_lin_make(part->count, sizeof(*freed));
    uint32_t freed_count = 0;
    uint32_t count = list_moments(part, moments);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t op = moments[i].op;
        if (moments[i].is_end) {
            part->end_rank[op] = i;
            part->ends[part->end_count++] = op;
            freed[freed_count++] = part->slot[op];
            continue;
        }
        part->call_rank[op] = i;
        part->end_rank[op] = TR_LIN_NO_RANK;
        if (part->ops[op].end != TR_LIN_NEVER)
            part->slot[op] = freed_count > 0 ? freed[--freed_count] : part->slot_count++;
    }
    free(freed);
    free(moments);
}

static int compare_deeds(const struct tr_lin_op *x, const struct tr_lin_op *y)
{
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (x->argument != y->argument)
        return x->argument < y->argument ? -1 : 1;
    return x->argument2 < y->argument2 ? -1 : x->argument2 > y->argument2;
}

static int compare_open(const void *a, const void *b)
{
    const struct tr_lin_op *x = *(const struct tr_lin_op *const *)a;
    const struct tr_lin_op *y = *(const struct tr_lin_op *const *)b;
    int deeds = compare_deeds(x, y);
    return deeds != 0 ? deeds : x < y ? -1 : x > y;
}

static void list_open(struct tr_lin_part *part)
{
    const struct tr_lin_op **sorted = tr_lin_make(part->count, sizeof(const struct tr_lin_op *));
    for (uint32_t i = 0; i < part->count; i++) {
        part->open_index[i] = part->open_before[i] = TR_LIN_NO_OP;
        if (part->ops[i].end != TR_LIN_NEVER || tr_lin_op_is_observer(&part->ops[i]))
            continue;
        sorted[part->open_count] = &part->ops[i];
        part->open_index[i] = part->open_count;
        part->open[part->open_count++] = i;
    }
    qsort(sorted, part->open_count, sizeof(*sorted), compare_open);
    for (uint32_t i = 1; i < part->open_count; i++) {
        if (compare_deeds(sorted[i - 1], sorted[i]) == 0)
            part->open_before[sorted[i] - part->ops] = (uint32_t)(sorted[i - 1] - part->ops);
    }
    free(sorted);
}

static void prepare(struct tr_lin_part *part)
{
    uint32_t **arrays[] = {&part->call_rank, &part->end_rank,   &part->ends,       &part->slot,
                           &part->open,      &part->open_index, &part->open_before};
    for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
        *arrays[i] = tr_lin_make(part->count, sizeof(uint32_t));
    qsort(part->ops, part->count, sizeof(*part->ops), compare_calls);
    rank(part);
    list_open(part);
}

void tr_lin_part_make(struct tr_lin_part *part, const struct tr_lin_model *model,
                      struct tr_lin_values *values, const struct tr_lin_op *ops, uint32_t count)
{
    *part = (struct tr_lin_part){.model = model, .values = values, .count = count};
    part->ops = tr_lin_make(count, sizeof(*ops));
    if (count > 0)
        memcpy(part->ops, ops, count * sizeof(*ops));
    prepare(part);
}

void tr_lin_part_make_prefix(struct tr_lin_part *prefix, const struct tr_lin_part *part,
                             uint32_t rank)
{
    *prefix = (struct tr_lin_part){.model = part->model, .values = part->values};
    prefix->ops = tr_lin_make(part->count, sizeof(*part->ops));
    for (uint32_t i = 0; i < part->count && part->call_rank[i] <= rank; i++) {
        struct tr_lin_op *op = &prefix->ops[prefix->count++];
        *op = part->ops[i];
        if (part->end_rank[i] > rank) {
            op->end = TR_LIN_NEVER;
            op->is_result_known = false;
        }
    }
    prepare(prefix);
}

void tr_lin_part_release(struct tr_lin_part *part)
{
    uint32_t *arrays[] = {part->call_rank, part->end_rank,   part->ends,       part->slot,
                          part->open,      part->open_index, part->open_before};
    for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
        free(arrays[i]);
    free(part->ops);
    *part = (struct tr_lin_part){0};
}
