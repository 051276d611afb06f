/* The inside of the verbs driver.
 *
 * Between two ports lies a *link*: a TCP connection of the exchange (control.c), whose end is also
 * how the death of the peer's process is noticed; and, made through it:
 *  - the *channel* (channel.c, message.c): a reliable connection for messages. Each side has as
 *    many receive slots posted as the other may have under way, so that no SEND ever finds none.
 *    How many of them were read is written into the sender's *board*, a page that the other side
 *    may WRITE to, as is how far a ring was consumed. When the connection breaks, both sides reset
 *    it and go on from what the other has received: nothing is lost or doubled while the link
 * lives.
 *  - a reliable connection a ring (ring.c, fence.c: the owner's end; remote.c, write.c: the
 *    writer's), made anew for each grant, on a protection domain of its own: nothing else can
 *    reach the ring's memory.
 *
 * A grant is a frame on the link (GRANT) with the ring's key; the token that travels in a promise
 * only names it. All of this is done by the port's owner thread; the exchange has its turn in
 * rx_burst, by time.
 *
 * Two kinds of ports have no rings, and the key of clients instead of the cluster's: a *door*
 * adopts who comes (adopt.c), and an *ephemeral* port, at port 0, is a client's: it is nowhere to
 * be found, and connects to whom it has something to say. */
#ifndef TR_DRIVERS_VERBS_INNER_H
#define TR_DRIVERS_VERBS_INNER_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/bytes.h"
#include "drivers/driver.h"
#include "drivers/extra.h"
#include "drivers/gather.h"
#include "drivers/verbs/key.h"
#include "drivers/verbs/verbs.h"
#include "trireme/error.h"

#include <infiniband/verbs.h>
#include <netinet/in.h>
#include <string.h>

TR_BEGIN_C

#define PEERS_MAX         256
#define STRANGERS         4 /* places of a door for who is not adopted, beside those who are */
#define BURST_MAX         256
#define WRITES_MAX        128  /* posted and not polled, a peer: as many as two windows of a NIC */
#define RINGS_MAX         512  /* of a port, owned */
#define TARGETS_MAX       512  /* of a port, of others */
#define MEMORIES_MAX      64   /* ranges that write_post gathers from without a copy */
#define SLOT_BYTES        8192 /* of a message slot: two pages */
#define PIECE_HEAD_BYTES  8
#define BOARD_BYTES       4096
#define BOARD_ENTRIES     (BOARD_BYTES / sizeof(struct tr_verbs_note))
#define STAGE_BYTES       (2u << 20)
#define BATCH_REQUESTS    64
#define BATCH_SGES        512
#define GUESTS_MAX        8
#define MESSAGE_BYTES_MAX ((1u << 20) + (64u << 10))

/* Receives between two looks at the clock: of a member; and of a client, and of a door, which
 * nobody polls in more than one cycle of eight while it is quiet. */
#define POLLS_MEMBER 16
#define POLLS_CLIENT 2

/* Between turns of the exchange: when nothing is under way, and when something is. */
#define CONTROL_NS       UINT64_C(500000)
#define CONTROL_HURRY_NS UINT64_C(20000)

enum tr_verbs_fence { FENCE_AUTO, FENCE_WINDOW, FENCE_ACCESS, FENCE_RESET };
enum tr_verbs_settle { SETTLE_AUTO, SETTLE_READ, SETTLE_GRACE };

struct tr_verbs_extra {
    char key[TR_EXTRA_WORD_BYTES], client_key[TR_EXTRA_WORD_BYTES];
    char device[TR_EXTRA_WORD_BYTES];
    char fence[TR_EXTRA_WORD_BYTES], settle[TR_EXTRA_WORD_BYTES];
    uint64_t device_port, gid, ack_timeout, retries;
    bool grh;
};

/* Where a node's end of its connections is. */
struct tr_verbs_path {
    uint8_t gid[16];
    uint32_t mtu; /* enum ibv_mtu */
    uint16_t lid;
    uint8_t is_ethernet;
    uint8_t zero;
};

struct tr_verbs_device {
    struct ibv_context *context;
    struct ibv_device_attr attr;
    struct tr_verbs_path path;
    uint8_t port;
    uint8_t gid_index;
    bool is_software; /* packets are handled by the kernel on any CPU */
    enum tr_verbs_fence fence;
    enum tr_verbs_settle settle;
    uint32_t inline_max, sge_max;
    int in_order;        /* what ibv_query_qp_data_in_order said */
    struct ibv_pd *pd;   /* of messages and sources */
    struct ibv_qp *loop; /* connected to itself: probes, and the READ that settles a fence */
    struct ibv_cq *loop_cq;
    struct ibv_mr *loop_mr;
    uint64_t *loop_memory; /* two words */
    uint64_t reads, reads_ended, reads_void;
};

/* Frames of the exchange. */
enum tr_verbs_frame_type {
    FRAME_CONNECT = 1, /* my end of the channel's connection number `number` */
    FRAME_READY,       /* it may be sent to */
    FRAME_RING,        /* I have a ring for you: my end of its connection */
    FRAME_WRITER,      /* my end, to your ring; `number`: the entry of my board that tells it */
    FRAME_GRANT,       /* a ring's key */
};

struct tr_verbs_frame {
    uint32_t type;
    uint32_t ring;
    uint32_t number;
    uint32_t qpn, psn, rkey;
    uint32_t bytes; /* of a ring; of the longest message */
    uint32_t slots;
    uint64_t generation; /* of a grant; RING: the one that was lost with the last link */
    uint64_t address;
    uint64_t count;       /* messages received */
    uint64_t incarnation; /* of the sender's port */
    struct tr_verbs_path path;
    uint8_t zero[8];
};

/* What one side writes into the other's board: a position and what proves it whole and of its
 * generation. */
struct tr_verbs_note {
    uint64_t position, seal;
};

/* Source: the finalizer of MurmurHash3. */
static inline uint64_t tr_verbs_seal(uint64_t position, uint64_t generation)
{
    uint64_t x = position + generation * UINT64_C(0x9e3779b97f4a7c15) + 1;
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

enum tr_verbs_link_state {
    LINK_NONE,       /* no connection; the client tries again at retry_ns */
    LINK_CONNECTING, /* TCP */
    LINK_GREETED,    /* hello sent, the other's is awaited */
    LINK_KEYED,      /* frames may be sent */
};

#define LINK_OUT_BYTES (64u << 10)

/* A connection of the exchange. */
struct tr_verbs_link {
    int fd; /* -1: none */
    enum tr_verbs_link_state state;
    bool is_confirmed; /* the other end has shown that it has the key */
    uint64_t retry_ns, wait_ns;
    uint8_t secret[32];
    struct tr_verbs_hello hello;
    struct tr_verbs_session session;
    uint32_t in_bytes, out_bytes;
    uint8_t in[TR_VERBS_FRAME_BYTES + TR_VERBS_SEAL_BYTES];
    uint8_t *out; /* LINK_OUT_BYTES, what the socket did not take yet */
};

/* Somebody who connected and has not proved who he is. */
struct tr_verbs_guest {
    struct tr_verbs_link link;
    uint32_t peer; /* index; UINT32_MAX: no hello yet, or a stranger */
    bool is_stranger;
    uint64_t end_ns;
};

/* The connection for messages. Counters begin with the link and count messages' pieces. */
struct tr_verbs_channel {
    struct ibv_pd *pd; /* of its own: through it nothing but the board can be written to */
    struct ibv_qp *qp;
    uint32_t number; /* of the connection within the link; 0: none yet */
    uint32_t psn;
    bool is_told;   /* CONNECT of this number went out */
    bool is_heard;  /* CONNECT of this number came: connected */
    bool is_ready;  /* READY of this number came: may be sent to */
    bool is_broken; /* to be made anew */
    uint32_t other_qpn;
    /* Sending. */
    uint8_t *out; /* slots, a ring */
    uint32_t *out_bytes;
    struct ibv_mr *out_mr;
    uint64_t out_tail, out_posted, out_done;
    uint64_t out_read; /* by the other side, as the board says */
    uint32_t other_slots;
    uint32_t message_bytes_max;       /* of both sides */
    uint64_t requests, requests_done; /* on the send queue */
    uint64_t *request_out;            /* out_posted after each, a ring */
    /* Receiving. */
    uint8_t *in;
    bool *is_free; /* each slot: nothing is in it that is wanted */
    struct ibv_mr *in_mr;
    uint64_t in_count, in_read, in_told;
    uint8_t *whole; /* where a message of more than one piece is put together */
    uint32_t whole_bytes, whole_have;
    bool is_held; /* it was handed up */
    /* Boards. */
    struct tr_verbs_note *board; /* the other side writes here */
    struct ibv_mr *board_mr;
    uint64_t other_board;
    uint32_t other_board_key;
    struct tr_verbs_note *notes; /* what we want to stand in the other's */
    uint64_t *note_dirty;        /* bitmap */
    bool is_note_dirty;
};

struct tr_verbs_peer {
    tr_node_id id; /* 0: free, or a stranger who is not adopted */
    bool has_memory;
    bool is_client;   /* this side connects */
    bool is_stranger; /* it came to a door, with the clients' key */
    bool is_used;     /* it was written to, or wrote, since the last turn of the exchange */
    uint64_t used_ns;
    uint64_t settled_ns; /* a stranger's: the last time that its messages could come */
    struct sockaddr_storage address;
    socklen_t address_bytes;
    struct tr_verbs_link link;
    uint32_t link_number; /* counts the links to this peer */
    uint64_t incarnation; /* of its port; 0: not known */
    struct tr_verbs_path path;
    struct tr_verbs_channel channel;
    bool is_up;
    /* What events told. */
    bool told_up;
    uint32_t told_link;
    uint64_t told_incarnation;
    /* Writes. */
    uint32_t writes_open;
    uint8_t *stage; /* copies of what lies in no registered memory */
    struct ibv_mr *stage_mr;
    uint32_t stage_bytes;
    uint64_t entries[BOARD_ENTRIES / 64]; /* of our board that are given out */
};

enum tr_verbs_ring_state {
    RING_CLOSED,   /* nobody can write */
    RING_GRANTED,  /* the writer's end is not known yet */
    RING_OPEN,     /* connected; the writer has the key */
    RING_REVOKING, /* an invalidation is under way */
    RING_SETTLING, /* refused from here on; what began before may still land */
};

/* The owner's end of a ring. */
struct tr_verbs_ring {
    enum tr_verbs_ring_state state;
    uint32_t peer; /* index; UINT32_MAX: not added yet */
    tr_node_id writer;
    uint32_t bytes;
    uint8_t *memory;
    struct ibv_pd *pd;
    struct ibv_mr *mr;
    struct ibv_mw *mw;
    struct ibv_qp *qp;
    uint32_t rkey;
    uint32_t psn;
    uint64_t generation, generation_lost;
    uint64_t consumed;
    /* Of the link: */
    uint32_t writer_qpn; /* 0: not known */
    uint32_t entry;
    uint32_t request; /* the last on its queue that was waited for */
    bool is_done, is_failed;
    uint64_t read; /* that settles the fence; 0: none begun */
    uint64_t end_ns;
};

/* A ring of another, as its writer knows it. */
struct tr_verbs_target {
    bool is_used;
    uint32_t peer, ring, entry;
    struct ibv_qp *qp;
    uint32_t owner_qpn;
    struct tr_verbs_frame grant; /* the newest; generation 0: none */
    uint64_t generation_lost;
    uint64_t generation; /* that it is connected for; 0: not */
    uint32_t connection; /* of the port's count: tells old completions */
};

struct tr_verbs_write {
    uint64_t cookie;
    uint32_t first; /* number of the first write of its request */
    enum tr_write_status status;
};

/* An open end of a grant. */
struct tr_verbs_remote {
    bool is_used, is_dead, is_listed;
    uint32_t target, peer;
    tr_node_id node;
    uint64_t generation;
    uint64_t consumed;
    uint32_t posted, done, polled; /* writes, modulo 2^32 */
    struct tr_verbs_write *write;  /* WRITES_MAX */
};

/* Writes on their way to the queue of one remote: one doorbell for all. */
struct tr_verbs_batch {
    uint32_t remote; /* UINT32_MAX: empty */
    uint32_t request_count, sge_count;
    uint32_t offset_end; /* where the last request ends in the ring */
    uint32_t bytes;      /* of the last request */
    struct ibv_send_wr request[BATCH_REQUESTS];
    struct ibv_sge sge[BATCH_SGES];
};

/* A slot that rx_burst gave out. */
struct tr_verbs_handed {
    uint32_t peer, slot, link_number;
};

struct tr_port {
    const struct tr_driver *driver;
    tr_node_id self;
    uint32_t queue;
    uint32_t peers_max, adopt_max, message_bytes_max, slots;
    bool has_rings;    /* a member's port */
    bool is_ephemeral; /* a client's */
    uint64_t incarnation, random;
    struct tr_memory memory;
    struct tr_verbs_extra extra;
    uint8_t key[TR_VERBS_KEY_BYTES];
    struct tr_verbs_device device;
    int lock_fd, listen_fd, epoll_fd;
    uint64_t control_ns;
    uint32_t polls, polls_mask; /* receives; those between two looks at the clock */
    struct ibv_cq *cq_in, *cq_out, *cq_write, *cq_ring;
    struct tr_verbs_peer *peer; /* place_count */
    uint32_t place_count;
    uint32_t adopt_first; /* from this index on a place can be a stranger's */
    struct tr_verbs_guest guest[GUESTS_MAX];
    uint32_t links_unsettled; /* links that are not up: the exchange hurries */
    /* Receiving. */
    struct ibv_wc *stash; /* completions taken and not looked at */
    uint32_t stash_max, stash_head, stash_count;
    struct tr_verbs_handed handed[BURST_MAX];
    uint32_t handed_count;
    /* Rings. */
    struct tr_verbs_ring *ring; /* RINGS_MAX */
    uint32_t ring_count;
    struct tr_verbs_target *target; /* TARGETS_MAX */
    uint32_t target_count, connections;
    struct tr_verbs_remote *remote; /* TARGETS_MAX */
    uint32_t remote_count;
    uint32_t *listed; /* remotes that have completions to give out, a ring */
    uint32_t listed_head, listed_tail;
    struct tr_verbs_batch batch;
    struct ibv_mr *range[MEMORIES_MAX];
    uint32_t range_count, range_last;
    struct tr_port_stats stats;
    bool link_is_down, link_told_down;
};

#define LISTED_MASK (TARGETS_MAX - 1)

/* Memory of the arena, zeroed. Returns: NULL when it is spent. */
static inline void *tr_verbs_take(struct tr_port *port, size_t bytes, size_t align)
{
    void *at = port->memory.allocate(port->memory.context, bytes, align);
    return at != NULL ? memset(at, 0, bytes) : NULL;
}

/* device.c: the name of the device that a port of these options and this address would open.
 * Returns: false when there is none. */
bool tr_verbs_device_name(const struct tr_verbs_extra *extra,
                          const struct sockaddr_storage *address, char *name, size_t name_bytes);

/* device.c: finds the device of the port's address, opens it. Returns: TR_OK or an error, with a
 * sentence in the options' error. */
int tr_verbs_device_open(struct tr_port *port, const struct tr_port_options *options,
                         const struct sockaddr_storage *address);
void tr_verbs_device_close(struct tr_port *port);

/* probe.c: which fence the device can do, by trying. Returns: TR_OK, TR_ENOTSUP. */
int tr_verbs_probe(struct tr_port *port, const struct tr_port_options *options);
/* READs by the device from this host's memory: when one has ended, what the device had begun to
 * write before it began is visible. Begin returns its number, 0 when none can be begun now; ended
 * returns TR_OK, TR_AGAIN, TR_EIO (it broke: begin another). */
uint64_t tr_verbs_read_begin(struct tr_port *port);
int tr_verbs_read_ended(struct tr_port *port, uint64_t number);

/* connect.c: the states of a connection. Each returns 0 or an errno. */
struct ibv_qp *tr_verbs_qp_create(struct tr_port *port, struct ibv_pd *pd, struct ibv_cq *cq_send,
                                  struct ibv_cq *cq_recv, const struct ibv_qp_cap *cap);
int tr_verbs_qp_reset(struct ibv_qp *qp);
int tr_verbs_qp_connect(struct tr_port *port, struct ibv_qp *qp, int access,
                        const struct tr_verbs_path *path, uint32_t qpn, uint32_t psn_in,
                        uint32_t psn_out);
uint32_t tr_verbs_psn(struct tr_port *port);

/* lock.c: one port an address of this host, and none before its predecessor's process is gone.
 * Returns: TR_OK, TR_EBUSY, TR_ESYS. */
int tr_verbs_lock(struct tr_port *port, const struct tr_port_options *options,
                  const struct sockaddr_storage *address);
void tr_verbs_unlock(struct tr_port *port);

/* control.c: the exchange. */
int tr_verbs_control_open(struct tr_port *port, const struct tr_port_options *options,
                          const struct sockaddr_storage *address, socklen_t address_bytes);
void tr_verbs_control_close(struct tr_port *port);
void tr_verbs_control_poll(struct tr_port *port, uint64_t now_ns);
void tr_verbs_link_down(struct tr_port *port, uint32_t peer);
void tr_verbs_link_send(struct tr_port *port, uint32_t peer, const struct tr_verbs_frame *frame);
uint64_t tr_verbs_now_ns(void);

/* adopt.c: who comes to a door. */
int tr_verbs_strangers_open(struct tr_port *port);
/* A place for one more; the one who has been there for longest without a word may lose it. Returns:
 * its index, UINT32_MAX when there is none. */
uint32_t tr_verbs_stranger_take(struct tr_port *port);
/* The link of a stranger is down. */
void tr_verbs_stranger_end(struct tr_port *port, uint32_t peer);
/* Ends the link of a stranger whose messages cannot come. */
void tr_verbs_stranger_tend(struct tr_port *port, uint32_t peer, uint64_t now_ns);
/* Whether what it has said is still to be handed up. */
bool tr_verbs_stranger_has_words(struct tr_port *port, uint32_t peer);
/* An adopted peer is a stranger again. */
void tr_verbs_stranger_release(struct tr_port *port, uint32_t peer);
int tr_verbs_peer_adopt(struct tr_port *port, tr_node_id id, uint32_t source);

/* channel.c: making, breaking and mending the connection for messages. */
int tr_verbs_channel_take(struct tr_port *port, struct tr_verbs_peer *peer);
void tr_verbs_channel_begin(struct tr_port *port, uint32_t peer); /* a new connection */
void tr_verbs_channel_connect(struct tr_port *port, uint32_t peer,
                              const struct tr_verbs_frame *frame);
void tr_verbs_channel_ready(struct tr_port *port, uint32_t peer,
                            const struct tr_verbs_frame *frame);
void tr_verbs_channel_end(struct tr_port *port, uint32_t peer);
void tr_verbs_channel_give_back(struct tr_port *port, struct tr_verbs_peer *peer);
void tr_verbs_slot_post(struct tr_port *port, uint32_t peer, uint32_t slot);
void tr_verbs_note(struct tr_verbs_channel *channel, uint32_t entry, uint64_t position,
                   uint64_t generation);
/* Takes completions of receives out of the queue, into the stash. */
void tr_verbs_stash(struct tr_port *port);

/* message.c: operations of the driver. */
uint32_t tr_verbs_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max);
uint32_t tr_verbs_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count);
int tr_verbs_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                      uint32_t segment_count);
void tr_verbs_tx_flush(struct tr_port *port);
/* Waits, for a bounded time, until what was sent has arrived. */
void tr_verbs_tx_drain(struct tr_port *port);
/* Takes completions of sends: what they free, and whether a connection broke. */
void tr_verbs_reap(struct tr_port *port);

/* ring.c and fence.c. */
int tr_verbs_ring_create(struct tr_port *port, const struct tr_ring_options *options,
                         struct tr_ring_info *out);
int tr_verbs_ring_grant(struct tr_port *port, uint32_t ring, uint64_t generation,
                        struct tr_ring_token *out);
void tr_verbs_ring_consumed(struct tr_port *port, uint32_t ring, uint64_t position);
void tr_verbs_rings_offer(struct tr_port *port, uint32_t peer);
void tr_verbs_ring_writer(struct tr_port *port, uint32_t peer, const struct tr_verbs_frame *frame);
void tr_verbs_rings_lose(struct tr_port *port, uint32_t peer);
void tr_verbs_rings_close(struct tr_port *port);
int tr_verbs_fence_start(struct tr_port *port, uint32_t ring);
int tr_verbs_fence_poll(struct tr_port *port, uint32_t ring);
/* Closes the connection of a ring whose writer is gone, for good. Returns: whether nothing was
 * written through it, so that its grant can be given to the writer's next connection. */
bool tr_verbs_ring_unused(struct tr_port *port, struct tr_verbs_ring *ring);
/* Waits for a request on a ring's queue, for a bounded time. Returns: whether it was done. */
bool tr_verbs_ring_wait(struct tr_port *port, struct tr_verbs_ring *ring, uint64_t limit_ns);
/* Takes completions of rings' queues. */
void tr_verbs_ring_poll(struct tr_port *port);

/* What a token says: it names a grant, and opens nothing by itself. */
struct tr_verbs_token {
    uint32_t magic, ring;
    uint64_t incarnation, generation;
    uint16_t writer, owner;
    uint32_t zero[5];
};
#define TR_VERBS_TOKEN_MAGIC 0x62726576u
tr_static_assert(sizeof(struct tr_verbs_token) == TR_RING_TOKEN_BYTES, "filled to its end");

/* remote.c and write.c. */
void tr_verbs_target_ring(struct tr_port *port, uint32_t peer, const struct tr_verbs_frame *frame);
void tr_verbs_target_grant(struct tr_port *port, uint32_t peer, const struct tr_verbs_frame *frame);
void tr_verbs_targets_lose(struct tr_port *port, uint32_t peer);
void tr_verbs_targets_close(struct tr_port *port);
int tr_verbs_remote_open(struct tr_port *port, tr_node_id id, const struct tr_ring_token *token,
                         uint64_t generation, uint32_t *remote);
void tr_verbs_remote_close(struct tr_port *port, uint32_t remote);
uint64_t tr_verbs_remote_consumed(struct tr_port *port, uint32_t remote);
/* Every write of it that has no outcome is broken, and so are those to come. */
void tr_verbs_remote_break(struct tr_port *port, uint32_t remote);
int tr_verbs_write_post(struct tr_port *port, uint32_t remote, uint32_t offset,
                        const struct tr_segment *segment, uint32_t segment_count, uint64_t cookie);
uint32_t tr_verbs_write_poll(struct tr_port *port, struct tr_write_completion *out, uint32_t max);
void tr_verbs_write_flush(struct tr_port *port);
int tr_verbs_memory_add(struct tr_port *port, const void *base, size_t bytes);

/* The index of a peer; UINT32_MAX: none. */
uint32_t tr_verbs_peer_find(const struct tr_port *port, tr_node_id id);

TR_END_C

#endif
