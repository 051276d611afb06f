#include "consensus/message.h"

#include "base/assert.h"
#include "base/crc32c.h"

#include <string.h>

#define CRC_SKIPPED sizeof(uint32_t) /* the CRC itself */

tr_static_assert(sizeof(struct tr_message) == 32, "half a cache line");
tr_static_assert(offsetof(struct tr_ballot, reserved) == 14, "the top bits of its second word");
tr_static_assert(sizeof(struct tr_accept) == 40, "no implicit padding");
tr_static_assert(sizeof(struct tr_accepted) == 72, "no implicit padding");
tr_static_assert(sizeof(struct tr_heartbeat) == 56, "no implicit padding");
tr_static_assert(sizeof(struct tr_grant) == 72, "no implicit padding");
tr_static_assert(sizeof(struct tr_promise) ==
                     64 + sizeof(struct tr_grant) + sizeof(struct tr_vector),
                 "no implicit padding");
tr_static_assert(sizeof(struct tr_message) + sizeof(struct tr_promise) <=
                     TR_MESSAGE_HEADER_BYTES_MAX,
                 "the largest header fits the scratch of an effect");
tr_static_assert(sizeof(struct tr_message) + sizeof(struct tr_recovered) <=
                     TR_MESSAGE_HEADER_BYTES_MAX,
                 "the largest header fits the scratch of an effect");

/* The word of a body at which a field lies, as a bit. */
#define AT(type, field) (1u << offsetof(struct tr_##type, field) / sizeof(uint64_t))
#define FORM(TYPE, type, ballots, slots) \
    [TR_MESSAGE_##TYPE] = {sizeof(struct tr_##type), ballots, slots, #TYPE}

/* One row a type: its body, the words in it where a ballot begins, those that are slots, and its
 * name. */
static const struct {
    uint16_t body_bytes;
    uint16_t ballots, slots;
    const char *name;
} form[TR_MESSAGE_TYPES] = {
    FORM(ACCEPT, accept, AT(accept, ballot), AT(accept, slot_commit)),
    FORM(ACCEPTED, accepted, AT(accepted, ballot),
         AT(accepted, slot_acked) | AT(accepted, slot_apply) | AT(accepted, slot_recyclable)),
    FORM(HEARTBEAT, heartbeat, AT(heartbeat, ballot),
         AT(heartbeat, slot_commit) | AT(heartbeat, slot_next)),
    FORM(VECTOR, vector, 0, 0),
    FORM(PREVOTE, prevote, AT(prevote, ballot), 0),
    FORM(PREVOTED, prevoted, AT(prevoted, ballot) | AT(prevoted, promised), 0),
    FORM(PREPARE, prepare, AT(prepare, ballot), AT(prepare, slot_from)),
    FORM(PROMISE, promise, AT(promise, ballot),
         AT(promise, slot_first) | AT(promise, slot_last) | AT(promise, slot_end) |
             AT(promise, slot_truncated) | AT(promise, slot_commit)),
    FORM(REJECT, reject, AT(reject, ballot) | AT(reject, promised), 0),
    FORM(FETCH, fetch, 0, AT(fetch, slot_first) | AT(fetch, slot_last)),
    FORM(LEARN, learn, 0,
         AT(learn, slot_first) | AT(learn, slot_truncated) | AT(learn, slot_commit)),
    FORM(FORWARD, forward, AT(forward, ballot), 0),
    FORM(FORWARDED, forwarded, AT(forwarded, ballot), 0),
    FORM(READ_INDEX, read_index, AT(read_index, ballot), 0),
    FORM(READ_SLOT, read_slot, AT(read_slot, ballot), AT(read_slot, slot)),
    FORM(SNAPSHOT_PULL, snapshot_pull, 0, AT(snapshot_pull, slot)),
    FORM(SNAPSHOT_CHUNK, snapshot_chunk, 0, AT(snapshot_chunk, slot)),
    FORM(RECOVER, recover, 0, AT(recover, slot_from)),
    FORM(RECOVERED, recovered, AT(recovered, promised),
         AT(recovered, slot_first) | AT(recovered, slot_last) | AT(recovered, slot_end) |
             AT(recovered, slot_truncated) | AT(recovered, slot_commit)),
    FORM(FOUND, found, 0, 0),
};

static inline uint32_t crc_of(const struct tr_message *m)
{
    const uint8_t *at = (const uint8_t *)m + CRC_SKIPPED;
    const uint32_t head = sizeof(*m) - CRC_SKIPPED;
    switch (m->body_bytes) { /* the two that matter are of a constant length to the compiler */
    case sizeof(struct tr_accept):
        return tr_crc32c_fixed(0, at, head + sizeof(struct tr_accept));
    case sizeof(struct tr_accepted):
        return tr_crc32c_fixed(0, at, head + sizeof(struct tr_accepted));
    default:
        return tr_crc32c(0, at, head + m->body_bytes);
    }
}

/* Whether every ballot and every slot of a body is one that can be: what is computed from them does
 * not overflow then, and reserved bits are zero. */
static tr_noinline bool body_in_range(const struct tr_message *m)
{
    const uint64_t *word = (const uint64_t *)(const void *)(m + 1);
    uint64_t slots = 0;
    uint64_t rounds = 0;
    uint64_t nodes = 0;
    for (uint32_t left = form[m->type].slots; left != 0; left &= left - 1) {
        slots |= word[__builtin_ctz(left)];
    }
    for (uint32_t left = form[m->type].ballots; left != 0; left &= left - 1) {
        uint32_t at = (uint32_t)__builtin_ctz(left);
        rounds |= word[at];
        nodes |= word[at + 1];
    }
    return (slots >> TR_SLOT_BITS | rounds >> TR_ROUND_BITS | nodes >> 48) == 0;
}

static inline bool are_in_range(struct tr_ballot ballot, uint64_t slots)
{
    return (slots >> TR_SLOT_BITS | ballot.round >> TR_ROUND_BITS | ballot.reserved) == 0;
}

/* body_in_range, written out for the two types that matter. */
static inline bool in_range(const struct tr_message *m)
{
    if (tr_likely(m->type == TR_MESSAGE_ACCEPTED)) {
        const struct tr_accepted *a = (const struct tr_accepted *)(m + 1);
        return are_in_range(a->ballot, a->slot_acked | a->slot_apply | a->slot_recyclable);
    }
    if (tr_likely(m->type == TR_MESSAGE_ACCEPT)) {
        const struct tr_accept *a = (const struct tr_accept *)(m + 1);
        return are_in_range(a->ballot, a->slot_commit);
    }
    return body_in_range(m);
}

const struct tr_message *tr_message_open(const void *data, uint32_t bytes)
{
    const struct tr_message *m = data;
    if (bytes < sizeof(*m) || m->version != TR_MESSAGE_VERSION || m->reserved != 0) {
        return NULL;
    }
    if (m->type == 0 || m->type >= TR_MESSAGE_TYPES || m->body_bytes != form[m->type].body_bytes) {
        return NULL;
    }
    if (bytes - sizeof(*m) < m->body_bytes || bytes - sizeof(*m) - m->body_bytes != m->tail_bytes) {
        return NULL;
    }
    return m->crc == crc_of(m) && in_range(m) ? m : NULL;
}

bool tr_message_peek(const void *data, uint32_t bytes, uint32_t *group, tr_node_id *from)
{
    const struct tr_message *m = data;
    if (bytes < sizeof(*m) || m->version != TR_MESSAGE_VERSION) {
        return false;
    }
    *group = m->group;
    *from = m->from;
    return true;
}

const char *tr_message_name(uint8_t type)
{
    return type < TR_MESSAGE_TYPES && form[type].name != NULL ? form[type].name : "UNKNOWN";
}

void tr_message_seal(struct tr_message *m)
{
    m->crc = crc_of(m);
}
