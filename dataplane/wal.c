/* PERSIST into a storage, and its mark back. */
#include "dataplane/wal.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "trireme/error.h"

#include <string.h>

tr_static_assert(sizeof(struct tr_wal_metadata) == 48, "no implicit padding");
tr_static_assert(sizeof(struct tr_wal_metadata) <= TR_STORAGE_METADATA_MAX, "it fits");

/* Entries of one append. */
#define APPEND_ENTRIES 32u
/* Chunks of a snapshot in one turn. */
#define IMAGE_CHUNKS 4

int tr_wal_open(struct tr_wal *w, const struct tr_wal_options *options,
                const struct tr_replica_config *config, uint64_t snapshot_bytes_max,
                const struct tr_logger *logger, char *error, size_t error_bytes)
{
    struct tr_storage_options o = {
        .struct_bytes = sizeof(o),
        .place = options->place,
        .group = config->group,
        .entry_bytes_max = tr_record_bytes(config->entry_bytes_max),
        .log_bytes = options->log_bytes,
        .snapshot_bytes_max = snapshot_bytes_max,
        .memory = options->memory,
        .medium = options->medium,
        .extra = options->extra,
        .error = error,
        .error_bytes = error_bytes,
    };
    *w = (struct tr_wal){.driver = options->driver, .config = config, .logger = logger};
    int status = tr_storage_check(options->driver, error, error_bytes);
    if (status == TR_OK)
        status = options->driver->open(&o, &w->storage);
    if (status == TR_OK)
        w->driver->poll(w->storage, &w->mark); /* names this opening */
    return status;
}

void tr_wal_bind(struct tr_wal *w, const struct tr_replica *replica)
{
    w->replica = replica;
}

void tr_wal_close(struct tr_wal *w)
{
    if (w->storage != NULL)
        w->driver->close(w->storage);
    w->storage = NULL;
}

/* The storage can not be trusted any more. */
static void fail(struct tr_wal *w, const char *what)
{
    if (w->stats.failed == 0)
        tr_log(w->logger, TR_LOG_ERROR,
               "group %u: the storage failed (%s): what is not durable yet never will be; restart "
               "this node when the disk is sound",
               w->config->group, what);
    w->stats.failed = 1;
}

/* Whether the storage took a write. */
static bool took(struct tr_wal *w, int status, const char *what)
{
    if (status == TR_OK)
        w->stats.writes++;
    else if (status != TR_AGAIN)
        fail(w, what);
    return status == TR_OK;
}

/* ---- writing what is asked */

static bool write_promise(struct tr_wal *w, uint64_t sequence)
{
    struct tr_replica_status status;
    tr_replica_status(w->replica, &status);
    struct tr_wal_metadata m = {.magic = TR_WAL_METADATA_MAGIC,
                                .version = TR_WAL_METADATA_VERSION,
                                .group = w->config->group,
                                .cluster = w->config->cluster,
                                .ballot = w->ask.ballot,
                                .incarnation = status.incarnation};
    return took(w, w->driver->metadata(w->storage, sequence, &m, sizeof(m)), "promise");
}

/* Takes the next entries of the range that the log has. Returns how many; *next: the slot after
 * them. */
static uint32_t collect(const struct tr_wal *w, struct tr_storage_entry *entry, uint64_t *next)
{
    uint32_t count = 0;
    uint64_t slot = w->ask.slot_first;
    for (; slot <= w->ask.slot_last && count < APPEND_ENTRIES; slot++) {
        const struct tr_record *record = tr_replica_held(w->replica, slot);
        if (record == NULL)
            continue; /* a hole, or a snapshot stands for it by now */
        struct tr_storage_entry *e = &entry[count++];
        e->slot = slot;
        e->segment_count = 1;
        e->segment[0].data = record;
        e->segment[0].bytes = (uint32_t)sizeof(*record) + record->payload_bytes;
    }
    *next = slot;
    return count;
}

/* Writes the next entries of the range; the last ones bring the sequence with them. */
static bool write_entries(struct tr_wal *w)
{
    struct tr_storage_entry entry[APPEND_ENTRIES];
    uint64_t next;
    uint32_t count = collect(w, entry, &next);
    uint64_t sequence = next > w->ask.slot_last ? w->ask.sequence : 0;
    if ((count != 0 || sequence != 0) &&
        !took(w, w->driver->append(w->storage, sequence, entry, count), "entries"))
        return false;
    w->ask.slot_first = next;
    return true;
}

/* Writes what is asked, as far as the storage takes it. */
static void write_ask(struct tr_wal *w)
{
    struct tr_wal_ask *ask = &w->ask;
    if (ask->sequence == 0 || w->stats.failed != 0)
        return;
    if (ask->promise) {
        bool alone = ask->slot_first > ask->slot_last;
        if (!write_promise(w, alone ? ask->sequence : 0))
            return;
        ask->promise = false;
    }
    while (ask->slot_first <= ask->slot_last)
        if (!write_entries(w))
            return;
    *ask = (struct tr_wal_ask){.slot_first = 1};
}

void tr_wal_persist(void *context, const struct tr_effect *e)
{
    struct tr_wal *w = (struct tr_wal *)context;
    struct tr_wal_ask *ask = &w->ask;
    if (ask->sequence == 0)
        ask->slot_first = UINT64_MAX;
    switch (e->u.persist.what) {
    case TR_PERSIST_PROMISE:
        ask->promise = true;
        ask->ballot = e->u.persist.ballot;
        break;
    case TR_PERSIST_ENTRIES:
        ask->slot_first = tr_min_u64(ask->slot_first, e->u.persist.slot_first);
        ask->slot_last = tr_max_u64(ask->slot_last, e->u.persist.slot_last);
        break;
    case TR_PERSIST_SNAPSHOT:
        break; /* the shell keeps each snapshot as it is made: tr_wal_snapshot */
    }
    ask->sequence = e->u.persist.sequence;
    write_ask(w);
    w->stats.delayed += ask->sequence != 0;
}

/* ---- the snapshot */

void tr_wal_snapshot(struct tr_wal *w, uint64_t slot, const void *data, uint64_t bytes,
                     uint32_t crc)
{
    w->image = (const uint8_t *)data;
    w->image_slot = slot;
    w->image_bytes = bytes;
    w->image_crc = crc;
    w->image_at = 0;
    w->image_begun = w->image_committed = false;
}

/* Writes the next chunks. Returns whether all are written. */
static bool write_image(struct tr_wal *w)
{
    for (int i = 0; i < IMAGE_CHUNKS && w->image_at < w->image_bytes; i++) {
        uint32_t bytes = (uint32_t)tr_min_u64(w->image_bytes - w->image_at, TR_STORAGE_CHUNK_BYTES);
        int status = w->driver->snapshot_write(w->storage, w->image + w->image_at, bytes);
        if (!took(w, status, "snapshot"))
            return false;
        w->image_at += bytes;
    }
    return w->image_at == w->image_bytes;
}

/* Once it is durable, what it stands for is cut off. */
static void end_image(struct tr_wal *w)
{
    struct tr_storage_snapshot durable;
    if (w->driver->snapshot(w->storage, &durable) != TR_OK || durable.slot != w->image_slot)
        return;
    w->image = NULL;
    w->stats.snapshots++;
    if (w->driver->truncate(w->storage, durable.slot) != TR_OK)
        fail(w, "truncation");
}

/* Carries the snapshot on. */
static void advance_image(struct tr_wal *w)
{
    if (w->image == NULL || w->stats.failed != 0)
        return;
    if (w->image_committed) {
        end_image(w);
        return;
    }
    if (!w->image_begun) {
        int status =
            w->driver->snapshot_begin(w->storage, w->image_slot, w->image_bytes, w->image_crc);
        if (!took(w, status, "snapshot"))
            return;
        w->image_begun = true;
    }
    if (write_image(w))
        w->image_committed = took(w, w->driver->snapshot_commit(w->storage), "snapshot");
}

/* ---- the mark */

uint64_t tr_wal_durable(void *context)
{
    struct tr_wal *w = (struct tr_wal *)context;
    struct tr_storage_mark mark = w->mark;
    write_ask(w);
    advance_image(w);
    if (w->driver->poll(w->storage, &mark) != TR_OK)
        fail(w, "flush");
    if (mark.generation == w->mark.generation) /* rule 19: of no other opening */
        w->mark.sequence = tr_max_u64(w->mark.sequence, mark.sequence);
    return w->mark.sequence;
}
