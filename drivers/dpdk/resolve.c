/* Who is where, and whether the links are up: once a millisecond, off the path of messages. */
#include "drivers/dpdk/dpdk_port.h"

#include "base/atomic.h"

#include <rte_ethdev.h>

/* A peer that is not known is asked for after 1, 2, 4 ... ms, at most so many doublings; one that
 * is known is asked again when nothing was heard of it for a second: its address may have moved. */
#define ASK_DOUBLINGS 7
#define ASK_AGAIN_MS  1000

/* Looks at a link whose device tells no changes: every so many ticks. */
#define LINK_TICKS 128

/* A tick comes so much sooner while a memif interface is being connected. */
#define BUSY_FACTOR 16

/* The peers behind a wire that has no others: up and down with it. */
static void link_of_peer(struct tr_port *port, const struct dpdk_wire *wire)
{
    struct dpdk_lane *lane = &port->lanes[wire->lane];
    lane->is_up = wire->is_up;
    lane->is_renewed = lane->is_renewed || !wire->is_up;
    lane->is_resolved = false;
    lane->asked_count = 0;
    lane->ask_tsc = port->tick_tsc;
}

/* A memif interface is up while there is a peer. Returns: whether to look again soon. */
static bool look_at_memif(struct tr_port *port, struct dpdk_wire *wire)
{
    bool is_busy = false;
    bool is_up = tr_dpdk_memif_step(wire->device, port->tick_tsc, port->tsc_per_ms, &is_busy);
    if (is_up == wire->is_up)
        return is_busy;
    wire->is_up = wire->is_polled = is_up;
    port->is_due = true;
    link_of_peer(port, wire);
    return is_busy;
}

static void look_at_link(struct tr_port *port, struct dpdk_wire *wire)
{
    struct rte_eth_link link = {0};
    bool is_up;
    if (wire->device->tells_links) {
        /* Meets the release of link_changed in device.c. */
        uint32_t count = tr_load_acquire(&wire->device->link_count);
        if (count == wire->link_count)
            return;
        wire->link_count = count;
    } else if (port->tick_count % LINK_TICKS != 0) {
        return;
    }
    if (rte_eth_link_get_nowait(wire->id, &link) != 0)
        return;
    is_up = link.link_status == RTE_ETH_LINK_UP;
    if (is_up == wire->is_up)
        return;
    wire->is_up = is_up;
    port->is_due = true;
}

void tr_dpdk_ask(struct tr_port *port, struct dpdk_lane *lane)
{
    struct dpdk_wire *wire = &port->wires[lane->wire];
    struct rte_mbuf *frame = wire->is_up ? tr_dpdk_take_frame(wire) : NULL;
    if (frame == NULL)
        return;
    frame->data_len =
        (uint16_t)tr_neighbour_ask(rte_pktmbuf_mtod(frame, uint8_t *), &wire->own, &lane->next_hop);
    frame->pkt_len = frame->data_len;
    frame->hash.usr = 0;
    if (!tr_dpdk_queue_frame(port, wire, frame))
        rte_pktmbuf_free(frame);
    else
        tr_dpdk_push(port, wire);
}

static void look_at_lane(struct tr_port *port, struct dpdk_lane *lane, uint64_t now_tsc)
{
    if ((int64_t)(now_tsc - lane->ask_tsc) < 0)
        return;
    if (!lane->is_resolved) {
        tr_dpdk_ask(port, lane);
        lane->ask_tsc = now_tsc + (port->tsc_per_ms << lane->asked_count);
        lane->asked_count = tr_min_u32(lane->asked_count + 1, ASK_DOUBLINGS);
        return;
    }
    if (!lane->was_heard)
        tr_dpdk_ask(port, lane);
    lane->was_heard = false;
    lane->ask_tsc = now_tsc + ASK_AGAIN_MS * port->tsc_per_ms;
}

void tr_dpdk_tick(struct tr_port *port, uint64_t now_tsc)
{
    bool is_busy = false;
    port->tick_tsc = now_tsc;
    port->tick_count++;
    for (uint32_t i = 0; i < port->wire_max; i++) {
        struct dpdk_wire *wire = &port->wires[i];
        if (wire->device != NULL && wire->device->is_memif)
            is_busy = look_at_memif(port, wire) || is_busy;
        else if (wire->device != NULL)
            look_at_link(port, wire);
    }
    for (uint32_t i = 1; i <= port->peers_max; i++) {
        if (port->lanes[i].peer != 0 && !port->lanes[i].is_adopted)
            look_at_lane(port, &port->lanes[i], now_tsc);
    }
    port->tick_tsc = now_tsc + (is_busy ? port->tsc_per_ms / BUSY_FACTOR : port->tsc_per_ms);
}

static void learn(struct tr_port *port, const struct dpdk_wire *wire,
                  const struct tr_neighbour *said)
{
    for (uint32_t i = 1; i <= port->peers_max; i++) {
        struct dpdk_lane *lane = &port->lanes[i];
        if (lane->peer == 0 || &port->wires[lane->wire] != wire ||
            !tr_ip_equal(&lane->next_hop, &said->sender))
            continue;
        lane->asked_count = 0;
        if (lane->is_resolved && tr_mac_equal(&lane->end.mac, &said->mac))
            continue;
        lane->end.mac = said->mac;
        lane->is_resolved = true;
        lane->ask_tsc = port->tick_tsc + ASK_AGAIN_MS * port->tsc_per_ms;
        memcpy(lane->front.bytes, said->mac.byte, sizeof(said->mac.byte));
    }
}

void tr_dpdk_neighbour_learn(struct tr_port *port, const struct dpdk_wire *wire,
                             const uint8_t *frame, uint32_t bytes)
{
    struct tr_neighbour said;
    if (tr_neighbour_read(frame, bytes, &wire->own, &said))
        learn(port, wire, &said);
}

bool tr_dpdk_neighbour_frame(struct tr_port *port, struct dpdk_wire *wire, const uint8_t *frame,
                             uint32_t bytes)
{
    struct tr_neighbour said;
    struct rte_mbuf *answer;
    if (!tr_neighbour_read(frame, bytes, &wire->own, &said))
        return false;
    learn(port, wire, &said);
    answer = said.is_request ? tr_dpdk_take_frame(wire) : NULL;
    if (answer == NULL)
        return true;
    answer->data_len =
        (uint16_t)tr_neighbour_answer(rte_pktmbuf_mtod(answer, uint8_t *), &wire->own, &said);
    answer->pkt_len = answer->data_len;
    answer->hash.usr = 0;
    if (!tr_dpdk_queue_frame(port, wire, answer))
        rte_pktmbuf_free(answer);
    return true;
}

/* The event that a peer's state is due; 0: none. */
static uint32_t event_of(struct dpdk_lane *lane)
{
    bool is_renewed = lane->is_renewed;
    if (lane->peer == 0)
        return 0;
    if (lane->is_up && (!lane->is_told_up || is_renewed)) {
        bool was_told = lane->was_told;
        lane->is_told_up = lane->was_told = true;
        lane->is_renewed = false;
        return was_told ? TR_PORT_PEER_NEW : TR_PORT_PEER_UP;
    }
    if (!lane->is_up && lane->is_told_up) {
        lane->is_told_up = false;
        return TR_PORT_PEER_DOWN;
    }
    return 0;
}

uint32_t tr_dpdk_events(struct tr_port *port, struct tr_port_event *out, uint32_t max)
{
    uint32_t count = 0;
    if (tr_likely(!port->is_due))
        return 0;
    for (uint32_t i = 0; i < port->wire_max && count < max; i++) {
        struct dpdk_wire *wire = &port->wires[i];
        if (wire->device == NULL || wire->lane != 0 || wire->is_up == wire->is_told_up)
            continue;
        wire->is_told_up = wire->is_up;
        out[count].type = wire->is_up ? TR_PORT_LINK_UP : TR_PORT_LINK_DOWN;
        out[count++].peer = 0;
    }
    for (uint32_t i = 1; i <= port->peers_max && count < max; i++) {
        uint32_t type = event_of(&port->lanes[i]);
        if (type == 0)
            continue;
        out[count].type = (enum tr_port_event_type)type;
        out[count++].peer = port->lanes[i].peer;
    }
    port->is_due = count == max; /* there may be more */
    return count;
}
