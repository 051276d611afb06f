/* An entry of the store, as store.c keeps it and snapshot.c reads and makes it. */
#ifndef TR_APPS_KV_ENTRY_H
#define TR_APPS_KV_ENTRY_H

#include "store.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One key and its value: behind it in memory come the key, the value, and spare room. */
struct kv_entry {
    struct kv_entry *next; /* in its bucket */
    uint64_t hash;
    uint64_t value_sum; /* sum of the mixed words of the value; see store.c */
    uint32_t key_bytes;
    uint32_t value_bytes;
    uint32_t value_capacity;
    uint32_t reserved;
};

/* The entry's key, followed by its value. */
static inline uint8_t *kv_entry_data(const struct kv_entry *entry)
{
    return (uint8_t *)(entry + 1);
}

/* The entry's value. */
static inline uint8_t *kv_entry_value(const struct kv_entry *entry)
{
    return kv_entry_data(entry) + entry->key_bytes;
}

/* Makes an entry of a key with room for a value, in no store yet. Owns: the caller, until it is
 * inserted. */
struct kv_entry *kv_entry_make(const struct kv_key *key, uint32_t value_capacity);

/* Puts an entry whose key the store has not, into a store that is being restored. */
void kv_store_insert(struct kv_store *store, struct kv_entry *entry);

#ifdef __cplusplus
}
#endif
#endif
