/*
 * The door: where remote clients come in (docs/client.md).
 *
 * A polling core that has one polls a second port of the node's driver, at the node's client
 * address, that knows no peers of the cluster: whatever comes in there is a client's, and can pose
 * as nothing else. The door is the application of its clients' sessions: it submits what they send,
 * and sends them what completes. A session of a remote client is one of tr_session's, registered
 * under the client's own nonce, so that it can go on at any other node.
 *
 * Everything that a client says is validated: counted and dropped when it is wrong, answered with
 * REFUSED where a client that is honest may need to know. Memory is taken when groups are opened:
 * so many places, each with the room of one session. Nothing that a client does takes more.
 */
#ifndef TR_DATAPLANE_DOOR_H
#define TR_DATAPLANE_DOOR_H

#include "base/types.h"
#include "client/wire.h"
#include "drivers/driver.h"

TR_BEGIN_C

struct tr_node;
struct tr_lcore;
struct tr_group;
struct tr_session;
struct tr_session_options;
struct tr_session_limits;

/* Places of a door at most: what the shm driver has peers for. */
#define TR_DOOR_PLACES_MAX 250u
#define TR_DOOR_BURST      64u
/* Tokens at hand: so many newcomers between two looks after idle clients, a millisecond apart. */
#define TR_DOOR_TOKENS 64u
/* Messages of a door are at least so large, whatever its clients' commands: replies are gathered.
 */
#define TR_DOOR_MESSAGE_BYTES_MIN (20u << 10)

enum tr_place_state {
    TR_PLACE_FREE = 0,
    TR_PLACE_CHALLENGED = 1, /* it was sent a token */
    TR_PLACE_ATTACHING = 2,  /* it has shown the token; its session is being registered */
    TR_PLACE_OPEN = 3,
    TR_PLACE_LEAVING = 4, /* the session is being let go */
};

/* One client's place. */
struct tr_door_place {
    enum tr_place_state state;
    tr_node_id peer; /* number on the door's port: index + 1 */
    bool adopted;    /* its address is to be given up */
    uint8_t nonce[TR_WIRE_NONCE_BYTES];
    uint64_t token;
    uint64_t expected; /* number of the session, as the client knows it; 0: it does not */
    uint64_t heard_ns;
    struct tr_group *group;
    struct tr_session *session; /* in `memory`; attached from ATTACHING to LEAVING */
    void *memory;
    uint64_t memory_bytes;
    uint64_t sent;        /* completions up to this index were sent */
    uint64_t replied;     /* sequence of the last command whose reply was sent */
    uint64_t read_taken;  /* number of the last read taken on */
    uint64_t read_done;   /* of the last one answered */
    uint32_t state_flags; /* of the STATE that is due; 0: none */
    bool welcome_due;
    bool leaving_due; /* the apply stage had no room for the news yet */
    bool stays;       /* how it leaves */
};

/* Counters; in the segment. */
struct tr_door_stats {
    uint64_t *clients, *welcomes, *challenges, *refused, *malformed, *stale, *gaps, *busy, *resent,
        *commands, *reads, *idled;
};

struct tr_door {
    struct tr_lcore *lcore;
    struct tr_node *node;
    const struct tr_driver *driver; /* the port's own table */
    struct tr_port *port;
    struct tr_port_limits limits;
    uint32_t place_count;
    struct tr_door_place *place;
    uint16_t *active; /* indices of places that are not free */
    uint32_t active_count;
    uint64_t now_ns;
    uint64_t slow_ns; /* when to look after idle clients again */
    uint64_t hot_ns;  /* until then the port is polled in every cycle */
    bool tx_dirty;
    uint8_t *out; /* a message being made */
    uint32_t out_bytes_max;
    uint64_t token[TR_DOOR_TOKENS]; /* drawn, nobody's yet */
    uint32_t token_count;
    struct tr_rx rx[TR_DOOR_BURST];
    struct tr_door_stats stats;
};

/* Opens the door of a polling core, when the node has a client address and there is none yet.
 * Thread: setup. Returns TR_OK, TR_ENOMEM, and as tr_driver.open. */
int tr_door_open(struct tr_node *node, struct tr_lcore *lcore, char *error, size_t error_bytes);
/* Makes room in every place for a session of this group. Thread: setup. Returns TR_OK, TR_ENOMEM.
 */
int tr_door_fit(struct tr_door *d, const struct tr_group *g);
/* What a session of a remote client is opened with. */
void tr_door_session_options(const struct tr_door *d, const struct tr_group *g,
                             struct tr_session_options *options, struct tr_session_limits *limits);
/* Closes it. Thread: after the lcore's. */
void tr_door_close(struct tr_door *d);
/* Bytes that it has mapped beside the arena. */
uint64_t tr_door_bytes(const struct tr_door *d);

/* Takes in what clients sent. Returns messages. Thread: the lcore's. Cost: a poll of the port, in
 * every cycle while there is traffic, else in one of eight. */
uint32_t tr_door_receive(struct tr_door *d, uint64_t now_ns, bool thorough);
/* Sends what has completed, and what else is due. Returns messages. Thread: the lcore's. */
uint32_t tr_door_send(struct tr_door *d);

/* The address of client `number`, where the driver cannot adopt who comes: "NAMES.NUMBER"; without
 * names "SCHEME:CLUSTER.client.NUMBER", of the scheme that the address `like` has. Returns TR_OK,
 * TR_EADDR. */
int tr_client_name(char *out, size_t out_bytes, const char *names, const char *like,
                   const char *cluster, uint32_t number);

/* ---- between the files of the door */

/* Draws tokens until enough are at hand, or the system has none. Cost: a system call. */
void tr_door_draw_tokens(struct tr_door *d);
/* Begins a message in `out`, with what this node knows of the group's leader. */
void *tr_door_begin(struct tr_door *d, enum tr_wire_type type, const struct tr_group *g,
                    uint32_t group, uint64_t token);
/* Sends the message in `out` to a place. Returns whether the driver took it. */
bool tr_door_put(struct tr_door *d, const struct tr_door_place *p, uint32_t tail_bytes);
/* Tells the client of a place that it is refused, for good; best effort. */
void tr_door_refuse(struct tr_door *d, const struct tr_door_place *p, int reason);
/* Lets the client of a place go; its session stays in the log or is closed there. */
void tr_door_leave(struct tr_door *d, struct tr_door_place *p, bool stays);

TR_END_C

#endif
