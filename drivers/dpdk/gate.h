/* The gate between the ports that poll memif interfaces and EAL's thread, which unmaps the memory
 * of an interface as soon as its peer is gone, whoever is reading it: without more, the death of
 * one process could be that of its neighbours.
 *
 * EAL's thread is kept in a function of ours, where it waits for anything that it has to do, and
 * does it while the gate is shut for ports, which do without their bursts meanwhile. A port that
 * enters and the thread that shuts the gate each set their own word, issue a full fence, and read
 * the other's: one of them sees the other (Dekker). */
#ifndef TR_DRIVERS_DPDK_GATE_H
#define TR_DRIVERS_DPDK_GATE_H

#include "base/atomic.h"
#include "base/types.h"

TR_BEGIN_C

/* One port's place. Written by its thread; the list is EAL's thread's alone. */
struct tr_gate_slot {
    TR_ALIGNED(TR_CACHE_LINE) uint32_t is_inside;
    const uint32_t *is_shut; /* the gate's word */
    struct tr_gate_slot *next;
};

/* Goes in. Returns: false while the gate is shut: come again later. Thread: the port's. Cost: a
 * full fence. */
static inline bool tr_gate_enter(struct tr_gate_slot *slot)
{
    tr_store_relaxed(&slot->is_inside, 1);
    tr_fence_full(); /* meets the fence of shut() in gate.c */
    if (tr_likely(tr_load_relaxed(slot->is_shut) == 0)) {
        /* Meets the release of open() in gate.c: what was done while it was shut is seen. */
        tr_fence_acquire();
        return true;
    }
    tr_store_release(&slot->is_inside, 0);
    return false;
}

/* Goes out again; meets the acquire of shut() in gate.c. */
static inline void tr_gate_leave(struct tr_gate_slot *slot)
{
    tr_store_release(&slot->is_inside, 0);
}

/* Adds a port, whose slot must stay until it is removed. Returns: TR_OK or TR_ESYS. Thread: any,
 * with EAL's lock. */
int tr_gate_add(struct tr_gate_slot *slot);

/* Removes it. Its thread is outside. */
void tr_gate_remove(struct tr_gate_slot *slot);

/* What EAL's thread does besides, the gate being shut: now and then, or never any more. */
struct tr_gate_chore {
    /* Returns: when to be run next, in ns of the monotonic clock. */
    uint64_t (*run)(struct tr_gate_chore *chore, uint64_t now_ns);
    uint64_t due_ns;
    uint64_t begun_ns; /* the owner's: when it tried last */
    struct tr_gate_chore *next;
};

/* Adds and removes one. Thread: EAL's. */
void tr_gate_chore_add(struct tr_gate_chore *chore);
void tr_gate_chore_remove(struct tr_gate_chore *chore);

TR_END_C

#endif
