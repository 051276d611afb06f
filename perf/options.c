#include "perf/options.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "perf/floor.h"
#include "perf/machine.h"
#include "perf/places.h"
#include "perf/statistics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    KIND_TEXT,   /* bytes are `room` */
    KIND_WHOLE,  /* uint64_t within low .. high */
    KIND_POWER,  /* the same, a power of two */
    KIND_REAL,   /* double within low .. high */
    KIND_CHOICE, /* uint64_t, the place in `choices` */
    KIND_FLAG,   /* uint64_t, 1 when given; takes no value */
    KIND_CORES,  /* cores and core_count */
};

/* Commands that an option is for. */
#define FOR(command)   (1u << (command))
#define FOR_LOAD       (FOR(TR_PERF_LATENCY) | FOR(TR_PERF_THROUGHPUT))
#define FOR_CLUSTER    (FOR_LOAD | FOR(TR_PERF_SWEEP) | FOR(TR_PERF_MEMORY) | FOR(TR_PERF_NODE))
#define FOR_FLOOR      (FOR_LOAD | FOR(TR_PERF_SWEEP) | FOR(TR_PERF_FLOOR))
#define FOR_HERE       (FOR_FLOOR | FOR(TR_PERF_MEMORY))
#define FOR_ALL        (FOR_CLUSTER | FOR_FLOOR | FOR(TR_PERF_INSTRUCTIONS))
#define FOR_ALL_BUT_IN (FOR_CLUSTER | FOR_FLOOR)

struct option {
    const char *name;
    const char *value; /* its name in --help; NULL for a flag */
    enum kind kind;
    uint32_t commands;
    size_t offset;
    double low, high; /* of numbers; of texts, high is the room */
    const char *choices;
    const char *initial; /* as it would be typed; NULL: by command, see fill_in */
    const char *help;
};

#define AT(field)   offsetof(struct tr_perf_options, field)
#define ROOM(field) sizeof(((struct tr_perf_options *)0)->field)

static const struct option table[] = {
    {"driver", "NAME", KIND_TEXT, FOR_ALL_BUT_IN, AT(driver), 0, ROOM(driver), NULL, "shm",
     "how the replicas reach each other: shm, udp, loop, dpdk, verbs"},
    {"driver-options", "LIST", KIND_TEXT, FOR_ALL_BUT_IN, AT(driver_options), 0,
     ROOM(driver_options), NULL, "",
     "key=value,... for the driver; see docs/configuration.md. %n is the number of the replica"},
    {"veth", "HOW", KIND_CHOICE, FOR_HERE, AT(veth), 0, 0, "off packet xdp", "off",
     "of the driver dpdk: join the replicas by veth interfaces, polled by AF_PACKET or AF_XDP, in "
     "a network namespace that ends with the run (root)"},
    {"replicas", "N", KIND_WHOLE, FOR_ALL_BUT_IN, AT(replicas), 1, TR_VOTERS_MAX, NULL, "3",
     "replicas, the leader among them"},
    {"size", "BYTES", KIND_WHOLE, FOR_ALL, AT(size_bytes), 8, 1 << 20, NULL, "64",
     "payload of a command"},
    {"window", "N", KIND_POWER, FOR_FLOOR | FOR(TR_PERF_MEMORY), AT(window), 1, TR_PERF_WINDOW_MAX,
     NULL, NULL,
     "commands in flight at most; default 1 for latency and floor in closed loop, else 1024"},
    {"batch", "N", KIND_WHOLE, FOR_FLOOR | FOR(TR_PERF_MEMORY) | FOR(TR_PERF_NODE), AT(batch), 1,
     TR_BATCH_COMMANDS_MAX, NULL, "1", "commands in one slot at most; 1: unbatched"},
    {"seconds", "S", KIND_REAL, FOR_ALL_BUT_IN, AT(seconds), 0.01, 1e6, NULL, "9",
     "length of the run, floor and engine together"},
    {"pairs", "N", KIND_WHOLE, FOR_FLOOR, AT(pairs), 1, TR_PERF_PAIRS_MAX, NULL, "15",
     "alternations of floor and engine at least; a slice is never above 0.5 s"},
    {"cores", "LIST", KIND_CORES, FOR_ALL_BUT_IN, AT(cores), 0, 0, NULL, NULL,
     "CPUs: the leader's and load's first, then one a follower thread; default the first two"},
    {"idle", "HOW", KIND_CHOICE, FOR_ALL_BUT_IN, AT(idle), 0, 0, "auto spin pause yield sleep",
     "auto", "what a thread does that finds nothing: auto, spin, pause, yield, sleep"},
    {"one-sided", "HOW", KIND_CHOICE, FOR_ALL_BUT_IN, AT(one_sided), 0, 0, "auto on off", "auto",
     "replicate by writes into the followers' memory: on, off, auto (where the driver can)"},
    {"client", "WHERE", KIND_CHOICE, FOR_LOAD, AT(client), 0, 0, "local remote", "local",
     "local: a session of the leader's node; remote: a client over the same driver, client to "
     "client (the floor stays that of the quorum, without the client's two messages)"},
    {"mode", "HOW", KIND_CHOICE, FOR_LOAD | FOR(TR_PERF_FLOOR), AT(mode), 0, 0, "closed open",
     "closed", "closed (a window is kept full) or open (a schedule is kept, waiting counts)"},
    {"rate", "N", KIND_REAL, FOR_LOAD | FOR(TR_PERF_FLOOR), AT(rate), 0, 1e9, NULL, "0",
     "commands a second of the open loop"},
    {"log-bytes", "N", KIND_POWER, FOR_CLUSTER, AT(log_bytes), 1 << 23, 1u << 30, NULL, "67108864",
     "each replica's log; it has a slot for every 1024 bytes"},
    {"points", "N", KIND_WHOLE, FOR(TR_PERF_SWEEP), AT(points), 2, 64, NULL, "12",
     "loads of the sweep, up to 1.1 times what the engine can take"},
    {"processes", NULL, KIND_FLAG, FOR_FLOOR, AT(processes), 0, 0, NULL, NULL,
     "the followers are processes, not threads"},
    {"stopped", NULL, KIND_FLAG, FOR(TR_PERF_LATENCY), AT(stopped), 0, 0, NULL, NULL,
     "the engine's followers stand still for each millisecond of load: one-sided, within the "
     "credit"},
    {"variants", NULL, KIND_FLAG, FOR(TR_PERF_FLOOR), AT(variants), 0, 0, NULL, NULL,
     "print every variant of the floor, not only the best"},
    {"node", "ID", KIND_WHOLE, FOR_LOAD | FOR(TR_PERF_NODE), AT(node), 0, 65535, NULL, "0",
     "this machine's node in a cluster of several machines"},
    {"peers", "LIST", KIND_TEXT, FOR_ALL_BUT_IN, AT(peers), 0, ROOM(peers), NULL, "",
     "ID=ADDRESS,... of all nodes of that cluster, this one among them; without --node of the "
     "replicas on this machine, the leader's first"},
    {"verbose", NULL, KIND_FLAG, FOR_CLUSTER, AT(verbose), 0, 0, NULL, NULL,
     "print the engine's log to stderr"},
    {"json", "FILE", KIND_TEXT, FOR_ALL, AT(json), 0, ROOM(json), NULL, "",
     "write one JSON object"},
    {"hgrm", "FILE", KIND_TEXT, FOR_LOAD | FOR(TR_PERF_FLOOR), AT(hgrm), 0, ROOM(hgrm), NULL, "",
     "write the latencies as HdrHistogram's percentile text"},
    {"svg", "FILE", KIND_TEXT, FOR_FLOOR, AT(svg), 0, ROOM(svg), NULL, "",
     "draw the latencies, engine against floor"},
};

static const char *const command_names[TR_PERF_COMMANDS] = {
    "floor", "latency", "throughput", "sweep", "node", "instructions", "memory"};

static const char *const command_helps[TR_PERF_COMMANDS] = {
    "what a quorum costs on this machine without any consensus",
    "one command at a time, beside its floor",
    "a full window of commands, beside its floor",
    "latency against offered load, beside its floor",
    "a replica of a cluster of several machines, for a load elsewhere",
    "instructions of the consensus core for a command, counted by callgrind",
    "whether memory grows while the log wraps ten times",
};

const char *tr_perf_command_name(enum tr_perf_command command)
{
    return command < TR_PERF_COMMANDS ? command_names[command] : "?";
}

static void print_commands(FILE *out)
{
    fprintf(out, "usage: trireme-perf COMMAND [--OPTION VALUE]...\n\n");
    for (uint32_t i = 0; i < TR_PERF_COMMANDS; i++)
        fprintf(out, "  %-14s %s\n", command_names[i], command_helps[i]);
    fprintf(out, "\ntrireme-perf COMMAND --help tells the options of one; docs/performance.md tells"
                 " what the figures mean.\n");
}

static void print_options(FILE *out, enum tr_perf_command command)
{
    fprintf(out, "usage: trireme-perf %s [--OPTION VALUE]...\n%s\n\n", command_names[command],
            command_helps[command]);
    for (uint32_t i = 0; i < TR_ARRAY_COUNT(table); i++) {
        const struct option *o = &table[i];
        char left[48];
        if (!(o->commands & FOR(command)))
            continue;
        snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        fprintf(out, "  %-24s %s", left, o->help);
        if (o->initial != NULL && o->initial[0] != '\0' && strcmp(o->initial, "0") != 0)
            fprintf(out, "; default %s", o->initial);
        fputc('\n', out);
    }
}

static bool parse_number(const char *text, double *out)
{
    char *end = NULL;
    errno = 0;
    *out = strtod(text, &end);
    return errno == 0 && end != text && *end == '\0';
}

/* The place of a word in a list of words apart by a space; -1: not there. */
static int place_of(const char *choices, const char *word)
{
    size_t bytes = strlen(word);
    int place = 0;
    for (const char *at = choices; *at != '\0'; place++) {
        size_t length = strcspn(at, " ");
        if (length == bytes && strncmp(at, word, bytes) == 0)
            return place;
        at += length;
        at += *at == ' ';
    }
    return -1;
}

static bool parse_cores(const char *text, struct tr_perf_options *options)
{
    options->core_count = 0;
    for (const char *at = text;;) {
        char *end = NULL;
        long cpu = strtol(at, &end, 10);
        if (end == at || cpu < 0 || cpu >= TR_PERF_CPUS_MAX ||
            options->core_count == TR_ARRAY_COUNT(options->cores))
            return false;
        options->cores[options->core_count++] = (int)cpu;
        if (*end == '\0')
            return true;
        if (*end != ',')
            return false;
        at = end + 1;
    }
}

static bool set_number(const struct option *o, void *field, const char *text)
{
    double number = 0;
    if (!parse_number(text, &number) || number < o->low || number > o->high)
        return false;
    if (o->kind == KIND_REAL) {
        memcpy(field, &number, sizeof(number));
        return true;
    }
    uint64_t whole = (uint64_t)number;
    if ((double)whole != number || (o->kind == KIND_POWER && !tr_is_power_of_two(whole)))
        return false;
    memcpy(field, &whole, sizeof(whole));
    return true;
}

/* Says what a value may be. */
static void say_range(const struct option *o, const char *text, char *error, size_t error_bytes)
{
    switch (o->kind) {
    case KIND_TEXT:
        snprintf(error, error_bytes, "--%s: at most %.0f characters", o->name, o->high - 1);
        break;
    case KIND_WHOLE:
    case KIND_POWER:
    case KIND_REAL:
        snprintf(error, error_bytes, "--%s %s: must be a %s from %g to %g", o->name, text,
                 o->kind == KIND_POWER   ? "power of two"
                 : o->kind == KIND_WHOLE ? "whole number"
                                         : "number",
                 o->low, o->high);
        break;
    case KIND_CHOICE:
        snprintf(error, error_bytes, "--%s %s: must be one of %s", o->name, text, o->choices);
        break;
    case KIND_CORES:
        snprintf(error, error_bytes, "--%s %s: must be CPU numbers apart by commas, at most %zu",
                 o->name, text, TR_ARRAY_COUNT(((struct tr_perf_options *)0)->cores));
        break;
    case KIND_FLAG:
        snprintf(error, error_bytes, "--%s takes no value", o->name);
        break;
    }
}

static bool set_option(const struct option *o, struct tr_perf_options *options, const char *text,
                       char *error, size_t error_bytes)
{
    void *field = (char *)options + o->offset;
    bool is_set = false;
    uint64_t place = 0;
    switch (o->kind) {
    case KIND_TEXT:
        is_set = strlen(text) < (size_t)o->high;
        if (is_set)
            memcpy(field, text, strlen(text) + 1);
        break;
    case KIND_WHOLE:
    case KIND_POWER:
    case KIND_REAL:
        is_set = set_number(o, field, text);
        break;
    case KIND_CHOICE:
        is_set = place_of(o->choices, text) >= 0;
        place = is_set ? (uint64_t)place_of(o->choices, text) : 0;
        if (is_set)
            memcpy(field, &place, sizeof(place));
        break;
    case KIND_FLAG:
        place = 1;
        memcpy(field, &place, sizeof(place));
        is_set = true;
        break;
    case KIND_CORES:
        is_set = parse_cores(text, options);
        break;
    }
    if (!is_set)
        say_range(o, text, error, error_bytes);
    return is_set;
}

static const struct option *find_option(const char *name, size_t bytes)
{
    for (uint32_t i = 0; i < TR_ARRAY_COUNT(table); i++)
        if (strlen(table[i].name) == bytes && strncmp(table[i].name, name, bytes) == 0)
            return &table[i];
    return NULL;
}

/* What only goes with a certain driver, and replicas whose addresses are given. */
static bool check_places(struct tr_perf_options *options, char *error, size_t error_bytes)
{
    struct tr_perf_peer peers[TR_VOTERS_MAX];
    uint32_t count = 0;
    bool is_dpdk = strcmp(options->driver, "dpdk") == 0;
    if (options->veth != TR_PERF_VETH_OFF &&
        (!is_dpdk || options->node != 0 || tr_perf_list_has(options->driver_options, "device") ||
         tr_perf_list_has(options->driver_options, "memif"))) {
        snprintf(error, error_bytes,
                 "--veth is of the driver dpdk on one machine, instead of a device or memif");
        return false;
    }
    if (options->client == TR_PERF_CLIENT_REMOTE &&
        (is_dpdk || strcmp(options->driver, "verbs") == 0)) {
        snprintf(error, error_bytes, "--client remote: this command has none over %s",
                 options->driver);
        return false;
    }
    if (options->node != 0 || options->peers[0] == '\0')
        return true;
    if (tr_perf_peers_parse(options->peers, peers, &count, error, error_bytes) != TR_OK)
        return false;
    options->replicas = count;
    return true;
}

/* Defaults that depend on the command, the machine or other options. */
static bool fill_in(struct tr_perf_options *options, char *error, size_t error_bytes)
{
    if (options->mode == TR_PERF_OPEN && options->rate <= 0) {
        snprintf(error, error_bytes, "--mode open needs --rate N, the commands a second");
        return false;
    }
    if (options->mode == TR_PERF_CLOSED && options->rate > 0) {
        snprintf(error, error_bytes, "--rate is of the open loop: add --mode open");
        return false;
    }
    if ((options->node != 0 && options->peers[0] == '\0') ||
        (options->command == TR_PERF_NODE && options->node == 0)) {
        snprintf(error, error_bytes, "a cluster of several machines needs both --node and --peers");
        return false;
    }
    if (options->stopped && (options->mode == TR_PERF_OPEN || options->node != 0)) {
        snprintf(error, error_bytes, "--stopped is of the closed loop on one machine");
        return false;
    }
    if (options->client == TR_PERF_CLIENT_REMOTE && options->node != 0) {
        snprintf(error, error_bytes, "--client remote is for replicas on one machine");
        return false;
    }
    if (!check_places(options, error, error_bytes))
        return false;
    if (options->window == 0) {
        bool is_single = options->mode == TR_PERF_CLOSED &&
                         (options->command == TR_PERF_LATENCY || options->command == TR_PERF_FLOOR);
        options->window = is_single ? 1 : 1024;
    }
    if (options->core_count == 0) {
        int cpus[2];
        options->core_count = tr_perf_cpus(cpus, 2);
        memcpy(options->cores, cpus, options->core_count * sizeof(*cpus));
    }
    return true;
}

/* One option of argv, and its value. Returns: arguments used; 0 with `error` set. */
static int parse_one(int left, char **argv, struct tr_perf_options *options, char *error,
                     size_t error_bytes)
{
    const char *name = argv[0] + 2;
    size_t bytes = strcspn(name, "=");
    const struct option *o = strncmp(argv[0], "--", 2) == 0 ? find_option(name, bytes) : NULL;
    const char *value = name[bytes] == '=' ? name + bytes + 1 : NULL;
    int used = 1;
    if (o == NULL || !(o->commands & FOR(options->command))) {
        snprintf(error, error_bytes, "%s: no such option of %s; try --help", argv[0],
                 command_names[options->command]);
        return 0;
    }
    if (value == NULL && o->kind != KIND_FLAG) {
        if (left < 2) {
            snprintf(error, error_bytes, "--%s needs a value", o->name);
            return 0;
        }
        value = argv[1];
        used = 2;
    } else if (value != NULL && o->kind == KIND_FLAG) {
        say_range(o, value, error, error_bytes);
        return 0;
    }
    return set_option(o, options, value, error, error_bytes) ? used : 0;
}

static bool asks_for_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

enum tr_perf_parsed tr_perf_options_parse(int argc, char **argv, struct tr_perf_options *options,
                                          FILE *out, char *error, size_t error_bytes)
{
    uint32_t command = 0;
    memset(options, 0, sizeof(*options));
    if (argc < 2) {
        snprintf(error, error_bytes, "a command is missing; trireme-perf --help lists them");
        return TR_PERF_PARSED_ERROR;
    }
    if (asks_for_help(argv[1])) {
        print_commands(out);
        return TR_PERF_PARSED_HELP;
    }
    if (strcmp(argv[1], "--version") == 0) {
        fprintf(out, "trireme-perf %s\n", tr_version());
        return TR_PERF_PARSED_HELP;
    }
    while (command < TR_PERF_COMMANDS && strcmp(argv[1], command_names[command]) != 0)
        command++;
    if (command == TR_PERF_COMMANDS) {
        snprintf(error, error_bytes, "%s: no such command; trireme-perf --help lists them",
                 argv[1]);
        return TR_PERF_PARSED_ERROR;
    }
    options->command = (enum tr_perf_command)command;
    for (uint32_t i = 0; i < TR_ARRAY_COUNT(table); i++)
        if (table[i].initial != NULL &&
            !set_option(&table[i], options, table[i].initial, error, error_bytes))
            return TR_PERF_PARSED_ERROR;
    for (int i = 2; i < argc;) {
        if (asks_for_help(argv[i])) {
            print_options(out, options->command);
            return TR_PERF_PARSED_HELP;
        }
        int used = parse_one(argc - i, argv + i, options, error, error_bytes);
        if (used == 0)
            return TR_PERF_PARSED_ERROR;
        i += used;
    }
    return fill_in(options, error, error_bytes) ? TR_PERF_PARSED_RUN : TR_PERF_PARSED_ERROR;
}
