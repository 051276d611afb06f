/* What a peer is still to be sent: ranges of slots, joined. */
#include "dataplane/group.h"

#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <set>

namespace
{

class Ranges : public ::testing::Test
{
  protected:
    Ranges() : memory(aligned_alloc(TR_CACHE_LINE, (sizeof(tr_group) + 63) / 64 * 64))
    {
        memset(memory, 0, sizeof(tr_group));
        g = static_cast<tr_group *>(memory);
        o = &g->outlet[2];
        o->member = 2;
    }
    ~Ranges() override
    {
        free(memory);
    }
    void add(uint64_t first, uint64_t last)
    {
        g->outlets_due |= 4;
        tr_outlet_add(o, first, last);
    }
    std::string text() const
    {
        std::string all;
        for (uint32_t i = 0; i < o->range_count; i++)
            all += std::to_string(o->range[i].first) + "-" + std::to_string(o->range[i].last) + " ";
        return all;
    }
    void *memory;
    tr_group *g;
    tr_outlet *o;
};

TEST_F(Ranges, ThatFollowOnOrOverlapAreJoined)
{
    add(10, 20);
    add(21, 30);
    EXPECT_EQ(text(), "10-30 ");
    add(5, 9);
    EXPECT_EQ(text(), "5-30 ");
    add(12, 40);
    EXPECT_EQ(text(), "5-40 ");
    add(42, 50);
    EXPECT_EQ(text(), "5-40 42-50 ");
    add(41, 41);
    EXPECT_EQ(text(), "5-40 41-50 ");
}

TEST_F(Ranges, WhenTheListIsFullTheNewestGrows)
{
    for (uint64_t i = 0; i < TR_OUTLET_RANGES; i++)
        add(100 * i + 1, 100 * i + 10);
    add(1000, 1010);
    EXPECT_EQ(o->range_count, TR_OUTLET_RANGES);
    EXPECT_EQ(text(), "1-10 101-110 201-210 301-1010 ");
    add(50, 50);
    EXPECT_EQ(text(), "1-10 101-110 201-210 50-1010 ");
}

TEST_F(Ranges, AreTakenOffFromTheFront)
{
    add(1, 10);
    add(20, 30);
    tr_outlet_sent(g, o, 4);
    EXPECT_EQ(text(), "5-10 20-30 ");
    tr_outlet_sent(g, o, 10);
    EXPECT_EQ(text(), "20-30 ");
    EXPECT_EQ(g->outlets_due, 4u);
    tr_outlet_sent(g, o, 35);
    EXPECT_EQ(text(), "");
    EXPECT_EQ(g->outlets_due, 0u);
}

/* Whatever was added is sent at least once, in whatever order things happen. */
TEST_F(Ranges, LoseNoSlot)
{
    std::mt19937_64 random(3);
    std::set<uint64_t> due;
    for (int i = 0; i < 20000; i++) {
        if (random() % 3 != 0 || o->range_count == 0) {
            uint64_t first = 1 + random() % 500, last = first + random() % 20;
            add(first, last);
            for (uint64_t slot = first; slot <= last; slot++)
                due.insert(slot);
            continue;
        }
        uint64_t first = o->range[0].first;
        uint64_t last = first + random() % (o->range[0].last - first + 1);
        for (uint64_t slot = first; slot <= last; slot++)
            due.erase(slot);
        tr_outlet_sent(g, o, last);
        ASSERT_EQ(o->range_count == 0, g->outlets_due == 0);
    }
    while (o->range_count != 0) {
        for (uint64_t slot = o->range[0].first; slot <= o->range[0].last; slot++)
            due.erase(slot);
        tr_outlet_sent(g, o, o->range[0].last);
    }
    EXPECT_TRUE(due.empty());
}

} // namespace
