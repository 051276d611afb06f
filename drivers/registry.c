/* The table of built-in drivers. Each driver's meson.build puts its name on the list that becomes
 * registry_list.h: TR_DRIVER(name) for every tr_driver_NAME of this build. */
#include "drivers/registry.h"

#include "base/types.h"

#include <stdio.h>
#include <string.h>
#include <trireme/error.h>

#define TR_DRIVER(name) extern const struct tr_driver tr_driver_##name;
#include "drivers/registry_list.h"
#undef TR_DRIVER

static const struct tr_driver *const drivers[] = {
#define TR_DRIVER(name) &tr_driver_##name,
#include "drivers/registry_list.h"
#undef TR_DRIVER
};

const struct tr_driver *tr_driver_at(uint32_t index)
{
    return index < TR_ARRAY_COUNT(drivers) ? drivers[index] : NULL;
}

const struct tr_driver *tr_driver_find(const char *name)
{
    for (uint32_t i = 0; i < TR_ARRAY_COUNT(drivers); i++) {
        if (strcmp(drivers[i]->name, name) == 0)
            return drivers[i];
    }
    return NULL;
}

/* An operation that a table must have if it has all bits of `capabilities` (0: always). */
struct promise {
    uint32_t capabilities;
    bool kept;
    const char *operation;
};

int tr_driver_check(const struct tr_driver *driver, char *why, size_t why_bytes)
{
    if (driver->abi_bytes != sizeof(struct tr_driver)) {
        snprintf(why, why_bytes,
                 "driver was built with a table of %u bytes, this library has %zu: rebuild it",
                 driver->abi_bytes, sizeof(struct tr_driver));
        return TR_EVERSION;
    }
    if (driver->name == NULL || driver->name[0] == '\0' || driver->summary == NULL) {
        snprintf(why, why_bytes, "driver has no name or no summary");
        return TR_EINVAL;
    }
    if ((driver->capabilities & (TR_DRIVER_MESSAGES | TR_DRIVER_ONE_SIDED)) == 0) {
        snprintf(why, why_bytes, "driver %s carries neither messages nor one-sided writes",
                 driver->name);
        return TR_EINVAL;
    }
    const struct promise promises[] = {
        {0, driver->open != NULL, "open"},
        {0, driver->close != NULL, "close"},
        {0, driver->limits != NULL, "limits"},
        {0, driver->peer_add != NULL, "peer_add"},
        {0, driver->peer_remove != NULL, "peer_remove"},
        {0, driver->events != NULL, "events"},
        {0, driver->stats != NULL, "stats"},
        {TR_DRIVER_ADOPT, driver->peer_adopt != NULL, "peer_adopt"},
        {TR_DRIVER_MESSAGES, driver->rx_burst != NULL, "rx_burst"},
        {TR_DRIVER_MESSAGES, driver->tx_burst != NULL, "tx_burst"},
        {TR_DRIVER_MESSAGES, driver->tx_reply != NULL, "tx_reply"},
        {TR_DRIVER_MESSAGES, driver->tx_flush != NULL, "tx_flush"},
        {TR_DRIVER_ZERO_COPY_TX, driver->tx_done != NULL, "tx_done"},
        {TR_DRIVER_ONE_SIDED, driver->ring_create != NULL, "ring_create"},
        {TR_DRIVER_ONE_SIDED, driver->ring_grant != NULL, "ring_grant"},
        {TR_DRIVER_ONE_SIDED, driver->fence_start != NULL, "fence_start"},
        {TR_DRIVER_ONE_SIDED, driver->fence_poll != NULL, "fence_poll"},
        {TR_DRIVER_ONE_SIDED, driver->ring_consumed != NULL, "ring_consumed"},
        {TR_DRIVER_ONE_SIDED, driver->remote_open != NULL, "remote_open"},
        {TR_DRIVER_ONE_SIDED, driver->remote_close != NULL, "remote_close"},
        {TR_DRIVER_ONE_SIDED, driver->write_post != NULL, "write_post"},
        {TR_DRIVER_ONE_SIDED, driver->write_poll != NULL, "write_poll"},
        {TR_DRIVER_ONE_SIDED, driver->remote_consumed != NULL, "remote_consumed"},
    };
    for (size_t i = 0; i < TR_ARRAY_COUNT(promises); i++) {
        const struct promise *p = &promises[i];
        if ((driver->capabilities & p->capabilities) == p->capabilities && !p->kept) {
            snprintf(why, why_bytes, "driver %s has capabilities 0x%x and no operation %s",
                     driver->name, driver->capabilities, p->operation);
            return TR_EINVAL;
        }
    }
    return TR_OK;
}
