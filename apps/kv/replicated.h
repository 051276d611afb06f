/* The machine as a state machine of Trireme: batches in, replies out, snapshots through the
 * library's writer and reader. */
#ifndef TR_APPS_KV_REPLICATED_H
#define TR_APPS_KV_REPLICATED_H

#include "machine.h"

#include <trireme/trireme.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The table to open a group with. Owns: nothing; the machine must outlive the group. */
struct tr_state_machine kv_replicated(struct kv_machine *machine);

#ifdef __cplusplus
}
#endif
#endif
