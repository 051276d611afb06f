/* Names of processes that are not used again: id and start time. */
#include "dataplane/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Field 22 of /proc/PID/stat; the fields are counted from the name's closing bracket, since the
 * name may hold anything. */
#define FIELDS_AFTER_NAME 20

/* Reads the status line of a process. Returns false when there is no such process. */
static bool read_line(uint32_t process, char *line, size_t line_bytes)
{
    char path[48];
    snprintf(path, sizeof(path), "/proc/%u/stat", process);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, line, line_bytes - 1);
    close(fd);
    if (got <= 0)
        return false;
    line[got] = '\0';
    return true;
}

uint64_t tr_process_born(uint32_t process)
{
    char line[1024];
    if (!read_line(process, line, sizeof(line)))
        return 0;
    char *at = strrchr(line, ')');
    if (at == NULL || at[1] == '\0' || at[2] == 'Z')
        return 0; /* a zombie runs nothing any more */
    for (int field = 0; at != NULL && field < FIELDS_AFTER_NAME; field++)
        at = strchr(at + 1, ' ');
    return at == NULL ? 0 : strtoull(at, NULL, 10);
}

bool tr_process_alive(uint32_t process, uint64_t born)
{
    return born != 0 && tr_process_born(process) == born;
}
