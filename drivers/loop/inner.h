/* The loop driver: ports of one process that reach each other through memory. It is whole and as
 * small as a driver gets: read it first, and start from it when you write one.
 *
 * A fabric has *places*, one an address; a port occupies its place while it is open. Between two
 * places lie two *channels*, one a direction: byte rings with one sender and one receiver. The
 * receiver hands messages up where they lie, and gives their room back at its next rx_burst: the
 * sender is in the same process, so that nothing needs a private copy.
 *
 * Threads may poll ports at the same time, each port by one of them. What they share:
 *  - (A) the sender releases a channel's tail after it wrote the messages below; the receiver
 *    acquires it.
 *  - (B) the receiver releases the head after it is done with the messages below; the sender
 *    acquires it.
 *  - (C) a port releases its place's epoch when it opens and closes; those who have it as a peer
 *    acquire it.
 *  - (D) the fence word of a ring (drivers/fence.h): either the owner finds the bytes of a write,
 *    or the writer finds the ring closed and does not count it.
 *  - (E) who adds a channel to a place releases the place's channel_count; the place's port
 *    acquires it.
 * Everything else (open, close, peers, rings) is done under the fabric's lock. */
#ifndef TR_DRIVERS_LOOP_INNER_H
#define TR_DRIVERS_LOOP_INNER_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/bytes.h"
#include "drivers/fence.h"
#include "drivers/gather.h"
#include "drivers/loop/loop.h"

#include <pthread.h>
#include <string.h>
#include <trireme/error.h>

#define NAME_BYTES        64
#define WRITES_MAX        64 /* posted and not polled, a peer */
#define REMOTES_MAX       TR_LOOP_RINGS_MAX
#define BURST_MAX         256
#define MESSAGE_BYTES_MAX ((1u << 20) + (64u << 10))
#define QUEUE_BYTES       (4u << 20)
#define MESSAGE_HEAD      8u         /* bytes before each message: its length */
#define SKIP              UINT32_MAX /* instead of a length: the next message lies at the channel's start */
#define TOKEN_MAGIC       0x706f6f6cu

struct channel {
    uint32_t from, to; /* places; constant, as is the memory's address */
    unsigned char *memory;
    /* Written by the sender only. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 tail;
    uint64_t head_seen; /* head_seen <= head */
    /* Written by the receiver only. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 head;
    uint64_t taken; /* head <= taken <= tail: handed up, released at the next rx_burst */
};

struct place {
    char name[NAME_BYTES];
    uint32_t queue;
    tr_atomic_u64 epoch;         /* odd: a port is open; grows by one at open and at close */
    tr_atomic_u32 channel_count; /* channels that lead here */
    struct channel *channel[TR_LOOP_PLACES_MAX];
};

/* A ring lies here until its owner and all writers have let go of it: one that a writer may still
 * store to is never used again. */
struct ring {
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 fence; /* the granted generation; 0: closed */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 consumed;
    TR_ALIGNED(TR_CACHE_LINE) unsigned char *memory;
    uint32_t bytes;
    uint32_t users; /* the owner and the open remotes; 0: may be used again */
    uint32_t place;
    uint64_t epoch; /* of the place, when the ring was created */
    tr_node_id writer;
};

struct tr_loop_fabric {
    pthread_mutex_t lock;
    uint32_t message_bytes_max, queue_bytes;
    struct tr_memory memory;
    uint32_t place_count, ring_count;
    struct place place[TR_LOOP_PLACES_MAX];
    struct ring *ring[TR_LOOP_RINGS_MAX];
};

struct peer {
    tr_node_id id; /* 0: removed, or never used */
    struct place *place;
    struct channel *out;
    uint64_t epoch_seen;
    bool was_up;
    uint32_t writes_open;
};

struct remote {
    struct ring *ring; /* NULL: not open */
    struct peer *peer;
    uint64_t generation;
};

struct tr_port {
    const struct tr_driver *driver;
    struct tr_loop_fabric *fabric;
    struct place *place;
    tr_node_id self;
    uint32_t place_index;
    uint32_t peers_max, message_bytes_max;
    uint32_t next_channel; /* where the next rx_burst begins, so that no sender starves another */
    struct peer *peer;
    struct remote *remote; /* REMOTES_MAX */
    struct tr_write_completion *completion;
    uint32_t completion_mask;
    uint64_t completion_head, completion_tail;
    struct tr_port_stats stats;
};

/* Memory of an arena, aligned to cache lines. Returns: NULL when it is spent. */
static inline void *tr_loop_take(const struct tr_memory *memory, size_t bytes)
{
    return memory->allocate(memory->context, bytes, TR_CACHE_LINE);
}

/* The same, zeroed. */
static inline void *tr_loop_take_zeroed(const struct tr_memory *memory, size_t bytes)
{
    void *at = tr_loop_take(memory, bytes);
    return at != NULL ? memset(at, 0, bytes) : NULL;
}

/* The peer of that number (0: a place for a new one), or NULL. */
static inline struct peer *tr_loop_find_peer(const struct tr_port *port, tr_node_id id)
{
    for (uint32_t i = 0; i < port->peers_max; i++) {
        if (port->peer[i].id == id)
            return &port->peer[i];
    }
    return NULL;
}

/* Finds the place of an address, or makes it. Returns: TR_OK, TR_EADDR, TR_EFULL.
 * Thread: under the fabric's lock, as all of fabric.c. */
int tr_loop_find_place(struct tr_loop_fabric *fabric, const char *address, uint32_t queue,
                       uint32_t *out);

/* The channel between two places, or NULL. */
struct channel *tr_loop_find_channel(struct tr_loop_fabric *fabric, uint32_t from, uint32_t to);

/* Finds the channel between two places, or makes it. Returns: NULL when the memory is spent. */
struct channel *tr_loop_join(struct tr_loop_fabric *fabric, uint32_t from, uint32_t to);

/* ring.c: operations of the driver, as drivers/driver.h says. Thread: the port's owner. */
int tr_loop_ring_create(struct tr_port *port, const struct tr_ring_options *options,
                        struct tr_ring_info *out);
int tr_loop_ring_grant(struct tr_port *port, uint32_t handle, uint64_t generation,
                       struct tr_ring_token *out);
int tr_loop_fence_start(struct tr_port *port, uint32_t handle);
int tr_loop_fence_poll(struct tr_port *port, uint32_t handle);
void tr_loop_ring_consumed(struct tr_port *port, uint32_t handle, uint64_t position);
int tr_loop_remote_open(struct tr_port *port, tr_node_id id, const struct tr_ring_token *token,
                        uint64_t generation, uint32_t *remote);
void tr_loop_remote_close(struct tr_port *port, uint32_t handle);
int tr_loop_write_post(struct tr_port *port, uint32_t handle, uint32_t offset,
                       const struct tr_segment *segment, uint32_t segment_count, uint64_t cookie);
uint32_t tr_loop_write_poll(struct tr_port *port, struct tr_write_completion *out, uint32_t max);
uint64_t tr_loop_remote_consumed(struct tr_port *port, uint32_t handle);

/* Closes every ring of the port for ever, and every remote. Under the fabric's lock. */
void tr_loop_rings_close(struct tr_port *port);

#endif
