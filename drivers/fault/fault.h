/* The fault driver wraps any other driver that copies what it sends, and does to its messages and
 * writes what networks do: it is production code, so that a running system can be tried out. With
 * no fault asked for it costs a load and a branch a burst.
 *
 * It is opened under the address of the driver below, with the extra options
 *     driver=NAME,drop=0.1%,delay=10us-50us,duplicate=100ppm,corrupt=10ppm,reorder=1%,block=2+3,...
 * and below.KEY=VALUE for the driver below. Its capability bits are those of the driver below and
 * MAY_DROP, MAY_DUP, MAY_REORDER: they stand in the table that an open port's head points to.
 *
 * Faults can be changed while it runs, by any thread, through its control: by calls or by the same
 * text. The same seed and the same calls give the same faults; when a delay ends depends on the
 * clock, which the caller may provide. */
#ifndef TR_DRIVERS_FAULT_FAULT_H
#define TR_DRIVERS_FAULT_FAULT_H

#include "base/atomic.h"
#include "base/types.h"
#include "drivers/driver.h"
#include "drivers/extra.h"

TR_BEGIN_C

/* Peers that can have rules of their own. */
#define TR_FAULT_PEERS_MAX 32

/* Which way a message goes, seen from the port. A one-sided write goes out, its completion in. */
enum tr_fault_direction { TR_FAULT_OUT = 1, TR_FAULT_IN = 2, TR_FAULT_BOTH = 3 };

/* What happens to messages and writes of one peer in one direction. */
struct tr_fault_rule {
    bool blocked; /* everything is lost; writes break */
    uint32_t drop_ppm;
    uint32_t duplicate_ppm;
    uint32_t corrupt_ppm;          /* one to four bits flip */
    uint32_t reorder_ppm;          /* held back for reorder_ns while others overtake */
    struct tr_extra_span delay_ns; /* of every message */
    struct tr_extra_span reorder_ns;
    uint32_t write_refuse_ppm;           /* out only: the write is not posted, and refused */
    struct tr_extra_span write_delay_ns; /* out only: until the write is posted */
};

/* A rule as it lies in a control: one writer at a time, any number of readers. */
struct tr_fault_slot {
    tr_atomic_u32 blocked, drop_ppm, duplicate_ppm, corrupt_ppm, reorder_ppm, write_refuse_ppm;
    tr_atomic_u64 delay_low_ns, delay_high_ns, reorder_low_ns, reorder_high_ns;
    tr_atomic_u64 write_delay_low_ns, write_delay_high_ns;
};

/* X(name, what was done) */
#define TR_FAULT_COUNTER_TABLE(X)                                                                  \
    X(dropped, "messages lost")                                                                    \
    X(duplicated, "messages sent or handed up twice")                                              \
    X(corrupted, "messages damaged")                                                               \
    X(delayed, "messages held for a while")                                                        \
    X(reordered, "messages held back while others overtook")                                       \
    X(blocked, "messages lost to a block")                                                         \
    X(overflowed,                                                                                  \
      "messages lost because too many were held, or the driver below was full when they were due") \
    X(writes_delayed, "one-sided writes posted later")                                             \
    X(writes_refused, "one-sided writes refused")                                                  \
    X(writes_blocked, "one-sided writes or completions lost to a block")

struct tr_fault_counters {
#define TR_FAULT_COUNTER(name, what) tr_atomic_u64 name;
    TR_FAULT_COUNTER_TABLE(TR_FAULT_COUNTER)
#undef TR_FAULT_COUNTER
};

/* What a port does, and has done. May be shared by ports and threads; init before any of them. */
struct tr_fault_control {
    tr_atomic_u32 is_active; /* some rule is not empty */
    tr_atomic_u32 lock;      /* of writers */
    tr_atomic_u32 peer_count;
    tr_atomic_u32 peer[TR_FAULT_PEERS_MAX]; /* with rules of their own */
    struct tr_fault_slot everybody[2];      /* out, in */
    struct tr_fault_slot of_peer[TR_FAULT_PEERS_MAX][2];
    struct tr_fault_counters counters;
};

/* What tr_port_options.fabric may point to; all fields but the size may be zero. */
struct tr_fault_options {
    size_t struct_bytes;
    const struct tr_driver *below;     /* else driver=NAME of the extra options */
    void *fabric;                      /* of the driver below */
    struct tr_fault_control *control;  /* else the port has one of its own */
    uint64_t (*now_ns)(void *context); /* else CLOCK_MONOTONIC */
    void *context;
};

extern const struct tr_driver tr_driver_fault;

/* The table of the fault driver over another: what a port's head points to. Thread: any. */
struct tr_driver tr_fault_driver_over(const struct tr_driver *below);

/* Starts a control without faults. */
void tr_fault_control_init(struct tr_fault_control *control);

/* The control of an open port of this driver. Thread: any. */
struct tr_fault_control *tr_fault_control_of(struct tr_port *port);

/* Sets the rule of a peer (0: of all that have none of their own), for one direction or both.
 * Thread: any. Returns: TR_OK, TR_EFULL (more than TR_FAULT_PEERS_MAX peers). */
int tr_fault_set(struct tr_fault_control *control, tr_node_id peer,
                 enum tr_fault_direction direction, const struct tr_fault_rule *rule);

/* The rule in force of a peer in one direction (not both). Thread: any. */
struct tr_fault_rule tr_fault_get(const struct tr_fault_control *control, tr_node_id peer,
                                  enum tr_fault_direction direction);

/* Blocks a peer, or lets it through again, and leaves the rest of its rule. Thread: any. Returns:
 * TR_OK, TR_EFULL. */
int tr_fault_block(struct tr_fault_control *control, tr_node_id peer,
                   enum tr_fault_direction direction, bool blocked);

/* Ends all faults. What is held is still delivered in its time. Thread: any. */
void tr_fault_clear(struct tr_fault_control *control);

/* Sets rules by text, the keys of the extra options without driver, seed and below: rates and
 * delays for peers=2+3 (default: everybody) in direction=out, in or both (the default), where what
 * is not named stays; block, block_out, block_in list peers; clear=on first ends all faults.
 * Thread: any. Returns: TR_OK; TR_EFULL with a sentence in `error`; TR_EINVAL too, and nothing is
 * changed. */
int tr_fault_configure(struct tr_fault_control *control, const char *text, char *error,
                       size_t error_bytes);

TR_END_C

#endif
