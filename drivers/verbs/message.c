/* Messages: cut into pieces of a slot, each one SEND; what fits a slot is handed up where it was
 * received, which nobody can write to any more. */
#include "drivers/verbs/inner.h"

#define PIECE_BYTES (SLOT_BYTES - PIECE_HEAD_BYTES)
#define DRAIN_NS    UINT64_C(20000000)

/* ---- receiving */

/* How much was read is the other side's credit: told when it is news. */
static void tell_read(struct tr_port *port, struct tr_verbs_channel *c)
{
    if (c->in_read - c->in_told < port->slots / 4)
        return;
    c->in_told = c->in_read;
    tr_verbs_note(c, 0, c->in_read, 0);
}

/* Gives slots back for receiving. */
static void release(struct tr_port *port)
{
    for (uint32_t i = 0; i < port->handed_count; i++) {
        const struct tr_verbs_handed *h = &port->handed[i];
        struct tr_verbs_peer *peer = &port->peer[h->peer];
        if (h->slot == UINT32_MAX) {
            peer->channel.is_held = false;
            continue;
        }
        if (peer->channel.qp == NULL)
            continue;
        tr_verbs_slot_post(port, h->peer, h->slot);
        peer->channel.in_read += h->link_number == peer->link_number;
        tell_read(port, &peer->channel);
    }
    port->handed_count = 0;
}

static void malformed(struct tr_port *port, uint32_t index)
{
    port->stats.rx_malformed++;
    tr_verbs_link_down(port, index);
}

/* A piece of a longer message. Returns: true when the message is whole and handed up. */
static bool add_piece(struct tr_port *port, uint32_t index, uint32_t slot, uint32_t message_bytes,
                      uint32_t piece_bytes)
{
    struct tr_verbs_channel *c = &port->peer[index].channel;
    if (c->whole_have == 0)
        c->whole_bytes = message_bytes;
    if (message_bytes != c->whole_bytes || piece_bytes > c->whole_bytes - c->whole_have) {
        malformed(port, index);
        return false;
    }
    memcpy(c->whole + c->whole_have, c->in + (size_t)slot * SLOT_BYTES + PIECE_HEAD_BYTES,
           piece_bytes);
    c->whole_have += piece_bytes;
    tr_verbs_slot_post(port, index, slot);
    c->in_read++;
    tell_read(port, c);
    if (c->whole_have < c->whole_bytes)
        return false;
    c->whole_have = 0;
    c->is_held = true;
    return true;
}

/* Remembers what was handed up until the next receive. */
static void hand(struct tr_port *port, struct tr_rx *out, uint32_t index, uint32_t slot)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    struct tr_verbs_channel *c = &peer->channel;
    bool is_whole = slot == UINT32_MAX;
    if (is_whole) {
        out->data = c->whole;
        out->bytes = c->whole_bytes;
    }
    out->peer = peer->id;
    out->source = index;
    if (!port->has_rings) {
        peer->is_used = true;
        port->stats.rx_unknown += peer->id == 0;
    }
    port->stats.rx_messages++;
    port->stats.rx_bytes += out->bytes;
    port->handed[port->handed_count++] = (struct tr_verbs_handed){index, slot, peer->link_number};
}

/* Looks at a completed receive. Returns: 1 when it gave a message, 0 when not, -1 when it has to
 * wait until the message before it is given back. */
static int receive(struct tr_port *port, const struct ibv_wc *wc, struct tr_rx *out)
{
    uint32_t index = (uint32_t)(wc->wr_id >> 48), slot = (uint32_t)wc->wr_id;
    struct tr_verbs_channel *c = &port->peer[index].channel;
    if (wc->status != IBV_WC_SUCCESS)
        return 0;
    const uint8_t *at = c->in + (size_t)slot * SLOT_BYTES;
    uint32_t message_bytes = tr_load_le32(at), piece_bytes = tr_load_le32(at + 4);
    if (wc->byte_len < PIECE_HEAD_BYTES || piece_bytes != wc->byte_len - PIECE_HEAD_BYTES ||
        piece_bytes == 0 || piece_bytes > message_bytes ||
        message_bytes > port->message_bytes_max ||
        (c->whole_have != 0 && message_bytes <= PIECE_BYTES)) {
        malformed(port, index);
        return 0;
    }
    if (message_bytes > PIECE_BYTES) {
        if (c->is_held)
            return -1;
        if (!add_piece(port, index, slot, message_bytes, piece_bytes))
            return 0;
        slot = UINT32_MAX;
    } else {
        out->data = at + PIECE_HEAD_BYTES;
        out->bytes = message_bytes;
    }
    hand(port, out, index, slot);
    return 1;
}

static void look_at_the_clock(struct tr_port *port)
{
    uint64_t now_ns = tr_verbs_now_ns();
    if (now_ns >= port->control_ns)
        tr_verbs_control_poll(port, now_ns);
}

uint32_t tr_verbs_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    uint32_t count = 0;
    if (port->handed_count != 0)
        release(port);
    if ((++port->polls & port->polls_mask) == 0 || port->links_unsettled != 0)
        look_at_the_clock(port);
    if (port->stash_count == 0)
        tr_verbs_stash(port);
    max = tr_min_u32(max, BURST_MAX);
    while (count < max && port->stash_count > 0) {
        struct ibv_wc wc = port->stash[port->stash_head];
        int result = receive(port, &wc, &out[count]);
        if (result < 0)
            break;
        port->stash_head = port->stash_head + 1 < port->stash_max ? port->stash_head + 1 : 0;
        port->stash_count--;
        count += (uint32_t)result;
    }
    return count;
}

/* ---- sending */

/* How far the other side has read, as it wrote into our board. */
static void look_at_the_board(struct tr_verbs_channel *c)
{
    struct tr_verbs_note note;
    note.position = tr_load_acquire(&c->board[0].position);
    note.seal = tr_load_acquire(&c->board[0].seal);
    if (note.seal == tr_verbs_seal(note.position, 0) && note.position > c->out_read &&
        note.position <= c->out_tail)
        c->out_read = note.position;
}

/* Completed requests free what is before them. */
void tr_verbs_reap(struct tr_port *port)
{
    struct ibv_wc wc[32];
    int got;
    do {
        got = ibv_poll_cq(port->cq_out, 32, wc);
        for (int i = 0; i < got; i++) {
            struct tr_verbs_channel *c = &port->peer[wc[i].wr_id >> 48].channel;
            if ((uint16_t)(wc[i].wr_id >> 32) != (uint16_t)c->number)
                continue;
            if (wc[i].status != IBV_WC_SUCCESS) {
                c->is_broken = true;
                c->is_ready = false;
                continue;
            }
            /* The lower half is the request's number; they complete in order. */
            uint32_t ahead = (uint32_t)wc[i].wr_id - (uint32_t)c->requests_done;
            c->requests_done += ahead;
            c->out_done = tr_max_u64(c->out_done,
                                     c->request_out[(c->requests_done - 1) % (port->slots + 64)]);
        }
    } while (got == 32);
}

/* Whether a message of so many pieces has room. */
static bool has_room(struct tr_port *port, struct tr_verbs_channel *c, uint32_t pieces)
{
    uint32_t slots = tr_min_u32(port->slots, c->other_slots);
    if (c->out_tail + pieces - c->out_read > slots)
        look_at_the_board(c);
    if (c->out_tail + pieces - c->out_done > port->slots)
        tr_verbs_reap(port);
    return c->out_tail + pieces - c->out_read <= slots &&
           c->out_tail + pieces - c->out_done <= port->slots;
}

/* Copies a message into slots. Returns: false when there is no room. */
static bool enqueue(struct tr_port *port, struct tr_verbs_channel *c,
                    const struct tr_segment *segment, uint32_t bytes)
{
    uint32_t pieces = (bytes + PIECE_BYTES - 1) / PIECE_BYTES;
    struct tr_segment rest = segment[0];
    if (!has_room(port, c, pieces))
        return false;
    for (uint32_t left = bytes; left > 0;) {
        uint32_t slot = (uint32_t)(c->out_tail % port->slots);
        uint8_t *at = c->out + (size_t)slot * SLOT_BYTES;
        uint32_t piece = tr_min_u32(left, PIECE_BYTES);
        tr_store_le32(at, bytes);
        tr_store_le32(at + 4, piece);
        for (uint32_t have = 0; have < piece;) {
            uint32_t part = tr_min_u32(rest.bytes, piece - have);
            if (part > 0)
                memcpy(at + PIECE_HEAD_BYTES + have, rest.data, part);
            have += part;
            rest.data = (const uint8_t *)rest.data + part;
            rest.bytes -= part;
            if (rest.bytes == 0 && have + (bytes - left) < bytes)
                rest = *++segment;
        }
        c->out_bytes[slot] = piece + PIECE_HEAD_BYTES;
        c->out_tail++;
        left -= piece;
    }
    return true;
}

/* ---- the doorbell */

/* A list of requests for one connection. */
struct list {
    struct ibv_send_wr request[64];
    struct ibv_sge sge[64];
    uint32_t count;
};

static bool post_list(struct tr_port *port, uint32_t index, struct list *l)
{
    struct tr_verbs_channel *c = &port->peer[index].channel;
    struct ibv_send_wr *bad;
    if (l->count == 0)
        return true;
    for (uint32_t i = 0; i < l->count; i++) {
        struct ibv_send_wr *w = &l->request[i];
        w->next = i + 1 < l->count ? w + 1 : NULL;
        w->wr_id = (uint64_t)index << 48 | (uint64_t)(c->number & 0xffff) << 32 |
                   (uint32_t)(c->requests + i + 1);
        w->sg_list = &l->sge[i];
        w->num_sge = 1;
        if (l->sge[i].length <= tr_min_u32(port->device.inline_max, 256))
            w->send_flags |= IBV_SEND_INLINE;
    }
    l->request[l->count - 1].send_flags |= IBV_SEND_SIGNALED;
    c->requests += l->count;
    c->request_out[(c->requests - 1) % (port->slots + 64)] = c->out_posted;
    l->count = 0;
    if (ibv_post_send(c->qp, l->request, &bad) == 0)
        return true;
    c->is_broken = true;
    c->is_ready = false;
    return false;
}

static struct ibv_send_wr *add_request(struct list *l, const void *data, uint32_t bytes,
                                       uint32_t lkey)
{
    struct ibv_send_wr *w = &l->request[l->count];
    memset(w, 0, sizeof(*w));
    l->sge[l->count++] = (struct ibv_sge){(uintptr_t)data, bytes, lkey};
    return w;
}

static uint64_t queue_room(const struct tr_port *port, const struct tr_verbs_channel *c)
{
    return port->slots + 64 - (c->requests - c->requests_done);
}

/* The notes that changed, as WRITEs into the other's board. */
static void flush_notes(struct tr_port *port, uint32_t index, struct list *l)
{
    struct tr_verbs_channel *c = &port->peer[index].channel;
    for (uint32_t i = 0; i < BOARD_ENTRIES / 64; i++) {
        while (c->note_dirty[i] != 0) {
            uint32_t entry = i * 64 + (uint32_t)__builtin_ctzll(c->note_dirty[i]);
            if (l->count == 64 || l->count >= queue_room(port, c))
                return; /* the next flush goes on */
            c->note_dirty[i] &= c->note_dirty[i] - 1;
            struct ibv_send_wr *w = add_request(l, &c->notes[entry], sizeof(c->notes[entry]), 0);
            w->opcode = IBV_WR_RDMA_WRITE;
            w->wr.rdma.remote_addr = c->other_board + entry * sizeof(struct tr_verbs_note);
            w->wr.rdma.rkey = c->other_board_key;
        }
    }
    c->is_note_dirty = false;
}

static void flush_channel(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_channel *c = &port->peer[index].channel;
    struct list l;
    l.count = 0;
    if (queue_room(port, c) < 64)
        tr_verbs_reap(port);
    if (!c->is_ready)
        return;
    if (c->is_note_dirty)
        flush_notes(port, index, &l);
    while (c->out_posted != c->out_tail && l.count < queue_room(port, c)) {
        uint32_t slot = (uint32_t)(c->out_posted % port->slots);
        struct ibv_send_wr *w = add_request(&l, c->out + (size_t)slot * SLOT_BYTES,
                                            c->out_bytes[slot], c->out_mr->lkey);
        w->opcode = IBV_WR_SEND;
        c->out_posted++;
        if (l.count == 64 && !post_list(port, index, &l))
            return;
    }
    post_list(port, index, &l);
}

/* ---- operations */

/* A client's port connects when there is something to say. */
static void want(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    peer->is_used = true;
    if (port->is_ephemeral && peer->link.state == LINK_NONE)
        port->control_ns = 0;
}

/* Takes a message to the peer of an index, or loses it. Returns: false when there is no room. */
static bool take(struct tr_port *port, uint32_t index, const struct tr_segment *segment,
                 uint32_t segment_count)
{
    uint32_t bytes = tr_gather_bytes(segment, segment_count);
    bool is_up = index != UINT32_MAX && port->peer[index].is_up;
    tr_assert(bytes >= 1 && bytes <= port->message_bytes_max);
    if (!port->has_rings && index != UINT32_MAX)
        want(port, index);
    if (!is_up || bytes > port->peer[index].channel.message_bytes_max)
        port->stats.tx_errors++; /* taken and lost */
    else if (!enqueue(port, &port->peer[index].channel, segment, bytes)) {
        flush_channel(port, index); /* what is there makes room only on its way */
        return false;
    }
    port->stats.tx_messages++;
    port->stats.tx_bytes += bytes;
    return true;
}

uint32_t tr_verbs_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count)
{
    uint32_t taken = 0;
    for (; taken < count && taken < BURST_MAX; taken++) {
        const struct tr_tx *t = &tx[taken];
        if (!take(port, tr_verbs_peer_find(port, t->peer), t->segment, t->segment_count))
            break;
    }
    port->stats.tx_full += count - taken;
    return taken;
}

int tr_verbs_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                      uint32_t segment_count)
{
    tr_assert(source < port->place_count);
    bool is_taken = take(port, source, segment, segment_count);
    port->stats.tx_full += !is_taken;
    return is_taken ? TR_OK : TR_AGAIN;
}

void tr_verbs_tx_flush(struct tr_port *port)
{
    tr_verbs_write_flush(port);
    for (uint32_t i = 0; i < port->place_count; i++) {
        struct tr_verbs_channel *c = &port->peer[i].channel;
        if (c->out_posted != c->out_tail || c->is_note_dirty)
            flush_channel(port, i);
    }
}

void tr_verbs_tx_drain(struct tr_port *port)
{
    uint64_t end_ns = tr_verbs_now_ns() + DRAIN_NS;
    for (uint32_t i = 0; i < port->place_count; i++) {
        const struct tr_verbs_channel *c = &port->peer[i].channel;
        while (c->is_ready && (c->out_posted != c->out_tail || c->requests != c->requests_done) &&
               tr_verbs_now_ns() < end_ns) {
            tr_verbs_tx_flush(port);
            tr_verbs_reap(port);
        }
    }
}
