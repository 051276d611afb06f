/* Runs a fuzz target over the files of its corpus, whole and cut short at every length up to 512
 * bytes: what the fuzzer does, without the fuzzer.
 *
 *     replay FOLDER...
 *     replay --canary TEXT FOLDER...   for a target with a planted bug: passes when the corpus ends
 *                                      the process, and the last words of it have this text
 */
#include "tests/fuzz/target.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace
{

/* Runs the target on memory of exactly so many bytes. */
void run(const std::vector<char> &bytes, size_t cut)
{
    fuzz::Exact exact(bytes.data(), cut);
    LLVMFuzzerTestOneInput(exact.data(), cut);
}

int replay(int count, char **folders)
{
    size_t files = 0, runs = 0;
    for (int at = 0; at < count; at++) {
        std::set<std::filesystem::path> paths; /* in their order, the same everywhere */
        for (const auto &entry : std::filesystem::directory_iterator(folders[at]))
            paths.insert(entry.path());
        for (const auto &path : paths) {
            std::ifstream in(path, std::ios::binary);
            std::vector<char> bytes((std::istreambuf_iterator<char>(in)),
                                    std::istreambuf_iterator<char>());
            files++;
            for (size_t cut = 0; cut < bytes.size() && cut < 512; cut++, runs++)
                run(bytes, cut);
            run(bytes, bytes.size());
            runs++;
        }
    }
    printf("%zu files, %zu runs\n", files, runs);
    return files == 0;
}

/* All that is written until the other end is closed. */
std::string read_all(int fd)
{
    std::string out;
    char piece[4096];
    for (ssize_t got; (got = read(fd, piece, sizeof(piece))) > 0;)
        out.append(piece, static_cast<size_t>(got));
    return out;
}

/* Replays in a process of its own, which is to end with these words. */
int replay_planted(const char *text, int count, char **folders)
{
    int ends[2];
    if (pipe(ends) != 0)
        return 1;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        _exit(replay(count, folders) == 0 ? 0 : 2);
    }
    close(ends[1]);
    std::string words = read_all(ends[0]);
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    bool died = child > 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    bool found = died && words.find(text) != std::string::npos;
    printf("the planted bug was %s\n%s", found ? "found" : "NOT found", words.c_str());
    return found ? 0 : 1;
}

} // namespace

int main(int argc, char **argv)
{
    if (argc > 2 && std::string(argv[1]) == "--canary")
        return replay_planted(argv[2], argc - 3, argv + 3);
    return replay(argc - 1, argv + 1);
}
