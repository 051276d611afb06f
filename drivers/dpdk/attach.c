/* Frames whose payload stays where the sender has it: a buffer with headers and what is small, and
 * behind it buffers that only point.
 *
 * Who calls tx_burst may reuse what it sends as soon as that returns, so that no frame may be left
 * behind that points there: not one that the device has refused (it is given up, and the message
 * copied), and none that the device has taken and keeps. Only memif is such a device: it copies
 * what it takes into the peer's ring and gives the buffers back before its burst returns. */
#include "drivers/dpdk/dpdk_port.h"

#include "base/assert.h"

#include <rte_ethdev.h>

/* Buffers of one frame. */
struct chain {
    struct rte_mbuf *head, *tail;
    bool is_open; /* the tail is one to copy into */
    uint16_t attached_count;
};

static bool lengthen(struct dpdk_wire *wire, struct chain *c, bool is_open)
{
    struct rte_mbuf *next = tr_dpdk_take_frame(wire);
    if (next == NULL)
        return false;
    if (c->head == NULL) {
        c->head = next;
    } else {
        c->tail->next = next;
        c->head->nb_segs++;
    }
    c->tail = next;
    c->is_open = is_open;
    return true;
}

/* Adds bytes to a frame, by pointing to them where they are many. */
static bool add(struct dpdk_wire *wire, struct chain *c, const uint8_t *data, uint32_t bytes,
                struct rte_mbuf_ext_shared_info *shared)
{
    bool is_many = bytes >= wire->attach_bytes;
    if ((is_many || !c->is_open) && !lengthen(wire, c, !is_many))
        return false;
    if (is_many) {
        rte_pktmbuf_attach_extbuf(c->tail, (void *)(uintptr_t)data, RTE_BAD_IOVA, (uint16_t)bytes,
                                  shared);
        c->attached_count++;
    } else {
        memcpy(rte_pktmbuf_mtod_offset(c->tail, uint8_t *, c->tail->data_len), data, bytes);
    }
    c->tail->data_len = (uint16_t)(c->tail->data_len + bytes);
    return true;
}

/* The last buffer that pointed was given back. */
static void give_back(void *data, void *argument)
{
    (void)data;
    *(bool *)argument = true;
}

bool tr_dpdk_attach(struct tr_port *port, struct dpdk_lane *lane, const void *header,
                    uint32_t header_bytes, const struct tr_gather_cursor *from, uint32_t bytes)
{
    struct dpdk_wire *wire = &port->wires[lane->wire];
    bool is_given_back = false;
    struct rte_mbuf_ext_shared_info shared = {.free_cb = give_back, .fcb_opaque = &is_given_back};
    struct chain c = {.head = NULL};
    struct tr_gather_cursor at = *from;
    bool is_whole = lengthen(wire, &c, true);
    if (is_whole) {
        c.tail->data_len = (uint16_t)tr_packet_front_bytes(&lane->front);
        is_whole = add(wire, &c, header, header_bytes, &shared);
    }
    for (uint32_t left = bytes; left > 0 && is_whole;) {
        uint32_t part = tr_min_u32(at.segment->bytes - at.offset, left);
        if (part > 0)
            is_whole = add(wire, &c, (const uint8_t *)at.segment->data + at.offset, part, &shared);
        left -= part;
        at.segment++;
        at.offset = 0;
    }
    rte_mbuf_ext_refcnt_set(&shared, c.attached_count);
    if (is_whole && c.attached_count > 0) {
        c.head->pkt_len = tr_packet_finish(rte_pktmbuf_mtod(c.head, uint8_t *), &lane->front,
                                           header_bytes + bytes, wire->checksum);
        if (rte_eth_tx_burst(wire->id, wire->queue, &c.head, 1) == 1) {
            tr_assert(is_given_back); /* else the sender would overwrite what is under way */
            port->stats.tx_attached++;
            return true;
        }
    }
    rte_pktmbuf_free(c.head);
    return false;
}
