/* Placement by libhwloc. */
#include "dataplane/placement.h"

#include "base/bytes.h"
#include "trireme/error.h"

#include <dirent.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES_PATH    "/sys/devices/system/node/online"
#define ISOLATED_PATH "/sys/devices/system/cpu/isolated"
#define TICKLESS_PATH "/sys/devices/system/cpu/nohz_full"
#define NETWORK_PATH  "/sys/class/net"

/* Interfaces one upon the other: a VLAN of a bond, behind a bridge. */
#define LOWER_MAX 4

/* A CPU that may be chosen. */
struct candidate {
    int cpu;
    unsigned core;  /* in the order of the machine */
    unsigned rank;  /* how many of its core go before it */
    bool is_common; /* others run there, too */
};

/* ---- what the kernel says in files */

/* The first line of a file; "" when there is none. */
static void read_line(const char *path, char *out, size_t out_bytes)
{
    FILE *file = fopen(path, "re");
    out[0] = '\0';
    if (file == NULL)
        return;
    if (fgets(out, (int)out_bytes, file) == NULL)
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    fclose(file);
}

/* Whether there is but one NUMA node: then nothing is to be chosen, nor to be loaded for it. */
static bool has_one_node(void)
{
    char line[256];
    read_line(NODES_PATH, line, sizeof(line));
    return strpbrk(line, ",-") == NULL;
}

/* CPUs that the kernel keeps others off. Returns: a set, or NULL without memory. */
static hwloc_bitmap_t isolated_cpus(const char *list)
{
    static const char *const paths[] = {ISOLATED_PATH, TICKLESS_PATH};
    char line[1024];
    hwloc_bitmap_t all = hwloc_bitmap_alloc(), some = hwloc_bitmap_alloc();
    for (size_t i = 0; all != NULL && some != NULL && i < TR_ARRAY_COUNT(paths); i++) {
        if (list == NULL)
            read_line(paths[i], line, sizeof(line));
        /* The kernel writes "(null)" for a list that it does not have. */
        if (hwloc_bitmap_list_sscanf(some, list != NULL ? list : line) == 0 &&
            hwloc_bitmap_weight(some) > 0)
            hwloc_bitmap_or(all, all, some);
    }
    hwloc_bitmap_free(some);
    return all;
}

/* Puts in place of an interface's name that of the one below it, of several the first by name.
 * Returns: false when there is none. */
static bool step_down(const char *interfaces, char name[TR_DEVICE_NAME_BYTES])
{
    static const char mark[] = "lower_";
    char path[256], found[TR_DEVICE_NAME_BYTES] = "";
    const struct dirent *entry;
    snprintf(path, sizeof(path), "%s/%s", interfaces, name);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return false;
    while ((entry = readdir(directory)) != NULL) {
        const char *lower = entry->d_name + strlen(mark);
        if (strncmp(entry->d_name, mark, strlen(mark)) == 0 && strlen(lower) < sizeof(found) &&
            (found[0] == '\0' || strcmp(lower, found) < 0))
            strcpy(found, lower);
    }
    closedir(directory);
    if (found[0] == '\0')
        return false;
    strcpy(name, found);
    return true;
}

/* ---- the topology */

static hwloc_topology_t load(const struct tr_placement_options *o)
{
    static const char *const unwanted[] = {"cuda", "gl", "levelzero", "nvml", "opencl", "rsmi"};
    hwloc_topology_t topology;
    int result = 0;
    if (hwloc_topology_init(&topology) != 0)
        return NULL;
    for (size_t i = 0; i < TR_ARRAY_COUNT(unwanted); i++)
        hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST,
                                      unwanted[i]);
    if (o->topology != NULL)
        result = hwloc_topology_set_xml(topology, o->topology);
    if (result == 0 && o->is_this_machine)
        result = hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_IS_THISSYSTEM);
    if (result == 0)
        result = hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (result == 0)
        result = hwloc_topology_load(topology);
    if (result == 0)
        return topology;
    hwloc_topology_destroy(topology);
    return NULL;
}

static hwloc_obj_t find_os_device(hwloc_topology_t topology, hwloc_obj_osdev_type_t type,
                                  const char *name)
{
    hwloc_obj_t device = hwloc_get_next_osdev(topology, NULL);
    while (device != NULL && (device->attr->osdev.type != type || strcmp(device->name, name) != 0))
        device = hwloc_get_next_osdev(topology, device);
    return device;
}

static hwloc_obj_t find_device(hwloc_topology_t topology, const struct tr_device *device)
{
    switch (device->kind) {
    case TR_DEVICE_NONE:
        return NULL;
    case TR_DEVICE_PCI:
        return hwloc_get_pcidev_by_busidstring(topology, device->name);
    case TR_DEVICE_NETWORK:
        return find_os_device(topology, HWLOC_OBJ_OSDEV_NETWORK, device->name);
    case TR_DEVICE_RDMA:
        return find_os_device(topology, HWLOC_OBJ_OSDEV_OPENFABRICS, device->name);
    }
    return NULL;
}

/* What the device hangs from. NULL: it is not there. */
static hwloc_obj_t home_of(hwloc_topology_t topology, const struct tr_device *device)
{
    hwloc_obj_t found = find_device(topology, device);
    return found != NULL ? hwloc_get_non_io_ancestor_obj(topology, found) : NULL;
}

static bool is_near_all(hwloc_topology_t topology, hwloc_obj_t home)
{
    return hwloc_bitmap_isequal(home->nodeset, hwloc_get_root_obj(topology)->nodeset) != 0;
}

/* The same; of an interface without a place of its own, of those below it. */
static hwloc_obj_t find_home(hwloc_topology_t topology, const struct tr_placement_options *o)
{
    const char *interfaces = o->interfaces != NULL ? o->interfaces : NETWORK_PATH;
    struct tr_device device = *o->device;
    hwloc_obj_t home = home_of(topology, &device);
    for (int i = 0; i < LOWER_MAX && device.kind == TR_DEVICE_NETWORK; i++) {
        if ((home != NULL && !is_near_all(topology, home)) || !step_down(interfaces, device.name))
            break;
        hwloc_obj_t lower = home_of(topology, &device);
        home = lower != NULL ? lower : home;
    }
    return home;
}

/* ---- the order of CPUs */

static int by_core(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->core != y->core)
        return x->core < y->core ? -1 : 1;
    if (x->is_common != y->is_common)
        return x->is_common ? 1 : -1;
    return x->cpu - y->cpu;
}

static int by_worth(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->is_common != y->is_common)
        return x->is_common ? 1 : -1;
    return x->core < y->core ? -1 : 1;
}

/* The CPUs among `near` that may be used, in no order. Returns how many. */
static uint32_t gather(hwloc_topology_t topology, hwloc_const_bitmap_t near,
                       const cpu_set_t *usable, hwloc_const_bitmap_t isolated,
                       struct candidate *out)
{
    uint32_t count = 0;
    hwloc_obj_t pu = NULL;
    while ((pu = hwloc_get_next_obj_inside_cpuset_by_type(topology, near, HWLOC_OBJ_PU, pu)) !=
           NULL) {
        hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, pu);
        if (pu->os_index >= CPU_SETSIZE || !CPU_ISSET(pu->os_index, usable))
            continue;
        out[count++] = (struct candidate){
            .cpu = (int)pu->os_index,
            .core = core != NULL ? core->logical_index : pu->logical_index,
            .is_common = !hwloc_bitmap_isset(isolated, pu->os_index),
        };
    }
    return count;
}

/* Puts the CPUs in order into p. Returns how many of them are isolated. */
static uint32_t rank(struct tr_placement *p, struct candidate *list, uint32_t count)
{
    uint32_t isolated = 0;
    qsort(list, count, sizeof(*list), by_core);
    for (uint32_t i = 1; i < count; i++)
        list[i].rank = list[i].core == list[i - 1].core ? list[i - 1].rank + 1 : 0;
    qsort(list, count, sizeof(*list), by_worth);
    for (uint32_t i = 0; i < count; i++) {
        p->cpu[i] = list[i].cpu;
        CPU_SET((size_t)list[i].cpu, &p->near);
        isolated += !list[i].is_common;
    }
    p->cpu_count = count;
    return isolated;
}

/* ---- the choice */

/* A policy that the process was started with stays (numactl). */
static bool has_policy(hwloc_topology_t topology)
{
    hwloc_membind_policy_t policy = HWLOC_MEMBIND_DEFAULT;
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    bool is_set = set != NULL &&
                  hwloc_get_membind(topology, set, &policy,
                                    HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET) == 0 &&
                  (policy == HWLOC_MEMBIND_BIND || policy == HWLOC_MEMBIND_INTERLEAVE);
    hwloc_bitmap_free(set);
    return is_set;
}

static void choose_memory(struct tr_placement *p)
{
    int node;
    if (has_policy(p->topology))
        return;
    hwloc_bitmap_foreach_begin(node, p->nodeset) if (node < 64) p->memory_nodes |= UINT64_C(1)
                                                                                   << node;
    hwloc_bitmap_foreach_end();
}

static void describe(struct tr_placement *p, const struct tr_device *device, uint32_t isolated)
{
    char nodes[64], cpus[96];
    size_t used = 0;
    hwloc_bitmap_list_snprintf(nodes, sizeof(nodes), p->nodeset);
    for (uint32_t i = 0; i < p->cpu_count && used < sizeof(cpus) - 16; i++)
        used +=
            (size_t)snprintf(cpus + used, sizeof(cpus) - used, "%s%d", i > 0 ? "," : "", p->cpu[i]);
    snprintf(p->why, sizeof(p->why),
             "%s is near NUMA node %s of %d: CPUs there, the best first: %s%s (%u isolated); "
             "memory %s",
             device->name, nodes, hwloc_get_nbobjs_by_type(p->topology, HWLOC_OBJ_NUMANODE), cpus,
             used < sizeof(cpus) - 16 ? "" : ",...", isolated,
             p->memory_nodes != 0 ? "from there" : "by the policy of the process");
}

/* With the topology loaded: whether the device is nearer to some than to others of its CPUs. */
static bool choose(struct tr_placement *p, const struct tr_placement_options *o,
                   const cpu_set_t *usable)
{
    struct candidate list[TR_PLACEMENT_CPUS_MAX];
    const char *name = o->device->name;
    hwloc_obj_t home = find_home(p->topology, o);
    if (home == NULL) {
        snprintf(p->why, sizeof(p->why), "%s is no device that libhwloc knows", name);
        return false;
    }
    if (is_near_all(p->topology, home)) {
        snprintf(p->why, sizeof(p->why), "%s is as near to one NUMA node as to another", name);
        return false;
    }
    hwloc_bitmap_t isolated = isolated_cpus(o->isolated);
    p->nodeset = hwloc_bitmap_dup(home->nodeset);
    uint32_t isolated_count = 0;
    if (isolated != NULL && p->nodeset != NULL)
        isolated_count = rank(p, list, gather(p->topology, home->cpuset, usable, isolated, list));
    hwloc_bitmap_free(isolated);
    if (p->cpu_count == 0) {
        snprintf(p->why, sizeof(p->why), "none of the CPUs near %s may be used (taskset, cpusets)",
                 name);
        return false;
    }
    choose_memory(p);
    describe(p, o->device, isolated_count);
    return true;
}

bool tr_placement_open(struct tr_placement *p, const struct tr_placement_options *o)
{
    cpu_set_t usable;
    memset(p, 0, sizeof(*p));
    if (o->device->kind == TR_DEVICE_NONE) {
        snprintf(p->why, sizeof(p->why), "no device of the machine");
        return false;
    }
    if (o->topology == NULL && has_one_node()) {
        snprintf(p->why, sizeof(p->why), "%s, and one NUMA node", o->device->name);
        return false;
    }
    if (o->usable != NULL)
        usable = *o->usable;
    else if (sched_getaffinity(0, sizeof(usable), &usable) != 0)
        CPU_ZERO(&usable);
    p->topology = load(o);
    if (p->topology == NULL)
        snprintf(p->why, sizeof(p->why), "libhwloc cannot tell the topology of the machine");
    else if (choose(p, o, &usable))
        return true;
    tr_placement_close(p);
    return false;
}

void tr_placement_close(struct tr_placement *p)
{
    hwloc_bitmap_free(p->nodeset);
    if (p->topology != NULL)
        hwloc_topology_destroy(p->topology);
    p->topology = NULL;
    p->nodeset = NULL;
    p->memory_nodes = 0;
    p->cpu_count = 0;
    CPU_ZERO(&p->near);
}

/* ---- memory */

/* Not strict: where there is nothing left near, elsewhere is better than nowhere. */
int tr_placement_memory(void *context, void *base, size_t bytes)
{
    const struct tr_placement *p = (const struct tr_placement *)context;
    if (p->memory_nodes == 0)
        return TR_OK;
    return hwloc_set_area_membind(p->topology, base, bytes, p->nodeset, HWLOC_MEMBIND_BIND,
                                  HWLOC_MEMBIND_BYNODESET) == 0
               ? TR_OK
               : TR_EPERM;
}

void tr_placement_lean(const struct tr_placement *p)
{
    if (p->memory_nodes != 0)
        hwloc_set_membind(p->topology, p->nodeset, HWLOC_MEMBIND_BIND,
                          HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET);
}

void tr_placement_straighten(const struct tr_placement *p)
{
    if (p->memory_nodes != 0)
        hwloc_set_membind(p->topology, hwloc_topology_get_topology_nodeset(p->topology),
                          HWLOC_MEMBIND_DEFAULT, HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET);
}
