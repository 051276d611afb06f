/* One-sided writes: gathered into as few requests as their places allow, posted by one doorbell,
 * completed as a prefix.
 *
 * Writes that follow each other in the ring are one request, as long as its pieces suffice; those
 * of one remote that were posted since the last flush are one list, whose last request alone is
 * signalled. Sources lie in memory that was added (memory_add) and are gathered by the device; what
 * lies elsewhere is copied and counted. */
#include "drivers/verbs/inner.h"

/* ---- sources */

int tr_verbs_memory_add(struct tr_port *port, const void *base, size_t bytes)
{
    for (uint32_t i = 0; i < port->range_count; i++) {
        const struct ibv_mr *mr = port->range[i];
        if ((uintptr_t)base >= (uintptr_t)mr->addr &&
            (uintptr_t)base + bytes <= (uintptr_t)mr->addr + mr->length)
            return TR_OK;
    }
    if (port->range_count == MEMORIES_MAX)
        return TR_EFULL;
    /* The device only reads it. */
    struct ibv_mr *mr = ibv_reg_mr(port->device.pd, (void *)(uintptr_t)base, bytes, 0);
    if (mr == NULL)
        return TR_ENOMEM;
    port->range[port->range_count++] = mr;
    return TR_OK;
}

static const struct ibv_mr *range_of(struct tr_port *port, const void *data, uint32_t bytes)
{
    for (uint32_t i = 0; i < port->range_count; i++) {
        uint32_t at = (port->range_last + i) % port->range_count;
        const struct ibv_mr *mr = port->range[at];
        if ((uintptr_t)data >= (uintptr_t)mr->addr &&
            (uintptr_t)data + bytes <= (uintptr_t)mr->addr + mr->length) {
            port->range_last = at;
            return mr;
        }
    }
    return NULL;
}

/* Copies a source that no range holds. Returns: false when there is no room for it now: all copies
 * are freed together, when no write to the peer is open. */
static bool stage(struct tr_verbs_peer *peer, const struct tr_segment *segment, struct ibv_sge *out)
{
    uint8_t *to = peer->stage + peer->stage_bytes;
    if (segment->bytes > STAGE_BYTES - peer->stage_bytes)
        return false;
    memcpy(to, segment->data, segment->bytes);
    *out = (struct ibv_sge){(uintptr_t)to, segment->bytes, peer->stage_mr->lkey};
    peer->stage_bytes += tr_align_up_u32(segment->bytes, 8);
    return true;
}

/* ---- outcomes */

static void list(struct tr_port *port, uint32_t remote)
{
    struct tr_verbs_remote *r = &port->remote[remote];
    if (r->is_listed || r->polled == r->done)
        return;
    r->is_listed = true;
    port->listed[port->listed_tail++ & LISTED_MASK] = remote;
}

/* Gives the writes up to a number (not included) their outcome. */
static void settle(struct tr_port *port, uint32_t remote, uint32_t end, enum tr_write_status status)
{
    struct tr_verbs_remote *r = &port->remote[remote];
    for (; r->done != end; r->done++) {
        struct tr_verbs_write *write = &r->write[r->done % WRITES_MAX];
        write->status = status;
        port->stats.writes_refused += status == TR_WRITE_REFUSED;
        port->stats.writes_broken += status == TR_WRITE_BROKEN;
    }
    list(port, remote);
}

void tr_verbs_remote_break(struct tr_port *port, uint32_t remote)
{
    struct tr_verbs_remote *r = &port->remote[remote];
    if (port->batch.remote == remote)
        port->batch.remote = UINT32_MAX;
    r->is_dead = true;
    settle(port, remote, r->posted, TR_WRITE_BROKEN);
}

/* Source: the table of completion errors in IBA 1.3, 11.6.2; Soft-RoCE says REM_INV_REQ_ERR of a
 * missing permission, others REM_ACCESS_ERR. */
static bool is_refusal(enum ibv_wc_status status)
{
    return status == IBV_WC_REM_ACCESS_ERR || status == IBV_WC_REM_INV_REQ_ERR ||
           status == IBV_WC_REM_OP_ERR;
}

static void complete(struct tr_port *port, const struct ibv_wc *wc)
{
    uint32_t remote = (uint32_t)(wc->wr_id >> 48), number = (uint32_t)wc->wr_id;
    struct tr_verbs_remote *r = &port->remote[remote];
    bool is_current = r->is_used && !r->is_dead &&
                      (uint16_t)(wc->wr_id >> 32) == (uint16_t)port->target[r->target].connection &&
                      number - r->done < r->posted - r->done;
    if (!is_current)
        return;
    if (wc->status == IBV_WC_SUCCESS) {
        settle(port, remote, number + 1, TR_WRITE_OK);
        return;
    }
    /* Those before it were done, unsignalled; those after it are flushed. */
    settle(port, remote, r->write[number % WRITES_MAX].first, TR_WRITE_OK);
    settle(port, remote, number + 1, is_refusal(wc->status) ? TR_WRITE_REFUSED : TR_WRITE_BROKEN);
    tr_verbs_remote_break(port, remote);
}

static void reap_writes(struct tr_port *port)
{
    struct ibv_wc wc[32];
    int got;
    do {
        got = ibv_poll_cq(port->cq_write, 32, wc);
        for (int i = 0; i < got; i++)
            complete(port, &wc[i]);
    } while (got == 32);
}

/* ---- posting */

void tr_verbs_write_flush(struct tr_port *port)
{
    struct tr_verbs_batch *b = &port->batch;
    struct ibv_send_wr *bad;
    uint32_t remote = b->remote;
    if (remote == UINT32_MAX || b->request_count == 0)
        return;
    b->remote = UINT32_MAX;
    for (uint32_t i = 0; i < b->request_count; i++) {
        struct ibv_send_wr *w = &b->request[i];
        uint32_t bytes = 0;
        for (int s = 0; s < w->num_sge; s++)
            bytes += w->sg_list[s].length;
        if (bytes <= port->device.inline_max)
            w->send_flags |= IBV_SEND_INLINE;
        w->next = i + 1 < b->request_count ? w + 1 : NULL;
    }
    b->request[b->request_count - 1].send_flags |= IBV_SEND_SIGNALED;
    port->stats.write_requests += b->request_count;
    port->stats.write_doorbells++;
    if (ibv_post_send(port->target[port->remote[remote].target].qp, b->request, &bad) != 0)
        tr_verbs_remote_break(port, remote);
}

/* Turns the segments into pieces for the device, after those that the batch has. Returns: how many,
 * 0 when copies found no room. */
static uint32_t gather(struct tr_port *port, struct tr_verbs_peer *peer,
                       const struct tr_segment *segment, uint32_t segment_count)
{
    struct tr_verbs_batch *b = &port->batch;
    struct ibv_sge *out = &b->sge[b->sge_count];
    uint32_t stage_bytes = peer->stage_bytes;
    uint32_t count = 0;
    for (uint32_t i = 0; i < segment_count; i++) {
        if (segment[i].bytes == 0)
            continue;
        const struct ibv_mr *mr = range_of(port, segment[i].data, segment[i].bytes);
        if (mr != NULL) {
            out[count] = (struct ibv_sge){(uintptr_t)segment[i].data, segment[i].bytes, mr->lkey};
        } else if (stage(peer, &segment[i], &out[count])) {
            port->stats.write_copied_bytes += segment[i].bytes;
        } else {
            peer->stage_bytes = stage_bytes;
            return 0;
        }
        if (count > 0 && out[count].lkey == out[count - 1].lkey &&
            out[count].addr == out[count - 1].addr + out[count - 1].length)
            out[count - 1].length += out[count].length;
        else
            count++;
    }
    return count;
}

/* Puts gathered pieces into the batch: on to its last request where they follow it, else as
 * another. Returns: the number of the first write of the request. */
static uint32_t place(struct tr_port *port, struct tr_verbs_remote *r, uint32_t offset,
                      uint32_t bytes, uint32_t sge_count)
{
    struct tr_verbs_batch *b = &port->batch;
    const struct tr_verbs_target *t = &port->target[r->target];
    struct ibv_send_wr *last = b->request_count > 0 ? &b->request[b->request_count - 1] : NULL;
    uint32_t first = r->posted;
    if (last != NULL && b->offset_end == offset &&
        (uint32_t)last->num_sge + sge_count <= port->device.sge_max) {
        last->num_sge += (int)sge_count;
        first = r->write[(r->posted - 1) % WRITES_MAX].first;
    } else {
        last = &b->request[b->request_count++];
        memset(last, 0, sizeof(*last));
        last->opcode = IBV_WR_RDMA_WRITE;
        last->sg_list = &b->sge[b->sge_count];
        last->num_sge = (int)sge_count;
        last->wr.rdma.remote_addr = t->grant.address + offset;
        last->wr.rdma.rkey = t->grant.rkey;
    }
    last->wr_id =
        (uint64_t)(r - port->remote) << 48 | (uint64_t)(uint16_t)t->connection << 32 | r->posted;
    b->sge_count += sge_count;
    b->offset_end = offset + bytes;
    return first;
}

/* The batch of a remote, with room for one more write. */
static void begin_batch(struct tr_port *port, uint32_t remote)
{
    struct tr_verbs_batch *b = &port->batch;
    if (b->remote == remote && b->request_count < BATCH_REQUESTS &&
        b->sge_count + TR_TX_SEGMENTS_MAX <= BATCH_SGES)
        return;
    tr_verbs_write_flush(port);
    b->remote = remote;
    b->request_count = 0;
    b->sge_count = 0;
}

int tr_verbs_write_post(struct tr_port *port, uint32_t remote, uint32_t offset,
                        const struct tr_segment *segment, uint32_t segment_count, uint64_t cookie)
{
    tr_assert(remote < port->remote_count && port->remote[remote].is_used);
    struct tr_verbs_remote *r = &port->remote[remote];
    struct tr_verbs_peer *peer = &port->peer[r->peer];
    uint32_t bytes = tr_gather_bytes(segment, segment_count);
    struct tr_verbs_write *write = &r->write[r->posted % WRITES_MAX];
    if (peer->writes_open >= WRITES_MAX || r->posted - r->polled >= WRITES_MAX)
        return TR_AGAIN;
    write->first = r->posted;
    write->cookie = cookie;
    if (!r->is_dead) {
        uint32_t ring_bytes = port->target[r->target].grant.bytes;
        tr_assert(offset % 8 == 0 && bytes % 8 == 0 && bytes > 0 && offset <= ring_bytes &&
                  bytes <= ring_bytes - offset);
        begin_batch(port, remote);
        uint32_t sge_count = gather(port, peer, segment, segment_count);
        if (sge_count == 0)
            return TR_AGAIN;
        write->first = place(port, r, offset, bytes, sge_count);
    }
    r->posted++;
    peer->writes_open++;
    port->stats.writes++;
    port->stats.write_bytes += bytes;
    if (r->is_dead)
        settle(port, remote, r->posted, TR_WRITE_BROKEN);
    return TR_OK;
}

/* ---- completions */

static void give(struct tr_port *port, uint32_t remote, struct tr_write_completion *out)
{
    struct tr_verbs_remote *r = &port->remote[remote];
    struct tr_verbs_peer *peer = &port->peer[r->peer];
    const struct tr_verbs_write *write = &r->write[r->polled++ % WRITES_MAX];
    *out = (struct tr_write_completion){.peer = r->node,
                                        .remote = remote,
                                        .generation = r->generation,
                                        .cookie = write->cookie,
                                        .status = write->status};
    if (peer->writes_open > 0)
        peer->writes_open--;
    if (peer->writes_open == 0)
        peer->stage_bytes = 0;
}

uint32_t tr_verbs_write_poll(struct tr_port *port, struct tr_write_completion *out, uint32_t max)
{
    uint32_t count = 0;
    tr_verbs_write_flush(port);
    reap_writes(port);
    while (count < max && port->listed_head != port->listed_tail) {
        uint32_t remote = port->listed[port->listed_head & LISTED_MASK];
        struct tr_verbs_remote *r = &port->remote[remote];
        for (; count < max && r->polled != r->done; count++)
            give(port, remote, &out[count]);
        if (r->polled != r->done)
            break;
        r->is_listed = false;
        port->listed_head++;
    }
    return count;
}
