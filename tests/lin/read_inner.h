/* The formats, each a function from a line to operations, and what they share. */
#ifndef TR_LIN_READ_INNER_H
#define TR_LIN_READ_INNER_H

#include "tests/lin/read.h"

TR_BEGIN_C

/* Formats of events: an invocation that waits for its answer. */
struct tr_lin_reader {
    struct tr_lin_history *history;
    char *error;
    uint32_t line;
    struct tr_lin_op *waiting; /* invoked, by clients that have one at a time */
    size_t waiting_count;
    size_t waiting_capacity;
};

/* Each reads one line, without its end. Returns false with the error. */
bool tr_lin_read_own_line(struct tr_lin_reader *reader, const char *line);
bool tr_lin_read_jepsen_line(struct tr_lin_reader *reader, const char *line);
bool tr_lin_read_map_line(struct tr_lin_reader *reader, const char *line);

/* Ends a format of events: what waits has not returned. */
void tr_lin_read_events_end(struct tr_lin_reader *reader);

/* Writes the error, with the line. Returns false. */
bool tr_lin_read_wrong(struct tr_lin_reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The kind of a name: get or read, set, put or write, and so on; false if it is none. */
bool tr_lin_read_kind(const char *name, size_t length, enum tr_lin_kind *kind);

TR_END_C

#endif
