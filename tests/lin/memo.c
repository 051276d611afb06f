#include "tests/lin/memo.h"

#include "tests/lin/memory.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_LEAST 1024

/* Words of a record. */
#define NEXT  0
#define FRONT 1
#define STATE 2
#define SLOTS 3

void tr_lin_memo_begin(struct tr_lin_memo *memo, uint32_t slot_count, uint32_t used_count)
{
    *memo = (struct tr_lin_memo){.table_size = TABLE_LEAST};
    memo->slot_words = (slot_count + 63) / 64;
    memo->used_words = (used_count + 63) / 64;
    memo->record_words = SLOTS + memo->slot_words + memo->used_words;
    memo->table = tr_lin_make(TABLE_LEAST, sizeof(*memo->table));
}

void tr_lin_memo_release(struct tr_lin_memo *memo)
{
    free(memo->words);
    free(memo->table);
    *memo = (struct tr_lin_memo){0};
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
    return hash ^ hash >> 32;
}

/* The head of the chain where a record belongs. */
static size_t *head_of(const struct tr_lin_memo *memo, const uint64_t *record)
{
    uint64_t hash = 0;
    for (size_t i = FRONT; i < SLOTS + memo->slot_words; i++)
        hash = mix(hash, record[i]);
    return &memo->table[hash & (memo->table_size - 1)];
}

static uint64_t *record_at(const struct tr_lin_memo *memo, size_t number)
{
    return memo->words + (number - 1) * memo->record_words;
}

static void double_table(struct tr_lin_memo *memo)
{
    free(memo->table);
    memo->table_size *= 2;
    memo->table = tr_lin_make(memo->table_size, sizeof(*memo->table));
    for (size_t number = 1; number <= memo->count; number++) {
        size_t *head = head_of(memo, record_at(memo, number));
        record_at(memo, number)[NEXT] = *head;
        *head = number;
    }
}

static bool is_within(const uint64_t *set, const uint64_t *of, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        if ((set[i] & ~of[i]) != 0)
            return false;
    }
    return true;
}

/* Writes a record behind the last one, where it is not counted yet. */
static uint64_t *write_record(struct tr_lin_memo *memo)
{
    while (memo->word_count + memo->record_words > memo->word_capacity)
        memo->words = tr_lin_room(memo->words, memo->word_capacity, &memo->word_capacity,
                                  sizeof(*memo->words));
    return memo->words + memo->word_count;
}

bool tr_lin_memo_add(struct tr_lin_memo *memo, uint32_t front, uint64_t state,
                     const uint64_t *slots, const uint64_t *used)
{
    size_t place_words = STATE - FRONT + 1 + memo->slot_words;
    size_t used_at = SLOTS + memo->slot_words;
    uint64_t *record = write_record(memo);
    record[FRONT] = front;
    record[STATE] = state;
    memcpy(record + SLOTS, slots, memo->slot_words * sizeof(*slots));
    memcpy(record + used_at, used, memo->used_words * sizeof(*used));
    size_t *head = head_of(memo, record);
    for (size_t number = *head; number != 0; number = (size_t)record_at(memo, number)[NEXT]) {
        uint64_t *other = record_at(memo, number);
        if (memcmp(other + FRONT, record + FRONT, place_words * sizeof(*record)) != 0)
            continue;
        if (is_within(other + used_at, used, memo->used_words))
            return false;
        if (is_within(used, other + used_at, memo->used_words)) {
            memcpy(other + used_at, used, memo->used_words * sizeof(*used));
            return true;
        }
    }
    record[NEXT] = *head;
    *head = ++memo->count;
    memo->word_count += memo->record_words;
    if (memo->count > memo->table_size)
        double_table(memo);
    return true;
}

size_t tr_lin_memo_bytes(const struct tr_lin_memo *memo)
{
    return memo->word_capacity * sizeof(*memo->words) + memo->table_size * sizeof(*memo->table);
}
