/*
 * Messages between replicas, as they lie on the wire: a header, a body of fixed form a type, and a
 * tail (records, a batch, a chunk) that carries its own CRCs.
 *
 * Little-endian, no implicit padding, reserved bytes zero. The header's CRC covers header and body.
 * Decoding is validation: tr_message_open checks everything that can be checked without knowing the
 * replica, after which the body may be read in place.
 */
#ifndef TR_CONSENSUS_MESSAGE_H
#define TR_CONSENSUS_MESSAGE_H

#include "consensus/event.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TR_MESSAGE_VERSION 1

enum tr_message_type {
    TR_MESSAGE_ACCEPT = 1,
    TR_MESSAGE_ACCEPTED = 2,
    TR_MESSAGE_HEARTBEAT = 3,
    TR_MESSAGE_VECTOR = 4,
    TR_MESSAGE_PREVOTE = 5,
    TR_MESSAGE_PREVOTED = 6,
    TR_MESSAGE_PREPARE = 7,
    TR_MESSAGE_PROMISE = 8,
    TR_MESSAGE_REJECT = 9,
    TR_MESSAGE_FETCH = 10,
    TR_MESSAGE_LEARN = 11,
    TR_MESSAGE_FORWARD = 12,
    TR_MESSAGE_FORWARDED = 13,
    TR_MESSAGE_READ_INDEX = 14,
    TR_MESSAGE_READ_SLOT = 15,
    TR_MESSAGE_SNAPSHOT_PULL = 16,
    TR_MESSAGE_SNAPSHOT_CHUNK = 17,
    TR_MESSAGE_RECOVER = 18,
    TR_MESSAGE_RECOVERED = 19,
    TR_MESSAGE_FOUND = 20,
    TR_MESSAGE_TYPES = 21,
};

struct tr_message {
    uint32_t crc; /* CRC32C of the rest of the header and the body */
    uint8_t version;
    uint8_t type;
    tr_node_id from;
    uint32_t group;
    uint16_t body_bytes;  /* multiple of 8 */
    uint16_t reserved;    /* zero */
    uint64_t cluster;     /* of the founded cluster; of its name in RECOVER, RECOVERED and FOUND */
    uint32_t incarnation; /* of the sender; 0 while it has none */
    uint32_t tail_bytes;
};

/** Records follow, in slot order. Cumulative: every slot up to slot_commit is chosen, and chosen at
 * `ballot` where the receiver holds it at `ballot` (rule 11). */
struct tr_accept {
    struct tr_ballot ballot;
    uint64_t slot_commit;
    uint64_t stamp; /* when it was sent, by the leader's clock, unique and rising: echoed */
    uint32_t record_count;
    uint32_t reserved;
};

enum tr_accepted_flag {
    TR_ACCEPTED_GAP =
        1u << 0, /* slots after slot_acked are missing here (a negative acknowledgement) */
    TR_ACCEPTED_LEASE =
        1u << 1, /* promises withheld for a lease from the receipt of `stamp` (rule 16) */
};

/** All slots from the leader's commit watermark (as this replica last heard it) up to slot_acked
 * are accepted at exactly `ballot`; bit i of `bitmap`: so is slot_acked + 2 + i. */
struct tr_accepted {
    struct tr_ballot ballot;
    uint64_t stamp; /* the highest seen of this ballot */
    uint64_t slot_acked;
    uint64_t bitmap;
    uint64_t slot_apply;
    uint64_t slot_recyclable; /* applied and snapshotted here */
    uint64_t vector_hash; /* of the incarnations known here: a quorum needs them equal (rule 2) */
    uint32_t flags;
    uint32_t reserved;
};

struct tr_heartbeat {
    struct tr_ballot ballot;
    uint64_t slot_commit;
    uint64_t slot_next;
    uint64_t stamp;
    uint64_t contact_age_ns; /* since the leader last heard a Q2 (rule 18) */
    uint64_t vector_hash;
};

/**
 * The incarnations known, by member index (rule 2), and the processes that they are: two processes
 * of a member that chose the same number must not be taken for one. 0: the process is not known.
 */
struct tr_vector {
    uint32_t incarnation[TR_MEMBERS_MAX];
    uint64_t boot[TR_MEMBERS_MAX];
};

struct tr_prevote {
    struct tr_ballot ballot; /* that the sender would prepare */
};

struct tr_prevoted {
    struct tr_ballot ballot;   /* of the question */
    struct tr_ballot promised; /* here */
    uint32_t granted;
    uint32_t reserved;
};

struct tr_prepare {
    struct tr_ballot ballot;
    uint64_t slot_from;       /* first slot of the page wanted */
    uint64_t generation_lost; /* the newest grant that it had, and can write through no more; 0: it
                                 asks for none */
};

/** One page of a promise (rule 12): all that is accepted here in slot_first .. slot_last follows as
 * records. The pages of a ballot chain without a gap up to slot_end. */
struct tr_promise {
    struct tr_ballot ballot;
    uint64_t slot_first, slot_last;
    uint64_t slot_end;       /* last slot accepted here */
    uint64_t slot_truncated; /* slots up to here are gone: chosen, applied, in the snapshot */
    uint64_t slot_commit;
    uint32_t record_count;
    uint32_t reserved;
    struct tr_grant grant;
    struct tr_vector vector;
};

struct tr_reject {
    struct tr_ballot ballot;   /* refused */
    struct tr_ballot promised; /* instead */
};

struct tr_fetch {
    uint64_t slot_first, slot_last; /* chosen values wanted */
};

/** Chosen records, in slot order from slot_first. */
struct tr_learn {
    uint64_t slot_first;
    uint64_t slot_truncated;
    uint64_t slot_commit;
    uint32_t record_count;
    uint32_t reserved;
};

/** A batch for the leader of `ballot`; batches of one stream are numbered from 0 and taken in
 * order; a later stream replaces an earlier one. */
struct tr_forward {
    struct tr_ballot ballot;
    uint64_t stream;
    uint64_t index;
    uint32_t payload_crc;
    uint32_t command_count;
};

struct tr_forwarded {
    struct tr_ballot ballot;
    uint64_t stream;
    uint64_t index_next;
    uint32_t incarnation; /* of who forwarded: the streams of its next process begin anew */
    uint32_t reserved;
};

struct tr_read_index {
    struct tr_ballot ballot;
    uint64_t id;
};

struct tr_read_slot {
    struct tr_ballot ballot;
    uint64_t id;
    uint64_t slot;
    uint32_t incarnation; /* of who asked: the ids of its next process begin anew */
    uint32_t reserved;
};

struct tr_snapshot_pull {
    uint64_t slot; /* of the snapshot being pulled; 0: whatever there is */
    uint64_t offset;
    uint32_t chunk_count; /* wanted from there */
    uint32_t reserved;
};

struct tr_snapshot_chunk {
    uint64_t slot, offset, total_bytes;
    uint32_t snapshot_crc;
    uint32_t chunk_crc;
};

enum tr_recover_phase {
    TR_RECOVER_ASK = 1,  /* who knows me? */
    TR_RECOVER_JOIN = 2, /* record my incarnation, fence, tell what you hold */
    TR_RECOVER_PAGE = 3, /* what you have accepted from slot_from on */
};

struct tr_recover {
    uint64_t boot; /* of the asking process */
    uint64_t slot_from;
    uint32_t incarnation; /* JOIN, PAGE: the one chosen */
    uint32_t phase;
};

enum tr_recovered_state {
    TR_RECOVERED_EMPTY = 1, /* the answering process has forgotten too, or is new */
    TR_RECOVERED_NORMAL = 2,
    TR_RECOVERED_PARTIAL = 3, /* forgotten, and not empty any more: it is recovering */
};

struct tr_recovered {
    uint64_t boot; /* of the question */
    uint64_t boot_own;
    uint64_t cluster; /* founded; 0 when EMPTY */
    struct tr_ballot promised;
    uint64_t slot_first, slot_last; /* PAGE: the slots that this page covers */
    uint64_t slot_end, slot_truncated, slot_commit;
    uint32_t phase;
    uint32_t state;
    uint32_t record_count;
    uint32_t incarnation; /* of the question */
    struct tr_vector vector;
};

/** The founding (rule 3): every voter was empty when it answered the founder, in these processes.
 */
struct tr_found {
    uint64_t cluster;
    uint64_t boot[TR_VOTERS_MAX];
};

/** Checks version, lengths, CRC, type, body length and reserved fields, and that ballots and slots
 * of the body are within TR_ROUND_MAX and TR_SLOT_MAX. Returns the message or NULL. Cost: CRC of
 * header and body. */
const struct tr_message *tr_message_open(const void *data, uint32_t bytes);

/** Group and sender of what may be a message, unchecked otherwise: for dispatch. Returns false when
 * it is too short or of another version. */
bool tr_message_peek(const void *data, uint32_t bytes, uint32_t *group, tr_node_id *from);

/** Name of a type, for traces. */
const char *tr_message_name(uint8_t type);

/** The fixed part of a message's body, after its header. */
static inline const void *tr_message_body(const struct tr_message *m)
{
    return m + 1;
}

/** What follows the fixed part of the body: records, pages, bytes of a snapshot. */
static inline const uint8_t *tr_message_tail(const struct tr_message *m)
{
    return (const uint8_t *)(m + 1) + m->body_bytes;
}

/** Sets the CRC of a message whose header and body are complete. */
void tr_message_seal(struct tr_message *m);

#ifdef __cplusplus
}
#endif
#endif
