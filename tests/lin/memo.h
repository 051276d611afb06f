/* What the search has been through: where it stood, and which operations that may take effect it
 * had used.
 *
 * Where it stood is the first end that was not passed, the operations under way then that had
 * already taken effect (by slot: together with the end these are the whole set of those that must),
 * and the state. Having stood there with less used is at least as good: nothing more is possible
 * with more. */
#ifndef TR_LIN_MEMO_H
#define TR_LIN_MEMO_H

#include "base/types.h"

#include <stddef.h>

TR_BEGIN_C

struct tr_lin_memo {
    uint64_t *words; /* records: next, front, state, slots, used */
    size_t word_count;
    size_t word_capacity;
    size_t slot_words;
    size_t used_words;
    size_t record_words;
    size_t count;
    size_t *table; /* chains of records, by their number + 1 */
    size_t table_size;
};

/* Begins with nothing, for sets of so many slots and of so many operations that may be used.
 * Owns: released by tr_lin_memo_release. */
void tr_lin_memo_begin(struct tr_lin_memo *memo, uint32_t slot_count, uint32_t used_count);
void tr_lin_memo_release(struct tr_lin_memo *memo);

/* Notes a place. Returns false, and notes nothing, if the search stood there with no more used. */
bool tr_lin_memo_add(struct tr_lin_memo *memo, uint32_t front, uint64_t state,
                     const uint64_t *slots, const uint64_t *used);

/* Units: bytes. */
size_t tr_lin_memo_bytes(const struct tr_lin_memo *memo);

TR_END_C

#endif
