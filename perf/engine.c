#include "perf/engine.h"

#include "base/atomic.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "dataplane/node.h"
#include "perf/floor.h"

#include <trireme/client.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The threads are parked while the floor runs, so that elections must wait longer than a slice; a
 * run asks its own node to lead instead. Heartbeats go within the range of the defaults. */
#define ELECTION_TIMEOUT_US 3000000
#define HEARTBEAT_US        1000

/* The defaults' relation: 64 MiB and 65,536 slots. */
#define LOG_BYTES_PER_SLOT 1024

/* How often a node that does not lead asks to. */
#define CAMPAIGN_NS UINT64_C(50000000)

/* Commands that warm a parked engine up, before a slice. */
#define WARM_COMMANDS 256

/* Completions that one turn of a remote client takes. */
#define CLIENT_BURST 256

/* What all processes of the run see. */
struct board {
    struct tr_perf_load_machine machines[TR_VOTERS_MAX];
    char error[TR_PERF_TEXT_MAX]; /* of a follower's opening */
};

/* One replica; opened, polled and closed by one thread. */
struct replica {
    struct tr_node *node;
    struct tr_group *group;
    uint16_t id;
};

struct tr_perf_engine {
    const struct tr_perf_options *options;
    struct tr_perf_places *places;
    uint32_t workers;
    uint32_t replica_count; /* of the group */
    uint32_t local_count;   /* of them in this process or its crew: the first so many */
    enum tr_idle idle;
    bool is_one_sided;
    struct replica replicas[TR_VOTERS_MAX]; /* the first is the leader's */
    struct tr_peer peers[TR_VOTERS_MAX];
    struct board *board;              /* shared */
    void *fabric;                     /* loop */
    struct tr_session *session;       /* NULL with a remote client */
    struct tr_client *client;         /* NULL without one */
    struct tr_port_stats port_before; /* when counting began, and the slots committed then */
    uint64_t slots_before;
    /* The load. */
    struct tr_perf_slice *slice; /* under way; NULL: completions are only counted */
    uint64_t submitted;          /* commands, of all slices */
    uint64_t completed;
    uint64_t
        applied_before; /* commands of earlier loads, when a cluster of several machines lives on */
    int failed;         /* of the first command or submission that failed */
    uint8_t *payload;   /* its first eight bytes are `submitted` */
};

static void log_line(void *context, enum tr_log_level level, const char *line)
{
    (void)level;
    fprintf(stderr, "%s: %s\n", (const char *)context, line);
}

int tr_perf_engine_make(const struct tr_perf_engine_setup *setup, struct tr_perf_engine **out,
                        char *error, size_t error_bytes)
{
    const struct tr_perf_options *options = setup->options;
    struct tr_perf_places *places = setup->places;
    struct tr_perf_engine *e = calloc(1, sizeof(*e));
    if (e == NULL)
        return TR_ENOMEM;
    e->options = options;
    e->places = places;
    e->workers = setup->workers;
    e->is_one_sided = setup->is_one_sided;
    e->idle = setup->idle;
    e->replica_count = places->count;
    e->local_count = options->node != 0 ? 1 : places->count;
    for (uint32_t i = 0; i < places->count; i++) {
        const struct tr_perf_place *place = &places->engine[i];
        e->replicas[i].id = place->id;
        e->peers[i] = (struct tr_peer){.node = place->id, .address = place->address};
    }
    if (options->node != 0)
        e->replicas[0].id = (uint16_t)options->node;
    e->board = tr_perf_shared(sizeof(*e->board));
    e->payload = calloc(1, options->size_bytes);
    if (e->board == NULL || e->payload == NULL) {
        snprintf(error, error_bytes, "no memory for the load");
        tr_perf_engine_close(e);
        return TR_ENOMEM;
    }
    memset(e->payload, 0x5a, options->size_bytes);
    if (strcmp(options->driver, "loop") == 0)
        e->fabric = tr_fabric_create();
    *out = e;
    return TR_OK;
}

static int open_group(struct tr_perf_engine *e, uint32_t index, char *error, size_t error_bytes)
{
    struct tr_group_options group = TR_GROUP_OPTIONS_INIT;
    group.group = 1;
    group.machine = tr_perf_load_machine_table(&e->board->machines[index]);
    group.batch_commands_max = (uint32_t)e->options->batch;
    group.log_bytes = e->options->log_bytes;
    group.log_slots = (uint32_t)(e->options->log_bytes / LOG_BYTES_PER_SLOT);
    group.one_sided = e->is_one_sided ? "auto" : "off";
    group.election_timeout_us = ELECTION_TIMEOUT_US;
    group.heartbeat_us = HEARTBEAT_US;
    return tr_group_open(e->replicas[index].node, &group, &e->replicas[index].group, error,
                         error_bytes);
}

/* Commands in flight of a session or a client, and room for their bytes; powers of two. */
static uint32_t client_window(const struct tr_perf_engine *e)
{
    return (uint32_t)tr_max_u64(1024, e->options->window);
}

static uint32_t client_queue_bytes(const struct tr_perf_engine *e)
{
    uint64_t bytes = client_window(e) * tr_align_up_u64(e->options->size_bytes + 64, 64);
    uint32_t power = 4u << 20;
    while (power < bytes && power < 1u << 30)
        power *= 2;
    return power;
}

/* Opens one replica. Thread: the one that polls it. */
static int open_replica(struct tr_perf_engine *e, uint32_t index, char *error, size_t error_bytes)
{
    const struct tr_perf_options *o = e->options;
    const struct tr_perf_place *place = &e->places->engine[index];
    struct replica *r = &e->replicas[index];
    struct tr_node_options node = TR_NODE_OPTIONS_INIT;
    node.cluster = e->places->cluster;
    node.node = r->id;
    node.peers = e->peers;
    node.peer_count = e->replica_count;
    node.driver = o->driver;
    node.driver_options = place->options[0] != '\0' ? place->options : NULL;
    node.idle = e->idle;
    node.fabric = e->fabric;
    if (o->client == TR_PERF_CLIENT_REMOTE) {
        node.client_address = place->door;
        node.clients_max = 1;
        node.client_message_bytes_max = (uint32_t)tr_max_u64(o->size_bytes, 4096);
        node.client_window = client_window(e);
        node.client_queue_bytes = client_queue_bytes(e);
    }
    node.log = o->verbose ? log_line : NULL;
    node.log_context = e->places->cluster;
    int result = tr_node_open(&node, &r->node, error, error_bytes);
    if (result != TR_OK)
        return result;
    return open_group(e, index, error, error_bytes);
}

static void close_replica(struct replica *r)
{
    if (r->node != NULL)
        tr_node_close(r->node);
    r->node = NULL;
    r->group = NULL;
}

/* The first replica of a worker's share; the others follow at a stride of `workers`. */
static uint32_t first_of(uint32_t worker)
{
    return 1 + worker;
}

int tr_perf_engine_open_followers(void *engine, uint32_t worker, uint64_t argument,
                                  const uint32_t *stop)
{
    struct tr_perf_engine *e = engine;
    (void)argument;
    (void)stop;
    for (uint32_t i = first_of(worker); i < e->local_count; i += e->workers) {
        int result = open_replica(e, i, e->board->error, sizeof(e->board->error));
        if (result != TR_OK)
            return result;
    }
    return TR_OK;
}

int tr_perf_engine_follow(void *engine, uint32_t worker, uint64_t argument, const uint32_t *stop)
{
    struct tr_perf_engine *e = engine;
    uint32_t empty = 0;
    (void)argument;
    while (tr_load_relaxed(stop) == 0) {
        uint32_t work = 0;
        for (uint32_t i = first_of(worker); i < e->local_count; i += e->workers)
            work += tr_poll(e->replicas[i].node);
        if (work == 0)
            tr_perf_idle(e->idle, &empty);
        else
            empty = 0;
    }
    return TR_OK;
}

int tr_perf_engine_close_followers(void *engine, uint32_t worker, uint64_t argument,
                                   const uint32_t *stop)
{
    struct tr_perf_engine *e = engine;
    (void)argument;
    (void)stop;
    for (uint32_t i = first_of(worker); i < e->local_count; i += e->workers)
        close_replica(&e->replicas[i]);
    return TR_OK;
}

const char *tr_perf_engine_follower_error(const struct tr_perf_engine *engine)
{
    return engine->board->error;
}

/* Takes a completion; of a session inside tr_poll. Latency ends here. */
static void on_complete(void *context, const struct tr_completion *completion)
{
    struct tr_perf_engine *e = context;
    e->completed++;
    if (tr_unlikely(completion->status != TR_OK) && e->failed == TR_OK)
        e->failed = completion->status;
    if (tr_likely(e->slice != NULL))
        tr_perf_slice_done(e->slice, e->slice->completed + 1);
}

int tr_perf_engine_open_own(struct tr_perf_engine *e, char *error, size_t error_bytes)
{
    return open_replica(e, 0, error, error_bytes);
}

uint32_t tr_perf_engine_poll_own(struct tr_perf_engine *e)
{
    return tr_poll(e->replicas[0].node);
}

const struct tr_perf_load_machine *tr_perf_engine_machine(const struct tr_perf_engine *e)
{
    return &e->board->machines[0];
}

/* The client that is no node; it knows every replica. */
static int open_client(struct tr_perf_engine *e, char *error, size_t error_bytes)
{
    struct tr_client_options client = TR_CLIENT_OPTIONS_INIT;
    struct tr_peer doors[TR_VOTERS_MAX];
    for (uint32_t i = 0; i < e->replica_count; i++)
        doors[i] = (struct tr_peer){.node = e->peers[i].node, .address = e->places->engine[i].door};
    client.cluster = e->places->cluster;
    client.group = 1;
    client.nodes = doors;
    client.node_count = e->replica_count;
    client.driver = e->options->driver;
    client.address = strcmp(e->options->driver, "udp") == 0 ? "127.0.0.1:0" : NULL;
    client.window = client_window(e);
    client.queue_bytes = client_queue_bytes(e);
    client.message_bytes_max = (uint32_t)tr_max_u64(e->options->size_bytes, 4096);
    client.fabric = e->fabric;
    client.log = e->options->verbose ? log_line : NULL;
    client.log_context = e->places->cluster;
    return tr_client_open(&client, &e->client, error, error_bytes);
}

int tr_perf_engine_open_leader(struct tr_perf_engine *e, char *error, size_t error_bytes)
{
    struct tr_session_options session = TR_SESSION_OPTIONS_INIT;
    int result = TR_OK;
    /* Where there is no crew, the load's thread has all replicas. */
    for (uint32_t i = e->workers == 0 ? e->local_count : 1; i > 0 && result == TR_OK; i--)
        result = open_replica(e, i - 1, error, error_bytes);
    if (result != TR_OK)
        return result;
    if (e->options->client == TR_PERF_CLIENT_REMOTE)
        return open_client(e, error, error_bytes);
    session.window = client_window(e);
    session.queue_bytes = client_queue_bytes(e);
    session.on_complete = on_complete;
    session.on_complete_context = e;
    result = tr_session_open(e->replicas[0].group, &session, &e->session);
    if (result != TR_OK)
        snprintf(error, error_bytes, "cannot open a session: %s", tr_strerror(result));
    return result;
}

/* A turn of the remote client. */
static tr_noinline void poll_client(struct tr_perf_engine *e)
{
    struct tr_completion done[CLIENT_BURST];
    uint32_t count = tr_client_poll(e->client, done, CLIENT_BURST);
    for (uint32_t i = 0; i < count; i++)
        on_complete(e, &done[i]);
}

/* One cycle of what the load's thread polls: its client, the leader, and where there is no crew,
 * all. */
static tr_always_inline void poll_nodes(struct tr_perf_engine *e)
{
    if (e->client != NULL)
        poll_client(e);
    tr_poll(e->replicas[0].node);
    for (uint32_t i = 1; e->workers == 0 && i < e->local_count; i++)
        tr_poll(e->replicas[i].node);
}

static tr_always_inline bool submit_command(void *side, struct tr_perf_slice *slice,
                                            uint64_t sequence)
{
    struct tr_perf_engine *e = side;
    (void)slice;
    (void)sequence;
    memcpy(e->payload, &e->submitted, sizeof(e->submitted));
    uint32_t bytes = (uint32_t)e->options->size_bytes;
    int result = e->client != NULL ? tr_client_submit(e->client, e->payload, bytes, NULL)
                                   : tr_submit(e->session, e->payload, bytes, NULL);
    if (tr_likely(result == TR_OK)) {
        e->submitted++;
        return true;
    }
    if (result != TR_AGAIN && e->failed == TR_OK)
        e->failed = result;
    return false;
}

static tr_always_inline void flush_nothing(void *side, struct tr_perf_slice *slice)
{
    (void)side;
    (void)slice;
}

static tr_always_inline void poll_engine(void *side, struct tr_perf_slice *slice)
{
    (void)slice;
    poll_nodes(side);
}

int tr_perf_engine_lead(struct tr_perf_engine *e, struct tr_perf_slice *slice)
{
    e->slice = slice;
    tr_perf_drive(slice, e, submit_command, flush_nothing, poll_engine);
    e->slice = NULL;
    return e->failed;
}

/* Whether this node leads and hears all others. */
static bool is_settled(struct tr_perf_engine *e)
{
    struct tr_group_status status;
    tr_group_status(e->replicas[0].group, &status);
    if (status.role != TR_ROLE_LEADER || status.voters_reachable < e->replica_count)
        return false;
    return !e->is_one_sided || status.one_sided_peers + 1 >= e->replica_count;
}

static void say_unsettled(const struct tr_perf_engine *e, char *error, size_t error_bytes)
{
    struct tr_group_status status;
    tr_group_status(e->replicas[0].group, &status);
    snprintf(error, error_bytes,
             "the cluster did not settle in %d s: role %d, leader %u, %u of %u replicas reachable, "
             "%u one-sided, %" PRIu64 " of %" PRIu64 " commands complete",
             (int)(TR_PERF_SETTLE_NS / 1000000000), (int)status.role, status.leader,
             status.voters_reachable, e->replica_count, status.one_sided_peers, e->completed,
             e->submitted);
}

int tr_perf_engine_settle(struct tr_perf_engine *e, char *error, size_t error_bytes)
{
    const uint64_t begin_ns = tr_perf_now_ns();
    const uint64_t goal = e->submitted + WARM_COMMANDS;
    uint64_t asked_ns = 0;
    uint32_t empty = 0;
    while (e->completed < goal && e->failed == TR_OK) {
        uint64_t now_ns = tr_perf_now_ns();
        poll_nodes(e);
        if (now_ns - begin_ns > TR_PERF_SETTLE_NS) {
            say_unsettled(e, error, error_bytes);
            return TR_ETIMEOUT;
        }
        if (is_settled(e)) {
            if (e->submitted == e->completed && e->submitted < goal)
                submit_command(e, NULL, 0);
        } else if (now_ns - asked_ns > CAMPAIGN_NS) {
            struct tr_group_status status;
            tr_group_status(e->replicas[0].group, &status);
            if (status.role != TR_ROLE_LEADER)
                tr_group_campaign(e->replicas[0].group);
            asked_ns = now_ns;
        }
        tr_perf_idle(e->idle, &empty);
    }
    if (e->failed != TR_OK)
        snprintf(error, error_bytes, "a command failed: %s", tr_strerror(e->failed));
    else
        e->applied_before = e->board->machines[0].commands - e->completed;
    return e->failed;
}

/* Whether all replicas have applied what was submitted. */
static bool is_applied(const struct tr_perf_engine *e)
{
    for (uint32_t i = 0; i < e->local_count; i++)
        if (tr_load_relaxed(&e->board->machines[i].commands) != e->applied_before + e->submitted)
            return false;
    return true;
}

/* What a follower that is written to tells of its log travels with the answers to heartbeats. */
#define TOLD_NS (3 * UINT64_C(1000) * HEARTBEAT_US)

void tr_perf_engine_catch_up(struct tr_perf_engine *e)
{
    const uint64_t begin_ns = tr_perf_now_ns();
    uint64_t now_ns = begin_ns;
    uint64_t applied_ns = 0; /* 0: not all have */
    uint32_t empty = 0;
    while (now_ns - begin_ns < TR_PERF_SETTLE_NS &&
           (applied_ns == 0 || now_ns - applied_ns < TOLD_NS)) {
        poll_nodes(e);
        now_ns = tr_perf_now_ns();
        if (applied_ns == 0 && is_applied(e))
            applied_ns = now_ns;
        tr_perf_idle(e->idle, &empty);
    }
}

struct tr_port *tr_perf_engine_port(const struct tr_perf_engine *e, uint32_t index)
{
    const struct tr_node *node = e->replicas[index].node;
    return node != NULL ? node->lcore[0].port : NULL;
}

static struct tr_port_stats port_stats_of(const struct tr_perf_engine *e)
{
    struct tr_port_stats stats = {0};
    struct tr_port *port = tr_perf_engine_port(e, 0);
    if (port != NULL)
        tr_port_driver(port)->stats(port, &stats);
    return stats;
}

void tr_perf_engine_count_anew(struct tr_perf_engine *e)
{
    struct tr_group_status status;
    tr_group_status(e->replicas[0].group, &status);
    e->port_before = port_stats_of(e);
    e->slots_before = status.slot_commit;
}

/* What the leader's port has counted since. */
static struct tr_port_stats port_stats_since(const struct tr_perf_engine *e)
{
    struct tr_port_stats stats = port_stats_of(e);
    uint64_t now[sizeof(stats) / sizeof(uint64_t)];
    uint64_t before[sizeof(stats) / sizeof(uint64_t)];
    memcpy(now, &stats, sizeof(stats));
    memcpy(before, &e->port_before, sizeof(stats));
    for (uint32_t i = 0; i < TR_ARRAY_COUNT(now); i++)
        now[i] -= before[i];
    memcpy(&stats, now, sizeof(stats));
    return stats;
}

int tr_perf_engine_finish(struct tr_perf_engine *e, struct tr_perf_engine_result *out)
{
    const uint64_t begin_ns = tr_perf_now_ns();
    uint32_t empty = 0;
    struct tr_group_status status;
    while (!is_applied(e) && tr_perf_now_ns() - begin_ns < TR_PERF_SETTLE_NS) {
        poll_nodes(e);
        tr_perf_idle(e->idle, &empty);
    }
    tr_group_status(e->replicas[0].group, &status);
    *out = (struct tr_perf_engine_result){
        .commands = tr_load_relaxed(&e->board->machines[0].commands),
        .digest = tr_perf_load_machine_digest(&e->board->machines[0]),
        .replicas = e->local_count,
        .one_sided_peers = status.one_sided_peers,
        .are_digests_equal = true,
        .elections = status.elections,
        .log_wraps = status.log_wraps,
        .snapshots_made = status.snapshots_made,
        .slots = status.slot_commit - e->slots_before,
    };
    out->port = port_stats_since(e);
    for (uint32_t i = 1; i < e->local_count; i++)
        if (tr_perf_load_machine_digest(&e->board->machines[i]) != out->digest)
            out->are_digests_equal = false;
    return is_applied(e) ? TR_OK : TR_ETIMEOUT;
}

uint64_t tr_perf_engine_laps(const struct tr_perf_engine *e)
{
    struct tr_group_status status;
    uint32_t record_bytes =
        tr_perf_record_bytes((uint32_t)e->options->size_bytes, (uint32_t)e->options->batch);
    tr_group_status(e->replicas[0].group, &status);
    uint64_t of_slots = status.slot_next / (e->options->log_bytes / LOG_BYTES_PER_SLOT);
    uint64_t of_bytes = status.slot_next * record_bytes / e->options->log_bytes;
    return tr_min_u64(of_slots, of_bytes);
}

const char *tr_perf_engine_cluster(const struct tr_perf_engine *e)
{
    return e->places->cluster;
}

void tr_perf_engine_close(struct tr_perf_engine *e)
{
    if (e == NULL)
        return;
    tr_session_close(e->session);
    tr_client_close(e->client);
    for (uint32_t i = 0; i < e->local_count; i++)
        close_replica(&e->replicas[i]);
    if (e->fabric != NULL)
        tr_fabric_destroy(e->fabric);
    if (e->board != NULL)
        munmap(e->board, sizeof(*e->board));
    free(e->payload);
    free(e);
}
