/* Closing a ring (safety rules 4 to 6).
 *
 * First the permission is taken away: the window is invalidated, or the connection loses its right
 * to WRITE, or it is reset. From then on the device refuses; but a responder may have looked at
 * the permission before, and store after. So then it is settled:
 *  - read: a READ by the same device from this host's memory. It is answered after what the
 *    device had begun to write is visible: a read does not pass posted writes (PCIe, 2.4.1).
 *  - grace: a device in software stores from the kernel's receive path, on any CPU, in sections
 *    that the kernel waits for when it synchronizes RCU: membarrier(MEMBARRIER_CMD_GLOBAL) does.
 * An invalidation that fails (its connection broke, and flushed it) is followed by a reset. */
#include "drivers/verbs/inner.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REVOKE_NS UINT64_C(20000000)

/* A reset that fails is tried again: until then the ring could be written to, and is not fenced. */
static void reset(struct tr_verbs_ring *ring)
{
    bool is_reset = tr_verbs_qp_reset(ring->qp) == 0;
    ring->state = is_reset ? RING_SETTLING : RING_REVOKING;
    ring->is_done = ring->is_failed = true;
}

static void invalidate(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_ring *ring = &port->ring[index];
    struct ibv_send_wr request = {.opcode = IBV_WR_LOCAL_INV, .send_flags = IBV_SEND_SIGNALED};
    struct ibv_send_wr *bad;
    request.wr_id = (uint64_t)index << 32 | ++ring->request;
    request.invalidate_rkey = ring->rkey;
    ring->is_done = ring->is_failed = false;
    ring->end_ns = tr_verbs_now_ns() + REVOKE_NS;
    ring->state = RING_REVOKING;
    if (ibv_post_send(ring->qp, &request, &bad) != 0)
        reset(ring);
}

static void take_flag(struct tr_verbs_ring *ring)
{
    struct ibv_qp_attr attr = {.qp_access_flags = 0};
    ring->state = RING_SETTLING;
    if (ibv_modify_qp(ring->qp, &attr, IBV_QP_ACCESS_FLAGS) != 0)
        reset(ring);
}

int tr_verbs_fence_start(struct tr_port *port, uint32_t index)
{
    tr_assert(index < port->ring_count);
    struct tr_verbs_ring *ring = &port->ring[index];
    if (ring->state == RING_CLOSED)
        return TR_OK;
    if (ring->state == RING_GRANTED) {
        ring->state = RING_CLOSED; /* nobody was told the key */
        return TR_OK;
    }
    if (ring->state != RING_OPEN)
        return TR_AGAIN;
    ring->read = 0;
    port->stats.syscalls += port->device.fence != FENCE_WINDOW;
    if (port->device.fence == FENCE_WINDOW)
        invalidate(port, index);
    else if (port->device.fence == FENCE_ACCESS)
        take_flag(ring);
    else
        reset(ring);
    return TR_AGAIN;
}

/* Waits for every CPU to leave what it was storing. */
static int settle_by_grace(struct tr_port *port)
{
    port->stats.syscalls++;
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0)
        return TR_OK;
    /* Not in this kernel: run on each CPU once, which none does amid its receive path. */
    cpu_set_t before, one;
    if (sched_getaffinity(0, sizeof(before), &before) != 0)
        return TR_AGAIN;
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    int result = TR_OK;
    for (long i = 0; i < count && result == TR_OK; i++) {
        CPU_ZERO(&one);
        CPU_SET((size_t)i, &one);
        if (sched_setaffinity(0, sizeof(one), &one) != 0)
            result = TR_AGAIN;
    }
    sched_setaffinity(0, sizeof(before), &before);
    return result;
}

/* A READ that began after the permission was taken away. */
static int settle_by_read(struct tr_port *port, struct tr_verbs_ring *ring)
{
    if (ring->read == 0)
        ring->read = tr_verbs_read_begin(port);
    int result = ring->read != 0 ? tr_verbs_read_ended(port, ring->read) : TR_AGAIN;
    if (result == TR_EIO)
        ring->read = 0; /* it broke: another one */
    return result == TR_OK ? TR_OK : TR_AGAIN;
}

/* Whether nothing was ever written into a ring that cannot be written to any more. */
static bool is_untouched(const struct tr_verbs_ring *ring)
{
    for (uint32_t i = 0; i < ring->bytes; i += 8) {
        if (tr_load_relaxed((const uint64_t *)(const void *)(ring->memory + i)) != 0)
            return false;
    }
    return true;
}

bool tr_verbs_ring_unused(struct tr_port *port, struct tr_verbs_ring *ring)
{
    uint64_t end_ns = tr_verbs_now_ns() + REVOKE_NS;
    int result;
    if (tr_verbs_qp_reset(ring->qp) != 0)
        return false;
    ring->read = 0;
    do {
        result = port->device.settle == SETTLE_GRACE ? settle_by_grace(port)
                                                     : settle_by_read(port, ring);
    } while (result != TR_OK && tr_verbs_now_ns() < end_ns);
    return result == TR_OK && is_untouched(ring);
}

int tr_verbs_fence_poll(struct tr_port *port, uint32_t index)
{
    tr_assert(index < port->ring_count);
    struct tr_verbs_ring *ring = &port->ring[index];
    if (ring->state == RING_REVOKING) {
        tr_verbs_ring_poll(port);
        if (ring->is_done && !ring->is_failed)
            ring->state = RING_SETTLING;
        else if (ring->is_done || tr_verbs_now_ns() >= ring->end_ns)
            reset(ring);
    }
    if (ring->state == RING_SETTLING &&
        (port->device.settle == SETTLE_GRACE ? settle_by_grace(port)
                                             : settle_by_read(port, ring)) == TR_OK)
        ring->state = RING_CLOSED;
    return ring->state == RING_CLOSED ? TR_OK : TR_AGAIN;
}
