/* Replies of apply calls and reads, collected in place. */
#include "dataplane/apply.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "trireme/error.h"

#include <string.h>

/* Replies between those that were set stay empty. */
static void skip_to(struct tr_replies *r, uint32_t index)
{
    for (; r->next < index; r->next++) {
        r->length[r->next] = 0;
        r->offset[r->next] = r->used;
    }
}

void *tr_replies_reserve(struct tr_replies *r, uint32_t index, uint32_t bytes)
{
    tr_assert(index < r->count);
    uint64_t need = tr_align_up_u64(bytes, 8);
    if (bytes > r->reply_bytes_max || need > r->buffer_bytes - r->used)
        return NULL;
    if (tr_unlikely(index < r->next)) {
        r->disordered = true;
    } else {
        skip_to(r, index);
        r->next = index + 1;
    }
    uint8_t *at = r->buffer + r->used;
    r->length[index] = bytes;
    r->offset[index] = r->used;
    r->used += need;
    if (need != bytes)
        memset(at + need - 8, 0, 8); /* the padding is part of the cached state */
    return at;
}

int tr_replies_set(struct tr_replies *r, uint32_t index, const void *data, uint32_t bytes)
{
    void *at = tr_replies_reserve(r, index, bytes);
    if (at == NULL)
        return TR_ETOOBIG;
    if (bytes != 0)
        memcpy(at, data, bytes);
    return TR_OK;
}

/* Copies replies that were set in another order behind themselves. */
static const uint8_t *put_in_order(struct tr_replies *r)
{
    uint64_t begin = r->used;
    uint64_t total = 0;
    for (uint32_t i = 0; i < r->count; i++)
        total += tr_align_up_u64(r->length[i], 8);
    if (total > r->buffer_bytes - begin) {
        /* Replies were set again and again until the room was spent: none is kept. The same on
         * every replica, since the room is. */
        memset(r->length, 0, r->count * sizeof(r->length[0]));
        r->used = 0;
        return r->buffer;
    }
    uint64_t at = begin;
    for (uint32_t i = 0; i < r->count; i++) {
        uint64_t bytes = tr_align_up_u64(r->length[i], 8);
        memcpy(r->buffer + at, r->buffer + r->offset[i], bytes);
        r->offset[i] = at;
        at += bytes;
    }
    r->used = total;
    return r->buffer + begin;
}

const uint8_t *tr_replies_finish(struct tr_replies *r)
{
    skip_to(r, r->count);
    if (tr_unlikely(r->disordered))
        return put_in_order(r);
    return r->buffer;
}

void *tr_reply_reserve(struct tr_reply *r, uint32_t bytes)
{
    if (bytes > r->reply_bytes_max)
        return NULL;
    r->bytes = bytes;
    return r->buffer;
}

int tr_reply_set(struct tr_reply *r, const void *data, uint32_t bytes)
{
    void *at = tr_reply_reserve(r, bytes);
    if (at == NULL)
        return TR_ETOOBIG;
    if (bytes != 0)
        memcpy(at, data, bytes);
    return TR_OK;
}
