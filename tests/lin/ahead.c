#include "tests/lin/ahead.h"

#include "tests/lin/memory.h"

#include <stdlib.h>

#define NONE UINT64_MAX

#define BIT(kind) (1u << (kind))
#define SETTING   (BIT(TR_LIN_GET) | BIT(TR_LIN_SET) | BIT(TR_LIN_CAS) | BIT(TR_LIN_DEL))
#define GROWING   (BIT(TR_LIN_GET) | BIT(TR_LIN_APPEND))
#define BLIND     (BIT(TR_LIN_GET) | BIT(TR_LIN_SET) | BIT(TR_LIN_CAS))

void tr_lin_ahead_begin(struct tr_lin_ahead *ahead)
{
    *ahead = (struct tr_lin_ahead){0};
}

void tr_lin_ahead_release(struct tr_lin_ahead *ahead)
{
    free(ahead->counts);
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

void tr_lin_ahead_enter(struct tr_lin_ahead *ahead, const struct tr_lin_part *part)
{
    uint32_t kinds = 0;
    bool has_refused = false;
    for (uint32_t i = 0; i < part->count; i++) {
        kinds |= BIT(part->ops[i].kind);
        has_refused |= part->ops[i].kind == TR_LIN_CAS && is_known(&part->ops[i], 0);
    }
    bool has_values = part->model->form != TR_LIN_NUMBERS;
    ahead->part = part;
    ahead->is_settable = has_values && (kinds & ~SETTING) == 0;
    ahead->is_growing = has_values && (kinds & ~GROWING) == 0;
    ahead->is_blind = has_values && (kinds & ~BLIND) == 0 && !has_refused;
    ahead->reads_left = 0;
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
}

void tr_lin_ahead_unlift(struct tr_lin_ahead *ahead, uint32_t op)
{
    if (ahead->is_settable || ahead->is_growing)
        count(ahead, op, 1);
}

bool tr_lin_ahead_is_hopeless(const struct tr_lin_ahead *ahead, uint64_t from, uint64_t to)
{
    if (from == to)
        return false;
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
