#include "perf/machine.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t tr_perf_cpus(int *cpus, uint32_t max)
{
    cpu_set_t set;
    uint32_t count = 0;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && count < max; cpu++)
        if (CPU_ISSET(cpu, &set))
            cpus[count++] = cpu;
    return count;
}

int tr_perf_pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return TR_EINVAL;
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof(set), &set) == 0 ? TR_OK : TR_EINVAL;
}

void tr_perf_unpin(const int *cpus, uint32_t count)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (uint32_t i = 0; i < count; i++)
        CPU_SET(cpus[i], &set);
    sched_setaffinity(0, sizeof(set), &set);
}

void tr_perf_cpu_model(char *text, size_t bytes)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(text, bytes, "unknown CPU");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL)
            continue;
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(text, bytes, "%s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    if (file != NULL)
        fclose(file);
}

bool tr_perf_cpu_time_parse(const char *line, struct tr_perf_cpu_time *out)
{
    /* user nice system idle iowait irq softirq steal; guest time is part of user time. */
    uint64_t field[8] = {0};
    const char *at = line + 4;
    struct tr_perf_cpu_time time = {0, 0};
    if (strncmp(line, "cpu ", 4) != 0)
        return false;
    for (uint32_t i = 0; i < TR_ARRAY_COUNT(field); i++) {
        char *end = NULL;
        field[i] = strtoull(at, &end, 10);
        if (end == at)
            return false;
        at = end;
        time.total += field[i];
    }
    time.steal = field[7];
    *out = time;
    return true;
}

struct tr_perf_cpu_time tr_perf_cpu_time_now(void)
{
    char line[512];
    struct tr_perf_cpu_time time = {0, 0};
    FILE *file = fopen("/proc/stat", "r");
    if (file == NULL)
        return time;
    if (fgets(line, sizeof(line), file) != NULL)
        tr_perf_cpu_time_parse(line, &time);
    fclose(file);
    return time;
}

double tr_perf_steal(struct tr_perf_cpu_time before, struct tr_perf_cpu_time after)
{
    if (after.total <= before.total || after.steal < before.steal)
        return 0;
    return (double)(after.steal - before.steal) / (double)(after.total - before.total);
}

double tr_perf_load_average(void)
{
    double load[1] = {0};
    return getloadavg(load, 1) == 1 ? load[0] : 0;
}

enum tr_idle tr_perf_idle_resolve(enum tr_idle idle, const int *cpus, uint32_t threads)
{
    if (idle != TR_IDLE_AUTO)
        return idle;
    for (uint32_t i = 0; i < threads; i++)
        for (uint32_t j = i + 1; j < threads; j++)
            if (cpus[i] == cpus[j])
                return TR_IDLE_YIELD;
    return TR_IDLE_SPIN;
}

const char *tr_perf_idle_name(enum tr_idle idle)
{
    switch (idle) {
    case TR_IDLE_AUTO:
        return "auto";
    case TR_IDLE_SPIN:
        return "spin";
    case TR_IDLE_PAUSE:
        return "pause";
    case TR_IDLE_YIELD:
        return "yield";
    case TR_IDLE_SLEEP:
        return "sleep";
    }
    return "?";
}
