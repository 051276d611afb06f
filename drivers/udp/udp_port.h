/* The inside of a UDP port, shared by the driver's files only. */
#ifndef TR_DRIVERS_UDP_UDP_PORT_H
#define TR_DRIVERS_UDP_UDP_PORT_H

#include "drivers/driver.h"
#include "drivers/fragment.h"
#include "drivers/udp/udp_address.h"

#include <sys/socket.h>

TR_BEGIN_C

/* Datagrams that one receive call may bring, and the most that may be asked for. */
#define UDP_RX_SLOTS     32
#define UDP_RX_SLOTS_MAX 256

/* Room of a received datagram: the largest that UDP can carry (65,527 with IPv6), or that UDP_GRO
 * joins. */
#define UDP_RX_BYTES 65536

/* Three cache lines between the slots: were they a power of two apart, the headers of all of them
 * would fall on the same eight lines of the first cache. */
#define UDP_RX_STRIDE (UDP_RX_BYTES + 192)

/* Datagrams to peers over loopback: large enough that the cost of a system call a datagram is small
 * beside the copy, and the kernel's buffer still one allocation of 64 KiB. */
#define UDP_LOOPBACK_BYTES 61440

/* Payload to an address that no route is known of: Ethernet less IPv6's headers, a multiple of 8.
 */
#define UDP_DATAGRAM_DEFAULT 1448

/* The least payload that is worth cutting for: IPv6's smallest MTU less its headers. */
#define UDP_DATAGRAM_MIN 1232

/* Segments of one UDP_SEGMENT send: the kernel's limit before Linux 6.9. */
#define UDP_SEGMENTS_MAX 64

/* Bytes of one UDP_SEGMENT send: what an IP packet carries, less headers. */
#define UDP_SEND_BYTES_MAX 65400

/* tx_burst pushes by itself when it has gathered so many datagrams, or so many bytes to one peer,
 * so that receivers do not wait for the end of a long poll cycle. */
#define UDP_PUSH_SENDS 64
#define UDP_PUSH_BYTES (128u << 10)

/* What one rx_burst or tx_burst moves. */
#define UDP_BURST_MAX 256

/* The options' own keys (see udp.c). */
struct udp_extra {
    uint64_t rcvbuf_bytes, sndbuf_bytes;
    uint64_t reassembly, strangers, burst;
    uint64_t busy_poll_us;
    bool gso, gro;
};

/* A send being gathered: a datagram, or several of one size that the kernel cuts apart (gso). */
struct udp_send {
    struct iovec piece;
    uint32_t lane;
    uint32_t messages;
    uint32_t segment_bytes;   /* of each datagram but the last, once there are two */
    uint32_t segment_count;   /* 1: no gso */
    struct tr_udp_address to; /* lane 0 only */
};

/* A peer, or in lane 0 everybody else: where messages to it gather, and where its own come
 * together. What a small message needs comes first. */
struct udp_lane {
    uint8_t *staging;
    struct udp_send *open; /* the send whose last datagram can still grow; NULL: begin another */
    uint32_t open_room;    /* bytes that this datagram can still take; 0 without one */
    uint32_t staged_bytes; /* of the staging that is taken */
    tr_node_id peer;       /* 0: the lane is free (and in lane 0) */
    bool gso;              /* datagrams of equal size may leave as one send */
    bool is_heard;         /* a datagram of it has come: it is up */
    bool is_told;          /* and that was told */
    uint32_t datagram_bytes;
    struct tr_udp_key key;
    struct tr_udp_address address; /* lane 0: that of the last send */
    uint64_t added; /* orders the peers by age: of two at one address, the younger is there now */
    struct tr_reassembly reassembly;
};

/* The control message that asks for UDP_SEGMENT. */
union udp_control {
    char bytes[CMSG_SPACE(sizeof(uint16_t))];
    struct cmsghdr align;
};

/* A received datagram's place. */
struct udp_slot {
    struct tr_udp_address from;
    uint32_t lane;
};

struct tr_port {
    struct tr_port_head head;
    int fd;
    bool rx_expects_burst; /* the last receive brought something */
    bool rx_is_found;      /* the sender of the first slot is known */
    bool tx_blocked;       /* the kernel had no room at the last push */
    uint32_t queue_index;
    uint32_t message_bytes_max;
    uint32_t mtu; /* asked; 0: found a peer */
    uint32_t staging_bytes;
    struct udp_extra extra;
    struct tr_memory memory;
    struct tr_udp_address address;
    struct tr_port_stats stats;
    uint64_t message_next; /* number of the next message that is cut */

    /* Receiving: slots [rx_slot, rx_count) hold datagrams not yet handed up; rx_at is in the first.
     */
    uint32_t rx_slot, rx_count, rx_at;
    uint32_t rx_held; /* reassembled messages that the last rx_burst handed up */
    uint32_t rx_slots;
    uint8_t *rx_bytes; /* rx_slots of UDP_RX_STRIDE */
    struct udp_slot *rx_from;
    struct mmsghdr *rx_headers;
    struct iovec *rx_pieces;

    /* Sending: sends [tx_head, tx_count) wait to be pushed. */
    uint32_t tx_head, tx_count, tx_max;
    struct udp_send *sends;
    struct mmsghdr *tx_headers;
    union udp_control *tx_controls;

    /* Peers: lanes 1 .. peers_max; open addressing by address and by node, an entry is a lane, 0
     * free. */
    uint32_t peers_max, peer_count, adopt_max;
    uint32_t untold_count; /* lanes heard and not told */
    uint64_t added;
    uint32_t table_mask;
    struct udp_lane *lanes;
    uint16_t *by_address;
    uint16_t *by_node;
};

/* Zeroed memory from the port's arena; NULL when that is spent. */
static inline void *tr_udp_take(const struct tr_port *port, size_t bytes)
{
    void *at = port->memory.allocate(port->memory.context, bytes, TR_CACHE_LINE);
    if (at != NULL)
        memset(at, 0, bytes);
    return at;
}

/* The lane that a source address belongs to; 0 if nobody's. Cost: a hash and a comparison. */
static inline uint32_t tr_udp_lane_of(const struct tr_port *port, const struct tr_udp_key *key)
{
    uint32_t at = (uint32_t)tr_udp_key_hash(key) & port->table_mask;
    uint32_t lane;
    while ((lane = port->by_address[at]) != 0) {
        if (tr_udp_key_equal(&port->lanes[lane].key, key))
            return lane;
        at = (at + 1) & port->table_mask;
    }
    return 0;
}

/* The lane of a peer; 0 if there is none of that number. */
static inline uint32_t tr_udp_lane_of_peer(const struct tr_port *port, tr_node_id peer)
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

/* Takes the sending side's memory. Returns: TR_OK or TR_ENOMEM. */
int tr_udp_tx_init(struct tr_port *port);

/* Takes the receiving side's memory. Returns: TR_OK or TR_ENOMEM. */
int tr_udp_rx_init(struct tr_port *port);

/* Takes a lane's memory, the first time that it is used. Returns: TR_OK or TR_ENOMEM. */
int tr_udp_lane_init(struct tr_port *port, struct udp_lane *lane, uint32_t reassembly_count);

/* Gives up what waits to be sent to a lane (its peer was removed). */
void tr_udp_tx_forget(struct tr_port *port, uint32_t lane);

/* Operations of the driver's table (see driver.h): tr_driver.rx_burst, */
uint32_t tr_udp_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max);
/* tr_driver.tx_burst, */
uint32_t tr_udp_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count);
/* tr_driver.tx_reply, */
int tr_udp_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                    uint32_t segment_count);
/* tr_driver.tx_flush. */
void tr_udp_tx_flush(struct tr_port *port);

TR_END_C

#endif
