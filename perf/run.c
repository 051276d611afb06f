#include "perf/run.h"

#include "base/bytes.h"
#include "drivers/module.h"
#include "perf/progress.h"
#include "perf/veth.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Jobs of the crew. */
enum job { JOB_FLOOR = 0, JOB_OPEN = 1, JOB_FOLLOW = 2, JOB_CLOSE = 3, JOB_COUNT = 4 };

/* Latency is taken of every so many commands where a clock read a command would be felt. */
#define SAMPLE_EVERY 32

/* A piece of load while the followers stand still: some 2,000 commands, below half of a ring. */
#define STOPPED_SECONDS 0.001

/* Looks at the far replicas at the end, and polls of our own before each. */
#define FAR_TIMES 1000
#define FAR_POLLS 10000

/* Open loops up to this rate take the latency of every command. */
#define SAMPLE_ALL_RATE 500000

static int job_floor(void *context, uint32_t worker, uint64_t variant, const uint32_t *stop)
{
    struct tr_perf_run *run = context;
    run->floor->table->variants[variant].follow(run->floor, worker, stop);
    return TR_OK;
}

static int job_open(void *context, uint32_t worker, uint64_t argument, const uint32_t *stop)
{
    struct tr_perf_run *run = context;
    return tr_perf_engine_open_followers(run->engine, worker, argument, stop);
}

static int job_follow(void *context, uint32_t worker, uint64_t argument, const uint32_t *stop)
{
    struct tr_perf_run *run = context;
    return tr_perf_engine_follow(run->engine, worker, argument, stop);
}

static int job_close(void *context, uint32_t worker, uint64_t argument, const uint32_t *stop)
{
    struct tr_perf_run *run = context;
    return tr_perf_engine_close_followers(run->engine, worker, argument, stop);
}

static const tr_perf_job_fn jobs[JOB_COUNT] = {job_floor, job_open, job_follow, job_close};

void tr_perf_signals_hold(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

bool tr_perf_signals_came(void)
{
    const struct timespec now = {0, 0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return sigtimedwait(&set, NULL, &now) > 0;
}

/* The floor of a driver. Returns: false when there is none. */
static bool floor_kind_of(const char *driver, bool is_one_sided, enum tr_perf_floor_kind *kind)
{
    if (strcmp(driver, "udp") == 0)
        *kind = TR_PERF_FLOOR_UDP;
    else if (strcmp(driver, "dpdk") == 0 || strcmp(driver, "verbs") == 0)
        *kind = is_one_sided ? TR_PERF_FLOOR_WRITE : TR_PERF_FLOOR_PORT;
    else if (strcmp(driver, "shm") == 0 || strcmp(driver, "loop") == 0)
        *kind = is_one_sided ? TR_PERF_FLOOR_SHM_ONE_SIDED : TR_PERF_FLOOR_SHM;
    else
        return false;
    return true;
}

/* Whether replication is one-sided, by what was asked and what the driver can. */
static int resolve_one_sided(struct tr_perf_run *run, char *error, size_t error_bytes)
{
    const struct tr_perf_options *o = run->options;
    const struct tr_driver *driver;
    int status = tr_driver_load(o->driver, &driver, error, error_bytes);
    if (status != TR_OK)
        return status;
    bool can = (driver->capabilities & TR_DRIVER_ONE_SIDED) != 0;
    if (o->one_sided == TR_PERF_ONE_SIDED_ON && !can) {
        snprintf(error, error_bytes, "--one-sided on: the driver %s cannot", o->driver);
        return TR_EINVAL;
    }
    if (o->stopped && (!can || o->one_sided == TR_PERF_ONE_SIDED_OFF)) {
        snprintf(error, error_bytes, "--stopped needs one-sided replication");
        return TR_EINVAL;
    }
    run->is_one_sided = can && o->one_sided != TR_PERF_ONE_SIDED_OFF && o->replicas > 1;
    return TR_OK;
}

static int open_floor(struct tr_perf_run *run, const struct tr_perf_offer *offer, char *error,
                      size_t error_bytes)
{
    const struct tr_perf_options *o = run->options;
    enum tr_perf_floor_kind kind;
    if (!floor_kind_of(o->driver, run->is_one_sided, &kind)) {
        snprintf(error, error_bytes, "--driver %s: no floor is known for it", o->driver);
        return TR_ENOTSUP;
    }
    struct tr_perf_floor_shape shape = {
        .size_bytes = (uint32_t)o->size_bytes,
        .batch = (uint32_t)o->batch,
        .window = offer->window,
        .followers = (uint32_t)o->replicas - 1,
        .needed = (uint32_t)o->replicas / 2,
        .workers = run->workers,
        .idle = run->idle,
        .driver = o->driver,
        .places = &run->places,
        .engine = run->engine,
    };
    if (run->far == NULL)
        return tr_perf_floor_table_of(kind)->open(&shape, &run->floor, error, error_bytes);
    shape.followers = tr_perf_far_count(run->far);
    shape.needed = (shape.followers + 1) / 2;
    shape.workers = shape.followers;
    return tr_perf_far_floor(run->far, &shape, &run->floor, error, error_bytes);
}

static int open_crew(struct tr_perf_run *run, char *error, size_t error_bytes)
{
    struct tr_perf_crew_options crew = {
        .workers = run->workers,
        .cpus = run->options->cores + 1,
        .is_processes = run->options->processes != 0,
        .jobs = jobs,
        .job_count = JOB_COUNT,
        .context = run,
    };
    int result = tr_perf_crew_open(&crew, &run->crew);
    if (result == TR_OK)
        result = tr_perf_pin(run->options->cores[0]);
    if (result != TR_OK)
        snprintf(error, error_bytes, "cannot make the threads, or run on CPU %d: %s",
                 run->options->cores[0], tr_strerror(result));
    return result;
}

static int open_engine(struct tr_perf_run *run, char *error, size_t error_bytes)
{
    run->is_engine_open = true;
    int result = tr_perf_crew_run(run->crew, JOB_OPEN, 0);
    if (result == TR_OK)
        result = tr_perf_engine_open_leader(run->engine, error, error_bytes);
    else
        snprintf(error, error_bytes, "a follower: %s (%s)",
                 tr_perf_engine_follower_error(run->engine), tr_strerror(result));
    if (result != TR_OK)
        return result;
    tr_perf_run_follow_begin(run);
    result = tr_perf_engine_settle(run->engine, error, error_bytes);
    int ended = tr_perf_run_follow_end(run);
    if (result == TR_OK)
        result = ended;
    if (result == TR_OK)
        tr_perf_engine_count_anew(run->engine);
    return result;
}

static int make_engine(struct tr_perf_run *run, char *error, size_t error_bytes)
{
    const struct tr_perf_engine_setup setup = {.options = run->options,
                                               .places = &run->places,
                                               .is_one_sided = run->is_one_sided,
                                               .workers = run->workers,
                                               .idle = run->idle};
    return tr_perf_engine_make(&setup, &run->engine, error, error_bytes);
}

/* Where the replicas are, and what they are joined by. */
static int make_places(struct tr_perf_run *run, char *error, size_t error_bytes)
{
    const struct tr_perf_options *o = run->options;
    int result = tr_perf_places_make(o, &run->places, error, error_bytes);
    if (result == TR_OK && o->veth != TR_PERF_VETH_OFF)
        result = tr_perf_veth_make(run->places.count, error, error_bytes);
    return result;
}

static int open_sides(struct tr_perf_run *run, enum tr_perf_sides sides,
                      const struct tr_perf_offer *offer, char *error, size_t error_bytes)
{
    int result = resolve_one_sided(run, error, error_bytes);
    if (result == TR_OK)
        result = make_places(run, error, error_bytes);
    if (result == TR_OK && run->options->node != 0)
        result = tr_perf_far_open(run->options, &run->far, error, error_bytes);
    if (result == TR_OK && (sides & TR_PERF_SIDE_ENGINE))
        result = make_engine(run, error, error_bytes);
    if (result == TR_OK && (sides & TR_PERF_SIDE_FLOOR))
        result = open_floor(run, offer, error, error_bytes);
    if (result == TR_OK)
        result = open_crew(run, error, error_bytes);
    /* A floor that takes the engine's ports needs them open. */
    if (result == TR_OK && run->engine != NULL)
        result = open_engine(run, error, error_bytes);
    if (result == TR_OK && run->floor != NULL)
        result = tr_perf_run_choose(run, offer, error, error_bytes);
    return result;
}

int tr_perf_run_open(const struct tr_perf_options *options, enum tr_perf_sides sides,
                     const struct tr_perf_offer *offer, struct tr_perf_run **out, char *error,
                     size_t error_bytes)
{
    struct tr_perf_run *run = calloc(1, sizeof(*run));
    uint64_t *start_ns = calloc(offer->window, sizeof(*start_ns));
    if (run == NULL || start_ns == NULL) {
        snprintf(error, error_bytes, "no memory for a window of %u", offer->window);
        free(run);
        free(start_ns);
        return TR_ENOMEM;
    }
    run->options = options;
    run->start_ns = start_ns;
    run->workers = options->core_count - 1;
    if (run->workers > options->replicas - 1)
        run->workers = (uint32_t)options->replicas - 1;
    /* Nodes of an in-process fabric are polled by one thread; others have the far ones. */
    if (strcmp(options->driver, "loop") == 0 || options->node != 0)
        run->workers = 0;
    run->idle = tr_perf_idle_resolve((enum tr_idle)options->idle, options->cores, run->workers + 1);
    int result = open_sides(run, sides, offer, error, error_bytes);
    if (result != TR_OK)
        tr_perf_run_close(run);
    else
        *out = run;
    return result;
}

struct tr_perf_offer tr_perf_offer_of(const struct tr_perf_options *options, uint32_t *pairs)
{
    struct tr_perf_offer offer = {
        .mode = (enum tr_perf_mode)options->mode,
        .window = (uint32_t)options->window,
        .rate = options->rate,
    };
    double count = (double)options->pairs;
    if (options->seconds / 2 / count > TR_PERF_SLICE_SECONDS_MAX)
        count = options->seconds / 2 / TR_PERF_SLICE_SECONDS_MAX;
    *pairs = count > TR_PERF_PAIRS_MAX ? TR_PERF_PAIRS_MAX : (uint32_t)count;
    offer.slice_seconds = options->seconds / 2 / *pairs;
    return offer;
}

static struct tr_perf_slice slice_of(const struct tr_perf_run *run,
                                     const struct tr_perf_offer *offer,
                                     struct tr_histogram *histogram)
{
    bool is_all = offer->mode == TR_PERF_OPEN ? offer->rate <= SAMPLE_ALL_RATE : offer->window == 1;
    struct tr_perf_slice slice = {
        .mode = offer->mode,
        .window = offer->window,
        .refill = 1,
        .sample_every = is_all ? 1 : tr_min_u32(SAMPLE_EVERY, offer->window),
        .duration_ns = (uint64_t)(offer->slice_seconds * 1e9),
        .idle = run->idle,
        .histogram = histogram,
        .start_ns = run->start_ns,
    };
    if (offer->mode == TR_PERF_OPEN)
        slice.interval_q16 = (uint64_t)(1e9 / offer->rate * (1 << TR_PERF_SCHEDULE_BITS)) + 1;
    return slice;
}

/* Says why a slice gave up. */
static int say_stalled(const char *side, const struct tr_perf_slice *slice, char *error,
                       size_t error_bytes)
{
    snprintf(error, error_bytes,
             "the %s stalled: %llu of %llu commands complete, then none for %d s", side,
             (unsigned long long)slice->completed, (unsigned long long)slice->submitted,
             (int)(TR_PERF_STALL_NS / 1000000000));
    return TR_ETIMEOUT;
}

static int floor_slice(struct tr_perf_run *run, const struct tr_perf_offer *offer, uint32_t variant,
                       struct tr_histogram *histogram, struct tr_perf_slice *slice, char *error,
                       size_t error_bytes)
{
    *slice = slice_of(run, offer, histogram);
    run->floor->table->reset(run->floor);
    int result = run->far != NULL ? tr_perf_far_follow_floor(run->far, variant) : TR_OK;
    if (result != TR_OK) {
        snprintf(error, error_bytes, "a far node does not follow: %s", tr_strerror(result));
        return result;
    }
    tr_perf_crew_begin(run->crew, JOB_FLOOR, variant);
    run->floor->table->variants[variant].lead(run->floor, slice);
    result = tr_perf_crew_stop(run->crew);
    if (slice->stalled)
        return say_stalled("floor", slice, error, error_bytes);
    if (result != TR_OK)
        snprintf(error, error_bytes, "a follower of the floor ended: %s", tr_strerror(result));
    return result;
}

int tr_perf_run_engine_slice(struct tr_perf_run *run, const struct tr_perf_offer *offer,
                             struct tr_histogram *histogram, struct tr_perf_slice *slice,
                             char *error, size_t error_bytes)
{
    int result = tr_perf_engine_settle(run->engine, error, error_bytes);
    if (result != TR_OK)
        return result;
    *slice = slice_of(run, offer, histogram);
    result = tr_perf_engine_lead(run->engine, slice);
    if (slice->stalled)
        return say_stalled("engine", slice, error, error_bytes);
    if (result != TR_OK)
        snprintf(error, error_bytes, "a command failed: %s", tr_strerror(result));
    return result;
}

int tr_perf_run_follow_begin(struct tr_perf_run *run)
{
    tr_perf_crew_begin(run->crew, JOB_FOLLOW, 0);
    return run->far != NULL ? tr_perf_far_follow_engine(run->far) : TR_OK;
}

int tr_perf_run_follow_end(struct tr_perf_run *run)
{
    return tr_perf_crew_stop(run->crew);
}

/* Whether the first result is better for the offer: a window of one is about latency. */
static bool is_better(const struct tr_perf_offer *offer, const struct tr_perf_variant_result *a,
                      const struct tr_perf_variant_result *b)
{
    if (offer->mode == TR_PERF_OPEN || offer->window == 1)
        return a->p50_ns < b->p50_ns;
    return a->per_s > b->per_s;
}

/* One try of a variant. */
static int try_variant(struct tr_perf_run *run, const struct tr_perf_offer *offer, uint32_t variant,
                       struct tr_histogram *histogram, double *p50_ns, double *per_s, char *error,
                       size_t error_bytes)
{
    struct tr_perf_slice slice;
    tr_histogram_reset(histogram);
    int result = floor_slice(run, offer, variant, histogram, &slice, error, error_bytes);
    *p50_ns = (double)tr_histogram_percentile_ns(histogram, 500000);
    *per_s = tr_perf_slice_per_s(&slice);
    return result;
}

/* Whether a variant can be used with these followers. */
static bool is_usable(const struct tr_perf_run *run, uint32_t variant)
{
    return run->far == NULL || !run->floor->table->variants[variant].is_near;
}

int tr_perf_run_choose(struct tr_perf_run *run, const struct tr_perf_offer *offer, char *error,
                       size_t error_bytes)
{
    const struct tr_perf_floor_table *table = run->floor->table;
    double p50_ns[TR_PERF_VARIANTS_MAX][TR_PERF_CHOICE_ROUNDS] = {{0}};
    double per_s[TR_PERF_VARIANTS_MAX][TR_PERF_CHOICE_ROUNDS] = {{0}};
    struct tr_perf_offer brief = *offer;
    struct tr_histogram *histogram = malloc(sizeof(*histogram));
    int result = histogram != NULL ? TR_OK : TR_ENOMEM;
    uint32_t best = UINT32_MAX;
    brief.slice_seconds = (double)TR_PERF_CHOICE_SLICE_NS / 1e9;
    for (uint32_t round = 0; round < TR_PERF_CHOICE_ROUNDS; round++)
        for (uint32_t v = 0; v < table->variant_count && result == TR_OK; v++)
            if (is_usable(run, v))
                result = try_variant(run, &brief, v, histogram, &p50_ns[v][round], &per_s[v][round],
                                     error, error_bytes);
    for (uint32_t v = 0; v < table->variant_count && result == TR_OK; v++) {
        run->variants[v].p50_ns = tr_perf_quartiles_of(p50_ns[v], TR_PERF_CHOICE_ROUNDS).least;
        run->variants[v].per_s = tr_perf_quartiles_of(per_s[v], TR_PERF_CHOICE_ROUNDS).most;
        if (table->variants[v].is_floor && is_usable(run, v) &&
            (best == UINT32_MAX || is_better(offer, &run->variants[v], &run->variants[best])))
            best = v;
    }
    run->variant = best;
    free(histogram);
    return result;
}

/* Load in pieces of a millisecond, during which the followers' threads sleep: what a leader writes
 * in it is within the credit of a ring that was drained before. */
static int stopped_slice(struct tr_perf_run *run, const struct tr_perf_offer *offer,
                         struct tr_histogram *histogram, struct tr_perf_slice *sum, char *error,
                         size_t error_bytes)
{
    struct tr_perf_offer brief = *offer;
    uint64_t completed = 0;
    uint64_t taken_ns = 0;
    int result = TR_OK;
    brief.slice_seconds = STOPPED_SECONDS;
    while ((double)taken_ns < offer->slice_seconds * 1e9 && result == TR_OK) {
        tr_perf_run_follow_begin(run);
        result = tr_perf_engine_settle(run->engine, error, error_bytes);
        if (result == TR_OK)
            tr_perf_engine_catch_up(run->engine);
        int ended = tr_perf_run_follow_end(run);
        if (result != TR_OK || ended != TR_OK)
            return result != TR_OK ? result : ended;
        *sum = slice_of(run, &brief, histogram);
        result = tr_perf_engine_lead(run->engine, sum);
        if (sum->stalled)
            return say_stalled("engine", sum, error, error_bytes);
        completed += sum->completed;
        taken_ns += sum->end_ns - sum->begin_ns;
    }
    sum->completed = completed;
    sum->end_ns = sum->begin_ns + taken_ns;
    return result;
}

/* The engine's slice of a pair. */
static int engine_side(struct tr_perf_run *run, const struct tr_perf_offer *offer,
                       struct tr_histogram *histogram, struct tr_perf_slice *slice, char *error,
                       size_t error_bytes)
{
    if (run->options->stopped)
        return stopped_slice(run, offer, histogram, slice, error, error_bytes);
    int result = tr_perf_run_follow_begin(run);
    if (result == TR_OK)
        result = tr_perf_run_engine_slice(run, offer, histogram, slice, error, error_bytes);
    int ended = tr_perf_run_follow_end(run);
    return result != TR_OK ? result : ended;
}

/* One pair: the floor, then the engine. */
static int run_pair(struct tr_perf_run *run, struct tr_perf_pairs *out, struct tr_histogram *work,
                    struct tr_perf_pair *pair, char *error, size_t error_bytes)
{
    struct tr_perf_slice slice;
    int result = TR_OK;
    if (run->floor != NULL) {
        tr_histogram_reset(work);
        result = floor_slice(run, &out->offer, run->variant, work, &slice, error, error_bytes);
        pair->floor_p50_ns = (double)tr_histogram_percentile_ns(work, 500000);
        pair->floor_per_s = tr_perf_slice_per_s(&slice);
        tr_histogram_merge(&out->floor, work);
        out->floor_commands += slice.completed;
        out->floor_seconds += tr_perf_slice_seconds(&slice);
    }
    if (run->engine != NULL && result == TR_OK) {
        tr_histogram_reset(work);
        result = engine_side(run, &out->offer, work, &slice, error, error_bytes);
        if (result != TR_OK)
            return result;
        pair->engine_p50_ns = (double)tr_histogram_percentile_ns(work, 500000);
        pair->engine_per_s = tr_perf_slice_per_s(&slice);
        tr_histogram_merge(&out->engine, work);
        out->engine_commands += slice.completed;
        out->engine_seconds += tr_perf_slice_seconds(&slice);
        out->unsent += slice.unsent;
    }
    return result;
}

int tr_perf_run_pairs(struct tr_perf_run *run, const struct tr_perf_offer *offer, uint32_t count,
                      const char *label, struct tr_perf_pairs *out, char *error, size_t error_bytes)
{
    struct tr_perf_cpu_time before = tr_perf_cpu_time_now();
    struct tr_perf_progress progress = tr_perf_progress_begin(stderr, label, count);
    struct tr_histogram *work = malloc(sizeof(*work));
    int result = work != NULL ? TR_OK : TR_ENOMEM;
    memset(out, 0, sizeof(*out));
    out->offer = *offer;
    out->load_average = tr_perf_load_average();
    tr_histogram_reset(&out->engine);
    tr_histogram_reset(&out->floor);
    while (out->count < count && result == TR_OK && !run->is_interrupted) {
        result = run_pair(run, out, work, &out->pairs[out->count], error, error_bytes);
        if (result == TR_OK)
            out->count++;
        run->is_interrupted = tr_perf_signals_came();
        tr_perf_progress_step(&progress, out->count);
    }
    tr_perf_progress_end(&progress);
    out->comparison = tr_perf_compare(out->pairs, out->count);
    out->steal = tr_perf_steal(before, tr_perf_cpu_time_now());
    free(work);
    return result;
}

/* Compares the far replicas with our own, which is polled so that they hear of the last commit. */
static int compare_far(struct tr_perf_run *run, const struct tr_perf_engine_result *own)
{
    int result = TR_AGAIN;
    for (uint32_t times = 0; times < FAR_TIMES && result == TR_AGAIN; times++) {
        for (uint32_t polls = 0; polls < FAR_POLLS; polls++)
            tr_perf_engine_poll_own(run->engine);
        result = tr_perf_far_compare(run->far, own->commands, own->digest);
    }
    return result == TR_AGAIN ? TR_ETIMEOUT : result;
}

int tr_perf_run_finish(struct tr_perf_run *run, struct tr_perf_engine_result *out, char *error,
                       size_t error_bytes)
{
    tr_perf_run_follow_begin(run);
    int result = tr_perf_engine_finish(run->engine, out);
    int ended = tr_perf_run_follow_end(run);
    if (result == TR_OK)
        result = ended;
    if (result == TR_OK && run->far != NULL) {
        result = compare_far(run, out);
        out->replicas += tr_perf_far_count(run->far);
        out->are_digests_equal = out->are_digests_equal && result != TR_ECORRUPT;
        result = result == TR_ECORRUPT ? TR_OK : result;
    }
    if (result != TR_OK) {
        snprintf(error, error_bytes, "the replicas did not all apply all commands: %s",
                 tr_strerror(result));
    } else if (!out->are_digests_equal) {
        snprintf(error, error_bytes, "the replicas' digests differ: they applied other commands");
        result = TR_ECORRUPT;
    }
    return result;
}

void tr_perf_run_close(struct tr_perf_run *run)
{
    if (run == NULL)
        return;
    if (run->is_engine_open)
        tr_perf_crew_run(run->crew, JOB_CLOSE, 0);
    tr_perf_engine_close(run->engine);
    tr_perf_crew_close(run->crew);
    tr_perf_far_close(run->far);
    if (run->floor != NULL)
        run->floor->table->close(run->floor);
    tr_perf_places_remove(&run->places);
    free(run->start_ns);
    free(run);
}
