/* The shell of the remote client: a port, memory and a clock around the pure machine; public API.
 */
#include "trireme/client.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/prng.h"
#include "client/machine.h"
#include "dataplane/arena.h"
#include "dataplane/clock.h"
#include "dataplane/door.h"
#include "dataplane/idle.h"
#include "dataplane/log.h"
#include "dataplane/node.h"
#include "drivers/module.h"
#include "trireme/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* Messages that one poll receives, and that it sends. */
#define BURST      64u
#define SENDS_MAX  64u
#define EVENTS_MAX 16u
/* Between two looks at what the driver says of nodes. */
#define EVENTS_NS UINT64_C(200000)
/* Commands are gathered into messages of about so many bytes; replies come in as large ones. */
#define BATCH_BYTES       (16u << 10)
#define MESSAGE_BYTES_MIN (20u << 10)
/* Room for messages on the way, a node and direction. */
#define QUEUE_BYTES (256u << 10)
/* tr_client_wait: turns before it sleeps, and how long it sleeps then. */
#define WAIT_SPINS 2000u
#define WAIT_NS    50000

struct tr_client {
    struct tr_client_machine *machine;
    const struct tr_driver *driver;
    struct tr_port *port;
    struct tr_arena arena;
    struct tr_clock clock;
    struct tr_logger logger;
    uint64_t events_ns;
    int refusal_told;
    enum tr_client_phase phase_told;
    uint32_t node_count;
    uint16_t node[TR_CLIENT_NODES_MAX];
    struct tr_rx rx[BURST];
};

/* ---- opening */

/* What opening a client works with. */
struct opening {
    struct tr_client_options options;
    struct tr_client *client;
    const struct tr_driver *driver; /* by its name */
    uint64_t seed;
    char *error;
    size_t error_bytes;
};

static uint64_t random_u64(uint64_t fallback)
{
    uint64_t value = 0;
    if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
        value = fallback ^ tr_clock_system_ns();
    return value != 0 ? value : 1;
}

static int check_options(struct opening *o)
{
    const struct tr_client_options *from = &o->options;
    char why[512] = "";
    if (tr_driver_load(from->driver != NULL ? from->driver : "udp", &o->driver, why, sizeof(why)) !=
        TR_OK)
        return tr_fail(TR_ENOTSUP, o->error, o->error_bytes, "%s", why);
    if ((o->driver->capabilities & TR_DRIVER_MESSAGES) == 0 ||
        (o->driver->capabilities & TR_DRIVER_ZERO_COPY_TX) != 0)
        return tr_fail(TR_ENOTSUP, o->error, o->error_bytes,
                       "driver %s does not carry messages by copying them", o->driver->name);
    if (from->cluster == NULL || from->cluster[0] == '\0' || strlen(from->cluster) > 55)
        return tr_fail(TR_EINVAL, o->error, o->error_bytes,
                       "the cluster's name is empty, or longer than 55 bytes");
    if (from->nodes == NULL || from->node_count == 0 || from->node_count > TR_CLIENT_NODES_MAX)
        return tr_fail(TR_EINVAL, o->error, o->error_bytes, "%u nodes; 1 to %u are possible",
                       from->node_count, TR_CLIENT_NODES_MAX);
    if (from->lcore >= TR_LCORES_MAX)
        return tr_fail(TR_EINVAL, o->error, o->error_bytes, "lcore is %u; 0 to %d are possible",
                       from->lcore, TR_LCORES_MAX - 1);
    for (uint32_t i = 0; i < from->node_count; i++) {
        if (from->nodes[i].node == 0 || from->nodes[i].address == NULL)
            return tr_fail(TR_EINVAL, o->error, o->error_bytes,
                           "node %u of the list has no id or no address", i);
        for (uint32_t j = 0; j < i; j++)
            if (from->nodes[j].node == from->nodes[i].node)
                return tr_fail(TR_EINVAL, o->error, o->error_bytes, "node %u is there twice",
                               from->nodes[i].node);
        o->client->node[i] = from->nodes[i].node;
    }
    o->client->node_count = from->node_count;
    return TR_OK;
}

/* Opens the port at one address. */
static int open_port(struct opening *o, const char *address, char *why, size_t why_bytes)
{
    const struct tr_client_options *from = &o->options;
    struct tr_port_options options = {
        .struct_bytes = sizeof(options),
        .self = UINT16_MAX,
        .address = address,
        .queue_index = from->lcore,
        .queue_count = from->lcore + 1,
        .peers_max = from->node_count,
        .message_bytes_max =
            tr_max_u32(from->message_bytes_max + TR_WIRE_OVERHEAD_BYTES, MESSAGE_BYTES_MIN),
        .queue_bytes = QUEUE_BYTES,
        .seed = o->seed,
        .memory = tr_arena_memory(&o->client->arena),
        .fabric = tr_node_fabric(o->driver, from->fabric),
        .extra = from->driver_options,
        .error = why,
        .error_bytes = why_bytes,
    };
    return o->driver->open(&options, &o->client->port);
}

/* Takes the first address that is free of those that the nodes know clients by. */
static int open_named(struct opening *o, char *why, size_t why_bytes)
{
    const struct tr_client_options *from = &o->options;
    char name[2 * TR_ADDRESS_BYTES_MAX];
    for (uint32_t i = 1; i <= TR_DOOR_PLACES_MAX; i++) {
        int status = tr_client_name(name, sizeof(name), from->address, from->nodes[0].address,
                                    from->cluster, i);
        if (status == TR_OK)
            status = open_port(o, name, why, why_bytes);
        if (status != TR_EBUSY)
            return status;
        tr_arena_close(&o->client->arena); /* what the attempt took */
        if (tr_arena_open(&o->client->arena, 0) != TR_OK)
            return TR_ENOMEM;
    }
    snprintf(why, why_bytes, "all %u names of clients are in use", TR_DOOR_PLACES_MAX);
    return TR_EFULL;
}

static int open_any_port(struct opening *o)
{
    const struct tr_client_options *from = &o->options;
    struct tr_client *c = o->client;
    char why[256] = "";
    int status;
    if ((o->driver->capabilities & TR_DRIVER_ADOPT) == 0)
        status = open_named(o, why, sizeof(why));
    else if (from->address != NULL)
        status = open_port(o, from->address, why, sizeof(why));
    else
        status = open_port(o, from->nodes[0].address[0] == '[' ? "[::]:0" : "0.0.0.0:0", why,
                           sizeof(why));
    if (status != TR_OK)
        return tr_fail(status, o->error, o->error_bytes, "%s (driver %s, own address)",
                       why[0] != '\0' ? why : tr_strerror(status), o->driver->name);
    if (why[0] != '\0')
        tr_log(&c->logger, TR_LOG_WARN, "%s", why);
    c->driver = tr_port_driver(c->port);
    for (uint32_t i = 0; i < from->node_count; i++) {
        status = c->driver->peer_add(c->port, from->nodes[i].node, from->nodes[i].address);
        if (status != TR_OK)
            return tr_fail(status, o->error, o->error_bytes, "node %u at \"%s\": %s",
                           from->nodes[i].node, from->nodes[i].address, tr_strerror(status));
    }
    return TR_OK;
}

static int make_machine(struct opening *o)
{
    const struct tr_client_options *from = &o->options;
    struct tr_client *c = o->client;
    struct tr_port_limits limits;
    struct tr_client_config config = {0};
    const char *why = NULL;
    c->driver->limits(c->port, &limits);
    config.cluster = tr_wire_cluster(from->cluster);
    config.group = from->group;
    config.node_count = from->node_count;
    memcpy(config.node, c->node, sizeof(config.node));
    config.window = from->window;
    config.command_bytes_max = from->message_bytes_max;
    config.queue_bytes = from->queue_bytes;
    config.message_bytes_max = tr_align_down_u32(limits.message_bytes_max, 8);
    config.batch_bytes = BATCH_BYTES;
    config.deadline_ns = from->deadline_us * 1000;
    tr_client_config_times(&config);
    for (uint32_t i = 0; i < 2; i++)
        tr_store_le64(config.nonce + 8 * (size_t)i,
                      from->seed != 0 ? tr_splitmix64(&o->seed) : random_u64(o->seed));
    tr_store_le16(config.nonce, 0);
    uint64_t bytes = tr_client_machine_bytes(&config, &why);
    if (bytes == 0)
        return tr_fail(TR_EINVAL, o->error, o->error_bytes, "%s", why);
    void *memory = tr_arena_take(&c->arena, bytes, TR_CACHE_LINE);
    if (memory == NULL)
        return tr_fail(TR_ENOMEM, o->error, o->error_bytes, "%lu bytes of memory cannot be had",
                       (unsigned long)bytes);
    c->machine = tr_client_machine_init(memory, &config, tr_clock_now_ns(&c->clock));
    return TR_OK;
}

static int open_parts(struct opening *o)
{
    struct tr_client *c = o->client;
    int status = check_options(o);
    if (status != TR_OK)
        return status;
    c->logger = (struct tr_logger){
        .write = o->options.log, .context = o->options.log_context, .level = o->options.log_level};
    snprintf(c->logger.name, sizeof(c->logger.name), "%s.client", o->options.cluster);
    o->seed = o->options.seed != 0 ? o->options.seed : random_u64((uint64_t)(uintptr_t)o);
    if (tr_arena_open(&c->arena, 0) != TR_OK)
        return tr_fail(TR_ENOMEM, o->error, o->error_bytes, "out of memory");
    tr_clock_open(&c->clock);
    status = open_any_port(o);
    if (status == TR_OK)
        status = make_machine(o);
    if (status == TR_OK)
        tr_arena_seal(&c->arena);
    return status;
}

static void release(struct tr_client *c)
{
    if (c->port != NULL && c->driver != NULL)
        c->driver->close(c->port);
    tr_arena_close(&c->arena);
    free(c);
}

int tr_client_open(const struct tr_client_options *options, struct tr_client **out, char *error,
                   size_t error_bytes)
{
    struct tr_client_options defaults = TR_CLIENT_OPTIONS_INIT;
    struct opening o = {.options = defaults, .error = error, .error_bytes = error_bytes};
    if (tr_config_copy(&o.options, sizeof(o.options), options, options->struct_bytes) != TR_OK)
        return tr_fail(TR_EINVAL, error, error_bytes,
                       "struct_bytes is %zu; use TR_CLIENT_OPTIONS_INIT", options->struct_bytes);
    if (posix_memalign((void **)&o.client, TR_CACHE_LINE, sizeof(*o.client)) != 0)
        return tr_fail(TR_ENOMEM, error, error_bytes, "out of memory");
    memset(o.client, 0, sizeof(*o.client));
    int status = open_parts(&o);
    if (status != TR_OK) {
        release(o.client);
        return status;
    }
    *out = o.client;
    return TR_OK;
}

/* ---- a turn */

static uint32_t index_of(const struct tr_client *c, tr_node_id node)
{
    for (uint32_t i = 0; i < c->node_count; i++)
        if (c->node[i] == node)
            return i;
    return UINT32_MAX;
}

/* What became of the attachment, for the log. */
static tr_noinline void tell(struct tr_client *c)
{
    struct tr_client_machine *m = c->machine;
    if (m->refusal != c->refusal_told)
        tr_log(&c->logger, TR_LOG_WARN, "node %u refuses: %s", c->node[m->target],
               tr_strerror(m->refusal));
    c->refusal_told = m->refusal;
    if (m->phase == c->phase_told)
        return;
    c->phase_told = m->phase;
    if (m->phase == TR_CLIENT_ATTACHED)
        tr_log(&c->logger, TR_LOG_INFO, "session %lu is attached to node %u",
               (unsigned long)m->number, c->node[m->target]);
    else if (m->phase == TR_CLIENT_SEEK)
        tr_log(&c->logger, TR_LOG_INFO, "looks for a node");
    else if (m->phase == TR_CLIENT_LOST)
        tr_log(&c->logger, TR_LOG_ERROR, "session %lu is lost: %s", (unsigned long)m->number,
               tr_strerror(m->lost_reason));
}

static void port_events(struct tr_client *c, uint64_t now_ns)
{
    struct tr_port_event events[EVENTS_MAX];
    uint32_t count = c->driver->events(c->port, events, EVENTS_MAX);
    c->events_ns = now_ns + EVENTS_NS;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t node = index_of(c, events[i].peer);
        bool gone = events[i].type == TR_PORT_PEER_DOWN || events[i].type == TR_PORT_PEER_NEW;
        if (gone && node != UINT32_MAX)
            tr_client_machine_down(c->machine, node, now_ns);
    }
}

static void send_due(struct tr_client *c)
{
    struct tr_client_out out;
    uint32_t sent = 0;
    for (; sent < SENDS_MAX && tr_client_machine_next(c->machine, &out); sent++) {
        struct tr_tx tx = {.peer = c->node[out.node], .segment_count = 1};
        tx.segment[0] = (struct tr_segment){.data = out.data, .bytes = out.bytes};
        if (c->driver->tx_burst(c->port, &tx, 1) != 1)
            break; /* back-pressure: it stays the next one */
        tr_client_machine_sent(c->machine);
    }
    if (sent != 0)
        c->driver->tx_flush(c->port);
}

/* Receives, looks at the time, sends. */
static void turn(struct tr_client *c)
{
    struct tr_client_machine *m = c->machine;
    uint32_t count = c->driver->rx_burst(c->port, c->rx, BURST);
    uint64_t now_ns = tr_clock_now_ns(&c->clock);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t node = index_of(c, c->rx[i].peer);
        if (tr_likely(node != UINT32_MAX))
            tr_client_machine_receive(m, node, c->rx[i].data, c->rx[i].bytes, now_ns);
    }
    if (now_ns >= c->events_ns)
        port_events(c, now_ns);
    tr_client_machine_tick(m, now_ns);
    send_due(c);
    if (tr_unlikely(m->phase != c->phase_told || m->refusal != c->refusal_told))
        tell(c);
}

static uint32_t take(struct tr_client *c, struct tr_completion *out, uint32_t max)
{
    uint32_t count = 0;
    for (; count < max; count++) {
        const struct tr_client_done *d = tr_client_machine_take(c->machine);
        if (d == NULL)
            break;
        out[count] = (struct tr_completion){.user = d->user,
                                            .sequence = d->sequence,
                                            .slot = d->slot,
                                            .status = d->status,
                                            .reply_bytes = d->reply_bytes,
                                            .reply = d->reply,
                                            .submitted_ns = d->submitted_ns,
                                            .completed_ns = d->completed_ns};
    }
    return count;
}

uint32_t tr_client_poll(struct tr_client *c, struct tr_completion *out, uint32_t max)
{
    tr_client_machine_release(c->machine);
    turn(c);
    return take(c, out, max);
}

uint32_t tr_client_wait(struct tr_client *c, struct tr_completion *out, uint32_t max,
                        uint64_t timeout_us)
{
    const struct timespec pause = {.tv_nsec = WAIT_NS};
    uint64_t begin_ns = tr_clock_now_ns(&c->clock);
    uint64_t limit_ns = timeout_us > UINT64_MAX / 2000 ? UINT64_MAX / 2 : timeout_us * 1000;
    for (uint32_t turns = 0;; turns++) {
        uint32_t count = tr_client_poll(c, out, max);
        if (count != 0 || tr_client_machine_pending(c->machine) == 0 ||
            tr_clock_now_ns(&c->clock) - begin_ns >= limit_ns)
            return count;
        if (turns < WAIT_SPINS)
            tr_cpu_pause();
        else
            nanosleep(&pause, NULL);
    }
}

/* ---- submissions */

int tr_client_submit(struct tr_client *c, const void *data, uint32_t bytes, void *user)
{
    return tr_client_machine_submit(c->machine, data, bytes, user, tr_clock_now_ns(&c->clock));
}

int tr_client_read(struct tr_client *c, const void *query, uint32_t bytes, void *user)
{
    return tr_client_machine_ask(c->machine, query, bytes, user, 0, tr_clock_now_ns(&c->clock));
}

int tr_client_read_local(struct tr_client *c, const void *query, uint32_t bytes, void *user)
{
    return tr_client_machine_ask(c->machine, query, bytes, user, TR_WIRE_READ_LOCAL,
                                 tr_clock_now_ns(&c->clock));
}

uint32_t tr_client_pending(const struct tr_client *c)
{
    return tr_client_machine_pending(c->machine);
}

void tr_client_status(const struct tr_client *c, struct tr_client_status *out)
{
    const struct tr_client_machine *m = c->machine;
    *out = (struct tr_client_status){
        .node = m->phase == TR_CLIENT_ATTACHED ? c->node[m->target] : 0,
        .leader = m->leader,
        .refusal = m->refusal,
        .session = m->number,
        .attached = m->count.attached,
        .moved = m->count.moved,
        .resent = m->count.resent,
        .expired = m->count.expired,
        .dropped = m->count.dropped_malformed + m->count.dropped_stale,
    };
}

void tr_client_close(struct tr_client *c)
{
    if (c == NULL)
        return;
    tr_client_machine_close(c->machine);
    send_due(c);
    release(c);
}
