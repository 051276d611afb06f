// Peers in processes of their own, killed at any moment and started again: messages stay whole,
// peers are told apart from their successors, and no write into a dead process's ring counts once
// that has one.
#include "suite.h"

#include <csignal>
#include <cstring>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace conformance
{

namespace
{

// A process that runs a function in a copy of this one. Ends it at the latest when it is destroyed.
class Child
{
  public:
    // The function gets a descriptor to tell the parent something by; the process ends when it
    // returns.
    explicit Child(const std::function<void(int)> &run)
    {
        int pipe_ends[2];
        if (pipe(pipe_ends) != 0)
            abort();
        pid_ = fork();
        if (pid_ == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            alarm(120);
            close(pipe_ends[0]);
            run(pipe_ends[1]);
            _exit(0);
        }
        close(pipe_ends[1]);
        from_ = pipe_ends[0];
    }

    ~Child()
    {
        kill();
        reap();
        close(from_);
    }

    Child(const Child &) = delete;
    Child &operator=(const Child &) = delete;

    // Returns when it is dead, and its sockets are closed; it is a zombie until reap.
    void kill()
    {
        siginfo_t info;
        signal(SIGKILL);
        if (pid_ > 0)
            waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
    }

    void signal(int number)
    {
        if (pid_ > 0)
            ::kill(pid_, number);
    }

    void reap()
    {
        if (pid_ > 0)
            waitpid(pid_, nullptr, 0);
        pid_ = 0;
    }

    // True if it has told something that was not taken yet, or is gone.
    bool has_told() const
    {
        pollfd fd = {from_, POLLIN, 0};
        return ::poll(&fd, 1, 0) > 0;
    }

    // Waits for the next byte. Returns: 0 when the process is gone.
    char told() const
    {
        char byte = 0;
        return read(from_, &byte, 1) == 1 ? byte : '\0';
    }

  private:
    pid_t pid_ = 0;
    int from_ = -1;
};

void tell(int to, char byte)
{
    if (write(to, &byte, 1) != 1)
        _exit(3);
}

} // namespace

class Processes : public Conformance
{
  protected:
    void SetUp() override
    {
        Conformance::SetUp();
        CONFORMANCE_REQUIRE(TR_DRIVER_INTER_PROCESS);
        if (!subject().forks)
            GTEST_SKIP() << "not applicable: its processes do not fork";
    }

    // Opens a node in a child, with the others as peers.
    std::unique_ptr<Port> open_in_child(unsigned node, int to)
    {
        auto port = std::make_unique<Port>(*world, subject(), node);
        if (port->open_result() != TR_OK) {
            fprintf(stderr, "child: %s\n", port->open_error().c_str());
            tell(to, 'x');
            _exit(2);
        }
        for (unsigned other = 1; other <= node_count; other++) {
            if (other != node && port->add(other, world->address(other)) != TR_OK)
                _exit(2);
        }
        return port;
    }

    // A child that answers every message with the same bytes.
    std::unique_ptr<Child> echo(unsigned node)
    {
        return std::make_unique<Child>([this, node](int to) {
            auto port = open_in_child(node, to);
            tell(to, 'o');
            while (true) {
                port->poll();
                for (const Message &message : port->inbox) {
                    while (!port->send(message.peer, message.bytes))
                        port->driver->tx_flush(port->raw());
                }
                port->inbox.clear();
                world->step();
            }
        });
    }

    // Sends until the bytes come back.
    bool round_trip(Port &port, unsigned node, const std::string &bytes)
    {
        unsigned round = 0;
        return until({&port}, [&] {
            if (round++ % 4096 == 0)
                port.send(node, bytes);
            for (const Message &message : port.inbox) {
                if (message.peer == node && message.bytes == bytes)
                    return true;
            }
            return false;
        });
    }
};

TEST_P(Processes, TalkToEachOther)
{
    CONFORMANCE_REQUIRE(TR_DRIVER_MESSAGES);
    auto port = open(1);
    ASSERT_EQ(port->add(2, world->address(2)), TR_OK);
    auto child = echo(2);
    ASSERT_EQ(child->told(), 'o');
    ASSERT_TRUE(round_trip(*port, 2, "hello"));
    rounds({port.get()}, 5000);
    port->inbox.clear();
    std::mt19937_64 random(8);
    uint32_t limit = port->limits().message_bytes_max;
    for (unsigned i = 0; i < 300; i++) {
        size_t bytes = i % 50 == 0 ? limit - random() % 100 : 1 + random() % 3000;
        ASSERT_TRUE(round_trip(*port, 2, pattern(bytes, i))) << bytes;
        port->inbox.clear();
    }
}

TEST_P(Processes, KilledOneIsDownAndItsSuccessorIsNew)
{
    CONFORMANCE_REQUIRE(TR_DRIVER_MESSAGES);
    auto port = open(1);
    ASSERT_EQ(port->add(2, world->address(2)), TR_OK);
    ASSERT_EQ(port->add(3, world->address(3)), TR_OK);
    auto other = echo(3);
    auto child = echo(2);
    ASSERT_EQ(child->told(), 'o');
    ASSERT_TRUE(round_trip(*port, 2, "first"));
    ASSERT_TRUE(round_trip(*port, 3, "other"));
    for (unsigned lap = 0; lap < 5; lap++) {
        port->events.clear();
        port->inbox.clear();
        child->kill();
        if (lap % 2 == 0)
            child->reap(); // else it stays a zombie: dead all the same
        if (subject().tells_close) {
            ASSERT_TRUE(until({port.get()}, [&] { return port->saw(TR_PORT_PEER_DOWN, 2); }));
            for (unsigned i = 0; i < 100; i++) {
                ASSERT_TRUE(port->send(2, pattern(1000, i))) << "taken and lost";
            }
        }
        ASSERT_TRUE(round_trip(*port, 3, pattern(200, lap)));
        auto successor = echo(2);
        ASSERT_EQ(successor->told(), 'o');
        ASSERT_TRUE(round_trip(*port, 2, pattern(300, lap)));
        if (subject().tells_close) {
            ASSERT_TRUE(until({port.get()}, [&] { return port->saw(TR_PORT_PEER_NEW, 2); }));
        }
        for (const tr_port_event &event : port->events) {
            EXPECT_EQ(event.peer, 2) << "the other peer was not touched";
        }
        child = std::move(successor);
    }
}

TEST_P(Processes, StoppedOneIsNotDeadAndLosesNothing)
{
    CONFORMANCE_REQUIRE(TR_DRIVER_MESSAGES);
    if (has(TR_DRIVER_MAY_DROP))
        GTEST_SKIP() << "not applicable: the driver may drop";
    auto port = open(1);
    ASSERT_EQ(port->add(2, world->address(2)), TR_OK);
    ASSERT_EQ(port->add(3, world->address(3)), TR_OK);
    auto other = echo(3);
    auto child = echo(2);
    ASSERT_TRUE(round_trip(*port, 2, "first"));
    ASSERT_TRUE(round_trip(*port, 3, "other"));
    rounds({port.get()}, 5000);
    port->inbox.clear();
    port->events.clear();
    child->signal(SIGSTOP);
    uint64_t sent = 0;
    while (sent < 100000 && port->send(2, pattern(500, sent)))
        sent++;
    EXPECT_LT(sent, 100000u);
    ASSERT_TRUE(round_trip(*port, 3, "still there"));
    rounds({port.get()}, 20000);
    EXPECT_TRUE(port->events.empty());
    port->inbox.clear();
    child->signal(SIGCONT);
    uint64_t echoed = 0;
    ASSERT_TRUE(until({port.get()}, [&] {
        for (const Message &message : port->inbox) {
            if (message.peer == 2) {
                EXPECT_EQ(message.bytes, pattern(500, echoed));
                echoed++;
            }
        }
        port->inbox.clear();
        return echoed == sent;
    }));
}

TEST_P(Processes, KilledWhileSendingLeavesNoTornMessage)
{
    CONFORMANCE_REQUIRE(TR_DRIVER_MESSAGES);
    auto port = open(1);
    ASSERT_EQ(port->add(2, world->address(2)), TR_OK);
    std::mt19937_64 random(3);
    for (unsigned lap = 0; lap < 12; lap++) {
        Child child([&](int to) {
            auto sender = open_in_child(2, to);
            for (uint64_t i = 0;; i++) {
                std::string bytes = pattern(16 + (i * 7919) % 4000, i);
                memcpy(&bytes[0], &i, 8);
                while (!sender->send(1, bytes))
                    sender->poll();
                sender->poll();
            }
        });
        size_t goal = 1 + random() % 400;
        port->inbox.clear();
        ASSERT_TRUE(until({port.get()}, [&] { return port->inbox.size() >= goal; }));
        child.kill();
        child.reap();
        rounds({port.get()}, 3000);
        uint64_t before = 0;
        for (const Message &message : port->inbox) {
            uint64_t i = 0;
            ASSERT_GE(message.bytes.size(), 16u);
            memcpy(&i, message.bytes.data(), 8);
            std::string expected = pattern(16 + (i * 7919) % 4000, i);
            memcpy(&expected[0], &i, 8);
            ASSERT_EQ(message.bytes, expected);
            if (!has(TR_DRIVER_MAY_REORDER) && !has(TR_DRIVER_MAY_DUP)) {
                ASSERT_TRUE(i > before || i == 0 || message.bytes == port->inbox.front().bytes);
            }
            before = i;
        }
        EXPECT_EQ(port->stats().rx_malformed, 0u);
    }
}

TEST_P(Processes, AddressOfALivingOneIsBusy)
{
    if (!subject().local_limit)
        GTEST_SKIP() << "not applicable: addresses are shared";
    Child child([&](int to) {
        auto port = open_in_child(2, to);
        tell(to, 'o');
        while (true)
            port->poll();
    });
    ASSERT_EQ(child.told(), 'o');
    Port busy(*world, subject(), 2);
    EXPECT_EQ(busy.open_result(), TR_EBUSY);
    EXPECT_NE(busy.open_error(), "");
    child.kill();
    child.reap();
    Port free(*world, subject(), 2);
    EXPECT_EQ(free.open_result(), TR_OK) << free.open_error();
}

TEST_P(Processes, WritesToAKilledOneDoNotCountOnceItHasASuccessor)
{
    CONFORMANCE_REQUIRE(TR_DRIVER_ONE_SIDED);
    auto port = open(1);
    ASSERT_EQ(port->add(2, world->address(2)), TR_OK);
    auto owner = [this](uint64_t generation) {
        return std::make_unique<Child>([this, generation](int to) {
            auto owner_port = open_in_child(2, to);
            tell(to, 'o'); // from here on, nothing that is stored for its predecessor counts
            tr_ring_info ring = owner_port->ring_create(1, 65536);
            tr_ring_token token = owner_port->ring_grant(ring.ring, generation);
            std::string bytes(reinterpret_cast<char *>(token.bytes), sizeof(token.bytes));
            unsigned round = 0;
            while (true) {
                if (round++ % 4096 == 0)
                    owner_port->send(1, bytes);
                owner_port->poll();
            }
        });
    };
    uint64_t generation = 1;
    auto child = owner(generation);
    ASSERT_EQ(child->told(), 'o');
    std::mt19937_64 random(6);
    uint32_t before = UINT32_MAX;
    std::string data = pattern(256, 1);
    for (unsigned lap = 0; lap < 12; lap++) {
        uint32_t remote = UINT32_MAX;
        ASSERT_TRUE(until({port.get()}, [&] {
            if (port->inbox.empty())
                return false;
            tr_ring_token token;
            memcpy(token.bytes, port->inbox.back().bytes.data(), sizeof(token.bytes));
            port->inbox.clear();
            return port->driver->remote_open(port->raw(), 2, &token, generation, &remote) == TR_OK;
        }));
        if (before != UINT32_MAX)
            port->driver->remote_close(port->raw(), before);
        before = remote;
        uint64_t posted = 0;
        auto write_one = [&] {
            EXPECT_TRUE(until({port.get()}, [&] {
                return port->write(remote, static_cast<uint32_t>(posted % 256 * 256), data,
                                   posted) == TR_OK;
            }));
            std::vector<tr_write_completion> done;
            EXPECT_TRUE(until({port.get()}, [&] {
                done = port->completions(1);
                return !done.empty();
            }));
            posted++;
            return done[0].status;
        };
        for (unsigned i = static_cast<unsigned>(random() % 300); i > 0; i--) {
            ASSERT_EQ(write_one(), TR_WRITE_OK);
        }
        child->kill();
        for (unsigned i = static_cast<unsigned>(random() % 300); i > 0; i--)
            write_one(); // may count: whoever recovers finds them, or waits for it to be fenced
        if (lap % 2 == 0)
            child->reap();
        auto successor = owner(++generation);
        while (!successor->has_told())
            write_one();
        ASSERT_EQ(successor->told(), 'o');
        for (unsigned i = 0; i < 200; i++) {
            ASSERT_NE(write_one(), TR_WRITE_OK)
                << "into the ring of a dead process that has a successor";
        }
        child = std::move(successor);
        port->inbox.clear();
    }
}

TEST_P(Processes, KilledWriterLeavesAPrefixAndTheRingCanBeGrantedAgain)
{
    CONFORMANCE_REQUIRE(TR_DRIVER_ONE_SIDED);
    constexpr uint32_t ring_bytes = 65536;
    auto port = open(1);
    ASSERT_EQ(port->add(2, world->address(2)), TR_OK);
    tr_ring_info ring = port->ring_create(2, ring_bytes);
    for (uint64_t generation = 1; generation <= 12; generation++) {
        Child child([&](int to) {
            auto writer = open_in_child(2, to);
            tr_ring_token token;
            while (writer->inbox.empty())
                writer->poll();
            memcpy(token.bytes, writer->inbox[0].bytes.data(), sizeof(token.bytes));
            uint32_t remote;
            while (writer->driver->remote_open(writer->raw(), 1, &token, generation, &remote) !=
                   TR_OK)
                writer->poll();
            for (uint64_t i = 0;;) {
                if (i < ring_bytes / 64)
                    i += writer->write(remote, static_cast<uint32_t>(i * 64),
                                       pattern(64, generation * 1000 + i), i) == TR_OK;
                writer->completions();
                writer->poll();
            }
        });
        tr_ring_token token = port->ring_grant(ring.ring, generation);
        std::string bytes(reinterpret_cast<char *>(token.bytes), sizeof(token.bytes));
        uint64_t goal = generation * 60;
        unsigned round = 0;
        ASSERT_TRUE(until({port.get()}, [&] {
            if (round++ % 4096 == 0)
                port->send(2, bytes);
            return port->ring_read(ring, static_cast<uint32_t>(goal * 64), 64) ==
                   pattern(64, generation * 1000 + goal);
        }));
        child.kill();
        child.reap();
        ASSERT_TRUE(fence(*port, ring.ring));
        for (uint64_t i = 0; i <= goal; i++) {
            ASSERT_EQ(port->ring_read(ring, static_cast<uint32_t>(i * 64), 64),
                      pattern(64, generation * 1000 + i));
        }
    }
}

CONFORMANCE_INSTANTIATE(Processes);

} // namespace conformance
