/* One-sided rings of the loop driver. */
#include "drivers/loop/inner.h"

static struct ring *local_ring(struct tr_port *port, uint32_t handle)
{
    tr_assert(handle < TR_LOOP_RINGS_MAX);
    struct ring *ring = port->fabric->ring[handle];
    tr_assert(ring != NULL && ring->place == port->place_index &&
              ring->epoch == port->place->epoch);
    return ring;
}

/* An index whose ring nobody uses, or the first free one; with a ring of these bytes. Under the
 * lock. */
static int find_ring(struct tr_loop_fabric *fabric, uint32_t bytes, uint32_t *out)
{
    for (uint32_t i = 0; i < fabric->ring_count; i++) {
        if (fabric->ring[i]->users == 0 && fabric->ring[i]->bytes == bytes) {
            *out = i;
            return TR_OK;
        }
    }
    if (fabric->ring_count == TR_LOOP_RINGS_MAX)
        return TR_EFULL;
    struct ring *ring = tr_loop_take_zeroed(&fabric->memory, sizeof(*ring));
    unsigned char *memory = tr_loop_take(&fabric->memory, bytes);
    if (ring == NULL || memory == NULL)
        return TR_ENOMEM;
    ring->memory = memory;
    ring->bytes = bytes;
    *out = fabric->ring_count;
    fabric->ring[fabric->ring_count++] = ring;
    return TR_OK;
}

int tr_loop_ring_create(struct tr_port *port, const struct tr_ring_options *options,
                        struct tr_ring_info *out)
{
    struct tr_loop_fabric *fabric = port->fabric;
    uint32_t handle = 0;
    if (options->peer == 0 || !tr_is_power_of_two(options->bytes) || options->bytes % 4096 != 0)
        return TR_EINVAL;
    pthread_mutex_lock(&fabric->lock);
    int error = find_ring(fabric, options->bytes, &handle);
    if (error == TR_OK) {
        struct ring *ring = fabric->ring[handle];
        ring->users = 1;
        ring->place = port->place_index;
        ring->epoch = port->place->epoch;
        ring->writer = options->peer;
        tr_store_relaxed(&ring->fence, UINT64_C(0));
        out->ring = handle;
        out->bytes = ring->bytes;
        out->memory = ring->memory;
    }
    pthread_mutex_unlock(&fabric->lock);
    return error;
}

void tr_loop_remote_close(struct tr_port *port, uint32_t remote)
{
    pthread_mutex_lock(&port->fabric->lock);
    if (remote < REMOTES_MAX && port->remote[remote].ring != NULL) {
        port->remote[remote].ring->users--;
        port->remote[remote].ring = NULL;
    }
    pthread_mutex_unlock(&port->fabric->lock);
}

void tr_loop_rings_close(struct tr_port *port)
{
    struct tr_loop_fabric *fabric = port->fabric;
    for (uint32_t i = 0; i < fabric->ring_count; i++) {
        struct ring *ring = fabric->ring[i];
        if (ring->users == 0 || ring->place != port->place_index ||
            ring->epoch != port->place->epoch)
            continue;
        tr_fence_word_close(&ring->fence); /* (D): for ever, the epoch does not come back */
        ring->users--;
    }
    for (uint32_t i = 0; i < REMOTES_MAX; i++) {
        if (port->remote[i].ring != NULL)
            port->remote[i].ring->users--;
    }
}

/* What a token says. */
struct token {
    uint32_t magic, place;
    uint64_t epoch;
    uint64_t generation;
    uint32_t ring, writer;
    uint64_t zero[2];
};
tr_static_assert(sizeof(struct token) == TR_RING_TOKEN_BYTES, "a token is filled to its end");

int tr_loop_ring_grant(struct tr_port *port, uint32_t handle, uint64_t generation,
                       struct tr_ring_token *out)
{
    struct ring *ring = local_ring(port, handle);
    static const uint64_t zero = 0;
    tr_assert(generation != 0 && tr_load_relaxed(&ring->fence) == 0);
    for (uint32_t i = 0; i < ring->bytes;
         i += 8) /* a fenced writer may still be storing: by words */
        tr_write_relaxed_8(ring->memory + i, &zero, 8);
    tr_store_relaxed(&ring->consumed, UINT64_C(0));
    tr_fence_word_open(&ring->fence, generation);
    struct token token = {.magic = TOKEN_MAGIC,
                          .place = port->place_index,
                          .epoch = ring->epoch,
                          .generation = generation,
                          .ring = handle,
                          .writer = ring->writer};
    memcpy(out->bytes, &token, sizeof(token));
    return TR_OK;
}

int tr_loop_fence_start(struct tr_port *port, uint32_t handle)
{
    tr_fence_word_close(&local_ring(port, handle)->fence); /* (D), meets tr_loop_write_post */
    return TR_OK;
}

int tr_loop_fence_poll(struct tr_port *port, uint32_t handle)
{
    return tr_load_relaxed(&local_ring(port, handle)->fence) == 0 ? TR_OK : TR_AGAIN;
}

void tr_loop_ring_consumed(struct tr_port *port, uint32_t handle, uint64_t position)
{
    tr_store_release(&local_ring(port, handle)->consumed, position);
}

/* Holds a token against the ring that it names. Under the lock. */
static int check_token(const struct tr_port *port, const struct peer *peer,
                       const struct token *token, uint64_t generation)
{
    const struct tr_loop_fabric *fabric = port->fabric;
    if (token->magic != TOKEN_MAGIC || token->ring >= fabric->ring_count ||
        token->place >= fabric->place_count || &fabric->place[token->place] != peer->place ||
        token->writer != port->self || token->generation != generation || generation == 0)
        return TR_EINVAL;
    const struct ring *ring = fabric->ring[token->ring];
    if (token->epoch > peer->place->epoch)
        return TR_EINVAL;
    if (token->epoch != peer->place->epoch || ring->epoch != token->epoch ||
        ring->place != token->place || tr_load_acquire(&ring->fence) != generation)
        return TR_ENOENT;
    return TR_OK;
}

int tr_loop_remote_open(struct tr_port *port, tr_node_id id, const struct tr_ring_token *opaque,
                        uint64_t generation, uint32_t *remote)
{
    struct peer *peer = id != 0 ? tr_loop_find_peer(port, id) : NULL;
    struct token token;
    uint32_t i = 0;
    memcpy(&token, opaque->bytes, sizeof(token));
    while (i < REMOTES_MAX && port->remote[i].ring != NULL)
        i++;
    if (peer == NULL)
        return TR_EINVAL;
    if (i == REMOTES_MAX)
        return TR_EFULL;
    pthread_mutex_lock(&port->fabric->lock);
    int error = check_token(port, peer, &token, generation);
    if (error == TR_OK) {
        port->remote[i].ring = port->fabric->ring[token.ring];
        port->remote[i].ring->users++;
        port->remote[i].peer = peer;
        port->remote[i].generation = generation;
        *remote = i;
    }
    pthread_mutex_unlock(&port->fabric->lock);
    return error;
}

int tr_loop_write_post(struct tr_port *port, uint32_t handle, uint32_t offset,
                       const struct tr_segment *segment, uint32_t segment_count, uint64_t cookie)
{
    tr_assert(handle < REMOTES_MAX && port->remote[handle].ring != NULL);
    struct remote *remote = &port->remote[handle];
    struct ring *ring = remote->ring;
    uint32_t bytes = tr_gather_bytes(segment, segment_count);
    tr_assert(offset % 8 == 0 && bytes % 8 == 0 && offset <= ring->bytes &&
              bytes <= ring->bytes - offset);
    if (remote->peer->writes_open == WRITES_MAX)
        return TR_AGAIN;
    tr_gather_write_relaxed_8(ring->memory + offset, segment, segment_count);
    tr_fence_word_settle(); /* (D), meets tr_loop_fence_start */
    bool counts = tr_fence_word_counts(&ring->fence, remote->generation);
    struct tr_write_completion *done =
        &port->completion[port->completion_tail++ & port->completion_mask];
    done->peer = remote->peer->id;
    done->remote = handle;
    done->generation = remote->generation;
    done->cookie = cookie;
    done->status = counts ? TR_WRITE_OK : TR_WRITE_REFUSED;
    remote->peer->writes_open++;
    port->stats.writes++;
    port->stats.write_bytes += bytes;
    port->stats.writes_refused += !counts;
    return TR_OK;
}

uint32_t tr_loop_write_poll(struct tr_port *port, struct tr_write_completion *out, uint32_t max)
{
    uint32_t count = 0;
    for (; count < max && port->completion_head != port->completion_tail; count++) {
        out[count] = port->completion[port->completion_head++ & port->completion_mask];
        struct peer *peer = tr_loop_find_peer(port, out[count].peer);
        if (peer != NULL && peer->writes_open > 0) /* it may have been removed and added again */
            peer->writes_open--;
    }
    return count;
}

uint64_t tr_loop_remote_consumed(struct tr_port *port, uint32_t handle)
{
    tr_assert(handle < REMOTES_MAX && port->remote[handle].ring != NULL);
    return tr_load_acquire(&port->remote[handle].ring->consumed);
}
