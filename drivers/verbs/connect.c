/* Reliable connections: making them, and bringing them from state to state. */
#include "drivers/verbs/inner.h"

/* Source: IBA 1.3, 9.7.5.2.8: 7 means for ever on some devices. */
#define RNR_RETRIES    6
#define RNR_TIMER      12 /* 0.64 ms: slots are always there, so it should never be waited for */
#define READS_UNDERWAY 1

struct ibv_qp *tr_verbs_qp_create(struct tr_port *port, struct ibv_pd *pd, struct ibv_cq *cq_send,
                                  struct ibv_cq *cq_recv, const struct ibv_qp_cap *cap)
{
    struct ibv_qp_init_attr init = {.send_cq = cq_send,
                                    .recv_cq = cq_recv,
                                    .cap = *cap,
                                    .qp_type = IBV_QPT_RC,
                                    .sq_sig_all = 0};
    (void)port;
    return ibv_create_qp(pd, &init);
}

int tr_verbs_qp_reset(struct ibv_qp *qp)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RESET};
    return ibv_modify_qp(qp, &attr, IBV_QP_STATE);
}

static int to_init(struct tr_port *port, struct ibv_qp *qp, int access)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT,
                               .port_num = port->device.port,
                               .qp_access_flags = (unsigned)access};
    return ibv_modify_qp(qp, &attr,
                         IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

/* Ready to receive. Over Ethernet there is always a global route; over InfiniBand where the subnets
 * differ, or when grh=on asks for it. */
static int to_receive(struct tr_port *port, struct ibv_qp *qp, const struct tr_verbs_path *path,
                      uint32_t qpn, uint32_t psn)
{
    const struct tr_verbs_path *own = &port->device.path;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTR,
                               .path_mtu = (enum ibv_mtu)tr_min_u32(own->mtu, path->mtu),
                               .dest_qp_num = qpn,
                               .rq_psn = psn,
                               .max_dest_rd_atomic = READS_UNDERWAY,
                               .min_rnr_timer = RNR_TIMER};
    attr.ah_attr.port_num = port->device.port;
    attr.ah_attr.dlid = path->lid;
    attr.ah_attr.is_global =
        own->is_ethernet || port->extra.grh || memcmp(own->gid, path->gid, 8) != 0;
    if (attr.ah_attr.is_global) {
        memcpy(attr.ah_attr.grh.dgid.raw, path->gid, 16);
        attr.ah_attr.grh.sgid_index = port->device.gid_index;
        attr.ah_attr.grh.hop_limit = 64;
    }
    return ibv_modify_qp(qp, &attr,
                         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                             IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
}

static int to_send(struct tr_port *port, struct ibv_qp *qp, uint32_t psn)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS,
                               .sq_psn = psn,
                               .timeout = (uint8_t)port->extra.ack_timeout,
                               .retry_cnt = (uint8_t)port->extra.retries,
                               .rnr_retry = RNR_RETRIES,
                               .max_rd_atomic = READS_UNDERWAY};
    return ibv_modify_qp(qp, &attr,
                         IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                             IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC);
}

int tr_verbs_qp_connect(struct tr_port *port, struct ibv_qp *qp, int access,
                        const struct tr_verbs_path *path, uint32_t qpn, uint32_t psn_in,
                        uint32_t psn_out)
{
    int result = to_init(port, qp, access);
    if (result == 0)
        result = to_receive(port, qp, path, qpn, psn_in);
    return result == 0 ? to_send(port, qp, psn_out) : result;
}

uint32_t tr_verbs_psn(struct tr_port *port)
{
    /* Source: xorshift64, Marsaglia. It need not be secret, only seldom the same. */
    port->random ^= port->random << 13;
    port->random ^= port->random >> 7;
    port->random ^= port->random << 17;
    return (uint32_t)(port->random >> 20) & 0xffffffu;
}
