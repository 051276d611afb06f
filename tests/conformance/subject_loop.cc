#include "drivers/loop/loop.h"
#include "suite.h"

#include <cstdlib>

namespace conformance
{

namespace
{

class LoopWorld : public World
{
  public:
    LoopWorld()
    {
        tr_loop_fabric_options options = {};
        options.struct_bytes = sizeof(options);
        options.memory.context = this;
        options.memory.allocate = [](void *context, size_t bytes, size_t align) {
            void *at = std::aligned_alloc(align, (bytes + align - 1) / align * align);
            static_cast<LoopWorld *>(context)->blocks.push_back(at);
            return at;
        };
        EXPECT_EQ(tr_loop_fabric_create(&options, &fabric), TR_OK);
    }

    ~LoopWorld() override
    {
        tr_loop_fabric_destroy(fabric);
        for (void *block : blocks)
            std::free(block);
    }

    void fill(tr_port_options &options, unsigned) override
    {
        options.fabric = fabric;
    }
    std::string address(unsigned node) override
    {
        return "loop:node" + std::to_string(node);
    }

  private:
    std::vector<void *> blocks;
    tr_loop_fabric *fabric = nullptr;
};

const bool registered =
    register_subject({"loop", &tr_driver_loop, [] { return std::make_unique<LoopWorld>(); }});

} // namespace

} // namespace conformance
