/* This side's rings: what is drained when, and what a fence waits for. */
#include "group_stage.h"

using namespace group_stage;

namespace
{

const tr_ballot HIGHER{2, 1, 2, 0};
const tr_ballot HIGHEST{3, 1, 3, 0};

TEST(InletDrain, OfARecordThatLandedWhole_HandsItUpAndTellsTheWriter)
{
    Stage s;
    s.grant_ring();
    uint64_t end = s.land_record(0, 7);
    EXPECT_TRUE(tr_inlet_has_news(s.g));
    EXPECT_EQ(1u, tr_inlet_drain(s.g));
    ASSERT_EQ(1u, s.told.size());
    EXPECT_EQ(TR_EVENT_ENTRIES_SEEN, s.told[0].type);
    EXPECT_EQ(s.granted.back(), s.told[0].generation);
    EXPECT_EQ(std::vector<uint64_t>{7}, s.told[0].slots);
    EXPECT_FALSE(tr_inlet_has_news(s.g));
    EXPECT_EQ(0u, tr_inlet_drain(s.g));
    EXPECT_EQ(std::vector<uint64_t>{end}, s.consumed) << "its credit, once all is taken in";
}

TEST(InletDrain, WithNobodyGranted_SeesNoNews)
{
    Stage s;
    s.land_record(0, 7);
    EXPECT_FALSE(tr_inlet_has_news(s.g));
}

TEST(InletDrain, OfARingThatWasJustLookedAt_RestsUnlessTheNodeWorks)
{
    Stage s;
    s.g->now_ns = 1000;
    s.grant_ring();
    EXPECT_FALSE(tr_inlet_has_news(s.g));
    s.land_record(0, 7);
    EXPECT_FALSE(tr_inlet_has_news(s.g));
    s.g->now_ns += TR_INLET_REST_NS;
    EXPECT_TRUE(tr_inlet_has_news(s.g));
    EXPECT_EQ(1u, tr_inlet_drain(s.g));
    s.g->now_ns += TR_INLET_REST_NS;
    s.g->sessions.hot = 1;
    EXPECT_FALSE(tr_inlet_has_news(s.g));
    s.land_record(s.g->inlet.position, 8);
    EXPECT_TRUE(tr_inlet_has_news(s.g));
}

TEST(InletDrain, OfATornRecord_WaitsUntilItIsWhole)
{
    Stage s;
    s.grant_ring();
    std::vector<uint8_t> bytes = s.record(0, 7, 500);
    memcpy(s.ring, bytes.data(), sizeof(tr_record));
    EXPECT_EQ(0u, tr_inlet_drain(s.g)) << "the header alone";
    s.land(0, bytes, bytes.size() - 64);
    EXPECT_EQ(0u, tr_inlet_drain(s.g)) << "and the end";
    s.land(0, bytes);
    EXPECT_EQ(1u, tr_inlet_drain(s.g));
    EXPECT_EQ(std::vector<uint64_t>{7}, s.slots_told());
}

TEST(InletDrain, OfWhatThePreviousGrantLeft_FindsNothing)
{
    Stage s;
    s.grant_ring();
    std::vector<uint8_t> old = s.record(0, 7, 8);
    s.grant_ring();
    s.land(0, old);
    EXPECT_FALSE(tr_inlet_has_news(s.g));
    EXPECT_EQ(0u, tr_inlet_drain(s.g));
    EXPECT_TRUE(s.told.empty());
}

TEST(InletDrain, WhereTheLogHasNoRoom_LeavesTheRestInTheRing)
{
    Stage s;
    s.grant_ring();
    uint64_t second = s.land_record(0, 7);
    s.land_record(s.land_record(second, 8), 9);
    s.admits = 1;
    EXPECT_EQ(1u, tr_inlet_drain(s.g));
    EXPECT_EQ(second, s.g->inlet.position);
    s.admits = 0;
    EXPECT_EQ(0u, tr_inlet_drain(s.g));
    EXPECT_EQ(second, s.g->inlet.position);
    s.admits = UINT32_MAX;
    s.told.clear();
    EXPECT_EQ(2u, tr_inlet_drain(s.g));
    EXPECT_EQ((std::vector<uint64_t>{8, 9}), s.slots_told());
}

TEST(InletDrain, OfPadding_GoesOnAtTheBeginningOfTheRing)
{
    Stage s;
    s.grant_ring();
    uint64_t end = s.land_record(0, 7, 1984 - sizeof(tr_record));
    end = s.land_record(end, 8, 1984 - sizeof(tr_record));
    EXPECT_EQ(2u, tr_inlet_drain(s.g));
    EXPECT_EQ(0u, tr_inlet_drain(s.g));
    tr_record pad;
    tr_ring_pad(&s.g->inlet.grant, end, static_cast<uint32_t>(RING_BYTES - end), &pad);
    memcpy(s.ring + end, &pad, sizeof(pad));
    EXPECT_EQ(0u, tr_inlet_drain(s.g));
    EXPECT_EQ(RING_BYTES, s.g->inlet.position) << "padding alone is passed";
    EXPECT_EQ(RING_BYTES, s.consumed.back());
    s.land_record(RING_BYTES, 9);
    EXPECT_EQ(1u, tr_inlet_drain(s.g));
    EXPECT_EQ((std::vector<uint64_t>{7, 8, 9}), s.slots_told());
}

TEST(InletDrain, OfMoreThanAnEventHolds_GoesOnWithTheNext)
{
    Stage s;
    s.grant_ring();
    s.g->inlet.buffer_bytes = 3 * 128;
    uint64_t end = 0;
    for (uint64_t slot = 1; slot <= 5; slot++)
        end = s.land_record(end, slot);
    EXPECT_EQ(3u, tr_inlet_drain(s.g));
    EXPECT_EQ(2u, tr_inlet_drain(s.g));
    EXPECT_EQ((std::vector<uint64_t>{1, 2, 3, 4, 5}), s.slots_told());
}

TEST(InletFence, WithNobodyGranted_EndsAtOnceAndAsksNoDriver)
{
    Stage s;
    tr_inlet_fence(s.g, HIGHER, 3);
    EXPECT_TRUE(s.told.empty()) << "not within the step that asks for it";
    EXPECT_EQ(1u, tr_inlet_fence_poll(s.g));
    EXPECT_EQ(0u, s.fences);
    ASSERT_EQ(1u, s.told.size());
    EXPECT_EQ(TR_EVENT_FENCED, s.told[0].type);
    EXPECT_EQ(2u, s.told[0].ballot.round);
    EXPECT_EQ(s.granted.back(), s.told[0].grant.generation);
    EXPECT_EQ(RING_BYTES, s.told[0].grant.ring_bytes);
}

TEST(InletFence, WhileTheDriverIsNotQuiescent_TellsNothing)
{
    Stage s;
    s.grant_ring();
    s.start_says = s.poll_says = TR_AGAIN;
    tr_inlet_fence(s.g, HIGHEST, 3);
    s.land_record(0, 7);
    EXPECT_EQ(0u, tr_inlet_fence_poll(s.g));
    EXPECT_TRUE(s.told.empty());
    s.poll_says = TR_OK;
    EXPECT_EQ(1u, tr_inlet_fence_poll(s.g));
    EXPECT_EQ(1u, s.fences);
    ASSERT_EQ(2u, s.told.size()) << "what landed before the fence was quiescent comes first";
    EXPECT_EQ(TR_EVENT_ENTRIES_SEEN, s.told[0].type);
    EXPECT_EQ(TR_EVENT_FENCED, s.told[1].type);
}

TEST(InletFence, WhileTheLogHasNoRoomForWhatLanded_Waits)
{
    Stage s;
    s.grant_ring();
    s.land_record(s.land_record(0, 7), 8);
    tr_inlet_fence(s.g, HIGHEST, 3);
    s.admits = 1;
    EXPECT_EQ(0u, tr_inlet_fence_poll(s.g));
    EXPECT_EQ(0u, tr_inlet_fence_poll(s.g));
    s.admits = UINT32_MAX;
    s.told.clear();
    EXPECT_EQ(1u, tr_inlet_fence_poll(s.g));
    ASSERT_EQ(2u, s.told.size());
    EXPECT_EQ(std::vector<uint64_t>{8}, s.told[0].slots);
    EXPECT_EQ(TR_EVENT_FENCED, s.told[1].type);
}

TEST(InletFence, OvertakenByAHigherBallot_EndsForThatOneAlone)
{
    Stage s;
    s.grant_ring();
    s.start_says = TR_AGAIN;
    tr_inlet_fence(s.g, HIGHER, 2);
    tr_inlet_fence(s.g, HIGHEST, 3);
    EXPECT_EQ(1u, s.fences);
    EXPECT_EQ(1u, tr_inlet_fence_poll(s.g));
    ASSERT_EQ(1u, s.told.size());
    EXPECT_EQ(3u, s.told[0].ballot.round);
    EXPECT_NE(0u, s.told[0].grant.generation) << "the newer owner has a ring, the older one none";
}

TEST(InletFence, GrantsUnderGenerationsThatRiseWithGrantsAndIncarnations)
{
    Stage s;
    s.grant_ring();
    s.grant_ring();
    s.status.incarnation = 2;
    s.grant_ring();
    ASSERT_EQ(3u, s.granted.size());
    EXPECT_LT(s.granted[0], s.granted[1]);
    EXPECT_LT(s.granted[1], s.granted[2]);
    EXPECT_EQ(2u, s.granted[2] >> 32);
    EXPECT_EQ(0u, s.g->inlet.position);
}

TEST(InletFence, ForAnOwnerThatCannotWrite_GrantsNothing)
{
    struct Case {
        const char *what;
        tr_node_id owner;
        uint32_t incarnation;
        int status;
    };
    for (const Case &c :
         {Case{"no member", 9, 1, 0}, Case{"this node", 1, 1, 0}, Case{"no ring", 2, 1, 0},
          Case{"not recovered", 3, 0, 0}, Case{"the driver refuses", 3, 1, TR_ENOMEM}}) {
        Stage s;
        s.status.incarnation = c.incarnation;
        s.grant_status = c.status;
        tr_inlet_fence(s.g, HIGHER, c.owner);
        EXPECT_EQ(1u, tr_inlet_fence_poll(s.g)) << c.what;
        ASSERT_EQ(1u, s.told.size()) << c.what;
        EXPECT_EQ(0u, s.told[0].grant.generation) << c.what;
        EXPECT_EQ(TR_MEMBERS_MAX, s.g->inlet.granted) << c.what;
    }
}

} // namespace
