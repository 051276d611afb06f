#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_BYTES_MIN 4096u

uint8_t *kv_buffer_reserve(struct kv_buffer *buffer, size_t bytes)
{
    if (buffer->capacity - buffer->last >= bytes)
        return buffer->data + buffer->last;
    size_t queued = kv_buffer_bytes(buffer);
    if (buffer->capacity >= queued + bytes && buffer->first >= queued) {
        memcpy(buffer->data, buffer->data + buffer->first, queued);
    } else {
        size_t capacity =
            buffer->capacity < CAPACITY_BYTES_MIN ? CAPACITY_BYTES_MIN : buffer->capacity * 2;
        if (capacity < queued + bytes)
            capacity = queued + bytes;
        uint8_t *data = malloc(capacity);
        if (data == NULL)
            return NULL;
        if (queued > 0)
            memcpy(data, buffer->data + buffer->first, queued);
        free(buffer->data);
        buffer->data = data;
        buffer->capacity = capacity;
    }
    buffer->first = 0;
    buffer->last = queued;
    return buffer->data + queued;
}

int kv_buffer_append(struct kv_buffer *buffer, const void *data, size_t bytes)
{
    uint8_t *to = kv_buffer_reserve(buffer, bytes);
    if (to == NULL)
        return 0;
    if (bytes > 0)
        memcpy(to, data, bytes);
    kv_buffer_commit(buffer, bytes);
    return 1;
}

int kv_buffer_format(struct kv_buffer *buffer, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int bytes = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (bytes < 0)
        return 0;
    size_t whole = (size_t)bytes < sizeof(text) ? (size_t)bytes : sizeof(text) - 1;
    return kv_buffer_append(buffer, text, whole);
}

void kv_buffer_drop(struct kv_buffer *buffer, size_t bytes)
{
    buffer->first += bytes;
    if (buffer->first < buffer->last)
        return;
    buffer->first = 0;
    buffer->last = 0;
    if (buffer->capacity > KV_BUFFER_KEPT_BYTES_MAX)
        kv_buffer_release(buffer);
}

void kv_buffer_release(struct kv_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct kv_buffer){0};
}
