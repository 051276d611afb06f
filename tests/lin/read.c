#include "tests/lin/memory.h"
#include "tests/lin/read_inner.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct format {
    const char *begins; /* its lines */
    const char *model;
    bool (*read_line)(struct tr_lin_reader *reader, const char *line);
};

static const struct format formats[] = {
    {"INFO ", "register", tr_lin_read_jepsen_line},
    {"{", "kv-empty", tr_lin_read_map_line},
    {"", "kv", tr_lin_read_own_line},
};

bool tr_lin_read_wrong(struct tr_lin_reader *reader, const char *format, ...)
{
    int length = snprintf(reader->error, TR_LIN_ERROR_BYTES, "line %u: ", reader->line);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reader->error + length, TR_LIN_ERROR_BYTES - (size_t)length, format, arguments);
    va_end(arguments);
    return false;
}

bool tr_lin_read_kind(const char *name, size_t length, enum tr_lin_kind *kind)
{
    static const struct {
        const char *name;
        enum tr_lin_kind kind;
    } names[] = {
        {"get", TR_LIN_GET},   {"read", TR_LIN_GET}, {"set", TR_LIN_SET}, {"put", TR_LIN_SET},
        {"write", TR_LIN_SET}, {"cas", TR_LIN_CAS},  {"del", TR_LIN_DEL}, {"append", TR_LIN_APPEND},
        {"incr", TR_LIN_INCR}, {"add", TR_LIN_INCR},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i].name) == length && memcmp(names[i].name, name, length) == 0) {
            *kind = names[i].kind;
            return true;
        }
    }
    return false;
}

static const char *skip_comments(const char *text)
{
    for (;;) {
        text += strspn(text, " \t\r\n");
        if (*text != '#')
            return text;
        text += strcspn(text, "\n");
    }
}

/* A copy of the line at *text, which is moved behind it. Owns: the caller frees it. */
static char *cut_line(const char **text)
{
    size_t length = strcspn(*text, "\n");
    char *line = tr_lin_make(length + 1, 1);
    memcpy(line, *text, length);
    if (length > 0 && line[length - 1] == '\r')
        line[length - 1] = '\0';
    *text += length + ((*text)[length] == '\n');
    return line;
}

bool tr_lin_read_text(const char *text, const struct tr_lin_model *model,
                      struct tr_lin_history *history, char error[TR_LIN_ERROR_BYTES])
{
    const struct format *format = formats;
    const char *begin = skip_comments(text);
    while (strncmp(begin, format->begins, strlen(format->begins)) != 0)
        format++;
    tr_lin_history_begin(history, model != NULL ? model : tr_lin_model_find(format->model));
    struct tr_lin_reader reader = {.history = history, .error = error};
    bool is_good = true;
    while (is_good && *text != '\0') {
        reader.line++;
        char *line = cut_line(&text);
        is_good = format->read_line(&reader, line);
        free(line);
    }
    tr_lin_read_events_end(&reader);
    if (!is_good)
        tr_lin_history_release(history);
    return is_good;
}

/* All of a file, ended by a zero; NULL with the error. Owns: the caller frees it. */
static char *load(FILE *file, const char *path, char error[TR_LIN_ERROR_BYTES])
{
    char *text = NULL;
    size_t count = 0;
    size_t capacity = 0;
    size_t got = 1;
    while (got > 0) {
        text = tr_lin_room(text, count + 1, &capacity, 1);
        got = fread(text + count, 1, capacity - count - 1, file);
        count += got;
    }
    if (!ferror(file) && memchr(text, '\0', count) == NULL) {
        text[count] = '\0';
        return text;
    }
    snprintf(error, TR_LIN_ERROR_BYTES, "%s: %s", path,
             ferror(file) ? strerror(errno) : "not a text, it has a zero byte");
    free(text);
    return NULL;
}

bool tr_lin_read_file(const char *path, const struct tr_lin_model *model,
                      struct tr_lin_history *history, char error[TR_LIN_ERROR_BYTES])
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (file == NULL) {
        snprintf(error, TR_LIN_ERROR_BYTES, "%s: %s", path, strerror(errno));
        return false;
    }
    char *text = load(file, path, error);
    if (file != stdin)
        fclose(file);
    bool is_good = text != NULL && tr_lin_read_text(text, model, history, error);
    free(text);
    return is_good;
}
