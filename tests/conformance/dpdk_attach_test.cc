// Payloads that a device takes from where they lie, over memif: whoever sends may write over them
// as soon as tx_burst has returned, as with any driver that copies.
#include "suite.h"

namespace conformance
{

class DpdkAttach : public Conformance
{
  protected:
    void SetUp() override
    {
        Conformance::SetUp();
        if (std::string(subject().name) != "dpdkmemif")
            GTEST_SKIP() << "not applicable: only memif takes frames of several buffers and keeps "
                            "none of them";
    }

    // Sends from memory that is written over at once. Returns: whether it was taken.
    bool send(Port &from, unsigned to, const std::string &bytes, size_t first_segment)
    {
        std::string memory = bytes;
        size_t first = std::min(first_segment, bytes.size());
        tr_tx tx = {};
        tx.peer = static_cast<tr_node_id>(to);
        tx.segment_count = first != bytes.size() ? 2 : 1;
        tx.segment[0] = {memory.data(), static_cast<uint32_t>(first)};
        tx.segment[1] = {memory.data() + first, static_cast<uint32_t>(bytes.size() - first)};
        bool taken = from.driver->tx_burst(from.raw(), &tx, 1) == 1;
        memory.assign(memory.size(), '\xee');
        return taken;
    }

    // Two ports that reach each other.
    void join(const char *more)
    {
        ports_ = open_all(2, [this, more](tr_port_options &options) {
            extra_[options.self % 4] = std::string(options.extra) + more;
            options.extra = extra_[options.self % 4].c_str();
        });
        ASSERT_EQ(ports_.size(), 2u);
    }

    uint64_t attached() const
    {
        return ports_[0]->stats().tx_attached;
    }

    std::string extra_[4];
    std::vector<std::unique_ptr<Port>> ports_;
};

TEST_P(DpdkAttach, WhatWasSentMayBeWrittenOverAtOnce)
{
    join("");
    std::mt19937_64 random(7);
    uint64_t seed = 100;
    for (size_t size : {64, 4095, 4096, 4097, 8192, 8900, 8901, 9000, 20000, 100000, 500000}) {
        for (size_t first : {size_t(72), size_t(4096), size_t(random() % size + 1), size}) {
            SCOPED_TRACE(std::to_string(size) + " bytes, the first " + std::to_string(first));
            uint64_t before = attached();
            std::string bytes = pattern(size, ++seed);
            ports_[1]->inbox.clear();
            ASSERT_TRUE(send(*ports_[0], 2, bytes, first));
            ASSERT_TRUE(until({ports_[0].get(), ports_[1].get()},
                              [&] { return !ports_[1]->inbox.empty(); }));
            EXPECT_TRUE(ports_[1]->inbox[0].bytes == bytes);
            if (size < 4096) {
                EXPECT_EQ(attached(), before) << "small ones are cheaper copied";
            }
            if (size >= 8192 && first <= 4096) {
                EXPECT_GT(attached(), before);
            }
        }
    }
}

TEST_P(DpdkAttach, OneBeforeAFlush_ThoseBehindItShareAPush)
{
    join("");
    for (uint64_t i = 0; i < 8; i++)
        ASSERT_TRUE(send(*ports_[0], 2, pattern(5000, i), 5000));
    EXPECT_EQ(attached(), 1u);
    ports_[0]->driver->tx_flush(ports_[0]->raw());
    ASSERT_TRUE(send(*ports_[0], 2, pattern(5000, 8), 5000));
    EXPECT_EQ(attached(), 2u);
    ASSERT_TRUE(
        until({ports_[0].get(), ports_[1].get()}, [&] { return ports_[1]->inbox.size() == 9; }));
    for (uint64_t i = 0; i < 9; i++)
        EXPECT_TRUE(ports_[1]->inbox[i].bytes == pattern(5000, i)) << i;
}

TEST_P(DpdkAttach, WhereThePeerDoesNotRead_IsCopied)
{
    join("");
    uint64_t taken = 0;
    for (bool more = true; more; ports_[0]->driver->tx_flush(ports_[0]->raw())) {
        more = send(*ports_[0], 2, pattern(5000 + taken % 8000, taken), 100);
        taken += more;
        ASSERT_LT(taken, 100000u) << "there is no end to the queue";
    }
    EXPECT_GT(attached(), 0u);
    EXPECT_LT(attached(), taken) << "what the full ring refused";
    ASSERT_TRUE(until({ports_[0].get(), ports_[1].get()},
                      [&] { return ports_[1]->inbox.size() >= taken; }));
    for (uint64_t i = 0; i < taken; i++)
        ASSERT_TRUE(ports_[1]->inbox[i].bytes == pattern(5000 + i % 8000, i)) << i;
}

TEST_P(DpdkAttach, OnlyFromTheBytesThatAreAskedFor)
{
    join(",attach=65536");
    ASSERT_TRUE(send(*ports_[0], 2, pattern(60000, 1), 60000));
    EXPECT_EQ(attached(), 0u);
    ports_[1]->inbox.clear();
    ASSERT_TRUE(deliver(*ports_[0], *ports_[1], pattern(8000, 2)));
    EXPECT_EQ(attached(), 0u);
}

CONFORMANCE_INSTANTIATE(DpdkAttach);

} // namespace conformance
