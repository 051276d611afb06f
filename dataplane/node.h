/* A node: what its groups and polling cores share. Public API in trireme/trireme.h. */
#ifndef TR_DATAPLANE_NODE_H
#define TR_DATAPLANE_NODE_H

#include "base/prng.h"
#include "dataplane/arena.h"
#include "dataplane/clock.h"
#include "dataplane/counters.h"
#include "dataplane/group.h"
#include "dataplane/lcore.h"
#include "dataplane/log.h"
#include "dataplane/placement.h"
#include "dataplane/pollers.h"
#include "drivers/driver.h"

#include <pthread.h>

TR_BEGIN_C

#define TR_PEERS_MAX         64
#define TR_ADDRESS_BYTES_MAX 128

/* Whose threads poll. */
enum tr_node_state { TR_NODE_SETUP = 0, TR_NODE_STARTED = 1, TR_NODE_POLLED = 2 };

/* A peer, with a copy of its address. */
struct tr_node_peer {
    uint16_t node;
    char address[TR_ADDRESS_BYTES_MAX];
};

struct tr_node {
    struct tr_logger logger;
    enum tr_node_state state;
    uint16_t self;
    uint32_t peer_count;
    struct tr_node_peer peer[TR_PEERS_MAX];
    const struct tr_driver *driver;
    char *driver_options; /* NULL: none */
    void *fabric;
    uint32_t message_bytes_max; /* largest command and reply */
    uint32_t wire_bytes_max;    /* asked of the driver */
    enum tr_idle idle;
    char cluster[64];
    uint64_t cluster_hash;
    /* Remote clients (door.h). */
    char client_address[TR_ADDRESS_BYTES_MAX]; /* "": none are taken */
    const char *client_names;                  /* in client_names_text; NULL: the default */
    char client_names_text[TR_ADDRESS_BYTES_MAX];
    uint32_t clients_max, client_message_bytes_max, client_window, client_queue_bytes;
    uint64_t client_cluster; /* number of the cluster for clients */
    uint64_t boot;
    struct tr_prng random;
    struct tr_clock clock; /* calibrated; copied by those who need one */
    struct tr_placement placement;
    struct tr_arena arena; /* takes its memory where placement says */
    struct tr_counters counters;
    struct tr_pollers *pollers;

    uint32_t lcore_count;
    struct tr_lcore lcore[TR_LCORES_MAX];
    struct tr_group **group;
    uint32_t group_count, group_max;

    /* The end. Sessions outlive their node until the application closes them; they use its lcores'
     * idle words and thread ids, and this lock. */
    pthread_mutex_t closing_lock;
    bool closed;         /* under the lock: its groups are gone, or going */
    tr_atomic_u32 users; /* who may touch this struct: the node's owner, and each session */
};

/* config.c: Fills in what the options left to us and checks the rest; the sentence of a refusal
 * goes to `error`. Returns TR_OK, TR_EINVAL, TR_ENOTSUP. */
int tr_config_group(const struct tr_node *node, const struct tr_group_options *options,
                    struct tr_replica_config *config, struct tr_apply_options *apply, char *error,
                    size_t error_bytes);
/* config.c: Copies options of an older or newer caller, whose struct may be shorter, over the
 * defaults. Returns TR_OK or TR_EINVAL (struct_bytes is none of ours). */
int tr_config_copy(void *into, size_t into_bytes, const void *from, size_t from_bytes);

/* As tr_group_open, on a storage: the way to the levels async and disk, which the public API does
 * not have yet. wal.memory is the node's. */
int tr_group_open_stored(struct tr_node *node, const struct tr_group_options *options,
                         const struct tr_wal_options *wal, struct tr_group **out, char *error,
                         size_t error_bytes);

/* Makes a node just opened, without groups, follow a simulated world's time. Thread: setup. */
void tr_node_follow(struct tr_node *node, const uint64_t *virtual_ns);

/* One user less; the last one frees the struct. Thread: any. */
void tr_node_drop(struct tr_node *node);

/* Decides where polling threads and memory go that come from now on; by the device that the driver
 * tells. Thread: setup. */
void tr_node_place(struct tr_node *node, const struct tr_placement_options *options);
void tr_node_place_by_device(struct tr_node *node);
/* Keeps CPUs that were named for some polling cores from being chosen for others. Thread: setup. */
void tr_node_keep_named(struct tr_node *node);
/* Logs that the calling thread, which is going to poll, may run far from the device. */
void tr_node_tell_far(const struct tr_node *node);

/* The node's own address among its peers'. */
const char *tr_node_address(const struct tr_node *node);
/* What the port of a polling core is opened with, but for seed and error. */
struct tr_port_options tr_node_port_options(struct tr_node *node, uint32_t lcore);
/* Opens a port of the node's driver, with memory near the device; a failure names the address as
 * `whose`. Returns as tr_driver.open. Thread: setup. */
int tr_node_open_at(struct tr_node *node, struct tr_port_options *options, const char *whose,
                    struct tr_port **out, char *error, size_t error_bytes);

/* Opens the port of a polling core when it has none. Returns as tr_driver.open. */
int tr_node_open_port(struct tr_node *node, struct tr_lcore *lcore, char *error,
                      size_t error_bytes);

/* What a driver calls its fabric, of what the API calls one. */
void *tr_node_fabric(const struct tr_driver *driver, void *fabric);

/* Bytes of one group's inbound ring. */
uint32_t tr_config_ring_bytes(const struct tr_replica_config *config);

/* group.c */
void tr_group_close(struct tr_group *g);

TR_END_C

#endif
