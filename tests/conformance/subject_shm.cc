#include "drivers/shm/layout.h"
#include "drivers/shm/shm.h"
#include "suite.h"

#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

    // Scribbles where a process of the same user could: into the words that senders write, and into
    // what the receiver is about to read.
    bool inject(unsigned node, std::mt19937_64 &random) override
    {
        std::string path = "/dev/shm/trireme." + name(node) + ".q0";
        int fd = open(path.c_str(), O_RDWR);
        struct stat file;
        if (fd < 0 || fstat(fd, &file) != 0)
            return false;
        size_t bytes = static_cast<size_t>(file.st_size);
        void *map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (map == MAP_FAILED)
            return false;
        scribble(static_cast<unsigned char *>(map), random);
        munmap(map, bytes);
        return true;
    }

  private:
    static void scribble(unsigned char *base, std::mt19937_64 &random)
    {
        tr_shm_identity identity;
        memcpy(static_cast<void *>(&identity), base, sizeof(identity));
        tr_shm_layout at = tr_shm_layout_of(&identity.shape);
        auto *lane = reinterpret_cast<tr_shm_lane *>(base + at.lanes); // of the other node
        unsigned char *data = base + at.lane_data;
        uint64_t word = random();
        switch (random() % 6) {
        case 0: // a header somewhere
            memcpy(data + random() % 2048 * 64, &word, 8);
            break;
        case 1: { // every header, as it could be: of a length that cannot
            for (uint64_t line = 0; line < 2048; line++) {
                word = tr_shm_head(line * 64, static_cast<uint32_t>(random()) | 0x400000u);
                memcpy(data + line * 64, &word, 8);
            }
            break;
        }
        case 2: // a message, of a length that can be
            for (uint64_t line = 0; line < 2048; line++) {
                word = tr_shm_head(line * 64, static_cast<uint32_t>(random() % 300));
                memcpy(data + line * 64, &word, 8);
            }
            break;
        case 3:
            tr_store_relaxed(&lane->request, word);
            break;
        case 4:
            tr_store_relaxed(&lane->accepted, word);
            break;
        case 5:
            tr_store_relaxed(&lane->head, word);
            break;
        }
    }

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
