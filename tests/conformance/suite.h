// What the conformance suite needs of a driver, and what its tests are written with.
//
// To hold another driver against the suite, write subject_NAME.cc: a World that tells how the ports
// of nodes 1, 2 and 3 are opened, and one line, `static const bool registered =
// register_subject({...});`. All tests whose capability bits the driver has then run on it.
#ifndef TR_TESTS_CONFORMANCE_SUITE_H
#define TR_TESTS_CONFORMANCE_SUITE_H

#include "drivers/driver.h"

#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <random>
#include <string>
#include <trireme/error.h>
#include <vector>

namespace conformance
{

constexpr unsigned node_count = 3;

// The world of one test: the addresses, and what joins them. Made before any port, gone after the
// last.
class World
{
  public:
    virtual ~World() = default;
    // Sets what is the driver's own: fabric and extra. The address is set already, by `address`.
    virtual void fill(tr_port_options &, unsigned /*node*/) {}
    // What else is different for a port that no other knows, as a client's is.
    virtual void estrange(tr_port_options &, unsigned /*node*/) {}
    // The address of a node; the same in every process that is forked from this one.
    virtual std::string address(unsigned node) = 0;
    // Lets time pass between polls: for a simulated world, or to be polite to other processes.
    virtual void step() {}
    // The device that a node's port works through.
    virtual tr_device device(unsigned /*node*/)
    {
        return {TR_DEVICE_NONE, ""};
    }
    // Throws bytes at a node's port that no driver would have sent. Returns: false if there is no
    // way to.
    virtual bool inject(unsigned /*node*/, std::mt19937_64 &)
    {
        return false;
    }
};

struct Subject {
    std::string name; // of the tests: letters and digits
    const tr_driver *driver;
    std::function<std::unique_ptr<World>()> make;
    bool threads = true;     // ports of one world may be polled by several threads at once
    bool tells_open = true;  // a peer's opening is seen as TR_PORT_PEER_UP before it sends anything
    bool tells_close = true; // a peer's end is seen as TR_PORT_PEER_DOWN, its successor as NEW
    bool local_limit = true; // opening an address that is in use gives TR_EBUSY
    bool forks = true;       // a process that has a port open may fork one that opens another
    unsigned fences = 400;   // how often a race with a fence is run

    bool has(uint32_t capabilities) const
    {
        return (driver->capabilities & capabilities) == capabilities;
    }
};

bool register_subject(Subject subject);
const std::vector<Subject> &subjects();

// Bytes that anybody can check: they follow from their length and a seed.
std::string pattern(size_t bytes, uint64_t seed);

struct Message {
    tr_node_id peer;
    uint32_t source;
    std::string bytes;
};

// One open port with its arena; closes at the end. Calls are passed on as they are.
class Port
{
  public:
    using Tweak = std::function<void(tr_port_options &)>;

    Port(World &world, const Subject &subject, unsigned node, const Tweak &tweak = nullptr);
    ~Port();
    Port(const Port &) = delete;
    Port &operator=(const Port &) = delete;

    int open_result() const
    {
        return open_result_;
    }
    const std::string &open_error() const
    {
        return open_error_;
    }
    tr_port *raw() const
    {
        return port_;
    }
    unsigned node() const
    {
        return node_;
    }
    tr_port_limits limits() const;
    tr_port_stats stats() const;
    size_t arena_calls() const
    {
        return arena_calls_;
    } // allocations of the driver since open
    void close();

    int add(unsigned node, const std::string &address);
    // One rx_burst, and the events: into inbox and events. Returns: messages received.
    size_t poll();
    // Offers one message. Returns: whether it was taken.
    bool send(unsigned node, const std::string &bytes);
    int reply(uint32_t source, const std::string &bytes);
    bool saw(tr_port_event_type type, unsigned node) const;

    tr_ring_info ring_create(unsigned writer, uint32_t bytes);
    tr_ring_token ring_grant(uint32_t ring, uint64_t generation);
    std::string ring_read(const tr_ring_info &info, uint32_t offset, uint32_t bytes) const;
    int write(uint32_t remote, uint32_t offset, const std::string &bytes, uint64_t cookie);
    std::vector<tr_write_completion> completions(uint32_t max = 64);

    const tr_driver *driver;
    std::vector<Message> inbox;
    std::vector<tr_port_event> events;

  private:
    static void *allocate(void *context, size_t bytes, size_t align);

    unsigned node_;
    int open_result_;
    std::string open_error_;
    std::string address_;
    tr_port *port_ = nullptr;
    size_t arena_calls_ = 0;
    std::vector<void *> blocks_;
};

// A test of one driver: makes the world, opens ports and joins them.
class Conformance : public ::testing::TestWithParam<Subject>
{
  protected:
    void SetUp() override;
    const Subject &subject() const
    {
        return GetParam();
    }
    // Says why a test does not apply, and ends it, unless the driver has the bits.
    bool has(uint32_t capabilities) const
    {
        return subject().has(capabilities);
    }

    std::unique_ptr<Port> open(unsigned node, const Port::Tweak &tweak = nullptr);
    // Opens nodes 1..count, each with all others as peers, and waits until all are reachable.
    std::vector<std::unique_ptr<Port>> open_all(unsigned count, const Port::Tweak &tweak = nullptr);
    void add_peers(std::vector<std::unique_ptr<Port>> &ports);
    // Polls the ports in turn until the condition holds. Returns: false when it does not come true.
    bool until(const std::vector<Port *> &ports, const std::function<bool()> &condition);
    // The same for a number of rounds: for what must not happen.
    void rounds(const std::vector<Port *> &ports, unsigned count);
    // Sends until it is taken, and waits until it is there; sends again if the driver may drop.
    bool deliver(Port &from, Port &to, const std::string &bytes);
    // Waits until `from` reaches node: until messages to it are no longer lost.
    bool reach(Port &from, Port &to);

    // Fences a ring to the end.
    bool fence(Port &owner, uint32_t ring, const std::vector<Port *> &others = {});
    int remote_open(Port &writer, Port &owner, const tr_ring_token &token, uint64_t generation,
                    uint32_t *remote);
    // Posts a write, with polls while there is no room, and waits for its completion.
    tr_write_status write(Port &writer, Port &owner, uint32_t remote, uint32_t offset,
                          const std::string &bytes);

    std::unique_ptr<World> world;
};

#define CONFORMANCE_REQUIRE(capabilities)                                                     \
    do {                                                                                      \
        if (!has(capabilities))                                                               \
            GTEST_SKIP() << "not applicable: not a capability of " << subject().driver->name; \
    } while (0)

std::string subject_name(const ::testing::TestParamInfo<Subject> &info);

#define CONFORMANCE_INSTANTIATE(suite) \
    INSTANTIATE_TEST_SUITE_P(Drivers, suite, ::testing::ValuesIn(subjects()), subject_name)

} // namespace conformance

#endif
