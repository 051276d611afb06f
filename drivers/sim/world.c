/* The world: its events in order, partitions, crashes and pauses. */
#include "drivers/sim/inner.h"

#define DATAGRAMS_DEFAULT 8192
#define QUEUE_DEFAULT     2048
#define WRITES_DEFAULT    4096
#define DATAGRAM_DEFAULT  1472
#define DATAGRAM_MIN      128
#define DATAGRAM_MAX      65504

/* ---- events: a heap of four children a node, so that half as many levels are touched ---- */

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void tr_sim_schedule(struct tr_sim_world *w, uint64_t at_ns, enum event_kind kind, uint32_t index)
{
    struct event event = {at_ns, w->order++ << 8 | kind, index};
    uint32_t at = w->heap_count++;
    tr_assert(at < w->heap_max && at_ns >= w->now_ns);
    while (at > 0) {
        uint32_t parent = (at - 1) / 4;
        if (!is_before(&event, &w->heap[parent]))
            break;
        w->heap[at] = w->heap[parent];
        at = parent;
    }
    w->heap[at] = event;
}

/* Takes the first event out. */
static struct event take_event(struct tr_sim_world *w)
{
    struct event first = w->heap[0];
    struct event last = w->heap[--w->heap_count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 4 * at + 1;
        uint32_t end = tr_min_u32(child + 4, w->heap_count);
        uint32_t least = child;
        if (child >= w->heap_count)
            break;
        while (++child < end) {
            if (is_before(&w->heap[child], &w->heap[least]))
                least = child;
        }
        if (!is_before(&w->heap[least], &last))
            break;
        w->heap[at] = w->heap[least];
        at = least;
    }
    w->heap[at] = last;
    return first;
}

static void happen(struct tr_sim_world *w, const struct event *event)
{
    switch ((enum event_kind)(event->order & 0xff)) {
    case EVENT_DATAGRAM:
        tr_sim_arrive(w, event->index);
        return;
    case EVENT_PART:
        tr_sim_part_lands(w, event->index);
        return;
    case EVENT_COMPLETION:
        tr_sim_write_completes(w, event->index);
        return;
    case EVENT_FENCE:
        tr_sim_fence_ends(w, event->index);
        return;
    case EVENT_CONSUMED:
        tr_sim_consumed_arrives(w, event->index);
        return;
    case EVENT_NOTICE:
        w->place[event->index].epoch_seen = w->place[event->index].epoch;
        w->place[event->index].notice_pending = false;
        for (uint32_t i = 0; i < w->node_count; i++)
            w->node[i].has_news = true;
        return;
    }
    tr_unreachable();
}

uint64_t tr_sim_next_ns(const struct tr_sim_world *w)
{
    return w->heap_count > 0 ? w->heap[0].at_ns : UINT64_MAX;
}

uint64_t tr_sim_now_ns(const struct tr_sim_world *w)
{
    return w->now_ns;
}

void tr_sim_advance(struct tr_sim_world *w, uint64_t now_ns)
{
    tr_assert(now_ns >= w->now_ns);
    while (w->heap_count > 0 && w->heap[0].at_ns <= now_ns) {
        struct event event = take_event(w);
        w->now_ns = event.at_ns;
        happen(w, &event);
    }
    w->now_ns = now_ns;
}

/* ---- packets ---- */

uint32_t tr_sim_packet_take(struct tr_sim_world *w)
{
    uint32_t index = w->packet_free;
    if (w->packets_left == 0)
        return NONE;
    w->packets_left--;
    if (index == NONE)
        return w->packets_used++;
    w->packet_free = tr_sim_packet(w, index)->next;
    return index;
}

void tr_sim_packet_give(struct tr_sim_world *w, uint32_t index)
{
    tr_sim_packet(w, index)->next = w->packet_free;
    w->packet_free = index;
    w->packets_left++;
}

uint32_t tr_sim_write_take(struct tr_sim_world *w)
{
    uint32_t index = w->write_free;
    tr_assert(w->writes_left > 0);
    w->writes_left--;
    if (index == NONE)
        return w->writes_used++;
    w->write_free = w->writes[index].next;
    return index;
}

/* ---- nodes ---- */

void tr_sim_news(struct tr_sim_world *w, uint32_t place)
{
    if (w->place[place].node != NONE)
        w->node[w->place[place].node].has_news = true;
}

bool tr_sim_take_news(struct tr_sim_world *w, tr_node_id id)
{
    struct node *node = &w->node[tr_sim_node_index(w, id)];
    bool has_news = node->has_news;
    node->has_news = false;
    return has_news;
}

uint32_t tr_sim_node_index(struct tr_sim_world *w, tr_node_id id)
{
    for (uint32_t i = 0; i < w->node_count; i++) {
        if (w->node[i].id == id)
            return i;
    }
    if (w->node_count == TR_SIM_PLACES_MAX)
        return NONE;
    w->node[w->node_count] = (struct node){.id = id};
    return w->node_count++;
}

bool tr_sim_is_blocked(const struct tr_sim_world *w, uint32_t from, uint32_t to)
{
    uint32_t a = w->place[from].node, b = w->place[to].node;
    return a != NONE && b != NONE && (w->node[a].blocked_to >> b & 1) != 0;
}

void tr_sim_partition(struct tr_sim_world *w, tr_node_id from, tr_node_id to, bool blocked)
{
    uint32_t a = tr_sim_node_index(w, from), b = tr_sim_node_index(w, to);
    tr_assert(a != NONE && b != NONE);
    uint64_t bit = UINT64_C(1) << b;
    if (blocked && (w->node[a].blocked_to & bit) == 0)
        w->counters.partitions++;
    w->node[a].blocked_to = blocked ? w->node[a].blocked_to | bit : w->node[a].blocked_to & ~bit;
}

void tr_sim_pause(struct tr_sim_world *w, tr_node_id id, bool paused)
{
    uint32_t node = tr_sim_node_index(w, id);
    tr_assert(node != NONE);
    w->counters.pauses += paused && !w->node[node].is_paused;
    w->node[node].is_paused = paused;
}

void tr_sim_heal_all(struct tr_sim_world *w)
{
    for (uint32_t i = 0; i < w->node_count; i++) {
        w->node[i].blocked_to = 0;
        w->node[i].is_paused = false;
    }
}

void tr_sim_notice(struct tr_sim_world *w, uint32_t place, uint64_t after_ns)
{
    if (w->place[place].notice_pending)
        return;
    w->place[place].notice_pending = true;
    tr_sim_schedule(w, w->now_ns + after_ns, EVENT_NOTICE, place);
}

static void crash_place(struct tr_sim_world *w, uint32_t index)
{
    struct place *place = &w->place[index];
    struct tr_port *port = place->port;
    tr_sim_forget_messages(w, place);
    tr_sim_writes_abandon(w, port, true);
    tr_sim_rings_abandon(w, index, true);
    place->port = NULL;
    place->epoch++;
    w->counters.crashes++;
    if (tr_sim_chance(w, w->profile.notice_ppm))
        tr_sim_notice(w, index, tr_sim_draw_ns(w, &w->profile.notice_ns));
    else
        w->counters.silenced++;
}

void tr_sim_crash(struct tr_sim_world *w, tr_node_id id)
{
    for (uint32_t i = 0; i < w->place_count; i++) {
        struct place *place = &w->place[i];
        if (place->port != NULL && w->node[place->node].id == id)
            crash_place(w, i);
    }
}

bool tr_sim_port_is_live(const struct tr_port *port)
{
    const struct place *place = &port->world->place[port->place];
    return place->port == port && place->epoch == port->epoch &&
           !port->world->node[place->node].is_paused;
}

/* ---- the world itself ---- */

const struct tr_sim_counters *tr_sim_world_counters(const struct tr_sim_world *w)
{
    return &w->counters;
}

void tr_sim_set_profile(struct tr_sim_world *w, const struct tr_sim_profile *profile)
{
    w->profile = *profile;
}

static bool make_pools(struct tr_sim_world *w, uint32_t packets, uint32_t writes)
{
    const struct tr_memory *m = &w->memory;
    w->packet_stride =
        tr_align_up_u32((uint32_t)sizeof(struct packet) + w->datagram_bytes, TR_CACHE_LINE);
    /* A packet, a write and a place have at most one event each, a ring two. */
    w->heap_max = packets + writes + 2 * TR_SIM_RINGS_MAX + TR_SIM_PLACES_MAX;
    w->heap = m->allocate(m->context, w->heap_max * sizeof(*w->heap), TR_CACHE_LINE);
    w->packets = m->allocate(m->context, (size_t)packets * w->packet_stride, TR_CACHE_LINE);
    w->writes = m->allocate(m->context, writes * sizeof(*w->writes), TR_CACHE_LINE);
    if (w->heap == NULL || w->packets == NULL || w->writes == NULL)
        return false;
    w->packet_free = w->write_free = NONE;
    w->packets_left = packets;
    w->writes_left = writes;
    return true;
}

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value != 0 ? value : otherwise;
}

int tr_sim_world_create(const struct tr_sim_options *options, struct tr_sim_world **out)
{
    struct tr_sim_world *w;
    uint32_t datagram_bytes = or_default(options->profile.datagram_bytes, DATAGRAM_DEFAULT);
    uint32_t packets = or_default(options->datagrams_max, DATAGRAMS_DEFAULT);
    uint32_t writes = or_default(options->writes_max, WRITES_DEFAULT);
    if (options->struct_bytes != sizeof(*options) || options->memory.allocate == NULL ||
        datagram_bytes < DATAGRAM_MIN || datagram_bytes > DATAGRAM_MAX || packets > 1u << 20 ||
        writes > 1u << 20)
        return TR_EINVAL;
    w = options->memory.allocate(options->memory.context, sizeof(*w), TR_CACHE_LINE);
    if (w == NULL)
        return TR_ENOMEM;
    memset(w, 0, sizeof(*w));
    tr_prng_seed(&w->prng, options->seed);
    w->profile = options->profile;
    w->memory = options->memory;
    w->memory_is_zero = options->memory_is_zero;
    w->datagram_bytes = tr_align_down_u32(datagram_bytes, 8);
    w->queue_max = or_default(options->queue_max, QUEUE_DEFAULT);
    if (!make_pools(w, packets, writes))
        return TR_ENOMEM;
    *out = w;
    return TR_OK;
}

void tr_sim_world_destroy(struct tr_sim_world *w)
{
    for (uint32_t i = 0; i < w->place_count; i++)
        tr_assert(w->place[i].port == NULL);
}
