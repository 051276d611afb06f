/* A replicated journal in C++: a class as the state machine, handles that close themselves. */
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <trireme/trireme.h>

/* Commands are appended to the text; the reply is its length. No exception may leave this: C calls.
 */
struct Journal {
    std::string text;

    static void apply(void *context, uint64_t, const tr_command *commands, uint32_t count,
                      tr_replies *replies)
    {
        std::string &text = static_cast<Journal *>(context)->text;
        for (uint32_t i = 0; i < count; i++) {
            text.append(static_cast<const char *>(commands[i].data), commands[i].bytes);
            uint64_t bytes = text.size();
            tr_replies_set(replies, i, &bytes, sizeof(bytes));
        }
    }
    static int read(void *context, const void *, uint32_t, tr_reply *reply)
    {
        const std::string &text = static_cast<Journal *>(context)->text;
        return tr_reply_set(reply, text.data(), static_cast<uint32_t>(text.size()));
    }
    static int snapshot(void *context, tr_writer *writer)
    {
        const std::string &text = static_cast<Journal *>(context)->text;
        return tr_writer_put(writer, text.data(), text.size());
    }
    static int restore(void *context, tr_reader *reader)
    {
        std::string &text = static_cast<Journal *>(context)->text;
        text.resize(tr_reader_left(reader));
        return tr_reader_get(reader, text.data(), text.size());
    }
};

static void check(int status, const std::string &why)
{
    if (status != 0)
        throw std::runtime_error(why + ": " + tr_strerror(status));
}

/* One node. What it owns goes in reverse order: session, node, state. */
struct Replica {
    Journal journal;
    std::unique_ptr<tr_node, decltype(&tr_node_close)> node{nullptr, tr_node_close};
    std::unique_ptr<tr_session, decltype(&tr_session_close)> session{nullptr, tr_session_close};

    Replica(uint16_t id, void *fabric)
    {
        const tr_peer peers[] = {{1, "loop:a"}, {2, "loop:b"}, {3, "loop:c"}};
        tr_node_options options = TR_NODE_OPTIONS_INIT;
        tr_group_options group_options = TR_GROUP_OPTIONS_INIT;
        tr_session_options session_options = TR_SESSION_OPTIONS_INIT;
        tr_node *new_node;
        tr_group *group;
        tr_session *new_session;
        char why[256] = "";
        options.node = id;
        options.peers = peers;
        options.peer_count = 3;
        options.driver = "loop";
        options.fabric = fabric;
        group_options.machine = {
            sizeof(tr_state_machine), &journal,         Journal::apply, Journal::read,
            Journal::snapshot,        Journal::restore, nullptr};
        check(tr_node_open(&options, &new_node, why, sizeof(why)), why);
        node.reset(new_node);
        check(tr_group_open(new_node, &group_options, &group, why, sizeof(why)), why);
        check(tr_session_open(group, &session_options, &new_session), "session");
        session.reset(new_session);
        check(tr_node_start(new_node), "start");
    }
};

int main()
{
    std::unique_ptr<void, decltype(&tr_fabric_destroy)> fabric(tr_fabric_create(),
                                                               tr_fabric_destroy);
    Replica one(1, fabric.get()), two(2, fabric.get()), three(3, fabric.get());
    std::string expected;
    tr_completion done = {};
    for (std::string line : {"one log,\n", "one order,\n", "one journal.\n"}) {
        expected += line;
        check(tr_submit(two.session.get(), line.data(), (uint32_t)line.size(), nullptr), "submit");
        tr_session_wait(two.session.get(), &done, 1, UINT64_MAX);
        check(done.status, "command");
    }
    check(tr_read(three.session.get(), nullptr, 0, nullptr), "query");
    tr_session_wait(three.session.get(), &done, 1, UINT64_MAX);
    check(done.status, "read");
    std::string seen(static_cast<const char *>(done.reply), done.reply_bytes);
    std::cout << seen;
    return seen == expected ? 0 : 1;
}
