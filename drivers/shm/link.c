/* How ports of the shm driver find, lose and find each other again. Nothing here is on the path of
 * a message: it runs once in TR_SHM_TICK_POLLS receives. */
#include "drivers/shm/inner.h"

#include <string.h>
#include <time.h>
#include <trireme/error.h>

/* The receiving ends. */

static struct tr_shm_inbound *inbound_of(struct tr_port *port, const char *name)
{
    for (uint32_t i = 0; i < port->inbound_count; i++) {
        if (strcmp(port->inbound_name[port->inbound[i].index], name) == 0)
            return &port->inbound[i];
    }
    return NULL;
}

int tr_shm_inbound_add(struct tr_port *port, tr_node_id peer, const char *name)
{
    struct tr_shm_segment *segment = &port->segment;
    struct tr_shm_inbound *in = inbound_of(port, name);
    if (in == NULL) {
        uint32_t index = port->inbound_count;
        if (index == segment->shape.lane_count)
            return TR_EFULL;
        in = &port->inbound[index];
        memset(in, 0, sizeof(*in));
        in->index = (uint16_t)index;
        in->next = &port->zero;
        in->lane = tr_shm_lane_of(segment, index);
        in->lane_mask = segment->shape.lane_bytes - 1;
        in->data = tr_shm_lane_data(segment, index);
        uint64_t offset = (uint64_t)(in->data - segment->base);
        if (tr_shm_segment_reserve(segment, offset, segment->shape.lane_bytes) != TR_OK)
            return TR_ENOMEM;
        memcpy(port->inbound_name[index], name, strlen(name) + 1);
        memcpy(in->lane->sender, name, strlen(name) + 1);
        tr_store_release(&in->lane->assigned, 1u); /* meets lane_at */
        port->inbound_count++;
        port->inbound_hot = tr_min_u32(port->inbound_count, TR_SHM_HOT_LANES);
    }
    if (in->peer == 0)
        in->peer = peer;
    return TR_OK;
}

void tr_shm_inbound_remove(struct tr_port *port, tr_node_id peer)
{
    for (uint32_t i = 0; i < port->inbound_count; i++) {
        struct tr_shm_inbound *in = &port->inbound[i];
        if (in->peer != peer)
            continue;
        in->peer = 0;
        tr_shm_inbound_connect(port, in, 0);
        tr_store_release(&in->lane->accepted, UINT64_C(0)); /* (C), meets peer_tick */
    }
}

/* Answers a sender that wants to connect, once nothing of its former connection is unread. What
 * this side writes is written again if somebody changed it, so that it does no lasting harm. */
static void inbound_tick(struct tr_port *port, struct tr_shm_inbound *in)
{
    uint64_t request = tr_load_acquire(&in->lane->request); /* meets request_lane */
    if (tr_load_relaxed(&in->lane->head) != in->position)
        tr_shm_tell_head(in);
    bool is_read = in->connection == 0 || tr_load_relaxed(in->next) == 0;
    if (in->peer != 0 && request != in->request_last && is_read) {
        in->position = 0;
        tr_store_relaxed(tr_shm_header_at(in->data, 0), UINT64_C(0));
        tr_shm_tell_head(in);
        in->request_last = request; /* once: a sender that does not know that it ended goes on */
        tr_shm_inbound_connect(port, in, request);
    }
    if (tr_load_relaxed(&in->lane->accepted) != in->connection)
        tr_store_release(&in->lane->accepted, in->connection); /* (C), meets peer_tick */
}

/* The sending ends. */

static uint64_t coarse_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A link that is not up: what is sent is lost, which tx_burst notices by the limit. */
static void set_down(struct tr_shm_peer *peer, enum tr_shm_link link)
{
    peer->link = (uint16_t)link;
    peer->limit = 0;
}

void tr_shm_peer_detach(struct tr_port *port, uint32_t index)
{
    struct tr_shm_peer *peer = &port->peer[index];
    tr_shm_remotes_break(port, index);
    if (peer->lane != NULL)
        tr_store_release(&peer->lane->request, UINT64_C(0)); /* meets inbound_tick */
    peer->lane = NULL;
    set_down(peer, TR_SHM_LINK_ABSENT);
    tr_shm_segment_detach(&peer->segment);
}

/* Looks for the peer's segment, or for one that replaced the one that is mapped. Returns: whether
 * it tried. */
static bool attach(struct tr_port *port, uint32_t index, uint64_t now_ns)
{
    struct tr_shm_peer *peer = &port->peer[index];
    struct tr_shm_segment found;
    if (now_ns < peer->attach_ns)
        return false;
    int error = tr_shm_segment_attach(&found, peer->name, port->queue, peer->segment.inode);
    if (error != TR_OK) {
        peer->attach_wait_ns = tr_min_u64(2 * peer->attach_wait_ns, TR_SHM_ATTACH_NS_MAX);
        peer->attach_ns = now_ns + peer->attach_wait_ns;
        return true;
    }
    peer->lane = NULL; /* of a process that is gone: nothing to say there any more */
    tr_shm_peer_detach(port, index);
    peer->segment = found;
    peer->rings_seen = 0;
    peer->attach_wait_ns = TR_SHM_ATTACH_NS;
    set_down(peer, TR_SHM_LINK_LANE);
    return true;
}

/* The lane that the peer made for us, or NULL. */
static struct tr_shm_lane *lane_at(const struct tr_port *port, const struct tr_shm_peer *peer,
                                   uint32_t *index)
{
    for (uint32_t i = 0; i < peer->segment.shape.lane_count; i++) {
        struct tr_shm_lane *lane = tr_shm_lane_of(&peer->segment, i);
        if (tr_load_acquire(&lane->assigned) ==
            0) /* meets tr_shm_inbound_add; in order, so no more */
            break;
        if (strncmp(lane->sender, port->name, sizeof(lane->sender)) == 0) {
            *index = i;
            return lane;
        }
    }
    return NULL;
}

static void request_lane(struct tr_port *port, struct tr_shm_peer *peer)
{
    uint32_t index;
    struct tr_shm_lane *lane = lane_at(port, peer, &index);
    if (lane == NULL)
        return;
    if (peer->lane != lane) {
        uint64_t offset =
            peer->segment.at.lane_data + (uint64_t)index * peer->segment.shape.lane_bytes;
        if (tr_shm_segment_file_bytes(&peer->segment) < peer->segment.at.ring_data)
            return; /* cut short by someone: not to be touched */
        tr_shm_segment_populate(&peer->segment, offset, peer->segment.shape.lane_bytes);
    }
    peer->lane = lane;
    peer->lane_data = tr_shm_lane_data(&peer->segment, index);
    peer->lane_mask = peer->segment.shape.lane_bytes - 1;
    peer->message_bytes_max =
        tr_min_u32(port->message_bytes_max, peer->segment.shape.message_bytes_max);
    do {
        peer->request = port->request_next++;
    } while (peer->request == 0);
    set_down(peer, TR_SHM_LINK_REQUESTED);
    tr_store_release(&lane->request, peer->request); /* meets inbound_tick */
}

/* The lane was accepted: it begins at position 0, where the receiver put a zero. */
static void connect_lane(struct tr_shm_peer *peer)
{
    peer->tail = 0;
    peer->head_seen = 0;
    peer->link = TR_SHM_LINK_UP; /* the limit is still 0: the first message asks for room */
}

/* Maps the rings that the peer made for this node before they are granted: an election is no time
 * for page faults. One a tick. */
static void map_rings(struct tr_port *port, uint32_t index)
{
    struct tr_shm_peer *peer = &port->peer[index];
    uint32_t made = tr_load_acquire(&tr_shm_identity_of(&peer->segment)->ring_made);
    struct tr_shm_ring_map map;
    if (peer->rings_seen < tr_min_u32(made, peer->segment.shape.ring_count))
        tr_shm_ring_map(port, index, peer->rings_seen++, &map); /* else remote_open will tell */
}

static void peer_tick(struct tr_port *port, uint32_t index)
{
    struct tr_shm_peer *peer = &port->peer[index];
    if (!tr_shm_segment_lives(&peer->segment)) {
        set_down(peer, TR_SHM_LINK_ABSENT); /* mapped until it is replaced: its rings are there */
        peer->attach_ns = 0;
        peer->attach_wait_ns = TR_SHM_ATTACH_NS;
        return;
    }
    uint64_t accepted = 0;
    if (peer->lane != NULL)
        accepted = tr_load_acquire(&peer->lane->accepted); /* (C), meets inbound_tick */
    if (peer->link == TR_SHM_LINK_REQUESTED && accepted == peer->request)
        connect_lane(peer);
    else if (peer->link == TR_SHM_LINK_UP && accepted != peer->request)
        set_down(peer,
                 TR_SHM_LINK_LANE); /* it was not understood, or removed: from the beginning */
    if (peer->lane != NULL && peer->link != TR_SHM_LINK_LANE &&
        tr_load_relaxed(&peer->lane->request) != peer->request)
        set_down(peer, TR_SHM_LINK_LANE); /* somebody else wrote there */
    if (peer->link == TR_SHM_LINK_LANE)
        request_lane(port, peer);
    map_rings(port, index);
}

void tr_shm_tick(struct tr_port *port)
{
    uint64_t now_ns = 0;
    bool tried = false;
    if (tr_unlikely(!tr_shm_life_is_mine(&port->segment)))
        tr_shm_life_adopt(&port->segment);
    for (uint32_t i = 0; i < port->inbound_count; i++)
        inbound_tick(port, &port->inbound[i]);
    for (uint32_t i = 0; i < port->peer_count; i++) {
        struct tr_shm_peer *peer = &port->peer[i];
        if (peer->link == TR_SHM_LINK_UNUSED)
            continue;
        if (peer->link == TR_SHM_LINK_ABSENT && peer->segment.base != NULL &&
            tr_shm_segment_lives(&peer->segment))
            set_down(peer, TR_SHM_LINK_LANE); /* it had changed its thread, and seemed dead */
        if (peer->link != TR_SHM_LINK_ABSENT) {
            peer_tick(port, i);
            continue;
        }
        if (now_ns == 0)
            now_ns = coarse_now_ns();
        if (!tried)
            tried = attach(port, i, now_ns);
    }
}
