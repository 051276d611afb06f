/* A remote client, whole: three nodes that let clients in, and a client that is no node. It keeps a
 * pipeline full while the node that leads is taken away, and every command is applied once. Nodes
 * and client are in one process here to make one program of it; nothing that they say to each other
 * depends on that. */
#include <stdio.h>
#include <string.h>
#include <trireme/client.h>
#include <unistd.h>

enum { NODES = 3, COMMANDS = 20000, NAME_BYTES = 64 };

/* The state machine: a number that commands add to. */
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

/* One node, and where it is reached: by its peers, and by clients. */
struct replica {
    char address[NAME_BYTES], client_address[NAME_BYTES];
    uint64_t total;
    struct tr_node *node;
    struct tr_group *group;
};

static int open_replica(struct replica *all, uint16_t id, const char *cluster, char *error,
                        size_t bytes)
{
    struct replica *r = &all[id - 1];
    struct tr_peer peers[NODES];
    struct tr_node_options options = TR_NODE_OPTIONS_INIT;
    struct tr_group_options group_options = TR_GROUP_OPTIONS_INIT;
    for (int i = 0; i < NODES; i++)
        peers[i] = (struct tr_peer){(uint16_t)(i + 1), all[i].address};
    options.cluster = cluster;
    options.node = id;
    options.peers = peers;
    options.peer_count = NODES;
    options.driver = "shm";
    options.client_address = r->client_address; /* clients are let in, here */
    options.clients_max = 4;
    group_options.machine = (struct tr_state_machine){
        sizeof(struct tr_state_machine), &r->total, apply, read_total, snapshot, restore, NULL};
    int status = tr_node_open(&options, &r->node, error, bytes);
    if (status == 0)
        status = tr_group_open(r->node, &group_options, &r->group, error, bytes);
    return status == 0 ? tr_node_start(r->node) : status;
}

static int open_client(const struct replica *all, const char *cluster, struct tr_client **client,
                       char *error, size_t bytes)
{
    struct tr_peer nodes[NODES];
    for (int i = 0; i < NODES; i++)
        nodes[i] = (struct tr_peer){(uint16_t)(i + 1), all[i].client_address};
    struct tr_client_options options = TR_CLIENT_OPTIONS_INIT;
    options.cluster = cluster;
    options.nodes = nodes;
    options.node_count = NODES;
    options.driver = "shm"; /* as the nodes; "udp" from another machine */
    return tr_client_open(&options, client, error, bytes);
}

/* Takes the node away that leads, if one does. */
static int close_leader(struct replica *all)
{
    for (int i = 0; i < NODES; i++) {
        struct tr_group_status status;
        if (all[i].node == NULL)
            continue;
        tr_group_status(all[i].group, &status);
        if (status.role != TR_ROLE_LEADER)
            continue;
        tr_node_close(all[i].node);
        all[i].node = NULL;
        return 1;
    }
    return 0;
}

/* Submits 1, 2, 3, ... and takes what completes. Returns 0, or why a command failed. */
static int add_all(struct tr_client *client, struct replica *all)
{
    struct tr_completion done[32];
    uint64_t addend = 1, completed = 0;
    int closed = 0;
    while (completed < COMMANDS) {
        while (addend <= COMMANDS && tr_client_submit(client, &addend, sizeof(addend), NULL) == 0)
            addend++; /* until the window is full: TR_AGAIN */
        uint32_t count = tr_client_wait(client, done, 32, UINT64_MAX);
        for (uint32_t i = 0; i < count; i++)
            if (done[i].status != 0)
                return done[i].status;
        completed += count;
        if (!closed && completed > COMMANDS / 2)
            closed = close_leader(all);
    }
    return 0;
}

int main(void)
{
    struct replica all[NODES] = {0};
    struct tr_client *client = NULL;
    struct tr_client_status seen = {0};
    struct tr_completion done;
    char cluster[NAME_BYTES], error[256] = "";
    uint64_t sum = 0;
    int status = 0;
    snprintf(cluster, sizeof(cluster), "remote-%d", (int)getpid());
    for (int i = 0; i < NODES; i++) {
        snprintf(all[i].address, NAME_BYTES, "shm:remote-%d-%d", (int)getpid(), i + 1);
        snprintf(all[i].client_address, NAME_BYTES, "shm:remote-%d-%d-c", (int)getpid(), i + 1);
    }
    for (uint16_t i = 1; i <= NODES && status == 0; i++)
        status = open_replica(all, i, cluster, error, sizeof(error));
    if (status == 0)
        status = open_client(all, cluster, &client, error, sizeof(error));
    if (status == 0)
        status = add_all(client, all);
    if (status == 0 && (status = tr_client_read(client, NULL, 0, NULL)) == 0 &&
        tr_client_wait(client, &done, 1, UINT64_MAX) == 1 && (status = done.status) == 0)
        memcpy(&sum, done.reply, sizeof(sum));
    if (client != NULL)
        tr_client_status(client, &seen);
    printf("sum: %lu, by node %u, let in %lu times (%s%s)\n", (unsigned long)sum, seen.node,
           (unsigned long)seen.attached, tr_strerror(status), error);
    tr_client_close(client);
    for (int i = 0; i < NODES; i++)
        tr_node_close(all[i].node);
    return status != 0 || sum != (uint64_t)COMMANDS * (COMMANDS + 1) / 2;
}
