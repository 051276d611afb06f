/* The bugs that a build with canaries can have on purpose, each the breaking of one rule
 * (base/canary.h). The number is the field `canary` of a replica, and of the shell's group around
 * it for the rules that the shell keeps. */
#ifndef TR_CONSENSUS_CANARY_H
#define TR_CONSENSUS_CANARY_H

/* X(name, what is broken) */
#define TR_CANARY_TABLE(X)                                                                        \
    X(ACCEPT_BELOW_PROMISE, "accepts ballots below the promise")                                  \
    X(DRAIN_REPLACES_HIGHER, "a drained record replaces one of a higher ballot")                  \
    X(ACK_BEFORE_DURABLE, "acknowledges before the entries are on disk")                          \
    X(PROMISE_BEFORE_DURABLE, "promises before the promise is on disk")                           \
    X(PROMISE_BEFORE_FENCED, "promises before the fence is quiescent")                            \
    X(HEARTBEAT_WITHOUT_CONTACT, "a leader that hears nobody suppresses elections")               \
    X(LEASE_IGNORED, "promises in spite of a lease granted")                                      \
    X(LEASE_FROM_RECEIPT, "counts the lease from the receipt of the grant")                       \
    X(VECTOR_IGNORED, "counts acknowledgements that know other incarnations")                     \
    X(OLD_INCARNATION_COUNTS, "keeps what a forgotten incarnation acknowledged")                  \
    X(LEAD_WITHOUT_CHOSEN, "leads before the chosen values of the quorum are here")               \
    X(ADOPT_LOWER_BALLOT, "adopts a value of a lower ballot in phase 1")                          \
    X(WATERMARK_WITHOUT_BALLOT, "applies what it holds below the watermark, whatever its ballot") \
    X(PROVEN_WITHOUT_BALLOT, "keeps as chosen what it holds below a watermark, at any ballot")    \
    X(RECYCLE_TOO_EARLY, "recycles what is not in a snapshot")                                    \
    X(READ_UNCONFIRMED, "answers reads without asking a quorum")                                  \
    X(READ_BEFORE_OPENED, "reads before the first commit of its own ballot")                      \
    X(FOUND_BY_MAJORITY, "founds without the last voter")                                         \
    X(JOIN_BEFORE_FENCED, "lets a peer recover while its writers still write")                    \
    X(RECOVER_FROM_ONE, "recovers from a single peer")                                            \
    X(RECOVER_WITHOUT_VALUES, "votes before it has the values back")                              \
    X(FORGET_PROMISE, "comes back without the promise")

/* Those that have no script of their own (tests/trace/rules): the simulator alone has what shows
 * them, a shell, a ring, a driver. */
#define TR_CANARY_SEARCHED_TABLE(X)                                                         \
    X(SILENT_REPLICATED, "goes on replicating to a peer that is announced dead, or silent") \
    X(GENERATION_REPEATED, "grants a ring again under a generation that it had")            \
    X(LOST_GRANT_STANDS, "writes on into a ring that was lost, under the same generation")  \
    X(REFUSED_COUNTS, "counts a write that was refused")                                    \
    X(STALE_ACK_COUNTS, "counts acknowledgements of other ballots")                         \
    X(QUORUM_OFF_BY_ONE, "commits with one less than a quorum")                             \
    X(FENCE_NOT_AWAITED, "takes a fence that has begun for one that is quiescent")          \
    X(LEASE_FORGOTTEN, "promises within a lease that its last life granted")                \
    X(CREDIT_IGNORED, "writes over what the reader of a ring has not taken yet")            \
    X(SOURCE_REUSED, "reuses log space that a write in flight still reads")                 \
    X(TAG_IGNORED, "drains records of any tag")

enum tr_canary {
    TR_CANARY_NONE = 0,
#define TR_CANARY_ENUM(name, what) TR_CANARY_##name,
    TR_CANARY_TABLE(TR_CANARY_ENUM) TR_CANARY_SEARCHED_TABLE(TR_CANARY_ENUM)
#undef TR_CANARY_ENUM
        TR_CANARY_COUNT
};

#endif
