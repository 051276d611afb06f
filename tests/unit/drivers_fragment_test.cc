// Frames, pieces and their reassembly: what is taken, what is refused, and that no order, loss or
// copy of pieces can make a message that was not sent.
#include "base/prng.h"
#include "drivers/fragment.h"
#include "drivers_port.h"
#include "trireme/error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace
{

using bytes = std::vector<uint8_t>;

constexpr uint32_t limit = 1 << 20;

bytes whole(const bytes &payload)
{
    bytes frame(tr_frame_bytes(static_cast<uint32_t>(payload.size())));
    tr_frame_write(frame.data(), static_cast<uint32_t>(payload.size()));
    std::copy(payload.begin(), payload.end(), frame.begin() + TR_FRAME_BYTES);
    return frame;
}

// The datagrams of a message that is cut.
std::vector<bytes> cut(uint64_t message, const bytes &payload, uint32_t datagram_bytes)
{
    std::vector<bytes> datagrams;
    tr_cut plan = tr_cut_plan(message, static_cast<uint32_t>(payload.size()), datagram_bytes);
    tr_segment segment = {payload.data(), static_cast<uint32_t>(payload.size())};
    tr_gather_cursor gather = {&segment, 0};
    for (uint32_t i = 0; i < plan.count; i++) {
        uint32_t piece = tr_cut_bytes(&plan, i);
        bytes datagram(tr_align_up_u32(TR_PIECE_BYTES + piece, 8));
        tr_cut_header(&plan, i, datagram.data());
        tr_gather_next(&gather, datagram.data() + TR_PIECE_BYTES, piece);
        datagrams.push_back(datagram);
    }
    return datagrams;
}

tr_frame piece_of(const bytes &datagram)
{
    tr_frame frame{};
    uint32_t at = 0;
    EXPECT_EQ(tr_frame_next(datagram.data(), static_cast<uint32_t>(datagram.size()), &at, &frame),
              TR_FRAME_IS_PIECE);
    return frame;
}

tr_frame_kind kind_of(const bytes &datagram)
{
    tr_frame frame{};
    uint32_t at = 0;
    return tr_frame_next(datagram.data(), static_cast<uint32_t>(datagram.size()), &at, &frame);
}

class reassembly : public testing::Test
{
  protected:
    void SetUp() override
    {
        ASSERT_EQ(tr_reassembly_init(&r, memory.memory(), 4, limit), TR_OK);
    }

    tr_reassembly_result add(const bytes &datagram, uint64_t source = 1)
    {
        tr_frame piece = piece_of(datagram);
        return tr_reassembly_add(&r, source, &piece, &out, &evicted);
    }

    bytes message() const
    {
        auto *data = static_cast<const uint8_t *>(out.data);
        return bytes(data, data + out.bytes);
    }

    tr_test::arena memory;
    tr_reassembly r{};
    tr_span out{};
    uint64_t evicted = 0;
};

TEST(frame, small_messages_share_a_datagram)
{
    bytes datagram;
    for (size_t size : {0u, 1u, 8u, 13u, 64u}) {
        bytes frame = whole(tr_test::pattern(size, size));
        datagram.insert(datagram.end(), frame.begin(), frame.end());
    }
    uint32_t at = 0;
    for (size_t size : {0u, 1u, 8u, 13u, 64u}) {
        tr_frame frame{};
        ASSERT_EQ(
            tr_frame_next(datagram.data(), static_cast<uint32_t>(datagram.size()), &at, &frame),
            TR_FRAME_IS_WHOLE);
        EXPECT_EQ(bytes(frame.data, frame.data + frame.bytes), tr_test::pattern(size, size));
        EXPECT_EQ((frame.data - datagram.data()) % 8, 0);
    }
    tr_frame frame{};
    EXPECT_EQ(tr_frame_next(datagram.data(), static_cast<uint32_t>(datagram.size()), &at, &frame),
              TR_FRAME_IS_END);
}

TEST(frame, last_padding_may_be_missing)
{
    bytes frame = whole({1, 2, 3});
    frame.resize(TR_FRAME_BYTES + 3);
    EXPECT_EQ(kind_of(frame), TR_FRAME_IS_WHOLE);
    frame.resize(TR_FRAME_BYTES + 2);
    EXPECT_EQ(kind_of(frame), TR_FRAME_IS_BAD);
}

TEST(frame, of_other_framing_is_bad)
{
    bytes good = whole(bytes(16));
    for (size_t i = 0; i < 4; i++) {
        bytes wrong = good;
        wrong[i] ^= 0x80;
        EXPECT_EQ(kind_of(wrong), TR_FRAME_IS_BAD) << i;
    }
    EXPECT_EQ(kind_of(bytes(7)), TR_FRAME_IS_BAD);
    EXPECT_EQ(kind_of(bytes(100)), TR_FRAME_IS_BAD);
}

TEST(frame, length_beyond_the_datagram_is_bad)
{
    for (uint32_t lie : {17u, 1000u, 0x7fffffffu, 0xfffffff8u, 0xffffffffu}) {
        bytes frame = whole(bytes(16));
        tr_store_le32(frame.data() + 4, lie);
        EXPECT_EQ(kind_of(frame), TR_FRAME_IS_BAD) << lie;
    }
}

TEST(piece, that_contradicts_itself_is_bad)
{
    bytes good = cut(1, bytes(3000), 1472)[0];
    struct {
        const char *what;
        size_t at;
        uint32_t value;
        size_t width;
    } lies[] = {
        {"length beyond the datagram", 4, 1456, 4},
        {"length short of the unit", 4, 1440, 4},
        {"length is huge", 4, 0xffffffff, 4},
        {"message fits one piece", 16, 1448, 4},
        {"message of no bytes", 16, 0, 4},
        {"more pieces than allowed", 16, 0xffffffff, 4},
        {"unit 0", 20, 0, 2},
        {"unit below the least", 20, 7, 2},
        {"unit that the bytes are not", 20, 180, 2},
        {"index past the last", 22, 3, 2},
        {"index of the last, bytes of the first", 22, 2, 2},
        {"index is huge", 22, 0xffff, 2},
    };
    ASSERT_EQ(kind_of(good), TR_FRAME_IS_PIECE);
    for (const auto &lie : lies) {
        bytes wrong = good;
        if (lie.width == 2)
            tr_store_le16(wrong.data() + lie.at, static_cast<uint16_t>(lie.value));
        else
            tr_store_le32(wrong.data() + lie.at, lie.value);
        EXPECT_EQ(kind_of(wrong), TR_FRAME_IS_BAD) << lie.what;
    }
}

TEST(cutting, covers_the_message_for_every_size_and_datagram)
{
    for (uint32_t datagram : {88u, 576u, 1232u, 1448u, 1472u, 9000u, 61440u}) {
        for (uint32_t size : {datagram, datagram + 1, 2 * datagram, 3 * datagram - 7}) {
            tr_cut plan = tr_cut_plan(1, size, datagram);
            uint32_t sum = 0;
            for (uint32_t i = 0; i < plan.count; i++) {
                uint32_t piece = tr_cut_bytes(&plan, i);
                EXPECT_GT(piece, 0u);
                EXPECT_LE(TR_PIECE_BYTES + piece, datagram);
                sum += piece;
            }
            EXPECT_EQ(sum, size);
        }
    }
}

TEST_F(reassembly, pieces_in_order_make_the_message)
{
    bytes sent = tr_test::pattern(1, 100001);
    auto datagrams = cut(7, sent, 1472);
    for (size_t i = 0; i + 1 < datagrams.size(); i++)
        ASSERT_EQ(add(datagrams[i]), TR_PIECE_TAKEN);
    ASSERT_EQ(add(datagrams.back()), TR_PIECE_COMPLETES);
    EXPECT_EQ(message(), sent);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(out.data) % 8, 0u);
}

TEST_F(reassembly, copies_of_pieces_are_told_and_change_nothing)
{
    bytes sent = tr_test::pattern(2, 5000);
    auto datagrams = cut(7, sent, 1472);
    ASSERT_EQ(add(datagrams[1]), TR_PIECE_TAKEN);
    ASSERT_EQ(add(datagrams[1]), TR_PIECE_DUPLICATE);
    ASSERT_EQ(add(datagrams[3]), TR_PIECE_TAKEN);
    ASSERT_EQ(add(datagrams[0]), TR_PIECE_TAKEN);
    ASSERT_EQ(add(datagrams[2]), TR_PIECE_COMPLETES);
    EXPECT_EQ(message(), sent);
    for (const auto &datagram : datagrams)
        EXPECT_EQ(add(datagram), TR_PIECE_DUPLICATE) << "a late copy begins no second message";
    tr_reassembly_release(&r);
    for (const auto &datagram : datagrams)
        EXPECT_EQ(add(datagram), TR_PIECE_DUPLICATE);
}

TEST_F(reassembly, piece_that_contradicts_the_others_is_refused)
{
    bytes sent = tr_test::pattern(3, 5000);
    auto datagrams = cut(7, sent, 1472);
    ASSERT_EQ(add(datagrams[0]), TR_PIECE_TAKEN);
    EXPECT_EQ(add(cut(7, bytes(5001), 1472)[1]), TR_PIECE_REFUSED);
    EXPECT_EQ(add(cut(7, bytes(5000), 1232)[1]), TR_PIECE_REFUSED);
    for (size_t i = 1; i + 1 < datagrams.size(); i++)
        ASSERT_EQ(add(datagrams[i]), TR_PIECE_TAKEN);
    ASSERT_EQ(add(datagrams.back()), TR_PIECE_COMPLETES);
    EXPECT_EQ(message(), sent);
}

TEST_F(reassembly, message_above_the_limit_is_refused_and_takes_no_buffer)
{
    EXPECT_EQ(add(cut(1, bytes(limit + 1), 1472)[0]), TR_PIECE_REFUSED);
    for (uint64_t i = 0; i < 4; i++)
        ASSERT_EQ(add(cut(10 + i, bytes(limit), 61440)[0]), TR_PIECE_TAKEN);
    EXPECT_EQ(evicted, 0u);
}

TEST_F(reassembly, oldest_unfinished_message_is_given_up)
{
    std::vector<std::vector<bytes>> messages;
    for (uint64_t i = 0; i < 5; i++) {
        messages.push_back(cut(100 + i, tr_test::pattern(i, 4000), 1472));
        ASSERT_EQ(add(messages[i][0]), TR_PIECE_TAKEN);
    }
    EXPECT_EQ(evicted, 1u);
    for (uint64_t i = 1; i < 5; i++) {
        ASSERT_EQ(add(messages[i][1]), TR_PIECE_TAKEN);
        ASSERT_EQ(add(messages[i][2]), TR_PIECE_COMPLETES);
        EXPECT_EQ(message(), tr_test::pattern(i, 4000));
    }
    tr_reassembly_release(&r);
    EXPECT_EQ(add(messages[0][1]), TR_PIECE_TAKEN) << "begins anew";
    EXPECT_EQ(evicted, 1u);
}

TEST_F(reassembly, message_handed_up_is_never_overwritten)
{
    std::vector<tr_span> held;
    for (uint64_t i = 0; i < 4; i++) {
        auto datagrams = cut(100 + i, tr_test::pattern(i, 4000), 1472);
        add(datagrams[0]);
        add(datagrams[1]);
        ASSERT_EQ(add(datagrams[2]), TR_PIECE_COMPLETES);
        held.push_back(out);
    }
    auto next = cut(200, bytes(4000), 1472);
    ASSERT_EQ(add(next[0]), TR_PIECE_WAITS);
    for (uint64_t i = 0; i < 4; i++) {
        out = held[i];
        EXPECT_EQ(message(), tr_test::pattern(i, 4000));
    }
    tr_reassembly_release(&r);
    EXPECT_EQ(add(next[0]), TR_PIECE_TAKEN);
}

TEST_F(reassembly, senders_with_equal_numbers_are_kept_apart)
{
    bytes a = tr_test::pattern(1, 4000), b = tr_test::pattern(2, 4000);
    auto from_a = cut(5, a, 1472), from_b = cut(5, b, 1472);
    for (size_t i = 0; i < 2; i++) {
        ASSERT_EQ(add(from_a[i], 1), TR_PIECE_TAKEN);
        ASSERT_EQ(add(from_b[i], 2), TR_PIECE_TAKEN);
    }
    ASSERT_EQ(add(from_b[2], 2), TR_PIECE_COMPLETES);
    EXPECT_EQ(message(), b);
    ASSERT_EQ(add(from_a[2], 1), TR_PIECE_COMPLETES);
    EXPECT_EQ(message(), a);
}

TEST(reassembly_memory, that_is_spent_is_told)
{
    tr_test::arena memory(2 * limit);
    tr_reassembly r{};
    EXPECT_EQ(tr_reassembly_init(&r, memory.memory(), 4, limit), TR_ENOMEM);
}

// Messages of several senders through a network that loses, copies and reorders: what comes out was
// sent, whole, and at most once; and what lost nothing comes out.
void run_property(uint64_t seed, bool *any_complete)
{
    tr_prng prng;
    tr_prng_seed(&prng, seed);
    tr_test::arena memory;
    tr_reassembly r{};
    ASSERT_EQ(tr_reassembly_init(&r, memory.memory(), 4, limit), TR_OK);
    struct packet {
        uint64_t source;
        bytes datagram;
    };
    std::vector<packet> network;
    std::map<std::pair<uint64_t, uint64_t>, bytes> sent;
    std::map<std::pair<uint64_t, uint64_t>, uint32_t> received;
    uint32_t loss = static_cast<uint32_t>(tr_prng_below(&prng, 20000));
    for (uint64_t i = 0; i < 40; i++) {
        uint64_t source = 1 + tr_prng_below(&prng, 2);
        uint32_t datagram = 88 + 8 * static_cast<uint32_t>(tr_prng_below(&prng, 500));
        uint32_t size = datagram + static_cast<uint32_t>(tr_prng_below(&prng, 20 * datagram));
        bytes payload = tr_test::pattern(seed * 100 + i, size);
        tr_store_le64(payload.data(), i);
        sent[{source, i}] = payload;
        for (const auto &d : cut(i, payload, datagram)) {
            if (tr_prng_chance(&prng, loss))
                continue;
            network.push_back({source, d});
            if (tr_prng_chance(&prng, 20000))
                network.push_back({source, d});
        }
    }
    for (size_t i = 0; i + 1 < network.size(); i++) {
        size_t j = i + tr_prng_below(&prng, std::min<size_t>(8, network.size() - i));
        std::swap(network[i], network[j]);
    }
    uint64_t evicted = 0;
    for (const auto &p : network) {
        tr_frame piece = piece_of(p.datagram);
        tr_span out{};
        auto result = tr_reassembly_add(&r, p.source, &piece, &out, &evicted);
        ASSERT_NE(result, TR_PIECE_REFUSED);
        ASSERT_NE(result, TR_PIECE_WAITS);
        if (result != TR_PIECE_COMPLETES)
            continue;
        auto *data = static_cast<const uint8_t *>(out.data);
        auto key = std::make_pair(p.source, tr_load_le64(data));
        ASSERT_EQ(bytes(data, data + out.bytes), sent[key]);
        ASSERT_EQ(++received[key], 1u);
        *any_complete = true;
        tr_reassembly_release(&r);
    }
    if (loss == 0 && evicted == 0) {
        EXPECT_EQ(received.size(), sent.size());
    }
}

TEST(reassembly_property, loss_copies_and_reordering_make_no_false_message)
{
    bool any_complete = false;
    for (uint64_t seed = 1; seed <= 150; seed++)
        run_property(seed, &any_complete);
    EXPECT_TRUE(any_complete);
}

// Canary: were pieces of two messages mixed, the comparison above would see it.
TEST(reassembly_property, mixed_pieces_are_noticed)
{
    bytes a = tr_test::pattern(1, 4000), b = tr_test::pattern(2, 4000);
    auto from_a = cut(5, a, 1472), from_b = cut(5, b, 1472);
    tr_test::arena memory;
    tr_reassembly r{};
    tr_span out{};
    uint64_t evicted = 0;
    ASSERT_EQ(tr_reassembly_init(&r, memory.memory(), 4, limit), TR_OK);
    tr_frame pieces[] = {piece_of(from_a[0]), piece_of(from_b[1]), piece_of(from_a[2])};
    for (const auto &piece : pieces)
        tr_reassembly_add(&r, 1, &piece, &out, &evicted);
    ASSERT_EQ(out.bytes, 4000u);
    auto *data = static_cast<const uint8_t *>(out.data);
    EXPECT_NE(bytes(data, data + out.bytes), a);
}

// Random and half-right datagrams: nothing is read or written outside (the sanitizers look),
// nothing asserts, and the parser always ends.
TEST(frame_fuzz, hostile_datagrams_are_only_counted)
{
    tr_prng prng;
    tr_prng_seed(&prng, 99);
    tr_test::arena memory;
    tr_reassembly r{};
    ASSERT_EQ(tr_reassembly_init(&r, memory.memory(), 2, 32768), TR_OK);
    uint64_t evicted = 0, taken = 0, bad = 0;
    for (int round = 0; round < 60000; round++) {
        // Exactly as long as it says, so that the sanitizers see a byte too far.
        bytes datagram(tr_prng_below(&prng, 300));
        for (auto &byte : datagram)
            byte = static_cast<uint8_t>(tr_prng_next(&prng));
        uint32_t size = static_cast<uint32_t>(datagram.size());
        if (size >= TR_PIECE_BYTES && tr_prng_chance(&prng, 900000)) {
            bool is_piece = tr_prng_chance(&prng, 700000);
            tr_store_le32(datagram.data(),
                          TR_FRAME_MARK | (is_piece ? TR_FRAME_PIECE : TR_FRAME_WHOLE) << 16);
            uint32_t header = is_piece ? TR_PIECE_BYTES : TR_FRAME_BYTES;
            uint32_t payload = (size - header) & ~7u;
            tr_store_le32(datagram.data() + 4, payload);
            if (is_piece && tr_prng_chance(&prng, 900000)) {
                tr_store_le64(datagram.data() + 8, tr_prng_below(&prng, 4));
                tr_store_le32(datagram.data() + 16,
                              static_cast<uint32_t>(tr_prng_below(&prng, 40000)));
                tr_store_le16(datagram.data() + 20, static_cast<uint16_t>(payload / 8));
                tr_store_le16(datagram.data() + 22,
                              static_cast<uint16_t>(tr_prng_below(&prng, 40)));
            }
        }
        std::unique_ptr<uint8_t[]> exact(new uint8_t[size]);
        std::copy(datagram.begin(), datagram.end(), exact.get());
        uint32_t at = 0;
        for (;;) {
            tr_frame frame{};
            tr_span out{};
            uint32_t before = at;
            auto kind = tr_frame_next(exact.get(), size, &at, &frame);
            if (kind == TR_FRAME_IS_END || kind == TR_FRAME_IS_BAD) {
                bad += kind == TR_FRAME_IS_BAD;
                break;
            }
            ASSERT_GT(at, before);
            ASSERT_LE(at, size);
            ASSERT_GE(frame.data, exact.get());
            ASSERT_LE(frame.data + frame.bytes, exact.get() + size);
            if (kind == TR_FRAME_IS_PIECE &&
                tr_reassembly_add(&r, 1, &frame, &out, &evicted) == TR_PIECE_TAKEN)
                taken++;
        }
        if (round % 16 == 0)
            tr_reassembly_release(&r);
    }
    EXPECT_GT(taken, 100u) << "the fuzz reaches the reassembly";
    EXPECT_GT(evicted, 10u);
    EXPECT_GT(bad, 1000u);
}

} // namespace
