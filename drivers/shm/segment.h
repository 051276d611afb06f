/* Segments of the shm driver: files under /dev/shm that are made, attached, taken over and closed
 * here.
 *
 * The rule that governs this file (safety rule 1): a write into a dead process's ring counts until
 * that ring is fenced, so a segment that replaces another appears under its name only after every
 * ring of the other was fenced for ever. A name always leads to the newest segment, and the one
 * before is fenced.
 *
 * Whether an owner lives is told by two things: a lock on its file, which the kernel drops when the
 * process is gone, and a robust mutex in the segment, whose word the kernel marks when the owning
 * thread ends (70-320 us after a SIGKILL, long before the memory of a large process is torn down).
 * Reading that word costs no system call. */
#ifndef TR_DRIVERS_SHM_SEGMENT_H
#define TR_DRIVERS_SHM_SEGMENT_H

#include "drivers/shm/layout.h"

TR_BEGIN_C

/* A segment that this process has mapped, its own or a peer's. All zero: none. */
struct tr_shm_segment {
    unsigned char *base; /* NULL: not mapped */
    struct tr_shm_shape shape;
    struct tr_shm_layout at;
    uint64_t incarnation;
    uint64_t inode;
    int fd;
    uint32_t ring_made; /* own only: rings in use */
    uint32_t life_word; /* own only: where in a mutex the kernel's word is */
    pthread_t owner;    /* own only: who holds one of the mutexes */
    char path[128];
};

/* Where the reason of a failure goes, for a person. */
struct tr_shm_reason {
    char *text;
    size_t bytes;
};

/* The name in "shm:NAME", or NULL: letters, digits, '.', '_' and '-', not a '.' first, 63 at most.
 */
const char *tr_shm_address_name(const char *address);

/* Makes this process's segment and gives it its name; what a dead process left under the name is
 * fenced for ever and replaced. The calling thread becomes the owner. Returns: TR_OK; TR_EBUSY when
 * a living process has the name; TR_EPERM, TR_EADDR when what is there is not ours to replace;
 * TR_ENOMEM. */
tr_nodiscard int tr_shm_segment_create(struct tr_shm_segment *segment, const char *name,
                                       uint32_t queue, const struct tr_shm_shape *shape,
                                       uint64_t incarnation, struct tr_shm_reason why);

/* Fences every ring for ever, says that it is closed, takes the name away and unmaps.
 * Thread: the owner. */
void tr_shm_segment_close(struct tr_shm_segment *segment);

/* Maps a peer's segment, if one is there whose owner lives and that is not `inode`.
 * Returns: TR_OK; TR_AGAIN when there is none; TR_EPERM, TR_EPROTO when what is there is not to be
 * trusted.  Cost: a few system calls, and page faults for the control blocks. */
tr_nodiscard int tr_shm_segment_attach(struct tr_shm_segment *segment, const char *name,
                                       uint32_t queue, uint64_t inode);

/* Unmaps a peer's segment. */
void tr_shm_segment_detach(struct tr_shm_segment *segment);

/* True while the thread that owns the segment is there and has not closed it.
 * Cost: three loads of lines that hardly ever change; no system call. */
bool tr_shm_segment_lives(const struct tr_shm_segment *segment);

/* True if the calling thread is the owner. Cost: a comparison. */
static inline bool tr_shm_life_is_mine(const struct tr_shm_segment *segment)
{
    return pthread_equal(segment->owner, pthread_self());
}

/* Makes the calling thread the owner, when ports move between threads (opened by one, polled by
 * another). Without room for one more owner, the owner stays. */
void tr_shm_life_adopt(struct tr_shm_segment *segment);

/* Takes memory for a piece of the own segment's control blocks or lanes, and faults it in.
 * Returns: TR_OK, TR_ENOMEM. */
tr_nodiscard int tr_shm_segment_reserve(struct tr_shm_segment *segment, uint64_t offset,
                                        uint64_t bytes);

/* Faults in a piece of what is mapped, so that the first lap costs no page faults. Best effort. */
void tr_shm_segment_populate(struct tr_shm_segment *segment, uint64_t offset, uint64_t bytes);

/* Makes the memory of a ring, in the own segment. Returns: TR_OK, TR_ENOMEM. */
tr_nodiscard int tr_shm_segment_extend(struct tr_shm_segment *segment, uint64_t offset,
                                       uint64_t bytes);

/* Maps a ring, which lies behind the part that is always mapped, and faults it in.
 * Returns: NULL if the file ends before the ring does, or there is no room. */
void *tr_shm_segment_map(const struct tr_shm_segment *segment, uint64_t offset, uint64_t bytes);

/* Unmaps it. */
void tr_shm_segment_unmap(void *memory, uint64_t bytes);

/* Bytes of the segment's file as it is now: what lies below can be touched. */
uint64_t tr_shm_segment_file_bytes(const struct tr_shm_segment *segment);

/* Page 0 of a segment. */
static inline struct tr_shm_identity *tr_shm_identity_of(const struct tr_shm_segment *segment)
{
    return (struct tr_shm_identity *)(void *)segment->base;
}

/* The control block of a lane below lane_count. */
static inline struct tr_shm_lane *tr_shm_lane_of(const struct tr_shm_segment *segment,
                                                 uint32_t lane)
{
    return (struct tr_shm_lane *)(void *)(segment->base + segment->at.lanes) + lane;
}

/* The control block of a ring below ring_count. */
static inline struct tr_shm_ring *tr_shm_ring_of(const struct tr_shm_segment *segment,
                                                 uint32_t ring)
{
    return (struct tr_shm_ring *)(void *)(segment->base + segment->at.rings) + ring;
}

/* The messages of a lane. */
static inline unsigned char *tr_shm_lane_data(const struct tr_shm_segment *segment, uint32_t lane)
{
    return segment->base + segment->at.lane_data + (uint64_t)lane * segment->shape.lane_bytes;
}

TR_END_C

#endif
