/* Ports of the verbs driver: opening, peers, events, and the driver's table. */
#include "drivers/verbs/inner.h"

#include <errno.h>
#include <netdb.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

static const struct tr_extra_key extra_keys[] = {
    {"key", TR_EXTRA_WORD, offsetof(struct tr_verbs_extra, key), 0, 0,
     "file with the cluster's key, 64 hexadecimal digits, the same on all nodes; nodes need it"},
    {"client_key", TR_EXTRA_WORD, offsetof(struct tr_verbs_extra, client_key), 0, 0,
     "file with the clients' key, another than the cluster's; clients need it, and nodes that let "
     "them in"},
    {"device", TR_EXTRA_WORD, offsetof(struct tr_verbs_extra, device), 0, 0,
     "RDMA device, as ibv_devices lists them; default: the one that has the address"},
    {"port", TR_EXTRA_COUNT, offsetof(struct tr_verbs_extra, device_port), 1, 255,
     "port of the device; default: the one that has the address"},
    {"gid", TR_EXTRA_COUNT, offsetof(struct tr_verbs_extra, gid), 0, 255,
     "index of the port's GID; default: the one of the address, over RoCE v2"},
    {"grh", TR_EXTRA_FLAG, offsetof(struct tr_verbs_extra, grh), 0, 0,
     "global routes over InfiniBand within a subnet, too; default off"},
    {"fence", TR_EXTRA_WORD, offsetof(struct tr_verbs_extra, fence), 0, 0,
     "how a ring is closed: window, access, reset; default: the first that the device proves"},
    {"settle", TR_EXTRA_WORD, offsetof(struct tr_verbs_extra, settle), 0, 0,
     "how a fence becomes quiescent: read, grace; default: grace for devices in software"},
    {"ack_timeout", TR_EXTRA_COUNT, offsetof(struct tr_verbs_extra, ack_timeout), 8, 22,
     "4.096 us * 2^N until a request is sent again; default 12"},
    {"retries", TR_EXTRA_COUNT, offsetof(struct tr_verbs_extra, retries), 1, 6,
     "how often, before a connection is broken and made anew; default 6"},
};

static const struct tr_extra_table extra_table = {"verbs", extra_keys, TR_ARRAY_COUNT(extra_keys)};

/* ---- addresses */

/* Splits "HOST:PORT" or "[IPV6]:PORT", and resolves it; port 0 stays what it is. Returns: TR_OK,
 * TR_EADDR. */
static int resolve(const char *text, uint32_t queue, struct sockaddr_storage *out,
                   socklen_t *out_bytes)
{
    char host[256];
    const char *colon = text != NULL ? strrchr(text, ':') : NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    struct addrinfo *found;
    if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof(host))
        return TR_EADDR;
    char *end;
    unsigned long number = strtoul(colon + 1, &end, 10);
    bool is_bracketed = text[0] == '[' && colon[-1] == ']';
    if (*end != '\0' || end == colon + 1 || number + queue > UINT16_MAX)
        return TR_EADDR;
    size_t bytes = (size_t)(colon - text) - (is_bracketed ? 2 : 0);
    memcpy(host, text + is_bracketed, bytes);
    host[bytes] = '\0';
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return TR_EADDR;
    memset(out, 0, sizeof(*out));
    memcpy(out, found->ai_addr, found->ai_addrlen);
    *out_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    /* In both families the port lies at the same place. */
    ((struct sockaddr_in *)(void *)out)->sin_port =
        htons(number != 0 ? (uint16_t)(number + queue) : 0);
    return TR_OK;
}

static bool has_port(const struct sockaddr_storage *address)
{
    return ((const struct sockaddr_in *)(const void *)address)->sin_port != 0;
}

/* ---- opening */

/* A member has the cluster's key, a client and a door the clients'. */
static int read_key(struct tr_port *port, const struct tr_port_options *o)
{
    uint8_t other[TR_VERBS_KEY_BYTES];
    const char *file = port->has_rings ? port->extra.key : port->extra.client_key;
    if (file[0] == '\0') {
        tr_explain(o->error, o->error_bytes,
                   port->has_rings
                       ? "verbs: name the file with the cluster's key: key=FILE (openssl rand -hex "
                         "32 makes one)"
                       : "verbs: name the file with the clients' key, another than the cluster's: "
                         "client_key=FILE (openssl rand -hex 32 makes one)");
        return TR_EINVAL;
    }
    int result = tr_verbs_key_read(file, port->key, o->error, o->error_bytes);
    if (result != TR_OK || port->has_rings || port->extra.key[0] == '\0')
        return result;
    result = tr_verbs_key_read(port->extra.key, other, o->error, o->error_bytes);
    if (result == TR_OK && memcmp(other, port->key, sizeof(other)) == 0) {
        tr_explain(o->error, o->error_bytes,
                   "verbs: key and client_key are the same key: whoever has the cluster's is a "
                   "member of it");
        result = TR_EINVAL;
    }
    sodium_memzero(other, sizeof(other));
    return result;
}

static int read_options(struct tr_port *port, const struct tr_port_options *o)
{
    port->extra = (struct tr_verbs_extra){
        .fence = "auto", .settle = "auto", .gid = UINT64_MAX, .ack_timeout = 12, .retries = 6};
    int result = tr_extra_parse(&extra_table, o->extra, &port->extra, o->error, o->error_bytes);
    return result == TR_OK ? read_key(port, o) : result;
}

/* Slots for twice the longest message; a member has 256 at least, a client and its place 16. */
static void size_port(struct tr_port *port, const struct tr_port_options *o)
{
    uint32_t asked = o->message_bytes_max != 0 ? o->message_bytes_max : MESSAGE_BYTES_MAX;
    uint32_t bytes = tr_max_u32(tr_min_u32(o->queue_bytes, 64u << 20), 2 * asked);
    port->self = o->self;
    port->queue = o->queue_index;
    port->memory = o->memory;
    port->peers_max = o->peers_max;
    port->adopt_max = tr_min_u32(o->adopt_max, o->peers_max);
    port->place_count = o->peers_max + (port->adopt_max != 0 ? STRANGERS : 0);
    port->adopt_first = o->peers_max - port->adopt_max;
    if (port->adopt_max == 0)
        port->adopt_first = port->place_count;
    port->message_bytes_max = asked;
    port->polls_mask = (port->has_rings ? POLLS_MEMBER : POLLS_CLIENT) - 1;
    port->slots = port->has_rings ? 256 : 16;
    while (port->slots < 1u << 16 &&
           (uint64_t)port->slots * (SLOT_BYTES - PIECE_HEAD_BYTES) < bytes)
        port->slots *= 2;
}

static int take_ring_tables(struct tr_port *port)
{
    port->ring = tr_verbs_take(port, RINGS_MAX * sizeof(*port->ring), 64);
    port->target = tr_verbs_take(port, TARGETS_MAX * sizeof(*port->target), 64);
    port->remote = tr_verbs_take(port, TARGETS_MAX * sizeof(*port->remote), 64);
    port->listed = tr_verbs_take(port, TARGETS_MAX * sizeof(*port->listed), 64);
    struct tr_verbs_write *write =
        tr_verbs_take(port, (size_t)TARGETS_MAX * WRITES_MAX * sizeof(*write), 64);
    if (port->ring == NULL || port->target == NULL || port->remote == NULL ||
        port->listed == NULL || write == NULL)
        return TR_ENOMEM;
    for (uint32_t i = 0; i < TARGETS_MAX; i++)
        port->remote[i].write = write + (size_t)i * WRITES_MAX;
    return TR_OK;
}

static int take_tables(struct tr_port *port)
{
    port->stash_max = port->place_count * port->slots;
    port->peer = tr_verbs_take(port, port->place_count * sizeof(*port->peer), 64);
    port->stash = tr_verbs_take(port, port->stash_max * sizeof(*port->stash), 64);
    if (port->peer == NULL || port->stash == NULL)
        return TR_ENOMEM;
    for (uint32_t i = 0; i < port->place_count; i++)
        port->peer[i].link.fd = -1;
    return port->has_rings ? take_ring_tables(port) : TR_OK;
}

/* Queues of completions: each holds whatever can be under way at once, and as much again of
 * connections that were reset. */
static int make_queues(struct tr_port *port, const struct tr_port_options *o)
{
    struct tr_verbs_device *d = &port->device;
    uint32_t most = (uint32_t)d->attr.max_cqe;
    uint32_t in = tr_min_u32(2 * port->stash_max, most);
    uint32_t out_min = port->place_count * (port->slots + 64);
    uint32_t out = tr_min_u32(2 * out_min, most);
    uint32_t writes = port->has_rings ? port->peers_max * WRITES_MAX : 1;
    d->inline_max = 0;
    d->sge_max = tr_min_u32((uint32_t)d->attr.max_sge, 32);
    if (port->adopt_max != 0 && (in < port->stash_max || out < out_min)) {
        tr_explain(o->error, o->error_bytes,
                   "verbs: the device's queues hold %u completions: too few for %u clients with "
                   "messages of %u bytes",
                   most, port->adopt_max, port->message_bytes_max);
        return TR_ENOMEM;
    }
    port->cq_in = ibv_create_cq(d->context, (int)in, NULL, NULL, 0);
    port->cq_out = ibv_create_cq(d->context, (int)out, NULL, NULL, 0);
    port->cq_write = ibv_create_cq(d->context, (int)tr_min_u32(2 * writes, most), NULL, NULL, 0);
    port->cq_ring = ibv_create_cq(d->context, port->has_rings ? 4 * RINGS_MAX : 1, NULL, NULL, 0);
    if (port->cq_in == NULL || port->cq_out == NULL || port->cq_write == NULL ||
        port->cq_ring == NULL)
        return TR_ENOMEM;
    /* How much goes inline with so many pieces is known only by asking for it. */
    for (uint32_t asked = 512; asked >= 64 && d->inline_max == 0; asked /= 2) {
        struct ibv_qp_cap cap = {.max_send_wr = WRITES_MAX,
                                 .max_recv_wr = 1,
                                 .max_send_sge = d->sge_max,
                                 .max_recv_sge = 1,
                                 .max_inline_data = asked};
        struct ibv_qp *qp = tr_verbs_qp_create(port, d->pd, port->cq_write, port->cq_write, &cap);
        if (qp != NULL) {
            d->inline_max = asked;
            ibv_destroy_qp(qp);
        }
    }
    return TR_OK;
}

static void verbs_close(struct tr_port *port)
{
    if (port->is_ephemeral && port->peer != NULL)
        tr_verbs_tx_drain(port); /* a client's last words */
    tr_verbs_control_close(port);
    tr_verbs_rings_close(port);
    tr_verbs_targets_close(port);
    for (uint32_t i = 0; port->peer != NULL && i < port->place_count; i++)
        tr_verbs_channel_give_back(port, &port->peer[i]);
    for (uint32_t i = 0; i < port->range_count; i++)
        ibv_dereg_mr(port->range[i]);
    struct ibv_cq *const queues[] = {port->cq_in, port->cq_out, port->cq_write, port->cq_ring};
    for (size_t i = 0; i < TR_ARRAY_COUNT(queues); i++) {
        if (queues[i] != NULL)
            ibv_destroy_cq(queues[i]);
    }
    tr_verbs_device_close(port);
    tr_verbs_unlock(port);
    memset(port->key, 0, sizeof(port->key));
}

/* Everything that can fail, in order; what was opened is in the port. */
static int open_parts(struct tr_port *port, const struct tr_port_options *o)
{
    struct sockaddr_storage address;
    socklen_t address_bytes = 0;
    if (resolve(o->address, o->queue_index, &address, &address_bytes) != TR_OK) {
        tr_explain(o->error, o->error_bytes,
                   "verbs: \"%s\" is no address: write HOST:PORT or [IPV6]:PORT",
                   o->address != NULL ? o->address : "");
        return TR_EADDR;
    }
    port->is_ephemeral = !has_port(&address);
    port->has_rings = !port->is_ephemeral && o->adopt_max == 0;
    size_port(port, o);
    int result = read_options(port, o);
    if (result == TR_OK)
        result = take_tables(port);
    if (result == TR_OK && !port->is_ephemeral)
        result = tr_verbs_lock(port, o, &address);
    if (result == TR_OK)
        result = tr_verbs_device_open(port, o, &address);
    if (result == TR_OK)
        result = make_queues(port, o);
    if (result == TR_OK && port->has_rings)
        result = tr_verbs_probe(port, o);
    if (result == TR_OK)
        result = tr_verbs_strangers_open(port);
    return result == TR_OK ? tr_verbs_control_open(port, o, &address, address_bytes) : result;
}

static int verbs_open(const struct tr_port_options *o, struct tr_port **out)
{
    if (o->struct_bytes != sizeof(*o) || o->self == 0 || o->peers_max == 0 ||
        o->peers_max > PEERS_MAX) {
        tr_explain(o->error, o->error_bytes, "verbs: needs a node number and 1 to %u peers",
                   PEERS_MAX);
        return TR_EINVAL;
    }
    struct tr_port *port = o->memory.allocate(o->memory.context, sizeof(*port), 64);
    if (port == NULL) {
        tr_explain(o->error, o->error_bytes, "verbs: the arena is spent");
        return TR_ENOMEM;
    }
    memset(port, 0, sizeof(*port));
    port->driver = &tr_driver_verbs;
    port->lock_fd = port->listen_fd = port->epoll_fd = -1;
    port->batch.remote = UINT32_MAX;
    for (uint32_t i = 0; i < GUESTS_MAX; i++)
        port->guest[i].link.fd = -1;
    if (getrandom(&port->incarnation, sizeof(port->incarnation), 0) < 0)
        port->incarnation = o->seed;
    port->incarnation |= 1;
    port->random = (port->incarnation ^ o->seed) | 1;
    int result = open_parts(port, o);
    if (result != TR_OK) {
        if (o->error != NULL && o->error[0] == '\0')
            tr_explain(o->error, o->error_bytes, "verbs: %s: %s", o->address,
                       result == TR_ENOMEM ? "no memory, or none that may be locked (ulimit -l)"
                                           : strerror(errno));
        verbs_close(port);
        return result;
    }
    *out = port;
    return TR_OK;
}

static void verbs_device(const struct tr_port_options *o, struct tr_device *out)
{
    struct sockaddr_storage address;
    socklen_t address_bytes;
    struct tr_verbs_extra extra = {.gid = UINT64_MAX};
    *out = (struct tr_device){.kind = TR_DEVICE_NONE};
    if (tr_extra_parse(&extra_table, o->extra, &extra, NULL, 0) != TR_OK ||
        resolve(o->address, 0, &address, &address_bytes) != TR_OK)
        return;
    if (tr_verbs_device_name(&extra, &address, out->name, sizeof(out->name)))
        out->kind = TR_DEVICE_RDMA;
}

static void verbs_limits(const struct tr_port *port, struct tr_port_limits *out)
{
    out->message_bytes_max = port->message_bytes_max;
    out->burst_max = BURST_MAX;
    out->write_bytes_max = port->has_rings ? STAGE_BYTES : 0;
    out->writes_max = port->has_rings ? WRITES_MAX : 0;
    out->peers_max = port->peers_max;
}

/* ---- peers */

uint32_t tr_verbs_peer_find(const struct tr_port *port, tr_node_id id)
{
    for (uint32_t i = 0; id != 0 && i < port->place_count; i++) {
        if (port->peer[i].id == id)
            return i;
    }
    return UINT32_MAX;
}

/* A place that no peer has: one that nobody has, else a stranger's. UINT32_MAX: there are peers_max
 * peers. */
static uint32_t free_place(const struct tr_port *port)
{
    uint32_t place = UINT32_MAX, peers = 0;
    for (uint32_t i = 0; i < port->place_count; i++) {
        const struct tr_verbs_peer *peer = &port->peer[i];
        peers += peer->id != 0;
        if (peer->id == 0 &&
            (place == UINT32_MAX || (port->peer[place].is_stranger && !peer->is_stranger)))
            place = i;
    }
    return peers < port->peers_max ? place : UINT32_MAX;
}

static int verbs_peer_add(struct tr_port *port, tr_node_id id, const char *address)
{
    uint32_t index = free_place(port);
    struct sockaddr_storage at;
    socklen_t at_bytes = 0;
    if (id == 0 || id == port->self)
        return TR_EINVAL;
    if (tr_verbs_peer_find(port, id) != UINT32_MAX)
        return TR_EEXIST;
    if (index == UINT32_MAX)
        return TR_EFULL;
    if (resolve(address, port->queue, &at, &at_bytes) != TR_OK || !has_port(&at))
        return TR_EADDR;
    struct tr_verbs_peer *peer = &port->peer[index];
    if (peer->is_stranger)
        tr_verbs_link_down(port, index);
    peer->told_up = false;
    peer->told_incarnation = 0;
    peer->incarnation = 0;
    peer->writes_open = 0;
    peer->stage_bytes = 0;
    memset(peer->entries, 0, sizeof(peer->entries));
    if (tr_verbs_channel_take(port, peer) != TR_OK) {
        tr_verbs_channel_give_back(port, peer);
        return TR_ENOMEM;
    }
    peer->id = id;
    peer->is_client = port->self > id || port->is_ephemeral;
    peer->address = at;
    peer->address_bytes = at_bytes;
    peer->link.retry_ns = 0;
    port->control_ns = 0;
    return TR_OK;
}

static int verbs_peer_remove(struct tr_port *port, tr_node_id id)
{
    uint32_t index = tr_verbs_peer_find(port, id);
    if (index == UINT32_MAX)
        return TR_ENOENT;
    if (port->peer[index].is_stranger) {
        tr_verbs_stranger_release(port, index);
        return TR_OK;
    }
    for (uint32_t i = 0; i < GUESTS_MAX; i++) {
        if (port->guest[i].peer == index)
            port->guest[i].end_ns = 0;
    }
    tr_verbs_link_down(port, index);
    if (index < port->adopt_first)
        tr_verbs_channel_give_back(port, &port->peer[index]);
    port->peer[index].id = 0;
    return TR_OK;
}

/* ---- what happened, what was counted */

static uint32_t verbs_events(struct tr_port *port, struct tr_port_event *out, uint32_t max)
{
    uint32_t count = 0;
    if (port->link_is_down != port->link_told_down && count < max) {
        port->link_told_down = port->link_is_down;
        out[count++] =
            (struct tr_port_event){port->link_is_down ? TR_PORT_LINK_DOWN : TR_PORT_LINK_UP, 0};
    }
    for (uint32_t i = 0; i < port->place_count && count < max; i++) {
        struct tr_verbs_peer *peer = &port->peer[i];
        if (peer->id == 0)
            continue;
        if (peer->told_up && (!peer->is_up || peer->told_link != peer->link_number)) {
            peer->told_up = false;
            out[count++] = (struct tr_port_event){TR_PORT_PEER_DOWN, peer->id};
        }
        if (peer->told_up || !peer->is_up || count == max)
            continue;
        bool is_new = peer->told_incarnation != 0 && peer->told_incarnation != peer->incarnation;
        out[count++] =
            (struct tr_port_event){is_new ? TR_PORT_PEER_NEW : TR_PORT_PEER_UP, peer->id};
        peer->told_up = true;
        peer->told_link = peer->link_number;
        peer->told_incarnation = peer->incarnation;
    }
    return count;
}

static void verbs_stats(const struct tr_port *port, struct tr_port_stats *out)
{
    *out = port->stats;
}

const struct tr_driver tr_driver_verbs = {
    .name = "verbs",
    .abi_bytes = sizeof(struct tr_driver),
    .capabilities = TR_DRIVER_MESSAGES | TR_DRIVER_ONE_SIDED | TR_DRIVER_INTER_PROCESS |
                    TR_DRIVER_INTER_HOST | TR_DRIVER_MAY_TEAR | TR_DRIVER_ASYNC_FENCE |
                    TR_DRIVER_SYSCALLS | TR_DRIVER_ADOPT,
    .summary = "RDMA: RoCE v2, InfiniBand, Soft-RoCE",
    .device = verbs_device,
    .open = verbs_open,
    .close = verbs_close,
    .limits = verbs_limits,
    .peer_add = verbs_peer_add,
    .peer_remove = verbs_peer_remove,
    .peer_adopt = tr_verbs_peer_adopt,
    .rx_burst = tr_verbs_rx_burst,
    .tx_burst = tr_verbs_tx_burst,
    .tx_reply = tr_verbs_tx_reply,
    .tx_flush = tr_verbs_tx_flush,
    .ring_create = tr_verbs_ring_create,
    .ring_grant = tr_verbs_ring_grant,
    .fence_start = tr_verbs_fence_start,
    .fence_poll = tr_verbs_fence_poll,
    .ring_consumed = tr_verbs_ring_consumed,
    .remote_open = tr_verbs_remote_open,
    .remote_close = tr_verbs_remote_close,
    .write_post = tr_verbs_write_post,
    .write_poll = tr_verbs_write_poll,
    .remote_consumed = tr_verbs_remote_consumed,
    .memory_add = tr_verbs_memory_add,
    .events = verbs_events,
    .stats = verbs_stats,
};
