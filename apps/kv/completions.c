#include "completions.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int kv_completions_open(struct kv_completions *ring, uint32_t count)
{
    uint32_t size = 1;
    while (size < count)
        size *= 2;
    memset(ring, 0, sizeof(*ring));
    ring->places = calloc(size, sizeof(*ring->places));
    if (ring->places == NULL)
        return TR_ENOMEM;
    ring->mask = size - 1;
    ring->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (ring->wake_fd < 0) {
        free(ring->places);
        return TR_ESYS;
    }
    return 0;
}

void kv_completions_close(struct kv_completions *ring)
{
    if (ring->places == NULL)
        return;
    while (kv_completions_peek(ring) != NULL)
        kv_completions_drop(ring);
    free(ring->places);
    close(ring->wake_fd);
    ring->places = NULL;
}

void kv_completions_put(struct kv_completions *ring, const struct tr_completion *completion)
{
    struct kv_completion *place = &ring->places[ring->tail & ring->mask];
    uint8_t *to = place->bytes;
    place->memory = NULL;
    place->user = completion->user;
    place->status = completion->status;
    place->reply_bytes = completion->reply_bytes;
    if (completion->reply_bytes > KV_COMPLETION_INLINE_BYTES) {
        place->memory = malloc(completion->reply_bytes);
        to = place->memory;
    }
    if (to == NULL) { /* the command was executed, its reply is lost */
        place->status = TR_EUNKNOWN;
        place->reply_bytes = 0;
    } else if (completion->reply_bytes > 0) {
        memcpy(to, completion->reply, completion->reply_bytes);
    }
    /* Edge "filled": the reader's acquire of tail in kv_completions_peek sees the place. */
    __atomic_store_n(&ring->tail, ring->tail + 1, __ATOMIC_RELEASE);
    /* Edge "sleep or see": tail before sleeping here, sleeping before tail in kv_completions_sleep;
     * with both fences at least one side sees the other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&ring->sleeping, __ATOMIC_RELAXED) &&
        __atomic_exchange_n(&ring->sleeping, 0, __ATOMIC_RELAXED)) {
        uint64_t one = 1;
        ssize_t wrote = write(ring->wake_fd, &one, sizeof(one));
        (void)wrote; /* it fails only when the counter is full: the reader is awake then */
    }
}

struct kv_completion *kv_completions_peek(struct kv_completions *ring)
{
    if (__atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) == ring->head) /* edge "filled" */
        return NULL;
    return &ring->places[ring->head & ring->mask];
}

void kv_completions_drop(struct kv_completions *ring)
{
    free(ring->places[ring->head & ring->mask].memory);
    ring->head++; /* the writer never looks: a place is free because its command is not in flight */
}

int kv_completions_sleep(struct kv_completions *ring)
{
    __atomic_store_n(&ring->sleeping, 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* edge "sleep or see" */
    if (kv_completions_peek(ring) == NULL)
        return 1;
    __atomic_store_n(&ring->sleeping, 0, __ATOMIC_RELAXED);
    return 0;
}

void kv_completions_awake(struct kv_completions *ring)
{
    uint64_t count;
    __atomic_store_n(&ring->sleeping, 0, __ATOMIC_RELAXED);
    ssize_t got = read(ring->wake_fd, &count, sizeof(count));
    (void)got; /* EAGAIN: it woke for another reason */
}
