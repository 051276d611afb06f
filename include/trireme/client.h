/*
 * Trireme's remote client: submits commands to, and reads from, a group whose nodes run elsewhere.
 *
 * A *client* is one replicated session over a driver's port of its own. It is no node: it votes on
 * nothing and stores nothing. It knows the client addresses of the nodes, finds the one that leads,
 * and goes on at another one when that fails. Each command is applied exactly once, in the order of
 * submission, whatever is lost, sent again, or taken over by another leader.
 *
 * Threads. A client belongs to one thread at a time: all calls on it are made by that thread.
 * Different clients are independent. There are no threads, locks or callbacks behind it: everything
 * happens inside tr_client_poll and tr_client_wait, which have to be called for anything to be sent
 * or to come in. A client that is not polled for ten seconds is let go by its node; when it is
 * polled again it goes on where it was.
 *
 * What it cannot know: a command whose deadline passes completes with TR_EUNKNOWN, and may have
 * been applied, may be later, or never. Read to find out. When the process of a client ends, its
 * session ends with it: the next process has another one, and does not know what became of the last
 * commands. Where that matters put an id of your own into the command.
 *
 * docs/embedding.md has a whole program, docs/client.md the protocol and what it guarantees.
 */
#ifndef TRIREME_CLIENT_H
#define TRIREME_CLIENT_H

#include <trireme/trireme.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct tr_client;

/** Options of a client; what they point to is copied, but for fabric and log_context. */
struct tr_client_options {
    size_t struct_bytes;
    const char *cluster;         /* name of the cluster; default "trireme" */
    uint32_t group;              /* number of the group */
    uint32_t lcore;              /* polling core of the nodes that the group is on; default 0 */
    const struct tr_peer *nodes; /* the nodes' ids and client addresses (tr_node_options'
                                    client_address) */
    uint32_t node_count;         /* 1 to 64 */
    const char *driver;          /* as the nodes'; default "udp" */
    const char *driver_options;  /* "key=value,..."; may be NULL */
    const char *address;        /* own. NULL: udp any port of any address; shm "shm:CLUSTER.client",
                                   to which such drivers add a dot and the first free number;
                                   dpdk: "HOST:PORT", of the device that driver_options has;
                                   verbs: "HOST:0", of the RDMA device, NULL where there is one */
    uint32_t window;            /* commands in flight, and reads; a power of two; default 1024. The
                                   node's own window counts, too */
    uint32_t queue_bytes;       /* and their payload bytes, a power of two; default 4 MiB */
    uint32_t message_bytes_max; /* largest command and query; default 64 KiB. The nodes' limit
                                   counts, too */
    uint64_t deadline_us;       /* of each command and read from its submission; 0: none */
    uint64_t seed;              /* 0: taken from the system */
    void *fabric;               /* loop driver: made by tr_fabric_create */
    tr_log_fn log;              /* NULL: silent. From calls on this client only */
    void *log_context;
    enum tr_log_level log_level;
};

/** Options with their defaults. */
#ifdef __cplusplus
/** The same for C++, which has no designated initializers before C++20. */
static inline struct tr_client_options tr_client_options_init()
{
    struct tr_client_options o = {};
    o.struct_bytes = sizeof(o);
    o.cluster = "trireme";
    o.driver = "udp";
    o.window = 1024;
    o.queue_bytes = 4u << 20;
    o.message_bytes_max = 64u << 10;
    o.log_level = TR_LOG_INFO;
    return o;
}
#define TR_CLIENT_OPTIONS_INIT tr_client_options_init()
#else
#define TR_CLIENT_OPTIONS_INIT                                                                   \
    {                                                                                            \
        .struct_bytes = sizeof(struct tr_client_options), .cluster = "trireme", .driver = "udp", \
        .window = 1024, .queue_bytes = 4u << 20, .message_bytes_max = 64u << 10,                 \
        .log_level = TR_LOG_INFO                                                                 \
    }
#endif

/** Opens a client: port and memory. It looks for its node in the background, when it is polled;
 * commands may be submitted at once. `error` (may be NULL) gets a sentence when it fails.
 * Thread: any. Owns: the caller gets the client, and closes it.
 * Returns 0; TR_EINVAL; TR_ENOMEM; TR_EADDR (own or a node's address); TR_EBUSY (the address is a
 * living process's); TR_EFULL (every client's name of this machine is taken); TR_ENOTSUP (no such
 * driver here); TR_EPERM, TR_ENOENT (a key file).
 * Cost: system calls, milliseconds; the udp and verbs drivers may ask a name server. */
int tr_client_open(const struct tr_client_options *options, struct tr_client **out, char *error,
                   size_t error_bytes);
/** Closes it, and tells the node, so that the session ends in the log, too; what is pending is
 * forgotten, and may still be applied. NULL: nothing. Thread: client's. Cost: system calls. */
void tr_client_close(struct tr_client *client);

/** Submits a command; the bytes are copied before it returns. It is sent by the next
 * tr_client_poll, again and again until it is applied, whichever node leads, and is applied once.
 * Thread: client's. Returns 0; TR_AGAIN (window or queue full: take completions); TR_ETOOBIG (above
 * message_bytes_max here or at the node); TR_ESESSION (the session was evicted: open another
 * client). Cost: a copy. */
int tr_client_submit(struct tr_client *client, const void *data, uint32_t bytes, void *user);
/** Asks the state machine's read function for a linearizable answer: it sees every command of any
 * session completed before this call and all earlier commands of this client. The query is copied.
 * Asked again when question or answer is lost. Thread: client's. Returns as tr_client_submit.
 * Cost: a copy; no entry in the log. */
int tr_client_read(struct tr_client *client, const void *query, uint32_t bytes, void *user);
/** As tr_client_read, answered from the state of the node attached to as it is: may be stale.
 * Thread: client's. Returns as tr_client_submit. */
int tr_client_read_local(struct tr_client *client, const void *query, uint32_t bytes, void *user);

/** One turn: receives, sends what is due, looks at deadlines, and gives completions: commands in
 * the order of submission, reads in theirs. Returns how many; 0: none now. The replies of the call
 * before are given back. Times in a completion are CLOCK_MONOTONIC. Statuses as of struct
 * tr_completion, TR_ECLOSED aside; and TR_ETOOBIG (applied, or read, but the reply is larger than
 * the nodes' client_message_bytes_max). Thread: client's. Cost: no allocation, no lock, no system
 * call but the driver's. */
uint32_t tr_client_poll(struct tr_client *client, struct tr_completion *out, uint32_t max);
/** As tr_client_poll, but goes on for up to timeout_us until there is a completion; UINT64_MAX: for
 * ever. Returns 0 early when nothing is pending. Spins at first, then sleeps up to 50 us at a time.
 * Thread: client's. */
uint32_t tr_client_wait(struct tr_client *client, struct tr_completion *out, uint32_t max,
                        uint64_t timeout_us);
/** Commands and reads whose completion was not taken yet. Thread: client's. */
uint32_t tr_client_pending(const struct tr_client *client);

/** What a client is doing. */
struct tr_client_status {
    uint16_t node;     /* attached to it; 0: looking for one */
    uint16_t leader;   /* of the group, as the nodes say; 0: none known */
    int refusal;       /* why a node refused lately, enum tr_error; 0: none did */
    uint64_t session;  /* number of the session; 0: not registered yet */
    uint64_t attached; /* times that a node let it in */
    uint64_t moved;    /* times that it went to another node */
    uint64_t resent;   /* commands and reads sent again */
    uint64_t expired;  /* deadlines that passed */
    uint64_t dropped;  /* messages that made no sense, or came too late */
};

/** Fills in the status. Thread: client's. Cost: some copies. */
void tr_client_status(const struct tr_client *client, struct tr_client_status *out);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
