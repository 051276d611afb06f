/* The scripts of this folder. */
#ifndef TR_TESTS_TRACE_SCRIPTS_HERE_H
#define TR_TESTS_TRACE_SCRIPTS_HERE_H

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace trace
{

inline std::string script_path(const std::string &name)
{
    return std::string(TR_TRACE_SCRIPTS) + "/" + name + ".txt";
}

/* Names of all scripts, in order; never empty unless the folder is. */
inline std::vector<std::string> scripts_here()
{
    std::vector<std::string> names;
    for (const auto &entry : std::filesystem::directory_iterator(TR_TRACE_SCRIPTS))
        if (entry.path().extension() == ".txt")
            names.push_back(entry.path().stem().string());
    std::sort(names.begin(), names.end());
    return names;
}

} // namespace trace

#endif
