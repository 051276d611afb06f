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
    ssize_t got = recvfrom(port->fd, port->rx_bytes, UDP_RX_BYTES, 0, first->msg_hdr.msg_name,
                           &first->msg_hdr.msg_namelen);
    if (got < 0)
        return -1;
    first->msg_len = (unsigned)got;
    return 1;
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
    port->rx_expects_burst = got > 0;
    if (got <= 0) {
        /* An ICMP message about an earlier datagram may surface here; it is no error of this port.
         */
        if (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            port->stats.tx_errors++;
        return false;
    }
    port->rx_slot = 0;
    port->rx_count = (uint32_t)got;
    return true;
}

/* Finds whose the first datagram is, and makes its header ready for the next receive. */
static void find_sender(struct tr_port *port)
{
    struct udp_slot *slot = &port->rx_from[port->rx_slot];
    struct msghdr *header = &port->rx_headers[port->rx_slot].msg_hdr;
    struct udp_lane *lane;
    struct tr_udp_key key;
    port->rx_is_found = true;
    slot->from.bytes = header->msg_namelen;
    header->msg_namelen = sizeof(struct sockaddr_in6);
    key = tr_udp_key(&slot->from);
    slot->lane = tr_udp_lane_of(port, &key);
    lane = &port->lanes[slot->lane];
    if (tr_unlikely(!lane->is_heard) && slot->lane != 0) { /* its first: an event is due */
        lane->is_heard = true;
        port->untold_count++;
    }
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

/* Gives the message of a piece up if that completes it. Returns whether to go on: false when every
 * buffer for large messages of this sender is handed up. */
static bool hand_up_piece(struct tr_port *port, const struct tr_frame *piece, struct tr_rx *out,
                          uint32_t *count)
{
    struct tr_span message;
    switch (add_piece(port, &port->rx_from[port->rx_slot], piece, &message)) {
    case TR_PIECE_COMPLETES:
        out[*count].data = message.data;
        out[*count].bytes = message.bytes;
        ++*count;
        return true;
    case TR_PIECE_WAITS:
        return false;
    case TR_PIECE_TAKEN:
    case TR_PIECE_DUPLICATE:
    case TR_PIECE_REFUSED:
        return true;
    }
    tr_unreachable();
}

/* Hands up what lies in the first slot, max messages at most. Returns how many; the slot is done
 * with when *at has reached its end. */
static uint32_t hand_up_slot(struct tr_port *port, uint32_t bytes, uint32_t *at, struct tr_rx *out,
                             uint32_t max)
{
    const uint8_t *datagram = port->rx_bytes + (size_t)port->rx_slot * UDP_RX_STRIDE;
    uint32_t count = 0;
    while (count < max && *at < bytes) {
        uint32_t here = *at;
        struct tr_frame frame;
        enum tr_frame_kind kind = tr_frame_next(datagram, bytes, at, &frame);
        if (tr_likely(kind == TR_FRAME_IS_WHOLE && frame.bytes <= port->message_bytes_max)) {
            out[count].data = frame.data;
            out[count].bytes = frame.bytes;
            count++;
        } else if (kind == TR_FRAME_IS_PIECE) {
            if (!hand_up_piece(port, &frame, out, &count)) {
                *at = here;
                break;
            }
        } else {
            port->stats.rx_malformed++;
            if (kind == TR_FRAME_IS_BAD)
                *at = bytes;
        }
    }
    return count;
}

/* Hands up what lies in the slots until there are max messages or no more. */
static uint32_t hand_up(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    uint32_t count = 0;
    while (count < max && port->rx_slot < port->rx_count) {
        uint32_t bytes = port->rx_headers[port->rx_slot].msg_len;
        uint32_t lane, more;
        if (!port->rx_is_found) {
            find_sender(port);
            port->stats.rx_malformed += bytes == 0;
        }
        lane = port->rx_from[port->rx_slot].lane;
        more = hand_up_slot(port, bytes, &port->rx_at, out + count, max - count);
        for (uint32_t i = 0; i < more; i++, count++) {
            out[count].peer = port->lanes[lane].peer;
            out[count].source = port->rx_slot;
            port->stats.rx_bytes += out[count].bytes;
        }
        port->stats.rx_messages += more;
        port->stats.rx_unknown += lane == 0 ? more : 0;
        if (port->rx_at < bytes)
            break; /* max is reached, or a large message waits for the next burst */
        port->rx_slot++;
        port->rx_at = 0;
        port->rx_is_found = false;
    }
    return count;
}

uint32_t tr_udp_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    uint32_t count = 0;
    max = tr_min_u32(max, UDP_BURST_MAX);
    release_messages(port);
    if (port->rx_slot < port->rx_count)
        count = hand_up(port, out, max);
    if (count == 0 && max > 0 && receive(port))
        count = hand_up(port, out, max);
    return count;
}
