// Reads that wait for what comes with a snapshot.

#include "tests/unit/replica_world.h"

namespace
{

using namespace replica_world;

TEST(ReadInstall, ASnapshotThatBringsWhatAReadWaitsFor_AnswersIt)
{
    Options o;
    o.log_slots = 64;
    World w(o);
    w.elect(0);
    w.cut[0][2] = w.cut[2][0] = w.cut[1][2] = w.cut[2][1] = true;
    for (uint64_t i = 1; i <= 200; i++) {
        w.propose(0, i);
        w.run(10000);
    }
    ASSERT_GT(w.at(0)->log.slot_first, w.at(2)->slot_commit + 1);
    w.cut[0][2] = w.cut[2][0] = w.cut[1][2] = w.cut[2][1] = false;
    w.node(2).images_by_hand = true;
    ASSERT_TRUE(w.run_until([&] { return w.node(2).install_asked; }));
    // The index of the read is known before the snapshot is restored, and nothing else happens.
    w.read(2, 1);
    w.run(3 * HEARTBEAT_NS);
    ASSERT_EQ(0u, w.node(2).read_ready);
    ASSERT_NE(w.at(2)->read_confirmed_head, w.at(2)->read_confirmed_tail);
    w.image_installed(2);
    w.run(3 * HEARTBEAT_NS);
    EXPECT_EQ(w.at(0)->slot_commit, w.at(2)->slot_apply);
    EXPECT_EQ(1u, w.node(2).read_ready);
}

} // namespace
