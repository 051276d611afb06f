#include "perf/veth.h"

#include "tests/perf/stream.h"

#include <gtest/gtest.h>

#include <string>

TEST(Veth, EachReplicaHasAPairWhoseFarEndIsInTheBridge)
{
    Stream out;
    tr_perf_veth_script(2, out.file());
    EXPECT_EQ(out.text(), "link add segment type bridge mcast_snooping 0\n"
                          "link set segment up\n"
                          "link add v1 type veth peer name p1\n"
                          "link set p1 master segment up\n"
                          "link set v1 up\n"
                          "link add v2 type veth peer name p2\n"
                          "link set p2 master segment up\n"
                          "link set v2 up\n");
}
