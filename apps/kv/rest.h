/* How the thread that polls a node and serves its clients waits when there is nothing to do: it has
 * two sources of work, the node's driver, which tells nobody, and sockets, which the kernel
 * watches. It rests on the sockets, for a short time, so that it looks after the node in between.
 */
#ifndef TR_APPS_KV_REST_H
#define TR_APPS_KV_REST_H

#include "config.h"

#include <stdint.h>
#include <trireme/trireme.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What to do before the next cycle. */
enum kv_rest_step {
    KV_REST_CYCLE, /* nothing: cycle again */
    KV_REST_LOOK,  /* ask which sockets are ready, without waiting */
    KV_REST_SLEEP, /* ask, and wait KV_REST_SLEEP_NS */
};

/* Longest wait for sockets alone: a peer's message waits so long at most. */
#define KV_REST_SLEEP_NS 50000u

/* The state of one thread. Set up by kv_rest_init. */
struct kv_rest {
    enum tr_idle idle;
    uint8_t shared;          /* the CPU is wanted by others too */
    uint8_t shared_for_good; /* known from the placement */
    uint32_t cycles;         /* since the sockets were asked last */
    uint64_t work_ns;        /* when there was work last */
    uint64_t assess_ns;      /* when to look again whether others want the CPU */
    uint64_t preempted_count;
};

/* Nodes of the cluster that run on this machine, as far as their addresses tell. */
uint32_t kv_rest_neighbours(const struct kv_peers *peers, uint16_t node);

/* Prepares the calling thread. poller_count: threads of this machine that poll, as far as known. */
void kv_rest_init(struct kv_rest *rest, enum tr_idle idle, uint32_t poller_count);

/* Says what to do after a cycle that did some work or none. May give the CPU away. */
enum kv_rest_step kv_rest_next(struct kv_rest *rest, uint32_t work, uint64_t now_ns);

#ifdef __cplusplus
}
#endif
#endif
