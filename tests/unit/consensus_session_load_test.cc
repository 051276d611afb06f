// Saved session tables that somebody made up: each field that cannot be is refused, and leaves the
// table empty.
#include "tests/unit/session_table.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace
{

namespace rb = record_builder;
using session_table::table;

constexpr uint64_t cache_bytes = 4096;
constexpr uint32_t sessions_max = 8;
constexpr uint64_t units = cache_bytes / TR_REPLY_UNIT;

rb::run run_of(uint64_t session, uint64_t sequence)
{
    return rb::commands(session, sequence, 1, 8);
}

// Where what lies in a saved table; see consensus/session_save.c.
constexpr size_t session_at = 40;
constexpr size_t replies_at = 80;

template <typename T> void set(std::string &saved, size_t at, T value)
{
    saved.replace(at, sizeof(value), reinterpret_cast<const char *>(&value), sizeof(value));
}

template <typename T> T get(const std::string &saved, size_t at)
{
    T value;
    memcpy(&value, saved.data() + at, sizeof(value));
    return value;
}

// A table with one session, which has one reply of 8 bytes.
std::string one_reply()
{
    table t(sessions_max, cache_bytes);
    uint64_t a = t.open("a");
    t.apply(run_of(a, 1), {"12345678"});
    return t.save();
}

bool is_refused(const std::function<void(std::string &)> &change,
                const std::string &good = one_reply())
{
    std::string saved = good;
    change(saved);
    table t(sessions_max, cache_bytes);
    bool refused = t.load(saved) == 0;
    EXPECT_TRUE(!refused || tr_sessions_count(t.get()) == 0);
    return refused;
}

template <typename T> bool is_refused(size_t at, T value)
{
    return is_refused([&](std::string &saved) { set(saved, at, value); });
}

TEST(session_made_up, a_table_that_cannot_be_is_refused)
{
    EXPECT_FALSE(is_refused([](std::string &) {}));
    EXPECT_TRUE(is_refused<uint64_t>(0, 1)) << "magic";
    EXPECT_TRUE(is_refused<uint64_t>(8, cache_bytes / 2)) << "bytes of replies";
    EXPECT_TRUE(is_refused<uint64_t>(16, units - 1)) << "a head before the first lap";
    EXPECT_TRUE(is_refused<uint64_t>(16, UINT64_MAX)) << "a head past all";
    EXPECT_TRUE(is_refused<uint64_t>(24, units + 1)) << "more replies than units";
    EXPECT_TRUE(is_refused<uint32_t>(32, 5)) << "another number of sessions";
    EXPECT_TRUE(is_refused<uint32_t>(36, 9)) << "more sessions than there can be";
}

TEST(session_made_up, a_session_that_cannot_be_is_refused)
{
    EXPECT_TRUE(is_refused<uint64_t>(session_at, 0)) << "number";
    EXPECT_TRUE(is_refused<uint64_t>(session_at + 8, UINT64_MAX)) << "applied past all";
    EXPECT_TRUE(is_refused<uint64_t>(session_at + 16, 2)) << "acknowledged what was not applied";
    EXPECT_TRUE(is_refused([](std::string &s) { s.resize(session_at + 39); })) << "cut short";
}

TEST(session_made_up, replies_that_cannot_be_are_refused)
{
    uint64_t head = get<uint64_t>(one_reply(), 16);
    EXPECT_TRUE(is_refused<uint64_t>(replies_at, 0)) << "before the tail";
    EXPECT_TRUE(is_refused<uint64_t>(replies_at, head)) << "at the head";
    EXPECT_TRUE(is_refused<uint64_t>(replies_at, head - 1)) << "across the head";
    EXPECT_TRUE(is_refused<uint64_t>(replies_at + 8, 0)) << "of no session";
    EXPECT_TRUE(is_refused<uint64_t>(replies_at + 8, 12345)) << "of an unknown session";
    EXPECT_TRUE(is_refused<uint64_t>(replies_at + 16, 0)) << "sequences begin at 1";
    EXPECT_TRUE(is_refused<uint64_t>(replies_at + 16, 2)) << "was not applied";
    EXPECT_TRUE(is_refused<uint32_t>(replies_at + 24, units)) << "more than a run may keep";
    EXPECT_TRUE(is_refused<uint32_t>(replies_at + 24, 1)) << "shorter than it is";
    EXPECT_TRUE(is_refused<uint16_t>(replies_at + 28, 0)) << "of no command";
    EXPECT_TRUE(is_refused<uint16_t>(replies_at + 28, 2)) << "of more commands than were applied";
    EXPECT_TRUE(is_refused<uint16_t>(replies_at + 28, 257)) << "of more than a batch";
    EXPECT_TRUE(is_refused<uint8_t>(replies_at + 30, 2)) << "lengths: yes or no";
    EXPECT_TRUE(is_refused<uint8_t>(replies_at + 31, 2)) << "moved: yes or no";
    EXPECT_TRUE(is_refused<uint64_t>(session_at + 16, 1)) << "acknowledged, and not moved";
}

TEST(session_made_up, replies_across_the_end_of_the_ring_are_refused)
{
    auto at = [](uint64_t position) {
        return [position](std::string &saved) {
            set<uint64_t>(saved, 16, 2 * units + 8);
            set<uint64_t>(saved, replies_at, position);
        };
    };
    ASSERT_EQ(2u, get<uint32_t>(one_reply(), replies_at + 24));
    EXPECT_FALSE(is_refused(at(2 * units - 2)));
    EXPECT_TRUE(is_refused(at(2 * units - 1)));
}

TEST(session_made_up, a_run_without_replies_is_saved_without_lengths)
{
    table t(sessions_max, cache_bytes);
    uint64_t a = t.open("a");
    session_table::encoded e(run_of(a, 1));
    ASSERT_EQ(TR_VERDICT_APPLY, t.admit(e.view).verdict);
    tr_sessions_complete(t.get(), &e.view, 0, nullptr, nullptr, 0);
    std::string saved = t.save();
    ASSERT_EQ(replies_at + 32, saved.size());
    table other(sessions_max, cache_bytes);
    ASSERT_EQ(saved.size(), other.load(saved));
    EXPECT_EQ("", other.reply(a, 1));
    EXPECT_EQ(saved, other.save());
}

// Sessions that each have so many replies, all of them moved.
std::string moved(uint32_t sessions, uint32_t each)
{
    table t(sessions_max, cache_bytes);
    for (uint32_t i = 0; i < sessions; i++) {
        uint64_t a = t.open(std::to_string(i));
        for (uint32_t sequence = 1; sequence <= each; sequence++)
            t.apply(run_of(a, sequence), {"12345678"});
    }
    std::string saved = t.save();
    for (size_t at = session_at * (1 + sessions); at < saved.size(); at += 32 + 16)
        set<uint8_t>(saved, at + 31, 1);
    return saved;
}

TEST(session_made_up, more_that_has_moved_than_a_session_or_all_may_have_is_refused)
{
    auto as_it_is = [](std::string &) {};
    constexpr uint32_t share = units / TR_REPLY_SESSION_SHARE / 2;
    EXPECT_FALSE(is_refused(as_it_is, moved(1, share)));
    EXPECT_TRUE(is_refused(as_it_is, moved(1, share + 1)));
    EXPECT_FALSE(is_refused(as_it_is, moved(4, share))) << "together a quarter";
    EXPECT_TRUE(is_refused(as_it_is, moved(5, share)));
}

} // namespace
