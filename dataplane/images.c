/*
 * Snapshots on their way, as the agent sees them: one image is the latest, which peers pull, one is
 * being made by the apply stage, one is arriving. They change roles; nobody copies one.
 */
#include "dataplane/group.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "trireme/error.h"

#include <string.h>

/* An image with no role. There are three, and three roles. */
static uint8_t free_image(const struct tr_group *g)
{
    for (uint8_t i = 0; i < TR_IMAGES; i++)
        if (i != g->image_latest && i != g->image_making && i != g->image_incoming)
            return i;
    tr_unreachable();
}

void tr_image_make(struct tr_group *g)
{
    struct tr_apply_message m = {.what = TR_APPLY_MAKE};
    tr_assert(g->image_making == TR_IMAGES);
    g->image_making = free_image(g);
    m.image = g->image_making;
    tr_apply_post(g->apply, &m);
}

/* Sends one chunk. Returns whether the driver took it. */
static bool send_chunk(struct tr_group *g, const struct tr_effect *e, uint64_t offset,
                       uint32_t bytes)
{
    uint64_t header[TR_MESSAGE_HEADER_BYTES_MAX / 8];
    const uint8_t *chunk = g->apply->image[g->image_latest].data + offset;
    struct tr_tx tx = {.peer = g->outlet[e->peer].node, .segment_count = 2};
    tx.segment[0].data = header;
    tx.segment[0].bytes = tr_replica_snapshot_header(g->replica, e->peer, e->u.snapshot.slot,
                                                     offset, e->u.snapshot.total_bytes,
                                                     e->u.snapshot.crc, chunk, bytes, header);
    tx.segment[1].data = chunk;
    tx.segment[1].bytes = bytes;
    return tr_send_burst(g->lcore, &tx, 1) != 0;
}

void tr_image_send(struct tr_group *g, const struct tr_effect *e)
{
    uint64_t offset = e->u.snapshot.offset;
    uint64_t end = offset + e->u.snapshot.bytes;
    bool whole = g->image_latest < TR_IMAGES && g->latest_slot == e->u.snapshot.slot &&
                 end <= g->latest_bytes;
    while (whole && offset < end) {
        uint32_t bytes = (uint32_t)tr_min_u64(end - offset, TR_SNAPSHOT_CHUNK_BYTES);
        whole = send_chunk(g, e, offset, bytes);
        offset += bytes;
    }
    if (!whole)
        tr_counter_add(g->stats.send_dropped, 1); /* the receiver asks again */
}

void tr_image_store(struct tr_group *g, const struct tr_effect *e)
{
    uint64_t end = e->u.snapshot.offset + e->u.snapshot.bytes;
    if (end > g->apply->image_bytes || g->installing)
        return; /* larger than this node was configured for: INSTALL tells */
    if (g->image_incoming == TR_IMAGES)
        g->image_incoming = free_image(g);
    memcpy(g->apply->image[g->image_incoming].data + e->u.snapshot.offset, e->u.snapshot.data,
           e->u.snapshot.bytes);
}

void tr_image_install(struct tr_group *g, const struct tr_effect *e)
{
    struct tr_apply_message m = {.what = TR_APPLY_INSTALL};
    if (g->image_incoming == TR_IMAGES)
        g->image_incoming = free_image(g);
    m.slot = e->u.snapshot.slot;
    m.bytes = e->u.snapshot.total_bytes;
    m.crc = e->u.snapshot.crc;
    m.image = g->image_incoming;
    g->installing = true;
    tr_apply_post(g->apply, &m);
}

/* The image of a result takes its new role. */
static void take_role(struct tr_group *g, const struct tr_apply_result *result)
{
    if (result->installed != 0) {
        g->installing = false;
        g->image_incoming = TR_IMAGES;
    } else {
        g->image_making = TR_IMAGES;
    }
    if (result->status != TR_OK)
        return;
    g->image_latest = (uint8_t)result->image;
    g->latest_slot = result->slot;
    g->latest_bytes = result->bytes;
    if (result->installed != 0) {
        g->slot_commit = tr_max_u64(g->slot_commit, result->slot);
        g->slot_posted = tr_max_u64(g->slot_posted, result->slot);
        g->slot_told = tr_max_u64(g->slot_told, result->slot);
    }
}

uint32_t tr_image_results(struct tr_group *g)
{
    struct tr_apply_result result;
    uint32_t count = 0;
    while (tr_ring_spsc_dequeue(g->apply->results, &result, 1) != 0) {
        struct tr_event event = {.type = TR_EVENT_SNAPSHOT_DONE};
        take_role(g, &result);
        if (g->wal != NULL && result.status == TR_OK)
            tr_wal_snapshot(g->wal, result.slot, g->apply->image[result.image].data, result.bytes,
                            result.crc);
        event.u.snapshot_done.slot = result.slot;
        event.u.snapshot_done.bytes = result.bytes;
        event.u.snapshot_done.crc = result.crc;
        event.u.snapshot_done.status = result.status;
        event.u.snapshot_done.installed = result.installed != 0;
        event.u.snapshot_done.lost = result.lost != 0;
        tr_group_step(g, &event);
        count++;
    }
    return count;
}
