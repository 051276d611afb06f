/* Which CPUs and memory are near a device: on machines that tests/data describes, and threads and
 * memory of this one, as far as the kernel lets them be moved. */
#include "dataplane/placement.h"

#include "dataplane/arena.h"
#include "dataplane/node.h"
#include "dataplane/pollers.h"
#include "trireme/error.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>
#include <mutex>
#include <string>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace
{

/* Of <linux/mempolicy.h>; the last is MPOL_F_ADDR. */
constexpr int MODE_DEFAULT = 0, MODE_PREFERRED = 1, MODE_BIND = 2, MODE_PREFERRED_MANY = 5;
constexpr unsigned long OF_ADDRESS = 2;

tr_device device(tr_device_kind kind, const char *name)
{
    tr_device one = {};
    one.kind = kind;
    snprintf(one.name, sizeof(one.name), "%s", name);
    return one;
}

/* The machine of two_nodes.xml has two NUMA nodes of two cores of two CPUs each: 0 to 3 and 4 to 7.
 * eth0 (0000:01:00.0) is near node 0; eth8 (0000:81:00.0), eth9 and mlx5_0 (0000:81:00.1) near node
 * 1; eth4 is near both. */
class Placement : public ::testing::Test
{
  protected:
    ~Placement() override
    {
        tr_placement_close(&p);
    }

    bool open(tr_device_kind kind, const char *name, const char *isolated = "",
              std::vector<int> usable = {0, 1, 2, 3, 4, 5, 6, 7})
    {
        cpu_set_t set;
        CPU_ZERO(&set);
        for (int cpu : usable)
            CPU_SET(cpu, &set);
        tr_device one = device(kind, name);
        tr_placement_options options = {};
        options.device = &one;
        options.topology = TEST_DATA "/two_nodes.xml";
        options.isolated = isolated;
        options.usable = &set;
        tr_placement_close(&p);
        return tr_placement_open(&p, &options);
    }

    std::vector<int> cpus() const
    {
        return std::vector<int>(p.cpu, p.cpu + p.cpu_count);
    }

    std::string why() const
    {
        return p.why;
    }

    tr_placement p = {};
};

using Cpus = std::vector<int>;

TEST_F(Placement, APciDeviceIsNearItsNode)
{
    ASSERT_TRUE(open(TR_DEVICE_PCI, "0000:81:00.0")) << why();
    EXPECT_EQ(p.memory_nodes, 2u);
    EXPECT_EQ(cpus(), (Cpus{4, 6, 5, 7}));
    ASSERT_TRUE(open(TR_DEVICE_PCI, "0000:01:00.0")) << why();
    EXPECT_EQ(p.memory_nodes, 1u);
    EXPECT_EQ(cpus(), (Cpus{0, 2, 1, 3}));
}

TEST_F(Placement, ANetworkInterfaceAndAnRdmaDeviceAreNearTheNodeOfTheirCard)
{
    ASSERT_TRUE(open(TR_DEVICE_NETWORK, "eth8")) << why();
    EXPECT_EQ(p.memory_nodes, 2u);
    EXPECT_EQ(cpus(), (Cpus{4, 6, 5, 7}));
    ASSERT_TRUE(open(TR_DEVICE_RDMA, "mlx5_0")) << why();
    EXPECT_EQ(p.memory_nodes, 2u);
    ASSERT_TRUE(open(TR_DEVICE_NETWORK, "eth0")) << why();
    EXPECT_EQ(p.memory_nodes, 1u);
}

TEST_F(Placement, ANameOfAnotherKindIsNoDevice)
{
    EXPECT_FALSE(open(TR_DEVICE_NETWORK, "mlx5_0"));
    EXPECT_FALSE(open(TR_DEVICE_RDMA, "eth9"));
    EXPECT_FALSE(open(TR_DEVICE_PCI, "0000:82:00.0"));
    EXPECT_NE(why().find("0000:82:00.0 is no device that libhwloc knows"), std::string::npos);
    EXPECT_EQ(p.topology, nullptr);
    EXPECT_EQ(p.memory_nodes, 0u);
    EXPECT_EQ(p.cpu_count, 0u);
}

TEST_F(Placement, OneCpuOfEachCoreComesFirstThenTheSiblings)
{
    ASSERT_TRUE(open(TR_DEVICE_NETWORK, "eth8", "", {4, 5, 7}));
    EXPECT_EQ(cpus(), (Cpus{4, 7, 5}));
}

TEST_F(Placement, IsolatedCpusComeFirstAmongTheirEquals)
{
    ASSERT_TRUE(open(TR_DEVICE_NETWORK, "eth8", "6-7"));
    EXPECT_EQ(cpus(), (Cpus{6, 4, 7, 5}));
    ASSERT_TRUE(open(TR_DEVICE_NETWORK, "eth8", "5")); /* the core's first is the isolated one */
    EXPECT_EQ(cpus(), (Cpus{5, 6, 4, 7}));
    EXPECT_NE(why().find("5,6,4,7 (1 isolated)"), std::string::npos) << why();
    ASSERT_TRUE(open(TR_DEVICE_NETWORK, "eth8", "0-3")); /* of the other node: no matter */
    EXPECT_EQ(cpus(), (Cpus{4, 6, 5, 7}));
}

TEST_F(Placement, CpusThatTheProcessMayNotUseAreNeverChosen)
{
    ASSERT_TRUE(open(TR_DEVICE_NETWORK, "eth8", "", {0, 1, 7}));
    EXPECT_EQ(cpus(), (Cpus{7}));
    EXPECT_FALSE(open(TR_DEVICE_NETWORK, "eth8", "", {0, 1, 2, 3}));
    EXPECT_NE(why().find("none of the CPUs near eth8 may be used"), std::string::npos) << why();
    EXPECT_EQ(p.memory_nodes, 0u); /* the threads will be far from it */
}

TEST_F(Placement, ADeviceThatIsNearAllNodesIsNoReason)
{
    EXPECT_FALSE(open(TR_DEVICE_NETWORK, "eth4"));
    EXPECT_NE(why().find("eth4 is as near to one NUMA node as to another"), std::string::npos);
}

/* vlan7 is upon bond0, which is upon eth9 and eth8, and br0 upon itself. */
class PlacementAbove : public Placement
{
  protected:
    void SetUp() override
    {
        char name[] = "/tmp/trireme-net-XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        directory = name;
        for (const char *path : {"/vlan7/lower_bond0", "/bond0/lower_eth9", "/bond0/lower_eth8",
                                 "/bond0/lowering", "/br0/lower_br0", "/eth4/upper_br1"})
            std::filesystem::create_directories(directory + path);
    }

    ~PlacementAbove() override
    {
        std::filesystem::remove_all(directory);
    }

    bool open_above(const char *name)
    {
        cpu_set_t all;
        memset(&all, 0xff, sizeof(all));
        tr_device one = device(TR_DEVICE_NETWORK, name);
        tr_placement_options options = {};
        options.device = &one;
        options.topology = TEST_DATA "/two_nodes.xml";
        options.interfaces = directory.c_str();
        options.isolated = "";
        options.usable = &all;
        return tr_placement_open(&p, &options);
    }

    std::string directory;
};

TEST_F(PlacementAbove, AnInterfaceUponOthersIsWhereTheLowestIs)
{
    ASSERT_TRUE(open_above("vlan7")) << why();
    EXPECT_EQ(p.memory_nodes, 2u);
    EXPECT_NE(why().find("vlan7 is near NUMA node 1 of 2"), std::string::npos) << why();
}

TEST_F(PlacementAbove, OneThatIsUponNothingKnownIsNoReason)
{
    EXPECT_FALSE(open_above("br0"));
    EXPECT_NE(why().find("br0 is no device that libhwloc knows"), std::string::npos) << why();
    EXPECT_FALSE(open_above("eth4"));
    EXPECT_NE(why().find("eth4 is as near"), std::string::npos) << why();
}

TEST_F(Placement, NoDeviceIsNoReason)
{
    EXPECT_FALSE(open(TR_DEVICE_NONE, ""));
    EXPECT_EQ(p.topology, nullptr);
}

TEST_F(Placement, AMachineThatCannotBeReadIsNoReason)
{
    tr_device one = device(TR_DEVICE_NETWORK, "eth8");
    tr_placement_options options = {};
    options.device = &one;
    options.topology = TEST_DATA "/no_such_file.xml";
    EXPECT_FALSE(tr_placement_open(&p, &options));
    EXPECT_NE(why().find("libhwloc cannot tell"), std::string::npos) << why();
}

/* The machine that the test runs on, whatever it is: whatever is chosen may be used. */
TEST_F(Placement, OfThisMachineOnlyUsableCpusAreChosen)
{
    cpu_set_t usable;
    ASSERT_EQ(sched_getaffinity(0, sizeof(usable), &usable), 0);
    tr_device one = device(TR_DEVICE_NETWORK, "lo");
    tr_placement_options options = {};
    options.device = &one;
    tr_placement_open(&p, &options);
    for (int cpu : cpus())
        EXPECT_TRUE(CPU_ISSET(cpu, &usable)) << cpu;
    EXPECT_NE(why(), "");
}

TEST_F(Placement, WhatIsExcludedIsNearStillButNotToBeChosen)
{
    ASSERT_TRUE(open(TR_DEVICE_NETWORK, "eth8"));
    tr_placement_exclude(&p, 6);
    tr_placement_exclude(&p, 0); /* not there */
    EXPECT_EQ(cpus(), (Cpus{4, 5, 7}));
    EXPECT_TRUE(CPU_ISSET(6, &p.near));
    EXPECT_FALSE(CPU_ISSET(0, &p.near));
}

/* ---- memory */

/* The mode of the policy that pages at an address are subject to; NULL: new ones of this thread. An
 * older kernel prefers one node, a newer one some. */
int mode_of(void *at)
{
    int mode = -1;
    if (syscall(SYS_get_mempolicy, &mode, nullptr, 0, at, at != nullptr ? OF_ADDRESS : 0) != 0)
        return -1;
    return mode == MODE_PREFERRED_MANY ? MODE_PREFERRED : mode;
}

/* This machine, as if its CPU 0 were of NUMA node 0, which there is, and CPU 1 of node 1, which
 * there may not be. */
class PlacedHere : public Placement
{
  protected:
    void open_here(const char *name)
    {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(0, &set);
        CPU_SET(1, &set);
        tr_device one = device(TR_DEVICE_NETWORK, name);
        tr_placement_options options = {};
        options.device = &one;
        options.topology = TEST_DATA "/two_cpus.xml";
        options.is_this_machine = true;
        options.isolated = "";
        options.usable = &set;
        ASSERT_TRUE(tr_placement_open(&p, &options)) << why();
        ASSERT_NE(p.memory_nodes, 0u) << why();
    }

    void SetUp() override
    {
        if (mode_of(nullptr) < 0)
            GTEST_SKIP() << "the kernel tells nothing of memory policies";
    }
};

TEST_F(PlacedHere, AnArenasRegionsPreferTheNode)
{
    tr_arena a;
    open_here("eth0");
    ASSERT_EQ(tr_arena_open(&a, 0), TR_OK);
    a.place = tr_placement_memory;
    a.place_context = &p;
    void *touched = tr_arena_take(&a, 1 << 20, 4096);
    void *untouched = tr_arena_take_untouched(&a, 1 << 20);
    ASSERT_TRUE(touched != nullptr && untouched != nullptr);
    EXPECT_EQ(a.unplaced_bytes, 0u);
    EXPECT_EQ(mode_of(touched), MODE_PREFERRED);
    EXPECT_EQ(mode_of(untouched), MODE_PREFERRED);
    EXPECT_EQ(mode_of(&a), MODE_DEFAULT); /* what it did not take is as it was */
    tr_arena_close(&a);
}

TEST_F(PlacedHere, WhatTheKernelRefusesIsCountedAndTheMemoryIsThere)
{
    tr_arena a;
    char line[288];
    if (access("/sys/devices/system/node/node1", F_OK) == 0)
        GTEST_SKIP() << "not applicable: this machine has a NUMA node 1";
    open_here("eth8");
    ASSERT_EQ(tr_arena_open(&a, 0), TR_OK);
    a.place = tr_placement_memory;
    a.place_context = &p;
    void *touched = tr_arena_take(&a, 1 << 20, 4096);
    ASSERT_NE(touched, nullptr);
    memset(touched, 1, 1 << 20);
    EXPECT_EQ(a.unplaced_bytes, a.bytes);
    tr_arena_describe(&a, line, sizeof(line));
    EXPECT_NE(std::string(line).find("; for 2.0 MiB the kernel refused"), std::string::npos)
        << line;
    tr_arena_close(&a);
}

TEST_F(PlacedHere, AThreadLeansForAWhile)
{
    open_here("eth0");
    ASSERT_EQ(mode_of(nullptr), MODE_DEFAULT);
    tr_placement_lean(&p);
    EXPECT_EQ(mode_of(nullptr), MODE_PREFERRED);
    tr_placement_straighten(&p);
    EXPECT_EQ(mode_of(nullptr), MODE_DEFAULT);
}

/* A policy that the process was started with (numactl) stays. */
TEST_F(PlacedHere, APolicyOfTheProcessStays)
{
    std::thread([&] {
        unsigned long nodes = 1;
        ASSERT_EQ(syscall(SYS_set_mempolicy, MODE_BIND, &nodes, 64), 0);
        tr_device one = device(TR_DEVICE_NETWORK, "eth0");
        tr_placement_options options = {};
        options.device = &one;
        options.topology = TEST_DATA "/two_cpus.xml";
        options.is_this_machine = true;
        ASSERT_TRUE(tr_placement_open(&p, &options)) << why();
        EXPECT_EQ(p.memory_nodes, 0u);
        EXPECT_NE(why().find("memory by the policy of the process"), std::string::npos) << why();
        tr_placement_lean(&p);
        EXPECT_EQ(mode_of(nullptr), MODE_BIND);
        tr_placement_straighten(&p);
        EXPECT_EQ(mode_of(nullptr), MODE_BIND);
        char page[1];
        EXPECT_EQ(tr_placement_memory(&p, page, 1), TR_OK); /* not even tried */
    }).join();
}

/* ---- threads */

/* Lines of a node's log. */
struct Log {
    std::mutex mutex;
    std::vector<std::string> lines;

    static void write(void *context, tr_log_level, const char *line)
    {
        auto *log = static_cast<Log *>(context);
        std::lock_guard<std::mutex> guard(log->mutex);
        log->lines.push_back(line);
    }

    uint32_t count(const char *what)
    {
        std::lock_guard<std::mutex> guard(mutex);
        uint32_t found = 0;
        for (const std::string &line : lines)
            found += line.find(what) != std::string::npos;
        return found;
    }
};

/* A node of the loop driver that takes this machine for the one of two_cpus.xml, where eth8 is near
 * CPU 1. */
class PlacedNode : public ::testing::Test
{
  protected:
    void SetUp() override
    {
        ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
        if (!CPU_ISSET(0, &before) || !CPU_ISSET(1, &before))
            GTEST_SKIP() << "not applicable: it needs CPUs 0 and 1";
        fabric = tr_fabric_create();
    }

    ~PlacedNode() override
    {
        tr_node_close(node);
        tr_fabric_destroy(fabric);
        sched_setaffinity(0, sizeof(before), &before);
    }

    void open(const std::vector<int> &cpus)
    {
        tr_peer self = {1, "loop:placed"};
        tr_node_options options = TR_NODE_OPTIONS_INIT;
        options.cluster = "placed";
        options.node = 1;
        options.peers = &self;
        options.peer_count = 1;
        options.driver = "loop";
        options.fabric = fabric;
        options.lcore_count = uint32_t(cpus.size());
        options.lcore_cpus = cpus.data();
        options.idle = TR_IDLE_SLEEP;
        options.counters = "";
        options.log = Log::write;
        options.log_context = &log;
        char error[400] = "";
        ASSERT_EQ(tr_node_open(&options, &node, error, sizeof(error)), TR_OK) << error;
        EXPECT_EQ(log.count("placement: no device of the machine"), 1u);
        tr_device one = device(TR_DEVICE_NETWORK, "eth8");
        tr_placement_options by = {};
        by.device = &one;
        by.topology = TEST_DATA "/two_cpus.xml";
        tr_node_place(node, &by);
        EXPECT_EQ(log.count("placement: eth8 is near NUMA node 1 of 2"), 1u);
    }

    /* Starts the node, and waits until its threads are where they are to be. */
    void start()
    {
        ASSERT_EQ(tr_node_start(node), TR_OK);
        for (uint32_t i = 0; i < node->lcore_count; i++)
            while (tr_load_acquire(&node->lcore[i].thread_id) == 0)
                usleep(100);
    }

    /* The CPUs that a polling core's thread may run on. */
    std::vector<int> cpus_of(uint32_t lcore)
    {
        return cpus_of_thread(tr_load_acquire(&node->lcore[lcore].thread_id));
    }

    static std::vector<int> cpus_of_thread(uint32_t thread)
    {
        cpu_set_t set;
        std::vector<int> all;
        CPU_ZERO(&set);
        EXPECT_EQ(sched_getaffinity(pid_t(thread), sizeof(set), &set), 0);
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &set))
                all.push_back(cpu);
        return all;
    }

    cpu_set_t before;
    void *fabric = nullptr;
    tr_node *node = nullptr;
    Log log;
};

TEST_F(PlacedNode, AThreadWithoutACpuOfItsOwnRunsNearTheDevice)
{
    ASSERT_NO_FATAL_FAILURE(open({TR_CPU_NEAR}));
    start();
    EXPECT_EQ(cpus_of(0), (Cpus{1})); /* whether it has it alone or not */
    EXPECT_EQ(log.count("polling core 0: CPU 1, near the device") +
                  log.count("polling core 0: on all CPUs near the device"),
              1u);
}

TEST_F(PlacedNode, ANamedCpuIsObeyedAndThatItIsFarIsSaid)
{
    ASSERT_NO_FATAL_FAILURE(open({0}));
    start();
    EXPECT_EQ(cpus_of(0), (Cpus{0}));
    EXPECT_EQ(log.count("CPU 0, as it was asked for, is not near the device"), 1u);
}

TEST_F(PlacedNode, AnyMeansAny)
{
    ASSERT_NO_FATAL_FAILURE(open({TR_CPU_ANY}));
    std::vector<int> all = cpus_of_thread(uint32_t(gettid()));
    start();
    EXPECT_EQ(cpus_of(0), all);
}

/* The only CPU near the device was named for one of two cores: the other shares what is near. */
TEST_F(PlacedNode, ACpuThatWasNamedIsNotChosenForAnother)
{
    ASSERT_NO_FATAL_FAILURE(open({TR_CPU_NEAR, 1}));
    start();
    EXPECT_EQ(cpus_of(0), (Cpus{1}));
    EXPECT_EQ(log.count("polling core 0: on all CPUs near the device"), 1u);
    EXPECT_EQ(node->lcore[0].cpu, TR_CPU_ANY);
}

TEST_F(PlacedNode, AThreadThatPollsStaysWhereItIsAndItIsSaid)
{
    ASSERT_NO_FATAL_FAILURE(open({TR_CPU_NEAR}));
    std::vector<int> all = cpus_of_thread(uint32_t(gettid()));
    tr_poll(node);
    EXPECT_EQ(cpus_of_thread(uint32_t(gettid())), all);
    EXPECT_EQ(log.count("the thread that polls may run on CPUs that are not near"), 1u);
    EXPECT_EQ(tr_node_settle(node), TR_EPERM); /* too late */
}

TEST_F(PlacedNode, AThreadThatPollsSettlesWhenItIsAskedTo)
{
    ASSERT_NO_FATAL_FAILURE(open({TR_CPU_NEAR}));
    EXPECT_EQ(tr_node_settle(node), TR_OK);
    tr_poll(node);
    EXPECT_EQ(cpus_of_thread(uint32_t(gettid())), (Cpus{1}));
    EXPECT_EQ(log.count("the thread that polls may run on CPUs that are not near"), 0u);
}

TEST_F(PlacedNode, AThreadThatPollsSettlesOnTheCpuThatWasNamed)
{
    ASSERT_NO_FATAL_FAILURE(open({0}));
    EXPECT_EQ(tr_node_settle(node), TR_OK);
    EXPECT_EQ(cpus_of_thread(uint32_t(gettid())), (Cpus{0}));
}

TEST_F(PlacedNode, MemoryTakenOfADeviceThatIsNoneComesFromAnywhere)
{
    ASSERT_NO_FATAL_FAILURE(open({TR_CPU_NEAR}));
    tr_device none = device(TR_DEVICE_NONE, "");
    tr_placement_options by = {};
    by.device = &none;
    tr_node_place(node, &by);
    EXPECT_EQ(tr_placement_memory(&node->placement, this, 1), TR_OK);
    std::vector<int> all = cpus_of_thread(uint32_t(gettid()));
    start();
    EXPECT_EQ(cpus_of(0), all);
}

/* ---- settling */

/* Threads that settle at a time get different CPUs, those of another process included; whoever
 * leaves makes room. The numbers are of CPUs that no machine of these tests has. */
TEST(Settling, EachGetsACpuOfItsOwnWhileThereAreSome)
{
    const std::vector<int> list = {1001, 1002, 1003};
    tr_pollers *table = tr_pollers_open();
    ASSERT_NE(table, nullptr);
    std::mutex mutex;
    std::vector<int> got;
    std::vector<std::thread> threads;
    tr_atomic_u32 is_over = 0;
    for (int i = 0; i < 4; i++)
        threads.emplace_back([&] {
            int cpu = tr_pollers_settle(table, list.data(), uint32_t(list.size()));
            int entry = tr_pollers_enter(table, -1); /* its own */
            {
                std::lock_guard<std::mutex> guard(mutex);
                got.push_back(cpu);
            }
            while (tr_load_acquire(&is_over) == 0)
                usleep(100);
            tr_pollers_leave(table, entry);
        });
    for (size_t count = 0; count < threads.size();) {
        usleep(100);
        std::lock_guard<std::mutex> guard(mutex);
        count = got.size();
    }
    tr_store_release(&is_over, 1u);
    for (std::thread &thread : threads)
        thread.join();
    std::sort(got.begin(), got.end());
    EXPECT_EQ(got, (Cpus{-1, 1001, 1002, 1003}));
    EXPECT_EQ(tr_pollers_settle(table, list.data(), 3), 1001);
    tr_pollers_leave(table, tr_pollers_enter(table, -1));
    tr_pollers_close(table);
}

TEST(Settling, WithoutATableNobodyKnowsOfOthers)
{
    const int list[] = {0};
    EXPECT_EQ(tr_pollers_settle(nullptr, list, 1), -1);
}

} // namespace
