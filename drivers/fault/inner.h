/* The inside of a fault port.
 *
 * Messages that wait are copied into slots: many small ones, and a few for the largest messages. A
 * heap orders them by the time at which they go on. Whoever polls the port moves them. */
#ifndef TR_DRIVERS_FAULT_INNER_H
#define TR_DRIVERS_FAULT_INNER_H

#include "base/assert.h"
#include "base/bytes.h"
#include "base/prng.h"
#include "drivers/fault/fault.h"
#include "drivers/gather.h"

#include <string.h>
#include <trireme/error.h>

TR_BEGIN_C

#define SMALL_SLOTS 1024
#define SMALL_BYTES 4096
#define LARGE_SLOTS 8
#define REMOTES_MAX 4096 /* handles of the driver below that can have faults */
#define POSTS_MAX   256  /* writes that wait to be posted */
#define NONE        UINT32_MAX

/* A source that is no address any more: the peer's number is below the bit. */
#define SOURCE_OF_PEER 0x80000000u

/* A message that waits, to be sent or to be handed up. */
struct held {
    uint8_t *data;
    uint32_t bytes;
    uint32_t next; /* free ones */
    uint64_t due_ns;
    uint64_t order;
    tr_node_id peer;
};

/* Those that wait, the first due on top. */
struct waiting {
    uint32_t *heap;
    uint32_t count;
};

/* A write that waits to be posted, or a completion that waits for those before it. */
struct post {
    uint32_t remote, offset, segment_count;
    bool is_refused, is_broken; /* it is not posted: this is what the writer gets */
    uint64_t due_ns;
    uint64_t cookie;
    struct tr_segment segment[TR_TX_SEGMENTS_MAX];
};

/* What is known of a remote of the driver below. */
struct remote {
    tr_node_id peer; /* 0: not open */
    uint64_t generation;
    uint32_t below;              /* posted there and not completed */
    uint32_t waiting;            /* posts of it in the queue */
    enum tr_write_status failed; /* 0, or what everything behind gets */
};

struct tr_port {
    struct tr_port_head head;
    struct tr_driver table; /* this port's own */
    const struct tr_driver *below_driver;
    struct tr_port *below;
    struct tr_fault_control *control;
    struct tr_fault_control own_control;
    uint64_t (*now_ns)(void *context);
    void *context;
    struct tr_prng prng;
    uint32_t message_bytes_max, burst_max, writes_max, peers_max;

    struct held *held; /* SMALL_SLOTS, then LARGE_SLOTS */
    uint32_t free_small, free_large;
    struct waiting out, in;
    uint64_t order;
    uint32_t handed;  /* received ones that the last rx_burst handed up, by next */
    uint8_t *scratch; /* a message that is damaged */

    struct remote *remote; /* NULL without one-sided writes below */
    struct post *post;     /* a ring: POSTS_MAX, in the order of posting */
    uint32_t post_head, post_count;

    /* What the statistics of the driver below lack or have too much of. */
    struct tr_port_stats delta;
};

/* control.c */

/* The slot of a peer in a direction; never NULL. */
const struct tr_fault_slot *tr_fault_slot_of(const struct tr_fault_control *control,
                                             tr_node_id peer, enum tr_fault_direction direction);

/* Keys of the extra options of a port; see fault.c. */
struct tr_fault_text {
    char driver[TR_EXTRA_WORD_BYTES];
    char direction[TR_EXTRA_WORD_BYTES];
    char below[TR_EXTRA_BELOW_BYTES];
    uint64_t seed;
    bool clear;
    struct tr_extra_nodes peers, block, block_out, block_in;
    uint32_t drop_ppm, duplicate_ppm, corrupt_ppm, reorder_ppm, write_refuse_ppm;
    struct tr_extra_span delay_ns, reorder_ns, write_delay_ns;
};

/* Reads text; fields without a key keep what they had. Returns: TR_OK, TR_EINVAL. */
int tr_fault_text_read(struct tr_fault_text *text, const char *from, char *error,
                       size_t error_bytes);

/* Does what a text says. Returns: TR_OK, TR_EFULL. */
int tr_fault_text_apply(const struct tr_fault_text *text, struct tr_fault_control *control);

/* Counts an event of a control that several ports may share. */
static inline void tr_fault_count(tr_atomic_u64 *counter)
{
    tr_fetch_add_relaxed(counter, UINT64_C(1));
}

/* True with a chance of ppm. */
static inline bool tr_fault_chance(struct tr_port *port, uint32_t ppm)
{
    return ppm != 0 && tr_prng_chance(&port->prng, ppm);
}

/* A duration between both, inclusive. */
static inline uint64_t tr_fault_draw_ns(struct tr_port *port, uint64_t low_ns, uint64_t high_ns)
{
    return high_ns <= low_ns ? low_ns : low_ns + tr_prng_below(&port->prng, high_ns - low_ns + 1);
}

/* message.c */

/* Takes memory for held messages. Returns: TR_OK, TR_ENOMEM. */
int tr_fault_messages_init(struct tr_port *port, const struct tr_memory *memory);
/* tr_driver.rx_burst, tx_burst, tx_reply, tx_flush. */
uint32_t tr_fault_rx_burst(struct tr_port *port, struct tr_rx *out, uint32_t max);
uint32_t tr_fault_tx_burst(struct tr_port *port, const struct tr_tx *tx, uint32_t count);
int tr_fault_tx_reply(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                      uint32_t segment_count);
void tr_fault_tx_flush(struct tr_port *port);

/* write.c */

/* Takes memory for writes that wait. Returns: TR_OK, TR_ENOMEM. */
int tr_fault_writes_init(struct tr_port *port, const struct tr_memory *memory);
/* tr_driver.remote_open, remote_close, write_post, write_poll. */
int tr_fault_remote_open(struct tr_port *port, tr_node_id peer, const struct tr_ring_token *token,
                         uint64_t generation, uint32_t *remote);
void tr_fault_remote_close(struct tr_port *port, uint32_t remote);
int tr_fault_write_post(struct tr_port *port, uint32_t remote, uint32_t offset,
                        const struct tr_segment *segment, uint32_t segment_count, uint64_t cookie);
uint32_t tr_fault_write_poll(struct tr_port *port, struct tr_write_completion *out, uint32_t max);

TR_END_C

#endif
