/* What can happen to a replica: the input of tr_replica_step. Every event carries the time; the
 * core has no clock. */
#ifndef TR_CONSENSUS_EVENT_H
#define TR_CONSENSUS_EVENT_H

#include "consensus/record.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tr_event_type {
    TR_EVENT_MESSAGE = 1,      /* from a member, as received: nothing in it is trusted */
    TR_EVENT_PROPOSE = 2,      /* a batch of this node's own sessions */
    TR_EVENT_READ = 3,         /* a linearizable read (and all before it) wants an index */
    TR_EVENT_TIMEOUT = 4,      /* tr_replica_deadline_ns has passed */
    TR_EVENT_DURABLE = 5,      /* everything persisted up to here is on disk */
    TR_EVENT_WRITTEN = 6,      /* a one-sided REPLICATE completed */
    TR_EVENT_ENTRIES_SEEN = 7, /* records drained from an inbound ring */
    TR_EVENT_FENCED =
        8, /* the fence of a ballot is quiescent, its rings drained; the owner may have a grant */
    TR_EVENT_APPLIED = 9,        /* the state machine has applied up to here */
    TR_EVENT_SNAPSHOT_DONE = 10, /* a snapshot was made or installed */
    TR_EVENT_MEMBER_HINT = 11,   /* the control plane's advice on a member */
    TR_EVENT_RECONFIGURE = 12,   /* a membership change is asked for */
    TR_EVENT_CAMPAIGN = 13,      /* stand for election now */
};

/** The permission to write into a follower's inbound ring, as it travels in a promise. */
struct tr_grant {
    uint64_t generation; /* 0: none; unique for ever: incarnation in the high half */
    uint64_t tag;        /* random */
    uint32_t ring_bytes;
    uint32_t entry_bytes_max; /* a larger payload would be found by no drain: not to be written */
    uint8_t token[48];        /* the driver's own: struct tr_ring_token */
};

enum tr_written_status {
    TR_WRITTEN_OK = 1,
    TR_WRITTEN_REFUSED = 2, /* fenced: the slots do not count */
    TR_WRITTEN_BROKEN =
        3, /* unknown: the slots do not count, the ring is given up until another grant */
};

enum tr_hint { TR_HINT_ALIVE = 1, TR_HINT_SUSPECT = 2, TR_HINT_DEAD = 3 };

/** One event. Members are named by their index in the configuration. Memory that an event points to
 * is read during the step only. */
struct tr_event {
    enum tr_event_type type;
    bool more; /* others of this cycle follow: what is worth doing once for all of them waits */
    uint64_t now_ns;
    union {
        struct {
            const void *data; /* aligned to 8 bytes, constant during the step */
            uint32_t bytes;
            uint8_t from; /* the member that the source address belongs to */
        } message;
        struct {
            const void *data; /* runs; in the log when tr_replica_propose_room gave the room, else
                                 anywhere */
            uint32_t bytes;
            uint32_t command_count;
        } propose;
        struct {
            uint64_t id; /* grows by one or more with every READ event */
        } read;
        struct {
            uint64_t persisted; /* sequence of the last PERSIST that is durable */
        } durable;
        struct {
            uint64_t generation; /* of the grant under which the slots were written */
            uint64_t slot_first, slot_last;
            enum tr_written_status status;
            uint8_t peer;
        } written;
        struct {
            uint64_t generation; /* of the ring that they came from */
            const struct tr_record *const
                *record; /* whole and valid (tr_ring_next), in private memory */
            uint32_t count;
            uint8_t peer;
        } entries_seen;
        struct {
            struct tr_ballot ballot;
            struct tr_grant grant; /* generation 0: messages only */
        } fenced;
        struct {
            uint64_t slot;
        } applied;
        struct {
            uint64_t slot;
            uint64_t bytes;
            uint32_t crc;
            int32_t status; /* 0, or negative: it failed and nothing changed, unless `lost` */
            bool installed; /* else made here */
            bool lost;      /* the state machine is not what it was, and must not go on */
        } snapshot_done;
        struct {
            uint32_t incarnation;
            enum tr_hint state;
            uint8_t member;
        } member_hint;
        struct {
            tr_node_id add, remove; /* 0: none */
        } reconfigure;
    } u;
};

#ifdef __cplusplus
}
#endif
#endif
