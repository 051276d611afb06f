// Counts heap allocations of this program, to hold that none happen.
#ifndef TR_TESTS_CONFORMANCE_ALLOCATIONS_H
#define TR_TESTS_CONFORMANCE_ALLOCATIONS_H

#include <cstdint>

namespace conformance
{

class AllocationCount
{
  public:
    AllocationCount();
    uint64_t since_made() const;
    // False under a sanitizer, which has the allocator to itself.
    bool works() const;

  private:
    uint64_t start_;
};

} // namespace conformance

#endif
