/* The journal's state machine. */
#include "tests/sim/machine.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace sim
{

void Verdict::fail(const char *a_checker, const char *format, ...)
{
    char line[512];
    va_list arguments;
    if (failed)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    failed = true;
    checker = a_checker;
    text = line;
}

void command_write(uint64_t number, uint8_t *data, uint32_t bytes)
{
    memcpy(data, &number, sizeof(number));
    memset(data + sizeof(number), static_cast<int>(number & 0xff), bytes - sizeof(number));
}

/* Whether all bytes are the same as one: the first is, and each is as the one before it. */
static bool is_filled(const uint8_t *data, size_t bytes, uint8_t filler)
{
    return bytes == 0 || (data[0] == filler && memcmp(data, data + 1, bytes - 1) == 0);
}

/* The number of a command; 0: it is none that a client wrote. */
static uint64_t command_read(const tr_command &command)
{
    const uint8_t *data = static_cast<const uint8_t *>(command.data);
    uint64_t number = 0;
    if (command.bytes < sizeof(number) || command.bytes > COMMAND_BYTES_MAX)
        return 0;
    memcpy(&number, data, sizeof(number));
    return is_filled(data + sizeof(number), command.bytes - sizeof(number), data[0]) ? number : 0;
}

void Machine::take(uint64_t number)
{
    if (number == 0)
        verdict->fail("integrity", "a command is not what a client wrote, at %llu",
                      (unsigned long long)count);
    if (count == journal->commands.size()) {
        if (!journal->seen.insert(number).second)
            verdict->fail("once", "command %llx applied twice", (unsigned long long)number);
        uint64_t hash = (journal->hash_at(count) ^ number) * UINT64_C(0x9e3779b97f4a7c15);
        journal->commands.push_back(number);
        journal->hashes.push_back(hash ^ hash >> 29);
    }
    if (journal->commands[count] != number)
        verdict->fail("order", "replicas differ at %llu: %llx is applied, %llx was",
                      (unsigned long long)count, (unsigned long long)number,
                      (unsigned long long)journal->commands[count]);
    count++;
}

void Machine::apply(void *context, uint64_t, const tr_command *commands, uint32_t count,
                    tr_replies *replies)
{
    Machine *m = static_cast<Machine *>(context);
    for (uint32_t i = 0; i < count; i++) {
        m->take(command_read(commands[i]));
        tr_replies_set(replies, i, &m->count, sizeof(m->count));
    }
}

int Machine::read(void *context, const void *, uint32_t, tr_reply *reply)
{
    Machine *m = static_cast<Machine *>(context);
    return tr_reply_set(reply, &m->count, sizeof(m->count));
}

int Machine::snapshot(void *context, tr_writer *writer)
{
    Machine *m = static_cast<Machine *>(context);
    uint64_t words[3] = {m->count, m->journal->hash_at(m->count), m->padding};
    uint8_t filler[1024] = {0};
    int status = tr_writer_put(writer, words, sizeof(words));
    for (uint32_t done = 0; done < m->padding && status == 0; done += sizeof(filler))
        status = tr_writer_put(writer, filler, sizeof(filler));
    return status;
}

int Machine::restore(void *context, tr_reader *reader)
{
    Machine *m = static_cast<Machine *>(context);
    uint64_t words[3] = {0, 0, 0};
    uint8_t filler[1024];
    int status = tr_reader_get(reader, words, sizeof(words));
    for (uint64_t done = 0; done < words[2] && status == 0; done += sizeof(filler))
        status = tr_reader_get(reader, filler, sizeof(filler));
    if (status != 0)
        return status;
    if (words[0] > m->journal->commands.size() || m->journal->hash_at(words[0]) != words[1])
        m->verdict->fail("snapshot", "a snapshot of %llu commands holds others",
                         (unsigned long long)words[0]);
    m->count = words[0];
    return 0;
}

tr_state_machine Machine::table()
{
    tr_state_machine t = {};
    t.struct_bytes = sizeof(t);
    t.context = this;
    t.apply = apply;
    t.read = read;
    t.snapshot = snapshot;
    t.restore = restore;
    return t;
}

} // namespace sim
