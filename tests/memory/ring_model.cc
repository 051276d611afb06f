// The rings of base/, the same headers, under the memory-model checker.
#include "base/ring_mpsc.h"
#include "base/ring_spsc.h"

#include "checker.h"

#include <cstdlib>

void tr_panic(const char *file, int line, const char *expression)
{
    printf("%s:%d: assertion failed: %s\n", file, line, expression);
    abort();
}

namespace
{

const uint32_t capacity = 2;
const uint32_t total = 5; // two laps and a half

struct spsc_storage {
    tr_ring_spsc ring;
    model_slot slots[capacity];
};
static_assert(sizeof(tr_ring_spsc) % alignof(model_slot) == 0, "the places follow at once");

// One producer and one consumer, bursts of one and two.
struct spsc_model : rl::test_suite<spsc_model, 2> {
    spsc_storage storage;

    void before()
    {
        tr_ring_spsc_init(&storage.ring, capacity, sizeof(model_slot));
    }

    void thread(unsigned index)
    {
        index == 0 ? produce() : consume();
    }

    void produce()
    {
        for (uint32_t next = 0; next < total;) {
            model_element burst[2];
            burst[0].number = next;
            burst[1].number = next + 1;
            uint32_t want = tr_min_u32(1 + next % 2, total - next);
            uint32_t n = tr_ring_spsc_enqueue(&storage.ring, burst, want);
            next += n;
            if (n == 0)
                rl::yield(1, $);
        }
    }

    void consume()
    {
        for (uint32_t next = 0; next < total;) {
            model_element burst[2];
            uint32_t n = tr_ring_spsc_dequeue(&storage.ring, burst, 2);
            for (uint32_t i = 0; i < n; i++)
                RL_ASSERT(burst[i].number == next++);
            if (n == 0)
                rl::yield(1, $);
        }
    }

    void after()
    {
        RL_ASSERT(tr_ring_spsc_count(&storage.ring) == 0);
    }
};

struct mpsc_place {
    tr_ring_mpsc_place head;
    model_slot element;
};
static_assert(sizeof(mpsc_place) == sizeof(tr_ring_mpsc_place) + sizeof(model_slot), "no padding");

struct mpsc_storage {
    tr_ring_mpsc ring;
    mpsc_place places[capacity];
};

// Two producers and one consumer; numbers of the second producer start at 100.
struct mpsc_model : rl::test_suite<mpsc_model, 3> {
    static const uint32_t each = 3;
    mpsc_storage storage;

    void before()
    {
        tr_ring_mpsc_init(&storage.ring, capacity, sizeof(model_slot));
    }

    void thread(unsigned index)
    {
        index < 2 ? produce(index * 100) : consume();
    }

    void produce(uint32_t first)
    {
        for (uint32_t done = 0; done < each;) {
            model_element burst[2];
            burst[0].number = first + done;
            burst[1].number = first + done + 1;
            uint32_t n = tr_ring_mpsc_enqueue(&storage.ring, burst, tr_min_u32(2, each - done));
            done += n;
            if (n == 0)
                rl::yield(1, $);
        }
    }

    void consume()
    {
        uint32_t next[2] = {0, 100};
        for (uint32_t taken = 0; taken < 2 * each;) {
            model_element burst[2];
            uint32_t n = tr_ring_mpsc_dequeue(&storage.ring, burst, 2);
            for (uint32_t i = 0; i < n; i++)
                RL_ASSERT(burst[i].number == next[burst[i].number / 100]++);
            taken += n;
            if (n == 0)
                rl::yield(1, $);
        }
    }

    void after()
    {
        RL_ASSERT(tr_ring_mpsc_count(&storage.ring) == 0);
    }
};

} // namespace

int main()
{
    model_report report;
    report.check<spsc_model>("ring_spsc", 400000, true, true, false);
    report.check<mpsc_model>("ring_mpsc", 400000, true, true, false);
    return report.end();
}
