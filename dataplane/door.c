/* What a door makes of its clients' messages. */
#include "dataplane/door.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "dataplane/group.h"
#include "dataplane/node.h"
#include "trireme/error.h"

#include <string.h>
#include <sys/random.h>

/* A client that is silent for so long is let go here; its session stays in the log. */
#define IDLE_NS UINT64_C(10000000000)
/* The same of one that has not shown its token; and of one that a newcomer may replace. */
#define CHALLENGE_NS UINT64_C(1000000000)
#define CROWDED_NS   UINT64_C(100000000)
/* Between two looks after idle clients. */
#define SLOW_NS UINT64_C(1000000)
/* After traffic the port is polled in every cycle for so long. */
#define HOT_NS     UINT64_C(1000000)
#define EVENTS_MAX 16u
/* How much longer than a message its refusal may be: a REFUSED and a PING differ by 8. */
#define ANSWER_BYTES 8u

/* ---- places */

void tr_door_draw_tokens(struct tr_door *d)
{
    uint64_t *to = d->token + d->token_count;
    ssize_t bytes = getrandom(to, (TR_DOOR_TOKENS - d->token_count) * sizeof(*to), GRND_NONBLOCK);
    uint32_t count = bytes > 0 ? (uint32_t)bytes / (uint32_t)sizeof(*to) : 0;
    for (uint32_t i = 0; i < count; i++)
        to[i] = to[i] != 0 ? to[i] : 1;
    d->token_count += count;
}

static void set_active(struct tr_door *d, const struct tr_door_place *p)
{
    d->active[d->active_count++] = (uint16_t)(p - d->place);
    tr_store_relaxed(d->stats.clients, (uint64_t)d->active_count);
}

/* Nobody has the place any more. */
static void set_free(struct tr_door *d, struct tr_door_place *p)
{
    uint16_t index = (uint16_t)(p - d->place);
    for (uint32_t i = 0; i < d->active_count; i++) {
        if (d->active[i] == index) {
            d->active[i] = d->active[--d->active_count];
            break;
        }
    }
    if (p->adopted)
        d->driver->peer_remove(d->port, p->peer);
    p->adopted = false;
    p->state = TR_PLACE_FREE;
    p->session = NULL;
    p->group = NULL;
    p->token = 0;
    tr_store_relaxed(d->stats.clients, (uint64_t)d->active_count);
}

void tr_door_leave(struct tr_door *d, struct tr_door_place *p, bool stays)
{
    if (p->session == NULL) {
        set_free(d, p);
        return;
    }
    p->state = TR_PLACE_LEAVING;
    p->stays = stays;
    p->token = 0;
    p->leaving_due = !tr_submit_detach(p->group, p->session, stays);
}

/* Whether a place that a client is leaving is free by now. */
static void carry_on_leaving(struct tr_door *d, struct tr_door_place *p)
{
    if (p->leaving_due)
        p->leaving_due = !tr_submit_detach(p->group, p->session, p->stays);
    if (!p->leaving_due && p->session->phase == TR_PHASE_GONE)
        set_free(d, p);
}

/* A place for somebody new: a free one, else that of who did not show its token for the longest
 * time. NULL: none. */
static struct tr_door_place *find_place(struct tr_door *d)
{
    struct tr_door_place *oldest = NULL;
    for (uint32_t i = 0; i < d->place_count; i++) {
        struct tr_door_place *p = &d->place[i];
        if (p->state == TR_PLACE_FREE)
            return p;
        if (p->state == TR_PLACE_CHALLENGED && d->now_ns - p->heard_ns > CROWDED_NS &&
            (oldest == NULL || p->heard_ns < oldest->heard_ns))
            oldest = p;
    }
    if (oldest != NULL)
        set_free(d, oldest);
    return oldest;
}

/* ---- hello */

static void challenge(struct tr_door *d, struct tr_door_place *p)
{
    struct tr_wire_challenge *c = (struct tr_wire_challenge *)tr_door_begin(
        d, TR_WIRE_CHALLENGE, p->group, p->group->number, p->token);
    memcpy(c->nonce, p->nonce, sizeof(c->nonce));
    tr_door_put(d, p, 0);
    tr_counter_add(d->stats.challenges, 1);
}

/* Answers who has no place. The answer is hardly longer than the question: nobody is flooded by it.
 */
static void refuse_source(struct tr_door *d, const struct tr_rx *rx,
                          const struct tr_wire_message *m, int reason)
{
    bool is_hello = m->header->version == TR_WIRE_VERSION && m->header->type == TR_WIRE_HELLO;
    struct tr_wire_refused *r = (struct tr_wire_refused *)tr_door_begin(
        d, TR_WIRE_REFUSED, NULL, m->header->group, m->header->token);
    struct tr_wire_header *header = (struct tr_wire_header *)(void *)d->out;
    header->cluster = m->header->cluster; /* so that it is believed */
    if (is_hello)
        memcpy(r->nonce, ((const struct tr_wire_hello *)m->body)->nonce, sizeof(r->nonce));
    r->reason = reason;
    struct tr_segment segment = {.data = d->out, .bytes = tr_wire_end(d->out, 0)};
    tr_counter_add(d->stats.refused, 1);
    if (segment.bytes > rx->bytes + ANSWER_BYTES)
        return;
    d->driver->tx_reply(d->port, rx->source, &segment, 1);
    d->tx_dirty = true;
}

/* Gives somebody a place and a token. */
static void invite(struct tr_door *d, struct tr_door_place *p, struct tr_group *g,
                   const struct tr_wire_hello *hello)
{
    if (d->token_count == 0)
        return; /* it asks again */
    if (p->state == TR_PLACE_FREE)
        set_active(d, p);
    memcpy(p->nonce, hello->nonce, sizeof(p->nonce));
    p->group = g;
    p->token = d->token[--d->token_count];
    p->heard_ns = d->now_ns;
    p->state = TR_PLACE_CHALLENGED;
    challenge(d, p);
}

/* A HELLO from an address that has no place. */
static void recv_hello_stranger(struct tr_door *d, const struct tr_rx *rx,
                                const struct tr_wire_message *m, struct tr_group *g)
{
    if (d->token_count == 0)
        return; /* it asks again */
    struct tr_door_place *p = find_place(d);
    if (p == NULL || (d->driver->capabilities & TR_DRIVER_ADOPT) == 0) {
        refuse_source(d, rx, m, TR_EFULL);
        return;
    }
    int status = d->driver->peer_adopt(d->port, p->peer, rx->source);
    if (status != TR_OK)
        return; /* a second HELLO of the same burst: the first one has a place by now */
    p->adopted = true;
    invite(d, p, g, (const struct tr_wire_hello *)m->body);
}

/* Whether another place has this session; it is told to go. */
static bool is_elsewhere(struct tr_door *d, const struct tr_door_place *self,
                         const struct tr_group *g, const uint8_t *nonce)
{
    bool found = false;
    for (uint32_t i = 0; i < d->active_count; i++) {
        struct tr_door_place *p = &d->place[d->active[i]];
        if (p == self || p->session == NULL || p->group != g ||
            memcmp(p->nonce, nonce, sizeof(p->nonce)) != 0)
            continue;
        found = true;
        if (p->state != TR_PLACE_LEAVING)
            tr_door_leave(d, p, true);
    }
    return found;
}

/* The client has shown its token: its session is registered, or found registered. */
static void attach(struct tr_door *d, struct tr_door_place *p, const struct tr_wire_hello *hello)
{
    struct tr_session_options options;
    struct tr_session_limits limits;
    if (is_elsewhere(d, p, p->group, hello->nonce))
        return; /* it asks again */
    tr_door_session_options(d, p->group, &options, &limits);
    memset(p->memory, 0, sizeof(struct tr_session));
    struct tr_session *s = tr_session_init(p->memory, &options, &limits, &d->lcore->clock);
    s->group = p->group;
    s->node = d->node;
    s->apply_lcore = p->group->apply_lcore;
    s->agent_wait = &d->lcore->idle;
    s->pipelined = p->group->apply->pipelined;
    s->remote = true;
    s->index = p->group->apply->remote_first + (uint32_t)(p - d->place);
    memcpy(s->nonce, hello->nonce, sizeof(s->nonce));
    tr_session_begin_after(s, hello->acked);
    if (!tr_submit_attach(p->group, s))
        return;
    p->session = s;
    p->expected = hello->number;
    p->sent = 0;
    p->replied = hello->acked;
    p->read_taken = p->read_done = hello->read_acked;
    p->state_flags = 0;
    p->welcome_due = true;
    p->state = TR_PLACE_ATTACHING;
}

/* A HELLO from an address that has a place. */
static void recv_hello(struct tr_door *d, struct tr_door_place *p, const struct tr_wire_message *m,
                       struct tr_group *g)
{
    const struct tr_wire_hello *hello = (const struct tr_wire_hello *)m->body;
    bool same = p->state != TR_PLACE_FREE && p->group == g &&
                memcmp(p->nonce, hello->nonce, sizeof(p->nonce)) == 0;
    bool shown = same && p->token != 0 && m->header->token == p->token;
    if (shown)
        p->heard_ns = d->now_ns;
    switch (p->state) {
    case TR_PLACE_FREE:
        invite(d, p, g, hello);
        return;
    case TR_PLACE_CHALLENGED:
        if (shown)
            attach(d, p, hello);
        else if (same)
            challenge(d, p); /* the token was lost */
        else
            invite(d, p, g, hello); /* another process at the same address */
        return;
    case TR_PLACE_ATTACHING:
        if (!same)
            tr_door_leave(d, p, true);
        else if (!shown)
            challenge(d, p);
        return;
    case TR_PLACE_OPEN:
        if (shown && hello->acked <= p->replied)
            p->welcome_due = true; /* the WELCOME was lost */
        else
            tr_door_leave(d, p, true); /* it begins anew, and asks again */
        return;
    case TR_PLACE_LEAVING:
        return; /* it asks again */
    }
    tr_unreachable();
}

/* ---- commands and reads */

/* Takes an acknowledgement. Returns false when it is of replies that were never sent. */
static bool acknowledge(struct tr_door_place *p, uint64_t acked)
{
    if (acked > p->replied)
        return false;
    tr_session_give_back(p->session, p->sent, acked);
    return true;
}

static void lie(struct tr_door *d)
{
    tr_counter_add(d->stats.malformed, 1);
}

static void recv_submit(struct tr_door *d, struct tr_door_place *p, const struct tr_wire_message *m)
{
    const struct tr_wire_submit *submit = (const struct tr_wire_submit *)m->body;
    struct tr_wire_cursor cursor = tr_wire_commands(m);
    struct tr_session *s = p->session;
    uint64_t taken = 0;
    if (!acknowledge(p, submit->acked)) {
        lie(d);
        return;
    }
    if (submit->first > s->command.submitted + 1) {
        p->state_flags |= TR_WIRE_STATE_GAP;
        tr_counter_add(d->stats.gaps, 1);
        return;
    }
    for (uint32_t i = 0; i < submit->count; i++) {
        const uint8_t *data;
        uint32_t bytes = tr_wire_next(&cursor, &data);
        if (submit->first + i <= s->command.submitted)
            continue; /* it came before */
        int status = tr_submit(s, data, bytes, NULL);
        if (status == TR_ETOOBIG) {
            tr_door_refuse(d, p, TR_ETOOBIG);
            lie(d);
            break;
        }
        if (status != TR_OK) {
            p->state_flags |= TR_WIRE_STATE_BUSY;
            tr_counter_add(d->stats.busy, 1);
            break;
        }
        taken++;
    }
    tr_counter_add(d->stats.commands, taken);
}

static void recv_read(struct tr_door *d, struct tr_door_place *p, const struct tr_wire_message *m)
{
    const struct tr_wire_read *read = (const struct tr_wire_read *)m->body;
    struct tr_session *s = p->session;
    if (!acknowledge(p, read->acked)) {
        lie(d);
        return;
    }
    if (read->after > s->command.submitted || read->id > p->read_taken + 1) {
        p->state_flags |= TR_WIRE_STATE_GAP;
        tr_counter_add(d->stats.gaps, 1);
        return;
    }
    if (read->id <= p->read_taken && read->id > p->read_done)
        return; /* it is under way */
    void *user = (void *)(uintptr_t)read->id;
    int status = (read->flags & TR_WIRE_READ_LOCAL) != 0
                     ? tr_read_local(s, m->tail, read->bytes, user)
                     : tr_read(s, m->tail, read->bytes, user);
    if (status == TR_ETOOBIG) {
        tr_door_refuse(d, p, TR_ETOOBIG);
        lie(d);
    } else if (status != TR_OK) {
        tr_counter_add(d->stats.busy, 1);
    } else {
        p->read_taken = tr_max_u64(p->read_taken, read->id);
        tr_counter_add(d->stats.reads, 1);
    }
}

/* A client has missed something for a while: what it has not acknowledged is sent again. */
static void recv_ping(struct tr_door *d, struct tr_door_place *p, const struct tr_wire_message *m)
{
    const struct tr_wire_ping *ping = (const struct tr_wire_ping *)m->body;
    if (!acknowledge(p, ping->acked)) {
        lie(d);
        return;
    }
    if (ping->acked < p->replied) {
        p->sent = p->session->completions_taken;
        tr_counter_add(d->stats.resent, 1);
    }
    p->state_flags |= TR_WIRE_STATE_ANSWER;
}

/* ---- messages */

/* What only a client with a place says. */
static void recv_attached(struct tr_door *d, struct tr_door_place *p, const struct tr_rx *rx,
                          const struct tr_wire_message *m)
{
    bool current = p != NULL && p->state == TR_PLACE_OPEN && m->header->token == p->token &&
                   m->header->group == p->group->number;
    if (!current) {
        tr_counter_add(d->stats.stale, 1);
        if (m->header->type != TR_WIRE_BYE)
            refuse_source(d, rx, m, TR_ESTALE);
        return;
    }
    p->heard_ns = d->now_ns;
    switch ((enum tr_wire_type)m->header->type) {
    case TR_WIRE_SUBMIT:
        recv_submit(d, p, m);
        return;
    case TR_WIRE_READ:
        recv_read(d, p, m);
        return;
    case TR_WIRE_PING:
        recv_ping(d, p, m);
        return;
    case TR_WIRE_BYE:
        tr_door_leave(d, p, false);
        return;
    case TR_WIRE_HELLO:
    case TR_WIRE_CHALLENGE:
    case TR_WIRE_WELCOME:
    case TR_WIRE_REPLY:
    case TR_WIRE_READ_REPLY:
    case TR_WIRE_STATE:
    case TR_WIRE_REFUSED:
        tr_unreachable(); /* HELLO goes another way; tr_wire_open refuses the others of a client */
    }
}

static void message(struct tr_door *d, const struct tr_rx *rx)
{
    struct tr_wire_message m;
    struct tr_door_place *p = rx->peer - 1u < d->place_count ? &d->place[rx->peer - 1u] : NULL;
    switch (tr_wire_open(rx->data, rx->bytes, TR_WIRE_FROM_CLIENT, &m)) {
    case TR_WIRE_GOOD:
        break;
    case TR_WIRE_MALFORMED:
        tr_counter_add(d->stats.malformed, 1);
        return;
    case TR_WIRE_OTHER_VERSION:
        refuse_source(d, rx, &m, TR_EVERSION);
        return;
    }
    struct tr_group *g = tr_lcore_group(d->lcore, m.header->group);
    if (m.header->cluster != d->node->client_cluster || g == NULL) {
        refuse_source(d, rx, &m, g == NULL ? TR_ENOENT : TR_EPERM);
        return;
    }
    if (m.header->type != TR_WIRE_HELLO)
        recv_attached(d, p, rx, &m);
    else if (p != NULL)
        recv_hello(d, p, &m, g);
    else
        recv_hello_stranger(d, rx, &m, g);
}

/* ---- what happens seldom */

/* A client's process is gone, where the driver can tell. */
static void port_events(struct tr_door *d)
{
    struct tr_port_event events[EVENTS_MAX];
    uint32_t count = d->driver->events(d->port, events, EVENTS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        bool gone = events[i].type == TR_PORT_PEER_DOWN || events[i].type == TR_PORT_PEER_NEW;
        if (!gone || events[i].peer - 1u >= d->place_count)
            continue;
        struct tr_door_place *p = &d->place[events[i].peer - 1u];
        if (p->state != TR_PLACE_FREE && p->state != TR_PLACE_LEAVING)
            tr_door_leave(d, p, true);
    }
}

static void look_after(struct tr_door *d, struct tr_door_place *p)
{
    uint64_t silent_ns = d->now_ns - p->heard_ns;
    switch (p->state) {
    case TR_PLACE_FREE:
        return;
    case TR_PLACE_CHALLENGED:
        if (silent_ns > CHALLENGE_NS)
            set_free(d, p);
        return;
    case TR_PLACE_ATTACHING:
    case TR_PLACE_OPEN:
        if (silent_ns > IDLE_NS) {
            tr_counter_add(d->stats.idled, 1);
            tr_door_leave(d, p, true);
        }
        return;
    case TR_PLACE_LEAVING:
        carry_on_leaving(d, p);
        return;
    }
    tr_unreachable();
}

static tr_noinline void slow(struct tr_door *d)
{
    d->slow_ns = d->now_ns + SLOW_NS;
    port_events(d);
    if (d->token_count < TR_DOOR_TOKENS / 2)
        tr_door_draw_tokens(d);
    for (uint32_t i = d->active_count; i-- > 0;) /* downward: places that become free move up */
        look_after(d, &d->place[d->active[i]]);
}

uint32_t tr_door_receive(struct tr_door *d, uint64_t now_ns, bool thorough)
{
    uint32_t count = 0;
    d->now_ns = now_ns;
    if (thorough || now_ns < d->hot_ns) {
        count = d->driver->rx_burst(d->port, d->rx, TR_DOOR_BURST);
        if (count != 0)
            d->hot_ns = now_ns + HOT_NS;
        for (uint32_t i = 0; i < count; i++)
            message(d, &d->rx[i]);
    }
    if (tr_unlikely(now_ns >= d->slow_ns))
        slow(d);
    return count;
}
