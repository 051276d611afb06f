/*
 * Ballots: who may propose, ordered.
 *
 * A ballot is (round, node, incarnation). The incarnation is in it because a replica at level
 * memory forgets its rounds in a crash: its next life must never use a ballot of the last one.
 * Source: Lamport, "Paxos Made Simple", section 2.2; safety rule 2.
 */
#ifndef TR_CONSENSUS_BALLOT_H
#define TR_CONSENSUS_BALLOT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint16_t tr_node_id;

/** A ballot as it lies on the wire, in the log and in memory; round 0 is no ballot. */
struct tr_ballot {
    uint64_t round;
    uint32_t incarnation;
    tr_node_id node;
    uint16_t reserved; /* zero */
};

/** The part of a ballot below its round, as one number that orders like (node, incarnation): it
 * lies in memory as such, and its top bits are zero. */
static inline uint64_t tr_ballot_low(struct tr_ballot b)
{
    uint64_t low;
    memcpy(&low, &b.incarnation, sizeof(low));
    return low;
}

/** Whether a and b are the same ballot. */
static inline bool tr_ballot_equal(struct tr_ballot a, struct tr_ballot b)
{
    return a.round == b.round && tr_ballot_low(a) == tr_ballot_low(b);
}

/** Whether a comes before b. */
static inline bool tr_ballot_less(struct tr_ballot a, struct tr_ballot b)
{
    if (a.round != b.round) {
        return a.round < b.round;
    }
    return tr_ballot_low(a) < tr_ballot_low(b);
}

/** Whether b is no ballot: what a replica has promised before its first promise. */
static inline bool tr_ballot_none(struct tr_ballot b)
{
    return b.round == 0;
}

#ifdef __cplusplus
}
#endif
#endif
