/* The driver's own options: the table that reads them, and what belongs together. */
#include "drivers/dpdk/dpdk_port.h"

#include "trireme/error.h"

#include <stdio.h>
#include <string.h>

#define MEMORY_DEFAULT (256u << 20)

static const struct tr_extra_key extra_keys[] = {
    {"device", TR_EXTRA_TEXT, offsetof(struct dpdk_options, device), 0, 0,
     "the device: a PCI address, or a virtual one with '+' for ','"},
    {"memif", TR_EXTRA_WORD, offsetof(struct dpdk_options, memif), 0, 0,
     "the directory of memif's sockets, instead of a device"},
    {"hugepages", TR_EXTRA_WORD, offsetof(struct dpdk_options, pages), 0, 0,
     "auto, on, off; default auto: if memory= of them is free"},
    {"memory", TR_EXTRA_BYTES, offsetof(struct dpdk_options, memory_bytes), 64u << 20,
     UINT64_C(64) << 30, "what the process's ports take; default 256M"},
    {"iova_pa", TR_EXTRA_FLAG, offsetof(struct dpdk_options, iova_pa), 0, 0,
     "physical addresses, for NICs without an IOMMU; default off"},
    {"mtu", TR_EXTRA_COUNT, offsetof(struct dpdk_options, mtu), 1280, 9600,
     "of IP; default: the device's, memif 9000"},
    {"prefix", TR_EXTRA_COUNT, offsetof(struct dpdk_options, prefix_bits), 1, 128,
     "bits of the network whose hosts are neighbours; default 24, IPv6 64"},
    {"gateway", TR_EXTRA_WORD, offsetof(struct dpdk_options, gateway), 0, 0,
     "the neighbour that others are reached through; default none: all are neighbours"},
    {"descriptors", TR_EXTRA_COUNT, offsetof(struct dpdk_options, descriptors), 64, 8192,
     "of a queue, each way; default 1024"},
    {"steering", TR_EXTRA_WORD, offsetof(struct dpdk_options, steering), 0, 0,
     "rules, hash, software; default: the first that the device can"},
    {"checksum", TR_EXTRA_FLAG, offsetof(struct dpdk_options, checksum), 0, 0,
     "UDP checksums over IPv4; default on (memif: never)"},
    {"pad", TR_EXTRA_FLAG, offsetof(struct dpdk_options, pad), 0, 0,
     "align payloads for peers, which must be of this driver; off to talk to udp; default on"},
    {"attach", TR_EXTRA_COUNT, offsetof(struct dpdk_options, attach_bytes), 64, 65536,
     "bytes from which a payload goes to memif from where it lies; 65536: never; default 4096"},
    {"reassembly", TR_EXTRA_COUNT, offsetof(struct dpdk_options, reassembly), 1, 64,
     "messages larger than a datagram that a peer may have under way; default 4"},
    {"strangers", TR_EXTRA_COUNT, offsetof(struct dpdk_options, strangers), 1, 64,
     "the same, for all senders together that are no peers; default 4"},
};

static const struct tr_extra_table extra_table = {"dpdk", extra_keys, TR_ARRAY_COUNT(extra_keys)};

/* Whether a word is one of a list's; empty is, too. */
static bool is_one_of(const char *word, const char *const *list)
{
    if (word[0] == '\0')
        return true;
    for (; *list != NULL; list++) {
        if (strcmp(word, *list) == 0)
            return true;
    }
    return false;
}

/* Reads the gateway's address. */
static bool read_gateway(struct dpdk_options *o)
{
    char text[TR_EXTRA_WORD_BYTES + 8];
    struct tr_endpoint at;
    if (o->gateway[0] == '\0')
        return true;
    snprintf(text, sizeof(text), strchr(o->gateway, ':') != NULL ? "[%s]:1" : "%s:1", o->gateway);
    if (!tr_endpoint_parse(text, &at))
        return false;
    o->gateway_ip = at.ip;
    return true;
}

int tr_dpdk_options_read(struct dpdk_options *out, const struct tr_port_options *options)
{
    static const char *const pages[] = {"auto", "on", "off", NULL};
    static const char *const ways[] = {"rules", "hash", "software", NULL};
    int result;
    *out = (struct dpdk_options){.memory_bytes = MEMORY_DEFAULT,
                                 .descriptors = 1024,
                                 .reassembly = 4,
                                 .strangers = 4,
                                 .checksum = true,
                                 .attach_bytes = 4096,
                                 .pad = true};
    result =
        tr_extra_parse(&extra_table, options->extra, out, options->error, options->error_bytes);
    if (result != TR_OK)
        return result;
    if ((out->device[0] == '\0') == (out->memif[0] == '\0')) {
        tr_explain(options->error, options->error_bytes,
                   "dpdk: needs one of device=PCI-ADDRESS (or a virtual device) and "
                   "memif=DIRECTORY in the driver's options");
        return TR_EINVAL;
    }
    if (!is_one_of(out->pages, pages) || !is_one_of(out->steering, ways) || !read_gateway(out)) {
        tr_explain(
            options->error, options->error_bytes,
            "dpdk: hugepages=%s, steering=%s or gateway=%s is none: hugepages is auto, on or "
            "off; steering rules, hash or software; a gateway is an address",
            out->pages, out->steering, out->gateway);
        return TR_EINVAL;
    }
    for (char *at = out->device; *at != '\0'; at++) {
        if (*at == '+')
            *at = ',';
    }
    return TR_OK;
}

void tr_dpdk_options_device(const struct dpdk_options *options, struct tr_device *out)
{
    static const char key[] = ",iface=";
    uint32_t part[4];
    const char *device = options->device;
    const char *iface = strstr(device, key);
    *out = (struct tr_device){.kind = TR_DEVICE_NONE};
    if (iface != NULL) {
        iface += strlen(key);
        out->kind = TR_DEVICE_NETWORK;
        snprintf(out->name, sizeof(out->name), "%.*s", (int)strcspn(iface, ","), iface);
        return;
    }
    if (sscanf(device, "%x:%x:%x.%u", &part[0], &part[1], &part[2], &part[3]) != 4) {
        part[0] = 0; /* the domain may be left out */
        if (sscanf(device, "%x:%x.%u", &part[1], &part[2], &part[3]) != 3)
            return;
    }
    out->kind = TR_DEVICE_PCI;
    snprintf(out->name, sizeof(out->name), "%04x:%02x:%02x.%u", part[0], part[1], part[2], part[3]);
}
