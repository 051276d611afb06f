/* EAL, DPDK's environment: one a process, started when the first port is opened. */
#ifndef TR_DRIVERS_DPDK_EAL_H
#define TR_DRIVERS_DPDK_EAL_H

#include "base/types.h"

TR_BEGIN_C

/* Whether memory is taken from huge pages. */
enum tr_eal_pages {
    TR_EAL_PAGES_AUTO = 0, /* if enough are free */
    TR_EAL_PAGES_HUGE,     /* or not at all */
    TR_EAL_PAGES_NORMAL,
};

/* What the options say of EAL. They count when it is started, for the first port. */
struct tr_eal_options {
    enum tr_eal_pages pages;
    uint64_t memory_bytes; /* with normal pages all that there will be; else what must be free */
    bool is_iova_pa;       /* physical addresses, for devices that have no IOMMU */
};

/* Begins and ends what only one thread of the process may do: starting EAL, and opening, closing
 * and configuring devices. */
void tr_eal_lock(void);
void tr_eal_unlock(void);

/* The same, without waiting. Returns: whether it is begun. */
bool tr_eal_trylock(void);

/* Starts EAL unless it runs already. A note of what the caller should know (normal pages) is put
 * into `error`, even on success. The calling thread's CPUs stay what they were. Returns: TR_OK,
 * TR_ENOMEM (huge pages are wanted and not there), TR_EPERM, TR_ESYS. Thread: that holds the lock.
 */
int tr_eal_start(const struct tr_eal_options *options, char *error, size_t error_bytes);

/* Calls a function on EAL's own thread, which carries out what devices do behind our back, and
 * waits for it: so that neither is in the middle of the other. Returns: what the function did, or
 * TR_ESYS. Thread: that holds the lock. */
int tr_eal_call(int (*function)(void *argument), void *argument);

TR_END_C

#endif
