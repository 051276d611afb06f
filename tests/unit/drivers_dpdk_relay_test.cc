// Memif's handshake through two relays, a server's and a client's, with sockets of the test in the
// places of the two PMDs.
#include "drivers/dpdk/relay.h"

#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace
{

std::pair<int, int> connected()
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) != 0)
        abort();
    return {ends[0], ends[1]};
}

ssize_t say(int to, unsigned type, int fd = -1, size_t bytes = TR_RELAY_MESSAGE_BYTES)
{
    uint16_t message[TR_RELAY_MESSAGE_BYTES / 2] = {static_cast<uint16_t>(type), 77};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    iovec piece = {message, bytes};
    msghdr header = {};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    if (fd >= 0) {
        header.msg_control = control;
        header.msg_controllen = sizeof(control);
        cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_len = CMSG_LEN(sizeof(int));
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    return sendmsg(to, &header, MSG_NOSIGNAL);
}

// The type of the message that waits, with the descriptor that came with it; 0: none; -1: the end.
int hear(int from, int *fd = nullptr)
{
    uint16_t message[TR_RELAY_MESSAGE_BYTES / 2] = {};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    iovec piece = {message, sizeof(message)};
    msghdr header = {};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    ssize_t bytes = recvmsg(from, &header, MSG_DONTWAIT);
    if (bytes <= 0)
        return bytes == 0 ? -1 : 0;
    EXPECT_EQ(message[1], 77);
    const cmsghdr *c = CMSG_FIRSTHDR(&header);
    if (fd != nullptr)
        *fd = -1;
    if (fd != nullptr && c != nullptr)
        memcpy(fd, CMSG_DATA(c), sizeof(*fd));
    return message[0];
}

class DpdkRelay : public ::testing::Test
{
  protected:
    // The server's port has accepted the client's, and is connected to its PMD; the client's PMD
    // waits to be greeted.
    void SetUp() override
    {
        auto outer = connected();
        auto inner = connected();
        tr_relay_init(&server, true);
        tr_relay_init(&client, false);
        tr_relay_begin(&server, outer.first, inner.first);
        tr_relay_begin(&client, outer.second, -1);
        server_pmd = inner.second;
    }

    void TearDown() override
    {
        tr_relay_end(&server);
        tr_relay_end(&client);
        for (int pmd : {server_pmd, client_pmd}) {
            if (pmd >= 0)
                close(pmd);
        }
        step();
        EXPECT_EQ(server.phase, TR_RELAY_IDLE);
        EXPECT_EQ(client.phase, TR_RELAY_IDLE);
    }

    void step()
    {
        for (int i = 0; i < 3; i++) {
            tr_relay_step(&server);
            tr_relay_step(&client);
        }
    }

    void greet()
    {
        EXPECT_FALSE(tr_relay_is_greeted(&client));
        say(server_pmd, TR_RELAY_HELLO);
        step();
        ASSERT_TRUE(tr_relay_is_greeted(&client));
        auto inner = connected();
        tr_relay_attach(&client, inner.first);
        client_pmd = inner.second;
        step();
        ASSERT_EQ(hear(client_pmd), TR_RELAY_HELLO);
    }

    // From one PMD to the other.
    void cross(int from, int to, tr_relay_message type)
    {
        say(from, type);
        step();
        ASSERT_EQ(hear(to), type);
    }

    void join()
    {
        greet();
        for (tr_relay_message type :
             {TR_RELAY_INIT, TR_RELAY_ADD_REGION, TR_RELAY_ADD_RING, TR_RELAY_ADD_RING}) {
            cross(client_pmd, server_pmd, type);
            cross(server_pmd, client_pmd, TR_RELAY_ACK);
        }
        cross(client_pmd, server_pmd, TR_RELAY_CONNECT);
        EXPECT_EQ(server.phase, TR_RELAY_SHAKING);
        cross(server_pmd, client_pmd, TR_RELAY_CONNECTED);
        ASSERT_EQ(server.phase, TR_RELAY_JOINED);
        ASSERT_EQ(client.phase, TR_RELAY_JOINED);
    }

    tr_relay server, client;
    int server_pmd = -1, client_pmd = -1;
};

TEST_F(DpdkRelay, JoinsWhenTheServerHasSaidThatItIsConnected)
{
    join();
    step();
    EXPECT_EQ(server.phase, TR_RELAY_JOINED);
    EXPECT_EQ(hear(server_pmd), 0);
    EXPECT_EQ(hear(client_pmd), 0);
}

TEST_F(DpdkRelay, PassesDescriptorsOnAndKeepsNone)
{
    int ends[2], got = -1;
    char byte = 0;
    greet();
    cross(client_pmd, server_pmd, TR_RELAY_INIT);
    ASSERT_EQ(pipe(ends), 0);
    say(client_pmd, TR_RELAY_ADD_REGION, ends[1]);
    close(ends[1]);
    step();
    ASSERT_EQ(hear(server_pmd, &got), TR_RELAY_ADD_REGION);
    ASSERT_GE(got, 0);
    ASSERT_EQ(write(got, "x", 1), 1);
    EXPECT_EQ(read(ends[0], &byte, 1), 1);
    close(got);
    EXPECT_EQ(read(ends[0], &byte, 1), 0) << "somebody has it still";
    close(ends[0]);
}

TEST_F(DpdkRelay, EndOfThePeerIsThePmdsEndAndWaitsUntilThatIsThrough)
{
    join();
    tr_relay_end(&client);
    EXPECT_EQ(tr_relay_step(&server), TR_RELAY_ENDING);
    EXPECT_EQ(tr_relay_step(&server), TR_RELAY_ENDING);
    EXPECT_EQ(hear(server_pmd), -1);
    EXPECT_EQ(say(server_pmd, TR_RELAY_ACK), TR_RELAY_MESSAGE_BYTES) << "nobody gets SIGPIPE";
    EXPECT_EQ(tr_relay_step(&server), TR_RELAY_ENDING) << "it may still read from the memory";
    close(server_pmd);
    server_pmd = -1;
    EXPECT_EQ(tr_relay_step(&server), TR_RELAY_IDLE);
}

TEST_F(DpdkRelay, ServerThatHasNotGreetedYetFindsItsConnection)
{
    tr_relay_end(&client);
    EXPECT_EQ(client.phase, TR_RELAY_IDLE);
    EXPECT_EQ(tr_relay_step(&server), TR_RELAY_ENDING);
    EXPECT_EQ(tr_relay_step(&server), TR_RELAY_ENDING);
    EXPECT_EQ(hear(server_pmd), 0) << "its end would be seen before it was accepted";
    EXPECT_EQ(say(server_pmd, TR_RELAY_HELLO), TR_RELAY_MESSAGE_BYTES);
    EXPECT_EQ(tr_relay_step(&server), TR_RELAY_ENDING);
    EXPECT_EQ(hear(server_pmd), -1);
}

TEST_F(DpdkRelay, ClientWhosePeerEndsUngreetedIsIdleAtOnce)
{
    tr_relay_end(&server);
    EXPECT_FALSE(tr_relay_is_greeted(&client));
    EXPECT_EQ(client.phase, TR_RELAY_IDLE);
}

TEST_F(DpdkRelay, MessageOutOfTurnEndsTheConnectionAndGoesNoFurther)
{
    const std::vector<unsigned> wrong = {0,
                                         TR_RELAY_HELLO,
                                         TR_RELAY_ACK,
                                         TR_RELAY_ADD_REGION,
                                         TR_RELAY_CONNECT,
                                         TR_RELAY_CONNECTED,
                                         TR_RELAY_CONNECTED + 1,
                                         UINT16_MAX};
    for (unsigned type : wrong) {
        greet();
        say(client_pmd, type);
        step();
        EXPECT_EQ(hear(server_pmd), -1) << type;
        EXPECT_EQ(hear(client_pmd), -1) << type;
        TearDown();
        server_pmd = client_pmd = -1;
        SetUp();
    }
}

TEST_F(DpdkRelay, MessageOfAnotherLengthEndsTheConnection)
{
    greet();
    say(client_pmd, TR_RELAY_INIT, -1, 64);
    step();
    EXPECT_EQ(hear(server_pmd), -1);
}

TEST_F(DpdkRelay, WhatAPeerSaysAfterTheHandshakeEndsIt)
{
    join();
    say(client.outer, TR_RELAY_CONNECT);
    EXPECT_EQ(tr_relay_step(&server), TR_RELAY_ENDING);
    EXPECT_EQ(tr_relay_step(&server), TR_RELAY_ENDING);
    EXPECT_EQ(hear(server_pmd), -1);
}

} // namespace
