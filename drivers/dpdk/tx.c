/* Sending: messages gather in the frame of their peer, which lies in a buffer of the device; frames
 * wait for their wire, and a push gives it as many as it takes. A frame that was given is the
 * device's: nothing here touches it again. */
#include "drivers/dpdk/dpdk_port.h"

#include "base/assert.h"
#include "drivers/gather.h"
#include "trireme/error.h"

#include <rte_ethdev.h>

/* A frame's messages, for the count of those that are lost with it: the field is the receiver's. */
#define MESSAGES_OF(frame) ((frame)->hash.usr)

struct rte_mbuf *tr_dpdk_take_frame(struct dpdk_wire *wire)
{
    if (wire->stash_count == 0) {
        if (rte_pktmbuf_alloc_bulk(wire->pool, wire->stash, DPDK_STASH) != 0)
            return NULL;
        wire->stash_count = DPDK_STASH;
    }
    return wire->stash[--wire->stash_count];
}

/* Gives up the frames that wait: there is nobody behind the link. */
static void drop_waiting(struct tr_port *port, struct dpdk_wire *wire)
{
    for (uint32_t i = wire->tx_head; i < wire->tx_count; i++)
        port->stats.tx_errors += MESSAGES_OF(wire->tx[i]);
    rte_pktmbuf_free_bulk(wire->tx + wire->tx_head, wire->tx_count - wire->tx_head);
    wire->tx_head = wire->tx_count = 0;
}

/* Asks the device for the buffers that it has sent: it gives them back when it is asked to send. */
static void reclaim(struct dpdk_wire *wire)
{
    if (wire->is_polled)
        rte_eth_tx_burst(wire->id, wire->queue, wire->stash, 0);
}

void tr_dpdk_push(struct tr_port *port, struct dpdk_wire *wire)
{
    uint16_t count, sent;
    if (wire->tx_head == wire->tx_count)
        return;
    if (tr_unlikely(!wire->is_up)) {
        drop_waiting(port, wire);
        return;
    }
    do {
        count = (uint16_t)tr_min_u32(wire->tx_count - wire->tx_head, DPDK_BURST_MAX);
        if (wire->checksum == TR_PACKET_CHECKSUM_DEVICE)
            rte_eth_tx_prepare(wire->id, wire->queue, wire->tx + wire->tx_head, count);
        sent = rte_eth_tx_burst(wire->id, wire->queue, wire->tx + wire->tx_head, count);
        wire->tx_head += sent;
    } while (sent == count && wire->tx_head < wire->tx_count);
    if (tr_likely(wire->tx_head == wire->tx_count))
        wire->tx_head = wire->tx_count = 0;
}

bool tr_dpdk_queue_frame(struct tr_port *port, struct dpdk_wire *wire, struct rte_mbuf *frame)
{
    if (tr_unlikely(wire->tx_count == port->tx_max)) {
        tr_dpdk_push(port, wire);
        if (wire->tx_count - wire->tx_head == port->tx_max)
            return false;
        wire->tx_count -= wire->tx_head;
        memmove(wire->tx, wire->tx + wire->tx_head, wire->tx_count * sizeof(*wire->tx));
        wire->tx_head = 0;
    }
    wire->tx[wire->tx_count++] = frame;
    return true;
}

void tr_dpdk_wire_clear(struct tr_port *port, struct dpdk_wire *wire)
{
    drop_waiting(port, wire);
    rte_pktmbuf_free_bulk(wire->stash, wire->stash_count);
    wire->stash_count = 0;
}

/* Ends the lane's frame and puts it behind those that wait. Returns: false when there is no room,
 * it stays then as it is. */
static bool close_frame(struct tr_port *port, struct dpdk_lane *lane)
{
    struct dpdk_wire *wire = &port->wires[lane->wire];
    struct rte_mbuf *frame = lane->open;
    bool is_v4 = lane->front.header_bytes == TR_PACKET_HEADERS_V4;
    uint32_t bytes;
    if (frame == NULL)
        return true;
    if (!tr_dpdk_queue_frame(port, wire, frame))
        return false;
    bytes = tr_packet_finish(rte_pktmbuf_mtod(frame, uint8_t *), &lane->front, lane->open_bytes,
                             wire->checksum);
    frame->data_len = (uint16_t)bytes;
    frame->pkt_len = bytes;
    MESSAGES_OF(frame) = lane->open_messages;
    if (wire->checksum == TR_PACKET_CHECKSUM_DEVICE) {
        frame->l2_len = TR_ETHER_BYTES;
        frame->l3_len = is_v4 ? TR_IPV4_BYTES : TR_IPV6_BYTES;
        frame->ol_flags |=
            RTE_MBUF_F_TX_UDP_CKSUM |
            (is_v4 ? RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM : RTE_MBUF_F_TX_IPV6);
    }
    lane->open = NULL;
    lane->open_room = 0;
    return true;
}

/* Begins a frame, after the one before was closed. Returns: false when there is no buffer. */
static bool begin_frame(struct tr_port *port, struct dpdk_lane *lane)
{
    struct dpdk_wire *wire = &port->wires[lane->wire];
    lane->open = tr_dpdk_take_frame(wire);
    if (tr_unlikely(lane->open == NULL)) {
        tr_dpdk_push(port, wire);
        reclaim(wire);
        lane->open = tr_dpdk_take_frame(wire);
        if (lane->open == NULL)
            return false;
    }
    lane->open_bytes = 0;
    lane->open_messages = 0;
    lane->open_room = lane->payload_max;
    if (!lane->is_listed) {
        lane->is_listed = true;
        port->open_lanes[port->open_count++] = (uint16_t)(lane - port->lanes);
    }
    return true;
}

/* Room for bytes (a multiple of 8) in the lane's frame, which has it. */
static inline uint8_t *take_room(struct dpdk_lane *lane, uint32_t bytes)
{
    uint8_t *at = rte_pktmbuf_mtod(lane->open, uint8_t *) + tr_packet_front_bytes(&lane->front) +
                  lane->open_bytes;
    lane->open_room -= bytes;
    lane->open_bytes += bytes;
    tr_store_le64(at + bytes - 8, 0); /* the padding, before the payload lies over it */
    return at;
}

/* Whether so many frames can be begun, and closed, now. */
static bool is_room(struct tr_port *port, struct dpdk_wire *wire, uint32_t frames)
{
    if (wire->tx_count - wire->tx_head + frames >= port->tx_max)
        tr_dpdk_push(port, wire);
    if (rte_mempool_avail_count(wire->pool) + wire->stash_count < frames + DPDK_STASH)
        reclaim(wire);
    return wire->tx_count - wire->tx_head + frames < port->tx_max &&
           rte_mempool_avail_count(wire->pool) + wire->stash_count >= frames + DPDK_STASH;
}

/* Gives the device a frame whose payload it reads where that lies, behind those that wait. Returns:
 * whether it did; if not, nothing has changed. */
static bool attach(struct tr_port *port, struct dpdk_lane *lane, const uint8_t *header,
                   uint32_t header_bytes, const struct tr_gather_cursor *from, uint32_t bytes)
{
    struct dpdk_wire *wire = &port->wires[lane->wire];
    if (bytes < wire->attach_bytes || !close_frame(port, lane))
        return false;
    tr_dpdk_push(port, wire);
    return wire->tx_head == wire->tx_count && wire->is_up &&
           tr_dpdk_attach(port, lane, header, header_bytes, from, bytes);
}

static bool stage_cut(struct tr_port *port, struct dpdk_lane *lane,
                      const struct tr_segment *segment, uint32_t message_bytes)
{
    struct dpdk_wire *wire = &port->wires[lane->wire];
    struct tr_gather_cursor gather = {.segment = segment};
    struct tr_cut cut = tr_cut_plan(port->message_next, message_bytes, lane->payload_max);
    bool is_first = !wire->has_attached;
    if (!is_room(port, wire, cut.count + 1) || !close_frame(port, lane))
        return false;
    for (uint32_t i = 0; i < cut.count; i++) {
        uint32_t bytes = tr_cut_bytes(&cut, i);
        uint8_t header[TR_PIECE_BYTES];
        uint8_t *at;
        tr_cut_header(&cut, i, header);
        if (is_first && attach(port, lane, header, sizeof(header), &gather, bytes)) {
            wire->has_attached = true;
            tr_gather_skip(&gather, bytes);
            continue;
        }
        bool is_begun = close_frame(port, lane) && begin_frame(port, lane);
        tr_assert(is_begun); /* there was room for all of them */
        at = take_room(lane, tr_align_up_u32(TR_PIECE_BYTES + bytes, 8));
        memcpy(at, header, sizeof(header));
        tr_gather_next(&gather, at + TR_PIECE_BYTES, bytes);
    }
    if (lane->open != NULL)
        lane->open_messages++;
    port->message_next++;
    return true;
}

/* Gives the device a message that fits a frame of its own. Returns: whether it did. */
static tr_noinline bool attach_whole(struct tr_port *port, struct dpdk_lane *lane,
                                     const struct tr_segment *segment, uint32_t bytes)
{
    const struct tr_gather_cursor gather = {.segment = segment};
    struct dpdk_wire *wire = &port->wires[lane->wire];
    uint8_t header[TR_FRAME_BYTES];
    tr_frame_write(header, bytes);
    if (!attach(port, lane, header, sizeof(header), &gather, bytes))
        return false;
    wire->has_attached = true;
    return true;
}

/* Gathers a message. Returns: false when there is no room and the device takes nothing either. */
static inline bool stage(struct tr_port *port, struct dpdk_lane *lane,
                         const struct tr_segment *segment, uint32_t segment_count)
{
    uint32_t bytes = tr_gather_bytes(segment, segment_count);
    uint32_t frame = tr_frame_bytes(bytes);
    uint8_t *at;
    if (tr_unlikely(frame > lane->open_room)) {
        struct dpdk_wire *wire = &port->wires[lane->wire];
        tr_assert(bytes <= port->message_bytes_max);
        if (!lane->is_resolved || !wire->is_up) {
            port->stats.tx_errors++; /* nobody is known to be there */
            return true;
        }
        if (frame > lane->payload_max)
            return stage_cut(port, lane, segment, bytes);
        if (!close_frame(port, lane))
            return false;
        if (bytes >= wire->attach_bytes && !wire->has_attached &&
            attach_whole(port, lane, segment, bytes))
            return true;
        if (wire->tx_count - wire->tx_head >= DPDK_PUSH_FRAMES)
            tr_dpdk_push(port, wire);
        if (!begin_frame(port, lane))
            return false;
    }
    at = take_room(lane, frame);
    tr_frame_write(at, bytes);
    tr_gather_copy(at + TR_FRAME_BYTES, segment, segment_count);
    lane->open_messages++;
    return true;
}

uint32_t tr_dpdk_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count)
{
    uint32_t most = tr_min_u32(count, DPDK_BURST_MAX);
    uint32_t taken = 0;
    uint64_t bytes = 0;
    for (; taken < most; taken++) {
        const struct tr_tx *t = &tx[taken];
        uint32_t lane = tr_dpdk_lane_of_peer(port, t->peer);
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

/* Turns the strangers' lane to another source. Returns: false when what is in its frame cannot be
 * put away. */
static bool turn_to(struct tr_port *port, const struct dpdk_slot *slot)
{
    struct dpdk_lane *lane = &port->lanes[0];
    struct dpdk_wire *wire = &port->wires[slot->wire];
    bool is_same = lane->is_resolved && lane->wire == slot->wire &&
                   tr_ip_equal(&lane->end.ip, &slot->source.ip) &&
                   lane->end.port == slot->source.port &&
                   tr_mac_equal(&lane->end.mac, &slot->source.mac) &&
                   (lane->front.pad_bytes != 0) == slot->is_padded;
    if (is_same)
        return true;
    if (!close_frame(port, lane))
        return false;
    lane->wire = slot->wire;
    lane->end = slot->source;
    lane->is_resolved = true;
    tr_packet_front_make(&lane->front, &wire->own, &lane->end, slot->is_padded);
    return true;
}

int tr_dpdk_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                     uint32_t segment_count)
{
    const struct dpdk_slot *slot;
    tr_assert(source < DPDK_RX_SLOTS);
    slot = &port->slots[source];
    if (tr_unlikely(slot->lane == DPDK_LANE_GONE)) {
        port->stats.tx_errors++; /* taken and lost */
        return TR_OK;
    }
    if ((slot->lane == 0 && !turn_to(port, slot)) ||
        !stage(port, &port->lanes[slot->lane], segment, segment_count)) {
        port->stats.tx_full++;
        return TR_AGAIN;
    }
    port->stats.tx_messages++;
    port->stats.tx_bytes += tr_gather_bytes(segment, segment_count);
    return TR_OK;
}

void tr_dpdk_tx_flush(struct tr_port *port)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < port->open_count; i++) {
        uint16_t lane = port->open_lanes[i];
        port->lanes[lane].is_listed = !close_frame(port, &port->lanes[lane]);
        if (tr_unlikely(port->lanes[lane].is_listed))
            port->open_lanes[kept++] = lane; /* at the next flush */
    }
    port->open_count = kept;
    for (uint32_t i = 0; i < port->wire_max; i++) {
        port->wires[i].has_attached = false;
        if (port->wires[i].tx_head != port->wires[i].tx_count)
            tr_dpdk_push(port, &port->wires[i]);
    }
}

void tr_dpdk_tx_forget(struct tr_port *port, struct dpdk_lane *lane)
{
    if (lane->open == NULL)
        return;
    port->stats.tx_errors += lane->open_messages;
    rte_pktmbuf_free(lane->open);
    lane->open = NULL;
    lane->open_room = 0;
}
