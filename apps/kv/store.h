/* The keys and values: a hash table whose contents depend on nothing but the calls made on it.
 *
 * Buckets are chosen by the top bits of the keyed hash (SipHash-2-4), so that a walk in bucket
 * order is a walk in hash order whatever the size of the table: snapshots of equal stores are equal
 * bytes. The table grows and shrinks a few buckets an operation, and a cleared table is freed the
 * same way, so that no operation takes long. The digest is kept up to date, and does not depend on
 * order.
 *
 * The store never refuses: limits are the caller's (machine.c). When the process has no memory it
 * panics, since a replica that drops a command is worse than none.
 * Thread: one at a time. */
#ifndef TR_APPS_KV_STORE_H
#define TR_APPS_KV_STORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KV_STORE_SEED_BYTES 16
/* What an entry is taken to cost besides its key and value: its header and its bucket. */
#define KV_STORE_ENTRY_BYTES 64u

struct kv_entry;
struct kv_grave;

/* An array of chains; an entry of hash h lives in buckets[h >> shift]. */
struct kv_table {
    struct kv_entry **buckets;
    uint64_t bucket_count;
    uint32_t shift;
};

/* The store; visible so that it can be placed and read by tests. Set up by kv_store_init. */
struct kv_store {
    struct kv_table table; /* where new entries go */
    struct kv_table old;   /* being moved into table; buckets NULL when none is */
    uint64_t old_moved;    /* buckets of old that are moved */
    uint64_t entry_count;
    uint64_t charged_bytes;  /* keys, values and KV_STORE_ENTRY_BYTES for each */
    uint64_t digest;         /* sum of the digests of the entries, modulo 2^64 */
    struct kv_grave *graves; /* cleared tables that are freed bit by bit */
    uint8_t seed[KV_STORE_SEED_BYTES];
    uint8_t seeded; /* kv_store_seed was called: further seeds are ignored */
};

/* A view of a value. */
struct kv_bytes {
    const uint8_t *data;
    uint32_t bytes;
};

/* A key with its hash, made by kv_store_key. */
struct kv_key {
    const uint8_t *data;
    uint32_t bytes;
    uint64_t hash;
};

/* Takes snapshot bytes. Returns 0 or a negative code, which ends the snapshot. */
typedef int (*kv_sink_fn)(void *context, const void *data, size_t bytes);
/* Gives the next snapshot bytes, all or nothing. Returns 0 or a negative code. */
typedef int (*kv_source_fn)(void *context, void *data, size_t bytes);

/* Makes an empty store. */
void kv_store_init(struct kv_store *store);

/* Frees everything. */
void kv_store_release(struct kv_store *store);

/* Sets the key of the hash, once in the life of a replicated store: later calls do nothing, so that
 * all replicas take the first one of the log. Cost: rehashes what is there. */
void kv_store_seed(struct kv_store *store, const uint8_t seed[KV_STORE_SEED_BYTES]);

/* A key to be used in the calls below, until the next kv_store_seed or kv_store_restore. */
struct kv_key kv_store_key(const struct kv_store *store, const void *data, uint32_t bytes);

/* Finds the value of a key. Returns 1, or 0 when there is none. The view holds until the next
 * change. */
int kv_store_get(const struct kv_store *store, struct kv_key key, struct kv_bytes *value);

/* Sets a key to a value, which may not be a view of this store. */
void kv_store_set(struct kv_store *store, struct kv_key key, struct kv_bytes value);

/* Writes bytes at an offset of the value of a key, which is made, and filled up with zero bytes,
 * where it is shorter. Returns the new length. Cost: linear in the bytes changed. */
uint32_t kv_store_write(struct kv_store *store, struct kv_key key, uint32_t offset,
                        struct kv_bytes bytes);

/* Deletes a key. Returns 1, or 0 when there is none. */
int kv_store_delete(struct kv_store *store, struct kv_key key);

/* Deletes all keys. Cost: constant; the memory is freed by the calls that follow. */
void kv_store_clear(struct kv_store *store);

/* Does some of the work that is left over: moves and frees up to `steps` buckets each.
 * Returns 1 while there is more. The calls above do a little of it themselves. */
int kv_store_work(struct kv_store *store, uint32_t steps);

/* Hints the memory of a key's bucket into the cache. */
void kv_store_prefetch(const struct kv_store *store, struct kv_key key);

/* What a key and a value are charged. */
static inline uint64_t kv_store_charge(uint32_t key_bytes, uint32_t value_bytes)
{
    return (uint64_t)key_bytes + value_bytes + KV_STORE_ENTRY_BYTES;
}

/* Writes the whole store; equal stores write equal bytes. Returns 0 or the sink's code. */
int kv_store_snapshot(const struct kv_store *store, kv_sink_fn put, void *context);

/* Replaces the contents by a snapshot, for which there are so many bytes. Returns 0; TR_EPROTO when
 * it is none or is damaged, or the source's code: the contents are unchanged then. */
int kv_store_restore(struct kv_store *store, kv_source_fn get, void *context, uint64_t bytes);

#ifdef __cplusplus
}
#endif
#endif
