// The checker against one that tries every order: short histories whose results are often wrong.
#include "tests/lin/generator.h"
#include "tests/lin/judge.h"

#include <gtest/gtest.h>

#include <algorithm>

using lin::generator;
using lin::judgement;
using lin::object;
using lin::operation;
using lin::plan;

namespace
{

// Whether this order keeps the order of time, and each operation was answered as the object would.
bool explains(const std::string &model, const std::vector<const operation *> &order)
{
    std::map<std::string, object> objects;
    for (size_t i = 0; i < order.size(); i++) {
        for (size_t j = i + 1; j < order.size(); j++) {
            if (order[j]->end >= 0 && order[j]->end < order[i]->invoke)
                return false;
        }
        const operation &op = *order[i];
        std::string result = lin::apply(model, objects[op.key], op);
        if (result == "fail")
            return false;
        if (op.end >= 0 && op.result != "ok" && result != op.result)
            return false;
    }
    return true;
}

// Tries every order of what returned with every choice of what did not.
bool is_linearizable(const std::string &model, const std::vector<operation> &operations)
{
    std::vector<const operation *> must;
    std::vector<const operation *> may;
    for (const operation &op : operations) {
        if (op.result != "fail")
            (op.end >= 0 ? must : may).push_back(&op);
    }
    for (uint32_t choice = 0; choice < 1u << may.size(); choice++) {
        std::vector<const operation *> order = must;
        for (size_t i = 0; i < may.size(); i++) {
            if (choice & 1u << i)
                order.push_back(may[i]);
        }
        std::sort(order.begin(), order.end());
        do {
            if (explains(model, order))
                return true;
        } while (std::next_permutation(order.begin(), order.end()));
    }
    return false;
}

struct mix {
    const char *model;
    std::vector<std::string> kinds;
};

const mix mixes[] = {
    {"register", {"get", "set"}},  {"register", {"get", "set", "cas"}},
    {"kv", {"get", "set", "del"}}, {"kv", {"get", "set", "cas", "del"}},
    {"kv", {"get", "append"}},     {"kv", {"get", "set", "append"}},
    {"kv", {"get", "incr"}},       {"kv", {"get", "set", "incr", "append", "del"}},
    {"list", {"get", "append"}},   {"counter", {"get", "incr"}},
};

class every_order : public testing::TestWithParam<mix>
{
};

// Gives some operation the result that another one of its kind had, or would have had before.
void shuffle_result(std::vector<operation> &operations, tr_prng *random)
{
    operation &to = operations[tr_prng_below(random, operations.size())];
    if (to.kind == "set" || to.end < 0 || to.result == "fail")
        return;
    for (uint32_t i = 0; i < 8; i++) {
        const operation &from = operations[tr_prng_below(random, operations.size())];
        if (to.kind != from.kind || from.end < 0 || from.result == "fail" ||
            from.result == to.result)
            continue;
        to.result = from.result;
        return;
    }
    if (to.kind == "cas" || to.kind == "del")
        to.result = to.result == "true" ? "false" : "true";
}

std::ostream &operator<<(std::ostream &out, const mix &one)
{
    out << one.model;
    for (const std::string &kind : one.kinds)
        out << "_" << kind;
    return out;
}

} // namespace

TEST_P(every_order, tried_gives_the_same_verdict)
{
    uint32_t good = 0;
    uint32_t bad = 0;
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        tr_prng random;
        tr_prng_seed(&random, seed);
        plan p;
        p.model = GetParam().model;
        p.kinds = GetParam().kinds;
        p.operations = 2 + static_cast<uint32_t>(tr_prng_below(&random, 7));
        p.clients = 2 + static_cast<uint32_t>(tr_prng_below(&random, 3));
        p.values = static_cast<uint32_t>(tr_prng_below(&random, 4));
        p.lost_ppm = seed % 2 == 0 ? 250000 : 0;
        p.nothing_ppm = seed % 3 == 0 ? 200000 : 0;
        std::vector<operation> operations = generator(p, seed).run();
        for (uint32_t i = 0; i < seed % 7; i++)
            shuffle_result(operations, &random);
        std::string text = lin::text_of(p.model, operations);
        judgement j(text);
        ASSERT_TRUE(j.is_read) << j.error << text;
        bool is_good = is_linearizable(p.model, operations);
        ASSERT_EQ(is_good ? TR_LIN_LINEARIZABLE : TR_LIN_NOT_LINEARIZABLE, j.report.verdict)
            << "seed " << seed << "\n"
            << text;
        (is_good ? good : bad)++;
    }
    // Both verdicts were at stake.
    EXPECT_GT(good, 500u);
    EXPECT_GT(bad, 100u);
}

INSTANTIATE_TEST_SUITE_P(all, every_order, testing::ValuesIn(mixes),
                         testing::PrintToStringParamName());

// The generator's own bugs are canaries: an object that is not atomic does not get by.
TEST(canary, an_object_whose_reads_are_stale_is_noticed)
{
    plan p;
    p.model = "register";
    p.operations = 300;
    p.stale_ppm = 20000;
    lin::judgement j(lin::text_of(p.model, generator(p, 1).run()));
    ASSERT_TRUE(j.is_read) << j.error;
    EXPECT_EQ(TR_LIN_NOT_LINEARIZABLE, j.report.verdict);
}

TEST(canary, an_object_that_loses_updates_is_noticed)
{
    for (const char *kind : {"incr", "append"}) {
        plan p;
        p.model = "kv";
        p.kinds = {"get", kind};
        p.operations = 300;
        p.torn_ppm = 200000;
        lin::judgement j(lin::text_of(p.model, generator(p, 2).run()));
        ASSERT_TRUE(j.is_read) << j.error;
        EXPECT_EQ(TR_LIN_NOT_LINEARIZABLE, j.report.verdict) << kind;
    }
}
