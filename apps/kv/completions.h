/* Completions on their way from the apply thread of the library to the thread of the server: a ring
 * with one writer and one reader, and a word that says whether the reader sleeps.
 *
 * Small replies travel in the ring, others in memory of their own. The ring has a place for every
 * command that may be in flight, so that it cannot be full. */
#ifndef TR_APPS_KV_COMPLETIONS_H
#define TR_APPS_KV_COMPLETIONS_H

#include <stdint.h>
#include <trireme/trireme.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Replies of up to so many bytes travel in the ring: a place is two cache lines. */
#define KV_COMPLETION_INLINE_BYTES 104u

/* One completion. */
struct kv_completion {
    void *user;
    uint8_t *memory; /* the reply when it is larger than bytes has room for */
    int status;
    uint32_t reply_bytes;
    uint8_t bytes[KV_COMPLETION_INLINE_BYTES];
};

/* The ring. Each group of fields is written by one side only. */
struct kv_completions {
    struct kv_completion *places;
    uint32_t mask;
    int wake_fd;                                /* an eventfd, readable when the reader was woken */
    uint32_t head __attribute__((aligned(64))); /* next to take; written by the reader */
    uint32_t sleeping;                          /* set by the reader, cleared by whoever wakes it */
    uint32_t tail __attribute__((aligned(64))); /* next to fill; written by the writer */
};

/* Makes a ring for so many completions in flight, rounded up to a power of two. Returns 0 or
 * TR_ENOMEM or TR_ESYS. */
int kv_completions_open(struct kv_completions *ring, uint32_t count);

/* Frees the ring and the replies in it. Thread: the reader, after the writer is gone. */
void kv_completions_close(struct kv_completions *ring);

/* Copies a completion in and wakes the reader if it sleeps. Thread: the writer. */
void kv_completions_put(struct kv_completions *ring, const struct tr_completion *completion);

/* The oldest completion that was not dropped yet, or NULL. Thread: the reader. */
struct kv_completion *kv_completions_peek(struct kv_completions *ring);

/* Drops the oldest completion and frees its reply. Thread: the reader. */
void kv_completions_drop(struct kv_completions *ring);

/* Announces that the reader is about to sleep on wake_fd. Returns 1, or 0 when there is a
 * completion: then it must not sleep. Thread: the reader. */
int kv_completions_sleep(struct kv_completions *ring);

/* Takes the announcement back and empties wake_fd. Thread: the reader. */
void kv_completions_awake(struct kv_completions *ring);

#ifdef __cplusplus
}
#endif
#endif
