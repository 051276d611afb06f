#include "trireme/error.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace
{

struct row {
    const char *name;
    int value;
    const char *text;
};

const row rows[] = {
#define ROW(name, value, text) {#name, name, text},
    TR_ERROR_TABLE(ROW)
#undef ROW
};

TEST(error, every_code_has_a_text_and_a_number_of_its_own)
{
    std::set<int> values;
    std::set<std::string> texts;
    for (const row &row : rows) {
        EXPECT_STREQ(row.text, tr_strerror(row.value)) << row.name;
        EXPECT_TRUE(values.insert(row.value).second) << row.name;
        EXPECT_TRUE(texts.insert(row.text).second) << row.name;
    }
}

TEST(error, success_is_zero_and_failures_are_negative)
{
    for (const row &row : rows)
        EXPECT_EQ(row.name == std::string("TR_OK"), row.value >= 0) << row.name;
    EXPECT_EQ(0, TR_OK);
    EXPECT_EQ(-1, TR_AGAIN);
}

TEST(error, a_number_that_is_no_code_is_told_so)
{
    EXPECT_STREQ("unknown error code", tr_strerror(1));
    EXPECT_STREQ("unknown error code", tr_strerror(-1000000));
}

} // namespace
