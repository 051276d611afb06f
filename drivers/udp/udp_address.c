/* Addresses of sockets. */
#include "drivers/udp/udp_address.h"

#include "base/bytes.h"
#include "drivers/extra.h"
#include "trireme/error.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Payload where the kernel does not tell: Ethernet less the headers. */
#define MTU_DEFAULT      1500
#define HEADERS_V4_BYTES 28
#define HEADERS_V6_BYTES 48

/* Host and port of an address as text. */
struct host_port {
    char host[256];
    uint32_t port;
};

static bool split(const char *text, struct host_port *out)
{
    const char *colon = strrchr(text, ':');
    const char *host = text;
    size_t bytes;
    char *end;
    unsigned long port;
    if (colon == NULL || colon == text || colon[1] < '0' || colon[1] > '9')
        return false;
    port = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || port > UINT16_MAX)
        return false;
    bytes = (size_t)(colon - text);
    if (text[0] == '[') {
        if (bytes < 3 || text[bytes - 1] != ']')
            return false;
        host++;
        bytes -= 2;
    } else if (memchr(text, ':', bytes) != NULL) {
        return false; /* an IPv6 address without its brackets */
    }
    if (bytes >= sizeof(out->host))
        return false;
    memcpy(out->host, host, bytes);
    out->host[bytes] = '\0';
    out->port = (uint32_t)port;
    return true;
}

bool tr_udp_is_wildcard(const struct tr_udp_address *address)
{
    if (address->any.sa_family == AF_INET)
        return address->v4.sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
}

bool tr_udp_is_loopback(const struct tr_udp_address *address)
{
    if (address->any.sa_family == AF_INET)
        return (ntohl(address->v4.sin_addr.s_addr) >> 24) == 127;
    if (IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr))
        return address->v6.sin6_addr.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

/* True if both are of one host, whatever their ports. */
static bool is_host(const struct sockaddr *any, const struct tr_udp_address *address)
{
    if (any == NULL || any->sa_family != address->any.sa_family)
        return false;
    if (any->sa_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)any)->sin_addr.s_addr ==
               address->v4.sin_addr.s_addr;
    return memcmp(&((const struct sockaddr_in6 *)(const void *)any)->sin6_addr,
                  &address->v6.sin6_addr, sizeof(address->v6.sin6_addr)) == 0;
}

bool tr_udp_interface(const struct tr_udp_address *address, char *name, size_t name_bytes)
{
    struct ifaddrs *all;
    bool is_found = false;
    if (tr_udp_is_wildcard(address) || tr_udp_is_loopback(address) || getifaddrs(&all) != 0)
        return false;
    for (const struct ifaddrs *one = all; one != NULL && !is_found; one = one->ifa_next) {
        is_found = is_host(one->ifa_addr, address);
        if (is_found)
            snprintf(name, name_bytes, "%s", one->ifa_name);
    }
    freeifaddrs(all);
    return is_found;
}

/* What a socket of this address can reach: its own family; both if it is [::]. */
static struct addrinfo hints_for(const struct tr_udp_address *own)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_family = AF_UNSPEC};
    if (own != NULL) {
        hints.ai_family = own->any.sa_family;
        if (own->any.sa_family == AF_INET6 && tr_udp_is_wildcard(own))
            hints.ai_flags = AI_V4MAPPED;
    }
    return hints;
}

int tr_udp_resolve(const char *text, uint32_t port_offset, const struct tr_udp_address *own,
                   struct tr_udp_address *out, char *error, size_t error_bytes)
{
    struct addrinfo hints = hints_for(own);
    struct addrinfo *found;
    struct host_port at;
    int result;
    if (text == NULL || !split(text, &at)) {
        tr_explain(error, error_bytes, "udp: \"%s\" is no address: write HOST:PORT or [IPV6]:PORT",
                   text != NULL ? text : "");
        return TR_EADDR;
    }
    at.port += at.port != 0 ? port_offset : 0;
    if (at.port > UINT16_MAX) {
        tr_explain(error, error_bytes,
                   "udp: \"%s\": queue %u would have port %u: choose a port below %u", text,
                   port_offset, at.port, 65536 - port_offset);
        return TR_EADDR;
    }
    result = getaddrinfo(at.host, NULL, &hints, &found);
    if (result != 0) {
        tr_explain(error, error_bytes, "udp: cannot resolve \"%s\"%s: %s", at.host,
                   hints.ai_family == AF_INET ? " to an IPv4 address, as the node's own is" : "",
                   gai_strerror(result));
        return TR_EADDR;
    }
    memset(out, 0, sizeof(*out));
    memcpy(&out->any, found->ai_addr, found->ai_addrlen);
    out->bytes = found->ai_addrlen;
    freeaddrinfo(found);
    if (out->any.sa_family == AF_INET)
        out->v4.sin_port = htons((uint16_t)at.port);
    else
        out->v6.sin6_port = htons((uint16_t)at.port);
    return TR_OK;
}

uint32_t tr_udp_payload_max(const struct tr_udp_address *to)
{
    bool is_v4 = to->any.sa_family == AF_INET;
    uint32_t headers = is_v4 ? HEADERS_V4_BYTES : HEADERS_V6_BYTES;
    int mtu = MTU_DEFAULT;
    socklen_t bytes = sizeof(mtu);
    /* The route's MTU is known to a connected socket only; connecting sends nothing. */
    int fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return MTU_DEFAULT - headers;
    if (connect(fd, &to->any, to->bytes) != 0 ||
        getsockopt(fd, is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_MTU : IPV6_MTU, &mtu,
                   &bytes) != 0)
        mtu = MTU_DEFAULT;
    close(fd);
    return (uint32_t)mtu > headers ? (uint32_t)mtu - headers : MTU_DEFAULT - headers;
}
