/*
 * What a replica wants done: the output of tr_replica_step, to be carried out in order.
 *
 * A SEND may be lost by whoever carries it out; a REPLICATE is a cursor that is tried again until
 * it is done or the leadership is over; a PERSIST is never lost. A BARRIER holds back everything of
 * this replica that comes after it, later steps included, until every PERSIST before it is durable.
 */
#ifndef TR_CONSENSUS_EFFECT_H
#define TR_CONSENSUS_EFFECT_H

#include "consensus/event.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tr_effect_type {
    TR_EFFECT_SEND = 1,
    TR_EFFECT_REPLICATE = 2, /* bring slots to peers: Accept messages (tr_replica_accept) or writes
                                into their rings (tr_replica_ring_record) */
    TR_EFFECT_FENCE = 3, /* close this group's rings, drain them, and answer FENCED with a grant for
                            the owner where the driver can */
    TR_EFFECT_PERSIST = 4,
    TR_EFFECT_BARRIER = 5,
    TR_EFFECT_COMMIT = 6,     /* slots up to here are chosen and present: apply them */
    TR_EFFECT_REJECT = 7,     /* the batch of this step was not taken: no leader, or no room */
    TR_EFFECT_RESUBMIT = 8,   /* batches taken before may be lost: propose again whatever of the own
                                 sessions is not applied (they are applied once all the same) */
    TR_EFFECT_READ_READY = 9, /* reads up to this id may be answered from the state as it is */
    TR_EFFECT_SNAPSHOT_MAKE = 10, /* make a snapshot at whatever slot is applied */
    TR_EFFECT_SNAPSHOT_SEND =
        11, /* send chunks of the snapshot to a peer (tr_replica_snapshot_header) */
    TR_EFFECT_SNAPSHOT_STORE = 12, /* keep this chunk of an incoming snapshot */
    TR_EFFECT_SNAPSHOT_INSTALL =
        13, /* the incoming snapshot is complete: restore it, then SNAPSHOT_DONE */
    TR_EFFECT_LEADER =
        14, /* the leader known changed: ELECTED (self), STEPPED_DOWN (was self), or another */
    TR_EFFECT_STOPPED = 15, /* this replica can not go on; the reason is for a person */
};

enum tr_persist_what { TR_PERSIST_PROMISE = 1, TR_PERSIST_ENTRIES = 2, TR_PERSIST_SNAPSHOT = 3 };

enum tr_reject_reason {
    TR_REJECT_NO_LEADER = 1,
    TR_REJECT_FULL = 2,
    TR_REJECT_RECOVERING = 3,
    TR_REJECT_MALFORMED = 4,
    TR_REJECT_FIXED = 5
};

enum tr_stop_reason {
    TR_STOP_NONE = 0,
    TR_STOP_MEMORY_LOST = 1, /* fewer than the recovery quorum kept their memory (rule 3) */
    TR_STOP_RESTORE = 2,     /* the state machine refused a snapshot */
    TR_STOP_SUPERSEDED = 3,  /* a later process of this node was let in */
};

/** A contiguous piece of memory that stays as it is until the effects of the step are carried out.
 */
struct tr_piece {
    const void *data;
    uint32_t bytes;
};

struct tr_effect {
    uint8_t type;   /* enum tr_effect_type */
    uint8_t peer;   /* where one member is meant */
    uint16_t peers; /* mask of members, where several may be */
    uint16_t piece_count;
    union {
        struct {
            struct tr_piece
                piece[1 + TR_SEND_PIECES_MAX]; /* the header, in the effects' scratch, then pieces
                                                  of the log or of the event */
        } send;
        struct {
            uint64_t slot_first, slot_last;
        } replicate;
        struct {
            struct tr_ballot ballot;
            tr_node_id owner;
        } fence;
        struct {
            uint64_t sequence; /* counts PERSISTs; DURABLE answers it */
            uint64_t slot_first, slot_last;
            struct tr_ballot ballot;
            enum tr_persist_what what;
        } persist;
        struct {
            uint64_t slot;
        } commit;
        struct {
            enum tr_reject_reason reason;
            tr_node_id leader; /* 0: none known */
        } reject;
        struct {
            uint64_t id;
            uint64_t slot;
        } read_ready;
        struct {
            uint64_t slot, offset, total_bytes;
            const void *data;
            uint32_t bytes;
            uint32_t crc; /* of the whole snapshot */
        } snapshot;
        struct {
            struct tr_ballot ballot;
            tr_node_id leader; /* 0: none known */
            bool self_now, self_before;
        } leader;
        struct {
            enum tr_stop_reason reason;
        } stopped;
    } u;
};

/** The effects of one step. Owns: the caller; tr_replica_step empties it first. */
struct tr_effects {
    uint32_t count;
    uint32_t scratch_used;
    struct tr_effect item[TR_EFFECTS_MAX];
    uint64_t scratch64[1]; /* aligns what follows */
    uint8_t scratch[TR_EFFECTS_SCRATCH_BYTES];
};

#ifdef __cplusplus
}
#endif
#endif
