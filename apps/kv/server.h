/* The Redis-protocol server of one node: a listening socket and its clients, served by one thread
 * with epoll. The same code runs on a thread of its own and on the thread that polls the node. */
#ifndef TR_APPS_KV_SERVER_H
#define TR_APPS_KV_SERVER_H

#include "link.h"
#include "machine.h"

#include <stddef.h>
#include <stdint.h>
#include <trireme/trireme.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a server is made of, and what it tells of itself. Strings must outlive it. */
struct kv_server_options {
    struct tr_group *group;
    const struct kv_machine *machine;
    enum kv_link_mode mode;
    const char *listen; /* HOST:PORT; port 0: any */
    uint32_t clients_max;
    uint32_t message_bytes_max;
    uint64_t output_bytes_max; /* a client that does not read its replies is dropped above this */
    uint64_t store_bytes_max;
    uint64_t deadline_us;
    uint32_t window;
    uint16_t node;
    const char *driver;
    const char *cluster;
    size_t memory_bytes; /* fixed by the node at open */
    uint64_t now_ns;
};

/* What the server has counted. */
struct kv_server_counts {
    uint64_t connections;
    uint64_t connections_refused; /* above clients_max, or no descriptor left */
    uint64_t commands;
    uint64_t commands_failed;  /* answered by an error of this server */
    uint64_t commands_unknown; /* outcome unknown */
    uint64_t protocol_errors;  /* streams that were not the protocol: closed */
    uint64_t requests_too_big;
    uint64_t clients_too_slow; /* dropped with their replies unread */
    uint64_t holds;            /* requests that waited for room in the session */
    uint64_t in_bytes, out_bytes;
};

struct kv_server;

/* Binds the socket and opens the session. `error` gets a sentence when it fails.
 * Thread: the one that makes all other calls. Returns 0, TR_EADDR, TR_ENOMEM, TR_ESYS, or what
 * tr_session_open says. */
int kv_server_open(const struct kv_server_options *options, struct kv_server **out, char *error,
                   size_t error_bytes);

/* Closes the clients and the session. The node must still be open. */
void kv_server_close(struct kv_server *server);

/* Frees the server, after the node is closed. */
void kv_server_release(struct kv_server *server);

/* Takes completions and serves the clients that have work. Returns the work done. Cost: no system
 * call when there is nothing to do. */
uint32_t kv_server_work(struct kv_server *server, uint64_t now_ns);

/* Asks the kernel which sockets are ready, waiting up to timeout_ns, and notes it for
 * kv_server_work. With a ring of completions, one of them ends the wait. Returns how many. */
uint32_t kv_server_poll_sockets(struct kv_server *server, uint64_t timeout_ns);

/* Adds a descriptor that ends kv_server_poll_sockets when it is readable. Returns 0 or TR_ESYS. */
int kv_server_watch(struct kv_server *server, int fd);

/* Takes no more clients and requests; answers what is in flight. Returns 1 when all is out. */
int kv_server_drain(struct kv_server *server);

/* 1 when a command of this node went through the log: the cluster works. */
int kv_server_is_ready(const struct kv_server *server);

/* 1 while commands are in flight or clients have work. */
int kv_server_is_busy(const struct kv_server *server);

/* Where it listens, "HOST:PORT". */
const char *kv_server_address(const struct kv_server *server);

/* The counts. */
const struct kv_server_counts *kv_server_counts(const struct kv_server *server);

#ifdef __cplusplus
}
#endif
#endif
