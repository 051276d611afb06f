/* Rules, and ports by which a hash lands where it should. */
#include "drivers/dpdk/steering.h"

#include <rte_byteorder.h>
#include <rte_thash.h>
#include <stdio.h>

/* Where ports begin that no service has (RFC 6335). */
#define PORT_DYNAMIC 49152

const struct tr_steering_operations tr_steering_rte_flow = {
    .validate = rte_flow_validate,
    .create = rte_flow_create,
    .destroy = rte_flow_destroy,
};

/* The key of Microsoft's document, as devices have it by default, and more bytes for those that
 * take more. */
static const uint8_t hash_key[TR_STEERING_KEY_BYTES] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43,
    0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb,
    0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01,
    0xfa, 0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d,
};

const uint8_t *tr_steering_key(void)
{
    return hash_key;
}

const char *tr_steering_name(enum tr_steering_kind kind)
{
    switch (kind) {
    case TR_STEERING_NONE:
        return "one queue";
    case TR_STEERING_RULES:
        return "by rules of the device (rte_flow)";
    case TR_STEERING_HASH:
        return "by the device's hash (RSS)";
    case TR_STEERING_SOFTWARE:
        return "by software";
    }
    return "?";
}

/* The rule of one queue, and what it consists of. */
struct rule {
    struct rte_flow_attr attributes;
    struct rte_flow_item_udp udp, udp_mask;
    struct rte_flow_item pattern[4];
    struct rte_flow_action_queue queue;
    struct rte_flow_action actions[2];
};

static void make_rule(struct rule *r, bool is_v4, uint16_t port, uint16_t queue)
{
    *r = (struct rule){.attributes.ingress = 1, .queue.index = queue};
    r->udp.hdr.dst_port = rte_cpu_to_be_16(port);
    r->udp_mask.hdr.dst_port = 0xffff;
    r->pattern[0].type = RTE_FLOW_ITEM_TYPE_ETH;
    r->pattern[1].type = is_v4 ? RTE_FLOW_ITEM_TYPE_IPV4 : RTE_FLOW_ITEM_TYPE_IPV6;
    r->pattern[2].type = RTE_FLOW_ITEM_TYPE_UDP;
    r->pattern[2].spec = &r->udp;
    r->pattern[2].mask = &r->udp_mask;
    r->pattern[3].type = RTE_FLOW_ITEM_TYPE_END;
    r->actions[0].type = RTE_FLOW_ACTION_TYPE_QUEUE;
    r->actions[0].conf = &r->queue;
    r->actions[1].type = RTE_FLOW_ACTION_TYPE_END;
}

bool tr_steering_install(struct tr_steering_rules *rules,
                         const struct tr_steering_operations *operations, uint16_t device,
                         const struct tr_endpoint *own, uint16_t queue_count, char *why,
                         size_t why_bytes)
{
    *rules = (struct tr_steering_rules){.operations = operations, .device = device};
    for (uint16_t q = 0; q < queue_count; q++) {
        struct rte_flow_error error = {.message = NULL};
        struct rule rule;
        make_rule(&rule, tr_ip_is_v4(&own->ip), (uint16_t)(own->port + q), q);
        if (operations->validate(device, &rule.attributes, rule.pattern, rule.actions, &error) == 0)
            rules->flow[q] =
                operations->create(device, &rule.attributes, rule.pattern, rule.actions, &error);
        if (rules->flow[q] == NULL) {
            snprintf(why, why_bytes, "%s", error.message != NULL ? error.message : "no reason");
            tr_steering_remove(rules);
            return false;
        }
        rules->count = (uint16_t)(q + 1);
    }
    return true;
}

void tr_steering_remove(struct tr_steering_rules *rules)
{
    while (rules->count > 0) {
        struct rte_flow_error error;
        rules->count--;
        rules->operations->destroy(rules->device, rules->flow[rules->count], &error);
        rules->flow[rules->count] = NULL;
    }
}

uint32_t tr_steering_hash(const struct tr_endpoint *from, const struct tr_endpoint *to)
{
    uint32_t words[9];
    uint32_t count = 0;
    bool is_v4 = tr_ip_is_v4(&to->ip);
    uint32_t bytes = is_v4 ? 4 : 16;
    const struct tr_ip *ends[2] = {&from->ip, &to->ip};
    for (uint32_t i = 0; i < 2; i++) {
        const uint8_t *ip = tr_ip_bytes(ends[i]) + (16 - bytes);
        for (uint32_t at = 0; at < bytes; at += 4)
            words[count++] = (uint32_t)tr_load_be16(ip + at) << 16 | tr_load_be16(ip + at + 2);
    }
    words[count++] = (uint32_t)from->port << 16 | to->port;
    return rte_softrss(words, count, hash_key);
}

uint16_t tr_steering_source_port(const struct tr_endpoint *from, const struct tr_endpoint *to,
                                 uint32_t queue, uint32_t queue_count)
{
    struct tr_endpoint candidate = *from;
    uint32_t tried = 0;
    while (queue_count > 1 && tr_steering_hash(&candidate, to) % queue_count != queue &&
           tried < 65536 - PORT_DYNAMIC)
        candidate.port = (uint16_t)(PORT_DYNAMIC + tried++);
    return candidate.port;
}
