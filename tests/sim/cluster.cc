/* A cluster's making and its stages. */
#include "tests/sim/cluster.h"

#include "tests/sim/faults.h"

#include <cstring>
#include <sys/mman.h>

namespace sim
{

namespace
{

/* Time between two turns of the world, at most. */
constexpr uint64_t TURN_MAX_NS = 20000;
constexpr uint64_t US = 1000;
/* Within which a thousand commands are done where nothing is in the way. */
constexpr uint64_t WORK_NS = 400000 * US;
/* Of all datagrams under way. */
constexpr uint32_t PACKETS_BYTES = 8u << 20;

} // namespace

/* ---- making */

/* Memory of the world, zero, which lives as long as the cluster. What is never touched costs
 * nothing. */
void *Cluster::allocate(void *context, size_t bytes, size_t)
{
    void *block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return nullptr;
    static_cast<Cluster *>(context)->blocks_.emplace_back(block, bytes);
    return block;
}

void Cluster::make_world()
{
    const Profile &profile = *setup.profile;
    tr_sim_options options = {};
    options.struct_bytes = sizeof(options);
    options.seed = setup.seed;
    options.profile = network_of(profile, setup.seed, setup.without);
    datagram_bytes = options.profile.datagram_bytes != 0 ? options.profile.datagram_bytes : 1472;
    options.datagrams_max =
        std::max<uint32_t>(2048, std::min(8192u, PACKETS_BYTES / datagram_bytes));
    options.memory.context = this;
    options.memory.allocate = allocate;
    options.memory_is_zero = true;
    if (tr_sim_world_create(&options, &world) != TR_OK)
        verdict.fail("setup", "no world can be made");
    tr_sim_advance(world, now_ns);
    one_sided = profile.writes == Writes::On || (profile.writes == Writes::Drawn && below(2) == 0);
    snapshot_padding = static_cast<uint32_t>(below(UINT64_C(2) << below(17)));
    log_slots = below(2) == 0 ? 1024 : 128;
    large_of_16 = below(4) == 0 ? 8 : 1; /* the log comes round soon, or late */
    pace_ns = below(2) == 0 ? 25000 : 80000;
    reads_of_8 = below(2) == 0 ? 2 : 6;
    if (profile.lease != Lease::Off) {
        lease_us = 200 + static_cast<uint32_t>(below(800));
        drift_ppm = 1000 + static_cast<uint32_t>(below(20000));
    }
}

void Cluster::make_members()
{
    static const uint32_t sizes[] = {3, 3, 3, 5, 5, 7};
    uint32_t drawn = sizes[below(6)];
    uint32_t nodes = setup.nodes != 0 ? setup.nodes : drawn;
    drawn = 1 + static_cast<uint32_t>(below(setup.profile->groups_max));
    uint32_t groups = setup.groups != 0 ? setup.groups : drawn;
    families.resize(groups);
    for (uint32_t i = 0; i < nodes; i++) {
        addresses.push_back("sim:node" + std::to_string(i + 1));
        members.push_back(std::make_unique<Member>());
        Member &m = *members.back();
        m.cluster = this;
        m.id = static_cast<uint16_t>(i + 1);
        m.clock_base_ns = below(1000000 * US);
        if (setup.profile->starts_apart)
            m.boot_ns = now_ns + below(3000 * US);
        for (uint32_t g = 0; g < groups; g++) {
            m.seats.push_back(std::make_unique<Seat>());
            m.seats.back()->member = &m;
            m.seats.back()->number = g;
            m.seats.back()->clients.resize(1 + below(2));
            for (Client &client : m.seats.back()->clients)
                client.seat = m.seats.back().get();
        }
    }
    /* Room for those that are there, and for few that are gone: these are evicted. */
    sessions_max = 2 * nodes + static_cast<uint32_t>(below(8));
}

Cluster::Cluster(const Setup &a_setup) : setup(a_setup), stage("faults")
{
    uint64_t faults_us =
        setup.faults_us != 0 ? setup.faults_us : setup.profile->faults_ms * UINT64_C(1000);
    tr_prng_seed(&random, setup.seed);
    tr_prng_seed(&client_random, setup.seed ^ UINT64_C(0xc11e27));
    faults_end_ns = now_ns + faults_us * US;
    watch_cluster(this);
    make_world();
    make_members();
    faults_ = std::make_unique<Faults>(*this);
}

Cluster::~Cluster()
{
    for (auto &m : members)
        m->crash();
    tr_sim_world_destroy(world);
    for (auto &block : blocks_)
        munmap(block.first, block.second);
    watch_cluster(nullptr);
}

/* ---- looking */

bool Cluster::can_lose(const Member &member) const
{
    size_t count = members.size();
    size_t spare = count / 2; /* min(Q1, Q2) - 1 of majorities */
    size_t lost = 0;
    for (const auto &m : members)
        lost += m.get() != &member && m->is_lost();
    return lost + 1 <= spare;
}

bool Cluster::is_founded(uint32_t group) const
{
    for (const auto &m : members) {
        const Seat &seat = *m->seats[group];
        if (seat.watch.votes || seat.ghost.is_there)
            return true;
    }
    return false;
}

Member *Cluster::leader() const
{
    Member *best = nullptr;
    for (const auto &m : members) {
        if (!m->up() || m->seats[0]->replica()->role != TR_REPLICA_LEADER)
            continue;
        if (best == nullptr ||
            tr_ballot_less(best->seats[0]->replica()->ballot, m->seats[0]->replica()->ballot))
            best = m.get();
    }
    return best;
}

/* Every replica votes and has applied everything, and no client waits. */
bool Cluster::is_level() const
{
    for (const auto &m : members) {
        for (const auto &seat : m->seats) {
            if (!m->up() || seat->recovers() ||
                seat->machine.count != families[seat->number].journal.commands.size())
                return false;
            for (const Client &client : seat->clients) {
                if (client.session == nullptr || tr_session_pending(client.session) != 0)
                    return false;
            }
        }
    }
    return true;
}

/* ---- time */

uint64_t Cluster::next_ns() const
{
    uint64_t next = std::min(now_ns + TURN_MAX_NS, std::max(tr_sim_next_ns(world), now_ns + 1));
    next = std::min(next, faults_->next_ns());
    for (const auto &m : members) {
        if (!m->up()) {
            next = std::min(next, m->boot_ns);
            continue;
        }
        next = std::min(next, std::min(std::min(m->crash_ns, m->campaign_ns), m->next_ns()));
    }
    return std::max(next, now_ns + US / 2);
}

/* Those whose time has come start, or crash again. */
void Cluster::start_and_stop()
{
    for (auto &m : members) {
        if (m->up() && now_ns >= m->crash_ns) {
            m->crash_ns = UINT64_MAX;
            if (can_lose(*m)) {
                m->crash();
                m->boot_ns = now_ns + 5 * US + below(100 * US);
            }
        }
        if (m->up() && now_ns >= m->campaign_ns) {
            m->campaign_ns = UINT64_MAX;
            tr_group_campaign(m->seats[0]->group);
            m->wake();
        }
        if (m->up() || now_ns < m->boot_ns)
            continue;
        m->boot();
        if (m->storm > 0) {
            m->storm--;
            m->crash_ns = now_ns + 1 + below(600 * US);
        }
    }
}

void Cluster::turn()
{
    now_ns = next_ns();
    tr_sim_advance(world, now_ns);
    faults_->advance(weather == Weather::Hostile);
    start_and_stop();
    for (auto &m : members) {
        if (!m->turn())
            continue;
        for (auto &seat : m->seats) {
            for (Client &client : seat->clients)
                client.collect();
        }
    }
}

void Cluster::load(uint32_t group)
{
    for (auto &m : members) {
        if (!m->up() || now_ns < m->paused_ns)
            continue;
        for (Client &client : m->seats[group]->clients)
            client.work(now_ns);
    }
}

void Cluster::run_until(uint64_t until_ns)
{
    while (now_ns < until_ns && !verdict.failed) {
        turn();
        for (uint32_t g = 0; g < families.size(); g++)
            load(g);
    }
}

/* ---- stages */

void Cluster::calm_down()
{
    tr_sim_profile profile = tr_sim_profile_calm();
    tr_sim_set_profile(world, &profile);
    faults_->end();
    weather = Weather::Calm;
}

void Cluster::remember_acked()
{
    for (Family &f : families)
        f.acked_before = f.journal.acked;
}

/* Whether every group has taken new commands, as far as clients were told. */
bool Cluster::has_progressed(const Member *but) const
{
    for (const Family &f : families) {
        if (f.journal.acked <= f.acked_before)
            return false;
    }
    return but != nullptr || is_level();
}

/* Liveness: within a bound new commands go through, from all members but one, and all are level. */
void Cluster::check_return(const char *checker, uint64_t bound_ns, const Member *but)
{
    uint64_t until_ns = now_ns + bound_ns;
    remember_acked();
    while (now_ns < until_ns && !verdict.failed && !has_progressed(but)) {
        turn();
        for (uint32_t g = 0; g < families.size(); g++) {
            bool wants = families[g].journal.acked <= families[g].acked_before;
            for (auto &m : members) {
                for (Client &client : m->seats[g]->clients) {
                    if (m->up() && (client.session == nullptr || (wants && m.get() != but)))
                        client.work(now_ns);
                }
            }
        }
    }
    if (verdict.failed || has_progressed(but))
        return;
    std::string text;
    for (const auto &m : members) {
        for (const auto &seat : m->seats)
            text += " " + std::to_string(m->id) + "/" + std::to_string(seat->number) + ":" +
                    std::to_string(m->up() ? seat->replica()->role : -1) + "," +
                    std::to_string(seat->machine.count) + "," +
                    std::to_string(seat->clients[0].session != nullptr
                                       ? tr_session_pending(seat->clients[0].session)
                                       : 999);
    }
    verdict.fail(checker, "after %llu ms (node/group:role,applied,pending):%s",
                 (unsigned long long)(bound_ns / 1000000), text.c_str());
}

/* A leader that hears nobody, but is heard, has to be replaced (rule 18). */
void Cluster::end_deaf()
{
    Member *deaf = leader();
    stage = "deaf";
    if (deaf == nullptr || families.size() != 1)
        return;
    for (const auto &m : members)
        faults_->cut(m->id, deaf->id, UINT64_MAX);
    check_return("deaf leader", DEAF_NS, deaf);
    faults_->end();
    if (verdict.failed)
        return;
    stage = "deaf healed";
    check_return("liveness", CALM_NS, nullptr);
}

/* More lose their memory than can be recovered from: the group stops, and never starts afresh. */
void Cluster::end_lost()
{
    stage = "lost";
    size_t keep = below(members.size());
    for (auto &m : members) {
        if (m->id != keep + 1)
            m->crash();
    }
    for (auto &m : members)
        m->boot_ns = now_ns + below(2000 * US);
    run_until(now_ns + 30000 * US);
}

/* Protocol events so far: every one that a replica was handed, and the writes that landed, which no
 * step says. */
uint64_t Cluster::events() const
{
    return totals.steps + tr_sim_world_counters(world)->writes_landed;
}

bool Cluster::has_enough() const
{
    return setup.faults_us != 0 || (events() >= EVENTS_LEAST && totals.commands >= ACKED_LEAST);
}

/* Without faults clients get their commands through, until there are enough. */
void Cluster::work_on()
{
    uint64_t until_ns = now_ns + WORK_NS;
    stage = "work";
    weather = Weather::Fair;
    while (now_ns < until_ns && !verdict.failed && !has_enough())
        run_until(now_ns + 1000 * US);
    if (!verdict.failed && !has_enough())
        verdict.fail("starved", "%llu commands in %llu ms without a fault",
                     (unsigned long long)totals.commands, (unsigned long long)(WORK_NS / 1000000));
    weather = Weather::Calm;
    if (!verdict.failed)
        check_return("liveness", CALM_NS, nullptr);
}

/* Nothing that a node gave to its NIC was changed before the NIC was done with it (rule 7). */
void Cluster::check_sources()
{
    uint64_t changed = tr_sim_world_counters(world)->sources_changed;
    if (changed != 0)
        verdict.fail("source reuse", "%llu writes sent other bytes than were given",
                     (unsigned long long)changed);
}

/* Nothing was written over what a ring's reader had not taken (rule 10). */
void Cluster::check_credit()
{
    uint64_t overran = tr_sim_world_counters(world)->writes_overran;
    if (overran != 0)
        verdict.fail("credit", "%llu writes lie over what their reader had not taken",
                     (unsigned long long)overran);
}

void Cluster::run()
{
    uint64_t span_ns = faults_end_ns - now_ns;
    run_until(faults_end_ns);
    uint32_t spans = setup.profile->ends_lost ? SPANS_MAX / 8 : SPANS_MAX;
    for (uint32_t i = 1; i < spans && !verdict.failed && !has_enough(); i++)
        run_until(faults_end_ns + i * span_ns);
    stage = "calm";
    calm_down();
    if (!verdict.failed)
        check_return("liveness", CALM_NS, nullptr);
    if (!verdict.failed && !has_enough())
        work_on();
    if (!verdict.failed && setup.profile->ends_deaf)
        end_deaf();
    if (!verdict.failed && setup.profile->ends_lost)
        end_lost();
    end();
}

void Cluster::end()
{
    totals.events = events();
    check_sources();
    if (!verdict.failed)
        check_credit();
}

} // namespace sim
