/* Receiving: frames lie in the device's buffers until the next rx_burst, and messages are handed up
 * from where they lie. Nothing that a frame says is believed before it was checked. */
#include "drivers/dpdk/dpdk_port.h"

#include "base/tsc.h"
#include "trireme/error.h"

#include <rte_ethdev.h>
#include <rte_prefetch.h>

/* Gives the frames that were handed up back to the devices. */
static void release_frames(struct tr_port *port)
{
    rte_pktmbuf_free_bulk(port->rx, port->rx_count);
    port->rx_slot = port->rx_count = port->rx_at = 0;
    while (tr_unlikely(port->left_count > 0))
        rte_mempool_free(port->left[--port->left_count]);
}

static void release_messages(struct tr_port *port)
{
    if (tr_likely(port->rx_held == 0))
        return;
    for (uint32_t i = 0; i <= port->peers_max; i++)
        tr_reassembly_release(&port->lanes[i].reassembly);
    port->rx_held = 0;
}

bool tr_dpdk_rx_forget(struct tr_port *port, uint32_t wire)
{
    bool is_any = false;
    for (uint32_t i = 0; i < port->rx_count; i++) {
        if (port->slots[i].wire != wire || port->rx[i] == NULL)
            continue;
        if (i < port->rx_slot) {
            is_any = true;
            continue;
        }
        rte_pktmbuf_free(port->rx[i]);
        port->rx[i] = NULL;
    }
    return is_any;
}

void tr_dpdk_rx_disown(struct tr_port *port, uint32_t lane)
{
    for (uint32_t i = 0; i < port->rx_count; i++) {
        struct dpdk_slot *slot = &port->slots[i];
        if (slot->payload == NULL || slot->lane != lane)
            continue;
        slot->lane = DPDK_LANE_GONE;
        if (i == port->rx_slot) { /* what is left of its datagram is nobody's */
            port->rx_at = 0;
            port->rx_slot++;
            port->stats.rx_dropped++;
        }
    }
}

/* Takes what one wire has. */
static void receive_wire(struct tr_port *port, uint32_t index)
{
    struct dpdk_wire *wire = &port->wires[index];
    struct rte_ring *handover =
        wire->is_second ? wire->device->second[wire->queue] : wire->device->handover[wire->queue];
    uint32_t before = port->rx_count, handed;
    uint16_t most = (uint16_t)tr_min_u32(DPDK_RX_SLOTS - before, DPDK_RX_BURST);
    if (handover != NULL && !rte_ring_empty(handover))
        port->rx_count +=
            rte_ring_sc_dequeue_burst(handover, (void **)(port->rx + before), most / 2u + 1, NULL);
    handed = port->rx_count;
    most = (uint16_t)tr_min_u32(DPDK_RX_SLOTS - port->rx_count, most);
    if (tr_likely(!wire->is_second))
        port->rx_count += rte_eth_rx_burst(wire->id, wire->queue, port->rx + port->rx_count, most);
    for (uint32_t i = before; i < port->rx_count; i++) {
        rte_prefetch0(rte_pktmbuf_mtod(port->rx[i], uint8_t *));
        port->slots[i].payload = NULL;
        port->slots[i].wire = index;
        port->slots[i].is_handed = i < handed;
    }
}

/* Fills the slots. Every wire is asked once, in turns who is first. */
static void receive(struct tr_port *port)
{
    uint32_t index = port->wire_next;
    release_frames(port);
    for (uint32_t i = 0; i < port->wire_max && port->rx_count < DPDK_RX_SLOTS; i++) {
        if (port->wires[index].is_polled)
            receive_wire(port, index);
        index = index + 1 < port->wire_max ? index + 1 : 0;
    }
    port->wire_next = port->wire_next + 1 < port->wire_max ? port->wire_next + 1 : 0;
}

/* A datagram for another queue of this node goes there, if that takes it. */
static void hand_over(struct tr_port *port, const struct dpdk_wire *wire, uint32_t slot,
                      uint16_t target_port)
{
    const struct dpdk_device *device = wire->device;
    uint32_t queue = (uint32_t)target_port - port->own.port + port->queue_index;
    uint32_t second = (uint32_t)target_port - device->second_base;
    struct rte_ring *to = queue < device->queue_count    ? device->handover[queue]
                          : second < device->queue_count ? device->second[second]
                                                         : NULL;
    if (to == NULL)
        return; /* of no node here */
    if (rte_ring_mp_enqueue(to, port->rx[slot]) == 0) {
        port->rx[slot] = NULL;
        port->stats.rx_misplaced += queue < device->queue_count || second != wire->queue;
    } else {
        port->stats.rx_dropped++;
    }
}

/* What a neighbour said goes to the node's other queues, too: a device gives it to one of them,
 * whichever asked. */
static void tell_others(const struct dpdk_wire *wire, struct rte_mbuf *frame)
{
    for (uint16_t q = 0; q < wire->device->queue_count; q++) {
        struct rte_ring *to = wire->device->handover[q];
        struct rte_mbuf *copy;
        if (q == wire->queue || to == NULL)
            continue;
        copy = rte_pktmbuf_copy(frame, wire->pool, 0, UINT32_MAX);
        if (copy != NULL && rte_ring_mp_enqueue(to, copy) != 0)
            rte_pktmbuf_free(copy); /* it asks again */
    }
}

/* What the device has verified of a frame. */
static uint32_t verified_of(const struct dpdk_wire *wire, const struct rte_mbuf *frame)
{
    uint32_t verified = 0;
    if (!wire->device->has_checksum_rx)
        return 0;
    if ((frame->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD)
        verified |= TR_PACKET_IP_GOOD;
    if ((frame->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD)
        verified |= TR_PACKET_UDP_GOOD;
    return verified;
}

/* Finds the payload of a datagram and puts it on 8 bytes, if its sender has not. */
static void find_payload(struct dpdk_slot *slot, uint8_t *frame, const struct tr_packet *packet)
{
    uint8_t *payload = frame + packet->payload_at;
    uint32_t pad =
        tr_packet_pad_bytes(payload, packet->payload_bytes, tr_ip_is_v4(&packet->source.ip));
    uint32_t off;
    slot->is_padded = pad != 0;
    slot->payload = payload + pad;
    slot->bytes = packet->payload_bytes - pad;
    off = (uint32_t)((uintptr_t)slot->payload & 7);
    if (tr_unlikely(off != 0)) { /* over the headers, which are done with */
        memmove(payload + pad - off, slot->payload, slot->bytes);
        slot->payload -= off;
    }
}

/* Finds whose a datagram is. */
static void find_sender(struct tr_port *port, struct dpdk_slot *slot,
                        const struct tr_endpoint *source)
{
    struct dpdk_lane *lane;
    slot->lane = tr_dpdk_lane_of(port, &source->ip, source->port);
    if (slot->lane == 0) {
        slot->source = *source;
        return;
    }
    lane = &port->lanes[slot->lane];
    lane->was_heard = true;
    if (tr_unlikely(lane->is_adopted && !tr_mac_equal(&lane->end.mac, &source->mac))) {
        lane->end.mac = source->mac; /* it has moved */
        memcpy(lane->front.bytes, source->mac.byte, sizeof(source->mac.byte));
    }
    if (tr_unlikely(!lane->is_up)) { /* its first: an event is due */
        lane->is_up = true;
        port->is_due = true;
    }
}

/* Reads the first slot's frame. Returns: whether a datagram for this port is in it. */
static bool read_slot(struct tr_port *port)
{
    struct rte_mbuf *mbuf = port->rx[port->rx_slot];
    struct dpdk_slot *slot = &port->slots[port->rx_slot];
    struct dpdk_wire *wire = &port->wires[slot->wire];
    struct tr_packet packet;
    uint8_t *frame;
    if (mbuf == NULL)
        return false;
    frame = rte_pktmbuf_mtod(mbuf, uint8_t *);
    /* Buffers are as long as the longest frame: one in pieces is longer than it may be. */
    switch (mbuf->nb_segs == 1 ? tr_packet_read(frame, mbuf->data_len, &wire->own,
                                                verified_of(wire, mbuf), &packet)
                               : TR_PACKET_BAD) {
    case TR_PACKET_OTHER:
        return false;
    case TR_PACKET_BAD:
        port->stats.rx_malformed++;
        return false;
    case TR_PACKET_NEIGHBOUR:
        if (slot->is_handed)
            tr_dpdk_neighbour_learn(port, wire, frame, mbuf->data_len);
        else if (tr_dpdk_neighbour_frame(port, wire, frame, mbuf->data_len))
            tell_others(wire, mbuf);
        return false;
    case TR_PACKET_UDP:
        break;
    }
    if (tr_unlikely(packet.target_port != wire->own.port)) {
        hand_over(port, wire, port->rx_slot, packet.target_port);
        return false;
    }
    find_sender(port, slot, &packet.source);
    find_payload(slot, frame, &packet);
    port->stats.rx_malformed += slot->bytes == 0;
    return true;
}

/* Adds a piece to its message. Returns whether that is complete and in *out. */
static enum tr_reassembly_result add_piece(struct tr_port *port, const struct dpdk_slot *slot,
                                           const struct tr_frame *piece, struct tr_span *out)
{
    uint64_t evicted = 0;
    uint64_t source =
        slot->lane != 0 ? 1 : tr_dpdk_hash(&slot->source.ip, slot->source.port) + UINT64_C(2);
    enum tr_reassembly_result result =
        tr_reassembly_add(&port->lanes[slot->lane].reassembly, source, piece, out, &evicted);
    port->stats.rx_dropped += evicted;
    port->stats.rx_malformed += result == TR_PIECE_REFUSED;
    port->rx_held += result == TR_PIECE_COMPLETES;
    return result;
}

/* Gives the message of a piece up if that completes it. Returns whether to go on: false when every
 * buffer for large messages of this sender is handed up. */
static bool hand_up_piece(struct tr_port *port, const struct dpdk_slot *slot,
                          const struct tr_frame *piece, struct tr_rx *out, uint32_t *count)
{
    struct tr_span message;
    switch (add_piece(port, slot, piece, &message)) {
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
    return true;
}

/* Hands up what lies in the first slot, max messages at most. Returns how many; the slot is done
 * with when rx_at has reached its end. */
static uint32_t hand_up_slot(struct tr_port *port, const struct dpdk_slot *slot, struct tr_rx *out,
                             uint32_t max)
{
    uint32_t count = 0;
    while (count < max && port->rx_at < slot->bytes) {
        uint32_t here = port->rx_at;
        struct tr_frame frame;
        enum tr_frame_kind kind = tr_frame_next(slot->payload, slot->bytes, &port->rx_at, &frame);
        if (tr_likely(kind == TR_FRAME_IS_WHOLE && frame.bytes <= port->message_bytes_max)) {
            out[count].data = frame.data;
            out[count].bytes = frame.bytes;
            count++;
        } else if (kind == TR_FRAME_IS_PIECE) {
            if (!hand_up_piece(port, slot, &frame, out, &count)) {
                port->rx_at = here;
                break;
            }
        } else {
            port->stats.rx_malformed++;
            if (kind == TR_FRAME_IS_BAD)
                port->rx_at = slot->bytes;
        }
    }
    return count;
}

/* Hands up what lies in the slots until there are max messages or no more. */
static uint32_t hand_up(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    uint32_t count = 0;
    while (count < max && port->rx_slot < port->rx_count) {
        struct dpdk_slot *slot = &port->slots[port->rx_slot];
        uint32_t more;
        if (slot->payload == NULL && !read_slot(port)) {
            port->rx_slot++;
            continue;
        }
        more = hand_up_slot(port, slot, out + count, max - count);
        for (uint32_t i = 0; i < more; i++, count++) {
            out[count].peer = port->lanes[slot->lane].peer;
            out[count].source = port->rx_slot;
            port->stats.rx_bytes += out[count].bytes;
        }
        port->stats.rx_messages += more;
        port->stats.rx_unknown += slot->lane == 0 ? more : 0;
        if (port->rx_at < slot->bytes)
            break; /* max is reached, or a large message waits for the next burst */
        port->rx_slot++;
        port->rx_at = 0;
    }
    return count;
}

uint32_t tr_dpdk_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    uint32_t count = 0;
    uint64_t now_tsc = tr_tsc_read();
    max = tr_min_u32(max, DPDK_BURST_MAX);
    if (tr_unlikely((int64_t)(now_tsc - port->tick_tsc) >= 0))
        tr_dpdk_tick(port, now_tsc);
    release_messages(port);
    if (port->rx_slot < port->rx_count)
        count = hand_up(port, out, max);
    if (count == 0 && max > 0) {
        receive(port);
        count = hand_up(port, out, max);
    }
    return count;
}
