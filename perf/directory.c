#include "perf/directory.h"

#include "trireme/error.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int tr_perf_directory_make(char path[TR_PERF_DIRECTORY_MAX])
{
    snprintf(path, TR_PERF_DIRECTORY_MAX, "/tmp/trireme-perf-XXXXXX");
    if (mkdtemp(path) != NULL)
        return TR_OK;
    path[0] = '\0';
    return TR_ESYS;
}

void tr_perf_directory_remove(const char *path)
{
    DIR *directory = path[0] != '\0' ? opendir(path) : NULL;
    const struct dirent *entry;
    if (directory == NULL)
        return;
    while ((entry = readdir(directory)) != NULL)
        unlinkat(dirfd(directory), entry->d_name, 0); /* . and .. stay */
    closedir(directory);
    rmdir(path);
}
