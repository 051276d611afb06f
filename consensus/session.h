/*
 * Sessions: exactly once, on every replica, whatever is retried (safety rule 15).
 *
 * The table is replicated state: every replica runs the same runs through it in log order, so
 * everything here depends on the log alone. It belongs to the apply stage. A session applies its
 * commands contiguously: what was applied is answered from the cache, the next is applied, a gap is
 * refused (and may come again later). Replies stay until the client acknowledges them
 * (tr_run.sequence_acked), within a cache of fixed size; when the table or the cache is full, the
 * session that the log touched longest ago is evicted, and its later commands are refused with
 * TR_ESESSION. Source: Ongaro, "Consensus: Bridging Theory and Practice", section 6.3.
 */
#ifndef TR_CONSENSUS_SESSION_H
#define TR_CONSENSUS_SESSION_H

#include "consensus/record.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tr_sessions;

/** Bytes of memory of a table for so many sessions and so many bytes of replies (power of two). */
uint64_t tr_sessions_memory_bytes(uint32_t sessions_max, uint64_t reply_bytes);
struct tr_sessions *tr_sessions_init(void *memory, uint32_t sessions_max, uint64_t reply_bytes);

enum tr_verdict {
    TR_VERDICT_APPLY =
        1, /* apply the commands from `skip` on; those before it were applied earlier */
    TR_VERDICT_GAP = 2,     /* refused: commands before it have not been applied */
    TR_VERDICT_UNKNOWN = 3, /* refused: no such session (never registered, evicted, closed) */
    TR_VERDICT_DONE = 4,    /* REGISTER or CLOSE: carried out here; `session` tells which */
};

struct tr_admission {
    enum tr_verdict verdict;
    uint32_t skip;    /* commands at the front of the run that are duplicates */
    uint64_t session; /* REGISTER: the session's number, new or as before for the same nonce */
    uint64_t evicted; /* number of a session that had to go; 0: none */
};

/** Judges one run of the entry at `slot`; the next run only after tr_sessions_complete of this one
 * when it was to be applied. */
void tr_sessions_admit(struct tr_sessions *t, uint64_t slot, uint32_t run_index,
                       const struct tr_run_view *run, struct tr_admission *out);

/**
 * Keeps the replies of the commands of a run that was just applied, from `skip` on: `count`
 * replies, lengths first, then the bytes, each padded to 8. Returns the number of a session that
 * had to be evicted for room, or 0 (the session itself is never: replies above the whole cache are
 * cut off at open).
 */
uint64_t tr_sessions_complete(struct tr_sessions *t, uint64_t slot, const struct tr_run_view *run,
                              uint32_t skip, const uint32_t *lengths, const void *replies,
                              uint64_t replies_bytes);

/** The cached reply of a command. Returns false when it is not cached (acknowledged, or never
 * applied). */
bool tr_sessions_reply(const struct tr_sessions *t, uint64_t session, uint64_t sequence,
                       const void **data, uint32_t *bytes);

/** Last sequence applied of a session, or UINT64_MAX when there is no such session. */
uint64_t tr_sessions_applied(const struct tr_sessions *t, uint64_t session);

uint32_t tr_sessions_count(const struct tr_sessions *t);

/** Serialises the whole table: calls `put` with pieces, in an order that depends on the log alone.
 * Returns 0 or the first nonzero that put returned. */
int tr_sessions_save(const struct tr_sessions *t,
                     int (*put)(void *context, const void *data, uint64_t bytes), void *context);
/** Replaces the table by a saved one. Returns bytes consumed, or 0 when it is malformed or of other
 * limits (the table is then empty). */
uint64_t tr_sessions_load(struct tr_sessions *t, const void *data, uint64_t bytes);
/** A digest of the table; equal on replicas that applied the same slots. */
uint64_t tr_sessions_digest(const struct tr_sessions *t);

#ifdef __cplusplus
}
#endif
#endif
