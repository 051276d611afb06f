/* Encoding of messages into SEND effects, and the encoders that the shell calls while it lowers
 * REPLICATE and SNAPSHOT_SEND. */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "consensus/ring.h"
#include "consensus/state.h"

#define PAGE_AIMS 4 /* a page may be so many times as long as an Accept aims to be */

void *tr_send_begin(struct tr_replica *r, uint16_t peers, enum tr_message_type type,
                    uint16_t body_bytes)
{
    void *body = tr_send_open(r, peers, type, body_bytes);
    memset(body, 0, body_bytes);
    return body;
}

void tr_send_finish(struct tr_replica *r)
{
    tr_message_seal(r->message);
}

void tr_send_tail(struct tr_replica *r, const void *data, uint32_t bytes)
{
    struct tr_effect *effect = r->sending;
    tr_assert(effect->piece_count <= TR_SEND_PIECES_MAX);
    effect->u.send.piece[effect->piece_count].data = data;
    effect->u.send.piece[effect->piece_count].bytes = bytes;
    effect->piece_count++;
    r->message->tail_bytes += bytes;
}

/* Adds a record to the pieces: to the last one where it follows in memory. Returns false when there
 * are no pieces left. */
static bool piece_add(struct tr_piece *piece, uint32_t *piece_count, const struct tr_record *record,
                      uint32_t bytes)
{
    struct tr_piece *last = &piece[*piece_count - 1];
    if (*piece_count > 1 && (const uint8_t *)last->data + last->bytes == (const uint8_t *)record) {
        last->bytes += bytes;
        return true;
    }
    if (*piece_count == 1 + TR_SEND_PIECES_MAX) {
        return false;
    }
    piece[*piece_count] = (struct tr_piece){record, bytes};
    (*piece_count)++;
    return true;
}

uint64_t tr_send_records(struct tr_replica *r, uint64_t slot_first, uint64_t slot_last,
                         enum tr_slot_state least, uint32_t *count)
{
    struct tr_effect *effect = r->sending;
    uint32_t total = effect->u.send.piece[0].bytes;
    uint32_t piece_count = 1;
    uint32_t aim = PAGE_AIMS * r->config.message_bytes_aim; /* pages cost a round trip each */
    *count = 0;
    uint64_t slot = slot_first;
    for (; slot <= slot_last && slot - slot_first <= r->log.slot_mask; slot++) {
        const struct tr_slot *s = tr_log_at(&r->log, slot);
        if (s == NULL || (s->state < least && slot > r->slot_commit)) {
            continue;
        }
        if (total + s->bytes > r->config.message_bytes_max ||
            (*count > 0 && total + s->bytes > aim)) {
            break;
        }
        if (!piece_add(effect->u.send.piece, &piece_count, tr_log_record(&r->log, s), s->bytes)) {
            break;
        }
        total += s->bytes;
        (*count)++;
    }
    effect->piece_count = (uint16_t)piece_count;
    r->message->tail_bytes = total - effect->u.send.piece[0].bytes;
    return slot - 1;
}

uint64_t tr_replica_accept(struct tr_replica *r, uint64_t slot_first, uint64_t slot_last,
                           void *header, struct tr_piece *piece, uint32_t *piece_count)
{
    if (tr_unlikely(r->role != TR_REPLICA_LEADER || slot_last >= r->slot_next)) {
        return slot_first - 1;
    }
    struct tr_message *m = header;
    struct tr_accept *accept = (struct tr_accept *)(m + 1);
    uint32_t total = sizeof(*m) + sizeof(*accept);
    piece[0] = (struct tr_piece){header, total};
    *piece_count = 1;
    uint32_t count = 0;
    uint64_t follows = UINT64_MAX; /* position where a record would follow the last piece */
    uint64_t slot = slot_first;
    for (; slot <= slot_last; slot++) {
        const struct tr_slot *s = tr_log_at(&r->log, slot);
        if (s == NULL || !tr_ballot_equal(s->ballot, r->ballot) ||
            (count > 0 && total + s->bytes > r->config.message_bytes_aim)) {
            break;
        }
        if (tr_likely(s->position == follows)) {
            piece[*piece_count - 1].bytes += s->bytes;
        } else if (!piece_add(piece, piece_count, tr_log_record(&r->log, s), s->bytes)) {
            break;
        }
        follows = s->position + s->bytes;
        follows = (follows & (r->log.arena_bytes - 1)) != 0 ? follows : UINT64_MAX;
        total += s->bytes;
        count++;
    }
    if (count == 0) {
        return slot_first - 1;
    }
    tr_send_header(r, m, TR_MESSAGE_ACCEPT, sizeof(*accept));
    m->tail_bytes = total - (uint32_t)(sizeof(*m) + sizeof(*accept));
    accept->ballot = r->ballot;
    accept->slot_commit = r->slot_commit;
    accept->stamp = tr_proposer_stamp(r);
    accept->record_count = count;
    accept->reserved = 0;
    r->slot_news = r->slot_commit;
    r->count.accepts_sent++;
    tr_message_seal(m);
    return slot - 1;
}

const struct tr_grant *tr_replica_grant(const struct tr_replica *r, uint8_t peer)
{
    return r->role == TR_REPLICA_LEADER && peer < r->member_count && r->peer[peer].ring
               ? &r->peer[peer].grant
               : NULL;
}

bool tr_replica_ring_record(const struct tr_replica *r, uint8_t peer, uint64_t slot,
                            uint64_t position, struct tr_record *header, struct tr_piece *payload)
{
    const struct tr_grant *grant = tr_replica_grant(r, peer);
    const struct tr_slot *s = tr_log_at(&r->log, slot);
    if (grant == NULL || s == NULL || !tr_ballot_equal(s->ballot, r->ballot)) {
        return false;
    }
    const struct tr_record *record = tr_log_record(&r->log, s);
    uint64_t lag = slot > r->slot_commit ? slot - r->slot_commit : 0;
    *header = *record;
    header->generation = grant->generation;
    header->tag = grant->tag;
    header->position = (uint32_t)(position / TR_RECORD_ALIGN);
    header->commit_lag = lag < UINT32_MAX ? (uint32_t)lag : UINT32_MAX;
    tr_record_seal(header);
    payload->data = record + 1;
    payload->bytes = record->payload_bytes;
    return true;
}

uint64_t tr_replica_ring_void(const struct tr_replica *r, uint8_t peer, uint64_t slot_first,
                              uint64_t slot_last)
{
    if (tr_replica_grant(r, peer) == NULL) {
        return slot_last;
    }
    uint64_t gone = r->log.slot_first - 1; /* recycled: chosen, and fetched where it is missing */
    uint64_t slot = gone > slot_first ? gone : slot_first;
    while (slot < slot_last) {
        const struct tr_slot *s = tr_log_at(&r->log, slot + 1);
        if (s != NULL && tr_ballot_equal(s->ballot, r->ballot)) {
            break;
        }
        slot++;
    }
    return slot < slot_last ? slot : slot_last;
}

uint32_t tr_replica_snapshot_header(const struct tr_replica *r, uint8_t peer, uint64_t slot,
                                    uint64_t offset, uint64_t total_bytes, uint32_t snapshot_crc,
                                    const void *chunk, uint32_t chunk_bytes, void *header)
{
    (void)peer;
    struct tr_message *m = header;
    struct tr_snapshot_chunk *body = (struct tr_snapshot_chunk *)(m + 1);
    tr_send_header(r, m, TR_MESSAGE_SNAPSHOT_CHUNK, sizeof(*body));
    m->tail_bytes = chunk_bytes;
    body->slot = slot;
    body->offset = offset;
    body->total_bytes = total_bytes;
    body->snapshot_crc = snapshot_crc;
    body->chunk_crc = tr_crc32c(0, chunk, chunk_bytes);
    tr_message_seal(m);
    return (uint32_t)(sizeof(*m) + sizeof(*body));
}
