/* Values: texts and lists, each kept once, so that two are equal when their numbers are.
 *
 * A value is a node of a tree: the value that it continues, and the unit that it adds, which is a
 * byte of a text or the value of a list's element. Appending is a step down, whatever the length.
 */
#ifndef TR_LIN_VALUES_H
#define TR_LIN_VALUES_H

#include "base/types.h"

#include <stddef.h>

TR_BEGIN_C

/* The two values that continue nothing. */
#define TR_LIN_EMPTY 0u /* the text and the list of nothing */
#define TR_LIN_NIL   1u /* no value: a key that is not there */

struct tr_lin_value {
    uint32_t parent; /* the value without its last unit */
    uint32_t unit;
    uint32_t length; /* in units */
};

struct tr_lin_values {
    struct tr_lin_value *nodes;
    size_t count;
    size_t capacity;
    uint32_t *table;   /* open addressing by (parent, unit); 0: a free place */
    size_t table_size; /* a power of two */
    uint32_t *units;   /* scratch of one path */
    size_t units_capacity;
};

/* Begins with the two values. Owns: released by tr_lin_values_release. */
void tr_lin_values_begin(struct tr_lin_values *values);
void tr_lin_values_release(struct tr_lin_values *values);

/* The value with one unit more; NIL counts as the empty one. */
uint32_t tr_lin_values_child(struct tr_lin_values *values, uint32_t parent, uint32_t unit);
/* The value of a text. */
uint32_t tr_lin_values_text(struct tr_lin_values *values, const void *bytes, size_t count);
/* The value of a number written in decimal. */
uint32_t tr_lin_values_number(struct tr_lin_values *values, int64_t number);
/* One text after the other. Cost: the length of the second. */
uint32_t tr_lin_values_join(struct tr_lin_values *values, uint32_t first, uint32_t second);

/* The units of a value in order. Owns: valid until the next call. */
const uint32_t *tr_lin_values_units(struct tr_lin_values *values, uint32_t value);
/* Whether a value is the decimal text of a number, which NIL is of 0; then the number. */
bool tr_lin_values_is_number(struct tr_lin_values *values, uint32_t value, int64_t *number);

TR_END_C

#endif
