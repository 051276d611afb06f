/* Records into a peer's ring: order, credit, padding, back-pressure, grants, and what completions
 * say. */
#include "group_stage.h"

using namespace group_stage;

namespace
{

class RingWrite : public ::testing::Test
{
  protected:
    RingWrite()
    {
        s.grant.generation = 11;
        s.grant.ring_bytes = RING_BYTES;
        s.grant.entry_bytes_max = ENTRY_BYTES_MAX;
    }
    /* Entries of so many bytes, in what the peer is still to be sent. */
    void due(uint64_t first, uint64_t last, size_t payload_bytes = 8)
    {
        for (uint64_t slot = first; slot <= last; slot++)
            s.entry[slot] = std::string(payload_bytes, static_cast<char>('a' + slot % 26));
        s.o->range_count = 1;
        s.o->range[0] = {first, last};
    }
    tr_record header(size_t write) const
    {
        tr_record h;
        memcpy(&h, s.writes[write].bytes.data(), sizeof(h));
        return h;
    }
    void completed(uint32_t count, tr_write_status status = TR_WRITE_OK)
    {
        tr_ring_written(s.g, s.o, status, count);
    }

    Stage s;
};

TEST_F(RingWrite, OfARange_PutsWholeRecordsOneBehindTheOther)
{
    due(5, 6, 10);
    ASSERT_TRUE(tr_ring_write_ready(s.g, s.o));
    EXPECT_EQ(std::vector<uint64_t>{11}, s.opened);
    EXPECT_EQ(2u, tr_ring_write(s.g, s.o));
    EXPECT_EQ(0, s.o->range_count);
    ASSERT_EQ(2u, s.writes.size());
    EXPECT_EQ(0u, s.writes[0].offset);
    EXPECT_EQ(128u, s.writes[1].offset);
    std::string expected = std::string(10, 'f') + std::string(54, '\0');
    EXPECT_EQ(expected,
              std::string(s.writes[0].bytes.begin() + sizeof(tr_record), s.writes[0].bytes.end()))
        << "the payload, and zeros up to the next record";
    EXPECT_EQ(5u, header(0).slot);
    EXPECT_EQ(2u, header(1).position);
    EXPECT_EQ(2u, s.lcore->writes_open);
}

TEST_F(RingWrite, WithoutAGrant_IsNotReady)
{
    s.grant.generation = 0;
    EXPECT_FALSE(tr_ring_write_ready(s.g, s.o));
    EXPECT_TRUE(s.told.empty());
}

TEST_F(RingWrite, BeyondTheCredit_WaitsForTheReader)
{
    due(1, 8, 1024 - sizeof(tr_record));
    ASSERT_TRUE(tr_ring_write_ready(s.g, s.o));
    EXPECT_EQ(4u, tr_ring_write(s.g, s.o));
    EXPECT_EQ(0u, tr_ring_write(s.g, s.o));
    s.remote_consumed = 1024;
    EXPECT_EQ(1u, tr_ring_write(s.g, s.o));
    EXPECT_EQ(0u, s.writes.back().offset) << "the second lap";
    EXPECT_EQ(6u, s.o->range[0].first);
}

TEST_F(RingWrite, WhereARecordWouldCrossTheEnd_PadsAndNamesThePositionBehind)
{
    due(1, 3, 1536 - sizeof(tr_record));
    ASSERT_TRUE(tr_ring_write_ready(s.g, s.o));
    s.remote_consumed = 0;
    EXPECT_EQ(2u, tr_ring_write(s.g, s.o))
        << "padding and record are within the credit, or neither";
    EXPECT_EQ(2u, s.writes.size());
    s.remote_consumed = 3072;
    EXPECT_EQ(1u, tr_ring_write(s.g, s.o));
    ASSERT_EQ(4u, s.writes.size());
    EXPECT_EQ(TR_RECORD_PAD, header(2).kind);
    EXPECT_EQ(3072u, s.writes[2].offset);
    EXPECT_EQ(sizeof(tr_record), s.writes[2].bytes.size()) << "of padding the header is enough";
    EXPECT_EQ(0u, s.writes[3].offset);
    EXPECT_EQ(RING_BYTES / TR_RECORD_ALIGN, header(3).position);
}

TEST_F(RingWrite, WhenTheDriverTakesNoMore_KeepsTheRestForLater)
{
    due(1, 5);
    s.writes_max = 2;
    ASSERT_TRUE(tr_ring_write_ready(s.g, s.o));
    EXPECT_EQ(2u, tr_ring_write(s.g, s.o));
    EXPECT_EQ(3u, s.o->range[0].first);
    s.writes_max = 100;
    EXPECT_EQ(3u, tr_ring_write(s.g, s.o));
    for (size_t i = 0; i < 5; i++)
        EXPECT_EQ(i + 1, header(i).slot);
}

TEST_F(RingWrite, WhenAllHeadersAreInFlight_WaitsForCompletions)
{
    due(1, 10);
    ASSERT_TRUE(tr_ring_write_ready(s.g, s.o));
    EXPECT_EQ(8u, tr_ring_write(s.g, s.o));
    completed(3);
    EXPECT_EQ(2u, tr_ring_write(s.g, s.o));
}

TEST_F(RingWrite, OfSlotsThatAreGone_GoesOnBehindThem)
{
    due(1, 6);
    s.entry.erase(1);
    s.entry.erase(2);
    s.entry.erase(5);
    ASSERT_TRUE(tr_ring_write_ready(s.g, s.o));
    EXPECT_EQ(3u, tr_ring_write(s.g, s.o));
    EXPECT_EQ(3u, header(0).slot);
    EXPECT_EQ(4u, header(1).slot);
    EXPECT_EQ(6u, header(2).slot);
    EXPECT_EQ(0, s.o->range_count);
}

TEST_F(RingWrite, UnderANewGrant_WaitsForTheOldOnesCompletions)
{
    due(1, 2);
    ASSERT_TRUE(tr_ring_write_ready(s.g, s.o));
    EXPECT_EQ(2u, tr_ring_write(s.g, s.o));
    s.grant.generation = 12;
    EXPECT_FALSE(tr_ring_write_ready(s.g, s.o));
    completed(2, TR_WRITE_REFUSED);
    EXPECT_EQ(11u, s.told.back().generation) << "they are of the grant that they were made under";
    EXPECT_EQ(TR_WRITTEN_REFUSED, s.told.back().status);
    EXPECT_TRUE(tr_ring_write_ready(s.g, s.o));
    EXPECT_EQ(1u, s.closed);
    EXPECT_EQ((std::vector<uint64_t>{11, 12}), s.opened);
    due(3, 3);
    EXPECT_EQ(1u, tr_ring_write(s.g, s.o));
    EXPECT_EQ(0u, s.writes.back().offset);
    EXPECT_EQ(2u, s.writes.back().remote);
}

TEST_F(RingWrite, UntilThePeerIsReachable_GoesByMessagesAndIsTriedAgain)
{
    s.open_status = TR_AGAIN;
    EXPECT_FALSE(tr_ring_write_ready(s.g, s.o));
    EXPECT_TRUE(s.told.empty());
    s.open_status = 0;
    EXPECT_TRUE(tr_ring_write_ready(s.g, s.o));
}

TEST_F(RingWrite, UnderAGrantThatCannotBeRight_IsGivenUp)
{
    struct Case {
        const char *what;
        uint32_t ring_bytes, entry_bytes_max;
        int status;
    };
    for (const Case &c : {Case{"no power of two", RING_BYTES + 64, ENTRY_BYTES_MAX, 0},
                          Case{"too small", 2048, ENTRY_BYTES_MAX, 0},
                          Case{"smaller entries", RING_BYTES, ENTRY_BYTES_MAX - 1, 0},
                          Case{"gone", RING_BYTES, ENTRY_BYTES_MAX, TR_ENOENT}}) {
        s.told.clear();
        s.grant.ring_bytes = c.ring_bytes;
        s.grant.entry_bytes_max = c.entry_bytes_max;
        s.open_status = c.status;
        EXPECT_FALSE(tr_ring_write_ready(s.g, s.o)) << c.what;
        ASSERT_EQ(1u, s.told.size()) << c.what;
        EXPECT_EQ(TR_WRITTEN_BROKEN, s.told[0].status) << c.what;
        EXPECT_EQ(11u, s.told[0].generation) << c.what;
    }
    /* An entry of the group's largest size, with its header, does not fit such a ring. */
    s.told.clear();
    s.open_status = 0;
    s.g->entry_bytes_max = s.grant.entry_bytes_max = 2 * RING_BYTES;
    s.grant.ring_bytes = RING_BYTES;
    EXPECT_FALSE(tr_ring_write_ready(s.g, s.o));
    EXPECT_EQ(1u, s.told.size());
}

TEST_F(RingWrite, Completions_AreToldAsRunsOfSlots)
{
    due(1, 4);
    ASSERT_TRUE(tr_ring_write_ready(s.g, s.o));
    EXPECT_EQ(4u, tr_ring_write(s.g, s.o));
    due(9, 10);
    EXPECT_EQ(2u, tr_ring_write(s.g, s.o));
    completed(6);
    ASSERT_EQ(2u, s.told.size());
    EXPECT_EQ((std::vector<uint64_t>{1, 4}), s.told[0].slots);
    EXPECT_EQ((std::vector<uint64_t>{9, 10}), s.told[1].slots);
    EXPECT_EQ(TR_WRITTEN_OK, s.told[0].status);
}

TEST_F(RingWrite, ACompletionOfPadding_SaysNothing)
{
    due(1, 3, 1536 - sizeof(tr_record));
    s.remote_consumed = 3072;
    ASSERT_TRUE(tr_ring_write_ready(s.g, s.o));
    EXPECT_EQ(3u, tr_ring_write(s.g, s.o));
    completed(2);
    s.told.clear();
    completed(1);
    EXPECT_TRUE(s.told.empty());
    completed(1);
    EXPECT_EQ((std::vector<uint64_t>{3, 3}), s.told[0].slots);
}

TEST_F(RingWrite, WhatWritesInFlightStillRead_IsPinned)
{
    due(4, 6);
    ASSERT_TRUE(tr_ring_write_ready(s.g, s.o));
    EXPECT_EQ(3u, tr_ring_write(s.g, s.o));
    tr_ring_pin(s.g);
    EXPECT_EQ(400u, s.pin);
    completed(1);
    EXPECT_EQ(500u, s.pin);
    completed(2);
    EXPECT_EQ(UINT64_MAX, s.pin);
}

} // namespace
