/* Ports of a node's polling cores: opening them, and adding the peers. */
#include "dataplane/node.h"

#include "trireme/error.h"

/* Adds all peers to a new port. */
static int add_peers(struct tr_node *node, struct tr_lcore *l, char *error, size_t error_bytes)
{
    for (uint32_t i = 0; i < node->peer_count; i++) {
        if (node->peer[i].node == node->self)
            continue;
        int status = l->driver->peer_add(l->port, node->peer[i].node, node->peer[i].address);
        if (status != TR_OK)
            return tr_fail(status, error, error_bytes, "peer %u at \"%s\": %s", node->peer[i].node,
                           node->peer[i].address, tr_strerror(status));
    }
    return TR_OK;
}

const char *tr_node_address(const struct tr_node *node)
{
    for (uint32_t i = 0; i < node->peer_count; i++)
        if (node->peer[i].node == node->self)
            return node->peer[i].address;
    return NULL;
}

struct tr_port_options tr_node_port_options(struct tr_node *node, uint32_t lcore)
{
    return (struct tr_port_options){
        .struct_bytes = sizeof(struct tr_port_options),
        .self = node->self,
        .address = tr_node_address(node),
        .queue_index = lcore,
        .queue_count = node->lcore_count,
        .peers_max = node->peer_count,
        .message_bytes_max = node->wire_bytes_max,
        .memory = tr_arena_memory(&node->arena),
        .memory_nodes = node->placement.memory_nodes,
        .fabric = tr_node_fabric(node->driver, node->fabric),
        .extra = node->driver_options,
    };
}

int tr_node_open_at(struct tr_node *node, struct tr_port_options *options, const char *whose,
                    struct tr_port **out, char *error, size_t error_bytes)
{
    char why[256] = "";
    options->seed = tr_prng_next(&node->random) | 1;
    options->error = why;
    options->error_bytes = sizeof(why);
    tr_placement_lean(&node->placement);
    int status = node->driver->open(options, out);
    tr_placement_straighten(&node->placement);
    if (status != TR_OK)
        return tr_fail(status, error, error_bytes, "%s (driver %s, %s%s)",
                       why[0] != '\0' ? why : tr_strerror(status), node->driver->name, whose,
                       options->address);
    if (why[0] != '\0')
        tr_log(&node->logger, TR_LOG_WARN, "%s", why); /* it opened, with less than it wanted */
    return TR_OK;
}

int tr_node_open_port(struct tr_node *node, struct tr_lcore *l, char *error, size_t error_bytes)
{
    if (l->port != NULL)
        return TR_OK;
    struct tr_port_options options = tr_node_port_options(node, l->index);
    int status = tr_node_open_at(node, &options, "", &l->port, error, error_bytes);
    if (status != TR_OK)
        return status;
    l->driver = tr_port_driver(l->port);
    l->driver->limits(l->port, &l->limits);
    tr_placement_lean(&node->placement); /* for what libraries take for peers */
    status = add_peers(node, l, error, error_bytes);
    tr_placement_straighten(&node->placement);
    return status;
}
