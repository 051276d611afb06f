#include "allocations.h"

#include <atomic>
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TR_ALLOCATIONS_COUNTED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TR_ALLOCATIONS_COUNTED 0
#endif
#endif
#ifndef TR_ALLOCATIONS_COUNTED
#define TR_ALLOCATIONS_COUNTED 1
#endif

static std::atomic<uint64_t> allocations;

#if TR_ALLOCATIONS_COUNTED
extern "C" {
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *at, size_t bytes);

void *malloc(size_t bytes)
{
    allocations.fetch_add(1, std::memory_order_relaxed);
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    allocations.fetch_add(1, std::memory_order_relaxed);
    return __libc_calloc(count, bytes);
}

void *realloc(void *at, size_t bytes)
{
    allocations.fetch_add(1, std::memory_order_relaxed);
    return __libc_realloc(at, bytes);
}
}
#endif

namespace conformance
{

AllocationCount::AllocationCount() : start_(allocations.load()) {}

uint64_t AllocationCount::since_made() const
{
    return allocations.load() - start_;
}

bool AllocationCount::works() const
{
    return TR_ALLOCATIONS_COUNTED != 0;
}

} // namespace conformance
