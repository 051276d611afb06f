/* The log by itself: a table of slots over a ring of bytes, one test a rule of its head comment. */
#include "consensus/log.h"
#include "tests/unit/record_builder.h"

#include <gtest/gtest.h>

namespace rb = record_builder;

namespace
{

constexpr uint32_t SLOTS = 64;
constexpr uint64_t ARENA = 8192;

/* A log with memory of its own, and records to put into it. */
struct Log : ::testing::Test {
    rb::bytes arena{ARENA};
    std::vector<tr_slot> table{SLOTS};
    tr_log log;
    void SetUp() override
    {
        memset(table.data(), 0, SLOTS * sizeof(tr_slot));
        tr_log_init(&log, table.data(), SLOTS, arena.data(), ARENA);
    }
    static rb::bytes record(uint64_t slot, uint64_t round, uint32_t payload_bytes = 64,
                            char fill = 'a')
    {
        rb::bytes r(tr_record_bytes(payload_bytes));
        auto header = reinterpret_cast<tr_record *>(r.data());
        memset(header + 1, fill, payload_bytes);
        header->slot = slot;
        header->ballot = {round, 1, 1, 0};
        header->kind = TR_RECORD_COMMANDS;
        header->command_count = 1;
        header->payload_bytes = payload_bytes;
        header->payload_crc = tr_crc32c_by_table(0, header + 1, payload_bytes);
        rb::reseal(header);
        return r;
    }
    tr_slot *put(uint64_t slot, uint64_t round, uint32_t payload_bytes = 64, char fill = 'a',
                 tr_slot_state state = TR_SLOT_ACCEPTED)
    {
        rb::bytes r = record(slot, round, payload_bytes, fill);
        return tr_log_put(&log, reinterpret_cast<tr_record *>(r.data()), state);
    }
    char value(uint64_t slot)
    {
        const tr_slot *s = tr_log_at(&log, slot);
        return s != nullptr ? *reinterpret_cast<char *>(tr_log_record(&log, s) + 1) : '-';
    }
    /* Whether the records follow each other from the tail to the head, and every slot is whole. */
    void check()
    {
        uint64_t at = log.tail;
        while (at < log.head) {
            auto r = reinterpret_cast<tr_record *>(arena.data() + (at & (ARENA - 1)));
            at += tr_record_bytes(r->payload_bytes);
        }
        EXPECT_EQ(log.head, at);
        for (uint64_t slot = log.slot_first; slot <= log.slot_last; slot++) {
            tr_slot *s = tr_log_at(&log, slot);
            if (s == nullptr || slot <= log.slot_recyclable)
                continue;
            EXPECT_TRUE(tr_record_valid(tr_log_record(&log, s), s->bytes)) << slot;
            EXPECT_EQ(slot, tr_log_record(&log, s)->slot);
            EXPECT_GE(s->position, log.tail);
            EXPECT_LE((s->position & (ARENA - 1)) + s->bytes, ARENA) << "crosses the end";
        }
    }
};

TEST_F(Log, AnEmptyOne_HoldsNothing)
{
    EXPECT_EQ(nullptr, tr_log_at(&log, 1));
    EXPECT_EQ(nullptr, tr_log_at(&log, 0));
    EXPECT_EQ(0u, tr_log_used_bytes(&log));
    EXPECT_TRUE(tr_log_fits(&log, 1));
    EXPECT_TRUE(tr_log_fits(&log, SLOTS));
    EXPECT_FALSE(tr_log_fits(&log, SLOTS + 1));
    EXPECT_FALSE(tr_log_fits(&log, 0));
}

TEST_F(Log, SlotsOutOfOrder_AreFoundWhereTheyBelong)
{
    for (uint64_t slot : {5, 2, 9, 1, 3})
        ASSERT_NE(nullptr, put(slot, 1, 64, static_cast<char>('0' + slot)));
    for (uint64_t slot : {1, 2, 3, 5, 9})
        EXPECT_EQ('0' + static_cast<char>(slot), value(slot));
    for (uint64_t slot : {4, 6, 7, 8, 10})
        EXPECT_EQ('-', value(slot));
    EXPECT_EQ(9u, log.slot_last);
    check();
}

TEST_F(Log, TheSameValueAtAHigherBallot_TakesTheBallotInPlace)
{
    put(1, 1);
    uint64_t head = log.head;
    tr_slot *s = put(1, 3);
    ASSERT_NE(nullptr, s);
    EXPECT_EQ(3u, s->ballot.round);
    EXPECT_EQ(head, log.head) << "no second copy";
    EXPECT_EQ(3u, tr_log_record(&log, s)->ballot.round);
    s = put(1, 2);
    EXPECT_EQ(3u, s->ballot.round) << "and never a lower one";
    check();
}

TEST_F(Log, AnotherValueAtAHigherBallot_ReplacesIt)
{
    put(1, 1, 64, 'a');
    uint64_t first = tr_log_at(&log, 1)->position;
    put(1, 2, 64, 'b');
    EXPECT_EQ('b', value(1));
    EXPECT_NE(first, tr_log_at(&log, 1)->position) << "never through a torn state";
    check();
}

TEST_F(Log, AChosenValue_IsNotReplacedByAnother)
{
    put(1, 1, 64, 'a', TR_SLOT_CHOSEN);
    EXPECT_EQ(nullptr, put(1, 9, 64, 'b'));
    EXPECT_EQ('a', value(1));
    tr_slot *s = put(1, 9, 64, 'a');
    ASSERT_NE(nullptr, s);
    EXPECT_EQ(TR_SLOT_CHOSEN, s->state) << "accepted again, it stays chosen";
}

TEST_F(Log, ARecordOfARing_LosesWhatIsTheRings)
{
    rb::bytes r = record(1, 1);
    auto header = reinterpret_cast<tr_record *>(r.data());
    header->generation = 7;
    header->tag = 99;
    header->position = 3;
    header->commit_lag = 1;
    rb::reseal(header);
    tr_slot *s = tr_log_put(&log, header, TR_SLOT_ACCEPTED);
    ASSERT_NE(nullptr, s);
    const tr_record *kept = tr_log_record(&log, s);
    EXPECT_EQ(0u, kept->generation);
    EXPECT_EQ(0u, kept->tag);
    EXPECT_EQ(0u, kept->position);
    EXPECT_EQ(0u, kept->commit_lag);
    EXPECT_TRUE(tr_record_valid(kept, s->bytes));
}

TEST_F(Log, WithNothingRecyclable_IsFullAndStaysWhole)
{
    uint64_t slot = 0;
    while (put(slot + 1, 1) != nullptr)
        slot++;
    EXPECT_EQ(ARENA / 128, slot);
    check();
    EXPECT_EQ(nullptr, tr_log_room(&log, 64));
    for (uint64_t s = 1; s <= slot; s++)
        EXPECT_EQ('a', value(s));
}

TEST_F(Log, WhatIsRecyclable_MakesRoom_OverManyLaps)
{
    for (uint64_t slot = 1; slot <= 1000; slot++) {
        ASSERT_NE(nullptr, put(slot, 1, 40 + slot % 300)) << slot;
        log.slot_recyclable = slot > 8 ? slot - 8 : 0;
        check();
    }
    EXPECT_GT(log.wrap_count, 10u);
    EXPECT_EQ('-', value(900));
    for (uint64_t slot = 993; slot <= 1000; slot++)
        EXPECT_EQ('a', value(slot));
}

TEST_F(Log, ARecordThatWouldCrossTheEnd_GoesBehindAPad)
{
    for (uint64_t slot = 1; slot <= 15; slot++)
        put(slot, 1, 448); /* 512 bytes each; one of 1024 does not fit behind the 15th */
    log.slot_recyclable = 10;
    tr_slot *s = put(16, 1, 900);
    ASSERT_NE(nullptr, s);
    EXPECT_EQ(ARENA, s->position) << "at the beginning of the next lap";
    auto pad = reinterpret_cast<tr_record *>(arena.data() + 15 * 512);
    EXPECT_EQ(TR_RECORD_PAD, pad->kind);
    EXPECT_EQ(512u, tr_record_bytes(pad->payload_bytes));
    check();
}

TEST_F(Log, Pinned_KeepsWhatIsStillBeingRead)
{
    /* Rule 7: a slow NIC reads the records of writes in flight. */
    for (uint64_t slot = 1; slot <= 16; slot++)
        put(slot, 1, 448);
    log.slot_recyclable = 16;
    log.pin = tr_log_at(&log, 3)->position;
    EXPECT_NE(nullptr, put(17, 1, 448));
    EXPECT_NE(nullptr, put(18, 1, 448));
    EXPECT_EQ(nullptr, put(19, 1, 448)) << "that would take the place of slot 3";
    EXPECT_EQ(0u, tr_log_compact(&log));
    log.pin = UINT64_MAX;
    EXPECT_NE(nullptr, put(19, 1, 448));
    check();
}

TEST_F(Log, ATableThatIsFull_RecyclesSlots_ButNoneThatIsPinned)
{
    for (uint64_t slot = 1; slot <= 32; slot++)
        put(slot, 1);
    log.slot_recyclable = 32;
    log.pin = tr_log_at(&log, 5)->position;
    EXPECT_TRUE(tr_log_fits(&log, SLOTS + 4));
    EXPECT_EQ(5u, log.slot_first);
    EXPECT_FALSE(tr_log_fits(&log, SLOTS + 5));
    log.pin = UINT64_MAX;
    EXPECT_TRUE(tr_log_fits(&log, SLOTS + 5));
    EXPECT_FALSE(tr_log_fits(&log, 3)) << "that has gone";
    EXPECT_FALSE(tr_log_fits(&log, 33 + SLOTS)) << "slot 33 is still needed";
}

TEST_F(Log, Truncated_ForgetsUpToTheSlot_NeededOrNot)
{
    for (uint64_t slot = 1; slot <= 10; slot++)
        put(slot, 1);
    tr_log_truncate(&log, 4);
    EXPECT_EQ('-', value(4));
    EXPECT_EQ('a', value(5));
    EXPECT_EQ(5u, log.slot_first);
    tr_log_truncate(&log, 2);
    EXPECT_EQ(5u, log.slot_first) << "never back";
    check();
}

TEST_F(Log, TruncatedAtAFirstSlotThatIsNotThere_LeavesNothingToClose)
{
    tr_log_truncate(&log, 1);
    EXPECT_EQ(2u, log.slot_first);
    EXPECT_FALSE(log.holes);
    EXPECT_NE(nullptr, put(2, 1));
    check();
}

TEST_F(Log, ATableThatIsFull_RecyclesPastASlotThatIsNotThere)
{
    for (uint64_t slot : {1, 2, 4, 5})
        put(slot, 1);
    log.slot_recyclable = 5;
    log.pin = tr_log_at(&log, 5)->position;
    EXPECT_TRUE(tr_log_fits(&log, SLOTS + 4));
    EXPECT_EQ(5u, log.slot_first) << "slot 3 never came";
}

TEST_F(Log, TruncatedFarBeyondItsEnd_IsEmptyAndGoesOnFromThere)
{
    for (uint64_t slot = 1; slot <= 10; slot++)
        put(slot, 1);
    tr_log_truncate(&log, 5000);
    EXPECT_EQ(5001u, log.slot_first);
    EXPECT_EQ(5000u, log.slot_last);
    EXPECT_NE(nullptr, put(5001, 1));
    EXPECT_EQ('a', value(5001));
    EXPECT_EQ('-', value(5000));
    EXPECT_EQ(nullptr, put(10, 1));
}

/* A table's entries of slots that are not in the log are of laps before. */
TEST_F(Log, AGap_HoldsNothingOfTheSlotsThatHadItsPlaces)
{
    for (uint64_t slot = 1; slot <= SLOTS; slot++)
        ASSERT_NE(nullptr, put(slot, 1, 8));
    log.slot_recyclable = SLOTS;
    ASSERT_NE(nullptr, put(SLOTS + 1, 1, 8));
    ASSERT_NE(nullptr, put(SLOTS + 5, 1, 8, 'b'));
    for (uint64_t slot = SLOTS + 2; slot < SLOTS + 5; slot++)
        EXPECT_EQ(nullptr, tr_log_at(&log, slot)) << slot;
    EXPECT_EQ(nullptr, tr_log_at(&log, SLOTS + 6)) << "past the last";
    EXPECT_EQ('b', value(SLOTS + 5));
    ASSERT_NE(nullptr, put(SLOTS + 3, 1, 8, 'c'));
    EXPECT_EQ('c', value(SLOTS + 3));
    EXPECT_EQ(nullptr, tr_log_at(&log, SLOTS + 2));
    check();
}

TEST_F(Log, ReplacedRecords_LeaveHoles_ThatCompactingCloses)
{
    put(1, 1, 64, 'x');
    for (uint64_t round = 2; round <= 40; round++)
        ASSERT_NE(nullptr, put(2, round, 64, static_cast<char>('A' + round)));
    put(3, 1, 64, 'z');
    char kept = value(2);
    uint64_t used = tr_log_used_bytes(&log);
    EXPECT_EQ(38u * 128, tr_log_compact(&log));
    EXPECT_EQ(used - 38u * 128, tr_log_used_bytes(&log));
    EXPECT_EQ('x', value(1));
    EXPECT_EQ(kept, value(2));
    EXPECT_EQ('z', value(3));
    check();
}

TEST_F(Log, CompactedOverTheEndOfTheArena_StaysWhole)
{
    for (uint64_t slot = 1; slot <= 14; slot++)
        put(slot, 1, 448, 'a');
    log.slot_recyclable = 12;
    for (uint64_t round = 2; round <= 6; round++)
        ASSERT_NE(nullptr, put(14, round, 900, static_cast<char>('a' + round)));
    ASSERT_NE(nullptr, put(15, 1, 300, 'q'));
    ASSERT_NE(nullptr, put(16, 1, 900, 'r'));
    EXPECT_GT(tr_log_compact(&log), 0u);
    EXPECT_EQ(ARENA, tr_log_at(&log, 16)->position) << "behind a pad, in the next lap";
    EXPECT_EQ('a' + 6, value(14));
    EXPECT_EQ('q', value(15));
    EXPECT_EQ('r', value(16));
    check();
    for (uint64_t slot = 17; slot <= 20; slot++)
        EXPECT_NE(nullptr, put(slot, 1, 448));
    check();
}

TEST_F(Log, RoomThatIsGiven_IsUsedInPlace)
{
    tr_record *room = tr_log_room(&log, 64);
    ASSERT_NE(nullptr, room);
    rb::bytes r = record(1, 1);
    memcpy(room, r.data(), r.size());
    tr_slot *s = tr_log_link(&log, room, TR_SLOT_ACCEPTED);
    EXPECT_EQ(room, tr_log_record(&log, s));
    EXPECT_EQ('a', value(1));
    check();
}

TEST_F(Log, AnotherValueWithTheSameChecksum_IsAnotherValue)
{
    rb::bytes first = record(1, 1, 64, 'a');
    ASSERT_NE(nullptr,
              tr_log_put(&log, reinterpret_cast<tr_record *>(first.data()), TR_SLOT_CHOSEN));
    auto is_same = [&](rb::bytes r, uint8_t kind) {
        auto header = reinterpret_cast<tr_record *>(r.data());
        header->payload_crc = reinterpret_cast<tr_record *>(first.data())->payload_crc;
        header->kind = kind;
        return tr_log_put(&log, header, TR_SLOT_CHOSEN) != nullptr;
    };
    EXPECT_TRUE(is_same(record(1, 2, 64, 'a'), TR_RECORD_COMMANDS));
    EXPECT_FALSE(is_same(record(1, 2, 64, 'b'), TR_RECORD_COMMANDS)) << "other bytes";
    EXPECT_FALSE(is_same(record(1, 2, 56, 'a'), TR_RECORD_COMMANDS)) << "fewer";
    EXPECT_FALSE(is_same(record(1, 2, 64, 'a'), TR_RECORD_NOOP)) << "another kind";
    EXPECT_EQ('a', value(1));
}

} // namespace
