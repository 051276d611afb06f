/* Configurations that cannot be kept are refused, with a sentence that says which rule. */
#include "tests/unit/replica_world.h"

#include <string>

using namespace replica_world;

namespace
{

tr_replica_config right()
{
    World w;
    return w.node(0).config;
}

/* Why a configuration is refused; "" when it is not. */
std::string refusal(const tr_replica_config &config)
{
    const char *why = nullptr;
    uint64_t bytes = tr_replica_memory_bytes(&config, &why);
    EXPECT_EQ(why != nullptr, bytes == 0);
    return why != nullptr ? why : "";
}

void voters(tr_replica_config *c, uint32_t count, uint32_t quorum_p1, uint32_t quorum_p2)
{
    c->voter_count = count;
    for (uint32_t i = 0; i < TR_VOTERS_MAX; i++)
        c->voter[i] = static_cast<tr_node_id>(i < count ? i + 1 : 0);
    c->quorum_p1 = quorum_p1;
    c->quorum_p2 = quorum_p2;
}

struct Change {
    const char *name;
    const char *sentence; /* part of it */
    void (*change)(tr_replica_config *);
};

class Config : public ::testing::TestWithParam<Change>
{
};

TEST_P(Config, IsRefused)
{
    tr_replica_config c = right();
    ASSERT_EQ("", refusal(c));
    GetParam().change(&c);
    EXPECT_NE(std::string::npos, refusal(c).find(GetParam().sentence)) << refusal(c);
}

const Change CHANGES[] = {
    {"WithoutVoters", "1 to 9 voters", [](tr_replica_config *c) { c->voter_count = 0; }},
    {"WithTenVoters", "1 to 9 voters", [](tr_replica_config *c) { c->voter_count = 10; }},
    {"WithVoterZero", "none of them 0", [](tr_replica_config *c) { c->voter[0] = 0; }},
    {"WithAVoterTwice", "distinct", [](tr_replica_config *c) { c->voter[1] = 1; }},
    {"WithVotersOutOfOrder", "ascending",
     [](tr_replica_config *c) {
         c->voter[1] = 3;
         c->voter[2] = 2;
     }},
    {"OfAStranger", "not a voter", [](tr_replica_config *c) { c->self = 9; }},
    {"WithoutQ1", "at least one voter", [](tr_replica_config *c) { c->quorum_p1 = 0; }},
    {"WithoutQ2", "at least one voter", [](tr_replica_config *c) { c->quorum_p2 = 0; }},
    {"WithQ1OfMoreThanAll", "at most all", [](tr_replica_config *c) { c->quorum_p1 = 4; }},
    {"WithQ2OfMoreThanAll", "at most all", [](tr_replica_config *c) { c->quorum_p2 = 4; }},
    {"WithQuorumsThatDoNotMeet", "must intersect",
     [](tr_replica_config *c) { voters(c, 5, 3, 2); }},
    {"WithQuorumsThatLeaveNobodyToRecoverFrom", "N - min(Q1, Q2) + 1",
     [](tr_replica_config *c) { voters(c, 3, 3, 1); }},
    {"WithSlotsThatAreNoPowerOfTwo", "log_slots", [](tr_replica_config *c) { c->log_slots = 96; }},
    {"WithTooFewSlots", "log_slots", [](tr_replica_config *c) { c->log_slots = 32; }},
    {"WithTooManySlots", "log_slots", [](tr_replica_config *c) { c->log_slots = 1u << 23; }},
    {"WithoutEntries", "entry_bytes_max", [](tr_replica_config *c) { c->entry_bytes_max = 0; }},
    {"WithEntriesTooLarge", "entry_bytes_max",
     [](tr_replica_config *c) { c->entry_bytes_max = TR_ENTRY_BYTES_MAX + 1; }},
    {"WithBytesThatAreNoPowerOfTwo", "log_bytes",
     [](tr_replica_config *c) { c->log_bytes = 100000; }},
    {"WithALogOfThreeEntries", "log_bytes", [](tr_replica_config *c) { c->log_bytes = 16384; }},
    {"WithMessagesThatHoldNoEntry", "message_bytes_max",
     [](tr_replica_config *c) { c->message_bytes_max = c->entry_bytes_max; }},
    {"WithoutBoot", "not 0", [](tr_replica_config *c) { c->boot = 0; }},
    {"WithoutElectionTimeout", "not 0", [](tr_replica_config *c) { c->election_timeout_ns = 0; }},
    {"WithoutHeartbeat", "not 0", [](tr_replica_config *c) { c->heartbeat_ns = 0; }},
    {"WithoutRetransmission", "not 0", [](tr_replica_config *c) { c->retransmit_ns = 0; }},
    {"WithHeartbeatsTooSeldom", "below election_timeout_ns",
     [](tr_replica_config *c) { c->heartbeat_ns = c->election_timeout_ns; }},
    {"WithALeaseTooLong", "lease_ns",
     [](tr_replica_config *c) { c->lease_ns = c->election_timeout_ns + 1; }},
    {"WithAClockThatDriftsAsMuchAsItRuns", "clock_drift_ppm",
     [](tr_replica_config *c) { c->clock_drift_ppm = 1000000; }},
};

INSTANTIATE_TEST_SUITE_P(All, Config, ::testing::ValuesIn(CHANGES),
                         [](const auto &change) { return std::string(change.param.name); });

TEST(Config, AtLevelDisk_MayHaveAQuorumOfOne)
{
    tr_replica_config c = right();
    voters(&c, 3, 3, 1);
    c.level = TR_LEVEL_DISK;
    EXPECT_EQ("", refusal(c));
}

TEST(Config, OfOneVoter_NeedsNobodyToRecoverFrom)
{
    tr_replica_config c = right();
    voters(&c, 1, 1, 1);
    EXPECT_EQ("", refusal(c));
}

TEST(Config, OfNineVoters_IsTheLargest)
{
    tr_replica_config c = right();
    voters(&c, 9, 5, 5);
    EXPECT_EQ("", refusal(c));
    voters(&c, 9, 8, 2);
    EXPECT_EQ("", refusal(c)) << "eight others are enough to recover from";
}

TEST(Replica, LooksUp_WhatIsThere_AndNothingElse)
{
    World w;
    w.elect(0);
    EXPECT_EQ(1, tr_replica_member(w.at(0), 2));
    EXPECT_EQ(TR_MEMBERS_MAX, tr_replica_member(w.at(0), 7));
    EXPECT_EQ(2, tr_replica_node(w.at(0), 1));
    EXPECT_EQ(0, tr_replica_node(w.at(0), 3));
    EXPECT_EQ(1u, tr_replica_incarnation(w.at(0), 2));
    EXPECT_EQ(0u, tr_replica_incarnation(w.at(0), 3));
    EXPECT_EQ(UINT64_MAX, tr_replica_position(w.at(0), 1000));
    EXPECT_EQ(0u, tr_replica_position(w.at(0), 1));
    EXPECT_EQ(nullptr, tr_replica_grant(w.at(0), 1));
}

TEST(Replica, TellsItsStatus)
{
    World w;
    w.elect(0);
    struct tr_replica_status s;
    tr_replica_status(w.at(0), &s);
    EXPECT_EQ(TR_REPLICA_LEADER, s.role);
    EXPECT_EQ(1, s.leader);
    EXPECT_EQ(3u, s.peers_reachable);
    EXPECT_EQ(w.at(0)->slot_next, s.slot_next);
    w.crash(2);
    w.run(3 * ELECTION_NS);
    tr_replica_status(w.at(0), &s);
    EXPECT_EQ(2u, s.peers_reachable);
    tr_replica_status(w.at(1), &s);
    EXPECT_EQ(s.slot_commit + 1, s.slot_next);
    EXPECT_EQ(w.at(1)->log.head - w.at(1)->log.tail, s.log_bytes_used);
}

TEST(Replica, RefusesAMembershipChange)
{
    World w;
    w.elect(0);
    w.node(0).effects.clear();
    tr_event event{};
    event.type = TR_EVENT_RECONFIGURE;
    event.u.reconfigure.add = 4;
    w.step(0, event);
    ASSERT_EQ(1, w.effects_of(0, TR_EFFECT_REJECT));
    EXPECT_EQ(TR_REJECT_FIXED, w.node(0).effects.back().u.reject.reason);
}

TEST(Replica, WhoseClockGoesBack_KeepsItsTime)
{
    World w;
    w.elect(0);
    uint64_t now_ns = w.at(0)->now_ns;
    w.now_ns = now_ns - 1000;
    w.timeout(0);
    EXPECT_EQ(now_ns, w.at(0)->now_ns);
}

} // namespace
