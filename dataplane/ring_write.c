/* REPLICATE by one-sided writes: records into a peer's inbound ring, within its credit. */
#include "dataplane/group.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/canary.h"
#include "consensus/canary.h"
#include "consensus/ring.h"
#include "trireme/error.h"

/* The peer's ring is given up: the core learns it, and replicates by messages until another grant.
 */
static void give_up(struct tr_group *g, struct tr_outlet *o, const struct tr_grant *grant)
{
    struct tr_event event = {.type = TR_EVENT_WRITTEN};
    event.u.written.generation = grant->generation;
    event.u.written.slot_first = event.u.written.slot_last = o->range[0].first;
    event.u.written.status = TR_WRITTEN_BROKEN;
    event.u.written.peer = o->member;
    tr_group_step(g, &event);
}

static void close_remote(struct tr_group *g, struct tr_outlet *o)
{
    if (o->open)
        g->lcore->driver->remote_close(g->lcore->port, o->remote);
    o->open = false;
    o->generation = 0;
}

/* Opens the ring of a new grant. Returns whether it can be written now. */
static tr_noinline bool open_remote(struct tr_group *g, struct tr_outlet *o,
                                    const struct tr_grant *grant)
{
    struct tr_lcore *l = g->lcore;
    struct tr_ring_token token;
    if (o->posted != o->completed)
        return false; /* the old ring's completions are matched by their order: first they come in
                       */
    close_remote(g, o);
    bool sane = tr_is_power_of_two(grant->ring_bytes) && grant->ring_bytes >= 4096 &&
                grant->ring_bytes >= tr_record_bytes(g->entry_bytes_max) &&
                grant->entry_bytes_max >= g->entry_bytes_max;
    memcpy(token.bytes, grant->token, sizeof(token.bytes));
    int status =
        sane ? l->driver->remote_open(l->port, o->node, &token, grant->generation, &o->remote)
             : TR_EINVAL;
    if (status == TR_AGAIN)
        return false; /* by messages meanwhile */
    if (status != TR_OK) {
        give_up(g, o, grant);
        return false;
    }
    o->open = true;
    o->generation = grant->generation;
    o->ring_bytes = grant->ring_bytes;
    o->position = 0;
    o->credit = 0;
    return true;
}

bool tr_ring_write_ready(struct tr_group *g, struct tr_outlet *o)
{
    const struct tr_grant *grant = tr_replica_grant(g->replica, o->member);
    if (grant == NULL) {
        if (o->open && o->posted == o->completed)
            close_remote(g, o); /* lost: nothing is written there any more */
        return false;
    }
    if (tr_likely(o->open && o->generation == grant->generation))
        return true;
    return open_remote(g, o, grant);
}

/* Whether so many bytes fit the peer's credit from a position on. */
static bool within_credit(struct tr_group *g, struct tr_outlet *o, uint64_t end)
{
    if (tr_likely(end - o->credit <= o->ring_bytes) || TR_CANARY(g->canary, CREDIT_IGNORED))
        return true;
    o->credit = g->lcore->driver->remote_consumed(g->lcore->port, o->remote);
    return end - o->credit <= o->ring_bytes;
}

/* Posts one record whose header lies in the flight. Returns false on back-pressure. */
static bool post(struct tr_group *g, struct tr_outlet *o, struct tr_flight *flight,
                 uint64_t position, const struct tr_piece *payload)
{
    struct tr_lcore *l = g->lcore;
    struct tr_segment segment[3] = {{&flight->header, sizeof(flight->header)}};
    uint32_t count = 1;
    if (payload != NULL && payload->bytes != 0) {
        uint32_t whole = tr_record_bytes(payload->bytes) - (uint32_t)sizeof(flight->header);
        segment[count++] = (struct tr_segment){payload->data, payload->bytes};
        if (whole != payload->bytes)
            segment[count++] = (struct tr_segment){g->zeros, whole - payload->bytes};
    }
    uint32_t offset = (uint32_t)position & (o->ring_bytes - 1);
    if (l->driver->write_post(l->port, o->remote, offset, segment, count, o->index) != TR_OK)
        return false;
    o->posted++;
    l->writes_open++;
    l->tx_dirty = true;
    return true;
}

static struct tr_flight *next_flight(struct tr_outlet *o)
{
    if (o->posted - o->completed > o->flight_mask)
        return NULL;
    return &o->flight[o->posted & o->flight_mask];
}

/* Fills the end of the ring: the header of a PAD is all that is written. */
static bool write_pad(struct tr_group *g, struct tr_outlet *o, const struct tr_grant *grant,
                      uint32_t pad_bytes)
{
    struct tr_flight *flight = next_flight(o);
    if (flight == NULL)
        return false;
    tr_ring_pad(grant, o->position, pad_bytes, &flight->header);
    flight->slot = 0;
    flight->log_position = UINT64_MAX;
    if (!post(g, o, flight, o->position, NULL))
        return false;
    o->position += pad_bytes;
    return true;
}

enum written { WRITTEN, FULL, VOID };

/* Writes the record of one slot. */
static enum written write_slot(struct tr_group *g, struct tr_outlet *o,
                               const struct tr_grant *grant, uint64_t slot)
{
    struct tr_piece payload;
    struct tr_flight *flight = next_flight(o);
    if (flight == NULL)
        return FULL;
    if (!tr_replica_ring_record(g->replica, o->member, slot, o->position, &flight->header,
                                &payload))
        return VOID;
    uint32_t bytes = tr_record_bytes(payload.bytes);
    uint64_t position = o->position;
    uint32_t pad_bytes = tr_ring_place(o->ring_bytes, &position, bytes);
    if (!within_credit(g, o, position + bytes))
        return FULL;
    if (tr_unlikely(pad_bytes != 0)) {
        if (!write_pad(g, o, grant, pad_bytes) || (flight = next_flight(o)) == NULL)
            return FULL;
        /* The header names its position: it is made again for the one after the padding. */
        tr_replica_ring_record(g->replica, o->member, slot, o->position, &flight->header, &payload);
    }
    flight->slot = slot;
    flight->log_position = tr_replica_position(g->replica, slot);
    if (!post(g, o, flight, o->position, &payload))
        return FULL;
    o->position += bytes;
    return WRITTEN;
}

uint32_t tr_ring_write(struct tr_group *g, struct tr_outlet *o)
{
    const struct tr_grant *grant = tr_replica_grant(g->replica, o->member);
    uint32_t records = 0;
    while (o->range_count != 0) {
        switch (write_slot(g, o, grant, o->range[0].first)) {
        case WRITTEN:
            tr_outlet_sent(g, o, o->range[0].first);
            records++;
            break;
        case FULL:
            return records;
        case VOID: /* what follows in the range may still be wanted */
            tr_outlet_sent(
                g, o,
                tr_replica_ring_void(g->replica, o->member, o->range[0].first, o->range[0].last));
            break;
        }
    }
    return records;
}

void tr_ring_pin(struct tr_group *g)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < g->member_count; i++) {
        const struct tr_outlet *o = &g->outlet[i];
        for (uint64_t n = o->completed; n < o->posted; n++)
            oldest = tr_min_u64(oldest, o->flight[n & o->flight_mask].log_position);
    }
    if (TR_CANARY(g->canary, SOURCE_REUSED))
        oldest = UINT64_MAX;
    if (oldest != g->pinned) {
        g->pinned = oldest;
        tr_replica_pin(g->replica, oldest);
    }
}

static void tell(struct tr_group *g, struct tr_outlet *o, uint64_t first, uint64_t last,
                 enum tr_write_status status)
{
    struct tr_event event = {.type = TR_EVENT_WRITTEN};
    event.u.written.generation = o->generation;
    event.u.written.slot_first = first;
    event.u.written.slot_last = last;
    event.u.written.status = (enum tr_written_status)status;
    event.u.written.peer = o->member;
    tr_group_step(g, &event);
}

void tr_ring_written(struct tr_group *g, struct tr_outlet *o, enum tr_write_status status,
                     uint32_t count)
{
    uint64_t first = 0, last = 0;
    tr_assert(count <= o->posted - o->completed);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t slot = o->flight[o->completed++ & o->flight_mask].slot;
        if (slot == 0)
            continue;
        if (first != 0 && slot == last + 1) {
            last = slot;
            continue;
        }
        if (first != 0)
            tell(g, o, first, last, status);
        first = last = slot;
    }
    tr_ring_pin(g);
    if (first != 0)
        tell(g, o, first, last, status);
}
