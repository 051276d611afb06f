// Nodes with several polling cores over the DPDK driver: each core has a queue of the NIC, and what
// is for it comes to that queue, by the device or, where that cannot, by software. For AF_PACKET,
// and for NICs of two queues and more (TRIREME_NIC_QUEUES, tests/vm); TRIREME_NIC_STEERING says how
// they can steer.
#include "../unit/cluster_fixture.h"
#include "suite.h"

#include <cstdlib>
#include <trireme/stat.h>

namespace conformance
{

namespace
{

constexpr uint32_t queues = 2;
constexpr unsigned messages = 200;

// How a subject is to steer: "hash" or "software"; empty if it has one queue.
std::string steering_of(const Subject &subject)
{
    if (subject.name == "dpdkpacket")
        return "software";
    const char *count = getenv("TRIREME_NIC_QUEUES");
    const char *how = getenv("TRIREME_NIC_STEERING");
    bool has_several = count != nullptr && static_cast<uint32_t>(atoi(count)) >= queues;
    return has_several && how != nullptr ? how : "";
}

// The options of a node's ports when it has several: a device in software is asked for its queues.
std::string options_of(World &world, const Subject &subject, unsigned node)
{
    tr_port_options options = {};
    world.fill(options, node);
    bool is_made = subject.name == "dpdkpacket";
    return options.extra + (is_made ? "+qpairs=" + std::to_string(queues) : "");
}

#define REQUIRE_QUEUES()                                               \
    do {                                                               \
        if (steering().empty())                                        \
            GTEST_SKIP() << "not applicable: no device of two queues"; \
    } while (0)

// The ports of one node, one a queue.
using Queues = std::vector<std::unique_ptr<Port>>;

} // namespace

class DpdkQueues : public Conformance
{
  protected:
    std::string steering() const
    {
        return steering_of(subject());
    }

    Queues open_queues(unsigned node)
    {
        Queues out;
        std::string extra = options_of(*world, subject(), node);
        for (uint32_t q = 0; q < queues; q++)
            out.push_back(open(node, [&](tr_port_options &options) {
                options.extra = extra.c_str();
                options.queue_index = q;
                options.queue_count = queues;
            }));
        return out;
    }

    static uint64_t misplaced(const Queues &node)
    {
        uint64_t sum = 0;
        for (const auto &port : node)
            sum += port->stats().rx_misplaced;
        return sum;
    }

    static std::vector<Port *> all_of(const std::vector<const Queues *> &nodes)
    {
        std::vector<Port *> out;
        for (const Queues *node : nodes)
            for (const auto &port : *node)
                out.push_back(port.get());
        return out;
    }

    // Sends until a message with these bytes has come to a port; the others must be polled, too.
    bool send_until_there(Port &from, Port &to, const std::string &bytes,
                          const std::vector<Port *> &polled)
    {
        auto is_there = [&] {
            for (const Message &message : to.inbox)
                if (message.bytes == bytes)
                    return true;
            return false;
        };
        unsigned turns = 0;
        return until(polled, [&] {
            if (turns++ % 64 == 0 && !is_there())
                from.send(to.node(), bytes);
            return is_there();
        });
    }
};

// What is sent from queue to queue, by every node to every other.
TEST_P(DpdkQueues, ReceiveWhatIsForThem)
{
    REQUIRE_QUEUES();
    std::vector<Queues> nodes;
    for (unsigned node = 1; node <= node_count; node++)
        nodes.push_back(open_queues(node));
    const std::string way = steering() == "hash" ? "by the device's hash" : "by software";
    EXPECT_NE(nodes[0][0]->open_error().find(way), std::string::npos) << nodes[0][0]->open_error();
    std::vector<Port *> polled = all_of({&nodes[0], &nodes[1], &nodes[2]});
    for (Queues &node : nodes)
        for (auto &port : node)
            for (unsigned peer = 1; peer <= node_count; peer++)
                if (peer != port->node()) {
                    ASSERT_EQ(port->add(peer, world->address(peer)), TR_OK);
                }
    for (unsigned i = 0; i < messages; i++)
        for (Queues &from : nodes)
            for (Queues &to : nodes)
                for (uint32_t q = 0; &from != &to && q < queues; q++) {
                    std::string bytes = "for queue " + std::to_string(q) + ", " +
                                        std::to_string(from[q]->node()) + "." + std::to_string(i);
                    ASSERT_TRUE(send_until_there(*from[q], *to[q], bytes, polled));
                }
    for (Queues &node : nodes) {
        for (uint32_t q = 0; q < queues; q++)
            for (const Message &message : node[q]->inbox)
                EXPECT_EQ(message.bytes.find("for queue " + std::to_string(q)), 0u);
        if (steering() == "hash") {
            EXPECT_EQ(misplaced(node), 0u);
        }
    }
}

// Senders that choose no source port: the device's hash has it that some of what they send comes to
// the wrong queue, and it is handed over.
TEST_P(DpdkQueues, HandOverWhatCameToTheWrongOne)
{
    REQUIRE_QUEUES();
    constexpr unsigned flows = 32;
    Queues node = open_queues(2);
    for (unsigned flow = 0; flow < flows; flow++) {
        std::string address = "10.77.0.1:" + std::to_string(7500 + flow);
        auto sender = open(1, [&](tr_port_options &options) { options.address = address.c_str(); });
        std::vector<Port *> polled = all_of({&node});
        polled.push_back(sender.get());
        ASSERT_EQ(sender->add(2, "10.77.0.2:7411"), TR_OK); // queue 1's
        ASSERT_TRUE(send_until_there(*sender, *node[1], "flow " + std::to_string(flow), polled));
    }
    EXPECT_TRUE(node[0]->inbox.empty());
    EXPECT_EQ(node[1]->stats().rx_misplaced, 0u);
    EXPECT_GT(node[0]->stats().rx_misplaced, 0u);
    EXPECT_LT(node[0]->stats().rx_misplaced, node[1]->stats().rx_messages);
}

// Frames that were handed over to a queue and not taken are given back when the device is closed.
TEST_P(DpdkQueues, CloseWithWhatNobodyTook)
{
    REQUIRE_QUEUES();
    if (steering() != "hash")
        GTEST_SKIP() << "not applicable: nobody knows which queue gets a question";
    for (unsigned round = 0; round < 2; round++) {
        Queues node = open_queues(2);
        auto sender = open(1);
        ASSERT_EQ(sender->add(2, world->address(2)), TR_OK);
        // A question of the sender's goes to both queues, and only one is polled.
        EXPECT_TRUE(send_until_there(*sender, *node[0], "here", {sender.get(), node[0].get()}));
    }
}

namespace
{

// What a node has counted under a name, in one scope.
uint64_t counted(const cluster::Cluster &c, int index, const std::string &scope,
                 const std::string &name)
{
    std::string segment = "test" + c.tag + "." + std::to_string(index + 1);
    tr_stat *stat = nullptr;
    struct tr_stat_row row = {};
    uint64_t value = UINT64_MAX;
    char error[256] = "";
    EXPECT_EQ(tr_stat_open(segment.c_str(), &stat, error, sizeof(error)), TR_OK) << error;
    for (uint32_t i = 0; stat != nullptr && tr_stat_row(stat, i, &row) == TR_OK; i++)
        if (row.scope == scope && row.name == name)
            value = row.value;
    tr_stat_close(stat);
    EXPECT_NE(value, UINT64_MAX) << scope << " counts no " << name;
    return value;
}

// Commands through a session of a node and group, all completed.
void command(cluster::Cluster &c, int node, uint32_t group, uint64_t count)
{
    cluster::Client client(c, node, group);
    tr_completion done;
    for (uint64_t i = 1; i <= count; i++)
        client.must_submit(i);
    for (uint64_t i = 1; i <= count; i++) {
        ASSERT_TRUE(client.next(&done));
        ASSERT_EQ(done.status, TR_OK);
    }
}

} // namespace

// Whole nodes: four groups on two cores each. What the device gives to a core is for its groups.
TEST_P(DpdkQueues, ServeTheGroupsOfTheirCores)
{
    REQUIRE_QUEUES();
    constexpr uint64_t commands = 100;
    cluster::Layout layout;
    layout.driver = "dpdk";
    layout.driver_options = [&](int index) {
        return options_of(*world, subject(), static_cast<unsigned>(index + 1));
    };
    layout.threads = true;
    layout.lcores = queues;
    layout.groups = 4;
    layout.election_us = 500000;
    cluster::Cluster c(layout);
    for (uint32_t group = 0; group < layout.groups; group++)
        for (int node = 0; node < layout.nodes; node++)
            ASSERT_NO_FATAL_FAILURE(command(c, node, group, commands));
    for (uint32_t group = 0; group < layout.groups; group++) {
        ASSERT_TRUE(c.agree(group));
        EXPECT_EQ(c.nodes[0].machine[group]->count, commands * 3);
    }
    for (int node = 0; node < layout.nodes; node++)
        for (uint32_t q = 0; q < queues; q++) {
            std::string port = "port " + std::to_string(q), core = "lcore " + std::to_string(q);
            // Figures are published a few times a second.
            EXPECT_TRUE(c.until([&] { return counted(c, node, port, "rx_messages") > commands; }));
            EXPECT_EQ(counted(c, node, core, "rx_unknown_group"), 0u);
            if (steering() == "hash") {
                EXPECT_EQ(counted(c, node, port, "rx_misplaced"), 0u);
            }
        }
}

CONFORMANCE_INSTANTIATE(DpdkQueues);

} // namespace conformance
