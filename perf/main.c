/* trireme-perf: measures Trireme beside what the machine could do without it. */
#include "perf/commands.h"
#include "perf/run.h"

int main(int argc, char **argv)
{
    struct tr_perf_options options;
    char error[512] = "";
    switch (tr_perf_options_parse(argc, argv, &options, stdout, error, sizeof(error))) {
    case TR_PERF_PARSED_HELP:
        return 0;
    case TR_PERF_PARSED_ERROR:
        fprintf(stderr, "trireme-perf: %s\n", error);
        return TR_PERF_EXIT_USAGE;
    case TR_PERF_PARSED_RUN:
        break;
    }
    /* Runs look for signals between slices; valgrind and who waits for it end at once. */
    if (options.command != TR_PERF_INSTRUCTIONS)
        tr_perf_signals_hold();
    switch (options.command) {
    case TR_PERF_FLOOR:
    case TR_PERF_LATENCY:
    case TR_PERF_THROUGHPUT:
        return tr_perf_command_load(&options);
    case TR_PERF_SWEEP:
        return tr_perf_command_sweep(&options);
    case TR_PERF_MEMORY:
        return tr_perf_command_memory(&options);
    case TR_PERF_INSTRUCTIONS:
        return tr_perf_command_instructions(&options);
    case TR_PERF_NODE:
        return tr_perf_command_node(&options);
    case TR_PERF_COMMANDS:
        break;
    }
    return TR_PERF_EXIT_USAGE;
}
