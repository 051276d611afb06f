/* REPLICATE lowered: a cursor of slots a peer, sent by messages or by one-sided writes. */
#include "dataplane/group.h"

#include "base/assert.h"
#include "base/bytes.h"

/* Joins two ranges into the smallest that holds both. */
static void join(struct tr_range *into, uint64_t first, uint64_t last)
{
    into->first = tr_min_u64(into->first, first);
    into->last = tr_max_u64(into->last, last);
}

void tr_outlet_add(struct tr_outlet *o, uint64_t first, uint64_t last)
{
    tr_assert_hot(first <= last);
    if (tr_likely(o->range_count == 0)) {
        o->range[0].first = first;
        o->range[0].last = last;
        o->range_count = 1;
        return;
    }
    struct tr_range *newest = &o->range[o->range_count - 1];
    /* What follows on or overlaps is joined; so is everything once the list is full. */
    if ((first <= newest->last + 1 && newest->first <= last + 1) ||
        o->range_count == TR_OUTLET_RANGES) {
        join(newest, first, last);
        return;
    }
    o->range[o->range_count].first = first;
    o->range[o->range_count].last = last;
    o->range_count++;
}

/* Drops the first range of an outlet. */
static void next_range(struct tr_group *g, struct tr_outlet *o)
{
    o->range_count--;
    for (uint32_t i = 0; i < o->range_count; i++)
        o->range[i] = o->range[i + 1];
    if (o->range_count == 0)
        g->outlets_due &= (uint16_t) ~(1u << o->member);
}

void tr_outlet_sent(struct tr_group *g, struct tr_outlet *o, uint64_t last)
{
    if (o->range[0].last <= last)
        next_range(g, o);
    else
        o->range[0].first = last + 1;
}

uint32_t tr_send_burst(struct tr_lcore *l, const struct tr_tx *tx, uint32_t count)
{
    uint32_t taken = 0;
    uint32_t at = 0;
    l->tx_dirty = true;
    /* A full queue holds back those behind it: they are offered again without it. */
    while (at < count) {
        uint32_t n = l->driver->tx_burst(l->port, tx + at, count - at);
        taken |= ((1u << n) - 1) << at;
        at += n + 1;
    }
    return taken;
}

/* One Accept message on its way to all peers that are to be sent the same slots. */
struct accept {
    uint64_t header[TR_MESSAGE_HEADER_BYTES_MAX / 8];
    struct tr_piece piece[1 + TR_SEND_PIECES_MAX];
    uint32_t piece_count;
    struct tr_tx tx[TR_MEMBERS_MAX];
    struct tr_outlet *to[TR_MEMBERS_MAX];
    uint32_t count;
};

static void address(struct accept *m, struct tr_outlet *o)
{
    struct tr_tx *tx = &m->tx[m->count];
    m->to[m->count++] = o;
    tx->peer = o->node;
    tx->segment_count = (uint16_t)m->piece_count;
    for (uint32_t i = 0; i < m->piece_count; i++) {
        tx->segment[i].data = m->piece[i].data;
        tx->segment[i].bytes = m->piece[i].bytes;
    }
}

/* Encodes the first range of an outlet once, for all of `due` that begin with the same range.
 * Returns a mask of those served, so that they are not looked at again in this round; *taken counts
 * messages that drivers took. */
static uint16_t send_first_range(struct tr_group *g, struct tr_outlet *o, uint16_t due,
                                 uint32_t *taken)
{
    struct accept m;
    struct tr_range range = o->range[0];
    uint16_t served = 0;
    uint64_t last =
        tr_replica_accept(g->replica, range.first, range.last, m.header, m.piece, &m.piece_count);
    m.count = 0;
    for (; due != 0; due &= (uint16_t)(due - 1)) {
        struct tr_outlet *peer = &g->outlet[__builtin_ctz(due)];
        if (peer->range[0].first != range.first || peer->range[0].last != range.last)
            continue;
        served |= (uint16_t)(1u << peer->member);
        if (tr_unlikely(last < range.first))
            next_range(g, peer); /* not this leader's to send any more */
        else
            address(&m, peer);
    }
    uint32_t mask = m.count != 0 ? tr_send_burst(g->lcore, m.tx, m.count) : 0;
    for (uint32_t i = 0; i < m.count; i++) {
        if ((mask >> i & 1) != 0)
            tr_outlet_sent(g, m.to[i], last);
        else
            g->outlets_stuck |= (uint16_t)(1u << m.to[i]->member);
    }
    *taken += (uint32_t)__builtin_popcount(mask);
    return served;
}

/* One message to each peer of the mask. Returns messages taken. */
static uint32_t send_round(struct tr_group *g, uint16_t due)
{
    uint32_t taken = 0;
    while (due != 0) {
        struct tr_outlet *o = &g->outlet[__builtin_ctz(due)];
        due &= (uint16_t)~send_first_range(g, o, due, &taken);
    }
    return taken;
}

static tr_noinline void sample_replicated(struct tr_group *g)
{
    uint64_t now_ns = tr_clock_now_ns(&g->lcore->clock);
    g->sample.replicated = true;
    tr_histogram_record(g->lcore->stats.replicate, now_ns - g->sample.proposed_ns);
}

uint32_t tr_replicate_flush(struct tr_group *g)
{
    uint32_t work = 0;
    uint16_t messages = 0;
    for (uint16_t due = g->outlets_due; due != 0; due &= (uint16_t)(due - 1)) {
        struct tr_outlet *o = &g->outlet[__builtin_ctz(due)];
        if (g->one_sided && tr_ring_write_ready(g, o))
            work += tr_ring_write(g, o);
        else
            messages |= (uint16_t)(1u << o->member);
    }
    g->outlets_stuck = 0;
    for (uint32_t i = 0; i < TR_FLUSH_MESSAGES && messages != 0; i++) {
        work += send_round(g, messages);
        messages &= g->outlets_due & (uint16_t)~g->outlets_stuck;
    }
    if (tr_unlikely(g->sample.slot != 0 && !g->sample.replicated && g->outlets_due == 0))
        sample_replicated(g);
    return work;
}
