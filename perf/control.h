/* Lines of text over TCP between the load and the nodes on other machines: what a node is to do
 * now, and what its replica has come to. For benchmarks on a network of one's own: nobody is asked
 * who he is, and what a line says is checked. */
#ifndef TR_PERF_CONTROL_H
#define TR_PERF_CONTROL_H

#include "base/types.h"

TR_BEGIN_C

#define TR_PERF_LINE_MAX 256

/* How long either side waits for a line or a connection. */
#define TR_PERF_CONTROL_MS 30000

/* Listens at an address. Returns: a descriptor, or TR_EADDR, TR_ESYS with errno. */
int tr_perf_control_listen(const char *host, uint16_t port);

/* Takes a connection, waiting at most so long. Returns: a descriptor, TR_AGAIN, TR_ESYS. */
int tr_perf_control_accept(int listener, int timeout_ms);

/* Connects, trying again until TR_PERF_CONTROL_MS are over. Returns: a descriptor, TR_EADDR (the
 * host has no address), TR_ETIMEOUT. */
int tr_perf_control_connect(const char *host, uint16_t port);

/* Sends a line, without its end. Returns: TR_OK or TR_ECLOSED. */
int tr_perf_control_send(int fd, const char *line);

/* Receives a line of at most TR_PERF_LINE_MAX - 1 characters, without its end. Returns: TR_OK,
 * TR_AGAIN (none in time), TR_ECLOSED, TR_EPROTO (too long). */
int tr_perf_control_receive(int fd, int timeout_ms, char line[TR_PERF_LINE_MAX]);

/* Sends a line and receives its answer, which must begin with "ok"; what follows is put in
 * `answer`. Returns: as receive; TR_EPROTO for another answer. */
int tr_perf_control_ask(int fd, const char *line, char answer[TR_PERF_LINE_MAX]);

TR_END_C

#endif
