/* Drivers that are modules of their own: shared objects which are loaded when they are chosen by
 * name, so that whoever uses another driver links nothing of theirs.
 *
 * A driver is looked for among the built-in ones first, then as DIRECTORY/trireme-NAME.so, where
 * the directory is that of this build's installation (libdir/trireme), or, for builds that are not
 * installed, what the environment's TRIREME_MODULES names instead (ignored in a process that runs
 * with more rights than its caller). What is loaded stays loaded until the process ends: vendors'
 * libraries have threads and exit handlers. */
#ifndef TR_DRIVERS_MODULE_H
#define TR_DRIVERS_MODULE_H

#include "drivers/driver.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The variable of the environment that names a directory of modules. */
#define TR_MODULES_VARIABLE "TRIREME_MODULES"

/** "TrDm". */
#define TR_DRIVER_MODULE_MARK 0x6d447254u

/** Raised when an operation changes its meaning; sizes are checked besides. */
#define TR_DRIVER_MODULE_VERSION 1

/** What a module exports, as tr_driver_module: the driver, and what it was built against. */
struct tr_driver_module {
    uint32_t mark;    /* TR_DRIVER_MODULE_MARK */
    uint32_t version; /* TR_DRIVER_MODULE_VERSION */
    uint32_t driver_bytes, options_bytes, stats_bytes;
    uint32_t zero;
    const struct tr_driver *driver;
};

/** Defines the one symbol of a module. */
#define TR_DRIVER_MODULE(table)                                                               \
    extern const struct tr_driver_module tr_driver_module;                                    \
    __attribute__((visibility("default"))) const struct tr_driver_module tr_driver_module = { \
        .mark = TR_DRIVER_MODULE_MARK,                                                        \
        .version = TR_DRIVER_MODULE_VERSION,                                                  \
        .driver_bytes = sizeof(struct tr_driver),                                             \
        .options_bytes = sizeof(struct tr_port_options),                                      \
        .stats_bytes = sizeof(struct tr_port_stats),                                          \
        .driver = &(table),                                                                   \
    }

/** Finds a driver by name, built in or as a module, and holds its table against its word.
 * Returns: TR_OK; TR_ENOTSUP (there is none: the sentence says where it was looked for and what to
 * install), TR_EVERSION (built against another library), TR_EINVAL (no name of a driver, or no
 * module of one); *out only on success. Thread: any. Cost: may load libraries. */
int tr_driver_load(const char *name, const struct tr_driver **out, char *error, size_t error_bytes);

#ifdef __cplusplus
}
#endif
#endif
