/* Interfaces for replicas on one machine: v1, v2, ... of one segment of Ethernet, each a veth pair
 * whose other end is in a bridge. They are in a network namespace of this process, and gone when
 * it ends, however it does. */
#ifndef TR_PERF_VETH_H
#define TR_PERF_VETH_H

#include "base/types.h"

#include <stdio.h>

TR_BEGIN_C

/* Moves the calling thread, and those and the processes that it makes later, into a new namespace
 * with so many interfaces; memory may be locked there without a limit. Returns: 0; TR_EPERM (only
 * root may), TR_ESYS, with a sentence. */
int tr_perf_veth_make(uint32_t count, char *error, size_t error_bytes);

/* Writes the commands of ip(8) that make them. */
void tr_perf_veth_script(uint32_t count, FILE *out);

TR_END_C

#endif
