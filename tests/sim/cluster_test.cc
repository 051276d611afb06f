// Some seeds of every profile, on the production objects, as tests.

#include "tests/sim/cluster.h"
#include "tests/sim/runner.h"

#include <gtest/gtest.h>

namespace
{

class SimCluster : public ::testing::TestWithParam<const sim::Profile *>
{
};

TEST_P(SimCluster, AgreesUnderFaultsAndComesBackWhenTheyStop)
{
    sim::Setup setup;
    setup.profile = GetParam();
    for (setup.seed = 1; setup.seed <= 4; setup.seed++) {
        sim::Outcome o = sim::run_apart(setup, sim::Print::All);
        EXPECT_FALSE(o.failed) << sim::setup_text(setup) << ": " << o.checker << ": " << o.text;
        EXPECT_GT(o.totals.steps, 1000u) << sim::setup_text(setup);
    }
}

TEST_P(SimCluster, RunsTheSameTwice)
{
    sim::Setup setup;
    setup.profile = GetParam();
    setup.seed = 7;
    setup.faults_us = 20000;
    sim::Outcome first = sim::run_apart(setup, sim::Print::None);
    sim::Outcome second = sim::run_apart(setup, sim::Print::None);
    EXPECT_EQ(first.hash, second.hash);
    EXPECT_EQ(first.totals.steps, second.totals.steps);
    setup.seed = 8;
    EXPECT_NE(first.hash, sim::run_apart(setup, sim::Print::None).hash);
}

std::vector<const sim::Profile *> profiles()
{
    std::vector<const sim::Profile *> all;
    for (uint32_t i = 0; sim::profile_at(i) != nullptr; i++)
        all.push_back(sim::profile_at(i));
    return all;
}

INSTANTIATE_TEST_SUITE_P(Profiles, SimCluster, ::testing::ValuesIn(profiles()),
                         [](const auto &given) { return std::string(given.param->name); });

} // namespace
