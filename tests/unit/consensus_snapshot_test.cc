/* Snapshots that arrive: damaged ones are pulled again, refused ones stop the replica. */
#include "tests/unit/replica_world.h"
#include "trireme/error.h"

using namespace replica_world;

namespace
{

/* A world in which node 2 must have a snapshot: the others have recycled what it misses. */
void leave_behind(World &w)
{
    w.elect(0);
    w.crash(2);
    for (uint64_t i = 1; i <= 600; i++) {
        w.propose(0, i);
        w.run(2000);
    }
    w.boot(2);
    w.node(2).images_by_hand = true;
    ASSERT_TRUE(w.run_until([&] { return w.node(2).install_asked; }));
}

/* The attempt of node 2 to restore what came ends so. */
void install_ends(World &w, int32_t status, bool lost = false)
{
    tr_event event{};
    event.type = TR_EVENT_SNAPSHOT_DONE;
    event.u.snapshot_done.slot = w.node(2).install.u.snapshot.slot;
    event.u.snapshot_done.bytes = w.node(2).incoming.size();
    event.u.snapshot_done.crc = w.node(2).install.u.snapshot.crc;
    event.u.snapshot_done.status = status;
    event.u.snapshot_done.installed = true;
    event.u.snapshot_done.lost = lost;
    w.node(2).install_asked = false;
    w.step(2, event);
}

TEST(Snapshot, ThatCameDamagedIsCountedAndPulledAgain)
{
    World w;
    leave_behind(w);
    for (uint64_t n = 1; n <= 3; n++) {
        install_ends(w, TR_ECORRUPT);
        EXPECT_EQ(w.at(2)->count.snapshots_damaged, n);
        EXPECT_NE(w.at(2)->role, TR_REPLICA_STOPPED);
        ASSERT_TRUE(w.run_until([&] { return w.node(2).install_asked; })) << n;
    }
    w.image_installed(2);
    w.node(2).images_by_hand = false;
    ASSERT_TRUE(w.run_until([&] { return w.at(2)->slot_apply == w.at(0)->slot_apply; }));
    EXPECT_EQ(w.at(2)->count.snapshots_installed, 1u);
}

TEST(Snapshot, ThatTheStateMachineRefusesStopsTheReplica)
{
    World w;
    leave_behind(w);
    install_ends(w, TR_EPROTO, true);
    EXPECT_EQ(w.at(2)->role, TR_REPLICA_STOPPED);
    EXPECT_EQ(w.at(2)->stop_reason, TR_STOP_RESTORE);
    EXPECT_EQ(w.at(2)->count.snapshots_damaged, 0u);
}

/* The one that sent the first chunks was restarted meanwhile, and has another snapshot of the same
 * slot: what it sends fits no more, and the pull must begin anew. */
TEST(Snapshot, OfTheSameSlotButOtherBytesIsPulledFromTheBeginning)
{
    World w;
    uint64_t slot = 0;
    auto each = [&](const std::function<void(uint8_t)> &what) {
        what(0);
        what(1);
    };
    w.elect(0);
    w.crash(2);
    each([&](uint8_t i) { w.node(i).images_by_hand = true; });
    for (uint64_t i = 1; w.at(0)->log.slot_first <= 1; i++) {
        ASSERT_LT(i, 1000u);
        w.propose(0, i);
        w.run(2000);
        if (slot != 0 || w.at(1)->slot_apply < w.at(1)->log.slot_mask / 2)
            continue;
        slot = w.at(1)->slot_apply;
        each([&](uint8_t n) { w.image_made(n, slot, 300000); });
    }
    w.boot(2);
    ASSERT_TRUE(w.run_until([&] { return w.at(2)->pull_offset > 0; }));
    each([&](uint8_t i) {
        w.node(i).image.assign(300000, 0xee);
        w.at(i)->snapshot_crc = tr_crc32c(0, w.node(i).image.data(), 300000);
    });
    EXPECT_TRUE(w.run_until([&] { return w.at(2)->slot_snapshot == slot; }));
    EXPECT_EQ(w.node(2).image, w.node(0).image);
}

TEST(Snapshot, AChunkLargerThanAnyoneSendsIsDropped)
{
    World w;
    leave_behind(w);
    install_ends(w, TR_ECORRUPT);
    ASSERT_TRUE(w.run_until([&] { return w.at(2)->pulling; }));
    uint32_t bytes = TR_SNAPSHOT_CHUNK_BYTES + 8;
    Sent sent = w.make<tr_snapshot_chunk>(w.at(2)->pull_peer, 2, TR_MESSAGE_SNAPSHOT_CHUNK);
    sent.words.resize((sent.bytes + bytes + 7) / 8, 0);
    sent.message()->tail_bytes = bytes;
    tr_snapshot_chunk *c = sent.body<tr_snapshot_chunk>();
    c->slot = w.at(2)->slot_commit + 1000;
    c->total_bytes = 2 * bytes;
    c->chunk_crc = tr_crc32c(0, c + 1, bytes);
    sent.bytes += bytes;
    uint64_t received = w.at(2)->count.snapshot_chunks_received;
    w.hand_forged(sent);
    EXPECT_EQ(w.at(2)->count.snapshot_chunks_received, received);
}

/* While its snapshot is made a leader fills what room it has, as its shell does: with whatever is
 * there, while the largest entry would fit. When the snapshot comes at last there may be less left
 * than it takes for another one to be wanted, and nobody could propose again. */
TEST(Snapshot, ThatIsMadeSlowlyIsFollowedByAnotherBeforeTheLogIsFull)
{
    for (uint32_t bytes = 500; bytes <= 4000; bytes += 125) {
        World w;
        uint64_t number = 0;
        w.elect(0);
        w.node(0).images_by_hand = true;
        for (int made = 0; made < 6; made++) {
            uint64_t slot = 0; /* which the snapshot under way is of */
            while (tr_replica_can_propose(w.at(0), 4096)) {
                w.propose(0, ++number, bytes);
                w.run(5000);
                slot = slot == 0 && w.node(0).image_asked ? w.at(0)->slot_apply : slot;
            }
            w.run(2 * HEARTBEAT_NS);
            ASSERT_TRUE(w.node(0).image_asked) << "commands of " << bytes << " bytes, " << made
                                               << " snapshots: full, and none is made";
            w.image_made(0, slot != 0 ? slot : w.at(0)->slot_apply);
        }
    }
}

} // namespace
