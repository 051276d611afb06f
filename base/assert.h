/* Assertions, on in release too: for what only a bug can break, never for what a peer, a client or
 * a disk sent (that is validated, counted and dropped). */
#ifndef TR_BASE_ASSERT_H
#define TR_BASE_ASSERT_H

#include "base/types.h"

TR_BEGIN_C

/* Called when an assertion failed: reports it and does not return. The pure layers know only this
 * declaration; the shell defines it (dataplane/panic.c).
 * Thread: any. */
void tr_panic(const char *file, int line, const char *expression) __attribute__((noreturn, cold));

TR_END_C

/* Ends the process when the expression is false. */
#define tr_assert(expression) \
    (tr_likely(expression) ? (void)0 : tr_panic(__FILE__, __LINE__, #expression))

/* The same where measurement showed a cost: on only in builds with -Dassert_hot=true (the tests and
 * the sanitizers); elsewhere the expression is compiled, not evaluated. */
#ifdef TR_ASSERT_HOT
#define tr_assert_hot(expression) tr_assert(expression)
#else
#define tr_assert_hot(expression) ((void)sizeof(!(expression)))
#endif

/* A place that cannot be reached, for instance after a switch over all values of an enum. */
#define tr_unreachable() tr_panic(__FILE__, __LINE__, "unreachable")

/* A relation that the compiler proves. */
#ifdef __cplusplus
#define tr_static_assert(expression, message) static_assert(expression, message)
#else
#define tr_static_assert(expression, message) _Static_assert(expression, message)
#endif

#endif
