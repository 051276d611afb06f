/* What a member (or whoever sends in its name) may claim: nothing of it may end a process, and what
 * cannot be true is dropped. */
#include "tests/unit/replica_world.h"

using namespace replica_world;

namespace
{

struct Hostile : ::testing::Test {
    World w;
    void SetUp() override
    {
        w.elect(0);
        w.forget_wire();
        w.checks = true;
    }
};

TEST_F(Hostile, AReject_OfTheHighestRound_IsDropped)
{
    Sent s = w.make<tr_reject>(1, 0, TR_MESSAGE_REJECT);
    s.body<tr_reject>()->ballot = w.at(0)->ballot;
    s.body<tr_reject>()->promised = w.at(0)->ballot;
    s.body<tr_reject>()->promised.round = UINT64_MAX;
    w.hand_forged(s);
    EXPECT_EQ(TR_REPLICA_LEADER, w.at(0)->role);
    EXPECT_EQ(1u, w.at(0)->count.dropped_malformed);
}

TEST_F(Hostile, APrevotedAnswer_OfTheHighestRound_DoesNotEndTheNextCandidacy)
{
    Sent s = w.make<tr_prevoted>(1, 2, TR_MESSAGE_PREVOTED);
    s.body<tr_prevoted>()->promised = {UINT64_MAX, 1, 2, 0};
    w.hand_forged(s);
    w.campaign(2);
    EXPECT_EQ(TR_REPLICA_CANDIDATE, w.at(2)->role);
    EXPECT_LT(w.at(2)->promised.round, 100u);
}

TEST_F(Hostile, AHeartbeat_ThatClaimsEverySlotChosen_CommitsNothing)
{
    uint64_t commit = w.at(1)->slot_commit;
    Sent s = w.make<tr_heartbeat>(0, 1, TR_MESSAGE_HEARTBEAT);
    s.body<tr_heartbeat>()->ballot = w.at(0)->ballot;
    s.body<tr_heartbeat>()->slot_commit = UINT64_MAX;
    s.body<tr_heartbeat>()->vector_hash = w.at(1)->vector_hash;
    w.hand_forged(s);
    w.timeout(1);
    EXPECT_EQ(commit, w.at(1)->slot_commit);
    EXPECT_EQ(commit, w.at(1)->slot_contiguous);
}

TEST_F(Hostile, ABallotWithAReservedBit_IsDropped)
{
    Sent s = w.make<tr_prepare>(1, 2, TR_MESSAGE_PREPARE);
    s.body<tr_prepare>()->ballot = {50, 1, 2, 1};
    s.body<tr_prepare>()->slot_from = 1;
    w.hand_forged(s);
    EXPECT_LT(w.at(2)->promised.round, 50u);
    EXPECT_EQ(1u, w.at(2)->count.dropped_malformed);
}

TEST_F(Hostile, ARecordOfASlotPastTheLimit_IsNotKept)
{
    w.propose(0, 1);
    Sent s;
    ASSERT_TRUE(w.take(0, 1, TR_MESSAGE_ACCEPT, &s));
    tr_record *record = reinterpret_cast<tr_record *>(s.body<tr_accept>() + 1);
    for (uint64_t slot : {UINT64_MAX, TR_SLOT_MAX + 1, UINT64_C(0)}) {
        uint64_t heard = w.at(1)->slot_heard;
        record->slot = slot;
        tr_record_seal(record);
        w.hand_forged(s);
        EXPECT_EQ(heard, w.at(1)->slot_heard);
    }
}

TEST_F(Hostile, AnEntryLargerThanTheGroupsLimit_IsNotKept)
{
    /* It would fit no message any more, and so be missing from promises. */
    w.propose(0, 1, 1000);
    Sent s;
    ASSERT_TRUE(w.take(0, 1, TR_MESSAGE_ACCEPT, &s));
    w.at(1)->config.entry_bytes_max = 512;
    uint64_t last = w.at(1)->log.slot_last;
    w.hand(s);
    EXPECT_EQ(last, w.at(1)->log.slot_last);
    EXPECT_EQ(1u, w.at(1)->count.dropped_malformed);
}

TEST_F(Hostile, AnAcknowledgementOfWhatWasNotProposedAgainYet_IsDropped)
{
    /* A new leader with a long suffix to propose again: two members claim to hold all of it. */
    tr_replica *r = w.at(0);
    r->slot_restamp = r->slot_next;
    r->slot_restamp_last = r->slot_opened = r->slot_next + 9;
    r->slot_next += 10;
    uint64_t commit = r->slot_commit;
    w.checks = false;
    for (uint8_t from : {1, 2}) {
        Sent s = w.make<tr_accepted>(from, 0, TR_MESSAGE_ACCEPTED);
        s.body<tr_accepted>()->ballot = r->ballot;
        s.body<tr_accepted>()->slot_acked = r->slot_next - 1;
        s.body<tr_accepted>()->vector_hash = r->vector_hash;
        w.hand_forged(s);
    }
    EXPECT_EQ(commit, r->slot_commit);
}

/* The body of a type, as long as tr_message_open wants it, zeroed but for a ballot. */
struct Largest {
    uint64_t word[24];
};

Sent blank(World &w, uint8_t from, uint8_t to, int type)
{
    Sent s = w.make<Largest>(from, to, static_cast<tr_message_type>(type));
    for (uint32_t bytes = 8; bytes <= sizeof(Largest); bytes += 8) {
        s.message()->body_bytes = static_cast<uint16_t>(bytes);
        s.bytes = static_cast<uint32_t>(sizeof(tr_message)) + bytes;
        tr_message_seal(s.message());
        if (tr_message_open(s.words.data(), s.bytes) != nullptr)
            break;
    }
    memcpy(s.body<tr_ballot>(), &w.at(to)->promised, sizeof(tr_ballot));
    return s;
}

/* Every word of every message, with values that hurt: nothing ends. */
class HostileWord : public ::testing::TestWithParam<int>
{
};

TEST_P(HostileWord, OfEveryKind_EndsNothing)
{
    static const uint64_t hurtful[] = {0,         1,           UINT64_MAX,       UINT64_MAX - 1,
                                       INT64_MAX, TR_SLOT_MAX, TR_SLOT_MAX + 1,  UINT32_MAX,
                                       1000,      1u << 31,    UINT64_C(1) << 32};
    for (uint8_t to : {0, 1}) {
        World w;
        w.elect(0);
        w.checks = false; /* who believes a liar holds untrue things */
        for (uint32_t word = 0; word < sizeof(Largest) / 8; word++) {
            for (uint64_t value : hurtful) {
                Sent s = blank(w, 2, to, GetParam());
                if (sizeof(tr_message) + word * 8 >= s.bytes)
                    continue;
                s.body<Largest>()->word[word] = value;
                w.hand_forged(s);
                w.run(10000);
            }
        }
        w.run(3 * ELECTION_NS);
    }
}

std::string name_of(const ::testing::TestParamInfo<int> &type)
{
    return tr_message_name(static_cast<uint8_t>(type.param));
}

INSTANTIATE_TEST_SUITE_P(Messages, HostileWord, ::testing::Range(1, int(TR_MESSAGE_TYPES)),
                         name_of);

} // namespace
