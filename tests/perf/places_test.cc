#include "perf/places.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/stat.h>

namespace
{

tr_perf_options options_of(const char *driver, const char *driver_options = "",
                           const char *peers = "")
{
    tr_perf_options options = {};
    strcpy(options.driver, driver);
    strcpy(options.driver_options, driver_options);
    strcpy(options.peers, peers);
    options.replicas = 3;
    return options;
}

struct Places : tr_perf_places {
    explicit Places(const tr_perf_options &options)
    {
        result = tr_perf_places_make(&options, this, error, sizeof(error));
    }
    ~Places()
    {
        tr_perf_places_remove(this);
    }
    int result;
    char error[512] = "";
};

} // namespace

TEST(Places, OfOneMachineAreApartForEngineDoorAndFloor)
{
    for (const char *driver : {"shm", "udp", "loop"}) {
        Places p(options_of(driver));
        ASSERT_EQ(p.result, TR_OK) << p.error;
        ASSERT_EQ(p.count, 3u);
        EXPECT_FALSE(p.is_shared);
        EXPECT_STREQ(p.engine[0].options, "");
        for (uint32_t i = 0; i < 3; i++) {
            EXPECT_EQ(p.engine[i].id, i + 1);
            EXPECT_STRNE(p.engine[i].address, p.engine[i].door);
            EXPECT_STRNE(p.engine[i].address, p.floor[i].address);
            EXPECT_STRNE(p.engine[i].address, p.engine[(i + 1) % 3].address);
            EXPECT_NE(p.engine[i].id, p.floor[i].id);
        }
    }
}

TEST(Places, OverDpdkAreJoinedByMemif_InADirectoryThatIsRemoved)
{
    std::string directory;
    {
        Places p(options_of("dpdk", "mtu=1500"));
        ASSERT_EQ(p.result, TR_OK) << p.error;
        directory = p.directory;
        EXPECT_TRUE(std::filesystem::is_directory(directory));
        EXPECT_EQ(p.engine[1].options, "memif=" + directory + ",mtu=1500");
        EXPECT_STREQ(p.engine[1].options, p.floor[1].options);
        EXPECT_STREQ(p.engine[1].address, "10.77.0.2:7410");
        EXPECT_STREQ(p.floor[1].address, "10.77.0.2:8410");
        EXPECT_FALSE(p.is_shared);
    }
    EXPECT_FALSE(std::filesystem::exists(directory));
}

TEST(Places, ADeviceIsOneOfEachReplica_AndTheFloorsToo)
{
    Places p(
        options_of("dpdk", "mtu=1500,device=0000:3b:02.%n", "4=10.0.0.1:7000,6=10.0.0.2:7000"));
    ASSERT_EQ(p.result, TR_OK) << p.error;
    ASSERT_EQ(p.count, 2u);
    EXPECT_STREQ(p.directory, "");
    EXPECT_TRUE(p.is_shared);
    EXPECT_STREQ(p.engine[1].options, "mtu=1500,device=0000:3b:02.6");
    EXPECT_EQ(p.engine[1].id, 6);
    EXPECT_EQ(p.floor[1].id, 6);
    EXPECT_STREQ(p.floor[0].address, "10.0.0.1:7000");
}

TEST(Places, OverVethTheirInterfacesAreNumbered)
{
    tr_perf_options options = options_of("dpdk", "descriptors=512");
    options.veth = TR_PERF_VETH_XDP;
    Places xdp(options);
    EXPECT_STREQ(xdp.engine[2].options,
                 "device=net_af_xdp3+iface=v3+busy_budget=0,descriptors=512");
    EXPECT_TRUE(xdp.is_shared);
    options.veth = TR_PERF_VETH_PACKET;
    Places packet(options);
    EXPECT_STREQ(packet.engine[0].options,
                 "device=net_af_packet1+iface=v1+framecnt=4096,descriptors=512");
}

TEST(Places, OverVerbsHaveAKeyThatNobodyElseReads)
{
    Places p(options_of("verbs", "fence=reset", "1=10.0.0.1:7440,2=10.0.0.1:65000"));
    ASSERT_EQ(p.result, TR_OK) << p.error;
    EXPECT_EQ(p.engine[0].options, "key=" + std::string(p.directory) + "/key,fence=reset");
    EXPECT_STREQ(p.floor[0].address, "10.0.0.1:8440");
    EXPECT_STREQ(p.floor[1].address, "10.0.0.1:64000");
    std::string path = std::string(p.directory) + "/key", text;
    std::ifstream(path) >> text;
    EXPECT_EQ(text.size(), 64u);
    EXPECT_EQ(text.find_first_not_of("0123456789abcdef"), std::string::npos);
    struct stat about = {};
    ASSERT_EQ(stat(path.c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 077, 0u);
    Places given(options_of("verbs", "key=/etc/key", "1=10.0.0.1:7440"));
    EXPECT_STREQ(given.engine[0].options, "key=/etc/key");
    EXPECT_STREQ(given.directory, "");
    Places none(options_of("verbs"));
    EXPECT_EQ(none.result, TR_EINVAL);
    EXPECT_NE(std::string(none.error).find("--peers"), std::string::npos);
}

TEST(Places, OfSeveralMachinesAreThePeers_AndThisNodeIsOneOfThem)
{
    tr_perf_options options = options_of("udp", "gso=off", "1=a:1,2=b:1");
    options.node = 2;
    Places p(options);
    ASSERT_EQ(p.result, TR_OK) << p.error;
    EXPECT_STREQ(p.cluster, "perf");
    EXPECT_STREQ(p.engine[1].address, "b:1");
    EXPECT_STREQ(p.engine[1].options, "gso=off");
    options.node = 3;
    Places other(options);
    EXPECT_EQ(other.result, TR_EINVAL);
    EXPECT_NE(std::string(other.error).find("--node 3"), std::string::npos);
}

TEST(PlacesParts, AKeyIsFoundAtTheBeginningOfAnItemOnly)
{
    EXPECT_TRUE(tr_perf_list_has("device=x", "device"));
    EXPECT_TRUE(tr_perf_list_has("mtu=1500,device=", "device"));
    EXPECT_FALSE(tr_perf_list_has("", "device"));
    EXPECT_FALSE(tr_perf_list_has("below.device=x,devices=2", "device"));
    EXPECT_FALSE(tr_perf_list_has("mtu=device=", "device"));
}

TEST(PlacesParts, NumbersStandInPlaceOfTheirSigns)
{
    char out[16];
    ASSERT_TRUE(tr_perf_expand("a%n+b%n%", 65535, out, sizeof(out)));
    EXPECT_STREQ(out, "a65535+b65535%");
    EXPECT_FALSE(tr_perf_expand("abc%n+b%n%%", 65535, out, sizeof(out)));
    ASSERT_TRUE(tr_perf_expand("", 1, out, sizeof(out)));
    EXPECT_STREQ(out, "");
}

TEST(PlacesParts, BesideAnAddressIsAnotherPort)
{
    char out[TR_PERF_ADDRESS_MAX];
    ASSERT_TRUE(tr_perf_address_beside("[fd00::1]:7410", out));
    EXPECT_STREQ(out, "[fd00::1]:8410");
    ASSERT_TRUE(tr_perf_address_beside("host:65535", out));
    EXPECT_STREQ(out, "host:64535");
    EXPECT_FALSE(tr_perf_address_beside("shm:name", out));
}
