/* Commands that the server of the node answers itself: about the connection and the node. */
#include "reply.h"
#include "server_state.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

/* What clients that look at versions are told: the Redis whose replies these are. */
#define REDIS_VERSION "7.0.15"

static struct kv_bytes arg(const struct kv_request *request, uint32_t index)
{
    const struct kv_arg *at = &request->args[index];
    return (struct kv_bytes){request->bytes + at->offset, at->bytes};
}

static int arg_is(const struct kv_request *request, uint32_t index, const char *word)
{
    struct kv_bytes bytes = arg(request, index);
    return kv_word_is(bytes.data, bytes.bytes, word);
}

/* ------------------------------------------------------------------ pieces of replies */

static int put_text(struct kv_buffer *out, const char *text)
{
    return kv_buffer_append(out, text, strlen(text));
}

static int put_bulk(struct kv_buffer *out, const void *data, size_t bytes)
{
    return kv_buffer_format(out, "$%zu\r\n", bytes) && kv_buffer_append(out, data, bytes) &&
           put_text(out, "\r\n");
}

static int put_string(struct kv_buffer *out, const char *text)
{
    return put_bulk(out, text, strlen(text));
}

static int put_integer(struct kv_buffer *out, uint64_t number)
{
    return kv_buffer_format(out, ":%llu\r\n", (unsigned long long)number);
}

/* The head of a map of so many pairs: in RESP2 an array of keys and values. */
static int put_map(struct kv_buffer *out, const struct kv_connection *connection, size_t pairs)
{
    if (connection->protocol == 3)
        return kv_buffer_format(out, "%%%zu\r\n", pairs);
    return kv_buffer_format(out, "*%zu\r\n", pairs * 2);
}

static int put_null(struct kv_buffer *out, const struct kv_connection *connection)
{
    return put_text(out, connection->protocol == 3 ? "_\r\n" : "$-1\r\n");
}

/* A text for people to read: in RESP3 marked as such. */
static int put_verbatim(struct kv_buffer *out, const struct kv_connection *connection,
                        const struct kv_buffer *text)
{
    size_t bytes = kv_buffer_bytes(text);
    if (connection->protocol == 2)
        return put_bulk(out, kv_buffer_front(text), bytes);
    return kv_buffer_format(out, "=%zu\r\ntxt:", bytes + 4) &&
           kv_buffer_append(out, kv_buffer_front(text), bytes) && put_text(out, "\r\n");
}

static int put_error(struct kv_server *server, struct kv_buffer *out, const char *text)
{
    server->counts.commands_failed++;
    return kv_buffer_format(out, "-%s\r\n", text);
}

static int put_arity_error(struct kv_server *server, struct kv_buffer *out, const char *name)
{
    char text[128];
    snprintf(text, sizeof(text), "ERR wrong number of arguments for '%s' command", name);
    return put_error(server, out, text);
}

/* "unknown subcommand" with what the client wrote, made printable. */
static int put_subcommand_error(struct kv_server *server, const struct kv_request *request,
                                struct kv_buffer *out, const char *name)
{
    char word[65], text[160];
    struct kv_bytes given = arg(request, 1);
    uint32_t bytes = given.bytes < sizeof(word) - 1 ? given.bytes : (uint32_t)sizeof(word) - 1;
    for (uint32_t at = 0; at < bytes; at++)
        word[at] = given.data[at] >= ' ' && given.data[at] < 127 ? (char)given.data[at] : '?';
    word[bytes] = '\0';
    snprintf(text, sizeof(text), "ERR unknown subcommand '%s'. Try %s HELP.", word, name);
    return put_error(server, out, text);
}

/* ------------------------------------------------------------------ the connection */

static int answer_ping(struct kv_server *server, const struct kv_request *request,
                       struct kv_buffer *out)
{
    if (request->arg_count > 2)
        return put_arity_error(server, out, "ping");
    if (request->arg_count == 1)
        return put_text(out, "+PONG\r\n");
    struct kv_bytes text = arg(request, 1);
    return put_bulk(out, text.data, text.bytes);
}

/* A name without blanks and control characters, as Redis asks. Returns 1 when it was set. */
static int set_name(struct kv_connection *connection, struct kv_bytes name)
{
    if (name.bytes > KV_CLIENT_NAME_BYTES_MAX)
        return 0;
    for (uint32_t at = 0; at < name.bytes; at++) {
        if (name.data[at] < '!' || name.data[at] > '~')
            return 0;
    }
    if (name.bytes > 0)
        memcpy(connection->name, name.data, name.bytes);
    connection->name[name.bytes] = '\0';
    return 1;
}

static const char bad_name[] =
    "ERR Client names cannot contain spaces, newlines or special characters.";

static int put_hello(const struct kv_connection *connection, struct kv_buffer *out)
{
    return put_map(out, connection, 7) && put_string(out, "server") && put_string(out, "redis") &&
           put_string(out, "version") && put_string(out, REDIS_VERSION) &&
           put_string(out, "proto") && put_integer(out, connection->protocol) &&
           put_string(out, "id") && put_integer(out, connection->id) && put_string(out, "mode") &&
           put_string(out, "standalone") && put_string(out, "role") && put_string(out, "master") &&
           put_string(out, "modules") && put_text(out, "*0\r\n");
}

/* HELLO [VERSION [AUTH USER PASSWORD] [SETNAME NAME]]: nothing changes unless all of it is right.
 */
static int answer_hello(struct kv_server *server, struct kv_connection *connection,
                        const struct kv_request *request, struct kv_buffer *out)
{
    int64_t version = connection->protocol;
    struct kv_bytes name = {NULL, 0};
    int named = 0;
    if (request->arg_count > 1) {
        struct kv_bytes text = arg(request, 1);
        if (!kv_number_parse(text.data, text.bytes, &version))
            return put_error(server, out, "ERR Protocol version is not an integer or out of range");
        if (version < 2 || version > 3)
            return put_error(server, out, "NOPROTO unsupported protocol version");
    }
    for (uint32_t at = 2; at < request->arg_count; at += 2) {
        if (arg_is(request, at, "setname") && at + 1 < request->arg_count) {
            name = arg(request, at + 1);
            named = 1;
        } else if (arg_is(request, at, "auth") && at + 2 < request->arg_count) {
            at++; /* there are no users: whoever comes is let in */
        } else {
            return put_error(server, out, "ERR Syntax error in HELLO option");
        }
    }
    if (named && !set_name(connection, name))
        return put_error(server, out, bad_name);
    connection->protocol = (uint8_t)version;
    return put_hello(connection, out);
}

static int answer_select(struct kv_server *server, const struct kv_request *request,
                         struct kv_buffer *out)
{
    int64_t number;
    struct kv_bytes text = arg(request, 1);
    if (!kv_number_parse(text.data, text.bytes, &number))
        return put_error(server, out, "ERR value is not an integer or out of range");
    if (number != 0)
        return put_error(server, out, "ERR DB index is out of range");
    return put_text(out, "+OK\r\n");
}

static int put_client_line(struct kv_server *server, const struct kv_connection *connection,
                           struct kv_buffer *out)
{
    unsigned long long age_s = (server->now_ns - connection->opened_ns) / 1000000000u;
    return kv_buffer_format(
        out, "id=%llu addr=%s laddr=%s fd=%d name=%s age=%llu db=0 qbuf=%zu obl=%zu resp=%u\n",
        (unsigned long long)connection->id, connection->peer, server->address, connection->fd,
        connection->name, age_s, kv_buffer_bytes(&connection->in),
        kv_buffer_bytes(&connection->out), connection->protocol);
}

/* CLIENT LIST, or with `one` CLIENT INFO. */
static int put_clients(struct kv_server *server, const struct kv_connection *connection,
                       const struct kv_connection *one, struct kv_buffer *out)
{
    struct kv_buffer text = {0};
    int made = 1;
    const struct kv_connection *at = one != NULL ? one : server->clients;
    for (; at != NULL && made; at = one != NULL ? NULL : at->next)
        made = put_client_line(server, at, &text);
    made = made && put_verbatim(out, connection, &text);
    kv_buffer_release(&text);
    return made;
}

static int answer_client(struct kv_server *server, struct kv_connection *connection,
                         const struct kv_request *request, struct kv_buffer *out)
{
    uint32_t count = request->arg_count;
    if (arg_is(request, 1, "id") && count == 2)
        return put_integer(out, connection->id);
    if (arg_is(request, 1, "getname") && count == 2) {
        if (connection->name[0] == '\0')
            return put_null(out, connection);
        return put_string(out, connection->name);
    }
    if (arg_is(request, 1, "setname") && count == 3)
        return set_name(connection, arg(request, 2)) ? put_text(out, "+OK\r\n")
                                                     : put_error(server, out, bad_name);
    if (arg_is(request, 1, "setinfo") && count == 4)
        return put_text(out, "+OK\r\n");
    if ((arg_is(request, 1, "no-evict") || arg_is(request, 1, "no-touch")) && count == 3)
        return put_text(out, "+OK\r\n");
    if (arg_is(request, 1, "list"))
        return put_clients(server, connection, NULL, out);
    if (arg_is(request, 1, "info") && count == 2)
        return put_clients(server, connection, connection, out);
    return put_subcommand_error(server, request, out, "CLIENT");
}

/* ------------------------------------------------------------------ the node */

/* What CONFIG GET knows: settings that clients ask for, with what they are here. */
struct setting {
    const char *name;
    const char *text; /* NULL: number */
    uint64_t number;
};
#define SETTING_COUNT 8

static void list_settings(const struct kv_server *server, struct setting list[SETTING_COUNT])
{
    const struct kv_server_options *options = &server->options;
    uint32_t value_bytes_max = options->message_bytes_max - KV_VALUE_OVERHEAD_BYTES;
    struct setting settings[SETTING_COUNT] = {
        {"appendonly", "no", 0},
        {"databases", NULL, 1},
        {"maxclients", NULL, options->clients_max},
        {"maxmemory", NULL, options->store_bytes_max},
        {"maxmemory-policy", "noeviction", 0},
        {"proto-max-bulk-len", NULL, value_bytes_max},
        {"save", "", 0},
        {"timeout", NULL, 0},
    };
    memcpy(list, settings, sizeof(settings));
}

static int is_asked(const struct kv_request *request, const char *name)
{
    char pattern[128];
    for (uint32_t at = 2; at < request->arg_count; at++) {
        struct kv_bytes text = arg(request, at);
        if (text.bytes >= sizeof(pattern))
            continue;
        memcpy(pattern, text.data, text.bytes);
        pattern[text.bytes] = '\0';
        if (fnmatch(pattern, name, FNM_CASEFOLD) == 0)
            return 1;
    }
    return 0;
}

static int put_setting(struct kv_buffer *out, const struct setting *setting)
{
    char number[24];
    snprintf(number, sizeof(number), "%llu", (unsigned long long)setting->number);
    return put_string(out, setting->name) &&
           put_string(out, setting->text != NULL ? setting->text : number);
}

static int answer_config(struct kv_server *server, const struct kv_connection *connection,
                         const struct kv_request *request, struct kv_buffer *out)
{
    struct setting settings[SETTING_COUNT];
    size_t count = 0;
    if (arg_is(request, 1, "resetstat") && request->arg_count == 2) {
        server->counts = (struct kv_server_counts){0};
        server->rate_commands = 0;
        return put_text(out, "+OK\r\n");
    }
    if (!arg_is(request, 1, "get"))
        return put_subcommand_error(server, request, out, "CONFIG");
    if (request->arg_count < 3)
        return put_arity_error(server, out, "config|get");
    list_settings(server, settings);
    for (size_t at = 0; at < SETTING_COUNT; at++)
        count += (size_t)is_asked(request, settings[at].name);
    int made = put_map(out, connection, count);
    for (size_t at = 0; at < SETTING_COUNT && made; at++) {
        if (is_asked(request, settings[at].name))
            made = put_setting(out, &settings[at]);
    }
    return made;
}

/* One command as COMMAND tells it: ten elements, the last four of them empty. */
static int put_command(struct kv_buffer *out, const struct kv_command *command)
{
    const char *flag = command->kind == KV_KIND_WRITE  ? "write"
                       : command->kind == KV_KIND_READ ? "readonly"
                                                       : "fast";
    return put_text(out, "*10\r\n") && put_string(out, command->name) &&
           kv_buffer_format(out, ":%d\r\n*1\r\n+%s\r\n:%d\r\n:%d\r\n:%d\r\n", command->arity, flag,
                            command->key_first, command->key_last, command->key_step) &&
           put_text(out, "*0\r\n*0\r\n*0\r\n*0\r\n");
}

static uint32_t command_count(void)
{
    uint32_t count = 0;
    while (kv_command_at(count) != NULL)
        count++;
    return count;
}

static int put_commands(struct kv_buffer *out)
{
    const struct kv_command *command;
    int made = kv_buffer_format(out, "*%u\r\n", command_count());
    for (uint32_t at = 0; made && (command = kv_command_at(at)) != NULL; at++)
        made = put_command(out, command);
    return made;
}

/* COMMAND INFO NAME...: what is no command is the null array. */
static int put_command_info(const struct kv_connection *connection,
                            const struct kv_request *request, struct kv_buffer *out)
{
    int made = kv_buffer_format(out, "*%u\r\n", request->arg_count - 2);
    for (uint32_t at = 2; made && at < request->arg_count; at++) {
        struct kv_bytes name = arg(request, at);
        const struct kv_command *command = kv_command_find(name.data, name.bytes);
        if (command != NULL)
            made = put_command(out, command);
        else
            made = put_text(out, connection->protocol == 3 ? "_\r\n" : "*-1\r\n");
    }
    return made;
}

static int answer_command(struct kv_server *server, const struct kv_connection *connection,
                          const struct kv_request *request, struct kv_buffer *out)
{
    if (request->arg_count == 1)
        return put_commands(out);
    if (arg_is(request, 1, "count") && request->arg_count == 2)
        return put_integer(out, command_count());
    if (arg_is(request, 1, "docs"))
        return put_map(out, connection, 0);
    if (arg_is(request, 1, "info"))
        return request->arg_count == 2 ? put_commands(out)
                                       : put_command_info(connection, request, out);
    return put_subcommand_error(server, request, out, "COMMAND");
}

static int answer_info(struct kv_server *server, const struct kv_connection *connection,
                       const struct kv_request *request, struct kv_buffer *out)
{
    struct kv_buffer text = {0};
    int made = 1;
    if (request->arg_count == 1)
        made = kv_info_write(server, NULL, 0, &text);
    for (uint32_t at = 1; at < request->arg_count && made; at++) {
        struct kv_bytes section = arg(request, at);
        made = kv_info_write(server, section.data, section.bytes, &text);
    }
    made = made && put_verbatim(out, connection, &text);
    kv_buffer_release(&text);
    return made;
}

static int answer_reset(struct kv_connection *connection, struct kv_buffer *out)
{
    connection->protocol = 2;
    connection->name[0] = '\0';
    return put_text(out, "+RESET\r\n");
}

int kv_local_answer(struct kv_server *server, struct kv_connection *connection,
                    const struct kv_request *request, struct kv_buffer *out)
{
    struct kv_bytes text;
    switch (request->command->local) {
    case KV_LOCAL_PING:
        return answer_ping(server, request, out);
    case KV_LOCAL_ECHO:
        text = arg(request, 1);
        return put_bulk(out, text.data, text.bytes);
    case KV_LOCAL_HELLO:
        return answer_hello(server, connection, request, out);
    case KV_LOCAL_SELECT:
        return answer_select(server, request, out);
    case KV_LOCAL_QUIT:
        connection->closing = 1;
        return put_text(out, "+OK\r\n");
    case KV_LOCAL_RESET:
        return answer_reset(connection, out);
    case KV_LOCAL_CLIENT:
        return answer_client(server, connection, request, out);
    case KV_LOCAL_CONFIG:
        return answer_config(server, connection, request, out);
    case KV_LOCAL_COMMAND:
        return answer_command(server, connection, request, out);
    case KV_LOCAL_INFO:
        return answer_info(server, connection, request, out);
    case KV_LOCAL_AUTH:
        return put_error(server, out,
                         "ERR AUTH <password> called without any password configured for the "
                         "default user. Are you sure your configuration is correct?");
    case KV_LOCAL_REFUSED:
        server->counts.protocol_errors++;
        connection->broken = 1;
        return 1;
    case KV_LOCAL_NONE:
        break;
    }
    return put_error(server, out, "ERR not a command of this server");
}
