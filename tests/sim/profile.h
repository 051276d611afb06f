/* Profiles: which faults a run draws from, and how often each comes. */
#ifndef TR_TESTS_SIM_PROFILE_H
#define TR_TESTS_SIM_PROFILE_H

#include "drivers/sim/sim.h"

#include <cstdint>
#include <string>

namespace sim
{

/* X(NAME, "name", what it does): the faults of the network, which a simulated world draws itself;
 */
#define SIM_NETWORK_FAULTS(X)                                               \
    X(DROP, "drop", "datagrams are lost")                                   \
    X(DUPLICATE, "duplicate", "datagrams arrive twice")                     \
    X(CORRUPT, "corrupt", "datagrams are damaged")                          \
    X(REORDER, "reorder", "datagrams overtake each other")                  \
    X(TAIL, "tail", "datagrams are delayed by a heavy tail")                \
    X(TORN, "torn", "one-sided writes land in parts, in any order")         \
    X(EARLY, "early", "one-sided writes complete before they land")         \
    X(OVERTAKE, "overtake", "one-sided writes overtake each other")         \
    X(LATE, "late", "one-sided writes land after their completion is lost") \
    X(BREAK, "break", "connections of one-sided writes break")              \
    X(ORPHAN, "orphan", "a dead node's rings stay writable")                \
    X(SILENT, "silent", "nobody is told that a node is dead")

/* and those that strike now and then. */
#define SIM_TIMED_FAULTS(X)                                              \
    X(CRASH, "crash", "a node loses its memory, and starts again")       \
    X(STORM, "storm", "a node crashes again as often as it starts")      \
    X(PAUSE, "pause", "a node stands still for 1 us to seconds")         \
    X(SLOW, "slow", "a node has a turn every 5 to 200 us only")          \
    X(CUT_PAIR, "cut-pair", "two nodes do not reach each other")         \
    X(CUT_ONE_WAY, "cut-one-way", "one node does not reach another")     \
    X(CUT_SIDE, "cut-side", "the cluster falls into two sides")          \
    X(CUT_LEADER, "cut-leader", "a leader is cut off")                   \
    X(DEAF, "deaf", "a node hears nobody, and is heard")                 \
    X(BRIDGE, "bridge", "two sides that one node alone reaches both of") \
    X(COUP, "coup", "a leader is cut off while another stands at once")  \
    X(EXILE, "exile", "a follower misses a leadership, then stands")     \
    X(CLOCK, "clock", "a clock runs fast or slow")                       \
    X(DISCONNECT, "disconnect", "a client goes, and another comes")      \
    X(CAMPAIGN, "campaign", "a node stands for election for no reason")  \
    X(FORGE, "forge", "a payload of an earlier lap imitates a record")

enum Fault {
#define SIM_FAULT_ENUM(name, text, what) FAULT_##name,
    SIM_NETWORK_FAULTS(SIM_FAULT_ENUM) FAULT_TIMED_FIRST,
    FAULT_BEFORE_TIMED = FAULT_TIMED_FIRST - 1,
    SIM_TIMED_FAULTS(SIM_FAULT_ENUM) FAULTS
#undef SIM_FAULT_ENUM
};

constexpr int TIMED_FAULTS = FAULTS - FAULT_TIMED_FIRST;

enum class Network { Calm, Late, Drawn }; /* Late: writes land late, and fences end late */
enum class Writes { Off, On, Drawn };
enum class Lease { Off, Within, Beyond }; /* clocks keep the stated bound, or not */

struct Profile {
    const char *name;
    const char *what;
    Network network;
    Writes writes;
    Lease lease;
    uint32_t groups_max;
    uint32_t faults_ms;              /* virtual time for which faults strike */
    bool starts_apart;               /* nodes start one after the other, and may crash meanwhile */
    bool ends_deaf;                  /* at the end a leader that hears nobody must be replaced, */
    bool ends_lost;                  /* or most nodes crash at once: nobody may start afresh */
    bool disk;                       /* on simulated disks, else in memory */
    uint32_t every_us[TIMED_FAULTS]; /* mean time between two strikes; 0: never */
    bool narrow_rings = false;       /* of the least size; by name only, not one of "all" */
};

/* The profile of a name; NULL: there is none. */
const Profile *profile_find(const std::string &name);
/* All of them, in the order of the table; NULL after the last. */
const Profile *profile_at(uint32_t index);

const char *fault_name(int fault);
const char *fault_what(int fault);
/* The fault of a name; FAULTS: there is none. */
int fault_find(const std::string &name);

/* How bad the network of a seed is, without the faults of a mask. */
tr_sim_profile network_of(const Profile &profile, uint64_t seed, uint32_t without);

} // namespace sim

#endif
