/*
 * Sessions: exactly once, on every replica, whatever is retried (safety rule 15).
 *
 * The table is replicated state: every replica runs the same runs through it in log order, so
 * everything here depends on the log alone. It belongs to the apply stage. A session applies its
 * commands contiguously: what was applied is answered from the cache, the next is applied, a gap is
 * refused (and may come again later).
 *
 * When the table is full, a REGISTER evicts the session that the log named longest ago. An evicted
 * session is gone: its later commands are refused, its number is never used again.
 *
 * Replies stay until the client acknowledges them (tr_run.sequence_acked). They lie in a ring of
 * bytes in the order of the log; where the ring comes round to a run of replies that is still
 * wanted, that run moves on, to the front. So the ring is full of what is wanted, not of what was
 * written since. Its limits are shares of its bytes:
 *
 * - TR_REPLY_RUN_SHARE: the replies of one run. Larger ones are not kept: the commands are applied
 *   once all the same, but a retry of them finds no reply.
 * - TR_REPLY_SESSION_SHARE: what one session may have moved.
 * - TR_REPLY_MOVED_SHARE: what all sessions together may have moved.
 *
 * A session whose next run of replies can not move for these limits is evicted: it has left replies
 * unacknowledged for a whole lap of the ring, and too many.
 *
 * Source: Ongaro, "Consensus: Bridging Theory and Practice", section 6.3.
 */
#ifndef TR_CONSENSUS_SESSION_H
#define TR_CONSENSUS_SESSION_H

#include "consensus/record.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sessions of a table: their numbers fit 32-bit indices with room for a hash table half full. */
#define TR_SESSIONS_MAX (1u << 20)
/* Bytes of the reply cache, a power of two within these: the smallest still has a unit in every
 * share, the largest fits 32-bit unit counts. */
#define TR_REPLY_BYTES_MIN (1u << 12)
#define TR_REPLY_BYTES_MAX (UINT64_C(1) << 36)
/* Shares of the reply cache, as divisors. What is spare is twice what a session may move: a run of
 * that size, and what is skipped at the ring's end to keep it in one piece. */
#define TR_REPLY_RUN_SHARE     4
#define TR_REPLY_SESSION_SHARE 16
#define TR_REPLY_MOVED_SHARE   4
#define TR_REPLY_SPARE_SHARE   8

/* The ring of replies is divided into units. */
#define TR_REPLY_UNIT 32

/** A session of the table. */
struct tr_session_entry {
    uint64_t number;       /* 0: free */
    uint64_t applied;      /* sequence of the last command applied; 0: none */
    uint64_t acked;        /* <= applied: the client has the replies up to here */
    uint64_t replies_last; /* position of its last run of replies; the others are chained from
                              there, down to units_tail */
    uint8_t nonce[TR_NONCE_BYTES];
    uint32_t older; /* in the order of the last touch: a ring through the entry at sessions_max */
    uint32_t newer;
    uint32_t units_moved; /* of its runs of replies in the ring that have moved */
    uint32_t reserved;
};

/** The table. Every position is in units since the beginning of time, which is at `units`; what
 * lies at it is replies[position & (units - 1)]. */
struct tr_sessions {
    struct tr_session_entry *entry; /* sessions_max + 1: the last is the ends of the order of touch,
                                       and never a session */
    uint32_t *by_number, *by_nonce; /* open addressing: index + 1, or 0 */
    struct tr_replies_run *replies;
    uint64_t units_head;   /* where the next run of replies goes */
    uint64_t units_tail;   /* <= units_head: the oldest run of replies that may still be wanted */
    uint64_t units;        /* of the ring */
    uint64_t units_usable; /* head - tail is at most this between calls: the rest is where runs move
                              to */
    uint64_t units_moved;  /* sum over the sessions */
    uint32_t last;         /* index of the session looked up last */
    uint32_t vacant; /* first entry without a session, chained by `newer`; sessions_max: none */
    uint32_t count;  /* of sessions */
    uint32_t sessions_max;
    uint32_t hash_shift; /* 64 - log2(hash_mask + 1) */
    uint32_t hash_mask;
    uint32_t canary; /* enum tr_session_canary, in test builds */
    uint64_t evicted_count, uncached_count, moved_count; /* for counters; not part of the state */
};

/** The bugs that a test build can have on purpose (base/canary.h). */
enum tr_session_canary {
    TR_CANARY_SESSION_NONE = 0,
    TR_CANARY_SESSION_SKIP_SHORT = 1,  /* a duplicate's last command is applied again */
    TR_CANARY_SESSION_GAP_APPLIED = 2, /* a gap is jumped over */
    TR_CANARY_SESSION_EVICT_BY_INDEX =
        3, /* who has to go depends on where it lies in this replica's memory */
    TR_CANARY_SESSION_ACKED_EARLY = 4,     /* the acknowledgement of a run covers the run itself */
    TR_CANARY_SESSION_UNKNOWN_APPLIED = 5, /* an evicted session is taken up again */
    TR_CANARY_SESSION_REPLY_OVERTAKEN =
        6, /* the ring comes round to a reply that is wanted, and overwrites it */
    TR_CANARY_SESSION_LOAD_REORDERS = 7, /* a restored table forgets who was touched last */
    TR_CANARY_SESSION_NUMBER_REUSED = 8, /* numbers count sessions alive, not log positions */
};

/** Bytes of memory of a table for so many sessions (1 .. TR_SESSIONS_MAX) and so many bytes of
 * replies. Returns 0 when the limits are not kept. */
uint64_t tr_sessions_memory_bytes(uint32_t sessions_max, uint64_t reply_bytes);
/** Makes an empty table in memory of that many bytes, aligned to 64. Owns: the caller keeps the
 * memory. */
struct tr_sessions *tr_sessions_init(void *memory, uint32_t sessions_max, uint64_t reply_bytes);

enum tr_verdict {
    TR_VERDICT_APPLY = 1,   /* apply the commands from `skip` on, then tr_sessions_complete; those
                               before it were applied earlier */
    TR_VERDICT_GAP = 2,     /* refused: commands before it have not been applied */
    TR_VERDICT_UNKNOWN = 3, /* refused: no such session (never registered, evicted, closed) */
    TR_VERDICT_DONE = 4,    /* REGISTER or CLOSE: carried out here; `session` tells which */
};

struct tr_admission {
    enum tr_verdict verdict;
    uint32_t skip;    /* commands at the front of the run that are duplicates; may be all of them */
    uint64_t session; /* REGISTER: the session's number, new or as before for the same nonce; CLOSE:
                         the number closed */
    uint64_t evicted; /* number of a session that had to go for this REGISTER; 0: none */
};

/**
 * Judges one run, as tr_run_next gave it, of the entry at `slot`; run_index counts the runs of the
 * entry. The next run only after tr_sessions_complete of this one when it was to be applied. Cost:
 * about 25 instructions for the session touched last.
 */
void tr_sessions_admit(struct tr_sessions *t, uint64_t slot, uint32_t run_index,
                       const struct tr_run_view *run, struct tr_admission *out);

/**
 * Takes the commands of a run from `skip` on as applied, and keeps their replies: `lengths` of each
 * (NULL: all are empty), and the bytes, each reply padded to 8, replies_bytes together. Returns how
 * many sessions had to be evicted for room; this one may be among them. Who owns sessions asks
 * tr_sessions_applied about them then. Cost: about 35 instructions and the copy.
 */
uint32_t tr_sessions_complete(struct tr_sessions *t, const struct tr_run_view *run, uint32_t skip,
                              const uint32_t *lengths, const void *replies, uint64_t replies_bytes);

/** The cached reply of a command, valid until the next change of the table. Returns false when it
 * is not cached (acknowledged, never applied, or too large). Cost: a step a run of replies that the
 * session has had since. */
bool tr_sessions_reply(const struct tr_sessions *t, uint64_t session, uint64_t sequence,
                       const void **data, uint32_t *bytes);

/** Last sequence applied of a session (0: none yet), or UINT64_MAX when there is no such session.
 */
uint64_t tr_sessions_applied(const struct tr_sessions *t, uint64_t session);

/** Sessions registered. */
uint32_t tr_sessions_count(const struct tr_sessions *t);

/** Serialises the whole table: calls `put` with pieces of a multiple of 8 bytes; the bytes depend
 * on the log alone. Returns 0 or the first nonzero that put returned. Cost: a step a run of replies
 * that is wanted, and one a run since the last save. */
int tr_sessions_save(struct tr_sessions *t,
                     int (*put)(void *context, const void *data, uint64_t bytes), void *context);
/** Replaces the table by a saved one. Returns bytes consumed, or 0 when it is malformed or of other
 * limits (the table is then empty). */
uint64_t tr_sessions_load(struct tr_sessions *t, const void *data, uint64_t bytes);
/** A digest of the table; equal on replicas that applied the same slots. Cost: as tr_sessions_save.
 */
uint64_t tr_sessions_digest(struct tr_sessions *t);

#ifdef __cplusplus
}
#endif
#endif
