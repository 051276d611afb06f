/* Calibration of the polling threads' clock, and its comparison with the system's. */
#include "dataplane/clock.h"

#define CALIBRATION_NS UINT64_C(2000000)
#define STRIKES_MAX    3
/* A counter this far from the system's clock within one resync period is not believed. */
#define AHEAD_MAX_NS UINT64_C(1000000)

/* Reads both clocks as near to each other as some tries give. */
static void read_both(uint64_t *tsc, uint64_t *ns)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 4; i++) {
        uint64_t before = tr_tsc_read();
        uint64_t system_ns = tr_clock_system_ns();
        uint64_t after = tr_tsc_read();
        if (after - before < best) {
            best = after - before;
            *tsc = before + (after - before) / 2;
            *ns = system_ns;
        }
    }
}

/* Nanoseconds a tick, times 2^32, between two comparisons. */
static uint64_t rate_between(uint64_t ns, uint64_t ticks)
{
    __extension__ typedef unsigned __int128 wide_t;
    return (uint64_t)(((wide_t)ns << 32) / ticks);
}

void tr_clock_open(struct tr_clock *c)
{
    uint64_t tsc = 0, ns = 0;
    *c = (struct tr_clock){0};
    if (!tr_tsc_is_invariant())
        return;
    read_both(&c->anchor_tsc, &c->anchor_ns);
    do
        read_both(&tsc, &ns);
    while (ns - c->anchor_ns < CALIBRATION_NS);
    if (tsc <= c->anchor_tsc)
        return;
    c->mult = rate_between(ns - c->anchor_ns, tsc - c->anchor_tsc);
    c->base_tsc = tsc;
    c->base_ns = ns;
    /* The product of ticks and mult stays below 2^64: 10 ms are 2^24 ns, times 2^32. */
    c->resync_tsc = ((TR_CLOCK_RESYNC_NS << 24) / (c->mult >> 8)) | 1;
    c->counter = true;
}

/* The later of ns and what was given out last. */
static uint64_t give_out(struct tr_clock *c, uint64_t ns)
{
    c->last_ns = ns > c->last_ns ? ns : c->last_ns;
    return c->last_ns;
}

void tr_clock_follow(struct tr_clock *c, const uint64_t *virtual_ns)
{
    *c = (struct tr_clock){.virtual_ns = virtual_ns}; /* resync_tsc 0: every reading comes here */
}

/* Whether the counter ran as expected since the last comparison. */
static bool believable(const struct tr_clock *c, uint64_t tsc, uint64_t counted_ns, uint64_t ns)
{
    return tsc >= c->base_tsc && (counted_ns <= ns || counted_ns - ns <= AHEAD_MAX_NS);
}

uint64_t tr_clock_resync(struct tr_clock *c)
{
    uint64_t tsc, ns;
    __extension__ typedef unsigned __int128 wide_t;
    if (c->virtual_ns != NULL)
        return give_out(c, *c->virtual_ns);
    if (!c->counter)
        return give_out(c, tr_clock_system_ns());
    read_both(&tsc, &ns);
    uint64_t counted_ns = c->base_ns + (uint64_t)(((wide_t)(tsc - c->base_tsc) * c->mult) >> 32);
    if (!believable(c, tsc, counted_ns, ns)) {
        c->strikes++;
        if (c->strikes >= STRIKES_MAX)
            c->resync_tsc = 0; /* the counter is given up: every reading comes here */
        c->counter = c->strikes < STRIKES_MAX;
        c->base_tsc = tsc;
        c->base_ns = ns;
        return give_out(c, ns);
    }
    c->strikes = 0;
    if (tsc > c->anchor_tsc && ns > c->anchor_ns)
        c->mult = rate_between(ns - c->anchor_ns, tsc - c->anchor_tsc);
    c->base_tsc = tsc;
    c->base_ns = ns;
    if (counted_ns > ns) {
        /* Ahead: stand where we are, and go 0.1 % slower until the next comparison. */
        c->base_ns = counted_ns;
        c->mult -= c->mult >> 10;
    }
    return give_out(c, c->base_ns);
}
