// One-sided writes: what counts is in the ring, what was fenced does not count, and neither depends
// on the reader's thread.
#include "allocations.h"
#include "suite.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <thread>

namespace conformance
{

class Rings : public Conformance
{
  protected:
    static constexpr uint32_t ring_bytes = 16384;

    void SetUp() override
    {
        Conformance::SetUp();
        CONFORMANCE_REQUIRE(TR_DRIVER_ONE_SIDED);
        ports = open_all(3);
        owner = ports[0].get();
        writer = ports[1].get();
        ring = owner->ring_create(2, ring_bytes);
    }

    void TearDown() override
    {
        ports.clear();
        Conformance::TearDown();
    }

    // Grants the ring and opens it at the writer.
    uint32_t grant(uint64_t generation)
    {
        uint32_t remote = UINT32_MAX;
        token = owner->ring_grant(ring.ring, generation);
        EXPECT_EQ(remote_open(*writer, *owner, token, generation, &remote), TR_OK);
        return remote;
    }

    // Waits until the reader finds the bytes: at once where a completion says that they are there.
    bool appears(uint32_t offset, const std::string &bytes)
    {
        return until({owner, writer}, [&] {
            return owner->ring_read(ring, offset, static_cast<uint32_t>(bytes.size())) == bytes;
        });
    }

    std::vector<std::unique_ptr<Port>> ports;
    Port *owner = nullptr;  // node 1
    Port *writer = nullptr; // node 2
    tr_ring_info ring = {};
    tr_ring_token token = {};
};

TEST_P(Rings, WrittenBytesAppearAndCount)
{
    uint32_t remote = grant(7);
    EXPECT_EQ(owner->ring_read(ring, 0, ring_bytes), std::string(ring_bytes, '\0'));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(ring.memory) % 64, 0u);
    uint32_t offset = 0;
    for (uint32_t bytes : {8u, 64u, 192u, 1000u, 4096u}) {
        std::string data = pattern(bytes, bytes);
        EXPECT_EQ(write(*writer, *owner, remote, offset, data), TR_WRITE_OK);
        EXPECT_TRUE(appears(offset, data));
        offset += (bytes + 63) / 64 * 64;
    }
    EXPECT_EQ(owner->ring_read(ring, offset, 64), std::string(64, '\0'))
        << "nothing else is touched";
    EXPECT_EQ(writer->stats().writes, 5u);
    EXPECT_EQ(writer->stats().write_bytes, 8u + 64 + 192 + 1000 + 4096);
    EXPECT_EQ(writer->stats().writes_refused, 0u);
}

TEST_P(Rings, SegmentsAreGathered)
{
    uint32_t remote = grant(7);
    std::mt19937_64 random(4);
    for (unsigned i = 0; i < 200; i++) {
        std::string part[TR_TX_SEGMENTS_MAX];
        tr_segment segment[TR_TX_SEGMENTS_MAX];
        std::string whole;
        for (unsigned s = 0; s < TR_TX_SEGMENTS_MAX; s++) {
            size_t bytes = random() % 50;
            if (s == TR_TX_SEGMENTS_MAX - 1)
                bytes += 8 - (whole.size() + bytes) % 8;
            part[s] = pattern(bytes, random());
            segment[s] = {part[s].data(), static_cast<uint32_t>(bytes)};
            whole += part[s];
        }
        uint32_t offset = static_cast<uint32_t>(random() % 64) * 64;
        ASSERT_EQ(writer->driver->write_post(writer->raw(), remote, offset, segment,
                                             TR_TX_SEGMENTS_MAX, i),
                  TR_OK);
        ASSERT_TRUE(until({owner, writer}, [&] { return !writer->completions().empty(); }));
        ASSERT_TRUE(appears(offset, whole));
    }
}

TEST_P(Rings, AreWrittenToTheirEndAndRoundAgain)
{
    uint32_t remote = grant(7);
    uint64_t position = 0;
    for (unsigned i = 0; i < 500; i++, position += 256) {
        std::string data = pattern(256, i);
        ASSERT_EQ(
            write(*writer, *owner, remote, static_cast<uint32_t>(position % ring_bytes), data),
            TR_WRITE_OK);
        ASSERT_TRUE(appears(static_cast<uint32_t>(position % ring_bytes), data));
        owner->driver->ring_consumed(owner->raw(), ring.ring, position + 256);
        if (i % 50 == 0) {
            ASSERT_TRUE(until({owner, writer}, [&] {
                return writer->driver->remote_consumed(writer->raw(), remote) == position + 256;
            }));
        }
    }
}

TEST_P(Rings, TellTheWriterWhatWasConsumed)
{
    uint32_t remote = grant(7);
    EXPECT_EQ(writer->driver->remote_consumed(writer->raw(), remote), 0u);
    for (uint64_t position : {64u, 4096u, 1000000u}) {
        owner->driver->ring_consumed(owner->raw(), ring.ring, position);
        EXPECT_TRUE(until({owner, writer}, [&] {
            return writer->driver->remote_consumed(writer->raw(), remote) == position;
        }));
    }
    ASSERT_TRUE(fence(*owner, ring.ring, {writer}));
    remote = grant(8);
    EXPECT_EQ(writer->driver->remote_consumed(writer->raw(), remote), 0u)
        << "a grant starts from 0";
}

TEST_P(Rings, RefuseWritesAfterTheFence)
{
    uint32_t remote = grant(7);
    ASSERT_EQ(write(*writer, *owner, remote, 0, pattern(64, 1)), TR_WRITE_OK);
    ASSERT_TRUE(fence(*owner, ring.ring, {writer}));
    EXPECT_EQ(owner->driver->fence_poll(owner->raw(), ring.ring), TR_OK);
    EXPECT_EQ(owner->ring_read(ring, 0, 64), pattern(64, 1)) << "what counted stays to be drained";
    for (unsigned i = 0; i < 5; i++) {
        EXPECT_NE(write(*writer, *owner, remote, 64, pattern(64, 2)), TR_WRITE_OK);
    }
    EXPECT_GE(writer->stats().writes_refused + writer->stats().writes_broken, 5u);
    ASSERT_TRUE(fence(*owner, ring.ring, {writer})) << "fencing a fenced ring does no harm";
}

TEST_P(Rings, CountAgainUnderANewGeneration)
{
    uint32_t first = grant(7);
    ASSERT_EQ(write(*writer, *owner, first, 0, pattern(64, 1)), TR_WRITE_OK);
    ASSERT_TRUE(fence(*owner, ring.ring, {writer}));
    tr_ring_token first_token = token;
    uint32_t second = grant(8);
    EXPECT_EQ(owner->ring_read(ring, 0, ring_bytes), std::string(ring_bytes, '\0'))
        << "a grant zeroes";
    EXPECT_NE(write(*writer, *owner, first, 0, pattern(64, 2)), TR_WRITE_OK)
        << "a store counts only under the generation that it was posted under";
    EXPECT_EQ(write(*writer, *owner, second, 64, pattern(64, 3)), TR_WRITE_OK);
    EXPECT_TRUE(appears(64, pattern(64, 3)));
    writer->driver->remote_close(writer->raw(), first);
    EXPECT_EQ(write(*writer, *owner, second, 128, pattern(64, 4)), TR_WRITE_OK);
    // A token of the old grant opens nothing that counts.
    uint32_t stale = UINT32_MAX;
    if (remote_open(*writer, *owner, first_token, 7, &stale) == TR_OK) {
        EXPECT_NE(write(*writer, *owner, stale, 0, pattern(64, 5)), TR_WRITE_OK);
    }
    if (remote_open(*writer, *owner, first_token, 8, &stale) == TR_OK)
        ADD_FAILURE() << "a token of generation 7 was opened as 8";
}

TEST_P(Rings, CompletionsComeInTheOrderOfPostingAndBreakOnce)
{
    uint32_t remote = grant(7);
    uint32_t writes_max = std::min(writer->limits().writes_max, 64u);
    for (unsigned lap = 0; lap < 40; lap++) {
        uint64_t posted = 0;
        unsigned fence_after = lap * writes_max / 40;
        std::vector<tr_write_completion> all;
        std::vector<std::string> sources(writes_max); // they stay until the completion (rule 7)
        for (; posted < writes_max; posted++) {
            if (posted == fence_after) {
                ASSERT_EQ(owner->driver->fence_start(owner->raw(), ring.ring) == TR_OK,
                          !has(TR_DRIVER_ASYNC_FENCE));
            }
            sources[posted] = pattern(64, posted);
            ASSERT_TRUE(until({owner, writer}, [&] {
                return writer->write(remote, static_cast<uint32_t>(posted * 64), sources[posted],
                                     posted) == TR_OK;
            }));
            if (lap % 2 == 0) {
                for (const tr_write_completion &done : writer->completions(3))
                    all.push_back(done);
            }
        }
        ASSERT_TRUE(until({owner, writer}, [&] {
            for (const tr_write_completion &done : writer->completions())
                all.push_back(done);
            return all.size() == posted;
        }));
        bool counted = true;
        for (uint64_t i = 0; i < posted; i++) {
            ASSERT_EQ(all[i].cookie, i);
            ASSERT_EQ(all[i].generation, 7u + lap);
            bool ok = all[i].status == TR_WRITE_OK;
            ASSERT_TRUE(counted || !ok) << "a write counted after one that did not";
            counted = ok;
            if (ok) {
                ASSERT_EQ(owner->ring_read(ring, static_cast<uint32_t>(i * 64), 64),
                          pattern(64, i));
            }
        }
        // Until a fence is quiescent, what is posted may count.
        if (!has(TR_DRIVER_ASYNC_FENCE)) {
            ASSERT_FALSE(counted);
        }
        ASSERT_TRUE(fence(*owner, ring.ring, {writer}));
        writer->driver->remote_close(writer->raw(), remote);
        remote = grant(8 + lap);
    }
}

TEST_P(Rings, TakeABoundedNumberOfWritesAndThenMore)
{
    uint32_t remote = grant(7);
    uint32_t writes_max = writer->limits().writes_max;
    std::string data = pattern(64, 1);
    ASSERT_GE(writes_max, 1u);
    uint32_t posted = 0;
    while (posted <= writes_max && writer->write(remote, 0, data, posted) == TR_OK)
        posted++;
    EXPECT_EQ(posted, writes_max);
    EXPECT_EQ(writer->write(remote, 0, data, 0), TR_AGAIN);
    uint32_t done = 0;
    ASSERT_TRUE(until({owner, writer}, [&] {
        done += static_cast<uint32_t>(writer->completions(7).size());
        return done == posted;
    }));
    EXPECT_EQ(write(*writer, *owner, remote, 0, data), TR_WRITE_OK);
}

TEST_P(Rings, AreIndependentOfEachOther)
{
    Port *third = ports[2].get();
    tr_ring_info other = owner->ring_create(3, ring_bytes);
    uint32_t mine = grant(7);
    tr_ring_token other_token = owner->ring_grant(other.ring, 9);
    uint32_t theirs = UINT32_MAX, stolen = UINT32_MAX;
    ASSERT_EQ(remote_open(*third, *owner, other_token, 9, &theirs), TR_OK);
    if (remote_open(*writer, *owner, other_token, 9, &stolen) == TR_OK) {
        EXPECT_NE(write(*writer, *owner, stolen, 0, pattern(64, 3)), TR_WRITE_OK)
            << "not its writer";
    }
    EXPECT_EQ(write(*writer, *owner, mine, 0, pattern(64, 1)), TR_WRITE_OK);
    EXPECT_EQ(write(*third, *owner, theirs, 0, pattern(64, 2)), TR_WRITE_OK);
    EXPECT_EQ(owner->ring_read(ring, 0, 64), pattern(64, 1));
    EXPECT_EQ(owner->ring_read(other, 0, 64), pattern(64, 2));
    ASSERT_TRUE(fence(*owner, ring.ring, {writer, third}));
    EXPECT_NE(write(*writer, *owner, mine, 64, pattern(64, 1)), TR_WRITE_OK);
    EXPECT_EQ(write(*third, *owner, theirs, 64, pattern(64, 2)), TR_WRITE_OK);
}

TEST_P(Rings, DoNotNeedTheReadersThread)
{
    uint32_t remote = grant(7);
    uint32_t bytes = 0;
    for (; bytes < ring_bytes; bytes += 64) { // all the credit there is, and nobody polls the owner
        std::string data = pattern(64, bytes);
        std::vector<tr_write_completion> done;
        ASSERT_TRUE(
            until({writer}, [&] { return writer->write(remote, bytes, data, bytes) == TR_OK; }));
        ASSERT_TRUE(until({writer}, [&] {
            done = writer->completions();
            return !done.empty();
        }));
        ASSERT_EQ(done[0].status, TR_WRITE_OK);
    }
    for (bytes = 0; bytes < ring_bytes; bytes += 64) {
        ASSERT_EQ(owner->ring_read(ring, bytes, 64), pattern(64, bytes));
    }
}

TEST_P(Rings, TokensThatNobodyMadeAreRefused)
{
    grant(7);
    std::mt19937_64 random(17);
    for (unsigned i = 0; i < 3000; i++) {
        tr_ring_token forged = token;
        uint32_t remote = UINT32_MAX;
        uint64_t generation = i % 4 == 0 ? random() : 7;
        if (i % 2 == 0) {
            for (uint8_t &byte : forged.bytes)
                byte = static_cast<uint8_t>(random());
        } else {
            forged.bytes[random() % TR_RING_TOKEN_BYTES] ^=
                static_cast<uint8_t>(1u << (random() % 8));
        }
        int result = writer->driver->remote_open(writer->raw(), 1, &forged, generation, &remote);
        if (result == TR_OK) { // reserved bytes may go unread, but nothing else may be opened
            EXPECT_EQ(write(*writer, *owner, remote, 0, pattern(64, i)), TR_WRITE_OK);
            EXPECT_EQ(owner->ring_read(ring, 0, 64), pattern(64, i));
            writer->driver->remote_close(writer->raw(), remote);
        }
    }
    uint32_t remote = UINT32_MAX;
    EXPECT_EQ(writer->driver->remote_open(writer->raw(), 9, &token, 7, &remote), TR_EINVAL)
        << "not a peer";
    EXPECT_EQ(remote_open(*writer, *owner, token, 7, &remote), TR_OK);
}

TEST_P(Rings, OfAClosedPortNeverCountAgain)
{
    uint32_t remote = grant(7);
    ASSERT_EQ(write(*writer, *owner, remote, 0, pattern(64, 1)), TR_WRITE_OK);
    ports[0]->close();
    std::vector<tr_write_completion> done;
    std::string source = pattern(64, 2);
    ASSERT_EQ(writer->write(remote, 64, source, 5), TR_OK);
    ASSERT_TRUE(until({writer}, [&] {
        done = writer->completions();
        return !done.empty();
    }));
    EXPECT_NE(done[0].status, TR_WRITE_OK);
    ports[0] = open(1);
    owner = ports[0].get();
    ASSERT_EQ(owner->add(2, world->address(2)), TR_OK);
    ASSERT_TRUE(until({writer, owner}, [&] { return writer->saw(TR_PORT_PEER_NEW, 1); }));
    tr_ring_token old = token;
    ring = owner->ring_create(2, ring_bytes);
    uint32_t renewed = grant(8);
    EXPECT_NE(write(*writer, *owner, remote, 128, pattern(64, 3)), TR_WRITE_OK);
    EXPECT_EQ(owner->ring_read(ring, 0, 1024), std::string(1024, '\0'))
        << "stored into another's ring";
    EXPECT_EQ(write(*writer, *owner, renewed, 0, pattern(64, 4)), TR_WRITE_OK);
    uint32_t stale = UINT32_MAX;
    EXPECT_NE(writer->driver->remote_open(writer->raw(), 1, &old, 7, &stale), TR_OK);
    writer->driver->remote_close(writer->raw(), remote);
    EXPECT_EQ(write(*writer, *owner, renewed, 64, pattern(64, 5)), TR_WRITE_OK);
}

TEST_P(Rings, AreRefusedInSizesThatCannotBe)
{
    tr_ring_options options = {};
    tr_ring_info info = {};
    options.peer = 2;
    for (uint32_t bytes : {0u, 64u, 4095u, 12288u}) {
        options.bytes = bytes;
        EXPECT_EQ(owner->driver->ring_create(owner->raw(), &options, &info), TR_EINVAL) << bytes;
    }
    options.bytes = 4096;
    options.peer = 0;
    EXPECT_EQ(owner->driver->ring_create(owner->raw(), &options, &info), TR_EINVAL);
}

TEST_P(Rings, WritesAllocateNothing)
{
    uint32_t remote = grant(7);
    std::string data = pattern(512, 1);
    tr_segment segment = {data.data(), 512};
    tr_write_completion done[4];
    size_t arena = owner->arena_calls() + writer->arena_calls();
    AllocationCount count;
    for (unsigned i = 0; i < 5000; i++) {
        writer->driver->write_post(writer->raw(), remote, i % 16 * 512, &segment, 1, i);
        writer->driver->write_poll(writer->raw(), done, 4);
        writer->driver->remote_consumed(writer->raw(), remote);
        owner->driver->ring_consumed(owner->raw(), ring.ring, i * 512);
    }
    if (count.works()) {
        EXPECT_EQ(count.since_made(), 0u);
    }
    EXPECT_EQ(owner->arena_calls() + writer->arena_calls(), arena);
}

// A batch is a run of records, a header and a payload each, gathered from where they lie.
TEST_P(Rings, RunOfWritesIsOneRequestAndCopiesNothing)
{
    if (writer == nullptr)
        return;
    if (writer->driver->memory_add == nullptr)
        GTEST_SKIP() << "not applicable: no device to show memory to";
    constexpr uint32_t records = 8, record_bytes = 512;
    uint32_t remote = grant(7);
    std::string source = pattern(records * record_bytes + 4096, 1);
    ASSERT_EQ(writer->driver->memory_add(writer->raw(), source.data(), source.size()), TR_OK);
    EXPECT_EQ(writer->driver->memory_add(writer->raw(), source.data() + 64, 64), TR_OK);
    // The last record goes to the ring's start.
    uint32_t start = ring_bytes - (records - 1) * record_bytes;
    tr_port_stats before = writer->stats();
    for (uint32_t i = 0; i < records; i++) {
        const char *at = source.data() + i * record_bytes;
        tr_segment segment[2] = {{at, 64}, {at + 64 + 8, record_bytes - 64}}; // not adjacent
        ASSERT_EQ(writer->driver->write_post(writer->raw(), remote,
                                             (start + i * record_bytes) % ring_bytes, segment, 2,
                                             i),
                  TR_OK);
    }
    writer->driver->tx_flush(writer->raw());
    tr_port_stats after = writer->stats();
    EXPECT_EQ(after.writes - before.writes, records);
    EXPECT_EQ(after.write_requests - before.write_requests, 2u) << "one, and one after the wrap";
    EXPECT_EQ(after.write_doorbells - before.write_doorbells, 1u);
    EXPECT_EQ(after.write_copied_bytes, before.write_copied_bytes);
    uint32_t done = 0;
    ASSERT_TRUE(until({owner, writer}, [&] {
        for (const tr_write_completion &completion : writer->completions())
            done += completion.status == TR_WRITE_OK;
        return done == records;
    }));
    for (uint32_t i = 0; i < records; i++) {
        const char *at = source.data() + i * record_bytes;
        std::string expected = std::string(at, 64) + std::string(at + 72, record_bytes - 64);
        EXPECT_TRUE(appears((start + i * record_bytes) % ring_bytes, expected)) << i;
    }
    std::string elsewhere = pattern(64, 2);
    EXPECT_EQ(write(*writer, *owner, remote, 1024, elsewhere), TR_WRITE_OK);
    EXPECT_EQ(writer->stats().write_copied_bytes - before.write_copied_bytes, 64u)
        << "what was not shown is copied, and that is counted";
}

CONFORMANCE_INSTANTIATE(Rings);

} // namespace conformance
