/* The inside of a simulated world.
 *
 * Everything that will happen is an event in a heap, ordered by time and then by the order in which
 * it was scheduled. Datagrams and the parts of writes are packets from one pool; writes, rings and
 * places are tables. Nothing is allocated while it runs, but memory of rings, which is kept for the
 * next. */
#ifndef TR_DRIVERS_SIM_INNER_H
#define TR_DRIVERS_SIM_INNER_H

#include "base/assert.h"
#include "base/bytes.h"
#include "base/prng.h"
#include "drivers/extra.h"
#include "drivers/fragment.h"
#include "drivers/gather.h"
#include "drivers/sim/sim.h"

#include <string.h>
#include <trireme/error.h>

TR_BEGIN_C

#define NAME_BYTES      64
#define BURST_MAX       256
#define WRITES_MAX      64 /* posted and not polled, a peer */
#define WRITE_BYTES_MAX (4u << 20)
#define WRITE_PARTS_MIN 4 /* that a torn write falls into, if it has the words */
#define REMOTES_MAX     256
#define MESSAGE_DEFAULT ((1u << 20) + (64u << 10))
#define NONE            UINT32_MAX
#define TOKEN_MAGIC     0x736d6973u

enum event_kind {
    EVENT_DATAGRAM = 1, /* of a packet: arrives */
    EVENT_PART,         /* of a packet: lands */
    EVENT_COMPLETION,   /* of a write */
    EVENT_FENCE,        /* of a ring: quiescent */
    EVENT_CONSUMED,     /* of a ring: its writer learns the watermark */
    EVENT_NOTICE,       /* of a place: others learn of its epoch */
};

struct event {
    uint64_t at_ns;
    uint64_t order; /* 56 bits of order, 8 of kind */
    uint32_t index;
};

/* A datagram, or a part of a write. */
struct packet {
    uint32_t next; /* free packets; a receiver's queue; the parts of a write */
    uint32_t bytes;
    uint32_t from, to;                          /* places; of datagrams */
    uint32_t write;                             /* of parts */
    uint32_t offset;                            /* in the ring */
    bool is_landed;                             /* or lost: the event finds nothing to do */
    __extension__ TR_ALIGNED(8) uint8_t data[]; /* C++ has no such member by itself */
};

enum ring_state {
    RING_UNUSED = 0,
    RING_CLOSED,
    RING_OPEN,
    RING_CLOSING,
    RING_ORPHAN, /* its owner is dead, and it can still be written */
    RING_DEAD,   /* its owner is gone, nothing lands any more */
};

struct ring {
    enum ring_state state;
    uint32_t bytes;
    uint8_t *memory;
    uint32_t place;
    uint64_t epoch; /* of its place: that of its owner */
    tr_node_id writer;
    uint64_t generation; /* 0: closed */
    uint64_t consumed, consumed_seen;
    uint32_t stored_low, stored_high; /* what is not zero lies between, in bytes */
    bool consumed_pending;            /* an EVENT_CONSUMED is scheduled, */
    bool fence_pending;               /* an EVENT_FENCE is */
    uint32_t remotes;                 /* open on it */
    uint32_t writes;                  /* first of those under way, NONE */
};

/* What is to become of a write. */
enum write_plan { WRITE_LANDS = 1, WRITE_EARLY, WRITE_LOST, WRITE_BREAKS };

struct write {
    uint32_t next, previous; /* of its ring; next also of the free ones */
    uint32_t next_of_remote; /* posted behind it, NONE */
    uint32_t ring;
    uint32_t parts;      /* its packets, NONE */
    uint32_t parts_left; /* neither landed nor lost */
    uint32_t parts_lost;
    enum write_plan plan;
    bool is_acked;     /* OK was told, so it has to land */
    bool is_due;       /* its completion waits for those before it only */
    bool is_completed; /* told, or there is nobody to tell */
    uint32_t from;     /* place, and its epoch, and the remote that it was posted on */
    uint64_t from_epoch;
    uint32_t remote;
    uint64_t generation;
    uint64_t cookie;
    uint32_t checksum; /* of the source when it was posted */
    uint32_t segment_count;
    struct tr_segment segment[TR_TX_SEGMENTS_MAX];
};

struct node {
    tr_node_id id;
    bool is_paused;
    bool has_news;       /* something came to one of its ports since it was last asked */
    uint64_t blocked_to; /* a bit a node */
};

struct place {
    char name[NAME_BYTES];
    uint32_t queue;
    uint32_t node;        /* NONE until a port has been opened there */
    struct tr_port *port; /* NULL: none is open */
    uint64_t epoch;       /* odd: open; grows by one at open, close and crash */
    uint64_t epoch_seen;  /* by others */
    bool notice_pending;  /* an EVENT_NOTICE is scheduled */
    uint32_t first, last; /* datagrams that wait; NONE */
    uint32_t waiting;
};

struct tr_sim_world {
    uint64_t now_ns;
    uint64_t order;
    struct tr_prng prng;
    struct tr_sim_profile profile;
    struct tr_sim_counters counters;
    struct tr_memory memory;
    bool memory_is_zero;

    struct event *heap;
    uint32_t heap_count, heap_max;

    uint8_t *packets;
    uint32_t packet_stride, packet_free, packets_left;
    uint32_t packets_used;   /* those from here on were never taken, nor touched */
    uint32_t datagram_bytes; /* that a packet carries; a part of a write is not larger */
    uint32_t queue_max;

    struct write *writes;
    uint32_t writes_used, write_free, writes_left; /* as with packets */

    struct ring ring[TR_SIM_RINGS_MAX];
    struct place place[TR_SIM_PLACES_MAX];
    struct node node[TR_SIM_PLACES_MAX];
    uint32_t ring_count, place_count, node_count;
    /* When the last datagram of a pair of places arrives that nothing held back. */
    uint64_t link_ns[TR_SIM_PLACES_MAX][TR_SIM_PLACES_MAX];
};

struct peer {
    tr_node_id id; /* 0: free */
    uint32_t place;
    uint64_t epoch_seen;
    bool was_up;
    uint32_t writes_open;
    bool has_reassembly;
    struct tr_reassembly reassembly;
};

struct remote {
    uint32_t ring; /* NONE: not open */
    struct peer *peer;
    tr_node_id peer_id;
    uint64_t generation;
    uint64_t landing_ns;         /* of the last write posted that nothing held back */
    uint64_t written;            /* position up to which was written, if one after the other */
    enum tr_write_status failed; /* 0: works; else what everything behind gets */
    uint32_t first, last;        /* writes posted and not completed; NONE */
};

struct tr_port {
    struct tr_port_head head;
    struct tr_sim_world *world;
    uint32_t place;
    uint64_t epoch;
    tr_node_id self;
    uint32_t peers_max, message_bytes_max;
    uint64_t message_next;
    struct tr_memory memory;
    struct peer *peer;                         /* peers_max */
    struct peer stranger;                      /* all others together: its reassembly */
    uint16_t peer_of_place[TR_SIM_PLACES_MAX]; /* 1 + index; 0: a stranger */
    uint32_t handed;                           /* packets handed up by the last rx_burst; NONE */
    bool holds_messages;                       /* reassembled ones were handed up */
    struct remote *remote;                     /* REMOTES_MAX */
    struct tr_write_completion *completion;
    uint32_t completion_mask;
    uint64_t completion_head, completion_tail;
    struct tr_port_stats stats;
};

/* world.c */

/* A number below bound. */
static inline uint64_t tr_sim_below(struct tr_sim_world *w, uint64_t bound)
{
    return tr_prng_below(&w->prng, bound);
}

/* True with a chance of ppm; draws nothing where it is sure. */
static inline bool tr_sim_chance(struct tr_sim_world *w, uint32_t ppm)
{
    return ppm != 0 && tr_prng_chance(&w->prng, ppm);
}

/* A duration of the span. */
static inline uint64_t tr_sim_draw_ns(struct tr_sim_world *w, const struct tr_sim_span *span)
{
    if (span->high_ns <= span->low_ns)
        return span->low_ns;
    return span->low_ns + tr_prng_below(&w->prng, span->high_ns - span->low_ns + 1);
}

/* A packet of the pool. */
static inline struct packet *tr_sim_packet(const struct tr_sim_world *w, uint32_t index)
{
    return (struct packet *)(void *)(w->packets + (size_t)index * w->packet_stride);
}

/* Lets something happen at a time. */
void tr_sim_schedule(struct tr_sim_world *w, uint64_t at_ns, enum event_kind kind, uint32_t index);

/* Takes a packet; NONE when the pool is empty. */
uint32_t tr_sim_packet_take(struct tr_sim_world *w);

/* A write of the pool, which has one left. */
uint32_t tr_sim_write_take(struct tr_sim_world *w);

/* Gives it back. */
void tr_sim_packet_give(struct tr_sim_world *w, uint32_t index);

/* The table index of a node, made when it is new; NONE when there are too many. */
uint32_t tr_sim_node_index(struct tr_sim_world *w, tr_node_id id);

/* Others learn of a place's epoch after a while. */
void tr_sim_notice(struct tr_sim_world *w, uint32_t place, uint64_t after_ns);

/* Something came to the port of a place. */
void tr_sim_news(struct tr_sim_world *w, uint32_t place);

/* Whether nothing passes from one place to another now. */
bool tr_sim_is_blocked(const struct tr_sim_world *w, uint32_t from, uint32_t to);

/* True while calls on the port have an effect: it did not crash, and its node is not paused. */
bool tr_sim_port_is_live(const struct tr_port *port);

/* message.c */

/* A datagram arrives. */
void tr_sim_arrive(struct tr_sim_world *w, uint32_t packet);
/* Gives back what waits at a place, and what its port handed up. */
void tr_sim_forget_messages(struct tr_sim_world *w, struct place *place);
/* tr_driver.rx_burst, tx_burst, tx_reply, tx_flush. */
uint32_t tr_sim_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max);
uint32_t tr_sim_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count);
int tr_sim_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                    uint32_t segment_count);
void tr_sim_tx_flush(struct tr_port *port);

/* ring.c: the events, */
void tr_sim_part_lands(struct tr_sim_world *w, uint32_t packet);
void tr_sim_write_completes(struct tr_sim_world *w, uint32_t write);
void tr_sim_fence_ends(struct tr_sim_world *w, uint32_t ring);
void tr_sim_consumed_arrives(struct tr_sim_world *w, uint32_t ring);
/* what becomes of the rings of a place whose port is gone (orphans: they may stay writable), and of
 * what it had posted, */
void tr_sim_rings_abandon(struct tr_sim_world *w, uint32_t place, bool orphans);
void tr_sim_writes_abandon(struct tr_sim_world *w, struct tr_port *port, bool halves);
/* and the operations of tr_driver. */
int tr_sim_ring_create(struct tr_port *port, const struct tr_ring_options *options,
                       struct tr_ring_info *out);
int tr_sim_ring_grant(struct tr_port *port, uint32_t ring, uint64_t generation,
                      struct tr_ring_token *out);
int tr_sim_fence_start(struct tr_port *port, uint32_t ring);
int tr_sim_fence_poll(struct tr_port *port, uint32_t ring);
void tr_sim_ring_consumed(struct tr_port *port, uint32_t ring, uint64_t position);
int tr_sim_remote_open(struct tr_port *port, tr_node_id peer, const struct tr_ring_token *token,
                       uint64_t generation, uint32_t *remote);
void tr_sim_remote_close(struct tr_port *port, uint32_t remote);
int tr_sim_write_post(struct tr_port *port, uint32_t remote, uint32_t offset,
                      const struct tr_segment *segment, uint32_t segment_count, uint64_t cookie);
uint32_t tr_sim_write_poll(struct tr_port *port, struct tr_write_completion *out, uint32_t max);
uint64_t tr_sim_remote_consumed(struct tr_port *port, uint32_t remote);

TR_END_C

#endif
