/* The learner: whom a replica that is behind asks, and what it does with what it gets. */
#include "tests/unit/replica_world.h"
#include "trireme/error.h"

using namespace replica_world;

namespace
{

constexpr uint8_t BEHIND = 2;

struct CatchUp : ::testing::Test {
    World w{[] {
        Options options;
        options.log_slots = 64;
        return options;
    }()};

    void propose(uint64_t from, uint64_t count)
    {
        for (uint64_t n = from; n < from + count; n++) {
            w.propose(0, n);
            w.run(20000);
        }
    }
    /* Replica 2 sleeps until the others have recycled what it misses, then pulls a snapshot. */
    void fall_behind()
    {
        w.elect(0);
        w.node(BEHIND).images_by_hand = true;
        w.node(BEHIND).stalled = true;
        propose(1, 200);
        w.forget_wire();
        w.node(BEHIND).stalled = false;
        ASSERT_TRUE(w.run_until([&] { return w.node(BEHIND).install_asked; }));
    }
    void install_fails()
    {
        w.node(BEHIND).install_asked = false;
        tr_event event{};
        event.type = TR_EVENT_SNAPSHOT_DONE;
        event.u.snapshot_done.slot = w.node(BEHIND).install.u.snapshot.slot;
        event.u.snapshot_done.status = TR_ECORRUPT;
        event.u.snapshot_done.installed = true;
        w.step(BEHIND, event);
    }
};

TEST_F(CatchUp, ASnapshotThatCameDamaged_IsPulledAgain)
{
    fall_behind();
    install_fails();
    EXPECT_NE(TR_REPLICA_STOPPED, w.at(BEHIND)->role);
    ASSERT_TRUE(w.run_until([&] { return w.node(BEHIND).install_asked; }));
    w.image_installed(BEHIND);
    EXPECT_TRUE(w.run_until([&] { return w.at(BEHIND)->slot_apply == w.at(0)->slot_commit; }));
}

TEST_F(CatchUp, ASnapshotThatCanNeverBeInstalled_StopsTheReplica)
{
    fall_behind();
    for (int i = 0; i < 100 && w.at(BEHIND)->role != TR_REPLICA_STOPPED; i++) {
        install_fails();
        w.run_until([&] {
            return w.node(BEHIND).install_asked || w.at(BEHIND)->role == TR_REPLICA_STOPPED;
        });
    }
    EXPECT_EQ(TR_REPLICA_STOPPED, w.at(BEHIND)->role);
    EXPECT_EQ(TR_STOP_RESTORE, w.at(BEHIND)->stop_reason);
}

TEST_F(CatchUp, AnotherImageOfTheSameSlot_StartsOver)
{
    fall_behind();
    w.node(BEHIND).install_asked = false;
    tr_replica *r = w.at(BEHIND);
    /* As if a part of an image had come, and its sender had then made another one of that slot. */
    r->installing = false;
    r->pull_total = 5000;
    r->pull_offset = r->pull_asked = 50;
    r->pull_crc = 1;
    tr_timer_set(r, TR_TIMER_PULL, w.now_ns);
    EXPECT_TRUE(w.run_until([&] { return w.node(BEHIND).install_asked; }));
}

TEST_F(CatchUp, ASnapshotThatCannotBeMade_IsNotTriedAtEveryCommand)
{
    w.elect(0);
    w.node(0).images_by_hand = true;
    uint64_t n = 0;
    while (!w.node(0).image_asked)
        propose(++n, 1);
    w.node(0).effects.clear();
    for (int i = 0; i < 10; i++) {
        tr_event event{};
        event.type = TR_EVENT_SNAPSHOT_DONE;
        event.u.snapshot_done.status = TR_EFULL;
        if (w.at(0)->snapshot_making)
            w.step(0, event);
        propose(++n, 1);
    }
    EXPECT_EQ(0, w.effects_of(0, TR_EFFECT_SNAPSHOT_MAKE));
    w.run(3 * ELECTION_NS);
    propose(++n, 1);
    EXPECT_EQ(1, w.effects_of(0, TR_EFFECT_SNAPSHOT_MAKE)) << "but later, again";
}

TEST(CatchUpFrom, ADeadSource_IsNotAskedForEver)
{
    Options options;
    options.voters = 5;
    World w(options);
    w.elect(0);
    w.crash(4);
    w.propose(0, 1);
    auto recovers = [](Sent &s) { return s.type() >= TR_MESSAGE_RECOVER; };
    auto acks = [](Sent &s) {
        return s.type() == TR_MESSAGE_ACCEPT || s.type() == TR_MESSAGE_ACCEPTED;
    };
    for (int i = 0; i < 4; i++) {
        w.deliver(acks);
        w.tick();
    }
    w.forget_wire();
    ASSERT_GT(w.at(0)->slot_commit, w.at(1)->slot_commit) << "the leader alone knows";
    w.boot(4);
    /* The leader and two others answer; then the leader dies, and the rest goes on without it. */
    auto phase = [&] { return w.at(4)->recover_phase == TR_RECOVER_PAGE; };
    for (int i = 0; i < 1000 && !phase(); i++, w.now_ns += 1000) {
        w.deliver([&](Sent &s) { return recovers(s) && s.from != 3; });
        w.tick();
    }
    ASSERT_TRUE(phase());
    ASSERT_EQ(w.at(0)->slot_commit, w.at(4)->recover_target);
    w.forget_wire();
    w.crash(0);
    EXPECT_TRUE(w.run_until([&] { return w.at(4)->role == TR_REPLICA_FOLLOWER; }));
}

/* Later slots came first: the record of the slot after the snapshot lies behind theirs, and what is
 * behind it alone would say that nothing has come since. */
TEST(CatchUpOrder, WhatCameBeforeItsTurn_CountsTowardsTheNextSnapshot)
{
    Options options;
    options.log_slots = 4096;
    options.log_bytes = 1 << 16;
    World w(options);
    w.elect(0);
    w.run(2 * HEARTBEAT_NS);
    const uint64_t before = w.at(BEHIND)->slot_apply, missed = w.at(0)->slot_next + 4;
    w.node(0).images_by_hand = w.node(BEHIND).images_by_hand = true; /* the leader keeps all */
    auto no_missed = [&](Sent &sent) {
        if (sent.to != BEHIND ||
            (sent.type() != TR_MESSAGE_ACCEPT && sent.type() != TR_MESSAGE_LEARN))
            return true;
        auto first = reinterpret_cast<const tr_record *>(tr_message_tail(sent.message()));
        return sent.message()->tail_bytes == 0 || first->slot > missed;
    };
    for (uint64_t n = 1; tr_replica_can_propose(w.at(0), 500); n++) {
        w.propose(0, n, 500);
        w.run(2000, no_missed);
    }
    ASSERT_EQ(before, w.at(BEHIND)->slot_apply);
    ASSERT_GT(w.at(BEHIND)->log.slot_last, missed + 50);
    w.image_made(BEHIND, before);
    w.node(BEHIND).image_asked = false;
    EXPECT_TRUE(w.run_until([&] { return w.at(BEHIND)->slot_apply == w.at(0)->slot_commit; }));
    EXPECT_TRUE(w.node(BEHIND).image_asked);
}

} // namespace
