/* The floor over UDP sockets of this machine: a datagram to each follower, one back from each.
 *
 * A datagram begins with the number of commands sent so far and the number of records; the answer
 * repeats them. A lost datagram is covered by the next one; the last record is sent again when
 * nothing is heard. The leader keeps within what the followers' socket buffers hold. */
#include "perf/floor.h"

#include "base/atomic.h"
#include "base/bytes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Messages of one recvmmsg, and records of one flush. */
#define BURST 64

/* Bytes of socket buffer that a small datagram occupies in the kernel: its sk_buff and a slab. */
#define TRUESIZE_BYTES 1280

#define SOCKET_BUFFER_BYTES (8 << 20)

/* Where the ends of a floor of one machine are. */
#define LOOPBACK "127.0.0.1"

/* A merged datagram of UDP_GRO is at most so long. */
#define MERGED_BYTES 65536

/* Silence after which the last record is sent again, and empty polls between two looks at the
 * clock. */
#define RESEND_NS   UINT64_C(2000000)
#define RESEND_LOOK 64

enum send_way {
    SEND_MMSG,  /* one sendmmsg for all followers, from one socket */
    SEND_TO,    /* a sendto each, from one socket */
    SEND_EACH,  /* a send each, from a connected socket each */
    SEND_MERGED /* UDP_SEGMENT: one sendmsg a follower carries up to 64 datagrams */
};

enum receive_way { RECEIVE_ONE, RECEIVE_MMSG, RECEIVE_MERGED };

struct ways {
    enum send_way send;
    enum receive_way leader;
    enum receive_way follower;
    bool busy; /* SO_BUSY_POLL on all sockets */
};

/* What a datagram and its answer begin with. */
struct mark {
    uint64_t commands;
    uint64_t records;
};

/* A socket that sends to and receives from one other, and its buffers. */
struct end {
    int fd;
    struct sockaddr_in address;
};

/* Memory of one thread that receives. */
struct inbox {
    struct mmsghdr message[BURST];
    struct iovec piece[BURST];
    struct sockaddr_in from[BURST];
    uint8_t *bytes; /* BURST * MERGED_BYTES / 16: whole merged datagrams, or BURST single ones */
    uint32_t each_bytes;
};

struct floor_udp {
    struct tr_perf_floor head;
    struct end hub;                            /* the leader's one socket */
    struct end leaf[TR_PERF_FOLLOWERS_MAX];    /* the followers', connected to the hub */
    struct end spoke[TR_PERF_FOLLOWERS_MAX];   /* the leader's connected ones */
    struct end partner[TR_PERF_FOLLOWERS_MAX]; /* the followers' ends of those */
    uint32_t datagram_bytes;
    uint32_t answer_bytes;
    uint32_t records_max; /* in flight to one follower: what its socket buffer holds */
    /* The leader's. */
    uint8_t *out; /* BURST datagrams */
    struct inbox inbox;
    struct mmsghdr message[BURST * TR_PERF_FOLLOWERS_MAX];
    struct iovec piece[BURST];
    struct mark sent; /* of all slices: what is late of the last one is below `base` */
    uint64_t base;    /* commands sent before this slice */
    struct mark acked[TR_PERF_FOLLOWERS_MAX];
    uint32_t last_bytes; /* of the last record sent */
    uint32_t empty;      /* polls in a row that found nothing, with something in flight */
    uint64_t silent_ns;  /* since when */
};

static tr_always_inline struct mark mark_of(const uint8_t *datagram)
{
    struct mark mark;
    memcpy(&mark, datagram, sizeof(mark));
    return mark;
}

static tr_always_inline void later(struct mark *known, struct mark heard)
{
    if (heard.commands > known->commands)
        *known = heard;
}

/* Sends datagram `index` of `count` that lie in f->out to all followers. */
static tr_always_inline void send_each(struct floor_udp *f, uint32_t count, struct ways w)
{
    const uint32_t followers = f->head.shape.followers;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t to = 0; to < followers; to++) {
            const struct iovec *piece = &f->piece[i];
            if (w.send == SEND_EACH)
                send(f->spoke[to].fd, piece->iov_base, piece->iov_len, MSG_DONTWAIT);
            else
                sendto(f->hub.fd, piece->iov_base, piece->iov_len, MSG_DONTWAIT,
                       (const struct sockaddr *)&f->leaf[to].address, sizeof(f->leaf[to].address));
        }
    }
}

static tr_always_inline void send_together(struct floor_udp *f, uint32_t count)
{
    const uint32_t followers = f->head.shape.followers;
    uint32_t messages = 0;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t to = 0; to < followers; to++, messages++) {
            struct msghdr *header = &f->message[messages].msg_hdr;
            header->msg_iov = &f->piece[i];
            header->msg_name = &f->leaf[to].address;
        }
    }
    for (uint32_t done = 0; done < messages;) {
        int sent = sendmmsg(f->hub.fd, f->message + done, messages - done, MSG_DONTWAIT);
        if (sent <= 0)
            return; /* full: what is lost is covered by what comes later */
        done += (uint32_t)sent;
    }
}

/* One sendmsg a follower, cut into datagrams by the kernel; all but the last have the same size. */
static tr_always_inline void send_merged(struct floor_udp *f, uint32_t count)
{
    union {
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr align;
    } control = {{0}};
    const uint16_t segment = (uint16_t)f->piece[0].iov_len;
    for (uint32_t to = 0; to < f->head.shape.followers; to++) {
        struct msghdr header = {.msg_name = &f->leaf[to].address,
                                .msg_namelen = sizeof(f->leaf[to].address),
                                .msg_iov = f->piece,
                                .msg_iovlen = count,
                                .msg_control = control.bytes,
                                .msg_controllen = sizeof(control.bytes)};
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof(segment));
        memcpy(CMSG_DATA(c), &segment, sizeof(segment));
        sendmsg(f->hub.fd, &header, MSG_DONTWAIT);
    }
}

static tr_always_inline void send_records(struct floor_udp *f, uint32_t count, struct ways w)
{
    switch (w.send) {
    case SEND_MMSG:
        send_together(f, count);
        break;
    case SEND_TO:
    case SEND_EACH:
        send_each(f, count, w);
        break;
    case SEND_MERGED:
        send_merged(f, count);
        break;
    }
}

/* Records that may be sent now. */
static tr_always_inline uint32_t room(const struct floor_udp *f, uint32_t records_max)
{
    uint64_t behind = 0;
    for (uint32_t i = 0; i < f->head.shape.followers; i++)
        behind = tr_max_u64(behind, f->sent.records - f->acked[i].records);
    return behind < f->records_max ? tr_min_u32(f->records_max - (uint32_t)behind, records_max) : 0;
}

/* Records of one flush: what the kernel cuts at once where it cuts. */
static tr_always_inline uint32_t flush_max(const struct floor_udp *f, struct ways w)
{
    if (w.send == SEND_MERGED && f->datagram_bytes * BURST > 65000)
        return 65000 / f->datagram_bytes;
    return BURST;
}

static tr_always_inline void flush_records(struct floor_udp *f, const struct tr_perf_slice *slice,
                                           struct ways w)
{
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    const uint64_t submitted = f->base + slice->submitted;
    const uint32_t most = f->sent.commands < submitted ? room(f, flush_max(f, w)) : 0;
    uint32_t count = 0;
    for (; count < most && f->sent.commands < submitted; count++) {
        uint64_t commands = tr_min_u64(submitted - f->sent.commands, shape->batch);
        f->last_bytes = shape->batch == 1
                            ? f->datagram_bytes
                            : tr_perf_datagram_bytes(shape->size_bytes, (uint32_t)commands);
        f->sent.commands += commands;
        f->sent.records++;
        f->piece[count].iov_len = f->last_bytes;
        memcpy(f->piece[count].iov_base, &f->sent, sizeof(f->sent));
    }
    if (count != 0)
        send_records(f, count, w);
}

/* Sends the last record again after a silence: it, or all answers to it, may have been lost. */
static tr_noinline void send_again(struct floor_udp *f, struct ways w)
{
    const uint64_t now_ns = tr_perf_now_ns();
    /* The first look after something was heard starts the silence. */
    if (f->empty == RESEND_LOOK)
        f->silent_ns = now_ns;
    if (now_ns - f->silent_ns < RESEND_NS)
        return;
    f->silent_ns = now_ns;
    f->piece[0].iov_len = f->last_bytes;
    memcpy(f->piece[0].iov_base, &f->sent, sizeof(f->sent));
    send_records(f, 1, w);
}

/* Receives into the inbox. Returns: datagrams there now (merged ones count as one). */
static tr_always_inline uint32_t receive(struct inbox *inbox, int fd, enum receive_way way)
{
    switch (way) {
    case RECEIVE_ONE: {
        struct iovec *piece = &inbox->piece[0];
        ssize_t bytes = recv(fd, piece->iov_base, inbox->each_bytes, MSG_DONTWAIT);
        inbox->message[0].msg_len = (unsigned)bytes;
        return bytes >= (ssize_t)sizeof(struct mark) ? 1 : 0;
    }
    case RECEIVE_MERGED:
    case RECEIVE_MMSG: {
        int count = recvmmsg(fd, inbox->message, way == RECEIVE_MERGED ? BURST / 16 : BURST,
                             MSG_DONTWAIT, NULL);
        return count > 0 ? (uint32_t)count : 0;
    }
    }
    return 0;
}

/* The mark of the last record of a datagram: of the last one merged into it. */
static tr_always_inline struct mark last_mark(const struct floor_udp *f, const struct inbox *inbox,
                                              uint32_t index, enum receive_way way)
{
    const uint8_t *bytes = inbox->piece[index].iov_base;
    uint32_t length = inbox->message[index].msg_len;
    uint32_t last =
        way == RECEIVE_MERGED ? (length - 1) / f->datagram_bytes * f->datagram_bytes : 0;
    return mark_of(bytes + last);
}

/* Follower `i` looks at its socket and answers once, whatever it found. Returns: datagrams. */
static tr_always_inline uint32_t follow_once(const struct floor_udp *f, uint32_t i,
                                             struct inbox *inbox, struct ways w)
{
    const int fd = w.send == SEND_EACH ? f->partner[i].fd : f->leaf[i].fd;
    uint8_t answer[256];
    struct mark mark = {0, 0};
    uint32_t count = receive(inbox, fd, w.follower);
    if (count == 0)
        return 0;
    for (uint32_t at = 0; at < count; at++)
        later(&mark, last_mark(f, inbox, at, w.follower));
    memcpy(answer, &mark, sizeof(mark));
    memcpy(answer + sizeof(mark), &i, sizeof(i));
    send(fd, answer, f->answer_bytes, MSG_DONTWAIT);
    return count;
}

static tr_always_inline void hear_answer(struct floor_udp *f, uint32_t index)
{
    const uint8_t *bytes = f->inbox.piece[index].iov_base;
    uint32_t follower;
    memcpy(&follower, bytes + sizeof(struct mark), sizeof(follower));
    if (follower < f->head.shape.followers)
        later(&f->acked[follower], mark_of(bytes));
}

/* The commands that enough followers have answered. */
static tr_always_inline uint64_t quorum_commands(const struct floor_udp *f)
{
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    uint64_t acked[TR_PERF_FOLLOWERS_MAX];
    uint64_t best = shape->needed == 0 ? f->sent.commands : 0;
    for (uint32_t i = 0; i < shape->followers; i++)
        acked[i] = f->acked[i].commands;
    for (uint32_t turn = 0; turn < shape->needed; turn++) {
        uint32_t largest = 0;
        for (uint32_t i = 1; i < shape->followers; i++)
            largest = acked[i] > acked[largest] ? i : largest;
        best = acked[largest];
        acked[largest] = 0;
    }
    return best;
}

static tr_always_inline void poll_answers(struct floor_udp *f, struct tr_perf_slice *slice,
                                          struct ways w)
{
    const uint32_t sockets = w.send == SEND_EACH ? f->head.shape.followers : 1;
    uint32_t heard = 0;
    for (uint32_t i = 0; f->head.shape.workers == 0 && i < f->head.shape.followers; i++)
        follow_once(f, i, &f->inbox, w);
    for (uint32_t s = 0; s < sockets; s++) {
        uint32_t count =
            receive(&f->inbox, w.send == SEND_EACH ? f->spoke[s].fd : f->hub.fd, w.leader);
        for (uint32_t i = 0; i < count; i++)
            hear_answer(f, i);
        heard += count;
    }
    if (heard == 0 && f->head.shape.needed > 0) {
        if (f->sent.commands != f->base + slice->completed && ++f->empty % RESEND_LOOK == 0)
            send_again(f, w);
        return;
    }
    f->empty = 0;
    uint64_t commands = quorum_commands(f);
    if (commands > f->base + slice->completed)
        tr_perf_slice_done(slice, commands - f->base);
}

static int inbox_open(struct inbox *inbox, uint32_t datagram_bytes)
{
    inbox->each_bytes = datagram_bytes > MERGED_BYTES / 16 ? MERGED_BYTES : MERGED_BYTES / 16;
    inbox->bytes = calloc(BURST, inbox->each_bytes);
    if (inbox->bytes == NULL)
        return TR_ENOMEM;
    for (uint32_t i = 0; i < BURST; i++) {
        inbox->piece[i].iov_base = inbox->bytes + (size_t)i * inbox->each_bytes;
        inbox->piece[i].iov_len = inbox->each_bytes;
        inbox->message[i].msg_hdr = (struct msghdr){.msg_iov = &inbox->piece[i], .msg_iovlen = 1};
    }
    return 0;
}

/* For merged datagrams: few and large instead of many and small. */
static void inbox_merge(struct inbox *inbox, bool merged)
{
    uint32_t each_bytes = merged ? MERGED_BYTES : inbox->each_bytes;
    for (uint32_t i = 0; i < (merged ? BURST / 16 : BURST); i++) {
        inbox->piece[i].iov_base = inbox->bytes + (size_t)i * each_bytes;
        inbox->piece[i].iov_len = each_bytes;
    }
}

static void set_ways(int fd, struct ways w)
{
    int merge = w.follower == RECEIVE_MERGED;
    int busy_us = w.busy ? 50 : 0;
    setsockopt(fd, SOL_UDP, UDP_GRO, &merge, sizeof(merge));
    setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &busy_us, sizeof(busy_us));
}

static tr_always_inline void follow(struct tr_perf_floor *floor, uint32_t worker,
                                    const uint32_t *stop, struct ways w)
{
    const struct floor_udp *f = tr_container_of(floor, struct floor_udp, head);
    const struct tr_perf_floor_shape *shape = &floor->shape;
    struct inbox *inbox = calloc(1, sizeof(*inbox));
    uint32_t empty = 0;
    if (inbox == NULL || inbox_open(inbox, f->datagram_bytes) != 0) {
        free(inbox);
        return;
    }
    inbox_merge(inbox, w.follower == RECEIVE_MERGED);
    for (uint32_t i = worker; i < shape->followers; i += shape->workers)
        set_ways(w.send == SEND_EACH ? f->partner[i].fd : f->leaf[i].fd, w);
    while (tr_load_relaxed(stop) == 0) {
        uint32_t work = 0;
        for (uint32_t i = worker; i < shape->followers; i += shape->workers)
            work += follow_once(f, i, inbox, w);
        if (work == 0)
            tr_perf_idle(shape->idle, &empty);
        else
            empty = 0;
    }
    free(inbox->bytes);
    free(inbox);
}

static void begin_lead(struct floor_udp *f, struct ways w)
{
    const struct ways alone = w;
    w.follower = RECEIVE_ONE;
    set_ways(f->hub.fd, w);
    for (uint32_t i = 0; i < f->head.shape.followers; i++) {
        set_ways(f->spoke[i].fd, w);
        if (f->head.shape.workers == 0)
            set_ways(w.send == SEND_EACH ? f->partner[i].fd : f->leaf[i].fd, alone);
    }
    inbox_merge(&f->inbox, f->head.shape.workers == 0 && alone.follower == RECEIVE_MERGED);
}

/* Defines the leader and the follower of one variant. */
#define VARIANT(name, ...)                                                                        \
    static void flush_##name(void *side, struct tr_perf_slice *slice)                             \
    {                                                                                             \
        flush_records(side, slice, (struct ways){__VA_ARGS__});                                   \
    }                                                                                             \
    static void poll_##name(void *side, struct tr_perf_slice *slice)                              \
    {                                                                                             \
        poll_answers(side, slice, (struct ways){__VA_ARGS__});                                    \
    }                                                                                             \
    static void lead_##name(struct tr_perf_floor *floor, struct tr_perf_slice *slice)             \
    {                                                                                             \
        struct floor_udp *f = tr_container_of(floor, struct floor_udp, head);                     \
        begin_lead(f, (struct ways){__VA_ARGS__});                                                \
        tr_perf_drive(slice, f, tr_perf_floor_submit, flush_##name, poll_##name);                 \
    }                                                                                             \
    static void follow_##name(struct tr_perf_floor *floor, uint32_t worker, const uint32_t *stop) \
    {                                                                                             \
        follow(floor, worker, stop, (struct ways){__VA_ARGS__});                                  \
    }

VARIANT(mmsg_one, .send = SEND_MMSG, .leader = RECEIVE_ONE, .follower = RECEIVE_ONE)
VARIANT(mmsg_mmsg, .send = SEND_MMSG, .leader = RECEIVE_MMSG, .follower = RECEIVE_MMSG)
VARIANT(mmsg_mix, .send = SEND_MMSG, .leader = RECEIVE_ONE, .follower = RECEIVE_MMSG)
VARIANT(mmsg_busy, .send = SEND_MMSG, .leader = RECEIVE_ONE, .follower = RECEIVE_ONE, .busy = true)
VARIANT(to_one, .send = SEND_TO, .leader = RECEIVE_ONE, .follower = RECEIVE_ONE)
VARIANT(each_one, .send = SEND_EACH, .leader = RECEIVE_ONE, .follower = RECEIVE_ONE)
VARIANT(merged, .send = SEND_MERGED, .leader = RECEIVE_ONE, .follower = RECEIVE_MERGED)
VARIANT(merged_cut, .send = SEND_MERGED, .leader = RECEIVE_MMSG, .follower = RECEIVE_MMSG)

/* A row of the table below. */
#define ROW(name, text, is_near)                        \
    {                                                   \
        text, true, is_near, lead_##name, follow_##name \
    }

static const struct tr_perf_floor_variant udp_variants[] = {
    ROW(mmsg_one, "sendmmsg; recv, recv", false),
    ROW(mmsg_mmsg, "sendmmsg; recvmmsg, recvmmsg", false),
    ROW(mmsg_mix, "sendmmsg; recv, followers recvmmsg", false),
    ROW(mmsg_busy, "sendmmsg; recv, recv, SO_BUSY_POLL", false),
    ROW(to_one, "sendto each; recv, recv", false),
    ROW(each_one, "connected send each; recv, recv", true),
    ROW(merged, "UDP_SEGMENT; recv, followers UDP_GRO", false),
    ROW(merged_cut, "UDP_SEGMENT; recvmmsg, recvmmsg", false),
};

static void drain_socket(int fd)
{
    uint8_t scrap[64];
    while (recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT | MSG_TRUNC) >= 0)
        continue;
}

static void reset(struct tr_perf_floor *floor)
{
    struct floor_udp *f = tr_container_of(floor, struct floor_udp, head);
    drain_socket(f->hub.fd);
    for (uint32_t i = 0; i < floor->shape.followers; i++) {
        drain_socket(f->leaf[i].fd);
        drain_socket(f->spoke[i].fd);
        drain_socket(f->partner[i].fd);
    }
    f->base = f->sent.commands;
    for (uint32_t i = 0; i < floor->shape.followers; i++)
        f->acked[i] = f->sent;
    f->empty = 0;
}

static void close_sockets(struct tr_perf_floor *floor)
{
    struct floor_udp *f = tr_container_of(floor, struct floor_udp, head);
    struct end *ends[] = {f->leaf, f->spoke, f->partner};
    close(f->hub.fd);
    for (uint32_t i = 0; i < TR_PERF_FOLLOWERS_MAX; i++)
        for (uint32_t e = 0; e < TR_ARRAY_COUNT(ends); e++)
            if (ends[e][i].fd >= 0)
                close(ends[e][i].fd);
    free(f->out);
    free(f->inbox.bytes);
    free(f);
}

/* The IPv4 address of a host. Returns: TR_OK or TR_EADDR. */
static int resolve(const char *host, uint16_t port, struct sockaddr_in *out)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return TR_EADDR;
    memcpy(out, found->ai_addr, sizeof(*out));
    out->sin_port = htons(port);
    freeaddrinfo(found);
    return TR_OK;
}

/* A socket on a port of its own. Returns: TR_OK, TR_EADDR, or TR_ESYS with errno. */
static int end_open(struct end *end, const char *host)
{
    socklen_t length = sizeof(end->address);
    int bytes = SOCKET_BUFFER_BYTES;
    if (resolve(host, 0, &end->address) != TR_OK)
        return TR_EADDR;
    end->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (end->fd < 0 || bind(end->fd, (struct sockaddr *)&end->address, length) != 0 ||
        getsockname(end->fd, (struct sockaddr *)&end->address, &length) != 0)
        return TR_ESYS;
    if (setsockopt(end->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0)
        setsockopt(end->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    if (setsockopt(end->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0)
        setsockopt(end->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    return TR_OK;
}

static int end_connect(const struct end *end, const struct end *to)
{
    return connect(end->fd, (const struct sockaddr *)&to->address, sizeof(to->address)) == 0
               ? TR_OK
               : TR_ESYS;
}

static int open_ends(struct floor_udp *f)
{
    int result = end_open(&f->hub, LOOPBACK);
    for (uint32_t i = 0; i < f->head.shape.followers && result == TR_OK; i++) {
        result = end_open(&f->leaf[i], LOOPBACK);
        if (result == TR_OK)
            result = end_open(&f->spoke[i], LOOPBACK);
        if (result == TR_OK)
            result = end_open(&f->partner[i], LOOPBACK);
        if (result == TR_OK)
            result = end_connect(&f->leaf[i], &f->hub);
        if (result == TR_OK)
            result = end_connect(&f->spoke[i], &f->partner[i]);
        if (result == TR_OK)
            result = end_connect(&f->partner[i], &f->spoke[i]);
    }
    return result;
}

/* What the followers' socket buffers hold, by what the system gave our own. */
static uint32_t records_in_buffer(const struct floor_udp *f)
{
    int bytes = 0;
    socklen_t length = sizeof(bytes);
    const int fd = f->hub.fd >= 0 ? f->hub.fd : f->leaf[0].fd;
    if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &length) != 0)
        return 1;
    return (uint32_t)bytes / (TRUESIZE_BYTES + f->datagram_bytes) + 1;
}

static int open_memory(struct floor_udp *f)
{
    f->out = calloc(BURST, f->datagram_bytes);
    if (f->out == NULL || inbox_open(&f->inbox, f->datagram_bytes) != 0)
        return TR_ENOMEM;
    memset(f->out, 0x5a, (size_t)BURST * f->datagram_bytes);
    for (uint32_t i = 0; i < BURST; i++)
        f->piece[i].iov_base = f->out + (size_t)i * f->datagram_bytes;
    for (uint32_t i = 0; i < TR_ARRAY_COUNT(f->message); i++)
        f->message[i].msg_hdr =
            (struct msghdr){.msg_namelen = sizeof(struct sockaddr_in), .msg_iovlen = 1};
    return 0;
}

/* A floor without its sockets. Returns: as the table's open. */
static int make(const struct tr_perf_floor_shape *shape, struct floor_udp **out, char *error,
                size_t error_bytes)
{
    uint32_t datagram_bytes = tr_perf_datagram_bytes(shape->size_bytes, shape->batch);
    if (datagram_bytes > 65000) {
        snprintf(error, error_bytes, "floor: a record of %u bytes does not fit a datagram",
                 datagram_bytes);
        return TR_ETOOBIG;
    }
    struct floor_udp *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return TR_ENOMEM;
    f->head.table = &tr_perf_floor_udp;
    f->head.shape = *shape;
    f->datagram_bytes = datagram_bytes;
    f->answer_bytes = tr_perf_answer_bytes();
    f->hub.fd = -1;
    for (uint32_t i = 0; i < TR_PERF_FOLLOWERS_MAX; i++)
        f->leaf[i].fd = f->spoke[i].fd = f->partner[i].fd = -1;
    int result = open_memory(f);
    if (result != TR_OK) {
        snprintf(error, error_bytes, "floor: no memory for its datagrams");
        close_sockets(&f->head);
        return result;
    }
    *out = f;
    return TR_OK;
}

/* Ends a making: gives the floor out, or says why not and releases it. */
static int finish(struct floor_udp *f, int result, const char *host, struct tr_perf_floor **out,
                  char *error, size_t error_bytes)
{
    if (result != TR_OK) {
        snprintf(error, error_bytes, "floor: cannot open UDP sockets on %s: %s", host,
                 strerror(errno));
        close_sockets(&f->head);
        return result;
    }
    f->records_max = records_in_buffer(f);
    *out = &f->head;
    return TR_OK;
}

static int open_udp(const struct tr_perf_floor_shape *shape, struct tr_perf_floor **out,
                    char *error, size_t error_bytes)
{
    struct floor_udp *f = NULL;
    int result = make(shape, &f, error, error_bytes);
    return result != TR_OK ? result : finish(f, open_ends(f), LOOPBACK, out, error, error_bytes);
}

int tr_perf_floor_udp_open_hub(const struct tr_perf_floor_shape *shape, const char *host,
                               struct tr_perf_floor **out, char *error, size_t error_bytes)
{
    struct floor_udp *f = NULL;
    int result = make(shape, &f, error, error_bytes);
    return result != TR_OK ? result
                           : finish(f, end_open(&f->hub, host), host, out, error, error_bytes);
}

uint16_t tr_perf_floor_udp_hub_port(const struct tr_perf_floor *floor)
{
    return ntohs(tr_container_of(floor, const struct floor_udp, head)->hub.address.sin_port);
}

int tr_perf_floor_udp_set_leaf(struct tr_perf_floor *floor, uint32_t index, const char *host,
                               uint16_t port)
{
    struct floor_udp *f = tr_container_of(floor, struct floor_udp, head);
    return resolve(host, port, &f->leaf[index].address);
}

int tr_perf_floor_udp_open_leaf(const struct tr_perf_floor_shape *shape, uint32_t index,
                                const char *host, const char *hub_host, uint16_t hub_port,
                                struct tr_perf_floor **out, uint16_t *port, char *error,
                                size_t error_bytes)
{
    struct floor_udp *f = NULL;
    struct end hub = {.fd = -1};
    int result = make(shape, &f, error, error_bytes);
    if (result != TR_OK)
        return result;
    result = end_open(&f->leaf[index], host);
    if (result == TR_OK)
        result = resolve(hub_host, hub_port, &hub.address);
    if (result == TR_OK)
        result = end_connect(&f->leaf[index], &hub);
    *port = ntohs(f->leaf[index].address.sin_port);
    return finish(f, result, host, out, error, error_bytes);
}

const struct tr_perf_floor_table tr_perf_floor_udp = {
    .name = "udp",
    .variants = udp_variants,
    .variant_count = TR_ARRAY_COUNT(udp_variants),
    .open = open_udp,
    .reset = reset,
    .close = close_sockets,
};
