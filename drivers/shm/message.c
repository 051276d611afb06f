/* Messages of the shm driver: the two ends of a lane. */
#include "drivers/gather.h"
#include "drivers/shm/inner.h"

#include <trireme/error.h>

/* Sending. */

uint32_t tr_shm_peer_find(const struct tr_port *port, tr_node_id id)
{
    for (uint32_t i = 0; i < port->peer_count; i++) {
        if (port->peer[i].id == id && port->peer[i].link != TR_SHM_LINK_UNUSED)
            return i;
    }
    return UINT32_MAX;
}

/* The peer that has this number now, or NULL. Cost: a load or two; a search when two peers' numbers
 * have the same low byte. */
static inline struct tr_shm_peer *peer_of(struct tr_port *port, tr_node_id id)
{
    uint8_t *slot = &port->peer_index[id & 0xff];
    if (tr_likely(*slot != 0)) {
        struct tr_shm_peer *peer = &port->peer[*slot - 1u];
        if (tr_likely(peer->id == id))
            return peer;
    }
    uint32_t index = tr_shm_peer_find(port, id);
    if (index == UINT32_MAX)
        return NULL;
    *slot = (uint8_t)(index + 1);
    return &port->peer[index];
}

/* Finds room for a message that the limit does not leave room for: looks how far the receiver is,
 * and goes back to the start of the lane when the lane ends, or when the receiver is so close
 * behind that the start is free and still in the cache. Returns: false when the lane is full. */
static tr_noinline bool make_room(struct tr_shm_peer *peer, uint32_t room)
{
    uint64_t lane_bytes = (uint64_t)peer->lane_mask + 1;
    uint64_t window = tr_shm_window_bytes(peer->lane_mask + 1);
    uint64_t start = peer->tail & ~(uint64_t)peer->lane_mask;
    uint64_t need = (uint64_t)room + TR_CACHE_LINE;
    uint64_t head = tr_load_acquire(&peer->lane->head); /* (B), meets tell_head */
    if (head < peer->head_seen || head > peer->tail)
        head = peer->head_seen; /* a receiver that lies gets nothing */
    peer->head_seen = head;
    bool ends = peer->tail + need > start + lane_bytes;
    bool close =
        peer->tail + need > start + window && head >= start + window / 2 && need <= head - start;
    if (ends || close) {
        uint64_t next = start + lane_bytes;
        if (next + need > head + lane_bytes)
            return false;
        tr_store_relaxed(tr_shm_header_at(peer->lane_data, 0), UINT64_C(0));
        tr_store_release(tr_shm_header_at(peer->lane_data, peer->tail & peer->lane_mask),
                         tr_shm_head(peer->tail, TR_SHM_SKIP)); /* (A), meets tr_shm_rx_burst */
        peer->tail = next;
        start = next;
    }
    /* Up to the next place where this is to be asked again. */
    uint64_t ask = peer->tail < start + window ? start + window : peer->tail + need + window;
    peer->limit = tr_min_u64(tr_min_u64(head + lane_bytes, start + lane_bytes),
                             ask < peer->tail + need ? peer->tail + need : ask);
    return peer->tail + need <= peer->limit;
}

/* Writes a message into the peer's lane. Returns: false when it is full. */
static inline bool send_to(struct tr_shm_peer *peer, const struct tr_segment *segment,
                           uint32_t segment_count, uint32_t bytes)
{
    uint32_t room = tr_shm_message_room(bytes);
    if (tr_unlikely(peer->tail + room + TR_CACHE_LINE > peer->limit) && !make_room(peer, room))
        return false;
    uint64_t tail = peer->tail;
    unsigned char *at = peer->lane_data + (tail & peer->lane_mask);
    tr_gather_copy(at + TR_SHM_HEAD_BYTES, segment, segment_count);
    tr_store_relaxed(tr_shm_header_at(at, room), UINT64_C(0));
    tr_store_release(tr_shm_header_at(at, 0),
                     tr_shm_head(tail, bytes)); /* (A), meets tr_shm_rx_burst */
    peer->tail = tail + room;
    return true;
}

uint32_t tr_shm_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count)
{
    uint32_t taken = 0;
    uint64_t taken_bytes = 0;
    uint32_t lost = 0;
    for (; taken < count && taken < TR_SHM_BURST_MAX; taken++) {
        const struct tr_tx *t = &tx[taken];
        struct tr_shm_peer *peer = peer_of(port, t->peer);
        uint32_t bytes = tr_gather_bytes(t->segment, t->segment_count);
        tr_assert(bytes <= port->message_bytes_max);
        if (tr_unlikely(peer == NULL || peer->link != TR_SHM_LINK_UP ||
                        bytes > peer->message_bytes_max))
            lost++;
        else if (!send_to(peer, t->segment, t->segment_count, bytes))
            break;
        taken_bytes += bytes;
    }
    port->stats.tx_messages += taken;
    port->stats.tx_bytes += taken_bytes;
    port->stats.tx_errors += lost;
    port->stats.tx_full += count - taken;
    return taken;
}

int tr_shm_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                    uint32_t segment_count)
{
    struct tr_tx tx = {.segment_count = (uint16_t)segment_count};
    tr_assert(source < port->inbound_count && segment_count <= TR_TX_SEGMENTS_MAX);
    for (uint32_t i = 0; i < port->inbound_count; i++) {
        if (port->inbound[i].index == source)
            tx.peer = port->inbound[i].peer;
    }
    if (tx.peer == 0)
        return TR_ENOTSUP; /* only peers have lanes; this one was removed */
    for (uint32_t i = 0; i < segment_count; i++)
        tx.segment[i] = segment[i];
    return tr_shm_tx_burst(port, &tx, 1) == 1 ? TR_OK : TR_AGAIN;
}

/* Receiving. */

/* What arrives is no message: reads no more until the sender connects again. */
static tr_noinline void distrust(struct tr_port *port, struct tr_shm_inbound *in)
{
    port->stats.rx_malformed++;
    in->connection = 0;
    tr_store_release(&in->lane->accepted, UINT64_C(0)); /* (C), meets tr_shm_tick of the sender */
}

/* Copies the lines of a message, which its sender could still write, to private memory. */
static inline void copy_lines(unsigned char *to, const unsigned char *from, uint32_t bytes)
{
    uint32_t at = 0;
    do {
        tr_copy_relaxed_8(to + at, from + at, TR_CACHE_LINE);
        at += TR_CACHE_LINE;
    } while (at < bytes);
}

/* Takes whole messages off a lane. `used` is how much of port->rx the burst has filled. */
static uint32_t receive(struct tr_port *port, struct tr_shm_inbound *in, struct tr_rx *out,
                        uint32_t max, uint32_t *used)
{
    uint32_t count = 0;
    while (count < max) {
        uint32_t offset = (uint32_t)in->position & in->lane_mask;
        const unsigned char *at = in->data + offset;
        uint64_t header = tr_load_acquire(tr_shm_header_at(at, 0)); /* (A), meets send_to */
        uint32_t bytes = (uint32_t)header;
        if (header == 0)
            break;
        if (tr_unlikely(header != tr_shm_head(in->position, bytes))) {
            distrust(port, in);
            break;
        }
        if (tr_unlikely(bytes == TR_SHM_SKIP)) {
            in->position = (in->position | in->lane_mask) + 1;
            continue;
        }
        if (tr_unlikely(bytes == 0 || bytes > port->segment.shape.message_bytes_max ||
                        tr_shm_message_room(bytes) > in->lane_mask + 1 - offset)) {
            distrust(port, in);
            break;
        }
        uint32_t room = tr_shm_message_room(bytes);
        if (room > port->rx_bytes - *used)
            break;
        unsigned char *to = port->rx + *used;
        copy_lines(to, at, room);
        out[count].data = to + TR_SHM_HEAD_BYTES;
        out[count].bytes = bytes;
        out[count].peer = in->peer;
        out[count].source = in->index;
        *used += room;
        in->position += room;
        port->stats.rx_bytes += bytes;
        count++;
    }
    port->stats.rx_messages += count;
    if (in->position - in->told >= tr_shm_publish_bytes(in->lane_mask + 1))
        tr_shm_tell_head(in);
    return count;
}

/* Takes messages off one of the lanes that seldom have any, and moves it to the hot ones if it has.
 */
static uint32_t receive_cold(struct tr_port *port, struct tr_rx *out, uint32_t max, uint32_t *used)
{
    uint32_t cold = port->inbound_count - TR_SHM_HOT_LANES;
    port->inbound_cold = port->inbound_cold + 1 < cold ? port->inbound_cold + 1 : 0;
    struct tr_shm_inbound *in = &port->inbound[TR_SHM_HOT_LANES + port->inbound_cold];
    if (in->connection == 0)
        return 0;
    uint32_t count = receive(port, in, out, max, used);
    if (count > 0) {
        struct tr_shm_inbound *hot = &port->inbound[port->inbound_first];
        struct tr_shm_inbound before = *hot;
        *hot = *in;
        *in = before;
    }
    return count;
}

uint32_t tr_shm_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    uint32_t used = 0;
    uint32_t count = 0;
    if (tr_unlikely((++port->polls & (TR_SHM_TICK_POLLS - 1)) == 0))
        tr_shm_tick(port);
    max = tr_min_u32(max, TR_SHM_BURST_MAX);
    uint32_t hot = tr_min_u32(port->inbound_count, TR_SHM_HOT_LANES);
    /* Begins with another lane each time, so that none starves the others. */
    port->inbound_first = port->inbound_first + 1 < hot ? port->inbound_first + 1 : 0;
    for (uint32_t i = 0, at = port->inbound_first; i < hot && count < max; i++) {
        struct tr_shm_inbound *in = &port->inbound[at];
        at = at + 1 < hot ? at + 1 : 0;
        if (in->connection != 0 &&
            tr_load_relaxed(tr_shm_header_at(in->data, in->position & in->lane_mask)) != 0)
            count += receive(port, in, out + count, max - count, &used);
    }
    if (tr_unlikely(port->inbound_count > TR_SHM_HOT_LANES) && count < max)
        count += receive_cold(port, out + count, max - count, &used);
    return count;
}
