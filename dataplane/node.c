/* Nodes: opening, starting, polling, closing; public API. */
#include "dataplane/node.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "dataplane/door.h"
#include "dataplane/membarrier.h"
#include "drivers/loop/loop.h"
#include "drivers/module.h"
#include "trireme/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define STRINGIFY_(x) #x
#define STRINGIFY(x)  STRINGIFY_(x)

#define GROUPS_MAX            4096u
#define MESSAGE_BYTES_DEFAULT (1u << 20)
#define THREAD_STACK_BYTES    (UINT64_C(256) << 10) /* touched, about */

/* The loop driver's world, as the public API gives it out. */
struct fabric {
    struct tr_loop_fabric *loop;
    struct tr_arena arena;
};

const char *tr_version(void)
{
    return STRINGIFY(TR_VERSION_MAJOR) "." STRINGIFY(TR_VERSION_MINOR) "." STRINGIFY(
        TR_VERSION_PATCH);
}

/* ---- opening */

/* FNV-1a, for a number that names the cluster on the wire. */
static uint64_t hash_name(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *c = name; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t random_u64(void)
{
    uint64_t value = 0;
    if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
        value = tr_clock_system_ns() ^ (uint64_t)getpid() << 32;
    return value != 0 ? value : 1;
}

/* What opening a node works with. */
struct opening {
    struct tr_node_options options;
    struct tr_node *node;
    char *error;
    size_t error_bytes;
};

static int copy_peers(struct opening *o)
{
    const struct tr_node_options *from = &o->options;
    struct tr_node *node = o->node;
    bool self = false;
    if (from->peers == NULL || from->peer_count == 0 || from->peer_count > TR_PEERS_MAX)
        return tr_fail(TR_EINVAL, o->error, o->error_bytes, "%u peers; 1 to %d are possible",
                       from->peer_count, TR_PEERS_MAX);
    for (uint32_t i = 0; i < from->peer_count; i++) {
        const struct tr_peer *p = &from->peers[i];
        if (p->node == 0 || p->address == NULL || strlen(p->address) >= TR_ADDRESS_BYTES_MAX)
            return tr_fail(
                TR_EINVAL, o->error, o->error_bytes,
                "peer %u: its node is 0, or its address is missing or longer than %d bytes", i,
                TR_ADDRESS_BYTES_MAX - 1);
        for (uint32_t j = 0; j < i; j++)
            if (from->peers[j].node == p->node)
                return tr_fail(TR_EINVAL, o->error, o->error_bytes, "node %u is there twice",
                               p->node);
        node->peer[i].node = p->node;
        strcpy(node->peer[i].address, p->address);
        self |= p->node == from->node;
    }
    node->peer_count = from->peer_count;
    node->self = from->node;
    return self ? TR_OK
                : tr_fail(TR_EINVAL, o->error, o->error_bytes,
                          "node %u is not among the peers (its own entry is needed, too)",
                          from->node);
}

/* What remote clients are let in with. */
static int copy_client_options(struct opening *o)
{
    const struct tr_node_options *from = &o->options;
    struct tr_node *node = o->node;
    const char *names = from->client_names;
    if (from->client_address == NULL)
        return TR_OK;
    if (strlen(from->client_address) >= TR_ADDRESS_BYTES_MAX ||
        (names != NULL && strlen(names) >= TR_ADDRESS_BYTES_MAX))
        return tr_fail(TR_EINVAL, o->error, o->error_bytes,
                       "client_address or client_names is longer than %d bytes",
                       TR_ADDRESS_BYTES_MAX - 1);
    if (from->clients_max == 0 || from->clients_max > TR_DOOR_PLACES_MAX)
        return tr_fail(TR_EINVAL, o->error, o->error_bytes,
                       "clients_max is %u; 1 to %u are possible", from->clients_max,
                       TR_DOOR_PLACES_MAX);
    if (from->client_message_bytes_max == 0)
        return tr_fail(TR_EINVAL, o->error, o->error_bytes, "client_message_bytes_max is 0");
    struct tr_session_options session = TR_SESSION_OPTIONS_INIT;
    uint32_t most = tr_min_u32(from->client_message_bytes_max, node->message_bytes_max);
    struct tr_session_limits limits = {most, node->message_bytes_max};
    session.window = from->client_window;
    session.queue_bytes = from->client_queue_bytes;
    if (tr_session_memory_bytes(&session, &limits) == 0)
        return tr_fail(TR_EINVAL, o->error, o->error_bytes,
                       "client_window %u is no power of two up to 1048576, or client_queue_bytes "
                       "%u is above 1 GiB",
                       from->client_window, from->client_queue_bytes);
    strcpy(node->client_address, from->client_address);
    if (names != NULL)
        node->client_names = strcpy(node->client_names_text, names);
    node->clients_max = from->clients_max;
    node->client_message_bytes_max = most;
    node->client_window = from->client_window;
    node->client_queue_bytes = from->client_queue_bytes;
    node->client_cluster = tr_wire_cluster(from->cluster);
    return TR_OK;
}

/* Checks and copies what needs no resources. */
static int copy_options(struct opening *o)
{
    const struct tr_node_options *from = &o->options;
    struct tr_node *node = o->node;
    char why[512] = "";
    if (from->cluster == NULL || from->cluster[0] == '\0' ||
        strlen(from->cluster) >= sizeof(node->cluster) - 8)
        return tr_fail(TR_EINVAL, o->error, o->error_bytes,
                       "the cluster's name is empty, or longer than %zu bytes",
                       sizeof(node->cluster) - 9);
    if (from->lcore_count == 0 || from->lcore_count > TR_LCORES_MAX)
        return tr_fail(TR_EINVAL, o->error, o->error_bytes,
                       "lcore_count is %u; 1 to %d are possible", from->lcore_count, TR_LCORES_MAX);
    strcpy(node->cluster, from->cluster);
    node->logger = (struct tr_logger){
        .write = from->log, .context = from->log_context, .level = from->log_level};
    snprintf(node->logger.name, sizeof(node->logger.name), "%s.%u", from->cluster, from->node);
    if (tr_driver_load(from->driver != NULL ? from->driver : "udp", &node->driver, why,
                       sizeof(why)) != TR_OK)
        return tr_fail(TR_ENOTSUP, o->error, o->error_bytes, "%s", why);
    if ((node->driver->capabilities & TR_DRIVER_MESSAGES) == 0 ||
        (node->driver->capabilities & TR_DRIVER_ZERO_COPY_TX) != 0)
        return tr_fail(
            TR_ENOTSUP, o->error, o->error_bytes,
            "driver %s: only drivers that carry messages and copy them are supported yet",
            node->driver->name);
    node->idle = from->idle;
    node->fabric = from->fabric;
    node->lcore_count = from->lcore_count;
    node->message_bytes_max =
        from->message_bytes_max != 0 ? from->message_bytes_max : MESSAGE_BYTES_DEFAULT;
    node->cluster_hash = hash_name(from->cluster);
    int status = copy_client_options(o);
    return status == TR_OK ? copy_peers(o) : status;
}

/* The counters segment. A name that was not asked for gives way when it is taken. */
static int open_counters(struct opening *o)
{
    struct tr_node *node = o->node;
    char name[128];
    const char *asked = o->options.counters;
    snprintf(name, sizeof(name), "%s.%u", node->cluster, node->self);
    int status = tr_counters_open(&node->counters, asked != NULL ? asked : name);
    if (asked == NULL && status != TR_OK) {
        size_t used = strlen(name);
        int first = status;
        snprintf(name + used, sizeof(name) - used, ".%d", (int)getpid());
        status = tr_counters_open(&node->counters, name);
        tr_log(&node->logger, TR_LOG_WARN, "counters %.*s: %s; they are %s", (int)used, name,
               tr_strerror(first), status == TR_OK ? name : "not published");
        if (status != TR_OK)
            status = tr_counters_open(&node->counters, "");
    }
    if (status != TR_OK)
        return tr_fail(status, o->error, o->error_bytes, "counters segment \"%s\": %s",
                       asked != NULL ? asked : name, tr_strerror(status));
    return TR_OK;
}

static void add_lcore_counters(struct tr_node *node, struct tr_lcore *l)
{
    struct tr_counters *c = &node->counters;
    struct tr_lcore_stats *s = &l->stats;
    char scope[32];
    snprintf(scope, sizeof(scope), "lcore %u", l->index);
    s->submit = tr_counters_add_histogram(c, scope, "submit", "from submission to proposal");
    s->replicate = tr_counters_add_histogram(c, scope, "replicate",
                                             "from proposal until every peer was sent it");
    s->quorum =
        tr_counters_add_histogram(c, scope, "quorum", "from proposal until a quorum has it");
    s->apply = tr_counters_add_histogram(c, scope, "apply", "from the quorum until it is applied");
    s->complete = tr_counters_add_histogram(c, scope, "complete", "from submission to completion");
#define GAUGE(field, help)   s->field = tr_counters_add(c, TR_STAT_GAUGE, scope, #field, help)
#define COUNTER(field, help) s->field = tr_counters_add(c, TR_STAT_COUNTER, scope, #field, help)
    COUNTER(cycles, "turns of the polling loop");
    COUNTER(work, "turns that found work");
    GAUGE(idle_state, "how it waited last: 0 spin, 1 pause, 2 yield, 3 park");
    COUNTER(parks, "times that it slept");
    COUNTER(yields, "times that it gave its CPU up");
    GAUGE(crowded, "1 while it shares its CPU with other pollers");
    COUNTER(rx_unknown_group, "messages for a group that is not on this core");
    COUNTER(rx_wrong_sender, "messages that are none, or not of the sender that they name");
#undef COUNTER
#undef GAUGE
    static const char *const port_rows[][2] = {
        {"rx_messages", "messages received"},
        {"rx_bytes", "their bytes"},
        {"tx_messages", "messages sent"},
        {"tx_bytes", "their bytes"},
        {"rx_malformed", "dropped: not of the driver's framing"},
        {"rx_unknown", "from addresses of no peer"},
        {"rx_dropped", "lost for want of room"},
        {"rx_errors", "frames that were damaged, or lost in the device"},
        {"rx_misplaced", "datagrams that the device gave to another core than theirs"},
        {"tx_full", "messages that a full queue refused"},
        {"tx_attached", "datagrams whose payload the device took from where it lay"},
        {"tx_errors", "messages lost at once: refused by the system, or the peer is down"},
        {"writes", "one-sided writes"},
        {"write_bytes", "their bytes"},
        {"writes_refused", "one-sided writes that a fence refused"},
        {"writes_broken", "one-sided writes of unknown outcome"},
        {"write_requests", "requests to the device that they became"},
        {"write_doorbells", "times that it was told of some"},
        {"write_copied_bytes", "bytes that were copied for it"},
        {"syscalls", "system calls of the driver"},
    };
    tr_static_assert(TR_ARRAY_COUNT(port_rows) == sizeof(struct tr_port_stats) / 8, "all of them");
    snprintf(scope, sizeof(scope), "port %u", l->index);
    for (size_t i = 0; i < TR_ARRAY_COUNT(port_rows); i++)
        s->port[i] = tr_counters_add(c, TR_STAT_COUNTER, scope, port_rows[i][0], port_rows[i][1]);
}

static int init_lcores(struct opening *o)
{
    struct tr_node *node = o->node;
    for (uint32_t i = 0; i < node->lcore_count; i++) {
        struct tr_lcore *l = &node->lcore[i];
        struct tr_arena *a = &node->arena;
        l->node = node;
        l->index = i;
        l->cpu = o->options.lcore_cpus != NULL ? o->options.lcore_cpus[i] : TR_CPU_NEAR;
        l->clock = node->clock;
        l->by_number_mask = 2 * GROUPS_MAX - 1;
        l->by_number = tr_arena_take(a, 2 * GROUPS_MAX * sizeof(*l->by_number), 4096);
        l->applies = tr_arena_take(a, GROUPS_MAX * sizeof(*l->applies), 4096);
        l->outlet = tr_arena_take(a, GROUPS_MAX * TR_VOTERS_MAX * sizeof(*l->outlet), 4096);
        struct tr_roster_member *room = tr_arena_take(a, GROUPS_MAX * sizeof(*room), 4096);
        if (l->by_number == NULL || l->applies == NULL || l->outlet == NULL || room == NULL)
            return tr_fail(TR_ENOMEM, o->error, o->error_bytes, "no memory for polling core %u", i);
        tr_roster_init(&l->groups, room, GROUPS_MAX);
        add_lcore_counters(node, l);
    }
    return TR_OK;
}

void *tr_node_fabric(const struct tr_driver *driver, void *fabric)
{
    bool wrapped = driver == &tr_driver_loop && fabric != NULL;
    return wrapped ? ((struct fabric *)fabric)->loop : fabric;
}

void tr_node_follow(struct tr_node *node, const uint64_t *virtual_ns)
{
    tr_clock_follow(&node->clock, virtual_ns);
    for (uint32_t i = 0; i < node->lcore_count; i++)
        node->lcore[i].clock = node->clock;
}

/* Everything that can fail, in order; what was taken is in the node. */
static int open_parts(struct opening *o)
{
    struct tr_node *node = o->node;
    int status = copy_options(o);
    if (status != TR_OK)
        return status;
    if (o->options.driver_options != NULL &&
        (node->driver_options = strdup(o->options.driver_options)) == NULL)
        return TR_ENOMEM;
    /* The largest entry with its record and message headers. */
    uint64_t wire = tr_align_up_u64(tr_max_u64(node->message_bytes_max, TR_BATCH_BYTES), 64) + 1024;
    node->wire_bytes_max = (uint32_t)tr_min_u64(wire, TR_ENTRY_BYTES_MAX + 1024);
    node->boot = random_u64();
    tr_prng_seed(&node->random, o->options.seed != 0 ? o->options.seed : random_u64());
    node->group_max = GROUPS_MAX;
    node->group = (struct tr_group **)calloc(node->group_max, sizeof(*node->group));
    if (node->group == NULL || tr_arena_open(&node->arena, o->options.arena_bytes) != TR_OK)
        return tr_fail(TR_ENOMEM, o->error, o->error_bytes, "out of memory");
    tr_node_place_by_device(node);
    if (o->options.arena_bytes != 0 &&
        tr_arena_reserve(&node->arena, o->options.arena_bytes) != TR_OK)
        return tr_fail(TR_ENOMEM, o->error, o->error_bytes, "arena_bytes: %zu bytes cannot be had",
                       o->options.arena_bytes);
    status = open_counters(o);
    if (status != TR_OK)
        return status;
    tr_clock_open(&node->clock);
    tr_membarrier_open();
    node->pollers = tr_pollers_open();
    status = init_lcores(o);
    if (status == TR_OK)
        status = tr_node_open_port(node, &node->lcore[0], o->error, o->error_bytes);
    return status;
}

/* Gives back what a node has taken, as far as it came. */
static void release(struct tr_node *node)
{
    for (uint32_t i = 0; i < node->group_count; i++)
        tr_group_close(node->group[i]);
    for (uint32_t i = 0; i < node->lcore_count; i++) {
        tr_door_close(node->lcore[i].door);
        if (node->lcore[i].port != NULL)
            node->lcore[i].driver->close(node->lcore[i].port);
    }
    tr_pollers_close(node->pollers);
    tr_counters_close(&node->counters);
    tr_arena_close(&node->arena);
    tr_placement_close(&node->placement);
    free(node->group);
    free(node->driver_options);
}

void tr_node_drop(struct tr_node *node)
{
    if (tr_fetch_add_acq_rel(&node->users, (uint32_t)-1) != 1)
        return;
    pthread_mutex_destroy(&node->closing_lock);
    free(node);
}

int tr_node_open(const struct tr_node_options *options, struct tr_node **out, char *error,
                 size_t error_bytes)
{
    struct tr_node_options defaults = TR_NODE_OPTIONS_INIT;
    struct opening o = {.options = defaults, .error = error, .error_bytes = error_bytes};
    int status = tr_config_copy(&o.options, sizeof(o.options), options, options->struct_bytes);
    if (status != TR_OK)
        return tr_fail(status, error, error_bytes, "struct_bytes is %zu; use TR_NODE_OPTIONS_INIT",
                       options->struct_bytes);
    if (posix_memalign((void **)&o.node, TR_CACHE_LINE, sizeof(*o.node)) != 0)
        return tr_fail(TR_ENOMEM, error, error_bytes, "out of memory");
    memset(o.node, 0, sizeof(*o.node));
    pthread_mutex_init(&o.node->closing_lock, NULL);
    o.node->users = 1;
    status = open_parts(&o);
    if (status != TR_OK) {
        release(o.node);
        tr_node_drop(o.node);
        return status;
    }
    tr_log(&o.node->logger, TR_LOG_INFO, "node %u of cluster \"%s\" over %s at %s", o.node->self,
           o.node->cluster, o.node->driver->name, tr_node_address(o.node));
    *out = o.node;
    return TR_OK;
}

/* ---- running */

/* From here on nothing is allocated. */
static void seal(struct tr_node *node, enum tr_node_state state)
{
    char line[288];
    node->state = state;
    tr_arena_seal(&node->arena);
    tr_arena_describe(&node->arena, line, sizeof(line));
    tr_log(&node->logger, TR_LOG_INFO, "memory: %s; %lu KiB of counters", line,
           (unsigned long)(tr_counters_bytes(&node->counters) >> 10));
}

int tr_node_start(struct tr_node *node)
{
    if (node->state != TR_NODE_SETUP)
        return TR_EPERM;
    seal(node, TR_NODE_STARTED);
    tr_node_keep_named(node);
    for (uint32_t i = 0; i < node->lcore_count; i++) {
        int status = tr_lcore_start(&node->lcore[i]);
        if (status != TR_OK) {
            for (uint32_t j = 0; j < i; j++)
                tr_lcore_stop(&node->lcore[j]);
            return status;
        }
    }
    return TR_OK;
}

static tr_noinline void begin_polling(struct tr_node *node)
{
    tr_assert(node->state == TR_NODE_SETUP); /* started: its own threads poll */
    seal(node, TR_NODE_POLLED);
    tr_node_tell_far(node);
    for (uint32_t i = 0; i < node->lcore_count; i++)
        tr_lcore_enter(&node->lcore[i], TR_IDLE_SPIN);
}

uint32_t tr_poll(struct tr_node *node)
{
    uint32_t work = 0;
    if (tr_unlikely(node->state != TR_NODE_POLLED))
        begin_polling(node);
    for (uint32_t i = 0; i < node->lcore_count; i++)
        work += tr_lcore_cycle(&node->lcore[i]);
    return work;
}

/* Names the thread from which the last callbacks come, for those who close a session meanwhile; 0:
 * there are none any more. From the first time on no session enters its group's lists. */
static void set_closer(struct tr_node *node, uint32_t thread_id)
{
    pthread_mutex_lock(&node->closing_lock);
    node->closed = true;
    for (uint32_t i = 0; i < node->lcore_count; i++)
        tr_store_release(&node->lcore[i].thread_id, thread_id);
    pthread_mutex_unlock(&node->closing_lock);
}

void tr_node_close(struct tr_node *node)
{
    if (node == NULL)
        return;
    for (uint32_t i = 0; i < node->lcore_count; i++) {
        if (node->state == TR_NODE_STARTED)
            tr_lcore_stop(&node->lcore[i]);
        else if (node->state == TR_NODE_POLLED)
            tr_lcore_leave(&node->lcore[i]);
    }
    tr_log(&node->logger, TR_LOG_INFO, "node %u closed", node->self);
    set_closer(node, (uint32_t)gettid());
    release(node);
    set_closer(node, 0);
    tr_node_drop(node);
}

size_t tr_node_memory_bytes(const struct tr_node *node)
{
    uint64_t bytes = node->arena.bytes + tr_counters_bytes(&node->counters) + sizeof(*node);
    if (node->state == TR_NODE_STARTED)
        bytes += node->lcore_count * THREAD_STACK_BYTES;
    for (uint32_t i = 0; i < node->group_count; i++)
        bytes += node->group[i]->sessions_bytes;
    for (uint32_t i = 0; i < node->lcore_count; i++)
        bytes += node->lcore[i].door != NULL ? tr_door_bytes(node->lcore[i].door) : 0;
    return (size_t)bytes;
}

/* ---- the loop driver's world */

void *tr_fabric_create(void)
{
    struct fabric *f = (struct fabric *)calloc(1, sizeof(*f));
    if (f == NULL)
        return NULL;
    struct tr_loop_fabric_options options = {
        .struct_bytes = sizeof(options),
        .memory = tr_arena_memory(&f->arena),
    };
    if (tr_arena_open(&f->arena, 0) == TR_OK && tr_loop_fabric_create(&options, &f->loop) == TR_OK)
        return f;
    tr_arena_close(&f->arena);
    free(f);
    return NULL;
}

void tr_fabric_destroy(void *fabric)
{
    struct fabric *f = (struct fabric *)fabric;
    if (f == NULL)
        return;
    tr_loop_fabric_destroy(f->loop);
    tr_arena_close(&f->arena);
    free(f);
}
