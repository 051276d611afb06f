/*
 * The commands of a trace script: a world of replicas (tests/unit/replica_world.h) in which nothing
 * moves but by a command, and every event that a replica takes and every effect that it has is a
 * line of the trace.
 *
 * At the end of a command each replica's cycle ends: what its steps left pending is done (one
 * acknowledgement for many Accepts), and timers that are due fire. Time passes by `tick` and `run`
 * alone.
 */
#ifndef TR_TESTS_TRACE_TRACE_WORLD_H
#define TR_TESTS_TRACE_TRACE_WORLD_H

#include "tests/unit/replica_agreement.h"

#include <string>
#include <vector>

namespace trace
{

class TraceWorld
{
  public:
    explicit TraceWorld(uint32_t canary) : canary_(canary) {}

    /* Runs one line of a script; returns what happened, a line each. A command that is not
     * understood says so in its output. */
    std::string run(const std::string &line);
    /* What must never happen and did, or "". */
    std::string violation() const
    {
        return agreement_ == nullptr || !standstill_.empty() ? standstill_
                                                             : agreement_->violation();
    }

  private:
    using Words = std::vector<std::string>;
    using Sent = replica_world::Sent;
    using Command = bool (TraceWorld::*)(const Words &);
    struct Selection {
        int from = -1, to = -1;
        std::string types;
        bool matches(Sent &sent) const;
    };

    static Command command_of(const std::string &name);
    bool cluster(const Words &w);
    bool elect(const Words &w);
    bool deliver(const Words &w);
    bool settle(const Words &w);
    bool drop(const Words &w);
    bool copy(const Words &w);
    bool wire(const Words &w);
    bool cut(const Words &w);
    bool heal(const Words &w);
    bool tick(const Words &w);
    bool run_for(const Words &w);
    bool progress(const Words &w);
    bool propose(const Words &w);
    bool fill(const Words &w);
    bool read(const Words &w);
    bool campaign(const Words &w);
    bool land(const Words &w);
    bool written(const Words &w);
    bool fence_done(const Words &w);
    bool durable(const Words &w);
    bool applied(const Words &w);
    bool snapshot_made(const Words &w);
    bool snapshot_installed(const Words &w);
    bool dead(const Words &w);
    bool crash(const Words &w);
    bool restart(const Words &w);
    bool status(const Words &w);
    bool log(const Words &w);

    bool option(const std::string &word, replica_world::Options *options, bool by_hand[4]);
    bool node_of(const std::string &word, uint8_t *node);
    bool select(const Words &w, Selection *selection);
    void say(const std::string &line);
    void saw(uint8_t i, const tr_effect &effect);
    int deliver_round(const Selection &selection);
    void hand(Sent &sent);
    void end_cycles();
    void pass(uint64_t span_ns, bool deliver);
    uint64_t commit_max();
    uint8_t count() const
    {
        return world_ != nullptr ? world_->count() : 0;
    }

    uint32_t canary_;
    std::unique_ptr<replica_world::World> world_;
    std::unique_ptr<replica_world::Agreement> agreement_;
    std::string out_;
    std::string standstill_; /* the progress that was asked for and did not come */
    bool quiet_ = false;
    uint64_t sequence_ = 0;
    uint64_t reads_ = 0;
};

} // namespace trace

#endif
