/*
 * A group on this node: the replica (the pure core) and all that carries its effects out.
 *
 * Owned by the lcore of its acceptor stage, which calls tr_group_poll; the apply stage may have a
 * core of its own (apply.h). Files: group.c (life, status, the turn), effects.c (effects in order),
 * hold.c (barriers), replicate.c (REPLICATE by messages), ring_write.c (REPLICATE by one-sided
 * writes), fence.c (this side's rings), submit.c (sessions into batches), images.c (snapshots on
 * their way). The WAL is a module of its own (wal.h).
 */
#ifndef TR_DATAPLANE_GROUP_H
#define TR_DATAPLANE_GROUP_H

#include "base/limits.h"
#include "base/prng.h"
#include "consensus/replica.h"
#include "dataplane/apply.h"
#include "dataplane/hold.h"
#include "dataplane/lcore.h"
#include "dataplane/session.h"
#include "dataplane/wal.h"

#include <pthread.h>

TR_BEGIN_C

/* Ranges of slots that a peer is still to be sent; more are joined. */
#define TR_OUTLET_RANGES 4
/* Messages to one peer in a flush. */
#define TR_FLUSH_MESSAGES 16u
/* Batches that one turn proposes. */
#define TR_SUBMIT_BATCHES 32u
/* Runs of one batch. */
#define TR_SUBMIT_RUNS 64u
/* Payload bytes gathered into a batch of several commands. */
#define TR_BATCH_BYTES (64u << 10)
/* A follower looks into its ring so often: what it has not taken yet is chosen all the same. See
 * docs/decisions/0012-look-seldom.md. */
#define TR_INLET_REST_NS UINT64_C(8000)
/* Bytes of records that one drain of a ring hands up, beside one of the largest size. */
#define TR_DRAIN_BYTES (128u << 10)

struct tr_range {
    uint64_t first, last;
};

/* A write in flight: its header, which the driver may still read (rule 7), and what it carries. */
struct tr_flight {
    TR_ALIGNED(TR_CACHE_LINE) struct tr_record header;
    uint64_t slot;         /* 0: padding */
    uint64_t log_position; /* of its payload */
    uint64_t generation;
};

/* The way to one peer. */
struct tr_outlet {
    struct tr_group *group;
    tr_node_id node;
    uint8_t member;
    uint8_t range_count;
    struct tr_range range[TR_OUTLET_RANGES];
    /* One-sided. */
    uint32_t index; /* the cookie of its writes */
    bool open;      /* `remote` is */
    uint32_t remote;
    uint32_t ring_bytes;
    uint64_t generation;      /* of the grant that was looked at last */
    uint64_t position;        /* where the next record goes */
    uint64_t credit;          /* position that the reader has consumed, as seen last */
    struct tr_flight *flight; /* flight_mask + 1 */
    uint32_t flight_mask;
    uint64_t posted, completed; /* writes */
};

/* This side's ring for one peer. */
struct tr_inbound {
    bool exists;
    struct tr_ring_info info;
};

/* Where a fence stands. */
enum tr_fence_state {
    TR_FENCE_NONE = 0,
    TR_FENCE_CLOSING = 1,  /* the driver's fence is under way */
    TR_FENCE_DRAINING = 2, /* quiescent; what landed is not all taken in yet */
};

/* The inbound side: one grant at most (rule 4). */
struct tr_inlet {
    struct tr_inbound ring[TR_MEMBERS_MAX];
    uint8_t granted; /* member; TR_MEMBERS_MAX: none */
    enum tr_fence_state fence;
    struct tr_ballot ballot; /* of the fence under way */
    tr_node_id owner;
    uint32_t grants; /* counted, for generations */
    struct tr_grant grant;
    uint64_t position;      /* in the granted ring */
    uint64_t position_told; /* to the driver, as consumed */
    uint64_t look_ns;       /* when the ring is looked at again */
    uint8_t *buffer;        /* private copies */
    uint32_t buffer_bytes;
};

/* What tr_group_status reads; a sequence lock with one writer. */
struct tr_group_mirror {
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 sequence; /* odd while it is written */
    uint64_t word[16];
};

/* One command's way through the stages, timed. */
struct tr_sample {
    uint64_t slot; /* 0: none under way */
    uint64_t proposed_ns, chosen_ns;
    bool wants_slot; /* proposed in this step: the REPLICATE tells the slot */
    bool replicated;
};

/* One run of the batch being made. */
struct tr_run_plan {
    struct tr_session *session;
    uint64_t first;
    uint32_t count;
    uint32_t bytes_each; /* or TR_RUN_BYTES_VARY */
    uint32_t bytes;      /* of the run, header included */
    uint32_t kind;       /* enum tr_run_kind */
};

/* Counters of a group; in the segment. */
struct tr_group_stats {
    uint64_t *role, *leader, *ballot_round, *slot_commit, *slot_apply, *slot_snapshot, *slot_first;
    uint64_t *peers_one_sided;
    uint64_t *send_dropped, *session_resubmits, *messages_held, *held_dropped, *storage_failed;
    uint64_t *core[44]; /* struct tr_replica_counts, field by field */
};

struct tr_group {
    struct tr_node *node;
    struct tr_lcore *lcore;
    struct tr_lcore *apply_lcore;
    struct tr_replica *replica;
    struct tr_apply *apply;
    const struct tr_logger *logger;
    struct tr_replica_config config;
    uint32_t number;
    uint8_t member_count;
    uint8_t self;
    bool one_sided;                      /* rings are granted and written */
    uint64_t zeros[TR_RECORD_ALIGN / 8]; /* after the payload of a record that is written */
    uint32_t batch_commands_max;
    uint32_t entry_bytes_max;
    uint32_t message_bytes_max, reply_bytes_max; /* of commands, of replies */
    struct tr_prng random;                       /* of ring tags */
    void (*on_leader)(void *context, struct tr_group *group, uint16_t leader,
                      uint64_t ballot_round);
    void *on_leader_context;

    /* The turn. */
    uint64_t now_ns;
    bool leases;            /* reads may rest on a lease: each step reads the clock */
    uint64_t deadline_ns;   /* of the core */
    uint64_t slot_commit;   /* named by COMMIT */
    uint64_t slot_posted;   /* given to the apply stage */
    uint64_t slot_told;     /* told to the core as applied */
    uint64_t touched_cycle; /* of the lcore, when a message came last */
    uint64_t mirror_ns;     /* when to write the mirror again */
    uint64_t slow_ns;       /* when to look after sessions again */
    uint16_t outlets_due;   /* mask of members with ranges to send */
    uint16_t outlets_stuck; /* of these, those whose queue is full in this flush */
    uint64_t pinned;        /* told to the core by tr_replica_pin */
    uint32_t canary;        /* enum tr_canary, in test builds */
    bool leader_changed;    /* the mirror is out of date */
    uint16_t leader;        /* node that leads as far as is known; 0: none */
    uint64_t leader_round;
    bool stopped;
    bool busy; /* something is left over, or is looked after in every turn */

    struct tr_outlet outlet[TR_MEMBERS_MAX];
    struct tr_inlet inlet;
    struct tr_hold hold;
    /* Where PERSIST goes; levels with a disk only. */
    struct tr_wal *wal;
    void (*persist)(void *context, const struct tr_effect *e);
    uint64_t (*durable)(void *context);
    void *persist_context;

    /* Sessions, as the agent sees them. */
    struct tr_roster sessions;
    struct tr_session **by_index; /* local_max; NULL: free */
    uint32_t local_max;
    uint32_t admit_seen;
    uint32_t session_turn; /* hot session that was asked first */
    uint64_t read_id;
    bool reads_new;     /* sessions were promised an answer to read_id + 1 */
    uint64_t submit_ns; /* not before: the last batch was rejected */
    bool rejected;      /* in the step just made */
    uint32_t run_count;
    struct tr_run_plan run[TR_SUBMIT_RUNS];
    uint8_t *staging; /* a batch that the log has no room for in place; entry_bytes_max */
    struct tr_sample sample;

    /* Snapshots. */
    uint8_t image_latest; /* TR_IMAGES: none */
    uint8_t image_making, image_incoming;
    bool making, installing;
    uint64_t latest_slot, latest_bytes;
    uint64_t incoming_slot;

    struct tr_group_stats stats;
    struct tr_group_mirror mirror;
    tr_atomic_u32 campaign; /* set by any thread */

    /* Sessions that come and go, from any thread. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u32 admit_sequence; /* released under the lock */
    pthread_mutex_t lock;
    struct tr_session *admit_list, *closing_list, *dead_list; /* under the lock */
    uint32_t local_count;
    uint64_t sessions_bytes;       /* mapped */
    struct tr_prng session_random; /* of nonces; under the lock */

    struct tr_effects effects; /* last: it is large */
};

/* ---- group.c */

/* One event into the core, and its effects out. */
void tr_group_step(struct tr_group *g, struct tr_event *event);
/* A received message for this group; `more`: others of the burst follow. */
void tr_group_message(struct tr_group *g, const struct tr_rx *rx, bool more);
/* What the port says of a member. */
void tr_group_peer_event(struct tr_group *g, const struct tr_port_event *event);
/* A turn: timers, submissions, what is left over. Returns the work done. */
uint32_t tr_group_poll(struct tr_group *g, uint64_t now_ns);
/* The part of a turn that takes on what sessions have. Returns the work done. */
uint32_t tr_group_submit(struct tr_group *g, uint64_t now_ns);
/* Carries on whatever the last steps started: sending, applying, telling the core. */
uint32_t tr_group_settle(struct tr_group *g);

/* ---- status.c */

/* Writes what tr_group_status reads. */
void tr_group_mirror(struct tr_group *g);
/* Adds the group's rows to the counters segment; writes their values. */
void tr_group_add_counters(struct tr_group *g, struct tr_counters *c);
void tr_group_publish(struct tr_group *g);

/* ---- effects.c */

/* Carries out, or holds back, the effects of the step just made. */
void tr_effects_run(struct tr_group *g);
void tr_effect_carry_out(struct tr_group *g, const struct tr_effect *e);
/* Asks the disk how far it is, tells the core, carries out what was held back. Returns the work. */
uint32_t tr_effects_durable(struct tr_group *g);

/* ---- replicate.c */

/* Takes slots up to `last` off the first range. */
void tr_outlet_sent(struct tr_group *g, struct tr_outlet *o, uint64_t last);
/* Adds slots to what a peer is to be sent. */
void tr_outlet_add(struct tr_outlet *o, uint64_t first, uint64_t last);
/* Sends what is due, as far as drivers take it. Returns messages and writes taken. */
uint32_t tr_replicate_flush(struct tr_group *g);
/* Offers messages, each peer's queue on its own. Returns a mask of those taken. */
uint32_t tr_send_burst(struct tr_lcore *l, const struct tr_tx *tx, uint32_t count);

/* ---- ring_write.c */

/* Whether slots for this peer go into its ring now; opens the ring of a new grant. */
bool tr_ring_write_ready(struct tr_group *g, struct tr_outlet *o);
/* Writes the ranges of a peer into its ring, within its credit. Returns records written. */
uint32_t tr_ring_write(struct tr_group *g, struct tr_outlet *o);
/* Takes `count` completions of one outlet, of one kind. */
void tr_ring_written(struct tr_group *g, struct tr_outlet *o, enum tr_write_status status,
                     uint32_t count);
/* Tells the core which records writes in flight still read (rule 7). Before any step that follows
 * on posts. */
void tr_ring_pin(struct tr_group *g);

/* ---- fence.c */

/* Takes in what a peer wrote into its ring. Returns records. */
uint32_t tr_inlet_drain(struct tr_group *g);
/* FENCE: from here on the grant is being revoked. */
void tr_inlet_fence(struct tr_group *g, struct tr_ballot ballot, tr_node_id owner);
/* Carries a fence on. Returns 1 when it ended. */
uint32_t tr_inlet_fence_poll(struct tr_group *g);

/* The ring was looked at, and nothing more is there. The leader does not wait for this core, but
 * for every cache line that it takes away: so it looks again after a while, or at once where the
 * node's own application works. */
static inline void tr_inlet_rest(struct tr_group *g)
{
    if (g->sessions.hot == 0)
        g->inlet.look_ns = g->now_ns + TR_INLET_REST_NS;
}

/* Whether something new may have landed in the granted ring: one load, if it is time. */
static inline bool tr_inlet_has_news(struct tr_group *g)
{
    struct tr_inlet *in = &g->inlet;
    if (in->granted >= TR_MEMBERS_MAX || g->now_ns < in->look_ns)
        return false;
    const struct tr_ring_info *info = &in->ring[in->granted].info;
    const volatile uint8_t *at = info->memory + (in->position & (info->bytes - 1));
    uint64_t word = tr_load_relaxed(
        (const volatile uint64_t *)(const volatile void *)(at +
                                                           offsetof(struct tr_record, position)));
    if ((uint32_t)word == (uint32_t)(in->position / TR_RECORD_ALIGN) &&
        tr_load_relaxed((const volatile uint64_t *)(const volatile void *)at) ==
            in->grant.generation)
        return true;
    tr_inlet_rest(g);
    return false;
}

/* Whether a turn would find nothing but what sessions have, as far as that can be seen at a glance:
 * what changes seldom is looked at in other turns. */
static inline bool tr_group_is_quiet(struct tr_group *g)
{
    return !g->busy && g->now_ns < g->deadline_ns && !tr_inlet_has_news(g);
}

/* ---- submit.c */

/* Whether a session that had work lately has more: two loads each. */
static inline bool tr_submit_has_news(const struct tr_group *g)
{
    for (uint32_t i = 0; i < g->sessions.hot; i++) {
        const struct tr_session *s = (const struct tr_session *)g->sessions.member[i].who;
        if (tr_load_relaxed(&s->command.submitted) != s->proposed ||
            tr_load_relaxed(&s->read.submitted) != s->reads_asked)
            return true;
    }
    return false;
}

/* Proposes what the sessions have. Returns commands and reads taken on. */
uint32_t tr_submit_poll(struct tr_group *g);
/* Everything proposed and not applied is to be proposed again. */
void tr_submit_again(struct tr_group *g);
/* Sessions that were opened and closed meanwhile. */
void tr_submit_admit(struct tr_group *g);
/* Takes on the session of a remote client: registers it, or finds it registered. Returns false when
 * the apply stage has no room for that now. */
bool tr_submit_attach(struct tr_group *g, struct tr_session *s);
/* Lets go of it; its phase is TR_PHASE_GONE when the library does not touch it any more. stays: it
 * is not closed in the log. Returns as attach. */
bool tr_submit_detach(struct tr_group *g, struct tr_session *s, bool stays);
/* Looks after sessions whose progress stopped. */
void tr_submit_slow(struct tr_group *g);

/* ---- images.c */

/* SNAPSHOT_MAKE: the apply stage makes one, in an image that nobody uses. */
void tr_image_make(struct tr_group *g);
/* SNAPSHOT_SEND: chunks of the latest one. */
void tr_image_send(struct tr_group *g, const struct tr_effect *e);
/* SNAPSHOT_STORE: a chunk of the one that is arriving. */
void tr_image_store(struct tr_group *g, const struct tr_effect *e);
/* SNAPSHOT_INSTALL: the apply stage restores the one that has arrived. */
void tr_image_install(struct tr_group *g, const struct tr_effect *e);
/* Tells the core of snapshots made and installed. Returns how many. */
uint32_t tr_image_results(struct tr_group *g);

TR_END_C

#endif
