/* The writer's end: rings of others, as they offer and grant them, and handles on a grant. */
#include "drivers/verbs/inner.h"

static struct tr_verbs_target *find_target(struct tr_port *port, uint32_t peer, uint32_t ring)
{
    for (uint32_t i = 0; i < port->target_count; i++) {
        struct tr_verbs_target *t = &port->target[i];
        if (t->is_used && t->peer == peer && t->ring == ring)
            return t;
    }
    return NULL;
}

/* ---- what owners say */

/* An entry of our board that nothing is told by; 0 is that of messages. */
static uint32_t take_entry(struct tr_verbs_peer *peer)
{
    for (uint32_t i = 1; i < BOARD_ENTRIES; i++) {
        if ((peer->entries[i / 64] >> i % 64 & 1) == 0) {
            peer->entries[i / 64] |= UINT64_C(1) << i % 64;
            return i;
        }
    }
    return 0;
}

static struct tr_verbs_target *new_target(struct tr_port *port, uint32_t peer, uint32_t ring)
{
    struct tr_verbs_target *t = NULL;
    for (uint32_t i = 0; i < port->target_count && t == NULL; i++) {
        if (!port->target[i].is_used)
            t = &port->target[i];
    }
    if (t == NULL && port->target_count < TARGETS_MAX)
        t = &port->target[port->target_count++];
    if (t == NULL)
        return NULL;
    uint32_t connection = t->connection;
    struct ibv_qp *qp = t->qp; /* of a target that is gone: used again */
    memset(t, 0, sizeof(*t));
    t->connection = connection;
    t->peer = peer;
    t->ring = ring;
    t->entry = take_entry(&port->peer[peer]);
    struct ibv_qp_cap cap = {.max_send_wr = WRITES_MAX,
                             .max_recv_wr = 1,
                             .max_send_sge = port->device.sge_max,
                             .max_recv_sge = 1,
                             .max_inline_data = port->device.inline_max};
    t->qp = qp != NULL
                ? qp
                : tr_verbs_qp_create(port, port->device.pd, port->cq_write, port->cq_write, &cap);
    t->is_used = t->qp != NULL && t->entry != 0;
    return t->is_used ? t : NULL;
}

void tr_verbs_target_ring(struct tr_port *port, uint32_t peer, const struct tr_verbs_frame *f)
{
    struct tr_verbs_target *t = find_target(port, peer, f->ring);
    if (t == NULL)
        t = new_target(port, peer, f->ring);
    if (t == NULL) {
        port->stats.rx_dropped++; /* no room: the owner's grants stay without effect */
        return;
    }
    t->generation_lost = f->generation;
    struct tr_verbs_frame answer = {
        .type = FRAME_WRITER, .ring = f->ring, .number = t->entry, .qpn = t->qp->qp_num};
    tr_verbs_link_send(port, peer, &answer);
}

void tr_verbs_target_grant(struct tr_port *port, uint32_t peer, const struct tr_verbs_frame *f)
{
    struct tr_verbs_target *t = find_target(port, peer, f->ring);
    if (t == NULL || f->generation == 0 || !tr_is_power_of_two(f->bytes) || f->bytes % 4096 != 0) {
        port->stats.rx_malformed++;
        return;
    }
    t->grant = *f;
}

/* Ends what stands on a target's connection. */
static void break_target(struct tr_port *port, uint32_t target)
{
    for (uint32_t i = 0; i < port->remote_count; i++) {
        if (port->remote[i].is_used && port->remote[i].target == target)
            tr_verbs_remote_break(port, i);
    }
    struct tr_verbs_target *t = &port->target[target];
    t->connection = ++port->connections;
    t->generation = 0;
    if (t->qp != NULL)
        tr_verbs_qp_reset(t->qp); /* no request reads its source any more (rule 7) */
}

void tr_verbs_targets_lose(struct tr_port *port, uint32_t peer)
{
    for (uint32_t i = 0; i < port->target_count; i++) {
        struct tr_verbs_target *t = &port->target[i];
        if (!t->is_used || t->peer != peer)
            continue;
        break_target(port, i);
        port->peer[peer].entries[t->entry / 64] &= ~(UINT64_C(1) << t->entry % 64);
        t->is_used = false;
    }
}

void tr_verbs_targets_close(struct tr_port *port)
{
    for (uint32_t i = 0; i < port->target_count; i++) {
        if (port->target[i].qp != NULL)
            ibv_destroy_qp(port->target[i].qp);
        port->target[i].qp = NULL;
    }
}

/* ---- handles */

/* Connects the writer's end for the newest grant. Whatever was connected before is over. */
static int connect_target(struct tr_port *port, uint32_t target)
{
    struct tr_verbs_target *t = &port->target[target];
    const struct tr_verbs_peer *peer = &port->peer[t->peer];
    break_target(port, target);
    memset(&peer->channel.board[t->entry], 0, sizeof(struct tr_verbs_note));
    if (tr_verbs_qp_connect(port, t->qp, 0, &peer->path, t->grant.qpn, tr_verbs_psn(port),
                            t->grant.psn) != 0)
        return TR_ENOENT;
    t->generation = t->grant.generation;
    return TR_OK;
}

/* Holds a token against what the owner has granted. */
static int check_token(struct tr_port *port, uint32_t index, const struct tr_verbs_token *token,
                       uint64_t generation, uint32_t *target)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    if (token->magic != TR_VERBS_TOKEN_MAGIC || token->writer != port->self ||
        token->owner != peer->id || generation == 0 || token->generation != generation ||
        (token->zero[0] | token->zero[1] | token->zero[2] | token->zero[3] | token->zero[4]) != 0)
        return TR_EINVAL;
    if (!peer->link.is_confirmed || peer->incarnation == 0)
        return TR_AGAIN;
    if (token->incarnation != peer->incarnation)
        return TR_ENOENT;
    struct tr_verbs_target *t = find_target(port, index, token->ring);
    if (t == NULL || (t->grant.generation != generation && generation > t->grant.generation &&
                      generation > t->generation_lost))
        return TR_AGAIN; /* its frame is on its way */
    if (t->grant.generation != generation)
        return TR_ENOENT;
    *target = (uint32_t)(t - port->target);
    return TR_OK;
}

static uint32_t free_remote(struct tr_port *port)
{
    for (uint32_t i = 0; i < port->remote_count; i++) {
        if (!port->remote[i].is_used && !port->remote[i].is_listed)
            return i;
    }
    return port->remote_count < TARGETS_MAX ? port->remote_count : UINT32_MAX;
}

int tr_verbs_remote_open(struct tr_port *port, tr_node_id id, const struct tr_ring_token *opaque,
                         uint64_t generation, uint32_t *remote)
{
    uint32_t index = tr_verbs_peer_find(port, id), target = 0, at = free_remote(port);
    struct tr_verbs_token token;
    if (index == UINT32_MAX || !port->has_rings)
        return TR_EINVAL;
    memcpy(&token, opaque->bytes, sizeof(token));
    int result = check_token(port, index, &token, generation, &target);
    if (result == TR_AGAIN) { /* it may have come already */
        tr_verbs_control_poll(port, tr_verbs_now_ns());
        result = check_token(port, index, &token, generation, &target);
    }
    if (result == TR_OK && at == UINT32_MAX)
        result = TR_EFULL;
    if (result == TR_OK && port->target[target].generation != generation)
        result = connect_target(port, target);
    if (result != TR_OK)
        return result;
    struct tr_verbs_remote *r = &port->remote[at];
    *r = (struct tr_verbs_remote){.is_used = true,
                                  .target = target,
                                  .peer = index,
                                  .node = id,
                                  .generation = generation,
                                  .write = r->write};
    port->remote_count = tr_max_u32(port->remote_count, at + 1);
    *remote = at;
    return TR_OK;
}

void tr_verbs_remote_close(struct tr_port *port, uint32_t remote)
{
    tr_assert(remote < port->remote_count);
    struct tr_verbs_remote *r = &port->remote[remote];
    if (!r->is_used)
        return;
    bool is_under_way = r->posted != r->done;
    /* Its requests must not go on reading what the caller takes back. */
    if (is_under_way && port->target[r->target].generation == r->generation)
        break_target(port, r->target);
    else
        tr_verbs_remote_break(port, remote);
    r->is_used = false;
}

uint64_t tr_verbs_remote_consumed(struct tr_port *port, uint32_t remote)
{
    tr_assert(remote < port->remote_count && port->remote[remote].is_used);
    struct tr_verbs_remote *r = &port->remote[remote];
    const struct tr_verbs_target *t = &port->target[r->target];
    if (r->is_dead || t->generation != r->generation)
        return r->consumed;
    const struct tr_verbs_note *at = &port->peer[r->peer].channel.board[t->entry];
    uint64_t position = tr_load_acquire(&at->position), seal = tr_load_acquire(&at->seal);
    /* Torn, or of another generation: the next one tells. */
    if (seal == tr_verbs_seal(position, r->generation) && position > r->consumed)
        r->consumed = position;
    return r->consumed;
}
