/* AF_XDP's sockets, for what its PMD forgets: in DPDK 22.11 it counts the users of its memory one
 * too low when a device is closed, never closes the socket, and so keeps the interface's queue
 * until the process ends. */
#ifndef TR_DRIVERS_DPDK_XDP_H
#define TR_DRIVERS_DPDK_XDP_H

#include "base/types.h"

TR_BEGIN_C

/* AF_XDP sockets of a device: one a queue. */
#define TR_XDP_SOCKETS_MAX 64

/* Some of the process's AF_XDP sockets. Nothing of it needs closing. */
struct tr_xdp_sockets {
    uint32_t count;
    int fd[TR_XDP_SOCKETS_MAX];
    uint64_t inode[TR_XDP_SOCKETS_MAX]; /* which tell whether it is the same one still */
};

/* Lists those that there are. Thread: that holds EAL's lock, so that nobody else makes any. */
void tr_xdp_sockets_list(struct tr_xdp_sockets *out);

/* Keeps of a list what is not in an earlier one. */
void tr_xdp_sockets_subtract(struct tr_xdp_sockets *from, const struct tr_xdp_sockets *earlier);

/* Closes those that are open still. */
void tr_xdp_sockets_close(struct tr_xdp_sockets *sockets);

TR_END_C

#endif
