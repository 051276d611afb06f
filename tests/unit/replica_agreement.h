/*
 * What a group of replicas must never do, whatever the schedule, seen from outside: two values
 * chosen in one slot, a read that misses what was chosen before it was asked for, a chosen entry
 * that is gone before it is applied, or, at level disk, an acknowledgement or a promise of what is
 * not on the disk. Looks on at a World; what it finds it keeps, for the test to judge.
 */
#ifndef TR_TESTS_UNIT_REPLICA_AGREEMENT_H
#define TR_TESTS_UNIT_REPLICA_AGREEMENT_H

#include "tests/unit/replica_world.h"

#include <map>
#include <string>

namespace replica_world
{

class Agreement
{
  public:
    explicit Agreement(World &world) : world_(world), told_(world.count(), 0) {}
    /* The first rule that was broken, or "". */
    const std::string &violation() const
    {
        return violation_;
    }

    void event(uint8_t i, const tr_event &e)
    {
        if (e.type == TR_EVENT_READ)
            reads_[{i, e.u.read.id}] = chosen_.empty() ? 0 : chosen_.rbegin()->first;
        else if (e.type == TR_EVENT_APPLIED)
            apply(i, e.u.applied.slot);
    }
    void effect(uint8_t i, const tr_effect &e)
    {
        if (e.type == TR_EFFECT_COMMIT)
            commit(i, e.u.commit.slot);
        else if (e.type == TR_EFFECT_READ_READY)
            read_ready(i, e.u.read_ready.id, e.u.read_ready.slot);
        else if (e.type == TR_EFFECT_SEND && world_.at(i)->config.level == TR_LEVEL_DISK)
            sends(i, static_cast<const tr_message *>(e.u.send.piece[0].data));
    }
    /* Another process of a node: it applies from the start, and its reads are new ones. */
    void boot(uint8_t i)
    {
        told_[i] = 0;
        reads_.erase(reads_.lower_bound({i, 0}), reads_.upper_bound({i, UINT64_MAX}));
    }

  private:
    struct Value {
        uint32_t crc, bytes;
        uint8_t kind;
        bool operator==(const Value &other) const
        {
            return crc == other.crc && bytes == other.bytes && kind == other.kind;
        }
    };

    void fail(const std::string &what)
    {
        if (violation_.empty())
            violation_ = what;
    }
    void commit(uint8_t i, uint64_t last)
    {
        for (uint64_t slot = told_[i] + 1; slot <= last; slot++) {
            const tr_slot *s = tr_log_at(&world_.at(i)->log, slot);
            if (s == nullptr)
                continue; /* in the snapshot that it installed */
            const tr_record *record = tr_log_record(&world_.at(i)->log, s);
            Value value{record->payload_crc, record->payload_bytes, record->kind};
            auto found = chosen_.emplace(slot, value).first;
            if (!(found->second == value))
                fail("two values chosen in slot " + std::to_string(slot));
        }
        told_[i] = last > told_[i] ? last : told_[i];
    }
    void apply(uint8_t i, uint64_t last)
    {
        const tr_replica *r = world_.at(i);
        for (uint64_t slot = r->slot_apply + 1; slot <= last; slot++)
            if (tr_log_at(&r->log, slot) == nullptr)
                fail("slot " + std::to_string(slot) + " is gone before it is applied");
    }
    void sends(uint8_t i, const tr_message *m)
    {
        World::Node &n = world_.node(i);
        bool tells = m->type == TR_MESSAGE_ACCEPTED || m->type == TR_MESSAGE_PROMISE;
        if (tells && n.durable < n.persisted && !n.barred)
            fail("node " + std::to_string(i + 1) + " tells what is not on its disk");
    }
    void read_ready(uint8_t i, uint64_t id, uint64_t slot)
    {
        for (auto r = reads_.lower_bound({i, 0}); r != reads_.upper_bound({i, id});) {
            if (slot < r->second)
                fail("a read at slot " + std::to_string(slot) + " misses slot " +
                     std::to_string(r->second) + ", chosen before it was asked for");
            r = reads_.erase(r);
        }
    }

    World &world_;
    std::vector<uint64_t> told_;
    std::map<uint64_t, Value> chosen_;
    std::map<std::pair<uint8_t, uint64_t>, uint64_t> reads_; /* node, id: what it must see */
    std::string violation_;
};

} // namespace replica_world

#endif
