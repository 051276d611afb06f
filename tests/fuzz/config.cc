/* What a person writes: lists of peers, command lines, configuration files of trireme kv. It is
 * refused with a sentence, or is within the limits of the table. */
#include "apps/kv/config.h"
#include "tests/fuzz/target.h"

#include <algorithm>
#include <set>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace
{

/* ---- peers, read a second time */

bool read_peer(const std::string &text, uint64_t *node, std::string *address)
{
    size_t digits = 0;
    *node = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
        *node = std::min<uint64_t>(*node * 10 + uint64_t(text[digits] - '0'), 65536);
        digits++;
    }
    if (digits == 0 || digits + 1 >= text.size() || text[digits] != '=')
        return false;
    *address = text.substr(digits + 1);
    return *node >= 1 && *node <= 65535;
}

/* The list; empty when there is none. */
std::vector<std::pair<uint64_t, std::string>> read_peers(const std::string &text)
{
    std::vector<std::pair<uint64_t, std::string>> peers;
    std::set<uint64_t> nodes;
    if (text.size() >= sizeof(kv_peers::text))
        return {};
    for (size_t at = 0; at <= text.size();) {
        size_t end = std::min(text.find(',', at), text.size());
        uint64_t node = 0;
        std::string address;
        if (!read_peer(text.substr(at, end - at), &node, &address) || !nodes.insert(node).second ||
            peers.size() == KV_PEERS_MAX)
            return {};
        peers.emplace_back(node, address);
        at = end + 1;
    }
    return peers;
}

/* The parser. The planted bug takes what is left of a number that is too large. */
const char *parse_peers(const std::string &text, kv_peers *out)
{
    uint64_t node = 0;
    std::string address;
    const char *wrong = kv_peers_parse(text.c_str(), out);
    if (fuzz::planted() && wrong != nullptr && text.find(',') == text.npos &&
        text.find('=') + 1 < text.size() && !read_peer(text, &node, &address) && node == 65536) {
        out->count = 1;
        out->list[0] = {static_cast<uint16_t>(node), out->text};
        return nullptr;
    }
    return wrong;
}

void fuzz_peers(const std::string &text)
{
    kv_peers peers;
    auto expected = read_peers(text);
    const char *wrong = parse_peers(text, &peers);
    fuzz::require((wrong == nullptr) == !expected.empty(), "a list is taken when it is one");
    if (wrong != nullptr)
        return;
    fuzz::require(peers.count == expected.size(), "all peers are taken");
    for (uint32_t i = 0; i < peers.count; i++)
        fuzz::require(peers.list[i].node == expected[i].first &&
                          peers.list[i].address == expected[i].second,
                      "a peer is as it is written");
}

/* ---- options */

void check_row(const cli_option &row, const void *config)
{
    const char *field = static_cast<const char *>(config) + row.offset;
    uint64_t number;
    memcpy(&number, field, sizeof(number));
    switch (row.kind) {
    case CLI_TEXT:
        fuzz::require(number != 0, "a text is there");
        break;
    case CLI_COUNT:
    case CLI_BYTES:
    case CLI_US:
        fuzz::require(number >= row.least && number <= row.most, "a number is in its range");
        break;
    case CLI_CPU:
        fuzz::require(int64_t(number) >= CLI_CPU_NONE && int64_t(number) <= int64_t(row.most),
                      "a CPU is one, near or none");
        break;
    case CLI_CHOICE:
        fuzz::require(number <=
                          size_t(std::count(row.choices, row.choices + strlen(row.choices), '|')),
                      "a choice is one of them");
        break;
    case CLI_SWITCH:
        fuzz::require(number <= 1, "a switch is on or off");
        break;
    }
}

void fuzz_arguments(std::vector<std::string> words)
{
    std::vector<char *> argv;
    char error[512] = "";
    kv_config config{};
    for (std::string &word : words)
        argv.push_back(&word[0]);
    const cli_options *options = kv_config_options();
    cli_result result = cli_options_parse(options, &config, static_cast<int>(argv.size()),
                                          argv.data(), error, sizeof(error));
    if (result == CLI_READY) {
        for (size_t i = 0; i < options->row_count; i++)
            check_row(options->rows[i], &config);
        fuzz_peers(config.peers);
    }
    fuzz::require((result == CLI_WRONG) == (error[0] != '\0'), "what is wrong is said");
    cli_options_release(options, &config);
}

std::vector<std::string> words_of(const std::string &text)
{
    std::vector<std::string> words = {"kv"};
    for (size_t at = 0; at <= text.size();) {
        size_t end = std::min(text.find('\n', at), text.size());
        words.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return words;
}

/* The words of a command line, a line each; files are another choice's. */
void fuzz_words(const std::string &text)
{
    std::vector<std::string> words = words_of(text);
    for (const std::string &word : words)
        if (word.compare(0, 8, "--config") == 0)
            return;
    fuzz_arguments(words);
}

/* A file, and a command line that is complete but for it. */
void fuzz_file(const std::string &text)
{
    int fd = memfd_create("config", 0);
    fuzz::require(fd >= 0 && write(fd, text.data(), text.size()) == ssize_t(text.size()),
                  "there is memory for a file");
    std::string path = "/proc/self/fd/" + std::to_string(fd);
    fuzz_arguments({"kv", "--config", path, "--node", "1", "--peers", "1=localhost:1"});
    fuzz_arguments({"kv", "--config=" + path});
    close(fd);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return 0;
    std::string text(data + 1, data + bytes);
    if (data[0] % 3 == 1)
        fuzz_file(text);
    text = text.c_str(); /* the others end at a zero */
    if (data[0] % 3 == 0)
        fuzz_peers(text);
    if (data[0] % 3 == 2)
        fuzz_words(text);
    return 0;
}
