/* A run: floor and engine on the same threads, in turn. While one side runs, the other's threads
 * sleep. */
#ifndef TR_PERF_RUN_H
#define TR_PERF_RUN_H

#include "perf/engine.h"
#include "perf/far.h"
#include "perf/floor.h"
#include "perf/machine.h"
#include "perf/options.h"
#include "perf/statistics.h"

TR_BEGIN_C

#define TR_PERF_VARIANTS_MAX 16

/* The longest slice: short enough that a disturbance of the machine meets both sides of a pair. */
#define TR_PERF_SLICE_SECONDS_MAX 0.5

/* Slices of each variant when the best is chosen, and their length. */
#define TR_PERF_CHOICE_ROUNDS   5
#define TR_PERF_CHOICE_SLICE_NS UINT64_C(20000000)

/* What is offered in a slice. */
struct tr_perf_offer {
    enum tr_perf_mode mode;
    uint32_t window;
    double rate;
    double slice_seconds;
};

/* One variant of the floor, tried: the best of its slices, since whatever disturbs a slice makes it
 * worse. */
struct tr_perf_variant_result {
    double p50_ns;
    double per_s;
};

struct tr_perf_run {
    const struct tr_perf_options *options;
    struct tr_perf_places places;
    uint32_t workers;
    enum tr_idle idle;
    bool is_one_sided;
    struct tr_perf_floor *floor;   /* NULL: none for this run */
    struct tr_perf_engine *engine; /* NULL: only the floor */
    struct tr_perf_crew *crew;
    struct tr_perf_far *far; /* followers on other machines; NULL: all are here */
    uint64_t *start_ns;
    uint32_t variant; /* of the floor, the best */
    struct tr_perf_variant_result variants[TR_PERF_VARIANTS_MAX];
    bool is_interrupted;
    bool is_engine_open;
};

/* What a number of pairs gave. */
struct tr_perf_pairs {
    struct tr_perf_offer offer;
    uint32_t count;
    struct tr_perf_pair pairs[TR_PERF_PAIRS_MAX];
    struct tr_perf_comparison comparison;
    struct tr_histogram engine;
    struct tr_histogram floor;
    uint64_t engine_commands, floor_commands;
    double engine_seconds, floor_seconds;
    uint64_t unsent; /* open loop: due and never submitted, engine only */
    double steal;
    double load_average; /* when it began */
};

/* What a run is made of. */
enum tr_perf_sides { TR_PERF_SIDE_FLOOR = 1, TR_PERF_SIDE_ENGINE = 2, TR_PERF_SIDE_BOTH = 3 };

/* Makes the sides and the crew, chooses the variant of the floor for this offer, opens the engine.
 * Returns: 0 or a negative code with a sentence in `error`. */
int tr_perf_run_open(const struct tr_perf_options *options, enum tr_perf_sides sides,
                     const struct tr_perf_offer *offer, struct tr_perf_run **out, char *error,
                     size_t error_bytes);

/* Tries all variants of the floor with this offer, and takes the best from now on. */
int tr_perf_run_choose(struct tr_perf_run *run, const struct tr_perf_offer *offer, char *error,
                       size_t error_bytes);

/* The offer of the options, and how many pairs they come to. */
struct tr_perf_offer tr_perf_offer_of(const struct tr_perf_options *options, uint32_t *pairs);

/* Runs the pairs; a side that the run has not got is left out of each. Stops early when the run is
 * interrupted. `label` is for the progress line. Returns: 0 or a negative code with `error`. */
int tr_perf_run_pairs(struct tr_perf_run *run, const struct tr_perf_offer *offer, uint32_t count,
                      const char *label, struct tr_perf_pairs *out, char *error,
                      size_t error_bytes);

/* Lets all replicas catch up and compares them. Returns: 0; TR_ETIMEOUT when they did not, and
 * TR_ECORRUPT when their digests differ, with a sentence in `error`. */
int tr_perf_run_finish(struct tr_perf_run *run, struct tr_perf_engine_result *out, char *error,
                       size_t error_bytes);

/* Ends the crew, closes both sides. */
void tr_perf_run_close(struct tr_perf_run *run);

/* The side that the followers are on, for jobs outside of pairs. */
int tr_perf_run_follow_begin(struct tr_perf_run *run);
int tr_perf_run_follow_end(struct tr_perf_run *run);

/* Offers one slice to the engine, whose followers must be following. */
int tr_perf_run_engine_slice(struct tr_perf_run *run, const struct tr_perf_offer *offer,
                             struct tr_histogram *histogram, struct tr_perf_slice *slice,
                             char *error, size_t error_bytes);

/* Whether SIGINT or SIGTERM, which tr_perf_signals_hold holds back, came meanwhile. */
void tr_perf_signals_hold(void);
bool tr_perf_signals_came(void);

TR_END_C

#endif
