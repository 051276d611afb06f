/*
 * The apply stage of a group: runs chosen entries through the session table and the state machine,
 * completes the commands and reads of this node's sessions, makes and restores snapshots.
 *
 * It is called by the group's agent on the same core (run to completion), or runs on a core of its
 * own, joined by rings: then a slow state machine delays replies, never the acceptor. Either way
 * the agent speaks through tr_apply_post and the words below, so that there is one code for both.
 *
 * Memory order between agent and apply stage, besides the rings' own:
 *   (P) the apply stage releases `slot_applied` after it is done with the entries up to there; the
 *       agent acquires it before it lets the log recycle them.
 *   (Y) the agent releases `read_ready`; the apply stage acquires it before it answers reads.
 */
#ifndef TR_DATAPLANE_APPLY_H
#define TR_DATAPLANE_APPLY_H

#include "base/histogram.h"
#include "base/limits.h"
#include "base/ring_spsc.h"
#include "consensus/record.h"
#include "consensus/session.h"
#include "dataplane/counters.h"
#include "dataplane/log.h"
#include "dataplane/session.h"
#include "trireme/trireme.h"

TR_BEGIN_C

/* Messages from the agent that may wait: entries mostly. */
#define TR_APPLY_INBOX 4096u
/* Of these, kept for what is not an entry. */
#define TR_APPLY_INBOX_SPARE 256u
/* Rounds of reads that may wait. */
#define TR_APPLY_ASKED 4096u
/* Entries that one poll of the apply stage takes on. */
#define TR_APPLY_BURST 256u
/* Reply bytes of one apply call: bounds the commands that are given at once. */
#define TR_APPLY_REPLY_BYTES (UINT64_C(16) << 20)

enum tr_apply_what {
    TR_APPLY_ENTRY = 1,   /* a chosen entry: slot, at */
    TR_APPLY_ADD = 2,     /* a session opened here: at */
    TR_APPLY_QUIET = 3,   /* it is being closed: no callback any more: at */
    TR_APPLY_DROP = 4,    /* it is closed: at */
    TR_APPLY_LOCAL = 5,   /* it has local reads: at */
    TR_APPLY_MAKE = 6,    /* make a snapshot in image `image` */
    TR_APPLY_INSTALL = 7, /* restore image `image` as of `slot` */
};

/* One message of the agent. */
struct tr_apply_message {
    uint64_t slot;
    const void *at;
    uint64_t bytes; /* INSTALL */
    uint32_t crc;
    uint16_t image;
    uint16_t what; /* enum tr_apply_what */
};

/* A round of reads that the agent asked the core about. */
struct tr_apply_asked {
    struct tr_session *session; /* NULL: gone */
    uint64_t upto;              /* reads of it up to this number */
    uint64_t id;
};

/* What became of a MAKE or an INSTALL. */
struct tr_apply_result {
    uint64_t slot, bytes;
    uint32_t crc;
    int32_t status;
    uint32_t image;
    uint32_t installed; /* 1: INSTALL, 0: MAKE */
    uint32_t lost;      /* 1: it failed half-way, and table or state machine are not whole */
};

/* A snapshot in memory. Written by the agent while it arrives, by the apply stage while it is made;
 * never by both. */
struct tr_image {
    uint8_t *data; /* snapshot_bytes_max */
};

/* The latest, one being made, one arriving. */
#define TR_IMAGES 3

/* Histograms and counters that the apply stage writes; of its lcore. */
struct tr_apply_stats {
    struct tr_histogram *apply, *complete;
    uint64_t *commands, *duplicates, *gaps, *unknown, *reads, *completions, *expired, *malformed;
};

/* The replies of one apply call. */
struct tr_replies {
    uint8_t *buffer; /* buffer_bytes, twice what the largest call may need */
    uint64_t buffer_bytes, used;
    uint32_t reply_bytes_max;
    uint32_t count;  /* commands of the call */
    uint32_t next;   /* replies below are set or stay empty */
    bool disordered; /* set out of order, or twice */
    uint32_t length[TR_BATCH_COMMANDS_MAX];
    uint64_t offset[TR_BATCH_COMMANDS_MAX];
};

/* The reply of one read. */
struct tr_reply {
    uint8_t *buffer;
    uint32_t reply_bytes_max;
    uint32_t bytes;
};

struct tr_apply {
    /* Constant. */
    struct tr_state_machine machine;
    const struct tr_logger *logger;
    uint32_t group;
    uint16_t self;
    bool pipelined;
    uint32_t chunk; /* commands that one apply call takes at most */
    uint32_t local_max;
    uint32_t remote_first; /* indices from here on are for sessions of remote clients */
    uint64_t image_bytes;
    struct tr_session **local; /* by index; NULL: none */
    uint64_t *remote_number;   /* of each remote client's session, once known; 0: none */
    struct tr_session **attended;
    struct tr_image image[TR_IMAGES];
    struct tr_apply_stats stats;
    struct tr_ring_spsc *inbox;   /* struct tr_apply_message; only when pipelined */
    struct tr_ring_spsc *asked;   /* struct tr_apply_asked */
    struct tr_ring_spsc *results; /* struct tr_apply_result */

    /* The agent's. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 read_ready; /* (Y) */

    /* The apply stage's. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 slot_applied; /* (P) */
    uint64_t now_ns;
    uint64_t deadline_ns; /* when the next session's deadline may pass */
    uint64_t read_ready_seen;
    struct tr_clock *clock;
    struct tr_sessions *sessions;
    uint32_t attended_count;
    uint32_t local_count;
    uint32_t remote_count; /* of these, of remote clients */
    bool stopped;          /* the state machine refused a snapshot: nothing is applied any more */
    tr_atomic_u64 digest_slot, digest; /* digest of the state at that slot */
    tr_atomic_u64 digest_wanted;       /* written by whoever asks */
    struct tr_command command[TR_BATCH_COMMANDS_MAX];
    struct tr_replies replies;
    struct tr_reply reply;
};

/* What tr_apply_init needs. */
struct tr_apply_options {
    struct tr_state_machine machine;
    const struct tr_logger *logger;
    uint32_t group;
    uint16_t self;
    bool pipelined;
    uint32_t sessions_max;
    uint32_t remote_max; /* sessions of remote clients attached here */
    uint64_t reply_cache_bytes;
    uint32_t reply_bytes_max;
    uint32_t batch_commands_max;
    uint64_t snapshot_bytes_max;
};

/* Memory: touched at once, and mapped untouched. */
struct tr_apply_memory {
    uint64_t bytes;
    uint64_t bytes_untouched;
};
/* What an apply stage of these options needs. */
struct tr_apply_memory tr_apply_memory_bytes(const struct tr_apply_options *options);
/* Makes an apply stage in zeroed memory (aligned to a page each). Stats and clock are set by the
 * caller. */
struct tr_apply *tr_apply_init(const struct tr_apply_options *options, void *memory,
                               void *untouched);

/* Whether `count` messages can be posted now. Thread: agent. */
bool tr_apply_can_post(struct tr_apply *a, uint32_t count);
/* Gives the apply stage something to do: at once when it is on the same core. Thread: agent. */
void tr_apply_post(struct tr_apply *a, const struct tr_apply_message *message);
/* Tells which reads may be answered. Thread: agent. */
void tr_apply_reads_ready(struct tr_apply *a, uint64_t id);

/* One turn of an apply stage: its inbox when it has one, reads, deadlines, sessions that wait for
 * room. Returns the work done. Thread: apply. */
uint32_t tr_apply_poll(struct tr_apply *a, uint64_t now_ns);
/* Ends one session of a closed node: what is pending is completed with TR_ECLOSED, by callback
 * here, else by the application when it looks. The library does not touch the session afterwards.
 * Thread: after the apply stage's. */
void tr_apply_abandon(struct tr_apply *a, struct tr_session *s);

/* ---- between the files of the apply stage */

/* The local session of a run that was just admitted, or NULL. */
struct tr_session *tr_apply_owner(struct tr_apply *a, uint64_t number);
/* Completes commands `first` .. `first + count - 1` of a local session with their replies. */
void tr_complete_commands(struct tr_apply *a, struct tr_session *s, uint64_t first, uint64_t slot,
                          const struct tr_replies *replies);
/* Commands of a run up to this sequence were applied before it came: a remote client's that sent
 * them through another node gets its replies from the cache. */
void tr_complete_skipped(struct tr_apply *a, uint64_t number, uint64_t sequence);
/* Delivers what is applied and not yet delivered, from the reply cache. */
void tr_complete_from_cache(struct tr_apply *a, struct tr_session *s);
/* Answers the reads of a session that can be answered. Returns how many. */
uint32_t tr_complete_reads(struct tr_apply *a, struct tr_session *s);
/* Answers the reads that read_ready covers. Returns how many rounds were taken on. */
uint32_t tr_complete_asked(struct tr_apply *a);
/* Marks local sessions that the table does not know any more, and completes what they wait for. */
void tr_complete_evicted(struct tr_apply *a);
/* Puts a session on the list of those to look after. */
void tr_complete_attend(struct tr_apply *a, struct tr_session *s);
/* Looks after the sessions of the list. Returns completions delivered. */
uint32_t tr_complete_attended(struct tr_apply *a);
/* Completes what is past its deadline. Returns completions delivered. */
uint32_t tr_complete_expired(struct tr_apply *a);
/* Completes everything pending of a session with one status. */
void tr_complete_all(struct tr_apply *a, struct tr_session *s, int status);
/* Forgets a session that is closed. */
void tr_complete_drop(struct tr_apply *a, struct tr_session *s);

/* Empties the replies for an apply call of `count` commands. */
static inline void tr_replies_begin(struct tr_replies *r, uint32_t count)
{
    r->used = 0;
    r->count = count;
    r->next = 0;
    r->disordered = false;
}
/* Completes them: lengths of all, the bytes in the order of the commands, each padded to 8. Returns
 * where they lie. */
const uint8_t *tr_replies_finish(struct tr_replies *r);

/* Makes a snapshot of the table and the state machine in an image. */
void tr_snapshot_make(struct tr_apply *a, uint32_t image, struct tr_apply_result *out);
/* Restores both from an image. */
void tr_snapshot_install(struct tr_apply *a, const struct tr_apply_message *m,
                         struct tr_apply_result *out);

TR_END_C

#endif
