/* Replies as bytes of the Redis protocol. Each function writes at `out` and returns where the next
 * one goes; the caller has made room. RESP2 and RESP3 differ, for these commands, in the null and
 * the map. */
#ifndef TR_APPS_KV_REPLY_H
#define TR_APPS_KV_REPLY_H

#include "resp.h"

#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Most bytes of a number, a bulk string's or an array's head, and of the null. */
#define KV_REPLY_HEAD_BYTES_MAX (KV_NUMBER_BYTES_MAX + 3)

/* Writes raw bytes. */
static inline uint8_t *kv_reply_raw(uint8_t *out, const void *data, uint32_t bytes)
{
    if (bytes > 0)
        memcpy(out, data, bytes);
    return out + bytes;
}

/* Writes a mark, a number and a line end: the form of numbers and heads. */
static inline uint8_t *kv_reply_marked(uint8_t *out, char mark, int64_t number)
{
    *out++ = (uint8_t)mark;
    out += kv_number_format((char *)out, number);
    return kv_reply_raw(out, "\r\n", 2);
}

/* Writes an integer. */
static inline uint8_t *kv_reply_integer(uint8_t *out, int64_t number)
{
    return kv_reply_marked(out, ':', number);
}

/* Writes the head of an array; its elements follow. */
static inline uint8_t *kv_reply_array(uint8_t *out, uint32_t count)
{
    return kv_reply_marked(out, '*', count);
}

/* Writes a bulk string. */
static inline uint8_t *kv_reply_bulk(uint8_t *out, const void *data, uint32_t bytes)
{
    out = kv_reply_marked(out, '$', bytes);
    out = kv_reply_raw(out, data, bytes);
    return kv_reply_raw(out, "\r\n", 2);
}

/* Writes the null of the protocol version. */
static inline uint8_t *kv_reply_null(uint8_t *out, int resp3)
{
    return resp3 ? kv_reply_raw(out, "_\r\n", 3) : kv_reply_raw(out, "$-1\r\n", 5);
}

/* The bytes of a bulk string as kv_reply_bulk writes it. */
static inline uint64_t kv_reply_bulk_bytes(uint32_t bytes)
{
    uint64_t digits = 1;
    for (uint32_t rest = bytes; rest >= 10; rest /= 10)
        digits++;
    return 1 + digits + 2 + (uint64_t)bytes + 2;
}

#ifdef __cplusplus
}
#endif
#endif
