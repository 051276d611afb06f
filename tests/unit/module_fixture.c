/* Modules for the loader's test: a driver that does nothing, in variants that each break one rule
 * of a module (FIXTURE_...), and one that breaks none. */
#include "drivers/module.h"
#include "trireme/error.h"

static int open_nothing(const struct tr_port_options *options, struct tr_port **out)
{
    (void)options;
    (void)out;
    return TR_ENOTSUP;
}

static void close_nothing(struct tr_port *port)
{
    (void)port;
}

static void limits_of_nothing(const struct tr_port *port, struct tr_port_limits *out)
{
    (void)port;
    (void)out;
}

static int peer_add_nowhere(struct tr_port *port, tr_node_id peer, const char *address)
{
    (void)port;
    (void)peer;
    (void)address;
    return TR_EFULL;
}

static int peer_remove_nowhere(struct tr_port *port, tr_node_id peer)
{
    (void)port;
    (void)peer;
    return TR_ENOENT;
}

static uint32_t receive_nothing(struct tr_port *port, struct tr_rx *out, uint32_t max)
{
    (void)port;
    (void)out;
    (void)max;
    return 0;
}

static uint32_t send_nothing(struct tr_port *port, const struct tr_tx *tx, uint32_t count)
{
    (void)port;
    (void)tx;
    (void)count;
    return 0;
}

static int reply_nothing(struct tr_port *port, uint32_t source, const struct tr_segment *segment,
                         uint32_t segment_count)
{
    (void)port;
    (void)source;
    (void)segment;
    (void)segment_count;
    return TR_ENOTSUP;
}

static void flush_nothing(struct tr_port *port)
{
    (void)port;
}

static uint32_t no_events(struct tr_port *port, struct tr_port_event *out, uint32_t max)
{
    (void)port;
    (void)out;
    (void)max;
    return 0;
}

static void no_stats(const struct tr_port *port, struct tr_port_stats *out)
{
    (void)port;
    (void)out;
}

static const struct tr_driver driver = {
    .name = FIXTURE_NAME,
    .abi_bytes = sizeof(struct tr_driver),
    .capabilities = TR_DRIVER_MESSAGES,
    .summary = "for the loader's test",
    .open = open_nothing,
    .close = close_nothing,
    .limits = limits_of_nothing,
    .peer_add = peer_add_nowhere,
    .peer_remove = peer_remove_nowhere,
    .rx_burst = receive_nothing,
    .tx_burst = FIXTURE_SEND,
    .tx_reply = reply_nothing,
    .tx_flush = flush_nothing,
    .events = no_events,
    .stats = no_stats,
};

#if FIXTURE_VERSION != 0
extern const struct tr_driver_module tr_driver_module;
__attribute__((visibility("default"))) const struct tr_driver_module tr_driver_module = {
    .mark = TR_DRIVER_MODULE_MARK,
    .version = FIXTURE_VERSION,
    .driver_bytes = sizeof(struct tr_driver),
    .options_bytes = sizeof(struct tr_port_options),
    .stats_bytes = sizeof(struct tr_port_stats),
    .driver = &driver,
};
#else
extern const struct tr_driver *tr_fixture;
__attribute__((visibility("default"))) const struct tr_driver *tr_fixture = &driver;
#endif
