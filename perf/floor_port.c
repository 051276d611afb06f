/* The floor over ports of a driver: its raw round trip. A message of an Accept's bytes to each
 * follower, one of an Accepted's back from each, through the driver and nothing else of the
 * library.
 *
 * A message begins with the number of commands sent so far; the answer repeats it. What is lost is
 * covered by the next one; the last is sent again when nothing is heard. A port is opened by the
 * thread or process that polls it, when it first does: DPDK's environment is one a process and
 * survives no fork. */
#include "perf/floor.h"

#include "base/atomic.h"
#include "base/bytes.h"
#include "drivers/module.h"
#include "perf/directory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Messages of one burst, and records of one flush. */
#define BURST 64

/* Records in flight at most: half of a ring of memif. */
#define RECORDS_MAX 256

/* Silence after which the last record is sent again, and empty polls between two looks at the
 * clock. */
#define RESEND_NS   UINT64_C(2000000)
#define RESEND_LOOK 64

/* How long the leader waits for all followers, before its first slice. */
#define MEET_NS UINT64_C(20000000000)

#define OPTIONS_MAX 512

/* What a message begins with. */
struct mark {
    uint64_t commands;
    uint64_t records;
    uint64_t follower; /* of an answer */
};

struct floor_port {
    struct tr_perf_floor head;
    const struct tr_driver *driver;
    char directory[TR_PERF_DIRECTORY_MAX];
    char options[OPTIONS_MAX];
    uint32_t message_bytes;
    uint32_t answer_bytes;
    struct tr_port *port[1 + TR_PERF_FOLLOWERS_MAX]; /* the leader's is the first */
    /* The leader's. */
    uint8_t *out;
    struct mark sent;
    uint64_t base; /* commands sent before this slice */
    struct mark acked[TR_PERF_FOLLOWERS_MAX];
    uint32_t last_bytes;
    uint32_t empty;
    uint64_t silent_ns;
};

/* Memory of ports lives as long as the process. */
static void *allocate(void *context, size_t bytes, size_t align)
{
    (void)context;
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}

static void address_of(uint32_t index, char address[32])
{
    snprintf(address, 32, "10.77.1.%u:7500", index + 1);
}

/* Opens the port of one replica, with its peers: the leader with all, others with the leader. */
static struct tr_port *port_of(struct floor_port *f, uint32_t index)
{
    char address[32], error[256] = "";
    struct tr_port_options options = {.struct_bytes = sizeof(options),
                                      .self = (tr_node_id)(index + 1),
                                      .address = address,
                                      .queue_count = 1,
                                      .peers_max = f->head.shape.followers,
                                      .message_bytes_max = tr_max_u32(f->message_bytes, 4096),
                                      .memory = {.allocate = allocate},
                                      .extra = f->options,
                                      .error = error,
                                      .error_bytes = sizeof(error)};
    uint32_t last = index == 0 ? f->head.shape.followers : 0;
    if (f->port[index] != NULL)
        return f->port[index];
    address_of(index, address);
    if (f->driver->open(&options, &f->port[index]) != TR_OK) {
        fprintf(stderr, "floor: %s\n", error);
        return NULL;
    }
    for (uint32_t peer = index == 0 ? 1 : 0; peer <= last; peer++) {
        address_of(peer, address);
        f->driver->peer_add(f->port[index], (tr_node_id)(peer + 1), address);
    }
    return f->port[index];
}

/* Follower `i` looks at its port, and answers once. Returns: messages. */
static uint32_t follow_once(struct floor_port *f, uint32_t i, struct tr_port *port)
{
    struct tr_rx rx[BURST];
    struct tr_port_event events[8];
    uint64_t answer[32];
    struct mark mark = {.commands = 0};
    uint32_t count = f->driver->rx_burst(port, rx, BURST);
    f->driver->events(port, events, TR_ARRAY_COUNT(events));
    if (count == 0)
        return 0;
    for (uint32_t at = 0; at < count; at++) {
        struct mark heard;
        memcpy(&heard, rx[at].data, sizeof(heard));
        if (heard.records > mark.records)
            mark = heard;
    }
    mark.follower = i;
    memcpy(answer, &mark, sizeof(mark));
    struct tr_tx tx = {
        .peer = 1, .segment_count = 1, .segment = {{.data = answer, .bytes = f->answer_bytes}}};
    f->driver->tx_burst(port, &tx, 1);
    f->driver->tx_flush(port);
    return count;
}

static void send_record(struct floor_port *f)
{
    struct tr_tx tx[TR_PERF_FOLLOWERS_MAX];
    memcpy(f->out, &f->sent, sizeof(f->sent));
    for (uint32_t i = 0; i < f->head.shape.followers; i++)
        tx[i] = (struct tr_tx){.peer = (tr_node_id)(i + 2),
                               .segment_count = 1,
                               .segment = {{.data = f->out, .bytes = f->last_bytes}}};
    f->driver->tx_burst(f->port[0], tx, f->head.shape.followers);
}

static void flush_records(void *side, struct tr_perf_slice *slice)
{
    struct floor_port *f = side;
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    const uint64_t submitted = f->base + slice->submitted;
    uint64_t behind = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < shape->followers; i++)
        behind = tr_max_u64(behind, f->sent.records - f->acked[i].records);
    for (; count < BURST && behind + count < RECORDS_MAX && f->sent.commands < submitted; count++) {
        uint64_t commands = tr_min_u64(submitted - f->sent.commands, shape->batch);
        f->last_bytes = tr_perf_datagram_bytes(shape->size_bytes, (uint32_t)commands);
        f->sent.commands += commands;
        f->sent.records++;
        send_record(f);
    }
    if (count != 0)
        f->driver->tx_flush(f->port[0]);
}

/* Sends the last record again after a silence: it, or all answers to it, may have been lost. */
static tr_noinline void send_again(struct floor_port *f)
{
    const uint64_t now_ns = tr_perf_now_ns();
    if (f->empty == RESEND_LOOK)
        f->silent_ns = now_ns;
    if (now_ns - f->silent_ns < RESEND_NS)
        return;
    f->silent_ns = now_ns;
    send_record(f);
    f->driver->tx_flush(f->port[0]);
}

/* Takes the answers that there are. Returns: how many. */
static uint32_t hear_answers(struct floor_port *f)
{
    struct tr_rx rx[BURST];
    struct tr_port_event events[8];
    uint32_t count = f->driver->rx_burst(f->port[0], rx, BURST);
    f->driver->events(f->port[0], events, TR_ARRAY_COUNT(events));
    for (uint32_t i = 0; i < count; i++) {
        struct mark heard;
        memcpy(&heard, rx[i].data, sizeof(heard));
        if (heard.follower < f->head.shape.followers &&
            heard.records > f->acked[heard.follower].records)
            f->acked[heard.follower] = heard;
    }
    for (uint32_t i = 0; f->head.shape.workers == 0 && i < f->head.shape.followers; i++)
        follow_once(f, i, f->port[i + 1]);
    return count;
}

/* The commands that enough followers have answered. */
static uint64_t quorum_commands(const struct floor_port *f)
{
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    uint64_t best = shape->needed == 0 ? f->sent.commands : 0;
    for (uint32_t i = 0; i < shape->followers && shape->needed > 0; i++) {
        uint32_t as_many = 0;
        for (uint32_t j = 0; j < shape->followers; j++)
            as_many += f->acked[j].commands >= f->acked[i].commands;
        if (as_many >= shape->needed)
            best = tr_max_u64(best, f->acked[i].commands);
    }
    return best;
}

static void poll_answers(void *side, struct tr_perf_slice *slice)
{
    struct floor_port *f = side;
    uint64_t commands;
    if (hear_answers(f) == 0) {
        if (f->sent.commands != f->base + slice->completed && ++f->empty % RESEND_LOOK == 0)
            send_again(f);
    } else {
        f->empty = 0;
    }
    commands = quorum_commands(f);
    if (commands > f->base + slice->completed)
        tr_perf_slice_done(slice, commands - f->base);
}

static bool submit_command(void *side, struct tr_perf_slice *slice, uint64_t sequence)
{
    (void)side;
    (void)slice;
    (void)sequence;
    return true;
}

/* Opens the leader's port, and others that no worker has, and waits until all followers answer. */
static bool meet(struct floor_port *f)
{
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    const uint64_t begin_ns = tr_perf_now_ns();
    uint32_t there = 0;
    if (f->port[0] != NULL)
        return true;
    for (uint32_t i = 0; i <= (shape->workers == 0 ? shape->followers : 0); i++) {
        if (port_of(f, i) == NULL)
            return false;
    }
    f->sent.records++;
    f->last_bytes = sizeof(f->sent);
    for (f->empty = 0; there < shape->followers; f->empty++) {
        hear_answers(f);
        if (f->empty % RESEND_LOOK == 0)
            send_again(f);
        if (tr_perf_now_ns() - begin_ns > MEET_NS) {
            fprintf(stderr, "floor: only %u of %u followers answer\n", there, shape->followers);
            return false;
        }
        there = 0;
        for (uint32_t i = 0; i < shape->followers; i++)
            there += f->acked[i].records >= f->sent.records;
    }
    return true;
}

static void lead(struct tr_perf_floor *floor, struct tr_perf_slice *slice)
{
    struct floor_port *f = tr_container_of(floor, struct floor_port, head);
    if (meet(f))
        tr_perf_drive(slice, f, submit_command, flush_records, poll_answers);
}

static void follow(struct tr_perf_floor *floor, uint32_t worker, const uint32_t *stop)
{
    struct floor_port *f = tr_container_of(floor, struct floor_port, head);
    const struct tr_perf_floor_shape *shape = &floor->shape;
    uint32_t empty = 0;
    for (uint32_t i = worker; i < shape->followers; i += shape->workers) {
        if (port_of(f, i + 1) == NULL)
            return;
    }
    while (tr_load_relaxed(stop) == 0) {
        uint32_t work = 0;
        for (uint32_t i = worker; i < shape->followers; i += shape->workers)
            work += follow_once(f, i, f->port[i + 1]);
        if (work == 0)
            tr_perf_idle(shape->idle, &empty);
        else
            empty = 0;
    }
}

static const struct tr_perf_floor_variant port_variants[] = {
    {"a message to each, one back", true, true, lead, follow},
};

static void reset(struct tr_perf_floor *floor)
{
    struct floor_port *f = tr_container_of(floor, struct floor_port, head);
    f->base = f->sent.commands;
    for (uint32_t i = 0; i < floor->shape.followers; i++)
        f->acked[i] = f->sent;
    f->empty = 0;
}

static void close_ports(struct tr_perf_floor *floor)
{
    struct floor_port *f = tr_container_of(floor, struct floor_port, head);
    for (uint32_t i = 0; i < TR_ARRAY_COUNT(f->port); i++) {
        if (f->port[i] != NULL)
            f->driver->close(f->port[i]);
    }
    tr_perf_directory_remove(f->directory);
    free(f->out);
    free(f);
}

static int open_ports(const struct tr_perf_floor_shape *shape, struct tr_perf_floor **out,
                      char *error, size_t error_bytes)
{
    struct floor_port *f = calloc(1, sizeof(*f));
    int result;
    if (f == NULL)
        return TR_ENOMEM;
    f->head = (struct tr_perf_floor){.table = &tr_perf_floor_port, .shape = *shape};
    f->message_bytes = tr_perf_datagram_bytes(shape->size_bytes, shape->batch);
    f->answer_bytes = tr_max_u32(tr_perf_answer_bytes(), sizeof(struct mark));
    f->out = calloc(1, tr_max_u32(f->message_bytes, sizeof(struct mark)));
    result = tr_driver_load(shape->driver, &f->driver, error, error_bytes);
    if (result == TR_OK && (f->out == NULL || tr_perf_directory_make(f->directory) != TR_OK)) {
        snprintf(error, error_bytes, "no memory, or no directory in /tmp");
        result = TR_ESYS;
    }
    if (result != TR_OK) {
        close_ports(&f->head);
        return result;
    }
    snprintf(f->options, sizeof(f->options), "memif=%s%s%s", f->directory,
             shape->driver_options[0] != '\0' ? "," : "", shape->driver_options);
    *out = &f->head;
    return TR_OK;
}

const struct tr_perf_floor_table tr_perf_floor_port = {
    .name = "dpdk",
    .variants = port_variants,
    .variant_count = TR_ARRAY_COUNT(port_variants),
    .open = open_ports,
    .reset = reset,
    .close = close_ports,
};
