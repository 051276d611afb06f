#include "perf/options.h"

#include "tests/perf/stream.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace
{

struct Parsed {
    tr_perf_parsed outcome;
    tr_perf_options options;
    std::string printed;
    std::string error;
};

Parsed parse(std::vector<std::string> words)
{
    Parsed p = {};
    Stream out;
    char error[512] = "";
    std::vector<char *> argv;
    words.insert(words.begin(), "trireme-perf");
    for (std::string &word : words)
        argv.push_back(word.data());
    p.outcome = tr_perf_options_parse(static_cast<int>(argv.size()), argv.data(), &p.options,
                                      out.file(), error, sizeof(error));
    p.printed = out.text();
    p.error = error;
    return p;
}

} // namespace

TEST(Options, DefaultsAreThoseOfTheDefinitions)
{
    Parsed p = parse({"latency"});
    ASSERT_EQ(p.outcome, TR_PERF_PARSED_RUN) << p.error;
    EXPECT_EQ(p.options.command, TR_PERF_LATENCY);
    EXPECT_STREQ(p.options.driver, "shm");
    EXPECT_EQ(p.options.replicas, 3u);
    EXPECT_EQ(p.options.size_bytes, 64u);
    EXPECT_EQ(p.options.window, 1u);
    EXPECT_EQ(p.options.batch, 1u);
    EXPECT_EQ(p.options.pairs, 15u);
    EXPECT_EQ(p.options.mode, static_cast<uint64_t>(TR_PERF_CLOSED));
    EXPECT_GE(p.options.core_count, 1u);
    EXPECT_EQ(parse({"throughput"}).options.window, 1024u);
    EXPECT_EQ(parse({"sweep"}).options.window, 1024u);
    EXPECT_EQ(parse({"floor"}).options.window, 1u);
}

TEST(Options, ValuesFollowTheirOptionOrAnEqualsSign)
{
    Parsed p = parse({"throughput", "--driver", "udp", "--batch=32", "--seconds", "1.5", "--cores",
                      "3,5,7", "--idle=pause", "--one-sided", "off", "--processes", "--json=a b"});
    ASSERT_EQ(p.outcome, TR_PERF_PARSED_RUN) << p.error;
    EXPECT_STREQ(p.options.driver, "udp");
    EXPECT_EQ(p.options.batch, 32u);
    EXPECT_DOUBLE_EQ(p.options.seconds, 1.5);
    ASSERT_EQ(p.options.core_count, 3u);
    EXPECT_EQ(p.options.cores[2], 7);
    EXPECT_EQ(p.options.idle, static_cast<uint64_t>(TR_IDLE_PAUSE));
    EXPECT_EQ(p.options.one_sided, static_cast<uint64_t>(TR_PERF_ONE_SIDED_OFF));
    EXPECT_EQ(p.options.processes, 1u);
    EXPECT_STREQ(p.options.json, "a b");
}

TEST(Options, AnOpenLoopNeedsARateAndHasAWindow)
{
    EXPECT_NE(parse({"latency", "--mode", "open"}).error.find("--rate"), std::string::npos);
    EXPECT_NE(parse({"latency", "--rate", "5"}).error.find("--mode open"), std::string::npos);
    Parsed p = parse({"latency", "--mode", "open", "--rate", "1e5"});
    ASSERT_EQ(p.outcome, TR_PERF_PARSED_RUN) << p.error;
    EXPECT_DOUBLE_EQ(p.options.rate, 1e5);
    EXPECT_EQ(p.options.window, 1024u);
}

TEST(Options, WrongValuesAreRefusedWithWhatTheyMayBe)
{
    struct {
        std::vector<std::string> words;
        const char *said;
    } const cases[] = {
        {{"latency", "--window", "3"}, "power of two"},
        {{"latency", "--window", "0"}, "from 1 to 65536"},
        {{"latency", "--replicas", "10"}, "from 1 to 9"},
        {{"latency", "--replicas", "2.5"}, "whole number"},
        {{"latency", "--size", "12x"}, "whole number"},
        {{"latency", "--size", "nan"}, "whole number"},
        {{"latency", "--seconds", ""}, "number from"},
        {{"latency", "--idle", "sleepy"}, "auto spin pause yield sleep"},
        {{"latency", "--cores", "0,,1"}, "CPU numbers"},
        {{"latency", "--cores", "0,1,2,3,4,5,6,7,8,9"}, "CPU numbers"},
        {{"latency", "--processes=1"}, "no value"},
        {{"latency", "--json"}, "needs a value"},
        {{"latency", "--variants"}, "no such option of latency"},
        {{"latency", "extra"}, "no such option"},
        {{"latency", "--driver", std::string(300, 'x')}, "at most 255"},
        {{"latency", "--node", "1"}, "both --node and --peers"},
        {{"latency", "--peers", "nobody"}, "ID=ADDRESS"},
        {{"latency", "--veth", "xdp"}, "of the driver dpdk"},
        {{"latency", "--veth", "tap"}, "off packet xdp"},
        {{"latency", "--veth", "xdp", "--driver", "dpdk", "--driver-options", "mtu=1500,device=x"},
         "instead of a device"},
        {{"node", "--veth", "xdp"}, "no such option of node"},
        {{"latency", "--client", "remote", "--driver", "verbs"}, "none over verbs"},
        {{"node"}, "both --node and --peers"},
        {{"latency", "--client", "far"}, "local remote"},
        {{"latency", "--client", "remote", "--node", "1", "--peers", "1=a:1"}, "one machine"},
        {{"sweep", "--client", "remote"}, "no such option of sweep"},
        {{"speed"}, "no such command"},
        {{}, "a command is missing"},
    };
    for (const auto &c : cases) {
        Parsed p = parse(c.words);
        EXPECT_EQ(p.outcome, TR_PERF_PARSED_ERROR) << c.said;
        EXPECT_NE(p.error.find(c.said), std::string::npos) << p.error;
    }
}

TEST(Options, PeersWithoutANodeAreTheReplicasOfThisMachine)
{
    Parsed p = parse({"latency", "--driver", "verbs", "--peers", "7=a:1,2=b:1,5=c:1,9=d:1,1=e:1"});
    ASSERT_EQ(p.outcome, TR_PERF_PARSED_RUN) << p.error;
    EXPECT_EQ(p.options.replicas, 5u);
    EXPECT_EQ(p.options.node, 0u);
}

TEST(Options, HelpListsTheOptionsOfItsCommandOnly)
{
    Parsed all = parse({"--help"});
    EXPECT_EQ(all.outcome, TR_PERF_PARSED_HELP);
    for (uint32_t i = 0; i < TR_PERF_COMMANDS; i++)
        EXPECT_NE(all.printed.find(tr_perf_command_name(static_cast<tr_perf_command>(i))),
                  std::string::npos);
    Parsed floor = parse({"floor", "--driver", "udp", "--help"});
    EXPECT_EQ(floor.outcome, TR_PERF_PARSED_HELP);
    EXPECT_NE(floor.printed.find("--variants"), std::string::npos);
    EXPECT_EQ(floor.printed.find("--points"), std::string::npos);
    EXPECT_EQ(parse({"--version"}).outcome, TR_PERF_PARSED_HELP);
}
