#include "perf/control.h"

#include "perf/clock.h"
#include "trireme/error.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int resolve(const char *host, uint16_t port, struct addrinfo **out)
{
    char service[8];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    snprintf(service, sizeof(service), "%u", port);
    return getaddrinfo(host, service, &hints, out) == 0 ? TR_OK : TR_EADDR;
}

int tr_perf_control_listen(const char *host, uint16_t port)
{
    struct addrinfo *address = NULL;
    int on = 1;
    if (resolve(host, port, &address) != TR_OK)
        return TR_EADDR;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_bad = fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
                  bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, 1) != 0;
    freeaddrinfo(address);
    if (is_bad && fd >= 0)
        close(fd);
    return is_bad ? TR_ESYS : fd;
}

static bool is_ready(int fd, int timeout_ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, timeout_ms) == 1;
}

int tr_perf_control_accept(int listener, int timeout_ms)
{
    int on = 1;
    if (!is_ready(listener, timeout_ms))
        return TR_AGAIN;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return TR_ESYS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

int tr_perf_control_connect(const char *host, uint16_t port)
{
    const struct timespec pause = {0, 100000000};
    const uint64_t end_ns = tr_perf_now_ns() + TR_PERF_CONTROL_MS * UINT64_C(1000000);
    struct addrinfo *address = NULL;
    int on = 1;
    int fd = -1;
    if (resolve(host, port, &address) != TR_OK)
        return TR_EADDR;
    while (fd < 0 && tr_perf_now_ns() < end_ns) {
        fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
            clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        }
    }
    freeaddrinfo(address);
    if (fd < 0)
        return TR_ETIMEOUT;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

int tr_perf_control_send(int fd, const char *line)
{
    char text[TR_PERF_LINE_MAX + 1];
    int length = snprintf(text, sizeof(text), "%s\n", line);
    for (int sent = 0; sent < length;) {
        ssize_t bytes = send(fd, text + sent, (size_t)(length - sent), MSG_NOSIGNAL);
        if (bytes < 0 && errno != EINTR)
            return TR_ECLOSED;
        sent += bytes > 0 ? (int)bytes : 0;
    }
    return TR_OK;
}

int tr_perf_control_receive(int fd, int timeout_ms, char line[TR_PERF_LINE_MAX])
{
    /* A byte at a time: lines are few, and nothing of the next one may be taken. */
    for (uint32_t length = 0; length < TR_PERF_LINE_MAX; length++) {
        if (!is_ready(fd, length == 0 ? timeout_ms : TR_PERF_CONTROL_MS))
            return length == 0 ? TR_AGAIN : TR_ECLOSED;
        if (recv(fd, line + length, 1, 0) != 1)
            return TR_ECLOSED;
        if (line[length] == '\n') {
            line[length] = '\0';
            return TR_OK;
        }
    }
    return TR_EPROTO;
}

int tr_perf_control_ask(int fd, const char *line, char answer[TR_PERF_LINE_MAX])
{
    char received[TR_PERF_LINE_MAX];
    int result = tr_perf_control_send(fd, line);
    if (result == TR_OK)
        result = tr_perf_control_receive(fd, TR_PERF_CONTROL_MS, received);
    if (result != TR_OK)
        return result == TR_AGAIN ? TR_ETIMEOUT : result;
    size_t skip = strncmp(received, "ok ", 3) == 0 ? 3 : 2;
    if (strncmp(received, "ok", 2) != 0 || (skip == 2 && received[2] != '\0'))
        return TR_EPROTO;
    memmove(answer, received + skip, strlen(received) - skip + 1);
    return TR_OK;
}
