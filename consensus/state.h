/*
 * The state of a replica, and the calls between the modules of the core. Read by consensus/, by the
 * invariants module and by tests; never by the shell.
 *
 * Modules: replica (dispatch, timers, look-ups) · send (encoding) · proposer (propose, replicate,
 * count acknowledgements, commit) · acceptor (promise, accept, fences) · election (pre-vote, phase
 * 1, stepping down) · learner (chosen values, fetching, apply, snapshots) · read (read-index,
 * lease) · forward · recovery (founding, crash vectors).
 */
#ifndef TR_CONSENSUS_STATE_H
#define TR_CONSENSUS_STATE_H

#include "base/assert.h"
#include "base/canary.h"
#include "base/types.h"
#include "consensus/canary.h"
#include "consensus/log.h"
#include "consensus/message.h"
#include "consensus/replica.h"

#include <string.h>

TR_BEGIN_C

#define TR_NEVER UINT64_MAX

/** What is left over from earlier steps of this cycle; makes the deadline "now". */
enum tr_pending {
    TR_PENDING_ACK = 1u << 0,       /* an ACCEPTED to the leader */
    TR_PENDING_COMMIT = 1u << 1,    /* try to apply more of the chosen prefix */
    TR_PENDING_RESTAMP = 1u << 2,   /* a new leader's re-proposals go on */
    TR_PENDING_PROBE = 1u << 3,     /* a heartbeat at once: somebody reads */
    TR_PENDING_REPLICATE = 1u << 4, /* some peer can be sent more */
    TR_PENDING_FORWARDED = 1u << 5, /* batches of followers to acknowledge */
};

enum tr_timer {
    TR_TIMER_HEARTBEAT = 0,  /* leader */
    TR_TIMER_ELECTION = 1,   /* all but the leader: stand for election */
    TR_TIMER_RETRANSMIT = 2, /* leader: look for peers that are behind */
    TR_TIMER_COMMIT = 3,     /* leader: tell of commits that no Accept took along */
    TR_TIMER_FETCH = 4,      /* ask again for chosen values */
    TR_TIMER_PHASE = 5,      /* candidate: ask again */
    TR_TIMER_RECOVER = 6,
    TR_TIMER_PULL = 7, /* ask again for snapshot chunks */
    TR_TIMER_FORWARD = 8,
    TR_TIMER_READ = 9,
    TR_TIMERS = 10,
};

/** What this replica knows of another member. */
struct tr_peer {
    tr_node_id node;
    bool voter;
    uint64_t heard_ns;

    /* Leader: reset with every ballot of its own and every incarnation of the peer. */
    uint64_t slot_acked;   /* cumulative, at this leader's ballot */
    uint64_t slot_sent;    /* REPLICATE went out up to here */
    uint64_t slot_written; /* one-sided: WRITTEN up to here */
    uint64_t slot_recyclable;
    uint64_t slot_apply;
    uint64_t stamp_acked;  /* highest stamp echoed */
    uint64_t lease_stamp;  /* highest stamp echoed with a lease */
    uint64_t resend_ns;    /* not before */
    uint64_t progress_ns;  /* last time that slot_acked moved, or was level with slot_sent */
    uint64_t rtt_ns;       /* smoothed */
    struct tr_grant grant; /* generation 0: by messages */
    uint64_t grant_vector_hash;
    uint64_t ring_ns;      /* since when it replicates through the grant */
    uint64_t ring_ask_ns;  /* when it is asked for another, if it has none */
    uint64_t ring_wait_ns; /* between two times that it is asked */
    bool ring;             /* replicates through the grant */
    bool bitmap;           /* has acknowledged out of order: look at tr_slot.acked */

    /* Never reset: the newest grant of it that was used, by its generation. None that is not newer
     * is taken: it was lost, or is over. */
    uint64_t generation_used;

    /* Candidate. */
    bool prevoted, promised; /* promised: the chain of pages is complete */
    uint64_t page_next;      /* first slot of the next page */
    uint64_t page_commit;    /* the highest commit that it told of: whom to fetch from */

    /* Forwarding: as leader, the next batch of this follower. */
    uint64_t forward_next, forward_stream;
    bool forward_ack;

    /* Reads that this follower asked for, as leader. */
    uint64_t read_id, read_stamp, read_slot; /* read_id 0: none */

    /* Recovery of this replica: what the peer answered. */
    uint8_t recovered_state; /* enum tr_recovered_state; 0: nothing yet */
    bool recovered_joined, recovered_paged;
    uint64_t recovered_boot, recovered_cluster, recovered_end, recovered_next, recovered_commit;
    uint32_t recovered_incarnation; /* of this replica, as known to the peer */
    uint32_t recovered_own;         /* of the peer */

    /* Recovery of the peer: it waits for a fence here. */
    bool recover_waits;
    uint64_t recover_boot;
    uint64_t empty_boot; /* last process of it that this replica, empty, answered */
};

struct tr_trace_record {
    uint64_t now_ns;
    uint64_t a, b;
    uint16_t what; /* enum tr_trace_what */
    uint8_t peer, type;
    uint32_t reserved;
};

enum tr_trace_what {
    TR_TRACE_NONE = 0,
    TR_TRACE_DROP_MALFORMED,
    TR_TRACE_DROP_STALE,
    TR_TRACE_DROP_CLUSTER,
    TR_TRACE_DROP_INCARNATION,
    TR_TRACE_DROP_FULL,
    TR_TRACE_DROP_ROLE,
    TR_TRACE_PREVOTE,
    TR_TRACE_CANDIDATE,
    TR_TRACE_ELECTED,
    TR_TRACE_STEPPED_DOWN,
    TR_TRACE_FOLLOWS,
    TR_TRACE_PROMISED,
    TR_TRACE_FENCED,
    TR_TRACE_RESENT,
    TR_TRACE_FETCHED,
    TR_TRACE_RING,
    TR_TRACE_RING_LOST,
    TR_TRACE_VECTOR,
    TR_TRACE_RECOVERING,
    TR_TRACE_FOUNDED,
    TR_TRACE_RECOVERED,
    TR_TRACE_STOPPED,
    TR_TRACE_SNAPSHOT,
    TR_TRACE_INSTALL,
    TR_TRACE_WHATS,
};

struct tr_replica {
    struct tr_replica_config config;
    struct tr_effects *out;     /* of the step under way */
    struct tr_effect *sending;  /* the SEND that is being encoded */
    struct tr_message *message; /* its header */
    uint64_t now_ns;            /* of the step under way */
    uint32_t canary;
    uint8_t self; /* own member index */
    uint8_t member_count;
    uint16_t others; /* mask of the other voters */
    enum tr_replica_role role;
    enum tr_stop_reason stop_reason;

    /* Identity. */
    uint64_t cluster;              /* founded; 0 while recovering */
    uint64_t boots[TR_VOTERS_MAX]; /* of the founding */
    struct tr_vector vector;       /* incarnations known; own included */
    uint64_t vector_hash;

    /* Acceptor. promised never falls; nothing below it is accepted from a message. */
    struct tr_ballot promised;
    struct tr_ballot fencing;    /* the ballot of the fence under way; none: quiescent */
    bool promise_due;            /* answer the owner of `promised` when fenced */
    uint64_t promise_from;       /* first slot of the page it asked for */
    struct tr_grant grant;       /* given to the owner of `promised`; generation 0: none */
    uint64_t lease_until_ns;     /* promises are withheld until then (rule 16) */
    uint64_t forgotten_until_ns; /* so are those of the ballot that it came back with */

    /* Follower's acknowledgement: every slot in (watermark, slot_contiguous] is accepted at exactly
     * `ack_ballot`. */
    struct tr_ballot ack_ballot;
    uint64_t slot_contiguous;
    uint64_t slot_contiguous_base; /* lowest slot from which that holds without the watermark */
    uint64_t slot_heard;           /* highest slot received at ack_ballot */
    uint64_t stamp_heard;          /* highest stamp of ack_ballot */
    uint32_t entries_admitted;     /* of the last ENTRIES_SEEN */

    /* Learner. slot_apply <= slot_commit; everything up to slot_commit is present as chosen, or in
     * the snapshot. */
    uint64_t slot_commit, slot_apply, slot_snapshot;
    uint64_t slot_known;           /* highest slot known to be chosen, here or elsewhere */
    struct tr_ballot known_ballot; /* slots up to known_slot are chosen at it where held at it */
    uint64_t known_slot;
    uint64_t fetch_last; /* last slot of the fetch under way; 0: none */
    uint8_t fetch_peer;
    uint8_t install_failures; /* since the last snapshot that could be installed */
    bool snapshot_making;
    uint64_t snapshot_bytes;
    uint64_t snapshot_head;          /* where the log goes on after it */
    uint64_t snapshot_pulled_ns;     /* last time that somebody pulled it */
    uint64_t snapshot_not_before_ns; /* the last one failed: another then */
    uint64_t stall_slot;             /* chosen when stall_ns began */
    uint64_t stall_ns;               /* since when the leader has entries that do not come */
    uint32_t snapshot_crc;

    /* The snapshot being pulled. */
    uint8_t pull_peer;
    bool pulling, installing, pull_silent;
    uint64_t pull_slot, pull_offset, pull_total, pull_asked;
    uint32_t pull_crc;

    /* Leader known. */
    uint8_t leader; /* member index; TR_MEMBERS_MAX: none */
    uint64_t leader_heard_ns;

    /* Proposer. */
    struct tr_ballot ballot; /* own, as candidate or leader */
    uint64_t round_seen;
    uint64_t slot_next;   /* first slot that this leader has not used */
    uint64_t slot_opened; /* the no-op that opened this leadership */
    uint64_t slot_restamp,
        slot_restamp_last;  /* re-proposals still to do: slot_restamp <= slot_restamp_last */
    uint64_t slot_durable;  /* own log is durable up to here; at level memory everything is */
    uint64_t stamp;         /* last used */
    uint64_t contact_stamp; /* a Q2 has echoed stamps up to here */
    uint64_t slot_news;     /* commit watermark that the followers were last told */
    uint64_t room_slot, room_position; /* proposals below these have room */
    struct tr_record *room;            /* that tr_replica_propose_room gave */
    uint32_t room_bytes;               /* of its payload; 0: none is out */

    /* Forwarding, as follower. */
    uint64_t forward_stream;
    uint64_t forward_sent, forward_acked;

    /* Reads of this node. */
    uint64_t read_id_last;          /* newest asked */
    uint64_t read_id_round;         /* newest of the round under way; 0: none */
    uint64_t read_id_ready;         /* newest answered */
    uint64_t read_stamp, read_slot; /* leader: of the round under way */
    uint32_t read_waiting;          /* leader: rounds, own and followers', that wait for a Q2 */
    struct {
        uint64_t id, slot;
    } read_confirmed[TR_READS_CONFIRMED_MAX];
    uint32_t read_confirmed_head, read_confirmed_tail;

    /* Recovery. */
    uint32_t recover_phase;
    uint64_t recover_started_ns;
    uint64_t recover_target; /* chosen values are needed up to here */

    /* PERSIST and BARRIER. */
    uint64_t persist_sequence;
    struct {
        uint64_t sequence, slot;
    } persist_own[64]; /* own entries under way to the disk, a ring */
    uint32_t persist_own_head, persist_own_tail;

    uint32_t pending; /* mask of enum tr_pending */
    uint64_t timer[TR_TIMERS];
    uint64_t deadline_ns; /* not after the earliest timer; exact only after a TIMEOUT */
    uint64_t random[1];   /* state of the staggering */

    struct tr_replica_counts count;
    struct tr_log log;
    struct tr_peer peer[TR_MEMBERS_MAX];
    struct tr_trace_record trace[TR_TRACE_RECORDS];
    uint32_t trace_next;
};

/* ---- replica.c */

/** Sets a timer; it never moves the deadline later. */
static inline void tr_timer_set(struct tr_replica *r, enum tr_timer timer, uint64_t at_ns)
{
    r->timer[timer] = at_ns;
    if (at_ns < r->deadline_ns) {
        r->deadline_ns = at_ns;
    }
}

/** Stops a timer; the deadline may still be the one that it had set. */
static inline void tr_timer_stop(struct tr_replica *r, enum tr_timer timer)
{
    r->timer[timer] = TR_NEVER;
}

/** A number below `bound` (> 0) from the replica's own generator. */
uint64_t tr_replica_random(struct tr_replica *r, uint64_t bound);
/** Adds a record to the trace. */
void tr_trace(struct tr_replica *r, enum tr_trace_what what, uint8_t peer, uint8_t type, uint64_t a,
              uint64_t b);
/** A new effect of this step. */
static inline struct tr_effect *tr_effect_add(struct tr_replica *r, enum tr_effect_type type)
{
    tr_assert(r->out->count < TR_EFFECTS_MAX);
    struct tr_effect *effect = &r->out->item[r->out->count++];
    effect->type = (uint8_t)type;
    effect->peer = TR_MEMBERS_MAX;
    effect->peers = 0;
    effect->piece_count = 0;
    return effect;
}

/** The set that holds this one member, by its index. */
static inline uint16_t tr_mask(uint8_t member)
{
    return (uint16_t)(1u << member);
}

/* ---- send.c: encoding */

/** Completes the header of a message. */
static inline void tr_send_header(const struct tr_replica *r, struct tr_message *m,
                                  enum tr_message_type type, uint16_t body_bytes)
{
    m->crc = 0;
    m->version = TR_MESSAGE_VERSION;
    m->type = (uint8_t)type;
    m->from = r->config.self;
    m->group = r->config.group;
    m->body_bytes = body_bytes;
    m->reserved = 0;
    m->cluster = type >= TR_MESSAGE_RECOVER ? r->config.cluster : r->cluster;
    m->incarnation = r->vector.incarnation[r->self];
    m->tail_bytes = 0;
}
/** tr_send_begin, but its body is still to be filled, every byte. */
static inline void *tr_send_open(struct tr_replica *r, uint16_t peers, enum tr_message_type type,
                                 uint16_t body_bytes)
{
    struct tr_effect *effect = tr_effect_add(r, TR_EFFECT_SEND);
    struct tr_message *m = (struct tr_message *)(void *)(r->out->scratch + r->out->scratch_used);
    r->out->scratch_used += (uint32_t)sizeof(*m) + body_bytes;
    tr_assert(r->out->scratch_used <= sizeof(r->out->scratch));
    effect->peers = peers;
    effect->piece_count = 1;
    effect->u.send.piece[0].data = m;
    effect->u.send.piece[0].bytes = (uint32_t)sizeof(*m) + body_bytes;
    tr_send_header(r, m, type, body_bytes);
    r->sending = effect;
    r->message = m;
    return m + 1;
}
/** Begins a message to `peers` in a SEND effect; returns its zeroed body of the type's size.
 * tr_send_finish completes it. */
void *tr_send_begin(struct tr_replica *r, uint16_t peers, enum tr_message_type type,
                    uint16_t body_bytes);
/** Completes the message begun last; the pieces added to its effect are its tail. */
void tr_send_finish(struct tr_replica *r);
/** Adds records of the slots first..last that are present (and chosen, when asked) to the message
 * begun, as many as fit its size and pieces; *count records; returns the last slot covered (absent
 * ones are skipped). */
uint64_t tr_send_records(struct tr_replica *r, uint64_t slot_first, uint64_t slot_last,
                         enum tr_slot_state least, uint32_t *count);
/** Adds other memory as the tail of the message begun. */
void tr_send_tail(struct tr_replica *r, const void *data, uint32_t bytes);

/** An iterator over the records of a tail, each validated. */
struct tr_tail {
    const uint8_t *next;
    uint32_t left;
    uint32_t entry_bytes_max;
};
/** The records of a message. */
static inline struct tr_tail tr_tail_of(const struct tr_replica *r, const struct tr_message *m)
{
    struct tr_tail tail = {tr_message_tail(m), m->tail_bytes, r->config.entry_bytes_max};
    return tail;
}
/** The next record, or NULL at the end or where it is malformed (then left is not 0). */
static tr_always_inline const struct tr_record *tr_tail_next(struct tr_tail *tail)
{
    const struct tr_record *record = (const struct tr_record *)(const void *)tail->next;
    /* A larger one than the group's limit would fit no promise, and so be missing from it. */
    if (tr_unlikely(tail->left < sizeof(*record) ||
                    record->payload_bytes > tail->entry_bytes_max)) {
        return NULL;
    }
    uint32_t bytes = tr_record_bytes(record->payload_bytes);
    if (tr_unlikely(bytes > tail->left || record->generation != 0 || !tr_record_is_whole(record))) {
        return NULL;
    }
    tail->next += bytes;
    tail->left -= bytes;
    return record;
}

/* ---- vector of incarnations (recovery.c) */

/** Takes over what another knows of incarnations; voids what a later incarnation voids (rule 2).
 * Returns true when anything was new. */
bool tr_vector_merge(struct tr_replica *r, const struct tr_vector *other);
/** Learns one incarnation, and which process it is (0: not told). */
bool tr_vector_raise(struct tr_replica *r, uint8_t member, uint32_t incarnation, uint64_t boot);
/** Whether two vectors know the same incarnations. */
bool tr_vector_equal(const struct tr_vector *a, const struct tr_vector *b);
/** The hash of the own vector, as acknowledgements carry it. */
uint64_t tr_vector_hash(const struct tr_replica *r);
/** Sends the own vector. */
void tr_vector_send(struct tr_replica *r, uint16_t peers);
void tr_recv_vector(struct tr_replica *r, uint8_t from, const struct tr_message *m);

/* ---- proposer.c */
void tr_proposer_propose(struct tr_replica *r, const struct tr_event *ev);
/** Appends a proposal from memory outside of the log. Returns false when there is no room. */
bool tr_proposer_append(struct tr_replica *r, enum tr_record_kind kind, const void *payload,
                        uint32_t bytes, uint32_t crc, uint32_t command_count);
void tr_proposer_written(struct tr_replica *r, const struct tr_event *ev);
void tr_proposer_durable(struct tr_replica *r, const struct tr_event *ev);
void tr_recv_accepted(struct tr_replica *r, uint8_t from, const struct tr_message *m);
/** Sends REPLICATE to every peer that can take more. */
void tr_proposer_replicate(struct tr_replica *r);
void tr_proposer_retransmit(struct tr_replica *r);
void tr_proposer_restamp(struct tr_replica *r);
void tr_proposer_heartbeat(struct tr_replica *r);
/** Hands an own entry to the disk. */
void tr_proposer_persist(struct tr_replica *r, uint64_t slot);
/** Recounts how far a Q2 has echoed the leader's stamps. */
void tr_proposer_contact(struct tr_replica *r);
/** Forgets what a peer acknowledged: a new ballot, or a new incarnation of it. */
void tr_proposer_reset_peer(struct tr_replica *r, uint8_t peer);
/** Recounts the commit. */
void tr_proposer_count(struct tr_replica *r);
/** A stamp for what is sent now: unique, rising, the clock's when it can be. */
uint64_t tr_proposer_stamp(struct tr_replica *r);
/** Time since a Q2 was last heard, as leader. */
uint64_t tr_proposer_contact_age_ns(const struct tr_replica *r);
/** Whether the leader's own log may grow by this. */
bool tr_proposer_has_room(struct tr_replica *r, uint32_t payload_bytes);

/** Whether nothing came from a peer for so long that nothing is sent to it any more. */
bool tr_proposer_is_silent(const struct tr_replica *r, uint8_t peer);
/** The slot up to which a peer's own acknowledgements say nothing new: what is chosen need not be
 * acknowledged. */
static inline uint64_t tr_peer_base(const struct tr_replica *r, const struct tr_peer *p)
{
    return p->slot_acked > r->slot_commit ? p->slot_acked : r->slot_commit;
}

/* ---- grant.c: the grants of the followers, as their leader holds them */
void tr_grant_take(struct tr_replica *r, uint8_t peer, const struct tr_grant *grant);
/** Has no grant of a peer: a new ballot, or a new incarnation of it. */
void tr_grant_forget(struct tr_replica *r, uint8_t peer);
/** A write failed: this ring is written to no more. */
void tr_grant_lost(struct tr_replica *r, uint8_t peer);
/** A promise that comes after the election: the peer grants its ring now, or again. */
void tr_grant_offered(struct tr_replica *r, uint8_t from, const struct tr_promise *p);
/** Asks those whose ring was lost for another. */
void tr_grant_ask(struct tr_replica *r);

/* ---- acceptor.c */
void tr_recv_accept(struct tr_replica *r, uint8_t from, const struct tr_message *m);
void tr_recv_heartbeat(struct tr_replica *r, uint8_t from, const struct tr_message *m);
void tr_recv_prepare(struct tr_replica *r, uint8_t from, const struct tr_message *m);
void tr_acceptor_entries(struct tr_replica *r, const struct tr_event *ev);
void tr_acceptor_fenced(struct tr_replica *r, const struct tr_event *ev);
/** Raises the promise and starts the fence that must end before anybody is told. */
void tr_acceptor_promise(struct tr_replica *r, struct tr_ballot ballot);
/** Fences and grants again under the ballot promised: rings whose grant knows too little must not
 * count any more. */
void tr_acceptor_refence(struct tr_replica *r);
/** Sends the acknowledgement that is due. */
void tr_acceptor_ack(struct tr_replica *r);

/* ---- election.c */
void tr_election_timeout(struct tr_replica *r);
void tr_election_phase_timeout(struct tr_replica *r);
void tr_election_campaign(struct tr_replica *r);
void tr_election_fenced(struct tr_replica *r);
/** Somebody's phase 1 makes progress: gives it a whole timeout. */
void tr_election_wait(struct tr_replica *r);
/** The leader is said to be dead: stand by rank at once. */
void tr_election_suspect(struct tr_replica *r);
/** Puts the election timer off: a leader in good standing was heard. */
void tr_election_defer(struct tr_replica *r);
/** Follows a leader, or nobody (TR_MEMBERS_MAX). */
void tr_election_follow(struct tr_replica *r, uint8_t leader);
/** Becomes leader once phase 1 is complete and every value chosen before is here. */
void tr_election_try_lead(struct tr_replica *r);
void tr_recv_prevote(struct tr_replica *r, uint8_t from, const struct tr_message *m);
void tr_recv_prevoted(struct tr_replica *r, uint8_t from, const struct tr_message *m);
void tr_recv_promise(struct tr_replica *r, uint8_t from, const struct tr_message *m);
void tr_recv_reject(struct tr_replica *r, uint8_t from, const struct tr_message *m);

/* ---- learner.c */

/** Slots up to `slot` are chosen: at `ballot` where held at it. */
void tr_learner_watermark(struct tr_replica *r, struct tr_ballot ballot, uint64_t slot);
/** Moves slot_commit over what is present and known to be chosen, emits COMMIT. */
void tr_learner_advance(struct tr_replica *r);
/** The leader's own count says so. */
void tr_learner_chosen(struct tr_replica *r, uint64_t slot);
/** A leader whose next slot is this was heard: wants room for what it may have none to write to. */
void tr_learner_await(struct tr_replica *r, uint64_t slot_next);
/** The log is full: wants a snapshot, if one would make room. */
void tr_learner_want_room(struct tr_replica *r);
/** The log is full: closes its holes when no entry is being applied, and wants a snapshot. */
void tr_learner_make_room(struct tr_replica *r);
void tr_learner_applied(struct tr_replica *r, const struct tr_event *ev);
void tr_learner_snapshot_done(struct tr_replica *r, const struct tr_event *ev);
void tr_learner_fetch(struct tr_replica *r);
void tr_learner_pull(struct tr_replica *r);
void tr_learner_pull_timeout(struct tr_replica *r);
void tr_recv_fetch(struct tr_replica *r, uint8_t from, const struct tr_message *m);
void tr_recv_learn(struct tr_replica *r, uint8_t from, const struct tr_message *m);
void tr_recv_snapshot_pull(struct tr_replica *r, uint8_t from, const struct tr_message *m);
void tr_recv_snapshot_chunk(struct tr_replica *r, uint8_t from, const struct tr_message *m);

/* ---- read.c */
void tr_read_event(struct tr_replica *r, const struct tr_event *ev);
/** Confirms what the contact with a Q2 now confirms. */
void tr_read_confirm(struct tr_replica *r);
/** The leader changed: what is under way is asked again. */
void tr_read_restart(struct tr_replica *r);
/** Answers what is confirmed and applied. */
void tr_read_answer(struct tr_replica *r);
void tr_read_timeout(struct tr_replica *r);
/** Whether the leader lease holds now. */
bool tr_read_lease_holds(const struct tr_replica *r);
void tr_recv_read_index(struct tr_replica *r, uint8_t from, const struct tr_message *m);
void tr_recv_read_slot(struct tr_replica *r, uint8_t from, const struct tr_message *m);

/* ---- forward.c */
/** Whether another batch may be forwarded now. */
bool tr_forward_can(const struct tr_replica *r);
void tr_forward_batch(struct tr_replica *r, const struct tr_event *ev);
void tr_forward_timeout(struct tr_replica *r);
/** The leader changed: whatever was forwarded may be lost. */
void tr_forward_reset(struct tr_replica *r);
/** Acknowledges the batches taken in this cycle. */
void tr_forward_ack(struct tr_replica *r);
void tr_recv_forward(struct tr_replica *r, uint8_t from, const struct tr_message *m);
void tr_recv_forwarded(struct tr_replica *r, uint8_t from, const struct tr_message *m);

/* ---- recovery.c */
void tr_recovery_timeout(struct tr_replica *r);
/** Goes on when something arrived that recovery waits for. */
void tr_recovery_proceed(struct tr_replica *r);
/** Answers peers whose JOIN waited for the fence. */
void tr_recovery_fenced(struct tr_replica *r);
void tr_recv_recover(struct tr_replica *r, uint8_t from, const struct tr_message *m);
void tr_recv_recovered(struct tr_replica *r, uint8_t from, const struct tr_message *m);
void tr_recv_found(struct tr_replica *r, uint8_t from, const struct tr_message *m);
/** Replies that recovery needs: N - min(Q1, Q2) + 1. */
uint32_t tr_recovery_quorum(const struct tr_replica_config *config);

TR_END_C

#endif
