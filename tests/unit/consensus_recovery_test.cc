/* Founding and coming back: who may count on whom, and that it ends. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

Options of(uint32_t voters)
{
    Options o;
    o.voters = voters;
    return o;
}

TEST(Recovery, EndsWithoutTheOneThatKnewOfTheHighestCommit)
{
    /* Five voters; node 4 forgets. It joins all others; node 0, which alone knows of the last
     * commit, dies before node 4 has fetched it. Two of five are gone, and three vote on: node 4
     * must come back with them. */
    World w(of(5));
    w.elect(0);
    w.propose(0, 1);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_ACCEPT; });
    for (uint8_t i = 1; i < 5; i++)
        w.timeout(i);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_ACCEPTED; });
    w.forget_wire();
    ASSERT_GT(w.at(0)->slot_commit, w.at(1)->slot_commit);
    w.crash(4);
    w.boot(4);
    auto recovery = [](Sent &s) { return s.type() >= TR_MESSAGE_RECOVER; };
    w.timeout(4);
    w.deliver(recovery);
    w.deliver(recovery);
    w.deliver(recovery);
    w.deliver(recovery);
    ASSERT_EQ(w.at(0)->slot_commit, w.at(4)->recover_target);
    w.crash(0);
    w.forget_wire();
    EXPECT_TRUE(w.run_until([&] { return w.at(4)->role == TR_REPLICA_FOLLOWER; }))
        << "it asks the dead one for ever";
}

TEST(Recovery, EndsWhenTheOneThatKnewOfTheHighestCommitForgotIt)
{
    /* The same, but node 0 comes back, and tells node 4 of less than before. Nobody tells of more
     * than node 4 has, until a leader is elected; and a leader does not speak to who recovers. */
    World w(of(5));
    w.elect(0);
    w.crash(4);
    w.propose(0, 1);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_ACCEPT; });
    for (uint8_t i = 1; i < 4; i++)
        w.timeout(i);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_ACCEPTED; });
    w.forget_wire();
    uint64_t known = w.at(0)->slot_commit;
    ASSERT_GT(known, w.at(1)->slot_commit);
    w.boot(4);
    w.timeout(4);
    for (int i = 0; i < 4; i++)
        w.deliver([](Sent &s) { return s.type() >= TR_MESSAGE_RECOVER; });
    ASSERT_EQ(known, w.at(4)->recover_target);
    w.crash(0);
    w.boot(0);
    w.forget_wire();
    auto held = [](Sent &s) {
        return s.type() != TR_MESSAGE_PREVOTE && (s.to != 4 || s.type() != TR_MESSAGE_LEARN);
    };
    for (int i = 0; i < 500 && w.at(0)->role != TR_REPLICA_FOLLOWER; i++)
        w.run(1000, held);
    Sent news = w.make<tr_vector>(1, 4, TR_MESSAGE_VECTOR);
    *news.body<tr_vector>() = w.at(1)->vector;
    w.hand_forged(news);
    for (int i = 0; i < 500 && w.at(4)->peer[0].recovered_commit == known; i++)
        w.run(1000, held);
    ASSERT_EQ(w.at(1)->slot_commit, w.at(4)->peer[0].recovered_commit);
    auto none = [](Sent &s) { return s.type() != TR_MESSAGE_PREVOTE; };
    for (int i = 0; i < 500 && w.at(4)->slot_commit < w.at(1)->slot_commit; i++)
        w.run(1000, none);
    ASSERT_EQ(w.at(1)->slot_commit, w.at(4)->slot_commit);
    EXPECT_TRUE(w.run_until([&] { return w.at(4)->role == TR_REPLICA_FOLLOWER; }))
        << "it asks nobody, commit " << w.at(4)->slot_commit << " of " << known;
    EXPECT_GE(w.at(4)->slot_commit, known);
}

TEST(Recovery, OfAReplicaThatRestartsAgain_TakesAHigherIncarnation)
{
    World w;
    w.elect(0);
    for (uint32_t life = 2; life <= 4; life++) {
        w.crash(2);
        w.boot(2);
        ASSERT_TRUE(w.run_until([&] { return w.at(2)->role == TR_REPLICA_FOLLOWER; }));
        EXPECT_EQ(life, w.at(2)->vector.incarnation[2]);
    }
}

TEST(Recovery, InTheMiddleOfWhichTheProcessDies_LeavesNothingBehind)
{
    World w;
    w.elect(0);
    w.propose(0, 1);
    w.run(HEARTBEAT_NS);
    w.crash(2);
    w.boot(2);
    w.run(2000); /* it has asked, and perhaps joined */
    w.crash(2);
    w.boot(2);
    ASSERT_TRUE(w.run_until([&] { return w.at(2)->slot_commit == w.at(0)->slot_commit; }));
    EXPECT_GE(w.at(2)->vector.incarnation[2], 2u);
}

TEST(Recovery, ALaterProcessThatWasLetIn_StopsTheEarlierOne)
{
    World w;
    w.elect(0);
    Sent s = w.make<tr_vector>(1, 2, TR_MESSAGE_VECTOR);
    *s.body<tr_vector>() = w.at(1)->vector;
    s.body<tr_vector>()->incarnation[2] = 2;
    w.node(2).effects.clear();
    w.hand_forged(s);
    EXPECT_EQ(TR_REPLICA_STOPPED, w.at(2)->role);
    EXPECT_EQ(TR_STOP_SUPERSEDED, w.at(2)->stop_reason);
    EXPECT_EQ(1, w.effects_of(2, TR_EFFECT_STOPPED));
    w.node(2).effects.clear();
    w.timeout(2);
    EXPECT_TRUE(w.node(2).effects.empty()) << "it does nothing any more";
    EXPECT_EQ(UINT64_MAX, tr_replica_deadline_ns(w.at(2))) << "and wants nothing";
}

TEST(Recovery, ANodeThatHasForgotten_NeitherVotesNorPromises)
{
    World w;
    w.elect(0);
    w.crash(2);
    w.forget_wire();
    w.boot(2);
    w.cut[0][2] = w.cut[2][0] = w.cut[1][2] = w.cut[2][1] = true;
    Sent vote = w.make<tr_prevote>(1, 2, TR_MESSAGE_PREVOTE);
    vote.body<tr_prevote>()->ballot = {9, 1, 2, 0};
    w.hand_forged(vote);
    Sent prepare = w.make<tr_prepare>(1, 2, TR_MESSAGE_PREPARE);
    prepare.body<tr_prepare>()->ballot = {9, 1, 2, 0};
    prepare.body<tr_prepare>()->slot_from = 1;
    w.hand_forged(prepare);
    EXPECT_TRUE(tr_ballot_none(w.at(2)->promised));
    EXPECT_EQ(2u, w.at(2)->count.dropped_stale);
}

TEST(Recovery, ThroughASnapshot_BringsBackMoreThanTheLogsHold)
{
    Options o;
    o.log_slots = 64;
    World w(o);
    w.elect(0);
    for (uint64_t i = 1; i <= 200; i++) {
        w.propose(0, i);
        w.run(10000);
    }
    ASSERT_GT(w.at(0)->log.slot_first, 100u);
    w.crash(2);
    w.boot(2);
    ASSERT_TRUE(w.run_until([&] { return w.at(2)->role == TR_REPLICA_FOLLOWER; }));
    w.run(2 * HEARTBEAT_NS);
    EXPECT_EQ(w.at(0)->slot_commit, w.at(2)->slot_commit);
    EXPECT_GE(w.at(2)->count.snapshots_installed, 1u);
}

TEST(Recovery, PagesWhatDoesNotFitOneMessage)
{
    /* Accepted by nodes 0 and 1, nothing of it chosen: node 2 gets it back page by page. */
    World w;
    w.elect(0);
    w.cut[0][2] = w.cut[1][2] = true;
    w.deliver();
    for (uint64_t i = 1; i <= 40; i++)
        w.propose(0, i, 3000);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_ACCEPT; });
    w.forget_wire();
    uint64_t last = w.at(1)->log.slot_last;
    w.cut[0][2] = w.cut[1][2] = false;
    w.node(0).stalled = true; /* its memory is there all the same: recovery needs two */
    w.crash(2);
    w.boot(2);
    w.node(0).stalled = false;
    auto quiet = [](Sent &s) {
        return s.type() >= TR_MESSAGE_RECOVER || s.type() == TR_MESSAGE_FETCH ||
               s.type() == TR_MESSAGE_LEARN;
    };
    uint64_t commit = w.at(0)->slot_commit;
    w.run(10 * HEARTBEAT_NS, quiet);
    ASSERT_EQ(TR_REPLICA_FOLLOWER, w.at(2)->role);
    ASSERT_EQ(commit, w.at(0)->slot_commit);
    for (uint64_t slot = commit + 1; slot <= last; slot++)
        ASSERT_NE(nullptr, tr_log_at(&w.at(2)->log, slot)) << slot;
}

TEST(Founding, AnAnswerToAnEarlierProcessOfTheFounder_DoesNotCount)
{
    /* Rule 3: node 0 founded with what node 1 answered its earlier process; meanwhile node 1 is
     * asked by the next one. The FOUND of the first must not bind node 1. */
    World w;
    Sent found = w.make<tr_found>(0, 1, TR_MESSAGE_FOUND);
    for (uint8_t i = 0; i < 3; i++)
        w.timeout(i);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_RECOVER; });
    found.body<tr_found>()->cluster = 5;
    for (uint8_t i = 0; i < 3; i++)
        found.body<tr_found>()->boot[i] = w.at(i)->config.boot;
    w.crash(0);
    w.boot(0);
    w.timeout(0);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_RECOVER; });
    w.hand_forged(found);
    EXPECT_EQ(TR_REPLICA_RECOVERING, w.at(1)->role);
    EXPECT_EQ(0u, w.at(1)->cluster);
}

TEST(Founding, ThatAVoterMayNotTakePartIn_TakesItInByRecovery)
{
    /* Node 2 is counted. Before FOUND comes, so does what an earlier process of the founder had
     * asked, late: node 2 cannot tell it from a later one's, and refuses the founding for ever. */
    World w;
    Sent late = w.make<tr_recover>(0, 2, TR_MESSAGE_RECOVER);
    late.body<tr_recover>()->phase = TR_RECOVER_ASK;
    late.body<tr_recover>()->boot = 77;
    for (uint8_t i = 0; i < 3; i++)
        w.timeout(i);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_RECOVER; });
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_RECOVERED; });
    ASSERT_NE(TR_REPLICA_RECOVERING, w.at(0)->role);
    ASSERT_EQ(TR_REPLICA_RECOVERING, w.at(2)->role);
    w.hand_forged(late);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_FOUND; });
    ASSERT_NE(TR_REPLICA_RECOVERING, w.at(1)->role);
    ASSERT_EQ(TR_REPLICA_RECOVERING, w.at(2)->role);
    EXPECT_TRUE(w.run_until([&] { return w.at(2)->role != TR_REPLICA_RECOVERING; }));
    EXPECT_EQ(w.at(0)->cluster, w.at(2)->cluster);
    EXPECT_EQ(2u, w.at(2)->vector.incarnation[2]) << "as another process of its node would have";
    /* What it once promised another founder's process is void with that. */
    Sent found = w.make<tr_found>(0, 2, TR_MESSAGE_FOUND);
    found.body<tr_found>()->cluster = 5;
    found.body<tr_found>()->boot[0] = 77;
    found.body<tr_found>()->boot[2] = w.at(2)->config.boot;
    w.hand_forged(found);
    EXPECT_EQ(w.at(0)->cluster, w.at(2)->cluster);
}

TEST(Founding, OfAnotherClustersName_IsDropped)
{
    World w;
    Sent s = w.make<tr_recover>(1, 0, TR_MESSAGE_RECOVER);
    s.body<tr_recover>()->phase = TR_RECOVER_ASK;
    s.message()->cluster = 98;
    w.hand_forged(s);
    EXPECT_EQ(1u, w.at(0)->count.dropped_cluster);
    EXPECT_EQ(0, w.effects_of(0, TR_EFFECT_SEND));
}

TEST(Founding, OfAnUnknownPhase_IsDropped)
{
    World w;
    w.elect(0);
    Sent s = w.make<tr_recover>(1, 0, TR_MESSAGE_RECOVER);
    s.body<tr_recover>()->phase = 4;
    w.hand_forged(s);
    EXPECT_EQ(1u, w.at(0)->count.dropped_malformed);
}

} // namespace
