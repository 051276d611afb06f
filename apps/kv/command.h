/* The commands: one table of names, arities and kinds, and the way from a client's request to the
 * bytes that are replicated. Everything that is wrong with a request and does not depend on the
 * state is found here, before it costs a log entry. Error texts are those of Redis 7. */
#ifndef TR_APPS_KV_COMMAND_H
#define TR_APPS_KV_COMMAND_H

#include "resp.h"
#include "wire.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where a command is answered. */
enum kv_kind {
    KV_KIND_LOCAL, /* by the server of this node, from what it knows */
    KV_KIND_READ,  /* by the state machine, linearizably, without a log entry */
    KV_KIND_STALE, /* by this node's state machine, as it is */
    KV_KIND_WRITE, /* through the log */
};

/* Commands that the server answers. */
enum kv_local {
    KV_LOCAL_NONE = 0,
    KV_LOCAL_PING,
    KV_LOCAL_ECHO,
    KV_LOCAL_HELLO,
    KV_LOCAL_SELECT,
    KV_LOCAL_QUIT,
    KV_LOCAL_RESET,
    KV_LOCAL_CLIENT,
    KV_LOCAL_CONFIG,
    KV_LOCAL_COMMAND,
    KV_LOCAL_INFO,
    KV_LOCAL_AUTH,
    KV_LOCAL_REFUSED, /* a browser that was tricked into talking to us: hang up */
};

struct kv_request;

/* One row of the table. */
struct kv_command {
    const char *name; /* in lower case */
    int arity;        /* arguments with the name; negative: at least so many */
    enum kv_kind kind;
    enum kv_local local;
    enum kv_op op;
    uint8_t flags;                        /* enum kv_wire_flag that the command implies */
    int8_t key_first, key_last, key_step; /* as COMMAND tells them */
    /* Checks the arguments and brings them into the form of the log. Returns NULL, or the error. */
    const char *(*prepare)(struct kv_request *request);
};

/* Arguments that a request can be rewritten into; a longer one keeps those that it came with. */
#define KV_REQUEST_REWRITTEN_MAX 3

/* A request on its way into the log. */
struct kv_request {
    const struct kv_command *command;
    const uint8_t *bytes;      /* what the offsets of args count from */
    const struct kv_arg *args; /* args[0] is the name */
    uint32_t arg_count;
    uint8_t flags;
    uint32_t value_bytes_max;
    uint32_t store_limit;
    uint32_t rewritten_count; /* 0: args[1..] go into the log as they are */
    struct kv_bytes rewritten[KV_REQUEST_REWRITTEN_MAX];
    uint8_t numbers[2][8];
};

/* Finds a command by its name in any case. Returns NULL when there is none. */
const struct kv_command *kv_command_find(const uint8_t *name, uint32_t bytes);

/* The rows of the table in alphabetical order, by index; NULL past the last. */
const struct kv_command *kv_command_at(uint32_t index);

/* Checks a request of a known command. Returns NULL, or the text of the error without the leading
 * minus; `text` of text_bytes has room for one that is made up. */
const char *kv_request_prepare(struct kv_request *request, char *text, uint32_t text_bytes);

/* The bytes of a prepared request in the log. */
uint64_t kv_request_wire_bytes(const struct kv_request *request);

/* Writes a prepared request as it goes into the log: kv_request_wire_bytes of it. */
void kv_request_encode(const struct kv_request *request, uint8_t *out);

/* Writes the error for a name that is no command into text. */
void kv_command_unknown(const uint8_t *bytes, const struct kv_arg *args, uint32_t arg_count,
                        char *text, uint32_t text_bytes);

/* 1 when the argument is this word, written in lower case here and in any case there. */
int kv_word_is(const uint8_t *data, uint32_t bytes, const char *word);

#ifdef __cplusplus
}
#endif
#endif
