/* One-sided rings of the simulated network.
 *
 * A write is posted in parts, packets that each land at a time of their own, if the ring still
 * takes its generation then; and it completes at a time of its own, in the order of posting within
 * a remote. From the first completion of a remote that is not OK on, all behind it get the same:
 * the connection is broken. The invariant that the protocol leans on is kept by construction: a
 * write that was told OK has landed, or lands when the fence of its ring ends at the latest
 * (is_acked), and nothing lands in a ring whose generation is another. */
#include "base/atomic.h"
#include "base/crc32c.h"
#include "drivers/sim/inner.h"

/* What a token says. */
struct token {
    uint32_t magic, place;
    uint64_t epoch;
    uint64_t generation;
    uint32_t ring, writer;
    uint64_t zero[2];
};
tr_static_assert(sizeof(struct token) == TR_RING_TOKEN_BYTES, "a token is filled to its end");

/* ---- the owner's side ---- */

static bool ring_is_free(const struct ring *ring)
{
    return (ring->state == RING_UNUSED || ring->state == RING_DEAD) && ring->remotes == 0 &&
           ring->writes == NONE && !ring->fence_pending && !ring->consumed_pending;
}

/* A ring that nobody uses any more, or a new one; with memory of so many bytes. */
static int find_ring(struct tr_sim_world *w, uint32_t bytes, uint32_t *out)
{
    for (uint32_t i = 0; i < w->ring_count; i++) {
        if (ring_is_free(&w->ring[i]) && w->ring[i].bytes == bytes) {
            *out = i;
            return TR_OK;
        }
    }
    if (w->ring_count == TR_SIM_RINGS_MAX)
        return TR_EFULL;
    uint8_t *memory = w->memory.allocate(w->memory.context, bytes, TR_CACHE_LINE);
    if (memory == NULL)
        return TR_ENOMEM;
    if (!w->memory_is_zero)
        memset(memory, 0, bytes);
    w->ring[w->ring_count] =
        (struct ring){.memory = memory, .bytes = bytes, .writes = NONE, .stored_low = bytes};
    *out = w->ring_count++;
    return TR_OK;
}

/* Makes the memory zero: only what was stored into has to be. */
static void clear(struct ring *ring)
{
    if (ring->stored_low < ring->stored_high)
        memset(ring->memory + ring->stored_low, 0, ring->stored_high - ring->stored_low);
    ring->stored_low = ring->bytes;
    ring->stored_high = 0;
}

int tr_sim_ring_create(struct tr_port *port, const struct tr_ring_options *options,
                       struct tr_ring_info *out)
{
    struct tr_sim_world *w = port->world;
    uint32_t handle = 0;
    if (options->peer == 0 || !tr_is_power_of_two(options->bytes) || options->bytes % 4096 != 0)
        return TR_EINVAL;
    int error = find_ring(w, options->bytes, &handle);
    if (error != TR_OK)
        return error;
    struct ring *ring = &w->ring[handle];
    ring->state = RING_CLOSED;
    ring->place = port->place;
    ring->epoch = port->epoch;
    ring->writer = options->peer;
    ring->generation = 0;
    clear(ring);
    out->ring = handle;
    out->bytes = ring->bytes;
    out->memory = ring->memory;
    return TR_OK;
}

static struct ring *local_ring(struct tr_port *port, uint32_t handle)
{
    tr_assert(handle < port->world->ring_count);
    struct ring *ring = &port->world->ring[handle];
    tr_assert(ring->place == port->place && ring->epoch == port->epoch);
    return ring;
}

int tr_sim_ring_grant(struct tr_port *port, uint32_t handle, uint64_t generation,
                      struct tr_ring_token *out)
{
    struct tr_sim_world *w = port->world;
    struct ring *ring = local_ring(port, handle);
    tr_assert(generation != 0 && (ring->state == RING_CLOSED || !tr_sim_port_is_live(port)));
    clear(ring);
    if (ring->state == RING_CLOSED) {
        ring->state = RING_OPEN;
        ring->generation = generation;
        ring->consumed = 0;
        ring->consumed_seen = 0;
        w->counters.grants++;
    }
    struct token token = {.magic = TOKEN_MAGIC,
                          .place = port->place,
                          .epoch = ring->epoch,
                          .generation = generation,
                          .ring = handle,
                          .writer = ring->writer};
    memcpy(out->bytes, &token, sizeof(token));
    return TR_OK;
}

int tr_sim_fence_start(struct tr_port *port, uint32_t handle)
{
    struct tr_sim_world *w = port->world;
    struct ring *ring = local_ring(port, handle);
    if (ring->state != RING_OPEN)
        return tr_sim_fence_poll(port, handle);
    ring->state = RING_CLOSING;
    ring->fence_pending = true;
    tr_sim_schedule(w, w->now_ns + tr_max_u64(tr_sim_draw_ns(w, &w->profile.fence_ns), 1),
                    EVENT_FENCE, handle);
    return TR_AGAIN;
}

int tr_sim_fence_poll(struct tr_port *port, uint32_t handle)
{
    return local_ring(port, handle)->state == RING_CLOSED ? TR_OK : TR_AGAIN;
}

void tr_sim_ring_consumed(struct tr_port *port, uint32_t handle, uint64_t position)
{
    struct tr_sim_world *w = port->world;
    struct ring *ring = local_ring(port, handle);
    ring->consumed = position;
    if (ring->consumed_pending)
        return;
    ring->consumed_pending = true;
    tr_sim_schedule(w, w->now_ns + tr_sim_draw_ns(w, &w->profile.write_ns), EVENT_CONSUMED, handle);
}

/* The place of a ring's writer, as far as its owner knows it: NONE if it has no such peer. */
static uint32_t writer_place(const struct tr_sim_world *w, const struct ring *ring)
{
    const struct tr_port *port = w->place[ring->place].port;
    for (uint32_t i = 0; port != NULL && i < port->peers_max; i++) {
        if (port->peer[i].id == ring->writer)
            return port->peer[i].place;
    }
    return NONE;
}

void tr_sim_consumed_arrives(struct tr_sim_world *w, uint32_t handle)
{
    struct ring *ring = &w->ring[handle];
    uint32_t to = writer_place(w, ring);
    if (to != NONE && tr_sim_is_blocked(w, ring->place, to)) { /* asked for again, later */
        tr_sim_schedule(w, w->now_ns + tr_max_u64(w->profile.write_timeout_ns, 1000),
                        EVENT_CONSUMED, handle);
        return;
    }
    ring->consumed_pending = false;
    ring->consumed_seen = ring->consumed;
    if (to != NONE)
        tr_sim_news(w, to);
}

/* ---- parts and writes ---- */

static bool ring_takes(const struct ring *ring, uint64_t generation)
{
    return ring->generation == generation &&
           (ring->state == RING_OPEN || ring->state == RING_CLOSING || ring->state == RING_ORPHAN);
}

static void store(struct ring *ring, uint32_t offset, const void *data, uint32_t bytes)
{
    memcpy(ring->memory + offset, data, bytes);
    ring->stored_low = tr_min_u32(ring->stored_low, offset);
    ring->stored_high = tr_max_u32(ring->stored_high, offset + bytes);
}

static void land(struct tr_sim_world *w, struct write *write, struct packet *part)
{
    struct ring *ring = &w->ring[write->ring];
    if (part->is_landed)
        return;
    part->is_landed = true;
    write->parts_left--;
    if (!ring_takes(ring, write->generation)) {
        write->parts_lost++;
        return;
    }
    store(ring, part->offset, part->data, part->bytes);
    w->counters.writes_landed += write->parts_left == 0 && write->parts_lost == 0;
    tr_sim_news(w, ring->place);
}

bool tr_sim_scribble(struct tr_port *port, uint32_t handle, uint32_t offset, const void *data,
                     uint32_t bytes)
{
    struct ring *ring = local_ring(port, handle);
    if (ring->state != RING_OPEN || ring->writes != NONE || offset > ring->bytes ||
        bytes > ring->bytes - offset)
        return false;
    store(ring, offset, data, bytes);
    port->world->counters.scribbles++;
    tr_sim_news(port->world, port->place);
    return true;
}

static void lose(struct write *write, struct packet *part)
{
    if (part->is_landed)
        return;
    part->is_landed = true;
    write->parts_left--;
    write->parts_lost++;
}

/* Takes a part out of its write's list. */
static void unlink_part(struct tr_sim_world *w, struct write *write, uint32_t index)
{
    uint32_t *link = &write->parts;
    while (*link != index)
        link = &tr_sim_packet(w, *link)->next;
    *link = tr_sim_packet(w, index)->next;
}

/* Frees a write that has landed or is lost, and has been told; counts what it came to. */
static void finish(struct tr_sim_world *w, struct write *write)
{
    uint32_t index = (uint32_t)(write - w->writes);
    struct ring *ring = &w->ring[write->ring];
    if (write->parts != NONE || !write->is_completed)
        return;
    if (write->plan == WRITE_LOST && write->parts_lost == 0)
        w->counters.writes_lost++;
    if (ring->state == RING_ORPHAN && write->parts_lost == 0)
        w->counters.writes_orphaned++;
    if (write->next != NONE)
        w->writes[write->next].previous = write->previous;
    if (write->previous != NONE)
        w->writes[write->previous].next = write->next;
    else
        ring->writes = write->next;
    write->next = w->write_free;
    w->write_free = index;
    w->writes_left++;
}

void tr_sim_part_lands(struct tr_sim_world *w, uint32_t index)
{
    struct packet *part = tr_sim_packet(w, index);
    struct write *write = &w->writes[part->write];
    land(w, write, part);
    unlink_part(w, write, index);
    tr_sim_packet_give(w, index);
    finish(w, write);
}

/* The ring is quiescent: what was told OK is in it, and the rest stays out. */
void tr_sim_fence_ends(struct tr_sim_world *w, uint32_t handle)
{
    struct ring *ring = &w->ring[handle];
    ring->fence_pending = false;
    if (ring->state != RING_CLOSING)
        return; /* its owner died meanwhile */
    for (uint32_t i = ring->writes; i != NONE; i = w->writes[i].next) {
        struct write *write = &w->writes[i];
        w->counters.writes_forced += write->is_acked && write->parts_left > 0;
        w->counters.writes_cut_short += !write->is_acked && write->parts_left > 0 &&
                                        write->parts_lost == 0 && write->parts != NONE;
        for (uint32_t p = write->parts; p != NONE; p = tr_sim_packet(w, p)->next) {
            if (write->is_acked)
                land(w, write, tr_sim_packet(w, p));
            else
                lose(write, tr_sim_packet(w, p));
        }
    }
    ring->state = RING_CLOSED;
    ring->generation = 0;
    tr_sim_news(w, ring->place);
    w->counters.fences++;
}

/* ---- the writer's side ---- */

static struct peer *find_peer(const struct tr_port *port, tr_node_id id)
{
    for (uint32_t i = 0; i < port->peers_max; i++) {
        if (port->peer[i].id == id)
            return &port->peer[i];
    }
    return NULL;
}

/* Holds a token against the ring that it names. */
static int check_token(const struct tr_port *port, const struct peer *peer,
                       const struct token *token, uint64_t generation)
{
    const struct tr_sim_world *w = port->world;
    const struct place *place = &w->place[peer->place];
    if (token->magic != TOKEN_MAGIC || token->ring >= w->ring_count ||
        token->place != peer->place || token->writer != port->self ||
        token->generation != generation || generation == 0 || token->epoch > place->epoch)
        return TR_EINVAL;
    const struct ring *ring = &w->ring[token->ring];
    if (token->epoch != place->epoch || ring->epoch != token->epoch ||
        ring->place != token->place || ring->state != RING_OPEN || ring->generation != generation ||
        ring->writer != port->self)
        return TR_ENOENT;
    return TR_OK;
}

int tr_sim_remote_open(struct tr_port *port, tr_node_id id, const struct tr_ring_token *opaque,
                       uint64_t generation, uint32_t *remote)
{
    struct tr_sim_world *w = port->world;
    struct peer *peer = id != 0 ? find_peer(port, id) : NULL;
    struct token token;
    uint32_t i = 0;
    memcpy(&token, opaque->bytes, sizeof(token));
    if (peer == NULL)
        return TR_EINVAL;
    while (i < REMOTES_MAX && port->remote[i].ring != NONE)
        i++;
    if (i == REMOTES_MAX)
        return TR_EFULL;
    int error = check_token(port, peer, &token, generation);
    if (error != TR_OK)
        return error;
    if (!tr_sim_port_is_live(port) || tr_sim_is_blocked(w, port->place, peer->place) ||
        tr_sim_is_blocked(w, peer->place, port->place))
        return TR_AGAIN;
    w->ring[token.ring].remotes++;
    port->remote[i] = (struct remote){.ring = token.ring,
                                      .peer = peer,
                                      .peer_id = id,
                                      .generation = generation,
                                      .first = NONE,
                                      .last = NONE};
    *remote = i;
    return TR_OK;
}

static struct remote *open_remote(struct tr_port *port, uint32_t handle)
{
    tr_assert(handle < REMOTES_MAX && port->remote[handle].ring != NONE);
    return &port->remote[handle];
}

/* Takes the completions of a remote that were not polled back. */
static void forget_completions(struct tr_port *port, uint32_t handle)
{
    uint64_t kept = port->completion_head;
    for (uint64_t i = port->completion_head; i != port->completion_tail; i++) {
        const struct tr_write_completion *done = &port->completion[i & port->completion_mask];
        struct peer *peer = port->remote[handle].peer;
        if (done->remote != handle)
            port->completion[kept++ & port->completion_mask] = *done;
        else if (peer->id == done->peer && peer->writes_open > 0)
            peer->writes_open--;
    }
    port->completion_tail = kept;
}

/* Like the reset of a queue pair: what is under way may land, and completes to nobody. */
void tr_sim_remote_close(struct tr_port *port, uint32_t handle)
{
    struct tr_sim_world *w = port->world;
    struct remote *remote = open_remote(port, handle);
    for (uint32_t i = remote->first; i != NONE;) {
        struct write *write = &w->writes[i];
        i = write->next_of_remote;
        write->from = NONE;
        if (remote->peer->id == remote->peer_id && remote->peer->writes_open > 0)
            remote->peer->writes_open--;
    }
    forget_completions(port, handle);
    w->ring[remote->ring].remotes--;
    remote->ring = NONE;
}

uint64_t tr_sim_remote_consumed(struct tr_port *port, uint32_t handle)
{
    const struct remote *remote = open_remote(port, handle);
    const struct ring *ring = &port->world->ring[remote->ring];
    return ring->generation == remote->generation ? ring->consumed_seen : 0;
}

static uint32_t checksum_of(const struct tr_segment *segment, uint32_t segment_count)
{
    uint32_t crc = 0;
    for (uint32_t i = 0; i < segment_count; i++)
        crc = tr_crc32c(crc, segment[i].data, segment[i].bytes);
    return crc;
}

/* Draws what becomes of a write. */
static enum write_plan draw_plan(struct tr_sim_world *w)
{
    if (tr_sim_chance(w, w->profile.write_broken_ppm))
        return WRITE_BREAKS;
    if (tr_sim_chance(w, w->profile.write_lost_ppm))
        return WRITE_LOST;
    if (tr_sim_chance(w, w->profile.write_early_ppm))
        return WRITE_EARLY;
    return WRITE_LANDS;
}

/* Bytes of each part but the last. */
static uint32_t part_bytes(struct tr_sim_world *w, uint32_t bytes, bool is_torn)
{
    uint32_t most = tr_align_down_u32(w->datagram_bytes, 8);
    if (!is_torn)
        return most;
    return tr_max_u32(8, tr_min_u32(most, tr_align_down_u32(bytes / WRITE_PARTS_MIN, 8)));
}

/* Makes the parts of a write, and lets each land from base_ns on. Returns: when the last one does.
 */
static uint64_t launch_parts(struct tr_sim_world *w, uint32_t index, uint32_t offset,
                             uint32_t bytes, uint64_t base_ns, bool is_torn)
{
    struct write *write = &w->writes[index];
    struct tr_gather_cursor gather = {.segment = write->segment};
    uint32_t step = part_bytes(w, bytes, is_torn);
    uint64_t last_ns = base_ns;
    for (uint32_t done = 0; done < bytes; done += step) {
        uint32_t at = tr_sim_packet_take(w);
        struct packet *part = tr_sim_packet(w, at);
        uint64_t lands_ns = base_ns;
        if (is_torn)
            lands_ns += tr_sim_draw_ns(w, &w->profile.write_spread_ns);
        part->bytes = tr_min_u32(step, bytes - done);
        part->offset = offset + done;
        part->write = index;
        part->is_landed = false;
        part->next = write->parts;
        write->parts = at;
        write->parts_left++;
        tr_gather_next(&gather, part->data, part->bytes);
        last_ns = tr_max_u64(last_ns, lands_ns);
        tr_sim_schedule(w, lands_ns, EVENT_PART, at);
    }
    return last_ns;
}

/* Loses each part by a coin, or all. */
static void lose_parts(struct tr_sim_world *w, struct write *write, bool all)
{
    for (uint32_t p = write->parts; p != NONE; p = tr_sim_packet(w, p)->next) {
        if (all || tr_sim_below(w, 2) == 0)
            lose(write, tr_sim_packet(w, p));
    }
}

/* Puts a write onto its ring's and its remote's lists. */
static uint32_t take_write(struct tr_port *port, uint32_t handle, uint64_t cookie,
                           const struct tr_segment *segment, uint32_t segment_count)
{
    struct tr_sim_world *w = port->world;
    struct remote *remote = &port->remote[handle];
    struct ring *ring = &w->ring[remote->ring];
    uint32_t index = tr_sim_write_take(w);
    struct write *write = &w->writes[index];
    *write = (struct write){.next = ring->writes,
                            .previous = NONE,
                            .next_of_remote = NONE,
                            .ring = remote->ring,
                            .parts = NONE,
                            .from = port->place,
                            .from_epoch = port->epoch,
                            .remote = handle,
                            .generation = remote->generation,
                            .cookie = cookie,
                            .checksum = checksum_of(segment, segment_count),
                            .segment_count = segment_count};
    memcpy(write->segment, segment, segment_count * sizeof(*segment));
    if (ring->writes != NONE)
        w->writes[ring->writes].previous = index;
    ring->writes = index;
    if (remote->first == NONE)
        remote->first = index;
    else
        w->writes[remote->last].next_of_remote = index;
    remote->last = index;
    return index;
}

/* Lets a posted write go its way. Returns: when its completion is due. */
static uint64_t launch_write(struct tr_port *port, struct remote *remote, uint32_t index,
                             uint32_t offset, uint32_t bytes)
{
    struct tr_sim_world *w = port->world;
    const struct tr_sim_profile *profile = &w->profile;
    struct write *write = &w->writes[index];
    bool is_torn = bytes > 8 && tr_sim_chance(w, profile->write_torn_ppm);
    uint64_t way_ns = tr_sim_draw_ns(w, &profile->write_ns);
    uint64_t back_ns = tr_sim_draw_ns(w, &profile->write_ns);
    uint64_t base_ns = w->now_ns + way_ns, last_ns;
    write->plan = draw_plan(w);
    if (tr_sim_is_blocked(w, port->place, remote->peer->place)) {
        write->plan = WRITE_BREAKS;
        write->parts_lost = 1;
        w->counters.writes_blocked++;
        return w->now_ns + profile->write_timeout_ns;
    }
    w->counters.writes_torn += is_torn;
    w->counters.writes_early += write->plan == WRITE_EARLY;
    if (write->plan == WRITE_EARLY || write->plan == WRITE_LOST)
        base_ns += tr_sim_draw_ns(w, &profile->write_late_ns);
    else if (tr_sim_chance(w, profile->write_reorder_ppm) && base_ns < remote->landing_ns)
        w->counters.writes_overtook++;
    else
        base_ns = remote->landing_ns = tr_max_u64(base_ns, remote->landing_ns);
    last_ns = launch_parts(w, index, offset, bytes, base_ns, is_torn);
    switch (write->plan) {
    case WRITE_LANDS:
        return last_ns + back_ns;
    case WRITE_EARLY:
        return w->now_ns + way_ns + back_ns;
    case WRITE_LOST:
        return w->now_ns + profile->write_timeout_ns;
    case WRITE_BREAKS:
        lose_parts(w, write, tr_sim_below(w, 2) == 0);
        w->counters.writes_cut_short += write->parts_left > 0 && write->parts_lost > 0;
        return last_ns + back_ns;
    }
    tr_unreachable();
}

/* Whether a write lies over what the ring's reader may not have taken yet, as far as its writer has
 * heard; ring positions only grow, lap after lap. */
static bool overruns(struct remote *remote, const struct ring *ring, uint32_t offset,
                     uint32_t bytes)
{
    uint64_t position = remote->written - remote->written % ring->bytes + offset;
    if (position < remote->written)
        position += ring->bytes;
    remote->written = position + bytes;
    return remote->written > ring->consumed_seen + ring->bytes;
}

int tr_sim_write_post(struct tr_port *port, uint32_t handle, uint32_t offset,
                      const struct tr_segment *segment, uint32_t segment_count, uint64_t cookie)
{
    struct tr_sim_world *w = port->world;
    struct remote *remote = open_remote(port, handle);
    uint32_t bytes = tr_gather_bytes(segment, segment_count);
    const struct ring *ring = &w->ring[remote->ring];
    uint64_t due_ns = w->now_ns;
    tr_assert(offset % 8 == 0 && bytes % 8 == 0 && bytes > 0 && bytes <= WRITE_BYTES_MAX &&
              offset <= ring->bytes && bytes <= ring->bytes - offset);
    if (!tr_sim_port_is_live(port) || remote->peer->writes_open == WRITES_MAX ||
        w->writes_left == 0 || w->packets_left < bytes / w->datagram_bytes + 2 * WRITE_PARTS_MIN)
        return TR_AGAIN;
    uint32_t index = take_write(port, handle, cookie, segment, segment_count);
    w->counters.writes++;
    w->counters.writes_overran +=
        ring->generation == remote->generation && overruns(remote, ring, offset, bytes);
    port->stats.writes++;
    port->stats.write_bytes += bytes;
    remote->peer->writes_open++;
    if (remote->failed == 0)
        due_ns = launch_write(port, remote, index, offset, bytes);
    else
        w->writes[index].plan = WRITE_BREAKS; /* flushed: nothing is sent any more */
    tr_sim_schedule(w, due_ns, EVENT_COMPLETION, index);
    return TR_OK;
}

/* What a write that is due came to. */
static enum tr_write_status judge(struct tr_sim_world *w, struct write *write)
{
    const struct ring *ring = &w->ring[write->ring];
    if (write->plan == WRITE_BREAKS || write->plan == WRITE_LOST)
        return TR_WRITE_BROKEN;
    if (write->parts_lost > 0)
        return ring->state == RING_DEAD ? TR_WRITE_BROKEN : TR_WRITE_REFUSED;
    if (write->parts_left == 0)
        return TR_WRITE_OK;
    /* Early: a promise, which only a ring that is still open can make. */
    write->is_acked = ring->generation == write->generation &&
                      (ring->state == RING_OPEN || ring->state == RING_ORPHAN);
    return write->is_acked ? TR_WRITE_OK : TR_WRITE_REFUSED;
}

/* Puts a completion where its port's next write_poll finds it. */
static void tell(struct tr_port *port, struct write *write, enum tr_write_status status)
{
    struct tr_sim_world *w = port->world;
    struct remote *remote = &port->remote[write->remote];
    struct tr_write_completion *done;
    if (status != TR_WRITE_OK)
        remote->failed = status;
    w->counters.writes_ok += status == TR_WRITE_OK;
    w->counters.writes_refused += status == TR_WRITE_REFUSED;
    w->counters.writes_broken += status == TR_WRITE_BROKEN;
    w->counters.sources_changed +=
        checksum_of(write->segment, write->segment_count) != write->checksum;
    port->stats.writes_refused += status == TR_WRITE_REFUSED;
    port->stats.writes_broken += status == TR_WRITE_BROKEN;
    tr_sim_news(w, port->place);
    done = &port->completion[port->completion_tail++ & port->completion_mask];
    done->peer = remote->peer_id;
    done->remote = write->remote;
    done->generation = write->generation;
    done->cookie = write->cookie;
    done->status = status;
}

void tr_sim_write_completes(struct tr_sim_world *w, uint32_t index)
{
    struct write *write = &w->writes[index];
    struct tr_port *port = write->from != NONE ? w->place[write->from].port : NULL;
    struct remote *remote;
    if (port == NULL || port->epoch != write->from_epoch) { /* nobody is left to tell */
        write->is_completed = true;
        finish(w, write);
        return;
    }
    if (write->plan != WRITE_BREAKS && write->plan != WRITE_LOST &&
        tr_sim_is_blocked(w, w->ring[write->ring].place, write->from)) {
        write->plan = WRITE_LOST; /* the answer does not get through */
        tr_sim_schedule(w, w->now_ns + w->profile.write_timeout_ns, EVENT_COMPLETION, index);
        return;
    }
    write->is_due = true;
    remote = &port->remote[write->remote];
    while (remote->first != NONE && w->writes[remote->first].is_due) {
        struct write *first = &w->writes[remote->first];
        remote->first = first->next_of_remote;
        tell(port, first, remote->failed != 0 ? remote->failed : judge(w, first));
        first->is_completed = true;
        finish(w, first);
    }
}

uint32_t tr_sim_write_poll(struct tr_port *port, struct tr_write_completion *out, uint32_t max)
{
    uint32_t count = 0;
    if (!tr_sim_port_is_live(port))
        return 0;
    for (; count < max && port->completion_head != port->completion_tail; count++) {
        out[count] = port->completion[port->completion_head++ & port->completion_mask];
        struct peer *peer = find_peer(port, out[count].peer);
        if (peer != NULL && peer->writes_open > 0) /* it may have been removed and added again */
            peer->writes_open--;
    }
    return count;
}

/* ---- what crashes and closes leave ---- */

void tr_sim_rings_abandon(struct tr_sim_world *w, uint32_t place, bool orphans)
{
    for (uint32_t i = 0; i < w->ring_count; i++) {
        struct ring *ring = &w->ring[i];
        if (ring->place != place || ring->state == RING_UNUSED || ring->state == RING_DEAD)
            continue;
        bool stays = orphans && ring->state == RING_OPEN && tr_sim_chance(w, w->profile.orphan_ppm);
        ring->state = stays ? RING_ORPHAN : RING_DEAD;
        w->counters.orphans += stays;
    }
}

void tr_sim_writes_abandon(struct tr_sim_world *w, struct tr_port *port, bool halves)
{
    for (uint32_t i = 0; i < w->ring_count; i++) {
        for (uint32_t k = w->ring[i].writes; k != NONE; k = w->writes[k].next) {
            struct write *write = &w->writes[k];
            if (write->from != port->place || write->from_epoch != port->epoch)
                continue;
            if (halves && !write->is_acked)
                lose_parts(w, write, false);
            write->from = NONE;
        }
    }
    for (uint32_t i = 0; i < REMOTES_MAX; i++) {
        if (port->remote[i].ring != NONE)
            w->ring[port->remote[i].ring].remotes--;
        port->remote[i].ring = NONE;
    }
}
