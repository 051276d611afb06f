/* The exchange: TCP connections between ports, the proof that both have the cluster's key, and
 * sealed frames. The node with the higher number connects.
 *
 *    client                         server
 *      | hello (X25519 point)  ------> |  a guest until its first frame opens:
 *      | <------------------- hello    |  nobody without the key disturbs a link that stands
 *      | frames, sealed ----> <------> |
 *
 * A client and a door do the same with the clients' key: the door goes by whatever number the
 * client knows it by, and takes frames about messages alone.
 */
#include "drivers/verbs/inner.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HELLO_MAGIC   UINT64_C(0x3162726576727454)
#define HELLO_VERSION 1
#define EVENTS_MAX    16
#define WELCOMES_MAX  64   /* a turn: more than a flood brings between two */
#define BACKLOG       1024 /* else a flood keeps the peers out */
#define GUEST_NS      UINT64_C(2000000000)
#define RETRY_NS      UINT64_C(1000000)
#define RETRY_NS_MAX  UINT64_C(50000000)
/* A client's link that nothing went through for so long is given up: three of its keepalives. */
#define LINGER_NS UINT64_C(3000000000)
/* Frames of a stranger that one turn looks at: as many as make a connection. */
#define STRANGER_FRAMES 4
#define SEALED_BYTES    (TR_VERBS_FRAME_BYTES + TR_VERBS_SEAL_BYTES)

/* What epoll tells: a peer's index, or one of these. */
#define ON_LISTEN UINT32_C(0x10000)
#define ON_GUEST  UINT32_C(0x20000)

tr_static_assert(sizeof(struct tr_verbs_frame) == TR_VERBS_FRAME_BYTES, "no implicit padding");

uint64_t tr_verbs_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void watch(struct tr_port *port, int fd, uint32_t what, uint32_t events, int operation)
{
    struct epoll_event event = {.events = events, .data.u32 = what};
    port->stats.syscalls++;
    epoll_ctl(port->epoll_fd, operation, fd, &event);
}

/* A dead host must not hold a link for hours: the kernel asks after a second. */
static void tune(int fd)
{
    int on = 1, seconds = 1, probes = 5;
    unsigned milliseconds = 6000;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof(milliseconds));
}

/* Closes a socket, also for processes that were forked and hold it too. */
static void hang_up(struct tr_port *port, struct tr_verbs_link *link)
{
    if (link->fd >= 0) {
        epoll_ctl(port->epoll_fd, EPOLL_CTL_DEL, link->fd, NULL); /* a fork may hold it open */
        shutdown(link->fd, SHUT_RDWR);
        close(link->fd);
    }
    link->fd = -1;
    link->state = LINK_NONE;
    link->is_confirmed = false;
    link->in_bytes = 0;
    link->out_bytes = 0;
    memset(&link->session, 0, sizeof(link->session));
    memset(link->secret, 0, sizeof(link->secret));
}

void tr_verbs_link_down(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    bool was_confirmed = peer->link.is_confirmed;
    hang_up(port, &peer->link);
    peer->link.wait_ns = tr_max_u64(peer->link.wait_ns, RETRY_NS);
    peer->link.retry_ns = tr_verbs_now_ns() + peer->link.wait_ns;
    if (!was_confirmed)
        return;
    peer->is_up = false;
    tr_verbs_targets_lose(port, index);
    tr_verbs_rings_lose(port, index);
    tr_verbs_channel_end(port, index);
    if (peer->is_stranger)
        tr_verbs_stranger_end(port, index);
}

/* Sends what there is to send. Returns: false when the connection is broken. */
static bool push(struct tr_port *port, struct tr_verbs_link *link)
{
    while (link->out_bytes > 0) {
        port->stats.syscalls++;
        ssize_t sent = send(link->fd, link->out, link->out_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        link->out_bytes -= (uint32_t)sent;
        memmove(link->out, link->out + sent, link->out_bytes);
    }
    return true;
}

static bool put(struct tr_port *port, struct tr_verbs_link *link, const void *data, uint32_t bytes)
{
    if (link->out_bytes + bytes > LINK_OUT_BYTES)
        return false;
    memcpy(link->out + link->out_bytes, data, bytes);
    link->out_bytes += bytes;
    return push(port, link);
}

void tr_verbs_link_send(struct tr_port *port, uint32_t index, const struct tr_verbs_frame *frame)
{
    struct tr_verbs_link *link = &port->peer[index].link;
    uint8_t sealed[SEALED_BYTES];
    if (link->state != LINK_KEYED)
        return;
    tr_verbs_frame_seal(&link->session, frame, sealed);
    if (!put(port, link, sealed, sizeof(sealed)))
        shutdown(link->fd, SHUT_RDWR); /* noticed at the next turn, where nobody stands amid it */
}

/* Reads until `bytes` are there. Returns: 1 when they are, 0 when not yet, -1 when it ended. */
static int pull(struct tr_port *port, struct tr_verbs_link *link, uint32_t bytes)
{
    while (link->in_bytes < bytes) {
        port->stats.syscalls++;
        ssize_t got =
            recv(link->fd, link->in + link->in_bytes, bytes - link->in_bytes, MSG_DONTWAIT);
        if (got <= 0)
            return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
        link->in_bytes += (uint32_t)got;
    }
    link->in_bytes = 0;
    return 1;
}

static bool greet(struct tr_port *port, struct tr_verbs_link *link, tr_node_id from, tr_node_id to)
{
    link->hello = (struct tr_verbs_hello){.magic = HELLO_MAGIC,
                                          .version = HELLO_VERSION,
                                          .queue = port->queue,
                                          .from = from,
                                          .to = to};
    return tr_verbs_hello_make(&link->hello, link->secret) &&
           put(port, link, &link->hello, sizeof(link->hello));
}

static bool hello_ok(const struct tr_port *port, const struct tr_verbs_hello *hello)
{
    return hello->magic == HELLO_MAGIC && hello->version == HELLO_VERSION &&
           hello->queue == port->queue && (hello->to == port->self || port->adopt_max != 0) &&
           (hello->zero[0] | hello->zero[1] | hello->zero[2]) == 0;
}

/* ---- frames */

/* The other end has proved itself: from here on it is a link. */
static void confirm(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    peer->link.is_confirmed = true;
    peer->link.wait_ns = RETRY_NS;
    peer->link_number++;
    tr_verbs_channel_begin(port, index);
    tr_verbs_rings_offer(port, index);
}

static void dispatch(struct tr_port *port, uint32_t index, const struct tr_verbs_frame *frame)
{
    bool is_of_rings = frame->type != FRAME_CONNECT && frame->type != FRAME_READY;
    if (is_of_rings && !port->has_rings) {
        port->stats.rx_malformed++;
        return;
    }
    switch ((enum tr_verbs_frame_type)frame->type) {
    case FRAME_CONNECT:
        tr_verbs_channel_connect(port, index, frame);
        return;
    case FRAME_READY:
        tr_verbs_channel_ready(port, index, frame);
        return;
    case FRAME_RING:
        tr_verbs_target_ring(port, index, frame);
        return;
    case FRAME_WRITER:
        tr_verbs_ring_writer(port, index, frame);
        return;
    case FRAME_GRANT:
        tr_verbs_target_grant(port, index, frame);
        return;
    }
    port->stats.rx_malformed++;
}

/* Reads frames of a link. */
static void read_frames(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_link *link = &port->peer[index].link;
    struct tr_verbs_frame frame;
    uint32_t most = port->peer[index].is_stranger ? STRANGER_FRAMES : 2 * RINGS_MAX;
    int there = 0;
    for (uint32_t i = 0; i < most && link->state == LINK_KEYED; i++) {
        there = pull(port, link, SEALED_BYTES);
        if (there <= 0)
            break;
        if (!tr_verbs_frame_open(&link->session, link->in, &frame)) {
            port->stats.rx_malformed++;
            tr_verbs_link_down(port, index);
            return;
        }
        if (!link->is_confirmed)
            confirm(port, index);
        dispatch(port, index, &frame);
    }
    /* What a client said before it went is heard first; the next turn finds the same end. */
    if (there < 0 && !(port->peer[index].is_stranger && tr_verbs_stranger_has_words(port, index)))
        tr_verbs_link_down(port, index);
}

/* ---- the client's side */

static void dial(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    struct tr_verbs_link *link = &peer->link;
    link->wait_ns = tr_min_u64(tr_max_u64(2 * link->wait_ns, RETRY_NS), RETRY_NS_MAX);
    link->retry_ns = tr_verbs_now_ns() + link->wait_ns;
    port->stats.syscalls += 2;
    link->fd = socket(peer->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0)
        return;
    tune(link->fd);
    if (connect(link->fd, (const struct sockaddr *)&peer->address, peer->address_bytes) != 0 &&
        errno != EINPROGRESS) {
        hang_up(port, link);
        return;
    }
    link->state = LINK_CONNECTING;
    watch(port, link->fd, index, EPOLLOUT | EPOLLIN, EPOLL_CTL_ADD);
}

/* The server's hello: the keys follow, and the first frame proves ours. */
static void meet_server(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    struct tr_verbs_hello hello;
    int there = pull(port, &peer->link, sizeof(hello));
    if (there == 0)
        return;
    memcpy(&hello, peer->link.in, sizeof(hello));
    if (there < 0 || !hello_ok(port, &hello) || hello.from != peer->id ||
        !tr_verbs_session_derive(&peer->link.session, port->key, peer->link.secret,
                                 &peer->link.hello, &hello, true)) {
        tr_verbs_link_down(port, index);
        return;
    }
    struct tr_verbs_frame first = {.type = FRAME_READY}; /* of no connection: only a proof */
    peer->link.state = LINK_KEYED;
    tr_verbs_link_send(port, index, &first);
}

static void peer_event(struct tr_port *port, uint32_t index)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    struct tr_verbs_link *link = &peer->link;
    if (link->state == LINK_CONNECTING) {
        int error = 0;
        socklen_t bytes = sizeof(error);
        getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
        if (error != 0 || !greet(port, link, port->self, peer->id)) {
            tr_verbs_link_down(port, index);
            return;
        }
        link->state = LINK_GREETED;
        watch(port, link->fd, index, EPOLLIN, EPOLL_CTL_MOD);
        return;
    }
    if (link->state == LINK_GREETED)
        meet_server(port, index);
    if (link->state == LINK_KEYED)
        read_frames(port, index);
}

/* ---- the server's side */

static void guest_end(struct tr_port *port, struct tr_verbs_guest *guest)
{
    hang_up(port, &guest->link);
    guest->peer = UINT32_MAX;
    guest->is_stranger = false;
}

static void welcome(struct tr_port *port)
{
    for (uint32_t i = 0; i < WELCOMES_MAX; i++) {
        struct tr_verbs_guest *guest = &port->guest[0];
        int fd = accept4(port->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        port->stats.syscalls++;
        if (fd < 0)
            return;
        for (uint32_t g = 0; g < GUESTS_MAX; g++) { /* a free place, or the oldest's */
            if (port->guest[g].link.fd < 0 ||
                (guest->link.fd >= 0 && port->guest[g].end_ns < guest->end_ns))
                guest = &port->guest[g];
        }
        if (guest->link.fd >= 0)
            guest_end(port, guest);
        tune(fd);
        guest->link.fd = fd;
        guest->link.state = LINK_GREETED;
        guest->end_ns = tr_verbs_now_ns() + GUEST_NS;
        watch(port, fd, ON_GUEST | (uint32_t)(guest - port->guest), EPOLLIN, EPOLL_CTL_ADD);
    }
}

/* Whether a hello is of a member that connects to us, or at a door of a stranger. */
static bool is_expected(struct tr_port *port, struct tr_verbs_guest *guest,
                        const struct tr_verbs_hello *hello)
{
    uint32_t index = tr_verbs_peer_find(port, hello->from);
    bool is_known =
        index != UINT32_MAX && !port->peer[index].is_stranger && hello->to == port->self;
    guest->peer = is_known ? index : UINT32_MAX;
    guest->is_stranger = !is_known && port->adopt_max != 0;
    return is_known ? !port->peer[index].is_client : guest->is_stranger;
}

/* The client's hello: answered, and the keys follow. */
static bool meet_client(struct tr_port *port, struct tr_verbs_guest *guest)
{
    struct tr_verbs_hello hello;
    memcpy(&hello, guest->link.in, sizeof(hello));
    if (!hello_ok(port, &hello)) {
        port->stats.rx_malformed++;
        return false;
    }
    if (!is_expected(port, guest, &hello) || !greet(port, &guest->link, hello.to, hello.from) ||
        !tr_verbs_session_derive(&guest->link.session, port->key, guest->link.secret, &hello,
                                 &guest->link.hello, false))
        return false;
    guest->link.state = LINK_KEYED;
    return true;
}

/* The first frame opened: the guest becomes the peer's link, in place of one that it replaces. */
static void admit(struct tr_port *port, struct tr_verbs_guest *guest)
{
    uint32_t index = guest->is_stranger ? tr_verbs_stranger_take(port) : guest->peer;
    if (index == UINT32_MAX) {
        port->stats.rx_dropped++; /* no place: it tries again */
        guest_end(port, guest);
        return;
    }
    struct tr_verbs_peer *peer = &port->peer[index];
    uint8_t *out = peer->link.out;
    tr_verbs_link_down(port, index);
    peer->link = guest->link;
    memcpy(out, guest->link.out, guest->link.out_bytes);
    peer->link.out = out;
    guest->link.fd = -1;
    guest_end(port, guest);
    watch(port, peer->link.fd, index, EPOLLIN, EPOLL_CTL_MOD);
    confirm(port, index);
    read_frames(port, index);
}

static void guest_event(struct tr_port *port, struct tr_verbs_guest *guest)
{
    struct tr_verbs_frame frame;
    int there = 1;
    if (guest->link.fd < 0)
        return;
    if (guest->link.state == LINK_GREETED) {
        there = pull(port, &guest->link, TR_VERBS_HELLO_BYTES);
        if (there > 0 && !meet_client(port, guest))
            there = -1;
    }
    if (guest->link.state == LINK_KEYED && there > 0) {
        there = pull(port, &guest->link, SEALED_BYTES);
        if (there > 0 && !tr_verbs_frame_open(&guest->link.session, guest->link.in, &frame)) {
            port->stats.rx_malformed++;
            there = -1;
        }
        if (there > 0) {
            admit(port, guest);
            return;
        }
    }
    if (there < 0)
        guest_end(port, guest);
}

/* ---- turns */

static void drain_async(struct tr_port *port)
{
    struct ibv_async_event event;
    port->stats.syscalls++;
    for (uint32_t i = 0; i < EVENTS_MAX; i++) {
        if (ibv_get_async_event(port->device.context, &event) != 0)
            return;
        if (event.event_type == IBV_EVENT_PORT_ERR)
            port->link_is_down = true;
        else if (event.event_type == IBV_EVENT_PORT_ACTIVE)
            port->link_is_down = false;
        ibv_ack_async_event(&event);
    }
}

/* Whether there is to be a link: a client's port has one only while it needs it. */
static bool is_wanted(const struct tr_port *port, const struct tr_verbs_peer *peer, uint64_t now_ns)
{
    return !port->is_ephemeral || (peer->used_ns != 0 && now_ns - peer->used_ns < LINGER_NS);
}

/* What a peer's link needs now. */
static void tend_peer(struct tr_port *port, uint32_t index, uint64_t now_ns)
{
    struct tr_verbs_peer *peer = &port->peer[index];
    if (peer->is_used)
        peer->used_ns = now_ns;
    peer->is_used = false;
    if (peer->link.state == LINK_NONE) {
        if (peer->is_client && now_ns >= peer->link.retry_ns && is_wanted(port, peer, now_ns))
            dial(port, index);
    } else if (!is_wanted(port, peer, now_ns)) {
        peer->told_up = false; /* the peer is well: no news */
        tr_verbs_link_down(port, index);
    } else if (peer->link.state == LINK_KEYED && !push(port, &peer->link)) {
        tr_verbs_link_down(port, index);
    } else if (peer->channel.is_broken && peer->link.is_confirmed) {
        tr_verbs_channel_begin(port, index);
    }
    if (peer->is_stranger)
        tr_verbs_stranger_tend(port, index, now_ns);
}

static void tend(struct tr_port *port, uint64_t now_ns)
{
    port->links_unsettled = 0;
    for (uint32_t i = 0; i < port->place_count; i++) {
        struct tr_verbs_peer *peer = &port->peer[i];
        if (peer->id == 0 && !peer->is_stranger)
            continue;
        tend_peer(port, i, now_ns);
        port->links_unsettled +=
            peer->link.state != LINK_NONE && !(peer->is_up && peer->channel.is_ready);
    }
    for (uint32_t i = 0; i < GUESTS_MAX; i++) {
        if (port->guest[i].link.fd >= 0 && now_ns >= port->guest[i].end_ns)
            guest_end(port, &port->guest[i]);
        port->links_unsettled += port->guest[i].link.fd >= 0;
    }
}

void tr_verbs_control_poll(struct tr_port *port, uint64_t now_ns)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(port->epoll_fd, events, EVENTS_MAX, 0);
    port->stats.syscalls++;
    for (int i = 0; i < count; i++) {
        uint32_t what = events[i].data.u32;
        if (what == ON_LISTEN)
            welcome(port);
        else if ((what & ON_GUEST) != 0)
            guest_event(port, &port->guest[what & ~ON_GUEST]);
        else if (port->peer[what].link.fd >= 0)
            peer_event(port, what);
    }
    drain_async(port);
    tr_verbs_reap(port);
    tend(port, now_ns);
    port->control_ns = now_ns + (port->links_unsettled != 0 ? CONTROL_HURRY_NS : CONTROL_NS);
}

/* ---- open and close */

int tr_verbs_control_open(struct tr_port *port, const struct tr_port_options *options,
                          const struct sockaddr_storage *address, socklen_t address_bytes)
{
    int on = 1;
    port->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (port->is_ephemeral)
        return port->epoll_fd >= 0 ? TR_OK : TR_ESYS;
    port->listen_fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (port->epoll_fd < 0 || port->listen_fd < 0)
        return TR_ESYS;
    /* Connections of a predecessor may linger; that none lives is known (lock.c). */
    setsockopt(port->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(port->listen_fd, (const struct sockaddr *)address, address_bytes) != 0 ||
        listen(port->listen_fd, BACKLOG) != 0) {
        int number = errno;
        tr_explain(options->error, options->error_bytes, "verbs: cannot listen at %s: %s",
                   options->address, strerror(number));
        return number == EADDRINUSE ? TR_EBUSY : number == EACCES ? TR_EPERM : TR_EADDR;
    }
    watch(port, port->listen_fd, ON_LISTEN, EPOLLIN, EPOLL_CTL_ADD);
    for (uint32_t i = 0; i < GUESTS_MAX; i++) {
        port->guest[i].link.out = tr_verbs_take(port, LINK_OUT_BYTES, 64);
        if (port->guest[i].link.out == NULL)
            return TR_ENOMEM;
    }
    return TR_OK;
}

void tr_verbs_control_close(struct tr_port *port)
{
    for (uint32_t i = 0; i < GUESTS_MAX; i++)
        hang_up(port, &port->guest[i].link);
    for (uint32_t i = 0; port->peer != NULL && i < port->place_count; i++) {
        if (port->peer[i].id != 0 || port->peer[i].is_stranger)
            tr_verbs_link_down(port, i);
    }
    if (port->listen_fd >= 0) {
        shutdown(port->listen_fd, SHUT_RDWR); /* a fork may hold it open */
        close(port->listen_fd);
    }
    if (port->epoll_fd >= 0)
        close(port->epoll_fd);
    port->listen_fd = port->epoll_fd = -1;
}
