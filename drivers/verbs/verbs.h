/* The verbs driver: RDMA through libibverbs, over RoCE v2, InfiniBand and Soft-RoCE.
 *
 * Messages are SENDs on a reliable connection a peer; one-sided writes are WRITEs on a reliable
 * connection a ring, so that to fence a ring touches nothing else. Connections are made over TCP,
 * by an exchange that is authenticated and encrypted with the key of the cluster: only who has it,
 * and was added as a peer, gets the key of a ring.
 *
 * A port that adopts (a door) and a port at port 0 (a client) carry messages alone, and have the
 * key of clients instead: nobody learns a ring's key through it.
 *
 * An address is "HOST:PORT" or "[IPV6]:PORT", of the exchange; queue q listens at PORT + q. The
 * RDMA device is the one that has HOST among its GIDs, unless the option device= names one. */
#ifndef TR_DRIVERS_VERBS_VERBS_H
#define TR_DRIVERS_VERBS_VERBS_H

#include "base/types.h"
#include "drivers/driver.h"

TR_BEGIN_C

extern const struct tr_driver tr_driver_verbs;

TR_END_C

#endif
