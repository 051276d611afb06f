/* Where the threads and the memory of a node go. */
#include "dataplane/node.h"

#include "trireme/error.h"

void tr_node_place(struct tr_node *node, const struct tr_placement_options *options)
{
    tr_placement_close(&node->placement);
    tr_placement_open(&node->placement, options);
    node->arena.place = tr_placement_memory;
    node->arena.place_context = &node->placement;
    tr_log(&node->logger, TR_LOG_INFO, "placement: %s", node->placement.why);
}

void tr_node_place_by_device(struct tr_node *node)
{
    struct tr_device device = {.kind = TR_DEVICE_NONE};
    struct tr_port_options options = tr_node_port_options(node, 0);
    if (node->driver->device != NULL)
        node->driver->device(&options, &device);
    tr_node_place(node, &(struct tr_placement_options){.device = &device});
}

void tr_node_keep_named(struct tr_node *node)
{
    for (uint32_t i = 0; i < node->lcore_count; i++) {
        int cpu = node->lcore[i].cpu;
        if (cpu < 0)
            continue;
        tr_placement_exclude(&node->placement, cpu);
        if (node->placement.topology != NULL && !CPU_ISSET((size_t)cpu, &node->placement.near))
            tr_log(&node->logger, TR_LOG_WARN,
                   "polling core %u: CPU %d, as it was asked for, is not near the device", i, cpu);
    }
}

int tr_node_settle(struct tr_node *node)
{
    if (node->state != TR_NODE_SETUP)
        return TR_EPERM;
    int status = tr_lcore_settle(&node->lcore[0]);
    for (uint32_t i = 1; i < node->lcore_count; i++)
        node->lcore[i].cpu = node->lcore[0].cpu;
    return status;
}

void tr_node_tell_far(const struct tr_node *node)
{
    cpu_set_t set, near;
    if (node->placement.topology == NULL || sched_getaffinity(0, sizeof(set), &set) != 0)
        return;
    CPU_AND(&near, &set, &node->placement.near);
    if (!CPU_EQUAL(&near, &set))
        tr_log(&node->logger, TR_LOG_WARN,
               "the thread that polls may run on CPUs that are not near the device: keep it on "
               "the ones that are");
}
