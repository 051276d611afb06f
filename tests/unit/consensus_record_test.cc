#include "consensus/record.h"

#include "base/prng.h"
#include "tests/unit/record_builder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace
{

namespace rb = record_builder;

tr_record *header_of(rb::bytes &b)
{
    return reinterpret_cast<tr_record *>(b.data());
}

tr_run *run_of(rb::bytes &b, size_t at = 0)
{
    return reinterpret_cast<tr_run *>(b.data() + at);
}

bool valid(const rb::bytes &b)
{
    return tr_record_valid(reinterpret_cast<const tr_record *>(b.data()), b.size());
}

rb::bytes batch()
{
    return rb::record(TR_RECORD_COMMANDS, rb::payload({rb::commands(5, 1, 32, 64)}), 32);
}

TEST(record, the_seal_covers_the_header_and_is_seeded_by_the_tag)
{
    rb::bytes b = batch();
    tr_record *r = header_of(b);
    r->tag = 0x0123456789abcdef;
    tr_record expected = *r;
    rb::reseal(&expected);
    tr_record_seal(r);
    EXPECT_EQ(expected.crc, r->crc);
    EXPECT_NE(tr_crc32c_by_table(0, r, 60), r->crc);
}

TEST(record, outside_of_a_ring_the_seal_needs_no_generation_and_no_tag)
{
    rb::bytes b = batch();
    tr_record *r = header_of(b);
    r->generation = r->tag = 0;
    r->slot = 0x0102030405060708;
    tr_record_seal(r);
    const uint32_t whole = r->crc;
    EXPECT_EQ(tr_record_header_crc_unringed(r), whole);
    r->crc = 0;
    tr_record_seal_unringed(r);
    EXPECT_EQ(r->crc, whole);
    EXPECT_TRUE(valid(b));
    const uint8_t zeros[16] = {0};
    EXPECT_EQ(tr_crc32c(0, zeros, sizeof(zeros)), TR_RECORD_CRC_16);
}

TEST(record, a_whole_record_of_each_kind_is_valid)
{
    EXPECT_TRUE(valid(batch()));
    EXPECT_TRUE(valid(rb::record(TR_RECORD_NOOP, rb::bytes(), 0)));
    EXPECT_TRUE(valid(rb::record(TR_RECORD_CONFIG, rb::bytes(77), 0)));
}

TEST(record, any_flipped_bit_of_header_or_payload_is_noticed)
{
    rb::bytes b = batch();
    size_t covered = sizeof(tr_record) + header_of(b)->payload_bytes;
    for (size_t bit = 0; bit < covered * 8; bit++) {
        b.data()[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
        EXPECT_FALSE(valid(b)) << "bit " << bit;
        b.data()[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    }
    EXPECT_TRUE(valid(b));
}

TEST(record, a_record_longer_than_what_can_be_read_is_refused)
{
    rb::bytes b = batch();
    auto *r = header_of(b);
    uint64_t whole = sizeof(tr_record) + r->payload_bytes;
    EXPECT_TRUE(tr_record_valid(r, whole));
    for (uint64_t bytes = 0; bytes < whole; bytes++)
        EXPECT_FALSE(tr_record_valid(r, bytes)) << bytes;
}

TEST(record, a_length_above_the_limit_is_refused_before_it_is_read)
{
    rb::bytes b = rb::record(TR_RECORD_NOOP, rb::bytes(), 0);
    for (uint32_t bytes : {TR_ENTRY_BYTES_MAX + 1u, UINT32_MAX - 63, UINT32_MAX}) {
        header_of(b)->payload_bytes = bytes;
        rb::reseal(header_of(b));
        EXPECT_FALSE(tr_record_valid(header_of(b), UINT64_MAX)) << bytes;
    }
}

TEST(record, what_is_sealed_but_malformed_is_refused)
{
    struct {
        const char *what;
        void (*change)(tr_record *);
    } const changes[] = {
        {"unknown kind", [](tr_record *r) { r->kind = TR_RECORD_CONFIG + 1; }},
        {"a pad",
         [](tr_record *r) {
             r->kind = TR_RECORD_PAD;
             r->command_count = 0;
         }},
        {"reserved byte", [](tr_record *r) { r->reserved8 = 1; }},
        {"reserved part of the ballot", [](tr_record *r) { r->ballot.reserved = 1; }},
        {"a batch of nothing", [](tr_record *r) { r->command_count = 0; }},
        {"a batch too large", [](tr_record *r) { r->command_count = TR_BATCH_COMMANDS_MAX + 1; }},
        {"a no-op with commands", [](tr_record *r) { r->kind = TR_RECORD_NOOP; }},
    };
    for (const auto &c : changes) {
        rb::bytes b = batch();
        c.change(header_of(b));
        rb::reseal(header_of(b));
        EXPECT_FALSE(valid(b)) << c.what;
    }
}

TEST(record, bytes_are_rounded_up_to_whole_units)
{
    EXPECT_EQ(64u, tr_record_bytes(0));
    EXPECT_EQ(128u, tr_record_bytes(1));
    EXPECT_EQ(128u, tr_record_bytes(64));
    EXPECT_EQ(192u, tr_record_bytes(65));
    EXPECT_EQ(TR_ENTRY_BYTES_MAX + 64u, tr_record_bytes(TR_ENTRY_BYTES_MAX));
}

std::vector<std::string> commands_of(const tr_run_view &view)
{
    std::vector<std::string> out;
    const uint8_t *at = view.data;
    for (uint32_t i = 0; i < view.run->count; i++) {
        uint32_t bytes = view.lengths != nullptr ? view.lengths[i] : view.run->bytes_each;
        out.emplace_back(reinterpret_cast<const char *>(at), bytes);
        at += (bytes + 7u) & ~7u;
    }
    return out;
}

TEST(run, runs_come_out_as_they_went_in)
{
    rb::run vary = rb::commands(9, 100, 0, 0);
    vary.commands = {"", "a", std::string(8, 'b'), std::string(9, 'c'), std::string(1000, 'd')};
    vary.acked = 50;
    std::vector<rb::run> in = {rb::commands(5, 1, 32, 64), vary, rb::commands(6, 7, 1, 3),
                               rb::commands(7, 1, 256, 0)};
    rb::bytes p = rb::payload(in);
    uint32_t cursor = 0;
    tr_run_view view;
    for (const rb::run &r : in) {
        ASSERT_TRUE(tr_run_next(p.data(), p.size32(), &cursor, &view));
        EXPECT_EQ(r.session, view.run->session);
        EXPECT_EQ(r.sequence, view.run->sequence);
        EXPECT_EQ(r.acked, view.run->sequence_acked);
        EXPECT_EQ(r.commands, commands_of(view));
    }
    EXPECT_EQ(p.size32(), cursor);
    EXPECT_FALSE(tr_run_next(p.data(), p.size32(), &cursor, &view));
    EXPECT_EQ(p.size32(), cursor);
}

TEST(run, the_bytes_of_a_uniform_run_are_as_computed)
{
    for (uint32_t bytes : {0u, 1u, 8u, 9u, 64u})
        EXPECT_EQ(rb::payload({rb::commands(1, 1, 3, bytes)}).size32(), tr_run_bytes(3, bytes));
}

TEST(run, register_and_close_are_runs_of_one)
{
    rb::run open = rb::commands(0, 0, 1, TR_NONCE_BYTES);
    open.kind = TR_RUN_REGISTER;
    rb::run close = rb::commands(3, 0, 1, 0);
    close.kind = TR_RUN_CLOSE;
    rb::bytes p = rb::payload({open, close});
    EXPECT_TRUE(tr_runs_valid(p.data(), p.size32(), 2));
}

TEST(run, the_commands_must_add_up)
{
    rb::bytes p = rb::payload({rb::commands(1, 1, 2, 8), rb::commands(2, 1, 3, 8)});
    EXPECT_TRUE(tr_runs_valid(p.data(), p.size32(), 5));
    EXPECT_FALSE(tr_runs_valid(p.data(), p.size32(), 4));
    EXPECT_FALSE(tr_runs_valid(p.data(), p.size32(), 6));
    EXPECT_FALSE(tr_runs_valid(p.data(), 0, 0)) << "an empty batch";
}

TEST(run, more_commands_than_a_slot_takes_are_refused)
{
    std::vector<rb::run> runs;
    for (int i = 0; i < 256; i++)
        runs.push_back(rb::commands(1, 1, 1, 0));
    rb::bytes p = rb::payload(runs);
    EXPECT_TRUE(tr_runs_valid(p.data(), p.size32(), 256));
    runs.push_back(rb::commands(1, 1, 1, 0));
    p = rb::payload(runs);
    EXPECT_FALSE(tr_runs_valid(p.data(), p.size32(), 257));
}

TEST(run, every_truncation_is_refused_and_does_not_pass_for_the_end)
{
    rb::run vary = rb::commands(9, 1, 0, 0);
    vary.commands = {"abc", "defghijklmn", ""};
    for (const rb::run &r : {rb::commands(5, 1, 3, 20), vary}) {
        rb::bytes p = rb::payload({r});
        for (uint32_t bytes = 1; bytes < p.size32(); bytes++) {
            uint32_t cursor = 0;
            tr_run_view view;
            EXPECT_FALSE(tr_run_next(p.data(), bytes, &cursor, &view)) << bytes;
            EXPECT_EQ(0u, cursor);
            EXPECT_FALSE(tr_runs_valid(p.data(), bytes, 3));
        }
    }
}

TEST(run, a_malformed_header_is_refused)
{
    struct {
        const char *what;
        void (*change)(tr_run *);
    } const changes[] = {
        {"no commands", [](tr_run *r) { r->count = 0; }},
        {"too many commands",
         [](tr_run *r) {
             r->count = TR_BATCH_COMMANDS_MAX + 1;
             r->bytes_each = 0;
         }},
        {"unknown kind", [](tr_run *r) { r->kind = TR_RUN_CLOSE + 1; }},
        {"reserved byte", [](tr_run *r) { r->reserved8 = 1; }},
        {"no session", [](tr_run *r) { r->session = 0; }},
        {"sequence 0", [](tr_run *r) { r->sequence = 0; }},
        {"sequence above the last", [](tr_run *r) { r->sequence = TR_SEQUENCE_MAX + 1; }},
        {"sequence at the end of the numbers", [](tr_run *r) { r->sequence = UINT64_MAX; }},
        {"commands longer than the payload", [](tr_run *r) { r->bytes_each = 65; }},
        {"commands as long as can be", [](tr_run *r) { r->bytes_each = UINT32_MAX - 1; }},
        {"lengths that add up to more", [](tr_run *r) { r->bytes_each = TR_RUN_BYTES_VARY; }},
        {"a close with a payload",
         [](tr_run *r) {
             r->kind = TR_RUN_CLOSE;
             r->count = 1;
         }},
        {"two registers in one",
         [](tr_run *r) {
             r->kind = TR_RUN_REGISTER;
             r->bytes_each = 16;
         }},
        {"a register with a long nonce",
         [](tr_run *r) {
             r->kind = TR_RUN_REGISTER;
             r->count = 1;
         }},
    };
    for (const auto &c : changes) {
        rb::bytes p = rb::payload({rb::commands(5, 1, 2, 64)});
        c.change(run_of(p));
        uint32_t cursor = 0;
        tr_run_view view;
        EXPECT_FALSE(tr_run_next(p.data(), p.size32(), &cursor, &view)) << c.what;
        EXPECT_EQ(0u, cursor) << c.what;
    }
}

TEST(run, random_bytes_never_lead_outside_of_the_payload)
{
    tr_prng prng;
    tr_prng_seed(&prng, 1);
    uint64_t accepted = 0;
    for (int round = 0; round < 20000; round++) {
        rb::run vary = rb::commands(9, 1, 0, 0);
        vary.commands = {"abc", "defghijklmn", ""};
        rb::bytes p = rb::payload({rb::commands(5, 1, 4, 24), vary, rb::commands(6, 1, 2, 8)});
        for (uint64_t i = tr_prng_below(&prng, 4); i > 0; i--)
            p.data()[tr_prng_below(&prng, p.size())] = static_cast<uint8_t>(tr_prng_next(&prng));
        uint32_t cursor = 0;
        tr_run_view view;
        while (tr_run_next(p.data(), p.size32(), &cursor, &view)) {
            const uint8_t *at = view.data;
            for (uint32_t i = 0; i < view.run->count; i++)
                at +=
                    ((view.lengths != nullptr ? view.lengths[i] : view.run->bytes_each) + 7u) & ~7u;
            ASSERT_EQ(p.data() + cursor, at);
            ASSERT_LE(cursor, p.size32());
            accepted++;
        }
    }
    EXPECT_GT(accepted, 20000u) << "the walk must have gone somewhere";
}

} // namespace
