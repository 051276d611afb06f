/* Finding and closing AF_XDP's sockets. */
#include "drivers/dpdk/xdp.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* The number of an AF_XDP socket's file; 0: it is none. */
static uint64_t inode_of(int fd)
{
    struct stat about;
    int domain = 0;
    socklen_t bytes = sizeof(domain);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) != 0 || domain != AF_XDP ||
        fstat(fd, &about) != 0)
        return 0;
    return about.st_ino;
}

void tr_xdp_sockets_list(struct tr_xdp_sockets *out)
{
    DIR *directory = opendir("/proc/self/fd");
    const struct dirent *entry;
    out->count = 0;
    while (directory != NULL && out->count < TR_XDP_SOCKETS_MAX &&
           (entry = readdir(directory)) != NULL) {
        int fd = atoi(entry->d_name);
        uint64_t inode = inode_of(fd);
        if (inode == 0)
            continue;
        out->fd[out->count] = fd;
        out->inode[out->count++] = inode;
    }
    if (directory != NULL)
        closedir(directory);
}

static bool has(const struct tr_xdp_sockets *sockets, uint64_t inode)
{
    for (uint32_t i = 0; i < sockets->count; i++) {
        if (sockets->inode[i] == inode)
            return true;
    }
    return false;
}

void tr_xdp_sockets_subtract(struct tr_xdp_sockets *from, const struct tr_xdp_sockets *earlier)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < from->count; i++) {
        if (has(earlier, from->inode[i]))
            continue;
        from->fd[kept] = from->fd[i];
        from->inode[kept++] = from->inode[i];
    }
    from->count = kept;
}

void tr_xdp_sockets_close(struct tr_xdp_sockets *sockets)
{
    for (uint32_t i = 0; i < sockets->count; i++) {
        if (inode_of(sockets->fd[i]) == sockets->inode[i])
            close(sockets->fd[i]);
    }
    sockets->count = 0;
}
