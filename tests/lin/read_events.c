/* The published formats: a line an event, an invocation or what became of it. Times are lines. */
#include "tests/lin/memory.h"
#include "tests/lin/read_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What became of an invocation. */
enum fate { DONE, REFUSED, LOST };

static bool invoke(struct tr_lin_reader *reader, struct tr_lin_op *op)
{
    if ((reader->history->model->kinds & 1u << op->kind) == 0)
        return tr_lin_read_wrong(reader, "an operation that the model %s has not",
                                 reader->history->model->name);
    op->invoke = op->line = reader->line;
    op->end = TR_LIN_NEVER;
    reader->waiting = tr_lin_room(reader->waiting, reader->waiting_count, &reader->waiting_capacity,
                                  sizeof(*reader->waiting));
    reader->waiting[reader->waiting_count++] = *op;
    return true;
}

/* The operation that a client waits for, taken out; false if it waits for none. */
static bool take(struct tr_lin_reader *reader, uint32_t client, struct tr_lin_op *op)
{
    for (size_t i = 0; i < reader->waiting_count; i++) {
        if (reader->waiting[i].client != client)
            continue;
        *op = reader->waiting[i];
        reader->waiting[i] = reader->waiting[--reader->waiting_count];
        return true;
    }
    return tr_lin_read_wrong(reader, "client %u was answered, but asked nothing", client);
}

void tr_lin_read_events_end(struct tr_lin_reader *reader)
{
    for (size_t i = 0; i < reader->waiting_count; i++)
        tr_lin_history_add(reader->history, &reader->waiting[i]);
    free(reader->waiting);
    reader->waiting = NULL;
    reader->waiting_count = 0;
}

static bool is(const char *word, const char *text)
{
    return strcmp(word, text) == 0;
}

static uint64_t value_of(struct tr_lin_reader *reader, const char *word)
{
    return is(word, "nil") ? TR_LIN_NIL
                           : tr_lin_values_text(&reader->history->values, word, strlen(word));
}

/* The two values of "[4 2]"; false if it is something else. */
static bool pair_of(struct tr_lin_reader *reader, const char *word, struct tr_lin_op *op)
{
    char first[32];
    char second[32];
    if (sscanf(word, "[%31[^] ] %31[^] ]]", first, second) != 2)
        return false;
    op->argument = value_of(reader, first);
    op->argument2 = value_of(reader, second);
    return true;
}

/* :fail of a compare-and-set with its values says that it compared and found another value; any
 * other :fail that the operation did not happen. */
static bool conclude_jepsen(struct tr_lin_reader *reader, uint32_t client, enum fate fate,
                            const char *value)
{
    struct tr_lin_op op;
    if (!take(reader, client, &op))
        return false;
    bool has_compared = op.kind == TR_LIN_CAS && value[0] == '[';
    if (fate == REFUSED && !has_compared)
        return true;
    if (fate != LOST) {
        op.end = reader->line;
        op.is_result_known = op.kind != TR_LIN_SET;
        op.result = op.kind == TR_LIN_GET ? value_of(reader, value) : fate == DONE;
    }
    tr_lin_history_add(reader->history, &op);
    return true;
}

bool tr_lin_read_jepsen_line(struct tr_lin_reader *reader, const char *line)
{
    char type[16];
    char kind[16];
    char value[64];
    struct tr_lin_op op = {0};
    if (sscanf(line, "INFO jepsen.util - %u :%15s :%15s %63[^\r\n]", &op.client, type, kind,
               value) != 4)
        return true; /* a line about something else */
    if (!tr_lin_read_kind(kind, strlen(kind), &op.kind))
        return tr_lin_read_wrong(reader, "no kind of operation: %s", kind);
    if (is(type, "invoke")) {
        if (op.kind == TR_LIN_CAS && !pair_of(reader, value, &op))
            return tr_lin_read_wrong(reader, "not two values: %s", value);
        if (op.kind == TR_LIN_SET)
            op.argument = value_of(reader, value);
        op.key = TR_LIN_EMPTY;
        return invoke(reader, &op);
    }
    if (is(type, "ok"))
        return conclude_jepsen(reader, op.client, DONE, value);
    if (is(type, "fail"))
        return conclude_jepsen(reader, op.client, REFUSED, value);
    if (is(type, "info"))
        return conclude_jepsen(reader, op.client, LOST, value);
    return tr_lin_read_wrong(reader, "no type of event: %s", type);
}

/* Behind the quotes, with the value of what is in them; NULL if there are none. */
static const char *read_quotes(struct tr_lin_reader *reader, const char *at, uint32_t *value)
{
    if (*at != '"')
        return NULL;
    size_t length = strcspn(at + 1, "\"\\");
    if (at[1 + length] != '"')
        return NULL;
    *value = tr_lin_values_text(&reader->history->values, at + 1, length);
    return at + length + 2;
}

/* {:process 0, :type :ok, :f :get, :key "7", :value "x"}; the value of an invoked get is nil. */
bool tr_lin_read_map_line(struct tr_lin_reader *reader, const char *line)
{
    char type[16];
    char kind[16];
    int length = 0;
    uint32_t value = TR_LIN_EMPTY;
    struct tr_lin_op op = {0};
    if (*line == '\0')
        return true;
    if (sscanf(line, "{:process %u, :type :%15[a-z], :f :%15[a-z], :key %n", &op.client, type, kind,
               &length) != 3 ||
        length == 0)
        return tr_lin_read_wrong(reader, "not an event: %.60s", line);
    const char *at = read_quotes(reader, line + length, &op.key);
    if (at == NULL || strncmp(at, ", :value ", 9) != 0)
        return tr_lin_read_wrong(reader, "no key: %.60s", line);
    at += 9;
    if (strcmp(at, "nil}") != 0 && read_quotes(reader, at, &value) == NULL)
        return tr_lin_read_wrong(reader, "no value: %.60s", line);
    if (!tr_lin_read_kind(kind, strlen(kind), &op.kind))
        return tr_lin_read_wrong(reader, "no kind of operation: %s", kind);
    if (is(type, "invoke")) {
        op.argument = value;
        return invoke(reader, &op);
    }
    if (!is(type, "ok"))
        return tr_lin_read_wrong(reader, "no type of event: %s", type);
    if (!take(reader, op.client, &op))
        return false;
    op.end = reader->line;
    op.is_result_known = op.kind == TR_LIN_GET;
    op.result = value;
    tr_lin_history_add(reader->history, &op);
    return true;
}
