/* One client: its socket, the bytes that came and those that wait to go, and its requests in
 * flight. Replies leave in the order of the requests, whatever order they come in. */
#ifndef TR_APPS_KV_CONNECTION_H
#define TR_APPS_KV_CONNECTION_H

#include "buffer.h"
#include "command.h"
#include "resp.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kv_server;
struct kv_connection;

/* A request that waits for its reply, or for the replies before it. */
struct kv_pending {
    struct kv_pending *next;          /* in the connection's queue, or in the server's free list */
    struct kv_connection *connection; /* NULL when the client is gone */
    enum kv_kind kind;
    uint32_t reply_bytes;
    uint8_t *reply; /* when it came out of turn */
    uint8_t done;
};

#define KV_CLIENT_NAME_BYTES_MAX 64u

/* A client. */
struct kv_connection {
    struct kv_connection *previous, *next; /* all clients of the server */
    struct kv_connection *ready_next;      /* in the line of those that have work */
    struct kv_connection *held_next;       /* in the line of those that wait for the session */
    struct kv_buffer in, out;
    struct kv_resp resp;
    struct kv_pending *pending_first, *pending_last;
    uint32_t pending_count;
    uint32_t query_count;       /* of them without a reply yet, queries */
    uint32_t reply_guess_bytes; /* what the reply to a query will have */
    int fd;
    uint64_t id;
    uint64_t opened_ns;
    size_t held_bytes; /* of the request at the front of `in` that waits for the session; else 0 */
    uint8_t protocol;  /* 2 or 3 */
    uint8_t in_ready;  /* in the line of those that have work */
    uint8_t in_held;   /* in the line of those that wait for the session */
    uint8_t readable;  /* the socket may have bytes */
    uint8_t writable;  /* the socket may take bytes */
    uint8_t hung;      /* the kernel told that the end of the stream is to be read */
    uint8_t ended;     /* the client will send no more */
    uint8_t closing;   /* no further request is taken; close when the replies are out */
    uint8_t broken;    /* close now */
    char name[KV_CLIENT_NAME_BYTES_MAX + 1];
    char peer[64];
};

/* Makes a client of a connected socket. Returns NULL when there is no memory: the socket is the
 * caller's still. */
struct kv_connection *kv_connection_open(struct kv_server *server, int fd);

/* Closes the socket and frees the client; requests in flight lose their owner. */
void kv_connection_close(struct kv_server *server, struct kv_connection *connection);

/* Reads, answers and writes as far as the socket, the session and the limits allow, a bounded
 * amount. Returns 1 when there is more to do at once. */
int kv_connection_serve(struct kv_server *server, struct kv_connection *connection);

/* Gives the reply to a request in flight; frees the request. */
void kv_connection_answer(struct kv_server *server, struct kv_pending *pending,
                          const uint8_t *reply, uint32_t bytes);

/* 1 when the client should be closed now. */
int kv_connection_is_over(const struct kv_connection *connection);

#ifdef __cplusplus
}
#endif
#endif
