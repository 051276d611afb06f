/*
 * Scripts of expected traces, after the data-driven tests of etcd's raft: commands, a line "----",
 * then what they must put out, up to an empty line. Lines that begin with # are for the reader.
 */
#ifndef TR_TESTS_TRACE_SCRIPT_H
#define TR_TESTS_TRACE_SCRIPT_H

#include <functional>
#include <string>
#include <vector>

namespace trace
{

struct Block {
    size_t line = 0; /* of its first command, from 1 */
    std::vector<std::string> commands;
    std::vector<std::string> expected;
};

struct Script {
    std::vector<std::string> lines; /* as read */
    std::vector<Block> blocks;
    std::string error; /* why it is none, or "" */
};

/* Takes a command, returns what it put out. */
using Interpreter = std::function<std::string(const std::string &)>;

Script script_read(const std::string &path);

/* Runs a script. Returns the differences between what was expected and what came, or "". */
std::string script_run(const Script &script, const Interpreter &interpreter);

/* Runs a script and writes it anew with what came as the expectation. Returns whether it was
 * written. */
bool script_rewrite(const Script &script, const std::string &path, const Interpreter &interpreter);

/* Lines of the one that are not in the other, marked - and +, and those that are in both. */
std::string difference(const std::vector<std::string> &expected,
                       const std::vector<std::string> &came);

} // namespace trace

#endif
