/* What the client machine does of itself: submissions, patience, what is sent next, completions. */
#include "client/machine.h"

#include "base/assert.h"
#include "base/canary.h"
#include "trireme/error.h"

#include <string.h>

#define WINDOW_MAX (1u << 20)
#define BYTES_MAX  (UINT64_C(1) << 30)

void tr_client_config_times(struct tr_client_config *c)
{
    c->hello_ns = UINT64_C(2000000);
    c->seek_ns = UINT64_C(60000000);
    c->probe_ns = UINT64_C(2000000);
    c->probe_max_ns = UINT64_C(32000000);
    c->silent_ns = UINT64_C(50000000);
    c->stall_ns = UINT64_C(500000000);
    c->keepalive_ns = UINT64_C(1000000000);
    c->avoid_ns = UINT64_C(1000000000);
}

/* ---- memory */

struct layout {
    uint64_t machine, lane, reply, done, out, total;
    uint64_t reply_bytes;
};

static uint64_t power_from(uint64_t value)
{
    uint64_t power = 1;
    while (power < value)
        power *= 2;
    return power;
}

static struct layout lay_out(const struct tr_client_config *c)
{
    struct layout l = {.machine = tr_align_up_u64(sizeof(struct tr_client_machine), 64)};
    l.lane = tr_align_up_u64(tr_client_lane_bytes(c->window, c->queue_bytes), 64);
    l.reply_bytes = power_from(tr_max_u64(c->queue_bytes, 2 * (uint64_t)c->message_bytes_max));
    l.reply = l.reply_bytes;
    l.done = tr_align_up_u64(2 * (uint64_t)c->window * sizeof(struct tr_client_done), 64);
    l.out = tr_align_up_u64((uint64_t)c->message_bytes_max, 64);
    l.total = l.machine + 2 * l.lane + l.reply + l.done + l.out;
    return l;
}

uint64_t tr_client_machine_bytes(const struct tr_client_config *c, const char **why)
{
    *why = NULL;
    if (c->node_count == 0 || c->node_count > TR_CLIENT_NODES_MAX)
        *why = "1 to 64 nodes are possible";
    else if (!tr_is_power_of_two(c->window) || c->window > WINDOW_MAX)
        *why = "the window is no power of two, or above 1048576";
    else if (!tr_is_power_of_two(c->queue_bytes) || c->queue_bytes > BYTES_MAX ||
             c->queue_bytes < 2 * (uint64_t)c->command_bytes_max)
        *why = "queue_bytes is no power of two, above 1 GiB, or below two of the largest commands";
    else if (c->message_bytes_max < (uint64_t)c->command_bytes_max + TR_WIRE_OVERHEAD_BYTES ||
             c->message_bytes_max < 2 * TR_WIRE_OVERHEAD_BYTES)
        *why = "the driver's messages are too small for the largest command";
    return *why == NULL ? lay_out(c).total : 0;
}

struct tr_client_machine *tr_client_machine_init(void *memory, const struct tr_client_config *c,
                                                 uint64_t now_ns)
{
    struct layout l = lay_out(c);
    struct tr_client_machine *m = (struct tr_client_machine *)memory;
    uint8_t *next = (uint8_t *)memory + l.machine;
    m->config = *c;
    m->now_ns = now_ns;
    tr_client_lane_init(&m->command, next, c->window, c->queue_bytes);
    next += l.lane;
    tr_client_lane_init(&m->read, next, c->window, c->queue_bytes);
    next += l.lane;
    m->reply_memory = next;
    m->reply_bytes = l.reply_bytes;
    next += l.reply;
    m->done = (struct tr_client_done *)(void *)next;
    m->done_mask = 2 * c->window - 1;
    next += l.done;
    m->out = next;
    m->keep_ns = TR_CLIENT_NEVER;
    tr_client_seek(m, 0);
    return m;
}

/* ---- submissions */

static bool is_awaiting(const struct tr_client_machine *m)
{
    return m->command.replied < m->command.submitted || m->read.replied < m->read.submitted;
}

/* Why nothing can be submitted. */
static int refusal(const struct tr_client_machine *m, uint32_t bytes)
{
    uint32_t most = m->config.command_bytes_max;
    if (m->phase == TR_CLIENT_LOST)
        return m->lost_reason;
    if (m->phase == TR_CLIENT_CLOSED)
        return TR_ECLOSED;
    if (m->command_bytes_max != 0)
        most = tr_min_u32(most, m->command_bytes_max);
    return bytes > most ? TR_ETOOBIG : TR_OK;
}

static struct tr_client_item *add(struct tr_client_machine *m, struct tr_client_lane *lane,
                                  const void *data, uint32_t bytes, void *user, uint64_t now_ns)
{
    bool idle = !is_awaiting(m);
    struct tr_client_item *item = tr_client_lane_add(lane, data, bytes);
    if (item == NULL)
        return NULL;
    item->user = user;
    item->submitted_ns = now_ns;
    m->now_ns = now_ns;
    if (idle)
        tr_client_progress(m);
    return item;
}

int tr_client_machine_submit(struct tr_client_machine *m, const void *data, uint32_t bytes,
                             void *user, uint64_t now_ns)
{
    int status = refusal(m, bytes);
    if (tr_unlikely(status != TR_OK))
        return status;
    return add(m, &m->command, data, bytes, user, now_ns) != NULL ? TR_OK : TR_AGAIN;
}

int tr_client_machine_ask(struct tr_client_machine *m, const void *query, uint32_t bytes,
                          void *user, uint32_t flags, uint64_t now_ns)
{
    int status = refusal(m, bytes);
    if (tr_unlikely(status != TR_OK))
        return status;
    struct tr_client_item *item = add(m, &m->read, query, bytes, user, now_ns);
    if (item == NULL)
        return TR_AGAIN;
    item->after = m->command.submitted;
    item->flags = flags;
    return TR_OK;
}

/* ---- whom to talk to */

void tr_client_progress(struct tr_client_machine *m)
{
    m->progress_ns = m->now_ns;
    m->probe_wait_ns = m->config.probe_ns;
    m->probe_at_ns = m->now_ns + m->config.probe_ns;
    m->keep_ns = m->now_ns + m->config.keepalive_ns;
}

void tr_client_seek(struct tr_client_machine *m, uint32_t node)
{
    m->count.moved += node != m->target;
    m->phase = TR_CLIENT_SEEK;
    m->target = node;
    m->token = 0;
    m->hello_ns = m->now_ns;
    m->seek_until_ns = m->now_ns + m->config.seek_ns;
    m->out_bytes = 0;
    m->ping_due = false;
}

bool tr_client_is_avoided(const struct tr_client_machine *m, uint32_t node)
{
    return m->failed_ns[node] != 0 && m->failed_ns[node] + m->config.avoid_ns > m->now_ns;
}

void tr_client_give_up(struct tr_client_machine *m)
{
    uint32_t next = (m->target + 1) % m->config.node_count;
    m->failed_ns[m->target] = tr_max_u64(m->now_ns, 1);
    if (m->leader == m->config.node[m->target])
        m->leader = 0;
    for (uint32_t i = 0; i < m->config.node_count; i++)
        if (m->config.node[i] == m->leader && !tr_client_is_avoided(m, i))
            next = i;
    tr_client_seek(m, next);
}

void tr_client_machine_down(struct tr_client_machine *m, uint32_t node, uint64_t now_ns)
{
    m->now_ns = now_ns;
    if (node == m->target && m->phase == TR_CLIENT_ATTACHED)
        tr_client_give_up(m);
}

/* ---- completions */

/* Room for a reply: where it begins, or UINT64_MAX. */
static uint64_t reply_room(struct tr_client_machine *m, uint32_t bytes)
{
    uint64_t at = m->reply_tail;
    uint64_t offset = at & (m->reply_bytes - 1);
    if (m->reply_head == at)
        m->reply_head = m->reply_head_next = at = tr_align_up_u64(at, m->reply_bytes);
    else if (offset + bytes > m->reply_bytes)
        at = tr_align_up_u64(at, m->reply_bytes);
    return at + tr_wire_padded(bytes) - m->reply_head <= m->reply_bytes ? at : UINT64_MAX;
}

bool tr_client_complete(struct tr_client_machine *m, struct tr_client_lane *lane, uint64_t n,
                        int32_t status, uint64_t slot, const uint8_t *reply, uint32_t bytes)
{
    if (n <= lane->completed)
        return true; /* its deadline has passed before */
    tr_assert(n == lane->completed + 1 && n <= lane->submitted);
    const struct tr_client_item *item = tr_client_lane_item(lane, n);
    struct tr_client_done done = {.user = item->user,
                                  .sequence = lane == &m->command ? n : 0,
                                  .slot = slot,
                                  .submitted_ns = item->submitted_ns,
                                  .completed_ns = m->now_ns,
                                  .status = status};
    if (bytes != 0) {
        uint64_t at = reply_room(m, bytes);
        if (at == UINT64_MAX)
            return false;
        uint8_t *to = m->reply_memory + (at & (m->reply_bytes - 1));
        memcpy(to, reply, bytes);
        done.reply = to;
        done.reply_bytes = bytes;
        m->reply_tail = at + tr_wire_padded(bytes);
    }
    done.reply_end = m->reply_tail;
    tr_assert(m->done_tail - m->done_head <= m->done_mask);
    m->done[m->done_tail++ & m->done_mask] = done;
    lane->completed = n;
    return true;
}

const struct tr_client_done *tr_client_machine_take(struct tr_client_machine *m)
{
    if (m->done_head == m->done_tail)
        return NULL;
    const struct tr_client_done *done = &m->done[m->done_head++ & m->done_mask];
    struct tr_client_lane *lane = done->sequence != 0 ? &m->command : &m->read;
    lane->taken++;
    m->reply_head_next = done->reply_end;
    return done;
}

void tr_client_machine_release(struct tr_client_machine *m)
{
    m->reply_head = m->reply_head_next;
}

uint32_t tr_client_machine_pending(const struct tr_client_machine *m)
{
    return (uint32_t)(m->command.submitted - m->command.taken + m->read.submitted - m->read.taken);
}

static void finish(struct tr_client_machine *m, struct tr_client_lane *lane, int32_t status)
{
    tr_client_complete(m, lane, lane->completed + 1, status, 0, NULL, 0);
}

void tr_client_lose(struct tr_client_machine *m, int status)
{
    while (m->command.completed < m->command.submitted)
        finish(m, &m->command, status);
    while (m->read.completed < m->read.submitted)
        finish(m, &m->read, status);
    m->phase = TR_CLIENT_LOST;
    m->lost_reason = status;
    m->out_bytes = 0;
}

/* Completes what is past its deadline. Commands go on being sent: what follows needs them. */
static void expire(struct tr_client_machine *m, struct tr_client_lane *lane, int32_t status)
{
    while (lane->completed < lane->submitted &&
           tr_client_lane_item(lane, lane->completed + 1)->submitted_ns + m->config.deadline_ns <=
               m->now_ns) {
        finish(m, lane, status);
        m->count.expired++;
    }
}

/* ---- time */

static void tick_attached(struct tr_client_machine *m)
{
    if (!is_awaiting(m)) {
        if (m->now_ns >= m->keep_ns) {
            m->ping_due = true;
            m->keep_ns = m->now_ns + m->config.keepalive_ns;
        }
        return;
    }
    if (m->now_ns - tr_max_u64(m->heard_ns, m->progress_ns) >= m->config.silent_ns ||
        m->now_ns - m->progress_ns >= m->config.stall_ns) {
        tr_client_give_up(m);
        return;
    }
    if (m->now_ns >= m->probe_at_ns) {
        m->ping_due = true;
        m->count.probes++;
        m->probe_wait_ns = tr_min_u64(2 * m->probe_wait_ns, m->config.probe_max_ns);
        m->probe_at_ns = m->now_ns + m->probe_wait_ns;
    }
}

void tr_client_machine_tick(struct tr_client_machine *m, uint64_t now_ns)
{
    m->now_ns = now_ns;
    if (m->config.deadline_ns != 0) {
        expire(m, &m->command, TR_EUNKNOWN);
        expire(m, &m->read, TR_ETIMEOUT);
    }
    switch (m->phase) {
    case TR_CLIENT_SEEK:
        if (now_ns >= m->seek_until_ns)
            tr_client_give_up(m);
        return;
    case TR_CLIENT_ATTACHED:
        tick_attached(m);
        return;
    case TR_CLIENT_LOST:
    case TR_CLIENT_CLOSED:
        return;
    }
    tr_unreachable();
}

/* When the first deadline of a lane passes. */
static uint64_t expiry_ns(const struct tr_client_machine *m, const struct tr_client_lane *lane)
{
    if (m->config.deadline_ns == 0 || lane->completed == lane->submitted)
        return TR_CLIENT_NEVER;
    return tr_client_lane_item(lane, lane->completed + 1)->submitted_ns + m->config.deadline_ns;
}

uint64_t tr_client_machine_deadline_ns(const struct tr_client_machine *m)
{
    uint64_t due = tr_min_u64(expiry_ns(m, &m->command), expiry_ns(m, &m->read));
    switch (m->phase) {
    case TR_CLIENT_SEEK:
        return tr_min_u64(due, tr_min_u64(m->hello_ns, m->seek_until_ns));
    case TR_CLIENT_ATTACHED:
        if (!is_awaiting(m))
            return tr_min_u64(due, m->keep_ns);
        if (m->resume_ns > m->now_ns)
            due = tr_min_u64(due, m->resume_ns);
        return tr_min_u64(due, m->probe_at_ns);
    case TR_CLIENT_LOST:
    case TR_CLIENT_CLOSED:
        return due;
    }
    tr_unreachable();
}

/* ---- what is sent */

static void *begin(struct tr_client_machine *m, enum tr_wire_type type)
{
    return tr_wire_begin(m->out, type, m->config.cluster, m->config.group, m->token);
}

/* What this client has the replies of. */
static uint64_t acked(const struct tr_client_machine *m)
{
    return TR_CANARY(m->canary, CLIENT_ACKED_EARLY) ? m->command.sent : m->command.replied;
}

static void write_hello(struct tr_client_machine *m)
{
    struct tr_wire_hello *hello = (struct tr_wire_hello *)begin(m, TR_WIRE_HELLO);
    memcpy(hello->nonce, m->config.nonce, sizeof(hello->nonce));
    hello->number = m->number;
    hello->acked = m->command.replied;
    hello->read_acked = m->read.replied;
    m->out_bytes = tr_wire_end(m->out, 0);
    m->hello_ns = m->now_ns + m->config.hello_ns;
}

static void write_ping(struct tr_client_machine *m)
{
    struct tr_wire_ping *ping = (struct tr_wire_ping *)begin(m, TR_WIRE_PING);
    ping->acked = acked(m);
    ping->sent = tr_max_u64(m->command.sent, m->command.replied);
    m->out_bytes = tr_wire_end(m->out, 0);
    m->ping_due = false;
}

/* Commands from `first` on that go into one message. */
struct batch {
    uint32_t count, tail_bytes;
    uint32_t bytes_each; /* or TR_WIRE_BYTES_VARY */
};

static struct batch plan(const struct tr_client_machine *m, uint64_t first, uint64_t last)
{
    uint32_t most =
        tr_min_u32(m->config.batch_bytes, m->config.message_bytes_max - TR_WIRE_HEADER_BYTES_MAX);
    struct batch b = {.bytes_each = tr_client_lane_item(&m->command, first)->bytes};
    uint32_t sum = 0;
    bool vary = false;
    for (uint64_t n = first; n <= last && b.count < TR_WIRE_COMMANDS_MAX; n++) {
        uint32_t bytes = tr_client_lane_item(&m->command, n)->bytes;
        bool varies = vary || bytes != b.bytes_each;
        uint32_t tail = sum + tr_wire_padded(bytes);
        tail += varies ? tr_wire_lengths_bytes(b.count + 1) : 0;
        if (b.count != 0 && tail > most)
            break;
        vary = varies;
        sum += tr_wire_padded(bytes);
        b.tail_bytes = tail;
        b.count++;
    }
    if (vary)
        b.bytes_each = TR_WIRE_BYTES_VARY;
    return b;
}

static void write_submit(struct tr_client_machine *m, uint64_t last)
{
    uint64_t first = m->command.sent + 1;
    struct batch b = plan(m, first, last);
    struct tr_wire_submit *submit = (struct tr_wire_submit *)begin(m, TR_WIRE_SUBMIT);
    uint8_t *to = tr_wire_tail(m->out);
    submit->first = first;
    submit->acked = acked(m);
    submit->count = b.count;
    submit->bytes_each = b.bytes_each;
    if (b.bytes_each == TR_WIRE_BYTES_VARY) {
        uint32_t lengths = tr_wire_lengths_bytes(b.count);
        tr_store_le64(to + lengths - 8, 0);
        for (uint32_t i = 0; i < b.count; i++)
            tr_store_le32(to + 4 * (size_t)i, tr_client_lane_item(&m->command, first + i)->bytes);
        to += lengths;
    }
    for (uint32_t i = 0; i < b.count; i++) {
        const struct tr_client_item *item = tr_client_lane_item(&m->command, first + i);
        uint32_t whole = tr_wire_padded(item->bytes);
        if (whole != 0)
            tr_store_le64(to + whole - 8, 0);
        memcpy(to, tr_client_lane_data(&m->command, item), item->bytes);
        to += whole;
    }
    m->command.sent = first + b.count - 1;
    m->out_bytes = tr_wire_end(m->out, b.tail_bytes);
}

static void write_read(struct tr_client_machine *m)
{
    const struct tr_client_item *item = tr_client_lane_item(&m->read, ++m->read.sent);
    struct tr_wire_read *read = (struct tr_wire_read *)begin(m, TR_WIRE_READ);
    read->id = m->read.sent;
    read->after = item->after;
    read->acked = tr_min_u64(acked(m), item->after);
    read->bytes = item->bytes;
    read->flags = item->flags;
    memcpy(tr_wire_tail(m->out), tr_client_lane_data(&m->read, item), item->bytes);
    m->out_bytes = tr_wire_end(m->out, item->bytes);
}

static void write_attached(struct tr_client_machine *m)
{
    uint64_t last = tr_min_u64(m->command.submitted, m->command.replied + m->window);
    if (m->command.sent < last && m->now_ns >= m->resume_ns)
        write_submit(m, last);
    else if (m->read.sent < m->read.submitted && m->read.sent - m->read.replied < m->window &&
             tr_client_lane_item(&m->read, m->read.sent + 1)->after <= m->command.sent)
        write_read(m);
    else if (m->ping_due)
        write_ping(m);
}

bool tr_client_machine_next(struct tr_client_machine *m, struct tr_client_out *out)
{
    if (m->out_bytes == 0) {
        if (m->bye_due) {
            begin(m, TR_WIRE_BYE);
            m->out_bytes = tr_wire_end(m->out, 0);
            m->bye_due = false;
        } else if (m->phase == TR_CLIENT_ATTACHED) {
            write_attached(m);
        } else if (m->phase == TR_CLIENT_SEEK && m->now_ns >= m->hello_ns) {
            write_hello(m);
        }
    }
    if (m->out_bytes == 0)
        return false;
    *out = (struct tr_client_out){.node = m->target, .data = m->out, .bytes = m->out_bytes};
    return true;
}

void tr_client_machine_sent(struct tr_client_machine *m)
{
    m->out_bytes = 0;
}

void tr_client_machine_close(struct tr_client_machine *m)
{
    m->bye_due = m->phase == TR_CLIENT_ATTACHED;
    m->out_bytes = 0;
    m->phase = TR_CLIENT_CLOSED;
}
