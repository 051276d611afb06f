/* Addresses of sockets: parsing, resolving, and finding a peer by the one that a datagram came
 * from. */
#ifndef TR_DRIVERS_UDP_UDP_ADDRESS_H
#define TR_DRIVERS_UDP_UDP_ADDRESS_H

#include "base/types.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

TR_BEGIN_C

/* An address of either family. */
struct tr_udp_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t bytes;
};

/* What identifies a sender: IPv4 hosts are mapped into IPv6. Two keys are equal when their words
 * are. */
struct tr_udp_key {
    uint64_t word[3];
};

/* Resolves "HOST:PORT" or "[IPV6]:PORT" and adds `port_offset` to the port, unless that is 0. `own`
 * is the socket's own address, which a peer's must be reachable from; NULL for the socket's own.
 * Returns: TR_OK, TR_EADDR with a sentence in `error`. Cost: may ask a name server. */
int tr_udp_resolve(const char *text, uint32_t port_offset, const struct tr_udp_address *own,
                   struct tr_udp_address *out, char *error, size_t error_bytes);

/* The key of an address that the kernel or tr_udp_resolve filled in. */
static inline struct tr_udp_key tr_udp_key(const struct tr_udp_address *address)
{
    struct tr_udp_key key = {{0, 0, 0}};
    if (tr_likely(address->any.sa_family == AF_INET)) {
        memcpy(&key.word[0], &address->v4, 8); /* family, port, host; the rest is padding */
    } else {
        key.word[0] = address->v6.sin6_port | (uint64_t)address->v6.sin6_scope_id << 32;
        memcpy(&key.word[1], &address->v6.sin6_addr, 16);
    }
    return key;
}

/* Payload bytes of a datagram that reaches the address unfragmented, as far as the kernel knows
 * now. */
uint32_t tr_udp_payload_max(const struct tr_udp_address *to);

/* True if the address is of the loopback network. */
bool tr_udp_is_loopback(const struct tr_udp_address *address);

/* The network interface that has the address. Returns: false when none has, or all do (0.0.0.0,
 * [::]); the loopback network's is none. */
bool tr_udp_interface(const struct tr_udp_address *address, char *name, size_t name_bytes);

/* True if the address is 0.0.0.0 or [::]. */
bool tr_udp_is_wildcard(const struct tr_udp_address *address);

/* True if both are of one sender. */
static inline bool tr_udp_key_equal(const struct tr_udp_key *a, const struct tr_udp_key *b)
{
    return ((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) | (a->word[2] ^ b->word[2])) == 0;
}

/* A key in 64 bits, well mixed. Source: the finalizer of MurmurHash3. */
static inline uint64_t tr_udp_key_hash(const struct tr_udp_key *key)
{
    uint64_t x = key->word[0] ^ (key->word[1] * UINT64_C(0x9e3779b97f4a7c15)) ^
                 (key->word[2] * UINT64_C(0xc2b2ae3d27d4eb4f));
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    return x;
}

TR_END_C

#endif
