// A queue with two ports: one of the node's peers, and one at another UDP port of the node's
// address, as a door for clients is. The first polls the device for both.
#include "../unit/remote_client.h"
#include "suite.h"

namespace conformance
{

namespace
{

const char *const door_address = "10.77.0.1:7510";

} // namespace

class DpdkSecond : public Conformance
{
  protected:
    void SetUp() override
    {
        Conformance::SetUp();
        node_ = open(1);
        ASSERT_EQ(node_->open_result(), TR_OK) << node_->open_error();
        if ((tr_port_driver(node_->raw())->capabilities & TR_DRIVER_ADOPT) == 0)
            GTEST_SKIP() << "not applicable: a memif interface has one peer";
        client_ = open(2);
        ASSERT_EQ(client_->open_result(), TR_OK) << client_->open_error();
    }

    std::unique_ptr<Port> open_door(const char *address = door_address)
    {
        return std::make_unique<Port>(*world, subject(), 1, [&](tr_port_options &options) {
            options.self = UINT16_MAX;
            options.address = address;
            options.adopt_max = options.peers_max;
        });
    }

    // Sends until it is there; whether as from this peer.
    bool comes(Port &from, unsigned to_node, Port &to, tr_node_id as)
    {
        std::string bytes = pattern(2500, ++seed_);
        unsigned turns = 0;
        return until({node_.get(), &from, &to}, [&] {
            if (turns++ % 64 == 0)
                from.send(to_node, bytes);
            return !to.inbox.empty() && to.inbox.back().bytes == bytes &&
                   to.inbox.back().peer == as;
        });
    }

    std::unique_ptr<Port> node_, client_;
    uint64_t seed_ = 0;
};

TEST_P(DpdkSecond, TakesItsOwnDatagramsAndNoOthers)
{
    auto door = open_door();
    ASSERT_EQ(door->open_result(), TR_OK) << door->open_error();
    ASSERT_EQ(client_->add(1, door_address), TR_OK);
    ASSERT_EQ(client_->add(3, world->address(1)), TR_OK);
    ASSERT_EQ(node_->add(2, world->address(2)), TR_OK);
    for (int i = 0; i < 20; i++) {
        ASSERT_TRUE(comes(*client_, 1, *door, 0));
        ASSERT_TRUE(comes(*client_, 3, *node_, 2));
    }
    const tr_driver *driver = tr_port_driver(door->raw());
    ASSERT_TRUE(comes(*client_, 1, *door, 0));
    ASSERT_EQ(driver->peer_adopt(door->raw(), 7, door->inbox.back().source), TR_OK);
    for (int i = 0; i < 20; i++) {
        ASSERT_TRUE(comes(*door, 7, *client_, 1));
        ASSERT_TRUE(comes(*node_, 2, *client_, 3));
        ASSERT_TRUE(comes(*client_, 1, *door, 7));
    }
    for (const Message &message : node_->inbox)
        EXPECT_EQ(message.peer, 2);
}

TEST_P(DpdkSecond, IsTheOnlyOne_AndElsewhereThanTheFirst)
{
    EXPECT_EQ(open_door("10.77.0.1:7410")->open_result(), TR_EBUSY) << "the first one's place";
    EXPECT_EQ(open_door("10.77.0.8:7510")->open_result(), TR_EBUSY) << "another node's address";
    auto door = open_door();
    ASSERT_EQ(door->open_result(), TR_OK) << door->open_error();
    EXPECT_EQ(open_door("10.77.0.1:7610")->open_result(), TR_EBUSY) << "a third one";
    door = nullptr;
    door = open_door("10.77.0.1:7610");
    EXPECT_EQ(door->open_result(), TR_OK) << "where the second one was: " << door->open_error();
}

TEST_P(DpdkSecond, OutlivesTheFirst_WhichCanComeBack)
{
    auto door = open_door();
    ASSERT_EQ(door->open_result(), TR_OK) << door->open_error();
    ASSERT_EQ(client_->add(1, door_address), TR_OK);
    ASSERT_TRUE(comes(*client_, 1, *door, 0));
    node_->close();
    node_ = open(1);
    ASSERT_EQ(node_->open_result(), TR_OK) << node_->open_error();
    EXPECT_TRUE(comes(*client_, 1, *door, 0));
    node_->close();
    door->close();
    node_ = open(1);
    EXPECT_EQ(node_->open_result(), TR_OK) << node_->open_error();
}

// The options of the driver for a node, as the World has them.
static std::string options_of(World &world, unsigned node)
{
    tr_port_options options = {};
    world.fill(options, node);
    return options.extra;
}

// A cluster with doors, and a client on an interface of its own (v9), over a change of leaders.
TEST_P(DpdkSecond, IsADoorForRemoteClients)
{
    node_->close();
    client_->close();
    cluster::Layout layout;
    layout.driver = "dpdk";
    layout.driver_options = [&](int index) {
        return options_of(*world, static_cast<unsigned>(index + 1));
    };
    layout.clients = true;
    layout.election_us = 500000;
    cluster::Cluster c(layout);
    std::string options = options_of(*world, 9);
    cluster::Remote remote(c, [&](tr_client_options &o) {
        o.address = "10.77.0.9:7510";
        o.driver_options = options.c_str();
    });
    ASSERT_EQ(remote.opened, TR_OK) << remote.error;
    cluster::expect_once_across_leaders(c, remote, 2000);
}

CONFORMANCE_INSTANTIATE(DpdkSecond);

} // namespace conformance
