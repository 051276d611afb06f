#include "group_stage.h"

namespace group_stage
{

Stage *Stage::current;

static Stage &stage()
{
    return *Stage::current;
}

static int ring_grant(tr_port *, uint32_t, uint64_t generation, tr_ring_token *)
{
    if (stage().grant_status == 0) {
        memset(stage().ring, 0, RING_BYTES);
        stage().granted.push_back(generation);
    }
    return stage().grant_status;
}

static int fence_start(tr_port *, uint32_t)
{
    stage().fences++;
    return stage().start_says;
}

static int remote_open(tr_port *, tr_node_id, const tr_ring_token *, uint64_t generation,
                       uint32_t *remote)
{
    if (stage().open_status != 0)
        return stage().open_status;
    stage().opened.push_back(generation);
    *remote = static_cast<uint32_t>(stage().opened.size());
    return 0;
}

static int write_post(tr_port *, uint32_t remote, uint32_t offset, const tr_segment *segment,
                      uint32_t count, uint64_t)
{
    if (stage().writes.size() == stage().writes_max)
        return TR_AGAIN;
    Write write{remote, offset, {}};
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *data = static_cast<const uint8_t *>(segment[i].data);
        write.bytes.insert(write.bytes.end(), data, data + segment[i].bytes);
    }
    stage().writes.push_back(write);
    return 0;
}

Stage::Stage()
    : g(static_cast<tr_group *>(aligned_alloc(64, (sizeof(tr_group) + 63) / 64 * 64))),
      lcore(static_cast<tr_lcore *>(aligned_alloc(64, (sizeof(tr_lcore) + 63) / 64 * 64)))
{
    current = this;
    memset(static_cast<void *>(g), 0, sizeof(*g));
    memset(static_cast<void *>(lcore), 0, sizeof(*lcore));
    memset(ring, 0, sizeof(ring));
    memset(static_cast<void *>(&status), 0, sizeof(status));
    memset(static_cast<void *>(&counts), 0, sizeof(counts));
    status.incarnation = 1;
    status.counts = &counts;
    driver.ring_grant = ring_grant;
    driver.fence_start = fence_start;
    driver.fence_poll = [](tr_port *, uint32_t) { return stage().poll_says; };
    driver.ring_consumed = [](tr_port *, uint32_t, uint64_t position) {
        stage().consumed.push_back(position);
    };
    driver.remote_open = remote_open;
    driver.remote_close = [](tr_port *, uint32_t) { stage().closed++; };
    driver.remote_consumed = [](tr_port *, uint32_t) { return stage().remote_consumed; };
    driver.write_post = write_post;
    lcore->driver = &driver;
    g->lcore = lcore;
    g->member_count = 3;
    g->self = 0;
    g->entry_bytes_max = ENTRY_BYTES_MAX;
    tr_prng_seed(&g->random, 1);
    g->inlet.granted = TR_MEMBERS_MAX;
    g->inlet.ring[2] = {true, {5, RING_BYTES, ring}};
    g->inlet.buffer_bytes = 2 * RING_BYTES;
    g->inlet.buffer = static_cast<uint8_t *>(aligned_alloc(64, g->inlet.buffer_bytes));
    o = &g->outlet[2];
    o->group = g;
    o->member = 2;
    o->node = 3;
    o->flight_mask = 7;
    o->flight = static_cast<tr_flight *>(aligned_alloc(64, 8 * sizeof(tr_flight)));
}

Stage::~Stage()
{
    free(o->flight);
    free(g->inlet.buffer);
    free(lcore);
    free(g);
    current = nullptr;
}

std::vector<uint8_t> Stage::record(uint64_t position, uint64_t slot, uint32_t payload_bytes)
{
    std::vector<uint8_t> bytes(tr_record_bytes(payload_bytes), 0);
    tr_record header{};
    memset(bytes.data() + sizeof(header), static_cast<int>(slot), payload_bytes);
    header.generation = g->inlet.grant.generation;
    header.tag = g->inlet.grant.tag;
    header.position = static_cast<uint32_t>(position / TR_RECORD_ALIGN);
    header.slot = slot;
    header.ballot = {1, 1, 3, 0};
    header.kind = TR_RECORD_COMMANDS;
    header.command_count = 1;
    header.payload_bytes = payload_bytes;
    header.payload_crc = tr_crc32c(0, bytes.data() + sizeof(header), payload_bytes);
    tr_record_seal(&header);
    memcpy(bytes.data(), &header, sizeof(header));
    return bytes;
}

void Stage::land(uint64_t position, const std::vector<uint8_t> &bytes, size_t from)
{
    memcpy(ring + position % RING_BYTES + from, bytes.data() + from, bytes.size() - from);
}

uint64_t Stage::land_record(uint64_t position, uint64_t slot, uint32_t payload_bytes)
{
    std::vector<uint8_t> bytes = record(position, slot, payload_bytes);
    land(position, bytes);
    return position + bytes.size();
}

void Stage::grant_ring()
{
    tr_inlet_fence(g, {1, 1, 3, 0}, 3);
    EXPECT_EQ(1u, tr_inlet_fence_poll(g));
    EXPECT_EQ(2, g->inlet.granted);
    told.clear();
}

std::vector<uint64_t> Stage::slots_told() const
{
    std::vector<uint64_t> all;
    for (const Told &one : told)
        all.insert(all.end(), one.slots.begin(), one.slots.end());
    return all;
}

} // namespace group_stage

/* ---- in place of the core and the rest of the group */

using group_stage::stage;
using group_stage::Told;

extern "C" void tr_group_step(tr_group *, tr_event *event)
{
    Told told;
    told.type = static_cast<tr_event_type>(event->type);
    if (told.type == TR_EVENT_ENTRIES_SEEN) {
        uint32_t count = event->u.entries_seen.count;
        told.generation = event->u.entries_seen.generation;
        for (uint32_t i = 0; i < count; i++)
            told.slots.push_back(event->u.entries_seen.record[i]->slot);
        stage().admitted = std::min(count, stage().admits);
        stage().admits -= stage().admits == UINT32_MAX ? 0 : stage().admitted;
    } else if (told.type == TR_EVENT_FENCED) {
        told.ballot = event->u.fenced.ballot;
        told.grant = event->u.fenced.grant;
    } else {
        told.generation = event->u.written.generation;
        told.slots = {event->u.written.slot_first, event->u.written.slot_last};
        told.status = static_cast<tr_written_status>(event->u.written.status);
    }
    stage().told.push_back(told);
}

extern "C" uint32_t tr_replica_entries_admitted(const tr_replica *)
{
    return stage().admitted;
}

extern "C" uint8_t tr_replica_member(const tr_replica *, tr_node_id node)
{
    return node >= 1 && node <= 3 ? static_cast<uint8_t>(node - 1) : TR_MEMBERS_MAX;
}

extern "C" void tr_replica_status(const tr_replica *, struct tr_replica_status *out)
{
    *out = stage().status;
}

extern "C" const tr_grant *tr_replica_grant(const tr_replica *, uint8_t)
{
    return stage().grant.generation != 0 ? &stage().grant : nullptr;
}

extern "C" bool tr_replica_ring_record(const tr_replica *, uint8_t, uint64_t slot,
                                       uint64_t position, tr_record *header, tr_piece *payload)
{
    auto found = stage().entry.find(slot);
    if (found == stage().entry.end())
        return false;
    *header = tr_record{};
    header->slot = slot;
    header->position = static_cast<uint32_t>(position / TR_RECORD_ALIGN);
    payload->data = found->second.data();
    payload->bytes = static_cast<uint32_t>(found->second.size());
    return true;
}

/* Up to the slot before the next one that there is. */
extern "C" uint64_t tr_replica_ring_void(const tr_replica *, uint8_t, uint64_t first, uint64_t last)
{
    auto next = stage().entry.lower_bound(first);
    return next == stage().entry.end() || next->first > last ? last : next->first - 1;
}

extern "C" uint64_t tr_replica_position(const tr_replica *, uint64_t slot)
{
    return slot * 100;
}

extern "C" void tr_replica_pin(tr_replica *, uint64_t position)
{
    stage().pin = position;
}

extern "C" uint64_t *tr_counters_add(tr_counters *, tr_stat_kind, const char *, const char *,
                                     const char *)
{
    return nullptr;
}

extern "C" void tr_outlet_sent(tr_group *, tr_outlet *o, uint64_t last)
{
    o->range[0].first = last + 1;
    if (o->range[0].first > o->range[0].last)
        o->range_count = 0;
}
