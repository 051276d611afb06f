/* One-sided rings of the shm driver: both ends. */
#include "drivers/fence.h"
#include "drivers/gather.h"
#include "drivers/shm/inner.h"

#include <string.h>
#include <trireme/error.h>

#define TOKEN_MAGIC 0x6d687374u

/* What a token says. */
struct token {
    uint32_t magic, ring;
    uint64_t incarnation; /* of the segment */
    uint64_t generation;
    uint64_t zero[3];
};
tr_static_assert(sizeof(struct token) == TR_RING_TOKEN_BYTES, "a token is filled to its end");

/* The owner's end. */

static struct tr_shm_ring *own_ring(struct tr_port *port, uint32_t ring)
{
    tr_assert(ring < port->segment.ring_made);
    return tr_shm_ring_of(&port->segment, ring);
}

int tr_shm_ring_create(struct tr_port *port, const struct tr_ring_options *options,
                       struct tr_ring_info *out)
{
    struct tr_shm_segment *segment = &port->segment;
    uint32_t index = segment->ring_made;
    uint64_t offset = port->rings_end;
    if (options->peer == 0 || !tr_is_power_of_two(options->bytes) ||
        options->bytes % TR_SHM_PAGE_BYTES != 0)
        return TR_EINVAL;
    if (index == segment->shape.ring_count ||
        !tr_shm_ring_ok(segment->at.ring_data, offset, options->bytes))
        return TR_EFULL;
    struct tr_shm_ring *ring = tr_shm_ring_of(segment, index);
    if (tr_shm_segment_reserve(segment, (uint64_t)((unsigned char *)ring - segment->base),
                               sizeof(*ring)) != TR_OK ||
        tr_shm_segment_extend(segment, offset, options->bytes) != TR_OK)
        return TR_ENOMEM;
    unsigned char *memory = tr_shm_segment_map(segment, offset, options->bytes);
    if (memory == NULL)
        return TR_ENOMEM;
    port->ring[index] = (struct tr_shm_own_ring){memory, options->bytes, false};
    ring->offset = offset;
    ring->bytes = options->bytes;
    ring->writer = options->peer;
    tr_store_relaxed(&ring->fence, UINT64_C(0));
    /* Before the ring can be granted, a successor knows that it has to fence it. */
    segment->ring_made = index + 1;
    tr_store_release(&tr_shm_identity_of(segment)->ring_made, index + 1); /* meets fence_for_ever */
    port->rings_end = offset + options->bytes;
    out->ring = index;
    out->bytes = options->bytes;
    out->memory = memory;
    return TR_OK;
}

int tr_shm_ring_grant(struct tr_port *port, uint32_t index, uint64_t generation,
                      struct tr_ring_token *out)
{
    struct tr_shm_ring *ring = own_ring(port, index);
    unsigned char *memory = port->ring[index].memory;
    static const uint64_t zero = 0;
    tr_assert(generation != 0 && !port->ring[index].is_granted);
    for (uint32_t at = 0; at < port->ring[index].bytes;
         at += 8) /* a fenced writer may be storing: by words */
        tr_write_relaxed_8(memory + at, &zero, 8);
    tr_store_relaxed(&ring->consumed, UINT64_C(0));
    port->ring[index].is_granted = true;
    tr_fence_word_open(&ring->fence, generation);
    struct token token = {.magic = TOKEN_MAGIC,
                          .ring = index,
                          .incarnation = port->segment.incarnation,
                          .generation = generation};
    memcpy(out->bytes, &token, sizeof(token));
    return TR_OK;
}

int tr_shm_fence_start(struct tr_port *port, uint32_t ring)
{
    tr_fence_word_close(&own_ring(port, ring)->fence); /* (D), meets tr_shm_judge */
    port->ring[ring].is_granted = false;
    return TR_OK;
}

int tr_shm_fence_poll(struct tr_port *port, uint32_t ring)
{
    tr_assert(ring < port->segment.ring_made);
    return port->ring[ring].is_granted ? TR_AGAIN : TR_OK;
}

void tr_shm_ring_consumed(struct tr_port *port, uint32_t ring, uint64_t position)
{
    tr_store_release(&own_ring(port, ring)->consumed, position);
}

/* The writer's end. */

int tr_shm_ring_map(struct tr_port *port, uint32_t peer_index, uint32_t index,
                    struct tr_shm_ring_map *out)
{
    const struct tr_shm_segment *segment = &port->peer[peer_index].segment;
    struct tr_shm_ring *ring = tr_shm_ring_of(segment, index);
    uint32_t free = port->map_count;
    for (uint32_t i = 0; i < port->map_count; i++) {
        struct tr_shm_ring_map *map = &port->map[i];
        if (map->memory == NULL)
            free = i;
        else if (map->peer == peer_index && map->ring == index) {
            *out = *map;
            return TR_OK;
        }
    }
    if (free == port->remotes_max)
        return TR_EFULL;
    uint64_t offset = tr_load_relaxed(&ring->offset);
    uint32_t bytes = tr_load_relaxed(&ring->bytes);
    if (tr_load_relaxed(&ring->writer) != port->self ||
        !tr_shm_ring_ok(segment->at.ring_data, offset, bytes))
        return TR_EINVAL;
    unsigned char *memory = tr_shm_segment_map(segment, offset, bytes);
    if (memory == NULL)
        return TR_EINVAL;
    *out = (struct tr_shm_ring_map){memory, bytes, peer_index, index};
    port->map[free] = *out;
    port->map_count = free < port->map_count ? port->map_count : free + 1;
    return TR_OK;
}

/* Holds a token against the peer's segment, and what the segment says of the ring against what can
 * be.
 */
static int check_token(struct tr_port *port, const struct token *token, uint64_t generation,
                       struct tr_shm_remote *out)
{
    const struct tr_shm_segment *segment = &port->peer[out->peer].segment;
    if (token->magic != TOKEN_MAGIC || token->incarnation == 0 || generation == 0 ||
        token->generation != generation || (token->zero[0] | token->zero[1] | token->zero[2]) != 0)
        return TR_EINVAL;
    if (segment->base == NULL)
        return TR_AGAIN;
    if (token->incarnation != segment->incarnation)
        return tr_shm_segment_lives(segment) ? TR_ENOENT : TR_AGAIN; /* older, or newer than ours */
    if (token->ring >= tr_min_u32(segment->shape.ring_count,
                                  tr_load_acquire(&tr_shm_identity_of(segment)->ring_made)))
        return TR_EINVAL;
    struct tr_shm_ring *ring = tr_shm_ring_of(segment, token->ring);
    if (tr_load_acquire(&ring->fence) != generation)
        return TR_ENOENT;
    struct tr_shm_ring_map map;
    int error = tr_shm_ring_map(port, out->peer, token->ring, &map);
    if (error != TR_OK)
        return error;
    out->memory = map.memory;
    out->bytes = map.bytes;
    out->fence = &ring->fence;
    out->consumed = &ring->consumed;
    out->generation = generation;
    return TR_OK;
}

int tr_shm_remote_open(struct tr_port *port, tr_node_id id, const struct tr_ring_token *opaque,
                       uint64_t generation, uint32_t *remote)
{
    uint32_t index = tr_shm_peer_find(port, id);
    struct tr_shm_remote found = {.peer = index};
    struct token token;
    uint32_t free = 0;
    if (index == UINT32_MAX)
        return TR_EINVAL;
    while (free < port->remote_count && port->remote[free].generation != 0)
        free++;
    if (free == port->remotes_max)
        return TR_EFULL;
    memcpy(&token, opaque->bytes, sizeof(token));
    int error = check_token(port, &token, generation, &found);
    if (error != TR_OK)
        return error;
    port->remote_count = free < port->remote_count ? port->remote_count : free + 1;
    port->remote[free] = found;
    *remote = free;
    return TR_OK;
}

void tr_shm_remote_close(struct tr_port *port, uint32_t remote)
{
    static const struct tr_shm_remote closed;
    tr_assert(remote < port->remotes_max);
    tr_shm_judge(port); /* what was posted through it */
    port->remote[remote] = closed;
}

int tr_shm_write_post(struct tr_port *port, uint32_t handle, uint32_t offset,
                      const struct tr_segment *segment, uint32_t segment_count, uint64_t cookie)
{
    tr_assert(handle < port->remotes_max && port->remote[handle].generation != 0);
    struct tr_shm_remote *remote = &port->remote[handle];
    struct tr_shm_peer *peer = &port->peer[remote->peer];
    uint32_t bytes = tr_gather_bytes(segment, segment_count);
    if (tr_unlikely(peer->writes_open == TR_SHM_WRITES_MAX))
        return TR_AGAIN;
    struct tr_shm_write *write = &port->write[port->write_posted & port->write_mask];
    write->status = 0;
    if (tr_likely(remote->memory != NULL)) {
        tr_assert(offset % 8 == 0 && bytes % 8 == 0 && offset <= remote->bytes &&
                  bytes <= remote->bytes - offset);
        tr_gather_write_relaxed_8(remote->memory + offset, segment, segment_count); /* (D) */
        tr_shm_ask_ahead(remote->memory + offset + bytes, bytes);
    } else {
        write->status = TR_WRITE_BROKEN;
        port->stats.writes_broken++;
    }
    write->cookie = cookie;
    write->generation = remote->generation;
    write->remote = handle;
    write->peer = peer->id;
    write->peer_index = (uint16_t)remote->peer;
    peer->writes_open++;
    port->write_posted++;
    port->stats.writes++;
    port->stats.write_bytes += bytes;
    return TR_OK;
}

void tr_shm_judge(struct tr_port *port)
{
    if (port->write_judged == port->write_posted)
        return;
    tr_fence_word_settle(); /* (D), meets tr_shm_fence_start: one for all that was posted */
    for (; port->write_judged != port->write_posted; port->write_judged++) {
        struct tr_shm_write *write = &port->write[port->write_judged & port->write_mask];
        if (write->status != 0)
            continue;
        bool counts = tr_fence_word_counts(port->remote[write->remote].fence, write->generation);
        write->status = counts ? TR_WRITE_OK : TR_WRITE_REFUSED;
        port->stats.writes_refused += !counts;
    }
}

uint32_t tr_shm_write_poll(struct tr_port *port, struct tr_write_completion *out, uint32_t max)
{
    uint32_t count = 0;
    tr_shm_judge(port);
    for (; count < max && port->write_polled != port->write_judged; count++) {
        const struct tr_shm_write *write = &port->write[port->write_polled++ & port->write_mask];
        out[count].peer = write->peer;
        out[count].remote = write->remote;
        out[count].generation = write->generation;
        out[count].cookie = write->cookie;
        out[count].status = (enum tr_write_status)write->status;
        struct tr_shm_peer *peer = &port->peer[write->peer_index];
        if (peer->writes_open > 0) /* another may have its place by now */
            peer->writes_open--;
    }
    return count;
}

uint64_t tr_shm_remote_consumed(struct tr_port *port, uint32_t handle)
{
    tr_assert(handle < port->remotes_max && port->remote[handle].generation != 0);
    const struct tr_shm_remote *remote = &port->remote[handle];
    return remote->memory != NULL ? tr_load_acquire(remote->consumed) : 0;
}

void tr_shm_remotes_break(struct tr_port *port, uint32_t peer_index)
{
    tr_shm_judge(port);
    for (uint32_t i = 0; i < port->remote_count; i++) {
        struct tr_shm_remote *remote = &port->remote[i];
        if (remote->generation != 0 && remote->peer == peer_index)
            remote->memory = NULL;
    }
    for (uint32_t i = 0; i < port->map_count; i++) {
        struct tr_shm_ring_map *map = &port->map[i];
        if (map->memory != NULL && map->peer == peer_index) {
            tr_shm_segment_unmap(map->memory, map->bytes);
            map->memory = NULL;
        }
    }
}

void tr_shm_rings_unmap(struct tr_port *port)
{
    for (uint32_t i = 0; i < port->map_count; i++)
        tr_assert(port->map[i].memory == NULL); /* every peer was detached */
    for (uint32_t i = 0; i < port->remotes_max; i++) {
        if (port->ring[i].memory != NULL)
            tr_shm_segment_unmap(port->ring[i].memory, port->ring[i].bytes);
    }
}
