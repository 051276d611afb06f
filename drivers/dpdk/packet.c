/* Frames: reading what came, and putting headers in front of what goes. */
#include "drivers/dpdk/packet.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define IPV4_FRAGMENT_MASK 0x3fff /* more fragments, or an offset */
#define IPV4_DONT_FRAGMENT 0x4000
#define HOPS               64

/* Places in an IPv4 and an IPv6 header, and in UDP's. */
#define V4_TOTAL_BYTES   2
#define V4_FRAGMENT      6
#define V4_HOPS          8
#define V4_PROTOCOL      9
#define V4_CHECKSUM      10
#define V4_SOURCE        12
#define V4_TARGET        16
#define V6_PAYLOAD_BYTES 4
#define V6_PROTOCOL      6
#define V6_HOPS          7
#define V6_SOURCE        8
#define V6_TARGET        24
#define UDP_TARGET       2
#define UDP_TOTAL_BYTES  4
#define UDP_CHECKSUM     6

bool tr_ip_same_network(const struct tr_ip *a, const struct tr_ip *b, uint32_t prefix_bits)
{
    bool is_v4 = tr_ip_is_v4(a);
    const uint8_t *x = tr_ip_bytes(a) + (is_v4 ? 12 : 0);
    const uint8_t *y = tr_ip_bytes(b) + (is_v4 ? 12 : 0);
    uint32_t whole = tr_min_u32(prefix_bits, is_v4 ? 32 : 128) / 8;
    uint32_t rest = tr_min_u32(prefix_bits, is_v4 ? 32 : 128) % 8;
    if (is_v4 != tr_ip_is_v4(b) || memcmp(x, y, whole) != 0)
        return false;
    return rest == 0 || ((x[whole] ^ y[whole]) >> (8 - rest)) == 0;
}

bool tr_endpoint_parse(const char *text, struct tr_endpoint *out)
{
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    uint8_t bytes[16];
    unsigned long port;
    char *end;
    size_t host_bytes;
    if (colon == NULL || colon[1] < '0' || colon[1] > '9')
        return false;
    host_bytes = (size_t)(colon - text);
    port = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || port == 0 || port > UINT16_MAX || host_bytes >= sizeof(host))
        return false;
    memcpy(host, text, host_bytes);
    host[host_bytes] = '\0';
    out->port = (uint16_t)port;
    if (inet_pton(AF_INET, host, bytes) == 1) {
        out->ip = tr_ip_from_v4(bytes);
        return true;
    }
    if (host_bytes < 3 || host[0] != '[' || host[host_bytes - 1] != ']')
        return false;
    host[host_bytes - 1] = '\0';
    if (inet_pton(AF_INET6, host + 1, bytes) != 1)
        return false;
    out->ip = tr_ip_from_v6(bytes);
    return true;
}

uint64_t tr_packet_sum(const void *data, uint32_t bytes)
{
    const uint8_t *at = (const uint8_t *)data;
    uint64_t sum = 0;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        sum += (word & 0xffffffff) + (word >> 32);
    }
    if (bytes > 0) {
        uint64_t word = 0;
        memcpy(&word, at, bytes);
        sum += (word & 0xffffffff) + (word >> 32);
    }
    return sum;
}

/* A number in host order as the 16-bit word that it is on the wire. */
static uint32_t word_of(uint32_t value)
{
    return htons((uint16_t)value);
}

/* The sum of a pseudo header without the length. */
static uint64_t pseudo_sum(const uint8_t *addresses, uint32_t bytes, uint32_t protocol)
{
    return tr_packet_sum(addresses, bytes) + word_of(protocol);
}

/* Looks at a UDP header and what it says of its payload. `ip_payload_bytes` are there. */
static enum tr_packet_kind read_udp(const uint8_t *frame, uint32_t at, uint32_t ip_payload_bytes,
                                    bool is_verified, uint64_t addresses_sum, bool is_v4,
                                    struct tr_packet *out)
{
    const uint8_t *udp = frame + at;
    uint32_t total;
    if (ip_payload_bytes < TR_UDP_BYTES)
        return TR_PACKET_BAD;
    total = tr_load_be16(udp + UDP_TOTAL_BYTES);
    if (total < TR_UDP_BYTES || total > ip_payload_bytes)
        return TR_PACKET_BAD;
    if (!is_verified) {
        bool has_none = udp[UDP_CHECKSUM] == 0 && udp[UDP_CHECKSUM + 1] == 0;
        if (has_none && !is_v4)
            return TR_PACKET_BAD; /* RFC 8200, 8.1 */
        if (!has_none &&
            tr_packet_fold(addresses_sum + word_of(total) + tr_packet_sum(udp, total)) != 0)
            return TR_PACKET_BAD;
    }
    out->source.port = tr_load_be16(udp);
    out->target_port = tr_load_be16(udp + UDP_TARGET);
    out->payload_at = at + TR_UDP_BYTES;
    out->payload_bytes = total - TR_UDP_BYTES;
    return TR_PACKET_UDP;
}

static enum tr_packet_kind read_v4(const uint8_t *frame, uint32_t bytes,
                                   const struct tr_endpoint *own, uint32_t verified,
                                   struct tr_packet *out)
{
    const uint8_t *ip = frame + TR_ETHER_BYTES;
    uint32_t left = bytes - TR_ETHER_BYTES;
    uint32_t header, total;
    uint64_t addresses_sum = 0;
    if (left < TR_IPV4_BYTES || ip[0] >> 4 != 4)
        return TR_PACKET_BAD;
    header = (ip[0] & 15u) * 4;
    total = tr_load_be16(ip + V4_TOTAL_BYTES);
    if (header < TR_IPV4_BYTES || header > left || total < header || total > left)
        return TR_PACKET_BAD;
    if (memcmp(ip + V4_TARGET, tr_ip_bytes(&own->ip) + 12, 4) != 0 || !tr_ip_is_v4(&own->ip) ||
        ip[V4_PROTOCOL] != TR_IP_PROTOCOL_UDP)
        return TR_PACKET_OTHER;
    if ((verified & TR_PACKET_IP_GOOD) == 0 && tr_packet_fold(tr_packet_sum(ip, header)) != 0)
        return TR_PACKET_BAD;
    /* We never send fragments, and put none together. */
    if ((tr_load_be16(ip + V4_FRAGMENT) & IPV4_FRAGMENT_MASK) != 0)
        return TR_PACKET_BAD;
    if ((verified & TR_PACKET_UDP_GOOD) == 0)
        addresses_sum = pseudo_sum(ip + V4_SOURCE, 8, TR_IP_PROTOCOL_UDP);
    out->source.ip = tr_ip_from_v4(ip + V4_SOURCE);
    return read_udp(frame, TR_ETHER_BYTES + header, total - header,
                    (verified & TR_PACKET_UDP_GOOD) != 0, addresses_sum, true, out);
}

static enum tr_packet_kind read_v6(const uint8_t *frame, uint32_t bytes,
                                   const struct tr_endpoint *own, uint32_t verified,
                                   struct tr_packet *out)
{
    const uint8_t *ip = frame + TR_ETHER_BYTES;
    uint32_t left = bytes - TR_ETHER_BYTES;
    uint32_t payload;
    uint64_t addresses_sum = 0;
    if (left < TR_IPV6_BYTES || ip[0] >> 4 != 6)
        return TR_PACKET_BAD;
    payload = tr_load_be16(ip + V6_PAYLOAD_BYTES);
    if (payload > left - TR_IPV6_BYTES)
        return TR_PACKET_BAD;
    if (ip[V6_PROTOCOL] == TR_IP_PROTOCOL_ICMPV6)
        return TR_PACKET_NEIGHBOUR;
    /* Extension headers are nobody's that sends to this port. */
    if ((frame[0] & 1) != 0 || memcmp(ip + V6_TARGET, tr_ip_bytes(&own->ip), 16) != 0 ||
        ip[V6_PROTOCOL] != TR_IP_PROTOCOL_UDP)
        return TR_PACKET_OTHER;
    if ((verified & TR_PACKET_UDP_GOOD) == 0)
        addresses_sum = pseudo_sum(ip + V6_SOURCE, 32, TR_IP_PROTOCOL_UDP);
    out->source.ip = tr_ip_from_v6(ip + V6_SOURCE);
    /* Else it would be taken for IPv4's (RFC 4291, 2.5.5.2: it is none on the wire). */
    if (tr_ip_is_v4(&out->source.ip))
        return TR_PACKET_BAD;
    return read_udp(frame, TR_ETHER_BYTES + TR_IPV6_BYTES, payload,
                    (verified & TR_PACKET_UDP_GOOD) != 0, addresses_sum, false, out);
}

enum tr_packet_kind tr_packet_read(const uint8_t *frame, uint32_t bytes,
                                   const struct tr_endpoint *own, uint32_t verified,
                                   struct tr_packet *out)
{
    uint32_t type;
    if (bytes < TR_ETHER_BYTES)
        return TR_PACKET_BAD;
    type = tr_load_be16(frame + 12);
    if (type == TR_ETHER_TYPE_ARP)
        return TR_PACKET_NEIGHBOUR;
    if (memcmp(frame, own->mac.byte, sizeof(own->mac.byte)) != 0 &&
        !(type == TR_ETHER_TYPE_IPV6 && (frame[0] & 1) != 0))
        return TR_PACKET_OTHER;
    memcpy(out->source.mac.byte, frame + 6, 6);
    if (type == TR_ETHER_TYPE_IPV4)
        return read_v4(frame, bytes, own, verified, out);
    if (type == TR_ETHER_TYPE_IPV6)
        return read_v6(frame, bytes, own, verified, out);
    return TR_PACKET_OTHER;
}

static void make_v4(struct tr_packet_front *front, const struct tr_endpoint *from,
                    const struct tr_endpoint *to)
{
    uint8_t *ip = front->bytes + TR_ETHER_BYTES;
    tr_store_be16(front->bytes + 12, TR_ETHER_TYPE_IPV4);
    ip[0] = 0x45;
    tr_store_be16(ip + V4_FRAGMENT, IPV4_DONT_FRAGMENT);
    ip[V4_HOPS] = HOPS;
    ip[V4_PROTOCOL] = TR_IP_PROTOCOL_UDP;
    memcpy(ip + V4_SOURCE, tr_ip_bytes(&from->ip) + 12, 4);
    memcpy(ip + V4_TARGET, tr_ip_bytes(&to->ip) + 12, 4);
    front->header_bytes = TR_PACKET_HEADERS_V4;
    front->ip_sum = (uint16_t)~tr_packet_fold(tr_packet_sum(ip, TR_IPV4_BYTES));
    front->pseudo_sum =
        (uint16_t)~tr_packet_fold(pseudo_sum(ip + V4_SOURCE, 8, TR_IP_PROTOCOL_UDP));
}

static void make_v6(struct tr_packet_front *front, const struct tr_endpoint *from,
                    const struct tr_endpoint *to)
{
    uint8_t *ip = front->bytes + TR_ETHER_BYTES;
    uint64_t sum;
    tr_store_be16(front->bytes + 12, TR_ETHER_TYPE_IPV6);
    ip[0] = 0x60;
    ip[V6_PROTOCOL] = TR_IP_PROTOCOL_UDP;
    ip[V6_HOPS] = HOPS;
    memcpy(ip + V6_SOURCE, tr_ip_bytes(&from->ip), 16);
    memcpy(ip + V6_TARGET, tr_ip_bytes(&to->ip), 16);
    front->header_bytes = TR_PACKET_HEADERS_V6;
    sum = pseudo_sum(ip + V6_SOURCE, 32, TR_IP_PROTOCOL_UDP);
    front->pseudo_sum = (uint16_t)~tr_packet_fold(sum);
}

void tr_packet_front_make(struct tr_packet_front *front, const struct tr_endpoint *from,
                          const struct tr_endpoint *to, bool is_padded)
{
    bool is_v4 = tr_ip_is_v4(&to->ip);
    uint8_t *udp;
    memset(front, 0, sizeof(*front));
    memcpy(front->bytes, to->mac.byte, 6);
    memcpy(front->bytes + 6, from->mac.byte, 6);
    if (is_v4)
        make_v4(front, from, to);
    else
        make_v6(front, from, to);
    udp = front->bytes + front->header_bytes - TR_UDP_BYTES;
    tr_store_be16(udp, from->port);
    tr_store_be16(udp + UDP_TARGET, to->port);
    front->udp_sum = (uint16_t)~tr_packet_fold((uint64_t)front->pseudo_sum + word_of(from->port) +
                                               word_of(to->port));
    if (is_padded) {
        front->pad_bytes = is_v4 ? TR_PACKET_PAD_V4 : TR_PACKET_PAD_V6;
        tr_store_le16(udp + TR_UDP_BYTES, TR_PACKET_PAD_MARK);
    }
}

/* What stands in the UDP header's checksum: 0 means none, so that 0 is sent as its other form. */
static uint16_t udp_checksum(const uint8_t *udp, const struct tr_packet_front *front,
                             uint32_t udp_bytes)
{
    /* The length counts twice: in the pseudo header and in UDP's own. */
    uint64_t sum = (uint64_t)front->udp_sum + 2 * (uint64_t)word_of(udp_bytes) +
                   tr_packet_sum(udp + TR_UDP_BYTES, udp_bytes - TR_UDP_BYTES);
    uint16_t checksum = tr_packet_fold(sum);
    return checksum != 0 ? checksum : 0xffff;
}

uint32_t tr_packet_finish(uint8_t *frame, const struct tr_packet_front *front,
                          uint32_t payload_bytes, enum tr_packet_checksum checksum)
{
    uint32_t front_bytes = tr_packet_front_bytes(front);
    uint32_t udp_bytes = TR_UDP_BYTES + front->pad_bytes + payload_bytes;
    uint8_t *ip = frame + TR_ETHER_BYTES;
    uint8_t *udp = frame + front->header_bytes - TR_UDP_BYTES;
    memcpy(frame, front->bytes, front_bytes);
    tr_store_be16(udp + UDP_TOTAL_BYTES, udp_bytes);
    if (front->header_bytes == TR_PACKET_HEADERS_V4) {
        uint32_t total = TR_IPV4_BYTES + udp_bytes;
        tr_store_be16(ip + V4_TOTAL_BYTES, total);
        if (checksum != TR_PACKET_CHECKSUM_DEVICE) {
            uint16_t sum = tr_packet_fold((uint64_t)front->ip_sum + word_of(total));
            memcpy(ip + V4_CHECKSUM, &sum, 2);
        }
    } else {
        tr_store_be16(ip + V6_PAYLOAD_BYTES, udp_bytes);
        if (checksum == TR_PACKET_CHECKSUM_NONE)
            checksum = TR_PACKET_CHECKSUM_HERE; /* IPv6 has no other integrity */
    }
    if (checksum == TR_PACKET_CHECKSUM_DEVICE) {
        /* What devices begin with, IPv4's own checksum being 0. */
        uint16_t sum = (uint16_t)~tr_packet_fold((uint64_t)front->pseudo_sum + word_of(udp_bytes));
        memcpy(udp + UDP_CHECKSUM, &sum, 2);
    }
    if (checksum == TR_PACKET_CHECKSUM_HERE) {
        uint16_t sum = udp_checksum(udp, front, udp_bytes);
        memcpy(udp + UDP_CHECKSUM, &sum, 2);
    }
    return front_bytes + payload_bytes;
}
