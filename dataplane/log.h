/* Log lines for the application's callback. Nothing on the poll path of a healthy cluster logs. */
#ifndef TR_DATAPLANE_LOG_H
#define TR_DATAPLANE_LOG_H

#include "base/types.h"
#include "trireme/trireme.h"

TR_BEGIN_C

/* Where the lines of one node go. */
struct tr_logger {
    tr_log_fn write; /* NULL: nowhere */
    void *context;
    enum tr_log_level level;
    char name[64]; /* "CLUSTER.NODE", at the front of each line */
};

/* Writes one line when the level is wanted. Thread: any. Cost: formatting, and the callback. */
void tr_log(const struct tr_logger *logger, enum tr_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));

/* Puts a sentence where a failing call tells a person the reason; `out` may be NULL. Returns
 * status, so that a failing check is one statement. */
int tr_fail(int status, char *out, size_t out_bytes, const char *format, ...)
    __attribute__((format(printf, 4, 5), cold));

TR_END_C

#endif
