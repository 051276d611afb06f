/* The DPDK driver: any port that DPDK has a driver for, polled without the kernel.
 *
 * Addresses are "HOST:PORT" or "[IPV6]:PORT", as numbers: this driver is the host's network stack
 * on its device, so that the address is one that the kernel does not have there. It answers ARP and
 * neighbour discovery, and speaks UDP with the framing of the udp driver, whose ports it
 * understands. A port of queue q has the UDP port PORT + q.
 *
 * Which device is told by the options (dpdk_options.c): device=0000:3b:00.0 for a NIC, or a virtual
 * one as EAL writes it, with '+' for ',': device=net_af_packet0+iface=eth1. With memif=DIRECTORY
 * the nodes of one machine are joined by shared memory, one memif interface for each peer and
 * queue.
 *
 * EAL is started by the first port of the process, in memory alone, and stays; an application that
 * has started it itself is left as it is. A port is one queue pair of a device: the ports of a node
 * share the device, which is started with all of them by the first and closed by the last. */
#ifndef TR_DRIVERS_DPDK_DPDK_H
#define TR_DRIVERS_DPDK_DPDK_H

#include "drivers/driver.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The driver's table. */
extern const struct tr_driver tr_driver_dpdk;

#ifdef __cplusplus
}
#endif
#endif
