/* Placement of a build without libhwloc: whatever the device, there is no preference, and that is
 * said. */
#include "dataplane/placement.h"

#include "trireme/error.h"

#include <gtest/gtest.h>
#include <string>

namespace
{

TEST(PlacementNone, HasNoPreferenceAndSaysWhy)
{
    tr_device device = {TR_DEVICE_NETWORK, "eth8"};
    tr_placement_options options = {};
    tr_placement p;
    options.device = &device;
    EXPECT_FALSE(tr_placement_open(&p, &options));
    EXPECT_STREQ(p.why, "eth8, and a build without libhwloc");
    EXPECT_EQ(p.topology, nullptr);
    EXPECT_EQ(p.memory_nodes, 0u);
    EXPECT_EQ(p.cpu_count, 0u);
    EXPECT_EQ(CPU_COUNT(&p.near), 0);
    tr_placement_lean(&p);
    EXPECT_EQ(tr_placement_memory(&p, &device, sizeof(device)), TR_OK);
    tr_placement_straighten(&p);
    tr_placement_close(&p);
    device = {TR_DEVICE_NONE, ""};
    EXPECT_FALSE(tr_placement_open(&p, &options));
    EXPECT_NE(std::string(p.why).find("no device of the machine"), std::string::npos);
}

} // namespace
