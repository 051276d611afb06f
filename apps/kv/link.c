#include "link.h"

#include <stdlib.h>

/* Completions taken in one call of the library. */
#define BATCH_COUNT 64u

static void on_complete(void *context, const struct tr_completion *completion)
{
    kv_completions_put(context, completion);
}

static int open_session(struct kv_link *link)
{
    struct tr_session_options options = TR_SESSION_OPTIONS_INIT;
    options.window = link->options.window;
    options.deadline_us = link->options.deadline_us;
    if (link->options.mode == KV_LINK_OWN_THREAD) {
        options.on_complete = on_complete;
        options.on_complete_context = &link->ring;
    }
    int status = tr_session_open(link->options.group, &options, &link->session);
    if (status == 0)
        link->session_count++;
    return status;
}

int kv_link_open(struct kv_link *link, const struct kv_link_options *options)
{
    *link = (struct kv_link){.options = *options};
    link->scratch = malloc(options->message_bytes_max);
    if (link->scratch == NULL)
        return TR_ENOMEM;
    int status = 0;
    if (options->mode == KV_LINK_OWN_THREAD)
        status = kv_completions_open(&link->ring, options->window);
    if (status == 0)
        status = open_session(link);
    if (status != 0)
        kv_link_release(link);
    return status;
}

void kv_link_close(struct kv_link *link)
{
    if (link->session != NULL)
        tr_session_close(link->session);
    link->session = NULL;
}

void kv_link_release(struct kv_link *link)
{
    kv_completions_close(&link->ring);
    free(link->scratch);
    link->scratch = NULL;
}

/* Replaces an evicted session, once all its commands came back. */
static int have_session(struct kv_link *link)
{
    if (!link->lost)
        return link->session != NULL;
    if (link->in_flight > 0)
        return 0;
    kv_link_close(link);
    if (open_session(link) != 0)
        return 0;
    link->lost = 0;
    return 1;
}

static int send_write(struct kv_link *link, const struct kv_request *request, uint32_t bytes,
                      void *user)
{
    int status = 0;
    uint8_t *out = tr_submit_reserve(link->session, bytes, &status);
    if (out == NULL)
        return status;
    kv_request_encode(request, out);
    tr_submit_commit(link->session, bytes, user);
    return 0;
}

static int send_read(struct kv_link *link, const struct kv_request *request, uint32_t bytes,
                     void *user)
{
    kv_request_encode(request, link->scratch);
    if (request->command->kind == KV_KIND_STALE)
        return tr_read_local(link->session, link->scratch, bytes, user);
    return tr_read(link->session, link->scratch, bytes, user);
}

int kv_link_send(struct kv_link *link, const struct kv_request *request, void *user)
{
    uint64_t bytes = kv_request_wire_bytes(request);
    if (bytes > link->options.message_bytes_max)
        return TR_ETOOBIG;
    if (!have_session(link) || link->in_flight == link->options.window)
        return TR_AGAIN;
    int status = request->command->kind == KV_KIND_WRITE
                     ? send_write(link, request, (uint32_t)bytes, user)
                     : send_read(link, request, (uint32_t)bytes, user);
    if (status == 0)
        link->in_flight++;
    if (status == TR_ESESSION) {
        link->lost = 1;
        return TR_AGAIN;
    }
    return status;
}

static void deliver(struct kv_link *link, const struct kv_outcome *outcome, kv_outcome_fn each,
                    void *context)
{
    link->in_flight--;
    if (outcome->status == TR_ESESSION)
        link->lost = 1;
    each(context, outcome);
}

static uint32_t collect_from_session(struct kv_link *link, kv_outcome_fn each, void *context)
{
    struct tr_completion batch[BATCH_COUNT];
    uint32_t taken = 0;
    while (link->session != NULL && link->in_flight > 0) {
        uint32_t count = tr_session_poll(link->session, batch, BATCH_COUNT);
        for (uint32_t at = 0; at < count; at++) {
            struct kv_outcome outcome = {batch[at].user, batch[at].status, batch[at].reply_bytes,
                                         batch[at].reply};
            deliver(link, &outcome, each, context);
        }
        taken += count;
        if (count < BATCH_COUNT)
            break;
    }
    return taken;
}

static uint32_t collect_from_ring(struct kv_link *link, kv_outcome_fn each, void *context)
{
    struct kv_completion *done;
    uint32_t taken = 0;
    while ((done = kv_completions_peek(&link->ring)) != NULL) {
        struct kv_outcome outcome = {done->user, done->status, done->reply_bytes,
                                     done->memory != NULL ? done->memory : done->bytes};
        deliver(link, &outcome, each, context);
        kv_completions_drop(&link->ring);
        taken++;
    }
    return taken;
}

uint32_t kv_link_collect(struct kv_link *link, kv_outcome_fn each, void *context)
{
    if (link->options.mode == KV_LINK_OWN_THREAD)
        return collect_from_ring(link, each, context);
    return collect_from_session(link, each, context);
}
