/* What the tests of drivers share: an arena, and ports that close themselves. */
#ifndef TR_TESTS_UNIT_DRIVERS_PORT_H
#define TR_TESTS_UNIT_DRIVERS_PORT_H

#include "drivers/driver.h"

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace tr_test
{

// Memory for ports, released with the arena. A limit makes it run out.
class arena
{
  public:
    explicit arena(size_t limit = SIZE_MAX) : limit_(limit)
    {
        memory_.context = this;
        memory_.allocate = [](void *context, size_t bytes, size_t align) -> void * {
            return static_cast<arena *>(context)->take(bytes, align);
        };
    }

    const tr_memory *memory() const
    {
        return &memory_;
    }

    size_t taken() const
    {
        return taken_;
    }

  private:
    struct release {
        void operator()(void *at) const
        {
            free(at);
        }
    };

    void *take(size_t bytes, size_t align)
    {
        size_t rounded = (bytes + align - 1) / align * align;
        if (rounded > limit_ - taken_)
            return nullptr;
        taken_ += rounded;
        blocks_.emplace_back(aligned_alloc(align, rounded));
        return blocks_.back().get();
    }

    tr_memory memory_{};
    size_t limit_;
    size_t taken_ = 0;
    std::vector<std::unique_ptr<void, release>> blocks_;
};

// A port of any driver with memory of its own.
class port
{
  public:
    port()
    {
        options.struct_bytes = sizeof(options);
        options.self = 1;
        options.queue_count = 1;
        options.peers_max = 8;
        options.message_bytes_max = 64 << 10;
        options.seed = 1;
        options.error = error;
        options.error_bytes = sizeof(error);
    }

    port(const port &) = delete;
    port &operator=(const port &) = delete;

    ~port()
    {
        close();
    }

    int open(const tr_driver &driver, const std::string &address, const std::string &extra = "")
    {
        options.memory = *arena_.memory();
        options.address = address.c_str();
        options.extra = extra.c_str();
        driver_ = &driver;
        return driver.open(&options, &port_);
    }

    void close()
    {
        if (port_ != nullptr)
            driver_->close(port_);
        port_ = nullptr;
    }

    tr_port *get()
    {
        return port_;
    }

    const tr_driver *operator->() const
    {
        return driver_;
    }

    tr_port_stats stats() const
    {
        tr_port_stats s;
        driver_->stats(port_, &s);
        return s;
    }

    // Sends one message of the given bytes; whether it was taken.
    bool send(tr_node_id peer, const std::vector<uint8_t> &bytes)
    {
        tr_tx tx{};
        tx.peer = peer;
        tx.segment_count = 1;
        tx.segment[0] = {bytes.data(), static_cast<uint32_t>(bytes.size())};
        return driver_->tx_burst(port_, &tx, 1) == 1;
    }

    tr_port_options options{};
    char error[512] = "";

  private:
    arena arena_;
    const tr_driver *driver_ = nullptr;
    tr_port *port_ = nullptr;
};

// Bytes that depend on the number, so that mixed-up messages are noticed.
inline std::vector<uint8_t> pattern(uint64_t number, size_t bytes)
{
    std::vector<uint8_t> data(bytes);
    uint64_t x = number * 0x9e3779b97f4a7c15u + bytes;
    for (size_t i = 0; i < bytes; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        data[i] = static_cast<uint8_t>(x);
    }
    return data;
}

} // namespace tr_test

#endif
