#include "consensus/log.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <string.h>

/* What may go is recycled so far ahead of need, so that most calls need not look. */
#define AHEAD_MAX 64

static struct tr_record *at(const struct tr_log *log, uint64_t position)
{
    return (struct tr_record *)(void *)(log->arena + (position & (log->arena_bytes - 1)));
}

void tr_log_init(struct tr_log *log, struct tr_slot *slot, uint32_t slots, void *arena,
                 uint64_t arena_bytes)
{
    tr_assert(tr_is_power_of_two(slots) && tr_is_power_of_two(arena_bytes));
    memset(log, 0, sizeof(*log));
    log->slot = slot;
    log->slot_mask = slots - 1;
    log->arena = arena;
    log->arena_bytes = arena_bytes;
    log->slot_first = 1;
    log->pin = UINT64_MAX;
}

/* A PAD record tells the walk at the tail how far to jump. */
static void pad(struct tr_log *log, uint64_t position, uint64_t bytes)
{
    struct tr_record *record = at(log, position);
    memset(record, 0, sizeof(*record));
    record->kind = TR_RECORD_PAD;
    record->payload_bytes = (uint32_t)(bytes - sizeof(*record));
}

/* Whether the record at a position is the entry of its slot. */
static struct tr_slot *live_at(const struct tr_log *log, uint64_t position)
{
    const struct tr_record *record = at(log, position);
    struct tr_slot *s = record->kind == TR_RECORD_PAD ? NULL : tr_log_at(log, record->slot);
    return s != NULL && s->position == position ? s : NULL;
}

/* Forgets every slot up to `slot`. The record of the only one, at the tail, leaves no hole. */
static inline void forget(struct tr_log *log, uint64_t slot)
{
    if (slot < log->slot_first) {
        return;
    }
    const struct tr_slot *s = tr_log_at(log, slot);
    log->holes |= slot != log->slot_first || (s != NULL && s->position != log->tail);
    log->slot_first = slot + 1;
    log->slot_last = tr_max_u64(log->slot_last, slot);
}

/* Moves the tail over one record that is not needed. Returns false when it is. */
static bool recycle(struct tr_log *log)
{
    if (log->tail == log->head || log->tail >= log->pin) {
        return false;
    }
    const struct tr_record *record = at(log, log->tail);
    if (live_at(log, log->tail) != NULL) {
        if (record->slot > log->slot_recyclable) {
            return false;
        }
        forget(log, record->slot);
    }
    uint64_t lap = log->tail / log->arena_bytes;
    log->tail += tr_record_bytes(record->payload_bytes);
    log->wrap_count += log->tail / log->arena_bytes != lap;
    return true;
}

struct tr_record *tr_log_room_slowly(struct tr_log *log, uint32_t payload_bytes)
{
    uint64_t need = tr_record_bytes(payload_bytes);
    uint64_t to_end = log->arena_bytes - (log->head & (log->arena_bytes - 1));
    uint64_t skip = to_end < need ? to_end : 0;
    while (tr_unlikely(log->head + skip + need - log->tail > log->arena_bytes)) {
        if (!recycle(log)) {
            return NULL;
        }
    }
    for (int i = 0; i < AHEAD_MAX && recycle(log); i++) {
    }
    if (tr_unlikely(skip != 0)) {
        pad(log, log->head, skip);
        log->head += skip;
    }
    log->room = log->head;
    return at(log, log->room);
}

/* The last slot up to `slot` that a pinned record does not precede. */
static inline uint64_t unpinned(const struct tr_log *log, uint64_t slot)
{
    for (uint64_t i = log->slot_first; log->pin != UINT64_MAX && i <= slot; i++) {
        const struct tr_slot *s = tr_log_at(log, i);
        if (s != NULL && s->position >= log->pin) {
            return i - 1;
        }
    }
    return slot;
}

bool tr_log_fits_slowly(struct tr_log *log, uint64_t slot)
{
    uint64_t kept =
        log->slot_recyclable + 1 > log->slot_first ? log->slot_recyclable + 1 : log->slot_first;
    if (slot < log->slot_first || (slot > kept && slot - kept > log->slot_mask)) {
        return false;
    }
    /* Slots may be recycled past records that others precede in the arena: the tail skips what
     * slot_first left behind. */
    uint64_t wanted = slot > log->slot_mask ? slot - log->slot_mask - 1 : 0;
    forget(log, unpinned(log, tr_min_u64(wanted + AHEAD_MAX, log->slot_recyclable)));
    return slot - log->slot_first <= log->slot_mask;
}

/* Copies a record with its padding, a cache line at a time: records are short and aligned. */
static inline void copy_lines(void *to, const void *from, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i += TR_RECORD_ALIGN) {
        memcpy((uint8_t *)to + i, (const uint8_t *)from + i, TR_RECORD_ALIGN);
    }
}

/* Stores a copy of a record in fresh room. */
static struct tr_slot *put_fresh(struct tr_log *log, const struct tr_record *record,
                                 enum tr_slot_state state)
{
    struct tr_record *room = tr_log_room(log, record->payload_bytes);
    if (tr_unlikely(room == NULL)) {
        return NULL;
    }
    copy_lines(room, record, tr_record_bytes(record->payload_bytes));
    if (tr_unlikely(room->generation != 0)) {
        room->generation = room->tag = 0;
        room->position = 0;
        room->commit_lag = 0;
        tr_record_seal(room);
    }
    return tr_log_link(log, room, state);
}

static bool same_value(const struct tr_record *a, const struct tr_record *b)
{
    return a->payload_crc == b->payload_crc && a->payload_bytes == b->payload_bytes &&
           a->kind == b->kind && memcmp(a + 1, b + 1, a->payload_bytes) == 0;
}

struct tr_slot *tr_log_put(struct tr_log *log, const struct tr_record *record,
                           enum tr_slot_state state)
{
    if (tr_unlikely(!tr_log_fits(log, record->slot))) {
        return NULL;
    }
    if (tr_likely(record->slot > log->slot_last)) {
        return put_fresh(log, record, state);
    }
    struct tr_slot *s = &log->slot[record->slot & log->slot_mask];
    if (tr_unlikely(s->state != TR_SLOT_EMPTY) && same_value(tr_log_record(log, s), record)) {
        if (tr_ballot_less(s->ballot, record->ballot)) {
            tr_log_restamp(log, s, record->ballot);
        }
        s->state = s->state > state ? s->state : (uint8_t)state;
        return s;
    }
    if (tr_unlikely(s->state == TR_SLOT_CHOSEN)) {
        return NULL; /* only a broken or lying peer has another value for it */
    }
    log->holes |= s->state != TR_SLOT_EMPTY;
    return put_fresh(log, record, state);
}

void tr_log_restamp(struct tr_log *log, struct tr_slot *slot, struct tr_ballot ballot)
{
    struct tr_record *record = tr_log_record(log, slot);
    slot->ballot = ballot;
    slot->acked = 0;
    record->ballot = ballot;
    tr_record_seal(record);
}

void tr_log_truncate(struct tr_log *log, uint64_t slot)
{
    if (slot < log->slot_first) {
        return;
    }
    forget(log, slot);
    log->slot_recyclable = slot > log->slot_recyclable ? slot : log->slot_recyclable;
}

uint64_t tr_log_compact(struct tr_log *log)
{
    if (log->pin != UINT64_MAX) {
        return 0;
    }
    forget(log, log->slot_recyclable); /* what may go lies between others, too */
    if (!log->holes) {
        return 0;
    }
    log->holes = false;
    uint64_t to = log->tail;
    uint64_t from = log->tail;
    while (from < log->head) {
        const struct tr_record *record = at(log, from);
        uint64_t bytes = tr_record_bytes(record->payload_bytes);
        struct tr_slot *s = live_at(log, from);
        if (s != NULL) {
            uint64_t to_end = log->arena_bytes - (to & (log->arena_bytes - 1));
            if (to_end < bytes && from != to) {
                /* Never overtakes `from`: a record does not cross the end, so `from` is past it
                 * here. */
                pad(log, to, to_end);
                to += to_end;
            }
            memmove(at(log, to), record, bytes);
            s->position = to;
            to += bytes;
        }
        from += bytes;
    }
    uint64_t won = log->head - to;
    log->head = to;
    return won;
}
