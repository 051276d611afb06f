/* One port an address of this host, and none before its predecessor is gone (safety rule 1).
 *
 * The ring of a process that was killed can be written to until the kernel has taken its
 * connections apart, which happens as the process exits, in no order that user space knows. So a
 * file says who has the address: its lock tells whether he lives, his process id whether he is
 * still exiting. When neither, nothing that is written for him lands any more. */
#include "drivers/verbs/inner.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* An exit takes as long as tearing down gigabytes of pages. */
#define EXIT_MS 10000

/* When a process began, in the kernel's ticks: with its number it names it. 0: there is none. */
static unsigned long long start_of(long pid)
{
    char path[64], text[1024];
    unsigned long long start = 0;
    snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    size_t bytes = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[bytes] = '\0';
    char *at = strrchr(text, ')'); /* the name before may have any character in it */
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (at != NULL)
        start = strtoull(at + 1, NULL, 10);
    return start;
}

/* Waits until the process that the file names has exited. Returns: whether it has. */
static bool wait_for_exit(int fd)
{
    char text[64] = "";
    long pid = 0;
    unsigned long long start = 0;
    if (pread(fd, text, sizeof(text) - 1, 0) <= 0 || sscanf(text, "%ld %llu", &pid, &start) != 2 ||
        pid == getpid() || start_of(pid) != start)
        return true;
    int process = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    if (process < 0)
        return errno == ESRCH || start_of(pid) != start;
    struct pollfd wait = {.fd = process, .events = POLLIN};
    int ended = poll(&wait, 1, EXIT_MS);
    close(process);
    return ended > 0;
}

int tr_verbs_lock(struct tr_port *port, const struct tr_port_options *options,
                  const struct sockaddr_storage *address)
{
    char path[160], host[64] = "";
    unsigned number = ntohs(((const struct sockaddr_in *)address)->sin_port);
    getnameinfo((const struct sockaddr *)address, sizeof(*address), host, sizeof(host), NULL, 0,
                NI_NUMERICHOST);
    snprintf(path, sizeof(path), "/dev/shm/trireme.verbs.%s.%u", host, number);
    port->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (port->lock_fd < 0) {
        tr_explain(options->error, options->error_bytes, "verbs: %s: %s", path, strerror(errno));
        return TR_ESYS;
    }
    if (flock(port->lock_fd, LOCK_EX | LOCK_NB) != 0 || !wait_for_exit(port->lock_fd)) {
        tr_explain(options->error, options->error_bytes,
                   "verbs: %s is in use by a process that lives (or has not exited yet)",
                   options->address);
        close(port->lock_fd);
        port->lock_fd = -1;
        return TR_EBUSY;
    }
    char text[64];
    int bytes = snprintf(text, sizeof(text), "%ld %llu\n", (long)getpid(), start_of(getpid()));
    if (ftruncate(port->lock_fd, 0) != 0 ||
        pwrite(port->lock_fd, text, (size_t)bytes, 0) != (ssize_t)bytes)
        return TR_ESYS;
    return TR_OK;
}

void tr_verbs_unlock(struct tr_port *port)
{
    if (port->lock_fd < 0)
        return;
    /* Everything is taken apart: who comes next need not wait. */
    if (ftruncate(port->lock_fd, 0) == 0)
        flock(port->lock_fd, LOCK_UN);
    close(port->lock_fd);
    port->lock_fd = -1;
}
