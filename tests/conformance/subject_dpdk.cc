// The DPDK driver, as a module: over memif, and over AF_PACKET and AF_XDP on veth interfaces of a
// network namespace of this process; where TRIREME_NICS lists NICs (tests/vm), over these instead.
// Three ports of one process stand for three nodes.
#include "drivers/module.h"
#include "suite.h"

#include <arpa/inet.h>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sstream>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

namespace conformance
{

namespace
{

std::string address_of(unsigned node)
{
    return "10.77.0." + std::to_string(node) + ":7410";
}

// Shared memory between the nodes, its sockets in a directory of this test.
class MemifWorld : public World
{
  public:
    MemifWorld()
    {
        char name[] = "/tmp/trireme-memif-XXXXXX";
        directory_ = mkdtemp(name) != nullptr ? name : "/nonexistent";
        extra_ = "memif=" + directory_;
    }

    ~MemifWorld() override
    {
        std::filesystem::remove_all(directory_);
    }

    std::string address(unsigned node) override
    {
        return address_of(node);
    }

    void fill(tr_port_options &options, unsigned) override
    {
        options.extra = extra_.c_str();
    }

  private:
    std::string directory_;
    std::string extra_;
};

bool run(const std::string &command)
{
    return system((command + " >/dev/null 2>&1").c_str()) == 0;
}

// Interfaces v1 to v3 and v9 on a bridge, in a network namespace of this process. Made once.
// Returns: why not, if it cannot.
std::string make_segment()
{
    if (geteuid() != 0)
        return "network namespaces need the rights of root";
    const rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY}; // AF_XDP's memory is locked
    setrlimit(RLIMIT_MEMLOCK, &unlimited);
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0)
        return std::string("no network namespace can be made: ") + strerror(errno);
    // The namespace's own view of its interfaces, and where AF_XDP's loader keeps its programs.
    if (!run("mount --make-rprivate /") || !run("mount -t sysfs sysfs /sys") ||
        !run("mount -t bpf bpf /sys/fs/bpf"))
        return "sysfs and bpffs cannot be mounted";
    if (!run("ip link add br0 type bridge") || !run("ip link set br0 up"))
        return "ip cannot make a bridge";
    for (const char *node : {"1", "2", "3", "9"}) {
        std::string near = std::string("v") + node, far = std::string("p") + node;
        if (!run("ip link add " + near + " type veth peer name " + far) ||
            !run("ip link set " + far + " master br0") || !run("ip link set " + far + " up") ||
            !run("ip link set " + near + " up"))
            return "ip cannot make a veth pair";
        std::ofstream("/proc/sys/net/ipv6/conf/" + near + "/disable_ipv6") << "1";
    }
    return "";
}

const std::string &segment()
{
    static const std::string why = make_segment();
    return why;
}

// A NIC that is given to DPDK.
struct Nic {
    std::string pci, mac;
};

// Those of TRIREME_NICS: PCI-ADDRESS/ETHERNET-ADDRESS, apart by blanks.
std::vector<Nic> list_nics()
{
    const char *text = getenv("TRIREME_NICS");
    std::istringstream words(text != nullptr ? text : "");
    std::vector<Nic> out;
    for (std::string word; words >> word;) {
        size_t slash = word.find('/');
        if (slash == std::string::npos)
            return {};
        out.push_back({word.substr(0, slash), word.substr(slash + 1)});
    }
    return out;
}

const std::vector<Nic> &nics()
{
    static const std::vector<Nic> all = list_nics();
    return all;
}

// Ports on one segment of Ethernet, and an attacker there, at an interface of the kernel.
class SegmentWorld : public World
{
  public:
    explicit SegmentWorld(const char *interface)
    {
        sockaddr_ll at{};
        attacker_ = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
        at.sll_family = AF_PACKET;
        at.sll_protocol = htons(ETH_P_ALL);
        at.sll_ifindex = static_cast<int>(if_nametoindex(interface));
        EXPECT_EQ(bind(attacker_, reinterpret_cast<sockaddr *>(&at), sizeof(at)), 0);
    }

    ~SegmentWorld() override
    {
        close(attacker_);
    }

    std::string address(unsigned node) override
    {
        return address_of(node);
    }

    void fill(tr_port_options &options, unsigned node) override
    {
        extra_[node % 4] = extra(node);
        options.extra = extra_[node % 4].c_str();
    }

    tr_device device(unsigned node) override
    {
        return {TR_DEVICE_NETWORK, {'v', static_cast<char>('0' + node)}};
    }

    // Frames to a node of any length, with headers that are right as far as chance has it.
    bool inject(unsigned node, std::mt19937_64 &random) override
    {
        std::string frame(14 + random() % (random() % 8 == 0 ? 1500 : 120), '\0');
        for (size_t i = 14; i < frame.size(); i++)
            frame[i] = static_cast<char>(random());
        fill_mac(node, frame);
        static const char types[][2] = {{8, 0}, {8, 6}, {'\x86', '\xdd'}};
        memcpy(&frame[12], types[random() % 3], 2);
        if (random() % 4 != 0)
            make_udp(node, frame, random);
        return send(attacker_, frame.data(), frame.size(), 0) >= 0;
    }

  protected:
    // The driver's options of a node.
    virtual std::string extra(unsigned node) = 0;
    // Its Ethernet address.
    virtual std::string mac(unsigned node) = 0;

  private:
    void fill_mac(unsigned node, std::string &frame)
    {
        std::string text = mac(node);
        unsigned byte[6] = {0};
        sscanf(text.c_str(), "%x:%x:%x:%x:%x:%x", &byte[0], &byte[1], &byte[2], &byte[3], &byte[4],
               &byte[5]);
        for (unsigned i = 0; i < 6; i++)
            frame[i] = static_cast<char>(byte[i]);
        frame[6] = 2;
        frame[11] = 9;
    }

    // IPv4 and UDP headers that are right but for one field in two; no UDP checksum.
    static void make_udp(unsigned node, std::string &frame, std::mt19937_64 &random)
    {
        if (frame.size() < 42)
            return;
        auto *ip = reinterpret_cast<uint8_t *>(&frame[14]);
        auto put = [&](unsigned at, uint32_t value) {
            ip[at] = static_cast<uint8_t>(value >> 8);
            ip[at + 1] = static_cast<uint8_t>(value);
        };
        uint32_t total = static_cast<uint32_t>(frame.size()) - 14;
        frame[12] = 8;
        frame[13] = 0;
        memset(ip, 0, 28);
        ip[0] = 0x45;
        put(2, total);
        ip[8] = 64;
        ip[9] = 17;
        const uint8_t ends[8] = {10, 77, 0, 9, 10, 77, 0, static_cast<uint8_t>(node)};
        memcpy(ip + 12, ends, 8);
        put(20, 7410);
        put(22, 7410);
        put(24, total - 20);
        if (random() % 2 == 0)
            ip[random() % 28] ^= static_cast<uint8_t>(random());
        uint32_t sum = 0;
        put(10, 0);
        for (unsigned at = 0; at < 20; at += 2)
            sum += static_cast<uint32_t>(ip[at] << 8 | ip[at + 1]);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        put(10, ~sum);
        if (frame.size() >= 58 && random() % 2 == 0) { // a frame of the framing, not always whole
            ip[28] = 0x54;
            ip[29] = 0x72;
            ip[30] = static_cast<uint8_t>(0x11 + random() % 2);
            ip[31] = 0;
            ip[32] = static_cast<uint8_t>(total - 28 - 8 * (random() % 5));
            ip[33] = static_cast<uint8_t>(random() % 2);
            ip[34] = ip[35] = 0;
        }
    }

    std::string extra_[4];
    int attacker_;
};

// On veth interfaces, by a device that uses the kernel's.
class VethWorld : public SegmentWorld
{
  public:
    explicit VethWorld(const char *device) : SegmentWorld("v9"), device_(device) {}

  protected:
    std::string extra(unsigned node) override
    {
        // A message of the largest size is 800 frames, which arrive before the port is polled.
        return "device=" + device_ + std::to_string(node) + "+iface=v" + std::to_string(node) +
               (device_ == "net_af_packet" ? "+framecnt=4096" : "+busy_budget=0");
    }

    std::string mac(unsigned node) override
    {
        std::ifstream file("/sys/class/net/v" + std::to_string(node) + "/address");
        std::string text;
        file >> text;
        return text;
    }

  private:
    std::string device_;
};

// On NICs that the kernel has no part in.
class NicWorld : public SegmentWorld
{
  public:
    NicWorld() : SegmentWorld("eth0") {}

    tr_device device(unsigned node) override
    {
        tr_device out = {TR_DEVICE_PCI, ""};
        nics()[node - 1].pci.copy(out.name, sizeof(out.name) - 1);
        return out;
    }

  protected:
    std::string extra(unsigned node) override
    {
        const char *more = getenv("TRIREME_NIC_OPTIONS");
        return "device=" + nic(node).pci + (more != nullptr ? "," + std::string(more) : "");
    }

    std::string mac(unsigned node) override
    {
        return nic(node).mac;
    }

  private:
    // The one after those of the nodes is anybody else's: node 9's.
    static const Nic &nic(unsigned node)
    {
        return nics()[std::min(node - 1, node_count)];
    }
};

const tr_driver *dpdk()
{
    const tr_driver *found = nullptr;
    char error[512] = "";
    if (tr_driver_load("dpdk", &found, error, sizeof(error)) != TR_OK)
        fprintf(stderr, "%s\n", error);
    return found;
}

Subject subject(const char *name, std::function<std::unique_ptr<World>()> make)
{
    Subject out = {name, dpdk(), std::move(make)};
    out.tells_open = false; // until it says something
    out.tells_close = false;
    out.forks = false; // EAL is one a process, and does not survive a fork
    return out;
}

bool register_all()
{
    if (dpdk() == nullptr)
        return false;
    if (nics().size() > node_count)
        return register_subject(subject("dpdknic", [] { return std::make_unique<NicWorld>(); }));
    Subject memif = subject("dpdkmemif", [] { return std::make_unique<MemifWorld>(); });
    memif.tells_open = true;
    memif.tells_close = true;
    register_subject(memif);
    if (!segment().empty())
        return false;
    register_subject(
        subject("dpdkpacket", [] { return std::make_unique<VethWorld>("net_af_packet"); }));
    register_subject(subject("dpdkxdp", [] { return std::make_unique<VethWorld>("net_af_xdp"); }));
    return true;
}

const bool registered = register_all();

} // namespace

TEST(Dpdk, HasItsModuleAndItsSegment)
{
    ASSERT_NE(dpdk(), nullptr);
    if (nics().empty() && !segment().empty())
        GTEST_SKIP() << "AF_PACKET and AF_XDP are not tested: " << segment();
    EXPECT_TRUE(registered);
}

} // namespace conformance
