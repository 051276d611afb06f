/* Trireme's own format: one operation a line (README.md beside this). */
#include "tests/lin/memory.h"
#include "tests/lin/read_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 8

/* A word of a line: between blanks, in quotes, or in brackets. */
struct word {
    const char *at;
    size_t length;
};

static const char *end_of_quotes(const char *at)
{
    for (at++; *at != '\0' && *at != '"'; at++) {
        if (*at == '\\' && at[1] != '\0')
            at++;
    }
    return *at == '"' ? at + 1 : NULL;
}

/* Behind the word that begins here, or NULL if it does not end. */
static const char *end_of_word(const char *at)
{
    if (*at == '"')
        return end_of_quotes(at);
    if (*at != '[')
        return at + strcspn(at, " \t]");
    for (at++; *at != '\0' && *at != ']';) {
        if (*at == '"') {
            at = end_of_quotes(at);
            if (at == NULL)
                return NULL;
        } else {
            at++;
        }
    }
    return *at == ']' ? at + 1 : NULL;
}

/* Divides a line; false with the error. */
static bool divide(struct tr_lin_reader *reader, const char *line, struct word *words,
                   uint32_t *count)
{
    *count = 0;
    for (;;) {
        line += strspn(line, " \t");
        if (*line == '\0' || *line == '#')
            return true;
        if (*count == WORDS_MAX)
            return tr_lin_read_wrong(reader, "more than %u words", WORDS_MAX);
        const char *end = end_of_word(line);
        if (end == NULL || (*end != '\0' && *end != ' ' && *end != '\t'))
            return tr_lin_read_wrong(reader, "a word that does not end: %.40s", line);
        words[(*count)++] = (struct word){line, (size_t)(end - line)};
        line = end;
    }
}

static bool is(const struct word *word, const char *text)
{
    return strlen(text) == word->length && memcmp(text, word->at, word->length) == 0;
}

static bool read_number(struct tr_lin_reader *reader, const struct word *word, int64_t *number)
{
    char *end;
    errno = 0;
    *number = strtoll(word->at, &end, 10);
    if (errno != 0 || end != word->at + word->length)
        return tr_lin_read_wrong(reader, "not a number: %.*s", (int)word->length, word->at);
    return true;
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The byte that a backslash and what follows stand for; *at is moved to the last character of it.
 */
static bool unescape(struct tr_lin_reader *reader, const char **at, char *byte)
{
    static const char letters[] = "ntr\"\\";
    static const char bytes[] = "\n\t\r\"\\";
    const char *letter = strchr(letters, *++*at);
    if (**at == 'x' && digit((*at)[1]) >= 0 && digit((*at)[2]) >= 0) {
        *byte = (char)(digit((*at)[1]) << 4 | digit((*at)[2]));
        *at += 2;
        return true;
    }
    if (letter == NULL || *letter == '\0')
        return tr_lin_read_wrong(reader, "unknown escape \\%c", **at);
    *byte = bytes[letter - letters];
    return true;
}

static bool read_quoted(struct tr_lin_reader *reader, const struct word *word, uint32_t *value)
{
    *value = TR_LIN_EMPTY;
    for (const char *at = word->at + 1; at < word->at + word->length - 1; at++) {
        char byte = *at;
        if (byte == '\\' && !unescape(reader, &at, &byte))
            return false;
        *value = tr_lin_values_child(&reader->history->values, *value, (uint8_t)byte);
    }
    return true;
}

static bool read_text(struct tr_lin_reader *reader, const struct word *word, uint32_t *value)
{
    if (word->at[0] == '"')
        return read_quoted(reader, word, value);
    if (word->at[0] == '[')
        return tr_lin_read_wrong(reader, "a list where a text belongs");
    *value = is(word, "nil") ? TR_LIN_NIL
                             : tr_lin_values_text(&reader->history->values, word->at, word->length);
    return true;
}

static bool read_list(struct tr_lin_reader *reader, const struct word *word, uint32_t *value)
{
    *value = TR_LIN_EMPTY;
    if (is(word, "nil"))
        return true;
    if (word->at[0] != '[')
        return tr_lin_read_wrong(reader, "not a list: %.*s", (int)word->length, word->at);
    const char *at = word->at + 1;
    for (;;) {
        at += strspn(at, " \t");
        if (*at == ']')
            return true;
        struct word element = {at, (size_t)(end_of_word(at) - at)};
        uint32_t unit;
        if (!read_text(reader, &element, &unit))
            return false;
        *value = tr_lin_values_child(&reader->history->values, *value, unit);
        at += element.length;
    }
}

/* A state of the model: what a read returns. */
static bool read_state(struct tr_lin_reader *reader, const struct word *word, uint64_t *state)
{
    int64_t number;
    uint32_t value;
    switch (reader->history->model->form) {
    case TR_LIN_NUMBERS:
        if (!read_number(reader, word, &number))
            return false;
        *state = (uint64_t)number;
        return true;
    case TR_LIN_LISTS:
        if (!read_list(reader, word, &value))
            return false;
        *state = value;
        return true;
    case TR_LIN_TEXTS:
        if (!read_text(reader, word, &value))
            return false;
        *state = value;
        return true;
    }
    return false;
}

static bool read_argument(struct tr_lin_reader *reader, enum tr_lin_kind kind,
                          const struct word *word, uint64_t *argument)
{
    if (kind == TR_LIN_INCR) {
        int64_t number;
        if (!read_number(reader, word, &number))
            return false;
        *argument = (uint64_t)number;
        return true;
    }
    uint32_t value;
    if (!read_text(reader, word, &value))
        return false;
    *argument = value;
    return true;
}

static bool read_result(struct tr_lin_reader *reader, const struct word *word, struct tr_lin_op *op)
{
    op->is_result_known = op->end != TR_LIN_NEVER && !is(word, "ok");
    if (op->end == TR_LIN_NEVER && !is(word, "-"))
        return tr_lin_read_wrong(reader, "a result, but no return: %.*s", (int)word->length,
                                 word->at);
    if (op->end != TR_LIN_NEVER && is(word, "-"))
        return tr_lin_read_wrong(reader, "a return, but no result: ok says that it was done");
    if (!op->is_result_known)
        return true;
    int64_t number;
    switch (op->kind) {
    case TR_LIN_GET:
        return read_state(reader, word, &op->result);
    case TR_LIN_SET:
        return tr_lin_read_wrong(reader, "the result of a set is ok, fail or -");
    case TR_LIN_CAS:
    case TR_LIN_DEL:
        op->result = is(word, "true");
        return op->result == 1 || is(word, "false") ||
               tr_lin_read_wrong(reader, "the result is true, false, ok, fail or -");
    case TR_LIN_APPEND:
    case TR_LIN_INCR:
        if (!read_number(reader, word, &number))
            return false;
        op->result = (uint64_t)number;
        return true;
    }
    return false;
}

static uint32_t arguments_of(enum tr_lin_kind kind)
{
    return kind == TR_LIN_GET || kind == TR_LIN_DEL ? 0 : kind == TR_LIN_CAS ? 2 : 1;
}

static bool read_times(struct tr_lin_reader *reader, const struct word *words, struct tr_lin_op *op)
{
    if (!read_number(reader, &words[0], &op->invoke))
        return false;
    op->end = TR_LIN_NEVER;
    if (is(&words[1], "-"))
        return true;
    if (!read_number(reader, &words[1], &op->end))
        return false;
    return op->end >= op->invoke || tr_lin_read_wrong(reader, "it returned before it was invoked");
}

static bool read_operation(struct tr_lin_reader *reader, const struct word *words, uint32_t count)
{
    struct tr_lin_op op = {.line = reader->line};
    int64_t client;
    if (count < 2 || !tr_lin_read_kind(words[1].at, words[1].length, &op.kind))
        return tr_lin_read_wrong(reader, "no kind of operation in the second word");
    if ((reader->history->model->kinds & 1u << op.kind) == 0)
        return tr_lin_read_wrong(reader, "the model %s has no %.*s", reader->history->model->name,
                                 (int)words[1].length, words[1].at);
    uint32_t arguments = arguments_of(op.kind);
    if (count != 6 + arguments)
        return tr_lin_read_wrong(reader, "%u words, not %u: client kind key%s result invoke return",
                                 count, 6 + arguments,
                                 arguments == 0   ? ""
                                 : arguments == 1 ? " argument"
                                                  : " expected new");
    if (!read_number(reader, &words[0], &client) || !read_text(reader, &words[2], &op.key) ||
        !read_times(reader, &words[count - 2], &op))
        return false;
    op.client = (uint32_t)client;
    if ((arguments > 0 && !read_argument(reader, op.kind, &words[3], &op.argument)) ||
        (arguments > 1 && !read_argument(reader, op.kind, &words[4], &op.argument2)))
        return false;
    if (is(&words[3 + arguments], "fail"))
        return true;
    if (!read_result(reader, &words[3 + arguments], &op))
        return false;
    tr_lin_history_add(reader->history, &op);
    return true;
}

bool tr_lin_read_own_line(struct tr_lin_reader *reader, const char *line)
{
    struct word words[WORDS_MAX];
    uint32_t count;
    if (!divide(reader, line, words, &count))
        return false;
    if (count == 0)
        return true;
    if (!is(&words[0], "model"))
        return read_operation(reader, words, count);
    char name[32] = {0};
    if (count == 2 && words[1].length < sizeof(name))
        memcpy(name, words[1].at, words[1].length);
    const struct tr_lin_model *model = tr_lin_model_find(name);
    if (model == NULL)
        return tr_lin_read_wrong(reader, "no such model");
    if (reader->history->count > 0)
        return tr_lin_read_wrong(reader, "the model comes before the operations");
    reader->history->model = model;
    return true;
}
