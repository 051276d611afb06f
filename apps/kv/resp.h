/* Requests of the Redis serialization protocol (RESP): arrays of bulk strings, and inline commands.
 * The parser is incremental over the caller's buffer, keeps no bytes of its own, and is bounded: a
 * request above its limits is skipped as it arrives, without being stored, and then reported.
 * Source: redis.io/docs/reference/protocol-spec; limits and error texts as in Redis 7. */
#ifndef TR_APPS_KV_RESP_H
#define TR_APPS_KV_RESP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An inline command, and the line of a length, may have so many bytes, as in Redis. */
#define KV_RESP_LINE_BYTES_MAX 65536u
/* A bulk string may announce so many bytes, as in Redis; above it the stream is not believed. */
#define KV_RESP_BULK_BYTES_MAX (512u << 20)
/* An array may announce so many elements, as in Redis; above it the stream is not believed. */
#define KV_RESP_ARRAY_COUNT_MAX (1024u * 1024u)

/* One argument: a range of the request's bytes. */
struct kv_arg {
    uint32_t offset;
    uint32_t bytes;
};

/* What kv_resp_parse found. */
enum kv_resp_result {
    KV_RESP_MORE,     /* the request is not whole yet */
    KV_RESP_REQUEST,  /* args and arg_count hold a request of at least one argument */
    KV_RESP_EMPTY,    /* a blank line or an empty array: nothing to answer */
    KV_RESP_TOO_BIG,  /* a whole request, above the limits: skipped; request_bytes tells its size */
    KV_RESP_BAD,      /* not this protocol: error has the text; the connection should be closed */
    KV_RESP_NO_MEMORY /* no memory for the list of arguments; close the connection */
};

/* The state of one connection's stream of requests. Set up by kv_resp_init. */
struct kv_resp {
    uint32_t request_bytes_max; /* largest request that is kept whole */
    uint32_t arg_count_max;     /* most arguments that are kept */
    struct kv_arg *args;        /* of the request just found; offsets from its first byte */
    uint32_t arg_count;
    uint32_t arg_capacity;
    uint64_t request_bytes;   /* bytes of the request seen so far, skipped ones included */
    uint32_t elements_left;   /* array elements still to come */
    uint32_t bulk_bytes_left; /* while skipping: bytes of the current bulk string still to come */
    uint32_t scanned;         /* bytes at the front of the buffer that are parsed */
    uint8_t state;
    uint8_t skipping; /* the request is above a limit: its bytes are dropped as they come */
    char error[80];
};

/* Prepares a parser that keeps requests of up to request_bytes_max bytes and arg_count_max
 * arguments. Owns: nothing yet. */
void kv_resp_init(struct kv_resp *resp, uint32_t request_bytes_max, uint32_t arg_count_max);

/* Frees the list of arguments. */
void kv_resp_release(struct kv_resp *resp);

/* Looks for one request at the front of `data`, the bytes of the stream that were not consumed yet.
 * Inline commands are unquoted in place. On return the first *consumed bytes are done with: the
 * caller drops them, after it has used args, whose offsets count from data. With KV_RESP_MORE they
 * are skipped bytes of a request that is too big, or none.
 * Thread: one a parser.  Cost: linear in the bytes that are new since the last call. */
enum kv_resp_result kv_resp_parse(struct kv_resp *resp, uint8_t *data, size_t bytes,
                                  size_t *consumed);

/* How many bytes of the stream must be in the buffer before another call can find more: the caller
 * reserves room for a long bulk string at once. 0 when that is not known. */
size_t kv_resp_wanted(const struct kv_resp *resp);

/* Reads a decimal number exactly as Redis does: an optional minus, no leading zeros, no blanks.
 * Returns 1 and the number, or 0 when it is none or does not fit. */
int kv_number_parse(const uint8_t *data, size_t bytes, int64_t *out);

/* Most bytes that kv_number_format writes. */
#define KV_NUMBER_BYTES_MAX 20

/* Writes a number in decimal without a terminator. Returns its bytes. */
uint32_t kv_number_format(char *out, int64_t number);

#ifdef __cplusplus
}
#endif
#endif
