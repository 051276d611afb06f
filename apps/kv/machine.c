#include "machine.h"

#include "reply.h"
#include "wire.h"

#include <stdio.h>

static const char not_an_integer[] = "ERR value is not an integer or out of range";
static const char overflow[] = "ERR increment or decrement would overflow";
static const char too_long[] = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
static const char no_room[] = "OOM command not allowed when used memory > 'maxmemory'.";
static const char reply_too_big[] = "ERR the reply is above the limit of replies (message-bytes)";
static const char invalid[] = "ERR not a command of this version of trireme kv";

/* Buckets that FLUSHALL frees itself; the commands after it free the rest. */
#define FLUSH_WORK_STEPS 2048u

/* One command or query while it is executed. */
struct execution {
    struct kv_store *store;
    struct kv_wire_head head;
    struct kv_wire_cursor args;
    kv_room_fn room;
    void *context;
};

int kv_wire_open(const void *data, uint32_t bytes, struct kv_wire_head *head,
                 struct kv_wire_cursor *cursor)
{
    struct kv_wire_head wire;
    if (bytes < sizeof(wire))
        return 0;
    memcpy(&wire, data, sizeof(wire));
    head->op = wire.op;
    head->flags = wire.flags;
    head->reserved = 0;
    head->arg_count = le32toh(wire.arg_count);
    head->value_bytes_max = le32toh(wire.value_bytes_max);
    head->store_limit = le32toh(wire.store_limit);
    if (wire.reserved != 0 || (wire.flags & ~KV_WIRE_FLAGS_ALL) != 0)
        return 0;
    cursor->at = (const uint8_t *)data + sizeof(wire);
    cursor->left = bytes - (uint32_t)sizeof(wire);
    struct kv_wire_cursor walk = *cursor;
    struct kv_bytes arg;
    for (uint32_t at = 0; at < head->arg_count; at++) {
        if (!kv_wire_next(&walk, &arg))
            return 0;
    }
    return walk.left == 0;
}

/* ------------------------------------------------------------------ replies */

static void answer(struct execution *run, const char *text, uint32_t bytes)
{
    void *out = run->room(run->context, bytes);
    if (out != NULL)
        memcpy(out, text, bytes);
}

static void answer_error(struct execution *run, const char *text)
{
    char line[128];
    int bytes = snprintf(line, sizeof(line), "-%s\r\n", text);
    answer(run, line, (uint32_t)bytes);
}

static void answer_ok(struct execution *run)
{
    answer(run, "+OK\r\n", 5);
}

static void answer_integer(struct execution *run, int64_t number)
{
    uint8_t line[KV_REPLY_HEAD_BYTES_MAX];
    uint8_t *end = kv_reply_integer(line, number);
    answer(run, (const char *)line, (uint32_t)(end - line));
}

static int is_resp3(const struct execution *run)
{
    return (run->head.flags & KV_WIRE_RESP3) != 0;
}

static void answer_null(struct execution *run)
{
    uint8_t line[KV_REPLY_HEAD_BYTES_MAX];
    uint8_t *end = kv_reply_null(line, is_resp3(run));
    answer(run, (const char *)line, (uint32_t)(end - line));
}

/* Room for a reply that may be too large; then the error is the reply and NULL is returned. */
static uint8_t *room_or_error(struct execution *run, uint64_t bytes)
{
    uint8_t *out = bytes > UINT32_MAX ? NULL : run->room(run->context, (uint32_t)bytes);
    if (out == NULL)
        answer_error(run, reply_too_big);
    return out;
}

static void answer_bulk(struct execution *run, struct kv_bytes value)
{
    uint8_t *out = room_or_error(run, kv_reply_bulk_bytes(value.bytes));
    if (out != NULL)
        kv_reply_bulk(out, value.data, value.bytes);
}

/* ------------------------------------------------------------------ arguments */

static struct kv_bytes next_arg(struct execution *run)
{
    struct kv_bytes arg = {NULL, 0};
    kv_wire_next(&run->args, &arg); /* kv_wire_open saw them all */
    return arg;
}

static struct kv_key next_key(struct execution *run)
{
    struct kv_bytes arg = next_arg(run);
    return kv_store_key(run->store, arg.data, arg.bytes);
}

static int64_t next_number(struct execution *run)
{
    uint64_t number = 0;
    struct kv_bytes arg = next_arg(run);
    if (arg.bytes == sizeof(number))
        memcpy(&number, arg.data, sizeof(number));
    return (int64_t)le64toh(number);
}

/* Whether the store has room for the command's bytes and so many keys on top of what it holds. */
static int has_room(const struct execution *run, uint64_t bytes, uint32_t key_count)
{
    uint64_t limit = (uint64_t)run->head.store_limit * KV_WIRE_LIMIT_UNIT_BYTES;
    uint64_t charge = bytes + (uint64_t)key_count * KV_STORE_ENTRY_BYTES;
    return run->store->charged_bytes + charge <= limit;
}

/* ------------------------------------------------------------------ commands */

static void apply_seed(struct execution *run)
{
    struct kv_bytes seed = next_arg(run);
    if (seed.bytes == KV_STORE_SEED_BYTES)
        kv_store_seed(run->store, seed.data);
    answer_ok(run);
}

/* SET and GETSET. With GET the old value is answered, else OK, or the null where NX or XX forbid.
 */
static void apply_set(struct execution *run)
{
    struct kv_key key = next_key(run);
    struct kv_bytes value = next_arg(run);
    struct kv_bytes before = {NULL, 0};
    int exists = kv_store_get(run->store, key, &before);
    uint8_t flags = run->head.flags;
    if (value.bytes > run->head.value_bytes_max) {
        answer_error(run, too_long);
        return;
    }
    if (!has_room(run, key.bytes + value.bytes, 1)) {
        answer_error(run, no_room);
        return;
    }
    int allowed = !((flags & KV_WIRE_IF_NONE) && exists) && !((flags & KV_WIRE_IF_SOME) && !exists);
    if (flags & KV_WIRE_GET) {
        if (exists)
            answer_bulk(run, before);
        else
            answer_null(run);
    } else if (allowed) {
        answer_ok(run);
    } else {
        answer_null(run);
    }
    if (allowed)
        kv_store_set(run->store, key, value);
}

static void apply_setnx(struct execution *run)
{
    struct kv_key key = next_key(run);
    struct kv_bytes value = next_arg(run);
    struct kv_bytes before;
    if (value.bytes > run->head.value_bytes_max) {
        answer_error(run, too_long);
    } else if (!has_room(run, key.bytes + value.bytes, 1)) {
        answer_error(run, no_room);
    } else if (kv_store_get(run->store, key, &before)) {
        answer_integer(run, 0);
    } else {
        kv_store_set(run->store, key, value);
        answer_integer(run, 1);
    }
}

/* 1 when one of the keys of the pairs exists, or -1 when a value is too long. */
static int inspect_pairs(struct execution run)
{
    int found = 0;
    for (uint32_t at = 0; at < run.head.arg_count / 2; at++) {
        struct kv_key key = next_key(&run);
        struct kv_bytes before;
        if (kv_store_get(run.store, key, &before))
            found = 1;
        if (next_arg(&run).bytes > run.head.value_bytes_max)
            return -1;
    }
    return found;
}

/* MSET and MSETNX: all pairs or none. */
static void apply_mset(struct execution *run)
{
    int only_new = run->head.op == KV_OP_MSETNX;
    uint32_t pair_count = run->head.arg_count / 2;
    int found = inspect_pairs(*run);
    if (found < 0) {
        answer_error(run, too_long);
        return;
    }
    if (!has_room(run, run->args.left, pair_count)) {
        answer_error(run, no_room);
        return;
    }
    if (only_new && found) {
        answer_integer(run, 0);
        return;
    }
    for (uint32_t at = 0; at < pair_count; at++) {
        struct kv_key key = next_key(run);
        kv_store_set(run->store, key, next_arg(run));
    }
    if (only_new)
        answer_integer(run, 1);
    else
        answer_ok(run);
}

static void apply_del(struct execution *run)
{
    int64_t deleted = 0;
    for (uint32_t at = 0; at < run->head.arg_count; at++)
        deleted += kv_store_delete(run->store, next_key(run));
    answer_integer(run, deleted);
}

static void apply_getdel(struct execution *run)
{
    struct kv_key key = next_key(run);
    struct kv_bytes value;
    if (!kv_store_get(run->store, key, &value)) {
        answer_null(run);
        return;
    }
    answer_bulk(run, value);
    kv_store_delete(run->store, key);
}

static void apply_incrby(struct execution *run)
{
    struct kv_key key = next_key(run);
    int64_t increment = next_number(run);
    struct kv_bytes before;
    int64_t number = 0;
    if (kv_store_get(run->store, key, &before) &&
        !kv_number_parse(before.data, before.bytes, &number)) {
        answer_error(run, not_an_integer);
        return;
    }
    if (__builtin_add_overflow(number, increment, &number)) {
        answer_error(run, overflow);
        return;
    }
    if (!has_room(run, key.bytes + KV_NUMBER_BYTES_MAX, 1)) {
        answer_error(run, no_room);
        return;
    }
    char text[KV_NUMBER_BYTES_MAX];
    uint32_t bytes = kv_number_format(text, number);
    kv_store_set(run->store, key, (struct kv_bytes){(const uint8_t *)text, bytes});
    answer_integer(run, number);
}

/* Writes into a value at an offset, for APPEND and SETRANGE. */
static void write_value(struct execution *run, struct kv_key key, uint64_t offset,
                        struct kv_bytes bytes)
{
    struct kv_bytes before = {NULL, 0};
    kv_store_get(run->store, key, &before);
    uint64_t end = offset + bytes.bytes;
    uint64_t grown = end > before.bytes ? end - before.bytes : 0;
    if (end > run->head.value_bytes_max)
        answer_error(run, too_long);
    else if (!has_room(run, key.bytes + grown, 1))
        answer_error(run, no_room);
    else
        answer_integer(run, kv_store_write(run->store, key, (uint32_t)offset, bytes));
}

static void apply_append(struct execution *run)
{
    struct kv_key key = next_key(run);
    struct kv_bytes before = {NULL, 0};
    kv_store_get(run->store, key, &before);
    write_value(run, key, before.bytes, next_arg(run));
}

static void apply_setrange(struct execution *run)
{
    struct kv_key key = next_key(run);
    int64_t offset = next_number(run);
    struct kv_bytes bytes = next_arg(run);
    struct kv_bytes before = {NULL, 0};
    kv_store_get(run->store, key, &before);
    if (offset < 0 || offset > UINT32_MAX)
        answer_error(run, too_long);
    else if (bytes.bytes == 0)
        answer_integer(run, before.bytes); /* writes nothing, makes no key */
    else
        write_value(run, key, (uint64_t)offset, bytes);
}

static void apply_flush(struct execution *run)
{
    kv_store_clear(run->store);
    kv_store_work(run->store, FLUSH_WORK_STEPS); /* a small store is freed at once */
    answer_ok(run);
}

/* ------------------------------------------------------------------ queries */

static void read_get(struct execution *run)
{
    struct kv_bytes value;
    if (kv_store_get(run->store, next_key(run), &value))
        answer_bulk(run, value);
    else
        answer_null(run);
}

/* The bytes of the elements of MGET's reply. */
static uint64_t mget_bytes(struct execution run)
{
    uint64_t bytes = 0;
    for (uint32_t at = 0; at < run.head.arg_count; at++) {
        struct kv_bytes value;
        if (kv_store_get(run.store, next_key(&run), &value))
            bytes += kv_reply_bulk_bytes(value.bytes);
        else
            bytes += is_resp3(&run) ? 3 : 5;
    }
    return bytes;
}

static void read_mget(struct execution *run)
{
    uint8_t head[KV_REPLY_HEAD_BYTES_MAX];
    uint32_t head_bytes = (uint32_t)(kv_reply_array(head, run->head.arg_count) - head);
    uint8_t *out = room_or_error(run, head_bytes + mget_bytes(*run));
    if (out == NULL)
        return;
    out = kv_reply_raw(out, head, head_bytes);
    for (uint32_t at = 0; at < run->head.arg_count; at++) {
        struct kv_bytes value;
        if (kv_store_get(run->store, next_key(run), &value))
            out = kv_reply_bulk(out, value.data, value.bytes);
        else
            out = kv_reply_null(out, is_resp3(run));
    }
}

static void read_exists(struct execution *run)
{
    int64_t found = 0;
    struct kv_bytes value;
    for (uint32_t at = 0; at < run->head.arg_count; at++)
        found += kv_store_get(run->store, next_key(run), &value);
    answer_integer(run, found);
}

static void read_strlen(struct execution *run)
{
    struct kv_bytes value = {NULL, 0};
    kv_store_get(run->store, next_key(run), &value);
    answer_integer(run, value.bytes);
}

static void read_getrange(struct execution *run)
{
    struct kv_bytes value = {NULL, 0};
    kv_store_get(run->store, next_key(run), &value);
    int64_t from = next_number(run), to = next_number(run);
    int64_t length = value.bytes;
    int empty = from < 0 && to < 0 && from > to;
    from = from < 0 ? (from < -length ? 0 : length + from) : from;
    to = to < 0 ? (to < -length ? 0 : length + to) : to;
    to = to >= length ? length - 1 : to;
    if (empty || from > to || length == 0)
        answer_bulk(run, (struct kv_bytes){NULL, 0});
    else
        answer_bulk(run, (struct kv_bytes){value.data + from, (uint32_t)(to - from + 1)});
}

static void read_type(struct execution *run)
{
    struct kv_bytes value;
    if (kv_store_get(run->store, next_key(run), &value))
        answer(run, "+string\r\n", 9);
    else
        answer(run, "+none\r\n", 7);
}

static void read_dbsize(struct execution *run)
{
    answer_integer(run, (int64_t)run->store->entry_count);
}

/* TTL and PTTL: nothing expires. */
static void read_ttl(struct execution *run)
{
    struct kv_bytes value;
    answer_integer(run, kv_store_get(run->store, next_key(run), &value) ? -1 : -2);
}

static void read_digest(struct execution *run)
{
    char text[64];
    int bytes = snprintf(text, sizeof(text), "%016llx", (unsigned long long)run->store->digest);
    answer_bulk(run, (struct kv_bytes){(const uint8_t *)text, (uint32_t)bytes});
}

/* ------------------------------------------------------------------ dispatch */

/* How many arguments an operation takes: at least `least`, in multiples of `step` above it; with
 * step 0 exactly `least`. */
struct shape {
    void (*run)(struct execution *run);
    uint8_t least;
    uint8_t step;
};

static const struct shape writes[] = {
    [KV_OP_SEED] = {apply_seed, 1, 0},     [KV_OP_SET] = {apply_set, 2, 0},
    [KV_OP_SETNX] = {apply_setnx, 2, 0},   [KV_OP_MSET] = {apply_mset, 2, 2},
    [KV_OP_MSETNX] = {apply_mset, 2, 2},   [KV_OP_DEL] = {apply_del, 1, 1},
    [KV_OP_GETDEL] = {apply_getdel, 1, 0}, [KV_OP_INCRBY] = {apply_incrby, 2, 0},
    [KV_OP_APPEND] = {apply_append, 2, 0}, [KV_OP_SETRANGE] = {apply_setrange, 3, 0},
    [KV_OP_FLUSH] = {apply_flush, 0, 0},
};

static const struct shape reads[] = {
    [KV_OP_GET - KV_OP_GET] = {read_get, 1, 0},
    [KV_OP_MGET - KV_OP_GET] = {read_mget, 1, 1},
    [KV_OP_EXISTS - KV_OP_GET] = {read_exists, 1, 1},
    [KV_OP_STRLEN - KV_OP_GET] = {read_strlen, 1, 0},
    [KV_OP_GETRANGE - KV_OP_GET] = {read_getrange, 3, 0},
    [KV_OP_TYPE - KV_OP_GET] = {read_type, 1, 0},
    [KV_OP_DBSIZE - KV_OP_GET] = {read_dbsize, 0, 0},
    [KV_OP_TTL - KV_OP_GET] = {read_ttl, 1, 0},
    [KV_OP_DIGEST - KV_OP_GET] = {read_digest, 0, 0},
};

static int fits(const struct shape *shape, uint32_t arg_count)
{
    if (shape->step == 0)
        return arg_count == shape->least;
    return arg_count >= shape->least && (arg_count - shape->least) % shape->step == 0;
}

/* Runs a command by its table, or answers that it is none. */
static void execute(struct kv_machine *machine, struct execution *run, int is_command,
                    const struct shape *shape)
{
    if (is_command && shape != NULL && shape->run != NULL && fits(shape, run->head.arg_count)) {
        shape->run(run);
        return;
    }
    machine->invalid_count++;
    answer_error(run, invalid);
}

void kv_machine_apply(struct kv_machine *machine, const void *data, uint32_t bytes, kv_room_fn room,
                      void *context)
{
    struct execution run = {.store = &machine->store, .room = room, .context = context};
    int is_command = kv_wire_open(data, bytes, &run.head, &run.args);
    const struct shape *shape = NULL;
    if (is_command && run.head.op < sizeof(writes) / sizeof(writes[0]))
        shape = &writes[run.head.op];
    execute(machine, &run, is_command, shape);
}

void kv_machine_read(struct kv_machine *machine, const void *data, uint32_t bytes, kv_room_fn room,
                     void *context)
{
    struct execution run = {.store = &machine->store, .room = room, .context = context};
    int is_command = kv_wire_open(data, bytes, &run.head, &run.args);
    const struct shape *shape = NULL;
    if (is_command && run.head.op >= KV_OP_GET &&
        run.head.op < KV_OP_GET + sizeof(reads) / sizeof(reads[0]))
        shape = &reads[run.head.op - KV_OP_GET];
    execute(machine, &run, is_command, shape);
}

/* ------------------------------------------------------------------ the machine */

void kv_machine_init(struct kv_machine *machine)
{
    memset(machine, 0, sizeof(*machine));
    kv_store_init(&machine->store);
}

void kv_machine_release(struct kv_machine *machine)
{
    kv_store_release(&machine->store);
}

void kv_machine_show(struct kv_machine *machine)
{
    __atomic_store_n(&machine->shown_entry_count, machine->store.entry_count, __ATOMIC_RELAXED);
    __atomic_store_n(&machine->shown_charged_bytes, machine->store.charged_bytes, __ATOMIC_RELAXED);
}

struct kv_machine_figures kv_machine_figures(const struct kv_machine *machine)
{
    return (struct kv_machine_figures){
        .entry_count = __atomic_load_n(&machine->shown_entry_count, __ATOMIC_RELAXED),
        .charged_bytes = __atomic_load_n(&machine->shown_charged_bytes, __ATOMIC_RELAXED),
    };
}
