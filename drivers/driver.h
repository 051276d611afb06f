/*
 * The driver interface: how bytes reach a peer.
 *
 * A driver is one constant table (struct tr_driver). Opening it gives a *port*: one queue pair,
 * owned by one polling thread, that reaches a set of peers. A port carries messages (bursts of
 * datagrams) and, where TR_DRIVER_ONE_SIDED is set, one-sided writes into *rings* that the target
 * granted. Drivers know nothing of Paxos: a ring is bytes, a generation and a permission.
 *
 * Rules that every driver keeps (the conformance suite holds them against all drivers, chosen by
 * capability bits):
 *  - Burst calls return counts and never an error; a full queue takes fewer than were offered, and
 * whoever asks again later succeeds (back-pressure).
 *  - A broken peer is an event (TR_PORT_PEER_DOWN), never an error on the hot path, and does not
 * disturb the other peers.
 *  - What a peer may still write is copied once into private memory before it is handed up: bytes
 * given by rx_burst cannot change under the reader.
 *  - Memory is taken at open and by ring_create/peer_add only. Nothing is allocated by bursts,
 * posts and polls.
 *  - Every operation is called by the port's owner thread, except where it is said otherwise.
 *
 * Source: the capability flags and one back-pressure status follow the transport layer of UCX;
 * bursts follow DPDK ethdev.
 */
#ifndef TR_DRIVERS_DRIVER_H
#define TR_DRIVERS_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The name of a node on the wire; 0 is no node. */
typedef uint16_t tr_node_id;

/** What a driver can do, and what bad it may do. */
enum tr_driver_capability {
    TR_DRIVER_MESSAGES = 1u << 0,      /* rx_burst and tx_burst */
    TR_DRIVER_ONE_SIDED = 1u << 1,     /* ring_*, write_*, fence_* */
    TR_DRIVER_INTER_PROCESS = 1u << 2, /* reaches other processes */
    TR_DRIVER_INTER_HOST = 1u << 3,    /* reaches other machines */
    TR_DRIVER_MAY_DROP = 1u << 4,      /* a message taken by tx_burst may never arrive */
    TR_DRIVER_MAY_DUP = 1u << 5,       /* a message may arrive twice */
    TR_DRIVER_MAY_REORDER = 1u << 6,   /* messages of one peer may overtake each other */
    TR_DRIVER_MAY_TEAR = 1u << 7,     /* a ring reader may see part of a write, in any byte order */
    TR_DRIVER_ZERO_COPY_TX = 1u << 8, /* segments stay referenced until tx_done passes them */
    TR_DRIVER_ASYNC_FENCE = 1u << 9, /* fence_start may answer TR_AGAIN; fence_poll tells the end */
    TR_DRIVER_SYSCALLS =
        1u << 10, /* bursts enter the kernel (else a poll of an idle port costs none) */
    TR_DRIVER_ADOPT = 1u << 11, /* hands up messages of addresses nobody added; peer_adopt */
};

#define TR_TX_SEGMENTS_MAX  4
#define TR_RING_TOKEN_BYTES 48

/** One piece of a message or a write, gathered from where it lies. */
struct tr_segment {
    const void *data;
    uint32_t bytes;
};

/** One message to send: its segments are concatenated on the wire, 1 to message_bytes_max bytes
 * together (the caller's duty). */
struct tr_tx {
    tr_node_id peer;
    uint16_t segment_count; /* 1 .. TR_TX_SEGMENTS_MAX */
    struct tr_segment segment[TR_TX_SEGMENTS_MAX];
};

/** One message received. Owns: the driver; the bytes are valid and constant until the next rx_burst
 * of the port. */
struct tr_rx {
    const void *data; /* aligned to 8 bytes */
    uint32_t bytes;
    tr_node_id peer; /* the peer that the source address belongs to; 0: an address nobody added (the
                        message is still handed up: it may be a client's) */
    uint32_t source; /* a driver's own handle of the source address, for tx_reply; meaningful until
                        the next rx_burst */
};

/** What a port may say besides messages. A peer is UP once; after it was DOWN, or without, another
 * process is NEW (and thereby up), the same one UP again. */
enum tr_port_event_type {
    TR_PORT_PEER_UP = 1,   /* the peer can be reached (again) */
    TR_PORT_PEER_DOWN = 2, /* the peer's process is known to be gone, or its connection broke */
    TR_PORT_PEER_NEW =
        3, /* another process answers under this peer's address: its rings are gone */
    TR_PORT_LINK_DOWN = 4,
    TR_PORT_LINK_UP = 5,
};

struct tr_port_event {
    enum tr_port_event_type type;
    tr_node_id peer;
};

/** Limits of an open port; a message is never longer than message_bytes_max. */
struct tr_port_limits {
    uint32_t message_bytes_max; /* one tx_burst message, all segments together */
    uint32_t burst_max;         /* what one rx_burst or tx_burst can move */
    uint32_t write_bytes_max;   /* one write_post; 0 without ONE_SIDED */
    uint32_t writes_max;        /* posted and not polled, a peer */
    uint32_t peers_max;
};

struct tr_port_stats {
    uint64_t rx_messages, rx_bytes, tx_messages, tx_bytes;
    uint64_t rx_malformed; /* dropped: not of this driver's framing */
    uint64_t rx_unknown;   /* from an address that is no peer's */
    uint64_t rx_dropped;   /* lost for want of room, as far as the driver can tell */
    uint64_t rx_errors;    /* frames that the device, for a driver that polls one, says were damaged
                              or lost in it */
    uint64_t rx_misplaced; /* datagrams that the device gave to this queue, and that went on to the
                              one that they were for */
    uint64_t tx_full;      /* messages offered and not taken */
    uint64_t tx_attached;  /* datagrams whose payload the device took from where it lay */
    uint64_t tx_errors; /* of tx_messages, those that were lost at once: the system refused them, or
                           the peer is down */
    uint64_t writes, write_bytes, writes_refused, writes_broken;
    /* Of a driver that hands writes to a device: its work requests (a run of writes may be one),
     * how often it was told, and bytes of sources that had to be copied for it. */
    uint64_t write_requests, write_doorbells, write_copied_bytes;
    uint64_t syscalls;
};

/** Where a port takes its memory from: never freed one by one, released with the arena. Returns
 * NULL when the arena is spent. */
struct tr_memory {
    void *context;
    void *(*allocate)(void *context, size_t bytes, size_t align);
};

/** What the kernel calls the device that a port works through. */
enum tr_device_kind {
    TR_DEVICE_NONE = 0,    /* none, or any: memory alone, the loopback network */
    TR_DEVICE_PCI = 1,     /* "0000:81:00.0" */
    TR_DEVICE_NETWORK = 2, /* a network interface: "eth0" */
    TR_DEVICE_RDMA = 3,    /* of ibv_devices: "mlx5_0" */
};

#define TR_DEVICE_NAME_BYTES 64

/** Such a device. Of NONE the name is empty. */
struct tr_device {
    enum tr_device_kind kind;
    char name[TR_DEVICE_NAME_BYTES];
};

struct tr_port_options {
    size_t struct_bytes;
    tr_node_id self;
    const char
        *address; /* own address in the driver's syntax: "shm:NAME", "HOST:PORT", "loop:NAME" */
    uint32_t queue_index; /* of queue_count ports of this node, one a polling core */
    uint32_t queue_count;
    uint32_t peers_max;
    uint32_t adopt_max;         /* of these, how many may be adopted (ADOPT): their memory is taken
                                   at open. 0: none */
    uint32_t message_bytes_max; /* asked; the limit in force is in tr_port_limits */
    uint32_t queue_bytes;       /* message room a peer and direction; 0: the driver's default */
    uint32_t mtu;               /* datagram payload; 0: the driver finds it */
    uint64_t seed;              /* randomness for whatever needs it; never 0 */
    struct tr_memory memory;
    uint64_t memory_nodes; /* bits of the NUMA nodes (0 to 63) that memory of the driver's own
                              should come from; 0: from any */
    void *fabric;          /* loop and sim: the world that joins ports of one process; fault: struct
                              tr_fault_options */
    const char *extra;     /* "key=value,..." of the driver; unknown keys are TR_EINVAL */
    char *error;           /* where a message for a person goes when open fails; may be NULL */
    size_t error_bytes;
};

/** A write ring that this port lets one peer write into. */
struct tr_ring_options {
    tr_node_id peer; /* the only one that may write */
    uint32_t group;
    uint32_t bytes; /* power of two, a multiple of 4096 */
};

/** The local end of a ring. Readers copy from memory by relaxed 8-byte loads (tr_copy_relaxed_8).
 */
struct tr_ring_info {
    uint32_t ring; /* handle within the port */
    uint32_t bytes;
    const volatile uint8_t *memory;
};

/** What a writer needs to reach a ring; travels in a promise, opaque to all but the driver. */
struct tr_ring_token {
    uint8_t bytes[TR_RING_TOKEN_BYTES];
};

enum tr_write_status {
    TR_WRITE_OK = 1, /* the bytes are, or will be found by the drain that follows a fence, in the
                        ring: they count */
    TR_WRITE_REFUSED = 2, /* fenced: the bytes do not count */
    TR_WRITE_BROKEN = 3,  /* unknown: the bytes do not count, may have landed */
};

struct tr_write_completion {
    tr_node_id peer;
    uint32_t remote;
    uint64_t generation; /* that the write was posted under */
    uint64_t cookie;
    enum tr_write_status status;
};

struct tr_port; /* a driver's own; its first member is `const struct tr_driver *driver` */

/**
 * The table of one driver. Operations that a capability bit promises must be there
 * (tr_driver_register refuses the table otherwise); the others may be NULL.
 */
struct tr_driver {
    const char *name;
    uint32_t abi_bytes; /* sizeof(struct tr_driver) that it was built with */
    uint32_t capabilities;
    const char *summary; /* a line for --help */

    /** Tells which device a port opened with these options would work through, for the choice of
     * CPUs and memory near it; opens nothing, and of wrong options says NONE. May be NULL: always
     * NONE. Cost: system calls; may ask a name server. Thread: any. */
    void (*device)(const struct tr_port_options *options, struct tr_device *out);

    /** Opens a port. Returns TR_OK, TR_EINVAL, TR_ENOMEM, TR_EADDR, TR_EPERM, TR_EBUSY (address
     * taken by a living process), TR_ENOTSUP; *out only on success. */
    int (*open)(const struct tr_port_options *options, struct tr_port **out);
    /** Closes it: peers see it go down; memory goes with the arena. */
    void (*close)(struct tr_port *port);
    void (*limits)(const struct tr_port *port, struct tr_port_limits *out);

    /** Makes a peer reachable at an address; the peer need not be up yet. Returns TR_OK, TR_EINVAL,
     * TR_EEXIST, TR_EFULL, TR_EADDR. */
    int (*peer_add)(struct tr_port *port, tr_node_id peer, const char *address);
    int (*peer_remove)(struct tr_port *port, tr_node_id peer);
    /** Makes the source of a message of the last rx_burst that is no peer's (tr_rx.peer 0) a peer
     * (ADOPT). Allocates nothing. Returns TR_OK, TR_EINVAL, TR_EEXIST (the number is taken, or the
     * source is a peer by now), TR_EFULL. */
    int (*peer_adopt)(struct tr_port *port, tr_node_id peer, uint32_t source);

    /** Receives up to max messages; releases those of the call before. */
    uint32_t (*rx_burst)(struct tr_port *port, struct tr_rx *out, uint32_t max);
    /** Sends up to count messages; returns how many, from the first, were taken (so one whose
     * peer's queue is full holds back those behind it: offer them again without it). Without
     * ZERO_COPY_TX the segments may be reused on return. A message to a peer that is down is taken
     * and lost. */
    uint32_t (*tx_burst)(struct tr_port *port, const struct tr_tx *tx, uint32_t count);
    /** Answers the source of a message of the last rx_burst, peer or not. Returns TR_OK, TR_AGAIN,
     * or TR_ENOTSUP when this source cannot be answered. */
    int (*tx_reply)(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                    uint32_t segment_count);
    /** Pushes out what tx_burst, writes and ring_consumed gathered; ends a poll cycle. */
    void (*tx_flush)(struct tr_port *port);
    /** Messages taken by tx_burst since open whose segments are no longer referenced (ZERO_COPY_TX;
     * rule 7). */
    uint64_t (*tx_done)(const struct tr_port *port);

    /** Makes a ring, closed (fenced) at first. Returns TR_OK, TR_ENOMEM, TR_EFULL, TR_EINVAL. */
    int (*ring_create)(struct tr_port *port, const struct tr_ring_options *options,
                       struct tr_ring_info *out);
    /** Opens the ring to its writer under this generation (above all before, nonzero); the ring's
     * bytes are zeroed and its consumed watermark starts at 0. Only a ring that is fenced. */
    int (*ring_grant)(struct tr_port *port, uint32_t ring, uint64_t generation,
                      struct tr_ring_token *out);
    /** Begins to close the ring: TR_OK: quiescent now (no write counts as OK after, and what
     * counted is in memory); TR_AGAIN: fence_poll tells when. */
    int (*fence_start)(struct tr_port *port, uint32_t ring);
    /** TR_OK when a started fence is quiescent, else TR_AGAIN. */
    int (*fence_poll)(struct tr_port *port, uint32_t ring);
    /** Tells the writer how far the ring was consumed, in bytes since the grant: its credit. */
    void (*ring_consumed)(struct tr_port *port, uint32_t ring, uint64_t position);

    /** The writer's end of a ring that a peer granted. Returns TR_OK, TR_EINVAL (not a token of
     * this driver), TR_ENOENT (gone), TR_AGAIN (peer not reachable yet). */
    int (*remote_open)(struct tr_port *port, tr_node_id peer, const struct tr_ring_token *token,
                       uint64_t generation, uint32_t *remote);
    void (*remote_close)(struct tr_port *port, uint32_t remote);
    /** Writes the segments, concatenated, at an offset of the ring (never across its end; offset
     * and the bytes together are multiples of 8). Returns TR_OK, or TR_AGAIN when writes_max is
     * reached. The source stays as it is until the completion (rule 7). */
    int (*write_post)(struct tr_port *port, uint32_t remote, uint32_t offset,
                      const struct tr_segment *segment, uint32_t segment_count, uint64_t cookie);
    /** Completions, in the order of posting within a remote. */
    uint32_t (*write_poll)(struct tr_port *port, struct tr_write_completion *out, uint32_t max);
    /** How far the reader has consumed under the current generation, as far as known here. */
    uint64_t (*remote_consumed)(struct tr_port *port, uint32_t remote);
    /** Tells that sources of writes will lie in this memory until the port closes, so that a device
     * can be shown it once instead of each write being copied. May be NULL: nothing to be gained.
     * Returns TR_OK, TR_ENOMEM (none that may be locked), TR_EFULL; then writes are copied. */
    int (*memory_add)(struct tr_port *port, const void *base, size_t bytes);

    uint32_t (*events)(struct tr_port *port, struct tr_port_event *out, uint32_t max);
    void (*stats)(const struct tr_port *port, struct tr_port_stats *out);
};

/** Head of every port. */
struct tr_port_head {
    const struct tr_driver *driver;
};

/** The table of a port: that of a wrapping driver can do what the wrapped one can. */
static inline const struct tr_driver *tr_port_driver(const struct tr_port *port)
{
    return ((const struct tr_port_head *)(const void *)port)->driver;
}

#ifdef __cplusplus
}
#endif
#endif
