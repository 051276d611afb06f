/* Images of the session table and the state machine: made, restored, and refused when they are not
 * what they should be. */
#include "cluster_fixture.h"
#include "dataplane/apply.h"

#include <cstdlib>

namespace
{

/* An apply stage by itself. */
struct Stage {
    explicit Stage(uint32_t group = 7, uint64_t image_bytes = 1 << 20)
    {
        tr_apply_options o = {};
        o.machine = machine.table();
        o.logger = &logger;
        o.group = group;
        o.self = 1;
        o.sessions_max = 16;
        o.reply_cache_bytes = 1 << 16;
        o.reply_bytes_max = 64;
        o.batch_commands_max = 64;
        o.snapshot_bytes_max = image_bytes;
        tr_apply_memory bytes = tr_apply_memory_bytes(&o);
        memory = aligned(bytes.bytes);
        untouched = aligned(bytes.bytes_untouched);
        a = tr_apply_init(&o, memory, untouched);
    }
    ~Stage()
    {
        free(memory);
        free(untouched);
    }
    static void *aligned(uint64_t bytes)
    {
        bytes = (bytes + 4095) & ~UINT64_C(4095);
        void *at = aligned_alloc(4096, bytes);
        memset(at, 0, bytes);
        return at;
    }
    /* Makes image 0 as of a slot. */
    tr_apply_result make(uint64_t slot)
    {
        tr_apply_result result = {};
        a->slot_applied = slot;
        tr_snapshot_make(a, 0, &result);
        return result;
    }
    tr_apply_result install(const std::string &bytes, uint64_t slot, uint32_t crc)
    {
        tr_apply_message m = {};
        tr_apply_result result = {};
        memcpy(a->image[1].data, bytes.data(), std::min<size_t>(bytes.size(), a->image_bytes));
        m.slot = slot;
        m.bytes = bytes.size();
        m.crc = crc;
        m.image = 1;
        tr_snapshot_install(a, &m, &result);
        return result;
    }
    /* With the CRC that its bytes have. */
    tr_apply_result install(const std::string &bytes, uint64_t slot)
    {
        return install(bytes, slot, tr_crc32c(0, bytes.data(), bytes.size()));
    }
    std::string image(const tr_apply_result &made) const
    {
        return std::string(reinterpret_cast<const char *>(a->image[0].data), made.bytes);
    }
    cluster::Machine machine;
    tr_logger logger = {};
    void *memory, *untouched;
    tr_apply *a;
};

class Image : public ::testing::Test
{
  protected:
    Image()
    {
        from.machine.sum = 5;
        from.machine.hash = 6;
        from.machine.count = 7;
        made = from.make(100);
        EXPECT_EQ(made.status, TR_OK);
        EXPECT_EQ(made.slot, 100u);
        bytes = from.image(made);
    }
    void expect_unchanged()
    {
        EXPECT_EQ(to.machine.restored, 0);
        EXPECT_EQ(to.a->slot_applied, 0u);
        EXPECT_FALSE(to.a->stopped);
    }
    Stage from, to;
    tr_apply_result made;
    std::string bytes;
};

TEST_F(Image, IsRestoredElsewhere)
{
    tr_apply_result result = to.install(bytes, 100, made.crc);
    EXPECT_EQ(result.status, TR_OK);
    EXPECT_EQ(result.installed, 1u);
    EXPECT_EQ(to.machine.sum, 5u);
    EXPECT_EQ(to.machine.count, 7u);
    EXPECT_EQ(to.a->slot_applied, 100u);
}

TEST_F(Image, WithAnyBitFlippedIsDamagedAndChangesNothing)
{
    for (size_t at = 0; at < bytes.size(); at += 7) {
        std::string bad = bytes;
        bad[at] = static_cast<char>(bad[at] ^ (1 << at % 8));
        ASSERT_EQ(to.install(bad, 100, made.crc).status, TR_ECORRUPT) << at;
    }
    expect_unchanged();
    EXPECT_EQ(to.install(bytes, 100, made.crc).status, TR_OK); /* pulled again, it is restored */
}

/* Its CRC is right, but it is not what was asked for. */
TEST_F(Image, OfAnotherSlotGroupOrVersionIsRefusedBeforeAnythingChanges)
{
    EXPECT_EQ(to.install(bytes, 101).status, TR_EPROTO);
    Stage other(8);
    EXPECT_EQ(other.install(bytes, 100).status, TR_EPROTO);
    for (size_t at : {0u, 8u, 24u, 32u, 40u}) { /* magic, version, sizes, reserved */
        std::string bad = bytes;
        bad[at] = static_cast<char>(bad[at] + 1);
        EXPECT_EQ(to.install(bad, 100).status, at == 8 ? TR_EVERSION : TR_EPROTO) << at;
    }
    EXPECT_EQ(to.install(bytes.substr(0, 47), 100).status, TR_ECORRUPT);
    EXPECT_EQ(to.install(bytes.substr(0, bytes.size() - 1), 100).status, TR_EPROTO);
    EXPECT_EQ(to.install("", 100).status, TR_ECORRUPT);
    expect_unchanged();
}

TEST_F(Image, ThatTheStateMachineRefusesStopsTheStage)
{
    tr_state_machine table = to.machine.table();
    table.restore = [](void *, tr_reader *) -> int { return TR_ECORRUPT; };
    to.a->machine = table;
    tr_apply_result result = to.install(bytes, 100, made.crc);
    EXPECT_NE(result.status, TR_OK);
    EXPECT_EQ(result.lost, 1u); /* else it would be pulled again */
    EXPECT_TRUE(to.a->stopped);
}

TEST_F(Image, LargerThanThisNodeTakesIsRefused)
{
    Stage small(7, 4096);
    tr_apply_result result = small.install(std::string(4097, 'x'), 100);
    EXPECT_EQ(result.status, TR_ETOOBIG);
    EXPECT_EQ(result.lost, 0u);
}

TEST_F(Image, OfWhatIsAppliedAlreadyChangesNothing)
{
    to.a->slot_applied = 100;
    EXPECT_EQ(to.install(bytes, 100, made.crc).status, TR_OK);
    EXPECT_EQ(to.machine.restored, 0);
}

TEST_F(Image, ThatDoesNotFitIsNotMade)
{
    Stage small(7, 4096);
    tr_state_machine table = small.machine.table();
    table.snapshot = [](void *, tr_writer *w) {
        std::string big(5000, 'x');
        return tr_writer_put(w, big.data(), big.size());
    };
    small.a->machine = table;
    EXPECT_EQ(small.make(5).status, TR_EFULL);
}

} // namespace
