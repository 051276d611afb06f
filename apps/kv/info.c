/* The text of INFO: the keys that Redis clients read, and a section of our own. */
#include "server_state.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)

/* What the sections are made from. */
struct facts {
    const struct kv_server *server;
    struct kv_machine_figures figures;
    struct tr_group_status status;
    uint64_t uptime_s;
};

typedef unsigned long long number;

static void format_size(char *text, size_t text_bytes, uint64_t bytes)
{
    static const char units[] = "BKMGT";
    double size = (double)bytes;
    int unit = 0;
    while (size >= 1024 && unit < 4) {
        size /= 1024;
        unit++;
    }
    snprintf(text, text_bytes, unit == 0 ? "%.0f%c" : "%.2f%c", size, units[unit]);
}

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu %llu", &pages, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static const char *role_text(enum tr_role role)
{
    switch (role) {
    case TR_ROLE_RECOVERING:
        return "recovering";
    case TR_ROLE_FOLLOWER:
        return "follower";
    case TR_ROLE_CANDIDATE:
        return "candidate";
    case TR_ROLE_LEADER:
        return "leader";
    case TR_ROLE_STOPPED:
        return "stopped";
    }
    return "unknown";
}

static int put_server(const struct facts *facts, struct kv_buffer *out)
{
    const char *port = facts->server->address;
    for (const char *at = port; *at != '\0'; at++) {
        if (*at == ':')
            port = at + 1;
    }
    return kv_buffer_format(out,
                            "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n"
                            "trireme_version:%s\r\nos:Linux\r\narch_bits:%zu\r\nprocess_id:%d\r\n"
                            "tcp_port:%s\r\nuptime_in_seconds:%llu\r\nuptime_in_days:%llu\r\n",
                            tr_version(), sizeof(void *) * 8, (int)getpid(), port,
                            (number)facts->uptime_s, (number)(facts->uptime_s / 86400));
}

static int put_clients(const struct facts *facts, struct kv_buffer *out)
{
    return kv_buffer_format(out,
                            "# Clients\r\nconnected_clients:%u\r\nmaxclients:%u\r\n"
                            "blocked_clients:0\r\n",
                            facts->server->client_count, facts->server->options.clients_max);
}

static int put_memory(const struct facts *facts, struct kv_buffer *out)
{
    char used[32], limit[32];
    uint64_t store_bytes_max = facts->server->options.store_bytes_max;
    format_size(used, sizeof(used), facts->figures.charged_bytes);
    format_size(limit, sizeof(limit), store_bytes_max);
    return kv_buffer_format(out,
                            "# Memory\r\nused_memory:%llu\r\nused_memory_human:%s\r\n"
                            "used_memory_rss:%llu\r\nmaxmemory:%llu\r\nmaxmemory_human:%s\r\n"
                            "maxmemory_policy:noeviction\r\n",
                            (number)facts->figures.charged_bytes, used, (number)resident_bytes(),
                            (number)store_bytes_max, limit);
}

static int put_persistence(const struct facts *facts, struct kv_buffer *out)
{
    (void)facts;
    return kv_buffer_format(out, "# Persistence\r\nloading:0\r\n");
}

static int put_stats(const struct facts *facts, struct kv_buffer *out)
{
    const struct kv_server_counts *counts = &facts->server->counts;
    return kv_buffer_format(
        out,
        "# Stats\r\ntotal_connections_received:%llu\r\ntotal_commands_processed:%llu\r\n"
        "instantaneous_ops_per_sec:%llu\r\ntotal_net_input_bytes:%llu\r\n"
        "total_net_output_bytes:%llu\r\nrejected_connections:%llu\r\n"
        "total_error_replies:%llu\r\n",
        (number)counts->connections, (number)counts->commands, (number)facts->server->rate_per_s,
        (number)counts->in_bytes, (number)counts->out_bytes, (number)counts->connections_refused,
        (number)counts->commands_failed);
}

static int put_replication(const struct facts *facts, struct kv_buffer *out)
{
    (void)facts; /* every node takes reads and writes: to a Redis client each is a master */
    return kv_buffer_format(out, "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n");
}

static int put_cpu(const struct facts *facts, struct kv_buffer *out)
{
    struct rusage usage;
    (void)facts;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 1;
    return kv_buffer_format(out,
                            "# CPU\r\nused_cpu_sys:%lld.%06lld\r\nused_cpu_user:%lld.%06lld\r\n",
                            (long long)usage.ru_stime.tv_sec, (long long)usage.ru_stime.tv_usec,
                            (long long)usage.ru_utime.tv_sec, (long long)usage.ru_utime.tv_usec);
}

static int put_trireme(const struct facts *facts, struct kv_buffer *out)
{
    const struct kv_server_options *options = &facts->server->options;
    const struct kv_server_counts *counts = &facts->server->counts;
    const struct tr_group_status *status = &facts->status;
    int made = kv_buffer_format(
        out,
        "# "
        "Trireme\r\nnode:%u\r\ncluster:%s\r\ndriver:%s\r\ngroup_role:%s\r\nleader:%u\r\nballot:%"
        "llu\r\n"
        "ready:%u\r\nslot_next:%llu\r\nslot_commit:%llu\r\nslot_apply:%llu\r\nslot_snapshot:%"
        "llu\r\n"
        "slot_first:%llu\r\nvoters_reachable:%u\r\none_sided_peers:%u\r\nelections:%llu\r\n",
        options->node, options->cluster, options->driver, role_text(status->role), status->leader,
        (number)status->ballot_round, facts->server->is_ready, (number)status->slot_next,
        (number)status->slot_commit, (number)status->slot_apply, (number)status->slot_snapshot,
        (number)status->slot_first, status->voters_reachable, status->one_sided_peers,
        (number)status->elections);
    return made && kv_buffer_format(
                       out,
                       "memory_fixed_bytes:%llu\r\nin_flight:%u\r\nsessions:%llu\r\n"
                       "outcomes_unknown:%llu\r\nprotocol_errors:%llu\r\nrequests_too_big:%llu\r\n"
                       "clients_too_slow:%llu\r\nholds:%llu\r\n",
                       (number)options->memory_bytes, facts->server->link.in_flight,
                       (number)facts->server->link.session_count, (number)counts->commands_unknown,
                       (number)counts->protocol_errors, (number)counts->requests_too_big,
                       (number)counts->clients_too_slow, (number)counts->holds);
}

static int put_keyspace(const struct facts *facts, struct kv_buffer *out)
{
    if (facts->figures.entry_count == 0)
        return kv_buffer_format(out, "# Keyspace\r\n");
    return kv_buffer_format(out, "# Keyspace\r\ndb0:keys=%llu,expires=0,avg_ttl=0\r\n",
                            (number)facts->figures.entry_count);
}

static const struct {
    const char *name;
    int (*put)(const struct facts *facts, struct kv_buffer *out);
} sections[] = {
    {"server", put_server},     {"clients", put_clients},
    {"memory", put_memory},     {"persistence", put_persistence},
    {"stats", put_stats},       {"replication", put_replication},
    {"cpu", put_cpu},           {"trireme", put_trireme},
    {"keyspace", put_keyspace},
};

int kv_info_write(struct kv_server *server, const uint8_t *section, uint32_t section_bytes,
                  struct kv_buffer *out)
{
    struct facts facts = {
        .server = server,
        .figures = kv_machine_figures(server->options.machine),
        .uptime_s = (server->now_ns - server->opened_ns) / SECOND_NS,
    };
    tr_group_status(server->options.group, &facts.status);
    int all = section_bytes == 0 || kv_word_is(section, section_bytes, "all") ||
              kv_word_is(section, section_bytes, "everything") ||
              kv_word_is(section, section_bytes, "default");
    int made = 1;
    for (size_t at = 0; made && at < sizeof(sections) / sizeof(sections[0]); at++) {
        if (!all && !kv_word_is(section, section_bytes, sections[at].name))
            continue;
        if (kv_buffer_bytes(out) > 0)
            made = kv_buffer_format(out, "\r\n");
        made = made && sections[at].put(&facts, out);
    }
    return made;
}
