#include "perf/floor.h"

#include "base/bytes.h"
#include "consensus/message.h"
#include "consensus/record.h"

const struct tr_perf_floor_table *tr_perf_floor_table_of(enum tr_perf_floor_kind kind)
{
    switch (kind) {
    case TR_PERF_FLOOR_SHM:
        return &tr_perf_floor_shm;
    case TR_PERF_FLOOR_SHM_ONE_SIDED:
        return &tr_perf_floor_shm_one_sided;
    case TR_PERF_FLOOR_UDP:
        return &tr_perf_floor_udp;
    case TR_PERF_FLOOR_PORT:
        return &tr_perf_floor_port;
    case TR_PERF_FLOOR_WRITE:
        return &tr_perf_floor_write;
    }
    return NULL;
}

uint32_t tr_perf_record_bytes(uint32_t size_bytes, uint32_t commands)
{
    return tr_record_bytes(tr_run_bytes(commands, size_bytes));
}

uint32_t tr_perf_datagram_bytes(uint32_t size_bytes, uint32_t commands)
{
    return (uint32_t)(sizeof(struct tr_message) + sizeof(struct tr_accept)) +
           tr_perf_record_bytes(size_bytes, commands);
}

uint32_t tr_perf_answer_bytes(void)
{
    return (uint32_t)(sizeof(struct tr_message) + sizeof(struct tr_accepted));
}
