/* A look ahead: a state may not be left while something that is still to come needs it and nothing
 * can bring it back. It tells hopeless places long before the search would find them so.
 *
 * Counted are the operations that have not taken effect yet, by the value that they need or bring
 * about. */
#ifndef TR_LIN_AHEAD_H
#define TR_LIN_AHEAD_H

#include "tests/lin/part.h"

TR_BEGIN_C

struct tr_lin_ahead_counts {
    uint32_t needs;  /* operations that must find this value */
    uint32_t wants;  /* operations that would do something else if they did not find it */
    uint32_t makers; /* operations that can bring it about */
    bool is_read;    /* this value, or one that begins with it, is read */
};

struct tr_lin_ahead_need {
    int64_t number;
    uint32_t op;
};

struct tr_lin_ahead {
    const struct tr_lin_part *part;
    struct tr_lin_ahead_counts *counts; /* by value */
    size_t capacity;
    uint32_t reads_left;
    /* Only operations that set and compare: the counts are complete. */
    bool is_settable;
    /* Only appends and reads: a value that was left never comes back. */
    bool is_growing;
    /* Only reads, and writes that nothing but a read of their value can tell apart. */
    bool is_blind;
    /* Only reads, and additions of what is not negative: a number never falls. */
    bool is_counting;
    /* Counting: the operations that must find a number, by that number. */
    struct tr_lin_ahead_need *floor;
    uint32_t *floor_at; /* of each operation, its place there, or TR_LIN_NO_OP */
    bool *is_lifted;    /* of each place there */
    uint32_t floor_count;
    uint32_t floor_first; /* the first that has not taken effect: no state may be above it */
};

/* Begins with no part. Owns: released by tr_lin_ahead_release. */
void tr_lin_ahead_begin(struct tr_lin_ahead *ahead);
void tr_lin_ahead_release(struct tr_lin_ahead *ahead);

/* Counts the operations of a part, none of which has taken effect; forgets them again. */
void tr_lin_ahead_enter(struct tr_lin_ahead *ahead, const struct tr_lin_part *part);
void tr_lin_ahead_leave(struct tr_lin_ahead *ahead);

/* An operation takes effect; it is undone. */
void tr_lin_ahead_lift(struct tr_lin_ahead *ahead, uint32_t op);
void tr_lin_ahead_unlift(struct tr_lin_ahead *ahead, uint32_t op);

/* Whether nothing can come of going from a state to another. */
bool tr_lin_ahead_is_hopeless(const struct tr_lin_ahead *ahead, uint64_t from, uint64_t to);

/* Whether an operation is a write that may as well take effect right before another write. */
bool tr_lin_ahead_is_hidden(const struct tr_lin_ahead *ahead, uint32_t op);

TR_END_C

#endif
