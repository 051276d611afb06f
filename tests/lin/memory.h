/* Memory of the checker: a program that ends when there is none. */
#ifndef TR_LIN_MEMORY_H
#define TR_LIN_MEMORY_H

#include "base/types.h"

#include <stddef.h>

TR_BEGIN_C

/* Memory for count elements, zeroed. Owns: the caller, who frees it. */
void *tr_lin_make(size_t count, size_t bytes);

/* The array with room for one more element than it has: moved and doubled when it is full.
 * Owns: as realloc. */
void *tr_lin_room(void *array, size_t count, size_t *capacity, size_t bytes);

TR_END_C

#endif
