// The simulated network: messages and one-sided writes a second, calm and stormy, with thousands
// under way. What a simulated cluster spends here is not spent on the protocol.
#include "drivers/sim/sim.h"

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <vector>

namespace
{

struct world {
    explicit world(const tr_sim_profile &profile)
    {
        tr_sim_options options{};
        options.struct_bytes = sizeof(options);
        options.seed = 1;
        options.profile = profile;
        options.memory = memory();
        if (tr_sim_world_create(&options, &w) != 0)
            abort();
        for (tr_node_id node = 1; node <= 2; node++) {
            tr_port_options o{};
            o.struct_bytes = sizeof(o);
            o.self = node;
            o.address = node == 1 ? "sim:1" : "sim:2";
            o.peers_max = 2;
            o.message_bytes_max = 64 << 10;
            o.seed = 1;
            o.memory = memory();
            o.fabric = w;
            if (tr_driver_sim.open(&o, &port[node - 1]) != 0)
                abort();
        }
        tr_driver_sim.peer_add(port[0], 2, "sim:2");
        tr_driver_sim.peer_add(port[1], 1, "sim:1");
    }

    ~world()
    {
        for (tr_port *p : port)
            tr_driver_sim.close(p);
        tr_sim_world_destroy(w);
        for (void *block : blocks)
            free(block);
    }

    tr_memory memory()
    {
        return {this, [](void *context, size_t bytes, size_t align) -> void * {
                    void *at = aligned_alloc(align, (bytes + align - 1) / align * align);
                    static_cast<world *>(context)->blocks.push_back(at);
                    return at;
                }};
    }

    tr_sim_world *w = nullptr;
    tr_port *port[2] = {};
    std::vector<void *> blocks;
};

tr_sim_profile profile_of(int64_t which)
{
    return which == 0 ? tr_sim_profile_calm() : tr_sim_profile_stormy();
}

// Bursts of 32 small messages, a microsecond apart: 200 to 300 are under way.
void sim_messages(benchmark::State &state)
{
    world s(profile_of(state.range(0)));
    uint8_t bytes[64] = {0};
    tr_tx tx[32] = {};
    tr_rx rx[256];
    for (auto &t : tx) {
        t.peer = 2;
        t.segment_count = 1;
        t.segment[0] = {bytes, sizeof(bytes)};
    }
    uint64_t now = 0;
    for (auto _ : state) {
        tr_driver_sim.tx_burst(s.port[0], tx, 32);
        tr_sim_advance(s.w, now += 1000);
        benchmark::DoNotOptimize(tr_driver_sim.rx_burst(s.port[1], rx, 256));
    }
    state.SetItemsProcessed(state.iterations() * 32);
}
BENCHMARK(sim_messages)->Arg(0)->Arg(1);

// Bursts of 32 records, completed a few microseconds later.
void sim_writes(benchmark::State &state)
{
    tr_sim_profile profile = profile_of(state.range(0));
    profile.write_lost_ppm = profile.write_broken_ppm = 0; // they would end it
    world s(profile);
    tr_ring_options options{};
    tr_ring_info ring{};
    tr_ring_token token{};
    uint32_t remote = 0;
    options.peer = 2;
    options.bytes = 4096;
    tr_driver_sim.ring_create(s.port[0], &options, &ring);
    tr_driver_sim.ring_grant(s.port[0], ring.ring, 7, &token);
    if (tr_driver_sim.remote_open(s.port[1], 1, &token, 7, &remote) != 0)
        abort();
    uint8_t bytes[64] = {0};
    tr_segment segment = {bytes, sizeof(bytes)};
    tr_write_completion done[64];
    uint64_t now = 0, posted = 0;
    for (auto _ : state) {
        for (uint32_t i = 0; i < 32; i++)
            posted += tr_driver_sim.write_post(s.port[1], remote, 64 * i, &segment, 1, i) == 0;
        tr_sim_advance(s.w, now += 4000);
        benchmark::DoNotOptimize(tr_driver_sim.write_poll(s.port[1], done, 64));
    }
    state.SetItemsProcessed(static_cast<int64_t>(posted));
}
BENCHMARK(sim_writes)->Arg(0)->Arg(1);

} // namespace
