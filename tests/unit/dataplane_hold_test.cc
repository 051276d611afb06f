/* The queue of effects behind a barrier: order, wrap, and what happens when a disk stalls. */
#include "dataplane/hold.h"

#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace
{

class Hold : public ::testing::Test
{
  protected:
    Hold() : memory(malloc(tr_hold_memory_bytes()))
    {
        tr_hold_init(&h, memory);
    }
    ~Hold() override
    {
        free(memory);
    }

    /* A PERSIST was carried out. */
    void persist(uint64_t sequence)
    {
        h.persist_last = sequence;
    }
    static tr_effect effect(tr_effect_type type)
    {
        tr_effect e{};
        e.type = static_cast<uint8_t>(type);
        return e;
    }
    /* A SEND whose bytes are gone after it was pushed. */
    void send(const std::string &bytes)
    {
        std::vector<char> copy(bytes.begin(), bytes.end());
        tr_effect e = effect(TR_EFFECT_SEND);
        e.piece_count = 2;
        e.u.send.piece[0] = {copy.data(), static_cast<uint32_t>(copy.size() / 2)};
        e.u.send.piece[1] = {copy.data() + copy.size() / 2,
                             static_cast<uint32_t>(copy.size() - copy.size() / 2)};
        tr_hold_push(&h, &e);
        std::fill(copy.begin(), copy.end(), '!');
    }
    void commit(uint64_t slot)
    {
        tr_effect e = effect(TR_EFFECT_COMMIT);
        e.u.commit.slot = slot;
        tr_hold_push(&h, &e);
    }
    void replicate(uint16_t peers, uint64_t first, uint64_t last)
    {
        tr_effect e = effect(TR_EFFECT_REPLICATE);
        e.peers = peers;
        e.u.replicate.slot_first = first;
        e.u.replicate.slot_last = last;
        tr_hold_push(&h, &e);
    }
    void store(const std::string &bytes)
    {
        tr_effect e = effect(TR_EFFECT_SNAPSHOT_STORE);
        e.u.snapshot.data = bytes.data();
        e.u.snapshot.bytes = static_cast<uint32_t>(bytes.size());
        tr_hold_push(&h, &e);
    }
    static std::string bytes_of(const tr_effect *e)
    {
        std::string all;
        for (uint32_t i = 0; i < e->piece_count; i++)
            all.append(static_cast<const char *>(e->u.send.piece[i].data),
                       e->u.send.piece[i].bytes);
        return all;
    }
    /* Takes the next effect, which must be a SEND of these bytes. */
    void expect_send(const std::string &bytes)
    {
        const tr_effect *e = tr_hold_next(&h);
        ASSERT_NE(e, nullptr);
        ASSERT_EQ(e->type, TR_EFFECT_SEND);
        EXPECT_EQ(bytes_of(e), bytes);
        tr_hold_pop(&h);
    }

    tr_hold h{};
    void *memory;
};

TEST_F(Hold, ABarrierAfterADurablePersistHoldsNothingBack)
{
    persist(3);
    h.durable = 3;
    tr_hold_barrier(&h);
    EXPECT_FALSE(tr_hold_is_waiting(&h));
}

TEST_F(Hold, WhatFollowsABarrierWaitsForThePersistBeforeItInOrder)
{
    persist(1);
    tr_hold_barrier(&h);
    send("first");
    commit(7);
    send("second");
    ASSERT_TRUE(tr_hold_is_waiting(&h));
    EXPECT_EQ(tr_hold_next(&h), nullptr);
    h.durable = 1;
    expect_send("first");
    const tr_effect *e = tr_hold_next(&h);
    ASSERT_NE(e, nullptr);
    EXPECT_EQ(e->type, TR_EFFECT_COMMIT);
    EXPECT_EQ(e->u.commit.slot, 7u);
    tr_hold_pop(&h);
    expect_send("second");
    EXPECT_EQ(tr_hold_next(&h), nullptr);
    EXPECT_FALSE(tr_hold_is_waiting(&h));
}

TEST_F(Hold, EachBarrierWaitsForItsOwnPersist)
{
    persist(1);
    tr_hold_barrier(&h);
    send("after 1");
    persist(2);
    tr_hold_barrier(&h);
    send("after 2");
    h.durable = 1;
    expect_send("after 1");
    EXPECT_EQ(tr_hold_next(&h), nullptr);
    h.durable = 2;
    expect_send("after 2");
}

TEST_F(Hold, ABarrierBehindOthersQueuesUpEvenWhenItsPersistIsDurable)
{
    persist(5);
    tr_hold_barrier(&h);
    send("a");
    h.durable = 5;
    tr_hold_barrier(&h);
    send("b");
    expect_send("a");
    expect_send("b");
    EXPECT_FALSE(tr_hold_is_waiting(&h));
}

/* Every length at every offset of the bytes' ring, several times around both rings. */
TEST_F(Hold, BytesStayWholeOverManyLaps)
{
    uint64_t pushed = 0, taken = 0;
    auto content = [](uint64_t n) {
        return std::string(static_cast<size_t>(n * 7919 % 60000), static_cast<char>('a' + n % 26));
    };
    while (h.bytes_tail < 5 * TR_HOLD_BYTES || pushed < 5 * TR_HOLD_EFFECTS) {
        persist(pushed + 1);
        tr_hold_barrier(&h);
        for (int i = 0; i < 20; i++)
            send(content(pushed++));
        h.durable = h.persist_last;
        while (taken < pushed) {
            expect_send(content(taken++));
            ASSERT_FALSE(HasFatalFailure());
        }
    }
    EXPECT_EQ(h.dropped, 0u);
    EXPECT_EQ(h.bytes_head, h.bytes_tail);
}

TEST_F(Hold, IsCrowdedWhenHalfFullOfEffectsOrBytes)
{
    persist(1);
    tr_hold_barrier(&h);
    for (uint32_t i = 2; i < TR_HOLD_EFFECTS / 2; i++)
        send("x");
    EXPECT_FALSE(tr_hold_is_crowded(&h));
    store("x");
    EXPECT_TRUE(tr_hold_is_crowded(&h));
    h.durable = 1;
    while (tr_hold_next(&h) != nullptr)
        tr_hold_pop(&h);
    EXPECT_FALSE(tr_hold_is_crowded(&h));
    persist(2);
    tr_hold_barrier(&h);
    for (int i = 0; i < 5; i++)
        send(std::string(TR_HOLD_BYTES / 8, 'x'));
    EXPECT_TRUE(tr_hold_is_crowded(&h));
}

TEST_F(Hold, SendsWithoutRoomAreDroppedAndCountedTheRestIsKept)
{
    const uint32_t chunk = TR_HOLD_BYTES / 16;
    persist(1);
    tr_hold_barrier(&h);
    for (int i = 0; i < 20; i++)
        send(std::string(chunk, 'x'));
    uint64_t dropped = h.dropped;
    EXPECT_GT(dropped, 0u);
    EXPECT_LT(dropped, 20u);
    store(std::string(chunk, 's')); /* in the bytes that SENDs leave */
    store(std::string(chunk, 't'));
    EXPECT_EQ(h.dropped, dropped);
    h.durable = 1;
    for (uint64_t i = 0; i < 20 - dropped; i++)
        expect_send(std::string(chunk, 'x'));
    for (char c : {'s', 't'}) {
        const tr_effect *e = tr_hold_next(&h);
        ASSERT_NE(e, nullptr);
        ASSERT_EQ(e->type, TR_EFFECT_SNAPSHOT_STORE);
        EXPECT_EQ(std::string(static_cast<const char *>(e->u.snapshot.data), e->u.snapshot.bytes),
                  std::string(chunk, c));
        tr_hold_pop(&h);
    }
}

/* A disk that stalls: timers go on sending heartbeats, replicating again, committing. */
TEST_F(Hold, WhatTimersRepeatDoesNotFillIt)
{
    persist(1);
    tr_hold_barrier(&h);
    for (uint64_t i = 1; i <= 10 * TR_HOLD_EFFECTS; i++) {
        send("heartbeat");
        replicate(static_cast<uint16_t>(2 << i % 2), 100 + i % 3, 200 + i);
        commit(i);
    }
    /* Half of it went to what came before it was crowded; SENDs give way, the others join. */
    EXPECT_TRUE(tr_hold_is_crowded(&h));
    EXPECT_GT(h.dropped, 0u);
    EXPECT_LT(h.tail - h.head, TR_HOLD_EFFECTS);
}

TEST_F(Hold, EffectsBecomeOneWithTheirLikeBehindTheSameBarrier)
{
    persist(1);
    tr_hold_barrier(&h);
    tr_hold_barrier(&h);
    replicate(6, 10, 20);
    commit(3);
    replicate(6, 5, 12);
    replicate(2, 1, 1); /* another peer's: apart */
    commit(9);
    persist(2);
    tr_hold_barrier(&h);
    commit(11); /* behind another barrier: apart */
    EXPECT_EQ(h.tail - h.head, 6u);
    h.durable = 1;
    const tr_effect *e = tr_hold_next(&h);
    ASSERT_NE(e, nullptr);
    EXPECT_EQ(e->u.replicate.slot_first, 5u);
    EXPECT_EQ(e->u.replicate.slot_last, 20u);
    tr_hold_pop(&h);
    e = tr_hold_next(&h);
    ASSERT_NE(e, nullptr);
    EXPECT_EQ(e->u.commit.slot, 9u);
    tr_hold_pop(&h);
    e = tr_hold_next(&h);
    ASSERT_NE(e, nullptr);
    EXPECT_EQ(e->peers, 2u);
    tr_hold_pop(&h);
    EXPECT_EQ(tr_hold_next(&h), nullptr);
    h.durable = 2;
    e = tr_hold_next(&h);
    ASSERT_NE(e, nullptr);
    EXPECT_EQ(e->u.commit.slot, 11u);
}

} // namespace
