#include "perf/peers.h"

#include "trireme/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One "ID=ADDRESS" of so many characters. */
static bool parse_peer(const char *text, size_t length, struct tr_perf_peer *out)
{
    char *end = NULL;
    unsigned long node = strtoul(text, &end, 10);
    if (end == text || *end != '=' || node == 0 || node > UINT16_MAX)
        return false;
    size_t skip = (size_t)(end + 1 - text);
    if (skip >= length || length - skip >= sizeof(out->address))
        return false;
    memcpy(out->address, end + 1, length - skip);
    out->address[length - skip] = '\0';
    out->node = (uint16_t)node;
    return true;
}

static bool is_known(const struct tr_perf_peer *peers, uint32_t count, uint16_t node)
{
    for (uint32_t i = 0; i < count; i++)
        if (peers[i].node == node)
            return true;
    return false;
}

int tr_perf_peers_parse(const char *list, struct tr_perf_peer peers[TR_VOTERS_MAX], uint32_t *count,
                        char *error, size_t error_bytes)
{
    uint32_t made = 0;
    for (const char *at = list;; at++) {
        struct tr_perf_peer peer;
        size_t length = strcspn(at, ",");
        if (!parse_peer(at, length, &peer) || is_known(peers, made, peer.node) ||
            made == TR_VOTERS_MAX) {
            snprintf(error, error_bytes,
                     "--peers %s: must be ID=ADDRESS,... with different IDs from 1, at most %d of "
                     "them",
                     list, TR_VOTERS_MAX);
            return TR_EINVAL;
        }
        peers[made++] = peer;
        at += length;
        if (*at == '\0')
            break;
    }
    *count = made;
    return TR_OK;
}

bool tr_perf_address_divide(const char *address, char *host, size_t host_bytes, uint16_t *port)
{
    const char *colon = strrchr(address, ':');
    char *end = NULL;
    unsigned long number = colon != NULL ? strtoul(colon + 1, &end, 10) : 0;
    if (number == 0 || number > UINT16_MAX || *end != '\0')
        return false;
    bool is_bracketed = address[0] == '[';
    if (is_bracketed && (colon == address || colon[-1] != ']'))
        return false;
    const char *first = address + is_bracketed;
    size_t length = (size_t)(colon - first) - is_bracketed;
    if (colon < first || length == 0 || length >= host_bytes)
        return false;
    memcpy(host, first, length);
    host[length] = '\0';
    *port = (uint16_t)number;
    return true;
}
