#include "drivers/shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <trireme/error.h>
#include <unistd.h>

#define DIRECTORY "/dev/shm"
#define TRIES_MAX 16 /* races with other processes that start under the same name */

/* Bytes of the file that are locked: by the owner while it lives, and by who takes a dead one over.
 */
enum file_lock {
    LOCK_LIFE = 0,
    LOCK_TAKEOVER = 1,
};

#define complain(why, ...) ((void)snprintf((why).text, (why).bytes, "shm: " __VA_ARGS__))

const char *tr_shm_address_name(const char *address)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (address == NULL || strncmp(address, "shm:", 4) != 0)
        return NULL;
    const char *name = address + 4;
    size_t length = strlen(name);
    if (length == 0 || length >= TR_SHM_NAME_BYTES || name[0] == '.' ||
        strspn(name, allowed) != length)
        return NULL;
    return name;
}

static void path_of(struct tr_shm_segment *segment, const char *name, uint32_t queue)
{
    snprintf(segment->path, sizeof(segment->path), DIRECTORY "/trireme.%s.q%u", name, queue);
}

/* Locks of open files: they go with the process, and are not shared with what it forks and
 * executes. */

static bool lock_take(int fd, enum file_lock which)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = which, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static bool lock_is_taken(int fd, enum file_lock which)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = which, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

/* The life of the owning thread. */

static tr_atomic_u32 *life_word(const struct tr_shm_segment *segment, uint32_t life)
{
    unsigned char *mutex = tr_shm_identity_of(segment)->life[life].bytes;
    return (tr_atomic_u32 *)(void *)(mutex + segment->life_word);
}

static bool life_make(struct tr_shm_identity *identity)
{
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);
    error |= pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    error |= pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    for (uint32_t i = 0; i < TR_SHM_LIVES; i++)
        error |= pthread_mutex_init(&identity->life[i].mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return error == 0;
}

/* Takes one of the mutexes. Returns: false if another thread has it. */
static bool life_take(struct tr_shm_segment *segment, uint32_t life)
{
    pthread_mutex_t *mutex = &tr_shm_identity_of(segment)->life[life].mutex;
    int error = pthread_mutex_trylock(mutex);
    if (error == EOWNERDEAD)
        error = pthread_mutex_consistent(mutex);
    return error == 0;
}

/* Tells the peers which mutex to look at. */
static void life_show(struct tr_shm_segment *segment, uint32_t life)
{
    struct tr_shm_identity *identity = tr_shm_identity_of(segment);
    uint32_t at = (uint32_t)((unsigned char *)life_word(segment, life) - segment->base);
    segment->owner = pthread_self();
    tr_store_release(&identity->life_at, at); /* meets tr_shm_segment_lives */
}

/* The first owner; finds out where the C library keeps the kernel's word, which holds the thread's
 * number while the mutex is taken. */
static bool life_begin(struct tr_shm_segment *segment)
{
    struct tr_shm_identity *identity = tr_shm_identity_of(segment);
    if (!life_make(identity) || !life_take(segment, 0))
        return false;
    for (uint32_t at = 0; at + 4 <= sizeof(pthread_mutex_t); at += 4) {
        segment->life_word = at;
        if ((tr_load_relaxed(life_word(segment, 0)) & FUTEX_TID_MASK) == (uint32_t)gettid()) {
            life_show(segment, 0);
            return true;
        }
    }
    return false;
}

void tr_shm_life_adopt(struct tr_shm_segment *segment)
{
    uint32_t self = (uint32_t)gettid();
    for (uint32_t i = 0; i < TR_SHM_LIVES; i++) {
        if ((tr_load_relaxed(life_word(segment, i)) & FUTEX_TID_MASK) == self ||
            life_take(segment, i)) {
            life_show(segment, i);
            return;
        }
    }
    segment->owner =
        pthread_self(); /* ask no more: the thread that opened the port stands for it */
}

/* Lets go of what this thread holds. Returns: false if other threads hold some of them still, and
 * their C library will write to the page. */
static bool life_end(struct tr_shm_segment *segment)
{
    struct tr_shm_identity *identity = tr_shm_identity_of(segment);
    bool all = true;
    for (uint32_t i = 0; i < TR_SHM_LIVES; i++) {
        uint32_t holder = tr_load_relaxed(life_word(segment, i)) & FUTEX_TID_MASK;
        if (holder != 0 &&
            (holder != (uint32_t)gettid() || pthread_mutex_unlock(&identity->life[i].mutex) != 0))
            all = false;
    }
    return all;
}

bool tr_shm_segment_lives(const struct tr_shm_segment *segment)
{
    const struct tr_shm_identity *identity = tr_shm_identity_of(segment);
    for (uint32_t tries = 0; tries < 2; tries++) { /* again: it may just have found another owner */
        uint32_t at = tr_load_acquire(&identity->life_at); /* meets life_show */
        if (tr_load_acquire(&identity->state) != TR_SHM_OPEN || at % 4 != 0 ||
            at > TR_SHM_PAGE_BYTES - 4)
            return false;
        uint32_t word = tr_load_acquire((tr_atomic_u32 *)(void *)(segment->base + at));
        if ((word & FUTEX_TID_MASK) != 0)
            return true;
    }
    return false;
}

/* Memory. */

static bool file_allocate(int fd, uint64_t offset, uint64_t bytes)
{
    int result;
    do {
        result = fallocate(fd, 0, (off_t)offset, (off_t)bytes);
    } while (result != 0 && errno == EINTR);
    return result == 0;
}

int tr_shm_segment_reserve(struct tr_shm_segment *segment, uint64_t offset, uint64_t bytes)
{
    uint64_t from = tr_align_down_u64(offset, TR_SHM_PAGE_BYTES);
    uint64_t to = tr_align_up_u64(offset + bytes, TR_SHM_PAGE_BYTES);
    tr_assert(to <= segment->at.ring_data);
    if (!file_allocate(segment->fd, from, to - from))
        return TR_ENOMEM;
    tr_shm_segment_populate(segment, from, to - from);
    return TR_OK;
}

static void populate(void *memory, uint64_t bytes)
{
#ifdef MADV_POPULATE_WRITE
    (void)madvise(memory, (size_t)bytes, MADV_POPULATE_WRITE);
#else
    (void)memory, (void)bytes;
#endif
}

void tr_shm_segment_populate(struct tr_shm_segment *segment, uint64_t offset, uint64_t bytes)
{
    populate(segment->base + offset, bytes);
}

int tr_shm_segment_extend(struct tr_shm_segment *segment, uint64_t offset, uint64_t bytes)
{
    return file_allocate(segment->fd, offset, bytes) ? TR_OK : TR_ENOMEM;
}

void *tr_shm_segment_map(const struct tr_shm_segment *segment, uint64_t offset, uint64_t bytes)
{
    if (offset + bytes > tr_shm_segment_file_bytes(segment))
        return NULL;
    void *memory =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, segment->fd, (off_t)offset);
    if (memory == MAP_FAILED)
        return NULL;
    (void)madvise(memory, (size_t)bytes, MADV_DONTFORK);
    populate(memory, bytes);
    return memory;
}

void tr_shm_segment_unmap(void *memory, uint64_t bytes)
{
    munmap(memory, (size_t)bytes);
}

uint64_t tr_shm_segment_file_bytes(const struct tr_shm_segment *segment)
{
    struct stat file;
    return fstat(segment->fd, &file) == 0 ? (uint64_t)file.st_size : 0;
}

static bool map_whole(struct tr_shm_segment *segment)
{
    void *base = mmap(NULL, (size_t)segment->at.ring_data, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_NORESERVE, segment->fd, 0);
    if (base == MAP_FAILED)
        return false;
    segment->base = base;
    (void)madvise(base, (size_t)segment->at.ring_data,
                  MADV_DONTFORK); /* a child is not the owner */
    return true;
}

/* What is there already. */

/* Reads the identity of a file and holds it against what the name promises. `out` is a private
 * copy. */
static int read_identity(int fd, const char *name, uint32_t queue, struct tr_shm_identity *out)
{
    if (pread(fd, out, sizeof(*out), 0) != (ssize_t)sizeof(*out) || out->magic != TR_SHM_MAGIC ||
        out->version != TR_SHM_VERSION || out->identity_bytes != sizeof(*out) ||
        out->incarnation == 0 || out->queue != queue ||
        memchr(out->name, '\0', sizeof(out->name)) == NULL || strcmp(out->name, name) != 0 ||
        !tr_shm_shape_ok(&out->shape) || out->ring_made > out->shape.ring_count)
        return TR_EPROTO;
    return TR_OK;
}

/* True if the file is one that only this user can have made and can write. */
static bool is_ours(int fd, struct stat *file)
{
    return fstat(fd, file) == 0 && S_ISREG(file->st_mode) && file->st_uid == geteuid() &&
           (file->st_mode & 077) == 0;
}

/* The same question as tr_shm_segment_lives, of a copy. */
static bool copy_lives(const struct tr_shm_identity *copy)
{
    uint32_t at = copy->life_at;
    uint32_t word;
    if (copy->state != TR_SHM_OPEN || at % 4 != 0 || at > sizeof(*copy) - 4)
        return false;
    memcpy(&word, (const unsigned char *)copy + at, sizeof(word));
    return (word & FUTEX_TID_MASK) != 0;
}

/* Rule 1: no store into these rings will count, now or ever. */
static int fence_for_ever(int fd, const struct tr_shm_identity *copy)
{
    struct tr_shm_segment dead = {
        .shape = copy->shape, .at = tr_shm_layout_of(&copy->shape), .fd = fd};
    if (tr_shm_segment_file_bytes(&dead) < dead.at.lane_data)
        return TR_EPROTO;
    void *base = mmap(NULL, (size_t)dead.at.lane_data, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return TR_ENOMEM;
    dead.base = base;
    /* Read now, when no owner can make another. */
    uint32_t made = tr_load_acquire(&tr_shm_identity_of(&dead)->ring_made); /* meets ring_create */
    made = tr_min_u32(made, copy->shape.ring_count);
    for (uint32_t i = 0; i < made; i++)
        tr_store_relaxed(&tr_shm_ring_of(&dead, i)->fence, UINT64_C(0));
    tr_store_relaxed(&tr_shm_identity_of(&dead)->state, TR_SHM_DEAD);
    tr_fence_full(); /* the words are seen by whoever stores from now on, meets tr_shm_write_poll */
    munmap(base, (size_t)dead.at.lane_data);
    return TR_OK;
}

static int busy(const struct tr_shm_segment *segment, const struct tr_shm_identity *copy,
                struct tr_shm_reason why)
{
    time_t seconds = (time_t)(copy->start_ns / 1000000000u);
    struct tm when;
    char text[32] = "an unknown time";
    if (gmtime_r(&seconds, &when) != NULL)
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &when);
    complain(why, "%s is in use by process %u, started %s: stop it, or choose another name",
             segment->path, copy->pid, text);
    return TR_EBUSY;
}

/* Gives the finished segment its name in the place of a dead one, which is open as `fd`. */
static int replace(struct tr_shm_segment *segment, const char *temporary, int fd, const char *name,
                   uint32_t queue, struct tr_shm_reason why)
{
    struct tr_shm_identity copy;
    struct stat file, named;
    if (!is_ours(fd, &file)) {
        complain(why, "%s belongs to another user or is open to others: remove it", segment->path);
        return TR_EPERM;
    }
    if (read_identity(fd, name, queue, &copy) != TR_OK) {
        complain(
            why,
            "%s is not a segment of this version: if no trireme runs under this name, remove it",
            segment->path);
        return TR_EADDR;
    }
    if (lock_is_taken(fd, LOCK_LIFE) && copy_lives(&copy))
        return busy(segment, &copy, why);
    if (!lock_take(fd, LOCK_TAKEOVER)) {
        complain(why, "%s is being taken over by another process: choose another name",
                 segment->path);
        return TR_EBUSY;
    }
    if (stat(segment->path, &named) != 0 || named.st_ino != file.st_ino)
        return TR_AGAIN; /* somebody was quicker */
    int error = fence_for_ever(fd, &copy);
    if (error != TR_OK) {
        complain(why, "%s is damaged or cannot be mapped (%s): remove it when no peer of it runs",
                 segment->path, strerror(errno));
        return error == TR_ENOMEM ? error : TR_EADDR;
    }
    if (rename(temporary, segment->path) != 0) {
        complain(why, "cannot rename to %s: %s", segment->path, strerror(errno));
        return TR_EPERM;
    }
    return TR_OK;
}

/* Gives the finished segment its name. */
static int publish(struct tr_shm_segment *segment, const char *temporary, const char *name,
                   uint32_t queue, struct tr_shm_reason why)
{
    for (uint32_t tries = 0; tries < TRIES_MAX; tries++) {
        if (renameat2(AT_FDCWD, temporary, AT_FDCWD, segment->path, RENAME_NOREPLACE) == 0)
            return TR_OK;
        int fd = open(segment->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 && errno == ENOENT)
            continue; /* it was closed in between */
        if (fd < 0) {
            complain(why, "cannot open %s: %s", segment->path, strerror(errno));
            return TR_EPERM;
        }
        int error = replace(segment, temporary, fd, name, queue, why);
        close(fd); /* and with it the lock */
        if (error != TR_AGAIN)
            return error;
    }
    complain(why, "%s changes all the time: several processes fight for this name", segment->path);
    return TR_EBUSY;
}

static void write_identity(struct tr_shm_segment *segment, const char *name, uint32_t queue)
{
    struct tr_shm_identity *identity = tr_shm_identity_of(segment);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    identity->magic = TR_SHM_MAGIC;
    identity->version = TR_SHM_VERSION;
    identity->identity_bytes = sizeof(*identity);
    identity->incarnation = segment->incarnation;
    identity->pid = (uint32_t)getpid();
    identity->queue = queue;
    identity->start_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    identity->shape = segment->shape;
    memcpy(identity->name, name, strlen(name) + 1);
    tr_store_release(&identity->state, TR_SHM_OPEN);
}

/* Makes the file under a temporary name, with its control blocks. */
static int make_file(struct tr_shm_segment *segment, const char *temporary,
                     struct tr_shm_reason why)
{
    segment->fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (segment->fd < 0) {
        complain(why, "cannot make %s: %s", temporary, strerror(errno));
        return TR_EPERM;
    }
    if (ftruncate(segment->fd, (off_t)segment->at.ring_data) != 0 || !map_whole(segment) ||
        tr_shm_segment_reserve(segment, 0, segment->at.rings) != TR_OK) {
        complain(why, "no room for %s (%s): is " DIRECTORY " full?", temporary, strerror(errno));
        return TR_ENOMEM;
    }
    if (!lock_take(segment->fd, LOCK_LIFE) || !life_begin(segment)) {
        complain(why, "this system has no robust mutexes or no locks of open files");
        return TR_ENOTSUP;
    }
    return TR_OK;
}

int tr_shm_segment_create(struct tr_shm_segment *segment, const char *name, uint32_t queue,
                          const struct tr_shm_shape *shape, uint64_t incarnation,
                          struct tr_shm_reason why)
{
    char temporary[192];
    struct stat file;
    tr_assert(tr_shm_shape_ok(shape) && incarnation != 0);
    memset(segment, 0, sizeof(*segment));
    segment->fd = -1;
    path_of(segment, name, queue);
    snprintf(temporary, sizeof(temporary), "%s.%016llx.new", segment->path,
             (unsigned long long)incarnation);
    segment->shape = *shape;
    segment->at = tr_shm_layout_of(shape);
    segment->incarnation = incarnation;
    int error = make_file(segment, temporary, why);
    if (error == TR_OK) {
        write_identity(segment, name, queue);
        error = publish(segment, temporary, name, queue, why);
    }
    if (error == TR_OK && fstat(segment->fd, &file) == 0)
        segment->inode = file.st_ino;
    if (error != TR_OK && segment->fd >= 0)
        unlink(temporary);
    if (error != TR_OK && segment->base != NULL)
        life_end(segment);
    if (error != TR_OK)
        tr_shm_segment_detach(segment);
    return error;
}

void tr_shm_segment_close(struct tr_shm_segment *segment)
{
    struct tr_shm_identity *identity = tr_shm_identity_of(segment);
    struct stat named;
    for (uint32_t i = 0; i < segment->ring_made; i++)
        tr_store_relaxed(&tr_shm_ring_of(segment, i)->fence, UINT64_C(0));
    tr_fence_full(); /* meets tr_shm_write_poll: before the name is free, nothing counts any more */
    tr_store_release(&identity->state, TR_SHM_CLOSED);
    if (stat(segment->path, &named) == 0 && named.st_ino == segment->inode)
        unlink(segment->path);
    if (!life_end(
            segment)) { /* the page stays mapped for the C library of the thread that opened */
        munmap(segment->base + TR_SHM_PAGE_BYTES,
               (size_t)segment->at.ring_data - TR_SHM_PAGE_BYTES);
        segment->base = NULL;
    }
    tr_shm_segment_detach(segment);
}

int tr_shm_segment_attach(struct tr_shm_segment *segment, const char *name, uint32_t queue,
                          uint64_t inode)
{
    struct tr_shm_identity copy;
    struct stat file;
    memset(segment, 0, sizeof(*segment));
    segment->fd = -1;
    path_of(segment, name, queue);
    if (stat(segment->path, &file) != 0 || file.st_ino == inode)
        return TR_AGAIN;
    segment->fd = open(segment->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (segment->fd < 0)
        return errno == ENOENT ? TR_AGAIN : TR_EPERM;
    int error = TR_EPERM;
    if (is_ours(segment->fd, &file))
        error = read_identity(segment->fd, name, queue, &copy);
    if (error == TR_OK && !copy_lives(&copy))
        error = TR_AGAIN;
    if (error == TR_OK) {
        segment->shape = copy.shape;
        segment->at = tr_shm_layout_of(&copy.shape);
        segment->incarnation = copy.incarnation;
        segment->inode = file.st_ino;
        if ((uint64_t)file.st_size < segment->at.ring_data)
            error = TR_EPROTO;
        else if (!map_whole(segment) || mprotect(segment->base, TR_SHM_PAGE_BYTES, PROT_READ) != 0)
            error = TR_EPERM;
    }
    if (error != TR_OK)
        tr_shm_segment_detach(segment);
    return error;
}

void tr_shm_segment_detach(struct tr_shm_segment *segment)
{
    if (segment->base != NULL)
        munmap(segment->base, (size_t)segment->at.ring_data);
    if (segment->fd >= 0)
        close(segment->fd);
    memset(segment, 0, sizeof(*segment));
    segment->fd = -1;
}
