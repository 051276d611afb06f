/* Profiles: how bad a simulated world is. */
#include "drivers/sim/inner.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)

struct tr_sim_profile tr_sim_profile_calm(void)
{
    return (struct tr_sim_profile){
        .delay_ns = {5 * US, 10 * US},
        .write_ns = {1 * US, 2 * US},
        .write_timeout_ns = 1 * MS,
        .fence_ns = {1 * US, 5 * US},
        .notice_ppm = 1000000,
        .notice_ns = {50 * US, 300 * US},
    };
}

struct tr_sim_profile tr_sim_profile_stormy(void)
{
    struct tr_sim_profile p = tr_sim_profile_calm();
    p.drop_ppm = 10000;
    p.duplicate_ppm = 5000;
    p.corrupt_ppm = 2000;
    p.reorder_ppm = 10000;
    p.reorder_ns = (struct tr_sim_span){1 * US, 100 * US};
    p.tail_ppm = 2000;
    p.tail_ns = (struct tr_sim_span){50 * US, 50 * MS};
    p.write_torn_ppm = 20000;
    p.write_early_ppm = 10000;
    p.write_reorder_ppm = 10000;
    p.write_lost_ppm = 500;
    p.write_broken_ppm = 500;
    p.write_spread_ns = (struct tr_sim_span){0, 20 * US};
    p.write_late_ns = (struct tr_sim_span){1 * US, 200 * US};
    p.fence_ns = (struct tr_sim_span){1 * US, 100 * US};
    p.orphan_ppm = 500000;
    p.notice_ppm = 500000;
    return p;
}

/* A rate that is nought as often as not, and else log-uniform up to the most. */
static uint32_t draw_ppm(struct tr_prng *prng, uint32_t most)
{
    uint64_t draw = tr_prng_next(prng);
    uint32_t halved = most >> (draw >> 8) % 10;
    return draw & 1 ? (uint32_t)tr_prng_below(prng, (uint64_t)halved + 1) : 0;
}

/* A span up to between low and high. */
static struct tr_sim_span draw_span(struct tr_prng *prng, uint64_t low_ns, uint64_t high_ns)
{
    return (struct tr_sim_span){low_ns, low_ns + tr_prng_below(prng, high_ns - low_ns + 1)};
}

struct tr_sim_profile tr_sim_profile_drawn(uint64_t seed)
{
    static const uint32_t datagrams[] = {256, 576, 1472, 4096, 8952};
    struct tr_sim_profile p = tr_sim_profile_calm();
    struct tr_prng prng;
    tr_prng_seed(&prng, seed);
    p.drop_ppm = draw_ppm(&prng, 200000);
    p.duplicate_ppm = draw_ppm(&prng, 100000);
    p.corrupt_ppm = draw_ppm(&prng, 20000);
    p.reorder_ppm = draw_ppm(&prng, 200000);
    p.tail_ppm = draw_ppm(&prng, 50000);
    p.datagram_bytes = datagrams[tr_prng_below(&prng, TR_ARRAY_COUNT(datagrams))];
    p.delay_ns = draw_span(&prng, 1 * US, 100 * US);
    p.reorder_ns = draw_span(&prng, 1 * US, 1 * MS);
    p.tail_ns = (struct tr_sim_span){50 * US, (1 + tr_prng_below(&prng, 100)) * MS};
    p.write_torn_ppm = draw_ppm(&prng, 500000);
    p.write_early_ppm = draw_ppm(&prng, 500000);
    p.write_reorder_ppm = draw_ppm(&prng, 200000);
    p.write_lost_ppm = draw_ppm(&prng, 10000);
    p.write_broken_ppm = draw_ppm(&prng, 10000);
    p.write_ns = draw_span(&prng, 500, 20 * US);
    p.write_spread_ns = draw_span(&prng, 0, 100 * US);
    p.write_late_ns = draw_span(&prng, 1 * US, 1 * MS);
    p.fence_ns = draw_span(&prng, 1, 500 * US);
    p.orphan_ppm = draw_ppm(&prng, 1000000);
    p.notice_ppm = draw_ppm(&prng, 1000000);
    p.notice_ns = draw_span(&prng, 50 * US, 5 * MS);
    return p;
}
