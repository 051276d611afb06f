/* The codec of the clients' protocol. */
#include "client/wire.h"

#include "base/assert.h"
#include "base/crc32c.h"

#include <string.h>

tr_static_assert(sizeof(struct tr_wire_header) == 40, "no padding");
tr_static_assert(sizeof(struct tr_wire_hello) == 40, "no padding");
tr_static_assert(sizeof(struct tr_wire_challenge) == 16, "no padding");
tr_static_assert(sizeof(struct tr_wire_welcome) == 32, "no padding");
tr_static_assert(sizeof(struct tr_wire_submit) == 24, "no padding");
tr_static_assert(sizeof(struct tr_wire_read) == 32, "no padding");
tr_static_assert(sizeof(struct tr_wire_ping) == 16, "no padding");
tr_static_assert(sizeof(struct tr_wire_done) == 16, "no padding");
tr_static_assert(sizeof(struct tr_wire_reply) == 16, "no padding");
tr_static_assert(sizeof(struct tr_wire_read_reply) == 24, "no padding");
tr_static_assert(sizeof(struct tr_wire_state) == 32, "no padding");
tr_static_assert(sizeof(struct tr_wire_refused) == 24, "no padding");
tr_static_assert(sizeof(struct tr_wire_header) + sizeof(struct tr_wire_hello) <=
                     TR_WIRE_HEADER_BYTES_MAX,
                 "the longest fixed part");
tr_static_assert(TR_WIRE_HEADER_BYTES_MAX + sizeof(struct tr_wire_done) + 16 <=
                     TR_WIRE_OVERHEAD_BYTES,
                 "one of anything fits");

uint64_t tr_wire_cluster(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (const char *c = name; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    return hash;
}

/* Bytes of the body of a type; UINT32_MAX for what is no type of this side. */
static uint32_t body_bytes(uint8_t type, enum tr_wire_side side)
{
    if (side == TR_WIRE_FROM_CLIENT) {
        switch (type) {
        case (uint8_t)TR_WIRE_HELLO:
            return sizeof(struct tr_wire_hello);
        case (uint8_t)TR_WIRE_SUBMIT:
            return sizeof(struct tr_wire_submit);
        case (uint8_t)TR_WIRE_READ:
            return sizeof(struct tr_wire_read);
        case (uint8_t)TR_WIRE_PING:
            return sizeof(struct tr_wire_ping);
        case (uint8_t)TR_WIRE_BYE:
            return 0;
        }
        return UINT32_MAX;
    }
    switch (type) {
    case (uint8_t)TR_WIRE_CHALLENGE:
        return sizeof(struct tr_wire_challenge);
    case (uint8_t)TR_WIRE_WELCOME:
        return sizeof(struct tr_wire_welcome);
    case (uint8_t)TR_WIRE_REPLY:
        return sizeof(struct tr_wire_reply);
    case (uint8_t)TR_WIRE_READ_REPLY:
        return sizeof(struct tr_wire_read_reply);
    case (uint8_t)TR_WIRE_STATE:
        return sizeof(struct tr_wire_state);
    case (uint8_t)TR_WIRE_REFUSED:
        return sizeof(struct tr_wire_refused);
    }
    return UINT32_MAX;
}

/* ---- reading */

/* Whether a row of `count` pieces, each padded, fills `left` bytes exactly; their sizes lie
 * `stride` bytes apart. */
static bool pieces_fill(const uint8_t *sizes, uint32_t stride, uint32_t count, uint32_t left)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bytes = tr_load_le32(sizes + (size_t)i * stride);
        if (bytes > left || tr_wire_padded(bytes) > left)
            return false;
        left -= tr_wire_padded(bytes);
    }
    return left == 0;
}

static bool submit_is_good(const struct tr_wire_message *m)
{
    const struct tr_wire_submit *s = (const struct tr_wire_submit *)m->body;
    if (s->count - 1 >= TR_WIRE_COMMANDS_MAX || s->first - 1 >= TR_WIRE_SEQUENCE_MAX ||
        s->acked >= s->first)
        return false;
    if (s->bytes_each != TR_WIRE_BYTES_VARY) {
        uint64_t each = tr_align_up_u64(s->bytes_each, 8);
        return each * s->count == m->tail_bytes;
    }
    uint32_t lengths = tr_wire_lengths_bytes(s->count);
    if (lengths > m->tail_bytes)
        return false;
    return pieces_fill(m->tail, sizeof(uint32_t), s->count, m->tail_bytes - lengths);
}

static bool read_is_good(const struct tr_wire_message *m)
{
    const struct tr_wire_read *r = (const struct tr_wire_read *)m->body;
    return r->id - 1 < TR_WIRE_SEQUENCE_MAX && r->after <= TR_WIRE_SEQUENCE_MAX &&
           r->acked <= r->after && (r->flags & ~(uint32_t)TR_WIRE_READ_LOCAL) == 0 &&
           r->bytes <= m->tail_bytes && tr_wire_padded(r->bytes) == m->tail_bytes;
}

static bool reply_is_good(const struct tr_wire_message *m)
{
    const struct tr_wire_reply *r = (const struct tr_wire_reply *)m->body;
    uint32_t sizes = r->count * (uint32_t)sizeof(struct tr_wire_done);
    if (r->count - 1 >= TR_WIRE_COMMANDS_MAX || r->first - 1 >= TR_WIRE_SEQUENCE_MAX ||
        r->reserved != 0 || sizes > m->tail_bytes)
        return false;
    return pieces_fill(m->tail + offsetof(struct tr_wire_done, bytes), sizeof(struct tr_wire_done),
                       r->count, m->tail_bytes - sizes);
}

static bool read_reply_is_good(const struct tr_wire_message *m)
{
    const struct tr_wire_read_reply *r = (const struct tr_wire_read_reply *)m->body;
    return r->id - 1 < TR_WIRE_SEQUENCE_MAX && r->bytes <= m->tail_bytes &&
           tr_wire_padded(r->bytes) == m->tail_bytes;
}

static bool hello_is_good(const struct tr_wire_message *m)
{
    const struct tr_wire_hello *h = (const struct tr_wire_hello *)m->body;
    return tr_load_le16(h->nonce) == 0 && h->acked <= TR_WIRE_SEQUENCE_MAX &&
           h->read_acked <= TR_WIRE_SEQUENCE_MAX && m->tail_bytes == 0;
}

static bool welcome_is_good(const struct tr_wire_message *m)
{
    const struct tr_wire_welcome *w = (const struct tr_wire_welcome *)m->body;
    return w->number != 0 && w->next - 1 < TR_WIRE_SEQUENCE_MAX && w->window != 0 &&
           w->reserved == 0 && m->tail_bytes == 0;
}

static bool ping_is_good(const struct tr_wire_message *m)
{
    const struct tr_wire_ping *p = (const struct tr_wire_ping *)m->body;
    return p->acked <= p->sent && p->sent <= TR_WIRE_SEQUENCE_MAX && m->tail_bytes == 0;
}

static bool state_is_good(const struct tr_wire_message *m)
{
    const struct tr_wire_state *s = (const struct tr_wire_state *)m->body;
    return s->next - 1 < TR_WIRE_SEQUENCE_MAX && s->read_next - 1 < TR_WIRE_SEQUENCE_MAX &&
           s->read_done < s->read_next &&
           s->flags <= (TR_WIRE_STATE_GAP | TR_WIRE_STATE_BUSY | TR_WIRE_STATE_ANSWER) &&
           s->reserved == 0 && m->tail_bytes == 0;
}

static bool refused_is_good(const struct tr_wire_message *m)
{
    const struct tr_wire_refused *r = (const struct tr_wire_refused *)m->body;
    return r->reason < 0 && r->reserved == 0 && m->tail_bytes == 0;
}

/* What a body says in itself. The type is known. */
static bool body_is_good(const struct tr_wire_message *m)
{
    switch ((enum tr_wire_type)m->header->type) {
    case TR_WIRE_HELLO:
        return hello_is_good(m);
    case TR_WIRE_SUBMIT:
        return submit_is_good(m);
    case TR_WIRE_READ:
        return read_is_good(m);
    case TR_WIRE_PING:
        return ping_is_good(m);
    case TR_WIRE_BYE:
    case TR_WIRE_CHALLENGE:
        return m->tail_bytes == 0;
    case TR_WIRE_WELCOME:
        return welcome_is_good(m);
    case TR_WIRE_REPLY:
        return reply_is_good(m);
    case TR_WIRE_READ_REPLY:
        return read_reply_is_good(m);
    case TR_WIRE_STATE:
        return state_is_good(m);
    case TR_WIRE_REFUSED:
        return refused_is_good(m);
    }
    return false;
}

enum tr_wire_verdict tr_wire_open(const void *data, uint32_t bytes, enum tr_wire_side side,
                                  struct tr_wire_message *out)
{
    const struct tr_wire_header *h = (const struct tr_wire_header *)data;
    struct tr_wire_message m = {.header = h};
    if (bytes < sizeof(*h) || bytes % 8 != 0 || h->mark != TR_WIRE_MARK ||
        tr_crc32c(0, (const uint8_t *)data + sizeof(h->crc), bytes - sizeof(h->crc)) != h->crc)
        return TR_WIRE_MALFORMED;
    if (h->version != TR_WIRE_VERSION) {
        *out = m;
        return TR_WIRE_OTHER_VERSION;
    }
    uint32_t body = body_bytes(h->type, side);
    bool is_client = side == TR_WIRE_FROM_CLIENT;
    if (body > bytes - sizeof(*h) || h->reserved != 0 ||
        (is_client && (h->leader != 0 || h->round != 0)))
        return TR_WIRE_MALFORMED;
    m.body = h + 1;
    m.tail = (const uint8_t *)m.body + body;
    m.tail_bytes = bytes - (uint32_t)sizeof(*h) - body;
    if (!body_is_good(&m))
        return TR_WIRE_MALFORMED;
    *out = m;
    return TR_WIRE_GOOD;
}

/* ---- writing */

void *tr_wire_begin(void *buffer, enum tr_wire_type type, uint64_t cluster, uint32_t group,
                    uint64_t token)
{
    struct tr_wire_header *h = (struct tr_wire_header *)buffer;
    memset(buffer, 0, TR_WIRE_HEADER_BYTES_MAX);
    h->mark = TR_WIRE_MARK;
    h->version = TR_WIRE_VERSION;
    h->type = (uint8_t)type;
    h->group = group;
    h->cluster = cluster;
    h->token = token;
    return h + 1;
}

static uint32_t fixed_bytes(const struct tr_wire_header *h)
{
    bool is_client = h->type < TR_WIRE_CHALLENGE;
    uint32_t body = body_bytes(h->type, is_client ? TR_WIRE_FROM_CLIENT : TR_WIRE_FROM_NODE);
    tr_assert(body != UINT32_MAX);
    return (uint32_t)sizeof(*h) + body;
}

uint8_t *tr_wire_tail(void *buffer)
{
    return (uint8_t *)buffer + fixed_bytes((const struct tr_wire_header *)buffer);
}

uint32_t tr_wire_end(void *buffer, uint32_t tail_bytes)
{
    struct tr_wire_header *h = (struct tr_wire_header *)buffer;
    uint32_t bytes = fixed_bytes(h) + tail_bytes;
    uint32_t whole = tr_wire_padded(bytes);
    memset((uint8_t *)buffer + bytes, 0, whole - bytes);
    h->crc = tr_crc32c(0, (const uint8_t *)buffer + sizeof(h->crc), whole - sizeof(h->crc));
    return whole;
}

/* ---- stepping */

struct tr_wire_cursor tr_wire_commands(const struct tr_wire_message *m)
{
    const struct tr_wire_submit *s = (const struct tr_wire_submit *)m->body;
    struct tr_wire_cursor c = {.data = m->tail, .bytes_each = s->bytes_each};
    if (s->bytes_each == TR_WIRE_BYTES_VARY) {
        c.sizes = m->tail;
        c.size_stride = sizeof(uint32_t);
        c.data = m->tail + tr_wire_lengths_bytes(s->count);
    }
    return c;
}

struct tr_wire_cursor tr_wire_replies(const struct tr_wire_message *m)
{
    const struct tr_wire_reply *r = (const struct tr_wire_reply *)m->body;
    return (struct tr_wire_cursor){
        .sizes = m->tail + offsetof(struct tr_wire_done, bytes),
        .size_stride = sizeof(struct tr_wire_done),
        .data = m->tail + (size_t)r->count * sizeof(struct tr_wire_done),
    };
}

uint32_t tr_wire_next(struct tr_wire_cursor *cursor, const uint8_t **data)
{
    uint32_t bytes = cursor->bytes_each;
    if (cursor->sizes != NULL) {
        bytes = tr_load_le32(cursor->sizes);
        cursor->sizes += cursor->size_stride;
    }
    *data = cursor->data;
    cursor->data += tr_wire_padded(bytes);
    return bytes;
}

struct tr_wire_done tr_wire_done_at(const struct tr_wire_message *m, uint32_t index)
{
    struct tr_wire_done done;
    memcpy(&done, m->tail + (size_t)index * sizeof(done), sizeof(done));
    return done;
}
