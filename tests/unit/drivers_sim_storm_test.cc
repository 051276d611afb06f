// The simulated network in a storm: the same seed gives the same world, and what the protocol
// relies on (a write that was told OK is there when a fence has ended, and nothing lands after)
// holds under all faults together.
#include "base/prng.h"
#include "drivers_sim_world.h"

#include <deque>

namespace
{

using namespace tr_test;

// What a run comes to, in one number.
struct digest {
    uint64_t value = 1469598103934665603u;

    void add(const void *data, size_t size)
    {
        auto *at = static_cast<const uint8_t *>(data);
        for (size_t i = 0; i < size; i++)
            value = (value ^ at[i]) * 1099511628211u;
    }

    void add(uint64_t number)
    {
        add(&number, sizeof(number));
    }
};

// One writer of the storm: posts records, and the model of what counted.
struct link {
    tr_node_id owner = 0, writer = 0;
    tr_ring_info ring{};
    bool is_open = false, is_fencing = false;
    bool has_remote = false;
    bool has_failed = false; // the writer saw a completion that was not OK
    uint32_t remote = 0;
    uint64_t generation = 0;
    uint32_t next = 0;                   // offset of the next record
    std::map<uint64_t, uint32_t> posted; // cookie -> offset
    std::map<uint32_t, bytes> counted;   // offset -> record told OK
    uint64_t cookie_next = 0, cookie_told = 0;
};

struct storm_result {
    uint64_t digest;
    tr_sim_counters counters;
    uint64_t missing; // records told OK that were not there when the fence had ended
    uint64_t late;    // rings that changed after the fence
};

// Three nodes that write, send, fence, crash, pause and are cut off at random; after every fence
// the ring has every record that was told OK, and does not change until the next grant.
storm_result storm(uint64_t seed, const tr_sim_profile &profile, bool believe_all = false)
{
    world s(profile, seed);
    tr_prng prng;
    tr_prng_seed(&prng, seed ^ 0x5707);
    digest all;
    std::deque<bytes> sources;
    std::map<std::pair<int, int>, link> links;
    uint64_t generation = 1;
    for (tr_node_id node = 1; node <= 3; node++)
        s.open(node);
    auto make_link = [&](tr_node_id owner, tr_node_id writer) {
        link l;
        l.owner = owner;
        l.writer = writer;
        l.ring = s.nodes[owner]->ring(writer);
        links[{owner, writer}] = l;
    };
    for (tr_node_id owner = 1; owner <= 3; owner++) {
        for (tr_node_id writer = 1; writer <= 3; writer++) {
            if (owner != writer)
                make_link(owner, writer);
        }
    }
    auto drop_remote = [&](link &l) {
        if (l.has_remote)
            (*s.nodes[l.writer])->remote_close(s.nodes[l.writer]->get(), l.remote);
        l.has_remote = false;
        l.posted.clear();
    };
    auto poll = [&](tr_node_id node) {
        sim_port &port = *s.nodes[node];
        for (auto &m : port.receive()) {
            all.add(m.data.data(), m.data.size());
            all.add(m.peer);
        }
        for (auto &e : port.events())
            all.add(static_cast<uint64_t>(e.type) << 16 | e.peer);
        for (auto &done : port.completions()) {
            all.add(done.cookie << 2 | done.status);
            for (auto &entry : links) {
                link &l = entry.second;
                if (l.writer != node || !l.has_remote || l.remote != done.remote)
                    continue;
                EXPECT_EQ(done.generation, l.generation);
                EXPECT_EQ(done.cookie, l.cookie_told++) << "in the order of posting";
                EXPECT_FALSE(l.has_failed && done.status == TR_WRITE_OK)
                    << "nothing counts behind what did not";
                l.has_failed = l.has_failed || done.status != TR_WRITE_OK;
                if (done.status == TR_WRITE_OK || believe_all)
                    l.counted[l.posted[done.cookie]] = {};
            }
        }
    };
    auto record_of = [&](const link &l, uint32_t offset) {
        return pattern(l.generation * 4096 + offset, 64);
    };
    uint64_t missing = 0, late = 0;
    auto check_ring = [&](link &l) {
        for (auto &record : l.counted)
            missing += ring_bytes(l.ring, record.first, 64) != record_of(l, record.first);
    };
    std::map<std::pair<int, int>, bytes> frozen; // rings that are fenced, and what they had
    for (int step = 0; step < 3000 && !testing::Test::HasFailure(); step++) {
        tr_node_id node = static_cast<tr_node_id>(1 + tr_prng_below(&prng, 3));
        tr_node_id peer = static_cast<tr_node_id>(1 + (node + tr_prng_below(&prng, 2)) % 3);
        sim_port &port = *s.nodes[node];
        link &mine = links[{node, peer}];   // ring that node owns
        link &theirs = links[{peer, node}]; // ring that node writes
        switch (tr_prng_below(&prng, 16)) {
        case 0:
        case 1:
        case 2:
            port.send(peer, pattern(static_cast<uint64_t>(step), tr_prng_below(&prng, 3000)));
            break;
        case 3:
        case 4:
        case 5:
        case 6:
        case 7:
            if (!theirs.has_remote || theirs.next == 4096)
                break;
            sources.push_back(record_of(theirs, theirs.next));
            if (port.write(theirs.remote, theirs.next, sources.back(), theirs.cookie_next) ==
                TR_OK) {
                theirs.posted[theirs.cookie_next++] = theirs.next;
                theirs.next += 64;
            }
            break;
        case 8:
            if (mine.is_open && !mine.is_fencing) {
                mine.is_fencing = true;
                port->fence_start(port.get(), mine.ring.ring);
            }
            break;
        case 9:
            if (!mine.is_open && !mine.is_fencing) {
                tr_ring_token token;
                drop_remote(mine);
                EXPECT_EQ(port->ring_grant(port.get(), mine.ring.ring, generation, &token), TR_OK);
                frozen.erase({node, peer});
                mine.is_open = true;
                mine.generation = generation++;
                mine.next = 0;
                mine.counted.clear();
                mine.cookie_next = mine.cookie_told = 0;
                mine.has_failed = false;
                mine.has_remote = (*s.nodes[peer])
                                      ->remote_open(s.nodes[peer]->get(), node, &token,
                                                    mine.generation, &mine.remote) == TR_OK;
            }
            break;
        case 10:
            port->ring_consumed(port.get(), mine.ring.ring, static_cast<uint64_t>(step));
            if (theirs.has_remote)
                all.add(port->remote_consumed(port.get(), theirs.remote));
            break;
        case 11:
            tr_sim_partition(s.w, node, peer, tr_prng_below(&prng, 3) == 0);
            break;
        case 12:
            tr_sim_pause(s.w, node, tr_prng_below(&prng, 4) == 0);
            break;
        case 13:
            if (tr_prng_below(&prng, 20) != 0)
                break;
            tr_sim_crash(s.w, node);
            for (tr_node_id other = 1; other <= 3; other++) { // who do not know it yet
                if (other == node)
                    continue;
                link &l = links[{node, other}];
                s.nodes[other]->send(node, {1, 2, 3});
                sources.push_back(record_of(l, l.next));
                if (l.has_remote && l.next < 4096 &&
                    s.nodes[other]->write(l.remote, l.next, sources.back(), l.cookie_next) == TR_OK)
                    l.posted[l.cookie_next++] = l.next;
            }
            s.pass(50 * us);
            for (auto &entry : links) {
                link &l = entry.second;
                if (l.owner != node && l.writer != node)
                    continue;
                if (l.writer == node)
                    l.has_remote = false; // its port is gone, and all that it knew
                else
                    drop_remote(l);
                if (l.owner == node)
                    l.is_open = l.is_fencing = false;
                frozen.erase(entry.first);
            }
            s.open(node);
            for (tr_node_id writer = 1; writer <= 3; writer++) {
                if (writer != node)
                    make_link(node, writer);
            }
            break;
        case 14:
            tr_sim_heal_all(s.w);
            break;
        default:
            break;
        }
        s.pass(tr_prng_below(&prng, 3000));
        for (tr_node_id n = 1; n <= 3; n++)
            poll(n);
        for (auto &entry : links) {
            link &l = entry.second;
            sim_port &owner = *s.nodes[l.owner];
            if (l.is_fencing && owner->fence_poll(owner.get(), l.ring.ring) == TR_OK) {
                l.is_open = l.is_fencing = false;
                check_ring(l);
                frozen[entry.first] = ring_bytes(l.ring, 0, 4096);
            }
            if (frozen.count(entry.first) != 0 && step % 8 == 0)
                late += ring_bytes(l.ring, 0, 4096) != frozen[entry.first];
        }
    }
    all.add(&s.count(), sizeof(s.count()));
    for (auto &entry : links)
        all.add(ring_bytes(entry.second.ring, 0, 4096).data(), 4096);
    EXPECT_EQ(s.count().sources_changed, 0u);
    return {all.value, s.count(), missing, late};
}

TEST(sim_storm, same_seed_is_the_same_world_bit_by_bit)
{
    for (uint64_t seed = 1; seed <= 5; seed++)
        EXPECT_EQ(storm(seed, tr_sim_profile_stormy()).digest,
                  storm(seed, tr_sim_profile_stormy()).digest);
    EXPECT_NE(storm(1, tr_sim_profile_stormy()).digest, storm(2, tr_sim_profile_stormy()).digest);
}

TEST(sim_storm, fences_hold_under_all_faults_and_every_fault_happens)
{
    tr_sim_counters sum{};
    for (uint64_t seed = 1; seed <= 60; seed++) {
        tr_sim_profile p = seed % 2 == 0 ? tr_sim_profile_drawn(seed) : tr_sim_profile_stormy();
        storm_result result = storm(seed, p);
        tr_sim_counters c = result.counters;
        ASSERT_EQ(result.missing, 0u) << "seed " << seed;
        ASSERT_EQ(result.late, 0u) << "seed " << seed;
#define ADD(name, what) sum.name += c.name;
        TR_SIM_COUNTER_TABLE(ADD)
#undef ADD
    }
#define NONZERO(name, what)                                                              \
    if (std::string(#name) != "sources_changed" && std::string(#name) != "overflowed" && \
        std::string(#name) != "writes_overran" &&                                        \
        std::string(#name) != "scribbles") { /* its caller's */                          \
        EXPECT_GT(sum.name, 0u) << what;                                                 \
    }
    TR_SIM_COUNTER_TABLE(NONZERO)
#undef NONZERO
}

TEST(sim_storm, believing_every_completion_is_noticed)
{
    uint64_t missing = 0;
    for (uint64_t seed = 1; seed <= 10; seed++)
        missing += storm(seed, tr_sim_profile_stormy(), true).missing;
    EXPECT_GT(missing, 0u);
}

} // namespace
