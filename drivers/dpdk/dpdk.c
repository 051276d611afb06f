/* The DPDK driver's table: opening a port, its peers, and what it tells of itself. */
#include "drivers/dpdk/dpdk.h"

#include "base/assert.h"
#include "base/tsc.h"
#include "drivers/dpdk/dpdk_port.h"
#include "drivers/extra.h"
#include "trireme/error.h"

#include <inttypes.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define MESSAGE_BYTES_DEFAULT ((1u << 20) + (64u << 10))
#define PEERS_MAX             4096

/* The payload of frames before the device's MTU is known: the most frames that a message needs. */
#define UNIT_MIN (DPDK_PAYLOAD_MIN - TR_PACKET_PAD_V4 - TR_PIECE_BYTES)

/* Frames that may wait for a wire besides those of a message of the largest size. */
#define WAITING 128

#define PREFIX_DEFAULT_V4 24
#define PREFIX_DEFAULT_V6 64

static const struct tr_driver driver_memif;

static int refuse(const struct tr_port_options *options, const char *what, uint64_t value,
                  uint64_t least, uint64_t most)
{
    tr_explain(options->error, options->error_bytes,
               "dpdk: %s %" PRIu64 " is out of range: choose from %" PRIu64 " to %" PRIu64, what,
               value, least, most);
    return TR_EINVAL;
}

/* Reads the node's address into a port that is not yet in the arena. */
static int read_address(struct tr_port *port, const struct tr_port_options *options)
{
    if (options->address == NULL || !tr_endpoint_parse(options->address, &port->own) ||
        port->own.port + port->queue_count > UINT16_MAX) {
        tr_explain(options->error, options->error_bytes,
                   "dpdk: \"%s\" is no address: write HOST:PORT or [IPV6]:PORT, as numbers, with a "
                   "port for each of %u queues",
                   options->address != NULL ? options->address : "", port->queue_count);
        return TR_EADDR;
    }
    port->own.port = (uint16_t)(port->own.port + port->queue_index);
    if (port->options.prefix_bits == 0)
        port->options.prefix_bits =
            tr_ip_is_v4(&port->own.ip) ? PREFIX_DEFAULT_V4 : PREFIX_DEFAULT_V6;
    return TR_OK;
}

/* Reads the options into a port that is not yet in the arena. */
static int read_options(struct tr_port *port, const struct tr_port_options *options)
{
    int result;
    port->head.driver = &tr_driver_dpdk;
    port->memory = options->memory;
    port->memory_nodes = options->memory_nodes;
    port->self = options->self;
    port->queue_index = options->queue_index;
    port->queue_count = tr_max_u32(options->queue_count, 1);
    port->peers_max = options->peers_max;
    port->adopt_max = tr_min_u32(options->adopt_max, options->peers_max);
    port->message_bytes_max =
        options->message_bytes_max != 0 ? options->message_bytes_max : MESSAGE_BYTES_DEFAULT;
    if (options->struct_bytes != sizeof(*options) || port->memory.allocate == NULL ||
        options->self == 0 || port->queue_index >= port->queue_count) {
        tr_explain(options->error, options->error_bytes,
                   "dpdk: needs options of %zu bytes (got %zu), memory, a node number and a queue "
                   "that there is",
                   sizeof(*options), options->struct_bytes);
        return TR_EINVAL;
    }
    if (port->peers_max == 0 || port->peers_max > PEERS_MAX)
        return refuse(options, "peers_max", port->peers_max, 1, PEERS_MAX);
    if (port->queue_count > TR_STEERING_QUEUES_MAX)
        return refuse(options, "queue_count", port->queue_count, 1, TR_STEERING_QUEUES_MAX);
    if (port->message_bytes_max > TR_FRAGMENT_MESSAGE_BYTES_MAX)
        return refuse(options, "message_bytes_max", port->message_bytes_max, 1,
                      TR_FRAGMENT_MESSAGE_BYTES_MAX);
    if (options->mtu != 0 && (options->mtu < DPDK_PAYLOAD_MIN || options->mtu > 9600))
        return refuse(options, "mtu", options->mtu, DPDK_PAYLOAD_MIN, 9600);
    result = tr_dpdk_options_read(&port->options, options);
    if (port->options.memif[0] != '\0') {
        port->head.driver = &driver_memif;
        port->adopt_max = 0;
    }
    return result == TR_OK ? read_address(port, options) : result;
}

/* Memory for the peers' table, the wires, and lane 0. */
static int make_memory(struct tr_port *port)
{
    uint32_t table = 16;
    uint32_t lanes = port->peers_max + 1;
    while (table < 8 * lanes)
        table *= 2;
    port->table_mask = table - 1;
    port->tx_max = port->message_bytes_max / UNIT_MIN + 2 + WAITING;
    port->wire_max = port->options.memif[0] != '\0' ? port->peers_max : 1;
    port->lanes = tr_dpdk_take(port, lanes * sizeof(*port->lanes));
    port->by_address = tr_dpdk_take(port, table * sizeof(*port->by_address));
    port->by_node = tr_dpdk_take(port, table * sizeof(*port->by_node));
    port->open_lanes = tr_dpdk_take(port, lanes * sizeof(*port->open_lanes));
    port->wires = tr_dpdk_take(port, port->wire_max * sizeof(*port->wires));
    if (port->lanes == NULL || port->by_address == NULL || port->by_node == NULL ||
        port->open_lanes == NULL || port->wires == NULL)
        return TR_ENOMEM;
    for (uint32_t i = 0; i <= port->adopt_max; i++) {
        struct dpdk_lane *lane = &port->lanes[i];
        uint64_t buffers = i == 0 ? port->options.strangers : port->options.reassembly;
        if (tr_reassembly_init(&lane->reassembly, &port->memory, (uint32_t)buffers,
                               port->message_bytes_max) != TR_OK)
            return TR_ENOMEM;
        lane->is_reassembly_made = true;
    }
    return TR_OK;
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

/* Payload of datagrams by a wire, a multiple of 8. */
static uint32_t payload_max(const struct tr_port *port, const struct dpdk_wire *wire,
                            uint32_t asked)
{
    bool is_v4 = tr_ip_is_v4(&port->own.ip);
    uint32_t headers = TR_UDP_BYTES + (is_v4 ? TR_IPV4_BYTES + TR_PACKET_PAD_V4
                                             : TR_IPV6_BYTES + TR_PACKET_PAD_V6);
    uint32_t most = wire->device->mtu - headers;
    return tr_align_down_u32(asked != 0 ? tr_min_u32(asked, most) : most, 8);
}

/* What a device of this port is to be like. */
static struct dpdk_device_setup setup_of(const struct tr_port *port, const struct tr_endpoint *base,
                                         const char *name)
{
    return (struct dpdk_device_setup){
        .name = name,
        .probe = port->options.device,
        .queue_count = (uint16_t)port->queue_count,
        .frames =
            port->tx_max + port->peers_max + 1 + DPDK_RX_SLOTS + DPDK_RX_BURST + 4 * DPDK_STASH,
        .memory_nodes = port->memory_nodes,
        .options = &port->options,
        .own = base,
    };
}

/* Fills a wire in. Returns: TR_OK or TR_ENOMEM. */
static int wire_open(struct tr_port *port, uint32_t index, struct dpdk_device *device,
                     uint16_t queue, bool is_second, uint32_t lane)
{
    struct dpdk_wire *wire = &port->wires[index];
    struct rte_mbuf **tx = wire->tx;
    struct rte_eth_link link = {0};
    if (tx == NULL)
        tx = tr_dpdk_take(port, port->tx_max * sizeof(*tx));
    if (tx == NULL)
        return TR_ENOMEM;
    *wire = (struct dpdk_wire){.device = device,
                               .id = device->id,
                               .queue = queue,
                               .lane = lane,
                               .own = port->own,
                               .pool = device->pool[queue],
                               .is_second = is_second,
                               .is_told_up = true,
                               .is_polled = !device->is_memif,
                               .tx = tx};
    wire->own.mac = device->own.mac;
    wire->link_count = device->link_count;
    wire->checksum = device->has_checksum_tx                             ? TR_PACKET_CHECKSUM_DEVICE
                     : port->options.checksum && !wire->device->is_memif ? TR_PACKET_CHECKSUM_HERE
                                                                         : TR_PACKET_CHECKSUM_NONE;
    /* IPv6 has checksums, for which the payload would be read here. */
    wire->attach_bytes = device->copies_chains && tr_ip_is_v4(&port->own.ip)
                             ? (uint32_t)port->options.attach_bytes
                             : UINT32_MAX;
    /* The link to one peer is looked at by the tick, which then makes the peer's events, too. */
    if (lane == 0 && rte_eth_link_get_nowait(wire->id, &link) == 0)
        wire->is_up = link.link_status == RTE_ETH_LINK_UP;
    port->is_due = port->is_due || !wire->is_up;
    return TR_OK;
}

/* Gives a wire's frames and its queue back. Thread: that holds EAL's lock. */
static void wire_close(struct tr_port *port, uint32_t index)
{
    struct dpdk_wire *wire = &port->wires[index];
    struct dpdk_device *device = wire->device;
    bool is_read;
    if (device == NULL)
        return;
    is_read = tr_dpdk_rx_forget(port, index);
    tr_dpdk_wire_clear(port, wire);
    if (device->is_memif) {
        struct rte_mempool *pool = tr_dpdk_memif_close(device);
        if (is_read)
            port->left[port->left_count++] = pool;
        else
            rte_mempool_free(pool);
    } else {
        tr_dpdk_device_close(device, wire->queue, wire->is_second);
    }
    wire->device = NULL;
    wire->is_polled = wire->is_up = false;
}

/* Opens the device that all peers are behind. Thread: that holds EAL's lock. */
static int open_device(struct tr_port *port, const struct tr_endpoint *base,
                       const struct tr_port_options *options)
{
    struct dpdk_device *device;
    char name[sizeof(device->name)];
    struct dpdk_device_setup setup = setup_of(port, base, name);
    uint16_t queue = (uint16_t)port->queue_index;
    bool is_second = false;
    int result;
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(port->options.device, ","),
             port->options.device);
    result = tr_dpdk_device_open(&setup, queue, &device, &is_second, options->error,
                                 options->error_bytes);
    if (result != TR_OK)
        return result;
    result = wire_open(port, 0, device, queue, is_second, 0);
    if (result != TR_OK) {
        tr_dpdk_device_close(device, queue, is_second);
        return result;
    }
    port->lanes[0].payload_max = payload_max(port, &port->wires[0], options->mtu);
    return TR_OK;
}

/* Starts EAL and opens what there is without peers. */
static int open_links(struct tr_port *port, const struct tr_port_options *options)
{
    struct tr_eal_options eal = {.memory_bytes = port->options.memory_bytes,
                                 .is_iova_pa = port->options.iova_pa};
    struct tr_endpoint base = port->own;
    int result;
    base.port = (uint16_t)(base.port - port->queue_index);
    if (strcmp(port->options.pages, "on") == 0)
        eal.pages = TR_EAL_PAGES_HUGE;
    if (strcmp(port->options.pages, "off") == 0)
        eal.pages = TR_EAL_PAGES_NORMAL;
    if (port->options.memif[0] != '\0') {
        result = tr_dpdk_memif_lock(port->options.memif, port->self, (uint16_t)port->queue_index,
                                    &port->lock_fd, options->error, options->error_bytes);
        if (result != TR_OK)
            return result;
    }
    tr_eal_lock();
    result = tr_eal_start(&eal, options->error, options->error_bytes);
    if (result == TR_OK && port->options.memif[0] == '\0')
        result = open_device(port, &base, options);
    tr_eal_unlock();
    if (result != TR_OK && port->lock_fd >= 0)
        close(port->lock_fd);
    return result;
}

static int dpdk_open(const struct tr_port_options *options, struct tr_port **out)
{
    struct tr_port *port;
    struct tr_port draft = {.lock_fd = -1};
    int result;
    tr_explain(options->error, options->error_bytes, "%s", "");
    result = read_options(&draft, options);
    if (result != TR_OK)
        return result;
    port = tr_dpdk_take(&draft, sizeof(*port));
    if (port != NULL)
        *port = draft;
    if (port == NULL || make_memory(port) != TR_OK) {
        tr_explain(options->error, options->error_bytes,
                   "dpdk: the arena is spent: a port takes %" PRIu64 " KiB, a peer %" PRIu64
                   " KiB more",
                   draft.options.strangers * draft.message_bytes_max / 1024,
                   draft.options.reassembly * draft.message_bytes_max / 1024);
        return TR_ENOMEM;
    }
    port->message_next = first_message(options->seed);
    port->payload_asked = options->mtu;
    result = open_links(port, options);
    if (result != TR_OK)
        return result;
    port->tsc_per_ms = rte_get_tsc_hz() / 1000;
    port->tick_tsc = tr_tsc_read();
    *out = port;
    return TR_OK;
}

static void dpdk_device(const struct tr_port_options *options, struct tr_device *out)
{
    struct tr_port_options quiet = *options;
    struct dpdk_options own;
    quiet.error = NULL;
    *out = (struct tr_device){.kind = TR_DEVICE_NONE};
    if (tr_dpdk_options_read(&own, &quiet) == TR_OK)
        tr_dpdk_options_device(&own, out);
}

static void dpdk_close(struct tr_port *port)
{
    tr_dpdk_tx_flush(port);
    tr_eal_lock();
    for (uint32_t i = 0; i <= port->peers_max; i++)
        tr_dpdk_tx_forget(port, &port->lanes[i]);
    for (uint32_t i = 0; i < port->wire_max; i++)
        wire_close(port, i);
    while (port->left_count > 0)
        rte_mempool_free(port->left[--port->left_count]);
    tr_eal_unlock();
    if (port->lock_fd >= 0)
        close(port->lock_fd);
    port->lock_fd = -1;
}

static void dpdk_limits(const struct tr_port *port, struct tr_port_limits *out)
{
    *out = (struct tr_port_limits){
        .message_bytes_max = port->message_bytes_max,
        .burst_max = DPDK_BURST_MAX,
        .peers_max = port->peers_max,
    };
}

/* Enters a lane under one of its source ports; of two at one address the younger is there. */
static void index_address(struct tr_port *port, uint32_t lane, uint16_t udp_port)
{
    const struct dpdk_lane *l = &port->lanes[lane];
    uint32_t at = tr_dpdk_hash(&l->end.ip, udp_port) & port->table_mask;
    while (port->by_address[at] != 0 &&
           !tr_dpdk_is_from(&port->lanes[port->by_address[at]], &l->end.ip, udp_port))
        at = (at + 1) & port->table_mask;
    if (port->by_address[at] == 0 || port->lanes[port->by_address[at]].added < l->added)
        port->by_address[at] = (uint16_t)lane;
}

/* Builds both tables anew: peers come and go seldom. */
static void index_peers(struct tr_port *port)
{
    size_t bytes = (port->table_mask + 1) * sizeof(uint16_t);
    memset(port->by_address, 0, bytes);
    memset(port->by_node, 0, bytes);
    for (uint32_t lane = 1; lane <= port->peers_max; lane++) {
        const struct dpdk_lane *l = &port->lanes[lane];
        uint32_t at = l->peer & port->table_mask;
        if (l->peer == 0)
            continue;
        index_address(port, lane, l->end.port);
        index_address(port, lane, l->source_port);
        while (port->by_node[at] != 0)
            at = (at + 1) & port->table_mask;
        port->by_node[at] = (uint16_t)lane;
    }
}

/* Opens the memif interface to a lane's peer. */
static int open_memif(struct tr_port *port, uint32_t lane)
{
    struct dpdk_device_setup setup = setup_of(port, &port->own, NULL);
    struct dpdk_device *device;
    char why[256] = "";
    uint32_t index = 0;
    int result;
    while (port->wires[index].device != NULL)
        index++;
    tr_assert(index < port->wire_max); /* as many as peers */
    tr_eal_lock();
    result = tr_dpdk_memif_open(&setup, port->self, port->lanes[lane].peer,
                                (uint16_t)port->queue_index, &device, why, sizeof(why));
    if (result == TR_OK) {
        result = wire_open(port, index, device, 0, false, lane);
        if (result != TR_OK)
            rte_mempool_free(tr_dpdk_memif_close(device));
    }
    tr_eal_unlock();
    if (result != TR_OK) /* peer_add has no other place for it */
        rte_log(RTE_LOG_ERR, RTE_LOGTYPE_USER1, "%s\n", why);
    port->lanes[lane].wire = index;
    return result;
}

/* Fills in where a lane's datagrams go to and come from. */
static void aim(struct tr_port *port, struct dpdk_lane *lane)
{
    const struct dpdk_wire *wire = &port->wires[lane->wire];
    struct tr_endpoint from = wire->own;
    bool is_near =
        wire->lane != 0 ||
        (port->options.gateway_ip.word[0] | port->options.gateway_ip.word[1]) == 0 ||
        tr_ip_same_network(&lane->end.ip, &port->own.ip, (uint32_t)port->options.prefix_bits);
    uint32_t queues = wire->lane != 0 ? 1 : port->queue_count;
    lane->next_hop = is_near ? lane->end.ip : port->options.gateway_ip;
    lane->payload_max = payload_max(port, wire, port->payload_asked);
    lane->source_port = tr_steering_source_port(&lane->end, &wire->own, port->queue_index, queues);
    from.port = tr_steering_source_port(&wire->own, &lane->end, port->queue_index, queues);
    tr_packet_front_make(&lane->front, &from, &lane->end, port->options.pad);
    lane->ask_tsc = port->tick_tsc;
}

/* Whether a number can become a peer's. */
static int can_add(const struct tr_port *port, tr_node_id peer)
{
    if (peer == 0)
        return TR_EINVAL;
    if (tr_dpdk_lane_of_peer(port, peer) != 0)
        return TR_EEXIST;
    return port->peer_count == port->peers_max ? TR_EFULL : TR_OK;
}

/* Enters a lane that is aimed among the peers. */
static void enter(struct tr_port *port, struct dpdk_lane *lane, tr_node_id peer)
{
    lane->peer = peer;
    lane->added = ++port->added;
    port->peer_count++;
    index_peers(port);
}

/* Makes a lane new, but for its memory, and its place in the list of those to be flushed. */
static void clear_lane(struct dpdk_lane *lane)
{
    struct dpdk_lane kept = *lane;
    *lane = (struct dpdk_lane){
        .reassembly = kept.reassembly, .is_reassembly_made = true, .is_listed = kept.is_listed};
    tr_reassembly_reset(&lane->reassembly);
}

/* A free lane with its memory; NULL when that is spent. */
static struct dpdk_lane *take_lane(struct tr_port *port)
{
    struct dpdk_lane *lane = &port->lanes[1];
    while (lane->peer != 0)
        lane++;
    if (!lane->is_reassembly_made &&
        tr_reassembly_init(&lane->reassembly, &port->memory, (uint32_t)port->options.reassembly,
                           port->message_bytes_max) != TR_OK)
        return NULL;
    clear_lane(lane);
    return lane;
}

static int dpdk_peer_add(struct tr_port *port, tr_node_id peer, const char *address)
{
    struct dpdk_lane *lane;
    struct tr_endpoint to = {.port = 0};
    int result = can_add(port, peer);
    if (result != TR_OK)
        return result;
    if (!tr_endpoint_parse(address, &to) || to.port + port->queue_index > UINT16_MAX ||
        tr_ip_is_v4(&to.ip) != tr_ip_is_v4(&port->own.ip))
        return TR_EADDR;
    to.port = (uint16_t)(to.port + port->queue_index);
    lane = take_lane(port);
    if (lane == NULL)
        return TR_ENOMEM;
    lane->peer = peer;
    if (port->options.memif[0] != '\0')
        result = open_memif(port, (uint32_t)(lane - port->lanes));
    if (result != TR_OK) {
        lane->peer = 0;
        return result;
    }
    lane->end = to;
    aim(port, lane);
    enter(port, lane, peer);
    port->tick_tsc = tr_tsc_read(); /* ask for it, and look at its link, in the next burst */
    return TR_OK;
}

/* Whoever wrote is answered where its datagram came from, by whom it came: nothing is asked, and no
 * port is chosen for its queues, of which nothing is known. */
static int dpdk_peer_adopt(struct tr_port *port, tr_node_id peer, uint32_t source)
{
    const struct dpdk_slot *slot;
    struct dpdk_lane *lane = port->lanes + 1;
    int result = can_add(port, peer);
    if (result != TR_OK)
        return result;
    tr_assert(source < DPDK_RX_SLOTS);
    slot = &port->slots[source];
    if (slot->lane != 0 || tr_dpdk_lane_of(port, &slot->source.ip, slot->source.port) != 0)
        return TR_EEXIST;
    while (lane <= port->lanes + port->adopt_max && lane->peer != 0)
        lane++;
    if (lane > port->lanes + port->adopt_max)
        return TR_EFULL;
    clear_lane(lane);
    lane->wire = slot->wire;
    lane->end = slot->source;
    lane->next_hop = slot->source.ip;
    lane->source_port = slot->source.port;
    lane->payload_max = payload_max(port, &port->wires[slot->wire], port->payload_asked);
    lane->is_resolved = true;
    lane->is_adopted = true;
    tr_packet_front_make(&lane->front, &port->wires[slot->wire].own, &lane->end, slot->is_padded);
    enter(port, lane, peer);
    return TR_OK;
}

static int dpdk_peer_remove(struct tr_port *port, tr_node_id peer)
{
    uint32_t lane = tr_dpdk_lane_of_peer(port, peer);
    struct dpdk_lane *l = &port->lanes[lane];
    if (lane == 0)
        return TR_ENOENT;
    tr_dpdk_tx_flush(port);
    tr_dpdk_tx_forget(port, l);
    tr_dpdk_rx_disown(port, lane);
    if (port->wires[l->wire].lane == lane) {
        tr_eal_lock();
        wire_close(port, l->wire);
        tr_eal_unlock();
    }
    l->peer = 0;
    port->peer_count--;
    index_peers(port);
    return TR_OK;
}

/* Cost: reads the devices' counters. What a device lost is counted by queue 0 alone. */
static void dpdk_stats(const struct tr_port *port, struct tr_port_stats *out)
{
    *out = port->stats;
    for (uint32_t i = 0; i < port->wire_max && port->queue_index == 0; i++) {
        struct rte_eth_stats stats;
        const struct dpdk_wire *wire = &port->wires[i];
        if (wire->device == NULL || wire->is_second || rte_eth_stats_get(wire->id, &stats) != 0)
            continue;
        out->rx_dropped += stats.imissed + stats.rx_nombuf;
        out->rx_errors += stats.ierrors;
    }
}

#define CAPABILITIES                                                                            \
    (TR_DRIVER_MESSAGES | TR_DRIVER_INTER_PROCESS | TR_DRIVER_INTER_HOST | TR_DRIVER_MAY_DROP | \
     TR_DRIVER_MAY_DUP | TR_DRIVER_MAY_REORDER | TR_DRIVER_SYSCALLS)

#define TABLE(bits)                                                                               \
    {                                                                                             \
        .name = "dpdk", .abi_bytes = sizeof(struct tr_driver), .capabilities = (bits),            \
        .summary = "DPDK ports: NICs, memif, AF_XDP, AF_PACKET, virtio", .device = dpdk_device,   \
        .open = dpdk_open, .close = dpdk_close, .limits = dpdk_limits, .peer_add = dpdk_peer_add, \
        .peer_remove = dpdk_peer_remove, .peer_adopt = dpdk_peer_adopt,                           \
        .rx_burst = tr_dpdk_rx_burst, .tx_burst = tr_dpdk_tx_burst, .tx_reply = tr_dpdk_tx_reply, \
        .tx_flush = tr_dpdk_tx_flush, .events = tr_dpdk_events, .stats = dpdk_stats,              \
    }

const struct tr_driver tr_driver_dpdk = TABLE(CAPABILITIES | TR_DRIVER_ADOPT);

/* A memif interface has one peer, that is known: nobody else can write. */
static const struct tr_driver driver_memif = TABLE(CAPABILITIES);
