// The table and the opening of ports: what holds before a message is sent.
#include "drivers/registry.h"
#include "suite.h"

#include <cstring>

namespace conformance
{

class Contract : public Conformance
{
};

TEST_P(Contract, TableKeepsItsWord)
{
    char why[256] = "";
    EXPECT_EQ(tr_driver_check(subject().driver, why, sizeof(why)), TR_OK) << why;
}

TEST_P(Contract, OpenRefusesWhatItCannotUse)
{
    auto refused = [&](const Port::Tweak &tweak) {
        Port port(*world, subject(), 1, tweak);
        EXPECT_NE(port.open_error(), "") << "a refusal says why";
        return port.open_result();
    };
    EXPECT_EQ(refused([](tr_port_options &o) { o.struct_bytes = 8; }), TR_EINVAL);
    EXPECT_EQ(refused([](tr_port_options &o) { o.self = 0; }), TR_EINVAL);
    EXPECT_EQ(refused([](tr_port_options &o) { o.peers_max = 0; }), TR_EINVAL);
    EXPECT_EQ(refused([](tr_port_options &o) { o.extra = "no_such_key=1"; }), TR_EINVAL);
    EXPECT_EQ(refused([](tr_port_options &o) { o.address = "nonsense"; }), TR_EADDR);
    EXPECT_EQ(refused([](tr_port_options &o) {
                  o.memory.allocate = [](void *, size_t, size_t) -> void * { return nullptr; };
              }),
              TR_ENOMEM);
    open(1); // and none of these left anything behind
}

// What the driver tells of the device of a node, with options as they are or changed.
tr_device told(World &world, const Subject &subject, unsigned node, const Port::Tweak &tweak)
{
    tr_device out;
    memset(&out, 0x5a, sizeof(out));
    Port port(world, subject, node, [&](tr_port_options &o) {
        tr_port_options own = o;
        tweak(own);
        own.error = nullptr;
        subject.driver->device(&own, &out);
        EXPECT_NE(memchr(out.name, 0, sizeof(out.name)), nullptr);
    });
    return out;
}

TEST_P(Contract, DeviceIsToldBeforeItIsOpenedAndOfNonsenseNone)
{
    const tr_device wanted = world->device(1);
    if (subject().driver->device == nullptr) {
        EXPECT_EQ(wanted.kind, TR_DEVICE_NONE);
        return;
    }
    tr_device is = told(*world, subject(), 1, [](tr_port_options &) {});
    EXPECT_EQ(is.kind, wanted.kind);
    EXPECT_STREQ(is.name, wanted.name);
    is = told(*world, subject(), 1, [](tr_port_options &o) {
        o.address = "nonsense";
        o.extra = nullptr;
    });
    EXPECT_EQ(is.kind, TR_DEVICE_NONE);
    EXPECT_STREQ(is.name, "");
}

TEST_P(Contract, AddressInUseIsBusy)
{
    auto port = open(1);
    Port second(*world, subject(), 1);
    EXPECT_EQ(second.open_result(), TR_EBUSY);
    EXPECT_NE(second.open_error(), "");
    port->close();
    Port third(*world, subject(), 1);
    EXPECT_EQ(third.open_result(), TR_OK) << third.open_error();
}

TEST_P(Contract, OpensAndClosesManyTimes)
{
    for (unsigned i = 0; i < 20; i++) {
        auto ports = open_all(2);
        if (has(TR_DRIVER_MESSAGES)) {
            ASSERT_TRUE(deliver(*ports[0], *ports[1], pattern(100, i)));
        }
    }
}

CONFORMANCE_INSTANTIATE(Contract);

TEST(Registry, FindsEveryDriverByItsName)
{
    const tr_driver *driver;
    unsigned count = 0;
    for (; (driver = tr_driver_at(count)) != nullptr; count++) {
        char why[256] = "";
        EXPECT_EQ(tr_driver_find(driver->name), driver);
        EXPECT_EQ(tr_driver_check(driver, why, sizeof(why)), TR_OK) << why;
    }
    EXPECT_GE(count, 1u);
    EXPECT_EQ(tr_driver_find("carrier-pigeon"), nullptr);
}

TEST(Registry, RefusesATableThatBreaksItsWord)
{
    char why[256] = "";
    tr_driver driver = *tr_driver_find("loop");
    driver.abi_bytes -= 8;
    EXPECT_EQ(tr_driver_check(&driver, why, sizeof(why)), TR_EVERSION);
    driver = *tr_driver_find("loop");
    driver.fence_start = nullptr;
    EXPECT_EQ(tr_driver_check(&driver, why, sizeof(why)), TR_EINVAL);
    EXPECT_NE(strstr(why, "fence_start"), nullptr) << why;
    driver.capabilities &= ~static_cast<uint32_t>(TR_DRIVER_ONE_SIDED);
    EXPECT_EQ(tr_driver_check(&driver, why, sizeof(why)), TR_OK);
    driver.capabilities |= TR_DRIVER_ZERO_COPY_TX;
    EXPECT_EQ(tr_driver_check(&driver, why, sizeof(why)), TR_EINVAL);
    driver.capabilities = 0;
    EXPECT_EQ(tr_driver_check(&driver, why, sizeof(why)), TR_EINVAL);
}

} // namespace conformance
