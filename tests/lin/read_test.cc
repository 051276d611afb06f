// The formats, and what is wrong with a text that is none.
#include "tests/lin/judge.h"
#include "tests/lin/words.h"

#include <gtest/gtest.h>

namespace
{

std::string error_of(const std::string &text)
{
    lin::judgement j(text);
    return j.is_read ? "" : j.error;
}

// The operations of a text in words.
std::string words_of(const std::string &text)
{
    lin::judgement j(text);
    std::string all;
    if (!j.is_read)
        return j.error;
    for (size_t i = 0; i < j.history.count; i++) {
        char words[TR_LIN_WORDS_BYTES];
        tr_lin_words_of_op(j.history.model, &j.history.values, &j.history.ops[i], words);
        all += (i > 0 ? "; " : "") + std::string(words);
    }
    return all;
}

} // namespace

TEST(own_format, is_read_in_full)
{
    EXPECT_EQ("set \"a\"; get = nil; cas \"a\" \"b c\" = true; del = false; append \"x\" = 4; "
              "incr -2 = -2; get = ?; set \"never\" = ?",
              words_of("1 set k a ok 1 2 # a comment\n"
                       "\n"
                       "1 get k nil 3 4\r\n"
                       "2 cas k a \"b c\" true 5 6\n"
                       "2\tdel\tq\tfalse\t7\t8\n"
                       "2 append k x 4 9 10\n"
                       "3 incr n -2 -2 11 12\n"
                       "4 get k - 13 -\n"
                       "5 put k \"never\" - 14 -"));
    EXPECT_EQ("append \"a b\"; get = [\"a b\" \"]\"]",
              words_of("model list\n1 append l \"a b\" ok 1 2\n1 read l [\"a b\" \"]\"] 3 4\n"));
    EXPECT_EQ("incr 3; get = 3", words_of("model counter\n1 add c 3 ok 1 2\n1 read c 3 3 4\n"));
}

TEST(own_format, drops_what_failed_and_keeps_what_is_unknown)
{
    EXPECT_EQ("set \"b\" = ?", words_of("1 set k a fail 1 2\n1 set k b - 1 -\n"));
}

TEST(own_format, says_what_is_wrong_and_where)
{
    EXPECT_EQ("line 2: no kind of operation in the second word", error_of("\n1 frob k 1 2\n"));
    EXPECT_EQ("line 1: 5 words, not 7: client kind key argument result invoke return",
              error_of("1 set k 1 2\n"));
    EXPECT_EQ("line 1: not a number: x", error_of("x get k nil 1 2\n"));
    EXPECT_EQ("line 1: it returned before it was invoked", error_of("1 get k nil 2 1\n"));
    EXPECT_EQ("line 1: a result, but no return: a", error_of("1 get k a 2 -\n"));
    EXPECT_EQ("line 1: a return, but no result: ok says that it was done",
              error_of("1 get k - 2 3\n"));
    EXPECT_EQ("line 1: the result of a set is ok, fail or -", error_of("1 set k a b 2 3\n"));
    EXPECT_EQ("line 1: the result is true, false, ok, fail or -", error_of("1 del k 1 2 3\n"));
    EXPECT_EQ("line 1: a word that does not end: \"a", error_of("1 get \"a\n"));
    EXPECT_EQ("line 1: a word that does not end: [a",
              error_of("model list\n"[0] == 'm' ? "1 get [a\n" : ""));
    EXPECT_EQ("line 1: unknown escape \\q", error_of("1 get \"\\q\" nil 1 2\n"));
    EXPECT_EQ("line 1: a list where a text belongs", error_of("1 get k [a] 1 2\n"));
    EXPECT_EQ("line 1: no such model", error_of("model frob\n"));
    EXPECT_EQ("line 2: the model list has no incr", error_of("model list\n1 incr k 1 1 1 2\n"));
    EXPECT_EQ("line 2: not a list: a", error_of("model list\n1 get k a 1 2\n"));
    EXPECT_EQ("line 2: the model comes before the operations",
              error_of("1 get k nil 1 2\nmodel list\n"));
    EXPECT_EQ("line 1: more than 8 words", error_of("1 2 3 4 5 6 7 8 9\n"));
}

TEST(jepsen_format, is_read_in_full)
{
    EXPECT_EQ(
        "get = nil; set \"4\"; cas \"4\" \"2\" = true; cas \"0\" \"1\" = false; set \"3\" = ?; "
        "set \"7\" = ?",
        words_of("INFO  jepsen.util - 0\t:invoke\t:read\tnil\n"
                 "INFO  jepsen.core - about something else\n"
                 "INFO  jepsen.util - 0\t:ok\t:read\tnil\n"
                 "INFO  jepsen.util - 1\t:invoke\t:write\t4\n"
                 "INFO  jepsen.util - 1\t:ok\t:write\t4\n"
                 "INFO  jepsen.util - 0\t:invoke\t:cas\t[4 2]\n"
                 "INFO  jepsen.util - 1\t:invoke\t:cas\t[0 1]\n"
                 "INFO  jepsen.util - 0\t:ok\t:cas\t[4 2]\n"
                 "INFO  jepsen.util - 1\t:fail\t:cas\t[0 1]\n"
                 "INFO  jepsen.util - 2\t:invoke\t:write\t3\n"
                 "INFO  jepsen.util - 2\t:info\t:write\t:timed-out\n"
                 "INFO  jepsen.util - 3\t:invoke\t:read\tnil\n"
                 "INFO  jepsen.util - 3\t:fail\t:read\t:timed-out\n"
                 "INFO  jepsen.util - 4\t:invoke\t:write\t7\n"));
    EXPECT_EQ("line 1: client 0 was answered, but asked nothing",
              error_of("INFO  jepsen.util - 0\t:ok\t:read\tnil\n"));
    EXPECT_EQ("line 1: not two values: 4", error_of("INFO  jepsen.util - 0\t:invoke\t:cas\t4\n"));
}

TEST(map_format, is_read_in_full)
{
    EXPECT_EQ("append \"x 0 y\"; get = \"x 0 y\"; get = \"\"; set \"z\" = ?",
              words_of("{:process 0, :type :invoke, :f :append, :key \"0\", :value \"x 0 y\"}\n"
                       "{:process 1, :type :invoke, :f :get, :key \"0\", :value nil}\n"
                       "{:process 0, :type :ok, :f :append, :key \"0\", :value \"x 0 y\"}\n"
                       "{:process 1, :type :ok, :f :get, :key \"0\", :value \"x 0 y\"}\n"
                       "{:process 1, :type :invoke, :f :get, :key \"1\", :value nil}\n"
                       "{:process 1, :type :ok, :f :get, :key \"1\", :value \"\"}\n"
                       "{:process 2, :type :invoke, :f :put, :key \"1\", :value \"z\"}\n"));
    EXPECT_EQ("line 1: no key: {:process 0, :type :ok, :f :get, :key 0, :value \"\"}",
              error_of("{:process 0, :type :ok, :f :get, :key 0, :value \"\"}\n"));
}

TEST(words, of_long_values_are_cut)
{
    EXPECT_EQ("get = ..\"fghijklmnopqrstuvwxy\"",
              words_of("1 get k abcdefghijklmnopqrstuvwxy 1 2\n"));
    EXPECT_EQ("get = [2.. \"c\" \"d\" \"e\" \"f\"]",
              words_of("model list\n1 get k [a b c d e f] 1 2\n"));
}

TEST(no_operations, are_linearizable)
{
    lin::judgement j("model list\n");
    EXPECT_TRUE(j.is_read);
    EXPECT_EQ(TR_LIN_LINEARIZABLE, j.report.verdict);
    EXPECT_EQ(0u, j.report.key_count);
}
