/* Three bare consensus cores in one thread, with as little around them as they need to work:
 * messages are handed over in memory, rings are memory, time passes as the caller says.
 * Instructions of the core are counted in it, since nothing else is in the way and every run takes
 * the same steps. */
#ifndef TR_PERF_CORE_CLUSTER_H
#define TR_PERF_CORE_CLUSTER_H

#include "base/types.h"
#include "consensus/replica.h"
#include "consensus/session.h"

TR_BEGIN_C

#define TR_PERF_CORES 3

struct tr_perf_core_cluster;

/* Makes three replicas, with one-sided rings or without, and elects the first. Returns: NULL, with
 * a sentence on stderr, when that fails. */
struct tr_perf_core_cluster *tr_perf_core_cluster_open(bool is_one_sided);

/* Registers so many sessions through the log, which commands will be of. Returns: false when one
 * was not taken. */
bool tr_perf_core_cluster_sessions(struct tr_perf_core_cluster *cluster, uint32_t count);

/* Proposes so many slots in a row, each of so many commands of `size_bytes`, spread evenly over the
 * sessions, and carries them through all replicas. Returns: false when one was not applied by the
 * leader. */
bool tr_perf_core_cluster_propose(struct tr_perf_core_cluster *cluster, uint32_t slots,
                                  uint32_t commands, uint32_t size_bytes);

/* Carries news of the last commit to the followers. Returns: commands that every replica has
 * applied; 0 when they differ in number or in their sessions' digest. */
uint64_t tr_perf_core_cluster_finish(struct tr_perf_core_cluster *cluster);

/* Releases it. */
void tr_perf_core_cluster_close(struct tr_perf_core_cluster *cluster);

TR_END_C

#endif
