/* Processes for runs. */
#include "tests/sim/runner.h"

#include <climits>
#include <cstring>
#include <ctime>
#include <malloc.h>
#include <poll.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

/* Of builds that count what is reached (scripts/coverage): writes the counts. */
extern "C" void __gcov_dump() __attribute__((weak));

namespace sim
{

namespace
{

constexpr time_t HANG_S = 300; /* a run that takes longer, of a core, hangs */

void watch_for_hang()
{
    itimerval timer = {};
    timer.it_value.tv_sec = HANG_S;
    setitimer(ITIMER_PROF, &timer, nullptr);
}

/* Of the run under way in this process. */
struct Running {
    const Cluster *cluster = nullptr;
    Print print = Print::All;
    int pipe = -1;
    uint64_t index = 0; /* in its plan */
    double began_s = 0;
};
Running running;

/* What a process of runs tells the one that started it. */
struct Told {
    uint64_t index;
    Outcome outcome;
};
static_assert(sizeof(Told) <= PIPE_BUF, "is written at once, or not at all");

double seconds_of(clockid_t clock)
{
    timespec t;
    clock_gettime(clock, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

Outcome outcome_of(const Cluster &c)
{
    Outcome o = {};
    o.failed = c.verdict.failed;
    snprintf(o.checker, sizeof(o.checker), "%s", c.verdict.checker.c_str());
    snprintf(o.text, sizeof(o.text), "%s", c.verdict.text.c_str());
    o.hash = c.hash;
    o.now_ns = c.now_ns;
    o.cpu_s = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - running.began_s;
    o.totals = c.totals;
    o.network = *tr_sim_world_counters(c.world);
    return o;
}

void print_outcome(const Cluster &c)
{
    if (running.print == Print::None || (running.print == Print::Failures && !c.verdict.failed))
        return;
    report_run(stdout, c);
    if (c.verdict.failed) {
        printf("  %s, in stage \"%s\": %s\n  again: trireme-sim %s\n", c.verdict.checker.c_str(),
               c.stage.c_str(), c.verdict.text.c_str(), setup_text(c.setup).c_str());
        report_nodes(stdout, c);
    }
    fflush(stdout);
}

void tell(const Outcome &o)
{
    Told told = {running.index, o};
    ssize_t written = write(running.pipe, &told, sizeof(told));
    if (written != static_cast<ssize_t>(sizeof(told)))
        _exit(2); /* nobody listens any more */
}

/* What became of a run whose process told nothing. */
Outcome outcome_of_status(int status)
{
    Outcome o = {};
    bool hangs = WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF;
    o.failed = true;
    snprintf(o.checker, sizeof(o.checker), "%s", hangs ? "hang" : "crash");
    snprintf(o.text, sizeof(o.text), "the run ended by signal %d",
             WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    return o;
}

/* ---- a process that runs a share of a plan */

struct Worker {
    pid_t pid = -1; /* -1: its share is done */
    int pipe = -1;
    uint64_t next = 0; /* the index that it runs, or runs next */
};

bool is_over(const Plan &plan, uint64_t index, double until_s)
{
    return index >= plan.seeds || (plan.minutes > 0 && seconds_of(CLOCK_MONOTONIC) >= until_s);
}

[[noreturn]] void work(const Plan &plan, uint64_t index, double until_s)
{
    for (; !is_over(plan, index, until_s); index += plan.jobs) {
        Setup setup = setup_at(plan, index);
        running.index = index;
        watch_for_hang();
        tell(run_here(setup, plan.print));
        if (setup.trace != nullptr)
            fflush(setup.trace);
    }
    fflush(stdout);
    if (__gcov_dump != nullptr)
        __gcov_dump();
    _exit(0);
}

void start(Worker &w, const Plan &plan, double until_s)
{
    int ends[2];
    fflush(stdout);
    w.pid = -1;
    if (is_over(plan, w.next, until_s) || pipe(ends) != 0)
        return;
    w.pid = fork();
    if (w.pid == 0) {
        close(ends[0]);
        running.pipe = ends[1];
        work(plan, w.next, until_s);
    }
    close(ends[1]);
    w.pipe = ends[0];
}

/* Hears of a run that has ended. Returns false when the process is gone. */
bool hear(Worker &w, const Plan &plan,
          const std::function<void(const Setup &, const Outcome &)> &take)
{
    Told told;
    int status = 0;
    ssize_t got = read(w.pipe, &told, sizeof(told));
    if (got == static_cast<ssize_t>(sizeof(told))) {
        take(setup_at(plan, told.index), told.outcome);
        w.next = told.index + plan.jobs;
        return true;
    }
    close(w.pipe);
    waitpid(w.pid, &status, 0);
    if (WIFSIGNALED(status)) {
        take(setup_at(plan, w.next), outcome_of_status(status));
        w.next += plan.jobs;
    }
    return false;
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
    c->end();
    print_outcome(*c);
    if (running.pipe < 0)
        abort();
    tell(outcome_of(*c));
    _exit(1);
}

Setup setup_at(const Plan &plan, uint64_t index)
{
    static const uint32_t profiles = [] {
        uint32_t count = 0;
        while (profile_at(count) != nullptr && !profile_at(count)->narrow_rings)
            count++;
        return count;
    }();
    Setup setup = plan.setup;
    setup.seed += index;
    if (plan.all_profiles)
        setup.profile = profile_at(static_cast<uint32_t>(setup.seed % profiles));
    return setup;
}

Outcome run_here(const Setup &setup, Print print)
{
    running.print = print;
    running.began_s = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    Cluster c(setup);
    running.cluster = &c;
    if (!c.verdict.failed)
        c.run();
    print_outcome(c);
    running.cluster = nullptr;
    return outcome_of(c);
}

Outcome run_apart(const Setup &setup, Print print)
{
    Plan plan;
    Outcome outcome = {};
    plan.setup = setup;
    plan.all_profiles = false;
    plan.print = print;
    run_many(plan, [&outcome](const Setup &, const Outcome &o) { outcome = o; });
    return outcome;
}

void run_many(const Plan &plan, const std::function<void(const Setup &, const Outcome &)> &take)
{
    double until_s = seconds_of(CLOCK_MONOTONIC) + 60 * plan.minutes;
    /* What a node that ended had is for the next one: the kernel's zeroing of pages costs more. */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    std::vector<Worker> workers(plan.jobs);
    for (uint32_t i = 0; i < plan.jobs; i++) {
        workers[i].next = i;
        start(workers[i], plan, until_s);
    }
    for (;;) {
        std::vector<pollfd> fds;
        std::vector<Worker *> whose;
        for (Worker &w : workers) {
            if (w.pid < 0)
                continue;
            fds.push_back({w.pipe, POLLIN, 0});
            whose.push_back(&w);
        }
        if (fds.empty())
            return;
        if (poll(fds.data(), fds.size(), -1) <= 0)
            continue;
        for (size_t i = 0; i < fds.size(); i++) {
            if (fds[i].revents != 0 && !hear(*whose[i], plan, take))
                start(*whose[i], plan, until_s);
        }
    }
}

} // namespace sim

extern "C" void tr_panic(const char *file, int line, const char *expression)
{
    sim::end_by_assertion(file, line, expression);
}
