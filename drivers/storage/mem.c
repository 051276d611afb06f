/* The storage driver over a medium in memory. */
#include "drivers/storage/mem_medium.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "trireme/error.h"

#include <stdio.h>
#include <string.h>

struct tr_storage {
    const struct tr_storage_driver *driver;
    struct tr_storage_medium *medium;
    uint32_t entry_bytes_max;
    uint32_t failed; /* 1: a flush failed */
    struct tr_storage_mark mark;
    uint64_t sequence; /* of the last write taken */
    uint64_t writes;   /* calls that wrote: scans are over */

    /* The snapshot being written. */
    bool image_begun, image_committed;
    uint64_t image_at;       /* bytes written */
    uint64_t image_position; /* of the log at its commit: durable when this is */

    struct tr_storage_stats stats;
};

/* ---- opening */

static int refuse(const struct tr_storage_options *o, int status, const char *why)
{
    if (o->error != NULL && o->error_bytes != 0)
        snprintf(o->error, o->error_bytes, "storage mem: %s", why);
    return status;
}

/* The medium that was given, or one of its own. */
static int find_medium(const struct tr_storage_options *o, struct tr_storage_medium **out)
{
    struct tr_storage_medium_options own = {.struct_bytes = sizeof(own),
                                            .log_bytes = o->log_bytes,
                                            .snapshot_bytes_max = o->snapshot_bytes_max,
                                            .memory = o->memory};
    if (o->medium == NULL)
        return tr_storage_medium_create(&own, out);
    *out = (struct tr_storage_medium *)o->medium;
    return TR_OK;
}

static int check(const struct tr_storage_options *o, const struct tr_storage_medium *m)
{
    if (m->log_bytes < o->log_bytes || m->snapshot_bytes_max < o->snapshot_bytes_max)
        return refuse(o, TR_EINVAL, "the medium is smaller than log_bytes or snapshot_bytes_max");
    if (4 * tr_mem_record_bytes(o->entry_bytes_max) > m->log_bytes)
        return refuse(o, TR_EINVAL, "log_bytes does not hold four of the largest entries");
    if (m->used && m->group != o->group)
        return refuse(o, TR_ECORRUPT, "what lies there is another group's");
    if (m->user != NULL)
        return refuse(o, TR_EBUSY, "it is open already");
    return TR_OK;
}

static int mem_open(const struct tr_storage_options *o, struct tr_storage **out)
{
    struct tr_storage_medium *m = NULL;
    if (o->struct_bytes != sizeof(*o) || (o->extra != NULL && o->extra[0] != '\0'))
        return refuse(o, TR_EINVAL, "struct_bytes, or an option that is none");
    int status = find_medium(o, &m);
    if (status != TR_OK)
        return refuse(o, status, "log_bytes is no power of two of at least 4096, or no memory");
    status = check(o, m);
    if (status != TR_OK)
        return status;
    struct tr_storage *s =
        (struct tr_storage *)o->memory.allocate(o->memory.context, sizeof(*s), TR_CACHE_LINE);
    if (s == NULL)
        return refuse(o, TR_ENOMEM, "no memory");
    *s = (struct tr_storage){.driver = &tr_storage_mem,
                             .medium = m,
                             .entry_bytes_max = o->entry_bytes_max,
                             .mark = {.generation = ++m->generation}};
    m->user = s;
    m->used = true;
    m->group = o->group;
    tr_mem_recover(m);
    *out = s;
    return TR_OK;
}

static void mem_close(struct tr_storage *s)
{
    if (s->medium->user == s)
        s->medium->user = NULL;
}

static void mem_limits(const struct tr_storage *s, struct tr_storage_limits *out)
{
    *out = (struct tr_storage_limits){.entry_bytes_max = s->entry_bytes_max,
                                      .log_bytes = s->medium->log_bytes,
                                      .snapshot_bytes_max = s->medium->snapshot_bytes_max};
}

/* Whether nothing is written through this storage any more: a flush failed, or the process that
 * opened it is dead. */
static bool is_dead(const struct tr_storage *s)
{
    return s->failed != 0 || s->medium->user != s;
}

/* ---- writing */

/* Where a record of so many bytes goes when the head is there: not across the end of the lap. */
static uint64_t place(const struct tr_storage_medium *m, uint64_t head, uint64_t bytes)
{
    uint64_t offset = head & (m->log_bytes - 1);
    return offset + bytes <= m->log_bytes ? head : tr_align_up_u64(head, m->log_bytes);
}

/* Lets go of what is not needed at the tail. */
static void reclaim(struct tr_storage_medium *m)
{
    uint64_t at = tr_mem_skip(m, m->tail);
    while (at < m->durable) {
        const struct tr_mem_record *record = tr_mem_at(m, at);
        if (record->kind == TR_MEM_ENTRY && record->slot > m->truncated)
            break;
        at = tr_mem_next(m, at);
    }
    m->tail = tr_min_u64(at, m->durable);
}

/* Whether the log has room up to this position. */
static bool has_room(struct tr_storage_medium *m, uint64_t end)
{
    if (end - m->tail > m->log_bytes)
        reclaim(m);
    return end - m->tail <= m->log_bytes;
}

/* Appends one record, which fits. */
static uint8_t *put(struct tr_storage_medium *m, enum tr_mem_kind kind, uint64_t slot,
                    uint32_t bytes)
{
    uint64_t at = place(m, m->head, tr_mem_record_bytes(bytes));
    if (at != m->head && at - m->head >= sizeof(struct tr_mem_record)) {
        struct tr_mem_record *pad = tr_mem_at(m, m->head);
        *pad = (struct tr_mem_record){.kind = TR_MEM_PAD};
        pad->crc = tr_mem_record_crc(pad, m->head);
    }
    struct tr_mem_record *record = tr_mem_at(m, at);
    *record = (struct tr_mem_record){.slot = slot, .bytes = bytes, .kind = (uint16_t)kind};
    m->head = at + tr_mem_record_bytes(bytes);
    return (uint8_t *)(record + 1);
}

/* Completes the record that was put last, whose bytes are in place. */
static void seal(const struct tr_storage_medium *m, struct tr_mem_record *record, uint64_t sequence,
                 bool last)
{
    record->sequence = sequence;
    record->last = last;
    record->bytes_crc = tr_crc32c(0, record + 1, record->bytes);
    record->crc = tr_mem_record_crc(record, m->head - tr_mem_record_bytes(record->bytes));
}

/* A write was taken. */
static void took(struct tr_storage *s, uint64_t sequence, uint64_t bytes)
{
    tr_assert(sequence == 0 || sequence > s->sequence);
    s->sequence = sequence != 0 ? sequence : s->sequence;
    s->writes++;
    s->stats.writes++;
    s->stats.bytes += bytes;
}

static uint32_t bytes_of(const struct tr_storage_entry *entry)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < entry->segment_count; i++)
        bytes += entry->segment[i].bytes;
    return bytes;
}

static void put_entry(struct tr_storage_medium *m, const struct tr_storage_entry *entry,
                      uint64_t sequence, bool last)
{
    uint8_t *to = put(m, TR_MEM_ENTRY, entry->slot, bytes_of(entry));
    struct tr_mem_record *record = (struct tr_mem_record *)(void *)to - 1;
    for (uint32_t i = 0; i < entry->segment_count; i++) {
        if (entry->segment[i].bytes != 0)
            memcpy(to, entry->segment[i].data, entry->segment[i].bytes);
        to += entry->segment[i].bytes;
    }
    seal(m, record, last ? sequence : 0, last);
}

static void put_nothing(struct tr_storage_medium *m, uint64_t sequence)
{
    uint8_t *to = put(m, TR_MEM_NOTHING, 0, 0);
    seal(m, (struct tr_mem_record *)(void *)to - 1, sequence, true);
}

static int mem_append(struct tr_storage *s, uint64_t sequence, const struct tr_storage_entry *entry,
                      uint32_t count)
{
    struct tr_storage_medium *m = s->medium;
    uint64_t end = m->head, bytes = 0;
    if (is_dead(s))
        return TR_EIO;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t each = bytes_of(&entry[i]);
        if (each > s->entry_bytes_max)
            return TR_ETOOBIG;
        bytes += each;
        end = place(m, end, tr_mem_record_bytes(each)) + tr_mem_record_bytes(each);
    }
    if (count == 0)
        end = place(m, end, tr_mem_record_bytes(0)) + tr_mem_record_bytes(0);
    if (!has_room(m, end)) {
        s->stats.refused++;
        return TR_AGAIN;
    }
    if (count == 0)
        put_nothing(m, sequence);
    for (uint32_t i = 0; i < count; i++)
        put_entry(m, &entry[i], sequence, i + 1 == count);
    took(s, sequence, bytes);
    return TR_OK;
}

static int mem_metadata(struct tr_storage *s, uint64_t sequence, const void *data, uint32_t bytes)
{
    struct tr_storage_medium *m = s->medium;
    uint64_t need = tr_mem_record_bytes(bytes);
    if (is_dead(s))
        return TR_EIO;
    if (bytes == 0 || bytes > TR_STORAGE_METADATA_MAX)
        return TR_ETOOBIG;
    if (!has_room(m, place(m, m->head, need) + need)) {
        s->stats.refused++;
        return TR_AGAIN;
    }
    uint8_t *to = put(m, TR_MEM_METADATA, 0, bytes);
    memcpy(to, data, bytes);
    seal(m, (struct tr_mem_record *)(void *)to - 1, sequence, true);
    took(s, sequence, bytes);
    return TR_OK;
}

/* ---- becoming durable */

/* The snapshot that is written takes the place of the old one. */
static void turn_image(struct tr_storage *s)
{
    struct tr_storage_medium *m = s->medium;
    m->image_now = (uint8_t)(1 - m->image_now);
    s->image_begun = s->image_committed = false;
    s->stats.snapshots++;
}

static int mem_poll(struct tr_storage *s, struct tr_storage_mark *durable)
{
    struct tr_storage_medium *m = s->medium;
    *durable = s->mark;
    if (is_dead(s))
        return TR_EIO;
    uint64_t end = m->held ? tr_mem_after_writes(m, m->released) : m->head;
    bool image_due = s->image_committed && end >= s->image_position;
    image_due = image_due && (!m->held || m->released > 0);
    m->released = 0;
    if (end == m->durable && !image_due)
        return TR_OK;
    if (m->fail_next) {
        m->fail_next = false;
        s->failed = 1;
        s->stats.flushes_failed++;
        return TR_EIO;
    }
    s->stats.flushes++;
    uint64_t sequence = tr_mem_make_durable(m, end);
    s->mark.sequence = tr_max_u64(s->mark.sequence, sequence);
    if (image_due)
        turn_image(s);
    *durable = s->mark;
    return TR_OK;
}

/* ---- snapshots */

static struct tr_mem_image *image_next(struct tr_storage *s)
{
    return &s->medium->image[1 - s->medium->image_now];
}

static int mem_snapshot_begin(struct tr_storage *s, uint64_t slot, uint64_t bytes, uint32_t crc)
{
    if (is_dead(s))
        return TR_EIO;
    if (bytes > s->medium->snapshot_bytes_max)
        return TR_ETOOBIG;
    struct tr_mem_image *image = image_next(s);
    image->whole = false;
    image->info = (struct tr_storage_snapshot){.slot = slot, .bytes = bytes, .crc = crc};
    s->image_begun = true;
    s->image_committed = false;
    s->image_at = 0;
    s->writes++;
    return TR_OK;
}

static int mem_snapshot_write(struct tr_storage *s, const void *data, uint32_t bytes)
{
    struct tr_mem_image *image = image_next(s);
    if (is_dead(s))
        return TR_EIO;
    if (!s->image_begun || s->image_committed || bytes > TR_STORAGE_CHUNK_BYTES ||
        bytes > image->info.bytes - s->image_at)
        return TR_EINVAL;
    memcpy(image->data + s->image_at, data, bytes);
    s->image_at += bytes;
    return TR_OK;
}

static int mem_snapshot_commit(struct tr_storage *s)
{
    struct tr_mem_image *image = image_next(s);
    if (is_dead(s))
        return TR_EIO;
    if (!s->image_begun || s->image_committed || s->image_at != image->info.bytes)
        return TR_EINVAL;
    image->whole = true;
    s->image_committed = true;
    s->image_position = s->medium->head;
    return TR_OK;
}

static int mem_snapshot(const struct tr_storage *s, struct tr_storage_snapshot *out)
{
    const struct tr_mem_image *image = &s->medium->image[s->medium->image_now];
    if (!image->whole)
        return TR_ENOENT;
    *out = image->info;
    return TR_OK;
}

static int mem_snapshot_read(struct tr_storage *s, uint64_t offset, void *data, uint32_t bytes)
{
    const struct tr_mem_image *image = &s->medium->image[s->medium->image_now];
    if (!image->whole)
        return TR_ENOENT;
    if (offset > image->info.bytes || bytes > image->info.bytes - offset ||
        bytes > TR_STORAGE_CHUNK_BYTES)
        return TR_ERANGE;
    memcpy(data, image->data + offset, bytes);
    return TR_OK;
}

static int mem_truncate(struct tr_storage *s, uint64_t slot)
{
    struct tr_storage_medium *m = s->medium;
    const struct tr_mem_image *image = &m->image[m->image_now];
    if (is_dead(s))
        return TR_EIO;
    if (!image->whole || image->info.slot < slot)
        return TR_EINVAL;
    m->truncated = tr_max_u64(m->truncated, slot);
    reclaim(m);
    s->writes++;
    s->stats.truncations++;
    return TR_OK;
}

/* ---- reading back */

/* Stages of a scan. */
enum { SCAN_METADATA = 0, SCAN_ENTRIES = 1, SCAN_END = 2 };

static void found_unknown(struct tr_storage *s, uint64_t first, uint64_t last,
                          struct tr_storage_item *out)
{
    *out = (struct tr_storage_item){
        .kind = TR_STORAGE_UNKNOWN, .slot_first = first, .slot_last = last};
    s->stats.unknown++;
}

/* The metadata, when there ever was some. Returns whether there was. */
static bool scan_metadata(struct tr_storage *s, struct tr_storage_item *out)
{
    const struct tr_storage_medium *m = s->medium;
    if (m->metadata_bytes == 0)
        return false;
    if (tr_crc32c(0, m->metadata, m->metadata_bytes) != m->metadata_crc)
        found_unknown(s, 0, 0, out);
    else
        *out = (struct tr_storage_item){
            .kind = TR_STORAGE_METADATA, .bytes = m->metadata_bytes, .data = m->metadata};
    return true;
}

/* The record at the cursor. Returns whether it is one to tell of. */
static bool scan_record(struct tr_storage *s, struct tr_storage_cursor *cursor,
                        struct tr_storage_item *out)
{
    const struct tr_storage_medium *m = s->medium;
    if (!tr_mem_header_valid(m, cursor->position)) {
        /* Where the next one begins is not known either. */
        cursor->stage = SCAN_END;
        found_unknown(s, m->truncated + 1, UINT64_MAX, out);
        return true;
    }
    const struct tr_mem_record *record = tr_mem_at(m, cursor->position);
    cursor->position = tr_mem_next(m, cursor->position);
    if (record->kind != TR_MEM_ENTRY || record->slot <= m->truncated)
        return false;
    if (!tr_mem_bytes_valid(record)) {
        found_unknown(s, record->slot, record->slot, out);
        return true;
    }
    *out = (struct tr_storage_item){.kind = TR_STORAGE_ENTRY,
                                    .bytes = record->bytes,
                                    .slot_first = record->slot,
                                    .slot_last = record->slot,
                                    .data = record + 1};
    s->stats.entries++;
    return true;
}

static int mem_scan(struct tr_storage *s, struct tr_storage_cursor *cursor,
                    struct tr_storage_item *out)
{
    const struct tr_storage_medium *m = s->medium;
    if (s->writes != 0)
        return TR_EINVAL;
    if (cursor->stage == SCAN_METADATA) {
        cursor->stage = SCAN_ENTRIES;
        cursor->position = tr_mem_skip(m, m->tail);
        if (scan_metadata(s, out))
            return TR_OK;
    }
    while (cursor->stage == SCAN_ENTRIES && cursor->position < m->durable)
        if (scan_record(s, cursor, out))
            return TR_OK;
    return TR_ENOENT;
}

static void mem_stats(const struct tr_storage *s, struct tr_storage_stats *out)
{
    *out = s->stats;
    out->log_bytes_used = s->medium->head - s->medium->tail;
}

const struct tr_storage_driver tr_storage_mem = {
    .name = "mem",
    .abi_bytes = sizeof(struct tr_storage_driver),
    .capabilities = TR_STORAGE_DELAYED,
    .summary = "a medium in memory, which a test can hold back, crash and spoil",
    .open = mem_open,
    .close = mem_close,
    .limits = mem_limits,
    .append = mem_append,
    .metadata = mem_metadata,
    .poll = mem_poll,
    .snapshot_begin = mem_snapshot_begin,
    .snapshot_write = mem_snapshot_write,
    .snapshot_commit = mem_snapshot_commit,
    .snapshot = mem_snapshot,
    .snapshot_read = mem_snapshot_read,
    .truncate = mem_truncate,
    .scan = mem_scan,
    .stats = mem_stats,
};
