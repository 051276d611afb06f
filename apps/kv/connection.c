#include "connection.h"

#include "reply.h"
#include "server_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Asked of the socket at once, where no long request is on its way. */
#define READ_BYTES 16384u
/* One turn of a client ends after so many requests or bytes, so that all get theirs. */
#define TURN_REQUESTS_MAX 1024u
#define TURN_BYTES_MAX    (256u << 10)

/* What the next step of a turn is. */
enum step { STEP_GO_ON, STEP_WAIT };

/* ------------------------------------------------------------------ replies */

static void append(struct kv_server *server, struct kv_connection *connection, const void *data,
                   size_t bytes)
{
    if (connection->broken)
        return;
    if (kv_buffer_bytes(&connection->out) + bytes > server->options.output_bytes_max) {
        server->counts.clients_too_slow++;
        connection->broken = 1;
    } else if (!kv_buffer_append(&connection->out, data, bytes)) {
        connection->broken = 1;
    }
}

static int copy_reply(struct kv_pending *pending, const void *reply, uint32_t bytes)
{
    pending->done = 1;
    pending->reply_bytes = bytes;
    pending->reply = malloc(bytes > 0 ? bytes : 1);
    if (pending->reply == NULL)
        return 0;
    if (bytes > 0)
        memcpy(pending->reply, reply, bytes);
    return 1;
}

/* A request record of the client, in no queue yet. */
static struct kv_pending *make_pending(struct kv_server *server, struct kv_connection *connection,
                                       enum kv_kind kind)
{
    struct kv_pending *pending = kv_server_take_pending(server);
    if (pending == NULL)
        connection->broken = 1;
    else
        *pending = (struct kv_pending){.connection = connection, .kind = kind};
    return pending;
}

static void push_pending(struct kv_connection *connection, struct kv_pending *pending)
{
    if (connection->pending_last != NULL)
        connection->pending_last->next = pending;
    else
        connection->pending_first = pending;
    connection->pending_last = pending;
    connection->pending_count++;
}

static void pop_pending(struct kv_server *server, struct kv_connection *connection)
{
    struct kv_pending *pending = connection->pending_first;
    connection->pending_first = pending->next;
    if (connection->pending_first == NULL)
        connection->pending_last = NULL;
    connection->pending_count--;
    free(pending->reply);
    kv_server_give_pending(server, pending);
}

/* Replies to a request in its turn: at once, or behind those before it. */
static void reply_in_turn(struct kv_server *server, struct kv_connection *connection,
                          const void *reply, uint32_t bytes)
{
    if (connection->pending_first == NULL) {
        append(server, connection, reply, bytes);
        return;
    }
    struct kv_pending *pending = make_pending(server, connection, KV_KIND_LOCAL);
    if (pending == NULL)
        return;
    push_pending(connection, pending);
    if (!copy_reply(pending, reply, bytes))
        connection->broken = 1;
}

static void reply_error(struct kv_server *server, struct kv_connection *connection,
                        const char *text)
{
    char line[512];
    int bytes = snprintf(line, sizeof(line) - 2, "-%s", text);
    if (bytes > (int)sizeof(line) - 3)
        bytes = (int)sizeof(line) - 3;
    for (int at = 0; at < bytes; at++) {
        if (line[at] == '\r' || line[at] == '\n')
            line[at] = ' ';
    }
    memcpy(line + bytes, "\r\n", 2);
    server->counts.commands_failed++;
    reply_in_turn(server, connection, line, (uint32_t)bytes + 2);
}

static uint32_t is_query(enum kv_kind kind)
{
    return kind == KV_KIND_READ || kind == KV_KIND_STALE;
}

/* Learns from the size of a reply: at once when it is large, by and by when it is small. */
static void guess_reply(struct kv_connection *connection, uint32_t bytes)
{
    uint32_t guess = connection->reply_guess_bytes / 4 * 3;
    guess = bytes > guess ? bytes : guess;
    connection->reply_guess_bytes =
        guess > KV_CLIENT_REPLY_GUESS_BYTES_MIN ? guess : KV_CLIENT_REPLY_GUESS_BYTES_MIN;
    connection->query_count--;
}

void kv_connection_answer(struct kv_server *server, struct kv_pending *pending,
                          const uint8_t *reply, uint32_t bytes)
{
    struct kv_connection *connection = pending->connection;
    if (connection == NULL) {
        kv_server_give_pending(server, pending);
        return;
    }
    kv_server_enqueue(server, connection);
    if (is_query(pending->kind))
        guess_reply(connection, bytes);
    if (pending != connection->pending_first) {
        if (!copy_reply(pending, reply, bytes))
            connection->broken = 1;
        return;
    }
    append(server, connection, reply, bytes);
    pop_pending(server, connection);
    while (connection->pending_first != NULL && connection->pending_first->done) {
        struct kv_pending *next = connection->pending_first;
        append(server, connection, next->reply, next->reply_bytes);
        pop_pending(server, connection);
    }
}

/* ------------------------------------------------------------------ requests */

static struct kv_request request_of(const struct kv_server *server,
                                    const struct kv_connection *connection,
                                    const struct kv_command *command)
{
    uint32_t message_bytes_max = server->options.message_bytes_max;
    return (struct kv_request){
        .command = command,
        .bytes = kv_buffer_front(&connection->in),
        .args = connection->resp.args,
        .arg_count = connection->resp.arg_count,
        .flags = connection->protocol == 3 ? KV_WIRE_RESP3 : 0,
        .value_bytes_max = message_bytes_max - KV_VALUE_OVERHEAD_BYTES,
        .store_limit = (uint32_t)(server->options.store_bytes_max / KV_WIRE_LIMIT_UNIT_BYTES),
    };
}

static void answer_locally(struct kv_server *server, struct kv_connection *connection,
                           const struct kv_request *request)
{
    struct kv_buffer reply = {0};
    if (connection->pending_first == NULL) {
        if (!kv_local_answer(server, connection, request, &connection->out))
            connection->broken = 1;
        return;
    }
    if (!kv_local_answer(server, connection, request, &reply))
        connection->broken = 1;
    else if (kv_buffer_bytes(&reply) > 0)
        reply_in_turn(server, connection, kv_buffer_front(&reply),
                      (uint32_t)kv_buffer_bytes(&reply));
    kv_buffer_release(&reply);
}

static void refuse_size(struct kv_server *server, struct kv_connection *connection, uint64_t bytes,
                        uint32_t bytes_max)
{
    char text[160];
    server->counts.requests_too_big++;
    snprintf(text, sizeof(text),
             "ERR request of %llu bytes is above the limit of %u bytes; raise message-bytes",
             (unsigned long long)bytes, bytes_max);
    reply_error(server, connection, text);
}

/* Sends a request on its way through the group. Returns 1, or 0 when it must wait for room. */
static int send_request(struct kv_server *server, struct kv_connection *connection,
                        const struct kv_request *request)
{
    struct kv_pending *pending = make_pending(server, connection, request->command->kind);
    if (pending == NULL)
        return 1;
    int status = kv_link_send(&server->link, request, pending);
    if (status == 0) { /* its completion cannot have been collected yet */
        push_pending(connection, pending);
        connection->query_count += is_query(pending->kind);
        return 1;
    }
    kv_server_give_pending(server, pending);
    if (status == TR_AGAIN)
        return 0;
    if (status == TR_ETOOBIG)
        refuse_size(server, connection, kv_request_wire_bytes(request),
                    server->options.message_bytes_max);
    else
        reply_error(server, connection, "TRYAGAIN this node is closing; nothing was changed");
    return 1;
}

/* Executes the request at the front of `in`. Returns 1, or 0 when it must wait for room. */
static int execute(struct kv_server *server, struct kv_connection *connection)
{
    const struct kv_resp *resp = &connection->resp;
    const uint8_t *bytes = kv_buffer_front(&connection->in);
    const struct kv_command *command =
        kv_command_find(bytes + resp->args[0].offset, resp->args[0].bytes);
    char text[400];
    if (command == NULL) {
        kv_command_unknown(bytes, resp->args, resp->arg_count, text, sizeof(text));
        reply_error(server, connection, text);
        return 1;
    }
    struct kv_request request = request_of(server, connection, command);
    const char *error = kv_request_prepare(&request, text, sizeof(text));
    if (error != NULL) {
        reply_error(server, connection, error);
        return 1;
    }
    if (command->kind != KV_KIND_LOCAL)
        return send_request(server, connection, &request);
    answer_locally(server, connection, &request);
    return 1;
}

/* Executes a request that takes `bytes` at the front of `in`, or holds it. */
static enum step execute_or_hold(struct kv_server *server, struct kv_connection *connection,
                                 size_t bytes)
{
    if (!execute(server, connection)) {
        connection->held_bytes = bytes;
        kv_server_hold(server, connection);
        return STEP_WAIT;
    }
    connection->held_bytes = 0;
    server->counts.commands++;
    kv_buffer_drop(&connection->in, bytes);
    return STEP_GO_ON;
}

/* ------------------------------------------------------------------ the socket */

/* Reads once. Returns the bytes; 0 when there are none now or no more at all. */
static size_t read_some(struct kv_server *server, struct kv_connection *connection)
{
    size_t queued = kv_buffer_bytes(&connection->in);
    size_t wanted = kv_resp_wanted(&connection->resp);
    size_t room = wanted > queued + READ_BYTES ? wanted - queued : READ_BYTES;
    uint8_t *to = kv_buffer_reserve(&connection->in, room);
    if (to == NULL) {
        connection->broken = 1;
        return 0;
    }
    ssize_t got = recv(connection->fd, to, room, MSG_DONTWAIT);
    if (got > 0) {
        kv_buffer_commit(&connection->in, (size_t)got);
        server->counts.in_bytes += (uint64_t)got;
        if ((size_t)got < room)
            connection->readable = connection->hung; /* a short read empties a stream socket */
        return (size_t)got;
    }
    if (got < 0 && errno == EINTR)
        return 0;
    connection->readable = 0;
    if (got == 0)
        connection->ended = 1;
    else if (errno != EAGAIN && errno != EWOULDBLOCK)
        connection->broken = 1;
    return 0;
}

static void write_some(struct kv_server *server, struct kv_connection *connection)
{
    while (connection->writable && !connection->broken) {
        size_t queued = kv_buffer_bytes(&connection->out);
        if (queued == 0)
            return;
        ssize_t sent = send(connection->fd, kv_buffer_front(&connection->out), queued,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            server->counts.out_bytes += (uint64_t)sent;
            kv_buffer_drop(&connection->out, (size_t)sent);
        } else if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            connection->writable = 0;
        } else if (sent == 0 || errno != EINTR) {
            connection->broken = 1;
        }
    }
}

/* ------------------------------------------------------------------ a turn */

/* Whether the client may have another request taken. */
static int may_take(const struct kv_connection *connection)
{
    uint64_t expected_bytes = (uint64_t)connection->query_count * connection->reply_guess_bytes;
    return !connection->broken && !connection->closing &&
           connection->pending_count < KV_CLIENT_PENDING_MAX &&
           kv_buffer_bytes(&connection->out) + expected_bytes < KV_CLIENT_OUTPUT_SOFT_BYTES;
}

/* More bytes are needed for the next request. */
static enum step want_more(struct kv_server *server, struct kv_connection *connection,
                           size_t *turn_bytes)
{
    if (connection->ended) {
        connection->closing = 1; /* what came is answered; half a request is nothing */
        return STEP_WAIT;
    }
    if (!connection->readable || *turn_bytes >= TURN_BYTES_MAX)
        return STEP_WAIT;
    *turn_bytes += read_some(server, connection);
    return STEP_GO_ON;
}

static enum step take_request(struct kv_server *server, struct kv_connection *connection,
                              size_t *turn_bytes)
{
    size_t consumed = 0;
    size_t queued = kv_buffer_bytes(&connection->in);
    enum kv_resp_result result =
        kv_resp_parse(&connection->resp, kv_buffer_front(&connection->in), queued, &consumed);
    switch (result) {
    case KV_RESP_REQUEST:
        return execute_or_hold(server, connection, consumed);
    case KV_RESP_MORE:
        kv_buffer_drop(&connection->in, consumed);
        return want_more(server, connection, turn_bytes);
    case KV_RESP_EMPTY:
        kv_buffer_drop(&connection->in, consumed);
        return STEP_GO_ON;
    case KV_RESP_TOO_BIG:
        kv_buffer_drop(&connection->in, consumed);
        refuse_size(server, connection, connection->resp.request_bytes,
                    server->options.message_bytes_max);
        return STEP_GO_ON;
    case KV_RESP_BAD: {
        char text[128];
        snprintf(text, sizeof(text), "ERR %s", connection->resp.error);
        server->counts.protocol_errors++;
        reply_error(server, connection, text);
        connection->closing = 1;
        return STEP_WAIT;
    }
    case KV_RESP_NO_MEMORY:
        break;
    }
    connection->broken = 1;
    return STEP_WAIT;
}

int kv_connection_serve(struct kv_server *server, struct kv_connection *connection)
{
    size_t turn_bytes = 0;
    uint32_t turn_requests = 0;
    enum step step = STEP_GO_ON;
    if (connection->in_held)
        step = STEP_WAIT; /* it is here to have its replies written */
    else if (connection->held_bytes > 0 && !connection->broken)
        step = execute_or_hold(server, connection, connection->held_bytes);
    while (step == STEP_GO_ON && may_take(connection) && turn_requests < TURN_REQUESTS_MAX) {
        step = take_request(server, connection, &turn_bytes);
        turn_requests++;
    }
    write_some(server, connection);
    if (step == STEP_GO_ON)
        return may_take(connection);
    return connection->held_bytes == 0 && connection->readable && may_take(connection);
}

int kv_connection_is_over(const struct kv_connection *connection)
{
    if (connection->broken)
        return 1;
    return connection->closing && connection->held_bytes == 0 &&
           connection->pending_first == NULL && kv_buffer_bytes(&connection->out) == 0;
}

/* ------------------------------------------------------------------ open and close */

struct kv_connection *kv_connection_open(struct kv_server *server, int fd)
{
    struct kv_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        return NULL;
    kv_resp_init(&connection->resp, server->options.message_bytes_max + KV_REQUEST_SLACK_BYTES,
                 KV_REQUEST_ARGS_MAX);
    connection->fd = fd;
    connection->id = ++server->id_next;
    connection->opened_ns = server->now_ns;
    connection->protocol = 2;
    connection->readable = 1;
    connection->writable = 1;
    connection->reply_guess_bytes = KV_CLIENT_REPLY_GUESS_FIRST_BYTES;
    return connection;
}

void kv_connection_close(struct kv_server *server, struct kv_connection *connection)
{
    while (connection->pending_first != NULL) {
        struct kv_pending *pending = connection->pending_first;
        connection->pending_first = pending->next;
        pending->connection = NULL;
        pending->next = NULL;
        if (pending->done) {
            free(pending->reply);
            kv_server_give_pending(server, pending);
        }
    }
    close(connection->fd);
    kv_buffer_release(&connection->in);
    kv_buffer_release(&connection->out);
    kv_resp_release(&connection->resp);
    free(connection);
}
