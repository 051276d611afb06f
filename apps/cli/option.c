#include "option.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Keys are shorter than this. */
#define KEY_BYTES_MAX 64

/* A suffix of numbers. */
struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit byte_units[] = {
    {"GiB", UINT64_C(1) << 30},
    {"MiB", UINT64_C(1) << 20},
    {"KiB", UINT64_C(1) << 10},
    {"G", UINT64_C(1) << 30},
    {"M", UINT64_C(1) << 20},
    {"K", UINT64_C(1) << 10},
    {"B", 1},
    {"", 1},
    {NULL, 0},
};
static const struct unit time_units[] = {
    {"us", 1}, {"ms", 1000}, {"s", 1000000}, {"", 1}, {NULL, 0}};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum cli_kind kind)
{
    if (kind == CLI_BYTES)
        return byte_units;
    return kind == CLI_US ? time_units : no_units;
}

/* ------------------------------------------------------------------ numbers and words */

/* Reads digits and one of the units. Returns 1, or 0 when it is no number or too large for one. */
static int read_number(const char *text, const struct unit *units, uint64_t *out)
{
    uint64_t number = 0;
    const char *at = text;
    for (; isdigit((unsigned char)*at); at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (number > (UINT64_MAX - digit) / 10)
            return 0;
        number = number * 10 + digit;
    }
    if (at == text)
        return 0;
    while (*at == ' ')
        at++;
    for (; units->name != NULL; units++) {
        if (strcasecmp(at, units->name) == 0)
            return !__builtin_mul_overflow(number, units->factor, out);
    }
    return 0;
}

/* Writes a number with the largest unit that divides it. */
static void format_number(char *text, size_t text_bytes, uint64_t number, enum cli_kind kind)
{
    const struct unit *units = units_of(kind);
    const struct unit *best = NULL;
    for (; units->name != NULL; units++) {
        if (number != 0 && number % units->factor == 0 && units->factor > 1 &&
            (best == NULL || units->factor > best->factor))
            best = units;
    }
    const char *plain = kind == CLI_US ? "us" : "";
    if (best == NULL)
        snprintf(text, text_bytes, "%llu%s", (unsigned long long)number, plain);
    else
        snprintf(text, text_bytes, "%llu%s", (unsigned long long)(number / best->factor),
                 best->name);
}

/* The index of a word among "one|two|three". Returns 1, or 0 when it is none of them. */
static int find_choice(const char *choices, const char *word, uint64_t *out)
{
    size_t bytes = strlen(word);
    uint64_t index = 0;
    for (const char *at = choices; at != NULL; index++) {
        const char *end = strchr(at, '|');
        size_t choice_bytes = end != NULL ? (size_t)(end - at) : strlen(at);
        if (choice_bytes == bytes && memcmp(at, word, bytes) == 0) {
            *out = index;
            return 1;
        }
        at = end != NULL ? end + 1 : NULL;
    }
    return 0;
}

/* ------------------------------------------------------------------ one option */

static const char *example_of(enum cli_kind kind)
{
    switch (kind) {
    case CLI_TEXT:
        return "a text";
    case CLI_COUNT:
        return "a whole number";
    case CLI_BYTES:
        return "a size such as 65536, 64KiB or 16MiB";
    case CLI_US:
        return "a time such as 500us, 2ms or 3s (a plain number counts microseconds)";
    case CLI_CPU:
        return "the number of a CPU, near or none";
    case CLI_CHOICE:
        return "one of the choices";
    case CLI_SWITCH:
        return "yes or no";
    }
    return "";
}

static int set_number(const struct cli_option *row, void *field, const char *text,
                      const char *origin, char *error, size_t error_bytes)
{
    uint64_t number;
    char least[32], most[32];
    if (row->kind == CLI_CPU && strcmp(text, "near") == 0) {
        *(int64_t *)field = CLI_CPU_NEAR;
        return 1;
    }
    if (row->kind == CLI_CPU && strcmp(text, "none") == 0) {
        *(int64_t *)field = CLI_CPU_NONE;
        return 1;
    }
    if (!read_number(text, units_of(row->kind), &number)) {
        snprintf(error, error_bytes, "%s: '%s' is not %s", origin, text, example_of(row->kind));
        return 0;
    }
    if (number < row->least || number > row->most) {
        format_number(least, sizeof(least), row->least, row->kind);
        format_number(most, sizeof(most), row->most, row->kind);
        snprintf(error, error_bytes, "%s: '%s' is out of range; it may be %s to %s", origin, text,
                 least, most);
        return 0;
    }
    if (row->kind == CLI_CPU)
        *(int64_t *)field = (int64_t)number;
    else
        *(uint64_t *)field = number;
    return 1;
}

static int set_text(void *field, const char *text, char *error, size_t error_bytes)
{
    char *copy = strdup(text);
    if (copy == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return 0;
    }
    free(*(char **)field);
    *(char **)field = copy;
    return 1;
}

int cli_option_set(const struct cli_option *row, void *config, const char *text, const char *origin,
                   char *error, size_t error_bytes)
{
    void *field = (char *)config + row->offset;
    const char *wrong = row->check != NULL ? row->check(text) : NULL;
    if (wrong != NULL) {
        snprintf(error, error_bytes, "%s: '%s': %s", origin, text, wrong);
        return 0;
    }
    switch (row->kind) {
    case CLI_TEXT:
        return set_text(field, text, error, error_bytes);
    case CLI_COUNT:
    case CLI_BYTES:
    case CLI_US:
    case CLI_CPU:
        return set_number(row, field, text, origin, error, error_bytes);
    case CLI_CHOICE:
        if (find_choice(row->choices, text, field))
            return 1;
        snprintf(error, error_bytes, "%s: '%s' is none of %s", origin, text, row->choices);
        return 0;
    case CLI_SWITCH:
        if (find_choice("no|yes", text, field))
            return 1;
        snprintf(error, error_bytes, "%s: '%s' is not yes or no", origin, text);
        return 0;
    }
    return 0;
}

/* ------------------------------------------------------------------ keys */

const struct cli_option *cli_option_find(const struct cli_options *options, const char *key)
{
    for (size_t at = 0; at < options->row_count; at++) {
        if (strcmp(options->rows[at].key, key) == 0)
            return &options->rows[at];
    }
    return NULL;
}

static size_t least_of(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Insertions, deletions and replacements between two words (Levenshtein). */
static size_t distance(const char *a, const char *b)
{
    size_t row[KEY_BYTES_MAX + 1];
    size_t b_bytes = strlen(b);
    for (size_t at = 0; at <= b_bytes; at++)
        row[at] = at;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_bytes; j++) {
            size_t changed = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least_of(changed, row[j] + 1, row[j - 1] + 1);
        }
    }
    return row[b_bytes];
}

const char *cli_option_nearest(const struct cli_options *options, const char *key)
{
    const char *nearest = NULL;
    size_t nearest_distance = 4; /* more typing errors than this make another word */
    if (strlen(key) > KEY_BYTES_MAX)
        return NULL;
    for (size_t at = 0; at < options->row_count; at++) {
        size_t d = distance(key, options->rows[at].key);
        if (d < nearest_distance) {
            nearest_distance = d;
            nearest = options->rows[at].key;
        }
    }
    return nearest;
}

/* ------------------------------------------------------------------ the command line */

static int set_defaults(const struct cli_options *options, void *config, char *error,
                        size_t error_bytes)
{
    for (size_t at = 0; at < options->row_count; at++) {
        const struct cli_option *row = &options->rows[at];
        if (row->fallback == NULL)
            continue;
        struct cli_option unchecked = *row;
        unchecked.check = NULL; /* an empty text means "not given" to many */
        if (!cli_option_set(&unchecked, config, row->fallback, row->key, error, error_bytes))
            return 0;
    }
    return 1;
}

/* An argument of the command line: "--key", "--key=value". */
struct argument {
    char key[KEY_BYTES_MAX + 1];
    const char *value; /* after "=", or NULL */
};

static int read_argument(const struct cli_options *options, const char *text, struct argument *out,
                         char *error, size_t error_bytes)
{
    if (text[0] != '-' || text[1] != '-' || text[2] == '\0') {
        snprintf(error, error_bytes, "'%s' is not an option; see trireme %s --help", text,
                 options->command);
        return 0;
    }
    const char *equals = strchr(text, '=');
    size_t bytes = equals != NULL ? (size_t)(equals - text) - 2 : strlen(text) - 2;
    if (bytes > KEY_BYTES_MAX)
        bytes = KEY_BYTES_MAX;
    memcpy(out->key, text + 2, bytes);
    out->key[bytes] = '\0';
    out->value = equals != NULL ? equals + 1 : NULL;
    return 1;
}

static void tell_unknown(const struct cli_options *options, const char *key, char *error,
                         size_t error_bytes)
{
    const char *nearest = cli_option_nearest(options, key);
    if (nearest != NULL)
        snprintf(error, error_bytes, "unknown option '--%s'; did you mean '--%s'?", key, nearest);
    else
        snprintf(error, error_bytes, "unknown option '--%s'; see trireme %s --help", key,
                 options->command);
}

/* Applies argv[at]. Returns how many elements it took, or 0 with the error. */
static int take_argument(const struct cli_options *options, void *config, int argc, char **argv,
                         int at, char *error, size_t error_bytes)
{
    struct argument argument;
    char origin[KEY_BYTES_MAX + 3];
    if (!read_argument(options, argv[at], &argument, error, error_bytes))
        return 0;
    const struct cli_option *row = cli_option_find(options, argument.key);
    if (row == NULL) {
        tell_unknown(options, argument.key, error, error_bytes);
        return 0;
    }
    int taken = 1;
    const char *value = argument.value;
    if (value == NULL && row->kind == CLI_SWITCH) {
        value = "yes";
    } else if (value == NULL) {
        if (at + 1 == argc) {
            snprintf(error, error_bytes, "--%s needs a value: --%s %s", row->key, row->key,
                     row->value);
            return 0;
        }
        value = argv[at + 1];
        taken = 2;
    }
    snprintf(origin, sizeof(origin), "--%s", row->key);
    return cli_option_set(row, config, value, origin, error, error_bytes) ? taken : 0;
}

static int take_arguments(const struct cli_options *options, void *config, int argc, char **argv,
                          char *error, size_t error_bytes)
{
    for (int at = 1; at < argc;) {
        int taken = take_argument(options, config, argc, argv, at, error, error_bytes);
        if (taken == 0)
            return 0;
        at += taken;
    }
    return 1;
}

static int is_missing(const struct cli_option *row, const void *config)
{
    const void *field = (const char *)config + row->offset;
    if (row->fallback != NULL)
        return 0;
    if (row->kind == CLI_TEXT)
        return *(char *const *)field == NULL;
    return *(const uint64_t *)field == 0; /* such options begin at 1 */
}

static int asks_help(int argc, char **argv)
{
    for (int at = 1; at < argc; at++) {
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0)
            return 1;
    }
    return 0;
}

enum cli_result cli_options_parse(const struct cli_options *options, void *config, int argc,
                                  char **argv, char *error, size_t error_bytes)
{
    if (asks_help(argc, argv))
        return CLI_HELP;
    if (!set_defaults(options, config, error, error_bytes) ||
        !take_arguments(options, config, argc, argv, error, error_bytes))
        return CLI_WRONG;
    const struct cli_option *file = cli_option_find(options, "config");
    const char *path = file == NULL ? "" : *(char **)((char *)config + file->offset);
    if (path[0] != '\0') {
        /* The file comes before the command line: read it, then take the arguments again. */
        if (!cli_options_load(options, path, config, error, error_bytes) ||
            !take_arguments(options, config, argc, argv, error, error_bytes))
            return CLI_WRONG;
    }
    for (size_t at = 0; at < options->row_count; at++) {
        const struct cli_option *row = &options->rows[at];
        if (is_missing(row, config)) {
            snprintf(error, error_bytes, "--%s %s is missing: %s", row->key, row->value, row->doc);
            return CLI_WRONG;
        }
    }
    return CLI_READY;
}

void cli_options_release(const struct cli_options *options, void *config)
{
    for (size_t at = 0; at < options->row_count; at++) {
        if (options->rows[at].kind != CLI_TEXT)
            continue;
        char **field = (char **)((char *)config + options->rows[at].offset);
        free(*field);
        *field = NULL;
    }
}
