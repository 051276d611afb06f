#include "consensus/session.h"

#include "consensus/session_state.h"

/* What stands in a hash table's place: nothing, or the index of a session and 1. */
#define PLACE_NONE 0

enum key { KEY_NUMBER, KEY_NONCE };

/* ---- the two hash tables: linear probing, at most half full */

static inline uint32_t hash_number(const struct tr_sessions *t, uint64_t number)
{
    return (uint32_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> t->hash_shift);
}

static uint32_t hash_nonce(const struct tr_sessions *t, const uint8_t *nonce)
{
    uint64_t a = tr_load_le64(nonce) * UINT64_C(0xbf58476d1ce4e5b9);
    return hash_number(t, (a ^ a >> 32) + tr_load_le64(nonce + 8));
}

static uint32_t *table_of(const struct tr_sessions *t, enum key key)
{
    return key == KEY_NUMBER ? t->by_number : t->by_nonce;
}

static uint32_t home_of(const struct tr_sessions *t, enum key key, uint32_t place)
{
    const struct tr_session_entry *e = &t->entry[place - 1];
    return key == KEY_NUMBER ? hash_number(t, e->number) : hash_nonce(t, e->nonce);
}

static void table_insert(struct tr_sessions *t, enum key key, uint32_t place)
{
    uint32_t *table = table_of(t, key);
    uint32_t at = home_of(t, key, place);
    for (uint32_t i = 0; i <= t->hash_mask && table[at] != PLACE_NONE; i++)
        at = (at + 1) & t->hash_mask;
    tr_assert(table[at] == PLACE_NONE);
    table[at] = place;
}

/* Removes a session, and moves those behind it up, so that no probe stops short. */
static void table_remove(struct tr_sessions *t, enum key key, uint32_t place)
{
    uint32_t *table = table_of(t, key);
    uint32_t at = home_of(t, key, place);
    for (uint32_t i = 0; i <= t->hash_mask && table[at] != place; i++)
        at = (at + 1) & t->hash_mask;
    tr_assert(table[at] == place);
    uint32_t hole = at;
    for (uint32_t i = 0; i < t->hash_mask; i++) {
        at = (at + 1) & t->hash_mask;
        if (table[at] == PLACE_NONE)
            break;
        uint32_t home = home_of(t, key, table[at]);
        if (((at - home) & t->hash_mask) >= ((at - hole) & t->hash_mask)) {
            table[hole] = table[at];
            hole = at;
        }
    }
    table[hole] = PLACE_NONE;
}

struct tr_session_entry *tr_sessions_find(const struct tr_sessions *t, uint64_t number)
{
    uint32_t at = hash_number(t, number);
    for (uint32_t i = 0; i <= t->hash_mask && t->by_number[at] != PLACE_NONE; i++) {
        struct tr_session_entry *e = &t->entry[t->by_number[at] - 1];
        if (e->number == number)
            return e;
        at = (at + 1) & t->hash_mask;
    }
    return NULL;
}

static struct tr_session_entry *find_nonce(const struct tr_sessions *t, const uint8_t *nonce)
{
    uint32_t at = hash_nonce(t, nonce);
    for (uint32_t i = 0; i <= t->hash_mask && t->by_nonce[at] != PLACE_NONE; i++) {
        struct tr_session_entry *e = &t->entry[t->by_nonce[at] - 1];
        if (memcmp(e->nonce, nonce, TR_NONCE_BYTES) == 0)
            return e;
        at = (at + 1) & t->hash_mask;
    }
    return NULL;
}

/* ---- sessions come and go */

uint64_t tr_sessions_memory_bytes(uint32_t sessions_max, uint64_t reply_bytes)
{
    if (sessions_max == 0 || sessions_max > TR_SESSIONS_MAX || !tr_is_power_of_two(reply_bytes) ||
        reply_bytes < TR_REPLY_BYTES_MIN || reply_bytes > TR_REPLY_BYTES_MAX)
        return 0;
    uint64_t places = 2;
    while (places < 2u * (uint64_t)sessions_max)
        places *= 2;
    return tr_align_up_u64(sizeof(struct tr_sessions), TR_CACHE_LINE) +
           (sessions_max + 1) * sizeof(struct tr_session_entry) +
           tr_align_up_u64(2 * places * sizeof(uint32_t), TR_CACHE_LINE) + reply_bytes;
}

struct tr_sessions *tr_sessions_init(void *memory, uint32_t sessions_max, uint64_t reply_bytes)
{
    tr_assert(tr_sessions_memory_bytes(sessions_max, reply_bytes) != 0);
    struct tr_sessions *t = memory;
    memset(t, 0, sizeof(*t));
    t->sessions_max = sessions_max;
    t->hash_shift = 63;
    while (UINT64_C(1) << (64 - t->hash_shift) < 2u * (uint64_t)sessions_max)
        t->hash_shift--;
    uint32_t places = 1u << (64 - t->hash_shift);
    t->hash_mask = places - 1;
    uint8_t *at = (uint8_t *)memory + tr_align_up_u64(sizeof(*t), TR_CACHE_LINE);
    t->entry = (struct tr_session_entry *)(void *)at;
    at += (sessions_max + 1) * sizeof(struct tr_session_entry);
    t->by_number = (uint32_t *)(void *)at;
    t->by_nonce = t->by_number + places;
    at += tr_align_up_u64(2 * (uint64_t)places * sizeof(uint32_t), TR_CACHE_LINE);
    t->replies = (struct tr_replies_run *)(void *)at;
    t->units = reply_bytes / TR_REPLY_UNIT;
    t->units_usable = t->units - t->units / TR_REPLY_SPARE_SHARE;
    tr_sessions_clear(t);
    return t;
}

void tr_sessions_clear(struct tr_sessions *t)
{
    memset(t->entry, 0, (t->sessions_max + 1) * sizeof(*t->entry));
    memset(t->by_number, 0, (t->hash_mask + 1) * sizeof(*t->by_number));
    memset(t->by_nonce, 0, (t->hash_mask + 1) * sizeof(*t->by_nonce));
    for (uint32_t i = 0; i < t->sessions_max; i++)
        t->entry[i].newer = i + 1;
    t->entry[t->sessions_max].older = t->sessions_max;
    t->entry[t->sessions_max].newer = t->sessions_max;
    t->vacant = 0;
    t->count = 0;
    t->last = 0;
    t->units_head = t->units;
    t->units_tail = t->units;
    t->units_moved = 0;
}

struct tr_session_entry *tr_sessions_add(struct tr_sessions *t, uint64_t number,
                                         const uint8_t *nonce)
{
    tr_assert(t->vacant != t->sessions_max);
    if (tr_sessions_find(t, number) != NULL || find_nonce(t, nonce) != NULL)
        return NULL;
    struct tr_session_entry *e = &t->entry[t->vacant];
    uint32_t place = t->vacant + 1;
    t->vacant = e->newer;
    t->count++;
    e->number = number;
    e->applied = 0;
    e->acked = 0;
    e->replies_last = TR_REPLIES_NONE;
    e->units_moved = 0;
    memcpy(e->nonce, nonce, TR_NONCE_BYTES);
    table_insert(t, KEY_NUMBER, place);
    table_insert(t, KEY_NONCE, place);
    tr_sessions_order_append(t, e);
    return e;
}

void tr_sessions_remove(struct tr_sessions *t, struct tr_session_entry *e)
{
    uint32_t index = tr_sessions_index(t, e);
    tr_assert(e->number != 0 && t->units_moved >= e->units_moved);
    table_remove(t, KEY_NUMBER, index + 1);
    table_remove(t, KEY_NONCE, index + 1);
    tr_sessions_order_unlink(t, e);
    t->units_moved -= e->units_moved;
    e->number = 0;
    e->newer = t->vacant;
    t->vacant = index;
    t->count--;
}

/* ---- runs are judged */

/* Who has to go when the table is full. */
static struct tr_session_entry *oldest(struct tr_sessions *t)
{
    if (TR_CANARY(t->canary, SESSION_EVICT_BY_INDEX))
        return &t->entry[0];
    return &t->entry[t->entry[t->sessions_max].newer];
}

/* The number of a session that is registered by this run: no other run ever has the same. */
static uint64_t number_at(const struct tr_sessions *t, uint64_t slot, uint32_t run_index)
{
    if (TR_CANARY(t->canary, SESSION_NUMBER_REUSED))
        return t->count + 1;
    return slot * TR_BATCH_COMMANDS_MAX + run_index + 1;
}

static void admit_register(struct tr_sessions *t, uint64_t slot, uint32_t run_index,
                           const uint8_t *nonce, struct tr_admission *out)
{
    struct tr_session_entry *e = find_nonce(t, nonce);
    if (e != NULL) {
        tr_sessions_touch(t, e);
    } else {
        if (t->count == t->sessions_max) {
            out->evicted = oldest(t)->number;
            t->evicted_count++;
            tr_sessions_remove(t, oldest(t));
        }
        e = tr_sessions_add(t, number_at(t, slot, run_index), nonce);
    }
    if (e == NULL)
        return;
    out->session = e->number;
    out->verdict = TR_VERDICT_DONE;
}

static void admit_close(struct tr_sessions *t, uint64_t number, struct tr_admission *out)
{
    struct tr_session_entry *e = tr_sessions_find(t, number);
    if (e == NULL)
        return;
    tr_sessions_remove(t, e);
    out->session = number;
    out->verdict = TR_VERDICT_DONE;
}

static tr_noinline void admit_rare(struct tr_sessions *t, uint64_t slot, uint32_t run_index,
                                   const struct tr_run_view *view, struct tr_admission *out)
{
    tr_assert(run_index < TR_BATCH_COMMANDS_MAX);
    if (view->run->kind == TR_RUN_REGISTER)
        admit_register(t, slot, run_index, view->data, out);
    else
        admit_close(t, view->run->session, out);
}

/* Finds the session of a run when it is not the last one's. */
static tr_noinline struct tr_session_entry *find_other(struct tr_sessions *t, uint64_t number)
{
    struct tr_session_entry *e = tr_sessions_find(t, number);
    if (e != NULL)
        t->last = tr_sessions_index(t, e);
    return e;
}

/* Judges a run that does not begin with the session's next command. */
static tr_noinline void admit_out_of_order(const struct tr_sessions *t, struct tr_session_entry *e,
                                           const struct tr_run *run, struct tr_admission *out)
{
    (void)t; /* the canaries read it */
    uint64_t next = e->applied + 1;
    if (run->sequence > next) {
        if (TR_CANARY(t->canary, SESSION_GAP_APPLIED))
            e->applied = run->sequence - 1;
        else
            out->verdict = TR_VERDICT_GAP;
        return;
    }
    out->skip = (uint32_t)tr_min_u64(next - run->sequence, run->count);
    if (TR_CANARY(t->canary, SESSION_SKIP_SHORT) && out->skip == next - run->sequence) {
        out->skip--;
        e->applied--;
    }
}

/* What a canary does with a session that is not there: whatever it says is taken for its next. */
static struct tr_session_entry *take_up_again(struct tr_sessions *t, const struct tr_run *run)
{
    uint8_t nonce[TR_NONCE_BYTES] = {0};
    memcpy(nonce, &run->session, sizeof(run->session));
    if (t->count == t->sessions_max)
        tr_sessions_remove(t, oldest(t));
    struct tr_session_entry *e = tr_sessions_add(t, run->session, nonce);
    e->applied = run->sequence - 1;
    t->last = tr_sessions_index(t, e);
    return e;
}

void tr_sessions_admit(struct tr_sessions *t, uint64_t slot, uint32_t run_index,
                       const struct tr_run_view *view, struct tr_admission *out)
{
    const struct tr_run *run = view->run;
    out->verdict = TR_VERDICT_UNKNOWN;
    out->skip = 0;
    out->session = 0;
    out->evicted = 0;
    if (tr_unlikely(run->kind != TR_RUN_COMMANDS)) {
        admit_rare(t, slot, run_index, view, out);
        return;
    }
    struct tr_session_entry *e = &t->entry[t->last];
    if (tr_unlikely(e->number != run->session)) {
        e = find_other(t, run->session);
        if (e == NULL) {
            if (!TR_CANARY(t->canary, SESSION_UNKNOWN_APPLIED))
                return;
            e = take_up_again(t, run);
        }
    }
    tr_sessions_touch(t, e);
    if (run->sequence_acked > e->acked)
        e->acked = tr_min_u64(run->sequence_acked, e->applied);
    if (TR_CANARY(t->canary, SESSION_ACKED_EARLY))
        e->acked = e->applied + 1;
    out->verdict = TR_VERDICT_APPLY;
    if (tr_unlikely(run->sequence != e->applied + 1))
        admit_out_of_order(t, e, run, out);
}

uint64_t tr_sessions_applied(const struct tr_sessions *t, uint64_t session)
{
    const struct tr_session_entry *e = tr_sessions_find(t, session);
    return e != NULL ? e->applied : UINT64_MAX;
}

uint32_t tr_sessions_count(const struct tr_sessions *t)
{
    return t->count;
}
