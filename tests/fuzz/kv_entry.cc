/* Commands of the key-value server as they stand in the log, of any bytes: what is no command is
 * answered by an error and changes nothing, and two replicas that take the same go on alike. */
#include "apps/kv/machine.h"
#include "apps/kv/wire.h"
#include "tests/fuzz/target.h"

#include <string>

namespace
{

void *room(void *context, uint32_t bytes)
{
    auto *reply = static_cast<std::string *>(context);
    if (bytes > 65536)
        return nullptr;
    reply->assign(bytes, '?');
    return &(*reply)[0];
}

struct Replica {
    kv_machine machine;

    Replica()
    {
        kv_machine_init(&machine);
    }
    ~Replica()
    {
        kv_machine_release(&machine);
    }
    std::string apply(fuzz::Exact &entry)
    {
        std::string reply;
        kv_machine_apply(&machine, entry.data(), entry.size32(), room, &reply);
        return reply;
    }
    std::string read(fuzz::Exact &query)
    {
        std::string reply;
        uint64_t digest = machine.store.digest;
        kv_machine_read(&machine, query.data(), query.size32(), room, &reply);
        fuzz::require(machine.store.digest == digest, "a query changes nothing");
        return reply;
    }
};

/* Bounds of the memory that one input may ask for: a command's own limits are any number. */
void bound(fuzz::Exact *entry)
{
    kv_wire_head head;
    if (entry->size() < sizeof(head))
        return;
    memcpy(&head, entry->data(), sizeof(head));
    head.value_bytes_max = htole32(le32toh(head.value_bytes_max) % 65536);
    head.store_limit = htole32(le32toh(head.store_limit) % 4);
    memcpy(entry->data(), &head, sizeof(head));
}

void take(fuzz::Input *in, Replica *a, Replica *b)
{
    bool reads = in->below(2) == 1;
    fuzz::Exact entry = in->take(in->u8());
    bound(&entry);
    uint64_t digest = a->machine.store.digest, invalid = a->machine.invalid_count;
    std::string reply = reads ? a->read(entry) : a->apply(entry);
    fuzz::require(reply.size() >= 3 && reply.compare(reply.size() - 2, 2, "\r\n") == 0,
                  "everything is answered");
    if (a->machine.invalid_count != invalid)
        fuzz::require(reply[0] == '-' && a->machine.store.digest == digest,
                      "what is no command is refused");
    /* The planted bug: the other replica takes no command of an odd length. */
    if (fuzz::planted() && entry.size() % 2 == 1)
        return;
    fuzz::require(reply == (reads ? b->read(entry) : b->apply(entry)), "replicas answer alike");
    fuzz::require(a->machine.store.digest == b->machine.store.digest, "replicas stand alike");
    fuzz::require(a->machine.store.charged_bytes <= 4 * KV_WIRE_LIMIT_UNIT_BYTES,
                  "the store keeps its limit");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz::Input in(data, bytes);
    Replica a, b;
    while (!in.ended())
        take(&in, &a, &b);
    return 0;
}
