/* base/atomic.h over the atomics of the memory-model checker (relacy), which let every load return
 * any value that the C11 memory model allows. Named by TR_ATOMIC_MODEL when tests/memory is
 * compiled. */
#ifndef TR_TESTS_MODEL_ATOMIC_H
#define TR_TESTS_MODEL_ATOMIC_H

#include <relacy/relacy.hpp>

typedef rl::atomic<uint32_t> tr_atomic_u32;
typedef rl::atomic<uint64_t> tr_atomic_u64;

/* What to break on purpose: each run with one of them set must find a failure, or the test that
 * passes without proves nothing. */
struct model_weakness {
    bool acquire; /* acquires are relaxed */
    bool release; /* releases are relaxed */
    bool fence;   /* full fences are left out */
};
inline model_weakness model_weak = {false, false, false};

inline rl::memory_order model_acquire()
{
    return model_weak.acquire ? rl::mo_relaxed : rl::mo_acquire;
}

inline rl::memory_order model_release()
{
    return model_weak.release ? rl::mo_relaxed : rl::mo_release;
}

inline void model_fence_full(rl::debug_info_param info)
{
    if (!model_weak.fence)
        rl::atomic_thread_fence(rl::mo_seq_cst, info);
}

#define tr_load_relaxed(p)         (p)->load(rl::mo_relaxed, $)
#define tr_load_acquire(p)         (p)->load(model_acquire(), $)
#define tr_load_seq_cst(p)         (p)->load(rl::mo_seq_cst, $)
#define tr_store_relaxed(p, value) (p)->store((value), rl::mo_relaxed, $)
#define tr_store_release(p, value) (p)->store((value), model_release(), $)
#define tr_store_seq_cst(p, value) (p)->store((value), rl::mo_seq_cst, $)

#define tr_fetch_add_relaxed(p, value) (p)->fetch_add((value), rl::mo_relaxed, $)
#define tr_fetch_add_acq_rel(p, value) (p)->fetch_add((value), rl::mo_acq_rel, $)
#define tr_exchange_acquire(p, value)  (p)->exchange((value), model_acquire(), $)
#define tr_exchange_acq_rel(p, value)  (p)->exchange((value), rl::mo_acq_rel, $)
#define tr_exchange_seq_cst(p, value)  (p)->exchange((value), rl::mo_seq_cst, $)

#define tr_cas_relaxed(p, expected, desired) \
    (p)->compare_exchange_strong(*(expected), (desired), rl::mo_relaxed, $)
#define tr_cas_weak_relaxed(p, expected, desired) \
    (p)->compare_exchange_weak(*(expected), (desired), rl::mo_relaxed, $)
#define tr_cas_acquire(p, expected, desired) \
    (p)->compare_exchange_strong(*(expected), (desired), model_acquire(), $)
#define tr_cas_acq_rel(p, expected, desired) \
    (p)->compare_exchange_strong(*(expected), (desired), rl::mo_acq_rel, $)
#define tr_cas_seq_cst(p, expected, desired) \
    (p)->compare_exchange_strong(*(expected), (desired), rl::mo_seq_cst, $)

#define tr_fence_full()    model_fence_full($)
#define tr_fence_acquire() rl::atomic_thread_fence(rl::mo_acquire, $)
#define tr_fence_release() rl::atomic_thread_fence(rl::mo_release, $)

inline void tr_cpu_pause(void)
{
    rl::yield(1, $);
}

#endif
