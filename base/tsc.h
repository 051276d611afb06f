/* The CPU's time-stamp counter: the cheapest clock there is, in ticks of an unknown length. */
#ifndef TR_BASE_TSC_H
#define TR_BASE_TSC_H

#include "base/types.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

TR_BEGIN_C

/* The counter now; 0 where the target has none. Not ordered with the instructions around it.
 * Thread: any.  Cost: about 20 cycles (more in a virtual machine that traps it). */
static inline uint64_t tr_tsc_read(void)
{
#if defined(__x86_64__)
    return __rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return 0;
#endif
}

/* True if the counter runs at one rate whatever the CPU's frequency and power state, so that ticks
 * can be turned into time. Thread: any.  Cost: microseconds in a virtual machine. */
static inline bool tr_tsc_is_invariant(void)
{
#if defined(__x86_64__)
    /* Leaf 0x80000007, EDX bit 8. Source: AMD APM volume 3, appendix E; Intel SDM volume 3, 18.17.
     */
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(0x80000007u, &a, &b, &c, &d) != 0 && (d >> 8 & 1) != 0;
#elif defined(__aarch64__)
    return true;
#else
    return false;
#endif
}

TR_END_C

#endif
