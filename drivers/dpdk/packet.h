/* Ethernet, IPv4, IPv6 and UDP headers: read from frames that anybody may have sent, and built in
 * place in front of a payload. Functions of bytes alone: no device is known here.
 *
 * Payloads are to lie on 8 bytes, and the headers (42 or 62 bytes) do not leave them there. A
 * sender that knows its receiver to be this driver begins the payload with TR_PACKET_PAD_V4 or _V6
 * bytes that nobody reads (tr_packet_pad_bytes finds them by a mark that no frame of
 * drivers/fragment.h has); a payload without them, as the udp driver sends, is moved by whoever
 * reads it.
 *
 * Source: RFC 791, 768, 8200, 1071 (the checksum), 1624 for what its sums may be split into. */
#ifndef TR_DRIVERS_DPDK_PACKET_H
#define TR_DRIVERS_DPDK_PACKET_H

#include "base/bytes.h"
#include "base/types.h"

#include <string.h>

TR_BEGIN_C

#define TR_ETHER_BYTES 14
#define TR_IPV4_BYTES  20
#define TR_IPV6_BYTES  40
#define TR_UDP_BYTES   8

/* All headers in front of a UDP payload, and the padding that aligns it to 8. */
#define TR_PACKET_HEADERS_V4 (TR_ETHER_BYTES + TR_IPV4_BYTES + TR_UDP_BYTES)
#define TR_PACKET_HEADERS_V6 (TR_ETHER_BYTES + TR_IPV6_BYTES + TR_UDP_BYTES)
#define TR_PACKET_PAD_V4     6
#define TR_PACKET_PAD_V6     2
#define TR_PACKET_FRONT_MAX  64

/* The first two bytes of a padding: "TP". */
#define TR_PACKET_PAD_MARK 0x5054

#define TR_ETHER_TYPE_IPV4 0x0800
#define TR_ETHER_TYPE_ARP  0x0806
#define TR_ETHER_TYPE_IPV6 0x86dd

#define TR_IP_PROTOCOL_UDP    17
#define TR_IP_PROTOCOL_ICMPV6 58

/* An Ethernet address. */
struct tr_mac {
    uint8_t byte[6];
};

/* An address of either family; IPv4 is mapped into IPv6 (::ffff:a.b.c.d). In wire order. */
struct tr_ip {
    uint64_t word[2];
};

/* One end of a flow. */
struct tr_endpoint {
    struct tr_ip ip;
    struct tr_mac mac;
    uint16_t port; /* host order */
};

/* What the device has already verified of a received frame. */
enum tr_packet_verified {
    TR_PACKET_IP_GOOD = 1u << 0,
    TR_PACKET_UDP_GOOD = 1u << 1,
};

/* What a frame is to this port. */
enum tr_packet_kind {
    TR_PACKET_OTHER = 0, /* somebody else's, or of another protocol: not looked at any further */
    TR_PACKET_BAD,       /* a header contradicts the frame, or a checksum is wrong */
    TR_PACKET_UDP,
    TR_PACKET_NEIGHBOUR, /* perhaps an ARP packet, or ICMPv6 */
};

/* A UDP datagram in a frame. */
struct tr_packet {
    struct tr_endpoint source;
    uint16_t target_port; /* host order */
    uint32_t payload_at;  /* in the frame, padding included */
    uint32_t payload_bytes;
};

/* Headers of one flow, ready to be copied in front of payloads. */
struct tr_packet_front {
    TR_ALIGNED(8) uint8_t bytes[TR_PACKET_FRONT_MAX];
    uint32_t header_bytes; /* up to the end of the UDP header */
    uint32_t pad_bytes;    /* behind it; 0: the receiver knows nothing of padding */
    uint32_t ip_sum;       /* of what does not change in the IPv4 header */
    uint32_t pseudo_sum;   /* of the pseudo header, the length excepted */
    uint32_t udp_sum;      /* of that and the ports */
};

/* Who computes the UDP checksum. */
enum tr_packet_checksum {
    TR_PACKET_CHECKSUM_NONE = 1, /* nobody: 0 on the wire (IPv4 only) */
    TR_PACKET_CHECKSUM_HERE,
    TR_PACKET_CHECKSUM_DEVICE, /* the device does, IPv4's too */
};

/* A number of two bytes in wire order. */
static inline uint16_t tr_load_be16(const void *src)
{
    const uint8_t *at = (const uint8_t *)src;
    return (uint16_t)(at[0] << 8 | at[1]);
}

/* Writes one. */
static inline void tr_store_be16(void *dst, uint32_t value)
{
    uint8_t *at = (uint8_t *)dst;
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* True if both are one. */
static inline bool tr_mac_equal(const struct tr_mac *a, const struct tr_mac *b)
{
    return memcmp(a->byte, b->byte, sizeof(a->byte)) == 0;
}

/* True if both are one. */
static inline bool tr_ip_equal(const struct tr_ip *a, const struct tr_ip *b)
{
    return ((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1])) == 0;
}

/* The address of four bytes in wire order. */
static inline struct tr_ip tr_ip_from_v4(const void *four)
{
    struct tr_ip ip = {{0, 0}};
    uint8_t *bytes = (uint8_t *)ip.word;
    bytes[10] = 0xff;
    bytes[11] = 0xff;
    memcpy(bytes + 12, four, 4);
    return ip;
}

/* The address of sixteen bytes in wire order. */
static inline struct tr_ip tr_ip_from_v6(const void *sixteen)
{
    struct tr_ip ip;
    memcpy(ip.word, sixteen, 16);
    return ip;
}

/* The bytes of an address in wire order: 16 of them, the last 4 of which are IPv4's. */
static inline const uint8_t *tr_ip_bytes(const struct tr_ip *ip)
{
    return (const uint8_t *)ip->word;
}

/* True if the address is IPv4's. */
static inline bool tr_ip_is_v4(const struct tr_ip *ip)
{
    const uint8_t *bytes = tr_ip_bytes(ip);
    return ip->word[0] == 0 && bytes[8] == 0 && bytes[9] == 0 && bytes[10] == 0xff &&
           bytes[11] == 0xff;
}

/* True if both are in one network of so many leading bits (of IPv4's 32 or IPv6's 128). */
bool tr_ip_same_network(const struct tr_ip *a, const struct tr_ip *b, uint32_t prefix_bits);

/* Reads "HOST:PORT" or "[IPV6]:PORT", addresses as numbers. Returns: whether it is one. */
bool tr_endpoint_parse(const char *text, struct tr_endpoint *out);

/* Sum of 16-bit words as they lie in memory, for a checksum; sums may be added. Units: bytes may be
 * odd, the last is then padded with 0. */
uint64_t tr_packet_sum(const void *data, uint32_t bytes);

/* A sum folded and complemented, as it is stored. */
static inline uint16_t tr_packet_fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* Looks at a frame that came to `own`. Hostile bytes of any length are fine. *out is set for
 * TR_PACKET_UDP only. Cost: about 40 instructions, and a pass over the payload where the device did
 * not verify the checksum. */
enum tr_packet_kind tr_packet_read(const uint8_t *frame, uint32_t bytes,
                                   const struct tr_endpoint *own, uint32_t verified,
                                   struct tr_packet *out);

/* Bytes of padding that a payload begins with; 0 if it has none. */
static inline uint32_t tr_packet_pad_bytes(const uint8_t *payload, uint32_t bytes, bool is_v4)
{
    uint32_t pad = is_v4 ? TR_PACKET_PAD_V4 : TR_PACKET_PAD_V6;
    return bytes >= pad && tr_load_le16(payload) == TR_PACKET_PAD_MARK ? pad : 0;
}

/* Makes the headers from one end to another; both are of one family. */
void tr_packet_front_make(struct tr_packet_front *front, const struct tr_endpoint *from,
                          const struct tr_endpoint *to, bool is_padded);

/* Bytes in front of the first frame of a datagram. */
static inline uint32_t tr_packet_front_bytes(const struct tr_packet_front *front)
{
    return front->header_bytes + front->pad_bytes;
}

/* Completes a frame whose payload (padding not counted) lies behind room for its front. Returns:
 * bytes of the frame. Cost: a copy of 64 bytes, and a pass over the payload with CHECKSUM_HERE. */
uint32_t tr_packet_finish(uint8_t *frame, const struct tr_packet_front *front,
                          uint32_t payload_bytes, enum tr_packet_checksum checksum);

TR_END_C

#endif
