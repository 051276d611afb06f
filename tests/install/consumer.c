/* The smallest program that uses an installed Trireme, in C99 and in C++. */
#include <trireme/client.h>
#include <trireme/error.h>
#include <trireme/stat.h>
#include <trireme/trireme.h>

#include <stdio.h>

int main(void)
{
    struct tr_client_options options = TR_CLIENT_OPTIONS_INIT; /* without nodes: refused */
    struct tr_client *client = NULL;
    if (tr_client_open(&options, &client, NULL, 0) != TR_EINVAL)
        return 1;
    printf("%d.%d %s\n", TR_VERSION_MAJOR, TR_VERSION_MINOR, tr_strerror(TR_AGAIN));
    return tr_strerror(TR_OK) == 0;
}
