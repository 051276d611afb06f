#include "client/lane.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <string.h>

/* Items begin on such boundaries. */
#define ITEM_ALIGN 8u

uint64_t tr_client_lane_bytes(uint32_t window, uint64_t memory_bytes)
{
    return tr_align_up_u64(window * sizeof(struct tr_client_item), TR_CACHE_LINE) + memory_bytes;
}

void tr_client_lane_init(struct tr_client_lane *lane, void *memory, uint32_t window,
                         uint64_t memory_bytes)
{
    tr_assert(tr_is_power_of_two(window) && tr_is_power_of_two(memory_bytes));
    *lane = (struct tr_client_lane){.item = (struct tr_client_item *)memory,
                                    .memory_bytes = memory_bytes,
                                    .mask = window - 1,
                                    .window = window};
    lane->memory =
        (uint8_t *)memory + tr_align_up_u64(window * sizeof(struct tr_client_item), TR_CACHE_LINE);
}

struct tr_client_item *tr_client_lane_add(struct tr_client_lane *lane, const void *data,
                                          uint32_t bytes)
{
    uint64_t back = tr_min_u64(lane->replied, lane->taken);
    uint64_t at = lane->tail;
    uint64_t offset = at & (lane->memory_bytes - 1);
    if (lane->submitted - back >= lane->window)
        return NULL;
    if (lane->head == at) /* empty: to the front, which is in the cache */
        lane->head = at = tr_align_up_u64(at, lane->memory_bytes);
    else if (offset + bytes > lane->memory_bytes)
        at = tr_align_up_u64(at, lane->memory_bytes);
    if (at + tr_align_up_u64(bytes, ITEM_ALIGN) - lane->head > lane->memory_bytes)
        return NULL;
    struct tr_client_item *item = tr_client_lane_item(lane, ++lane->submitted);
    item->position = at;
    item->bytes = bytes;
    item->after = 0;
    item->flags = 0;
    lane->tail = at + tr_align_up_u64(bytes, ITEM_ALIGN);
    if (bytes != 0)
        memcpy(lane->memory + (at & (lane->memory_bytes - 1)), data, bytes);
    return item;
}

void tr_client_lane_reply(struct tr_client_lane *lane, uint64_t n)
{
    tr_assert(n == lane->replied + 1 && n <= lane->submitted);
    lane->replied = n;
    lane->sent = tr_max_u64(lane->sent, n);
    lane->head = n == lane->submitted ? lane->tail : tr_client_lane_item(lane, n + 1)->position;
}
