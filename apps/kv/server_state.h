/* The server as its own files see it. */
#ifndef TR_APPS_KV_SERVER_STATE_H
#define TR_APPS_KV_SERVER_STATE_H

#include "connection.h"
#include "link.h"
#include "server.h"

/* A client may have so many requests without an answer; then its socket is not read. */
#define KV_CLIENT_PENDING_MAX 4096u
/* A client whose unread replies are above this, those expected of its queries included, is not
 * read.
 */
#define KV_CLIENT_OUTPUT_SOFT_BYTES (1u << 20)
/* What the reply to a query is expected to have: at first, and at least. It follows the replies
 * that come, so that a client that asks for large values has few queries in flight. */
#define KV_CLIENT_REPLY_GUESS_FIRST_BYTES (64u << 10)
#define KV_CLIENT_REPLY_GUESS_BYTES_MIN   (8u << 10)
/* A request may be so much larger than its command in the log: lengths and line ends. */
#define KV_REQUEST_SLACK_BYTES (64u << 10)
/* A value must leave so much of a message to its reply's head. */
#define KV_VALUE_OVERHEAD_BYTES 64u
/* Most arguments of a request; what the largest command has room for is less by default. */
#define KV_REQUEST_ARGS_MAX (256u << 10)

/* Clients that wait in line. */
struct kv_line {
    struct kv_connection *first, *last;
};

#define KV_PENDING_SLAB_COUNT 255u

/* Request records that were allocated together; freed with the server. */
struct kv_pending_slab {
    struct kv_pending_slab *next;
    struct kv_pending records[KV_PENDING_SLAB_COUNT];
};

/* The server. */
struct kv_server {
    struct kv_server_options options;
    struct kv_server_counts counts;
    struct kv_link link;
    struct kv_connection *clients; /* all of them */
    uint32_t client_count;
    struct kv_line ready; /* have something to do */
    struct kv_line held;  /* have a request that waits for room in the session, oldest first */
    struct kv_pending *free_pending;
    struct kv_pending_slab *slabs;
    uint64_t id_next;
    uint64_t now_ns;
    uint64_t opened_ns;
    uint64_t rate_ns, rate_commands, rate_per_s; /* commands a second, over the last second */
    uint64_t seed_after_ns;
    int listen_fd;
    int epoll_fd;
    uint64_t accept_after_ns; /* no descriptor was left: try again then */
    uint8_t accept_paused;
    uint8_t acceptable; /* the listening socket may have clients */
    uint8_t draining;
    uint8_t seed_sent;
    uint8_t is_ready;
    char address[80];
};

/* Puts a client at the end of the ready queue, once. */
void kv_server_enqueue(struct kv_server *server, struct kv_connection *connection);

/* Notes that a request of the client waits for room in the session. */
void kv_server_hold(struct kv_server *server, struct kv_connection *connection);

/* A request record. Returns NULL when there is no memory. */
struct kv_pending *kv_server_take_pending(struct kv_server *server);

/* Gives a request record back. */
void kv_server_give_pending(struct kv_server *server, struct kv_pending *pending);

/* Answers a request of kind LOCAL into `out` and changes the connection as it asks. Returns 1, or 0
 * when there is no memory. In local.c. */
int kv_local_answer(struct kv_server *server, struct kv_connection *connection,
                    const struct kv_request *request, struct kv_buffer *out);

/* Writes the text of INFO, of one section or, with an empty name, of all. Returns 1, or 0 when
 * there is no memory. In info.c. */
int kv_info_write(struct kv_server *server, const uint8_t *section, uint32_t section_bytes,
                  struct kv_buffer *out);

#endif
