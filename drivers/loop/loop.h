/* The fabric of the loop driver: the world in which the ports of one process find each other.
 *
 * Ports are opened under "loop:NAME" with tr_port_options.fabric set to one of these. Messages and
 * rings lie in the fabric, not in the ports, so that a port may close, and its memory go, while
 * another thread is sending to it. */
#ifndef TR_DRIVERS_LOOP_LOOP_H
#define TR_DRIVERS_LOOP_LOOP_H

#include "base/types.h"
#include "drivers/driver.h"

TR_BEGIN_C

/* Names that one fabric can hold, a queue of a node each. */
#define TR_LOOP_PLACES_MAX 64

/* Rings that one fabric can hold. */
#define TR_LOOP_RINGS_MAX 4096

struct tr_loop_fabric;

struct tr_loop_fabric_options {
    size_t struct_bytes;
    uint32_t message_bytes_max; /* 0: 1 MiB and 64 KiB */
    uint32_t queue_bytes;       /* room of each sender and receiver; 0: 4 MiB; a power of two */
    struct tr_memory memory;    /* outlives every port; called by their threads, one at a time */
};

/* Makes a fabric without ports.
 * Returns: TR_OK; TR_EINVAL when the queue does not hold three of the largest messages; TR_ENOMEM.
 */
tr_nodiscard int tr_loop_fabric_create(const struct tr_loop_fabric_options *options,
                                       struct tr_loop_fabric **out);

/* Ends a fabric whose ports are all closed. Its memory goes with the arena that it came from. */
void tr_loop_fabric_destroy(struct tr_loop_fabric *fabric);

extern const struct tr_driver tr_driver_loop;

TR_END_C

#endif
