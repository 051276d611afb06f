/* Sending: tx_burst gathers datagrams in each lane's staging, push hands all of them to the kernel
 * by one system call. */
#include "drivers/udp/udp_port.h"

#include "base/assert.h"
#include "drivers/gather.h"
#include "trireme/error.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

int tr_udp_tx_init(struct tr_port *port)
{
    uint32_t unit = UDP_DATAGRAM_MIN - TR_PIECE_BYTES;
    /* A message in the smallest datagrams that peer_add accepts, and a burst of small ones behind
     * it. */
    port->tx_max = port->message_bytes_max / unit + 1 + UDP_PUSH_SENDS;
    port->sends = tr_udp_take(port, port->tx_max * sizeof(*port->sends));
    port->tx_headers = tr_udp_take(port, port->tx_max * sizeof(*port->tx_headers));
    port->tx_controls = tr_udp_take(port, port->tx_max * sizeof(*port->tx_controls));
    if (port->sends == NULL || port->tx_headers == NULL || port->tx_controls == NULL)
        return TR_ENOMEM;
    for (uint32_t i = 0; i < port->tx_max; i++) {
        struct msghdr *header = &port->tx_headers[i].msg_hdr;
        struct cmsghdr *control = &port->tx_controls[i].align;
        header->msg_iov = &port->sends[i].piece;
        header->msg_iovlen = 1;
        control->cmsg_level = SOL_UDP;
        control->cmsg_type = UDP_SEGMENT;
        control->cmsg_len = CMSG_LEN(sizeof(uint16_t));
    }
    return TR_OK;
}

int tr_udp_lane_init(struct tr_port *port, struct udp_lane *lane, uint32_t reassembly_count)
{
    int result;
    uint8_t *staging;
    if (lane->staging != NULL) {
        tr_reassembly_reset(&lane->reassembly);
        return TR_OK;
    }
    staging = port->memory.allocate(port->memory.context, port->staging_bytes, TR_CACHE_LINE);
    if (staging == NULL)
        return TR_ENOMEM;
    result = tr_reassembly_init(&lane->reassembly, &port->memory, reassembly_count,
                                port->message_bytes_max);
    if (result == TR_OK)
        lane->staging = staging;
    return result;
}

/* After a push no datagram can grow; when nothing is left, all memory is free again. */
static void close_datagrams(struct tr_port *port)
{
    bool all = port->tx_head == port->tx_count;
    for (uint32_t i = 0; i < port->tx_count; i++) {
        struct udp_lane *lane = &port->lanes[port->sends[i].lane];
        lane->open = NULL;
        lane->open_room = 0;
        if (all)
            lane->staged_bytes = 0;
    }
    if (all) {
        port->tx_head = 0;
        port->tx_count = 0;
    }
}

/* Bytes of the last datagram of a send. */
static uint32_t last_bytes(const struct udp_send *send)
{
    return (uint32_t)send->piece.iov_len - (send->segment_count - 1) * send->segment_bytes;
}

/* Sends the datagrams of a send one by one: what asked the kernel to cut them was refused (no
 * checksum offload, or a route's MTU that has shrunk). Not asked for this lane again. */
static void send_apart(struct tr_port *port, uint32_t index)
{
    const struct udp_send *send = &port->sends[index];
    const struct msghdr *header = &port->tx_headers[index].msg_hdr;
    const uint8_t *at = header->msg_iov->iov_base;
    bool lost = false;
    port->lanes[send->lane].gso = false;
    for (uint32_t i = 0; i < send->segment_count; i++) {
        uint32_t bytes = i + 1 < send->segment_count ? send->segment_bytes : last_bytes(send);
        port->stats.syscalls++;
        lost |= sendto(port->fd, at, bytes, 0, header->msg_name, header->msg_namelen) < 0;
        at += bytes;
    }
    port->stats.tx_errors += lost ? send->messages : 0;
}

/* Gives the first waiting send up, or sends it another way. */
static void send_failed(struct tr_port *port, int reason)
{
    const struct udp_send *send = &port->sends[port->tx_head];
    if (send->segment_count > 1 && (reason == EIO || reason == EINVAL || reason == EMSGSIZE))
        send_apart(port, port->tx_head);
    else
        port->stats.tx_errors += send->messages;
    port->tx_head++;
}

/* Hands the kernel what waits, from the first. Returns sends taken, -1 with errno. */
static int push_some(struct tr_port *port)
{
    uint32_t count = port->tx_count - port->tx_head;
    struct mmsghdr *first = &port->tx_headers[port->tx_head];
    port->stats.syscalls++;
    if (count == 1 && first->msg_hdr.msg_controllen == 0) {
        /* Cheaper than sendmmsg by the copy of the headers: about 100 ns. */
        const struct iovec *piece = first->msg_hdr.msg_iov;
        return sendto(port->fd, piece->iov_base, piece->iov_len, 0, first->msg_hdr.msg_name,
                      first->msg_hdr.msg_namelen) < 0
                   ? -1
                   : 1;
    }
    return sendmmsg(port->fd, first, tr_min_u32(count, 1024), 0);
}

static void push(struct tr_port *port)
{
    if (port->tx_head == port->tx_count)
        return;
    while (port->tx_head < port->tx_count) {
        int sent = push_some(port);
        if (sent > 0)
            port->tx_head += (uint32_t)sent;
        else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)
            break;
        else if (errno != EINTR)
            send_failed(port, errno);
    }
    port->tx_blocked = port->tx_head < port->tx_count; /* the rest stays for the next flush */
    close_datagrams(port);
}

/* Whether the lane's open send can have one more datagram, cut off by the kernel. */
static bool can_extend(const struct udp_lane *lane, uint32_t bytes)
{
    const struct udp_send *send = lane->open;
    uint32_t segment;
    if (!lane->gso || send == NULL)
        return false;
    segment = send->segment_count == 1 ? (uint32_t)send->piece.iov_len : send->segment_bytes;
    return last_bytes(send) == segment && bytes <= segment &&
           send->segment_count < UDP_SEGMENTS_MAX &&
           (send->segment_count + 1) * segment <= UDP_SEND_BYTES_MAX;
}

static void extend_send(struct tr_port *port, struct udp_lane *lane)
{
    struct udp_send *send = lane->open;
    if (send->segment_count == 1) {
        size_t index = (size_t)(send - port->sends);
        struct msghdr *header = &port->tx_headers[index].msg_hdr;
        uint16_t segment = (uint16_t)send->piece.iov_len;
        send->segment_bytes = segment;
        header->msg_control = &port->tx_controls[index];
        header->msg_controllen = sizeof(port->tx_controls[index].bytes);
        memcpy(CMSG_DATA(&port->tx_controls[index].align), &segment, sizeof(segment));
    }
    send->segment_count++;
    lane->open_room = send->segment_bytes;
}

static void begin_send(struct tr_port *port, struct udp_lane *lane)
{
    uint32_t index = port->tx_count++;
    struct udp_send *send = &port->sends[index];
    struct msghdr *header = &port->tx_headers[index].msg_hdr;
    struct tr_udp_address *to = &lane->address;
    send->lane = (uint32_t)(lane - port->lanes);
    send->messages = 0;
    send->segment_count = 1;
    if (send->lane == 0) {
        send->to = lane->address;
        to = &send->to;
    }
    send->piece.iov_base = lane->staging + lane->staged_bytes;
    send->piece.iov_len = 0;
    header->msg_name = &to->any;
    header->msg_namelen = to->bytes;
    header->msg_control = NULL;
    header->msg_controllen = 0;
    lane->open = send;
    lane->open_room = lane->datagram_bytes;
}

/* Room for bytes (a multiple of 8) in the lane's open datagram, which has it. */
static inline uint8_t *take_room(struct udp_lane *lane, uint32_t bytes)
{
    uint8_t *at = lane->staging + lane->staged_bytes;
    lane->open_room -= bytes;
    lane->staged_bytes += bytes;
    lane->open->piece.iov_len += bytes;
    tr_store_le64(at + bytes - 8, 0); /* the padding, before the payload lies over it */
    return at;
}

/* Opens the datagram that bytes are to go into. The caller has seen to it that there is room. */
static void open_datagram(struct tr_port *port, struct udp_lane *lane, uint32_t bytes)
{
    if (can_extend(lane, bytes))
        extend_send(port, lane);
    else
        begin_send(port, lane);
}

/* Whether the lane can gather so many bytes more, in so many datagrams, now; else pushes. */
static bool make_room(struct tr_port *port, const struct udp_lane *lane, uint32_t bytes,
                      uint32_t datagrams)
{
    bool is_much =
        port->tx_count - port->tx_head >= UDP_PUSH_SENDS || lane->staged_bytes >= UDP_PUSH_BYTES;
    bool is_room = lane->staged_bytes + bytes <= port->staging_bytes &&
                   port->tx_count + datagrams <= port->tx_max;
    if (tr_unlikely(!is_room || (is_much && !port->tx_blocked))) {
        push(port);
        is_room = lane->staged_bytes + bytes <= port->staging_bytes &&
                  port->tx_count + datagrams <= port->tx_max;
    }
    return is_room;
}

static bool stage_cut(struct tr_port *port, struct udp_lane *lane, const struct tr_segment *segment,
                      uint32_t message_bytes)
{
    struct tr_gather_cursor gather = {.segment = segment};
    struct tr_cut cut = tr_cut_plan(port->message_next, message_bytes, lane->datagram_bytes);
    uint32_t room = tr_align_up_u32(message_bytes + cut.count * TR_PIECE_BYTES, 8);
    if (!make_room(port, lane, room, cut.count))
        return false;
    for (uint32_t i = 0; i < cut.count; i++) {
        uint32_t bytes = tr_cut_bytes(&cut, i);
        uint32_t frame = tr_align_up_u32(TR_PIECE_BYTES + bytes, 8);
        uint8_t *at;
        if (frame > lane->open_room)
            open_datagram(port, lane, frame);
        at = take_room(lane, frame);
        tr_cut_header(&cut, i, at);
        tr_gather_next(&gather, at + TR_PIECE_BYTES, bytes);
    }
    lane->open->messages++;
    port->message_next++;
    return true;
}

/* Gathers a message. Returns false when there is no room and the kernel takes nothing either. */
static inline bool stage(struct tr_port *port, struct udp_lane *lane,
                         const struct tr_segment *segment, uint32_t segment_count)
{
    uint32_t bytes = tr_gather_bytes(segment, segment_count);
    uint32_t frame = tr_frame_bytes(bytes);
    uint8_t *at;
    if (tr_unlikely(frame > lane->open_room || lane->staged_bytes + frame > port->staging_bytes)) {
        tr_assert(bytes <= port->message_bytes_max);
        if (frame > lane->datagram_bytes)
            return stage_cut(port, lane, segment, bytes);
        if (!make_room(port, lane, frame, 1))
            return false;
        open_datagram(port, lane, frame);
    }
    at = take_room(lane, frame);
    tr_frame_write(at, bytes);
    tr_gather_copy(at + TR_FRAME_BYTES, segment, segment_count);
    lane->open->messages++;
    return true;
}

uint32_t tr_udp_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count)
{
    uint32_t most = tr_min_u32(count, UDP_BURST_MAX);
    uint32_t taken = 0;
    uint64_t bytes = 0;
    for (; taken < most; taken++) {
        const struct tr_tx *t = &tx[taken];
        uint32_t lane = tr_udp_lane_of_peer(port, t->peer);
        tr_assert(t->segment_count - 1u < TR_TX_SEGMENTS_MAX);
        if (tr_unlikely(lane == 0))
            port->stats
                .tx_errors++; /* nobody's number: taken and lost, as to a peer that is down */
        else if (tr_unlikely(!stage(port, &port->lanes[lane], t->segment, t->segment_count)))
            break;
        bytes += tr_gather_bytes(t->segment, t->segment_count);
    }
    port->stats.tx_messages += taken;
    port->stats.tx_bytes += bytes;
    port->stats.tx_full += count - taken;
    return taken;
}

int tr_udp_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                    uint32_t segment_count)
{
    struct udp_lane *strangers = &port->lanes[0];
    const struct udp_slot *slot;
    tr_assert(source < port->rx_slots);
    slot = &port->rx_from[source];
    if (slot->lane == 0) {
        struct tr_udp_key key = tr_udp_key(&slot->from);
        if (!tr_udp_key_equal(&key, &strangers->key)) {
            strangers->key = key;
            strangers->address = slot->from;
            strangers->open = NULL;
            strangers->open_room = 0;
        }
    }
    if (!stage(port, &port->lanes[slot->lane], segment, segment_count)) {
        port->stats.tx_full++;
        return TR_AGAIN;
    }
    port->stats.tx_messages++;
    port->stats.tx_bytes += tr_gather_bytes(segment, segment_count);
    return TR_OK;
}

void tr_udp_tx_flush(struct tr_port *port)
{
    push(port);
}

void tr_udp_tx_forget(struct tr_port *port, uint32_t lane)
{
    uint32_t kept;
    push(port);
    kept = port->tx_head;
    for (uint32_t i = port->tx_head; i < port->tx_count; i++) {
        struct msghdr *to = &port->tx_headers[kept].msg_hdr;
        const struct msghdr *from = &port->tx_headers[i].msg_hdr;
        if (port->sends[i].lane == lane) {
            port->stats.tx_errors += port->sends[i].messages;
            continue;
        }
        port->sends[kept] = port->sends[i];
        port->tx_controls[kept] = port->tx_controls[i];
        to->msg_name = port->sends[kept].lane == 0 ? &port->sends[kept].to.any : from->msg_name;
        to->msg_namelen = from->msg_namelen;
        to->msg_control = from->msg_controllen != 0 ? &port->tx_controls[kept] : NULL;
        to->msg_controllen = from->msg_controllen;
        kept++;
    }
    port->tx_count = kept;
    port->lanes[lane].staged_bytes = 0;
    if (port->tx_head == port->tx_count)
        close_datagrams(port);
}
