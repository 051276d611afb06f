/* Cutting messages into pieces, and putting them together again. */
#include "drivers/fragment.h"

#include "base/assert.h"
#include "trireme/error.h"

enum entry_state { ENTRY_FREE = 0, ENTRY_PARTIAL, ENTRY_HELD };

/* A message under way, or handed up. */
struct tr_reassembly_entry {
    enum entry_state state;
    uint32_t message_bytes;
    uint64_t source;
    uint64_t message;
    uint64_t birth;
    uint32_t unit_bytes;
    uint32_t count; /* pieces of it */
    uint32_t have;  /* pieces that came */
    uint8_t *buffer;
    uint64_t came[TR_PIECES_MAX / 64]; /* one bit a piece */
};

static uint32_t piece_count(uint32_t message_bytes, uint32_t unit_bytes)
{
    return (uint32_t)(((uint64_t)message_bytes + unit_bytes - 1) / unit_bytes);
}

bool tr_piece_read(const uint8_t *at, struct tr_frame *frame)
{
    uint32_t count, expected;
    frame->data = at + TR_PIECE_BYTES;
    frame->message = tr_load_le64(at + 8);
    frame->message_bytes = tr_load_le32(at + 16);
    frame->unit_bytes = 8u * tr_load_le16(at + 20);
    frame->index = tr_load_le16(at + 22);
    if (frame->unit_bytes < TR_PIECE_UNIT_MIN || frame->message_bytes <= frame->unit_bytes)
        return false;
    count = piece_count(frame->message_bytes, frame->unit_bytes);
    if (count > TR_PIECES_MAX || frame->index >= count)
        return false;
    expected = frame->index + 1 < count ? frame->unit_bytes
                                        : frame->message_bytes - (count - 1) * frame->unit_bytes;
    return frame->bytes == expected;
}

struct tr_cut tr_cut_plan(uint64_t message, uint32_t message_bytes, uint32_t datagram_bytes)
{
    struct tr_cut cut = {.message = message, .message_bytes = message_bytes};
    cut.unit_bytes = tr_align_down_u32(datagram_bytes - TR_PIECE_BYTES, 8);
    tr_assert(cut.unit_bytes >= TR_PIECE_UNIT_MIN && cut.unit_bytes <= TR_PIECE_UNIT_MAX);
    cut.count = piece_count(message_bytes, cut.unit_bytes);
    tr_assert(cut.count >= 2 && cut.count <= TR_PIECES_MAX);
    return cut;
}

void tr_cut_header(const struct tr_cut *cut, uint32_t index, uint8_t *at)
{
    tr_store_le32(at, TR_FRAME_MARK | TR_FRAME_PIECE << 16);
    tr_store_le32(at + 4, tr_cut_bytes(cut, index));
    tr_store_le64(at + 8, cut->message);
    tr_store_le32(at + 16, cut->message_bytes);
    tr_store_le16(at + 20, (uint16_t)(cut->unit_bytes / 8));
    tr_store_le16(at + 22, (uint16_t)index);
}

int tr_reassembly_init(struct tr_reassembly *r, const struct tr_memory *memory,
                       uint32_t entry_count, uint32_t message_bytes_max)
{
    tr_assert(entry_count > 0 && message_bytes_max <= TR_FRAGMENT_MESSAGE_BYTES_MAX);
    memset(r, 0, sizeof(*r));
    r->entry_count = entry_count;
    r->message_bytes_max = message_bytes_max;
    r->entries = memory->allocate(memory->context, entry_count * sizeof(*r->entries), 64);
    if (r->entries == NULL)
        return TR_ENOMEM;
    for (uint32_t i = 0; i < entry_count; i++) {
        /* A cache line apart from the next, so that pages do not share their place in the cache. */
        r->entries[i].buffer =
            memory->allocate(memory->context, (size_t)message_bytes_max + 64, 64);
        if (r->entries[i].buffer == NULL)
            return TR_ENOMEM;
    }
    tr_reassembly_reset(r);
    return TR_OK;
}

void tr_reassembly_reset(struct tr_reassembly *r)
{
    for (uint32_t i = 0; i < r->entry_count; i++)
        r->entries[i].state = ENTRY_FREE;
    r->held_count = 0;
    r->births = 0;
    r->done_next = 0;
    r->done_count = 0;
}

static struct tr_reassembly_entry *find_entry(struct tr_reassembly *r, uint64_t source,
                                              uint64_t message)
{
    for (uint32_t i = 0; i < r->entry_count; i++) {
        struct tr_reassembly_entry *e = &r->entries[i];
        if (e->state == ENTRY_PARTIAL && e->message == message && e->source == source)
            return e;
    }
    return NULL;
}

static bool was_completed(const struct tr_reassembly *r, uint64_t source, uint64_t message)
{
    for (uint32_t i = 0; i < r->done_count; i++) {
        if (r->done[i].message == message && r->done[i].source == source)
            return true;
    }
    return false;
}

/* A free entry, else the oldest unfinished one; NULL if all are handed up. */
static struct tr_reassembly_entry *choose_entry(struct tr_reassembly *r)
{
    struct tr_reassembly_entry *oldest = NULL;
    for (uint32_t i = 0; i < r->entry_count; i++) {
        struct tr_reassembly_entry *e = &r->entries[i];
        if (e->state == ENTRY_FREE)
            return e;
        if (e->state == ENTRY_PARTIAL && (oldest == NULL || e->birth < oldest->birth))
            oldest = e;
    }
    return oldest;
}

static void begin_message(struct tr_reassembly *r, struct tr_reassembly_entry *e, uint64_t source,
                          const struct tr_frame *piece)
{
    e->state = ENTRY_PARTIAL;
    e->source = source;
    e->message = piece->message;
    e->message_bytes = piece->message_bytes;
    e->unit_bytes = piece->unit_bytes;
    e->count = piece_count(piece->message_bytes, piece->unit_bytes);
    e->have = 0;
    e->birth = ++r->births;
    memset(e->came, 0, (e->count + 63) / 64 * sizeof(e->came[0]));
}

static void finish_message(struct tr_reassembly *r, struct tr_reassembly_entry *e,
                           struct tr_span *out)
{
    e->state = ENTRY_HELD;
    r->held_count++;
    r->done[r->done_next].source = e->source;
    r->done[r->done_next].message = e->message;
    r->done_next = (r->done_next + 1) % TR_REASSEMBLY_DONE;
    r->done_count = tr_min_u32(r->done_count + 1, TR_REASSEMBLY_DONE);
    *out = tr_span_of(e->buffer, e->message_bytes);
}

enum tr_reassembly_result tr_reassembly_add(struct tr_reassembly *r, uint64_t source,
                                            const struct tr_frame *piece, struct tr_span *out,
                                            uint64_t *evicted)
{
    struct tr_reassembly_entry *e;
    uint64_t bit = UINT64_C(1) << (piece->index % 64);
    if (piece->message_bytes > r->message_bytes_max)
        return TR_PIECE_REFUSED;
    e = find_entry(r, source, piece->message);
    if (e == NULL) {
        if (was_completed(r, source, piece->message))
            return TR_PIECE_DUPLICATE;
        e = choose_entry(r);
        if (e == NULL)
            return TR_PIECE_WAITS;
        *evicted += e->state == ENTRY_PARTIAL;
        begin_message(r, e, source, piece);
    } else if (piece->message_bytes != e->message_bytes || piece->unit_bytes != e->unit_bytes) {
        return TR_PIECE_REFUSED;
    }
    if (e->came[piece->index / 64] & bit)
        return TR_PIECE_DUPLICATE;
    /* tr_piece_read proved that the piece lies inside the message. */
    memcpy(e->buffer + (size_t)piece->index * e->unit_bytes, piece->data, piece->bytes);
    e->came[piece->index / 64] |= bit;
    if (++e->have < e->count)
        return TR_PIECE_TAKEN;
    finish_message(r, e, out);
    return TR_PIECE_COMPLETES;
}

void tr_reassembly_release(struct tr_reassembly *r)
{
    if (r->held_count == 0)
        return;
    for (uint32_t i = 0; i < r->entry_count; i++) {
        if (r->entries[i].state == ENTRY_HELD)
            r->entries[i].state = ENTRY_FREE;
    }
    r->held_count = 0;
}
