/* The checkers that look at replicas directly, after every step of the core.
 *
 * tr_replica_step of the dataplane is linked to a function here that calls it and then looks
 * (--wrap). Nothing of what is checked rests on what the core says of itself, but on its state, its
 * effects and what all replicas of the group have shown before. */
#ifndef TR_TESTS_SIM_WATCH_H
#define TR_TESTS_SIM_WATCH_H

#include "tests/sim/core.h"

#include <cstdint>
#include <map>
#include <vector>

namespace sim
{

struct Cluster;
struct Seat;

/* What is known to be chosen in a group, by slot. */
struct Chosen {
    struct Value {
        bool is_known;
        uint64_t key;
        tr_ballot ballot; /* at which it was seen to be chosen first */
    };
    std::vector<Value> slot;
    uint64_t cluster = 0; /* in which */
    uint64_t last() const
    {
        return slot.empty() ? 0 : slot.size() - 1;
    }
};

/* What a replica held when its process died. */
struct Ghost {
    bool is_there = false;
    uint64_t slot_commit = 0;
    std::map<uint64_t, uint64_t> entries; /* values by slot, above slot_commit */
};

/* What was seen of one life of a replica. */
struct Watch {
    tr_ballot promised{};
    uint64_t slot_commit = 0;
    int role = TR_REPLICA_RECOVERING;
    tr_ballot fence{}; /* asked for, not ended */
    bool votes = false;
    std::vector<tr_ballot> promises_at_birth; /* of all members, when this life began */
    std::vector<uint32_t> lives_at_birth;
    uint64_t lease_until_ns = 0; /* by its own clock: it told the owner so */
    tr_node_id lease_owner = 0;
    uint64_t persist_asked = 0, persist_done = 0; /* PERSISTs: asked for, durable, */
    uint64_t persist_barrier = 0;                 /* before the last BARRIER */
    uint64_t generation = 0;                      /* of the last grant that a promise told of, */
    tr_ballot granted{};                          /* and whose it was */
    uint32_t steps = 0;
};

/* Begins to watch a new process of a seat. */
void watch_begin(Cluster &cluster, Seat &seat);
/* A process of a seat is about to die. */
void watch_end(Cluster &cluster, Seat &seat);

/* The cluster whose steps are watched; one at a time. */
void watch_cluster(Cluster *cluster);
/* The cluster watched; NULL: none. */
Cluster *watched_cluster();

} // namespace sim

#endif
