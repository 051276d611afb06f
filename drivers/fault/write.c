/* One-sided writes: delayed, refused, or cut off.
 *
 * Writes are posted below in the order of posting here: one that waits holds back those behind it,
 * of whichever remote. Once a remote has had a completion that is not OK, everything behind gets
 * the same, as on a broken connection; such a completion is told when those posted below before it
 * are. */
#include "drivers/fault/inner.h"

int tr_fault_writes_init(struct tr_port *port, const struct tr_memory *memory)
{
    port->remote =
        memory->allocate(memory->context, REMOTES_MAX * sizeof(*port->remote), TR_CACHE_LINE);
    port->post = memory->allocate(memory->context, POSTS_MAX * sizeof(*port->post), TR_CACHE_LINE);
    if (port->remote == NULL || port->post == NULL)
        return TR_ENOMEM;
    memset(port->remote, 0, REMOTES_MAX * sizeof(*port->remote));
    return TR_OK;
}

static struct post *post_at(struct tr_port *port, uint32_t index)
{
    return &port->post[(port->post_head + index) % POSTS_MAX];
}

int tr_fault_remote_open(struct tr_port *port, tr_node_id peer, const struct tr_ring_token *token,
                         uint64_t generation, uint32_t *remote)
{
    int result = port->below_driver->remote_open(port->below, peer, token, generation, remote);
    if (result == TR_OK && *remote < REMOTES_MAX)
        port->remote[*remote] = (struct remote){.peer = peer, .generation = generation};
    return result;
}

void tr_fault_remote_close(struct tr_port *port, uint32_t handle)
{
    uint32_t kept = 0;
    port->below_driver->remote_close(port->below, handle);
    if (handle < REMOTES_MAX)
        port->remote[handle] = (struct remote){.peer = 0};
    for (uint32_t i = 0; i < port->post_count; i++) {
        if (post_at(port, i)->remote != handle)
            *post_at(port, kept++) = *post_at(port, i);
    }
    port->post_count = kept;
}

static void enqueue(struct tr_port *port, const struct post *post, const struct tr_segment *segment)
{
    struct post *at = post_at(port, port->post_count++);
    *at = *post;
    memcpy(at->segment, segment, post->segment_count * sizeof(*segment));
    port->remote[post->remote].waiting++;
}

/* What the rule does to a write: fills the fields of the post. Returns: whether it waits at all. */
static bool draw_post(struct tr_port *port, const struct remote *remote, struct post *post)
{
    const struct tr_fault_slot *rule = tr_fault_slot_of(port->control, remote->peer, TR_FAULT_OUT);
    struct tr_fault_counters *counters = &port->control->counters;
    uint64_t delay_ns;
    if (remote->failed != 0)
        return true;
    if (tr_load_relaxed(&rule->blocked) != 0) {
        tr_fault_count(&counters->writes_blocked);
        post->is_broken = true;
        return true;
    }
    if (tr_fault_chance(port, tr_load_relaxed(&rule->write_refuse_ppm))) {
        tr_fault_count(&counters->writes_refused);
        post->is_refused = true;
        return true;
    }
    delay_ns = tr_fault_draw_ns(port, tr_load_relaxed(&rule->write_delay_low_ns),
                                tr_load_relaxed(&rule->write_delay_high_ns));
    if (delay_ns == 0)
        return false;
    tr_fault_count(&counters->writes_delayed);
    post->due_ns = port->now_ns(port->context) + delay_ns;
    return true;
}

static bool remote_is_quiet(const struct tr_port *port, uint32_t handle)
{
    return handle >= REMOTES_MAX || (tr_load_relaxed(&port->control->is_active) == 0 &&
                                     port->post_count == 0 && port->remote[handle].failed == 0);
}

int tr_fault_write_post(struct tr_port *port, uint32_t handle, uint32_t offset,
                        const struct tr_segment *segment, uint32_t segment_count, uint64_t cookie)
{
    struct post post = {
        .remote = handle, .offset = offset, .segment_count = segment_count, .cookie = cookie};
    struct remote *remote = handle < REMOTES_MAX ? &port->remote[handle] : NULL;
    bool waits;
    if (remote != NULL && remote->below + remote->waiting >= port->writes_max)
        return TR_AGAIN;
    if (tr_unlikely(!remote_is_quiet(port, handle))) {
        waits = draw_post(port, remote, &post) || port->post_count > 0;
        if (waits && port->post_count == POSTS_MAX)
            return TR_AGAIN;
        if (waits) {
            enqueue(port, &post, segment);
            port->delta.writes++;
            port->delta.write_bytes += tr_gather_bytes(segment, segment_count);
            return TR_OK;
        }
    }
    int result =
        port->below_driver->write_post(port->below, handle, offset, segment, segment_count, cookie);
    if (result == TR_OK && remote != NULL)
        remote->below++;
    return result;
}

/* Takes the first waiting write out. */
static void dequeue(struct tr_port *port)
{
    struct post *post = post_at(port, 0);
    port->remote[post->remote].waiting--;
    port->post_head = (port->post_head + 1) % POSTS_MAX;
    port->post_count--;
}

static void count_failure(struct tr_port *port, enum tr_write_status status)
{
    port->delta.writes_refused += status == TR_WRITE_REFUSED;
    port->delta.writes_broken += status == TR_WRITE_BROKEN;
}

/* Posts the first waiting write below. Returns: false when it has to wait on. */
static bool post_below(struct tr_port *port, const struct post *post)
{
    if (post->due_ns > port->now_ns(port->context) ||
        port->below_driver->write_post(port->below, post->remote, post->offset, post->segment,
                                       post->segment_count, post->cookie) != TR_OK)
        return false;
    port->remote[post->remote].below++;
    port->delta.writes--;
    port->delta.write_bytes -= tr_gather_bytes(post->segment, post->segment_count);
    return true;
}

/* Moves the waiting writes on: those that are due below, those that fail into *out. Returns: how
 * many are in it. */
static uint32_t move_posts(struct tr_port *port, struct tr_write_completion *out, uint32_t max)
{
    uint32_t count = 0;
    while (port->post_count > 0) {
        const struct post *post = post_at(port, 0);
        struct remote *remote = &port->remote[post->remote];
        bool fails = post->is_refused || post->is_broken || remote->failed != 0;
        if (!fails) {
            if (!post_below(port, post))
                break;
            dequeue(port);
            continue;
        }
        if (count == max || remote->below > 0)
            break; /* in the order of posting */
        if (remote->failed == 0)
            remote->failed = post->is_refused ? TR_WRITE_REFUSED : TR_WRITE_BROKEN;
        count_failure(port, remote->failed);
        out[count++] = (struct tr_write_completion){.peer = remote->peer,
                                                    .remote = post->remote,
                                                    .generation = remote->generation,
                                                    .cookie = post->cookie,
                                                    .status = remote->failed};
        dequeue(port);
    }
    return count;
}

/* A completion from below: the answer may be cut off, or a broken connection behind it. */
static void pass_completion(struct tr_port *port, struct tr_write_completion *done)
{
    struct remote *remote = &port->remote[done->remote];
    const struct tr_fault_slot *rule = tr_fault_slot_of(port->control, remote->peer, TR_FAULT_IN);
    remote->below -= remote->below > 0;
    if (remote->failed == 0 && done->status == TR_WRITE_OK &&
        tr_load_relaxed(&rule->blocked) != 0) {
        tr_fault_count(&port->control->counters.writes_blocked);
        remote->failed = TR_WRITE_BROKEN;
    }
    if (remote->failed != 0 && done->status == TR_WRITE_OK) {
        done->status = remote->failed;
        count_failure(port, done->status);
    }
    if (done->status != TR_WRITE_OK && remote->failed == 0)
        remote->failed = done->status;
}

uint32_t tr_fault_write_poll(struct tr_port *port, struct tr_write_completion *out, uint32_t max)
{
    uint32_t count = port->below_driver->write_poll(port->below, out, max);
    for (uint32_t i = 0; i < count; i++) {
        if (out[i].remote < REMOTES_MAX)
            pass_completion(port, &out[i]);
    }
    if (tr_likely(port->post_count == 0))
        return count;
    return count + move_posts(port, out + count, max - count);
}
