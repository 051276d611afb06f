/* The commands of trireme-perf; each prints its report and returns the process's exit status. */
#ifndef TR_PERF_COMMANDS_H
#define TR_PERF_COMMANDS_H

#include "perf/options.h"

TR_BEGIN_C

/* Exit statuses beside 0: something failed; the command line is wrong; interrupted. */
#define TR_PERF_EXIT_FAILED      1
#define TR_PERF_EXIT_USAGE       2
#define TR_PERF_EXIT_INTERRUPTED 130

/* floor, latency and throughput. */
int tr_perf_command_load(const struct tr_perf_options *options);
int tr_perf_command_sweep(const struct tr_perf_options *options);
int tr_perf_command_node(const struct tr_perf_options *options);
int tr_perf_command_memory(const struct tr_perf_options *options);
int tr_perf_command_instructions(const struct tr_perf_options *options);

/* Says on stderr what went wrong. Returns: TR_PERF_EXIT_FAILED. */
int tr_perf_fail(const char *error);

TR_END_C

#endif
