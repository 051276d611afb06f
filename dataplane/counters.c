/* The writing side of the counters segment. */
#include "dataplane/counters.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "dataplane/process.h"
#include "trireme/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

tr_static_assert(sizeof(struct tr_counters_row) == 192, "a row is three cache lines");

#define ROWS_OFFSET   TR_CACHE_LINE *UINT64_C(2)
#define VALUES_OFFSET (ROWS_OFFSET + TR_COUNTERS_ROWS_MAX * sizeof(struct tr_counters_row))
#define TOTAL_BYTES   (VALUES_OFFSET + TR_COUNTERS_VALUES_BYTES)

static bool name_is_good(const char *name)
{
    size_t bytes = strlen(name);
    return bytes > 0 && bytes <= TR_COUNTERS_NAME_MAX &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
               bytes;
}

/* Whether the segment at the path belongs to a process that lives. One that cannot be read does. */
static bool owner_lives(const char *path)
{
    struct tr_counters_header header;
    int fd = shm_open(path, O_RDONLY | O_NOFOLLOW, 0);
    if (fd < 0)
        return errno != ENOENT;
    ssize_t got = read(fd, &header, sizeof(header));
    close(fd);
    if (got != (ssize_t)sizeof(header) || header.magic != TR_COUNTERS_MAGIC)
        return false; /* left half made */
    return tr_process_alive(header.process, header.born);
}

/* Creates the segment's file, in the place of one that a dead process left. Returns a descriptor or
 * a negative code. */
static int create_file(const char *path)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        int fd = shm_open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
        if (fd >= 0)
            return fd;
        if (errno == EACCES || errno == EPERM)
            return TR_EPERM;
        if (errno != EEXIST)
            return TR_ESYS;
        if (owner_lives(path))
            return TR_EBUSY;
        shm_unlink(path);
    }
    return TR_EBUSY;
}

/* Maps the segment: shared when fd is not negative, else private. */
static void *map_segment(int fd)
{
    int flags = fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (fd >= 0 && ftruncate(fd, (off_t)TOTAL_BYTES) != 0)
        return NULL;
    void *memory = mmap(NULL, TOTAL_BYTES, PROT_READ | PROT_WRITE, flags, fd, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

int tr_counters_open(struct tr_counters *c, const char *name)
{
    int fd = -1;
    *c = (struct tr_counters){0};
    if (name[0] != '\0') {
        if (!name_is_good(name))
            return TR_EINVAL;
        snprintf(c->path, sizeof(c->path), "/" TR_COUNTERS_PREFIX "%s", name);
        fd = create_file(c->path);
        if (fd < 0)
            return fd;
    }
    c->header = (struct tr_counters_header *)map_segment(fd);
    if (fd >= 0)
        close(fd);
    if (c->header == NULL) {
        if (fd >= 0)
            shm_unlink(c->path);
        return TR_ENOMEM;
    }
    c->header->version = TR_COUNTERS_VERSION;
    c->header->row_bytes = sizeof(struct tr_counters_row);
    c->header->process = (uint32_t)getpid();
    c->header->born = tr_process_born(c->header->process);
    c->header->rows_offset = ROWS_OFFSET;
    c->header->values_offset = VALUES_OFFSET;
    c->header->total_bytes = TOTAL_BYTES;
    tr_store_release(&c->header->magic, TR_COUNTERS_MAGIC); /* meets tr_stat_open */
    return TR_OK;
}

void tr_counters_close(struct tr_counters *c)
{
    if (c->header == NULL)
        return;
    munmap(c->header, TOTAL_BYTES);
    if (c->path[0] != '\0')
        shm_unlink(c->path);
    *c = (struct tr_counters){0};
}

static void copy_text(char *to, size_t room, const char *from)
{
    size_t bytes = strnlen(from, room - 1);
    memcpy(to, from, bytes);
    to[bytes] = '\0';
}

/* Appends a row whose value takes `bytes`. Returns the value. */
static void *add_row(struct tr_counters *c, const struct tr_counters_row *row, uint64_t bytes)
{
    struct tr_counters_header *header = c->header;
    uint32_t index = tr_load_relaxed(&header->row_count);
    uint8_t *base = (uint8_t *)header;
    bytes = tr_align_up_u64(bytes, 8);
    tr_assert(c->values_used + bytes <= TR_COUNTERS_VALUES_BYTES);
    void *value = base + VALUES_OFFSET + c->values_used;
    if (index == TR_COUNTERS_ROWS_MAX ||
        c->values_used + bytes > TR_COUNTERS_VALUES_BYTES - sizeof(struct tr_histogram))
        return value; /* the room at the end, which no row names */
    struct tr_counters_row *to = (struct tr_counters_row *)(void *)(base + ROWS_OFFSET) + index;
    *to = *row;
    to->value_offset = VALUES_OFFSET + c->values_used;
    c->values_used += bytes;
    tr_store_release(&header->row_count, index + 1); /* meets tr_stat_row */
    return value;
}

static struct tr_counters_row make_row(enum tr_stat_kind kind, const char *scope, const char *name,
                                       const char *help)
{
    struct tr_counters_row row = {.kind = (uint32_t)kind};
    copy_text(row.name, sizeof(row.name), name);
    copy_text(row.scope, sizeof(row.scope), scope);
    copy_text(row.help, sizeof(row.help), help);
    return row;
}

uint64_t *tr_counters_add(struct tr_counters *c, enum tr_stat_kind kind, const char *scope,
                          const char *name, const char *help)
{
    struct tr_counters_row row = make_row(kind, scope, name, help);
    return (uint64_t *)add_row(c, &row, sizeof(uint64_t));
}

struct tr_histogram *tr_counters_add_histogram(struct tr_counters *c, const char *scope,
                                               const char *name, const char *help)
{
    struct tr_counters_row row = make_row(TR_STAT_HISTOGRAM, scope, name, help);
    struct tr_histogram *h = (struct tr_histogram *)add_row(c, &row, sizeof(struct tr_histogram));
    tr_histogram_reset(h);
    return h;
}

uint64_t tr_counters_bytes(const struct tr_counters *c)
{
    if (c->header == NULL)
        return 0;
    uint64_t rows = ROWS_OFFSET + c->header->row_count * sizeof(struct tr_counters_row);
    return tr_align_up_u64(rows, 4096) + tr_align_up_u64(c->values_used, 4096);
}
