/* Finding and opening the RDMA device of a port. */
#include "drivers/verbs/inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define GIDS_MAX 256

/* Soft-RoCE and siw name their devices' vendor so; Source: rxe_param.h of the kernel. */
#define RXE_VENDOR_ID 0xffffffu

/* The address as a GID: IPv4 is mapped into IPv6. */
static void gid_of(const struct sockaddr_storage *address, uint8_t gid[16])
{
    if (address->ss_family == AF_INET6) {
        memcpy(gid, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
        return;
    }
    memset(gid, 0, 10);
    gid[10] = gid[11] = 0xff;
    memcpy(gid + 12, &((const struct sockaddr_in *)address)->sin_addr, 4);
}

/* Whether a client leaves it to us: any port of any address. */
static bool is_anywhere(const struct sockaddr_storage *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
    if (v4->sin_port != 0) /* at the same place in both families */
        return false;
    return address->ss_family == AF_INET ? v4->sin_addr.s_addr == htonl(INADDR_ANY)
                                         : IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);
}

/* Looks for the wanted GID, or with device= or an address that is any for a usable one, among those
 * of a device. */
static bool find_gid(const struct tr_verbs_extra *extra, struct ibv_context *context,
                     const struct sockaddr_storage *address, struct ibv_gid_entry *out)
{
    struct ibv_gid_entry entries[GIDS_MAX];
    uint8_t wanted[16];
    gid_of(address, wanted);
    bool is_named = extra->device[0] != '\0' || is_anywhere(address);
    ssize_t count = ibv_query_gid_table(context, entries, GIDS_MAX, 0);
    const struct ibv_gid_entry *best = NULL;
    for (ssize_t i = 0; i < count; i++) {
        const struct ibv_gid_entry *e = &entries[i];
        bool is_wanted = memcmp(e->gid.raw, wanted, 16) == 0;
        if (extra->device_port != 0 && e->port_num != extra->device_port)
            continue;
        if (extra->gid != UINT64_MAX && e->gid_index != extra->gid)
            continue;
        if (e->gid_type != IBV_GID_TYPE_ROCE_V2 && e->gid_type != IBV_GID_TYPE_IB)
            continue;
        if (is_wanted || (is_named && best == NULL) ||
            (is_named && extra->gid == UINT64_MAX && best->gid_type == IBV_GID_TYPE_ROCE_V2 &&
             memcmp(best->gid.raw, wanted, 16) != 0 && e->gid.raw[10] == 0xff))
            best = e;
        if (is_wanted)
            break;
    }
    if (best != NULL)
        *out = *best;
    return best != NULL;
}

/* Of several devices that would do for any address none is chosen: another may reach nobody. */
static struct ibv_context *open_device(const struct tr_verbs_extra *extra,
                                       const struct sockaddr_storage *address,
                                       struct ibv_gid_entry *entry)
{
    int count = 0, usable = 0;
    struct ibv_device **list = ibv_get_device_list(&count);
    struct ibv_context *found = NULL;
    for (int i = 0; i < count && (found == NULL || is_anywhere(address)); i++) {
        struct ibv_gid_entry one;
        if (extra->device[0] != '\0' && strcmp(ibv_get_device_name(list[i]), extra->device) != 0)
            continue;
        struct ibv_context *context = ibv_open_device(list[i]);
        bool is_usable = context != NULL && find_gid(extra, context, address, &one);
        usable += is_usable;
        if (is_usable && found == NULL) {
            found = context;
            *entry = one;
        } else if (context != NULL) {
            ibv_close_device(context);
        }
    }
    if (list != NULL)
        ibv_free_device_list(list);
    if (usable > 1 && found != NULL) {
        ibv_close_device(found);
        found = NULL;
    }
    return found;
}

bool tr_verbs_device_name(const struct tr_verbs_extra *extra,
                          const struct sockaddr_storage *address, char *name, size_t name_bytes)
{
    struct ibv_gid_entry entry;
    struct ibv_context *context = open_device(extra, address, &entry);
    if (context == NULL)
        return false;
    snprintf(name, name_bytes, "%s", ibv_get_device_name(context->device));
    ibv_close_device(context);
    return true;
}

static int explain_absence(struct tr_port *port, const struct tr_port_options *options,
                           const struct sockaddr_storage *address)
{
    if (port->extra.device[0] != '\0')
        tr_explain(options->error, options->error_bytes,
                   "verbs: no device \"%s\" with the port and GID that were asked for "
                   "(ibv_devinfo -v lists them)",
                   port->extra.device);
    else if (is_anywhere(address))
        tr_explain(options->error, options->error_bytes,
                   "verbs: this machine has no RDMA device, or several (rdma link): name one with "
                   "device=, or give its address as HOST:0");
    else
        tr_explain(options->error, options->error_bytes,
                   "verbs: no RDMA device has the address %s: it must be one of its network "
                   "device's (rdma link), or name it with device=, port= and gid=",
                   options->address);
    return TR_EADDR;
}

int tr_verbs_device_open(struct tr_port *port, const struct tr_port_options *options,
                         const struct sockaddr_storage *address)
{
    struct tr_verbs_device *d = &port->device;
    struct ibv_gid_entry entry = {0};
    struct ibv_port_attr attr;
    d->context = open_device(&port->extra, address, &entry);
    if (d->context == NULL)
        return explain_absence(port, options, address);
    d->port = (uint8_t)entry.port_num;
    d->gid_index = (uint8_t)entry.gid_index;
    if (ibv_query_device(d->context, &d->attr) != 0 ||
        ibv_query_port(d->context, d->port, &attr) != 0) {
        tr_explain(options->error, options->error_bytes, "verbs: %s port %u cannot be queried: %s",
                   ibv_get_device_name(d->context->device), d->port, strerror(errno));
        return TR_EIO;
    }
    if (attr.state != IBV_PORT_ACTIVE) {
        tr_explain(options->error, options->error_bytes, "verbs: %s port %u is not active (%s)",
                   ibv_get_device_name(d->context->device), d->port,
                   ibv_port_state_str(attr.state));
        return TR_EADDR;
    }
    memcpy(d->path.gid, entry.gid.raw, 16);
    d->path.mtu = (uint32_t)attr.active_mtu;
    d->path.lid = attr.lid;
    d->path.is_ethernet = attr.link_layer == IBV_LINK_LAYER_ETHERNET;
    d->is_software = d->attr.vendor_id == RXE_VENDOR_ID ||
                     strncmp(ibv_get_device_name(d->context->device), "rxe", 3) == 0;
    d->pd = ibv_alloc_pd(d->context);
    int flags = fcntl(d->context->async_fd, F_GETFL);
    fcntl(d->context->async_fd, F_SETFL, flags | O_NONBLOCK);
    return d->pd != NULL ? TR_OK : TR_ENOMEM;
}

void tr_verbs_device_close(struct tr_port *port)
{
    struct tr_verbs_device *d = &port->device;
    if (d->loop != NULL)
        ibv_destroy_qp(d->loop);
    if (d->loop_mr != NULL)
        ibv_dereg_mr(d->loop_mr);
    if (d->loop_cq != NULL)
        ibv_destroy_cq(d->loop_cq);
    if (d->pd != NULL)
        ibv_dealloc_pd(d->pd);
    if (d->context != NULL)
        ibv_close_device(d->context);
    memset(d, 0, sizeof(*d));
}
