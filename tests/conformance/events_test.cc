// What a port tells of its peers: up, down, and another process under the same address.
#include "suite.h"

namespace conformance
{

class Events : public Conformance
{
};

TEST_P(Events, PeerThatOpensIsUp)
{
    if (!subject().tells_open)
        GTEST_SKIP() << "not applicable: a peer is heard first when it sends";
    auto first = open(1);
    ASSERT_EQ(first->add(2, world->address(2)), TR_OK);
    rounds({first.get()}, 2000);
    EXPECT_FALSE(first->saw(TR_PORT_PEER_UP, 2));
    auto second = open(2);
    ASSERT_EQ(second->add(1, world->address(1)), TR_OK);
    EXPECT_TRUE(until({first.get(), second.get()}, [&] {
        return first->saw(TR_PORT_PEER_UP, 2) && second->saw(TR_PORT_PEER_UP, 1);
    }));
    EXPECT_FALSE(first->saw(TR_PORT_PEER_DOWN, 2));
    EXPECT_FALSE(first->saw(TR_PORT_PEER_NEW, 2));
}

TEST_P(Events, PeerThatClosesIsDownAndThenNew)
{
    if (!subject().tells_close)
        GTEST_SKIP() << "not applicable: a close is not seen";
    auto first = open(1);
    auto second = open(2);
    auto third = open(3);
    for (unsigned node = 2; node <= 3; node++) {
        ASSERT_EQ(first->add(node, world->address(node)), TR_OK);
    }
    ASSERT_EQ(second->add(1, world->address(1)), TR_OK);
    ASSERT_EQ(third->add(1, world->address(1)), TR_OK);
    ASSERT_TRUE(until({first.get(), second.get(), third.get()}, [&] {
        return first->saw(TR_PORT_PEER_UP, 2) && first->saw(TR_PORT_PEER_UP, 3);
    }));
    first->events.clear();
    second->close();
    EXPECT_TRUE(
        until({first.get(), third.get()}, [&] { return first->saw(TR_PORT_PEER_DOWN, 2); }));
    second = open(2);
    ASSERT_EQ(second->add(1, world->address(1)), TR_OK);
    EXPECT_TRUE(until({first.get(), second.get(), third.get()},
                      [&] { return first->saw(TR_PORT_PEER_NEW, 2); }));
    EXPECT_EQ(first->events.front().type, TR_PORT_PEER_DOWN);
    for (const tr_port_event &event : first->events) {
        EXPECT_EQ(event.peer, 2) << "the other peer was not touched";
    }
}

CONFORMANCE_INSTANTIATE(Events);

} // namespace conformance
