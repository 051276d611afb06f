/* The store's snapshot: a head, then the entries in the order of hash and key, all numbers
 * little-endian. */
#include "entry.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <trireme/error.h>

#define SNAPSHOT_MAGIC   UINT64_C(0x31564b4d45524954) /* "TIREMKV1" */
#define SNAPSHOT_VERSION 1u
/* No key or value is longer: what announces more is damaged. */
#define SNAPSHOT_BYTES_MAX (512u << 20)

struct head {
    uint64_t magic;
    uint32_t version;
    uint32_t seeded;
    uint8_t seed[KV_STORE_SEED_BYTES];
    uint64_t entry_count;
    uint64_t digest;
};
_Static_assert(sizeof(struct head) == 48, "no padding");

struct entry_head {
    uint32_t key_bytes;
    uint32_t value_bytes;
};
_Static_assert(sizeof(struct entry_head) == 8, "no padding");

/* The entries of one range of hashes, to be sorted. */
struct batch {
    struct kv_entry **entries;
    size_t count;
    size_t capacity;
};

static int compare(const struct kv_entry *a, const struct kv_entry *b)
{
    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    uint32_t shorter = a->key_bytes < b->key_bytes ? a->key_bytes : b->key_bytes;
    int order = memcmp(kv_entry_data(a), kv_entry_data(b), shorter);
    if (order != 0)
        return order;
    return a->key_bytes < b->key_bytes ? -1 : a->key_bytes > b->key_bytes;
}

static int compare_links(const void *a, const void *b)
{
    return compare(*(struct kv_entry *const *)a, *(struct kv_entry *const *)b);
}

static int collect(struct batch *batch, struct kv_entry *entry)
{
    for (; entry != NULL; entry = entry->next) {
        if (batch->count == batch->capacity) {
            size_t capacity = batch->capacity == 0 ? 64 : batch->capacity * 2;
            struct kv_entry **entries = realloc(batch->entries, capacity * sizeof(*entries));
            if (entries == NULL)
                return TR_ENOMEM;
            batch->entries = entries;
            batch->capacity = capacity;
        }
        batch->entries[batch->count++] = entry;
    }
    return 0;
}

/* Collects the entries whose hash begins with the `bits` bits of `prefix`; a table has at least as
 * many buckets as there are prefixes. */
static int collect_range(struct batch *batch, const struct kv_table *table, uint64_t prefix,
                         uint32_t bits)
{
    uint32_t wider = 64 - table->shift - bits;
    for (uint64_t at = prefix << wider; at < (prefix + 1) << wider; at++) {
        int status = collect(batch, table->buckets[at]);
        if (status != 0)
            return status;
    }
    return 0;
}

static int put_entry(struct kv_entry *entry, kv_sink_fn put, void *context)
{
    struct entry_head head = {htole32(entry->key_bytes), htole32(entry->value_bytes)};
    int status = put(context, &head, sizeof(head));
    if (status == 0)
        status = put(context, kv_entry_data(entry), (size_t)entry->key_bytes + entry->value_bytes);
    return status;
}

static int put_batch(struct batch *batch, kv_sink_fn put, void *context)
{
    int status = 0;
    if (batch->count > 1)
        qsort(batch->entries, batch->count, sizeof(struct kv_entry *), compare_links);
    for (size_t at = 0; status == 0 && at < batch->count; at++)
        status = put_entry(batch->entries[at], put, context);
    batch->count = 0;
    return status;
}

static int put_head(const struct kv_store *store, kv_sink_fn put, void *context)
{
    struct head head = {
        .magic = htole64(SNAPSHOT_MAGIC),
        .version = htole32(SNAPSHOT_VERSION),
        .seeded = htole32(store->seeded),
        .entry_count = htole64(store->entry_count),
        .digest = htole64(store->digest),
    };
    memcpy(head.seed, store->seed, sizeof(head.seed));
    return put(context, &head, sizeof(head));
}

int kv_store_snapshot(const struct kv_store *store, kv_sink_fn put, void *context)
{
    struct batch batch = {0};
    uint32_t bits = 64 - store->table.shift;
    if (store->old.buckets != NULL && 64 - store->old.shift < bits)
        bits = 64 - store->old.shift;
    int status = put_head(store, put, context);
    for (uint64_t prefix = 0; status == 0 && prefix < UINT64_C(1) << bits; prefix++) {
        status = collect_range(&batch, &store->table, prefix, bits);
        if (status == 0 && store->old.buckets != NULL)
            status = collect_range(&batch, &store->old, prefix, bits);
        if (status == 0)
            status = put_batch(&batch, put, context);
    }
    free(batch.entries);
    return status;
}

static int get_head(struct head *head, kv_source_fn get, void *context)
{
    int status = get(context, head, sizeof(*head));
    if (status != 0)
        return status;
    if (le64toh(head->magic) != SNAPSHOT_MAGIC)
        return TR_EPROTO;
    if (le32toh(head->version) != SNAPSHOT_VERSION)
        return TR_EVERSION;
    return le32toh(head->seeded) <= 1 ? 0 : TR_EPROTO;
}

/* Reads one entry of an image of so many bytes: nothing longer is believed, or memory taken for it.
 * It must come after `last`, so that no key comes twice. */
static int get_entry(struct kv_store *store, struct kv_entry **last, kv_source_fn get,
                     void *context, uint64_t bytes)
{
    struct entry_head head;
    int status = get(context, &head, sizeof(head));
    if (status != 0)
        return status;
    uint32_t key_bytes = le32toh(head.key_bytes);
    uint32_t value_bytes = le32toh(head.value_bytes);
    if (key_bytes > SNAPSHOT_BYTES_MAX || value_bytes > SNAPSHOT_BYTES_MAX ||
        (uint64_t)key_bytes + value_bytes > bytes)
        return TR_EPROTO;
    struct kv_key key = {.data = NULL, .bytes = 0};
    struct kv_entry *entry = kv_entry_make(&key, key_bytes + value_bytes);
    status = get(context, kv_entry_data(entry), (size_t)key_bytes + value_bytes);
    if (status == 0) {
        entry->key_bytes = key_bytes;
        entry->value_bytes = value_bytes;
        entry->value_capacity = value_bytes;
        entry->hash = kv_store_key(store, kv_entry_data(entry), key_bytes).hash;
        if (*last != NULL && compare(*last, entry) >= 0)
            status = TR_EPROTO;
    }
    if (status != 0) {
        free(entry);
        return status;
    }
    kv_store_insert(store, entry);
    *last = entry;
    return 0;
}

int kv_store_restore(struct kv_store *store, kv_source_fn get, void *context, uint64_t bytes)
{
    struct head head;
    int status = get_head(&head, get, context);
    if (status != 0)
        return status;
    struct kv_store fresh;
    kv_store_init(&fresh);
    memcpy(fresh.seed, head.seed, sizeof(fresh.seed));
    fresh.seeded = le32toh(head.seeded) != 0;
    struct kv_entry *last = NULL;
    for (uint64_t at = 0; status == 0 && at < le64toh(head.entry_count); at++)
        status = get_entry(&fresh, &last, get, context, bytes);
    if (status == 0 && fresh.digest != le64toh(head.digest))
        status = TR_EPROTO;
    if (status != 0) {
        kv_store_release(&fresh);
        return status;
    }
    kv_store_release(store);
    *store = fresh;
    return 0;
}
