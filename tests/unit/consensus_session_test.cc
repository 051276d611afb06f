#include "tests/unit/session_table.h"

#include "base/prng.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace
{

namespace rb = record_builder;
using session_table::close_run;
using session_table::encoded;
using session_table::open_run;
using session_table::table;

constexpr uint64_t cache_bytes = 4096;
constexpr uint64_t unit = TR_REPLY_UNIT;

rb::run run_of(uint64_t session, uint64_t sequence, uint32_t count = 1, uint64_t acked = 0)
{
    rb::run r = rb::commands(session, sequence, count, 8);
    r.acked = acked;
    return r;
}

std::vector<std::string> replies(uint32_t count, size_t bytes, char fill = 'r')
{
    return std::vector<std::string>(count, std::string(bytes, fill));
}

// ---- registration

TEST(session_register, gives_a_number_that_tells_the_log_position)
{
    table t(4, cache_bytes);
    encoded a(open_run("a"));
    encoded b(open_run("b"));
    encoded c(open_run("c"));
    uint64_t first = t.admit(a.view, 1, 0).session;
    uint64_t second = t.admit(b.view, 1, 1).session;
    uint64_t third = t.admit(c.view, 2, 0).session;
    EXPECT_EQ(1u * TR_BATCH_COMMANDS_MAX + 1, first);
    EXPECT_EQ(first + 1, second);
    EXPECT_EQ(first + TR_BATCH_COMMANDS_MAX, third);
    EXPECT_EQ(3u, tr_sessions_count(t.get()));
    EXPECT_EQ(0u, tr_sessions_applied(t.get(), first));
}

TEST(session_register, a_retry_with_the_same_nonce_gets_the_same_number)
{
    table t(4, cache_bytes);
    uint64_t number = t.open("a");
    t.apply(run_of(number, 1), replies(1, 8));
    encoded again(open_run("a"));
    tr_admission a = t.admit(again.view);
    EXPECT_EQ(TR_VERDICT_DONE, a.verdict);
    EXPECT_EQ(number, a.session);
    EXPECT_EQ(1u, tr_sessions_count(t.get()));
    EXPECT_EQ(1u, tr_sessions_applied(t.get(), number)) << "and goes on where it was";
}

TEST(session_register, a_full_table_evicts_the_session_touched_longest_ago)
{
    table t(3, cache_bytes);
    uint64_t a = t.open("a");
    uint64_t b = t.open("b");
    uint64_t c = t.open("c");
    t.apply(run_of(a, 1), replies(1, 8));
    encoded d(open_run("d"));
    tr_admission admission = t.admit(d.view);
    EXPECT_EQ(b, admission.evicted);
    EXPECT_EQ(UINT64_MAX, tr_sessions_applied(t.get(), b));
    encoded e(open_run("e"));
    EXPECT_EQ(c, t.admit(e.view).evicted);
    encoded f(open_run("f"));
    EXPECT_EQ(a, t.admit(f.view).evicted);
    EXPECT_EQ(3u, tr_sessions_count(t.get()));
}

TEST(session_register, a_gap_and_a_duplicate_touch_too)
{
    table t(3, cache_bytes);
    uint64_t a = t.open("a");
    uint64_t b = t.open("b");
    uint64_t c = t.open("c");
    t.apply(run_of(a, 1), replies(1, 8));
    t.apply(run_of(b, 1), replies(1, 8));
    t.apply(run_of(c, 1), replies(1, 8));
    t.apply(run_of(a, 5), {});
    t.apply(run_of(b, 1), {});
    encoded d(open_run("d"));
    EXPECT_EQ(c, t.admit(d.view).evicted);
}

TEST(session_register, an_evicted_session_is_refused_and_its_nonce_makes_another)
{
    table t(1, cache_bytes);
    uint64_t a = t.open("a");
    t.apply(run_of(a, 1), replies(1, 8));
    uint64_t b = t.open("b");
    EXPECT_EQ(TR_VERDICT_UNKNOWN, t.apply(run_of(a, 1), {}).verdict) << "a retry after eviction";
    EXPECT_EQ(TR_VERDICT_UNKNOWN, t.apply(run_of(a, 2), {}).verdict);
    EXPECT_FALSE(t.reply(a, 1));
    uint64_t again = t.open("a");
    EXPECT_NE(a, again);
    EXPECT_NE(b, again);
}

TEST(session_register, many_sessions_come_and_go_and_are_all_found)
{
    // Exercises the hash tables: every removal must leave the others reachable.
    constexpr uint32_t sessions_max = 100;
    table t(sessions_max, cache_bytes);
    tr_prng prng;
    tr_prng_seed(&prng, 5);
    std::vector<uint64_t> alive;
    for (int i = 0; i < 20000; i++) {
        if (alive.size() < sessions_max && tr_prng_below(&prng, 2) == 0) {
            alive.push_back(t.open("nonce " + std::to_string(i)));
        } else if (!alive.empty()) {
            size_t which = tr_prng_below(&prng, alive.size());
            encoded e(close_run(alive[which]));
            ASSERT_EQ(TR_VERDICT_DONE, t.admit(e.view).verdict);
            alive.erase(alive.begin() + static_cast<ptrdiff_t>(which));
        }
        for (size_t k = 0; i % 100 == 0 && k < alive.size(); k++)
            ASSERT_EQ(0u, tr_sessions_applied(t.get(), alive[k]));
        ASSERT_EQ(alive.size(), tr_sessions_count(t.get()));
    }
}

TEST(session_close, ends_the_session)
{
    table t(4, cache_bytes);
    uint64_t a = t.open("a");
    t.apply(run_of(a, 1), replies(1, 8));
    encoded e(close_run(a));
    tr_admission admission = t.admit(e.view);
    EXPECT_EQ(TR_VERDICT_DONE, admission.verdict);
    EXPECT_EQ(a, admission.session);
    EXPECT_EQ(TR_VERDICT_UNKNOWN, t.admit(e.view).verdict);
    EXPECT_EQ(TR_VERDICT_UNKNOWN, t.apply(run_of(a, 2), {}).verdict);
    EXPECT_FALSE(t.reply(a, 1));
    EXPECT_EQ(0u, tr_sessions_count(t.get()));
}

// ---- exactly once

TEST(session_admit, the_next_run_is_applied_from_its_first_command)
{
    table t(4, cache_bytes);
    uint64_t a = t.open("a");
    for (uint64_t sequence = 1; sequence < 100; sequence += 4) {
        tr_admission admission = t.apply(run_of(a, sequence, 4), replies(4, 3));
        EXPECT_EQ(TR_VERDICT_APPLY, admission.verdict);
        EXPECT_EQ(0u, admission.skip);
        EXPECT_EQ(sequence + 3, tr_sessions_applied(t.get(), a));
    }
}

TEST(session_admit, a_gap_is_refused_and_may_come_again_later)
{
    table t(4, cache_bytes);
    uint64_t a = t.open("a");
    EXPECT_EQ(TR_VERDICT_GAP, t.apply(run_of(a, 2), {}).verdict);
    EXPECT_EQ(0u, tr_sessions_applied(t.get(), a));
    EXPECT_EQ(TR_VERDICT_APPLY, t.apply(run_of(a, 1), replies(1, 1)).verdict);
    EXPECT_EQ(TR_VERDICT_APPLY, t.apply(run_of(a, 2), replies(1, 1)).verdict);
}

TEST(session_admit, duplicates_are_skipped_whole_and_in_part)
{
    table t(4, cache_bytes);
    uint64_t a = t.open("a");
    t.apply(run_of(a, 1, 4), replies(4, 8, 'x'));
    tr_admission whole = t.apply(run_of(a, 1, 4), {});
    EXPECT_EQ(TR_VERDICT_APPLY, whole.verdict);
    EXPECT_EQ(4u, whole.skip);
    EXPECT_EQ(2u, t.apply(run_of(a, 2, 2), {}).skip) << "the middle of an old run";
    tr_admission part = t.apply(run_of(a, 3, 5), replies(5, 8, 'y'));
    EXPECT_EQ(2u, part.skip);
    EXPECT_EQ(7u, tr_sessions_applied(t.get(), a));
    EXPECT_EQ(std::string(8, 'x'), t.reply(a, 4)) << "the first answer stays";
    EXPECT_EQ(std::string(8, 'y'), t.reply(a, 5));
    EXPECT_EQ(std::string(8, 'y'), t.reply(a, 7));
    EXPECT_FALSE(t.reply(a, 8));
}

TEST(session_admit, a_session_that_was_never_registered_is_refused)
{
    table t(4, cache_bytes);
    EXPECT_EQ(TR_VERDICT_UNKNOWN, t.apply(run_of(257, 1), {}).verdict);
    EXPECT_EQ(UINT64_MAX, tr_sessions_applied(t.get(), 257));
    EXPECT_EQ(UINT64_MAX, tr_sessions_applied(t.get(), 0));
}

TEST(session_admit, sequences_at_the_end_of_the_numbers_do_not_overflow)
{
    table t(4, cache_bytes);
    uint64_t a = t.open("a");
    EXPECT_EQ(TR_VERDICT_GAP, t.apply(run_of(a, TR_SEQUENCE_MAX, 256), {}).verdict);
    rb::run r = run_of(a, 1);
    r.acked = UINT64_MAX;
    EXPECT_EQ(TR_VERDICT_APPLY, t.apply(r, replies(1, 8)).verdict);
    EXPECT_TRUE(t.reply(a, 1)) << "what is not applied can not be acknowledged";
}

// ---- replies

TEST(session_reply, every_reply_of_a_run_is_found_until_acknowledged)
{
    table t(4, cache_bytes);
    uint64_t a = t.open("a");
    std::vector<std::string> in = {"", "a", "bcdefghi", std::string(100, 'j'), "last"};
    t.apply(run_of(a, 1, 5), in);
    for (uint64_t i = 0; i < 5; i++)
        EXPECT_EQ(in[i], t.reply(a, i + 1));
    t.apply(run_of(a, 6, 1, 2), replies(1, 3));
    EXPECT_FALSE(t.reply(a, 1));
    EXPECT_FALSE(t.reply(a, 2));
    for (uint64_t i = 2; i < 5; i++)
        EXPECT_EQ(in[i], t.reply(a, i + 1));
    EXPECT_FALSE(t.reply(a, 0));
    EXPECT_FALSE(t.reply(a, 7));
    EXPECT_FALSE(t.reply(a, UINT64_MAX));
}

TEST(session_reply, runs_without_replies_have_empty_ones)
{
    table t(4, cache_bytes);
    uint64_t a = t.open("a");
    encoded e(run_of(a, 1, 256));
    ASSERT_EQ(TR_VERDICT_APPLY, t.admit(e.view).verdict);
    EXPECT_EQ(0u, tr_sessions_complete(t.get(), &e.view, 0, nullptr, nullptr, 0));
    EXPECT_EQ("", t.reply(a, 1));
    EXPECT_EQ("", t.reply(a, 256));
    EXPECT_FALSE(t.reply(a, 257));
}

TEST(session_reply, of_interleaved_sessions_each_has_its_own)
{
    table t(8, 1 << 16);
    std::vector<uint64_t> numbers;
    for (int i = 0; i < 8; i++)
        numbers.push_back(t.open(std::to_string(i)));
    for (uint64_t sequence = 1; sequence <= 50; sequence++)
        for (uint64_t number : numbers)
            t.apply(run_of(number, sequence), {std::to_string(number * 1000 + sequence)});
    for (uint64_t sequence = 1; sequence <= 50; sequence++)
        for (uint64_t number : numbers)
            EXPECT_EQ(std::to_string(number * 1000 + sequence), t.reply(number, sequence));
}

TEST(session_reply, one_too_large_to_keep_breaks_nothing)
{
    table t(4, cache_bytes);
    uint64_t a = t.open("a");
    uint64_t b = t.open("b");
    t.apply(run_of(b, 1), {"kept"});
    t.apply(run_of(a, 1), {"before"});
    size_t largest = cache_bytes / TR_REPLY_RUN_SHARE - unit - 8;
    for (size_t bytes : {largest + 1, size_t{cache_bytes}, size_t{10 * cache_bytes}}) {
        uint64_t sequence = tr_sessions_applied(t.get(), a) + 1;
        EXPECT_EQ(TR_VERDICT_APPLY, t.apply(run_of(a, sequence), replies(1, bytes)).verdict);
        EXPECT_EQ(sequence, tr_sessions_applied(t.get(), a)) << "applied once all the same";
        EXPECT_EQ(1u, t.apply(run_of(a, sequence), {}).skip);
        EXPECT_FALSE(t.reply(a, sequence));
    }
    EXPECT_EQ(3u, t.get()->uncached_count);
    EXPECT_EQ("before", t.reply(a, 1));
    EXPECT_EQ("kept", t.reply(b, 1));
    t.apply(run_of(a, 5), replies(1, largest));
    EXPECT_EQ(std::string(largest, 'r'), t.reply(a, 5)) << "the largest that is kept";
}

TEST(session_reply, an_idle_session_keeps_its_last_replies_over_many_laps)
{
    table t(4, cache_bytes);
    uint64_t idle = t.open("idle");
    uint64_t busy = t.open("busy");
    t.apply(run_of(idle, 1, 2), {"one", "two"});
    for (uint64_t sequence = 1; sequence < 2000; sequence++) {
        t.apply(run_of(busy, sequence, 1, sequence - 1), replies(1, sequence % 200));
        ASSERT_EQ("one", t.reply(idle, 1)) << sequence;
        ASSERT_EQ("two", t.reply(idle, 2)) << sequence;
    }
    EXPECT_GT(t.get()->moved_count, 10u);
    EXPECT_EQ(0u, t.get()->evicted_count);
}

TEST(session_reply, a_session_that_leaves_too_much_unacknowledged_has_to_go)
{
    table t(4, cache_bytes);
    uint64_t quiet = t.open("quiet");
    uint64_t greedy = t.open("greedy");
    t.apply(run_of(quiet, 1), {"kept"});
    uint64_t units = cache_bytes / unit;
    uint32_t evicted = 0;
    uint64_t sequence = 0;
    while (evicted == 0 && sequence < 10 * units) {
        encoded e(run_of(greedy, ++sequence));
        ASSERT_EQ(TR_VERDICT_APPLY, t.admit(e.view).verdict);
        evicted = t.complete(e.view, 0, {"12345678"});
    }
    EXPECT_EQ(1u, evicted);
    EXPECT_EQ(UINT64_MAX, tr_sessions_applied(t.get(), greedy)) << "the one who was greedy";
    EXPECT_GE(sequence * 2, units * 7 / 8 - 4) << "not before the ring was full";
    EXPECT_EQ("kept", t.reply(quiet, 1));
    EXPECT_EQ(TR_VERDICT_UNKNOWN, t.apply(run_of(greedy, sequence + 1), {}).verdict);
}

TEST(session_reply, what_all_sessions_leave_together_is_bounded)
{
    // Sessions that each stay within their share, and together do not.
    constexpr uint32_t sessions_max = 64;
    table t(sessions_max, 1 << 14);
    std::vector<uint64_t> numbers;
    for (uint32_t i = 0; i + 1 < sessions_max; i++)
        numbers.push_back(t.open(std::to_string(i)));
    uint64_t busy = t.open("busy");
    for (uint64_t number : numbers)
        t.apply(run_of(number, 1), replies(1, 100));
    for (uint64_t sequence = 1; sequence < 2000; sequence++)
        t.apply(run_of(busy, sequence, 1, sequence - 1), replies(1, 50));
    uint64_t alive = 0;
    for (uint64_t number : numbers)
        if (tr_sessions_applied(t.get(), number) == 1) {
            EXPECT_EQ(std::string(100, 'r'), t.reply(number, 1));
            alive++;
        }
    uint64_t units_each = 1 + (8 + 104 + unit - 1) / unit;
    EXPECT_EQ((1 << 14) / unit / TR_REPLY_MOVED_SHARE / units_each, alive);
    EXPECT_EQ(numbers.size() - alive, t.get()->evicted_count);
}

// ---- saved and restored

TEST(session_load, limits_that_are_not_kept_are_refused)
{
    EXPECT_EQ(0u, tr_sessions_memory_bytes(0, cache_bytes));
    EXPECT_EQ(0u, tr_sessions_memory_bytes(TR_SESSIONS_MAX + 1, cache_bytes));
    EXPECT_EQ(0u, tr_sessions_memory_bytes(4, 0));
    EXPECT_EQ(0u, tr_sessions_memory_bytes(4, cache_bytes / 2));
    EXPECT_EQ(0u, tr_sessions_memory_bytes(4, cache_bytes + 32));
    EXPECT_EQ(0u, tr_sessions_memory_bytes(4, TR_REPLY_BYTES_MAX * 2));
    EXPECT_NE(0u, tr_sessions_memory_bytes(1, TR_REPLY_BYTES_MIN));
    EXPECT_NE(0u, tr_sessions_memory_bytes(TR_SESSIONS_MAX, TR_REPLY_BYTES_MAX));
}

// A table with a bit of everything.
void fill(table &t)
{
    uint64_t a = t.open("a");
    uint64_t b = t.open("b");
    uint64_t c = t.open("c");
    t.apply(run_of(b, 1, 3), {"x", "yy", "zzzzzzzzz"});
    t.apply(run_of(c, 1, 2), replies(2, 0));
    for (uint64_t sequence = 1; sequence < 100; sequence++)
        t.apply(run_of(a, sequence, 1, sequence > 3 ? sequence - 3 : 0), replies(1, sequence));
    encoded e(close_run(c));
    t.admit(e.view);
    t.open("d");
}

TEST(session_load, a_restored_table_goes_on_as_the_saved_one)
{
    table first(4, cache_bytes);
    fill(first);
    std::string saved = first.save();
    table second(4, cache_bytes, 0x5a);
    second.open("something else");
    ASSERT_EQ(saved.size(), second.load(saved));
    EXPECT_EQ(saved, second.save());
    EXPECT_EQ(tr_sessions_digest(first.get()), tr_sessions_digest(second.get()));
    uint64_t b = 2 * TR_BATCH_COMMANDS_MAX + 1;
    EXPECT_EQ("zzzzzzzzz", second.reply(b, 3));
    tr_admission x = first.apply(run_of(b, 2, 5), replies(5, 77));
    tr_admission y = second.apply(run_of(b, 2, 5), replies(5, 77));
    EXPECT_EQ(x.skip, y.skip);
    EXPECT_EQ(tr_sessions_digest(first.get()), tr_sessions_digest(second.get()));
}

TEST(session_load, a_digest_tells_different_tables_apart)
{
    table t(4, cache_bytes);
    uint64_t empty = tr_sessions_digest(t.get());
    uint64_t a = t.open("a");
    uint64_t opened = tr_sessions_digest(t.get());
    t.apply(run_of(a, 1), {"x"});
    uint64_t applied = tr_sessions_digest(t.get());
    EXPECT_NE(empty, opened);
    EXPECT_NE(opened, applied);
    table other(4, cache_bytes);
    other.open("a");
    other.apply(run_of(a, 1), {"y"});
    EXPECT_NE(applied, tr_sessions_digest(other.get())) << "another reply";
}

TEST(session_load, a_put_that_fails_ends_the_saving_with_its_answer)
{
    table t(4, cache_bytes);
    fill(t);
    int calls = 0;
    auto put = [](void *context, const void *, uint64_t) {
        return ++*static_cast<int *>(context) == 3 ? -7 : 0;
    };
    EXPECT_EQ(-7, tr_sessions_save(t.get(), put, &calls));
    EXPECT_EQ(3, calls);
}

void expect_empty(const table &t)
{
    EXPECT_EQ(0u, tr_sessions_count(t.get()));
    EXPECT_EQ(table(4, cache_bytes).save(), t.save());
}

TEST(session_load, every_truncation_is_refused_and_leaves_an_empty_table)
{
    table t(4, cache_bytes);
    fill(t);
    std::string saved = t.save();
    for (size_t bytes = 0; bytes < saved.size(); bytes++) {
        ASSERT_EQ(0u, t.load(saved.substr(0, bytes))) << bytes;
        ASSERT_EQ(0u, tr_sessions_count(t.get()));
    }
    expect_empty(t);
    EXPECT_EQ(saved.size(), t.load(saved + "what follows is not ours"));
}

TEST(session_load, a_table_of_other_limits_is_refused)
{
    table t(4, cache_bytes);
    fill(t);
    table more(5, cache_bytes);
    EXPECT_EQ(0u, more.load(t.save()));
    table larger(4, 2 * cache_bytes);
    EXPECT_EQ(0u, larger.load(t.save()));
}

TEST(session_load, a_session_or_nonce_that_is_there_twice_is_refused)
{
    table t(4, cache_bytes);
    t.open("a");
    t.open("b");
    std::string saved = t.save();
    constexpr size_t first = 40;
    constexpr size_t each = 40;
    std::string numbers = saved;
    numbers.replace(first + each, 8, saved, first, 8);
    EXPECT_EQ(0u, t.load(numbers));
    std::string nonces = saved;
    nonces.replace(first + each + 24, 16, saved, first + 24, 16);
    EXPECT_EQ(0u, t.load(nonces));
    expect_empty(t);
    EXPECT_EQ(saved.size(), t.load(saved));
}

TEST(session_load, runs_of_replies_out_of_order_are_refused)
{
    table t(4, cache_bytes);
    uint64_t a = t.open("a");
    t.apply(run_of(a, 1), {"12345678"});
    t.apply(run_of(a, 2), {"12345678"});
    std::string saved = t.save();
    constexpr size_t first = 80;
    constexpr size_t each = 32 + 8 + 8;
    ASSERT_EQ(first + 2 * each, saved.size());
    std::string swapped = saved;
    swapped.replace(first, each, saved, first + each, each);
    swapped.replace(first + each, each, saved, first, each);
    EXPECT_EQ(0u, t.load(swapped));
    std::string twice = saved;
    twice.replace(first + each, each, saved, first, each);
    EXPECT_EQ(0u, t.load(twice));
    EXPECT_EQ(saved.size(), t.load(saved));
}

TEST(session_load, whatever_is_accepted_is_saved_the_same_and_can_go_on)
{
    // One to three changed bytes, or a word: mostly refused, and harmless where not.
    table t(4, cache_bytes);
    fill(t);
    std::string saved = t.save();
    tr_prng prng;
    tr_prng_seed(&prng, 11);
    int accepted = 0;
    for (int round = 0; round < 5000; round++) {
        std::string changed = saved;
        for (uint64_t i = tr_prng_below(&prng, 3); i < 3; i++)
            changed[tr_prng_below(&prng, changed.size())] ^=
                static_cast<char>(1u << tr_prng_below(&prng, 8));
        uint64_t bytes = t.load(changed);
        if (bytes == 0) {
            ASSERT_EQ(0u, tr_sessions_count(t.get()));
            continue;
        }
        accepted++;
        ASSERT_EQ(changed.substr(0, bytes), t.save());
        uint64_t x = t.open("x");
        ASSERT_NE(0u, x);
        for (uint64_t sequence = 1; sequence < 200; sequence++)
            t.apply(run_of(x, sequence, 1, sequence - 1), replies(1, 100));
    }
    EXPECT_GT(accepted, 50);
}

} // namespace
