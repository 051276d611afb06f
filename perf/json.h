/* Writes one JSON document to a stream. Source: RFC 8259. */
#ifndef TR_PERF_JSON_H
#define TR_PERF_JSON_H

#include "base/types.h"

#include <stdio.h>

TR_BEGIN_C

#define TR_PERF_JSON_DEPTH_MAX 8

struct tr_perf_json {
    FILE *out;
    uint32_t depth;
    bool is_first[TR_PERF_JSON_DEPTH_MAX]; /* of the object or array at each depth: no comma yet */
};

/* A writer that has begun the document's object. Owns: the caller keeps the stream. */
struct tr_perf_json tr_perf_json_begin(FILE *out);
/* Ends the document with a new line. */
void tr_perf_json_end(struct tr_perf_json *json);

/* Members of the object under way; with a NULL key, elements of the array under way. */
void tr_perf_json_text(struct tr_perf_json *json, const char *key, const char *value);
void tr_perf_json_integer(struct tr_perf_json *json, const char *key, uint64_t value);
/* A number that is not finite becomes null: JSON has no other word for it. */
void tr_perf_json_number(struct tr_perf_json *json, const char *key, double value);
void tr_perf_json_flag(struct tr_perf_json *json, const char *key, bool value);
void tr_perf_json_null(struct tr_perf_json *json, const char *key);
void tr_perf_json_open_object(struct tr_perf_json *json, const char *key);
void tr_perf_json_close_object(struct tr_perf_json *json);
void tr_perf_json_open_array(struct tr_perf_json *json, const char *key);
void tr_perf_json_close_array(struct tr_perf_json *json);

TR_END_C

#endif
