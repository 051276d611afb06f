#include "perf/callgrind.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace
{

const char profile[] = "# callgrind format\n"
                       "version: 1\n"
                       "events: Ir\n"
                       "summary: 1000\n"
                       "\n"
                       "fl=(1) ./perf/driver.c\n"
                       "fn=(1) main\n"
                       "10 5\n"
                       "cfi=(2) ./consensus/replica.c\n"
                       "cfn=(2) step\n"
                       "calls=3 100\n"
                       "11 300\n"
                       "fi=(3) ./base/bytes.h\n"
                       "+2 7\n"
                       "cfi=(2)\n"
                       "cfn=(3) accept\n"
                       "calls=2 50\n"
                       "* 40\n"
                       "fe=(1)\n"
                       "\n"
                       "fl=(2)\n"
                       "fn=(2)\n"
                       "100 200\n"
                       "cfn=(3)\n"
                       "calls=9 50\n"
                       "+3 90\n"
                       "\n"
                       "fl=(1)\n"
                       "fn=(4) helper\n"
                       "20 1\n"
                       "cfi=(2)\n"
                       "cfn=(2)\n"
                       "calls=1 100\n"
                       "21 110\n";

struct Read {
    bool is_good;
    std::unique_ptr<tr_perf_calls> calls = std::make_unique<tr_perf_calls>();
    Read(std::string text, const char *file)
    {
        FILE *in = fmemopen(text.data(), text.size(), "r");
        is_good = tr_perf_callgrind_read(in, file, calls.get());
        fclose(in);
    }
    const tr_perf_call *call(const char *name)
    {
        return tr_perf_callgrind_find(calls.get(), name);
    }
};

} // namespace

TEST(Callgrind, CallsOutOfOneFileAreSummedByFunction)
{
    Read r(profile, "perf/driver.c");
    ASSERT_TRUE(r.is_good);
    ASSERT_NE(r.call("step"), nullptr);
    EXPECT_EQ(r.call("step")->instructions, 410u);
    EXPECT_EQ(r.call("step")->count, 4u);
    // Calls of code inlined from a header are the file's own; those of other files are not.
    ASSERT_NE(r.call("accept"), nullptr);
    EXPECT_EQ(r.call("accept")->instructions, 40u);
    EXPECT_EQ(r.call("accept")->count, 2u);
    EXPECT_EQ(r.call("main"), nullptr);
}

TEST(Callgrind, WithoutAFileAllCallsCount)
{
    Read r(profile, nullptr);
    ASSERT_TRUE(r.is_good);
    EXPECT_EQ(r.call("accept")->instructions, 130u);
}

TEST(Callgrind, WhatIsNoProfileIsRefused)
{
    EXPECT_FALSE(Read("hello\n", nullptr).is_good);
    EXPECT_FALSE(Read("", nullptr).is_good);
    EXPECT_FALSE(Read("events: Ir\nfn=main\n", nullptr).is_good) << "a name without its number";
    EXPECT_FALSE(Read("events: Ir\nfn=(999999) main\n", nullptr).is_good) << "beyond the table";
}

TEST(Callgrind, ALongNameKeepsItsEnd)
{
    std::string path(200, 'x');
    Read r("events: Ir\nfl=(1) " + path +
               "/perf/driver.c\nfn=(1) main\ncfn=(2) f\ncalls=1 1\n1 7\n",
           "perf/driver.c");
    ASSERT_TRUE(r.is_good);
    ASSERT_NE(r.call("f"), nullptr);
    EXPECT_EQ(r.call("f")->instructions, 7u);
}
