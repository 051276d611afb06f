/* The server's way into the replicated group: one session for all clients, its completions, and a
 * new session when the cluster has evicted the old one. */
#ifndef TR_APPS_KV_LINK_H
#define TR_APPS_KV_LINK_H

#include "command.h"
#include "completions.h"

#include <trireme/trireme.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Who collects the completions. */
enum kv_link_mode {
    KV_LINK_SAME_THREAD, /* the thread that also calls tr_poll */
    KV_LINK_OWN_THREAD,  /* a thread of its own; the library runs its polling threads */
};

/* How to open a link. */
struct kv_link_options {
    struct tr_group *group;
    enum kv_link_mode mode;
    uint32_t window;            /* commands in flight at most; a power of two */
    uint32_t message_bytes_max; /* largest command */
    uint64_t deadline_us;
};

/* The link; fields are its own except where told. */
struct kv_link {
    struct kv_link_options options;
    struct tr_session *session; /* NULL while there is none */
    struct kv_completions ring; /* KV_LINK_OWN_THREAD */
    uint8_t *scratch;           /* message_bytes_max bytes, to build queries in */
    uint32_t in_flight;
    uint8_t lost; /* the session is evicted: a new one follows when nothing is in flight */
    uint64_t session_count; /* sessions opened so far; for INFO */
};

/* What a completion tells: the pending request and its outcome. */
struct kv_outcome {
    void *user;
    int status;
    uint32_t reply_bytes;
    const uint8_t *reply; /* valid during the call */
};
typedef void (*kv_outcome_fn)(void *context, const struct kv_outcome *outcome);

/* Opens a link. Returns 0, TR_ENOMEM, TR_ESYS, or what tr_session_open says. Thread: setup. */
int kv_link_open(struct kv_link *link, const struct kv_link_options *options);

/* Closes it; what is in flight is forgotten. Thread: the server's, with the node still open. */
void kv_link_close(struct kv_link *link);

/* Sends a prepared request of kind READ, STALE or WRITE. Returns 0, TR_AGAIN when there is no room
 * now, TR_ETOOBIG, TR_ECLOSED. Thread: the server's. */
int kv_link_send(struct kv_link *link, const struct kv_request *request, void *user);

/* Calls `each` for every completion that is there. Returns how many. Thread: the server's. */
uint32_t kv_link_collect(struct kv_link *link, kv_outcome_fn each, void *context);

/* Frees what the link has left after the node is closed. */
void kv_link_release(struct kv_link *link);

#ifdef __cplusplus
}
#endif
#endif
