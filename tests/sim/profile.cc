/* The table of profiles. */
#include "tests/sim/profile.h"

#include <algorithm>

namespace sim
{

namespace
{

/* Of the largest messages: a batch of the largest commands. */
constexpr uint32_t MESSAGE_BYTES = 36000;
/* Pieces of them that are lost, and as many that are damaged: exp(-2 * 0.7) is a quarter. */
constexpr uint32_t LOST_PPM = 700000;

/* Mean times in microseconds, by fault:
 *   crash storm pause slow | pair one-way side leader deaf bridge coup exile |
 *   clock disconnect campaign forge */
const Profile table[] = {
    {"calm",
     "no fault but the loss of a client",
     Network::Calm,
     Writes::Drawn,
     Lease::Off,
     3,
     10,
     false,
     true,
     false,
     false,
     {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9000, 0}},
    {"network",
     "loss, copies, damage, reordering, heavy tails, every size of datagram",
     Network::Drawn,
     Writes::Off,
     Lease::Off,
     2,
     25,
     false,
     false,
     false,
     false,
     {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9000, 15000}},
    {"partitions",
     "pairs, directions, sides, leaders, bridges cut off",
     Network::Drawn,
     Writes::Drawn,
     Lease::Off,
     1,
     30,
     false,
     true,
     false,
     false,
     {0, 0, 0, 0, 4000, 4000, 8000, 6000, 6000, 9000, 4000, 9000, 0, 15000, 0, 9000}},
    {"one_sided",
     "writes torn, late, out of order, refused, broken, while leaders change",
     Network::Late,
     Writes::On,
     Lease::Off,
     1,
     25,
     false,
     false,
     false,
     false,
     {40000, 0, 6000, 0, 0, 2000, 0, 0, 0, 0, 4000, 3000, 0, 0, 1000, 1500}},
    {"exiles",
     "followers miss a leadership, and stand while what the one before wrote lands late",
     Network::Late,
     Writes::On,
     Lease::Off,
     1,
     25,
     false,
     false,
     false,
     false,
     {0, 0, 0, 0, 0, 2000, 0, 0, 0, 0, 0, 2000, 0, 0, 0, 5000}},
    {"crashes",
     "nodes lose their memory",
     Network::Drawn,
     Writes::Drawn,
     Lease::Off,
     2,
     37,
     false,
     false,
     true,
     false,
     {5000, 0, 0, 0, 0, 0, 0, 9000, 0, 0, 0, 0, 0, 15000, 9000}},
    {"pauses",
     "nodes stand still, or are slow",
     Network::Drawn,
     Writes::Drawn,
     Lease::Off,
     1,
     37,
     false,
     false,
     false,
     false,
     {0, 0, 2000, 9000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9000, 0}},
    {"storm",
     "nodes crash as often as they start",
     Network::Drawn,
     Writes::Drawn,
     Lease::Off,
     1,
     30,
     true,
     false,
     false,
     false,
     {9000, 6000, 9000, 0, 0, 9000, 0, 0, 0, 0, 0, 0, 0, 0, 9000}},
    {"founding",
     "nodes start apart and crash before the group is founded; then most crash at once",
     Network::Drawn,
     Writes::Drawn,
     Lease::Off,
     1,
     5,
     true,
     false,
     true,
     false,
     {700, 1500, 1500, 0, 1500, 1500, 0, 0, 1500, 0, 0, 0, 0, 0, 0}},
    {"leases",
     "reads on a lease, clocks that differ up to the stated bound",
     Network::Drawn,
     Writes::Drawn,
     Lease::Within,
     1,
     30,
     false,
     false,
     false,
     false,
     {30000, 0, 5000, 9000, 0, 6000, 6000, 3000, 6000, 0, 1500, 0, 3000, 15000, 2000}},
    {"drift",
     "the same with clocks that break the bound: only reads may be stale",
     Network::Drawn,
     Writes::Drawn,
     Lease::Beyond,
     1,
     25,
     false,
     false,
     false,
     false,
     {30000, 0, 5000, 0, 0, 0, 0, 3000, 0, 0, 3000, 0, 3000, 0, 2000}},
    {"groups",
     "many groups on the same nodes",
     Network::Drawn,
     Writes::Drawn,
     Lease::Off,
     8,
     10,
     false,
     false,
     false,
     false,
     {9000, 0, 9000, 0, 9000, 0, 0, 0, 0, 0, 0, 0, 0, 9000, 9000}},
    {"disk",
     "every promise and entry waits for a simulated disk",
     Network::Drawn,
     Writes::Off,
     Lease::Off,
     1,
     20,
     false,
     false,
     false,
     true,
     {0, 0, 9000, 9000, 0, 9000, 0, 9000, 0, 0, 6000, 0, 0, 0, 6000}},
    {"mixed",
     "everything",
     Network::Drawn,
     Writes::Drawn,
     Lease::Off,
     2,
     37,
     false,
     true,
     false,
     false,
     {15000, 60000, 9000, 20000, 15000, 15000, 20000, 15000, 20000, 30000, 20000, 9000, 15000,
      15000, 15000, 9000}},
    {"narrow",
     "one-sided writes into rings of the least size, whose readers stand still; by name only",
     Network::Drawn,
     Writes::On,
     Lease::Off,
     1,
     37,
     false,
     true,
     false,
     false,
     {6000, 0, 1500, 9000, 4000, 4000, 0, 6000, 0, 0, 9000, 9000, 0, 15000, 6000, 9000},
     true},
};

const char *const names[] = {
#define SIM_FAULT_NAME(name, text, what) text,
    SIM_NETWORK_FAULTS(SIM_FAULT_NAME) SIM_TIMED_FAULTS(SIM_FAULT_NAME)
#undef SIM_FAULT_NAME
};

const char *const whats[] = {
#define SIM_FAULT_WHAT(name, text, what) what,
    SIM_NETWORK_FAULTS(SIM_FAULT_WHAT) SIM_TIMED_FAULTS(SIM_FAULT_WHAT)
#undef SIM_FAULT_WHAT
};

} // namespace

const Profile *profile_at(uint32_t index)
{
    return index < sizeof(table) / sizeof(table[0]) ? &table[index] : nullptr;
}

const Profile *profile_find(const std::string &name)
{
    for (uint32_t i = 0; profile_at(i) != nullptr; i++) {
        if (name == table[i].name)
            return &table[i];
    }
    return nullptr;
}

const char *fault_name(int fault)
{
    return names[fault];
}

const char *fault_what(int fault)
{
    return whats[fault];
}

int fault_find(const std::string &name)
{
    int fault = 0;
    while (fault < FAULTS && name != names[fault])
        fault++;
    return fault;
}

tr_sim_profile network_of(const Profile &profile, uint64_t seed, uint32_t without)
{
    tr_sim_profile p = tr_sim_profile_calm();
    if (profile.network != Network::Calm)
        p = tr_sim_profile_drawn(seed);
    if (profile.network == Network::Late) {
        p.write_early_ppm = std::max<uint32_t>(p.write_early_ppm, 300000);
        p.write_late_ns = {50000, 5000000};
        p.drop_ppm = std::max<uint32_t>(p.drop_ppm, 50000);
        p.fence_ns = {100000, 500000};
        p.write_timeout_ns = seed % 2 == 0 ? 1000000 : 20000000;
    }
    /* The largest messages get through at one time in four. */
    uint32_t pieces = 1 + MESSAGE_BYTES / (p.datagram_bytes != 0 ? p.datagram_bytes : 1472);
    p.drop_ppm = std::min(p.drop_ppm, LOST_PPM / pieces);
    p.corrupt_ppm = std::min(p.corrupt_ppm, LOST_PPM / pieces);
    uint32_t *rate[] = {&p.drop_ppm,         &p.duplicate_ppm,     &p.corrupt_ppm,
                        &p.reorder_ppm,      &p.tail_ppm,          &p.write_torn_ppm,
                        &p.write_early_ppm,  &p.write_reorder_ppm, &p.write_lost_ppm,
                        &p.write_broken_ppm, &p.orphan_ppm};
    for (int i = 0; i < FAULT_SILENT; i++) {
        if ((without >> i & 1) != 0)
            *rate[i] = 0;
    }
    if ((without >> FAULT_SILENT & 1) != 0)
        p.notice_ppm = 1000000;
    return p;
}

} // namespace sim
