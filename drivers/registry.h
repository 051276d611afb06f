/* The registry of drivers: which there are, and whether a table keeps its word. */
#ifndef TR_DRIVERS_REGISTRY_H
#define TR_DRIVERS_REGISTRY_H

#include "drivers/driver.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Finds a built-in driver by name. Returns NULL when there is none of that name. Thread: any. */
const struct tr_driver *tr_driver_find(const char *name);

/** The built-in driver at an index, for listings; NULL past the last. Thread: any. */
const struct tr_driver *tr_driver_at(uint32_t index);

/** Holds a table against its capability bits. Returns TR_OK, TR_EVERSION (abi_bytes), TR_EINVAL (a
 * capability without its operation, or no name); `why` gets a sentence. Thread: any. */
int tr_driver_check(const struct tr_driver *driver, char *why, size_t why_bytes);

#ifdef __cplusplus
}
#endif
#endif
