/* ARP and neighbour discovery, as bytes. */
#include "drivers/dpdk/neighbour.h"

#include <arpa/inet.h>

#define ARP_BYTES   28
#define ARP_REQUEST 1
#define ARP_ANSWER  2

/* Places in an ARP packet. */
#define ARP_OPERATION  6
#define ARP_SENDER_MAC 8
#define ARP_SENDER_IP  14
#define ARP_TARGET_MAC 18
#define ARP_TARGET_IP  24

#define ND_SOLICITATION  135
#define ND_ADVERTISEMENT 136
#define ND_BYTES         24 /* type, code, checksum, flags, target */
#define ND_TARGET        8
#define ND_OPTION_BYTES  8
#define ND_SOURCE_MAC    1
#define ND_TARGET_MAC    2
#define ND_HOPS          255
#define ND_OPTIONS_MAX   16
/* Solicited, override: RFC 4861, 4.4. */
#define ND_FLAGS 0x60

#define ND_AT (TR_ETHER_BYTES + TR_IPV6_BYTES)

static const uint8_t arp_begin[6] = {0, 1, 8, 0, 6, 4}; /* Ethernet, IPv4, their lengths */

/* An address that a host can have: not a group's, not zero. */
static bool is_unicast(const struct tr_mac *mac)
{
    static const struct tr_mac zero;
    return (mac->byte[0] & 1) == 0 && !tr_mac_equal(mac, &zero);
}

static bool read_arp(const uint8_t *frame, uint32_t bytes, const struct tr_endpoint *own,
                     struct tr_neighbour *out)
{
    const uint8_t *arp = frame + TR_ETHER_BYTES;
    uint32_t operation;
    struct tr_ip target;
    if (bytes < TR_ETHER_BYTES + ARP_BYTES || memcmp(arp, arp_begin, sizeof(arp_begin)) != 0)
        return false;
    operation = tr_load_be16(arp + ARP_OPERATION);
    if (operation != ARP_REQUEST && operation != ARP_ANSWER)
        return false;
    out->is_request = operation == ARP_REQUEST;
    memcpy(out->mac.byte, arp + ARP_SENDER_MAC, 6);
    out->sender = tr_ip_from_v4(arp + ARP_SENDER_IP);
    target = tr_ip_from_v4(arp + ARP_TARGET_IP);
    out->target = out->is_request ? target : out->sender;
    return is_unicast(&out->mac) && tr_ip_equal(&target, &own->ip) &&
           !tr_ip_equal(&out->sender, &own->ip);
}

/* Finds the option with an Ethernet address. Options of length 0 make the packet void. */
static bool find_mac(const uint8_t *options, uint32_t bytes, uint8_t type, struct tr_mac *out)
{
    for (uint32_t i = 0; i < ND_OPTIONS_MAX && bytes >= ND_OPTION_BYTES; i++) {
        uint32_t length = options[1] * 8u;
        if (length == 0 || length > bytes)
            return false;
        if (options[0] == type && length == ND_OPTION_BYTES) {
            memcpy(out->byte, options + 2, 6);
            return is_unicast(out);
        }
        options += length;
        bytes -= length;
    }
    return false;
}

/* The sum over an ICMPv6 message and its pseudo header. */
static uint64_t icmp_sum(const uint8_t *ip, const uint8_t *icmp, uint32_t bytes)
{
    return tr_packet_sum(ip + 8, 32) + htons((uint16_t)bytes) + htons(TR_IP_PROTOCOL_ICMPV6) +
           tr_packet_sum(icmp, bytes);
}

static bool read_nd(const uint8_t *frame, uint32_t bytes, const struct tr_endpoint *own,
                    struct tr_neighbour *out)
{
    const uint8_t *ip = frame + TR_ETHER_BYTES;
    const uint8_t *icmp = frame + ND_AT;
    uint32_t payload;
    if (bytes < ND_AT + ND_BYTES || ip[6] != TR_IP_PROTOCOL_ICMPV6 || ip[7] != ND_HOPS)
        return false;
    payload = tr_load_be16(ip + 4);
    if (payload < ND_BYTES || payload > bytes - ND_AT || icmp[1] != 0 ||
        (icmp[0] != ND_SOLICITATION && icmp[0] != ND_ADVERTISEMENT) ||
        tr_packet_fold(icmp_sum(ip, icmp, payload)) != 0)
        return false;
    out->is_request = icmp[0] == ND_SOLICITATION;
    out->target = tr_ip_from_v6(icmp + ND_TARGET);
    /* What an advertisement says is of its target; its source may be another address of the host.
     */
    out->sender = out->is_request ? tr_ip_from_v6(ip + 8) : out->target;
    if (tr_ip_is_v4(&out->target) || tr_ip_is_v4(&out->sender) ||
        tr_ip_equal(&out->sender, &own->ip) ||
        (out->is_request && !tr_ip_equal(&out->target, &own->ip)))
        return false;
    return find_mac(icmp + ND_BYTES, payload - ND_BYTES,
                    out->is_request ? ND_SOURCE_MAC : ND_TARGET_MAC, &out->mac);
}

bool tr_neighbour_read(const uint8_t *frame, uint32_t bytes, const struct tr_endpoint *own,
                       struct tr_neighbour *out)
{
    uint32_t type = bytes >= TR_ETHER_BYTES ? tr_load_be16(frame + 12) : 0;
    if (type == TR_ETHER_TYPE_ARP && tr_ip_is_v4(&own->ip))
        return read_arp(frame, bytes, own, out);
    if (type == TR_ETHER_TYPE_IPV6 && !tr_ip_is_v4(&own->ip))
        return read_nd(frame, bytes, own, out);
    return false;
}

static uint32_t write_arp(uint8_t *frame, const struct tr_endpoint *own, uint16_t operation,
                          const struct tr_mac *to, const struct tr_ip *ip)
{
    static const struct tr_mac everybody = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
    uint8_t *arp = frame + TR_ETHER_BYTES;
    memset(frame, 0, TR_NEIGHBOUR_BYTES_MAX);
    memcpy(frame, to != NULL ? to->byte : everybody.byte, 6);
    memcpy(frame + 6, own->mac.byte, 6);
    tr_store_be16(frame + 12, TR_ETHER_TYPE_ARP);
    memcpy(arp, arp_begin, sizeof(arp_begin));
    tr_store_be16(arp + ARP_OPERATION, operation);
    memcpy(arp + ARP_SENDER_MAC, own->mac.byte, 6);
    memcpy(arp + ARP_SENDER_IP, tr_ip_bytes(&own->ip) + 12, 4);
    if (to != NULL)
        memcpy(arp + ARP_TARGET_MAC, to->byte, 6);
    memcpy(arp + ARP_TARGET_IP, tr_ip_bytes(ip) + 12, 4);
    return 60; /* the least that Ethernet carries, its checksum not counted */
}

/* Completes an ICMPv6 message of ND_BYTES and one option, from our address to another. */
static uint32_t finish_nd(uint8_t *frame, const struct tr_endpoint *own, const uint8_t *to)
{
    uint8_t *ip = frame + TR_ETHER_BYTES;
    uint8_t *icmp = frame + ND_AT;
    uint32_t bytes = ND_BYTES + ND_OPTION_BYTES;
    uint16_t checksum;
    memcpy(frame + 6, own->mac.byte, 6);
    tr_store_be16(frame + 12, TR_ETHER_TYPE_IPV6);
    ip[0] = 0x60;
    tr_store_be16(ip + 4, bytes);
    ip[6] = TR_IP_PROTOCOL_ICMPV6;
    ip[7] = ND_HOPS;
    memcpy(ip + 8, tr_ip_bytes(&own->ip), 16);
    memcpy(ip + 24, to, 16);
    icmp[ND_BYTES + 1] = 1; /* the option's length, in units of 8 bytes */
    memcpy(icmp + ND_BYTES + 2, own->mac.byte, 6);
    checksum = tr_packet_fold(icmp_sum(ip, icmp, bytes));
    memcpy(icmp + 2, &checksum, 2);
    return ND_AT + bytes;
}

uint32_t tr_neighbour_ask(uint8_t *frame, const struct tr_endpoint *own, const struct tr_ip *target)
{
    static const uint8_t group_begin[13] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
    const uint8_t *whom = tr_ip_bytes(target);
    uint8_t group[16];
    if (tr_ip_is_v4(&own->ip))
        return write_arp(frame, own, ARP_REQUEST, NULL, target);
    memset(frame, 0, TR_NEIGHBOUR_BYTES_MAX);
    memcpy(group, group_begin, sizeof(group_begin));
    memcpy(group + 13, whom + 13, 3);
    frame[0] = 0x33;
    frame[1] = 0x33;
    memcpy(frame + 2, group + 12, 4);
    frame[ND_AT] = ND_SOLICITATION;
    memcpy(frame + ND_AT + ND_TARGET, whom, 16);
    frame[ND_AT + ND_BYTES] = ND_SOURCE_MAC;
    return finish_nd(frame, own, group);
}

uint32_t tr_neighbour_answer(uint8_t *frame, const struct tr_endpoint *own,
                             const struct tr_neighbour *request)
{
    if (tr_ip_is_v4(&own->ip))
        return write_arp(frame, own, ARP_ANSWER, &request->mac, &request->sender);
    memset(frame, 0, TR_NEIGHBOUR_BYTES_MAX);
    memcpy(frame, request->mac.byte, 6);
    frame[ND_AT] = ND_ADVERTISEMENT;
    frame[ND_AT + 4] = ND_FLAGS;
    memcpy(frame + ND_AT + ND_TARGET, tr_ip_bytes(&own->ip), 16);
    frame[ND_AT + ND_BYTES] = ND_TARGET_MAC;
    return finish_nd(frame, own, tr_ip_bytes(&request->sender));
}
