// Histories with known verdicts: the hand-made ones of tests/lin/data (the first argument), and
// published ones in a folder that --histories or the variable TRIREME_HISTORIES names.
#include "tests/lin/judge.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace
{

std::string data;
std::string published;

std::string load(const std::filesystem::path &path)
{
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

} // namespace

TEST(hand_made_histories, have_the_verdicts_of_their_names)
{
    std::set<std::string> verdicts_of_models;
    for (const auto &entry : std::filesystem::directory_iterator(data)) {
        std::string name = entry.path().filename().string();
        bool is_good = name.find("_good_") != name.npos || name.find("_good.") != name.npos;
        bool is_bad = name.find("_bad_") != name.npos;
        ASSERT_NE(is_good, is_bad) << name;
        std::string text = load(entry.path());
        EXPECT_EQ(is_good ? "# Good: " : "# Bad: ", text.substr(0, is_good ? 8 : 7)) << name;
        lin::judgement j(text);
        ASSERT_TRUE(j.is_read) << name << ": " << j.error;
        EXPECT_EQ(is_good ? TR_LIN_LINEARIZABLE : TR_LIN_NOT_LINEARIZABLE, j.report.verdict)
            << name;
        verdicts_of_models.insert(j.history.model->name + std::string(is_good ? "+" : "-"));
    }
    const std::set<std::string> all = {"register+", "register-", "kv+",      "kv-",
                                       "list+",     "list-",     "counter+", "counter-"};
    EXPECT_EQ(all, verdicts_of_models);
}

TEST(published_histories, have_the_published_verdicts)
{
    if (published.empty())
        GTEST_SKIP() << "no folder of published histories: set TRIREME_HISTORIES";
    std::ifstream verdicts(published + "/verdicts.txt");
    std::string name;
    std::string verdict;
    uint32_t count = 0;
    while (verdicts >> name >> verdict) {
        ASSERT_TRUE(verdict == "true" || verdict == "false") << verdict;
        lin::judgement j(load(published + "/" + name));
        ASSERT_TRUE(j.is_read) << name << ": " << j.error;
        ASSERT_GT(j.history.count, 10u) << name;
        EXPECT_EQ(verdict == "true" ? TR_LIN_LINEARIZABLE : TR_LIN_NOT_LINEARIZABLE,
                  j.report.verdict)
            << name;
        count++;
    }
    EXPECT_GT(count, 0u) << "no verdicts in " << published;
    std::cout << count << " published histories\n";
}

int main(int argc, char **argv)
{
    testing::InitGoogleTest(&argc, argv);
    const char *variable = std::getenv("TRIREME_HISTORIES");
    if (variable != nullptr)
        published = variable;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--histories") == 0 && i + 1 < argc)
            published = argv[++i];
        else
            data = argv[i];
    }
    if (data.empty()) {
        std::cerr << "usage: lin-histories [--histories DIR] DATA\n";
        return 2;
    }
    return RUN_ALL_TESTS();
}
