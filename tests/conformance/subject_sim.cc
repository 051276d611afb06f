#include "drivers/sim/sim.h"
#include "suite.h"

#include <cstdlib>

namespace conformance
{

namespace
{

// A simulated world whose time passes by two microseconds a step.
class SimWorld : public World
{
  public:
    explicit SimWorld(const tr_sim_profile &profile)
    {
        tr_sim_options options = {};
        options.struct_bytes = sizeof(options);
        options.seed = 42;
        options.profile = profile;
        options.memory.context = this;
        options.memory.allocate = [](void *context, size_t bytes, size_t align) {
            void *at = std::aligned_alloc(align, (bytes + align - 1) / align * align);
            static_cast<SimWorld *>(context)->blocks_.push_back(at);
            return at;
        };
        EXPECT_EQ(tr_sim_world_create(&options, &world_), TR_OK);
    }

    ~SimWorld() override
    {
        EXPECT_EQ(tr_sim_world_counters(world_)->sources_changed, 0u);
        tr_sim_world_destroy(world_);
        for (void *block : blocks_)
            std::free(block);
    }

    void fill(tr_port_options &options, unsigned) override
    {
        options.fabric = world_;
    }

    std::string address(unsigned node) override
    {
        return "sim:node" + std::to_string(node);
    }

    void step() override
    {
        tr_sim_advance(world_, tr_sim_now_ns(world_) + 2000);
    }

  private:
    tr_sim_world *world_ = nullptr;
    std::vector<void *> blocks_;
};

// Every fault that a driver may show with its peers alive: writes that break would be no surprise
// to the engine, but to the suite.
tr_sim_profile rough()
{
    tr_sim_profile profile = tr_sim_profile_stormy();
    profile.drop_ppm = 500; // 1 MiB in 730 datagrams is to arrive now and then
    profile.tail_ppm = 100;
    profile.tail_ns.high_ns = 2000000;
    profile.corrupt_ppm = 0; // the layer above has the checksum
    profile.write_lost_ppm = 0;
    profile.write_broken_ppm = 0;
    profile.write_torn_ppm = 300000;
    profile.write_early_ppm = 0; // a completion that comes before the bytes is a test of its own
    profile.write_reorder_ppm = 300000;
    return profile;
}

Subject sim(const char *name, const tr_driver *driver, const tr_sim_profile &profile)
{
    Subject subject = {name, driver, [profile] { return std::make_unique<SimWorld>(profile); }};
    subject.threads = false;
    return subject;
}

const bool registered[] = {
    register_subject(sim("sim", &tr_driver_sim, tr_sim_profile_calm())),
    register_subject(sim("simrough", &tr_driver_sim, rough())),
    register_subject(sim("sim_messages", &tr_driver_sim_messages, rough())),
};

} // namespace

} // namespace conformance
