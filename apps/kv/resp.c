#include "resp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A list of arguments above this is freed when the next request begins. */
#define KEPT_ARGS_MAX 1024u

enum state { STATE_START, STATE_ELEMENT, STATE_BULK };

void kv_resp_init(struct kv_resp *resp, uint32_t request_bytes_max, uint32_t arg_count_max)
{
    memset(resp, 0, sizeof(*resp));
    resp->request_bytes_max = request_bytes_max;
    resp->arg_count_max = arg_count_max;
    resp->state = STATE_START;
}

void kv_resp_release(struct kv_resp *resp)
{
    free(resp->args);
    resp->args = NULL;
    resp->arg_capacity = 0;
}

int kv_number_parse(const uint8_t *data, size_t bytes, int64_t *out)
{
    size_t at = 0;
    int negative = bytes > 0 && data[0] == '-';
    if (negative)
        at++;
    if (bytes == at || bytes > KV_NUMBER_BYTES_MAX)
        return 0;
    if (data[at] == '0') {
        if (bytes != 1)
            return 0;
        *out = 0;
        return 1;
    }
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t number = 0;
    for (; at < bytes; at++) {
        if (data[at] < '0' || data[at] > '9')
            return 0;
        uint64_t digit = (uint64_t)(data[at] - '0');
        if (number > (limit - digit) / 10)
            return 0;
        number = number * 10 + digit;
    }
    *out = (int64_t)(negative ? 0 - number : number);
    return 1;
}

uint32_t kv_number_format(char *out, int64_t number)
{
    char reversed[KV_NUMBER_BYTES_MAX];
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    uint32_t digits = 0;
    do {
        reversed[digits++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    uint32_t bytes = 0;
    if (number < 0)
        out[bytes++] = '-';
    while (digits > 0)
        out[bytes++] = reversed[--digits];
    return bytes;
}

static enum kv_resp_result bad(struct kv_resp *resp, const char *text)
{
    snprintf(resp->error, sizeof(resp->error), "%s", text);
    return KV_RESP_BAD;
}

/* Begins a request: nothing of the last one is kept, nor the memory of a very long one. */
static void start(struct kv_resp *resp)
{
    if (resp->arg_capacity > KEPT_ARGS_MAX)
        kv_resp_release(resp);
    resp->arg_count = 0;
    resp->request_bytes = 0;
    resp->elements_left = 0;
    resp->bulk_bytes_left = 0;
    resp->scanned = 0;
    resp->skipping = 0;
    resp->state = STATE_START;
}

/* Ends a request: the next call starts afresh, args stay until then. */
static enum kv_resp_result finish(struct kv_resp *resp, size_t *consumed,
                                  enum kv_resp_result result)
{
    resp->request_bytes += resp->scanned;
    *consumed = resp->scanned;
    resp->scanned = 0;
    resp->state = STATE_START;
    resp->elements_left = 0;
    return result;
}

static int add_arg(struct kv_resp *resp, uint32_t offset, uint32_t bytes)
{
    if (resp->arg_count == resp->arg_capacity) {
        uint32_t capacity = resp->arg_capacity == 0 ? 8 : resp->arg_capacity * 2;
        struct kv_arg *args = realloc(resp->args, capacity * sizeof(*args));
        if (args == NULL)
            return 0;
        resp->args = args;
        resp->arg_capacity = capacity;
    }
    resp->args[resp->arg_count++] = (struct kv_arg){.offset = offset, .bytes = bytes};
    return 1;
}

/* Finds the line that starts at `from`. Returns 1 with the bytes before its end and the offset
 * after it, 0 when the end is not there yet, -1 when it is longer than a line may be. */
static int find_line(const uint8_t *data, size_t bytes, size_t from, size_t *line_bytes,
                     size_t *next)
{
    size_t left = bytes - from;
    size_t window = left < KV_RESP_LINE_BYTES_MAX ? left : KV_RESP_LINE_BYTES_MAX;
    const uint8_t *end = window == 0 ? NULL : memchr(data + from, '\n', window);
    if (end == NULL)
        return left >= KV_RESP_LINE_BYTES_MAX ? -1 : 0;
    *next = (size_t)(end - data) + 1;
    *line_bytes = (size_t)(end - data) - from;
    if (*line_bytes > 0 && data[from + *line_bytes - 1] == '\r')
        (*line_bytes)--;
    return 1;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint8_t escape_letter(uint8_t c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* Decodes one character inside quotes at *at, moving *at past it. */
static uint8_t unquote_one(const uint8_t *line, size_t bytes, size_t *at, uint8_t quote)
{
    uint8_t c = line[(*at)++];
    if (c != '\\' || *at >= bytes)
        return c;
    if (quote == '\'') {
        if (line[*at] == '\'')
            c = line[(*at)++];
        return c;
    }
    if (line[*at] == 'x' && *at + 2 < bytes && hex_digit(line[*at + 1]) >= 0 &&
        hex_digit(line[*at + 2]) >= 0) {
        c = (uint8_t)(hex_digit(line[*at + 1]) * 16 + hex_digit(line[*at + 2]));
        *at += 3;
        return c;
    }
    return escape_letter(line[(*at)++]);
}

static int is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || c == 0;
}

/* Decodes one word of an inline command in place: reads from *at, writes from the same place, which
 * never overtakes. Returns its bytes, or -1 for unbalanced quotes. */
static int64_t unquote_word(uint8_t *line, size_t bytes, size_t *at)
{
    size_t out = *at, from = *at;
    while (*at < bytes && !is_blank(line[*at])) {
        uint8_t quote = line[*at];
        if (quote != '"' && quote != '\'') {
            line[out++] = line[(*at)++];
            continue;
        }
        (*at)++;
        while (*at < bytes && line[*at] != quote) {
            uint8_t c = unquote_one(line, bytes, at, quote);
            line[out++] = c;
        }
        if (*at == bytes)
            return -1;
        (*at)++;
        if (*at < bytes && !is_blank(line[*at]))
            return -1; /* a closing quote ends the word, as in Redis */
    }
    return (int64_t)(out - from);
}

static enum kv_resp_result parse_inline(struct kv_resp *resp, uint8_t *data, size_t bytes,
                                        size_t *consumed)
{
    size_t line_bytes, next;
    int found = find_line(data, bytes, 0, &line_bytes, &next);
    if (found == 0)
        return KV_RESP_MORE;
    if (found < 0)
        return bad(resp, "Protocol error: too big inline request");
    resp->scanned = (uint32_t)next;
    int dropped = 0;
    for (size_t at = 0;;) {
        while (at < line_bytes && is_blank(data[at]))
            at++;
        if (at == line_bytes)
            break;
        size_t from = at;
        int64_t word_bytes = unquote_word(data, line_bytes, &at);
        if (word_bytes < 0)
            return bad(resp, "Protocol error: unbalanced quotes in request");
        if (resp->arg_count == resp->arg_count_max)
            dropped = 1;
        else if (!add_arg(resp, (uint32_t)from, (uint32_t)word_bytes))
            return KV_RESP_NO_MEMORY;
    }
    if (dropped || next > resp->request_bytes_max)
        return finish(resp, consumed, KV_RESP_TOO_BIG);
    return finish(resp, consumed, resp->arg_count == 0 ? KV_RESP_EMPTY : KV_RESP_REQUEST);
}

/* The line "*COUNT". Returns KV_RESP_REQUEST to go on with the elements. */
static enum kv_resp_result parse_array(struct kv_resp *resp, const uint8_t *data, size_t bytes,
                                       size_t *consumed)
{
    size_t line_bytes, next;
    int found = find_line(data, bytes, 0, &line_bytes, &next);
    if (found == 0)
        return KV_RESP_MORE;
    if (found < 0)
        return bad(resp, "Protocol error: too big mbulk count string");
    int64_t count;
    if (!kv_number_parse(data + 1, line_bytes - 1, &count) || count > KV_RESP_ARRAY_COUNT_MAX)
        return bad(resp, "Protocol error: invalid multibulk length");
    resp->scanned = (uint32_t)next;
    if (count <= 0)
        return finish(resp, consumed, KV_RESP_EMPTY);
    resp->elements_left = (uint32_t)count;
    resp->skipping = resp->elements_left > resp->arg_count_max;
    resp->state = STATE_ELEMENT;
    return KV_RESP_REQUEST;
}

/* Drops what is parsed of a request that is being skipped. */
static void skip(struct kv_resp *resp, size_t *consumed)
{
    resp->request_bytes += resp->scanned;
    *consumed += resp->scanned;
    resp->scanned = 0;
}

/* The line "$BYTES" before an element. Returns KV_RESP_REQUEST to go on with its bytes. */
static enum kv_resp_result parse_length(struct kv_resp *resp, const uint8_t *data, size_t bytes)
{
    if (resp->scanned == bytes)
        return KV_RESP_MORE;
    if (data[resp->scanned] != '$') {
        uint8_t c = data[resp->scanned];
        snprintf(resp->error, sizeof(resp->error), "Protocol error: expected '$', got '%c'",
                 c >= ' ' && c < 127 ? c : '?');
        return KV_RESP_BAD;
    }
    size_t line_bytes, next;
    int found = find_line(data, bytes, resp->scanned, &line_bytes, &next);
    if (found == 0)
        return KV_RESP_MORE;
    if (found < 0)
        return bad(resp, "Protocol error: too big bulk count string");
    int64_t length;
    if (!kv_number_parse(data + resp->scanned + 1, line_bytes - 1, &length) || length < 0 ||
        length > KV_RESP_BULK_BYTES_MAX)
        return bad(resp, "Protocol error: invalid bulk length");
    resp->scanned = (uint32_t)next;
    resp->bulk_bytes_left = (uint32_t)length;
    if (next + (uint64_t)length + 2 > resp->request_bytes_max)
        resp->skipping = 1;
    resp->state = STATE_BULK;
    return KV_RESP_REQUEST;
}

/* The bytes of an element and the line end after them. */
static enum kv_resp_result parse_bulk(struct kv_resp *resp, const uint8_t *data, size_t bytes)
{
    if (resp->skipping) {
        size_t left = bytes - resp->scanned;
        uint32_t part = left < resp->bulk_bytes_left ? (uint32_t)left : resp->bulk_bytes_left;
        resp->scanned += part;
        resp->bulk_bytes_left -= part;
    }
    uint64_t end = (uint64_t)resp->scanned + resp->bulk_bytes_left;
    if (end + 2 > bytes)
        return KV_RESP_MORE;
    if (data[end] != '\r' || data[end + 1] != '\n')
        return bad(resp, "Protocol error: expected CRLF after a bulk string");
    if (!resp->skipping && !add_arg(resp, resp->scanned, resp->bulk_bytes_left))
        return KV_RESP_NO_MEMORY;
    resp->scanned = (uint32_t)end + 2;
    resp->bulk_bytes_left = 0;
    resp->elements_left--;
    resp->state = STATE_ELEMENT;
    return KV_RESP_REQUEST;
}

static enum kv_resp_result parse_elements(struct kv_resp *resp, uint8_t *data, size_t bytes,
                                          size_t *consumed)
{
    while (resp->elements_left > 0) {
        enum kv_resp_result result = resp->state == STATE_ELEMENT
                                         ? parse_length(resp, data + *consumed, bytes - *consumed)
                                         : parse_bulk(resp, data + *consumed, bytes - *consumed);
        if (resp->skipping && (result == KV_RESP_REQUEST || result == KV_RESP_MORE))
            skip(resp, consumed);
        if (result != KV_RESP_REQUEST)
            return result;
    }
    if (!resp->skipping)
        return finish(resp, consumed, KV_RESP_REQUEST);
    resp->state = STATE_START;
    return KV_RESP_TOO_BIG;
}

enum kv_resp_result kv_resp_parse(struct kv_resp *resp, uint8_t *data, size_t bytes,
                                  size_t *consumed)
{
    *consumed = 0;
    if (resp->state == STATE_START) {
        if (bytes == 0)
            return KV_RESP_MORE;
        start(resp);
        if (data[0] != '*')
            return parse_inline(resp, data, bytes, consumed);
        enum kv_resp_result result = parse_array(resp, data, bytes, consumed);
        if (result != KV_RESP_REQUEST)
            return result;
    }
    return parse_elements(resp, data, bytes, consumed);
}

size_t kv_resp_wanted(const struct kv_resp *resp)
{
    if (resp->state != STATE_BULK || resp->skipping)
        return 0;
    return (size_t)resp->scanned + resp->bulk_bytes_left + 2;
}
