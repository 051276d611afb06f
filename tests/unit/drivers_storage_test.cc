/* What every storage keeps (drivers/storage/storage.h), and what the medium in memory can do. */
#include "drivers/storage/mem.h"

#include "drivers_port.h"
#include "trireme/error.h"

#include <cstring>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <string>

namespace
{

constexpr uint64_t LOG_BYTES = 64 << 10;
constexpr uint64_t SNAPSHOT_BYTES = 200000;
constexpr uint32_t ENTRY_BYTES = 8192;

/* What a scan tells. */
struct Found {
    std::string metadata;
    bool metadata_unknown = false;
    std::map<uint64_t, std::string> entry; /* the newest of each slot */
    std::vector<uint64_t> order;
    std::vector<std::pair<uint64_t, uint64_t>> unknown;
};

class Storage : public ::testing::Test
{
  protected:
    Storage()
    {
        tr_storage_medium_options o = {};
        o.struct_bytes = sizeof(o);
        o.log_bytes = LOG_BYTES;
        o.snapshot_bytes_max = SNAPSHOT_BYTES;
        o.memory = *arena.memory();
        EXPECT_EQ(tr_storage_medium_create(&o, &medium), TR_OK);
        open();
    }
    tr_storage_options options() const
    {
        tr_storage_options o = {};
        o.struct_bytes = sizeof(o);
        o.group = 7;
        o.entry_bytes_max = ENTRY_BYTES;
        o.log_bytes = LOG_BYTES;
        o.snapshot_bytes_max = SNAPSHOT_BYTES;
        o.memory = *arena.memory();
        o.medium = medium;
        return o;
    }
    void open()
    {
        tr_storage_options o = options();
        ASSERT_EQ(driver->open(&o, &s), TR_OK);
    }
    void reopen()
    {
        driver->close(s);
        open();
    }
    void crash(uint64_t writes_kept, bool torn)
    {
        tr_storage_medium_crash(medium, writes_kept, torn);
        reopen();
    }
    int append(uint64_t sequence, uint64_t slot, const std::string &bytes)
    {
        tr_storage_entry e = {};
        e.slot = slot;
        e.segment_count = 2;
        e.segment[0] = {bytes.data(), static_cast<uint32_t>(bytes.size() / 3)};
        e.segment[1] = {bytes.data() + bytes.size() / 3,
                        static_cast<uint32_t>(bytes.size() - bytes.size() / 3)};
        return driver->append(s, sequence, &e, 1);
    }
    int metadata(uint64_t sequence, const std::string &bytes)
    {
        return driver->metadata(s, sequence, bytes.data(), static_cast<uint32_t>(bytes.size()));
    }
    /* The mark after some polls. */
    uint64_t durable()
    {
        tr_storage_mark mark = {};
        for (int i = 0; i < 3; i++)
            EXPECT_EQ(driver->poll(s, &mark), TR_OK);
        return mark.sequence;
    }
    void snapshot(uint64_t slot, const std::string &bytes)
    {
        ASSERT_EQ(driver->snapshot_begin(s, slot, bytes.size(), 99), TR_OK);
        for (size_t at = 0; at < bytes.size(); at += TR_STORAGE_CHUNK_BYTES) {
            size_t left = std::min<size_t>(bytes.size() - at, TR_STORAGE_CHUNK_BYTES);
            ASSERT_EQ(driver->snapshot_write(s, bytes.data() + at, static_cast<uint32_t>(left)),
                      TR_OK);
        }
        ASSERT_EQ(driver->snapshot_commit(s), TR_OK);
    }
    /* The durable snapshot; empty: none. */
    std::string snapshot_bytes(uint64_t slot)
    {
        tr_storage_snapshot info = {};
        if (driver->snapshot(s, &info) != TR_OK)
            return "";
        EXPECT_EQ(info.slot, slot);
        EXPECT_EQ(info.crc, 99u);
        std::string all(info.bytes, '\0');
        for (size_t at = 0; at < all.size(); at += TR_STORAGE_CHUNK_BYTES) {
            size_t left = std::min<size_t>(all.size() - at, TR_STORAGE_CHUNK_BYTES);
            EXPECT_EQ(driver->snapshot_read(s, at, &all[at], static_cast<uint32_t>(left)), TR_OK);
        }
        return all;
    }
    Found scan()
    {
        Found found;
        tr_storage_cursor cursor = {};
        tr_storage_item item;
        int status;
        while ((status = driver->scan(s, &cursor, &item)) == TR_OK) {
            std::string bytes(static_cast<const char *>(item.data), item.bytes);
            switch (item.kind) {
            case TR_STORAGE_METADATA:
                found.metadata = bytes;
                break;
            case TR_STORAGE_ENTRY:
                EXPECT_EQ(reinterpret_cast<uintptr_t>(item.data) % 8, 0u);
                found.entry[item.slot_first] = bytes;
                found.order.push_back(item.slot_first);
                break;
            case TR_STORAGE_UNKNOWN:
                if (item.slot_last == 0)
                    found.metadata_unknown = true;
                else
                    found.unknown.push_back({item.slot_first, item.slot_last});
                break;
            }
        }
        EXPECT_EQ(status, TR_ENOENT);
        return found;
    }

    tr_test::arena arena;
    const tr_storage_driver *driver = tr_storage_find("mem");
    tr_storage_medium *medium = nullptr;
    tr_storage *s = nullptr;
};

TEST(StorageRegistry, FindsWholeTablesAndRefusesOthers)
{
    char why[200] = "";
    const tr_storage_driver *mem = tr_storage_find("mem");
    ASSERT_NE(mem, nullptr);
    EXPECT_EQ(tr_storage_find("tape"), nullptr);
    EXPECT_EQ(tr_storage_check(mem, why, sizeof(why)), TR_OK);
    tr_storage_driver bad = *mem;
    bad.truncate = nullptr;
    EXPECT_EQ(tr_storage_check(&bad, why, sizeof(why)), TR_EINVAL);
    EXPECT_NE(std::string(why).find("an operation is missing"), std::string::npos);
    bad = *mem;
    bad.abi_bytes = 8;
    EXPECT_EQ(tr_storage_check(&bad, why, sizeof(why)), TR_EVERSION);
    bad = *mem;
    bad.name = "";
    EXPECT_EQ(tr_storage_check(&bad, why, sizeof(why)), TR_EINVAL);
}

TEST_F(Storage, WhatWasWrittenIsThereInOrderAfterOpeningItAgain)
{
    Found none = scan();
    EXPECT_TRUE(none.metadata.empty() && none.entry.empty());
    EXPECT_EQ(append(1, 10, "ten"), TR_OK);
    EXPECT_EQ(metadata(2, "promise 1"), TR_OK);
    EXPECT_EQ(append(3, 12, std::string(5000, 'x')), TR_OK);
    EXPECT_EQ(append(4, 10, "ten, again"), TR_OK);
    EXPECT_EQ(metadata(5, "promise 2"), TR_OK);
    EXPECT_EQ(durable(), 5u);
    reopen();
    Found found = scan();
    EXPECT_EQ(found.metadata, "promise 2");
    EXPECT_EQ(found.order, (std::vector<uint64_t>{10, 12, 10}));
    EXPECT_EQ(found.entry[10], "ten, again");
    EXPECT_EQ(found.entry[12], std::string(5000, 'x'));
    EXPECT_TRUE(found.unknown.empty());
}

TEST_F(Storage, TheMarkCountsWritesThatAreDurableAndBelongsToItsOpening)
{
    tr_storage_mark mark = {}, later = {};
    tr_storage_medium_hold(medium, true);
    for (uint64_t i = 1; i <= 5; i++)
        ASSERT_EQ(append(i, i, "entry"), TR_OK);
    EXPECT_EQ(durable(), 0u);
    tr_storage_medium_release(medium, 2);
    EXPECT_EQ(durable(), 2u);
    tr_storage_medium_hold(medium, false);
    EXPECT_EQ(driver->poll(s, &mark), TR_OK);
    EXPECT_EQ(mark.sequence, 5u);
    reopen();
    EXPECT_EQ(driver->poll(s, &later), TR_OK);
    EXPECT_EQ(later.sequence, 0u);
    EXPECT_GT(later.generation, mark.generation);
}

/* One PERSIST in several calls: it is durable when its last part is. */
TEST_F(Storage, AWriteInPartsIsDurableWithItsLastPart)
{
    ASSERT_EQ(append(1, 1, "whole"), TR_OK);
    ASSERT_EQ(append(0, 2, "part"), TR_OK);
    ASSERT_EQ(append(0, 3, "part"), TR_OK);
    EXPECT_EQ(durable(), 1u);
    ASSERT_EQ(append(2, 4, "part"), TR_OK);
    EXPECT_EQ(durable(), 2u);
    ASSERT_EQ(append(0, 5, "part"), TR_OK);
    ASSERT_EQ(driver->append(s, 3, nullptr, 0), TR_OK); /* the last part has no entry */
    EXPECT_EQ(durable(), 3u);
    reopen();
    EXPECT_EQ(scan().order, (std::vector<uint64_t>{1, 2, 3, 4, 5}));
}

TEST_F(Storage, AWriteThatIsTooLargeOrFindsNoRoomChangesNothing)
{
    EXPECT_EQ(append(1, 1, std::string(ENTRY_BYTES + 1, 'x')), TR_ETOOBIG);
    EXPECT_EQ(metadata(1, std::string(TR_STORAGE_METADATA_MAX + 1, 'x')), TR_ETOOBIG);
    uint64_t sequence = 0;
    while (append(sequence + 1, sequence + 1, std::string(3000, 'x')) == TR_OK)
        sequence++;
    EXPECT_GT(sequence, 10u);
    EXPECT_EQ(append(sequence + 1, sequence + 1, std::string(3000, 'x')), TR_AGAIN);
    EXPECT_EQ(durable(), sequence);
    tr_storage_stats stats = {};
    driver->stats(s, &stats);
    EXPECT_EQ(stats.writes, sequence);
    EXPECT_EQ(stats.refused, 2u);
    EXPECT_LE(stats.log_bytes_used, LOG_BYTES);
    reopen();
    EXPECT_EQ(scan().entry.size(), sequence);
}

TEST_F(Storage, TruncatingBehindADurableSnapshotMakesRoom)
{
    uint64_t sequence = 0;
    while (append(sequence + 1, sequence + 1, std::string(3000, 'x')) == TR_OK)
        sequence++;
    EXPECT_EQ(driver->truncate(s, 5), TR_EINVAL);
    std::string bytes(150001, 's');
    tr_storage_medium_hold(medium, true);
    snapshot(8, bytes);
    durable();
    EXPECT_EQ(driver->truncate(s, 5), TR_EINVAL); /* not durable yet */
    tr_storage_medium_hold(medium, false);
    durable();
    EXPECT_EQ(driver->truncate(s, 9), TR_EINVAL); /* beyond it */
    EXPECT_EQ(driver->truncate(s, 8), TR_OK);
    EXPECT_EQ(append(sequence + 1, sequence + 1, "room"), TR_OK);
    durable();
    reopen();
    EXPECT_EQ(snapshot_bytes(8), bytes);
    Found found = scan();
    EXPECT_EQ(found.entry.begin()->first, 9u);
    EXPECT_EQ(found.entry.rbegin()->first, sequence + 1);
}

TEST_F(Storage, TheOldSnapshotCountsUntilTheNewOneIsDurable)
{
    snapshot(5, "old");
    durable();
    tr_storage_medium_hold(medium, true);
    snapshot(9, "new");
    durable();
    EXPECT_EQ(snapshot_bytes(5), "old");
    crash(0, false);
    EXPECT_EQ(snapshot_bytes(5), "old");
    snapshot(9, "new");
    durable();
    EXPECT_EQ(snapshot_bytes(9), "new");
    ASSERT_EQ(driver->snapshot_begin(s, 11, 10, 99), TR_OK); /* half a one */
    ASSERT_EQ(driver->snapshot_write(s, "12345", 5), TR_OK);
    EXPECT_EQ(driver->snapshot_commit(s), TR_EINVAL);
    EXPECT_EQ(driver->snapshot_write(s, "1234567", 7), TR_EINVAL);
    reopen();
    EXPECT_EQ(snapshot_bytes(9), "new");
    char byte;
    EXPECT_EQ(driver->snapshot_read(s, 3, &byte, 1), TR_ERANGE);
    EXPECT_EQ(driver->snapshot_begin(s, 12, SNAPSHOT_BYTES + 1, 99), TR_ETOOBIG);
}

TEST_F(Storage, ACrashKeepsWhatWasDurableAndWholeWritesOnly)
{
    ASSERT_EQ(append(1, 1, "durable"), TR_OK);
    ASSERT_EQ(metadata(2, "durable"), TR_OK);
    ASSERT_EQ(durable(), 2u);
    tr_storage_medium_hold(medium, true);
    ASSERT_EQ(append(3, 2, "kept by luck"), TR_OK);
    ASSERT_EQ(metadata(4, "torn"), TR_OK);
    ASSERT_EQ(append(5, 3, "lost"), TR_OK);
    crash(1, true);
    Found found = scan();
    EXPECT_EQ(found.metadata, "durable");
    EXPECT_EQ(found.order, (std::vector<uint64_t>{1, 2}));
    EXPECT_TRUE(found.unknown.empty()); /* nobody was told of what is torn */
    ASSERT_EQ(append(1, 3, "anew"), TR_OK);
    ASSERT_EQ(durable(), 1u);
    reopen();
    EXPECT_EQ(scan().entry[3], "anew");
}

TEST_F(Storage, AStorageWhoseProcessDiedWritesNothing)
{
    ASSERT_EQ(append(1, 1, "a"), TR_OK);
    durable();
    tr_storage *dead = s;
    tr_storage_medium_crash(medium, 0, false);
    open();
    tr_storage_mark mark = {};
    tr_storage_entry e = {};
    EXPECT_EQ(driver->append(dead, 2, &e, 1), TR_EIO);
    EXPECT_EQ(driver->metadata(dead, 2, "x", 1), TR_EIO);
    EXPECT_EQ(driver->poll(dead, &mark), TR_EIO);
    driver->close(dead);
    EXPECT_EQ(append(1, 2, "b"), TR_OK);
    EXPECT_EQ(durable(), 1u);
}

TEST_F(Storage, AFlushThatFailedIsNeverTriedAgain)
{
    ASSERT_EQ(append(1, 1, "a"), TR_OK);
    ASSERT_EQ(durable(), 1u);
    ASSERT_EQ(append(2, 2, "b"), TR_OK);
    tr_storage_medium_fail(medium);
    tr_storage_mark mark = {};
    for (int i = 0; i < 5; i++) {
        EXPECT_EQ(driver->poll(s, &mark), TR_EIO);
        EXPECT_EQ(mark.sequence, 1u);
    }
    EXPECT_EQ(append(3, 3, "c"), TR_EIO);
    EXPECT_EQ(metadata(3, "m"), TR_EIO);
    EXPECT_EQ(driver->snapshot_begin(s, 1, 1, 1), TR_EIO);
    EXPECT_EQ(driver->truncate(s, 1), TR_EIO);
    crash(0, false);
    EXPECT_EQ(scan().order, (std::vector<uint64_t>{1}));
}

TEST_F(Storage, WhatWasDurableAndCannotBeReadIsUnknownNotAbsent)
{
    for (uint64_t i = 1; i <= 6; i++)
        ASSERT_EQ(append(i, i, "entry"), TR_OK);
    ASSERT_EQ(metadata(7, "promise"), TR_OK);
    durable();
    ASSERT_EQ(tr_storage_medium_spoil(medium, 3, TR_STORAGE_DAMAGE_PAYLOAD), TR_OK);
    EXPECT_EQ(tr_storage_medium_spoil(medium, 30, TR_STORAGE_DAMAGE_PAYLOAD), TR_ENOENT);
    reopen();
    Found found = scan();
    using Range = std::pair<uint64_t, uint64_t>;
    EXPECT_EQ(found.order, (std::vector<uint64_t>{1, 2, 4, 5, 6}));
    EXPECT_EQ(found.unknown, (std::vector<Range>{{3, 3}}));
    /* Without the header nothing behind it can be found. */
    ASSERT_EQ(tr_storage_medium_spoil(medium, 5, TR_STORAGE_DAMAGE_HEADER), TR_OK);
    tr_storage_medium_spoil_metadata(medium);
    reopen();
    found = scan();
    EXPECT_EQ(found.order, (std::vector<uint64_t>{1, 2, 4}));
    EXPECT_EQ(found.unknown, (std::vector<Range>{{3, 3}, {1, UINT64_MAX}}));
    EXPECT_TRUE(found.metadata_unknown);
}

TEST_F(Storage, WhatWasWrittenToAnotherPlaceIsNotTakenForWhatBelongsThere)
{
    using Range = std::pair<uint64_t, uint64_t>;
    for (uint64_t i = 1; i <= 6; i++)
        ASSERT_EQ(append(i, i, i == 6 ? "longer" : "entry"), TR_OK);
    durable();
    EXPECT_EQ(tr_storage_medium_misdirect(medium, 5, 30), TR_ENOENT);
    EXPECT_EQ(tr_storage_medium_misdirect(medium, 5, 6), TR_EINVAL);
    ASSERT_EQ(tr_storage_medium_misdirect(medium, 5, 3), TR_OK);
    reopen();
    Found found = scan();
    EXPECT_EQ(found.order, (std::vector<uint64_t>{1, 2})) << "and no second 5";
    EXPECT_EQ(found.unknown, (std::vector<Range>{{1, UINT64_MAX}}));
}

TEST_F(Storage, OpeningRefusesWhatDoesNotFit)
{
    char error[200] = "";
    tr_storage *other = nullptr;
    auto attempt = [&](const std::function<void(tr_storage_options &)> &change) {
        tr_storage_options o = options();
        o.error = error;
        o.error_bytes = sizeof(error);
        change(o);
        return driver->open(&o, &other);
    };
    EXPECT_EQ(attempt([](tr_storage_options &) {}), TR_EBUSY);
    EXPECT_NE(std::string(error).find("open already"), std::string::npos);
    driver->close(s);
    EXPECT_EQ(attempt([](tr_storage_options &o) { o.group = 8; }), TR_ECORRUPT);
    EXPECT_EQ(attempt([](tr_storage_options &o) { o.log_bytes *= 2; }), TR_EINVAL);
    EXPECT_EQ(attempt([](tr_storage_options &o) { o.snapshot_bytes_max *= 2; }), TR_EINVAL);
    EXPECT_EQ(attempt([](tr_storage_options &o) { o.entry_bytes_max = LOG_BYTES / 2; }), TR_EINVAL);
    EXPECT_EQ(attempt([](tr_storage_options &o) { o.extra = "sync=no"; }), TR_EINVAL);
    EXPECT_EQ(attempt([](tr_storage_options &o) { o.struct_bytes--; }), TR_EINVAL);
    EXPECT_EQ(attempt([](tr_storage_options &o) {
                  o.medium = nullptr;
                  o.log_bytes = 5000;
              }),
              TR_EINVAL);
    EXPECT_EQ(other, nullptr);
    open();
}

TEST_F(Storage, MemoryIsTakenAtOpenOnly)
{
    tr_test::arena own;
    tr_storage_options o = options();
    o.medium = nullptr;
    o.memory = *own.memory();
    tr_storage *lone = nullptr;
    ASSERT_EQ(driver->open(&o, &lone), TR_OK);
    size_t taken = own.taken();
    EXPECT_GE(taken, LOG_BYTES + 2 * SNAPSHOT_BYTES);
    std::swap(s, lone);
    for (uint64_t i = 1; i < 10; i++)
        append(i, i, std::string(1000, 'x'));
    snapshot(5, std::string(1000, 's'));
    EXPECT_EQ(durable(), 9u);
    EXPECT_EQ(driver->truncate(s, 5), TR_OK);
    EXPECT_EQ(own.taken(), taken);
    driver->close(s);
    std::swap(s, lone);
    tr_test::arena small(LOG_BYTES);
    o.memory = *small.memory();
    EXPECT_EQ(driver->open(&o, &lone), TR_ENOMEM);
}

/* Random writes, crashes and truncations over many laps, held against a model: whatever was durable
 * is there, and nothing is there that was not written. */
TEST_F(Storage, SurvivesRandomCrashesOverManyLaps)
{
    std::mt19937_64 random(7);
    struct Write {
        bool is_metadata;
        uint64_t slot;
        std::string bytes;
    };
    std::map<uint64_t, std::string> entry;
    std::string promise;
    std::vector<Write> under_way;
    uint64_t sequence = 0, next_slot = 1, truncated = 0, bytes_written = 0, crashes = 0;
    auto take = [&](size_t writes) {
        for (size_t i = 0; i < writes; i++) {
            const Write &w = under_way[i];
            if (w.is_metadata)
                promise = w.bytes;
            else
                entry[w.slot] = w.bytes;
        }
        under_way.clear();
    };
    tr_storage_medium_hold(medium, true);
    while (bytes_written < 20 * LOG_BYTES) {
        uint64_t what = random() % 100;
        if (what < 85) {
            bool again = random() % 4 == 0 && next_slot > truncated + 1;
            uint64_t slot =
                again ? truncated + 1 + random() % (next_slot - truncated - 1) : next_slot;
            Write w = {random() % 8 == 0, slot,
                       std::string(random() % 2000 + 1, static_cast<char>('a' + random() % 26))};
            if (w.is_metadata)
                w.bytes.resize(w.bytes.size() % TR_STORAGE_METADATA_MAX + 1);
            int status = w.is_metadata ? metadata(sequence + 1, w.bytes)
                                       : append(sequence + 1, w.slot, w.bytes);
            if (status == TR_OK) {
                sequence++;
                bytes_written += w.bytes.size();
                next_slot += !w.is_metadata && slot == next_slot;
                under_way.push_back(w);
                continue;
            }
            ASSERT_EQ(status, TR_AGAIN);
            what = 90;
        }
        if (what < 97) { /* everything becomes durable; the front half is cut off */
            tr_storage_medium_hold(medium, false);
            ASSERT_EQ(durable(), sequence);
            take(under_way.size());
            truncated += (next_slot - 1 - truncated) / 2;
            snapshot(truncated, "image");
            durable();
            ASSERT_EQ(driver->truncate(s, truncated), TR_OK);
            entry.erase(entry.begin(), entry.upper_bound(truncated));
            tr_storage_medium_hold(medium, true);
            continue;
        }
        size_t kept = random() % (under_way.size() + 1);
        take(kept);
        for (next_slot = truncated + 1; entry.count(next_slot) != 0;)
            next_slot++;
        crash(kept, random() % 2 == 0);
        tr_storage_medium_hold(medium, true);
        sequence = 0;
        crashes++;
        Found found = scan();
        ASSERT_EQ(found.metadata, promise);
        ASSERT_EQ(found.entry, entry);
        ASSERT_TRUE(found.unknown.empty());
    }
    EXPECT_GT(crashes, 5u);
    EXPECT_GT(truncated, 100u);
    /* The comparison can fail. */
    tr_storage_medium_hold(medium, false);
    ASSERT_EQ(append(sequence + 1, next_slot, "the last"), TR_OK);
    durable();
    take(under_way.size());
    ASSERT_EQ(tr_storage_medium_spoil(medium, next_slot, TR_STORAGE_DAMAGE_PAYLOAD), TR_OK);
    entry[next_slot] = "the last";
    reopen();
    EXPECT_NE(scan().entry, entry);
}

} // namespace
