/*
 * Whom to visit in a round: members with recent work always, of the others a few in turn.
 *
 *     for (i = 0; i < r->hot; i++) visit(r->member[i])
 *     for (n = tr_roster_cold_count(r); n > 0; n--) visit(r->member[tr_roster_cold(r)])
 *     tr_roster_age(r)
 *
 * Whoever visits tells tr_roster_worked of the members that had work.
 */
#ifndef TR_DATAPLANE_ROSTER_H
#define TR_DATAPLANE_ROSTER_H

#include "base/assert.h"
#include "base/types.h"

TR_BEGIN_C

/* Cold members visited in a round. */
#define TR_ROSTER_COLD 8u
/* Rounds without work after which a member is cold. */
#define TR_ROSTER_PATIENCE 4096u

struct tr_roster_member {
    void *who;
    uint64_t worked; /* round of its last work */
};

struct tr_roster {
    struct tr_roster_member *member; /* the hot ones first */
    uint32_t max, count;
    uint32_t hot;    /* <= count */
    uint32_t cursor; /* the cold member that was visited last */
    uint32_t aging;  /* the hot member that was looked at last */
    uint64_t round;
};

/* An empty roster in room for so many. */
static inline void tr_roster_init(struct tr_roster *r, struct tr_roster_member *room, uint32_t max)
{
    r->member = room;
    r->max = max;
    r->count = r->hot = r->cursor = r->aging = 0;
    r->round = 0;
}

/* Exchanges two members. */
static inline void tr_roster_swap(struct tr_roster *r, uint32_t a, uint32_t b)
{
    struct tr_roster_member held = r->member[a];
    r->member[a] = r->member[b];
    r->member[b] = held;
}

/* Adds a member, cold. There must be room. */
static inline void tr_roster_add(struct tr_roster *r, void *who)
{
    tr_assert(r->count < r->max);
    r->member[r->count].who = who;
    r->member[r->count].worked = r->round;
    r->count++;
}

/* Removes the member at an index. Cost: the order of the others changes. */
static inline void tr_roster_remove(struct tr_roster *r, uint32_t index)
{
    tr_assert(index < r->count);
    if (index < r->hot) {
        tr_roster_swap(r, index, r->hot - 1);
        index = --r->hot;
    }
    tr_roster_swap(r, index, r->count - 1);
    r->count--;
}

/* Cold members to visit in this round. */
static inline uint32_t tr_roster_cold_count(const struct tr_roster *r)
{
    uint32_t cold = r->count - r->hot;
    return cold < TR_ROSTER_COLD ? cold : TR_ROSTER_COLD;
}

/* Index of the next cold member; there must be one. */
static inline uint32_t tr_roster_cold(struct tr_roster *r)
{
    uint32_t next = r->cursor + 1;
    r->cursor = next >= r->count || next < r->hot ? r->hot : next;
    return r->cursor;
}

/* The member at an index, just visited, had work: it is hot from here on. */
static inline void tr_roster_worked(struct tr_roster *r, uint32_t index)
{
    r->member[index].worked = r->round;
    if (tr_unlikely(index >= r->hot))
        tr_roster_swap(r, index, r->hot++);
}

/* Ends a round: one hot member is looked at whether it goes cold. */
static inline void tr_roster_age(struct tr_roster *r)
{
    r->round++;
    if (r->count <= TR_ROSTER_COLD || r->hot == 0)
        return;
    r->aging = r->aging + 1 < r->hot ? r->aging + 1 : 0;
    if (tr_unlikely(r->round - r->member[r->aging].worked > TR_ROSTER_PATIENCE))
        tr_roster_swap(r, r->aging, --r->hot);
}

TR_END_C

#endif
