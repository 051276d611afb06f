#include "apps/kv/server.h"

#include "fake_library.h"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <sys/resource.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace
{

const char pong[] = "+PONG\r\n";

std::string bulk(const std::string &text)
{
    return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}

std::string request(const std::vector<std::string> &words)
{
    std::string out = "*" + std::to_string(words.size()) + "\r\n";
    for (const std::string &word : words)
        out += bulk(word);
    return out;
}

/* A server over the fake library, driven step by step. */
struct server {
    explicit server(kv_link_mode mode = KV_LINK_SAME_THREAD, uint32_t clients_max = 100,
                    uint64_t output_bytes_max = 64 << 20)
    {
        kv_server_options options = {};
        options.group = &group;
        options.machine = &group.machine;
        options.mode = mode;
        options.listen = "127.0.0.1:0";
        options.clients_max = clients_max;
        options.message_bytes_max = 1 << 20;
        options.output_bytes_max = output_bytes_max;
        options.store_bytes_max = 64 << 20;
        options.window = 1024;
        options.node = 1;
        options.driver = "fake";
        options.cluster = "test";
        char error[256] = "";
        EXPECT_EQ(0, kv_server_open(&options, &s, error, sizeof(error))) << error;
        step();
        step();
        EXPECT_TRUE(kv_server_is_ready(s));
    }
    ~server()
    {
        if (s == nullptr)
            return;
        kv_server_close(s);
        kv_server_release(s);
    }
    server(const server &) = delete;
    server &operator=(const server &) = delete;

    void step()
    {
        now_ns += 20000000;
        kv_server_poll_sockets(s, 0);
        kv_server_work(s, now_ns);
        group.advance();
    }
    uint16_t port() const
    {
        const char *address = kv_server_address(s);
        return uint16_t(atoi(strrchr(address, ':') + 1));
    }
    const struct kv_server_counts &counts() const
    {
        return *kv_server_counts(s);
    }

    tr_group group;
    kv_server *s = nullptr;
    uint64_t now_ns = 0;
};

/* A client on a real socket. */
struct client {
    explicit client(server &owner) : owner(owner)
    {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        address.sin_port = htons(owner.port());
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(0, connect(fd, reinterpret_cast<sockaddr *>(&address), sizeof(address)));
    }
    ~client()
    {
        if (fd >= 0)
            close(fd);
    }
    client(const client &) = delete;
    client &operator=(const client &) = delete;

    void send(const std::string &bytes)
    {
        size_t sent = 0;
        for (int tries = 0; sent < bytes.size() && tries < 100000; tries++) {
            ssize_t count =
                ::send(fd, bytes.data() + sent, bytes.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (count > 0)
                sent += size_t(count);
            else
                owner.step();
        }
        EXPECT_EQ(bytes.size(), sent);
    }
    /* Reads what is there; notes the end of the stream. */
    void receive()
    {
        char piece[65536];
        ssize_t count;
        while ((count = recv(fd, piece, sizeof(piece), MSG_DONTWAIT)) > 0)
            got.append(piece, size_t(count));
        if (count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
            ended = true;
    }
    /* Steps the server until so many bytes came, or the stream ended. */
    std::string wait(size_t bytes)
    {
        for (int tries = 0; got.size() < bytes && !ended && tries < 100000; tries++) {
            owner.step();
            receive();
        }
        std::string first = got.substr(0, bytes);
        got.erase(0, bytes);
        return first;
    }
    /* Sends, and expects exactly these replies. */
    void expect(const std::string &bytes, const std::string &replies)
    {
        send(bytes);
        EXPECT_EQ(replies, wait(replies.size()));
    }
    bool wait_end()
    {
        for (int tries = 0; !ended && tries < 100000; tries++) {
            owner.step();
            receive();
        }
        return ended;
    }

    server &owner;
    int fd;
    std::string got;
    bool ended = false;
};

TEST(server, answers_commands_of_every_kind)
{
    server s;
    client c(s);
    c.expect("PING\r\n", pong);
    c.expect(request({"ECHO", std::string("\0\r\n", 3)}), bulk(std::string("\0\r\n", 3)));
    c.expect(request({"SET", "k", "v"}), "+OK\r\n");
    c.expect("GET k\r\n", bulk("v"));
    c.expect("NOPE a b\r\n", "-ERR unknown command 'NOPE', with args beginning with: 'a' 'b' \r\n");
    c.expect("GET\r\n", "-ERR wrong number of arguments for 'get' command\r\n");
    c.expect(
        "SELECT 0\r\nSELECT 1\r\nSELECT x\r\n",
        "+OK\r\n-ERR DB index is out of range\r\n-ERR value is not an integer or out of range\r\n");
    c.expect("QUIT\r\nPING\r\n", "+OK\r\n");
    EXPECT_TRUE(c.wait_end());
    EXPECT_EQ("", c.got);
}

TEST(server, replies_come_in_the_order_of_the_requests_even_when_reads_overtake_commands)
{
    server s;
    s.group.reads_first = true;
    s.group.held = true;
    client c(s);
    c.send("SET k 1\r\nGET none\r\nPING\r\nINCR k\r\nGET none\r\nPING x\r\n");
    for (int at = 0; at < 20; at++)
        s.step();
    c.receive();
    EXPECT_EQ("", c.got);
    s.group.held = false;
    EXPECT_EQ("+OK\r\n$-1\r\n+PONG\r\n:2\r\n$-1\r\n$1\r\nx\r\n", c.wait(37));
}

TEST(server, pipelined_burst_becomes_a_burst_of_commands)
{
    server s;
    s.group.held = true;
    client c(s);
    std::string burst, replies;
    for (int at = 1; at <= 500; at++) {
        burst += request({"INCR", "n"});
        replies += ":" + std::to_string(at) + "\r\n";
    }
    c.send(burst);
    for (int at = 0; at < 50 && s.group.work.size() < 500; at++)
        s.step();
    EXPECT_EQ(500u, s.group.work.size());
    s.group.held = false;
    EXPECT_EQ(replies, c.wait(replies.size()));
}

TEST(server, full_session_holds_the_reading_of_clients_and_loses_nothing)
{
    server s;
    s.group.room = 10;
    client a(s), b(s);
    std::string burst;
    for (int at = 0; at < 3000; at++)
        burst += "INCR n\r\n";
    a.send(burst);
    b.send(burst);
    size_t replies_a = 0, replies_b = 0;
    for (int at = 0; at < 5000 && replies_a + replies_b < 6000; at++) {
        s.step();
        a.receive();
        b.receive();
        replies_a = size_t(std::count(a.got.begin(), a.got.end(), '\n'));
        replies_b = size_t(std::count(b.got.begin(), b.got.end(), '\n'));
    }
    EXPECT_EQ(3000u, replies_a);
    EXPECT_EQ(3000u, replies_b);
    EXPECT_GT(s.counts().holds, 0u);
    a.got.clear();
    a.expect("GET n\r\n", bulk("6000"));
}

TEST(server, inline_command_that_was_held_is_not_decoded_twice)
{
    server s;
    s.group.room = 1;
    s.group.held = true;
    client c(s);
    c.send("SET a 1\r\nSET \"k k\" \"\\\"v\\\" w\"\r\nGET \"k k\"\r\n");
    for (int at = 0; at < 20; at++)
        s.step();
    s.group.held = false;
    EXPECT_EQ("+OK\r\n+OK\r\n" + bulk("\"v\" w"), c.wait(22));
}

TEST(server, error_of_a_command_without_an_answer_says_what_is_known)
{
    server s;
    client c(s);
    s.group.fail_status = TR_EUNKNOWN;
    c.expect("SET k v\r\n",
             "-ERR outcome unknown: no quorum answered in time; the command may have "
             "been executed\r\n");
    c.expect("GET k\r\n", "-TRYAGAIN no quorum answered in time; nothing was changed\r\n");
    s.group.fail_status = TR_EABORTED;
    c.expect("SET k v\r\n", "-TRYAGAIN no quorum answered in time; nothing was changed\r\n");
    s.group.fail_status = 0;
    c.expect("EXISTS k\r\n", ":0\r\n");
    EXPECT_EQ(1u, s.counts().commands_unknown);
}

TEST(server, evicted_session_is_replaced_when_its_commands_are_back)
{
    server s;
    client c(s);
    s.group.fail_status = TR_ESESSION;
    c.send("INCR n\r\nINCR n\r\n");
    std::string unknown = "-ERR outcome unknown: no quorum answered in time; the command may have "
                          "been executed\r\n";
    EXPECT_EQ(unknown + unknown, c.wait(2 * unknown.size()));
    s.group.fail_status = 0;
    c.expect("INCR n\r\n", ":1\r\n");
    EXPECT_EQ(2u, s.group.sessions);
}

TEST(server, session_that_refuses_a_command_is_replaced_and_the_command_sent_again)
{
    server s;
    client c(s);
    s.group.submit_status = TR_ESESSION;
    c.send("INCR n\r\n");
    for (int at = 0; at < 10; at++)
        s.step();
    s.group.submit_status = 0;
    EXPECT_EQ(":1\r\n", c.wait(4));
}

TEST(server, client_that_leaves_takes_its_requests_with_it_and_nobody_elses)
{
    server s;
    client stays(s);
    stays.expect("PING\r\n", pong);
    s.group.held = true;
    {
        client leaves(s);
        leaves.send("INCR n\r\nGET n\r\nPING\r\n");
        for (int at = 0; at < 10; at++)
            s.step();
        linger reset = {1, 0};
        setsockopt(leaves.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    }
    stays.send("INCR n\r\n");
    for (int at = 0; at < 10; at++)
        s.step();
    s.group.held = false;
    EXPECT_EQ(":2\r\n", stays.wait(4)); /* what was sent is executed, whoever hears of it */
}

TEST(server, client_that_leaves_while_a_request_of_it_is_held_is_dropped_once)
{
    server s;
    client stays(s);
    stays.expect("PING\r\n", pong);
    s.group.room = 1;
    for (int round = 0; round < 10; round++) {
        s.group.held = true;
        {
            client leaves(s);
            leaves.send("INCR n\r\nINCR n\r\n");
            for (int at = 0; at < 5; at++)
                s.step();
            linger reset = {1, 0};
            setsockopt(leaves.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        }
        s.group.held = false;
        s.group.advance();
        for (int at = 0; at < 5; at++)
            s.step(); /* its reply and its turn in the line of the held come together */
    }
    stays.expect("PING\r\n", pong);
    EXPECT_GT(s.counts().holds, 0u);
}

TEST(server, half_closed_client_gets_all_its_replies_and_then_the_end)
{
    server s;
    client c(s);
    std::string replies;
    for (int at = 1; at <= 100; at++) {
        c.send("INCR n\r\n");
        replies += ":" + std::to_string(at) + "\r\n";
    }
    c.send("*2\r\n$3\r\nGET\r\n$10\r\nhalf");
    shutdown(c.fd, SHUT_WR);
    EXPECT_TRUE(c.wait_end());
    EXPECT_EQ(replies, c.got);
}

TEST(server, large_values_go_both_ways_in_pieces)
{
    server s;
    client c(s);
    std::string value(900000, 'v');
    for (size_t at = 0; at < value.size(); at += 97)
        value[at] = char(at);
    c.expect(request({"SET", "k", value}), "+OK\r\n");
    std::string many;
    for (int at = 0; at < 10; at++)
        many += "GET k\r\n";
    c.send(many);
    for (int at = 0; at < 10; at++)
        ASSERT_TRUE(bulk(value) == c.wait(bulk(value).size()));
}

TEST(server, request_above_the_limit_is_refused_and_the_connection_goes_on)
{
    server s;
    client c(s);
    c.send(request({"SET", "k", std::string(3 << 20, 'v')}) + "PING\r\n");
    std::string start = "-ERR request of 3145760 bytes is above the limit of 1048576 bytes";
    EXPECT_EQ(start, c.wait(start.size()));
    c.wait(c.got.find('\n') + 1);
    EXPECT_EQ(pong, c.wait(sizeof(pong) - 1));
    c.send(request({"SET", "k", std::string(1 << 20, 'v')})); /* fits the buffer, not the log */
    start = "-ERR request of 1048601 bytes is above the limit of 1048576 bytes";
    EXPECT_EQ(start, c.wait(start.size()));
    EXPECT_EQ(2u, s.counts().requests_too_big);
}

TEST(server, client_that_does_not_read_is_not_read_and_then_goes_on)
{
    server s;
    client c(s), other(s);
    c.expect(request({"SET", "k", std::string(100000, 'v')}), "+OK\r\n");
    std::string many;
    for (int at = 0; at < 500; at++)
        many += "GET k\r\n";
    c.send(many);
    for (int at = 0; at < 200; at++)
        s.step();
    EXPECT_LT(s.group.reads, 200u); /* 50 MB would wait in memory else */
    other.expect("PING\r\n", pong);
    size_t all = 500 * bulk(std::string(100000, 'v')).size();
    EXPECT_EQ(all, c.wait(all).size());
    EXPECT_EQ(500u, s.group.reads);
}

TEST(server, client_with_too_much_unread_is_dropped_and_counted)
{
    server s(KV_LINK_SAME_THREAD, 100, 1 << 20);
    client c(s), other(s);
    c.expect(request({"SET", "k", std::string(500000, 'v')}), "+OK\r\n");
    s.group.held = true;
    std::string many;
    for (int at = 0; at < 100; at++)
        many += "GET k\r\n";
    c.send(many);
    for (int at = 0; at < 20; at++)
        s.step();
    s.group.held = false;
    for (int at = 0; at < 20; at++)
        s.step();
    EXPECT_EQ(1u, s.counts().clients_too_slow);
    other.expect("PING\r\n", pong);
}

TEST(server, clients_above_the_limit_are_told_and_let_go)
{
    server s(KV_LINK_SAME_THREAD, 2);
    client a(s), b(s);
    a.expect("PING\r\n", pong);
    b.expect("PING\r\n", pong);
    client c(s);
    EXPECT_TRUE(c.wait_end());
    EXPECT_EQ("-ERR max number of clients reached\r\n", c.got);
    close(b.fd);
    b.fd = -1;
    for (int at = 0; at < 10; at++)
        s.step();
    client d(s);
    d.expect("PING\r\n", pong);
}

TEST(server, runs_out_of_descriptors_and_recovers)
{
    server s;
    client a(s);
    a.expect("PING\r\n", pong);
    client b(s);
    rlimit before;
    ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &before));
    rlimit none = {3, before.rlim_max};
    ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
    for (int at = 0; at < 3; at++)
        s.step();
    a.expect("PING\r\n", pong);
    EXPECT_GT(s.counts().connections_refused, 0u);
    ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &before));
    b.expect("PING\r\n", pong); /* nothing new has come since: it tries by itself */
}

TEST(server, other_protocols_are_answered_by_an_error_and_closed)
{
    server s;
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
        {"*1\r\n+PING\r\n", "-ERR Protocol error: expected '$', got '+'\r\n"},
        {"*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
        {std::string(65536, 'x'), "-ERR Protocol error: too big inline request\r\n"},
        {"GET \"x\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"},
        {"POST / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
    };
    for (const auto &one : cases) {
        client c(s);
        c.send(one.first);
        EXPECT_TRUE(c.wait_end()) << one.first.substr(0, 40);
        EXPECT_EQ(one.second, c.got) << one.first.substr(0, 40);
    }
    EXPECT_EQ(cases.size(), s.counts().protocol_errors);
    client c(s);
    c.expect("PING\r\n", pong);
}

TEST(server, error_follows_the_replies_before_it)
{
    server s;
    s.group.held = true;
    client c(s);
    c.send("INCR n\r\n*x\r\n");
    for (int at = 0; at < 10; at++)
        s.step();
    s.group.held = false;
    EXPECT_TRUE(c.wait_end());
    EXPECT_EQ(":1\r\n-ERR Protocol error: invalid multibulk length\r\n", c.got);
}

TEST(server, hello_changes_the_protocol_of_what_follows)
{
    server s;
    client c(s);
    c.expect("GET none\r\n", "$-1\r\n");
    c.send("HELLO 3\r\n");
    EXPECT_EQ("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n", c.wait(27));
    c.wait(c.got.size());
    for (int at = 0; at < 5; at++)
        s.step();
    c.receive();
    c.got.clear();
    c.expect("GET none\r\n", "_\r\n");
    c.expect("MGET none\r\n", "*1\r\n_\r\n");
    c.expect("CONFIG GET nothing\r\n", "%0\r\n");
    c.expect("HELLO 4\r\n", "-NOPROTO unsupported protocol version\r\n");
    c.expect("HELLO x\r\n", "-ERR Protocol version is not an integer or out of range\r\n");
    c.expect("HELLO 2 SETNAME \"a b\"\r\n",
             "-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
    c.expect("GET none\r\n", "_\r\n");
    c.expect("RESET\r\nGET none\r\n", "+RESET\r\n$-1\r\n");
}

TEST(server, client_config_and_command_answer_what_clients_ask)
{
    server s;
    client c(s);
    c.expect("CLIENT GETNAME\r\n", "$-1\r\n");
    c.expect("CLIENT SETNAME me\r\nCLIENT GETNAME\r\n", "+OK\r\n$2\r\nme\r\n");
    c.expect("CLIENT SETINFO lib-name x\r\n", "+OK\r\n");
    c.expect("CLIENT ID\r\n", ":1\r\n");
    c.expect("CLIENT BOGUS\r\n", "-ERR unknown subcommand 'BOGUS'. Try CLIENT HELP.\r\n");
    c.expect("CONFIG GET save\r\n", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    c.expect("CONFIG GET APPEND*\r\n", "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
    c.expect("CONFIG GET\r\n", "-ERR wrong number of arguments for 'config|get' command\r\n");
    c.expect("COMMAND INFO get nope\r\n", "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:"
                                          "1\r\n:1\r\n:1\r\n*0\r\n*0\r\n*0\r\n*0\r\n"
                                          "*-1\r\n");
    c.expect("COMMAND DOCS\r\n", "*0\r\n");
}

TEST(server, info_has_what_redis_cli_stat_reads_and_a_section_of_ours)
{
    server s;
    client c(s);
    c.expect("SET k v\r\n", "+OK\r\n");
    c.send("INFO\r\n");
    c.wait(1);
    for (int at = 0; at < 5; at++)
        s.step();
    c.receive();
    for (const char *key :
         {"\r\nused_memory_human:", "\r\nconnected_clients:1\r\n", "\r\nblocked_clients:0\r\n",
          "\r\ntotal_commands_processed:", "\r\ntotal_connections_received:1\r\n",
          "\r\ndb0:keys=1,expires=0", "\r\nloading:0\r\n", "\r\n# Trireme\r\nnode:1\r\n",
          "\r\ngroup_role:leader\r\n", "\r\nleader:1\r\n", "\r\ndriver:fake\r\n",
          "\r\nslot_commit:"})
        EXPECT_NE(std::string::npos, c.got.find(key)) << key;
    c.got.clear();
    c.send("INFO keyspace\r\n");
    EXPECT_EQ(bulk("# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n"), c.wait(51));
}

TEST(server, draining_answers_what_is_in_flight_and_closes)
{
    server s;
    s.group.held = true;
    client busy(s), idle(s);
    busy.send("INCR n\r\n");
    for (int at = 0; at < 10; at++)
        s.step();
    EXPECT_FALSE(kv_server_drain(s.s));
    s.step();
    busy.send("INCR n\r\n"); /* too late */
    EXPECT_TRUE(idle.wait_end());
    s.group.held = false;
    EXPECT_TRUE(busy.wait_end());
    EXPECT_EQ(":1\r\n", busy.got);
    EXPECT_TRUE(kv_server_drain(s.s));
}

TEST(server, completions_of_another_thread_wake_the_one_that_sleeps)
{
    server s(KV_LINK_OWN_THREAD);
    client c(s);
    s.group.held = true;
    c.send("INCR n\r\nGET n\r\nECHO end\r\n");
    for (int at = 0; at < 20; at++)
        s.step();
    ASSERT_EQ(2u, s.group.work.size());
    std::thread library([&s] {
        usleep(20000);
        s.group.held = false;
        s.group.advance();
    });
    kv_server_poll_sockets(s.s, UINT64_C(60000000000)); /* ends at the first completion */
    library.join();
    std::string replies = ":1\r\n$1\r\n1\r\n$3\r\nend\r\n";
    EXPECT_EQ(replies, c.wait(replies.size()));
}

TEST(server, large_replies_cross_the_threads_too)
{
    server s(KV_LINK_OWN_THREAD);
    client c(s);
    for (size_t bytes : {0u, 1u, 90u, 100u, 120u, 5000u, 500000u}) {
        std::string value(bytes, 'v');
        c.expect(request({"SET", "k", value}), "+OK\r\n");
        c.expect("GET k\r\n", bulk(value));
    }
}

TEST(server, listening_on_a_taken_port_fails_with_a_sentence)
{
    server s;
    kv_server_options options = {};
    std::string address = kv_server_address(s.s);
    options.group = &s.group;
    options.listen = address.c_str();
    kv_server *other = nullptr;
    char error[256];
    EXPECT_EQ(TR_EADDR, kv_server_open(&options, &other, error, sizeof(error)));
    EXPECT_EQ("cannot listen on '" + address +
                  "': Address already in use; choose another with --listen",
              error);
    options.listen = "nowhere";
    EXPECT_EQ(TR_EADDR, kv_server_open(&options, &other, error, sizeof(error)));
    EXPECT_STREQ("listen address 'nowhere' is not HOST:PORT", error);
}

} // namespace
