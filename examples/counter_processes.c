/* The replicated counter of counter.c as real processes, one node each.
 *
 *     counter_processes --node N --peers 1=ADDRESS,2=ADDRESS,3=ADDRESS [--driver udp|shm]
 *
 * Each line on the standard input is a number to add; the answer is the total, and the slot of the
 * log that it was added in. An empty line asks for the total. The end of the input ends the node.
 * Without arguments it starts three such nodes over shared memory, talks to each, and ends them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <trireme/trireme.h>
#include <unistd.h>

enum { PEERS_MAX = 9, NODES = 3 };

/* ---- the state machine: one number */

static void apply(void *context, uint64_t slot, const struct tr_command *commands, uint32_t count,
                  struct tr_replies *replies)
{
    uint64_t *total = context;
    (void)slot;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t addend = 0;
        if (commands[i].bytes == sizeof(addend))
            memcpy(&addend, commands[i].data, sizeof(addend));
        *total += addend;
        tr_replies_set(replies, i, total, sizeof(*total));
    }
}

static int read_total(void *context, const void *query, uint32_t bytes, struct tr_reply *reply)
{
    (void)query, (void)bytes;
    return tr_reply_set(reply, context, sizeof(uint64_t));
}

static int snapshot(void *context, struct tr_writer *writer)
{
    return tr_writer_put(writer, context, sizeof(uint64_t));
}

static int restore(void *context, struct tr_reader *reader)
{
    return tr_reader_get(reader, context, sizeof(uint64_t));
}

/* ---- one node */

/* What the command line says. */
struct arguments {
    uint16_t node;
    const char *driver;
    struct tr_peer peers[PEERS_MAX];
    uint32_t peer_count;
};

/* Takes "ID=ADDRESS,..." apart, in place. Returns 0, or -1 when it is none. */
static int parse_peers(char *text, struct arguments *a)
{
    for (char *at = strtok(text, ","); at != NULL; at = strtok(NULL, ",")) {
        char *equals = strchr(at, '=');
        if (equals == NULL || a->peer_count == PEERS_MAX)
            return -1;
        a->peers[a->peer_count++] = (struct tr_peer){(uint16_t)strtoul(at, NULL, 10), equals + 1};
    }
    return 0;
}

static int parse(int argc, char **argv, struct arguments *a)
{
    *a = (struct arguments){.driver = "udp"};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--node") == 0)
            a->node = (uint16_t)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--driver") == 0)
            a->driver = argv[i + 1];
        else if (strcmp(argv[i], "--peers") != 0 || parse_peers(argv[i + 1], a) != 0)
            return -1;
    }
    return argc % 2 == 1 && a->peer_count != 0 ? 0 : -1;
}

static void log_line(void *context, enum tr_log_level level, const char *line)
{
    (void)context, (void)level;
    fprintf(stderr, "%s\n", line);
}

/* Adds what each line says, until the input ends. Returns 0, or 1 when the input or a completion
 * was bad. */
static int serve(struct tr_session *session)
{
    char line[64];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        struct tr_completion done;
        uint64_t number = strtoull(line, NULL, 10);
        int status = line[0] == '\n' ? tr_read(session, NULL, 0, NULL)
                                     : tr_submit(session, &number, sizeof(number), NULL);
        if (status == 0) {
            while (tr_session_wait(session, &done, 1, 1000000) == 0) {
            }
            status = done.status;
        }
        if (status == TR_EUNKNOWN || status == TR_ETIMEOUT) {
            printf("no quorum in time: %s\n", tr_strerror(status)); /* an empty line will tell */
        } else if (status != 0) {
            fprintf(stderr, "%s\n", tr_strerror(status));
            return 1;
        } else {
            memcpy(&number, done.reply, sizeof(number));
            printf("%" PRIu64 " slot %" PRIu64 "\n", number, done.slot);
        }
        fflush(stdout);
    }
    return 0;
}

static int run_node(const struct arguments *a)
{
    struct tr_node_options options = TR_NODE_OPTIONS_INIT;
    struct tr_group_options group_options = TR_GROUP_OPTIONS_INIT;
    struct tr_session_options session_options = TR_SESSION_OPTIONS_INIT;
    struct tr_node *node = NULL;
    struct tr_group *group;
    struct tr_session *session;
    uint64_t total = 0;
    char error[256] = "";
    options.cluster = "counter";
    options.node = a->node;
    options.peers = a->peers;
    options.peer_count = a->peer_count;
    options.driver = a->driver;
    options.log = log_line;
    options.log_level = TR_LOG_WARN;
    session_options.deadline_us = 30000000;
    group_options.machine = (struct tr_state_machine){
        sizeof(struct tr_state_machine), &total, apply, read_total, snapshot, restore, NULL};
    int status = tr_node_open(&options, &node, error, sizeof(error));
    if (status == 0)
        status = tr_group_open(node, &group_options, &group, error, sizeof(error));
    if (status == 0)
        status = tr_session_open(group, &session_options, &session);
    if (status == 0)
        status = tr_node_start(node);
    if (status != 0) {
        fprintf(stderr, "node %u: %s: %s\n", a->node, tr_strerror(status), error);
        tr_node_close(node);
        return 1;
    }
    int result = serve(session);
    tr_session_close(session);
    tr_node_close(node);
    return result;
}

/* ---- without arguments: three nodes, and a conversation with them */

/* A node's process, and the two ends of its standard streams. */
struct child {
    pid_t pid;
    FILE *in, *out;
};

/* A child opens its own node: handles are not inherited, so none is open here. */
static struct child start(uint16_t id)
{
    struct child child = {0};
    int in[2], out[2];
    if (pipe(in) != 0 || pipe(out) != 0 || (child.pid = fork()) < 0)
        exit(1);
    if (child.pid == 0) {
        char names[NODES][32];
        struct arguments a = {.node = id, .driver = "shm", .peer_count = NODES};
        for (int i = 0; i < NODES; i++) {
            snprintf(names[i], sizeof(names[i]), "shm:counter-%d-%d", (int)getppid(), i + 1);
            a.peers[i] = (struct tr_peer){(uint16_t)(i + 1), names[i]};
        }
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[0]), close(in[1]), close(out[0]), close(out[1]);
        exit(run_node(&a));
    }
    close(in[0]), close(out[1]);
    child.in = fdopen(in[1], "w");
    child.out = fdopen(out[0], "r");
    return child;
}

/* Sends a line, prints the answer. Returns the total that it names. */
static uint64_t ask(struct child *child, int id, const char *line)
{
    char answer[64] = "";
    fprintf(child->in, "%s\n", line);
    fflush(child->in);
    if (fgets(answer, sizeof(answer), child->out) == NULL)
        exit(1);
    printf("node %d: %-4s -> %s", id, line, answer);
    return strtoull(answer, NULL, 10);
}

static int run_demonstration(void)
{
    struct child child[NODES];
    int right = 1;
    for (int i = 0; i < NODES; i++)
        child[i] = start((uint16_t)(i + 1));
    right &= ask(&child[0], 1, "5") == 5;
    right &= ask(&child[1], 2, "20") == 25;
    right &= ask(&child[2], 3, "100") == 125;
    right &= ask(&child[0], 1, "") == 125;
    for (int i = NODES - 1; i >= 0; i--) { /* a child has the pipes of those before it open, too */
        int status = 0;
        fclose(child[i].in);
        fclose(child[i].out);
        right &= waitpid(child[i].pid, &status, 0) == child[i].pid && status == 0;
    }
    puts(right ? "right" : "wrong");
    return !right;
}

int main(int argc, char **argv)
{
    struct arguments a;
    if (argc == 1)
        return run_demonstration();
    if (parse(argc, argv, &a) == 0)
        return run_node(&a);
    fputs("usage: counter_processes --node N --peers 1=ADDRESS,... [--driver udp|shm]\n", stderr);
    return 2;
}
