/*
 * The log: a table of slots over an arena of records.
 *
 * Slot s lives at table index s modulo the number of slots; its record lies in the arena, a ring of
 * bytes addressed by ever-growing positions. Records are appended at the head in the order of
 * acceptance and never moved while anyone may look at them; the tail is recycled lazily, when room
 * is wanted, over whatever is no longer needed: slots up to slot_recyclable (applied and
 * snapshotted here; nobody else is waited for), records that a higher ballot replaced, and padding.
 *
 * Invariants: slot_first <= any slot present <= slot_last < slot_first + slots, and the table's
 * entries of other slots mean nothing; tail <= position of any live record < head <= tail +
 * arena_bytes; a record does not cross the arena's end. The log is written by its own replica alone
 * (rule: an accepted value never passes through a torn state).
 */
#ifndef TR_CONSENSUS_LOG_H
#define TR_CONSENSUS_LOG_H

#include "base/assert.h"
#include "consensus/record.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tr_slot_state { TR_SLOT_EMPTY = 0, TR_SLOT_ACCEPTED = 1, TR_SLOT_CHOSEN = 2 };

struct tr_slot {
    struct tr_ballot ballot; /* accepted at */
    uint64_t position;       /* of its record in the arena */
    uint32_t bytes;          /* of its record */
    uint8_t state;           /* enum tr_slot_state */
    uint8_t reserved;
    uint16_t acked; /* leader: members known to hold it at this leader's ballot, beyond their
                       cumulative acknowledgement */
};

tr_static_assert(offsetof(struct tr_slot, state) == offsetof(struct tr_slot, bytes) + 4 &&
                     sizeof(struct tr_slot) == offsetof(struct tr_slot, bytes) + 8,
                 "what tr_slot_fill stores at once");

struct tr_log {
    struct tr_slot *slot;
    uint8_t *arena;
    uint64_t slot_mask;
    uint64_t arena_bytes; /* power of two */
    uint64_t head, tail;  /* positions */
    uint64_t slot_first;  /* lowest slot that may be present */
    uint64_t slot_last;   /* highest slot that was ever present, slot_first - 1 or more */
    uint64_t slot_recyclable;
    uint64_t pin;  /* records from this position on must not go (rule 7) */
    uint64_t room; /* position that tr_log_room last gave; the head when none is out */
    uint64_t wrap_count;
    bool holes; /* records that are needed no more may lie between those that are */
};

/** An empty log over a table of `slots` (zeroed) and an arena. */
void tr_log_init(struct tr_log *log, struct tr_slot *slot, uint32_t slots, void *arena,
                 uint64_t arena_bytes);

/** tr_log_room when something must be recycled or padded first. */
struct tr_record *tr_log_room_slowly(struct tr_log *log, uint32_t payload_bytes);

/** tr_log_fits when slots must be recycled first. */
bool tr_log_fits_slowly(struct tr_log *log, uint64_t slot);

/**
 * Stores a copy of a valid record as the entry of its slot, with the fields of a ring cleared. An
 * entry of the same value only takes the higher ballot. Returns the slot, or NULL when there is no
 * room (or another value is chosen already). Requires: the entry present, if any, has a lower
 * ballot or the same value.
 */
struct tr_slot *tr_log_put(struct tr_log *log, const struct tr_record *record,
                           enum tr_slot_state state);

/** Gives the entry of a slot another ballot: its re-proposal by a new leader. */
void tr_log_restamp(struct tr_log *log, struct tr_slot *slot, struct tr_ballot ballot);

/** Forgets every slot up to and with `slot`, needed or not: a snapshot stands for them. */
void tr_log_truncate(struct tr_log *log, uint64_t slot);

/** Closes the holes that replaced records left, so that the tail can go on; nobody may hold a
 * pointer into the log. Returns bytes won. Cost: up to a copy of the arena; nothing when nothing
 * was replaced or forgotten since the last time. */
uint64_t tr_log_compact(struct tr_log *log);

/** Room for a record of `payload_bytes` at the head, recycling what may go. NULL: no room until
 * more is recyclable. The room is lost to the next call of tr_log_room or tr_log_put. */
static inline struct tr_record *tr_log_room(struct tr_log *log, uint32_t payload_bytes)
{
    uint64_t need = tr_record_bytes(payload_bytes);
    uint64_t offset = log->head & (log->arena_bytes - 1);
    if (log->head + need - log->tail > log->arena_bytes || offset + need > log->arena_bytes) {
        return tr_log_room_slowly(log, payload_bytes);
    }
    log->room = log->head;
    return (struct tr_record *)(void *)(log->arena + offset);
}

/** Whether a slot is, or can be made, part of the table by recycling. */
static inline bool tr_log_fits(struct tr_log *log, uint64_t slot)
{
    return slot - log->slot_first <= log->slot_mask || tr_log_fits_slowly(log, slot);
}

/** Fills in a slot that holds a record of so many bytes, nobody known to hold it but this replica.
 */
static tr_always_inline void tr_slot_fill(struct tr_slot *slot, struct tr_ballot ballot,
                                          uint64_t position, uint32_t bytes,
                                          enum tr_slot_state state)
{
    slot->ballot.round = ballot.round;
    tr_store_le64(&slot->ballot.incarnation, tr_ballot_low(ballot));
    slot->position = position;
    tr_store_le64(&slot->bytes, bytes | (uint64_t)state << 32); /* four fields at once */
}

/** Makes the record in the room (payload in place, header complete and sealed) the entry of its
 * slot. The slot must fit the table (tr_log_fits). Returns the slot. */
static inline struct tr_slot *tr_log_link(struct tr_log *log, const struct tr_record *record,
                                          enum tr_slot_state state)
{
    struct tr_slot *s = &log->slot[record->slot & log->slot_mask];
    tr_slot_fill(s, record->ballot, log->room, tr_record_bytes(record->payload_bytes), state);
    log->head = log->room + s->bytes;
    if (tr_likely(record->slot == log->slot_last + 1)) {
        log->slot_last = record->slot;
        return s;
    }
    for (; log->slot_last + 1 < record->slot; log->slot_last++) {
        log->slot[(log->slot_last + 1) & log->slot_mask].state = TR_SLOT_EMPTY; /* a gap */
    }
    log->slot_last = record->slot > log->slot_last ? record->slot : log->slot_last;
    return s;
}

/** Bytes that the arena has free in one piece at the head, as it is. */
static inline uint64_t tr_log_straight_bytes(const struct tr_log *log)
{
    uint64_t left = log->arena_bytes - (log->head - log->tail);
    uint64_t to_end = log->arena_bytes - (log->head & (log->arena_bytes - 1));
    return left < to_end ? left : to_end;
}

/** The entry of a slot, or NULL when it is absent. */
static inline struct tr_slot *tr_log_at(const struct tr_log *log, uint64_t slot)
{
    struct tr_slot *s = &log->slot[slot & log->slot_mask];
    if (slot - log->slot_first >= log->slot_last + 1 - log->slot_first ||
        s->state == TR_SLOT_EMPTY) {
        return NULL;
    }
    return s;
}

/** The record of an entry. */
static inline struct tr_record *tr_log_record(const struct tr_log *log, const struct tr_slot *slot)
{
    return (struct tr_record *)(void *)(log->arena + (slot->position & (log->arena_bytes - 1)));
}

/** Bytes between the oldest record kept and the head. */
static inline uint64_t tr_log_used_bytes(const struct tr_log *log)
{
    return log->head - log->tail;
}

#ifdef __cplusplus
}
#endif
#endif
