/* The faults that strike now and then: each from its own seed, so that to leave one out changes as
 * little as possible of the others. */
#ifndef TR_TESTS_SIM_FAULTS_H
#define TR_TESTS_SIM_FAULTS_H

#include "tests/sim/cluster.h"

namespace sim
{

class Faults
{
  public:
    explicit Faults(Cluster &cluster);
    /* When the next one strikes, or a cut heals. */
    uint64_t next_ns() const
    {
        return std::min(strike_ns_, heal_ns_);
    }
    /* Lets those that are due happen; cuts heal even when `strikes` is false. */
    void advance(bool strikes);
    /* Ends all cuts and pauses, and lets every node start. */
    void end();
    /* Blocks, for a while or (UINT64_MAX) until `end`. */
    void cut(uint16_t from, uint16_t to, uint64_t until_ns);

  private:
    struct Timed {
        uint64_t next_ns;
        tr_prng random;
    };
    Cluster &c_;
    Timed timed_[TIMED_FAULTS];
    std::vector<std::vector<uint64_t>> cut_until_; /* 0: not cut */
    uint64_t heal_ns_ = UINT64_MAX;
    uint64_t strike_ns_ = UINT64_MAX; /* the least of timed_ */

    uint64_t draw(int fault, uint64_t bound);
    uint64_t draw_octaves(int fault, uint64_t low, uint32_t octaves);
    Member &any(int fault);
    bool strike(int fault);
    bool crash(Member &m, int fault);
    void pause(Member &m);
    bool strike_network(int fault);
    void cut_around(uint16_t id, bool in, bool out, uint64_t until_ns);
    void cut_sides(int fault, bool bridge, uint64_t until_ns);
    bool coup(Member &leader, uint64_t until_ns);
    bool exile(const Member &leader);
    void clock(Member &m);
    void disconnect(Member &m);
    bool forge(Seat &seat);
    void heal();
    void look_ahead();
};

} // namespace sim

#endif
