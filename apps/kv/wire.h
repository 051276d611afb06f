/* A command as it stands in the log, and a query as it reaches the state machine: a head, then the
 * arguments, each a length and its bytes. All numbers are little-endian. The command carries all
 * that its outcome depends on besides the state: the client's protocol version, the options, the
 * limits of the node that took it, so that nodes of different configuration still agree. */
#ifndef TR_APPS_KV_WIRE_H
#define TR_APPS_KV_WIRE_H

#include "store.h"

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Operations. The numbers are in logs and snapshots' tails: never renumbered. */
enum kv_op {
    KV_OP_NONE = 0,
    KV_OP_SEED = 1, /* seed: keys the store's hash, once */
    KV_OP_SET = 2,  /* key, value */
    KV_OP_SETNX = 3,
    KV_OP_MSET = 4, /* key, value, key, value, ... */
    KV_OP_MSETNX = 5,
    KV_OP_DEL = 6, /* key, ... */
    KV_OP_GETDEL = 7,
    KV_OP_INCRBY = 8, /* key, number */
    KV_OP_APPEND = 9,
    KV_OP_SETRANGE = 10, /* key, number, value */
    KV_OP_FLUSH = 11,
    KV_OP_GET = 64, /* from here on: queries */
    KV_OP_MGET = 65,
    KV_OP_EXISTS = 66,
    KV_OP_STRLEN = 67,
    KV_OP_GETRANGE = 68, /* key, number, number */
    KV_OP_TYPE = 69,
    KV_OP_DBSIZE = 70,
    KV_OP_TTL = 71,
    KV_OP_DIGEST = 72,
};

/* Options of a command. */
enum kv_wire_flag {
    KV_WIRE_RESP3 = 1,   /* the reply is for a client that speaks RESP3 */
    KV_WIRE_IF_NONE = 2, /* SET NX */
    KV_WIRE_IF_SOME = 4, /* SET XX */
    KV_WIRE_GET = 8,     /* SET GET */
};
#define KV_WIRE_FLAGS_ALL 15u

/* store_limit counts in these. */
#define KV_WIRE_LIMIT_UNIT_BYTES 65536u

/* The head, as it is in memory; kv_wire_head_load and _store turn it. */
struct kv_wire_head {
    uint8_t op;
    uint8_t flags;
    uint16_t reserved; /* zero */
    uint32_t arg_count;
    uint32_t value_bytes_max; /* longest value that the command may make */
    uint32_t store_limit;     /* most that the store may be charged, in KV_WIRE_LIMIT_UNIT_BYTES */
};
#ifndef __cplusplus
_Static_assert(sizeof(struct kv_wire_head) == 16, "no padding");
#endif

/* Walks over arguments. */
struct kv_wire_cursor {
    const uint8_t *at;
    uint32_t left;
};

/* Writes a head; returns where the arguments go. */
static inline uint8_t *kv_wire_put_head(uint8_t *out, const struct kv_wire_head *head)
{
    struct kv_wire_head wire = {head->op,
                                head->flags,
                                0,
                                htole32(head->arg_count),
                                htole32(head->value_bytes_max),
                                htole32(head->store_limit)};
    memcpy(out, &wire, sizeof(wire));
    return out + sizeof(wire);
}

/* Writes an argument; returns where the next one goes. */
static inline uint8_t *kv_wire_put_arg(uint8_t *out, const void *data, uint32_t bytes)
{
    uint32_t wire = htole32(bytes);
    memcpy(out, &wire, sizeof(wire));
    if (bytes > 0)
        memcpy(out + sizeof(wire), data, bytes);
    return out + sizeof(wire) + bytes;
}

/* The bytes of an argument in a command. */
static inline uint64_t kv_wire_arg_bytes(uint32_t bytes)
{
    return sizeof(uint32_t) + (uint64_t)bytes;
}

/* Takes the next argument. Returns 1, or 0 when the rest is none. */
static inline int kv_wire_next(struct kv_wire_cursor *cursor, struct kv_bytes *out)
{
    uint32_t bytes;
    if (cursor->left < sizeof(bytes))
        return 0;
    memcpy(&bytes, cursor->at, sizeof(bytes));
    bytes = le32toh(bytes);
    if (cursor->left - sizeof(bytes) < bytes)
        return 0;
    out->data = cursor->at + sizeof(bytes);
    out->bytes = bytes;
    cursor->at += sizeof(bytes) + bytes;
    cursor->left -= (uint32_t)sizeof(bytes) + bytes;
    return 1;
}

/* Reads a head and checks that exactly its arguments follow. Returns 1 with a cursor at the first
 * one, or 0 when the bytes are no command. Cost: linear in the arguments. */
int kv_wire_open(const void *data, uint32_t bytes, struct kv_wire_head *head,
                 struct kv_wire_cursor *cursor);

#ifdef __cplusplus
}
#endif
#endif
