/* The life of groups and sessions: memory, rings, registration; public API. */
#include "dataplane/group.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "dataplane/door.h"
#include "dataplane/node.h"
#include "trireme/error.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Local sessions of a group at most, whatever sessions_max says. */
#define LOCAL_MAX 65536u
/* How long tr_session_close waits for another thread to be out of its callback. */
#define QUIET_TURNS 20000u
#define QUIET_NS    50000

/* ---- memory */

/* Parts of a group's memory, in their order. */
struct layout {
    uint64_t group, replica, apply, apply_untouched, staging, inlet, flights, roster, by_index,
        hold;
    uint32_t flight_count; /* of each outlet; power of two */
};

static uint32_t power_from(uint32_t value)
{
    uint32_t power = 1;
    while (power < value)
        power *= 2;
    return power;
}

static struct layout lay_out(const struct tr_replica_config *config, uint64_t replica_bytes,
                             const struct tr_apply_options *apply, const struct tr_lcore *lcore,
                             bool one_sided, bool stored)
{
    struct tr_apply_memory m = tr_apply_memory_bytes(apply);
    struct layout l = {
        .group = tr_align_up_u64(sizeof(struct tr_group), 4096),
        .replica = tr_align_up_u64(replica_bytes, 4096),
        .apply = tr_align_up_u64(m.bytes, 4096),
        .apply_untouched = m.bytes_untouched,
        .staging = tr_align_up_u64(config->entry_bytes_max, 4096),
        .roster = (apply->sessions_max + apply->remote_max) * sizeof(struct tr_roster_member),
        .by_index = apply->sessions_max * sizeof(struct tr_session *),
    };
    if (stored)
        l.hold = tr_align_up_u64(tr_hold_memory_bytes() + sizeof(struct tr_wal), 4096);
    if (one_sided) {
        l.inlet = tr_align_up_u64(TR_DRAIN_BYTES + tr_record_bytes(config->entry_bytes_max), 4096);
        l.flight_count = power_from(lcore->limits.writes_max);
        l.flights = (uint64_t)l.flight_count * sizeof(struct tr_flight) * config->voter_count;
    }
    return l;
}

static uint64_t total_of(const struct layout *l)
{
    return l->group + l->replica + l->apply + l->staging + l->inlet + l->flights + l->roster +
           l->by_index + l->hold + 16 * UINT64_C(4096);
}

/* ---- opening */

/* What opening a group works with. */
struct opening {
    struct tr_node *node;
    struct tr_group_options options;
    struct tr_replica_config config;
    struct tr_apply_options apply;
    struct tr_lcore *lcore;
    struct layout layout;
    const struct tr_wal_options *wal; /* NULL: level memory */
    bool one_sided;
    char *error;
    size_t error_bytes;
};

static void *take(struct opening *o, uint64_t bytes)
{
    return tr_arena_take(&o->node->arena, bytes, 4096);
}

/* Creates the rings that peers may be granted. */
static int create_rings(struct opening *o, struct tr_group *g)
{
    struct tr_lcore *l = o->lcore;
    for (uint8_t i = 0; i < g->member_count; i++) {
        struct tr_ring_options ring = {.peer = g->outlet[i].node,
                                       .group = g->number,
                                       .bytes = tr_config_ring_bytes(&o->config)};
        if (i == g->self)
            continue;
        int status = l->driver->ring_create(l->port, &ring, &g->inlet.ring[i].info);
        if (status != TR_OK)
            return tr_fail(status, o->error, o->error_bytes, "no inbound ring of %u bytes: %s",
                           ring.bytes, tr_strerror(status));
        g->inlet.ring[i].exists = true;
    }
    return TR_OK;
}

/* The ways to the peers. */
static int init_outlets(struct opening *o, struct tr_group *g)
{
    struct tr_lcore *l = o->lcore;
    struct tr_flight *flights = NULL;
    if (o->one_sided && (flights = (struct tr_flight *)take(o, o->layout.flights)) == NULL)
        return TR_ENOMEM;
    for (uint8_t i = 0; i < g->member_count; i++) {
        struct tr_outlet *out = &g->outlet[i];
        out->group = g;
        out->member = i;
        out->node = o->config.voter[i];
        if (!o->one_sided)
            continue;
        out->flight = flights + (uint64_t)i * o->layout.flight_count;
        out->flight_mask = o->layout.flight_count - 1;
        out->index = l->outlet_count;
        l->outlet[l->outlet_count++] = out;
    }
    return TR_OK;
}

static int init_inlet(struct opening *o, struct tr_group *g)
{
    g->inlet.granted = TR_MEMBERS_MAX;
    if (!o->one_sided)
        return TR_OK;
    g->inlet.buffer_bytes = (uint32_t)o->layout.inlet;
    g->inlet.buffer = (uint8_t *)take(o, o->layout.inlet);
    return g->inlet.buffer != NULL ? create_rings(o, g) : TR_ENOMEM;
}

static int init_apply(struct opening *o, struct tr_group *g)
{
    void *memory = take(o, o->layout.apply);
    void *untouched = tr_arena_take_untouched(&o->node->arena, o->layout.apply_untouched);
    if (memory == NULL || untouched == NULL)
        return TR_ENOMEM;
    g->apply = tr_apply_init(&o->apply, memory, untouched);
    g->apply_lcore = o->apply.pipelined ? &o->node->lcore[o->options.apply_lcore] : o->lcore;
    g->apply->clock = &g->apply_lcore->clock;
    g->apply->stats.apply = g->apply_lcore->stats.apply;
    g->apply->stats.complete = g->apply_lcore->stats.complete;
    return TR_OK;
}

static int init_sessions(struct opening *o, struct tr_group *g)
{
    struct tr_roster_member *room = (struct tr_roster_member *)take(o, o->layout.roster);
    g->by_index = (struct tr_session **)take(o, o->layout.by_index);
    g->staging = (uint8_t *)take(o, o->layout.staging);
    if (room == NULL || g->by_index == NULL || g->staging == NULL)
        return TR_ENOMEM;
    g->local_max = tr_min_u32(o->options.sessions_max, LOCAL_MAX);
    tr_roster_init(&g->sessions, room, g->local_max + o->apply.remote_max);
    return TR_OK;
}

static void *allocate_for_storage(void *context, size_t bytes, size_t align)
{
    return tr_arena_take((struct tr_arena *)context, bytes, tr_max_u64(align, 1));
}

/* The storage, and the queue of what waits for it. */
static int init_wal(struct opening *o, struct tr_group *g)
{
    char why[200] = "";
    if (o->wal == NULL)
        return TR_OK;
    struct tr_wal_options options = *o->wal;
    options.memory =
        (struct tr_memory){.context = &o->node->arena, .allocate = allocate_for_storage};
    uint8_t *memory = (uint8_t *)take(o, o->layout.hold);
    if (memory == NULL)
        return TR_ENOMEM;
    struct tr_wal *w = (struct tr_wal *)(void *)(memory + tr_hold_memory_bytes());
    int status = tr_wal_open(w, &options, &g->config, o->apply.snapshot_bytes_max, g->logger, why,
                             sizeof(why));
    if (status != TR_OK)
        return tr_fail(status, o->error, o->error_bytes, "group %u: its storage: %s", g->number,
                       why[0] != '\0' ? why : tr_strerror(status));
    tr_hold_init(&g->hold, memory);
    g->wal = w;
    g->persist = tr_wal_persist;
    g->durable = tr_wal_durable;
    g->persist_context = w;
    return TR_OK;
}

static void init_fields(struct opening *o, struct tr_group *g)
{
    const struct tr_group_options *options = &o->options;
    g->node = o->node;
    g->lcore = o->lcore;
    g->logger = &o->node->logger;
    g->config = o->config;
    g->number = options->group;
    g->member_count = (uint8_t)o->config.voter_count;
    g->one_sided = o->one_sided;
    g->batch_commands_max = options->batch_commands_max;
    g->entry_bytes_max = o->config.entry_bytes_max;
    g->on_leader = options->on_leader;
    g->on_leader_context = options->on_leader_context;
    g->pinned = UINT64_MAX;
    g->image_latest = g->image_making = g->image_incoming = TR_IMAGES;
    g->message_bytes_max = o->node->message_bytes_max;
    g->reply_bytes_max = o->apply.reply_bytes_max;
    tr_prng_seed(&g->random, tr_prng_next(&o->node->random));
    tr_prng_seed(&g->session_random, tr_prng_next(&o->node->random));
    pthread_mutex_init(&g->lock, NULL);
    for (uint8_t i = 0; i < g->member_count; i++)
        if (o->config.voter[i] == o->config.self)
            g->self = i;
}

/* Shows the driver where one-sided writes are gathered from: the log, headers, zeros. */
static void show_sources(struct opening *o, struct tr_group *g, const void *replica)
{
    struct tr_lcore *l = o->lcore;
    if (!o->one_sided || l->driver->memory_add == NULL)
        return;
    int status = l->driver->memory_add(l->port, g, o->layout.group);
    if (status == TR_OK)
        status = l->driver->memory_add(l->port, replica, o->layout.replica);
    if (status == TR_OK)
        status = l->driver->memory_add(l->port, g->outlet[0].flight, o->layout.flights);
    if (status != TR_OK)
        tr_log(g->logger, TR_LOG_WARN,
               "group %u: its log cannot be shown to the device (%s): writes are copied", g->number,
               tr_strerror(status));
}

/* Takes the memory of a group and puts it together. */
static int build(struct opening *o, struct tr_group **out)
{
    if (tr_arena_reserve(&o->node->arena, total_of(&o->layout)) != TR_OK)
        return TR_ENOMEM;
    struct tr_group *g = (struct tr_group *)take(o, o->layout.group);
    void *replica = take(o, o->layout.replica);
    if (g == NULL || replica == NULL)
        return TR_ENOMEM;
    init_fields(o, g);
    int status = init_apply(o, g);
    if (status == TR_OK)
        status = init_sessions(o, g);
    if (status == TR_OK)
        status = init_outlets(o, g);
    if (status == TR_OK)
        status = init_inlet(o, g);
    if (status == TR_OK)
        status = init_wal(o, g);
    if (status != TR_OK)
        return status;
    show_sources(o, g, replica);
    g->leases = o->config.lease_ns != 0;
    g->now_ns = tr_clock_now_ns(&o->lcore->clock);
    g->replica = tr_replica_init(replica, &o->config, g->now_ns);
    g->deadline_ns = tr_replica_deadline_ns(g->replica);
    if (g->wal != NULL)
        tr_wal_bind(g->wal, g->replica);
    if (o->lcore->door != NULL)
        status = tr_door_fit(o->lcore->door, g);
    *out = g;
    return status;
}

/* Checks the options against what this node has. */
static int prepare(struct opening *o)
{
    struct tr_node *node = o->node;
    const char *why = NULL;
    if (node->state != TR_NODE_SETUP)
        return tr_fail(TR_EBUSY, o->error, o->error_bytes,
                       "groups are opened before the node is started or polled");
    int status =
        tr_config_group(node, &o->options, &o->config, &o->apply, o->error, o->error_bytes);
    if (status != TR_OK)
        return status;
    o->config.seed = tr_prng_next(&node->random);
    o->lcore = &node->lcore[o->options.lcore];
    for (uint32_t i = 0; i < node->group_count; i++)
        if (node->group[i]->number == o->options.group)
            return tr_fail(TR_EEXIST, o->error, o->error_bytes, "group %u is open already",
                           o->options.group);
    if (node->group_count == node->group_max)
        return tr_fail(TR_ENOMEM, o->error, o->error_bytes, "%u groups are open already",
                       node->group_max);
    uint64_t replica_bytes = tr_replica_memory_bytes(&o->config, &why);
    if (replica_bytes == 0)
        return tr_fail(TR_EINVAL, o->error, o->error_bytes, "group %u: %s", o->options.group, why);
    status = tr_node_open_port(node, o->lcore, o->error, o->error_bytes);
    if (status != TR_OK)
        return status;
    status = tr_door_open(node, o->lcore, o->error, o->error_bytes);
    if (status != TR_OK)
        return status;
    if (o->lcore->limits.message_bytes_max < o->config.message_bytes_max)
        return tr_fail(
            TR_EINVAL, o->error, o->error_bytes,
            "the driver carries messages of %u bytes, this group needs %u: lower message_bytes_max",
            o->lcore->limits.message_bytes_max, o->config.message_bytes_max);
    o->one_sided = (o->lcore->driver->capabilities & TR_DRIVER_ONE_SIDED) != 0 &&
                   (o->options.one_sided == NULL || strcmp(o->options.one_sided, "off") != 0) &&
                   o->config.voter_count > 1 &&
                   o->config.level != TR_LEVEL_DISK; /* a write that completed is on no disk yet */
    o->layout =
        lay_out(&o->config, replica_bytes, &o->apply, o->lcore, o->one_sided, o->wal != NULL);
    return TR_OK;
}

static void announce(const struct opening *o)
{
    const struct tr_replica_config *c = &o->config;
    tr_log(&o->node->logger, TR_LOG_INFO,
           "group %u: %u voters, phase 1 needs %u of them and survives %u failures, commits need "
           "%u and survive %u; "
           "election timeout %lu us, heartbeat %lu us, %s; %.1f MiB",
           c->group, c->voter_count, c->quorum_p1, c->voter_count - c->quorum_p1, c->quorum_p2,
           c->voter_count - c->quorum_p2, (unsigned long)(c->election_timeout_ns / 1000),
           (unsigned long)(c->heartbeat_ns / 1000), o->one_sided ? "one-sided writes" : "messages",
           (double)(total_of(&o->layout) + o->layout.apply_untouched) / (1 << 20));
}

/* Opens a group, on a storage or without. */
static int open_group(struct opening *o, const struct tr_group_options *options,
                      struct tr_group **out)
{
    struct tr_node *node = o->node;
    struct tr_group_options defaults = TR_GROUP_OPTIONS_INIT;
    struct tr_group *g;
    o->options = defaults;
    int status = tr_config_copy(&o->options, sizeof(o->options), options, options->struct_bytes);
    if (status != TR_OK)
        return tr_fail(status, o->error, o->error_bytes,
                       "struct_bytes is %zu; use TR_GROUP_OPTIONS_INIT", options->struct_bytes);
    if (o->wal == NULL && o->options.durability != TR_DURABILITY_MEMORY &&
        (uint32_t)o->options.durability <= TR_DURABILITY_DISK)
        return tr_fail(
            TR_ENOTSUP, o->error, o->error_bytes,
            "durability async and disk need the write-ahead log, which this version does "
            "not have yet; use memory");
    status = prepare(o);
    if (status != TR_OK)
        return status;
    status = build(o, &g);
    if (status != TR_OK)
        return status == TR_ENOMEM
                   ? tr_fail(status, o->error, o->error_bytes,
                             "group %u needs %lu MiB of memory, which cannot be had (arena_bytes, "
                             "or the machine's limit)",
                             o->options.group, (unsigned long)(total_of(&o->layout) >> 20))
                   : status;
    tr_group_add_counters(g, &node->counters);
    tr_group_mirror(g);
    tr_lcore_add_group(o->lcore, g);
    if (o->apply.pipelined)
        g->apply_lcore->applies[g->apply_lcore->apply_count++] = g->apply;
    node->group[node->group_count++] = g;
    announce(o);
    *out = g;
    return TR_OK;
}

int tr_group_open(struct tr_node *node, const struct tr_group_options *options,
                  struct tr_group **out, char *error, size_t error_bytes)
{
    struct opening o = {.node = node, .error = error, .error_bytes = error_bytes};
    return open_group(&o, options, out);
}

int tr_group_open_stored(struct tr_node *node, const struct tr_group_options *options,
                         const struct tr_wal_options *wal, struct tr_group **out, char *error,
                         size_t error_bytes)
{
    struct opening o = {.node = node, .wal = wal, .error = error, .error_bytes = error_bytes};
    return open_group(&o, options, out);
}

/* ---- sessions */

/* One user less of a session; the last one unmaps it. */
static void drop(struct tr_session *s)
{
    struct tr_node *node = s->node;
    if (tr_fetch_add_acq_rel(&s->users, (uint32_t)-1) != 1)
        return;
    munmap(s, s->memory_bytes);
    tr_node_drop(node);
}

/* Lets go of sessions that agent and apply stage have forgotten. Under the lock. */
static void free_dead(struct tr_group *g)
{
    while (g->dead_list != NULL) {
        struct tr_session *s = g->dead_list;
        g->dead_list = s->next;
        g->sessions_bytes -= s->memory_bytes;
        drop(s);
    }
}

/* Gives a session an index, and the nonce that says whose it is. Under the lock. */
static int give_index(struct tr_group *g, struct tr_session *s)
{
    uint32_t index = 0;
    while (index < g->local_max && g->by_index[index] != NULL)
        index++;
    if (index == g->local_max)
        return TR_EFULL;
    uint16_t node = g->config.self;
    uint64_t random = tr_prng_next(&g->session_random);
    s->index = index;
    memcpy(s->nonce, &node, sizeof(node));
    memcpy(s->nonce + 4, &index, sizeof(index));
    memcpy(s->nonce + 8, &random, sizeof(random));
    g->by_index[index] = s;
    g->local_count++;
    return TR_OK;
}

int tr_session_open(struct tr_group *g, const struct tr_session_options *options,
                    struct tr_session **out)
{
    struct tr_session_options full = TR_SESSION_OPTIONS_INIT;
    struct tr_session_limits limits = {.command_bytes_max = g->message_bytes_max,
                                       .reply_bytes_max = g->reply_bytes_max};
    if (tr_config_copy(&full, sizeof(full), options, options->struct_bytes) != TR_OK)
        return TR_EINVAL;
    uint64_t bytes = tr_session_memory_bytes(&full, &limits);
    if (bytes == 0)
        return TR_EINVAL;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return TR_ENOMEM;
    struct tr_session *s = tr_session_init(memory, &full, &limits, &g->node->clock);
    s->group = g;
    s->node = g->node;
    s->apply_lcore = g->apply_lcore;
    s->agent_wait = &g->lcore->idle;
    s->pipelined = g->apply->pipelined;
    pthread_mutex_lock(&g->lock);
    free_dead(g);
    int status = give_index(g, s);
    if (status == TR_OK) {
        s->next = g->admit_list;
        g->admit_list = s;
        g->sessions_bytes += bytes;
        tr_fetch_add_relaxed(&g->node->users, 1u);
        tr_store_release(&g->admit_sequence, g->admit_sequence + 1); /* meets tr_group_poll */
    }
    pthread_mutex_unlock(&g->lock);
    if (status != TR_OK) {
        munmap(memory, bytes);
        return status;
    }
    *out = s;
    return TR_OK;
}

/* Waits until no thread is in the session's callback, and none ever will be. */
static void wait_quiet(const struct tr_session *s)
{
    const struct timespec pause = {.tv_nsec = QUIET_NS};
    uint32_t runner = tr_load_acquire(&s->apply_lcore->thread_id);
    if (s->on_complete == NULL || runner == 0 || runner == (uint32_t)gettid())
        return;
    for (uint32_t i = 0; i < QUIET_TURNS && tr_load_acquire(&s->quiet) == 0 /* (Q) */; i++)
        nanosleep(&pause, NULL);
}

/* Tells the agent that a session is being closed. */
static void begin_close(struct tr_group *g, struct tr_session *s)
{
    pthread_mutex_lock(&g->lock);
    s->closing_next = g->closing_list;
    g->closing_list = s;
    tr_store_release(&g->admit_sequence, g->admit_sequence + 1); /* meets tr_group_poll */
    pthread_mutex_unlock(&g->lock);
}

void tr_session_close(struct tr_session *s)
{
    if (s == NULL)
        return;
    tr_store_release(&s->closing, 1u); /* meets tr_session_deliver */
    pthread_mutex_lock(&s->node->closing_lock);
    if (!s->node->closed)
        begin_close(s->group, s);
    pthread_mutex_unlock(&s->node->closing_lock);
    wait_quiet(s);
    drop(s);
}

/* ---- closing */

void tr_group_close(struct tr_group *g)
{
    if (g->wal != NULL)
        tr_wal_close(g->wal);
    for (uint32_t i = 0; i < g->local_max; i++) {
        struct tr_session *s = g->by_index[i];
        if (s == NULL)
            continue;
        tr_apply_abandon(g->apply, s);
        drop(s);
    }
    free_dead(g);
    pthread_mutex_destroy(&g->lock);
}
