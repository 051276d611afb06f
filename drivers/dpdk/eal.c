/* Starting EAL, and calling its thread. */

/* What registers a descriptor with EAL's thread is in every DPDK since 21.11, and not yet promised.
 */
#define ALLOW_EXPERIMENTAL_API
#include "drivers/dpdk/eal.h"

#include "base/atomic.h"
#include "drivers/extra.h"
#include "trireme/error.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_interrupts.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <sched.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ARGUMENTS_MAX   24
#define ARGUMENT_BYTES  96
#define CPU_LIST_BYTES  80
#define HUGE_PAGES_PATH "/sys/kernel/mm/hugepages"

/* A call for EAL's thread. */
struct tr_eal_call {
    int (*function)(void *argument);
    void *argument;
    int result;
};

/* EAL is one a process, and can be asked neither whether it runs nor whether its start failed, so
 * that this stands beside it: the one thing here that is not in a handle. */
static struct {
    pthread_mutex_t lock;
    enum { EAL_UNKNOWN = 0, EAL_RUNS, EAL_FAILED } state; /* under the lock */
    sem_t done;                                           /* posted when a call was carried out */
    int bell;                 /* an event descriptor that EAL's thread waits for */
    bool has_bell;            /* under the lock */
    struct tr_eal_call *call; /* that waits to be carried out */
} eal = {.lock = PTHREAD_MUTEX_INITIALIZER};

void tr_eal_lock(void)
{
    pthread_mutex_lock(&eal.lock);
}

bool tr_eal_trylock(void)
{
    return pthread_mutex_trylock(&eal.lock) == 0;
}

void tr_eal_unlock(void)
{
    pthread_mutex_unlock(&eal.lock);
}

/* EAL's arguments as they are collected. */
struct arguments {
    int count;
    char text[ARGUMENTS_MAX][ARGUMENT_BYTES];
};

static void add(struct arguments *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct arguments *a, const char *format, ...)
{
    va_list values;
    if (a->count == ARGUMENTS_MAX)
        return;
    va_start(values, format);
    vsnprintf(a->text[a->count++], ARGUMENT_BYTES, format, values);
    va_end(values);
}

/* Bytes of huge pages of one size that nobody has. */
static uint64_t free_bytes_of(const char *directory)
{
    char path[512];
    unsigned long kib = 0, pages = 0;
    FILE *file;
    if (sscanf(directory, "hugepages-%lukB", &kib) != 1)
        return 0;
    snprintf(path, sizeof(path), HUGE_PAGES_PATH "/%.200s/free_hugepages", directory);
    file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%lu", &pages) != 1)
        pages = 0;
    fclose(file);
    return (uint64_t)pages * kib * 1024;
}

/* Bytes of huge pages, of all sizes, that nobody has. */
static uint64_t free_huge_bytes(void)
{
    uint64_t bytes = 0;
    DIR *directory = opendir(HUGE_PAGES_PATH);
    const struct dirent *entry;
    if (directory == NULL)
        return 0;
    while ((entry = readdir(directory)) != NULL)
        bytes += free_bytes_of(entry->d_name);
    closedir(directory);
    return bytes;
}

/* The CPUs of the calling thread as EAL's --lcores writes them; empty when they are too many
 * pieces. */
static void list_cpus(const cpu_set_t *set, char *out, size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        int last = cpu;
        if (!CPU_ISSET(cpu, set))
            continue;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
            last++;
        used += (size_t)snprintf(out + used, out_bytes - used, "%s%d-%d", used > 0 ? "," : "", cpu,
                                 last);
        if (used >= out_bytes) {
            out[0] = '\0';
            return;
        }
        cpu = last;
    }
}

/* Decides on pages. Returns: TR_OK, or TR_ENOMEM with a sentence. */
static int choose_pages(const struct tr_eal_options *options, bool *is_huge, char *error,
                        size_t error_bytes)
{
    uint64_t free_now = free_huge_bytes();
    *is_huge = options->pages != TR_EAL_PAGES_NORMAL && free_now >= options->memory_bytes;
    if (options->pages == TR_EAL_PAGES_HUGE && !*is_huge) {
        tr_explain(error, error_bytes,
                   "dpdk: hugepages=on, and of %" PRIu64 " MiB only %" PRIu64
                   " MiB of huge pages are free: sysctl vm.nr_hugepages=%" PRIu64
                   ", ask for less with memory=, or hugepages=auto",
                   options->memory_bytes >> 20, free_now >> 20, options->memory_bytes >> 21);
        return TR_ENOMEM;
    }
    if (options->pages == TR_EAL_PAGES_AUTO && !*is_huge)
        tr_explain(error, error_bytes,
                   "dpdk: NORMAL PAGES, since of %" PRIu64 " MiB only %" PRIu64
                   " MiB of huge pages are free: slower, and no NIC without an IOMMU works; "
                   "sysctl vm.nr_hugepages=%" PRIu64,
                   options->memory_bytes >> 20, free_now >> 20, options->memory_bytes >> 21);
    return TR_OK;
}

static void list_arguments(struct arguments *a, const struct tr_eal_options *options, bool is_huge,
                           const cpu_set_t *cpus)
{
    char list[CPU_LIST_BYTES];
    list_cpus(cpus, list, sizeof(list));
    add(a, "trireme");
    add(a, "--no-telemetry");
    add(a, "--iova-mode=%s", options->is_iova_pa ? "pa" : "va");
    add(a, "--file-prefix=trireme-%d", (int)getpid());
    add(a, "--log-level=*:error");
    /* One lcore, without a thread or a CPU of its own: threads are the library's. */
    if (list[0] != '\0')
        add(a, "--lcores=0@(%s)", list);
    else
        add(a, "--lcores=0@%d", sched_getcpu());
    /* No device is probed that was not asked for: an address that none has. */
    add(a, "--allow=ffff:ff:1f.7");
    if (is_huge) {
        add(a, "--in-memory");
    } else { /* which implies --no-huge's memory, that EAL refuses to call so */
        add(a, "--no-shconf");
        add(a, "--no-huge");
        add(a, "-m");
        add(a, "%" PRIu64, options->memory_bytes >> 20);
    }
}

static int explain_start(int number, char *error, size_t error_bytes)
{
    tr_explain(error, error_bytes, "dpdk: EAL does not start: %s%s", rte_strerror(number),
               number == EACCES || number == EPERM
                   ? "; it needs the rights of root, or access to its devices"
                   : "");
    if (number == EACCES || number == EPERM)
        return TR_EPERM;
    return number == ENOMEM ? TR_ENOMEM : TR_ESYS;
}

/* Starts EAL. Its own thread inherits the class of the one that starts it: beside a polling thread
 * of a real-time class it would never run if it had that, too. */
static int start_in_common_class(int count, char **arguments)
{
    static const struct sched_param common = {.sched_priority = 0};
    struct sched_param param;
    int policy = SCHED_OTHER;
    if (pthread_getschedparam(pthread_self(), &policy, &param) != 0)
        policy = SCHED_OTHER;
    if (policy != SCHED_OTHER && pthread_setschedparam(pthread_self(), SCHED_OTHER, &common) != 0)
        policy = SCHED_OTHER;
    int result = rte_eal_init(count, arguments);
    int number = rte_errno;
    if (policy != SCHED_OTHER)
        pthread_setschedparam(pthread_self(), policy, &param);
    rte_errno = number;
    return result;
}

/* Runs EAL's start. Returns: 0, or a number of errno.h. */
static int init(const struct tr_eal_options *options, bool is_huge)
{
    struct arguments a = {.count = 0};
    char *pointers[ARGUMENTS_MAX + 1] = {NULL};
    cpu_set_t cpus;
    int result, number;
    if (pthread_getaffinity_np(pthread_self(), sizeof(cpus), &cpus) != 0)
        CPU_ZERO(&cpus);
    list_arguments(&a, options, is_huge, &cpus);
    for (int i = 0; i < a.count; i++)
        pointers[i] = a.text[i];
    rte_errno = 0;
    result = start_in_common_class(a.count, pointers);
    number = rte_errno;
    if (CPU_COUNT(&cpus) > 0)
        pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
    return result >= 0 ? 0 : number != 0 ? number : EINVAL;
}

int tr_eal_start(const struct tr_eal_options *options, char *error, size_t error_bytes)
{
    bool is_huge;
    int result, number;
    if (eal.state == EAL_UNKNOWN)
        sem_init(&eal.done, 0, 0);
    if (eal.state == EAL_UNKNOWN && rte_lcore_count() > 0)
        eal.state = EAL_RUNS; /* the application's */
    if (eal.state == EAL_RUNS)
        return TR_OK;
    if (eal.state == EAL_FAILED) {
        tr_explain(error, error_bytes,
                   "dpdk: EAL did not start before, and starts once a process: start anew");
        return TR_ESYS;
    }
    result = choose_pages(options, &is_huge, error, error_bytes);
    if (result != TR_OK)
        return result;
    number = init(options, is_huge);
    eal.state = number == 0 ? EAL_RUNS : EAL_FAILED;
    /* Both cry over what is tried again. */
    rte_log_set_level_pattern("pmd.net.memif", RTE_LOG_CRIT);
    rte_log_set_level_pattern("pmd.net.af_xdp", RTE_LOG_CRIT);
    return number == 0 ? TR_OK : explain_start(number, error, error_bytes);
}

/* EAL's thread: carries out the call that waits. One is what a turn of its loop does: what it knows
 * of descriptors stays true until the next. */
static void carry_out(void *unused)
{
    struct tr_eal_call *call;
    uint64_t count;
    (void)unused;
    if (read(eal.bell, &count, sizeof(count)) != sizeof(count))
        return;
    call = tr_exchange_acquire(&eal.call, NULL); /* meets the release of tr_eal_call */
    if (call == NULL)
        return;
    call->result = call->function(call->argument);
    sem_post(&eal.done);
}

/* Makes the bell that calls EAL's thread. */
static int make_bell(void)
{
    struct rte_intr_handle *handle = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);
    eal.bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (handle == NULL || eal.bell < 0 || rte_intr_fd_set(handle, eal.bell) != 0 ||
        rte_intr_type_set(handle, RTE_INTR_HANDLE_EXT) != 0 ||
        rte_intr_callback_register(handle, carry_out, NULL) != 0)
        return TR_ESYS; /* what was made stays until the process ends, as EAL does */
    eal.has_bell = true;
    return TR_OK;
}

int tr_eal_call(int (*function)(void *argument), void *argument)
{
    struct tr_eal_call call = {.function = function, .argument = argument, .result = TR_ESYS};
    const uint64_t one = 1;
    if (!eal.has_bell && make_bell() != TR_OK)
        return TR_ESYS;
    tr_store_release(&eal.call, &call); /* meets the acquire of carry_out */
    if (write(eal.bell, &one, sizeof(one)) != sizeof(one))
        return TR_ESYS;
    while (sem_wait(&eal.done) != 0) { /* a signal */
    }
    return call.result;
}
