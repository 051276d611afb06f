/* How the datagrams of a queue's UDP port come to that queue of a device that has several.
 *
 * By rule where the device takes rules (rte_flow on the UDP target port); else by hash, where the
 * device spreads flows by the Toeplitz hash over a table that can be set: then a sender chooses its
 * source port such that the hash lands on the queue; else by software, which hands over what came
 * to the wrong queue. Whatever the device does, software looks after it.
 *
 * Source: rte_flow and RSS of the DPDK programmer's guide; Microsoft's RSS hash. The rules are
 * tested against a mock of rte_flow's operations, and on no hardware; the hash on a NIC that QEMU
 * has. */
#ifndef TR_DRIVERS_DPDK_STEERING_H
#define TR_DRIVERS_DPDK_STEERING_H

#include "drivers/dpdk/packet.h"

#include <rte_flow.h>

TR_BEGIN_C

#define TR_STEERING_QUEUES_MAX 64

/* Bytes of the hash's key: what the longest of devices ask for. */
#define TR_STEERING_KEY_BYTES 52

enum tr_steering_kind {
    TR_STEERING_NONE = 0, /* one queue: there is nothing to choose */
    TR_STEERING_RULES,
    TR_STEERING_HASH,
    TR_STEERING_SOFTWARE,
};

/* rte_flow's operations; a test has others. */
struct tr_steering_operations {
    int (*validate)(uint16_t device, const struct rte_flow_attr *attributes,
                    const struct rte_flow_item pattern[], const struct rte_flow_action actions[],
                    struct rte_flow_error *error);
    struct rte_flow *(*create)(uint16_t device, const struct rte_flow_attr *attributes,
                               const struct rte_flow_item pattern[],
                               const struct rte_flow_action actions[],
                               struct rte_flow_error *error);
    int (*destroy)(uint16_t device, struct rte_flow *flow, struct rte_flow_error *error);
};

/* Those of DPDK. */
extern const struct tr_steering_operations tr_steering_rte_flow;

/* The rules of a device, one a queue. */
struct tr_steering_rules {
    const struct tr_steering_operations *operations;
    uint16_t device;
    uint16_t count; /* installed */
    struct rte_flow *flow[TR_STEERING_QUEUES_MAX];
};

/* The name of a way, for people. */
const char *tr_steering_name(enum tr_steering_kind kind);

/* Installs a rule for each of queue_count queues: datagrams of the family with target port
 * port + q to queue q. All of them or none. Returns: whether they are installed; `why` gets the
 * device's reason if not. */
bool tr_steering_install(struct tr_steering_rules *rules,
                         const struct tr_steering_operations *operations, uint16_t device,
                         const struct tr_endpoint *own, uint16_t queue_count, char *why,
                         size_t why_bytes);

/* Takes the rules back. */
void tr_steering_remove(struct tr_steering_rules *rules);

/* The key of the hash, known to every node. */
const uint8_t *tr_steering_key(void);

/* The hash of a flow as the receiver's device computes it. */
uint32_t tr_steering_hash(const struct tr_endpoint *from, const struct tr_endpoint *to);

/* The source port by which a flow lands on the queue of a receiver that has queue_count of them and
 * whose table repeats them in order: the sender's own port if that does, else the first from
 * 49,152 on. Only a power of two of queues is certain to land; others are handed over. */
uint16_t tr_steering_source_port(const struct tr_endpoint *from, const struct tr_endpoint *to,
                                 uint32_t queue, uint32_t queue_count);

TR_END_C

#endif
