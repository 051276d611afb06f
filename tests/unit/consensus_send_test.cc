/* Encoding: records that lie apart in the log, pages, and messages of another group of nodes. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

TEST(Send, RecordsThatLieApart_GoInAsManyMessagesAsTheyHavePieces)
{
    /* Node 1 accepts eight slots backwards, so that no two records follow each other in its log;
     * then it leads, and proposes them again. */
    World w;
    w.elect(0);
    w.forget_wire();
    uint64_t first = w.at(0)->slot_next;
    std::vector<Sent> accepts(8);
    for (Sent &s : accepts) {
        w.propose(0, w.at(0)->slot_next);
        ASSERT_TRUE(w.take(0, 1, TR_MESSAGE_ACCEPT, &s));
    }
    for (auto s = accepts.rbegin(); s != accepts.rend(); ++s)
        w.hand(*s);
    w.forget_wire();
    w.crash(0);
    w.campaign(1);
    w.deliver();
    w.deliver();
    w.timeout(1);
    ASSERT_EQ(TR_REPLICA_LEADER, w.at(1)->role);
    uint64_t messages = 0;
    for (Sent &s : w.wire)
        messages += s.to == 2 && s.type() == TR_MESSAGE_ACCEPT;
    EXPECT_GE(messages, 8u / TR_SEND_PIECES_MAX);
    w.run(HEARTBEAT_NS);
    EXPECT_GE(w.at(2)->slot_commit, first + 8);
}

TEST(Send, APromiseOfRecordsThatLieApart_ComesInPages)
{
    World w;
    w.elect(0);
    w.forget_wire();
    uint64_t first = w.at(0)->slot_next;
    std::vector<Sent> accepts(8);
    for (Sent &s : accepts) {
        w.propose(0, w.at(0)->slot_next);
        ASSERT_TRUE(w.take(0, 1, TR_MESSAGE_ACCEPT, &s));
    }
    for (auto s = accepts.rbegin(); s != accepts.rend(); ++s)
        w.hand(*s);
    w.forget_wire();
    w.crash(0);
    uint64_t pages = 0;
    w.campaign(2);
    w.run(HEARTBEAT_NS, [&](Sent &s) {
        pages += s.type() == TR_MESSAGE_PROMISE;
        return true;
    });
    EXPECT_EQ(2, w.leader());
    EXPECT_GE(pages, 8u / TR_SEND_PIECES_MAX);
    for (uint64_t slot = first; slot < first + 8; slot++)
        EXPECT_EQ(TR_RECORD_COMMANDS, tr_replica_entry(w.at(2), slot)->kind) << slot;
}

TEST(Send, AMessageOfAnotherFounding_IsDropped)
{
    World w;
    w.elect(0);
    Sent s = w.make<tr_prevote>(1, 0, TR_MESSAGE_PREVOTE);
    s.body<tr_prevote>()->ballot = {9, 1, 2, 0};
    s.message()->cluster++;
    w.hand_forged(s);
    EXPECT_EQ(1u, w.at(0)->count.dropped_cluster);
    s.message()->cluster--;
    s.message()->group++;
    w.hand_forged(s);
    EXPECT_EQ(1u, w.at(0)->count.dropped_malformed) << "nor of another group";
}

TEST(Send, AMessageOfALaterIncarnation_TellsOfIt)
{
    World w;
    w.elect(0);
    Sent s = w.make<tr_fetch>(1, 0, TR_MESSAGE_FETCH);
    s.body<tr_fetch>()->slot_first = s.body<tr_fetch>()->slot_last = 1;
    s.message()->incarnation = 2;
    w.hand_forged(s);
    EXPECT_EQ(2u, w.at(0)->vector.incarnation[1]);
    s.message()->incarnation = 1;
    w.hand_forged(s);
    EXPECT_EQ(1u, w.at(0)->count.dropped_incarnation);
}

} // namespace
