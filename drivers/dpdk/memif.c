/* Memif: shared memory between the nodes of one machine, an interface for each peer and queue. */
#include "drivers/dpdk/device.h"

#include "base/bytes.h"
#include "trireme/error.h"

#include <errno.h>
#include <fcntl.h>
#include <rte_ethdev.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* Buffers of a ring, as a power of two; each is one cache line longer than a frame, so that the
 * headers of successive ones do not fall on the same few sets of the cache. */
#define RING_LOG2   9
#define MTU_DEFAULT 9000

/* A client looks so often whether its peer is there still, tries so often to connect while it is
 * not, and gives a connection so long to come about. */
#define LOOK_NS    UINT64_C(100000000)
#define RETRY_NS   UINT64_C(20000000)
#define CONNECT_NS UINT64_C(100000000)

/* Of the kernel's table of local sockets, which is read in such pieces. */
#define TABLE_BYTES     4096
#define UNIX_LISTENS    0x10000
#define UNIX_CONNECTING 2 /* not accepted yet */
#define UNIX_CONNECTED  3

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

/* Whether a line of the kernel's table of local sockets is of one with this name. */
static bool is_line_of(const char *line, const char *path, bool is_connection)
{
    const char *at = strchr(line, '/');
    unsigned flags = 0, state = 0;
    if (at == NULL || strcmp(at, path) != 0 ||
        sscanf(line, "%*x: %*x %*x %x %*x %x", &flags, &state) != 2)
        return false;
    return is_connection ? state == UNIX_CONNECTING || state == UNIX_CONNECTED
                         : (flags & UNIX_LISTENS) != 0;
}

/* Whether some process has a socket of this name: one that listens, or one end of a connection to
 * it. Connecting would tell, too, but a listening memif does not survive a connection that ends
 * before it has answered. */
static bool is_there(const char *path, bool is_connection)
{
    char text[TABLE_BYTES];
    size_t used = 0;
    ssize_t bytes;
    bool found = false;
    int file = open("/proc/net/unix", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return true;
    while (!found && (bytes = read(file, text + used, sizeof(text) - 1 - used)) > 0) {
        char *line = text;
        char *end;
        used += (size_t)bytes;
        text[used] = '\0';
        for (; !found && (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            found = is_line_of(line, path, is_connection);
        }
        used -= (size_t)(line - text);
        memmove(text, line, used);
        used = used == sizeof(text) - 1 ? 0 : used; /* no line is so long */
    }
    close(file);
    return found;
}

/* Removes a socket that nobody listens at: a process that was killed left it behind. The node's
 * lock is ours, so that nobody else would make it. */
static void remove_stale(const char *path)
{
    if (access(path, F_OK) == 0 && !is_there(path, false))
        unlink(path);
}

/* An opening or closing for EAL's thread. */
struct memif_call {
    const struct dpdk_device_setup *setup;
    const char *path;
    struct dpdk_device *device;
    char *error;
    size_t error_bytes;
};

/* EAL's thread: a client whose peer was not there, or is there no more, connects again. A
 * connection that a stopped process has not answered yet is left to wait. */
static uint64_t connect_again(struct tr_gate_chore *chore, uint64_t now_ns)
{
    struct dpdk_device *device = tr_container_of(chore, struct dpdk_device, chore);
    struct rte_eth_link link = {0};
    if (device->is_started && rte_eth_link_get_nowait(device->id, &link) == 0 &&
        link.link_status == RTE_ETH_LINK_UP)
        return now_ns + LOOK_NS;
    if (device->is_started &&
        (now_ns < chore->begun_ns + CONNECT_NS || is_there(device->path, true)))
        return now_ns + RETRY_NS;
    if (device->is_started)
        rte_eth_dev_stop(device->id);
    device->is_started = rte_eth_dev_start(device->id) == 0;
    chore->begun_ns = now_ns;
    return now_ns + RETRY_NS;
}

static int open_there(void *argument)
{
    struct memif_call *call = argument;
    int result = tr_dpdk_device_open(call->setup, 0, &call->device, call->error, call->error_bytes);
    if (result == TR_OK && call->device->is_client) {
        call->device->chore = (struct tr_gate_chore){.run = connect_again};
        snprintf(call->device->path, sizeof(call->device->path), "%s", call->path);
        tr_gate_chore_add(&call->device->chore);
    }
    return result;
}

static int close_there(void *argument)
{
    struct memif_call *call = argument;
    if (call->device->is_client)
        tr_gate_chore_remove(&call->device->chore);
    tr_dpdk_device_close(call->device, 0);
    return TR_OK;
}

void tr_dpdk_memif_close(struct dpdk_device *device)
{
    struct memif_call call = {.device = device};
    tr_eal_call(close_there, &call);
}

int tr_dpdk_memif_open(const struct dpdk_device_setup *setup, uint16_t self, uint16_t peer,
                       uint16_t queue, struct dpdk_device **out, char *error, size_t error_bytes)
{
    struct dpdk_options options = *setup->options;
    struct dpdk_device_setup own = *setup;
    int result;
    char path[DPDK_PATH_BYTES];
    struct memif_call call = {.path = path, .error = error, .error_bytes = error_bytes};
    char name[64];
    char probe[320];
    uint32_t low = tr_min_u32(self, peer), high = tr_max_u32(self, peer);
    if (options.mtu == 0)
        options.mtu = MTU_DEFAULT;
    snprintf(path, sizeof(path), "%s/trireme-%u-%u.%u", options.memif, low, high, queue);
    snprintf(name, sizeof(name), "net_memif%08x_%u_%u_%u", hash_of(options.memif), self, peer,
             queue);
    snprintf(probe, sizeof(probe),
             "%s,role=%s,id=%u,socket=%s,socket-abstract=no,bsize=%u,rsize=%u", name,
             self == low ? "server" : "client", queue, path,
             tr_align_up_u32((uint32_t)options.mtu + 64, 64) + 64, RING_LOG2);
    if (self == low)
        remove_stale(path);
    own.name = name;
    own.probe = probe;
    own.queue_count = 1;
    own.is_memif = true;
    own.is_client = self != low;
    own.options = &options;
    call.setup = &own;
    result = tr_eal_call(open_there, &call);
    if (result == TR_OK)
        *out = call.device;
    return result;
}
