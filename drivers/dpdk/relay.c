/* Passing memif's handshake on. */
#include "drivers/dpdk/relay.h"

#include "base/assert.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Messages that one step passes on in one direction: a whole handshake is fewer. */
#define MESSAGES_MAX 16

/* What came of receiving or passing on. */
enum outcome { NOTHING_YET, MOVED, GONE };

/* A message with its descriptor. */
struct parcel {
    union {
        uint8_t bytes[TR_RELAY_MESSAGE_BYTES];
        uint16_t type;
    };
    int fd; /* -1: none */
};

static enum outcome receive(int from, struct parcel *out)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec piece = {out->bytes, sizeof(out->bytes)};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    const struct cmsghdr *c;
    ssize_t bytes = recvmsg(from, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    out->fd = -1;
    if (bytes < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return NOTHING_YET;
    c = bytes > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(&out->fd, CMSG_DATA(c), sizeof(out->fd));
    if (bytes == TR_RELAY_MESSAGE_BYTES)
        return MOVED;
    if (out->fd >= 0)
        close(out->fd);
    return GONE;
}

static enum outcome deliver(int to, const struct parcel *parcel)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec piece = {(void *)(uintptr_t)parcel->bytes, sizeof(parcel->bytes)};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (parcel->fd >= 0) {
        struct cmsghdr *c;
        memset(&control, 0, sizeof(control));
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        c = CMSG_FIRSTHDR(&message);
        c->cmsg_len = CMSG_LEN(sizeof(int));
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(c), &parcel->fd, sizeof(parcel->fd));
    }
    /* A handshake fits into a socket's buffer: what cannot be sent now has nobody to go to. */
    return sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == TR_RELAY_MESSAGE_BYTES ? MOVED
                                                                                        : GONE;
}

/* Whether a side may say this, after so many messages. What it says besides (that it disconnects)
 * ends the connection as its end does. */
static bool is_expected(uint16_t type, bool is_of_server, uint32_t count)
{
    if (is_of_server)
        return count == 0 ? type == TR_RELAY_HELLO
                          : type == TR_RELAY_ACK || type == TR_RELAY_CONNECTED;
    return count == 0 ? type == TR_RELAY_INIT
                      : type == TR_RELAY_ADD_REGION || type == TR_RELAY_ADD_RING ||
                            type == TR_RELAY_CONNECT;
}

/* Passes one message on. Its descriptor is the receiver's, then. */
static enum outcome pass(struct tr_relay *relay, bool is_inward)
{
    uint32_t *count = is_inward ? &relay->peer_count : &relay->own_count;
    bool is_of_server = relay->is_server != is_inward;
    struct parcel parcel;
    enum outcome outcome = receive(is_inward ? relay->outer : relay->inner, &parcel);
    if (outcome != MOVED)
        return outcome;
    outcome = is_expected(parcel.type, is_of_server, *count)
                  ? deliver(is_inward ? relay->inner : relay->outer, &parcel)
                  : GONE;
    ++*count;
    if (parcel.fd >= 0)
        close(parcel.fd);
    if (outcome == MOVED && parcel.type == TR_RELAY_CONNECTED)
        relay->phase = TR_RELAY_JOINED;
    return outcome;
}

static void pass_all(struct tr_relay *relay)
{
    for (uint32_t way = 0; way < 2; way++) {
        enum outcome outcome = MOVED;
        for (uint32_t i = 0;
             i < MESSAGES_MAX && outcome == MOVED && relay->phase == TR_RELAY_SHAKING; i++)
            outcome = pass(relay, way == 0);
        if (outcome == GONE)
            tr_relay_end(relay);
        if (relay->phase != TR_RELAY_SHAKING)
            return;
    }
}

/* Whether the peer has neither gone nor said anything, which it has no reason to. */
static bool is_there(int outer)
{
    uint8_t byte;
    ssize_t bytes = recv(outer, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);
    return bytes < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

/* Waits for the PMD, which closes its end when it has unmapped everything. A server's PMD that has
 * not greeted yet has not accepted: it must find a connection to greet. */
static void go_on_ending(struct tr_relay *relay)
{
    struct parcel parcel;
    enum outcome outcome = MOVED;
    for (uint32_t i = 0; i < MESSAGES_MAX && outcome == MOVED; i++) {
        if (!relay->is_server || relay->own_count > 0)
            shutdown(relay->inner, SHUT_WR);
        outcome = receive(relay->inner, &parcel);
        relay->own_count += outcome == MOVED;
        if (outcome == MOVED && parcel.fd >= 0)
            close(parcel.fd);
    }
    if (outcome != GONE)
        return;
    close(relay->inner);
    tr_relay_init(relay, relay->is_server);
}

void tr_relay_init(struct tr_relay *relay, bool is_server)
{
    *relay = (struct tr_relay){.is_server = is_server, .outer = -1, .inner = -1};
}

void tr_relay_begin(struct tr_relay *relay, int outer, int inner)
{
    tr_assert(relay->phase == TR_RELAY_IDLE);
    tr_assert(relay->is_server == (inner >= 0));
    relay->phase = TR_RELAY_SHAKING;
    relay->outer = outer;
    relay->inner = inner;
}

bool tr_relay_is_greeted(struct tr_relay *relay)
{
    uint8_t byte;
    tr_assert(relay->phase == TR_RELAY_SHAKING && relay->inner < 0);
    if (is_there(relay->outer))
        return false;
    if (recv(relay->outer, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) == sizeof(byte))
        return true;
    tr_relay_end(relay);
    return false;
}

void tr_relay_attach(struct tr_relay *relay, int inner)
{
    tr_assert(relay->phase == TR_RELAY_SHAKING && relay->inner < 0);
    relay->inner = inner;
}

enum tr_relay_phase tr_relay_step(struct tr_relay *relay)
{
    switch (relay->phase) {
    case TR_RELAY_IDLE:
        break;
    case TR_RELAY_SHAKING:
        if (relay->inner >= 0)
            pass_all(relay);
        break;
    case TR_RELAY_JOINED:
        if (!is_there(relay->outer))
            tr_relay_end(relay);
        break;
    case TR_RELAY_ENDING:
        go_on_ending(relay);
        break;
    }
    return relay->phase;
}

void tr_relay_end(struct tr_relay *relay)
{
    if (relay->phase == TR_RELAY_IDLE || relay->phase == TR_RELAY_ENDING)
        return;
    close(relay->outer);
    relay->outer = -1;
    relay->phase = TR_RELAY_ENDING;
    if (relay->inner < 0)
        tr_relay_init(relay, relay->is_server);
}
