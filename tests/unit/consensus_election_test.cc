/* Elections: who stands, who is followed, and what those who wait are told. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

Options voters(uint32_t count, uint32_t log_slots = 256)
{
    Options o;
    o.voters = count;
    o.log_slots = log_slots;
    return o;
}

/* Proposes and settles, so that logs of 64 slots are recycled. */
void fill(World &w, uint8_t leader, uint64_t first, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        w.propose(leader, first + i);
        w.run(10000);
    }
}

TEST(Election, ACampaignThatFails_LeavesNoForwardedBatchWaitingForEver)
{
    World w;
    w.elect(0);
    w.node(1).effects.clear();
    w.propose(1, 1); /* forwarded to the leader, and lost */
    w.forget_wire();
    w.campaign(1);
    EXPECT_EQ(1, w.effects_of(1, TR_EFFECT_RESUBMIT));
    EXPECT_EQ(w.at(1)->forward_sent, w.at(1)->forward_acked);
}

TEST(Election, ACandidate_FetchesFromThoseWhoPromisedIt_NotFromTheDead)
{
    /* Node 2 is far behind. Node 1, which knows of one commit more than nodes 3 and 4, promises and
     * dies, with node 0. Nodes 3 and 4 have all that can be chosen. */
    World w(voters(5, 64));
    w.elect(0);
    for (uint8_t i : {0, 1, 3, 4})
        w.cut[i][2] = w.cut[2][i] = true;
    fill(w, 0, 1, 80);
    w.cut[0][3] = w.cut[0][4] = true;
    w.propose(0, 81);
    w.cut[0][3] = w.cut[0][4] = false;
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_ACCEPT; });
    for (uint8_t i : {1, 3, 4})
        w.timeout(i);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_ACCEPTED; });
    w.now_ns += 10000;
    w.timeout(0);
    w.deliver([](Sent &s) { return s.to == 1; });
    w.timeout(1);
    w.forget_wire();
    ASSERT_GT(w.at(1)->slot_commit, w.at(3)->slot_commit);
    ASSERT_GT(w.at(3)->log.slot_first, 2u);
    w.cut[1][2] = w.cut[2][1] = false;
    w.campaign(2);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_PREPARE; });
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_PROMISE; });
    ASSERT_EQ(w.at(1)->slot_commit, w.at(2)->peer[1].page_commit);
    w.forget_wire();
    w.crash(0);
    w.crash(1);
    for (uint8_t i : {3, 4})
        w.cut[i][2] = w.cut[2][i] = false;
    EXPECT_TRUE(w.run_until([&] { return w.leader() < w.count(); }));
}

TEST(Election, ACandidateThatInstallsASnapshot_LeadsWhenItIsInstalled)
{
    /* Slots 2 to 41 are chosen by nodes 0 and 1, and only node 0 knows; it has recycled some, so
     * that node 2 pulls its snapshot. Node 0 dies. Node 1 promises, and tells of no commit. */
    World w(voters(3, 64));
    w.elect(0);
    for (uint8_t i : {0, 1})
        w.cut[i][2] = w.cut[2][i] = true;
    for (int batch = 0; batch < 2; batch++) {
        for (uint64_t i = 1; i <= 40; i++)
            w.propose_bytes(0, i, "command", 8);
        w.timeout(0);
        if (batch == 1)
            break;
        w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_ACCEPT; });
        w.timeout(1);
        w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_ACCEPTED; });
        w.forget_wire();
    }
    w.forget_wire();
    ASSERT_GT(w.at(0)->slot_commit, 40u);
    ASSERT_EQ(1u, w.at(1)->slot_commit);
    ASSERT_GT(w.at(0)->log.slot_first, 2u);
    w.cut[0][2] = w.cut[2][0] = false;
    w.cut[0][1] = true;
    w.node(2).images_by_hand = true;
    w.run(3 * HEARTBEAT_NS, [](Sent &s) { return s.to != 1 && s.from != 1; });
    ASSERT_TRUE(w.node(2).install_asked);
    w.crash(0);
    w.forget_wire();
    w.cut[1][2] = w.cut[2][1] = false;
    w.campaign(2);
    w.deliver();
    w.deliver();
    EXPECT_EQ(TR_REPLICA_CANDIDATE, w.at(2)->role) << "the state machine is being replaced";
    w.image_installed(2);
    w.node(2).images_by_hand = false;
    ASSERT_TRUE(w.run_until([&] { return w.leader() == 2; }));
    w.run(2 * HEARTBEAT_NS);
    EXPECT_EQ(w.at(2)->slot_commit, w.at(1)->slot_commit);
}

TEST(Election, OfTheNodeBehindTheLeader_ComesFirst)
{
    World w(voters(5));
    w.elect(2);
    w.crash(2);
    w.forget_wire();
    ASSERT_TRUE(w.run_until([&] { return w.leader() < 5; }));
    EXPECT_EQ(3, w.leader()) << "candidates stagger by rank (rule 18)";
    EXPECT_EQ(1u, w.at(3)->count.elections_started) << "and nobody came into its way";
}

TEST(Election, AfterTheLeaderIsSaidToBeDead_DoesNotWaitForTheTimeout)
{
    World w;
    w.elect(0);
    w.crash(0);
    w.forget_wire();
    uint64_t died_ns = w.now_ns;
    w.hint_dead(1, 0);
    w.hint_dead(2, 0);
    ASSERT_TRUE(w.run_until([&] { return w.leader() < w.count(); }));
    EXPECT_LT(w.now_ns - died_ns, ELECTION_NS);
}

TEST(Election, ADeathNotice_OfAnotherIncarnation_IsOld)
{
    World w;
    w.elect(0);
    tr_event event{};
    event.type = TR_EVENT_MEMBER_HINT;
    event.u.member_hint.member = 0;
    event.u.member_hint.incarnation = 7;
    event.u.member_hint.state = TR_HINT_DEAD;
    w.step(1, event);
    EXPECT_NE(0u, w.at(1)->leader_heard_ns);
    event.u.member_hint.member = TR_MEMBERS_MAX;
    w.step(1, event);
    EXPECT_EQ(0, w.at(1)->leader);
}

TEST(Election, AnEarlierPromisePage_OrOneOutOfTheChain_IsNotTaken)
{
    World w;
    w.elect(0);
    w.forget_wire();
    w.campaign(1);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_PREPARE; });
    Sent promise;
    ASSERT_TRUE(w.take(2, 1, TR_MESSAGE_PROMISE, &promise));
    w.forget_wire();
    tr_promise *p = promise.body<tr_promise>();
    tr_promise right = *p;
    p->slot_first++;
    p->slot_last++;
    w.hand_forged(promise); /* begins after the first page wanted */
    EXPECT_FALSE(w.at(1)->peer[2].promised);
    *p = right;
    p->slot_last = p->slot_first - 1;
    w.hand_forged(promise); /* covers nothing */
    EXPECT_FALSE(w.at(1)->peer[2].promised);
    *p = right;
    p->slot_truncated = p->slot_commit + 1;
    w.hand_forged(promise); /* truncated what is not chosen */
    EXPECT_FALSE(w.at(1)->peer[2].promised);
    *p = right;
    p->ballot.round--;
    w.hand_forged(promise); /* of an earlier ballot */
    EXPECT_FALSE(w.at(1)->peer[2].promised);
    *p = right;
    w.hand_forged(promise);
    EXPECT_EQ(TR_REPLICA_LEADER, w.at(1)->role);
}

TEST(Election, APromiseOfARecordAtOrAboveTheCandidatesBallot_IsNotTaken)
{
    World w;
    w.elect(0);
    w.propose(0, 1);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_ACCEPT; });
    w.forget_wire();
    w.cut[0][1] = w.cut[1][0] = true;
    w.campaign(1);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_PREPARE; });
    Sent promise;
    ASSERT_TRUE(w.take(2, 1, TR_MESSAGE_PROMISE, &promise));
    ASSERT_EQ(1u, promise.body<tr_promise>()->record_count);
    tr_record *record = reinterpret_cast<tr_record *>(promise.body<tr_promise>() + 1);
    record->ballot = w.at(1)->ballot;
    tr_record_seal(record);
    w.hand(promise);
    EXPECT_FALSE(w.at(1)->peer[2].promised);
    EXPECT_EQ(1u, w.at(1)->count.dropped_malformed);
}

TEST(Election, UnderALease_WaitsForItsEnd)
{
    Options o;
    o.lease_ns = ELECTION_NS;
    World w(o);
    w.elect(0);
    w.crash(0);
    w.forget_wire();
    uint64_t granted_until_ns = w.at(1)->lease_until_ns;
    w.hint_dead(1, 0);
    w.hint_dead(2, 0);
    ASSERT_TRUE(w.run_until([&] { return w.at(1)->role != TR_REPLICA_FOLLOWER; }));
    EXPECT_GE(w.now_ns, granted_until_ns);
    ASSERT_TRUE(w.run_until([&] { return w.leader() < w.count(); }));
}

TEST(Election, AReplicaThatForgotALease_PromisesNothingUntilItIsOver)
{
    /* Node 1 has granted node 0 a lease, and forgets it. Node 4 has promised node 3 a ballot
     * before, which node 1 comes back with: its promise would make node 3 leader while node 0 still
     * answers reads by the lease (rule 16). */
    Options o;
    o.voters = 5;
    o.lease_ns = ELECTION_NS / 2;
    World w(o);
    w.elect(0);
    for (uint8_t i : {3, 4})
        for (uint8_t j : {0, 1, 2})
            w.cut[i][j] = w.cut[j][i] = true;
    ASSERT_TRUE(w.run_until(
        [&] { return w.now_ns > w.at(3)->lease_until_ns && w.now_ns > w.at(4)->lease_until_ns; }));
    w.campaign(3);
    ASSERT_TRUE(w.run_until([&] { return w.at(4)->promised.node == w.at(3)->config.self; }));
    const tr_ballot ballot = w.at(4)->promised;
    w.crash(1);
    const uint64_t granted_until_ns = w.at(1)->lease_until_ns;
    ASSERT_LT(w.now_ns, granted_until_ns);
    w.forget_wire();
    w.boot(1);
    w.cut[0][1] = w.cut[1][0] = true; /* else it would hear of node 0's next ballot */
    w.cut[1][3] = w.cut[3][1] = w.cut[1][4] = w.cut[4][1] = false;
    ASSERT_TRUE(w.run_until([&] { return w.at(1)->role != TR_REPLICA_RECOVERING; }));
    ASSERT_LT(w.now_ns, granted_until_ns) << "the lease is over before anything could go wrong";
    EXPECT_TRUE(tr_ballot_equal(ballot, w.at(1)->promised));
    ASSERT_TRUE(w.run_until([&] {
        EXPECT_NE(TR_REPLICA_LEADER, w.at(3)->role) << "at " << w.now_ns;
        return w.now_ns > granted_until_ns || w.at(3)->role == TR_REPLICA_LEADER;
    }));
    EXPECT_TRUE(w.run_until([&] { return w.at(3)->role == TR_REPLICA_LEADER; }));
}

TEST(Election, APromiseThatKnowsLess_IsAskedForAgain_AndCountsThen)
{
    /* Rule 2: the promise of a peer that does not know a third one's new incarnation is void. */
    World w;
    w.elect(0);
    w.crash(2);
    w.forget_wire();
    w.boot(2);
    w.cut[2][1] = w.cut[1][2] = false;
    ASSERT_TRUE(w.run_until([&] { return w.at(2)->role == TR_REPLICA_FOLLOWER; }));
    w.run(2 * HEARTBEAT_NS);
    w.forget_wire();
    w.campaign(0);
    w.crash(0);
    w.campaign(1);
    w.deliver([](Sent &s) { return s.type() == TR_MESSAGE_PREPARE; });
    Sent promise;
    ASSERT_TRUE(w.take(2, 1, TR_MESSAGE_PROMISE, &promise));
    promise.body<tr_promise>()->vector.incarnation[0] = 0;
    w.hand_forged(promise);
    EXPECT_EQ(TR_REPLICA_CANDIDATE, w.at(1)->role);
    Sent vector;
    EXPECT_TRUE(w.take(1, 2, TR_MESSAGE_VECTOR, &vector));
    ASSERT_TRUE(w.run_until([&] { return w.leader() == 1; }, ELECTION_NS));
}

TEST(Election, ALeaderThatHearsNobody_GivesUp)
{
    World w;
    w.elect(0);
    w.cut[1][0] = w.cut[2][0] = true;
    w.node(0).effects.clear();
    ASSERT_TRUE(w.run_until([&] { return w.at(0)->role != TR_REPLICA_LEADER; }, 4 * ELECTION_NS));
    EXPECT_EQ(1u, w.at(0)->count.stepped_down);
    EXPECT_EQ(1, w.effects_of(0, TR_EFFECT_LEADER));
    EXPECT_EQ(1, w.effects_of(0, TR_EFFECT_RESUBMIT)) << "its clients do not wait for it";
}

TEST(Election, InAPartialPartition_DoesNotLiveLock)
{
    /* Node 2 hears only node 1; nodes 0 and 1 hear each other. Whoever leads must stay. */
    World w;
    w.elect(0);
    w.cut[0][2] = w.cut[2][0] = true;
    w.run(3 * ELECTION_NS);
    uint64_t changes = w.at(1)->promised.round;
    w.run(20 * ELECTION_NS);
    EXPECT_EQ(changes, w.at(1)->promised.round);
    EXPECT_LT(w.leader(), 2);
}

TEST(Election, AReplicaThatInstallsASnapshot_LeadsWhenItIsInstalled)
{
    World w;
    w.elect(0);
    tr_replica *r = w.at(2);
    uint64_t slot = r->slot_commit;
    r->pulling = r->installing = true;
    r->pull_peer = 0;
    w.campaign(2);
    w.run(3 * HEARTBEAT_NS);
    EXPECT_EQ(TR_REPLICA_CANDIDATE, r->role);
    tr_event event{};
    event.type = TR_EVENT_SNAPSHOT_DONE;
    event.u.snapshot_done.slot = slot;
    event.u.snapshot_done.installed = true;
    w.step(2, event);
    w.run(3 * HEARTBEAT_NS);
    EXPECT_EQ(TR_REPLICA_LEADER, r->role);
}

TEST(Election, ALeader_PullsNoSnapshotAnyMore)
{
    World w;
    w.elect(0);
    tr_replica *r = w.at(2);
    r->pulling = true;
    r->pull_peer = 0;
    tr_timer_set(r, TR_TIMER_PULL, w.now_ns + 8 * RETRANSMIT_NS);
    w.campaign(2);
    ASSERT_TRUE(w.run_until([&] { return r->role == TR_REPLICA_LEADER; }, 2 * RETRANSMIT_NS));
    EXPECT_FALSE(r->pulling);
}

/* A page of a promise that the election did not wait for may have told of more that is chosen than
 * those did that it waited for: a leader takes that over, and proposes none of it again. */
TEST(Election, ALeaderThatHoldsMoreChosenThanItsQuorumToldOf_ProposesFromThereOn)
{
    Options options;
    options.level = TR_LEVEL_DISK;
    World w(options);
    w.elect(1);
    w.cut[2][1] = w.cut[1][2] = w.cut[0][1] = true; /* node 0 hears node 1, and answers nobody */
    uint64_t chosen = w.at(0)->slot_commit;
    for (uint64_t i = 1; i <= 40; i++) /* more than a step proposes again */
        w.propose(1, i);
    w.deliver();
    w.crash(1);
    w.forget_wire();
    uint64_t last = w.at(0)->log.slot_last;
    ASSERT_EQ(last, chosen + 40);
    w.node(0).fences_by_hand = true;
    w.campaign(0);
    for (uint64_t slot = chosen + 1; slot <= last - 1; slot++)
        tr_log_at(&w.at(0)->log, slot)->state = TR_SLOT_CHOSEN; /* a page of node 1's came */
    w.run(HEARTBEAT_NS);
    ASSERT_EQ(w.at(0)->role, TR_REPLICA_CANDIDATE);
    w.at(0)->slot_known = last - 1;
    w.at(0)->pending |= TR_PENDING_COMMIT;
    w.fenced(0); /* the promise of node 2, which knows of less, is here */
    w.tick();
    EXPECT_TRUE(w.run_until([&] { return w.at(0)->slot_commit > last; }));
    EXPECT_EQ(w.at(0)->role, TR_REPLICA_LEADER);
    EXPECT_TRUE(w.run_until([&] { return w.at(2)->slot_commit == w.at(0)->slot_commit; }));
}

} // namespace
