/* The loop driver: ports of one process that reach each other through memory. It is whole and as
 * small as a driver gets: read it first, and start from it when you write one.
 *
 * A fabric has *places*, one an address; a port occupies its place while it is open. Between two
 * places lie two *channels*, one a direction: byte rings with one sender and one receiver. The
 * receiver hands messages up where they lie, and gives their room back at its next rx_burst: the
 * sender is in the same process, so that nothing needs a private copy.
 *
 * Threads may poll ports at the same time, each port by one of them. What they share:
 *   (A) the sender releases a channel's tail after it wrote the messages below; the receiver
 * acquires it. (B) the receiver releases the head after it is done with the messages below; the
 * sender acquires it. (C) a port releases its place's epoch when it opens and closes; those who
 * have it as a peer acquire it. (D) a writer stores its bytes, issues a full fence and reads the
 * ring's fence word; the owner sets the word, issues a full fence and reads the ring: either the
 * owner finds the bytes, or the writer finds the fence and does not count them. (E) who adds a
 * channel to a place releases the place's channel_count; the place's port acquires it. Everything
 * else (open, close, peers, rings) is done under the fabric's lock. */
#include "drivers/loop/loop.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/bytes.h"
#include "drivers/gather.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <trireme/error.h>

#define NAME_BYTES        64
#define WRITES_MAX        64 /* posted and not polled, a peer */
#define REMOTES_MAX       TR_LOOP_RINGS_MAX
#define BURST_MAX         256
#define MESSAGE_BYTES_MAX ((1u << 20) + (64u << 10))
#define QUEUE_BYTES       (4u << 20)
#define MESSAGE_HEAD      8u         /* bytes before each message: its length */
#define SKIP              UINT32_MAX /* instead of a length: the next message lies at the channel's start */
#define TOKEN_MAGIC       0x706f6f6cu

struct channel {
    uint32_t from, to; /* places; constant, as is the memory's address */
    unsigned char *memory;
    /* Written by the sender only. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 tail;
    uint64_t head_seen; /* head_seen <= head */
    /* Written by the receiver only. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 head;
    uint64_t taken; /* head <= taken <= tail: handed up, released at the next rx_burst */
};

struct place {
    char name[NAME_BYTES];
    uint32_t queue;
    tr_atomic_u64 epoch;         /* odd: a port is open; grows by one at open and at close */
    tr_atomic_u32 channel_count; /* channels that lead here */
    struct channel *channel[TR_LOOP_PLACES_MAX];
};

/* A ring lies here until its owner and all writers have let go of it: one that a writer may still
 * store to is never used again. */
struct ring {
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 fence; /* the granted generation; 0: closed */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 consumed;
    TR_ALIGNED(TR_CACHE_LINE) unsigned char *memory;
    uint32_t bytes;
    uint32_t users; /* the owner and the open remotes; 0: may be used again */
    uint32_t place;
    uint64_t epoch; /* of the place, when the ring was created */
    tr_node_id writer;
};

struct tr_loop_fabric {
    pthread_mutex_t lock;
    uint32_t message_bytes_max, queue_bytes;
    struct tr_memory memory;
    uint32_t place_count, ring_count;
    struct place place[TR_LOOP_PLACES_MAX];
    struct ring *ring[TR_LOOP_RINGS_MAX];
};

struct peer {
    tr_node_id id; /* 0: removed, or never used */
    struct place *place;
    struct channel *out;
    uint64_t epoch_seen;
    bool was_up;
    uint32_t writes_open;
};

struct remote {
    struct ring *ring; /* NULL: not open */
    struct peer *peer;
    uint64_t generation;
};

struct tr_port {
    const struct tr_driver *driver;
    struct tr_loop_fabric *fabric;
    struct place *place;
    tr_node_id self;
    uint32_t place_index;
    uint32_t peers_max, message_bytes_max;
    uint32_t next_channel; /* where the next rx_burst begins, so that no sender starves another */
    struct peer *peer;
    struct remote *remote; /* REMOTES_MAX */
    struct tr_write_completion *completion;
    uint32_t completion_mask;
    uint64_t completion_head, completion_tail;
    struct tr_port_stats stats;
};

static void *take(const struct tr_memory *memory, size_t bytes, size_t align)
{
    void *at = memory->allocate(memory->context, bytes, align);
    if (at != NULL)
        memset(at, 0, bytes);
    return at;
}

/* The fabric. */

int tr_loop_fabric_create(const struct tr_loop_fabric_options *options, struct tr_loop_fabric **out)
{
    uint32_t message = options->message_bytes_max ? options->message_bytes_max : MESSAGE_BYTES_MAX;
    uint32_t queue = options->queue_bytes ? options->queue_bytes : QUEUE_BYTES;
    if (options->struct_bytes != sizeof(*options) || !tr_is_power_of_two(queue) ||
        (uint64_t)queue < 3 * ((uint64_t)message + MESSAGE_HEAD))
        return TR_EINVAL;
    struct tr_loop_fabric *fabric = take(&options->memory, sizeof(*fabric), TR_CACHE_LINE);
    if (fabric == NULL)
        return TR_ENOMEM;
    pthread_mutex_init(&fabric->lock, NULL);
    fabric->message_bytes_max = message;
    fabric->queue_bytes = queue;
    fabric->memory = options->memory;
    *out = fabric;
    return TR_OK;
}

void tr_loop_fabric_destroy(struct tr_loop_fabric *fabric)
{
    for (uint32_t i = 0; i < fabric->place_count; i++)
        tr_assert((fabric->place[i].epoch & 1) == 0);
    pthread_mutex_destroy(&fabric->lock);
}

/* Finds the place of an address, or makes it. Returns: TR_OK, TR_EADDR, TR_EFULL. */
static int find_place(struct tr_loop_fabric *fabric, const char *address, uint32_t queue,
                      uint32_t *out)
{
    if (address == NULL || strncmp(address, "loop:", 5) != 0)
        return TR_EADDR;
    const char *name = address + 5;
    size_t length = strlen(name);
    if (length == 0 || length >= NAME_BYTES)
        return TR_EADDR;
    uint32_t i = 0;
    while (i < fabric->place_count &&
           (fabric->place[i].queue != queue || strcmp(fabric->place[i].name, name) != 0))
        i++;
    if (i == TR_LOOP_PLACES_MAX)
        return TR_EFULL;
    if (i == fabric->place_count) {
        memcpy(fabric->place[i].name, name, length + 1);
        fabric->place[i].queue = queue;
        fabric->place_count++;
    }
    *out = i;
    return TR_OK;
}

/* The channel between two places, or NULL. */
static struct channel *find_channel(struct tr_loop_fabric *fabric, uint32_t from, uint32_t to)
{
    struct place *place = &fabric->place[to];
    for (uint32_t i = 0; i < place->channel_count; i++) {
        if (place->channel[i]->from == from)
            return place->channel[i];
    }
    return NULL;
}

/* Finds the channel between two places, or makes it. Returns: NULL when the memory is spent. */
static struct channel *join(struct tr_loop_fabric *fabric, uint32_t from, uint32_t to)
{
    struct place *place = &fabric->place[to];
    struct channel *channel = find_channel(fabric, from, to);
    if (channel != NULL)
        return channel;
    channel = take(&fabric->memory, sizeof(*channel), TR_CACHE_LINE);
    if (channel == NULL)
        return NULL;
    channel->memory = take(&fabric->memory, fabric->queue_bytes, TR_CACHE_LINE);
    if (channel->memory == NULL)
        return NULL;
    channel->from = from;
    channel->to = to;
    place->channel[place->channel_count] = channel;
    tr_store_release(&place->channel_count, place->channel_count + 1); /* (E), meets rx_burst */
    return channel;
}

/* Opening, closing, peers. */

static int refuse(const struct tr_port_options *options, int error, const char *text)
{
    if (options->error != NULL)
        snprintf(options->error, options->error_bytes, "loop: %s: %s",
                 options->address ? options->address : "(no address)", text);
    return error;
}

static int take_port(const struct tr_port_options *options, struct tr_port **out)
{
    uint32_t completions = 1;
    while (completions < options->peers_max * WRITES_MAX)
        completions *= 2;
    struct tr_port *port = take(&options->memory, sizeof(*port), TR_CACHE_LINE);
    if (port == NULL)
        return TR_ENOMEM;
    port->peer = take(&options->memory, options->peers_max * sizeof(struct peer), TR_CACHE_LINE);
    port->remote = take(&options->memory, REMOTES_MAX * sizeof(struct remote), TR_CACHE_LINE);
    port->completion =
        take(&options->memory, completions * sizeof(struct tr_write_completion), TR_CACHE_LINE);
    if (port->peer == NULL || port->remote == NULL || port->completion == NULL)
        return TR_ENOMEM;
    port->completion_mask = completions - 1;
    port->driver = &tr_driver_loop;
    port->fabric = options->fabric;
    port->self = options->self;
    port->peers_max = options->peers_max;
    port->message_bytes_max = port->fabric->message_bytes_max;
    if (options->message_bytes_max != 0)
        port->message_bytes_max = tr_min_u32(options->message_bytes_max, port->message_bytes_max);
    *out = port;
    return TR_OK;
}

static int loop_open(const struct tr_port_options *options, struct tr_port **out)
{
    struct tr_loop_fabric *fabric = options->fabric;
    struct tr_port *port;
    if (options->struct_bytes != sizeof(*options) || fabric == NULL || options->self == 0 ||
        options->peers_max == 0 || options->peers_max > TR_LOOP_PLACES_MAX)
        return refuse(options, TR_EINVAL, "needs a fabric, a node number and 1 to 64 peers");
    if (options->extra != NULL && options->extra[0] != '\0')
        return refuse(options, TR_EINVAL, "takes no extra options");
    if (take_port(options, &port) != TR_OK)
        return refuse(options, TR_ENOMEM, "the arena is spent");
    pthread_mutex_lock(&fabric->lock);
    int error = find_place(fabric, options->address, options->queue_index, &port->place_index);
    struct place *place = &fabric->place[port->place_index];
    if (error == TR_OK && (place->epoch & 1) != 0)
        error = TR_EBUSY;
    if (error == TR_OK) {
        for (uint32_t i = 0; i < place->channel_count;
             i++) { /* what was sent to who was here before */
            struct channel *channel = place->channel[i];
            channel->taken = tr_load_acquire(&channel->tail);
            tr_store_release(&channel->head, channel->taken);
        }
        port->place = place;
        tr_store_release(&place->epoch, place->epoch + 1); /* (C) */
        *out = port;
    }
    pthread_mutex_unlock(&fabric->lock);
    if (error == TR_EBUSY)
        return refuse(options, error, "another port of this fabric is open there: close it first");
    return error == TR_OK ? TR_OK : refuse(options, error, "must be loop:NAME, at most 64 names");
}

static void loop_close(struct tr_port *port)
{
    struct tr_loop_fabric *fabric = port->fabric;
    pthread_mutex_lock(&fabric->lock);
    for (uint32_t i = 0; i < fabric->ring_count; i++) {
        struct ring *ring = fabric->ring[i];
        if (ring->users == 0 || ring->place != port->place_index ||
            ring->epoch != port->place->epoch)
            continue;
        tr_store_relaxed(&ring->fence,
                         UINT64_C(0)); /* (D): for ever, the epoch does not come back */
        ring->users--;
    }
    tr_fence_full(); /* (D) */
    for (uint32_t i = 0; i < REMOTES_MAX; i++) {
        if (port->remote[i].ring != NULL)
            port->remote[i].ring->users--;
    }
    tr_store_release(&port->place->epoch, port->place->epoch + 1); /* (C) */
    pthread_mutex_unlock(&fabric->lock);
}

static void loop_limits(const struct tr_port *port, struct tr_port_limits *out)
{
    out->message_bytes_max = port->message_bytes_max;
    out->burst_max = BURST_MAX;
    out->write_bytes_max = 1u << 30;
    out->writes_max = WRITES_MAX;
    out->peers_max = port->peers_max;
}

static struct peer *find_peer(const struct tr_port *port, tr_node_id id)
{
    for (uint32_t i = 0; i < port->peers_max; i++) {
        if (port->peer[i].id == id)
            return &port->peer[i];
    }
    return NULL;
}

static int loop_peer_add(struct tr_port *port, tr_node_id id, const char *address)
{
    struct tr_loop_fabric *fabric = port->fabric;
    struct peer *peer = find_peer(port, 0);
    uint32_t at = 0;
    if (id == 0)
        return TR_EINVAL;
    if (find_peer(port, id) != NULL)
        return TR_EEXIST;
    if (peer == NULL)
        return TR_EFULL;
    pthread_mutex_lock(&fabric->lock);
    int error = find_place(fabric, address, port->place->queue, &at);
    struct channel *out = error == TR_OK ? join(fabric, port->place_index, at) : NULL;
    struct channel *in = error == TR_OK ? join(fabric, at, port->place_index) : NULL;
    pthread_mutex_unlock(&fabric->lock);
    if (error != TR_OK)
        return error;
    if (out == NULL || in == NULL)
        return TR_EFULL;
    memset(peer, 0, sizeof(*peer));
    peer->id = id;
    peer->place = &fabric->place[at];
    peer->out = out;
    return TR_OK;
}

static void loop_remote_close(struct tr_port *port, uint32_t remote)
{
    pthread_mutex_lock(&port->fabric->lock);
    if (remote < REMOTES_MAX && port->remote[remote].ring != NULL) {
        port->remote[remote].ring->users--;
        port->remote[remote].ring = NULL;
    }
    pthread_mutex_unlock(&port->fabric->lock);
}

static int loop_peer_remove(struct tr_port *port, tr_node_id id)
{
    struct peer *peer = id != 0 ? find_peer(port, id) : NULL;
    if (peer == NULL)
        return TR_ENOENT;
    for (uint32_t i = 0; i < REMOTES_MAX; i++) {
        if (port->remote[i].ring != NULL && port->remote[i].peer == peer)
            loop_remote_close(port, i);
    }
    peer->id = 0;
    return TR_OK;
}

/* Messages. */

/* Sends on a channel. Returns: false when there is no room. */
static bool send_on(struct tr_port *port, struct channel *channel, const struct tr_segment *segment,
                    uint32_t segment_count, uint32_t bytes)
{
    uint32_t mask = port->fabric->queue_bytes - 1;
    uint32_t room = tr_align_up_u32(MESSAGE_HEAD + bytes, 8);
    uint64_t tail = tr_load_relaxed(&channel->tail);
    uint32_t offset = (uint32_t)tail & mask;
    uint32_t skip = offset + room > mask + 1 ? mask + 1 - offset : 0;
    tr_assert(bytes <= port->message_bytes_max);
    if (tail + skip + room - channel->head_seen > mask + 1) {
        channel->head_seen = tr_load_acquire(&channel->head); /* (B), meets rx_burst */
        if (tail + skip + room - channel->head_seen > mask + 1)
            return false;
    }
    if (skip != 0) {
        uint32_t mark = SKIP;
        memcpy(channel->memory + offset, &mark, sizeof(mark));
        offset = 0;
    }
    memcpy(channel->memory + offset, &bytes, sizeof(bytes));
    tr_gather_copy(channel->memory + offset + MESSAGE_HEAD, segment, segment_count);
    tr_store_release(&channel->tail, tail + skip + room); /* (A), meets rx_burst */
    return true;
}

static uint32_t loop_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count)
{
    uint32_t taken = 0;
    for (; taken < count && taken < BURST_MAX; taken++) {
        const struct tr_tx *t = &tx[taken];
        struct peer *peer = find_peer(port, t->peer);
        uint32_t bytes = tr_gather_bytes(t->segment, t->segment_count);
        bool up = peer != NULL && (tr_load_acquire(&peer->place->epoch) & 1) != 0; /* (C) */
        if (!up)
            port->stats.tx_errors++; /* taken and lost */
        else if (!send_on(port, peer->out, t->segment, t->segment_count, bytes))
            break;
        port->stats.tx_messages++;
        port->stats.tx_bytes += bytes;
    }
    port->stats.tx_full += count - taken;
    return taken;
}

static int loop_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                         uint32_t segment_count)
{
    tr_assert(source < tr_load_relaxed(&port->place->channel_count));
    uint32_t bytes = tr_gather_bytes(segment, segment_count);
    uint32_t to = port->place->channel[source]->from;
    pthread_mutex_lock(&port->fabric->lock); /* the search only; it is not on a replica's path */
    struct channel *back = find_channel(port->fabric, port->place_index, to);
    pthread_mutex_unlock(&port->fabric->lock);
    if (!send_on(port, back, segment, segment_count, bytes)) {
        port->stats.tx_full++;
        return TR_AGAIN;
    }
    port->stats.tx_messages++;
    port->stats.tx_bytes += bytes;
    return TR_OK;
}

static void loop_tx_flush(struct tr_port *port)
{
    (void)port;
}

static tr_node_id id_of_place(const struct tr_port *port, const struct place *place)
{
    for (uint32_t i = 0; i < port->peers_max; i++) {
        if (port->peer[i].id != 0 && port->peer[i].place == place)
            return port->peer[i].id;
    }
    return 0;
}

/* Takes messages off one channel. Returns: how many. */
static uint32_t receive_from(struct tr_port *port, uint32_t source, struct tr_rx *out, uint32_t max)
{
    struct channel *channel = port->place->channel[source];
    uint32_t mask = port->fabric->queue_bytes - 1;
    uint64_t tail = tr_load_acquire(&channel->tail); /* (A), meets send_on */
    uint32_t count = 0;
    tr_node_id from = 0;
    if (tail != channel->taken)
        from = id_of_place(port, &port->fabric->place[channel->from]);
    while (count < max && channel->taken != tail) {
        uint32_t offset = (uint32_t)channel->taken & mask;
        uint32_t bytes;
        memcpy(&bytes, channel->memory + offset, sizeof(bytes));
        if (bytes == SKIP) {
            channel->taken += mask + 1 - offset;
            continue;
        }
        out[count].data = channel->memory + offset + MESSAGE_HEAD;
        out[count].bytes = bytes;
        out[count].peer = from;
        out[count].source = source;
        channel->taken += tr_align_up_u32(MESSAGE_HEAD + bytes, 8);
        port->stats.rx_bytes += bytes;
        count++;
    }
    port->stats.rx_messages += count;
    port->stats.rx_unknown += from == 0 ? count : 0;
    return count;
}

static uint32_t loop_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    uint32_t channel_count = tr_load_acquire(&port->place->channel_count); /* (E), meets join */
    uint32_t count = 0;
    for (uint32_t i = 0; i < channel_count; i++) {
        struct channel *channel = port->place->channel[i];
        if (channel->head != channel->taken)
            tr_store_release(&channel->head, channel->taken); /* (B), meets send_on */
    }
    max = tr_min_u32(max, BURST_MAX);
    for (uint32_t i = 0; i < channel_count && count < max; i++) {
        port->next_channel = port->next_channel + 1 < channel_count ? port->next_channel + 1 : 0;
        count += receive_from(port, port->next_channel, out + count, max - count);
    }
    return count;
}

/* Rings. */

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
    struct ring *ring = take(&fabric->memory, sizeof(*ring), TR_CACHE_LINE);
    unsigned char *memory = take(&fabric->memory, bytes, 4096);
    if (ring == NULL || memory == NULL)
        return TR_ENOMEM;
    ring->memory = memory;
    ring->bytes = bytes;
    *out = fabric->ring_count;
    fabric->ring[fabric->ring_count++] = ring;
    return TR_OK;
}

static int loop_ring_create(struct tr_port *port, const struct tr_ring_options *options,
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

/* What a token says. */
struct token {
    uint32_t magic, place;
    uint64_t epoch;
    uint64_t generation;
    uint32_t ring, writer;
    uint64_t zero[2];
};
tr_static_assert(sizeof(struct token) == TR_RING_TOKEN_BYTES, "a token is filled to its end");

static int loop_ring_grant(struct tr_port *port, uint32_t handle, uint64_t generation,
                           struct tr_ring_token *out)
{
    struct ring *ring = local_ring(port, handle);
    static const uint64_t zero = 0;
    tr_assert(generation != 0 && tr_load_relaxed(&ring->fence) == 0);
    for (uint32_t i = 0; i < ring->bytes;
         i += 8) /* a fenced writer may still be storing: by words */
        tr_write_relaxed_8(ring->memory + i, &zero, 8);
    tr_store_relaxed(&ring->consumed, UINT64_C(0));
    tr_store_release(&ring->fence, generation);
    struct token token = {.magic = TOKEN_MAGIC,
                          .place = port->place_index,
                          .epoch = ring->epoch,
                          .generation = generation,
                          .ring = handle,
                          .writer = ring->writer};
    memcpy(out->bytes, &token, sizeof(token));
    return TR_OK;
}

static int loop_fence_start(struct tr_port *port, uint32_t handle)
{
    tr_store_relaxed(&local_ring(port, handle)->fence,
                     UINT64_C(0)); /* (D), meets loop_write_post */
    tr_fence_full();               /* (D) */
    return TR_OK;
}

static int loop_fence_poll(struct tr_port *port, uint32_t handle)
{
    return tr_load_relaxed(&local_ring(port, handle)->fence) == 0 ? TR_OK : TR_AGAIN;
}

static void loop_ring_consumed(struct tr_port *port, uint32_t handle, uint64_t position)
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

static int loop_remote_open(struct tr_port *port, tr_node_id id, const struct tr_ring_token *opaque,
                            uint64_t generation, uint32_t *remote)
{
    struct peer *peer = id != 0 ? find_peer(port, id) : NULL;
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

static int loop_write_post(struct tr_port *port, uint32_t handle, uint32_t offset,
                           const struct tr_segment *segment, uint32_t segment_count,
                           uint64_t cookie)
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
    tr_fence_full(); /* (D), meets loop_fence_start */
    bool counts = tr_load_relaxed(&ring->fence) == remote->generation; /* (D) */
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

static uint32_t loop_write_poll(struct tr_port *port, struct tr_write_completion *out, uint32_t max)
{
    uint32_t count = 0;
    for (; count < max && port->completion_head != port->completion_tail; count++) {
        out[count] = port->completion[port->completion_head++ & port->completion_mask];
        struct peer *peer = find_peer(port, out[count].peer);
        if (peer != NULL && peer->writes_open > 0) /* it may have been removed and added again */
            peer->writes_open--;
    }
    return count;
}

static uint64_t loop_remote_consumed(struct tr_port *port, uint32_t handle)
{
    tr_assert(handle < REMOTES_MAX && port->remote[handle].ring != NULL);
    return tr_load_acquire(&port->remote[handle].ring->consumed);
}

/* What happened, what was counted. */

static uint32_t loop_events(struct tr_port *port, struct tr_port_event *out, uint32_t max)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < port->peers_max && count < max; i++) {
        struct peer *peer = &port->peer[i];
        if (peer->id == 0)
            continue;
        uint64_t epoch =
            tr_load_acquire(&peer->place->epoch); /* (C), meets loop_open and loop_close */
        if (epoch == peer->epoch_seen)
            continue;
        bool is_up = (epoch & 1) != 0;
        bool seen_up = (peer->epoch_seen & 1) != 0;
        peer->epoch_seen = epoch;
        if (!is_up && !seen_up)
            continue; /* it came and went unseen */
        out[count].peer = peer->id;
        out[count].type =
            is_up ? peer->was_up ? TR_PORT_PEER_NEW : TR_PORT_PEER_UP : TR_PORT_PEER_DOWN;
        peer->was_up = peer->was_up || is_up;
        count++;
    }
    return count;
}

static void loop_stats(const struct tr_port *port, struct tr_port_stats *out)
{
    *out = port->stats;
}

const struct tr_driver tr_driver_loop = {
    .name = "loop",
    .abi_bytes = sizeof(struct tr_driver),
    .capabilities = TR_DRIVER_MESSAGES | TR_DRIVER_ONE_SIDED | TR_DRIVER_MAY_TEAR,
    .summary = "memory between the ports of one process, for tests",
    .open = loop_open,
    .close = loop_close,
    .limits = loop_limits,
    .peer_add = loop_peer_add,
    .peer_remove = loop_peer_remove,
    .rx_burst = loop_rx_burst,
    .tx_burst = loop_tx_burst,
    .tx_reply = loop_tx_reply,
    .tx_flush = loop_tx_flush,
    .ring_create = loop_ring_create,
    .ring_grant = loop_ring_grant,
    .fence_start = loop_fence_start,
    .fence_poll = loop_fence_poll,
    .ring_consumed = loop_ring_consumed,
    .remote_open = loop_remote_open,
    .remote_close = loop_remote_close,
    .write_post = loop_write_post,
    .write_poll = loop_write_poll,
    .remote_consumed = loop_remote_consumed,
    .events = loop_events,
    .stats = loop_stats,
};
