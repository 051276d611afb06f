/* Atomic operations with the memory order in the name. They act on plain integers, which may lie in
 * memory that processes share. A release names the acquire that it meets, at both ends.
 *
 * The memory-model checker compiles the same callers against its own atomics: it defines
 * TR_ATOMIC_MODEL as the header with its versions of these names (tests/memory). */
#ifndef TR_BASE_ATOMIC_H
#define TR_BASE_ATOMIC_H

#include "base/assert.h"
#include "base/types.h"

#include <string.h>

#ifdef TR_ATOMIC_MODEL
#include TR_ATOMIC_MODEL
#else

/* The integers of structs whose fields are accessed by these operations. */
typedef uint32_t tr_atomic_u32;
typedef uint64_t tr_atomic_u64;

/* Loads: p points to an integer of at most 8 bytes. */
#define tr_load_relaxed(p)             __atomic_load_n((p), __ATOMIC_RELAXED)
#define tr_load_acquire(p)             __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define tr_load_seq_cst(p)             __atomic_load_n((p), __ATOMIC_SEQ_CST)

/* Stores. */
#define tr_store_relaxed(p, value)     __atomic_store_n((p), (value), __ATOMIC_RELAXED)
#define tr_store_release(p, value)     __atomic_store_n((p), (value), __ATOMIC_RELEASE)
#define tr_store_seq_cst(p, value)     __atomic_store_n((p), (value), __ATOMIC_SEQ_CST)

/* Additions and bit operations; each returns what was there before. */
#define tr_fetch_add_relaxed(p, value) __atomic_fetch_add((p), (value), __ATOMIC_RELAXED)
#define tr_fetch_add_acquire(p, value) __atomic_fetch_add((p), (value), __ATOMIC_ACQUIRE)
#define tr_fetch_add_release(p, value) __atomic_fetch_add((p), (value), __ATOMIC_RELEASE)
#define tr_fetch_add_acq_rel(p, value) __atomic_fetch_add((p), (value), __ATOMIC_ACQ_REL)
#define tr_fetch_or_acq_rel(p, value)  __atomic_fetch_or((p), (value), __ATOMIC_ACQ_REL)
#define tr_fetch_and_acq_rel(p, value) __atomic_fetch_and((p), (value), __ATOMIC_ACQ_REL)

/* Exchanges; each returns what was there before. */
#define tr_exchange_acquire(p, value)  __atomic_exchange_n((p), (value), __ATOMIC_ACQUIRE)
#define tr_exchange_release(p, value)  __atomic_exchange_n((p), (value), __ATOMIC_RELEASE)
#define tr_exchange_acq_rel(p, value)  __atomic_exchange_n((p), (value), __ATOMIC_ACQ_REL)
#define tr_exchange_seq_cst(p, value)  __atomic_exchange_n((p), (value), __ATOMIC_SEQ_CST)

/* Compare and swap: true if *p was *expected and is now desired; else *expected is what was there.
 * The order is that of success, failure is relaxed (acquire where success acquires). A weak one may
 * fail without a reason and belongs into a loop. */
#define tr_cas_relaxed(p, expected, desired) \
    __atomic_compare_exchange_n((p), (expected), (desired), 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define tr_cas_weak_relaxed(p, expected, desired) \
    __atomic_compare_exchange_n((p), (expected), (desired), 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define tr_cas_acquire(p, expected, desired) \
    __atomic_compare_exchange_n((p), (expected), (desired), 0, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)
#define tr_cas_release(p, expected, desired) \
    __atomic_compare_exchange_n((p), (expected), (desired), 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define tr_cas_acq_rel(p, expected, desired) \
    __atomic_compare_exchange_n((p), (expected), (desired), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define tr_cas_seq_cst(p, expected, desired) \
    __atomic_compare_exchange_n((p), (expected), (desired), 0, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE)

/* Fences. The full one also orders an earlier store before a later load. */
#define tr_fence_full()    __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define tr_fence_acquire() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define tr_fence_release() __atomic_thread_fence(__ATOMIC_RELEASE)
/* For the compiler alone: the order in which another thread's membarrier finds this one. */
#define tr_fence_signal()  __atomic_signal_fence(__ATOMIC_SEQ_CST)

/* Tells the CPU that this is a waiting loop.
 * Cost: 40 to 140 cycles on x86-64, by model. */
static inline void tr_cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#endif
}

/* Asks for the cache line of an address, to be written soon: another core that has it gives it up
 * meanwhile. Any address may be asked for. */
static inline void tr_prefetch_write(const volatile void *at)
{
#if defined(__x86_64__)
    __asm__ __volatile__("prefetchw %0" : : "m"(*(const volatile char *)at));
#else
    __builtin_prefetch((const void *)at, 1, 3);
#endif
}

/* Copies memory that a peer may still be writing into private memory, word by word: no data race,
 * and each word is one that was stored; the whole may be torn, so it is validated in the copy.
 * Units: src is aligned to 8 and bytes is a multiple of 8; dst may have any alignment. */
static inline void tr_copy_relaxed_8(void *dst, const volatile void *src, size_t bytes)
{
    unsigned char *to = (unsigned char *)dst;
    const volatile uint64_t *from = (const volatile uint64_t *)src;
    tr_assert_hot(((uintptr_t)src | bytes) % 8 == 0);
#pragma GCC unroll 8
    for (size_t i = 0; i < bytes / 8; i++) {
        uint64_t word = tr_load_relaxed(from + i);
        memcpy(to + i * 8, &word, 8);
    }
}

/* The other end of tr_copy_relaxed_8: stores private memory word by word into memory that a peer
 * may be reading. Units: dst is aligned to 8 and bytes is a multiple of 8; src may have any
 * alignment. */
static inline void tr_write_relaxed_8(volatile void *dst, const void *src, size_t bytes)
{
    volatile uint64_t *to = (volatile uint64_t *)dst;
    const unsigned char *from = (const unsigned char *)src;
    tr_assert_hot(((uintptr_t)dst | bytes) % 8 == 0);
#pragma GCC unroll 8
    for (size_t i = 0; i < bytes / 8; i++) {
        uint64_t word;
        memcpy(&word, from + i * 8, 8);
        tr_store_relaxed(to + i, word);
    }
}

#endif
#endif
