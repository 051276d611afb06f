#include "perf/callgrind.h"

#include <stdlib.h>
#include <string.h>

/* Names that the profile has abbreviated: "(12) name" once, then "(12)". */
struct names {
    char (*text)[TR_PERF_CALL_NAME_MAX]; /* the end of each, where it is longer */
};

struct reader {
    struct names files, functions;
    const char *caller_file;
    bool is_caller;     /* the function under way is of that file */
    uint32_t callee;    /* number of the function that is called next */
    uint64_t calls;     /* of the call line above; 0: the next line is not a call's cost */
    bool is_overflowed; /* too many names or functions */
};

/* The number of "(12) name" or "(12)"; keeps the name. */
static uint32_t number_of(struct reader *r, struct names *names, const char *value)
{
    char *end = NULL;
    uint64_t number = value[0] == '(' ? strtoull(value + 1, &end, 10) : UINT64_MAX;
    if (number >= TR_PERF_CALL_NAMES_MAX || end == NULL || *end != ')') {
        r->is_overflowed = true;
        return 0;
    }
    if (end[1] == ' ') {
        const char *name = end + 2;
        size_t length = strlen(name);
        size_t skip = length >= TR_PERF_CALL_NAME_MAX ? length - TR_PERF_CALL_NAME_MAX + 1 : 0;
        memcpy(names->text[number], name + skip, length - skip + 1);
    }
    return (uint32_t)number;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    size_t end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static void add_call(struct reader *r, struct tr_perf_calls *out, uint64_t instructions)
{
    const char *name = r->functions.text[r->callee];
    uint32_t i = 0;
    while (i < out->count && strcmp(out->call[i].name, name) != 0)
        i++;
    if (i == TR_PERF_CALLS_MAX) {
        r->is_overflowed = true;
        return;
    }
    if (i == out->count) {
        memcpy(out->call[i].name, name, TR_PERF_CALL_NAME_MAX);
        out->count++;
    }
    out->call[i].count += r->calls;
    out->call[i].instructions += instructions;
}

/* One line "key=value", or a cost line. */
static void read_line(struct reader *r, struct tr_perf_calls *out, char *line)
{
    char *equals = strchr(line, '=');
    if (r->calls != 0) {
        /* "position cost": the inclusive cost of the call above. */
        const char *cost = strchr(line, ' ');
        if (r->is_caller && cost != NULL)
            add_call(r, out, strtoull(cost, NULL, 10));
        r->calls = 0;
        return;
    }
    if (equals == NULL)
        return;
    const char *value = equals + 1;
    *equals = '\0';
    if (strcmp(line, "fl") == 0) {
        uint32_t file = number_of(r, &r->files, value);
        r->is_caller = r->caller_file == NULL || ends_with(r->files.text[file], r->caller_file);
    } else if (strcmp(line, "fi") == 0 || strcmp(line, "fe") == 0 || strcmp(line, "cfi") == 0 ||
               strcmp(line, "cfl") == 0) {
        number_of(r, &r->files, value);
    } else if (strcmp(line, "fn") == 0) {
        number_of(r, &r->functions, value);
    } else if (strcmp(line, "cfn") == 0) {
        r->callee = number_of(r, &r->functions, value);
    } else if (strcmp(line, "calls") == 0) {
        r->calls = strtoull(value, NULL, 10);
    }
}

bool tr_perf_callgrind_read(FILE *in, const char *caller_file, struct tr_perf_calls *out)
{
    struct reader r = {.caller_file = caller_file, .is_caller = caller_file == NULL};
    char *line = NULL;
    size_t room = 0;
    bool is_profile = false;
    out->count = 0;
    memset(out->call, 0, sizeof(out->call));
    r.files.text = calloc(TR_PERF_CALL_NAMES_MAX, TR_PERF_CALL_NAME_MAX);
    r.functions.text = calloc(TR_PERF_CALL_NAMES_MAX, TR_PERF_CALL_NAME_MAX);
    bool has_memory = r.files.text != NULL && r.functions.text != NULL;
    while (has_memory && !r.is_overflowed && getline(&line, &room, in) > 0) {
        line[strcspn(line, "\n")] = '\0';
        is_profile = is_profile || strncmp(line, "events: Ir", 10) == 0;
        read_line(&r, out, line);
    }
    free(line);
    free(r.files.text);
    free(r.functions.text);
    return has_memory && is_profile && !r.is_overflowed;
}

const struct tr_perf_call *tr_perf_callgrind_find(const struct tr_perf_calls *calls,
                                                  const char *name)
{
    for (uint32_t i = 0; i < calls->count; i++)
        if (strcmp(calls->call[i].name, name) == 0)
            return &calls->call[i];
    return NULL;
}
