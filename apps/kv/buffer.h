/* A queue of bytes in one piece of memory: a socket's input or output. It grows when asked and
 * gives memory back when it is emptied after having been large. */
#ifndef TR_APPS_KV_BUFFER_H
#define TR_APPS_KV_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An emptied buffer above this is freed rather than kept. */
#define KV_BUFFER_KEPT_BYTES_MAX (64u << 10)

/* Zero-initialized is empty. Bytes data[first .. last) are queued. */
struct kv_buffer {
    uint8_t *data;
    size_t first;
    size_t last;
    size_t capacity;
};

/* The queued bytes; NULL when there never were any. */
static inline uint8_t *kv_buffer_front(const struct kv_buffer *buffer)
{
    return buffer->data == NULL ? NULL : buffer->data + buffer->first;
}

/* How many bytes are queued. */
static inline size_t kv_buffer_bytes(const struct kv_buffer *buffer)
{
    return buffer->last - buffer->first;
}

/* Room for so many bytes behind the queued ones; kv_buffer_commit queues them. May move the bytes.
 * Returns NULL when there is no memory. */
uint8_t *kv_buffer_reserve(struct kv_buffer *buffer, size_t bytes);

/* Queues bytes that were written where kv_buffer_reserve said. */
static inline void kv_buffer_commit(struct kv_buffer *buffer, size_t bytes)
{
    buffer->last += bytes;
}

/* Queues a copy of the bytes. Returns 1, or 0 when there is no memory. */
int kv_buffer_append(struct kv_buffer *buffer, const void *data, size_t bytes);

/* Queues formatted text. Returns 1, or 0 when there is no memory. */
int kv_buffer_format(struct kv_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Drops bytes from the front. */
void kv_buffer_drop(struct kv_buffer *buffer, size_t bytes);

/* Frees the memory; the buffer is empty. */
void kv_buffer_release(struct kv_buffer *buffer);

#ifdef __cplusplus
}
#endif
#endif
