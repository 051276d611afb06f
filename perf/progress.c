#include "perf/progress.h"

#include "perf/clock.h"

#include <unistd.h>

/* A line at most so often: on a terminal, and elsewhere. */
#define TERMINAL_NS  UINT64_C(100000000)
#define ELSEWHERE_NS UINT64_C(1000000000)

struct tr_perf_progress tr_perf_progress_begin(FILE *out, const char *label, uint32_t total)
{
    struct tr_perf_progress progress = {.out = out, .label = label, .total = total};
    progress.is_terminal = isatty(fileno(out)) == 1;
    progress.begin_ns = progress.shown_ns = tr_perf_now_ns();
    return progress;
}

void tr_perf_progress_step(struct tr_perf_progress *progress, uint32_t done)
{
    uint64_t now_ns = tr_perf_now_ns();
    double passed = (double)(now_ns - progress->begin_ns) / 1e9;
    if (now_ns - progress->shown_ns < (progress->is_terminal ? TERMINAL_NS : ELSEWHERE_NS))
        return;
    double left = done ? passed / done * (progress->total - done) : 0;
    fprintf(progress->out, "%s%s: %u of %u, %.0f s, %.0f s left%s",
            progress->is_terminal ? "\r\033[K" : "", progress->label, done, progress->total, passed,
            left, progress->is_terminal ? "" : "\n");
    fflush(progress->out);
    progress->shown_ns = now_ns;
    progress->is_shown = true;
}

void tr_perf_progress_end(struct tr_perf_progress *progress)
{
    if (progress->is_terminal && progress->is_shown)
        fputs("\r\033[K", progress->out);
    fflush(progress->out);
}
