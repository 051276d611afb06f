/*
 * The client's side of the clients' protocol, as a pure machine: submissions, messages and time go
 * in, messages to send and completions come out. It allocates nothing, reads no clock, and knows no
 * driver; nodes are indices into the list that its owner has.
 *
 *     SEEK --CHALLENGE, WELCOME--> ATTACHED --silence, refusal, another leader--> SEEK
 *      |                              |
 *      +------ the log has evicted the session --> LOST
 *
 * Exactly once: a command keeps its sequence for ever, and is sent again until its reply has come;
 * what applies it once is the session table that every replica has (consensus/session.h). A reply
 * is taken in order, once, and acknowledged cumulatively; the log keeps it until then.
 *
 * docs/client.md has the protocol and the arguments.
 */
#ifndef TR_CLIENT_MACHINE_H
#define TR_CLIENT_MACHINE_H

#include "client/lane.h"
#include "client/wire.h"

TR_BEGIN_C

#define TR_CLIENT_NODES_MAX 64u
#define TR_CLIENT_NEVER     UINT64_MAX

enum tr_client_phase {
    TR_CLIENT_SEEK = 0,
    TR_CLIENT_ATTACHED = 1,
    TR_CLIENT_LOST = 2,   /* the session is gone: nothing more is sent */
    TR_CLIENT_CLOSED = 3, /* by the application */
};

/* What tr_client_machine_init needs. */
struct tr_client_config {
    uint64_t cluster; /* tr_wire_cluster */
    uint32_t group;
    uint32_t node_count; /* 1 .. TR_CLIENT_NODES_MAX */
    uint16_t node[TR_CLIENT_NODES_MAX];
    uint8_t nonce[TR_WIRE_NONCE_BYTES]; /* random, but for the first two bytes, which are 0 */
    uint32_t window;                    /* a power of two */
    uint32_t command_bytes_max;         /* largest command, query and reply */
    uint64_t queue_bytes;               /* a power of two; at least twice command_bytes_max */
    uint32_t message_bytes_max;         /* of the driver; at least command_bytes_max + overhead */
    uint32_t batch_bytes;               /* commands are gathered into messages of about so much */
    uint64_t deadline_ns;               /* of each command and read; 0: none */
    /* Patience; all in nanoseconds. */
    uint64_t hello_ns;     /* between two HELLOs */
    uint64_t seek_ns;      /* for one node to welcome, before the next is tried */
    uint64_t probe_ns;     /* without progress, before a PING; doubles up to probe_max_ns */
    uint64_t probe_max_ns; /* */
    uint64_t silent_ns;    /* without a word of the node while something is awaited */
    uint64_t stall_ns;     /* without progress though the node answers */
    uint64_t keepalive_ns; /* between two PINGs of an idle client */
    uint64_t avoid_ns;     /* a node that failed is not followed as leader for so long */
};

/* Fills in the times that fit a network of one room. */
void tr_client_config_times(struct tr_client_config *config);

/* A completion, in the queue. */
struct tr_client_done {
    void *user;
    uint64_t sequence; /* 0: a read */
    uint64_t slot;
    uint64_t submitted_ns, completed_ns;
    uint64_t reply_end; /* position behind its reply */
    const uint8_t *reply;
    uint32_t reply_bytes;
    int32_t status;
};

struct tr_client_counts {
    uint64_t attached, moved;   /* WELCOMEs; changes of the node */
    uint64_t resent;            /* commands and reads sent again */
    uint64_t probes;            /* PINGs for want of progress */
    uint64_t dropped_malformed; /* messages that are none */
    uint64_t dropped_stale;     /* of another attachment, or not expected */
    uint64_t refused;           /* REFUSEDs that were for us */
    uint64_t expired;           /* deadlines that passed */
};

/* A message to send. */
struct tr_client_out {
    uint32_t node; /* index */
    const void *data;
    uint32_t bytes;
};

/* The bugs that a test build can have on purpose (base/canary.h). */
enum tr_client_canary {
    TR_CANARY_CLIENT_NONE = 0,
    TR_CANARY_CLIENT_REPLY_TWICE = 1, /* a reply that comes again is taken for the next one's */
    TR_CANARY_CLIENT_REPLY_EARLY = 2, /* and so is one that overtook another */
    TR_CANARY_CLIENT_ACKED_EARLY = 3, /* acknowledges what was sent, not what was replied */
};

struct tr_client_machine {
    struct tr_client_config config;
    enum tr_client_phase phase;
    int32_t lost_reason;
    uint32_t target;                             /* node sought, or attached to */
    uint64_t token;                              /* 0: none yet */
    uint64_t number;                             /* of the session; 0: not told */
    uint32_t window;                             /* of the node */
    uint32_t command_bytes_max, reply_bytes_max; /* of the node; 0: not told */
    uint16_t leader;                             /* node; 0: none known */
    uint64_t round;                              /* of that */
    uint64_t failed_ns[TR_CLIENT_NODES_MAX];     /* when it failed last; 0: never */
    struct tr_client_lane command, read;
    /* Replies and completions. */
    uint8_t *reply_memory;
    uint64_t reply_bytes; /* a power of two */
    uint64_t reply_head, reply_tail, reply_head_next;
    struct tr_client_done *done; /* ring */
    uint64_t done_head, done_tail;
    uint32_t done_mask;
    /* Time. */
    uint64_t now_ns;
    uint64_t seek_until_ns;
    uint64_t hello_ns;    /* the next HELLO */
    uint64_t heard_ns;    /* the node's last word */
    uint64_t progress_ns; /* the last reply, or when something began to be awaited */
    uint64_t probe_at_ns, probe_wait_ns;
    uint64_t resume_ns;   /* the node was busy: nothing is submitted before */
    uint64_t keep_ns;     /* when to show an idle session's life */
    uint64_t rewind_ns;   /* when commands were last sent again for a gap */
    uint64_t rewind_from; /* and from where */
    bool ping_due, bye_due;
    int32_t refusal; /* the last REFUSED's reason; 0: none */
    struct tr_client_counts count;
    uint32_t canary;
    /* The message being sent. */
    uint8_t *out;
    uint32_t out_bytes; /* 0: none */
};

/* Bytes of memory that a machine takes; 0 when the configuration is refused, with a sentence. */
uint64_t tr_client_machine_bytes(const struct tr_client_config *config, const char **why);
/* Makes a machine in zeroed memory of so many bytes, aligned to 64. */
struct tr_client_machine *
tr_client_machine_init(void *memory, const struct tr_client_config *config, uint64_t now_ns);

/* Takes a command on. Returns TR_OK, TR_AGAIN, TR_ETOOBIG, TR_ESESSION, TR_ECLOSED. */
int tr_client_machine_submit(struct tr_client_machine *m, const void *data, uint32_t bytes,
                             void *user, uint64_t now_ns);
/* Takes a read on; flags of enum tr_wire_read_flag. Returns as submit. */
int tr_client_machine_ask(struct tr_client_machine *m, const void *query, uint32_t bytes,
                          void *user, uint32_t flags, uint64_t now_ns);
/* A message of a node; any bytes, aligned to 8. */
void tr_client_machine_receive(struct tr_client_machine *m, uint32_t node, const void *data,
                               uint32_t bytes, uint64_t now_ns);
/* The driver says that a node's process is gone. */
void tr_client_machine_down(struct tr_client_machine *m, uint32_t node, uint64_t now_ns);
/* Time has passed: deadlines, patience. */
void tr_client_machine_tick(struct tr_client_machine *m, uint64_t now_ns);
/* When tick has something to do if nothing else happens. */
uint64_t tr_client_machine_deadline_ns(const struct tr_client_machine *m);
/* The next message to send. It stays the same until tr_client_machine_sent. Returns false when
 * there is none now. */
bool tr_client_machine_next(struct tr_client_machine *m, struct tr_client_out *out);
/* That message was taken, or is given up: it is as good as lost. */
void tr_client_machine_sent(struct tr_client_machine *m);
/* The next completion; NULL: none. Its reply is valid until tr_client_machine_release. */
const struct tr_client_done *tr_client_machine_take(struct tr_client_machine *m);
/* The replies of completions taken so far may be written again. */
void tr_client_machine_release(struct tr_client_machine *m);
/* Commands and reads whose completion was not taken. */
uint32_t tr_client_machine_pending(const struct tr_client_machine *m);
/* The application is going: one BYE is the next message, if there is a session. */
void tr_client_machine_close(struct tr_client_machine *m);

/* ---- between the files of the machine */

/* Turns to a node: from the beginning, and with new patience. */
void tr_client_seek(struct tr_client_machine *m, uint32_t node);
/* The node attached to, or sought, is of no use: tries the next. */
void tr_client_give_up(struct tr_client_machine *m);
/* Whether a node has failed lately: it is not followed as leader. */
bool tr_client_is_avoided(const struct tr_client_machine *m, uint32_t node);
/* Ends the session: everything pending completes with this status. */
void tr_client_lose(struct tr_client_machine *m, int status);
/* Room for a reply and its completion; false when there is none now. */
bool tr_client_complete(struct tr_client_machine *m, struct tr_client_lane *lane, uint64_t n,
                        int32_t status, uint64_t slot, const uint8_t *reply, uint32_t bytes);
/* Something that was awaited has come. */
void tr_client_progress(struct tr_client_machine *m);

TR_END_C

#endif
