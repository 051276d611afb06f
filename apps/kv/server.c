#include "server.h"

#include "reply.h"
#include "server_state.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Events taken from the kernel at once. */
#define EVENTS_MAX 128
/* Clients accepted in one go. */
#define ACCEPTS_MAX 64
/* Clients served in one call of kv_server_work. */
#define TURNS_MAX 256u
/* After the process ran out of descriptors it waits so long before it accepts again. */
#define ACCEPT_PAUSE_NS 100000000u

/* Where the session does not take the first command, it is tried again after so long. */
#define SEED_PAUSE_NS 10000000u

#define SECOND_NS UINT64_C(1000000000)

/* ------------------------------------------------------------------ lines of clients */

void kv_server_enqueue(struct kv_server *server, struct kv_connection *connection)
{
    if (connection->in_ready)
        return;
    connection->in_ready = 1;
    connection->ready_next = NULL;
    if (server->ready.last != NULL)
        server->ready.last->ready_next = connection;
    else
        server->ready.first = connection;
    server->ready.last = connection;
}

static struct kv_connection *take_ready(struct kv_server *server)
{
    struct kv_connection *connection = server->ready.first;
    if (connection == NULL)
        return NULL;
    server->ready.first = connection->ready_next;
    if (server->ready.first == NULL)
        server->ready.last = NULL;
    connection->in_ready = 0;
    return connection;
}

void kv_server_hold(struct kv_server *server, struct kv_connection *connection)
{
    if (connection->in_held)
        return;
    server->counts.holds++;
    connection->in_held = 1;
    connection->held_next = NULL;
    if (server->held.last != NULL)
        server->held.last->held_next = connection;
    else
        server->held.first = connection;
    server->held.last = connection;
}

/* The client that has waited longest for room in the session, out of the line. */
static struct kv_connection *take_held(struct kv_server *server)
{
    struct kv_connection *connection = server->held.first;
    if (connection == NULL)
        return NULL;
    server->held.first = connection->held_next;
    if (server->held.first == NULL)
        server->held.last = NULL;
    connection->in_held = 0;
    return connection;
}

static void unlink_held(struct kv_server *server, struct kv_connection *connection)
{
    struct kv_connection *before = NULL;
    struct kv_connection *at = server->held.first;
    while (at != NULL && at != connection) {
        before = at;
        at = at->held_next;
    }
    if (at == NULL)
        return;
    if (before != NULL)
        before->held_next = at->held_next;
    else
        server->held.first = at->held_next;
    if (server->held.last == at)
        server->held.last = before;
}

/* Makes a slab of request records, all of them free. */
static void add_slab(struct kv_server *server)
{
    struct kv_pending_slab *slab = malloc(sizeof(*slab));
    if (slab == NULL)
        return;
    slab->next = server->slabs;
    server->slabs = slab;
    for (uint32_t at = 0; at < KV_PENDING_SLAB_COUNT; at++)
        kv_server_give_pending(server, &slab->records[at]);
}

struct kv_pending *kv_server_take_pending(struct kv_server *server)
{
    if (server->free_pending == NULL)
        add_slab(server);
    struct kv_pending *pending = server->free_pending;
    if (pending != NULL)
        server->free_pending = pending->next;
    return pending;
}

void kv_server_give_pending(struct kv_server *server, struct kv_pending *pending)
{
    pending->next = server->free_pending;
    server->free_pending = pending;
}

/* ------------------------------------------------------------------ completions */

static const char unknown_outcome[] =
    "-ERR outcome unknown: no quorum answered in time; the command may have been executed\r\n";
static const char nothing_done[] = "-TRYAGAIN no quorum answered in time; nothing was changed\r\n";
static const char reply_lost[] = "-ERR the reply is above the limit of replies (message-bytes)\r\n";

/* The error of a command or query that the library could not complete. */
static const char *failure_text(enum kv_kind kind, int status)
{
    if (status == TR_ETOOBIG)
        return reply_lost;
    if (kind != KV_KIND_WRITE || status == TR_EABORTED || status == TR_AGAIN)
        return nothing_done;
    return unknown_outcome;
}

/* The command that keys the store's hash came back: the cluster works. */
static void on_seeded(struct kv_server *server, int status)
{
    server->is_ready = status == 0;
    server->seed_sent = status == 0;
}

static void on_outcome(void *context, const struct kv_outcome *outcome)
{
    struct kv_server *server = context;
    struct kv_pending *pending = outcome->user;
    if (pending == NULL) {
        on_seeded(server, outcome->status);
    } else if (outcome->status == 0) {
        kv_connection_answer(server, pending, outcome->reply, outcome->reply_bytes);
    } else {
        const char *text = failure_text(pending->kind, outcome->status);
        if (text == unknown_outcome)
            server->counts.commands_unknown++;
        server->counts.commands_failed++;
        kv_connection_answer(server, pending, (const uint8_t *)text, (uint32_t)strlen(text));
    }
}

/* The first command of each node: a key for the store's hash, of which the log's first one counts,
 * so that no client can choose keys that collide. */
static void send_seed(struct kv_server *server)
{
    static const struct kv_command command = {
        .name = "seed", .kind = KV_KIND_WRITE, .op = KV_OP_SEED};
    uint8_t seed[KV_STORE_SEED_BYTES];
    if (server->now_ns < server->seed_after_ns)
        return;
    server->seed_after_ns = server->now_ns + SEED_PAUSE_NS;
    if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        return;
    struct kv_request request = {
        .command = &command, .rewritten_count = 1, .rewritten = {{seed, sizeof(seed)}}};
    server->seed_sent = kv_link_send(&server->link, &request, NULL) == 0;
}

/* ------------------------------------------------------------------ clients */

static void drop_client(struct kv_server *server, struct kv_connection *connection)
{
    if (connection->in_held)
        unlink_held(server, connection);
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        server->clients = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    server->client_count--;
    kv_connection_close(server, connection);
}

static void name_peer(struct kv_connection *connection, const struct sockaddr_storage *address,
                      socklen_t bytes)
{
    char host[48], port[8];
    if (getnameinfo((const struct sockaddr *)address, bytes, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(connection->peer, sizeof(connection->peer), "%s:%s", host, port);
}

static void refuse_client(struct kv_server *server, int fd)
{
    static const char text[] = "-ERR max number of clients reached\r\n";
    ssize_t sent = send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)sent; /* it is told if it can be */
    server->counts.connections_refused++;
    close(fd);
}

static void admit_client(struct kv_server *server, int fd, const struct sockaddr_storage *address,
                         socklen_t bytes)
{
    int on = 1;
    if (server->client_count >= server->options.clients_max) {
        refuse_client(server, fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    struct kv_connection *connection = kv_connection_open(server, fd);
    if (connection == NULL) {
        refuse_client(server, fd);
        return;
    }
    name_peer(connection, address, bytes);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = connection};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        connection->broken = 1;
    connection->next = server->clients;
    if (server->clients != NULL)
        server->clients->previous = connection;
    server->clients = connection;
    server->client_count++;
    server->counts.connections++;
    kv_server_enqueue(server, connection);
}

/* Whether accept(2) said that there is no client just now, or that one went away. */
static int is_passing(int error)
{
    return error == EINTR || error == ECONNABORTED || error == EPROTO || error == ENETDOWN ||
           error == EHOSTDOWN || error == ENETUNREACH || error == EHOSTUNREACH || error == EPERM;
}

static void accept_clients(struct kv_server *server)
{
    for (int at = 0; at < ACCEPTS_MAX; at++) {
        struct sockaddr_storage address;
        socklen_t bytes = sizeof(address);
        int fd = accept4(server->listen_fd, (struct sockaddr *)&address, &bytes,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            admit_client(server, fd, &address, bytes);
        } else if (!is_passing(errno)) {
            server->acceptable = 0;
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                return;
            server->counts.connections_refused++; /* no descriptor or memory: later */
            server->accept_paused = 1;
            server->accept_after_ns = server->now_ns + ACCEPT_PAUSE_NS;
            return;
        }
    }
}

/* ------------------------------------------------------------------ the cycle */

static void count_rate(struct kv_server *server)
{
    uint64_t passed_ns = server->now_ns - server->rate_ns;
    if (passed_ns < SECOND_NS)
        return;
    uint64_t commands = server->counts.commands - server->rate_commands;
    server->rate_per_s = commands * 1000 / (passed_ns / 1000000);
    server->rate_commands = server->counts.commands;
    server->rate_ns = server->now_ns;
}

/* Gives a client its turn. Returns 1 when it waits for room in the session now. */
static int serve(struct kv_server *server, struct kv_connection *connection)
{
    int more = kv_connection_serve(server, connection);
    int held = connection->in_held;
    if (kv_connection_is_over(connection) && !connection->in_ready)
        drop_client(server, connection); /* one in line is dropped at its turn */
    else if (more)
        kv_server_enqueue(server, connection);
    return held;
}

/* Serves the clients that wait for room in the session, longest first, until there is none left. */
static uint32_t serve_held(struct kv_server *server)
{
    struct kv_connection *connection;
    uint32_t turns = 0;
    int held = 0;
    while (!held && turns < TURNS_MAX && (connection = take_held(server)) != NULL) {
        turns++;
        held = serve(server, connection);
    }
    return turns;
}

static uint32_t serve_ready(struct kv_server *server)
{
    struct kv_connection *connection;
    uint32_t turns = 0;
    struct kv_connection *last = server->ready.last;
    int is_last = 0; /* of those that were in line at the start: the others have their next turn */
    while (!is_last && turns < TURNS_MAX && (connection = take_ready(server)) != NULL) {
        turns++;
        is_last = connection == last;
        serve(server, connection);
    }
    return turns;
}

uint32_t kv_server_work(struct kv_server *server, uint64_t now_ns)
{
    server->now_ns = now_ns;
    count_rate(server);
    uint32_t work = kv_link_collect(&server->link, on_outcome, server);
    if (!server->seed_sent && !server->draining)
        send_seed(server);
    if (server->held.first != NULL && (work > 0 || server->link.in_flight == 0))
        work += serve_held(server);
    if (server->accept_paused && now_ns >= server->accept_after_ns) {
        server->accept_paused = 0;
        server->acceptable = 1;
    }
    if (server->acceptable && !server->draining)
        accept_clients(server);
    return work + serve_ready(server);
}

static void note_event(struct kv_server *server, const struct epoll_event *event)
{
    struct kv_connection *connection = event->data.ptr;
    if (event->data.ptr == server) {
        server->acceptable = 1;
    } else if (event->data.ptr == &server->link) {
        kv_completions_awake(&server->link.ring);
    } else if (event->data.ptr != NULL) {
        uint32_t hung = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
        if (event->events & hung)
            connection->hung = 1;
        if (event->events & (EPOLLIN | hung))
            connection->readable = 1;
        if (event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
            connection->writable = 1;
        kv_server_enqueue(server, connection);
    }
}

uint32_t kv_server_poll_sockets(struct kv_server *server, uint64_t timeout_ns)
{
    struct epoll_event events[EVENTS_MAX];
    int parked = 0;
    if (timeout_ns > 0 && server->options.mode == KV_LINK_OWN_THREAD) {
        parked = kv_completions_sleep(&server->link.ring);
        if (!parked)
            timeout_ns = 0;
    }
    struct timespec timeout = {(time_t)(timeout_ns / SECOND_NS), (long)(timeout_ns % SECOND_NS)};
    int count = epoll_pwait2(server->epoll_fd, events, EVENTS_MAX, &timeout, NULL);
    if (parked)
        kv_completions_awake(&server->link.ring);
    for (int at = 0; at < count; at++)
        note_event(server, &events[at]);
    return count > 0 ? (uint32_t)count : 0;
}

int kv_server_watch(struct kv_server *server, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : TR_ESYS;
}

int kv_server_drain(struct kv_server *server)
{
    if (!server->draining) {
        server->draining = 1;
        for (struct kv_connection *at = server->clients; at != NULL; at = at->next) {
            at->closing = 1;
            at->held_bytes = 0;
            kv_server_enqueue(server, at);
        }
    }
    return server->client_count == 0;
}

int kv_server_is_ready(const struct kv_server *server)
{
    return server->is_ready;
}

int kv_server_is_busy(const struct kv_server *server)
{
    return server->link.in_flight > 0 || server->ready.first != NULL ||
           server->held.first != NULL || server->acceptable;
}

const char *kv_server_address(const struct kv_server *server)
{
    return server->address;
}

const struct kv_server_counts *kv_server_counts(const struct kv_server *server)
{
    return &server->counts;
}
