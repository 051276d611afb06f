/* That the traces and their checks can fail: each bug on purpose (consensus/canary.h) is noticed in
 * the script of the rule that it breaks. */
#include "tests/trace/script.h"
#include "tests/trace/scripts_here.h"
#include "tests/trace/trace_world.h"

namespace
{

/* An assertion of the core, or of its invariants, that failed. */
struct Panic {
    std::string what;
};

} // namespace

/* In place of the shell's: the test goes on. */
extern "C" void tr_panic(const char *file, int line, const char *expression)
{
    throw Panic{std::string(file) + ":" + std::to_string(line) + ": " + expression};
}

namespace
{

struct Bug {
    uint32_t number;
    const char *name;
};
void PrintTo(const Bug &bug, std::ostream *out)
{
    *out << bug.name;
}

#define BUG(name, what) {TR_CANARY_##name, #name},
const Bug bugs[] = {TR_CANARY_TABLE(BUG)};
#undef BUG

std::string lower(std::string name)
{
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    return name;
}

/* What a checker (not the expectation) says of a script with a bug; "" when it notices nothing. */
std::string noticed(const std::string &name, uint32_t canary, std::string *difference)
{
    trace::TraceWorld world(canary);
    trace::Script script = trace::script_read(trace::script_path(name));
    EXPECT_EQ("", script.error);
    try {
        *difference =
            trace::script_run(script, [&](const std::string &line) { return world.run(line); });
    } catch (const Panic &panic) {
        *difference = panic.what;
        return panic.what;
    }
    return world.violation();
}

class Canary : public ::testing::TestWithParam<Bug>
{
};

TEST_P(Canary, IsNoticedByACheckerInTheScriptOfItsRule)
{
    std::string difference;
    std::string what = noticed("rules/" + lower(GetParam().name), GetParam().number, &difference);
    RecordProperty("noticed", what);
    EXPECT_NE("", what) << difference;
    EXPECT_NE("", difference) << "and the trace must differ";
}

TEST_P(Canary, IsWhatIsNoticed_ForWithoutItTheScriptIsAsExpected)
{
    std::string difference;
    EXPECT_EQ("", noticed("rules/" + lower(GetParam().name), TR_CANARY_NONE, &difference));
    EXPECT_EQ("", difference);
}

INSTANTIATE_TEST_SUITE_P(All, Canary, ::testing::ValuesIn(bugs),
                         [](const auto &bug) { return std::string(bug.param.name); });

} // namespace
