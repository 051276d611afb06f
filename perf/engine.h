/* The engine under load: a cluster of this machine through the public API only. The load's thread
 * polls the leader's node and submits; the crew polls the followers' nodes. */
#ifndef TR_PERF_ENGINE_H
#define TR_PERF_ENGINE_H

#include "drivers/driver.h"
#include "perf/load_machine.h"
#include "perf/places.h"

TR_BEGIN_C

/* How long the leader may take to lead, and the followers to catch up at the end. */
#define TR_PERF_SETTLE_NS UINT64_C(10000000000)

struct tr_perf_engine;

/* What the engine has come to, after tr_perf_engine_finish. */
struct tr_perf_engine_result {
    uint64_t commands; /* applied by the leader's machine */
    uint64_t digest;   /* of the leader's machine */
    uint32_t replicas; /* whose digests were compared */
    uint32_t one_sided_peers;
    bool are_digests_equal;
    uint64_t elections, log_wraps, snapshots_made;
    /* What the leader's port was given since the cluster first settled, and the slots that were
     * committed meanwhile. */
    struct tr_port_stats port;
    uint64_t slots;
};

/* How it is to be made. */
struct tr_perf_engine_setup {
    const struct tr_perf_options *options;
    struct tr_perf_places *places;
    bool is_one_sided;
    uint32_t workers; /* threads of the crew; 0: the load's thread polls all */
    enum tr_idle idle;
};

/* Opens nothing. Before the crew is made. Owns: the caller keeps what the setup points to. Returns:
 * 0, TR_ENOMEM. */
int tr_perf_engine_make(const struct tr_perf_engine_setup *setup, struct tr_perf_engine **out,
                        char *error, size_t error_bytes);

/* Jobs of the crew (tr_perf_job_fn; the context is the engine). */
int tr_perf_engine_open_followers(void *engine, uint32_t worker, uint64_t argument,
                                  const uint32_t *stop);
int tr_perf_engine_follow(void *engine, uint32_t worker, uint64_t argument, const uint32_t *stop);
int tr_perf_engine_close_followers(void *engine, uint32_t worker, uint64_t argument,
                                   const uint32_t *stop);

/* Why a job of the crew failed; "" when none did. */
const char *tr_perf_engine_follower_error(const struct tr_perf_engine *engine);

/* Opens the leader's node, after the followers'. Thread: the load's, as all below. */
int tr_perf_engine_open_leader(struct tr_perf_engine *engine, char *error, size_t error_bytes);

/* Polls until this node leads, all replicas are heard and a command has completed; the followers
 * must be polled meanwhile. Returns: 0, TR_ETIMEOUT, or the error of a command. */
int tr_perf_engine_settle(struct tr_perf_engine *engine, char *error, size_t error_bytes);

/* Polls until the followers of this process have applied all, and have told how much of their logs
 * is free; they must be polled meanwhile. A leader writes into the room that it was told of. */
void tr_perf_engine_catch_up(struct tr_perf_engine *engine);

/* Offers a slice of load. Returns: 0, or the error of a command. */
int tr_perf_engine_lead(struct tr_perf_engine *engine, struct tr_perf_slice *slice);

/* Polls until all replicas have applied all commands, and compares them. Returns: 0, TR_ETIMEOUT.
 */
int tr_perf_engine_finish(struct tr_perf_engine *engine, struct tr_perf_engine_result *out);

/* A node that only follows, for a load on another machine: opens it, polls it once, and its state.
 * Thread: the one that polls it; the state: any. */
int tr_perf_engine_open_own(struct tr_perf_engine *engine, char *error, size_t error_bytes);
uint32_t tr_perf_engine_poll_own(struct tr_perf_engine *engine);
const struct tr_perf_load_machine *tr_perf_engine_machine(const struct tr_perf_engine *engine);

/* How often the leader has gone round both its slots and its log's memory, if all slots were full:
 * counted from the slots, not asked of the engine. */
uint64_t tr_perf_engine_laps(const struct tr_perf_engine *engine);

/* The name of the cluster, which those of its segments and files begin with. */
const char *tr_perf_engine_cluster(const struct tr_perf_engine *engine);

/* The port of a replica of this process, the leader's first; NULL: it is not open here. Between
 * slices, when nobody polls the node, it can be used as any port is. Thread: the replica's. */
struct tr_port *tr_perf_engine_port(const struct tr_perf_engine *engine, uint32_t index);

/* Counts from here on (see tr_perf_engine_result). */
void tr_perf_engine_count_anew(struct tr_perf_engine *engine);

/* Closes the leader's node; the followers' are closed by their job. */
void tr_perf_engine_close(struct tr_perf_engine *engine);

TR_END_C

#endif
