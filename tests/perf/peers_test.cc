#include "perf/peers.h"

#include "trireme/error.h"

#include <gtest/gtest.h>

#include <string>

TEST(Peers, AListIsDivided)
{
    tr_perf_peer peers[TR_VOTERS_MAX];
    uint32_t count = 0;
    char error[256] = "";
    ASSERT_EQ(tr_perf_peers_parse("1=10.0.0.1:7000,3=[::1]:80", peers, &count, error, 256), TR_OK);
    ASSERT_EQ(count, 2u);
    EXPECT_EQ(peers[0].node, 1);
    EXPECT_STREQ(peers[0].address, "10.0.0.1:7000");
    EXPECT_EQ(peers[1].node, 3);
    EXPECT_STREQ(peers[1].address, "[::1]:80");
}

TEST(Peers, WhatIsNoListIsRefusedWithASentence)
{
    for (const char *list : {"", "1", "1=", "=a:1", "0=a:1", "70000=a:1", "1=a:1,", ",1=a:1",
                             "1=a:1,1=b:2", "x=a:1"}) {
        tr_perf_peer peers[TR_VOTERS_MAX];
        uint32_t count = 77;
        char error[512] = "";
        EXPECT_EQ(tr_perf_peers_parse(list, peers, &count, error, sizeof(error)), TR_EINVAL)
            << list;
        EXPECT_EQ(count, 77u) << list;
        EXPECT_NE(std::string(error).find("ID=ADDRESS"), std::string::npos) << list;
    }
    std::string many, longest = "1=" + std::string(200, 'x') + ":1";
    for (int i = 1; i <= TR_VOTERS_MAX + 1; i++)
        many += (i > 1 ? "," : "") + std::to_string(i) + "=a:1";
    for (const std::string &list : {many, longest}) {
        tr_perf_peer peers[TR_VOTERS_MAX];
        uint32_t count = 0;
        char error[512] = "";
        EXPECT_EQ(tr_perf_peers_parse(list.c_str(), peers, &count, error, sizeof(error)),
                  TR_EINVAL);
    }
}

TEST(Peers, AnAddressIsDividedIntoHostAndPort)
{
    char host[32];
    uint16_t port = 0;
    ASSERT_TRUE(tr_perf_address_divide("10.0.0.1:7000", host, sizeof(host), &port));
    EXPECT_STREQ(host, "10.0.0.1");
    EXPECT_EQ(port, 7000);
    ASSERT_TRUE(tr_perf_address_divide("[fe80::1]:80", host, sizeof(host), &port));
    EXPECT_STREQ(host, "fe80::1");
    EXPECT_EQ(port, 80);
    for (const char *address : {"", ":", "a", "a:", ":80", "a:0", "a:65536", "a:1x", "[a:1", "[]:1",
                                "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz:1"})
        EXPECT_FALSE(tr_perf_address_divide(address, host, sizeof(host), &port)) << address;
}
