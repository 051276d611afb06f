#include "perf/far.h"

#include "perf/control.h"
#include "perf/peers.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tr_perf_far {
    uint32_t count;
    int fd[TR_PERF_FOLLOWERS_MAX];
    char host[TR_PERF_FOLLOWERS_MAX][TR_PERF_ADDRESS_MAX];
    char own_host[TR_PERF_ADDRESS_MAX];
};

static int connect_peer(struct tr_perf_far *far, const struct tr_perf_peer *peer, bool is_own,
                        char *error, size_t error_bytes)
{
    char host[TR_PERF_ADDRESS_MAX];
    uint16_t port = 0;
    if (!tr_perf_address_divide(peer->address, host, sizeof(host), &port)) {
        snprintf(error, error_bytes, "--peers: %s is not HOST:PORT", peer->address);
        return TR_EINVAL;
    }
    memcpy(is_own ? far->own_host : far->host[far->count], host, sizeof(host));
    if (is_own)
        return TR_OK;
    int fd = tr_perf_control_connect(host, port);
    if (fd < 0) {
        snprintf(error, error_bytes,
                 "node %u does not answer at %s (TCP): is trireme-perf node running there? (%s)",
                 peer->node, peer->address, tr_strerror(fd));
        return fd;
    }
    far->fd[far->count++] = fd;
    return TR_OK;
}

int tr_perf_far_open(const struct tr_perf_options *options, struct tr_perf_far **out, char *error,
                     size_t error_bytes)
{
    struct tr_perf_peer peers[TR_VOTERS_MAX];
    uint32_t count = 0;
    struct tr_perf_far *far = calloc(1, sizeof(*far));
    if (far == NULL)
        return TR_ENOMEM;
    int result = tr_perf_peers_parse(options->peers, peers, &count, error, error_bytes);
    for (uint32_t i = 0; i < count && result == TR_OK; i++)
        result = connect_peer(far, &peers[i], peers[i].node == options->node, error, error_bytes);
    if (result != TR_OK)
        tr_perf_far_close(far);
    else
        *out = far;
    return result;
}

uint32_t tr_perf_far_count(const struct tr_perf_far *far)
{
    return far->count;
}

/* Asks one node to make its end of the floor. */
static int make_leaf(struct tr_perf_far *far, uint32_t index, struct tr_perf_floor *floor)
{
    const struct tr_perf_floor_shape *s = &floor->shape;
    char line[TR_PERF_LINE_MAX];
    char answer[TR_PERF_LINE_MAX];
    snprintf(line, sizeof(line), "floor %u %u %u %u %u %s %u", index, s->followers, s->size_bytes,
             s->batch, s->window, far->own_host, tr_perf_floor_udp_hub_port(floor));
    int result = tr_perf_control_ask(far->fd[index], line, answer);
    if (result != TR_OK)
        return result;
    unsigned long port = strtoul(answer, NULL, 10);
    if (port == 0 || port > UINT16_MAX)
        return TR_EPROTO;
    return tr_perf_floor_udp_set_leaf(floor, index, far->host[index], (uint16_t)port);
}

int tr_perf_far_floor(struct tr_perf_far *far, const struct tr_perf_floor_shape *shape,
                      struct tr_perf_floor **out, char *error, size_t error_bytes)
{
    int result = tr_perf_floor_udp_open_hub(shape, far->own_host, out, error, error_bytes);
    for (uint32_t i = 0; i < far->count && result == TR_OK; i++) {
        result = make_leaf(far, i, *out);
        if (result != TR_OK)
            snprintf(error, error_bytes, "%s cannot make its end of the floor: %s", far->host[i],
                     tr_strerror(result));
    }
    return result;
}

static int ask_all(struct tr_perf_far *far, const char *line)
{
    char answer[TR_PERF_LINE_MAX];
    int result = TR_OK;
    for (uint32_t i = 0; i < far->count && result == TR_OK; i++)
        result = tr_perf_control_ask(far->fd[i], line, answer);
    return result;
}

int tr_perf_far_follow_floor(struct tr_perf_far *far, uint32_t variant)
{
    char line[TR_PERF_LINE_MAX];
    snprintf(line, sizeof(line), "follow-floor %u", variant);
    return ask_all(far, line);
}

int tr_perf_far_follow_engine(struct tr_perf_far *far)
{
    return ask_all(far, "follow-engine");
}

/* One node's word; TR_AGAIN while it has not applied all. */
static int compare_one(int fd, uint64_t commands, uint64_t digest)
{
    char answer[TR_PERF_LINE_MAX];
    uint64_t their_commands = 0;
    uint64_t their_digest = 0;
    int result = tr_perf_control_ask(fd, "digest", answer);
    if (result != TR_OK)
        return result;
    if (sscanf(answer, "%" SCNu64 " %" SCNx64, &their_commands, &their_digest) != 2)
        return TR_EPROTO;
    if (their_commands < commands)
        return TR_AGAIN;
    return their_commands == commands && their_digest == digest ? TR_OK : TR_ECORRUPT;
}

int tr_perf_far_compare(struct tr_perf_far *far, uint64_t commands, uint64_t digest)
{
    int result = TR_OK;
    for (uint32_t i = 0; i < far->count && result == TR_OK; i++)
        result = compare_one(far->fd[i], commands, digest);
    return result;
}

void tr_perf_far_close(struct tr_perf_far *far)
{
    for (uint32_t i = 0; far != NULL && i < far->count; i++)
        close(far->fd[i]);
    free(far);
}
