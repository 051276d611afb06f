/* Who comes to a door: strangers, and those of them that were adopted.
 *
 * A stranger has proved that it has the clients' key, and has a place, in memory that was taken at
 * open: a link and a channel, for messages alone. As long as it is not adopted it may lose the
 * place to the next. Whatever it says and does touches nothing but its place. */
#include "drivers/verbs/inner.h"

/* A stranger who wrote so lately keeps its place, whoever else comes. */
#define CROWDED_NS UINT64_C(100000000)
/* One whose messages cannot come for so long is let go: the exchange hurries for its sake. */
#define UNSETTLED_NS UINT64_C(2000000000)

int tr_verbs_strangers_open(struct tr_port *port)
{
    int result = TR_OK;
    for (uint32_t i = port->adopt_first; i < port->place_count && result == TR_OK; i++)
        result = tr_verbs_channel_take(port, &port->peer[i]);
    return result;
}

uint32_t tr_verbs_stranger_take(struct tr_port *port)
{
    uint64_t now_ns = tr_verbs_now_ns();
    uint32_t place = UINT32_MAX;
    for (uint32_t i = port->adopt_first; i < port->place_count; i++) {
        const struct tr_verbs_peer *peer = &port->peer[i];
        if (peer->id != 0)
            continue;
        if (!peer->is_stranger) {
            place = i;
            break;
        }
        if (!peer->is_used && now_ns - peer->used_ns > CROWDED_NS &&
            (place == UINT32_MAX || peer->used_ns < port->peer[place].used_ns))
            place = i;
    }
    if (place == UINT32_MAX)
        return place;
    struct tr_verbs_peer *peer = &port->peer[place];
    tr_verbs_link_down(port, place);
    peer->is_stranger = true;
    peer->is_client = false;
    peer->is_used = false;
    peer->used_ns = peer->settled_ns = now_ns;
    peer->told_up = false;
    peer->incarnation = 0;
    return place;
}

void tr_verbs_stranger_end(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    if (peer->id == 0)
        peer->is_stranger = false;
}

void tr_verbs_stranger_tend(struct tr_port *port, uint32_t index, uint64_t now_ns)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    if (peer->link.state == LINK_NONE)
        return;
    if (peer->is_up && peer->channel.is_ready)
        peer->settled_ns = now_ns;
    else if (now_ns > peer->settled_ns && now_ns - peer->settled_ns > UNSETTLED_NS)
        tr_verbs_link_down(port, index);
}

bool tr_verbs_stranger_has_words(struct tr_port *port, uint32_t index)
{
    tr_verbs_stash(port);
    for (uint32_t i = 0; i < port->stash_count; i++) {
        const struct ibv_wc *wc = &port->stash[(port->stash_head + i) % port->stash_max];
        if (wc->wr_id >> 48 == index && wc->status == IBV_WC_SUCCESS)
            return true;
    }
    return false;
}

void tr_verbs_stranger_release(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    peer->id = 0;
    peer->told_up = false;
    peer->is_stranger = peer->link.is_confirmed;
}

int tr_verbs_peer_adopt(struct tr_port *port, tr_node_id id, uint32_t source)
{
    uint32_t adopted = 0, peers = 0;
    if (id == 0 || source >= port->place_count)
        return TR_EINVAL;
    struct tr_verbs_peer *peer = &port->peer[source];
    if (tr_verbs_peer_find(port, id) != UINT32_MAX || peer->id != 0)
        return TR_EEXIST;
    if (!peer->is_stranger)
        return TR_EINVAL; /* it is gone already */
    for (uint32_t i = 0; i < port->place_count; i++) {
        peers += port->peer[i].id != 0;
        adopted += port->peer[i].id != 0 && port->peer[i].is_stranger;
    }
    if (adopted >= port->adopt_max || peers >= port->peers_max)
        return TR_EFULL;
    peer->id = id;
    peer->told_up = true; /* it has written: only its end is news */
    peer->told_link = peer->link_number;
    peer->told_incarnation = peer->incarnation;
    return TR_OK;
}
