#include "tests/trace/script.h"

#include "tests/trace/scripts_here.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace trace
{

const char *const scripts_folder = TR_TRACE_SCRIPTS;

namespace
{

const char *const NOTHING = "(nothing)";

std::vector<std::string> lines_of(const std::string &text)
{
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);)
        lines.push_back(line);
    return lines;
}

std::vector<std::string> came_of(const Block &block, const Interpreter &interpreter)
{
    std::string out;
    for (const std::string &command : block.commands)
        out += interpreter(command);
    std::vector<std::string> lines = lines_of(out);
    if (lines.empty())
        lines.push_back(NOTHING);
    return lines;
}

} // namespace

Script script_read(const std::string &path)
{
    Script script;
    std::ifstream in(path);
    Block block;
    bool expecting = false;
    for (std::string line; std::getline(in, line);) {
        script.lines.push_back(line);
        if (expecting && line.empty()) {
            script.blocks.push_back(block);
            block = Block();
            expecting = false;
        } else if (expecting) {
            block.expected.push_back(line);
        } else if (line == "----") {
            expecting = true;
        } else if (!line.empty() && line[0] != '#') {
            block.line = block.commands.empty() ? script.lines.size() : block.line;
            block.commands.push_back(line);
        }
    }
    if (expecting)
        script.blocks.push_back(block);
    else if (!block.commands.empty())
        script.error = "line " + std::to_string(block.line) + ": commands without a line ----";
    if (script.blocks.empty() && script.error.empty())
        script.error = "no commands in " + path;
    return script;
}

std::string difference(const std::vector<std::string> &a, const std::vector<std::string> &b)
{
    /* common[i][j]: length of the longest common subsequence of a from i and b from j. */
    std::vector<std::vector<size_t>> common(a.size() + 1, std::vector<size_t>(b.size() + 1, 0));
    for (size_t i = a.size(); i-- > 0;)
        for (size_t j = b.size(); j-- > 0;)
            common[i][j] = a[i] == b[j] ? common[i + 1][j + 1] + 1
                                        : std::max(common[i + 1][j], common[i][j + 1]);
    std::string out;
    size_t i = 0, j = 0;
    while (i < a.size() || j < b.size()) {
        if (i < a.size() && j < b.size() && a[i] == b[j]) {
            out += "  " + a[i++] + "\n";
            j++;
        } else if (j == b.size() || (i < a.size() && common[i + 1][j] >= common[i][j + 1])) {
            out += "- " + a[i++] + "\n";
        } else {
            out += "+ " + b[j++] + "\n";
        }
    }
    return out;
}

std::string script_run(const Script &script, const Interpreter &interpreter)
{
    std::string out;
    for (const Block &block : script.blocks) {
        std::vector<std::string> came = came_of(block, interpreter);
        if (came != block.expected)
            out += "line " + std::to_string(block.line) + ": " + block.commands[0] + "\n" +
                   difference(block.expected, came);
    }
    return out;
}

bool script_rewrite(const Script &script, const std::string &path, const Interpreter &interpreter)
{
    std::ofstream out(path);
    bool expecting = false;
    size_t next = 0;
    for (const std::string &line : script.lines) {
        if (expecting && !line.empty())
            continue;
        expecting = line == "----";
        out << line << "\n";
        if (!expecting)
            continue;
        for (const std::string &came : came_of(script.blocks[next++], interpreter))
            out << came << "\n";
    }
    return out.good();
}

} // namespace trace
