/* What a device can do to fence a ring, found by doing it on a connection to itself.
 *
 * A window or a flag that is taken away must refuse the next WRITE, and be told apart from a WRITE
 * that was allowed. Whatever a device claims, what it fails here it is not trusted with. */
#include "drivers/verbs/inner.h"

#include <errno.h>

#define PROBE_NS  UINT64_C(2000000000)
#define READS_MAX 4 /* under way; the queue holds twice as many */

static int loop_make(struct tr_port *port)
{
    struct tr_verbs_device *d = &port->device;
    struct ibv_qp_cap cap = {
        .max_send_wr = 8, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1};
    d->loop_memory = tr_verbs_take(port, 4096, 4096);
    if (d->loop_memory == NULL)
        return TR_ENOMEM;
    d->loop_cq = ibv_create_cq(d->context, 16, NULL, NULL, 0);
    int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;
    if ((d->attr.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B) != 0)
        access |= IBV_ACCESS_MW_BIND;
    d->loop_mr = ibv_reg_mr(d->pd, d->loop_memory, 4096, access);
    if (d->loop_cq == NULL || d->loop_mr == NULL)
        return TR_ENOMEM;
    d->loop = tr_verbs_qp_create(port, d->pd, d->loop_cq, d->loop_cq, &cap);
    return d->loop != NULL ? TR_OK : TR_ENOMEM;
}

/* (Re)connects the connection to itself. */
static int loop_connect(struct tr_port *port)
{
    struct tr_verbs_device *d = &port->device;
    struct ibv_wc wc;
    uint32_t psn = tr_verbs_psn(port);
    int result = tr_verbs_qp_reset(d->loop);
    while (ibv_poll_cq(d->loop_cq, 1, &wc) > 0) {
    }
    if (result == 0)
        result =
            tr_verbs_qp_connect(port, d->loop, IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ,
                                &d->path, d->loop->qp_num, psn, psn);
    return result == 0 ? TR_OK : TR_EIO;
}

/* Posts one request and waits for its end. Returns: its status; IBV_WC_GENERAL_ERR where there was
 * none. */
static enum ibv_wc_status loop_do(struct tr_verbs_device *d, struct ibv_send_wr *request)
{
    struct ibv_send_wr *bad;
    struct ibv_wc wc;
    uint64_t end_ns = tr_verbs_now_ns() + PROBE_NS;
    request->send_flags |= IBV_SEND_SIGNALED;
    if (ibv_post_send(d->loop, request, &bad) != 0)
        return IBV_WC_GENERAL_ERR;
    do {
        if (ibv_poll_cq(d->loop_cq, 1, &wc) > 0)
            return wc.status;
    } while (tr_verbs_now_ns() < end_ns);
    return IBV_WC_GENERAL_ERR;
}

/* WRITEs a value into the second word. */
static enum ibv_wc_status loop_write(struct tr_verbs_device *d, uint32_t rkey, uint64_t value)
{
    struct ibv_sge sge = {(uintptr_t)d->loop_memory, 8, d->loop_mr->lkey};
    struct ibv_send_wr write = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE};
    d->loop_memory[0] = value;
    write.wr.rdma.remote_addr = (uintptr_t)(d->loop_memory + 1);
    write.wr.rdma.rkey = rkey;
    return loop_do(d, &write);
}

static uint64_t second_word(const struct tr_verbs_device *d)
{
    return tr_load_acquire(d->loop_memory + 1);
}

static bool was_refused(enum ibv_wc_status status)
{
    return status == IBV_WC_REM_INV_REQ_ERR || status == IBV_WC_REM_ACCESS_ERR;
}

/* A type-2 window: bound, written through, invalidated, refused. */
static bool probe_window(struct tr_port *port)
{
    struct tr_verbs_device *d = &port->device;
    if ((d->attr.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B) == 0 ||
        loop_connect(port) != TR_OK)
        return false;
    struct ibv_mw *mw = ibv_alloc_mw(d->pd, IBV_MW_TYPE_2);
    if (mw == NULL)
        return false;
    struct ibv_send_wr bind = {.opcode = IBV_WR_BIND_MW};
    bind.bind_mw.mw = mw;
    bind.bind_mw.rkey = ibv_inc_rkey(mw->rkey);
    bind.bind_mw.bind_info.mr = d->loop_mr;
    bind.bind_mw.bind_info.addr = (uintptr_t)d->loop_memory;
    bind.bind_mw.bind_info.length = 4096;
    bind.bind_mw.bind_info.mw_access_flags = IBV_ACCESS_REMOTE_WRITE;
    struct ibv_send_wr invalidate = {.opcode = IBV_WR_LOCAL_INV};
    invalidate.invalidate_rkey = bind.bind_mw.rkey;
    bool works = loop_do(d, &bind) == IBV_WC_SUCCESS &&
                 loop_write(d, bind.bind_mw.rkey, 1) == IBV_WC_SUCCESS && second_word(d) == 1 &&
                 loop_do(d, &invalidate) == IBV_WC_SUCCESS &&
                 was_refused(loop_write(d, bind.bind_mw.rkey, 2)) && second_word(d) == 1;
    ibv_dealloc_mw(mw);
    return works;
}

/* The access flags of a connection, taken away while it stands. */
static bool probe_access(struct tr_port *port)
{
    struct tr_verbs_device *d = &port->device;
    struct ibv_qp_attr attr = {.qp_access_flags = 0};
    return loop_connect(port) == TR_OK && loop_write(d, d->loop_mr->rkey, 3) == IBV_WC_SUCCESS &&
           second_word(d) == 3 && ibv_modify_qp(d->loop, &attr, IBV_QP_ACCESS_FLAGS) == 0 &&
           was_refused(loop_write(d, d->loop_mr->rkey, 4)) && second_word(d) == 3;
}

/* What every device can do: a connection that is reset answers nothing. */
static bool probe_reset(struct tr_port *port)
{
    struct tr_verbs_device *d = &port->device;
    return loop_connect(port) == TR_OK && loop_write(d, d->loop_mr->rkey, 5) == IBV_WC_SUCCESS &&
           second_word(d) == 5 && loop_connect(port) == TR_OK;
}

static const char *const fence_names[] = {"auto", "window", "access", "reset"};
static const char *const settle_names[] = {"auto", "read", "grace"};

static int index_of(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return -1;
}

/* What was asked for, or the first that works. Returns: FENCE_AUTO when none does. */
static enum tr_verbs_fence choose(struct tr_port *port, enum tr_verbs_fence asked)
{
    if ((asked == FENCE_AUTO || asked == FENCE_WINDOW) && probe_window(port))
        return FENCE_WINDOW;
    if ((asked == FENCE_AUTO || asked == FENCE_ACCESS) && probe_access(port))
        return FENCE_ACCESS;
    if ((asked == FENCE_AUTO || asked == FENCE_RESET) && probe_reset(port))
        return FENCE_RESET;
    return FENCE_AUTO;
}

static void describe(const struct tr_port *port, const struct tr_port_options *options)
{
    const struct tr_verbs_device *d = &port->device;
    tr_explain(options->error, options->error_bytes,
               "verbs: %s port %u, GID %u (%s), fence by %s settled by %s, inline %u bytes, %u "
               "pieces a write, %s in order",
               ibv_get_device_name(d->context->device), d->port, d->gid_index,
               d->path.is_ethernet ? "RoCE v2" : "InfiniBand", fence_names[d->fence],
               settle_names[d->settle], d->inline_max, d->sge_max,
               d->in_order > 0 ? "data is written" : "data is not known to be written");
}

int tr_verbs_probe(struct tr_port *port, const struct tr_port_options *options)
{
    struct tr_verbs_device *d = &port->device;
    int fence = index_of(fence_names, 4, port->extra.fence);
    int settle = index_of(settle_names, 3, port->extra.settle);
    if (fence < 0 || settle < 0) {
        tr_explain(options->error, options->error_bytes,
                   "verbs: fence=%s settle=%s: fence is auto, window, access or reset; settle is "
                   "auto, read or grace",
                   port->extra.fence, port->extra.settle);
        return TR_EINVAL;
    }
    int result = loop_make(port);
    if (result != TR_OK) {
        tr_explain(options->error, options->error_bytes,
                   "verbs: %s cannot register memory or make a connection: %s (is the limit of "
                   "locked memory, ulimit -l, high enough?)",
                   ibv_get_device_name(d->context->device), strerror(errno));
        return result;
    }
    d->fence = choose(port, (enum tr_verbs_fence)fence);
    if (d->fence == FENCE_AUTO) {
        tr_explain(options->error, options->error_bytes,
                   "verbs: %s does not refuse a WRITE that was forbidden (fence=%s)",
                   ibv_get_device_name(d->context->device), port->extra.fence);
        return TR_ENOTSUP;
    }
    d->settle = settle != SETTLE_AUTO ? (enum tr_verbs_settle)settle
                : d->is_software      ? SETTLE_GRACE
                                      : SETTLE_READ;
    d->in_order = ibv_query_qp_data_in_order(d->loop, IBV_WR_RDMA_WRITE, 0);
    if (loop_connect(port) != TR_OK)
        return TR_EIO;
    describe(port, options);
    return TR_OK;
}

uint64_t tr_verbs_read_begin(struct tr_port *port)
{
    struct tr_verbs_device *d = &port->device;
    struct ibv_sge sge = {(uintptr_t)d->loop_memory, 8, d->loop_mr->lkey};
    struct ibv_send_wr read = {
        .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_READ, .send_flags = IBV_SEND_SIGNALED};
    struct ibv_send_wr *bad;
    read.wr.rdma.remote_addr = (uintptr_t)(d->loop_memory + 1);
    read.wr.rdma.rkey = d->loop_mr->rkey;
    if (d->reads - d->reads_ended >= READS_MAX || ibv_post_send(d->loop, &read, &bad) != 0)
        return 0;
    return ++d->reads;
}

int tr_verbs_read_ended(struct tr_port *port, uint64_t number)
{
    struct tr_verbs_device *d = &port->device;
    struct ibv_wc wc;
    while (d->reads_ended < d->reads && ibv_poll_cq(d->loop_cq, 1, &wc) > 0) {
        if (wc.status == IBV_WC_SUCCESS) {
            d->reads_ended++;
            continue;
        }
        d->reads_ended = d->reads_void = d->reads; /* none of those under way proves anything */
        loop_connect(port);
    }
    if (number <= d->reads_void)
        return TR_EIO;
    return number <= d->reads_ended ? TR_OK : TR_AGAIN;
}
