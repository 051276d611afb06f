/* Runs of a setup, each in a process of its own, so that an assertion, a crash or a hang of one is
 * an outcome like others; and what is made of runs: shrinking, canaries. */
#ifndef TR_TESTS_SIM_RUNNER_H
#define TR_TESTS_SIM_RUNNER_H

#include "tests/sim/report.h"

namespace sim
{

struct Outcome {
    bool failed;
    char checker[32];
    char text[480];
    uint64_t hash;
    uint64_t now_ns;
    Totals totals;
    tr_sim_counters network;

    /* Found by what looks from outside, not by an assertion of the production code. */
    bool is_checked() const;
};

/* Runs a setup; prints its line, and the nodes when it failed, unless it is to be quiet. */
Outcome run_apart(const Setup &setup, bool quiet);

/* The same in this process, for a debugger. */
Outcome run_here(const Setup &setup, bool quiet);

/* The least that still fails: fewer faults, less time, fewer nodes and groups. Prints its way. */
Setup shrink(const Setup &setup);

/* Runs seeds until a checker finds the canary. Returns how many that took; 0: more than `most`. */
uint32_t seek_canary(uint32_t canary, uint64_t seed, uint32_t most, Outcome *out);

/* Why a canary is not looked for here; NULL: it is. */
const char *canary_gap(uint32_t canary);

/* Where a canary shows. */
const char *canary_profile(uint32_t canary);

} // namespace sim

#endif
