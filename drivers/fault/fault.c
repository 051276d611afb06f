/* The fault driver's table: opening it over another driver. */
#include "drivers/fault/inner.h"

#include "drivers/module.h"

#include <inttypes.h>
#include <time.h>

static uint64_t monotonic_ns(void *context)
{
    struct timespec now;
    (void)context;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- what is passed on as it is ---- */

static int fault_peer_add(struct tr_port *port, tr_node_id peer, const char *address)
{
    return port->below_driver->peer_add(port->below, peer, address);
}

static int fault_peer_remove(struct tr_port *port, tr_node_id peer)
{
    return port->below_driver->peer_remove(port->below, peer);
}

static int fault_peer_adopt(struct tr_port *port, tr_node_id peer, uint32_t source)
{
    return port->below_driver->peer_adopt(port->below, peer, source); /* strangers are not held */
}

static int fault_ring_create(struct tr_port *port, const struct tr_ring_options *options,
                             struct tr_ring_info *out)
{
    return port->below_driver->ring_create(port->below, options, out);
}

static int fault_ring_grant(struct tr_port *port, uint32_t ring, uint64_t generation,
                            struct tr_ring_token *out)
{
    return port->below_driver->ring_grant(port->below, ring, generation, out);
}

static int fault_fence_start(struct tr_port *port, uint32_t ring)
{
    return port->below_driver->fence_start(port->below, ring);
}

static int fault_fence_poll(struct tr_port *port, uint32_t ring)
{
    return port->below_driver->fence_poll(port->below, ring);
}

static void fault_ring_consumed(struct tr_port *port, uint32_t ring, uint64_t position)
{
    port->below_driver->ring_consumed(port->below, ring, position);
}

static uint64_t fault_remote_consumed(struct tr_port *port, uint32_t remote)
{
    return port->below_driver->remote_consumed(port->below, remote);
}

static uint32_t fault_events(struct tr_port *port, struct tr_port_event *out, uint32_t max)
{
    return port->below_driver->events(port->below, out, max);
}

static void fault_limits(const struct tr_port *port, struct tr_port_limits *out)
{
    port->below_driver->limits(port->below, out);
}

/* What the caller would count: the driver below has not seen what was lost here, and has seen
 * copies. */
static void fault_stats(const struct tr_port *port, struct tr_port_stats *out)
{
    const struct tr_port_stats *d = &port->delta;
    port->below_driver->stats(port->below, out);
    out->tx_messages += d->tx_messages;
    out->tx_bytes += d->tx_bytes;
    out->rx_messages += d->rx_messages;
    out->rx_bytes += d->rx_bytes;
    out->rx_unknown += d->rx_unknown;
    out->writes += d->writes;
    out->write_bytes += d->write_bytes;
    out->writes_refused += d->writes_refused;
    out->writes_broken += d->writes_broken;
}

static void fault_close(struct tr_port *port)
{
    port->below_driver->close(port->below);
}

/* ---- opening ---- */

/* What open was asked for, put together from the options and their extra text. */
struct request {
    struct tr_fault_options options;
    struct tr_fault_text text;
    const struct tr_driver *below;
};

static int refuse(const struct tr_port_options *options, int error, const char *text,
                  const char *what)
{
    tr_explain(options->error, options->error_bytes, "fault: %s%s", text, what);
    return error;
}

static int read_request(const struct tr_port_options *options, struct request *r)
{
    char why[512] = "";
    int result;
    *r = (struct request){.options.now_ns = monotonic_ns};
    if (options->struct_bytes != sizeof(*options))
        return refuse(options, TR_EINVAL, "options of another size", "");
    if (options->fabric != NULL) {
        const struct tr_fault_options *given = options->fabric;
        if (given->struct_bytes != sizeof(*given))
            return refuse(options, TR_EINVAL, "fabric is no tr_fault_options", "");
        r->options = *given;
        if (given->now_ns == NULL)
            r->options.now_ns = monotonic_ns;
    }
    result = tr_fault_text_read(&r->text, options->extra, options->error, options->error_bytes);
    if (result != TR_OK)
        return result;
    r->below = r->options.below;
    if (r->below == NULL) {
        if (r->text.driver[0] == '\0')
            return refuse(options, TR_EINVAL, "name the driver below: driver=NAME", "");
        result = tr_driver_load(r->text.driver, &r->below, why, sizeof(why));
        if (result != TR_OK)
            return refuse(options, result, "", why);
    }
    if (r->below == &tr_driver_fault)
        return refuse(options, TR_EINVAL, "one layer of faults is enough", "");
    if ((r->below->capabilities & TR_DRIVER_ZERO_COPY_TX) != 0)
        return refuse(options, TR_ENOTSUP,
                      "what is held here would change: sent without copying by ", r->below->name);
    return TR_OK;
}

static int open_below(struct tr_port *port, const struct request *r,
                      const struct tr_port_options *options)
{
    struct tr_port_options below = *options;
    struct tr_port_limits limits;
    int result;
    below.fabric = r->options.fabric;
    below.extra = r->text.below;
    result = r->below->open(&below, &port->below);
    if (result != TR_OK)
        return result;
    port->below_driver = r->below;
    port->table = tr_fault_driver_over(r->below);
    port->head.driver = &port->table;
    r->below->limits(port->below, &limits);
    port->message_bytes_max = limits.message_bytes_max;
    port->burst_max = limits.burst_max;
    port->writes_max = limits.writes_max;
    port->peers_max = limits.peers_max;
    return TR_OK;
}

/* What only this driver needs, once the one below is open. */
static int open_own(struct tr_port *port, const struct request *r,
                    const struct tr_port_options *options)
{
    int result = TR_OK;
    port->now_ns = r->options.now_ns;
    port->context = r->options.context;
    port->control = r->options.control != NULL ? r->options.control : &port->own_control;
    tr_fault_control_init(&port->own_control);
    tr_prng_seed(&port->prng, r->text.seed != 0 ? r->text.seed : options->seed);
    if ((port->table.capabilities & TR_DRIVER_MESSAGES) != 0)
        result = tr_fault_messages_init(port, &options->memory);
    if (result == TR_OK && (port->table.capabilities & TR_DRIVER_ONE_SIDED) != 0)
        result = tr_fault_writes_init(port, &options->memory);
    if (result != TR_OK)
        return refuse(options, result, "the arena is spent", "");
    result = tr_fault_text_apply(&r->text, port->control);
    if (result != TR_OK)
        return refuse(options, result, "too many peers with rules of their own", "");
    return TR_OK;
}

static int fault_open(const struct tr_port_options *options, struct tr_port **out)
{
    struct request request;
    struct tr_port *port;
    int result = read_request(options, &request);
    if (result != TR_OK)
        return result;
    port = options->memory.allocate(options->memory.context, sizeof(*port), TR_CACHE_LINE);
    if (port == NULL)
        return refuse(options, TR_ENOMEM, "the arena is spent", "");
    memset(port, 0, sizeof(*port));
    result = open_below(port, &request, options);
    if (result != TR_OK)
        return result;
    result = open_own(port, &request, options);
    if (result != TR_OK) {
        port->below_driver->close(port->below);
        return result;
    }
    *out = port;
    return TR_OK;
}

/* That of the driver below. */
static void fault_device(const struct tr_port_options *options, struct tr_device *out)
{
    struct request request;
    struct tr_port_options below = *options;
    *out = (struct tr_device){.kind = TR_DEVICE_NONE};
    below.error = NULL;
    if (read_request(&below, &request) != TR_OK || request.below->device == NULL)
        return;
    below.fabric = request.options.fabric;
    below.extra = request.text.below;
    request.below->device(&below, out);
}

struct tr_fault_control *tr_fault_control_of(struct tr_port *port)
{
    return port->control;
}

#define MAY_CAPABILITIES (TR_DRIVER_MAY_DROP | TR_DRIVER_MAY_DUP | TR_DRIVER_MAY_REORDER)

struct tr_driver tr_fault_driver_over(const struct tr_driver *below)
{
    struct tr_driver table = tr_driver_fault;
    table.capabilities = below->capabilities;
    if ((below->capabilities & TR_DRIVER_MESSAGES) != 0)
        table.capabilities |= MAY_CAPABILITIES;
    return table;
}

/* The bits here are the most that it may have; those in force are of the driver below. */
const struct tr_driver tr_driver_fault = {
    .name = "fault",
    .abi_bytes = sizeof(struct tr_driver),
    .capabilities = TR_DRIVER_MESSAGES | TR_DRIVER_ONE_SIDED | TR_DRIVER_INTER_PROCESS |
                    TR_DRIVER_INTER_HOST | MAY_CAPABILITIES | TR_DRIVER_MAY_TEAR |
                    TR_DRIVER_ASYNC_FENCE | TR_DRIVER_SYSCALLS | TR_DRIVER_ADOPT,
    .summary = "any other driver (driver=NAME), with faults",
    .device = fault_device,
    .open = fault_open,
    .close = fault_close,
    .limits = fault_limits,
    .peer_add = fault_peer_add,
    .peer_remove = fault_peer_remove,
    .peer_adopt = fault_peer_adopt,
    .rx_burst = tr_fault_rx_burst,
    .tx_burst = tr_fault_tx_burst,
    .tx_reply = tr_fault_tx_reply,
    .tx_flush = tr_fault_tx_flush,
    .ring_create = fault_ring_create,
    .ring_grant = fault_ring_grant,
    .fence_start = fault_fence_start,
    .fence_poll = fault_fence_poll,
    .ring_consumed = fault_ring_consumed,
    .remote_open = tr_fault_remote_open,
    .remote_close = tr_fault_remote_close,
    .write_post = tr_fault_write_post,
    .write_poll = tr_fault_write_poll,
    .remote_consumed = fault_remote_consumed,
    .events = fault_events,
    .stats = fault_stats,
};
