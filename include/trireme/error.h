/* Error codes of the public API and of every layer below it: 0 is success, a failure is negative.
 * One table makes the enumeration and the texts. Codes are never renumbered. */
#ifndef TRIREME_ERROR_H
#define TRIREME_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* X(name, value, text): the text says what is wrong and, where there is something, what to do. */
#define TR_ERROR_TABLE(X)                                                                 \
    X(TR_OK, 0, "success")                                                                \
    X(TR_AGAIN, -1, "no room now (back-pressure): complete some work and try again")      \
    X(TR_EINVAL, -2, "invalid argument or configuration")                                 \
    X(TR_ENOMEM, -3, "out of memory")                                                     \
    X(TR_ETIMEOUT, -4, "the deadline passed")                                             \
    X(TR_ECLOSED, -5, "closed, or being closed")                                          \
    X(TR_ENOTLEADER, -6, "this node is not the leader: ask the one that the reply names") \
    X(TR_EUNKNOWN, -7, "outcome unknown: the command may or may not have been executed")  \
    X(TR_ETOOBIG, -8, "larger than the configured limit")                                 \
    X(TR_EPERM, -9, "not permitted")                                                      \
    X(TR_EIO, -10, "input or output failed")                                              \
    X(TR_EPROTO, -11, "malformed or unexpected message")                                  \
    X(TR_EVERSION, -12, "incompatible version of the wire, disk or library format")       \
    X(TR_ENOTSUP, -13, "not supported here")                                              \
    X(TR_EBUSY, -14, "in use by someone else")                                            \
    X(TR_EEXIST, -15, "exists already")                                                   \
    X(TR_ENOENT, -16, "does not exist")                                                   \
    X(TR_ESESSION, -17, "session was evicted or never registered: register a new one")    \
    X(TR_ESTALE, -18, "belongs to an older ballot, generation or incarnation")            \
    X(TR_EFULL, -19, "a fixed-size table or store is full")                               \
    X(TR_EADDR, -20, "bad or unreachable address")                                        \
    X(TR_ECORRUPT, -21, "checksum mismatch: the data is damaged")                         \
    X(TR_EQUORUM, -22, "no quorum of replicas answers")                                   \
    X(TR_ERANGE, -23, "value out of range")                                               \
    X(TR_EABORTED, -24, "abandoned before it took effect: it is safe to try again")       \
    X(TR_ESYS, -25, "a system call failed: errno has the reason")

/* Every code that a call may return; each call's comment lists its own. */
enum tr_error {
#define TR_ERROR_CODE(name, value, text) name = (value),
    TR_ERROR_TABLE(TR_ERROR_CODE)
#undef TR_ERROR_CODE
};

/* The text of a code.
 * Thread: any.  Owns: nothing, the text is constant.
 * Returns: never NULL; for a number that is no code, a text that says so.  Cost: a bounded search.
 */
const char *tr_strerror(int error);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
