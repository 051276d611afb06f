/* The state of a replica, beside the public API: both have a struct tr_peer, and C++ lets one
 * translation unit have one of a name only. */
#ifndef TR_TESTS_SIM_CORE_H
#define TR_TESTS_SIM_CORE_H

#define tr_peer tr_core_peer
#include "consensus/state.h"
#undef tr_peer

#endif
