#include "perf/crew.h"

#include "base/atomic.h"
#include "perf/machine.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A job number that ends the worker. */
#define JOB_END UINT32_MAX

/* How often whoever waits looks whether the others live. */
#define LOOK_NS 100000000

/* What a worker and the crew's owner tell each other. The two counters are futexes. */
struct seat {
    TR_ALIGNED(128) uint32_t ordered; /* owner: jobs given */
    uint32_t job;
    uint64_t argument;
    TR_ALIGNED(128) uint32_t stop;  /* owner */
    TR_ALIGNED(128) uint32_t begun; /* worker: jobs begun, and done */
    uint32_t done;
    int32_t result;
};

struct worker {
    struct tr_perf_crew *crew;
    uint32_t index;
    pthread_t thread;
    pid_t process;
    bool is_made;
};

struct tr_perf_crew {
    struct tr_perf_crew_options options;
    struct seat *seats; /* shared */
    struct worker workers[TR_PERF_WORKERS_MAX];
    bool is_broken; /* a process died */
};

void *tr_perf_shared(size_t bytes)
{
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void wait_while(uint32_t *word, uint32_t value)
{
    const struct timespec look = {0, LOOK_NS};
    syscall(SYS_futex, word, FUTEX_WAIT, value, &look, NULL, 0);
}

static void wake(uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* Job after job, until JOB_END. */
static void work(struct tr_perf_crew *crew, uint32_t index)
{
    struct seat *seat = &crew->seats[index];
    const int cpu = crew->options.cpus[index];
    if (cpu >= 0)
        tr_perf_pin(cpu);
    for (uint32_t seen = 0;; seen++) {
        /* Meets the release in give. */
        while (tr_load_acquire(&seat->ordered) == seen)
            wait_while(&seat->ordered, seen);
        if (seat->job == JOB_END)
            return;
        tr_store_release(&seat->begun, seen + 1);
        wake(&seat->begun);
        seat->result = crew->options.jobs[seat->job](crew->options.context, index, seat->argument,
                                                     &seat->stop);
        /* Meets the acquire in wait_done. */
        tr_store_release(&seat->done, seen + 1);
        wake(&seat->done);
    }
}

static void *thread_main(void *argument)
{
    struct worker *worker = argument;
    work(worker->crew, worker->index);
    return NULL;
}

static int make_process(struct worker *worker)
{
    pid_t parent = getpid();
    worker->process = fork();
    if (worker->process < 0)
        return TR_ESYS;
    if (worker->process > 0)
        return TR_OK;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent)
        work(worker->crew, worker->index);
    _exit(0);
}

static int make_worker(struct worker *worker)
{
    int result = TR_OK;
    if (worker->crew->options.is_processes)
        result = make_process(worker);
    else if (pthread_create(&worker->thread, NULL, thread_main, worker) != 0)
        result = TR_ESYS;
    worker->is_made = result == TR_OK;
    return result;
}

int tr_perf_crew_open(const struct tr_perf_crew_options *options, struct tr_perf_crew **out)
{
    struct tr_perf_crew *crew = calloc(1, sizeof(*crew));
    if (crew == NULL)
        return TR_ENOMEM;
    crew->options = *options;
    crew->seats = tr_perf_shared(TR_PERF_WORKERS_MAX * sizeof(*crew->seats));
    if (crew->seats == NULL) {
        free(crew);
        return TR_ENOMEM;
    }
    int result = options->workers <= TR_PERF_WORKERS_MAX ? TR_OK : TR_EINVAL;
    for (uint32_t i = 0; i < options->workers && result == TR_OK; i++) {
        crew->workers[i].crew = crew;
        crew->workers[i].index = i;
        result = make_worker(&crew->workers[i]);
    }
    if (result != TR_OK)
        tr_perf_crew_close(crew);
    else
        *out = crew;
    return result;
}

static void give(struct tr_perf_crew *crew, uint32_t job, uint64_t argument)
{
    for (uint32_t i = 0; i < crew->options.workers; i++) {
        struct seat *seat = &crew->seats[i];
        seat->job = job;
        seat->argument = argument;
        tr_store_relaxed(&seat->stop, 0);
        /* Meets the acquire in work. */
        tr_store_release(&seat->ordered, seat->ordered + 1);
        wake(&seat->ordered);
    }
}

/* Whether a worker is gone; only a process can be. */
static bool is_gone(struct worker *worker)
{
    if (worker->process == 0 || waitpid(worker->process, NULL, WNOHANG) == 0)
        return false;
    worker->crew->is_broken = true;
    return true;
}

/* Waits until the counter has caught up with the jobs ordered. Returns: false when nobody will. */
static bool wait_for(struct tr_perf_crew *crew, uint32_t index, uint32_t *counter)
{
    uint32_t ordered = crew->seats[index].ordered;
    uint32_t seen = 0;
    while ((seen = tr_load_acquire(counter)) != ordered) {
        if (is_gone(&crew->workers[index]))
            return false;
        wait_while(counter, seen);
    }
    return true;
}

void tr_perf_crew_begin(struct tr_perf_crew *crew, uint32_t job, uint64_t argument)
{
    if (crew->is_broken)
        return;
    give(crew, job, argument);
    for (uint32_t i = 0; i < crew->options.workers; i++)
        wait_for(crew, i, &crew->seats[i].begun);
}

/* Waits until all have done their job, those that still live. */
static int wait_done(struct tr_perf_crew *crew)
{
    int result = TR_OK;
    for (uint32_t i = 0; i < crew->options.workers; i++)
        if (wait_for(crew, i, &crew->seats[i].done) && result == TR_OK)
            result = crew->seats[i].result;
    return crew->is_broken ? TR_ECLOSED : result;
}

int tr_perf_crew_stop(struct tr_perf_crew *crew)
{
    for (uint32_t i = 0; i < crew->options.workers; i++)
        tr_store_relaxed(&crew->seats[i].stop, 1);
    return wait_done(crew);
}

int tr_perf_crew_run(struct tr_perf_crew *crew, uint32_t job, uint64_t argument)
{
    tr_perf_crew_begin(crew, job, argument);
    return wait_done(crew);
}

void tr_perf_crew_close(struct tr_perf_crew *crew)
{
    if (crew == NULL)
        return;
    tr_perf_crew_stop(crew);
    give(crew, JOB_END, 0);
    for (uint32_t i = 0; i < crew->options.workers; i++) {
        struct worker *worker = &crew->workers[i];
        if (worker->is_made && worker->process > 0) {
            /* Gone already when is_gone has reaped it. */
            while (waitpid(worker->process, NULL, 0) < 0 && errno == EINTR)
                continue;
        } else if (worker->is_made) {
            pthread_join(worker->thread, NULL);
        }
    }
    munmap(crew->seats, TR_PERF_WORKERS_MAX * sizeof(*crew->seats));
    free(crew);
}
