/* What is printed of a run: its line, what struck, the last events of each node, every step. */
#ifndef TR_TESTS_SIM_REPORT_H
#define TR_TESTS_SIM_REPORT_H

#include "tests/sim/cluster.h"

#include <cstdio>
#include <string>

namespace sim
{

/* One line. */
void report_run(FILE *out, const Cluster &c);
/* Every fault of the network and of nodes, with how often it came. */
void report_faults(FILE *out, const tr_sim_counters &network, const Totals &totals);
/* Where each replica stands, and what it noted last. */
void report_nodes(FILE *out, const Cluster &c);
/* A step just made, as a line of the trace. */
void report_step(const Cluster &c, const Seat &seat, const tr_event &event,
                 const tr_effects &effects);
/* The options that make this run again. */
std::string setup_text(const Setup &setup);

/* The canaries: those of the replica and of the shell around it by their numbers, then those of the
 * session table. */
constexpr uint32_t CANARIES = TR_CANARY_COUNT + TR_CANARY_SESSION_NUMBER_REUSED;
/* The number of a canary in the session table; 0: it is none of these. */
uint32_t canary_session(uint32_t canary);
/* The name of a canary, what it breaks, and its number; CANARIES: there is none of that name. */
const char *canary_name(uint32_t canary);
const char *canary_what(uint32_t canary);
uint32_t canary_find(const std::string &name);

/* Adds up runs. */
void totals_add(Totals &sum, const Totals &one);
void counters_add(tr_sim_counters &sum, const tr_sim_counters &one);

} // namespace sim

#endif
