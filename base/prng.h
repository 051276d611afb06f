/* A small, fast random source that replays exactly from its seed: splitmix64 spreads the seed,
 * xoshiro256** makes the numbers. Not for secrets.
 * Source: Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", 2021. */
#ifndef TR_BASE_PRNG_H
#define TR_BASE_PRNG_H

#include "base/assert.h"
#include "base/types.h"

TR_BEGIN_C

/* The state; never all zero. Two sources with the same state make the same numbers. */
struct tr_prng {
    uint64_t state[4];
};

/* One step of splitmix64: advances *x and returns a well-mixed number. */
static inline uint64_t tr_splitmix64(uint64_t *x)
{
    uint64_t z = (*x += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Starts a source; every seed, 0 too, gives a good one. */
static inline void tr_prng_seed(struct tr_prng *p, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++)
        p->state[i] = tr_splitmix64(&seed);
}

/* x turned left by k bits, 0 < k < 64. */
static inline uint64_t tr_rotate_left_u64(uint64_t x, unsigned k)
{
    return (x << k) | (x >> (64 - k));
}

/* The next number, all 64 bits uniform. */
static inline uint64_t tr_prng_next(struct tr_prng *p)
{
    uint64_t *s = p->state;
    uint64_t result = tr_rotate_left_u64(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = tr_rotate_left_u64(s[3], 45);
    return result;
}

/* A number in [0, bound), each as likely as any other; bound is not 0.
 * Source: Lemire, "Fast Random Integer Generation in an Interval", 2019. */
static inline uint64_t tr_prng_below(struct tr_prng *p, uint64_t bound)
{
    __extension__ typedef unsigned __int128 product_t;
    tr_assert(bound != 0);
    product_t m = (product_t)tr_prng_next(p) * bound;
    /* The first (2^64 mod bound) low halves would favour some results: draw again. Taken with a
     * chance below bound / 2^64 each time. */
    if (tr_unlikely((uint64_t)m < bound)) {
        uint64_t least = (0 - bound) % bound;
        while ((uint64_t)m < least)
            m = (product_t)tr_prng_next(p) * bound;
    }
    return (uint64_t)(m >> 64);
}

/* True with a chance of ppm in a million; never for 0, always from 1,000,000. */
static inline bool tr_prng_chance(struct tr_prng *p, uint32_t ppm)
{
    return tr_prng_below(p, 1000000) < ppm;
}

TR_END_C

#endif
