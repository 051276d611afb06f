/* What each fault does. */
#include "tests/sim/faults.h"

#include "base/atomic.h"
#include "tests/sim/core.h"

namespace sim
{

namespace
{

constexpr uint64_t US = 1000;

} // namespace

Faults::Faults(Cluster &cluster) : c_(cluster)
{
    size_t count = c_.members.size();
    cut_until_.assign(count, std::vector<uint64_t>(count, 0));
    for (int i = 0; i < TIMED_FAULTS; i++) {
        uint64_t every_ns = c_.setup.profile->every_us[i] * US;
        bool never = every_ns == 0 || (c_.setup.without >> (FAULT_TIMED_FIRST + i) & 1) != 0;
        tr_prng_seed(&timed_[i].random, c_.setup.seed * 64 + static_cast<uint64_t>(i));
        timed_[i].next_ns =
            never ? UINT64_MAX : c_.now_ns + tr_prng_below(&timed_[i].random, 2 * every_ns);
    }
    look_ahead();
}

uint64_t Faults::draw(int fault, uint64_t bound)
{
    return tr_prng_below(&timed_[fault - FAULT_TIMED_FIRST].random, bound);
}

/* A duration as likely in each of its octaves. */
uint64_t Faults::draw_octaves(int fault, uint64_t low, uint32_t octaves)
{
    uint64_t base = low << draw(fault, octaves);
    return base + draw(fault, base);
}

Member &Faults::any(int fault)
{
    return *c_.members[draw(fault, c_.members.size())];
}

/* ---- time */

void Faults::look_ahead()
{
    strike_ns_ = UINT64_MAX;
    for (const Timed &t : timed_)
        strike_ns_ = std::min(strike_ns_, t.next_ns);
}

void Faults::advance(bool strikes)
{
    if (c_.now_ns >= heal_ns_)
        heal();
    if (c_.now_ns < strike_ns_)
        return;
    for (int i = 0; i < TIMED_FAULTS; i++) {
        Timed &t = timed_[i];
        if (c_.now_ns < t.next_ns)
            continue;
        t.next_ns =
            c_.now_ns + 1 + tr_prng_below(&t.random, 2 * c_.setup.profile->every_us[i] * US);
        if (!strikes)
            t.next_ns = UINT64_MAX;
        else
            c_.totals.struck[FAULT_TIMED_FIRST + i] += strike(FAULT_TIMED_FIRST + i);
    }
    look_ahead();
}

void Faults::end()
{
    for (auto &row : cut_until_)
        row.assign(row.size(), 0);
    heal_ns_ = UINT64_MAX;
    tr_sim_heal_all(c_.world);
    for (auto &m : c_.members) {
        m->paused_ns = m->slow_ns = 0;
        m->storm = 0;
        m->crash_ns = m->campaign_ns = UINT64_MAX;
        m->boot_ns = 0;
    }
}

/* ---- cuts */

void Faults::cut(uint16_t from, uint16_t to, uint64_t until_ns)
{
    if (from == to)
        return;
    uint64_t &until = cut_until_[from - 1u][to - 1u];
    until = std::max(until, until_ns);
    heal_ns_ = std::min(heal_ns_, until);
    tr_sim_partition(c_.world, from, to, true);
}

void Faults::heal()
{
    heal_ns_ = UINT64_MAX;
    for (size_t from = 0; from < cut_until_.size(); from++) {
        for (size_t to = 0; to < cut_until_.size(); to++) {
            uint64_t &until = cut_until_[from][to];
            if (until != 0 && until <= c_.now_ns) {
                until = 0;
                tr_sim_partition(c_.world, static_cast<tr_node_id>(from + 1),
                                 static_cast<tr_node_id>(to + 1), false);
            }
            if (until != 0)
                heal_ns_ = std::min(heal_ns_, until);
        }
    }
}

void Faults::cut_around(uint16_t id, bool in, bool out, uint64_t until_ns)
{
    for (const auto &m : c_.members) {
        if (in)
            cut(m->id, id, until_ns);
        if (out)
            cut(id, m->id, until_ns);
    }
}

/* Each node falls to a side by a coin; a bridge belongs to both. */
void Faults::cut_sides(int fault, bool bridge, uint64_t until_ns)
{
    uint64_t sides = draw(fault, UINT64_C(1) << c_.members.size());
    uint16_t both = bridge ? any(fault).id : 0;
    for (const auto &a : c_.members) {
        for (const auto &b : c_.members) {
            if (a->id != both && b->id != both && ((sides >> a->id ^ sides >> b->id) & 1) != 0)
                cut(a->id, b->id, until_ns);
        }
    }
}

/* A leader is cut off, from nobody but one as often as from all, and another stands at once. */
bool Faults::coup(Member &leader, uint64_t until_ns)
{
    Member &heir = any(FAULT_COUP);
    if (&heir == &leader || !heir.up())
        return false;
    for (const auto &m : c_.members) {
        if (m.get() == &heir || draw(FAULT_COUP, 2) == 0) {
            cut(leader.id, m->id, until_ns);
            cut(m->id, leader.id, until_ns);
        }
    }
    for (auto &seat : heir.seats)
        tr_group_campaign(seat->group);
    heir.wake();
    return true;
}

/* A follower is cut off while another one comes to lead, and stands as soon as it is back: what the
 * first leader wrote into its ring may land only now. */
bool Faults::exile(const Member &leader)
{
    Member &exiled = any(FAULT_EXILE);
    Member &heir = any(FAULT_EXILE);
    uint64_t until_ns = c_.now_ns + 300 * US + draw(FAULT_EXILE, 2500 * US);
    bool with_leader = draw(FAULT_EXILE, 2) == 0; /* they have each other, and nobody else */
    if (&exiled == &leader || &heir == &leader || &heir == &exiled || !heir.up() || !exiled.up())
        return false;
    for (const auto &m : c_.members) {
        if (m.get() != &leader || !with_leader) {
            cut(m->id, exiled.id, until_ns);
            cut(exiled.id, m->id, until_ns);
        }
        if (m.get() != &exiled && with_leader) {
            cut(m->id, leader.id, until_ns + 1000 * US);
            cut(leader.id, m->id, until_ns + 1000 * US);
        }
    }
    tr_group_campaign(heir.seats[0]->group);
    heir.wake();
    exiled.campaign_ns = until_ns + 1;
    return true;
}

bool Faults::strike_network(int fault)
{
    uint64_t until_ns = c_.now_ns + draw_octaves(fault, 100 * US, 8);
    Member *leader = c_.leader();
    uint16_t a = any(fault).id, b = any(fault).id;
    switch (fault) {
    case FAULT_CUT_PAIR:
        cut(b, a, until_ns);
        cut(a, b, until_ns);
        return a != b;
    case FAULT_CUT_ONE_WAY:
        cut(a, b, until_ns);
        return a != b;
    case FAULT_CUT_SIDE:
    case FAULT_BRIDGE:
        cut_sides(fault, fault == FAULT_BRIDGE, until_ns);
        return true;
    case FAULT_CUT_LEADER:
        if (leader != nullptr)
            cut_around(leader->id, true, true, until_ns);
        return leader != nullptr;
    case FAULT_COUP:
        return leader != nullptr && coup(*leader, until_ns);
    case FAULT_EXILE:
        return leader != nullptr && exile(*leader);
    case FAULT_DEAF:
        cut_around(leader != nullptr && draw(fault, 2) == 0 ? leader->id : a, true, false,
                   until_ns);
        return true;
    }
    return false;
}

/* ---- nodes */

/* Crashes a node, if the others can do without its memory. It starts again soon, or late. */
bool Faults::crash(Member &m, int fault)
{
    if (!m.up() || !c_.can_lose(m))
        return false;
    m.crash();
    m.boot_ns = c_.now_ns + draw_octaves(fault, 5 * US, draw(fault, 4) == 0 ? 14 : 9);
    m.crash_ns = UINT64_MAX;
    if (fault == FAULT_STORM && m.storm == 0)
        m.storm = 2 + static_cast<uint32_t>(draw(fault, 6));
    return true;
}

/* 1 us to 16 ms, and now and then a second. */
void Faults::pause(Member &m)
{
    uint64_t span_ns = draw_octaves(FAULT_PAUSE, US, 14);
    if (draw(FAULT_PAUSE, 200) == 0)
        span_ns = 500000 * US + draw(FAULT_PAUSE, 2000000 * US);
    m.paused_ns = c_.now_ns + span_ns;
}

/* Within half the stated bound each, so that any two differ by it at most; or far beyond. */
void Faults::clock(Member &m)
{
    int64_t bound = static_cast<int64_t>(c_.drift_ppm) * 49 / 100;
    if (c_.setup.profile->lease == Lease::Beyond)
        bound = 400000;
    if (c_.setup.profile->lease == Lease::Off)
        bound = 100000;
    int64_t ppm = static_cast<int64_t>(draw(FAULT_CLOCK, static_cast<uint64_t>(2 * bound + 1)));
    m.set_clock_rate(draw(FAULT_CLOCK, 3) == 0 ? (ppm > bound ? bound : -bound) : ppm - bound);
}

/* A client goes without a word, or closes; another one comes in its place. */
void Faults::disconnect(Member &m)
{
    for (auto &seat : m.seats) {
        Client &client = seat->clients[draw(FAULT_DISCONNECT, seat->clients.size())];
        /* Those that are closed keep their places until the log has heard of it. */
        if (m.up() && seat->group->local_count + 2 < c_.sessions_max)
            client.close();
    }
}

/* What a node drains next has the generation and the position of a record, and no more: its tag is
 * a guess. */
bool Faults::forge(Seat &seat)
{
    const tr_replica &r = *seat.replica();
    const tr_inlet &in = seat.group->inlet;
    tr_record record = {};
    if (in.granted >= TR_MEMBERS_MAX || in.fence != TR_FENCE_NONE)
        return false;
    const tr_ring_info &info = in.ring[in.granted].info;
    uint32_t offset = static_cast<uint32_t>(in.position & (info.bytes - 1));
    tr_copy_relaxed_8(&record, info.memory + offset, sizeof(record));
    if (record.generation == in.grant.generation && record.tag == in.grant.tag)
        return false; /* a true one lies there, or begins to */
    record = {};
    record.generation = in.grant.generation;
    record.tag = draw(FAULT_FORGE, UINT64_MAX);
    record.slot = r.log.slot_last + 1;
    record.ballot = r.promised;
    record.position = static_cast<uint32_t>(in.position / TR_RECORD_ALIGN);
    record.kind = TR_RECORD_NOOP;
    tr_record_seal(&record);
    return tr_sim_scribble(seat.member->node->lcore[0].port, info.ring, offset, &record,
                           sizeof(record));
}

bool Faults::strike(int fault)
{
    Member &m = any(fault);
    switch (fault) {
    case FAULT_CRASH:
    case FAULT_STORM:
        return crash(m, fault);
    case FAULT_PAUSE:
        pause(m);
        return m.up();
    case FAULT_SLOW:
        m.turn_every_ns = draw_octaves(fault, 5 * US, 6);
        m.slow_ns = c_.now_ns + draw_octaves(fault, 100 * US, 8);
        return m.up();
    case FAULT_CLOCK:
        clock(m);
        return true;
    case FAULT_DISCONNECT:
        disconnect(m);
        return m.up();
    case FAULT_CAMPAIGN:
        if (m.up())
            tr_group_campaign(m.seats[draw(fault, m.seats.size())]->group);
        m.wake();
        return m.up();
    case FAULT_FORGE:
        return m.up() && forge(*m.seats[draw(fault, m.seats.size())]);
    default:
        return strike_network(fault);
    }
}

} // namespace sim
