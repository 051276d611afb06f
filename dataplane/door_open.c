/* The life of a door: its port, its places, their memory. */
#include "dataplane/door.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "dataplane/group.h"
#include "dataplane/node.h"
#include "trireme/error.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Room for messages on the way, a client and direction: drivers have more for peers. */
#define QUEUE_BYTES (256u << 10)
/* A name in the counters: "clients 63". */
#define SCOPE_BYTES 32

int tr_client_name(char *out, size_t out_bytes, const char *names, const char *like,
                   const char *cluster, uint32_t number)
{
    const char *colon = strchr(like, ':');
    int bytes;
    if (names != NULL)
        bytes = snprintf(out, out_bytes, "%s.%u", names, number);
    else
        bytes = snprintf(out, out_bytes, "%.*s%s.client.%u",
                         colon != NULL ? (int)(colon - like) + 1 : 0, like, cluster, number);
    return bytes > 0 && (size_t)bytes < out_bytes ? TR_OK : TR_EADDR;
}

static void add_counters(struct tr_node *node, struct tr_door *d)
{
    struct tr_counters *c = &node->counters;
    struct tr_door_stats *s = &d->stats;
    char scope[SCOPE_BYTES];
    snprintf(scope, sizeof(scope), "clients %u", d->lcore->index);
    s->clients = tr_counters_add(c, TR_STAT_GAUGE, scope, "clients", "remote clients attached");
#define COUNTER(field, help) s->field = tr_counters_add(c, TR_STAT_COUNTER, scope, #field, help)
    COUNTER(welcomes, "clients that were let in");
    COUNTER(challenges, "tokens given to who said hello");
    COUNTER(refused, "answers that refuse");
    COUNTER(malformed,
            "messages dropped: not of the clients' protocol, or claiming the impossible");
    COUNTER(stale, "messages of attachments that are over");
    COUNTER(gaps, "commands and reads whose predecessor was lost");
    COUNTER(busy, "commands and reads for which there was no room");
    COUNTER(resent, "times that replies were sent again");
    COUNTER(commands, "commands taken on");
    COUNTER(reads, "reads taken on");
    COUNTER(idled, "clients let go for their silence");
#undef COUNTER
}

/* Opens the door's port: the node's driver, at the client address. */
static int open_port(struct tr_door *d, char *error, size_t error_bytes)
{
    struct tr_node *node = d->node;
    struct tr_port_options options = tr_node_port_options(node, d->lcore->index);
    options.self = UINT16_MAX;
    options.address = node->client_address;
    options.peers_max = options.adopt_max = d->place_count;
    options.message_bytes_max = tr_max_u32(node->client_message_bytes_max + TR_WIRE_OVERHEAD_BYTES,
                                           TR_DOOR_MESSAGE_BYTES_MIN);
    options.queue_bytes = QUEUE_BYTES;
    int status = tr_node_open_at(node, &options, "for clients at ", &d->port, error, error_bytes);
    if (status != TR_OK)
        return status;
    d->driver = tr_port_driver(d->port);
    d->driver->limits(d->port, &d->limits);
    return TR_OK;
}

/* Where a driver cannot adopt, clients come from names that are known beforehand. */
static int add_names(struct tr_door *d, char *error, size_t error_bytes)
{
    char name[2 * TR_ADDRESS_BYTES_MAX];
    if ((d->driver->capabilities & TR_DRIVER_ADOPT) != 0)
        return TR_OK;
    for (uint32_t i = 0; i < d->place_count; i++) {
        int status = tr_client_name(name, sizeof(name), d->node->client_names,
                                    d->node->client_address, d->node->cluster, i + 1);
        if (status == TR_OK)
            status = d->driver->peer_add(d->port, d->place[i].peer, name);
        if (status != TR_OK)
            return tr_fail(status, error, error_bytes,
                           "clients' address \"%s\": %s (client_names, clients_max)", name,
                           tr_strerror(status));
    }
    return TR_OK;
}

int tr_door_open(struct tr_node *node, struct tr_lcore *lcore, char *error, size_t error_bytes)
{
    struct tr_arena *a = &node->arena;
    if (node->client_address[0] == '\0' || lcore->door != NULL)
        return TR_OK;
    struct tr_door *d = (struct tr_door *)tr_arena_take(a, sizeof(*d), TR_CACHE_LINE);
    if (d == NULL)
        return TR_ENOMEM;
    d->node = node;
    d->lcore = lcore;
    d->place_count = node->clients_max;
    d->place =
        (struct tr_door_place *)tr_arena_take(a, d->place_count * sizeof(*d->place), TR_CACHE_LINE);
    d->active = (uint16_t *)tr_arena_take(a, d->place_count * sizeof(*d->active), TR_CACHE_LINE);
    if (d->place == NULL || d->active == NULL)
        return tr_fail(TR_ENOMEM, error, error_bytes, "no memory for %u clients", d->place_count);
    for (uint32_t i = 0; i < d->place_count; i++)
        d->place[i].peer = (tr_node_id)(i + 1);
    int status = open_port(d, error, error_bytes);
    if (status != TR_OK)
        return status;
    lcore->door = d; /* from here on it is closed with the node */
    d->out_bytes_max = d->limits.message_bytes_max;
    d->out = (uint8_t *)tr_arena_take(a, d->out_bytes_max + 64, TR_CACHE_LINE);
    if (d->out == NULL)
        return tr_fail(TR_ENOMEM, error, error_bytes, "no memory for messages to clients");
    tr_door_draw_tokens(d);
    add_counters(node, d);
    tr_log(&node->logger, TR_LOG_INFO, "polling core %u: up to %u clients at %s", lcore->index,
           d->place_count, node->client_address);
    return add_names(d, error, error_bytes);
}

int tr_door_fit(struct tr_door *d, const struct tr_group *g)
{
    struct tr_session_options options;
    struct tr_session_limits limits;
    tr_door_session_options(d, g, &options, &limits);
    uint64_t bytes = tr_session_memory_bytes(&options, &limits);
    for (uint32_t i = 0; i < d->place_count; i++) {
        struct tr_door_place *p = &d->place[i];
        if (p->memory_bytes >= bytes)
            continue;
        void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
            return TR_ENOMEM;
        if (p->memory != NULL)
            munmap(p->memory, p->memory_bytes);
        p->memory = memory;
        p->memory_bytes = bytes;
    }
    return bytes != 0 ? TR_OK : TR_EINVAL;
}

void tr_door_session_options(const struct tr_door *d, const struct tr_group *g,
                             struct tr_session_options *options, struct tr_session_limits *limits)
{
    struct tr_session_options defaults = TR_SESSION_OPTIONS_INIT;
    *options = defaults;
    options->window = d->node->client_window;
    options->queue_bytes = d->node->client_queue_bytes;
    limits->command_bytes_max = d->node->client_message_bytes_max;
    limits->reply_bytes_max = g->reply_bytes_max;
}

void tr_door_close(struct tr_door *d)
{
    if (d == NULL)
        return;
    d->driver->close(d->port);
    for (uint32_t i = 0; i < d->place_count; i++)
        if (d->place[i].memory != NULL)
            munmap(d->place[i].memory, d->place[i].memory_bytes);
}

uint64_t tr_door_bytes(const struct tr_door *d)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < d->place_count; i++)
        bytes += d->place[i].memory_bytes;
    return bytes;
}
