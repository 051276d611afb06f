#include "drivers/udp/udp.h"
#include "suite.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

namespace conformance
{

namespace
{

// Nodes on the loopback network, on hosts that belong to this process alone.
class UdpWorld : public World
{
  public:
    UdpWorld() : pid_(getpid()), attacker_(socket(AF_INET, SOCK_DGRAM, 0)) {}

    ~UdpWorld() override
    {
        close(attacker_);
    }

    std::string address(unsigned node) override
    {
        return host(node) + ":7410";
    }

    // Bytes of any length, some of which begin as a frame or a piece of a message does.
    bool inject(unsigned node, std::mt19937_64 &random) override
    {
        std::string bytes(random() % (random() % 16 == 0 ? 65508 : 200), '\0');
        for (char &byte : bytes)
            byte = static_cast<char>(random());
        if (bytes.size() >= 24 && random() % 2 == 0) {
            bytes[0] = 0x54;
            bytes[1] = 0x72;
            bytes[2] = static_cast<char>(0x11 + random() % 2);
            bytes[3] = 0;
            uint32_t payload = static_cast<uint32_t>(bytes.size() - 24) & ~7u;
            bytes[4] = static_cast<char>(payload);
            bytes[5] = static_cast<char>(payload >> 8);
            bytes[6] = static_cast<char>(payload >> 16);
            bytes[7] = 0;
        }
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(7410);
        inet_pton(AF_INET, host(node).c_str(), &to.sin_addr);
        return sendto(attacker_, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr *>(&to),
                      sizeof(to)) >= 0;
    }

  private:
    std::string host(unsigned node) const
    {
        return "127." + std::to_string(1 + (pid_ >> 8) % 250) + "." + std::to_string(pid_ & 0xff) +
               "." + std::to_string(node);
    }

    int pid_;
    int attacker_;
};

Subject udp()
{
    Subject subject = {"udp", &tr_driver_udp, [] { return std::make_unique<UdpWorld>(); }};
    subject.tells_open = false; // until it says something
    subject.tells_close = false;
    return subject;
}

const bool registered = register_subject(udp());

} // namespace

} // namespace conformance
