/* A replicated counter, whole: three nodes, commands through one, a linearizable read on another.
 */
#include <stdio.h>
#include <string.h>
#include <trireme/trireme.h>

enum { NODES = 3, COMMANDS = 5000 };

/* The state machine. The state is one number; a command adds to it, the reply is what it is then.
 */
static void apply(void *context, uint64_t slot, const struct tr_command *commands, uint32_t count,
                  struct tr_replies *replies)
{
    uint64_t *total = context;
    (void)slot;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t addend = 0;
        if (commands[i].bytes == sizeof(addend)) /* what a client sends is checked here */
            memcpy(&addend, commands[i].data, sizeof(addend));
        *total += addend;
        tr_replies_set(replies, i, total, sizeof(*total));
    }
}

static int read_total(void *context, const void *query, uint32_t bytes, struct tr_reply *reply)
{
    (void)query, (void)bytes;
    return tr_reply_set(reply, context, sizeof(uint64_t));
}

static int snapshot(void *context, struct tr_writer *writer)
{
    return tr_writer_put(writer, context, sizeof(uint64_t));
}

static int restore(void *context, struct tr_reader *reader)
{
    return tr_reader_get(reader, context, sizeof(uint64_t));
}

/* One node of the cluster, with its own copy of the state. */
struct replica {
    uint64_t total;
    struct tr_node *node;
    struct tr_session *session;
};

/* Opens a node, its group and a session, and starts its polling thread. */
static int open_replica(struct replica *r, uint16_t id, void *fabric, char *error, size_t bytes)
{
    const struct tr_peer peers[NODES] = {{1, "loop:a"}, {2, "loop:b"}, {3, "loop:c"}};
    struct tr_node_options options = TR_NODE_OPTIONS_INIT;
    struct tr_group_options group_options = TR_GROUP_OPTIONS_INIT;
    const struct tr_session_options session_options = TR_SESSION_OPTIONS_INIT;
    struct tr_group *group = NULL;
    options.node = id;
    options.peers = peers;
    options.peer_count = NODES;
    options.driver = "loop"; /* nodes of one process; elsewhere "udp" or "shm" */
    options.fabric = fabric;
    group_options.machine = (struct tr_state_machine){
        sizeof(struct tr_state_machine), &r->total, apply, read_total, snapshot, restore, NULL};
    int status = tr_node_open(&options, &r->node, error, bytes);
    if (status == 0)
        status = tr_group_open(r->node, &group_options, &group, error, bytes);
    if (status == 0)
        status = tr_session_open(group, &session_options, &r->session);
    return status == 0 ? tr_node_start(r->node) : status;
}

int main(void)
{
    struct replica r[NODES] = {0};
    struct tr_completion done = {0};
    uint64_t seen = 0, sum = 0, addend = 1;
    char error[256] = "";
    int status = 0;
    void *fabric = tr_fabric_create();
    for (uint16_t i = 0; i < NODES && status == 0; i++)
        status = open_replica(&r[i], (uint16_t)(i + 1), fabric, error, sizeof(error));
    while (status == 0 && (addend <= COMMANDS || tr_session_pending(r[0].session) != 0)) {
        int more = addend <= COMMANDS;
        status = more ? tr_submit(r[0].session, &addend, sizeof(addend), NULL) : TR_AGAIN;
        if (status == 0)
            sum += addend++;
        else if (status == TR_AGAIN) /* the window is full, or all is submitted */
            status = tr_session_wait(r[0].session, &done, 1, UINT64_MAX) == 1 ? done.status : 0;
    }
    if (status == 0 && (status = tr_read(r[2].session, NULL, 0, NULL)) == 0 &&
        tr_session_wait(r[2].session, &done, 1, UINT64_MAX) == 1 && (status = done.status) == 0)
        memcpy(&seen, done.reply, sizeof(seen));
    printf("sum on node 3: %lu (%s%s)\n", (unsigned long)seen, tr_strerror(status), error);
    for (int i = 0; i < NODES; i++) {
        tr_session_close(r[i].session);
        tr_node_close(r[i].node);
    }
    tr_fabric_destroy(fabric);
    return status != 0 || seen != sum;
}
