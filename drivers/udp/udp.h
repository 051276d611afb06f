/* The UDP driver: sockets on any machine, the software fallback.
 *
 * Addresses are "HOST:PORT" or "[IPV6]:PORT"; names are resolved by open and peer_add only. A port
 * of queue q has its own socket at PORT + q, and talks to the queues q of its peers. A peer is
 * known by the exact address and port that its messages come from, so that it should bind the
 * address that the others know, not a wildcard, where a machine has several. Port 0 takes any: good
 * for a client, which only asks.
 *
 * Messages to one peer share a datagram, those larger than one are cut (drivers/fragment.h).
 * tx_burst gathers, tx_flush pushes with one system call, whatever the number of peers; rx_burst
 * makes at most one. The socket's buffers are asked to be large: where the kernel gives less, open
 * says so in the options' error text although it succeeds. */
#ifndef TR_DRIVERS_UDP_UDP_H
#define TR_DRIVERS_UDP_UDP_H

#include "drivers/driver.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The driver's table. */
extern const struct tr_driver tr_driver_udp;

#ifdef __cplusplus
}
#endif
#endif
