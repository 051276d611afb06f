/* trireme stat: counters and stage histograms of a running node, read from its shared memory. */
#include "commands.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <trireme/stat.h>
#include <trireme/trireme.h>

/* The names of at most so many nodes are listed. */
#define NODES_MAX 64
/* Rows of one node whose last values are kept, for rates. */
#define ROWS_MAX 4096

/* The options. */
struct stat_config {
    char *node;
    uint64_t interval_us;
    uint64_t count;
    uint64_t once;
    uint64_t json;
    uint64_t list;
};

#define AT(field) offsetof(struct stat_config, field)

static const struct cli_option rows[] = {
    {"node", CLI_TEXT, AT(node), "", 0, 0, NULL, "NAME",
     "The node, by the name of its counters: CLUSTER.ID unless it was given another one. Not "
     "needed "
     "where only one runs on this machine.",
     NULL},
    {"interval", CLI_US, AT(interval_us), "1s", 1000, UINT64_C(3600000000), NULL, "TIME",
     "Time between two reports.", NULL},
    {"count", CLI_COUNT, AT(count), "0", 0, UINT64_C(1) << 32, NULL, "REPORTS",
     "Ends after so many reports; 0: when the node is gone.", NULL},
    {"once", CLI_SWITCH, AT(once), "no", 0, 0, NULL, NULL, "One report, no rates.", NULL},
    {"json", CLI_SWITCH, AT(json), "no", 0, 0, NULL, NULL,
     "Each report as one JSON object on a line.", NULL},
    {"list", CLI_SWITCH, AT(list), "no", 0, 0, NULL, NULL,
     "Only the names of the nodes on this machine.", NULL},
};

const struct cli_options *stat_options(void)
{
    static const struct cli_options options = {
        .command = "stat",
        .usage = "[--node NAME] [OPTION...]",
        .summary = "Prints counters and stage histograms of a running node, without stopping it.",
        .text = "Counters are shown with their growth a second, histograms with their percentiles\n"
                "since the start of the node.\n",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
    };
    return &options;
}

/* ------------------------------------------------------------------ finding the node */

/* Names of nodes on this machine. */
struct names {
    char *list[NODES_MAX];
    uint32_t count;
};

static void add_name(void *context, const char *name)
{
    struct names *names = context;
    if (names->count < NODES_MAX && (names->list[names->count] = strdup(name)) != NULL)
        names->count++;
}

static void free_names(struct names *names)
{
    for (uint32_t at = 0; at < names->count; at++)
        free(names->list[at]);
}

static int list_nodes(void)
{
    struct names names = {.count = 0};
    tr_stat_list(add_name, &names);
    for (uint32_t at = 0; at < names.count; at++)
        puts(names.list[at]);
    free_names(&names);
    return 0;
}

/* Sets config->node to the only node there is, where none was named. Returns 1, or 0 and says so.
 */
static int choose_node(struct stat_config *config)
{
    struct names names = {.count = 0};
    if (config->node[0] != '\0')
        return 1;
    tr_stat_list(add_name, &names);
    if (names.count == 1) {
        free(config->node);
        config->node = names.list[0];
        return 1;
    }
    if (names.count == 0) {
        fputs("trireme stat: no node runs on this machine\n", stderr);
        return 0;
    }
    fputs("trireme stat: which node? Choose with --node:\n", stderr);
    for (uint32_t at = 0; at < names.count; at++)
        fprintf(stderr, "  %s\n", names.list[at]);
    free_names(&names);
    return 0;
}

/* ------------------------------------------------------------------ reports */

/* What a report needs of the one before it. */
struct memory {
    uint64_t values[ROWS_MAX];
    uint64_t taken_ns; /* 0: there was none */
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static const char *kind_text(enum tr_stat_kind kind)
{
    switch (kind) {
    case TR_STAT_COUNTER:
        return "counter";
    case TR_STAT_GAUGE:
        return "gauge";
    case TR_STAT_HISTOGRAM:
        return "histogram";
    }
    return "unknown";
}

static void print_json_string(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ')
            printf("\\u%04x", (unsigned)(unsigned char)*text);
        else if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else
            putchar(*text);
    }
    putchar('"');
}

static void print_json_row(const struct tr_stat_row *row, uint32_t index)
{
    printf("%s{\"scope\":", index == 0 ? "" : ",");
    print_json_string(row->scope);
    fputs(",\"name\":", stdout);
    print_json_string(row->name);
    printf(",\"kind\":\"%s\",\"value\":%" PRIu64, kind_text(row->kind), row->value);
    if (row->kind == TR_STAT_HISTOGRAM)
        printf(",\"p50_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64 ",\"p999_ns\":%" PRIu64
               ",\"max_ns\":%" PRIu64,
               row->p50_ns, row->p99_ns, row->p999_ns, row->max_ns);
    putchar('}');
}

static void print_json(struct tr_stat *stat, const char *node)
{
    struct tr_stat_row row;
    fputs("{\"node\":", stdout);
    print_json_string(node);
    printf(",\"alive\":%s,\"taken_ns\":%" PRIu64 ",\"rows\":[",
           tr_stat_alive(stat) ? "true" : "false", now_ns());
    for (uint32_t at = 0; tr_stat_row(stat, at, &row) == 0; at++)
        print_json_row(&row, at);
    puts("]}");
}

/* A time with the unit that suits it. */
static void format_ns(char *text, size_t text_bytes, uint64_t ns)
{
    if (ns < 10000)
        snprintf(text, text_bytes, "%" PRIu64 "ns", ns);
    else if (ns < 10000000)
        snprintf(text, text_bytes, "%.1fus", (double)ns / 1e3);
    else
        snprintf(text, text_bytes, "%.1fms", (double)ns / 1e6);
}

static void print_histogram(const struct tr_stat_row *row)
{
    char p50[32], p99[32], p999[32], most[32];
    format_ns(p50, sizeof(p50), row->p50_ns);
    format_ns(p99, sizeof(p99), row->p99_ns);
    format_ns(p999, sizeof(p999), row->p999_ns);
    format_ns(most, sizeof(most), row->max_ns);
    printf("  %-28s %14" PRIu64 "  p50 %-9s p99 %-9s p99.9 %-9s max %s\n", row->name, row->value,
           p50, p99, p999, most);
}

static void print_number(const struct tr_stat_row *row, uint64_t before, double seconds)
{
    printf("  %-28s %14" PRIu64, row->name, row->value);
    if (row->kind == TR_STAT_COUNTER && seconds > 0 && row->value >= before)
        printf("  %12.0f/s", (double)(row->value - before) / seconds);
    putchar('\n');
}

static void print_text(struct tr_stat *stat, const char *node, struct memory *memory)
{
    struct tr_stat_row row;
    char scope[64] = "";
    uint64_t taken_ns = now_ns();
    double seconds = memory->taken_ns == 0 ? 0 : (double)(taken_ns - memory->taken_ns) / 1e9;
    printf("%s%s\n", node, tr_stat_alive(stat) ? "" : " (gone)");
    for (uint32_t at = 0; at < ROWS_MAX && tr_stat_row(stat, at, &row) == 0; at++) {
        if (strcmp(scope, row.scope) != 0) {
            snprintf(scope, sizeof(scope), "%s", row.scope);
            printf(" %s\n", scope);
        }
        if (row.kind == TR_STAT_HISTOGRAM)
            print_histogram(&row);
        else
            print_number(&row, memory->values[at], seconds);
        memory->values[at] = row.value;
    }
    memory->taken_ns = taken_ns;
}

static void wait_us(uint64_t us)
{
    struct timespec time = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    nanosleep(&time, NULL);
}

static void report(struct tr_stat *stat, const struct stat_config *config)
{
    struct memory *memory = calloc(1, sizeof(*memory));
    if (memory == NULL)
        return;
    for (uint64_t at = 1;; at++) {
        if (config->json)
            print_json(stat, config->node);
        else
            print_text(stat, config->node, memory);
        fflush(stdout);
        if (config->once || at == config->count || !tr_stat_alive(stat))
            break;
        wait_us(config->interval_us);
    }
    free(memory);
}

static int show_node(struct stat_config *config)
{
    struct tr_stat *stat = NULL;
    char error[256] = "";
    if (!choose_node(config))
        return 1;
    int status = tr_stat_open(config->node, &stat, error, sizeof(error));
    if (status != 0) {
        fprintf(stderr, "trireme stat: node '%s': %s\n", config->node,
                error[0] != '\0' ? error : tr_strerror(status));
        return 1;
    }
    report(stat, config);
    tr_stat_close(stat);
    return 0;
}

int stat_main(int argc, char **argv)
{
    struct stat_config config = {0};
    char error[512];
    int status = 2;
    switch (cli_options_parse(stat_options(), &config, argc, argv, error, sizeof(error))) {
    case CLI_HELP:
        cli_options_print_help(stat_options(), stdout);
        status = 0;
        break;
    case CLI_WRONG:
        fprintf(stderr, "trireme stat: %s\n", error);
        break;
    case CLI_READY:
        status = config.list ? list_nodes() : show_node(&config);
        break;
    }
    cli_options_release(stat_options(), &config);
    return status;
}
