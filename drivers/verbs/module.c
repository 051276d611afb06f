/* What the loader looks for in the module. */
#include "drivers/module.h"
#include "drivers/verbs/verbs.h"

TR_DRIVER_MODULE(tr_driver_verbs);
