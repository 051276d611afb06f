/* Three replicas that an input drives: it chooses what arrives when, what is lost, who crashes,
 * what time it is, and which one-sided writes land, are refused, or break. After every choice: no
 * slot is chosen twice with different values, a new leader holds what was chosen, a read sees what
 * was chosen before it. */
#ifndef TR_TESTS_FUZZ_STEP_WORLD_H
#define TR_TESTS_FUZZ_STEP_WORLD_H

#include "tests/fuzz/replica_images.h"

#include <algorithm>
#include <map>
#include <string>

namespace fuzz
{

/* What every replica must agree on. A group that lost all its memory is founded anew, under another
 * cluster number, and agrees anew. */
class Agreement
{
  public:
    /* A node stands at its commit. */
    void look(const tr_replica *r)
    {
        Seen &seen = seen_[r->self];
        if (seen.boot != r->config.boot)
            seen = {r->config.boot, 0};
        if (tr_ballot_less(highest_, r->promised))
            highest_ = r->promised;
        for (uint64_t slot = seen.slot + 1; slot <= r->slot_commit; slot++) {
            const tr_slot *s = tr_log_at(&r->log, slot);
            if (s != nullptr && slot > r->log.slot_recyclable)
                choose(r, slot, tr_log_record(&r->log, s));
        }
        seen.slot = r->slot_commit;
    }
    /* A node has become a leader: it holds what was chosen before its ballot was known to anyone.
     */
    void elected(const tr_replica *r) const
    {
        for (auto it = chosen_.lower_bound({r->cluster, 0});
             it != chosen_.end() && it->first.first == r->cluster; ++it) {
            uint64_t slot = it->first.second;
            if (!tr_ballot_less(it->second.before, r->ballot) || slot <= r->slot_snapshot)
                continue;
            const tr_slot *s = tr_log_at(&r->log, slot);
            require(s != nullptr, "a leader holds what was chosen");
            require(value_of(tr_log_record(&r->log, s)) == it->second.value,
                    "a leader holds the values that were chosen");
        }
    }
    /* The last slot that anybody has chosen. */
    uint64_t slot_last(uint64_t cluster) const
    {
        auto it = chosen_.upper_bound({cluster, UINT64_MAX});
        return it != chosen_.begin() && std::prev(it)->first.first == cluster
                   ? std::prev(it)->first.second
                   : 0;
    }

  private:
    struct Value {
        std::string value;
        tr_ballot before; /* the highest promise anywhere when it was first seen */
    };
    struct Seen {
        uint64_t boot = 0, slot = 0;
    };

    static std::string value_of(const tr_record *record)
    {
        std::string out(1, static_cast<char>(record->kind));
        out.append(reinterpret_cast<const char *>(record + 1), record->payload_bytes);
        return out;
    }
    void choose(const tr_replica *r, uint64_t slot, const tr_record *record)
    {
        std::string value = value_of(record);
        auto known = chosen_.emplace(std::make_pair(r->cluster, slot), Value{value, highest_});
        require(known.first->second.value == value, "one value is chosen in a slot");
    }

    std::map<std::pair<uint64_t, uint64_t>, Value> chosen_;
    tr_ballot highest_{};
    Seen seen_[TR_VOTERS_MAX];
};

/* A one-sided write under way, or landed and not drained. */
struct Write {
    uint8_t from, to;
    uint64_t boot_from, boot_to; /* of the two processes */
    uint64_t generation, slot;
    std::vector<uint64_t> words;
};

/* The rings that replicas write into each other's memory, as a driver keeps them. */
class Rings
{
  public:
    /* The oldest write between two nodes lands, or is refused; then its writer hears of it. */
    void land(replica_world::World &w, uint8_t from, uint8_t to, bool heard)
    {
        auto it = std::find_if(flying_.begin(), flying_.end(), [&](const Write &each) {
            return each.from == from && each.to == to;
        });
        if (it == flying_.end())
            return;
        Write write = *it;
        flying_.erase(it);
        bool taken = open_[to] == write.generation && w.at(to)->config.boot == write.boot_to;
        if (taken)
            landed_[to].push_back(write);
        if (!w.node(from).up || w.at(from)->config.boot != write.boot_from)
            return;
        tr_event event{};
        event.type = TR_EVENT_WRITTEN;
        event.u.written.generation = write.generation;
        event.u.written.slot_first = event.u.written.slot_last = write.slot;
        event.u.written.peer = to;
        event.u.written.status = !heard  ? TR_WRITTEN_BROKEN
                                 : taken ? TR_WRITTEN_OK
                                         : TR_WRITTEN_REFUSED;
        if (!heard)
            drop(from, to);
        w.step(from, event);
    }
    /* A node takes what has landed into its log. */
    void drain(replica_world::World &w, uint8_t to)
    {
        while (!landed_[to].empty() && w.node(to).up) {
            Write write = landed_[to].front();
            auto *record = reinterpret_cast<const tr_record *>(write.words.data());
            tr_event event{};
            event.type = TR_EVENT_ENTRIES_SEEN;
            event.u.entries_seen.generation = write.generation;
            event.u.entries_seen.record = &record;
            event.u.entries_seen.count = 1;
            event.u.entries_seen.peer = write.from;
            w.step(to, event);
            if (tr_replica_entries_admitted(w.at(to)) == 0)
                return;
            landed_[to].erase(landed_[to].begin());
        }
    }
    /* The fence that a node asked for ends, once its ring is drained. */
    void end_fence(replica_world::World &w, uint8_t i)
    {
        replica_world::World::Node &n = w.node(i);
        if (!n.up || tr_ballot_none(n.fence))
            return;
        drain(w, i);
        if (!landed_[i].empty() || tr_ballot_none(n.fence))
            return;
        uint64_t grants = n.grants;
        w.fenced(i);
        if (n.grants != grants)
            open_[i] = static_cast<uint64_t>(n.r->vector.incarnation[i]) << 32 | n.grants;
    }
    /* Everything that is under way arrives; fences end. */
    void arrive(replica_world::World &w)
    {
        for (uint8_t from = 0; from < w.count(); from++)
            for (uint8_t to = 0; to < w.count(); to++)
                land(w, from, to, true);
        for (uint8_t to = 0; to < w.count(); to++) {
            drain(w, to);
            end_fence(w, to);
        }
    }
    /* What the rings do about an effect. */
    void follow(replica_world::World &w, uint8_t i, const tr_effect &e)
    {
        if (e.type == TR_EFFECT_FENCE)
            open_[i] = 0; /* from here on nothing lands any more (rule 5) */
        if (e.type == TR_EFFECT_REPLICATE)
            replicate(w, i, e);
    }
    /* A process is gone; its ring is unwritable before the next one recovers (rule 1). */
    void forget(uint8_t to)
    {
        open_[to] = 0;
        landed_[to].clear();
    }

  private:
    /* A leader was told to replicate: what goes through rings flies off. */
    void replicate(replica_world::World &w, uint8_t from, const tr_effect &e)
    {
        for (uint8_t to = 0; to < w.count(); to++) {
            if ((e.peers >> to & 1) == 0 || tr_replica_grant(w.at(from), to) == nullptr)
                continue;
            for (uint64_t slot = e.u.replicate.slot_first; slot <= e.u.replicate.slot_last; slot++)
                if (!write(w, from, to, slot))
                    break;
        }
    }
    bool write(replica_world::World &w, uint8_t from, uint8_t to, uint64_t slot)
    {
        tr_record header;
        tr_piece payload;
        if (!tr_replica_ring_record(w.at(from), to, slot, 0, &header, &payload))
            return false;
        Write out{from, to, w.at(from)->config.boot, w.at(to)->config.boot, header.generation,
                  slot, {}};
        out.words.assign(tr_record_bytes(payload.bytes) / 8, 0);
        memcpy(out.words.data(), &header, sizeof(header));
        memcpy(out.words.data() + sizeof(header) / 8, payload.data, payload.bytes);
        flying_.push_back(std::move(out));
        return true;
    }
    /* A connection broke: what was behind is lost. */
    void drop(uint8_t from, uint8_t to)
    {
        flying_.erase(
            std::remove_if(flying_.begin(), flying_.end(),
                           [&](const Write &each) { return each.from == from && each.to == to; }),
            flying_.end());
    }

    std::vector<Write> flying_;
    uint64_t open_[TR_VOTERS_MAX] = {0};
    std::vector<Write> landed_[TR_VOTERS_MAX];
};

} // namespace fuzz

#endif
