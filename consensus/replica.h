/*
 * A replica: one Paxos group on one node, as a pure function of its events.
 *
 *     tr_replica_step(r, event, effects)     nothing fails, blocks or allocates
 *     tr_replica_deadline_ns(r)              when it wants a TIMEOUT event
 *
 * The shell (dataplane/, or the simulator) feeds events in, carries effects out in order, and looks
 * things up with the accessors below between steps. docs/protocol.md argues the protocol rule by
 * rule.
 *
 * Thread: every call on one replica comes from the thread that owns it.
 */
#ifndef TR_CONSENSUS_REPLICA_H
#define TR_CONSENSUS_REPLICA_H

#include "consensus/effect.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tr_level { TR_LEVEL_MEMORY = 0, TR_LEVEL_ASYNC = 1, TR_LEVEL_DISK = 2 };

/** What a replica is made of; constant for its life. */
struct tr_replica_config {
    tr_node_id self;
    uint32_t group;
    uint64_t cluster; /* hash of the cluster's name */
    uint64_t boot;    /* random, new with every start of the process, never 0 */
    uint64_t seed;    /* of the replica's own generator (staggering) */
    enum tr_level level;
    uint32_t voter_count;
    tr_node_id voter[TR_VOTERS_MAX]; /* ascending */
    uint32_t quorum_p1, quorum_p2;
    uint32_t log_slots;         /* power of two */
    uint64_t log_bytes;         /* power of two, at least four times entry_bytes_max */
    uint32_t entry_bytes_max;   /* largest payload of a slot */
    uint32_t message_bytes_max; /* largest message; at least a record of entry_bytes_max and 256 */
    uint32_t message_bytes_aim; /* records are gathered into messages up to about so many bytes */
    uint32_t credit_bytes;      /* unacknowledged bytes a peer, at most */
    uint64_t election_timeout_ns, heartbeat_ns;
    uint64_t
        retransmit_ns; /* first retransmit timeout; adapts to the round trip, never below this */
    uint64_t commit_delay_ns; /* how long the news of a commit may wait for an Accept to ride on */
    uint64_t lease_ns;        /* 0: no lease */
    uint32_t clock_drift_ppm;
};

struct tr_replica;

/** Bytes of memory for a replica of this configuration, or 0 when the configuration is refused;
 * `why` gets a constant sentence then (rules 3, 13). */
uint64_t tr_replica_memory_bytes(const struct tr_replica_config *config, const char **why);

/** Makes a replica in `memory` (aligned to 4096, zeroed). Its first deadline is now. Owns: the
 * caller keeps the memory. */
struct tr_replica *tr_replica_init(void *memory, const struct tr_replica_config *config,
                                   uint64_t now_ns);

/** Takes one event and tells what to do. Cost: bounded; see docs/performance.md for instructions.
 */
void tr_replica_step(struct tr_replica *r, const struct tr_event *event, struct tr_effects *out);

/** When to send a TIMEOUT event, at the latest; UINT64_MAX: never. */
uint64_t tr_replica_deadline_ns(const struct tr_replica *r);

/* ---- looked up by the shell between steps */

/** Room of `bytes` in the log for the payload of the next proposal, to be filled in place and named
 * by the next PROPOSE. NULL when not leader or no room: then PROPOSE from other memory, or wait. */
void *tr_replica_propose_room(struct tr_replica *r, uint32_t bytes);

/** Whether a PROPOSE of `bytes` would be taken now: as a leader's proposal, or forwarded. */
bool tr_replica_can_propose(struct tr_replica *r, uint32_t bytes);

/** The chosen record of a slot that COMMIT has named and APPLIED has not passed by a snapshot;
 * valid until the next step. */
const struct tr_record *tr_replica_entry(const struct tr_replica *r, uint64_t slot);

/** The record that is held for a slot, chosen or not, for PERSIST; NULL when there is none. Valid
 * until the next step. */
const struct tr_record *tr_replica_held(const struct tr_replica *r, uint64_t slot);

/**
 * Encodes the next Accept message for these slots: as many as fit message_bytes_max/aim and lie in
 * few pieces. Returns the last slot in it, or slot_first - 1 when the slots are no longer this
 * leader's to send (the REPLICATE is void then). `header` has TR_MESSAGE_HEADER_BYTES_MAX bytes;
 * piece[0] is the header.
 */
uint64_t tr_replica_accept(struct tr_replica *r, uint64_t slot_first, uint64_t slot_last,
                           void *header, struct tr_piece *piece, uint32_t *piece_count);

/** The grant under which this leader writes into a peer's ring; NULL: by messages. Changes only in
 * a step. */
const struct tr_grant *tr_replica_grant(const struct tr_replica *r, uint8_t peer);

/**
 * The record of a slot for a peer's ring: fills `header` for the grant and `position` (bytes since
 * the grant) and gives the payload. Returns false when the slot is no longer this leader's to send.
 */
bool tr_replica_ring_record(const struct tr_replica *r, uint8_t peer, uint64_t slot,
                            uint64_t position, struct tr_record *header, struct tr_piece *payload);

/** The last slot of first..last up to which none is this leader's to write into a peer's ring: gone
 * from its log, or not proposed again yet; `last` when the ring is not its own any more. Only where
 * tr_replica_ring_record refused slot_first. */
uint64_t tr_replica_ring_void(const struct tr_replica *r, uint8_t peer, uint64_t slot_first,
                              uint64_t slot_last);

/** The header of a snapshot chunk message, for SNAPSHOT_SEND; the chunk's bytes follow it. Returns
 * its length. */
uint32_t tr_replica_snapshot_header(const struct tr_replica *r, uint8_t peer, uint64_t slot,
                                    uint64_t offset, uint64_t total_bytes, uint32_t snapshot_crc,
                                    const void *chunk, uint32_t chunk_bytes, void *header);

/**
 * How many records of the last ENTRIES_SEEN event, from the first, were taken care of. The rest
 * found no room: they stay in the ring, unconsumed, and are handed up again later; a fence ends
 * only when all are.
 */
uint32_t tr_replica_entries_admitted(const struct tr_replica *r);

/** Records from this log position on are referenced by writes in flight and must stay (rule 7);
 * UINT64_MAX: none. */
void tr_replica_pin(struct tr_replica *r, uint64_t position);
/** The log position of a slot's record, for tr_replica_pin; UINT64_MAX when absent. */
uint64_t tr_replica_position(const struct tr_replica *r, uint64_t slot);

/** Breaks one rule on purpose, in builds with canaries (base/canary.h); 0: none. */
void tr_replica_set_canary(struct tr_replica *r, uint32_t canary);

/** Index of a node in the members; TR_MEMBERS_MAX when it is none. */
uint8_t tr_replica_member(const struct tr_replica *r, tr_node_id node);
/** The node at a member index; 0 past the last. */
tr_node_id tr_replica_node(const struct tr_replica *r, uint8_t member);

/** The incarnation of a member as known here, for MEMBER_HINT; 0: none known. */
uint32_t tr_replica_incarnation(const struct tr_replica *r, uint8_t member);

enum tr_replica_role {
    TR_REPLICA_RECOVERING = 0,
    TR_REPLICA_FOLLOWER = 1,
    TR_REPLICA_PRECANDIDATE = 2,
    TR_REPLICA_CANDIDATE = 3,
    TR_REPLICA_LEADER = 4,
    TR_REPLICA_STOPPED = 5
};

/** What a replica has counted since its start. */
struct tr_replica_counts {
    uint64_t proposals, commands, commits, elections_started, elections_won, stepped_down;
    uint64_t accepts_sent, accepts_received, acks_received, retransmits, nacks;
    uint64_t forwards_sent, forwards_received, forwards_dropped, resubmits;
    uint64_t dropped_malformed, dropped_stale, dropped_cluster, dropped_incarnation, dropped_full;
    uint64_t fetches_sent, learns_received, snapshots_made, snapshots_installed, snapshots_damaged,
        snapshot_chunks_sent, snapshot_chunks_received;
    uint64_t written, written_refused, written_broken, entries_seen, fences, fences_superseded;
    uint64_t grants_asked;
    uint64_t reads, read_rounds, lease_reads, recoveries, log_wraps, quorums_void;
};

/** Where a replica stands; for status, tests and checkers. */
struct tr_replica_status {
    enum tr_replica_role role;
    enum tr_stop_reason stop_reason;
    tr_node_id leader;
    struct tr_ballot ballot; /* promised */
    uint32_t incarnation;
    uint64_t slot_first; /* first slot still in the log */
    uint64_t slot_next;  /* first slot never used, as far as known here */
    uint64_t slot_commit, slot_apply, slot_snapshot;
    uint32_t peers_reachable; /* members heard from lately, self included */
    uint32_t peers_one_sided;
    uint64_t log_bytes_used;
    const struct tr_replica_counts *counts;
};

/** Fills *out with where the replica stands. Owns: counts points into the replica. */
void tr_replica_status(const struct tr_replica *r, struct tr_replica_status *out);

#ifdef __cplusplus
}
#endif
#endif
