/* The floor over ports of a driver: its raw round trip. A message of an Accept's bytes to each
 * follower, one of an Accepted's back from each, through the driver and nothing else of the
 * library.
 *
 * A message begins with the number of commands sent so far; the answer repeats it. What is lost is
 * covered by the next one; the last is sent again when nothing is heard. */
#include "base/atomic.h"
#include "base/bytes.h"
#include "perf/ports.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Messages of one burst. */
#define BURST 64

/* Silence after which the last record is sent again, and empty polls between two looks at the
 * clock. */
#define RESEND_NS   UINT64_C(2000000)
#define RESEND_LOOK 64

/* "TRFLOOR": no message of the engine, of whose first eight bytes one is a version other than 0. */
#define MAGIC UINT64_C(0x0052004f4f4c4654)

/* What a message begins with. */
struct head {
    uint64_t magic;
    struct tr_perf_mark mark;
    uint64_t follower; /* of an answer */
};

struct floor_port {
    struct tr_perf_floor head;
    struct tr_perf_ports ports;
    uint32_t answer_bytes;
    /* The leader's. */
    bool is_met;
    uint8_t *out;
    struct tr_perf_mark sent;
    uint64_t base; /* commands sent before this slice */
    struct tr_perf_mark acked[TR_PERF_FOLLOWERS_MAX];
    uint32_t last_bytes;
    uint32_t empty;
    uint64_t silent_ns;
};

/* Reads what a message begins with. Returns: false when it is none of the floor's. */
static bool read_head(const struct tr_rx *rx, struct head *out)
{
    if (tr_unlikely(rx->bytes < sizeof(*out)))
        return false;
    memcpy(out, rx->data, sizeof(*out));
    return out->magic == MAGIC;
}

/* Follower `i` looks at its port, and answers once. Returns: messages. */
static uint32_t follow_once(struct floor_port *f, uint32_t i, struct tr_port *port)
{
    const struct tr_driver *driver = f->ports.driver;
    struct tr_rx rx[BURST];
    uint64_t answer[32];
    struct head newest = {.magic = MAGIC, .follower = i};
    uint32_t count = driver->rx_burst(port, rx, BURST);
    tr_perf_ports_events(&f->ports, port);
    for (uint32_t at = 0; at < count; at++) {
        struct head heard;
        if (read_head(&rx[at], &heard) && heard.mark.records > newest.mark.records)
            newest.mark = heard.mark;
    }
    if (newest.mark.records == 0)
        return count;
    memcpy(answer, &newest, sizeof(newest));
    struct tr_tx tx = {.peer = tr_perf_ports_id(&f->ports, 0),
                       .segment_count = 1,
                       .segment = {{.data = answer, .bytes = f->answer_bytes}}};
    driver->tx_burst(port, &tx, 1);
    driver->tx_flush(port);
    return count;
}

static void send_record(struct floor_port *f)
{
    const struct head head = {.magic = MAGIC, .mark = f->sent};
    struct tr_tx tx[TR_PERF_FOLLOWERS_MAX];
    memcpy(f->out, &head, sizeof(head));
    for (uint32_t i = 0; i < f->head.shape.followers; i++)
        tx[i] = (struct tr_tx){.peer = tr_perf_ports_id(&f->ports, i + 1),
                               .segment_count = 1,
                               .segment = {{.data = f->out, .bytes = f->last_bytes}}};
    f->ports.driver->tx_burst(f->ports.port[0], tx, f->head.shape.followers);
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
    for (; count < TR_PERF_RECORDS_BURST && behind + count < TR_PERF_RECORDS_MAX &&
           f->sent.commands < submitted;
         count++) {
        uint64_t commands = tr_min_u64(submitted - f->sent.commands, shape->batch);
        f->last_bytes = tr_perf_datagram_bytes(shape->size_bytes, (uint32_t)commands);
        f->sent.commands += commands;
        f->sent.records++;
        send_record(f);
    }
    if (count != 0)
        f->ports.driver->tx_flush(f->ports.port[0]);
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
    f->ports.driver->tx_flush(f->ports.port[0]);
}

/* Takes the answers that there are. Returns: how many. */
static uint32_t hear_answers(struct floor_port *f)
{
    struct tr_rx rx[BURST];
    uint32_t count = f->ports.driver->rx_burst(f->ports.port[0], rx, BURST);
    tr_perf_ports_events(&f->ports, f->ports.port[0]);
    for (uint32_t i = 0; i < count; i++) {
        struct head heard;
        if (read_head(&rx[i], &heard) && heard.follower < f->head.shape.followers &&
            heard.mark.records > f->acked[heard.follower].records)
            f->acked[heard.follower] = heard.mark;
    }
    for (uint32_t i = 0; f->head.shape.workers == 0 && i < f->head.shape.followers; i++)
        follow_once(f, i, f->ports.port[i + 1]);
    return count;
}

static void poll_answers(void *side, struct tr_perf_slice *slice)
{
    struct floor_port *f = side;
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    uint64_t commands;
    if (hear_answers(f) == 0) {
        if (f->sent.commands != f->base + slice->completed && ++f->empty % RESEND_LOOK == 0)
            send_again(f);
    } else {
        f->empty = 0;
    }
    commands = tr_perf_quorum_commands(f->acked, shape->followers, shape->needed, f->sent.commands);
    if (commands > f->base + slice->completed)
        tr_perf_slice_done(slice, commands - f->base);
}

/* Opens the leader's port, and others that no worker has, and waits until all followers answer. */
static bool meet(struct floor_port *f)
{
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    const uint64_t begin_ns = tr_perf_now_ns();
    uint32_t there = 0;
    if (f->is_met)
        return true;
    for (uint32_t i = 0; i <= (shape->workers == 0 ? shape->followers : 0); i++) {
        if (tr_perf_ports_take(&f->ports, i) == NULL)
            return false;
    }
    f->sent.records++;
    f->last_bytes = sizeof(struct head);
    for (f->empty = 0; there < shape->followers; f->empty++) {
        hear_answers(f);
        if (f->empty % RESEND_LOOK == 0)
            send_again(f);
        if (tr_perf_now_ns() - begin_ns > TR_PERF_MEET_NS) {
            fprintf(stderr, "floor: only %u of %u followers answer\n", there, shape->followers);
            return false;
        }
        there = 0;
        for (uint32_t i = 0; i < shape->followers; i++)
            there += f->acked[i].records >= f->sent.records;
    }
    f->is_met = true;
    return true;
}

static void lead(struct tr_perf_floor *floor, struct tr_perf_slice *slice)
{
    struct floor_port *f = tr_container_of(floor, struct floor_port, head);
    if (meet(f))
        tr_perf_drive(slice, f, tr_perf_floor_submit, flush_records, poll_answers);
}

static void follow(struct tr_perf_floor *floor, uint32_t worker, const uint32_t *stop)
{
    struct floor_port *f = tr_container_of(floor, struct floor_port, head);
    const struct tr_perf_floor_shape *shape = &floor->shape;
    uint32_t empty = 0;
    for (uint32_t i = worker; i < shape->followers; i += shape->workers) {
        if (tr_perf_ports_take(&f->ports, i + 1) == NULL)
            return;
    }
    while (tr_load_relaxed(stop) == 0) {
        uint32_t work = 0;
        for (uint32_t i = worker; i < shape->followers; i += shape->workers)
            work += follow_once(f, i, f->ports.port[i + 1]);
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
    tr_perf_ports_close(&f->ports);
    free(f->out);
    free(f);
}

static int open_ports(const struct tr_perf_floor_shape *shape, struct tr_perf_floor **out,
                      char *error, size_t error_bytes)
{
    struct floor_port *f = calloc(1, sizeof(*f));
    uint32_t message_bytes = tr_perf_datagram_bytes(shape->size_bytes, shape->batch);
    int result;
    if (f == NULL)
        return TR_ENOMEM;
    f->head = (struct tr_perf_floor){.table = &tr_perf_floor_port, .shape = *shape};
    f->answer_bytes = tr_max_u32(tr_perf_answer_bytes(), sizeof(struct head));
    f->out = calloc(1, tr_max_u32(message_bytes, sizeof(struct head)));
    result = tr_perf_ports_make(&f->ports, &f->head.shape, message_bytes, error, error_bytes);
    if (result == TR_OK && f->out == NULL) {
        snprintf(error, error_bytes, "no memory for the floor's messages");
        result = TR_ENOMEM;
    }
    if (result == TR_OK)
        *out = &f->head;
    else
        close_ports(&f->head);
    return result;
}

const struct tr_perf_floor_table tr_perf_floor_port = {
    .variants = port_variants,
    .variant_count = TR_ARRAY_COUNT(port_variants),
    .open = open_ports,
    .reset = reset,
    .close = close_ports,
};
