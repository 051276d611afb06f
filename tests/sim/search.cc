/* Searches over runs: the shortest that fails, and the seeds that show a canary. */
#include "tests/sim/runner.h"

namespace sim
{

/* ---- shrinking */

/* A schedule that fails, and which checker says so: a shorter one has to fail the same. */
struct Best {
    Setup setup;
    std::string checker;
};

static bool fails(const Best &best, const Setup &tried, const char *what)
{
    Outcome o = run_apart(tried, Print::None);
    bool same = o.failed && best.checker == o.checker;
    printf("  %-9s %s (%s)\n", same ? "fails" : "passes", what, setup_text(tried).c_str());
    fflush(stdout);
    return same;
}

static void keep_if(Best &best, const Setup &tried, const char *what)
{
    if (fails(best, tried, what))
        best.setup = tried;
}

static void shrink_faults(Best &best)
{
    for (int i = 0; i < FAULTS; i++) {
        Setup tried = best.setup;
        tried.without |= UINT32_C(1) << i;
        bool there = i < FAULT_TIMED_FIRST || tried.profile->every_us[i - FAULT_TIMED_FIRST] != 0;
        if (tried.without != best.setup.without && there)
            keep_if(best, tried, fault_name(i));
    }
}

static void shrink_time(Best &best)
{
    uint64_t low = 0, high = best.setup.faults_us;
    while (high - low > 50 && high - low > high / 64) {
        Setup tried = best.setup;
        tried.faults_us = low + (high - low) / 2;
        if (fails(best, tried, "time")) {
            best.setup = tried;
            high = tried.faults_us;
        } else {
            low = tried.faults_us;
        }
    }
}

Setup shrink(const Setup &setup)
{
    Outcome first = run_apart(setup, Print::None);
    Best best = {setup, first.checker};
    printf("shrinking %s\n", setup_text(setup).c_str());
    Setup timed = setup;
    /* As long as it went on: the profile's span, or what it took to have enough. */
    timed.faults_us = setup.faults_us != 0 ? setup.faults_us : first.now_ns / 1000;
    keep_if(best, timed, "time");
    for (uint32_t nodes = 3; nodes <= 5; nodes += 2) {
        Setup tried = best.setup;
        tried.nodes = nodes;
        keep_if(best, tried, "nodes");
        if (best.setup.nodes == nodes)
            break;
    }
    Setup one = best.setup;
    one.groups = 1;
    keep_if(best, one, "groups");
    shrink_time(best);
    shrink_faults(best);
    shrink_time(best);
    printf("shortest: trireme-sim %s\n", setup_text(best.setup).c_str());
    return best.setup;
}

/* ---- canaries */

const char *canary_profile(uint32_t canary)
{
    switch (static_cast<enum tr_session_canary>(canary_session(canary))) {
    case TR_CANARY_SESSION_NONE:
        break;
    case TR_CANARY_SESSION_GAP_APPLIED:
    case TR_CANARY_SESSION_REPLY_OVERTAKEN:
        return "partitions";
    case TR_CANARY_SESSION_UNKNOWN_APPLIED:
        return "mixed";
    case TR_CANARY_SESSION_ACKED_EARLY:
        return "crashes";
    case TR_CANARY_SESSION_EVICT_BY_INDEX:
    case TR_CANARY_SESSION_LOAD_REORDERS:
        return "storm";
    case TR_CANARY_SESSION_SKIP_SHORT:
    case TR_CANARY_SESSION_NUMBER_REUSED:
        return "network";
    }
    switch (static_cast<enum tr_canary>(canary)) {
    case TR_CANARY_ACK_BEFORE_DURABLE:
    case TR_CANARY_PROMISE_BEFORE_DURABLE:
        return "disk";
    case TR_CANARY_LEASE_IGNORED:
    case TR_CANARY_LEASE_FROM_RECEIPT:
    case TR_CANARY_LEASE_FORGOTTEN:
        return "leases";
    case TR_CANARY_HEARTBEAT_WITHOUT_CONTACT:
    case TR_CANARY_READ_UNCONFIRMED:
    case TR_CANARY_READ_BEFORE_OPENED:
    case TR_CANARY_WATERMARK_WITHOUT_BALLOT:
    case TR_CANARY_PROVEN_WITHOUT_BALLOT:
    case TR_CANARY_LEAD_WITHOUT_CHOSEN:
    case TR_CANARY_ADOPT_LOWER_BALLOT:
    case TR_CANARY_ACCEPT_BELOW_PROMISE:
    case TR_CANARY_RECYCLE_TOO_EARLY:
    case TR_CANARY_STALE_ACK_COUNTS:
    case TR_CANARY_QUORUM_OFF_BY_ONE:
        return "partitions";
    case TR_CANARY_CREDIT_IGNORED:
        return "narrow";
    case TR_CANARY_DRAIN_REPLACES_HIGHER:
        return "exiles";
    case TR_CANARY_PROMISE_BEFORE_FENCED:
    case TR_CANARY_JOIN_BEFORE_FENCED:
    case TR_CANARY_GENERATION_REPEATED:
    case TR_CANARY_REFUSED_COUNTS:
    case TR_CANARY_FENCE_NOT_AWAITED:
    case TR_CANARY_SOURCE_REUSED:
    case TR_CANARY_TAG_IGNORED:
        return "one_sided";
    case TR_CANARY_FOUND_BY_MAJORITY:
        return "founding";
    case TR_CANARY_VECTOR_IGNORED:
    case TR_CANARY_OLD_INCARNATION_COUNTS:
    case TR_CANARY_RECOVER_FROM_ONE:
    case TR_CANARY_RECOVER_WITHOUT_VALUES:
    case TR_CANARY_FORGET_PROMISE:
    case TR_CANARY_SILENT_REPLICATED:
    case TR_CANARY_LOST_GRANT_STANDS:
        return "crashes";
    case TR_CANARY_NONE:
    case TR_CANARY_COUNT:
        break;
    }
    return "mixed";
}

uint32_t seek_canary(uint32_t canary, uint64_t seed, uint32_t most, Outcome *out)
{
    Setup setup;
    setup.profile = profile_find(canary_profile(canary));
    for (uint32_t i = 0; i < most; i++) {
        setup.seed = seed + i;
        setup.canary = canary;
        *out = run_apart(setup, Print::None);
        setup.canary = TR_CANARY_NONE;
        if (out->is_checked() && !run_apart(setup, Print::None).failed)
            return i + 1;
    }
    return 0;
}

} // namespace sim
