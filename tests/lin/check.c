#include "tests/lin/check.h"

#include "tests/lin/memory.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY_BYTES (UINT64_C(1) << 30)
#define STEP_COUNT   UINT64_C(200000000)

struct tr_lin_limits tr_lin_limits_default(void)
{
    return (struct tr_lin_limits){.memory_bytes = MEMORY_BYTES, .step_count = STEP_COUNT};
}

static int compare_keys(const void *a, const void *b)
{
    const struct tr_lin_op *x = a;
    const struct tr_lin_op *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

/* Searches what was known just after the end of part->ends[end], and keeps its order. */
static enum tr_lin_verdict search_prefix(const struct tr_lin_part *part, uint32_t end,
                                         struct tr_lin_ahead *ahead,
                                         const struct tr_lin_limits *limits,
                                         struct tr_lin_failure *failure)
{
    struct tr_lin_part prefix;
    struct tr_lin_found found;
    tr_lin_part_make_prefix(&prefix, part, part->end_rank[part->ends[end]]);
    tr_lin_search(&prefix, ahead, limits, &found);
    tr_lin_part_release(&prefix);
    if (found.verdict == TR_LIN_LINEARIZABLE) {
        /* Operations have the same numbers in a prefix: they are in the order of invocation. */
        free(failure->order);
        failure->order = found.order;
        failure->order_count = found.order_count;
    }
    return found.verdict;
}

/* Finds the first end up to which the part is not linearizable; whether it is cannot come back
 * later, so halving finds it. */
static void locate(struct tr_lin_ahead *ahead, const struct tr_lin_limits *limits,
                   struct tr_lin_failure *failure)
{
    const struct tr_lin_part *part = &failure->part;
    uint32_t good = 0; /* so many ends can be explained */
    uint32_t bad = part->end_count;
    failure->is_shortest = true;
    while (bad - good > 1) {
        uint32_t middle = good + (bad - good) / 2;
        enum tr_lin_verdict verdict = search_prefix(part, middle - 1, ahead, limits, failure);
        if (verdict == TR_LIN_LINEARIZABLE) {
            good = middle;
        } else if (verdict == TR_LIN_NOT_LINEARIZABLE) {
            bad = middle;
        } else {
            failure->is_shortest = false;
            break;
        }
    }
    failure->stuck = part->ends[bad - 1];
}

static void check_key(struct tr_lin_history *history, const struct tr_lin_op *ops, uint32_t count,
                      struct tr_lin_ahead *ahead, const struct tr_lin_limits *limits,
                      struct tr_lin_report *report)
{
    struct tr_lin_part part;
    struct tr_lin_found found;
    tr_lin_part_make(&part, history->model, &history->values, ops, count);
    tr_lin_search(&part, ahead, limits, &found);
    free(found.order);
    report->key_count++;
    report->step_count += found.step_count;
    report->unknown_count += found.verdict == TR_LIN_UNKNOWN;
    if (found.verdict == TR_LIN_NOT_LINEARIZABLE && report->bad_count++ == 0) {
        report->failure = (struct tr_lin_failure){.key = ops[0].key, .part = part};
        locate(ahead, limits, &report->failure);
        return;
    }
    tr_lin_part_release(&part);
}

void tr_lin_check(struct tr_lin_history *history, const struct tr_lin_limits *limits,
                  struct tr_lin_report *report)
{
    struct tr_lin_ahead ahead;
    tr_lin_ahead_begin(&ahead);
    *report = (struct tr_lin_report){0};
    struct tr_lin_op *ops = tr_lin_make(history->count, sizeof(*ops));
    if (history->count > 0)
        memcpy(ops, history->ops, history->count * sizeof(*ops));
    qsort(ops, history->count, sizeof(*ops), compare_keys);
    size_t first = 0;
    while (first < history->count) {
        size_t last = first;
        while (last < history->count && ops[last].key == ops[first].key)
            last++;
        check_key(history, ops + first, (uint32_t)(last - first), &ahead, limits, report);
        first = last;
    }
    report->verdict = report->bad_count > 0       ? TR_LIN_NOT_LINEARIZABLE
                      : report->unknown_count > 0 ? TR_LIN_UNKNOWN
                                                  : TR_LIN_LINEARIZABLE;
    free(ops);
    tr_lin_ahead_release(&ahead);
}

void tr_lin_report_release(struct tr_lin_report *report)
{
    if (report->bad_count > 0)
        tr_lin_part_release(&report->failure.part);
    free(report->failure.order);
    *report = (struct tr_lin_report){0};
}
