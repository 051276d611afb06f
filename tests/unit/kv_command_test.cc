#include "apps/kv/command.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace
{

const kv_command *find(const std::string &name)
{
    return kv_command_find(reinterpret_cast<const uint8_t *>(name.data()), uint32_t(name.size()));
}

std::string unknown(const std::vector<std::string> &words)
{
    std::string bytes;
    std::vector<kv_arg> args;
    for (const std::string &word : words) {
        args.push_back({uint32_t(bytes.size()), uint32_t(word.size())});
        bytes += word;
    }
    char text[512];
    kv_command_unknown(reinterpret_cast<const uint8_t *>(bytes.data()), args.data(),
                       uint32_t(args.size()), text, sizeof(text));
    return text;
}

TEST(command, table_is_in_order_and_each_name_is_found_in_any_case)
{
    std::string last;
    for (uint32_t at = 0; kv_command_at(at) != nullptr; at++) {
        std::string name = kv_command_at(at)->name;
        EXPECT_LT(last, name);
        last = name;
        EXPECT_EQ(kv_command_at(at), find(name));
        for (char &c : name)
            c = char(toupper(c));
        EXPECT_EQ(kv_command_at(at), find(name));
    }
    EXPECT_GE(last, "unlink");
}

TEST(command, names_that_are_none_are_not_found)
{
    for (const std::string name : {"", "ge", "gett", "set ", "zzz", "\xff", "aaa"})
        EXPECT_EQ(nullptr, find(name)) << name;
}

TEST(command, zero_bytes_are_not_the_end_of_a_name)
{
    for (const char *name : {"get", "unlink", "append"})
        EXPECT_EQ(nullptr, find(name + std::string(100, '\0'))) << name;
    EXPECT_EQ(nullptr, find(std::string("get\0x", 5)));
}

TEST(command, each_row_says_how_it_is_answered)
{
    for (uint32_t at = 0; kv_command_at(at) != nullptr; at++) {
        const kv_command *command = kv_command_at(at);
        EXPECT_NE(0, command->arity) << command->name;
        EXPECT_EQ(command->kind == KV_KIND_LOCAL, command->local != KV_LOCAL_NONE) << command->name;
        EXPECT_EQ(command->kind != KV_KIND_LOCAL, command->op != KV_OP_NONE) << command->name;
        bool query = command->kind == KV_KIND_READ || command->kind == KV_KIND_STALE;
        EXPECT_EQ(query, command->op >= KV_OP_GET) << command->name;
        EXPECT_EQ(command->key_first > 0, command->key_step > 0) << command->name;
    }
}

TEST(command, unknown_command_has_the_text_of_redis)
{
    EXPECT_EQ("ERR unknown command 'foo', with args beginning with: 'a' 'b c' ",
              unknown({"foo", "a", "b c"}));
    EXPECT_EQ("ERR unknown command 'FOO', with args beginning with: ", unknown({"FOO"}));
}

TEST(command, unknown_command_is_cut_where_it_is_long)
{
    std::vector<std::string> words = {std::string(1000, 'x')};
    for (int at = 0; at < 1000; at++)
        words.push_back("argument");
    std::string text = unknown(words);
    EXPECT_LT(text.size(), 400u);
    EXPECT_EQ(0u, text.find("ERR unknown command 'xxx"));
}

TEST(command, words_are_compared_in_any_case)
{
    auto is = [](const char *text, const char *word) {
        return kv_word_is(reinterpret_cast<const uint8_t *>(text), uint32_t(strlen(text)), word);
    };
    EXPECT_TRUE(is("NX", "nx"));
    EXPECT_TRUE(is("nX", "nx"));
    EXPECT_FALSE(is("N", "nx"));
    EXPECT_FALSE(is("NXX", "nx"));
    EXPECT_FALSE(is("", "nx"));
}

} // namespace
