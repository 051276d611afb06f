/* Whole nodes at the levels with a disk, over storage in memory: PERSIST, BARRIER and DURABLE run
 * from end to end. */
#include "cluster_fixture.h"
#include "consensus/record.h"
#include "dataplane/node.h"
#include "drivers/storage/mem.h"
#include "drivers_port.h"

using cluster::Client;
using cluster::Cluster;
using cluster::Layout;

namespace
{

constexpr uint64_t WAL_BYTES = 2 << 20;

/* What lies on a medium. */
struct OnDisk {
    tr_ballot promise = {};
    std::map<uint64_t, std::vector<uint64_t>> record; /* by slot, newest */
    uint64_t snapshot_slot = 0;
    uint64_t unknown = 0;

    bool has(uint64_t slot) const
    {
        return slot <= snapshot_slot || record.count(slot) != 0;
    }
};

/* A disk a node. */
class Disks
{
  public:
    Disks()
    {
        for (auto &m : medium) {
            tr_storage_medium_options o = {};
            o.struct_bytes = sizeof(o);
            o.log_bytes = WAL_BYTES;
            o.snapshot_bytes_max = 1 << 20;
            o.memory = *arena.memory();
            EXPECT_EQ(tr_storage_medium_create(&o, &m), 0);
        }
    }
    Layout layout(tr_durability level)
    {
        Layout l;
        l.durability = level;
        l.log = [](void *context, tr_log_level, const char *line) {
            static_cast<Disks *>(context)->lines += std::string(line) + "\n";
        };
        l.log_context = this;
        l.opener = [this](int node, tr_node *n, const tr_group_options *o, tr_group **out,
                          char *error, size_t error_bytes) {
            tr_wal_options wal = {};
            wal.driver = tr_storage_find("mem");
            wal.medium = medium[node];
            wal.log_bytes = WAL_BYTES;
            return tr_group_open_stored(n, o, &wal, out, error, error_bytes);
        };
        return l;
    }
    void hold(int node, bool held)
    {
        tr_storage_medium_hold(medium[node], held);
    }
    /* What would be found after a crash of a node that is closed. */
    OnDisk read(int node)
    {
        const tr_storage_driver *driver = tr_storage_find("mem");
        tr_storage_options o = {};
        o.struct_bytes = sizeof(o);
        o.entry_bytes_max = 1 << 10;
        o.log_bytes = WAL_BYTES;
        o.memory = *arena.memory();
        o.medium = medium[node];
        tr_storage *s = nullptr;
        OnDisk found;
        EXPECT_EQ(driver->open(&o, &s), 0);
        tr_storage_snapshot snapshot = {};
        if (driver->snapshot(s, &snapshot) == 0)
            found.snapshot_slot = snapshot.slot;
        tr_storage_cursor cursor = {};
        tr_storage_item item;
        while (driver->scan(s, &cursor, &item) == 0)
            take(item, &found);
        driver->close(s);
        return found;
    }

    tr_test::arena arena;
    tr_storage_medium *medium[3] = {};
    std::string lines;

  private:
    static void take(const tr_storage_item &item, OnDisk *found)
    {
        if (item.kind == TR_STORAGE_UNKNOWN) {
            found->unknown++;
        } else if (item.kind == TR_STORAGE_METADATA) {
            ASSERT_EQ(item.bytes, sizeof(tr_wal_metadata));
            const auto *m = static_cast<const tr_wal_metadata *>(item.data);
            EXPECT_EQ(m->magic, TR_WAL_METADATA_MAGIC);
            EXPECT_EQ(m->version, TR_WAL_METADATA_VERSION);
            EXPECT_EQ(m->reserved, 0u);
            found->promise = m->ballot;
        } else {
            std::vector<uint64_t> words((item.bytes + 7) / 8);
            memcpy(words.data(), item.data, item.bytes);
            const auto *record = reinterpret_cast<const tr_record *>(words.data());
            EXPECT_TRUE(tr_record_valid(record, item.bytes));
            EXPECT_EQ(record->slot, item.slot_first);
            found->record[item.slot_first] = std::move(words);
        }
    }
};

class Wal : public ::testing::TestWithParam<tr_durability>
{
  protected:
    Disks disks;
    Layout layout()
    {
        return disks.layout(GetParam());
    }
};

/* Submits and takes so many commands; the numbers go on from those before. */
void pump(Cluster &c, Client &client, uint64_t count)
{
    uint64_t submitted = 0, completed = 0;
    ASSERT_TRUE(c.until([&] {
        while (submitted < count && client.submit(submitted + 1) == 0)
            submitted++;
        tr_completion done[64];
        uint32_t n = tr_session_poll(client.session, done, 64);
        for (uint32_t i = 0; i < n; i++)
            EXPECT_EQ(done[i].status, 0);
        completed += n;
        return completed == count;
    }));
}

TEST_P(Wal, EveryCommittedEntryAndThePromiseAreOnEveryDisk)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Client client(c, c.leader());
    pump(c, client, 1000);
    ASSERT_TRUE(c.agree());
    for (int i = 0; i < 50; i++)
        c.turn(); /* level async writes behind */
    std::vector<struct tr_group_status> status;
    for (int i = 0; i < 3; i++)
        status.push_back(c.status(i));
    for (int i = 0; i < 3; i++)
        c.close(i);
    for (int i = 0; i < 3; i++) {
        tr_storage_medium_crash(disks.medium[i], 0, false);
        OnDisk found = disks.read(i);
        EXPECT_EQ(found.promise.round, status[(size_t)i].ballot_round);
        EXPECT_EQ(found.unknown, 0u);
        for (uint64_t slot = 1; slot <= status[(size_t)i].slot_commit; slot++)
            ASSERT_TRUE(found.has(slot)) << "slot " << slot << " of node " << i + 1;
    }
}

/* The log of the group and that of the storage are far smaller than what goes through them. */
TEST_P(Wal, SnapshotsCutItOff)
{
    Layout l = layout();
    l.log_slots = 256;
    l.log_bytes = 1 << 20;
    l.batch = 4;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    Client client(c, c.leader());
    pump(c, client, 60000);
    ASSERT_TRUE(c.agree());
    for (int i = 0; i < 200; i++)
        c.turn();
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(c.nodes[(size_t)i].machine[0]->count, 60000u);
        uint64_t commit = c.status(i).slot_commit;
        c.close(i);
        OnDisk found = disks.read(i);
        EXPECT_GT(found.snapshot_slot, commit / 2);
        EXPECT_LT(found.record.size(), commit / 2);
        for (uint64_t slot = found.snapshot_slot + 1; slot <= commit; slot++)
            ASSERT_TRUE(found.has(slot));
    }
}

TEST_P(Wal, ARestartedNodeFindsItsGroupAgain)
{
    Cluster c(layout());
    ASSERT_TRUE(c.wait_leader());
    Client client(c, c.leader());
    pump(c, client, 100);
    int victim = c.follower();
    c.close(victim);
    tr_storage_medium_crash(disks.medium[victim], 0, false);
    pump(c, client, 100);
    c.open(victim);
    pump(c, client, 100);
    ASSERT_TRUE(c.agree());
    EXPECT_EQ(c.nodes[(size_t)victim].machine[0]->count, 300u);
}

std::string name_of(const ::testing::TestParamInfo<tr_durability> &level)
{
    return level.param == TR_DURABILITY_ASYNC ? "async" : "disk";
}

INSTANTIATE_TEST_SUITE_P(Levels, Wal, ::testing::Values(TR_DURABILITY_ASYNC, TR_DURABILITY_DISK),
                         name_of);

/* Whether a command completes within many turns. */
bool completes(Cluster &c, Client &client)
{
    tr_completion done;
    client.must_submit(1);
    for (int i = 0; i < 3000; i++) {
        c.turn();
        if (tr_session_poll(client.session, &done, 1) == 1)
            return done.status == 0;
    }
    return false;
}

TEST(WalLevel, DiskWaitsForADiskQuorum)
{
    Disks disks;
    Layout l = disks.layout(TR_DURABILITY_DISK);
    l.election_us = 2000000; /* the leader stays */
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    int leader = c.leader(), one = (leader + 1) % 3, two = (leader + 2) % 3;
    Client client(c, leader);
    ASSERT_TRUE(completes(c, client));
    /* Any one of the disks may be slow: the leader's, too. */
    for (int slow : {leader, one, two}) {
        disks.hold(slow, true);
        EXPECT_TRUE(completes(c, client)) << slow;
        disks.hold(slow, false);
        EXPECT_TRUE(completes(c, client));
    }
    disks.hold(leader, true);
    disks.hold(two, true);
    EXPECT_FALSE(completes(c, client));
    disks.hold(two, false);
    tr_completion done;
    ASSERT_TRUE(client.next(&done));
    EXPECT_EQ(done.status, 0);
    disks.hold(leader, false);
    /* What was completed is on two disks at least, whatever dies. */
    uint64_t commit = c.status(leader).slot_apply;
    for (int i = 0; i < 3; i++)
        tr_storage_medium_crash(disks.medium[i], 0, false);
    for (int i = 0; i < 3; i++)
        c.close(i);
    OnDisk found[3] = {disks.read(0), disks.read(1), disks.read(2)};
    for (uint64_t slot = 1; slot <= commit; slot++)
        EXPECT_GE(found[0].has(slot) + found[1].has(slot) + found[2].has(slot), 2) << slot;
}

TEST(WalLevel, AsyncWaitsForNoDisk)
{
    Disks disks;
    Cluster c(disks.layout(TR_DURABILITY_ASYNC));
    for (int i = 0; i < 3; i++)
        disks.hold(i, true);
    ASSERT_TRUE(c.wait_leader());
    Client client(c, c.leader());
    pump(c, client, 1000);
    ASSERT_TRUE(c.agree());
}

TEST(WalLevel, AFailedFlushSilencesItsReplicaOnly)
{
    Disks disks;
    Cluster c(disks.layout(TR_DURABILITY_DISK));
    ASSERT_TRUE(c.wait_leader());
    Client client(c, c.leader());
    int victim = c.follower();
    pump(c, client, 10);
    tr_storage_medium_fail(disks.medium[victim]);
    pump(c, client, 100);
    EXPECT_NE(disks.lines.find("the storage failed (flush)"), std::string::npos);
    EXPECT_EQ(disks.lines.find("the storage failed"), disks.lines.rfind("the storage failed"));
    /* The flush is not tried again: what came since is not on its disk. */
    uint64_t commit = c.status(c.leader()).slot_commit;
    c.close(victim);
    tr_storage_medium_crash(disks.medium[victim], 0, false);
    EXPECT_FALSE(disks.read(victim).has(commit));
}

/* All disks stall for many hundred heartbeats and some elections, under load; then they go on. */
TEST(WalLevel, AStalledDiskCostsTimeOnly)
{
    Disks disks;
    Layout l = disks.layout(TR_DURABILITY_DISK);
    l.election_us = 500;
    l.log_slots = 256;
    l.log_bytes = 1 << 20;
    Cluster c(l);
    ASSERT_TRUE(c.wait_leader());
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 3; i++)
        clients.push_back(std::make_unique<Client>(c, i));
    uint64_t submitted[3] = {}, completed[3] = {};
    auto turn = [&] {
        for (size_t i = 0; i < 3; i++) {
            while (submitted[i] < 20000 && clients[i]->submit(1) == 0)
                submitted[i]++;
            tr_completion done[64];
            completed[i] += tr_session_poll(clients[i]->session, done, 64);
        }
        c.turn();
    };
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++)
            disks.hold(i, true);
        for (uint64_t end = cluster::now_ms() + 700; cluster::now_ms() < end;)
            turn();
        for (int i = 0; i < 3; i++)
            disks.hold(i, false);
        uint64_t target = completed[0] + 100;
        ASSERT_TRUE(c.until([&] {
            turn();
            return completed[0] >= target;
        }));
    }
    ASSERT_TRUE(c.until([&] {
        turn();
        return completed[0] + completed[1] + completed[2] == 60000;
    }));
    ASSERT_TRUE(c.agree());
    for (auto &n : c.nodes)
        EXPECT_EQ(n.machine[0]->count, 60000u);
}

/* The public way does not lead there yet, and says so. */
TEST(WalLevel, ThePublicApiRefusesWhatNeedsADisk)
{
    Layout l;
    l.groups = 0;
    l.nodes = 1;
    Cluster c(l);
    for (tr_durability level : {TR_DURABILITY_ASYNC, TR_DURABILITY_DISK}) {
        tr_group_options o = TR_GROUP_OPTIONS_INIT;
        char error[256] = "";
        tr_group *group = nullptr;
        cluster::Machine machine;
        o.machine = machine.table();
        o.durability = level;
        EXPECT_EQ(tr_group_open(c.nodes[0].node, &o, &group, error, sizeof(error)), TR_ENOTSUP);
        EXPECT_NE(std::string(error).find("write-ahead log"), std::string::npos) << error;
        EXPECT_EQ(group, nullptr);
    }
}

} // namespace
