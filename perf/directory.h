/* A directory of the run's own, for the sockets of memif. */
#ifndef TR_PERF_DIRECTORY_H
#define TR_PERF_DIRECTORY_H

#include "base/types.h"

TR_BEGIN_C

#define TR_PERF_DIRECTORY_MAX 64

/* Makes one. Returns: TR_OK or TR_ESYS. */
int tr_perf_directory_make(char path[TR_PERF_DIRECTORY_MAX]);

/* Removes it and what lies in it; an empty path is none. */
void tr_perf_directory_remove(const char *path);

TR_END_C

#endif
