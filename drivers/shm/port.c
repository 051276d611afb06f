/* Ports of the shm driver: opening, peers, events, and the driver's table. The picture of the whole
 * is in inner.h. */
#include "base/prng.h"
#include "drivers/extra.h"
#include "drivers/shm/inner.h"
#include "drivers/shm/shm.h"

#include <string.h>
#include <sys/random.h>
#include <trireme/error.h>

/* The options' own keys. */
struct shm_extra {
    uint64_t rings;
};

static const struct tr_extra_key extra_keys[] = {
    {"rings", TR_EXTRA_COUNT, offsetof(struct shm_extra, rings), 1, TR_SHM_RINGS_MAX,
     "one-sided rings that the port can make (default 4096)"},
};

static const struct tr_extra_table extra_table = {"shm", extra_keys, TR_ARRAY_COUNT(extra_keys)};

static void *take(const struct tr_memory *memory, size_t bytes)
{
    void *at = memory->allocate(memory->context, bytes, TR_CACHE_LINE);
    return at != NULL ? memset(at, 0, bytes) : NULL;
}

/* Everything that is private to the port. */
static struct tr_port *take_port(const struct tr_port_options *options,
                                 const struct tr_shm_shape *shape)
{
    const struct tr_memory *memory = &options->memory;
    uint32_t writes = TR_SHM_WRITES_MAX;
    while (writes < options->peers_max * TR_SHM_WRITES_MAX)
        writes *= 2;
    struct tr_port *port = take(memory, sizeof(*port));
    if (port == NULL)
        return NULL;
    size_t rx_bytes = tr_shm_message_room(shape->message_bytes_max) + TR_SHM_RX_BYTES;
    port->rx = take(memory, rx_bytes);
    port->peer = take(memory, options->peers_max * sizeof(struct tr_shm_peer));
    port->inbound = take(memory, shape->lane_count * sizeof(struct tr_shm_inbound));
    port->inbound_name = take(memory, shape->lane_count * sizeof(*port->inbound_name));
    port->ring = take(memory, shape->ring_count * sizeof(*port->ring));
    port->remotes_max = shape->ring_count;
    port->map = take(memory, port->remotes_max * sizeof(*port->map));
    port->remote = take(memory, port->remotes_max * sizeof(struct tr_shm_remote));
    port->write = take(memory, writes * sizeof(struct tr_shm_write));
    port->write_mask = writes - 1;
    if (port->rx == NULL || port->peer == NULL || port->inbound == NULL || port->remote == NULL ||
        port->write == NULL || port->inbound_name == NULL || port->ring == NULL ||
        port->map == NULL)
        return NULL;
    port->rx_end = port->rx + rx_bytes;
    return port;
}

/* The shape that the options ask for. */
static int shape_of(const struct tr_port_options *options, struct tr_shm_shape *shape)
{
    struct shm_extra extra = {TR_SHM_RINGS};
    int error =
        tr_extra_parse(&extra_table, options->extra, &extra, options->error, options->error_bytes);
    if (error != TR_OK)
        return error;
    shape->message_bytes_max =
        options->message_bytes_max ? options->message_bytes_max : TR_SHM_MESSAGE_BYTES_MAX;
    shape->lane_count = 2 * options->peers_max; /* as many again for peers that replace others */
    shape->lane_bytes = 0;
    if (shape->message_bytes_max <= TR_SHM_LANE_BYTES_MAX / 4)
        shape->lane_bytes =
            tr_shm_lane_bytes(shape->message_bytes_max,
                              options->queue_bytes ? options->queue_bytes : TR_SHM_QUEUE_BYTES);
    shape->ring_count = (uint32_t)extra.rings;
    if (tr_shm_shape_ok(shape))
        return TR_OK;
    tr_explain(options->error, options->error_bytes,
               "shm: messages of %u bytes in queues of %u cannot be: at most %u and %u",
               options->message_bytes_max, options->queue_bytes, TR_SHM_LANE_BYTES_MAX / 4,
               TR_SHM_LANE_BYTES_MAX);
    return TR_EINVAL;
}

/* A number that no other process has, nor this one at another time. */
static uint64_t draw_incarnation(uint64_t seed)
{
    uint64_t random = 0;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        random = (uint64_t)(uintptr_t)&random; /* and the seed, which is random too */
    random ^= tr_splitmix64(&seed);
    return random != 0 ? random : 1;
}

static int shm_open_port(const struct tr_port_options *options, struct tr_port **out)
{
    struct tr_shm_shape shape;
    struct tr_shm_reason why = {options->error, options->error_bytes};
    const char *name = tr_shm_address_name(options->address);
    char unheard[1];
    if (options->error == NULL)
        why = (struct tr_shm_reason){unheard, sizeof(unheard)};
    if (options->struct_bytes != sizeof(*options) || options->self == 0 ||
        options->peers_max == 0 || options->peers_max > TR_SHM_PEERS_MAX) {
        tr_explain(why.text, why.bytes, "shm: needs a node number and 1 to %u peers",
                   TR_SHM_PEERS_MAX);
        return TR_EINVAL;
    }
    if (name == NULL) {
        tr_explain(why.text, why.bytes,
                   "shm: address '%s' is not shm:NAME (1 to 63 letters, digits, '.', '_', '-')",
                   options->address != NULL ? options->address : "");
        return TR_EADDR;
    }
    int error = shape_of(options, &shape);
    if (error != TR_OK)
        return error;
    struct tr_port *port = take_port(options, &shape);
    if (port == NULL) {
        tr_explain(why.text, why.bytes, "shm: the arena is spent");
        return TR_ENOMEM;
    }
    uint64_t incarnation = draw_incarnation(options->seed);
    error =
        tr_shm_segment_create(&port->segment, name, options->queue_index, &shape, incarnation, why);
    if (error != TR_OK)
        return error;
    port->driver = &tr_driver_shm;
    port->self = options->self;
    port->queue = options->queue_index;
    port->peers_max = options->peers_max;
    port->message_bytes_max = shape.message_bytes_max;
    port->rings_end = port->segment.at.ring_data;
    port->request_next = tr_splitmix64(&incarnation);
    for (uint32_t i = 0; i < TR_ARRAY_COUNT(port->peer_seen); i++)
        port->peer_seen[i] = &port->nobody;
    memcpy(port->name, name, strlen(name) + 1);
    *out = port;
    return TR_OK;
}

static void shm_close(struct tr_port *port)
{
    for (uint32_t i = 0; i < port->peer_count; i++)
        tr_shm_peer_detach(port, i);
    tr_shm_segment_close(&port->segment);
    tr_shm_rings_unmap(port);
}

static void shm_limits(const struct tr_port *port, struct tr_port_limits *out)
{
    out->message_bytes_max = port->message_bytes_max;
    out->burst_max = TR_SHM_BURST_MAX;
    out->write_bytes_max = 1u << 30;
    out->writes_max = TR_SHM_WRITES_MAX;
    out->peers_max = port->peers_max;
}

static int shm_peer_add(struct tr_port *port, tr_node_id id, const char *address)
{
    const char *name = tr_shm_address_name(address);
    uint32_t index = 0;
    if (id == 0)
        return TR_EINVAL;
    if (name == NULL)
        return TR_EADDR;
    if (tr_shm_peer_find(port, id) != UINT32_MAX)
        return TR_EEXIST;
    while (index < port->peer_count && port->peer[index].link != TR_SHM_LINK_UNUSED)
        index++;
    if (index == port->peers_max)
        return TR_EFULL;
    int error = tr_shm_inbound_add(port, id, name);
    if (error != TR_OK)
        return error;
    struct tr_shm_peer *peer = &port->peer[index];
    memset(peer, 0, sizeof(*peer));
    peer->segment.fd = -1;
    peer->id = id;
    peer->link = TR_SHM_LINK_ABSENT;
    peer->attach_wait_ns = TR_SHM_ATTACH_NS;
    memcpy(peer->name, name, strlen(name) + 1);
    if (index == port->peer_count)
        port->peer_count++;
    return TR_OK;
}

static int shm_peer_remove(struct tr_port *port, tr_node_id id)
{
    uint32_t index = id != 0 ? tr_shm_peer_find(port, id) : UINT32_MAX;
    if (index == UINT32_MAX)
        return TR_ENOENT;
    struct tr_shm_peer *peer = &port->peer[index];
    tr_shm_inbound_remove(port, id);
    tr_shm_peer_detach(port, index);
    for (uint32_t i = 0; i < port->remotes_max; i++) {
        if (port->remote[i].generation != 0 && port->remote[i].peer == index)
            tr_shm_remote_close(port, i);
    }
    peer->link = TR_SHM_LINK_UNUSED;
    peer->id = 0; /* and so port->peer_seen does not lead here */
    return TR_OK;
}

static void shm_tx_flush(struct tr_port *port)
{
    (void)port; /* a message is there when it was taken */
}

static uint32_t shm_events(struct tr_port *port, struct tr_port_event *out, uint32_t max)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < port->peer_count && count < max; i++) {
        struct tr_shm_peer *peer = &port->peer[i];
        uint64_t now = peer->link == TR_SHM_LINK_UP ? peer->segment.incarnation : 0;
        if (peer->link == TR_SHM_LINK_UNUSED || now == peer->told)
            continue;
        out[count].peer = peer->id;
        out[count].type = TR_PORT_PEER_DOWN;
        if (now != 0) {
            bool is_other = peer->told_last != 0 && peer->told_last != now;
            out[count].type = is_other ? TR_PORT_PEER_NEW : TR_PORT_PEER_UP;
            peer->told_last = now;
        }
        peer->told = now;
        count++;
    }
    return count;
}

static void shm_stats(const struct tr_port *port, struct tr_port_stats *out)
{
    *out = port->stats;
}

const struct tr_driver tr_driver_shm = {
    .name = "shm",
    .abi_bytes = sizeof(struct tr_driver),
    .capabilities =
        TR_DRIVER_MESSAGES | TR_DRIVER_ONE_SIDED | TR_DRIVER_INTER_PROCESS | TR_DRIVER_MAY_TEAR,
    .summary = "shared memory between processes and threads of one machine",
    .open = shm_open_port,
    .close = shm_close,
    .limits = shm_limits,
    .peer_add = shm_peer_add,
    .peer_remove = shm_peer_remove,
    .rx_burst = tr_shm_rx_burst,
    .tx_burst = tr_shm_tx_burst,
    .tx_reply = tr_shm_tx_reply,
    .tx_flush = shm_tx_flush,
    .ring_create = tr_shm_ring_create,
    .ring_grant = tr_shm_ring_grant,
    .fence_start = tr_shm_fence_start,
    .fence_poll = tr_shm_fence_poll,
    .ring_consumed = tr_shm_ring_consumed,
    .remote_open = tr_shm_remote_open,
    .remote_close = tr_shm_remote_close,
    .write_post = tr_shm_write_post,
    .write_poll = tr_shm_write_poll,
    .remote_consumed = tr_shm_remote_consumed,
    .events = shm_events,
    .stats = shm_stats,
};
