/*
 * Where a node's polling threads and memory are best: near the device that its ports work through.
 *
 * A driver tells the device (tr_driver.device), libhwloc the NUMA nodes and CPUs that are near it.
 * CPUs come in the order in which they are taken: one of each core before their siblings, among
 * those the ones that the kernel keeps others off (isolcpus, nohz_full), never one outside of what
 * the process may use. Memory is asked for there, and comes from elsewhere where there is none
 * left.
 *
 * There is no preference, and nothing is done, when the machine has one NUMA node, the device is
 * none or not known, or the build has no libhwloc (placement_none.c). All of it is for setup.
 */
#ifndef TR_DATAPLANE_PLACEMENT_H
#define TR_DATAPLANE_PLACEMENT_H

#include "base/types.h"
#include "drivers/driver.h"

#include <sched.h>

TR_BEGIN_C

#define TR_PLACEMENT_CPUS_MAX CPU_SETSIZE

struct hwloc_topology;
struct hwloc_bitmap_s;

/* What to decide by. */
struct tr_placement_options {
    const struct tr_device *device;
    const char *topology;    /* a file of hwloc's XML instead of this machine; NULL: this machine */
    bool is_this_machine;    /* the file describes this machine: memory is placed by it */
    const char *isolated;    /* CPUs that others are kept off, "2-5,8"; NULL: as the kernel says */
    const char *interfaces;  /* where the kernel lists network interfaces; NULL: /sys/class/net */
    const cpu_set_t *usable; /* CPUs to choose among; NULL: those of the calling thread */
};

struct tr_placement {
    struct hwloc_topology *topology; /* NULL: no preference */
    struct hwloc_bitmap_s *nodeset;  /* the NUMA nodes near the device */
    uint64_t memory_nodes;           /* those of them from 0 to 63, as bits; 0: memory is let be */
    cpu_set_t near;                  /* CPUs near it that may be used; */
    uint32_t cpu_count;
    int cpu[TR_PLACEMENT_CPUS_MAX]; /* of them, those to choose from, the best first */
    char why[384];                  /* a line for the log: what was found */
};

/* Finds out; of an interface upon others (a VLAN, a bond, a bridge) by the one that is below it.
 * Returns whether there is a preference; p->why says what, or why none. Cost: where
 * there are several NUMA nodes and a device, tens of milliseconds. */
bool tr_placement_open(struct tr_placement *p, const struct tr_placement_options *options);
void tr_placement_close(struct tr_placement *p);

/* Takes a CPU from those to choose from: somebody has it. */
static inline void tr_placement_exclude(struct tr_placement *p, int cpu)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->cpu_count; i++)
        if (p->cpu[i] != cpu)
            p->cpu[kept++] = p->cpu[i];
    p->cpu_count = kept;
}

/* Lets pages of this memory, which is not touched yet, come from near the device. context: a struct
 * tr_placement. Returns TR_OK (also without a preference), TR_EPERM (the kernel refuses). */
int tr_placement_memory(void *context, void *base, size_t bytes);

/* Begins and ends a time in which what the calling thread touches first comes from near the device:
 * for memory that libraries take. Thread: the same for both. */
void tr_placement_lean(const struct tr_placement *p);
void tr_placement_straighten(const struct tr_placement *p);

TR_END_C

#endif
