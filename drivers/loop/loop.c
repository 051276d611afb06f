/* Ports of the loop driver: opening, peers, messages, events, and the driver's table. The picture
 * of the whole is in inner.h. */
#include "drivers/loop/inner.h"

#include <stdio.h>

static int refuse(const struct tr_port_options *options, int error, const char *text)
{
    if (options->error != NULL)
        snprintf(options->error, options->error_bytes, "loop: %s: %s",
                 options->address ? options->address : "(no address)", text);
    return error;
}

static int take_port(const struct tr_port_options *options, struct tr_port **out)
{
    uint32_t completions = 1;
    while (completions < options->peers_max * WRITES_MAX)
        completions *= 2;
    struct tr_port *port = tr_loop_take_zeroed(&options->memory, sizeof(*port));
    if (port == NULL)
        return TR_ENOMEM;
    port->peer = tr_loop_take_zeroed(&options->memory, options->peers_max * sizeof(struct peer));
    port->remote = tr_loop_take_zeroed(&options->memory, REMOTES_MAX * sizeof(struct remote));
    port->completion =
        tr_loop_take(&options->memory, completions * sizeof(struct tr_write_completion));
    if (port->peer == NULL || port->remote == NULL || port->completion == NULL)
        return TR_ENOMEM;
    port->completion_mask = completions - 1;
    port->driver = &tr_driver_loop;
    port->fabric = options->fabric;
    port->self = options->self;
    port->peers_max = options->peers_max;
    port->message_bytes_max = port->fabric->message_bytes_max;
    if (options->message_bytes_max != 0)
        port->message_bytes_max = tr_min_u32(options->message_bytes_max, port->message_bytes_max);
    *out = port;
    return TR_OK;
}

static int loop_open(const struct tr_port_options *options, struct tr_port **out)
{
    struct tr_loop_fabric *fabric = options->fabric;
    struct tr_port *port;
    if (options->struct_bytes != sizeof(*options) || fabric == NULL || options->self == 0 ||
        options->peers_max == 0 || options->peers_max > TR_LOOP_PLACES_MAX)
        return refuse(options, TR_EINVAL, "needs a fabric, a node number and 1 to 64 peers");
    if (options->extra != NULL && options->extra[0] != '\0')
        return refuse(options, TR_EINVAL, "takes no extra options");
    if (take_port(options, &port) != TR_OK)
        return refuse(options, TR_ENOMEM, "the arena is spent");
    pthread_mutex_lock(&fabric->lock);
    int error =
        tr_loop_find_place(fabric, options->address, options->queue_index, &port->place_index);
    struct place *place = &fabric->place[port->place_index];
    if (error == TR_OK && (place->epoch & 1) != 0)
        error = TR_EBUSY;
    if (error == TR_OK) {
        for (uint32_t i = 0; i < place->channel_count;
             i++) { /* what was sent to who was here before */
            struct channel *channel = place->channel[i];
            channel->taken = tr_load_acquire(&channel->tail);
            tr_store_release(&channel->head, channel->taken);
        }
        port->place = place;
        tr_store_release(&place->epoch, place->epoch + 1); /* (C) */
        *out = port;
    }
    pthread_mutex_unlock(&fabric->lock);
    if (error == TR_EBUSY)
        return refuse(options, error, "another port of this fabric is open there: close it first");
    return error == TR_OK ? TR_OK : refuse(options, error, "must be loop:NAME, at most 64 names");
}

static void loop_close(struct tr_port *port)
{
    struct tr_loop_fabric *fabric = port->fabric;
    pthread_mutex_lock(&fabric->lock);
    tr_loop_rings_close(port);
    tr_store_release(&port->place->epoch, port->place->epoch + 1); /* (C) */
    pthread_mutex_unlock(&fabric->lock);
}

static void loop_limits(const struct tr_port *port, struct tr_port_limits *out)
{
    out->message_bytes_max = port->message_bytes_max;
    out->burst_max = BURST_MAX;
    out->write_bytes_max = 1u << 30;
    out->writes_max = WRITES_MAX;
    out->peers_max = port->peers_max;
}

static int loop_peer_add(struct tr_port *port, tr_node_id id, const char *address)
{
    struct tr_loop_fabric *fabric = port->fabric;
    struct peer *peer = tr_loop_find_peer(port, 0);
    uint32_t at = 0;
    if (id == 0)
        return TR_EINVAL;
    if (tr_loop_find_peer(port, id) != NULL)
        return TR_EEXIST;
    if (peer == NULL)
        return TR_EFULL;
    pthread_mutex_lock(&fabric->lock);
    int error = tr_loop_find_place(fabric, address, port->place->queue, &at);
    struct channel *out = error == TR_OK ? tr_loop_join(fabric, port->place_index, at) : NULL;
    struct channel *in = error == TR_OK ? tr_loop_join(fabric, at, port->place_index) : NULL;
    pthread_mutex_unlock(&fabric->lock);
    if (error != TR_OK)
        return error;
    if (out == NULL || in == NULL)
        return TR_EFULL;
    memset(peer, 0, sizeof(*peer));
    peer->id = id;
    peer->place = &fabric->place[at];
    peer->out = out;
    return TR_OK;
}

static int loop_peer_remove(struct tr_port *port, tr_node_id id)
{
    struct peer *peer = id != 0 ? tr_loop_find_peer(port, id) : NULL;
    if (peer == NULL)
        return TR_ENOENT;
    for (uint32_t i = 0; i < REMOTES_MAX; i++) {
        if (port->remote[i].ring != NULL && port->remote[i].peer == peer)
            tr_loop_remote_close(port, i);
    }
    peer->id = 0;
    return TR_OK;
}

/* Messages. */

/* Sends on a channel. Returns: false when there is no room. */
static bool send_on(struct tr_port *port, struct channel *channel, const struct tr_segment *segment,
                    uint32_t segment_count, uint32_t bytes)
{
    uint32_t mask = port->fabric->queue_bytes - 1;
    uint32_t room = tr_align_up_u32(MESSAGE_HEAD + bytes, 8);
    uint64_t tail = tr_load_relaxed(&channel->tail);
    uint32_t offset = (uint32_t)tail & mask;
    uint32_t skip = offset + room > mask + 1 ? mask + 1 - offset : 0;
    tr_assert(bytes <= port->message_bytes_max);
    if (tail + skip + room - channel->head_seen > mask + 1) {
        channel->head_seen = tr_load_acquire(&channel->head); /* (B), meets rx_burst */
        if (tail + skip + room - channel->head_seen > mask + 1)
            return false;
    }
    if (skip != 0) {
        uint32_t mark = SKIP;
        memcpy(channel->memory + offset, &mark, sizeof(mark));
        offset = 0;
    }
    memcpy(channel->memory + offset, &bytes, sizeof(bytes));
    tr_gather_copy(channel->memory + offset + MESSAGE_HEAD, segment, segment_count);
    tr_store_release(&channel->tail, tail + skip + room); /* (A), meets rx_burst */
    return true;
}

static uint32_t loop_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count)
{
    uint32_t taken = 0;
    for (; taken < count && taken < BURST_MAX; taken++) {
        const struct tr_tx *t = &tx[taken];
        struct peer *peer = tr_loop_find_peer(port, t->peer);
        uint32_t bytes = tr_gather_bytes(t->segment, t->segment_count);
        bool up = peer != NULL && (tr_load_acquire(&peer->place->epoch) & 1) != 0; /* (C) */
        if (!up)
            port->stats.tx_errors++; /* taken and lost */
        else if (!send_on(port, peer->out, t->segment, t->segment_count, bytes))
            break;
        port->stats.tx_messages++;
        port->stats.tx_bytes += bytes;
    }
    port->stats.tx_full += count - taken;
    return taken;
}

static int loop_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                         uint32_t segment_count)
{
    tr_assert(source < tr_load_relaxed(&port->place->channel_count));
    uint32_t bytes = tr_gather_bytes(segment, segment_count);
    uint32_t to = port->place->channel[source]->from;
    pthread_mutex_lock(&port->fabric->lock); /* the search only; it is not on a replica's path */
    struct channel *back = tr_loop_find_channel(port->fabric, port->place_index, to);
    pthread_mutex_unlock(&port->fabric->lock);
    if (!send_on(port, back, segment, segment_count, bytes)) {
        port->stats.tx_full++;
        return TR_AGAIN;
    }
    port->stats.tx_messages++;
    port->stats.tx_bytes += bytes;
    return TR_OK;
}

static void loop_tx_flush(struct tr_port *port)
{
    (void)port;
}

static tr_node_id id_of_place(const struct tr_port *port, const struct place *place)
{
    for (uint32_t i = 0; i < port->peers_max; i++) {
        if (port->peer[i].id != 0 && port->peer[i].place == place)
            return port->peer[i].id;
    }
    return 0;
}

/* Takes messages off one channel. Returns: how many. */
static uint32_t receive_from(struct tr_port *port, uint32_t source, struct tr_rx *out, uint32_t max)
{
    struct channel *channel = port->place->channel[source];
    uint32_t mask = port->fabric->queue_bytes - 1;
    uint64_t tail = tr_load_acquire(&channel->tail); /* (A), meets send_on */
    uint32_t count = 0;
    tr_node_id from = 0;
    if (tail != channel->taken)
        from = id_of_place(port, &port->fabric->place[channel->from]);
    while (count < max && channel->taken != tail) {
        uint32_t offset = (uint32_t)channel->taken & mask;
        uint32_t bytes;
        memcpy(&bytes, channel->memory + offset, sizeof(bytes));
        if (bytes == SKIP) {
            channel->taken += mask + 1 - offset;
            continue;
        }
        out[count].data = channel->memory + offset + MESSAGE_HEAD;
        out[count].bytes = bytes;
        out[count].peer = from;
        out[count].source = source;
        channel->taken += tr_align_up_u32(MESSAGE_HEAD + bytes, 8);
        port->stats.rx_bytes += bytes;
        count++;
    }
    port->stats.rx_messages += count;
    port->stats.rx_unknown += from == 0 ? count : 0;
    return count;
}

static uint32_t loop_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    uint32_t channel_count = tr_load_acquire(&port->place->channel_count); /* (E), meets join */
    uint32_t count = 0;
    for (uint32_t i = 0; i < channel_count; i++) {
        struct channel *channel = port->place->channel[i];
        if (channel->head != channel->taken)
            tr_store_release(&channel->head, channel->taken); /* (B), meets send_on */
    }
    max = tr_min_u32(max, BURST_MAX);
    for (uint32_t i = 0; i < channel_count && count < max; i++) {
        port->next_channel = port->next_channel + 1 < channel_count ? port->next_channel + 1 : 0;
        count += receive_from(port, port->next_channel, out + count, max - count);
    }
    return count;
}

/* What happened, what was counted. */

static uint32_t loop_events(struct tr_port *port, struct tr_port_event *out, uint32_t max)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < port->peers_max && count < max; i++) {
        struct peer *peer = &port->peer[i];
        if (peer->id == 0)
            continue;
        uint64_t epoch =
            tr_load_acquire(&peer->place->epoch); /* (C), meets loop_open and loop_close */
        if (epoch == peer->epoch_seen)
            continue;
        bool is_up = (epoch & 1) != 0;
        bool seen_up = (peer->epoch_seen & 1) != 0;
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

static void loop_stats(const struct tr_port *port, struct tr_port_stats *out)
{
    *out = port->stats;
}

const struct tr_driver tr_driver_loop = {
    .name = "loop",
    .abi_bytes = sizeof(struct tr_driver),
    .capabilities = TR_DRIVER_MESSAGES | TR_DRIVER_ONE_SIDED | TR_DRIVER_MAY_TEAR,
    .summary = "memory between the ports of one process, for tests",
    .open = loop_open,
    .close = loop_close,
    .limits = loop_limits,
    .peer_add = loop_peer_add,
    .peer_remove = loop_peer_remove,
    .rx_burst = loop_rx_burst,
    .tx_burst = loop_tx_burst,
    .tx_reply = loop_tx_reply,
    .tx_flush = loop_tx_flush,
    .ring_create = tr_loop_ring_create,
    .ring_grant = tr_loop_ring_grant,
    .fence_start = tr_loop_fence_start,
    .fence_poll = tr_loop_fence_poll,
    .ring_consumed = tr_loop_ring_consumed,
    .remote_open = tr_loop_remote_open,
    .remote_close = tr_loop_remote_close,
    .write_post = tr_loop_write_post,
    .write_poll = tr_loop_write_poll,
    .remote_consumed = tr_loop_remote_consumed,
    .events = loop_events,
    .stats = loop_stats,
};
