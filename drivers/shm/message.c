/* Messages of the shm driver: the two ends of a lane. */
#include "drivers/gather.h"
#include "drivers/shm/inner.h"

#include <string.h>
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

/* The peer that has this number now, or nobody. Cost: two loads; a search when two peers' numbers
 * have the same low byte. */
static inline struct tr_shm_peer *peer_of(struct tr_port *port, tr_node_id id)
{
    struct tr_shm_peer **seen = &port->peer_seen[id & 0xff];
    if (tr_unlikely((*seen)->id != id)) {
        uint32_t index = tr_shm_peer_find(port, id);
        *seen = index != UINT32_MAX ? &port->peer[index] : &port->nobody;
    }
    return *seen;
}

/* Finds room for a message that the limit does not leave room for: looks how far the receiver is,
 * and goes back to the start of the lane when the lane ends, or when the receiver is so close
 * behind that the start is free and still in the cache. Returns: false when the lane is full. */
static bool make_room(struct tr_shm_peer *peer, uint32_t room)
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

/* What became of a message. */
enum sent {
    SENT = 0,
    SENT_NOWHERE = 1, /* the peer is down: taken and lost */
    SENT_NOT = 2,     /* its lane is full */
};

/* Writes a message into the lane, which has room for it. */
static inline void put(struct tr_shm_peer *peer, const struct tr_tx *tx, uint32_t bytes,
                       uint32_t room)
{
    uint64_t tail = peer->tail;
    unsigned char *at = peer->lane_data + (tail & peer->lane_mask);
    tr_gather_copy(at + TR_SHM_HEAD_BYTES, tx->segment, tx->segment_count);
    tr_store_relaxed(tr_shm_header_at(at, room), UINT64_C(0));
    tr_store_release(tr_shm_header_at(at, 0), tr_shm_head(tail, bytes)); /* (A), meets receive */
    peer->tail = tail + room;
    tr_shm_ask_ahead(at + room + TR_CACHE_LINE, room); /* but for the line that is looked at */
}

/* A message that the limit does not leave room for, or that is too long for the peer. */
static tr_noinline enum sent send_slow(struct tr_port *port, struct tr_shm_peer *peer,
                                       const struct tr_tx *tx, uint32_t bytes)
{
    uint32_t room = tr_shm_message_room(bytes);
    tr_assert(bytes >= 1 && bytes <= port->message_bytes_max);
    if (peer->id != tx->peer || peer->link != TR_SHM_LINK_UP || bytes > peer->message_bytes_max)
        return SENT_NOWHERE;
    if (!make_room(peer, room))
        return SENT_NOT;
    put(peer, tx, bytes, room);
    return SENT;
}

uint32_t tr_shm_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count)
{
    const struct tr_tx *end = tx + tr_min_u32(count, TR_SHM_BURST_MAX);
    const struct tr_tx *at = tx;
    uint64_t taken_bytes = 0;
    for (; at < end; at++) {
        struct tr_shm_peer *peer = peer_of(port, at->peer);
        uint32_t bytes = tr_gather_bytes(at->segment, at->segment_count);
        uint32_t room = tr_shm_message_room(bytes);
        if (tr_likely(peer->tail + room + TR_CACHE_LINE <= peer->limit &&
                      bytes <= peer->message_bytes_max)) {
            put(peer, at, bytes, room);
        } else {
            enum sent sent = send_slow(port, peer, at, bytes);
            if (sent == SENT_NOT)
                break;
            port->stats.tx_errors += sent == SENT_NOWHERE;
        }
        taken_bytes += bytes;
    }
    uint32_t taken = (uint32_t)(at - tx);
    port->stats.tx_messages += taken;
    port->stats.tx_bytes += taken_bytes;
    if (tr_unlikely(taken != count))
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
static void distrust(struct tr_port *port, struct tr_shm_inbound *in)
{
    port->stats.rx_malformed++;
    tr_shm_inbound_connect(port, in, 0);
    tr_store_release(&in->lane->accepted, UINT64_C(0)); /* (C), meets peer_tick */
}

/* A header that is not simply that of a message: goes on at the start of the lane, or distrusts. */
static tr_noinline void receive_odd(struct tr_port *port, struct tr_shm_inbound *in,
                                    uint64_t header)
{
    if (header == tr_shm_head(in->position, TR_SHM_SKIP)) {
        in->position = (in->position | in->lane_mask) + 1;
        in->next = tr_shm_header_at(in->data, 0);
    } else {
        distrust(port, in);
    }
}

/* Copies the lines of a message, which its sender could still write, to private memory: once,
 * whatever it reads. The barrier keeps the compiler from reading the message where it was. */
static inline void copy_lines(unsigned char *to, const unsigned char *from, uint32_t bytes)
{
    for (const unsigned char *end = from + bytes; from != end;
         from += TR_CACHE_LINE, to += TR_CACHE_LINE)
        memcpy(to, from, TR_CACHE_LINE);
    __asm__ __volatile__("" ::: "memory");
}

/* What a burst has filled. */
struct burst {
    struct tr_rx *out;
    struct tr_rx *end;
    unsigned char *to; /* the next message's copy goes here */
    uint64_t bytes;
};

/* Takes whole messages off a lane, until it is empty or the burst is full. */
static tr_always_inline void receive(struct tr_port *port, struct tr_shm_inbound *in,
                                     struct burst *burst)
{
    while (burst->out != burst->end) {
        uint64_t header = tr_load_acquire(in->next); /* (A), meets put */
        if (header == 0)
            break;
        uint32_t bytes = (uint32_t)header;
        uint32_t room = tr_shm_message_room(bytes);
        uint64_t position = in->position;
        uint32_t lane_left = in->lane_mask + 1 - ((uint32_t)position & in->lane_mask);
        if (tr_unlikely((uint32_t)(header >> 32) != (uint32_t)(position / TR_CACHE_LINE) ||
                        bytes - 1 >= port->message_bytes_max || room > lane_left)) {
            receive_odd(port, in, header);
            continue;
        }
        if (tr_unlikely(room > (uint64_t)(port->rx_end - burst->to)))
            break;
        copy_lines(burst->to, (const unsigned char *)in->next, room);
        position += room;
        in->position = position;
        in->next = tr_shm_header_at(in->data, position & in->lane_mask);
        burst->out->data = burst->to + TR_SHM_HEAD_BYTES;
        burst->out->bytes = bytes;
        burst->out->peer = in->peer;
        burst->out->source = in->index;
        burst->out++;
        burst->to += room;
        burst->bytes += bytes;
    }
    if (tr_unlikely(in->position >= in->tell_at))
        tr_shm_tell_head(in);
}

/* Takes messages off one of the lanes that seldom have any, and moves it to the hot ones if it has.
 */
static tr_noinline struct burst receive_cold(struct tr_port *port, struct burst burst)
{
    uint32_t cold = port->inbound_count - TR_SHM_HOT_LANES;
    port->inbound_cold = port->inbound_cold + 1 < cold ? port->inbound_cold + 1 : 0;
    struct tr_shm_inbound *in = &port->inbound[TR_SHM_HOT_LANES + port->inbound_cold];
    struct tr_rx *before = burst.out;
    receive(port, in, &burst);
    if (burst.out != before) {
        struct tr_shm_inbound *hot = &port->inbound[port->inbound_cold % TR_SHM_HOT_LANES];
        struct tr_shm_inbound was_hot = *hot;
        *hot = *in;
        *in = was_hot;
    }
    return burst;
}

uint32_t tr_shm_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    struct burst burst = {out, out + tr_min_u32(max, TR_SHM_BURST_MAX), port->rx, 0};
    if (tr_unlikely((++port->polls & (TR_SHM_TICK_POLLS - 1)) == 0))
        tr_shm_tick(port);
    struct tr_shm_inbound *last = port->inbound + port->inbound_hot;
    struct tr_shm_inbound *first = port->inbound + port->inbound_first;
    struct tr_shm_inbound *in = first;
    for (; in != last; in++) {
        if (tr_load_relaxed(in->next) != 0)
            receive(port, in, &burst);
    }
    for (in = port->inbound; in != first; in++) {
        if (tr_load_relaxed(in->next) != 0)
            receive(port, in, &burst);
    }
    if (tr_unlikely(port->inbound_count > port->inbound_hot))
        burst = receive_cold(port, burst);
    uint32_t count = (uint32_t)(burst.out - out);
    if (count == 0)
        return 0;
    if (tr_unlikely(burst.out == burst.end)) /* so that no lane starves those after it */
        port->inbound_first = first + 1 < last ? port->inbound_first + 1 : 0;
    port->stats.rx_messages += count;
    port->stats.rx_bytes += burst.bytes;
    return count;
}
