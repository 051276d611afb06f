// Builds payloads of runs, and records around them, for tests. Knows the format on its own: it
// shares no code with consensus/record.c but the CRC.
#ifndef TR_TESTS_UNIT_RECORD_BUILDER_H
#define TR_TESTS_UNIT_RECORD_BUILDER_H

#include "base/crc32c.h"
#include "consensus/record.h"

#include <cstring>
#include <string>
#include <vector>

namespace record_builder
{

// Bytes aligned to a cache line, as records are wherever they lie.
class bytes
{
  public:
    explicit bytes(size_t size = 0)
    {
        resize(size);
    }
    void resize(size_t size)
    {
        words_.resize((size + sizeof(word) - 1) / sizeof(word));
        size_ = size;
    }
    void append(const void *data, size_t size)
    {
        size_t at = size_;
        resize(at + size);
        if (size != 0)
            std::memcpy(this->data() + at, data, size);
    }
    void pad_to(size_t alignment)
    {
        resize((size_ + alignment - 1) / alignment * alignment);
    }
    uint8_t *data()
    {
        return reinterpret_cast<uint8_t *>(words_.data());
    }
    const uint8_t *data() const
    {
        return reinterpret_cast<const uint8_t *>(words_.data());
    }
    size_t size() const
    {
        return size_;
    }
    uint32_t size32() const
    {
        return static_cast<uint32_t>(size_);
    }

  private:
    struct alignas(64) word {
        uint8_t byte[64] = {};
    };
    std::vector<word> words_;
    size_t size_ = 0;
};

struct run {
    uint64_t session = 1;
    uint64_t sequence = 1;
    uint64_t acked = 0;
    std::vector<std::string> commands;
    uint8_t kind = TR_RUN_COMMANDS;
};

inline bool uniform(const run &r)
{
    for (const std::string &command : r.commands)
        if (command.size() != r.commands[0].size())
            return false;
    return true;
}

inline void append_run(bytes *out, const run &r)
{
    tr_run header = {};
    header.session = r.session;
    header.sequence = r.sequence;
    header.sequence_acked = r.acked;
    header.bytes_each =
        uniform(r) ? static_cast<uint32_t>(r.commands.at(0).size()) : TR_RUN_BYTES_VARY;
    header.count = static_cast<uint16_t>(r.commands.size());
    header.kind = r.kind;
    out->append(&header, sizeof(header));
    if (!uniform(r)) {
        for (const std::string &command : r.commands) {
            auto length = static_cast<uint32_t>(command.size());
            out->append(&length, sizeof(length));
        }
        out->pad_to(8);
    }
    for (const std::string &command : r.commands) {
        out->append(command.data(), command.size());
        out->pad_to(8);
    }
}

inline bytes payload(const std::vector<run> &runs)
{
    bytes out;
    for (const run &r : runs)
        append_run(&out, r);
    return out;
}

inline run commands(uint64_t session, uint64_t sequence, uint32_t count, size_t bytes_each)
{
    run r;
    r.session = session;
    r.sequence = sequence;
    for (uint32_t i = 0; i < count; i++)
        r.commands.push_back(std::string(bytes_each, static_cast<char>('a' + i % 26)));
    return r;
}

inline void reseal(tr_record *record)
{
    auto seed = static_cast<uint32_t>(record->tag ^ record->tag >> 32);
    record->crc = tr_crc32c_by_table(seed, record, 60);
}

// A whole record, padded to its alignment.
inline bytes record(uint8_t kind, const bytes &payload, uint16_t command_count)
{
    tr_record header = {};
    header.slot = 7;
    header.ballot.round = 3;
    header.ballot.node = 1;
    header.ballot.incarnation = 1;
    header.kind = kind;
    header.command_count = command_count;
    header.payload_bytes = payload.size32();
    header.payload_crc = tr_crc32c_by_table(0, payload.data(), payload.size());
    reseal(&header);
    bytes out;
    out.append(&header, sizeof(header));
    out.append(payload.data(), payload.size());
    out.pad_to(TR_RECORD_ALIGN);
    return out;
}

} // namespace record_builder

#endif
