/*
 * Sessions of this node's application: how commands and reads come in and completions go out.
 *
 * A session is shared by three parties, each the only writer of its own cache lines: the
 * *application* (tr_submit, tr_read, tr_session_poll), the *agent* of the group (proposes what was
 * submitted) and the *apply stage* (completes). Commands stay in the session's memory until they
 * were applied and their completion was taken: they are the retransmission copy.
 *
 * Sequences of commands begin at 1, so do the numbers of reads. For commands
 *     floor <= applied <= submitted, taken <= completed <= submitted
 * where completed can pass applied (deadlines). The agent reads no command up to `floor` any more;
 * the memory of what is below floor and taken may be used again. A lane has twice the room of the
 * window, so that a completion makes room for a submission at once, before the agent has moved its
 * floor: between two visits of the agent at most a window of commands can complete.
 *
 * The application looks at the other parties' cache lines only once in so many items, so that it
 * does not take them away from their writers at every submission.
 *
 * Memory order, each edge with its other end:
 *   (S) the application releases `submitted` after it filled the item; the agent and the apply
 *       stage acquire it.
 *   (C) the apply stage releases `completions` after it filled the completion; the application
 *       acquires it before it takes completions.
 *   (T) whoever takes completions releases `taken`; the application acquires it (it may be the
 *       same thread), and so does the agent, as the acknowledgement that travels in the log.
 *   (A) the apply stage releases `applied`; the application and the agent acquire it.
 *   (F) the agent releases `floor`; the application acquires it before it uses an item again.
 *   (N) the apply stage releases `number` once the log has registered the session; the agent
 *       acquires it.
 *   (W) the application announces that it waits, fences, and looks at `completions` and `state`
 *       before it sleeps; whoever changes one of them fences, and looks whether somebody waits. It
 *       does so only when `waits` says that the application ever waited, which is set once, with
 *       a fence in all threads (tr_membarrier).
 *   (R) the application releases `reply_head` when it is done with the replies before it; the
 *       apply stage acquires it before it writes there.
 *   (Q) the library releases `quiet` after its last callback; when the node is closed, also after
 *       its last access to the session. The application acquires it before it returns from
 *       tr_session_close, and before it ends what a closed node has left pending.
 */
#ifndef TR_DATAPLANE_SESSION_H
#define TR_DATAPLANE_SESSION_H

#include "base/atomic.h"
#include "base/bytes.h"
#include "consensus/record.h"
#include "dataplane/clock.h"
#include "dataplane/idle.h"
#include "trireme/trireme.h"

TR_BEGIN_C

/* One command in so many is timed through the stages. A power of two. */
#define TR_SAMPLE_EVERY 32

/* A read that this node answers from its state as it is: a bit of tr_item.after. */
#define TR_READ_LOCAL (UINT64_C(1) << 63)

/* One command or read in flight. */
struct tr_item {
    void *user;
    uint64_t submitted_ns; /* 0: not stamped */
    uint64_t after;        /* reads: the last command submitted before it, and TR_READ_LOCAL */
    uint32_t offset;       /* of its bytes in the lane */
    uint32_t bytes;
};

/* A queue of items of different sizes, from the application to the other two. */
struct tr_lane {
    struct tr_item *item; /* item n lies at index n & mask */
    uint8_t *memory;
    uint32_t mask, memory_bytes;
    uint32_t window; /* items in flight at most: half of the places */
    uint32_t look;   /* items in flight from which the application looks what came back */
    /* The application's. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 submitted; /* number of the last one (S) */
    uint64_t back_seen;     /* items up to it are not in flight any more */
    uint64_t released_seen; /* items up to it may be used again */
    uint32_t tail;          /* where the next bytes go */
    uint32_t reserved;      /* where the last reservation lies */
};

enum tr_session_state {
    TR_SESSION_OPEN = 0,
    TR_SESSION_EVICTED = 1, /* the log says so: TR_ESESSION */
    TR_SESSION_CLOSED = 2,  /* the node is closed: TR_ECLOSED */
};

/* What the agent does with a session. */
enum tr_session_phase {
    TR_PHASE_UNKNOWN = 0,     /* not admitted yet */
    TR_PHASE_NEW = 1,         /* to be registered */
    TR_PHASE_REGISTERING = 2, /* REGISTER is proposed */
    TR_PHASE_ACTIVE = 3,
    TR_PHASE_CLOSING = 4, /* the application is gone; CLOSE is to be proposed */
    TR_PHASE_ENDING = 5,  /* CLOSE is proposed */
    TR_PHASE_DROPPED = 6, /* the apply stage is to forget it */
    TR_PHASE_GONE = 7,    /* a remote client's: nobody knows it any more */
};

struct tr_group;
struct tr_lcore;
struct tr_node;

struct tr_session {
    /* Constant. */
    struct tr_group *group; /* gone once the node is closed */
    struct tr_node *node;   /* this session is one of its users: the struct stays */
    struct tr_lcore *apply_lcore;
    struct tr_idle_wait *agent_wait; /* of the thread that runs the agent */
    uint64_t deadline_ns;
    void (*on_complete)(void *context, const struct tr_completion *completion);
    void *on_complete_context;
    struct tr_completion *done; /* ring of 2 * window; only without on_complete */
    uint64_t *done_reply_end;   /* position in the reply ring after each */
    uint8_t *reply;             /* ring of reply_bytes */
    uint64_t reply_bytes;       /* power of two */
    uint64_t memory_bytes;      /* of the mapping that begins with this struct */
    uint32_t done_mask;
    uint32_t command_bytes_max;
    uint32_t index;   /* in the group's table of local sessions */
    uint32_t stamped; /* every item is stamped with its time */
    bool pipelined;   /* the apply stage has a thread of its own */
    bool remote;      /* a remote client's: its application is the door (door.h) */
    bool stays;       /* when it closes here it stays in the log: its client goes on elsewhere */
    uint64_t base;    /* remote: the last command that was replied before it came here */
    uint8_t nonce[TR_NONCE_BYTES];

    struct tr_lane command;
    struct tr_lane read;

    /* The application's. */
    TR_ALIGNED(TR_CACHE_LINE) uint64_t completions_taken;
    uint64_t completions_seen;
    tr_atomic_u64 reply_head; /* (R) */
    uint64_t reply_head_next;
    struct tr_clock clock;
    tr_atomic_u32 closing;

    /* Written by who takes completions: the application, or with a callback the apply stage. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 taken; /* (T) */
    tr_atomic_u64 reads_taken;                     /* (T) */

    /* The agent's. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 floor; /* (F) */
    uint64_t proposed;
    uint64_t applied_seen;
    uint64_t reads_asked;
    uint64_t progress_ns; /* when `applied` was last seen to move, or something was proposed anew */
    uint64_t closing_ns;  /* when it was closed */
    uint32_t gaps_seen;
    enum tr_session_phase phase;
    struct tr_session *next; /* in the list of those to be admitted, or freed */
    struct tr_session *closing_next;

    /* The apply stage's. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 applied; /* (A) */
    tr_atomic_u64 completions;                       /* (C) */
    tr_atomic_u64 number;                            /* (N); 0: not registered */
    uint64_t completed;                              /* commands completed, taken or not */
    uint64_t reads_ready, reads_done;
    uint64_t reply_tail;
    uint64_t reply_base; /* where it last began anew at the front: nothing before it is in use */
    tr_atomic_u32 gaps;  /* refusals for a gap: propose again */
    tr_atomic_u32 state; /* enum tr_session_state */
    tr_atomic_u32 quiet; /* no callback comes any more (Q) */
    tr_atomic_u32 gone;  /* the apply stage does not know it any more */
    bool attended;       /* in the apply stage's list of those that it has to look after */

    /* The application waits in tr_session_wait (W). */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u32 waiting;
    tr_atomic_u32 waits;  /* 1: it ever does */
    uint32_t waits_known; /* the application's: every thread is known to see `waits` */
    /* Who may still touch this memory: the application, and the library. */
    tr_atomic_u32 users;
};

/* Item n of a lane. */
static inline struct tr_item *tr_lane_item(const struct tr_lane *lane, uint64_t n)
{
    return &lane->item[n & lane->mask];
}

/* What a session has to know of its group. */
struct tr_session_limits {
    uint32_t command_bytes_max;
    uint32_t reply_bytes_max;
};

/* Bytes of memory that a session of these options takes; 0 when they are refused. */
uint64_t tr_session_memory_bytes(const struct tr_session_options *options,
                                 const struct tr_session_limits *limits);

/* Lays a session out in zeroed memory of so many bytes. clock: a calibrated one, copied. */
struct tr_session *tr_session_init(void *memory, const struct tr_session_options *options,
                                   const struct tr_session_limits *limits,
                                   const struct tr_clock *clock);

/* Hands a completion to the application, by callback or by ring. reply and reply_bytes lie in
 * completion; is_read: 1 for a read, 0 for a command. Returns false when there is no room for the
 * reply now. Thread: apply. */
bool tr_session_deliver(struct tr_session *s, const struct tr_completion *completion, bool is_read);

/* Lets the numbers of a session just laid out begin after `sequence`: it is a remote client's,
 * whose earlier commands have all been replied to. */
void tr_session_begin_after(struct tr_session *s, uint64_t sequence);

/* Number of completions so far. Thread: the door. */
static inline uint64_t tr_session_ready(const struct tr_session *s)
{
    return tr_load_acquire(&s->completions); /* (C) */
}

/* Completion `index` of those that were not given back; it stays until then. Thread: the door. */
static inline const struct tr_completion *tr_session_at(const struct tr_session *s, uint64_t index)
{
    return &s->done[index & s->done_mask];
}

/* Gives completions before `upto` back, as far as the commands among them are acknowledged: those
 * up to `acked`. Thread: the door. */
void tr_session_give_back(struct tr_session *s, uint64_t upto, uint64_t acked);

/* Wakes whoever waits in tr_session_wait, after what it waits for was published (W). Thread: any.
 */
void tr_session_unwait(struct tr_session *s);

TR_END_C

#endif
