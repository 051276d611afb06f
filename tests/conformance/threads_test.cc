// Ports of one world, each polled by a thread of its own: the same promises when everything races.
// Under the thread sanitizer this is also the check of the drivers' memory orders.
#include "suite.h"

#include "base/atomic.h"

#include <atomic>
#include <cstring>
#include <thread>

namespace conformance
{

class Threads : public Conformance
{
  protected:
    void SetUp() override
    {
        Conformance::SetUp();
        if (!subject().threads)
            GTEST_SKIP() << "not applicable: ports of one world are polled by one thread";
    }

    void race(uint32_t bytes);
};

TEST_P(Threads, MessagesCrossInBothDirections)
{
    CONFORMANCE_REQUIRE(TR_DRIVER_MESSAGES);
    if (has(TR_DRIVER_MAY_DROP))
        GTEST_SKIP() << "not applicable: the driver may drop";
    constexpr uint64_t total = 30000;
    auto ports = open_all(2);
    auto run = [&](unsigned self) {
        Port &port = *ports[self - 1];
        uint64_t sent = 0, received = 0;
        std::mt19937_64 random(self);
        std::string bytes;
        while (sent < total || received < total) {
            for (unsigned i = 0; i < 8 && sent < total; i++) {
                if (bytes.empty()) {
                    bytes = pattern(8 + random() % 700, sent);
                    memcpy(&bytes[0], &sent, 8);
                }
                if (!port.send(3 - self, bytes))
                    break;
                bytes.clear();
                sent++;
            }
            port.poll();
            for (const Message &message : port.inbox) {
                std::string expected = pattern(message.bytes.size(), received);
                memcpy(&expected[0], &received, 8);
                if (message.bytes != expected)
                    return received;
                received++;
            }
            port.inbox.clear();
            std::this_thread::yield();
        }
        return received;
    };
    uint64_t first = 0;
    std::thread thread([&] { first = run(1); });
    uint64_t second = run(2);
    thread.join();
    EXPECT_EQ(first, total);
    EXPECT_EQ(second, total);
}

// A record of the fence test: its number in every word, so that a part of one is told from a whole.
static std::string record(uint64_t number, uint32_t bytes)
{
    std::string out(bytes, '\0');
    for (uint32_t i = 0; i < bytes / 8; i++)
        memcpy(&out[i * 8], &number, 8);
    return out;
}

// Races writes of so many bytes with the fence, again and again.
void Threads::race(uint32_t bytes)
{
    const uint32_t ring_bytes = 1024 * bytes < 1u << 20 ? 1024 * bytes : 1u << 20;
    const unsigned laps = subject().fences;
    auto ports = open_all(2);
    Port &owner = *ports[0];
    Port &writer = *ports[1];
    tr_ring_info ring = owner.ring_create(2, ring_bytes);
    std::atomic<uint64_t> granted{0}; // the generation that the writer is to write under
    std::atomic<uint64_t> told{0};    // how many writes of it counted, plus one; 0: not finished
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> progress{0};
    tr_ring_token token;

    std::thread thread([&] {
        uint64_t generation = 0;
        while (!stop) {
            if (granted == generation) {
                std::this_thread::yield();
                continue;
            }
            generation = granted;
            uint32_t remote = UINT32_MAX;
            while (writer.driver->remote_open(writer.raw(), 1, &token, generation, &remote) ==
                   TR_AGAIN)
                writer.poll();
            uint64_t counted = 0, posted = 0, completed = 0;
            std::vector<std::string> sources(ring_bytes / bytes); // they stay until the completion
            bool open = remote != UINT32_MAX;
            while (open || completed < posted) {
                if (open && posted < ring_bytes / bytes) {
                    sources[posted] = record(generation + posted, bytes);
                    posted += writer.write(remote, static_cast<uint32_t>(posted * bytes),
                                           sources[posted], posted) == TR_OK;
                }
                for (const tr_write_completion &done : writer.completions()) {
                    completed++;
                    counted += done.status == TR_WRITE_OK;
                    open = open && done.status == TR_WRITE_OK;
                }
                open = open && completed < ring_bytes / bytes;
                progress = posted;
            }
            if (remote != UINT32_MAX)
                writer.driver->remote_close(writer.raw(), remote);
            told = counted + 1;
        }
    });
    std::mt19937_64 random(1);
    uint64_t lost = 0;
    for (unsigned lap = 0; lap < laps; lap++) {
        uint64_t generation = 1000000 * (lap + 1);
        progress = 0;
        told = 0;
        token = owner.ring_grant(ring.ring, generation);
        granted = generation;
        uint64_t goal = random() % (ring_bytes / bytes);
        while (progress < goal && told == 0) {
            owner.poll(); // a driver may have to hear of the writer before it lets it write
            std::this_thread::yield();
        }
        for (unsigned i = random() % 512; i > 0; i--)
            tr_cpu_pause();
        bool fenced = fence(owner, ring.ring);
        // The drain: this is all that may be taken over from the writer.
        uint64_t found = 0;
        while (found < ring_bytes / bytes &&
               owner.ring_read(ring, static_cast<uint32_t>(found * bytes), bytes) ==
                   record(generation + found, bytes))
            found++;
        while (told == 0)
            std::this_thread::yield();
        lost += told - 1 > found;
        EXPECT_TRUE(fenced);
    }
    stop = true;
    thread.join();
    EXPECT_EQ(lost, 0u) << "writes that counted and were not in the ring after the fence";
}

TEST_P(Threads, WhatCountedBeforeTheFenceIsFoundAfterIt)
{
    CONFORMANCE_REQUIRE(TR_DRIVER_ONE_SIDED);
    race(64);
}

// Of more than one packet: a part may land.
TEST_P(Threads, LongWriteThatCountedBeforeTheFenceIsFoundAfterIt)
{
    CONFORMANCE_REQUIRE(TR_DRIVER_ONE_SIDED);
    race(16384);
}

CONFORMANCE_INSTANTIATE(Threads);

} // namespace conformance
