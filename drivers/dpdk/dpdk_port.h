/* The inside of a port, shared by the driver's files only. */
#ifndef TR_DRIVERS_DPDK_DPDK_PORT_H
#define TR_DRIVERS_DPDK_DPDK_PORT_H

#include "drivers/dpdk/device.h"
#include "drivers/dpdk/neighbour.h"
#include "drivers/dpdk/packet.h"
#include "drivers/driver.h"
#include "drivers/fragment.h"

#include <rte_mbuf.h>

TR_BEGIN_C

/* Frames that one rx_burst may take from the devices, and from one of them. */
#define DPDK_RX_SLOTS 64
#define DPDK_RX_BURST 32

/* Messages that one rx_burst or tx_burst moves. */
#define DPDK_BURST_MAX 256

/* Buffers that are taken from a pool at once. */
#define DPDK_STASH 32

/* tx_burst pushes by itself when so many frames wait, so that receivers do not wait for the end of
 * a long poll cycle. */
#define DPDK_PUSH_FRAMES 32

/* The least payload of a datagram: IPv6's smallest MTU less its headers. */
#define DPDK_PAYLOAD_MIN 1232

/* A link that a port polls and sends by: a queue pair of a device. */
struct dpdk_wire {
    struct dpdk_device *device; /* NULL: free */
    uint16_t id;                /* the device's number in DPDK */
    uint16_t queue;
    bool is_up;
    bool is_second;      /* the queue's first port polls it for this one */
    bool is_polled;      /* memif: only while there is a peer */
    bool is_told_up;     /* the state of the link that was told last */
    bool has_attached;   /* a message since the last flush: those behind it share a push instead */
    uint32_t lane;       /* of the only peer behind it (memif); 0: of everybody */
    uint32_t link_count; /* of changes that the device told, seen */
    enum tr_packet_checksum checksum;
    uint32_t attach_bytes;  /* payloads from so many on are not copied; UINT32_MAX: all are */
    struct tr_endpoint own; /* with the device's Ethernet address, and this port's UDP port */
    struct rte_mempool *pool;
    uint32_t stash_count;
    struct rte_mbuf *stash[DPDK_STASH];

    /* Frames [tx_head, tx_count) wait for room in the queue. */
    uint32_t tx_head, tx_count;
    struct rte_mbuf **tx; /* tx_max of the port */
};

/* A peer, or in lane 0 everybody else. What a small message needs comes first. */
struct dpdk_lane {
    struct rte_mbuf *open; /* the frame that messages gather in; NULL: begin another */
    uint32_t open_bytes;   /* payload in it */
    uint32_t open_room;    /* that it can still take; 0 without one */
    uint32_t open_messages;
    uint32_t wire;
    uint32_t payload_max; /* of a datagram, padding not counted; a multiple of 8 */
    tr_node_id peer;      /* 0: free (and in lane 0) */
    bool is_resolved;     /* its Ethernet address is known (lane 0: that of the last reply) */
    bool is_listed;       /* among the open lanes */
    bool is_adopted;      /* whoever writes from there is answered there, unasked */
    bool is_up, is_told_up;
    bool was_told;        /* it was told up before */
    bool is_renewed;      /* it was down since it was told up last */
    bool was_heard;       /* since it was looked at last */
    uint32_t asked_count; /* questions in a row without an answer */
    uint64_t ask_tsc;     /* when to ask next */
    struct tr_packet_front front;
    struct tr_endpoint end; /* its address and UDP port */
    struct tr_ip next_hop;  /* whose Ethernet address it is */
    uint16_t source_port;   /* that its datagrams may have instead of its own: see steering.h */
    uint64_t added;         /* of two at one address, the younger is there now */
    struct tr_reassembly reassembly;
    bool is_reassembly_made;
};

/* Instead of a lane: of a peer that was removed since. */
#define DPDK_LANE_GONE UINT32_MAX

/* A received frame. */
struct dpdk_slot {
    const uint8_t *payload; /* NULL: not read yet */
    uint32_t bytes;
    uint32_t lane;
    uint32_t wire;
    bool is_padded;
    bool is_handed;            /* by another queue, not by the device */
    struct tr_endpoint source; /* lane 0 only */
};

struct tr_port {
    struct tr_port_head head;
    uint32_t queue_index, queue_count;
    uint32_t message_bytes_max;
    uint64_t message_next; /* number of the next message that is cut */
    uint64_t tick_tsc;     /* when neighbours and links are looked at next */
    uint64_t tsc_per_ms;
    struct tr_memory memory;
    uint64_t memory_nodes; /* bits of NUMA nodes; 0: any */
    struct tr_port_stats stats;
    struct dpdk_options options;
    tr_node_id self;
    struct tr_endpoint own;
    int lock_fd;            /* of the memif directory; -1: none */
    uint32_t payload_asked; /* at most, of a datagram; 0: what the MTU allows */
    uint32_t tick_count;
    bool is_due; /* an event may be */

    uint32_t wire_max;  /* one, or with memif one a peer */
    uint32_t wire_next; /* the first that is asked, in turns */
    uint32_t tx_max;    /* frames that may wait for a wire */
    struct dpdk_wire *wires;

    /* Slots [rx_slot, rx_count) hold frames not yet handed up; rx_at is in the first. */
    uint32_t rx_slot, rx_count, rx_at;
    uint32_t rx_held; /* reassembled messages that the last rx_burst handed up */
    struct rte_mbuf *rx[DPDK_RX_SLOTS];
    struct dpdk_slot slots[DPDK_RX_SLOTS];

    /* Pools of closed devices, whose messages were handed up; freed when those are given back. */
    uint32_t left_count;
    struct rte_mempool *left[DPDK_RX_SLOTS];

    /* Lanes with a frame open. */
    uint32_t open_count;
    uint16_t *open_lanes;

    /* Peers: lanes 1 .. peers_max; open addressing by address and by node, an entry is a lane, 0
     * free. An address is in the first table twice, if its datagrams have two source ports. */
    uint32_t peers_max, peer_count, adopt_max;
    uint64_t added;
    uint32_t table_mask;
    struct dpdk_lane *lanes;
    uint16_t *by_address;
    uint16_t *by_node;
};

/* Zeroed memory from the port's arena; NULL when that is spent. */
static inline void *tr_dpdk_take(const struct tr_port *port, size_t bytes)
{
    void *at = port->memory.allocate(port->memory.context, bytes, TR_CACHE_LINE);
    if (at != NULL)
        memset(at, 0, bytes);
    return at;
}

/* Where the search for an address begins. Source: the finalizer of MurmurHash3. */
static inline uint32_t tr_dpdk_hash(const struct tr_ip *ip, uint16_t udp_port)
{
    uint64_t x = ip->word[0] * UINT64_C(0x9e3779b97f4a7c15) ^ ip->word[1] ^
                 (uint64_t)udp_port * UINT64_C(0xc2b2ae3d27d4eb4f);
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    return (uint32_t)x;
}

/* True if a lane's datagrams come from there. */
static inline bool tr_dpdk_is_from(const struct dpdk_lane *lane, const struct tr_ip *ip,
                                   uint16_t udp_port)
{
    return tr_ip_equal(&lane->end.ip, ip) &&
           (lane->end.port == udp_port || lane->source_port == udp_port);
}

/* The lane that a source belongs to; 0 if nobody's. */
static inline uint32_t tr_dpdk_lane_of(const struct tr_port *port, const struct tr_ip *ip,
                                       uint16_t udp_port)
{
    uint32_t at = tr_dpdk_hash(ip, udp_port) & port->table_mask;
    uint32_t lane;
    while ((lane = port->by_address[at]) != 0) {
        if (tr_dpdk_is_from(&port->lanes[lane], ip, udp_port))
            return lane;
        at = (at + 1) & port->table_mask;
    }
    return 0;
}

/* The lane of a peer; 0 if there is none of that number. */
static inline uint32_t tr_dpdk_lane_of_peer(const struct tr_port *port, tr_node_id peer)
{
    uint32_t at = peer & port->table_mask;
    uint32_t lane;
    while ((lane = port->by_node[at]) != 0) {
        if (port->lanes[lane].peer == peer)
            return lane;
        at = (at + 1) & port->table_mask;
    }
    return 0;
}

/* Gives up what waits to be sent by a wire, and its stash. */
void tr_dpdk_wire_clear(struct tr_port *port, struct dpdk_wire *wire);

/* A buffer to send by a wire; NULL when all are under way. */
struct rte_mbuf *tr_dpdk_take_frame(struct dpdk_wire *wire);

/* Puts a complete frame behind those that wait. Returns: false when there is no room; the frame is
 * the caller's still. */
bool tr_dpdk_queue_frame(struct tr_port *port, struct dpdk_wire *wire, struct rte_mbuf *frame);

/* Sends a frame of its own to a lane's peer (attach.c): a header, and the next bytes from there,
 * which the device reads where they lie. Nothing waits for the wire, and its checksum is NONE. When
 * it returns nobody refers to the bytes any more. Returns: false when it was not sent. */
bool tr_dpdk_attach(struct tr_port *port, struct dpdk_lane *lane, const void *header,
                    uint32_t header_bytes, const struct tr_gather_cursor *from, uint32_t bytes);

/* Gives the device what waits. */
void tr_dpdk_push(struct tr_port *port, struct dpdk_wire *wire);

/* Gives up a peer's frame that messages gather in. */
void tr_dpdk_tx_forget(struct tr_port *port, struct dpdk_lane *lane);

/* Gives up the received frames of a wire that is closed, but for those that were handed up, which
 * are their readers' until the next rx_burst. Returns: whether there are any. */
bool tr_dpdk_rx_forget(struct tr_port *port, uint32_t wire);

/* Makes the messages that a peer sent nobody's, since it is removed. */
void tr_dpdk_rx_disown(struct tr_port *port, uint32_t lane);

/* The table of the driver's own options; the struct that it fills is struct dpdk_options. Reads
 * them and checks what belongs together. Returns: TR_OK, TR_EINVAL. */
int tr_dpdk_options_read(struct dpdk_options *out, const struct tr_port_options *options);

/* The device that the options name, as the kernel calls it: a PCI address, or the interface that a
 * virtual device (AF_XDP, AF_PACKET) works through. */
void tr_dpdk_options_device(const struct dpdk_options *options, struct tr_device *out);

/* Neighbours (resolve.c): learns from and answers a frame that was received; returns whether it
 * said something to this node, */
bool tr_dpdk_neighbour_frame(struct tr_port *port, struct dpdk_wire *wire, const uint8_t *frame,
                             uint32_t bytes);
/* learns from one that another queue has answered, */
void tr_dpdk_neighbour_learn(struct tr_port *port, const struct dpdk_wire *wire,
                             const uint8_t *frame, uint32_t bytes);
/* asks for the Ethernet address of a lane now, */
void tr_dpdk_ask(struct tr_port *port, struct dpdk_lane *lane);
/* and looks, once a millisecond, who is to be asked and which links have changed. */
void tr_dpdk_tick(struct tr_port *port, uint64_t now_tsc);

/* Operations of the driver's table (see driver.h): tr_driver.rx_burst, */
uint32_t tr_dpdk_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max);
/* tr_driver.tx_burst, */
uint32_t tr_dpdk_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count);
/* tr_driver.tx_reply, */
int tr_dpdk_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                     uint32_t segment_count);
/* tr_driver.tx_flush, */
void tr_dpdk_tx_flush(struct tr_port *port);
/* tr_driver.events. */
uint32_t tr_dpdk_events(struct tr_port *port, struct tr_port_event *out, uint32_t max);

TR_END_C

#endif
