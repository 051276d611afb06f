/* Every script of this folder, run and compared. TRIREME_TRACE_REWRITE=1 writes what came into the
 * scripts instead: read the difference before you keep it. */
#include "tests/trace/script.h"
#include "tests/trace/scripts_here.h"
#include "tests/trace/trace_world.h"

#include <cstdlib>

namespace
{

class Trace : public ::testing::TestWithParam<std::string>
{
};

TEST_P(Trace, IsAsExpected)
{
    std::string path = trace::script_path(GetParam());
    trace::Script script = trace::script_read(path);
    ASSERT_EQ("", script.error);
    trace::TraceWorld world(TR_CANARY_NONE);
    auto interpreter = [&](const std::string &line) { return world.run(line); };
    if (std::getenv("TRIREME_TRACE_REWRITE") != nullptr)
        ASSERT_TRUE(trace::script_rewrite(script, path, interpreter)) << path;
    else
        EXPECT_EQ("", trace::script_run(script, interpreter)) << path;
    EXPECT_EQ("", world.violation()) << path;
}

std::string name_of(const ::testing::TestParamInfo<std::string> &script)
{
    std::string name = script.param;
    std::replace(name.begin(), name.end(), '/', '_');
    return name;
}

INSTANTIATE_TEST_SUITE_P(Scripts, Trace, ::testing::ValuesIn(trace::scripts_here()), name_of);

TEST(Difference, MarksWhatIsMissingAndWhatIsNew)
{
    EXPECT_EQ("  a\n- b\n+ x\n  c\n", trace::difference({"a", "b", "c"}, {"a", "x", "c"}));
    EXPECT_EQ("- a\n", trace::difference({"a"}, {}));
    EXPECT_EQ("+ a\n", trace::difference({}, {"a"}));
}

TEST(Script, OfUnknownCommands_SaysSo)
{
    trace::TraceWorld world(TR_CANARY_NONE);
    EXPECT_EQ("not understood: deliver\n", world.run("deliver")) << "there is no cluster yet";
    EXPECT_EQ("not understood: cluster voters=many\n", world.run("cluster voters=many"));
    EXPECT_NE("", world.run("cluster voters=3"));
    EXPECT_EQ("not understood: campaign 4\n", world.run("campaign 4"));
    EXPECT_EQ("not understood: dance\n", world.run("dance"));
}

} // namespace
