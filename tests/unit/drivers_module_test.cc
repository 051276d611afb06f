// The loader of drivers that are modules: a good one is loaded, each broken one is refused with a
// sentence that names it, and what is not there is explained.
#include "drivers/module.h"

#include "drivers/registry.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <trireme/error.h>
#include <unistd.h>

namespace
{

class DriverModule : public ::testing::Test
{
  protected:
    void SetUp() override
    {
        const char *before = getenv(TR_MODULES_VARIABLE);
        had_ = before != nullptr;
        before_ = had_ ? before : "";
        setenv(TR_MODULES_VARIABLE, MODULE_FIXTURES, 1);
    }

    void TearDown() override
    {
        if (had_)
            setenv(TR_MODULES_VARIABLE, before_.c_str(), 1);
        else
            unsetenv(TR_MODULES_VARIABLE);
    }

    int load(const char *name)
    {
        error_[0] = '\0';
        found_ = nullptr;
        return tr_driver_load(name, &found_, error_, sizeof(error_));
    }

    bool says(const char *what) const
    {
        return std::string(error_).find(what) != std::string::npos;
    }

    const tr_driver *found_ = nullptr;
    char error_[1024] = "";

  private:
    bool had_ = false;
    std::string before_;
};

TEST_F(DriverModule, GoodOneIsLoadedAndIsTheSameNextTime)
{
    ASSERT_EQ(load("fixture_good"), TR_OK) << error_;
    const tr_driver *first = found_;
    EXPECT_STREQ(first->name, "fixture_good");
    EXPECT_EQ(first->open(nullptr, nullptr), TR_ENOTSUP);
    ASSERT_EQ(load("fixture_good"), TR_OK) << error_;
    EXPECT_EQ(found_, first);
    EXPECT_EQ(tr_driver_find("fixture_good"), nullptr) << "it is not built in";
}

TEST_F(DriverModule, BuiltInOneIsTakenBeforeAnyModule)
{
    ASSERT_EQ(load("loop"), TR_OK) << error_;
    EXPECT_EQ(found_, tr_driver_find("loop"));
}

TEST_F(DriverModule, OfAnotherVersionIsRefused)
{
    EXPECT_EQ(load("fixture_old"), TR_EVERSION);
    EXPECT_TRUE(says("another version") && says("trireme-fixture_old.so")) << error_;
    EXPECT_EQ(found_, nullptr);
}

TEST_F(DriverModule, WithAnotherDriverInItIsRefused)
{
    EXPECT_EQ(load("fixture_renamed"), TR_EINVAL);
    EXPECT_TRUE(says("another driver")) << error_;
}

TEST_F(DriverModule, WhoseTableBreaksItsWordIsRefused)
{
    EXPECT_EQ(load("fixture_mute"), TR_EINVAL);
    EXPECT_TRUE(says("tx_burst")) << error_;
    EXPECT_EQ(found_, nullptr);
}

TEST_F(DriverModule, LibraryThatIsNoModuleIsRefused)
{
    EXPECT_EQ(load("fixture_stranger"), TR_EINVAL);
    EXPECT_TRUE(says("no module")) << error_;
}

TEST_F(DriverModule, FileThatIsNoLibraryIsRefused)
{
    char directory[] = "/tmp/trireme-module-XXXXXX";
    ASSERT_NE(mkdtemp(directory), nullptr);
    std::string file = std::string(directory) + "/trireme-broken.so";
    std::ofstream(file) << "this is no library";
    setenv(TR_MODULES_VARIABLE, directory, 1);
    EXPECT_EQ(load("broken"), TR_ENOTSUP);
    EXPECT_TRUE(says("cannot load") && says("trireme-broken.so")) << error_;
    unlink(file.c_str());
    rmdir(directory);
}

TEST_F(DriverModule, ThatIsMissingIsExplainedWithWhatToInstall)
{
    setenv(TR_MODULES_VARIABLE, "/nowhere", 1);
    EXPECT_EQ(load("pigeon"), TR_ENOTSUP);
    EXPECT_TRUE(says("no driver \"pigeon\"") && says("/nowhere/trireme-pigeon.so")) << error_;
    if (tr_driver_find("dpdk") == nullptr) {
        EXPECT_EQ(load("dpdk"), TR_ENOTSUP);
        EXPECT_TRUE(says("libdpdk-dev") && says("-Ddpdk=enabled")) << error_;
    }
}

TEST_F(DriverModule, NamesThatLeadElsewhereAreNone)
{
    for (const char *name : {"", "../loop", "a/b", "Loop", "with space", "x.so",
                             "a_name_that_is_longer_than_any_driver_has"}) {
        EXPECT_EQ(load(name), TR_EINVAL) << name;
        EXPECT_TRUE(says("no name of a driver")) << error_;
    }
}

TEST_F(DriverModule, DirectoryThatIsNoPathIsNotSearchedElsewhere)
{
    setenv(TR_MODULES_VARIABLE, std::string(8000, 'x').c_str(), 1);
    EXPECT_EQ(load("fixture_good"), TR_ENOTSUP) << "longer than a path may be";
}

} // namespace
