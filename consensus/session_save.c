/*
 * The session table as bytes: for snapshots, and digests.
 *
 * Only what the table will ever look at again is saved, in an order that the log alone decides: the
 * sessions from the one touched longest ago to the last, then the runs of replies that the ring
 * would keep, by position. What lies between them is anybody's and is restored as fillers.
 * Positions are saved, because what has to go when depends on them.
 */
#include "consensus/session_state.h"

#define SAVED_MAGIC UINT64_C(0x31307365735f7274) /* "tr_ses01" */

/* Far above what is reached by writing, far below where sums would overflow. */
#define POSITION_MAX (UINT64_C(1) << 60)

struct saved_table {
    uint64_t magic;
    uint64_t reply_bytes;
    uint64_t head;
    uint64_t replies_count;
    uint32_t sessions_max;
    uint32_t sessions_count;
};

struct saved_session {
    uint64_t number, applied, acked;
    uint8_t nonce[TR_NONCE_BYTES];
};

/* After it: the lengths, padded with zeros to 8 bytes, if it has any; then the replies, each too.
 */
struct saved_replies {
    uint64_t position, number, sequence;
    uint32_t units;
    uint16_t count;
    uint8_t has_lengths, moved;
};

tr_static_assert(sizeof(struct saved_table) == 40, "no padding");
tr_static_assert(sizeof(struct saved_session) == 40, "no padding");
tr_static_assert(sizeof(struct saved_replies) == 32, "no padding");

/* ---- saving */

/* Where the bytes go, and the first answer that was not 0. */
struct sink {
    int (*put)(void *context, const void *data, uint64_t bytes);
    void *context;
    int status;
};

static void sink_put(struct sink *sink, const void *data, uint64_t bytes)
{
    if (sink->status == 0 && bytes != 0)
        sink->status = sink->put(sink->context, data, bytes);
}

static void save_sessions(const struct tr_sessions *t, struct sink *sink)
{
    uint32_t index = t->entry[t->sessions_max].newer;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct tr_session_entry *e = &t->entry[index];
        struct saved_session saved = {
            .number = e->number, .applied = e->applied, .acked = e->acked};
        memcpy(saved.nonce, e->nonce, TR_NONCE_BYTES);
        sink_put(sink, &saved, sizeof(saved));
        index = e->newer;
    }
}

/* Replies as they are, but for what stands in their padding. */
static void save_body(const struct tr_replies_run *run, struct sink *sink)
{
    if (!run->has_lengths)
        return;
    const uint32_t *lengths = (const uint32_t *)(const void *)(run + 1);
    const uint8_t *at = (const uint8_t *)(run + 1) + replies_lengths_bytes(run->count);
    sink_put(sink, lengths, replies_lengths_bytes(run->count));
    for (uint32_t i = 0; i < run->count; i++) {
        uint32_t whole = tr_align_down_u32(lengths[i], 8);
        sink_put(sink, at, whole);
        if (whole != lengths[i]) {
            uint64_t rest = 0;
            memcpy(&rest, at + whole, lengths[i] - whole);
            sink_put(sink, &rest, sizeof(rest));
        }
        at += tr_align_up_u64(lengths[i], 8);
    }
}

static void save_run(const struct tr_replies_run *run, uint64_t position, struct sink *sink)
{
    struct saved_replies saved = {.position = position,
                                  .number = run->number,
                                  .sequence = run->sequence,
                                  .units = run->units,
                                  .count = run->count,
                                  .has_lengths = run->has_lengths,
                                  .moved = run->moved};
    sink_put(sink, &saved, sizeof(saved));
    save_body(run, sink);
}

/*
 * Counts the runs of replies to save. Those between them, which nobody will ever want again, become
 * one filler each time: the next save steps over it at once. It changes nothing that is saved. What
 * chains go through keeps its `back`.
 */
static uint64_t sweep(struct tr_sessions *t)
{
    struct tr_replies_run *filler = NULL;
    uint64_t kept = 0;
    uint32_t units;
    for (uint64_t at = t->units_tail; at < t->units_head; at += units) {
        struct tr_replies_run *run = replies_at(t, at);
        units = run->units;
        if (tr_sessions_keeps(t, run)) {
            kept++;
            filler = NULL;
        } else if (filler != NULL) {
            filler->units += units;
        } else {
            filler = run;
            *filler = (struct tr_replies_run){.back = run->back, .units = units};
        }
    }
    return kept;
}

int tr_sessions_save(struct tr_sessions *t,
                     int (*put)(void *context, const void *data, uint64_t bytes), void *context)
{
    struct sink sink = {.put = put, .context = context, .status = 0};
    struct saved_table saved = {.magic = SAVED_MAGIC,
                                .reply_bytes = t->units * TR_REPLY_UNIT,
                                .head = t->units_head,
                                .replies_count = sweep(t),
                                .sessions_max = t->sessions_max,
                                .sessions_count = t->count};
    sink_put(&sink, &saved, sizeof(saved));
    save_sessions(t, &sink);
    for (uint64_t at = t->units_tail; at < t->units_head; at += replies_at(t, at)->units) {
        if (tr_sessions_keeps(t, replies_at(t, at)))
            save_run(replies_at(t, at), at, &sink);
    }
    return sink.status;
}

static int digest_put(void *context, const void *data, uint64_t bytes)
{
    uint64_t *digest = context;
    const uint8_t *at = data;
    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t mixed = (*digest ^ tr_load_le64(at + i)) * UINT64_C(0x9e3779b97f4a7c15);
        *digest = mixed ^ mixed >> 29;
    }
    return 0;
}

uint64_t tr_sessions_digest(struct tr_sessions *t)
{
    uint64_t digest = SAVED_MAGIC;
    tr_sessions_save(t, digest_put, &digest);
    return digest;
}

/* ---- loading: the bytes come from another machine */

static bool load_table(const struct tr_sessions *t, struct tr_unpack *in, struct saved_table *out)
{
    return tr_unpack_copy(in, out, sizeof(*out)) && out->magic == SAVED_MAGIC &&
           out->reply_bytes == t->units * TR_REPLY_UNIT && out->sessions_max == t->sessions_max &&
           out->sessions_count <= t->sessions_max && out->head >= t->units &&
           out->head <= POSITION_MAX && out->replies_count <= t->units;
}

static bool load_session(struct tr_sessions *t, struct tr_unpack *in)
{
    struct saved_session saved;
    if (!tr_unpack_copy(in, &saved, sizeof(saved)) || saved.number == 0 ||
        saved.acked > saved.applied || saved.applied > TR_SEQUENCE_MAX + TR_BATCH_COMMANDS_MAX)
        return false;
    struct tr_session_entry *e = tr_sessions_add(t, saved.number, saved.nonce);
    if (e == NULL)
        return false;
    e->applied = saved.applied;
    e->acked = saved.acked;
    return true;
}

/* Whether the bytes after a reply's last are zero. */
static bool padding_is_zero(const uint8_t *reply, uint32_t length)
{
    uint32_t whole = tr_align_down_u32(length, 8);
    return length == whole || tr_load_le64(reply + whole) >> (length - whole) * 8 == 0;
}

/* Bytes of lengths and replies, of which `left` are there; 0 when they do not fit, or are not as
 * saved. */
static uint64_t body_bytes(const uint8_t *body, uint64_t left, uint32_t count)
{
    uint64_t bytes = replies_lengths_bytes(count);
    if (bytes > left || !padding_is_zero(body, count * (uint32_t)sizeof(uint32_t)))
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = tr_load_le32(body + i * sizeof(uint32_t));
        uint64_t padded = tr_align_up_u64(length, 8);
        if (padded > left - bytes || !padding_is_zero(body + bytes, length))
            return 0;
        bytes += padded;
    }
    return bytes;
}

/* Whether a saved run of replies is one that its session can have, and lies where one can lie. */
static bool replies_fit(const struct tr_sessions *t, const struct tr_session_entry *e,
                        const struct saved_replies *saved)
{
    if (saved->count - 1u >= TR_BATCH_COMMANDS_MAX || saved->has_lengths > 1 || saved->moved > 1 ||
        saved->sequence == 0 || saved->sequence > e->applied)
        return false;
    uint64_t last = saved->sequence + saved->count - 1;
    if (last > e->applied || (last <= e->acked && saved->moved == 0))
        return false;
    uint64_t offset = saved->position & (t->units - 1);
    return saved->units <= t->units / TR_REPLY_RUN_SHARE && saved->units <= t->units - offset &&
           saved->position >= t->units_tail && saved->units <= t->units_head - saved->position;
}

/* Counts a run that has moved. */
static bool count_moved(struct tr_sessions *t, struct tr_session_entry *e, uint32_t units)
{
    e->units_moved += units;
    t->units_moved += units;
    return e->units_moved <= t->units / TR_REPLY_SESSION_SHARE &&
           t->units_moved <= t->units / TR_REPLY_MOVED_SHARE;
}

/* Restores the run of replies at *next or later, and moves *next behind it. */
static bool load_replies(struct tr_sessions *t, struct tr_unpack *in, uint64_t *next)
{
    struct saved_replies saved;
    if (!tr_unpack_copy(in, &saved, sizeof(saved)) || saved.number == 0)
        return false;
    struct tr_session_entry *e = tr_sessions_find(t, saved.number);
    if (e == NULL || saved.position < *next || saved.position >= t->units_head ||
        !replies_fit(t, e, &saved))
        return false;
    uint64_t bytes = 0;
    if (saved.has_lengths) {
        bytes = body_bytes(in->next, tr_unpack_left(in), saved.count);
        if (bytes == 0)
            return false;
    }
    if (replies_units(bytes) != saved.units || (saved.moved && !count_moved(t, e, saved.units)))
        return false;
    if (saved.position != *next)
        tr_sessions_fill(t, *next, saved.position - *next);
    struct tr_replies_run *run = replies_at(t, saved.position);
    *run = (struct tr_replies_run){.number = saved.number,
                                   .sequence = saved.sequence,
                                   .units = saved.units,
                                   .index = tr_sessions_index(t, e),
                                   .count = saved.count,
                                   .has_lengths = saved.has_lengths,
                                   .moved = saved.moved};
    replies_chain(e, run, saved.position);
    *next = saved.position + saved.units;
    return tr_unpack_copy(in, run + 1, bytes);
}

static bool load(struct tr_sessions *t, struct tr_unpack *in)
{
    struct saved_table saved;
    if (!load_table(t, in, &saved))
        return false;
    for (uint32_t i = 0; i < saved.sessions_count; i++) {
        if (!load_session(t, in))
            return false;
    }
    if (TR_CANARY(t->canary, SESSION_LOAD_REORDERS) && t->count > 0)
        tr_sessions_touch(t, &t->entry[t->entry[t->sessions_max].newer]);
    t->units_head = saved.head;
    t->units_tail = tr_max_u64(saved.head - t->units_usable, t->units);
    uint64_t next = t->units_tail;
    for (uint64_t i = 0; i < saved.replies_count; i++) {
        if (!load_replies(t, in, &next))
            return false;
    }
    if (next != t->units_head)
        tr_sessions_fill(t, next, t->units_head - next);
    return true;
}

uint64_t tr_sessions_load(struct tr_sessions *t, const void *data, uint64_t bytes)
{
    tr_sessions_clear(t);
    if (bytes == 0)
        return 0;
    struct tr_unpack in = tr_unpack_from(data, bytes);
    if (!load(t, &in)) {
        tr_sessions_clear(t);
        return 0;
    }
    return (uint64_t)(in.next - (const uint8_t *)data);
}
