/* The subcommands of trireme. Each gets its arguments from its own name on, and returns the exit
 * status: 0, 1 when it failed, 2 when it was called wrongly. */
#ifndef TR_APPS_CLI_COMMANDS_H
#define TR_APPS_CLI_COMMANDS_H

#include "option.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One node of the key-value server. */
int kv_main(int argc, char **argv);

/* Counters and stage histograms of a running node. */
int stat_main(int argc, char **argv);

/* The options of trireme stat. */
const struct cli_options *stat_options(void);

#ifdef __cplusplus
}
#endif
#endif
