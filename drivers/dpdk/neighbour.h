/* Who has an address: ARP for IPv4, neighbour discovery for IPv6, as bytes of frames. The state
 * (who was asked when) is in the port; here is only what is said.
 *
 * Neither protocol proves anything: whoever is on the segment can claim an address, as with every
 * host on it. What is believed is no more than where frames are sent to.
 *
 * Source: RFC 826, RFC 4861 (its checks of 7.1), RFC 4291 for the solicited-node group. */
#ifndef TR_DRIVERS_DPDK_NEIGHBOUR_H
#define TR_DRIVERS_DPDK_NEIGHBOUR_H

#include "drivers/dpdk/packet.h"

TR_BEGIN_C

/* The longest frame that is written here: a neighbour solicitation. */
#define TR_NEIGHBOUR_BYTES_MAX 96

/* A question or an answer. */
struct tr_neighbour {
    bool is_request;
    struct tr_ip target; /* of a request: whose address is asked for; of an answer: the sender's */
    struct tr_ip sender;
    struct tr_mac mac; /* the sender's */
};

/* Reads a frame that tr_packet_read called TR_PACKET_NEIGHBOUR. Returns: whether it is a
 * well-formed question for `own`, or an answer. Hostile bytes of any length are fine. */
bool tr_neighbour_read(const uint8_t *frame, uint32_t bytes, const struct tr_endpoint *own,
                       struct tr_neighbour *out);

/* Writes the question who has an address. Returns: bytes of the frame. */
uint32_t tr_neighbour_ask(uint8_t *frame, const struct tr_endpoint *own,
                          const struct tr_ip *target);

/* Writes the answer to a question that was read. Returns: bytes of the frame. */
uint32_t tr_neighbour_answer(uint8_t *frame, const struct tr_endpoint *own,
                             const struct tr_neighbour *request);

TR_END_C

#endif
