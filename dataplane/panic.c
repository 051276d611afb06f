/* The end of a process whose assertion failed: say which, and stop before anything wrong is sent.
 */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void tr_panic(const char *file, int line, const char *expression)
{
    fprintf(stderr, "trireme: %s:%d: assertion failed: %s\n", file, line, expression);
    fflush(stderr);
    abort();
}
