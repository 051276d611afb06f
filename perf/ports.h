/* Ports of a driver for a floor: of its own, or, where a device can be one node's only, those of
 * the engine's nodes, which nobody polls while the floor runs. What then comes in that is not the
 * floor's is dropped, as the driver may drop anything; and the engine drops what is the floor's.
 *
 * A port is opened by the thread or process that polls it, when it first does: DPDK's environment
 * is one a process and survives no fork. */
#ifndef TR_PERF_PORTS_H
#define TR_PERF_PORTS_H

#include "drivers/driver.h"
#include "perf/floor.h"

TR_BEGIN_C

/* Records in flight at most: half of a ring of memif. */
#define TR_PERF_RECORDS_MAX 256

/* Records of one flush. */
#define TR_PERF_RECORDS_BURST 64

/* How long a leader waits for all followers, before its first slice. */
#define TR_PERF_MEET_NS UINT64_C(20000000000)

struct tr_perf_ports {
    const struct tr_driver *driver;
    const struct tr_perf_floor_shape *shape;
    bool is_shared;
    uint32_t message_bytes; /* the longest */
    struct tr_port *port[1 + TR_PERF_FOLLOWERS_MAX];
};

/* How far it has come: commands and records sent or acknowledged, since the first slice. */
struct tr_perf_mark {
    uint64_t commands;
    uint64_t records;
};

/* Loads the driver; opens no port. Owns: the shape stays the caller's. Returns: 0 or a negative
 * code with a sentence. */
int tr_perf_ports_make(struct tr_perf_ports *ports, const struct tr_perf_floor_shape *shape,
                       uint32_t message_bytes, char *error, size_t error_bytes);

/* The port of a replica, with its peers: the leader's (0) with all, a follower's with the leader.
 * Opens it the first time. Returns: NULL when it cannot be opened, which is said on stderr. */
struct tr_port *tr_perf_ports_take(struct tr_perf_ports *ports, uint32_t index);

/* The number of a replica. */
tr_node_id tr_perf_ports_id(const struct tr_perf_ports *ports, uint32_t index);

/* Takes events, which nobody needs, unless they are the engine's. */
void tr_perf_ports_events(const struct tr_perf_ports *ports, struct tr_port *port);

/* Closes those of the floor's own. */
void tr_perf_ports_close(struct tr_perf_ports *ports);

/* The commands that `needed` of the followers have acknowledged; all those sent when none is. */
uint64_t tr_perf_quorum_commands(const struct tr_perf_mark *acked, uint32_t followers,
                                 uint32_t needed, uint64_t sent);

TR_END_C

#endif
