#include "replicated.h"

/* Where the reply of one command of a batch goes. */
struct place {
    struct tr_replies *replies;
    uint32_t index;
};

static void *room_in_replies(void *context, uint32_t bytes)
{
    struct place *place = context;
    return tr_replies_reserve(place->replies, place->index, bytes);
}

static void *room_in_reply(void *context, uint32_t bytes)
{
    return tr_reply_reserve(context, bytes);
}

static void apply(void *context, uint64_t slot, const struct tr_command *commands, uint32_t count,
                  struct tr_replies *replies)
{
    struct kv_machine *machine = context;
    (void)slot;
    for (uint32_t at = 0; at < count; at++) {
        struct place place = {replies, at};
        kv_machine_apply(machine, commands[at].data, commands[at].bytes, room_in_replies, &place);
    }
    kv_machine_show(machine);
}

static int read_state(void *context, const void *query, uint32_t bytes, struct tr_reply *reply)
{
    kv_machine_read(context, query, bytes, room_in_reply, reply);
    return 0;
}

static int put(void *context, const void *data, size_t bytes)
{
    return tr_writer_put(context, data, bytes);
}

static int get(void *context, void *data, size_t bytes)
{
    return tr_reader_get(context, data, bytes);
}

static int snapshot(void *context, struct tr_writer *writer)
{
    struct kv_machine *machine = context;
    return kv_store_snapshot(&machine->store, put, writer);
}

static int restore(void *context, struct tr_reader *reader)
{
    struct kv_machine *machine = context;
    int status = kv_store_restore(&machine->store, get, reader, tr_reader_left(reader));
    if (status == 0 && tr_reader_left(reader) != 0)
        status = TR_EPROTO; /* what follows belongs to nothing */
    kv_machine_show(machine);
    return status;
}

static uint64_t digest(void *context)
{
    const struct kv_machine *machine = context;
    return machine->store.digest;
}

struct tr_state_machine kv_replicated(struct kv_machine *machine)
{
    return (struct tr_state_machine){
        .struct_bytes = sizeof(struct tr_state_machine),
        .context = machine,
        .apply = apply,
        .read = read_state,
        .snapshot = snapshot,
        .restore = restore,
        .digest = digest,
    };
}
