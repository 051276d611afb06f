/* Pages that are used again. */
#include "tests/sim/pages.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <unordered_map>
#include <vector>

extern "C" {
/* What the linker makes of the C library's (--wrap). */
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);
int __real_madvise(void *at, size_t bytes, int advice);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t bytes);
int __wrap_madvise(void *at, size_t bytes, int advice);
}

namespace sim
{

namespace
{

constexpr uint64_t PAGE = 4096, HUGE = UINT64_C(2) << 20;
constexpr uint64_t RESERVED = UINT64_C(256) << 30; /* addresses, no memory */
/* Up to here all is cleared, without asking which pages are there. */
constexpr uint64_t CLEARED_WHOLE = 16 * PAGE;

/* What /proc/self/pagemap is asked (PAGEMAP_SCAN of linux/fs.h, from Linux 6.7 on): which pages of
 * a range are in memory, or in swap. */
struct Range {
    uint64_t begin, end, kinds;
};
struct Scan {
    uint64_t struct_bytes, flags, begin, end, ended, ranges, ranges_max, pages_max;
    uint64_t inverted, all_of, any_of, told;
};
constexpr unsigned long ASK_SCAN = _IOWR('f', 16, Scan);
constexpr uint64_t IS_THERE = 1 << 3 | 1 << 4;
/* Of older ones a word a page is read. */
constexpr uint64_t WORD_IS_THERE = UINT64_C(3) << 62;
constexpr size_t RANGES = 512, WORDS = 4096; /* that are told at a time */

uint64_t align_up(uint64_t bytes, uint64_t align)
{
    return (bytes + align - 1) / align * align;
}

/* Four sizes an octave, so that few are kept apart. */
uint64_t size_class(uint64_t bytes)
{
    uint64_t octave = PAGE;
    while (octave * 2 <= bytes)
        octave *= 2;
    return align_up(bytes, std::max(octave / 4, PAGE));
}

struct Pages {
    bool is_kept = true;
    uint8_t *base = nullptr; /* of the reservation; NULL: none was made yet */
    int pagemap = -1;
    std::unordered_map<uint64_t, std::vector<uint8_t *>> spare; /* by size class */
    std::map<uint8_t *, uint64_t> taken;                        /* size classes by address */
    PagesCount count = {};

    bool open();
    bool owns(const void *at) const
    {
        return base != nullptr && at >= base && at < base + RESERVED;
    }
    void *take(uint64_t bytes);
    void give(uint8_t *at);
    void clear(uint8_t *at, uint64_t bytes);
    void clear_all(uint8_t *at, uint64_t bytes);
    bool clear_ranges(uint8_t *at, uint64_t bytes);
    bool clear_words(uint8_t *at, uint64_t bytes);
};

Pages &pages()
{
    static Pages all;
    return all;
}

bool Pages::open()
{
    if (base != nullptr)
        return true;
    pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    void *at = MAP_FAILED;
    if (pagemap >= 0)
        at = __real_mmap(nullptr, RESERVED, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        is_kept = false; /* then each time anew */
        return false;
    }
    (void)__real_madvise(at, RESERVED, MADV_NOHUGEPAGE); /* else a byte makes 2 MiB be there */
    base = static_cast<uint8_t *>(at);
    count.reserved =
        align_up(reinterpret_cast<uintptr_t>(base), HUGE) - reinterpret_cast<uintptr_t>(base);
    return true;
}

void Pages::clear_all(uint8_t *at, uint64_t bytes)
{
    memset(at, 0, bytes);
    count.cleared += bytes;
}

/* Clears what a scan says is there. Returns false when it cannot be asked. */
bool Pages::clear_ranges(uint8_t *at, uint64_t bytes)
{
    static Range ranges[RANGES];
    Scan scan = {};
    scan.struct_bytes = sizeof(scan);
    scan.end = reinterpret_cast<uintptr_t>(at) + bytes;
    scan.ended = reinterpret_cast<uintptr_t>(at);
    scan.ranges = reinterpret_cast<uintptr_t>(ranges);
    scan.ranges_max = RANGES;
    scan.any_of = scan.told = IS_THERE;
    while (scan.ended < scan.end) {
        scan.begin = scan.ended;
        int told = ioctl(pagemap, ASK_SCAN, &scan);
        if (told < 0)
            return false;
        for (int i = 0; i < told; i++)
            clear_all(at + (ranges[i].begin - reinterpret_cast<uintptr_t>(at)),
                      ranges[i].end - ranges[i].begin);
    }
    return true;
}

bool Pages::clear_words(uint8_t *at, uint64_t bytes)
{
    static uint64_t words[WORDS];
    for (uint64_t done = 0; done < bytes; done += WORDS * PAGE) {
        size_t n = std::min<size_t>(WORDS, (bytes - done) / PAGE);
        uint64_t first = (reinterpret_cast<uintptr_t>(at) + done) / PAGE;
        ssize_t got = pread(pagemap, words, n * sizeof(words[0]),
                            static_cast<off_t>(first * sizeof(words[0])));
        if (got != static_cast<ssize_t>(n * sizeof(words[0])))
            return false;
        for (size_t i = 0; i < n; i++) {
            if ((words[i] & WORD_IS_THERE) != 0)
                clear_all(at + done + i * PAGE, PAGE);
        }
    }
    return true;
}

void Pages::clear(uint8_t *at, uint64_t bytes)
{
    if (bytes <= CLEARED_WHOLE)
        clear_all(at, bytes);
    else if (!clear_ranges(at, bytes) && !clear_words(at, bytes))
        (void)__real_madvise(at, bytes, MADV_DONTNEED);
}

void *Pages::take(uint64_t bytes)
{
    uint64_t size = size_class(bytes);
    std::vector<uint8_t *> &list = spare[size];
    uint8_t *at;
    if (!list.empty()) {
        at = list.back();
        list.pop_back();
        clear(at, size);
        count.kept -= size;
        count.reused++;
    } else {
        uint64_t begin = align_up(count.reserved, size >= HUGE ? HUGE : PAGE);
        if (begin + size > RESERVED)
            return nullptr;
        count.reserved = begin + size;
        at = base + begin;
    }
    taken[at] = size;
    count.taken += size;
    return at;
}

/* Back, all of it; the end of a region that is cut off stays a part of it. */
void Pages::give(uint8_t *at)
{
    auto found = taken.find(at);
    if (found == taken.end())
        return;
    spare[found->second].push_back(at);
    count.taken -= found->second;
    count.kept += found->second;
    taken.erase(found);
}

} // namespace

void pages_keep(bool keep)
{
    pages().is_kept = keep;
}

PagesCount pages_count()
{
    return pages().count;
}

} // namespace sim

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    sim::Pages &p = sim::pages();
    bool is_own = at == nullptr && fd < 0 && (flags & MAP_PRIVATE) != 0 &&
                  protection == (PROT_READ | PROT_WRITE);
    if (!is_own || !p.is_kept || !p.open())
        return __real_mmap(at, bytes, protection, flags, fd, offset);
    if ((flags & MAP_HUGETLB) != 0) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    void *taken = p.take(bytes);
    return taken != nullptr ? taken : __real_mmap(at, bytes, protection, flags, fd, offset);
}

/* The same on 64-bit machines. */
void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return __wrap_mmap(at, bytes, protection, flags, fd, offset);
}

int __wrap_munmap(void *at, size_t bytes)
{
    if (!sim::pages().owns(at))
        return __real_munmap(at, bytes);
    sim::pages().give(static_cast<uint8_t *>(at));
    return 0;
}

/* Advice to the kernel about memory that it does not manage any more. */
int __wrap_madvise(void *at, size_t bytes, int advice)
{
    return sim::pages().owns(at) ? 0 : __real_madvise(at, bytes, advice);
}
