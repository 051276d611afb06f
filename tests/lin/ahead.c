#include "tests/lin/ahead.h"

#include "tests/lin/memory.h"

#include <stdlib.h>

#define NONE UINT64_MAX

#define BIT(kind) (1u << (kind))
#define SETTING   (BIT(TR_LIN_GET) | BIT(TR_LIN_SET) | BIT(TR_LIN_CAS) | BIT(TR_LIN_DEL))
#define GROWING   (BIT(TR_LIN_GET) | BIT(TR_LIN_APPEND))
#define COUNTING  (BIT(TR_LIN_GET) | BIT(TR_LIN_INCR))
#define BLIND     (BIT(TR_LIN_GET) | BIT(TR_LIN_SET) | BIT(TR_LIN_CAS))

void tr_lin_ahead_begin(struct tr_lin_ahead *ahead)
{
    *ahead = (struct tr_lin_ahead){0};
}

static void release_floor(struct tr_lin_ahead *ahead)
{
    free(ahead->floor);
    free(ahead->floor_at);
    free(ahead->is_lifted);
    ahead->floor = NULL;
    ahead->floor_at = NULL;
    ahead->is_lifted = NULL;
}

void tr_lin_ahead_release(struct tr_lin_ahead *ahead)
{
    free(ahead->counts);
    release_floor(ahead);
    *ahead = (struct tr_lin_ahead){0};
}

static bool is_known(const struct tr_lin_op *op, uint64_t result)
{
    return op->is_result_known && op->result == result;
}

/* The value that an operation must find, or NONE. */
static uint64_t needed(const struct tr_lin_op *op)
{
    if (op->kind == TR_LIN_GET && op->is_result_known)
        return op->result;
    if (op->kind == TR_LIN_CAS && is_known(op, 1))
        return op->argument;
    if (op->kind == TR_LIN_DEL && is_known(op, 0))
        return TR_LIN_NIL;
    return NONE;
}

/* The value that makes a difference to an operation, or NONE. */
static uint64_t wanted(const struct tr_lin_op *op)
{
    return op->kind == TR_LIN_CAS ? op->argument : needed(op);
}

/* The value that an operation can bring about, or NONE. */
static uint64_t made(const struct tr_lin_op *op)
{
    if (op->kind == TR_LIN_SET)
        return op->argument;
    if (op->kind == TR_LIN_CAS && !is_known(op, 0))
        return op->argument2;
    if (op->kind == TR_LIN_DEL && !is_known(op, 0))
        return TR_LIN_NIL;
    return NONE;
}

/* Adds an operation to the counts, or takes it away. */
static void count(struct tr_lin_ahead *ahead, uint32_t op, uint32_t by)
{
    const struct tr_lin_op *o = &ahead->part->ops[op];
    if (needed(o) != NONE)
        ahead->counts[needed(o)].needs += by;
    if (wanted(o) != NONE)
        ahead->counts[wanted(o)].wants += by;
    if (made(o) != NONE)
        ahead->counts[made(o)].makers += by;
    if (o->kind == TR_LIN_GET && o->is_result_known)
        ahead->reads_left += by;
}

static void set_reads(struct tr_lin_ahead *ahead, bool is_read)
{
    const struct tr_lin_part *part = ahead->part;
    for (uint32_t i = 0; i < part->count; i++) {
        if (part->ops[i].kind != TR_LIN_GET || !part->ops[i].is_result_known)
            continue;
        uint32_t value = (uint32_t)part->ops[i].result;
        while (ahead->counts[value].is_read != is_read) {
            ahead->counts[value].is_read = is_read;
            value = part->values->nodes[value].parent;
        }
    }
}

static void forget(struct tr_lin_ahead *ahead, uint64_t value)
{
    if (value != NONE)
        ahead->counts[value] = (struct tr_lin_ahead_counts){0};
}

/* The number that a state or a result is; the least of all for a text that is none, which is never
 * met. */
static int64_t number_of(const struct tr_lin_part *part, uint64_t state)
{
    int64_t number = (int64_t)state;
    if (part->model->form != TR_LIN_NUMBERS &&
        !tr_lin_values_is_number(part->values, (uint32_t)state, &number))
        return INT64_MIN;
    return number;
}

static int compare_needs(const void *a, const void *b)
{
    const struct tr_lin_ahead_need *x = a;
    const struct tr_lin_ahead_need *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Sorts what has to be found, for counting. */
static void lay_floor(struct tr_lin_ahead *ahead)
{
    const struct tr_lin_part *part = ahead->part;
    ahead->floor = tr_lin_make(part->count, sizeof(*ahead->floor));
    ahead->floor_at = tr_lin_make(part->count, sizeof(*ahead->floor_at));
    ahead->is_lifted = tr_lin_make(part->count, sizeof(*ahead->is_lifted));
    ahead->floor_count = ahead->floor_first = 0;
    for (uint32_t i = 0; i < part->count; i++) {
        const struct tr_lin_op *op = &part->ops[i];
        ahead->floor_at[i] = TR_LIN_NO_OP;
        if (part->end_rank[i] == TR_LIN_NO_RANK || !op->is_result_known)
            continue;
        int64_t number = op->kind == TR_LIN_GET ? number_of(part, op->result)
                                                : (int64_t)(op->result - op->argument);
        ahead->floor[ahead->floor_count++] = (struct tr_lin_ahead_need){number, i};
    }
    qsort(ahead->floor, ahead->floor_count, sizeof(*ahead->floor), compare_needs);
    for (uint32_t i = 0; i < ahead->floor_count; i++)
        ahead->floor_at[ahead->floor[i].op] = i;
}

static void lift_floor(struct tr_lin_ahead *ahead, uint32_t op)
{
    if (ahead->floor_at[op] == TR_LIN_NO_OP)
        return;
    ahead->is_lifted[ahead->floor_at[op]] = true;
    while (ahead->floor_first < ahead->floor_count && ahead->is_lifted[ahead->floor_first])
        ahead->floor_first++;
}

static void unlift_floor(struct tr_lin_ahead *ahead, uint32_t op)
{
    uint32_t at = ahead->floor_at[op];
    if (at == TR_LIN_NO_OP)
        return;
    ahead->is_lifted[at] = false;
    if (at < ahead->floor_first)
        ahead->floor_first = at;
}

void tr_lin_ahead_enter(struct tr_lin_ahead *ahead, const struct tr_lin_part *part)
{
    uint32_t kinds = 0;
    bool has_refused = false;
    bool has_falls = false;
    for (uint32_t i = 0; i < part->count; i++) {
        kinds |= BIT(part->ops[i].kind);
        has_refused |= part->ops[i].kind == TR_LIN_CAS && is_known(&part->ops[i], 0);
        has_falls |= part->ops[i].kind == TR_LIN_INCR && (int64_t)part->ops[i].argument < 0;
    }
    bool has_values = part->model->form != TR_LIN_NUMBERS;
    ahead->part = part;
    ahead->is_settable = has_values && (kinds & ~SETTING) == 0;
    ahead->is_growing = has_values && (kinds & ~GROWING) == 0;
    ahead->is_blind = has_values && (kinds & ~BLIND) == 0 && !has_refused;
    ahead->is_counting = (kinds & ~COUNTING) == 0 && !has_falls;
    ahead->reads_left = 0;
    if (ahead->is_counting)
        lay_floor(ahead);
    if (!ahead->is_settable && !ahead->is_growing)
        return;
    if (ahead->capacity < part->values->count) {
        free(ahead->counts);
        ahead->capacity = part->values->count;
        ahead->counts = tr_lin_make(ahead->capacity, sizeof(*ahead->counts));
    }
    set_reads(ahead, true);
    for (uint32_t i = 0; i < part->count; i++) {
        if (part->end_rank[i] != TR_LIN_NO_RANK || part->open_index[i] != TR_LIN_NO_OP)
            count(ahead, i, 1);
    }
}

void tr_lin_ahead_leave(struct tr_lin_ahead *ahead)
{
    release_floor(ahead);
    if (!ahead->is_settable && !ahead->is_growing)
        return;
    set_reads(ahead, false);
    for (uint32_t i = 0; i < ahead->part->count; i++) {
        const struct tr_lin_op *op = &ahead->part->ops[i];
        forget(ahead, needed(op));
        forget(ahead, wanted(op));
        forget(ahead, made(op));
    }
}

void tr_lin_ahead_lift(struct tr_lin_ahead *ahead, uint32_t op)
{
    if (ahead->is_settable || ahead->is_growing)
        count(ahead, op, UINT32_MAX);
    if (ahead->is_counting)
        lift_floor(ahead, op);
}

void tr_lin_ahead_unlift(struct tr_lin_ahead *ahead, uint32_t op)
{
    if (ahead->is_settable || ahead->is_growing)
        count(ahead, op, 1);
    if (ahead->is_counting)
        unlift_floor(ahead, op);
}

bool tr_lin_ahead_is_hopeless(const struct tr_lin_ahead *ahead, uint64_t from, uint64_t to)
{
    if (from == to)
        return false;
    if (ahead->is_counting)
        return ahead->floor_first < ahead->floor_count &&
               number_of(ahead->part, to) > ahead->floor[ahead->floor_first].number;
    if (ahead->is_settable)
        return ahead->counts[from].needs > 0 && ahead->counts[from].makers == 0;
    if (!ahead->is_growing || ahead->reads_left == 0)
        return false;
    bool is_lost = from < ahead->capacity && ahead->counts[from].needs > 0;
    return is_lost || to >= ahead->capacity || !ahead->counts[to].is_read;
}

bool tr_lin_ahead_is_hidden(const struct tr_lin_ahead *ahead, uint32_t op)
{
    const struct tr_lin_op *o = &ahead->part->ops[op];
    return ahead->is_blind && o->kind == TR_LIN_SET && ahead->counts[o->argument].wants == 0;
}
