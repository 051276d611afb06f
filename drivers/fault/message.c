/* Messages: what a rule does to them on their way out and in. */
#include "drivers/fault/inner.h"

/* ---- slots, and the heap of those that wait ---- */

int tr_fault_messages_init(struct tr_port *port, const struct tr_memory *memory)
{
    uint32_t count = SMALL_SLOTS + LARGE_SLOTS;
    uint32_t large = tr_align_up_u32(port->message_bytes_max, TR_CACHE_LINE) + TR_CACHE_LINE;
    uint8_t *data;
    port->held = memory->allocate(memory->context, count * sizeof(*port->held), TR_CACHE_LINE);
    port->out.heap = memory->allocate(memory->context, count * sizeof(uint32_t), TR_CACHE_LINE);
    port->in.heap = memory->allocate(memory->context, count * sizeof(uint32_t), TR_CACHE_LINE);
    port->scratch = memory->allocate(memory->context, large, TR_CACHE_LINE);
    data = memory->allocate(memory->context,
                            (size_t)SMALL_SLOTS * SMALL_BYTES + (size_t)LARGE_SLOTS * large,
                            TR_CACHE_LINE);
    if (port->held == NULL || port->out.heap == NULL || port->in.heap == NULL ||
        port->scratch == NULL || data == NULL)
        return TR_ENOMEM;
    port->free_small = port->free_large = port->handed = NONE;
    for (uint32_t i = count; i-- > 0;) {
        uint32_t *list = i < SMALL_SLOTS ? &port->free_small : &port->free_large;
        size_t offset = i < SMALL_SLOTS
                            ? (size_t)i * SMALL_BYTES
                            : (size_t)SMALL_SLOTS * SMALL_BYTES + (size_t)(i - SMALL_SLOTS) * large;
        port->held[i] = (struct held){.data = data + offset, .next = *list};
        *list = i;
    }
    return TR_OK;
}

static void give_slot(struct tr_port *port, uint32_t index)
{
    uint32_t *list = index < SMALL_SLOTS ? &port->free_small : &port->free_large;
    port->held[index].next = *list;
    *list = index;
}

/* A slot for so many bytes; NONE when too many messages wait. */
static uint32_t take_slot(struct tr_port *port, uint32_t bytes)
{
    uint32_t *list =
        bytes <= SMALL_BYTES && port->free_small != NONE ? &port->free_small : &port->free_large;
    uint32_t index = *list;
    if (index != NONE)
        *list = port->held[index].next;
    return index;
}

static bool is_before(const struct held *a, const struct held *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void push_heap(const struct tr_port *port, struct waiting *w, uint32_t index)
{
    uint32_t at = w->count++;
    while (at > 0 && is_before(&port->held[index], &port->held[w->heap[(at - 1) / 2]])) {
        w->heap[at] = w->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    w->heap[at] = index;
}

static uint32_t pop_heap(const struct tr_port *port, struct waiting *w)
{
    uint32_t first = w->heap[0];
    uint32_t last = w->heap[--w->count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= w->count)
            break;
        if (child + 1 < w->count &&
            is_before(&port->held[w->heap[child + 1]], &port->held[w->heap[child]]))
            child++;
        if (!is_before(&port->held[w->heap[child]], &port->held[last]))
            break;
        w->heap[at] = w->heap[child];
        at = child;
    }
    w->heap[at] = last;
    return first;
}

/* The first that waits, if it is due; else NULL. */
static struct held *first_due(const struct tr_port *port, const struct waiting *w, uint64_t now_ns)
{
    struct held *first = w->count > 0 ? &port->held[w->heap[0]] : NULL;
    return first != NULL && first->due_ns <= now_ns ? first : NULL;
}

/* Puts a copy of a message aside until it is due. Returns: false when there is no room. */
static bool hold(struct tr_port *port, struct waiting *w, tr_node_id peer,
                 const struct tr_segment *segment, uint32_t segment_count, uint64_t due_ns)
{
    uint32_t bytes = tr_gather_bytes(segment, segment_count);
    uint32_t index = take_slot(port, bytes);
    struct held *h;
    if (index == NONE)
        return false;
    h = &port->held[index];
    tr_gather_copy(h->data, segment, segment_count);
    h->bytes = bytes;
    h->peer = peer;
    h->due_ns = due_ns;
    h->order = port->order++;
    push_heap(port, w, index);
    return true;
}

/* ---- what a rule does ---- */

/* What is to become of a message. */
struct fate {
    bool is_lost, is_twice, is_damaged;
    uint64_t wait_ns;
};

/* Whether a message is lost. */
static bool draw_loss(struct tr_port *port, const struct tr_fault_slot *rule)
{
    bool is_blocked = tr_load_relaxed(&rule->blocked) != 0;
    bool is_lost = is_blocked || tr_fault_chance(port, tr_load_relaxed(&rule->drop_ppm));
    if (is_lost)
        tr_fault_count(is_blocked ? &port->control->counters.blocked
                                  : &port->control->counters.dropped);
    return is_lost;
}

/* What becomes of a message that is not lost. */
static void draw_rest(struct tr_port *port, const struct tr_fault_slot *rule, struct fate *fate)
{
    struct tr_fault_counters *counters = &port->control->counters;
    fate->is_twice = tr_fault_chance(port, tr_load_relaxed(&rule->duplicate_ppm));
    fate->is_damaged = tr_fault_chance(port, tr_load_relaxed(&rule->corrupt_ppm));
    fate->wait_ns = tr_fault_draw_ns(port, tr_load_relaxed(&rule->delay_low_ns),
                                     tr_load_relaxed(&rule->delay_high_ns));
    if (fate->wait_ns != 0)
        tr_fault_count(&counters->delayed);
    if (tr_fault_chance(port, tr_load_relaxed(&rule->reorder_ppm))) {
        fate->wait_ns += tr_fault_draw_ns(port, tr_load_relaxed(&rule->reorder_low_ns),
                                          tr_load_relaxed(&rule->reorder_high_ns));
        tr_fault_count(&counters->reordered);
    }
    if (fate->is_twice)
        tr_fault_count(&counters->duplicated);
    if (fate->is_damaged)
        tr_fault_count(&counters->corrupted);
}

/* A damaged copy of a message, in the port's scratch. */
static struct tr_segment damage(struct tr_port *port, const struct tr_segment *segment,
                                uint32_t segment_count)
{
    struct tr_segment copy = {port->scratch, tr_gather_bytes(segment, segment_count)};
    uint64_t flips = 1 + tr_prng_below(&port->prng, 4);
    tr_gather_copy(port->scratch, segment, segment_count);
    for (uint64_t i = 0; i < flips && copy.bytes > 0; i++) {
        uint64_t bit = tr_prng_below(&port->prng, (uint64_t)copy.bytes * 8);
        port->scratch[bit / 8] = (uint8_t)(port->scratch[bit / 8] ^ (1u << (bit % 8)));
    }
    return copy;
}

/* ---- out ---- */

static bool send_below(struct tr_port *port, tr_node_id peer, const struct tr_segment *segment,
                       uint32_t segment_count)
{
    struct tr_tx tx = {.peer = peer, .segment_count = (uint16_t)segment_count};
    memcpy(tx.segment, segment, segment_count * sizeof(*segment));
    return port->below_driver->tx_burst(port->below, &tx, 1) == 1;
}

/* Counts a message as taken that the driver below has not seen (+1), or a second time (-1). */
static void adjust_tx(struct tr_port *port, int64_t messages, uint32_t bytes)
{
    port->delta.tx_messages += (uint64_t)messages;
    port->delta.tx_bytes += (uint64_t)(messages * (int64_t)bytes);
}

/* Sends a message, or does to it what the rule says. Returns: false when the driver below is full.
 */
static bool send_by_rule(struct tr_port *port, tr_node_id peer, const struct tr_segment *segment,
                         uint32_t segment_count)
{
    const struct tr_fault_slot *rule = tr_fault_slot_of(port->control, peer, TR_FAULT_OUT);
    uint32_t bytes = tr_gather_bytes(segment, segment_count);
    struct fate fate = {.is_lost = draw_loss(port, rule)};
    struct tr_segment copy;
    if (fate.is_lost) {
        adjust_tx(port, 1, bytes);
        return true;
    }
    draw_rest(port, rule, &fate);
    if (fate.is_damaged) {
        copy = damage(port, segment, segment_count);
        segment = &copy;
        segment_count = 1;
    }
    if (fate.wait_ns == 0 && !send_below(port, peer, segment, segment_count))
        return false;
    if (fate.wait_ns != 0) {
        uint64_t due_ns = port->now_ns(port->context) + fate.wait_ns;
        adjust_tx(port, 1, bytes);
        if (!hold(port, &port->out, peer, segment, segment_count, due_ns))
            tr_fault_count(&port->control->counters.overflowed);
    }
    if (fate.is_twice && send_below(port, peer, segment, segment_count))
        adjust_tx(port, -1, bytes);
    return true;
}

/* Sends what is due. What the driver below does not take is lost, as in a network whose queue is
 * full: were it to wait, a peer that is full would hold back the others. */
static void send_due(struct tr_port *port)
{
    uint64_t now_ns = port->out.count > 0 ? port->now_ns(port->context) : 0;
    struct held *h;
    while ((h = first_due(port, &port->out, now_ns)) != NULL) {
        struct tr_segment segment = {h->data, h->bytes};
        if (send_below(port, h->peer, &segment, 1))
            adjust_tx(port, -1, h->bytes);
        else
            tr_fault_count(&port->control->counters.overflowed);
        give_slot(port, pop_heap(port, &port->out));
    }
}

static bool is_active(const struct tr_port *port)
{
    return tr_load_relaxed(&port->control->is_active) != 0;
}

uint32_t tr_fault_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count)
{
    uint32_t taken = 0;
    if (tr_likely(!is_active(port) && port->out.count == 0))
        return port->below_driver->tx_burst(port->below, tx, count);
    send_due(port);
    count = tr_min_u32(count, port->burst_max);
    while (taken < count &&
           send_by_rule(port, tx[taken].peer, tx[taken].segment, tx[taken].segment_count))
        taken++;
    return taken;
}

int tr_fault_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                      uint32_t segment_count)
{
    if ((source & SOURCE_OF_PEER) == 0)
        return port->below_driver->tx_reply(port->below, source, segment, segment_count);
    return send_by_rule(port, (tr_node_id)source, segment, segment_count) ? TR_OK : TR_AGAIN;
}

void tr_fault_tx_flush(struct tr_port *port)
{
    send_due(port);
    port->below_driver->tx_flush(port->below);
}

/* ---- in ---- */

static void release_handed(struct tr_port *port)
{
    while (port->handed != NONE) {
        uint32_t index = port->handed;
        port->handed = port->held[index].next;
        give_slot(port, index);
    }
}

static void adjust_rx(struct tr_port *port, int64_t messages, uint32_t bytes)
{
    port->delta.rx_messages += (uint64_t)messages;
    port->delta.rx_bytes += (uint64_t)(messages * (int64_t)bytes);
}

/* Hands up received messages that are due. Returns: how many. */
static uint32_t hand_up_due(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    uint64_t now_ns = port->in.count > 0 ? port->now_ns(port->context) : 0;
    uint32_t count = 0;
    struct held *h;
    while (count < max && (h = first_due(port, &port->in, now_ns)) != NULL) {
        out[count].data = h->data;
        out[count].bytes = h->bytes;
        out[count].peer = h->peer;
        out[count].source = SOURCE_OF_PEER | h->peer;
        adjust_rx(port, 1, h->bytes);
        count++;
        h->next = port->handed;
        port->handed = pop_heap(port, &port->in);
    }
    return count;
}

/* Does to a received message what the rule says. Returns: whether it is handed up now, in place. A
 * stranger's is lost or not: it is answered by its source, which does not last. */
static bool receive_by_rule(struct tr_port *port, struct tr_rx *rx)
{
    const struct tr_fault_slot *rule = tr_fault_slot_of(port->control, rx->peer, TR_FAULT_IN);
    struct tr_segment segment = {rx->data, rx->bytes};
    struct fate fate = {.is_lost = draw_loss(port, rule)};
    uint64_t due_ns;
    if (fate.is_lost) {
        adjust_rx(port, -1, rx->bytes);
        port->delta.rx_unknown -= rx->peer == 0;
        return false;
    }
    if (rx->peer == 0)
        return true;
    rx->source = SOURCE_OF_PEER | rx->peer; /* so that answers are under the rule too */
    draw_rest(port, rule, &fate);
    if (!fate.is_twice && !fate.is_damaged && fate.wait_ns == 0)
        return true;
    if (fate.is_damaged)
        segment = damage(port, &segment, 1);
    due_ns = port->now_ns(port->context) + fate.wait_ns;
    if (fate.is_twice && !hold(port, &port->in, rx->peer, &segment, 1, due_ns))
        tr_fault_count(&port->control->counters.overflowed);
    if (!fate.is_damaged && fate.wait_ns == 0)
        return true;
    if (!hold(port, &port->in, rx->peer, &segment, 1, due_ns))
        tr_fault_count(&port->control->counters.overflowed);
    adjust_rx(port, -1, rx->bytes);
    return false;
}

uint32_t tr_fault_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    uint32_t count, got;
    if (tr_likely(!is_active(port) && port->in.count == 0 && port->handed == NONE))
        return port->below_driver->rx_burst(port->below, out, max);
    release_handed(port);
    send_due(port);
    count = hand_up_due(port, out, max);
    /* Even when nothing more fits: this releases what the driver below handed up before. */
    got = port->below_driver->rx_burst(port->below, out + count, max - count);
    if (!is_active(port))
        return count + got;
    for (uint32_t i = 0, first = count; i < got; i++) {
        struct tr_rx *rx = &out[first + i];
        if (receive_by_rule(port, rx))
            out[count++] = *rx;
    }
    return count;
}
