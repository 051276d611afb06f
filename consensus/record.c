#include "consensus/record.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"

/* Records and runs are read and written as structs: both targets are little-endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records lie in memory as on the wire");
_Static_assert(sizeof(struct tr_run) % 8 == 0, "commands begin at multiples of 8");

/* Bytes of the lengths of a run whose commands differ in length. */
static inline uint32_t lengths_bytes(uint32_t count)
{
    return tr_align_up_u32(count * (uint32_t)sizeof(uint32_t), 8);
}

/* Bytes after the header of a run of differing lengths, of which `left` can be read; above left
 * when the lengths lie. */
static uint64_t varying_bytes(const struct tr_run *run, uint32_t left)
{
    const uint32_t *lengths = (const uint32_t *)(const void *)(run + 1);
    uint64_t bytes = lengths_bytes(run->count);
    if (bytes > left)
        return bytes;
    for (uint32_t i = 0; i < run->count; i++)
        bytes += tr_align_up_u64(lengths[i], 8);
    return bytes;
}

/* Whether the fields of a run agree with its kind. */
static inline bool run_header_valid(const struct tr_run *run)
{
    if (tr_unlikely(run->reserved8 != 0))
        return false;
    if (tr_likely(run->kind == TR_RUN_COMMANDS))
        return run->count - 1u < TR_BATCH_COMMANDS_MAX && run->session != 0 &&
               run->sequence - 1 < TR_SEQUENCE_MAX;
    if (run->kind == TR_RUN_REGISTER)
        return run->count == 1 && run->bytes_each == TR_NONCE_BYTES;
    return run->kind == TR_RUN_CLOSE && run->count == 1 && run->bytes_each == 0 &&
           run->session != 0;
}

bool tr_run_next(const void *payload, uint32_t bytes, uint32_t *cursor, struct tr_run_view *out)
{
    uint32_t at = *cursor;
    if (at >= bytes || bytes - at < sizeof(struct tr_run))
        return false;
    const struct tr_run *run = (const struct tr_run *)((const uint8_t *)payload + at);
    uint32_t left = bytes - at - (uint32_t)sizeof(*run);
    if (tr_unlikely(!run_header_valid(run)))
        return false;
    const uint8_t *data = (const uint8_t *)(run + 1);
    const uint32_t *lengths = NULL;
    uint64_t body;
    if (tr_likely(run->bytes_each != TR_RUN_BYTES_VARY)) {
        body = run->count * tr_align_up_u64(run->bytes_each, 8);
    } else {
        body = varying_bytes(run, left);
        lengths = (const uint32_t *)(const void *)data;
        data += lengths_bytes(run->count);
    }
    if (tr_unlikely(body > left))
        return false;
    out->run = run;
    out->lengths = lengths;
    out->data = data;
    *cursor = at + (uint32_t)sizeof(*run) + (uint32_t)body;
    return true;
}

bool tr_runs_valid(const void *payload, uint32_t bytes, uint32_t command_count)
{
    struct tr_run_view view;
    uint32_t cursor = 0;
    uint32_t count = 0;
    /* Every run has a command, so a payload within the limit ends before the bound does. */
    for (uint32_t i = 0; i <= TR_BATCH_COMMANDS_MAX && tr_run_next(payload, bytes, &cursor, &view);
         i++)
        count += view.run->count;
    return cursor == bytes && count == command_count && count - 1 < TR_BATCH_COMMANDS_MAX;
}
