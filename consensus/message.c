#include "consensus/message.h"

#include "base/assert.h"
#include "base/crc32c.h"

#include <string.h>

#define CRC_SKIPPED sizeof(uint32_t) /* the CRC itself */

tr_static_assert(sizeof(struct tr_message) == 32, "half a cache line");
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

/* One row a type: its body and its name. */
static const struct {
    uint16_t body_bytes;
    const char *name;
} form[TR_MESSAGE_TYPES] = {
    [TR_MESSAGE_ACCEPT] = {sizeof(struct tr_accept), "ACCEPT"},
    [TR_MESSAGE_ACCEPTED] = {sizeof(struct tr_accepted), "ACCEPTED"},
    [TR_MESSAGE_HEARTBEAT] = {sizeof(struct tr_heartbeat), "HEARTBEAT"},
    [TR_MESSAGE_VECTOR] = {sizeof(struct tr_vector), "VECTOR"},
    [TR_MESSAGE_PREVOTE] = {sizeof(struct tr_prevote), "PREVOTE"},
    [TR_MESSAGE_PREVOTED] = {sizeof(struct tr_prevoted), "PREVOTED"},
    [TR_MESSAGE_PREPARE] = {sizeof(struct tr_prepare), "PREPARE"},
    [TR_MESSAGE_PROMISE] = {sizeof(struct tr_promise), "PROMISE"},
    [TR_MESSAGE_REJECT] = {sizeof(struct tr_reject), "REJECT"},
    [TR_MESSAGE_FETCH] = {sizeof(struct tr_fetch), "FETCH"},
    [TR_MESSAGE_LEARN] = {sizeof(struct tr_learn), "LEARN"},
    [TR_MESSAGE_FORWARD] = {sizeof(struct tr_forward), "FORWARD"},
    [TR_MESSAGE_FORWARDED] = {sizeof(struct tr_forwarded), "FORWARDED"},
    [TR_MESSAGE_READ_INDEX] = {sizeof(struct tr_read_index), "READ_INDEX"},
    [TR_MESSAGE_READ_SLOT] = {sizeof(struct tr_read_slot), "READ_SLOT"},
    [TR_MESSAGE_SNAPSHOT_PULL] = {sizeof(struct tr_snapshot_pull), "SNAPSHOT_PULL"},
    [TR_MESSAGE_SNAPSHOT_CHUNK] = {sizeof(struct tr_snapshot_chunk), "SNAPSHOT_CHUNK"},
    [TR_MESSAGE_RECOVER] = {sizeof(struct tr_recover), "RECOVER"},
    [TR_MESSAGE_RECOVERED] = {sizeof(struct tr_recovered), "RECOVERED"},
    [TR_MESSAGE_FOUND] = {sizeof(struct tr_found), "FOUND"},
};

static uint32_t crc_of(const struct tr_message *m)
{
    return tr_crc32c(0, (const uint8_t *)m + CRC_SKIPPED, sizeof(*m) - CRC_SKIPPED + m->body_bytes);
}

const struct tr_message *tr_message_open(const void *data, uint32_t bytes)
{
    const struct tr_message *m = data;
    if (bytes < sizeof(*m) || m->version != TR_MESSAGE_VERSION || m->reserved != 0) {
        return NULL;
    }
    if (m->type >= TR_MESSAGE_TYPES || m->body_bytes == 0 ||
        m->body_bytes != form[m->type].body_bytes) {
        return NULL;
    }
    if (bytes - sizeof(*m) < m->body_bytes || bytes - sizeof(*m) - m->body_bytes != m->tail_bytes) {
        return NULL;
    }
    return m->crc == crc_of(m) ? m : NULL;
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
