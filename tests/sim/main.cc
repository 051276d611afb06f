/* trireme-sim: seeded clusters from the command line. */
#include "tests/sim/pages.h"
#include "tests/sim/runner.h"

#include <cstdlib>
#include <getopt.h>

namespace
{

const char *const usage =
    "trireme-sim - whole clusters of production nodes in a simulated world\n"
    "\n"
    "  --seed N         the first seed (1)\n"
    "  --seeds COUNT    so many seeds from there (1)\n"
    "  --minutes M      seeds for so many minutes of real time\n"
    "  --jobs N         in so many processes (1)\n"
    "  --quiet          print the runs that fail only, and how far it is\n"
    "  --nodes N        voters (drawn: 3, 5 or 7)\n"
    "  --groups N       groups on them (drawn)\n"
    "  --profile NAME   which faults; \"all\": each profile in its turn (all)\n"
    "  --faults-us US   virtual time for which faults strike (the profile's)\n"
    "  --without LIST   faults that do not happen, by name, with commas\n"
    "  --trace FILE     every step of the core, a line each; it slows the run\n"
    "  --replay FILE    the options in a file, as a failing or shrunken run printed them\n"
    "  --shrink         look for the shortest schedule that still fails\n"
    "  --canary NAME    break a rule on purpose; \"all\": each in its turn, until a checker finds\n"
    "                   it, with --seeds as the most that may take (30)\n"
    "  --unmap          give a node's memory back to the kernel when it ends: slower, and what\n"
    "                   touches it afterwards faults\n"
    "  --here           in this process, for a debugger\n"
    "  --list           the profiles, faults and canaries\n"
    "  --help           this text\n"
    "\n"
    "The exit status is 0 when no checker found anything (with --canary all: when each was "
    "found).\n";

struct Options {
    sim::Setup setup;
    uint64_t seeds = 0;
    double minutes = 0;
    uint32_t jobs = 1;
    bool all_profiles = true, all_canaries = false, shrinks = false, here = false, quiet = false;
};

void list()
{
    printf("profiles:\n");
    for (uint32_t i = 0; sim::profile_at(i) != nullptr; i++)
        printf("  %-14s %s\n", sim::profile_at(i)->name, sim::profile_at(i)->what);
    printf("faults:\n");
    for (int i = 0; i < sim::FAULTS; i++)
        printf("  %-14s %s\n", sim::fault_name(i), sim::fault_what(i));
    printf("canaries:\n");
    for (uint32_t i = 1; i < sim::CANARIES; i++)
        printf("  %-26s %s\n", sim::canary_name(i), sim::canary_what(i));
}

[[noreturn]] void refuse(const char *what, const char *value)
{
    fprintf(stderr, "trireme-sim: %s \"%s\"; --help and --list say what there is\n", what, value);
    exit(2);
}

uint32_t without_of(const std::string &list)
{
    uint32_t mask = 0;
    for (size_t at = 0; at < list.size();) {
        size_t end = std::min(list.find(',', at), list.size());
        int fault = sim::fault_find(list.substr(at, end - at));
        if (fault == sim::FAULTS)
            refuse("unknown fault", list.substr(at, end - at).c_str());
        mask |= UINT32_C(1) << fault;
        at = end + 1;
    }
    return mask;
}

void set_profile(Options &o, const char *name)
{
    o.all_profiles = std::string(name) == "all";
    o.setup.profile = sim::profile_find(name);
    if (o.setup.profile == nullptr && !o.all_profiles)
        refuse("unknown profile", name);
}

void set_canary(Options &o, const char *name)
{
    o.all_canaries = std::string(name) == "all";
    o.setup.canary = o.all_canaries ? 0 : sim::canary_find(name);
    if (o.setup.canary == sim::CANARIES)
        refuse("unknown canary", name);
}

void parse(Options &o, int argc, char **argv);

/* The words of a file, as if they stood on the command line. */
void replay(Options &o, const char *path)
{
    FILE *file = fopen(path, "r");
    char word[256];
    std::vector<std::string> words = {"trireme-sim"};
    std::vector<char *> arguments;
    if (file == nullptr)
        refuse("cannot be read:", path);
    while (fscanf(file, "%255s", word) == 1)
        words.push_back(word);
    fclose(file);
    for (std::string &w : words)
        arguments.push_back(&w[0]);
    arguments.push_back(nullptr);
    int kept = optind;
    optind = 1;
    parse(o, static_cast<int>(words.size()), arguments.data());
    optind = kept;
}

const option long_options[] = {
    {"seed", 1, nullptr, 's'},    {"seeds", 1, nullptr, 'c'},   {"minutes", 1, nullptr, 'm'},
    {"jobs", 1, nullptr, 'j'},    {"quiet", 0, nullptr, 'q'},   {"nodes", 1, nullptr, 'n'},
    {"groups", 1, nullptr, 'g'},  {"profile", 1, nullptr, 'p'}, {"faults-us", 1, nullptr, 'f'},
    {"without", 1, nullptr, 'w'}, {"trace", 1, nullptr, 't'},   {"replay", 1, nullptr, 'r'},
    {"shrink", 0, nullptr, 'k'},  {"canary", 1, nullptr, 'y'},  {"here", 0, nullptr, 'e'},
    {"unmap", 0, nullptr, 'u'},   {"list", 0, nullptr, 'l'},    {"help", 0, nullptr, 'h'},
    {nullptr, 0, nullptr, 0}};

uint64_t number_of(const char *text)
{
    char *end = nullptr;
    uint64_t number = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0')
        refuse("not a number:", text);
    return number;
}

void set(Options &o, int name, const char *value)
{
    switch (name) {
    case 's':
        o.setup.seed = number_of(value);
        return;
    case 'c':
        o.seeds = number_of(value);
        return;
    case 'm':
        o.minutes = strtod(value, nullptr);
        return;
    case 'j':
        o.jobs = static_cast<uint32_t>(number_of(value));
        if (o.jobs == 0 || o.jobs > 1024)
            refuse("not 1 to 1024 processes:", value);
        return;
    case 'q':
        o.quiet = true;
        return;
    case 'n':
        o.setup.nodes = static_cast<uint32_t>(number_of(value));
        if (o.setup.nodes == 0 || o.setup.nodes > TR_VOTERS_MAX)
            refuse("not 1 to 9 nodes:", value);
        return;
    case 'g':
        o.setup.groups = static_cast<uint32_t>(number_of(value));
        return;
    case 'p':
        set_profile(o, value);
        return;
    case 'f':
        o.setup.faults_us = number_of(value);
        return;
    case 'w':
        o.setup.without = without_of(value);
        return;
    case 't':
        o.setup.trace = fopen(value, "w");
        if (o.setup.trace == nullptr)
            refuse("cannot be written:", value);
        return;
    case 'r':
        replay(o, value);
        return;
    case 'k':
        o.shrinks = true;
        return;
    case 'y':
        set_canary(o, value);
        return;
    case 'e':
        o.here = true;
        return;
    case 'u':
        sim::pages_keep(false);
        return;
    case 'l':
        list();
        exit(0);
    case 'h':
        fputs(usage, stdout);
        exit(0);
    default:
        exit(2);
    }
}

void parse(Options &o, int argc, char **argv)
{
    int name;
    while ((name = getopt_long(argc, argv, "", long_options, nullptr)) != -1)
        set(o, name, optarg);
    if (optind < argc && std::string(argv[optind]) != "trireme-sim")
        refuse("what is", argv[optind]);
}

/* Of all runs. */
struct Sum {
    sim::Totals totals = {};
    tr_sim_counters network = {};
    uint64_t runs = 0, failures = 0, virtual_ns = 0;
    uint64_t events_least = UINT64_MAX, acked_least = UINT64_MAX;
    double cpu_s = 0;
    std::vector<sim::Setup> failed;

    void add(const sim::Setup &setup, const sim::Outcome &out)
    {
        sim::totals_add(totals, out.totals);
        sim::counters_add(network, out.network);
        runs++;
        virtual_ns += out.now_ns;
        cpu_s += out.cpu_s;
        if (out.failed) {
            failures++;
            failed.push_back(setup);
            printf("FAILED %s: %s: %s\n", setup_text(setup).c_str(), out.checker, out.text);
            fflush(stdout);
            return;
        }
        events_least = std::min(events_least, out.totals.events);
        acked_least = std::min(acked_least, out.totals.commands);
    }
    double events_a_second() const
    {
        return cpu_s > 0 ? static_cast<double>(totals.events) / cpu_s : 0;
    }
    void print_progress() const
    {
        printf("%llu schedules, %llu failed, %.1f M events, %.0f a second of a core\n",
               (unsigned long long)runs, (unsigned long long)failures,
               static_cast<double>(totals.events) * 1e-6, events_a_second());
        fflush(stdout);
    }
    void print() const
    {
        sim::report_faults(stdout, network, totals);
        printf("%llu schedules, %llu failed; %llu events (%.0f a second of a core), %llu commands "
               "acknowledged, %llu reads; the least of a schedule: %llu events, %llu commands; "
               "%.0f s of virtual time in %.0f s of a core\n",
               (unsigned long long)runs, (unsigned long long)failures,
               (unsigned long long)totals.events, events_a_second(),
               (unsigned long long)totals.commands, (unsigned long long)totals.reads,
               (unsigned long long)(runs > failures ? events_least : 0),
               (unsigned long long)(runs > failures ? acked_least : 0),
               static_cast<double>(virtual_ns) * 1e-9, cpu_s);
    }
};

constexpr uint64_t PROGRESS_RUNS = 1000;

int run_seeds(const Options &o)
{
    Sum sum;
    sim::Plan plan;
    plan.setup = o.setup;
    plan.all_profiles = o.all_profiles;
    plan.seeds = o.seeds != 0 ? o.seeds : o.minutes > 0 ? UINT64_MAX : 1;
    plan.minutes = o.minutes;
    plan.jobs = o.jobs;
    plan.print = o.quiet ? sim::Print::Failures : sim::Print::All;
    if (o.here)
        sum.add(setup_at(plan, 0), run_here(setup_at(plan, 0), plan.print));
    else
        run_many(plan, [&](const sim::Setup &setup, const sim::Outcome &out) {
            sum.add(setup, out);
            if (o.quiet && sum.runs % PROGRESS_RUNS == 0)
                sum.print_progress();
        });
    for (const sim::Setup &setup : sum.failed) {
        if (o.shrinks)
            shrink(setup);
    }
    sum.print();
    return sum.failures != 0;
}

int run_canaries(const Options &o)
{
    int missed = 0, found = 0;
    uint32_t most = o.seeds != 0 ? static_cast<uint32_t>(o.seeds) : 30;
    for (uint32_t canary = 1; canary < sim::CANARIES; canary++) {
        sim::Outcome out = {};
        uint32_t took = seek_canary(canary, o.setup.seed, most, &out);
        missed += took == 0;
        found += took != 0;
        printf("%-26s %-10s ", sim::canary_name(canary), sim::canary_profile(canary));
        if (took != 0)
            printf("seed %3u, by %s: %s\n", took, out.checker, out.text);
        else
            printf("NOT FOUND within %u seeds\n", most);
        fflush(stdout);
    }
    printf("%d of %d canaries found\n", found, sim::CANARIES - 1);
    return missed != 0;
}

} // namespace

int main(int argc, char **argv)
{
    Options o;
    parse(o, argc, argv);
    return o.all_canaries ? run_canaries(o) : run_seeds(o);
}
