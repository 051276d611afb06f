#include "apps/cli/option.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include <unistd.h>

namespace
{

struct sample {
    char *config;
    char *name;
    uint64_t count;
    uint64_t bytes;
    uint64_t time_us;
    int64_t cpu;
    uint64_t choice;
    uint64_t loud;
};

const char *check_name(const char *text)
{
    return strchr(text, ' ') == nullptr ? nullptr : "write it without blanks";
}

#define AT(field) offsetof(sample, field)
const cli_option rows[] = {
    {"config", CLI_TEXT, AT(config), "", 0, 0, nullptr, "FILE", "A file.", nullptr},
    {"name", CLI_TEXT, AT(name), nullptr, 0, 0, nullptr, "NAME", "Who.", check_name},
    {"count", CLI_COUNT, AT(count), "7", 1, 100, nullptr, "N", "How many | how often.", nullptr},
    {"size-bytes", CLI_BYTES, AT(bytes), "64KiB", 1024, 1 << 30, nullptr, "SIZE", "How much.",
     nullptr},
    {"wait-us", CLI_US, AT(time_us), "5ms", 0, 10000000, nullptr, "TIME", "How long.", nullptr},
    {"cpu", CLI_CPU, AT(cpu), "none", 0, 63, nullptr, "CPU", "Where.", nullptr},
    {"choice", CLI_CHOICE, AT(choice), "one", 0, 0, "one|two|three", nullptr, "Which.", nullptr},
    {"loud", CLI_SWITCH, AT(loud), "no", 0, 0, nullptr, nullptr, "Speaks up.", nullptr},
};
const cli_options options = {"sample", "[OPTION...]", "Does something.",
                             nullptr,  rows,          sizeof(rows) / sizeof(rows[0])};

struct parsed {
    explicit parsed(std::vector<std::string> words)
    {
        words.insert(words.begin(), "sample");
        std::vector<char *> argv;
        for (std::string &word : words)
            argv.push_back(&word[0]);
        result = cli_options_parse(&options, &config, int(argv.size()), argv.data(), error,
                                   sizeof(error));
    }
    ~parsed()
    {
        cli_options_release(&options, &config);
    }
    sample config = {};
    char error[512] = "";
    cli_result result;
};

std::string error_of(const std::vector<std::string> &words)
{
    parsed p(words);
    EXPECT_EQ(CLI_WRONG, p.result);
    return p.error;
}

/* A file that is gone at the end of the test. */
struct file {
    explicit file(const std::string &text)
    {
        int fd = mkstemp(path);
        EXPECT_GE(fd, 0);
        EXPECT_EQ(ssize_t(text.size()), write(fd, text.data(), text.size()));
        close(fd);
    }
    ~file()
    {
        unlink(path);
    }
    char path[64] = "/tmp/trireme-option-test-XXXXXX";
};

TEST(option, defaults_are_parsed_from_the_same_texts)
{
    parsed p({"--name", "a"});
    ASSERT_EQ(CLI_READY, p.result) << p.error;
    EXPECT_STREQ("a", p.config.name);
    EXPECT_EQ(7u, p.config.count);
    EXPECT_EQ(65536u, p.config.bytes);
    EXPECT_EQ(5000u, p.config.time_us);
    EXPECT_EQ(CLI_CPU_NONE, p.config.cpu);
    EXPECT_EQ(0u, p.config.choice);
    EXPECT_EQ(0u, p.config.loud);
}

TEST(option, values_come_after_a_blank_or_an_equals_sign_with_units)
{
    parsed p({"--name=x=y", "--count", "3", "--size-bytes=2MiB", "--wait-us", "3s", "--cpu=5",
              "--choice", "three", "--loud"});
    ASSERT_EQ(CLI_READY, p.result) << p.error;
    EXPECT_STREQ("x=y", p.config.name);
    EXPECT_EQ(3u, p.config.count);
    EXPECT_EQ(2u << 20, p.config.bytes);
    EXPECT_EQ(3000000u, p.config.time_us);
    EXPECT_EQ(5, p.config.cpu);
    EXPECT_EQ(CLI_CPU_NEAR, parsed({"--name", "a", "--cpu", "near"}).config.cpu);
    EXPECT_EQ(2u, p.config.choice);
    EXPECT_EQ(1u, p.config.loud);
}

TEST(option, last_one_counts)
{
    parsed p({"--name", "a", "--name", "b", "--loud", "--loud=no"});
    ASSERT_EQ(CLI_READY, p.result);
    EXPECT_STREQ("b", p.config.name);
    EXPECT_EQ(0u, p.config.loud);
}

TEST(option, errors_say_the_value_and_what_to_do)
{
    EXPECT_EQ("unknown option '--cuont'; did you mean '--count'?", error_of({"--cuont", "3"}));
    EXPECT_EQ("unknown option '--zzzzzzzz'; see trireme sample --help", error_of({"--zzzzzzzz"}));
    EXPECT_EQ("'file' is not an option; see trireme sample --help", error_of({"file"}));
    EXPECT_EQ("--count needs a value: --count N", error_of({"--count"}));
    EXPECT_EQ("--count: 'x' is not a whole number", error_of({"--count", "x"}));
    EXPECT_EQ("--count: '101' is out of range; it may be 1 to 100", error_of({"--count=101"}));
    EXPECT_EQ("--size-bytes: '1023' is out of range; it may be 1KiB to 1GiB",
              error_of({"--size-bytes=1023"}));
    EXPECT_EQ("--size-bytes: '5 parsecs' is not a size such as 65536, 64KiB or 16MiB",
              error_of({"--size-bytes=5 parsecs"}));
    EXPECT_EQ("--wait-us: '11s' is out of range; it may be 0us to 10s",
              error_of({"--wait-us=11s"}));
    EXPECT_EQ("--choice: 'four' is none of one|two|three", error_of({"--choice=four"}));
    EXPECT_EQ("--loud: 'maybe' is not yes or no", error_of({"--loud=maybe"}));
    EXPECT_EQ("--name: 'a b': write it without blanks", error_of({"--name=a b"}));
    EXPECT_EQ("--name NAME is missing: Who.", error_of({"--count=3"}));
}

TEST(option, numbers_that_overflow_are_no_numbers)
{
    for (const char *text : {"18446744073709551616", "18446744073709551615KiB", "-1", "", "1e3"})
        EXPECT_NE(std::string::npos, error_of({std::string("--size-bytes=") + text}).find("is not"))
            << text;
}

TEST(option, help_wins_over_everything_else)
{
    EXPECT_EQ(CLI_HELP, parsed({"--bogus", "--help"}).result);
    EXPECT_EQ(CLI_HELP, parsed({"-h"}).result);
}

TEST(option, file_is_read_and_the_command_line_has_the_last_word)
{
    file f(
        "# a comment\nname = filed\ncount = 9\n; another\n[sample]\nwait-us = 2ms\nloud = yes\n");
    parsed p({"--count", "3", "--config", f.path});
    ASSERT_EQ(CLI_READY, p.result) << p.error;
    EXPECT_STREQ("filed", p.config.name);
    EXPECT_EQ(3u, p.config.count);
    EXPECT_EQ(2000u, p.config.time_us);
    EXPECT_EQ(1u, p.config.loud);
}

TEST(option, errors_of_a_file_name_the_file_and_the_line)
{
    auto wrong = [](const std::string &text) {
        file f(text);
        std::string error = error_of({"--config", f.path});
        EXPECT_EQ(0u, error.find(f.path)) << error;
        return error.substr(strlen(f.path));
    };
    EXPECT_EQ(":2: unknown key 'cuont'; did you mean 'count'?", wrong("count = 1\ncuont = 2\n"));
    EXPECT_EQ(":1: count: 'many' is not a whole number", wrong("count = many\n"));
    EXPECT_EQ(":1: not 'key = value'", wrong("just words\n"));
    EXPECT_EQ(
        ":2: unknown section [other]; the keys of this command go under [sample] or under none",
        wrong("[other]\ncount = 1\n"));
    EXPECT_EQ(":1: a configuration file cannot name another one", wrong("config = x\n"));
    EXPECT_EQ("--config: cannot read '/nonexistent': No such file or directory",
              error_of({"--config=/nonexistent"}));
}

std::string printed(void (*print)(const cli_options *, FILE *))
{
    char *text = nullptr;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    print(&options, out);
    fclose(out);
    std::string result(text, bytes);
    free(text);
    return result;
}

TEST(option, every_row_is_in_the_help_and_the_references)
{
    std::string help = printed(cli_options_print_help);
    std::string markdown = printed(cli_options_print_markdown);
    std::string scdoc = printed(cli_options_print_scdoc);
    for (const cli_option &row : rows) {
        EXPECT_NE(std::string::npos, help.find("--" + std::string(row.key))) << row.key;
        EXPECT_NE(std::string::npos, markdown.find("| `" + std::string(row.key) + "` |"))
            << row.key;
        EXPECT_NE(std::string::npos, scdoc.find("*--" + std::string(row.key) + "*")) << row.key;
    }
    EXPECT_NE(std::string::npos, help.find("(default: 64KiB; 1KiB to 1GiB)"));
    EXPECT_NE(std::string::npos, markdown.find("How many \\| how often."));
    EXPECT_NE(std::string::npos, markdown.find("must be given"));
}

} // namespace
