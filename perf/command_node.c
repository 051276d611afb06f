/* node: one replica of a cluster of several machines. Its polling thread follows the engine, or the
 * floor while the load measures that; the main thread sleeps until the load says something. */
#include "base/atomic.h"
#include "perf/commands.h"
#include "perf/control.h"
#include "perf/engine.h"
#include "perf/floor.h"
#include "perf/machine.h"
#include "perf/peers.h"
#include "perf/run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How often the main thread looks for signals. */
#define LOOK_MS 200

enum job { JOB_OPEN = 0, JOB_ENGINE = 1, JOB_FLOOR = 2, JOB_CLOSE = 3, JOB_COUNT = 4 };

struct node {
    const struct tr_perf_options *options;
    struct tr_perf_places places;
    struct tr_perf_engine *engine;
    struct tr_perf_floor *floor; /* NULL: none made yet */
    uint32_t floor_index;        /* of this node among the floor's followers */
    struct tr_perf_crew *crew;
    enum tr_idle idle;
    char host[TR_PERF_ADDRESS_MAX];
    uint16_t port;
    char error[512];
};

static int job_open(void *context, uint32_t worker, uint64_t argument, const uint32_t *stop)
{
    struct node *n = context;
    (void)worker;
    (void)argument;
    (void)stop;
    return tr_perf_engine_open_own(n->engine, n->error, sizeof(n->error));
}

static int job_engine(void *context, uint32_t worker, uint64_t argument, const uint32_t *stop)
{
    struct node *n = context;
    uint32_t empty = 0;
    (void)worker;
    (void)argument;
    while (tr_load_relaxed(stop) == 0) {
        if (tr_perf_engine_poll_own(n->engine) == 0)
            tr_perf_idle(n->idle, &empty);
        else
            empty = 0;
    }
    return TR_OK;
}

static int job_floor(void *context, uint32_t worker, uint64_t variant, const uint32_t *stop)
{
    struct node *n = context;
    (void)worker;
    n->floor->table->variants[variant].follow(n->floor, n->floor_index, stop);
    return TR_OK;
}

static int job_close(void *context, uint32_t worker, uint64_t argument, const uint32_t *stop)
{
    struct node *n = context;
    (void)worker;
    (void)argument;
    (void)stop;
    tr_perf_engine_close(n->engine);
    n->engine = NULL;
    return TR_OK;
}

static const tr_perf_job_fn jobs[JOB_COUNT] = {job_open, job_engine, job_floor, job_close};

static void change_job(struct node *n, enum job job, uint64_t argument)
{
    tr_perf_crew_stop(n->crew);
    tr_perf_crew_begin(n->crew, job, argument);
}

static void close_floor(struct node *n)
{
    if (n->floor != NULL)
        n->floor->table->close(n->floor);
    n->floor = NULL;
}

/* "floor INDEX FOLLOWERS SIZE BATCH WINDOW HUB-HOST HUB-PORT". Returns: the port of this end, or
 * 0. */
static uint16_t make_floor(struct node *n, const char *line)
{
    struct tr_perf_floor_shape shape = {.needed = 1, .idle = n->idle};
    char hub_host[TR_PERF_LINE_MAX];
    uint16_t hub_port = 0;
    uint16_t port = 0;
    if (sscanf(line, "%" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %255s %" SCNu16,
               &n->floor_index, &shape.followers, &shape.size_bytes, &shape.batch, &shape.window,
               hub_host, &hub_port) != 7)
        return 0;
    if (shape.followers > TR_PERF_FOLLOWERS_MAX || n->floor_index >= shape.followers ||
        shape.batch == 0 || shape.batch > TR_BATCH_COMMANDS_MAX || shape.size_bytes > 65536 ||
        shape.window == 0 || shape.window > TR_PERF_WINDOW_MAX)
        return 0;
    /* One follower a thread: this one takes its own share only. */
    shape.workers = shape.followers;
    change_job(n, JOB_ENGINE, 0);
    close_floor(n);
    int result = tr_perf_floor_udp_open_leaf(&shape, n->floor_index, n->host, hub_host, hub_port,
                                             &n->floor, &port, n->error, sizeof(n->error));
    return result == TR_OK ? port : 0;
}

/* Does what one line says. */
static void obey(struct node *n, const char *line, char answer[TR_PERF_LINE_MAX])
{
    uint32_t variant = 0;
    snprintf(answer, TR_PERF_LINE_MAX, "error");
    if (strcmp(line, "digest") == 0) {
        const struct tr_perf_load_machine *machine = tr_perf_engine_machine(n->engine);
        snprintf(answer, TR_PERF_LINE_MAX, "ok %" PRIu64 " %" PRIx64,
                 tr_load_relaxed(&machine->commands), tr_perf_load_machine_digest(machine));
    } else if (strcmp(line, "follow-engine") == 0) {
        change_job(n, JOB_ENGINE, 0);
        snprintf(answer, TR_PERF_LINE_MAX, "ok");
    } else if (sscanf(line, "follow-floor %" SCNu32, &variant) == 1 && n->floor != NULL &&
               variant < n->floor->table->variant_count) {
        tr_perf_crew_stop(n->crew);
        n->floor->table->reset(n->floor);
        tr_perf_crew_begin(n->crew, JOB_FLOOR, variant);
        snprintf(answer, TR_PERF_LINE_MAX, "ok");
    } else if (strncmp(line, "floor ", 6) == 0) {
        uint16_t port = make_floor(n, line + 6);
        if (port != 0)
            snprintf(answer, TR_PERF_LINE_MAX, "ok %u", port);
    }
}

/* Serves one load until it goes away or this process is told to end. Returns: whether to go on. */
static bool serve(struct node *n, int fd)
{
    char line[TR_PERF_LINE_MAX];
    char answer[TR_PERF_LINE_MAX];
    for (;;) {
        if (tr_perf_signals_came())
            return false;
        int result = tr_perf_control_receive(fd, LOOK_MS, line);
        if (result == TR_AGAIN)
            continue;
        if (result != TR_OK)
            break;
        obey(n, line, answer);
        if (tr_perf_control_send(fd, answer) != TR_OK)
            break;
    }
    change_job(n, JOB_ENGINE, 0);
    return true;
}

static int run_node(struct node *n)
{
    int listener = tr_perf_control_listen(n->host, n->port);
    if (listener < 0) {
        snprintf(n->error, sizeof(n->error), "cannot listen at %s:%u (TCP): %s", n->host, n->port,
                 tr_strerror(listener));
        return listener;
    }
    printf("node %" PRIu64 " at %s:%u, CPU %d, %s; ends with SIGINT\n", n->options->node, n->host,
           n->port, n->options->cores[0], tr_perf_idle_name(n->idle));
    fflush(stdout);
    tr_perf_crew_begin(n->crew, JOB_ENGINE, 0);
    bool is_wanted = true;
    while (is_wanted && !tr_perf_signals_came()) {
        int fd = tr_perf_control_accept(listener, LOOK_MS);
        if (fd < 0)
            continue;
        is_wanted = serve(n, fd);
        close(fd);
    }
    tr_perf_crew_stop(n->crew);
    close(listener);
    return TR_OK;
}

/* The own address, divided. */
static int find_own(struct node *n)
{
    struct tr_perf_peer peers[TR_VOTERS_MAX];
    uint32_t count = 0;
    int result = tr_perf_peers_parse(n->options->peers, peers, &count, n->error, sizeof(n->error));
    for (uint32_t i = 0; i < count && result == TR_OK; i++)
        if (peers[i].node == n->options->node &&
            tr_perf_address_divide(peers[i].address, n->host, sizeof(n->host), &n->port))
            return TR_OK;
    if (result == TR_OK)
        snprintf(n->error, sizeof(n->error), "--peers has no HOST:PORT for node %" PRIu64,
                 n->options->node);
    return TR_EINVAL;
}

int tr_perf_command_node(const struct tr_perf_options *options)
{
    struct node *n = calloc(1, sizeof(*n));
    if (n == NULL)
        return tr_perf_fail("out of memory");
    n->options = options;
    n->idle = tr_perf_idle_resolve((enum tr_idle)options->idle, options->cores, 1);
    struct tr_perf_crew_options crew = {
        .workers = 1, .cpus = options->cores, .jobs = jobs, .job_count = JOB_COUNT, .context = n};
    struct tr_perf_engine_setup setup = {.options = options,
                                         .places = &n->places,
                                         .is_one_sided =
                                             options->one_sided != TR_PERF_ONE_SIDED_OFF,
                                         .workers = 1,
                                         .idle = n->idle};
    int result = find_own(n);
    if (result == TR_OK)
        result = tr_perf_places_make(options, &n->places, n->error, sizeof(n->error));
    if (result == TR_OK)
        result = tr_perf_engine_make(&setup, &n->engine, n->error, sizeof(n->error));
    if (result == TR_OK)
        result = tr_perf_crew_open(&crew, &n->crew);
    if (result == TR_OK)
        result = tr_perf_crew_run(n->crew, JOB_OPEN, 0);
    if (result == TR_OK)
        result = run_node(n);
    if (n->crew != NULL && n->engine != NULL)
        tr_perf_crew_run(n->crew, JOB_CLOSE, 0);
    tr_perf_engine_close(n->engine);
    tr_perf_crew_close(n->crew);
    close_floor(n);
    int status =
        result == TR_OK ? 0 : tr_perf_fail(n->error[0] != '\0' ? n->error : tr_strerror(result));
    free(n);
    return status;
}
