#include "tests/lin/words.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* Characters of a text, and elements of a list, that are shown: the last ones, which tell values
 * that grew apart. */
#define TEXT_MAX 20u
#define LIST_MAX 4u

/* A text that grows up to its room. */
struct line {
    char *text;
    size_t length;
};

__attribute__((format(printf, 2, 3))) static void put(struct line *line, const char *format, ...)
{
    size_t room = TR_LIN_WORDS_BYTES - line->length;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line->text + line->length, room, format, arguments);
    va_end(arguments);
    line->length += (size_t)length < room ? (size_t)length : room - 1;
}

static void put_text(struct line *line, struct tr_lin_values *values, uint32_t value)
{
    if (value == TR_LIN_NIL) {
        put(line, "nil");
        return;
    }
    uint32_t length = values->nodes[value].length;
    const uint32_t *units = tr_lin_values_units(values, value);
    put(line, "%s\"", length > TEXT_MAX ? ".." : "");
    for (uint32_t i = length > TEXT_MAX ? length - TEXT_MAX : 0; i < length; i++) {
        bool is_plain = units[i] >= 0x20 && units[i] < 0x7f && units[i] != '"';
        put(line, is_plain ? "%c" : "\\x%02x", units[i]);
    }
    put(line, "\"");
}

static void put_list(struct line *line, struct tr_lin_values *values, uint32_t value)
{
    uint32_t units[LIST_MAX];
    uint32_t length = values->nodes[value].length;
    uint32_t shown = length < LIST_MAX ? length : LIST_MAX;
    const uint32_t *all = tr_lin_values_units(values, value);
    for (uint32_t i = 0; i < shown; i++)
        units[i] = all[length - shown + i];
    put(line, length > shown ? "[%u.." : "[", length - shown);
    for (uint32_t i = 0; i < shown; i++) {
        put(line, i > 0 || length > shown ? " " : "");
        put_text(line, values, units[i]);
    }
    put(line, "]");
}

static void put_state(struct line *line, const struct tr_lin_model *model,
                      struct tr_lin_values *values, uint64_t state)
{
    switch (model->form) {
    case TR_LIN_TEXTS:
        put_text(line, values, (uint32_t)state);
        return;
    case TR_LIN_LISTS:
        put_list(line, values, (uint32_t)state);
        return;
    case TR_LIN_NUMBERS:
        put(line, "%" PRId64, (int64_t)state);
        return;
    }
}

static void put_result(struct line *line, const struct tr_lin_model *model,
                       struct tr_lin_values *values, const struct tr_lin_op *op)
{
    if (op->end == TR_LIN_NEVER) {
        put(line, " = ?");
        return;
    }
    if (!op->is_result_known)
        return;
    put(line, " = ");
    switch (op->kind) {
    case TR_LIN_GET:
        put_state(line, model, values, op->result);
        return;
    case TR_LIN_CAS:
    case TR_LIN_DEL:
        put(line, op->result != 0 ? "true" : "false");
        return;
    case TR_LIN_SET:
    case TR_LIN_APPEND:
    case TR_LIN_INCR:
        put(line, "%" PRId64, (int64_t)op->result);
        return;
    }
}

void tr_lin_words_of_state(const struct tr_lin_model *model, struct tr_lin_values *values,
                           uint64_t state, char words[TR_LIN_WORDS_BYTES])
{
    struct line line = {.text = words};
    put_state(&line, model, values, state);
}

void tr_lin_words_of_key(struct tr_lin_values *values, uint32_t key, char words[TR_LIN_WORDS_BYTES])
{
    struct line line = {.text = words};
    put_text(&line, values, key);
}

void tr_lin_words_of_op(const struct tr_lin_model *model, struct tr_lin_values *values,
                        const struct tr_lin_op *op, char words[TR_LIN_WORDS_BYTES])
{
    static const char *const names[TR_LIN_KINDS] = {"get", "set", "cas", "del", "append", "incr"};
    struct line line = {.text = words};
    put(&line, "%s", names[op->kind]);
    if (op->kind == TR_LIN_INCR) {
        put(&line, " %" PRId64, (int64_t)op->argument);
    } else if (op->kind != TR_LIN_GET && op->kind != TR_LIN_DEL) {
        put(&line, " ");
        put_text(&line, values, (uint32_t)op->argument);
    }
    if (op->kind == TR_LIN_CAS) {
        put(&line, " ");
        put_text(&line, values, (uint32_t)op->argument2);
    }
    put_result(&line, model, values, op);
}
