/* What a group shows to other threads: one moment of the replica, never two mixed. */
#include "group_stage.h"

#include <atomic>
#include <thread>

using namespace group_stage;

namespace
{

class Mirror : public ::testing::Test
{
  protected:
    Mirror() : apply(static_cast<tr_apply *>(aligned_alloc(4096, (sizeof(tr_apply) | 4095) + 1)))
    {
        memset(static_cast<void *>(apply), 0, sizeof(*apply));
        s.g->apply = apply;
    }
    ~Mirror() override
    {
        free(apply);
    }
    struct tr_group_status shown() const
    {
        struct tr_group_status out;
        tr_group_status(s.g, &out);
        return out;
    }

    Stage s;
    tr_apply *apply;
};

TEST_F(Mirror, ShowsTheReplicaAsItWasWhenItWasWritten)
{
    s.status.leader = 2;
    s.status.ballot = {7, 1, 1, 0};
    s.status.slot_next = 13;
    s.status.slot_commit = 12;
    s.status.slot_apply = 11;
    s.status.slot_snapshot = 10;
    s.status.slot_first = 9;
    s.status.peers_reachable = 3;
    s.status.peers_one_sided = 1;
    s.counts.elections_started = 3;
    s.counts.snapshots_made = 4;
    s.counts.snapshots_installed = 5;
    s.counts.log_wraps = 6;
    s.g->now_ns = 1000;
    s.g->leader_changed = true;
    tr_group_mirror(s.g);
    s.status.slot_commit = 99;
    struct tr_group_status out = shown();
    EXPECT_EQ(2u, out.leader);
    EXPECT_EQ(7u, out.ballot_round);
    EXPECT_EQ(13u, out.slot_next);
    EXPECT_EQ(12u, out.slot_commit);
    EXPECT_EQ(11u, out.slot_apply);
    EXPECT_EQ(10u, out.slot_snapshot);
    EXPECT_EQ(9u, out.slot_first);
    EXPECT_EQ(3u, out.elections);
    EXPECT_EQ(4u, out.snapshots_made);
    EXPECT_EQ(5u, out.snapshots_installed);
    EXPECT_EQ(6u, out.log_wraps);
    EXPECT_EQ(3u, out.voters_reachable);
    EXPECT_EQ(1u, out.one_sided_peers);
    EXPECT_FALSE(s.g->leader_changed) << "the news is out";
    EXPECT_GT(s.g->mirror_ns, 1000u) << "and not written again in every turn";
}

TEST_F(Mirror, NamesEachRole)
{
    const struct {
        tr_replica_role role;
        tr_role shown;
    } cases[] = {
        {TR_REPLICA_RECOVERING, TR_ROLE_RECOVERING},  {TR_REPLICA_FOLLOWER, TR_ROLE_FOLLOWER},
        {TR_REPLICA_PRECANDIDATE, TR_ROLE_CANDIDATE}, {TR_REPLICA_CANDIDATE, TR_ROLE_CANDIDATE},
        {TR_REPLICA_LEADER, TR_ROLE_LEADER},          {TR_REPLICA_STOPPED, TR_ROLE_STOPPED},
    };
    for (const auto &c : cases) {
        s.status.role = c.role;
        tr_group_mirror(s.g);
        EXPECT_EQ(c.shown, shown().role);
    }
}

TEST_F(Mirror, ShowsADigestOnlyOfTheSlotThatItShows)
{
    EXPECT_EQ(0u, shown().digest) << "this machine has none";
    apply->machine.digest = [](void *) -> uint64_t { return 0; };
    s.status.slot_commit = s.status.slot_apply = 20;
    tr_group_mirror(s.g);
    EXPECT_EQ(0u, shown().digest);
    EXPECT_EQ(1u, apply->digest_wanted) << "the apply stage is asked for it";
    apply->digest = 77;
    apply->digest_slot = 19 + 1;
    EXPECT_EQ(0u, shown().digest) << "that of another slot";
    apply->digest_slot = 20 + 1;
    EXPECT_EQ(77u, shown().digest);
}

/* Every writing has one number in three words; a reader that mixed two would see two numbers. */
TEST_F(Mirror, IsNeverReadHalfWritten)
{
    std::atomic<bool> over{false};
    std::thread writer([&] {
        for (uint64_t n = 1; !over.load(std::memory_order_relaxed); n++) {
            s.status.slot_commit = s.status.slot_apply = s.status.slot_snapshot = n;
            tr_group_mirror(s.g);
        }
    });
    uint64_t last = 0, changes = 0;
    while (changes < 1000) {
        struct tr_group_status out = shown();
        EXPECT_EQ(out.slot_commit, out.slot_apply);
        EXPECT_EQ(out.slot_commit, out.slot_snapshot);
        EXPECT_LE(last, out.slot_commit) << "time goes forward";
        changes += out.slot_commit != last;
        last = out.slot_commit;
    }
    over = true;
    writer.join();
}

} // namespace
