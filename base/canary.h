/* Canaries: rules of the protocol that a test build can break on purpose, to prove that the
 * checkers would notice. This is the one place that tells such a build from a release: the object
 * files of the release are those that they would be if no canary were written (tests/purity
 * compares them). */
#ifndef TR_BASE_CANARY_H
#define TR_BASE_CANARY_H

/* True if this replica is to have the bug NAME. replica_field is the number in the replica that
 * selects one bug, TR_CANARY_<NAME> that bug's number (consensus/ enumerates them; 0 is none).
 * In a release the condition is the constant 0 and the field is not read. */
#ifdef TR_CANARIES
#define TR_CANARY(replica_field, NAME) ((replica_field) == TR_CANARY_##NAME)
#else
#define TR_CANARY(replica_field, NAME) 0
#endif

#endif
