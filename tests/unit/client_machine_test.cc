/* The client's machine: time, loss and moves, with nothing real. */
#include "tests/unit/client_world.h"

#include <gtest/gtest.h>

namespace
{

using namespace client_world;

/* Ticks until the condition holds; at most so many. */
template <typename Condition> bool ticks_until(World &w, Condition condition, int most = 20000)
{
    for (int i = 0; i < most; i++) {
        if (condition())
            return true;
        w.tick();
    }
    return false;
}

bool attach(World &w)
{
    return ticks_until(w, [&] { return w.machine->phase == TR_CLIENT_ATTACHED; });
}

TEST(client_machine, attaches_and_is_told_its_number)
{
    World w(1, {});
    ASSERT_TRUE(attach(w));
    EXPECT_EQ(w.machine->number, 4711u);
    EXPECT_EQ(w.machine->window, 16u);
}

TEST(client_machine, goes_to_the_leader_that_a_challenge_names)
{
    World w(1, {});
    w.elect(2);
    ASSERT_TRUE(attach(w));
    EXPECT_EQ(w.machine->target, 2u);
    EXPECT_EQ(w.machine->leader, 3u);
}

TEST(client_machine, goes_to_a_leader_that_is_elected_later)
{
    World w(1, {});
    ASSERT_TRUE(attach(w));
    w.elect(1);
    ASSERT_EQ(w.submit(1), TR_OK);
    EXPECT_TRUE(ticks_until(
        w, [&] { return w.machine->target == 1 && w.machine->phase == TR_CLIENT_ATTACHED; }));
}

TEST(client_machine, follows_no_older_round)
{
    World w(1, {});
    w.elect(0);
    ASSERT_TRUE(attach(w));
    auto *s = static_cast<tr_wire_state *>(w.begin(0, TR_WIRE_STATE));
    s->next = s->read_next = 1;
    auto *header =
        reinterpret_cast<tr_wire_header *>(reinterpret_cast<uint8_t *>(s) - sizeof(tr_wire_header));
    header->leader = 3;
    header->round = 1;
    w.inject_begun(0, 0);
    EXPECT_EQ(w.machine->target, 0u);
    EXPECT_EQ(w.machine->phase, TR_CLIENT_ATTACHED);
}

TEST(client_machine, leaves_a_node_that_is_silent_while_something_is_awaited)
{
    World w(1, {});
    ASSERT_TRUE(attach(w));
    w.reachable[0] = false;
    ASSERT_EQ(w.submit(1), TR_OK);
    uint64_t begin = w.now;
    ASSERT_TRUE(ticks_until(w, [&] { return w.machine->target != 0; }));
    EXPECT_GE(w.now - begin, w.config.silent_ns);
    EXPECT_LT(w.now - begin, 2 * w.config.silent_ns);
    EXPECT_TRUE(ticks_until(w, [&] { return w.machine->command.replied == 1; }));
    EXPECT_EQ(w.table.applied.size(), 1u);
}

TEST(client_machine, does_not_return_to_a_dead_leader_that_others_still_name)
{
    World w(1, {});
    ASSERT_TRUE(attach(w));
    w.reachable[0] = false; /* and the others go on naming it */
    ASSERT_EQ(w.submit(1), TR_OK);
    ASSERT_TRUE(ticks_until(w, [&] { return w.machine->command.replied == 1; }));
    EXPECT_NE(w.machine->target, 0u);
    EXPECT_LE(w.machine->count.moved, 2u);
}

TEST(client_machine, leaves_at_once_a_node_whose_process_is_gone)
{
    World w(1, {});
    ASSERT_TRUE(attach(w));
    tr_client_machine_down(w.machine, 0, w.now);
    EXPECT_NE(w.machine->target, 0u);
    EXPECT_EQ(w.machine->phase, TR_CLIENT_SEEK);
}

TEST(client_machine, an_idle_client_shows_that_it_lives)
{
    World w(1, {});
    ASSERT_TRUE(attach(w));
    uint64_t due = tr_client_machine_deadline_ns(w.machine);
    EXPECT_LE(due, w.now + w.config.keepalive_ns);
    tr_client_machine_tick(w.machine, due);
    tr_client_out out;
    ASSERT_TRUE(tr_client_machine_next(w.machine, &out));
    EXPECT_EQ(static_cast<const tr_wire_header *>(out.data)->type, TR_WIRE_PING);
}

TEST(client_machine, attaches_anew_when_the_node_has_forgotten_it)
{
    World w(1, {});
    ASSERT_TRUE(attach(w));
    w.forget(0);
    ASSERT_EQ(w.submit(1), TR_OK);
    EXPECT_TRUE(ticks_until(
        w, [&] { return w.machine->command.replied == 1; }, 200));
    EXPECT_EQ(w.machine->count.attached, 2u);
    EXPECT_EQ(w.table.applied.size(), 1u);
}

TEST(client_machine, a_message_stays_until_it_was_taken)
{
    World w(1, {});
    tr_client_out first, again;
    ASSERT_TRUE(tr_client_machine_next(w.machine, &first));
    ASSERT_TRUE(tr_client_machine_next(w.machine, &again));
    EXPECT_EQ(first.data, again.data);
    EXPECT_EQ(first.bytes, again.bytes);
    tr_client_machine_sent(w.machine);
    EXPECT_FALSE(tr_client_machine_next(w.machine, &again)) << "the next HELLO is not due yet";
}

TEST(client_machine, the_window_is_back_pressure)
{
    World w(1, {});
    for (uint32_t i = 0; i < w.config.window; i++)
        ASSERT_EQ(w.submit(i), TR_OK);
    EXPECT_EQ(w.submit(99), TR_AGAIN);
    EXPECT_EQ(tr_client_machine_pending(w.machine), w.config.window);
    ASSERT_TRUE(ticks_until(w, [&] { return w.machine->command.completed == w.config.window; }));
    EXPECT_EQ(w.submit(99), TR_AGAIN) << "completions are not taken yet";
    ASSERT_NE(tr_client_machine_take(w.machine), nullptr);
    EXPECT_EQ(w.submit(99), TR_OK);
}

TEST(client_machine, commands_share_messages)
{
    World w(1, {});
    for (uint64_t i = 0; i < 10; i++)
        ASSERT_EQ(w.submit(i), TR_OK);
    ASSERT_TRUE(ticks_until(w, [&] { return w.machine->command.sent == 10; }));
    EXPECT_GE(w.largest_message, sizeof(tr_wire_header) + sizeof(tr_wire_submit) + 80);
}

TEST(client_machine, what_is_too_long_is_refused)
{
    World w(1, {});
    uint8_t bytes[65] = {0};
    EXPECT_EQ(tr_client_machine_submit(w.machine, bytes, 64, nullptr, w.now), TR_OK);
    EXPECT_EQ(tr_client_machine_submit(w.machine, bytes, 65, nullptr, w.now), TR_ETOOBIG);
    EXPECT_EQ(tr_client_machine_ask(w.machine, bytes, 65, nullptr, 0, w.now), TR_ETOOBIG);
}

TEST(client_machine, a_deadline_completes_in_order_and_the_late_reply_is_dropped)
{
    World w(1, {}, 0, 1000000);
    for (bool &reachable : w.reachable)
        reachable = false;
    ASSERT_EQ(w.submit(1), TR_OK);
    ASSERT_EQ(w.submit(2), TR_OK);
    ASSERT_EQ(w.ask(), TR_OK);
    ASSERT_TRUE(ticks_until(w, [&] { return w.machine->read.completed == 1; }));
    const tr_client_done *d = tr_client_machine_take(w.machine);
    ASSERT_NE(d, nullptr);
    EXPECT_EQ(d->sequence, 1u);
    EXPECT_EQ(d->status, TR_EUNKNOWN);
    ASSERT_NE(d = tr_client_machine_take(w.machine), nullptr);
    EXPECT_EQ(d->sequence, 2u);
    ASSERT_NE(d = tr_client_machine_take(w.machine), nullptr);
    EXPECT_EQ(d->sequence, 0u);
    EXPECT_EQ(d->status, TR_ETIMEOUT);
    for (bool &reachable : w.reachable)
        reachable = true;
    ASSERT_TRUE(ticks_until(w, [&] { return w.machine->command.replied == 2; }));
    EXPECT_EQ(tr_client_machine_take(w.machine), nullptr);
    EXPECT_EQ(w.table.applied.size(), 2u) << "they were applied, later";
    EXPECT_EQ(w.machine->count.expired, 3u);
}

TEST(client_machine, another_number_for_its_session_means_that_it_was_evicted)
{
    World w(1, {});
    ASSERT_TRUE(attach(w));
    ASSERT_EQ(w.submit(1), TR_OK);
    w.table.number = 4712;
    w.forget(0);
    ASSERT_TRUE(ticks_until(w, [&] { return w.machine->phase == TR_CLIENT_LOST; }));
    const tr_client_done *d = tr_client_machine_take(w.machine);
    ASSERT_NE(d, nullptr);
    EXPECT_EQ(d->status, TR_ESESSION);
    EXPECT_EQ(w.submit(2), TR_ESESSION);
    EXPECT_EQ(tr_client_machine_deadline_ns(w.machine), TR_CLIENT_NEVER);
}

TEST(client_machine, messages_of_another_attachment_are_stale)
{
    World w(1, {});
    ASSERT_TRUE(attach(w));
    ASSERT_EQ(w.submit(1), TR_OK);
    auto *r = static_cast<tr_wire_refused *>(w.begin(0, TR_WIRE_REFUSED));
    reinterpret_cast<tr_wire_header *>(reinterpret_cast<uint8_t *>(r) - sizeof(tr_wire_header))
        ->token ^= 1;
    r->reason = TR_ESESSION;
    uint64_t stale = w.machine->count.dropped_stale;
    w.inject_begun(0, 0);
    EXPECT_EQ(w.machine->phase, TR_CLIENT_ATTACHED);
    EXPECT_EQ(w.machine->count.dropped_stale, stale + 1);
}

TEST(client_machine, a_reply_to_what_was_never_sent_is_dropped)
{
    World w(1, {});
    ASSERT_TRUE(attach(w));
    auto *r = static_cast<tr_wire_reply *>(w.begin(0, TR_WIRE_REPLY));
    r->first = r->count = 1;
    tr_wire_done done = {0, 0, 1};
    memcpy(r + 1, &done, sizeof(done));
    w.inject_begun(0, sizeof(done));
    EXPECT_EQ(w.machine->command.replied, 0u);
    EXPECT_EQ(tr_client_machine_take(w.machine), nullptr);
}

TEST(client_machine, closing_says_good_bye_once)
{
    World w(1, {});
    ASSERT_TRUE(attach(w));
    tr_client_machine_close(w.machine);
    tr_client_out out;
    ASSERT_TRUE(tr_client_machine_next(w.machine, &out));
    EXPECT_EQ(static_cast<const tr_wire_header *>(out.data)->type, TR_WIRE_BYE);
    tr_client_machine_sent(w.machine);
    EXPECT_FALSE(tr_client_machine_next(w.machine, &out));
    EXPECT_EQ(w.submit(1), TR_ECLOSED);
}

TEST(client_machine, refuses_configurations_that_cannot_work)
{
    const char *why;
    World w(1, {});
    struct tr_client_config c = w.config;
    EXPECT_NE(tr_client_machine_bytes(&c, &why), 0u);
    c.node_count = 0;
    EXPECT_EQ(tr_client_machine_bytes(&c, &why), 0u);
    c = w.config;
    c.window = 3;
    EXPECT_EQ(tr_client_machine_bytes(&c, &why), 0u);
    c = w.config;
    c.queue_bytes = 64;
    EXPECT_EQ(tr_client_machine_bytes(&c, &why), 0u);
    c = w.config;
    c.message_bytes_max = 100;
    EXPECT_EQ(tr_client_machine_bytes(&c, &why), 0u);
    EXPECT_NE(why, nullptr);
}

/* Loss, duplicates, delays, nodes that forget and leaders that change: each command is applied
 * once and in order, each completion is its own, reads are not stale. */
TEST(client_machine, property_exactly_once_whatever_happens)
{
    Faults faults;
    faults.drop = 50000;
    faults.duplicate = 100000;
    faults.delay = 200000;
    faults.forget = 2000;
    faults.move = 2000;
    for (uint64_t seed = 1000; seed < 1300; seed++) {
        World w(seed, faults);
        std::string wrong = stream(w, 300, 400000);
        ASSERT_EQ(wrong, "") << "seed " << seed;
    }
}

} // namespace
