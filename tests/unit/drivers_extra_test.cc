#include "drivers/extra.h"
#include "trireme/error.h"

#include <gtest/gtest.h>

#include <string>

namespace
{

struct settings {
    uint64_t count, bytes;
    tr_extra_span delay;
    uint32_t drop;
    bool flag;
    char word[TR_EXTRA_WORD_BYTES];
    tr_extra_nodes nodes;
    char below[TR_EXTRA_BELOW_BYTES];
};

const tr_extra_key keys[] = {
    {"count", TR_EXTRA_COUNT, offsetof(settings, count), 1, 10, "a count"},
    {"bytes", TR_EXTRA_BYTES, offsetof(settings, bytes), 0, UINT64_MAX, "a size"},
    {"delay", TR_EXTRA_TIME, offsetof(settings, delay), 0, 1000000000, "a delay"},
    {"drop", TR_EXTRA_PPM, offsetof(settings, drop), 0, 0, "a rate"},
    {"flag", TR_EXTRA_FLAG, offsetof(settings, flag), 0, 0, "a flag"},
    {"word", TR_EXTRA_WORD, offsetof(settings, word), 0, 0, "a word"},
    {"block", TR_EXTRA_NODES, offsetof(settings, nodes), 0, 0, "nodes"},
    {"below.", TR_EXTRA_WORD, offsetof(settings, below), 0, 0, "for the driver below"},
};

const tr_extra_table table = {"test", keys, 8};

class extra : public testing::Test
{
  protected:
    int parse(const char *text)
    {
        error_[0] = '\0';
        return tr_extra_parse(&table, text, &s, error_, sizeof(error_));
    }

    std::string error() const
    {
        return error_;
    }

    settings s{};

  private:
    char error_[512];
};

TEST_F(extra, nothing_changes_nothing)
{
    s.count = 7;
    EXPECT_EQ(parse(nullptr), TR_OK);
    EXPECT_EQ(parse(""), TR_OK);
    EXPECT_EQ(s.count, 7u);
}

TEST_F(extra, every_kind_is_read)
{
    ASSERT_EQ(parse("count=3,bytes=4M,delay=10us-2ms,drop=1000ppm,flag=on,word=udp,block=2+3,"
                    "below.rcvbuf=1M,below.gso=off"),
              TR_OK)
        << error();
    EXPECT_EQ(s.count, 3u);
    EXPECT_EQ(s.bytes, 4u << 20);
    EXPECT_EQ(s.delay.low_ns, 10000u);
    EXPECT_EQ(s.delay.high_ns, 2000000u);
    EXPECT_EQ(s.drop, 1000u);
    EXPECT_TRUE(s.flag);
    EXPECT_STREQ(s.word, "udp");
    ASSERT_EQ(s.nodes.count, 2u);
    EXPECT_EQ(s.nodes.node[0], 2);
    EXPECT_EQ(s.nodes.node[1], 3);
    EXPECT_STREQ(s.below, "rcvbuf=1M,gso=off");
}

TEST_F(extra, rates_are_written_in_ppm_or_percent)
{
    ASSERT_EQ(parse("drop=0.1%"), TR_OK);
    EXPECT_EQ(s.drop, 1000u);
    ASSERT_EQ(parse("drop=100%"), TR_OK);
    EXPECT_EQ(s.drop, 1000000u);
    ASSERT_EQ(parse("drop=0"), TR_OK);
    EXPECT_EQ(s.drop, 0u);
    EXPECT_EQ(parse("drop=101%"), TR_EINVAL);
    EXPECT_EQ(parse("drop=1000001ppm"), TR_EINVAL);
    EXPECT_EQ(parse("drop=-1ppm"), TR_EINVAL);
    EXPECT_EQ(parse("drop=nan%"), TR_EINVAL);
    EXPECT_EQ(parse("drop=0x10%"), TR_EINVAL);
    EXPECT_EQ(parse("drop=1.%"), TR_EINVAL);
    EXPECT_EQ(parse("drop=1.00001%"), TR_EINVAL);
    ASSERT_EQ(parse("drop=12.3456%"), TR_OK);
    EXPECT_EQ(s.drop, 123456u);
}

TEST_F(extra, unknown_key_is_refused_and_the_known_ones_are_named)
{
    EXPECT_EQ(parse("dorp=1ppm"), TR_EINVAL);
    EXPECT_NE(error().find("\"dorp\""), std::string::npos);
    EXPECT_NE(error().find("drop"), std::string::npos);
    EXPECT_EQ(parse("below.=1"), TR_EINVAL);
}

TEST_F(extra, bad_value_is_refused_with_the_value_and_an_example)
{
    EXPECT_EQ(parse("bytes=4X"), TR_EINVAL);
    EXPECT_NE(error().find("bytes=4X"), std::string::npos);
    EXPECT_NE(error().find("4M"), std::string::npos);
    EXPECT_EQ(parse("count"), TR_EINVAL);
    EXPECT_NE(error().find("key=value"), std::string::npos);
}

TEST_F(extra, value_out_of_range_is_refused_with_the_range)
{
    EXPECT_EQ(parse("count=11"), TR_EINVAL);
    EXPECT_NE(error().find("1 to 10"), std::string::npos);
    EXPECT_EQ(parse("count=0"), TR_EINVAL);
    EXPECT_EQ(parse("delay=2s"), TR_EINVAL);
}

TEST_F(extra, malformed_values_are_refused)
{
    for (const char *text :
         {"count=", "count=99999999999999999999", "bytes=18446744073709551615K", "delay=5",
          "delay=2us-1us", "delay=1us-", "flag=maybe", "word=", "block=", "block=0", "block=65536",
          "block=1+", "block=1+2+3+4+5+6+7+8+9+10+11+12+13+14+15+16+17", "=1", "drop=%"}) {
        EXPECT_EQ(parse(text), TR_EINVAL) << text;
        EXPECT_NE(error(), "") << text;
    }
}

TEST_F(extra, words_and_what_goes_below_are_bounded)
{
    EXPECT_EQ(parse(("word=" + std::string(63, 'x')).c_str()), TR_OK);
    EXPECT_EQ(parse(("word=" + std::string(64, 'x')).c_str()), TR_EINVAL);
    EXPECT_EQ(parse(("below.a=" + std::string(300, 'x')).c_str()), TR_EINVAL);
}

} // namespace
