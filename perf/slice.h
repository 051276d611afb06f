/* A slice: a fraction of a second of load, offered to the engine or to its floor by the same loops,
 * so that what the harness costs is the same on both sides.
 *
 * A side is three functions: submit one command, flush what was submitted, poll for completions.
 * They are arguments of an inlined loop, so that each side has its own copy of the loop without a
 * call through a pointer.
 *
 * Closed: a window of commands is kept in flight; a command's time starts when it is submitted.
 * Open: commands are due at a fixed rate; a command's time starts when it was due, also when it
 * could not be submitted then (no coordinated omission). */
#ifndef TR_PERF_SLICE_H
#define TR_PERF_SLICE_H

#include "base/histogram.h"
#include "perf/clock.h"
#include "perf/idle.h"

TR_BEGIN_C

/* Commands in flight at most: the stamps of a slice. A power of two. */
#define TR_PERF_WINDOW_MAX 65536u

/* No completion for so long: the slice is given up and the run fails. */
#define TR_PERF_STALL_NS UINT64_C(3000000000)

/* Fraction bits of the schedule of an open loop: a rate is kept to 2^-16 ns a command. */
#define TR_PERF_SCHEDULE_BITS 16

enum tr_perf_mode { TR_PERF_CLOSED = 0, TR_PERF_OPEN = 1 };

struct tr_perf_slice {
    /* Asked. */
    enum tr_perf_mode mode;
    uint32_t window;       /* commands in flight at most; a power of two */
    uint32_t refill;       /* closed: places free before more is submitted; 1: at once */
    uint32_t sample_every; /* latency is taken of every so many commands; a power of two */
    uint64_t interval_q16; /* open: nanoseconds between two commands, 16 fraction bits */
    uint64_t duration_ns;
    enum tr_idle idle;
    struct tr_histogram *histogram; /* gets the latencies */
    uint64_t *start_ns;             /* `window` stamps: when the command in flight began */

    /* Found. */
    uint64_t submitted; /* commands */
    uint64_t completed; /* of which the first so many are complete */
    uint64_t begin_ns;
    uint64_t end_ns; /* of the last completion */
    uint64_t unsent; /* open: due and not submitted when the slice was given up */
    bool stalled;    /* gave up: nothing completed for TR_PERF_STALL_NS */

    uint64_t progress_count; /* completed when last looked at, and when: for `stalled` */
    uint64_t progress_ns;
};

/* Submits command number `sequence` (from 0). Returns: false when there is no room now. */
typedef bool (*tr_perf_submit_fn)(void *side, struct tr_perf_slice *slice, uint64_t sequence);
/* Pushes out what was submitted since the last flush. */
typedef void (*tr_perf_flush_fn)(void *side, struct tr_perf_slice *slice);
/* Looks for completions and tells them by tr_perf_slice_done. */
typedef void (*tr_perf_poll_fn)(void *side, struct tr_perf_slice *slice);

/* Every command before `upto` is complete: takes the latency of the sampled ones.
 * Cost: one clock read, if one of them is sampled. */
static tr_always_inline void tr_perf_slice_done(struct tr_perf_slice *slice, uint64_t upto)
{
    const uint64_t every = slice->sample_every;
    uint64_t sampled = (slice->completed + every - 1) & ~(every - 1);
    if (sampled < upto) {
        uint64_t now_ns = tr_perf_now_ns();
        for (; sampled < upto; sampled += every) {
            uint64_t start_ns = slice->start_ns[sampled & (slice->window - 1)];
            tr_histogram_record(slice->histogram, now_ns > start_ns ? now_ns - start_ns : 0);
        }
        slice->end_ns = now_ns;
    }
    slice->completed = upto;
}

/* Whether the slice has to be given up. Thread: the load's.  Cost: a clock read. */
static inline bool tr_perf_slice_is_stalled(struct tr_perf_slice *slice, uint64_t now_ns)
{
    if (slice->completed != slice->progress_count || slice->completed == slice->submitted) {
        slice->progress_count = slice->completed;
        slice->progress_ns = now_ns;
    }
    if (now_ns - slice->progress_ns > TR_PERF_STALL_NS)
        slice->stalled = true;
    return slice->stalled;
}

/* Empties what the slice has found, and starts its clock. */
static tr_always_inline void tr_perf_slice_begin(struct tr_perf_slice *slice)
{
    slice->submitted = slice->completed = slice->unsent = 0;
    slice->stalled = false;
    slice->begin_ns = slice->end_ns = slice->progress_ns = tr_perf_now_ns();
    slice->progress_count = 0;
}

/* Waits until everything submitted is complete, or the slice stalls. */
static tr_always_inline void tr_perf_slice_drain(struct tr_perf_slice *slice, void *side,
                                                 tr_perf_flush_fn flush, tr_perf_poll_fn poll)
{
    uint32_t rounds = 0;
    uint32_t empty = 0;
    while (slice->completed != slice->submitted) {
        flush(side, slice);
        poll(side, slice);
        if (slice->completed == slice->submitted)
            break;
        tr_perf_idle(slice->idle, &empty);
        if ((++rounds & 1023) == 0 && tr_perf_slice_is_stalled(slice, tr_perf_now_ns()))
            break;
    }
}

/* One at a time: the loop that latency is measured with. */
static tr_always_inline void tr_perf_drive_single(struct tr_perf_slice *slice, void *side,
                                                  tr_perf_submit_fn submit, tr_perf_flush_fn flush,
                                                  tr_perf_poll_fn poll)
{
    uint32_t rounds = 0;
    tr_perf_slice_begin(slice);
    const uint64_t end_ns = slice->begin_ns + slice->duration_ns;
    while (slice->end_ns < end_ns && !slice->stalled) {
        uint32_t empty = 0;
        slice->start_ns[0] = tr_perf_now_ns();
        bool taken = submit(side, slice, slice->submitted);
        slice->submitted += taken;
        flush(side, slice);
        poll(side, slice);
        while (slice->completed != slice->submitted || !taken) {
            if (!taken) {
                taken = submit(side, slice, slice->submitted);
                slice->submitted += taken;
            }
            flush(side, slice);
            tr_perf_idle(slice->idle, &empty);
            poll(side, slice);
            if ((++rounds & 0xfffff) == 0 && tr_perf_slice_is_stalled(slice, tr_perf_now_ns()))
                return;
        }
    }
}

/* Closed loop with a window. */
static tr_always_inline void tr_perf_drive_window(struct tr_perf_slice *slice, void *side,
                                                  tr_perf_submit_fn submit, tr_perf_flush_fn flush,
                                                  tr_perf_poll_fn poll)
{
    uint32_t rounds = 0;
    uint32_t empty = 0;
    tr_perf_slice_begin(slice);
    const uint64_t end_ns = slice->begin_ns + slice->duration_ns;
    for (;;) {
        uint64_t before = slice->completed;
        uint64_t room = slice->window - (slice->submitted - slice->completed);
        if (room >= slice->refill) {
            for (; room > 0; room--) {
                uint64_t sequence = slice->submitted;
                if ((sequence & (slice->sample_every - 1)) == 0)
                    slice->start_ns[sequence & (slice->window - 1)] = tr_perf_now_ns();
                if (!submit(side, slice, sequence))
                    break;
                slice->submitted++;
            }
        }
        flush(side, slice);
        poll(side, slice);
        if (slice->completed == before)
            tr_perf_idle(slice->idle, &empty);
        else
            empty = 0;
        if ((++rounds & 63) == 0) {
            uint64_t now_ns = tr_perf_now_ns();
            if (now_ns >= end_ns || tr_perf_slice_is_stalled(slice, now_ns))
                break;
        }
    }
    tr_perf_slice_drain(slice, side, flush, poll);
    slice->end_ns = tr_perf_now_ns();
}

/* Open loop: commands on schedule, as many in flight as it takes, up to the window. */
static tr_always_inline void tr_perf_drive_schedule(struct tr_perf_slice *slice, void *side,
                                                    tr_perf_submit_fn submit,
                                                    tr_perf_flush_fn flush, tr_perf_poll_fn poll)
{
    uint32_t empty = 0;
    tr_perf_slice_begin(slice);
    const uint64_t duration_q16 = slice->duration_ns << TR_PERF_SCHEDULE_BITS;
    const uint64_t give_up_ns = slice->begin_ns + slice->duration_ns + TR_PERF_STALL_NS;
    uint64_t due_q16 = 0;
    while (due_q16 < duration_q16) {
        uint64_t now_ns = tr_perf_now_ns();
        uint64_t now_q16 = (now_ns - slice->begin_ns) << TR_PERF_SCHEDULE_BITS;
        uint64_t before = slice->completed;
        if (now_ns > give_up_ns || tr_perf_slice_is_stalled(slice, now_ns))
            break;
        while (due_q16 <= now_q16 && due_q16 < duration_q16 &&
               slice->submitted - slice->completed < slice->window) {
            slice->start_ns[slice->submitted & (slice->window - 1)] =
                slice->begin_ns + (due_q16 >> TR_PERF_SCHEDULE_BITS);
            if (!submit(side, slice, slice->submitted))
                break;
            slice->submitted++;
            due_q16 += slice->interval_q16;
        }
        flush(side, slice);
        poll(side, slice);
        if (slice->completed == before)
            tr_perf_idle(slice->idle, &empty);
        else
            empty = 0;
    }
    if (due_q16 < duration_q16)
        slice->unsent = (duration_q16 - due_q16) / slice->interval_q16;
    tr_perf_slice_drain(slice, side, flush, poll);
    slice->end_ns = tr_perf_now_ns();
}

/* Runs the slice against one side. Thread: the load's. */
static tr_always_inline void tr_perf_drive(struct tr_perf_slice *slice, void *side,
                                           tr_perf_submit_fn submit, tr_perf_flush_fn flush,
                                           tr_perf_poll_fn poll)
{
    if (slice->mode == TR_PERF_OPEN)
        tr_perf_drive_schedule(slice, side, submit, flush, poll);
    else if (slice->window == 1)
        tr_perf_drive_single(slice, side, submit, flush, poll);
    else
        tr_perf_drive_window(slice, side, submit, flush, poll);
}

/* Seconds that the slice took. */
static inline double tr_perf_slice_seconds(const struct tr_perf_slice *slice)
{
    return (double)(slice->end_ns - slice->begin_ns) / 1e9;
}

/* Commands completed a second. */
static inline double tr_perf_slice_per_s(const struct tr_perf_slice *slice)
{
    double seconds = tr_perf_slice_seconds(slice);
    return seconds > 0 ? (double)slice->completed / seconds : 0;
}

TR_END_C

#endif
