// What a leader leaves behind when it steps down.

#include "tests/unit/replica_world.h"

namespace
{

using namespace replica_world;

TEST(StepDown, OfALeaderThatKnowsOfMoreChosenThanItHolds_AsksForIt)
{
    // A late promise tells the leader of slots that others know to be chosen.
    World w;
    w.elect(0);
    Sent late = w.make<tr_promise>(1, 0, TR_MESSAGE_PROMISE);
    tr_promise *p = late.body<tr_promise>();
    p->ballot = w.at(0)->ballot;
    p->slot_first = p->slot_last = w.at(0)->slot_commit + 3;
    p->slot_end = p->slot_last;
    p->slot_commit = w.at(0)->slot_commit + 2;
    p->vector = w.at(1)->vector;
    w.hand_forged(late);
    ASSERT_EQ(TR_REPLICA_LEADER, w.at(0)->role);
    ASSERT_LT(w.at(0)->slot_commit, w.at(0)->slot_known);
    // Another one leads.
    Sent other = w.make<tr_heartbeat>(2, 0, TR_MESSAGE_HEARTBEAT);
    tr_heartbeat *h = other.body<tr_heartbeat>();
    h->ballot = {w.at(0)->ballot.round + 1, 1, 3, 0};
    h->vector_hash = w.at(0)->vector_hash;
    w.hand_forged(other); // and every invariant holds
    ASSERT_EQ(TR_REPLICA_FOLLOWER, w.at(0)->role);
    w.node(0).effects.clear();
    for (int i = 0; i < 1000 && w.at(0)->count.fetches_sent == 0; i++) {
        w.now_ns += 1000;
        if (tr_replica_deadline_ns(w.at(0)) <= w.now_ns)
            w.timeout(0);
    }
    EXPECT_EQ(1u, w.at(0)->count.fetches_sent);
}

} // namespace
