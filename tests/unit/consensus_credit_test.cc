// How far a leader goes on by one-sided writes, which no follower can refuse.
#include "replica_world.h"

namespace
{

using replica_world::Options;
using replica_world::World;

// Whether a REPLICATE of the last proposal went to a peer.
bool replicated_to(World &w, uint8_t leader, uint8_t peer)
{
    for (const tr_effect &e : w.node(leader).effects)
        if (e.type == TR_EFFECT_REPLICATE && (e.peers >> peer & 1) != 0 &&
            e.u.replicate.slot_last + 1 == w.at(leader)->slot_next)
            return true;
    return false;
}

struct Credit : ::testing::Test {
    World w{[] {
        Options o;
        o.log_slots = 64;
        o.one_sided = true;
        return o;
    }()};
    tr_replica *leader = nullptr;
    tr_peer *peer = nullptr;

    // Brings a slot into both rings, and to its end.
    void carry(uint64_t slot)
    {
        for (uint8_t to : {1, 2}) {
            w.ring_record(0, to, slot);
            w.written(0, to, slot, slot);
        }
        w.run(2000);
    }

    // A leader whose log has recycled its first slots, with rings to both followers.
    void SetUp() override
    {
        ASSERT_TRUE(w.run_until([&] { return w.leader() == 0 && w.at(0)->peer[1].ring; }));
        leader = w.at(0);
        peer = &leader->peer[1];
        carry(leader->slot_next - 1);
        for (uint64_t i = 1; i <= 100; i++) {
            w.propose(0, i);
            carry(leader->slot_next - 1);
        }
        ASSERT_GT(leader->log.slot_first, 2u);
        w.node(0).effects.clear();
    }
};

// The follower has applied everything, and could recycle it: it only has made no snapshot yet.
TEST_F(Credit, AFollowerThatRecyclesLaterThanTheLeaderIsWrittenTo)
{
    peer->slot_apply = leader->slot_commit;
    peer->slot_recyclable = leader->log.slot_first - 2;
    w.propose(0, 1000);
    EXPECT_TRUE(replicated_to(w, 0, 1));
}

// The follower lacks what the leader no longer has: it fetches a snapshot first.
TEST_F(Credit, AFollowerThatLagsBehindTheLeadersLogIsNot)
{
    peer->slot_apply = leader->log.slot_first - 2;
    peer->slot_recyclable = leader->log.slot_first - 2;
    w.propose(0, 1000);
    EXPECT_FALSE(replicated_to(w, 0, 1));
    EXPECT_TRUE(replicated_to(w, 0, 2));
}

// A follower that says it could recycle what nobody has proposed is broken, or lies: it harms
// itself.
TEST_F(Credit, AFollowerThatRecyclesWhatIsStillToCome_IsWrittenTo)
{
    peer->slot_apply = peer->slot_recyclable = leader->slot_next + 1000;
    w.propose(0, 1000);
    EXPECT_TRUE(replicated_to(w, 0, 1));
    EXPECT_TRUE(replicated_to(w, 0, 2));
}

// The leader knows of no room in a follower's log and writes nothing; so nothing is applied there
// that would make the follower think of a snapshot.
TEST_F(Credit, AFollowerThatHearsOfEntriesWhichDoNotCome_MakesRoomForThem)
{
    const tr_replica *follower = w.at(1);
    for (uint64_t i = 1000; follower->slot_snapshot == follower->slot_apply; i++) {
        w.propose(0, i);
        carry(leader->slot_next - 1);
    }
    const uint64_t made = follower->count.snapshots_made;
    w.propose(0, 2000); // in no ring
    EXPECT_TRUE(w.run_until([&] { return follower->count.snapshots_made > made; }));
    EXPECT_EQ(follower->slot_apply, follower->slot_snapshot);
    EXPECT_GT(leader->slot_next, follower->slot_apply + 1);
    EXPECT_EQ(0, w.leader());
}

} // namespace
