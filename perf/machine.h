/* What a run must know of the machine: CPUs, steal, load; and how to hold on to a CPU. */
#ifndef TR_PERF_MACHINE_H
#define TR_PERF_MACHINE_H

#include "trireme/trireme.h"

#include "base/types.h"

TR_BEGIN_C

#define TR_PERF_CPUS_MAX 1024

/* CPUs that this process may use, in ascending order. Returns: how many, at most `max`. */
uint32_t tr_perf_cpus(int *cpus, uint32_t max);

/* Pins the calling thread. Returns: 0, or TR_EINVAL when the CPU is not there or not ours. */
int tr_perf_pin(int cpu);

/* Lets the calling thread run on any of the given CPUs again. */
void tr_perf_unpin(const int *cpus, uint32_t count);

/* The model of the first CPU, or "unknown CPU". */
void tr_perf_cpu_model(char *text, size_t bytes);

/* Time of all CPUs since boot, in clock ticks: /proc/stat. */
struct tr_perf_cpu_time {
    uint64_t total;
    uint64_t steal; /* taken by other guests of the host */
};

/* Reads it. Returns: all zero where there is no such file. */
struct tr_perf_cpu_time tr_perf_cpu_time_now(void);

/* Parses the first line of /proc/stat. Returns: false when it is not one. */
bool tr_perf_cpu_time_parse(const char *line, struct tr_perf_cpu_time *out);

/* The share of all CPUs' time that was stolen between two readings, 0 to 1. */
double tr_perf_steal(struct tr_perf_cpu_time before, struct tr_perf_cpu_time after);

/* Runnable threads, averaged over the last minute; 0 where the system does not tell. */
double tr_perf_load_average(void);

/* The idle strategy that TR_IDLE_AUTO means for this many polling threads on these CPUs: spin while
 * each has a CPU of its own, else yield. Others stay what they are. */
enum tr_idle tr_perf_idle_resolve(enum tr_idle idle, const int *cpus, uint32_t threads);

/* The name of a strategy as in --idle. */
const char *tr_perf_idle_name(enum tr_idle idle);

TR_END_C

#endif
