/* memory: whether what the engine holds grows while its log wraps. */
#include "perf/commands.h"
#include "perf/report.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The wraps between which memory is compared. */
#define FIRST_WRAP 1
#define LAST_WRAP  10

/* What it may grow by. */
#define GROWTH_MAX_BYTES (UINT64_C(1) << 20)

/* A log that has not wrapped so often by then never will. */
#define SLICES_MAX 4096

/* A figure of /proc/self/status, in bytes; 0 when there is none. */
static uint64_t status_bytes(const char *key)
{
    char line[256];
    uint64_t kib = 0;
    size_t length = strlen(key);
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            kib = strtoull(line + length + 1, NULL, 10);
    if (file != NULL)
        fclose(file);
    return kib * 1024;
}

/* Blocks of the files in /dev/shm whose name has the cluster's in it. */
static uint64_t shared_bytes(const char *cluster)
{
    uint64_t bytes = 0;
    DIR *directory = opendir("/dev/shm");
    struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        struct stat file;
        if (strstr(entry->d_name, cluster) != NULL &&
            fstatat(dirfd(directory), entry->d_name, &file, AT_SYMLINK_NOFOLLOW) == 0)
            bytes += (uint64_t)file.st_blocks * 512;
    }
    if (directory != NULL)
        closedir(directory);
    return bytes;
}

static struct tr_perf_memory memory_now(const struct tr_perf_run *run)
{
    return (struct tr_perf_memory){
        .resident = status_bytes("VmRSS"),
        .huge_pages = status_bytes("HugetlbPages"),
        .shared = shared_bytes(tr_perf_engine_cluster(run->engine)),
        .log_wraps = tr_perf_engine_laps(run->engine),
    };
}

static uint64_t sum_of(const struct tr_perf_memory *m)
{
    return m->resident + m->huge_pages + m->shared;
}

/* Offers load until the log has wrapped so often. */
static int wrap(struct tr_perf_run *run, struct tr_perf_pairs *pairs, uint64_t wraps, char *error,
                size_t error_bytes)
{
    uint64_t laps = 0;
    for (uint32_t i = 0; i < SLICES_MAX && !run->is_interrupted; i++) {
        struct tr_perf_slice slice;
        int result = tr_perf_run_engine_slice(run, &pairs->offer, &pairs->engine, &slice, error,
                                              error_bytes);
        if (result != TR_OK)
            return result;
        pairs->engine_commands += slice.completed;
        pairs->engine_seconds += tr_perf_slice_seconds(&slice);
        laps = tr_perf_engine_laps(run->engine);
        run->is_interrupted = tr_perf_signals_came();
        if (laps >= wraps)
            return TR_OK;
    }
    snprintf(error, error_bytes, "the log wrapped %" PRIu64 " times, not %" PRIu64, laps, wraps);
    return TR_ETIMEOUT;
}

static void print_memory(const char *name, const struct tr_perf_memory *m)
{
    const double mib = 1 << 20;
    printf("  %-12s %10.2f %12.2f %12.2f %12.2f   after %" PRIu64 " wraps, %" PRIu64 " commands\n",
           name, (double)m->resident / mib, (double)m->huge_pages / mib, (double)m->shared / mib,
           (double)sum_of(m) / mib, m->log_wraps, m->commands);
}

static int measure(struct tr_perf_run *run, struct tr_perf_pairs *pairs, char *error,
                   size_t error_bytes)
{
    struct tr_perf_memory memory[2];
    struct tr_perf_engine_result result;
    static const uint64_t wraps[2] = {FIRST_WRAP, LAST_WRAP};
    int answer = TR_OK;
    tr_perf_run_follow_begin(run);
    for (uint32_t i = 0; i < 2 && answer == TR_OK; i++) {
        answer = wrap(run, pairs, wraps[i], error, error_bytes);
        memory[i] = memory_now(run);
        memory[i].commands = pairs->engine_commands;
    }
    int ended = tr_perf_run_follow_end(run);
    if (answer == TR_OK)
        answer = ended;
    if (answer == TR_OK)
        answer = tr_perf_run_finish(run, &result, error, error_bytes);
    if (answer != TR_OK)
        return answer;
    printf("memory of %u replicas over %s in one process, MiB\n  %-12s %10s %12s %12s %12s\n",
           result.replicas, run->options->driver, "", "VmRSS", "huge pages", "/dev/shm", "sum");
    print_memory("first wrap", &memory[0]);
    print_memory("last wrap", &memory[1]);
    struct tr_perf_findings findings = {.pairs = pairs, .result = &result, .memory = memory};
    answer = tr_perf_report_files(run, &findings, error, error_bytes);
    if (answer == TR_OK && sum_of(&memory[1]) > sum_of(&memory[0]) + GROWTH_MAX_BYTES) {
        snprintf(error, error_bytes, "memory grew by more than 1 MiB between the wraps");
        answer = TR_ENOMEM;
    }
    return answer;
}

int tr_perf_command_memory(const struct tr_perf_options *options)
{
    char error[512] = "";
    struct tr_perf_run *run = NULL;
    struct tr_perf_pairs *pairs = calloc(1, sizeof(*pairs));
    if (pairs == NULL)
        return tr_perf_fail("out of memory");
    pairs->offer = (struct tr_perf_offer){
        .mode = TR_PERF_CLOSED, .window = (uint32_t)options->window, .slice_seconds = 0.02};
    tr_histogram_reset(&pairs->engine);
    tr_histogram_reset(&pairs->floor);
    int result =
        tr_perf_run_open(options, TR_PERF_SIDE_ENGINE, &pairs->offer, &run, error, sizeof(error));
    if (result == TR_OK)
        result = measure(run, pairs, error, sizeof(error));
    int status = result != TR_OK       ? tr_perf_fail(error)
                 : run->is_interrupted ? TR_PERF_EXIT_INTERRUPTED
                                       : 0;
    if (run != NULL)
        tr_perf_run_close(run);
    free(pairs);
    return status;
}
