#include "config.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ peers */

/* Reads "ID=ADDRESS". */
static const char *parse_peer(char *text, struct tr_peer *out)
{
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9')
        return "a peer begins with its number: 1=HOST:PORT";
    unsigned long node = strtoul(text, &end, 10);
    if (*end != '=' || end[1] == '\0')
        return "a peer is written ID=ADDRESS, as 1=HOST:PORT or 1=shm:NAME";
    if (node < 1 || node > 65535)
        return "the number of a peer is 1 to 65535";
    out->node = (uint16_t)node;
    out->address = end + 1;
    return NULL;
}

static int has_peer(const struct kv_peers *peers, uint16_t node)
{
    for (uint32_t at = 0; at < peers->count; at++) {
        if (peers->list[at].node == node)
            return 1;
    }
    return 0;
}

const char *kv_peers_parse(const char *text, struct kv_peers *out)
{
    out->count = 0;
    if (strlen(text) >= sizeof(out->text))
        return "too long; addresses of nine peers have room in 1023 characters";
    strcpy(out->text, text);
    char *rest = out->text;
    while (rest != NULL) {
        struct tr_peer peer;
        char *at = rest;
        rest = strchr(at, ',');
        if (rest != NULL)
            *rest++ = '\0';
        const char *wrong = parse_peer(at, &peer);
        if (wrong != NULL)
            return wrong;
        if (has_peer(out, peer.node))
            return "two peers have the same number";
        if (out->count == KV_PEERS_MAX)
            return "more than nine peers; a group has at most nine voters";
        out->list[out->count++] = peer;
    }
    return NULL;
}

/* ------------------------------------------------------------------ checks */

static const char *check_peers(const char *text)
{
    struct kv_peers peers;
    return kv_peers_parse(text, &peers);
}

static const char *check_power_of_two(const char *text)
{
    unsigned long long number = strtoull(text, NULL, 10);
    return number != 0 && (number & (number - 1)) == 0 ? NULL : "not a power of two";
}

static const char *check_not_empty(const char *text)
{
    return text[0] != '\0' ? NULL : "may not be empty";
}

static const char *check_one_sided(const char *text)
{
    return strcmp(text, "auto") == 0 || strcmp(text, "off") == 0 ? NULL : "write auto or off";
}

/* ------------------------------------------------------------------ the table */

#define AT(field) offsetof(struct kv_config, field)
#define KIB       (UINT64_C(1) << 10)
#define MIB       (UINT64_C(1) << 20)
#define GIB       (UINT64_C(1) << 30)
#define SECONDS   UINT64_C(1000000)

static const struct cli_option rows[] = {
    {"config", CLI_TEXT, AT(config), "", 0, 0, NULL, "FILE",
     "A file of these options, 'key = value' a line; the command line has the last word.", NULL},
    {"node", CLI_COUNT, AT(node), NULL, 1, 65535, NULL, "ID",
     "The number of this node among the peers.", NULL},
    {"peers", CLI_TEXT, AT(peers), NULL, 0, 0, NULL, "ID=ADDRESS,...",
     "All nodes of the cluster, this one included, the same list on each: HOST:PORT with the udp "
     "driver, shm:NAME with shm.",
     check_peers},
    {"driver", CLI_TEXT, AT(driver), "udp", 0, 0, NULL, "NAME",
     "What carries the messages: udp, or shm for nodes on one machine.", check_not_empty},
    {"driver-options", CLI_TEXT, AT(driver_options), "", 0, 0, NULL, "KEY=VALUE,...",
     "Options of the driver itself. With the driver fault, which does to another one's messages "
     "what networks do, for trying a system out: driver=NAME,drop=1%,delay=10us-1ms and so on.",
     NULL},
    {"one-sided", CLI_TEXT, AT(one_sided), "auto", 0, 0, NULL, "auto or off",
     "Whether the leader writes into the memory of its followers where the driver can (auto), or "
     "sends messages only (off).",
     check_one_sided},
    {"cluster", CLI_TEXT, AT(cluster), "trireme", 0, 0, NULL, "NAME",
     "The name of the cluster; nodes of another name are refused.", check_not_empty},
    {"listen", CLI_TEXT, AT(listen), "127.0.0.1:6379", 0, 0, NULL, "HOST:PORT",
     "Where clients connect; port 0 takes any free one. There are no passwords: listen on "
     "addresses only that everyone may use who reaches them.",
     check_not_empty},
    {"threads", CLI_CHOICE, AT(threads), "one", 0, 0, "one|two", NULL,
     "One thread for the replication and the clients, which costs no wake-up between them, or two, "
     "where there is a CPU for each.",
     NULL},
    {"cpu", CLI_CPU, AT(cpu), "near", 0, 1023, NULL, "CPU",
     "The CPU that the polling thread is pinned to; near: where the machine has several NUMA "
     "nodes, one near the device of the driver; none: none.",
     NULL},
    {"idle", CLI_CHOICE, AT(idle), "auto", 0, 0, "auto|spin|pause|yield|sleep", NULL,
     "How the polling thread waits when there is nothing to do. auto spins where it has a CPU for "
     "itself, and gives the CPU to others where it has not.",
     NULL},
    {"log-level", CLI_CHOICE, AT(log_level), "info", 0, 0, "error|warn|info|debug", NULL,
     "What is written to the standard error.", NULL},
    {"lease-us", CLI_US, AT(lease_us), "0", 0, 10 * SECONDS, NULL, "TIME",
     "The leader's lease, in which it answers reads without asking a quorum; 0: it always asks. A "
     "lease trusts the clocks as far as clock-drift-ppm says.",
     NULL},
    {"clock-drift-ppm", CLI_COUNT, AT(clock_drift_ppm), "1000", 0, 100000, NULL, "PPM",
     "How far the clocks of two nodes may drift apart, in millionths; used by the lease.", NULL},
    {"election-timeout-us", CLI_US, AT(election_timeout_us), "0", 0, 60 * SECONDS, NULL, "TIME",
     "After so long without a word of the leader another one is elected; 0: chosen by the "
     "placement, and printed.",
     NULL},
    {"heartbeat-us", CLI_US, AT(heartbeat_us), "0", 0, 10 * SECONDS, NULL, "TIME",
     "How often an idle leader is heard; 0: a part of the election timeout.", NULL},
    {"quorum-p1", CLI_COUNT, AT(quorum_p1), "0", 0, KV_PEERS_MAX, NULL, "NODES",
     "Nodes that elect a leader; 0: a majority. quorum-p1 + quorum-p2 must be more than the nodes.",
     NULL},
    {"quorum-p2", CLI_COUNT, AT(quorum_p2), "0", 0, KV_PEERS_MAX, NULL, "NODES",
     "Nodes that hold a command before it is answered; 0: a majority.", NULL},
    {"batch-commands-max", CLI_COUNT, AT(batch_commands_max), "64", 1, 256, NULL, "COMMANDS",
     "Most commands in one slot of the log.", NULL},
    {"log-slots", CLI_COUNT, AT(log_slots), "65536", 1024, 1u << 22, NULL, "SLOTS",
     "Slots of the log, a power of two.", check_power_of_two},
    {"log-bytes", CLI_BYTES, AT(log_bytes), "64MiB", MIB, 64 * GIB, NULL, "SIZE",
     "Memory of the log, a power of two, at least four times message-bytes. It is reused; a node "
     "that "
     "falls behind by more is sent a snapshot.",
     check_power_of_two},
    {"snapshot-bytes", CLI_BYTES, AT(snapshot_bytes), "64MiB", MIB, 64 * GIB, NULL, "SIZE",
     "Memory for a snapshot, which must have room for all keys and values.", NULL},
    {"store-bytes", CLI_BYTES, AT(store_bytes), "0", 0, 64 * GIB, NULL, "SIZE",
     "Most memory that keys and values may take, each pair charged 64 bytes besides its own; "
     "above it writes are refused. 0: three quarters of snapshot-bytes, which is also the most.",
     NULL},
    {"message-bytes", CLI_BYTES, AT(message_bytes), "1114112", 4 * KIB, 4 * MIB - 128, NULL, "SIZE",
     "Largest command and reply. A value may be 64 bytes shorter; a request above it is refused.",
     NULL},
    {"reply-cache-bytes", CLI_BYTES, AT(reply_cache_bytes), "16MiB", 64 * KIB, 4 * GIB, NULL,
     "SIZE",
     "Memory for replies that are kept, so that a command which is sent twice is executed once; a "
     "power "
     "of two.",
     check_power_of_two},
    {"sessions-max", CLI_COUNT, AT(sessions_max), "1024", 16, 1u << 20, NULL, "SESSIONS",
     "Sessions that the cluster remembers. Each start of a node takes one.", NULL},
    {"window", CLI_COUNT, AT(window), "1024", 16, 65536, NULL, "COMMANDS",
     "Commands of this node's clients in flight, a power of two; others wait.", check_power_of_two},
    {"deadline-us", CLI_US, AT(deadline_us), "3s", 1000, 3600 * SECONDS, NULL, "TIME",
     "A command without an answer for so long is answered by an error: TRYAGAIN where nothing was "
     "changed, 'outcome unknown' where it may have been executed.",
     NULL},
    {"clients-max", CLI_COUNT, AT(clients_max), "10000", 1, 1000000, NULL, "CLIENTS",
     "Most clients at a time.", NULL},
    {"client-output-bytes", CLI_BYTES, AT(client_output_bytes), "256MiB", 64 * KIB, 4 * GIB, NULL,
     "SIZE", "A client that leaves more replies unread is dropped.", NULL},
    {"counters", CLI_TEXT, AT(counters), "", 0, 0, NULL, "NAME",
     "The name under which trireme stat finds this node; without one CLUSTER.ID.", NULL},
};

static const char text[] =
    "A key-value server that speaks the Redis protocol (RESP2 and RESP3), replicated over the "
    "nodes\n"
    "of a cluster: any node may be asked, every answered write is on a quorum, reads are\n"
    "linearizable. Three nodes on one machine:\n"
    "\n"
    "  peers=1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003\n"
    "  trireme kv --node 1 --peers $peers --listen 127.0.0.1:6381 &\n"
    "  trireme kv --node 2 --peers $peers --listen 127.0.0.1:6382 &\n"
    "  trireme kv --node 3 --peers $peers --listen 127.0.0.1:6383 &\n"
    "  redis-cli -p 6381 SET greeting hello\n";

const struct cli_options *kv_config_options(void)
{
    static const struct cli_options options = {
        .command = "kv",
        .usage = "--node ID --peers ID=ADDRESS,... [OPTION...]",
        .summary = "Runs one node of a replicated key-value server that Redis clients talk to.",
        .text = text,
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
    };
    return &options;
}
