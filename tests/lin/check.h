/* Whether a history is linearizable: each key by itself, and where the first key that is not gets
 * stuck. Source: Herlihy and Wing, "Linearizability", 1990, theorem 1 (locality). */
#ifndef TR_LIN_CHECK_H
#define TR_LIN_CHECK_H

#include "tests/lin/search.h"

TR_BEGIN_C

/* The end that cannot be explained: up to it everything can. */
struct tr_lin_failure {
    uint32_t key;
    struct tr_lin_part part; /* all operations of the key */
    uint32_t stuck;          /* the operation whose end it is */
    uint32_t *order;         /* an order that explains everything up to there */
    uint32_t order_count;
    bool is_shortest; /* false: looking for a shorter failure went over a limit */
};

struct tr_lin_report {
    enum tr_lin_verdict verdict;
    size_t key_count;
    size_t bad_count;     /* keys that are not linearizable */
    size_t unknown_count; /* keys that were given up */
    uint64_t step_count;
    struct tr_lin_failure failure; /* of the first key that is not */
};

/* What the tool uses unless it is told otherwise. */
struct tr_lin_limits tr_lin_limits_default(void);

/* Checks a history. Owns: the report, released by tr_lin_report_release before the history is. */
void tr_lin_check(struct tr_lin_history *history, const struct tr_lin_limits *limits,
                  struct tr_lin_report *report);
void tr_lin_report_release(struct tr_lin_report *report);

TR_END_C

#endif
