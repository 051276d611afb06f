#include "tests/lin/values.h"

#include "tests/lin/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TABLE_LEAST 1024
#define NUMBER_MAX  20 /* characters of a 64-bit number with its sign */

void tr_lin_values_begin(struct tr_lin_values *values)
{
    *values = (struct tr_lin_values){.table_size = TABLE_LEAST};
    values->table = tr_lin_make(TABLE_LEAST, sizeof(*values->table));
    values->nodes = tr_lin_room(NULL, 0, &values->capacity, sizeof(*values->nodes));
    values->nodes[TR_LIN_EMPTY] = (struct tr_lin_value){0};
    values->nodes[TR_LIN_NIL] = (struct tr_lin_value){0};
    values->count = 2;
}

void tr_lin_values_release(struct tr_lin_values *values)
{
    free(values->nodes);
    free(values->table);
    free(values->units);
    *values = (struct tr_lin_values){0};
}

static size_t place_of(const struct tr_lin_values *values, uint32_t parent, uint32_t unit)
{
    uint64_t x = ((uint64_t)parent << 32 | unit) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(x ^ x >> 29) & (values->table_size - 1);
}

/* The place of a node in the table, or the free one where it belongs. */
static size_t find(const struct tr_lin_values *values, uint32_t parent, uint32_t unit)
{
    size_t at = place_of(values, parent, unit);
    while (values->table[at] != 0) {
        const struct tr_lin_value *node = &values->nodes[values->table[at]];
        if (node->parent == parent && node->unit == unit)
            break;
        at = (at + 1) & (values->table_size - 1);
    }
    return at;
}

static void double_table(struct tr_lin_values *values)
{
    free(values->table);
    values->table_size *= 2;
    values->table = tr_lin_make(values->table_size, sizeof(*values->table));
    for (uint32_t i = TR_LIN_NIL + 1; i < values->count; i++)
        values->table[find(values, values->nodes[i].parent, values->nodes[i].unit)] = i;
}

uint32_t tr_lin_values_child(struct tr_lin_values *values, uint32_t parent, uint32_t unit)
{
    if (parent == TR_LIN_NIL)
        parent = TR_LIN_EMPTY;
    size_t at = find(values, parent, unit);
    if (values->table[at] != 0)
        return values->table[at];
    values->nodes =
        tr_lin_room(values->nodes, values->count, &values->capacity, sizeof(*values->nodes));
    uint32_t node = (uint32_t)values->count++;
    values->nodes[node] = (struct tr_lin_value){parent, unit, values->nodes[parent].length + 1};
    values->table[at] = node;
    if (values->count * 2 > values->table_size)
        double_table(values);
    return node;
}

uint32_t tr_lin_values_text(struct tr_lin_values *values, const void *bytes, size_t count)
{
    const uint8_t *byte = bytes;
    uint32_t value = TR_LIN_EMPTY;
    for (size_t i = 0; i < count; i++)
        value = tr_lin_values_child(values, value, byte[i]);
    return value;
}

uint32_t tr_lin_values_number(struct tr_lin_values *values, int64_t number)
{
    char text[NUMBER_MAX + 1];
    int length = snprintf(text, sizeof(text), "%" PRId64, number);
    return tr_lin_values_text(values, text, (size_t)length);
}

uint32_t tr_lin_values_join(struct tr_lin_values *values, uint32_t first, uint32_t second)
{
    const uint32_t *units = tr_lin_values_units(values, second);
    uint32_t length = values->nodes[second].length;
    uint32_t value = first == TR_LIN_NIL ? TR_LIN_EMPTY : first;
    for (uint32_t i = 0; i < length; i++)
        value = tr_lin_values_child(values, value, units[i]);
    return value;
}

const uint32_t *tr_lin_values_units(struct tr_lin_values *values, uint32_t value)
{
    uint32_t length = values->nodes[value].length;
    while (values->units_capacity <= length)
        values->units = tr_lin_room(values->units, values->units_capacity, &values->units_capacity,
                                    sizeof(*values->units));
    for (uint32_t i = length; i > 0; i--) {
        values->units[i - 1] = values->nodes[value].unit;
        value = values->nodes[value].parent;
    }
    return values->units;
}

bool tr_lin_values_is_number(struct tr_lin_values *values, uint32_t value, int64_t *number)
{
    if (value == TR_LIN_NIL) {
        *number = 0;
        return true;
    }
    uint32_t length = values->nodes[value].length;
    if (length == 0 || length > NUMBER_MAX)
        return false;
    const uint32_t *units = tr_lin_values_units(values, value);
    char text[NUMBER_MAX + 1] = {0};
    for (uint32_t i = 0; i < length; i++)
        text[i] = (char)units[i];
    char *end;
    errno = 0;
    *number = strtoll(text, &end, 10);
    /* Only the one way in which a number is written: no sign, space or zero before it. */
    return errno == 0 && end == text + length && tr_lin_values_number(values, *number) == value;
}
