/* Runs a fuzz target over the files of its corpus, whole and cut short at every length up to 512
 * bytes: what the fuzzer does, without the fuzzer. Arguments: folders. */
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int main(int argc, char **argv)
{
    size_t files = 0, runs = 0;
    for (int at = 1; at < argc; at++) {
        for (const auto &entry : std::filesystem::directory_iterator(argv[at])) {
            std::ifstream in(entry.path(), std::ios::binary);
            std::vector<char> raw((std::istreambuf_iterator<char>(in)),
                                  std::istreambuf_iterator<char>());
            std::vector<uint8_t> bytes(raw.begin(), raw.end());
            files++;
            for (size_t cut = 0; cut < bytes.size() && cut < 512; cut++, runs++)
                LLVMFuzzerTestOneInput(bytes.data(), cut);
            LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
            runs++;
        }
    }
    printf("%zu files, %zu runs\n", files, runs);
    return files == 0;
}
