/* Memif: shared memory between the nodes of one machine, an interface for each peer and queue. */
#include "drivers/dpdk/device.h"

#include "base/bytes.h"
#include "trireme/error.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <rte_ethdev.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Buffers of a ring, as a power of two; each is one cache line longer than a frame, so that the
 * headers of successive ones do not fall on the same few sets of the cache. */
#define RING_LOG2   9
#define MTU_DEFAULT 9000

/* A client looks so often whether its peer is there. */
#define RETRY_MS 20

/* Connections that may wait for a listening port: that of the peer, and those of its predecessors
 * that died before they were accepted. */
#define BACKLOG 8

/* How long a port that closes an interface waits at a time for the PMD, and how often: it does what
 * it has to as soon as its thread runs. */
#define WAIT_MS   100
#define WAITS_MAX 100

/* A hash of a directory's name, for names of interfaces. Source: FNV-1a. */
static uint32_t hash_of(const char *text)
{
    uint32_t hash = 2166136261u;
    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * 16777619u;
    return hash;
}

int tr_dpdk_memif_lock(const char *directory, uint16_t self, uint16_t queue, int *fd, char *error,
                       size_t error_bytes)
{
    char path[DPDK_PATH_BYTES];
    int number;
    snprintf(path, sizeof(path), "%s/trireme-%u.%u.lock", directory, self, queue);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    number = errno;
    if (*fd < 0) {
        tr_explain(error, error_bytes, "dpdk: memif=%s: cannot make %s: %s", directory, path,
                   strerror(number));
        return number == EACCES || number == EPERM || number == EROFS ? TR_EPERM : TR_EADDR;
    }
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return TR_OK;
    tr_explain(error, error_bytes, "dpdk: memif=%s: node %u (queue %u) is open in a living process",
               directory, self, queue);
    close(*fd);
    *fd = -1;
    return TR_EBUSY;
}

/* A non-blocking socket that listens at a path, where nobody else does: the node's lock is ours, so
 * that what lies there is of a process that was killed. Returns: -1, if it cannot be. */
static int listen_at(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    unlink(path);
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    close(fd);
    return -1;
}

/* A non-blocking connection to who listens at a path. Returns: -1, if nobody does. */
static int connect_to(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    if (connect(fd, (const struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    close(fd);
    return -1;
}

static int accept_at(int listener)
{
    return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* An opening or closing for EAL's thread. */
struct memif_call {
    const struct dpdk_device_setup *setup;
    struct dpdk_device *device;
    struct rte_mempool *pool;
    char *error;
    size_t error_bytes;
};

static int open_there(void *argument)
{
    struct memif_call *call = argument;
    bool is_second;
    return tr_dpdk_device_open(call->setup, 0, &call->device, &is_second, call->error,
                               call->error_bytes);
}

static int close_there(void *argument)
{
    struct memif_call *call = argument;
    call->pool = call->device->pool[0];
    call->device->pool[0] = NULL;
    tr_dpdk_device_close(call->device, 0, false);
    return TR_OK;
}

/* Makes a client's PMD connect to its port. */
static int start_there(void *argument)
{
    struct dpdk_device *device = argument;
    if (device->is_started)
        rte_eth_dev_stop(device->id);
    device->is_started = rte_eth_dev_start(device->id) == 0;
    return device->is_started ? TR_OK : TR_ESYS;
}

/* Whether the PMD has connected: asked on its thread, so that what it wrote is seen, too. */
static int look_there(void *argument)
{
    const struct dpdk_device *device = argument;
    struct rte_eth_link link = {0};
    bool is_up =
        rte_eth_link_get_nowait(device->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
    return is_up ? TR_OK : TR_AGAIN;
}

/* Calls EAL's thread, unless somebody opens a device just now: then later. */
static int call_soon(int (*function)(void *argument), struct dpdk_device *device)
{
    int result;
    if (!tr_eal_trylock())
        return TR_AGAIN;
    result = tr_eal_call(function, device);
    tr_eal_unlock();
    return result;
}

/* A server's port takes the connection that waits. */
static void meet_client(struct dpdk_memif *memif)
{
    int outer = accept_at(memif->listener);
    int inner = outer >= 0 ? connect_to(memif->inner) : -1;
    if (inner >= 0)
        tr_relay_begin(&memif->relay, outer, inner);
    else if (outer >= 0)
        close(outer);
}

/* A client's port looks for its server. */
static void meet_server(struct dpdk_memif *memif, uint64_t now_tsc, uint64_t tsc_per_ms)
{
    int outer;
    if ((int64_t)(now_tsc - memif->retry_tsc) < 0)
        return;
    memif->retry_tsc = now_tsc + RETRY_MS * tsc_per_ms;
    outer = connect_to(memif->outer);
    if (outer >= 0)
        tr_relay_begin(&memif->relay, outer, -1);
}

/* A client's PMD connects once the server has greeted. */
static void attach(struct dpdk_device *device)
{
    struct dpdk_memif *memif = &device->memif;
    int result, inner;
    if (!tr_relay_is_greeted(&memif->relay))
        return;
    result = call_soon(start_there, device);
    if (result == TR_AGAIN)
        return;
    inner = result == TR_OK ? accept_at(memif->listener) : -1;
    if (inner >= 0)
        tr_relay_attach(&memif->relay, inner);
    else
        tr_relay_end(&memif->relay);
}

bool tr_dpdk_memif_step(struct dpdk_device *device, uint64_t now_tsc, uint64_t tsc_per_ms,
                        bool *is_busy)
{
    struct dpdk_memif *memif = &device->memif;
    if (memif->relay.phase == TR_RELAY_IDLE && !device->is_client)
        meet_client(memif);
    else if (memif->relay.phase == TR_RELAY_IDLE)
        meet_server(memif, now_tsc, tsc_per_ms);
    if (memif->relay.phase == TR_RELAY_SHAKING && memif->relay.inner < 0)
        attach(device);
    if (tr_relay_step(&memif->relay) != TR_RELAY_JOINED)
        memif->is_up = false;
    else if (!memif->is_up) /* a server's PMD is, since it has said so */
        memif->is_up = !device->is_client || call_soon(look_there, device) == TR_OK;
    *is_busy = memif->relay.phase != TR_RELAY_IDLE && !memif->is_up;
    return memif->is_up;
}

struct rte_mempool *tr_dpdk_memif_close(struct dpdk_device *device)
{
    struct dpdk_memif *memif = &device->memif;
    struct memif_call call = {.device = device};
    tr_relay_end(&memif->relay);
    for (uint32_t i = 0; i < WAITS_MAX && tr_relay_step(&memif->relay) != TR_RELAY_IDLE; i++) {
        struct pollfd what = {.fd = memif->relay.inner, .events = POLLIN};
        poll(&what, 1, WAIT_MS);
    }
    close(memif->listener);
    unlink(device->is_client ? memif->inner : memif->outer);
    tr_eal_call(close_there, &call);
    return call.pool;
}

/* Fills in the paths of an interface, and makes the port's socket. */
static int prepare(struct dpdk_memif *memif, const char *directory, uint16_t self, uint16_t peer,
                   uint16_t queue, char *error, size_t error_bytes)
{
    uint32_t low = tr_min_u32(self, peer), high = tr_max_u32(self, peer);
    const char *own = self == low ? memif->outer : memif->inner;
    *memif = (struct dpdk_memif){.listener = -1};
    tr_relay_init(&memif->relay, self == low);
    snprintf(memif->outer, sizeof(memif->outer), "%s/trireme-%u-%u.%u", directory, low, high,
             queue);
    snprintf(memif->inner, sizeof(memif->inner), "%s/trireme-%u-%u.%u.own", directory, self, peer,
             queue);
    if (self == low)
        unlink(memif->inner); /* for the PMD to make */
    memif->listener = listen_at(own);
    if (memif->listener >= 0)
        return TR_OK;
    tr_explain(error, error_bytes, "dpdk: memif=%s: cannot make the socket %s: %s", directory, own,
               strerror(errno));
    return TR_EADDR;
}

int tr_dpdk_memif_open(const struct dpdk_device_setup *setup, uint16_t self, uint16_t peer,
                       uint16_t queue, struct dpdk_device **out, char *error, size_t error_bytes)
{
    struct dpdk_options options = *setup->options;
    struct dpdk_device_setup own = *setup;
    struct memif_call call = {.setup = &own, .error = error, .error_bytes = error_bytes};
    struct dpdk_memif memif;
    char name[64];
    char probe[320];
    int result = prepare(&memif, options.memif, self, peer, queue, error, error_bytes);
    if (result != TR_OK)
        return result;
    if (options.mtu == 0)
        options.mtu = MTU_DEFAULT;
    snprintf(name, sizeof(name), "net_memif%08x_%u_%u_%u", hash_of(options.memif), self, peer,
             queue);
    snprintf(probe, sizeof(probe),
             "%s,role=%s,id=%u,socket=%s,socket-abstract=no,bsize=%u,rsize=%u", name,
             self < peer ? "server" : "client", queue, memif.inner,
             tr_align_up_u32((uint32_t)options.mtu + 64, 64) + 64, RING_LOG2);
    own.name = name;
    own.probe = probe;
    own.queue_count = 1;
    own.is_memif = true;
    own.is_client = self > peer;
    own.options = &options;
    result = tr_eal_call(open_there, &call);
    if (result != TR_OK) {
        close(memif.listener);
        return result;
    }
    call.device->memif = memif;
    *out = call.device;
    return TR_OK;
}
