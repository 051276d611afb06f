#include "tests/lin/memory.h"

#include <stdio.h>
#include <stdlib.h>

static void *checked(void *memory)
{
    if (memory == NULL) {
        fputs("trireme-lin: out of memory\n", stderr);
        exit(2);
    }
    return memory;
}

void *tr_lin_make(size_t count, size_t bytes)
{
    return checked(calloc(count > 0 ? count : 1, bytes));
}

void *tr_lin_room(void *array, size_t count, size_t *capacity, size_t bytes)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity > 0 ? *capacity * 2 : 64;
    return checked(realloc(array, *capacity * bytes));
}
