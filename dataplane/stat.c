/* The reading side of the counters segment: public API of trireme/stat.h. Nothing in a segment is
 * trusted: it may be another version's, half made, or damaged. */
#include "trireme/stat.h"

#include "dataplane/counters.h"
#include "dataplane/log.h"
#include "dataplane/process.h"
#include "trireme/error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_FOLDER "/dev/shm"

struct tr_stat {
    const uint8_t *base;
    uint64_t bytes;
    struct tr_counters_header header; /* checked copy */
    struct tr_counters_row row;       /* checked copy of the row read last */
};

/* Maps the file of a name. Returns TR_OK, TR_ENOENT, TR_EPERM, TR_EPROTO, TR_ESYS. */
static int map_file(const char *name, struct tr_stat *s)
{
    char path[TR_COUNTERS_NAME_MAX + 32];
    struct stat info;
    if (strlen(name) > TR_COUNTERS_NAME_MAX || strchr(name, '/') != NULL)
        return TR_ENOENT;
    snprintf(path, sizeof(path), "/" TR_COUNTERS_PREFIX "%s", name);
    int fd = shm_open(path, O_RDONLY | O_NOFOLLOW, 0);
    if (fd < 0)
        return errno == EACCES ? TR_EPERM : TR_ENOENT;
    void *base = MAP_FAILED;
    int status = fstat(fd, &info) != 0 ? TR_ESYS : TR_OK;
    if (status == TR_OK && info.st_size < (off_t)sizeof(struct tr_counters_header))
        status = TR_EPROTO;
    if (status == TR_OK)
        base = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (status != TR_OK || base == MAP_FAILED)
        return status != TR_OK ? status : TR_ESYS;
    s->base = (const uint8_t *)base;
    s->bytes = (uint64_t)info.st_size;
    return TR_OK;
}

/* Takes a copy of the header and checks it. */
static int check_header(struct tr_stat *s)
{
    const struct tr_counters_header *from =
        (const struct tr_counters_header *)(const void *)s->base;
    if (tr_load_acquire(&from->magic) != TR_COUNTERS_MAGIC) /* meets tr_counters_open */
        return TR_EPROTO;
    memcpy(&s->header, from, sizeof(s->header));
    if (s->header.version != TR_COUNTERS_VERSION)
        return TR_EVERSION;
    if (s->header.row_bytes != sizeof(struct tr_counters_row) || s->header.total_bytes > s->bytes ||
        s->header.rows_offset % 8 != 0 || s->header.values_offset % 8 != 0 ||
        s->header.rows_offset > s->header.values_offset ||
        s->header.values_offset > s->header.total_bytes)
        return TR_EPROTO;
    return TR_OK;
}

int tr_stat_open(const char *name, struct tr_stat **out, char *error, size_t error_bytes)
{
    struct tr_stat *s = (struct tr_stat *)calloc(1, sizeof(*s));
    if (s == NULL)
        return tr_fail(TR_ENOMEM, error, error_bytes, "out of memory");
    int status = map_file(name, s);
    if (status == TR_OK)
        status = check_header(s);
    if (status != TR_OK) {
        tr_stat_close(s);
        return tr_fail(status, error, error_bytes,
                       "no counters of a node \"%s\" here (%s/%s%s): %s", name, SEGMENT_FOLDER,
                       TR_COUNTERS_PREFIX, name, tr_strerror(status));
    }
    *out = s;
    return TR_OK;
}

void tr_stat_close(struct tr_stat *s)
{
    if (s == NULL)
        return;
    if (s->base != NULL)
        munmap((void *)(uintptr_t)s->base, s->bytes);
    free(s);
}

/* Bytes of a value of this kind; 0: no such kind. */
static uint64_t value_bytes(uint32_t kind)
{
    if (kind == TR_STAT_HISTOGRAM)
        return sizeof(struct tr_histogram);
    return kind == TR_STAT_COUNTER || kind == TR_STAT_GAUGE ? sizeof(uint64_t) : 0;
}

static bool text_ends(const char *text, size_t bytes)
{
    return memchr(text, '\0', bytes) != NULL;
}

/* Takes a copy of a row and checks it. */
static int load_row(struct tr_stat *s, uint32_t index)
{
    const struct tr_counters_header *live =
        (const struct tr_counters_header *)(const void *)s->base;
    uint64_t room = (s->header.values_offset - s->header.rows_offset) / sizeof(s->row);
    uint32_t count = tr_load_acquire(&live->row_count); /* meets add_row */
    if (index >= count || index >= room)
        return TR_ENOENT;
    memcpy(&s->row, s->base + s->header.rows_offset + (uint64_t)index * sizeof(s->row),
           sizeof(s->row));
    uint64_t bytes = value_bytes(s->row.kind);
    uint64_t offset = s->row.value_offset;
    if (bytes == 0 || offset % 8 != 0 || offset < s->header.values_offset ||
        offset > s->header.total_bytes || s->header.total_bytes - offset < bytes)
        return TR_EPROTO;
    return text_ends(s->row.name, sizeof(s->row.name)) &&
                   text_ends(s->row.scope, sizeof(s->row.scope)) &&
                   text_ends(s->row.help, sizeof(s->row.help))
               ? TR_OK
               : TR_EPROTO;
}

int tr_stat_row(struct tr_stat *s, uint32_t index, struct tr_stat_row *out)
{
    int status = load_row(s, index);
    if (status != TR_OK)
        return status;
    const void *value = s->base + s->row.value_offset;
    *out = (struct tr_stat_row){.name = s->row.name,
                                .scope = s->row.scope,
                                .help = s->row.help,
                                .kind = (enum tr_stat_kind)s->row.kind};
    if (out->kind != TR_STAT_HISTOGRAM) {
        out->value = tr_load_relaxed((const uint64_t *)value);
        return TR_OK;
    }
    const struct tr_histogram *h = (const struct tr_histogram *)value;
    out->value = tr_histogram_count(h);
    out->p50_ns = tr_histogram_percentile_ns(h, 500000);
    out->p99_ns = tr_histogram_percentile_ns(h, 990000);
    out->p999_ns = tr_histogram_percentile_ns(h, 999000);
    out->max_ns = tr_histogram_max_ns(h);
    return TR_OK;
}

int tr_stat_alive(const struct tr_stat *s)
{
    return tr_process_alive(s->header.process, s->header.born) ? 1 : 0;
}

void tr_stat_list(void (*each)(void *context, const char *name), void *context)
{
    DIR *folder = opendir(SEGMENT_FOLDER);
    struct dirent *entry;
    if (folder == NULL)
        return;
    while ((entry = readdir(folder)) != NULL) {
        if (strncmp(entry->d_name, TR_COUNTERS_PREFIX, strlen(TR_COUNTERS_PREFIX)) == 0)
            each(context, entry->d_name + strlen(TR_COUNTERS_PREFIX));
    }
    closedir(folder);
}
