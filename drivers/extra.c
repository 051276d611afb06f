/* Reading "key=value,..." texts by a table. */
#include "drivers/extra.h"

#include "base/assert.h"
#include "trireme/error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* One "key=value" of the text, not terminated. */
struct pair {
    const char *key;
    size_t key_bytes;
    const char *value;
    size_t value_bytes;
};

/* A unit of a value, as it is written behind the number. */
struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit bytes_units[] = {
    {"", 1}, {"K", 1024}, {"M", UINT64_C(1) << 20}, {"G", UINT64_C(1) << 30}, {NULL, 0}};
static const struct unit time_units[] = {
    {"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", UINT64_C(1000000000)}, {NULL, 0}};
static const struct unit count_units[] = {{"", 1}, {NULL, 0}};

void tr_explain(char *error, size_t error_bytes, const char *format, ...)
{
    va_list arguments;
    if (error == NULL || error_bytes == 0)
        return;
    va_start(arguments, format);
    vsnprintf(error, error_bytes, format, arguments);
    va_end(arguments);
}

/* Reads a decimal number with a unit from the whole of the text. */
static bool read_number(const char *text, size_t bytes, const struct unit *units, uint64_t *out)
{
    uint64_t number = 0;
    size_t i = 0;
    for (; i < bytes && text[i] >= '0' && text[i] <= '9'; i++) {
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    if (i == 0)
        return false;
    for (const struct unit *u = units; u->name != NULL; u++) {
        if (strlen(u->name) == bytes - i && memcmp(u->name, text + i, bytes - i) == 0) {
            if (number > UINT64_MAX / u->factor)
                return false;
            *out = number * u->factor;
            return true;
        }
    }
    *out = 0; /* "0" needs no unit */
    return number == 0 && i == bytes;
}

/* Reads "A" or "A-B", durations. */
static bool read_span(const char *text, size_t bytes, struct tr_extra_span *out)
{
    const char *dash = memchr(text, '-', bytes);
    size_t low_bytes = dash != NULL ? (size_t)(dash - text) : bytes;
    if (!read_number(text, low_bytes, time_units, &out->low_ns))
        return false;
    out->high_ns = out->low_ns;
    if (dash != NULL && !read_number(dash + 1, bytes - low_bytes - 1, time_units, &out->high_ns))
        return false;
    return out->low_ns <= out->high_ns;
}

/* Reads "0.1", a percentage with up to four decimals, in parts in a million. */
static bool read_percent(const char *text, size_t bytes, uint64_t *ppm)
{
    const char *point = memchr(text, '.', bytes);
    size_t whole_bytes = point != NULL ? (size_t)(point - text) : bytes;
    uint64_t whole, scale = 1000;
    if (!read_number(text, whole_bytes, count_units, &whole) || whole > 100)
        return false;
    *ppm = whole * 10000;
    for (size_t i = whole_bytes + 1; i < bytes; i++, scale /= 10) {
        if (text[i] < '0' || text[i] > '9' || scale == 0)
            return false;
        *ppm += (uint64_t)(text[i] - '0') * scale;
    }
    return point == NULL || point + 1 < text + bytes;
}

/* Reads "1000ppm", "0.1%" or "0"; at most everything. */
static bool read_ppm(const char *text, size_t bytes, uint32_t *out)
{
    static const struct unit ppm_units[] = {{"ppm", 1}, {NULL, 0}};
    uint64_t ppm;
    bool is_percent = bytes > 1 && text[bytes - 1] == '%';
    if (is_percent ? !read_percent(text, bytes - 1, &ppm)
                   : !read_number(text, bytes, ppm_units, &ppm))
        return false;
    *out = (uint32_t)ppm;
    return ppm <= 1000000;
}

/* Reads "2+3+7". */
static bool read_nodes(const char *text, size_t bytes, struct tr_extra_nodes *out)
{
    out->count = 0;
    while (out->count < TR_EXTRA_NODES_MAX) {
        const char *plus = memchr(text, '+', bytes);
        size_t item = plus != NULL ? (size_t)(plus - text) : bytes;
        uint64_t node;
        if (!read_number(text, item, count_units, &node) || node == 0 || node > UINT16_MAX)
            return false;
        out->node[out->count++] = (uint16_t)node;
        if (plus == NULL)
            return true;
        text = plus + 1;
        bytes -= item + 1;
    }
    return false;
}

static bool read_flag(const char *text, size_t bytes, bool *out)
{
    *out = bytes == 2 && memcmp(text, "on", 2) == 0;
    return *out || (bytes == 3 && memcmp(text, "off", 3) == 0);
}

static bool read_word(const char *text, size_t bytes, char *out, size_t room)
{
    if (bytes == 0 || bytes >= room)
        return false;
    memcpy(out, text, bytes);
    out[bytes] = '\0';
    return true;
}

/* What a value of this kind looks like, for messages. */
static const char *kind_example(enum tr_extra_kind kind)
{
    switch (kind) {
    case TR_EXTRA_COUNT:
        return "a number";
    case TR_EXTRA_BYTES:
        return "a size, like 65536, 64K or 4M";
    case TR_EXTRA_TIME:
        return "a time or a span of times, like 50us or 10us-2ms";
    case TR_EXTRA_PPM:
        return "a rate up to 100%, like 1000ppm, 0.1% or 0";
    case TR_EXTRA_FLAG:
        return "on or off";
    case TR_EXTRA_WORD:
        return "a word of 1 to 63 bytes";
    case TR_EXTRA_TEXT:
        return "a text of 1 to 255 bytes";
    case TR_EXTRA_NODES:
        return "up to 16 node numbers, like 2+3";
    }
    tr_unreachable();
}

/* Reads a value into its field. *low and *high are what the key's limits hold against. */
static bool read_value(const struct tr_extra_key *key, const struct pair *p, void *field,
                       uint64_t *low, uint64_t *high)
{
    struct tr_extra_span span;
    *low = key->least;
    *high = key->least;
    switch (key->kind) {
    case TR_EXTRA_COUNT:
    case TR_EXTRA_BYTES:
        if (!read_number(p->value, p->value_bytes,
                         key->kind == TR_EXTRA_COUNT ? count_units : bytes_units, low))
            return false;
        *high = *low;
        memcpy(field, low, sizeof(*low));
        return true;
    case TR_EXTRA_TIME:
        if (!read_span(p->value, p->value_bytes, &span))
            return false;
        *low = span.low_ns;
        *high = span.high_ns;
        memcpy(field, &span, sizeof(span));
        return true;
    case TR_EXTRA_PPM:
        return read_ppm(p->value, p->value_bytes, field);
    case TR_EXTRA_FLAG:
        return read_flag(p->value, p->value_bytes, field);
    case TR_EXTRA_WORD:
        return read_word(p->value, p->value_bytes, field, TR_EXTRA_WORD_BYTES);
    case TR_EXTRA_TEXT:
        return read_word(p->value, p->value_bytes, field, TR_EXTRA_BELOW_BYTES);
    case TR_EXTRA_NODES:
        return read_nodes(p->value, p->value_bytes, field);
    }
    tr_unreachable();
}

/* Appends "rest=value" of a prefixed key to what the driver below gets. */
static bool append_below(const struct tr_extra_key *key, const struct pair *p, char *field)
{
    size_t prefix = strlen(key->name);
    size_t used = strlen(field);
    int wrote =
        snprintf(field + used, TR_EXTRA_BELOW_BYTES - used, "%s%.*s=%.*s", used != 0 ? "," : "",
                 (int)(p->key_bytes - prefix), p->key + prefix, (int)p->value_bytes, p->value);
    return wrote > 0 && (size_t)wrote < TR_EXTRA_BELOW_BYTES - used;
}

static bool key_is_prefix(const struct tr_extra_key *key)
{
    return key->name[strlen(key->name) - 1] == '.';
}

static const struct tr_extra_key *find_key(const struct tr_extra_table *table, const struct pair *p)
{
    for (uint32_t i = 0; i < table->key_count; i++) {
        const struct tr_extra_key *key = &table->keys[i];
        size_t name = strlen(key->name);
        bool fits = key_is_prefix(key) ? p->key_bytes > name : p->key_bytes == name;
        if (fits && memcmp(key->name, p->key, name) == 0)
            return key;
    }
    return NULL;
}

static void explain_unknown(const struct tr_extra_table *table, const struct pair *p, char *error,
                            size_t error_bytes)
{
    char known[512] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < table->key_count && used < sizeof(known); i++) {
        int wrote = snprintf(known + used, sizeof(known) - used, "%s%s", i != 0 ? ", " : "",
                             table->keys[i].name);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    tr_explain(error, error_bytes, "%s: unknown option \"%.*s\"; known are: %s", table->driver,
               (int)p->key_bytes, p->key, known);
}

static int parse_pair(const struct tr_extra_table *table, const struct pair *p, void *into,
                      char *error, size_t error_bytes)
{
    const struct tr_extra_key *key = find_key(table, p);
    uint64_t low, high;
    char *field;
    if (key == NULL) {
        explain_unknown(table, p, error, error_bytes);
        return TR_EINVAL;
    }
    field = (char *)into + key->offset;
    if (key_is_prefix(key)) {
        if (append_below(key, p, field))
            return TR_OK;
        tr_explain(error, error_bytes, "%s: options \"%s...\" are longer than %d bytes together",
                   table->driver, key->name, TR_EXTRA_BELOW_BYTES - 1);
        return TR_EINVAL;
    }
    if (!read_value(key, p, field, &low, &high)) {
        tr_explain(error, error_bytes, "%s: %s=%.*s is not %s", table->driver, key->name,
                   (int)p->value_bytes, p->value, kind_example(key->kind));
        return TR_EINVAL;
    }
    if (low < key->least || high > key->most) {
        tr_explain(error, error_bytes,
                   "%s: %s=%.*s is out of range: choose from %" PRIu64 " to %" PRIu64 "%s",
                   table->driver, key->name, (int)p->value_bytes, p->value, key->least, key->most,
                   key->kind == TR_EXTRA_TIME ? " ns" : "");
        return TR_EINVAL;
    }
    return TR_OK;
}

int tr_extra_parse(const struct tr_extra_table *table, const char *text, void *into, char *error,
                   size_t error_bytes)
{
    while (text != NULL && *text != '\0') {
        size_t bytes = strcspn(text, ",");
        const char *equals = memchr(text, '=', bytes);
        struct pair p = {.key = text};
        int result;
        if (equals == NULL) {
            tr_explain(error, error_bytes, "%s: option \"%.*s\" has no value: write key=value",
                       table->driver, (int)bytes, text);
            return TR_EINVAL;
        }
        p.key_bytes = (size_t)(equals - text);
        p.value = equals + 1;
        p.value_bytes = bytes - p.key_bytes - 1;
        result = parse_pair(table, &p, into, error, error_bytes);
        if (result != TR_OK)
            return result;
        text += bytes + (text[bytes] == ',' ? 1 : 0);
    }
    return TR_OK;
}
