#include "consensus/ring.h"

#include "base/prng.h"
#include "tests/unit/record_builder.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <vector>

namespace
{

namespace rb = record_builder;

constexpr uint32_t ring_bytes = 1024;

tr_grant grant(uint64_t generation, uint64_t tag, uint32_t bytes = ring_bytes)
{
    tr_grant g = {};
    g.generation = generation;
    g.tag = tag;
    g.ring_bytes = bytes;
    return g;
}

// A record as the leader writes it into a ring.
rb::bytes ring_record(const tr_grant &g, uint64_t position, uint32_t payload_bytes,
                      uint8_t fill = 0x77)
{
    rb::bytes payload(payload_bytes);
    if (payload_bytes != 0)
        std::memset(payload.data(), fill, payload_bytes);
    rb::bytes b = rb::record(payload_bytes == 0 ? TR_RECORD_NOOP : TR_RECORD_CONFIG, payload, 0);
    auto *r = reinterpret_cast<tr_record *>(b.data());
    r->generation = g.generation;
    r->tag = g.tag;
    r->position = static_cast<uint32_t>(position / 64);
    rb::reseal(r);
    return b;
}

struct found {
    tr_ring_found what;
    uint32_t record_bytes;
};

found next(const tr_grant &g, uint64_t position, const rb::bytes &b, uint32_t copied,
           uint32_t entry_max = TR_ENTRY_BYTES_MAX)
{
    // Exactly as long as what was copied, so that the address sanitizer sees a read past it.
    rb::bytes exact;
    exact.append(b.data(), copied);
    found f = {TR_RING_NONE, 0};
    f.what = tr_ring_next(&g, position, entry_max, reinterpret_cast<tr_record *>(exact.data()),
                          copied, &f.record_bytes);
    return f;
}

TEST(ring_place, a_record_that_fits_stays_where_it_is)
{
    uint64_t position = 5 * ring_bytes + 512;
    EXPECT_EQ(0u, tr_ring_place(ring_bytes, &position, 512));
    EXPECT_EQ(5u * ring_bytes + 512, position);
}

TEST(ring_place, a_record_that_would_cross_the_end_moves_over_a_pad)
{
    uint64_t position = 5 * ring_bytes + 512;
    EXPECT_EQ(512u, tr_ring_place(ring_bytes, &position, 576));
    EXPECT_EQ(6u * ring_bytes, position);
}

TEST(ring_place, a_record_as_long_as_the_ring_is_placed_at_its_start)
{
    uint64_t position = ring_bytes;
    EXPECT_EQ(0u, tr_ring_place(ring_bytes, &position, ring_bytes));
    position += 64;
    EXPECT_EQ(ring_bytes - 64, tr_ring_place(ring_bytes, &position, ring_bytes));
    EXPECT_EQ(2u * ring_bytes, position);
}

TEST(ring_place, a_record_longer_than_the_ring_is_a_bug)
{
    uint64_t position = 0;
    EXPECT_DEATH(tr_ring_place(ring_bytes, &position, ring_bytes + 64), "assertion failed");
}

TEST(ring_next, a_header_asks_for_the_rest_and_then_is_a_record)
{
    tr_grant g = grant(3, 0xfeedfacecafebeef);
    rb::bytes b = ring_record(g, 128, 100);
    found f = next(g, 128, b, 64);
    EXPECT_EQ(TR_RING_MORE, f.what);
    EXPECT_EQ(192u, f.record_bytes);
    f = next(g, 128, b, 191 & ~63u);
    EXPECT_EQ(TR_RING_MORE, f.what);
    f = next(g, 128, b, 192);
    EXPECT_EQ(TR_RING_RECORD, f.what);
    EXPECT_EQ(192u, f.record_bytes);
}

TEST(ring_next, a_record_without_payload_is_one_at_once)
{
    tr_grant g = grant(3, 1);
    EXPECT_EQ(TR_RING_RECORD, next(g, 960, ring_record(g, 960, 0), 64).what);
}

TEST(ring_next, a_pad_ends_at_the_rings_end)
{
    tr_grant g = grant(3, 1);
    rb::bytes b(64);
    tr_ring_pad(&g, 896, 128, reinterpret_cast<tr_record *>(b.data()));
    found f = next(g, 896, b, 64);
    EXPECT_EQ(TR_RING_PADDING, f.what);
    EXPECT_EQ(128u, f.record_bytes);
    // The smallest: the last unit.
    tr_ring_pad(&g, 960, 64, reinterpret_cast<tr_record *>(b.data()));
    f = next(g, 960, b, 64);
    EXPECT_EQ(TR_RING_PADDING, f.what);
    EXPECT_EQ(64u, f.record_bytes);
    // One that does not reach the end is not ours.
    tr_ring_pad(&g, 832, 128, reinterpret_cast<tr_record *>(b.data()));
    EXPECT_EQ(TR_RING_NONE, next(g, 832, b, 64).what);
}

TEST(ring_next, fresh_memory_is_nothing)
{
    tr_grant g = grant(3, 1);
    EXPECT_EQ(TR_RING_NONE, next(g, 0, rb::bytes(64), 64).what);
    g = grant(0, 0);
    EXPECT_EQ(TR_RING_NONE, next(g, 0, ring_record(g, 0, 0), 64).what) << "no grant, no record";
}

TEST(ring_next, a_record_of_the_previous_lap_is_nothing)
{
    tr_grant g = grant(3, 1);
    EXPECT_EQ(TR_RING_NONE, next(g, ring_bytes + 128, ring_record(g, 128, 100), 192).what);
    EXPECT_EQ(TR_RING_NONE, next(g, 128, ring_record(g, ring_bytes + 128, 100), 192).what);
}

TEST(ring_next, a_record_of_another_grant_is_nothing)
{
    tr_grant g = grant(3, 1);
    EXPECT_EQ(TR_RING_NONE, next(g, 0, ring_record(grant(2, 1), 0, 100), 192).what);
    EXPECT_EQ(TR_RING_NONE, next(g, 0, ring_record(grant(3, 2), 0, 100), 192).what);
}

TEST(ring_next, a_payload_that_imitates_a_record_without_the_tag_is_nothing)
{
    // Rule 8: a client's payload of the last lap lies where the next record is expected, and holds
    // what that client could know: generation, position, slots, and a CRC. Not the tag.
    tr_grant g = grant(3, 0x9d3c1f00d15ea5e5);
    rb::bytes forged = ring_record(grant(3, 0), ring_bytes, 100);
    EXPECT_EQ(TR_RING_NONE, next(g, ring_bytes, forged, 192).what);
    reinterpret_cast<tr_record *>(forged.data())->tag = g.tag;
    EXPECT_EQ(TR_RING_NONE, next(g, ring_bytes, forged, 192).what) << "the CRC is seeded by it too";
}

TEST(ring_next, a_torn_record_is_nothing_until_it_is_whole)
{
    // Every order of landing: any subset of its units still shows what lay there before.
    tr_grant g = grant(3, 1);
    rb::bytes before = ring_record(g, 0, 300, 0x11);
    rb::bytes after = ring_record(g, ring_bytes, 300, 0x22);
    const uint32_t units = tr_record_bytes(300) / 64;
    for (uint32_t landed = 0; landed < 1u << units; landed++) {
        rb::bytes mixed = before;
        for (uint32_t i = 0; i < units; i++)
            if ((landed >> i & 1) != 0)
                std::memcpy(mixed.data() + i * 64, after.data() + i * 64, 64);
        found f = next(g, ring_bytes, mixed, mixed.size32());
        bool whole = landed == (1u << units) - 1;
        EXPECT_EQ(whole ? TR_RING_RECORD : TR_RING_NONE, f.what) << landed;
    }
}

TEST(ring_next, a_header_torn_at_any_word_is_nothing)
{
    tr_grant g = grant(3, 1);
    rb::bytes before = ring_record(g, 0, 0);
    reinterpret_cast<tr_record *>(before.data())->slot = 1000;
    rb::reseal(reinterpret_cast<tr_record *>(before.data()));
    rb::bytes after = ring_record(g, ring_bytes, 0);
    // Bytes of one word arrive together, words in any order; a subset that leaves nothing changed
    // in effect is the whole record.
    for (uint32_t landed = 0; landed < 256; landed++) {
        rb::bytes mixed = before;
        for (uint32_t i = 0; i < 8; i++)
            if ((landed >> i & 1) != 0)
                std::memcpy(mixed.data() + i * 8, after.data() + i * 8, 8);
        bool whole = std::memcmp(mixed.data(), after.data(), 64) == 0;
        EXPECT_EQ(whole ? TR_RING_RECORD : TR_RING_NONE, next(g, ring_bytes, mixed, 64).what)
            << landed;
    }
}

TEST(ring_next, a_sealed_header_that_lies_about_its_length_is_nothing)
{
    tr_grant g = grant(3, 1);
    for (uint32_t bytes : {ring_bytes - 64 - 512 + 1, TR_ENTRY_BYTES_MAX + 1u, UINT32_MAX}) {
        rb::bytes b = ring_record(g, 512, 0);
        auto *r = reinterpret_cast<tr_record *>(b.data());
        r->kind = TR_RECORD_CONFIG;
        r->payload_bytes = bytes;
        rb::reseal(r);
        EXPECT_EQ(TR_RING_NONE, next(g, 512, b, 64).what) << bytes;
    }
    EXPECT_EQ(TR_RING_MORE, next(g, 0, ring_record(g, 0, 200), 64, 200).what);
    EXPECT_EQ(TR_RING_NONE, next(g, 0, ring_record(g, 0, 201), 64, 200).what)
        << "above the group's limit";
}

// A writer within its credit and a reader that sees writes land late and torn: what is read is what
// was written, once, in order, over many laps.
TEST(ring, a_reader_takes_what_a_writer_wrote_over_many_laps)
{
    tr_prng prng;
    tr_prng_seed(&prng, 42);
    tr_grant g = grant(77, tr_prng_next(&prng), 4096);
    rb::bytes ring(g.ring_bytes);
    struct write {
        uint64_t position;
        rb::bytes data;
    };
    std::deque<write> in_flight;
    std::deque<uint32_t> expected; // payload lengths
    uint64_t write_at = 0;
    uint64_t read_at = 0;
    uint64_t records = 0;
    uint64_t pads = 0;
    while (read_at < 200 * uint64_t{4096}) {
        auto payload_bytes = static_cast<uint32_t>(tr_prng_below(&prng, 1500));
        uint64_t at = write_at;
        uint32_t pad_bytes = tr_ring_place(g.ring_bytes, &at, tr_record_bytes(payload_bytes));
        if (at + tr_record_bytes(payload_bytes) <= read_at + g.ring_bytes) {
            if (pad_bytes != 0) {
                rb::bytes pad(64);
                tr_ring_pad(&g, write_at, pad_bytes, reinterpret_cast<tr_record *>(pad.data()));
                in_flight.push_back({write_at, pad});
                pads++;
            }
            in_flight.push_back(
                {at, ring_record(g, at, payload_bytes, static_cast<uint8_t>(at >> 6))});
            expected.push_back(payload_bytes);
            write_at = at + tr_record_bytes(payload_bytes);
        }
        // Some bytes of what is in flight land, in any order.
        for (uint64_t i = tr_prng_below(&prng, 6); i > 0 && !in_flight.empty(); i--) {
            write &w = in_flight[tr_prng_below(&prng, in_flight.size())];
            uint64_t unit = tr_prng_below(&prng, w.data.size() / 8);
            std::memcpy(ring.data() + w.position % g.ring_bytes + unit * 8,
                        w.data.data() + unit * 8, 8);
        }
        if (tr_prng_chance(&prng, 400000) && !in_flight.empty()) {
            const write &w = in_flight.front();
            std::memcpy(ring.data() + w.position % g.ring_bytes, w.data.data(), w.data.size());
            in_flight.pop_front();
        }
        uint32_t bytes = 0;
        const auto *lies = reinterpret_cast<tr_record *>(ring.data() + read_at % g.ring_bytes);
        tr_ring_found f = tr_ring_next(&g, read_at, TR_ENTRY_BYTES_MAX, lies, 64, &bytes);
        if (f == TR_RING_MORE)
            f = tr_ring_next(&g, read_at, TR_ENTRY_BYTES_MAX, lies, bytes, &bytes);
        if (f == TR_RING_NONE)
            continue;
        if (f == TR_RING_RECORD) {
            ASSERT_FALSE(expected.empty());
            ASSERT_EQ(expected.front(), lies->payload_bytes);
            const auto *payload = reinterpret_cast<const uint8_t *>(lies + 1);
            for (uint32_t i = 0; i < lies->payload_bytes; i++)
                ASSERT_EQ(static_cast<uint8_t>(read_at >> 6), payload[i]);
            expected.pop_front();
            records++;
        }
        read_at += bytes;
    }
    EXPECT_GT(records, 500u);
    EXPECT_GT(pads, 100u);
}

} // namespace
