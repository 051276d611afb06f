// Doors and clients over RDMA: a port that adopts beside the node's port for peers, and who comes
// to it, with the clients' key and without, honest and not.
#include "../unit/remote_client.h"
#include "drivers/verbs/inner.h"
#include "suite.h"

#include <arpa/inet.h>
#include <csignal>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace conformance
{

namespace
{

const char *const door_address = "10.77.0.1:7510";
constexpr uint16_t door_port = 7510;

// The options of the driver, as the World has them.
std::string options_of(World &world)
{
    tr_port_options options = {};
    world.fill(options, 1);
    return options.extra;
}

std::string key_file_of(World &world, const std::string &name)
{
    std::string options = "," + options_of(world);
    size_t at = options.find("," + name + "=") + name.size() + 2;
    return options.substr(at, options.find(',', at) - at);
}

} // namespace

class VerbsClients : public Conformance
{
  protected:
    std::unique_ptr<Port> open_door(uint32_t clients, const char *extra = nullptr)
    {
        return std::make_unique<Port>(*world, subject(), 1, [&](tr_port_options &options) {
            options.self = UINT16_MAX;
            options.address = door_address;
            options.peers_max = options.adopt_max = clients;
            options.message_bytes_max = 64 << 10;
            options.queue_bytes = 256 << 10;
            if (extra != nullptr)
                options.extra = extra;
        });
    }

    // A client that knows the door as node 1.
    std::unique_ptr<Port> open_client(unsigned device, const char *extra = nullptr)
    {
        auto client = std::make_unique<Port>(*world, subject(), 2, [&](tr_port_options &options) {
            world->estrange(options, device);
            options.self = UINT16_MAX;
            options.message_bytes_max = 64 << 10;
            options.queue_bytes = 256 << 10;
            if (extra != nullptr)
                options.extra = extra;
        });
        EXPECT_EQ(client->open_result(), TR_OK) << client->open_error();
        EXPECT_EQ(client->add(1, door_address), TR_OK);
        return client;
    }

    // Sends until it is there; whether as from this peer.
    bool comes(Port &from, unsigned to_node, Port &to, tr_node_id as,
               const std::vector<Port *> &others = {})
    {
        std::string bytes = pattern(2500, ++seed_);
        std::vector<Port *> ports = others;
        ports.push_back(&from);
        ports.push_back(&to);
        unsigned turns = 0;
        return until(ports, [&] {
            if (turns++ % 64 == 0)
                from.send(to_node, bytes);
            return !to.inbox.empty() && to.inbox.back().bytes == bytes &&
                   to.inbox.back().peer == as;
        });
    }

    // Makes who wrote last to a door its peer.
    static int adopt(Port &door, tr_node_id as)
    {
        return tr_port_driver(door.raw())->peer_adopt(door.raw(), as, door.inbox.back().source);
    }

    uint64_t seed_ = 0;
    std::unique_ptr<Port> door_;
};

TEST_P(VerbsClients, ADoorIsBesideThePortForPeers_OnOneDevice)
{
    auto nodes = open_all(2);
    Port &node = *nodes[0], &other = *nodes[1];
    auto door = open_door(4);
    ASSERT_EQ(door->open_result(), TR_OK) << door->open_error();
    auto client = open_client(2); // on the other node's device
    tr_ring_info ring = node.ring_create(2, 16384);
    uint32_t remote = UINT32_MAX;
    tr_ring_token token = node.ring_grant(ring.ring, 7);
    ASSERT_EQ(remote_open(other, node, token, 7, &remote), TR_OK);
    ASSERT_TRUE(comes(*client, 1, *door, 0, {&node, &other}));
    ASSERT_EQ(adopt(*door, 7), TR_OK);
    for (unsigned i = 0; i < 20; i++) {
        ASSERT_TRUE(comes(*client, 1, *door, 7, {&node, &other}));
        ASSERT_TRUE(comes(*door, 7, *client, 1, {&node, &other}));
        ASSERT_TRUE(comes(other, 1, node, 2, {door.get(), client.get()}));
        ASSERT_EQ(write(other, node, remote, 64 * i, pattern(64, i)), TR_WRITE_OK);
    }
    client->close();
    ASSERT_TRUE(until({door.get()}, [&] { return door->saw(TR_PORT_PEER_DOWN, 7); }));
    door->close();
    ASSERT_TRUE(comes(other, 1, node, 2));
    EXPECT_EQ(write(other, node, remote, 2048, pattern(64, 99)), TR_WRITE_OK);
    EXPECT_TRUE(node.events.empty() && other.events.empty()) << "of clients peers hear nothing";
}

// Neither the other key, nor one that nobody has.
TEST_P(VerbsClients, WhoHasNotTheRightKeyIsRefused)
{
    std::string wrong = "client_key=" + key_file_of(*world, "key");
    auto door = open_door(2);
    ASSERT_EQ(door->open_result(), TR_OK) << door->open_error();
    auto liar = open_client(2, wrong.c_str());
    ASSERT_TRUE(until({door.get(), liar.get()}, [&] {
        liar->send(1, pattern(100, 1));
        return door->stats().rx_malformed >= 3;
    }));
    EXPECT_TRUE(door->inbox.empty());
    auto client = open_client(3);
    EXPECT_TRUE(comes(*client, 1, *door, 0, {liar.get()}));

    auto nodes = open_all(2); // which are members, at other addresses
    ASSERT_EQ(client->add(5, world->address(1)), TR_OK);
    uint64_t before = nodes[0]->stats().rx_malformed;
    rounds({nodes[0].get(), nodes[1].get(), client.get()}, 100);
    ASSERT_TRUE(until({nodes[0].get(), nodes[1].get(), client.get()}, [&] {
        client->send(5, pattern(100, 1));
        return nodes[0]->stats().rx_malformed >= before + 3;
    })) << "it poses as nobody";
    EXPECT_TRUE(nodes[0]->inbox.empty()) << "a client's key opens nothing at a member's port";
}

TEST_P(VerbsClients, WithoutAKeyOfTheirOwn_OrWithTheClusters_NoDoorOpens)
{
    std::string file = key_file_of(*world, "key");
    std::string none = "key=" + file, same = "key=" + file + ",client_key=" + file;
    auto door = open_door(2, none.c_str());
    EXPECT_EQ(door->open_result(), TR_EINVAL);
    EXPECT_NE(door->open_error().find("client_key=FILE"), std::string::npos) << door->open_error();
    door = open_door(2, same.c_str());
    EXPECT_EQ(door->open_result(), TR_EINVAL);
    EXPECT_NE(door->open_error().find("same key"), std::string::npos) << door->open_error();
}

TEST_P(VerbsClients, ADoorThatIsFullAnswers_AndHasRoomAgainWhenOneGoes)
{
    auto door = open_door(2);
    ASSERT_EQ(door->open_result(), TR_OK) << door->open_error();
    size_t calls = door->arena_calls();
    std::vector<std::unique_ptr<Port>> clients;
    for (tr_node_id i = 0; i < 2; i++) {
        clients.push_back(open_client(2 + i));
        ASSERT_TRUE(comes(*clients[i], 1, *door, 0));
        ASSERT_EQ(adopt(*door, 1 + i), TR_OK);
    }
    auto third = open_client(3);
    ASSERT_TRUE(comes(*third, 1, *door, 0));
    EXPECT_EQ(adopt(*door, 3), TR_EFULL);
    EXPECT_EQ(door->reply(door->inbox.back().source, pattern(300, 1)), TR_OK);
    ASSERT_TRUE(until({door.get(), third.get()}, [&] { return !third->inbox.empty(); }));
    EXPECT_EQ(third->inbox.back().bytes, pattern(300, 1));
    clients[0]->close();
    ASSERT_TRUE(until({door.get()}, [&] { return door->saw(TR_PORT_PEER_DOWN, 1); }));
    ASSERT_TRUE(comes(*third, 1, *door, 0));
    EXPECT_EQ(adopt(*door, 3), TR_EFULL) << "1 is still a peer, that is down";
    ASSERT_EQ(door->driver->peer_remove(door->raw(), 1), TR_OK);
    EXPECT_EQ(adopt(*door, 3), TR_OK);
    EXPECT_TRUE(comes(*door, 3, *third, 1));
    EXPECT_TRUE(comes(*clients[1], 1, *door, 2)) << "another is not disturbed";
    EXPECT_EQ(door->arena_calls(), calls);
}

// More of them than there are places, none of which is adopted: each is heard all the same.
TEST_P(VerbsClients, StrangersLoseTheirPlacesToNewcomers_PeersDoNot)
{
    auto door = open_door(1);
    ASSERT_EQ(door->open_result(), TR_OK) << door->open_error();
    auto peer = open_client(3);
    ASSERT_TRUE(comes(*peer, 1, *door, 0));
    ASSERT_EQ(adopt(*door, 1), TR_OK);
    std::vector<std::unique_ptr<Port>> strangers;
    for (unsigned i = 0; i < STRANGERS + 3; i++) {
        strangers.push_back(open_client(2 + i % 2));
        ASSERT_TRUE(comes(*strangers.back(), 1, *door, 0)) << i;
    }
    EXPECT_TRUE(comes(*peer, 1, *door, 1));
    EXPECT_TRUE(comes(*strangers.front(), 1, *door, 0)) << "it comes again";
    EXPECT_TRUE(peer->events.size() == 1 && peer->saw(TR_PORT_PEER_UP, 1));
}

// Each is killed while it writes; one place is enough for all of them.
TEST_P(VerbsClients, AClientThatDiesLeavesItsPlaceToTheNext)
{
    for (unsigned i = 0; i < 6; i++) {
        pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            alarm(120);
            auto client = open_client(2);
            for (;;) {
                client->send(1, pattern(5000, i));
                client->poll();
                world->step();
            }
        }
        if (i == 0) // the door is opened when there was no RDMA in this process before a fork
            door_ = open_door(1);
        EXPECT_EQ(door_->open_result(), TR_OK) << door_->open_error();
        door_->inbox.clear();
        door_->events.clear();
        bool is_adopted = until({door_.get()}, [&] {
            return !door_->inbox.empty() && door_->inbox.back().peer == 0 && adopt(*door_, 1) == 0;
        });
        EXPECT_TRUE(is_adopted) << i;
        EXPECT_TRUE(until({door_.get()},
                          [&] { return !door_->inbox.empty() && door_->inbox.back().peer == 1; }));
        kill(child, SIGKILL);
        waitpid(child, nullptr, 0);
        EXPECT_TRUE(until({door_.get()}, [&] { return door_->saw(TR_PORT_PEER_DOWN, 1); }));
        EXPECT_EQ(door_->driver->peer_remove(door_->raw(), 1), TR_OK);
    }
}

// A client says that it goes, and goes. Its end is seen while what it said is taken piece by piece.
TEST_P(VerbsClients, LastWordsAreHeard)
{
    constexpr unsigned words = 40;
    auto door = open_door(2);
    ASSERT_EQ(door->open_result(), TR_OK) << door->open_error();
    for (unsigned i = 0; i < 10; i++) {
        auto client = open_client(2);
        ASSERT_TRUE(comes(*client, 1, *door, 0));
        ASSERT_EQ(adopt(*door, 1), TR_OK);
        door->events.clear();
        for (unsigned m = 0; m < words; m++)
            ASSERT_TRUE(client->send(1, pattern(200, m)));
        client->driver->tx_flush(client->raw());
        client->close();
        tr_rx rx = {};
        unsigned heard = 0;
        ASSERT_TRUE(until({}, [&] {
            heard += door->driver->rx_burst(door->raw(), &rx, 1);
            return heard == words;
        })) << heard;
        EXPECT_EQ(std::string(static_cast<const char *>(rx.data), rx.bytes),
                  pattern(200, words - 1));
        for (unsigned turn = 0; turn < 1000;
             turn++) // so that it is gone before events are asked for
            EXPECT_EQ(door->driver->rx_burst(door->raw(), &rx, 1), 0u);
        ASSERT_TRUE(until({door.get()}, [&] { return door->saw(TR_PORT_PEER_DOWN, 1); }));
        ASSERT_EQ(door->driver->peer_remove(door->raw(), 1), TR_OK);
    }
}

// A client's port connects to whom it writes, and to nobody else.
TEST_P(VerbsClients, AClientConnectsWhenItHasSomethingToSay)
{
    auto door = open_door(2);
    ASSERT_EQ(door->open_result(), TR_OK) << door->open_error();
    auto client = open_client(2);
    rounds({door.get(), client.get()}, 5000);
    EXPECT_TRUE(client->events.empty());
    EXPECT_TRUE(comes(*client, 1, *door, 0));
    EXPECT_TRUE(client->saw(TR_PORT_PEER_UP, 1));
    EXPECT_EQ(client->add(9, "10.77.0.1:0"), TR_EADDR) << "nobody listens at port 0";
}

/* ---- who has the clients' key, and misuses it */

namespace
{

sockaddr_in address_of_door()
{
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(door_port);
    inet_pton(AF_INET, "10.77.0.1", &to.sin_addr);
    return to;
}

// The client's end of the exchange, by hand.
class Hand
{
  public:
    using Until = std::function<bool(const std::function<bool()> &)>;

    Hand(World &world, const Until &until) : until_(until)
    {
        char why[256] = "";
        uint8_t key[TR_VERBS_KEY_BYTES], secret[32];
        EXPECT_EQ(tr_verbs_key_read(key_file_of(world, "client_key").c_str(), key, why, sizeof why),
                  TR_OK)
            << why;
        sockaddr_in to = address_of_door();
        fd_ = socket(AF_INET, SOCK_STREAM, 0);
        EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr *>(&to), sizeof(to)), 0);
        tr_verbs_hello hello = {}, answer = {};
        hello.magic = UINT64_C(0x3162726576727454);
        hello.version = 1;
        hello.from = 77;
        hello.to = 5;
        EXPECT_TRUE(tr_verbs_hello_make(&hello, secret));
        EXPECT_EQ(::send(fd_, &hello, sizeof(hello), 0), static_cast<ssize_t>(sizeof(hello)));
        is_met_ = read(&answer, sizeof(answer)) && answer.from == 5 && answer.to == 77 &&
                  tr_verbs_session_derive(&session_, key, secret, &hello, &answer, true);
    }
    ~Hand()
    {
        close(fd_);
    }
    Hand(const Hand &) = delete;
    Hand &operator=(const Hand &) = delete;

    bool is_met() const
    {
        return is_met_;
    }
    void put(const tr_verbs_frame &frame)
    {
        uint8_t sealed[TR_VERBS_FRAME_BYTES + TR_VERBS_SEAL_BYTES];
        tr_verbs_frame_seal(&session_, &frame, sealed);
        EXPECT_EQ(::send(fd_, sealed, sizeof(sealed), MSG_NOSIGNAL),
                  static_cast<ssize_t>(sizeof(sealed)));
    }
    void noise()
    {
        std::string bytes = pattern(TR_VERBS_FRAME_BYTES + TR_VERBS_SEAL_BYTES, 1);
        EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(bytes.size()));
    }
    // Waits until the door hangs up.
    bool is_hung_up()
    {
        uint8_t bytes[4096];
        return until_([&] {
            ssize_t got = recv(fd_, bytes, sizeof(bytes), MSG_DONTWAIT);
            return got == 0 || (got < 0 && errno != EAGAIN);
        });
    }

  private:
    bool read(void *to, size_t bytes)
    {
        size_t have = 0;
        return until_([&] {
            ssize_t got = recv(fd_, static_cast<uint8_t *>(to) + have, bytes - have, MSG_DONTWAIT);
            have += got > 0 ? static_cast<size_t>(got) : 0;
            return have == bytes;
        });
    }

    Until until_;
    int fd_ = -1;
    bool is_met_ = false;
    tr_verbs_session session_ = {};
};

tr_verbs_frame frame_of(uint32_t type)
{
    tr_verbs_frame frame = {};
    frame.type = type;
    frame.number = 1;
    frame.qpn = 77;
    frame.bytes = 4096;
    frame.slots = 64;
    frame.generation = 3;
    frame.incarnation = 5;
    frame.path.mtu = IBV_MTU_1024;
    frame.path.is_ethernet = 1;
    return frame;
}

} // namespace

TEST_P(VerbsClients, OfRingsAClientCanSayNothing)
{
    auto door = open_door(2);
    ASSERT_EQ(door->open_result(), TR_OK) << door->open_error();
    tr_ring_options ring = {};
    tr_ring_info info;
    ring.peer = 1;
    ring.bytes = 16384;
    EXPECT_EQ(door->driver->ring_create(door->raw(), &ring, &info), TR_EINVAL);
    EXPECT_EQ(door->limits().write_bytes_max, 0u);
    Hand hand(*world, [&](const auto &done) { return until({door.get()}, done); });
    ASSERT_TRUE(hand.is_met());
    hand.put(frame_of(FRAME_READY)); // the proof
    ASSERT_EQ(door->stats().rx_malformed, 0u);
    const uint32_t types[] = {FRAME_RING, FRAME_WRITER, FRAME_GRANT, 0, 6, UINT32_MAX};
    for (uint32_t type : types)
        hand.put(frame_of(type));
    EXPECT_TRUE(until({door.get()}, [&] { return door->stats().rx_malformed == 6; }));
    EXPECT_TRUE(hand.is_hung_up()) << "it never made a connection for messages";
    auto client = open_client(2);
    EXPECT_TRUE(comes(*client, 1, *door, 0));
}

TEST_P(VerbsClients, WhatAClientSaysOfItsConnectionIsChecked)
{
    auto door = open_door(2);
    ASSERT_EQ(door->open_result(), TR_OK) << door->open_error();
    auto client = open_client(2);
    ASSERT_TRUE(comes(*client, 1, *door, 0));
    ASSERT_EQ(adopt(*door, 1), TR_OK);
    auto turn = [&](const auto &done) { return until({door.get(), client.get()}, done); };
    std::vector<std::function<void(tr_verbs_frame &)>> lies = {
        [](tr_verbs_frame &f) { f.number = 0; },
        [](tr_verbs_frame &f) { f.incarnation = 0; },
        [](tr_verbs_frame &f) { f.slots = UINT32_MAX; },
        [](tr_verbs_frame &f) { f.bytes = 0; },
        [](tr_verbs_frame &f) { f.count = 1; },
        [](tr_verbs_frame &f) { f.path.mtu = 99; },
        [](tr_verbs_frame &f) { f.path.is_ethernet = 0; },
    };
    uint64_t malformed = 0;
    for (auto &lie : lies) {
        Hand hand(*world, turn);
        ASSERT_TRUE(hand.is_met());
        tr_verbs_frame frame = frame_of(FRAME_CONNECT);
        lie(frame);
        hand.put(frame);
        hand.put(frame); // the first is the proof
        EXPECT_TRUE(hand.is_hung_up());
        EXPECT_EQ(door->stats().rx_malformed, ++malformed);
    }
    Hand hand(*world, turn);
    ASSERT_TRUE(hand.is_met());
    hand.put(frame_of(FRAME_READY));
    hand.noise();
    EXPECT_TRUE(hand.is_hung_up());
    EXPECT_EQ(door->stats().rx_malformed, ++malformed) << "nobody with the key has sealed it";
    EXPECT_TRUE(comes(*client, 1, *door, 1)) << "a client that is honest is not disturbed";
    EXPECT_TRUE(comes(*door, 1, *client, 1));
}

// Bytes of anybody, some of which begin as a hello does, of whatever node to whatever other.
TEST_P(VerbsClients, NoiseAtADoorIsCountedAndDisturbsNobody)
{
    auto door = open_door(2);
    ASSERT_EQ(door->open_result(), TR_OK) << door->open_error();
    auto client = open_client(2);
    ASSERT_TRUE(comes(*client, 1, *door, 0));
    ASSERT_EQ(adopt(*door, 1), TR_OK);
    std::mt19937_64 random(17);
    sockaddr_in to = address_of_door();
    for (unsigned i = 0; i < 200; i++) {
        tr_verbs_hello hello = {};
        hello.magic = UINT64_C(0x3162726576727454);
        hello.version = 1;
        hello.from = static_cast<uint16_t>(random() % 4); // 1 is an adopted peer's number here
        hello.to = static_cast<uint16_t>(random() % 4);
        std::string bytes = pattern(1 + random() % 300, random());
        if (random() % 2 == 0)
            bytes = std::string(reinterpret_cast<char *>(&hello), 48) + bytes;
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr *>(&to), sizeof(to)), 0);
        EXPECT_GE(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), 0);
        rounds({door.get(), client.get()}, random() % 8);
        close(fd);
        if (i % 20 == 0) {
            ASSERT_TRUE(comes(*client, 1, *door, 1)) << i;
        }
    }
    EXPECT_TRUE(comes(*door, 1, *client, 1));
    EXPECT_GT(door->stats().rx_malformed, 0u);
    EXPECT_FALSE(door->saw(TR_PORT_PEER_DOWN, 1));
    EXPECT_FALSE(client->saw(TR_PORT_PEER_DOWN, 1));
}

// Nodes with doors; elections have the time that emulated processors take.
static cluster::Layout layout_of(const std::string &options)
{
    cluster::Layout layout;
    layout.driver = "verbs";
    layout.driver_options = [options](int) { return options; };
    layout.clients = true;
    layout.election_us = 1000000;
    return layout;
}

// A cluster with doors, and a client, over a change of leaders.
TEST_P(VerbsClients, ADoorIsForRemoteClients)
{
    std::string options = options_of(*world);
    cluster::Cluster c(layout_of(options));
    cluster::Remote nowhere(c, [&](tr_client_options &o) { o.driver_options = options.c_str(); });
    EXPECT_EQ(nowhere.opened, TR_EADDR) << "there are several devices";
    cluster::Remote remote(c, [&](tr_client_options &o) {
        o.address = "10.77.0.3:0";
        o.driver_options = options.c_str();
    });
    ASSERT_EQ(remote.opened, TR_OK) << remote.error;
    cluster::expect_once_across_leaders(c, remote, 2000);
}

// Two polling cores, each with a door at a port of its own.
TEST_P(VerbsClients, EachPollingCoreHasADoor)
{
    constexpr uint64_t commands = 200;
    std::string options = options_of(*world);
    cluster::Layout layout = layout_of(options);
    layout.lcores = layout.groups = 2;
    cluster::Cluster c(layout);
    std::string named = options + ",device=rxe2"; // in place of an address
    for (uint32_t group = 0; group < 2; group++) {
        cluster::Remote remote(c, [&](tr_client_options &o) {
            o.group = o.lcore = group;
            o.driver_options = named.c_str();
        });
        ASSERT_EQ(remote.opened, TR_OK) << remote.error;
        cluster::Stream stream(remote, commands);
        ASSERT_TRUE(cluster::run(c, stream, commands));
        ASSERT_TRUE(c.agree(group));
        for (cluster::Node &node : c.nodes)
            EXPECT_EQ(node.machine[group]->count, commands);
    }
}

static std::vector<Subject> only_verbs()
{
    std::vector<Subject> out;
    for (const Subject &subject : subjects()) {
        if (subject.name == "verbs")
            out.push_back(subject);
    }
    return out;
}

// Where there are no devices there is nothing to run.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(VerbsClients);
INSTANTIATE_TEST_SUITE_P(Drivers, VerbsClients, ::testing::ValuesIn(only_verbs()), subject_name);

} // namespace conformance
