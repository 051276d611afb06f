/* Whether a process that left its mark in shared memory still lives. */
#ifndef TR_DATAPLANE_PROCESS_H
#define TR_DATAPLANE_PROCESS_H

#include "base/types.h"

TR_BEGIN_C

/* When a process began, in clock ticks since the machine's boot: with its id, this names it for
 * ever. 0: no such process. Cost: reads /proc. */
uint64_t tr_process_born(uint32_t process);

/* Whether the process of this id that began then still lives. Cost: as above. */
bool tr_process_alive(uint32_t process, uint64_t born);

TR_END_C

#endif
