/*
 * The inbound rings: draining what a granted peer writes, and the fence that a promise waits for.
 *
 * One grant a group (rule 4): only the owner of the promised ballot can write. FENCE revokes it;
 * once the driver says that it is quiescent, what landed before is drained and handed to the core,
 * then the new owner is granted its own ring under a generation that was never used, and only then
 * the core hears FENCED (rules 5, 6). A newer FENCE takes over where the older one stands:
 * quiescence serves any ballot, and the grant goes to the newest owner alone.
 */
#include "dataplane/group.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/bytes.h"
#include "base/canary.h"
#include "base/prng.h"
#include "consensus/canary.h"
#include "consensus/ring.h"
#include "trireme/error.h"

/* Records copied out of the ring, not yet admitted by the core. */
struct drained {
    const struct tr_record *record[TR_ENTRIES_SEEN_MAX];
    uint64_t position[TR_ENTRIES_SEEN_MAX]; /* after each */
    uint32_t count;
    uint64_t next; /* position after padding too */
};

static const volatile uint8_t *ring_at(const struct tr_inlet *in, uint64_t position)
{
    const struct tr_ring_info *info = &in->ring[in->granted].info;
    return info->memory + (position & (info->bytes - 1));
}

/* Copies what lies at a position and judges it. Returns what it is, with its length. */
static enum tr_ring_found look(struct tr_group *g, uint64_t position, uint8_t *to, uint32_t room,
                               uint32_t *bytes)
{
    const struct tr_inlet *in = &g->inlet;
    struct tr_record *copy = (struct tr_record *)(void *)to;
    const volatile uint8_t *at = ring_at(in, position);
    const struct tr_grant *grant = &in->grant;
    struct tr_grant any;
    tr_copy_relaxed_8(copy, at, sizeof(*copy));
    if (TR_CANARY(g->canary, TAG_IGNORED)) {
        any = in->grant;
        any.tag = copy->tag;
        grant = &any;
    }
    enum tr_ring_found found =
        tr_ring_next(grant, position, g->entry_bytes_max, copy, sizeof(*copy), bytes);
    if (found != TR_RING_MORE)
        return found;
    if (*bytes > room)
        return TR_RING_MORE;
    /* The payload was stored before or after the header, in any order: its CRC tells. */
    tr_copy_relaxed_8(copy + 1, at + sizeof(*copy), *bytes - sizeof(*copy));
    return tr_ring_next(grant, position, g->entry_bytes_max, copy, *bytes, bytes);
}

/* Copies out whole records, as many as an event and the buffer hold. */
static void collect(struct tr_group *g, struct drained *d)
{
    struct tr_inlet *in = &g->inlet;
    uint8_t *to = in->buffer;
    uint32_t room = in->buffer_bytes;
    uint32_t bytes = 0;
    d->count = 0;
    d->next = in->position;
    /* A writer stays within its credit: beyond it lies nothing that counts. */
    uint64_t end = in->position_told + in->ring[in->granted].info.bytes;
    while (d->count < TR_ENTRIES_SEEN_MAX && room >= sizeof(struct tr_record) && d->next < end) {
        enum tr_ring_found found = look(g, d->next, to, room, &bytes);
        if (found == TR_RING_NONE || found == TR_RING_MORE)
            return;
        d->next += bytes;
        if (found == TR_RING_PADDING)
            continue;
        d->record[d->count] = (const struct tr_record *)(const void *)to;
        d->position[d->count++] = d->next;
        to += bytes;
        room -= bytes;
    }
}

/* Tells the writer how far we are, when that is news to its credit. */
static void tell_consumed(struct tr_group *g, uint32_t least)
{
    struct tr_inlet *in = &g->inlet;
    if (in->position - in->position_told < least)
        return;
    in->position_told = in->position;
    g->lcore->tx_dirty = true;
    g->lcore->driver->ring_consumed(g->lcore->port, in->ring[in->granted].info.ring, in->position);
}

/* Hands one batch to the core. Returns records admitted; *clean: nothing more was there. */
static uint32_t drain_once(struct tr_group *g, bool *clean)
{
    struct tr_inlet *in = &g->inlet;
    struct drained d;
    collect(g, &d);
    *clean = d.count == 0;
    if (d.count == 0) {
        in->position = d.next; /* padding alone */
        return 0;
    }
    struct tr_event event = {.type = TR_EVENT_ENTRIES_SEEN};
    event.u.entries_seen.generation = in->grant.generation;
    event.u.entries_seen.record = d.record;
    event.u.entries_seen.count = d.count;
    event.u.entries_seen.peer = in->granted;
    tr_group_step(g, &event);
    uint32_t admitted = tr_replica_entries_admitted(g->replica);
    tr_assert(admitted <= d.count);
    if (admitted == d.count)
        in->position = d.next;
    else if (admitted != 0)
        in->position = d.position[admitted - 1];
    return admitted;
}

uint32_t tr_inlet_drain(struct tr_group *g)
{
    struct tr_inlet *in = &g->inlet;
    bool clean = false;
    uint32_t count = drain_once(g, &clean);
    if (count < TR_ENTRIES_SEEN_MAX)
        tr_inlet_rest(g);
    if (in->granted < TR_MEMBERS_MAX)
        tell_consumed(g, clean ? 1 : in->ring[in->granted].info.bytes / 8);
    return count;
}

/* ---- fences */

/* Grants the owner's ring under a new generation; grant->generation 0 where it has none. */
static void grant_owner(struct tr_group *g, struct tr_grant *grant)
{
    struct tr_inlet *in = &g->inlet;
    struct tr_replica_status status;
    struct tr_ring_token token;
    uint8_t member = tr_replica_member(g->replica, in->owner);
    memset(grant, 0, sizeof(*grant));
    if (member >= g->member_count || member == g->self || !in->ring[member].exists)
        return;
    tr_replica_status(g->replica, &status);
    if (status.incarnation == 0)
        return; /* who has not recovered grants nothing (rule 2) */
    in->grants = TR_CANARY(g->canary, GENERATION_REPEATED) ? 1 : in->grants + 1;
    grant->generation = (uint64_t)status.incarnation << 32 | in->grants;
    if (g->lcore->driver->ring_grant(g->lcore->port, in->ring[member].info.ring, grant->generation,
                                     &token) != TR_OK) {
        grant->generation = 0;
        return;
    }
    grant->tag = tr_prng_next(&g->random);
    grant->ring_bytes = in->ring[member].info.bytes;
    grant->entry_bytes_max = g->entry_bytes_max;
    memcpy(grant->token, token.bytes, sizeof(grant->token));
    in->granted = member;
    in->grant = *grant;
    in->position = 0;
    in->position_told = 0;
}

/* The end of a fence: everything that counted is in the log. */
static void fenced(struct tr_group *g)
{
    struct tr_inlet *in = &g->inlet;
    struct tr_event event = {.type = TR_EVENT_FENCED};
    in->fence = TR_FENCE_NONE;
    in->granted = TR_MEMBERS_MAX;
    event.u.fenced.ballot = in->ballot;
    grant_owner(g, &event.u.fenced.grant);
    tr_group_step(g, &event);
}

void tr_inlet_fence(struct tr_group *g, struct tr_ballot ballot, tr_node_id owner)
{
    struct tr_inlet *in = &g->inlet;
    in->ballot = ballot;
    in->owner = owner;
    if (in->fence != TR_FENCE_NONE)
        return; /* the fence under way serves this ballot as well */
    in->fence = TR_FENCE_CLOSING;
    if (in->granted >= TR_MEMBERS_MAX) {
        in->fence = TR_FENCE_DRAINING; /* nobody could write: there is nothing to drain */
        return;
    }
    uint32_t ring = in->ring[in->granted].info.ring;
    if (g->lcore->driver->fence_start(g->lcore->port, ring) == TR_OK)
        in->fence = TR_FENCE_DRAINING;
}

/* Drains the closed ring. Returns whether everything that landed is in the log. */
static bool drain_closed(struct tr_group *g)
{
    struct tr_inlet *in = &g->inlet;
    bool clean = in->granted >= TR_MEMBERS_MAX;
    /* A ring holds a bounded number of records; what the log has no room for waits there. */
    while (!clean && drain_once(g, &clean) != 0) {
    }
    return clean;
}

uint32_t tr_inlet_fence_poll(struct tr_group *g)
{
    struct tr_inlet *in = &g->inlet;
    if (in->fence == TR_FENCE_CLOSING) {
        uint32_t ring = in->ring[in->granted].info.ring;
        if (g->lcore->driver->fence_poll(g->lcore->port, ring) != TR_OK &&
            !TR_CANARY(g->canary, FENCE_NOT_AWAITED))
            return 0;
        in->fence = TR_FENCE_DRAINING;
    }
    if (!drain_closed(g))
        return 0;
    fenced(g);
    return 1;
}
