/* A cluster of production nodes in a simulated world: one thread, virtual time, everything from
 * the seed.
 *
 * A Member is a node, whatever process of it lives; a Seat is its replica of one group; a Client is
 * one session of a seat. A cluster runs in stages: faults strike; then they stop, and within a
 * stated virtual time every replica must have applied everything and new commands must go through;
 * then come the ends that a profile asks for. Whatever a checker finds first ends the run. */
#ifndef TR_TESTS_SIM_CLUSTER_H
#define TR_TESTS_SIM_CLUSTER_H

#include "base/prng.h"
#include "dataplane/node.h"
#include "tests/sim/machine.h"
#include "tests/sim/profile.h"
#include "tests/sim/watch.h"

#include <cstdlib>
#include <deque>
#include <memory>

namespace sim
{

/* Bound of the return of liveness once the faults stop: an election, a recovery with a snapshot,
 * and the longest backoff of each, several times over. */
constexpr uint64_t CALM_NS = 400 * UINT64_C(1000000);
/* Within which a leader that hears nobody has to be replaced: 100 election timeouts. */
constexpr uint64_t DEAF_NS = 100 * UINT64_C(1000000);

/* What a schedule has at least: protocol events, each handed to a replica's step or a one-sided
 * write that landed, and commands whose clients were told of their effect. Faults go on until there
 * are so many, for the profile's span at least and for so many of them at most; where a group could
 * hardly work under them, the commands come when they are over. */
constexpr uint64_t EVENTS_LEAST = 20000, ACKED_LEAST = 1000;
constexpr uint32_t SPANS_MAX = 32;

/* What makes a run: the same setup gives the same run, bit by bit. */
struct Setup {
    uint64_t seed = 1;
    const Profile *profile = nullptr;
    uint32_t nodes = 0;     /* 0: drawn, of 3, 5 and 7 */
    uint32_t groups = 0;    /* 0: drawn, up to the profile's */
    uint64_t faults_us = 0; /* exactly; 0: the profile's span, and on until there is enough */
    uint32_t without = 0;   /* faults that do not happen, a bit each */
    uint32_t canary = 0;    /* enum tr_canary */
    FILE *trace = nullptr;  /* every step, a line each */
};

/* Faults strike; or clients work without any; or they hardly work at all. */
enum class Weather { Hostile, Fair, Calm };

struct Cluster;
struct Member;
struct Seat;

struct Client {
    Seat *seat = nullptr;
    tr_session *session = nullptr;
    uint64_t next_ns = 0;
    bool has_deadline = false;
    std::deque<uint64_t> floors; /* of the reads under way: what each must see at least */

    void open();
    void close();
    /* Asks for something, when it is time. */
    void work(uint64_t now_ns)
    {
        if (now_ns >= next_ns)
            ask();
    }
    void collect();

  private:
    void ask();
    void send();
    void take(const tr_completion &done);
};

struct Seat {
    Member *member = nullptr;
    uint32_t number = 0; /* of the group */
    Machine machine;
    tr_group *group = nullptr;
    std::vector<Client> clients;
    uint64_t next = 0; /* commands made, of all lives */
    Watch watch;       /* of the life under way */
    Ghost ghost;       /* what the last life that voted held, until the next one votes */
    uint64_t persisted = 0, durable_at_ns = 0, durable = 0; /* the simulated disk */

    const tr_replica *replica() const
    {
        return group->replica;
    }
    bool recovers() const
    {
        return replica()->role == TR_REPLICA_RECOVERING;
    }
};

struct Member {
    Cluster *cluster = nullptr;
    uint16_t id = 0;
    uint32_t lives = 0;
    tr_node *node = nullptr;
    std::vector<std::unique_ptr<Seat>> seats;

    uint64_t boot_ns = 0;                    /* while it is down: when it starts */
    uint32_t storm = 0;                      /* crashes to come */
    uint64_t crash_ns = UINT64_MAX;          /* of the next of these */
    uint64_t paused_ns = 0, slow_ns = 0;     /* until then */
    uint64_t turn_every_ns = 0, turn_ns = 0; /* while it is slow; the last turn */
    uint64_t campaign_ns = UINT64_MAX;       /* when it stands for election */
    uint64_t wake_ns = 0;                    /* when it wants a turn */
    uint64_t clock_ns = 0;                   /* its own clock, which its node reads */
    uint64_t clock_base_ns = 0, clock_since_ns = 0;
    int64_t clock_ppm = 0;

    bool up() const
    {
        return node != nullptr;
    }
    /* A client, or the simulator, has something for it to see to at once. */
    void wake();
    /* Whether it has lost its memory, and not recovered it yet. */
    bool is_lost() const;
    void boot();
    void crash();
    /* Lets it look at the world, if there is anything for it to see. Returns whether it did. */
    bool turn();
    /* When it wants its next turn, if nothing comes to it. */
    uint64_t next_ns() const
    {
        uint64_t slow = turn_ns + turn_every_ns < slow_ns ? turn_ns + turn_every_ns : 0;
        return std::max(std::max(wake_ns, paused_ns), slow);
    }
    void set_clock_rate(int64_t ppm);
    uint64_t clock_at(uint64_t now_ns) const;

  private:
    void open_group(Seat &seat);
    void arrange_disk(Seat &seat);
};

/* Everything of one group that outlives processes. */
struct Family {
    Journal journal;
    Chosen chosen;
    uint64_t acked_before = 0; /* when the stage began */
};

/* What a run did. */
struct Totals {
    uint64_t events, steps, commands, unknown, refused, reads, stale_allowed, evictions, elections;
    uint64_t effects_most;
    uint64_t struck[FAULTS];
};

struct Cluster {
    explicit Cluster(const Setup &setup);
    ~Cluster();

    Setup setup;
    Verdict verdict;
    Totals totals = {};
    uint64_t hash = 0; /* over every step: equal for equal runs */
    uint64_t now_ns = 1000000;
    uint64_t faults_end_ns = 0;
    bool one_sided = false;
    uint32_t lease_us = 0, drift_ppm = 0;
    uint32_t datagram_bytes = 0;
    uint32_t snapshot_padding = 0;
    uint32_t log_slots = 0;
    uint32_t large_of_16 = 0; /* of sixteen commands */
    uint64_t pace_ns = 0;     /* mean time between two requests of a client */
    uint32_t reads_of_8 = 0;  /* of eight requests */
    std::string stage;
    Weather weather = Weather::Hostile;
    uint32_t sessions_max = 0; /* of a group's table */
    std::vector<std::string> addresses;
    std::vector<Family> families;
    std::vector<std::unique_ptr<Member>> members;
    Member *polled = nullptr; /* whose turn it is */
    tr_prng random;           /* of the cluster's making; */
    tr_prng client_random;    /* of clients */
    tr_sim_world *world = nullptr;

    /* Runs all stages, or until a checker finds something. */
    void run();
    /* The run is over, however it came to that. */
    void end();
    /* Lets one thing happen: time passes to it, and everybody who wants it has a turn. */
    void turn();
    /* As above, until a time, with clients. */
    void run_until(uint64_t until_ns);
    uint64_t below(uint64_t bound)
    {
        return tr_prng_below(&random, bound);
    }
    /* Whether one more may lose its memory: recovery needs N - min(Q1, Q2) + 1 others. */
    bool can_lose(const Member &member) const;
    /* Whether any member votes in a group, or did. */
    bool is_founded(uint32_t group) const;
    /* The member that leads the first group with the highest ballot; NULL: none. */
    Member *leader() const;

  private:
    std::vector<std::pair<void *, size_t>> blocks_;
    std::unique_ptr<class Faults> faults_;

    static void *allocate(void *context, size_t bytes, size_t align);
    void make_world();
    void make_members();
    uint64_t next_ns() const;
    void start_and_stop();
    uint64_t events() const;
    bool has_enough() const;
    void work_on();
    void check_sources();
    void check_credit();
    void load(uint32_t group);
    void calm_down();
    bool is_level() const;
    bool has_progressed(const Member *but) const;
    void remember_acked();
    void check_return(const char *checker, uint64_t bound_ns, const Member *but);
    void end_deaf();
    void end_lost();
};

} // namespace sim

#endif
