/* The scripts: NAME.txt of this folder, and rules/CANARY.txt, the schedule that the rule closes
 * which the canary breaks (consensus/canary.h). */
#ifndef TR_TESTS_TRACE_SCRIPTS_HERE_H
#define TR_TESTS_TRACE_SCRIPTS_HERE_H

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace trace
{

/* This folder, as the build knows it (script.cc). */
extern const char *const scripts_folder;

inline std::string script_path(const std::string &name, const std::string &extension = ".txt")
{
    return std::string(scripts_folder) + "/" + name + extension;
}

/* Names of all scripts, in order: those of this folder, and those of the rules. */
inline std::vector<std::string> scripts_here()
{
    std::vector<std::string> names;
    for (const char *folder : {"", "rules/"})
        for (const auto &entry : std::filesystem::directory_iterator(script_path(folder, "")))
            if (entry.path().extension() == ".txt")
                names.push_back(folder + entry.path().stem().string());
    std::sort(names.begin(), names.end());
    return names;
}

} // namespace trace

#endif
