/* Processes for runs, and searches over runs. */
#include "tests/sim/runner.h"

#include <cstring>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

/* Of builds that count what is reached (scripts/coverage): writes the counts. */
extern "C" void __gcov_dump() __attribute__((weak));

namespace sim
{

namespace
{

constexpr unsigned HANG_S = 120; /* a run that takes longer hangs */

/* Of the run under way in this process. */
struct Running {
    const Cluster *cluster = nullptr;
    bool quiet = false;
    int pipe = -1;
};
Running running;

Outcome outcome_of(const Cluster &c)
{
    Outcome o = {};
    o.failed = c.verdict.failed;
    snprintf(o.checker, sizeof(o.checker), "%s", c.verdict.checker.c_str());
    snprintf(o.text, sizeof(o.text), "%s", c.verdict.text.c_str());
    o.hash = c.hash;
    o.now_ns = c.now_ns;
    o.totals = c.totals;
    o.network = *tr_sim_world_counters(c.world);
    return o;
}

void print_outcome(const Cluster &c)
{
    report_run(stdout, c);
    if (c.verdict.failed) {
        printf("  %s, in stage \"%s\": %s\n  again: trireme-sim %s\n", c.verdict.checker.c_str(),
               c.stage.c_str(), c.verdict.text.c_str(), setup_text(c.setup).c_str());
        report_nodes(stdout, c);
    }
    fflush(stdout);
}

void send_outcome(const Outcome &o, int pipe)
{
    const char *at = reinterpret_cast<const char *>(&o);
    size_t left = sizeof(o);
    while (left > 0) {
        ssize_t done = write(pipe, at, left);
        if (done <= 0)
            return;
        at += done;
        left -= static_cast<size_t>(done);
    }
}

Outcome receive_outcome(int pipe, pid_t child)
{
    Outcome o = {};
    char *at = reinterpret_cast<char *>(&o);
    size_t have = 0;
    int status = 0;
    for (ssize_t done; have < sizeof(o); have += static_cast<size_t>(done)) {
        done = read(pipe, at + have, sizeof(o) - have);
        if (done <= 0)
            break;
    }
    close(pipe);
    waitpid(child, &status, 0);
    if (have == sizeof(o))
        return o;
    o = Outcome();
    o.failed = true;
    bool hangs = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
    snprintf(o.checker, sizeof(o.checker), "%s", hangs ? "hang" : "crash");
    snprintf(o.text, sizeof(o.text), "the run ended by signal %d",
             WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    return o;
}

} // namespace

bool Outcome::is_checked() const
{
    return failed && strcmp(checker, "assertion") != 0 && strcmp(checker, "crash") != 0 &&
           strcmp(checker, "hang") != 0;
}

/* An assertion failed: of the invariants module, which is a checker, or of the production code. */
[[noreturn]] static void end_by_assertion(const char *file, int line, const char *expression)
{
    Cluster *c = watched_cluster();
    fflush(stdout);
    if (c == nullptr || running.cluster == nullptr) {
        fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
        abort();
    }
    bool invariant = strstr(file, "invariants.c") != nullptr;
    Verdict verdict;
    verdict.fail(invariant ? "invariants" : "assertion", "%s:%d: %s", file, line, expression);
    c->verdict = verdict;
    if (!running.quiet)
        print_outcome(*c);
    if (running.pipe < 0)
        abort();
    send_outcome(outcome_of(*c), running.pipe);
    _exit(1);
}

Outcome run_here(const Setup &setup, bool quiet)
{
    Cluster c(setup);
    running.cluster = &c;
    running.quiet = quiet;
    if (!c.verdict.failed)
        c.run();
    if (!quiet)
        print_outcome(c);
    running.cluster = nullptr;
    return outcome_of(c);
}

Outcome run_apart(const Setup &setup, bool quiet)
{
    int ends[2];
    fflush(stdout);
    if (pipe(ends) != 0)
        return run_here(setup, quiet);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        alarm(HANG_S);
        running.pipe = ends[1];
        Outcome o = run_here(setup, quiet);
        send_outcome(o, ends[1]);
        if (setup.trace != nullptr)
            fflush(setup.trace);
        if (__gcov_dump != nullptr)
            __gcov_dump();
        _exit(o.failed);
    }
    close(ends[1]);
    return receive_outcome(ends[0], child);
}

/* ---- shrinking */

static bool fails(const Setup &setup, const char *what)
{
    Outcome o = run_apart(setup, true);
    printf("  %-9s %s (%s)\n", o.failed ? "fails" : "passes", what, setup_text(setup).c_str());
    fflush(stdout);
    return o.failed;
}

static void keep_if(Setup &best, const Setup &tried, const char *what)
{
    if (fails(tried, what))
        best = tried;
}

static void shrink_faults(Setup &best)
{
    for (int i = 0; i < FAULTS; i++) {
        Setup tried = best;
        tried.without |= UINT32_C(1) << i;
        bool there = i < FAULT_TIMED_FIRST || best.profile->every_us[i - FAULT_TIMED_FIRST] != 0;
        if (tried.without != best.without && there)
            keep_if(best, tried, fault_name(i));
    }
}

static void shrink_time(Setup &best)
{
    uint64_t low = 0, high = best.faults_us;
    while (high - low > 50 && high - low > high / 64) {
        Setup tried = best;
        tried.faults_us = low + (high - low) / 2;
        if (fails(tried, "time")) {
            best = tried;
            high = tried.faults_us;
        } else {
            low = tried.faults_us;
        }
    }
}

Setup shrink(const Setup &setup)
{
    Setup best = setup;
    printf("shrinking %s\n", setup_text(setup).c_str());
    if (best.faults_us == 0)
        best.faults_us = static_cast<uint64_t>(best.profile->faults_ms) * 1000;
    for (uint32_t nodes = 3; nodes <= 5; nodes += 2) {
        Setup tried = best;
        tried.nodes = nodes;
        keep_if(best, tried, "nodes");
        if (best.nodes == nodes)
            break;
    }
    Setup one = best;
    one.groups = 1;
    keep_if(best, one, "groups");
    shrink_time(best);
    shrink_faults(best);
    shrink_time(best);
    printf("shortest: trireme-sim %s\n", setup_text(best).c_str());
    return best;
}

/* ---- canaries */

const char *canary_gap(uint32_t canary)
{
    if (canary == TR_CANARY_DRAIN_REPLACES_HIGHER)
        return "needs a write of a leader that lands, late, in a candidate's ring after the page "
               "of "
               "a promise with a higher ballot: no fault aims at that";
    return nullptr;
}

const char *canary_profile(uint32_t canary)
{
    switch (static_cast<enum tr_canary>(canary)) {
    case TR_CANARY_ACK_BEFORE_DURABLE:
    case TR_CANARY_PROMISE_BEFORE_DURABLE:
        return "disk";
    case TR_CANARY_LEASE_IGNORED:
    case TR_CANARY_LEASE_FROM_RECEIPT:
        return "leases";
    case TR_CANARY_HEARTBEAT_WITHOUT_CONTACT:
    case TR_CANARY_READ_UNCONFIRMED:
    case TR_CANARY_READ_BEFORE_OPENED:
    case TR_CANARY_WATERMARK_WITHOUT_BALLOT:
    case TR_CANARY_LEAD_WITHOUT_CHOSEN:
    case TR_CANARY_ADOPT_LOWER_BALLOT:
    case TR_CANARY_ACCEPT_BELOW_PROMISE:
    case TR_CANARY_RECYCLE_TOO_EARLY:
        return "partitions";
    case TR_CANARY_DRAIN_REPLACES_HIGHER:
    case TR_CANARY_PROMISE_BEFORE_FENCED:
    case TR_CANARY_JOIN_BEFORE_FENCED:
        return "one_sided";
    case TR_CANARY_FOUND_BY_MAJORITY:
        return "founding";
    case TR_CANARY_VECTOR_IGNORED:
    case TR_CANARY_OLD_INCARNATION_COUNTS:
    case TR_CANARY_RECOVER_FROM_ONE:
    case TR_CANARY_RECOVER_WITHOUT_VALUES:
    case TR_CANARY_FORGET_PROMISE:
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
        *out = run_apart(setup, true);
        setup.canary = TR_CANARY_NONE;
        if (out->is_checked() && !run_apart(setup, true).failed)
            return i + 1;
    }
    return 0;
}

} // namespace sim

extern "C" void tr_panic(const char *file, int line, const char *expression)
{
    sim::end_by_assertion(file, line, expression);
}
