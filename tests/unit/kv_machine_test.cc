#include "apps/kv/machine.h"

#include "apps/kv/command.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace
{

/* A client of one machine: requests as text, replies as bytes of the protocol. */
struct client {
    client()
    {
        kv_machine_init(&machine);
    }
    ~client()
    {
        kv_machine_release(&machine);
    }
    client(const client &) = delete;
    client &operator=(const client &) = delete;

    static void *room(void *context, uint32_t bytes)
    {
        auto *self = static_cast<client *>(context);
        if (bytes > self->reply_bytes_max)
            return nullptr;
        self->reply.assign(bytes, '?');
        return &self->reply[0];
    }
    /* Encodes a request as it would go into the log; an error that is found before it is returned
     * in `error`. */
    std::string encode(const std::vector<std::string> &words)
    {
        std::string bytes;
        std::vector<kv_arg> args;
        for (const std::string &word : words) {
            args.push_back({uint32_t(bytes.size()), uint32_t(word.size())});
            bytes += word;
        }
        kv_request request = {};
        request.bytes = reinterpret_cast<const uint8_t *>(bytes.data());
        request.command = kv_command_find(request.bytes, args[0].bytes);
        request.args = args.data();
        request.arg_count = uint32_t(args.size());
        request.flags = resp3 ? KV_WIRE_RESP3 : 0;
        request.value_bytes_max = value_bytes_max;
        request.store_limit = store_limit;
        char text[256];
        const char *wrong = kv_request_prepare(&request, text, sizeof(text));
        error = wrong == nullptr ? "" : wrong;
        kind = request.command->kind;
        if (wrong != nullptr)
            return "";
        std::string wire(kv_request_wire_bytes(&request), '?');
        kv_request_encode(&request, reinterpret_cast<uint8_t *>(&wire[0]));
        return wire;
    }
    std::string apply(const std::string &wire)
    {
        reply = "(unset)";
        kv_machine_apply(&machine, wire.data(), uint32_t(wire.size()), room, this);
        return reply;
    }
    std::string read(const std::string &wire)
    {
        reply = "(unset)";
        kv_machine_read(&machine, wire.data(), uint32_t(wire.size()), room, this);
        return reply;
    }
    std::string run(const std::vector<std::string> &words)
    {
        std::string wire = encode(words);
        if (!error.empty())
            return "-" + error;
        return kind == KV_KIND_WRITE ? apply(wire) : read(wire);
    }
    std::string operator()(const std::string &line)
    {
        std::vector<std::string> words;
        size_t from = 0;
        while (from <= line.size()) {
            size_t end = std::min(line.find(' ', from), line.size());
            words.push_back(line.substr(from, end - from));
            from = end + 1;
        }
        return run(words);
    }

    kv_machine machine;
    std::string reply, error;
    kv_kind kind = KV_KIND_LOCAL;
    uint32_t value_bytes_max = 1 << 20;
    uint32_t store_limit = 1024;
    uint32_t reply_bytes_max = 2 << 20;
    bool resp3 = false;
};

const char not_an_integer[] = "-ERR value is not an integer or out of range";
const char syntax_error[] = "-ERR syntax error";

TEST(machine, get_answers_the_value_or_the_null_of_the_protocol)
{
    client c;
    EXPECT_EQ("$-1\r\n", c("GET k"));
    EXPECT_EQ("+OK\r\n", c("SET k v"));
    EXPECT_EQ("$1\r\nv\r\n", c("GET k"));
    c.resp3 = true;
    EXPECT_EQ("_\r\n", c("GET none"));
    EXPECT_EQ("$1\r\nv\r\n", c("GET k"));
}

TEST(machine, set_honours_nx_xx_get_and_keepttl)
{
    client c;
    EXPECT_EQ("$-1\r\n", c("SET k v XX"));
    EXPECT_EQ("+OK\r\n", c("SET k v nx"));
    EXPECT_EQ("$-1\r\n", c("SET k w NX"));
    EXPECT_EQ("$1\r\nv\r\n", c("GET k"));
    EXPECT_EQ("$1\r\nv\r\n", c("SET k w XX GET"));
    EXPECT_EQ("$1\r\nw\r\n", c("SET k x NX GET")); /* the old value, and nothing is set */
    EXPECT_EQ("$1\r\nw\r\n", c("GET k"));
    EXPECT_EQ("$-1\r\n", c("SET new v NX GET"));
    EXPECT_EQ("$1\r\nv\r\n", c("GET new"));
    EXPECT_EQ("+OK\r\n", c("SET k v KEEPTTL"));
}

TEST(machine, set_refuses_what_it_does_not_do)
{
    client c;
    for (const char *line : {"SET k v NX XX", "SET k v EX 10", "SET k v PX 10", "SET k v EXAT 1",
                             "SET k v BOGUS", "SET k v NX GET XX"})
        EXPECT_EQ(syntax_error, c(line)) << line;
    EXPECT_EQ("$-1\r\n", c("GET k"));
}

TEST(machine, wrong_arity_is_told_by_the_name_in_lower_case)
{
    client c;
    EXPECT_EQ("-ERR wrong number of arguments for 'get' command", c("GET"));
    EXPECT_EQ("-ERR wrong number of arguments for 'get' command", c("Get a b"));
    EXPECT_EQ("-ERR wrong number of arguments for 'set' command", c("SET a"));
    EXPECT_EQ("-ERR wrong number of arguments for 'mset' command", c("MSET a"));
    EXPECT_EQ("-ERR wrong number of arguments for 'mset' command", c("MSET a 1 b"));
    EXPECT_EQ("-ERR wrong number of arguments for 'msetnx' command", c("MSETNX a 1 b"));
    EXPECT_EQ("-ERR wrong number of arguments for 'dbsize' command", c("DBSIZE x"));
}

TEST(machine, counters_count)
{
    client c;
    EXPECT_EQ(":1\r\n", c("INCR n"));
    EXPECT_EQ(":11\r\n", c("INCRBY n 10"));
    EXPECT_EQ(":10\r\n", c("DECR n"));
    EXPECT_EQ(":-5\r\n", c("DECRBY n 15"));
    EXPECT_EQ("$2\r\n-5\r\n", c("GET n"));
    c("SET n 9223372036854775807");
    EXPECT_EQ("-ERR increment or decrement would overflow\r\n", c("INCR n"));
    EXPECT_EQ("$19\r\n9223372036854775807\r\n", c("GET n"));
    c("SET n -9223372036854775808");
    EXPECT_EQ("-ERR increment or decrement would overflow\r\n", c("DECR n"));
}

TEST(machine, counting_on_what_is_no_number_is_an_error_and_changes_nothing)
{
    client c;
    c("SET s abc");
    EXPECT_EQ(std::string(not_an_integer) + "\r\n", c("INCR s"));
    c("SET s 1.5");
    EXPECT_EQ(std::string(not_an_integer) + "\r\n", c("INCR s"));
    EXPECT_EQ(not_an_integer, c("INCRBY n x"));
    EXPECT_EQ(not_an_integer, c("INCRBY n 9223372036854775808"));
    EXPECT_EQ("-ERR decrement would overflow", c("DECRBY n -9223372036854775808"));
    EXPECT_EQ("$3\r\n1.5\r\n", c("GET s"));
    EXPECT_EQ(":0\r\n", c("EXISTS n"));
}

TEST(machine, many_keys_at_once)
{
    client c;
    EXPECT_EQ("+OK\r\n", c("MSET a 1 b 2 a 3"));
    EXPECT_EQ("*3\r\n$1\r\n3\r\n$-1\r\n$1\r\n2\r\n", c("MGET a none b"));
    EXPECT_EQ(":3\r\n", c("EXISTS a b none a"));
    EXPECT_EQ(":2\r\n", c("DBSIZE"));
    EXPECT_EQ(":1\r\n", c("DEL a a none"));
    EXPECT_EQ(":1\r\n", c("UNLINK b"));
    EXPECT_EQ(":0\r\n", c("DBSIZE"));
    EXPECT_EQ(":1\r\n", c("MSETNX a 1 b 2"));
    EXPECT_EQ(":0\r\n", c("MSETNX c 1 b 3"));
    EXPECT_EQ("*2\r\n$-1\r\n$1\r\n2\r\n", c("MGET c b"));
}

TEST(machine, strings_are_appended_cut_and_overwritten)
{
    client c;
    EXPECT_EQ(":5\r\n", c("APPEND k Hello"));
    EXPECT_EQ(":10\r\n", c("APPEND k World"));
    EXPECT_EQ(":10\r\n", c("STRLEN k"));
    EXPECT_EQ(":0\r\n", c("STRLEN none"));
    EXPECT_EQ("$4\r\nello\r\n", c("GETRANGE k 1 4"));
    EXPECT_EQ("$3\r\nrld\r\n", c("GETRANGE k -3 -1"));
    EXPECT_EQ("$10\r\nHelloWorld\r\n", c("SUBSTR k -100 100"));
    EXPECT_EQ("$0\r\n\r\n", c("GETRANGE k 5 4"));
    EXPECT_EQ("$0\r\n\r\n", c("GETRANGE k -1 -3"));
    EXPECT_EQ("$0\r\n\r\n", c("GETRANGE none 0 -1"));
    EXPECT_EQ("$0\r\n\r\n", c("GETRANGE k 100 200"));
    EXPECT_EQ(":10\r\n", c("SETRANGE k 5 Redis"));
    EXPECT_EQ("$10\r\nHelloRedis\r\n", c("GET k"));
    EXPECT_EQ(":3\r\n", c("SETRANGE new 1 xy"));
    EXPECT_EQ(std::string("$3\r\n\0xy\r\n", 9), c("GET new"));
    EXPECT_EQ("-ERR offset is out of range", c("SETRANGE k -1 x"));
    EXPECT_EQ(":0\r\n", c("SETRANGE none 5 "));
    EXPECT_EQ(":0\r\n", c("EXISTS none"));
}

TEST(machine, old_values_are_given_back)
{
    client c;
    EXPECT_EQ("$-1\r\n", c("GETSET k 1"));
    EXPECT_EQ("$1\r\n1\r\n", c("GETSET k 2"));
    EXPECT_EQ("$1\r\n2\r\n", c("GETDEL k"));
    EXPECT_EQ("$-1\r\n", c("GETDEL k"));
    EXPECT_EQ(":1\r\n", c("SETNX k 1"));
    EXPECT_EQ(":0\r\n", c("SETNX k 2"));
    EXPECT_EQ("$1\r\n1\r\n", c("GET k"));
}

TEST(machine, type_and_ttl_of_what_never_expires)
{
    client c;
    c("SET k v");
    EXPECT_EQ("+string\r\n", c("TYPE k"));
    EXPECT_EQ("+none\r\n", c("TYPE none"));
    EXPECT_EQ(":-1\r\n", c("TTL k"));
    EXPECT_EQ(":-2\r\n", c("PTTL none"));
}

TEST(machine, flush_deletes_everything)
{
    client c;
    c("MSET a 1 b 2");
    EXPECT_EQ(syntax_error, c("FLUSHALL maybe"));
    EXPECT_EQ(syntax_error, c("FLUSHALL sync async"));
    EXPECT_EQ("+OK\r\n", c("FLUSHALL ASYNC"));
    EXPECT_EQ(":0\r\n", c("DBSIZE"));
    c("SET a 1");
    EXPECT_EQ("+OK\r\n", c("flushdb"));
    EXPECT_EQ("$-1\r\n", c("GET a"));
}

TEST(machine, values_above_the_limit_are_refused)
{
    client c;
    c.value_bytes_max = 10;
    const std::string error = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    EXPECT_EQ("+OK\r\n", c("SET k 0123456789"));
    EXPECT_EQ(error, c("APPEND k x"));
    EXPECT_EQ(error, c("SETRANGE k 10 x"));
    EXPECT_EQ(error, c("SETRANGE k 9223372036854775807 x"));
    EXPECT_EQ(error, c("MSET a 1 b 01234567890"));
    EXPECT_EQ(error, c("SETNX b 01234567890"));
    EXPECT_EQ(":0\r\n", c("EXISTS a b"));
    EXPECT_EQ("$10\r\n0123456789\r\n", c("GET k"));
}

TEST(machine, full_store_refuses_what_grows_it_and_takes_what_shrinks_it)
{
    client c;
    const std::string error = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    c.store_limit = 1; /* 64 KiB */
    int taken = 0;
    while (c.run({"SET", "key" + std::to_string(taken), std::string(1000, 'v')}) == "+OK\r\n")
        taken++;
    EXPECT_GT(taken, 50);
    EXPECT_LT(taken, 66);
    EXPECT_EQ(error, c.run({"SET", "more", std::string(1000, 'v')}));
    EXPECT_EQ(error, c.run({"MSET", "m1", std::string(1000, 'v'), "m2", "1"}));
    EXPECT_EQ(error, c.run({"APPEND", "key1", std::string(1000, 'v')}));
    EXPECT_LE(c.machine.store.charged_bytes, 65536u);
    EXPECT_EQ(":1\r\n", c("DEL key0"));
    EXPECT_EQ("+OK\r\n", c.run({"SET", "more", std::string(900, 'v')}));
}

TEST(machine, limits_travel_with_the_command_so_that_replicas_agree)
{
    client a, b;
    a.store_limit = 1;
    b.store_limit = 1000; /* this replica is configured otherwise: it does not matter */
    for (int at = 0; at < 100; at++) {
        std::string wire = a.encode({"SET", "k" + std::to_string(at), std::string(1000, 'v')});
        ASSERT_EQ(a.apply(wire), b.apply(wire));
    }
    EXPECT_EQ(a.machine.store.digest, b.machine.store.digest);
    EXPECT_NE(100u, a.machine.store.entry_count);
}

TEST(machine, reply_above_the_limit_is_an_error)
{
    client c;
    c.reply_bytes_max = 200;
    c.run({"SET", "a", std::string(120, 'v')});
    EXPECT_EQ("$120\r\n", c("GET a").substr(0, 6));
    EXPECT_EQ("-ERR the reply is above the limit of replies (message-bytes)\r\n", c("MGET a a"));
}

TEST(machine, bytes_that_are_no_command_change_nothing_and_are_counted)
{
    client c;
    c("SET k v");
    uint64_t digest = c.machine.store.digest;
    std::mt19937 random(11);
    std::vector<std::string> good = {
        c.encode({"SET", "a", "b"}),           c.encode({"MSET", "a", "1"}),
        c.encode({"DEL", "a", "b"}),           c.encode({"INCR", "n"}),
        c.encode({"GETRANGE", "k", "0", "1"}), c.encode({"GET", "k"})};
    for (const std::string &wire : good) {
        for (size_t at = 0; at < wire.size(); at++) {
            EXPECT_EQ('-', c.apply(wire.substr(0, at))[0]);
            EXPECT_EQ('-', c.read(wire.substr(0, at))[0]);
        }
    }
    EXPECT_EQ(digest, c.machine.store.digest);
    EXPECT_GT(c.machine.invalid_count, 100u);
    for (int round = 0; round < 50000; round++) { /* whatever these do, they answer */
        std::string wire = good[random() % good.size()];
        wire[random() % wire.size()] = char(random());
        ASSERT_NE("(unset)", c.apply(wire));
        ASSERT_NE("(unset)", c.read(wire));
    }
}

TEST(machine, queries_are_no_commands_and_commands_no_queries)
{
    client c;
    std::string set = c.encode({"SET", "k", "v"});
    std::string get = c.encode({"GET", "k"});
    EXPECT_EQ('-', c.read(set)[0]);
    EXPECT_EQ('-', c.apply(get)[0]);
    EXPECT_EQ(0u, c.machine.store.entry_count);
}

TEST(machine, replicas_that_apply_the_same_log_are_equal_replies_included)
{
    client a, b;
    std::mt19937 random(23);
    const char *verbs[] = {"SET", "INCR", "APPEND", "DEL", "GETSET", "SETNX", "GETDEL"};
    for (int step = 0; step < 20000; step++) {
        std::string verb = verbs[random() % 7];
        std::vector<std::string> words = {verb, "k" + std::to_string(random() % 500)};
        if (verb != "INCR" && verb != "DEL" && verb != "GETDEL")
            words.push_back(std::to_string(random() % 100));
        std::string wire = a.encode(words);
        ASSERT_EQ(a.apply(wire), b.apply(wire));
    }
    EXPECT_EQ(a.machine.store.digest, b.machine.store.digest);
    EXPECT_EQ(a.machine.store.charged_bytes, b.machine.store.charged_bytes);
}

} // namespace
