/* The followers on other machines, as the load sees them: each is a `trireme-perf node`. */
#ifndef TR_PERF_FAR_H
#define TR_PERF_FAR_H

#include "perf/floor.h"
#include "perf/options.h"

TR_BEGIN_C

struct tr_perf_far;

/* Connects to all nodes of the options' peers but the own one. Returns: 0 or a negative code with a
 * sentence in `error`. */
int tr_perf_far_open(const struct tr_perf_options *options, struct tr_perf_far **out, char *error,
                     size_t error_bytes);

/* How many they are. */
uint32_t tr_perf_far_count(const struct tr_perf_far *far);

/* Makes the floor between the load and them, by UDP. */
int tr_perf_far_floor(struct tr_perf_far *far, const struct tr_perf_floor_shape *shape,
                      struct tr_perf_floor **out, char *error, size_t error_bytes);

/* Tells all of them to follow in a variant of the floor, or in the engine. Returns: 0 or the error
 * of a connection. */
int tr_perf_far_follow_floor(struct tr_perf_far *far, uint32_t variant);
int tr_perf_far_follow_engine(struct tr_perf_far *far);

/* Asks all whether they have applied so many commands and come to that digest. Returns: 0; TR_AGAIN
 * (not all have applied all); TR_ECORRUPT (another digest); or the error of a connection. */
int tr_perf_far_compare(struct tr_perf_far *far, uint64_t commands, uint64_t digest);

/* Closes the connections; the nodes go on. May be NULL. */
void tr_perf_far_close(struct tr_perf_far *far);

TR_END_C

#endif
