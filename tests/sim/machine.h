/* What all replicas of a group must agree on: the journal of commands, in the order of their
 * application; and the state machine that keeps it. */
#ifndef TR_TESTS_SIM_MACHINE_H
#define TR_TESTS_SIM_MACHINE_H

#include "trireme/trireme.h"

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

namespace sim
{

/* The first thing that a checker finds. */
struct Verdict {
    bool failed = false;
    std::string checker, text;
    void fail(const char *checker, const char *format, ...) __attribute__((format(printf, 3, 4)));
};

struct Journal {
    std::vector<uint64_t> commands;
    std::vector<uint64_t> hashes; /* of the commands up to here */
    std::unordered_set<uint64_t> seen;
    uint64_t acked = 0; /* highest place that any client was told */

    uint64_t hash_at(uint64_t count) const
    {
        return count == 0 ? 0 : hashes[count - 1];
    }
};

/* A command: a number, unique in its group, and filler that the number tells. */
constexpr uint32_t COMMAND_BYTES_MAX = 4096;
void command_write(uint64_t number, uint8_t *data, uint32_t bytes);

/* Appends commands to a journal, and replies with their places. */
struct Machine {
    Journal *journal = nullptr;
    Verdict *verdict = nullptr;
    uint32_t padding = 0; /* bytes of a snapshot beside what is needed */
    uint64_t count = 0;

    void take(uint64_t number);
    static void apply(void *context, uint64_t slot, const tr_command *commands, uint32_t count,
                      tr_replies *replies);
    static int read(void *context, const void *query, uint32_t bytes, tr_reply *reply);
    static int snapshot(void *context, tr_writer *writer);
    static int restore(void *context, tr_reader *reader);
    tr_state_machine table();
};

} // namespace sim

#endif
