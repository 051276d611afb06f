// Incarnations: who a process of a member is (safety rule 2).
#include "replica_world.h"

namespace
{

using replica_world::Sent;
using replica_world::World;

// A follower restarts. The leader records its new incarnation first and tells the third replica,
// before the restarted one's own question arrives there.
TEST(Incarnation, NewsThatOvertakesAJoinDoesNotRefuseIt)
{
    World w;
    w.elect(0);
    w.propose(0, 1);
    w.run(100000);
    w.boot(1);
    auto joins = [](Sent &s) { return s.from == 1 && s.to == 2 && s.type() == TR_MESSAGE_RECOVER; };
    auto phase = [&] { return w.at(1)->recover_phase == TR_RECOVER_JOIN; };
    ASSERT_TRUE(w.run_until(phase));
    w.run(100000, [&](Sent &s) { return !joins(s); });
    uint32_t chosen = w.at(1)->vector.incarnation[1];
    ASSERT_EQ(chosen, w.at(2)->vector.incarnation[1]) << "the leader told it";
    ASSERT_TRUE(w.run_until([&] { return w.at(1)->role == TR_REPLICA_FOLLOWER; }));
    EXPECT_EQ(chosen, w.at(1)->vector.incarnation[1]) << "one incarnation was enough";
    EXPECT_EQ(1u, w.at(1)->count.recoveries);
}

// An earlier process of the same node has taken the number: the later one must take another.
TEST(Incarnation, TheNumberOfAnotherProcessIsRefused)
{
    World w;
    w.elect(0);
    w.run(100000);
    w.boot(1);
    ASSERT_TRUE(w.run_until([&] { return w.at(1)->recover_phase == TR_RECOVER_JOIN; }));
    uint32_t chosen = w.at(1)->vector.incarnation[1];
    uint64_t boot = w.at(1)->config.boot;
    auto forged = w.make<tr_recover>(1, 2, TR_MESSAGE_RECOVER);
    forged.body<tr_recover>()->boot = boot + 1;
    forged.body<tr_recover>()->phase = TR_RECOVER_JOIN;
    forged.body<tr_recover>()->incarnation = chosen;
    w.hand_forged(forged);
    EXPECT_EQ(boot + 1, w.at(2)->vector.boot[1]);
    ASSERT_TRUE(w.run_until([&] { return w.at(1)->role == TR_REPLICA_FOLLOWER; }));
    EXPECT_LT(chosen, w.at(1)->vector.incarnation[1]);
    EXPECT_EQ(boot, w.at(2)->vector.boot[1]);
}

// Between the answers to JOIN and to PAGE another leader has the peer accept at a higher ballot:
// what the page brings is above every promise that the answers to JOIN told of.
TEST(Incarnation, APageAboveThePromisesOfTheJoins_BringsItsOwn)
{
    World w;
    w.elect(0);
    w.run(100000);
    w.crash(1);
    w.cut[0][2] = true; // what is proposed now stays with the old leader
    w.propose(0, 1);
    w.deliver();
    w.cut[0][2] = false;
    w.boot(1);
    auto page = [&](Sent &s) {
        return s.from == 1 && s.type() == TR_MESSAGE_RECOVER &&
               s.body<tr_recover>()->phase == TR_RECOVER_PAGE;
    };
    auto held = [&](Sent &s) {
        return page(s) || s.type() == TR_MESSAGE_ACCEPT || s.type() == TR_MESSAGE_HEARTBEAT;
    };
    for (int i = 0; i < 1000 && w.at(1)->recover_phase != TR_RECOVER_PAGE; i++)
        w.run(1000, [&](Sent &s) { return !held(s); });
    ASSERT_EQ(static_cast<uint32_t>(TR_RECOVER_PAGE), w.at(1)->recover_phase);
    ASSERT_EQ(TR_REPLICA_RECOVERING, w.at(1)->role);
    tr_ballot joined = w.at(1)->promised;
    w.campaign(2);
    for (int i = 0; i < 1000 && w.at(2)->role != TR_REPLICA_LEADER; i++)
        w.run(1000, [&](Sent &s) { return !held(s); });
    ASSERT_EQ(TR_REPLICA_LEADER, w.at(2)->role);
    // The old leader accepts at the new ballot; that it did is not heard yet.
    w.deliver([](Sent &s) { return s.from == 2 && s.to == 0 && s.type() == TR_MESSAGE_ACCEPT; });
    w.deliver(page);
    w.deliver([](Sent &s) { return s.to == 1 && s.type() == TR_MESSAGE_RECOVERED; });
    ASSERT_EQ(TR_REPLICA_FOLLOWER, w.at(1)->role);
    EXPECT_TRUE(tr_ballot_less(joined, w.at(1)->promised));
    EXPECT_TRUE(tr_ballot_equal(w.at(2)->ballot, w.at(1)->promised));
}

} // namespace
