#include "perf/load_machine.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace
{

struct Replica {
    tr_perf_load_machine state = {};
    tr_state_machine table = tr_perf_load_machine_table(&state);

    void apply(const std::vector<std::string> &commands)
    {
        std::vector<tr_command> list;
        for (const std::string &c : commands)
            list.push_back({c.data(), static_cast<uint32_t>(c.size()), 1, 1, 1});
        table.apply(table.context, 1, list.data(), static_cast<uint32_t>(list.size()), nullptr);
    }
    uint64_t digest()
    {
        return table.digest(table.context);
    }
};

} // namespace

TEST(LoadMachine, TheSameCommandsGiveTheSameDigestHoweverTheyAreBatched)
{
    Replica a, b;
    a.apply({"one", "two", "three"});
    b.apply({"one"});
    b.apply({"two", "three"});
    EXPECT_EQ(a.digest(), b.digest());
    EXPECT_EQ(a.state.commands, 3u);
}

TEST(LoadMachine, AnotherOrderGivesAnotherDigest)
{
    Replica a, b;
    a.apply({"one", "two"});
    b.apply({"two", "one"});
    EXPECT_NE(a.digest(), b.digest());
}

TEST(LoadMachine, ACommandMoreGivesAnotherDigestThoughItIsEmpty)
{
    Replica a, b;
    a.apply({"one"});
    b.apply({"one", ""});
    EXPECT_NE(a.digest(), b.digest());
}

TEST(LoadMachine, EveryByteCounts)
{
    for (size_t bytes : {1u, 7u, 8u, 31u, 32u, 64u, 77u}) {
        std::string command(bytes, 'x');
        Replica whole;
        whole.apply({command});
        for (size_t at = 0; at < bytes; at++) {
            std::string changed = command;
            changed[at] ^= 1;
            Replica other;
            other.apply({changed});
            EXPECT_NE(whole.digest(), other.digest()) << bytes << " bytes, byte " << at;
        }
    }
}
