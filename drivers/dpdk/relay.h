/* Memif's handshake, passed on between a peer and this process's PMD.
 *
 * DPDK's memif takes every change of a connection in its own thread and unmaps a gone peer's memory
 * under whoever reads it; in 22.11 a client that is gone before it was greeted, or a message to one
 * that is gone, ends the process. So no PMD speaks to another process: each has one control
 * connection, to its own process's port, which is never gone before the PMD. The port that polls
 * the interface passes the messages of the handshake on and keeps the other connection itself: when
 * the peer is gone, it is the first to know, stops polling, and then lets the PMD disconnect.
 *
 * Everything here is one thread's, the port's, and never waits. Source: memif's protocol, version
 * 2.0 (drivers/net/memif/memif.h of DPDK): messages of 128 bytes on SOCK_SEQPACKET, each with at
 * most one descriptor. */
#ifndef TR_DRIVERS_DPDK_RELAY_H
#define TR_DRIVERS_DPDK_RELAY_H

#include "base/types.h"

TR_BEGIN_C

#define TR_RELAY_MESSAGE_BYTES 128

/* The types of messages, which are their first 16 bits. */
enum tr_relay_message {
    TR_RELAY_ACK = 1,    /* server: go on */
    TR_RELAY_HELLO,      /* server: what it can, at once */
    TR_RELAY_INIT,       /* client: which interface */
    TR_RELAY_ADD_REGION, /* client, with a descriptor */
    TR_RELAY_ADD_RING,   /* client, with a descriptor */
    TR_RELAY_CONNECT,    /* client: that was all */
    TR_RELAY_CONNECTED,  /* server: the interface is up */
};

/* How far a connection is. */
enum tr_relay_phase {
    TR_RELAY_IDLE = 0, /* there is none */
    TR_RELAY_SHAKING,
    TR_RELAY_JOINED, /* everything was passed on */
    TR_RELAY_ENDING, /* the peer is gone, or is to be; the PMD is not through with it */
};

/* One interface's. */
struct tr_relay {
    enum tr_relay_phase phase;
    bool is_server;      /* this process's PMD is */
    int outer;           /* to the peer; -1: none */
    int inner;           /* to the PMD; -1: none */
    uint32_t own_count;  /* messages of the PMD */
    uint32_t peer_count; /* messages of the peer */
};

/* Makes an idle one. */
void tr_relay_init(struct tr_relay *relay, bool is_server);

/* Begins with a connection to a peer and, of a server, one to the PMD; both are non-blocking. A
 * client's PMD is only to connect when the peer has greeted: then tr_relay_attach. Owns: them. */
void tr_relay_begin(struct tr_relay *relay, int outer, int inner);

/* Whether a client's peer has greeted, so that the PMD is to connect. The end of a peer ends the
 * relay. */
bool tr_relay_is_greeted(struct tr_relay *relay);

/* Gives a client its connection to the PMD. */
void tr_relay_attach(struct tr_relay *relay, int inner);

/* Passes on what there is, notices the peer's end, and goes on ending. Cost: a system call or two,
 * and those of the messages. */
enum tr_relay_phase tr_relay_step(struct tr_relay *relay);

/* Ends the connection to the peer; the PMD follows, by steps, until the phase is IDLE. */
void tr_relay_end(struct tr_relay *relay);

TR_END_C

#endif
