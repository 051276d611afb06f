/* Runs of a setup, each in a process of its own, so that an assertion, a crash or a hang of one is
 * an outcome like others; and what is made of runs: shrinking, canaries. */
#ifndef TR_TESTS_SIM_RUNNER_H
#define TR_TESTS_SIM_RUNNER_H

#include "tests/sim/report.h"

#include <functional>

namespace sim
{

struct Outcome {
    bool failed;
    char checker[32];
    char text[480];
    uint64_t hash;
    uint64_t now_ns;
    double cpu_s; /* of this machine's */
    Totals totals;
    tr_sim_counters network;

    /* Found by what looks from outside, not by an assertion of the production code. */
    bool is_checked() const;
};

/* What is printed: nothing, the lines and nodes of the runs that fail, a line of every run. */
enum class Print { None, Failures, All };

/* Which seeds to run. */
struct Plan {
    Setup setup; /* of each, but for the seed and the profile */
    bool all_profiles = true;
    uint64_t seeds = 1; /* from the setup's on */
    double minutes = 0; /* of real time, at most; 0: until all are done */
    uint32_t jobs = 1;  /* processes */
    Print print = Print::All;
};

/* The setup of the seed at an index. */
Setup setup_at(const Plan &plan, uint64_t index);

/* Runs them, each process one after the other of its share, and a new process wherever one ended
 * within a run. Hands over each outcome as it comes. */
void run_many(const Plan &plan,
              const std::function<void(const Setup &setup, const Outcome &outcome)> &take);

/* Runs one. */
Outcome run_apart(const Setup &setup, Print print);

/* The same in this process, for a debugger. */
Outcome run_here(const Setup &setup, Print print);

/* The least that still fails: fewer faults, less time, fewer nodes and groups. Prints its way. */
Setup shrink(const Setup &setup);

/* Runs seeds until a checker finds the canary. Returns how many that took; 0: more than `most`. */
uint32_t seek_canary(uint32_t canary, uint64_t seed, uint32_t most, Outcome *out);

/* Where a canary shows. */
const char *canary_profile(uint32_t canary);

} // namespace sim

#endif
