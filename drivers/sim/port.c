/* Ports of the simulated network: opening, peers, events, and the drivers' tables. */
#include "drivers/sim/inner.h"

#include <inttypes.h>

#define PEERS_MAX          TR_SIM_PLACES_MAX
#define REASSEMBLY_ENTRIES 3

static void *take(const struct tr_memory *memory, size_t bytes)
{
    void *at = memory->allocate(memory->context, bytes, TR_CACHE_LINE);
    return at != NULL ? memset(at, 0, bytes) : NULL;
}

/* The place of an address, made when it is new. */
static int find_place(struct tr_sim_world *w, const char *address, uint32_t queue, uint32_t *out)
{
    const char *name = address != NULL && strncmp(address, "sim:", 4) == 0 ? address + 4 : "";
    size_t bytes = strlen(name);
    if (bytes == 0 || bytes >= NAME_BYTES)
        return TR_EADDR;
    for (uint32_t i = 0; i < w->place_count; i++) {
        if (w->place[i].queue == queue && strcmp(w->place[i].name, name) == 0) {
            *out = i;
            return TR_OK;
        }
    }
    if (w->place_count == TR_SIM_PLACES_MAX)
        return TR_EFULL;
    w->place[w->place_count].queue = queue;
    w->place[w->place_count].node = NONE;
    memcpy(w->place[w->place_count].name, name, bytes + 1);
    *out = w->place_count++;
    return TR_OK;
}

/* Buffers for a sender's large messages, unless none needs a second datagram. */
static int make_reassembly(struct tr_port *port, struct peer *peer)
{
    int result;
    if (TR_FRAME_BYTES + port->message_bytes_max <= port->world->datagram_bytes)
        return TR_OK;
    if (peer->has_reassembly) {
        tr_reassembly_reset(&peer->reassembly);
        return TR_OK;
    }
    result = tr_reassembly_init(&peer->reassembly, &port->memory, REASSEMBLY_ENTRIES,
                                port->message_bytes_max);
    peer->has_reassembly = result == TR_OK;
    return result;
}

static int refuse(const struct tr_port_options *options, int error, const char *text)
{
    tr_explain(options->error, options->error_bytes, "sim: %s: %s",
               options->address != NULL ? options->address : "(no address)", text);
    return error;
}

static struct tr_port *make_port(const struct tr_port_options *options,
                                 const struct tr_driver *driver)
{
    uint32_t completions = 1;
    struct tr_port *port = take(&options->memory, sizeof(*port));
    if (port == NULL)
        return NULL;
    while (completions < options->peers_max * WRITES_MAX)
        completions *= 2;
    port->head.driver = driver;
    port->world = options->fabric;
    port->self = options->self;
    port->memory = options->memory;
    port->peers_max = options->peers_max;
    port->message_bytes_max =
        options->message_bytes_max != 0 ? options->message_bytes_max : MESSAGE_DEFAULT;
    port->message_next = tr_prng_next(&port->world->prng);
    port->handed = NONE;
    port->peer = take(&options->memory, options->peers_max * sizeof(struct peer));
    port->remote = take(&options->memory, REMOTES_MAX * sizeof(struct remote));
    port->completion = take(&options->memory, completions * sizeof(struct tr_write_completion));
    port->completion_mask = completions - 1;
    if (port->peer == NULL || port->remote == NULL || port->completion == NULL ||
        make_reassembly(port, &port->stranger) != TR_OK)
        return NULL;
    for (uint32_t i = 0; i < REMOTES_MAX; i++)
        port->remote[i].ring = NONE;
    return port;
}

static int open_as(const struct tr_port_options *options, const struct tr_driver *driver,
                   struct tr_port **out)
{
    struct tr_sim_world *w = options->fabric;
    struct tr_port *port;
    struct place *place;
    uint32_t index, node;
    int error;
    if (options->struct_bytes != sizeof(*options) || w == NULL || options->self == 0 ||
        options->peers_max == 0 || options->peers_max > PEERS_MAX)
        return refuse(options, TR_EINVAL, "needs a world, a node number and 1 to 64 peers");
    if (options->message_bytes_max > TR_FRAGMENT_MESSAGE_BYTES_MAX)
        return refuse(options, TR_EINVAL, "message_bytes_max is above 8 MiB");
    if (options->extra != NULL && options->extra[0] != '\0')
        return refuse(options, TR_EINVAL, "takes no extra options: the profile has them");
    error = find_place(w, options->address, options->queue_index, &index);
    if (error != TR_OK)
        return refuse(options, error, "must be sim:NAME, at most 64 names");
    place = &w->place[index];
    if (place->port != NULL)
        return refuse(options, TR_EBUSY, "another port of this world is open there");
    node = tr_sim_node_index(w, options->self);
    if (node == NONE)
        return refuse(options, TR_EFULL, "more than 64 nodes");
    port = make_port(options, driver);
    if (port == NULL)
        return refuse(options, TR_ENOMEM, "the arena is spent");
    tr_sim_rings_abandon(w, index, false); /* the predecessor's: unwritable for ever (rule 1) */
    place->node = node;
    place->port = port;
    port->place = index;
    port->epoch = ++place->epoch;
    tr_sim_notice(w, index, tr_sim_draw_ns(w, &w->profile.delay_ns));
    *out = port;
    return TR_OK;
}

static int sim_open(const struct tr_port_options *options, struct tr_port **out)
{
    return open_as(options, &tr_driver_sim, out);
}

static int sim_messages_open(const struct tr_port_options *options, struct tr_port **out)
{
    return open_as(options, &tr_driver_sim_messages, out);
}

static void sim_close(struct tr_port *port)
{
    struct tr_sim_world *w = port->world;
    struct place *place = &w->place[port->place];
    if (place->port != port || place->epoch != port->epoch)
        return; /* it crashed */
    tr_sim_forget_messages(w, place);
    tr_sim_writes_abandon(w, port, false);
    tr_sim_rings_abandon(w, port->place, false);
    place->port = NULL;
    place->epoch++;
    tr_sim_notice(w, port->place, tr_sim_draw_ns(w, &w->profile.delay_ns));
}

static void sim_limits(const struct tr_port *port, struct tr_port_limits *out)
{
    bool is_one_sided = (port->head.driver->capabilities & TR_DRIVER_ONE_SIDED) != 0;
    *out = (struct tr_port_limits){
        .message_bytes_max = port->message_bytes_max,
        .burst_max = BURST_MAX,
        .write_bytes_max = is_one_sided ? WRITE_BYTES_MAX : 0,
        .writes_max = is_one_sided ? WRITES_MAX : 0,
        .peers_max = port->peers_max,
    };
}

static struct peer *find_peer(struct tr_port *port, tr_node_id id)
{
    for (uint32_t i = 0; i < port->peers_max; i++) {
        if (port->peer[i].id == id)
            return &port->peer[i];
    }
    return NULL;
}

static int sim_peer_add(struct tr_port *port, tr_node_id id, const char *address)
{
    struct tr_sim_world *w = port->world;
    struct peer *peer = find_peer(port, 0);
    uint32_t place = 0;
    int error;
    if (id == 0)
        return TR_EINVAL;
    if (find_peer(port, id) != NULL)
        return TR_EEXIST;
    if (peer == NULL)
        return TR_EFULL;
    error = find_place(w, address, w->place[port->place].queue, &place);
    if (error == TR_OK)
        error = make_reassembly(port, peer);
    if (error != TR_OK)
        return error;
    peer->id = id;
    peer->place = place;
    peer->epoch_seen = 0;
    peer->was_up = false;
    peer->writes_open = 0;
    port->peer_of_place[place] = (uint16_t)(1 + (peer - port->peer));
    return TR_OK;
}

static int sim_peer_remove(struct tr_port *port, tr_node_id id)
{
    struct peer *peer = id != 0 ? find_peer(port, id) : NULL;
    if (peer == NULL)
        return TR_ENOENT;
    for (uint32_t i = 0; i < REMOTES_MAX; i++) {
        if (port->remote[i].ring != NONE && port->remote[i].peer == peer)
            tr_sim_remote_close(port, i);
    }
    peer->id = 0;
    port->peer_of_place[peer->place] = 0;
    for (uint32_t i = 0; i < port->peers_max; i++) { /* another number for the same address */
        if (port->peer[i].id != 0 && port->peer[i].place == peer->place)
            port->peer_of_place[peer->place] = (uint16_t)(1 + i);
    }
    return TR_OK;
}

static uint32_t sim_events(struct tr_port *port, struct tr_port_event *out, uint32_t max)
{
    const struct tr_sim_world *w = port->world;
    uint32_t count = 0;
    if (!tr_sim_port_is_live(port))
        return 0;
    for (uint32_t i = 0; i < port->peers_max && count < max; i++) {
        struct peer *peer = &port->peer[i];
        uint64_t epoch = peer->id != 0 ? w->place[peer->place].epoch_seen : 0;
        bool is_up = (epoch & 1) != 0, seen_up = (peer->epoch_seen & 1) != 0;
        if (peer->id == 0 || epoch == peer->epoch_seen ||
            tr_sim_is_blocked(w, peer->place, port->place))
            continue;
        peer->epoch_seen = epoch;
        if (!is_up && !seen_up)
            continue; /* it came and went unseen */
        out[count].peer = peer->id;
        out[count].type =
            is_up ? peer->was_up ? TR_PORT_PEER_NEW : TR_PORT_PEER_UP : TR_PORT_PEER_DOWN;
        peer->was_up = peer->was_up || is_up;
        count++;
    }
    return count;
}

static void sim_stats(const struct tr_port *port, struct tr_port_stats *out)
{
    *out = port->stats;
}

#define MESSAGE_CAPABILITIES \
    (TR_DRIVER_MESSAGES | TR_DRIVER_MAY_DROP | TR_DRIVER_MAY_DUP | TR_DRIVER_MAY_REORDER)

const struct tr_driver tr_driver_sim = {
    .name = "sim",
    .abi_bytes = sizeof(struct tr_driver),
    .capabilities =
        MESSAGE_CAPABILITIES | TR_DRIVER_ONE_SIDED | TR_DRIVER_MAY_TEAR | TR_DRIVER_ASYNC_FENCE,
    .summary = "a simulated network with every fault, for the simulator",
    .open = sim_open,
    .close = sim_close,
    .limits = sim_limits,
    .peer_add = sim_peer_add,
    .peer_remove = sim_peer_remove,
    .rx_burst = tr_sim_rx_burst,
    .tx_burst = tr_sim_tx_burst,
    .tx_reply = tr_sim_tx_reply,
    .tx_flush = tr_sim_tx_flush,
    .ring_create = tr_sim_ring_create,
    .ring_grant = tr_sim_ring_grant,
    .fence_start = tr_sim_fence_start,
    .fence_poll = tr_sim_fence_poll,
    .ring_consumed = tr_sim_ring_consumed,
    .remote_open = tr_sim_remote_open,
    .remote_close = tr_sim_remote_close,
    .write_post = tr_sim_write_post,
    .write_poll = tr_sim_write_poll,
    .remote_consumed = tr_sim_remote_consumed,
    .events = sim_events,
    .stats = sim_stats,
};

const struct tr_driver tr_driver_sim_messages = {
    .name = "sim_messages",
    .abi_bytes = sizeof(struct tr_driver),
    .capabilities = MESSAGE_CAPABILITIES,
    .summary = "the simulated network without one-sided writes",
    .open = sim_messages_open,
    .close = sim_close,
    .limits = sim_limits,
    .peer_add = sim_peer_add,
    .peer_remove = sim_peer_remove,
    .rx_burst = tr_sim_rx_burst,
    .tx_burst = tr_sim_tx_burst,
    .tx_reply = tr_sim_tx_reply,
    .tx_flush = tr_sim_tx_flush,
    .events = sim_events,
    .stats = sim_stats,
};
