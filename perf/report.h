/* What a run found: a table for people, and the files. */
#ifndef TR_PERF_REPORT_H
#define TR_PERF_REPORT_H

#include "perf/chart.h"
#include "perf/run.h"

TR_BEGIN_C

/* Memory of the run's process at one moment, in bytes. */
struct tr_perf_memory {
    uint64_t resident;   /* VmRSS */
    uint64_t huge_pages; /* HugetlbPages */
    uint64_t shared;     /* blocks of the cluster's segments in /dev/shm */
    uint64_t log_wraps;
    uint64_t commands;
};

/* Everything that may have been found. */
struct tr_perf_findings {
    const struct tr_perf_pairs *pairs;
    const struct tr_perf_engine_result *result; /* NULL: there was no engine */
    const struct tr_perf_load_point *points;    /* of a sweep, else NULL */
    uint32_t point_count;
    const struct tr_perf_memory *memory; /* at the first wrap and at the last, else NULL */
};

/* The line that says what was run: "shm one-sided, 3 replicas, 64 B, closed loop, ...". */
void tr_perf_report_text(char *text, size_t bytes, const struct tr_perf_run *run,
                         const struct tr_perf_pairs *pairs);

/* Prints engine beside floor. */
void tr_perf_report_print(FILE *out, const struct tr_perf_run *run,
                          const struct tr_perf_findings *findings);

/* Prints every variant of the floor that was tried. */
void tr_perf_report_variants(FILE *out, const struct tr_perf_run *run,
                             const struct tr_perf_offer *offer);

/* Prints the loads of a sweep. */
void tr_perf_report_sweep(FILE *out, const struct tr_perf_load_point *points, uint32_t count);

/* Writes the files that the options name. Returns: 0, or TR_ESYS with a sentence in `error`. */
int tr_perf_report_files(const struct tr_perf_run *run, const struct tr_perf_findings *findings,
                         char *error, size_t error_bytes);

TR_END_C

#endif
