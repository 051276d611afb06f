/* The driver as a module. */
#include "drivers/module.h"
#include "drivers/dpdk/dpdk.h"

TR_DRIVER_MODULE(tr_driver_dpdk);
