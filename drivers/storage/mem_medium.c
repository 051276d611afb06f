/* A medium in memory: the ring of records, and what tests do to it. */
#include "drivers/storage/mem_medium.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "trireme/error.h"

#include <string.h>

tr_static_assert(sizeof(struct tr_mem_record) == 32, "no implicit padding");

/* ---- records */

/* Bytes from a position to the end of the lap. */
static uint64_t left_of_lap(const struct tr_storage_medium *m, uint64_t position)
{
    return m->log_bytes - (position & (m->log_bytes - 1));
}

struct tr_mem_record *tr_mem_at(const struct tr_storage_medium *m, uint64_t position)
{
    return (struct tr_mem_record *)(void *)(m->log + (position & (m->log_bytes - 1)));
}

uint32_t tr_mem_record_crc(const struct tr_mem_record *record, uint64_t position)
{
    uint32_t of_place = tr_crc32c(0, &position, sizeof(position));
    return tr_crc32c(of_place, record, offsetof(struct tr_mem_record, crc));
}

bool tr_mem_header_valid(const struct tr_storage_medium *m, uint64_t position)
{
    const struct tr_mem_record *record = tr_mem_at(m, position);
    uint64_t left = left_of_lap(m, position);
    return left >= sizeof(*record) && record->crc == tr_mem_record_crc(record, position) &&
           tr_mem_record_bytes(record->bytes) <= left;
}

bool tr_mem_bytes_valid(const struct tr_mem_record *record)
{
    return tr_crc32c(0, record + 1, record->bytes) == record->bytes_crc;
}

uint64_t tr_mem_skip(const struct tr_storage_medium *m, uint64_t position)
{
    uint64_t left = left_of_lap(m, position);
    if (position < m->head &&
        (left < sizeof(struct tr_mem_record) ||
         (tr_mem_header_valid(m, position) && tr_mem_at(m, position)->kind == TR_MEM_PAD)))
        return position + left;
    return position;
}

uint64_t tr_mem_next(const struct tr_storage_medium *m, uint64_t position)
{
    return tr_mem_skip(m, position + tr_mem_record_bytes(tr_mem_at(m, position)->bytes));
}

/* ---- becoming durable */

static void take_metadata(struct tr_storage_medium *m, const struct tr_mem_record *record)
{
    memcpy(m->metadata, record + 1, record->bytes);
    m->metadata_bytes = record->bytes;
    m->metadata_crc = record->bytes_crc;
}

uint64_t tr_mem_make_durable(struct tr_storage_medium *m, uint64_t position)
{
    uint64_t sequence = 0;
    for (uint64_t at = tr_mem_skip(m, m->durable); at < position; at = tr_mem_next(m, at)) {
        const struct tr_mem_record *record = tr_mem_at(m, at);
        if (record->kind == TR_MEM_METADATA)
            take_metadata(m, record);
        sequence = tr_max_u64(sequence, record->sequence);
    }
    m->durable = position;
    return sequence;
}

uint64_t tr_mem_after_writes(const struct tr_storage_medium *m, uint64_t writes)
{
    uint64_t at = tr_mem_skip(m, m->durable);
    while (at < m->head && writes > 0) {
        writes -= tr_mem_at(m, at)->last;
        at = tr_mem_next(m, at);
    }
    return tr_min_u64(at, m->head);
}

void tr_mem_recover(struct tr_storage_medium *m)
{
    uint64_t at = tr_mem_skip(m, m->durable);
    while (at < m->head && tr_mem_header_valid(m, at) && tr_mem_bytes_valid(tr_mem_at(m, at)))
        at = tr_mem_next(m, at);
    m->head = tr_min_u64(at, m->head);
    tr_mem_make_durable(m, m->head);
}

/* ---- what tests do */

int tr_storage_medium_create(const struct tr_storage_medium_options *options,
                             struct tr_storage_medium **out)
{
    const struct tr_memory *memory = &options->memory;
    if (options->struct_bytes != sizeof(*options) || !tr_is_power_of_two(options->log_bytes) ||
        options->log_bytes < 4096)
        return TR_EINVAL;
    struct tr_storage_medium *m =
        (struct tr_storage_medium *)memory->allocate(memory->context, sizeof(*m), TR_CACHE_LINE);
    if (m == NULL)
        return TR_ENOMEM;
    memset(m, 0, sizeof(*m));
    m->log_bytes = options->log_bytes;
    m->snapshot_bytes_max = options->snapshot_bytes_max;
    m->log = (uint8_t *)memory->allocate(memory->context, m->log_bytes, TR_CACHE_LINE);
    for (int i = 0; i < 2; i++)
        m->image[i].data = (uint8_t *)memory->allocate(
            memory->context, tr_max_u64(m->snapshot_bytes_max, 8), TR_CACHE_LINE);
    if (m->log == NULL || m->image[0].data == NULL || m->image[1].data == NULL)
        return TR_ENOMEM;
    *out = m;
    return TR_OK;
}

void tr_storage_medium_hold(struct tr_storage_medium *m, bool held)
{
    m->held = held;
    m->released = 0;
}

void tr_storage_medium_release(struct tr_storage_medium *m, uint64_t writes)
{
    m->released += writes;
}

void tr_storage_medium_fail(struct tr_storage_medium *m)
{
    m->fail_next = true;
}

void tr_storage_medium_crash(struct tr_storage_medium *m, uint64_t writes_kept, bool torn)
{
    uint64_t end = tr_mem_after_writes(m, writes_kept);
    if (torn && end < m->head) {
        struct tr_mem_record *record = tr_mem_at(m, end);
        uint8_t *bytes = (uint8_t *)(record + 1);
        if (record->bytes != 0)
            bytes[record->bytes - 1] ^= 0xff;
        else
            record->crc ^= 1;
        end += tr_mem_record_bytes(record->bytes);
    }
    m->head = end;
    m->image[1 - m->image_now].whole = false;
    m->user = NULL;
    m->held = m->fail_next = false;
    m->released = 0;
}

/* The newest entry of a slot, or NULL. */
static struct tr_mem_record *newest(const struct tr_storage_medium *m, uint64_t slot)
{
    struct tr_mem_record *found = NULL;
    for (uint64_t at = tr_mem_skip(m, m->tail); at < m->head; at = tr_mem_next(m, at)) {
        struct tr_mem_record *record = tr_mem_at(m, at);
        if (record->kind == TR_MEM_ENTRY && record->slot == slot)
            found = record;
    }
    return found;
}

int tr_storage_medium_misdirect(struct tr_storage_medium *m, uint64_t slot, uint64_t onto)
{
    struct tr_mem_record *written = newest(m, slot);
    struct tr_mem_record *lost = newest(m, onto);
    if (written == NULL || lost == NULL)
        return TR_ENOENT;
    if (slot == onto || written->bytes != lost->bytes)
        return TR_EINVAL;
    memcpy(lost, written, sizeof(*written) + written->bytes);
    memset(written, 0, sizeof(*written));
    return TR_OK;
}

int tr_storage_medium_spoil(struct tr_storage_medium *m, uint64_t slot,
                            enum tr_storage_damage damage)
{
    struct tr_mem_record *found = newest(m, slot);
    if (found == NULL)
        return TR_ENOENT;
    if (damage == TR_STORAGE_DAMAGE_HEADER || found->bytes == 0)
        found->crc ^= 1;
    else
        *(uint8_t *)(found + 1) ^= 1;
    return TR_OK;
}

void tr_storage_medium_spoil_metadata(struct tr_storage_medium *m)
{
    m->metadata_crc ^= 1;
}
