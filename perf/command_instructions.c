/* instructions: what a command costs the consensus core, counted by callgrind: core-load runs
 * twice, with so many slots and with twice as many, and the difference is divided by the commands
 * between. */
#include "perf/callgrind.h"
#include "perf/commands.h"
#include "perf/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Slots of the first run; the second has twice as many. */
#define SLOTS 10240

/* Whose calls are counted: the driver of the core, and of the dataplane. */
#define CORE_FILE  "perf/core_cluster.c"
#define PLANE_FILE "perf/core_load.c"

struct column {
    const char *title;
    uint32_t batch, sessions;
    uint32_t window; /* slots in flight */
    double goal;     /* instructions in tr_replica_step; 0: none stated */
};

static const struct column columns[] = {
    {"one at a time", 1, 1, 1, 0},           {"1 a slot, 1024 of them", 1, 1, 1024, 400},
    {"32, one slot at a time", 32, 1, 1, 0}, {"32 a slot, 32 of them", 32, 1, 32, 40},
    {"of 32 sessions", 32, 32, 32, 0},
};

struct way {
    const char *name; /* of core-load */
    const char *title;
    const char *caller_file;
};

static const struct way ways[] = {
    {"messages", "core, messages", CORE_FILE},
    {"one-sided", "core, one-sided", CORE_FILE},
    {"plane-messages", "dataplane, messages", PLANE_FILE},
    {"plane-one-sided", "dataplane, one-sided", PLANE_FILE},
};

/* Functions that belong together in the table, by the beginning of their names. */
struct part {
    const char *title;
    const char *const prefixes[4];
    bool is_core; /* else the whole dataplane */
};

static const struct part parts[] = {
    {"tr_replica_step", {"tr_replica_step"}, true},
    {"beside the step: encoders, rings, look-ups", {"tr_replica_", "tr_ring_"}, true},
    {"apply stage: sessions", {"tr_sessions_", "tr_run"}, true},
    {"tr_submit, tr_poll: everything", {"tr_submit", "tr_poll"}, false},
};

#define WAYS    TR_ARRAY_COUNT(ways)
#define COLUMNS TR_ARRAY_COUNT(columns)
#define PARTS   TR_ARRAY_COUNT(parts)

struct table {
    double cell[WAYS][COLUMNS][PARTS]; /* instructions a command */
};

/* The path of core-load, beside this program. */
static bool core_load_path(char *path, size_t bytes)
{
    ssize_t length = readlink("/proc/self/exe", path, bytes - 1);
    if (length <= 0)
        return false;
    path[length] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL || (size_t)(slash - path) + sizeof("/core-load") > bytes)
        return false;
    memcpy(slash, "/core-load", sizeof("/core-load"));
    return access(path, X_OK) == 0;
}

/* Runs core-load under callgrind; what it prints goes to stderr if it fails. */
static int run_callgrind(const char *path, const char *profile, const struct way *way,
                         const struct column *column, uint64_t slots, uint64_t size_bytes)
{
    char out[320], count[24], batch[24], sessions[24], size[24], window[24];
    int status = 0;
    snprintf(out, sizeof(out), "--callgrind-out-file=%s", profile);
    snprintf(count, sizeof(count), "%" PRIu64, slots);
    snprintf(batch, sizeof(batch), "%u", column->batch);
    snprintf(sessions, sizeof(sessions), "%u", column->sessions);
    snprintf(size, sizeof(size), "%" PRIu64, size_bytes);
    snprintf(window, sizeof(window), "%u", column->window);
    pid_t child = fork();
    if (child < 0)
        return TR_ESYS;
    if (child == 0) {
        execlp("valgrind", "valgrind", "--tool=callgrind", "--quiet", out, path, way->name, count,
               batch, sessions, size, window, (char *)NULL);
        _exit(127);
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return TR_ESYS;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return TR_ENOENT;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? TR_OK : TR_EIO;
}

/* The part of the table that a function is counted in; PARTS: none. */
static uint32_t part_of(const char *name, bool is_core)
{
    for (uint32_t i = 0; i < PARTS; i++)
        for (uint32_t p = 0; p < TR_ARRAY_COUNT(parts[i].prefixes); p++) {
            const char *prefix = parts[i].prefixes[p];
            if (parts[i].is_core == is_core && prefix != NULL &&
                strncmp(name, prefix, strlen(prefix)) == 0)
                return i;
        }
    return PARTS;
}

/* Adds what the calls cost, once (sign 1) or taken away (sign -1). */
static void add_calls(double *cells, const struct tr_perf_calls *calls, bool is_core, double sign,
                      double commands)
{
    for (uint32_t i = 0; i < calls->count; i++) {
        uint32_t part = part_of(calls->call[i].name, is_core);
        if (part < PARTS)
            cells[part] += sign * (double)calls->call[i].instructions / commands;
    }
}

/* One cell of the table: two runs. */
static int count(const char *path, const struct way *way, const struct column *column,
                 uint64_t size_bytes, double *cells, char *error, size_t error_bytes)
{
    char profile[] = "/tmp/trireme-perf-XXXXXX";
    struct tr_perf_calls *calls = malloc(sizeof(*calls));
    int fd = mkstemp(profile);
    int result = calls != NULL && fd >= 0 ? TR_OK : TR_ESYS;
    for (uint64_t times = 1; times <= 2 && result == TR_OK; times++) {
        result = run_callgrind(path, profile, way, column, SLOTS * times, size_bytes);
        FILE *file = result == TR_OK ? fopen(profile, "r") : NULL;
        if (file == NULL || !tr_perf_callgrind_read(file, way->caller_file, calls))
            result = result == TR_OK ? TR_EPROTO : result;
        if (file != NULL)
            fclose(file);
        if (result == TR_OK)
            add_calls(cells, calls, strcmp(way->caller_file, CORE_FILE) == 0, times == 1 ? -1 : 1,
                      (double)SLOTS * column->batch);
    }
    if (result == TR_ENOENT)
        snprintf(error, error_bytes, "valgrind is not installed: apt-get install valgrind");
    else if (result != TR_OK)
        snprintf(error, error_bytes, "core-load %s under callgrind: %s", way->name,
                 tr_strerror(result));
    if (fd >= 0) {
        close(fd);
        unlink(profile);
    }
    free(calls);
    return result;
}

static void print_table(const struct table *table, uint64_t size_bytes)
{
    printf("instructions a command of %" PRIu64 " B, three replicas summed; callgrind, "
           "(2N - N) / N, N = %d slots\n  %-46s",
           size_bytes, SLOTS, "");
    for (uint32_t c = 0; c < COLUMNS; c++)
        printf(" %24s", columns[c].title);
    printf("\n");
    for (uint32_t w = 0; w < WAYS; w++) {
        bool is_core = strcmp(ways[w].caller_file, CORE_FILE) == 0;
        printf("%s\n", ways[w].title);
        for (uint32_t p = 0; p < PARTS; p++) {
            if (parts[p].is_core != is_core)
                continue;
            printf("  %-46s", parts[p].title);
            for (uint32_t c = 0; c < COLUMNS; c++)
                printf(" %24.1f", table->cell[w][c][p]);
            printf("\n");
        }
    }
    printf("%-48s", "goal for tr_replica_step");
    for (uint32_t c = 0; c < COLUMNS; c++)
        if (columns[c].goal > 0)
            printf(" %20s%4.0f", "<= ", columns[c].goal);
        else
            printf(" %24s", "");
    printf("\n");
}

static void put_cells(struct tr_perf_json *json, const struct table *table, uint32_t w, uint32_t c)
{
    bool is_core = strcmp(ways[w].caller_file, CORE_FILE) == 0;
    tr_perf_json_open_object(json, NULL);
    tr_perf_json_text(json, "way", ways[w].name);
    tr_perf_json_integer(json, "batch", columns[c].batch);
    tr_perf_json_integer(json, "sessions", columns[c].sessions);
    tr_perf_json_integer(json, "window", columns[c].window);
    if (is_core) {
        tr_perf_json_number(json, "step", table->cell[w][c][0]);
        tr_perf_json_number(json, "beside_step", table->cell[w][c][1]);
        tr_perf_json_number(json, "sessions_apply", table->cell[w][c][2]);
    } else {
        tr_perf_json_number(json, "dataplane", table->cell[w][c][3]);
    }
    tr_perf_json_close_object(json);
}

static int write_json(const char *path, const struct table *table, uint64_t size_bytes, char *error,
                      size_t error_bytes)
{
    FILE *file = path[0] != '\0' ? fopen(path, "w") : NULL;
    if (path[0] == '\0')
        return TR_OK;
    if (file == NULL) {
        snprintf(error, error_bytes, "cannot write %s: %s", path, strerror(errno));
        return TR_ESYS;
    }
    struct tr_perf_json json = tr_perf_json_begin(file);
    tr_perf_json_text(&json, "command", "instructions");
    tr_perf_json_text(&json, "version", tr_version());
    tr_perf_json_integer(&json, "replicas", 3);
    tr_perf_json_integer(&json, "size_bytes", size_bytes);
    tr_perf_json_text(&json, "durability", "memory");
    tr_perf_json_integer(&json, "slots", SLOTS);
    tr_perf_json_open_array(&json, "instructions_per_command");
    for (uint32_t w = 0; w < WAYS; w++)
        for (uint32_t c = 0; c < COLUMNS; c++)
            put_cells(&json, table, w, c);
    tr_perf_json_close_array(&json);
    tr_perf_json_end(&json);
    fclose(file);
    return TR_OK;
}

int tr_perf_command_instructions(const struct tr_perf_options *options)
{
    char error[512] = "";
    char path[512];
    struct table table;
    int result = TR_OK;
    memset(&table, 0, sizeof(table));
    if (!core_load_path(path, sizeof(path)))
        return tr_perf_fail("core-load is not beside trireme-perf");
    for (uint32_t w = 0; w < WAYS; w++)
        for (uint32_t c = 0; c < COLUMNS && result == TR_OK; c++) {
            fprintf(stderr, "instructions: %s, %s\n", ways[w].title, columns[c].title);
            result = count(path, &ways[w], &columns[c], options->size_bytes, table.cell[w][c],
                           error, sizeof(error));
        }
    if (result == TR_OK) {
        print_table(&table, options->size_bytes);
        result = write_json(options->json, &table, options->size_bytes, error, sizeof(error));
    }
    return result == TR_OK ? 0 : tr_perf_fail(error);
}
