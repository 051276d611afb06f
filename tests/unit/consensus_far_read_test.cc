/* Reads: they are answered however long the way is, and whatever else is asked meanwhile. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

/* Delivers every message so long after it was sent. */
struct Far {
    World w;
    struct Flying {
        uint64_t at_ns;
        Sent sent;
    };
    std::deque<Flying> flying;
    uint64_t delay_ns = 0;

    void turn()
    {
        for (; !w.wire.empty(); w.wire.pop_front())
            flying.push_back({w.now_ns + delay_ns, std::move(w.wire.front())});
        while (!flying.empty() && flying.front().at_ns <= w.now_ns) {
            Sent sent = std::move(flying.front().sent);
            flying.pop_front();
            w.hand(sent);
        }
        w.tick();
        w.now_ns += 1000;
    }
};

TEST(FarRead, OfAFollower_IsAnsweredThoughOthersAreAskedMeanwhile)
{
    Far far;
    far.w.elect(0);
    far.delay_ns = 150000; /* the answer takes four of these, which is longer than the patience */
    uint64_t id = 0;
    for (int i = 0; i < 10000; i++) {
        if (i % 50 == 0)
            far.w.read(1, ++id);
        far.turn();
    }
    EXPECT_EQ(0, far.w.leader());
    EXPECT_GT(far.w.node(1).read_ready, id / 2);
}

} // namespace
