/* The fabric: places, and the channels between them. */
#include "drivers/loop/inner.h"

int tr_loop_fabric_create(const struct tr_loop_fabric_options *options, struct tr_loop_fabric **out)
{
    uint32_t message = options->message_bytes_max ? options->message_bytes_max : MESSAGE_BYTES_MAX;
    uint32_t queue = options->queue_bytes ? options->queue_bytes : QUEUE_BYTES;
    if (options->struct_bytes != sizeof(*options) || !tr_is_power_of_two(queue) ||
        (uint64_t)queue < 3 * ((uint64_t)message + MESSAGE_HEAD))
        return TR_EINVAL;
    struct tr_loop_fabric *fabric = tr_loop_take_zeroed(&options->memory, sizeof(*fabric));
    if (fabric == NULL)
        return TR_ENOMEM;
    pthread_mutex_init(&fabric->lock, NULL);
    fabric->message_bytes_max = message;
    fabric->queue_bytes = queue;
    fabric->memory = options->memory;
    *out = fabric;
    return TR_OK;
}

void tr_loop_fabric_destroy(struct tr_loop_fabric *fabric)
{
    for (uint32_t i = 0; i < fabric->place_count; i++)
        tr_assert((fabric->place[i].epoch & 1) == 0);
    pthread_mutex_destroy(&fabric->lock);
}

/* Finds the place of an address, or makes it. Returns: TR_OK, TR_EADDR, TR_EFULL. */
int tr_loop_find_place(struct tr_loop_fabric *fabric, const char *address, uint32_t queue,
                       uint32_t *out)
{
    if (address == NULL || strncmp(address, "loop:", 5) != 0)
        return TR_EADDR;
    const char *name = address + 5;
    size_t length = strlen(name);
    if (length == 0 || length >= NAME_BYTES)
        return TR_EADDR;
    uint32_t i = 0;
    while (i < fabric->place_count &&
           (fabric->place[i].queue != queue || strcmp(fabric->place[i].name, name) != 0))
        i++;
    if (i == TR_LOOP_PLACES_MAX)
        return TR_EFULL;
    if (i == fabric->place_count) {
        memcpy(fabric->place[i].name, name, length + 1);
        fabric->place[i].queue = queue;
        fabric->place_count++;
    }
    *out = i;
    return TR_OK;
}

/* The channel between two places, or NULL. */
struct channel *tr_loop_find_channel(struct tr_loop_fabric *fabric, uint32_t from, uint32_t to)
{
    struct place *place = &fabric->place[to];
    for (uint32_t i = 0; i < place->channel_count; i++) {
        if (place->channel[i]->from == from)
            return place->channel[i];
    }
    return NULL;
}

/* Finds the channel between two places, or makes it. Returns: NULL when the memory is spent. */
struct channel *tr_loop_join(struct tr_loop_fabric *fabric, uint32_t from, uint32_t to)
{
    struct place *place = &fabric->place[to];
    struct channel *channel = tr_loop_find_channel(fabric, from, to);
    if (channel != NULL)
        return channel;
    channel = tr_loop_take_zeroed(&fabric->memory, sizeof(*channel));
    if (channel == NULL)
        return NULL;
    channel->memory = tr_loop_take(&fabric->memory, fabric->queue_bytes);
    if (channel->memory == NULL)
        return NULL;
    channel->from = from;
    channel->to = to;
    place->channel[place->channel_count] = channel;
    tr_store_release(&place->channel_count, place->channel_count + 1); /* (E), meets rx_burst */
    return channel;
}