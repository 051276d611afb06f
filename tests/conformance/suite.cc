#include "suite.h"

#include "base/atomic.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace conformance
{

namespace
{

// A wait that ends in failure takes this long; none that succeeds comes near it.
constexpr std::chrono::seconds patience(30);

std::vector<Subject> &all_subjects()
{
    static std::vector<Subject> all;
    return all;
}

} // namespace

bool register_subject(Subject subject)
{
    all_subjects().push_back(std::move(subject));
    return true;
}

const std::vector<Subject> &subjects()
{
    return all_subjects();
}

std::string subject_name(const ::testing::TestParamInfo<Subject> &info)
{
    return info.param.name;
}

std::string pattern(size_t bytes, uint64_t seed)
{
    std::string out(bytes, '\0');
    uint64_t x = seed * 0x9e3779b97f4a7c15u + bytes;
    for (size_t i = 0; i < bytes; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        out[i] = static_cast<char>(x >> 56);
    }
    return out;
}

void *Port::allocate(void *context, size_t bytes, size_t align)
{
    Port *self = static_cast<Port *>(context);
    size_t rounded = (bytes + align - 1) / align * align;
    void *at = std::aligned_alloc(align < sizeof(void *) ? sizeof(void *) : align, rounded);
    self->arena_calls_++;
    self->blocks_.push_back(at);
    return at;
}

Port::Port(World &world, const Subject &subject, unsigned node, const Tweak &tweak)
    : driver(subject.driver), node_(node), address_(world.address(node))
{
    char error[512] = "";
    tr_port_options options = {};
    options.struct_bytes = sizeof(options);
    options.self = static_cast<tr_node_id>(node);
    options.address = address_.c_str();
    options.queue_count = 1;
    options.peers_max = 8;
    options.seed = 0x5eed + node;
    options.memory.context = this;
    options.memory.allocate = allocate;
    options.error = error;
    options.error_bytes = sizeof(error);
    blocks_.reserve(64); // so that bookkeeping is no allocation of the driver's
    world.fill(options, node);
    if (tweak)
        tweak(options);
    open_result_ = driver->open(&options, &port_);
    open_error_ = error;
}

Port::~Port()
{
    close();
    for (void *block : blocks_)
        std::free(block);
}

void Port::close()
{
    if (port_ != nullptr)
        driver->close(port_);
    port_ = nullptr;
}

tr_port_limits Port::limits() const
{
    tr_port_limits out = {};
    driver->limits(port_, &out);
    return out;
}

tr_port_stats Port::stats() const
{
    tr_port_stats out = {};
    driver->stats(port_, &out);
    return out;
}

int Port::add(unsigned node, const std::string &address)
{
    return driver->peer_add(port_, static_cast<tr_node_id>(node), address.c_str());
}

size_t Port::poll()
{
    tr_rx rx[64];
    tr_port_event event[8];
    uint32_t count = driver->rx_burst(port_, rx, 64);
    for (uint32_t i = 0; i < count; i++) {
        EXPECT_EQ(reinterpret_cast<uintptr_t>(rx[i].data) % 8, 0u);
        inbox.push_back({rx[i].peer, rx[i].source,
                         std::string(static_cast<const char *>(rx[i].data), rx[i].bytes)});
    }
    driver->tx_flush(port_);
    uint32_t event_count = driver->events(port_, event, 8);
    for (uint32_t i = 0; i < event_count; i++)
        events.push_back(event[i]);
    return count;
}

bool Port::send(unsigned node, const std::string &bytes)
{
    tr_tx tx = {};
    tx.peer = static_cast<tr_node_id>(node);
    tx.segment_count = 1;
    tx.segment[0] = {bytes.data(), static_cast<uint32_t>(bytes.size())};
    return driver->tx_burst(port_, &tx, 1) == 1;
}

int Port::reply(uint32_t source, const std::string &bytes)
{
    tr_segment segment = {bytes.data(), static_cast<uint32_t>(bytes.size())};
    return driver->tx_reply(port_, source, &segment, 1);
}

bool Port::saw(tr_port_event_type type, unsigned node) const
{
    for (const tr_port_event &event : events) {
        if (event.type == type && event.peer == node)
            return true;
    }
    return false;
}

tr_ring_info Port::ring_create(unsigned writer, uint32_t bytes)
{
    tr_ring_options options = {};
    tr_ring_info info = {};
    options.peer = static_cast<tr_node_id>(writer);
    options.bytes = bytes;
    EXPECT_EQ(driver->ring_create(port_, &options, &info), TR_OK);
    EXPECT_EQ(info.bytes, bytes);
    return info;
}

tr_ring_token Port::ring_grant(uint32_t ring, uint64_t generation)
{
    tr_ring_token token = {};
    EXPECT_EQ(driver->ring_grant(port_, ring, generation, &token), TR_OK);
    return token;
}

std::string Port::ring_read(const tr_ring_info &info, uint32_t offset, uint32_t bytes) const
{
    std::string out(bytes, '\0');
    tr_copy_relaxed_8(&out[0], info.memory + offset, bytes);
    return out;
}

int Port::write(uint32_t remote, uint32_t offset, const std::string &bytes, uint64_t cookie)
{
    tr_segment segment = {bytes.data(), static_cast<uint32_t>(bytes.size())};
    return driver->write_post(port_, remote, offset, &segment, 1, cookie);
}

std::vector<tr_write_completion> Port::completions(uint32_t max)
{
    std::vector<tr_write_completion> out(max);
    uint32_t count = driver->write_poll(port_, out.data(), max);
    EXPECT_LE(count, max);
    out.resize(count);
    return out;
}

void Conformance::SetUp()
{
    world = subject().make();
}

std::unique_ptr<Port> Conformance::open(unsigned node, const Port::Tweak &tweak)
{
    auto port = std::make_unique<Port>(*world, subject(), node, tweak);
    EXPECT_EQ(port->open_result(), TR_OK) << port->open_error();
    return port;
}

void Conformance::add_peers(std::vector<std::unique_ptr<Port>> &ports)
{
    for (auto &port : ports) {
        for (auto &other : ports) {
            if (port != other) {
                ASSERT_EQ(port->add(other->node(), world->address(other->node())), TR_OK);
            }
        }
    }
}

std::vector<std::unique_ptr<Port>> Conformance::open_all(unsigned count, const Port::Tweak &tweak)
{
    std::vector<std::unique_ptr<Port>> ports;
    for (unsigned node = 1; node <= count; node++) {
        ports.push_back(open(node, tweak));
        if (ports.back()->open_result() != TR_OK)
            abort();
    }
    add_peers(ports);
    for (auto &port : ports) {
        for (auto &other : ports) {
            if (port != other) {
                EXPECT_TRUE(reach(*port, *other));
            }
        }
    }
    for (auto &port : ports) {
        port->inbox.clear();
        port->events.clear();
    }
    return ports;
}

bool Conformance::until(const std::vector<Port *> &ports, const std::function<bool()> &condition)
{
    auto end = std::chrono::steady_clock::now() + patience;
    for (unsigned i = 0; !condition(); i++) {
        for (Port *port : ports)
            port->poll();
        world->step();
        if (i % 1024 == 1023 && std::chrono::steady_clock::now() > end)
            return false;
    }
    return true;
}

void Conformance::rounds(const std::vector<Port *> &ports, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        for (Port *port : ports)
            port->poll();
        world->step();
    }
}

bool Conformance::deliver(Port &from, Port &to, const std::string &bytes)
{
    size_t seen = to.inbox.size();
    auto arrived = [&] {
        for (; seen < to.inbox.size(); seen++) {
            if (to.inbox[seen].bytes == bytes)
                return true;
        }
        return false;
    };
    unsigned tries = has(TR_DRIVER_MAY_DROP) ? 100 : 1;
    for (unsigned i = 0; i < tries; i++) {
        if (!until({&from, &to}, [&] { return from.send(to.node(), bytes); }))
            return false;
        if (tries == 1)
            return until({&from, &to}, arrived);
        for (unsigned round = 0; round < 5000; round++) {
            rounds({&from, &to}, 1);
            if (arrived())
                return true;
        }
    }
    return false;
}

bool Conformance::reach(Port &from, Port &to)
{
    const std::string hello = pattern(32, 77 + from.node());
    auto arrived = [&] {
        for (const Message &message : to.inbox) {
            if (message.bytes == hello)
                return true;
        }
        return false;
    };
    unsigned round = 0;
    return until({&from, &to},
                 [&] {
                     if (round++ % 256 == 0)
                         from.send(to.node(), hello);
                     return arrived();
                 }) &&
           until({&from, &to}, [&] { // and those that were sent besides
               rounds({&from, &to}, 64);
               return true;
           });
}

bool Conformance::fence(Port &owner, uint32_t ring, const std::vector<Port *> &others)
{
    int result = owner.driver->fence_start(owner.raw(), ring);
    if (result == TR_OK)
        return true;
    EXPECT_EQ(result, TR_AGAIN);
    EXPECT_TRUE(has(TR_DRIVER_ASYNC_FENCE));
    std::vector<Port *> ports = others;
    ports.push_back(&owner);
    return until(ports, [&] { return owner.driver->fence_poll(owner.raw(), ring) == TR_OK; });
}

int Conformance::remote_open(Port &writer, Port &owner, const tr_ring_token &token,
                             uint64_t generation, uint32_t *remote)
{
    int result = TR_AGAIN;
    until({&writer, &owner}, [&] {
        result = writer.driver->remote_open(writer.raw(), static_cast<tr_node_id>(owner.node()),
                                            &token, generation, remote);
        return result != TR_AGAIN;
    });
    return result;
}

tr_write_status Conformance::write(Port &writer, Port &owner, uint32_t remote, uint32_t offset,
                                   const std::string &bytes)
{
    std::vector<tr_write_completion> done;
    EXPECT_TRUE(until({&writer, &owner},
                      [&] { return writer.write(remote, offset, bytes, 1234) == TR_OK; }));
    EXPECT_TRUE(until({&writer, &owner}, [&] {
        done = writer.completions();
        return !done.empty();
    }));
    EXPECT_EQ(done.size(), 1u);
    EXPECT_EQ(done[0].cookie, 1234u);
    EXPECT_EQ(done[0].remote, remote);
    EXPECT_EQ(done[0].peer, owner.node());
    return done[0].status;
}

} // namespace conformance
