/* What the tests of the simulated network share: worlds with ports in them. */
#ifndef TR_TESTS_UNIT_DRIVERS_SIM_WORLD_H
#define TR_TESTS_UNIT_DRIVERS_SIM_WORLD_H

#include "base/atomic.h"
#include "drivers/sim/sim.h"
#include "drivers_port.h"
#include "trireme/error.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>

namespace tr_test
{

using bytes = std::vector<uint8_t>;

constexpr uint64_t us = 1000, ms = 1000000;
constexpr uint32_t always = 1000000;

struct received {
    bytes data;
    tr_node_id peer;
    uint32_t source;
};

class sim_port : public port
{
  public:
    std::vector<received> receive(uint32_t max = 64)
    {
        std::vector<tr_rx> rx(max);
        std::vector<received> all;
        uint32_t count = (*this)->rx_burst(get(), rx.data(), max);
        for (uint32_t i = 0; i < count; i++) {
            auto *data = static_cast<const uint8_t *>(rx[i].data);
            all.push_back({bytes(data, data + rx[i].bytes), rx[i].peer, rx[i].source});
        }
        return all;
    }

    std::vector<tr_port_event> events()
    {
        std::vector<tr_port_event> all(8);
        all.resize((*this)->events(get(), all.data(), 8));
        return all;
    }

    tr_ring_info ring(tr_node_id writer, uint32_t size = 4096)
    {
        tr_ring_options o{};
        tr_ring_info info{};
        o.peer = writer;
        o.bytes = size;
        EXPECT_EQ((*this)->ring_create(get(), &o, &info), TR_OK);
        return info;
    }

    int write(uint32_t remote, uint32_t offset, const bytes &data, uint64_t cookie = 0)
    {
        tr_segment segment = {data.data(), static_cast<uint32_t>(data.size())};
        return (*this)->write_post(get(), remote, offset, &segment, 1, cookie);
    }

    std::vector<tr_write_completion> completions()
    {
        std::vector<tr_write_completion> all(64);
        all.resize((*this)->write_poll(get(), all.data(), 64));
        return all;
    }
};

// A world and up to four nodes, each of which has all others as peers.
class world
{
  public:
    explicit world(const tr_sim_profile &profile, uint64_t seed = 1, uint32_t queue_max = 0)
    {
        tr_sim_options options{};
        options.struct_bytes = sizeof(options);
        options.seed = seed;
        options.profile = profile;
        options.queue_max = queue_max;
        options.memory = *arena_.memory();
        EXPECT_EQ(tr_sim_world_create(&options, &w), TR_OK);
    }

    ~world()
    {
        nodes.clear();
        tr_sim_world_destroy(w);
    }

    sim_port &open(tr_node_id node, const tr_driver &driver = tr_driver_sim)
    {
        auto port = std::make_unique<sim_port>();
        port->options.self = node;
        port->options.fabric = w;
        EXPECT_EQ(port->open(driver, name(node)), TR_OK) << port->error;
        for (tr_node_id peer = 1; peer <= 4; peer++) {
            if (peer != node) {
                EXPECT_EQ((*port)->peer_add(port->get(), peer, name(peer).c_str()), TR_OK);
            }
        }
        nodes[node] = std::move(port);
        return *nodes[node];
    }

    void pass(uint64_t ns)
    {
        tr_sim_advance(w, tr_sim_now_ns(w) + ns);
    }

    const tr_sim_counters &count() const
    {
        return *tr_sim_world_counters(w);
    }

    static std::string name(tr_node_id node)
    {
        return "sim:n" + std::to_string(node);
    }

    tr_sim_world *w = nullptr;
    std::map<tr_node_id, std::unique_ptr<sim_port>> nodes;

  private:
    arena arena_;
};

inline bytes ring_bytes(const tr_ring_info &ring, uint32_t offset, uint32_t size)
{
    bytes out(size);
    tr_copy_relaxed_8(out.data(), ring.memory + offset, size);
    return out;
}

} // namespace tr_test

#endif
