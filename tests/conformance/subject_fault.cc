#include "drivers/fault/fault.h"
#include "drivers/loop/loop.h"
#include "suite.h"

#include <atomic>
#include <cstdlib>

namespace conformance
{

namespace
{

// The fault driver over the loop driver. Its clock goes on by half a microsecond whenever it is
// looked at.
class FaultWorld : public World
{
  public:
    explicit FaultWorld(const char *faults) : faults_(faults)
    {
        tr_loop_fabric_options options = {};
        options.struct_bytes = sizeof(options);
        options.memory.context = this;
        options.memory.allocate = [](void *context, size_t bytes, size_t align) {
            void *at = std::aligned_alloc(align, (bytes + align - 1) / align * align);
            static_cast<FaultWorld *>(context)->blocks_.push_back(at);
            return at;
        };
        EXPECT_EQ(tr_loop_fabric_create(&options, &fabric_), TR_OK);
        over_.struct_bytes = sizeof(over_);
        over_.below = &tr_driver_loop;
        over_.fabric = fabric_;
        over_.now_ns = [](void *context) -> uint64_t {
            return static_cast<std::atomic<uint64_t> *>(context)->fetch_add(500);
        };
        over_.context = &now_ns_;
    }

    ~FaultWorld() override
    {
        tr_loop_fabric_destroy(fabric_);
        for (void *block : blocks_)
            std::free(block);
    }

    void fill(tr_port_options &options, unsigned) override
    {
        options.fabric = &over_;
        options.extra = faults_;
    }

    std::string address(unsigned node) override
    {
        return "loop:node" + std::to_string(node);
    }

  private:
    const char *faults_;
    std::vector<void *> blocks_;
    tr_loop_fabric *fabric_ = nullptr;
    tr_fault_options over_ = {};
    std::atomic<uint64_t> now_ns_{0};
};

const tr_driver over_loop = tr_fault_driver_over(&tr_driver_loop);

Subject fault(const char *name, const char *faults)
{
    return {name, &over_loop, [faults] { return std::make_unique<FaultWorld>(faults); }};
}

const bool registered[] = {
    register_subject(fault("fault", "")),
    register_subject(fault("faultrough", "drop=1%,duplicate=1%,delay=0ns-8us,reorder=2%,"
                                         "reorder_delay=1us-10us,write_delay=0ns-5us")),
};

} // namespace

} // namespace conformance
