#include "perf/core_cluster.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "consensus/message.h"
#include "consensus/ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Messages under way to one replica, and the longest. */
#define INBOX_MESSAGES 256
#define MESSAGE_BYTES  (64u << 10)

#define RING_BYTES (1u << 20)

/* What a proposal takes of the simulated time, one that others follow at once, and a step of the
 * way to the first leader. */
#define PROPOSAL_NS 1000
#define MORE_NS     10
#define SETTLE_NS   100000

/* Looks, ten proposals apart, until what waits for a timer has come. */
#define PATIENCE 100

/* Rounds until nothing is left to do; far above what any step needs. */
#define ROUNDS_MAX 10000

#define SESSIONS_MAX 64

struct message {
    uint32_t bytes;
    uint8_t from;
    uint64_t data[MESSAGE_BYTES / 8];
};

/* What is to be brought to one peer, and how far its ring is filled. */
struct outlet {
    uint64_t first, last; /* slots; first > last: nothing */
    uint64_t generation;  /* of the ring that `position` is of */
    uint64_t position;
    uint64_t written_first, written_last; /* not yet told to the core; first 0: nothing */
};

struct core {
    struct tr_replica *replica;
    struct tr_effects *effects;
    struct tr_sessions *sessions;
    struct message *inbox;
    uint32_t inbox_head, inbox_tail; /* messages taken and put, ever */
    struct outlet outlet[TR_PERF_CORES];
    uint64_t slot_commit, slot_applied;
    uint64_t commands;
    /* The inbound ring that the last fence granted. */
    uint8_t *ring;
    struct tr_grant grant;
    uint8_t granted_to;
    uint64_t ring_position;
    uint64_t grants;
    uint64_t *drained; /* TR_ENTRIES_SEEN_MAX records, copied */
    bool wants_fence, wants_snapshot;
    struct tr_ballot fence_ballot;
    tr_node_id fence_owner;
};

struct tr_perf_core_cluster {
    struct core core[TR_PERF_CORES];
    bool is_one_sided;
    uint64_t now_ns;
    uint64_t session[SESSIONS_MAX]; /* numbers */
    uint64_t sequence[SESSIONS_MAX];
    uint32_t session_count;
    uint64_t registered; /* number of the last session registered */
};

static struct tr_replica_config config_of(uint32_t index)
{
    struct tr_replica_config config = {
        .self = (tr_node_id)(index + 1),
        .group = 1,
        .cluster = 42,
        .boot = 1000 + index,
        .seed = 7 + index,
        .level = TR_LEVEL_MEMORY,
        .voter_count = TR_PERF_CORES,
        .voter = {1, 2, 3},
        .quorum_p1 = 2,
        .quorum_p2 = 2,
        .log_slots = 4096,
        .log_bytes = 64u << 20,
        .entry_bytes_max = 32u << 10,
        .message_bytes_max = 34u << 10,
        .message_bytes_aim = 16u << 10,
        .credit_bytes = 1u << 20,
        /* As the dataplane's for threads that have a CPU each. */
        .election_timeout_ns = 500000,
        .heartbeat_ns = 50000,
        .retransmit_ns = 50000,
        .commit_delay_ns = 5000,
        .clock_drift_ppm = 1000,
    };
    return config;
}

/* ---- effects */

static void put_message(struct tr_perf_core_cluster *cluster, uint32_t from, uint32_t to,
                        const struct tr_piece *piece, uint32_t pieces)
{
    struct core *core = &cluster->core[to];
    struct message *m = &core->inbox[core->inbox_tail % INBOX_MESSAGES];
    uint8_t *at = (uint8_t *)m->data;
    tr_assert(core->inbox_tail - core->inbox_head < INBOX_MESSAGES);
    m->bytes = 0;
    m->from = (uint8_t)from;
    for (uint32_t i = 0; i < pieces; i++) {
        tr_assert(m->bytes + piece[i].bytes <= MESSAGE_BYTES);
        memcpy(at + m->bytes, piece[i].data, piece[i].bytes);
        m->bytes += piece[i].bytes;
    }
    core->inbox_tail++;
}

static void add_slots(struct outlet *o, uint64_t first, uint64_t last)
{
    bool is_empty = o->first > o->last;
    o->first = is_empty ? first : tr_min_u64(o->first, first);
    o->last = is_empty ? last : tr_max_u64(o->last, last);
}

/* Carries one effect out, or notes it for the round. */
static void carry_out(struct tr_perf_core_cluster *cluster, uint32_t index,
                      const struct tr_effect *e)
{
    struct core *core = &cluster->core[index];
    switch ((enum tr_effect_type)e->type) {
    case TR_EFFECT_SEND:
        for (uint32_t to = 0; to < TR_PERF_CORES; to++)
            if (e->peers >> to & 1)
                put_message(cluster, index, to, e->u.send.piece, e->piece_count);
        return;
    case TR_EFFECT_REPLICATE:
        for (uint32_t to = 0; to < TR_PERF_CORES; to++)
            if (e->peers >> to & 1)
                add_slots(&core->outlet[to], e->u.replicate.slot_first, e->u.replicate.slot_last);
        return;
    case TR_EFFECT_FENCE:
        core->wants_fence = true;
        core->fence_ballot = e->u.fence.ballot;
        core->fence_owner = e->u.fence.owner;
        return;
    case TR_EFFECT_COMMIT:
        core->slot_commit = tr_max_u64(core->slot_commit, e->u.commit.slot);
        return;
    case TR_EFFECT_SNAPSHOT_MAKE:
        core->wants_snapshot = true;
        return;
    case TR_EFFECT_PERSIST:
    case TR_EFFECT_BARRIER:
    case TR_EFFECT_LEADER:
    case TR_EFFECT_READ_READY:
    case TR_EFFECT_RESUBMIT: /* of the election: nothing was proposed before it */
        return;
    case TR_EFFECT_REJECT:
    case TR_EFFECT_SNAPSHOT_SEND:
    case TR_EFFECT_SNAPSHOT_STORE:
    case TR_EFFECT_SNAPSHOT_INSTALL:
    case TR_EFFECT_STOPPED:
        break;
    }
    /* A run without faults has none of these: what would be counted is not what is meant. */
    fprintf(stderr, "core %u: unexpected effect %d\n", index, e->type);
    abort();
}

static void step(struct tr_perf_core_cluster *cluster, uint32_t index, struct tr_event *event)
{
    struct core *core = &cluster->core[index];
    event->now_ns = cluster->now_ns;
    tr_replica_step(core->replica, event, core->effects);
    for (uint32_t i = 0; i < core->effects->count; i++)
        carry_out(cluster, index, &core->effects->item[i]);
}

/* ---- what a round does for one replica; each returns whether there was anything */

static bool take_messages(struct tr_perf_core_cluster *cluster, uint32_t index)
{
    struct core *core = &cluster->core[index];
    bool any = core->inbox_head != core->inbox_tail;
    while (core->inbox_head != core->inbox_tail) {
        const struct message *m = &core->inbox[core->inbox_head % INBOX_MESSAGES];
        struct tr_event event = {.type = TR_EVENT_MESSAGE};
        event.u.message.data = m->data;
        event.u.message.bytes = m->bytes;
        event.u.message.from = m->from;
        step(cluster, index, &event);
        core->inbox_head++;
    }
    return any;
}

static bool finish_fence(struct tr_perf_core_cluster *cluster, uint32_t index)
{
    struct core *core = &cluster->core[index];
    struct tr_event event = {.type = TR_EVENT_FENCED};
    struct tr_replica_status status;
    if (!core->wants_fence)
        return false;
    core->wants_fence = false;
    core->granted_to = TR_MEMBERS_MAX;
    event.u.fenced.ballot = core->fence_ballot;
    tr_replica_status(core->replica, &status);
    uint8_t owner = tr_replica_member(core->replica, core->fence_owner);
    if (cluster->is_one_sided && status.incarnation != 0 && owner < TR_PERF_CORES &&
        owner != index) {
        core->grant =
            (struct tr_grant){.generation = (uint64_t)status.incarnation << 32 | ++core->grants,
                              .tag = 0x0123456789abcdef + core->grants,
                              .ring_bytes = RING_BYTES};
        core->granted_to = owner;
        core->ring_position = 0;
        memset(core->ring, 0, RING_BYTES);
        event.u.fenced.grant = core->grant;
    }
    step(cluster, index, &event);
    return true;
}

static void send_slots(struct tr_perf_core_cluster *cluster, uint32_t index, uint32_t to)
{
    struct core *core = &cluster->core[index];
    struct outlet *o = &core->outlet[to];
    uint64_t header[TR_MESSAGE_HEADER_BYTES_MAX / 8];
    struct tr_piece piece[1 + TR_SEND_PIECES_MAX];
    uint32_t pieces = 0;
    while (o->first <= o->last) {
        uint64_t last = tr_replica_accept(core->replica, o->first, o->last, header, piece, &pieces);
        if (last < o->first)
            break;
        /* One encoding serves all peers that want the same slots. */
        for (uint32_t peer = to; peer < TR_PERF_CORES; peer++) {
            struct outlet *other = &core->outlet[peer];
            if (other->first != o->first || other->last != o->last || peer == to)
                continue;
            put_message(cluster, index, peer, piece, pieces);
            other->first = last + 1;
        }
        put_message(cluster, index, to, piece, pieces);
        o->first = last + 1;
    }
    o->first = 1;
    o->last = 0;
}

/* Stores a record, and the pad before it where the ring comes round. */
static void store_record(struct core *follower, struct outlet *o, const struct tr_grant *grant,
                         const struct tr_record *header, const struct tr_piece *payload,
                         uint64_t position, uint32_t pad_bytes)
{
    const uint64_t mask = RING_BYTES - 1;
    if (pad_bytes != 0) {
        struct tr_record pad;
        tr_ring_pad(grant, o->position, pad_bytes, &pad);
        memcpy(follower->ring + (o->position & mask), &pad, sizeof(pad));
    }
    uint8_t *at = follower->ring + (position & mask);
    memcpy(at + sizeof(*header), payload->data, payload->bytes);
    memcpy(at, header, sizeof(*header));
    o->position = position + tr_record_bytes(payload->bytes);
}

static void write_slots(struct tr_perf_core_cluster *cluster, uint32_t index, uint32_t to,
                        const struct tr_grant *grant)
{
    struct core *core = &cluster->core[index];
    struct outlet *o = &core->outlet[to];
    if (o->generation != grant->generation) {
        o->generation = grant->generation;
        o->position = 0;
    }
    o->written_first = o->first;
    for (; o->first <= o->last; o->first++) {
        struct tr_record header;
        struct tr_piece payload;
        /* As the dataplane does: a header for the place where it is likely to go, and another one
         * where the ring comes round. */
        if (!tr_replica_ring_record(core->replica, (uint8_t)to, o->first, o->position, &header,
                                    &payload))
            break;
        uint64_t position = o->position;
        uint32_t pad_bytes = tr_ring_place(RING_BYTES, &position, tr_record_bytes(payload.bytes));
        if (pad_bytes != 0)
            tr_replica_ring_record(core->replica, (uint8_t)to, o->first, position, &header,
                                   &payload);
        store_record(&cluster->core[to], o, grant, &header, &payload, position, pad_bytes);
    }
    o->written_last = o->first - 1;
    o->first = 1;
    o->last = 0;
}

static bool replicate(struct tr_perf_core_cluster *cluster, uint32_t index)
{
    struct core *core = &cluster->core[index];
    bool any = false;
    for (uint32_t to = 0; to < TR_PERF_CORES; to++) {
        struct outlet *o = &core->outlet[to];
        if (o->first > o->last)
            continue;
        const struct tr_grant *grant =
            cluster->is_one_sided ? tr_replica_grant(core->replica, (uint8_t)to) : NULL;
        if (grant != NULL)
            write_slots(cluster, index, to, grant);
        else
            send_slots(cluster, index, to);
        any = true;
    }
    return any;
}

static bool tell_written(struct tr_perf_core_cluster *cluster, uint32_t index)
{
    struct core *core = &cluster->core[index];
    bool any = false;
    for (uint32_t to = 0; to < TR_PERF_CORES; to++) {
        struct outlet *o = &core->outlet[to];
        struct tr_event event = {.type = TR_EVENT_WRITTEN};
        if (o->written_first == 0)
            continue;
        event.u.written.generation = o->generation;
        event.u.written.slot_first = o->written_first;
        event.u.written.slot_last = o->written_last;
        event.u.written.status = TR_WRITTEN_OK;
        event.u.written.peer = (uint8_t)to;
        o->written_first = 0;
        step(cluster, index, &event);
        any = true;
    }
    return any;
}

/* Copies one record out of the ring. Returns: its bytes; 0 when there is none. */
static uint32_t copy_record(struct core *core, uint8_t *to, bool *is_padding)
{
    const uint8_t *at = core->ring + (core->ring_position & (RING_BYTES - 1));
    struct tr_record *copy = (struct tr_record *)(void *)to;
    uint32_t bytes = 0;
    memcpy(copy, at, sizeof(*copy));
    enum tr_ring_found found =
        tr_ring_next(&core->grant, core->ring_position, 32u << 10, copy, sizeof(*copy), &bytes);
    if (found == TR_RING_MORE) {
        memcpy(copy + 1, at + sizeof(*copy), bytes - sizeof(*copy));
        found = tr_ring_next(&core->grant, core->ring_position, 32u << 10, copy, bytes, &bytes);
    }
    *is_padding = found == TR_RING_PADDING;
    return found == TR_RING_RECORD || found == TR_RING_PADDING ? bytes : 0;
}

static bool drain_ring(struct tr_perf_core_cluster *cluster, uint32_t index)
{
    struct core *core = &cluster->core[index];
    const struct tr_record *record[TR_ENTRIES_SEEN_MAX];
    uint8_t *to = (uint8_t *)core->drained;
    struct tr_event event = {.type = TR_EVENT_ENTRIES_SEEN};
    uint32_t count = 0;
    if (core->granted_to >= TR_PERF_CORES)
        return false;
    while (count < TR_ENTRIES_SEEN_MAX) {
        bool is_padding = false;
        uint32_t bytes = copy_record(core, to, &is_padding);
        if (bytes == 0)
            break;
        core->ring_position += bytes;
        if (is_padding)
            continue;
        record[count++] = (const struct tr_record *)(const void *)to;
        to += bytes;
    }
    if (count == 0)
        return false;
    event.u.entries_seen.generation = core->grant.generation;
    event.u.entries_seen.record = record;
    event.u.entries_seen.count = count;
    event.u.entries_seen.peer = core->granted_to;
    step(cluster, index, &event);
    tr_assert(tr_replica_entries_admitted(core->replica) == count);
    return true;
}

static void apply_run(struct tr_perf_core_cluster *cluster, struct core *core, uint64_t slot,
                      uint32_t run_index, const struct tr_run_view *run)
{
    struct tr_admission admission;
    tr_sessions_admit(core->sessions, slot, run_index, run, &admission);
    if (admission.verdict == TR_VERDICT_DONE) {
        if (core == &cluster->core[0])
            cluster->registered = admission.session;
        return;
    }
    tr_assert(admission.verdict == TR_VERDICT_APPLY && admission.skip == 0);
    core->commands += run->run->count;
    tr_sessions_complete(core->sessions, run, 0, NULL, NULL, 0);
}

static bool apply(struct tr_perf_core_cluster *cluster, uint32_t index)
{
    struct core *core = &cluster->core[index];
    struct tr_event event = {.type = TR_EVENT_APPLIED};
    if (core->slot_applied == core->slot_commit)
        return false;
    while (core->slot_applied < core->slot_commit) {
        const struct tr_record *record = tr_replica_entry(core->replica, ++core->slot_applied);
        struct tr_run_view run;
        uint32_t cursor = 0;
        tr_assert(record != NULL);
        for (uint32_t i = 0; record->kind == TR_RECORD_COMMANDS &&
                             tr_run_next(record + 1, record->payload_bytes, &cursor, &run);
             i++)
            apply_run(cluster, core, core->slot_applied, i, &run);
    }
    event.u.applied.slot = core->slot_applied;
    step(cluster, index, &event);
    return true;
}

static bool make_snapshot(struct tr_perf_core_cluster *cluster, uint32_t index)
{
    struct core *core = &cluster->core[index];
    struct tr_event event = {.type = TR_EVENT_SNAPSHOT_DONE};
    if (!core->wants_snapshot)
        return false;
    core->wants_snapshot = false;
    event.u.snapshot_done.slot = core->slot_applied;
    event.u.snapshot_done.bytes = 64;
    step(cluster, index, &event);
    return true;
}

static bool tell_time(struct tr_perf_core_cluster *cluster, uint32_t index)
{
    struct tr_event event = {.type = TR_EVENT_TIMEOUT};
    if (tr_replica_deadline_ns(cluster->core[index].replica) > cluster->now_ns)
        return false;
    step(cluster, index, &event);
    return true;
}

/* Everything that can be done without time passing. */
static void run_rounds(struct tr_perf_core_cluster *cluster)
{
    bool any = true;
    for (uint32_t round = 0; any; round++) {
        any = false;
        tr_assert(round < ROUNDS_MAX);
        for (uint32_t i = 0; i < TR_PERF_CORES; i++) {
            any |= take_messages(cluster, i);
            any |= finish_fence(cluster, i);
            any |= drain_ring(cluster, i);
            any |= replicate(cluster, i);
            any |= tell_written(cluster, i);
            any |= apply(cluster, i);
            any |= make_snapshot(cluster, i);
            any |= tell_time(cluster, i);
        }
    }
}

/* ---- opening and closing */

static bool open_core(struct core *core, uint32_t index, uint64_t now_ns)
{
    struct tr_replica_config config = config_of(index);
    const char *why = "";
    uint64_t bytes = tr_align_up_u64(tr_replica_memory_bytes(&config, &why), 4096);
    uint64_t session_bytes = tr_align_up_u64(tr_sessions_memory_bytes(SESSIONS_MAX, 1 << 16), 64);
    if (bytes == 0) {
        fprintf(stderr, "core: configuration refused: %s\n", why);
        return false;
    }
    void *memory = aligned_alloc(4096, bytes);
    void *sessions = aligned_alloc(64, session_bytes);
    core->effects = calloc(1, sizeof(*core->effects));
    core->inbox = calloc(INBOX_MESSAGES, sizeof(*core->inbox));
    core->ring = aligned_alloc(4096, RING_BYTES);
    core->drained = malloc(TR_ENTRIES_SEEN_MAX * (33u << 10));
    core->granted_to = TR_MEMBERS_MAX;
    if (memory == NULL || sessions == NULL || core->effects == NULL || core->inbox == NULL ||
        core->ring == NULL || core->drained == NULL) {
        fprintf(stderr, "core: no memory\n");
        free(memory);
        free(sessions);
        return false;
    }
    memset(memory, 0, bytes);
    memset(sessions, 0, session_bytes);
    core->replica = tr_replica_init(memory, &config, now_ns);
    core->sessions = tr_sessions_init(sessions, SESSIONS_MAX, 1 << 16);
    for (uint32_t i = 0; i < TR_PERF_CORES; i++)
        core->outlet[i].first = 1;
    return true;
}

static bool is_leading(const struct tr_perf_core_cluster *cluster)
{
    struct tr_replica_status status;
    tr_replica_status(cluster->core[0].replica, &status);
    return status.role == TR_REPLICA_LEADER && status.peers_reachable == TR_PERF_CORES &&
           (!cluster->is_one_sided || status.peers_one_sided == TR_PERF_CORES - 1);
}

static bool elect(struct tr_perf_core_cluster *cluster)
{
    struct tr_event event = {.type = TR_EVENT_CAMPAIGN};
    struct tr_replica_status status;
    for (uint32_t i = 0; i < 1000 && !is_leading(cluster); i++) {
        cluster->now_ns += SETTLE_NS;
        run_rounds(cluster);
        tr_replica_status(cluster->core[0].replica, &status);
        if (i % 20 == 10 && status.role == TR_REPLICA_FOLLOWER)
            step(cluster, 0, &event);
    }
    return is_leading(cluster);
}

struct tr_perf_core_cluster *tr_perf_core_cluster_open(bool is_one_sided)
{
    struct tr_perf_core_cluster *cluster = calloc(1, sizeof(*cluster));
    bool is_open = cluster != NULL;
    for (uint32_t i = 0; i < TR_PERF_CORES && is_open; i++) {
        cluster->is_one_sided = is_one_sided;
        cluster->now_ns = 1000000000;
        is_open = open_core(&cluster->core[i], i, cluster->now_ns);
    }
    if (is_open && !elect(cluster)) {
        fprintf(stderr, "core: the first replica was not elected\n");
        is_open = false;
    }
    if (!is_open) {
        tr_perf_core_cluster_close(cluster);
        return NULL;
    }
    return cluster;
}

void tr_perf_core_cluster_close(struct tr_perf_core_cluster *cluster)
{
    for (uint32_t i = 0; cluster != NULL && i < TR_PERF_CORES; i++) {
        struct core *core = &cluster->core[i];
        free(core->replica);
        free(core->sessions);
        free(core->effects);
        free(core->inbox);
        free(core->ring);
        free(core->drained);
    }
    free(cluster);
}

/* ---- load */

/* Fills in a run's header. Returns: where its commands go. */
static uint8_t *put_run(uint8_t *at, uint64_t session, uint64_t sequence, uint32_t bytes_each,
                        uint32_t count, enum tr_run_kind kind)
{
    struct tr_run run = {
        .session = session,
        .sequence = sequence,
        .sequence_acked = sequence - (sequence != 0),
        .bytes_each = bytes_each,
        .count = (uint16_t)count,
        .kind = (uint8_t)kind,
    };
    memcpy(at, &run, sizeof(run));
    return at + sizeof(run);
}

/* `more`: other proposals follow before anything is carried on. */
static void propose(struct tr_perf_core_cluster *cluster, uint8_t *room, uint32_t bytes,
                    uint32_t commands, bool more)
{
    struct tr_event event = {.type = TR_EVENT_PROPOSE, .more = more};
    event.u.propose.data = room;
    event.u.propose.bytes = bytes;
    event.u.propose.command_count = commands;
    cluster->now_ns += more ? MORE_NS : PROPOSAL_NS;
    step(cluster, 0, &event);
}

bool tr_perf_core_cluster_sessions(struct tr_perf_core_cluster *cluster, uint32_t count)
{
    const uint32_t bytes = tr_run_bytes(1, TR_NONCE_BYTES);
    tr_assert(count <= SESSIONS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *room = tr_replica_propose_room(cluster->core[0].replica, bytes);
        if (room == NULL)
            return false;
        uint8_t *nonce = put_run(room, 0, 0, TR_NONCE_BYTES, 1, TR_RUN_REGISTER);
        memset(nonce, (int)(i + 1), TR_NONCE_BYTES);
        cluster->registered = 0;
        propose(cluster, room, bytes, 1, false);
        run_rounds(cluster);
        if (cluster->registered == 0)
            return false;
        cluster->session[i] = cluster->registered;
        cluster->sequence[i] = 1;
    }
    cluster->session_count = count;
    return true;
}

static bool propose_slot(struct tr_perf_core_cluster *cluster, uint32_t commands,
                         uint32_t size_bytes, bool more)
{
    const uint32_t runs = tr_min_u32(cluster->session_count, commands);
    const uint32_t each = commands / runs;
    const uint32_t run_bytes = tr_run_bytes(each, size_bytes);
    uint8_t *room = tr_replica_propose_room(cluster->core[0].replica, runs * run_bytes);
    if (room == NULL)
        return false;
    for (uint32_t i = 0; i < runs; i++) {
        uint8_t *at = put_run(room + i * run_bytes, cluster->session[i], cluster->sequence[i],
                              size_bytes, each, TR_RUN_COMMANDS);
        memset(at, 0x5a, run_bytes - sizeof(struct tr_run));
        cluster->sequence[i] += each;
    }
    propose(cluster, room, runs * run_bytes, runs * each, more);
    return true;
}

bool tr_perf_core_cluster_propose(struct tr_perf_core_cluster *cluster, uint32_t slots,
                                  uint32_t commands, uint32_t size_bytes)
{
    uint64_t goal = cluster->core[0].slot_applied + slots;
    for (uint32_t i = 0; i < slots; i++)
        if (!propose_slot(cluster, commands, size_bytes, i + 1 < slots))
            return false;
    run_rounds(cluster);
    /* By one-sided writes, a leader goes on as far as the followers have told of room in their
     * logs: with a heartbeat. */
    for (uint32_t i = 0; i < PATIENCE && cluster->core[0].slot_applied < goal; i++) {
        cluster->now_ns += PROPOSAL_NS * 10;
        run_rounds(cluster);
    }
    return cluster->core[0].slot_applied >= goal;
}

uint64_t tr_perf_core_cluster_finish(struct tr_perf_core_cluster *cluster)
{
    const struct core *leader = &cluster->core[0];
    for (uint32_t i = 0; i < PATIENCE; i++) {
        cluster->now_ns += PROPOSAL_NS * 10;
        run_rounds(cluster);
    }
    for (uint32_t i = 1; i < TR_PERF_CORES; i++)
        if (cluster->core[i].commands != leader->commands ||
            tr_sessions_digest(cluster->core[i].sessions) != tr_sessions_digest(leader->sessions))
            return 0;
    return leader->commands;
}
