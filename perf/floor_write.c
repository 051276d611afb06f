/* The floor of one-sided writes through a driver: a WRITE of the record's bytes into a ring of each
 * follower, complete at the first completion. The followers do no more than the driver asks for:
 * they poll their ports.
 *
 * A follower makes its ring when it first follows, and leaves its token where the leader sees it.
 * Nothing is drained: a ring is written over and over. A write that breaks uncounts its follower
 * for the rest of the run. */
#include "base/atomic.h"
#include "base/bytes.h"
#include "perf/crew.h"
#include "perf/ports.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Completions of one look. */
#define BURST 64

/* Bytes of a ring at least: what the engine grants a peer by default. */
#define RING_BYTES (1u << 20)

/* The only grant of a ring. */
#define GENERATION UINT64_C(1)

/* Empty looks between two turns of the port itself, in which a driver keeps its connections. */
#define PORT_LOOK 256

/* How long completions of the slice before are waited for. */
#define SETTLE_NS UINT64_C(1000000000)

/* What followers leave for the leader. */
struct board {
    uint32_t is_granted[TR_PERF_FOLLOWERS_MAX];
    struct tr_ring_token token[TR_PERF_FOLLOWERS_MAX];
};

struct floor_write {
    struct tr_perf_floor head;
    struct tr_perf_ports ports;
    uint32_t ring_bytes;
    struct board *board; /* shared */
    bool has_ring[TR_PERF_FOLLOWERS_MAX];
    /* The leader's. */
    bool is_met;
    uint8_t *out;
    uint32_t records_max; /* in flight */
    uint32_t offset;      /* in the rings, of the next record */
    bool is_lost[TR_PERF_FOLLOWERS_MAX];
    uint32_t remote[TR_PERF_FOLLOWERS_MAX];
    struct tr_perf_mark sent;
    uint64_t base; /* commands sent before this slice */
    struct tr_perf_mark acked[TR_PERF_FOLLOWERS_MAX];
    uint64_t commands_at[TR_PERF_RECORDS_MAX]; /* sent with each record in flight */
    uint32_t empty;
};

/* A record to be written. */
struct record {
    uint32_t offset, bytes;
    uint64_t number;
};

static void poll_port(struct floor_write *f, struct tr_port *port)
{
    struct tr_rx rx[BURST];
    f->ports.driver->rx_burst(port, rx, BURST);
    f->ports.driver->tx_flush(port);
    tr_perf_ports_events(&f->ports, port);
}

/* Writes a burst into one follower's ring. */
static void write_records(struct floor_write *f, uint32_t i, const struct record *records,
                          uint32_t count)
{
    for (uint32_t r = 0; r < count && !f->is_lost[i]; r++) {
        struct tr_segment segment = {.data = f->out, .bytes = records[r].bytes};
        /* There is room: fewer are in flight than a peer may have. */
        if (f->ports.driver->write_post(f->ports.port[0], f->remote[i], records[r].offset, &segment,
                                        1, records[r].number) != TR_OK)
            f->is_lost[i] = true;
    }
}

static uint64_t behind_by(const struct floor_write *f)
{
    uint64_t behind = 0;
    for (uint32_t i = 0; i < f->head.shape.followers; i++)
        if (!f->is_lost[i])
            behind = tr_max_u64(behind, f->sent.records - f->acked[i].records);
    return behind;
}

/* The next record, of so many commands. */
static struct record next_record(struct floor_write *f, uint64_t commands)
{
    struct record record = {.bytes =
                                tr_perf_record_bytes(f->head.shape.size_bytes, (uint32_t)commands)};
    if (record.bytes > f->ring_bytes - f->offset)
        f->offset = 0;
    record.offset = f->offset;
    f->offset += record.bytes;
    f->sent.commands += commands;
    record.number = ++f->sent.records;
    f->commands_at[record.number % TR_PERF_RECORDS_MAX] = f->sent.commands;
    return record;
}

static void flush_records(void *side, struct tr_perf_slice *slice)
{
    struct floor_write *f = side;
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    const uint64_t submitted = f->base + slice->submitted;
    struct record records[TR_PERF_RECORDS_BURST];
    uint32_t count = 0;
    if (f->sent.commands == submitted)
        return;
    for (uint64_t behind = behind_by(f);
         count < TR_PERF_RECORDS_BURST && behind + count < f->records_max &&
         f->sent.commands < submitted;
         count++)
        records[count] = next_record(f, tr_min_u64(submitted - f->sent.commands, shape->batch));
    for (uint32_t i = 0; i < shape->followers && count != 0; i++)
        write_records(f, i, records, count);
    if (count != 0)
        f->ports.driver->tx_flush(f->ports.port[0]);
}

static void take_completion(struct floor_write *f, const struct tr_write_completion *done)
{
    uint32_t i = 0;
    while (i < f->head.shape.followers && f->remote[i] != done->remote)
        i++;
    if (i == f->head.shape.followers)
        return;
    if (done->status != TR_WRITE_OK && !f->is_lost[i]) {
        f->is_lost[i] = true;
        fprintf(stderr, "floor: the writes into the ring of follower %u broke\n", i + 1);
    }
    if (!f->is_lost[i] && done->cookie > f->acked[i].records)
        f->acked[i] =
            (struct tr_perf_mark){.commands = f->commands_at[done->cookie % TR_PERF_RECORDS_MAX],
                                  .records = done->cookie};
}

/* Takes the completions that there are. Returns: how many. */
static uint32_t hear_completions(struct floor_write *f)
{
    struct tr_write_completion done[BURST];
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    uint32_t count = f->ports.driver->write_poll(f->ports.port[0], done, BURST);
    for (uint32_t i = 0; i < count; i++)
        take_completion(f, &done[i]);
    if (count == 0 && ++f->empty % PORT_LOOK == 0)
        poll_port(f, f->ports.port[0]);
    for (uint32_t i = 0; shape->workers == 0 && i < shape->followers; i++)
        poll_port(f, f->ports.port[i + 1]);
    return count;
}

static void poll_completions(void *side, struct tr_perf_slice *slice)
{
    struct floor_write *f = side;
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    uint64_t commands;
    hear_completions(f);
    commands = tr_perf_quorum_commands(f->acked, shape->followers, shape->needed, f->sent.commands);
    if (commands > f->base + slice->completed)
        tr_perf_slice_done(slice, commands - f->base);
}

/* Opens follower i's port, and grants its ring. Returns: NULL when it cannot. */
static struct tr_port *take_follower(struct floor_write *f, uint32_t i)
{
    const struct tr_driver *driver = f->ports.driver;
    struct tr_port *port = tr_perf_ports_take(&f->ports, i + 1);
    struct tr_ring_options options = {
        .peer = tr_perf_ports_id(&f->ports, 0), .group = 1, .bytes = f->ring_bytes};
    struct tr_ring_info ring;
    if (port == NULL || f->has_ring[i])
        return port;
    int result = driver->ring_create(port, &options, &ring);
    if (result == TR_OK)
        result = driver->ring_grant(port, ring.ring, GENERATION, &f->board->token[i]);
    if (result != TR_OK) {
        fprintf(stderr, "floor: no ring at follower %u: %s\n", i + 1, tr_strerror(result));
        return NULL;
    }
    f->has_ring[i] = true;
    tr_store_release(&f->board->is_granted[i], 1); /* meets the acquire of open_remotes */
    return port;
}

/* Opens the rings that were granted. Returns: how many are open. */
static uint32_t open_remotes(struct floor_write *f, bool is_open[TR_PERF_FOLLOWERS_MAX])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < f->head.shape.followers; i++) {
        /* Meets the release of take_follower. */
        if (!is_open[i] && tr_load_acquire(&f->board->is_granted[i]) != 0)
            is_open[i] = f->ports.driver->remote_open(
                             f->ports.port[0], tr_perf_ports_id(&f->ports, i + 1),
                             &f->board->token[i], GENERATION, &f->remote[i]) == TR_OK;
        count += is_open[i];
    }
    return count;
}

/* Opens the leader's port, and those of followers that no worker has. */
static bool open_own(struct floor_write *f)
{
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    const struct tr_driver *driver = f->ports.driver;
    struct tr_port *port = tr_perf_ports_take(&f->ports, 0);
    struct tr_port_limits limits;
    if (port == NULL)
        return false;
    driver->limits(port, &limits);
    f->records_max = tr_min_u32(TR_PERF_RECORDS_MAX, limits.writes_max);
    if (driver->memory_add != NULL &&
        driver->memory_add(port, f->out, tr_perf_record_bytes(shape->size_bytes, shape->batch)) !=
            TR_OK)
        fprintf(stderr, "floor: its record is copied for the device: ulimit -l\n");
    for (uint32_t i = 0; i < shape->followers && shape->workers == 0; i++)
        if (take_follower(f, i) == NULL)
            return false;
    return true;
}

/* Waits until the rings of all followers can be written to. */
static bool meet(struct floor_write *f)
{
    const struct tr_perf_floor_shape *shape = &f->head.shape;
    const uint64_t begin_ns = tr_perf_now_ns();
    bool is_open[TR_PERF_FOLLOWERS_MAX] = {false};
    uint32_t there, empty = 0;
    if (f->is_met)
        return true;
    if (!open_own(f))
        return false;
    while ((there = open_remotes(f, is_open)) < shape->followers) {
        poll_port(f, f->ports.port[0]);
        for (uint32_t i = 0; i < shape->followers && shape->workers == 0; i++)
            poll_port(f, f->ports.port[i + 1]);
        tr_perf_idle(shape->idle, &empty);
        if (tr_perf_now_ns() - begin_ns > TR_PERF_MEET_NS) {
            fprintf(stderr, "floor: only %u of %u rings can be written to\n", there,
                    shape->followers);
            return false;
        }
    }
    f->is_met = true;
    return true;
}

/* Waits for what is in flight still: a slice ends with the quorum. */
static void settle(struct floor_write *f)
{
    const uint64_t begin_ns = tr_perf_now_ns();
    while (behind_by(f) != 0 && tr_perf_now_ns() - begin_ns < SETTLE_NS)
        hear_completions(f);
}

static void lead(struct tr_perf_floor *floor, struct tr_perf_slice *slice)
{
    struct floor_write *f = tr_container_of(floor, struct floor_write, head);
    if (!meet(f))
        return;
    settle(f);
    tr_perf_drive(slice, f, tr_perf_floor_submit, flush_records, poll_completions);
}

static void follow(struct tr_perf_floor *floor, uint32_t worker, const uint32_t *stop)
{
    struct floor_write *f = tr_container_of(floor, struct floor_write, head);
    const struct tr_perf_floor_shape *shape = &floor->shape;
    uint32_t empty = 0;
    for (uint32_t i = worker; i < shape->followers; i += shape->workers) {
        if (take_follower(f, i) == NULL)
            return;
    }
    while (tr_load_relaxed(stop) == 0) {
        for (uint32_t i = worker; i < shape->followers; i += shape->workers)
            poll_port(f, f->ports.port[i + 1]);
        tr_perf_idle(shape->idle, &empty);
    }
}

static const struct tr_perf_floor_variant write_variants[] = {
    {"a WRITE to each, one completion", true, true, lead, follow},
};

static void reset(struct tr_perf_floor *floor)
{
    struct floor_write *f = tr_container_of(floor, struct floor_write, head);
    f->base = f->sent.commands;
    f->empty = 0;
}

static void close_floor(struct tr_perf_floor *floor)
{
    struct floor_write *f = tr_container_of(floor, struct floor_write, head);
    tr_perf_ports_close(&f->ports);
    if (f->board != NULL)
        munmap(f->board, sizeof(*f->board));
    free(f->out);
    free(f);
}

static int open_floor(const struct tr_perf_floor_shape *shape, struct tr_perf_floor **out,
                      char *error, size_t error_bytes)
{
    struct floor_write *f = calloc(1, sizeof(*f));
    uint32_t record_bytes = tr_perf_record_bytes(shape->size_bytes, shape->batch);
    int result;
    if (f == NULL)
        return TR_ENOMEM;
    f->head = (struct tr_perf_floor){.table = &tr_perf_floor_write, .shape = *shape};
    for (f->ring_bytes = RING_BYTES; f->ring_bytes < 2 * record_bytes;)
        f->ring_bytes *= 2;
    f->board = tr_perf_shared(sizeof(*f->board));
    f->out = aligned_alloc(TR_CACHE_LINE, tr_align_up_u32(record_bytes, TR_CACHE_LINE));
    result = tr_perf_ports_make(&f->ports, &f->head.shape, record_bytes, error, error_bytes);
    if (result == TR_OK && (f->out == NULL || f->board == NULL)) {
        snprintf(error, error_bytes, "no memory for the floor's records");
        result = TR_ENOMEM;
    }
    if (result != TR_OK) {
        close_floor(&f->head);
        return result;
    }
    memset(f->out, 0x5a, record_bytes);
    *out = &f->head;
    return TR_OK;
}

const struct tr_perf_floor_table tr_perf_floor_write = {
    .variants = write_variants,
    .variant_count = TR_ARRAY_COUNT(write_variants),
    .open = open_floor,
    .reset = reset,
    .close = close_floor,
};
