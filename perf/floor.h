/* The floors: what a quorum costs on this machine when nothing is decided, checked or remembered.
 * The same threads on the same CPUs move the same record bytes to the same number of followers, by
 * the same means as the driver that is measured, through no code of the library, in the tightest
 * loops that we could write. Each floor has several variants; a run tries them all and takes the
 * best.
 *
 *   shm            a record is copied into each follower's shared ring; the follower loads all of
 * it and acknowledges; the command is complete at the first acknowledgement of three replicas (of
 * five: the second, and so on) shm one-sided  a record is stored into each follower's ring, then a
 * full fence, then the fence words are read: complete. The followers drain their rings meanwhile
 *   udp            a datagram to each follower, who answers with one; complete at the first answer
 *   loop           as shm, all on one thread
 *   dpdk, verbs    as udp, through ports of the driver itself: its raw round trip
 *   verbs one-sided  a WRITE of the record into each follower's ring, through the driver; complete
 * at the first completion
 *
 * Commands are batched into records as the engine may: what was submitted at a flush, up to
 * `batch` commands a record. */
#ifndef TR_PERF_FLOOR_H
#define TR_PERF_FLOOR_H

#include "base/limits.h"
#include "perf/places.h"
#include "perf/slice.h"

TR_BEGIN_C

struct tr_perf_engine;

#define TR_PERF_FOLLOWERS_MAX (TR_VOTERS_MAX - 1)

enum tr_perf_floor_kind {
    TR_PERF_FLOOR_SHM = 0,
    TR_PERF_FLOOR_SHM_ONE_SIDED = 1,
    TR_PERF_FLOOR_UDP = 2,
    TR_PERF_FLOOR_PORT = 3,
    TR_PERF_FLOOR_WRITE = 4,
};

/* What the floor has to imitate. */
struct tr_perf_floor_shape {
    uint32_t size_bytes; /* of a command */
    uint32_t batch;      /* commands in a record at most */
    uint32_t window;     /* commands in flight at most; a power of two */
    uint32_t followers;  /* replicas - 1 */
    uint32_t needed; /* acknowledgements that complete a command: the leader is one of the quorum */
    uint32_t workers; /* threads that follow; 0: the load's thread does it all */
    enum tr_idle idle;
    /* For the floors of ports. */
    const char *driver;
    const struct tr_perf_places *places;
    const struct tr_perf_engine *engine; /* whose ports are taken where a device is shared; NULL:
                                            there is none beside this floor */
};

struct tr_perf_floor;

/* One way to do it. */
struct tr_perf_floor_variant {
    const char *name;
    /* False: does less than the definition asks (its figure is printed, never used). */
    bool is_floor;
    /* True: only between ends on one machine. */
    bool is_near;
    /* Offers a slice. Thread: the load's. */
    void (*lead)(struct tr_perf_floor *floor, struct tr_perf_slice *slice);
    /* Follows until *stop is not 0. Thread: the worker's. */
    void (*follow)(struct tr_perf_floor *floor, uint32_t worker, const uint32_t *stop);
};

/* A floor of one kind: the table of its variants and its memory. */
struct tr_perf_floor_table {
    const char *name; /* NULL: the driver's */
    const struct tr_perf_floor_variant *variants;
    uint32_t variant_count;
    /* Takes memory and sockets; before the workers are made, who inherit them. Returns: 0 or a
     * negative code, with a sentence in `error`. */
    int (*open)(const struct tr_perf_floor_shape *shape, struct tr_perf_floor **out, char *error,
                size_t error_bytes);
    /* Makes it as new for the next slice. Nobody may be leading or following. */
    void (*reset)(struct tr_perf_floor *floor);
    void (*close)(struct tr_perf_floor *floor);
};

/* Head of every floor. */
struct tr_perf_floor {
    const struct tr_perf_floor_table *table;
    struct tr_perf_floor_shape shape;
};

/* A tr_perf_submit_fn of floors: every command is there, and submitting one is nothing but counting
 * it. */
static inline bool tr_perf_floor_submit(void *side, struct tr_perf_slice *slice, uint64_t sequence)
{
    (void)side;
    (void)slice;
    (void)sequence;
    return true;
}

/* The table of a kind. */
const struct tr_perf_floor_table *tr_perf_floor_table_of(enum tr_perf_floor_kind kind);

/* The tables, each in its file. */
extern const struct tr_perf_floor_table tr_perf_floor_shm;
extern const struct tr_perf_floor_table tr_perf_floor_shm_one_sided;
extern const struct tr_perf_floor_table tr_perf_floor_udp;
extern const struct tr_perf_floor_table tr_perf_floor_port;
extern const struct tr_perf_floor_table tr_perf_floor_write;

/* The floor of several machines, by UDP. The load has the hub, each follower a leaf; each tells the
 * other its port by means of its own. */
int tr_perf_floor_udp_open_hub(const struct tr_perf_floor_shape *shape, const char *host,
                               struct tr_perf_floor **out, char *error, size_t error_bytes);
uint16_t tr_perf_floor_udp_hub_port(const struct tr_perf_floor *floor);
int tr_perf_floor_udp_set_leaf(struct tr_perf_floor *floor, uint32_t index, const char *host,
                               uint16_t port);
int tr_perf_floor_udp_open_leaf(const struct tr_perf_floor_shape *shape, uint32_t index,
                                const char *host, const char *hub_host, uint16_t hub_port,
                                struct tr_perf_floor **out, uint16_t *port, char *error,
                                size_t error_bytes);

/* Bytes of the record of so many commands in a ring: header, run header, commands, padding. */
uint32_t tr_perf_record_bytes(uint32_t size_bytes, uint32_t commands);
/* Bytes of the datagram that carries that record: an Accept message; and of its answer: Accepted.
 */
uint32_t tr_perf_datagram_bytes(uint32_t size_bytes, uint32_t commands);
uint32_t tr_perf_answer_bytes(void);

TR_END_C

#endif
