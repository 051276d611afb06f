/* Every compile-time limit of Trireme, with its unit, its reason and the relations between them. */
#ifndef TR_BASE_LIMITS_H
#define TR_BASE_LIMITS_H

/* Voters of one group. Nine survive four failures; more only slow a quorum down. */
#define TR_VOTERS_MAX 9

/* Members of one group, learners and joining voters included. Member sets are 16-bit masks. */
#define TR_MEMBERS_MAX 16

/* Commands in one slot. 256 keep a slot of 64-byte commands within a 16 KiB write, where larger
 * gains nothing. */
#define TR_BATCH_COMMANDS_MAX 256

/* Payload bytes of one slot: the largest command (1 MiB by default) with its run header, or a full
 * batch. */
#define TR_ENTRY_BYTES_MAX (4u << 20)

/* Records start on cache lines, in the log and in rings: no two share a line that one side reads
 * while the other writes. */
#define TR_RECORD_ALIGN 64

/* Slots of a log: a power of two within these. */
#define TR_LOG_SLOTS_MIN 64
#define TR_LOG_SLOTS_MAX (1u << 22)

/* Slots and rounds, in bits: 2^62 of either last for 146 years of one a nanosecond, and nothing
 * overflows when counts are added. What a message claims is held against these. */
#define TR_SLOT_BITS  62
#define TR_ROUND_BITS 62
#define TR_SLOT_MAX   (((uint64_t)1 << TR_SLOT_BITS) - 1)
#define TR_ROUND_MAX  (((uint64_t)1 << TR_ROUND_BITS) - 1)

/* Effects of one step: K effects for every member (a send, a replicate, a snapshot chunk, a fetch)
 * and a fixed part for the replica itself. */
#define TR_EFFECTS_PER_MEMBER 4
#define TR_EFFECTS_MAX        (TR_MEMBERS_MAX * TR_EFFECTS_PER_MEMBER + 32)

/* The longest header of a message with its body (a RECOVERED, with incarnations and processes), and
 * those that one step can encode. */
#define TR_MESSAGE_HEADER_BYTES_MAX 384
#define TR_EFFECTS_SCRATCH_BYTES    (TR_EFFECTS_MAX * TR_MESSAGE_HEADER_BYTES_MAX)

/* Contiguous pieces of the log that one message can gather. */
#define TR_SEND_PIECES_MAX 3

/* Read rounds confirmed and waiting to be applied; more wait unconfirmed. */
#define TR_READS_CONFIRMED_MAX 16

/* Forwarded batches of a follower that its leader has not acknowledged. */
#define TR_FORWARD_WINDOW 64

/* Snapshot bytes of one chunk, and chunks asked for at once. */
#define TR_SNAPSHOT_CHUNK_BYTES   (32u << 10)
#define TR_SNAPSHOT_CHUNKS_WINDOW 4

/* Slots of one fetch request. */
#define TR_FETCH_SLOTS_MAX 256

/* Records that one ENTRIES_SEEN event can carry. */
#define TR_ENTRIES_SEEN_MAX 64

/* Trace records that a replica keeps of its last transitions and drops. */
#define TR_TRACE_RECORDS 256

#endif
