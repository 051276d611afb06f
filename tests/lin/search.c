#include "tests/lin/search.h"

#include "base/assert.h"
#include "tests/lin/memory.h"

#include <stdlib.h>

/* Where the search stands, and which operations it has yet to try there. */
struct place {
    uint64_t state;
    uint32_t via;         /* the operation that led here */
    uint32_t order_count; /* before it */
    uint32_t next;     /* the next to try: of those that must, then of those that may take effect */
    bool is_end_tried; /* the operation of the first end not passed */
    bool is_must_tried; /* all that must */
    bool is_used;       /* something beside `via` took effect with it and counts on it */
};

struct search {
    const struct tr_lin_part *part;
    struct tr_lin_ahead *ahead;
    struct tr_lin_memo memo;
    uint32_t front;  /* ends passed: all operations of part->ends before it have taken effect */
    bool *is_lifted; /* has taken effect, of each operation */
    /* Those that must and have not, by invocation; the sentinel is part->count. */
    uint32_t *after;
    uint32_t *before;
    /* In the order of their effects, with the front before each. */
    uint32_t *order;
    uint32_t *fronts;
    uint32_t order_count;
    uint64_t *slots; /* of those that have taken effect before the first end not passed */
    uint64_t *used;  /* those that may take effect and have, by their number in part->open */
    struct place *places;
    uint32_t place_count;
};

static void set_bit(uint64_t *set, uint32_t at)
{
    set[at / 64] |= UINT64_C(1) << at % 64;
}

static void clear_bit(uint64_t *set, uint32_t at)
{
    set[at / 64] &= ~(UINT64_C(1) << at % 64);
}

static void begin(struct search *s, const struct tr_lin_part *part, struct tr_lin_ahead *ahead)
{
    *s = (struct search){.part = part, .ahead = ahead};
    s->is_lifted = tr_lin_make(part->count, sizeof(*s->is_lifted));
    s->after = tr_lin_make((size_t)part->count + 1, sizeof(*s->after));
    s->before = tr_lin_make((size_t)part->count + 1, sizeof(*s->before));
    s->order = tr_lin_make(part->count, sizeof(*s->order));
    s->fronts = tr_lin_make(part->count, sizeof(*s->fronts));
    s->slots = tr_lin_make(part->slot_count / 64 + 1, sizeof(*s->slots));
    s->used = tr_lin_make(part->open_count / 64 + 1, sizeof(*s->used));
    s->places = tr_lin_make((size_t)part->count + 1, sizeof(*s->places));
    tr_lin_memo_begin(&s->memo, part->slot_count, part->open_count);
    uint32_t last = part->count;
    for (uint32_t i = 0; i < part->count; i++) {
        if (part->end_rank[i] == TR_LIN_NO_RANK)
            continue;
        s->after[last] = i;
        s->before[i] = last;
        last = i;
    }
    s->after[last] = part->count;
    s->before[part->count] = last;
    tr_lin_ahead_enter(ahead, part);
}

static void end(struct search *s)
{
    tr_lin_memo_release(&s->memo);
    free(s->is_lifted);
    free(s->after);
    free(s->before);
    free(s->order);
    free(s->fronts);
    free(s->slots);
    free(s->used);
    free(s->places);
}

/* Lets an operation take effect. */
static void lift(struct search *s, uint32_t op)
{
    const struct tr_lin_part *part = s->part;
    tr_assert(!s->is_lifted[op]);
    s->is_lifted[op] = true;
    s->order[s->order_count] = op;
    s->fronts[s->order_count++] = s->front;
    tr_lin_ahead_lift(s->ahead, op);
    if (part->open_index[op] != TR_LIN_NO_OP) {
        set_bit(s->used, part->open_index[op]);
        return;
    }
    s->after[s->before[op]] = s->after[op];
    s->before[s->after[op]] = s->before[op];
    set_bit(s->slots, part->slot[op]);
    while (s->front < part->end_count && s->is_lifted[part->ends[s->front]])
        clear_bit(s->slots, part->slot[part->ends[s->front++]]);
}

/* Undoes the last one. */
static void unlift(struct search *s)
{
    const struct tr_lin_part *part = s->part;
    uint32_t op = s->order[--s->order_count];
    uint32_t front = s->fronts[s->order_count];
    tr_lin_ahead_unlift(s->ahead, op);
    s->is_lifted[op] = false;
    if (part->open_index[op] != TR_LIN_NO_OP) {
        clear_bit(s->used, part->open_index[op]);
        return;
    }
    while (s->front > front)
        set_bit(s->slots, part->slot[part->ends[--s->front]]);
    clear_bit(s->slots, part->slot[op]);
    s->after[s->before[op]] = op;
    s->before[s->after[op]] = op;
}

static void undo_to(struct search *s, uint32_t order_count)
{
    while (s->order_count > order_count)
        unlift(s);
}

/* The rank that an operation must have been invoked before, to be next. */
static uint32_t horizon(const struct search *s)
{
    return s->part->end_rank[s->part->ends[s->front]];
}

static bool step(const struct search *s, uint32_t op, uint64_t state, uint64_t *next)
{
    return tr_lin_model_step(s->part->model, s->part->values, &s->part->ops[op], state, next);
}

/* Lets all that only observe the state take effect. Returns whether there were any. */
static bool observe(struct search *s, uint64_t state)
{
    const struct tr_lin_part *part = s->part;
    uint32_t order_count = s->order_count;
    uint32_t front;
    do {
        front = s->front;
        if (front == part->end_count)
            break;
        uint32_t rank = horizon(s);
        for (uint32_t op = s->after[part->count]; op != part->count && part->call_rank[op] < rank;
             op = s->after[op]) {
            uint64_t next;
            if (tr_lin_op_is_observer(&part->ops[op]) && step(s, op, state, &next))
                lift(s, op);
        }
    } while (s->front != front);
    return s->order_count != order_count;
}

/* Lets writes that nobody will miss take effect, before another one overwrites them. */
static void hide(struct search *s, uint32_t by)
{
    const struct tr_lin_part *part = s->part;
    if (!s->ahead->is_blind || part->ops[by].kind != TR_LIN_SET)
        return;
    uint32_t rank = horizon(s);
    for (uint32_t op = s->after[part->count]; op != part->count && part->call_rank[op] < rank;
         op = s->after[op]) {
        if (op != by && tr_lin_ahead_is_hidden(s->ahead, op))
            lift(s, op);
    }
}

/* The next operation to try at a place, or TR_LIN_NO_OP. */
static uint32_t candidate(const struct search *s, struct place *place)
{
    const struct tr_lin_part *part = s->part;
    uint32_t first = part->ends[s->front];
    uint32_t rank = horizon(s);
    if (!place->is_end_tried) {
        place->is_end_tried = true;
        place->next = s->after[part->count];
        return first;
    }
    while (!place->is_must_tried) {
        uint32_t op = place->next;
        if (op == part->count || part->call_rank[op] > rank) {
            place->is_must_tried = true;
            place->next = 0;
            break;
        }
        place->next = s->after[op];
        if (op != first)
            return op;
    }
    while (place->next < part->open_count && part->call_rank[part->open[place->next]] < rank) {
        uint32_t op = part->open[place->next++];
        uint32_t equal = part->open_before[op];
        if (!s->is_lifted[op] && (equal == TR_LIN_NO_OP || s->is_lifted[equal]))
            return op;
    }
    return TR_LIN_NO_OP;
}

/* Whether the place was reached by an operation that need not have been, and that an operation
 * leading on from there does not need either: then it is reached without the first one too. */
static bool is_detour(const struct search *s, const struct place *place, uint32_t op, uint64_t next)
{
    if (s->place_count < 2 || place->is_used || s->part->open_index[place->via] == TR_LIN_NO_OP)
        return false;
    uint64_t without;
    return step(s, op, place[-1].state, &without) && without == next;
}

/* Tries an operation. Returns whether the search goes on from a new place. */
static bool advance(struct search *s, struct place *place, uint32_t op)
{
    uint64_t next;
    bool is_open = s->part->open_index[op] != TR_LIN_NO_OP;
    if (!step(s, op, place->state, &next) || is_detour(s, place, op, next))
        return false;
    if (is_open && (next == place->state || tr_lin_ahead_is_hidden(s->ahead, op)))
        return false; /* it need not take effect */
    uint32_t order_count = s->order_count;
    if (!is_open)
        hide(s, op);
    lift(s, op);
    bool is_used = false;
    bool is_new = !tr_lin_ahead_is_hopeless(s->ahead, place->state, next);
    if (is_new) {
        is_used = observe(s, next);
        is_new = tr_lin_memo_add(&s->memo, s->front, next, s->slots, s->used);
    }
    if (!is_new) {
        undo_to(s, order_count);
        return false;
    }
    s->places[s->place_count++] =
        (struct place){.state = next, .via = op, .order_count = order_count, .is_used = is_used};
    return true;
}

static bool is_over(const struct search *s, const struct tr_lin_limits *limits, uint64_t step_count)
{
    const struct tr_lin_values *values = s->part->values;
    uint64_t bytes = tr_lin_memo_bytes(&s->memo) + values->capacity * sizeof(*values->nodes) +
                     values->table_size * sizeof(*values->table);
    return step_count > limits->step_count || bytes > limits->memory_bytes;
}

static void run(struct search *s, const struct tr_lin_limits *limits, struct tr_lin_found *found)
{
    uint64_t start = s->part->model->start;
    observe(s, start);
    s->places[s->place_count++] = (struct place){.state = start};
    found->verdict = TR_LIN_NOT_LINEARIZABLE;
    while (s->place_count > 0) {
        if (s->front == s->part->end_count) {
            found->verdict = TR_LIN_LINEARIZABLE;
            return;
        }
        found->step_count++;
        if (is_over(s, limits, found->step_count)) {
            found->verdict = TR_LIN_UNKNOWN;
            return;
        }
        struct place *place = &s->places[s->place_count - 1];
        uint32_t op = candidate(s, place);
        if (op == TR_LIN_NO_OP) {
            undo_to(s, place->order_count);
            s->place_count--;
        } else {
            advance(s, place, op);
        }
    }
}

void tr_lin_search(const struct tr_lin_part *part, struct tr_lin_ahead *ahead,
                   const struct tr_lin_limits *limits, struct tr_lin_found *found)
{
    struct search s;
    *found = (struct tr_lin_found){0};
    begin(&s, part, ahead);
    run(&s, limits, found);
    if (found->verdict == TR_LIN_LINEARIZABLE) {
        found->order = s.order;
        found->order_count = s.order_count;
        s.order = NULL;
    }
    end(&s);
    tr_lin_ahead_leave(ahead);
}
