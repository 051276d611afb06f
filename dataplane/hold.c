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
    return h->tail - h->head > TR_HOLD_EFFECTS / 2 ||
           h->bytes_tail - h->bytes_head > TR_HOLD_BYTES / 2;
}

static struct tr_held *held_at(const struct tr_hold *h, uint64_t index)
{
    return &h->held[index & (TR_HOLD_EFFECTS - 1)];
}

/* A new held effect at the end of the queue. Events stop when it is half full, and one step's
 * effects fit the other half. */
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
    struct tr_held *held = append(h);
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
    for (uint32_t i = 0; i < e->piece_count; i++) {
        struct tr_piece *piece = &e->u.send.piece[i];
        piece->data = copy(h, piece->data, piece->bytes, SPARE_BYTES);
        if (piece->data == NULL)
            return false;
    }
    return true;
}

void tr_hold_push(struct tr_hold *h, const struct tr_effect *e)
{
    uint64_t begin = h->bytes_tail;
    struct tr_effect kept = *e;
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
