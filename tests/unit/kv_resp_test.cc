#include "apps/kv/resp.h"

#include <gtest/gtest.h>

#include <climits>
#include <random>
#include <string>
#include <vector>

namespace
{

using args_t = std::vector<std::string>;

/* A stream cut into pieces, as a server would feed it: what was not consumed stays in front. */
struct stream {
    explicit stream(uint32_t bytes_max = 1 << 20, uint32_t args_max = 1 << 16)
    {
        kv_resp_init(&resp, bytes_max, args_max);
    }
    ~stream()
    {
        kv_resp_release(&resp);
    }
    void feed(const std::string &bytes)
    {
        buffer += bytes;
    }
    kv_resp_result next()
    {
        size_t consumed = 0;
        auto *data = reinterpret_cast<uint8_t *>(&buffer[0]);
        kv_resp_result result = kv_resp_parse(&resp, data, buffer.size(), &consumed);
        EXPECT_LE(consumed, buffer.size());
        args.clear();
        if (result == KV_RESP_REQUEST) {
            for (uint32_t at = 0; at < resp.arg_count; at++) {
                EXPECT_LE(size_t(resp.args[at].offset) + resp.args[at].bytes, consumed);
                args.push_back(buffer.substr(resp.args[at].offset, resp.args[at].bytes));
            }
        }
        buffer.erase(0, consumed);
        return result;
    }
    kv_resp resp;
    std::string buffer;
    args_t args;
};

args_t parse_one(const std::string &bytes)
{
    stream s;
    s.feed(bytes);
    EXPECT_EQ(KV_RESP_REQUEST, s.next()) << bytes;
    EXPECT_TRUE(s.buffer.empty());
    return s.args;
}

std::string error_of(const std::string &bytes)
{
    stream s;
    s.feed(bytes);
    EXPECT_EQ(KV_RESP_BAD, s.next()) << bytes;
    return s.resp.error;
}

TEST(resp, array_of_bulk_strings_is_a_request)
{
    EXPECT_EQ((args_t{"SET", "k", "v"}), parse_one("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"));
}

TEST(resp, bulk_strings_are_binary)
{
    std::string value("\0\r\n$*\xff", 6);
    EXPECT_EQ((args_t{"ECHO", value}), parse_one("*2\r\n$4\r\nECHO\r\n$6\r\n" + value + "\r\n"));
}

TEST(resp, empty_bulk_string_is_an_argument)
{
    EXPECT_EQ((args_t{"", ""}), parse_one("*2\r\n$0\r\n\r\n$0\r\n\r\n"));
}

TEST(resp, request_cut_at_every_byte_is_found_once_when_it_is_whole)
{
    const std::string whole = "*2\r\n$3\r\nGET\r\n$5\r\nhello\r\n";
    for (size_t cut = 0; cut < whole.size(); cut++) {
        stream s;
        s.feed(whole.substr(0, cut));
        ASSERT_EQ(KV_RESP_MORE, s.next()) << cut;
        s.feed(whole.substr(cut));
        ASSERT_EQ(KV_RESP_REQUEST, s.next()) << cut;
        ASSERT_EQ((args_t{"GET", "hello"}), s.args) << cut;
        ASSERT_EQ(KV_RESP_MORE, s.next());
    }
}

TEST(resp, pipelined_requests_come_one_by_one)
{
    stream s;
    s.feed("*1\r\n$4\r\nPING\r\nINCR n\r\n*1\r\n$4\r\nQUIT\r\n");
    ASSERT_EQ(KV_RESP_REQUEST, s.next());
    EXPECT_EQ((args_t{"PING"}), s.args);
    ASSERT_EQ(KV_RESP_REQUEST, s.next());
    EXPECT_EQ((args_t{"INCR", "n"}), s.args);
    ASSERT_EQ(KV_RESP_REQUEST, s.next());
    EXPECT_EQ((args_t{"QUIT"}), s.args);
    EXPECT_EQ(KV_RESP_MORE, s.next());
}

TEST(resp, inline_command_is_split_at_blanks)
{
    EXPECT_EQ((args_t{"SET", "a", "b"}), parse_one("  SET   a\tb \r\n"));
    EXPECT_EQ((args_t{"PING"}), parse_one("PING\n"));
}

TEST(resp, inline_quotes_and_escapes_are_decoded_as_redis_does)
{
    EXPECT_EQ((args_t{"SET", "a b", "\x41\n"}), parse_one("SET \"a b\" \"\\x41\\n\"\r\n"));
    EXPECT_EQ((args_t{"SET", "it's", ""}), parse_one("SET 'it\\'s' \"\"\r\n"));
    EXPECT_EQ((args_t{"SET", "\\n", "q\"q"}), parse_one("SET '\\n' \"q\\\"q\"\r\n"));
    EXPECT_EQ((args_t{"foobar"}), parse_one("foo\"bar\"\r\n"));
}

TEST(resp, unbalanced_quotes_are_an_error)
{
    const char *text = "Protocol error: unbalanced quotes in request";
    EXPECT_EQ(text, error_of("SET \"a\r\n"));
    EXPECT_EQ(text, error_of("SET 'a\r\n"));
    EXPECT_EQ(text, error_of("SET \"a\"b\r\n"));
}

TEST(resp, blank_lines_and_empty_arrays_are_nothing)
{
    stream s;
    s.feed("\r\n*0\r\n*-1\r\n   \r\nPING\r\n");
    for (int at = 0; at < 4; at++)
        ASSERT_EQ(KV_RESP_EMPTY, s.next());
    EXPECT_EQ(KV_RESP_REQUEST, s.next());
}

TEST(resp, malformed_lengths_have_the_errors_of_redis)
{
    EXPECT_EQ("Protocol error: invalid multibulk length", error_of("*x\r\n"));
    EXPECT_EQ("Protocol error: invalid multibulk length", error_of("*\r\n"));
    EXPECT_EQ("Protocol error: invalid multibulk length", error_of("*1048577\r\n"));
    EXPECT_EQ("Protocol error: invalid multibulk length", error_of("*99999999999999999999\r\n"));
    EXPECT_EQ("Protocol error: invalid bulk length", error_of("*1\r\n$-1\r\n"));
    EXPECT_EQ("Protocol error: invalid bulk length", error_of("*1\r\n$536870913\r\n"));
    EXPECT_EQ("Protocol error: invalid bulk length", error_of("*1\r\n$4x\r\n"));
    EXPECT_EQ("Protocol error: invalid bulk length", error_of("*1\r\n$ 4\r\n"));
    EXPECT_EQ("Protocol error: expected '$', got ':'", error_of("*1\r\n:4\r\n"));
    EXPECT_EQ("Protocol error: expected '$', got '*'", error_of("*1\r\n*1\r\n$1\r\na\r\n"));
    EXPECT_EQ("Protocol error: expected '$', got '?'", error_of(std::string("*1\r\n\0", 5)));
    EXPECT_EQ("Protocol error: expected CRLF after a bulk string", error_of("*1\r\n$1\r\nabc"));
}

TEST(resp, lines_without_an_end_are_an_error_at_64_kib_and_not_before)
{
    stream s;
    s.feed(std::string(KV_RESP_LINE_BYTES_MAX - 1, 'a'));
    EXPECT_EQ(KV_RESP_MORE, s.next());
    s.feed("a");
    EXPECT_EQ(KV_RESP_BAD, s.next());
    EXPECT_STREQ("Protocol error: too big inline request", s.resp.error);
    EXPECT_EQ("Protocol error: too big mbulk count string",
              error_of("*" + std::string(KV_RESP_LINE_BYTES_MAX, '1')));
    EXPECT_EQ("Protocol error: too big bulk count string",
              error_of("*1\r\n$" + std::string(KV_RESP_LINE_BYTES_MAX, '1')));
}

TEST(resp, request_above_the_limit_is_skipped_as_it_comes_and_the_next_one_is_found)
{
    stream s(1000, 100);
    s.feed("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n");
    size_t held_most = 0;
    for (int at = 0; at < 1000; at++) {
        ASSERT_EQ(KV_RESP_MORE, s.next());
        s.feed(std::string(100, 'x'));
        held_most = std::max(held_most, s.buffer.size());
    }
    ASSERT_EQ(KV_RESP_MORE, s.next());
    EXPECT_LE(held_most, 200u);
    s.feed("\r\nPING\r\n");
    ASSERT_EQ(KV_RESP_TOO_BIG, s.next());
    EXPECT_EQ(100031u, s.resp.request_bytes);
    ASSERT_EQ(KV_RESP_REQUEST, s.next());
    EXPECT_EQ((args_t{"PING"}), s.args);
}

TEST(resp, too_many_arguments_are_skipped)
{
    stream s(1 << 20, 4);
    s.feed("*5\r\n");
    for (int at = 0; at < 5; at++)
        s.feed("$1\r\na\r\n");
    s.feed("a b c d e\r\na b c d\r\n");
    EXPECT_EQ(KV_RESP_TOO_BIG, s.next());
    EXPECT_EQ(KV_RESP_TOO_BIG, s.next());
    EXPECT_EQ(KV_RESP_REQUEST, s.next());
}

TEST(resp, announced_length_is_wanted_at_once)
{
    stream s;
    s.feed("*1\r\n$1000\r\n");
    EXPECT_EQ(KV_RESP_MORE, s.next());
    EXPECT_EQ(s.buffer.size() + 1002, kv_resp_wanted(&s.resp));
    s.feed(std::string(1000, 'v') + "\r\n");
    EXPECT_EQ(KV_RESP_REQUEST, s.next());
    EXPECT_EQ(0u, kv_resp_wanted(&s.resp));
}

TEST(resp, random_bytes_never_make_it_read_outside)
{
    std::mt19937 random(7);
    const char alphabet[] = "*$\r\n0123456789-ab\"'\\x ";
    for (int round = 0; round < 20000; round++) {
        stream s(256, 8);
        for (int piece = 0; piece < 8; piece++) {
            std::string bytes;
            for (unsigned at = random() % 24; at > 0; at--)
                bytes += alphabet[random() % (sizeof(alphabet) - 1)];
            s.feed(bytes);
            kv_resp_result result;
            int calls = 0;
            do {
                size_t before = s.buffer.size();
                result = s.next();
                ASSERT_TRUE(result == KV_RESP_MORE || result == KV_RESP_BAD ||
                            s.buffer.size() < before);
                ASSERT_LT(++calls, 1000);
            } while (result != KV_RESP_MORE && result != KV_RESP_BAD);
            if (result == KV_RESP_BAD)
                break;
        }
    }
}

TEST(number, is_read_exactly_as_redis_reads_it)
{
    int64_t number = 5;
    auto parse = [&number](const std::string &text) {
        return kv_number_parse(reinterpret_cast<const uint8_t *>(text.data()), text.size(),
                               &number);
    };
    EXPECT_TRUE(parse("0"));
    EXPECT_EQ(0, number);
    EXPECT_TRUE(parse("-9223372036854775808"));
    EXPECT_EQ(INT64_MIN, number);
    EXPECT_TRUE(parse("9223372036854775807"));
    EXPECT_EQ(INT64_MAX, number);
    number = 5;
    for (const char *wrong :
         {"", "-", "+1", "01", "-0", "00", " 1", "1 ", "1.0", "0x1", "1a", "9223372036854775808",
          "-9223372036854775809", "18446744073709551616", "100000000000000000000"})
        EXPECT_FALSE(parse(wrong)) << wrong;
    EXPECT_EQ(5, number);
}

TEST(number, is_written_and_read_back)
{
    for (int64_t number : {INT64_MIN, INT64_MIN + 1, INT64_C(-10), INT64_C(-1), INT64_C(0),
                           INT64_C(9), INT64_C(10), INT64_MAX}) {
        char text[KV_NUMBER_BYTES_MAX];
        uint32_t bytes = kv_number_format(text, number);
        EXPECT_EQ(std::to_string(number), std::string(text, bytes));
    }
}

} // namespace
