/* Where the replicas are: the number, the address and the driver's options of each, for the engine
 * and for ports of a floor beside it. */
#ifndef TR_PERF_PLACES_H
#define TR_PERF_PLACES_H

#include "perf/directory.h"
#include "perf/options.h"
#include "perf/peers.h"

TR_BEGIN_C

#define TR_PERF_PLACE_OPTIONS_MAX (2 * TR_PERF_TEXT_MAX)

/* Of one replica. */
struct tr_perf_place {
    uint16_t id;
    char address[TR_PERF_ADDRESS_MAX];
    char door[TR_PERF_ADDRESS_MAX]; /* where a remote client reaches it; "": nowhere */
    char options[TR_PERF_PLACE_OPTIONS_MAX];
};

struct tr_perf_places {
    uint32_t count;
    char cluster[64];
    /* Of memif's sockets, or of the key of verbs; "": none was needed. */
    char directory[TR_PERF_DIRECTORY_MAX];
    /* A device is one node's: the floor has no ports beside the engine's, and takes theirs. */
    bool is_shared;
    struct tr_perf_place engine[TR_VOTERS_MAX];
    struct tr_perf_place floor[TR_VOTERS_MAX];
};

/* Chooses them by the options: those of --peers, or else of this machine, the leader's first.
 * Returns: 0, or a negative code with a sentence. */
int tr_perf_places_make(const struct tr_perf_options *options, struct tr_perf_places *out,
                        char *error, size_t error_bytes);

/* Removes the directory. May be called again. */
void tr_perf_places_remove(struct tr_perf_places *places);

/* Whether a list "key=value,..." has the key. */
bool tr_perf_list_has(const char *list, const char *key);

/* Writes a replica's number in place of each %n. Returns: false when there is no room. */
bool tr_perf_expand(const char *list, uint16_t id, char *out, size_t out_bytes);

/* The same host, another port: where a floor's own port is beside that of the engine. Returns:
 * false when the address is not HOST:PORT. */
bool tr_perf_address_beside(const char *address, char out[TR_PERF_ADDRESS_MAX]);

TR_END_C

#endif
