/* The owner's end of a ring: its memory, its connection, its grants. */
#include "drivers/verbs/inner.h"

#include <errno.h>

/* A bind or an invalidation is a matter of microseconds; a second is for an emulated machine. */
#define BIND_NS UINT64_C(1000000000)

/* ---- the queue of a ring: binds and invalidations */

void tr_verbs_ring_poll(struct tr_port *port)
{
    struct ibv_wc wc[16];
    int got;
    do {
        got = ibv_poll_cq(port->cq_ring, 16, wc);
        for (int i = 0; i < got; i++) {
            struct tr_verbs_ring *ring = &port->ring[wc[i].wr_id >> 32];
            if ((uint32_t)wc[i].wr_id != ring->request)
                continue;
            ring->is_done = true;
            ring->is_failed = wc[i].status != IBV_WC_SUCCESS;
        }
    } while (got == 16);
}

bool tr_verbs_ring_wait(struct tr_port *port, struct tr_verbs_ring *ring, uint64_t limit_ns)
{
    uint64_t end_ns = tr_verbs_now_ns() + limit_ns;
    while (!ring->is_done && tr_verbs_now_ns() < end_ns)
        tr_verbs_ring_poll(port);
    return ring->is_done && !ring->is_failed;
}

/* ---- making one */

static void ring_free(struct tr_verbs_ring *ring)
{
    if (ring->mw != NULL)
        ibv_dealloc_mw(ring->mw);
    if (ring->qp != NULL)
        ibv_destroy_qp(ring->qp);
    if (ring->mr != NULL)
        ibv_dereg_mr(ring->mr);
    if (ring->pd != NULL)
        ibv_dealloc_pd(ring->pd);
    ring->mw = NULL;
    ring->qp = NULL;
    ring->mr = NULL;
    ring->pd = NULL;
}

static void offer(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_ring *ring = &port->ring[index];
    struct tr_verbs_frame frame = {.type = FRAME_RING,
                                   .ring = index,
                                   .qpn = ring->qp->qp_num,
                                   .bytes = ring->bytes,
                                   .generation = ring->generation_lost};
    tr_verbs_link_send(port, ring->peer, &frame);
}

/* Registers the memory: with a window of its own, that alone can be written to; else as it is. */
static int register_ring(struct tr_port *port, struct tr_verbs_ring *ring)
{
    int access =
        IBV_ACCESS_LOCAL_WRITE |
        (port->device.fence == FENCE_WINDOW ? IBV_ACCESS_MW_BIND : IBV_ACCESS_REMOTE_WRITE);
    ring->mr = ibv_reg_mr(ring->pd, ring->memory, ring->bytes, access);
    return ring->mr != NULL ? TR_OK : TR_ENOMEM;
}

int tr_verbs_ring_create(struct tr_port *port, const struct tr_ring_options *options,
                         struct tr_ring_info *out)
{
    struct tr_verbs_ring *ring = &port->ring[port->ring_count];
    struct ibv_qp_cap cap = {
        .max_send_wr = 4, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1};
    if (!port->has_rings || options->peer == 0 || !tr_is_power_of_two(options->bytes) ||
        options->bytes % 4096 != 0)
        return TR_EINVAL;
    if (port->ring_count == RINGS_MAX)
        return TR_EFULL;
    memset(ring, 0, sizeof(*ring));
    ring->memory = tr_verbs_take(port, options->bytes, 4096);
    if (ring->memory == NULL)
        return TR_ENOMEM;
    ring->writer = options->peer;
    ring->peer = tr_verbs_peer_find(port, options->peer);
    ring->bytes = options->bytes;
    ring->pd = ibv_alloc_pd(port->device.context);
    if (ring->pd != NULL)
        ring->qp = tr_verbs_qp_create(port, ring->pd, port->cq_ring, port->cq_ring, &cap);
    if (ring->qp == NULL || register_ring(port, ring) != TR_OK) {
        ring_free(ring);
        return TR_ENOMEM;
    }
    out->ring = port->ring_count;
    out->bytes = ring->bytes;
    out->memory = ring->memory;
    port->ring_count++;
    if (ring->peer != UINT32_MAX && port->peer[ring->peer].link.is_confirmed)
        offer(port, out->ring);
    return TR_OK;
}

/* ---- grants */

/* A window over the whole ring, for this connection alone. */
static bool bind_window(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_ring *ring = &port->ring[index];
    struct ibv_send_wr bind = {.opcode = IBV_WR_BIND_MW, .send_flags = IBV_SEND_SIGNALED};
    struct ibv_send_wr *bad;
    if (ring->mw != NULL)
        ibv_dealloc_mw(ring->mw);
    ring->mw = ibv_alloc_mw(ring->pd, IBV_MW_TYPE_2);
    if (ring->mw == NULL)
        return false;
    ring->rkey = ibv_inc_rkey(ring->mw->rkey);
    bind.wr_id = (uint64_t)index << 32 | ++ring->request;
    bind.bind_mw.mw = ring->mw;
    bind.bind_mw.rkey = ring->rkey;
    bind.bind_mw.bind_info.mr = ring->mr;
    bind.bind_mw.bind_info.addr = (uintptr_t)ring->memory;
    bind.bind_mw.bind_info.length = ring->bytes;
    bind.bind_mw.bind_info.mw_access_flags = IBV_ACCESS_REMOTE_WRITE;
    ring->is_done = ring->is_failed = false;
    return ibv_post_send(ring->qp, &bind, &bad) == 0 && tr_verbs_ring_wait(port, ring, BIND_NS);
}

/* A fresh key where there are no windows, so that nothing late of an old connection fits. */
static bool renew_key(struct tr_port *port, struct tr_verbs_ring *ring)
{
    if (ibv_dereg_mr(ring->mr) != 0)
        return false;
    ring->mr = NULL;
    if (register_ring(port, ring) != TR_OK)
        return false;
    ring->rkey = ring->mr->rkey;
    return true;
}

/* Connects a granted ring to its writer's end, and tells the writer the key. */
static void open_ring(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_ring *ring = &port->ring[index];
    struct tr_verbs_peer *peer = &port->peer[ring->peer];
    ring->psn = tr_verbs_psn(port);
    bool is_open = tr_verbs_qp_reset(ring->qp) == 0;
    if (is_open && port->device.fence != FENCE_WINDOW)
        is_open = renew_key(port, ring);
    is_open = is_open && tr_verbs_qp_connect(port, ring->qp, IBV_ACCESS_REMOTE_WRITE, &peer->path,
                                             ring->writer_qpn, ring->psn, tr_verbs_psn(port)) == 0;
    if (is_open && port->device.fence == FENCE_WINDOW)
        is_open = bind_window(port, index);
    if (!is_open) { /* the writer waits, and goes on by messages */
        tr_verbs_qp_reset(ring->qp);
        return;
    }
    ring->state = RING_OPEN;
    tr_verbs_note(&peer->channel, ring->entry, ring->consumed, ring->generation);
    struct tr_verbs_frame frame = {.type = FRAME_GRANT,
                                   .ring = index,
                                   .qpn = ring->qp->qp_num,
                                   .psn = ring->psn,
                                   .rkey = ring->rkey,
                                   .bytes = ring->bytes,
                                   .generation = ring->generation,
                                   .address = (uintptr_t)ring->memory};
    tr_verbs_link_send(port, ring->peer, &frame);
}

int tr_verbs_ring_grant(struct tr_port *port, uint32_t index, uint64_t generation,
                        struct tr_ring_token *out)
{
    tr_assert(index < port->ring_count && generation != 0);
    struct tr_verbs_ring *ring = &port->ring[index];
    tr_assert(ring->state == RING_CLOSED);
    memset(ring->memory, 0, ring->bytes);
    ring->generation = generation;
    ring->consumed = 0;
    ring->state = RING_GRANTED;
    ring->peer = tr_verbs_peer_find(port, ring->writer);
    if (ring->peer != UINT32_MAX && ring->writer_qpn != 0)
        open_ring(port, index);
    struct tr_verbs_token token = {.magic = TR_VERBS_TOKEN_MAGIC,
                                   .ring = index,
                                   .incarnation = port->incarnation,
                                   .generation = generation,
                                   .writer = ring->writer,
                                   .owner = port->self};
    memcpy(out->bytes, &token, sizeof(token));
    return TR_OK;
}

void tr_verbs_ring_consumed(struct tr_port *port, uint32_t index, uint64_t position)
{
    tr_assert(index < port->ring_count);
    struct tr_verbs_ring *ring = &port->ring[index];
    ring->consumed = position;
    if (ring->state == RING_OPEN && ring->generation != ring->generation_lost)
        tr_verbs_note(&port->peer[ring->peer].channel, ring->entry, position, ring->generation);
}

/* ---- links */

void tr_verbs_rings_offer(struct tr_port *port, uint32_t peer)
{
    for (uint32_t i = 0; i < port->ring_count; i++) {
        struct tr_verbs_ring *ring = &port->ring[i];
        if (ring->writer != port->peer[peer].id)
            continue;
        ring->peer = peer;
        /* What was granted to a connection that did nothing with it is granted to the next. */
        if (ring->state == RING_OPEN && tr_verbs_ring_unused(port, ring)) {
            ring->state = RING_GRANTED;
            ring->generation_lost = 0;
        }
        offer(port, i);
    }
}

void tr_verbs_ring_writer(struct tr_port *port, uint32_t peer, const struct tr_verbs_frame *frame)
{
    struct tr_verbs_ring *ring = &port->ring[frame->ring < port->ring_count ? frame->ring : 0];
    if (frame->ring >= port->ring_count || ring->writer != port->peer[peer].id ||
        frame->number == 0 || frame->number >= BOARD_ENTRIES || frame->qpn == 0 ||
        port->peer[peer].channel.other_qpn == 0) {
        port->stats.rx_malformed++;
        return;
    }
    ring->peer = peer;
    ring->writer_qpn = frame->qpn;
    ring->entry = frame->number;
    if (ring->state == RING_GRANTED)
        open_ring(port, frame->ring);
}

void tr_verbs_rings_lose(struct tr_port *port, uint32_t peer)
{
    for (uint32_t i = 0; i < port->ring_count; i++) {
        struct tr_verbs_ring *ring = &port->ring[i];
        if (ring->peer != peer || ring->qp == NULL)
            continue;
        ring->writer_qpn = 0;
        if (ring->state == RING_OPEN)
            ring->generation_lost = ring->generation; /* a reconnection needs another (rule 4) */
    }
}

void tr_verbs_rings_close(struct tr_port *port)
{
    for (uint32_t i = 0; i < port->ring_count; i++)
        ring_free(&port->ring[i]);
    port->ring_count = 0;
}
