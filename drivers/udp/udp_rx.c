/* Receiving: one system call fills the slots, rx_burst hands up the frames in them. */
#include "drivers/udp/udp_port.h"

#include "base/assert.h"
#include "trireme/error.h"

#include <errno.h>
#include <string.h>

int tr_udp_rx_init(struct tr_port *port)
{
    port->rx_slots = (uint32_t)port->extra.burst;
    port->rx_from = tr_udp_take(port, port->rx_slots * sizeof(*port->rx_from));
    port->rx_headers = tr_udp_take(port, port->rx_slots * sizeof(*port->rx_headers));
    port->rx_pieces = tr_udp_take(port, port->rx_slots * sizeof(*port->rx_pieces));
    port->rx_bytes = port->memory.allocate(port->memory.context,
                                           (size_t)port->rx_slots * UDP_RX_STRIDE, TR_CACHE_LINE);
    if (port->rx_from == NULL || port->rx_headers == NULL || port->rx_pieces == NULL ||
        port->rx_bytes == NULL)
        return TR_ENOMEM;
    for (uint32_t i = 0; i < port->rx_slots; i++) {
        struct msghdr *header = &port->rx_headers[i].msg_hdr;
        port->rx_pieces[i].iov_base = port->rx_bytes + (size_t)i * UDP_RX_STRIDE;
        port->rx_pieces[i].iov_len = UDP_RX_BYTES;
        header->msg_iov = &port->rx_pieces[i];
        header->msg_iovlen = 1;
        header->msg_name = &port->rx_from[i].from.any;
        header->msg_namelen = sizeof(struct sockaddr_in6);
    }
    return TR_OK;
}

/* One datagram into the first slot. Returns how many came, -1 with errno. */
static int receive_one(struct tr_port *port)
{
    struct mmsghdr *first = &port->rx_headers[0];
    socklen_t bytes = sizeof(struct sockaddr_in6);
    ssize_t got =
        recvfrom(port->fd, port->rx_bytes, UDP_RX_BYTES, 0, first->msg_hdr.msg_name, &bytes);
    if (got < 0)
        return -1;
    first->msg_len = (unsigned)got;
    first->msg_hdr.msg_namelen = bytes;
    return 1;
}

/* Notes the first datagram of a peer: an event is due. */
static void hear(struct tr_port *port, struct udp_lane *lane)
{
    if (tr_likely(lane->is_heard) || lane->peer == 0)
        return;
    lane->is_heard = true;
    port->untold_count++;
}

/* Finds whose the datagrams are, and makes the headers ready for the next call. */
static void find_senders(struct tr_port *port, uint32_t count)
{
    struct tr_udp_key last = {{0, 0, 0}};
    uint32_t lane = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct msghdr *header = &port->rx_headers[i].msg_hdr;
        struct udp_slot *slot = &port->rx_from[i];
        struct tr_udp_key key;
        slot->from.bytes = header->msg_namelen;
        header->msg_namelen = sizeof(struct sockaddr_in6);
        key = tr_udp_key(&slot->from);
        if (!tr_udp_key_equal(&key, &last)) {
            lane = tr_udp_lane_of(port, &key);
            last = key;
            hear(port, &port->lanes[lane]);
        }
        slot->lane = lane;
    }
}

/* Fills the slots by one system call. After a call that brought nothing, one datagram is the
 * likeliest to come next, and recvfrom takes it for 150 ns less than recvmmsg, which looks for a
 * second one and copies headers; after a call that brought something, more may have queued up. */
static bool receive(struct tr_port *port)
{
    int got = port->rx_expects_burst
                  ? recvmmsg(port->fd, port->rx_headers, port->rx_slots, MSG_DONTWAIT, NULL)
                  : receive_one(port);
    port->stats.syscalls++;
    port->rx_slot = 0;
    port->rx_at = 0;
    if (got <= 0) {
        /* An ICMP message about an earlier datagram may surface here; it is no error of this port.
         */
        if (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            port->stats.tx_errors++;
        port->rx_expects_burst = false;
        port->rx_count = 0;
        return false;
    }
    port->rx_expects_burst = true;
    port->rx_count = (uint32_t)got;
    find_senders(port, port->rx_count);
    return true;
}

static void release_messages(struct tr_port *port)
{
    if (tr_likely(port->rx_held == 0))
        return;
    for (uint32_t i = 0; i <= port->peers_max; i++)
        tr_reassembly_release(&port->lanes[i].reassembly);
    port->rx_held = 0;
}

/* Adds a piece to its message. Returns whether that is complete and in *out. */
static enum tr_reassembly_result add_piece(struct tr_port *port, const struct udp_slot *slot,
                                           const struct tr_frame *piece, struct tr_span *out)
{
    struct tr_udp_key key = tr_udp_key(&slot->from);
    uint64_t evicted = 0;
    enum tr_reassembly_result result = tr_reassembly_add(
        &port->lanes[slot->lane].reassembly, tr_udp_key_hash(&key), piece, out, &evicted);
    port->stats.rx_dropped += evicted;
    port->stats.rx_malformed += result == TR_PIECE_REFUSED;
    port->rx_held += result == TR_PIECE_COMPLETES;
    return result;
}

static void hand_up(struct tr_port *port, struct tr_span message, struct tr_rx *out)
{
    const struct udp_slot *slot = &port->rx_from[port->rx_slot];
    out->data = message.data;
    out->bytes = message.bytes;
    out->peer = port->lanes[slot->lane].peer;
    out->source = port->rx_slot;
    port->stats.rx_messages++;
    port->stats.rx_bytes += message.bytes;
    port->stats.rx_unknown += slot->lane == 0;
}

static void next_slot(struct tr_port *port)
{
    port->rx_slot++;
    port->rx_at = 0;
}

/* Hands up what lies in the slots until there are max messages, or no more, or every buffer for
 * large messages of a peer is handed up. */
static uint32_t hand_up_frames(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    uint32_t count = 0;
    while (count < max && port->rx_slot < port->rx_count) {
        const uint8_t *datagram = port->rx_pieces[port->rx_slot].iov_base;
        uint32_t bytes = port->rx_headers[port->rx_slot].msg_len;
        uint32_t at = port->rx_at;
        struct tr_frame frame;
        struct tr_span message;
        enum tr_reassembly_result result;
        switch (tr_frame_next(datagram, bytes, &port->rx_at, &frame)) {
        case TR_FRAME_IS_WHOLE:
            if (tr_likely(frame.bytes <= port->message_bytes_max))
                hand_up(port, tr_span_of(frame.data, frame.bytes), &out[count++]);
            else
                port->stats.rx_malformed++;
            break;
        case TR_FRAME_IS_PIECE:
            result = add_piece(port, &port->rx_from[port->rx_slot], &frame, &message);
            if (result == TR_PIECE_COMPLETES)
                hand_up(port, message, &out[count++]);
            if (result == TR_PIECE_WAITS) {
                port->rx_at = at;
                return count;
            }
            break;
        case TR_FRAME_IS_END:
            port->stats.rx_malformed += bytes == 0;
            next_slot(port);
            break;
        case TR_FRAME_IS_BAD:
            port->stats.rx_malformed++;
            next_slot(port);
            break;
        }
    }
    return count;
}

uint32_t tr_udp_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    uint32_t count = 0;
    max = tr_min_u32(max, UDP_BURST_MAX);
    release_messages(port);
    if (port->rx_slot < port->rx_count)
        count = hand_up_frames(port, out, max);
    if (count == 0 && max > 0 && receive(port))
        count = hand_up_frames(port, out, max);
    return count;
}
