/* Opening and closing of the server: its socket, its session, its epoll instance. */
#include "server.h"
#include "server_state.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Clients that may wait to be accepted. */
#define BACKLOG_COUNT 511

/* Splits "HOST:PORT", "[HOST]:PORT" or ":PORT". Returns 1, or 0 when it is none. */
static int split_address(const char *text, char *host, size_t host_bytes, const char **port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] == '\0')
        return 0;
    size_t bytes = (size_t)(colon - text);
    if (bytes >= 2 && text[0] == '[' && text[bytes - 1] == ']') {
        text++;
        bytes -= 2;
    }
    if (bytes >= host_bytes)
        return 0;
    memcpy(host, text, bytes);
    host[bytes] = '\0';
    *port = colon + 1;
    return 1;
}

static int bind_one(const struct addrinfo *info)
{
    int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG_COUNT) == 0)
        return fd;
    int reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

static void name_socket(struct kv_server *server)
{
    struct sockaddr_storage address;
    socklen_t bytes = sizeof(address);
    char host[48], port[8];
    if (getsockname(server->listen_fd, (struct sockaddr *)&address, &bytes) != 0 ||
        getnameinfo((struct sockaddr *)&address, bytes, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    int is_ipv6 = address.ss_family == AF_INET6;
    snprintf(server->address, sizeof(server->address), is_ipv6 ? "[%s]:%s" : "%s:%s", host, port);
}

static int open_socket(struct kv_server *server, char *error, size_t error_bytes)
{
    const char *text = server->options.listen;
    const char *port;
    char host[256];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    if (!split_address(text, host, sizeof(host), &port)) {
        snprintf(error, error_bytes, "listen address '%s' is not HOST:PORT", text);
        return TR_EADDR;
    }
    int status = getaddrinfo(host[0] == '\0' ? NULL : host, port, &hints, &list);
    if (status != 0) {
        snprintf(error, error_bytes, "listen address '%s': %s", text, gai_strerror(status));
        return TR_EADDR;
    }
    for (const struct addrinfo *at = list; at != NULL && server->listen_fd < 0; at = at->ai_next)
        server->listen_fd = bind_one(at);
    int reason = errno;
    freeaddrinfo(list);
    if (server->listen_fd < 0) {
        snprintf(error, error_bytes, "cannot listen on '%s': %s; choose another with --listen",
                 text, strerror(reason));
        return TR_EADDR;
    }
    name_socket(server);
    return 0;
}

static int open_epoll(struct kv_server *server)
{
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll_fd < 0)
        return TR_ESYS;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = server};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->listen_fd, &event) != 0)
        return TR_ESYS;
    if (server->options.mode == KV_LINK_SAME_THREAD)
        return 0;
    event = (struct epoll_event){.events = EPOLLIN, .data.ptr = &server->link};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->link.ring.wake_fd, &event) != 0)
        return TR_ESYS;
    return 0;
}

static int open_link(struct kv_server *server)
{
    struct kv_link_options options = {
        .group = server->options.group,
        .mode = server->options.mode,
        .window = server->options.window,
        .message_bytes_max = server->options.message_bytes_max,
        .deadline_us = server->options.deadline_us,
    };
    return kv_link_open(&server->link, &options);
}

int kv_server_open(const struct kv_server_options *options, struct kv_server **out, char *error,
                   size_t error_bytes)
{
    struct kv_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        snprintf(error, error_bytes, "no memory for the server");
        return TR_ENOMEM;
    }
    server->options = *options;
    server->listen_fd = -1;
    server->epoll_fd = -1;
    server->now_ns = options->now_ns;
    server->opened_ns = options->now_ns;
    server->rate_ns = options->now_ns;
    int status = open_socket(server, error, error_bytes);
    if (status == 0) {
        status = open_link(server);
        if (status == 0)
            status = open_epoll(server);
        if (status != 0)
            snprintf(error, error_bytes, "cannot open the server's session: %s",
                     tr_strerror(status));
    }
    if (status != 0) {
        kv_server_close(server);
        kv_server_release(server);
        return status;
    }
    *out = server;
    return 0;
}

void kv_server_close(struct kv_server *server)
{
    while (server->clients != NULL) {
        struct kv_connection *connection = server->clients;
        server->clients = connection->next;
        kv_connection_close(server, connection);
    }
    server->client_count = 0;
    server->ready = (struct kv_line){0};
    server->held = (struct kv_line){0};
    kv_link_close(&server->link);
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    if (server->epoll_fd >= 0)
        close(server->epoll_fd);
}

void kv_server_release(struct kv_server *server)
{
    kv_link_release(&server->link);
    while (server->slabs != NULL) {
        struct kv_pending_slab *next = server->slabs->next;
        free(server->slabs);
        server->slabs = next;
    }
    free(server);
}
