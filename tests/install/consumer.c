/* The smallest program that uses an installed Trireme, in C99 and in C++. */
#include <trireme/error.h>
#include <trireme/stat.h>
#include <trireme/trireme.h>

#include <stdio.h>

int main(void)
{
    printf("%d.%d %s\n", TR_VERSION_MAJOR, TR_VERSION_MINOR, tr_strerror(TR_AGAIN));
    return tr_strerror(TR_OK) == 0;
}
