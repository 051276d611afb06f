/* floor, latency and throughput: pairs of slices of one offer. */
#include "perf/commands.h"
#include "perf/report.h"

#include <stdlib.h>

int tr_perf_fail(const char *error)
{
    fprintf(stderr, "trireme-perf: %s\n", error);
    return TR_PERF_EXIT_FAILED;
}

/* The pairs and their report. Returns: 0 or a negative code with `error`. */
static int measure(struct tr_perf_run *run, const struct tr_perf_offer *offer, uint32_t count,
                   struct tr_perf_pairs *pairs, char *error, size_t error_bytes)
{
    struct tr_perf_engine_result result;
    struct tr_perf_findings findings = {.pairs = pairs};
    const char *label = tr_perf_command_name(run->options->command);
    int answer = tr_perf_run_pairs(run, offer, count, label, pairs, error, error_bytes);
    if (answer == TR_OK && run->engine != NULL) {
        answer = tr_perf_run_finish(run, &result, error, error_bytes);
        findings.result = &result;
    }
    if (answer != TR_OK && answer != TR_ECORRUPT)
        return answer;
    if (run->options->variants)
        tr_perf_report_variants(stdout, run, offer);
    tr_perf_report_print(stdout, run, &findings);
    if (answer != TR_OK)
        return answer;
    return tr_perf_report_files(run, &findings, error, error_bytes);
}

int tr_perf_command_load(const struct tr_perf_options *options)
{
    char error[512] = "";
    uint32_t count = 0;
    struct tr_perf_offer offer = tr_perf_offer_of(options, &count);
    struct tr_perf_run *run = NULL;
    struct tr_perf_pairs *pairs = malloc(sizeof(*pairs));
    if (pairs == NULL)
        return tr_perf_fail("out of memory");
    enum tr_perf_sides sides =
        options->command == TR_PERF_FLOOR ? TR_PERF_SIDE_FLOOR : TR_PERF_SIDE_BOTH;
    int result = tr_perf_run_open(options, sides, &offer, &run, error, sizeof(error));
    if (result == TR_OK)
        result = measure(run, &offer, count, pairs, error, sizeof(error));
    int status = result != TR_OK       ? tr_perf_fail(error)
                 : run->is_interrupted ? TR_PERF_EXIT_INTERRUPTED
                                       : 0;
    if (run != NULL)
        tr_perf_run_close(run);
    free(pairs);
    return status;
}
