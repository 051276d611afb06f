// Nodes with several polling cores over the DPDK driver: each core has a queue of the NIC, and what
// is for it comes to that queue, by the device or, where that cannot, by software. For NICs of two
// queues and more (TRIREME_NIC_QUEUES, tests/vm); TRIREME_NIC_STEERING says how they can steer.
#include "suite.h"

#include <cstdlib>

namespace conformance
{

namespace
{

constexpr uint32_t queues = 2;

// How the NICs of this machine are to steer: "hash" or "software"; empty without such NICs.
std::string steering()
{
    const char *count = getenv("TRIREME_NIC_QUEUES");
    const char *how = getenv("TRIREME_NIC_STEERING");
    bool has_several = count != nullptr && static_cast<uint32_t>(atoi(count)) >= queues;
    return has_several && how != nullptr ? how : "";
}

#define REQUIRE_QUEUES()                                                       \
    do {                                                                       \
        if (steering().empty())                                                \
            GTEST_SKIP() << "not applicable: there are no NICs of two queues"; \
    } while (0)

// The ports of one node, one a queue.
using Queues = std::vector<std::unique_ptr<Port>>;

} // namespace

class DpdkQueues : public Conformance
{
  protected:
    Queues open_queues(unsigned node, const std::string &more = "")
    {
        Queues out;
        for (uint32_t q = 0; q < queues; q++)
            out.push_back(open(node, [&](tr_port_options &options) {
                extra_ = options.extra + more;
                options.extra = extra_.c_str();
                options.queue_index = q;
                options.queue_count = queues;
            }));
        return out;
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

  private:
    std::string extra_;
};

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

CONFORMANCE_INSTANTIATE(DpdkQueues);

} // namespace conformance
