// A session table with memory of its own, fed with runs, for tests.
#ifndef TR_TESTS_UNIT_SESSION_TABLE_H
#define TR_TESTS_UNIT_SESSION_TABLE_H

#include "consensus/session.h"
#include "tests/unit/record_builder.h"

#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

namespace session_table
{

// A decoded run and the memory that it lies in.
struct encoded {
    explicit encoded(const record_builder::run &run) : payload(record_builder::payload({run}))
    {
        uint32_t cursor = 0;
        ok = tr_run_next(payload.data(), payload.size32(), &cursor, &view);
    }
    encoded(const encoded &) = delete;
    encoded &operator=(const encoded &) = delete;
    record_builder::bytes payload;
    tr_run_view view = {};
    bool ok = false;
};

inline record_builder::run open_run(const std::string &nonce)
{
    record_builder::run r = record_builder::commands(0, 0, 0, 0);
    r.kind = TR_RUN_REGISTER;
    r.commands = {nonce};
    r.commands[0].resize(TR_NONCE_BYTES);
    return r;
}

inline record_builder::run close_run(uint64_t session)
{
    record_builder::run r = record_builder::commands(session, 0, 1, 0);
    r.kind = TR_RUN_CLOSE;
    return r;
}

class table
{
  public:
    table(uint32_t sessions_max, uint64_t reply_bytes, uint8_t garbage = 0xa5)
        : memory_(tr_sessions_memory_bytes(sessions_max, reply_bytes))
    {
        std::memset(memory_.data(), garbage, memory_.size());
        t_ = tr_sessions_init(memory_.data(), sessions_max, reply_bytes);
    }
    tr_sessions *get() const
    {
        return t_;
    }
    tr_admission admit(const tr_run_view &view)
    {
        return admit(view, slot_++, 0);
    }
    tr_admission admit(const tr_run_view &view, uint64_t slot, uint32_t run_index)
    {
        tr_admission a;
        tr_sessions_admit(t_, slot, run_index, &view, &a);
        return a;
    }
    uint64_t open(const std::string &nonce)
    {
        encoded e(open_run(nonce));
        return admit(e.view).session;
    }
    // The replies to the commands of a run from `skip` on.
    uint32_t complete(const tr_run_view &view, uint32_t skip,
                      const std::vector<std::string> &replies)
    {
        std::vector<uint32_t> lengths;
        record_builder::bytes data;
        for (const std::string &reply : replies) {
            lengths.push_back(static_cast<uint32_t>(reply.size()));
            data.append(reply.data(), reply.size());
            // What stands in the padding must not matter.
            while (data.size() % 8 != 0)
                data.append(&(++dirt_), 1);
        }
        return tr_sessions_complete(t_, &view, skip, lengths.data(), data.data(), data.size());
    }
    // Admits a run and completes it with the replies, where it is to be applied.
    tr_admission apply(const record_builder::run &run, const std::vector<std::string> &replies)
    {
        encoded e(run);
        EXPECT_TRUE(e.ok);
        tr_admission a = admit(e.view);
        if (a.verdict == TR_VERDICT_APPLY && a.skip < e.view.run->count)
            complete(e.view, a.skip, {replies.begin() + a.skip, replies.end()});
        return a;
    }
    std::optional<std::string> reply(uint64_t session, uint64_t sequence) const
    {
        const void *data = nullptr;
        uint32_t bytes = 0;
        if (!tr_sessions_reply(t_, session, sequence, &data, &bytes))
            return std::nullopt;
        return std::string(static_cast<const char *>(data), bytes);
    }
    std::string save() const
    {
        std::string out;
        EXPECT_EQ(0, tr_sessions_save(t_, put, &out));
        return out;
    }
    uint64_t load(const std::string &saved)
    {
        // As long as it says and not more, so that the address sanitizer sees a read past it.
        std::vector<char> exact(saved.begin(), saved.end());
        return tr_sessions_load(t_, exact.data(), exact.size());
    }

  private:
    static int put(void *context, const void *data, uint64_t bytes)
    {
        EXPECT_EQ(0u, bytes % 8);
        static_cast<std::string *>(context)->append(static_cast<const char *>(data), bytes);
        return 0;
    }
    record_builder::bytes memory_;
    tr_sessions *t_;
    uint64_t slot_ = 1;
    uint8_t dirt_ = 0;
};

} // namespace session_table

#endif
