/* The shm driver: ports of processes and threads of one machine, joined by shared memory.
 *
 * Each port has one segment (layout.h, segment.h), named after its node and queue, and maps its
 * peers'. A message is written by its sender into the sender's lane of the receiver's segment, and
 * becomes whole with one store, to the word that the receiver polls: one cache line goes from core
 * to core for a small message. No system call, no locked instruction and no allocation is on that
 * path.
 *
 * What polls share with what other processes do is looked at in a *tick*, every TICK_POLLS
 * receives: peers that came, went or were replaced, and lanes that want to connect. While every
 * peer is up a tick reads memory only; when one is missing, it looks for its segment, at most once
 * in ATTACH_NS.
 *
 * Memory order; both ends cite these letters:
 *  - (A) a sender releases a message's header after its bytes and after the zero that stands where
 * the next header will be; the receiver acquires the header.
 *  - (B) a receiver releases its head after it copied the messages below; the sender acquires it.
 *  - (C) a receiver releases `accepted` after the head and the first zero; the sender acquires it.
 *  - (D) a writer stores into a ring, issues a full fence and reads the ring's fence word; the
 * owner sets the word, issues a full fence and reads the ring: either the owner finds the bytes, or
 * the writer finds the word changed and the write does not count. */
#ifndef TR_DRIVERS_SHM_INNER_H
#define TR_DRIVERS_SHM_INNER_H

#include "drivers/driver.h"
#include "drivers/shm/segment.h"

TR_BEGIN_C

#define TR_SHM_MESSAGE_BYTES_MAX ((1u << 20) + (64u << 10))
#define TR_SHM_QUEUE_BYTES       (4u << 20)
#define TR_SHM_RINGS             4096u
#define TR_SHM_BURST_MAX         64u
#define TR_SHM_PEERS_MAX         250u
#define TR_SHM_WRITES_MAX        256u         /* posted and not polled, a peer */
#define TR_SHM_RX_BYTES          (128u << 10) /* private copies of a burst, besides the largest message */
#define TR_SHM_TICK_POLLS        64u          /* a power of two */
#define TR_SHM_HOT_LANES         8u           /* polled each time; of the others, one */
#define TR_SHM_ATTACH_NS         1000000u
#define TR_SHM_ATTACH_NS_MAX     64000000u

/* How far a peer is. */
enum tr_shm_link {
    TR_SHM_LINK_UNUSED = 0,
    TR_SHM_LINK_ABSENT = 1,    /* no segment mapped, or that of one who is gone */
    TR_SHM_LINK_LANE = 2,      /* mapped; it has no lane for us yet */
    TR_SHM_LINK_REQUESTED = 3, /* the lane is ours, not accepted yet */
    TR_SHM_LINK_UP = 4,
};

struct tr_shm_peer {
    /* What tx_burst needs. */
    TR_ALIGNED(TR_CACHE_LINE) uint64_t tail; /* where the next message goes */
    uint64_t limit; /* message and next header end here, or it is a case for send_slow; 0: not up */
    unsigned char *lane_data;
    uint32_t lane_mask;
    uint32_t message_bytes_max; /* what both ends take */
    tr_node_id id;
    uint16_t link; /* enum tr_shm_link */
    /* The rest. */
    struct tr_shm_lane *lane;
    uint64_t head_seen;
    uint64_t request;   /* number of this connection */
    uint64_t told;      /* incarnation that the caller knows to be up; 0: knows to be down */
    uint64_t told_last; /* the last one that was told; 0: none ever */
    uint64_t attach_ns; /* not before; by the coarse clock */
    uint64_t attach_wait_ns;
    uint32_t writes_open;
    uint32_t rings_seen; /* of the rings that the peer made: mapped, if they are ours */
    struct tr_shm_segment segment;
    char name[TR_SHM_NAME_BYTES];
};

/* The receiving end of a lane. */
struct tr_shm_inbound {
    TR_ALIGNED(TR_CACHE_LINE)
    const tr_atomic_u64 *next; /* the next header; while nobody is
                                  connected, a word that stays 0 */
    uint64_t position;         /* of the next message */
    uint64_t tell_at;          /* the sender is told then */
    const unsigned char *data;
    struct tr_shm_lane *lane;
    uint64_t connection; /* lane->accepted; 0: nothing is read */
    uint32_t lane_mask;
    tr_node_id peer; /* 0: removed */
    uint16_t index;
    uint64_t request_last; /* that was accepted */
};
tr_static_assert(TR_SHM_LANES_MAX <= UINT16_MAX, "an index fits");

/* The writing end of a peer's ring. */
struct tr_shm_remote {
    unsigned char *memory; /* NULL: the segment is gone */
    tr_atomic_u64 *fence;
    tr_atomic_u64 *consumed;
    uint64_t generation; /* 0: not open */
    uint32_t bytes;
    uint32_t peer; /* index */
};

/* An own ring. The control block says the same to peers; what is used here is private. */
struct tr_shm_own_ring {
    unsigned char *memory;
    uint32_t bytes;
    bool is_granted;
};

/* A peer's ring that this node may write, mapped until the peer's segment goes: the same one is
 * granted again and again. */
struct tr_shm_ring_map {
    unsigned char *memory; /* NULL: free */
    uint32_t bytes;
    uint32_t peer; /* index */
    uint32_t ring; /* in the peer's segment */
};

/* A write that was posted; its status is found by the fence of write_poll. */
struct tr_shm_write {
    uint64_t cookie;
    uint64_t generation;
    uint32_t remote;
    tr_node_id peer;
    uint16_t peer_index;
    uint32_t status; /* 0: not known yet */
    uint32_t reserved;
};

struct tr_port {
    const struct tr_driver *driver;
    tr_node_id self;
    tr_atomic_u64 zero; /* the next header of lanes that nobody is connected to */
    uint32_t queue;
    char name[TR_SHM_NAME_BYTES];
    uint32_t peers_max;
    uint32_t peer_count; /* entries used, removed ones among them */
    uint32_t polls;
    /* Receiving. */
    uint32_t inbound_count;
    uint32_t inbound_hot;                    /* those polled each time, the first ones */
    uint32_t inbound_first;                  /* of the hot lanes, the one to begin with */
    uint32_t inbound_cold;                   /* of the others, whose turn it is */
    struct tr_shm_inbound *inbound;          /* the hot ones first */
    char (*inbound_name)[TR_SHM_NAME_BYTES]; /* by lane */
    unsigned char *rx;                       /* private copies of the messages of a burst */
    unsigned char *rx_end;
    uint32_t message_bytes_max;
    /* Sending. */
    struct tr_shm_peer *peer;
    struct tr_shm_peer nobody;          /* number 0: never up */
    struct tr_shm_peer *peer_seen[256]; /* by the low byte of the number, the last asked for */
    /* Writing. */
    struct tr_shm_remote *remote;
    uint32_t remotes_max;
    uint32_t remote_count;        /* entries used, closed ones among them */
    uint32_t map_count;           /* the same */
    struct tr_shm_ring_map *map;  /* remotes_max of them */
    struct tr_shm_own_ring *ring; /* segment.ring_made of them */
    uint64_t rings_end;           /* offset in the segment: the next ring goes here */
    struct tr_shm_write *write;
    uint32_t write_mask;
    uint64_t write_posted, write_judged, write_polled; /* polled <= judged <= posted */
    uint64_t request_next;                             /* number of the next connection */
    struct tr_shm_segment segment;
    struct tr_port_stats stats;
};

/* The word that a message in a lane begins with. */
static inline tr_atomic_u64 *tr_shm_header_at(const unsigned char *data, uint64_t offset)
{
    return (tr_atomic_u64 *)(void *)(uintptr_t)(data + offset);
}

/* Begins to read a lane, or with 0 ends it. */
static inline void tr_shm_inbound_connect(struct tr_port *port, struct tr_shm_inbound *in,
                                          uint64_t connection)
{
    in->connection = connection;
    in->next =
        connection != 0 ? tr_shm_header_at(in->data, in->position & in->lane_mask) : &port->zero;
}

/* Lets the sender write where everything was read. */
static inline void tr_shm_tell_head(struct tr_shm_inbound *in)
{
    in->tell_at = in->position + tr_shm_publish_bytes(in->lane_mask + 1);
    tr_store_release(&in->lane->head, in->position); /* (B), meets make_room */
}

/* link.c */

/* What is done once in TR_SHM_TICK_POLLS receives. */
void tr_shm_tick(struct tr_port *port);

/* Makes a lane for a sender, or finds the one that it has. Returns: TR_OK, TR_EFULL, TR_ENOMEM. */
int tr_shm_inbound_add(struct tr_port *port, tr_node_id peer, const char *name);
void tr_shm_inbound_remove(struct tr_port *port, tr_node_id peer);

/* Ends a connection and unmaps the peer's segment. */
void tr_shm_peer_detach(struct tr_port *port, uint32_t index);

/* message.c: operations of the driver, as drivers/driver.h says. */
uint32_t tr_shm_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max);
uint32_t tr_shm_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count);
int tr_shm_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                    uint32_t segment_count);

/* The peer's index, or UINT32_MAX. */
uint32_t tr_shm_peer_find(const struct tr_port *port, tr_node_id id);

/* ring.c: operations of the driver, as drivers/driver.h says. */
int tr_shm_ring_create(struct tr_port *port, const struct tr_ring_options *options,
                       struct tr_ring_info *out);
int tr_shm_ring_grant(struct tr_port *port, uint32_t ring, uint64_t generation,
                      struct tr_ring_token *out);
int tr_shm_fence_start(struct tr_port *port, uint32_t ring);
int tr_shm_fence_poll(struct tr_port *port, uint32_t ring);
void tr_shm_ring_consumed(struct tr_port *port, uint32_t ring, uint64_t position);
int tr_shm_remote_open(struct tr_port *port, tr_node_id peer, const struct tr_ring_token *token,
                       uint64_t generation, uint32_t *remote);
void tr_shm_remote_close(struct tr_port *port, uint32_t remote);
int tr_shm_write_post(struct tr_port *port, uint32_t remote, uint32_t offset,
                      const struct tr_segment *segment, uint32_t segment_count, uint64_t cookie);
uint32_t tr_shm_write_poll(struct tr_port *port, struct tr_write_completion *out, uint32_t max);
uint64_t tr_shm_remote_consumed(struct tr_port *port, uint32_t remote);

/* Lines that a writer asks for before it fills them, at most. */
#define TR_SHM_AHEAD_BYTES 512

/* Asks for the lines that the next write fills, if it is like this one. Those past the end of a
 * ring or lane are nobody's. */
static inline void tr_shm_ask_ahead(const volatile unsigned char *next, uint32_t bytes)
{
    for (uint32_t i = 0; i < tr_min_u32(bytes, TR_SHM_AHEAD_BYTES); i += TR_CACHE_LINE)
        tr_prefetch_write(next + i);
}

/* Finds out of every posted write whether it counts. Cost: one full fence for all of them. */
void tr_shm_judge(struct tr_port *port);

/* Maps a ring of the peer that this node may write, if it is not mapped yet.
 * Returns: TR_OK; TR_EINVAL when it is not ours or cannot be; TR_EFULL. */
int tr_shm_ring_map(struct tr_port *port, uint32_t peer_index, uint32_t ring,
                    struct tr_shm_ring_map *out);

/* Unmaps the port's own rings, at its end. */
void tr_shm_rings_unmap(struct tr_port *port);

/* Judges what was posted, then breaks every remote into the peer's segment, which is about to go.
 */
void tr_shm_remotes_break(struct tr_port *port, uint32_t peer_index);

TR_END_C

#endif
