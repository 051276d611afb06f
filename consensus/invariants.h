/*
 * Invariants: what holds of a replica between any two steps, whatever arrives.
 *
 * Each is written at the field or in the module that keeps it (state.h, log.h, the heads of the
 * sources); here they are asserted together, so that a test which runs them after every step finds
 * a broken one where it broke, not where it hurts. Pure, and they change nothing.
 */
#ifndef TR_CONSENSUS_INVARIANTS_H
#define TR_CONSENSUS_INVARIANTS_H

#include "consensus/replica.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Slots of the log that tr_replica_check looks at: half of them about the commit, half anywhere.
 */
#define TR_CHECK_SLOTS 64

/**
 * Asserts every invariant of the replica's fields, and those of the log for TR_CHECK_SLOTS slots;
 * which, the time of the last step tells. For tests and the simulator, after each step. Thread: the
 * replica's. Cost: bounded, some microseconds.
 */
void tr_replica_check(const struct tr_replica *r);

/** Asserts every invariant of the replica's fields, and those of the log for these slots: what a
 * step touched, where it is told. A slot needs no entry. Cost: a fraction of a microsecond. */
void tr_replica_check_slots(const struct tr_replica *r, const uint64_t *slot, uint32_t count);

/** Asserts the same for every slot and every record. Cost: a walk over the whole log, with its
 * CRCs. */
void tr_replica_check_whole(const struct tr_replica *r);

#ifdef __cplusplus
}
#endif
#endif
