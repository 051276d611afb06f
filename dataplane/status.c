/* What a group tells of itself: status for any thread, counters for other processes. */
#include "dataplane/group.h"

#include "base/assert.h"
#include "dataplane/node.h"
#include "trireme/error.h"

#include <stddef.h>
#include <stdio.h>

/* Between two writings of the mirror. */
#define MIRROR_NS UINT64_C(5000)

/* Words of the mirror. */
enum mirror_word {
    WORD_ROLE,
    WORD_LEADER,
    WORD_ROUND,
    WORD_NEXT,
    WORD_COMMIT,
    WORD_APPLY,
    WORD_SNAPSHOT,
    WORD_FIRST,
    WORD_ELECTIONS,
    WORD_MADE,
    WORD_INSTALLED,
    WORD_WRAPS,
    WORD_REACHABLE,
    WORD_ONE_SIDED,
    WORDS,
};
tr_static_assert(WORDS <= sizeof(((struct tr_group_mirror *)0)->word) / 8, "the mirror has room");

static enum tr_role role_of(enum tr_replica_role role)
{
    switch (role) {
    case TR_REPLICA_RECOVERING:
        return TR_ROLE_RECOVERING;
    case TR_REPLICA_FOLLOWER:
        return TR_ROLE_FOLLOWER;
    case TR_REPLICA_PRECANDIDATE:
    case TR_REPLICA_CANDIDATE:
        return TR_ROLE_CANDIDATE;
    case TR_REPLICA_LEADER:
        return TR_ROLE_LEADER;
    case TR_REPLICA_STOPPED:
        return TR_ROLE_STOPPED;
    }
    tr_unreachable();
}

/* Memory order: (M1) the writer makes the sequence odd, then writes words; a reader that saw a word
 * of this writing sees the odd sequence, or a later one, after its fence. (M2) the writer releases
 * the even sequence after the words; the reader acquires it before it reads them. */
void tr_group_mirror(struct tr_group *g)
{
    struct tr_group_mirror *m = &g->mirror;
    struct tr_replica_status s;
    uint64_t sequence = tr_load_relaxed(&m->sequence);
    tr_replica_status(g->replica, &s);
    const uint64_t word[WORDS] = {
        [WORD_ROLE] = (uint64_t)role_of(s.role),
        [WORD_LEADER] = s.leader,
        [WORD_ROUND] = s.ballot.round,
        [WORD_NEXT] = s.slot_next,
        [WORD_COMMIT] = s.slot_commit,
        [WORD_APPLY] = s.slot_apply,
        [WORD_SNAPSHOT] = s.slot_snapshot,
        [WORD_FIRST] = s.slot_first,
        [WORD_ELECTIONS] = s.counts->elections_started,
        [WORD_MADE] = s.counts->snapshots_made,
        [WORD_INSTALLED] = s.counts->snapshots_installed,
        [WORD_WRAPS] = s.counts->log_wraps,
        [WORD_REACHABLE] = s.peers_reachable,
        [WORD_ONE_SIDED] = s.peers_one_sided,
    };
    tr_store_relaxed(&m->sequence, sequence + 1); /* (M1) */
    tr_fence_release();
    for (int i = 0; i < WORDS; i++)
        tr_store_relaxed(&m->word[i], word[i]);
    tr_store_release(&m->sequence, sequence + 2); /* (M2) */
    g->leader_changed = false;
    g->mirror_ns = g->now_ns + MIRROR_NS;
}

static void read_mirror(const struct tr_group_mirror *m, uint64_t *word)
{
    for (;;) {
        uint64_t before = tr_load_acquire(&m->sequence); /* (M2) */
        for (int i = 0; i < WORDS; i++)
            word[i] = tr_load_relaxed(&m->word[i]);
        tr_fence_acquire();
        if (before % 2 == 0 && tr_load_relaxed(&m->sequence) == before) /* (M1) */
            return;
        tr_cpu_pause();
    }
}

/* The digest of the state at a slot, when the apply stage has computed it; asks for it otherwise.
 */
static uint64_t digest_at(struct tr_apply *a, uint64_t slot)
{
    if (a->machine.digest == NULL)
        return 0;
    uint64_t slot_plus_1 = tr_load_acquire(&a->digest_slot); /* meets digest() */
    uint64_t digest = tr_load_relaxed(&a->digest);
    tr_fence_acquire();
    if (slot_plus_1 == slot + 1 && tr_load_relaxed(&a->digest_slot) == slot_plus_1)
        return digest;
    tr_store_relaxed(&a->digest_wanted, UINT64_C(1));
    return 0;
}

void tr_group_status(const struct tr_group *g, struct tr_group_status *out)
{
    uint64_t word[WORDS];
    read_mirror(&g->mirror, word);
    *out = (struct tr_group_status){
        .role = (enum tr_role)word[WORD_ROLE],
        .leader = (uint16_t)word[WORD_LEADER],
        .ballot_round = word[WORD_ROUND],
        .slot_next = word[WORD_NEXT],
        .slot_commit = word[WORD_COMMIT],
        .slot_apply = word[WORD_APPLY],
        .slot_snapshot = word[WORD_SNAPSHOT],
        .slot_first = word[WORD_FIRST],
        .elections = word[WORD_ELECTIONS],
        .snapshots_made = word[WORD_MADE],
        .snapshots_installed = word[WORD_INSTALLED],
        .log_wraps = word[WORD_WRAPS],
        .voters_reachable = (uint32_t)word[WORD_REACHABLE],
        .one_sided_peers = (uint32_t)word[WORD_ONE_SIDED],
    };
    out->digest = digest_at(g->apply, out->slot_apply);
}

int tr_group_campaign(struct tr_group *g)
{
    tr_store_relaxed(&g->campaign, 1u);
    return TR_OK;
}

/* ---- counters */

/* A field of struct tr_replica_counts. */
struct core_count {
    const char *name;
    size_t offset;
    const char *help;
};

#define CORE(field, help)                                       \
    {                                                           \
#field, offsetof(struct tr_replica_counts, field), help \
    }
static const struct core_count core_counts[] = {
    CORE(proposals, "slots proposed as leader"),
    CORE(commands, "commands proposed as leader"),
    CORE(commits, "slots found chosen"),
    CORE(elections_started, "times that this replica stood for election"),
    CORE(elections_won, "times that it became leader"),
    CORE(stepped_down, "times that it gave up leading"),
    CORE(accepts_sent, "Accept messages made"),
    CORE(accepts_received, "Accept messages received"),
    CORE(acks_received, "acknowledgements received"),
    CORE(retransmits, "times that a peer was sent slots again after silence"),
    CORE(nacks, "gaps that a peer told of"),
    CORE(forwards_sent, "batches forwarded to the leader"),
    CORE(forwards_received, "batches of followers taken in"),
    CORE(forwards_dropped, "batches of followers refused: out of order, or no room"),
    CORE(resubmits, "times that forwarded batches may have been lost"),
    CORE(dropped_malformed, "messages dropped: malformed"),
    CORE(dropped_stale, "messages dropped: of an older ballot or out of place"),
    CORE(dropped_cluster, "messages dropped: of another cluster"),
    CORE(dropped_incarnation, "messages dropped: of a dead process"),
    CORE(dropped_full, "records refused: the log has no room"),
    CORE(fetches_sent, "times that chosen values were asked for"),
    CORE(learns_received, "answers with chosen values"),
    CORE(snapshots_made, "snapshots made"),
    CORE(snapshots_installed, "snapshots restored"),
    CORE(snapshots_damaged, "snapshots that came damaged and were pulled again"),
    CORE(snapshot_chunks_sent, "snapshot chunks sent"),
    CORE(snapshot_chunks_received, "snapshot chunks received"),
    CORE(written, "one-sided completions that counted"),
    CORE(written_refused, "one-sided writes that a fence refused"),
    CORE(written_broken, "one-sided writes of unknown outcome"),
    CORE(entries_seen, "records drained from inbound rings"),
    CORE(fences, "fences begun"),
    CORE(fences_superseded, "fences that a higher ballot overtook"),
    CORE(grants_asked, "times that a ring was asked for again which broke"),
    CORE(reads, "rounds of reads asked for"),
    CORE(read_rounds, "rounds of reads confirmed over the network"),
    CORE(lease_reads, "rounds of reads answered under a lease"),
    CORE(recoveries, "recoveries after lost memory"),
    CORE(log_wraps, "laps of the log's memory"),
    CORE(quorums_void, "acknowledgements that did not count: an incarnation was unknown"),
};
tr_static_assert(sizeof(core_counts) / sizeof(core_counts[0]) ==
                     sizeof(struct tr_replica_counts) / sizeof(uint64_t),
                 "every count of the core has a row");
tr_static_assert(sizeof(core_counts) / sizeof(core_counts[0]) <=
                     sizeof(((struct tr_group_stats *)0)->core) / sizeof(uint64_t *),
                 "and room");

void tr_group_add_counters(struct tr_group *g, struct tr_counters *c)
{
    char scope[32];
    struct tr_group_stats *s = &g->stats;
    snprintf(scope, sizeof(scope), "group %u", g->number);
#define GAUGE(field, help)   s->field = tr_counters_add(c, TR_STAT_GAUGE, scope, #field, help)
#define COUNTER(field, help) s->field = tr_counters_add(c, TR_STAT_COUNTER, scope, #field, help)
    GAUGE(role, "0 recovering, 1 follower, 2 candidate, 3 leader, 4 stopped");
    GAUGE(leader, "node that leads, 0: none known");
    GAUGE(ballot_round, "round of the ballot promised");
    GAUGE(slot_commit, "last slot of the chosen prefix");
    GAUGE(slot_apply, "last slot applied");
    GAUGE(slot_snapshot, "slot of the last snapshot");
    GAUGE(slot_first, "first slot in the log");
    GAUGE(peers_one_sided, "peers into whose rings this leader writes");
    COUNTER(send_dropped, "messages that a full queue lost");
    COUNTER(session_resubmits, "times that commands of this node's sessions were proposed again");
    COUNTER(messages_held, "messages dropped because the disk is behind");
    COUNTER(held_dropped, "own messages lost because too many wait for the disk");
    GAUGE(storage_failed, "1: a flush of the disk failed, nothing is durable any more");
    struct tr_apply_stats *a = &g->apply->stats;
#define APPLY(field, help) \
    a->field = tr_counters_add(c, TR_STAT_COUNTER, scope, "apply_" #field, help)
    APPLY(commands, "commands applied");
    APPLY(duplicates, "commands that had been applied before");
    APPLY(gaps, "runs refused: commands before them are missing");
    APPLY(unknown, "runs refused: of an unknown or evicted session");
    APPLY(malformed, "entries whose payload is malformed");
    APPLY(reads, "reads answered");
    APPLY(completions, "commands of this node completed");
    APPLY(expired, "commands and reads whose deadline passed");
#undef APPLY
#undef COUNTER
#undef GAUGE
    for (size_t i = 0; i < TR_ARRAY_COUNT(core_counts); i++)
        s->core[i] =
            tr_counters_add(c, TR_STAT_COUNTER, scope, core_counts[i].name, core_counts[i].help);
}

void tr_group_publish(struct tr_group *g)
{
    struct tr_replica_status s;
    tr_replica_status(g->replica, &s);
    tr_store_relaxed(g->stats.role, (uint64_t)role_of(s.role));
    tr_store_relaxed(g->stats.leader, (uint64_t)s.leader);
    tr_store_relaxed(g->stats.ballot_round, s.ballot.round);
    tr_store_relaxed(g->stats.slot_commit, s.slot_commit);
    tr_store_relaxed(g->stats.slot_apply, s.slot_apply);
    tr_store_relaxed(g->stats.slot_snapshot, s.slot_snapshot);
    tr_store_relaxed(g->stats.slot_first, s.slot_first);
    tr_store_relaxed(g->stats.peers_one_sided, s.peers_one_sided);
    tr_store_relaxed(g->stats.held_dropped, g->hold.dropped);
    if (g->wal != NULL)
        tr_store_relaxed(g->stats.storage_failed, g->wal->stats.failed);
    for (size_t i = 0; i < TR_ARRAY_COUNT(core_counts); i++)
        tr_store_relaxed(
            g->stats.core[i],
            *(const uint64_t *)(const void *)((const char *)s.counts + core_counts[i].offset));
}
