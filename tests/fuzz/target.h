/* What fuzz targets share: an input is read as choices, and what must hold is required. */
#ifndef TR_TESTS_FUZZ_TARGET_H
#define TR_TESTS_FUZZ_TARGET_H

#include "base/canary.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

namespace fuzz
{

/* Ends the process when something does not hold: the fuzzer keeps the input then. */
inline void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

enum { TR_CANARY_PLANTED = 1 };

/* Whether this build of the target has its planted bug, which its corpus must find. */
inline bool planted()
{
    return TR_CANARY(uint32_t(TR_CANARY_PLANTED), PLANTED);
}

/* Bytes in memory of exactly their length, so that the address sanitizer sees a read past them;
 * aligned to 16. */
class Exact
{
  public:
    explicit Exact(size_t bytes) : memory_(new uint8_t[bytes]()), bytes_(bytes) {}
    Exact(const void *data, size_t bytes) : Exact(bytes)
    {
        if (bytes != 0)
            memcpy(memory_.get(), data, bytes);
    }
    uint8_t *data()
    {
        return memory_.get();
    }
    size_t size() const
    {
        return bytes_;
    }
    uint32_t size32() const
    {
        return static_cast<uint32_t>(bytes_);
    }

  private:
    std::unique_ptr<uint8_t[]> memory_;
    size_t bytes_;
};

/* The choices of an input, front to back; zeros when it has ended. */
class Input
{
  public:
    Input(const uint8_t *data, size_t bytes) : next_(data), left_(bytes) {}
    bool ended() const
    {
        return left_ == 0;
    }
    size_t left() const
    {
        return left_;
    }
    uint8_t u8()
    {
        if (left_ == 0)
            return 0;
        left_--;
        return *next_++;
    }
    uint16_t u16()
    {
        uint16_t low = u8();
        return static_cast<uint16_t>(low | u8() << 8);
    }
    uint32_t u32()
    {
        uint32_t low = u16();
        return low | static_cast<uint32_t>(u16()) << 16;
    }
    uint64_t u64()
    {
        uint64_t low = u32();
        return low | static_cast<uint64_t>(u32()) << 32;
    }
    uint32_t below(uint32_t bound)
    {
        return u8() % bound;
    }
    /* So many bytes, or what is left. */
    Exact take(size_t bytes)
    {
        size_t taken = bytes < left_ ? bytes : left_;
        Exact out(next_, taken);
        next_ += taken;
        left_ -= taken;
        return out;
    }
    Exact rest()
    {
        return take(left_);
    }

  private:
    const uint8_t *next_;
    size_t left_;
};

} // namespace fuzz

#endif
