/* Devices of this process. */
#include "drivers/dpdk/device.h"

#include "base/atomic.h"
#include "base/bytes.h"
#include "trireme/error.h"

#include <errno.h>
#include <inttypes.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>
#include <rte_memzone.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* The list of devices hangs in EAL's memory under this name: they are the process's, as EAL is. */
#define LIST_NAME "trireme_devices"

/* Ethernet's header, a VLAN tag and the checksum, around what the MTU counts. */
#define FRAME_OVERHEAD 22

/* What buffers hold at least: some devices cannot do with less. */
#define BUFFER_BYTES_MIN 2048

/* Devices of AF_XDP, and how often and how long after a refusal one is asked for again. */
#define XDP_NAME      "net_af_xdp"
#define XDP_TRIES_MAX 20
#define XDP_AGAIN_MS  50

struct device_list {
    struct dpdk_device *first;
};

static struct device_list *list_of_process(void)
{
    const struct rte_memzone *zone = rte_memzone_lookup(LIST_NAME);
    if (zone == NULL) {
        zone = rte_memzone_reserve(LIST_NAME, sizeof(struct device_list), SOCKET_ID_ANY, 0);
        if (zone == NULL)
            return NULL;
        memset(zone->addr, 0, sizeof(struct device_list));
    }
    return zone->addr;
}

static struct dpdk_device *find(const struct device_list *list, const char *name)
{
    struct dpdk_device *device = list->first;
    while (device != NULL && strcmp(device->name, name) != 0)
        device = device->next;
    return device;
}

static void forget(struct device_list *list, const struct dpdk_device *device)
{
    struct dpdk_device **at = &list->first;
    while (*at != NULL && *at != device)
        at = &(*at)->next;
    if (*at != NULL)
        *at = device->next;
}

/* EAL's thread: a link went up or down. Meets the acquire of look_at_link in resolve.c. */
static int link_changed(uint16_t id, enum rte_eth_event_type type, void *argument, void *unused)
{
    struct dpdk_device *device = argument;
    (void)id;
    (void)type;
    (void)unused;
    tr_store_release(&device->link_count, tr_load_relaxed(&device->link_count) + 1);
    return 0;
}

/* ---- finding and configuring */

static int probe(struct dpdk_device *device, const struct dpdk_device_setup *setup, char *error,
                 size_t error_bytes)
{
    int result;
    if (rte_eth_dev_get_port_by_name(setup->name, &device->id) == 0)
        return TR_OK; /* the application's */
    result = rte_dev_probe(setup->probe);
    if (result != 0) {
        tr_explain(error, error_bytes, "dpdk: there is no device \"%s\" that DPDK can drive: %s%s",
                   setup->probe, strerror(-result),
                   result == -EPERM || result == -EACCES ? " (it needs the rights of root)" : "");
        return result == -EPERM || result == -EACCES ? TR_EPERM : TR_EADDR;
    }
    device->is_made = true;
    if (rte_eth_dev_get_port_by_name(setup->name, &device->id) != 0) {
        tr_explain(error, error_bytes,
                   "dpdk: the device \"%s\" has no DPDK driver: bind it to vfio-pci "
                   "(dpdk-devbind.py --bind=vfio-pci %s)",
                   setup->name, setup->name);
        return TR_EADDR;
    }
    return TR_OK;
}

/* What of the wishes the device can do. */
static void choose_offloads(struct dpdk_device *device, const struct dpdk_options *options,
                            const struct rte_eth_dev_info *info, struct rte_eth_conf *conf)
{
    const uint64_t chains = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    const uint64_t rx = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
    const uint64_t tx = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
    device->has_checksum_rx = (info->rx_offload_capa & rx) == rx;
    device->has_checksum_tx = options->checksum && (info->tx_offload_capa & tx) == tx;
    if (device->has_checksum_rx)
        conf->rxmode.offloads |= rx;
    if (device->has_checksum_tx)
        conf->txmode.offloads |= tx;
    conf->txmode.offloads |= info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
    /* Memif's driver copies, and is not asked for its zero-copy= (memif.c). */
    device->copies_chains = device->is_memif && (info->tx_offload_capa & chains) != 0 &&
                            (conf->txmode.offloads & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE) == 0;
    if (device->copies_chains)
        conf->txmode.offloads |= chains;
    device->tells_links = (*info->dev_flags & RTE_ETH_DEV_INTR_LSC) != 0;
    conf->intr_conf.lsc = device->tells_links ? 1 : 0;
}

/* Whether the device spreads flows by a hash whose key and table can be set. */
static bool can_hash(const struct rte_eth_dev_info *info)
{
    const uint64_t udp = RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP;
    return (info->flow_type_rss_offloads & udp) != 0 && info->reta_size > 0 &&
           info->hash_key_size > 0 && info->hash_key_size <= TR_STEERING_KEY_BYTES;
}

static void ask_for_hash(const struct rte_eth_dev_info *info, struct rte_eth_conf *conf)
{
    conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf->rx_adv_conf.rss_conf.rss_key = (uint8_t *)(uintptr_t)tr_steering_key();
    conf->rx_adv_conf.rss_conf.rss_key_len = info->hash_key_size;
    conf->rx_adv_conf.rss_conf.rss_hf =
        info->flow_type_rss_offloads &
        (RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP);
}

static int refuse(const struct dpdk_device *device, const char *what, int result, char *error,
                  size_t error_bytes)
{
    tr_explain(error, error_bytes, "dpdk: device %s: %s: %s", device->name, what,
               strerror(result < 0 ? -result : result));
    return result == -ENOMEM ? TR_ENOMEM : TR_ENOTSUP;
}

static bool is_xdp(const struct dpdk_device *device)
{
    return strncmp(device->name, XDP_NAME, strlen(XDP_NAME)) == 0;
}

/* A pool whose buffers lie side by side in one piece, as AF_XDP's PMD takes for granted when it
 * shows the kernel so many bytes from the first: rte_pktmbuf_pool_create keeps buffers from
 * crossing pages, and those beyond would be refused by the kernel, one after the other. */
static struct rte_mempool *make_dense_pool(const char *name, uint32_t count, uint16_t room,
                                           int socket, const char *ops)
{
    struct rte_pktmbuf_pool_private about = {.mbuf_data_room_size = room};
    struct rte_mempool *pool =
        rte_mempool_create_empty(name, count, sizeof(struct rte_mbuf) + room, 0, sizeof(about),
                                 socket, RTE_MEMPOOL_F_NO_IOVA_CONTIG);
    if (pool == NULL)
        return NULL;
    rte_mempool_set_ops_byname(pool, ops, NULL);
    rte_pktmbuf_pool_init(pool, &about);
    if (rte_mempool_populate_default(pool) == (int)count && pool->nb_mem_chunks == 1) {
        rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
        return pool;
    }
    rte_mempool_free(pool);
    rte_errno = ENOMEM;
    return NULL;
}

/* Where a device's memory is best: where the caller says, as far as EAL has memory there; of a
 * virtual device EAL knows no more than where the calling thread happens to be. */
static int socket_of(const struct dpdk_device *device, uint64_t memory_nodes)
{
    for (unsigned i = 0; i < rte_socket_count(); i++) {
        int id = rte_socket_id_by_idx(i);
        if (id >= 0 && id < 64 && (memory_nodes >> id & 1) != 0)
            return id;
    }
    return rte_eth_dev_socket_id(device->id);
}

static struct rte_mempool *take_pool_of(const struct dpdk_device *device, uint16_t queue,
                                        uint32_t count, uint16_t room, const char *ops)
{
    char name[RTE_MEMPOOL_NAMESIZE];
    snprintf(name, sizeof(name), "tr_%u_%u", device->id, queue);
    if (is_xdp(device))
        return make_dense_pool(name, count, room, device->socket, ops);
    return rte_pktmbuf_pool_create_by_ops(name, count, 0, 0, room, device->socket, ops);
}

/* Of a stack the buffer that is taken next is the one that was given back last, and in the cache
 * still; of a ring the one that was not touched for longest. Where frames are handed over, their
 * queues' threads take and give, and a ring bears that better; so it does where DPDK's part with
 * stacks is not installed. */
static struct rte_mempool *take_pool(const struct dpdk_device *device, uint16_t queue,
                                     uint32_t count, uint16_t room)
{
    struct rte_mempool *pool;
    if (device->steering != TR_STEERING_NONE)
        return take_pool_of(device, queue, count, room, "ring_mp_mc");
    pool = take_pool_of(device, queue, count, room, "lf_stack");
    return pool != NULL ? pool : take_pool_of(device, queue, count, room, "ring_sp_sc");
}

static int make_pool(struct dpdk_device *device, uint16_t queue, uint32_t count, char *error,
                     size_t error_bytes)
{
    uint32_t room = tr_align_up_u32(device->mtu + FRAME_OVERHEAD, TR_CACHE_LINE);
    int near = device->socket;
    room = tr_max_u32(room, BUFFER_BYTES_MIN) + RTE_PKTMBUF_HEADROOM;
    device->pool[queue] = take_pool(device, queue, count, (uint16_t)room);
    if (device->pool[queue] == NULL && near != SOCKET_ID_ANY) {
        device->socket = SOCKET_ID_ANY;
        device->pool[queue] = take_pool(device, queue, count, (uint16_t)room);
        if (device->pool[queue] != NULL)
            tr_explain(error, error_bytes,
                       "dpdk: device %s: its buffers are far from it, since NUMA node %d has too "
                       "little free memory (/sys/devices/system/node/node%d/hugepages)",
                       device->name, near, near);
    }
    if (device->pool[queue] != NULL)
        return TR_OK;
    tr_explain(error, error_bytes,
               "dpdk: device %s: no memory for %u buffers of %u bytes (%s): more memory=, huge "
               "pages, or fewer descriptors=",
               device->name, count, room, rte_strerror(rte_errno));
    return TR_ENOMEM;
}

static int make_handover(struct dpdk_device *device, uint16_t queue)
{
    char name[RTE_RING_NAMESIZE];
    snprintf(name, sizeof(name), "tr_%u_%u", device->id, queue);
    device->handover[queue] = rte_ring_create(name, DPDK_HANDOVER, device->socket, RING_F_SC_DEQ);
    return device->handover[queue] != NULL ? TR_OK : TR_ENOMEM;
}

static int setup_queues(struct dpdk_device *device, const struct dpdk_device_setup *setup,
                        const struct rte_eth_dev_info *info, uint64_t rx_offloads,
                        uint64_t tx_offloads, char *error, size_t error_bytes)
{
    uint16_t rx = (uint16_t)setup->options->descriptors, tx = rx;
    struct rte_eth_rxconf rx_conf = info->default_rxconf;
    struct rte_eth_txconf tx_conf = info->default_txconf;
    int result = rte_eth_dev_adjust_nb_rx_tx_desc(device->id, &rx, &tx);
    device->socket = socket_of(device, setup->memory_nodes);
    rx_conf.offloads = rx_offloads;
    tx_conf.offloads = tx_offloads;
    for (uint16_t q = 0; q < device->queue_count && result == 0; q++) {
        /* Memif copies: its rings hold no buffers of ours. AF_XDP's hold as many as they do by
         * default, whatever is asked for. */
        uint32_t held = 2 * tr_max_u32(rx, info->default_rxportconf.ring_size) +
                        tr_max_u32(tx, info->default_txportconf.ring_size);
        uint32_t count = setup->frames + (setup->is_memif ? 0 : held + DPDK_SECOND_FRAMES) +
                         (device->steering != TR_STEERING_NONE ? DPDK_HANDOVER : 0);
        int made = make_pool(device, q, count, error, error_bytes);
        if (made == TR_OK && device->steering != TR_STEERING_NONE)
            made = make_handover(device, q);
        if (made != TR_OK)
            return made;
        unsigned socket = (unsigned)device->socket;
        result = rte_eth_rx_queue_setup(device->id, q, rx, socket, &rx_conf, device->pool[q]);
        if (result == 0)
            result = rte_eth_tx_queue_setup(device->id, q, tx, socket, &tx_conf);
    }
    return result == 0 ? TR_OK
                       : refuse(device, "a queue cannot be set up", result, error, error_bytes);
}

/* Puts the queues into the hash's table, in turns. */
static bool set_hash_table(const struct dpdk_device *device, const struct rte_eth_dev_info *info)
{
    struct rte_eth_rss_reta_entry64 table[RTE_ETH_RSS_RETA_SIZE_512 / RTE_ETH_RETA_GROUP_SIZE];
    memset(table, 0, sizeof(table));
    if (info->reta_size > RTE_ETH_RSS_RETA_SIZE_512)
        return false;
    for (uint16_t i = 0; i < info->reta_size; i++) {
        struct rte_eth_rss_reta_entry64 *group = &table[i / RTE_ETH_RETA_GROUP_SIZE];
        group->mask |= UINT64_C(1) << i % RTE_ETH_RETA_GROUP_SIZE;
        group->reta[i % RTE_ETH_RETA_GROUP_SIZE] = i % device->queue_count;
    }
    return rte_eth_dev_rss_reta_update(device->id, table, info->reta_size) == 0;
}

/* Chooses how datagrams come to their queues, once the device runs. */
static void steer(struct dpdk_device *device, const struct dpdk_device_setup *setup,
                  const struct rte_eth_dev_info *info, char *error, size_t error_bytes)
{
    const char *wish = setup->options->steering;
    char why[64] = "not asked for";
    if (device->queue_count == 1)
        return;
    device->steering = TR_STEERING_SOFTWARE;
    if ((wish[0] == '\0' || strcmp(wish, "rules") == 0) &&
        tr_steering_install(&device->rules, &tr_steering_rte_flow, device->id, setup->own,
                            device->queue_count, why, sizeof(why)))
        device->steering = TR_STEERING_RULES;
    else if ((wish[0] == '\0' || strcmp(wish, "hash") == 0) && can_hash(info) &&
             set_hash_table(device, info))
        device->steering = TR_STEERING_HASH;
    tr_explain(error, error_bytes, "dpdk: %s: %u queues, steered %s%s%s", device->name,
               device->queue_count, tr_steering_name(device->steering),
               device->steering == TR_STEERING_RULES ? "" : "; rules: ",
               device->steering == TR_STEERING_RULES ? "" : why);
}

static int configure(struct dpdk_device *device, const struct dpdk_device_setup *setup,
                     struct rte_eth_dev_info *info, char *error, size_t error_bytes)
{
    struct rte_eth_conf conf = {.rxmode = {.mq_mode = RTE_ETH_MQ_RX_NONE}};
    uint16_t mtu = 0;
    int result = rte_eth_dev_info_get(device->id, info);
    if (result != 0)
        return refuse(device, "tells nothing of itself", result, error, error_bytes);
    if (setup->queue_count > info->max_rx_queues || setup->queue_count > info->max_tx_queues) {
        tr_explain(error, error_bytes,
                   "dpdk: device %s has %u queues, and %u polling cores need one each%s",
                   device->name, tr_min_u32(info->max_rx_queues, info->max_tx_queues),
                   setup->queue_count,
                   strncmp(device->name, "net_", 4) == 0 ? ": ask for more in device=" : "");
        return TR_ENOTSUP;
    }
    rte_eth_dev_get_mtu(device->id, &mtu);
    device->mtu = setup->options->mtu != 0 ? (uint32_t)setup->options->mtu
                  : mtu >= 1280            ? tr_min_u32(mtu, 9000)
                                           : 1500;
    choose_offloads(device, setup->options, info, &conf);
    /* Memif knows no MTU: it moves what its buffers hold, and names Ethernet's least. */
    conf.rxmode.mtu = setup->is_memif ? RTE_ETHER_MTU : device->mtu;
    /* Pools and rings are shared among queues as soon as there are several. */
    device->steering = setup->queue_count > 1 ? TR_STEERING_SOFTWARE : TR_STEERING_NONE;
    if (setup->queue_count > 1 && can_hash(info))
        ask_for_hash(info, &conf);
    result = rte_eth_dev_configure(device->id, setup->queue_count, setup->queue_count, &conf);
    if (result != 0)
        return refuse(device, "cannot be configured", result, error, error_bytes);
    if (mtu != device->mtu && !setup->is_memif) {
        result = rte_eth_dev_set_mtu(device->id, (uint16_t)device->mtu);
        if (result != 0 && device->mtu > mtu)
            return refuse(device, "refuses the MTU asked for", result, error, error_bytes);
    }
    return setup_queues(device, setup, info, conf.rxmode.offloads, conf.txmode.offloads, error,
                        error_bytes);
}

/* Everything from the name to a device that runs. */
static int start(struct dpdk_device *device, const struct dpdk_device_setup *setup, char *error,
                 size_t error_bytes)
{
    struct rte_eth_dev_info info;
    struct rte_ether_addr mac;
    struct tr_xdp_sockets earlier;
    int result = probe(device, setup, error, error_bytes);
    if (result != TR_OK)
        return result;
    tr_xdp_sockets_list(&earlier);
    result = configure(device, setup, &info, error, error_bytes);
    tr_xdp_sockets_list(&device->sockets);
    tr_xdp_sockets_subtract(&device->sockets, &earlier);
    if (result != TR_OK)
        return result;
    if (device->tells_links)
        rte_eth_dev_callback_register(device->id, RTE_ETH_EVENT_INTR_LSC, link_changed, device);
    if (!device->is_client) {
        result = rte_eth_dev_start(device->id);
        if (result != 0)
            return refuse(device, "does not start", result, error, error_bytes);
        device->is_started = true;
    }
    if (rte_eth_macaddr_get(device->id, &mac) == 0)
        memcpy(device->own.mac.byte, mac.addr_bytes, sizeof(device->own.mac.byte));
    /* Neighbour discovery asks groups. */
    if (!tr_ip_is_v4(&device->own.ip))
        rte_eth_allmulticast_enable(device->id);
    steer(device, setup, &info, error, error_bytes);
    return TR_OK;
}

/* Gives up what was handed over to queues and not taken; its buffers are of any of the pools. */
static void end_handover(struct dpdk_device *device)
{
    for (uint16_t q = 0; q < device->queue_count; q++) {
        struct rte_mbuf *left;
        while (device->handover[q] != NULL &&
               rte_ring_dequeue(device->handover[q], (void **)&left) == 0)
            rte_pktmbuf_free(left);
        rte_ring_free(device->handover[q]);
    }
}

static void stop(struct dpdk_device *device)
{
    struct rte_eth_dev_info info;
    tr_steering_remove(&device->rules);
    if (device->tells_links)
        rte_eth_dev_callback_unregister(device->id, RTE_ETH_EVENT_INTR_LSC, link_changed, device);
    if (device->is_started)
        rte_eth_dev_stop(device->id);
    if (device->is_made && rte_eth_dev_info_get(device->id, &info) == 0) {
        rte_eth_dev_close(device->id);
        rte_dev_remove(info.device);
        tr_xdp_sockets_close(&device->sockets);
    }
    end_handover(device);
    for (uint16_t q = 0; q < device->queue_count; q++)
        rte_mempool_free(device->pool[q]);
}

/* The kernel lets go of an AF_XDP socket's queue behind the back of who closed it: the next to ask
 * for the queue may come too early, and asks again. */
static bool is_to_try_again(const struct dpdk_device *device, int result, uint32_t tries)
{
    const struct timespec time = {0, XDP_AGAIN_MS * 1000000};
    if (result != TR_ENOTSUP || tries == XDP_TRIES_MAX || !is_xdp(device))
        return false;
    nanosleep(&time, NULL);
    return true;
}

/* Makes a device that no port of the process has. */
static int open_new(struct device_list *list, const struct dpdk_device_setup *setup,
                    struct dpdk_device **out, char *error, size_t error_bytes)
{
    int result;
    uint32_t tries = 0;
    struct dpdk_device *device = rte_zmalloc("trireme", sizeof(*device), TR_CACHE_LINE);
    if (device == NULL)
        return TR_ENOMEM;
    do {
        memset(device, 0, sizeof(*device));
        snprintf(device->name, sizeof(device->name), "%s", setup->name);
        device->queue_count = setup->queue_count;
        device->is_memif = setup->is_memif;
        device->is_client = setup->is_client;
        device->own = *setup->own;
        result = start(device, setup, error, error_bytes);
        if (result != TR_OK)
            stop(device);
    } while (is_to_try_again(device, result, tries++));
    if (result != TR_OK) {
        rte_free(device);
        return result;
    }
    device->next = list->first;
    list->first = device;
    *out = device;
    return TR_OK;
}

/* Whether the node that has a device asks for a second port on a queue of it. */
static bool is_second_port(const struct dpdk_device *device, const struct dpdk_device_setup *setup,
                           uint16_t queue)
{
    uint32_t first = device->own.port, second = setup->own->port, count = device->queue_count;
    bool is_apart = second >= first + count || first >= second + count;
    return (device->open_queues >> queue & 1) != 0 && (device->second_queues >> queue & 1) == 0 &&
           is_apart && (device->second_base == 0 || device->second_base == second);
}

static int open_second(struct dpdk_device *device, uint16_t queue, uint16_t base)
{
    char name[RTE_RING_NAMESIZE];
    snprintf(name, sizeof(name), "tr_%u_%u_second", device->id, queue);
    device->second[queue] =
        rte_ring_create(name, DPDK_SECOND_RING, rte_eth_dev_socket_id(device->id), RING_F_SC_DEQ);
    if (device->second[queue] == NULL)
        return TR_ENOMEM;
    device->second_base = base;
    device->second_queues |= UINT64_C(1) << queue;
    return TR_OK;
}

int tr_dpdk_device_open(const struct dpdk_device_setup *setup, uint16_t queue,
                        struct dpdk_device **out, bool *is_second, char *error, size_t error_bytes)
{
    struct device_list *list = list_of_process();
    struct dpdk_device *device;
    int result = TR_OK;
    if (list == NULL)
        return TR_ENOMEM;
    device = find(list, setup->name);
    if (device == NULL)
        result = open_new(list, setup, &device, error, error_bytes);
    if (result != TR_OK)
        return result;
    bool same =
        device->queue_count == setup->queue_count && tr_ip_equal(&device->own.ip, &setup->own->ip);
    bool is_first =
        same && (device->open_queues >> queue & 1) == 0 && device->own.port == setup->own->port;
    *is_second = same && is_second_port(device, setup, queue);
    if (!is_first && !*is_second) {
        tr_explain(error, error_bytes,
                   "dpdk: device %s is used by another node of this process: each needs its own "
                   "(a client address: the node's own IP, and UDP ports besides its own)",
                   device->name);
        return TR_EBUSY;
    }
    if (is_first)
        device->open_queues |= UINT64_C(1) << queue;
    else
        result = open_second(device, queue, setup->own->port);
    *out = device;
    return result;
}

static void close_second(struct dpdk_device *device, uint16_t queue)
{
    struct rte_ring *ring = device->second[queue];
    struct rte_mbuf *left;
    device->second[queue] = NULL;
    while (rte_ring_dequeue(ring, (void **)&left) == 0)
        rte_pktmbuf_free(left);
    rte_ring_free(ring);
    device->second_queues &= ~(UINT64_C(1) << queue);
    if (device->second_queues == 0)
        device->second_base = 0;
}

void tr_dpdk_device_close(struct dpdk_device *device, uint16_t queue, bool is_second)
{
    if (is_second)
        close_second(device, queue);
    else
        device->open_queues &= ~(UINT64_C(1) << queue);
    if (device->open_queues != 0 || device->second_queues != 0)
        return;
    forget(list_of_process(), device);
    stop(device);
    rte_free(device);
}
