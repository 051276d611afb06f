/* Printing. */
#include "tests/sim/report.h"

#include <cinttypes>

namespace sim
{

namespace
{

constexpr uint32_t TRACE_LAST = 24; /* records of each replica that are shown */

const char *const trace_names[TR_TRACE_WHATS] = {
    "none",       "malformed", "stale",     "wrong cluster", "wrong incarnation",
    "full",       "role",      "prevote",   "candidate",     "elected",
    "steps down", "follows",   "promised",  "fenced",        "resent",
    "fetched",    "ring",      "ring lost", "vector",        "recovering",
    "founded",    "recovered", "stopped",   "snapshot",      "install",
};

const char *const role_names[] = {"recovering", "follower", "precandidate",
                                  "candidate",  "leader",   "stopped"};

const char *const event_names[] = {"none",          "message", "propose",     "read",    "timeout",
                                   "durable",       "written", "landed",      "fenced",  "applied",
                                   "snapshot_done", "hint",    "reconfigure", "campaign"};

std::string ballot_text(const tr_ballot &b)
{
    return std::to_string(b.round) + "." + std::to_string(b.node) + "." +
           std::to_string(b.incarnation);
}

void report_trace(FILE *out, const tr_replica &r)
{
    uint32_t kept = std::min<uint32_t>(TRACE_LAST, TR_TRACE_RECORDS);
    for (uint32_t i = 0; i < kept; i++) {
        uint32_t at = (r.trace_next + TR_TRACE_RECORDS - kept + i) % TR_TRACE_RECORDS;
        const tr_trace_record &t = r.trace[at];
        if (t.what == TR_TRACE_NONE || t.what >= TR_TRACE_WHATS)
            continue;
        fprintf(out, "    %12.3f us  %-18s peer %-3u %-14s %" PRIu64 " %" PRIu64 "\n",
                static_cast<double>(t.now_ns) / 1000, trace_names[t.what],
                t.peer < r.member_count ? r.config.voter[t.peer] : 0u,
                t.type != 0 ? tr_message_name(t.type) : "-", t.a, t.b);
    }
}

} // namespace

void report_run(FILE *out, const Cluster &c)
{
    const tr_sim_counters *n = tr_sim_world_counters(c.world);
    fprintf(out,
            "seed %" PRIu64 " %s: %zu nodes, %zu groups, %s, %" PRIu64 " ms, %" PRIu64
            " steps, %" PRIu64 " commands, %" PRIu64 " reads, %" PRIu64 " elections, %" PRIu64
            " crashes, %" PRIu64 " datagrams, %" PRIu64 " writes, hash %016" PRIx64 ": %s\n",
            c.setup.seed, c.setup.profile->name, c.members.size(), c.families.size(),
            c.one_sided ? "one-sided" : "messages", c.now_ns / 1000000, c.totals.steps,
            c.totals.commands, c.totals.reads, c.totals.elections, n->crashes, n->datagrams,
            n->writes, c.hash, c.verdict.failed ? c.verdict.checker.c_str() : "ok");
}

namespace
{

void report_count(FILE *out, const char *name, uint64_t count, const char *what)
{
    fprintf(out, "  %-18s %14" PRIu64 "  %s\n", name, count, what);
}

/* What a world counts that is no fault: how much there was, and what faults came to. */
bool is_fault(const char *name)
{
    static const char *const others[] = {
        "datagrams",       "delivered",      "cut",    "writes", "writes_ok", "writes_landed",
        "sources_changed", "writes_overran", "fences", "grants", "pauses",    "crashes"};
    for (const char *other : others) {
        if (std::string(name) == other)
            return false;
    }
    return true;
}

} // namespace

void report_faults(FILE *out, const tr_sim_counters &network, const Totals &totals)
{
    fprintf(out, "faults:\n");
#define SIM_REPORT_FAULT(name, what) \
    if (is_fault(#name))             \
        report_count(out, #name, network.name, what);
    TR_SIM_COUNTER_TABLE(SIM_REPORT_FAULT)
#undef SIM_REPORT_FAULT
    for (int i = FAULT_TIMED_FIRST; i < FAULTS; i++)
        report_count(out, fault_name(i), totals.struck[i], fault_what(i));
    fprintf(out, "and what happened:\n");
#define SIM_REPORT_OTHER(name, what)                        \
    if (!is_fault(#name) && std::string(#name) != "pauses") \
        report_count(out, #name, network.name, what);
    TR_SIM_COUNTER_TABLE(SIM_REPORT_OTHER)
#undef SIM_REPORT_OTHER
    report_count(out, "steps", totals.steps, "events handed to a replica");
    report_count(out, "elections", totals.elections, "replicas that came to lead");
    report_count(out, "evictions", totals.evictions,
                 "sessions whose clients were told that they are gone");
    report_count(out, "unknown", totals.unknown,
                 "commands and reads whose outcome clients do not know");
    report_count(out, "stale", totals.stale_allowed, "stale reads that the profile allows");
    report_count(out, "effects_most", totals.effects_most, "effects of a step, at most");
}

void report_nodes(FILE *out, const Cluster &c)
{
    for (const auto &m : c.members) {
        if (!m->up()) {
            fprintf(out, "  node %u: down, %u lives so far\n", m->id, m->lives);
            continue;
        }
        for (const auto &seat : m->seats) {
            const tr_replica &r = *seat->replica();
            fprintf(out,
                    "  node %u group %u: %s, life %u, promised %s, commit %" PRIu64
                    ", apply %" PRIu64 ", snapshot %" PRIu64 ", known %" PRIu64
                    ", last in log %" PRIu64 ", its clock %" PRIu64 " us\n",
                    m->id, seat->number, role_names[r.role], m->lives,
                    ballot_text(r.promised).c_str(), r.slot_commit, r.slot_apply, r.slot_snapshot,
                    r.slot_known, r.log.slot_last, m->clock_ns / 1000);
            report_trace(out, r);
        }
    }
}

void report_step(const Cluster &c, const Seat &seat, const tr_event &event,
                 const tr_effects &effects)
{
    const tr_replica &r = *seat.replica();
    const char *what = event_names[event.type];
    unsigned from = 0;
    if (event.type == TR_EVENT_MESSAGE) {
        const tr_message *m = static_cast<const tr_message *>(event.u.message.data);
        what = event.u.message.bytes >= sizeof(*m) ? tr_message_name(m->type) : "short";
        from = event.u.message.from + 1u;
    }
    fprintf(c.setup.trace,
            "%" PRIu64 " node %u/%u %s from %u: %s promised %s commit %" PRIu64 " apply %" PRIu64
            " last %" PRIu64 ";",
            c.now_ns, seat.member->id, seat.number, what, from, role_names[r.role],
            ballot_text(r.promised).c_str(), r.slot_commit, r.slot_apply, r.log.slot_last);
    for (uint32_t i = 0; i < effects.count; i++) {
        const tr_effect &e = effects.item[i];
        if (e.type == TR_EFFECT_SEND)
            fprintf(c.setup.trace, " %s>%x",
                    tr_message_name(static_cast<const tr_message *>(e.u.send.piece[0].data)->type),
                    e.peers);
        else if (e.type == TR_EFFECT_REPLICATE)
            fprintf(c.setup.trace, " replicate>%x %" PRIu64 "-%" PRIu64, e.peers,
                    e.u.replicate.slot_first, e.u.replicate.slot_last);
        else
            fprintf(c.setup.trace, " effect%u", e.type);
    }
    fprintf(c.setup.trace, "\n");
}

std::string setup_text(const Setup &s)
{
    std::string text = "--seed " + std::to_string(s.seed) + " --profile " + s.profile->name;
    if (s.nodes != 0)
        text += " --nodes " + std::to_string(s.nodes);
    if (s.groups != 0)
        text += " --groups " + std::to_string(s.groups);
    if (s.faults_us != 0)
        text += " --faults-us " + std::to_string(s.faults_us);
    if (s.canary != 0)
        text += std::string(" --canary ") + canary_name(s.canary);
    std::string list;
    for (int i = 0; i < FAULTS; i++) {
        if ((s.without >> i & 1) != 0)
            list += std::string(list.empty() ? "" : ",") + fault_name(i);
    }
    return list.empty() ? text : text + " --without " + list;
}

namespace
{

struct Canary {
    const char *name, *what;
};

const Canary canaries[] = {
    {"NONE", "nothing"},
#define SIM_CANARY(name, what) {#name, what},
    TR_CANARY_TABLE(SIM_CANARY) TR_CANARY_SEARCHED_TABLE(SIM_CANARY)
#undef SIM_CANARY
        {"SESSION_SKIP_SHORT", "applies the last command of a duplicate again"},
    {"SESSION_GAP_APPLIED", "jumps over a gap in a session's commands"},
    {"SESSION_EVICT_BY_INDEX", "evicts by where a session lies in memory"},
    {"SESSION_ACKED_EARLY", "takes a run for acknowledged when it is applied"},
    {"SESSION_UNKNOWN_APPLIED", "takes an evicted session up again"},
    {"SESSION_REPLY_OVERTAKEN", "overwrites replies that are still wanted"},
    {"SESSION_LOAD_REORDERS", "forgets in a snapshot who was touched last"},
    {"SESSION_NUMBER_REUSED", "gives the numbers of sessions that are gone again"},
};
static_assert(sizeof(canaries) / sizeof(canaries[0]) == CANARIES, "each is named");

} // namespace

uint32_t canary_session(uint32_t canary)
{
    return canary < TR_CANARY_COUNT ? 0 : canary - TR_CANARY_COUNT + 1;
}

const char *canary_name(uint32_t canary)
{
    return canaries[canary].name;
}

const char *canary_what(uint32_t canary)
{
    return canaries[canary].what;
}

uint32_t canary_find(const std::string &name)
{
    uint32_t canary = 1;
    while (canary < CANARIES && name != canary_name(canary))
        canary++;
    return canary;
}

void totals_add(Totals &sum, const Totals &one)
{
    uint64_t most = std::max(sum.effects_most, one.effects_most);
    uint64_t *into = reinterpret_cast<uint64_t *>(&sum);
    const uint64_t *from = reinterpret_cast<const uint64_t *>(&one);
    for (size_t i = 0; i < sizeof(sum) / sizeof(uint64_t); i++)
        into[i] += from[i];
    sum.effects_most = most;
}

void counters_add(tr_sim_counters &sum, const tr_sim_counters &one)
{
#define SIM_ADD_COUNTER(name, what) sum.name += one.name;
    TR_SIM_COUNTER_TABLE(SIM_ADD_COUNTER)
#undef SIM_ADD_COUNTER
}

} // namespace sim
