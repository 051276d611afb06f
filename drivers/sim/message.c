/* Messages of the simulated network: datagrams and their fates. */
#include "drivers/sim/inner.h"

/* ---- into the network ---- */

/* A duration of the span that is as likely in each of its octaves. */
static uint64_t draw_tail_ns(struct tr_sim_world *w, const struct tr_sim_span *span)
{
    uint64_t low = tr_max_u64(span->low_ns, 1);
    uint64_t octaves = 0;
    while (octaves < 63 && low << (octaves + 1) <= span->high_ns)
        octaves++;
    low <<= tr_sim_below(w, octaves + 1);
    return low + tr_sim_below(w, low);
}

/* When a datagram that leaves now arrives: behind those before it, unless something holds it back.
 */
static uint64_t draw_arrival(struct tr_sim_world *w, uint32_t from, uint32_t to)
{
    uint64_t at = w->now_ns + tr_sim_draw_ns(w, &w->profile.delay_ns);
    if (tr_sim_chance(w, w->profile.tail_ppm)) {
        w->counters.tailed++;
        return at + draw_tail_ns(w, &w->profile.tail_ns);
    }
    if (tr_sim_chance(w, w->profile.reorder_ppm)) {
        w->counters.reordered++;
        return at + tr_sim_draw_ns(w, &w->profile.reorder_ns);
    }
    at = tr_max_u64(at, w->link_ns[from][to]);
    w->link_ns[from][to] = at;
    return at;
}

static void corrupt(struct tr_sim_world *w, struct packet *p)
{
    uint64_t flips = 1 + tr_sim_below(w, 4);
    for (uint64_t i = 0; i < flips; i++) {
        uint64_t bit = tr_sim_below(w, (uint64_t)p->bytes * 8);
        p->data[bit / 8] = (uint8_t)(p->data[bit / 8] ^ (1u << (bit % 8)));
    }
    w->counters.corrupted++;
}

/* A second copy of a datagram, with a way of its own. */
static void duplicate(struct tr_sim_world *w, const struct packet *p)
{
    uint32_t index = tr_sim_packet_take(w);
    struct packet *copy;
    if (index == NONE)
        return;
    copy = tr_sim_packet(w, index);
    copy->from = p->from;
    copy->to = p->to;
    copy->bytes = p->bytes;
    memcpy(copy->data, p->data, p->bytes);
    w->counters.duplicated++;
    tr_sim_schedule(w, draw_arrival(w, p->from, p->to), EVENT_DATAGRAM, index);
}

/* A packet for a datagram of so many bytes, unless it is lost on the way; NULL then. */
static struct packet *begin_datagram(struct tr_sim_world *w, uint32_t from, uint32_t to,
                                     uint32_t bytes, uint32_t *index)
{
    struct packet *p;
    w->counters.datagrams++;
    if (tr_sim_is_blocked(w, from, to)) {
        w->counters.blocked++;
        return NULL;
    }
    if (tr_sim_chance(w, w->profile.drop_ppm)) {
        w->counters.dropped++;
        return NULL;
    }
    *index = tr_sim_packet_take(w);
    if (*index == NONE) {
        w->counters.overflowed++;
        return NULL;
    }
    p = tr_sim_packet(w, *index);
    p->from = from;
    p->to = to;
    p->bytes = bytes;
    return p;
}

static void launch(struct tr_sim_world *w, struct packet *p, uint32_t index)
{
    if (tr_sim_chance(w, w->profile.duplicate_ppm))
        duplicate(w, p);
    if (tr_sim_chance(w, w->profile.corrupt_ppm))
        corrupt(w, p);
    tr_sim_schedule(w, draw_arrival(w, p->from, p->to), EVENT_DATAGRAM, index);
}

static void send_cut(struct tr_port *port, uint32_t to, const struct tr_segment *segment,
                     uint32_t bytes)
{
    struct tr_sim_world *w = port->world;
    struct tr_gather_cursor gather = {.segment = segment};
    struct tr_cut cut = tr_cut_plan(port->message_next++, bytes, w->datagram_bytes);
    w->counters.cut++;
    for (uint32_t i = 0; i < cut.count; i++) {
        uint32_t piece = tr_cut_bytes(&cut, i);
        uint32_t index;
        struct packet *p = begin_datagram(w, port->place, to, TR_PIECE_BYTES + piece, &index);
        if (p == NULL) {
            tr_gather_skip(&gather, piece);
            continue;
        }
        tr_cut_header(&cut, i, p->data);
        tr_gather_next(&gather, p->data + TR_PIECE_BYTES, piece);
        launch(w, p, index);
    }
}

/* Sends a message to a place. */
static void send_to(struct tr_port *port, uint32_t to, const struct tr_segment *segment,
                    uint32_t segment_count)
{
    struct tr_sim_world *w = port->world;
    uint32_t bytes = tr_gather_bytes(segment, segment_count);
    uint32_t index;
    tr_assert(bytes <= port->message_bytes_max);
    port->stats.tx_messages++;
    port->stats.tx_bytes += bytes;
    if (TR_FRAME_BYTES + bytes > w->datagram_bytes) {
        send_cut(port, to, segment, bytes);
        return;
    }
    struct packet *p = begin_datagram(w, port->place, to, TR_FRAME_BYTES + bytes, &index);
    if (p == NULL)
        return;
    tr_frame_write(p->data, bytes);
    tr_gather_copy(p->data + TR_FRAME_BYTES, segment, segment_count);
    launch(w, p, index);
}

static struct peer *find_peer(const struct tr_port *port, tr_node_id id)
{
    for (uint32_t i = 0; i < port->peers_max; i++) {
        if (port->peer[i].id == id)
            return &port->peer[i];
    }
    return NULL;
}

uint32_t tr_sim_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count)
{
    uint32_t most = tr_min_u32(count, BURST_MAX);
    uint32_t taken = 0;
    if (!tr_sim_port_is_live(port))
        return 0;
    for (; taken < most; taken++) {
        const struct tr_tx *t = &tx[taken];
        const struct peer *peer = t->peer != 0 ? find_peer(port, t->peer) : NULL;
        tr_assert(t->segment_count - 1u < TR_TX_SEGMENTS_MAX);
        if (peer != NULL) {
            send_to(port, peer->place, t->segment, t->segment_count);
            continue;
        }
        port->stats.tx_messages++;
        port->stats.tx_bytes += tr_gather_bytes(t->segment, t->segment_count);
        port->stats.tx_errors++;
    }
    port->stats.tx_full += count - taken;
    return taken;
}

int tr_sim_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                    uint32_t segment_count)
{
    tr_assert(source < port->world->place_count);
    if (tr_sim_port_is_live(port))
        send_to(port, source, segment, segment_count);
    return TR_OK;
}

void tr_sim_tx_flush(struct tr_port *port)
{
    (void)port;
}

/* ---- out of the network ---- */

void tr_sim_arrive(struct tr_sim_world *w, uint32_t index)
{
    struct packet *p = tr_sim_packet(w, index);
    struct place *place = &w->place[p->to];
    uint64_t *fate = NULL;
    if (tr_sim_is_blocked(w, p->from, p->to))
        fate = &w->counters.blocked;
    else if (place->port == NULL)
        fate = &w->counters.undeliverable;
    else if (place->waiting == w->queue_max)
        fate = &w->counters.overflowed;
    if (fate != NULL) {
        ++*fate;
        if (place->port != NULL && fate == &w->counters.overflowed)
            place->port->stats.rx_dropped++;
        tr_sim_packet_give(w, index);
        return;
    }
    w->counters.delivered++;
    tr_sim_news(w, p->to);
    p->next = NONE;
    if (place->waiting++ == 0)
        place->first = index;
    else
        tr_sim_packet(w, place->last)->next = index;
    place->last = index;
}

static void give_list(struct tr_sim_world *w, uint32_t index)
{
    while (index != NONE) {
        uint32_t next = tr_sim_packet(w, index)->next;
        tr_sim_packet_give(w, index);
        index = next;
    }
}

void tr_sim_forget_messages(struct tr_sim_world *w, struct place *place)
{
    if (place->waiting > 0)
        give_list(w, place->first);
    place->waiting = 0;
    if (place->port != NULL) {
        give_list(w, place->port->handed);
        place->port->handed = NONE;
    }
}

/* Takes back what the last rx_burst handed up. */
static void release(struct tr_port *port)
{
    give_list(port->world, port->handed);
    port->handed = NONE;
    if (!port->holds_messages)
        return;
    port->holds_messages = false;
    tr_reassembly_release(&port->stranger.reassembly);
    for (uint32_t i = 0; i < port->peers_max; i++) {
        if (port->peer[i].has_reassembly)
            tr_reassembly_release(&port->peer[i].reassembly);
    }
}

static struct peer *sender_of(struct tr_port *port, const struct packet *p)
{
    uint32_t peer = port->peer_of_place[p->from];
    return peer != 0 ? &port->peer[peer - 1] : &port->stranger;
}

static void hand_up(struct tr_port *port, const struct packet *p, struct tr_span message,
                    struct tr_rx *out)
{
    out->data = message.data;
    out->bytes = message.bytes;
    out->peer = sender_of(port, p)->id;
    out->source = p->from;
    port->stats.rx_messages++;
    port->stats.rx_bytes += message.bytes;
    port->stats.rx_unknown += out->peer == 0;
}

static void next_waiting(struct place *place, const struct packet *p)
{
    place->first = p->next;
    place->waiting--;
}

/* Adds a piece to its message. Returns: true if that is complete and in *out; *waits if it has to
 * be added again, when the messages handed up are released. */
static bool add_piece(struct tr_port *port, const struct packet *p, const struct tr_frame *piece,
                      struct tr_span *out, bool *waits)
{
    uint64_t evicted = 0;
    enum tr_reassembly_result result =
        tr_reassembly_add(&sender_of(port, p)->reassembly, p->from, piece, out, &evicted);
    port->stats.rx_dropped += evicted;
    port->stats.rx_malformed += result == TR_PIECE_REFUSED;
    *waits = result == TR_PIECE_WAITS;
    return result == TR_PIECE_COMPLETES;
}

uint32_t tr_sim_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    struct tr_sim_world *w = port->world;
    struct place *place = &w->place[port->place];
    uint32_t count = 0;
    if (!tr_sim_port_is_live(port))
        return 0;
    release(port);
    max = tr_min_u32(max, BURST_MAX);
    while (count < max && place->waiting > 0) {
        uint32_t index = place->first, at = 0;
        struct packet *p = tr_sim_packet(w, index);
        struct tr_frame frame;
        struct tr_span message;
        bool waits = false;
        enum tr_frame_kind kind = tr_frame_next(p->data, p->bytes, &at, &frame);
        if (kind == TR_FRAME_IS_WHOLE && frame.bytes <= port->message_bytes_max) {
            hand_up(port, p, tr_span_of(frame.data, frame.bytes), &out[count++]);
            next_waiting(place, p);
            p->next = port->handed; /* until the next burst */
            port->handed = index;
            continue;
        }
        if (kind == TR_FRAME_IS_PIECE && add_piece(port, p, &frame, &message, &waits)) {
            hand_up(port, p, message, &out[count++]);
            port->holds_messages = true;
        } else if (kind != TR_FRAME_IS_PIECE) {
            port->stats.rx_malformed++;
        }
        if (waits)
            break;
        next_waiting(place, p);
        tr_sim_packet_give(w, index);
    }
    return count;
}
