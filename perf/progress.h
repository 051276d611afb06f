/* The line that tells on stderr how far a long run is: rewritten in place on a terminal, else a new
 * line a second. Nothing in runs that end within a second. */
#ifndef TR_PERF_PROGRESS_H
#define TR_PERF_PROGRESS_H

#include "base/types.h"

#include <stdio.h>

TR_BEGIN_C

struct tr_perf_progress {
    FILE *out;
    const char *label;
    uint32_t total;
    bool is_terminal;
    bool is_shown;
    uint64_t begin_ns;
    uint64_t shown_ns;
};

/* Begins a run of so many steps. Owns: the caller keeps the label and the stream. */
struct tr_perf_progress tr_perf_progress_begin(FILE *out, const char *label, uint32_t total);
/* So many are done. */
void tr_perf_progress_step(struct tr_perf_progress *progress, uint32_t done);
/* Wipes the line. */
void tr_perf_progress_end(struct tr_perf_progress *progress);

TR_END_C

#endif
