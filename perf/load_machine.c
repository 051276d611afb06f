#include "perf/load_machine.h"

#include "base/atomic.h"
#include "base/bytes.h"

/* Odd constants with bits all over: the multiplier of splitmix64, and the golden ratio. */
#define MIX_A UINT64_C(0xbf58476d1ce4e5b9)
#define MIX_B UINT64_C(0x9e3779b97f4a7c15)

static inline uint64_t mix(uint64_t lane, uint64_t word)
{
    lane = (lane ^ word) * MIX_A;
    return lane ^ (lane >> 32);
}

/* Mixes one command into the lanes, eight bytes a lane in turn. */
static inline void mix_command(uint64_t lanes[4], const uint8_t *data, uint32_t bytes)
{
    uint32_t at = 0;
    for (; at + 32 <= bytes; at += 32)
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++)
            lanes[i] = mix(lanes[i], tr_load_le64(data + at + i * 8));
    for (; at + 8 <= bytes; at += 8)
        lanes[0] = mix(lanes[0], tr_load_le64(data + at));
    for (; at < bytes; at++)
        lanes[1] = mix(lanes[1], data[at]);
}

static void apply(void *context, uint64_t slot, const struct tr_command *commands, uint32_t count,
                  struct tr_replies *replies)
{
    struct tr_perf_load_machine *state = context;
    uint64_t lanes[4];
    (void)slot;
    (void)replies;
    for (uint32_t i = 0; i < 4; i++)
        lanes[i] = state->lanes[i];
    for (uint32_t i = 0; i < count; i++)
        mix_command(lanes, commands[i].data, commands[i].bytes);
    for (uint32_t i = 0; i < 4; i++)
        tr_store_relaxed(&state->lanes[i], lanes[i]);
    tr_store_relaxed(&state->commands, state->commands + count);
}

static int read_count(void *context, const void *query, uint32_t bytes, struct tr_reply *reply)
{
    const struct tr_perf_load_machine *state = context;
    (void)query;
    (void)bytes;
    return tr_reply_set(reply, &state->commands, sizeof(state->commands));
}

static int snapshot(void *context, struct tr_writer *writer)
{
    const struct tr_perf_load_machine *state = context;
    int result = tr_writer_put(writer, &state->commands, sizeof(state->commands));
    return result == TR_OK ? tr_writer_put(writer, state->lanes, sizeof(state->lanes)) : result;
}

static int restore(void *context, struct tr_reader *reader)
{
    struct tr_perf_load_machine *state = context;
    int result = tr_reader_get(reader, &state->commands, sizeof(state->commands));
    return result == TR_OK ? tr_reader_get(reader, state->lanes, sizeof(state->lanes)) : result;
}

uint64_t tr_perf_load_machine_digest(const struct tr_perf_load_machine *state)
{
    uint64_t digest = tr_load_relaxed(&state->commands) * MIX_B;
    for (uint32_t i = 0; i < 4; i++)
        digest = mix(digest, tr_load_relaxed(&state->lanes[i]));
    return digest;
}

static uint64_t digest(void *context)
{
    return tr_perf_load_machine_digest(context);
}

struct tr_state_machine tr_perf_load_machine_table(struct tr_perf_load_machine *state)
{
    struct tr_state_machine machine = {
        .struct_bytes = sizeof(machine),
        .context = state,
        .apply = apply,
        .read = read_count,
        .snapshot = snapshot,
        .restore = restore,
        .digest = digest,
    };
    return machine;
}
