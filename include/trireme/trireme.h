/*
 * Trireme: a log kept identical on several machines within microseconds.
 *
 * A *node* is this process's membership in a cluster. It runs *groups*: independent replicated
 * logs, each feeding one state machine of yours. Work enters through a *session*: commands
 * submitted through it are applied exactly once on every replica, in order, and completed to you
 * with the reply. Reads are linearizable and cost no log entry.
 *
 * Threads. Either the library runs its polling threads (tr_node_start), or you own the thread and
 * call tr_poll() in your loop. Each call below says which thread may make it:
 *   - "setup": before tr_node_start or the first tr_poll, from one thread;
 *   - "session": the one thread that uses this session at a time (different sessions: different
 *     threads, no locks);
 *   - "any": any thread, any time between open and close.
 * A callback runs on the apply or the polling thread that its comment names, inside tr_poll when
 * you poll; it must not block, and may not close its node.
 *
 * Every options structure begins with its own size (use the _INIT macros), so that fields can be
 * added without breaking you. Calls return 0 or a negative enum tr_error (tr_strerror tells it in
 * words); outputs are written only on success. What only a bug of the caller can break (tr_poll on
 * a node that was started) ends the process with a sentence on the standard error.
 *
 * In its process the library has no mutable global state, prints nothing (the log callback gets all
 * lines) and installs no signal handlers; its threads block all signals but those of faults. On its
 * machine it leaves files in /dev/shm: a node's counters, the shm driver's memory, a table of the
 * polling threads. fork(): a child may not use handles of its parent, not even to close them; it
 * may open its own, and the parent's go on.
 *
 * docs/embedding.md walks through whole programs.
 */
#ifndef TRIREME_TRIREME_H
#define TRIREME_TRIREME_H

#include <stddef.h>
#include <stdint.h>

#include <trireme/error.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define TR_VERSION_MAJOR 0
#define TR_VERSION_MINOR 1
#define TR_VERSION_PATCH 0

/** The version of the library that is linked, as "MAJOR.MINOR.PATCH"; TR_VERSION_* is that of this
 * header. Thread: any. Owns: nothing, the text is constant. */
const char *tr_version(void);

struct tr_node;
struct tr_group;
struct tr_session;

/* ------------------------------------------------------------------------------------------------
 * the state machine */

/** One command to apply. The bytes are valid during the call, and may not be written. */
struct tr_command {
    const void *data;
    uint32_t bytes;
    uint32_t origin; /* node whose session submitted it, 0: a remote client's; for diagnosis, the
                        same on every replica */
    uint64_t session;
    uint64_t sequence;
};

struct tr_replies; /* the replies of one apply call */
struct tr_reply;   /* the reply of one read */
struct tr_writer;  /* a snapshot being made */
struct tr_reader;  /* a snapshot being restored */

/**
 * Your state machine: a table of functions and a context.
 *
 * Determinism contract: apply must depend on nothing but the state and the commands (no clock, no
 * randomness, no addresses, no iteration order of hashed pointers), since every replica runs it and
 * must come out the same, replies included. A command that makes no sense is answered, not asserted
 * on: it is in the log, and every replica meets it. snapshot and restore carry the whole state.
 *
 * Thread: all are called from the group's apply thread, one at a time: the polling thread of
 * apply_lcore, else of lcore. They must not block, call tr_session_wait or close the node; with an
 * apply_lcore of its own a slow one delays the replies and the reads of this node, without one all
 * that its core does. Owns: context stays yours, and must live until tr_node_close has returned.
 */
struct tr_state_machine {
    size_t struct_bytes; /* sizeof(struct tr_state_machine) */
    void *context;
    /** Applies commands in order: 1 to batch_commands_max of one session. A slot may take several
     * calls, or none. A reply that is not set is empty. */
    void (*apply)(void *context, uint64_t slot, const struct tr_command *commands, uint32_t count,
                  struct tr_replies *replies);
    /** Answers a query from the state without changing it. Returns 0 or a negative code, which
     * becomes the completion's status. */
    int (*read)(void *context, const void *query, uint32_t bytes, struct tr_reply *reply);
    /** Writes the whole state. Returns 0 or a negative code (the snapshot is given up and tried
     * again later; without one the log fills up and the group comes to a stop). */
    int (*snapshot)(void *context, struct tr_writer *writer);
    /** Replaces the whole state, of any age. Returns 0 or a negative code (the replica applies
     * nothing any more, and says so). */
    int (*restore)(void *context, struct tr_reader *reader);
    /** Optional: a digest of the state, compared between replicas by tests and tools. */
    uint64_t (*digest)(void *context);
};

/** Room for the reply to command `index` of this apply call, to be filled before apply returns.
 * NULL when bytes is above the group's reply limit. Thread: in apply. Cost: none but the writing,
 * in the order of the commands; else the replies are moved into it once. */
void *tr_replies_reserve(struct tr_replies *replies, uint32_t index, uint32_t bytes);
/** Sets the reply to command `index`. Returns 0 or TR_ETOOBIG. Thread: in apply. Cost: a copy. */
int tr_replies_set(struct tr_replies *replies, uint32_t index, const void *data, uint32_t bytes);
/** Room for the reply of a read. NULL when bytes is above the group's reply limit. Thread: in read.
 */
void *tr_reply_reserve(struct tr_reply *reply, uint32_t bytes);
/** Sets the reply of a read. Returns 0 or TR_ETOOBIG. Thread: in read. Cost: a copy. */
int tr_reply_set(struct tr_reply *reply, const void *data, uint32_t bytes);
/** Appends to a snapshot. Returns 0 or TR_EFULL (above snapshot_bytes_max, in which the session
 * table has room, too). Thread: in snapshot. Cost: a copy. */
int tr_writer_put(struct tr_writer *writer, const void *data, size_t bytes);
/** Reads the next bytes of a snapshot, all or nothing. Returns 0 or TR_EPROTO (it is shorter).
 * Thread: in restore. */
int tr_reader_get(struct tr_reader *reader, void *data, size_t bytes);
/** A view of the next bytes of a snapshot without copying; NULL when it is shorter. Valid until
 * restore returns. Thread: in restore. */
const void *tr_reader_view(struct tr_reader *reader, size_t bytes);
/** Bytes not read yet. Thread: in restore. */
size_t tr_reader_left(const struct tr_reader *reader);

/* ------------------------------------------------------------------------------------------------
 * nodes */

enum tr_log_level { TR_LOG_ERROR = 0, TR_LOG_WARN = 1, TR_LOG_INFO = 2, TR_LOG_DEBUG = 3 };

/** Called for each log line, from any of the library's threads and from calls of yours, several at
 * a time; never on the poll path of a healthy cluster. The line begins "CLUSTER.NODE: ", has no
 * newline, and is valid during the call. */
typedef void (*tr_log_fn)(void *context, enum tr_log_level level, const char *line);

/** How a polling thread of the library waits when there is nothing to do; tr_poll never waits. */
enum tr_idle {
    TR_IDLE_AUTO = 0, /* spin when there is a CPU for every polling thread of the machine that we
                         know of, else adapt: pause, yield, park */
    TR_IDLE_SPIN = 1,
    TR_IDLE_PAUSE = 2,
    TR_IDLE_YIELD = 3,
    TR_IDLE_SLEEP =
        4, /* spin a little, then sleep up to 50 us at a time: for machines that are shared */
};

/** A member of the cluster and where it is reached, in the driver's syntax: "HOST:PORT" (udp),
 * "shm:NAME". */
struct tr_peer {
    uint16_t node; /* 1 .. 65535 */
    const char *address;
};

#define TR_LCORES_MAX 64

/** In place of the number of a CPU. */
#define TR_CPU_NEAR (-1) /* near the device of the node's port, where a machine has NUMA nodes */
#define TR_CPU_ANY  (-2) /* wherever the system lets it run */

/** Options of a node; what they point to is copied, but for fabric and log_context. */
struct tr_node_options {
    size_t struct_bytes;
    const char
        *cluster;  /* name of the cluster; nodes of other clusters are refused. Default "trireme" */
    uint16_t node; /* own id, one of the peers */
    const struct tr_peer *peers;
    uint32_t peer_count;        /* own entry included */
    const char *driver;         /* "shm", "udp", "loop", ...; default "udp" */
    const char *driver_options; /* "key=value,..."; see docs/configuration.md. May be NULL */
    uint32_t lcore_count;       /* polling threads; default 1 */
    const int *lcore_cpus;      /* CPU to pin each to, TR_CPU_NEAR or TR_CPU_ANY; NULL: near */
    enum tr_idle idle;
    size_t arena_bytes;         /* 0: computed from the groups; the sum is printed at start */
    uint32_t message_bytes_max; /* largest command and reply; default 1 MiB */
    const char *counters; /* name of the counters segment, "" for none; default "CLUSTER.NODE" */
    uint64_t seed;        /* 0: taken from the system */
    void *fabric;         /* loop driver: made by tr_fabric_create */
    tr_log_fn log;        /* NULL: silent */
    void *log_context;
    enum tr_log_level log_level;
    /* Remote clients (trireme/client.h, docs/client.md). */
    const char *client_address; /* where they reach this node, in the driver's syntax, none of the
                                   peers' addresses; NULL: none are let in */
    const char *client_names;   /* drivers whose clients need names (shm): the client's address is
                                   this, a dot and a number; NULL: "shm:CLUSTER.client" */
    uint32_t clients_max;       /* at a time, a polling core; 1 to 250; default 16 */
    uint32_t client_message_bytes_max; /* largest command, query and reply of a remote client;
                                          default 64 KiB, at most message_bytes_max */
    uint32_t client_window;            /* commands in flight of one; power of two; default 1024 */
    uint32_t client_queue_bytes;       /* and their payload bytes; default 1 MiB */
};

/** Options with their defaults. */
#ifdef __cplusplus
/** The same for C++, which has no designated initializers before C++20. */
static inline struct tr_node_options tr_node_options_init()
{
    struct tr_node_options o = {};
    o.struct_bytes = sizeof(o);
    o.cluster = "trireme";
    o.driver = "udp";
    o.lcore_count = 1;
    o.log_level = TR_LOG_INFO;
    o.clients_max = 16;
    o.client_message_bytes_max = 64u << 10;
    o.client_window = 1024;
    o.client_queue_bytes = 1u << 20;
    return o;
}
#define TR_NODE_OPTIONS_INIT tr_node_options_init()
#else
#define TR_NODE_OPTIONS_INIT                                                                   \
    {                                                                                          \
        .struct_bytes = sizeof(struct tr_node_options), .cluster = "trireme", .driver = "udp", \
        .lcore_count = 1, .log_level = TR_LOG_INFO, .clients_max = 16,                         \
        .client_message_bytes_max = 64u << 10, .client_window = 1024,                          \
        .client_queue_bytes = 1u << 20                                                         \
    }
#endif

/** Opens a node: driver, memory, counters. `error` (may be NULL) gets a sentence when it fails.
 * Thread: any. Owns: the caller gets the node, and closes it.
 * Returns 0; TR_EINVAL; TR_ENOMEM; TR_EADDR (own or a peer's address); TR_EBUSY (address or
 * counters are a living process's); TR_ENOTSUP (no such driver here); TR_EPERM; TR_EFULL; TR_ESYS.
 * Cost: system calls, milliseconds; the udp driver may ask a name server. */
int tr_node_open(const struct tr_node_options *options, struct tr_node **out, char *error,
                 size_t error_bytes);
/** Seals the memory and starts the polling threads. After it no group can be opened. Thread: setup.
 * Returns 0; TR_EPERM (started or polled already, or a thread may not be pinned so); TR_ENOMEM (no
 * threads): then the node can only be closed. */
int tr_node_start(struct tr_node *node);
/** Keeps the calling thread, which is going to call tr_poll, where lcore_cpus says for the first
 * polling core; without this the library leaves your threads where they are. Thread: the one that
 * is going to poll, before it does. Returns 0; TR_EPERM (started or polled already, or the thread
 * may not run there). Cost: system calls. */
int tr_node_settle(struct tr_node *node);
/** Runs one cycle of every polling core on the calling thread, instead of tr_node_start: receives,
 * proposes, applies, completes, sends. The first call seals the memory. Returns the work done, 0
 * when idle. Thread: always the same one, and not inside a callback. Cost: no lock, no allocation,
 * no system call but the driver's; bounded, but for your state machine. Between two calls this node
 * is silent: when it leads and stays away for an election timeout, the others elect another leader.
 */
uint32_t tr_poll(struct tr_node *node);
/** Stops the threads, ends what is pending with TR_ECLOSED (commands: outcome unknown), releases
 * everything but the sessions. NULL: nothing.
 * Thread: the one that opened it, or that polls it; not from a callback. Other threads may be
 * inside calls on sessions of the node, tr_session_wait for one, and go on using them; any other
 * call on the node or its groups must have returned. Owns: groups go with the node. Each session
 * stays until tr_session_close: calls that submit return TR_ECLOSED, tr_session_poll and
 * tr_session_wait give a completion with TR_ECLOSED for each command and read that had none. With a
 * callback those completions are delivered by this call; a command that another thread submits at
 * the same moment may get none. Cost: joins threads; gives memory back to the system. */
void tr_node_close(struct tr_node *node);
/** Bytes that the node has taken for good: arena, counters, stacks of its threads, sessions.
 * Thread: any. */
size_t tr_node_memory_bytes(const struct tr_node *node);

/** An in-process world for the loop driver: nodes of one process that share a fabric reach each
 * other. Returns NULL without memory. Thread: any. Owns: the caller, until its nodes are closed. */
void *tr_fabric_create(void);
/** Destroys a fabric after its nodes are closed. NULL: nothing. Thread: any. */
void tr_fabric_destroy(void *fabric);

/* ------------------------------------------------------------------------------------------------
 * groups */

/** What a reply to a command promises. docs/protocol.md says what each survives. */
enum tr_durability {
    TR_DURABILITY_MEMORY = 0, /* in the memory of a quorum */
    TR_DURABILITY_ASYNC = 1,  /* in the memory of a quorum, on disk soon after */
    TR_DURABILITY_DISK = 2,   /* on the disks of a quorum */
};

/** Options of a group; what they point to is copied, but for the contexts. Nodes refuse each other
 * unless they have voters, quorums, durability, lease_us, sessions_max, reply_cache_bytes,
 * reply_bytes_max and batch_commands_max alike; give them the other sizes alike as well, so that
 * each can hold what another has. */
struct tr_group_options {
    size_t struct_bytes;
    uint32_t group; /* number of the group, the same on every node */
    struct tr_state_machine machine;
    enum tr_durability durability;
    const uint16_t *voters; /* NULL: all peers vote (at most 9) */
    uint32_t voter_count;
    uint32_t quorum_p1, quorum_p2; /* 0: majorities. quorum_p1 + quorum_p2 > voters */
    uint32_t lcore;                /* polling core of the acceptor stage */
    int32_t apply_lcore; /* polling core of the apply stage; -1: the same core, run to completion */
    uint32_t log_slots;  /* power of two; default 65536 */
    uint64_t log_bytes;  /* default 64 MiB */
    uint32_t batch_commands_max; /* commands in one slot; 1: unbatched; default 64 */
    uint32_t sessions_max;       /* replicated sessions; default 1024 */
    uint64_t reply_cache_bytes;  /* replies kept for retries; default 16 MiB */
    uint32_t reply_bytes_max;    /* default: message_bytes_max of the node */
    uint64_t snapshot_bytes_max; /* default 64 MiB */
    uint32_t lease_us; /* 0: reads by read-index; else a leader lease of so many microseconds */
    uint32_t clock_drift_ppm;     /* bound used by the lease; default 1000 */
    uint32_t election_timeout_us; /* 0: chosen by placement and printed */
    uint32_t heartbeat_us;        /* 0: a part of the election timeout */
    const char *one_sided;        /* "auto" (where the driver can), "off"; default "auto" */
    /** Told when this node learns of another leader (0: none known). From the polling thread of
     * `lcore`; must not block; may be NULL. */
    void (*on_leader)(void *context, struct tr_group *group, uint16_t leader,
                      uint64_t ballot_round);
    void *on_leader_context;
};

#ifdef __cplusplus
/** The same for C++, which has no designated initializers before C++20. */
static inline struct tr_group_options tr_group_options_init()
{
    struct tr_group_options o = {};
    o.struct_bytes = sizeof(o);
    o.apply_lcore = -1;
    o.log_slots = 65536;
    o.log_bytes = 64u << 20;
    o.batch_commands_max = 64;
    o.sessions_max = 1024;
    o.reply_cache_bytes = 16u << 20;
    o.snapshot_bytes_max = 64u << 20;
    o.clock_drift_ppm = 1000;
    o.one_sided = "auto";
    return o;
}
#define TR_GROUP_OPTIONS_INIT tr_group_options_init()
#else
#define TR_GROUP_OPTIONS_INIT                                                                     \
    {                                                                                             \
        .struct_bytes = sizeof(struct tr_group_options), .apply_lcore = -1, .log_slots = 65536,   \
        .log_bytes = 64u << 20, .batch_commands_max = 64, .sessions_max = 1024,                   \
        .reply_cache_bytes = 16u << 20, .snapshot_bytes_max = 64u << 20, .clock_drift_ppm = 1000, \
        .one_sided = "auto"                                                                       \
    }
#endif

/** Opens a group on this node. Thread: setup. Owns: the group goes with its node.
 * Returns 0; TR_EINVAL (with the reason in `error`); TR_ENOMEM; TR_EEXIST; TR_ENOTSUP (durability);
 * TR_EBUSY (the node runs already); of the driver's port for another lcore as tr_node_open.
 * Cost: takes and touches the memory of log, sessions and rings. */
int tr_group_open(struct tr_node *node, const struct tr_group_options *options,
                  struct tr_group **out, char *error, size_t error_bytes);

enum tr_role {
    TR_ROLE_RECOVERING = 0,
    TR_ROLE_FOLLOWER = 1,
    TR_ROLE_CANDIDATE = 2,
    TR_ROLE_LEADER = 3,
    TR_ROLE_STOPPED = 4
};

struct tr_group_status {
    enum tr_role role;
    uint16_t leader; /* 0: none known */
    uint64_t ballot_round;
    uint64_t slot_next, slot_commit, slot_apply, slot_snapshot,
        slot_first; /* log: slot_first <= ... */
    uint64_t elections, snapshots_made, snapshots_installed, log_wraps;
    uint32_t voters_reachable;
    uint32_t one_sided_peers; /* to which this leader replicates one-sided */
    uint64_t digest; /* of the state machine at slot_apply, when it has a digest function and the
                        group was idle; else 0 */
};

/** A consistent picture of the group, at most some microseconds older than its last turn. Thread:
 * any. Cost: some loads, no lock. */
void tr_group_status(const struct tr_group *group, struct tr_group_status *out);
/** Asks this node to stand for election in its next turn (tests, planned maintenance); it may win
 * or not. Returns 0. Thread: any. Cost: a store. */
int tr_group_campaign(struct tr_group *group);

/* ------------------------------------------------------------------------------------------------
 * sessions */

/** The end of one command or read. */
struct tr_completion {
    void *user;        /* as given to tr_submit or tr_read */
    uint64_t sequence; /* of the command within its session; 0 for reads */
    uint64_t slot;     /* where it was applied, or the slot that the read saw */
    /* 0; what `read` returned, of reads; or
     *   TR_EUNKNOWN  a command's deadline passed, or it was applied and its reply is not kept;
     *   TR_ETIMEOUT  a read's deadline passed;
     *   TR_ESESSION  the session was evicted;
     *   TR_ECLOSED   the node was closed.
     * With each of these a command may have been applied, or not, or may still be: read to find
     * out. */
    int status;
    uint32_t reply_bytes;
    const void *reply; /* valid until the next tr_session_poll or _wait of this session, or the
                          return of on_complete; NULL or anything when reply_bytes is 0 */
    uint64_t submitted_ns,
        completed_ns; /* CLOCK_MONOTONIC, when timestamps were asked for; else 0 */
};

struct tr_session_options {
    size_t struct_bytes;
    uint32_t window;      /* commands in flight at most; power of two; default 1024 */
    uint32_t queue_bytes; /* payload bytes in flight; default 4 MiB, at least twice
                             message_bytes_max is used for large commands */
    uint64_t deadline_us; /* of each command and read from its submission, looked at every
                             millisecond or oftener; 0: none */
    /** When set, completions are delivered by this call on the apply thread (inside tr_poll when
     * you poll) and tr_session_poll returns none. It may submit and read where the session's thread
     * is this one, and close the session. */
    void (*on_complete)(void *context, const struct tr_completion *completion);
    void *on_complete_context;
    uint32_t timestamps; /* 1: stamp completions */
};

#ifdef __cplusplus
/** The same for C++, which has no designated initializers before C++20. */
static inline struct tr_session_options tr_session_options_init()
{
    struct tr_session_options o = {};
    o.struct_bytes = sizeof(o);
    o.window = 1024;
    o.queue_bytes = 4u << 20;
    return o;
}
#define TR_SESSION_OPTIONS_INIT tr_session_options_init()
#else
#define TR_SESSION_OPTIONS_INIT                                                                    \
    {                                                                                              \
        .struct_bytes = sizeof(struct tr_session_options), .window = 1024, .queue_bytes = 4u << 20 \
    }
#endif

/** Opens a session on a group; it is registered through the log in the background, and commands may
 * be submitted at once. Thread: any, but not once tr_node_close may have begun. Owns: the caller,
 * who closes it.
 * Returns 0, TR_ENOMEM, TR_EFULL (sessions_max of this node's), TR_EINVAL.
 * Cost: a lock that the poll path never waits for, a mapping of memory. */
int tr_session_open(struct tr_group *group, const struct tr_session_options *options,
                    struct tr_session **out);
/** Closes it; what is pending is forgotten, and may still be applied. When it returns no callback
 * of the session runs or will. NULL: nothing. Thread: session; also inside the session's own
 * callback, and before, while or after its node is closed. Cost: a lock; with a callback on another
 * thread, a wait until that thread is out of it. */
void tr_session_close(struct tr_session *session);

/** Submits a command; the bytes are copied before it returns. It is sent again until it is applied,
 * whoever leads, and applied once. Thread: session. Returns 0; TR_AGAIN (window or queue full: take
 * completions, or poll the node); TR_ETOOBIG (above message_bytes_max); TR_ESESSION; TR_ECLOSED.
 * Cost: a copy and a release store; a system call when the polling thread is parked. */
int tr_submit(struct tr_session *session, const void *data, uint32_t bytes, void *user);
/** Room to build a command in place, aligned to 8 bytes; tr_submit_commit sends it. It is given
 * back by the next call that submits a command. NULL when tr_submit would return an error, which is
 * stored in *status. Thread: session. */
void *tr_submit_reserve(struct tr_session *session, uint32_t bytes, int *status);
/** Sends what the last tr_submit_reserve gave room for, possibly less bytes of it. Thread: session.
 */
void tr_submit_commit(struct tr_session *session, uint32_t bytes, void *user);
/** Asks the state machine's read function for a linearizable answer: it sees every command of any
 * session completed before this call and all earlier commands of this one. The query is copied.
 * Thread: session. Returns as tr_submit. Cost: as tr_submit; a round to a quorum, which all reads
 * of a turn share, or none under a lease; no entry in the log. */
int tr_read(struct tr_session *session, const void *query, uint32_t bytes, void *user);
/** As tr_read, answered from this node's state as it is: may be stale, also of this session's own
 * commands. Needs no quorum; waits for earlier reads of the session. Thread: session. */
int tr_read_local(struct tr_session *session, const void *query, uint32_t bytes, void *user);
/** Takes completions: commands in the order of submission, reads in theirs. Returns how many; the
 * replies of the call before are given back. Thread: session. Cost: some loads when there is none.
 */
uint32_t tr_session_poll(struct tr_session *session, struct tr_completion *out, uint32_t max);
/** As tr_session_poll, but waits up to timeout_us for the first; UINT64_MAX: for ever. Returns 0
 * early when the node is closed and nothing is pending any more. Thread: session; not inside a
 * tr_poll loop. */
uint32_t tr_session_wait(struct tr_session *session, struct tr_completion *out, uint32_t max,
                         uint64_t timeout_us);
/** Commands and reads whose completion was not taken yet (with a callback: not called yet). Thread:
 * session. */
uint32_t tr_session_pending(const struct tr_session *session);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
