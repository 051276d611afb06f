/* Replies of every size come back to a session that polls, whatever came before them. */
#include "trireme/trireme.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace
{

/* A state machine that answers a command, or a query, with its own bytes. */
void apply(void *, uint64_t, const tr_command *commands, uint32_t count, tr_replies *replies)
{
    for (uint32_t at = 0; at < count; at++)
        tr_replies_set(replies, at, commands[at].data, commands[at].bytes);
}

int read(void *, const void *query, uint32_t bytes, tr_reply *reply)
{
    return tr_reply_set(reply, query, bytes);
}

int snapshot(void *, tr_writer *)
{
    return 0;
}

int restore(void *, tr_reader *)
{
    return 0;
}

/* One node that is a cluster by itself. */
struct Echo {
    Echo()
    {
        char error[256] = "";
        fabric = tr_fabric_create();
        tr_node_options n = TR_NODE_OPTIONS_INIT;
        n.node = 1;
        n.peers = &peer;
        n.peer_count = 1;
        n.driver = "loop";
        n.fabric = fabric;
        n.counters = "";
        EXPECT_EQ(tr_node_open(&n, &node, error, sizeof(error)), 0) << error;
        tr_group_options g = TR_GROUP_OPTIONS_INIT;
        g.machine.struct_bytes = sizeof(g.machine);
        g.machine.apply = apply;
        g.machine.read = read;
        g.machine.snapshot = snapshot;
        g.machine.restore = restore;
        EXPECT_EQ(tr_group_open(node, &g, &group, error, sizeof(error)), 0) << error;
        tr_session_options s = TR_SESSION_OPTIONS_INIT;
        EXPECT_EQ(tr_session_open(group, &s, &session), 0);
    }
    ~Echo()
    {
        tr_session_close(session);
        tr_node_close(node);
        tr_fabric_destroy(fabric);
    }
    /* Polls until a completion is there. */
    bool next(tr_completion *done)
    {
        for (int tries = 0; tries < 50000000; tries++) {
            if (tr_session_poll(session, done, 1) == 1)
                return true;
            tr_poll(node);
        }
        return false;
    }
    std::string ask(const std::string &bytes, bool query)
    {
        tr_completion done = {};
        int status = query ? tr_read(session, bytes.data(), (uint32_t)bytes.size(), nullptr)
                           : tr_submit(session, bytes.data(), (uint32_t)bytes.size(), nullptr);
        EXPECT_EQ(status, 0);
        if (!next(&done) || done.status != 0)
            return "(none)";
        return std::string(static_cast<const char *>(done.reply), done.reply_bytes);
    }
    tr_peer peer = {1, "loop:only"};
    void *fabric = nullptr;
    tr_node *node = nullptr;
    tr_group *group = nullptr;
    tr_session *session = nullptr;
};

TEST(Reply, OfAnySizeFollowsOneOfAnyOther)
{
    Echo echo;
    const size_t sizes[] = {1, 8, 9, 16, 17, 100, 5000, 300000, 1 << 20};
    for (bool query : {true, false}) {
        for (size_t first : sizes) {
            for (size_t second : sizes) {
                ASSERT_EQ(echo.ask(std::string(first, 'a'), query), std::string(first, 'a'));
                ASSERT_EQ(echo.ask(std::string(second, 'b'), query), std::string(second, 'b'))
                    << second << " bytes after " << first;
            }
        }
    }
}

/* However many were taken before, the ring has room for as many replies as it has bytes. */
TEST(Reply, OneTakenLeavesRoomForManyInTheSameCycle)
{
    Echo echo;
    const std::string bytes(8, 'a');
    for (int round = 0; round < 3; round++) {
        tr_completion done[1000];
        ASSERT_EQ(echo.ask(bytes, true), bytes);
        ASSERT_EQ(tr_session_poll(echo.session, done, 1), 0u); /* gives the reply's room back */
        for (int at = 0; at < 500; at++)
            ASSERT_EQ(tr_submit(echo.session, bytes.data(), 8, nullptr), 0);
        uint32_t most = 0, count = 0;
        for (int tries = 0; count < 500 && tries < 1000000; tries++) {
            tr_poll(echo.node);
            uint32_t taken = tr_session_poll(echo.session, done, 1000);
            most = taken > most ? taken : most;
            count += taken;
        }
        EXPECT_EQ(count, 500u);
        EXPECT_GE(most, 64u); /* at least a batch at once */
    }
}

} // namespace
