// Histories of an atomic object are accepted, long ones too; with one read changed they are
// refused.
#include "tests/lin/generator.h"
#include "tests/lin/judge.h"

#include <gtest/gtest.h>

#include <functional>

using lin::generator;
using lin::judgement;
using lin::operation;
using lin::plan;
using lin::text_of;

namespace
{

plan make(const char *model, std::vector<std::string> kinds, uint32_t operations, uint32_t clients)
{
    plan p;
    p.model = model;
    p.kinds = kinds;
    p.operations = operations;
    p.clients = clients;
    return p;
}

plan with(plan p, const std::function<void(plan &)> &change)
{
    change(p);
    return p;
}

struct named_plan {
    const char *name;
    plan p;
    bool is_past_over; // each value is written once, or values only grow
};

std::ostream &operator<<(std::ostream &out, const named_plan &one)
{
    return out << one.name;
}

bool is_read(const operation &op)
{
    return op.kind == "get" && op.end >= 0 && op.result != "ok";
}

// Gives a read that ended, about the middle, a result that nothing brought about.
bool show_what_never_was(const std::string &model, std::vector<operation> &operations)
{
    for (size_t i = operations.size() / 2; i < operations.size(); i++) {
        operation &op = operations[i];
        if (!is_read(op))
            continue;
        if (model == "list")
            op.result = op.result.substr(0, op.result.size() - 1) + " never]";
        else
            op.result = model == "counter" ? "1000000000" : "never";
        return true;
    }
    return false;
}

// Gives a read, about the middle, the result that an earlier one had, though something else was
// written in the time between. Where each value is written once, or values only grow, that cannot
// be.
bool show_what_is_past(std::vector<operation> &operations)
{
    for (size_t late = operations.size() / 2; late < operations.size(); late++) {
        if (!is_read(operations[late]))
            continue;
        const operation *change = nullptr;
        for (size_t i = late; i-- > 0;) {
            const operation &op = operations[i];
            if (op.key != operations[late].key || op.end < 0 || op.result == "fail")
                continue;
            bool is_change = op.kind == "set" || op.kind == "append" || op.kind == "incr";
            if (is_change && change == nullptr && op.end < operations[late].invoke)
                change = &op;
            if (is_read(op) && change != nullptr && op.end < change->invoke) {
                operations[late].result = op.result;
                return true;
            }
        }
    }
    return false;
}

const uint32_t SHORT = 200;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
const uint32_t LONG = 20000;
#else
const uint32_t LONG = 100000;
#endif

// Every model and mix, `operations` long.
std::vector<named_plan> plans(uint32_t operations)
{
    uint32_t growing =
        operations < 4000 ? operations : 4000; // a read shows all: the text is quadratic
    auto lost = [](uint32_t ppm) { return [ppm](plan &p) { p.lost_ppm = ppm; }; };
    return {
        {"register", make("register", {"get", "set"}, operations, 5), true},
        {"register_cas", make("register", {"get", "set", "cas"}, operations, 5), true},
        {"register_few_values",
         with(make("register", {"get", "set", "cas"}, operations, 5),
              [](plan &p) { p.values = 4; }),
         false},
        {"register_lost", with(make("register", {"get", "set"}, operations, 5), lost(2000)), true},
        {"register_wide", make("register", {"get", "set"}, operations, 20), true},
        {"register_blind", make("register", {"get", "set", "set", "set"}, operations, 20), true},
        {"kv_all",
         with(make("kv", {"get", "set", "incr", "append", "del"}, growing, 5),
              [](plan &p) { p.keys = 10; }),
         false},
        {"kv_all_lost",
         with(make("kv", {"get", "set", "incr", "append", "del"}, growing, 8),
              [](plan &p) { p.keys = 10, p.lost_ppm = 20000; }),
         false},
        {"kv_keys",
         with(make("kv", {"get", "set", "cas", "del"}, operations, 10),
              [](plan &p) { p.keys = 50, p.lost_ppm = 5000; }),
         false},
        {"kv_incr", with(make("kv", {"get", "incr"}, operations, 10), lost(1000)), true},
        {"kv_append",
         with(make("kv", {"get", "append", "append", "append"}, growing, 10), lost(5000)), true},
        {"list", with(make("list", {"get", "append"}, growing, 10), lost(5000)), true},
        {"counter", with(make("counter", {"get", "incr"}, operations, 10), lost(100)), true},
        {"counter_blind",
         with(make("counter", {"get", "incr"}, operations, 5),
              [](plan &p) { p.nothing_ppm = 500000; }),
         true},
    };
}

// Those in which a read cannot show what is past.
std::vector<named_plan> passing_plans(uint32_t operations)
{
    std::vector<named_plan> some;
    for (const named_plan &one : plans(operations)) {
        if (one.is_past_over)
            some.push_back(one);
    }
    return some;
}

class long_history : public testing::TestWithParam<named_plan>
{
};

class short_history : public testing::TestWithParam<named_plan>
{
};

class long_passing_history : public testing::TestWithParam<named_plan>
{
};

class short_passing_history : public testing::TestWithParam<named_plan>
{
};

} // namespace

TEST_P(short_history, of_an_atomic_object_is_linearizable)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        std::string text = text_of(GetParam().p.model, generator(GetParam().p, seed).run());
        judgement j(text);
        ASSERT_TRUE(j.is_read) << j.error;
        ASSERT_EQ(TR_LIN_LINEARIZABLE, j.report.verdict) << "seed " << seed << "\n" << text;
    }
}

TEST_P(long_history, of_an_atomic_object_is_linearizable)
{
    judgement j(text_of(GetParam().p.model, generator(GetParam().p, 1).run()));
    ASSERT_TRUE(j.is_read) << j.error;
    EXPECT_EQ(TR_LIN_LINEARIZABLE, j.report.verdict);
    EXPECT_GT(j.history.count, GetParam().p.operations / 10 * 9); // but what failed
    std::cout << j.report.step_count << " steps\n";
}

TEST_P(short_history, is_not_linearizable_once_a_read_shows_what_never_was)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        std::vector<operation> operations = generator(GetParam().p, seed).run();
        ASSERT_TRUE(show_what_never_was(GetParam().p.model, operations));
        std::string text = text_of(GetParam().p.model, operations);
        judgement j(text);
        ASSERT_TRUE(j.is_read) << j.error;
        ASSERT_EQ(TR_LIN_NOT_LINEARIZABLE, j.report.verdict) << "seed " << seed << "\n" << text;
    }
}

TEST_P(short_passing_history, is_not_linearizable_once_a_read_shows_what_is_past)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        std::vector<operation> operations = generator(GetParam().p, seed).run();
        ASSERT_TRUE(show_what_is_past(operations));
        std::string text = text_of(GetParam().p.model, operations);
        judgement j(text);
        ASSERT_TRUE(j.is_read) << j.error;
        ASSERT_EQ(TR_LIN_NOT_LINEARIZABLE, j.report.verdict) << "seed " << seed << "\n" << text;
    }
}

TEST_P(long_history, is_not_linearizable_once_a_read_shows_what_never_was)
{
    std::vector<operation> operations = generator(GetParam().p, 1).run();
    ASSERT_TRUE(show_what_never_was(GetParam().p.model, operations));
    judgement j(text_of(GetParam().p.model, operations));
    ASSERT_TRUE(j.is_read) << j.error;
    EXPECT_EQ(TR_LIN_NOT_LINEARIZABLE, j.report.verdict);
    std::cout << j.report.step_count << " steps\n";
}

TEST_P(long_passing_history, is_not_linearizable_once_a_read_shows_what_is_past)
{
    std::vector<operation> operations = generator(GetParam().p, 1).run();
    ASSERT_TRUE(show_what_is_past(operations));
    judgement j(text_of(GetParam().p.model, operations));
    ASSERT_TRUE(j.is_read) << j.error;
    EXPECT_EQ(TR_LIN_NOT_LINEARIZABLE, j.report.verdict);
    std::cout << j.report.step_count << " steps\n";
}

INSTANTIATE_TEST_SUITE_P(all, short_history, testing::ValuesIn(plans(SHORT)),
                         testing::PrintToStringParamName());
INSTANTIATE_TEST_SUITE_P(all, long_history, testing::ValuesIn(plans(LONG)),
                         testing::PrintToStringParamName());
INSTANTIATE_TEST_SUITE_P(all, short_passing_history, testing::ValuesIn(passing_plans(SHORT)),
                         testing::PrintToStringParamName());
INSTANTIATE_TEST_SUITE_P(all, long_passing_history, testing::ValuesIn(passing_plans(LONG)),
                         testing::PrintToStringParamName());
