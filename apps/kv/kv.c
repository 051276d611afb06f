/* trireme kv: opens a node with one group, serves it to Redis clients, and closes on SIGTERM. */
#include "apps/cli/commands.h"
#include "config.h"
#include "replicated.h"
#include "rest.h"
#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

/* At the end, what is in flight has so long to come back. */
#define DRAIN_NS UINT64_C(2000000000)
/* The thread of the server sleeps so long at most; completions and clients wake it. */
#define SERVER_SLEEP_NS UINT64_C(100000000)
/* With a CPU to spare, the thread of the server looks again for so long before it sleeps. */
#define SERVER_HOT_NS 20000u

/* The thread that polls looks for signals and readiness once in so many looks at its sockets. */
#define LOOKS_PER_CHECK 64u

/* One node while it runs. */
struct program {
    struct kv_config config;
    struct kv_peers peers;
    struct kv_machine machine;
    struct tr_node *node;
    struct tr_group *group;
    struct kv_server *server;
    struct kv_rest rest;
    int signal_fd;
    int told_ready;
    char error[512];
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void print_line(void *context, enum tr_log_level level, const char *line)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    const struct program *program = context;
    fprintf(stderr, "node %llu %s: %s\n", (unsigned long long)program->config.node, names[level],
            line);
}

/* Puts what is wrong into program->error, behind what was tried. Returns 0. */
static int fail(struct program *program, const char *what, const char *why, int status)
{
    char reason[400];
    snprintf(reason, sizeof(reason), "%s", why[0] != '\0' ? why : tr_strerror(status));
    snprintf(program->error, sizeof(program->error), "%s: %s", what, reason);
    return 0;
}

/* ------------------------------------------------------------------ opening */

/* Relations between options; each alone is checked by the table. */
static int check_config(struct program *program)
{
    struct kv_config *config = &program->config;
    int found = 0;
    for (uint32_t at = 0; at < program->peers.count; at++)
        found |= program->peers.list[at].node == config->node;
    if (!found)
        return fail(program, "--peers", "this node's number (--node) is not among them", 0);
    if (config->store_bytes == 0)
        config->store_bytes = config->snapshot_bytes / 4 * 3;
    if (config->store_bytes > config->snapshot_bytes)
        return fail(program, "--store-bytes",
                    "is above --snapshot-bytes: a snapshot must have room for all of it", 0);
    return 1;
}

static void raise_descriptor_limit(uint64_t clients_max)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t wanted = clients_max + 64; /* the node's own beside those of clients */
    if (limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur =
        limit.rlim_max == RLIM_INFINITY || wanted < limit.rlim_max ? wanted : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Signals end the program through a descriptor; the library's threads inherit that they are
 * blocked. */
static int open_signals(struct program *program)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return fail(program, "sigprocmask", strerror(errno), 0);
    program->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (program->signal_fd < 0)
        return fail(program, "signalfd", strerror(errno), 0);
    return 1;
}

_Static_assert(CLI_CPU_NEAR == TR_CPU_NEAR && CLI_CPU_NONE == TR_CPU_ANY, "handed on as they are");

static int open_node(struct program *program)
{
    const struct kv_config *config = &program->config;
    char error[400] = "";
    int cpu = (int)config->cpu;
    struct tr_node_options options = TR_NODE_OPTIONS_INIT;
    options.cluster = config->cluster;
    options.node = (uint16_t)config->node;
    options.peers = program->peers.list;
    options.peer_count = program->peers.count;
    options.driver = config->driver;
    options.driver_options = config->driver_options[0] != '\0' ? config->driver_options : NULL;
    options.lcore_cpus = &cpu;
    options.idle = (enum tr_idle)config->idle;
    options.message_bytes_max = (uint32_t)config->message_bytes;
    options.counters = config->counters[0] != '\0' ? config->counters : NULL;
    options.log = print_line;
    options.log_context = program;
    options.log_level = (enum tr_log_level)config->log_level;
    int status = tr_node_open(&options, &program->node, error, sizeof(error));
    return status == 0 || fail(program, "cannot open the node", error, status);
}

static int open_group(struct program *program)
{
    const struct kv_config *config = &program->config;
    char error[400] = "";
    struct tr_group_options options = TR_GROUP_OPTIONS_INIT;
    options.machine = kv_replicated(&program->machine);
    options.quorum_p1 = (uint32_t)config->quorum_p1;
    options.quorum_p2 = (uint32_t)config->quorum_p2;
    options.log_slots = (uint32_t)config->log_slots;
    options.log_bytes = config->log_bytes;
    options.batch_commands_max = (uint32_t)config->batch_commands_max;
    options.sessions_max = (uint32_t)config->sessions_max;
    options.reply_cache_bytes = config->reply_cache_bytes;
    options.snapshot_bytes_max = config->snapshot_bytes;
    options.lease_us = (uint32_t)config->lease_us;
    options.clock_drift_ppm = (uint32_t)config->clock_drift_ppm;
    options.election_timeout_us = (uint32_t)config->election_timeout_us;
    options.heartbeat_us = (uint32_t)config->heartbeat_us;
    options.one_sided = config->one_sided;
    int status = tr_group_open(program->node, &options, &program->group, error, sizeof(error));
    return status == 0 || fail(program, "cannot open the group", error, status);
}

static int open_server(struct program *program)
{
    const struct kv_config *config = &program->config;
    char error[400] = "";
    struct kv_server_options options = {
        .group = program->group,
        .machine = &program->machine,
        .mode = config->threads == KV_THREADS_ONE ? KV_LINK_SAME_THREAD : KV_LINK_OWN_THREAD,
        .listen = config->listen,
        .clients_max = (uint32_t)config->clients_max,
        .message_bytes_max = (uint32_t)config->message_bytes,
        .output_bytes_max = config->client_output_bytes,
        .store_bytes_max = config->store_bytes,
        .deadline_us = config->deadline_us,
        .window = (uint32_t)config->window,
        .node = (uint16_t)config->node,
        .driver = config->driver,
        .cluster = config->cluster,
        .memory_bytes = tr_node_memory_bytes(program->node),
        .now_ns = now_ns(),
    };
    int status = kv_server_open(&options, &program->server, error, sizeof(error));
    if (status == 0)
        status = kv_server_watch(program->server, program->signal_fd);
    return status == 0 || fail(program, "cannot open the server", error, status);
}

static int start_node(struct program *program)
{
    if (program->config.threads == KV_THREADS_ONE)
        return 1; /* tr_poll starts it */
    int status = tr_node_start(program->node);
    return status == 0 || fail(program, "cannot start the node", "", status);
}

/* One line that tells what runs here. */
static void tell_start(const struct program *program)
{
    const struct kv_config *config = &program->config;
    printf("trireme kv %s: node %llu of %s, cluster %s, driver %s, clients at %s, %s, "
           "%.1f MiB fixed at open, keys and values up to %.1f MiB\n",
           tr_version(), (unsigned long long)config->node, config->peers, config->cluster,
           config->driver, kv_server_address(program->server),
           config->threads == KV_THREADS_ONE ? "one thread" : "two threads",
           (double)tr_node_memory_bytes(program->node) / (1 << 20),
           (double)config->store_bytes / (1 << 20));
    fflush(stdout);
}

static void close_program(struct program *program)
{
    if (program->server != NULL)
        kv_server_close(program->server);
    if (program->node != NULL)
        tr_node_close(program->node);
    if (program->server != NULL)
        kv_server_release(program->server);
    if (program->signal_fd >= 0)
        close(program->signal_fd);
    kv_machine_release(&program->machine);
}

static int open_program(struct program *program)
{
    const char *wrong = kv_peers_parse(program->config.peers, &program->peers);
    if (wrong != NULL)
        return fail(program, "--peers", wrong, 0);
    raise_descriptor_limit(program->config.clients_max);
    return check_config(program) && open_signals(program) && open_node(program) &&
           open_group(program) && start_node(program) && open_server(program);
}

/* ------------------------------------------------------------------ running */

/* Whether SIGTERM or SIGINT came. */
static int is_stopped(const struct program *program)
{
    struct signalfd_siginfo info;
    return read(program->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info);
}

static void tell_ready(struct program *program)
{
    struct tr_group_status status;
    if (program->told_ready || !kv_server_is_ready(program->server))
        return;
    tr_group_status(program->group, &status);
    if (status.leader == 0)
        return;
    program->told_ready = 1;
    printf("ready: node %llu, leader %u\n", (unsigned long long)program->config.node,
           status.leader);
    fflush(stdout);
}

/* One cycle of the thread that does everything. Returns 1 when sockets were asked. */
static int cycle_one_thread(struct program *program)
{
    uint32_t work = tr_poll(program->node);
    uint64_t now = now_ns();
    work += kv_server_work(program->server, now);
    enum kv_rest_step step = kv_rest_next(&program->rest, work, now);
    if (step == KV_REST_CYCLE)
        return 0;
    kv_server_poll_sockets(program->server, step == KV_REST_SLEEP ? KV_REST_SLEEP_NS : 0);
    return 1;
}

/* One cycle of the server's own thread: hot for a while where there is a CPU to spare. */
static int cycle_own_thread(struct program *program)
{
    uint64_t now = now_ns();
    uint32_t work = kv_server_work(program->server, now);
    enum kv_rest_step step = kv_rest_next(&program->rest, work, now);
    int hot = !program->rest.shared && now - program->rest.work_ns < SERVER_HOT_NS;
    if (work > 0 && step == KV_REST_CYCLE)
        return 0;
    kv_server_poll_sockets(program->server, work > 0 || hot ? 0 : SERVER_SLEEP_NS);
    return 1;
}

static void run(struct program *program)
{
    int one = program->config.threads == KV_THREADS_ONE;
    int stopped = 0;
    if (one)
        tr_node_settle(program->node); /* what it could not do is in the log */
    uint64_t stop_ns = 0;
    uint32_t looks = 0;
    while (!stopped || (!kv_server_drain(program->server) && now_ns() < stop_ns)) {
        int looked = one ? cycle_one_thread(program) : cycle_own_thread(program);
        if (!looked || (one && ++looks % LOOKS_PER_CHECK != 0))
            continue;
        tell_ready(program);
        if (!stopped && is_stopped(program)) {
            stopped = 1;
            stop_ns = now_ns() + DRAIN_NS;
        }
    }
}

static int run_program(struct program *program)
{
    int opened = open_program(program);
    if (opened) {
        uint32_t threads = program->config.threads == KV_THREADS_ONE ? 1 : 2;
        uint32_t nodes = kv_rest_neighbours(&program->peers, (uint16_t)program->config.node);
        kv_rest_init(&program->rest, (enum tr_idle)program->config.idle, nodes * threads);
        tell_start(program);
        run(program);
        printf("stopped: node %llu\n", (unsigned long long)program->config.node);
    } else {
        fprintf(stderr, "trireme kv: %s\n", program->error);
    }
    close_program(program);
    return opened ? 0 : 1;
}

int kv_main(int argc, char **argv)
{
    const struct cli_options *options = kv_config_options();
    struct program *program = calloc(1, sizeof(*program));
    int status = 2;
    if (program == NULL) {
        fputs("trireme kv: out of memory\n", stderr);
        return 1;
    }
    program->signal_fd = -1;
    switch (cli_options_parse(options, &program->config, argc, argv, program->error,
                              sizeof(program->error))) {
    case CLI_HELP:
        cli_options_print_help(options, stdout);
        status = 0;
        break;
    case CLI_WRONG:
        fprintf(stderr, "trireme kv: %s\n", program->error);
        break;
    case CLI_READY:
        kv_machine_init(&program->machine);
        status = run_program(program);
        break;
    }
    cli_options_release(options, &program->config);
    free(program);
    return status;
}
