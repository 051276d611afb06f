/* The state machine under load: counts the commands that it applied, and mixes all of their bytes
 * into a digest. Replicas that applied the same commands in the same order have the same digest. */
#ifndef TR_PERF_LOAD_MACHINE_H
#define TR_PERF_LOAD_MACHINE_H

#include "trireme/trireme.h"

#include "base/types.h"

TR_BEGIN_C

/* One replica's state. One thread applies; others read it by relaxed loads, also from another
 * process when it lies in shared memory. */
struct tr_perf_load_machine {
    TR_ALIGNED(128) uint64_t commands; /* applied */
    uint64_t lanes[4];
};

/* The table for tr_group_options; the state is its context. Owns: the caller keeps the state. */
struct tr_state_machine tr_perf_load_machine_table(struct tr_perf_load_machine *state);

/* The digest of the state. Thread: any, while nothing is being applied. */
uint64_t tr_perf_load_machine_digest(const struct tr_perf_load_machine *state);

TR_END_C

#endif
