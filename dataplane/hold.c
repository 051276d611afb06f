/* The queue of effects behind a barrier. */
#include "dataplane/hold.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <string.h>

uint64_t tr_hold_memory_bytes(void)
{
    return TR_HOLD_EFFECTS * sizeof(struct tr_held) + TR_HOLD_BYTES;
}

void tr_hold_init(struct tr_hold *h, void *memory)
{
    memset(h, 0, sizeof(*h));
    h->held = (struct tr_held *)memory;
    h->bytes = (uint8_t *)memory + TR_HOLD_EFFECTS * sizeof(struct tr_held);
}

bool tr_hold_is_crowded(const struct tr_hold *h)
{
    return h->tail - h->head >= TR_HOLD_EFFECTS / 2 ||
           h->bytes_tail - h->bytes_head > TR_HOLD_BYTES / 2;
}

static struct tr_held *held_at(const struct tr_hold *h, uint64_t index)
{
    return &h->held[index & (TR_HOLD_EFFECTS - 1)];
}

/* A new held effect at the end of the queue. Messages and proposals stop when it is half full, and
 * what comes without them fits the other half (hold.h). */
static struct tr_held *append(struct tr_hold *h)
{
    tr_assert(h->tail - h->head < TR_HOLD_EFFECTS);
    struct tr_held *held = held_at(h, h->tail++);
    held->bytes_end = h->bytes_tail;
    held->persisted = 0;
    return held;
}

void tr_hold_barrier(struct tr_hold *h)
{
    if (h->durable >= h->persist_last && !tr_hold_is_waiting(h))
        return;
    struct tr_held *last = held_at(h, h->tail - 1);
    bool again = tr_hold_is_waiting(h) && last->effect.type == TR_EFFECT_BARRIER;
    struct tr_held *held = again ? last : append(h);
    held->effect.type = TR_EFFECT_BARRIER;
    held->persisted = h->persist_last;
}

/* Bytes that SENDs leave to what must not be lost. */
#define SPARE_BYTES (TR_HOLD_BYTES / 4)

/* A copy of `bytes` in one piece that leaves `spare` bytes; NULL: no room. */
static const void *copy(struct tr_hold *h, const void *data, uint32_t bytes, uint32_t spare)
{
    uint64_t at = h->bytes_tail;
    uint64_t need = tr_align_up_u32(bytes, 8);
    if ((at & (TR_HOLD_BYTES - 1)) + need > TR_HOLD_BYTES)
        at = tr_align_up_u64(at, TR_HOLD_BYTES);
    if (at + need - h->bytes_head > TR_HOLD_BYTES - spare)
        return NULL;
    h->bytes_tail = at + need;
    uint8_t *to = h->bytes + (at & (TR_HOLD_BYTES - 1));
    if (bytes != 0)
        memcpy(to, data, bytes);
    return to;
}

/* Copies what a SEND points to. Returns false when there is no room. */
static bool copy_send(struct tr_hold *h, struct tr_effect *e)
{
    if (h->tail - h->head >= TR_HOLD_EFFECTS / 2)
        return false;
    for (uint32_t i = 0; i < e->piece_count; i++) {
        struct tr_piece *piece = &e->u.send.piece[i];
        piece->data = copy(h, piece->data, piece->bytes, SPARE_BYTES);
        if (piece->data == NULL)
            return false;
    }
    return true;
}

/* Effects that are looked at for one to join: all that timers repeat lies in fewer. */
#define JOIN_REACH 64u

/* The effect behind the last barrier that this one can be one with; NULL: none. What lies behind
 * the same barrier is carried out at the same moment. */
static struct tr_effect *alike(const struct tr_hold *h, const struct tr_effect *e)
{
    uint64_t end = h->tail - h->head > JOIN_REACH ? h->tail - JOIN_REACH : h->head;
    if (e->type != TR_EFFECT_COMMIT && e->type != TR_EFFECT_READ_READY &&
        e->type != TR_EFFECT_REPLICATE)
        return NULL;
    for (uint64_t i = h->tail; i > end; i--) {
        struct tr_effect *held = &held_at(h, i - 1)->effect;
        if (held->type == e->type && held->peers == e->peers)
            return held;
        if (held->type == TR_EFFECT_BARRIER)
            return NULL;
    }
    return NULL;
}

/* Makes an effect one with an earlier one. Returns false when there is none like it. */
static bool join(struct tr_hold *h, const struct tr_effect *e)
{
    struct tr_effect *held = alike(h, e);
    if (held == NULL)
        return false;
    if (e->type == TR_EFFECT_COMMIT) {
        held->u.commit.slot = tr_max_u64(held->u.commit.slot, e->u.commit.slot);
    } else if (e->type == TR_EFFECT_READ_READY) {
        held->u.read_ready = e->u.read_ready; /* all reads before it, too */
    } else {
        uint64_t first = held->u.replicate.slot_first, last = held->u.replicate.slot_last;
        held->u.replicate.slot_first = tr_min_u64(first, e->u.replicate.slot_first);
        held->u.replicate.slot_last = tr_max_u64(last, e->u.replicate.slot_last);
    }
    return true;
}

void tr_hold_push(struct tr_hold *h, const struct tr_effect *e)
{
    uint64_t begin = h->bytes_tail;
    struct tr_effect kept = *e;
    if (join(h, e))
        return;
    if (e->type == TR_EFFECT_SEND && !copy_send(h, &kept)) {
        h->bytes_tail = begin;
        h->dropped++;
        return;
    }
    if (e->type == TR_EFFECT_SNAPSHOT_STORE) {
        kept.u.snapshot.data = copy(h, e->u.snapshot.data, e->u.snapshot.bytes, 0);
        tr_assert(kept.u.snapshot.data != NULL);
    }
    append(h)->effect = kept;
}

const struct tr_effect *tr_hold_next(struct tr_hold *h)
{
    while (tr_hold_is_waiting(h)) {
        struct tr_held *held = held_at(h, h->head);
        if (held->effect.type != TR_EFFECT_BARRIER)
            return &held->effect;
        if (held->persisted > h->durable)
            return NULL;
        tr_hold_pop(h);
    }
    return NULL;
}

void tr_hold_pop(struct tr_hold *h)
{
    tr_assert(tr_hold_is_waiting(h));
    h->bytes_head = held_at(h, h->head)->bytes_end;
    h->head++;
    if (h->head == h->tail)
        h->bytes_head = h->bytes_tail;
}
