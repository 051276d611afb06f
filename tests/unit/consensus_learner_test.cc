/* The learner: what is taken as chosen, fetching, snapshots made, pulled and installed. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

Options small()
{
    Options o;
    o.log_slots = 64;
    return o;
}

/* Node 2 is cut off while the others choose so many commands; then it is back. */
void leave_behind(World &w, uint64_t commands)
{
    w.elect(0);
    for (uint8_t i : {0, 1})
        w.cut[i][2] = w.cut[2][i] = true;
    for (uint64_t i = 1; i <= commands; i++) {
        w.propose(0, i);
        w.run(10000);
    }
    for (uint8_t i : {0, 1})
        w.cut[i][2] = w.cut[2][i] = false;
    w.forget_wire();
}

TEST(Learner, FetchesAPageAfterTheOther)
{
    Options o;
    o.log_slots = 1024;
    World w(o);
    leave_behind(w, 600);
    ASSERT_TRUE(w.run_until([&] { return w.at(2)->slot_commit == w.at(0)->slot_commit; }));
    EXPECT_GE(w.at(2)->count.fetches_sent, 3u);
    EXPECT_EQ(0u, w.at(2)->count.snapshots_installed);
}

TEST(Learner, AtLevelDisk_WhatItLearnsGoesToTheDisk)
{
    Options o;
    o.level = TR_LEVEL_DISK;
    World w(o);
    leave_behind(w, 40);
    w.node(2).effects.clear();
    ASSERT_TRUE(w.run_until([&] { return w.at(2)->slot_commit == w.at(0)->slot_commit; }));
    EXPECT_GE(w.effects_of(2, TR_EFFECT_PERSIST), 40);
}

TEST(Learner, ALongSnapshot_IsPulledWindowByWindow)
{
    World w(small());
    w.node(0).images_by_hand = true;
    w.elect(0);
    for (uint8_t i : {0, 1})
        w.cut[i][2] = w.cut[2][i] = true;
    for (uint64_t i = 1; i <= 100; i++) {
        w.propose(0, i);
        w.run(10000);
        if (w.node(0).image_asked)
            w.image_made(0, w.at(0)->slot_apply, 500000);
    }
    for (uint8_t i : {0, 1})
        w.cut[i][2] = w.cut[2][i] = false;
    w.forget_wire();
    uint64_t pulls = 0;
    w.run(4 * HEARTBEAT_NS, [&](Sent &s) {
        pulls += s.type() == TR_MESSAGE_SNAPSHOT_PULL;
        return true;
    });
    EXPECT_EQ(1u, w.at(2)->count.snapshots_installed);
    EXPECT_EQ(500000u / TR_SNAPSHOT_CHUNK_BYTES / TR_SNAPSHOT_CHUNKS_WINDOW + 1, pulls);
}

TEST(Learner, AFetchOfNothing_IsDropped)
{
    World w;
    w.elect(0);
    Sent s = w.make<tr_fetch>(2, 0, TR_MESSAGE_FETCH);
    s.body<tr_fetch>()->slot_first = 0;
    s.body<tr_fetch>()->slot_last = 5;
    w.hand_forged(s);
    s.body<tr_fetch>()->slot_first = 6;
    w.hand_forged(s);
    EXPECT_EQ(2u, w.at(0)->count.dropped_malformed);
}

TEST(Learner, ALearnBeyondWhatItSaysIsChosen_IsNotTaken)
{
    World w;
    leave_behind(w, 5);
    w.run(HEARTBEAT_NS + 30000, [](Sent &s) { return s.type() != TR_MESSAGE_LEARN; });
    Sent learn;
    ASSERT_TRUE(w.take(0, 2, TR_MESSAGE_LEARN, &learn));
    learn.body<tr_learn>()->slot_commit = 3;
    w.hand_forged(learn);
    EXPECT_EQ(3u, w.at(2)->slot_commit);
}

TEST(Learner, ALeader_TakesNoLearn)
{
    World w;
    w.elect(0);
    Sent s = w.make<tr_learn>(1, 0, TR_MESSAGE_LEARN);
    s.body<tr_learn>()->slot_first = 1;
    s.body<tr_learn>()->slot_commit = 100;
    w.hand_forged(s);
    EXPECT_LT(w.at(0)->slot_known, 100u);
}

TEST(Learner, ASnapshotOfManyChunks_GoesOnAfterALoss)
{
    World w(small());
    w.node(0).images_by_hand = true;
    w.elect(0);
    for (uint8_t i : {0, 1})
        w.cut[i][2] = w.cut[2][i] = true;
    for (uint64_t i = 1; i <= 100; i++) {
        w.propose(0, i);
        w.run(10000);
        if (w.node(0).image_asked)
            w.image_made(0, w.at(0)->slot_apply, 300000);
    }
    for (uint8_t i : {0, 1})
        w.cut[i][2] = w.cut[2][i] = false;
    w.forget_wire();
    uint64_t chunks = 0;
    w.run(40 * HEARTBEAT_NS, [&](Sent &s) {
        if (s.type() == TR_MESSAGE_SNAPSHOT_CHUNK && ++chunks % 3 == 0) {
            s.body<tr_snapshot_chunk>()->chunk_crc ^= 1; /* as good as lost */
            tr_message_seal(s.message());
        }
        return true;
    });
    EXPECT_EQ(w.at(0)->slot_commit, w.at(2)->slot_commit);
    EXPECT_EQ(1u, w.at(2)->count.snapshots_installed);
    EXPECT_EQ(w.node(0).image, w.node(2).image);
    EXPECT_GE(w.at(2)->count.snapshot_chunks_received, 10u);
}

/* A chunk that node 2, which pulls, waits for. */
struct Chunk : ::testing::Test {
    World w{small()};
    Sent chunk;
    void SetUp() override
    {
        leave_behind(w, 100);
        w.run(6 * HEARTBEAT_NS, [](Sent &s) { return s.type() != TR_MESSAGE_SNAPSHOT_CHUNK; });
        ASSERT_TRUE(w.take(0, 2, TR_MESSAGE_SNAPSHOT_CHUNK, &chunk));
        ASSERT_TRUE(w.at(2)->pulling);
        w.node(2).images_by_hand = true;
    }
    bool taken()
    {
        uint64_t before = w.at(2)->count.snapshot_chunks_received;
        w.hand_forged(chunk);
        return w.at(2)->count.snapshot_chunks_received > before;
    }
};

TEST_F(Chunk, ThatLiesAboutItsPlace_IsNotTaken)
{
    tr_snapshot_chunk *c = chunk.body<tr_snapshot_chunk>();
    tr_snapshot_chunk right = *c;
    c->offset = 8;
    EXPECT_FALSE(taken());
    *c = right;
    c->total_bytes = 50; /* less than it carries */
    EXPECT_FALSE(taken());
    *c = right;
    c->slot = 1; /* older than what is here */
    EXPECT_FALSE(taken());
    *c = right;
    c->chunk_crc ^= 1;
    EXPECT_FALSE(taken());
    EXPECT_EQ(1u, w.at(2)->count.dropped_malformed);
    *c = right;
    chunk.from = 1; /* not the one that is pulled from */
    chunk.message()->from = 2;
    EXPECT_FALSE(taken());
    chunk.from = 0;
    chunk.message()->from = 1;
    EXPECT_TRUE(taken());
    EXPECT_TRUE(w.node(2).install_asked);
}

TEST_F(Chunk, AfterTheLast_NoMoreAreTakenUntilItIsInstalled)
{
    EXPECT_TRUE(taken());
    EXPECT_FALSE(taken());
    EXPECT_TRUE(w.at(2)->installing);
    w.image_installed(2);
    EXPECT_FALSE(w.at(2)->installing);
    EXPECT_EQ(w.node(2).image_slot, w.at(2)->slot_apply);
}

TEST_F(Chunk, OfASnapshotThatLeavesTheStateHalfRestored_StopsTheReplica)
{
    EXPECT_TRUE(taken());
    tr_event event{};
    event.type = TR_EVENT_SNAPSHOT_DONE;
    event.u.snapshot_done.installed = true;
    event.u.snapshot_done.status = -1;
    event.u.snapshot_done.lost = true;
    event.u.snapshot_done.slot = w.node(2).install.u.snapshot.slot;
    w.step(2, event);
    EXPECT_EQ(TR_REPLICA_STOPPED, w.at(2)->role);
    EXPECT_EQ(TR_STOP_RESTORE, w.at(2)->stop_reason);
    EXPECT_EQ(1, w.effects_of(2, TR_EFFECT_STOPPED));
}

TEST_F(Chunk, ThatNeverComes_IsAskedForTwice_ThenSomebodyIsAskedAnew)
{
    uint64_t fetches = w.at(2)->count.fetches_sent;
    w.run(20 * RETRANSMIT_NS, [](Sent &s) { return s.type() != TR_MESSAGE_SNAPSHOT_CHUNK; });
    EXPECT_GT(w.at(2)->count.fetches_sent, fetches);
}

TEST(Learner, APullOfNothing_IsDropped)
{
    World w;
    w.elect(0);
    Sent s = w.make<tr_snapshot_pull>(2, 0, TR_MESSAGE_SNAPSHOT_PULL);
    s.body<tr_snapshot_pull>()->chunk_count = 1;
    w.hand_forged(s); /* there is no snapshot */
    w.applied(0, 1);
    w.image_made(0, 1);
    s.body<tr_snapshot_pull>()->chunk_count = 0;
    w.hand_forged(s);
    s.body<tr_snapshot_pull>()->chunk_count = TR_SNAPSHOT_CHUNKS_WINDOW + 1;
    w.hand_forged(s);
    EXPECT_EQ(3u, w.at(0)->count.dropped_stale);
    s.body<tr_snapshot_pull>()->chunk_count = 1;
    w.hand_forged(s);
    EXPECT_EQ(1, w.effects_of(0, TR_EFFECT_SNAPSHOT_SEND));
}

TEST(Learner, ASnapshotThatWasNotMade_ChangesNothing_AndIsWantedAgain)
{
    World w(small());
    w.node(0).images_by_hand = true;
    w.elect(0);
    for (uint64_t i = 1; i <= 20; i++) {
        w.propose(0, i);
        w.run(10000);
    }
    ASSERT_TRUE(w.node(0).image_asked);
    tr_event event{};
    event.type = TR_EVENT_SNAPSHOT_DONE;
    event.u.snapshot_done.status = -5;
    event.u.snapshot_done.slot = w.at(0)->slot_apply;
    w.step(0, event);
    EXPECT_EQ(0u, w.at(0)->slot_snapshot);
    EXPECT_EQ(0u, w.at(0)->count.snapshots_made);
    w.node(0).image_asked = false;
    w.propose(0, 21);
    w.run(3 * ELECTION_NS);
    w.propose(0, 22);
    w.run(10000);
    EXPECT_TRUE(w.node(0).image_asked);
}

TEST(Learner, ThatNothingWasApplied_AsksForNoSnapshot)
{
    World w(small());
    tr_event event{};
    event.type = TR_EVENT_APPLIED;
    w.step(0, event);
    EXPECT_EQ(0, w.effects_of(0, TR_EFFECT_SNAPSHOT_MAKE));
}

TEST(Learner, ASnapshotMadeLate_DoesNotReplaceALaterOneThatWasInstalled)
{
    World w(small());
    w.node(2).images_by_hand = true;
    w.elect(0);
    for (uint64_t i = 1; i <= 20; i++) {
        w.propose(0, i);
        w.run(10000);
    }
    w.run(HEARTBEAT_NS);
    ASSERT_TRUE(w.node(2).image_asked);
    uint64_t early = w.at(2)->slot_apply;
    for (uint8_t i : {0, 1})
        w.cut[i][2] = w.cut[2][i] = true;
    for (uint64_t i = 21; i <= 140; i++) {
        w.propose(0, i);
        w.run(10000);
    }
    for (uint8_t i : {0, 1})
        w.cut[i][2] = w.cut[2][i] = false;
    ASSERT_TRUE(w.run_until([&] { return w.node(2).install_asked; }));
    w.image_installed(2);
    uint64_t slot = w.at(2)->slot_snapshot;
    ASSERT_GT(slot, early);
    w.image_made(2, early);
    EXPECT_EQ(slot, w.at(2)->slot_snapshot);
}

} // namespace
