/* Options into configurations: defaults, and the checks that need more than one value. */
#include "dataplane/node.h"

#include "base/bytes.h"
#include "trireme/error.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* Timeouts when every polling thread has a CPU of its own, and when they share: a scheduler may
 * keep a thread away for 1 to 10 ms, which must not look like a death. */
struct timing {
    uint32_t election_us, heartbeat_us;
    uint64_t retransmit_ns, commit_delay_ns;
};
static const struct timing timing_own_cpu = {500, 50, 50000, 5000};
static const struct timing timing_shared_cpu = {30000, 3000, 400000, 20000};

/* Records gathered into one message: a few datagrams. */
#define MESSAGE_BYTES_AIM (16u << 10)
/* Unacknowledged bytes a peer: what a follower drains in about 200 us (rule 10). */
#define CREDIT_BYTES (1u << 20)
#define RING_BYTES   (1u << 20)

int tr_config_copy(void *into, size_t into_bytes, const void *from, size_t from_bytes)
{
    /* Shorter: an older caller, whose missing fields keep their defaults. Longer: a newer one; it
     * must not use what this library does not know. */
    const uint8_t *bytes = (const uint8_t *)from;
    for (size_t i = into_bytes; i < from_bytes; i++)
        if (bytes[i] != 0)
            return TR_EINVAL;
    if (from_bytes < sizeof(size_t) || from_bytes > 4096)
        return TR_EINVAL;
    memcpy(into, from, from_bytes < into_bytes ? from_bytes : into_bytes);
    return TR_OK;
}

static int compare_nodes(const void *a, const void *b)
{
    return (int)*(const tr_node_id *)a - (int)*(const tr_node_id *)b;
}

static bool is_peer(const struct tr_node *node, uint16_t id)
{
    for (uint32_t i = 0; i < node->peer_count; i++)
        if (node->peer[i].node == id)
            return true;
    return false;
}

/* Voters in ascending order: those named, else all peers. */
static int set_voters(const struct tr_node *node, const struct tr_group_options *o,
                      struct tr_replica_config *c, char *error, size_t error_bytes)
{
    uint32_t count = o->voters != NULL ? o->voter_count : node->peer_count;
    if (count == 0 || count > TR_VOTERS_MAX)
        return tr_fail(TR_EINVAL, error, error_bytes,
                       "group %u has %u voters; 1 to %d are possible", o->group, count,
                       TR_VOTERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        c->voter[i] = o->voters != NULL ? o->voters[i] : node->peer[i].node;
        if (!is_peer(node, c->voter[i]))
            return tr_fail(TR_EINVAL, error, error_bytes,
                           "voter %u of group %u is no peer of this node", c->voter[i], o->group);
    }
    qsort(c->voter, count, sizeof(c->voter[0]), compare_nodes);
    c->voter_count = count;
    c->quorum_p1 = o->quorum_p1 != 0 ? o->quorum_p1 : count / 2 + 1;
    c->quorum_p2 = o->quorum_p2 != 0 ? o->quorum_p2 : count / 2 + 1;
    return TR_OK;
}

/* Whether the polling thread of a group can count on a CPU of its own. */
static bool has_own_cpu(const struct tr_node *node, uint32_t lcore)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return false;
    uint32_t pollers = tr_pollers_count(node->pollers) + node->lcore_count;
    return node->lcore[lcore].cpu >= 0 && pollers <= (uint32_t)CPU_COUNT(&set);
}

static void set_timing(const struct tr_node *node, const struct tr_group_options *o,
                       struct tr_replica_config *c)
{
    bool own = has_own_cpu(node, o->lcore);
    const struct timing *t = own ? &timing_own_cpu : &timing_shared_cpu;
    uint64_t election_us = o->election_timeout_us != 0 ? o->election_timeout_us : t->election_us;
    uint64_t heartbeat_us = o->heartbeat_us != 0 ? o->heartbeat_us
                            : o->election_timeout_us != 0
                                ? tr_max_u64(o->election_timeout_us / 10, 1)
                                : t->heartbeat_us;
    c->election_timeout_ns = election_us * 1000;
    c->heartbeat_ns = heartbeat_us * 1000;
    c->retransmit_ns = tr_min_u64(t->retransmit_ns, c->election_timeout_ns / 4 + 1);
    c->commit_delay_ns = t->commit_delay_ns;
    c->lease_ns = (uint64_t)o->lease_us * 1000;
    c->clock_drift_ppm = o->clock_drift_ppm;
}

uint32_t tr_config_ring_bytes(const struct tr_replica_config *config)
{
    uint32_t bytes = RING_BYTES;
    while (bytes < 2 * tr_record_bytes(config->entry_bytes_max))
        bytes *= 2;
    return bytes;
}

/* What depends on sizes. */
static int set_sizes(const struct tr_node *node, const struct tr_group_options *o,
                     struct tr_replica_config *c, char *error, size_t error_bytes)
{
    uint64_t command = sizeof(struct tr_run) + tr_align_up_u64(node->message_bytes_max, 8);
    uint64_t entry = tr_max_u64(command, o->batch_commands_max > 1 ? TR_BATCH_BYTES : 0);
    entry =
        tr_align_up_u64(tr_max_u64(entry, sizeof(struct tr_run) + TR_NONCE_BYTES), TR_CACHE_LINE);
    if (entry > TR_ENTRY_BYTES_MAX)
        return tr_fail(TR_EINVAL, error, error_bytes,
                       "message_bytes_max is %u; at most %lu is possible", node->message_bytes_max,
                       (unsigned long)TR_ENTRY_BYTES_MAX - 128);
    c->entry_bytes_max = (uint32_t)entry;
    c->log_slots = o->log_slots;
    c->log_bytes = o->log_bytes;
    c->message_bytes_max = tr_record_bytes(c->entry_bytes_max) + TR_MESSAGE_HEADER_BYTES_MAX;
    c->message_bytes_aim = tr_min_u32(MESSAGE_BYTES_AIM, c->message_bytes_max);
    c->credit_bytes = tr_max_u32(CREDIT_BYTES, 2 * tr_record_bytes(c->entry_bytes_max));
    return TR_OK;
}

static int check(const struct tr_node *node, const struct tr_group_options *o, char *error,
                 size_t error_bytes)
{
    const struct tr_state_machine *m = &o->machine;
    if (m->struct_bytes != sizeof(*m))
        return tr_fail(
            TR_EINVAL, error, error_bytes,
            "machine.struct_bytes is %zu; set it to sizeof(struct tr_state_machine), %zu",
            m->struct_bytes, sizeof(*m));
    if (m->apply == NULL || m->read == NULL || m->snapshot == NULL || m->restore == NULL)
        return tr_fail(TR_EINVAL, error, error_bytes,
                       "the state machine needs apply, read, snapshot and restore");
    if ((uint32_t)o->durability > TR_DURABILITY_DISK)
        return tr_fail(TR_EINVAL, error, error_bytes,
                       "durability is %u; it can be memory, async or disk",
                       (unsigned)o->durability);
    if (o->lcore >= node->lcore_count || o->apply_lcore >= (int32_t)node->lcore_count ||
        o->apply_lcore < -1)
        return tr_fail(
            TR_EINVAL, error, error_bytes,
            "lcore %u and apply_lcore %d: this node has %u polling cores, counted from 0", o->lcore,
            o->apply_lcore, node->lcore_count);
    if (o->batch_commands_max == 0 || o->batch_commands_max > TR_BATCH_COMMANDS_MAX)
        return tr_fail(TR_EINVAL, error, error_bytes,
                       "batch_commands_max is %u; 1 to %d are possible", o->batch_commands_max,
                       TR_BATCH_COMMANDS_MAX);
    if (o->one_sided != NULL && strcmp(o->one_sided, "auto") != 0 &&
        strcmp(o->one_sided, "off") != 0)
        return tr_fail(TR_EINVAL, error, error_bytes, "one_sided is \"%s\"; it can be auto or off",
                       o->one_sided);
    if (tr_sessions_memory_bytes(o->sessions_max, o->reply_cache_bytes) == 0)
        return tr_fail(
            TR_EINVAL, error, error_bytes,
            "sessions_max %u (1 to %u) and reply_cache_bytes %lu (a power of two from %u)",
            o->sessions_max, TR_SESSIONS_MAX, (unsigned long)o->reply_cache_bytes,
            TR_REPLY_BYTES_MIN);
    if (o->snapshot_bytes_max < 4096)
        return tr_fail(TR_EINVAL, error, error_bytes,
                       "snapshot_bytes_max is %lu; at least 4096 is needed",
                       (unsigned long)o->snapshot_bytes_max);
    return TR_OK;
}

/* The number of the cluster, for one group: mixed with all that its replicas must have alike. The
 * session tables come apart, and replicas with them, where the sizes differ; quorums may miss each
 * other, a lease may be broken, where the rest does. Such nodes refuse each other as those of
 * another cluster do. reply_bytes_max counts where it was given: its default follows
 * message_bytes_max, which may be raised by restarting one node after the other. */
static uint64_t cluster_of(const struct tr_node *node, const struct tr_group_options *o,
                           const struct tr_replica_config *c)
{
    const uint64_t alike[] = {
        o->sessions_max,       o->reply_cache_bytes, o->reply_bytes_max,
        o->batch_commands_max, c->voter_count,       c->quorum_p1,
        c->quorum_p2,          c->lease_ns,          (uint64_t)c->level,
    };
    uint64_t hash = node->cluster_hash;
    for (size_t i = 0; i < TR_ARRAY_COUNT(alike) + c->voter_count; i++) {
        uint64_t word = i < TR_ARRAY_COUNT(alike) ? alike[i] : c->voter[i - TR_ARRAY_COUNT(alike)];
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return hash;
}

int tr_config_group(const struct tr_node *node, const struct tr_group_options *o,
                    struct tr_replica_config *c, struct tr_apply_options *apply, char *error,
                    size_t error_bytes)
{
    int status = check(node, o, error, error_bytes);
    memset(c, 0, sizeof(*c));
    c->self = node->self;
    c->group = o->group;
    c->boot = node->boot;
    c->level = (enum tr_level)o->durability;
    if (status == TR_OK)
        status = set_voters(node, o, c, error, error_bytes);
    if (status == TR_OK)
        status = set_sizes(node, o, c, error, error_bytes);
    if (status != TR_OK)
        return status;
    set_timing(node, o, c);
    *apply = (struct tr_apply_options){
        .machine = o->machine,
        .logger = &node->logger,
        .group = o->group,
        .self = node->self,
        .pipelined = o->apply_lcore >= 0 && (uint32_t)o->apply_lcore != o->lcore,
        .sessions_max = o->sessions_max,
        .remote_max = node->client_address[0] != '\0' ? node->clients_max : 0,
        .reply_cache_bytes = o->reply_cache_bytes,
        .reply_bytes_max = o->reply_bytes_max != 0 ? o->reply_bytes_max : node->message_bytes_max,
        .batch_commands_max = o->batch_commands_max,
        .snapshot_bytes_max = o->snapshot_bytes_max,
    };
    c->cluster = cluster_of(node, o, c);
    return TR_OK;
}
