/*
 * Snapshots in memory: the session table, then the state machine, under one CRC.
 *
 * The table stands in front, so that a restored replica answers retries as the one that made the
 * snapshot would. What is read back came over the network: it is checked before anything is
 * changed.
 */
#include "dataplane/apply.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "trireme/error.h"

#include <string.h>

#define IMAGE_MAGIC   UINT64_C(0x3150414e53525421) /* "!TRSNAP1" */
#define IMAGE_VERSION 1u

/* The beginning of an image. Little-endian. */
struct image_header {
    uint64_t magic;
    uint32_t version;
    uint32_t group;
    uint64_t slot;
    uint64_t sessions_bytes, machine_bytes;
    uint64_t reserved; /* zero */
};

tr_static_assert(sizeof(struct image_header) == 48, "no implicit padding");

struct tr_writer {
    uint8_t *next, *end;
};

struct tr_reader {
    const uint8_t *next, *end;
};

int tr_writer_put(struct tr_writer *w, const void *data, size_t bytes)
{
    if (bytes > (size_t)(w->end - w->next))
        return TR_EFULL;
    if (bytes != 0)
        memcpy(w->next, data, bytes);
    w->next += bytes;
    return TR_OK;
}

const void *tr_reader_view(struct tr_reader *r, size_t bytes)
{
    if (bytes > tr_reader_left(r))
        return NULL;
    const void *at = r->next;
    r->next += bytes;
    return at;
}

int tr_reader_get(struct tr_reader *r, void *data, size_t bytes)
{
    const void *at = tr_reader_view(r, bytes);
    if (at == NULL)
        return TR_EPROTO;
    if (bytes != 0)
        memcpy(data, at, bytes);
    return TR_OK;
}

size_t tr_reader_left(const struct tr_reader *r)
{
    return (size_t)(r->end - r->next);
}

static int put_sessions(void *context, const void *data, uint64_t bytes)
{
    return tr_writer_put((struct tr_writer *)context, data, bytes);
}

/* Writes table and state machine behind the header. Returns TR_OK or why it was given up. */
static int write_image(struct tr_apply *a, struct image_header *header, struct tr_writer *w)
{
    const uint8_t *begin = w->next;
    int status = tr_sessions_save(a->sessions, put_sessions, w);
    if (status != 0)
        return TR_EFULL;
    header->sessions_bytes = (uint64_t)(w->next - begin);
    begin = w->next;
    status = a->machine.snapshot(a->machine.context, w);
    header->machine_bytes = (uint64_t)(w->next - begin);
    return status;
}

void tr_snapshot_make(struct tr_apply *a, uint32_t image, struct tr_apply_result *out)
{
    uint8_t *data = a->image[image].data;
    struct tr_writer w = {.next = data + sizeof(struct image_header), .end = data + a->image_bytes};
    struct image_header header = {.magic = IMAGE_MAGIC,
                                  .version = IMAGE_VERSION,
                                  .group = a->group,
                                  .slot = tr_load_relaxed(&a->slot_applied)};
    out->image = image;
    out->slot = header.slot;
    out->status = write_image(a, &header, &w);
    if (out->status != TR_OK) {
        tr_log(a->logger, TR_LOG_WARN, "group %u: no snapshot at slot %lu: %s", a->group,
               (unsigned long)header.slot, tr_strerror(out->status));
        return;
    }
    memcpy(data, &header, sizeof(header));
    out->bytes = (uint64_t)(w.next - data);
    out->crc = tr_crc32c(0, data, out->bytes);
}

/* Takes the header of an image apart. Returns TR_OK, TR_EPROTO, TR_EVERSION. */
static int check_header(const struct tr_apply *a, const struct image_header *header, uint64_t bytes,
                        uint64_t slot)
{
    if (header->magic != IMAGE_MAGIC || header->group != a->group || header->slot != slot ||
        header->reserved != 0)
        return TR_EPROTO;
    if (header->version != IMAGE_VERSION)
        return TR_EVERSION;
    uint64_t body = bytes - sizeof(*header);
    return header->sessions_bytes <= body && header->machine_bytes == body - header->sessions_bytes
               ? TR_OK
               : TR_EPROTO;
}

/* What the table says of this node's sessions now: applied elsewhere, or gone. */
static void take_over_sessions(struct tr_apply *a)
{
    for (uint32_t i = 0; i < a->local_max; i++) {
        struct tr_session *s = a->local[i];
        uint64_t number = s != NULL ? tr_load_relaxed(&s->number) : 0;
        if (number == 0 || number == UINT64_MAX)
            continue;
        uint64_t applied = tr_sessions_applied(a->sessions, number);
        if (applied == UINT64_MAX)
            continue;
        /* A remote client's may have been sent through another node: those come here again. */
        applied = tr_min_u64(applied, tr_load_acquire(&s->command.submitted)); /* (S) */
        if (applied <= tr_load_relaxed(&s->applied))
            continue;
        tr_store_release(&s->applied, applied); /* (A) */
        tr_complete_attend(a, s);               /* delivers them from the cache */
    }
    tr_complete_evicted(a);
}

/* Restores the table and the state machine. Nothing is changed before the table is known good. */
static int read_image(struct tr_apply *a, const uint8_t *data, const struct image_header *header)
{
    const uint8_t *sessions = data + sizeof(*header);
    if (tr_sessions_load(a->sessions, sessions, header->sessions_bytes) != header->sessions_bytes)
        return TR_EPROTO;
    const uint8_t *machine = sessions + header->sessions_bytes;
    struct tr_reader r = {.next = machine, .end = machine + header->machine_bytes};
    return a->machine.restore(a->machine.context, &r);
}

/* Looks at an image that has arrived, before anything is changed. Returns TR_OK, TR_ETOOBIG,
 * TR_ECORRUPT, TR_EPROTO, TR_EVERSION. */
static int check_image(const struct tr_apply *a, const struct tr_apply_message *m,
                       struct image_header *header)
{
    const uint8_t *data = a->image[m->image].data;
    if (m->bytes > a->image_bytes)
        return TR_ETOOBIG;
    if (m->bytes < sizeof(*header) || tr_crc32c(0, data, m->bytes) != m->crc)
        return TR_ECORRUPT;
    memcpy(header, data, sizeof(*header));
    return check_header(a, header, m->bytes, m->slot);
}

void tr_snapshot_install(struct tr_apply *a, const struct tr_apply_message *m,
                         struct tr_apply_result *out)
{
    struct image_header header;
    *out = (struct tr_apply_result){
        .slot = m->slot, .bytes = m->bytes, .crc = m->crc, .image = m->image, .installed = 1};
    out->status = check_image(a, m, &header);
    if (out->status != TR_OK) {
        tr_log(a->logger, TR_LOG_WARN,
               "group %u: the snapshot of slot %lu that arrived (%lu bytes) is of no use: %s",
               a->group, (unsigned long)m->slot, (unsigned long)m->bytes, tr_strerror(out->status));
        return;
    }
    if (m->slot <= tr_load_relaxed(&a->slot_applied))
        return;
    out->status = read_image(a, a->image[m->image].data, &header);
    if (out->status != TR_OK) {
        tr_log(a->logger, TR_LOG_ERROR, "group %u: the snapshot of slot %lu cannot be restored: %s",
               a->group, (unsigned long)m->slot, tr_strerror(out->status));
        a->stopped = true;
        out->lost = 1;
        return;
    }
    tr_store_release(&a->slot_applied, m->slot); /* (P) */
    take_over_sessions(a);
}
