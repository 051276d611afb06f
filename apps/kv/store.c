#include "store.h"

#include "entry.h"

#include <endian.h>
#include <sodium/crypto_shorthash.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(KV_STORE_SEED_BYTES == crypto_shorthash_KEYBYTES, "the seed keys SipHash-2-4");

/* log2 of the fewest buckets. */
#define BUCKET_BITS_MIN 10u
/* Buckets moved with each change: a table is moved before it can fill up again, with room to spare,
 * since that takes at least as many changes as it has buckets. */
#define MOVES_PER_CHANGE 4u
/* Buckets of cleared tables freed with each change. */
#define FREES_PER_CHANGE 16u
/* A value that grows gets this much more room than it needs at most. */
#define VALUE_SPARE_BYTES_MAX (1u << 20)

/* A cleared table, its entries freed up to bucket `freed`. */
struct kv_grave {
    struct kv_grave *next;
    struct kv_table table;
    uint64_t freed;
};

static void *or_panic(void *memory)
{
    if (memory != NULL)
        return memory;
    fprintf(stderr, "trireme kv: out of memory while applying a command; a replica cannot skip it. "
                    "Lower store-bytes or give the process more memory\n");
    abort();
}

/* ------------------------------------------------------------------ digests */

/* The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA'14): each bit affects all. */
static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* The sum of the mixed 8-byte words [from, to) of some bytes, the last one padded with zeros. A
 * sum, so that changing a part costs that part. */
static uint64_t sum_words(const uint8_t *data, uint32_t bytes, uint32_t from, uint32_t to)
{
    uint64_t sum = 0;
    for (uint32_t at = from; at < to; at++) {
        uint64_t word = 0;
        uint32_t left = bytes - at * 8;
        memcpy(&word, data + (size_t)at * 8, left < 8 ? left : 8);
        sum += mix(word + (at + 1) * UINT64_C(0x9e3779b97f4a7c15));
    }
    return sum;
}

static inline uint32_t word_count(uint32_t bytes)
{
    return bytes / 8 + (bytes % 8 != 0);
}

static uint64_t entry_digest(const struct kv_entry *entry)
{
    uint64_t key_sum =
        sum_words(kv_entry_data(entry), entry->key_bytes, 0, word_count(entry->key_bytes));
    uint64_t key_digest = mix(key_sum + entry->key_bytes);
    uint64_t value_digest = mix(entry->value_sum + entry->value_bytes);
    return mix(3 * key_digest + value_digest); /* not the same for key and value exchanged */
}

/* ------------------------------------------------------------------ tables */

static void make_table(struct kv_table *table, uint32_t bits)
{
    table->bucket_count = UINT64_C(1) << bits;
    table->shift = 64 - bits;
    table->buckets = or_panic(calloc(table->bucket_count, sizeof(struct kv_entry *)));
}

static void free_chain(struct kv_entry *entry)
{
    while (entry != NULL) {
        struct kv_entry *next = entry->next;
        free(entry);
        entry = next;
    }
}

static void free_table(struct kv_table *table)
{
    for (uint64_t at = 0; table->buckets != NULL && at < table->bucket_count; at++)
        free_chain(table->buckets[at]);
    free(table->buckets);
    *table = (struct kv_table){0};
}

void kv_store_init(struct kv_store *store)
{
    memset(store, 0, sizeof(*store));
    make_table(&store->table, BUCKET_BITS_MIN);
}

void kv_store_release(struct kv_store *store)
{
    free_table(&store->table);
    free_table(&store->old);
    while (store->graves != NULL) {
        struct kv_grave *next = store->graves->next;
        free_table(&store->graves->table);
        free(store->graves);
        store->graves = next;
    }
    memset(store, 0, sizeof(*store));
}

/* The chain that an entry of this hash is in, or would go to. */
static struct kv_entry **bucket_of(const struct kv_store *store, uint64_t hash)
{
    if (store->old.buckets != NULL && (hash >> store->old.shift) >= store->old_moved)
        return &store->old.buckets[hash >> store->old.shift];
    return &store->table.buckets[hash >> store->table.shift];
}

static void push(struct kv_table *table, struct kv_entry *entry)
{
    struct kv_entry **bucket = &table->buckets[entry->hash >> table->shift];
    entry->next = *bucket;
    *bucket = entry;
}

/* Moves up to `steps` buckets of the old table. Returns 1 while there are more. */
static int move_some(struct kv_store *store, uint32_t steps)
{
    while (store->old.buckets != NULL && steps-- > 0) {
        struct kv_entry *entry = store->old.buckets[store->old_moved];
        store->old.buckets[store->old_moved++] = NULL;
        while (entry != NULL) {
            struct kv_entry *next = entry->next;
            push(&store->table, entry);
            entry = next;
        }
        if (store->old_moved == store->old.bucket_count) {
            free(store->old.buckets);
            store->old = (struct kv_table){0};
        }
    }
    return store->old.buckets != NULL;
}

/* Frees up to `steps` buckets of cleared tables. Returns 1 while there are more. */
static int free_some(struct kv_store *store, uint32_t steps)
{
    while (store->graves != NULL && steps-- > 0) {
        struct kv_grave *grave = store->graves;
        free_chain(grave->table.buckets[grave->freed]);
        grave->table.buckets[grave->freed++] = NULL;
        if (grave->freed == grave->table.bucket_count) {
            store->graves = grave->next;
            free(grave->table.buckets);
            free(grave);
        }
    }
    return store->graves != NULL;
}

int kv_store_work(struct kv_store *store, uint32_t steps)
{
    int moving = move_some(store, steps);
    return free_some(store, steps) || moving;
}

/* Starts to move to a larger or smaller table where the number of entries asks for it. */
static void after_change(struct kv_store *store)
{
    move_some(store, MOVES_PER_CHANGE);
    free_some(store, FREES_PER_CHANGE);
    if (store->old.buckets != NULL)
        return;
    uint32_t bits = 64 - store->table.shift;
    if (store->entry_count > store->table.bucket_count)
        bits++;
    else if (store->entry_count < store->table.bucket_count / 8 && bits > BUCKET_BITS_MIN)
        bits--;
    else
        return;
    store->old = store->table;
    store->old_moved = 0;
    make_table(&store->table, bits);
}

/* ------------------------------------------------------------------ keys */

static uint64_t hash_of(const struct kv_store *store, const void *data, uint32_t bytes)
{
    uint8_t hash[crypto_shorthash_BYTES];
    crypto_shorthash(hash, data, bytes, store->seed);
    uint64_t number;
    memcpy(&number, hash, sizeof(number));
    return le64toh(number);
}

struct kv_key kv_store_key(const struct kv_store *store, const void *data, uint32_t bytes)
{
    return (struct kv_key){.data = data, .bytes = bytes, .hash = hash_of(store, data, bytes)};
}

void kv_store_prefetch(const struct kv_store *store, struct kv_key key)
{
    __builtin_prefetch(bucket_of(store, key.hash));
}

void kv_store_seed(struct kv_store *store, const uint8_t seed[KV_STORE_SEED_BYTES])
{
    if (store->seeded)
        return;
    memcpy(store->seed, seed, KV_STORE_SEED_BYTES);
    store->seeded = 1;
    move_some(store, UINT32_MAX);
    struct kv_table before = store->table;
    make_table(&store->table, 64 - before.shift);
    for (uint64_t at = 0; at < before.bucket_count; at++) {
        while (before.buckets[at] != NULL) {
            struct kv_entry *entry = before.buckets[at];
            before.buckets[at] = entry->next;
            entry->hash = hash_of(store, kv_entry_data(entry), entry->key_bytes);
            push(&store->table, entry);
        }
    }
    free(before.buckets);
}

/* The link that points to the entry of a key, or NULL. */
static struct kv_entry **find(const struct kv_store *store, struct kv_key key)
{
    struct kv_entry **link = bucket_of(store, key.hash);
    for (; *link != NULL; link = &(*link)->next) {
        struct kv_entry *entry = *link;
        if (entry->hash == key.hash && entry->key_bytes == key.bytes &&
            (key.bytes == 0 || memcmp(kv_entry_data(entry), key.data, key.bytes) == 0))
            return link;
    }
    return NULL;
}

int kv_store_get(const struct kv_store *store, struct kv_key key, struct kv_bytes *value)
{
    struct kv_entry **link = find(store, key);
    if (link == NULL)
        return 0;
    *value = (struct kv_bytes){kv_entry_value(*link), (*link)->value_bytes};
    return 1;
}

/* ------------------------------------------------------------------ changes */

static void take_account(struct kv_store *store, const struct kv_entry *entry)
{
    store->digest += entry_digest(entry);
    store->charged_bytes += kv_store_charge(entry->key_bytes, entry->value_bytes);
}

static void drop_account(struct kv_store *store, const struct kv_entry *entry)
{
    store->digest -= entry_digest(entry);
    store->charged_bytes -= kv_store_charge(entry->key_bytes, entry->value_bytes);
}

struct kv_entry *kv_entry_make(const struct kv_key *key, uint32_t value_capacity)
{
    struct kv_entry *entry = or_panic(malloc(sizeof(*entry) + key->bytes + value_capacity));
    *entry = (struct kv_entry){
        .hash = key->hash, .key_bytes = key->bytes, .value_capacity = value_capacity};
    if (key->bytes > 0)
        memcpy(kv_entry_data(entry), key->data, key->bytes);
    return entry;
}

/* The link to the entry of a key with room for so many bytes of value; made, uncounted, when there
 * is none. An entry that is there is taken out of the accounts. */
static struct kv_entry **claim(struct kv_store *store, struct kv_key key, uint32_t capacity)
{
    struct kv_entry **link = find(store, key);
    if (link == NULL) {
        struct kv_entry *entry = kv_entry_make(&key, capacity);
        link = bucket_of(store, key.hash);
        entry->next = *link;
        *link = entry;
        store->entry_count++;
        return link;
    }
    drop_account(store, *link);
    if ((*link)->value_capacity < capacity) {
        *link = or_panic(realloc(*link, sizeof(**link) + key.bytes + capacity));
        (*link)->value_capacity = capacity;
    }
    return link;
}

static void set_value(struct kv_entry *entry, struct kv_bytes value)
{
    if (value.bytes > 0)
        memcpy(kv_entry_value(entry), value.data, value.bytes);
    entry->value_bytes = value.bytes;
    entry->value_sum = sum_words(value.data, value.bytes, 0, word_count(value.bytes));
}

void kv_store_set(struct kv_store *store, struct kv_key key, struct kv_bytes value)
{
    struct kv_entry **link = claim(store, key, value.bytes);
    if ((*link)->value_capacity / 2 > value.bytes + KV_STORE_ENTRY_BYTES) {
        *link = or_panic(realloc(*link, sizeof(**link) + key.bytes + value.bytes));
        (*link)->value_capacity = value.bytes;
    }
    set_value(*link, value);
    take_account(store, *link);
    after_change(store);
}

/* Room for a value that grows step by step: doubled while small, as appending asks for. */
static uint32_t spare_capacity(uint32_t bytes)
{
    uint32_t spare = bytes < VALUE_SPARE_BYTES_MAX ? bytes : VALUE_SPARE_BYTES_MAX;
    return bytes <= UINT32_MAX - spare ? bytes + spare : bytes;
}

uint32_t kv_store_write(struct kv_store *store, struct kv_key key, uint32_t offset,
                        struct kv_bytes bytes)
{
    struct kv_bytes before = {NULL, 0};
    kv_store_get(store, key, &before);
    uint32_t end = offset + bytes.bytes;
    uint32_t length = end > before.bytes ? end : before.bytes;
    struct kv_entry **link = claim(store, key, length == before.bytes ? 0 : spare_capacity(length));
    struct kv_entry *entry = *link;
    uint8_t *value = kv_entry_value(entry);
    uint32_t from = (offset < before.bytes ? offset : before.bytes) / 8;
    uint32_t to = word_count(end);
    uint32_t to_before = word_count(before.bytes);
    entry->value_sum -= sum_words(value, before.bytes, from, to < to_before ? to : to_before);
    if (offset > before.bytes)
        memset(value + before.bytes, 0, offset - before.bytes);
    if (bytes.bytes > 0)
        memcpy(value + offset, bytes.data, bytes.bytes);
    entry->value_bytes = length;
    entry->value_sum += sum_words(value, length, from, to);
    take_account(store, entry);
    after_change(store);
    return length;
}

int kv_store_delete(struct kv_store *store, struct kv_key key)
{
    struct kv_entry **link = find(store, key);
    if (link == NULL)
        return 0;
    struct kv_entry *entry = *link;
    drop_account(store, entry);
    *link = entry->next;
    free(entry);
    store->entry_count--;
    after_change(store);
    return 1;
}

static void bury(struct kv_store *store, struct kv_table *table)
{
    struct kv_grave *grave = or_panic(malloc(sizeof(*grave)));
    *grave = (struct kv_grave){.next = store->graves, .table = *table};
    store->graves = grave;
    *table = (struct kv_table){0};
}

void kv_store_clear(struct kv_store *store)
{
    if (store->entry_count == 0)
        return;
    if (store->old.buckets != NULL)
        bury(store, &store->old);
    bury(store, &store->table);
    make_table(&store->table, BUCKET_BITS_MIN);
    store->entry_count = 0;
    store->charged_bytes = 0;
    store->digest = 0;
}

void kv_store_insert(struct kv_store *store, struct kv_entry *entry)
{
    entry->value_sum =
        sum_words(kv_entry_value(entry), entry->value_bytes, 0, word_count(entry->value_bytes));
    push(&store->table, entry);
    store->entry_count++;
    take_account(store, entry);
    after_change(store);
    move_some(store, UINT32_MAX);
}
