/* The machine's table of polling threads. */
#include "dataplane/pollers.h"

#include "base/atomic.h"
#include "dataplane/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How often, and after how long, the table's lock is tried for again. */
#define LOCK_TRIES    100
#define LOCK_AGAIN_NS 1000000

#define POLLERS_MAGIC UINT64_C(0x3153524c4c4f5054) /* "TPOLLRS1" */

/* One polling thread. `owner` is claimed by a compare and swap; 0: free. */
struct poller {
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 owner; /* process id << 32 | thread id */
    tr_atomic_u64 born;                            /* start time of the process */
    int32_t cpu;                                   /* the only one it runs on, or negative */
};

struct tr_pollers {
    tr_atomic_u64 magic;
    struct poller entry[TR_POLLERS_MAX];
};

static int open_file(void)
{
    char name[64];
    snprintf(name, sizeof(name), "/trireme.pollers.%u", (unsigned)geteuid());
    return shm_open(name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
}

struct tr_pollers *tr_pollers_open(void)
{
    int fd = open_file();
    if (fd < 0)
        return NULL;
    void *memory = MAP_FAILED;
    struct stat info;
    if (fstat(fd, &info) == 0 && info.st_uid == geteuid() &&
        ftruncate(fd, (off_t)sizeof(struct tr_pollers)) == 0)
        memory = mmap(NULL, sizeof(struct tr_pollers), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED)
        return NULL;
    struct tr_pollers *table = (struct tr_pollers *)memory;
    uint64_t found = 0;
    if (!tr_cas_relaxed(&table->magic, &found, POLLERS_MAGIC) && found != POLLERS_MAGIC) {
        munmap(memory, sizeof(struct tr_pollers));
        return NULL;
    }
    return table;
}

void tr_pollers_close(struct tr_pollers *table)
{
    if (table != NULL)
        munmap(table, sizeof(*table));
}

static uint64_t owner_of_caller(void)
{
    return (uint64_t)(uint32_t)getpid() << 32 | (uint32_t)gettid();
}

int tr_pollers_enter(struct tr_pollers *table, int cpu)
{
    uint64_t self = owner_of_caller();
    if (table == NULL)
        return -1;
    for (int i = 0; i < TR_POLLERS_MAX; i++)
        if (tr_load_relaxed(&table->entry[i].owner) == self)
            return i;
    for (int i = 0; i < TR_POLLERS_MAX; i++) {
        uint64_t none = 0;
        if (!tr_cas_relaxed(&table->entry[i].owner, &none, self))
            continue;
        tr_store_relaxed(&table->entry[i].born, tr_process_born((uint32_t)getpid()));
        tr_store_relaxed(&table->entry[i].cpu, cpu);
        return i;
    }
    return -1;
}

void tr_pollers_leave(struct tr_pollers *table, int entry)
{
    if (table != NULL && entry >= 0)
        tr_store_relaxed(&table->entry[entry].owner, UINT64_C(0));
}

/* Frees an entry whose process is gone. Returns whether it is free now. */
static bool reclaim(struct poller *p, uint64_t owner)
{
    uint64_t born = tr_load_relaxed(&p->born);
    if (born == 0 || tr_process_alive((uint32_t)(owner >> 32), born))
        return false;
    return tr_cas_relaxed(&p->owner, &owner, UINT64_C(0));
}

/* How many pollers there are, and how many of them are pinned to `cpu`; each checked for life when
 * `check` says so. */
static void count(struct tr_pollers *table, int cpu, bool check, uint32_t *all, uint32_t *same)
{
    *all = 0;
    *same = 0;
    for (int i = 0; i < TR_POLLERS_MAX; i++) {
        struct poller *p = &table->entry[i];
        uint64_t owner = tr_load_relaxed(&p->owner);
        if (owner == 0 || (check && reclaim(p, owner)))
            continue;
        ++*all;
        *same += cpu >= 0 && tr_load_relaxed(&p->cpu) == cpu;
    }
}

/* Locks the table against others that settle. Returns a descriptor, or -1: it goes without, which
 * costs two pollers a shared CPU at worst. */
static int lock_table(void)
{
    const struct timespec again = {0, LOCK_AGAIN_NS};
    int fd = open_file();
    for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return fd;
        nanosleep(&again, NULL);
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static void unlock_table(int fd)
{
    if (fd < 0)
        return;
    flock(fd, LOCK_UN); /* a child of a fork may have the descriptor, too */
    close(fd);
}

int tr_pollers_settle(struct tr_pollers *table, const int *cpus, uint32_t cpu_count)
{
    int chosen = -1;
    if (table == NULL)
        return -1;
    int lock = lock_table();
    for (uint32_t i = 0; i < cpu_count && chosen < 0; i++) {
        uint32_t all, same;
        count(table, cpus[i], true, &all, &same);
        chosen = same == 0 ? cpus[i] : -1;
    }
    tr_pollers_enter(table, chosen);
    unlock_table(lock);
    return chosen;
}

bool tr_pollers_crowded(struct tr_pollers *table, int entry, uint32_t cpus_usable)
{
    uint32_t all, same;
    if (table == NULL || entry < 0)
        return cpus_usable < 2;
    int cpu = tr_load_relaxed(&table->entry[entry].cpu);
    uint32_t cpus = cpu >= 0 ? (uint32_t)sysconf(_SC_NPROCESSORS_ONLN) : cpus_usable;
    count(table, cpu, false, &all, &same);
    if (all > cpus || same > 1)
        count(table, cpu, true, &all, &same);
    return all > cpus || same > 1;
}

uint32_t tr_pollers_count(struct tr_pollers *table)
{
    uint32_t all = 0, same;
    if (table != NULL)
        count(table, -1, true, &all, &same);
    return all;
}
