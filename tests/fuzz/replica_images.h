/* A small world of replicas that can be brought back to where it stood, in a few microseconds: so
 * that every input of a fuzzer finds the same one, and no input pays for an election. */
#ifndef TR_TESTS_FUZZ_REPLICA_IMAGES_H
#define TR_TESTS_FUZZ_REPLICA_IMAGES_H

#include "tests/fuzz/target.h"
#include "tests/unit/replica_world.h"

namespace fuzz
{

/* A world, and how it stood when it was kept. */
class KeptWorld
{
  public:
    explicit KeptWorld(const replica_world::Options &options) : world(options) {}

    replica_world::World world;

    /* Remembers how the world stands now. */
    void keep()
    {
        const char *why = nullptr;
        world.forget_wire();
        now_ns_ = world.now_ns;
        for (uint8_t i = 0; i < world.count(); i++) {
            replica_world::World::Node &n = world.node(i);
            n.effects.clear();
            auto *memory = static_cast<uint8_t *>(n.memory);
            nodes_.push_back(n);
            memory_.emplace_back(memory, memory + tr_replica_memory_bytes(&n.config, &why));
        }
    }
    /* Brings the world back to that. */
    void restore()
    {
        world.forget_wire();
        world.now_ns = now_ns_;
        world.checks = true;
        memset(world.cut, 0, sizeof(world.cut));
        for (uint8_t i = 0; i < world.count(); i++) {
            world.node(i) = nodes_[i];
            memcpy(world.node(i).memory, memory_[i].data(), memory_[i].size());
        }
    }
    /* A new process of a node in the memory of the last; `boot` tells it from the others. */
    void start(uint8_t i, uint64_t boot)
    {
        replica_world::World::Node &old = world.node(i), fresh;
        fresh.config = old.config;
        fresh.config.boot = boot;
        fresh.memory = old.memory;
        fresh.fences_by_hand = old.fences_by_hand;
        memset(fresh.memory, 0, memory_[i].size());
        fresh.r = tr_replica_init(fresh.memory, &fresh.config, world.now_ns);
        fresh.up = true;
        old = fresh;
    }

  private:
    uint64_t now_ns_ = 0;
    std::vector<replica_world::World::Node> nodes_;
    std::vector<std::vector<uint8_t>> memory_;
};

/* A small group: the log wraps, and snapshots are made, within a short input. */
inline replica_world::Options small_group()
{
    replica_world::Options options;
    options.log_slots = 64;
    options.log_bytes = 1 << 14;
    options.entry_bytes_max = 1024;
    return options;
}

/* A message of any type, of as many bytes of body as its type has: zeros. */
inline replica_world::Sent blank(replica_world::World &w, uint8_t from, uint8_t to, uint8_t type,
                                 uint32_t tail_bytes)
{
    struct Largest {
        uint64_t word[(TR_MESSAGE_HEADER_BYTES_MAX - sizeof(tr_message)) / 8];
    };
    replica_world::Sent s = w.make<Largest>(from, to, static_cast<tr_message_type>(type));
    tr_message *m = s.message();
    for (uint32_t bytes = 8; bytes <= sizeof(Largest); bytes += 8) {
        m->body_bytes = static_cast<uint16_t>(bytes);
        m->tail_bytes = 0;
        s.bytes = static_cast<uint32_t>(sizeof(tr_message)) + bytes;
        tr_message_seal(m);
        if (tr_message_open(s.words.data(), s.bytes) != nullptr)
            break;
    }
    m->tail_bytes = tail_bytes;
    s.bytes += tail_bytes;
    s.words.resize((s.bytes + 7) / 8);
    return s;
}

/* Puts the CRCs of a message and of the records in its tail right. */
inline void reseal(replica_world::Sent *s)
{
    uint8_t *at = reinterpret_cast<uint8_t *>(s->words.data()) + sizeof(tr_message);
    uint8_t *end = reinterpret_cast<uint8_t *>(s->words.data()) + s->bytes;
    at += s->message()->body_bytes;
    if (s->type() == TR_MESSAGE_FORWARD && at <= end) {
        s->body<tr_forward>()->payload_crc = tr_crc32c(0, at, static_cast<size_t>(end - at));
    } else if (s->type() == TR_MESSAGE_SNAPSHOT_CHUNK && at <= end) {
        s->body<tr_snapshot_chunk>()->chunk_crc = tr_crc32c(0, at, static_cast<size_t>(end - at));
    } else {
        while (at + sizeof(tr_record) <= end) {
            auto *record = reinterpret_cast<tr_record *>(at);
            size_t left = static_cast<size_t>(end - at) - sizeof(tr_record);
            if (record->payload_bytes > left)
                record->payload_bytes %= static_cast<uint32_t>(left + 1);
            record->payload_crc = tr_crc32c(0, record + 1, record->payload_bytes);
            tr_record_seal(record);
            at += tr_record_bytes(record->payload_bytes);
        }
    }
    tr_message_seal(s->message());
}

} // namespace fuzz

#endif
