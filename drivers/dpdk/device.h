/* Devices: found or made by name, configured for all queues of a node and started once, shared by
 * the node's ports. All functions are called under EAL's lock (eal.h), but for those that say so.
 */
#ifndef TR_DRIVERS_DPDK_DEVICE_H
#define TR_DRIVERS_DPDK_DEVICE_H

#include "drivers/dpdk/eal.h"
#include "drivers/dpdk/relay.h"
#include "drivers/dpdk/steering.h"
#include "drivers/dpdk/xdp.h"
#include "drivers/extra.h"

#include <rte_mbuf.h>
#include <rte_ring.h>

TR_BEGIN_C

/* Bytes of a path of memif's directory, and of a socket in it: what sockaddr_un takes. */
#define DPDK_PATH_BYTES 100

/* Frames that software may hand over to a queue and that it has not taken yet. */
#define DPDK_HANDOVER 1024

/* The same for the second port of a queue, and frames that this one has besides. */
#define DPDK_SECOND_RING   256
#define DPDK_SECOND_FRAMES 1024

/* The driver's own options (see dpdk_options.c for the keys). */
struct dpdk_options {
    char device[TR_EXTRA_BELOW_BYTES];
    char memif[TR_EXTRA_WORD_BYTES];
    char pages[TR_EXTRA_WORD_BYTES];
    char gateway[TR_EXTRA_WORD_BYTES];
    char steering[TR_EXTRA_WORD_BYTES];
    uint64_t memory_bytes;
    uint64_t prefix_bits; /* 0: the family's default */
    uint64_t mtu;         /* of IP; 0: the device's */
    uint64_t descriptors;
    uint64_t reassembly, strangers;
    uint64_t attach_bytes;
    bool checksum, pad, iova_pa;
    struct tr_ip gateway_ip; /* of gateway; zero: none */
};

/* How a device is to be configured. */
struct dpdk_device_setup {
    const char *name;  /* as EAL knows it: the first part of the devargs */
    const char *probe; /* whole devargs */
    uint16_t queue_count;
    uint32_t frames; /* buffers a queue, besides those in the device's rings */
    uint64_t
        memory_nodes; /* bits of the NUMA nodes that memory should come from; 0: EAL's choice */
    const struct dpdk_options *options;
    const struct tr_endpoint *own; /* of the node: the address, and queue 0's UDP port */
    bool is_memif;
    bool is_client; /* memif: is started when there is a peer to connect to */
};

/* How a memif interface is connected. All of it is the port's thread's. */
struct dpdk_memif {
    struct tr_relay relay;
    int listener;                /* a server's: of its peer; a client's: of its own PMD */
    bool is_up;                  /* the PMD has connected, and may be polled */
    uint64_t retry_tsc;          /* a client's: when to look for its peer next */
    char outer[DPDK_PATH_BYTES]; /* the socket at which the server's port listens, */
    char inner[DPDK_PATH_BYTES]; /* and that between this process's port and PMD */
};

/* A device of this process. */
struct dpdk_device {
    struct dpdk_device *next;
    char name[64];
    uint16_t id;
    uint16_t queue_count;
    int socket;      /* the NUMA node of its memory, as EAL numbers them */
    bool is_made;    /* by us: removed at the end */
    bool is_started; /* memif: written by EAL's thread */
    bool is_memif, is_client;
    struct dpdk_memif memif;
    bool tells_links; /* its link's changes come as interrupts */
    bool has_checksum_rx, has_checksum_tx;
    bool copies_chains; /* takes a frame of several buffers, and gives them back at once */
    uint32_t mtu;
    uint64_t open_queues;   /* bits of those that ports have, */
    uint64_t second_queues; /* and of those that a second port has, too */
    uint16_t second_base;   /* UDP port of queue 0's second port; 0: there are none */
    struct tr_endpoint own;
    enum tr_steering_kind steering;
    struct tr_steering_rules rules;
    struct tr_xdp_sockets sockets; /* AF_XDP */
    uint32_t link_count;           /* changes of the link; written by EAL's thread */
    struct rte_mempool *pool[TR_STEERING_QUEUES_MAX];
    struct rte_ring *handover[TR_STEERING_QUEUES_MAX]; /* NULL without software steering */
    struct rte_ring *second[TR_STEERING_QUEUES_MAX];   /* to second ports; NULL without one */
};

/* Opens a queue of a device, which is made, configured and started if it is not. A queue can be
 * opened a second time, at another UDP port of the node's address, by the thread that polls it
 * (*is_second): the first port polls the device for both. What the caller should know is put into
 * `error` even on success. Returns: TR_OK, TR_EBUSY (the queue is taken twice, or the device
 * another node's), TR_EADDR (there is no such device), TR_ENOMEM, TR_ENOTSUP. */
int tr_dpdk_device_open(const struct dpdk_device_setup *setup, uint16_t queue,
                        struct dpdk_device **out, bool *is_second, char *error, size_t error_bytes);

/* Gives a queue back, or its second port. The last one stops and closes the device. */
void tr_dpdk_device_close(struct dpdk_device *device, uint16_t queue, bool is_second);

/* Memif (memif.c): the interface of one peer and queue, in a directory; the node with the smaller
 * number listens. EAL's thread opens, starts and closes these devices, since it is what connects
 * and disconnects them. Returns: as tr_dpdk_device_open. */
int tr_dpdk_memif_open(const struct dpdk_device_setup *setup, uint16_t self, uint16_t peer,
                       uint16_t queue, struct dpdk_device **out, char *error, size_t error_bytes);

/* Closes it again. Returns: its pool, since received buffers may be in use still, for the caller to
 * free. */
struct rte_mempool *tr_dpdk_memif_close(struct dpdk_device *device);

/* Goes on with its connection: finds a peer, shakes hands, notices its end. Returns: whether there
 * is one and the device may be polled; *is_busy if more is to be done soon. Thread: the port's.
 * Cost: a system call; waits for EAL's thread when a peer is new. */
bool tr_dpdk_memif_step(struct dpdk_device *device, uint64_t now_tsc, uint64_t tsc_per_ms,
                        bool *is_busy);

/* Takes the lock of a node's queue in memif's directory. Returns: TR_OK with a descriptor,
 * TR_EBUSY, TR_EADDR (no such directory), TR_EPERM. */
int tr_dpdk_memif_lock(const char *directory, uint16_t self, uint16_t queue, int *fd, char *error,
                       size_t error_bytes);

TR_END_C

#endif
