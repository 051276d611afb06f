// The verbs driver, where the machine has the three RDMA devices of tests/vm: one a node, and once
// more for each way to fence.
#include "drivers/module.h"
#include "suite.h"

#include <arpa/inet.h>
#include <cstdlib>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

namespace conformance
{

namespace
{

constexpr uint16_t tcp_port = 7440;

class VerbsWorld : public World
{
  public:
    explicit VerbsWorld(const std::string &options)
        : key_("/tmp/verbs." + std::to_string(getpid()) + ".key"), client_key_(key_ + ".clients")
    {
        put_key(key_, '7');
        put_key(client_key_, '8');
        extra_ = "key=" + key_ + ",client_key=" + client_key_ + options;
        owner_ = getpid();
    }

    ~VerbsWorld() override
    {
        if (getpid() != owner_)
            return;
        unlink(key_.c_str());
        unlink(client_key_.c_str());
    }

    void fill(tr_port_options &options, unsigned) override
    {
        options.extra = extra_.c_str();
    }

    void estrange(tr_port_options &options, unsigned node) override
    {
        client_address_ = "10.77.0." + std::to_string(node) + ":0";
        options.address = client_address_.c_str();
    }

    std::string address(unsigned node) override
    {
        return "10.77.0." + std::to_string(node) + ":" + std::to_string(tcp_port);
    }

    tr_device device(unsigned node) override
    {
        return {TR_DEVICE_RDMA, {'r', 'x', 'e', static_cast<char>('0' + node - 1)}};
    }

    // The devices are software: it needs the CPUs that the ports poll on.
    void step() override
    {
        sched_yield();
    }

    // What anybody could send to the exchange: noise, or the beginning of a hello.
    bool inject(unsigned node, std::mt19937_64 &random) override
    {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(tcp_port);
        inet_pton(AF_INET, ("10.77.0." + std::to_string(node)).c_str(), &to.sin_addr);
        bool is_sent = connect(fd, reinterpret_cast<sockaddr *>(&to), sizeof(to)) == 0;
        std::string bytes(1 + random() % 300, '\0');
        for (char &byte : bytes)
            byte = static_cast<char>(random());
        if (random() % 2 == 0 && bytes.size() >= 64) {
            bytes.replace(0, 24,
                          std::string("Ttrgver\x31\x01\0\0\0\0\0\0\0\x01\0\x02\0\0\0\0\0", 24));
        }
        is_sent = is_sent && send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) >= 0;
        close(fd);
        return is_sent;
    }

  private:
    static void put_key(const std::string &path, char digit)
    {
        int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        const std::string digits(64, digit);
        if (write(file, digits.data(), digits.size()) != 64)
            abort();
        close(file);
    }

    std::string key_, client_key_, extra_, client_address_;
    pid_t owner_;
};

bool register_verbs()
{
    const tr_driver *driver = nullptr;
    char why[512];
    if (access("/sys/class/infiniband/rxe2", F_OK) != 0)
        return false;
    if (tr_driver_load("verbs", &driver, why, sizeof(why)) != TR_OK) {
        fprintf(stderr, "%s\n", why);
        if (getenv(TR_MODULES_VARIABLE) != nullptr)
            _exit(2); // it was to be tested: nothing tested is nothing passed
        return false;
    }
    // A machine that is starved answers late: a connection must not break for that where only one
    // side is polled, which could not mend it. A READ settles no fence of a device in software
    // (fence.c), so that its race is not run; but it must end.
    const struct {
        const char *name, *options;
    } ways[] = {
        {"verbs", ""},
        {"verbswindow", ",fence=window"},
        {"verbsaccess", ",fence=access"},
        {"verbsreset", ",fence=reset"},
        {"verbsread", ",settle=read"},
    };
    for (const auto &way : ways) {
        std::string options = std::string(",ack_timeout=15") + way.options;
        Subject subject = {way.name, driver,
                           [options] { return std::make_unique<VerbsWorld>(options); }};
        // Each waits for the kernel, and is emulated.
        subject.fences = way.name == std::string("verbs") ? 60 : 20;
        subject.threads = way.name != std::string("verbsread");
        register_subject(subject);
    }
    return true;
}

const bool registered = register_verbs();

} // namespace

} // namespace conformance
