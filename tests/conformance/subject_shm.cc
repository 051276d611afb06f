#include "drivers/shm/shm.h"
#include "suite.h"

#include <unistd.h>

namespace conformance
{

namespace
{

// Nodes whose names belong to this process and this world alone.
class ShmWorld : public World
{
  public:
    std::string address(unsigned node) override
    {
        return "shm:" + name(node);
    }

  private:
    std::string name(unsigned node) const
    {
        return "test-" + std::to_string(pid_) + "-" + std::to_string(node);
    }

    int pid_ = getpid();
};

const bool registered =
    register_subject({"shm", &tr_driver_shm, [] { return std::make_unique<ShmWorld>(); }});

} // namespace

} // namespace conformance
