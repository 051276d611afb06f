/* The connection for messages: making it, breaking it, and mending it.
 *
 * Connection number n of a link is made by both sides alike: reset, say CONNECT(n) with how many
 * pieces were received, hear the other's, connect, say READY(n), and send once the other's READY(n)
 * came. Whoever finds it broken begins with n + 1; who hears a later number than his own follows.
 * What the other has not received is sent again, from the slots where it still lies. */
#include "drivers/verbs/inner.h"

#include <errno.h>

#define NOTE_REQUESTS 64 /* on the send queue, beside messages */

static uint32_t send_depth(const struct tr_port *port)
{
    return port->slots + NOTE_REQUESTS;
}

/* Whatever a peer keeps for the life of its place in the table. */
int tr_verbs_channel_take(struct tr_port *port, struct tr_verbs_peer *peer)
{
    struct tr_verbs_channel *c = &peer->channel;
    size_t bytes = (size_t)port->slots * SLOT_BYTES;
    if (c->qp != NULL)
        return TR_OK; /* the place of a stranger, made at open */
    if (!peer->has_memory) {
        c->out = tr_verbs_take(port, bytes, 4096);
        c->in = tr_verbs_take(port, bytes, 4096);
        c->board = tr_verbs_take(port, BOARD_BYTES, 4096);
        c->whole = tr_verbs_take(port, tr_align_up_u32(port->message_bytes_max, 4096), 4096);
        c->out_bytes = tr_verbs_take(port, port->slots * sizeof(*c->out_bytes), 64);
        c->is_free = tr_verbs_take(port, port->slots * sizeof(*c->is_free), 64);
        c->request_out = tr_verbs_take(port, send_depth(port) * sizeof(*c->request_out), 64);
        c->notes = tr_verbs_take(port, BOARD_BYTES, 4096);
        c->note_dirty = tr_verbs_take(port, BOARD_ENTRIES / 8, 64);
        peer->link.out = tr_verbs_take(port, LINK_OUT_BYTES, 64);
        peer->stage = port->has_rings ? tr_verbs_take(port, STAGE_BYTES, 4096) : NULL;
        peer->has_memory = c->out != NULL && c->in != NULL && c->board != NULL &&
                           c->whole != NULL && c->out_bytes != NULL && c->is_free != NULL &&
                           c->request_out != NULL && c->notes != NULL && c->note_dirty != NULL &&
                           peer->link.out != NULL && (peer->stage != NULL || !port->has_rings);
    }
    if (!peer->has_memory)
        return TR_ENOMEM;
    struct ibv_pd *pd = c->pd = ibv_alloc_pd(port->device.context);
    if (pd == NULL)
        return TR_ENOMEM;
    c->out_mr = ibv_reg_mr(pd, c->out, bytes, 0);
    c->in_mr = ibv_reg_mr(pd, c->in, bytes, IBV_ACCESS_LOCAL_WRITE);
    c->board_mr =
        ibv_reg_mr(pd, c->board, BOARD_BYTES, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    if (port->has_rings)
        peer->stage_mr = ibv_reg_mr(port->device.pd, peer->stage, STAGE_BYTES, 0);
    struct ibv_qp_cap cap = {.max_send_wr = send_depth(port),
                             .max_recv_wr = port->slots,
                             .max_send_sge = 1,
                             .max_recv_sge = 1,
                             .max_inline_data = tr_min_u32(port->device.inline_max, 256)};
    memset(c->is_free, 1, port->slots * sizeof(*c->is_free));
    c->qp = tr_verbs_qp_create(port, pd, port->cq_out, port->cq_in, &cap);
    return c->out_mr != NULL && c->in_mr != NULL && c->board_mr != NULL && c->qp != NULL &&
                   (peer->stage_mr != NULL || !port->has_rings)
               ? TR_OK
               : TR_ENOMEM;
}

void tr_verbs_channel_give_back(struct tr_port *port, struct tr_verbs_peer *peer)
{
    struct tr_verbs_channel *c = &peer->channel;
    (void)port;
    if (c->qp != NULL)
        ibv_destroy_qp(c->qp);
    if (c->out_mr != NULL)
        ibv_dereg_mr(c->out_mr);
    if (c->in_mr != NULL)
        ibv_dereg_mr(c->in_mr);
    if (c->board_mr != NULL)
        ibv_dereg_mr(c->board_mr);
    if (peer->stage_mr != NULL)
        ibv_dereg_mr(peer->stage_mr);
    if (c->pd != NULL)
        ibv_dealloc_pd(c->pd);
    c->qp = NULL;
    c->pd = NULL;
    c->out_mr = c->in_mr = c->board_mr = peer->stage_mr = NULL;
}

void tr_verbs_note(struct tr_verbs_channel *c, uint32_t entry, uint64_t position,
                   uint64_t generation)
{
    c->notes[entry].position = position;
    c->notes[entry].seal = tr_verbs_seal(position, generation);
    c->note_dirty[entry / 64] |= UINT64_C(1) << entry % 64;
    c->is_note_dirty = true;
}

void tr_verbs_slot_post(struct tr_port *port, uint32_t index, uint32_t slot)
{
    struct tr_verbs_channel *c = &port->peer[index].channel;
    struct ibv_sge sge = {(uintptr_t)(c->in + (size_t)slot * SLOT_BYTES), SLOT_BYTES,
                          c->in_mr->lkey};
    struct ibv_recv_wr receive = {.wr_id = (uint64_t)index << 48 |
                                           (uint64_t)(c->number & 0xffff) << 32 | slot,
                                  .sg_list = &sge,
                                  .num_sge = 1};
    struct ibv_recv_wr *bad;
    c->is_free[slot] = true;
    if (c->is_heard && ibv_post_recv(c->qp, &receive, &bad) != 0)
        c->is_broken = true;
}

/* A completed receive: from here on it is received, whatever becomes of the connection. */
static void take_receive(struct tr_port *port, struct ibv_wc *wc)
{
    struct tr_verbs_channel *c = &port->peer[wc->wr_id >> 48].channel;
    bool is_current = (uint16_t)(wc->wr_id >> 32) == (uint16_t)c->number;
    if (is_current && wc->status == IBV_WC_SUCCESS) {
        c->is_free[(uint32_t)wc->wr_id] = false;
        c->in_count++;
        return;
    }
    c->is_broken |= is_current;
    wc->status = IBV_WC_WR_FLUSH_ERR;
}

void tr_verbs_stash(struct tr_port *port)
{
    uint32_t room = port->stash_max - port->stash_count;
    while (room > 0) {
        uint32_t at = (port->stash_head + port->stash_count) % port->stash_max;
        int asked = (int)tr_min_u32(room, port->stash_max - at);
        int got = ibv_poll_cq(port->cq_in, asked, port->stash + at);
        if (got <= 0)
            return;
        for (int i = 0; i < got; i++)
            take_receive(port, &port->stash[at + (uint32_t)i]);
        port->stash_count += (uint32_t)got;
        room -= (uint32_t)got;
        if (got < asked)
            return;
    }
}

/* Says where my end is, once it is reset. */
static void tell(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_channel *c = &port->peer[index].channel;
    struct tr_verbs_frame frame = {.type = FRAME_CONNECT,
                                   .number = c->number,
                                   .qpn = c->qp->qp_num,
                                   .psn = c->psn,
                                   .rkey = c->board_mr->rkey,
                                   .bytes = port->message_bytes_max,
                                   .slots = port->slots,
                                   .address = (uintptr_t)c->board,
                                   .count = c->in_count,
                                   .incarnation = port->incarnation,
                                   .path = port->device.path};
    c->is_told = true;
    tr_verbs_link_send(port, index, &frame);
}

/* Resets my end, for connection `number`. What was received and not looked at stays. */
static void begin(struct tr_port *port, uint32_t index, uint32_t number)
{
    struct tr_verbs_channel *c = &port->peer[index].channel;
    tr_verbs_stash(port); /* a device may forget completions at a reset */
    tr_verbs_qp_reset(c->qp);
    c->number = number;
    c->psn = tr_verbs_psn(port);
    c->is_told = c->is_heard = c->is_ready = c->is_broken = false;
    c->requests = c->requests_done = 0;
    tell(port, index);
}

void tr_verbs_channel_begin(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_channel *c = &port->peer[index].channel;
    begin(port, index, c->number + 1);
}

/* Holds what the other says of itself against what can be. */
static bool can_be(const struct tr_port *port, const struct tr_verbs_peer *peer,
                   const struct tr_verbs_frame *f)
{
    const struct tr_verbs_channel *c = &peer->channel;
    bool is_first = !peer->is_up;
    return f->number != 0 && f->incarnation != 0 && f->slots >= 2 && f->slots <= 1u << 20 &&
           f->bytes >= 1 && f->path.mtu >= IBV_MTU_256 && f->path.mtu <= IBV_MTU_4096 &&
           f->path.is_ethernet == port->device.path.is_ethernet &&
           (is_first || (f->incarnation == peer->incarnation && f->slots == c->other_slots)) &&
           f->count >= c->out_done && f->count <= c->out_posted;
}

/* Posts every receive slot that holds nothing. */
static void post_slots(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_channel *c = &port->peer[index].channel;
    for (uint32_t i = 0; i < port->slots; i++) {
        if (c->is_free[i])
            tr_verbs_slot_post(port, index, i);
    }
}

/* Notes that were under way when a connection broke were lost. */
static void repeat_notes(struct tr_verbs_channel *c)
{
    for (uint32_t i = 0; i < BOARD_ENTRIES; i++) {
        if (c->notes[i].seal != 0)
            c->note_dirty[i / 64] |= UINT64_C(1) << i % 64;
    }
    c->is_note_dirty = true;
}

void tr_verbs_channel_connect(struct tr_port *port, uint32_t index, const struct tr_verbs_frame *f)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    struct tr_verbs_channel *c = &peer->channel;
    if (!can_be(port, peer, f)) {
        port->stats.rx_malformed++;
        tr_verbs_link_down(port, index);
        return;
    }
    if (f->number < c->number || (f->number == c->number && c->is_heard))
        return; /* it will hear of mine */
    if (f->number > c->number)
        begin(port, index, f->number);
    peer->incarnation = f->incarnation;
    peer->path = f->path;
    c->other_qpn = f->qpn;
    c->other_slots = f->slots;
    c->other_board = f->address;
    c->other_board_key = f->rkey;
    c->message_bytes_max = tr_min_u32(port->message_bytes_max, f->bytes);
    c->out_done = c->out_posted = f->count; /* what it has not received is posted again */
    if (tr_verbs_qp_connect(port, c->qp, IBV_ACCESS_REMOTE_WRITE, &f->path, f->qpn, f->psn,
                            c->psn) != 0) {
        tr_verbs_link_down(port, index);
        return;
    }
    c->is_heard = true;
    post_slots(port, index);
    repeat_notes(c);
    struct tr_verbs_frame ready = {.type = FRAME_READY, .number = c->number};
    tr_verbs_link_send(port, index, &ready);
}

void tr_verbs_channel_ready(struct tr_port *port, uint32_t index, const struct tr_verbs_frame *f)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    struct tr_verbs_channel *c = &peer->channel;
    (void)port;
    if (f->number != c->number || !c->is_heard)
        return;
    c->is_ready = true;
    peer->is_up = true;
}

/* What came over a link that is gone is not handed up after it. */
static void forget_stashed(struct tr_port *port, uint32_t index)
{
    for (uint32_t i = 0; i < port->stash_count; i++) {
        struct ibv_wc *wc = &port->stash[(port->stash_head + i) % port->stash_max];
        if (wc->wr_id >> 48 != index || wc->status != IBV_WC_SUCCESS)
            continue;
        port->peer[index].channel.is_free[(uint32_t)wc->wr_id] = true;
        wc->status = IBV_WC_WR_FLUSH_ERR;
    }
}

void tr_verbs_channel_end(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_channel *c = &port->peer[index].channel;
    tr_verbs_stash(port);
    if (c->qp != NULL)
        tr_verbs_qp_reset(c->qp);
    forget_stashed(port, index);
    c->number++; /* completions of the old one are told apart */
    c->is_told = c->is_heard = c->is_ready = c->is_broken = false;
    c->out_tail = c->out_posted = c->out_done = c->out_read = 0;
    c->in_count = c->in_read = c->in_told = 0;
    c->requests = c->requests_done = 0;
    c->whole_have = 0;
    memset(c->notes, 0, BOARD_BYTES);
    memset(c->note_dirty, 0, BOARD_ENTRIES / 8);
    c->is_note_dirty = false;
    memset(c->board, 0, BOARD_BYTES);
}
