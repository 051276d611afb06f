/* The configuration of trireme kv: the structure, and the table of options that fills it. */
#ifndef TR_APPS_KV_CONFIG_H
#define TR_APPS_KV_CONFIG_H

#include "apps/cli/option.h"

#include <stddef.h>
#include <stdint.h>
#include <trireme/trireme.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A cluster has at most so many voters. */
#define KV_PEERS_MAX 9

/* How the server's work is spread over threads; the index of its word in the table. */
enum kv_threads { KV_THREADS_ONE = 0, KV_THREADS_TWO = 1 };

/* The options, as the table of config.c describes them. */
struct kv_config {
    char *config;
    uint64_t node;
    char *peers;
    char *driver;
    char *driver_options;
    char *one_sided;
    char *cluster;
    char *listen;
    uint64_t threads; /* enum kv_threads */
    int64_t cpu;
    uint64_t idle;      /* enum tr_idle */
    uint64_t log_level; /* enum tr_log_level */
    uint64_t lease_us;
    uint64_t clock_drift_ppm;
    uint64_t election_timeout_us;
    uint64_t heartbeat_us;
    uint64_t quorum_p1, quorum_p2;
    uint64_t batch_commands_max;
    uint64_t log_slots;
    uint64_t log_bytes;
    uint64_t snapshot_bytes;
    uint64_t store_bytes;
    uint64_t message_bytes;
    uint64_t reply_cache_bytes;
    uint64_t sessions_max;
    uint64_t window;
    uint64_t deadline_us;
    uint64_t clients_max;
    uint64_t client_output_bytes;
    char *counters;
};

/* The options of the subcommand. */
const struct cli_options *kv_config_options(void);

/* Peers as the library takes them; the addresses are in `text`. */
struct kv_peers {
    struct tr_peer list[KV_PEERS_MAX];
    uint32_t count;
    char text[1024];
};

/* Reads "1=ADDRESS,2=ADDRESS,...". Returns NULL, or what is wrong with it. */
const char *kv_peers_parse(const char *text, struct kv_peers *out);

#ifdef __cplusplus
}
#endif
#endif
