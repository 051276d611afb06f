/*
 * Records: one log entry as it lies in the log, in Accept messages and in inbound rings. The same
 * 64 bytes of header in all three.
 *
 * In a message and in the log, generation, tag and position are zero. In a ring they are the
 * grant's: together with the two CRCs they tell a whole record of this grant from a torn one, from
 * one of an earlier lap or grant, and from a payload that imitates one (safety rules 4 and 8).
 *
 * The payload of a TR_RECORD_COMMANDS record is a sequence of runs: consecutive commands of one
 * session, so that a batch costs one header and one session look-up.
 */
#ifndef TR_CONSENSUS_RECORD_H
#define TR_CONSENSUS_RECORD_H

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/types.h"
#include "consensus/ballot.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum tr_record_kind {
    TR_RECORD_PAD = 0,      /* fills the end of a ring or of the log's arena; carries nothing */
    TR_RECORD_NOOP = 1,     /* fills a hole, or opens a leadership */
    TR_RECORD_COMMANDS = 2, /* runs of commands */
    TR_RECORD_CONFIG = 3,   /* a membership configuration (rule 14) */
};

/** Header of a record. Little-endian. */
struct tr_record {
    uint64_t generation; /* of the grant; 0 outside of a ring */
    uint64_t tag;        /* of the grant, seeds crc; 0 outside of a ring */
    uint64_t slot;
    struct tr_ballot ballot;
    uint32_t position; /* in the ring since its grant, in units of TR_RECORD_ALIGN, modulo 2^32 */
    uint32_t payload_bytes;
    uint32_t payload_crc; /* CRC32C of the payload, computed once, by the proposer */
    uint32_t commit_lag;  /* slot - slot_commit of the writer when it wrote, saturated: the commit
                             watermark, under `ballot` */
    uint8_t kind;         /* enum tr_record_kind */
    uint8_t reserved8;    /* zero */
    uint16_t command_count;
    uint32_t crc; /* CRC32C of the 60 bytes before, seeded by the tag */
};

/** The header's fields after the tag as the words that its CRC covers. */
struct tr_record_words {
    uint64_t word[5];
    uint32_t last;
};

enum tr_run_kind {
    TR_RUN_COMMANDS = 0, /* commands of a registered session */
    TR_RUN_REGISTER = 1, /* count 1; the payload is a 16-byte nonce; the reply is the session's
                            number (8 bytes); session and sequence are not looked at */
    TR_RUN_CLOSE = 2,    /* count 1, no payload: the session ends; sequence is not looked at */
};

/**
 * Header of a run. After it: when bytes_each is TR_RUN_BYTES_VARY, `count` lengths (uint32_t,
 * padded to 8 bytes together); then the commands, each padded to 8 bytes.
 */
struct tr_run {
    uint64_t session;
    uint64_t
        sequence; /* of the first command, 1 .. TR_SEQUENCE_MAX; the others follow without a gap */
    uint64_t sequence_acked; /* replies up to here have reached the client; of a REGISTER: had, when
                                it came to this node */
    uint32_t bytes_each;     /* of every command, or TR_RUN_BYTES_VARY */
    uint16_t count;          /* 1 .. TR_BATCH_COMMANDS_MAX */
    uint8_t kind;            /* enum tr_run_kind */
    uint8_t reserved8;       /* zero */
};

#define TR_RUN_BYTES_VARY UINT32_MAX
#define TR_NONCE_BYTES    16
/* Sequences of a session begin at 1 and end here: 292 years of one a nanosecond. Nothing overflows
 * when a run's count is added. */
#define TR_SEQUENCE_MAX ((uint64_t)INT64_MAX)

#if defined(__cplusplus)
static_assert(sizeof(struct tr_record) == 64, "a record header is one cache line");
static_assert(sizeof(struct tr_run) == 32, "a run header is half a cache line");
#else
_Static_assert(sizeof(struct tr_record) == 64, "a record header is one cache line");
_Static_assert(offsetof(struct tr_record, crc) == 60, "the CRC covers all before it");
_Static_assert(sizeof(struct tr_run) == 32, "a run header is half a cache line");
#endif

/** Bytes that a record of this payload takes, header and padding included. */
static inline uint32_t tr_record_bytes(uint32_t payload_bytes)
{
    return (uint32_t)((sizeof(struct tr_record) + payload_bytes + TR_RECORD_ALIGN - 1) &
                      ~(uint32_t)(TR_RECORD_ALIGN - 1));
}

/** CRC32C of a header's first 16 bytes outside of a ring: generation and tag are zero. */
#define TR_RECORD_CRC_16 UINT32_C(0x42709aea)

/** tr_record_header_crc of a header outside of a ring: generation and tag must be zero. */
static tr_always_inline uint32_t tr_record_header_crc_unringed(const struct tr_record *record)
{
    return tr_crc32c_fixed(TR_RECORD_CRC_16, &record->slot,
                           offsetof(struct tr_record, crc) - offsetof(struct tr_record, slot));
}

/** CRC of a header, seeded by its tag. */
static inline uint32_t tr_record_header_crc(const struct tr_record *record)
{
    uint32_t seed = (uint32_t)record->tag ^ (uint32_t)(record->tag >> 32);
    return tr_crc32c_fixed(seed, record, offsetof(struct tr_record, crc));
}

/**
 * tr_record_seal where the CRC of the first 16 bytes is known. It reads the fields as they were
 * written, one by one, and leaves whole words: a load that spans two stores waits until both have
 * left the store buffer, behind every store to a peer's ring before them.
 */
static tr_always_inline void tr_record_seal_after(struct tr_record *record, uint32_t crc_16)
{
    struct tr_record_words words;
    words.word[0] = record->slot;
    words.word[1] = record->ballot.round;
    words.word[2] = tr_ballot_low(record->ballot);
    words.word[3] = record->position | (uint64_t)record->payload_bytes << 32;
    words.word[4] = record->payload_crc | (uint64_t)record->commit_lag << 32;
    words.last =
        record->kind | (uint32_t)record->reserved8 << 8 | (uint32_t)record->command_count << 16;
    uint32_t crc = tr_crc32c_fixed(crc_16, &words, sizeof(words.word) + sizeof(words.last));
    tr_store_le64(&record->position, words.word[3]);
    tr_store_le64(&record->payload_crc, words.word[4]);
    tr_store_le64(&record->kind, words.last | (uint64_t)crc << 32);
}

/** Sets the header's CRC over its other fields. */
static tr_always_inline void tr_record_seal(struct tr_record *record)
{
    const uint64_t first[2] = {record->generation, record->tag};
    uint32_t seed = (uint32_t)record->tag ^ (uint32_t)(record->tag >> 32);
    tr_record_seal_after(record, tr_crc32c_fixed(seed, first, sizeof(first)));
}

/** tr_record_seal of a header outside of a ring: generation and tag must be zero. */
static tr_always_inline void tr_record_seal_unringed(struct tr_record *record)
{
    tr_record_seal_after(record, TR_RECORD_CRC_16);
}

/** Whether kind and count agree: a batch has commands, nothing else has. */
static inline bool tr_record_kind_valid(const struct tr_record *record)
{
    uint32_t count = record->command_count;
    return tr_likely(record->kind == TR_RECORD_COMMANDS)
               ? count - 1 < TR_BATCH_COMMANDS_MAX
               : record->kind <= TR_RECORD_CONFIG && count == 0;
}

/** The header's part of tr_record_valid, a PAD's header too. The payload may be absent, or torn. */
static inline bool tr_record_header_valid(const struct tr_record *record)
{
    return tr_record_header_crc(record) == record->crc && tr_record_kind_valid(record) &&
           (record->reserved8 | record->ballot.reserved) == 0 &&
           record->payload_bytes <= TR_ENTRY_BYTES_MAX;
}

/** The payload's part: only after tr_record_header_valid, with tr_record.payload_bytes readable
 * after the header. */
static inline bool tr_record_payload_valid(const struct tr_record *record)
{
    return tr_crc32c(0, record + 1, record->payload_bytes) == record->payload_crc;
}

/** tr_record_valid, where header and payload are known to be readable and within the limits. */
static tr_always_inline bool tr_record_is_whole(const struct tr_record *record)
{
    return tr_record_header_crc(record) == record->crc && tr_record_payload_valid(record) &&
           record->kind != TR_RECORD_PAD && tr_record_kind_valid(record) &&
           (record->reserved8 | record->ballot.reserved) == 0;
}

/**
 * Whether header and payload are whole, the kind known, the reserved bytes zero, the payload within
 * TR_ENTRY_BYTES_MAX, and command_count 1 .. TR_BATCH_COMMANDS_MAX for COMMANDS, 0 for the others;
 * `bytes` is what lies readable at `record`. A PAD is not valid here: nothing but a ring carries
 * one (tr_ring_next). Cost: CRC of header and payload.
 */
static inline bool tr_record_valid(const struct tr_record *record, uint64_t bytes)
{
    return tr_likely(bytes >= sizeof(*record)) && record->payload_bytes <= TR_ENTRY_BYTES_MAX &&
           record->payload_bytes <= bytes - sizeof(*record) && tr_record_is_whole(record);
}

/** One run of a payload, decoded. */
struct tr_run_view {
    const struct tr_run *run;
    const uint32_t *lengths; /* NULL when bytes_each tells */
    const uint8_t *data;     /* the first command */
};

/** Steps through the runs of a payload. Returns true and fills `out`, or false at the end or where
 * the payload is malformed; then *cursor == bytes tells the end from malformed. */
bool tr_run_next(const void *payload, uint32_t bytes, uint32_t *cursor, struct tr_run_view *out);

/** Whether the payload of a record is well formed from end to end and its runs add up to
 * command_count. */
bool tr_runs_valid(const void *payload, uint32_t bytes, uint32_t command_count);

/** Bytes of a run with `count` commands of `bytes_each` bytes, header included. */
static inline uint32_t tr_run_bytes(uint32_t count, uint32_t bytes_each)
{
    return (uint32_t)sizeof(struct tr_run) + count * ((bytes_each + 7u) & ~7u);
}

#ifdef __cplusplus
}
#endif
#endif
