/* What lies in a segment of the shm driver: the memory that one port shares with its peers.
 *
 *   page 0     identity: who owns it, whether it lives. Peers map it read-only.
 *   lanes      a control block for each sender that may send here
 *   rings      a control block for each one-sided ring: its fence word and its watermark
 *   lane data  a byte ring for each sender
 *   ring data  the one-sided rings; grows as they are made
 *
 * Everything follows from the numbers of struct tr_shm_shape, so that a peer computes where
 * things are and believes no offset that it reads. Fields that different processes write never
 * share a cache line. */
#ifndef TR_DRIVERS_SHM_LAYOUT_H
#define TR_DRIVERS_SHM_LAYOUT_H

#include "base/assert.h"
#include "base/atomic.h"
#include "base/bytes.h"
#include "base/types.h"

#include <pthread.h>

TR_BEGIN_C

#define TR_SHM_MAGIC      UINT64_C(0x316d68732d727274) /* "trr-shm1" */
#define TR_SHM_VERSION    1u
#define TR_SHM_PAGE_BYTES 4096u
#define TR_SHM_NAME_BYTES 64u

/* Limits of a shape: what a peer accepts of another process. */
#define TR_SHM_LANES_MAX         1024u
#define TR_SHM_LANE_BYTES_MIN    (64u << 10)
#define TR_SHM_LANE_BYTES_MAX    (1u << 30)
#define TR_SHM_RINGS_MAX         (1u << 20)
#define TR_SHM_SEGMENT_BYTES_MAX (UINT64_C(1) << 42)

/* The numbers that a segment is laid out by. */
struct tr_shm_shape {
    uint32_t lane_count;
    uint32_t lane_bytes; /* a power of two */
    uint32_t ring_count;
    uint32_t message_bytes_max;
};

/* True if a one-sided ring can lie there. */
static inline bool tr_shm_ring_ok(uint64_t ring_data, uint64_t offset, uint64_t bytes)
{
    return tr_is_power_of_two(bytes) && bytes >= TR_SHM_PAGE_BYTES &&
           offset % TR_SHM_PAGE_BYTES == 0 && offset >= ring_data &&
           offset <= TR_SHM_SEGMENT_BYTES_MAX && bytes <= TR_SHM_SEGMENT_BYTES_MAX - offset;
}

/* Whether the owner lives. */
enum tr_shm_state {
    TR_SHM_OPEN = 1,
    TR_SHM_CLOSED = 2, /* in order: nothing here will be read or granted again */
    TR_SHM_DEAD = 3,   /* said by its successor, after it fenced every ring */
};

/* Threads that may in turn own a port; see tr_shm_life_adopt. */
#define TR_SHM_LIVES 4

/* A robust mutex that the owning thread holds: the kernel marks its word when the thread ends,
 * however it ends. */
union tr_shm_life {
    pthread_mutex_t mutex;
    unsigned char bytes[64];
};

/* Page 0. Constant after the segment got its name, but for the last three groups. */
struct tr_shm_identity {
    uint64_t magic;
    uint32_t version;
    uint32_t identity_bytes; /* of this struct */
    uint64_t incarnation;    /* random, never 0 */
    uint32_t pid;            /* for people */
    uint32_t queue;
    uint64_t start_ns; /* wall clock at open, for people */
    struct tr_shm_shape shape;
    char name[TR_SHM_NAME_BYTES];
    /* Written by the owner, or by a successor when the owner is dead. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u32 state;
    /* Written by the owner. Where in this page the word of its mutex is; how many rings were made.
     */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u32 life_at;
    tr_atomic_u32 ring_made;
    TR_ALIGNED(TR_CACHE_LINE) union tr_shm_life life[TR_SHM_LIVES];
};
tr_static_assert(sizeof(struct tr_shm_identity) <= TR_SHM_PAGE_BYTES, "identity is page 0");
tr_static_assert(sizeof(union tr_shm_life) == 64, "a mutex fits");

/* A sender's way into this segment. A lane stays with the name it was made for as long as the
 * segment lives, so that a stopped sender that wakes up can only disturb itself.
 *
 * To connect, a sender stores a new number into `request`. The receiver, when it has read what a
 * former connection left, zeroes the first header, and answers with the same number in `accepted`;
 * both begin at position 0. A receiver that does not understand what it reads sets `accepted` to 0.
 */
struct tr_shm_lane {
    /* Written by the receiver, once. */
    char sender[TR_SHM_NAME_BYTES];
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u32 assigned; /* 1: `sender` is set */
    /* Written by the sender. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 request; /* 0: not connected */
    /* Written by the receiver. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 head; /* positions below may be written again */
    tr_atomic_u64 accepted;                       /* 0: nobody may send */
};
tr_static_assert(sizeof(struct tr_shm_lane) == 256, "four cache lines");

/* A one-sided ring. `fence` is the word of design section 3: the generation that may write, or 0.
 */
struct tr_shm_ring {
    /* Written by the owner (by a successor, when the owner is dead); read by the writer after each
     * write, so nothing that changes lies with it. */
    tr_atomic_u64 fence;
    uint64_t offset; /* in the segment */
    uint32_t bytes;
    uint32_t writer; /* node */
    /* Written by the owner as it reads. */
    TR_ALIGNED(TR_CACHE_LINE) tr_atomic_u64 consumed;
};
tr_static_assert(sizeof(struct tr_shm_ring) == 128, "two cache lines");

/* Header of a message in a lane: a word that is 0 until the message is whole. Messages start on
 * cache lines. The upper half is the position in cache lines, so that whoever is out of step
 * notices; the lower half is the length, or TR_SHM_SKIP: the next message is at the start of the
 * lane. */
#define TR_SHM_HEAD_BYTES 8u
#define TR_SHM_SKIP       UINT32_MAX

/* The header of a message, or of a skip, at a position. */
static inline uint64_t tr_shm_head(uint64_t position, uint32_t bytes)
{
    return (position / TR_CACHE_LINE) << 32 | bytes;
}

/* Bytes that a message takes in a lane. */
static inline uint32_t tr_shm_message_room(uint32_t bytes)
{
    return tr_align_up_u32(bytes + TR_SHM_HEAD_BYTES, TR_CACHE_LINE);
}

/* A sender that finds the receiver close behind goes back to the start of the lane after so many
 * bytes: the lines that it writes then are still in its cache. */
static inline uint32_t tr_shm_window_bytes(uint32_t lane_bytes)
{
    return tr_min_u32(lane_bytes / 4, 64u << 10);
}

/* The receiver tells how far it read after so many bytes, and when it has nothing else to do. */
static inline uint32_t tr_shm_publish_bytes(uint32_t lane_bytes)
{
    return tr_shm_window_bytes(lane_bytes) / 4;
}

/* The smallest lane for messages of a size, not below the bytes asked for. Arithmetic: the rest of
 * the lane that a message did not fit into, the message, their headers, and what is read and not
 * told: together they must fit, or an empty lane could refuse a message for ever. Returns: 0 when
 * too large. */
static inline uint32_t tr_shm_lane_bytes(uint32_t message_bytes_max, uint32_t asked)
{
    uint64_t least = 2 * ((uint64_t)message_bytes_max + 3 * TR_CACHE_LINE) + (16u << 10);
    uint32_t bytes = TR_SHM_LANE_BYTES_MIN;
    while (bytes < TR_SHM_LANE_BYTES_MAX && (bytes < least || bytes < asked))
        bytes *= 2;
    return bytes >= least && bytes >= asked ? bytes : 0;
}

/* True if a segment of this shape can be. */
static inline bool tr_shm_shape_ok(const struct tr_shm_shape *shape)
{
    return shape->lane_count >= 1 && shape->lane_count <= TR_SHM_LANES_MAX &&
           shape->lane_bytes >= TR_SHM_LANE_BYTES_MIN &&
           shape->lane_bytes <= TR_SHM_LANE_BYTES_MAX && tr_is_power_of_two(shape->lane_bytes) &&
           shape->ring_count <= TR_SHM_RINGS_MAX && shape->message_bytes_max >= 1 &&
           shape->message_bytes_max <= shape->lane_bytes / 2 &&
           tr_shm_lane_bytes(shape->message_bytes_max, 0) <= shape->lane_bytes;
}

/* Offsets in a segment. */
struct tr_shm_layout {
    uint64_t lanes, rings, lane_data, ring_data;
};

/* Where everything is in a segment of this shape. */
static inline struct tr_shm_layout tr_shm_layout_of(const struct tr_shm_shape *shape)
{
    struct tr_shm_layout at;
    at.lanes = TR_SHM_PAGE_BYTES;
    at.rings = at.lanes + (uint64_t)shape->lane_count * sizeof(struct tr_shm_lane);
    at.lane_data = tr_align_up_u64(
        at.rings + (uint64_t)shape->ring_count * sizeof(struct tr_shm_ring), TR_SHM_PAGE_BYTES);
    at.ring_data = at.lane_data + (uint64_t)shape->lane_count * shape->lane_bytes;
    return at;
}

TR_END_C

#endif
