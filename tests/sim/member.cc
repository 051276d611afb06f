/* Members: processes of a node that come and go, their clocks and their turns. */
#include "tests/sim/report.h"

#include <cstdlib>

namespace sim
{

namespace
{

constexpr uint64_t ELECTION_US = 1000, HEARTBEAT_US = 100;
/* Without news, a node has a turn after so long. */
constexpr uint64_t SLEEP_NS = 20000;
/* A turn that found work is followed by another one after so long. */
constexpr uint64_t BUSY_NS = 1000;

} // namespace

/* ---- clocks */

uint64_t Member::clock_at(uint64_t now_ns) const
{
    int64_t span = static_cast<int64_t>(now_ns - clock_since_ns);
    return clock_base_ns + static_cast<uint64_t>(span + span / 1000 * clock_ppm / 1000);
}

void Member::set_clock_rate(int64_t ppm)
{
    clock_base_ns = clock_at(cluster->now_ns);
    clock_since_ns = cluster->now_ns;
    clock_ppm = ppm;
}

/* ---- life */

bool Member::is_lost() const
{
    bool starts = lives <= 1 && cluster->setup.profile->starts_apart;
    if (lives == 0)
        return false;
    if (!up())
        return true;
    for (const auto &seat : seats) {
        /* Before the group is founded there is nothing to lose. */
        if (seat->recovers() && !(starts && !cluster->is_founded(seat->number)))
            return true;
    }
    return false;
}

static tr_group_options options_of(const Cluster &c, Seat &seat)
{
    tr_group_options o = TR_GROUP_OPTIONS_INIT;
    o.group = seat.number;
    o.machine = seat.machine.table();
    o.log_slots = c.log_slots;
    o.log_bytes = 1u << 19;
    o.batch_commands_max = 8;
    o.sessions_max = c.sessions_max;
    o.reply_cache_bytes = 1u << 16;
    o.snapshot_bytes_max = 1u << 18;
    o.election_timeout_us = ELECTION_US;
    o.heartbeat_us = HEARTBEAT_US;
    o.lease_us = c.lease_us;
    o.clock_drift_ppm = c.drift_ppm;
    o.one_sided = c.one_sided ? "auto" : "off";
    return o;
}

/* A disk that has everything 20 to 500 us after it was asked to. */
static void disk_persist(void *context, const tr_effect *e)
{
    Seat *seat = static_cast<Seat *>(context);
    Cluster &c = *seat->member->cluster;
    seat->persisted = e->u.persist.sequence;
    seat->durable_at_ns = c.now_ns + 20000 + c.below(480000);
}

static uint64_t disk_durable(void *context)
{
    Seat *seat = static_cast<Seat *>(context);
    if (seat->member->cluster->now_ns >= seat->durable_at_ns)
        seat->durable = seat->persisted;
    return seat->durable;
}

void Member::arrange_disk(Seat &seat)
{
    tr_group *g = seat.group;
    seat.persisted = seat.durable = seat.durable_at_ns = 0;
    tr_hold_init(&g->hold, tr_arena_take_untouched(&node->arena, tr_hold_memory_bytes()));
    g->persist = disk_persist;
    g->durable = disk_durable;
    g->persist_context = &seat;
    g->config.level = TR_LEVEL_DISK;
    g->replica->config.level = TR_LEVEL_DISK;
}

static void set_canary(tr_group *group, uint32_t canary)
{
    uint32_t session = canary_session(canary);
    tr_replica_set_canary(group->replica, session != 0 ? 0 : canary);
    group->canary = session != 0 ? 0 : canary;
    group->apply->sessions->canary = session;
}

void Member::open_group(Seat &seat)
{
    char error[256] = "";
    seat.machine = Machine();
    seat.machine.journal = &cluster->families[seat.number].journal;
    seat.machine.verdict = &cluster->verdict;
    seat.machine.padding = cluster->snapshot_padding;
    tr_group_options options = options_of(*cluster, seat);
    if (tr_group_open(node, &options, &seat.group, error, sizeof(error)) != 0) {
        cluster->verdict.fail("setup", "a group cannot be opened: %s", error);
        return;
    }
    set_canary(seat.group, cluster->setup.canary);
    if (cluster->setup.profile->disk)
        arrange_disk(seat);
    watch_begin(*cluster, seat);
    for (Client &client : seat.clients)
        client.open();
}

void Member::boot()
{
    std::vector<tr_peer> peers;
    for (size_t i = 0; i < cluster->addresses.size(); i++)
        peers.push_back({static_cast<uint16_t>(i + 1), cluster->addresses[i].c_str()});
    char error[256] = "";
    lives++;
    tr_node_options options = TR_NODE_OPTIONS_INIT;
    options.node = id;
    options.peers = peers.data();
    options.peer_count = static_cast<uint32_t>(peers.size());
    options.driver = "sim";
    options.fabric = cluster->world;
    options.counters = "";
    options.seed = cluster->below(UINT64_MAX - 1) + 1;
    options.message_bytes_max = COMMAND_BYTES_MAX;
    if (tr_node_open(&options, &node, error, sizeof(error)) != 0) {
        cluster->verdict.fail("setup", "a node cannot be opened: %s", error);
        node = nullptr;
        return;
    }
    node->boot = cluster->below(UINT64_MAX - 1) + 1; /* the one thing that no seed gives */
    clock_ns = clock_at(cluster->now_ns);
    tr_node_follow(node, &clock_ns);
    turn_ns = wake_ns = paused_ns = slow_ns = 0;
    for (auto &seat : seats)
        open_group(*seat);
}

void Member::crash()
{
    if (!up())
        return;
    for (auto &seat : seats) {
        watch_end(*cluster, *seat);
    }
    tr_sim_crash(cluster->world, id);
    tr_node_close(node);
    node = nullptr;
    for (auto &seat : seats) {
        seat->group = nullptr;
        for (Client &client : seat->clients)
            client.close(); /* a session outlives its node */
    }
}

/* ---- turns */

void Member::wake()
{
    wake_ns = 0;
}

bool Member::turn()
{
    uint64_t now_ns = cluster->now_ns;
    if (!up() || now_ns < paused_ns || (now_ns < slow_ns && now_ns < turn_ns + turn_every_ns))
        return false;
    if (!tr_sim_take_news(cluster->world, id) && now_ns < wake_ns)
        return false;
    tr_lcore *l = &node->lcore[0];
    clock_ns = clock_at(now_ns);
    if (now_ns >= turn_ns + SLEEP_NS / 2)
        l->idle.state = TR_IDLING_PARK; /* as production after a sleep: it looks at everything */
    turn_ns = now_ns;
    cluster->polled = this;
    uint32_t work = tr_poll(node);
    cluster->polled = nullptr;
    uint64_t until_ns = l->deadline_ns > clock_ns ? l->deadline_ns - clock_ns : BUSY_NS;
    wake_ns = now_ns + (work != 0 ? BUSY_NS : std::min(SLEEP_NS, std::max(until_ns, BUSY_NS)));
    return true;
}

} // namespace sim

/* ---- what costs time at each start of a node, and decides nothing: linked in their places */

extern "C" {
void __wrap_tr_clock_open(struct tr_clock *clock);
struct tr_histogram *__wrap_tr_counters_add_histogram(struct tr_counters *c, const char *scope,
                                                      const char *name, const char *help);
uint64_t __wrap_tr_process_born(uint32_t process);
struct tr_pollers *__wrap_tr_pollers_open();
uint32_t __real_tr_config_ring_bytes(const struct tr_replica_config *config);
uint32_t __wrap_tr_config_ring_bytes(const struct tr_replica_config *config);
}

/* Clocks of simulated nodes follow virtual time: none is held against the machine's first. */
void __wrap_tr_clock_open(struct tr_clock *clock)
{
    *clock = tr_clock();
}

/* Stage times of simulated nodes say nothing, and are all kept in one place. */
struct tr_histogram *__wrap_tr_counters_add_histogram(struct tr_counters *, const char *,
                                                      const char *, const char *)
{
    static struct tr_histogram all;
    return &all;
}

/* This process is named to nobody, */
uint64_t __wrap_tr_process_born(uint32_t)
{
    return 1;
}

/* and simulated nodes wait for nobody's CPU. */
struct tr_pollers *__wrap_tr_pollers_open()
{
    return nullptr;
}

/* Rings are as narrow as one may be, where the profile says so: they are filled. */
uint32_t __wrap_tr_config_ring_bytes(const struct tr_replica_config *config)
{
    uint32_t bytes = __real_tr_config_ring_bytes(config);
    const sim::Cluster *cluster = sim::watched_cluster();
    bool narrow = cluster != nullptr && cluster->setup.profile->narrow_rings;
    while (narrow && bytes / 2 >= 2 * tr_record_bytes(config->entry_bytes_max))
        bytes /= 2;
    return bytes;
}
