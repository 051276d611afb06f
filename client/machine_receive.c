/* What the client machine makes of a node's messages. */
#include "client/machine.h"

#include "base/assert.h"
#include "base/canary.h"
#include "trireme/error.h"

#include <string.h>

/* Several answers may tell of one gap: commands are sent again for it once in so long. */
#define REWIND_NS UINT64_C(500000)
/* A node without room for commands is left alone for so long. */
#define BUSY_NS UINT64_C(100000)

/* Index of a node, or UINT32_MAX. */
static uint32_t index_of(const struct tr_client_machine *m, uint16_t node)
{
    for (uint32_t i = 0; i < m->config.node_count; i++)
        if (m->config.node[i] == node)
            return i;
    return UINT32_MAX;
}

/* Goes to the leader that a message names, if that is another node and news. Returns whether it
 * went. */
static bool follow(struct tr_client_machine *m, const struct tr_wire_header *h)
{
    uint32_t to = index_of(m, h->leader);
    if (h->leader == 0 || h->round < m->round || to == UINT32_MAX)
        return false;
    m->leader = h->leader;
    m->round = h->round;
    if (to == m->target || tr_client_is_avoided(m, to))
        return false;
    tr_client_seek(m, to);
    return true;
}

static void stale(struct tr_client_machine *m)
{
    m->count.dropped_stale++;
}

static void recv_challenge(struct tr_client_machine *m, const struct tr_wire_message *msg)
{
    const struct tr_wire_challenge *c = (const struct tr_wire_challenge *)msg->body;
    if (m->phase != TR_CLIENT_SEEK || msg->header->token == 0 || msg->header->token == m->token ||
        memcmp(c->nonce, m->config.nonce, sizeof(c->nonce)) != 0) {
        stale(m);
        return;
    }
    if (follow(m, msg->header))
        return;
    m->token = msg->header->token;
    m->hello_ns = m->now_ns;
    m->out_bytes = 0;
}

/* Whether a command that waits is above what the node takes. */
static bool has_larger(const struct tr_client_lane *lane, uint32_t bytes)
{
    for (uint64_t n = lane->replied + 1; n <= lane->submitted; n++)
        if (tr_client_lane_item(lane, n)->bytes > bytes)
            return true;
    return false;
}

static void recv_welcome(struct tr_client_machine *m, const struct tr_wire_message *msg)
{
    const struct tr_wire_welcome *w = (const struct tr_wire_welcome *)msg->body;
    if (m->phase != TR_CLIENT_SEEK || w->next - 1 > m->command.submitted) {
        stale(m);
        return;
    }
    if (m->number != 0 && w->number != m->number) {
        tr_client_lose(m, TR_ESESSION); /* it was evicted, and registered anew */
        return;
    }
    m->number = w->number;
    m->window = w->window;
    m->command_bytes_max = w->command_bytes_max;
    m->reply_bytes_max = w->reply_bytes_max;
    if (has_larger(&m->command, w->command_bytes_max) ||
        has_larger(&m->read, w->command_bytes_max)) {
        tr_client_lose(m, TR_ETOOBIG);
        return;
    }
    uint64_t from = tr_max_u64(w->next - 1, m->command.replied);
    m->count.resent += m->command.sent > from ? m->command.sent - from : 0;
    m->count.resent += m->read.sent - m->read.replied;
    m->command.sent = from;
    m->read.sent = m->read.replied;
    m->phase = TR_CLIENT_ATTACHED;
    m->resume_ns = 0;
    m->rewind_ns = 0;
    m->failed_ns[m->target] = 0;
    m->out_bytes = 0;
    m->count.attached++;
    tr_client_progress(m);
}

static void recv_reply(struct tr_client_machine *m, const struct tr_wire_message *msg)
{
    const struct tr_wire_reply *r = (const struct tr_wire_reply *)msg->body;
    struct tr_wire_cursor cursor = tr_wire_replies(msg);
    uint64_t before = m->command.replied;
    uint64_t first = r->first;
    if (TR_CANARY(m->canary, CLIENT_REPLY_TWICE) && first <= before)
        first = before + 1;
    if (TR_CANARY(m->canary, CLIENT_REPLY_EARLY) && first > before + 1)
        first = before + 1;
    for (uint32_t i = 0; i < r->count; i++) {
        const uint8_t *data;
        struct tr_wire_done done = tr_wire_done_at(msg, i);
        uint32_t bytes = tr_wire_next(&cursor, &data);
        uint64_t n = first + i;
        if (n <= m->command.replied)
            continue;
        if (n != m->command.replied + 1 || n > m->command.sent) {
            m->ping_due |= n <= m->command.sent; /* one before it was lost */
            stale(m);
            break;
        }
        if (!tr_client_complete(m, &m->command, n, done.status, done.slot, data, bytes))
            break; /* no room: it is asked for again */
        tr_client_lane_reply(&m->command, n);
    }
    if (m->command.replied != before)
        tr_client_progress(m);
    else
        stale(m);
}

static void recv_read_reply(struct tr_client_machine *m, const struct tr_wire_message *msg)
{
    const struct tr_wire_read_reply *r = (const struct tr_wire_read_reply *)msg->body;
    if (r->id != m->read.replied + 1 || r->id > m->read.sent) {
        m->ping_due |= r->id > m->read.replied && r->id <= m->read.sent;
        stale(m);
        return;
    }
    if (!tr_client_complete(m, &m->read, r->id, r->status, r->slot, msg->tail, r->bytes))
        return;
    tr_client_lane_reply(&m->read, r->id);
    tr_client_progress(m);
}

/* Commands from `next` on are to be sent again. */
static void rewind_commands(struct tr_client_machine *m, uint64_t next, bool is_answer)
{
    uint64_t from = tr_max_u64(next - 1, m->command.replied);
    if (from >= m->command.sent ||
        (!is_answer && from == m->rewind_from && m->now_ns - m->rewind_ns < REWIND_NS))
        return;
    m->rewind_from = from;
    m->rewind_ns = m->now_ns;
    m->count.resent += m->command.sent - from;
    m->command.sent = from;
}

/* Reads whose question or answer was lost are asked again. */
static void rewind_reads(struct tr_client_machine *m, const struct tr_wire_state *s)
{
    uint64_t from = s->read_done > m->read.replied ? m->read.replied : s->read_next - 1;
    from = tr_max_u64(from, m->read.replied);
    if (from >= m->read.sent)
        return;
    m->count.resent += m->read.sent - from;
    m->read.sent = from;
}

static void recv_state(struct tr_client_machine *m, const struct tr_wire_message *msg)
{
    const struct tr_wire_state *s = (const struct tr_wire_state *)msg->body;
    bool is_answer = (s->flags & TR_WIRE_STATE_ANSWER) != 0;
    if (s->next - 1 > m->command.sent) {
        stale(m); /* an attachment is told of the commands that were sent to it */
        return;
    }
    if ((s->flags & TR_WIRE_STATE_BUSY) != 0)
        m->resume_ns = m->now_ns + BUSY_NS;
    rewind_commands(m, s->next, is_answer || (s->flags & TR_WIRE_STATE_BUSY) != 0);
    if (is_answer)
        rewind_reads(m, s);
}

static void recv_refused(struct tr_client_machine *m, const struct tr_wire_message *msg)
{
    const struct tr_wire_refused *r = (const struct tr_wire_refused *)msg->body;
    m->count.refused++;
    m->refusal = r->reason;
    if (r->reason == TR_ESESSION) {
        tr_client_lose(m, TR_ESESSION);
    } else if (r->reason == TR_ESTALE) { /* it has forgotten us: from the beginning */
        bool again = m->phase == TR_CLIENT_ATTACHED;
        uint64_t until_ns = m->seek_until_ns;
        tr_client_seek(m, m->target);
        if (!again) { /* not for ever, and not at full speed */
            m->seek_until_ns = until_ns;
            m->hello_ns = m->now_ns + m->config.hello_ns;
        }
    } else if (m->config.node_count > 1 || m->phase == TR_CLIENT_ATTACHED) {
        tr_client_give_up(m);
        m->hello_ns = m->now_ns + m->config.hello_ns;
    }
}

/* Whether a message belongs to what is going on: by its token, or while there is none by the nonce
 * that it echoes. */
static bool is_ours(const struct tr_client_machine *m, const struct tr_wire_message *msg)
{
    if (msg->header->type == TR_WIRE_CHALLENGE)
        return true; /* recv_challenge looks */
    if (m->token != 0)
        return msg->header->token == m->token;
    return msg->header->type == TR_WIRE_REFUSED && msg->header->token == 0 &&
           memcmp(((const struct tr_wire_refused *)msg->body)->nonce, m->config.nonce,
                  TR_WIRE_NONCE_BYTES) == 0;
}

static void dispatch(struct tr_client_machine *m, const struct tr_wire_message *msg)
{
    bool attached = m->phase == TR_CLIENT_ATTACHED;
    uint8_t type = msg->header->type;
    if (!attached && type != TR_WIRE_CHALLENGE && type != TR_WIRE_WELCOME &&
        type != TR_WIRE_REFUSED) {
        stale(m);
        return;
    }
    switch ((enum tr_wire_type)type) {
    case TR_WIRE_CHALLENGE:
        recv_challenge(m, msg);
        return;
    case TR_WIRE_WELCOME:
        recv_welcome(m, msg);
        return;
    case TR_WIRE_REPLY:
        recv_reply(m, msg);
        break;
    case TR_WIRE_READ_REPLY:
        recv_read_reply(m, msg);
        break;
    case TR_WIRE_STATE:
        recv_state(m, msg);
        break;
    case TR_WIRE_REFUSED:
        recv_refused(m, msg);
        return;
    case TR_WIRE_HELLO:
    case TR_WIRE_SUBMIT:
    case TR_WIRE_READ:
    case TR_WIRE_PING:
    case TR_WIRE_BYE:
        tr_unreachable(); /* tr_wire_open refuses them of a node */
    }
    follow(m, msg->header);
}

void tr_client_machine_receive(struct tr_client_machine *m, uint32_t node, const void *data,
                               uint32_t bytes, uint64_t now_ns)
{
    struct tr_wire_message msg;
    m->now_ns = now_ns;
    if (tr_wire_open(data, bytes, TR_WIRE_FROM_NODE, &msg) != TR_WIRE_GOOD ||
        msg.header->cluster != m->config.cluster || msg.header->group != m->config.group) {
        m->count.dropped_malformed++;
        return;
    }
    bool is_over = m->phase == TR_CLIENT_LOST || m->phase == TR_CLIENT_CLOSED;
    if (node != m->target || is_over || !is_ours(m, &msg)) {
        stale(m);
        return;
    }
    m->heard_ns = now_ns;
    dispatch(m, &msg);
}
