/* Embedding in a loop of one's own, as a trading system has it: one thread reads the market, polls
 * the node and places orders, and no other thread wakes it. A replicated risk check admits an order
 * or refuses it; the answer comes by callback, inside tr_poll. The two other nodes are here in the
 * same process, on threads of the library, in place of two other machines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <trireme/trireme.h>

enum { NODES = 3, ORDERS = 2000, POSITION_MAX = 1500, IN_FLIGHT_MAX = 16 };

/* ---- the state machine: a position, and a limit that it may not pass */

struct order {
    int64_t quantity;
};

struct risk {
    int64_t position;
};

static void apply(void *context, uint64_t slot, const struct tr_command *commands, uint32_t count,
                  struct tr_replies *replies)
{
    struct risk *risk = context;
    (void)slot;
    for (uint32_t i = 0; i < count; i++) {
        struct order order = {0};
        if (commands[i].bytes == sizeof(order))
            memcpy(&order, commands[i].data, sizeof(order));
        uint8_t admitted = order.quantity > 0 && order.quantity <= POSITION_MAX - risk->position;
        if (admitted)
            risk->position += order.quantity;
        tr_replies_set(replies, i, &admitted, sizeof(admitted));
    }
}

static int read_position(void *context, const void *query, uint32_t bytes, struct tr_reply *reply)
{
    (void)query, (void)bytes;
    return tr_reply_set(reply, context, sizeof(struct risk));
}

static int snapshot(void *context, struct tr_writer *writer)
{
    return tr_writer_put(writer, context, sizeof(struct risk));
}

static int restore(void *context, struct tr_reader *reader)
{
    return tr_reader_get(reader, context, sizeof(struct risk));
}

/* ---- the strategy: what the loop and the callbacks share, all on one thread */

struct strategy {
    struct tr_session *session;
    uint16_t leader; /* as this node knows it; 0: none */
    int sent, admitted, refused, unknown;
    int64_t position; /* -1: not read yet */
    uint64_t latency_ns[ORDERS];
    int latencies;
};

/* Called inside tr_poll. The reply is gone when it returns, and the next order may be sent here. */
static void on_complete(void *context, const struct tr_completion *done)
{
    struct strategy *s = context;
    if (done->sequence == 0) { /* the read at the end */
        if (done->status == 0)
            memcpy(&s->position, done->reply, sizeof(s->position));
        return;
    }
    if (done->status != 0) { /* TR_EUNKNOWN: it may have been admitted; only a read tells */
        s->unknown++;
        return;
    }
    s->latency_ns[s->latencies++] = done->completed_ns - done->submitted_ns;
    if (*(const uint8_t *)done->reply != 0)
        s->admitted++;
    else
        s->refused++;
}

static void on_leader(void *context, struct tr_group *group, uint16_t leader, uint64_t round)
{
    struct strategy *s = context;
    (void)group, (void)round;
    s->leader = leader;
}

/* The market moved: send an order, unless too many are on their way. Back-pressure is no error. */
static void on_market(struct strategy *s)
{
    const struct order order = {1};
    if (s->leader == 0 || s->sent == ORDERS || tr_session_pending(s->session) >= IN_FLIGHT_MAX)
        return;
    int status = tr_submit(s->session, &order, sizeof(order), NULL);
    if (status == 0)
        s->sent++;
    else if (status != TR_AGAIN)
        fprintf(stderr, "order: %s\n", tr_strerror(status));
}

/* ---- nodes */

static struct tr_node *open_node(uint16_t id, void *fabric, struct risk *risk,
                                 struct strategy *strategy, struct tr_group **group)
{
    const struct tr_peer peers[NODES] = {{1, "loop:a"}, {2, "loop:b"}, {3, "loop:c"}};
    struct tr_node_options options = TR_NODE_OPTIONS_INIT;
    struct tr_group_options group_options = TR_GROUP_OPTIONS_INIT;
    struct tr_node *node = NULL;
    char error[256] = "";
    options.node = id;
    options.peers = peers;
    options.peer_count = NODES;
    options.driver = "loop";
    options.fabric = fabric;
    group_options.machine = (struct tr_state_machine){
        sizeof(struct tr_state_machine), risk, apply, read_position, snapshot, restore, NULL};
    group_options.on_leader = strategy != NULL ? on_leader : NULL;
    group_options.on_leader_context = strategy;
    int status = tr_node_open(&options, &node, error, sizeof(error));
    if (status == 0)
        status = tr_group_open(node, &group_options, group, error, sizeof(error));
    if (status == 0 && strategy == NULL)
        status = tr_node_start(node); /* the peers: the library's threads poll */
    if (status == 0)
        return node;
    fprintf(stderr, "node %u: %s: %s\n", id, tr_strerror(status), error);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* All orders are accounted for, and the position is what was admitted, and what may have been. */
static int is_right(const struct strategy *s)
{
    return s->admitted + s->refused + s->unknown == ORDERS && s->position >= s->admitted &&
           s->position <= s->admitted + s->unknown && s->position <= POSITION_MAX;
}

int main(void)
{
    static struct risk risk[NODES];
    static struct strategy s = {.position = -1};
    struct tr_session_options session_options = TR_SESSION_OPTIONS_INIT;
    struct tr_node *node[NODES];
    struct tr_group *group[NODES];
    unsigned long turns = 0, busy = 0;
    void *fabric = tr_fabric_create();
    for (uint16_t i = 0; i < NODES; i++)
        node[i] = open_node((uint16_t)(i + 1), fabric, &risk[i], i == 0 ? &s : NULL, &group[i]);
    session_options.deadline_us = 2000000;
    session_options.timestamps = 1;
    session_options.on_complete = on_complete;
    session_options.on_complete_context = &s;
    if (tr_session_open(group[0], &session_options, &s.session) != 0)
        return 1;
    tr_group_campaign(group[0]); /* the node beside the strategy leads: no hop to a leader */

    for (; s.sent < ORDERS || tr_session_pending(s.session) != 0; turns++) {
        on_market(&s);
        busy += tr_poll(node[0]) != 0; /* 0: nothing to do; a loop that may sleep could now */
    }
    while (s.position < 0) {
        if (tr_session_pending(s.session) == 0 && tr_read(s.session, NULL, 0, NULL) != 0)
            break;
        tr_poll(node[0]);
    }

    qsort(s.latency_ns, (size_t)s.latencies, sizeof(s.latency_ns[0]), compare);
    printf("%d orders: %d admitted, %d refused, %d unknown; position %ld; leader %u\n", ORDERS,
           s.admitted, s.refused, s.unknown, (long)s.position, s.leader);
    printf("%lu turns, %lu with work; median order %lu ns\n", turns, busy,
           (unsigned long)s.latency_ns[s.latencies / 2]);
    tr_session_close(s.session);
    for (int i = 0; i < NODES; i++)
        tr_node_close(node[i]);
    tr_fabric_destroy(fabric);
    return !is_right(&s);
}
