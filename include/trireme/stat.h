/* Counters and stage histograms of a running node, read from its shared-memory segment without
 * stopping anything. */
#ifndef TRIREME_STAT_H
#define TRIREME_STAT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct tr_stat;

enum tr_stat_kind { TR_STAT_COUNTER = 0, TR_STAT_GAUGE = 1, TR_STAT_HISTOGRAM = 2 };

/** One figure. Histograms are of nanoseconds. */
struct tr_stat_row {
    const char *name;  /* "replicate", "rx_messages", ... valid until tr_stat_close */
    const char *scope; /* "node", "lcore 0", "group 3", "port 0" */
    const char *help;
    enum tr_stat_kind kind;
    uint64_t value; /* counters and gauges; histograms: the count */
    uint64_t p50_ns, p99_ns, p999_ns, max_ns;
};

/** Opens the counters segment by its name ("CLUSTER.NODE"). Returns 0, TR_ENOENT (no such node
 * here), TR_EPERM, TR_EVERSION, TR_EPROTO (not such a segment). Thread: any. */
int tr_stat_open(const char *name, struct tr_stat **out, char *error, size_t error_bytes);
/** Reads row `index`. Returns 0, or TR_ENOENT past the last. Thread: one a handle. */
int tr_stat_row(struct tr_stat *stat, uint32_t index, struct tr_stat_row *out);
/** 1 while the node's process lives, 0 when it is gone. */
int tr_stat_alive(const struct tr_stat *stat);
/** The names of all segments on this machine, one call of `each` a name. Thread: any. */
void tr_stat_list(void (*each)(void *context, const char *name), void *context);
void tr_stat_close(struct tr_stat *stat);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
