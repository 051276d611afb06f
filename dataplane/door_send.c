/* What a door sends: welcomes, replies, and how far it is. */
#include "dataplane/door.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "dataplane/group.h"
#include "dataplane/node.h"
#include "trireme/error.h"

#include <string.h>

/* Replies are gathered into messages of about so many bytes. */
#define REPLY_BYTES (16u << 10)

void *tr_door_begin(struct tr_door *d, enum tr_wire_type type, const struct tr_group *g,
                    uint32_t group, uint64_t token)
{
    void *body = tr_wire_begin(d->out, type, d->node->client_cluster, group, token);
    struct tr_wire_header *header = (struct tr_wire_header *)(void *)d->out;
    if (g != NULL) {
        header->leader = g->leader;
        header->round = g->leader_round;
    }
    return body;
}

static void *begin_for(struct tr_door *d, const struct tr_door_place *p, enum tr_wire_type type)
{
    return tr_door_begin(d, type, p->group, p->group->number, p->token);
}

bool tr_door_put(struct tr_door *d, const struct tr_door_place *p, uint32_t tail_bytes)
{
    struct tr_tx tx = {.peer = p->peer, .segment_count = 1};
    tx.segment[0] = (struct tr_segment){.data = d->out, .bytes = tr_wire_end(d->out, tail_bytes)};
    d->tx_dirty = true;
    return d->driver->tx_burst(d->port, &tx, 1) == 1;
}

void tr_door_refuse(struct tr_door *d, const struct tr_door_place *p, int reason)
{
    struct tr_wire_refused *r = (struct tr_wire_refused *)begin_for(d, p, TR_WIRE_REFUSED);
    memcpy(r->nonce, p->nonce, sizeof(r->nonce));
    r->reason = reason;
    tr_counter_add(d->stats.refused, 1);
    tr_door_put(d, p, 0);
}

/* ---- the life of an attachment */

/* The log does not know the session any more, or knows another one of this nonce. */
static void refuse_session(struct tr_door *d, struct tr_door_place *p, bool stays)
{
    tr_door_refuse(d, p, TR_ESESSION);
    tr_door_leave(d, p, stays);
}

static bool welcome(struct tr_door *d, struct tr_door_place *p)
{
    struct tr_session *s = p->session;
    uint64_t number = tr_load_acquire(&s->number); /* (N) */
    if (number == 0)
        return false; /* the log has not answered yet */
    if (p->expected != 0 && p->expected != number) {
        refuse_session(d, p, false);
        return true;
    }
    struct tr_wire_welcome *w = (struct tr_wire_welcome *)begin_for(d, p, TR_WIRE_WELCOME);
    w->number = number;
    w->next = s->command.submitted + 1;
    w->window = d->node->client_window;
    w->command_bytes_max = d->node->client_message_bytes_max;
    w->reply_bytes_max = tr_min_u32(p->group->reply_bytes_max, d->node->client_message_bytes_max);
    if (!tr_door_put(d, p, 0))
        return false;
    if (p->state == TR_PLACE_ATTACHING)
        tr_counter_add(d->stats.welcomes, 1);
    p->heard_ns = d->now_ns;
    p->welcome_due = false;
    p->state = TR_PLACE_OPEN;
    return true;
}

static void state(struct tr_door *d, struct tr_door_place *p)
{
    struct tr_wire_state *s = (struct tr_wire_state *)begin_for(d, p, TR_WIRE_STATE);
    s->next = p->session->command.submitted + 1;
    s->read_next = p->read_taken + 1;
    s->read_done = p->read_done;
    s->flags = p->state_flags;
    if (tr_door_put(d, p, 0))
        p->state_flags = 0;
}

/* ---- replies */

/* What goes over the wire of a completion: a reply that no message holds is left out. */
static struct tr_wire_done done_of(const struct tr_door *d, const struct tr_completion *c)
{
    struct tr_wire_done done = {.status = c->status, .bytes = c->reply_bytes, .slot = c->slot};
    if (c->reply_bytes > d->node->client_message_bytes_max) {
        done.status = TR_ETOOBIG;
        done.bytes = 0;
    }
    return done;
}

static bool read_reply(struct tr_door *d, struct tr_door_place *p, const struct tr_completion *c)
{
    struct tr_wire_read_reply *r = (struct tr_wire_read_reply *)begin_for(d, p, TR_WIRE_READ_REPLY);
    struct tr_wire_done done = done_of(d, c);
    r->id = (uint64_t)(uintptr_t)c->user;
    r->slot = done.slot;
    r->status = done.status;
    r->bytes = done.bytes;
    if (done.bytes != 0)
        memcpy(tr_wire_tail(d->out), c->reply, done.bytes);
    if (!tr_door_put(d, p, done.bytes))
        return false;
    p->read_done = tr_max_u64(p->read_done, r->id);
    p->sent++;
    return true;
}

/* Completions of commands from p->sent on that go into one message. Their bytes are at *tail. */
static uint32_t plan_replies(const struct tr_door *d, const struct tr_door_place *p, uint64_t end,
                             uint32_t *tail)
{
    uint32_t most = tr_min_u32(REPLY_BYTES, d->out_bytes_max - TR_WIRE_HEADER_BYTES_MAX);
    uint32_t count = 0;
    *tail = 0;
    for (uint64_t i = p->sent; i < end && count < TR_WIRE_COMMANDS_MAX; i++, count++) {
        const struct tr_completion *c = tr_session_at(p->session, i);
        uint32_t bytes = (uint32_t)sizeof(struct tr_wire_done) +
                         tr_wire_padded(c->sequence != 0 ? done_of(d, c).bytes : 0);
        if (c->sequence == 0 || (count != 0 && *tail + bytes > most))
            break;
        *tail += bytes;
    }
    return count;
}

static bool command_replies(struct tr_door *d, struct tr_door_place *p, uint64_t end)
{
    uint32_t tail_bytes;
    uint32_t count = plan_replies(d, p, end, &tail_bytes);
    struct tr_wire_reply *r = (struct tr_wire_reply *)begin_for(d, p, TR_WIRE_REPLY);
    uint8_t *sizes = tr_wire_tail(d->out);
    uint8_t *data = sizes + count * sizeof(struct tr_wire_done);
    r->first = tr_session_at(p->session, p->sent)->sequence;
    r->count = count;
    for (uint32_t i = 0; i < count; i++) {
        const struct tr_completion *c = tr_session_at(p->session, p->sent + i);
        struct tr_wire_done done = done_of(d, c);
        uint32_t whole = tr_wire_padded(done.bytes);
        memcpy(sizes + i * sizeof(done), &done, sizeof(done));
        if (whole != 0) {
            tr_store_le64(data + whole - 8, 0);
            memcpy(data, c->reply, done.bytes);
        }
        data += whole;
    }
    if (!tr_door_put(d, p, tail_bytes))
        return false;
    p->sent += count;
    p->replied = tr_max_u64(p->replied, r->first + count - 1);
    return true;
}

/* Sends a client what has completed. Returns messages. */
static uint32_t replies(struct tr_door *d, struct tr_door_place *p)
{
    uint64_t end = tr_session_ready(p->session);
    uint32_t count = 0;
    bool taken = true;
    for (; p->sent < end && taken; count += taken) {
        const struct tr_completion *c = tr_session_at(p->session, p->sent);
        taken = c->sequence == 0 ? read_reply(d, p, c) : command_replies(d, p, end);
    }
    return count;
}

/* ---- a turn */

static uint32_t serve(struct tr_door *d, struct tr_door_place *p)
{
    if (p->state != TR_PLACE_OPEN && p->state != TR_PLACE_ATTACHING)
        return 0;
    if (tr_unlikely(tr_load_relaxed(&p->session->state) == TR_SESSION_EVICTED)) {
        refuse_session(d, p, true);
        return 1;
    }
    uint32_t work = 0;
    if (tr_unlikely(p->welcome_due))
        work += welcome(d, p);
    if (p->state != TR_PLACE_OPEN)
        return work;
    work += replies(d, p);
    if (tr_unlikely(p->state_flags != 0)) {
        state(d, p);
        work++;
    }
    return work;
}

uint32_t tr_door_send(struct tr_door *d)
{
    uint32_t work = 0;
    for (uint32_t i = d->active_count; i-- > 0;)
        work += serve(d, &d->place[d->active[i]]);
    if (d->tx_dirty) {
        d->tx_dirty = false;
        d->driver->tx_flush(d->port);
    }
    return work;
}
