/* The fence word of a ring in memory that no device guards (design section 3; safety rules 4 to 6).
 *
 * Nothing refuses a store, so the two sides agree afterwards. The word holds the generation that
 * may write, or 0. The writer stores its record, issues a full fence, and reads the word; the owner
 * sets the word to 0, issues a full fence, and reads the ring. Of two such pairs one fence is
 * first: either the owner finds the record, or the writer finds the word changed and does not count
 * it. A record may be found that was not counted; never the other way round.
 * (tests/memory/fence_model.cc) */
#ifndef TR_DRIVERS_FENCE_H
#define TR_DRIVERS_FENCE_H

#include "base/atomic.h"

TR_BEGIN_C

/* Writer: after the stores of any number of records, into any number of rings, and before the words
 * of those rings are asked. */
static inline void tr_fence_word_settle(void)
{
    tr_fence_full(); /* meets tr_fence_word_close */
}

/* Writer, settled: true if what was stored under this generation counts. Generations never come
 * again, so that a word which was closed and opened in between is another. */
static inline bool tr_fence_word_counts(tr_atomic_u64 *word, uint64_t generation)
{
    return tr_load_relaxed(word) == generation;
}

/* Owner: when it returns, every record that counts, or ever will, can be read. */
static inline void tr_fence_word_close(tr_atomic_u64 *word)
{
    tr_store_relaxed(word, UINT64_C(0));
    tr_fence_full(); /* meets tr_fence_word_settle */
}

/* Owner: lets one generation write, after the ring was made ready for it. */
static inline void tr_fence_word_open(tr_atomic_u64 *word, uint64_t generation)
{
    tr_store_release(word, generation);
}

TR_END_C

#endif
