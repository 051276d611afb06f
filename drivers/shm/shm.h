/* The shm driver: processes and threads of one machine, joined by shared memory; messages and
 * one-sided writes, without a system call while all peers are up. Addresses are "shm:NAME"; the
 * memory of queue Q is the file /dev/shm/trireme.NAME.qQ, readable and writable by its user only.
 *
 * Trust: a peer is a process of the same user. What it writes is copied and validated, so that a
 * broken one is noticed and does no harm; one that sets out to (it could as well use ptrace) can
 * truncate the file under us.
 *
 * A port's memory is not inherited by a child that its process forks. */
#ifndef TR_DRIVERS_SHM_SHM_H
#define TR_DRIVERS_SHM_SHM_H

#include "drivers/driver.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const struct tr_driver tr_driver_shm;

#ifdef __cplusplus
}
#endif
#endif
