#include "perf/slice.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <vector>

namespace
{

// A side that completes what was submitted after a number of polls, and takes at most `room` at
// once.
struct Side {
    uint64_t room = UINT64_MAX;
    uint32_t delay = 0;
    std::deque<uint64_t> due; // polls left until each command is complete
    uint64_t next = 0;
    uint64_t in_flight_max = 0;
    uint64_t polls = 0;
    bool is_dead = false;
    bool is_out_of_order = false;
};

bool submit(void *side, tr_perf_slice *, uint64_t sequence)
{
    Side *s = static_cast<Side *>(side);
    if (s->due.size() >= s->room)
        return false;
    s->is_out_of_order = s->is_out_of_order || sequence != s->next++;
    s->due.push_back(s->polls + s->delay);
    s->in_flight_max = std::max<uint64_t>(s->in_flight_max, s->due.size());
    return true;
}

void flush(void *, tr_perf_slice *) {}

void poll(void *side, tr_perf_slice *slice)
{
    Side *s = static_cast<Side *>(side);
    s->polls++;
    uint64_t done = slice->completed;
    while (!s->is_dead && !s->due.empty() && s->due.front() < s->polls) {
        s->due.pop_front();
        done++;
    }
    if (done != slice->completed)
        tr_perf_slice_done(slice, done);
}

struct Slice {
    std::unique_ptr<tr_histogram> histogram = std::make_unique<tr_histogram>();
    std::vector<uint64_t> stamps;
    tr_perf_slice slice = {};
    Slice(tr_perf_mode mode, uint32_t window, uint64_t duration_ns) : stamps(window)
    {
        tr_histogram_reset(histogram.get());
        slice.mode = mode;
        slice.window = window;
        slice.refill = 1;
        slice.sample_every = 1;
        slice.duration_ns = duration_ns;
        slice.idle = TR_IDLE_SPIN;
        slice.histogram = histogram.get();
        slice.start_ns = stamps.data();
    }
};

const uint64_t MS = 1000000;

} // namespace

TEST(Slice, OneAtATimeNeverHasTwoInFlight)
{
    Side side;
    side.delay = 3;
    Slice s(TR_PERF_CLOSED, 1, 2 * MS);
    tr_perf_drive(&s.slice, &side, submit, flush, poll);
    EXPECT_GT(s.slice.completed, 0u);
    EXPECT_EQ(s.slice.completed, s.slice.submitted);
    EXPECT_EQ(side.in_flight_max, 1u);
    EXPECT_EQ(s.histogram->count, s.slice.completed);
    EXPECT_FALSE(side.is_out_of_order);
    EXPECT_GE(s.slice.end_ns - s.slice.begin_ns, 2 * MS);
}

TEST(Slice, OneAtATimeWaitsForRoom)
{
    Side side;
    side.room = 0;
    Slice s(TR_PERF_CLOSED, 1, 1 * MS);
    // Room comes with the fifth poll.
    auto late = [](void *context, tr_perf_slice *slice) {
        Side *inner = static_cast<Side *>(context);
        inner->room = inner->polls >= 5 ? 1 : 0;
        poll(context, slice);
    };
    tr_perf_drive(&s.slice, &side, submit, flush, late);
    EXPECT_GT(s.slice.completed, 0u);
    EXPECT_EQ(s.slice.completed, s.slice.submitted);
}

TEST(Slice, AWindowIsFilledAndNeverExceeded)
{
    Side side;
    side.delay = 5;
    Slice s(TR_PERF_CLOSED, 16, 2 * MS);
    tr_perf_drive(&s.slice, &side, submit, flush, poll);
    EXPECT_EQ(side.in_flight_max, 16u);
    EXPECT_EQ(s.slice.completed, s.slice.submitted);
    EXPECT_EQ(s.histogram->count, s.slice.completed);
    EXPECT_FALSE(side.is_out_of_order);
}

TEST(Slice, OnlyTheSampledCommandsAreTimed)
{
    Side side;
    Slice s(TR_PERF_CLOSED, 64, 2 * MS);
    s.slice.sample_every = 32;
    tr_perf_drive(&s.slice, &side, submit, flush, poll);
    EXPECT_EQ(s.histogram->count, (s.slice.completed + 31) / 32);
}

TEST(Slice, AnOpenLoopSubmitsItsSchedule)
{
    Side side;
    Slice s(TR_PERF_OPEN, 64, 5 * MS);
    s.slice.interval_q16 = UINT64_C(10000) << TR_PERF_SCHEDULE_BITS;
    tr_perf_drive(&s.slice, &side, submit, flush, poll);
    EXPECT_EQ(s.slice.submitted, 500u);
    EXPECT_EQ(s.slice.completed, 500u);
    EXPECT_EQ(s.slice.unsent, 0u);
    EXPECT_EQ(s.histogram->count, 500u);
}

TEST(Slice, AnOpenLoopCountsTheWaitOfWhatCouldNotBeSubmitted)
{
    // The side takes nothing for 20 ms: every command due meanwhile has waited since it was due,
    // though it was submitted late and completed at once.
    Side side;
    side.room = 0;
    Slice s(TR_PERF_OPEN, 64, 40 * MS);
    s.slice.interval_q16 = UINT64_C(1000000) << TR_PERF_SCHEDULE_BITS;
    auto late = [](void *context, tr_perf_slice *slice) {
        if (tr_perf_now_ns() - slice->begin_ns > 20 * MS)
            static_cast<Side *>(context)->room = UINT64_MAX;
        poll(context, slice);
    };
    tr_perf_drive(&s.slice, &side, submit, flush, late);
    EXPECT_EQ(s.slice.completed, 40u);
    EXPECT_GE(s.histogram->max_ns, 19 * MS);
    // A quarter of all commands waited for 10 ms or more.
    EXPECT_GE(tr_histogram_percentile_ns(s.histogram.get(), 750000), 10 * MS);
}

TEST(Slice, ADeadSideIsGivenUp)
{
    Side side;
    side.is_dead = true;
    for (uint32_t window : {1u, 8u}) {
        Slice s(TR_PERF_CLOSED, window, 1 * MS);
        tr_perf_drive(&s.slice, &side, submit, flush, poll);
        EXPECT_TRUE(s.slice.stalled);
        EXPECT_EQ(s.slice.completed, 0u);
        side.next = 0;
        side.due.clear();
    }
}
