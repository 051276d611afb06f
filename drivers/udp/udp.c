/* The UDP driver's table: opening a port, its peers, and what it tells of itself. */
#include "drivers/udp/udp.h"

#include "base/assert.h"
#include "drivers/extra.h"
#include "drivers/udp/udp_port.h"
#include "trireme/error.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

/* Room for messages in the kernel while this thread does something else: 4 MiB hold 5,000 small
 * datagrams (the kernel counts about 800 bytes for each), several milliseconds of full load. */
#define SOCKET_BYTES_DEFAULT (4u << 20)

#define MESSAGE_BYTES_DEFAULT ((1u << 20) + (64u << 10))
#define PEERS_MAX             4096

static const struct tr_extra_key extra_keys[] = {
    {"rcvbuf", TR_EXTRA_BYTES, offsetof(struct udp_extra, rcvbuf_bytes), 4096, 1 << 30,
     "the socket's receive buffer; default 4M"},
    {"sndbuf", TR_EXTRA_BYTES, offsetof(struct udp_extra, sndbuf_bytes), 4096, 1 << 30,
     "the socket's send buffer; default 4M"},
    {"burst", TR_EXTRA_COUNT, offsetof(struct udp_extra, burst), 1, UDP_RX_SLOTS_MAX,
     "datagrams that one receive call may bring, 64 KiB of memory each; default 32"},
    {"reassembly", TR_EXTRA_COUNT, offsetof(struct udp_extra, reassembly), 1, 64,
     "messages larger than a datagram that a peer may have under way; default 4"},
    {"strangers", TR_EXTRA_COUNT, offsetof(struct udp_extra, strangers), 1, 64,
     "the same, for all senders together that are no peers; default 4"},
    {"gso", TR_EXTRA_FLAG, offsetof(struct udp_extra, gso), 0, 0,
     "let the kernel cut large sends into datagrams; default on"},
    {"gro", TR_EXTRA_FLAG, offsetof(struct udp_extra, gro), 0, 0,
     "let the kernel join datagrams received; default on"},
    {"busy_poll", TR_EXTRA_COUNT, offsetof(struct udp_extra, busy_poll_us), 0, 1000,
     "SO_BUSY_POLL, in us: receive calls poll the NIC's queue themselves; default 0"},
};

static const struct tr_extra_table extra_table = {"udp", extra_keys, TR_ARRAY_COUNT(extra_keys)};

static int error_of_errno(int number)
{
    switch (number) {
    case EADDRINUSE:
        return TR_EBUSY;
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
    case ENODEV:
        return TR_EADDR;
    case EACCES:
    case EPERM:
        return TR_EPERM;
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE:
        return TR_ENOMEM;
    default:
        return TR_EINVAL;
    }
}

/* Asks for a buffer of so many bytes, beyond the system's limit where the process may. Returns what
 * the kernel gave, in the same measure (it doubles what is asked, for its own headers). */
static uint64_t size_buffer(int fd, int option, int option_force, uint64_t bytes)
{
    int asked = (int)bytes, given = 0;
    socklen_t size = sizeof(given);
    if (setsockopt(fd, SOL_SOCKET, option_force, &asked, sizeof(asked)) != 0)
        setsockopt(fd, SOL_SOCKET, option, &asked, sizeof(asked));
    getsockopt(fd, SOL_SOCKET, option, &given, &size);
    return (uint64_t)given / 2;
}

static void size_buffers(struct tr_port *port, const struct tr_port_options *options)
{
    uint64_t rcvbuf = size_buffer(port->fd, SO_RCVBUF, SO_RCVBUFFORCE, port->extra.rcvbuf_bytes);
    uint64_t sndbuf = size_buffer(port->fd, SO_SNDBUF, SO_SNDBUFFORCE, port->extra.sndbuf_bytes);
    if (rcvbuf < port->extra.rcvbuf_bytes || sndbuf < port->extra.sndbuf_bytes)
        tr_explain(options->error, options->error_bytes,
                   "udp: the kernel gave %" PRIu64 " of %" PRIu64
                   " bytes of receive buffer and %" PRIu64 " of %" PRIu64
                   " of send buffer: bursts may be lost; raise net.core.rmem_max and "
                   "net.core.wmem_max, or ask for less with rcvbuf= and sndbuf=",
                   rcvbuf, port->extra.rcvbuf_bytes, sndbuf, port->extra.sndbuf_bytes);
}

/* Makes the socket as the options want it, not yet bound. */
static int open_socket(struct tr_port *port, const struct tr_port_options *options)
{
    int on = 1, off = 0;
    port->fd = socket(port->address.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (port->fd < 0) {
        int number = errno;
        tr_explain(options->error, options->error_bytes, "udp: no socket: %s", strerror(number));
        return error_of_errno(number);
    }
    if (port->address.any.sa_family == AF_INET6)
        setsockopt(port->fd, IPPROTO_IPV6, IPV6_V6ONLY,
                   tr_udp_is_wildcard(&port->address) ? &off : &on, sizeof(on));
    size_buffers(port, options);
    if (port->extra.gro)
        setsockopt(port->fd, SOL_UDP, UDP_GRO, &on, sizeof(on));
    if (port->extra.gso && setsockopt(port->fd, SOL_UDP, UDP_SEGMENT, &off, sizeof(off)) != 0)
        port->extra.gso = false;
    if (port->extra.busy_poll_us != 0) {
        int us = (int)port->extra.busy_poll_us;
        if (setsockopt(port->fd, SOL_SOCKET, SO_BUSY_POLL, &us, sizeof(us)) != 0) {
            tr_explain(options->error, options->error_bytes,
                       "udp: busy_poll=%d was refused (%s): it needs CAP_NET_ADMIN", us,
                       strerror(errno));
            return TR_EPERM;
        }
    }
    return TR_OK;
}

static int bind_socket(struct tr_port *port, const struct tr_port_options *options)
{
    int number;
    if (bind(port->fd, &port->address.any, port->address.bytes) == 0)
        return TR_OK;
    number = errno;
    tr_explain(options->error, options->error_bytes, "udp: cannot bind %s (queue %u): %s%s",
               options->address, options->queue_index, strerror(number),
               number == EADDRINUSE      ? "; another process has this port"
               : number == EADDRNOTAVAIL ? "; it is no address of this machine"
                                         : "");
    return error_of_errno(number);
}

/* Memory for the peers' table, and lane 0. */
static int make_lanes(struct tr_port *port)
{
    uint32_t table = 16;
    while (table < 4 * (port->peers_max + 1))
        table *= 2;
    port->table_mask = table - 1;
    port->lanes = tr_udp_take(port, (port->peers_max + 1) * sizeof(*port->lanes));
    port->by_address = tr_udp_take(port, table * sizeof(*port->by_address));
    port->by_node = tr_udp_take(port, table * sizeof(*port->by_node));
    if (port->lanes == NULL || port->by_address == NULL || port->by_node == NULL)
        return TR_ENOMEM;
    port->lanes[0].gso = port->extra.gso;
    port->lanes[0].datagram_bytes = UDP_DATAGRAM_DEFAULT;
    if (port->mtu != 0)
        port->lanes[0].datagram_bytes = port->mtu;
    else if (tr_udp_is_loopback(&port->address))
        port->lanes[0].datagram_bytes = UDP_LOOPBACK_BYTES;
    int result = tr_udp_lane_init(port, &port->lanes[0], (uint32_t)port->extra.strangers);
    for (uint32_t i = 1; i <= port->adopt_max && result == TR_OK; i++)
        result = tr_udp_lane_init(port, &port->lanes[i], (uint32_t)port->extra.reassembly);
    return result;
}

static int make_memory(struct tr_port *port, const struct tr_port_options *options)
{
    uint32_t unit = UDP_DATAGRAM_MIN - TR_PIECE_BYTES;
    uint32_t pieces = port->message_bytes_max / unit + 1;
    /* A lane takes at least one message of the largest size. */
    port->staging_bytes =
        tr_max_u32(options->queue_bytes, port->message_bytes_max + pieces * TR_PIECE_BYTES + 4096);
    if (tr_udp_rx_init(port) == TR_OK && tr_udp_tx_init(port) == TR_OK && make_lanes(port) == TR_OK)
        return TR_OK;
    return TR_ENOMEM;
}

static void explain_memory(const struct tr_port *port, const struct tr_port_options *options)
{
    uint64_t peer = (1 + port->extra.reassembly) * port->message_bytes_max;
    tr_explain(
        options->error, options->error_bytes,
        "udp: the arena is spent: a port takes about %" PRIu64 " KiB, and %" PRIu64
        " KiB more a peer",
        (port->extra.burst * UDP_RX_STRIDE + port->extra.strangers * port->message_bytes_max) /
            1024,
        peer / 1024);
}

static int refuse(const struct tr_port_options *options, const char *what, uint64_t value,
                  uint64_t least, uint64_t most)
{
    tr_explain(options->error, options->error_bytes,
               "udp: %s %" PRIu64 " is out of range: choose from %" PRIu64 " to %" PRIu64, what,
               value, least, most);
    return TR_EINVAL;
}

/* Reads the options into a port that is not yet in the arena. */
static int read_options(struct tr_port *port, const struct tr_port_options *options)
{
    int result;
    port->head.driver = &tr_driver_udp;
    port->fd = -1;
    port->memory = options->memory;
    port->queue_index = options->queue_index;
    port->peers_max = options->peers_max;
    port->adopt_max = tr_min_u32(options->adopt_max, options->peers_max);
    port->message_bytes_max =
        options->message_bytes_max != 0 ? options->message_bytes_max : MESSAGE_BYTES_DEFAULT;
    port->mtu = tr_align_down_u32(options->mtu, 8);
    port->extra = (struct udp_extra){.rcvbuf_bytes = SOCKET_BYTES_DEFAULT,
                                     .sndbuf_bytes = SOCKET_BYTES_DEFAULT,
                                     .reassembly = 4,
                                     .strangers = 4,
                                     .burst = UDP_RX_SLOTS,
                                     .gso = true,
                                     .gro = true};
    if (options->struct_bytes != sizeof(*options) || port->memory.allocate == NULL ||
        options->self == 0) {
        tr_explain(options->error, options->error_bytes,
                   "udp: needs options of %zu bytes (got %zu), memory and a node number",
                   sizeof(*options), options->struct_bytes);
        return TR_EINVAL;
    }
    if (port->peers_max == 0 || port->peers_max > PEERS_MAX)
        return refuse(options, "peers_max", port->peers_max, 1, PEERS_MAX);
    if (port->message_bytes_max > TR_FRAGMENT_MESSAGE_BYTES_MAX)
        return refuse(options, "message_bytes_max", port->message_bytes_max, 1,
                      TR_FRAGMENT_MESSAGE_BYTES_MAX);
    if (options->mtu != 0 && (port->mtu < UDP_DATAGRAM_MIN || port->mtu > UDP_LOOPBACK_BYTES))
        return refuse(options, "mtu", options->mtu, UDP_DATAGRAM_MIN, UDP_LOOPBACK_BYTES);
    result = tr_extra_parse(&extra_table, options->extra, &port->extra, options->error,
                            options->error_bytes);
    if (result != TR_OK)
        return result;
    return tr_udp_resolve(options->address, options->queue_index, NULL, &port->address,
                          options->error, options->error_bytes);
}

/* Message numbers start at random, so that the pieces of a restarted process are none of its
 * predecessor's messages. */
static uint64_t first_message(uint64_t seed)
{
    uint64_t number = seed;
    if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number))
        number = seed ^ ((uint64_t)getpid() << 32);
    return number;
}

static int udp_open(const struct tr_port_options *options, struct tr_port **out)
{
    struct tr_port draft = {.fd = -1};
    struct tr_port *port;
    int result;
    tr_explain(options->error, options->error_bytes, "%s", "");
    result = read_options(&draft, options);
    if (result != TR_OK)
        return result;
    result = open_socket(&draft, options);
    if (result == TR_OK)
        result = bind_socket(&draft, options);
    if (result != TR_OK)
        goto close_socket;
    draft.message_next = first_message(options->seed);
    result = TR_ENOMEM;
    port = tr_udp_take(&draft, sizeof(*port));
    if (port != NULL) {
        *port = draft;
        result = make_memory(port, options);
    }
    if (result != TR_OK) {
        explain_memory(&draft, options);
        goto close_socket;
    }
    *out = port;
    return TR_OK;
close_socket:
    if (draft.fd >= 0)
        close(draft.fd);
    return result;
}

static void udp_device(const struct tr_port_options *options, struct tr_device *out)
{
    struct tr_udp_address own;
    *out = (struct tr_device){.kind = TR_DEVICE_NONE};
    if (tr_udp_resolve(options->address, 0, NULL, &own, NULL, 0) == TR_OK &&
        tr_udp_interface(&own, out->name, sizeof(out->name)))
        out->kind = TR_DEVICE_NETWORK;
}

static void udp_close(struct tr_port *port)
{
    tr_udp_tx_flush(port);
    close(port->fd);
    port->fd = -1;
}

static void udp_limits(const struct tr_port *port, struct tr_port_limits *out)
{
    *out = (struct tr_port_limits){
        .message_bytes_max = port->message_bytes_max,
        .burst_max = UDP_BURST_MAX,
        .peers_max = port->peers_max,
    };
}

/* Builds both tables anew: peers come and go seldom. */
static void index_peers(struct tr_port *port)
{
    size_t bytes = (port->table_mask + 1) * sizeof(uint16_t);
    memset(port->by_address, 0, bytes);
    memset(port->by_node, 0, bytes);
    for (uint32_t lane = 1; lane <= port->peers_max; lane++) {
        const struct udp_lane *l = &port->lanes[lane];
        uint32_t at = (uint32_t)tr_udp_key_hash(&l->key) & port->table_mask;
        if (l->peer == 0)
            continue;
        while (port->by_address[at] != 0 &&
               !tr_udp_key_equal(&port->lanes[port->by_address[at]].key, &l->key))
            at = (at + 1) & port->table_mask;
        /* A member that lost its disk returns to its address under a new number, and may be added
         * before the old one is removed: the younger is there. */
        if (port->by_address[at] == 0 || port->lanes[port->by_address[at]].added < l->added)
            port->by_address[at] = (uint16_t)lane;
        at = l->peer & port->table_mask;
        while (port->by_node[at] != 0)
            at = (at + 1) & port->table_mask;
        port->by_node[at] = (uint16_t)lane;
    }
    if (port->rx_is_found) { /* found by the old tables */
        struct tr_udp_key key = tr_udp_key(&port->rx_from[port->rx_slot].from);
        port->rx_from[port->rx_slot].lane = tr_udp_lane_of(port, &key);
    }
}

/* Payload of datagrams to a peer. */
static uint32_t datagram_bytes_for(const struct tr_port *port, const struct tr_udp_address *to)
{
    uint32_t found;
    if (port->mtu != 0)
        return port->mtu;
    found = tr_min_u32(tr_udp_payload_max(to), UDP_LOOPBACK_BYTES);
    /* Below IPv6's smallest, let the kernel fragment. */
    return tr_align_down_u32(tr_max_u32(found, UDP_DATAGRAM_MIN), 8);
}

/* Whether a number can become a peer's. */
static int can_add(const struct tr_port *port, tr_node_id peer)
{
    if (peer == 0)
        return TR_EINVAL;
    if (tr_udp_lane_of_peer(port, peer) != 0)
        return TR_EEXIST;
    return port->peer_count == port->peers_max ? TR_EFULL : TR_OK;
}

/* Gives a peer a lane. */
static int add_at(struct tr_port *port, tr_node_id peer, const struct tr_udp_address *to,
                  uint32_t datagram_bytes)
{
    struct udp_lane *lane = NULL;
    int result;
    for (uint32_t i = 1; i <= port->peers_max && lane == NULL; i++)
        lane = port->lanes[i].peer == 0 ? &port->lanes[i] : NULL;
    tr_assert(lane != NULL);
    result = tr_udp_lane_init(port, lane, (uint32_t)port->extra.reassembly);
    if (result != TR_OK)
        return result;
    lane->address = *to;
    lane->key = tr_udp_key(to);
    lane->peer = peer;
    lane->added = ++port->added;
    lane->is_heard = false;
    lane->is_told = false;
    lane->datagram_bytes = datagram_bytes;
    lane->gso = port->extra.gso && 2 * lane->datagram_bytes <= UDP_SEND_BYTES_MAX;
    port->peer_count++;
    index_peers(port);
    return TR_OK;
}

static int udp_peer_add(struct tr_port *port, tr_node_id peer, const char *address)
{
    struct tr_udp_address to;
    int result = can_add(port, peer);
    if (result == TR_OK)
        result = tr_udp_resolve(address, port->queue_index, &port->address, &to, NULL, 0);
    if (result != TR_OK)
        return result;
    if (to.v4.sin_port == 0) /* at the same place in both families */
        return TR_EADDR;
    return add_at(port, peer, &to, datagram_bytes_for(port, &to));
}

/* What the route carries is not asked for: that takes system calls, and anybody can cause this. */
static int udp_peer_adopt(struct tr_port *port, tr_node_id peer, uint32_t source)
{
    int result = can_add(port, peer);
    if (result != TR_OK)
        return result;
    tr_assert(source < port->rx_slots);
    struct tr_udp_address to = port->rx_from[source].from;
    struct tr_udp_key key = tr_udp_key(&to);
    uint32_t bytes = port->mtu != 0            ? port->mtu
                     : tr_udp_is_loopback(&to) ? UDP_LOOPBACK_BYTES
                                               : UDP_DATAGRAM_DEFAULT;
    return tr_udp_lane_of(port, &key) != 0 ? TR_EEXIST : add_at(port, peer, &to, bytes);
}

static int udp_peer_remove(struct tr_port *port, tr_node_id peer)
{
    uint32_t lane = tr_udp_lane_of_peer(port, peer);
    if (lane == 0)
        return TR_ENOENT;
    tr_udp_tx_forget(port, lane);
    port->untold_count -= port->lanes[lane].is_heard && !port->lanes[lane].is_told;
    port->lanes[lane].peer = 0;
    memset(&port->lanes[lane].key, 0, sizeof(port->lanes[lane].key));
    port->peer_count--;
    index_peers(port);
    return TR_OK;
}

/* A peer is up when its first datagram has come. It is never down: silence and ICMP messages, which
 * anybody can forge, prove nothing. */
static uint32_t udp_events(struct tr_port *port, struct tr_port_event *out, uint32_t max)
{
    uint32_t count = 0;
    if (tr_likely(port->untold_count == 0))
        return 0;
    for (uint32_t i = 1; i <= port->peers_max && count < max; i++) {
        struct udp_lane *lane = &port->lanes[i];
        if (lane->peer == 0 || !lane->is_heard || lane->is_told)
            continue;
        lane->is_told = true;
        port->untold_count--;
        out[count].type = TR_PORT_PEER_UP;
        out[count].peer = lane->peer;
        count++;
    }
    return count;
}

/* Cost: a system call, for the datagrams that the kernel dropped. */
static void udp_stats(const struct tr_port *port, struct tr_port_stats *out)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t bytes = sizeof(memory);
    *out = port->stats;
    if (getsockopt(port->fd, SOL_SOCKET, SO_MEMINFO, memory, &bytes) == 0)
        out->rx_dropped += memory[SK_MEMINFO_DROPS];
}

const struct tr_driver tr_driver_udp = {
    .name = "udp",
    .abi_bytes = sizeof(struct tr_driver),
    .capabilities = TR_DRIVER_MESSAGES | TR_DRIVER_INTER_PROCESS | TR_DRIVER_INTER_HOST |
                    TR_DRIVER_MAY_DROP | TR_DRIVER_MAY_DUP | TR_DRIVER_MAY_REORDER |
                    TR_DRIVER_SYSCALLS | TR_DRIVER_ADOPT,
    .summary = "UDP sockets, polled: any machine",
    .device = udp_device,
    .open = udp_open,
    .close = udp_close,
    .limits = udp_limits,
    .peer_add = udp_peer_add,
    .peer_remove = udp_peer_remove,
    .peer_adopt = udp_peer_adopt,
    .rx_burst = tr_udp_rx_burst,
    .tx_burst = tr_udp_tx_burst,
    .tx_reply = tr_udp_tx_reply,
    .tx_flush = tr_udp_tx_flush,
    .events = udp_events,
    .stats = udp_stats,
};
