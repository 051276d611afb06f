/* Decoding is validation: what tr_message_open lets through may be read in place. */
#include "base/crc32c.h"
#include "consensus/message.h"
#include "tests/unit/record_builder.h"

#include <gtest/gtest.h>

namespace rb = record_builder;

namespace
{

constexpr uint32_t BODY_MAX = 512;

/* A message of a type with a zeroed body of so many bytes and a tail. */
rb::bytes message(uint8_t type, uint32_t body_bytes, uint32_t tail_bytes = 0)
{
    rb::bytes out(sizeof(tr_message) + body_bytes + tail_bytes);
    auto m = reinterpret_cast<tr_message *>(out.data());
    m->version = TR_MESSAGE_VERSION;
    m->type = type;
    m->from = 3;
    m->group = 9;
    m->body_bytes = static_cast<uint16_t>(body_bytes);
    m->tail_bytes = tail_bytes;
    tr_message_seal(m);
    return out;
}

bool opens(const rb::bytes &m)
{
    return tr_message_open(m.data(), m.size32()) != nullptr;
}

/* The one body length of a type. */
uint32_t body_of(uint8_t type)
{
    uint32_t found = 0;
    for (uint32_t bytes = 8; bytes <= BODY_MAX; bytes += 8) {
        if (opens(message(type, bytes))) {
            EXPECT_EQ(0u, found) << "two lengths";
            found = bytes;
        }
    }
    return found;
}

class MessageType : public ::testing::TestWithParam<int>
{
  protected:
    uint8_t type = static_cast<uint8_t>(GetParam());
    uint32_t body = body_of(type);
};

TEST_P(MessageType, HasOneBody_AndOpensWithIt)
{
    ASSERT_NE(0u, body);
    rb::bytes m = message(type, body, 40);
    const tr_message *opened = tr_message_open(m.data(), m.size32());
    ASSERT_NE(nullptr, opened);
    EXPECT_EQ(reinterpret_cast<const uint8_t *>(opened + 1), tr_message_body(opened));
    EXPECT_EQ(m.data() + sizeof(tr_message) + body, tr_message_tail(opened));
    EXPECT_STRNE("UNKNOWN", tr_message_name(type));
}

TEST_P(MessageType, IsRefused_AtEveryOtherLength)
{
    rb::bytes m = message(type, body, 24);
    for (uint32_t bytes = 0; bytes < m.size32(); bytes++)
        EXPECT_EQ(nullptr, tr_message_open(m.data(), bytes)) << bytes;
    m.resize(m.size() + 8);
    EXPECT_FALSE(opens(m));
}

TEST_P(MessageType, IsRefused_WithAnyBitOfHeaderOrBodyTurned)
{
    rb::bytes m = message(type, body);
    for (uint32_t bit = 0; bit < m.size32() * 8; bit++) {
        m.data()[bit / 8] = static_cast<uint8_t>(m.data()[bit / 8] ^ 1u << bit % 8);
        EXPECT_FALSE(opens(m)) << "bit " << bit;
        m.data()[bit / 8] = static_cast<uint8_t>(m.data()[bit / 8] ^ 1u << bit % 8);
    }
    EXPECT_TRUE(opens(m));
}

std::string name_of(const ::testing::TestParamInfo<int> &type)
{
    return tr_message_name(static_cast<uint8_t>(type.param));
}

INSTANTIATE_TEST_SUITE_P(All, MessageType, ::testing::Range(1, int(TR_MESSAGE_TYPES)), name_of);

TEST(Message, OfAnUnknownType_IsRefused)
{
    for (int type : {0, int(TR_MESSAGE_TYPES), 255}) {
        for (uint32_t bytes = 0; bytes <= BODY_MAX; bytes += 8)
            EXPECT_FALSE(opens(message(static_cast<uint8_t>(type), bytes)));
        EXPECT_STREQ("UNKNOWN", tr_message_name(static_cast<uint8_t>(type)));
    }
}

TEST(Message, WithReservedFieldsSet_OrOfAnotherVersion_IsRefused)
{
    rb::bytes m = message(TR_MESSAGE_PREVOTE, sizeof(tr_prevote));
    auto header = reinterpret_cast<tr_message *>(m.data());
    ASSERT_TRUE(opens(m));
    header->reserved = 1;
    tr_message_seal(header);
    EXPECT_FALSE(opens(m));
    header->reserved = 0;
    header->version++;
    tr_message_seal(header);
    EXPECT_FALSE(opens(m));
}

TEST(Message, WithABallotOrASlotThatCannotBe_IsRefused)
{
    rb::bytes m = message(TR_MESSAGE_PREPARE, sizeof(tr_prepare));
    auto header = reinterpret_cast<tr_message *>(m.data());
    auto prepare = reinterpret_cast<tr_prepare *>(header + 1);
    auto refused = [&] {
        tr_message_seal(header);
        return !opens(m);
    };
    prepare->slot_from = TR_SLOT_MAX;
    prepare->ballot = {TR_ROUND_MAX, UINT32_MAX, UINT16_MAX, 0};
    EXPECT_FALSE(refused()) << "the last ones are right";
    prepare->slot_from = TR_SLOT_MAX + 1;
    EXPECT_TRUE(refused());
    prepare->slot_from = 1;
    prepare->ballot.round = TR_ROUND_MAX + 1;
    EXPECT_TRUE(refused());
    prepare->ballot.round = 1;
    prepare->ballot.reserved = 1;
    EXPECT_TRUE(refused());
}

TEST(Message, IsPeekedAt_ForGroupAndSender)
{
    rb::bytes m = message(TR_MESSAGE_PREVOTE, sizeof(tr_prevote));
    uint32_t group = 0;
    tr_node_id from = 0;
    EXPECT_TRUE(tr_message_peek(m.data(), m.size32(), &group, &from));
    EXPECT_EQ(9u, group);
    EXPECT_EQ(3u, from);
    EXPECT_FALSE(tr_message_peek(m.data(), sizeof(tr_message) - 1, &group, &from));
    m.data()[4]++;
    EXPECT_FALSE(tr_message_peek(m.data(), m.size32(), &group, &from)) << "another version";
}

} // namespace
