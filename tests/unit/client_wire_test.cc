/* The codec of the clients' protocol: what it writes it reads, and nothing else. */
#include "base/crc32c.h"
#include "base/prng.h"
#include "client/wire.h"

#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace
{

struct Message {
    alignas(8) uint8_t bytes[1024] = {};
    uint32_t length = 0;

    tr_wire_verdict read(tr_wire_side side, tr_wire_message *out) const
    {
        return tr_wire_open(bytes, length, side, out);
    }
    tr_wire_header *header()
    {
        return reinterpret_cast<tr_wire_header *>(bytes);
    }
    template <typename Body> Body *body()
    {
        return reinterpret_cast<Body *>(bytes + sizeof(tr_wire_header));
    }
    /* Makes the CRC right again after a change. */
    void seal()
    {
        header()->crc = tr_crc32c(0, bytes + 4, length - 4);
    }
};

Message submit(uint64_t first, const std::vector<std::string> &commands, bool vary)
{
    Message m;
    auto *s = static_cast<tr_wire_submit *>(tr_wire_begin(m.bytes, TR_WIRE_SUBMIT, 7, 3, 99));
    uint8_t *at = tr_wire_tail(m.bytes);
    s->first = first;
    s->count = static_cast<uint32_t>(commands.size());
    s->bytes_each = vary ? TR_WIRE_BYTES_VARY : static_cast<uint32_t>(commands[0].size());
    uint8_t *data = at;
    if (vary) {
        for (size_t i = 0; i < commands.size(); i++)
            tr_store_le32(at + 4 * i, static_cast<uint32_t>(commands[i].size()));
        data += tr_wire_lengths_bytes(s->count);
    }
    for (const std::string &c : commands) {
        memcpy(data, c.data(), c.size());
        data += tr_wire_padded(static_cast<uint32_t>(c.size()));
    }
    m.length = tr_wire_end(m.bytes, static_cast<uint32_t>(data - at));
    return m;
}

std::vector<std::string> commands_of(const tr_wire_message &m)
{
    std::vector<std::string> out;
    tr_wire_cursor cursor = tr_wire_commands(&m);
    for (uint32_t i = 0; i < static_cast<const tr_wire_submit *>(m.body)->count; i++) {
        const uint8_t *data;
        uint32_t bytes = tr_wire_next(&cursor, &data);
        out.emplace_back(reinterpret_cast<const char *>(data), bytes);
    }
    return out;
}

TEST(client_wire, a_submit_is_read_as_it_was_written)
{
    for (bool vary : {false, true}) {
        std::vector<std::string> commands = {"abcdefgh", "ABCDEFGH", "12345678"};
        if (vary)
            commands[1] = "x";
        Message m = submit(5, commands, vary);
        tr_wire_message out;
        ASSERT_EQ(m.read(TR_WIRE_FROM_CLIENT, &out), TR_WIRE_GOOD);
        EXPECT_EQ(out.header->type, TR_WIRE_SUBMIT);
        EXPECT_EQ(out.header->group, 3u);
        EXPECT_EQ(out.header->token, 99u);
        EXPECT_EQ(commands_of(out), commands);
        EXPECT_EQ(m.read(TR_WIRE_FROM_NODE, &out), TR_WIRE_MALFORMED) << "no node says so";
    }
}

TEST(client_wire, empty_commands_are_commands)
{
    Message m = submit(1, {"", "", ""}, false);
    tr_wire_message out;
    ASSERT_EQ(m.read(TR_WIRE_FROM_CLIENT, &out), TR_WIRE_GOOD);
    EXPECT_EQ(commands_of(out).size(), 3u);
}

TEST(client_wire, every_flipped_bit_is_noticed)
{
    Message m = submit(5, {"abcdefgh", "x"}, true);
    tr_wire_message out;
    for (uint32_t bit = 0; bit < 8 * m.length; bit++) {
        m.bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
        EXPECT_EQ(m.read(TR_WIRE_FROM_CLIENT, &out), TR_WIRE_MALFORMED) << "bit " << bit;
        m.bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    }
}

TEST(client_wire, every_shorter_message_is_malformed)
{
    Message m = submit(5, {"abcdefgh", "x"}, true);
    tr_wire_message out;
    uint32_t whole = m.length;
    for (m.length = 0; m.length < whole; m.length++) {
        if (m.length >= sizeof(tr_wire_header))
            m.seal();
        EXPECT_EQ(m.read(TR_WIRE_FROM_CLIENT, &out), TR_WIRE_MALFORMED) << m.length;
    }
}

/* Each of these is sealed: only the check of the field itself can refuse it. */
TEST(client_wire, claims_that_cannot_be_are_malformed)
{
    tr_wire_message out;
    auto refused = [&](Message m, const char *what) {
        m.seal();
        EXPECT_EQ(m.read(TR_WIRE_FROM_CLIENT, &out), TR_WIRE_MALFORMED) << what;
    };
    const Message good = submit(5, {"abcdefgh", "x"}, true);
    Message m = good;
    m.body<tr_wire_submit>()->count = 0;
    refused(m, "no commands");
    m.body<tr_wire_submit>()->count = TR_WIRE_COMMANDS_MAX + 1;
    refused(m, "too many");
    m.body<tr_wire_submit>()->count = 3;
    refused(m, "more than there are");
    m.body<tr_wire_submit>()->count = UINT32_MAX;
    refused(m, "so many that sizes overflow");
    m = good;
    m.body<tr_wire_submit>()->first = 0;
    refused(m, "sequence 0");
    m.body<tr_wire_submit>()->first = UINT64_MAX;
    refused(m, "a sequence that overflows");
    m = good;
    m.body<tr_wire_submit>()->acked = 5;
    refused(m, "acknowledges itself");
    m = good;
    m.body<tr_wire_submit>()->bytes_each = 0xfffffff8;
    refused(m, "lengths that overflow");
    m = good;
    tr_store_le32(m.bytes + sizeof(tr_wire_header) + sizeof(tr_wire_submit), UINT32_MAX);
    refused(m, "a length that overflows");
    m = good;
    m.header()->reserved = 1;
    refused(m, "reserved");
    m = good;
    m.header()->leader = 1;
    refused(m, "a client that knows the leader");
    m = good;
    m.header()->mark++;
    refused(m, "another protocol");
    m = good;
    m.header()->type = 200;
    refused(m, "no type");
}

TEST(client_wire, another_version_is_told_apart)
{
    Message m = submit(5, {"abcdefgh"}, false);
    tr_wire_message out;
    m.header()->version = 2;
    m.seal();
    ASSERT_EQ(m.read(TR_WIRE_FROM_CLIENT, &out), TR_WIRE_OTHER_VERSION);
    EXPECT_EQ(out.header->version, 2);
}

TEST(client_wire, a_reply_is_read_as_it_was_written)
{
    Message m;
    auto *r = static_cast<tr_wire_reply *>(tr_wire_begin(m.bytes, TR_WIRE_REPLY, 7, 3, 99));
    uint8_t *at = tr_wire_tail(m.bytes);
    tr_wire_done done[2] = {{0, 3, 10}, {-7, 0, 11}};
    r->first = 4;
    r->count = 2;
    memcpy(at, done, sizeof(done));
    memcpy(at + sizeof(done), "abc", 3);
    m.length = tr_wire_end(m.bytes, sizeof(done) + 8);
    tr_wire_message out;
    ASSERT_EQ(m.read(TR_WIRE_FROM_NODE, &out), TR_WIRE_GOOD);
    tr_wire_cursor cursor = tr_wire_replies(&out);
    const uint8_t *data;
    ASSERT_EQ(tr_wire_next(&cursor, &data), 3u);
    EXPECT_EQ(memcmp(data, "abc", 3), 0);
    EXPECT_EQ(tr_wire_next(&cursor, &data), 0u);
    EXPECT_EQ(tr_wire_done_at(&out, 1).status, -7);
    EXPECT_EQ(tr_wire_done_at(&out, 1).slot, 11u);
    m.body<tr_wire_reply>()->count = 3;
    m.seal();
    EXPECT_EQ(m.read(TR_WIRE_FROM_NODE, &out), TR_WIRE_MALFORMED);
}

TEST(client_wire, a_nonce_of_a_nodes_session_is_refused)
{
    Message m;
    auto *h = static_cast<tr_wire_hello *>(tr_wire_begin(m.bytes, TR_WIRE_HELLO, 7, 3, 0));
    h->nonce[5] = 9;
    m.length = tr_wire_end(m.bytes, 0);
    tr_wire_message out;
    EXPECT_EQ(m.read(TR_WIRE_FROM_CLIENT, &out), TR_WIRE_GOOD);
    h->nonce[0] = 1; /* node 1's: its completions would go to the wrong place */
    m.seal();
    EXPECT_EQ(m.read(TR_WIRE_FROM_CLIENT, &out), TR_WIRE_MALFORMED);
}

TEST(client_wire, names_of_clusters_differ)
{
    EXPECT_NE(tr_wire_cluster("a"), tr_wire_cluster("b"));
    EXPECT_EQ(tr_wire_cluster("trireme"), tr_wire_cluster("trireme"));
}

} // namespace
