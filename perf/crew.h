/* The crew: the threads, or processes, that follow. Each has a CPU and waits, asleep, for a job; a
 * job is one of a fixed list of functions. What a job needs to know is in the context and in one
 * number, since a worker that is a process sees the context as it was when the crew was made. */
#ifndef TR_PERF_CREW_H
#define TR_PERF_CREW_H

#include "base/types.h"

TR_BEGIN_C

#define TR_PERF_WORKERS_MAX 8

/* Does the job until it is done or *stop is not 0. Returns: 0 or a negative error code. */
typedef int (*tr_perf_job_fn)(void *context, uint32_t worker, uint64_t argument,
                              const uint32_t *stop);

struct tr_perf_crew_options {
    uint32_t workers;
    const int *cpus; /* one a worker; -1: not pinned */
    bool is_processes;
    const tr_perf_job_fn *jobs;
    uint32_t job_count;
    void *context;
};

struct tr_perf_crew;

/* Makes the workers. Returns: 0, TR_ENOMEM, TR_ESYS. Owns: the caller keeps options' pointees. */
int tr_perf_crew_open(const struct tr_perf_crew_options *options, struct tr_perf_crew **out);

/* Gives all workers a job; returns when each has begun it. No job may be under way. */
void tr_perf_crew_begin(struct tr_perf_crew *crew, uint32_t job, uint64_t argument);

/* Tells the workers to stop. Returns: when all have; 0 or the error of one; TR_ECLOSED when a
 * process of the crew died. */
int tr_perf_crew_stop(struct tr_perf_crew *crew);

/* Gives a job that ends by itself. Returns: as tr_perf_crew_stop. */
int tr_perf_crew_run(struct tr_perf_crew *crew, uint32_t job, uint64_t argument);

/* Ends the workers. The crew may be NULL. */
void tr_perf_crew_close(struct tr_perf_crew *crew);

/* A mapping that the workers share with the caller, zeroed; made before the crew. NULL: no memory.
 */
void *tr_perf_shared(size_t bytes);

TR_END_C

#endif
