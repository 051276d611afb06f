#include "perf/places.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* How far the floor's own port is from the engine's on one address, and its number from the node's:
 * memif and the exchange of verbs tell them apart by these. */
#define FLOOR_PORT_STEP 1000
#define FLOOR_ID_STEP   100

/* Bytes of the cluster's key of verbs. */
#define KEY_BYTES 32

bool tr_perf_list_has(const char *list, const char *key)
{
    size_t length = strlen(key);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, key, length) == 0 && at[length] == '=')
            return true;
    }
    return false;
}

bool tr_perf_expand(const char *list, uint16_t id, char *out, size_t out_bytes)
{
    size_t used = 0;
    for (const char *at = list; *at != '\0';) {
        bool is_number = at[0] == '%' && at[1] == 'n';
        int wrote = is_number ? snprintf(out + used, out_bytes - used, "%u", id)
                              : snprintf(out + used, out_bytes - used, "%c", *at);
        used += (size_t)wrote;
        if (used >= out_bytes)
            return false;
        at += is_number ? 2 : 1;
    }
    out[used] = '\0';
    return true;
}

bool tr_perf_address_beside(const char *address, char out[TR_PERF_ADDRESS_MAX])
{
    char host[TR_PERF_ADDRESS_MAX - sizeof("[]:65535")];
    uint16_t port;
    if (!tr_perf_address_divide(address, host, sizeof(host), &port))
        return false;
    unsigned beside =
        port <= UINT16_MAX - FLOOR_PORT_STEP ? port + FLOOR_PORT_STEP : port - FLOOR_PORT_STEP;
    snprintf(out, TR_PERF_ADDRESS_MAX, address[0] == '[' ? "[%s]:%u" : "%s:%u", host, beside);
    return true;
}

/* A port that was free a moment ago. Returns: 0 when there is none. */
static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    if (bind(fd, (struct sockaddr *)&address, length) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        address.sin_port = 0;
    close(fd);
    return ntohs(address.sin_port);
}

/* An address on this machine, in the driver's syntax; `what` tells those of one replica apart. */
static void choose_address(const struct tr_perf_places *p, const char *driver, uint32_t index,
                           const char *what, char out[TR_PERF_ADDRESS_MAX])
{
    if (strcmp(driver, "udp") == 0)
        snprintf(out, TR_PERF_ADDRESS_MAX, "127.0.0.1:%u", (unsigned)free_port());
    else if (strcmp(driver, "dpdk") == 0)
        snprintf(out, TR_PERF_ADDRESS_MAX, "10.77.0.%u:7410", index + 1);
    else
        snprintf(out, TR_PERF_ADDRESS_MAX, "%.16s:%s-%u%s", driver, p->cluster, index + 1, what);
}

static int choose_addresses(struct tr_perf_places *p, const struct tr_perf_options *o, char *error,
                            size_t error_bytes)
{
    bool is_dpdk = strcmp(o->driver, "dpdk") == 0;
    if (strcmp(o->driver, "verbs") == 0) {
        snprintf(error, error_bytes,
                 "--driver verbs needs --peers ID=HOST:PORT,...: of each replica an address of an "
                 "RDMA device");
        return TR_EINVAL;
    }
    p->count = (uint32_t)o->replicas;
    for (uint32_t i = 0; i < p->count; i++) {
        struct tr_perf_place *engine = &p->engine[i], *floor = &p->floor[i];
        engine->id = (uint16_t)(i + 1);
        choose_address(p, o->driver, i, "", engine->address);
        if (!is_dpdk)
            choose_address(p, o->driver, i, "-c", engine->door);
        if (is_dpdk)
            tr_perf_address_beside(engine->address, floor->address);
        else
            choose_address(p, o->driver, i, "-f", floor->address);
    }
    return TR_OK;
}

static int take_peers(struct tr_perf_places *p, const struct tr_perf_options *o, char *error,
                      size_t error_bytes)
{
    struct tr_perf_peer peers[TR_VOTERS_MAX];
    int result = tr_perf_peers_parse(o->peers, peers, &p->count, error, error_bytes);
    bool is_here = o->node == 0;
    for (uint32_t i = 0; i < p->count && result == TR_OK; i++) {
        struct tr_perf_place *engine = &p->engine[i], *floor = &p->floor[i];
        engine->id = peers[i].node;
        memcpy(engine->address, peers[i].address, sizeof(engine->address));
        if (!tr_perf_address_beside(engine->address, floor->address))
            memcpy(floor->address, engine->address, sizeof(floor->address));
        is_here = is_here || peers[i].node == o->node;
    }
    if (result == TR_OK && !is_here) {
        snprintf(error, error_bytes, "--node %" PRIu64 " is not one of --peers", o->node);
        result = TR_EINVAL;
    }
    return result;
}

/* Writes a key for the nodes of this run. */
static int make_key(const char *path)
{
    uint8_t key[KEY_BYTES];
    char text[2 * KEY_BYTES + 1];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return TR_ESYS;
    bool is_made = getrandom(key, sizeof(key), 0) == (ssize_t)sizeof(key);
    for (uint32_t i = 0; i < KEY_BYTES; i++)
        snprintf(text + 2 * (size_t)i, 3, "%02x", key[i]);
    is_made = is_made && write(fd, text, 2 * KEY_BYTES) == 2 * KEY_BYTES;
    return close(fd) == 0 && is_made ? TR_OK : TR_ESYS;
}

/* What the driver needs and was not told: `out` is a list that %n stands in. */
static int choose_more(struct tr_perf_places *p, const struct tr_perf_options *o, char *out,
                       size_t out_bytes, char *error, size_t error_bytes)
{
    bool is_dpdk = strcmp(o->driver, "dpdk") == 0, is_verbs = strcmp(o->driver, "verbs") == 0;
    bool has_device = o->veth != TR_PERF_VETH_OFF || tr_perf_list_has(o->driver_options, "device");
    bool is_memif = is_dpdk && !has_device && !tr_perf_list_has(o->driver_options, "memif");
    bool is_keyless = is_verbs && !tr_perf_list_has(o->driver_options, "key");
    int result = TR_OK;
    p->is_shared = is_dpdk && has_device;
    out[0] = '\0';
    if (o->node != 0)
        return TR_OK;
    if (is_memif || is_keyless)
        result = tr_perf_directory_make(p->directory);
    if (is_memif)
        snprintf(out, out_bytes, "memif=%s", p->directory);
    if (is_keyless && result == TR_OK) {
        snprintf(out, out_bytes, "%s/key", p->directory);
        result = make_key(out);
        snprintf(out, out_bytes, "key=%s/key", p->directory);
    }
    if (o->veth != TR_PERF_VETH_OFF)
        snprintf(out, out_bytes, "device=%s%%n+iface=v%%n%s",
                 o->veth == TR_PERF_VETH_XDP ? "net_af_xdp" : "net_af_packet",
                 o->veth == TR_PERF_VETH_XDP ? "+busy_budget=0" : "+framecnt=4096");
    if (result != TR_OK)
        snprintf(error, error_bytes, "cannot make a directory in /tmp, and write there");
    return result;
}

static int choose_options(struct tr_perf_places *p, const struct tr_perf_options *o, char *error,
                          size_t error_bytes)
{
    char more[TR_PERF_TEXT_MAX];
    char list[TR_PERF_PLACE_OPTIONS_MAX];
    int result = choose_more(p, o, more, sizeof(more), error, error_bytes);
    snprintf(list, sizeof(list), "%s%s%s", more,
             more[0] != '\0' && o->driver_options[0] != '\0' ? "," : "", o->driver_options);
    for (uint32_t i = 0; i < p->count && result == TR_OK; i++) {
        struct tr_perf_place *engine = &p->engine[i], *floor = &p->floor[i];
        if (!tr_perf_expand(list, engine->id, engine->options, sizeof(engine->options))) {
            snprintf(error, error_bytes, "--driver-options: too long with its numbers");
            result = TR_EINVAL;
        }
        memcpy(floor->options, engine->options, sizeof(floor->options));
        floor->id =
            (uint16_t)(engine->id <= UINT16_MAX - FLOOR_ID_STEP ? engine->id + FLOOR_ID_STEP
                                                                : engine->id - FLOOR_ID_STEP);
        if (p->is_shared)
            *floor = *engine;
    }
    return result;
}

int tr_perf_places_make(const struct tr_perf_options *options, struct tr_perf_places *out,
                        char *error, size_t error_bytes)
{
    int result;
    memset(out, 0, sizeof(*out));
    if (options->node != 0)
        snprintf(out->cluster, sizeof(out->cluster), "perf");
    else
        snprintf(out->cluster, sizeof(out->cluster), "perf-%d", (int)getpid());
    if (options->peers[0] != '\0')
        result = take_peers(out, options, error, error_bytes);
    else
        result = choose_addresses(out, options, error, error_bytes);
    if (result == TR_OK)
        result = choose_options(out, options, error, error_bytes);
    if (result != TR_OK)
        tr_perf_places_remove(out);
    return result;
}

void tr_perf_places_remove(struct tr_perf_places *places)
{
    tr_perf_directory_remove(places->directory);
    places->directory[0] = '\0';
}
