/* core-load: the work whose instructions trireme-perf instructions counts, under callgrind.
 *
 *     core-load messages|one-sided|plane-messages|plane-one-sided SLOTS BATCH SESSIONS SIZE WINDOW
 *
 * WINDOW slots are in flight at a time.
 *
 * The first two drive three bare cores: every run with the same arguments executes the same
 * instructions. The other two drive three whole nodes over the loop driver on one thread, through
 * the public API; their timers follow the clock, so that they vary by a few instructions. */
#include "perf/core_cluster.h"
#include "perf/load_machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSIONS_MAX 64

/* Polls until a cluster has elected, or a slot is complete: far above what any takes. */
#define POLLS_MAX 100000000u

struct work {
    bool is_plane;
    bool is_one_sided;
    uint64_t slots;
    uint32_t batch, sessions, size_bytes;
    uint32_t window; /* slots */
};

/* Three nodes, and the sessions of the first. */
struct plane {
    void *fabric;
    struct tr_node *node[TR_PERF_CORES];
    struct tr_group *group[TR_PERF_CORES];
    struct tr_perf_load_machine machine[TR_PERF_CORES];
    struct tr_session *session[SESSIONS_MAX];
    uint64_t completed;
    uint64_t failed;
};

static bool work_cores(const struct work *work)
{
    struct tr_perf_core_cluster *cluster = tr_perf_core_cluster_open(work->is_one_sided);
    bool is_good = cluster != NULL && tr_perf_core_cluster_sessions(cluster, work->sessions);
    for (uint64_t i = 0; i < work->slots && is_good; i += work->window)
        is_good =
            tr_perf_core_cluster_propose(cluster, work->window, work->batch, work->size_bytes);
    is_good = is_good && tr_perf_core_cluster_finish(cluster) == work->slots * work->batch;
    tr_perf_core_cluster_close(cluster);
    return is_good;
}

static void on_complete(void *context, const struct tr_completion *completion)
{
    struct plane *plane = context;
    plane->completed++;
    plane->failed += completion->status != TR_OK;
}

static bool open_node(struct plane *plane, const struct work *work, uint32_t index)
{
    static const struct tr_peer peers[TR_PERF_CORES] = {
        {1, "loop:count-1"}, {2, "loop:count-2"}, {3, "loop:count-3"}};
    struct tr_node_options node = TR_NODE_OPTIONS_INIT;
    struct tr_group_options group = TR_GROUP_OPTIONS_INIT;
    char error[256] = "";
    node.cluster = "count";
    node.node = peers[index].node;
    node.peers = peers;
    node.peer_count = TR_PERF_CORES;
    node.driver = "loop";
    node.idle = TR_IDLE_SPIN;
    node.fabric = plane->fabric;
    node.counters = "";
    group.group = 1;
    group.machine = tr_perf_load_machine_table(&plane->machine[index]);
    group.batch_commands_max = work->batch;
    group.one_sided = work->is_one_sided ? "auto" : "off";
    /* Under callgrind everything takes fifty times as long. */
    group.election_timeout_us = 2000000;
    group.heartbeat_us = 100000;
    bool is_open = tr_node_open(&node, &plane->node[index], error, sizeof(error)) == TR_OK &&
                   tr_group_open(plane->node[index], &group, &plane->group[index], error,
                                 sizeof(error)) == TR_OK;
    if (!is_open)
        fprintf(stderr, "core-load: node %u: %s\n", index + 1, error);
    return is_open;
}

static void poll_nodes(struct plane *plane)
{
    for (uint32_t i = 0; i < TR_PERF_CORES; i++)
        tr_poll(plane->node[i]);
}

static bool elect(struct plane *plane, const struct work *work)
{
    for (uint32_t polls = 0; polls < POLLS_MAX; polls++) {
        struct tr_group_status status;
        poll_nodes(plane);
        tr_group_status(plane->group[0], &status);
        if (status.role == TR_ROLE_LEADER && status.voters_reachable == TR_PERF_CORES &&
            (!work->is_one_sided || status.one_sided_peers == TR_PERF_CORES - 1))
            return true;
        if (status.role == TR_ROLE_FOLLOWER && status.leader == 0 && polls % 1000 == 0)
            tr_group_campaign(plane->group[0]);
    }
    return false;
}

static bool open_sessions(struct plane *plane, const struct work *work)
{
    struct tr_session_options session = TR_SESSION_OPTIONS_INIT;
    session.window = 4096;
    session.queue_bytes = 1u << 20;
    session.on_complete = on_complete;
    session.on_complete_context = plane;
    for (uint32_t i = 0; i < work->sessions; i++)
        if (tr_session_open(plane->group[0], &session, &plane->session[i]) != TR_OK)
            return false;
    return true;
}

/* A window of slots: its commands submitted, spread over the sessions, and polled to their end. */
static bool work_window(struct plane *plane, const struct work *work, const uint8_t *payload)
{
    const uint32_t commands = work->window * work->batch;
    const uint64_t goal = plane->completed + commands;
    for (uint32_t i = 0; i < commands; i++)
        if (tr_submit(plane->session[i % work->sessions], payload, work->size_bytes, NULL) != TR_OK)
            return false;
    for (uint32_t polls = 0; plane->completed < goal; polls++) {
        if (polls == POLLS_MAX)
            return false;
        poll_nodes(plane);
    }
    return plane->failed == 0;
}

static bool work_nodes(const struct work *work)
{
    struct plane *plane = calloc(1, sizeof(*plane));
    uint8_t *payload = calloc(1, work->size_bytes);
    bool is_good = plane != NULL && payload != NULL;
    if (is_good)
        plane->fabric = tr_fabric_create();
    for (uint32_t i = 0; i < TR_PERF_CORES && is_good; i++)
        is_good = open_node(plane, work, i);
    is_good = is_good && elect(plane, work) && open_sessions(plane, work);
    for (uint64_t i = 0; i < work->slots && is_good; i += work->window)
        is_good = work_window(plane, work, payload);
    for (uint32_t i = 0; plane != NULL && i < work->sessions; i++)
        tr_session_close(plane->session[i]);
    for (uint32_t i = 0; plane != NULL && i < TR_PERF_CORES; i++)
        if (plane->node[i] != NULL)
            tr_node_close(plane->node[i]);
    if (plane != NULL && plane->fabric != NULL)
        tr_fabric_destroy(plane->fabric);
    free(plane);
    free(payload);
    return is_good;
}

int main(int argc, char **argv)
{
    struct work work = {.slots = 0};
    if (argc == 7) {
        work.is_plane = strncmp(argv[1], "plane-", 6) == 0;
        work.is_one_sided = strcmp(argv[1] + (work.is_plane ? 6 : 0), "one-sided") == 0;
        work.slots = strtoull(argv[2], NULL, 10);
        work.batch = (uint32_t)strtoul(argv[3], NULL, 10);
        work.sessions = (uint32_t)strtoul(argv[4], NULL, 10);
        work.size_bytes = (uint32_t)strtoul(argv[5], NULL, 10);
        work.window = (uint32_t)strtoul(argv[6], NULL, 10);
    }
    if (work.batch == 0 || work.sessions == 0 || work.sessions > SESSIONS_MAX ||
        work.batch > TR_BATCH_COMMANDS_MAX || work.size_bytes == 0 || work.window == 0 ||
        work.slots % work.window != 0 || work.window * work.batch > 4096) {
        fprintf(stderr, "usage: core-load messages|one-sided|plane-messages|plane-one-sided SLOTS "
                        "BATCH SESSIONS SIZE WINDOW\n");
        return 2;
    }
    bool is_good = work.is_plane ? work_nodes(&work) : work_cores(&work);
    if (!is_good)
        fprintf(stderr, "core-load: the replicas did not apply every command\n");
    return is_good ? 0 : 1;
}
