/* The simulated network: ports of one process joined by a world in which everything goes wrong that
 * a network, a NIC or a peer can do wrong, as often as a profile says, from one seed.
 *
 * A world has no clock, no thread and no randomness but its seed: its owner says what time it is
 * (tr_sim_advance), and the same calls in the same order give the same world, bit by bit. Ports are
 * opened under "sim:NAME" with tr_port_options.fabric set to the world, and are used like those of
 * every driver; everything is done by one thread.
 *
 * Messages are lost, copied, damaged, delayed (with a heavy tail), reordered and cut off by
 * partitions, a datagram each: those larger than the profile's datagram travel in pieces, each with
 * a fate of its own, through the code that the datagram drivers use (drivers/fragment.h).
 *
 * One-sided writes land in parts, in any byte order (words of 8 bytes stay whole), before or long
 * after their completion; what was completed as OK lands before a fence of its ring is quiescent,
 * and nothing lands after. A completion may be lost, and the write land all the same; a connection
 * breaks and takes with it what was posted behind. A crash leaves the dead process's rings writable
 * or not, as a shared-memory segment and a NIC do, until a port is opened at the same address.
 *
 * Source: the one-sided faults follow drivers' documents and the schedules of the safety rules
 * (design: rules 1, 4, 6, 7); heavy tails are log-uniform, as measured datacenter delays roughly
 * are. */
#ifndef TR_DRIVERS_SIM_SIM_H
#define TR_DRIVERS_SIM_SIM_H

#include "base/types.h"
#include "drivers/driver.h"

TR_BEGIN_C

/* Addresses (a queue of a node each), and nodes, of one world. */
#define TR_SIM_PLACES_MAX 64

/* Rings of one world that are in use at a time. */
#define TR_SIM_RINGS_MAX 1024

/* A duration drawn anew each time, uniformly, between both, inclusive. */
struct tr_sim_span {
    uint64_t low_ns, high_ns;
};

/* How often each fault comes, in parts in a million, and how long things take. */
struct tr_sim_profile {
    /* Of datagrams. */
    uint32_t drop_ppm;
    uint32_t duplicate_ppm;
    uint32_t corrupt_ppm;    /* one to four bits flip, anywhere */
    uint32_t reorder_ppm;    /* held back by reorder_ns while others overtake */
    uint32_t tail_ppm;       /* delayed by tail_ns, log-uniform */
    uint32_t datagram_bytes; /* payload of the largest, frame included; 0: 1,472 */
    struct tr_sim_span delay_ns, reorder_ns, tail_ns;

    /* Of one-sided writes. */
    uint32_t write_torn_ppm;    /* lands in parts, in any order, spread over write_spread_ns */
    uint32_t write_early_ppm;   /* completed as OK, lands up to write_late_ns later */
    uint32_t write_reorder_ppm; /* lands before those posted earlier */
    uint32_t
        write_lost_ppm; /* lands up to write_late_ns later, its completion never comes: broken */
    uint32_t write_broken_ppm;   /* the connection breaks: a part of it lands, or nothing */
    struct tr_sim_span write_ns; /* to the ring, and the completion back */
    struct tr_sim_span write_spread_ns, write_late_ns;
    uint64_t write_timeout_ns;   /* until a connection without an answer is given up */
    struct tr_sim_span fence_ns; /* until a fence is quiescent */

    /* Of nodes. */
    uint32_t orphan_ppm; /* a crashed node's ring stays writable until its successor opens */
    uint32_t notice_ppm; /* its peers are told that it is down, after notice_ns */
    struct tr_sim_span notice_ns;
};

/* X(name, what was done): every fault is counted when it happens. */
#define TR_SIM_COUNTER_TABLE(X)                                                              \
    X(datagrams, "datagrams that entered the network")                                       \
    X(delivered, "datagrams put into a receiver's queue")                                    \
    X(dropped, "datagrams lost")                                                             \
    X(duplicated, "datagrams sent twice")                                                    \
    X(corrupted, "datagrams damaged")                                                        \
    X(reordered, "datagrams held back while others overtook")                                \
    X(tailed, "datagrams delayed by the heavy tail")                                         \
    X(blocked, "datagrams lost to a partition")                                              \
    X(undeliverable, "datagrams to an address where no port is open")                        \
    X(overflowed, "datagrams lost because a receiver's queue or the world was full")         \
    X(cut, "messages that needed several datagrams")                                         \
    X(writes, "one-sided writes posted")                                                     \
    X(writes_ok, "writes completed as OK")                                                   \
    X(writes_refused, "writes refused by a fence")                                           \
    X(writes_broken, "writes whose outcome the writer does not know")                        \
    X(writes_landed, "writes that landed whole")                                             \
    X(writes_torn, "writes that landed in parts, in any order")                              \
    X(writes_early, "writes completed before they landed")                                   \
    X(writes_forced, "early writes that only a fence made land")                             \
    X(writes_overtook, "writes that landed before an earlier one")                           \
    X(writes_lost, "writes that landed although their completion was lost")                  \
    X(writes_cut_short, "writes of which only a part landed")                                \
    X(writes_orphaned, "writes that landed in a dead node's ring")                           \
    X(writes_blocked, "writes lost to a partition")                                          \
    X(scribbles, "bytes that imitate a record, left in a ring")                              \
    X(sources_changed,                                                                       \
      "writes whose source was changed before they completed: a bug of the caller")          \
    X(writes_overran, "writes over what the reader may not have taken: a bug of the caller") \
    X(fences, "fences that became quiescent")                                                \
    X(grants, "rings opened to a writer")                                                    \
    X(orphans, "rings of dead nodes that stayed writable")                                   \
    X(silenced, "crashes that nobody was told of")                                           \
    X(crashes, "ports that crashed")                                                         \
    X(pauses, "nodes that were paused")                                                      \
    X(partitions, "directions that were blocked")

struct tr_sim_counters {
#define TR_SIM_COUNTER(name, what) uint64_t name;
    TR_SIM_COUNTER_TABLE(TR_SIM_COUNTER)
#undef TR_SIM_COUNTER
};

struct tr_sim_options {
    size_t struct_bytes;
    uint64_t seed;
    struct tr_sim_profile profile;
    uint32_t datagrams_max; /* in the network and in receivers' queues together; 0: 8,192 */
    uint32_t queue_max;     /* of a receiver; 0: 2,048 */
    uint32_t writes_max;    /* one-sided, under way; 0: 4,096 */
    struct tr_memory
        memory; /* outlives every port; rings lie in it, so that they survive their owner */
    bool memory_is_zero; /* as it is given: rings need not be cleared first, which touches them */
};

struct tr_sim_world;

/* Messages and one-sided writes. */
extern const struct tr_driver tr_driver_sim;

/* The same network without one-sided writes, as a datagram driver has it. */
extern const struct tr_driver tr_driver_sim_messages;

/* A network of 5 to 10 us without a fault. */
struct tr_sim_profile tr_sim_profile_calm(void);

/* Every fault, often: about one datagram and one write in fifty meets one. */
struct tr_sim_profile tr_sim_profile_stormy(void);

/* Some faults, from never to often, other ones for each seed. */
struct tr_sim_profile tr_sim_profile_drawn(uint64_t seed);

/* Makes a world at time 0. Returns: TR_OK, TR_EINVAL (options), TR_ENOMEM. */
tr_nodiscard int tr_sim_world_create(const struct tr_sim_options *options,
                                     struct tr_sim_world **out);

/* Ends a world whose ports are closed or crashed. Its memory goes with the arena. */
void tr_sim_world_destroy(struct tr_sim_world *world);

/* The time of the next thing that happens by itself; UINT64_MAX when nothing will. */
uint64_t tr_sim_next_ns(const struct tr_sim_world *world);

/* Lets time pass up to now_ns (never back): what is due by then happens, in order.
 * Cost: about 100 ns an event. */
void tr_sim_advance(struct tr_sim_world *world, uint64_t now_ns);

/* The time that the world was advanced to. */
uint64_t tr_sim_now_ns(const struct tr_sim_world *world);

/* Whether anything came to a node since this was last asked: a message, a completion, a part of a
 * write in one of its rings, the end of a fence, news of a peer. Who asks need not look at nodes
 * that nothing came to. */
bool tr_sim_take_news(struct tr_sim_world *world, tr_node_id node);

/* Other faults from now on; datagram_bytes stays as it was. */
void tr_sim_set_profile(struct tr_sim_world *world, const struct tr_sim_profile *profile);

/* Blocks, or lets through again, everything that goes from one node to another: messages, writes,
 * completions, and news of each other. What is in flight when it is blocked is lost. */
void tr_sim_partition(struct tr_sim_world *world, tr_node_id from, tr_node_id to, bool blocked);

/* Ends all partitions and pauses. */
void tr_sim_heal_all(struct tr_sim_world *world);

/* Kills a node: its ports are dead (calls on them do nothing), their queues are gone, what it had
 * posted lands, or half, or not. Call it before the memory of the ports is released. */
void tr_sim_crash(struct tr_sim_world *world, tr_node_id node);

/* Stops a node, or lets it go on: its ports neither receive, send nor complete; what others write
 * into its rings lands. */
void tr_sim_pause(struct tr_sim_world *world, tr_node_id node, bool paused);

/* Leaves bytes in a ring of a node's, as one that may write there could have an earlier lap: what
 * its records carried is the choice of clients. Does nothing where the ring is closed, written at
 * this time, or too small. Returns whether it did. */
bool tr_sim_scribble(struct tr_port *port, uint32_t ring, uint32_t offset, const void *data,
                     uint32_t bytes);

/* What has happened so far. */
const struct tr_sim_counters *tr_sim_world_counters(const struct tr_sim_world *world);

TR_END_C

#endif
