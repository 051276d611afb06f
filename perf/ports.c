#include "perf/ports.h"

#include "base/bytes.h"
#include "drivers/module.h"
#include "perf/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tr_perf_ports_make(struct tr_perf_ports *ports, const struct tr_perf_floor_shape *shape,
                       uint32_t message_bytes, char *error, size_t error_bytes)
{
    memset(ports, 0, sizeof(*ports));
    ports->shape = shape;
    ports->is_shared = shape->places->is_shared && shape->engine != NULL;
    ports->message_bytes = message_bytes;
    return tr_driver_load(shape->driver, &ports->driver, error, error_bytes);
}

/* Memory of ports lives as long as the process. */
static void *allocate(void *context, size_t bytes, size_t align)
{
    (void)context;
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}

static const struct tr_perf_place *place_of(const struct tr_perf_ports *ports, uint32_t index)
{
    return &ports->shape->places->floor[index];
}

tr_node_id tr_perf_ports_id(const struct tr_perf_ports *ports, uint32_t index)
{
    return place_of(ports, index)->id;
}

/* Opens a port of the floor's own. */
static struct tr_port *open_port(struct tr_perf_ports *ports, uint32_t index)
{
    const struct tr_perf_place *place = place_of(ports, index);
    char error[512] = "";
    struct tr_port_options options = {.struct_bytes = sizeof(options),
                                      .self = place->id,
                                      .address = place->address,
                                      .queue_count = 1,
                                      .peers_max = tr_max_u32(ports->shape->followers, 1),
                                      .message_bytes_max = tr_max_u32(ports->message_bytes, 4096),
                                      .seed = index + 1,
                                      .memory = {.allocate = allocate},
                                      .extra = place->options,
                                      .error = error,
                                      .error_bytes = sizeof(error)};
    struct tr_port *port = NULL;
    uint32_t last = index == 0 ? ports->shape->followers : 0;
    int result = ports->driver->open(&options, &port);
    for (uint32_t peer = index == 0 ? 1 : 0; peer <= last && result == TR_OK; peer++)
        result = ports->driver->peer_add(port, tr_perf_ports_id(ports, peer),
                                         place_of(ports, peer)->address);
    if (result == TR_OK)
        return port;
    fprintf(stderr, "floor: %s: %s (%s)\n", place->address, error, tr_strerror(result));
    if (port != NULL)
        ports->driver->close(port);
    return NULL;
}

struct tr_port *tr_perf_ports_take(struct tr_perf_ports *ports, uint32_t index)
{
    if (ports->port[index] == NULL)
        ports->port[index] = ports->is_shared ? tr_perf_engine_port(ports->shape->engine, index)
                                              : open_port(ports, index);
    return ports->port[index];
}

void tr_perf_ports_events(const struct tr_perf_ports *ports, struct tr_port *port)
{
    struct tr_port_event events[8];
    if (!ports->is_shared)
        ports->driver->events(port, events, TR_ARRAY_COUNT(events));
}

void tr_perf_ports_close(struct tr_perf_ports *ports)
{
    for (uint32_t i = 0; i < TR_ARRAY_COUNT(ports->port); i++) {
        if (ports->port[i] != NULL && !ports->is_shared)
            ports->driver->close(ports->port[i]);
        ports->port[i] = NULL;
    }
}

uint64_t tr_perf_quorum_commands(const struct tr_perf_mark *acked, uint32_t followers,
                                 uint32_t needed, uint64_t sent)
{
    uint64_t best = needed == 0 ? sent : 0;
    for (uint32_t i = 0; i < followers && needed > 0; i++) {
        uint32_t as_many = 0;
        for (uint32_t j = 0; j < followers; j++)
            as_many += acked[j].commands >= acked[i].commands;
        if (as_many >= needed)
            best = tr_max_u64(best, acked[i].commands);
    }
    return best;
}
