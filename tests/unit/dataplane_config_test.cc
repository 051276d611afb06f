/* Options that are refused, each with its sentence; defaults that depend on others. */
#include "cluster_fixture.h"
#include "dataplane/node.h"

namespace
{

class Config : public ::testing::Test
{
  protected:
    Config()
    {
        node_options = TR_NODE_OPTIONS_INIT;
        node_options.node = 1;
        node_options.peers = peers;
        node_options.peer_count = 3;
        node_options.driver = "loop";
        node_options.counters = "";
        node_options.fabric = fabric = tr_fabric_create();
        group_options = TR_GROUP_OPTIONS_INIT;
        group_options.machine = machine.table();
        group_options.log_slots = 256;
        group_options.log_bytes = 16 << 20;
        group_options.snapshot_bytes_max = 4096;
    }
    ~Config() override
    {
        tr_node_close(node);
        tr_fabric_destroy(fabric);
    }
    /* Opens the node; what it says when it refuses. */
    std::string refuses_node(int status)
    {
        char error[512] = "";
        EXPECT_EQ(tr_node_open(&node_options, &node, error, sizeof(error)), status);
        return error;
    }
    void open_node()
    {
        ASSERT_EQ(refuses_node(0), "");
    }
    /* What a group with a change of its options is refused for; the change does not stay. */
    std::string refuses(int status, const std::function<void(tr_group_options &)> &change)
    {
        tr_group_options o = group_options;
        tr_group *group = nullptr;
        char error[512] = "";
        change(o);
        EXPECT_EQ(tr_group_open(node, &o, &group, error, sizeof(error)), status) << error;
        EXPECT_EQ(group == nullptr, status != 0);
        return error;
    }
    cluster::Machine machine;
    tr_peer peers[4] = {{1, "loop:a"}, {2, "loop:b"}, {3, "loop:c"}, {3, "loop:d"}};
    tr_node_options node_options;
    tr_group_options group_options;
    void *fabric;
    tr_node *node = nullptr;
};

/* Whether a sentence has these words. */
::testing::AssertionResult says(const std::string &sentence, const std::string &words)
{
    if (sentence.find(words) != std::string::npos)
        return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure()
           << "\"" << sentence << "\" does not say \"" << words << "\"";
}

TEST_F(Config, ANodeIsRefusedWithTheReason)
{
    const tr_node_options good = node_options;
    auto attempt = [&](int status, const std::function<void(tr_node_options &)> &change) {
        node_options = good;
        change(node_options);
        return refuses_node(status);
    };
    using O = tr_node_options;
    EXPECT_TRUE(says(attempt(TR_EINVAL, [](O &o) { o.struct_bytes = 4; }), "struct_bytes is 4"));
    EXPECT_TRUE(says(attempt(TR_EINVAL, [](O &o) { o.cluster = ""; }), "cluster's name is empty"));
    std::string name(64, 'c');
    EXPECT_TRUE(says(attempt(TR_EINVAL, [&](O &o) { o.cluster = name.c_str(); }), "longer than"));
    EXPECT_TRUE(says(attempt(TR_EINVAL, [](O &o) { o.lcore_count = 0; }), "lcore_count is 0"));
    EXPECT_TRUE(says(attempt(TR_EINVAL, [](O &o) { o.lcore_count = 65; }), "lcore_count is 65"));
    EXPECT_TRUE(
        says(attempt(TR_ENOTSUP, [](O &o) { o.driver = "pigeon"; }), "no driver \"pigeon\""));
    EXPECT_TRUE(says(attempt(TR_EINVAL, [](O &o) { o.peer_count = 0; }), "0 peers"));
    EXPECT_TRUE(says(attempt(TR_EINVAL, [](O &o) { o.peers = nullptr; }), "peers"));
    EXPECT_TRUE(says(attempt(TR_EINVAL, [](O &o) { o.peer_count = 4; }), "node 3 is there twice"));
    EXPECT_TRUE(says(attempt(TR_EINVAL, [](O &o) { o.node = 9; }), "node 9 is not among"));
    tr_peer bad[2] = {{1, "loop:a"}, {0, "loop:b"}};
    auto with_bad = [&](O &o) {
        o.peers = bad;
        o.peer_count = 2;
    };
    EXPECT_TRUE(says(attempt(TR_EINVAL, with_bad), "peer 1: its node is 0"));
    bad[1] = {2, nullptr};
    EXPECT_TRUE(says(attempt(TR_EINVAL, with_bad), "peer 1"));
    std::string address = "loop:" + std::string(200, 'x');
    bad[1] = {2, address.c_str()};
    EXPECT_TRUE(says(attempt(TR_EINVAL, with_bad), "longer than 127 bytes"));
    EXPECT_TRUE(says(attempt(TR_ENOMEM, [](O &o) { o.arena_bytes = 1 << 20; }), "cannot be had"));
    EXPECT_EQ(node, nullptr);
}

TEST_F(Config, AGroupIsRefusedWithTheReason)
{
    open_node();
    using O = tr_group_options;
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.struct_bytes = 7; }), "struct_bytes is 7"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.machine.apply = nullptr; }), "state machine"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.machine.restore = nullptr; }), "restore"));
    EXPECT_TRUE(
        says(refuses(TR_ENOTSUP, [](O &o) { o.durability = TR_DURABILITY_DISK; }), "write-ahead"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.durability = static_cast<tr_durability>(3); }),
                     "durability is 3"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.lcore = 1; }), "lcore 1"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.apply_lcore = 1; }), "apply_lcore 1"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.apply_lcore = -2; }), "apply_lcore -2"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.batch_commands_max = 0; }),
                     "batch_commands_max is 0; 1 to 256"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.batch_commands_max = 257; }), "is 257"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.one_sided = "on"; }), "one_sided is \"on\""));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.sessions_max = 0; }), "sessions_max 0"));
    EXPECT_TRUE(
        says(refuses(TR_EINVAL, [](O &o) { o.reply_cache_bytes = 12345; }), "cache_bytes 12345"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.snapshot_bytes_max = 4095; }), "4095"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.log_slots = 100; }), "log_slots"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.log_bytes = 4096; }), "log_bytes"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.quorum_p1 = o.quorum_p2 = 1; }), "intersect"));
    EXPECT_TRUE(says(refuses(TR_EINVAL, [](O &o) { o.quorum_p1 = 4; }), "at most all"));
    EXPECT_TRUE(says(refuses(TR_EINVAL,
                             [](O &o) {
                                 o.quorum_p1 = 3;
                                 o.quorum_p2 = 1;
                             }),
                     "leave too few"));
    static const uint16_t stranger[] = {1, 2, 7}, others[] = {2, 3};
    EXPECT_TRUE(says(refuses(TR_EINVAL,
                             [](O &o) {
                                 o.voters = stranger;
                                 o.voter_count = 3;
                             }),
                     "voter 7 of group 0 is no peer"));
    EXPECT_TRUE(says(refuses(TR_EINVAL,
                             [](O &o) {
                                 o.voters = others;
                                 o.voter_count = 2;
                             }),
                     "not a voter"));
    EXPECT_TRUE(says(refuses(TR_EINVAL,
                             [](O &o) {
                                 o.voters = others;
                                 o.voter_count = 10;
                             }),
                     "10 voters; 1 to 9"));
    /* After all that a good one opens, once. */
    EXPECT_EQ(refuses(0, [](O &) {}), "");
    EXPECT_TRUE(says(refuses(TR_EEXIST, [](O &) {}), "group 0 is open already"));
    tr_poll(node);
    EXPECT_TRUE(says(refuses(TR_EBUSY, [](O &o) { o.group = 1; }), "before the node is started"));
}

TEST_F(Config, AGroupThatDoesNotFitTheArenaSaysHowMuchItNeeds)
{
    node_options.arena_bytes = 64 << 20;
    open_node();
    EXPECT_TRUE(says(refuses(TR_ENOMEM, [](tr_group_options &o) { o.log_bytes = 128 << 20; }),
                     "MiB of memory"));
}

/* An older caller's struct is shorter; a newer one's must not ask for what is not known. */
TEST(ConfigCopy, ShorterStructsKeepDefaultsLongerOnesMustBeZeroBeyond)
{
    struct Options {
        size_t struct_bytes;
        uint64_t old_field, new_field;
    };
    Options into = {sizeof(Options), 1, 2};
    Options from = {offsetof(Options, new_field), 10, 20};
    EXPECT_EQ(tr_config_copy(&into, sizeof(into), &from, from.struct_bytes), TR_OK);
    EXPECT_EQ(into.old_field, 10u);
    EXPECT_EQ(into.new_field, 2u);
    uint64_t longer[5] = {sizeof(longer), 7, 8, 0, 0};
    EXPECT_EQ(tr_config_copy(&into, sizeof(into), longer, sizeof(longer)), TR_OK);
    EXPECT_EQ(into.new_field, 8u);
    longer[4] = 1;
    EXPECT_EQ(tr_config_copy(&into, sizeof(into), longer, sizeof(longer)), TR_EINVAL);
    EXPECT_EQ(tr_config_copy(&into, sizeof(into), longer, 4), TR_EINVAL);
}

TEST(ConfigRing, HoldsTwoOfTheLargestRecords)
{
    tr_replica_config c = {};
    for (uint32_t bytes : {64u, 100000u, 600000u, TR_ENTRY_BYTES_MAX}) {
        c.entry_bytes_max = bytes;
        uint32_t ring = tr_config_ring_bytes(&c);
        EXPECT_GE(ring, 2 * tr_record_bytes(bytes));
        EXPECT_EQ(ring & (ring - 1), 0u);
    }
}

} // namespace
