/* The list of --peers: "1=10.0.0.1:7000,2=10.0.0.2:7000". */
#ifndef TR_PERF_PEERS_H
#define TR_PERF_PEERS_H

#include "base/limits.h"
#include "base/types.h"

TR_BEGIN_C

#define TR_PERF_ADDRESS_MAX 128

struct tr_perf_peer {
    uint16_t node;
    char address[TR_PERF_ADDRESS_MAX];
};

/* Parses the list into at most TR_VOTERS_MAX peers. Returns: 0, or TR_EINVAL with a sentence. */
int tr_perf_peers_parse(const char *list, struct tr_perf_peer peers[TR_VOTERS_MAX], uint32_t *count,
                        char *error, size_t error_bytes);

/* Divides "HOST:PORT" or "[HOST]:PORT". Returns: false when it is neither, or HOST does not fit. */
bool tr_perf_address_divide(const char *address, char *host, size_t host_bytes, uint16_t *port);

TR_END_C

#endif
