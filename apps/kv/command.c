#include "command.h"

#include <stdio.h>
#include <string.h>

static const char syntax_error[] = "ERR syntax error";
static const char not_an_integer[] = "ERR value is not an integer or out of range";

/* ------------------------------------------------------------------ requests */

static struct kv_bytes arg(const struct kv_request *request, uint32_t index)
{
    const struct kv_arg *at = &request->args[index];
    return (struct kv_bytes){request->bytes + at->offset, at->bytes};
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

int kv_word_is(const uint8_t *data, uint32_t bytes, const char *word)
{
    for (uint32_t at = 0; at < bytes; at++) {
        if (word[at] == '\0' || lower(data[at]) != (uint8_t)word[at])
            return 0;
    }
    return word[bytes] == '\0';
}

static int arg_is(const struct kv_request *request, uint32_t index, const char *word)
{
    struct kv_bytes bytes = arg(request, index);
    return kv_word_is(bytes.data, bytes.bytes, word);
}

static int arg_number(const struct kv_request *request, uint32_t index, int64_t *out)
{
    struct kv_bytes bytes = arg(request, index);
    return kv_number_parse(bytes.data, bytes.bytes, out);
}

static void rewrite_bytes(struct kv_request *request, struct kv_bytes bytes)
{
    request->rewritten[request->rewritten_count++] = bytes;
}

static void rewrite_number(struct kv_request *request, uint32_t slot, int64_t number)
{
    uint64_t wire = htole64((uint64_t)number);
    memcpy(request->numbers[slot], &wire, sizeof(wire));
    rewrite_bytes(request, (struct kv_bytes){request->numbers[slot], sizeof(wire)});
}

/* ------------------------------------------------------------------ one command each */

static const char *prepare_set(struct kv_request *request)
{
    for (uint32_t at = 3; at < request->arg_count; at++) {
        uint8_t both = KV_WIRE_IF_NONE | KV_WIRE_IF_SOME;
        if (arg_is(request, at, "nx"))
            request->flags |= KV_WIRE_IF_NONE;
        else if (arg_is(request, at, "xx"))
            request->flags |= KV_WIRE_IF_SOME;
        else if (arg_is(request, at, "get"))
            request->flags |= KV_WIRE_GET;
        else if (!arg_is(request, at, "keepttl")) /* nothing expires: it is kept */
            return syntax_error;
        if ((request->flags & both) == both)
            return syntax_error;
    }
    rewrite_bytes(request, arg(request, 1));
    rewrite_bytes(request, arg(request, 2));
    return NULL;
}

static const char *prepare_pairs(struct kv_request *request)
{
    if (request->arg_count % 2 == 0)
        return request->command->op == KV_OP_MSET
                   ? "ERR wrong number of arguments for 'mset' command"
                   : "ERR wrong number of arguments for 'msetnx' command";
    return NULL;
}

static const char *rewrite_increment(struct kv_request *request, int64_t number)
{
    rewrite_bytes(request, arg(request, 1));
    rewrite_number(request, 0, number);
    return NULL;
}

static const char *prepare_incr(struct kv_request *request)
{
    return rewrite_increment(request, 1);
}

static const char *prepare_decr(struct kv_request *request)
{
    return rewrite_increment(request, -1);
}

static const char *prepare_incrby(struct kv_request *request)
{
    int64_t number;
    if (!arg_number(request, 2, &number))
        return not_an_integer;
    return rewrite_increment(request, number);
}

static const char *prepare_decrby(struct kv_request *request)
{
    int64_t number;
    if (!arg_number(request, 2, &number))
        return not_an_integer;
    if (number == INT64_MIN)
        return "ERR decrement would overflow";
    return rewrite_increment(request, -number);
}

static const char *prepare_setrange(struct kv_request *request)
{
    int64_t offset;
    if (!arg_number(request, 2, &offset))
        return not_an_integer;
    if (offset < 0)
        return "ERR offset is out of range";
    rewrite_bytes(request, arg(request, 1));
    rewrite_number(request, 0, offset);
    rewrite_bytes(request, arg(request, 3));
    return NULL;
}

static const char *prepare_getrange(struct kv_request *request)
{
    int64_t from, to;
    if (!arg_number(request, 2, &from) || !arg_number(request, 3, &to))
        return not_an_integer;
    rewrite_bytes(request, arg(request, 1));
    rewrite_number(request, 0, from);
    rewrite_number(request, 1, to);
    return NULL;
}

static const char *prepare_flush(struct kv_request *request)
{
    if (request->arg_count > 2 ||
        (request->arg_count == 2 && !arg_is(request, 1, "sync") && !arg_is(request, 1, "async")))
        return syntax_error;
    request->arg_count = 1;
    return NULL;
}

/* ------------------------------------------------------------------ the table */

#define LOCAL(name, arity, local)                                       \
    {                                                                   \
        name, arity, KV_KIND_LOCAL, local, KV_OP_NONE, 0, 0, 0, 0, NULL \
    }
#define READ(name, arity, op, first, last, step, prepare)                           \
    {                                                                               \
        name, arity, KV_KIND_READ, KV_LOCAL_NONE, op, 0, first, last, step, prepare \
    }
#define STALE(name, arity, op)                                          \
    {                                                                   \
        name, arity, KV_KIND_STALE, KV_LOCAL_NONE, op, 0, 0, 0, 0, NULL \
    }
#define WRITE(name, arity, op, flags, first, last, step, prepare)                        \
    {                                                                                    \
        name, arity, KV_KIND_WRITE, KV_LOCAL_NONE, op, flags, first, last, step, prepare \
    }

static const struct kv_command commands[] = {
    WRITE("append", 3, KV_OP_APPEND, 0, 1, 1, 1, NULL),
    LOCAL("auth", -2, KV_LOCAL_AUTH),
    LOCAL("client", -2, KV_LOCAL_CLIENT),
    LOCAL("command", -1, KV_LOCAL_COMMAND),
    LOCAL("config", -2, KV_LOCAL_CONFIG),
    READ("dbsize", 1, KV_OP_DBSIZE, 0, 0, 0, NULL),
    WRITE("decr", 2, KV_OP_INCRBY, 0, 1, 1, 1, prepare_decr),
    WRITE("decrby", 3, KV_OP_INCRBY, 0, 1, 1, 1, prepare_decrby),
    WRITE("del", -2, KV_OP_DEL, 0, 1, -1, 1, NULL),
    LOCAL("echo", 2, KV_LOCAL_ECHO),
    READ("exists", -2, KV_OP_EXISTS, 1, -1, 1, NULL),
    WRITE("flushall", -1, KV_OP_FLUSH, 0, 0, 0, 0, prepare_flush),
    WRITE("flushdb", -1, KV_OP_FLUSH, 0, 0, 0, 0, prepare_flush),
    READ("get", 2, KV_OP_GET, 1, 1, 1, NULL),
    WRITE("getdel", 2, KV_OP_GETDEL, 0, 1, 1, 1, NULL),
    READ("getrange", 4, KV_OP_GETRANGE, 1, 1, 1, prepare_getrange),
    WRITE("getset", 3, KV_OP_SET, KV_WIRE_GET, 1, 1, 1, NULL),
    LOCAL("hello", -1, KV_LOCAL_HELLO),
    LOCAL("host:", -1, KV_LOCAL_REFUSED),
    WRITE("incr", 2, KV_OP_INCRBY, 0, 1, 1, 1, prepare_incr),
    WRITE("incrby", 3, KV_OP_INCRBY, 0, 1, 1, 1, prepare_incrby),
    LOCAL("info", -1, KV_LOCAL_INFO),
    READ("mget", -2, KV_OP_MGET, 1, -1, 1, NULL),
    WRITE("mset", -3, KV_OP_MSET, 0, 1, -1, 2, prepare_pairs),
    WRITE("msetnx", -3, KV_OP_MSETNX, 0, 1, -1, 2, prepare_pairs),
    LOCAL("ping", -1, KV_LOCAL_PING),
    LOCAL("post", -1, KV_LOCAL_REFUSED),
    READ("pttl", 2, KV_OP_TTL, 1, 1, 1, NULL),
    LOCAL("quit", -1, KV_LOCAL_QUIT),
    LOCAL("reset", 1, KV_LOCAL_RESET),
    LOCAL("select", 2, KV_LOCAL_SELECT),
    WRITE("set", -3, KV_OP_SET, 0, 1, 1, 1, prepare_set),
    WRITE("setnx", 3, KV_OP_SETNX, 0, 1, 1, 1, NULL),
    WRITE("setrange", 4, KV_OP_SETRANGE, 0, 1, 1, 1, prepare_setrange),
    READ("strlen", 2, KV_OP_STRLEN, 1, 1, 1, NULL),
    READ("substr", 4, KV_OP_GETRANGE, 1, 1, 1, prepare_getrange),
    STALE("trireme.digest", 1, KV_OP_DIGEST),
    READ("ttl", 2, KV_OP_TTL, 1, 1, 1, NULL),
    READ("type", 2, KV_OP_TYPE, 1, 1, 1, NULL),
    WRITE("unlink", -2, KV_OP_DEL, 0, 1, -1, 1, NULL),
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

const struct kv_command *kv_command_at(uint32_t index)
{
    return index < COMMAND_COUNT ? &commands[index] : NULL;
}

/* Orders a name as a client wrote it and one of the table. */
static int compare_name(const uint8_t *name, uint32_t bytes, const char *other)
{
    for (uint32_t at = 0; at < bytes; at++) {
        int difference = (int)lower(name[at]) - (int)(uint8_t)other[at];
        if (other[at] == '\0') /* a name may hold a zero byte */
            return 1;
        if (difference != 0)
            return difference;
    }
    return other[bytes] == '\0' ? 0 : -1;
}

const struct kv_command *kv_command_find(const uint8_t *name, uint32_t bytes)
{
    size_t first = 0, last = COMMAND_COUNT;
    while (first < last) {
        size_t middle = first + (last - first) / 2;
        int order = compare_name(name, bytes, commands[middle].name);
        if (order == 0)
            return &commands[middle];
        if (order < 0)
            last = middle;
        else
            first = middle + 1;
    }
    return NULL;
}

void kv_command_unknown(const uint8_t *bytes, const struct kv_arg *args, uint32_t arg_count,
                        char *text, uint32_t text_bytes)
{
    char list[160];
    size_t used = 0;
    list[0] = '\0';
    for (uint32_t at = 1; at < arg_count && used < 128; at++) {
        int left = (int)(128 - used);
        int shown = args[at].bytes < (uint32_t)left ? (int)args[at].bytes : left;
        int wrote = snprintf(list + used, sizeof(list) - used, "'%.*s' ", shown,
                             (const char *)bytes + args[at].offset);
        used += (size_t)wrote;
    }
    int shown = args[0].bytes < 128 ? (int)args[0].bytes : 128;
    snprintf(text, text_bytes, "ERR unknown command '%.*s', with args beginning with: %s", shown,
             (const char *)bytes + args[0].offset, list);
}

/* ------------------------------------------------------------------ into the log */

const char *kv_request_prepare(struct kv_request *request, char *text, uint32_t text_bytes)
{
    const struct kv_command *command = request->command;
    int count = (int)request->arg_count;
    if (command->arity >= 0 ? count != command->arity : count < -command->arity) {
        snprintf(text, text_bytes, "ERR wrong number of arguments for '%s' command", command->name);
        return text;
    }
    request->flags |= command->flags;
    request->rewritten_count = 0;
    return command->prepare == NULL ? NULL : command->prepare(request);
}

uint64_t kv_request_wire_bytes(const struct kv_request *request)
{
    uint64_t bytes = sizeof(struct kv_wire_head);
    for (uint32_t at = 0; at < request->rewritten_count; at++)
        bytes += kv_wire_arg_bytes(request->rewritten[at].bytes);
    if (request->rewritten_count > 0)
        return bytes;
    for (uint32_t at = 1; at < request->arg_count; at++)
        bytes += kv_wire_arg_bytes(request->args[at].bytes);
    return bytes;
}

void kv_request_encode(const struct kv_request *request, uint8_t *out)
{
    int as_it_came = request->rewritten_count == 0;
    struct kv_wire_head head = {
        .op = (uint8_t)request->command->op,
        .flags = request->flags,
        .arg_count = as_it_came ? request->arg_count - 1 : request->rewritten_count,
        .value_bytes_max = request->value_bytes_max,
        .store_limit = request->store_limit,
    };
    out = kv_wire_put_head(out, &head);
    for (uint32_t at = 0; at < head.arg_count; at++) {
        struct kv_bytes bytes = as_it_came ? arg(request, at + 1) : request->rewritten[at];
        out = kv_wire_put_arg(out, bytes.data, bytes.bytes);
    }
}
