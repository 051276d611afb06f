// The fence word of a one-sided ring, the same header, under the memory-model checker (safety rules
// 4 to 6): what the writer counts, the owner's drain after the fence finds.
#include "drivers/fence.h"

#include "checker.h"

#include <cstdlib>

void tr_panic(const char *file, int line, const char *expression)
{
    printf("%s:%d: assertion failed: %s\n", file, line, expression);
    abort();
}

namespace
{

const uint64_t first_generation = 7;
const uint64_t second_generation = 8;

// The owner fences while the writer stores: every record that counts is found by the drain.
struct drain_model : rl::test_suite<drain_model, 2> {
    tr_atomic_u64 word;
    tr_atomic_u64 records[2];
    bool counted[2];
    bool found[2];

    void before()
    {
        tr_store_relaxed(&records[0], UINT64_C(0));
        tr_store_relaxed(&records[1], UINT64_C(0));
        tr_fence_word_open(&word, first_generation);
        counted[0] = counted[1] = found[0] = found[1] = false;
    }

    void thread(unsigned index)
    {
        index == 0 ? write() : fence();
    }

    void write()
    {
        for (unsigned i = 0; i < 2; i++) {
            tr_store_relaxed(&records[i], UINT64_C(1));
            tr_fence_word_settle();
            counted[i] = tr_fence_word_counts(&word, first_generation);
        }
    }

    void fence()
    {
        tr_fence_word_close(&word);
        for (unsigned i = 0; i < 2; i++)
            found[i] = tr_load_relaxed(&records[i]) == 1;
    }

    void after()
    {
        RL_ASSERT(!counted[0] || found[0]);
        RL_ASSERT(!counted[1] || found[1]);
    }
};

// One settle for records in two rings, as a burst to two followers does.
struct burst_model : rl::test_suite<burst_model, 3> {
    tr_atomic_u64 words[2];
    tr_atomic_u64 records[2];
    bool counted[2];
    bool found[2];

    void before()
    {
        for (unsigned i = 0; i < 2; i++) {
            tr_store_relaxed(&records[i], UINT64_C(0));
            tr_fence_word_open(&words[i], first_generation);
            counted[i] = found[i] = false;
        }
    }

    void thread(unsigned index)
    {
        index == 2 ? write() : fence(index);
    }

    void write()
    {
        tr_store_relaxed(&records[0], UINT64_C(1));
        tr_store_relaxed(&records[1], UINT64_C(1));
        tr_fence_word_settle();
        counted[0] = tr_fence_word_counts(&words[0], first_generation);
        counted[1] = tr_fence_word_counts(&words[1], first_generation);
    }

    void fence(unsigned follower)
    {
        tr_fence_word_close(&words[follower]);
        found[follower] = tr_load_relaxed(&records[follower]) == 1;
    }

    void after()
    {
        RL_ASSERT(!counted[0] || found[0]);
        RL_ASSERT(!counted[1] || found[1]);
    }
};

// The owner fences, drains, and opens the ring to the next generation, while a writer of the former
// one is late: it counts nothing that the drain did not find, though the word is open again.
struct grant_model : rl::test_suite<grant_model, 2> {
    tr_atomic_u64 word;
    tr_atomic_u64 record;
    bool counted;
    bool found;

    void before()
    {
        tr_store_relaxed(&record, UINT64_C(0));
        tr_fence_word_open(&word, first_generation);
        counted = found = false;
    }

    void thread(unsigned index)
    {
        index == 0 ? write() : grant_again();
    }

    void write()
    {
        tr_store_relaxed(&record, UINT64_C(1));
        tr_fence_word_settle();
        counted = tr_fence_word_counts(&word, first_generation);
    }

    void grant_again()
    {
        tr_fence_word_close(&word);
        found = tr_load_relaxed(&record) == 1;
        tr_store_relaxed(&record, UINT64_C(0));
        tr_fence_word_open(&word, second_generation);
    }

    void after()
    {
        RL_ASSERT(!counted || found);
    }
};

// Whoever sees the word open sees the ring as it was made ready: zeroed, with no consumed
// watermark.
struct open_model : rl::test_suite<open_model, 2> {
    tr_atomic_u64 word;
    rl::var<uint32_t> made_ready;

    void before()
    {
        made_ready($) = 0;
        tr_store_relaxed(&word, UINT64_C(0));
    }

    void thread(unsigned index)
    {
        if (index == 0) {
            made_ready($) = 1;
            tr_fence_word_open(&word, first_generation);
        } else if (tr_load_acquire(&word) == first_generation) {
            RL_ASSERT(made_ready($) == 1);
        }
    }
};

} // namespace

int main()
{
    model_report report;
    report.check<drain_model>("fence word, drain", 200000, false, false, true);
    report.check<burst_model>("fence word, burst", 200000, false, false, true);
    report.check<grant_model>("fence word, next grant", 200000, false, false, true);
    report.check<open_model>("fence word, open", 50000, true, true, false);
    return report.end();
}
