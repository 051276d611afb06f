#include "perf/json.h"

#include "base/assert.h"

#include <inttypes.h>
#include <math.h>

static void put_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (const char *at = text; *at != '\0'; at++) {
        unsigned char c = (unsigned char)*at;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

/* Begins a member or an element: comma, line, key. */
static void put_key(struct tr_perf_json *json, const char *key)
{
    if (!json->is_first[json->depth])
        fputc(',', json->out);
    json->is_first[json->depth] = false;
    fprintf(json->out, "\n%*s", (int)(json->depth + 1) * 2, "");
    if (key == NULL)
        return;
    put_text(json->out, key);
    fputs(": ", json->out);
}

static void open_level(struct tr_perf_json *json, char bracket)
{
    tr_assert(json->depth + 1 < TR_PERF_JSON_DEPTH_MAX);
    fputc(bracket, json->out);
    json->depth++;
    json->is_first[json->depth] = true;
}

static void close_level(struct tr_perf_json *json, char bracket)
{
    tr_assert(json->depth > 0);
    if (!json->is_first[json->depth])
        fprintf(json->out, "\n%*s", (int)json->depth * 2, "");
    json->depth--;
    fputc(bracket, json->out);
}

struct tr_perf_json tr_perf_json_begin(FILE *out)
{
    struct tr_perf_json json = {.out = out};
    fputc('{', out);
    json.is_first[0] = true;
    return json;
}

void tr_perf_json_end(struct tr_perf_json *json)
{
    tr_assert(json->depth == 0);
    fputs("\n}\n", json->out);
}

void tr_perf_json_text(struct tr_perf_json *json, const char *key, const char *value)
{
    put_key(json, key);
    put_text(json->out, value);
}

void tr_perf_json_integer(struct tr_perf_json *json, const char *key, uint64_t value)
{
    put_key(json, key);
    fprintf(json->out, "%" PRIu64, value);
}

void tr_perf_json_number(struct tr_perf_json *json, const char *key, double value)
{
    if (!isfinite(value)) {
        tr_perf_json_null(json, key);
        return;
    }
    put_key(json, key);
    fprintf(json->out, "%.10g", value);
}

void tr_perf_json_flag(struct tr_perf_json *json, const char *key, bool value)
{
    put_key(json, key);
    fputs(value ? "true" : "false", json->out);
}

void tr_perf_json_null(struct tr_perf_json *json, const char *key)
{
    put_key(json, key);
    fputs("null", json->out);
}

void tr_perf_json_open_object(struct tr_perf_json *json, const char *key)
{
    put_key(json, key);
    open_level(json, '{');
}

void tr_perf_json_close_object(struct tr_perf_json *json)
{
    close_level(json, '}');
}

void tr_perf_json_open_array(struct tr_perf_json *json, const char *key)
{
    put_key(json, key);
    open_level(json, '[');
}

void tr_perf_json_close_array(struct tr_perf_json *json)
{
    close_level(json, ']');
}
