// The parts of the DPDK driver that need no device: headers in and out, neighbours, and steering,
// whose rules go to a mock of rte_flow's operations.
#include "drivers/dpdk/dpdk_port.h"
#include "drivers/dpdk/neighbour.h"
#include "drivers/dpdk/packet.h"
#include "drivers/dpdk/steering.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <rte_byteorder.h>
#include <string>
#include <vector>

namespace
{

tr_endpoint end_of(const std::string &text, uint8_t mac)
{
    tr_endpoint end = {};
    EXPECT_TRUE(tr_endpoint_parse(text.c_str(), &end)) << text;
    end.mac = {{2, 0, 0, 0, 0, mac}};
    return end;
}

struct Ends {
    tr_endpoint from, to;
};

// The device that options name, whatever is told of it besides.
tr_device device_of(const std::string &text)
{
    dpdk_options options = {};
    tr_device out = {TR_DEVICE_RDMA, "unset"};
    snprintf(options.device, sizeof(options.device), "%s", text.c_str());
    tr_dpdk_options_device(&options, &out);
    return out;
}

TEST(DpdkDevice, APciAddressIsItsNameWithTheDomain)
{
    for (const char *text : {"0000:81:00.1", "81:00.1", "0000:81:00.1,txq_inline=1"}) {
        EXPECT_EQ(device_of(text).kind, TR_DEVICE_PCI) << text;
        EXPECT_STREQ(device_of(text).name, "0000:81:00.1") << text;
    }
    EXPECT_STREQ(device_of("0001:0a:1f.7").name, "0001:0a:1f.7");
}

TEST(DpdkDevice, AVirtualOneIsTheInterfaceThatItWorksThrough)
{
    for (const char *text : {"net_af_xdp0,iface=eth8", "net_af_packet1,qpairs=1,iface=eth8,x=1"}) {
        EXPECT_EQ(device_of(text).kind, TR_DEVICE_NETWORK) << text;
        EXPECT_STREQ(device_of(text).name, "eth8") << text;
    }
}

TEST(DpdkDevice, OneOfMemoryAloneIsNone)
{
    for (const char *text : {"", "net_memif0,id=1", "virtio_user0,path=/tmp/sock", "net_null0"}) {
        EXPECT_EQ(device_of(text).kind, TR_DEVICE_NONE) << text;
        EXPECT_STREQ(device_of(text).name, "") << text;
    }
}

const Ends v4 = {end_of("10.77.0.1:7410", 1), end_of("10.77.0.2:7411", 2)};
const Ends v6 = {end_of("[fd00::1]:7410", 1), end_of("[fd00::2]:7411", 2)};

// A frame from one end to the other with so many bytes of payload.
std::vector<uint8_t> frame_of(const Ends &ends, uint32_t bytes, bool is_padded,
                              tr_packet_checksum checksum)
{
    tr_packet_front front;
    tr_packet_front_make(&front, &ends.from, &ends.to, is_padded);
    std::vector<uint8_t> frame(tr_packet_front_bytes(&front) + bytes);
    for (uint32_t i = 0; i < bytes; i++)
        frame[frame.size() - bytes + i] = static_cast<uint8_t>(i * 7 + 1);
    EXPECT_EQ(tr_packet_finish(frame.data(), &front, bytes, checksum), frame.size());
    return frame;
}

TEST(dpdk_packet, AddressesAreNumbersWithAPort)
{
    tr_endpoint end = {};
    for (const char *text : {"nonsense", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:65536", "host:1", ":1",
                             "fd00::1:7410", "[fd00::1]", "[10.0.0.1]:1", "10.0.0.1:1x"})
        EXPECT_FALSE(tr_endpoint_parse(text, &end)) << text;
    EXPECT_TRUE(tr_ip_is_v4(&v4.from.ip));
    EXPECT_FALSE(tr_ip_is_v4(&v6.from.ip));
    EXPECT_TRUE(tr_ip_same_network(&v4.from.ip, &v4.to.ip, 24));
    EXPECT_FALSE(tr_ip_same_network(&v4.from.ip, &v4.to.ip, 31));
    EXPECT_FALSE(tr_ip_same_network(&v4.from.ip, &v6.to.ip, 1));
}

TEST(dpdk_packet, WhatIsBuiltIsReadAndItsPayloadIsAligned)
{
    for (const Ends *ends : {&v4, &v6}) {
        for (uint32_t bytes : {8u, 9u, 64u, 1001u, 1400u}) {
            for (bool is_padded : {false, true}) {
                auto frame = frame_of(*ends, bytes, is_padded, TR_PACKET_CHECKSUM_HERE);
                tr_packet packet = {};
                ASSERT_EQ(tr_packet_read(frame.data(), frame.size(), &ends->to, 0, &packet),
                          TR_PACKET_UDP);
                EXPECT_EQ(packet.source.port, 7410);
                EXPECT_EQ(packet.target_port, 7411);
                EXPECT_TRUE(tr_ip_equal(&packet.source.ip, &ends->from.ip));
                EXPECT_TRUE(tr_mac_equal(&packet.source.mac, &ends->from.mac));
                uint32_t pad = tr_packet_pad_bytes(&frame[packet.payload_at], packet.payload_bytes,
                                                   tr_ip_is_v4(&ends->to.ip));
                EXPECT_EQ(packet.payload_bytes - pad, bytes);
                EXPECT_EQ((packet.payload_at + pad) % 8 == 0, is_padded);
            }
        }
    }
}

TEST(dpdk_packet, EveryDamagedBitIsNoticed)
{
    for (const Ends *ends : {&v4, &v6}) {
        auto frame = frame_of(*ends, 40, true, TR_PACKET_CHECKSUM_HERE);
        for (size_t bit = 0; bit < frame.size() * 8; bit++) {
            auto bad = frame;
            tr_packet packet = {};
            bad[bit / 8] = static_cast<uint8_t>(bad[bit / 8] ^ 1u << bit % 8);
            bool is_source_mac = bit / 8 >= 6 && bit / 8 < 12;
            // No checksum covers these of IPv6: traffic class, flow label, hop limit.
            bool is_uncovered = ends == &v6 && ((bit / 8 >= 14 && bit / 8 < 18) || bit / 8 == 21);
            if (is_source_mac || is_uncovered)
                continue;
            EXPECT_NE(tr_packet_read(bad.data(), bad.size(), &ends->to, 0, &packet), TR_PACKET_UDP)
                << bit / 8;
        }
    }
}

TEST(dpdk_packet, ChecksumMayBeAbsentOverIPv4Alone)
{
    tr_packet packet = {};
    auto frame = frame_of(v4, 100, true, TR_PACKET_CHECKSUM_NONE);
    EXPECT_EQ(frame[40] | frame[41], 0);
    EXPECT_EQ(tr_packet_read(frame.data(), frame.size(), &v4.to, 0, &packet), TR_PACKET_UDP);
    frame = frame_of(v6, 100, true, TR_PACKET_CHECKSUM_NONE);
    EXPECT_NE(frame[60] | frame[61], 0);
    frame[60] = frame[61] = 0;
    EXPECT_EQ(tr_packet_read(frame.data(), frame.size(), &v6.to, 0, &packet), TR_PACKET_BAD);
}

TEST(dpdk_packet, HostileBytesNeverReachBeyondTheFrame)
{
    std::mt19937_64 random(17);
    unsigned taken = 0;
    for (unsigned i = 0; i < 200000; i++) {
        const Ends &ends = i % 2 == 0 ? v4 : v6;
        auto frame = frame_of(ends, random() % 100, random() % 2 == 0, TR_PACKET_CHECKSUM_NONE);
        frame.resize(random() % 4 == 0 ? random() % (frame.size() + 1) : frame.size());
        for (unsigned damage = random() % 4; damage > 0 && !frame.empty(); damage--)
            frame[random() % frame.size()] = static_cast<uint8_t>(random());
        std::vector<uint8_t> exact(frame); // so that a sanitizer sees the end
        tr_packet packet = {};
        tr_neighbour said = {};
        if (tr_packet_read(exact.data(), exact.size(), &ends.to,
                           TR_PACKET_IP_GOOD | TR_PACKET_UDP_GOOD, &packet) == TR_PACKET_UDP) {
            ASSERT_LE(packet.payload_at + packet.payload_bytes, exact.size());
            taken++;
        }
        tr_neighbour_read(exact.data(), exact.size(), &ends.to, &said);
    }
    EXPECT_GT(taken, 1000u);
}

TEST(dpdk_neighbour, QuestionIsHeardByWhoIsAskedAndItsAnswerByWhoAsked)
{
    for (const Ends *ends : {&v4, &v6}) {
        uint8_t frame[TR_NEIGHBOUR_BYTES_MAX];
        tr_neighbour heard = {}, answer = {};
        tr_packet packet = {};
        uint32_t bytes = tr_neighbour_ask(frame, &ends->from, &ends->to.ip);
        EXPECT_EQ(tr_packet_read(frame, bytes, &ends->to, 0, &packet), TR_PACKET_NEIGHBOUR);
        ASSERT_TRUE(tr_neighbour_read(frame, bytes, &ends->to, &heard));
        EXPECT_TRUE(heard.is_request && tr_ip_equal(&heard.sender, &ends->from.ip) &&
                    tr_mac_equal(&heard.mac, &ends->from.mac));
        tr_endpoint third = ends->to;
        third.ip = end_of(ends == &v4 ? "10.77.0.3:1" : "[fd00::3]:1", 3).ip;
        EXPECT_FALSE(tr_neighbour_read(frame, bytes, &third, &heard)) << "nobody asked the third";
        ASSERT_TRUE(tr_neighbour_read(frame, bytes, &ends->to, &heard));
        bytes = tr_neighbour_answer(frame, &ends->to, &heard);
        ASSERT_TRUE(tr_neighbour_read(frame, bytes, &ends->from, &answer));
        EXPECT_FALSE(answer.is_request);
        EXPECT_TRUE(tr_ip_equal(&answer.sender, &ends->to.ip) &&
                    tr_mac_equal(&answer.mac, &ends->to.mac));
        for (uint32_t shorter = 0; shorter < (ends == &v4 ? 42u : bytes); shorter++)
            EXPECT_FALSE(tr_neighbour_read(frame, shorter, &ends->from, &answer)) << shorter;
    }
}

// ---- steering

struct Rule {
    uint16_t device, udp_port, queue;
    bool is_v4;
};

struct Device {
    std::vector<Rule> rules;
    unsigned refuse_at = 100;
    unsigned destroyed = 0;
};

Device *mock; // of the test under way: rte_flow's operations have no context

int mock_validate(uint16_t, const rte_flow_attr *attributes, const rte_flow_item pattern[],
                  const rte_flow_action actions[], rte_flow_error *error)
{
    EXPECT_EQ(attributes->ingress, 1u);
    EXPECT_EQ(pattern[0].type, RTE_FLOW_ITEM_TYPE_ETH);
    EXPECT_EQ(pattern[2].type, RTE_FLOW_ITEM_TYPE_UDP);
    EXPECT_EQ(pattern[3].type, RTE_FLOW_ITEM_TYPE_END);
    EXPECT_EQ(actions[0].type, RTE_FLOW_ACTION_TYPE_QUEUE);
    EXPECT_EQ(actions[1].type, RTE_FLOW_ACTION_TYPE_END);
    if (mock->rules.size() < mock->refuse_at)
        return 0;
    error->message = "table is full";
    return -1;
}

rte_flow *mock_create(uint16_t device, const rte_flow_attr *, const rte_flow_item pattern[],
                      const rte_flow_action actions[], rte_flow_error *)
{
    const auto *udp = static_cast<const rte_flow_item_udp *>(pattern[2].spec);
    const auto *mask = static_cast<const rte_flow_item_udp *>(pattern[2].mask);
    EXPECT_EQ(mask->hdr.dst_port, 0xffff);
    EXPECT_EQ(mask->hdr.src_port, 0);
    mock->rules.push_back({device, rte_be_to_cpu_16(udp->hdr.dst_port),
                           static_cast<const rte_flow_action_queue *>(actions[0].conf)->index,
                           pattern[1].type == RTE_FLOW_ITEM_TYPE_IPV4});
    return reinterpret_cast<rte_flow *>(mock->rules.size());
}

int mock_destroy(uint16_t, rte_flow *, rte_flow_error *)
{
    mock->destroyed++;
    return 0;
}

const tr_steering_operations operations = {mock_validate, mock_create, mock_destroy};

TEST(dpdk_steering, RulesBringEachPortToItsQueue)
{
    for (const Ends *ends : {&v4, &v6}) {
        Device device;
        tr_steering_rules rules;
        char why[64] = "";
        mock = &device;
        ASSERT_TRUE(tr_steering_install(&rules, &operations, 5, &ends->from, 4, why, sizeof(why)));
        ASSERT_EQ(device.rules.size(), 4u);
        for (uint16_t q = 0; q < 4; q++) {
            EXPECT_EQ(device.rules[q].device, 5);
            EXPECT_EQ(device.rules[q].udp_port, 7410 + q);
            EXPECT_EQ(device.rules[q].queue, q);
            EXPECT_EQ(device.rules[q].is_v4, ends == &v4);
        }
        tr_steering_remove(&rules);
        EXPECT_EQ(device.destroyed, 4u);
    }
}

TEST(dpdk_steering, RulesAreAllInstalledOrNone)
{
    Device device;
    tr_steering_rules rules;
    char why[64] = "";
    mock = &device;
    device.refuse_at = 2;
    EXPECT_FALSE(tr_steering_install(&rules, &operations, 0, &v4.from, 4, why, sizeof(why)));
    EXPECT_EQ(device.destroyed, 2u);
    EXPECT_STREQ(why, "table is full");
}

TEST(dpdk_steering, HashIsTheOneOfTheDocument)
{
    // Verification suite of Microsoft's RSS document: TCP/IPv4 and IPv6 rows with ports.
    tr_endpoint from = end_of("66.9.149.187:2794", 1);
    tr_endpoint to = end_of("161.142.100.80:1766", 2);
    EXPECT_EQ(tr_steering_hash(&from, &to), 0x51ccc178u);
    from = end_of("[3ffe:2501:200:1fff::7]:2794", 1);
    to = end_of("[3ffe:2501:200:3::1]:1766", 2);
    EXPECT_EQ(tr_steering_hash(&from, &to), 0x40207d3du);
}

TEST(dpdk_steering, SourcePortLandsOnTheQueue)
{
    for (const Ends *ends : {&v4, &v6}) {
        for (uint32_t queues : {2u, 3u, 8u, 64u}) {
            for (uint32_t queue = 0; queue < queues; queue++) {
                tr_endpoint from = ends->from;
                from.port = tr_steering_source_port(&ends->from, &ends->to, queue, queues);
                EXPECT_EQ(tr_steering_hash(&from, &ends->to) % queues, queue);
            }
        }
        EXPECT_EQ(tr_steering_source_port(&ends->from, &ends->to, 0, 1), ends->from.port);
    }
}

} // namespace
